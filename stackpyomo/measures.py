"""Measures: the scale of each follower's regret, and the natural units of its actions and rows.

What is at stake for follower k in its action v_j is how much its own objective can change by it, without the slope that
the leader announces:

    S_kj = |∂J_k/∂v_j| reach_j,   at least ``TOLERANCES.flat`` of the sum over j.

Where all that cancels at the plan, because the leader's level there makes the follower indifferent, the terms that
cancel are taken, Σ_l |∂J_k/∂u0_l| |u0_l|, and where there are none, what the leader's answers can change over their
reach. A regret is small against what is at stake in the actions that the best response moves. Units and constants of
the model change nothing but the unit.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np

from .composition import Composed
from .errors import InvalidGame
from .programs import BadRow, Program, free_row
from .results import Array
from .scales import scales_of
from .tolerances import TOLERANCES

__all__ = ["measure"]

_ANYTHING = 1e30
"""The upper limit of a row that is evaluated only."""
_ROUNDING = 8.0 * sys.float_info.epsilon


def measure(problems: Sequence[Composed], tolerance: float) -> None:
    """Set stakes, reaches and row_scales of every problem; pieces of one follower share those of the first.

    tolerance: what a regret is to be relative to the stakes, which are at least so large that rounding is less.
    """
    _measure([problem for problem in problems if problem.home is None])
    for problem in problems:
        cost = problem.cost_at(problem.target)
        if math.isfinite(cost):
            problem.stakes = [max(stake, _ROUNDING * abs(cost) / tolerance) for stake in problem.stakes]
        if problem.home is not None:
            problem.stakes, problem.reaches = problem.home.stakes, problem.home.reaches
            problem.row_scales = [1.0] * len(problem.rows)


def _measure(problems: Sequence[Composed]) -> None:
    """All in one program whose rows are their costs and rows; halves where it cannot be written or evaluated."""
    if not problems:
        return
    try:
        costs = [free_row(problem.own, None, _ANYTHING) for problem in problems]
        program = Program(0.0, [*costs, *(row for problem in problems for row in problem.rows)])
        found = scales_of(program, np.array([v.value for v in program.variables], dtype=float))
    except (BadRow, InvalidGame):
        if len(problems) > 1:
            middle = len(problems) // 2
            _measure(problems[:middle])
            _measure(problems[middle:])
        else:
            problems[0].stakes = problems[0].reaches = [1.0] * len(problems[0].variables)
            problems[0].row_scales = [1.0] * len(problems[0].rows)
        return
    slopes = found.slopes[1:]
    place, where = {id(v): i for i, v in enumerate(program.variables)}, {int(n): i for i, n in enumerate(program.rows)}
    changes, after = found.of_rows()[1:], len(problems)
    for number, problem in enumerate(problems):
        columns = [place.get(id(v), -1) for v in problem.variables]
        problem.reaches = [float(found.reaches[c]) if c >= 0 else 1.0 for c in columns]
        rows = range(after, after + len(problem.rows))
        after = rows.stop
        problem.row_scales = [float(changes[where[row]]) or 1.0 if row in where else 1.0 for row in rows]
        felt = slopes[[where[number]]].toarray().ravel() if number in where else np.zeros(len(program.variables))
        answers = [(place[id(v)], abs(v.value)) for v in problem.answers if id(v) in place]
        problem.stakes = _stakes(felt * found.reaches, felt, columns, answers)


def _stakes(changes: Array, slopes: Array, columns: list[int], answers: list[tuple[int, float]]) -> list[float]:
    own = np.array([changes[c] if c >= 0 else 0.0 for c in columns])
    levels = math.fsum(slopes[c] * level for c, level in answers)
    if own.sum() <= TOLERANCES.stationarity * levels:
        own = np.maximum(own, levels)
    if not own.any():
        own += max((changes[c] for c, _ in answers), default=0.0)
    own = np.maximum(own, TOLERANCES.flat * own.sum())
    return list(np.where(own > 0.0, own, 1.0).tolist())
