"""By deviations: the loop of master and re-solve that ends with a gain nobody leaves, or with a certificate.

The master (:mod:`stackpyomo.incentives.gains.masters`) is a relaxation, so that its gain, once no follower gains
more than rounding, is the least of all valid ones, and its emptiness a proof. Leader bounds after every deviation of
one follower are rows, too; where no gain stays within them, they are left out, and the projected strategy is re-solved.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array, box_of, timed
from stackpyomo.core.expressions import interval, variables_in
from stackpyomo.derivatives import is_jointly_convex
from stackpyomo.deviations import (
    Deviation,
    Deviations,
    LeaderBound,
    Outcome,
    Reply,
    Stop,
    best_replies,
    better_replies,
    generate,
    sharper_replies,
)
from stackpyomo.errors import InvalidGame, NoIncentive, RefusalCause
from stackpyomo.games import Game
from stackpyomo.games.information import Announcement
from stackpyomo.plans import Plan, rows_of
from stackpyomo.solvers import Program, Termination, solve
from stackpyomo.verification import PROVED, Effort, row_ranges

from .diagnosis import refuse_undefined
from .gains.levers import Lever, levers
from .gains.masters import Candidate, CurvedGain, Excluded, LeastGain, LeastRegret, Unknowns
from .gains.selection import Entries, Wishes
from .incentive import Incentive, assembled
from .lottery import refusal
from .strategy import DEVIATIONS

_LOTTERIES = 40  # Rounds in which a lottery of deviations alone is looked for.
_EXPLAINING = 10.0  # Seconds for that: the refusal stands without it.

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What the user asked of a design by deviations, and what there is to choose."""

    plan: Plan
    game: Game
    design: Entries
    levers: Mapping[str, Lever]
    unknowns: Unknowns
    until: float  #: ``time.monotonic()`` at which to stop.

    @property
    def wishes(self) -> Wishes:
        """Of the design."""
        return self.design.wishes


@dataclass(frozen=True)
class Held:
    """A gain that no follower leaves."""

    candidate: Candidate
    master: LeastGain
    rows: Deviations


