"""Measures: the scale of each follower's regret, and the natural units of its actions and rows.

What is at stake for follower k in its action v_j is how much its own objective can change by it, without the slope that
the leader announces:

    S_kj = |∂J_k/∂v_j| reach_j,   at least ``TOLERANCES.flat`` of the sum over j.

An idle action, which stands on a bound and would only cost, has no more at stake than the others together: a toll that
nobody pays may be immense. Where all that cancels at the plan, because the leader's level there makes the follower
indifferent, the terms that cancel are taken, Σ_l |∂J_k/∂u0_l| |u0_l|; where its cost is linear in its actions, as that
of a market's operator who sets a price, those of ∂J_k/∂v_j itself, each by absolute value; and where there are none,
what the leader's answers to a move over the reach change. A regret is small against what is at stake in the actions
that the best response moves. Units and constants of the model change nothing but the unit.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from pyomo.core.expr.calculus.derivatives import Modes, differentiate
from pyomo.core.expr.calculus.diff_with_pyomo import DifferentiationException
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array, bounds_of, box_of, entries_in, limited_reaches
from stackpyomo.core.expressions import UNDEFINED, is_affine, number_of, size_of, variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.games import GameStructure
from stackpyomo.solvers import BadRow, Program, evaluated_rows, scales_of

from .best_response import Composed, idle_of, limited_by_others
from .samples import row_ranges
from .wanted import UNHELD, beside_nothing, wanted_by_leader

_ROUNDING = 8.0 * sys.float_info.epsilon

_FARTHEST = 1e30  # How far out it is seen whether a cost goes on falling.


def measure(problems: Sequence[Composed], tolerance: float, game: GameStructure | None = None) -> None:
    """Set stakes, reaches and row_scales of every problem; pieces of one follower share those of the first.

    tolerance: what a regret is to be relative to the stakes, which are at least so large that rounding is less.
    game: its leader's objective may tell how far an action goes whose box is far wider than the plan.
    """
    whole = [problem for problem in problems if problem.home is None]
    _measure(whole, _wanted_by(game, whole))
    for problem in problems:
        cost = problem.cost_at(problem.target)
        if math.isfinite(cost):
            problem.stakes = [max(stake, _ROUNDING * abs(cost) / tolerance) for stake in problem.stakes]
        if problem.home is not None:
            home = problem.home
            problem.stakes, problem.reaches = home.stakes, home.reaches
            problem.guessed, problem.outward = home.guessed, home.outward
            problem.row_scales = _row_scales_like(problem, home)


def _row_scales_like(piece: Composed, home: Composed) -> list[float]:
    """Those of the plan's piece: the rows that say where the rule is which are the same, but for their limits.

    Where a constraint holds no action in one of the pieces, the others' largest scale stands for its own rows'.
    """
    if len(piece.rows) == len(home.rows):
        return list(home.row_scales)
    limits = int(np.sum(~_are_its_own(piece)))
    rest = max(home.row_scales[limits:], default=1.0)
    return [*home.row_scales[:limits], *[rest] * (len(piece.rows) - limits)]


def _are_its_own(problem: Composed) -> Array:
    """(rows) which are the follower's: first come those that say where the rule is which, between a price's bounds."""
    limits = len(problem.rows) + len(problem.constants) - len(problem.follower.constraints)
    return np.arange(len(problem.rows)) >= limits


def _wanted_by(game: GameStructure | None, problems: Sequence[Composed]) -> dict[int, float]:
    """id(own variable) → the reach that the leader's objective tells of it, where the plan has it next to 0."""
    known = [problem for problem in problems if len(problem.variables) == len(problem.follower.variables)]
    theirs = {id(v): u for problem in known for v, u in zip(problem.variables, problem.follower.variables, strict=True)}
    own = [v for problem in known for v in problem.variables]
    beside = beside_nothing(own, [v.value for v in own])
    if game is None or not beside:
        return {}
    reaches = wanted_by_leader(game, [theirs[id(v)] for v in beside], known[0].planned)
    return {id(v): reaches[id(theirs[id(v)])] for v in beside if id(theirs[id(v)]) in reaches}


