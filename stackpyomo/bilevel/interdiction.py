"""Interdiction: others who take no part in a follower's problem but to block its actions.

    a y_i + b x_i ≤ c,  y_i ≥ 0,  x_i a binary of somebody else's:   y_i ≤ l_i = (c − b)/a where x_i is 1  (b > 0)

Where others' variables stand in such rows alone, one an action, and less of y_i never hurts another row, any v that
the follower may play somewhere can be played everywhere once it gives way, v_i − max(0, v_i − l_i) x_i. Its row needs
no alternative, and no constant. Among the v that are as good where some are blocked, the row of one that is best where
nothing is blocked excludes most. Source: Fischetti, Ljubić, Monaci, Sinnl, INFORMS J. Comput. 31 (2019) 390–410.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from stackpyomo.core import TOLERANCES
from stackpyomo.core.expressions import UNDEFINED, affine_terms, substituting, variables_in
from stackpyomo.deviations import Deviation
from stackpyomo.games import Follower, GameStructure, foreign
from stackpyomo.solvers import free_row, least_point


@dataclass(frozen=True)
class Block:
    """An action that is at most ``limit`` where the binary is ``closed``."""

    action: Any
    binary: Any
    closed: int
    limit: float

    def yielding(self, level: Any) -> Any:
        """The level, less what it gives way by where the binary is as it has to be; a Var where the limit is 0."""
        lost = level if self.limit == 0.0 else max(0.0, level - self.limit)
        blocked = self.binary if self.closed else 1 - self.binary
        return level - lost * blocked


def blocks(follower: Follower) -> dict[int, Block]:
    """id(action) → how it is blocked; empty where another row holds others' variables, or less of it may hurt."""
    own = {id(v) for v in follower.variables}
    blocked: dict[int, Block] = {}
    plain: list[Any] = []
    for constraint in follower.constraints:
        block = _block(constraint, own)
        if block is None:
            plain.append(constraint)
        elif id(block.action) in blocked:
            return {}
        else:
            blocked[id(block.action)] = block
    if foreign(follower, *plain):
        return {}
    return blocked if all(takes_less(constraint, blocked) for constraint in plain) else {}


def takes_less(constraint: Any, blocked: Mapping[int, Block]) -> bool:
    """Whether a point of the row stays one where blocked actions become smaller."""
    if not any(id(v) in blocked for v in variables_in(constraint.expr)):
        return True
    known = affine_terms(constraint.body)
    if known is None:
        return False
    slopes = [slope for v, slope in known[1] if id(v) in blocked]
    rises, falls = max(slopes, default=0.0) > 0.0, min(slopes, default=0.0) < 0.0
    return not (rises and constraint.lb is not None) and not (falls and constraint.ub is not None)


def _block(constraint: Any, own: set[int]) -> Block | None:
    """How the row blocks an action; None where it does something else."""
    try:
        known = affine_terms(constraint.body)
    except UNDEFINED:
        return None
    if known is None or len(known[1]) != 2 or (constraint.lb is None) == (constraint.ub is None):
        return None
    side, level = (1.0, constraint.ub) if constraint.lb is None else (-1.0, constraint.lb)
    terms = [(v, side * c) for v, c in known[1]]
    (y, a), (x, b) = sorted(terms, key=lambda term: id(term[0]) not in own)
    binary = not x.is_continuous() and x.bounds == (0, 1)
    if id(y) not in own or id(x) in own or not binary or y.lb != 0 or a <= 0.0:
        return None
    limit = (side * (level - known[0]) - max(0.0, b)) / a
    limit = limit if y.is_continuous() else math.floor(limit + TOLERANCES.feasibility)
    return Block(y, x, int(b > 0.0), max(0.0, limit)) if limit >= -TOLERANCES.determined else None


def widened(game: GameStructure, follower: Follower, deviation: Deviation, values: Mapping[int, float]) -> Deviation:
    """The same at {id(Var): value}, and what is at its limit there as it would be best if nothing were blocked."""
    levels = {id(v): deviation.action[game.names[id(v)]] for v in follower.variables}
    ties = blocks(follower)
    away = {
        key
        for key, block in ties.items()
        if round(values[id(block.binary)]) == block.closed and levels[key] >= block.limit - TOLERANCES.feasibility
    }
    if not away:
        return deviation
    table = {**values, **levels, **{id(block.binary): float(not block.closed) for block in ties.values()}}
    walk = substituting({key: level for key, level in table.items() if key not in away})
    bodies = [(walk(c.body), c.lb, c.ub) for c in follower.constraints]
    bodies += [(v, levels[id(v)], None) for v in follower.variables if id(v) in away]
    action = {**levels, **_least(walk(follower.cost), bodies)}
    return replace(deviation, action={game.names[key]: level for key, level in action.items()})


def gives_way(follower: Follower) -> bool:
    """Whether its actions give way entirely, or others are in none of its rows: then every v can always be played."""
    ties = blocks(follower)
    alone = not foreign(follower, *follower.constraints)
    return alone or (bool(ties) and all(block.limit == 0.0 for block in ties.values()))


def answer(follower: Follower, values: Mapping[int, float]) -> dict[int, float]:
    """{id(action): level} of the v that is best once it has given way, others at {id(Var): value}, whole or not."""
    own = {id(v) for v in follower.variables}
    others = {key: level for key, level in values.items() if key not in own}
    ties = blocks(follower)
    walk = substituting({**others, **{key: block.yielding(block.action) for key, block in ties.items()}})
    cost = substituting(others)(walk(follower.cost))
    rows = [c for c in follower.constraints if not foreign(follower, c)]
    return _least(cost, [(c.body, c.lb, c.ub) for c in rows])


def _least(cost: Any, bodies: list[tuple[Any, Any, Any]]) -> dict[int, float]:
    """{id(Var): value} where the cost is least, of Vars that cost or rows (body, lower, upper) hold; else empty."""
    return least_point(cost, [free_row(*body) for body in bodies if any(not v.fixed for v in variables_in(body[0]))])
