"""The search for a plan: from the stage that proves most to the one that always gives something.

   *Arrays*, where there are many pairs and nobody asked for another way: conditions written in arrays, the leader's
   descent along the central path of the followers; one plan that holds is enough.
   *Pieces*, where the leader decides one number and affine conditions have one answer: all of its pieces, a proof.
0. *Resume*, where the model holds the plan of a neighbouring game: the pairs without room there are active, as in every
   polish those whose sign comes out wrong change sides, and with these one solve may do.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from stackpyomo.core import TOLERANCES, Array, timed
from stackpyomo.core.expressions import interval, is_convex_problem, is_quadratic
from stackpyomo.errors import InvalidGame
from stackpyomo.solvers import BadRow, Termination, choose, random_start, registry

from .array_conditions import array_equilibrium
from .candidates import Candidate, Candidates
from .complementarity import SOS1, BigM, FischerBurmeister, Penalty, Scholtes, Treatment
from .conditions import Conditions
from .endless_prices import endless_prices
from .mpcc import Answer, Equilibrium

logger = logging.getLogger(__name__)

_SMALL = 150  # Pairs up to which the global stage is tried by itself.
_MANY = 2000  # Pairs from which on the first verified local answer is taken.
_SEVERAL = 500  # The same for the leader's descent in arrays, where nobody asks for several starts.

# Least number of starts of the local stage in a small game: it gets there only if the global one did not close.
_STARTS = 5

_FAR = 1e4  # How much less is asked for, in units of the objective's scale, where it may improve without limit.

# Part of the time that a global solver gets where it was asked for by name: local searches may find better.
_SHARE = 0.8

# Processor seconds of the global stage in all where nobody says otherwise; of each of its solves where no other stage
# has a plan; the least where they are all spent.
_PROOF, _PATIENCE, _LEAST = 1.0, 10.0, 0.1


class PlanSearch(Candidates):
    """One search, stage after stage."""

    def run(self) -> None:
        """Try stage after stage until something is proved, or none is left."""
        self._until = math.inf if self.options.time_limit is None else time.monotonic() + self.options.time_limit
        if self._by_arrays():
            return
        self._write()
        for stage in self._stages():
            stage()
            best = "no answer" if self.best is None else f"cost {self.best.cost:.8g}"
            logger.info("%s: %s, bound %.8g after %d attempts", self.game.name, best, self.bound, len(self.log))
            # Where there is no cost by which another could be better one equilibrium is enough.
            enough = self._is_proved or (self._has_plan and not self.problem.has_cost)
            if self.infeasible or self.unbounded or enough or self.halted() or time.monotonic() >= self._until:
                break

    def _stages(self) -> Iterator[Callable[[], None]]:
        """The stages that solver and treatment allow, in the order they are tried."""
        solver, treatment = self.options.solver, self.options.treatment
        if solver == "auto" and treatment is None and self.options.common is None and self.problem.has_cost:
            yield self._on_pieces
        self._end_actions()
        if self.options.warm and not self.game.leader.integers:
            yield self._resume
        if treatment is None and solver != "auto":
            classes = choose(solver).classes
            treatment = SOS1() if "SOS1" in classes else None if "NLP" in classes else BigM()
        if treatment is not None and treatment.needs != "NLP":
            chosen = self._able(treatment)
            yield lambda: self._discrete(treatment, chosen)
            if self.options.treatment is None and not self.game.leader.integers:  # what it finds by itself may be worse
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
        if self.options.common is not None and self._is_square and not integers:  # where nothing else has to be chosen
            yield self._path
        small = len(self.kkt.pairs) <= _SMALL and registry["scip"].available
        if solver == "auto" and self.options.treatment is None and small:
            yield lambda: self._discrete(SOS1(), "scip")
        if self.options.common is None and self._is_square and not integers:
            yield self._path
        if integers:
            return
        yield lambda: self._local(self._able(treatment) if treatment else solver)
        if self._is_cut and not self._has_plan and self.options.proof_seconds is None:
            self._patient = True
            yield lambda: self._discrete(SOS1(), "scip")

    @property
    def _is_cut(self) -> bool:
        """True if a solve of the global stage ended with the time that proofs have."""
        return any(stop.solver == "scip" and stop.termination is Termination.TIME_LIMIT for stop in self.stops)

    @property
    def _is_square(self) -> bool:
        """True where Newton's method along the central path may be tried."""
        plain = self.options.solver == "auto" and self.options.treatment is None
        return bool(self.kkt.pairs) and not self.problem.has_cost and plain

    def _able(self, treatment: Treatment) -> str:
        """The solver asked for, if it takes what the treatment makes; "auto": one that does."""
        solver = self.options.solver
        if solver == "auto":
            return "auto" if treatment.needs == "NLP" else "scip"
        if treatment.needs not in choose(solver).classes:
            able = ", ".join(n for n, i in registry.items() if treatment.needs in i.classes)
            raise InvalidGame(
                f"complementarity={treatment.name!r}: needs a solver for {treatment.needs} ({able}), "
                f"and solver={solver!r} is not one."
            )
        return solver

    # --- stages -------------------------------------------------------------------------------------------------------

    def _by_arrays(self) -> bool:
        """True if many followers' conditions, written in arrays and followed along their path, give a verified plan."""
        options, problem = self.options, self.problem
        most = _MANY if options.starts > 1 else _SEVERAL
        size = 2 * sum(len(f.variables) + len(f.constraints) for f in self.followers)
        plain = (
            options.treatment is None and options.common is None and not (options.warm or options.tee or self.points)
        )
        able = choose(options.solver).name == "pounce" and problem.leaning and not self.game.leader.integers
        if not (size > most and plain and able):
            return False
        with timed(self.seconds, "conditions"):
            written = array_equilibrium(self.game, self.followers, problem, self.seconds, self.log)
        if written is None or len(written.conditions.pairs) <= most:
            return False
        self.kkt = self._exact = written.conditions
        self._equilibria = {(id(self.kkt), repr(None)): written}
        self._path()
        return self._has_plan

    def _discrete(self, treatment: Treatment, solver: str) -> None:
        """Exact conditions in a solver with integers: its bound counts where it is global and nothing was assumed."""
        for kkt in (self._exact, self.kkt) if self._exact is not self.kkt else (self.kkt,):
            exact = self._equilibrium(kkt, treatment)
            answer = self._global(exact, solver)
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
            self._offer_refined(exact, answer)
            if proves and not closed:
                self._ask(kkt, treatment, solver)
            if self.infeasible:
                self._doubt()
            elif proves and answer.termination.maybe_infeasible:
                self.stops[-1] = replace(
                    answer, termination=Termination.FAILED, message="called infeasible, and not confirmed"
                )
            if answer.x is None and (closed or self.infeasible or not proves):
                return
            if self._has_plan:
                if proves and closed and isinstance(treatment, SOS1):
                    self._sharpen(exact, answer)
                return

    def _is_bounded(self, termination: Termination) -> bool:
        """True if the cost is bounded on the box of the variables' bounds, and of what rows leave of it.

        Elsewhere a global solver's bound is no proof: it may drop what a relaxation without a limit leaves open, and
        call the problem infeasible for it.
        """
        if termination is Termination.TIME_LIMIT or not self.problem.has_cost:
            return termination is not Termination.UNBOUNDED
        return math.isfinite(max(interval(self.problem.cost)[0], self._least_cost, self._floor.least))

    def _ask(self, kkt: Conditions, treatment: Treatment, solver: str) -> None:
        """Is there an equilibrium that costs less, much less? Asked without an objective, which nothing can leave open.

        None that costs less than the best by more than the gap: a bound. Ever better ones: they may lie on a ray.
        """
        for far in (0.0, _FAR, 0.0):
            level = math.inf
            if self.best is not None and self._has_plan:
                level = self.best.cost - max(TOLERANCES.global_gap, far) * self.scale
            answer, asked = self._asked(level, kkt, treatment, solver)
            if answer.termination is Termination.INFEASIBLE:
                self.infeasible = math.isinf(level)
                self.bound = max(self.bound, -math.inf if self.infeasible else level)
                if self.infeasible or not far:
                    return
                continue
            before = math.inf if self.best is None else self.best.cost
            self._offer_refined(asked, answer)
            if self.best is None or not self.best.cost < before or self._escapes():
                return

    def _asked(self, level: float, kkt: Conditions, treatment: Treatment, solver: str) -> tuple[Answer, Equilibrium]:
        """An equilibrium that costs at most ``level``, its rows met as tightly as the solver can."""
        below = [self.problem.cost <= level] if math.isfinite(level) else []
        try:
            asked = self._posed(self.problem.under(*below, cost=0.0), kkt, treatment)
        except BadRow:  # the cost is a constant
            unmet = Answer(Termination.INFEASIBLE, "the cost does not change", solver=solver)
            return unmet, self._equilibrium(self.kkt, None)
        answer = self._global(asked, solver, tight=True)
        self.log[-1]["treatment"] += ", asked for less"
        return answer, asked

    def _escapes(self) -> bool:
        """True if a ray of equilibria, or a price, leads from the best one ever lower: far out they hold, re-solved."""
        best = self.best
        if best is None or not self._has_plan:
            return False
        plain = self._equilibrium(self.kkt, None)
        at = plain.point(best.values)
        points = plain.endless(at) or endless_prices(plain, at, self.game.price_variables)
        beyond = (self._at(best.answer, {**best.values, **plain.program.levels(x)}) for x in points)
        good = [c.is_plan for c in map(self._checked, beyond) if c.report is None or c.report.regret.notna().all()]
        self.unbounded = bool(good) and all(good)  # so far out not every re-solve is a proof
        return self.unbounded

    def _resume(self) -> None:
        """On the active set of the Vars' values: those of a neighbouring game's plan say which rows and bounds bind."""
        plain = self._equilibrium(self.kkt, None)
        x = np.clip(np.asarray(plain.program.problem.x0, dtype=float), *plain.program.bounds)
        active = plain.slacks(x) <= TOLERANCES.snap * np.maximum(1.0, np.abs(plain.slacks(x)))
        answer = plain.polished(x, self._nlp, active=active, until=self._until)
        if answer is not None and answer.x is not None and answer.termination is not Termination.FAILED:
            self._offer(self._finished(plain, answer, self._nlp))

    def _on_pieces(self) -> None:
        """The optimum where the leader decides one number, and followers answer it by one affine equilibrium."""
        plain = self._equilibrium(self.kkt, None)
        known = self.kkt is self._exact and is_quadratic(self.problem.cost)
        optimum = plain.on_pieces() if known else None
        if optimum is None:
            return
        answer, active = optimum
        assert answer.x is not None
        self.bound, self.prover = max(self.bound, answer.bound), answer.solver
        polished = plain.polished(answer.x, self._nlp, active=active, until=self._until)
        self._offer(self._finished(plain, answer if polished is None else polished, self._nlp))

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
        enough = self._is_proved and not self.options.sharp
        if enough or not math.isfinite(self.bound) or answer.termination is not Termination.OPTIMAL:
            return
        if choose(answer.solver).tight:
            again = self._global(exact, answer.solver, tight=True)
            if self.bound < again.bound and not self._is_refuted(again.bound, best.cost):
                self.bound = again.bound

    def _doubt(self) -> None:
        """A floating-point solver may call a curved system infeasible that is not: a verified answer refutes it."""
        if not self.game.leader.integers:
            self._local(self._nlp, [Scholtes(), FischerBurmeister()], starts=1)
        if self._has_plan:
            self.infeasible, self.bound = False, -math.inf

    def _global(self, exact: Equilibrium, solver: str, *, tight: bool = False) -> Answer:
        """Ask a solver with integers, within the time that it has, and note what it took."""
        began = time.process_time()
        answer = exact.solve(solver, until=self._deadline(), budget=self._budget, tee=self.options.tee, tight=tight)
        self._proving += time.process_time() - began
        return answer

    def _deadline(self) -> float:
        """Half of what is left, where local stages follow."""
        now, options = time.monotonic(), self.options
        if options.treatment is not None:
            return self._until
        return now + (_SHARE if options.solver != "auto" else 0.5) * (self._until - now)

    @property
    def _budget(self) -> float:
        """Processor seconds of a solve that nobody asked for by name."""
        options = self.options
        if options.treatment is not None or options.solver != "auto":
            return math.inf
        if self._patient or (options.proof_seconds is None and self.game.leader.integers):  # nothing else has a plan
            return _PATIENCE
        if options.proof_seconds is None and math.isfinite(self._until):
            return math.inf
        return max(_LEAST, (options.proof_seconds or _PROOF) - self._proving)

    def _local(self, solver: str, treatments: Sequence[Treatment] = (), starts: int = 0) -> None:
        """NLP treatments from the points given, else the model's values, then from random points.

        One verified answer will do in a large game, and where there is no cost by which another could be better.

        ``starts``: how many of these, 0 for what suits the game.
        """
        named = self.options.treatment
        treatments = treatments or ([named] if named else [Scholtes(), FischerBurmeister(), Penalty()])
        content = len(self.kkt.pairs) > _MANY or not self.problem.has_cost
        random = np.random.default_rng(self.options.seed)
        waiting: list[Candidate] = []
        hard = named is None and not self._names_nlp and len(self.kkt.pairs) <= _SMALL
        count = starts or max(len(self.points), self.options.starts, _STARTS if hard else 1)
        for start in range(count):
            seed = int(random.integers(2**31))
            for number, treatment in enumerate(treatments):
                if named is None and number > 1 and (waiting or self._runs_away):
                    continue  # the third is for those that the first two leave without an answer
                equilibrium = self._equilibrium(self.kkt, treatment)
                point = None
                if start < len(self.points):
                    point = equilibrium.point(dict(self.points[start]))
                elif start:
                    point = random_start(equilibrium.program, np.random.default_rng(seed))
                waiting += self._attempt(equilibrium, solver, point, start)
                if content and waiting and start == 0 and self._offer(*waiting):
                    return
        self._offer(*waiting)
        self._prove_convex()
        if self._runs_away:
            if self.best is None:
                self._offer(*self._anywhere(solver))
            self._escapes()

    def _anywhere(self, solver: str) -> list[Candidate]:
        """Equilibria whatever they cost: where there is none, nothing improves without limit."""
        named = self.options.treatment
        treatment = named if named and named.needs == "NLP" else Scholtes()
        reached = self._attempt(self._posed(replace(self.problem, cost=0.0), self.kkt, treatment), solver, None, 0)
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
        answer = equilibrium.solve(solver, start=point, until=self._until, tee=self.options.tee)
        self.stops.append(answer)
        candidates = [] if answer.x is None else [self._finished(equilibrium, answer, solver)]
        self.log[first:] = [{"start": start, **entry} for entry in self.log[first:]]
        return candidates
