"""Rounds: plan and gain of a second-best rule at once, until every follower's re-solve confirms them.

    min J0(u0, u)   over u0, u, K, λ    s.t.  a_k + A_kᵀ∇_z L_k + M_kᵀKᵀ b_k = 0,  0 ≤ λ_k ⟂ −g_k ≥ 0,  leader's rows

is a relaxation of the best rule: stationary followers, not best responses. A round solves it by the bilevel search
(global where small, else from several starts); what a re-solve of the followers refutes adds rows
(:mod:`stackpyomo.incentives.second_best.cuts`), and the next round begins. A bound of a round whose rows every
valid rule keeps is a bound on all rules with their gain in its bounds.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import sparse

from stackpyomo.bilevel import Candidate, PlanSearch, Problem, Scholtes
from stackpyomo.core import TOLERANCES, bounds_of, is_closed, timed
from stackpyomo.games import Game
from stackpyomo.plans import Options
from stackpyomo.solvers import BadRow, choose
from stackpyomo.verification import PROVED, Effort, Report, resolved

from .cuts import Cuts
from .unknown_gain import UnknownGain

logger = logging.getLogger(__name__)

_ROUNDS = 12  # Rounds of cuts: as a rule one or two suffice.

#: Seconds of a global solver while the search goes on: only the best answer of a round without cuts is worth more.
_NO_PROOF = 0.0

_PATIENCE = 10.0  # Seconds that a re-solve of the followers may take at least.


@dataclass(frozen=True)
class Answer:
    """A plan and a gain that hold in a re-solve of all followers."""

    cost: float
    values: dict[str, float]
    gain: sparse.csc_array
    candidate: Candidate
    report: Report

    @property
    def is_sharp(self) -> bool:
        """True if what a follower could gain is rounding; else one more cut may take it away."""
        return bool((self.report.regret <= TOLERANCES.noise * self.report.scale).all())


@dataclass
class Search:
    """Rounds of the bilevel search over (u0, u, K); ``problem`` is the leader's, without conditions."""

    game: Game
    gain: UnknownGain
    problem: Problem
    cuts: Cuts
    options: Options
    seconds: dict[str, float] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    bound: float = -math.inf  #: Proved: no rule with its gain in these bounds costs less.
    best: Answer | None = None
    scale: float = math.nan  #: What a gap is held against.
    #: Refuted points of the last round: where the next one begins, too.
    budget: float = math.inf  #: ``time.process_time()`` from which on no further stage or round begins.
    lost: list[dict[int, float]] = field(default_factory=list)

    def run(self, points: Sequence[Mapping[int, float]], *, local: bool = False) -> None:
        """Round after round from these points ({id(Var): value}); ``local``: without a global solver."""
        limit = self.options.time_limit
        self._until = math.inf if limit is None else time.monotonic() + limit
        solver = self._local if local else self.options.solver
        for number in range(_ROUNDS):
            self.lost, before = [], len(self.cuts.rows)
            necessary = self.cuts.necessary
            search = self._plan_search(solver, points, before)
            try:
                search.run()
            except BadRow as bad:
                logger.info("%s: the conditions of a rule cannot be written (%s)", self.game.name, bad.reason)
                return
            self._keep(search, necessary)
            logger.info("%s: round %d, bound %.8g, %d rows", self.game.name, number, self.bound, before)
            if not local and len(self.cuts.rows) == before:
                self._settle()
            sharp = self.best is not None and self.best.is_sharp
            added = len(self.cuts.rows) > before
            if not added or time.monotonic() >= self._until or self.is_late or (sharp and self.is_proved):
                return
            if not (math.isfinite(search.bound) and self.cuts.necessary):
                solver = self._local
            points = [*([] if self.best is None else [self.best.candidate.values]), *self.lost, *points]
            points = points[: max(2, self.options.starts)]

    def _plan_search(self, solver: str, points: Sequence[Mapping[int, float]], rows: int) -> PlanSearch:
        left, treatment = self._until - time.monotonic(), self.options.treatment
        if treatment is not None and treatment.needs != "NLP" and solver == self._local:
            treatment = Scholtes()
        return PlanSearch(
            self.game,
            list(self.game.followers.values()),
            self.problem.under(*self.cuts.rows),
            self._check,
            # What this round refutes takes another one.
            replace(
                self.options,
                solver=solver,
                treatment=treatment,
                time_limit=left / 2.0 if math.isfinite(left) else None,
            ),
            points=points,
            halted=lambda: len(self.cuts.rows) > rows or self.is_late,
            seconds=self.seconds,
            log=self.log,
        )

    @property
    def _local(self) -> str:
        """The NLP solver that is asked where no bound is to be had."""
        named = self.options.solver
        return named if named != "auto" and choose(named).ipopt_options else choose("auto").name

    @property
    def is_late(self) -> bool:
        """True if the budget is used up."""
        return time.process_time() >= self.budget

    @property
    def is_proved(self) -> bool:
        """True if the best answer meets the bound and every follower's evidence is a proof."""
        return self.best is not None and is_closed(self.best.cost, self.bound, self.scale)

    @property
    def is_certain(self) -> bool:
        """True if a proof says of every follower that the best answer is its best response."""
        return self.best is not None and bool(self.best.report.certificate.isin(PROVED).all())

    def _keep(self, search: PlanSearch, necessary: bool) -> None:
        best = search.best
        if best is not None and best.answer.x is not None:
            self.scale = best.equilibrium.program.units(best.answer.x)[2]
        if necessary and math.isfinite(search.bound):
            self.bound = max(self.bound, search.bound)

    def _check(self, candidate: Candidate) -> Report | None:
        """Re-solve all followers against the rule; a refuted one leaves its rows."""
        x = candidate.answer.x
        assert x is not None
        if candidate.equilibrium.residuals(x)["feasibility"] > TOLERANCES.feasibility:
            return None
        values = self.game.completed(candidate.values)
        gain = self.gain.matrix(candidate.values)
        report = self._resolved(values, gain, _NO_PROOF)
        if not report.ok:
            self._refute(candidate, report)
            return report
        answer = Answer(candidate.cost, values, gain, candidate, report)
        if self._is_better(answer):
            self.best = answer
            if not answer.is_sharp:
                self._refute(candidate, report)
        return report

    def _resolved(self, values: Mapping[str, float], gain: sparse.csc_array, proof_seconds: float | None) -> Report:
        limit = None if self.options.time_limit is None else max(self.options.time_limit, _PATIENCE)
        with timed(self.seconds, "verify"):
            announced = self.gain.design.announced(values, gain, math.nan)
            effort = Effort(time_limit=limit, proof_seconds=proof_seconds)
            return resolved(self.game, announced, set(self.game.followers), effort)

    def _settle(self) -> None:
        """Re-solve the best answer's followers once more, global solvers among them: it stays, or leaves its rows."""
        best = self.best
        if best is None or self.is_certain:
            return
        report = self._resolved(best.values, best.gain, None)
        self.best = replace(best, report=report) if report.ok else None
        if not report.ok:
            self._refute(best.candidate, report)

    def takes(self, other: Answer | None) -> bool:
        """Keep another answer if it costs clearly less and a thorough re-solve of its followers confirms it."""
        before = self.best
        if other is None or before is None or other.cost >= before.cost - TOLERANCES.global_gap * self.scale:
            return False
        self.best = other
        self._settle()
        self.best = before if self.best is None else self.best
        return self.best is not before

    def _is_better(self, answer: Answer) -> bool:
        """At less cost; or at nearly the same, where the followers of the best one could gain a little."""
        if self.best is None or self.best.is_sharp == answer.is_sharp:
            return self.best is None or answer.cost < self.best.cost
        size = self.scale if math.isfinite(self.scale) else 1.0
        room = TOLERANCES.agreement * size
        return answer.cost < self.best.cost + (room if answer.is_sharp else -room)

    def _refute(self, candidate: Candidate, report: Report) -> None:
        point = {**candidate.values, **{id(v): candidate.values.get(id(v), 0.0) for v in self.gain.variables}}
        if self.best is not None and candidate.cost > self.best.cost:
            return
        self.lost.append(point)
        for name, follower in self.game.followers.items():
            regret = report.regret[name]
            if regret > TOLERANCES.noise * report.scale[name]:
                self.cuts.refuted(follower, report.best_response[name], point)
            elif math.isnan(regret):
                self.cuts.refuted(follower, None, point)

    def slopes_at_bounds(self) -> dict[int, float]:
        """{number of the Var of the gain: d cost/d bound outward} of the best answer's entries at their bounds."""
        best = self.best
        if best is None or best.candidate.answer.duals is None or not best.candidate.answer.polished:
            return {}
        answer, program = best.candidate.answer, best.candidate.equilibrium.program
        x = np.asarray(answer.x)
        reduced = np.asarray(program.problem.gradient(x)) - program.jacobian(x).T @ np.asarray(answer.duals)
        place = {id(v): i for i, v in enumerate(program.variables)}
        slopes = {}
        for number, var in self.gain.holder.gain.items():
            at = place.get(id(var))
            if at is None:
                continue
            side = _side(float(x[at]), *bounds_of(var))
            if side:
                slopes[int(number)] = side * float(reduced[at])
        return slopes


def _side(level: float, lower: float, upper: float) -> int:
    """+1 at the upper bound (or where both are one), −1 at the lower one, 0 between."""
    room = TOLERANCES.active * max((abs(end) for end in (lower, upper) if math.isfinite(end)), default=0.0)
    return 1 if upper - level <= room else -1 if level - lower <= room else 0