class _Search:
    """One loop: what a candidate announces, who gains by leaving the plan, where it leaves the leader's bounds."""

    def __init__(self, asked: Asked, *, within: bool) -> None:
        self.asked, self.levers, self.within = asked, asked.levers, within
        self.effort = Effort(asked.wishes.solver, 8, "auto", TOLERANCES.tempting)
        self.replies: list[Reply] = []

    def announcement(self, candidate: Candidate) -> Announcement:
        design, plan = self.asked.design, self.asked.plan
        offsets = dict(zip(design.leader, candidate.offsets.tolist(), strict=True))
        announced = design.announced(
            {**plan.values, **offsets}, sparse.csc_array(candidate.gain), plan.leader_objective
        )
        return replace(announced, saturate=False)

    def loop(self, master: LeastGain, rows: Deviations, until: float, most: int = 500) -> Outcome[Candidate]:
        """Master and re-solves from these rows on."""

        def tempted(candidate: Candidate) -> list[Deviation]:
            return self._sharper(candidate, master, rows) or self.tempted(candidate)

        return generate(master, tempted, rows, most=most, until=until)

    def _sharper(self, candidate: Candidate, master: LeastGain, rows: Deviations) -> list[Deviation]:
        """What makes the most that is gained least, to more digits: Newton's method on the rows of its lottery."""
        known = [(tag.follower, tag.action) for tag, _ in master.lottery if tag.kind == "deviation"]
        known = [(name, action) for name, action in known if not self.levers[name].whole.all()]
        replies = sharper_replies(self.asked.game, self.announcement(candidate), known)
        return [d for d in self._better(candidate, replies, math.inf) if rows.is_new(d)]

    def tempted(self, candidate: Candidate) -> list[Deviation]:
        """Deviations that break a row of the candidate: of one look at each follower, or else of its verification."""
        announced = self.announcement(candidate)
        tempting = list(self._oversteps(candidate)) if self.within else []
        tempting += list(self._listed(candidate))
        doubtful = {name for name in self.doubtful if self.levers[name].listed is None}
        tempting += self._better(
            candidate, better_replies(self.asked.game, announced, doubtful, allowed=candidate.regret)
        )
        margin = self.asked.wishes.margin
        if margin:
            apart = better_replies(self.asked.game, announced, doubtful, apart=True)
            tempting += self._better(candidate, apart, margin)
        if tempting:
            return tempting
        others = {name for name, lever in self.levers.items() if lever.listed is None}  # a list leaves nothing open
        self.replies = best_replies(self.asked.game, announced, others, self.effort, projected=False)
        for reply in self.replies:
            if reply.certificate not in PROVED:
                _require_bounds(self.levers[reply.follower], reply)
            if reply.certificate == "unknown":
                logger.warning("%s: not re-solved (%s)", reply.follower, reply.note)
        return self._better(candidate, self.replies)

    def _listed(self, candidate: Candidate) -> Iterator[Deviation]:
        """The best of followers whose deviations are a list, where they gain by it."""
        for name, lever in self.levers.items():
            costs = lever.costs(candidate.gain, candidate.offsets)
            if costs is None or not len(costs) or np.isnan(costs).all():
                continue
            best = int(np.nanargmin(costs))
            planned = lever.cost_at(lever.target, candidate.offsets[lever.instruments])
            gained = planned + self.asked.wishes.margin - float(costs[best])
            if gained > candidate.regret + TOLERANCES.tempting * lever.problem.unit:
                assert lever.listed is not None
                action = dict(zip(lever.problem.names, lever.listed[0][best].tolist(), strict=True))
                yield Deviation(name, action, gained)

    def _better(self, candidate: Candidate, replies: Sequence[Reply], margin: float = 0.0) -> list[Deviation]:
        """The replies by which a follower gains more than it is allowed to."""
        return [
            replace(reply.deviation, action=_whole(self.levers[reply.follower], reply.action))
            for reply in replies
            if reply.regret + margin > candidate.regret + TOLERANCES.tempting * self.levers[reply.follower].problem.unit
        ]

    @cached_property
    def doubtful(self) -> set[str]:
        """Followers that are integer, or not convex whatever the gain."""
        game = self.asked.game
        others = [*game.aggregate_variables(), *self.asked.design.rows.instruments]
        followers = [lever.problem.follower for lever in self.levers.values()]
        return {f.name for f in followers if f.integers or not is_jointly_convex(f, others)}

    def _oversteps(self, candidate: Candidate) -> Iterator[Deviation]:
        """Deviations of one follower after which a leader variable would pass its bound."""
        for lever in self.levers.values():
            for number, (low, high) in enumerate(self.asked.unknowns.bounds):
                rates = candidate.gain[number]
                if not rates.any():
                    continue
                for sign, bound in ((1.0, low), (-1.0, high)):
                    room = sign * (candidate.offsets[number] - bound)
                    if math.isfinite(bound):
                        side = LeaderBound(self.asked.design.leader[number], lower=sign > 0)
                        yield from self._beyond(lever, number, sign * rates, room, side)

    def _beyond(self, lever: Lever, number: int, rates: Array, room: float, side: LeaderBound) -> Iterator[Deviation]:
        """The deviation that moves the answer most against its bound, if it passes it."""
        unit = float(self.asked.unknowns.spans[number])
        point = _farthest(lever, rates, room + TOLERANCES.tempting * unit)
        if point is None:
            return
        moved = float(rates @ lever.signs(point))
        if moved < -room - TOLERANCES.tempting * unit:
            action = dict(zip(lever.problem.names, point.tolist(), strict=True))
            yield Deviation(lever.name, action, -moved - room, side)


def _farthest(lever: Lever, rates: Array, room: float) -> Array | None:
    """argmin rates · d(v) over what the follower can do; None if it stays within the room, or has no end."""
    slopes = rates @ lever.shown
    if not slopes.any() and not lever.curved:
        return None
    low, high = box_of(lever.variables)
    point = np.where(slopes > 0.0, low, np.where(slopes < 0.0, high, lever.target))
    if not lever.curved:
        if not np.isfinite(point).all():
            return None
        if float(slopes @ (point - lever.target)) >= -room:
            return None
        if not lever.problem.rows:
            return np.where(lever.whole, np.round(point), point)
    answer = sum(float(a) * (v - t) for a, v, t in zip(slopes, lever.variables, lever.target, strict=True) if a)
    answer = answer + sum(float(rates[number]) * curve for number, curve in lever.curved.items())
    if lever.curved and interval(answer)[0] >= -room:
        return None
    program = Program(answer, lever.problem.rows)
    solution = solve(program, "scip")
    if solution.x is None or solution.termination is not Termination.OPTIMAL:
        return None
    place = program.levels(solution.x)
    farthest = np.array([place.get(id(v), t) for v, t in zip(lever.variables, lever.target, strict=True)])
    return np.where(lever.whole, np.round(farthest), farthest)


