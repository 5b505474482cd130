"""Limits: the bounds of a Var or a row as numbers, ±∞ where there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .sparse import Array

__all__ = ["bounds_of", "box_of", "clipped", "limits_of", "sides_of"]


def bounds_of(part: Any) -> tuple[float, float]:
    """(lower, upper) of a Var or a Constraint."""
    low, high = part.lb, part.ub
    return (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))


def box_of(parts: Iterable[Any]) -> tuple[Array, Array]:
    """(lower, upper) of all of these."""
    low, high = np.array([bounds_of(part) for part in parts], dtype=float).reshape(-1, 2).T
    return low, high


def limits_of(low: float, high: float) -> tuple[float | None, float | None]:
    """The same two numbers as Pyomo has them: None where there is no limit."""
    return (float(low) if math.isfinite(low) else None), (float(high) if math.isfinite(high) else None)


def sides_of(part: Any) -> Iterator[tuple[float, float]]:
    """(+1, upper) and (−1, lower) of a Var or a Constraint, where there is one: sign · (body − limit) ≤ 0."""
    for sign, limit in ((1.0, part.ub), (-1.0, part.lb)):
        if limit is not None:
            yield sign, float(limit)


def clipped(level: float, variable: Any) -> float:
    """The level, or the bound of the variable that it lies beyond."""
    low, high = bounds_of(variable)
    return min(max(level, low), high)