def _measure(problems: Sequence[Composed], wanted: Mapping[int, float]) -> None:
    """All in one program whose rows are their costs and rows; halves where it cannot be written or evaluated."""
    if not problems:
        return
    try:
        moving = [number for number, problem in enumerate(problems) if any(True for _ in variables_in(problem.own))]
        costs = evaluated_rows(problems[number].own for number in moving)
        program = Program(0.0, [*costs, *(row for problem in problems for row in problem.rows)])
        plan = np.array([v.value for v in program.variables], dtype=float)
        own, terms = np.asarray(program.rows) < len(costs), partial(_terms_of, program, problems)
        far = np.array([wanted.get(id(v), math.inf) for v in program.variables])
        theirs = np.concatenate([np.zeros(len(costs), dtype=bool), *map(_are_its_own, problems)])
        lower, upper = program.within_rows(program.bounds, ~theirs[program.rows])
        box = np.maximum(lower, plan - far), np.minimum(upper, plan + far)
        announced = {id(v) for problem in problems for v in problem.answers}
        still = np.array([id(v) in announced for v in program.variables], dtype=bool)
        measured = partial(scales_of, program, plan, own, terms, still=still)
        units = measured(bounds=box)
        if (left := _left_by_rows(program, plan, box, units.slopes, problems)) is not None:
            box = left
            units = measured(bounds=box)
    except (BadRow, InvalidGame):
        if len(problems) > 1:
            middle = len(problems) // 2
            _measure(problems[:middle], wanted)
            _measure(problems[middle:], wanted)
        else:
            problems[0].stakes = problems[0].reaches = [1.0] * len(problems[0].variables)
            problems[0].row_scales = [1.0] * len(problems[0].rows)
        return
    reaches, slopes, sized = units.reaches, units.slopes, limited_reaches(plan, *box)
    signed = program.slopes(plan)
    place = {id(v): i for i, v in enumerate(program.variables)}
    where = {int(n): 1 + i for i, n in enumerate(program.rows)}  # the first row is the objective
    after, rank = len(costs), {number: row for row, number in enumerate(moving)}
    for number, problem in enumerate(problems):
        columns = [place.get(id(v), -1) for v in problem.variables]
        problem.reaches = [
            float(reaches[c]) if c >= 0 else _alone(v) for c, v in zip(columns, problem.variables, strict=True)
        ]
        problem.guessed = [
            i for i, c in enumerate(columns) if c >= 0 and units.guessed is not None and units.guessed[c]
        ]
        felt = [_entries(slopes, where.get(after + row)) for row in range(len(problem.rows))]
        problem.row_scales = [max((a * reaches[c] for c, a in row.items()), default=0.0) or 1.0 for row in felt]
        after += len(problem.rows)
        cost, slope = (_entries(part, where.get(rank.get(number, -1))) for part in (slopes, signed))
        own = np.array([cost.get(c, 0.0) * reaches[c] if c >= 0 else 0.0 for c in columns])
        steep = np.array([slope.get(c, 0.0) for c in columns])
        idle = idle_of(steep, np.array(problem.target), box_of(problem.variables), np.array(problem.reaches))
        felt_by = [cost.get(place[id(v)], 0.0) if id(v) in place else 0.0 for v in problem.answers]
        cancelling = _cancelling(problem)
        idle &= np.abs(steep) * problem.reaches > TOLERANCES.noise * cancelling  # what cancels has no sign
        limited = _limited(problem, own, idle, cancelling)
        problem.idle = np.flatnonzero(limited < own).tolist()
        problem.stakes = _stakes(problem, limited, limited_by_others(cancelling, idle), felt_by)
        if not all(sized[c] for c in columns if c >= 0):
            reconsider(problem)
            _look_outward(problem, [i for i, c in enumerate(columns) if c >= 0 and not sized[c]])