def _whole(lever: Lever, action: Mapping[str, float]) -> dict[str, float]:
    """Integer actions as integers; what is next to a bound but for rounding is on it."""
    snapped = {}
    for number, (name, var) in enumerate(zip(lever.problem.names, lever.variables, strict=True)):
        level = float(round(action[name])) if lever.whole[number] else action[name]
        near = [b for b in var.bounds if b is not None and abs(level - b) <= TOLERANCES.noise * lever.reach(number)]
        snapped[name] = float(near[0]) if near else level
    return snapped


def _require_bounds(lever: Lever, reply: Reply) -> None:
    """A follower that is not convex is re-solved within bounds alone, its own or what its rows imply."""
    parts = (lever.problem.own, *(row.body for row in lever.problem.rows))
    entering = {id(v) for part in parts for v in variables_in(part)}
    for var, name, *ends in zip(lever.variables, lever.problem.names, *row_ranges(lever.problem), strict=True):
        if id(var) in entering and not np.isfinite(ends).all():
            side = "upper" if math.isfinite(ends[0]) else "lower"
            raise InvalidGame(
                f"{name}: has no {side} bound, and {reply.follower} is not convex under the strategy: a global solver "
                "looks for its best response within bounds. Give it both."
            )


def held_by_deviations(asked: Asked) -> Held:
    """The least gain that holds every follower; raises :class:`NoIncentive` with the certificate if there is none.

    Where the least regret is asked for, and there is none, the least gain under which the most that is gained is least.
    """
    answer = _projected(asked, LeastGain)
    if isinstance(answer, NoIncentive) and asked.wishes.regret == "least":
        answer = _projected(asked, LeastRegret)
    if isinstance(answer, NoIncentive):
        raise answer
    return answer


def _projected(asked: Asked, kind: type[LeastGain]) -> Held | NoIncentive:
    """Within the leader's bounds wherever that is possible, else stopped there if nobody gains by it."""
    bounded = any(math.isfinite(b) for pair in asked.unknowns.bounds for b in pair) and not asked.wishes.saturate
    answer = _settled(asked, kind, within=bounded)
    if isinstance(answer, NoIncentive) and bounded:
        logger.info("%s: no gain within the leader's bounds", asked.game.name)
        outside = _settled(asked, kind, within=False)
        if isinstance(outside, Held) and _survives_projection(asked, outside):
            return outside
    return answer


def _settled(asked: Asked, kind: type[LeastGain], *, within: bool) -> Held | NoIncentive:
    """What the loop ends with."""
    free = bool(asked.unknowns.free.any())
    linear = all(lever.is_affine or (lever.is_linear and not free) for lever in asked.levers.values())
    kind = kind if linear or kind is LeastRegret else CurvedGain
    master = kind(asked.levers, asked.unknowns, asked.wishes.margin, asked.until)
    search = _Search(asked, within=within)
    known = asked.levers.values()
    reaches = {n: lever.reach(i) for lever in known for i, n in enumerate(lever.problem.names)}
    plan = {n: float(t) for lever in known for n, t in zip(lever.problem.names, lever.target, strict=True)}
    outcome = search.loop(master, Deviations(reaches, plan), asked.until)
    if outcome.stop is Stop.EMPTY:
        assert master.excluded is not None
        excluded = _lottery(asked, outcome.rows, within=within) or master.excluded
        return refusal(excluded, asked.levers, asked.unknowns.free)
    worst = outcome.rounds[-1].regret if outcome.rounds else 0.0
    if (
        outcome.stop in (Stop.ROUNDS, Stop.TIME)
        or outcome.candidate is None
        or _is_left(asked, outcome.candidate, worst)
    ):
        too_long = "the time for it was up (design='deviations' takes what it needs)"
        late = too_long if outcome.stop is Stop.TIME else "followers still gain"
        text = f"after {len(outcome.rows)} deviations {late}"
        return NoIncentive(
            f"No affine incentive was found: {text}.",
            reasons=dict.fromkeys(asked.levers, text),
            residuals={reply.follower: reply.regret for reply in search.replies},
            causes=dict.fromkeys(asked.levers, RefusalCause.DEVIATIONS),
        )
    return Held(outcome.candidate, master, outcome.rows)


