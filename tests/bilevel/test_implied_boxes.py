"""Boxes that rows imply: of nobody's Vars but copies."""

from __future__ import annotations

import math

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds, snapshot

import stackpyomo as sp
from stackpyomo.bilevel import conditions, implied_boxes
from stackpyomo.bilevel.implied_boxes import bound_actions, least_cost


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


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_conditions_end_what_bounds_do_not(unit: float, side: float) -> None:
    """Cournot: (90 − x − Σ y) y is falling from y = 45 on, whatever the others sell; a follower alone is as before."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, 100)), pyo.Block([1, 2])
    for k in m.f:
        m.f[k].y = pyo.Var(bounds=(0, None) if side > 0.0 else (None, 0))
    sold = [side * m.f[k].y / unit for k in m.f]
    for k, y in zip(m.f, sold, strict=True):
        m.f[k].profit = pyo.Objective(expr=(90 - m.x - sum(sold)) * y, sense=pyo.maximize)
    m.goal = pyo.Objective(expr=m.x)
    game = sp.Game(m, m.f)
    before = snapshot(m)
    kkt = conditions(game, list(game.followers.values()))
    known = len(kkt.implied)
    bound_actions(kkt, game, [])
    assert snapshot(m) == before
    assert len(kkt.implied) == known + 2
    for cut in kkt.implied[known:]:
        m.f[1].y.set_value(44.0 * unit * side, skip_validation=True)
        m.f[2].y.set_value(44.0 * unit * side, skip_validation=True)
        assert pyo.value(cut.expr)
        m.f[1].y.set_value(46.0 * unit * side, skip_validation=True)
        m.f[2].y.set_value(46.0 * unit * side, skip_validation=True)
        assert not pyo.value(cut.expr)


@pytest.mark.parametrize("seed", seeds(40))
def test_what_conditions_imply_holds_at_every_best_answer(seed: int) -> None:
    """h v²/2 + (a + b x + c w) v for v ≥ l, w in a box: the best answer by its closed form at random x and w."""
    random = np.random.default_rng(seed)
    h, a, b, c, low = random.uniform(0.2, 3), *random.uniform(-4, 4, 4)
    m = pyo.ConcreteModel()
    m.x, m.w, m.f = pyo.Var(bounds=(-1, 2)), pyo.Var(bounds=(-3, 1)), pyo.Block()
    m.f.v = pyo.Var(bounds=(low, None))
    m.f.cost = pyo.Objective(expr=h * m.f.v**2 / 2 + (a + b * m.x + c * m.w) * m.f.v)
    m.goal = pyo.Objective(expr=m.f.v)
    game = sp.Game(m, m.f)
    kkt = conditions(game, list(game.followers.values()))
    known = len(kkt.implied)
    bound_actions(kkt, game, [])
    for x, w in random.uniform(0, 1, (50, 2)):
        m.x.set_value(-1 + 3 * x)
        m.w.set_value(-3 + 4 * w)
        m.f.v.set_value(max(low, -(a + b * m.x.value + c * m.w.value) / h), skip_validation=True)
        assert all(pyo.value(cut.expr) for cut in kkt.implied[known:])
