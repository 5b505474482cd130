"""Formulas: what is read once says what Pyomo says of the same expressions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.families import functions_among
from stackpyomo.games import formulas


def market(size: int = 5) -> Any:
    """Firms of two rules, one of whom maximises, rows of their own and one that all of them feel."""
    m = pyo.ConcreteModel()
    m.level, m.t, m.f = pyo.Param(initialize=2.0, mutable=True), pyo.Var(initialize=0.3), pyo.Block(range(size))
    for k, f in m.f.items():
        f.x, f.y = pyo.Var(bounds=(0, 2), initialize=0.1 * k), pyo.Var(bounds=(0, 2), initialize=0.7)
        f.cost = pyo.Objective(expr=(f.x - k) ** 2 + m.t * f.x + m.level * f.y**2, sense=pyo.minimize)
        if k == 2:
            f.cost.set_value(-pyo.exp(f.x) - f.y**2 + m.t * f.y)
            f.cost.set_sense(pyo.maximize)
        f.row = pyo.Constraint(expr=f.x * f.y + m.level <= 9)
    m.f[0].y.fix(0.5)
    m.all = pyo.Constraint(expr=sum(f.x for f in m.f.values()) <= 20)
    m.goal = pyo.Objective(expr=m.t**2)
    return m


def test_values_are_those_of_pyomo() -> None:
    m = market()
    game = sp.Game(m, m.f, shared=[m.all])
    known, followers = formulas(game), list(game.followers.values())
    assert not known.unread
    rows = [c for f in followers for c in f.constraints]
    assert len({known.number[id(c)] for c in rows}) == len(followers) + 1, "what all feel is there once"
    asked = np.array([*range(len(followers)), *(known.number[id(c)] for c in rows)])
    assert sorted(np.concatenate([place for _, place in known.placed(asked)])) == list(range(len(asked)))
    read = functions_among(known.families, int(asked.max()) + 1, list(game.variables_by_name.values()))
    for point in np.random.default_rng(0).uniform(0, 2, (3, read.n)):
        for var, level in zip(read.variables, point, strict=True):
            var.set_value(float(level))
        values = read.constraints(point)[asked]
        wanted = [f.objective.expr for f in followers if f.objective is not None] + [c.body for c in rows]
        assert values == pytest.approx([pyo.value(expression) for expression in wanted], rel=1e-14)
    assert all(v is not m.f[0].y for v in read.variables), "what is fixed is data"


def test_what_is_not_understood_is_named_by_its_row() -> None:
    m = market()
    m.f[3].cost.set_value(abs(m.f[3].x - 1))
    game = sp.Game(m, m.f)
    assert set(formulas(game).unread) == {3}
