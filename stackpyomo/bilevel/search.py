"""The search for a plan: from the stage that proves most to the one that always gives something.

1. *Global*: the exact conditions with SOS1 in SCIP (Fritz John's where a follower's rows are not affine, so that the
   bound holds without a constraint qualification), where the game is small enough.
2. *Path*: with the leader held, Newton's method along the central path; one equilibrium that holds is enough.
3. *Local*: several treatments of complementarity and several starts in an NLP solver.

Each answer is polished on its active set; the best that :func:`stackpyomo.verify` confirms by re-solving the followers
wins. No solver's success is taken for evidence, and every attempt is in the log.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pyomo.core.base.var import VarData

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.core.expressions import is_convex_problem
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game
from stackpyomo.solvers import BadRow, Termination, choose, random_start, registry
from stackpyomo.verification import Report

from .common_multipliers import Common
from .complementarity import SOS1, BigM, FischerBurmeister, Penalty, Scholtes, Treatment, interval
from .conditions import Conditions, conditions
from .endless_prices import endless_prices
from .mpcc import Answer, Equilibrium, Problem
from .nonconvexity import bound_multipliers
from .qualification import interior_points

__all__ = ["Candidate", "PlanSearch"]

logger = logging.getLogger(__name__)

_SMALL = 150  # Pairs up to which the global stage is tried by itself.

_MANY = 2000  # Pairs from which on the first verified local answer is taken.

# Least number of starts of the local stage in a small game: it gets there only if the global one did not close.
_STARTS = 5

_FAR = 1e4  # How much less is asked for, in units of the objective's scale, where it may improve without limit.

# Part of the time that a global solver gets where it was asked for by name: local searches may find better.
_SHARE = 0.8

# Seconds of a solve of the global stage where no time limit is given; the least where they are all spent.
_PATIENCE, _LEAST = 10.0, 0.1


@dataclass
class Candidate:
    """An answer with zeros exact where the polish held, and what a re-solve of the followers said of it."""

    answer: Answer
    equilibrium: Equilibrium
    values: dict[int, float]  #: id(Var) → value, the user's and the multipliers.
    report: Report | None = None

    @property
    def cost(self) -> float:
        """The leader's cost (minimised)."""
        return self.answer.cost


