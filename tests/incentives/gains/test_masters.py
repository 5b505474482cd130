"""Masters that know some deviations: the least gain, the least regret and what excludes them, in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.core import undisturbed
from stackpyomo.derivatives import FollowerRows
from stackpyomo.deviations import Deviation, Deviations, LeaderBound
from stackpyomo.games.information import read_observation
from stackpyomo.incentives.gains.levers import levers
from stackpyomo.incentives.gains.masters import CurvedGain, LeastGain, LeastRegret, Unknowns
from stackpyomo.incentives.gains.selection import Entries, Wishes


def master(kind: type[LeastGain], price: Any = None, idle: float = 2.0, **wishes: Any) -> LeastGain:
    """A follower of v ∈ {0, 1, 2}, planned at 1, that costs idle, 1, 0 and the price u·v, seen by its v."""
    m = pyo.ConcreteModel()
    m.u, m.f = pyo.Var(bounds=(-3, 3), initialize=0.0), pyo.Block()
    m.f.v = pyo.Var(bounds=(0, 2), domain=pyo.Integers, initialize=1)
    v, u = m.f.v, m.u
    own = idle * (v - 1) * (v - 2) / 2 + v * (2 - v)
    m.f.cost = pyo.Objective(expr=own + (u * v if price is None else price(u, v)))
    m.wish = pyo.Objective(expr=(v - 1) ** 2)
    game = sp.Game(m, followers=m.f)
    with undisturbed():
        free = [m.u] if wishes.pop("free", False) else []
        design = Entries(FollowerRows(game), Wishes(read_observation(game, "actions"), free=free, **wishes))
        values = game.current_values()
        known = levers(design, values)
        return kind(known, Unknowns(design, known, values))


def rows(*actions: float) -> Deviations:
    known = Deviations({"f.v": 2.0})
    for action in actions:
        known.add(Deviation("f", {"f.v": action}))
    return known


def test_the_least_gain_makes_the_follower_indifferent() -> None:
    """J(2) − J(1) = −1 + 2K at u* = 0: K = ½, and only that deviation binds."""
    one = master(LeastGain)
    least = one.solve(rows(0.0, 2.0))
    assert least is not None
    assert least.gain.tolist() == [[pytest.approx(0.5)]]
    ((line, weight),) = one.binding()
    assert (line.tag.kind, line.tag.action, line.tag.temptation) == ("deviation", {"f.v": 2.0}, pytest.approx(1.0))
    assert weight > 0.0
    assert one.bound > 0.0
    none = master(LeastGain).solve(rows())
    assert none is not None
    assert none.gain.tolist() == [[0.0]], "nothing is asked of it"


def test_a_deviation_that_no_gain_reaches_excludes_all() -> None:
    """Idle it pays no price, so that K does not show there."""
    one = master(LeastGain, idle=0.5)
    assert one.solve(rows(0.0, 2.0)) is None
    assert one.excluded is not None
    ((tag, weight),) = one.excluded.weights
    assert (tag.action, weight) == ({"f.v": 0.0}, 1.0)


def test_a_free_price_holds_what_a_gain_cannot() -> None:
    """J(0) = ½ ≥ 1 + y and J(2) = 2(y + K) ≥ 1 + y: y ≤ −½ and K ≥ ½ − y/2."""
    one = master(LeastGain, idle=0.5, free=True)
    least = one.solve(rows(0.0, 2.0))
    assert least is not None
    assert least.offsets.tolist() == [pytest.approx(-0.5)]
    assert least.gain.tolist() == [[pytest.approx(0.75)]]


def test_bounds_are_rows() -> None:
    """|K| ≤ 0.4 leaves nothing; so does u ≤ 0.3 once v = 2 is answered by K ≥ ½."""
    one = master(LeastGain, gain_bounds=(-0.4, 0.4))
    assert one.solve(rows(2.0)) is None
    assert one.excluded is not None
    assert {tag.kind for tag, _ in one.excluded.weights} == {"deviation", "gain bound"}
    two = master(LeastGain)
    two.unknowns.bounds = [(-3.0, 0.3)]
    known = rows(2.0)
    known.add(Deviation("f", {"f.v": 2.0}, limit=LeaderBound("u", lower=False)))
    assert two.solve(known) is None
    assert two.excluded is not None
    assert {str(tag.limit or tag.kind) for tag, _ in two.excluded.weights} == {"deviation", "<= u"}


def test_the_least_regret_and_the_lottery_that_shows_it() -> None:
    """Idle it gains ½ whatever the gain; what else it may gain then is ½, too: 2K ≥ 1 − ½."""
    one = master(LeastRegret, idle=0.5)
    least = one.solve(rows(0.0, 2.0))
    assert least is not None
    assert (least.regret, one.bound) == (pytest.approx(0.5), pytest.approx(0.5))
    assert least.gain.tolist() == [[pytest.approx(0.25, abs=1e-7)]]
    assert isinstance(one, LeastRegret)
    assert [(tag.action, weight) for tag, weight in one.lottery] == [({"f.v": 0.0}, pytest.approx(1.0))]


def test_costs_that_bend_with_the_answer() -> None:
    """With u²v in the place of uv: 2K² ≥ 1."""
    one = master(CurvedGain, price=lambda u, v: u**2 * v)
    least = one.solve(rows(2.0))
    assert least is not None
    assert abs(float(least.gain[0, 0])) == pytest.approx(math.sqrt(0.5), abs=1e-6)
    assert one.binding() == []
    assert np.isfinite(one.bound)
