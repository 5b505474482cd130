"""Kinks: what a rule that stops at the leader's bounds may reach where it bends.

A plan with a leader variable on a bound is held by a projection where each follower loses on either side of it: slopes
of two signs, where the conditions of rounds ask for one that is 0, so that one gain may hold followers who are unlike.
No such plan costs less than the best for the leader with that variable on that bound.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from pyomo.core.base.var import VarData

from stackpyomo.core import bounds_of
from stackpyomo.games import Game
from stackpyomo.plans import leading_problem
from stackpyomo.solvers import BadRow, Program, Termination, free_row, prover, solve


def least_at_bounds(game: Game, variables: Iterable[VarData], time_limit: float) -> float:
    """No plan with one of these on a bound costs less; ∞ where there is no such plan, −∞ where nothing is proved.

    time_limit: seconds for all of them.
    """
    problem, until = leading_problem(game, ()), time.monotonic() + time_limit
    rows = [row for _, row in problem.constraints]
    least = math.inf
    for var in variables:
        for limit in filter(math.isfinite, bounds_of(var)):
            if time.monotonic() >= until:
                return -math.inf
            try:
                program = Program(problem.cost, [*rows, free_row(var, limit, limit)])
            except BadRow:
                return -math.inf
            solution = solve(program, prover(program), time_limit=until - time.monotonic())
            if solution.termination is not Termination.INFEASIBLE:
                least = min(least, -math.inf if math.isnan(solution.bound) else solution.bound)
    return least
