"""Parts of programs: free-standing rows, copies of Vars, and the bounds that rows of one variable alone are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.var import VarData
from pyomo.core.expr.numeric_expr import SumExpression

from stackpyomo.core import Array, limits_of
from stackpyomo.core.expressions import substituting


def free_row(body: Any, lower: float | None, upper: float | None) -> Any:
    """A free-standing constraint lower ≤ body ≤ upper."""
    body = body if hasattr(body, "is_expression_type") else SumExpression([body])  # a number that makes no relation
    holder = pyo.Constraint(expr=body == upper if lower is not None and lower == upper else (lower, body, upper))
    holder.construct()
    return holder


def rows_at(constraints: Iterable[Any], table: Mapping[int, Any]) -> list[Any]:
    """The constraints, free-standing, with ``table[id(Var)]`` in the place of their Vars."""
    walk = substituting(table)
    return [free_row(walk(c.body), c.lb, c.ub) for c in constraints]


def copies_between(
    model: Any, variables: Sequence[VarData], lower: Iterable[float], upper: Iterable[float]
) -> list[VarData]:
    """Vars ``x`` of the model, each of the kind of one of these and between other bounds."""
    model.x = pyo.Var(range(len(variables)))
    copies = list(model.x.values())
    for own, var, low, high in zip(copies, variables, lower, upper, strict=True):
        own.domain = pyo.Reals if var.is_continuous() else var.domain
        own.bounds = limits_of(low, high)
    return copies


def with_loosest(bounds: tuple[Array, Array], columns: Array, ends: Array) -> tuple[Array, Array]:
    """The bounds, and where there is none, the loosest that rows give; unless that would leave nothing between them.

    columns: (rows) the variable of each. ends: (2 × rows) the least and the most that each leaves to it, ±inf: no end.
    """
    loosest = np.full(len(bounds[0]), np.inf), np.full(len(bounds[0]), -np.inf)
    for side, end, at in zip(loosest, ends, (np.minimum.at, np.maximum.at), strict=True):
        known = np.isfinite(end)
        at(side, columns[known], end[known])
    lower, upper = (
        np.where(np.isfinite(own) | np.isinf(side), own, side) for own, side in zip(bounds, loosest, strict=True)
    )
    fine = lower < upper
    return np.where(fine, lower, bounds[0]), np.where(fine, upper, bounds[1])
