"""Deepest deviations: in closed form for one action and one row."""

from __future__ import annotations

import math

import pyomo.environ as pyo
import pytest
from conftest import snapshot

import stackpyomo as sp
from stackpyomo.bilevel.deepest import deepest


def test_the_deepest_of_what_is_worth_as_much() -> None:
    """min y² s.t. y ≥ x at x = 1, y = 3: as good as y² ≤ 9 − gain, deepest in y ≥ 1 is y = √(9 − gain)."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 2))
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(-4, 4))
    m.f.row = pyo.Constraint(expr=m.f.y >= m.x)
    m.f.cost = pyo.Objective(expr=m.f.y**2)
    m.goal = pyo.Objective(expr=m.x)
    game = sp.Game(m, m.f)
    before = snapshot(m)
    point = deepest(game, {"x": 1.0, "f.y": 3.0}, game.followers["f"], 5.0, until=math.inf)
    assert point is not None
    assert point["f.y"] == pytest.approx(2.0, abs=1e-5)
    assert deepest(game, {"x": 1.0, "f.y": 3.0}, game.followers["f"], 8.5, until=math.inf) is None
    m.f.y.domain = pyo.Integers
    point = deepest(game, {"x": 0.5, "f.y": 3.0}, game.followers["f"], 4.0, until=math.inf)
    assert point == {"f.y": 2.0}
    m.f.y.domain = pyo.Reals
    assert snapshot(m) == before
