"""Terms: an expression as the sum that it is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.expr.numeric_expr import (
    DivisionExpression,
    LinearExpression,
    NegationExpression,
    ProductExpression,
    SumExpression,
)
from pyomo.core.expr.visitor import identify_variables

from .values import number_of

__all__ = ["terms"]


def terms(expression: Any, factor: float = 1.0) -> Iterator[tuple[float, Any]]:
    """(number, term) with Σ number · term = factor · expression: through sums, numbers and named Expressions."""
    stack = [(factor, expression)]
    while stack:
        factor, node = stack.pop()
        if node.__class__ in native_numeric_types or not node.is_expression_type():
            yield factor, node
        elif isinstance(node, (SumExpression, LinearExpression)):
            stack.extend((factor, a) for a in reversed(node.args))
        elif node.is_named_expression_type():
            stack.append((factor, node.args[0]))
        elif isinstance(node, NegationExpression):
            stack.append((-factor, node.args[0]))
        elif isinstance(node, DivisionExpression) and (number := _number(node.args[1])):
            stack.append((factor / number, node.args[0]))
        elif isinstance(node, ProductExpression) and (number := _number(node.args[0])):
            stack.append((factor * number, node.args[1]))
        elif isinstance(node, ProductExpression) and (number := _number(node.args[1])):
            stack.append((factor * number, node.args[0]))
        else:
            yield factor, node


def _number(node: Any) -> float | None:
    """The value of what nobody decides; None where somebody does, or where there is none."""
    if (
        node.__class__ not in native_numeric_types
        and next(identify_variables(node, include_fixed=False), None) is not None
    ):
        return None
    found = number_of(node)
    return None if math.isnan(found) else found
