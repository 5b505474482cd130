"""Deviation rows: what may hold instead of "it does not gain", told exactly, strictly, or not at all."""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.bilevel.deviation_rows import RowWriter
from stackpyomo.deviations import Deviation


def follower(domain: Any = pyo.Reals, x: Any = pyo.Reals) -> Any:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 4), domain=x)
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 4), domain=domain)
    m.f.cost = pyo.Objective(expr=(m.f.y - 1) ** 2 + m.x * m.f.y)
    m.goal = pyo.Objective(expr=m.x)
    return m


def row(m: Any, **action: float) -> Any:
    game = sp.Game(m, m.f)
    writer = RowWriter(game, list(game.followers.values()))
    return writer, writer.alternatives(Deviation("f", {f"f.{name}": v for name, v in action.items()}))


def test_a_row_compares_costs() -> None:
    m = follower()
    writer, made = row(m, y=3.0)
    m.x.value, m.f.y.value = 0.5, 2.0
    assert pyo.value(made.cost) == pytest.approx((1 + 1) - (4 + 1.5))
    assert (made.ways, made.void) == ([], False)
    assert not writer.binds_others(writer.followers["f"])


@pytest.mark.parametrize(("beyond", "bound"), [(4.00000003, 4.0), (-3e-8, 0.0)])
def test_an_answer_that_is_a_little_beyond_a_bound_is_one_on_it(beyond: float, bound: float) -> None:
    """Nobody can play it: a row of it would bar the plan on the bound, and what a master says be no bound."""
    m = follower()
    made = row(m, y=beyond)[1]
    m.x.value, m.f.y.value = 2.0, bound
    assert pyo.value(made.cost) == 0.0


def test_an_answer_that_is_a_little_beyond_a_row_is_one_within_it() -> None:
    """The same, where no bound but a row says how far it can go."""
    m = follower()
    m.f.own = pyo.Constraint(expr=2 * m.f.y >= 2)
    made = row(m, y=0.99999997)[1]
    m.x.value, m.f.y.value = 2.0, 1.0
    assert pyo.value(made.cost) <= 0.0


def test_what_is_never_feasible_is_no_row_and_what_always_is_no_alternative() -> None:
    m = follower()
    m.f.own = pyo.Constraint(expr=m.f.y <= 2)
    assert row(m, y=3.0)[1].void
    m.f.own.deactivate()
    m.f.both = pyo.Constraint(expr=m.f.y + m.x <= 8)
    assert row(m, y=3.0)[1].ways == []


def test_an_alternative_counts_in_steps_where_it_is_made_of_whole_numbers() -> None:
    m = follower(pyo.Integers, pyo.Integers)
    m.f.cap = pyo.Constraint(expr=2.5 * m.f.y + 1.5 * m.x <= 9.2)
    writer, made = row(m, y=2.0)
    ((way, step, _),) = made.ways  # 5 + 1.5 x − 9.2 > 0 from x = 3 on: 0.3
    assert step == pytest.approx(0.3)
    m.x.value = 3
    assert pyo.value(way) == pytest.approx(0.3)
    assert writer.binds_others(writer.followers["f"])
    assert not writer.written([Deviation("f", {"f.y": 2.0})], 0.0).sets, "constants of intervals do"


def test_a_real_variable_counts_in_none() -> None:
    m = follower(pyo.Integers)
    m.f.cap = pyo.Constraint(expr=2.5 * m.f.y + 1.5 * m.x <= 9.2)
    writer, made = row(m, y=2.0)
    assert made.ways[0][1] is None
    relaxed = writer.written([Deviation("f", {"f.y": 2.0})], 0.0)
    assert len(relaxed.sets) == 2, "one for the cost, one for the row"


def test_interdiction_gives_way() -> None:
    """x + y ≤ 1: v (1 − x) is feasible whatever x is."""
    m = follower(pyo.Binary, pyo.Binary)
    m.f.y.setub(1)
    m.x.setub(1)
    m.f.tie = pyo.Constraint(expr=m.f.y + m.x <= 1)
    _, made = row(m, y=1.0)
    assert made.ways == []
    m.f.y.value = 0
    for x, worth in ((0, 0.0), (1, 1.0)):  # what y = 1 − x costs
        m.x.value = x
        assert pyo.value(made.cost) == pytest.approx(1 - worth)


def test_it_does_not_where_less_may_hurt() -> None:
    m = follower(pyo.Binary, pyo.Binary)
    m.f.y.setub(1)
    m.x.setub(1)
    m.f.tie = pyo.Constraint(expr=m.f.y + m.x <= 1)
    m.f.z = pyo.Var(domain=pyo.Binary)
    m.f.some = pyo.Constraint(expr=m.f.y + m.f.z >= 1)
    _, made = row(m, y=1.0, z=0.0)
    assert len(made.ways) == 1


def test_one_action_follows_an_equality() -> None:
    m = follower()
    m.f.z = pyo.Var(bounds=(-3, 3))
    m.f.sum = pyo.Constraint(expr=m.f.y + 2 * m.f.z == m.x)
    m.f.cost.set_value(m.f.y + 3 * m.f.z)
    _, made = row(m, y=2.0, z=0.5)  # z = (x − 2)/2 has more room than y
    assert (made.ways, made.void) == ([], False)
    m.x.value, m.f.y.value, m.f.z.value = 1.0, 0.0, 0.5
    assert pyo.value(made.cost) == pytest.approx(1.5 - (2 - 1.5))


def test_an_equality_that_nothing_follows_makes_no_row() -> None:
    m = follower()
    m.f.curve = pyo.Constraint(expr=m.f.y**2 == m.x)
    assert row(m, y=1.0)[1].void


def test_the_alternative_that_holds_is_chosen_for_a_polish() -> None:
    m = follower()
    m.f.cap = pyo.Constraint(expr=m.f.y + m.x <= 5)
    writer, _ = row(m, y=1.0)
    deviation = Deviation("f", {"f.y": 3.0})
    held = {id(m.x): 3.0, id(m.f.y): 2.0}  # y = 3 does not fit
    (chosen,) = writer.settled([deviation], 0.0, {**held, id(m.f.y): 4.0})
    m.x.value = 3.0
    assert bool(pyo.value(chosen))
    assert "f.y" not in str(chosen)
    (chosen,) = writer.settled([deviation], 0.0, {id(m.x): 0.0, id(m.f.y): 1.0})
    assert "f.y" in str(chosen)


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1.0])
def test_a_tie_of_third_order_is_closed_in_small_units_of_the_cost(unit: float) -> None:
    """y (−x³ + x y/2): at x = 0 all is a tie, and rows met to 1e-6 of a small cost leave x a wide room below it.

    Source: Mitsos and Barton (2006), 3.13.
    """
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(-1, 1)), pyo.Block()
    m.f.y = pyo.Var(bounds=(-1, 1))
    m.f.cost = pyo.Objective(expr=unit * m.x * m.f.y * (-(m.x**2) + m.f.y / 2))
    m.goal = pyo.Objective(expr=m.x - m.f.y)
    plan = sp.stackelberg(sp.Game(m, m.f))
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(-1.0, abs=5e-4)
