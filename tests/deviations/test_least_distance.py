"""The point of least norm in a polyhedron against SciPy's, and certificates of emptiness by arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import seeds
from scipy.optimize import linprog, minimize

from stackpyomo.deviations import nearest


def no_equalities(rows: np.ndarray) -> np.ndarray:
    return np.zeros(len(rows), dtype=bool)


@pytest.mark.parametrize("seed", seeds(40))
def test_against_another_solver(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, unknowns = int(random.integers(1, 7)), int(random.integers(1, 5))
    rows, levels = random.normal(size=(count, unknowns)), random.normal(size=count)
    weights = random.uniform(0.5, 2.0, unknowns)
    answer = nearest(rows, levels, weights, no_equalities(rows))
    feasible = linprog(np.zeros(unknowns), -rows, -levels, bounds=(None, None)).status == 0
    assert (answer.point is not None) == feasible
    if answer.point is None:
        assert (answer.weights >= 0.0).all()
        assert np.abs(rows.T @ answer.weights).max() < 1e-7 * answer.weights @ levels
        return
    assert (rows @ answer.point >= levels - 1e-9).all()
    other = minimize(
        lambda x: 0.5 * weights @ x**2,
        answer.point,
        jac=lambda x: weights * x,
        constraints={"type": "ineq", "fun": lambda x: rows @ x - levels, "jac": lambda x: rows},
        method="SLSQP",
        options={"ftol": 1e-12},
    )
    assert weights @ answer.point**2 <= weights @ other.x**2 + 1e-6
    np.testing.assert_allclose(weights * answer.point, rows.T @ answer.weights, atol=1e-6)


@pytest.mark.parametrize("seed", seeds(40))
def test_a_row_means_the_same_in_any_unit(seed: int) -> None:
    """Rows of deviations near the plan, or of costs counted in 1e-6, say as much as the others."""
    random = np.random.default_rng(seed)
    count, unknowns = int(random.integers(2, 7)), int(random.integers(1, 5))
    rows, levels = random.normal(size=(count, unknowns)), random.normal(size=count)
    sizes = 10.0 ** random.uniform(-9.0, 9.0, count)
    plain, scaled = (
        nearest(rows * size[:, np.newaxis], levels * size, np.ones(unknowns), no_equalities(rows))
        for size in (np.ones(count), sizes)
    )
    assert (plain.point is None) == (scaled.point is None)
    if plain.point is None:
        weights = scaled.weights * sizes
        assert np.abs(rows.T @ weights).max() < 1e-7 * weights @ levels
    else:
        np.testing.assert_allclose(scaled.point, plain.point, atol=1e-7 * (1.0 + np.abs(plain.point).max()))


def test_an_unknown_without_a_cost() -> None:
    """min x² with x ≥ 1 − y, y ≤ 3/4: y carries what it can."""
    rows, levels = np.array([[1.0, 1.0], [0.0, -1.0]]), np.array([1.0, -0.75])
    answer = nearest(rows, levels, np.array([1.0, 0.0]), no_equalities(rows))
    np.testing.assert_allclose(answer.point, [0.25, 0.75], atol=1e-9)


def test_equalities_have_weights_of_any_sign() -> None:
    rows, levels = np.array([[1.0], [-1.0]]), np.array([2.0, -1.0])  # x = 2, x ≤ 1
    answer = nearest(rows, levels, np.ones(1), np.array([True, False]))
    assert answer.point is None
    assert answer.weights[0] == pytest.approx(answer.weights[1])
    rows, levels = np.array([[1.0], [-1.0]]), np.array([-2.0, -1.0])  # x = −2, x ≤ 1
    assert nearest(rows, levels, np.ones(1), np.array([True, False])).point == pytest.approx([-2.0])


def test_nothing_asked_is_the_origin() -> None:
    assert nearest(np.zeros((0, 3)), np.zeros(0), np.ones(3), np.zeros(0, dtype=bool)).point == pytest.approx([0, 0, 0])


def test_a_row_that_no_unknown_moves() -> None:
    """0 ≥ 1 alone is the proof."""
    answer = nearest(np.array([[0.0], [1.0]]), np.array([1.0, 0.5]), np.ones(1), np.zeros(2, dtype=bool))
    assert answer.point is None
    assert answer.weights[0] > 0.0
    assert answer.weights[1] == pytest.approx(0.0)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_a_point_far_off_meets_its_rows(size: float) -> None:
    """Of a point of norm s the last entry of ρ is 1/(1 + s²): what rounding left of it once missed rows by percents."""
    random = np.random.default_rng(3)
    for _ in range(50):
        count = int(random.integers(1, 7))
        rows = random.normal(size=(count, count + int(random.integers(0, 3))))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        far = np.clip(size * random.normal(size=rows.shape[1]), -size, size)
        box = np.vstack([np.eye(len(far)), -np.eye(len(far))])
        levels = np.concatenate([rows @ far, np.full(len(box), -size)])
        equal = np.arange(len(levels)) < count
        point = nearest(np.vstack([rows, box]), levels, np.ones(len(far)), equal).point
        assert point is not None
        np.testing.assert_allclose(rows @ point, rows @ far, atol=1e-9 * size)
        assert np.abs(point).max() <= size * (1.0 + 1e-9)
        assert np.linalg.norm(point) <= np.linalg.norm(far) * (1.0 + 1e-9)


@pytest.mark.parametrize("unit", [1e-7, 1.0, 1e4, 1e7])
@pytest.mark.parametrize("inside", [0.0, 1e-9, 1e-4])
def test_the_corner_of_limits_is_reached(unit: float, inside: float) -> None:
    """One equation that only a corner of a box meets, or hardly more: rows miss by rounding, or exclude each other."""
    for seed in range(60):
        random = np.random.default_rng(seed)
        unknowns, count = int(random.integers(1, 6)), int(random.integers(1, 3))
        low, high = -random.uniform(0.1, 3.0, unknowns) * unit, random.uniform(0.1, 3.0, unknowns) * unit
        block = random.normal(size=(count, unknowns))
        corner = np.where(block[0] > 0.0, high, low) * (1.0 - inside)
        rows, levels = np.vstack([block, np.eye(unknowns), -np.eye(unknowns)]), np.concatenate([low, -high])
        levels = np.concatenate([block @ corner, levels])
        equal = np.arange(len(rows)) < count
        point = nearest(rows, levels, 10.0 ** random.uniform(-3.0, 3.0, unknowns), equal).point
        assert point is not None, seed
        lacking = np.where(equal, np.abs(levels - rows @ point), levels - rows @ point)
        assert (lacking <= 1e-9 * (np.abs(rows) @ np.abs(point) + np.abs(levels))).all(), seed


def test_what_only_rounding_excludes_is_no_proof_and_what_more_excludes_is_one() -> None:
    """0.1 + 0.2 is not 0.3; x + y ≥ 0.3 + 1e-6 with x ≤ 0.1, y ≤ 0.2 is too much."""
    rows = np.array([[1.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    for asked, possible in ((0.1 + 0.2, True), (0.3 + 1e-6, False)):
        answer = nearest(rows, np.array([asked, -0.1, -0.2]), np.ones(2), no_equalities(rows))
        assert (answer.point is not None) == possible
    assert answer.weights == pytest.approx(answer.weights[0] * np.ones(3))
