"""Least gains of several leaders: a game without an equilibrium."""

from __future__ import annotations

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
