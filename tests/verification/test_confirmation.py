"""Bounds of a global solver, derived again on intervals: in no unit of the model's."""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo
import pytest
from helpers.one_follower import one_follower

import stackpyomo as sp
from stackpyomo.verification.best_response import composed
from stackpyomo.verification.confirmation import is_confirmed


@pytest.mark.parametrize(
    ("wide", "far", "money"), [(1.0, 1.0, 1.0), (1e5, 1e3, 1.0), (1e-4, 1e6, 1e5), (1.0, 1e-5, 1e-6)]
)
def test_units_change_no_evidence(wide: float, far: float, money: float) -> None:
    """A kinked and a bent term of a follower who is not convex in parts, one action without bounds."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-5, 5), initialize=-5.0), pyo.Block()
    m.f.a, m.f.b = pyo.Var(bounds=(-2 * wide, 3 * wide), initialize=0.0), pyo.Var(initialize=0.0)
    a, b = m.f.a / wide, m.f.b / far
    root = pyo.sqrt(1 + (m.t - 1.49 * a) ** 2)
    cost = 0.9 * (a + 0.55) ** 2 + 1.14 * (b - 0.76) ** 2 + 0.37 * m.t * (b + 3) + root - 1.13 * pyo.tanh(a)
    m.f.cost = pyo.Objective(expr=money * cost)
    m.goal = pyo.Objective(expr=(m.t + 5) ** 2)
    report = sp.verify(sp.nash(sp.Game(m, m.f)))
    assert report.ok
    assert report.certificate["f"] == "global"


def test_a_cost_that_falls_far_out_is_not_proved() -> None:
    """(u − 3)² + t u − u⁴/10⁶ with t stopped at ±5: it rises up to |u| = 700 and falls from there without an end."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-5, 5), initialize=0.0), pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.cost = pyo.Objective(expr=(m.f.u - 3) ** 2 + m.t * m.f.u - 1e-6 * m.f.u**4)
    m.goal = pyo.Objective(expr=(m.f.u - 1) ** 2 + m.t**2)
    report = sp.verify(sp.affine_incentive(sp.leader_optimal(sp.Game(m, m.f))))
    assert not report.ok
    assert report.certificate["f"] == "unknown"


def test_a_global_bound_is_confirmed_on_intervals_or_not_believed() -> None:
    """(u − 1)² − 1e6 exp(−((u − 777)/0.05)²) has its least at 777; who claims u = 1 is not believed."""

    def confirmed(cost: Any, best: float, above: float) -> bool:
        game = one_follower(lambda u0, u: cost(u) + u0, bounds=(-1000, 1000), target=best)
        (problem,) = composed(game, sp.Plan.from_values(game).announcement, set(game.followers))
        problem.offer([best], problem.cost_at([best]))
        return is_confirmed(problem, problem.best_cost - above)

    def needle(depth: float) -> Any:
        return lambda u: (u - 1) ** 2 - depth * pyo.exp(-(((u - 777) / 0.05) ** 2))

    assert confirmed(needle(1e5), 1.0, 1e-5)  # not as deep as 776²
    assert not confirmed(needle(1e6), 1.0, 1e-5)
    assert confirmed(lambda u: (u / 1000) ** 2 - pyo.cos(u / 100), 0.0, 1e-9)
    assert not confirmed(lambda u: (u / 1000) ** 2 - 2 * pyo.cos((u - 100) / 100), 0.0, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_what_a_global_solver_proves_depends_on_no_unit(unit: float) -> None:
    """A well beside the plan and a rule that is stopped at bounds: rows are met to a share of their own size."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-5 * unit, 5 * unit), initialize=-0.495 * unit), pyo.Block()
    m.f.x, m.f.y = pyo.Var(bounds=(0, 3), initialize=0.0), pyo.Var(bounds=(-2, 3), initialize=-1.48)
    t, x, y = m.t / unit, m.f.x, m.f.y
    cost = 1.32 * (x - 0.54) ** 2 + 1.23 * (y - 1.76) ** 2 + (t + 0.38 * x + 0.68) ** 2
    m.f.cost = pyo.Objective(expr=cost - pyo.exp(-(((y + 1.88) / 0.05) ** 2)))
    m.goal = pyo.Objective(expr=x**2 + (y + 1.48) ** 2 + (t + 0.495) ** 2)
    report = sp.verify(sp.affine_incentive(sp.Plan.from_values(sp.Game(m, m.f))), proof_seconds=60.0)
    assert report.ok
    assert report.certificate["f"] == "global"
