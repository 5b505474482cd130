"""Ranges: [low, high] of many numbers at once, rounded outward; and what they say of matrices.

A sum, a product and a quotient of floats is the float next to the true number: one step outward is a bound. numpy's
exp, log and powers are a few floats off at most: ``_LOOSE`` of the result more. Where a function is not defined on all
of a range, or a power has no end, nothing is said: (−∞, ∞).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from stackpyomo.core import TOLERANCES, Array

__all__ = ["Ranges", "least_eigenvalues"]

_LOOSE = 8.0 * sys.float_info.epsilon  # What numpy's functions may be off, relative to their values.


class Ranges:
    """[low, high], arrays of one shape."""

    __slots__ = ("high", "low")
    __array_ufunc__ = None  # or numpy would take it for an object in each entry

    def __init__(self, low: Any, high: Any, off: float | None = None) -> None:
        """off: None: exact; 0: the next floats outward; else this much more, relative."""
        low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
        if off is not None:
            with np.errstate(all="ignore"):
                low = np.nextafter(np.where(np.isnan(low), -np.inf, low - off * np.abs(low)), -np.inf)
                high = np.nextafter(np.where(np.isnan(high), np.inf, high + off * np.abs(high)), np.inf)
                low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
        self.low, self.high = low, high

    @classmethod
    def of(cls, number: Any) -> Ranges:
        """A number as a range."""
        return number if isinstance(number, Ranges) else cls(number, number)

    def __add__(self, other: Any) -> Ranges:
        other = Ranges.of(other)
        with np.errstate(all="ignore"):
            return Ranges(self.low + other.low, self.high + other.high, 0.0)

    def __mul__(self, other: Any) -> Ranges:
        other = Ranges.of(other)
        with np.errstate(all="ignore"):
            ends = [
                np.where((a == 0.0) | (b == 0.0), 0.0, a * b)
                for a in (self.low, self.high)
                for b in (other.low, other.high)
            ]
        return Ranges(np.minimum.reduce(ends), np.maximum.reduce(ends), 0.0)

    def __neg__(self) -> Ranges:
        return Ranges(-self.high, -self.low)

    __radd__, __rmul__ = __add__, __mul__

    def rising(self, function: Callable[[Array], Array], least: float = -np.inf) -> Ranges:
        """A rising function that is defined from ``least`` on."""
        with np.errstate(all="ignore"):
            values = Ranges(function(np.maximum(self.low, least)), function(np.maximum(self.high, least)), _LOOSE)
        return values.where(self.low >= least)

    def where(self, known: Array) -> Ranges:
        """Everything, where nothing is known."""
        return Ranges(np.where(known, self.low, -np.inf), np.where(known, self.high, np.inf))

    def power(self, exponent: Any) -> Ranges:
        """Whole powers of any range that they are defined on; others of ranges of numbers ≥ 0."""
        p = np.asarray(exponent, dtype=float)
        whole, even = p == np.floor(p), np.mod(p, 2.0) == 0.0
        size_low = np.where((self.low <= 0.0) & (self.high >= 0.0), 0.0, np.minimum(abs(self.low), abs(self.high)))
        size_high = np.maximum(np.abs(self.low), np.abs(self.high))
        with np.errstate(all="ignore"):
            sizes = np.sort(np.stack(np.broadcast_arrays(size_low**p, size_high**p)), axis=0)
            ends = np.sort(np.stack(np.broadcast_arrays(self.low**p, self.high**p)), axis=0)
        low, high = np.where(whole & ~even, ends[0], sizes[0]), np.where(whole & ~even, ends[1], sizes[1])
        around = (self.low <= 0.0) & (self.high >= 0.0)
        known = np.where(p < 0.0, ~around, True) & (whole | (self.low >= 0.0))
        return Ranges(low, high, _LOOSE).where(known)


def least_eigenvalues(low: Array, high: Array) -> Array:
    """A lower bound of the least eigenvalue of every symmetric matrix between low and high, (members × n × n).

    min λ(M + R) ≥ min λ(M − diag Σ_j |R_ij|) with M the middle and |R| ≤ radius, rounding taken off; what is negative
    by less than ``TOLERANCES.curvature`` of the diagonal counts as 0, as a Hessian's eigenvalue does elsewhere.
    """
    count = low.shape[-1]
    eye = np.eye(count, dtype=bool)
    with np.errstate(all="ignore"):
        middle, radius = np.where(eye, 0.0, (low + high) / 2.0), np.where(eye, 0.0, (high - low) / 2.0)
        diagonal = low[:, eye].reshape(-1, count) - radius.sum(axis=-1)
    known = np.isfinite(diagonal).all(axis=-1) & np.isfinite(middle).all(axis=(-1, -2))
    matrix = np.where(known[:, None, None], middle, 0.0)
    matrix[:, eye] = np.where(known[:, None], diagonal, 1.0)
    size = np.sqrt(np.maximum(np.abs(np.einsum("kii->ki", matrix)), sys.float_info.min))
    matrix = matrix / size[:, :, None] / size[:, None, :]
    known &= np.isfinite(matrix).all(axis=(-1, -2))
    matrix = np.where(known[:, None, None], matrix, 0.0)
    least = matrix[:, 0, 0] if count == 1 else np.linalg.eigvalsh(matrix)[:, 0]
    least = least - 8.0 * count * sys.float_info.epsilon * np.abs(matrix).sum(axis=(-1, -2))
    return np.where(known, np.where((least < 0.0) & (least >= -TOLERANCES.curvature), 0.0, least), -np.inf)
