"""What an answer is worth: nonnegative least squares and residuals, against scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import nnls

from stackpyomo.solvers import certificates
from stackpyomo.solvers.certificates import least_nonnegative, split_force, violations


@pytest.mark.parametrize("dense", [500, 0])
def test_least_nonnegative_is_the_least(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways, columns of very different size among them."""
    monkeypatch.setattr(certificates, "DENSE", dense)
    random = np.random.default_rng(3)
    matrix, wanted = random.normal(size=(6, 4)), random.normal(size=6)
    best, left = nnls(matrix, wanted)
    answer = least_nonnegative(sparse.csc_array(matrix * [1.0, 1e6, 1e-6, 0.0]), wanted)
    without, _ = nnls(matrix[:, :3], wanted)
    assert answer[:3] * [1.0, 1e6, 1e-6] == pytest.approx(without, abs=1e-6)
    assert answer[3] == 0.0, "a column of zeros says nothing"
    assert left <= np.linalg.norm(matrix[:, :3] @ without - wanted) + 1e-12
    assert len(best) == 4


def test_without_a_column_there_is_nothing() -> None:
    assert least_nonnegative(np.zeros((3, 0)), np.ones(3)).tolist() == []


def test_violations_on_both_sides() -> None:
    point, lower, upper = np.array([-2.0, 0.5, 3.0, math.nan]), np.zeros(4), np.ones(4)
    assert violations(point, lower, upper)[:3].tolist() == [2.0, 0.0, 2.0]
    assert math.isnan(violations(point, lower, upper)[3])


def test_a_force_counts_by_its_distance_to_the_limit_it_pushes_against() -> None:
    """Near a limit it is complementarity, force times distance; far from one stationarity."""
    force = np.array([2.0, -2.0, 2.0, 0.0])
    point, lower, upper = np.array([0.25, 0.25, 5.0, 0.5]), np.zeros(4), np.full(4, 1.0)
    stationarity, complementarity = split_force(force, point, lower, upper)
    assert stationarity.tolist() == [0.0, 0.0, 2.0, 0.0]
    assert complementarity.tolist() == [0.5, 1.5, 0.0, 0.0]
