"""Active sides: which limits a plan stands at, and what directions they leave open."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.sparse import csr_array

import stackpyomo as sp
from stackpyomo.derivatives import FollowerRows, active_sides, by_follower, composed_normals, open_directions


def test_bounds_rows_and_equalities_each_on_their_side() -> None:
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(initialize=1.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 2), initialize=0.0)
    m.f.v = pyo.Var(bounds=(0, 2), initialize=1.0)
    m.f.w = pyo.Var(bounds=(0, 2), initialize=1.0)
    m.f.below = pyo.Constraint(expr=m.f.u + m.f.v >= m.toll)
    m.f.slack = pyo.Constraint(expr=m.f.v <= 5)
    m.f.same = pyo.Constraint(expr=2 * m.f.v - m.f.w == 1)
    m.f.cost = pyo.Objective(expr=m.f.u**2 + m.f.v**2 + m.f.w**2)
    m.goal = pyo.Objective(expr=m.toll**2)
    game = sp.Game(m, followers=m.f)
    values, rows = game.current_values(), FollowerRows(game)
    sides = {side.name: side for side in active_sides(rows, rows.at(values), values)}
    assert set(sides) == {"f.below", "f.same", "f.u"}
    assert (sides["f.u"].sign, sides["f.u"].normal.tolist()) == (-1.0, [-1.0])
    assert sides["f.same"].equality
    normals = dict(zip(sides["f.same"].columns.tolist(), sides["f.same"].normal.tolist(), strict=True))
    assert {k: v for k, v in normals.items() if v} == {1: 2.0, 2: -1.0}
    assert by_follower(list(sides.values())).keys() == {0}
    moved = np.zeros((1, 3))
    pinned, limiting = composed_normals(list(sides.values()), {"f.below": 3.0}, slice(0, 3), csr_array(moved))
    assert (len(pinned), len(limiting)) == (2, 1), "a multiplier pins, as an equality does"
    directions = open_directions(pinned)
    assert directions.shape == (3, 1)
    assert pinned @ directions == pytest.approx(np.zeros((2, 1)), abs=1e-12)


def test_without_a_normal_all_directions_are_open() -> None:
    assert open_directions(np.zeros((0, 3))).tolist() == np.eye(3).tolist()
