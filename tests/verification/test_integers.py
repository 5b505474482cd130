"""Integer followers re-solved: against enumeration in plain Python, by every certificate that may be claimed."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn
from hypothesis import given, settings
from hypothesis import strategies as st

import stackpyomo as sp
from stackpyomo.solvers import registry


def knapsack(weights: Any, prices: Any, limit: float, toll: float = 0.0, *, sense: int = pyo.maximize) -> sp.Game:
    """max Σ (p − toll) y over binaries with Σ w y ≤ limit."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(0, 10), initialize=toll)
    m.f = pyo.Block()
    m.f.y = pyo.Var(range(len(weights)), within=pyo.Binary, initialize=0)
    worth = sum((p - m.toll) * y for p, y in zip(prices, m.f.y.values(), strict=True))
    m.f.cost = pyo.Objective(expr=worth if sense == pyo.maximize else -worth, sense=sense)
    m.f.room = pyo.Constraint(expr=sum(w * y for w, y in zip(weights, m.f.y.values(), strict=True)) <= limit)
    m.goal = pyo.Objective(expr=m.toll)
    return sp.Game(m, m.f)


@settings(max_examples=drawn(20), deadline=None)
@given(seed=st.integers(0, 10**6), sense=st.sampled_from([pyo.maximize, pyo.minimize]))
def test_a_knapsack_is_played_as_enumeration_says(seed: int, sense: int) -> None:
    random = np.random.default_rng(seed)
    size = int(random.integers(1, 6))
    weights, prices = random.integers(1, 6, size), random.integers(0, 9, size)
    limit, toll = float(random.integers(0, 12)), float(random.integers(0, 4))
    report = sp.verify(sp.Plan.from_values(knapsack(weights, prices, limit, toll, sense=sense)))
    choices = [np.array(c) for c in product((0, 1), repeat=size) if weights @ np.array(c) <= limit]
    best = max(float((prices - toll) @ c) for c in choices)
    assert report.regret["f"] == pytest.approx(best, abs=1e-9)
    assert report.certificate["f"] == "global"
    assert report.ok == (best < 1e-9)


@pytest.mark.parametrize("solver", ["auto", "scip"])
def test_many_points_are_left_to_branch_and_bound(solver: str) -> None:
    """14 binaries: 16,384 points; by dynamic programming in whole numbers."""
    random = np.random.default_rng(3)
    weights, prices, limit = random.integers(1, 9, 14), random.integers(1, 9, 14), 25
    worth = [0] * (limit + 1)
    for w, p in zip(weights, prices, strict=True):
        for room in range(limit, w - 1, -1):
            worth[room] = max(worth[room], worth[room - w] + int(p))
    report = sp.verify(sp.Plan.from_values(knapsack(weights, prices, limit)), solver=solver)
    assert report.regret["f"] == pytest.approx(worth[limit], abs=1e-7)
    assert report.certificate["f"] == "global"


def unit(price: float, *, cost: Any = None) -> sp.Game:
    """min 6.125 z + w²/2 − price w, w ≤ 4 z: on from a price of 3.5, then w = price."""
    m = pyo.ConcreteModel()
    m.price = pyo.Var(bounds=(0, 10), initialize=price)
    m.f = pyo.Block()
    m.f.z = pyo.Var(within=pyo.Binary, initialize=0)
    m.f.w = pyo.Var(bounds=(0, 4), initialize=0)
    m.f.limit = pyo.Constraint(expr=m.f.w <= 4 * m.f.z)
    m.f.cost = pyo.Objective(expr=6.125 * m.f.z + (cost or (lambda w: w**2 / 2))(m.f.w) - m.price * m.f.w)
    m.goal = pyo.Objective(expr=m.price)
    return sp.Game(m, m.f)


@pytest.mark.parametrize("price", [0.0, 3.4, 3.6, 4.0, 5.0])
def test_a_unit_switches_on_from_its_price(price: float) -> None:
    report = sp.verify(sp.Plan.from_values(unit(price)))
    on = 6.125 + min(w := min(price, 4.0), 4.0) ** 2 / 2 - price * w
    assert report.regret["f"] == pytest.approx(max(0.0, -on), abs=1e-7)
    assert report.certificate["f"] == "global"
    assert report.best_response["f"]["f.z"] == (1.0 if on < 0 else 0.0)


