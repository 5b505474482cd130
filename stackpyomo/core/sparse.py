"""Sparse: questions to sorted tables and to the rows of sparse matrices, all at once, without a loop in Python."""

from __future__ import annotations

import copy
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array: TypeAlias = NDArray[Any]


class Pattern:
    """Where the entries of a sparse matrix stand: sorted once, and filled with other numbers again and again."""

    def __init__(self, rows: Array, columns: Array, shape: tuple[int, int]) -> None:
        places, self._place = np.unique(np.asarray(rows, dtype=np.int64) * shape[1] + columns, return_inverse=True)
        starts = np.searchsorted(places, np.arange(shape[0] + 1, dtype=np.int64) * shape[1])
        self._matrix = sparse.csr_array((np.zeros(len(places)), places % max(shape[1], 1), starts), shape=shape)

    def filled(self, numbers: Array) -> sparse.csr_array:
        """The matrix with these numbers, in the order of the entries; of entries at one place their sum."""
        sums = np.bincount(self._place, numbers, len(self._matrix.data))  # whole numbers where there is none
        return with_data(self._matrix, sums.astype(float, copy=False))


def ranges(start: Array, stop: Array) -> tuple[Array, Array]:
    """(which range, place) for every place of the ranges start … stop, one after the other."""
    counts = stop - start
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.repeat(start - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())


def matches(keys: Array, questions: Array) -> tuple[Array, Array]:
    """(which question, place in the sorted keys) for every key that is one of the wanted."""
    return ranges(np.searchsorted(keys, questions, "left"), np.searchsorted(keys, questions, "right"))


def entries_in(matrix: sparse.csr_array | sparse.csc_array, line: int) -> list[tuple[int, float]]:
    """(column, number) of every entry in a row of a CSR array; (row, number) in a column of a CSC one."""
    part = slice(matrix.indptr[line], matrix.indptr[line + 1])
    return list(zip(matrix.indices[part].tolist(), matrix.data[part].tolist(), strict=True))


def triplets(matrix: Any) -> list[tuple[int, int, float]]:
    """(row, column, number) of every entry."""
    entries = matrix.tocoo()
    return list(zip(entries.row.tolist(), entries.col.tolist(), entries.data.tolist(), strict=True))


def rows_scaled(matrix: sparse.csr_array, factors: Array) -> sparse.csr_array:
    """diag(factors) · matrix with its pattern as it is: a derivative that is 0 at the plan may curve."""
    return with_data(matrix, matrix.data * factors[row_of(matrix)])


def with_data(matrix: sparse.csr_array, data: Array) -> sparse.csr_array:
    """Other numbers in the same pattern, which is not looked through once more, as SciPy would."""
    other = copy.copy(matrix)
    other.data = data
    return other


def row_of(matrix: sparse.csr_array) -> Array:
    """(entries) the row of each."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def largest_by_row(sizes: Array, starts: Array) -> Array:
    """(rows) the largest of the sizes ≥ 0 between one start and the next; 0 for an empty row."""
    largest = np.zeros(len(starts) - 1)
    filled = starts[:-1] < starts[1:]
    if filled.any():
        largest[filled] = np.maximum.reduceat(sizes, starts[:-1][filled])
    return largest
