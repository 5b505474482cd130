"""Feasibility: values of a game's variables by name, put on the bounds they are meant for, measured against all rows.

A value is known only to its accuracy: one that is within ``TOLERANCES.active`` of its reach from a bound stands on it.

Conflicts: why there is no plan, and whose constraints or variables are behind it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo

from stackpyomo.core import TOLERANCES, Array, box_of, limited_reaches, sides_of
from stackpyomo.core.expressions import apart
from stackpyomo.errors import InvalidGame, NoPlan
from stackpyomo.games import Game, GameStructure
from stackpyomo.solvers import BadRow, Program, solve
from stackpyomo.verification import reaches_wanted


def violation(game: GameStructure, values: Mapping[str, float]) -> float:
    """The largest violation of a bound or an active row there in natural units; infinite where a row has no value."""
    return _violation(game, _rows(game), values)


def _rows(game: GameStructure) -> Program | None:
    """Everybody's rows, written once for all points; None where one of them has no value."""
    try:
        return Program(0.0, [c for player in (game.leader, *game.followers.values()) for c in player.constraints])
    except BadRow:
        return None


def _violation(game: GameStructure, rows: Program | None, values: Mapping[str, float]) -> float:
    if rows is None:
        return np.inf
    levels, lower, upper = _levels(game, values)
    beyond = float((np.maximum(lower - levels, levels - upper) / _reaches(levels, lower, upper)).max(initial=0.0))
    whole = [not v.is_continuous() for v in game.variables_by_name.values() if not v.fixed]
    beyond = max(beyond, float(np.abs(levels - np.round(levels))[whole].max(initial=0.0)))
    outside = rows.residuals(rows.vector(values, game.names), None).feasibility
    return max(0.0, beyond, outside if np.isfinite(outside) else np.inf)


def rested(game: GameStructure, values: Mapping[str, float]) -> dict[str, float]:
    """The values with those next to a bound on it, unless a row is violated by that."""
    levels, lower, upper = _levels(game, values)
    names = [name for name, v in game.variables_by_name.items() if not v.fixed]
    reaches = _reaches(levels, lower, upper)
    for _ in range(2):  # a box may be far wider than what its owner wants
        room = TOLERANCES.active * reaches
        moved = np.where(np.abs(levels - lower) <= room, lower, np.where(np.abs(upper - levels) <= room, upper, levels))
        beside = {name for name, is_moved in zip(names, moved != levels, strict=True) if is_moved}
        if not beside:
            return dict(values)
        reaches = np.minimum(reaches, _wanted(game, values, names, beside))
    moved_values = {**values, **dict(zip(names, moved.tolist(), strict=True))}
    rows = _rows(game)
    worse = _violation(game, rows, moved_values) > max(TOLERANCES.feasibility, _violation(game, rows, values))
    return dict(values) if worse else moved_values


def _wanted(game: GameStructure, values: Mapping[str, float], names: Sequence[str], beside: Container[str]) -> Array:
    """(names) the reach that its owner's cost, or the leader's, tells of each of those ``beside`` a bound; else ∞."""
    owners = [p for p in game.followers.values() if any(game.names[id(v)] in beside for v in p.variables)]
    levels = {id(v): values[name] for name, v in game.variables_by_name.items()}
    moved = [game.variables_by_name[name] for name in names if name in beside]
    reaches = np.full(len(names), np.inf)
    for players in ([game.leader], owners):  # who have no common unit
        sizes = {game.names[key]: reach for key, reach in reaches_wanted(game, players, moved, levels).items()}
        reaches = np.minimum(reaches, [sizes.get(name, np.inf) for name in names])
    return reaches


def _levels(game: GameStructure, values: Mapping[str, float]) -> tuple[Array, Array, Array]:
    """(values, lower bounds, upper bounds) of all variables that are not fixed, ±inf where there is none."""
    free = {name: v for name, v in game.variables_by_name.items() if not v.fixed}
    return np.array([values[name] for name in free], dtype=float), *box_of(free.values())


def _reaches(levels: Array, lower: Array, upper: Array) -> Array:
    reaches = limited_reaches(levels, lower, upper)
    return np.where(reaches > 0.0, reaches, 1.0)


def unbounded(game: Game, program: Program, x: Array | None) -> str:
    """Name the unbounded variables that ran furthest away."""
    lower, upper = program.bounds
    free = np.flatnonzero(~(np.isfinite(lower) & np.isfinite(upper)))
    if x is not None and len(free):
        free = free[np.argsort(-np.abs(x[free]), kind="stable")]
    priced = {id(price.var): f"multiplier of {price.row.name}" for price in game.prices}
    whose = {**priced, **game.owners}
    shown = [f"{game.names[id(v)]} ({whose.get(id(v), 'leader')})" for v in (program.variables[i] for i in free[:4])]
    return (
        "The leader's objective improves without limit. Variables without a bound: "
        f"{', '.join(shown) or 'none'}. Bound them or add the missing cost."
    )


def refusal(bad: BadRow, component: str) -> InvalidGame | NoPlan:
    """The error of a row that cannot be written: no plan meets it, or its data are bad."""
    message = f"{component}: {bad.reason}"
    return NoPlan(message, termination="infeasible") if bad.contradiction else InvalidGame(message)


def conflict(constraints: Sequence[tuple[str, Any]], solver: str) -> str:
    """Least total violation of the rows, bounds kept: rows with a multiplier there are the ones that contradict.

    Where the solver gives no multipliers, the rows that stay violated are named. Empty if all rows can be met.
    """
    elastic = pyo.ConcreteModel()
    sides = [(number, *side) for number, (_, c) in enumerate(constraints) for side in sides_of(c)]
    elastic.slack = slack = pyo.Var(range(len(sides)), bounds=(0, None), initialize=0)
    bodies = [sign * (apart(constraints[number][1].body) - limit) for number, sign, limit in sides]
    relaxed = Program(pyo.quicksum(slack.values()), [body <= slack[index] for index, body in enumerate(bodies)])
    solution = solve(relaxed, solver)
    if solution.answer is None:
        return ""
    blamed = _violated(constraints, relaxed.levels(solution.answer))
    if not blamed:
        return ""
    if solution.duals is not None:
        pairs = zip(relaxed.rows, solution.duals, strict=True)
        blamed = [sides[int(row)][0] for row, dual in pairs if abs(dual) > TOLERANCES.blame] or blamed
    players = [constraints[i] for i in blamed]
    named = list(dict.fromkeys(f"{c.name} ({owner})" for owner, c in players))
    more = f" and {len(named) - 6} more" if len(named) > 6 else ""
    return f"In conflict, together with the bounds of their variables: {', '.join(named[:6])}{more}. Relax one of them."


def _violated(constraints: Sequence[tuple[str, Any]], values: Mapping[int, float]) -> list[int]:
    """Numbers of the rows that {id(Var): value} violates in natural units."""
    try:
        program = Program(0.0, [c for _, c in constraints])
    except BadRow as bad:
        return [] if bad.row is None else [bad.row]
    outside = program.residuals(np.array([values.get(id(v), 0.0) for v in program.variables]), None).outside_rows
    return [int(row) for row in program.rows[outside > TOLERANCES.feasibility]]
