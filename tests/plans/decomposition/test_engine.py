"""Engines: what is refused, and what a hedged plan is worth to those who ask for it."""

from __future__ import annotations

import sys

import pyomo.environ as pyo
import pytest
from conftest import toll_game
from helpers.bundles import Sums, averaged, bought, needs_engine

import stackpyomo as sp
from stackpyomo.plans.decomposition.engine import chosen_engine
from stackpyomo.plans.decomposition.partition import Partition


def test_arguments_are_looked_at() -> None:
    game = toll_game()
    with pytest.raises(sp.InvalidGame, match="expected 1 to 1"):
        Partition(game, 2)
    with pytest.raises(sp.InvalidGame, match="engine='mpi'"):
        sp.leader_optimal(game, engine="mpi")
    for wrong in ({"bundles": 0}, {"iterations": 0}, {"tolerance": 0.0}):
        with pytest.raises(sp.InvalidGame, match=next(iter(wrong))):
            sp.Hedging(**wrong)  # type: ignore[arg-type]
    assert chosen_engine("auto") is chosen_engine("monolith") is None
    assert sp.leader_optimal(game, engine="monolith").value("driver.flow") == pytest.approx(0.6)


def test_what_it_cannot_do_is_refused() -> None:
    game = averaged(4)
    with pytest.raises(sp.InvalidGame, match="no responding followers"):
        sp.leader_optimal(game, engine="mpi-sppy", responding=True)
    with pytest.raises(sp.InvalidGame, match="no starts=2"):
        sp.leader_optimal(game, engine="mpi-sppy", starts=2)
    with pytest.raises(sp.InvalidGame, match="by an NLP solver"):
        sp.leader_optimal(game, engine="mpi-sppy", solver="scip")
    game.model.whole = pyo.Var(domain=pyo.Integers)
    with pytest.raises(sp.InvalidGame, match="whole: an integer variable"):
        sp.leader_optimal(game, engine="mpi-sppy")


def test_without_mpi_sppy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "mpisppy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mpisppy", None)
    with pytest.raises(sp.SolverNotAvailable, match=r'pip install "stackpyomo\[mpi\]"'):
        sp.leader_optimal(averaged(4), engine="mpi-sppy")


@needs_engine
def test_a_hedged_plan_is_a_plan() -> None:
    game = averaged(6)
    game.model.toll = pyo.Var(range(6), bounds=(-5, 5), initialize=0.0)
    for i in range(6):
        game.model.f[i].cost.set_value(game.model.f[i].cost.expr + game.model.toll[i] * game.model.f[i].u)
    game.model.goal.set_value(game.model.goal.expr + Sums(game.model.toll[i] ** 2 for i in range(6)))
    plan = sp.leader_optimal(game, engine=sp.Hedging(tolerance=1e-9))
    assert sp.verify(sp.affine_incentive(plan)).ok
    back = sp.Plan.from_json(plan.to_json(), game)
    assert back.leader_objective == plan.leader_objective
    assert "mpi-sppy" in str(back)
    assert back.options["engine"] == repr(sp.Hedging(tolerance=1e-9)), "needed to do it again"


@needs_engine
def test_what_the_leader_does_not_care_about_its_follower_settles() -> None:
    game = averaged(4)
    for i in range(4):
        b = game.model.f[i]
        b.own = pyo.Var(bounds=(-1, 3), initialize=0.0)
        b.cost.set_value(b.cost.expr + (b.own - 0.1 * i - b.u) ** 2)
    plan = sp.leader_optimal(game, engine="mpi-sppy")
    for i in range(4):
        assert plan.value(f"f[{i}].own") == pytest.approx(plan.value(f"f[{i}].u") + 0.1 * i, abs=1e-6)


@needs_engine
def test_where_no_point_satisfies_a_bundles_rows_there_is_no_plan() -> None:
    game = averaged(6)
    game.model.f[5].never = pyo.Constraint(expr=game.model.f[5].u ** 2 + game.model.f[5].u >= 7)
    with pytest.raises(sp.NoPlan, match=r"bundle of f\[3\]"):
        sp.leader_optimal(game, engine="mpi-sppy")


@needs_engine
def test_where_bundles_cannot_agree_there_is_no_plan() -> None:
    game = bought(6)
    game.model.buy.setub(0.0)
    game.model.f[0].u.setub(0.1)
    game.model.balance.set_value(game.model.balance.body == 10.0)
    with pytest.raises(sp.NoPlan):
        sp.leader_optimal(game, engine=sp.Hedging(iterations=10))
