"""Answer sets: which are one point, and which have no exact description."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.solvers import registry

pytestmark = pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")


def test_unique_answers_cost_nothing() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 2))
    m.f = pyo.Block([0, 1])
    for i in (0, 1):
        m.f[i].u = pyo.Var(bounds=(0, 10))
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - m.x) ** 2)
    for i, other in ((0, 1), (1, 0)):
        m.f[i].cost.set_value(m.f[i].cost.expr + 0.5 * m.f[i].u * m.f[other].u)
    m.goal = pyo.Objective(expr=(m.x - 1) ** 2 + m.f[0].u)
    game = sp.Game(m, m.f)
    plan = sp.stackelberg(game, ties="pessimistic")
    assert plan.ties["unique"]
    assert plan.attained is True
    assert plan.values == sp.stackelberg(game).values
    assert "Ties cost nothing: the followers' answer is unique whatever the leader does (proved)." in str(plan)


def test_a_cost_without_an_exact_description_asks_for_a_width() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.f = pyo.Block()
    m.f.a, m.f.b = pyo.Var(bounds=(0, 1)), pyo.Var(bounds=(0, 1))
    m.f.cost = pyo.Objective(expr=pyo.exp(m.f.a + m.f.b) - (1 + m.x) * (m.f.a + m.f.b))
    m.goal = pyo.Objective(expr=m.f.a - m.x)
    game = sp.Game(m, m.f)
    with pytest.raises(sp.InvalidGame, match=r"f: its cost is neither linear nor quadratic.*tie_tolerance="):
        sp.stackelberg(game, ties="pessimistic")
