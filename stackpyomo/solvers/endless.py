"""Functions whose arguments have no end: what a solver that counts so far only says of them, and what it does not.

SCIP's numbers end near 1e15. What it proves of exp(x), √x or 1/x where bounds leave x without an end it proves of x up
to there; it holds for all x where nothing is to be had beyond: where every point with x ≥ A is infeasible, or costs no
less than the bound, or may come back to x = A at no cost and into no row's way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pyomo.common.collections import ComponentMap
from pyomo.contrib.fbbt.expression_bounds_walker import ExpressionBoundsVisitor
from pyomo.core.expr.numeric_expr import AbsExpression, DivisionExpression, PowExpression, UnaryFunctionExpression

from stackpyomo.core import TOLERANCES, bounds_of, box_of
from stackpyomo.core.expressions import (
    degree_of,
    elementary,
    interval,
    is_affine,
    nodes_in,
    partials,
    tighten,
    variables_in,
)

from .program import Program

HUGE = 1e15  # SCIP's own: activities with numbers beyond are not trusted, and from 1e20 on a number is infinite.
AFAR = 1e10  # From here on an answer proves nothing of functions without an end: what a variable adds is lost.


def endless_arguments(program: Program) -> list[Any]:
    """What roots, quotients and other functions are taken of, where bounds do not limit it."""
    arguments = (part for node in nodes_in(*map(elementary, _formulas(program))) for part in _argued(node))
    limits = ComponentMap(zip(program.variables, zip(*program.bounds, strict=True), strict=True))
    boxes = ExpressionBoundsVisitor(leaf_bounds=limits)
    return [part for part in arguments if any(not abs(end) < HUGE for end in interval(part, boxes))]


def within_rows(program: Program) -> Program:
    """The program within what its rows leave of its variables, where a function is taken of what bounds do not limit.

    A point that meets the rows lies within; what a solver says of such functions then holds of all points.
    """
    if not endless_arguments(program):
        return program
    model, copies = program.variant(bounds=program.bounds).limited
    tighten(model.rows.values())
    low, high = box_of(copies)
    room = [TOLERANCES.feasibility * np.maximum(1.0, np.abs(side)) for side in (low, high)]
    (lower, upper) = program.bounds
    return program.variant(bounds=(np.maximum(lower, low - room[0]), np.minimum(upper, high + room[1])))


def is_known_afar(program: Program, arguments: Sequence[Any], bound: float) -> bool:
    """True if what holds as far as a solver counts holds beyond: a bound on the cost; infinite: there is no point.

    Of affine arguments alone, variable by variable: what it counts of others nobody can say.
    """
    if not all(map(is_affine, arguments)):
        return False
    variables = {id(v): v for part in arguments for v in variables_in(part)}
    return all(_is_settled(program, v, tail, bound) for v in variables.values() for tail in _tails(v))


def _formulas(program: Program) -> list[Any]:
    return [program.model.objective.expr, *(row.body for row in program.model.rows.values())]


def _argued(node: Any) -> Sequence[Any]:
    """What a function is taken of; of sums, products and powers that are polynomials nothing."""
    if isinstance(node, DivisionExpression):
        return tuple(node.args[1:])
    is_function = isinstance(node, (UnaryFunctionExpression, PowExpression)) and not isinstance(node, AbsExpression)
    return tuple(node.args) if is_function and degree_of(node) is None else ()


def _never_negative(program: Program) -> Iterator[Any]:
    """What logarithms and square roots are taken of: they have no value elsewhere."""
    for node in nodes_in(*_formulas(program)):
        if isinstance(node, UnaryFunctionExpression) and node.getname() in ("log", "log10", "sqrt"):
            yield node.args[0]


def _tails(variable: Any) -> Iterator[tuple[float, float]]:
    """What its bounds leave of a variable beyond ∓A."""
    low, high = bounds_of(variable)
    if low < -AFAR:
        yield low, -AFAR
    if high > AFAR:
        yield AFAR, high


def _is_settled(program: Program, variable: Any, tail: tuple[float, float], bound: float) -> bool:
    """True if nothing is to be had in this tail that is not to be had before it."""
    outward = 1.0 if tail[0] > 0.0 else -1.0
    cost = program.model.objective.expr
    if not math.isinf(bound) and _range(cost, variable, tail)[0] >= bound:
        return True
    if any(_range(part, variable, tail)[1] < 0.0 for part in _never_negative(program)):
        return True
    sides = [(row.body, *bounds_of(row)) for row in program.model.rows.values()]
    sides = [(body, low, high) for body, low, high in sides if any(v is variable for v in variables_in(body))]
    for body, low, high in sides:
        least, most = _range(body, variable, tail)
        if least > high or most < low:
            return True
    climbs = [] if math.isinf(bound) else [(cost, 1.0)]
    climbs += [(body, 1.0) for body, _, high in sides if math.isfinite(high)]
    climbs += [(body, -1.0) for body, low, _ in sides if math.isfinite(low)]
    return all(_climbs(body, variable, tail, outward * sign) for body, sign in climbs)


def _climbs(body: Any, variable: Any, tail: tuple[float, float], sign: float) -> bool:
    """True if ``sign`` times the body does not fall along the tail, whatever the other variables are."""
    slope = partials(body, [variable])[0]
    least, most = _range(slope, variable, tail)
    return least >= 0.0 if sign > 0.0 else most <= 0.0


def _range(expression: Any, variable: Any, tail: tuple[float, float]) -> tuple[float, float]:
    return interval(expression, ExpressionBoundsVisitor(leaf_bounds=ComponentMap([(variable, tail)])))
