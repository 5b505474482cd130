"""Interval Hessians: convexity of a function of one variable on a finite box, where structure says nothing.

    f″(x) ≥ 0 for all x in each piece of [lower, upper], by interval arithmetic; pieces are halved until it holds

A jet (f, f′, f″) of outer ranges is carried from the leaves to the root, by the chain rule. An operation that is not
twice differentiable everywhere (a pole, a kink, the end of a domain) is passed only where its argument keeps clear of
that point inside the piece; and pieces overlap by one float, so that every point inside the box is inside a piece.
Then f is twice differentiable inside the box. Terms that are convex by structure are left out first; where the rest
does not bend up without them, all are taken. Failing to find a proof proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyomo.core.expr.numeric_expr as nodes
from pyomo.common.errors import PyomoException

from .convexity import curvature
from .intervals import FUNCTIONS, Span, add, inverse, negative, power, times
from .terms import terms
from .values import folded

_PIECES = 400  # Pieces looked at before giving up.

_QUARTER = math.pi / 2.0, math.nextafter(math.pi / 2.0, 2.0)

_NOTHING, _UNIT, _TWICE = (0.0, 0.0), (1.0, 1.0), (2.0, 2.0)

_UNREADABLE = (ArithmeticError, KeyError, TypeError, ValueError, RecursionError, PyomoException)


def is_convex_on_box(expression: Any, variable: Any) -> bool:
    """True if f is proved convex in its only unfixed variable between its bounds (which must be finite)."""
    lower, upper = variable.bounds
    if lower is None or upper is None or not math.isfinite(upper - lower):
        return False
    every = list(terms(expression))
    try:
        doubtful = [(factor, term) for factor, term in every if not _is_convex(factor * term)]
        if not doubtful or _bends_up(doubtful, variable):
            return True
        return len(doubtful) < len(every) and _bends_up(every, variable)
    except _UNREADABLE:
        return False


def _is_convex(term: Any) -> bool:
    return curvature(term).curvature.is_convex


def _bends_up(parts: Sequence[tuple[float, Any]], variable: Any) -> bool:
    """True if the second derivative of the sum is proved ≥ 0 between the variable's bounds."""
    total = sum(factor * term for factor, term in parts)
    pieces, seen = [(float(variable.lb), float(variable.ub))], 0
    while pieces:
        piece = pieces.pop()
        seen += 1
        try:
            least, most = folded(total, {id(variable): _Jet(piece, _UNIT)}, _constant, _outer).bend
            if most < 0.0:
                return False
            if least >= 0.0:
                continue
        except _Unclear:
            pass
        middle = piece[0] / 2.0 + piece[1] / 2.0
        low, high = math.nextafter(middle, -math.inf), math.nextafter(middle, math.inf)
        if seen > _PIECES or not piece[0] < low < high < piece[1]:
            return False
        pieces += [(piece[0], high), (low, piece[1])]
    return True


class _Unclear(ValueError):
    """Not twice differentiable on this piece, as far as can be seen: a smaller one may be."""


@dataclass(eq=False, slots=True)
class _Jet:
    """Ranges of f, f′ and f″ inside a piece."""

    value: Span
    slope: Span = _NOTHING
    bend: Span = _NOTHING

    def side(self) -> float:
        """The sign of f inside the piece; refuses what may be 0 there. 0 at an end is no harm to what is monotone."""
        low, high = self.value
        ends = self.slope[0] > 0.0 or self.slope[1] < 0.0
        if low > 0.0 or (low == 0.0 and ends):
            return 1.0
        if high < 0.0 or (high == 0.0 and ends):
            return -1.0
        raise _Unclear

    def through(self, at: Span, rate: Span, turn: Span) -> _Jet:
        """h∘f from the ranges of h, h′ and h″ on that of f."""
        bend = add(times(turn, power(self.slope, 2.0)), times(rate, self.bend))
        return _Jet(at, times(rate, self.slope), bend)

    def __neg__(self) -> _Jet:
        return _Jet(negative(self.value), negative(self.slope), negative(self.bend))

    def __add__(self, g: _Jet) -> _Jet:
        return _Jet(add(self.value, g.value), add(self.slope, g.slope), add(self.bend, g.bend))

    def __mul__(self, g: _Jet) -> _Jet:
        if g is self:
            return _raised(self, 2.0)
        slope = add(times(self.slope, g.value), times(self.value, g.slope))
        bend = add(times(self.bend, g.value), times(self.value, g.bend))
        return _Jet(times(self.value, g.value), slope, add(bend, times(_TWICE, times(self.slope, g.slope))))

    def __truediv__(self, g: _Jet) -> _Jet:
        return self * _raised(g, -1.0)


