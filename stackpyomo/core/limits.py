"""Limits: the bounds of a Var or a row as numbers, ±∞ where there is none.

Checks of plain arguments: whole numbers and positive ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from numbers import Integral, Real
from typing import Any

import numpy as np

from stackpyomo.errors import InvalidGame

from .sparse import Array
from .tolerances import TOLERANCES


def bounds_of(part: Any) -> tuple[float, float]:
    """(lower, upper) of a Var or a Constraint."""
    low, high = part.lb, part.ub
    return (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))


def box_of(parts: Iterable[Any]) -> tuple[Array, Array]:
    """(lower, upper) of all of these."""
    low, high = np.array([bounds_of(part) for part in parts], dtype=float).reshape(-1, 2).T
    return low, high


def whole_points(parts: Sequence[Any], most: int) -> Array | None:
    """(points × parts) all whole numbers between their bounds; None where there is no bound, or more than ``most``."""
    low, high = box_of(parts)
    if not np.isfinite(high - low).all():
        return None
    first, after = np.ceil(low - TOLERANCES.feasibility) + 0.0, np.floor(high + TOLERANCES.feasibility) + 1.0  # no −0
    count = np.maximum(after - first, 0.0).prod()
    levels = (np.arange(*ends) for ends in zip(first, after, strict=True))
    return None if count > most else np.array(list(product(*levels)), dtype=float).reshape(int(count), len(low))


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


def require_whole(name: str, number: Any, least: int = 1) -> None:
    """Raise :class:`InvalidGame` unless the argument is an integer ≥ ``least``."""
    if isinstance(number, bool) or not isinstance(number, Integral) or int(number) < least:
        raise InvalidGame(f"{name}={number!r}: expected an integer from {least} on.")


def require_positive(name: str, number: Any, *, none: bool = False, zero: bool = False) -> None:
    """Raise :class:`InvalidGame` unless the argument is a finite number > 0 (or None, or 0, where that is allowed)."""
    if number is None and none:
        return
    if isinstance(number, bool) or not isinstance(number, Real) or not 0 <= float(number) < math.inf:
        raise InvalidGame(f"{name}={number!r}: expected a finite number {'from 0 on' if zero else 'above 0'}.")
    if not number and not zero:
        raise InvalidGame(f"{name}={number!r}: expected a finite number above 0.")
