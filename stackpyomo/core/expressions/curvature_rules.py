"""The rules by which curvature passes through sums, products and functions."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import pyomo.core.expr.numeric_expr as nodes
from pyomo.common.errors import PyomoException

from .intervals import FUNCTIONS, Span, add, negative, power, times

INF = math.inf

UNREADABLE = (ArithmeticError, AttributeError, TypeError, ValueError, RecursionError, PyomoException)


# --- shapes: what is known of a subexpression, and how operations carry it --------------------------------------------

_Piece = tuple[int, int]  # a function of one real: bend +1 convex, −1 concave; slope ±1; 0 unknown
_CUP, _CAP = (1, 1), (-1, 1)  # rising: convex, concave


@dataclass(frozen=True)
class Shape:
    """What is known of f; the same object (``is``) always means the same function."""

    convex: bool
    concave: bool
    lo: float = -INF
    hi: float = INF
    order: float | None = None
    slope: tuple[int, int] | None = None  # (id of the variable, +1 or −1)
    constant: bool = False

    def __post_init__(self) -> None:
        if not self.lo <= self.hi or self.lo == INF or self.hi == -INF:
            raise ValueError("an expression without a finite value")
        if self.order is None and self.convex and self.lo >= 0.0:
            object.__setattr__(self, "order", 0.0 if self.constant else 1.0)

    @property
    def span(self) -> Span:
        return self.lo, self.hi

    def join(self, g: Shape, convex: bool, concave: bool, lo: float, hi: float) -> Shape:
        """What an operation that rises in both operands keeps: the worst order, a common slope."""
        order = None if self.order is None or g.order is None else max(self.order, g.order)
        slopes = {f.slope for f in (self, g) if not f.constant}
        slope = slopes.pop() if len(slopes) == 1 else None
        return Shape(convex, concave, lo, hi, order, slope, self.constant and g.constant)

    def maximum(self, g: Shape) -> Shape:
        convex, constant = self.convex and g.convex, self.constant and g.constant
        return self.join(g, convex, constant, max(self.lo, g.lo), max(self.hi, g.hi))

    def __add__(self, g: Shape) -> Shape:
        convex, concave = self.convex and g.convex, self.concave and g.concave
        return self.join(g, convex, concave, *add(self.span, g.span))

    def __neg__(self) -> Shape:
        slope = self.slope and (self.slope[0], -self.slope[1])
        return Shape(self.concave, self.convex, *negative(self.span), None, slope, self.constant)

    def __mul__(self, g: Shape) -> Shape:
        """c·f, or f², or log-convex factors, or f, g ≥ 0 monotone in one variable."""
        if self is g or (g.constant and not self.constant):
            return self.power(2.0) if self is g else g * self
        lo, hi = times(self.span, g.span)
        if self.constant and self.span == (0.0, 0.0):
            return self
        if self.constant and (self.lo >= 0.0 or self.hi <= 0.0):
            return replace(g if self.lo >= 0.0 else -g, lo=lo, hi=hi)
        convex, concave = self.convex and g.convex, self.concave and g.concave
        if self.constant:
            return Shape(g.convex and concave, convex and g.concave, lo, hi, constant=g.constant)
        if self.order == g.order == 0.0:
            return self.join(g, True, False, lo, hi)
        if not (self.slope and g.slope and self.lo >= 0.0 and g.lo >= 0.0):
            return Shape(False, False, lo, hi)
        same, opposite = self.slope == g.slope, self.slope == (-g).slope
        slope = g.slope if same else None
        return Shape(convex and same, concave and opposite, lo, hi, None, slope)

    def __truediv__(self, g: Shape) -> Shape:
        """f·g⁻¹; convex, of order q/(1−q), when f has the order q ≤ 1/2 and g > 0 is concave."""
        quotient = self * g.power(-1.0)
        if self.order is None or self.order > 0.5 or not g.concave or g.lo < 0.0:
            return quotient
        return replace(quotient, convex=True, order=self.order / (1.0 - self.order))

    def __pow__(self, g: Shape) -> Shape:
        """f^g for a constant exponent, or exp(g log f) for a constant base > 0."""
        if g.constant and g.lo == g.hi:
            return self.power(g.lo)
        base = self.constant and self.lo > 0.0
        return UNARY["exp"](UNARY["log"](self) * g) if base else Shape(False, False)

    def power(self, a: float) -> Shape:
        """f^a for f ≥ 0, or of any sign for an integer a (a < 0: not through 0); by order q ≤ a."""
        if a in (0.0, 1.0):
            return self if a else number_of(1.0)
        if a < 0.0 and self.lo == self.hi == 0.0:
            raise ZeroDivisionError
        whole, bend, slope = a.is_integer(), -1 if 0.0 < a < 1.0 else 1, 1 if a > 0.0 else -1
        if whole and a < 0.0 and self.lo < 0.0 < self.hi:
            return Shape(self.constant, self.constant, *power(self.span, a), constant=self.constant)
        left = (bend, slope) if not whole else (-bend, slope) if a % 2.0 else (bend, -slope)
        raised = self.compose(lambda f: power(f, a), left, (bend, slope), None, -INF if whole else 0.0)
        if raised.constant or not (raised.convex or (self.order is not None and self.order <= a)):
            return raised
        order = 0.0 if a < 0.0 else (1.0 if self.order is None else self.order) / a
        return replace(raised, convex=True, order=order)

    def log(self, span: Callable[[Span], Span]) -> Shape:
        """log f: concave if f is, convex by definition if f is log-convex."""
        log = self.compose(span, _CAP, _CAP, None, 0.0)
        return replace(log, convex=True) if self.order == 0.0 else log

    def sin(self, shift: float, name: str) -> Shape:
        """sin(f + shift), by its name, on one arch: concave on [2kπ, (2k+1)π], convex on the next."""
        lo, hi = self.lo + shift, self.hi + shift
        arch = math.floor(lo / math.pi) if math.isfinite(lo) else 0
        inside = arch * math.pi <= lo and hi <= (arch + 1) * math.pi
        piece = (arch % 2 or -1) * inside, 0
        return self.compose(FUNCTIONS[name], piece, piece)

    def compose(
        self, span: Callable[[Span], Span], left: _Piece, right: _Piece, order: Any = None, floor: float = -INF
    ) -> Shape:
        """h∘f, h a piece on each side of 0, defined on t ≥ floor: what the pieces f meets agree on.

        h convex and f affine, h rising and f convex (so long as {x : f(x) ≥ floor} is convex),
        h falling and f concave; and the mirror. ``order`` is that of a convex h∘f.
        """
        met = [left] * (self.lo < 0.0) + [right] * (self.hi > 0.0 or self.lo >= 0.0)
        bend, slope = (ends[0] if len({*ends}) == 1 else 0 for ends in zip(*met, strict=True))
        affine, below = self.convex and self.concave, self.convex and self.lo >= floor
        grows = affine or (slope > 0 and below) or (slope < 0 and self.concave)
        falls = affine or (slope > 0 and self.concave) or (slope < 0 and below)
        rise = (self.slope[0], self.slope[1] * slope) if self.slope and slope else None
        lo, hi = span(self.span)
        if self.constant:
            return Shape(True, True, lo, hi, constant=True)
        convex, concave = bend > 0 and grows, bend < 0 and falls
        return Shape(convex, concave, lo, hi, order if convex else None, rise)


def number_of(c: Any) -> Shape:
    """The shape of a constant."""
    return Shape(True, True, float(c), float(c), constant=True)


UNARY: dict[str, Callable[[Shape], Shape]] = {
    "abs": lambda f: f.power(2.0).power(0.5),
    "sqrt": lambda f: f.power(0.5),
    "log": lambda f: f.log(FUNCTIONS["log"]),
    "log10": lambda f: f.log(FUNCTIONS["log10"]),
    "sin": lambda f: f.sin(0.0, "sin"),
    "cos": lambda f: f.sin(math.pi / 2.0, "cos"),
    "exp": lambda f: f.compose(FUNCTIONS["exp"], _CUP, _CUP, 0.0),
    "cosh": lambda f: f.compose(FUNCTIONS["cosh"], (1, -1), _CUP, 0.0),
    "sinh": lambda f: f.compose(FUNCTIONS["sinh"], _CAP, _CUP),
    "tanh": lambda f: f.compose(FUNCTIONS["tanh"], _CUP, _CAP),
}

RULES: dict[type, Callable[..., Shape]] = {
    nodes.SumExpression: lambda *parts: reduce(operator.add, parts),
    nodes.LinearExpression: lambda *parts: reduce(operator.add, parts),
    nodes.NegationExpression: operator.neg,
    nodes.ProductExpression: operator.mul,
    nodes.MonomialTermExpression: operator.mul,
    nodes.DivisionExpression: operator.truediv,
    nodes.PowExpression: operator.pow,
    nodes.MaxExpression: lambda *parts: reduce(Shape.maximum, parts),
    nodes.MinExpression: lambda *parts: -reduce(Shape.maximum, [-f for f in parts]),
}
