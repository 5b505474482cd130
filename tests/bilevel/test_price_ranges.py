"""Ranges of prices: a degenerate market, by hand."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.plans import Plan


def test_the_price_of_a_degenerate_market_is_a_range() -> None:
    """A. J. Conejo et al. (2016): −190,000 at x = 50, where any price from 12 to 15 clears the market."""
    m = pyo.ConcreteModel()
    m.x, m.price = pyo.Var(bounds=(0, 250)), pyo.Var()
    m.f = pyo.Block()
    m.f.y = pyo.Var([1, 2, 3], bounds=lambda _, i: (0, {1: None, 2: 150, 3: 100}[i]))
    y = m.f.y
    m.f.cost = pyo.Objective(expr=10 * y[1] + 12 * y[2] + 15 * y[3])
    m.f.balance = pyo.Constraint(expr=y[1] + y[2] + y[3] == 200)
    m.f.limit = pyo.Constraint(expr=y[1] <= m.x)
    m.goal = pyo.Objective(expr=40000 * m.x + 8760 * (10 * y[1] - m.price * y[1]))
    plan = sp.stackelberg(sp.Game(m, followers=m.f, prices=[(m.price, m.f.balance)]))
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(-190000, rel=1e-6)
    assert plan.price_range.loc["price"].tolist() == pytest.approx([12, 15], abs=1e-6)
    assert any("leans on a price that the market need not choose" in text for text in plan.warnings)
    again = Plan.from_json(plan.to_json(), plan.game)
    assert again.price_range.equals(plan.price_range)
    assert sp.verify(plan).prices["price"] == pytest.approx(0.0, abs=1e-3)