@dataclass
class PlanSearch:
    """One search; ``check`` re-solves the followers at a candidate (None: it is not feasible as it stands)."""

    game: Game
    followers: Sequence[Follower]
    problem: Problem
    check: Callable[[Candidate], Report | None]
    solver: str = "auto"
    starts: int = 1
    treatment: Treatment | None = None
    time_limit: float | None = None
    tee: bool = False
    seed: int = 0
    #: Of the global stage in all, where it was not asked for by name; None: ``_PATIENCE`` for each of its solves.
    proof_seconds: float | None = None
    #: {id(Var): value}: where the local stage begins; what is left out keeps the model's value.
    points: Sequence[Mapping[int, float]] = ()
    halted: Callable[[], bool] = lambda: False  #: True once it is of no use to go on.
    common: Common | None = None  #: Rows with one multiplier for all who feel them.
    seconds: dict[str, float] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    bound: float = -math.inf  #: Proved: no plan costs less.
    prover: str = ""  #: The solver behind bound and infeasibility.
    infeasible: bool = False  #: Proved: there is no plan.
    best: Candidate | None = None  #: The verified candidate of least cost; else the best of the others.
    unbounded: bool = False  #: Proved, or found by every local attempt: the leader's objective improves without limit.
    stops: list[Answer] = field(default_factory=list)  #: How every attempt ended.

    def run(self) -> None:
        """Try stage after stage until something is proved, or none is left."""
        self._until = math.inf if self.time_limit is None else time.monotonic() + self.time_limit
        self.kkt = self._conditions()
        slater = self._slater_points()
        doubtful = [name for name in self.kkt.curved if name not in slater]
        self._exact = self._conditions(doubtful) if doubtful else self.kkt
        for kkt in {id(m): m for m in (self.kkt, self._exact)}.values():
            bound_multipliers(kkt, slater, self.game, self.problem.answers, self.common)
        self._equilibria: dict[tuple[int, str], Equilibrium] = {}
        for stage in self._stages():
            stage()
            best = "no answer" if self.best is None else f"cost {self.best.cost:.8g}"
            logger.info("%s: %s, bound %.8g after %d attempts", self.game.name, best, self.bound, len(self.log))
            settled = self.infeasible or self.unbounded or self._is_proved or self._is_enough
            if settled or self.halted() or time.monotonic() >= self._until:
                break

    def _conditions(self, fritz_john: Sequence[str] = ()) -> Conditions:
        began = time.perf_counter()
        answers, common = self.problem.answers, self.common
        kkt = conditions(self.game, self.followers, fritz_john=fritz_john, answers=answers, common=common)
        if not self.problem.leaning:
            kkt.stand_alone()
        self.seconds["conditions"] = self.seconds.get("conditions", 0.0) + time.perf_counter() - began
        return kkt

    def _slater_points(self) -> dict[str, dict[int, float]]:
        """Those of the followers with curved rows for whom one is proved; the others get Fritz John's conditions."""
        points = interior_points(self.game, self.kkt.curved, self.problem.answers)
        return {name: point for name, point in points.items() if point is not None}

    def _stages(self) -> Iterator[Callable[[], None]]:
        """The stages that solver and treatment allow, in the order they are tried."""
        solver, treatment = self.solver, self.treatment
        if treatment is None and solver != "auto":
            classes = choose(solver).classes
            treatment = SOS1() if "SOS1" in classes else None if "NLP" in classes else BigM()
        if treatment is not None and treatment.needs != "NLP":
            chosen = self._able(treatment)
            yield lambda: self._discrete(treatment, chosen)
            if self.treatment is None and not self.game.leader.integers:  # what it finds by itself may be worse
                yield lambda: self._local(self._nlp)
            return
        integers = self.game.leader.integers
        if integers and (treatment is not None or solver != "auto"):
            raise InvalidGame(
                f"{integers[0].name}: an integer variable, and {'this treatment' if treatment else solver} is "
                "continuous. Use solver='scip', relax its domain, or fix it."
            )
        if not self.kkt.pairs and not integers:
            yield lambda: self._local(solver)
        if self.common is not None and self._is_square and not integers:  # where nothing else has to be chosen
            yield self._path
        small = len(self.kkt.pairs) <= _SMALL and registry["scip"].available
        if solver == "auto" and self.treatment is None and small:
            yield lambda: self._discrete(SOS1(), "scip")
        if self.common is None and self._is_square and not integers:
            yield self._path
        if not integers:
            yield lambda: self._local(self._able(treatment) if treatment else solver)

    @property
    def _is_square(self) -> bool:
        """True where Newton's method along the central path may be tried."""
        return bool(self.kkt.pairs) and not self.problem.has_cost and self.solver == "auto" and self.treatment is None

    def _able(self, treatment: Treatment) -> str:
        """The solver asked for, if it takes what the treatment makes; "auto": one that does."""
        if self.solver == "auto":
            return "auto" if treatment.needs == "NLP" else "scip"
        if treatment.needs not in choose(self.solver).classes:
            able = ", ".join(n for n, i in registry.items() if treatment.needs in i.classes)
            raise InvalidGame(
                f"complementarity={treatment.name}: needs a solver for {treatment.needs} ({able}), "
                f"and solver={self.solver!r} is none."
            )
        return self.solver

    @property
    def _is_enough(self) -> bool:
        """True once an equilibrium holds, where there is no cost by which another could be better."""
        return not self.problem.has_cost and self.best is not None and _is_good(self.best)

    @property
    def _is_proved(self) -> bool:
        best = self.best
        return best is not None and _is_good(best) and self.is_closed(best.cost)

    def is_closed(self, cost: float) -> bool:
        """True if nothing better than ``cost`` is left by the bound."""
        return cost - self.bound <= TOLERANCES.global_gap * self.scale * (1.0 + TOLERANCES.noise)

    def _equilibrium(self, kkt: Conditions, treatment: Treatment | None) -> Equilibrium:
        key = id(kkt), repr(treatment)
        if key not in self._equilibria:
            self._equilibria[key] = Equilibrium(self.problem, kkt, treatment, self.seconds)
            self._equilibria[key].log = self.log
        return self._equilibria[key]

    # --- stages -------------------------------------------------------------------------------------------------------

    def _discrete(self, treatment: Treatment, solver: str) -> None:
        """Exact conditions in a solver with integers: its bound counts where it is global and nothing was assumed."""
        for kkt in (self._exact, self.kkt) if self._exact is not self.kkt else (self.kkt,):
            exact = self._equilibrium(kkt, treatment)
            answer = exact.solve(solver, until=self._deadline(), tee=self.tee)
            self.stops.append(answer)
            classes = choose(solver).classes  # of linear rows a MIP solver proves as much
            proves = "global" in classes or ("MIP" in classes and exact.program.is_linear)
            if answer.x is not None and (audits := exact.audit(answer.x)):
                self.log[-1]["audit"] = audits
                proves = proves and all(row["verdict"] == "proved" for row in audits)
            elif isinstance(treatment, BigM):
                proves = False
            proves = proves and kkt is self._exact
            closed = self._is_bounded(answer.termination)
            if proves:
                self.infeasible = closed and answer.termination is Termination.INFEASIBLE
                self.prover = answer.solver
                self.bound = max(self.bound, answer.bound if closed and math.isfinite(answer.bound) else -math.inf)
            for candidate in self._refined(exact, answer):
                if self._offer(candidate):
                    break
            if proves and not closed:
                self._ask(kkt, treatment, solver)
            if self.infeasible:
                self._doubt()
            elif proves and answer.termination is Termination.INFEASIBLE:
                self.stops[-1] = replace(
                    answer, termination=Termination.FAILED, message="called infeasible, and not confirmed"
                )
            if answer.x is None and (closed or self.infeasible or not proves):
                return
            if self.best is not None and _is_good(self.best):
                if proves and closed and isinstance(treatment, SOS1):
                    self._sharpen(exact, answer)
                return

    def _is_bounded(self, termination: Termination) -> bool:
        """True if the cost is bounded on the variables' own box.

        Elsewhere a global solver's bound is no proof: it may drop what a relaxation without a limit leaves open, and
        call the problem infeasible for it.
        """
        if termination is Termination.TIME_LIMIT or not self.problem.has_cost:
            return termination is not Termination.UNBOUNDED
        return math.isfinite(interval(self.problem.cost)[0])

    def _ask(self, kkt: Conditions, treatment: Treatment, solver: str) -> None:
        """Is there an equilibrium that costs less, much less? Asked without an objective, which nothing can leave open.

        None that costs less than the best by more than the gap: a bound. Ever better ones: they may lie on a ray.
        """
        for far in (0.0, _FAR, 0.0):
            level = math.inf
            if self.best is not None and _is_good(self.best):
                level = self.best.cost - max(TOLERANCES.global_gap, far) * self.scale
            answer, asked = self._asked(level, kkt, treatment, solver)
            if answer.termination is Termination.INFEASIBLE and "unbounded" not in answer.message:
                self.infeasible = math.isinf(level)
                self.bound = max(self.bound, -math.inf if self.infeasible else level)
                if self.infeasible or not far:
                    return
                continue
            before = math.inf if self.best is None else self.best.cost
            for candidate in self._refined(asked, answer):
                if self._offer(candidate):
                    break
            if self.best is None or not self.best.cost < before or self._escapes():
                return

    def _asked(self, level: float, kkt: Conditions, treatment: Treatment, solver: str) -> tuple[Answer, Equilibrium]:
        """An equilibrium that costs at most ``level``, its rows met as tightly as the solver can."""
        below = [("leader", self.problem.cost <= level)] if math.isfinite(level) else []
        wanted = replace(self.problem, cost=0.0, constraints=[*self.problem.constraints, *below])
        try:
            asked = Equilibrium(wanted, kkt, treatment, self.seconds)
        except BadRow:  # the cost is a constant
            return Answer(Termination.INFEASIBLE, "the cost does not change", solver), self._equilibrium(self.kkt, None)
        asked.log = self.log
        answer = asked.solve(solver, until=self._deadline(), tee=self.tee, tight=True)
        self.log[-1]["treatment"] += ", asked for less"
        return answer, asked

    @property
    def scale(self) -> float:
        """The change of the leader's cost over the reach of one variable, at the best answer: the scale of gaps."""
        best = self.best
        assert best is not None
        plain = self._equilibrium(self.kkt, None)
        return plain.program.units(plain.point(best.values))[2]

    def _escapes(self) -> bool:
        """True if a ray of equilibria, or a price, leads from the best one ever lower: far out they hold, re-solved."""
        best = self.best
        if best is None or not _is_good(best):
            return False
        plain = self._equilibrium(self.kkt, None)
        at = plain.point(best.values)
        points = plain.endless(at) or endless_prices(plain, at, self.game.price_variables)
        beyond = (self._at(best.answer, {**best.values, **_values(plain, x)}) for x in points)
        good = [_is_good(c) for c in map(self._checked, beyond) if c.report is None or c.report.regret.notna().all()]
        self.unbounded = bool(good) and all(good)  # so far out not every re-solve is a proof
        return self.unbounded

    def _at(self, answer: Answer, values: dict[int, float]) -> Candidate:
        """The answer of another treatment, or another objective, at its values."""
        plain = self._equilibrium(self.kkt, None)
        x = plain.point(values)
        duals = answer.duals if answer.polished else None  # of another program otherwise
        return Candidate(replace(answer, x=x, cost=plain.cost(x), duals=duals), plain, {**values, **_values(plain, x)})

    def _checked(self, candidate: Candidate) -> Candidate:
        candidate.report = self.check(candidate)
        return candidate

    def _path(self) -> None:
        """With the leader held the conditions are as many as the unknowns: along the central path, then polished."""
        plain = self._equilibrium(self.kkt, None)
        answer = plain.followed(self._until)
        if answer is not None and answer.x is not None:
            self._offer(self._finished(plain, answer, self._nlp))

    def _sharpen(self, exact: Equilibrium, answer: Answer) -> None:
        """A solver that closed its own gap did so for rows met to its tolerance: a tighter one gives a better bound."""
        best = self.best
        assert best is not None
        if self._is_proved or not math.isfinite(self.bound) or answer.termination is not Termination.OPTIMAL:
            return
        if choose(answer.solver).tight:
            again = exact.solve(answer.solver, until=self._deadline(), tee=self.tee, tight=True)
            if self.bound < again.bound and not self._is_refuted(again.bound, best.cost):
                self.bound = again.bound

    def _is_refuted(self, bound: float, cost: float) -> bool:
        """True of a bound that a verified answer undercuts."""
        return bound - cost > TOLERANCES.global_gap * self.scale

    def _doubt(self) -> None:
        """A floating-point solver may call a curved system infeasible that is not: a verified answer refutes it."""
        if not self.game.leader.integers:
            self._local(self._nlp, [Scholtes(), FischerBurmeister()], starts=1)
        if self.best is not None and _is_good(self.best):
            self.infeasible, self.bound = False, -math.inf

    def _deadline(self) -> float:
        """Half of what is left, where local stages follow; a default where no limit is given."""
        now = time.monotonic()
        if self.treatment is not None or self.solver != "auto":
            return self._until if self.treatment is not None else now + _SHARE * (self._until - now)
        if self.proof_seconds is not None:
            spent = sum(float(entry.get("seconds", 0.0)) for entry in self.log if entry.get("solver") == "scip")
            return min(self._until, now + max(_LEAST, self.proof_seconds - spent))
        return now + (_PATIENCE if math.isinf(self._until) else (self._until - now) / 2.0)

    def _refined(self, exact: Equilibrium, answer: Answer) -> Iterator[Candidate] | tuple[Candidate, ...]:
        """The polished answer, or where there is none (integers) the answer as it came."""
        if answer.x is None:
            return ()
        plain = self._equilibrium(self.kkt, None)
        active = exact.multipliers(answer.x) > exact.slacks(answer.x)
        values = {**_values(exact, answer.x), **self._rescaled(exact, answer.x)}
        at_bounds = (pair for pair, on in zip(exact.conditions.pairs, active, strict=True) if on)
        values.update((id(p.component), p.limit) for p in at_bounds if isinstance(p.component, VarData))
        raw = self._at(answer, values)
        polished = plain.polished(plain.point(values), self._nlp, active=active, signed=True, until=self._until)
        if polished is None or polished.x is None:
            return (raw,)
        return (self._at(polished, {**raw.values, **_values(plain, polished.x)}), raw)

    def _rescaled(self, exact: Equilibrium, x: Array) -> dict[int, float]:
        """Multipliers of the KKT conditions from Fritz John's: divided by τ."""
        if exact.conditions is self.kkt:
            return {}
        levels = _values(exact, x)
        scaled = {}
        for theirs, ours in zip(self._exact.pairs, self.kkt.pairs, strict=True):
            scaled[id(ours.multiplier)] = self._exact.multiplier(theirs.follower, theirs.multiplier, levels)
            scaled[id(ours.slack)] = levels.get(id(theirs.slack), 0.0)
        return scaled

    @property
    def _nlp(self) -> str:
        """The NLP solver for polishes."""
        return self.solver if self.solver != "auto" and choose(self.solver).ipopt_options else "auto"

    def _local(self, solver: str, treatments: Sequence[Treatment] = (), starts: int = 0) -> None:
        """NLP treatments from the model's values, then from random points.

        One verified answer will do in a large game, and where there is no cost by which another could be better.

        ``starts``: how many of these, 0 for what suits the game.
        """
        treatments = treatments or (
            [self.treatment] if self.treatment else [Scholtes(), FischerBurmeister(), Penalty()]
        )
        content = len(self.kkt.pairs) > _MANY or not self.problem.has_cost
        random = np.random.default_rng(self.seed)
        waiting: list[Candidate] = []
        named = self.solver != "auto" and choose(self.solver).ipopt_options
        hard = self.treatment is None and not named and len(self.kkt.pairs) <= _SMALL
        count = starts or max(len(self.points), max(self.starts, _STARTS) if hard else self.starts)
        for start in range(count):
            seed = int(random.integers(2**31))
            for number, treatment in enumerate(treatments):
                if self.treatment is None and number > 1 and (waiting or self._runs_away):
                    continue  # the third is for those that the first two leave without an answer
                equilibrium = self._equilibrium(self.kkt, treatment)
                point = self._start(equilibrium, start, seed)
                waiting += self._attempt(equilibrium, solver, point, start)
                if content and waiting and start == 0 and self._offer(*waiting):
                    return
        self._offer(*waiting)
        self._prove_convex()
        if self._runs_away:
            if self.best is None:
                self._offer(*self._anywhere(solver))
            self._escapes()

    def _start(self, equilibrium: Equilibrium, number: int, seed: int) -> Array | None:
        """One of the given points, the model's values (None), or a random point."""
        if number < len(self.points):
            return equilibrium.point(dict(self.points[number]))
        return None if number == 0 else random_start(equilibrium.program, np.random.default_rng(seed))

    def _anywhere(self, solver: str) -> list[Candidate]:
        """Equilibria whatever they cost: where there is none, nothing improves without limit."""
        treatment = self.treatment if self.treatment and self.treatment.needs == "NLP" else Scholtes()
        free = Equilibrium(replace(self.problem, cost=0.0), self.kkt, treatment, self.seconds)
        free.log = self.log
        reached = self._attempt(free, solver, None, 0)
        return [self._at(replace(c.answer, polished=False), c.values) for c in reached]

    @property
    def _runs_away(self) -> bool:
        return any(answer.termination is Termination.UNBOUNDED for answer in self.stops)

    def _prove_convex(self) -> None:
        """Without a pair the equilibrium is an ordinary program: where that is convex, its duality gap is a bound."""
        best = self.best
        if self.kkt.pairs or best is None or best.answer.x is None or best.answer.duals is None:
            return
        program = best.equilibrium.program
        if is_convex_problem(program.model.objective.expr, program.model.rows.values()):
            gap = program.proved_gap(best.answer.x, best.answer.duals, TOLERANCES.trust)
            self.bound = max(self.bound, best.cost - gap)

    def _attempt(self, equilibrium: Equilibrium, solver: str, point: Array | None, start: int) -> list[Candidate]:
        first = len(self.log)
        answer = equilibrium.solve(solver, start=point, until=self._until, tee=self.tee)
        self.stops.append(answer)
        candidates = [] if answer.x is None else [self._finished(equilibrium, answer, solver)]
        for entry in self.log[first:]:
            entry["start"] = start
        return candidates

    def _finished(self, equilibrium: Equilibrium, answer: Answer, solver: str) -> Candidate:
        """Polished, if that holds."""
        assert answer.x is not None
        polished = answer if answer.polished else equilibrium.polished(answer.x, solver, until=self._until)
        kept = polished if polished is not None and polished.x is not None else answer
        assert kept.x is not None
        return Candidate(kept, equilibrium, _values(equilibrium, kept.x))

    def _offer(self, *candidates: Candidate) -> bool:
        """Verify in order of cost until one holds; True if one does."""
        known = self.best.cost if self.best is not None and _is_good(self.best) else math.inf
        for candidate in sorted(candidates, key=lambda c: c.cost):
            if candidate.cost >= known:
                break
            candidate.report = self.check(candidate)
            if _is_good(candidate):
                self.best = candidate
                if self._is_refuted(self.bound, candidate.cost):
                    self.bound = -math.inf
                return True
            if self.best is None and candidate.report is not None:
                self.best = candidate
        return self.best is not None and _is_good(self.best)


def _is_good(candidate: Candidate) -> bool:
    return candidate.report is not None and candidate.report.ok


def _values(equilibrium: Equilibrium, x: Array) -> dict[int, float]:
    return equilibrium.program.levels(x)
