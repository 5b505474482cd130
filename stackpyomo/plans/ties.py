"""Ties: what the leader gets if followers who are indifferent choose what is worst for it.

    inf_x ψ(x),   ψ(x) = max {F(x, y): y ∈ S(x)},   the leader's own rows met by every y ∈ S(x)

ψ is known at every x, :mod:`stackpyomo.plans.worst_answers`, and what it is not below comes from

    optimal faces   the infimum as one program: linear and convex quadratic followers with affine rows; prices, and
                    equilibria where the followers' slopes are monotone, as far as the leader's cost is affine in them
    masters         two widths of a tie around the plan: other followers whose rows hold nobody else's variables
    the optimistic plan, for all others: ties broken for the leader are no worse for it than any

S jumps, so that the infimum need not be reached: where ψ stays away from the bound at the only x that could reach it,
leaders beside that x come as near as one likes.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from stackpyomo.bilevel import Options
from stackpyomo.core import TOLERANCES, bounds_of, box_of, clipped, limited_reaches
from stackpyomo.core.expressions import size_of
from stackpyomo.errors import NoPlan
from stackpyomo.games import Follower, Game, objective_at
from stackpyomo.solvers import Program, Termination, free_row, objective_unit

from .answer_sets import are_unique
from .feasibility import rested
from .finite_ties import finite_answer, is_finite
from .joint_answers import JointFaces
from .optimal_faces import OptimalFaces
from .plan import Plan, answered_plan, bounded, not_held
from .problems import leading_problem
from .responding import plan_if_any
from .tie_masters import TieMaster
from .worst_answers import WorstAnswer, WorstAnswers, WorstEquilibria, worst_answers

# Lengths of the steps to leaders beside one, in sizes of its variables or 1.
_ASIDE = (TOLERANCES.nearby, TOLERANCES.strict, TOLERANCES.weak)

_SWEEPS = 12  # Times that all leader variables are moved by one length, as long as that is better.
_FEW = 20  # Leader variables up to which these are looked at, and the minimisers of the bound, one by one.
_WAYS = 8  # Directions in which more of them are moved together.

# Widths of a tie, in sizes of the followers' costs, of the sandwiches around a tie of no width.
_WIDTHS = (TOLERANCES.strict, TOLERANCES.early)


def pessimistic_plan(
    game: Game, followers: Sequence[Follower], optimistic: Plan, options: Options, slack: float
) -> Plan:
    """The plan of the leader who expects the worst answer; ``optimistic`` is the one for the best.

    slack: the difference in a follower's cost that is a tie. Raises :class:`InvalidGame` for ties of a width where
    there is none, :class:`NoPlan` where no leader's choice keeps the leader's rows whatever the ties.
    """
    if never_tie(game, followers, slack):
        reached = True if optimistic.quality == "optimal" else None
        level = optimistic.leader_objective
        return replace(optimistic, attained=reached, ties=_costs(level, level, level, unique=True))
    worst = worst_answers(game, followers, options)
    worst.require_exact(slack)
    return _Search(game, worst, optimistic, options, slack).run()


def never_tie(game: Game, followers: Sequence[Follower], slack: float) -> bool:
    """True if the followers are proved to have one answer whatever the leader does."""
    return not slack and not game.prices and are_unique(game, followers)


def enumerated_plan(game: Game, followers: Sequence[Follower], options: Options) -> Plan | None:
    """The plan against ties of followers of integer actions, by enumeration; None where that is not possible."""
    answer = finite_answer(game, followers) if is_finite(game, followers) else None
    if answer is None:
        return None
    sign, level = game.leader.sign, objective_at(game, game.leader, answer.values)
    plan = answered_plan(
        game,
        answer.values,
        list(game.followers),
        options,
        termination="optimal",
        quality="optimal" if answer.attained else "feasible",
        bound=sign * answer.infimum,
        gap=max(0.0, sign * level - answer.infimum) / (max(abs(level), abs(answer.infimum)) or 1.0),
        solver="enumeration",
        attained=answer.attained,
        ties=_costs(sign * answer.optimistic, sign * answer.infimum, sign * answer.worst),
    )
    if plan.report is not None and not plan.report.ok:
        not_held(plan)
    return plan


@dataclass
class _Search:
    """The best leader against the worst answers so far, and what is proved of all; costs are minimised."""

    game: Game
    worst: WorstAnswers | WorstEquilibria
    optimistic: Plan
    options: Options
    slack: float
    bound: float = -math.inf
    best: WorstAnswer | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    proved_empty: bool = False  #: Proved: no leader's choice is left.
    near: dict[int, float] = field(default_factory=dict)  #: The leader at which the bound lies.
    aside: bool = False  #: Whether the best leader is one beside the leader at which the bound lies.
    faces: OptimalFaces | None = None
    copies: Mapping[int, int] = field(default_factory=dict)  #: id(leader's Var) → id of what it is in ``faces``.

    def run(self) -> Plan:
        sign = self.game.leader.sign
        began = time.monotonic()
        self._until = math.inf if self.options.time_limit is None else began + self.options.time_limit
        self.bound = self._optimistic_bound
        self.near = {id(v): self.optimistic.values[self.game.names[id(v)]] for v in self.worst.leading}
        worst = self._try(self.near)
        for stage in self._stages():
            if self._is_closed or self.proved_empty or time.monotonic() >= self._until:
                break
            stage()
        if not (self._hopes or self.proved_empty or math.isfinite(self.bound)):
            raise NoPlan(
                "With ties broken for the leader its objective improves without limit, and nothing bounds what it can "
                "secure against them. Bound its variables, or add the missing cost.",
                termination="failed",
            )
        if self.best is None:
            why = (
                "The followers' ties, or a follower without a best answer, leave none (proved)."
                if self.proved_empty
                else "Nothing is proved; try time_limit= or other bounds."
            )
            raise NoPlan(
                f"No plan was found that keeps the leader's constraints whatever answer its followers choose. {why}",
                termination="infeasible" if self.proved_empty else "failed",
            )
        if self.best.cost < self.bound - self._gap:  # refuted: multipliers of a tie without limit mislead a solver
            self.bound = self._optimistic_bound
        plan = self._plan(self._reached())
        plan.seconds["ties"] = time.monotonic() - began
        followers = self.worst.followers
        plan.ties = _costs(
            self.optimistic.leader_objective,
            plan.bound if self.aside and self._is_near else plan.leader_objective,
            math.nan if worst is None or worst.broken or not self._hopes else sign * worst.cost,
            tolerance=self.slack,
            witness={self.game.names[id(v)]: self.best.witness[id(v)] for f in followers for v in f.variables},
            answers=self.worst.described(self.best, self.slack) if isinstance(self.worst, WorstAnswers) else [],
        )
        return plan

    def _stages(self) -> Iterator[Any]:
        """What bounds ψ and finds leaders, by what is known of the answers; then the leaders beside."""
        worst = self.worst
        if not isinstance(worst, WorstAnswers):
            joint = JointFaces.of(worst)
            if joint is not None:
                self.faces, self.copies = joint.faces, joint.copies
        elif worst.is_convex:
            self.faces = OptimalFaces.of(worst, self.slack)
        if self.faces is not None:
            yield self._least
            if not self.aside:
                yield lambda: self._least(tight=True)
            if self._is_near:
                return
        elif isinstance(worst, WorstAnswers) and TieMaster.is_usable(worst):
            yield self._bracket
        if not self.slack and len(worst.leading) <= _FEW:
            yield self._look_nearby

    def _least(self, *, tight: bool = False) -> None:
        """The infimum by the program of optimal faces, and the leaders that it is approached by."""
        assert self.faces is not None
        high = math.inf if self.best is None else self.best.cost + self._gap
        answer = self.faces.least(self.bound - self._gap, high, self._gap, until=self._until, tight=tight)
        bound = self.game.leader.sign * answer.bound if math.isfinite(answer.bound) else None
        more = {"treatment": "optimal faces", "level": None, "ties": self.slack, "objective": None, "bound": bound}
        self.log += [solution.entry(**more) for solution in answer.solutions]
        self.proved_empty = answer.solutions[-1].termination is Termination.INFEASIBLE and math.isinf(high)
        if math.isfinite(answer.bound):
            self.bound = max(self.bound, answer.bound)
        for number, answered in enumerate(answer.leaders):
            leader = {id(v): answered[self._place(v)] for v in self.worst.leading}
            resting = self._rested(leader)
            self.near = self.near if number else resting
            for given in (leader,) if resting == leader else (leader, resting):
                self._try(given, aside=number > 0)
            if self._is_closed and not number:
                break

    def _place(self, var: Any) -> int:
        return self.copies.get(id(var), id(var))

    def _bracket(self) -> None:
        """Masters with ties of a width: the one asked for bounds it, the next wider ones have plans."""
        assert isinstance(self.worst, WorstAnswers)
        values = {id(v): self.optimistic.values[name] for name, v in self.game.variables_by_name.items()}
        size = max(size_of(answers.cost, values) for answers in self.worst.answers) or 1.0
        for width in (self.slack, 2.0 * self.slack) if self.slack else (size * width for width in _WIDTHS):
            if self._is_closed or time.monotonic() >= self._until:
                return
            low = self.bound - self._gap
            master = TieMaster(self.worst, width, low, self._scale, self._until)
            master.run()
            if width == self.slack:
                self.bound = max(self.bound, master.bound)
            for leader in reversed(master.chosen):
                self._try(self._rested(leader), aside=True)

    def _look_nearby(self) -> None:
        """Leaders very near the one at which the bound lies; if they are far from it, by ever shorter steps."""
        self._look_around(self.near, TOLERANCES.snap)
        for step in _ASIDE if not self._is_near else ():
            for _ in range(_SWEEPS):
                before = self.best
                self._look_around(self._leader_of_best(), step)
                if self.best is before:
                    break

    def _look_around(self, start: Mapping[int, float], step: float) -> None:
        for var in (v for v in self.worst.leading if v.is_continuous()):
            reach = step * _reach(var, start[id(var)])
            for moved in (start[id(var)] + reach, start[id(var)] - reach):
                if clipped(moved, var) == moved and time.monotonic() < self._until:
                    self._try({**start, id(var): moved}, aside=True)

    @property
    def _hopes(self) -> bool:
        """Whether there is a plan that is best for the leader where ties serve it."""
        return math.isfinite(self.optimistic.leader_objective)

    @property
    def _optimistic_bound(self) -> float:
        """What ties broken for the leader come to at best: no less than that is left of any others."""
        sign, plan = self.game.leader.sign, self.optimistic
        if plan.quality == "optimal":
            return sign * plan.leader_objective
        return -math.inf if math.isnan(plan.bound) else sign * plan.bound

    # --- one leader ---------------------------------------------------------------------------------------------------

    def _try(self, given: Mapping[int, float], *, aside: bool = False) -> WorstAnswer | None:
        """The worst answer at these leader values, kept if it is the best for the leader so far."""
        worst = self._worst_if_kept(given)
        if worst is not None and not worst.broken and (self.best is None or worst.cost < self.best.cost):
            self.best, self.aside = worst, aside
        return worst

    def _worst_if_kept(self, given: Mapping[int, float]) -> WorstAnswer | None:
        """The worst answer at these leader values; None too where they break the leader's own rows."""
        return self.worst.worst(given, self.slack) if self.worst.keeps(given) else None

    def _leader_of_best(self) -> dict[int, float]:
        return self.near if self.best is None else {id(v): self.best.values[id(v)] for v in self.worst.leading}

    def _rested(self, given: Mapping[int, float]) -> dict[int, float]:
        """The leader's values with those next to a bound on it."""
        resting = dict(given)
        for var in self.worst.leading:
            for limit in bounds_of(var):
                if math.isfinite(limit) and abs(given[id(var)] - limit) <= TOLERANCES.snap * _reach(var, limit):
                    resting[id(var)] = limit
        return resting

    @property
    def _is_closed(self) -> bool:
        best = self.best
        return best is not None and best.cost - self.bound <= self._gap

    @property
    def _is_near(self) -> bool:
        best = self.best
        return best is not None and best.cost - self.bound <= TOLERANCES.loss * self._scale

    @property
    def _gap(self) -> float:
        """The largest gap that is called closed."""
        return 2.0 * TOLERANCES.global_gap * self._scale

    @cached_property
    def _scale(self) -> float:
        """How much the leader's cost changes over the reach of one variable, at the plan for the best answer."""
        problem = leading_problem(self.game, {f.name for f in self.worst.followers})
        program = Program(problem.cost, [constraint for _, constraint in problem.constraints])
        return objective_unit(program, program.vector(self.optimistic.values, self.game.names))

    # --- whether the infimum is reached -------------------------------------------------------------------------------

    def _reached(self) -> bool | None:
        """True: by the plan. False: the x whose bound is the infimum are one point, and it is worth more there.

        An infimum that the best answers do not reach, the worst ones do not either. A leader beside the one at which
        the bound lies may always come nearer, so that it reaches nothing, however near it is.
        """
        if self.optimistic.attained is False and self._is_near and self.bound <= self._optimistic_bound + self._gap:
            return False
        if self._is_closed and not self.aside and self._is_steady():
            return True
        if self.slack or not self._is_near or len(self.worst.leading) > _FEW:
            return None
        worst = self.worst.worst(self.near, 0.0, rounded=False)  # a tie by rounding alone refutes nothing
        jumps = worst is not None and (worst.broken or worst.cost - self.bound > self._gap)
        return False if jumps and self._is_only_minimiser() else None

    def _is_steady(self) -> bool:
        """True if leaders who cannot be told from the best one are worth no more, as S has a closed graph: where ψ
        comes to the infimum it is near it all around, and where it jumps its upper end counts."""
        assert self.best is not None
        start = {id(v): self.best.values[id(v)] for v in self.worst.leading}
        moved = [v for v in self.worst.leading if v.is_continuous()]
        reaches = limited_reaches(np.array([start[id(v)] for v in moved]), *box_of(moved)) * TOLERANCES.accuracy
        ways = (
            np.eye(len(moved))
            if len(moved) <= _FEW
            else np.random.default_rng(0).choice((-1.0, 1.0), (_WAYS, len(moved)))
        )
        room = 1.0 + len(moved)  # what the cost and the rows change by on the way
        for steps in (*(ways * reaches), *(-ways * reaches)):
            beside = {id(v): clipped(start[id(v)] + step, v) for v, step in zip(moved, steps.tolist(), strict=True)}
            worst = self._worst_if_kept({**start, **beside})
            if worst is None:
                continue
            if worst.cost > self.bound + room * self._gap or worst.excess > 2.0 * room * TOLERANCES.feasibility:
                return False
        return True

    def _is_only_minimiser(self) -> bool:
        """True if the bound is attained at one x alone, the one known.

        Among the points of the program of optimal faces, elsewhere among the minimisers of the optimistic game, as far
        as that comes to the same.
        """
        level = self.bound + self._gap
        rooms = {id(v): TOLERANCES.weak * _reach(v, self.near[id(v)]) for v in self.worst.leading}
        if self.faces is not None:
            near, reach = ({self._place(v): part[id(v)] for v in self.worst.leading} for part in (self.near, rooms))
            return self.faces.is_only(near, reach, level, self._until)
        if self.game.leader.sign * self.optimistic.leader_objective < self.bound - self._gap:
            return False
        problem = leading_problem(self.game, {f.name for f in self.worst.followers})
        for var, sign in itertools.product(self.worst.leading, (1.0, -1.0)):
            asked = problem.under(free_row(problem.cost, None, level), cost=sign * var)
            plan = plan_if_any(self.game, self.worst.followers, asked, replace(self.options, warm=False))
            if plan is None or not plan.bound >= sign * self.near[id(var)] - rooms[id(var)]:
                return False
        return True

    # --- the plan -----------------------------------------------------------------------------------------------------

    def _plan(self, reached: bool | None) -> Plan:
        assert self.best is not None
        game, sign = self.game, self.game.leader.sign
        worst = self.worst.worst(self._leader_of_best(), self.slack, rounded=False) or self.best
        fields: dict[str, Any] = {
            "termination": "converged",
            "quality": "feasible",
            "seconds": dict(self.optimistic.seconds),
            "solver": self.log[-1]["solver"] if self.log else self.optimistic.solver,
            "log": [*self.optimistic.log, *self.log],
            "attained": reached,
        }
        if worst.plan is not None:
            plan = replace(worst.plan, **fields, bound=math.nan, gap=math.nan, epsilon0=math.nan)
        else:
            values = rested(game, game.completed(worst.values))
            plan = answered_plan(game, values, [f.name for f in self.worst.followers], self.options, **fields)
        cost = sign * plan.leader_objective
        if math.isfinite(self.bound):
            # A bound of plans against ties; ε₀ is about what the leader could hope for.
            bounded(plan, sign, cost, self.bound, self._scale)
            known = reached is True or (self.slack > 0.0 and reached is None)  # ties of a width do not jump
            plan.quality = "optimal" if known and cost - self.bound <= self._gap else "feasible"
        if not self.slack and plan.report is not None and not plan.report.ok:
            not_held(plan)
        return plan


def _reach(var: Any, level: float) -> float:
    """How far a variable is moved as a whole: its size, or the width of its box where that is less or its size nothing;
    1 where neither tells."""
    low, high = bounds_of(var)
    width, size = high - low, abs(level)
    if width == math.inf:
        return size or 1.0
    return min(size, width) if size > TOLERANCES.nothing * width else width


def _costs(optimistic: float, pessimistic: float, worst: float, **more: Any) -> dict[str, Any]:
    """``Plan.ties``: what the leader gets if ties are broken for it, against it, and against the optimistic plan."""
    costs = {"optimistic": optimistic, "pessimistic": pessimistic, "worst": worst}
    return {**costs, "unique": False, "tolerance": 0.0, **more}
