"""Candidates: answers of an equilibrium problem, polished, held against the best so far and against the bound.

An answer is polished on its active set, so that its zeros are exact, and judged by a re-solve of the followers alone:
the best that no follower would leave is the plan, and no bound is believed that a plan undercuts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from stackpyomo.core import TOLERANCES, Array, bounds_of, clipped, is_closed
from stackpyomo.games import Follower, Game
from stackpyomo.solvers import choose, objective_unit
from stackpyomo.verification import Report

from .common_multipliers import Common
from .complementarity import Treatment
from .conditions import Conditions, conditions
from .free_ways import Floor, floor_of
from .idle_prices import with_less
from .implied_boxes import bound_actions, least_cost
from .mpcc import Answer, Equilibrium, Problem
from .nonconvexity import bound_multipliers
from .qualification import interior_points

_FEW = 100  # Pairs up to which actions without an end are looked at for one that conditions imply.


@dataclass(frozen=True)
class Options:
    """What every function that lets followers respond takes."""

    solver: str = "auto"
    starts: int = 1
    treatment: Treatment | None = None
    time_limit: float | None = None
    tee: bool = False
    allow_nonconvex: bool = False
    seed: int = 0  #: Of the random starting points.
    warm: bool = False  #: True where the values to begin with are those of a plan.
    equilibrium: str = "any"  #: Which one: "any", "variational", "best", "worst" or "all".
    common: Common | None = None  #: Rows with one multiplier for all who feel them; None: everybody has its own.
    #: Of the processor, in all for a global solver that was not asked for by name; None: what the search deems small.
    proof_seconds: float | None = None
    sharp: bool = False  #: True where a bound that is within the gap is to be as tight as the solver can make it.


@dataclass
class Candidate:
    """An answer with zeros exact where the polish held, and what a re-solve of the followers said of it."""

    answer: Answer
    equilibrium: Equilibrium
    values: dict[int, float]  #: id(Var) → value, the user's and the multipliers.
    report: Report | None = None
    is_plan: bool = False  #: True if no follower would leave it.

    def judge(self, report: Report | None) -> None:
        """Keep what a re-solve of the followers said."""
        self.report, self.is_plan = report, report is not None and report.ok

    @property
    def cost(self) -> float:
        """The leader's cost (minimised)."""
        return self.answer.cost

    @property
    def residuals(self) -> dict[str, float]:
        """Recomputed: violation of rows and bounds, of the followers' stationarity, of complementarity."""
        assert self.answer.x is not None
        return self.equilibrium.residuals(self.answer.x)


