"""First derivatives of followers' problems, aggregates moving along, against finite differences; in any unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.derivatives import FollowerRows


def coupled(count: int) -> sp.Game:
    """Two actions each, felt by all through an average; every second one maximises and has a row."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(-5, 5), initialize=0.4)
    m.mean = pyo.Var(initialize=0.0)

    def follower(b: Any, i: int) -> None:
        b.u, b.v = pyo.Var(bounds=(0, 2), initialize=0.3 + i / 50), pyo.Var(bounds=(0, 2), initialize=0.8)
        cost = (1 + i / 10) * (b.u - 1) ** 2 + pyo.exp(b.v * m.toll / 3) + m.mean * b.u * (i + 1) / 7
        b.cost = pyo.Objective(expr=-cost if i % 2 else cost, sense=pyo.maximize if i % 2 else pyo.minimize)
        if i % 2:
            b.row = pyo.Constraint(expr=b.u * b.v + m.toll <= 3)

    m.f = pyo.Block(range(count), rule=follower)
    m.average = pyo.Constraint(expr=m.mean == sum(m.f[i].u for i in m.f) / count)
    m.mean.set_value(sum(m.f[i].u.value for i in m.f) / count)
    m.goal = pyo.Objective(expr=m.toll**2)
    return sp.Game(m, followers=m.f, aggregates=[m.average])


@pytest.mark.parametrize("count", [3, 120])
def test_slopes_against_finite_differences(count: int) -> None:
    """By the text of few and the arrays of many."""
    game = coupled(count)
    values = game.current_values()
    rows = FollowerRows(game)
    derivatives = rows.at(values)
    followers = list(game.followers.values())

    def cost(number: int, var: str, step: float) -> float:
        moved = dict(values)
        moved[var] += step
        if var.endswith(".u"):
            moved["mean"] += step / count
        for name, level in moved.items():
            game.variables_by_name[name].set_value(level)
        level = float(pyo.value(followers[number].cost))
        for name, old in values.items():
            game.variables_by_name[name].set_value(old)
        return level

    for number in (0, 1, count - 1):
        own = derivatives.own[rows.own(number)]
        names = [game.names[id(v)] for v in followers[number].variables]
        slopes = [(cost(number, name, 1e-6) - cost(number, name, -1e-6)) / 2e-6 for name in names]
        assert own == pytest.approx(slopes, rel=1e-6, abs=1e-8)
        steep = (cost(number, "toll", 1e-6) - cost(number, "toll", -1e-6)) / 2e-6
        assert derivatives.leader[[number]].toarray().ravel() == pytest.approx([steep], rel=1e-6)


def test_natural_units_make_costs_of_size_1() -> None:
    """Slopes times reaches over costs: the largest of each follower's own is 1, whatever the user's units."""
    game = coupled(3)
    values = game.current_values()
    natural = FollowerRows(game).natural(values).at(values)
    sizes = np.abs(natural.own).reshape(3, 2).max(axis=1)
    assert (sizes <= 1.0 + 1e-12).all()
    assert (sizes > 0.0).all()
