"""By deviations: the loop of master and re-solve that ends with a gain nobody leaves, or with a certificate.

The master (:mod:`stackpyomo.incentives.gains.deviations`) is a relaxation, so that its gain, once no follower gains
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
from pyomo.contrib.fbbt.expression_bounds_walker import ExpressionBoundsVisitor
from pyomo.core.base.var import VarData
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array, bounds_of, timed
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
)
from stackpyomo.errors import InvalidGame, NoIncentive, RefusalCause
from stackpyomo.games import Game
from stackpyomo.games.information import Announcement, Signal
from stackpyomo.plans import Plan
from stackpyomo.solvers import Program, Termination, solve
from stackpyomo.verification import Effort

from .by_slopes import CROWD, Design, weights_of
from .gains.deviations import Candidate, CurvedGain, Excluded, LeastGain, LeastRegret, Unknowns
from .gains.levers import Lever, levers
from .gains.selection import gain_bounds
from .incentive import Incentive
from .lottery import refusal
from .strategy import DEVIATIONS

__all__ = ["How", "designed"]

_LOTTERIES = 40  # Rounds in which a lottery of deviations alone is looked for.
_EXPLAINING = 10.0  # Seconds for that: the refusal stands without it.

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What the user asked of a design by deviations, and what there is to choose."""

    plan: Plan
    game: Game
    leader: Sequence[str]
    signals: Sequence[Signal]
    levers: Mapping[str, Lever]
    unknowns: Unknowns
    regret: str = "zero"
    margin: float = 0.0
    solver: str = "auto"
    saturate: bool = False
    until: float = math.inf  #: ``time.monotonic()`` at which to stop.


@dataclass(frozen=True)
class How:
    """The options of a design that look at deviations."""

    design: str = "auto"
    regret: str = "zero"
    margin: float = 0.0
    seconds: float = math.inf  #: How long to look; what is only to be explained has a budget.


@dataclass(frozen=True)
class Held:
    """A gain that no follower leaves."""

    candidate: Candidate
    master: LeastGain
    outcome: Outcome[Candidate]
    replies: list[Reply]
    within: bool  #: True if the leader stays within its bounds whatever one follower does.


class _Search:
    """One loop: what a candidate announces, who is tempted by it, where it leaves the leader's bounds."""

    def __init__(self, asked: Asked, within: bool) -> None:
        self.asked, self.levers, self.within = asked, asked.levers, within
        self.effort = Effort(asked.solver, 8, "auto", TOLERANCES.tempting)
        self.replies: list[Reply] = []

    def announcement(self, candidate: Candidate) -> Announcement:
        asked, plan = self.asked, self.asked.plan
        offsets = dict(zip(asked.leader, candidate.offsets.tolist(), strict=True))
        gain = sparse.csc_array(candidate.gain)
        return Announcement({**plan.values, **offsets}, plan.leader_objective, asked.leader, asked.signals, gain)

    def tempted(self, candidate: Candidate) -> list[Deviation]:
        """Deviations that break a row of the candidate: of one look at each follower, or else of its verification."""
        announced = self.announcement(candidate)
        tempting = list(self._oversteps(candidate)) if self.within else []
        tempting += list(self._listed(candidate))
        doubtful = {name for name in self.doubtful if self.levers[name].listed is None}
        tempting += self._better(candidate, better_replies(self.asked.game, announced, doubtful))
        if self.asked.margin:
            apart = better_replies(self.asked.game, announced, doubtful, apart=True)
            tempting += self._better(candidate, apart, self.asked.margin)
        if tempting:
            return tempting
        others = {name for name, lever in self.levers.items() if lever.listed is None}  # a list leaves nothing open
        self.replies = best_replies(self.asked.game, announced, others, self.effort, projected=False)
        for reply in self.replies:
            if reply.certificate != "convex":
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
            gained = planned + self.asked.margin - float(costs[best])
            if gained > candidate.regret + TOLERANCES.tempting * lever.problem.unit:
                assert lever.points is not None
                action = dict(zip(lever.problem.names, lever.points[best].tolist(), strict=True))
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
        others = [*game.aggregate_variables(), *(game.variables_by_name[name] for name in self.asked.leader)]
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
                        side = LeaderBound(self.asked.leader[number], lower=sign > 0)
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
    low, high = np.array([bounds_of(v) for v in lever.variables]).reshape(-1, 2).T
    point = np.where(slopes > 0.0, low, np.where(slopes < 0.0, high, lever.target))
    if not lever.curved:
        if not np.isfinite(point).all():
            return None
        if float(slopes @ (point - lever.target)) >= -room:
            return None
        if not lever.problem.rows:
            return np.where(lever.whole, np.round(point), point)
    if lever.curved and _is_within(lever, rates, slopes, room):
        return None
    answer = sum(float(a) * (v - t) for a, v, t in zip(slopes, lever.variables, lever.target, strict=True) if a)
    answer = answer + sum(float(rates[number]) * curve for number, curve in lever.curved.items())
    program = Program(answer, lever.problem.rows)
    solution = solve(program, "scip")
    if solution.x is None or solution.termination is not Termination.OPTIMAL:
        return None
    place = program.levels(solution.x)
    farthest = np.array([place.get(id(v), t) for v, t in zip(lever.variables, lever.target, strict=True)])
    return np.where(lever.whole, np.round(farthest), farthest)


