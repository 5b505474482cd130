"""Plans: what is found, what is claimed about it, and what is kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import NLP, snapshot, toll_game
from scipy.optimize import minimize

import stackpyomo as sp
from stackpyomo.solvers import registry


def leader_only(goal: Any, *, bounds: tuple[Any, Any] = (None, None), start: float | None = None) -> sp.Game:
    """A game whose follower is decoration: the plan is min goal(x)."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=bounds, initialize=start)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.cost = pyo.Objective(expr=m.f.u**2 + m.x)
    m.goal = pyo.Objective(expr=goal(m.x) + m.f.u**2)
    return sp.Game(m, followers=m.f)


def double_well(x: Any) -> Any:
    """Local minimum near +1, global near −1, 0.4 lower."""
    return (x**2 - 1) ** 2 + 0.2 * x


@pytest.mark.parametrize("solver", NLP)
def test_a_nonconvex_plan_is_never_called_optimal(solver: str) -> None:
    plan = sp.leader_optimal(leader_only(double_well, bounds=(-2, 2), start=1.0), solver=solver)
    assert plan.value("x") == pytest.approx(0.974, abs=1e-3)
    assert plan.quality == "feasible"
    assert math.isnan(plan.epsilon0)
    assert math.isnan(plan.bound)


def test_more_starts_leave_the_wrong_valley_and_are_logged() -> None:
    game = leader_only(double_well, bounds=(-2, 2), start=1.0)
    before = snapshot(game.model)
    plan = sp.leader_optimal(game, starts=8)
    assert plan.value("x") == pytest.approx(-1.024, abs=1e-3)
    assert len(plan.log) == 8
    assert {"start", "solver", "termination", "objective", "seconds"} <= set(plan.log[0])
    assert plan.leader_objective == pytest.approx(min(row["objective"] for row in plan.log))
    assert snapshot(game.model) == before


@pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")
def test_a_global_solver_proves_what_a_local_one_cannot() -> None:
    plan = sp.leader_optimal(leader_only(double_well, bounds=(-2, 2), start=1.0), solver="scip")
    assert plan.value("x") == pytest.approx(-1.024, abs=1e-2)
    assert plan.quality == "optimal"
    assert plan.bound == pytest.approx(plan.leader_objective, abs=1e-5)
    assert 0 <= plan.epsilon0 <= 1e-5


@pytest.mark.parametrize("sense", [1, -1])
@pytest.mark.parametrize("flip", [1, -1])
def test_multipliers_are_sensitivities_in_the_users_sense(sense: int, flip: int) -> None:
    """d(objective)/d(right-hand side) by finite differences, whatever way the row and the objective are written."""

    def value(shift: float) -> sp.Plan:
        m = pyo.ConcreteModel()
        m.x, m.y = pyo.Var(bounds=(0, 10)), pyo.Var(bounds=(0, 10))
        m.f = pyo.Block()
        m.f.u = pyo.Var()
        m.f.cost = pyo.Objective(expr=m.f.u**2 + m.x)
        row = flip * (m.x + 2 * m.y)
        m.need = pyo.Constraint(expr=row >= 3 + shift if flip > 0 else row <= -3 + shift)
        m.tie = pyo.Constraint(expr=m.x - m.y == 0.25)
        m.band = pyo.Constraint(expr=(-1, m.f.u, 1))
        cost = pyo.exp(m.x) + m.y**2 + (m.f.u - 2) ** 2
        m.goal = pyo.Objective(expr=sense * cost, sense=pyo.minimize if sense > 0 else pyo.maximize)
        return sp.leader_optimal(sp.Game(m, followers=m.f))

    step = 1e-4
    slope = (value(step).leader_objective - value(-step).leader_objective) / (2 * step)
    plan = value(0.0)
    assert plan.multipliers["need"] == pytest.approx(slope, rel=1e-5)
    assert plan.multipliers["band"] == pytest.approx(sense * -2, rel=1e-6)
    assert plan.quality == "optimal"
    best = minimize(
        lambda z: math.exp(z[0]) + z[1] ** 2 + 1,
        [1.0, 1.0],
        constraints=[
            {"type": "ineq", "fun": lambda z: z[0] + 2 * z[1] - 3},
            {"type": "eq", "fun": lambda z: z[0] - z[1] - 0.25},
        ],
    )
    assert sense * plan.leader_objective == pytest.approx(best.fun, abs=1e-6)
    assert max(plan.residuals.values()) <= 1e-8


