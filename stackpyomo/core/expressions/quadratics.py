"""Quadratic expressions by their terms: products of at most two variables, and the coefficient of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pyomo.repn import generate_standard_repn

from stackpyomo.core.tolerances import TOLERANCES

Terms = dict[tuple[int, ...], float]  #: (id(Var), …) → coefficient of their product.


def terms_of(expression: Any) -> Terms | None:
    """Those of a quadratic expression, its constant under (); None of another one."""
    repn = generate_standard_repn(expression, quadratic=True)
    if repn.nonlinear_expr is not None:
        return None
    terms: Terms = {(): float(repn.constant)}
    terms.update(((id(v),), float(c)) for v, c in zip(repn.linear_vars, repn.linear_coefs, strict=True) if c)
    squares = zip(repn.quadratic_vars, repn.quadratic_coefs, strict=True)
    terms.update((tuple(sorted(map(id, pair))), float(c)) for pair, c in squares if c)
    return terms


def sum_of(one: Terms, other: Terms, share: float) -> Terms:
    """one + share · other, without what is left of a term by rounding."""
    total = {key: one.get(key, 0.0) + share * other.get(key, 0.0) for key in {**one, **other}}
    sizes = {key: abs(one.get(key, 0.0)) + abs(share * other.get(key, 0.0)) for key in total}
    return {key: c for key, c in total.items() if abs(c) > TOLERANCES.determined * sizes[key]}


def at_levels(terms: Terms, levels: Mapping[int, float]) -> Terms:
    """The terms where some of the variables are numbers, id(Var) → its level; none that is 0 then."""
    total: Terms = {}
    for product, weight in terms.items():
        rest = tuple(key for key in product if key not in levels)
        total[rest] = total.get(rest, 0.0) + weight * math.prod(levels.get(key, 1.0) for key in product)
    return {product: weight for product, weight in total.items() if weight}


def expression_of(terms: Terms, variables: Mapping[int, Any]) -> Any:
    """The expression of these terms in the Vars, id(Var) → Var."""
    return sum((c * math.prod((variables[part] for part in key), start=1.0) for key, c in terms.items()), 0.0)