def _is_within(lever: Lever, rates: Array, slopes: Array, room: float) -> bool:
    """Whether intervals show that the answer stays within the room."""
    ends = [slopes * (np.array([bounds_of(v)[k] for v in lever.variables]) - lever.target) for k in (0, 1)]
    low = float(np.nan_to_num(np.minimum(*ends), nan=0.0, neginf=-np.inf).sum())
    for number, curve in lever.curved.items():
        bounds = (
            ExpressionBoundsVisitor().walk_expression(curve) if hasattr(curve, "is_expression_type") else (0.0, 0.0)
        )
        reached = [-math.inf if end is None else float(rates[number]) * end for end in bounds if rates[number]]
        low += min(reached, default=0.0)
    return low >= -room


def _whole(lever: Lever, action: Mapping[str, float]) -> dict[str, float]:
    """Integer actions as integers; what is next to a bound but for rounding is on it."""
    snapped = {}
    for number, (name, var) in enumerate(zip(lever.problem.names, lever.variables, strict=True)):
        level = float(round(action[name])) if lever.whole[number] else action[name]
        near = [b for b in var.bounds if b is not None and abs(level - b) <= TOLERANCES.noise * lever.reach(number)]
        snapped[name] = float(near[0]) if near else level
    return snapped


def _require_bounds(lever: Lever, reply: Reply) -> None:
    """A follower that is not convex is re-solved within bounds alone."""
    for name, var in zip(lever.problem.names, lever.variables, strict=True):
        if var.lb is None or var.ub is None:
            raise InvalidGame(
                f"{name}: has no {'lower' if var.lb is None else 'upper'} bound, and {reply.follower} is not convex "
                "under the strategy: a global solver looks for its best response within bounds. Give it both."
            )


def held_by_deviations(asked: Asked) -> Held:
    """The least gain that holds every follower; raises :class:`NoIncentive` with the certificate if there is none."""
    bounded = any(math.isfinite(b) for pair in asked.unknowns.bounds for b in pair) and not asked.saturate
    answer, refused = _settled(asked, bounded)
    if answer is None and bounded:
        logger.info("%s: no gain within the leader's bounds", asked.game.name)
        outside, _ = _settled(asked, False)
        if outside is not None and _survives_projection(asked, outside):
            return outside
    if answer is None:
        assert refused is not None
        raise refused
    return answer


