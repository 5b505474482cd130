"""Outer ranges against mpmath's numbers in a hundred digits, and a slice of the hunt for a false proof."""

from __future__ import annotations

import logging
import math
import random
from fractions import Fraction
from itertools import product
from typing import Any

import mpmath
import pyomo.environ as pyo
import pytest
from helpers.random_expressions import hunt

from stackpyomo.core.expressions import Curvature, curvature, intervals, is_convex_on_box

EXPONENTS = [2.0, 3.0, 4.0, -1.0, -2.0, -3.0, 0.5, 1.5, -0.5, -0.7, 7.0, 1e5, -20.0, 1 / 3]


def number(rng: random.Random) -> float:
    wide = rng.uniform(-1, 1) * 10 ** rng.uniform(-320, 308)
    return float(rng.choice([0, 1, -1, rng.uniform(-3, 3), wide, rng.uniform(-100, 100), 0.1, 5e-324, 1e308, 49.5]))


def inside(span: tuple[float, float], rng: random.Random) -> float:
    lo, hi = span
    between = lo + rng.random() * (hi - lo) if math.isfinite(hi - lo) else lo
    return min(max(rng.choice([lo, hi, between]), lo), hi)


OURS: dict[str, Any] = {name: lambda f, g, e, h=h: h(f) for name, h in intervals.FUNCTIONS.items()}
OURS |= {
    "add": lambda f, g, e: intervals.add(f, g),
    "times": lambda f, g, e: intervals.times(f, g),
    "inverse": lambda f, g, e: intervals.inverse(f),
    "power": lambda f, g, e: intervals.power(f, e),
}
TRUE: dict[str, Any] = {name: lambda x, y, e, name=name: getattr(mpmath, name, abs)(x) for name in intervals.FUNCTIONS}
TRUE |= {
    "add": lambda x, y, e: x + y,
    "times": lambda x, y, e: x * y,
    "inverse": lambda x, y, e: 1 / x,
    "power": lambda x, y, e: x ** (int(e) if e.is_integer() else mpmath.mpf(e)),
}


@pytest.mark.parametrize("name", list(OURS))
def test_a_range_holds_every_value(name: str) -> None:
    rng = random.Random(name)
    with mpmath.workdps(100):
        for _ in range(400):
            f, g = ((min(a, b), max(a, b)) for a, b in [(number(rng), number(rng)), (number(rng), number(rng))])
            x, y, e = mpmath.mpf(inside(f, rng)), mpmath.mpf(inside(g, rng)), rng.choice(EXPONENTS)
            try:
                ours, true = OURS[name](f, g, e), TRUE[name](x, y, e)
            except (ArithmeticError, ValueError):
                continue
            if mpmath.isfinite(true) and not isinstance(true, mpmath.mpc):
                assert ours[0] <= true <= ours[1], (f, g, e, x, y)


def test_what_floats_can_hold_is_exact() -> None:
    assert intervals.add((-5.0, 1.0), (5.0, 100.0)) == (0.0, 101.0)
    assert intervals.times((0.5, 0.5), (-4.0, 6.0)) == (-2.0, 3.0)
    assert intervals.times((0.0, 0.0), (-math.inf, math.inf)) == (0.0, 0.0)
    assert intervals.add((0.1, 0.1), (0.2, 0.2)) == (math.nextafter(0.1 + 0.2, 0.0), 0.1 + 0.2)
    assert intervals.FUNCTIONS["log"]((1.0, 1.0)) == (0.0, 0.0)


ENDS = (0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 0.1, -0.7, 1e-320, -5e-324, 1e300, -1e308, math.inf, -math.inf)


def test_a_product_of_ranges_holds_every_product() -> None:
    """Against fractions, which round nothing; an end that is 0 makes 0 of whatever has no end."""
    spans = [(a, b) for a, b in product(ENDS, ENDS) if a <= b and not math.isinf(a) * (a == b)]
    for f, g in product(spans, spans):
        low, high = intervals.times(f, g)
        exact = [Fraction(a) * Fraction(b) for a in f for b in g if math.isfinite(a) and math.isfinite(b)]
        signs = {math.copysign(1, a) * math.copysign(1, b) for a, b in product(f, g) if math.isinf(a * b or 0.0)}
        assert low == -math.inf if -1.0 in signs else Fraction(low) <= min(exact, default=Fraction(0))
        assert high == math.inf if 1.0 in signs else Fraction(high) >= max(exact, default=Fraction(0))
    assert intervals.times((math.nan, 1.0), (1.0, 2.0)) == (-math.inf, math.inf)


