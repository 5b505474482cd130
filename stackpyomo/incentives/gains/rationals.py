"""Rationals: a certificate of emptiness recomputed without rounding, where its data are decimal numbers.

Every number is read as the decimal it is written as (0.1 is 1/10), costs that are polynomials are evaluated in exact
arithmetic, and the weights are a vector of the null space of Σ μ p(v) d(v)ᵀ = 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from pyomo.core.expr import numeric_expr as nodes

from stackpyomo.core import Array
from stackpyomo.core.expressions import UNDEFINED, folded

from .levers import Lever

__all__ = ["exact_weights", "fraction", "rational"]


def fraction(number: float) -> Fraction:
    """The decimal number as it is written."""
    return Fraction(repr(float(number)))


def rational(expression: Any, values: Mapping[int, Fraction]) -> Fraction | None:
    """The expression's exact value where it is a polynomial (or a quotient) of rationals; None: it is not."""
    try:
        return Fraction(folded(expression, values, fraction, _power))
    except (*UNDEFINED, RecursionError):
        return None


def _power(node: Any, parts: list[Fraction]) -> Fraction:
    if not isinstance(node, nodes.PowExpression) or parts[1].denominator != 1:
        return Fraction(math.nan)  # raises what stands for no value
    return Fraction(parts[0] ** int(parts[1]))


def exact_weights(rows: Sequence[tuple[Lever, Array]], weights: Sequence[float], free: Array) -> list[Fraction] | None:
    """μ ≥ 0 of deviations (lever, point) with Σ μ p dᵀ = 0 and Σ μ r > 0 in exact arithmetic, Σ μ = 1; None: not shown.

    weights: what floating point made of them; only those that are not 0 there are used. free: (instruments) whether the
    on-path value is chosen anew; there Σ μ (p(v) − p(u*)) = 0, too.
    """
    columns, temptations = list[list[Fraction]](), list[Fraction]()
    for lever, point in rows:
        column, temptation = _row(lever, point, free)
        if column is None or temptation is None:
            return None
        columns.append(column)
        temptations.append(temptation)
    vector = _null_vector(columns)
    if vector is None:
        return None
    if sum(vector) < 0:
        vector = [-weight for weight in vector]
    total = sum(vector)
    if total <= 0 or any(weight < 0 for weight in vector):
        return None
    vector = [weight / total for weight in vector]
    gained = sum((w * r for w, r in zip(vector, temptations, strict=True)), Fraction(0))
    return vector if gained > 0 and len(vector) == len(weights) else None


def _row(lever: Lever, point: Array, free: Array) -> tuple[list[Fraction] | None, Fraction | None]:
    """(p(v) d(v)ᵀ over instruments × signals, and p(v) − p(u*) of what is free; r(v))."""
    if not lever.is_affine or lever.curved:
        return None, None
    own, answers = lever.variables, lever.problem.answers
    level = {id(v): fraction(x) for v, x in zip(answers, lever.levels, strict=True)}
    table = {**level, **{id(v): fraction(x) for v, x in zip(own, point, strict=True)}}
    plan = {**level, **{id(v): fraction(x) for v, x in zip(own, lever.target, strict=True)}}
    costs = [rational(lever.problem.own, values) for values in (plan, table)]
    pulls, planned = ([rational(slope, values) for slope in lever.slopes] for values in (table, plan))
    if None in (*costs, *pulls, *planned):
        return None, None
    steps = [table[id(v)] - plan[id(v)] for v in own]
    seen = [sum((fraction(m) * s for m, s in zip(moves, steps, strict=True)), Fraction(0)) for moves in lever.shown]
    column = [Fraction(0)] * (lever.count * (len(seen) + 1))
    for instrument, pull, before in zip(map(int, lever.instruments), pulls, planned, strict=True):
        for number, sign in enumerate(seen):
            column[instrument * len(seen) + number] = (pull or Fraction(0)) * sign
        if free[instrument]:
            column[lever.count * len(seen) + instrument] = (pull or Fraction(0)) - (before or Fraction(0))
    cost, after = costs
    return column, None if cost is None or after is None else cost - after


def _null_vector(columns: Sequence[Sequence[Fraction]]) -> list[Fraction] | None:
    """The one vector μ with Σ μ_i column_i = 0, up to a factor; None if there is none, or more than one."""
    count = len(columns)
    rows = [list(row) for row in zip(*columns, strict=True)]
    pivots: list[int] = []
    for column in range(count):
        pivot = next((i for i in range(len(pivots), len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        place = len(pivots)
        rows[place], rows[pivot] = rows[pivot], rows[place]
        rows[place] = [x / rows[place][column] for x in rows[place]]
        for i, row in enumerate(rows):
            if i != place and row[column]:
                rows[i] = [a - row[column] * b for a, b in zip(row, rows[place], strict=True)]
        pivots.append(column)
    free = [column for column in range(count) if column not in pivots]
    if len(free) != 1:
        return None
    vector = [Fraction(0)] * count
    vector[free[0]] = Fraction(1)
    for place, column in enumerate(pivots):
        vector[column] = -rows[place][free[0]]
    return vector