def _settled(asked: Asked, within: bool) -> tuple[Held | None, NoIncentive | None]:
    free = bool(asked.unknowns.free.any())
    linear = all(lever.is_affine or (lever.is_linear and not free) for lever in asked.levers.values())
    kind = LeastRegret if asked.regret == "least" else LeastGain if linear else CurvedGain
    master, search = kind(asked.levers, asked.unknowns, asked.margin), _Search(asked, within)
    known = asked.levers.values()
    reaches = {n: lever.reach(i) for lever in known for i, n in enumerate(lever.problem.names)}
    plan = {n: float(t) for lever in known for n, t in zip(lever.problem.names, lever.target, strict=True)}
    outcome = generate(master, search.tempted, Deviations(reaches, plan), until=asked.until)
    if outcome.stop is Stop.EMPTY:
        assert master.excluded is not None
        excluded = _lottery(asked, within, outcome.rows) or master.excluded
        return None, refusal(excluded, asked.levers, asked.unknowns.free)
    if outcome.stop in (Stop.ROUNDS, Stop.TIME) or outcome.candidate is None:
        too_long = "the time for it was up (design='deviations' takes what it needs)"
        late = too_long if outcome.stop is Stop.TIME else "followers still gain"
        text = f"after {len(outcome.rows)} deviations {late}"
        raise NoIncentive(
            f"No affine incentive was found: {text}.",
            reasons=dict.fromkeys(asked.levers, text),
            residuals={reply.follower: reply.regret for reply in search.replies},
            causes=dict.fromkeys(asked.levers, RefusalCause.DEVIATIONS),
        )
    return Held(outcome.candidate, master, outcome, search.replies, within), None


def _lottery(asked: Asked, within: bool, rows: Deviations) -> Excluded | None:
    """The lottery that somebody likes most, of deviations alone: the dual of the least regret; None if it is not found.

    Only looked for where first-order conditions may be part of the proof.
    """
    if asked.regret == "least" or not all(lever.is_affine for lever in asked.levers.values()):
        return None
    if all(lever.whole.all() for lever in asked.levers.values()):
        return None
    master, search = LeastRegret(asked.levers, asked.unknowns, asked.margin), _Search(asked, within)
    until = min(asked.until, time.monotonic() + _EXPLAINING)
    outcome = generate(master, search.tempted, rows, most=_LOTTERIES, until=until)
    least = TOLERANCES.tempting * max(lever.problem.unit for lever in asked.levers.values())
    return Excluded(master.lottery) if outcome.stop is Stop.SETTLED and master.least > least else None


def _survives_projection(asked: Asked, answer: Held) -> bool:
    """Whether nobody gains where the answers are stopped at the leader's bounds."""
    announced = _Search(asked, within=False).announcement(answer.candidate)
    replies = best_replies(asked.game, announced, set(asked.levers), Effort(asked.solver))
    return all(r.regret <= answer.candidate.regret + TOLERANCES.feasibility * r.scale for r in replies)


def designed(plan: Plan, game: Game, design: Design, chosen: Sequence[VarData], how: How) -> Incentive:
    """The incentive of a design whose followers are held deviation by deviation."""
    seconds: dict[str, float] = {}
    rows, signals = design.rows, design.signals
    names = [rows.game.names[id(v)] for v in rows.instruments]
    curved = {n for s in signals if s.curve is not None for n in s.terms}
    watched = [
        f.name
        for f, seen in zip(rows.followers, design.watched, strict=True)
        if seen or curved.intersection(game.names[id(v)] for v in f.variables)
    ]
    with timed(seconds, "levers"):
        known = levers(game, plan.values, names, signals, watched)
    if not known:
        raise InvalidGame("observe: shows nothing of what any follower does, so that there is no gain to design.")
    unknowns = _unknowns(plan, design, known, chosen)
    asked = Asked(
        plan, game, names, signals, known, unknowns, how.regret, how.margin, design.wishes.solver,
        design.wishes.saturate, time.monotonic() + how.seconds,
    )  # fmt: skip
    with timed(seconds, "deviations"):
        answer = held_by_deviations(asked)
    return _incentive(plan, design, asked, answer, seconds)


