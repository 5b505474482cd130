"""Ranges of prices: a degenerate market, by hand."""

from __future__ import annotations

import math

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
    assert any("relies on a price that the market need not choose" in text for text in plan.warnings)
    again = Plan.from_json(plan.to_json(), plan.game)
    assert again.price_range.equals(plan.price_range)
    assert sp.verify(plan).prices["price"] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(("money", "amount"), [(1e-8, 1.0), (1e8, 1.0), (1.0, 1e-7), (1.0, 1e7)])
def test_a_range_is_the_same_in_every_unit(money: float, amount: float) -> None:
    """Two offers of 1 at 7 and 8, a third at 9: a demand of 1 is met at any price from 7 to 8."""
    m = pyo.ConcreteModel()
    m.price, m.f = pyo.Var(), pyo.Block()
    m.f.y = pyo.Var(range(3), bounds=(0, amount))
    m.f.cost = pyo.Objective(expr=money * sum((7 + i) * m.f.y[i] / amount for i in range(3)))
    m.f.row = pyo.Constraint(expr=sum(m.f.y.values()) >= amount)
    m.goal = pyo.Objective(expr=m.price)
    plan = sp.nash(sp.Game(m, m.f, prices=[(m.price, m.f.row)]))
    assert (plan.price_range.loc["price"] * amount / money).tolist() == pytest.approx([7, 8], abs=1e-5)


@pytest.mark.parametrize("money", [1.0, 1e-6])
def test_a_row_without_a_multiplier_of_any_size_has_a_range(money: float) -> None:
    """min y² s.t. y = 0, y ≤ 0, 0 y ≤ 0: every multiplier is 0 at the plan, and may be anything of its sign."""
    m = pyo.ConcreteModel()
    m.price, m.f = pyo.Var(range(2)), pyo.Block()
    m.f.y = pyo.Var(bounds=(0, None))
    m.f.cost = pyo.Objective(expr=money * m.f.y**2)
    m.f.row, m.f.none = pyo.Constraint(expr=0.5 * m.f.y <= 0), pyo.Constraint(expr=0 * m.f.y <= 0)
    m.f.held = pyo.Constraint(expr=m.f.y == 0)
    m.goal = pyo.Objective(expr=0)
    plan = sp.nash(sp.Game(m, m.f, prices=[(m.price[0], m.f.row), (m.price[1], m.f.none)]))
    assert plan.price_range["low"].tolist() == [-math.inf, -math.inf]
    assert plan.price_range["high"].tolist() == pytest.approx([0, 0], abs=1e-9)


@pytest.mark.parametrize("money", [1.0, 1e3])
@pytest.mark.parametrize(("here", "there"), [(1.0, 1.0), (1e-2, 1e4), (1e5, 1e-3), (1e3, 1e6)])
def test_a_range_in_small_units_is_none_of_rounding_beside_large_ones(here: float, there: float, money: float) -> None:
    """Offers of 1 here and 8 there, where all comes by a line that is just enough; there any price from 1 to 8 clears.

    Nothing is wanted at a third node, whose line has no room: from 0 to its offer of 5. Each row is in its own unit.
    """
    rows = {"here": here, "there": there, "nowhere": here * there}
    m = pyo.ConcreteModel()
    m.price, m.f = pyo.Var(list(rows)), pyo.Block()
    m.f.made = pyo.Var(list(rows), bounds=(0, 4))
    m.f.line, m.f.closed = pyo.Var(bounds=(-1, 1)), pyo.Var(bounds=(0, 0))
    m.f.cost = pyo.Objective(expr=money * (m.f.made["here"] + 8 * m.f.made["there"] + 5 * m.f.made["nowhere"]))
    arrives = {"here": -m.f.line, "there": m.f.line - m.f.closed, "nowhere": m.f.closed}
    need = {"here": 1.0, "there": 1.0, "nowhere": 0.0}
    m.f.row = pyo.Constraint(list(rows), rule=lambda b, n: rows[n] * (b.made[n] + arrives[n]) >= rows[n] * need[n])
    m.goal = pyo.Objective(expr=0.0)
    plan = sp.nash(sp.Game(m, m.f, prices=[(m.price[n], m.f.row[n]) for n in rows]))
    for name, ends in {"here": [1, 1], "there": [1, 8], "nowhere": [0, 5]}.items():
        known = (plan.price_range.loc[f"price[{name}]"] * rows[name] / money).tolist()
        assert known == pytest.approx(ends, abs=1e-5), name
