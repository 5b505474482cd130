"""Free ways: what followers can do that no endless price touches, and what that leaves of the leader's cost.

A toll without an end earns no more than what the way round costs: where v is in follower k's own set, whatever others
decide, and its cost J_k(x, v) holds no leader's variable without an end,

    J_k(x, y) ≤ J_k(x, v)            a deviation is a row,
    J_0(x, y) = a(x, y) − Σ s_k J_k(x, y) ≥ min a − Σ s_k max J_k(x, v),         s_k > 0,

if a, what is left once the prices cancel, ends within everybody's bounds and rows. With these rows a global solver's
bound is believed; of a cost without an end it may drop what its relaxation leaves open. Source: M. Labbé, P. Marcotte,
G. Savard, Management Science 44 (1998) 1608–1622 (revenue is bounded where a path is free of tolls).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from stackpyomo.core import TOLERANCES, clipped, is_within
from stackpyomo.core.expressions import (
    Terms,
    at_levels,
    expression_of,
    interval,
    is_affine,
    sum_of,
    terms_of,
    variables_in,
)
from stackpyomo.games import Follower, Game
from stackpyomo.solvers import free_row, least_point

from .deviation_rows import value_at


class Floor(NamedTuple):
    """What a cost cannot be below, and the rows that say so."""

    least: float = -math.inf
    rows: tuple[Any, ...] = ()


def floor_of(game: Game, followers: Sequence[Follower], cost: Any, least: Callable[[Any], float]) -> Floor:
    """The floor of a quadratic cost under endless prices; none (−∞) where this does not tell one.

    least: expression → a lower bound of it within everybody's bounds and rows.
    """
    endless = {id(v) for v in game.leader.variables if not v.fixed and not all(map(math.isfinite, interval(v)))}
    rest = terms_of(cost) if endless and not game.aggregates else None
    if rest is None:
        return Floor()
    floor, rows = 0.0, []
    for follower in followers:
        theirs = terms_of(follower.cost) or {}
        priced = next((key for key in theirs if len(key) == 2 and endless.intersection(key) and key in rest), None)
        share = 0.0 if priced is None else -rest[priced] / theirs[priced]
        free, most = _free_cost(follower, theirs, endless) if share > 0.0 else (0.0, math.inf)
        if math.isinf(most):
            continue
        room = TOLERANCES.margin * most  # for what a solver's tolerance leaves v beyond its rows
        rest = sum_of(rest, theirs, share)
        floor -= share * (most + room)
        rows.append(free_row(follower.cost - free, None, room))
    known = {id(v): v for expression in (cost, *(f.cost for f in followers)) for v in variables_in(expression)}
    floor += least(expression_of(rest, known)) if rows else -math.inf
    return Floor(floor, tuple(rows)) if math.isfinite(floor) else Floor()


def _free_cost(follower: Follower, terms: Terms, endless: set[int]) -> tuple[Any, float]:
    """(J_k(x, v), the most that its terms come to), v of least own cost with 0 of every action with an endless price.

    The most is ∞ where there is no such v. Terms may cancel each other: by them it is known how far rounding goes. Any
    v in the set will do: where cost or rows are curved a proof that it costs least may take for ever.
    """
    own, known = {id(v): v for v in follower.variables}, {id(v): v for v in variables_in(follower.cost)}
    if any(id(v) not in own for row in follower.constraints for v in variables_in(row.expr)):
        return 0.0, math.inf
    priced = {part for key in terms if endless.intersection(key) for part in key if part in own}
    alone = expression_of({key: weight for key, weight in terms.items() if own.keys() >= set(key)}, own)
    exact = is_affine(alone, *(row.body for row in follower.constraints))
    rows = [*follower.constraints, *(own[key] == 0.0 for key in priced)]
    point = least_point(alone, rows, None if exact else "auto")
    levels = {key: 0.0 if key in priced else clipped(point.get(key, 0.0), var) for key, var in own.items()}
    within = all(is_within(value_at(row.body, levels), row.lb, row.ub) for row in follower.constraints)
    if not (point and within):
        return 0.0, math.inf
    sizes = at_levels({key: abs(weight) for key, weight in terms.items()}, {key: abs(at) for key, at in levels.items()})
    largest = {key: max(map(abs, interval(var))) for key, var in known.items()}
    most = math.fsum(weight * math.prod(largest[part] for part in key) for key, weight in sizes.items())
    return expression_of(at_levels(terms, levels), known), most
