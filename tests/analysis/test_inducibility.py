"""Inducibility of followers with integer actions by enumeration: every action, the leader's worst answer to each."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds

import stackpyomo as sp


def plant(price: float, money: float = 1.0, constant: float = 0.0) -> sp.Plan:
    """A plant that should run at 3: switched off it costs 0, whatever the price."""
    m = pyo.ConcreteModel()
    m.price = pyo.Var(bounds=(0, 10), initialize=price)
    m.plant = pyo.Block()
    m.plant.on = pyo.Var(domain=pyo.Binary, initialize=1)
    m.plant.w = pyo.Var(bounds=(0, 4), initialize=3)
    m.plant.limit = pyo.Constraint(expr=m.plant.w <= 4 * m.plant.on)
    cost = 6.125 * m.plant.on + m.plant.w**2 / 2 - m.price * m.plant.w
    m.plant.cost = pyo.Objective(expr=money * cost + constant)
    m.goal = pyo.Objective(expr=(m.plant.w - 3) ** 2)
    return sp.Plan.from_values(sp.Game(m, followers=m.plant))


def test_a_plant_that_may_switch_off() -> None:
    """6.125 + 9/2 − 3 p ≤ 0 iff p ≥ 10.625/3 = 3.5417."""
    refused = sp.inducible(plant(3.0)).loc["plant"]
    assert refused["verdict"] == "impossible"
    assert refused["objective"] == pytest.approx(1.625)
    assert "at on = 0" in refused["evidence"]
    assert sp.inducible(plant(3.55)).loc["plant", "verdict"] == "possible"


@pytest.mark.parametrize(("money", "constant"), [(1e-8, 0.0), (1e8, 0.0), (1.0, 1e6), (1.0, -1e6), (1e-3, 1e3)])
def test_what_a_follower_counts_in_and_from_where_says_nothing(money: float, constant: float) -> None:
    refused = sp.inducible(plant(3.0, money, constant)).loc["plant"]
    assert refused["verdict"] == "impossible"
    assert (refused["security"] - constant) / money == pytest.approx(0.0, abs=1e-5)
    assert sp.inducible(plant(3.55, money, constant)).loc["plant", "verdict"] == "possible"


@pytest.mark.parametrize("seed", seeds(8))
def test_whole_actions_by_enumeration(seed: int) -> None:
    """J = c(v) + u (a · v + b) with u ∈ [−2, 2]: possible iff max_u J(u, v) ≥ J* at every v."""
    rng = np.random.default_rng(seed)
    cost, pull, base = rng.integers(-6, 7, 3), rng.integers(-2, 3, 3), int(rng.integers(-1, 2))
    cross = int(rng.integers(-4, 5))
    planned, u = rng.integers(0, 2, 3), float(rng.integers(-1, 2))
    m = pyo.ConcreteModel()
    m.u = pyo.Var(bounds=(-2, 2), initialize=u)
    m.f = pyo.Block()
    m.f.v = pyo.Var(range(3), domain=pyo.Binary, initialize=dict(enumerate(map(int, planned))))
    v = list(m.f.v.values())
    own = sum(int(c) * x for c, x in zip(cost, v, strict=True)) + cross * v[0] * v[1]
    m.f.cost = pyo.Objective(expr=own + m.u * (sum(int(a) * x for a, x in zip(pull, v, strict=True)) + base))
    m.goal = pyo.Objective(expr=m.u**2)

    def level(action: np.ndarray, answer: float) -> float:
        return float(cost @ action + cross * action[0] * action[1] + answer * (pull @ action + base))

    actions = [np.array(action) for action in product((0, 1), repeat=3)]
    security = min(max(level(action, -2.0), level(action, 2.0)) for action in actions)
    row = sp.inducible(sp.Plan.from_values(sp.Game(m, followers=m.f))).loc["f"]
    assert row["objective"] == pytest.approx(level(planned, u))
    worst = min(max(level(a, -2.0), level(a, 2.0)) for a in actions if (a != planned).any())
    assert row["verdict"] == ("possible" if worst >= level(planned, u) else "impossible")
    assert not row["at_least"] > security + 1e-6
    assert not row["at_most"] < security - 1e-6


def duel(bend: float, bounds: Any) -> sp.Plan:
    """J = (y + 1)²/2 + 2 bend log(1 + eˣ), planned at y = 1 and x as near 0 as its bounds allow."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=bounds)
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(-5, 5))
    m.f.cost = pyo.Objective(expr=(m.f.y + 1) ** 2 / 2 + 2 * bend * pyo.log(1 + pyo.exp(m.x)))
    m.goal = pyo.Objective(expr=(m.x + 1) ** 2 + (m.f.y - 1) ** 2)
    return sp.leader_optimal(sp.Game(m, followers=m.f))