def _is_left(asked: Asked, candidate: Candidate, regret: float) -> bool:
    """Whether followers gain more than a re-solve forgives: the master's accuracy is not enough."""
    units = [*(lever.problem.unit for lever in asked.levers.values()), *asked.unknowns.spans]
    return bool(regret > candidate.regret + asked.wishes.margin + TOLERANCES.feasibility * max(units))


def _lottery(asked: Asked, rows: Deviations, *, within: bool) -> Excluded | None:
    """The lottery that somebody likes most, of deviations alone: the dual of the least regret; None if it is not found.

    Only looked for where first-order conditions may be part of the proof.
    """
    known = asked.levers.values()
    plain = asked.wishes.regret != "least" and all(lever.is_affine for lever in known)
    if not plain or all(lever.whole.all() for lever in known):
        return None
    master = LeastRegret(asked.levers, asked.unknowns, asked.wishes.margin)
    until = min(asked.until, time.monotonic() + _EXPLAINING)
    _Search(asked, within=within).loop(master, rows, until, _LOTTERIES)
    least = TOLERANCES.tempting * max(lever.problem.unit for lever in known)
    # the rows of any round are a proof; those of the last are the lottery that is liked most
    return Excluded([*master.lottery]) if master.bound > least else None


def _survives_projection(asked: Asked, answer: Held) -> bool:
    """Whether nobody gains where the answers are stopped at the leader's bounds."""
    announced = _Search(asked, within=False).announcement(answer.candidate)
    replies = best_replies(asked.game, announced, set(asked.levers), Effort(asked.wishes.solver))
    return all(r.regret <= answer.candidate.regret + TOLERANCES.feasibility * r.scale for r in replies)


def designed(plan: Plan, game: Game, wishes: Wishes, seconds: float = math.inf) -> Incentive:
    """The incentive whose followers are held deviation by deviation. seconds: how long to look for it."""
    taken: dict[str, float] = {}
    rows = rows_of(plan, game)
    refuse_undefined(rows, rows.at(plan.values))
    design = Entries(rows.natural(plan.values), wishes)
    with timed(taken, "levers"):
        known = levers(design, plan.values)
    if not known:
        raise InvalidGame("observe=: shows nothing of what any follower does, so that there is no gain to design.")
    asked = Asked(plan, game, design, known, Unknowns(design, known, plan.values), time.monotonic() + seconds)
    with timed(taken, "deviations"):
        answer = held_by_deviations(asked)
    candidate, binding = answer.candidate, answer.master.binding()
    count = len(asked.unknowns.entries)
    tight = [line.row[:count] for line, _ in binding]
    rank = int(np.linalg.matrix_rank(np.array(tight), tol=TOLERANCES.rank)) if tight and count else 0
    permitted = len(design.leader) * len(design.signals) if design.allowed is None else int(design.allowed.nnz)
    offsets = dict(zip(design.leader, candidate.offsets.tolist(), strict=True))
    return assembled(
        design,
        plan,
        {**plan.values, **offsets},
        matrix=sparse.csc_array(candidate.gain),
        residual=0.0,
        rank=rank,
        freedom=permitted - rank,
        deviations=_looked_at(asked, answer),
        epsilon=candidate.regret,
        seconds=taken,
    )


def _looked_at(asked: Asked, answer: Held) -> pd.DataFrame:
    """Every deviation that was a row: what the follower would lose by it (slack), and its weight in the gain."""
    candidate, lines = answer.candidate, []
    weights = {
        (line.tag.follower, tuple(line.tag.action.items())): weight
        for line, weight in answer.master.binding()
        if line.tag.kind == "deviation"
    }
    for deviation in answer.rows:
        if deviation.limit:
            continue
        lever = asked.levers[deviation.follower]
        point = lever.point(deviation.action)
        answers = (candidate.offsets + candidate.gain @ lever.signs(point))[lever.instruments]
        planned = lever.cost_at(lever.target, candidate.offsets[lever.instruments])
        weight = weights.get((deviation.follower, tuple(deviation.action.items())), 0.0)
        lines.append((deviation.follower, dict(deviation.action), lever.cost_at(point, answers) - planned, weight))
    frame = pd.DataFrame(lines, columns=DEVIATIONS)
    return frame.sort_values("slack", kind="stable", ignore_index=True)
