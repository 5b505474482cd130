"""Ties: what the leader gets if followers who are indifferent choose what is worst for it.

    inf_x ψ(x),   ψ(x) = max {F(x, y): y ∈ S(x)},   the leader's own rows met by every y ∈ S(x)

The game of :mod:`stackpyomo.plans.adversaries` has this infimum as its optimum, so that a bound on it is a bound here.
Its answer is never taken: at its x the followers are solved anew, and ψ(x) from their answer set, in which a tie is
what rounding cannot tell. S jumps, so that the infimum need not be reached: where ψ(x) stays away from the bound, games
in which a tie is a difference of up to ε lead to leaders who come as near as one likes, and the minimisers of the bound
say whether there is an x that could reach it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from stackpyomo.bilevel import Problem, Scholtes
from stackpyomo.core import TOLERANCES
from stackpyomo.errors import NoPlan
from stackpyomo.games import Follower, Game, objective_at
from stackpyomo.solvers import free_row

from .adversaries import Fear, WorstAnswer
from .answer_sets import are_unique
from .answered import answered_plan, not_held
from .finite_ties import finite_answer, is_finite
from .options import Options
from .plan import Plan
from .points import rested
from .responding import respond

__all__ = ["enumerated_plan", "pessimistic_plan"]

_WIDTHS = tuple(10.0 ** (-2 * stage) for stage in (1, 2, 3, 4))
"""Widths of a tie, tried where the infimum is not reached: 1e-2, 1e-4, …"""

_PATIENCE = 4.0
"""Seconds for a game of adversaries that proves nothing."""

_FEW = 20
"""Leader variables up to which the minimisers of the bound are looked at, one by one."""


def pessimistic_plan(
    game: Game, followers: Sequence[Follower], optimistic: Plan, options: Options, slack: float
) -> Plan:
    """The plan of the leader who expects the worst answer; ``optimistic`` is the one for the best.

    slack: the difference in a follower's cost that is a tie. Raises :class:`InvalidGame` for followers without an exact
    description, :class:`NoPlan` where no leader's choice keeps the leader's rows whatever the ties.
    """
    if not slack and are_unique(game, followers):
        reached = True if optimistic.quality == "optimal" else None
        level = optimistic.leader_objective
        ties = {"optimistic": level, "pessimistic": level, "worst": level, "unique": True, "tolerance": 0.0}
        return replace(optimistic, attained=reached, ties=ties)
    fear = Fear(game, followers)
    fear.require_exact(slack)
    return _Search(game, fear, optimistic, options, slack).run()


def enumerated_plan(game: Game, followers: Sequence[Follower], options: Options) -> Plan | None:
    """The plan against ties of followers of whole actions, by enumeration; None where that is not possible."""
    answer = finite_answer(game, followers) if is_finite(game, followers) else None
    if answer is None:
        return None
    sign, level = game.leader.sign, objective_at(game, game.leader, answer.values)
    plan = answered_plan(
        game,
        answer.values,
        list(game.followers),
        options,
        leader_objective=level,
        termination="optimal",
        quality="optimal" if answer.attained else "feasible",
        bound=sign * answer.infimum,
        gap=max(0.0, sign * level - answer.infimum) / max(1.0, abs(level)),
        solver="enumeration",
        attained=answer.attained,
        ties={
            "optimistic": sign * answer.optimistic,
            "pessimistic": sign * answer.infimum,
            "worst": sign * answer.worst,
            "unique": False,
            "tolerance": 0.0,
        },
    )
    if plan.report is not None and not plan.report.ok:
        not_held(plan)
    return plan


@dataclass
class _Search:
    """The best leader found against the worst answers, and what is proved of the best there is; costs are minimised."""

    game: Game
    fear: Fear
    optimistic: Plan
    options: Options
    slack: float
    bound: float = -math.inf
    best: WorstAnswer | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    proved_empty: str = ""
    """Why no leader's choice is left, if that is proved."""
    near: dict[int, float] | None = None
    """The leader of the last game of adversaries with the ties that are asked for."""
    infimum: float = math.nan
    """What the game of adversaries comes to, once it has been solved with proof."""

    def run(self) -> Plan:
        sign = self.game.leader.sign
        began = time.monotonic()
        self._until = math.inf if self.options.time_limit is None else began + self.options.time_limit
        if not math.isnan(self.optimistic.bound):
            self.bound = sign * self.optimistic.bound
        worst = self._try(self._leader_of(self.optimistic))
        for stage in self._stages():
            if self._is_closed or time.monotonic() >= self._until:
                break
            stage()
        if self.best is None:
            why = self.proved_empty or "Nothing is proved; try time_limit= or other bounds."
            raise NoPlan(
                f"No plan was found that keeps the leader's constraints whatever answer its followers choose. {why}",
                termination="infeasible" if self.proved_empty else "failed",
            )
        self._doubt()
        reached = self._reached()
        plan = self._plan(self.fear.worst(self._leader_of_answer(), self.slack, rounded=False) or self.best, reached)
        plan.seconds["ties"] = time.monotonic() - began
        plan.ties = {
            "optimistic": self.optimistic.leader_objective,
            "pessimistic": plan.leader_objective if math.isinf(self.bound) or self._is_closed else plan.bound,
            "worst": math.nan if worst is None or worst.broken else sign * worst.cost,
            "unique": False,
            "tolerance": self.slack,
            "witness": self._named(self.best.witness, self.fear.followers),
            "answers": self.fear.described(self.best, self.slack),
        }
        return plan

    def _stages(self) -> Iterator[Any]:
        """Games of adversaries: with witnesses who serve the leader, with witnesses who respond, with wider ties."""
        yield partial(self._play, self.slack)
        if self.fear.has_linear and not self.slack:
            yield lambda: None if self.is_settled else self._play(self.slack, responding=True)
        if not self.slack and len(self.fear.leading) <= _FEW:
            yield self._step_aside
        for width in _WIDTHS if not self.slack else ():
            yield partial(self._play, width)

    def _step_aside(self) -> None:
        """Leaders a little beside the game's answer, one variable at a time: an infimum is approached from one side."""
        near = self.near
        if near is None or self.game.leader.integers:
            return
        for var in self.fear.leading:
            for step in (TOLERANCES.early, -TOLERANCES.early):
                moved = near[id(var)] + step * max(1.0, abs(near[id(var)]))
                if (var.lb is None or moved >= var.lb) and (var.ub is None or moved <= var.ub):
                    self._try({**near, id(var): moved})

    def _doubt(self) -> None:
        """A leader found to do better than a bound refutes it: multipliers of a tie without limit mislead a solver."""
        if self.best is not None and self.best.cost < self._floor - self._gap:
            sign = self.game.leader.sign
            self.bound = -math.inf if math.isnan(self.optimistic.bound) else sign * self.optimistic.bound
            self.infimum = math.nan

    # --- one game -----------------------------------------------------------------------------------------------------

    def _play(self, slack: float, *, responding: bool = False) -> None:
        """Play the game of adversaries with ties as wide as ``slack``; its bound counts where that is what is asked."""
        known = self.best is not None and math.isfinite(self.bound) and slack == self.slack
        within = (self.bound - self._gap, self.best.cost + self._gap) if known and self.best is not None else None
        game, problem, leading = self.fear.against(slack, responding=responding, within=within)
        try:
            aside = slack != self.slack
            patience = _PATIENCE if aside else math.inf
            plan = self._answer(game, problem, quick=aside and slack < _WIDTHS[0], patience=patience)
        except NoPlan as none:
            if none.termination == "infeasible" and slack == self.slack and "proved by" in str(none):
                self.proved_empty = "The followers' ties, or a follower without a best answer, leave none (proved)."
            return
        self.log += [{**entry, "ties": slack} for entry in plan.log]
        if slack == self.slack and not math.isnan(plan.bound):
            self.bound = max(self.bound, plan.bound)
            self.infimum = plan.leader_objective if plan.quality == "optimal" else self.infimum
        values = {id(v): plan.values[game.names[id(leading[id(v)])]] for v in self.fear.leading}
        self.near = values if slack == self.slack else self.near
        for given in (values, self._rested(values)):
            self._try(given)

    def _answer(self, game: Game, problem: Problem, *, quick: bool = False, patience: float = math.inf) -> Plan:
        """The plan of this game; ``quick``: without a proof, which is not what it is asked for."""
        left = min(self._until - time.monotonic(), patience)
        options = replace(
            self.options, warm=False, time_limit=None if math.isinf(left) else max(left, 1.0), allow_nonconvex=False
        )
        if quick and not self.game.leader.integers:
            options = replace(options, solver="auto", treatment=Scholtes())
        return respond(game, list(game.followers.values()), problem, options)

    def _try(self, given: Mapping[int, float]) -> WorstAnswer | None:
        """The worst answer at these leader values, kept if it is the best for the leader so far."""
        if not self.fear.keeps(given):
            return None
        worst = self.fear.worst(given, self.slack)
        if worst is not None and not worst.broken and (self.best is None or worst.cost < self.best.cost):
            self.best = worst
        return worst

    def _leader_of_answer(self) -> dict[int, float]:
        assert self.best is not None
        return {id(v): self.best.values[id(v)] for v in self.fear.leading}

    def _leader_of(self, plan: Plan) -> dict[int, float]:
        names = self.game.names
        return {id(v): plan.values[names[id(v)]] for v in self.fear.leading}

    def _rested(self, given: Mapping[int, float]) -> dict[int, float]:
        """The leader's values with those next to a bound on it."""
        resting = dict(given)
        for var in self.fear.leading:
            for limit in (var.lb, var.ub):
                if limit is not None and abs(given[id(var)] - limit) <= TOLERANCES.snap * max(1.0, abs(limit)):
                    resting[id(var)] = float(limit)
        return resting

    @property
    def is_settled(self) -> bool:
        """True once the game of adversaries has been solved with proof."""
        return not math.isnan(self.infimum)

    @property
    def _floor(self) -> float:
        """What no leader gets below, but for the gap that is called closed."""
        return max(self.bound, self.infimum) if self.is_settled else self.bound

    @property
    def _is_closed(self) -> bool:
        best = self.best
        return best is not None and best.cost - self._floor <= self._gap

    @property
    def _gap(self) -> float:
        """The largest gap that is called closed."""
        size = 1.0 if self.best is None else max(1.0, abs(self.best.cost))
        return 2.0 * TOLERANCES.global_gap * size

    # --- whether the infimum is reached -------------------------------------------------------------------------------

    def _reached(self) -> bool | None:
        """True: by the plan. False: the x whose bound is the infimum are one point, and it is worth more there."""
        if self._is_closed:
            return True
        best = self.best
        near = best is not None and best.cost - self._floor <= TOLERANCES.loss * max(1.0, abs(best.cost))
        if self.slack or not near or len(self.fear.leading) > _FEW:
            return None
        centre = self._only_minimiser()
        if centre is None:
            return None
        worst = self.fear.worst(centre, 0.0)
        return False if worst is not None and (worst.broken or worst.cost - self._floor > self._gap) else None

    def _only_minimiser(self) -> dict[int, float] | None:
        """The one x at which the infimum may be reached, None if there is more than one or nothing is proved."""
        centre: dict[int, float] = {}
        for var in self.fear.leading:
            ends = [sign * self._end(var, sign) for sign in (1.0, -1.0)]
            if math.isnan(sum(ends)) or ends[1] - ends[0] > TOLERANCES.weak * max(1.0, abs(ends[0])):
                return None
            centre[id(var)] = (ends[0] + ends[1]) / 2.0
        return self._rested(centre)

    def _end(self, var: Any, sign: float) -> float:
        """A proved bound on sign · x where the infimum may be reached: among the minimisers of the optimistic game, as
        far as that comes to the same, else among those of the game of adversaries."""
        if self.game.leader.sign * self.optimistic.leader_objective >= self._floor - self._gap:
            game, place = self.game, var
            rows = [("leader", c) for c in game.leader.constraints]
            problem = Problem(self.fear.cost, rows, leader=self.fear.leading)
        else:
            game, problem, leading = self.fear.against(0.0)
            place = leading[id(var)]
        near = ("leader", free_row(problem.cost, None, self._floor + self._gap))
        try:
            problem = replace(problem, cost=sign * place, constraints=[*problem.constraints, near])
            return self._answer(game, problem).bound
        except NoPlan:
            return math.nan

    # --- the plan -----------------------------------------------------------------------------------------------------

    def _plan(self, worst: WorstAnswer, reached: bool | None) -> Plan:
        game, sign = self.game, self.game.leader.sign
        values = rested(game, game.completed(worst.values))
        level = objective_at(game, game.leader, values)
        cost = sign * level
        plan = answered_plan(
            game,
            values,
            [f.name for f in self.fear.followers],
            self.options,
            leader_objective=level,
            termination="converged",
            quality="feasible",
            seconds=dict(self.optimistic.seconds),
            solver=self.log[-1]["solver"] if self.log else self.optimistic.solver,
            log=[*self.optimistic.log, *self.log],
            attained=reached,
        )
        if math.isfinite(self.bound):
            plan.bound = sign * self.bound  # of plans against ties: ε₀ is about what the leader could hope for
            plan.gap = max(0.0, cost - self.bound) / max(1.0, abs(cost))
            plan.quality = "optimal" if self._is_closed else "feasible"
        if not self.slack and plan.report is not None and not plan.report.ok:
            not_held(plan)
        return plan

    def _named(self, values: Mapping[int, float], followers: Sequence[Follower]) -> dict[str, float]:
        return {self.game.names[id(v)]: values[id(v)] for f in followers for v in f.variables}
