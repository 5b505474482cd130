"""The record that designs start from: who is watched, which entries there are, their units, energy and limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.core import undisturbed
from stackpyomo.derivatives import FollowerRows
from stackpyomo.games.information import read_observation
from stackpyomo.incentives.gains.entries import Entries, Wishes


def entries(observe: Any, size: float = 1, **wishes: Any) -> Entries:
    """Two followers who each feel both of two tolls; the second may be a population."""
    m = pyo.ConcreteModel()
    m.toll, m.f = pyo.Var(range(2), bounds=(-5, 5), initialize=0.0), pyo.Block(range(2))
    for block in m.f.values():
        block.u = pyo.Var(bounds=(0, 4), initialize=1.0)
        block.cost = pyo.Objective(expr=(block.u - 2) ** 2 + (m.toll[0] + 2 * m.toll[1]) * block.u)
    m.wish = pyo.Objective(expr=sum((b.u - 1) ** 2 for b in m.f.values()) + m.toll[0] ** 2 + m.toll[1] ** 2)
    game = sp.Game(m, followers=[m.f[0], sp.Population(m.f[1], size)])
    with undisturbed():
        rows = FollowerRows(game).natural(game.current_values())
        curved = read_observation(game, observe(m), curved=True)
        return Entries(rows, Wishes(curved, **wishes))


def test_one_of_an_entry() -> None:
    """A signal's unit is what one action moves it at most over its reach: of 3u three times as much as of u."""
    design = entries(lambda m: [m.f[0].u, 3 * m.f[1].u])
    assert design.leader == ["toll[0]", "toll[1]"]
    assert design.spans[1] == pytest.approx(3 * design.spans[0])
    one, other = design.units(np.array([0, 0]), np.array([0, 1]))
    assert one == pytest.approx(3 * other)
    np.testing.assert_allclose(abs(design.moves).max(axis=1).toarray().ravel(), 1.0)
    assert design.reach.tolist() == [1.0, 3.0]


def test_whoever_nothing_shows_that_may_be_used_is_not_watched() -> None:
    assert entries(lambda m: [m.f[0].u]).watched.tolist() == [True, False]
    apart = entries(lambda m: [(m.toll[0], [m.f[0].u]), (m.toll[1], [])])
    assert apart.watched.tolist() == [True, False]
    assert apart.allowed is not None
    assert apart.allowed.toarray().tolist() == [[1.0], [0.0]]
    bent = entries(lambda m: [(m.f[1].u - 1) ** 2])
    assert bent.watched.tolist() == [False, True], "what a square shows is watched, too"


def test_equations_hold_what_is_felt_and_may_be_used() -> None:
    """∂J/∂toll = (u, 2u) at u = 1: both tolls may answer both signals, or each its own."""
    both = entries(lambda m: [m.f[0].u, m.f[1].u])
    leader = both.rows.at(both.rows.game.current_values()).leader
    system = both.system(leader)
    assert (len(system.leader), system.permitted) == (4, 4)
    own = entries(lambda m: [(m.toll[i], [m.f[i].u]) for i in range(2)])
    system = own.system(leader)
    assert [*zip(system.leader.tolist(), system.signal.tolist(), strict=True)] == [(0, 0), (1, 1)]
    assert system.permitted == 2


def test_energy_and_limits_by_leader_variable() -> None:
    design = entries(lambda m: [m.f[0].u], energy={"toll[1]": 9.0}, gain_bounds={"toll[0]": (None, 2.0)})
    assert design.weights.tolist() == [1.0, 9.0]
    assert (design.lower.tolist(), design.upper.tolist()) == ([-math.inf] * 2, [2.0, math.inf])
    with pytest.raises(sp.InvalidGame, match=r"energy: the weight of toll\[1\]"):
        entries(lambda m: [m.f[0].u], energy={"toll[1]": -1.0})


@pytest.mark.parametrize("size", [1, 5, math.inf])
def test_members_who_show_a_signal_each_count_in_the_energy(size: float) -> None:
    design = entries(lambda m: [m.f[0].u, m.f[1].u], size)
    assert design.counts.tolist() == [1.0, size]
    assert np.isfinite(design.crowds).all()
    assert design.crowds[1] == (size if math.isfinite(size) else pytest.approx(1e9))


def test_what_is_announced_goes_through_the_point() -> None:
    design = entries(lambda m: [m.f[0].u], saturate=True)
    values = design.rows.game.current_values()
    system = design.system(design.rows.at(values).leader)
    announced = design.announced(values, system.as_matrix(np.ones(2)), 7.0)
    assert (announced.values, announced.leader_objective, announced.saturate) == (values, 7.0, True)
    assert announced.gain is not None
    assert announced.gain.toarray().tolist() == [[1.0], [1.0]]
