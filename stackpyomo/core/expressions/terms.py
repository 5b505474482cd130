"""Terms: an expression as the sum that it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.common.errors import InfeasibleConstraintException, PyomoException
from pyomo.common.numeric_types import native_numeric_types
from pyomo.contrib.fbbt.expression_bounds_walker import ExpressionBoundsVisitor
from pyomo.contrib.fbbt.fbbt import fbbt
from pyomo.core.base.var import VarData
from pyomo.core.expr.calculus.derivatives import Modes, differentiate
from pyomo.core.expr.numeric_expr import (
    DivisionExpression,
    LinearExpression,
    MaxExpression,
    MinExpression,
    NegationExpression,
    PowExpression,
    ProductExpression,
    SumExpression,
    UnaryFunctionExpression,
)
from pyomo.core.expr.visitor import ExpressionReplacementVisitor, identify_variables
from pyomo.repn import generate_standard_repn

from .values import number_of

_SWEEPS = 3  # Times that rows are gone through for what they leave of their variables.

UNREADABLE = (MaxExpression, MinExpression)  #: What Pyomo can write for no solver.


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
    number = number_of(node)
    return None if math.isnan(number) else number


def apart(expression: Any) -> Any:
    """The same expression as a term of a new sum: Pyomo's sums share their list of terms with what is added to them."""
    return SumExpression([expression]) if isinstance(expression, SumExpression) else expression


def leaves(expression: Any, seen: set[int]) -> Iterator[Any]:
    """Numbers, Params and Vars of an expression, its divisions and its formulas of Params.

    A shared named Expression is looked into once.
    """
    stack = [expression]
    while stack:
        node = stack.pop()
        if node.__class__ in native_numeric_types:
            yield node
        elif not hasattr(node, "is_expression_type"):
            continue
        elif node.is_expression_type():
            if isinstance(node, (DivisionExpression, *UNREADABLE)) or not node.is_potentially_variable():
                yield node  # what is divided by, and formulas of Params, are data that may have no value
            if node.is_named_expression_type():
                if id(node) in seen:
                    continue
                seen.add(id(node))
            stack.extend(node.args)
        else:
            yield node


def nodes_in(*expressions: Any) -> Iterator[Any]:
    """Every node of the expressions, numbers and Vars among them."""
    stack = list(expressions)
    while stack:
        node = stack.pop()
        yield node
        if getattr(node, "is_expression_type", bool)():
            stack.extend(node.args)


def variables_in(expression: Any, seen: set[int] | None = None) -> Iterator[VarData]:
    """The Vars of an expression, fixed ones too, as often as they occur (lazily: the first costs next to nothing)."""
    for leaf in leaves(expression, set() if seen is None else seen):
        if leaf.__class__ not in native_numeric_types and leaf.is_variable_type():
            yield leaf


def degree_of(expression: Any) -> int | None:
    """The degree of a polynomial in the Vars that are not fixed, 0 for a number; None for what is no polynomial."""
    degree: int | None = getattr(expression, "polynomial_degree", int)()
    return degree


def is_affine(*expressions: Any) -> bool:
    """True if every one is a number or affine in the Vars that are not fixed."""
    return all(degree_of(expression) in (0, 1) for expression in expressions)


def is_quadratic(*expressions: Any) -> bool:
    """The same of polynomials of degree 2 at most."""
    return all(degree_of(expression) in (0, 1, 2) for expression in expressions)


def affine_terms(expression: Any) -> tuple[float, list[tuple[VarData, float]]] | None:
    """(constant, (Var, coefficient), like terms collected) of what is affine in the Vars that are not fixed; else None.

    Raises one of ``UNDEFINED`` for what has no value.
    """
    repn = generate_standard_repn(expression, quadratic=False)
    if not repn.is_linear():
        return None
    return number_of(repn.constant), list(zip(repn.linear_vars, map(number_of, repn.linear_coefs), strict=True))


def roots(expression: Any) -> Iterator[Any]:
    """What the expression takes a root of: it has no finite derivative where that is 0."""
    for node in nodes_in(expression):
        if not getattr(node, "is_expression_type", bool)() or not node.is_potentially_variable():
            continue
        if isinstance(node, UnaryFunctionExpression) and node.getname() == "sqrt":
            yield node.args[0]
        elif isinstance(node, PowExpression):
            power = _number(node.args[1])
            if power is not None and 0.0 < power < 1.0:
                yield node.args[0]


_HYPERBOLIC = {
    "sinh": lambda f: (pyo.exp(f) - pyo.exp(-f)) / 2,
    "cosh": lambda f: (pyo.exp(f) + pyo.exp(-f)) / 2,
    "tanh": lambda f: 1 - 2 / (pyo.exp(2 * f) + 1),
}  # Functions that Pyomo cannot differentiate symbolically, and that SCIP does not know, by those they can.


def elementary(expression: Any) -> Any:
    """The expression with exp in the place of hyperbolic functions."""
    functions = (node for node in nodes_in(expression) if isinstance(node, UnaryFunctionExpression))
    hyperbolic = any(node.getname() in _HYPERBOLIC for node in functions)
    return _Elementary().walk_expression(expression) if hyperbolic else expression


def interval(expression: Any, bounds: ExpressionBoundsVisitor | None = None) -> tuple[float, float]:
    """What the expression can be while its variables are within their bounds, ±inf where nothing limits it."""
    with np.errstate(all="ignore"):  # the user's data may be NumPy's numbers: 0 times infinity
        low, high = (bounds or ExpressionBoundsVisitor()).walk_expression(elementary(expression))
    return (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))


def tighten(rows: Iterable[Any], sweeps: int = _SWEEPS) -> None:
    """Narrow the bounds of the rows' own Vars to what the rows leave of them. Of one affine row a sweep says it all."""
    errors = suppress(
        *(InfeasibleConstraintException, PyomoException, ArithmeticError, AssertionError, ValueError, TypeError)
    )
    with errors, np.errstate(invalid="ignore"):  # bounds of the user's may be NumPy's numbers: 0 times infinity
        rows = list(rows)
        for _ in range(sweeps):
            narrowed = [_is_narrowed(row) for row in rows]  # what they have shown until one raises holds
            if not any(narrowed):
                break


def _is_narrowed(row: Any) -> bool:
    """Narrow the bounds of a row's own Vars, and say whether any has moved."""
    before = [(v, v.bounds) for v in identify_variables(row.body, include_fixed=False)]
    fbbt(row)
    return any(v.bounds != bounds for v, bounds in before)


def partials(expression: Any, variables: Sequence[Any]) -> list[Any]:
    """The symbolic derivative by each variable; 0 of a number."""
    if not variables or not getattr(expression, "is_potentially_variable", bool)():
        return [0.0] * len(variables)
    return list(differentiate(elementary(expression), wrt_list=list(variables), mode=Modes.reverse_symbolic))


class _Elementary(ExpressionReplacementVisitor):
    def exitNode(self, node: Any, data: Any) -> Any:
        node = super().exitNode(node, data)
        if isinstance(node, UnaryFunctionExpression) and node.getname() in _HYPERBOLIC:
            return _HYPERBOLIC[node.getname()](node.args[0])
        return node
