"""Sublevel sets: a box that holds every point at which a function without an end is at most a level.

A function that grows without limit in every direction (coercive) is below a level on a bounded set alone, and what is
sought there may be sought in a box. Its terms are bounded from below: a polynomial by itself, any other by the least of
its range or, where it is convex, by its tangent. With d the distance from a point in units, from the bound where a
variable has one, and the variables that have two within them, what is left is Σ c_α d^α, the c_α intervals. Let m_i be
the largest power of d_i that stands alone and grows. With d_i = r^{1/m_i} x_i, max |x_i| = 1,

    f ≥ λ r − Σ |c_α| r^{σ_α} + c_0,    σ_α = Σ α_i / m_i < 1,

where λ is the least of Σ_{σ=1} c_α x^α, shown to be positive by means, eigenvalues, or branch and bound. Coefficients
are exact fractions; what floats round afterwards is far below the share ``_MARGIN`` that is given away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
import pyomo.core.expr.numeric_expr as nodes
from pyomo.common.numeric_types import native_numeric_types

from stackpyomo.core.limits import bounds_of
from stackpyomo.core.sparse import Array
from stackpyomo.core.tolerances import TOLERANCES

from .convexity import Curvature, curvature, range_of
from .curvature_rules import UNREADABLE
from .intervals import Span, add, power, times
from .terms import degree_of, partials, terms
from .values import number_of

_MARGIN = TOLERANCES.noise  # Share of every coefficient that is given away for rounding.
_DEGREE = 12  # Of polynomials that are multiplied out, and the most variables of one.
_BOXES = 20_000  # Boxes after which a least value is not shown to be positive.
_FARTHEST = 1e12  # Units of the largest box that is of any use.

_INF = math.inf

_Powers = tuple[int, ...]

_Polynomial = dict[_Powers, Fraction]


def sublevel_box(function: Any, variables: Sequence[Any], units: Sequence[float], level: float) -> list[Span] | None:
    """(lowest, highest) value of each Var within which f ≤ level holds at most; None where no such box is shown.

    The Vars have values at which f is defined. One that has two bounds keeps them.
    """
    if len(variables) > _DEGREE or not math.isfinite(level):
        return None
    frame = _Frame(variables, units)
    shown = [box for tangents in (False, True) if (box := _box(function, frame, level, tangents=tangents))]
    sides = [zip(*ends, strict=True) for ends in zip(*shown, strict=True)]
    return [(max(low), min(high)) for low, high in sides] or None


class _Frame:
    """Variables as distances: from the bound there is, from the present value where there is none."""

    def __init__(self, variables: Sequence[Any], units: Sequence[float]) -> None:
        self.variables = list(variables)
        self.bounds = [bounds_of(v) for v in variables]
        self.free = [i for i, (low, high) in enumerate(self.bounds) if math.isinf(high - low)]
        self.sided = [any(map(math.isfinite, self.bounds[i])) for i in self.free]
        self.origins, self.units = [], []
        for v, (low, high), unit in zip(variables, self.bounds, units, strict=True):
            both, none = math.isfinite(high - low), math.isinf(low) and math.isinf(high)
            self.origins.append(0.0 if both else v.value if none else low if math.isinf(high) else high)
            self.units.append(1.0 if both else unit if none or math.isinf(high) else -unit)
        self.place = {id(v): i for i, v in enumerate(variables)}

    def variable(self, number: int) -> _Polynomial:
        """origin + unit · d as a polynomial of d."""
        return {
            (0,) * len(self.variables): Fraction(self.origins[number]),
            tuple(int(i == number) for i in range(len(self.variables))): Fraction(self.units[number]),
        }

    def collected(self, polynomial: _Polynomial) -> dict[_Powers, Span]:
        """Powers of the variables without two bounds → the range of what they are multiplied by."""
        ranges: dict[_Powers, Span] = {}
        for powers, number in polynomial.items():
            span = (float(number), float(number))
            for i, exponent in enumerate(powers):
                if exponent and i not in self.free:
                    span = times(span, power(self.bounds[i], float(exponent)))
            key = tuple(powers[i] for i in self.free)
            ranges[key] = add(ranges.get(key, (0.0, 0.0)), span)
        return ranges

    def ends(self, distances: Sequence[float]) -> list[Span]:
        """The box of these distances."""
        ends = list(self.bounds)
        for i, sided, far in zip(self.free, self.sided, distances, strict=True):
            a, b = self.origins[i], self.origins[i] + self.units[i] * far
            ends[i] = (min(a, b), max(a, b)) if sided else (2.0 * a - b, b)
        return ends


def _box(function: Any, frame: _Frame, level: float, *, tangents: bool) -> list[Span] | None:
    whole: _Polynomial = {}
    try:
        for factor, term in terms(function):
            below = _minorant(term, factor, frame, tangents=tangents)
            if below is None:
                return None
            whole = _plus(whole, below)
        distances = _distances(frame.collected(whole), frame.sided, level)
    except (*UNREADABLE, OverflowError):
        return None
    return None if distances is None else frame.ends(distances)


def _minorant(term: Any, factor: float, frame: _Frame, *, tangents: bool) -> _Polynomial | None:
    """A polynomial of the distances below factor · term; None where none is known."""
    polynomial = _polynomial(term, frame)
    if polynomial is not None:
        return _scaled(polynomial, Fraction(factor))
    least = min(times((factor, factor), range_of(term)))
    if (tangents or math.isinf(least)) and _is_convex(term, factor):
        return _tangent(term, factor, frame)
    return None if math.isinf(least) else {(0,) * len(frame.variables): Fraction(least)}


def _is_convex(term: Any, factor: float) -> bool:
    shape = curvature(term).curvature
    return shape in (Curvature.AFFINE, Curvature.CONVEX if factor > 0.0 else Curvature.CONCAVE)


def _tangent(term: Any, factor: float, frame: _Frame) -> _Polynomial:
    """factor · (f + ∇f·(v − v*)) at the present values, where it is finite."""
    origin = (0,) * len(frame.variables)
    total: _Polynomial = {origin: Fraction(factor * number_of(term))}
    for i, slope in enumerate(partials(term, frame.variables)):
        step = _plus(frame.variable(i), {origin: -Fraction(frame.variables[i].value)})
        total = _plus(total, _scaled(step, Fraction(factor * number_of(slope))))
    return total


# --- polynomials ------------------------------------------------------------------------------------------------------


def _polynomial(node: Any, frame: _Frame) -> _Polynomial | None:
    """The polynomial of the distances that the expression is; None where it is none, or of too large a degree."""
    if node.__class__ in native_numeric_types or not node.is_potentially_variable() or not node.is_expression_type():
        if node.__class__ not in native_numeric_types and id(node) in frame.place:
            return frame.variable(frame.place[id(node)])
        return {(0,) * len(frame.variables): Fraction(number_of(node))}
    if (degree := degree_of(node)) is None or degree > _DEGREE:
        return None
    parts = [_polynomial(argument, frame) for argument in node.args]
    if any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]
    if isinstance(node, (nodes.SumExpression, nodes.LinearExpression)):
        return reduce(_plus, known, _Polynomial())
    if node.is_named_expression_type():
        return known[0]
    if isinstance(node, nodes.NegationExpression):
        return _scaled(known[0], Fraction(-1))
    if isinstance(node, nodes.ProductExpression):
        return _product(*known)
    exponent = number_of(node.args[1]) if len(known) > 1 else math.nan
    if isinstance(node, nodes.DivisionExpression):
        return _scaled(known[0], 1 / Fraction(exponent))
    if isinstance(node, nodes.PowExpression) and exponent.is_integer() and 0.0 <= exponent <= _DEGREE:
        one = {(0,) * len(frame.variables): Fraction(1)}
        return reduce(_product, [known[0]] * int(exponent), one)
    return None


def _plus(f: _Polynomial, g: _Polynomial) -> _Polynomial:
    return {powers: f.get(powers, Fraction(0)) + g.get(powers, Fraction(0)) for powers in {**f, **g}}


def _scaled(f: _Polynomial, factor: Fraction) -> _Polynomial:
    return {powers: factor * number for powers, number in f.items()}


def _product(f: _Polynomial, g: _Polynomial) -> _Polynomial:
    total: _Polynomial = {}
    for left, a in f.items():
        for right, b in g.items():
            powers = tuple(i + j for i, j in zip(left, right, strict=True))
            total[powers] = total.get(powers, Fraction(0)) + a * b
    return total


# --- growth -----------------------------------------------------------------------------------------------------------


def _distances(ranges: Mapping[_Powers, Span], sided: Sequence[bool], level: float) -> list[float] | None:
    """How far from 0 each variable can be where Σ c_α d^α ≤ level; None where that is not shown."""
    alone = [_growing_power(ranges, number, at_bound) for number, at_bound in enumerate(sided)]
    if not all(alone):
        return None
    origin = (0,) * len(sided)
    missing = level - ranges.get(origin, (0.0, 0.0))[0]
    missing += _MARGIN * (abs(level) + abs(ranges.get(origin, (0.0, 0.0))[0]))
    leading, slower = dict[_Powers, Span](), list[tuple[float, float]]()
    for powers, span in ranges.items():
        degree = sum((Fraction(a, m) for a, m in zip(powers, alone, strict=True)), Fraction(0))
        rises = span[0] >= 0.0 and all(at_bound or a % 2 == 0 for a, at_bound in zip(powers, sided, strict=True))
        if powers == origin or span == (0.0, 0.0) or (rises and degree != 1):
            continue
        if degree > 1:
            return None
        if degree == 1:
            leading[powers] = span
        else:
            slower.append((float(degree), (1.0 + _MARGIN) * max(map(abs, span))))
    rate = max(_by_means(leading, alone, sided), _by_eigenvalues(leading, alone)) or _least_on_faces(leading, sided)
    far = _farthest(rate, slower, missing) if rate > 0.0 else _INF
    distances = [far ** (1.0 / m) for m in alone]
    return distances if max(distances) <= _FARTHEST else None


def _growing_power(ranges: Mapping[_Powers, Span], number: int, at_bound: bool) -> int:
    """The largest power of one variable that stands alone with a positive factor and never falls; 0: there is none."""
    exponents = [
        powers[number]
        for powers, span in ranges.items()
        if span[0] > 0.0 and powers[number] == sum(powers) and (at_bound or powers[number] % 2 == 0)
    ]
    return max(exponents, default=0)


def _farthest(rate: float, slower: Sequence[tuple[float, float]], missing: float) -> float:
    """An r beyond which λ r > Σ c r^σ + missing: the difference over r rises where it is positive."""

    def is_beyond(r: float) -> bool:
        return bool(rate * r > sum(c * r**degree for degree, c in slower) + max(missing, 0.0))

    exponents = np.linspace(-60.0, 60.0, 481)
    near = next((k for k, t in enumerate(exponents) if is_beyond(10.0**t)), None)
    return _INF if near is None else float(10.0 ** exponents[near]) * (1.0 + _MARGIN)


def _by_means(form: Mapping[_Powers, Span], alone: Sequence[int], sided: Sequence[bool]) -> float:
    """A positive lower bound of Σ c_α x^α where max |x_i| = 1, by |x^α| ≤ Σ (α_i / m_i) |x_i|^{m_i}; 0: none."""
    left = np.zeros(len(alone))
    for powers, (low, high) in form.items():
        if powers in _pure(alone):
            left[powers.index(max(powers))] += (1.0 - _MARGIN) * low
        elif low < 0.0 or any(a % 2 for a, at_bound in zip(powers, sided, strict=True) if not at_bound):
            left -= (1.0 + _MARGIN) * max(-low, high) * np.array(powers) / alone
    return max(0.0, float(left.min()))


def _pure(alone: Sequence[int]) -> list[_Powers]:
    return [tuple(m if i == j else 0 for j in range(len(alone))) for i, m in enumerate(alone)]


def _by_eigenvalues(form: Mapping[_Powers, Span], alone: Sequence[int]) -> float:
    """The same of a quadratic form: the least eigenvalue, less what its coefficients leave open; 0: none is shown."""
    if set(alone) != {2}:
        return 0.0
    matrix, open_ = np.zeros((len(alone), len(alone))), 0.0
    for powers, (low, high) in form.items():
        i, j = np.repeat(np.arange(len(alone)), powers)
        matrix[i, j] += (low + high) / 4.0
        matrix[j, i] += (low + high) / 4.0
        open_ += (high - low) / 2.0 + _MARGIN * max(abs(low), abs(high))
    return max(0.0, float(np.linalg.eigvalsh(matrix)[0]) - open_)


def _least_on_faces(form: Mapping[_Powers, Span], sided: Sequence[bool]) -> float:
    """The same by branch and bound, x_i ≥ 0 for those at a bound; 0: none is shown."""
    low, high = _faces(sided)
    given_away = _MARGIN * sum(max(map(abs, span)) for span in form.values())
    least, seen = _INF, 0
    while len(low):
        seen += len(low)
        middle = (low + high) / 2.0
        at, below = _lowest(form, middle, middle), _lowest(form, low, high)
        if seen > _BOXES or (at <= given_away).any():
            return 0.0
        done = below >= at / 2.0
        least = min(least, float(below[done].min(initial=_INF)))
        low, high = _halved(low[~done], high[~done])
    return least - given_away if math.isfinite(least) else 0.0


def _faces(sided: Sequence[bool]) -> tuple[Array, Array]:
    """(boxes × variables) the ends of every face."""
    floor = np.array([0.0 if at_bound else -1.0 for at_bound in sided])
    low, high = [], []
    for number, at_bound in enumerate(sided):
        for end in (1.0,) if at_bound else (1.0, -1.0):
            low.append(np.where(np.arange(len(sided)) == number, end, floor))
            high.append(np.where(np.arange(len(sided)) == number, end, 1.0))
    return np.array(low), np.array(high)


def _halved(low: Array, high: Array) -> tuple[Array, Array]:
    rows, widest = np.arange(len(low)), (high - low).argmax(axis=1) if len(low) else np.zeros(0, dtype=int)
    left, right = high.copy(), low.copy()
    left[rows, widest] = right[rows, widest] = (low[rows, widest] + high[rows, widest]) / 2.0
    return np.concatenate([low, right]), np.concatenate([left, high])


def _lowest(form: Mapping[_Powers, Span], low: Array, high: Array) -> Array:
    """(boxes) the lower end of the form's range over each box."""
    total = np.zeros(len(low))
    for powers, span in form.items():
        ends = np.full((2, len(low)), np.array(span)[:, None])
        for i, exponent in enumerate(powers):
            if exponent:
                sides = np.stack([low[:, i], high[:, i]]) ** exponent
                least, most = sides.min(axis=0), sides.max(axis=0)
                if exponent % 2 == 0:
                    least = np.where((low[:, i] < 0.0) & (high[:, i] > 0.0), 0.0, least)
                corners = np.stack([ends[0] * least, ends[0] * most, ends[1] * least, ends[1] * most])
                ends = np.stack([corners.min(axis=0), corners.max(axis=0)])
        total += ends[0]
    return np.asarray(total)
