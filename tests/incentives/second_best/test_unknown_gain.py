"""A gain as unknowns: its entries, what moves with each action, rows of rules that are common."""

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
from stackpyomo.incentives.gains.selection import Entries, Wishes
from stackpyomo.incentives.second_best.unknown_gain import UnknownGain, read_common


def billed(*, common: bool = False, observe: Any = None, **wishes: Any) -> tuple[UnknownGain, sp.Game]:
    """Two followers of u, each with a toll of its own, which an aggregate adds up; by default each sees its own."""
    m = pyo.ConcreteModel()
    m.toll, m.paid = pyo.Var(range(2), bounds=(-20, 20), initialize=0.0), pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(2))
    for i, block in m.f.items():
        block.u = pyo.Var(bounds=(-5, 5), initialize=1.0)
        block.cost = pyo.Objective(expr=block.u**2 / 2 + m.toll[i] * block.u + m.paid)
    m.sum = pyo.Constraint(expr=m.paid == 3 * m.toll[0] + m.f[1].u)
    m.goal = pyo.Objective(expr=sum(b.u**2 for b in m.f.values()))
    game = sp.Game(m, followers=m.f, aggregates=[m.sum])
    seen = [(m.toll[i], [2 * m.f[i].u]) for i in range(2)] if observe is None else observe(m)
    with undisturbed():
        rows, observation = FollowerRows(game), read_observation(game, seen)
        design = Entries(rows.natural(game.current_values()), Wishes(observation, **wishes))
        return UnknownGain(rows, design, read_common(game, observation, [m.toll] if common else [])), game


def rates(gain: UnknownGain, action: Any, *values: float) -> dict[str, float]:
    """Variable → what it moves by per unit of an action at these gains."""
    for var, value in zip(gain.holder.gain.values(), values, strict=True):
        var.set_value(value)
    moved: dict[str, float] = {}
    for var, rate in gain.answers[id(action)]:
        moved[var.name] = moved.get(var.name, 0.0) + pyo.value(rate)
    return moved


def test_what_moves_with_an_action() -> None:
    """Signal 2u: the toll by 2K, and three times as much what adds it up."""
    gain, game = billed()
    m = game.model
    assert len(gain.holder.gain) == 2
    assert rates(gain, m.f[0].u, 0.5, 7.0) == {"toll[0]": 1.0, "paid": 3.0}
    assert rates(gain, m.f[1].u, 0.5, 7.0) == {"toll[1]": 14.0}


def test_one_rule_is_one_unknown_and_a_row_each() -> None:
    """toll_i = c + K·2u_i; a gain given entry by entry is its mean."""
    gain, game = billed(common=True)
    m = game.model
    assert gain.numbers.tolist() == [0, 0]
    gain.bound(np.array([-3.0, -2.0]), np.array([4.0, 5.0]))
    (var,) = gain.holder.gain.values()
    assert var.bounds == (-2.0, 4.0)
    assert gain.point(np.array([1.0, 2.0])) == {id(var): 1.5}
    assert gain.point(np.array([9.0, 9.0])) == {id(var): 4.0}
    assert gain.matrix({id(var): 1.5}).toarray().tolist() == [[1.5, 0.0], [0.0, 1.5]]
    var.set_value(0.5)
    gain.holder.offset[0].set_value(0.25)
    m.f[1].u.set_value(3.0)
    m.toll[1].set_value(0.25 + 0.5 * 6.0)
    second = gain.common_rows()[1]
    assert pyo.value(second.body) == pytest.approx(pyo.value(second.upper))
    assert [str(row.body) for row in gain.common_rows(constants=True)] == ["toll[0] - offset[0]", "toll[1] - offset[0]"]
    with pytest.raises(sp.InvalidGame, match="bounds that exclude each other"):
        gain.bound(np.array([-3.0, 2.0]), np.array([1.0, 5.0]))


def test_what_moves_nobody_is_no_unknown() -> None:
    """A member of an infinite population moves no mean."""
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var(bounds=(-1, 1), initialize=0.0), pyo.Block()
    m.f.u, m.mean = pyo.Var(bounds=(0, 1), initialize=0.5), pyo.Var(initialize=0.5)
    m.average = pyo.Constraint(expr=m.mean == m.f.u)
    m.f.cost = pyo.Objective(expr=m.f.u**2 + m.p * m.f.u)
    m.goal = pyo.Objective(expr=m.f.u**2)
    game = sp.Game(m, followers=sp.Population(m.f, math.inf), aggregates=[m.average])
    with undisturbed():
        rows, observation = FollowerRows(game), read_observation(game, [m.mean])
        gain = UnknownGain(rows, Entries(rows.natural(game.current_values()), Wishes(observation)), [])
    assert (gain.entries, gain.variables, gain.answers) == ([], [], {})


def test_bad_common_rules() -> None:
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(range(2), bounds=(-20, 20), initialize=0)
    m.f = pyo.Block(range(2))
    for i, block in m.f.items():
        block.q = pyo.Var(bounds=(-20, 20), initialize=1)
        block.cost = pyo.Objective(expr=block.q**2 / 2 - 2 * block.q + m.toll[i] * block.q)
    m.goal = pyo.Objective(expr=sum((b.q - 1) ** 2 for b in m.f.values()) + m.toll[0] ** 2 + m.toll[1] ** 2)
    game, (first, second) = sp.Game(m, followers=list(m.f.values())), m.f.values()
    with pytest.raises(sp.InvalidGame, match=r"toll\[0\] sees 1 signals \(f\[0\].q\), toll\[1\] 0"):
        sp.optimal_rule(game, [(m.toll[0], [first.q])], common=[m.toll])
    with pytest.raises(sp.InvalidGame, match="an action of one follower and a sum are unlike signals"):
        sp.optimal_rule(game, [(m.toll[0], [first.q]), (m.toll[1], [first.q + second.q])], common=[m.toll])
    with pytest.raises(sp.InvalidGame, match="is in two of the groups"):
        sp.optimal_rule(game, [(m.toll[i], [m.f[i].q]) for i in range(2)], common=[m.toll, m.toll])
    with pytest.raises(sp.InvalidGame, match="expected a Game"):
        sp.optimal_rule(m)  # type: ignore[arg-type]
