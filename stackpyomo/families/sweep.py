"""Sweeps: values, gradients and second derivatives of all members of a family, forward through its tree.

    f(g)    value f(g)     ∂ f′ ∂g     ∂² f′ ∂²g + f″ ∂g ∂gᵀ
    g h     value g h      g ∂h + h ∂g     g ∂²h + h ∂²g + ∂g ∂hᵀ + ∂h ∂gᵀ

by the number type of the point: arrays (a number a member) or :class:`Ranges` (bounds over a box a member).

Ranges: [low, high] of many numbers at once, rounded outward; and what they say of matrices.

A sum, a product and a quotient of floats is the float next to the true number: one step outward is a bound. numpy's
exp, log and powers are a few floats off at most: ``_LOOSE`` of the result more. Where a function is not defined on all
of a range, or a power has no end, nothing is said: (−∞, ∞).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from stackpyomo.core import TOLERANCES, Array

from .reader import Tree

Sweep: TypeAlias = tuple[Any, dict[int, Any], dict[tuple[int, int], Any]]
_LOOSE = 8.0 * sys.float_info.epsilon  # What numpy's functions may be off, relative to their values.


def swept(tree: Tree, numbers: Any, point: Any, order: int = 2) -> Sweep:
    """(value, {Var: ∂}, {(Var, Var): ∂²}) at a point; (a, b) stands for both orders, and what is absent is 0.

    numbers: (numbers × members). point: one array or range for each Var. order: 1 leaves second derivatives out.
    """
    kind = tree[0]
    if kind in ("c", "n"):
        return tree[1] if kind == "n" else numbers[tree[1]], {}, {}
    if kind == "v":
        return point[tree[1]], {tree[1]: 1.0}, {}
    if kind == "f":
        inner = swept(tree[2], numbers, point, order)
        return _outer(inner, _FUNCTIONS[tree[1]](inner[0]), order)
    if kind == "^":
        inner = swept(tree[2], numbers, point, order)
        return inner if tree[1] == 1 else _outer(inner, _powers(inner[0], float(tree[1])), order)
    if kind == "^^":
        inner = swept(tree[1], numbers, point, order)
        data = [n.low if isinstance(n, Ranges) else n for n in numbers]  # an exponent is data, as exact as they are
        return _outer(inner, _powers(inner[0], swept(tree[2], data, point, 1)[0]), order)
    parts = [swept(part, numbers, point, order) for part in tree[1:]]
    if kind == "+":
        return _sum(parts)
    if kind == "-":
        value, slope, bend = parts[0]
        return value * -1.0, _plus({}, slope, -1.0), _plus({}, bend, -1.0)
    if kind == "/":
        parts[1] = _outer(parts[1], _powers(parts[1][0], -1.0), order)
    return _product(parts[0], parts[1], order)


def takes_roots(tree: Tree) -> bool:
    """True if a square root, or a power that is no whole number, may stand in it."""
    if tree[0] == "f" and tree[1] == "sqrt":
        return True
    return tree[0] == "^^" or any(takes_roots(part) for part in tree[1:] if isinstance(part, tuple))


def _sum(parts: list[Sweep]) -> Sweep:
    value, slope, bend = parts[0][0], dict(parts[0][1]), dict(parts[0][2])
    for more, steep, curved in parts[1:]:
        value = value + more
        _plus(slope, steep)
        _plus(bend, curved)
    return value, slope, bend


def _product(first: Sweep, second: Sweep, order: int) -> Sweep:
    (g, dg, ddg), (h, dh, ddh) = first, second
    slope = _plus(_plus({}, dg, h), dh, g)
    bend: dict[tuple[int, int], Any] = {}
    if order > 1:
        bend = _plus(_plus({}, ddg, h), ddh, g)
        for a, left in dg.items():
            for b, right in dh.items():
                _plus(bend, {(min(a, b), max(a, b)): _times(_times(left, right), 2.0 if a == b else 1.0)})
    return _times(g, h), slope, bend


def _outer(inner: Sweep, outer: tuple[Any, Any, Any], order: int) -> Sweep:
    _, dg, ddg = inner
    value, first, second = outer
    bend: dict[tuple[int, int], Any] = {}
    if order > 1:
        bend = _plus({}, ddg, first)
        places = sorted(dg)
        for number, a in enumerate(places):
            for b in places[number:]:
                _plus(bend, {(a, b): _times(second, _times(dg[a], dg[b]))})
    return value, _plus({}, dg, first), bend


def _plus(into: dict[Any, Any], more: dict[Any, Any], factor: Any = 1.0) -> dict[Any, Any]:
    for key, entry in more.items():
        term = _times(entry, factor)
        into[key] = term + into[key] if key in into else term
    return into


def _times(a: Any, b: Any) -> Any:
    """a · b, where 1.0 costs nothing."""
    if b.__class__ is float and b == 1.0:
        return a
    if a.__class__ is float and a == 1.0:
        return b
    return b * a if isinstance(b, Ranges) else a * b


def _power(x: Any, p: Any) -> Any:
    if isinstance(x, Ranges):
        return x.power(p)
    with np.errstate(all="ignore"):
        return np.power(x, p)  # 0.0 ** -1.0 is an error to Python


def _powers(x: Any, p: Any) -> tuple[Any, Any, Any]:
    """x^p, p x^(p−1), p (p−1) x^(p−2)."""
    if p.__class__ is float and p == 2.0:
        return _power(x, 2.0), _times(x, 2.0), 2.0
    return _power(x, p), _scaled(_power(x, p - 1.0), p), _scaled(_power(x, p - 2.0), p * (p - 1.0))


def _scaled(power: Any, factor: Any) -> Any:
    """power · factor, 0 where the factor is: of x the second derivative is 0 at x = 0, too, and not 0 · ∞."""
    if isinstance(power, Ranges) or (np.ndim(factor) == 0 and factor != 0.0):
        return power * factor
    with np.errstate(all="ignore"):
        return np.where(np.equal(factor, 0.0), 0.0, power * factor)


def _exp(x: Any) -> tuple[Any, Any, Any]:
    with np.errstate(all="ignore"):
        y = x.rising(np.exp) if isinstance(x, Ranges) else np.exp(x)
    return y, y, y


def _log(x: Any) -> tuple[Any, Any, Any]:
    with np.errstate(all="ignore"):
        y = x.rising(np.log, 0.0) if isinstance(x, Ranges) else np.log(x)
    positive = x.where(x.low > 0.0) if isinstance(x, Ranges) else x
    return y, _power(positive, -1.0), _power(positive, -2.0) * -1.0


def _tanh(x: Any) -> tuple[Any, Any, Any]:
    if isinstance(x, Ranges):
        y = x.rising(np.tanh)
        return y, Ranges(np.zeros_like(x.low), np.ones_like(x.low)), Ranges(-np.ones_like(x.low), np.ones_like(x.low))
    y = np.tanh(x)
    return y, 1.0 - y**2, -2.0 * y * (1.0 - y**2)


def _sin(x: Any) -> tuple[Any, Any, Any]:
    if isinstance(x, Ranges):
        wave = Ranges(-np.ones_like(x.low), np.ones_like(x.low))
        return wave, wave, wave
    return np.sin(x), np.cos(x), -np.sin(x)


def _cos(x: Any) -> tuple[Any, Any, Any]:
    if isinstance(x, Ranges):
        return _sin(x)
    return np.cos(x), -np.sin(x), -np.cos(x)


_FUNCTIONS = {"exp": _exp, "log": _log, "sqrt": lambda x: _powers(x, 0.5), "sin": _sin, "cos": _cos, "tanh": _tanh}


class Ranges:
    """[low, high], arrays of one shape."""

    __slots__ = ("high", "low")
    __array_ufunc__ = None  # or numpy would take it for an object in each entry

    def __init__(self, low: Any, high: Any, off: float | None = None) -> None:
        """off: None: exact; 0: the next floats outward; else this much more, relative."""
        low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
        if off is not None:
            with np.errstate(all="ignore"):
                low = np.nextafter(low - off * np.abs(low), -np.inf)  # of ±∞ it is no number
                high = np.nextafter(high + off * np.abs(high), np.inf)
                low, high = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
        self.low, self.high = low, high

    @classmethod
    def of(cls, number: Any) -> Ranges:
        """A number as a range."""
        if isinstance(number, Ranges):
            return number
        level = np.asarray(number, dtype=float)
        return cls(level, level)

    def __add__(self, other: Any) -> Ranges:
        other = Ranges.of(other)
        with np.errstate(all="ignore"):
            return Ranges(self.low + other.low, self.high + other.high, 0.0)

    def __mul__(self, other: Any) -> Ranges:
        other = Ranges.of(other)
        ends = [_end(a, b) for a in self._ends for b in other._ends]
        return Ranges(np.minimum.reduce(ends), np.maximum.reduce(ends), 0.0)

    @property
    def _ends(self) -> tuple[Array, ...]:
        """Both ends; of a number the one."""
        return (self.low,) if self.low is self.high else (self.low, self.high)

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
        whole, odd = p == np.floor(p), np.mod(p, 2.0) == 1.0
        size_low = np.where((self.low <= 0.0) & (self.high >= 0.0), 0.0, np.minimum(abs(self.low), abs(self.high)))
        size_high = np.maximum(np.abs(self.low), np.abs(self.high))
        with np.errstate(all="ignore"):
            first, last = np.where(odd, self.low, size_low) ** p, np.where(odd, self.high, size_high) ** p
        low, high = np.where(p < 0.0, last, first), np.where(p < 0.0, first, last)
        around = (self.low <= 0.0) & (self.high >= 0.0)
        known = np.where(p < 0.0, ~around, True) & (whole | (self.low >= 0.0))
        return Ranges(low, high, _LOOSE).where(known)


def _end(a: Array, b: Array) -> Array:
    """a · b, where 0 · ∞ is 0."""
    with np.errstate(all="ignore"):
        end = a * b
        return np.where((a == 0.0) | (b == 0.0), 0.0, end) if np.isnan(end).any() else end


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
