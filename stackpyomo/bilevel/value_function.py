"""Plans with followers whose optimality conditions are not sufficient: nonconvex and integer ones, with proof.

    min F(x, y)   s.t.  everybody's rows,  first-order conditions of the continuous parts (necessary),
                        J_k(x, y) ≤ J_k(x, y with k playing v)  or  v is not feasible for k at x,   for the v found

Some rows make a relaxation: SCIP's bound is one on every plan. Its answer is polished on its active set and given to
verification, which re-solves the followers; who gains has found the next v. Where v's feasibility depends on others,
"v is not feasible" is an open condition: its closure keeps the relaxation one, and stalls where the infimum is not
attained. Then a restriction, "not feasible by a margin", finds plans: bound and plans pinch the infimum.

Two kinds of points are added beside the best answer v there: those deepest within the rows among the actions as good
as the best, and among all better than the candidate's: they stay feasible while the others move. Source: Mitsos,
Lemonidis, Barton, J. Glob. Optim. 42 (2008) 475–513; Djelassi, Glass, Mitsos (2019); with Fritz John's rows.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyomo.environ as pyo
from pyomo.core.base.var import VarData

from stackpyomo.core import TOLERANCES, bounds_of
from stackpyomo.deviations import Deviation, Deviations, Stop, generate
from stackpyomo.solvers import Solution, Termination, prover

from .bends import bends
from .candidates import Candidate
from .complementarity import SOS1, Scholtes
from .deepest import deepest
from .deviation_rows import RowWriter, value_at
from .envelope import envelope, swept
from .interdiction import gives_way, widened
from .min_max import MinMax, opposition
from .mpcc import Answer, Equilibrium
from .nonconvexity import is_proved_convex
from .search import PlanSearch

logger = logging.getLogger(__name__)

_ROUNDS = 100  # Rounds of one master.
_MANY = 2_000  # Rounds of a master without actions, which are short.

_WORDS = "looking for an equilibrium by deviations"

_PAIRS = 16  # Pairs from which on a local search comes first: SCIP may not find in its time what that finds at once.
_SECONDS = 60.0  # For the whole search where no time limit is given.
_MAGNIFIED = 2.0**10  # What the rows' costs are multiplied by where the bound falls short of a verified answer.

# How far v has to be from feasible in a restriction, in sizes of its row: one master each.
_MARGINS = tuple(TOLERANCES.strict / part for part in (1.0, 100.0, 1000.0))


@dataclass
class ValueFunction(PlanSearch):
    """The search for followers of whom some are integer or not convex: :meth:`run` as of any other."""

    #: False: plans come as near to the bound as one likes, and none was found that reaches it; True: one does.
    attained: bool | None = None
    margin: float = 0.0  #: Of the restriction in which the best plan was found.
    #: Every round: rows, bound, the largest gain of a follower at the candidate, seconds.
    rounds: list[dict[str, float]] = field(default_factory=list)

    def run(self) -> None:
        """Relaxed masters until no follower gains; restricted ones where that stalls."""
        limit = self.options.time_limit
        self._until = time.monotonic() + (_SECONDS if limit is None else limit)
        movers = self.game.movers()
        self._deviating = [f for f in self.followers if f.integers or not is_proved_convex(f, movers)]
        self._writer = RowWriter(self.game, self._deviating)
        self._write()
        self._end_actions()
        boxes = ((self.game.names[id(v)], bounds_of(v)) for f in self._deviating for v in f.variables)
        widths = {name: high - low if 0.0 < high - low < math.inf else 1.0 for name, (low, high) in boxes}
        self._known, self._row_margin = Deviations(widths), 0.0
        self._envelopes = (
            [] if self.problem.answers else [e for f in self._deviating if (e := envelope(f, movers)) is not None]
        )
        binaries = pyo.VarList(domain=pyo.Binary)
        binaries.construct()
        self._pieces = [row for e in self._envelopes for row in e.rows(binaries)]
        self._pieces += [row for f in self._deviating if not self.problem.answers for row in bends(f, movers)]
        self.bound = self._least_cost
        if len(self.kkt.pairs) >= _PAIRS and not any(f.integers for f in self.followers):
            self._local(self._nlp, [Scholtes()], starts=1)
        if not self._is_proved:
            self._pinch()
        self._conclude()

    def _pinch(self) -> None:
        """Bounds from the relaxation; plans from it, and from restrictions where it stalls."""
        for stage in (self._sweep, self._oppose, lambda: self._generate(0.0)):
            if not (self.infeasible or self._is_proved):
                stage()
        if self.infeasible or self._is_proved:
            return
        if not self.stops:
            self.stops.append(Answer(Termination.TIME_LIMIT, "no time left", solver="scip"))
        self._sharpen_bound()
        if any(self._writer.binds_others(f) for f in self._deviating):
            for margin in _MARGINS:
                if self._is_proved or self._generate(margin) is Stop.TIME:
                    break

    def _oppose(self) -> None:
        """The master without actions, where followers want the opposite of what the leader wants."""
        able = not (self.kkt.pairs or self.problem.answers)
        opposed = opposition(self.game, self.followers, self.problem) if able else None
        if opposed is None:
            return
        master = MinMax(self.game, self.followers, self.problem, opposed, self._until)
        if not master.settle():
            for relaxed in (True, False) if all(map(gives_way, self.followers)) else (False,):
                master = MinMax(self.game, self.followers, self.problem, opposed, self._until, relaxed=relaxed)
                outcome = generate(master, master.tempted, self._known, most=_MANY, until=self._until, words=_WORDS)
                self.rounds += outcome.log(margin=0.0)
        self._take_bound(master.solution)
        if master.solution.solver == "enumeration":
            entry = {"treatment": "every subset", "level": None, "cost": master.cost, "bound": master.solution.bound}
            self.log.append(master.solution.entry(**entry))
        if master.best:
            self._keep(self._checked(self._at(Answer(**vars(master.solution)), master.best)))

    def _units(self) -> Mapping[str, float]:
        """As in the rows of deviations; multipliers of several are compared, and what answers has a unit of its own."""
        return {} if self.options.common or self.problem.answers or self.game.prices else self._writer.units

    def _slater_points(self) -> dict[str, dict[int, float]]:
        """Those of convex followers: the others need Fritz John's conditions all the same."""
        movers, followers = self.game.movers(), self.game.followers
        points = super()._slater_points()
        return {name: point for name, point in points.items() if is_proved_convex(followers[name], movers)}

    def _sweep(self) -> None:
        """Every level of the one variable that is left to decide, where all who respond feel nothing else."""
        if len(self._envelopes) < len(self.followers) or not self.problem.has_cost or self.problem.held:
            return
        values = swept(self._envelopes, self.problem.cost, [c for _, c in self.problem.constraints])
        if values is None:
            return
        self.prover, self.infeasible = "enumeration", not values
        if values:
            answer = Answer(Termination.OPTIMAL, "every level was examined", solver=self.prover)
            candidate = self._checked(self._at(answer, values))
            self._keep(candidate)
            self.bound = max(self.bound, candidate.cost)

    def _generate(self, margin: float) -> Stop:
        """Rounds of the master at a margin: a relaxation at 0, else a restriction."""
        before, self._row_margin = self.best, margin
        outcome = generate(self, self._tempted, self._known, most=_ROUNDS, until=self._until, words=_WORDS)
        self.rounds += outcome.log(margin=margin)
        self.margin = self.margin if self.best is before else margin
        return outcome.stop

    def _conclude(self) -> None:
        """Whether the bound is reached, approached, or neither."""
        if self.best is None or not self._has_plan or not math.isfinite(self.bound):
            return
        if self._is_refuted(self.bound, self.best.cost):  # a row by rounding too strong: what it bounds is not all
            self.bound = -math.inf
        elif self._is_proved:
            self.attained = True
        elif self.margin == _MARGINS[-1] and self.best.cost - self.bound <= 1e2 * self.margin * self.scale:
            self.attained = False  # each narrower margin came nearer; where the first is as good, the bound is loose

    def logged(self, sign: int) -> list[dict[str, Any]]:
        """The rounds for a plan's log; ``sign`` turns costs into the leader's objective, 0: it has none."""
        return [
            {
                "treatment": "deviations",
                "level": entry["margin"],
                "solver": "scip",
                "termination": "round",
                "message": f"{entry['rows']:.0f} rows, largest gain {entry['regret']:.3g}",
                "objective": None,
                "bound": sign * entry["bound"] if sign and _has_bound(entry) else None,
                "seconds": round(entry["seconds"], 6),
            }
            for entry in self.rounds
        ]

    # --- one master ---------------------------------------------------------------------------------------------------

    def solve(self, _rows: Deviations) -> Candidate | None:
        """The exact problem with the rows known; its candidates are judged, the one to be left is returned."""
        exact = self._master()
        answer = exact.solve(prover(exact.program), until=self._until, tee=self.options.tee)
        self.stops.append(answer)
        if not self._row_margin:
            self._take_bound(answer)
        left: Candidate | None = None
        for candidate in map(self._checked, self._refined(exact, answer)):
            self._keep(candidate)
            if self._is_below(candidate) and (answered := self._answered(candidate, worse=True)) is not None:
                self._keep(self._checked(answered))
            if left is None and candidate.report is not None and not candidate.report.regret.isna().any():
                left = candidate
            if candidate.report is not None and candidate.report.ok:
                return candidate
        if left is not None and (answered := self._answered(left)) is not None:
            self._keep(self._checked(answered))
        return left

    def _is_below(self, plan: Candidate | None) -> bool:
        """Of a plan below the bound: it owes that to what followers lose by it, which is within their tolerance."""
        return plan is not None and plan.is_plan and self._is_refuted(self.bound, plan.cost)

    def _keep(self, candidate: Candidate) -> bool:
        """A plan that the bound allows is better than one below it, as well."""
        if self._is_below(self.best) and candidate.is_plan and not self._is_below(candidate):
            self.best = candidate
            return True
        return super()._keep(candidate)

    def _at(self, answer: Answer, values: dict[int, float]) -> Candidate:
        """Slacks are what the rows leave: conditions are no evidence, and a degenerate row may leave them far off."""
        pairs = [pair for pair in self.kkt.pairs if isinstance(pair.slack, VarData)]
        return super()._at(answer, {**values, **{id(p.slack): max(0.0, value_at(p.gap, values)) for p in pairs}})

    def _answered(self, left: Candidate, *, worse: bool = False) -> Candidate | None:
        """The leader of a candidate that is left, with everybody's best answer to it.

        This is often an equilibrium, and a plan long before a master finds one. Multipliers stay what they were; only
        rows and the re-solve count. ``worse``: it is wanted where it is worse than the best plan, too.
        """
        assert left.report is not None
        by_name = self.game.variables_by_name
        actions = {n: x for answer in left.report.best_response.values() for n, x in answer.items()}
        values = {**left.values, **{id(by_name[name]): float(x) for name, x in actions.items()}}
        candidate = self._at(replace(left.answer, polished=False), values)
        idle = not worse and self.best is not None and self._has_plan and candidate.cost >= self.best.cost
        return None if self.game.aggregates or idle else candidate

    def _master(self, unit: float = 1.0) -> Equilibrium:
        """``unit``: what the costs in the rows are multiplied by, to be told apart more finely."""
        written = self._writer.written(list(self._known), self._row_margin, unit)
        problem = self.problem.under(*self._pieces, *written.rows, owner="deviations", sets=written.sets)
        return self._posed(problem, self._exact, SOS1())

    def _take_bound(self, answer: Solution) -> None:
        """SCIP's bound on a relaxation is one on every plan, where the cost has one on the variables' own box."""
        self.prover = answer.solver
        if answer.termination is Termination.INFEASIBLE:
            self.infeasible = not self._has_plan
        elif math.isfinite(answer.bound) and math.isfinite(self._least_cost):
            self.bound = max(self.bound, answer.bound)

    def _sharpen_bound(self) -> None:
        """Rows met to SCIP's tolerance may leave that much of the cost: once more with the least it can do.

        A solver that meets rows so closely loses points in costs that are magnified: as they are comes first.
        """
        for unit in (1.0, _MAGNIFIED):
            best = self.best
            if best is None or not self._has_plan or self._is_proved or not math.isfinite(self._least_cost):
                return
            exact = self._master(unit)
            answer = exact.solve("scip", until=self._until, tee=self.options.tee, tight=True)
            if answer.termination is not Termination.OPTIMAL or not math.isfinite(answer.bound):
                continue
            if not self._is_refuted(answer.bound, best.cost):
                self.bound = max(self.bound, answer.bound)
            for candidate in () if self._is_proved else self._refined(exact, answer):
                self._keep(self._checked(candidate))

    def _piece(self, values: Mapping[int, float]) -> Equilibrium:
        """Of every row of the last master one alternative."""
        rows = self._writer.settled(list(self._known), self._row_margin, values)
        return self._posed(self.problem.under(*rows, owner="deviations"), self.kkt, None)

    # --- what the candidate leaves open -------------------------------------------------------------------------------

    def _tempted(self, candidate: Candidate) -> Iterator[Deviation]:
        """The best answer of every follower who gains, and the deepest points near it; none once all is proved."""
        report = candidate.report
        if report is None or self._is_proved:
            return
        values = self.game.completed(candidate.values)
        levels = {id(var): values[name] for name, var in self.game.variables_by_name.items()}
        for follower in self._deviating:
            name = follower.name
            regret, room = float(report.regret[name]), TOLERANCES.stationarity * float(report.scale[name])
            if not regret > room:
                continue
            reply = Deviation(name, dict(report.best_response[name]), regret)
            yield widened(self.game, follower, reply, levels)
            for share in (TOLERANCES.strict, 1.0 - TOLERANCES.strict) if self._writer.binds_others(follower) else ():
                point = deepest(self.game, values, follower, share * regret, until=self._until)
                if point is not None:
                    yield Deviation(name, point, regret)


def _has_bound(entry: Mapping[str, float]) -> bool:
    """Whether a round has a bound of its own: none of a restriction has."""
    return not entry["margin"] and math.isfinite(entry["bound"])
