"""Bounds as numbers: of Vars and rows, with none, one and both."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.core import bounds_of, box_of, clipped, leaves, require_positive, require_whole, sides_of, whole_points


@pytest.mark.parametrize("low", [None, -2.0])
@pytest.mark.parametrize("high", [None, 3])
def test_bounds_of(low: float | None, high: float | None) -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(low, high))
    limits = (-math.inf if low is None else low), (math.inf if high is None else high)
    assert bounds_of(m.x) == limits
    if (low, high) != (None, None):
        m.row = pyo.Constraint(expr=(low, m.x, high))
        assert bounds_of(m.row) == limits
    assert clipped(0.5, m.x) == 0.5
    assert clipped(-9.0, m.x) == (-9.0 if low is None else -2.0)
    assert clipped(9.0, m.x) == (9.0 if high is None else 3.0)


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
def test_a_range_leaves_its_limits_in_every_unit(unit: float) -> None:
    assert leaves(-0.1 * unit, 2.0 * unit, 0.0, None) == (True, False)
    assert leaves(-1e-8 * unit, 2.0 * unit, 0.0, 2.0 * unit) == (False, False)
    assert leaves(-math.inf, 1.1 * unit, 0.0, unit) == (True, True)
    assert leaves(-math.inf, math.inf, None, None) == (False, False)
    assert leaves(math.nan, 0.0, 0.0, 1.0) == (True, False), "what has no value is nowhere within"


def test_boxes_and_sides_are_what_the_bounds_say() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1, 2, 3])
    for var, bounds in zip(m.x.values(), [(None, None), (-1, None), (None, 2), (0, 5)], strict=True):
        var.bounds = bounds
    low, high = box_of(m.x.values())
    assert low.tolist() == [-math.inf, -1.0, -math.inf, 0.0]
    assert high.tolist() == [math.inf, math.inf, 2.0, 5.0]
    assert [side.shape for side in box_of([])] == [(0,), (0,)]
    sides = [list(sides_of(var)) for var in m.x.values()]
    assert sides == [[], [(-1.0, -1.0)], [(1.0, 2.0)], [(1.0, 5.0), (-1.0, 0.0)]]


def test_whole_points_are_all_there_are_or_none() -> None:
    m = pyo.ConcreteModel()
    m.x, m.y, m.z = pyo.Var(bounds=(-0.5, 1.2)), pyo.Var(bounds=(2, 3)), pyo.Var(bounds=(0, None))
    points = whole_points([m.x, m.y], 4)
    assert points is not None
    assert points.tolist() == [[0.0, 2.0], [0.0, 3.0], [1.0, 2.0], [1.0, 3.0]]
    assert whole_points([m.x, m.y], 3) is None
    assert whole_points([m.x, m.z], 10**9) is None
    m.y.bounds = (0.3, 0.6)
    empty, nothing = whole_points([m.x, m.y], 4), whole_points([], 1)
    assert [None if part is None else part.shape for part in (empty, nothing)] == [(0, 2), (1, 0)]


def test_the_whole_number_next_to_0_is_0_without_a_sign() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(domain=pyo.Binary)
    points = whole_points([m.x], 2)
    assert points is not None
    assert not np.signbit(points).any()


@pytest.mark.parametrize("number", [True, 0, -1, 1.5, "3", None, math.nan])
def test_no_whole_number(number: Any) -> None:
    with pytest.raises(sp.InvalidGame, match=r"starts=.*: expected an integer from 1 on\."):
        require_whole("starts", number)


@pytest.mark.parametrize("number", [True, 0, -1.0, "3", None, math.nan, math.inf, 1j])
def test_no_positive_number(number: Any) -> None:
    with pytest.raises(sp.InvalidGame, match=r"time_limit=.*: expected a finite number above 0\."):
        require_positive("time_limit", number)


def test_what_is_allowed_beside() -> None:
    require_whole("size", np.int64(3))
    require_whole("digits", 0, least=0)
    require_positive("time_limit", None, none=True)
    require_positive("slack", 0, zero=True)
    require_positive("weight", np.float32(0.5))
    with pytest.raises(sp.InvalidGame, match=r"slack=-1: expected a finite number from 0 on\."):
        require_positive("slack", -1, zero=True)
