"""Replies: what each follower does best against an announcement, and what that proves; verification re-solves them."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.games import Game
from stackpyomo.games.information import Announcement
from stackpyomo.solvers import BadRow, Program, prover, solve
from stackpyomo.verification import Composed, Effort, best_responses, composed

from .rows import Deviation

_SECONDS = 10.0  # Of a global solve that proves nothing.


@dataclass(frozen=True)
class Reply:
    """One follower's best response to an announcement."""

    follower: str
    action: Mapping[str, float]  #: Variable name → what it does; its part of the plan where nothing is better.
    regret: float  #: J_k(plan) − J_k(reply) ≥ 0, in the unit of its cost; NaN: not known.
    scale: float  #: What that is small against.
    certificate: str  #: "convex", "global", "multistart" or "unknown".
    note: str = ""  #: Why nothing was proved.

    @property
    def deviation(self) -> Deviation:
        """The same as a row."""
        return Deviation(self.follower, self.action, self.regret)


def best_replies(
    game: Game, announced: Announcement, followers: Container[str], effort: Effort, *, projected: bool = True
) -> list[Reply]:
    """Every named follower re-solved against the announcement; inside ``undisturbed()``.

    projected: the leader cannot leave its bounds, so that its answers are stopped there.
    """
    announced = replace(announced, saturate=True) if projected else announced
    return [_reply(problem) for problem in best_responses(list(composed(game, announced, followers)), effort, {})]


def better_replies(
    game: Game, announced: Announcement, followers: Container[str], *, apart: bool = False
) -> list[Reply]:
    """One global solve for each named follower and no proof: what it would do, to be looked at again by who needs one.

    Followers whose actions have no bounds, and those without an answer in time, are left out.

    apart: the best reply that changes a whole action, for each of them and each way; ``regret`` may be below 0 then.
    """
    replies = []
    for problem in composed(game, announced, followers):
        if any(v.lb is None or v.ub is None for v in problem.variables):
            continue
        problem.plan_cost = problem.cost_at(problem.target)
        for _ in _ways(problem) if apart else (None,):
            point = _solved(problem)
            cost = math.inf if point is None else problem.cost_at(point)
            if point is not None and problem.violation() <= TOLERANCES.feasibility:
                regret = problem.plan_cost - cost
                action = dict(zip(problem.names, point, strict=True))
                replies.append(Reply(problem.follower.name, action, regret, problem.scale, "multistart"))
    return replies


def _ways(problem: Composed) -> Iterator[None]:
    """One step up and one down of each whole action, as a bound that stands while it is looked at."""
    for var, target in zip(problem.variables, problem.target, strict=True):
        low, high = var.bounds
        if not var.is_continuous():
            for bounds in ((round(target) + 1, high), (low, round(target) - 1)):
                if bounds[0] <= bounds[1]:
                    var.setlb(bounds[0])
                    var.setub(bounds[1])
                    yield
            var.setlb(low)
            var.setub(high)


def _solved(problem: Composed) -> list[float] | None:
    """The answer of a global solver; None if there is none."""
    try:
        program = Program(problem.cost, problem.rows)
    except BadRow:
        return None
    solution = solve(program, prover(program), time_limit=_SECONDS)
    if solution.x is None or not program.variables:
        return None
    place = program.levels(_sharpened(program, solution.x))
    return [place.get(id(v), t) for v, t in zip(problem.variables, problem.target, strict=True)]


def _sharpened(program: Program, point: Array) -> Array:
    """The same answer to more digits where it is curved: whole actions held, the others solved for once more."""
    whole = np.array([not v.is_continuous() for v in program.variables], dtype=bool)
    if whole.all() or program.is_linear:
        return point
    start = np.where(whole, np.round(point), point)
    lower, upper = program.bounds
    fixed = np.where(whole, start, lower), np.where(whole, start, upper)
    sharp = solve(program.variant(start, bounds=fixed), "auto")
    if sharp.answer is None:
        return point
    reaches, _, unit = program.units(point)
    near = np.abs(sharp.x - point) <= TOLERANCES.margin * reaches
    worse = float(program.problem.objective(sharp.x)) - float(program.problem.objective(point))
    better = worse <= TOLERANCES.noise * unit
    return np.asarray(sharp.x) if near.all() and better else point


def _reply(problem: Composed) -> Reply:
    known = problem.certificate != "unknown"
    better = known and problem.best_cost < problem.plan_cost
    point = problem.best if better else problem.target
    return Reply(
        problem.follower.name,
        dict(zip(problem.names, point, strict=True)),
        max(0.0, problem.plan_cost - problem.best_cost) if known else math.nan,
        problem.scale,
        problem.certificate,
        problem.note,
    )