def test_a_switch_in_small_units_is_proved_as_well() -> None:
    """z + ((100 w − 3)² + …)/1000: rows met to a solver's tolerance leave 3e-9 of a cost that is small against 1e-3."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(initialize=0.01)
    m.f = pyo.Block()
    m.f.off = pyo.Var(domain=pyo.Integers, bounds=(-1, 0), initialize=0)
    m.f.w = pyo.Var(bounds=(-0.01, 0.03), initialize=0.01)
    m.f.limit = pyo.Constraint(expr=3 - 100 * m.f.w <= 4 * (m.f.off + 1))
    paid = 100 * (0.01 - 2 * (m.f.w - 0.01))
    m.f.cost = pyo.Objective(expr=0.001 * (2 * (m.f.off + 1) + (100 * m.f.w) ** 2 + paid) + 1)
    m.goal = pyo.Objective(expr=m.toll)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, m.f)))
    assert report.certificate["f"] == "global"  # 1 + (2 + 1 + 1)/1000 at the plan and, off, 1 + (9 − 3)/1000
    assert report.regret["f"] == pytest.approx(0.0, abs=1e-9)


def test_what_is_asked_of_a_proof() -> None:
    plan = sp.Plan.from_values(unit(5.0))
    assert sp.verify(plan, certify="convex").certificate["f"] == "unknown"
    assert "integer" in sp.verify(plan, certify="convex").note["f"]
    assert sp.verify(plan, certify="multistart").certificate["f"] == "multistart"
    assert sp.verify(plan, certify="proof").certificate["f"] == "global"
    assert sp.verify(plan, certify="global").regret["f"] == pytest.approx(20 - 8 - 6.125, abs=1e-7)


def test_half_a_switch_is_no_plan() -> None:
    game = unit(5.0)
    game.model.f.z.set_value(0.5, skip_validation=True)
    report = sp.verify(sp.Plan.from_values(game))
    assert math.isnan(report.regret["f"])
    assert "violates its constraints" in report.note["f"]
    assert sp.Plan.from_values(game).quality == "infeasible"


def test_without_a_solver_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setitem(registry, "scip", replace(registry["scip"], version=lambda: None))
    report = sp.verify(sp.Plan.from_values(unit(5.0)))
    assert report.certificate["f"] == "unknown"
    assert "pip install pyscipopt" in report.note["f"]
    assert not report.ok


def test_sines_of_whole_numbers_are_enumerated() -> None:
    """A cost that intervals could not confirm: every point is looked at."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1), initialize=1)
    m.f = pyo.Block()
    m.f.y = pyo.Var(within=pyo.Integers, bounds=(-300, 300), initialize=0)
    m.f.cost = pyo.Objective(expr=m.x * pyo.sin(m.f.y**2) + m.f.y / 1000)
    m.goal = pyo.Objective(expr=m.x)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, m.f)))
    best = min(math.sin(y * y) + y / 1000 for y in range(-300, 301))
    assert report.regret["f"] == pytest.approx(-best, abs=1e-9)
    assert report.certificate["f"] == "global"


@pytest.mark.parametrize("money", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(("top", "aim", "plan"), [(10**5, 12.4, 13), (10**6, 12.4, 13), (10**6, 40.3, 47)])
def test_a_better_neighbour_in_a_wide_box_is_found(money: float, top: int, aim: float, plan: int) -> None:
    """(w − aim)² in [0, 10⁶]: beside 10¹² a solver's tolerance hides a whole step, which no one calls 0."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(-1, 1), initialize=0)
    m.f = pyo.Block()
    m.f.w = pyo.Var(bounds=(0, top), initialize=plan, domain=pyo.Integers)
    m.f.cost = pyo.Objective(expr=money * ((m.f.w - aim) ** 2 + m.t * m.f.w))
    m.goal = pyo.Objective(expr=m.t**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f)))
    assert report.regret["f"] / money == pytest.approx((plan - aim) ** 2 - (round(aim) - aim) ** 2, rel=1e-6)
    assert not report.ok
