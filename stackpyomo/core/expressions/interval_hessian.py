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
from functools import reduce
from typing import Any, NamedTuple

import pyomo.core.expr.numeric_expr as nodes
from pyomo.common.errors import PyomoException
from pyomo.common.numeric_types import native_types, value
from pyomo.core.expr.visitor import StreamBasedExpressionVisitor

from .convexity import curvature
from .intervals import FUNCTIONS, Span, add, inverse, negative, power, times
from .terms import terms

_PIECES = 400  # Pieces looked at before giving up.

_QUARTER = math.pi / 2.0, math.nextafter(math.pi / 2.0, 2.0)

_NOTHING, _UNIT = (0.0, 0.0), (1.0, 1.0)

_UNREADABLE = (ArithmeticError, KeyError, TypeError, ValueError, RecursionError, PyomoException)


def is_convex_on_box(expression: Any, variable: Any) -> bool:
    """True if f is proved convex in its only unfixed variable between its bounds (which must be finite)."""
    lower, upper = variable.bounds
    if lower is None or upper is None or not math.isfinite(upper - lower):
        return False
    every = list(terms(expression))
    try:
        doubtful = [(factor, term) for factor, term in every if not _is_convex(factor * term)]
        if not doubtful or _bends_up(doubtful, float(lower), float(upper)):
            return True
        return len(doubtful) < len(every) and _bends_up(every, float(lower), float(upper))
    except _UNREADABLE:
        return False


def _is_convex(term: Any) -> bool:
    return curvature(term).curvature.is_convex


def _bends_up(parts: Sequence[tuple[float, Any]], lower: float, upper: float) -> bool:
    """True if the second derivative of the sum is proved ≥ 0 inside [lower, upper]."""
    tape = _recorded(parts)
    pieces, seen = [(lower, upper)], 0
    while pieces:
        piece = pieces.pop()
        seen += 1
        try:
            least, most = _played(tape, piece).bend
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


class _Jet(NamedTuple):
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


def _constant(number: float) -> _Jet:
    if not math.isfinite(number):
        raise ArithmeticError("a constant without a finite value")
    return _Jet((number, number))


def _plus(f: _Jet, g: _Jet) -> _Jet:
    return _Jet(*map(add, f, g))


def _scaled(factor: float, f: _Jet) -> _Jet:
    return _Jet(*(times((factor, factor), part) for part in f))


def _product(f: _Jet, g: _Jet) -> _Jet:
    twice = times((2.0, 2.0), times(f.slope, g.slope))
    bend = add(add(times(f.bend, g.value), times(f.value, g.bend)), twice)
    return _Jet(times(f.value, g.value), add(times(f.slope, g.value), times(f.value, g.slope)), bend)


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
    return _exp(_product(g, _log(f)))


def _exp(f: _Jet) -> _Jet:
    e = FUNCTIONS["exp"](f.value)
    return f.through(e, e, e)


def _log(f: _Jet) -> _Jet:
    if f.side() < 0.0:
        raise _Unclear
    rate = inverse(f.value)
    return f.through(FUNCTIONS["log"](f.value), rate, negative(power(rate, 2.0)))


def _abs(f: _Jet) -> _Jet:
    return _scaled(f.side(), f)


def _sin(f: _Jet) -> _Jet:
    sin, cos = FUNCTIONS["sin"](f.value), FUNCTIONS["cos"](f.value)
    return f.through(sin, cos, negative(sin))


def _cos(f: _Jet) -> _Jet:
    sin, cos = FUNCTIONS["sin"](f.value), FUNCTIONS["cos"](f.value)
    return f.through(cos, negative(sin), negative(cos))


def _tan(f: _Jet) -> _Jet:
    cos = FUNCTIONS["cos"](f.value)
    if cos[0] <= 0.0 <= cos[1]:
        raise _Unclear
    tan, rate = FUNCTIONS["tan"](f.value), inverse(power(cos, 2.0))
    return f.through(tan, rate, times((2.0, 2.0), times(tan, rate)))


def _sinh(f: _Jet) -> _Jet:
    sinh, cosh = FUNCTIONS["sinh"](f.value), FUNCTIONS["cosh"](f.value)
    return f.through(sinh, cosh, sinh)


