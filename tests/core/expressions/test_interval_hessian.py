"""Interval Hessians against second derivatives known by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyomo.environ as pyo
import pytest

from stackpyomo.core.expressions import is_convex_on_box


@pytest.mark.parametrize(
    ("function", "bounds", "convex"),
    [
        (lambda x: -x / (x + 5), (0, 100), True),  # −(1 − 5/(x + 5))
        (lambda x: -x * (x + 5) ** -0.7 + x**1.5, (0, 100), True),
        (lambda x: x * (x + 5) ** -0.7, (0, 100), False),
        (lambda x: x**4 - 6 * x**2, (1, 3), True),  # 12 x² − 12 ≥ 0 from 1 on, touching 0
        (lambda x: x**4 - 6 * x**2, (0.9, 3), False),
        (lambda x: pyo.sin(x) + 0.5 * x**2, (-9, 9), True),  # 1 − sin x ≥ 0, touching 0
        (lambda x: pyo.sin(x) + 0.4 * x**2, (-9, 9), False),
        (lambda x: x * pyo.log(x + 1), (0, 50), True),
        (lambda x: pyo.exp(-x) * x, (2, 9), True),  # (x − 2) e^−x
        (lambda x: pyo.exp(-x) * x, (1.9, 9), False),
        (lambda x: -x / (x + 5), (0, None), False),  # no finite box: nothing is proved
        (lambda x: 3 * x + 0 * x**2, (0, 1), True),
    ],
)
def test_second_derivatives(function: Callable[[Any], Any], bounds: tuple[Any, Any], convex: bool) -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=bounds, initialize=3.0)
    found = is_convex_on_box(function(m.x), m.x)
    touches = bounds in ((1, 3), (-9, 9), (2, 9))
    assert found == convex or (touches and not found), "a second derivative that touches 0 may stay unproved"
    assert m.x.bounds == bounds
    if not convex:
        assert not found
