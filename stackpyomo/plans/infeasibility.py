"""Conflicts: why there is no plan, and whose constraints or variables are behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo

from stackpyomo.core import TOLERANCES, Array, sides_of
from stackpyomo.core.expressions import apart
from stackpyomo.errors import InvalidGame, NoPlan
from stackpyomo.games import Game
from stackpyomo.solvers import BadRow, Program, solve

__all__ = ["conflict", "refusal", "unbounded"]


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