@pytest.mark.parametrize(("bend", "top"), [(1, 1), (1, 3), (1, None), (-1, 1), (-1, None)])
def test_what_no_strategy_can_hold(bend: float, top: float | None) -> None:
    """The security level min_y max_x J is at y = −1, x at the end that hurts; the plan costs 2 + 2 bend log 2."""
    row = sp.inducible(duel(bend, (0, top))).loc["f"]
    plan = 2 + 2 * bend * math.log(2)
    worst = math.inf if top is None and bend > 0 else 2 * bend * math.log(1 + math.exp(top if bend > 0 else 0))
    assert row["objective"] == pytest.approx(plan, rel=1e-7)
    assert row["verdict"] == ("possible" if worst > plan else "impossible")
    room = 1e-6 * (1 + abs(plan))
    assert math.isnan(row["at_least"]) or row["at_least"] <= worst + room
    assert math.isnan(row["at_most"]) or row["at_most"] >= worst - room
    if row["verdict"] == "impossible":
        assert [row["security"], row["at_most"]] == pytest.approx([worst] * 2, rel=1e-6)
    else:
        assert row["security"] == pytest.approx(row["at_least"], rel=1e-6)
        assert row["at_least"] >= plan - room


def test_bounds_of_a_profit_are_those_of_its_cost_the_other_way_round() -> None:
    plan = duel(-1, (0, 1))
    m = plan.game.model
    cost = sp.inducible(plan).loc["f"]
    m.f.cost.set_value(-m.f.cost.expr)
    m.f.cost.sense = pyo.maximize
    profit = sp.inducible(sp.leader_optimal(plan.game)).loc["f"]
    assert profit["at_least"] == pytest.approx(-cost["at_most"], rel=1e-6)
    assert profit["verdict"] == cost["verdict"] == "impossible"


def test_a_refused_bound_names_the_test_that_settles_it() -> None:
    with pytest.raises(sp.NoIncentive, match=r"f: leader bound: x stands at its lower bound.*inducible") as caught:
        sp.affine_incentive(duel(-1, (0, None)))
    assert caught.value.residuals["f"] == pytest.approx(2, rel=1e-6)
    assert sp.verify(sp.affine_incentive(duel(1, (0, None)))).ok
    with pytest.raises(sp.InvalidGame, match=r"inducible\(int\)"):
        sp.inducible(3)  # type: ignore[arg-type]


def budget(top: float | None) -> sp.Plan:
    """(u − 3)² + p u at u = 1 and p + q ≤ 1, where the follower does not feel q ≥ 1/2: p ≤ 1/2, whatever is announced.

    top: of p alone, instead of the budget.
    """
    m = pyo.ConcreteModel()
    m.p, m.q = pyo.Var(bounds=(0, 5), initialize=0.5), pyo.Var(bounds=(0.5, 5), initialize=0.5)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 5), initialize=1)
    m.f.cost = pyo.Objective(expr=(m.f.u - 3) ** 2 + m.p * m.f.u)
    if top is None:
        m.budget = pyo.Constraint(expr=m.p + m.q <= 1)
    else:
        m.p.setub(top)
    m.goal = pyo.Objective(expr=(m.f.u - 1) ** 2 + (m.p - 0.5) ** 2 + (m.q - 0.5) ** 2)
    return sp.Plan.from_values(sp.Game(m, followers=m.f))


