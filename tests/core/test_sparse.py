"""Rows of sparse matrices and joins of sorted tables, against the same by loops over dense ones."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import seeds
from scipy import sparse

from stackpyomo.core import (
    Pattern,
    entries_in,
    largest_by_row,
    matches,
    ranges,
    row_of,
    rows_scaled,
    triplets,
    with_data,
)


def drawn_matrix(seed: int) -> sparse.csr_array:
    """With empty rows, stored zeros and none at all."""
    random = np.random.default_rng(seed)
    rows, columns = random.integers(0, 6, 2)
    matrix = sparse.csr_array(sparse.random(rows, columns, density=0.4, random_state=random))
    matrix.data[random.random(len(matrix.data)) < 0.2] = 0.0
    return matrix


@pytest.mark.parametrize("seed", seeds(30))
def test_rows_against_dense_ones(seed: int) -> None:
    matrix, random = drawn_matrix(seed), np.random.default_rng(seed)
    dense = matrix.toarray()
    expected = [max(row, default=0.0) for row in dense]
    assert largest_by_row(matrix.data, matrix.indptr).tolist() == expected
    entries = matrix.tocoo()
    assert row_of(matrix).tolist() == entries.row.tolist()
    factors = random.normal(size=matrix.shape[0])
    scaled = rows_scaled(matrix, factors)
    assert np.array_equal(scaled.toarray(), factors[:, np.newaxis] * dense)
    assert scaled.nnz == matrix.nnz, "a stored zero stays one"
    doubled = with_data(matrix, 2.0 * matrix.data)
    doubled.data[:] += 1.0
    assert np.array_equal(matrix.toarray(), dense), "the matrix that was given keeps its numbers"


@pytest.mark.parametrize("seed", seeds(30))
def test_a_pattern_filled_against_a_dense_sum(seed: int) -> None:
    """Entries in any order, several at one place, zeros and none at all; what was filled before keeps its numbers."""
    random = np.random.default_rng(seed)
    shape, count = tuple(random.integers(0, 5, 2).tolist()), int(random.integers(0, 12))
    count = count if min(shape) else 0
    rows, columns = (random.integers(0, max(side, 1), count) for side in shape)
    pattern, dense = Pattern(rows, columns, shape), []
    numbers = [random.integers(-2, 3, count).astype(float) for _ in range(2)]
    filled = [pattern.filled(given) for given in numbers]
    for given in numbers:
        dense.append(np.zeros(shape))
        np.add.at(dense[-1], (rows, columns), given)
    for matrix, expected in zip(filled, dense, strict=True):
        assert np.array_equal(matrix.toarray(), expected)
        assert matrix.dtype == float
        assert matrix.nnz == len({*zip(rows.tolist(), columns.tolist(), strict=True)}), "the pattern is always the same"


@pytest.mark.parametrize("seed", seeds(10))
def test_joins_against_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    keys, wanted = np.sort(random.integers(0, 8, 12)), random.integers(0, 10, 5)
    pairs = sorted(zip(*(part.tolist() for part in matches(keys, wanted)), strict=True))
    assert pairs == [(i, j) for i, question in enumerate(wanted) for j, key in enumerate(keys) if key == question]
    start = random.integers(0, 5, 4)
    stop = start + random.integers(0, 4, 4)
    which, place = ranges(start, stop)
    assert list(zip(which, place, strict=True)) == [(i, j) for i in range(4) for j in range(start[i], stop[i])]


@pytest.mark.parametrize("seed", seeds(10))
def test_entries_against_dense_ones(seed: int) -> None:
    matrix = drawn_matrix(seed)
    dense = matrix.toarray()
    for row, numbers in enumerate(dense):
        assert {column: number for column, number in entries_in(matrix, row) if number} == {
            column: number for column, number in enumerate(numbers.tolist()) if number
        }
    for column, numbers in enumerate(dense.T):
        assert sum(number for _, number in entries_in(matrix.tocsc(), column)) == pytest.approx(numbers.sum())
    again = np.zeros_like(dense)
    for row, column, number in triplets(matrix):
        again[row, column] += number
    assert (again == dense).all()
