"""Interval Hessians: convexity of a function of one variable on a finite box, where structure says nothing.

    f″(x) ≥ 0 for all x in each piece of [lower, upper], by interval arithmetic; pieces are halved until it holds

Terms that are convex by structure are left out first; where the rest does not bend up without them, all are taken. A
proof up to rounding; failing to find one proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyomo.environ as pyo
from pyomo.common.errors import PyomoException
from pyomo.contrib.fbbt.expression_bounds_walker import ExpressionBoundsVisitor
from pyomo.core.expr.calculus.diff_with_pyomo import DifferentiationException, reverse_sd
from pyomo.core.expr.visitor import ExpressionReplacementVisitor

from .convexity import Curvature, curvature
from .terms import terms

__all__ = ["is_convex_on_box"]

_PIECES = 400
"""Pieces looked at before giving up."""
_UNREADABLE = (ArithmeticError, DifferentiationException, KeyError, TypeError, ValueError, PyomoException)


def is_convex_on_box(expression: Any, variable: Any) -> bool:
    """True if f is proved convex in its only unfixed variable between its bounds (which must be finite)."""
    lower, upper = variable.bounds
    if lower is None or upper is None:
        return False
    every = [factor * term for factor, term in terms(expression)]
    doubtful = [term for term in every if not _is_convex(term)]
    if not doubtful:
        return True
    if _bends_up(doubtful, variable):
        return True
    return len(doubtful) < len(every) and _bends_up(every, variable)


def _bends_up(parts: Sequence[Any], variable: Any) -> bool:
    """True if the second derivative of the sum is proved ≥ 0 between the variable's bounds."""
    lower, upper = variable.bounds
    copy = pyo.Var(bounds=(lower, upper), initialize=lower)
    copy.construct()
    try:
        rest = ExpressionReplacementVisitor(substitute={id(variable): copy}).walk_expression(sum(parts))
        slope = reverse_sd(rest).get(copy, 0.0)
        bend = reverse_sd(slope).get(copy, 0.0) if hasattr(slope, "is_expression_type") else 0.0
        return _is_positive(bend, copy, float(lower), float(upper))
    except _UNREADABLE:
        return False


def _is_convex(term: Any) -> bool:
    return curvature(term).curvature in (Curvature.CONSTANT, Curvature.AFFINE, Curvature.CONVEX)


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
