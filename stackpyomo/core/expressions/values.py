"""Values: what an expression comes to, and expressions with other things in the place of variables.

An expression may have no value: a logarithm of a negative, a division by 0, an overflow, a complex number, a variable
without a value. Python, Pyomo and numpy each have errors of their own for that; here it is NaN, and whoever asked says
what it means. A problem with NaN in it cannot be written: :class:`stackpyomo.programs.BadRow`.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import pyomo.environ as pyo
from pyomo.core.expr.visitor import ExpressionReplacementVisitor

__all__ = ["UNDEFINED", "Substitution", "number_of"]

UNDEFINED = (ArithmeticError, TypeError, ValueError)
"""What evaluating or differentiating raises where there is no value."""


def number_of(expression: Any) -> float:
    """The expression's value at the current values of its variables; NaN where it has none."""
    try:
        found = pyo.value(expression, exception=False)
    except UNDEFINED:
        return math.nan
    return float(found) if isinstance(found, Real) else math.nan


class Substitution(ExpressionReplacementVisitor):
    """Pyomo's visitor, id(component) → what stands in its place; a part that comes to no number is NaN."""

    def exitNode(self, node: Any, data: Any) -> Any:
        """The node over what its children have become."""
        try:
            found = super().exitNode(node, data)
        except UNDEFINED:
            return math.nan
        return math.nan if found.__class__ is complex else found
