"""Prices: marginal costs by finite differences, the re-solve that shows them, uplift, ranges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds
from scipy.optimize import minimize

import stackpyomo as sp
from stackpyomo.plans import Plan


def market(seed: int) -> tuple[Any, sp.Game, Any]:
    """Three plants meet a random demand; cost linear or quadratic, sense and row turned round at random."""
    random = np.random.default_rng(seed)
    curved, flipped, reversed_row = (bool(b) for b in random.integers(0, 2, 3))
    slopes = random.uniform(1, 10, 3)
    bends = random.uniform(0.5, 2, 3) if curved else np.zeros(3)
    tops, demand = random.uniform(1, 3, 3), float(random.uniform(0.7, 2.5))
    m = pyo.ConcreteModel()
    m.price = pyo.Var()
    m.f = pyo.Block()
    m.f.y = pyo.Var(range(3), bounds=lambda _, i: (0, float(tops[i])))
    cost = sum(float(slopes[i]) * m.f.y[i] + float(bends[i]) / 2 * m.f.y[i] ** 2 for i in range(3))
    m.f.cost = pyo.Objective(expr=-cost if flipped else cost, sense=pyo.maximize if flipped else pyo.minimize)
    supply = sum(m.f.y[i] for i in range(3))
    factor = -1.0 if reversed_row else 1.0
    kind = int(random.integers(0, 2))
    row = factor * supply == factor * demand
    if kind:
        row = -supply <= -demand if reversed_row else supply >= demand
    m.f.balance = pyo.Constraint(expr=row)
    m.goal = pyo.Objective(expr=m.price)
    sign = (-1.0 if flipped else 1.0) * factor

    def value(level: float) -> float:
        """The best cost at a demand, by SciPy."""
        found = minimize(
            lambda y: slopes @ y + bends @ y**2 / 2,
            tops * min(1.0, level / tops.sum()),
            jac=lambda y: slopes + bends * y,
            bounds=[(0, t) for t in tops],
            constraints={"type": "ineq", "fun": lambda y: y.sum() - level, "jac": lambda y: np.ones(3)},
            options={"ftol": 1e-14, "maxiter": 500},
            method="SLSQP",
        )
        return float(found.fun)

    return m, sp.Game(m, followers=m.f, prices=[(m.price, m.f.balance)]), lambda: sign * _slope(value, demand)


def _slope(value: Any, demand: float, step: float = 1e-3) -> float:
    return (value(demand + step) - value(demand - step)) / (2 * step)


@pytest.mark.parametrize("seed", seeds(8))
def test_a_price_is_the_marginal_cost_by_finite_differences(seed: int) -> None:
    m, game, slope = market(seed)
    plan = sp.nash(game)
    assert plan.value(m.price) == pytest.approx(slope(), abs=1e-3)
    assert plan.multipliers["f.balance"] == pytest.approx(plan.value(m.price), abs=1e-7)
    report = sp.verify(plan)
    assert report.ok
    assert report.prices["price"] == pytest.approx(0.0, abs=1e-6)
    low, high = plan.price_range.loc["price"]
    assert low - 1e-6 <= plan.value(m.price) <= high + 1e-6


@pytest.mark.parametrize(("factor", "gap"), [(1.3, 1e-3), (0.7, 1e-3), (-1.0, math.inf)])
def test_a_wrong_price_is_refuted(factor: float, gap: float) -> None:
    """Maximise 10 y − y²/2, y ≤ 5: the price is 5, and none is negative."""
    m = pyo.ConcreteModel()
    m.price = pyo.Var()
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(0, None))
    m.f.gain = pyo.Objective(expr=10 * m.f.y - m.f.y**2 / 2, sense=pyo.maximize)
    m.f.limit = pyo.Constraint(expr=m.f.y <= 5)
    m.goal = pyo.Objective(expr=m.price)
    plan = sp.nash(sp.Game(m, followers=m.f, prices=[(m.price, m.f.limit)]))
    assert plan.value(m.price) == pytest.approx(5.0, abs=1e-6)
    plan.values["price"] *= factor
    report = sp.verify(plan)
    assert not report.ok
    assert report.prices["price"] >= gap
    assert "price is no multiplier of its row" in report.verdict
    again = sp.Report.from_json(report.to_json())
    assert again.prices["price"] == report.prices["price"]


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize(("price", "gap"), [(-1.0, math.inf), (-1e-8, 0.0), (1.0, 0.0)])
def test_a_price_of_the_wrong_sign_is_one_in_any_unit(unit: float, price: float, gap: float) -> None:
    """(y − 3/2)² with y ≥ 2: the price is 1, and −1 is none, however small the unit makes it."""
    m = pyo.ConcreteModel()
    m.price, m.f = pyo.Var(initialize=price / unit), pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 4 * unit), initialize=2 * unit if price > 0.0 else 1.5 * unit)
    m.f.cost = pyo.Objective(expr=(m.f.y / unit - 1.5) ** 2)
    m.f.row = pyo.Constraint(expr=m.f.y >= (2 if price > 0.0 else 1) * unit)
    m.goal = pyo.Objective(expr=m.price * unit)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f, prices=[(m.price, m.f.row)])))
    assert report.prices["price"] == pytest.approx(gap, abs=1e-6)


def test_a_market_with_whole_actions_has_an_uplift() -> None:
    """A block of 2 at cost 3, or 1 a unit up to 1 and 5 beyond: demand 2 costs 3; at price 1.5 the block just breaks
    even, at price 2 the plants would earn 1 more than they do."""
    m = pyo.ConcreteModel()
    m.price = pyo.Var(initialize=2.0)
    m.f = pyo.Block()
    m.f.on = pyo.Var(domain=pyo.Binary, initialize=1)
    m.f.y = pyo.Var(bounds=(0, 1), initialize=0)
    m.f.cost = pyo.Objective(expr=3 * m.f.on + m.f.y)
    m.f.balance = pyo.Constraint(expr=2 * m.f.on + m.f.y == 2)
    m.goal = pyo.Objective(expr=m.price)
    game = sp.Game(m, followers=m.f, prices=[(m.price, m.f.balance)])
    report = sp.verify(Plan.from_values(game))
    assert report.prices["price"] == pytest.approx(1.0, abs=1e-6)  # y = 1 earns 1 beside the block's 1
    assert report.ok
    assert report.price_checks["price"].uplift
