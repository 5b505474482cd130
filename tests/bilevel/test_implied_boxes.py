"""Boxes that rows imply: of nobody's Vars but copies."""

from __future__ import annotations

import math

import pyomo.environ as pyo
import pytest
from conftest import snapshot

import stackpyomo as sp
from stackpyomo.bilevel import implied_boxes
from stackpyomo.bilevel.implied_boxes import least_cost


def test_rows_limit_what_bounds_do_not() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 2))
    m.f = pyo.Block()
    m.f.y, m.f.z = pyo.Var(), pyo.Var(bounds=(0, None))
    m.f.ball = pyo.Constraint(expr=m.f.y**2 + m.f.z <= 4 * m.x)
    m.f.free = pyo.Var()
    m.f.cost = pyo.Objective(expr=m.f.y + m.f.free**2)
    m.goal = pyo.Objective(expr=m.f.y - m.x)
    game = sp.Game(m, m.f)
    before = snapshot(m)
    boxes = implied_boxes(game)
    assert boxes["f.y"] == pytest.approx((-math.sqrt(8), math.sqrt(8)))
    assert boxes["f.z"] == pytest.approx((0, 8))
    assert boxes["f.free"] == (-math.inf, math.inf)
    assert least_cost(game, m.goal.expr, [m.f.ball]) == pytest.approx(-math.sqrt(8) - 2)
    assert least_cost(game, m.goal.expr, []) == -math.inf  # a row that does not hold there leaves nothing out
    assert least_cost(game, m.f.free + m.x, [m.f.ball]) == -math.inf
    other = pyo.ConcreteModel()
    other.z = pyo.Var(bounds=(0, 9))
    other.row = pyo.Constraint(expr=m.f.free + other.z >= 1)
    assert least_cost(game, m.f.free + m.x, [other.row, m.f.free >= 0]) == -math.inf
    assert other.z.bounds == (0, 9)
    assert snapshot(m) == before