@dataclass
class Candidates:
    """What a search knows; ``check`` re-solves the followers at a candidate (None: it is not feasible as it stands)."""

    game: Game
    followers: Sequence[Follower]
    problem: Problem
    check: Callable[[Candidate], Report | None]
    options: Options = field(default_factory=Options)
    #: {id(Var): value}: where the local stage begins; what is left out keeps the model's value.
    points: Sequence[Mapping[int, float]] = ()
    halted: Callable[[], bool] = lambda: False  #: True once it is of no use to go on.
    seconds: dict[str, float] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    bound: float = -math.inf  #: Proved: no plan costs less.
    prover: str = ""  #: The solver behind bound and infeasibility.
    infeasible: bool = False  #: Proved: there is no plan.
    best: Candidate | None = None  #: The verified candidate of least cost; else the best of the others.
    unbounded: bool = False  #: Proved, or found by every local attempt: the leader's objective improves without limit.
    stops: list[Answer] = field(default_factory=list)  #: How every attempt ended.
    _until: float = field(default=math.inf, init=False)
    _proving: float = field(default=0.0, init=False)  #: Processor seconds of the global stage until now.
    _floor: Floor = field(default=Floor(), init=False)  #: Of the cost, by free ways, where prices have no end.
    _patient: bool = field(default=False, init=False)  #: True once the global stage is the last hope.
    #: id(equilibrium) → (point that was reached, what was made of it).
    _finishes: dict[int, list[tuple[Array, Candidate]]] = field(default_factory=dict, init=False)

    def _write(self) -> None:
        """The conditions: KKT's, and exact ones, which are Fritz John's where no Slater point is known."""
        self._equilibria: dict[tuple[int, str], Equilibrium] = {}
        self.kkt = self._conditions()
        slater = self._slater_points()
        doubtful = [name for name in self.kkt.curved if name not in slater]
        self._exact = self._conditions(doubtful) if doubtful else self.kkt
        for kkt in {id(m): m for m in (self.kkt, self._exact)}.values():
            bound_multipliers(kkt, slater, self.game, self.problem.answers, self.options.common)

    def _end_actions(self) -> None:
        """What conditions imply of actions without an end, and free ways of prices without one, for global solvers."""
        written = [kkt for kkt in {id(m): m for m in (self.kkt, self._exact)}.values() if len(kkt.pairs) <= _FEW]
        for kkt in written:
            bound_actions(kkt, self.game, self._rows)
        endless = self.problem.has_cost and not math.isfinite(self._least_cost)
        if written and endless and not self.problem.answers:  # prices that answer are others at a deviation
            self._floor = floor_of(self.game, self.followers, self.problem.cost, self._least)
            for kkt in written:
                kkt.implied += self._floor.rows

    @cached_property
    def _least_cost(self) -> float:
        """What the cost cannot be below, over bounds and the rows that hold in this problem."""
        return self._least(self.problem.cost)

    def _least(self, expression: Any) -> float:
        """What it cannot be below by interval arithmetic, everybody's conditions among the rows; −∞: nothing."""
        return least_cost(self.game, expression, [*self._rows, *self._exact.implied])

    @property
    def _rows(self) -> list[Any]:
        """Those that hold whoever responds, but for conditions."""
        return [*(c for _, c in self.problem.constraints), *(c for f in self.followers for c in f.constraints)]

    def _conditions(self, fritz_john: Sequence[str] = ()) -> Conditions:
        began = time.perf_counter()
        answers, common = self.problem.answers, self.options.common
        kkt = conditions(
            self.game,
            self.followers,
            fritz_john=fritz_john,
            answers=answers,
            common=common,
            units=self._units(),
            plainly=True,
        )
        if not self.problem.leaning:
            kkt.stand_alone()
        self.seconds["conditions"] = self.seconds.get("conditions", 0.0) + time.perf_counter() - began
        return kkt

    def _units(self) -> Mapping[str, float]:
        """Follower → what its cost is multiplied by in its conditions; 1 where it is not named."""
        return {}

    def _slater_points(self) -> dict[str, dict[int, float]]:
        """Those of the followers with curved rows for whom one is proved; the others get Fritz John's conditions."""
        points = interior_points(self.game, self.kkt.curved, self.problem.answers)
        return {name: point for name, point in points.items() if point is not None}

    @property
    def _is_proved(self) -> bool:
        return self.best is not None and self._has_plan and is_closed(self.best.cost, self.bound, self.scale)

    @property
    def _has_plan(self) -> bool:
        """True if the best candidate is one that no follower would leave."""
        return self.best is not None and self.best.is_plan

    def _equilibrium(self, kkt: Conditions, treatment: Treatment | None) -> Equilibrium:
        key = id(kkt), repr(treatment)
        if key not in self._equilibria:
            self._equilibria[key] = self._posed(self.problem, kkt, treatment)
        return self._equilibria[key]

    def _posed(self, problem: Problem, kkt: Conditions, treatment: Treatment | None) -> Equilibrium:
        return Equilibrium(problem, kkt, treatment, self.seconds, self.log)

    # --- what an answer is worth --------------------------------------------------------------------------------------

    @property
    def scale(self) -> float:
        """The change of the leader's cost over the reach of one variable, at the best answer: the scale of gaps."""
        best = self.best
        assert best is not None
        plain = self._equilibrium(self.kkt, None)
        return objective_unit(plain.program, plain.point(best.values))

    def _is_refuted(self, bound: float, cost: float) -> bool:
        """True of a bound that a verified answer undercuts."""
        return bound - cost > TOLERANCES.global_gap * self.scale

    def _at(self, answer: Answer, values: dict[int, float]) -> Candidate:
        """The answer of another treatment, or another objective, at its values."""
        plain = self._equilibrium(self.kkt, None)
        x = plain.point(values)
        duals = answer.duals if answer.polished else None  # of another program otherwise
        return Candidate(
            replace(answer, x=x, cost=plain.cost(x), duals=duals), plain, {**values, **plain.program.levels(x)}
        )

    def _checked(self, candidate: Candidate) -> Candidate:
        if candidate.report is None:  # else it was offered before
            candidate.judge(self.check(candidate))
        return candidate

    def _refined(self, exact: Equilibrium, answer: Answer) -> Iterator[Candidate]:
        """The polished answer, and the answer as it came: where there are integers, it may be all there is."""
        if answer.x is None:
            return
        active = exact.multipliers(answer.x) > exact.slacks(answer.x)
        x = np.clip(answer.x, *exact.program.bounds)
        values = {**exact.program.levels(x), **self._rescaled(exact, x)}
        values.update((id(v), float(round(values[id(v)]))) for v in exact.program.variables if not v.is_continuous())
        raw = self._at(answer, values | exact.conditions.at_bounds(active))
        if any(v.is_continuous() for v in self.game.variables_by_name.values() if not v.fixed):
            piece = self._piece(raw.values)
            start = piece.point(raw.values)
            polished = piece.polished(start, self._nlp, active=active, signed=True, until=self._until)
            if polished is not None and polished.x is not None:
                polished.polished = piece is self._equilibrium(self.kkt, None)  # else its duals are of other rows
                yield self._at(polished, self._without_rounding({**raw.values, **piece.program.levels(polished.x)}))
        yield raw

    def _piece(self, _: Mapping[int, float]) -> Equilibrium:
        """The rows that an answer with these values is polished on."""
        return self._equilibrium(self.kkt, None)

    def _without_rounding(self, values: dict[int, float]) -> dict[int, float]:
        """The game's variables with 0 for what is nothing beside their boxes: a cost may hang on it being 0."""
        for var in self.game.variables_by_name.values():
            low, high = bounds_of(var)
            boxed = math.isfinite(high - low) and clipped(0.0, var) == 0.0
            if boxed and abs(values.get(id(var), math.inf)) <= TOLERANCES.noise * (high - low):
                values[id(var)] = 0.0
        return values

    def _rescaled(self, exact: Equilibrium, x: Array) -> dict[int, float]:
        """Multipliers of the KKT conditions from Fritz John's: divided by τ."""
        if exact.conditions is self.kkt:
            return {}
        levels = exact.program.levels(x)
        scaled = {}
        for theirs, ours in zip(self._exact.pairs, self.kkt.pairs, strict=True):
            scaled[id(ours.multiplier)] = self._exact.weighed(theirs.follower, theirs.multiplier, levels)
            scaled[id(ours.slack)] = levels.get(id(theirs.slack), 0.0)
        return scaled

    @property
    def _nlp(self) -> str:
        """The NLP solver for polishes."""
        return self.options.solver if self._names_nlp else "auto"

    @property
    def _names_nlp(self) -> bool:
        """True if an NLP solver was asked for by name."""
        return self.options.solver != "auto" and choose(self.options.solver).ipopt_options

    def _finished(self, equilibrium: Equilibrium, answer: Answer, solver: str) -> Candidate:
        """Polished, if that holds; where the same point was reached before, what was made of it then."""
        assert answer.x is not None
        for before, candidate in (known := self._finishes.setdefault(id(equilibrium), [])):
            if (np.abs(answer.x - before) <= TOLERANCES.noise * equilibrium.program.units(before)[0]).all():
                return candidate
        polished = answer if answer.polished else equilibrium.polished(answer.x, solver, until=self._until)
        best = polished if polished is not None and polished.x is not None else answer
        assert best.x is not None
        known.append((answer.x, Candidate(best, equilibrium, equilibrium.program.levels(best.x))))
        return known[-1][1]

    def _offer(self, *candidates: Candidate) -> bool:
        """Verify in order of cost until one holds; True if one does."""
        known = self.best.cost if self.best is not None and self._has_plan else math.inf
        for candidate in sorted(candidates, key=lambda c: c.cost):
            if candidate.cost >= known:
                break
            if self._keep(self._checked(candidate)):
                self._bring_prices_down()
                if self._is_refuted(self.bound, candidate.cost):
                    self.bound = -math.inf
                return True
        return self._has_plan

    def _offer_refined(self, exact: Equilibrium, answer: Answer) -> None:
        """The polished answer, and as it came where that is no plan, or far worse: beside immense prices it may be."""
        for candidate in self._refined(exact, answer):
            best = self.best if self._has_plan else None
            if best is None or candidate.cost < best.cost - TOLERANCES.agreement * self.scale:
                self._offer(candidate)

    def _bring_prices_down(self) -> None:
        """The best plan with idle prices that are no larger than they have to be, where no follower would leave it.

        An action of 1e-9 seemed to pay them: what the leader's slopes say of that is not lost.
        """
        best = self.best
        assert best is not None
        plain, own = self._equilibrium(self.kkt, None), {id(v) for v in self.game.variables_by_name.values()}
        before = plain.point(best.values)
        x = with_less(plain, before, own)
        if x is None:
            return
        lower = self._checked(self._at(replace(best.answer, polished=False), best.values | plain.program.levels(x)))
        seeming = max(0.0, float(np.asarray(plain.program.problem.gradient(before)) @ (x - before)))
        if lower.is_plan and lower.cost <= best.cost + seeming + TOLERANCES.accuracy * plain.program.units(x)[2]:
            self.best = lower

    def _keep(self, candidate: Candidate) -> bool:
        """Whether a candidate that was checked is the best so far; of those that are no plan the first is kept."""
        good = candidate.is_plan
        better = self.best is None or not self._has_plan or candidate.cost < self.best.cost
        if (good and better) or (self.best is None and candidate.report is not None):
            self.best = candidate
        return good and better


def tell_objectives(log: Sequence[dict[str, Any]], sign: int) -> None:
    """Turn costs and bounds of a log into the leader's objective; ``sign`` 0: there is none."""
    for entry in log:
        for key, level in (("objective", entry.pop("cost", None)), ("bound", entry["bound"])):
            entry[key] = sign * level if sign and level is not None else None