def _unknowns(plan: Plan, design: Design, known: Mapping[str, Lever], chosen: Sequence[VarData]) -> Unknowns:
    """Entries that may be used and reach somebody, free on-path values, and everybody's units."""
    rows, allowed = design.rows, None if design.allowed is None else design.allowed.toarray() != 0.0
    reached = set[tuple[int, int]]()
    for lever in known.values():
        seen = [s for s in range(len(design.signals)) if s in lever.curved or lever.shown[s].any()]
        reached |= {(int(i), s) for i in lever.instruments for s in seen if allowed is None or allowed[i, s]}
    entries = sorted(reached)
    lower, upper = gain_bounds(rows, design.wishes.gain_bounds)
    instruments, signals = (np.array([pair[k] for pair in entries], dtype=int) for k in (0, 1))
    counts = np.where(np.isinf(design.counts), CROWD, design.counts)
    free = {id(v) for v in chosen}
    return Unknowns(
        entries=entries,
        units=rows.instrument_units[instruments] / design.spans[signals],
        energy=weights_of(rows, design.wishes.energy)[instruments] * counts[signals],
        lower=lower[instruments],
        upper=upper[instruments],
        levels=np.array([plan.values[rows.game.names[id(v)]] for v in rows.instruments]),
        free=np.array([id(v) in free for v in rows.instruments], dtype=bool),
        spans=rows.instrument_units,
        bounds=[bounds_of(v) for v in rows.instruments],
    )


def _incentive(plan: Plan, design: Design, asked: Asked, answer: Held, seconds: dict[str, float]) -> Incentive:
    rows, signals, candidate = design.rows, design.signals, answer.candidate
    binding = {id(tag): weight for tag, weight in answer.master.binding()}
    count = len(asked.unknowns.entries)
    tight = [row[:count] for row, tag in zip(answer.master.rows, answer.master.tags, strict=True) if id(tag) in binding]
    rank = int(np.linalg.matrix_rank(np.array(tight), tol=TOLERANCES.rank)) if tight and count else 0
    permitted = len(asked.leader) * len(signals) if design.allowed is None else int(design.allowed.nnz)
    weights = weights_of(rows, design.wishes.energy)
    return Incentive(
        plan=plan,
        leader=list(asked.leader),
        observed=list(signals),
        matrix=sparse.csc_array(candidate.gain),
        offset=dict(zip(asked.leader, candidate.offsets.tolist(), strict=True)),
        targets={s.name: s.value(plan.values) for s in signals},
        actions_seen=[rows.game.names[id(v)] for v in rows.actions],
        residual=0.0,
        rank=rank,
        freedom=permitted - rank,
        weights={n: float(w) for n, w in zip(asked.leader, weights, strict=True) if w != 1.0},
        members={s.name: float(n) for s, n in zip(signals, design.counts, strict=True) if n != 1.0},
        saturate=design.wishes.saturate,
        permitted=design.allowed,
        alone=[f.name for f in rows.followers if f.name not in asked.levers],
        deviations=_looked_at(asked, answer, binding),
        epsilon=candidate.regret,
        seconds=seconds,
    )


def _looked_at(asked: Asked, answer: Held, binding: Mapping[int, float]) -> pd.DataFrame:
    """Every deviation that was a row: what the follower would lose by it (slack), and its weight in the gain."""
    lines = []
    weights = {(t.follower, tuple(t.action.items())): binding.get(id(t), 0.0) for t in answer.master.tags
               if t.kind == "deviation"}  # fmt: skip
    for deviation in answer.outcome.rows:
        if deviation.limit:
            continue
        lever = asked.levers[deviation.follower]
        point = np.array([deviation.action[name] for name in lever.problem.names])
        answers = (answer.candidate.offsets + answer.candidate.gain @ lever.signs(point))[lever.instruments]
        planned = lever.cost_at(lever.target, answer.candidate.offsets[lever.instruments])
        slack = lever.cost_at(point, answers) - planned
        key = (deviation.follower, tuple(deviation.action.items()))
        lines.append((deviation.follower, dict(deviation.action), slack, weights.get(key, 0.0)))
    frame = pd.DataFrame(lines, columns=DEVIATIONS)
    return frame.sort_values("slack", kind="stable", ignore_index=True)
