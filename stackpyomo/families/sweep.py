"""Sweeps: values, gradients and second derivatives of all members of a family, forward through its tree.

    f(g)    value f(g)     ∂ f′ ∂g     ∂² f′ ∂²g + f″ ∂g ∂gᵀ
    g h     value g h      g ∂h + h ∂g     g ∂²h + h ∂²g + ∂g ∂hᵀ + ∂h ∂gᵀ

by the number type of the point: arrays (a number a member) or :class:`Ranges` (bounds over a box a member).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from .ranges import Ranges
from .reader import Tree

__all__ = ["Sweep", "swept", "takes_roots"]

Sweep: TypeAlias = tuple[Any, dict[int, Any], dict[tuple[int, int], Any]]


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


def _sqrt(x: Any) -> tuple[Any, Any, Any]:
    return _powers(x, 0.5)


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


_FUNCTIONS = {"exp": _exp, "log": _log, "sqrt": _sqrt, "sin": _sin, "cos": _cos, "tanh": _tanh}
