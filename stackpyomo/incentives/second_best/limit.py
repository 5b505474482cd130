"""Limits: what the leader's objective tends to where no gain attains the best value.

With K = K̂/σ, ‖K̂‖ = 1, the conditions σ a_k + M_kᵀK̂ᵀ b_k = 0 stay bounded as the gain grows, and σ = 0 leaves

    min J0(u0, u)   s.t.  M_kᵀ K̂ᵀ b_k = 0 for all k,  ‖K̂‖ = 1,  everybody's rows

whose value is a limit of rules where its equations are independent. It is called one here only where rules of ten times
the gain, verified, have come that near to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyomo.environ as pyo

from stackpyomo.bilevel import Problem, derivatives
from stackpyomo.core import TOLERANCES, Array
from stackpyomo.games import Follower, Game
from stackpyomo.solvers import BadRow, Program, solve

from .unknown_gain import UnknownGain

__all__ = ["limit_value"]


def limit_value(game: Game, gain: UnknownGain, problem: Problem, units: Array, values: Mapping[int, float]) -> float:
    """The leader's cost at σ = 0, from the direction of the gain at ``values`` ({id(Var): value}); NaN: none found.

    units: one of each entry of the gain. Bounds of the entries are changed.
    """
    gain.bound(-units, units)
    variables = list(gain.holder.gain.values())
    sizes = {number: unit for (_, _, number), unit in zip(gain.entries, units.tolist(), strict=True)}
    scaled = np.array([values.get(id(v), 0.0) / sizes[n] for n, v in enumerate(variables)])
    norm = float(np.linalg.norm(scaled))
    if norm == 0.0:
        return math.nan
    start = {**values, **{id(v): x * sizes[n] / norm for n, (v, x) in enumerate(zip(variables, scaled, strict=True))}}
    rows = [constraint for _, constraint in problem.constraints]
    rows += [constraint for follower in game.followers.values() for constraint in follower.constraints]
    rows += [row for follower in game.followers.values() for row in _grips(game, gain, follower)]
    rows.append(pyo.quicksum((v / sizes[n]) ** 2 for n, v in enumerate(variables)) == 1.0)
    try:
        program = Program(problem.cost, rows)
    except BadRow:
        return math.nan
    first = np.array([start.get(id(v), v.value or 0.0) for v in program.variables], dtype=float)
    solution = solve(program, "auto", start=np.clip(first, *program.bounds))
    if solution.x is None or not solution.termination.solved:
        return math.nan
    if program.residuals(solution.x, None).feasibility > TOLERANCES.feasibility:
        return math.nan
    return float(program.problem.objective(solution.x))


def _grips(game: Game, gain: UnknownGain, follower: Follower) -> list[Any]:
    """M_kᵀ K̂ᵀ b_k = 0, and a_k = 0 for actions that the rule does not answer."""
    assert follower.objective is not None
    cost, movers = follower.sign * follower.objective.expr, game.movers()
    gradient = derivatives(cost, follower.objective.name, follower.name)
    rows = []
    for var in follower.variables:
        answered = gain.answers.get(id(var))
        slope: Any = 0 if answered else gradient.get(id(var), 0)
        for moved, rate in answered or movers.get(id(var), ()):
            slope = slope + rate * gradient.get(id(moved), 0)
        if hasattr(slope, "is_expression_type"):
            rows.append(slope == 0)
    return rows
