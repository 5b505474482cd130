"""Joins: many questions to a sorted table at once, without a loop in Python."""

from __future__ import annotations

import numpy as np

from .results import Array

__all__ = ["matches", "ranges"]


def ranges(start: Array, stop: Array) -> tuple[Array, Array]:
    """(which range, place) for every place of the ranges start … stop, one after the other."""
    counts = stop - start
    which = np.repeat(np.arange(len(counts)), counts)
    return which, np.repeat(start - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())


def matches(keys: Array, wanted: Array) -> tuple[Array, Array]:
    """(which question, place in the sorted keys) for every key that is one of the wanted."""
    return ranges(np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right"))
