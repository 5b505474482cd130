"""Costs that are increasing functions of simpler ones: the same answers, and multipliers of the cost as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyomo.environ as pyo
import pytest
from pyomo.core.expr.calculus.derivatives import Modes, differentiate

import stackpyomo as sp
from stackpyomo.bilevel.plain_costs import plain_cost
from stackpyomo.core.expressions import is_quadratic
from stackpyomo.solvers import registry

COSTS: dict[str, tuple[Callable[[Any], Any], Callable[[float], float]]] = {
    "fourth power": (lambda e: e**4, lambda e: 4 * e**3),
    "three times a sixth power, and what others do": (lambda e: 3 * e**6 + 7, lambda e: 18 * e**5),
    "third power": (lambda e: e**3, lambda e: 3 * e**2),
    "exponential": (lambda e: pyo.exp(e), math.exp),
}
"""cost(e) → its derivative."""


def shimizu(cost: Callable[[Any], Any], sign: int = 1, unit: float = 1.0) -> sp.Game:
    """The quartic of Shimizu, Ishizuka and Bard: x + y = 20 as near as 4 x + y ≤ 50 lets it be; 16 x² + 9 y² → min."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 12.5 * unit))
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 50 * unit))
    m.f.row = pyo.Constraint(expr=4 * m.x + m.f.y <= 50 * unit)
    goal = m.x + m.f.y - 20 * unit
    sense = pyo.minimize if sign > 0 else pyo.maximize
    m.f.cost = pyo.Objective(expr=sign * cost(goal / unit), sense=sense)
    m.rows = pyo.Constraint(expr=m.f.y <= 4 * m.x)
    m.cost = pyo.Objective(expr=(16 * m.x**2 + 9 * m.f.y**2) / unit**2)
    return sp.Game(m, m.f)


@pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")
@pytest.mark.parametrize(("sign", "unit"), [(1, 1.0), (-1, 1.0), (1, 1e3), (1, 1e-3)])
def test_a_fourth_power_is_proved_like_a_square(sign: int, unit: float) -> None:
    """With the fourth power SCIP's bound is 1558 after a second; the answer is x = 11.25, y = 5, at 2250."""
    plan = sp.stackelberg(shimizu(lambda e: e**4, sign, unit))
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(2250, rel=1e-6)
    assert plan.values["x"] == pytest.approx(11.25 * unit, rel=1e-5)
    assert plan.multipliers["f.row"] == pytest.approx(4 * sign * (-3.75) ** 3 / unit, rel=1e-4)


@pytest.mark.parametrize("name", COSTS)
def test_the_rate_makes_the_derivative_of_the_cost(name: str) -> None:
    cost, slope = COSTS[name]
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=0.5), pyo.Var(initialize=-2.0)
    plain = plain_cost(cost(m.x + m.y / 2), {id(m.y)})
    assert plain is not None
    (steep,) = differentiate(plain.expression, wrt_list=[m.y], mode=Modes.reverse_numeric)
    assert pyo.value(plain.rate) * steep == pytest.approx(slope(-0.5) / 2)
    assert is_quadratic(plain.expression)


def test_what_has_no_simpler_cost() -> None:
    m = pyo.ConcreteModel()
    m.x, m.y, m.z = pyo.Var(), pyo.Var(), pyo.Var()
    mine = {id(m.y), id(m.z)}
    costs = (
        m.y**2,
        m.y**4 + m.z,
        (m.y * m.x) ** 4,
        m.y**2.5,
        pyo.log(m.y),
        m.y**m.x,
        (1 + m.y) ** -2,
        m.x**4 + 0 * m.x,
    )
    assert all(plain_cost(cost, mine) is None for cost in costs)
    assert plain_cost(m.x**2 + (m.y - m.z) ** 4, mine) is not None
