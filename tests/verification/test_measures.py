"""What is at stake for a follower: by closed forms, where its cost runs away on one side of the plan."""

from __future__ import annotations

import math

import pyomo.environ as pyo
import pytest

import stackpyomo as sp


def _report(cost: object, bounds: tuple[float | None, float | None], level: float) -> sp.Report:
    m = pyo.ConcreteModel()
    m.u = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.x, m.f.y = pyo.Var(bounds=bounds, initialize=level), pyo.Var(bounds=(-1, 1), initialize=0.0)
    m.f.cost = pyo.Objective(expr=cost(m.f.x, m.f.y))  # type: ignore[operator]
    m.loss = pyo.Objective(expr=m.u**2)
    return sp.verify(sp.Plan.from_values(sp.Game(m, [m.f])), proof_seconds=1.0)


@pytest.mark.parametrize("steepness", [1.0, 50.0, 1000.0])
@pytest.mark.parametrize("factor", [1e-8, 1.0, 1e8])
def test_a_cost_that_explodes_above_the_plan_excuses_nothing(steepness: float, factor: float) -> None:
    """At 0.6 in [0, 1] the gain from leaving for 0 is all but the whole cost, whatever the slope at 0.7."""
    report = _report(lambda x, y: factor * pyo.exp(steepness * x) + factor * y**2, (0.0, 1.0), 0.6)
    assert not report.ok
    assert report.epsilon == pytest.approx(factor * (math.exp(0.6 * steepness) - 1.0), rel=1e-6)


def test_a_cost_that_runs_away_beside_another_does_not_hide_it() -> None:
    """y is 0.5 from its optimum; the slope in y a tenth of a reach away holds exp(1000 x)."""
    m = pyo.ConcreteModel()
    m.u = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.x, m.f.y = pyo.Var(bounds=(-1, 1), initialize=0.0), pyo.Var(bounds=(-1, 1), initialize=0.5)
    m.f.cost = pyo.Objective(expr=m.f.y**2 * pyo.exp(1000 * m.f.x) + pyo.exp(1000 * m.f.x) - 1250 * m.f.x)
    m.loss = pyo.Objective(expr=m.u**2)
    assert not sp.verify(sp.Plan.from_values(sp.Game(m, [m.f]))).ok


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 1.0), (None, None)])
@pytest.mark.parametrize("followers", [1, 30])
def test_walls_on_both_sides_excuse_nothing(bounds: tuple[float | None, float | None], followers: int) -> None:
    """(x − 1)² between walls of 10⁻³⁰ e^{1000 |x|}: from 0 to 0.06 there is 0.11 to gain, and no wall yet."""
    m = pyo.ConcreteModel()
    m.u = pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(followers))
    for k in m.f:
        m.f[k].x = pyo.Var(bounds=bounds, initialize=0.0)
        x = m.f[k].x
        m.f[k].cost = pyo.Objective(expr=(x - 1) ** 2 + 1e-30 * (pyo.exp(1000 * x) + pyo.exp(-1000 * x)))
    m.loss = pyo.Objective(expr=m.u**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, list(m.f.values()))), proof_seconds=1.0)
    assert not report.ok
    assert report.scale.max() < 1e4


def test_a_flat_side_is_no_measure() -> None:
    """max(0, x)² as a smooth sum: at the kink the plan and one side have no slope, and a rounding is still nothing."""
    smooth = _report(lambda x, y: (x + (x**2 + 1e-12) ** 0.5) ** 2 + y**2, (-1.0, 1.0), 1e-9)
    assert smooth.ok
