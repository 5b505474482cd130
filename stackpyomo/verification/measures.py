"""Measures: the scale of each follower's regret, and the natural units of its actions and rows.

What is at stake for follower k in its action v_j is how much its own objective can change by it, without the slope that
the leader announces:

    S_kj = |∂J_k/∂v_j| reach_j,   at least ``TOLERANCES.flat`` of the sum over j.

Where all that cancels at the plan, because the leader's level there makes the follower indifferent, the terms that
cancel are taken, Σ_l |∂J_k/∂u0_l| |u0_l|; where its cost is linear in its actions, as that of a market's operator who
sets a price, those of ∂J_k/∂v_j itself, each by absolute value; and where there are none, what the leader's answers can
change over their reach. A regret is small against what is at stake in the actions that the best response moves. Units
and constants of the model change nothing but the unit.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from pyomo.core.expr.calculus.derivatives import Modes, differentiate
from pyomo.core.expr.calculus.diff_with_pyomo import DifferentiationException
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array, beside, limited_reaches
from stackpyomo.core.expressions import UNDEFINED, size_of, variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.solvers import BadRow, Program, free_row, scales_of

from .best_response import Composed

__all__ = ["measure", "probes", "reconsider"]

_ANYTHING = 1e30  # The upper limit of a row that is evaluated only.
_FARTHEST = 1e3  # The largest reach of a variable whose size and bounds tell none.

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
        moving = [number for number, problem in enumerate(problems) if any(True for _ in variables_in(problem.own))]
        costs = [free_row(problems[number].own, None, _ANYTHING) for number in moving]
        program = Program(0.0, [*costs, *(row for problem in problems for row in problem.rows)])
        reaches, slopes = _units(program, np.asarray(program.rows) < len(costs))
    except (BadRow, InvalidGame):
        if len(problems) > 1:
            middle = len(problems) // 2
            _measure(problems[:middle])
            _measure(problems[middle:])
        else:
            problems[0].stakes = problems[0].reaches = [1.0] * len(problems[0].variables)
            problems[0].row_scales = [1.0] * len(problems[0].rows)
        return
    place, where = {id(v): i for i, v in enumerate(program.variables)}, {int(n): i for i, n in enumerate(program.rows)}
    after, rank = len(costs), {number: row for row, number in enumerate(moving)}
    for number, problem in enumerate(problems):
        columns = [place.get(id(v), -1) for v in problem.variables]
        problem.reaches = [
            float(reaches[c]) if c >= 0 else _alone(v) for c, v in zip(columns, problem.variables, strict=True)
        ]
        felt = [_entries(slopes, where.get(after + row)) for row in range(len(problem.rows))]
        problem.row_scales = [max((a * reaches[c] for c, a in row.items()), default=0.0) or 1.0 for row in felt]
        after += len(problem.rows)
        cost = _entries(slopes, where.get(rank.get(number, -1)))
        own = np.array([cost.get(c, 0.0) * reaches[c] if c >= 0 else 0.0 for c in columns])
        known = [(place[id(v)], abs(v.value)) for v in problem.answers if id(v) in place]
        answers = [(cost.get(column, 0.0), level, reaches[column]) for column, level in known]
        problem.stakes = _stakes(own, answers, _cancelling(problem))


def _units(program: Program, costs: Array) -> tuple[Array, sparse.csr_array]:
    """Reaches of the program's variables, and (rows × variables) the larger of the slopes at the plan and near it.

    A variable's own box or size is its reach, however little it moves the cost: what is improbable has no other unit.
    Where it has neither, or a size that is nothing beside it, its reach is the step of Newton's method, slope over
    curvature of the one cost that holds it, if there is one. ``costs``: (rows) which of them are costs.
    """
    plan, (lower, upper) = np.array([v.value for v in program.variables], dtype=float), program.bounds
    limited, boxed = limited_reaches(plan, lower, upper), np.isfinite(upper - lower)
    reaches = limited if boxed.all() and limited.all() else _completed(program, plan, limited, boxed, costs)
    return reaches, _slopes(program, plan, reaches)


def _slopes(program: Program, plan: Array, reaches: Array) -> sparse.csr_array:
    """The larger of the slopes at the plan and a tenth of a reach away.

    Where a cost runs away, as exp(1000 v) does, that says nothing of what is at stake at the plan: it counts up to
    ``TOLERANCES.steeper`` times what the plan has, and what a parabola would have by the slope a hundredth of a reach
    away, on the other side where there is room for one.
    """
    at, near, calm = (_finite(program.jacobian(x)) for x in (plan, *probes(plan, reaches, *program.bounds)))
    limits = at.maximum(calm / TOLERANCES.nearby) * TOLERANCES.steeper
    unlimited = near - near.multiply(limits > 0.0)  # there is nothing to compare with
    return sparse.csr_array(at.maximum(near.minimum(limits)).maximum(unlimited))


def probes(plan: Array, reaches: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """(a tenth of every reach away; a hundredth, on the other side where there is room for a tenth)."""
    away = beside(plan, reaches, lower, upper)
    back = 2.0 * plan - away
    return away, plan + TOLERANCES.nearby * (np.where((back >= lower) & (back <= upper), back, away) - plan)


def _finite(slopes: sparse.csr_array) -> sparse.csr_array:
    """Absolute values, 0 where undefined."""
    sizes = sparse.csr_array(abs(slopes))
    sizes.data = np.where(np.isfinite(sizes.data), sizes.data, 0.0)
    return sizes


def _alone(variable: Any) -> float:
    """The reach of a variable that neither cost nor rows hold."""
    lower, upper = (
        none if bound is None else bound for bound, none in zip(variable.bounds, (-math.inf, math.inf), strict=True)
    )
    (reach,) = limited_reaches(*(np.array([float(t)]) for t in (variable.value, lower, upper)))
    return float(reach) or 1.0


def _completed(program: Program, plan: Array, limited: Array, boxed: Array, costs: Array) -> Array:
    """The reaches, where bounds and sizes do not tell, or tell nothing, by what the costs and rows say."""
    rows, columns = (np.asarray(part) for part in program.problem.hessian_structure())
    triangle = np.abs(np.asarray(program.problem.hessian(plan, costs.astype(float), 0.0)))
    slopes = sparse.csc_array(abs(program.jacobian(plan))[costs])
    alone = np.diff(slopes.indptr) == 1  # slopes and curvatures of several costs, or of rows, have no common unit
    bend, slope = np.zeros(len(plan)), np.where(alone, np.asarray(slopes.sum(axis=0)).ravel(), 0.0)
    np.maximum.at(bend, columns[rows == columns], triangle[rows == columns])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        step = slope / bend
    known = np.isfinite(step) & (step > 0.0)
    reaches = np.where(known & ~boxed & (limited <= TOLERANCES.margin * step), step, limited)
    if reaches.all():
        return reaches
    return np.where(reaches > 0.0, reaches, np.minimum(scales_of(program, plan).reaches, _FARTHEST))


def _entries(rows: sparse.csr_array, number: int | None) -> dict[int, float]:
    """column → value of one row; of none nothing."""
    if number is None:
        return {}
    entries = slice(rows.indptr[number], rows.indptr[number + 1])
    return dict(zip(rows.indices[entries].tolist(), rows.data[entries].tolist(), strict=True))


def _cancelling(problem: Composed) -> Array:
    """Σ |terms of ∂J_k/∂v_j| reach_j of a cost that is linear in its actions; 0 where they are not known, or it bends.

    Only where nothing bends may the slope cancel at the plan and near it.
    """
    if getattr(problem.own, "polynomial_degree", int)() not in (0, 1):
        return np.zeros(len(problem.variables))
    return np.asarray(_terms(problem) * np.array(problem.reaches))


def _terms(problem: Composed) -> Array:
    """Σ |terms of ∂J_k/∂v_j| at the plan; 0 where they are not known."""
    own = list(problem.follower.variables)
    if problem.follower.objective is None or len(own) != len(problem.variables):  # a part of it, given an observation
        return np.zeros(len(problem.variables))
    try:
        slopes = differentiate(problem.follower.objective.expr, wrt_list=own, mode=Modes.reverse_symbolic)
    except (*UNDEFINED, DifferentiationException):
        return np.zeros(len(problem.variables))
    sizes = np.array([size_of(slope, problem.planned) for slope in slopes])
    return np.where(np.isfinite(sizes), sizes, 0.0)


def reconsider(problem: Composed) -> None:
    """Set stakes and reaches anew where a slope at the plan is but what its terms leave when they cancel.

    A plan is known to some accuracy alone, and a Newton step made of such a slope is no reach: with its terms in the
    place of the slope it is one, and the terms times that are at stake.
    """
    stakes, reaches, sizes = np.array(problem.stakes), np.array(problem.reaches), _terms(problem)
    slopes = stakes / reaches
    left = (slopes > 0.0) & (slopes <= TOLERANCES.noise * sizes)
    wide = np.where(left, reaches * sizes / np.where(left, slopes, 1.0), reaches)
    problem.reaches, problem.stakes = wide.tolist(), np.where(left, sizes * wide, stakes).tolist()


def _stakes(own: Array, answers: Sequence[tuple[float, float, float]], cancelling: Array) -> list[float]:
    """What is at stake in each action, from ``own`` changes and the (slope, level, reach) of leader variables."""
    levels = np.maximum(cancelling, math.fsum(slope * level for slope, level, _ in answers))
    if own.sum() <= TOLERANCES.stationarity * levels.max(initial=0.0):
        own = np.maximum(own, levels)
    if not own.any():
        own = own + max((slope * reach for slope, _, reach in answers), default=0.0)
    own = np.maximum(own, TOLERANCES.flat * own.sum())
    return list(np.where(own > 0.0, own, 1.0).tolist())
