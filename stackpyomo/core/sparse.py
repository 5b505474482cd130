"""Joins: many questions to a sorted table at once, without a loop in Python."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["Array", "matches", "ranges", "rows_scaled"]


def ranges(start: Array, stop: Array) -> tuple[Array, Array]:
    """(which range, place) for every place of the ranges start … stop, one after the other."""
    counts = stop - start
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.repeat(start - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())


def matches(keys: Array, wanted: Array) -> tuple[Array, Array]:
    """(which question, place in the sorted keys) for every key that is one of the wanted."""
    return ranges(np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right"))


Array: TypeAlias = NDArray[Any]


def rows_scaled(matrix: sparse.csr_array, factors: Array) -> sparse.csr_array:
    """diag(factors) · matrix with its pattern as it is: a derivative that is 0 at the plan may curve."""
    scaled = matrix.copy()
    scaled.data = scaled.data * np.repeat(factors, np.diff(scaled.indptr))
    return scaled
