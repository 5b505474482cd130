"""Indifference: what a plan leaves open, because the leader does not care, is settled as its follower would.

A variable of a follower that neither the leader's objective, nor the leader's constraints, nor another player's problem
holds is the follower's own business (the threshold and the excesses of a CVaR, say). A solve of the leader's problem
leaves it anywhere. With everything else held at the plan the follower's own objective decides on it:

    min Σ_k J_k   over these variables, subject to the rows of their followers that hold one of them,

all followers at once, for they share none of them. The leader's objective stays what it is.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import pyomo.environ as pyo

from stackpyomo.core import TOLERANCES
from stackpyomo.core.expressions import substituting, variables_in
from stackpyomo.derivatives import FollowerRows
from stackpyomo.solvers import BadRow, Program, free_row, solve

__all__ = ["settled"]


def settled(
    rows: FollowerRows, values: Mapping[str, float], leading: Container[int], responding: Container[str] = ()
) -> dict[str, float]:
    """``values`` with the own business of those who cooperate settled; as they are where there is no best answer.

    leading: ids of the Vars in the leader's objective. responding: followers who have settled theirs.
    """
    levels, names = dict(values), rows.game.names
    private = _private(rows, leading, responding)
    program = _own_problem(rows, private, values) if private else None
    if program is not None:
        solution = solve(program, start=program.vector(values, names))
        if solution.answer is not None:
            x = program.snapped(np.asarray(solution.x), solution.duals)[0]
            if program.residuals(x, None).feasibility <= TOLERANCES.feasibility:
                levels.update({names[id(v)]: float(a) for v, a in zip(program.variables, x, strict=True)})
    return levels


def _private(rows: FollowerRows, leading: Container[int], responding: Container[str]) -> set[int]:
    """The actions (ids) that only their owner's problem holds."""
    shared = {id(rows.variables[c]) for c in rows.shared}
    free = (v for f in rows.followers if f.name not in responding for v in f.variables)
    private = {id(v) for v in free if id(v) not in leading} - shared
    for constraint in rows.game.leader.constraints if private else ():
        private.difference_update(id(v) for v in variables_in(constraint.expr))
    return private


def _own_problem(rows: FollowerRows, private: set[int], values: Mapping[str, float]) -> Program | None:
    """The followers' problem over what is theirs alone, everything else at its value; None if it cannot be written."""
    levels = {id(v): values[name] for name, v in rows.game.variables_by_name.items() if id(v) not in private}
    walk = substituting(levels)
    costs: list[Any] = []
    rows_left: list[Any] = []
    try:
        for follower in rows.followers:
            if follower.objective is not None and any(id(v) in private for v in follower.variables):
                costs.append(follower.sign * walk(follower.objective.expr))
                mine = (c for c in follower.constraints if any(id(v) in private for v in variables_in(c.expr)))
                rows_left += [free_row(walk(c.body), c.lb, c.ub) for c in mine]
        return Program(pyo.quicksum(costs), rows_left)
    except (ArithmeticError, ValueError, BadRow):
        return None
