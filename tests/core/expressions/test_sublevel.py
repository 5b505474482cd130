"""Boxes around sublevel sets: closed forms, samples of random functions, and what has none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds

from stackpyomo.core.expressions import sublevel_box

Bounds = Sequence[tuple[float | None, float | None]]
LINE = (None, None)


def box_of(
    function: Callable[..., Any], bounds: Bounds, values: Sequence[float], units: Sequence[float] | None = None
) -> tuple[list[tuple[float, float]] | None, Any, list[Any]]:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(len(bounds)))
    variables = list(m.x.values())
    for var, (low, high), value in zip(variables, bounds, values, strict=True):
        var.setlb(low)
        var.setub(high)
        var.set_value(value)
    expression = function(*variables)
    return (
        sublevel_box(expression, variables, units or [1.0] * len(bounds), pyo.value(expression)),
        expression,
        variables,
    )


@pytest.mark.parametrize("unit", [1e-7, 1.0, 1e7])
@pytest.mark.parametrize("factor", [1e-8, 1.0, 1e8])
def test_a_parabola_ends_at_its_level(unit: float, factor: float) -> None:
    """(x − 1)² ≤ 4 on [−1, 3]: within a constant of it, and in any unit."""
    box, *_ = box_of(lambda x: factor * (x / unit - 1) ** 2, [LINE], [3 * unit], [unit])
    assert box is not None
    ((low, high),) = box
    assert -3.0 * unit <= low <= -1.0 * unit
    assert 3.0 * unit <= high <= 9.0 * unit


@pytest.mark.parametrize(
    ("function", "bounds", "values"),
    [
        (lambda x: x**4 - 3 * x**2 + pyo.sin(9 * x), [LINE], [1.0]),
        (lambda x: x**3 - 3 * x**2, [(0, None)], [1.0]),
        (lambda x: -(x**3) - 3 * x**2, [(None, 0)], [-1.0]),
        (lambda x: 2 * x + pyo.sin(3 * x), [(0, None)], [1.0]),
        (lambda x: pyo.log(1 + pyo.exp(x)) + pyo.cos(x), [(0, None)], [1.0]),
        (lambda x, y: x**2 - 1.8 * x * y + y**2 + pyo.tanh(x - y), [LINE] * 2, [1.0, 2.0]),
        (lambda x, y: x**4 + y**2 - x * y - 3 * x**2, [LINE] * 2, [1.0, 2.0]),
        (lambda x, y: x**4 + 2 * x**3 * y + 3 * x**2 * y**2 + x * y**3 + y**4 - x, [LINE] * 2, [1.0, -1.0]),
        (lambda x, t: 2 * x**2 + t * x**2 - 5 * x + pyo.exp(t - x), [LINE, (-1, 1)], [1.0, 0.5]),
        (lambda x: (x - 1) ** 2 + 0.01 * (x - 3) ** -2 + pyo.sin(7 * x), [LINE], [0.4]),
        (lambda x, y: x + y - 0.5 * pyo.cos(x * y), [(0, None), (0, None)], [1.0, 1.0]),
    ],
)
def test_nothing_outside_is_at_most_the_level(
    function: Callable[..., Any], bounds: Bounds, values: Sequence[float]
) -> None:
    box, expression, variables = box_of(function, bounds, values)
    assert box is not None
    level, random = pyo.value(expression), np.random.default_rng(0)
    low, high = (np.array(side, dtype=float) for side in zip(*box, strict=True))
    assert (low <= values).all()
    assert (values <= high).all()
    floor, ceiling = (
        np.array([end if b[side] is None else b[side] for b in bounds]) for side, end in ((0, -np.inf), (1, np.inf))
    )
    for _ in range(400):
        size = 10.0 ** random.uniform(-2, 2)
        point = np.clip(np.array(values) + size * random.normal(size=len(values)), floor, ceiling)
        for var, value in zip(variables, point, strict=True):
            var.set_value(value, skip_validation=True)
        if pyo.value(expression) <= level:
            assert (low <= point).all()
            assert (point <= high).all()


@pytest.mark.parametrize(
    ("function", "bounds", "values"),
    [
        (lambda x: x**3, [LINE], [1.0]),
        (lambda x: (x - 1) ** 2 - 1e-9 * x**4, [LINE], [1.0]),
        (lambda x: pyo.sin(x), [LINE], [1.0]),
        (lambda x: x**2 - pyo.exp(x), [LINE], [0.0]),
        (lambda x, y: x**2 - 2 * x * y + y**2 + pyo.sin(x), [LINE] * 2, [1.0, 2.0]),
        (lambda x, y: x**2 + pyo.sin(y), [LINE] * 2, [1.0, 2.0]),
        (lambda x, y: x**4 + y**2 - x**2 * y * 2, [LINE] * 2, [1.0, 2.0]),
        (lambda x: x**2 + 1 / (x - 3), [LINE], [1.0]),
        (lambda x, t: t * x**2 - x, [LINE, (0, 1)], [1.0, 0.5]),
        (lambda x: x**2 + x * pyo.exp(x), [LINE], [1.0]),
        (lambda x: x**2 + math.inf, [LINE], [1.0]),
    ],
)
def test_what_does_not_grow_everywhere_has_no_box(
    function: Callable[..., Any], bounds: Bounds, values: Sequence[float]
) -> None:
    assert box_of(function, bounds, values)[0] is None


@pytest.mark.parametrize("seed", seeds(40))
def test_random_polynomials_are_below_a_level_inside_only(seed: int) -> None:
    """Σ terms of degree ≤ 4 in up to three variables, some at a bound: many points near and far."""
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 4))
    bounds = [[LINE, (-1.0, None), (None, 2.0), (-1.0, 2.0)][int(random.integers(4))] for _ in range(count)]
    powers = [tuple(int(a) for a in random.integers(0, 3, count)) for _ in range(6)]
    weights = random.normal(size=6)
    own = random.uniform(0.1, 2.0, count)

    def function(*x: Any) -> Any:
        total = sum(c * t ** int(k) for c, t, k in zip(own, x, random.choice([2, 4], count), strict=True))
        mixed = (w * math.prod(t**a for t, a in zip(x, p, strict=True)) for w, p in zip(weights, powers, strict=True))
        return total + sum(w for p, w in zip(powers, mixed, strict=True) if sum(p) <= 3)

    box, expression, variables = box_of(function, bounds, [1.0] * count)
    if box is None:
        return
    level = pyo.value(expression)
    for _ in range(300):
        far = 10.0 ** random.uniform(-1, 4)
        for var, (low, high) in zip(variables, bounds, strict=True):
            point = far * random.normal()
            var.set_value(min(max(point, -math.inf if low is None else low), math.inf if high is None else high))
        if pyo.value(expression) <= level:
            assert all(low <= var.value <= high for var, (low, high) in zip(variables, box, strict=True))
