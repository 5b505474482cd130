"""Hedging: mpi-sppy finds the plan of one solve and a bound of it, in any number of bundles and on two ranks."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import launcher, ranks_environment, snapshot, strict
from helpers.bundles import GAMES, averaged, cournot, mixed, needs_engine

import stackpyomo as sp


@needs_engine
@pytest.mark.parametrize("make", GAMES)
def test_hedging_finds_the_monoliths_plan_and_bounds_it(make: Callable[[int], sp.Game]) -> None:
    game = make(40)
    before = snapshot(game.model)
    plan = sp.leader_optimal(game, engine="mpi-sppy")
    assert snapshot(game.model) == before
    whole = sp.leader_optimal(game)
    scale = max(1.0, abs(whole.leader_objective))
    assert (plan.quality, plan.termination) == ("optimal", "converged")
    assert plan.leader_objective == pytest.approx(whole.leader_objective, abs=5e-6 * scale)
    assert plan.epsilon0 <= 1e-6 * scale
    assert game.leader.sign * (whole.leader_objective - plan.bound) >= -5e-6 * scale, "a bound on the right side"
    assert plan.residuals["feasibility"] <= 1e-6
    for name, value in whole.values.items():
        assert plan.values[name] == pytest.approx(value, abs=max(5e-3, math.sqrt(1e-6 * scale))), (
            "a gap δ leaves √δ free"
        )
    for name, value in whole.multipliers.items():
        # The copies' own: they still differ by the last consensus when plan and bound are already within 1e-6.
        assert plan.multipliers[name] == pytest.approx(value, abs=2e-2), "the same signs"
    assert all(row["consensus"] >= 0.0 and row["seconds"] > 0.0 for row in plan.log)


@pytest.mark.slow
@needs_engine
def test_a_model_of_many_kinds_of_components_is_hedged() -> None:
    game = mixed(6)
    plan, whole = sp.leader_optimal(game, engine=sp.Hedging(bundles=3)), sp.leader_optimal(game)
    assert plan.leader_objective == pytest.approx(whole.leader_objective, rel=2e-6)
    assert plan.values.keys() == whole.values.keys()
    assert (plan.value("held"), plan.value("idle")) == (0.7, 0.0)
    assert plan.value("f[0].u[1]") == 0.25
    assert (whole.leader_objective - plan.bound) / abs(whole.leader_objective) <= 1e-6, "he maximises"


@pytest.mark.slow
@needs_engine
@pytest.mark.parametrize("bundles", [1, 3, 6])
def test_the_closed_form_is_met_by_any_number_of_bundles(bundles: int) -> None:
    game = averaged(24)
    plan = sp.leader_optimal(game, engine=sp.Hedging(bundles=bundles, tolerance=1e-8))
    assert plan.leader_objective == pytest.approx(game.metadata["optimum"], abs=1e-7)
    assert plan.value("mean") == pytest.approx(sum(plan.value(f"f[{i}].u") for i in range(24)) / 24, abs=1e-12)
    for name, follower in game.followers.items():
        own, mean = plan.value(f"{name}.u"), plan.value("mean")
        assert follower.sign * plan.follower_objectives[name] == pytest.approx((own - 1) ** 2 + mean * own, abs=1e-9)


@needs_engine
def test_a_limit_is_never_called_optimal_and_the_bound_holds() -> None:
    game = averaged(24)
    plan = sp.leader_optimal(game, engine=sp.Hedging(bundles=6, iterations=2))
    assert plan.termination == "iteration limit"
    assert plan.quality == "feasible"
    assert plan.bound <= game.metadata["optimum"] + 1e-9 <= plan.leader_objective + 2e-9
    plan = sp.leader_optimal(game, engine=sp.Hedging(bundles=6), time_limit=0.01)
    assert plan.termination == "time limit"
    assert plan.bound <= game.metadata["optimum"] + 1e-9 <= plan.leader_objective + 2e-9


@needs_engine
def test_without_convexity_nothing_is_proved() -> None:
    game = averaged(6)
    game.model.goal.set_value(game.model.goal.expr + 0.01 * pyo.sin(3 * game.model.f[0].u))
    plan = sp.leader_optimal(game, engine="mpi-sppy")
    assert plan.quality == "feasible"
    assert math.isnan(plan.bound)
    assert plan.leader_objective == pytest.approx(sp.leader_optimal(game).leader_objective, abs=1e-5)


@needs_engine
def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    sp.leader_optimal(averaged(4), engine="mpi-sppy")
    assert capfd.readouterr().out == ""


FOLDERS = [os.fspath(Path(__file__).parents[2])]


SCRIPT = """
import sys
sys.path[:0] = {tests!r}
import stackpyomo as sp
from helpers.bundles import {game}
from mpi4py import MPI
plan = sp.leader_optimal({game}({n}), engine={engine})
comm = MPI.COMM_WORLD
open({folder!r} + f"/{{comm.rank}}of{{comm.size}}.json", "w").write(plan.to_json())
"""


def on_two_ranks(folder: Path, game: str, n: int, engine: str = "'mpi-sppy'") -> list[Any]:
    if launcher() is None:
        pytest.skip("no mpi4py, or no mpiexec")
    path = folder / "play.py"
    path.write_text(SCRIPT.format(tests=FOLDERS, game=game, n=n, engine=engine, folder=os.fspath(folder)))
    command = [str(launcher()), "-n", "2", sys.executable, os.fspath(path)]
    done = subprocess.run(
        command, env=ranks_environment(folder), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    if not (folder / "1of2.json").exists():
        pytest.skip("mpiexec does not belong to mpi4py's MPI library: each rank is alone")
    return [strict((folder / f"{rank}of2.json").read_text()) for rank in range(2)]


@pytest.mark.slow
@needs_engine
def test_two_ranks_find_the_same_plan_of_a_thousand_followers(tmp_path: Path) -> None:
    first, second = on_two_ranks(tmp_path, "averaged", 1000)
    assert first["values"] == second["values"]
    assert first["follower_objectives"] == second["follower_objectives"]
    assert "2 ranks, 2 bundles" in first["solver"]
    assert first["quality"] == "optimal"
    assert first["leader_objective"] == pytest.approx(averaged(1000).metadata["optimum"], abs=2e-6)
    assert len(first["values"]) == 1001


@pytest.mark.slow
@needs_engine
def test_two_ranks_share_five_bundles(tmp_path: Path) -> None:
    first, second = on_two_ranks(tmp_path, "cournot", 20, "sp.Hedging(bundles=5)")
    assert first["values"] == second["values"]
    whole = sp.leader_optimal(cournot(20))
    assert first["leader_objective"] == pytest.approx(whole.leader_objective, rel=2e-6)
    assert first["bound"] >= whole.leader_objective * (1 - 1e-9), "he maximises"
