"""Free ways: what prices without an end can earn, by hand, and where nothing is said of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.bilevel.deviation_rows import value_at
from stackpyomo.bilevel.free_ways import floor_of
from stackpyomo.bilevel.implied_boxes import least_cost
from stackpyomo.solvers import registry

pytestmark = pytest.mark.usefixtures("unchanged")


def _town(action: float = 1.0, money: float = 1.0, *, free: bool = True, paid: float = 1.0) -> sp.Game:
    """A way with a toll for 4, one for 7 and, if it is free, one that has none for 12; the leader has paid · tolls."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var([0, 1], bounds=(0, None))
    m.f = pyo.Block()
    m.f.y = y = pyo.Var([0, 1, 2], bounds=(0, None if free else action))
    m.f.trip = pyo.Constraint(expr=y[0] + y[1] + y[2] == action)
    m.f.closed = pyo.Constraint(expr=y[2] <= (action if free else 0.0))
    tolls = m.t[0] * y[0] + m.t[1] * y[1]
    m.f.cost = pyo.Objective(expr=money / action * (4 * y[0] + 7 * y[1] + 12 * y[2]) + tolls)
    m.revenue = pyo.Objective(expr=paid * (tolls - 0.5 * money / action * y[2]), sense=pyo.maximize)
    return sp.Game(m, m.f)


def _floor(game: sp.Game) -> Any:
    rows = [row for follower in game.followers.values() for row in follower.constraints]
    followers = list(game.followers.values())
    return floor_of(game, followers, game.leader.cost, lambda expression: least_cost(game, expression, rows))


@pytest.mark.parametrize(("action", "money", "paid"), [(1.0, 1.0, 1.0), (1e-4, 1e5, 1e-6), (1e5, 1e-4, 1e6)])
def test_tolls_earn_no_more_than_the_way_round_costs(action: float, money: float, paid: float) -> None:
    """12, with a thousandth of it for what a solver leaves; the best is 8 − 0."""
    game = _town(action, money, paid=paid)
    floor = _floor(game)
    assert floor.least == pytest.approx(-12.012 * paid * money, rel=1e-6)
    plan = sp.stackelberg(game)
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(8.0 * paid * money, rel=1e-5)
    assert not any("asked for less" in entry["treatment"] for entry in plan.log), "SCIP's bound is believed at once"
    (row,) = floor.rows
    variables = [*game.model.t.values(), *game.model.f.y.values()]
    for toll, stays in ((8.0, True), (8.1, False)):  # the best plan's; one that is paid, and dearer than the way round
        levels = [toll * money / action, 9 * money / action, action, 0.0, 0.0]
        at = {id(var): level for var, level in zip(variables, levels, strict=True)}
        assert (value_at(row.body, at) <= row.ub) is stays


def test_where_every_way_has_a_price_nothing_is_said() -> None:
    """No way is free, or the leader pays the toll instead of earning it: no floor by this."""
    assert _floor(_town(free=False)).least == -math.inf
    assert _floor(_town(paid=-1.0)).least == -math.inf
    game = _town()
    game.model.f.trip.set_value(sum(game.model.f.y.values()) == 1 + 0.1 * game.model.t[0])
    assert _floor(sp.Game(game.model, game.model.f)).least == -math.inf, "the leader's price moves the row"


def test_two_kinds_of_travellers_and_a_cost_of_the_leaders_own() -> None:
    """Each has a free way (5 and 9); what is left of the leader's cost, 3 + t/10, ends at 3."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(0, None))
    m.f = pyo.Block([0, 1])
    for k, f in m.f.items():
        f.y, f.z = pyo.Var(bounds=(0, 1)), pyo.Var(bounds=(0, 1))
        f.trip = pyo.Constraint(expr=f.y + f.z == 1)
        f.cost = pyo.Objective(expr=m.t * f.y + (5 + 4 * k) * f.z)
    m.goal = pyo.Objective(expr=3 + 0.1 * m.t - 2 * m.t * m.f[0].y - m.t * m.f[1].y)
    game = sp.Game(m, list(m.f.values()))
    floor = _floor(game)
    assert floor.least == pytest.approx(3 - 1.001 * (2 * 5 + 9), abs=1e-9)
    assert len(floor.rows) == 2
    plan = sp.stackelberg(game)
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(3 + 0.5 - 15, abs=1e-5), "at a toll of 5 both pay"


@pytest.mark.parametrize("money", [1.0, 1e6])
def test_a_free_way_that_costs_nothing_in_all_leaves_room_for_its_terms(money: float) -> None:
    """a + b + 2 is least, 0, at (−1, −1) of a disc: a solver's point outside it by 1e-8 must not forbid that one."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(0, None))
    m.f = pyo.Block()
    m.f.y, m.f.a, m.f.b = pyo.Var(bounds=(0, 1)), pyo.Var(bounds=(-9, 9)), pyo.Var(bounds=(-9, 9))
    m.f.disc = pyo.Constraint(expr=m.f.a**2 + m.f.b**2 <= 2)
    m.f.cost = pyo.Objective(expr=money * (m.f.a + m.f.b + 2) + m.t * m.f.y)
    m.revenue = pyo.Objective(expr=m.t * m.f.y, sense=pyo.maximize)
    (row,) = _floor(sp.Game(m, m.f)).rows
    best = {id(m.t): 1.0, id(m.f.y): 0.0, id(m.f.a): -1.0, id(m.f.b): -1.0}
    assert value_at(row.body, best) <= row.ub


def test_of_a_free_way_no_proof_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A way with a toll for 2, a free one for 5, and 100 (z − 2 − y)² of an action z without an end.

    SCIP does not close such squares where z has no end, and took more than ten minutes whatever the time limit was.
    """
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(0, None)), pyo.Block()
    m.f.y, m.f.z = pyo.Var([0, 1], bounds=(0, 1)), pyo.Var()
    m.f.trip = pyo.Constraint(expr=m.f.y[0] + m.f.y[1] == 1)
    square = (m.f.z - 2 - m.f.y[0]) ** 2
    m.f.cost = pyo.Objective(expr=2 * m.f.y[0] + 5 * m.f.y[1] + 100 * square + m.t * m.f.y[0])
    m.revenue = pyo.Objective(expr=m.t * m.f.y[0], sense=pyo.maximize)
    never = replace(registry["scip"], run=lambda *_: pytest.fail("a proof was asked for"))
    monkeypatch.setitem(registry, "scip", never)
    assert _floor(sp.Game(m, m.f)).least <= -3.0, "what the toll earns"