def _left_by_rows(
    program: Program, plan: Array, box: tuple[Array, Array], slopes: sparse.csr_array, problems: Sequence[Composed]
) -> tuple[Array, Array] | None:
    """The box with what rows leave of actions that the plan has at 0, where that is far less; None: of nobody.

    Of 0 in a box of 1e6 nothing tells a reach but the rows, which a size of that box would let anything miss.
    """
    (low, high), place = (box[0].copy(), box[1].copy()), {id(v): i for i, v in enumerate(program.variables)}
    stopped = _stopped_short(program, plan, high - low, slopes)
    for problem in problems if stopped else ():
        own = [(place[id(v)], n) for n, v in enumerate(problem.variables) if place.get(id(v)) in stopped]
        lows, highs = row_ranges(problem, boxed=True) if own else box
        for column, number in own:
            step = 0.0 if problem.variables[number].is_continuous() else 1.0
            least, most, width = lows[number] - step, highs[number] + step, high[column] - low[column]
            if TOLERANCES.noise * width < most - least < TOLERANCES.margin * width:
                low[column], high[column] = max(low[column], least), min(high[column], most)
    return None if ((low == box[0]) & (high == box[1])).all() else (low, high)


def _stopped_short(program: Program, plan: Array, width: Array, slopes: sparse.csr_array) -> set[int]:
    """The variables at 0 that some row lets go no farther than a small part of their box."""
    near = np.isfinite(width) & (np.abs(plan) <= TOLERANCES.nothing * width)
    if not near.any() or not len(program.rows):
        return set()
    body, (floor, ceiling) = np.asarray(program.problem.constraints(plan)), program.row_bounds
    entries = slopes[1:].tocoo()
    with np.errstate(invalid="ignore"):  # a row may have no value at the plan
        room = np.minimum(np.abs(floor - body), np.abs(ceiling - body))
        far = TOLERANCES.margin * entries.data * np.where(near, width, 0.0)[entries.col] > room[entries.row]
    return set(entries.col[far].tolist())


def _terms_of(program: Program, problems: Sequence[Composed], asked: Array) -> Array:
    """(variables of the program) Σ |terms| of the slopes of those that are asked for; 0 of others."""
    place, terms = {id(v): i for i, v in enumerate(program.variables)}, np.zeros(len(asked))
    for problem in problems:
        columns = np.array([place.get(id(v), -1) for v in problem.variables])
        if asked[columns[columns >= 0]].any():
            terms[columns[columns >= 0]] = terms_of_slopes(problem)[columns >= 0]
    return terms


def _alone(variable: Any) -> float:
    """The reach of a variable that neither cost nor rows hold."""
    (reach,) = limited_reaches(*(np.array([float(side)]) for side in (variable.value, *bounds_of(variable))))
    return float(reach) or 1.0


def _entries(rows: sparse.csr_array, number: int | None) -> dict[int, float]:
    """column → value of one row; of none nothing."""
    return {} if number is None else dict(entries_in(rows, number))


def _cancelling(problem: Composed) -> Array:
    """Σ |terms of ∂J_k/∂v_j| reach_j of a cost that is linear in its actions; 0 where they are not known, or it bends.

    Only where nothing bends may the slope cancel at the plan and near it.
    """
    if not is_affine(problem.own):
        return np.zeros(len(problem.variables))
    return np.asarray(terms_of_slopes(problem) * np.array(problem.reaches))


def _limited(problem: Composed, own: Array, idle: Array, cancelling: Array) -> Array:
    """Stakes where idle actions have no more than the others, of which one that a price just pays has its terms."""
    limited = limited_by_others(own, idle, cancelling)
    if (limited < own).any():  # a cost that bends in the idle action alone cancels in another one, too
        terms = terms_of_slopes(problem) * np.array(problem.reaches)
        limited = limited_by_others(own, idle, np.where(own <= TOLERANCES.stationarity * terms, terms, cancelling))
    return limited


def terms_of_slopes(problem: Composed) -> Array:
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
    stakes, reaches, sizes = np.array(problem.stakes), np.array(problem.reaches), terms_of_slopes(problem)
    slopes = stakes / reaches
    left = (slopes > 0.0) & (slopes <= TOLERANCES.noise * sizes)
    left[problem.idle + problem.outward] = False  # what a cost falls by farther out is no slope
    wide = np.where(left, reaches * sizes / np.where(left, slopes, 1.0), reaches)
    problem.reaches, problem.stakes = wide.tolist(), np.where(left, sizes * wide, stakes).tolist()