def test_variables_nobody_uses_and_fixed_ones_have_values_too() -> None:
    game = toll_game()
    m = game.model
    m.idle = pyo.Var(bounds=(2, 5))
    m.given = pyo.Var(initialize=7.0)
    m.given.fix()
    m.known = pyo.Var(initialize=3.5)
    game = sp.Game(m, followers=m.driver)
    plan = sp.leader_optimal(game)
    assert (plan.value("idle"), plan.value("given"), plan.value("known")) == (2.0, 7.0, 3.5)
    assert m.idle.value is None


def test_load_and_from_values_and_json() -> None:
    game = toll_game()
    plan = sp.leader_optimal(game)
    assert game.model.driver.flow.value is None
    plan.load()
    assert game.model.driver.flow.value == pytest.approx(0.6)
    again = sp.Plan.from_values(game)
    assert "scip" not in str(again), "no solver found it, and none would be asked"
    assert again.values == plan.values
    assert again.leader_objective == pytest.approx(plan.leader_objective, abs=1e-12)
    assert again.quality == "feasible"
    assert sp.affine_incentive(again).gain.iloc[0, 0] == pytest.approx(4 / 3)
    read = sp.Plan.from_json(plan.to_json(), game)
    assert read == plan
    assert sp.verify(sp.affine_incentive(read)).ok
    game.model.driver.flow.set_value(3.0, skip_validation=True)
    assert sp.Plan.from_values(game).quality == "infeasible"


def test_a_discrete_leader_needs_a_solver_for_it() -> None:
    m = pyo.ConcreteModel()
    m.open = pyo.Var(domain=pyo.Binary)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 4))
    m.f.cost = pyo.Objective(expr=(m.f.u - 1) ** 2 + m.open * m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - 3 * m.open) ** 2 + (m.open - 0.7) ** 2)
    game = sp.Game(m, followers=m.f)
    with pytest.raises(sp.InvalidGame, match=r"open: an integer variable.*scip"):
        sp.leader_optimal(game, solver="pounce")
    plan = sp.leader_optimal(game)  # "auto" takes a solver that can
    assert plan.solver == "scip"
    assert plan.value("open") == pytest.approx(1.0)
    assert plan.value("f.u") == pytest.approx(3.0, abs=1e-3)
    assert plan.quality == "optimal"


def test_residuals_are_recomputed_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver that claims success at a wrong point: the plan says infeasible, or far from stationary."""
    from dataclasses import replace

    info = registry["pounce"]

    def shifted(program: Any, *args: Any) -> Any:
        solution = info.run(program, *args)
        solution.x = solution.x + 0.3
        return solution

    monkeypatch.setitem(registry, "pounce", replace(info, run=shifted))
    plan = sp.leader_optimal(toll_game(), solver="pounce")
    assert plan.residuals["stationarity"] > 0.1 or plan.residuals["complementarity"] > 0.1
    assert plan.quality == "feasible"
    assert plan.epsilon0 > 0.01

    def outside(program: Any, *args: Any) -> Any:
        solution = info.run(program, *args)
        solution.x = np.full_like(solution.x, 50.0)
        return solution

    monkeypatch.setitem(registry, "pounce", replace(info, run=outside))
    assert sp.leader_optimal(toll_game(), solver="pounce").quality == "infeasible"


@pytest.mark.parametrize(("low", "high"), [(0, 2), (-2, 0)])
def test_a_bound_that_the_optimum_only_touches(low: int, high: int) -> None:
    """toll = 0 is best with and without the bound: an interior-point method alone stops 5e-5 beside it.

    The driver is tempted to more flow, which only a higher toll can make up for.
    """
    plan = sp.leader_optimal(toll_game(low, high))
    assert plan.values["toll"] == 0.0
    if high:
        assert sp.affine_incentive(plan).gain.iloc[0, 0] == pytest.approx(4 / 3, abs=1e-6)
        return
    with pytest.raises(sp.NoIncentive, match="toll stands at its upper bound"):
        sp.affine_incentive(plan)


def test_what_need_not_be_optimal_gets_no_advice() -> None:
    found = sp.nash(toll_game(), leader={"toll": 0.5})
    assert found.options["function"] == "nash"
    assert "optimal: solver" not in str(found)
