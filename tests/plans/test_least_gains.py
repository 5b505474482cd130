"""Least gains of several leaders: a game without an equilibrium."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.deviations import Deviations
from stackpyomo.plans.leaders import shortfalls
from stackpyomo.plans.least_gains import LeastGains
from stackpyomo.solvers import registry

pytestmark = pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")


def pang_fukushima() -> sp.Game:
    """J.-S. Pang, M. Fukushima, Computational Management Science 2 (2005): y = max(0, 1 − x₁ − x₂); no equilibrium.

    L1: x₁/2 + y, best at x₁ = 1 − x₂; L2: −x₂/2 − y, best at an end of [0, 1]. The least largest gain is 1/8.
    """
    m = pyo.ConcreteModel()
    m.A, m.B, m.f = pyo.Block(), pyo.Block(), pyo.Block()
    m.A.x, m.B.x, m.f.y = pyo.Var(bounds=(0, 1)), pyo.Var(bounds=(0, 1)), pyo.Var(bounds=(0, None))
    m.A.cost = pyo.Objective(expr=0.5 * m.A.x + m.f.y)
    m.B.cost = pyo.Objective(expr=-0.5 * m.B.x - m.f.y)
    m.f.cost = pyo.Objective(expr=m.f.y * (m.A.x + m.B.x - 1) + m.f.y**2 / 2)
    return sp.Game(m, m.f, leaders=[m.A, m.B])


def test_five_deviations_prove_that_there_is_no_equilibrium() -> None:
    """By hand: with v₁ in {0, ½, 1} and v₂ in {0, 1} no plan leaves everybody less than 1/12."""
    game = pang_fukushima()
    master, rows = LeastGains(game, [], sp.plans.Options()), Deviations({})
    assert master.solve(rows) is None
    point = {"A.x": 0.0, "B.x": 0.0, "f.y": 1.0}
    for name, level in (("A", 0.0), ("A", 0.5), ("A", 1.0), ("B", 0.0), ("B", 1.0), ("B", 1.0)):
        for deviation in master.deviation(name, {**point, f"{name}.x": level}):
            rows.add(deviation)
    assert len(rows) == 5
    assert master.solve(rows) is not None
    assert master.bound == pytest.approx(1 / 12, abs=1e-5)
    gains = shortfalls(game, {"A.x": 0.5, "B.x": 0.25, "f.y": 0.25})
    assert gains == pytest.approx({"A": 0.125, "B": 0.125}, abs=1e-5)


def test_a_rule_that_replies_follow_bounds_the_least_gain_exactly() -> None:
    """A replies 1 − x₂, B goes to an end: no plan leaves both less than 1/8, which points only creep up to."""
    game = pang_fukushima()
    master, rows = LeastGains(game, [], sp.plans.Options()), Deviations({})
    given = np.array([[0.1], [0.8], [0.5]])
    master.learn("A", given, 1.0 - given)
    master.learn("A", given[:2], given[:2])  # the rule says this reply already, or not: two are too few for another
    assert len(master.rules["A"]) == 1
    for level in (0.0, 1.0):
        for deviation in master.deviation("B", {"A.x": 0.0, "B.x": level, "f.y": 0.0}):
            rows.add(deviation)
    point = master.solve(rows)
    assert point is not None
    assert master.bound == pytest.approx(0.125, rel=1e-7)
    assert shortfalls(game, point) == pytest.approx({"A": 0.125, "B": 0.125}, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("money", "amount"), [(1.0, 1.0), (1e3, 1e-3)])
def test_the_plan_of_least_gain_is_as_sharp_as_its_bound(money: float, amount: float) -> None:
    """y = max(0, c − x₁ − x₂), L1: a x₁ + y, L2: −b x₂ − y; a game in which nobody rests, in any units."""
    a, b, c, k = 0.564, 0.66, 1.117, 0.813
    m = pyo.ConcreteModel()
    m.A, m.B, m.f = pyo.Block(), pyo.Block(), pyo.Block()
    m.A.x, m.B.x, m.f.y = pyo.Var(bounds=(0, amount)), pyo.Var(bounds=(0, amount)), pyo.Var(bounds=(0, None))
    m.A.cost = pyo.Objective(expr=money / amount * (a * m.A.x + m.f.y))
    m.B.cost = pyo.Objective(expr=-money / amount * (b * m.B.x + m.f.y))
    m.f.cost = pyo.Objective(expr=money / amount**2 * (m.f.y * (m.A.x + k * m.B.x - c * amount) + m.f.y**2 / 2))
    plan = sp.stackelberg(sp.Game(m, m.f, leaders=[m.A, m.B]))
    grid = np.linspace(0.0, 1.0, 1001)
    one, two = np.meshgrid(grid, grid, indexing="ij")
    answer = np.maximum(0.0, c - one - k * two)
    first, second = a * one + answer, -b * two - answer
    gains = np.maximum(first - first.min(axis=0), second - second.min(axis=1, keepdims=True))
    assert plan.quality == "infeasible"
    assert plan.least_shortfall == pytest.approx(money * gains.min(), abs=2e-3 * money)
    assert plan.epsilon.max() == pytest.approx(plan.least_shortfall, rel=1e-6)