def _look_outward(problem: Composed, numbers: Sequence[int]) -> None:
    """Set stakes and reaches anew where a convex cost goes on falling ten reaches away, of actions without a size.

    A slope may change over 1e-300 and be gone at 0.4 only, as that of x log(x + 1e-300): what a curvature at 0 tells is
    no reach then. At stake is what the cost falls by, until it rises again.
    """
    cost = problem.cost_at(problem.target) if numbers and problem.certificate == "convex" else math.inf
    if not math.isfinite(cost):
        return
    rows: dict[int, list[int]] = {id(v): [] for v in problem.variables}
    for place, row in enumerate(problem.rows):
        for key in {id(v) for v in variables_in(row.body)} & rows.keys():
            rows[key].append(place)
    for number, way in ((n, way) for n in numbers for way in (-1.0, 1.0)):
        felt = rows[id(problem.variables[number])]
        least, farthest, step = cost, 0.0, TOLERANCES.reach * problem.reaches[number]
        while step < _FARTHEST and not (now := _cost_away(problem, number, way * step, felt)) > least:
            least, farthest, step = now, step, TOLERANCES.reach * step
        if step < _FARTHEST and cost - least > _ROUNDING * abs(cost):
            problem.reaches[number] = farthest
            problem.outward.append(number)
            problem.stakes[number] = max(cost - least, TOLERANCES.flat * sum(problem.stakes))


def _cost_away(problem: Composed, number: int, step: float, felt: Sequence[int]) -> float:
    """The cost where one action is a step away from the plan; infinite where bounds or ``felt`` rows do not hold."""
    point = [level + step * (place == number) for place, level in enumerate(problem.target)]
    problem.put(point)
    return problem.cost_at(point) if problem.violation(felt) <= TOLERANCES.feasibility else math.inf


def narrow(problem: Composed, tolerance: float) -> None:
    """Set stakes and reaches anew where bounds alone make a regret small: of an action that the plan has next to 0.

    The best response's size counts as the plan's would, and at stake are the terms of its slope at the plan. What is
    within the accuracy of a plan, or further where no bound holds it, says nothing.
    """
    target, best, stakes = np.array(problem.target), np.array(problem.best), np.array(problem.stakes)
    low, high = box_of(problem.variables)
    reaches, terms = np.array(problem.reaches), terms_of_slopes(problem)
    size = np.maximum(np.abs(target), np.abs(best))
    near = np.where((target == low) | (target == high), 1.0, UNHELD) * TOLERANCES.accuracy * reaches
    wide = np.isfinite([low, high]).any(axis=0) & (best != target) & (size > near) & (TOLERANCES.reach * size < reaches)
    if wide.any():
        slopes = np.where(terms > 0.0, terms, stakes / reaches)
        problem.reaches = np.where(wide, TOLERANCES.reach * size, reaches).tolist()
        stakes = np.where(wide, slopes * problem.reaches, stakes)
        least = max(TOLERANCES.flat * float(stakes.sum()), _ROUNDING * abs(problem.plan_cost) / tolerance)
        problem.stakes = np.maximum(stakes, least).tolist()


def _stakes(problem: Composed, own: Array, cancelling: Array, felt: Sequence[float]) -> list[float]:
    """What is at stake in each action, from ``own`` changes and the slopes ``felt`` by each answer of the leader."""
    paid = math.fsum(slope * abs(v.value) for slope, v in zip(felt, problem.answers, strict=True))
    levels = np.maximum(cancelling, paid)
    if own.sum() <= TOLERANCES.stationarity * levels.max(initial=0.0):
        own = np.maximum(own, levels)
    if not own.any():
        own = _answered(problem, felt)
    own = np.maximum(own, TOLERANCES.flat * own.sum())
    return list(np.where(own > 0.0, own, 1.0).tolist())


def _answered(problem: Composed, felt: Sequence[float]) -> Array:
    """What the leader's answers to a move of each action by its reach change the cost by, as far as bounds let them."""
    changes = []
    for number, reach in enumerate(problem.reaches):
        problem.put([level + reach * (place == number) for place, level in enumerate(problem.target)])
        moves = [abs(number_of(step)) for step in problem.steps]
        widths = [high - low for low, high in map(bounds_of, problem.answers)]
        changes.append(math.fsum(map(math.prod, zip(felt, map(min, moves, widths), strict=True))))
    problem.put(problem.target)
    return np.asarray(np.nan_to_num(np.array(changes), nan=0.0, posinf=0.0))