def test_a_punishment_keeps_the_rows_it_shares_with_what_nobody_feels() -> None:
    """At p = 1/2 the follower's best is u = 2.75 for 1.4375, the plan costs it 4.5; p = 5 would hold it."""
    row = sp.inducible(budget(None)).loc["f"]
    assert row["verdict"] == "impossible"
    assert row["security"] == pytest.approx(1.4375, abs=1e-5)
    assert sp.inducible(budget(0.5)).loc["f", "verdict"] == "impossible"
    assert sp.inducible(budget(5)).loc["f", "verdict"] == "possible"


def test_a_tied_variable_gives_way_to_a_punishment() -> None:
    """p + q = 1, q from −4: the plan's q = 1/2 alone would bar p = 5."""
    plan = budget(5)
    m = plan.attached().model
    m.q.setlb(-4)
    m.budget = pyo.Constraint(expr=m.p + m.q == 1)
    assert sp.inducible(sp.Plan.from_values(plan.attached())).loc["f", "verdict"] == "possible"


def test_punishments_that_are_not_looked_at_are_not_ruled_out() -> None:
    """max u with u ≤ t: t back at 1 holds u = 1. And a binary variable that costs 10 holds anything."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(0, 10), initialize=2)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 5), initialize=1)
    m.f.cost = pyo.Objective(expr=-m.f.u)
    m.f.row = pyo.Constraint(expr=m.f.u <= m.t)
    m.goal = pyo.Objective(expr=(m.f.u - 1) ** 2 + (m.t - 2) ** 2)
    row = sp.inducible(sp.Plan.from_values(sp.Game(m, followers=m.f))).loc["f"]
    assert row["verdict"] == "undecided"
    assert "forbid this by f.row" in row["evidence"]
    m = pyo.ConcreteModel()
    m.t = pyo.Var(domain=pyo.Binary, initialize=0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 5), initialize=1)
    m.f.cost = pyo.Objective(expr=(m.f.u - 2) ** 2 + 10 * m.t)
    m.goal = pyo.Objective(expr=(m.f.u - 1) ** 2 + m.t)
    row = sp.inducible(sp.Plan.from_values(sp.Game(m, followers=m.f))).loc["f"]
    assert row["verdict"] == "undecided"
    assert "t (integer)" in row["evidence"]


def test_inducible_with_a_row_of_the_follower_that_it_cannot_move() -> None:
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(-2, 2), initialize=0.0)
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1), initialize=0.6)
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.toll * m.driver.flow)
    m.driver.fair = pyo.Constraint(expr=m.toll**2 <= 3.5)
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6) ** 2 + 0.01 * m.toll**2)
    found = sp.inducible(sp.Plan.from_values(sp.Game(m, followers=m.driver)))
    assert found.loc["driver", "verdict"] == "possible"
    assert found.loc["driver", "objective"] == pytest.approx(0.16)


@pytest.mark.slow
@pytest.mark.parametrize(("money", "reach"), [(1.0, 1.0), (1e-6, 1.0), (1e4, 1e3)])
@pytest.mark.parametrize("bend", [1e-9, 1e-14])
def test_where_nothing_ends_no_bound_is_a_proof(bend: float, money: float, reach: float) -> None:
    """(v − 1)² − b v⁴ falls without end, farther out than a global solver looks."""
    m = pyo.ConcreteModel()
    m.u = pyo.Var(bounds=(-2, 2), initialize=0)
    m.f = pyo.Block()
    m.f.v = pyo.Var(bounds=(0, None), initialize=reach)
    v = m.f.v / reach
    m.f.cost = pyo.Objective(expr=money * ((v - 1) ** 2 - bend * v**4 + 0.1 * m.u * v))
    m.goal = pyo.Objective(expr=m.u**2)
    row = sp.inducible(sp.Plan.from_values(sp.Game(m, followers=m.f))).loc["f"]
    assert row["verdict"] != "possible"
    assert math.isnan(row["at_least"])
