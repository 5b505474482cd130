"""The witness: followers drawn at random are composed by substitution, too, and both must agree.

What is settled by arrays stands on one reader, one sweep and one composition by the chain rule, the formula that
incentives are made from. Here Pyomo's own substitution, evaluation and differentiation are asked about the same: costs
and gradients at random points of the box, piece by piece, and differences of gradients, which must lie within the
ranges of second derivatives that convexity was proved with. A difference is an error, never a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pyomo.core.expr.calculus.derivatives import Modes, differentiate
from pyomo.core.expr.calculus.diff_with_pyomo import DifferentiationException

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.core.expressions import UNDEFINED, elementary, number_of, size_of
from stackpyomo.errors import StackpyomoError
from stackpyomo.games import Game
from stackpyomo.games.information import Announcement

from .arrays import Pieces
from .best_response import Composed, composed

# Followers that are composed by substitution as well, points at which they are compared, and gradients of these.
_DRAWN, _POINTS, _SLOPES = 100, 3, 2

# Fewer followers where shared rows or answers are long, so that these hold no more terms in all; but so many.
_FEWEST, _TERMS = 10, 5_000


def witnessed(game: Game, announced: Announcement, pieces: Pieces, numbers: Array, reaches: Array) -> None:
    """Raise :class:`StackpyomoError` where arrays and substitution differ.

    numbers: in the group, of those who are settled. reaches: (followers of the group × actions).
    """
    if not len(numbers):
        return
    random = np.random.default_rng(len(numbers))
    limit = max(_FEWEST, min(_DRAWN, _TERMS // max(1, pieces.layout.longest)))
    drawn = np.sort(random.choice(numbers, min(limit, len(numbers)), replace=False))
    place = {pieces.followers[k].name: int(k) for k in drawn}
    by_follower: dict[int, list[Composed]] = {k: [] for k in place.values()}
    for problem in composed(game, announced, place, measured=False):
        by_follower[place[problem.follower.name]].append(problem)
    chosen = np.flatnonzero(np.isin(pieces.owner, drawn))
    arrays = pieces.only(chosen)
    other = [problem for k in drawn.tolist() for problem in by_follower[k]]
    if len(other) != len(chosen):
        raise _difference(pieces.followers[int(drawn[0])].name, f"{len(chosen)} pieces", f"{len(other)}")
    low, high = _room(arrays, reaches[arrays.owner])
    points = low + (high - low) * random.random((_POINTS, *low.shape))
    with np.errstate(all="ignore"):
        answers = [arrays.at(point, 1) for point in points]
        least, most, _ = arrays.bends_over(low, high)
    for number, problem in enumerate(other):
        target = np.array(problem.target)
        slopes, cost = [], elementary(problem.cost)
        for turn, (point, (values, steep, _)) in enumerate(zip(points, answers, strict=True)):
            x, slope = (target + point[number]).tolist(), steep[number, 0] if turn < _SLOPES else None
            slopes.append(_compared(problem, cost, x, float(values[number, 0]), slope))
            _compare_rows(problem, values[number, 1:])
        _compare_bends(problem, points[:, number], slopes, (least[number], most[number]))


def _room(arrays: Pieces, reach: Array) -> tuple[Array, Array]:
    """The box, or a reach around the plan where it has no end."""
    low, high = arrays.box
    return np.where(np.isfinite(low), low, -reach), np.where(np.isfinite(high), high, reach)


def _compared(problem: Composed, cost: Any, x: Sequence[float], value: float, slope: Array | None) -> Array | None:
    """The gradient by Pyomo, None where it has none; raises where value or gradient is another.

    cost: that of the problem in elementary functions. slope: None: the value alone is compared.
    """
    level = problem.cost_at(x)
    name = problem.follower.name
    if not math.isfinite(level) or not math.isfinite(value):
        if math.isfinite(level) != math.isfinite(value):
            raise _difference(name, value, level)
        return None
    if _differ(problem, problem.cost, level, value):
        raise _difference(name, value, level)
    if slope is None:
        return None
    try:
        gradient = differentiate(cost, wrt_list=problem.variables, mode=Modes.reverse_numeric)
    except (*UNDEFINED, DifferentiationException):
        return None
    slopes = np.array([float(g) for g in gradient])
    if _is_off(problem, np.abs(slopes - slope), np.maximum(np.abs(slopes), np.abs(slope))):
        raise _difference(name, slope.tolist(), slopes.tolist())
    return slopes


def _compare_rows(problem: Composed, values: Array) -> None:
    """Its own constraints at the current values, in the order they are written; the piece's own stand before them."""
    if problem.constants:  # which of them they are is not told
        return
    own = problem.rows[len(problem.rows) - len(problem.follower.constraints) :]
    for row, value in zip(own, values.tolist(), strict=False):
        level = number_of(row.body)
        if _differ(problem, row.body, level, value):
            raise _difference(problem.follower.name, value, level)


def _differ(problem: Composed, expression: Any, level: float, value: float) -> bool:
    """True if two values of an expression are not the same one, the largest of its parts the measure of rounding."""
    near = max(abs(level), abs(value))
    if abs(level - value) <= TOLERANCES.noise * near:
        return False
    return abs(level - value) > TOLERANCES.noise * max(_size(problem, expression), near)


def _is_off(problem: Composed, apart: Array, slopes: Array) -> bool:
    """True if gradients lie further apart than their accuracy allows, or the rounding of terms that cancel in them."""
    if apart.max(initial=0.0) <= TOLERANCES.accuracy * slopes.max(initial=0.0):
        return False
    try:
        parts = differentiate(elementary(problem.cost), wrt_list=problem.variables, mode=Modes.reverse_symbolic)
    except (*UNDEFINED, DifferentiationException):
        return True
    return bool((apart > TOLERANCES.noise * np.array([_size(problem, part) for part in parts])).any())


def _size(problem: Composed, expression: Any) -> float:
    """The largest part of an expression at the current values, 0 where that is not finite."""
    size = size_of(expression, {id(v): float(v.value) for v in problem.variables})
    return size if math.isfinite(size) else 0.0


def _compare_bends(
    problem: Composed, points: Array, slopes: Sequence[Array | None], bends: tuple[Array, Array]
) -> None:
    """∇f(x) − ∇f(y) = H (x − y) for some H within the ranges."""
    for x, y, g, h in zip(points[:-1], points[1:], slopes[:-1], slopes[1:], strict=True):
        if g is None or h is None:
            continue
        step = x - y
        ends = [bends[side] * step for side in (0, 1)]
        low, high = np.minimum(*ends).sum(axis=1), np.maximum(*ends).sum(axis=1)
        apart = np.maximum(np.maximum(low - (g - h), (g - h) - high), 0.0)
        if _is_off(problem, apart, np.maximum(np.abs(g), np.abs(h))):
            raise _difference(problem.follower.name, [low.tolist(), high.tolist()], (g - h).tolist())


def _difference(name: str, arrays: Any, substituted: Any) -> StackpyomoError:
    return StackpyomoError(
        f"{name}: read into arrays its problem differs from the one by substitution ({arrays} against {substituted}). "
        "That is a mistake of this package, and nothing is said of the game: please report it with the model. "
        'verify(..., certify="global") goes without arrays.'
    )
