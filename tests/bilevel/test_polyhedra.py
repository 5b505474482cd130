"""Ends of linear functions over polyhedra, by hand; what SciPy does not give is not known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse

from stackpyomo.bilevel import polyhedra
from stackpyomo.bilevel.polyhedra import Polyhedron

TRIANGLE = Polyhedron(
    sparse.csr_array(np.array([[1.0, 1.0]])), np.array([-np.inf]), np.array([2.0]), np.zeros(2), np.full(2, np.inf)
)
"""x + y ≤ 2, x, y ≥ 0."""


def test_the_ends_of_a_triangle() -> None:
    low, high, corners = TRIANGLE.ends(np.array([1.0, 2.0]))
    assert (low, high) == pytest.approx((0.0, 4.0))
    np.testing.assert_allclose(corners, [[0.0, 0.0], [0.0, 2.0]], atol=1e-9)


def test_without_rows_the_box_is_all() -> None:
    box = Polyhedron(sparse.csr_array((0, 1)), np.zeros(0), np.zeros(0), np.array([-1.0]), np.array([np.inf]))
    low, high, corners = box.ends(np.array([1.0]))
    assert (low, high, len(corners)) == (-1.0, math.inf, 1)


@pytest.mark.parametrize("status", [1, 2, 4])
def test_an_end_that_scipy_does_not_give_is_not_known(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polyhedra, "milp", lambda *_, **__: SimpleNamespace(status=status, fun=None, x=None))
    low, high, corners = TRIANGLE.ends(np.array([1.0, 2.0]))
    assert math.isnan(low)
    assert math.isnan(high)
    assert not corners


def test_units_in_which_a_matrix_has_entries_about_1() -> None:
    """One row in 1e-10 of what its multiplier moves, one that only multipliers hold, one that nothing holds."""
    matrix = np.array([[3e-10, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 5.0], [0.0, 0.0, 0.0, 4.0], [0.0] * 4])
    reaches = np.array([1e5, 1e-3, 1.0, 1.0])
    sizes, units = polyhedra.balanced(matrix, reaches, np.array([0, 1]))
    scaled = np.abs(matrix * units / sizes[:, np.newaxis])
    np.testing.assert_allclose(scaled[:2, :2], np.eye(2))
    np.testing.assert_allclose(scaled.max(axis=0), 1.0)
    assert units[:2].tolist() == reaches[:2].tolist()
    assert polyhedra.balanced(np.zeros((0, 2)), np.ones(2), np.array([], dtype=int))[1].tolist() == [1.0, 1.0]
