"""Values of expressions, and expressions with other things in the place of variables.

An expression may have no value: a logarithm of a negative, a division by 0, an overflow, a complex number, a variable
without a value. Python, Pyomo and numpy each have errors of their own for that; here it is NaN, and whoever asked says
what it means. A problem with NaN in it cannot be written: :class:`stackpyomo.solvers.BadRow`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.expr import numeric_expr as nodes
from pyomo.core.expr.visitor import ExpressionReplacementVisitor

from stackpyomo.core.sparse import Array
from stackpyomo.core.tolerances import TOLERANCES

#: What evaluating or differentiating raises where there is no value.
UNDEFINED = (ArithmeticError, TypeError, ValueError)

# Nodes of one class that stand for functions by name.
_NAMED = (nodes.UnaryFunctionExpression, nodes.ExternalFunctionExpression)
_CANCELLING = (
    nodes.SumExpression,
    nodes.LinearExpression,
    nodes.NegationExpression,
    nodes.ProductExpression,
    nodes.DivisionExpression,
)
_NUMPY = {
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "asinh": "arcsinh",
    "acosh": "arccosh",
    "atanh": "arctanh",
}


def number_of(expression: Any) -> float:
    """The expression's value at the current values of its variables; NaN where it has none."""
    try:
        number = pyo.value(expression, exception=False)
    except UNDEFINED:
        return math.nan
    return float(number) if isinstance(number, Real) else math.nan


def size_of(expression: Any, values: Mapping[int, float]) -> float:
    """What the expression would be if none of its terms cancelled: every number and sum by absolute value.

    values: id(Var) → its value; fixed ones have their own. Functions other than sums, products and powers are taken at
    their value. NaN where there is none.
    """
    try:
        return _size(expression, values)
    except (*UNDEFINED, RecursionError):
        return math.nan


def sized(body: Any, lower: float | None, upper: float | None) -> tuple[float, float | None, float | None]:
    """(body, lower, upper) at the current values, over the largest of the body's terms and the limits.

    That is what a row is small against that no variable moves: its own numbers are all that tells a unit. Where they
    are but what numbers leave that cancelled, nothing does.
    """
    sizes = [abs(size) for size in (size_of(body, {}), lower, upper) if size is not None and math.isfinite(size)]
    unit = max(sizes, default=0.0)
    unit = unit if unit > TOLERANCES.cancelled else 1.0
    low, high = (None if limit is None else float(limit) / unit for limit in (lower, upper))
    return number_of(body) / unit, low, high


def _size(node: Any, values: Mapping[int, float]) -> float:
    if node.__class__ in native_numeric_types or not node.is_potentially_variable() or node.is_variable_type():
        return abs(values[id(node)] if id(node) in values else float(pyo.value(node)))
    if node.__class__ is nodes.PowExpression:
        base, power = node.args
        return float(_size(base, values) ** pyo.value(power))
    through = isinstance(node, _CANCELLING) or node.is_named_expression_type()
    sizes = [_size(part, values) for part in node.args] if through else []
    if isinstance(node, nodes.DivisionExpression):
        return sizes[0] / abs(_value(node.args[1], values))
    if isinstance(node, nodes.ProductExpression):
        return math.prod(sizes)
    return math.fsum(sizes) if sizes else abs(_value(node, values))


def _value(node: Any, values: Mapping[int, float]) -> float:
    return float(pyo.value(Substitution(substitute=dict(values)).walk_expression(node)))


def spelled(expression: Any, names: Mapping[int, str]) -> list[str]:
    """The expression's nodes in Polish notation, Params by their value of this moment: equal texts, equal functions.

    names: id(Var) → what to call it; others have their own name.
    """
    texts: list[str] = []
    stack = [expression]
    while stack:
        node = stack.pop()
        kind = node.__class__
        if kind in native_numeric_types:
            texts.append(repr(node))
        elif id(node) in names:
            texts.append(names[id(node)])
        elif node.is_expression_type():
            texts += [node.getname() if kind in _NAMED else kind.__name__, str(node.nargs())]
            stack.extend(node.args)
        else:
            texts.append(node.name if node.is_variable_type() else repr(pyo.value(node, exception=False)))
    return texts


def folded(node: Any, values: Mapping[int, Any], number: Callable[[float], Any], other: Callable[..., Any]) -> Any:
    """The expression in another arithmetic: of arrays, say, or of fractions.

    values: id(Var) → what stands for it. number: what a constant is. other: (node, its parts) → what a power or a
    function comes to; it raises one of ``UNDEFINED`` for what it does not know.
    """
    if node.__class__ in native_numeric_types or not node.is_potentially_variable():
        return number(float(pyo.value(node)))
    if node.is_variable_type():
        return values[id(node)] if id(node) in values else number(float(pyo.value(node)))
    args = node.args
    known = {key: folded(part, values, number, other) for key, part in {id(a): a for a in args}.items()}
    parts = [known[id(part)] for part in args]  # f · f is the square of one thing
    if isinstance(node, nodes.ProductExpression):
        return parts[0] * parts[1]
    if isinstance(node, nodes.DivisionExpression):
        return parts[0] / parts[1]
    if isinstance(node, nodes.NegationExpression):
        return -parts[0]
    if isinstance(node, nodes.SumExpression):
        return sum(parts[1:], parts[0]) if parts else number(0.0)
    return parts[0] if node.is_named_expression_type() else other(node, parts)


def numbers_of(expression: Any, values: Mapping[int, Array], count: int) -> Array | None:
    """The expression's values at many points at once; NaN where it has none; None: nowhere.

    values: id(Var) → its value at each of ``count`` points.
    """
    try:
        with np.errstate(all="ignore"):
            return np.broadcast_to(np.asarray(folded(expression, values, float, _in_numpy), dtype=float), count).copy()
    except (*UNDEFINED, RecursionError, AttributeError):
        return None


def _in_numpy(node: Any, parts: list[Any]) -> Any:
    if isinstance(node, nodes.PowExpression):
        return np.power(np.asarray(parts[0], dtype=float), parts[1])
    if isinstance(node, nodes.AbsExpression):
        return np.abs(parts[0])
    if isinstance(node, nodes.UnaryFunctionExpression) and len(parts) == 1:
        return getattr(np, _NUMPY.get(node.getname(), node.getname()))(parts[0])
    return np.vectorize(partial(_at_one_point, node), otypes=[float])(*parts)


def _at_one_point(node: Any, *parts: Any) -> Any:
    """What an expression that numpy has not, an external function, say, or a case, makes of its parts."""
    try:
        level = node._apply_operation(parts)
    except UNDEFINED:
        return math.nan
    return float(level) if isinstance(level, Real) else math.nan


class Substitution(ExpressionReplacementVisitor):
    """Pyomo's visitor, id(component) → what stands in its place; a part that comes to no number is NaN."""

    def exitNode(self, node: Any, data: Any) -> Any:
        """The node over what its children have become."""
        try:
            level = super().exitNode(node, data)
        except UNDEFINED:
            return math.nan
        return math.nan if level.__class__ is complex else level


def substituting(table: Mapping[int, Any]) -> Callable[[Any], Any]:
    """Expression → the same with ``table[id(Var)]`` in the place of its Vars, named Expressions written out."""
    visitor = Substitution(substitute=table, descend_into_named_expressions=True, remove_named_expressions=True)
    walk: Callable[[Any], Any] = visitor.walk_expression
    return walk