@pytest.mark.slow
def test_no_random_expression_refutes_its_proof() -> None:
    logging.disable()
    try:
        made, refuted = hunt(300, seed=4)
    finally:
        logging.disable(logging.NOTSET)
    assert refuted == []
    assert min(made.values()) > 20, "they make claims at all"


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 0.01 * x**-2 + (x - 1) ** 2,
        lambda x: 0.0001 * x**-4 + (x - 1) ** 2,
        lambda x: (x - 0.1) ** -2.0,
        lambda x: 1 / x**2 + x,
        lambda x: -pyo.log(x**2),
        lambda x: x**3 / x**5,
        lambda x: pyo.tan(2 * x) ** 2 + x**2,
        lambda x: pyo.cos(1.7 * x) ** -2,
        lambda x: 100 * x**2 - abs(x),
        lambda x: 100 * x**2 + (x**2) ** 0.3,
        lambda x: x**2 + pyo.asin(x),
        lambda x: (x**2) ** 0.5 * x + 9 * x**2,
    ],
)
@pytest.mark.parametrize("box", [(-2, 2), (-1, 2), (-1, 1)])
def test_a_pole_or_a_kink_in_the_box_is_no_proof(function: Any, box: tuple[float, float]) -> None:
    """Each bends up wherever it has a second derivative, or nearly, and none is convex (halves end at the kink)."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=box)
    assert not is_convex_on_box(function(m.x), m.x)


@pytest.mark.parametrize(
    ("function", "box"),
    [
        (lambda x: 0.01 * x**-2 + (x - 1) ** 2, (0.01, 2)),
        (lambda x: x**-2 + x, (0, 2)),  # the pole is at the end: nothing lies behind it
        (lambda x: -pyo.sqrt(x) + x * x, (0, 4)),
        (lambda x: 3 * x**2 - abs(x), (0, 2)),
        (lambda x: pyo.sinh(x) * x + pyo.atan(x) + 3 * x**2, (-1, 1)),
        (lambda x: pyo.acos(x) + pyo.asin(x) + x**2, (-0.5, 0.5)),
        (lambda x: x**2 - pyo.tan(x) / 9, (0, 0.7)),
    ],
)
def test_what_bends_up_on_the_whole_box_is_proved(function: Any, box: tuple[float, float]) -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=box)
    assert is_convex_on_box(function(m.x), m.x)


def test_a_factor_of_0_leaves_nothing() -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(-2, 2)), pyo.Var()
    m.p = pyo.Param(initialize=0.0, mutable=True)
    assert curvature(0.0 * m.x**4 * m.y + pyo.exp(m.x)).curvature is Curvature.CONVEX
    assert curvature(m.p * m.x * m.y**3 + pyo.exp(m.x)).curvature is Curvature.CONVEX
    assert is_convex_on_box(0.0 * m.x**5 + m.x**4 - m.x**3 / 9 + m.x**2, m.x)


@pytest.mark.parametrize("unit", [1e-8, 1e-3, 1.0, 1e8])
@pytest.mark.parametrize("size", [1e-7, 1.0, 1e7])
@pytest.mark.parametrize("constant", [0.0, 1e6])
def test_units_change_no_verdict(unit: float, size: float, constant: float) -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(-2 * size, 2 * size)), pyo.Var(bounds=(-2 * size, 2 * size))
    x, y = m.x / size, m.y / size
    wells, bowl = x**4 / 4 - x**2 / 2, x**4 / 4 + x**2 / 2 - x**3 / 9
    for function, convex in ((wells, False), (bowl, True)):
        assert is_convex_on_box(unit * (function + constant), m.x) is convex
    proofs = [curvature(unit * (f + constant)).curvature for f in (x**2 + y**2 - 1.9 * x * y, x**2 - y**2)]
    assert proofs == [Curvature.CONVEX, Curvature.NONCONVEX]
    assert curvature(unit * (pyo.exp(x) + (x - y) ** 2 + constant)).curvature is Curvature.CONVEX