def _cosh(f: _Jet) -> _Jet:
    sinh, cosh = FUNCTIONS["sinh"](f.value), FUNCTIONS["cosh"](f.value)
    return f.through(cosh, sinh, cosh)


def _tanh(f: _Jet) -> _Jet:
    tanh, rate = FUNCTIONS["tanh"](f.value), inverse(power(FUNCTIONS["cosh"](f.value), 2.0))
    return f.through(tanh, rate, times((-2.0, -2.0), times(tanh, rate)))


def _asin(f: _Jet) -> _Jet:
    rest = add(_UNIT, negative(power(f.value, 2.0)))
    if rest[0] <= 0.0:
        raise _Unclear
    return f.through(FUNCTIONS["asin"](f.value), power(rest, -0.5), times(f.value, power(rest, -1.5)))


def _atan(f: _Jet) -> _Jet:
    rate = inverse(add(_UNIT, power(f.value, 2.0)))
    turn = times((-2.0, -2.0), times(f.value, power(rate, 2.0)))
    return f.through(FUNCTIONS["atan"](f.value), rate, turn)


_UNARY: dict[str, Callable[[_Jet], _Jet]] = {
    "abs": _abs,
    "exp": _exp,
    "log": _log,
    "log10": lambda f: _product(_log(f), _Jet(inverse(FUNCTIONS["log"]((10.0, 10.0))))),
    "sqrt": lambda f: _raised(f, 0.5),
    "sin": _sin,
    "cos": _cos,
    "tan": _tan,
    "sinh": _sinh,
    "cosh": _cosh,
    "tanh": _tanh,
    "asin": _asin,
    "acos": lambda f: _plus(_Jet(_QUARTER), _scaled(-1.0, _asin(f))),
    "atan": _atan,
}

_RULES: dict[type, Callable[..., _Jet]] = {
    nodes.SumExpression: lambda *parts: reduce(_plus, parts),
    nodes.LinearExpression: lambda *parts: reduce(_plus, parts),
    nodes.NegationExpression: lambda f: _scaled(-1.0, f),
    nodes.ProductExpression: _product,
    nodes.MonomialTermExpression: _product,
    nodes.DivisionExpression: lambda f, g: _product(f, _raised(g, -1.0)),
    nodes.PowExpression: _power,
}

_Tape = list[tuple[Callable[..., _Jet], list[int]]]  # operations and the places of their operands; [] is the variable


class _Recorder(StreamBasedExpressionVisitor):
    """Writes an expression down once, as operations on jets; KeyError for one that is not known here."""

    def __init__(self) -> None:
        super().__init__()
        self.tape: _Tape = []

    def initializeWalker(self, expression: Any) -> tuple[bool, Any]:
        walk, place = self.beforeChild(None, expression, 0)
        return walk, expression if walk else place

    def beforeChild(self, _parent: Any, child: Any, _index: int) -> tuple[bool, int | None]:
        if child.__class__ not in native_types and child.is_potentially_variable():
            if not child.is_variable_type():
                return True, None
            if not child.fixed:
                return False, self.note(lambda own: own, [])
        number = _constant(float(value(child)))
        return False, self.note(lambda _: number, [])

    def exitNode(self, node: Any, parts: list[int]) -> int:
        if node.is_named_expression_type():
            return parts[0]
        if isinstance(node, nodes.UnaryFunctionExpression):
            return self.note(_UNARY[node.getname()], parts)
        if node.__class__ is nodes.ProductExpression and node.args[0] is node.args[1]:
            return self.note(lambda f: _raised(f, 2.0), parts[:1])
        return self.note(_RULES[node.__class__], parts)

    def note(self, operation: Callable[..., _Jet], parts: list[int]) -> int:
        self.tape.append((operation, parts))
        return len(self.tape) - 1


def _recorded(parts: Sequence[tuple[float, Any]]) -> _Tape:
    """The sum of factor · term as one tape."""
    recorder = _Recorder()
    ends = [recorder.walk_expression(factor * term) for factor, term in parts]
    recorder.note(lambda *jets: reduce(_plus, jets), ends)
    return recorder.tape


def _played(tape: _Tape, piece: Span) -> _Jet:
    """The jet of the last operation on a piece."""
    own, jets = _Jet(piece, _UNIT), list[_Jet]()
    for operation, parts in tape:
        jets.append(operation(*(jets[i] for i in parts)) if parts else operation(own))
    return jets[-1]
