"""Sweeps: values, gradients and second derivatives against Pyomo's, and against ranges over boxes around."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds
from helpers.formulas import LEAVES, drawn
from pyomo.core.expr.calculus.derivatives import Modes, differentiate

from stackpyomo.core.expressions import elementary
from stackpyomo.families import Ranges, gathered, least_eigenvalues, swept


@pytest.mark.parametrize("seed", seeds(60))
def test_derivatives_are_pyomos(seed: int) -> None:
    """At a point, and within their ranges over a box around it; a function that is not bounded says nothing."""
    random = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(LEAVES))
    low, high = random.uniform(0.2, 1.0, LEAVES), random.uniform(1.1, 2.0, LEAVES)
    expression = drawn(random, m, 3) + m.x[0] * m.x[1]
    families, unread = gathered([(0, expression, 1.0)], {id(v): i for i, v in enumerate(m.x.values())})
    assert not unread
    (family,) = families
    columns = family.columns[:, 0]
    boxes = [Ranges(low[[c]], high[[c]]) for c in columns]
    spans = swept(family.tree, [Ranges.of(n) for n in family.numbers], boxes)
    own = [m.x[int(c)] for c in columns]
    for share in (0.0, 1.0, *random.random(4)):
        point = low + share * (high - low)
        for v, level in zip(m.x.values(), point, strict=True):
            v.set_value(float(level))
        value, slope, bend = swept(family.tree, family.numbers, [point[[c]] for c in columns])
        here = pyo.value(expression)
        assert np.ravel(value)[0] == pytest.approx(here, rel=1e-12, abs=1e-12)
        assert within(spans[0], here)
        gradient = differentiate(elementary(expression), wrt_list=own, mode=Modes.reverse_numeric)
        for place, derivative in enumerate(gradient):
            assert number(slope.get(place, 0.0)) == pytest.approx(derivative, rel=1e-9, abs=1e-9)
            assert within(spans[1].get(place, 0.0), derivative)
            for other in range(place, len(own)):
                second = number(bend.get((place, other), 0.0))
                assert second == pytest.approx(differenced(expression, own, place, other), rel=1e-4, abs=1e-4)
                assert within(spans[2].get((place, other), 0.0), second)


def number(entry: Any) -> float:
    return float(np.ravel(entry)[0])


def within(span: Any, level: float) -> bool:
    span, room = Ranges.of(span), 1e-12 * max(1.0, abs(level))
    return bool((span.low <= level + room).all() and (span.high >= level - room).all())


def differenced(expression: Any, own: list[Any], a: int, b: int) -> float:
    """∂²f/∂a∂b from Pyomo's gradient on both sides."""
    middle, step = own[b].value, 1e-6
    sides = []
    for sign in (1.0, -1.0):
        own[b].set_value(middle + sign * step)
        sides.append(differentiate(elementary(expression), wrt=own[a], mode=Modes.reverse_numeric))
    own[b].set_value(middle)
    return float((sides[0] - sides[1]) / (2.0 * step))


@pytest.mark.parametrize("seed", range(5))
def test_sums_and_products_hold_exact_ones(seed: int) -> None:
    """Against rational arithmetic."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=200) * 10.0 ** random.integers(-8, 8, 200), random.normal(size=200)
    total, product = Ranges(a, a) + Ranges(b, b), Ranges(a, a) * Ranges(b, b)
    for x, y, low, high, least, most in zip(a, b, total.low, total.high, product.low, product.high, strict=True):
        assert Fraction(low) <= Fraction(x) + Fraction(y) <= Fraction(high)
        assert Fraction(least) <= Fraction(x) * Fraction(y) <= Fraction(most)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0, 4.0, -1.0, -2.0, -3.0, 0.5, 1.5, -0.5])
@pytest.mark.parametrize(("low", "high"), [(0.5, 2.0), (-2.0, -0.5), (-1.0, 2.0), (0.0, 1.0), (-2.0, 1.0)])
def test_powers_hold_what_they_are_of(exponent: float, low: float, high: float) -> None:
    span = Ranges(np.array([low]), np.array([high])).power(exponent)
    points = np.linspace(low, high, 1001)
    if not exponent.is_integer() and low < 0.0:
        assert np.isinf(span.low[0]), "not defined on all of it"
        assert np.isinf(span.high[0])
        return
    with np.errstate(divide="ignore"):
        powers = points[points != 0.0] ** exponent
    assert span.low[0] <= powers.min()
    assert span.high[0] >= powers.max()


def test_a_logarithm_beyond_its_domain_says_nothing() -> None:
    span = Ranges(np.array([-1.0, 1.0]), np.array([2.0, 2.0])).rising(np.log, 0.0)
    assert np.isinf([span.low[0], span.high[0]]).all()
    assert span.low[1] <= 0.0 <= np.log(2.0) <= span.high[1]


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_least_eigenvalues_are_not_above_any(count: int) -> None:
    """Signs against numpy's, of random matrices within the range."""
    random = np.random.default_rng(count)
    middle = random.normal(size=(60, count, count))
    middle = middle @ middle.transpose(0, 2, 1) - 0.3 * np.eye(count)
    radius = np.abs(random.normal(size=middle.shape)) * 0.05
    radius = (radius + radius.transpose(0, 2, 1)) / 2.0
    convex = least_eigenvalues(middle - radius, middle + radius) >= 0.0
    for _ in range(50):
        share = random.uniform(-1, 1, size=middle.shape)
        inside = middle + radius * (share + share.transpose(0, 2, 1)) / 2.0
        assert (np.linalg.eigvalsh(inside)[convex, 0] >= -1e-12).all()
    assert convex.any() or count > 2


def test_singular_and_flat_matrices_are_convex_but_for_rounding() -> None:
    flat = np.array([[[0.0, 0.0], [0.0, 2.0]], [[2.0, -2.0], [-2.0, 2.0]], [[2e-9, 0.0], [0.0, 2e9]], [[0, 1], [1, 0]]])
    assert (least_eigenvalues(flat, flat) >= 0.0).tolist() == [True, True, True, False]
    nothing = np.full((1, 2, 2), np.inf)
    assert least_eigenvalues(-nothing, nothing)[0] == -np.inf


def test_what_is_infinite_is_unknown() -> None:
    """A pole of numbers, or an overflow, is no bound: neither from below nor from above."""
    pole = Ranges.of(np.array([np.inf, -np.inf]))
    for made in (pole * 1.0, pole + 1.0, pole * Ranges(np.array([1.0, 1.0]), np.array([2.0, 2.0]))):
        assert (made.low == -np.inf).all()
        assert (made.high == np.inf).all()
