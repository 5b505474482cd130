"""Solutions: why a solver stopped and what it holds, as plain data."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import toll_game

import stackpyomo as sp
from stackpyomo.solvers import Program, Solution, Termination, registry

T = Termination


@pytest.mark.parametrize("off", [0.0, 1e-5, 0.01, 0.3])
def test_a_solver_that_stops_early_is_not_called_optimal(off: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """It claims convergence at toll = off, flow = 0.6 + off, where the leader loses 1.01 off² against the optimum 0."""
    game = toll_game()

    def run(program: Program, *_: Any) -> Solution:
        point = {"toll": off, "driver.flow": 0.6 + off}
        return Solution(T.CONVERGED, "so it says", np.array([point[v.name] for v in program.variables]), np.zeros(0))

    monkeypatch.setitem(registry, "pounce", dataclasses.replace(registry["pounce"], run=run))
    plan = sp.leader_optimal(game, solver="pounce")
    lost = 1.01 * off**2
    assert plan.leader_objective == pytest.approx(lost, abs=1e-15)
    assert plan.epsilon0 >= lost * (1 - 1e-9)
    assert plan.bound <= 1e-15
    assert 0.1 * plan.epsilon0 <= plan.gap <= 10.0 * plan.epsilon0, "relative to what is at stake in the box"
    assert plan.quality == ("optimal" if off == 0.0 else "feasible")
    assert plan.residuals["complementarity"] + plan.residuals["stationarity"] >= 0.01 * off


def limited() -> sp.Game:
    """The toll game with a row, so that there are duals to lose."""
    m = toll_game().model
    m.cap = pyo.Constraint(expr=m.driver.flow + m.toll <= 0.5)
    return sp.Game(m, m.driver)


def test_a_solution_is_plain_data() -> None:
    """What the log of a plan holds goes into JSON as it is."""
    plan = sp.leader_optimal(limited(), starts=2)
    assert json.loads(json.dumps(plan.log)) == plan.log
    assert [entry["termination"] for entry in plan.log] == ["converged", "converged"]
    assert Solution(T.FAILED, "").x is None


def test_without_its_proof_a_solution_keeps_its_point_alone() -> None:
    best = Solution(Termination.OPTIMAL, "done", np.ones(2), bound=1.0).without_proof("numbers too large")
    assert (best.termination, best.x.tolist(), math.isnan(best.bound)) == (Termination.CONVERGED, [1.0, 1.0], True)
    none = Solution(Termination.INFEASIBLE, "no").without_proof("numbers too large")
    assert (none.termination, none.message) == (Termination.FAILED, "called infeasible: numbers too large")
    late = Solution(Termination.TIME_LIMIT, "late", bound=1.0).without_proof("numbers too large")
    assert (late.termination, math.isnan(late.bound)) == (Termination.TIME_LIMIT, True)
