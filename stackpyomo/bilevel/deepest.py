"""Deepest deviations: actions that a follower likes as well, farthest inside the rows that others can move.

    max t   s.t.   J_k(v) ≤ J_k(plan) − gain,   g_j(v) + t · size_j ≤ 0 for the rows that hold others' variables,
                   its other rows and bounds,   everybody else at the candidate

A row made of such a v still cuts when the others move a little; one made of a v on the edge of feasibility does not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pyomo.environ as pyo

from stackpyomo.core import TOLERANCES, sides_of
from stackpyomo.core.expressions import substituting, variables_in
from stackpyomo.games import Follower, Game, evaluator, foreign
from stackpyomo.solvers import free_row, least_point

from .copies import copied

_SECONDS = 5.0  # For one of them.


def deepest(
    game: Game, values: Mapping[str, float], follower: Follower, gain: float, *, until: float
) -> dict[str, float] | None:
    """Variable name → value; None if there is none with depth above 0. gain: what it has to be worth at least."""
    holder = pyo.ConcreteModel(name="depth")
    holder.depth = pyo.Var(bounds=(0.0, 1.0), initialize=0.0)
    own = copied(holder, follower.variables)
    table: dict[int, Any] = {id(v): values[name] for name, v in game.variables_by_name.items() if not v.fixed}
    for key, copy in own.items():
        for aggregate, rate in game.movers().get(key, ()):
            table[id(aggregate)] += rate * (copy - table[key])
    walk = substituting({**table, **own})
    rows = [free_row(walk(follower.cost), None, evaluator(game, values)(follower.cost) - gain)]
    for constraint in follower.constraints:
        body = walk(constraint.body)
        if all(v.fixed for v in variables_in(body)):
            continue
        if constraint.equality or not foreign(follower, constraint):
            rows.append(free_row(body, constraint.lb, constraint.ub))
            continue
        for side, limit in sides_of(constraint):
            rows.append(free_row(side * (body - limit) + max(1.0, abs(limit)) * holder.depth, None, 0.0))
    levels = least_point(-holder.depth, rows, time_limit=max(0.1, min(_SECONDS, until - time.monotonic())))
    if levels.get(id(holder.depth), 0.0) <= TOLERANCES.feasibility:
        return None
    point = {game.names[id(v)]: levels.get(id(own[id(v)]), values[game.names[id(v)]]) for v in follower.variables}
    whole = {game.names[id(v)] for v in follower.integers}
    return {name: float(round(x)) if name in whole else x for name, x in point.items()}
