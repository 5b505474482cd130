"""Interval Hessians: convexity of a function of one variable on a finite box, where structure says nothing.

    f″(x) ≥ 0 for all x in each piece of [lower, upper], by interval arithmetic; pieces are halved until it holds

Terms that are convex by structure are left out first. A proof up to rounding; failing to find one proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pyomo.core.expr.numeric_expr as nodes
import pyomo.environ as pyo
from pyomo.common.errors import PyomoException
from pyomo.contrib.fbbt.expression_bounds_walker import ExpressionBoundsVisitor
from pyomo.core.expr.calculus.diff_with_pyomo import DifferentiationException, reverse_sd
from pyomo.core.expr.visitor import ExpressionReplacementVisitor

from .convexity import Curvature, curvature

__all__ = ["is_convex_on_box"]

_PIECES = 400
"""Pieces looked at before giving up."""
_UNREADABLE = (ArithmeticError, DifferentiationException, KeyError, TypeError, ValueError, PyomoException)


def is_convex_on_box(expression: Any, variable: Any) -> bool:
    """True if f is proved convex in its only unfixed variable between its bounds (which must be finite)."""
    lower, upper = variable.bounds
    if lower is None or upper is None:
        return False
    doubtful = [term for term in _terms(expression, 1.0) if not _is_convex(term)]
    if not doubtful:
        return True
    copy = pyo.Var(bounds=(lower, upper), initialize=lower)
    copy.construct()
    try:
        rest = ExpressionReplacementVisitor(substitute={id(variable): copy}).walk_expression(sum(doubtful))
        slope = reverse_sd(rest).get(copy, 0.0)
        bend = reverse_sd(slope).get(copy, 0.0) if hasattr(slope, "is_expression_type") else 0.0
        return _is_positive(bend, copy, float(lower), float(upper))
    except _UNREADABLE:
        return False


def _is_convex(term: Any) -> bool:
    return curvature(term).curvature in (Curvature.CONSTANT, Curvature.AFFINE, Curvature.CONVEX)


def _terms(expression: Any, factor: float) -> Iterator[Any]:
    """The terms of a sum, signs and constant factors carried inside."""
    if isinstance(expression, (nodes.SumExpression, nodes.LinearExpression)):
        for term in expression.args:
            yield from _terms(term, factor)
    elif isinstance(expression, nodes.NegationExpression):
        yield from _terms(expression.args[0], -factor)
    elif isinstance(expression, nodes.ProductExpression) and not hasattr(expression.args[0], "is_expression_type"):
        yield from _terms(expression.args[1], factor * float(expression.args[0]))
    else:
        yield factor * expression


def _is_positive(expression: Any, variable: Any, lower: float, upper: float) -> bool:
    if not hasattr(expression, "is_expression_type"):
        return float(expression) >= 0.0
    pieces, seen = [(lower, upper)], 0
    while pieces:
        low, high = pieces.pop()
        seen += 1
        variable.setlb(low)
        variable.setub(high)
        least, _ = ExpressionBoundsVisitor().walk_expression(expression)
        if least is not None and least >= 0.0:
            continue
        middle = (low + high) / 2.0
        if seen > _PIECES or not low < middle < high or math.isinf(middle):
            return False
        pieces += [(low, middle), (middle, high)]
    return True
