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

from stackpyomo.core import TOLERANCES
from stackpyomo.core.expressions import number_of, substituting, variables_in
from stackpyomo.games import Follower, Game
from stackpyomo.solvers import BadRow, Program, free_row, prover, solve

__all__ = ["deepest"]

_SECONDS = 5.0  # For one of them.


def deepest(
    game: Game, values: Mapping[str, float], follower: Follower, gain: float, *, until: float
) -> dict[str, float] | None:
    """Variable name → value; None if there is none with depth above 0. gain: what it has to be worth at least."""
    holder, walk = _copies(game, values, follower)
    plan = number_of(_at(follower.cost, game, values))
    cost = walk(follower.cost)
    rows = [free_row(cost, None, plan - gain)]
    own = {id(v) for v in follower.variables}
    for constraint in follower.constraints:
        body = walk(constraint.body)
        if all(v.fixed for v in variables_in(body)):
            continue
        moved = any(id(v) not in own and not v.fixed for v in variables_in(constraint.expr))
        if not moved or constraint.equality:
            rows.append(free_row(body, constraint.lb, constraint.ub))
            continue
        for side, limit in ((1.0, constraint.ub), (-1.0, constraint.lb)):
            if limit is not None:
                rows.append(free_row(side * (body - limit) + max(1.0, abs(limit)) * holder.depth, None, 0.0))
    try:
        program = Program(-holder.depth, rows)
    except BadRow:
        return None
    solution = solve(program, prover(program), time_limit=max(0.1, min(_SECONDS, until - time.monotonic())))
    if solution.x is None:
        return None
    levels = program.levels(solution.x)
    if levels.get(id(holder.depth), 0.0) <= TOLERANCES.feasibility:
        return None
    copies = zip(follower.variables, holder.own.values(), strict=True)
    point = {game.names[id(v)]: levels.get(id(copy), values[game.names[id(v)]]) for v, copy in copies}
    return {name: float(round(x)) if _is_whole(game, name) else x for name, x in point.items()}


def _is_whole(game: Game, name: str) -> bool:
    return not game.variables_by_name[name].is_continuous()


def _copies(game: Game, values: Mapping[str, float], follower: Follower) -> tuple[Any, Any]:
    """Copies of its actions and the depth; and what puts them, and what they move, into an expression."""
    holder = pyo.ConcreteModel(name="depth")
    holder.depth = pyo.Var(bounds=(0.0, 1.0), initialize=0.0)
    holder.own = pyo.Var(range(len(follower.variables)))
    table: dict[int, Any] = {id(v): values[name] for name, v in game.variables_by_name.items() if not v.fixed}
    movers = game.movers()
    for var, copy in zip(follower.variables, holder.own.values(), strict=True):
        copy.domain = pyo.Reals if var.is_continuous() else var.domain
        copy.setlb(var.lb)
        copy.setub(var.ub)
        level = table[id(var)]
        copy.set_value(level, skip_validation=True)
        table[id(var)] = copy
        for aggregate, rate in movers.get(id(var), ()):
            table[id(aggregate)] = table[id(aggregate)] + rate * (copy - level)
    return holder, substituting(table)


def _at(expression: Any, game: Game, values: Mapping[str, float]) -> Any:
    table = {id(v): values[name] for name, v in game.variables_by_name.items() if not v.fixed}
    return substituting(table)(expression)
