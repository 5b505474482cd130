"""Own rows: an answer that a solver left a little beyond them is moved onto them, and no other."""

from __future__ import annotations

import math
from typing import Any

import pyomo.environ as pyo
import pytest

from stackpyomo.bilevel.own_rows import OwnRows


def actions(*rows: Any, whole: bool = False) -> Any:
    m = pyo.ConcreteModel()
    m.v = pyo.Var(bounds=(0, 2), domain=pyo.Integers if whole else pyo.Reals)
    m.w = pyo.Var(bounds=(0, 2))
    m.rows = pyo.ConstraintList()
    for row in rows:
        m.rows.add(row(m.v, m.w))
    return m, OwnRows.of(list(m.rows.values()))


def moved(m: Any, own: OwnRows, v: float, w: float) -> tuple[float, float]:
    levels = {id(m.v): v, id(m.w): w}
    levels.update(own.nearest(levels))
    return levels[id(m.v)], levels[id(m.w)]


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_what_is_a_little_beyond_rows_is_moved_within_them(unit: float) -> None:
    m, own = actions(
        lambda v, w: unit * (v + 3 * w) <= 3 * unit, lambda v, w: v**2 + w**2 <= 1.5, lambda v, w: v <= w + 1
    )
    for v, w in ((0.75 + 1e-8, 0.75), (1.2, math.sqrt(0.06) + 1e-8), (1.0, 2 / 3 + 1e-8)):
        at, by = moved(m, own, v, w)
        assert max((at + 3 * by) / 3, (at**2 + by**2) / 1.5, at - by) <= 1 + 1e-14
        assert abs(at - v) + abs(by - w) <= 2e-7


def test_whole_actions_stay_and_what_is_within_or_far_beyond_is_left() -> None:
    m, own = actions(lambda v, w: v + w <= 2, whole=True)
    assert moved(m, own, 1.0, 1.0 + 1e-8) == (1.0, pytest.approx(1.0, abs=2e-8))
    assert moved(m, own, 1.0, 1.0 + 1e-8)[1] <= 1.0
    assert moved(m, own, 1.0, 0.5) == (1.0, 0.5)
    assert moved(m, own, 2.0, 1.0) == (2.0, 1.0)


def test_an_equality_is_met() -> None:
    m, own = actions(lambda v, w: v + w == 1, lambda v, w: 3 * v <= 1)
    v, w = moved(m, own, 1 / 3 + 1e-8, 2 / 3 + 1e-8)
    assert v + w == pytest.approx(1.0, abs=1e-14)
    assert 3 * v <= 1 + 1e-14


@pytest.mark.parametrize(("rate", "level"), [(pyo.log, 0.0), (lambda w: pyo.sqrt(w - 0.5), 0.5 - 1e-9)])
def test_where_a_row_has_no_value_nothing_is_moved(rate: Any, level: float) -> None:
    m, own = actions(lambda v, w: rate(w) + v <= 1)
    assert moved(m, own, 0.5, level) == (0.5, level)
