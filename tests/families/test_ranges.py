"""Ranges hold what is in them, and least eigenvalues are bounds; where nothing is known nothing is said."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from stackpyomo.families import Ranges, least_eigenvalues


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