def _constant(number: float) -> _Jet:
    if not math.isfinite(number):
        raise ArithmeticError("a constant without a finite value")
    return _Jet((number, number))


def _raised(f: _Jet, a: float) -> _Jet:
    """f^a: f clear of 0 unless a is 0, 1, 2, …; f > 0 unless a is whole."""
    whole = a.is_integer()
    if not (whole and a >= 0.0) and f.side() < 0.0 and not whole:
        raise _Unclear
    rate = _NOTHING if a == 0.0 else times((a, a), power(f.value, a - 1.0))
    turn = _NOTHING if a in (0.0, 1.0) else times(times((a, a), add((a, a), (-1.0, -1.0))), power(f.value, a - 2.0))
    return f.through(power(f.value, a), rate, turn)


def _power(f: _Jet, g: _Jet) -> _Jet:
    if g.slope == g.bend == _NOTHING and g.value[0] == g.value[1]:
        return _raised(f, g.value[0])
    return _UNARY["exp"](g * _log(f))


def _log(f: _Jet) -> _Jet:
    if f.side() < 0.0:
        raise _Unclear
    rate = inverse(f.value)
    return f.through(FUNCTIONS["log"](f.value), rate, negative(power(rate, 2.0)))


def _tangent(name: str, cosine: str, turn: float) -> Callable[[_Jet], _Jet]:
    """tan, with h″ = 2 h h′, or tanh, with h″ = −2 h h′; h′ is one over the squared cosine."""

    def jet(f: _Jet) -> _Jet:
        cos = FUNCTIONS[cosine](f.value)
        if cos[0] <= 0.0 <= cos[1]:
            raise _Unclear
        tan, rate = FUNCTIONS[name](f.value), inverse(power(cos, 2.0))
        return f.through(tan, rate, times((turn, turn), times(tan, rate)))

    return jet


def _asin(f: _Jet) -> _Jet:
    rest = add(_UNIT, negative(power(f.value, 2.0)))
    if rest[0] <= 0.0:
        raise _Unclear
    return f.through(FUNCTIONS["asin"](f.value), power(rest, -0.5), times(f.value, power(rest, -1.5)))


def _atan(f: _Jet) -> _Jet:
    rate = inverse(add(_UNIT, power(f.value, 2.0)))
    turn = times((-2.0, -2.0), times(f.value, power(rate, 2.0)))
    return f.through(FUNCTIONS["atan"](f.value), rate, turn)


def _cycled(*signed: str) -> Callable[[_Jet], _Jet]:
    """A function by the names of h, h′ and h″, each with its sign."""

    def ranged(name: str, at: Span) -> Span:
        return negative(FUNCTIONS[name[1:]](at)) if name[0] == "-" else FUNCTIONS[name](at)

    return lambda f: f.through(*(ranged(name, f.value) for name in signed))


_UNARY: dict[str, Callable[[_Jet], _Jet]] = {
    "abs": lambda f: f if f.side() > 0.0 else -f,
    "exp": _cycled("exp", "exp", "exp"),
    "log": _log,
    "log10": lambda f: _log(f) * _Jet(inverse(FUNCTIONS["log"]((10.0, 10.0)))),
    "sqrt": lambda f: _raised(f, 0.5),
    "sin": _cycled("sin", "cos", "-sin"),
    "cos": _cycled("cos", "-sin", "-cos"),
    "tan": _tangent("tan", "cos", 2.0),
    "sinh": _cycled("sinh", "cosh", "sinh"),
    "cosh": _cycled("cosh", "sinh", "cosh"),
    "tanh": _tangent("tanh", "cosh", -2.0),
    "asin": _asin,
    "acos": lambda f: _Jet(_QUARTER) + -_asin(f),
    "atan": _atan,
}


def _outer(node: Any, parts: list[_Jet]) -> _Jet:
    """A power or a function of jets; KeyError for one that is not known here."""
    if isinstance(node, nodes.PowExpression):
        return _power(*parts)
    return _UNARY[node.getname() if isinstance(node, nodes.UnaryFunctionExpression) else ""](*parts)
