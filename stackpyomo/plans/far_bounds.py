"""Far bounds: those of the leader's variables so far out that no cost and no row of the game notices.

    min J0 over X ∩ box  ≥  min J0 over X,   with equality where a plan that is optimal over X keeps the box.

A toll of up to 1e9 where travellers decide about 3 has a bound for the sake of having one, and numbers that lie so far
apart are lost by solvers. The plan is therefore looked for without such bounds first. Where that one is optimal, and
keeps them, it is the plan, and any bound on what may be gained over X is one within the box; else the box counts, and
the better of two plans.

Without a bound a plan may go far out along tolls that cancel, where any gap is nothing beside the terms of J0: it is
"optimal" there only if its bound meets J0 beside J0 itself.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from pyomo.core.base.var import VarData

from stackpyomo.bilevel import Options
from stackpyomo.core import TOLERANCES, bounds_of, limited_reaches
from stackpyomo.core.expressions import variables_in
from stackpyomo.errors import InvalidGame, NoPlan
from stackpyomo.games import Follower, Game, stamp
from stackpyomo.solvers import BadRow, Program, evaluated_rows

from .plan import Plan
from .problems import leading_problem

Search = Callable[[Game, Sequence[Follower], Options], Plan]

_FAR = 1e3  # How many times as far as its reach beside costs and rows a bound has to lie.
_KEPT = ("optimal", "feasible")
_LARGEST = 1000  # Variables up to which this is looked at.


def beyond_far_bounds(game: Game, followers: Sequence[Follower], options: Options, search: Search) -> Plan:
    """What the search finds, first without the leader's far bounds.

    Raises what the search raises within the bounds.
    """
    far = _far_bounds(game, followers) if options.common is None else []
    if not far:
        return search(game, followers, options)
    shorter = replace(options, time_limit=None if options.time_limit is None else options.time_limit / 2.0)
    wide = _beyond(game, followers, shorter, search, far)
    if wide is not None and (wide.quality == "optimal" or wide.gap <= TOLERANCES.margin):  # hardly any is left to gain
        return wide
    try:
        near = search(game, followers, shorter)
    except NoPlan:
        if wide is None:
            raise
        return wide
    return near if wide is None or (near.quality in _KEPT and not _refutes(wide, near)) else wide


def _refutes(one: Plan, other: Plan) -> bool:
    """Whether one plan is better for the leader than the other, by more than what is optimal may leave.

    What is said of the other one is wrong then, its bound included.
    """
    better = one.attached().leader.sign * (other.leader_objective - one.leader_objective)
    return better > TOLERANCES.global_gap * (abs(one.leader_objective) + abs(other.leader_objective))


def _beyond(
    game: Game, followers: Sequence[Follower], options: Options, search: Search, far: Sequence[tuple[VarData, float]]
) -> Plan | None:
    """The plan that is found without these variables' bounds, where it keeps them all."""
    free = _without(game, [v for v, _ in far])
    try:
        with free.unchanged():
            plan = search(free, [free.followers[f.name] for f in followers], options)
    except NoPlan:  # over more plans the leader may gain without limit
        return None
    within = all(low <= plan.values[game.names[id(v)]] <= high for v, _ in far for low, high in [bounds_of(v)])
    if not within or plan.quality not in _KEPT:
        return None
    near = all(abs(plan.values[game.names[id(v)]]) <= _FAR * reach for v, reach in far)
    quality = plan.quality if near or _is_met(plan) else "feasible"
    return replace(plan, quality=quality, game=game, stamp=stamp(game), rows=None)


def _is_met(plan: Plan) -> bool:
    """Whether the bound leaves nothing beside the leader's objective itself."""
    left = abs(plan.bound - plan.leader_objective)
    return left <= TOLERANCES.global_gap * (abs(plan.bound) + abs(plan.leader_objective))


def _far_bounds(game: Game, followers: Sequence[Follower]) -> list[tuple[VarData, float]]:
    """(variable, reach) of the leader's continuous variables with a bound far beyond what costs and rows tell of it."""
    deciding = [v for v in leading_problem(game, {f.name for f in followers}).leader or () if id(v) not in game.owners]
    deciding = [v for v in deciding if v.is_continuous() and any(side and math.isfinite(side) for side in bounds_of(v))]
    if not deciding or len(game.names) > _LARGEST or any(f.integers for f in followers):
        return []
    try:
        reaches = _reaches_without(game, deciding)
    except (BadRow, InvalidGame):  # what cannot be evaluated is named where it has to be
        return []
    known = [(v, reaches.get(id(v), math.inf)) for v in deciding]
    return [(v, reach) for v, reach in known if _farthest(v) > _FAR * reach]


def _reaches_without(game: Game, deciding: Sequence[VarData]) -> dict[int, float]:
    """id(Var) → how far it goes before some cost or row changes by it as by others; ∞ where none tells.

    The others stand in the middle of their boxes, these next to 0; of several costs and rows the farthest counts.
    """
    players = (game.leader, *game.followers.values())
    costs = [player.objective.expr for player in players if player.objective is not None]
    rows = [row.body for player in players for row in player.constraints]
    program = Program(0.0, evaluated_rows(e for e in [*costs, *rows] if any(True for _ in variables_in(e))))
    leading = {id(v) for v in deciding}
    free = np.array([id(v) in leading for v in program.variables], dtype=bool)
    low, high = program.bounds
    with np.errstate(invalid="ignore"):
        middle = (low + high) / 2.0
    middle = np.where(free | ~np.isfinite(middle), np.clip(0.0, low, high), middle)
    slopes = np.abs(program.slopes(middle).toarray())
    with np.errstate(invalid="ignore", divide="ignore"):
        changes = np.where(free, 0.0, slopes * limited_reaches(middle, low, high)).max(axis=1, initial=0.0)
        steps = np.where(changes[:, np.newaxis] > 0.0, changes[:, np.newaxis] / slopes, 0.0)
    farthest = np.where(np.isfinite(steps), steps, 0.0).max(axis=0, initial=0.0)
    return dict(zip(map(id, program.variables), np.where(farthest > 0.0, farthest, np.inf).tolist(), strict=True))


def _farthest(var: VarData) -> float:
    return max(abs(side) for side in bounds_of(var) if math.isfinite(side))


def _without(game: Game, far: Sequence[VarData]) -> Game:
    """A copy of the game, its model included, in which these variables have no bound but 0."""
    free = copy.deepcopy(game)
    for var in far:
        twin = free.variables_by_name[game.names[id(var)]]
        low, high = bounds_of(twin)
        twin.setlb(None if low else low)
        twin.setub(None if high else high)
    return free
