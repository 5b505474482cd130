"""Limits: the bounds of a Var or a row as numbers, ±∞ where there is none."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["bounds_of", "clipped", "limits_of"]


def bounds_of(part: Any) -> tuple[float, float]:
    """(lower, upper) of a Var or a Constraint."""
    low, high = part.lb, part.ub
    return (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))


def limits_of(low: float, high: float) -> tuple[float | None, float | None]:
    """The same two numbers as Pyomo has them: None where there is no limit."""
    return (float(low) if math.isfinite(low) else None), (float(high) if math.isfinite(high) else None)


def clipped(level: float, variable: Any) -> float:
    """The level, or the bound of the variable that it lies beyond."""
    low, high = bounds_of(variable)
    return min(max(level, low), high)
