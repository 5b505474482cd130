"""Replies: what each follower does best against an announcement, and what that proves; verification re-solves them."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stackpyomo.core import TOLERANCES, Array, box_of
from stackpyomo.core.expressions import numbers_of
from stackpyomo.games import Game
from stackpyomo.games.information import Announcement
from stackpyomo.solvers import BadRow, Program, Solution, choose, prover, solve
from stackpyomo.verification import Composed, Effort, best_responses, composed

from .rows import Deviation

_SECONDS, _CLOCK = 2.0, 10.0  # Processor seconds of a global solve that proves nothing, and by the clock.
_POINTS = 256  # All over a box.


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
    problems = list(composed(game, announced, followers))
    return [_reply(problem) for problem in best_responses(problems, effort, {}, game)]


def better_replies(
    game: Game, announced: Announcement, followers: Container[str], *, allowed: float = 0.0, apart: bool = False
) -> list[Reply]:
    """One global solve for each named follower and no proof: what it would do, to be looked at again by who needs one.

    Followers whose actions have no bounds, and those without an answer in time, are left out; so is the solve where a
    continuous one gains more than is allowed by what points all over its box and a local solver from the best come to.

    apart: the best reply that changes an integer action, for each of them and each way; ``regret`` may be below 0 then.
    """
    replies: list[Reply] = []
    for problem in composed(game, announced, followers):
        if any(v.lb is None or v.ub is None for v in problem.variables):
            continue
        problem.plan_cost = problem.cost_at(problem.target)
        for _ in _ways(problem) if apart else (None,):
            nearby = [] if problem.integers else [*_seen(problem, _descended(problem, _best_sample(problem)))]
            clear = nearby and nearby[0].regret > allowed + TOLERANCES.margin * problem.unit
            replies += nearby if clear else _seen(problem, _solved(problem))
    return replies


def sharper_replies(
    game: Game, announced: Announcement, known: Sequence[tuple[str, Mapping[str, float]]]
) -> list[Reply]:
    """What a local solver comes to from each (follower, action) against this announcement, integer actions held."""
    problems = {p.follower.name: p for p in composed(game, announced, {name for name, _ in known})}
    replies: list[Reply] = []
    for name, action in known:
        problem = problems[name]
        problem.plan_cost = problem.cost_at(problem.target)
        replies += _seen(problem, _descended(problem, [action[n] for n in problem.names]))
    return replies


def _seen(problem: Composed, point: list[float] | None) -> Iterator[Reply]:
    """The point as a reply, if there is one within its rows."""
    cost = math.inf if point is None else problem.cost_at(point)
    if point is not None and problem.violation() <= TOLERANCES.feasibility:
        action = dict(zip(problem.names, point, strict=True))
        yield Reply(problem.follower.name, action, problem.plan_cost - cost, problem.scale, "multistart")


def _ways(problem: Composed) -> Iterator[None]:
    """One step up and one down of each integer action, as a bound that stands while it is looked at."""
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


def _best_sample(problem: Composed) -> list[float] | None:
    """The best of points all over the box; None where none is within the rows."""
    low, high = box_of(problem.variables)
    points = np.random.default_rng(0).uniform(low, high, (_POINTS, len(low)))
    table = {id(v): points[:, number] for number, v in enumerate(problem.variables)}
    cost = numbers_of(problem.cost, table, _POINTS)
    for row in problem.rows:
        body = numbers_of(row.body, table, _POINTS)
        if cost is None or body is None:
            return None
        inside = (row.lb is None or body >= row.lb) & (row.ub is None or body <= row.ub)
        cost = np.where(inside, cost, np.inf)
    best = None if cost is None or not np.isfinite(cost).any() else int(np.nanargmin(cost))
    return None if best is None else points[best].tolist()


def _descended(problem: Composed, start: list[float] | None) -> list[float] | None:
    """Where a local solver comes to from there; None where it does not start or has no answer."""
    try:
        program = Program(problem.cost, problem.rows)
    except BadRow:
        return None
    if start is None or not program.variables:
        return start
    levels = dict(zip(map(id, problem.variables), start, strict=True))
    answer = _local(program, np.array([levels[id(v)] for v in program.variables])).answer
    levels |= {} if answer is None else program.levels(answer)
    return None if answer is None else [levels[id(v)] for v in problem.variables]


def _solved(problem: Composed) -> list[float] | None:
    """The answer of a global solver; None if there is none."""
    try:
        program = Program(problem.cost, problem.rows)
    except BadRow:
        return None
    name = prover(program)
    solution = solve(program, name, options=choose(name).seconds_of(clock=_CLOCK), time_limit=_SECONDS)
    if solution.x is None or not program.variables:
        return None
    place = program.levels(_sharpened(program, solution.x))
    return [place.get(id(v), t) for v, t in zip(problem.variables, problem.target, strict=True)]


def _sharpened(program: Program, point: Array) -> Array:
    """The same answer to more digits where it is curved: integer actions held, the others solved for once more."""
    if program.is_linear or not any(v.is_continuous() for v in program.variables):
        return point
    sharp = _local(program, point)
    if sharp.answer is None:
        return point
    reaches, _, unit = program.units(point)
    near = np.abs(sharp.x - point) <= TOLERANCES.margin * reaches
    worse = float(program.problem.objective(sharp.x)) - float(program.problem.objective(point))
    better = worse <= TOLERANCES.noise * unit
    return np.asarray(sharp.x) if near.all() and better else point


def _local(program: Program, point: Array) -> Solution:
    """What a local solver says from there, integer actions held."""
    whole = np.array([not v.is_continuous() for v in program.variables], dtype=bool)
    start = np.where(whole, np.round(point), point)
    lower, upper = program.bounds
    return solve(program.variant(start, bounds=(np.where(whole, start, lower), np.where(whole, start, upper))), "auto")


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
