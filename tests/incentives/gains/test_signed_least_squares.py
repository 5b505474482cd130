"""The nearest point of a cone whose last rows are met exactly, against enumeration."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from stackpyomo.incentives.gains import signed_least_squares


@pytest.mark.parametrize("number", [1, 5, 60])
def test_columns_that_undo_each_other_are_dropped_in_one_go(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random, asked = np.random.default_rng(number), []
    bases = signed_least_squares.open_directions
    monkeypatch.setattr(signed_least_squares, "open_directions", lambda normals: asked.append(1) or bases(normals))
    half = random.normal(size=(number, number))
    columns = np.hstack([half, -3.0 * half, random.normal(size=(number, 2)), np.zeros((number, 1))])
    before = random.uniform(1.0, 2.0, size=columns.shape[1])
    after = signed_least_squares._independent(columns, before)
    used = columns[:, after > 0.0]
    assert (after >= 0.0).all()
    assert after[-1] == 0.0
    assert columns @ after == pytest.approx(columns @ before, abs=1e-9 * np.abs(columns).sum())
    assert np.linalg.matrix_rank(used) == used.shape[1]
    assert len(asked) <= 20, "a decomposition finds all directions, and others what rounding left: not one a column"


@pytest.mark.parametrize("seed", range(20))
def test_the_nearest_point_against_every_support(seed: int) -> None:
    """min ‖w(A p − t)‖ over p ≥ 0 with the last rows met: each support by its equations, the best that is ≥ 0."""
    random = np.random.default_rng(seed)
    count, free, tight = int(random.integers(1, 5)), int(random.integers(1, 4)), int(random.integers(0, 2))
    matrix, power = random.normal(size=(free + tight, count)), random.uniform(0.5, 5.0, free)
    target = np.concatenate([random.normal(size=free), (matrix @ random.uniform(0.0, 1.0, count))[free:]])

    def missed(point: np.ndarray) -> float:
        return float(np.linalg.norm(power * (matrix[:free] @ point - target[:free])))

    best = math.inf
    for size in range(count + 1):
        for used in map(list, combinations(range(count), size)):
            weighed, exact = power[:, None] * matrix[:free, used], matrix[free:, used]
            system = np.block([[weighed.T @ weighed, exact.T], [exact, np.zeros((tight, tight))]])
            right = np.concatenate([weighed.T @ (power * target[:free]), target[free:]])
            point = np.zeros(count)
            point[used] = np.linalg.lstsq(system, right, rcond=1e-12)[0][:size]
            if (point >= -1e-10).all() and np.abs(exact @ point[used] - target[free:]).max(initial=0.0) <= 1e-9:
                best = min(best, missed(point))
    nearest = signed_least_squares.nearest_nonnegative(matrix, target, power)
    assert (nearest >= 0.0).all()
    np.testing.assert_allclose(matrix[free:] @ nearest, target[free:], atol=1e-8)
    assert missed(nearest) == pytest.approx(best, abs=1e-7)


def test_rows_that_no_sum_meets_leave_nothing() -> None:
    """−1 is no multiple p ≥ 0 of 1: what least squares make of it would mislead."""
    assert signed_least_squares.nearest_nonnegative(np.ones((1, 2)), np.array([-1.0]), np.zeros(0)).tolist() == [
        0.0,
        0.0,
    ]
