"""Ties of followers of integer actions: closed forms, one follower and three in equilibrium with each other."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest
from conftest import snapshot

import stackpyomo as sp


def toll() -> sp.Game:
    """A driver takes the road at 2 + t or another at 5: revenue t up to t = 3, where it is indifferent."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(0, 10))
    m.f = pyo.Block()
    m.f.a, m.f.b = pyo.Var(domain=pyo.Binary), pyo.Var(domain=pyo.Binary)
    m.f.one = pyo.Constraint(expr=m.f.a + m.f.b == 1)
    m.f.cost = pyo.Objective(expr=(2 + m.t) * m.f.a + 5 * m.f.b)
    m.revenue = pyo.Objective(expr=m.t * m.f.a, sense=pyo.maximize)
    return sp.Game(m, m.f)


def test_a_revenue_that_is_approached_but_not_reached() -> None:
    game = toll()
    before = snapshot(game.model)
    plan = sp.stackelberg(game, ties="pessimistic")
    assert snapshot(game.model) == before
    assert plan.attained is False
    assert plan.bound == pytest.approx(3, abs=1e-9)
    assert 2.999 < plan.leader_objective < 3
    assert plan.value("t") == pytest.approx(plan.leader_objective)
    assert plan.ties["optimistic"] == pytest.approx(3)
    assert plan.ties["worst"] == pytest.approx(0, abs=1e-9)


def test_entry_by_three_firms() -> None:
    """Firm k enters at cost 3, 4 or 6 + t, price 10 − 3n: with a tax of 4 the worst equilibrium has nobody in."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(domain=pyo.Integers, bounds=(-4, 5))
    m.e = pyo.Block([3, 4, 6])
    for block in m.e.values():
        block.y = pyo.Var(domain=pyo.Binary)
    count = sum(block.y for block in m.e.values())
    for cost, block in m.e.items():
        block.loss = pyo.Objective(expr=block.y * (cost + m.t - 10 + 3 * count))
    m.tax = pyo.Objective(expr=m.t * count, sense=pyo.maximize)
    plan = sp.stackelberg(sp.Game(m, m.e), ties="pessimistic")
    assert plan.leader_objective == pytest.approx(3)
    assert plan.value("t") == 3
    assert plan.attained is True
    assert plan.quality == "optimal"
    assert plan.ties["optimistic"] == pytest.approx(4)
