"""Several leaders: each plans its own variables, the others' given, over the equilibria of the followers.

    min F_l(x_l, x_others, y)   over x_l and an answer y of the followers to x

A plan comes with ε_l = F_l(plan) − (a proved bound on l's own problem there): what leader l could gain at most. The
deviating leader may pick the answer it likes best, so that a small ε is a proof whatever the followers do in a tie.

Plans are looked for by diagonalisation: one leader after the other moves to its best reply, by half a step once a plan
comes again. Where that does not end in an equilibrium, the deviations that paid are rows of
:mod:`stackpyomo.plans.least_gains`, which bounds the least ε of any plan: above 0 there is no equilibrium.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.var import VarData

from stackpyomo.bilevel import Options, Problem, Scholtes
from stackpyomo.core import TOLERANCES, Array, box_of, clipped, limited_reaches, listed, shown, tracked, undisturbed
from stackpyomo.core.expressions import apart
from stackpyomo.deviations import Deviation, Deviations, generate
from stackpyomo.errors import NoPlan
from stackpyomo.games import Game, evaluator
from stackpyomo.solvers import free_row, natural_size

from .feasibility import violation
from .least_gains import LeastGains
from .plan import Plan, answered_plan, not_held
from .problems import held_problem
from .responding import plan_if_any, respond

_SWEEPS = 50  # Times that every leader moves, at most.
_HALVED = 6  # Of these, with half steps, after a plan has come again.
_ROUNDS = 40  # Games of deviations, at most.
_BUDGET = 60.0  # Seconds for them where no time limit is given.


@dataclass
class Assessment:
    """A plan with what each leader could gain there at most, and by which reply."""

    values: dict[str, float]
    gains: dict[str, float]  #: Leader → ε, NaN where no bound was proved.
    replies: dict[str, Plan]

    def largest(self, units: Mapping[str, float] | None = None) -> float:
        """The largest ε, in units of its leader where these are given; infinite where one is unknown."""
        parts = (gain / (units or {}).get(name, 1.0) for name, gain in self.gains.items())
        return max(math.inf if math.isnan(part) else part for part in parts)


_PROOF = 60.0  # Processor seconds for the bounds on leaders' replies, without which no ε is told.


def leaders_plan(game: Game, options: Options) -> Plan:
    """A plan of all leaders with a proved ε for each, or with a proof that there is no equilibrium.

    It begins at the model's values. Raises :class:`NoPlan` where a leader has no plan whatever it does.
    """
    return _Search(game, options).run()


def shortfalls(game: Game, values: Mapping[str, float]) -> dict[str, float]:
    """Leader → ε: what it could gain at most by another plan of its own, the other leaders' given; NaN: not proved."""
    with undisturbed(), game.unchanged():
        search = _Search(game, Options())
        search._measure(values)
        return search.sharp_gains(search.assessed(values))


class _Search:
    """Diagonalisation over the leaders of one game; everybody minimises in it."""

    def __init__(self, game: Game, options: Options) -> None:
        self.game = game
        self.options = replace(options, proof_seconds=options.proof_seconds or _PROOF)
        self.followers = list(game.followers.values())
        private = {id(row) for leader in game.leaders.values() for row in leader.rows}
        self.common = [row for row in game.leader.constraints if id(row) not in private]
        self.log: list[dict[str, Any]] = []
        self.seconds: dict[str, float] = {}
        self._known: dict[tuple[str, bool, tuple[float, ...]], Plan] = {}
        self.sizes: dict[str, float] = {}  #: Leader → how much its objective can change: what its ε is small against.
        self.reaches: dict[str, float] = {}  #: Leader variable → its natural unit.
        self._until = math.inf if options.time_limit is None else time.monotonic() + options.time_limit

    def run(self) -> Plan:
        began = time.monotonic()
        values = self.game.completed({})
        with tracked("moving leader by leader", shown=not self.options.tee):
            values = self._answered(values) or values
            self._measure(values)
            best = min(self._visited(values), key=lambda point: point.largest(self.sizes))
        least = 0.0
        if not self._is_equilibrium(best):
            best, least = self._least_gain(best)
        if self._is_equilibrium(best):
            best = self._polished(best)
            best = replace(best, gains=self.sharp_gains(best))
        plan = self._plan(best, least)
        plan.seconds["leaders"] = time.monotonic() - began
        return plan

    def _measure(self, values: Mapping[str, float]) -> None:
        """Set the natural units of every leader's objective and variables."""
        names = self.game.names
        levels = {id(v): values[names[id(v)]] for v in self.game.variables_by_name.values() if not v.fixed}
        self.sizes = {name: natural_size(leader.cost, levels) for name, leader in self.game.leaders.items()}
        decided = list(self._decided())
        reaches = limited_reaches(np.array([values[names[id(v)]] for v in decided]), *box_of(decided))
        self.reaches = {names[id(v)]: float(reach) or 1.0 for v, reach in zip(decided, reaches, strict=True)}

    # --- one leader's reply -------------------------------------------------------------------------------------------

    def cost(self, name: str, values: Mapping[str, float]) -> float:
        """F_l there, as a cost."""
        return evaluator(self.game, values)(self.game.leaders[name].cost)

    def reply(self, name: str, values: Mapping[str, float], *, proved: bool = True) -> Plan:
        """The best that this leader can do where the others stay at these values; with a bound where it is ``proved``.

        Without, a local search will do: an equilibrium is proved once the leaders have come to rest.
        """
        problem = self._problem(name, values)
        key = name, proved, tuple(level for _, level in problem.held)
        if key not in self._known:
            try:
                self._known[key] = self._replied(name, problem, proved, self.cost(name, values))
            except NoPlan as none:
                message = f"{name}: no plan of this leader, the others given. {none}"
                raise NoPlan(message, termination=none.termination) from None
        return self._known[key]

    def _problem(self, name: str, values: Mapping[str, float]) -> Problem:
        """This leader's, the others at these values."""
        game, leader = self.game, self.game.leaders[name]
        own = {id(v) for v in leader.variables}
        others = [(v, values[game.names[id(v)]]) for v in self._decided() if id(v) not in own]
        rows = [("leader", row) for row in [*leader.constraints, *self.common]]
        return Problem(leader.cost, rows, others, leader=leader.variables)

    def _replied(self, name: str, problem: Problem, proved: bool, cost: float) -> Plan:
        sign = self.game.leaders[name].sign
        free = self.options.treatment is None and self.options.solver == "auto" and not self.game.leader.integers
        plan = None
        if free and not proved:
            local = replace(self._options(), treatment=Scholtes())
            plan = plan_if_any(self.game, self.followers, problem, local, sign=sign)
        if plan is None or plan.quality not in ("optimal", "feasible"):
            plan = respond(self.game, self.followers, problem, self._options(), sign=sign)
        self.log += [{"leader": name, **entry} for entry in plan.log]
        bound, best = sign * plan.bound, self.cost(name, plan.values)
        if proved and math.isfinite(bound) and best - bound > self._gap(name, best) / 2.0:
            high = max(best, cost)
            plan.bound = sign * self._sharpened(problem, bound, high + self._gap(name, high))
        return plan

    def _sharpened(self, problem: Problem, low: float, high: float, *, sharp: bool = False) -> float:
        """A bound on a cost that is known to lie between these: variables without bounds may have made it a loose one.

        high: infinite to pose the problem as it is.
        """
        if math.isfinite(high):
            holder = pyo.ConcreteModel(name="level")
            holder.level = pyo.Var(bounds=(low, high), initialize=high)
            problem = problem.under(free_row(apart(problem.cost) - holder.level, None, 0.0), cost=holder.level + 0.0)
        plan = plan_if_any(self.game, self.followers, problem, replace(self._options(), sharp=sharp))
        return low if plan is None or math.isnan(plan.bound) else max(low, plan.bound)

    def _polished(self, point: Assessment) -> Assessment:
        """An equilibrium whose leaders stand at their proved replies, if all of them gain less from there."""
        for name in self.game.leaders:
            if self._is_sharp(name, point):
                continue
            values, _ = self._moved(name, point.values, point.replies[name], halved=False)
            other = self.assessed(values)
            if other.largest(self.sizes) < point.largest(self.sizes):
                point = other
        return point

    def sharp_gains(self, point: Assessment) -> dict[str, float]:
        """What each leader could gain there at most: of an equilibrium as tight as it can be had."""
        if not self._is_equilibrium(point):
            return point.gains
        return {name: self._sharp_gain(name, point) for name in point.gains}

    def _sharp_gain(self, name: str, point: Assessment) -> float:
        """What this leader could gain there at most, by a bound that is as tight as it can be had."""
        cost, problem = self.cost(name, point.values), self._problem(name, point.values)
        high = max(cost, self.cost(name, point.replies[name].values))
        for limit in (math.inf, high + self._gap(name, high)):
            if self._is_sharp(name, point):
                break
            gain = point.gains[name]
            least = max(0.0, cost - self._sharpened(problem, cost - gain, limit, sharp=True))
            point = replace(point, gains={**point.gains, name: min(gain, least)})
        return point.gains[name]

    def _is_sharp(self, name: str, point: Assessment) -> bool:
        """True if what it may gain there is no more than a solver's accuracy."""
        return point.gains[name] <= TOLERANCES.tight * max(self.sizes[name], abs(self.cost(name, point.values)))

    def _options(self) -> Options:
        left = self._until - time.monotonic()
        return replace(self.options, time_limit=None if math.isinf(left) else max(1.0, left / 2.0))

    def _gap(self, name: str, cost: float) -> float:
        """The largest gap of a bound on this leader's cost that is called closed, and the largest ε that is none."""
        return 2.0 * TOLERANCES.global_gap * max(self.sizes[name], abs(cost))

    def _decided(self) -> Iterator[VarData]:
        for leader in self.game.leaders.values():
            yield from leader.variables

    def assessed(self, values: Mapping[str, float]) -> Assessment:
        """Every leader's reply to one plan."""
        replies = {name: self.reply(name, values) for name in self.game.leaders}
        gains = {}
        for name, reply in replies.items():
            bound = self.game.leaders[name].sign * reply.bound
            gains[name] = max(0.0, self.cost(name, values) - bound) if math.isfinite(bound) else math.nan
        return Assessment(dict(values), gains, replies)

    # --- diagonalisation ----------------------------------------------------------------------------------------------

    def _answered(self, values: Mapping[str, float], favoured: str = "") -> dict[str, float] | None:
        """An answer of the followers to these leaders, one that keeps the leaders' rows if there is any; None: none."""
        leader = self.game.leaders.get(favoured)
        cost = 0.0 if leader is None or leader.objective is None else leader.cost
        problem = held_problem(self.game, self.followers, values, cost)
        known = {id(row) for _, row in problem.constraints}
        rows = [("leader", row) for row in self.game.leader.constraints if id(row) not in known]
        for constraints in ([*problem.constraints, *rows], problem.constraints):
            asked = replace(problem, constraints=constraints)
            plan = plan_if_any(self.game, self.followers, asked, self.options, objective=False)
            if plan is not None:
                return plan.values
        return None

    def _visited(self, values: dict[str, float]) -> Iterator[Assessment]:
        """Plans where the leaders come to rest, until one is an equilibrium; else the last ones they went through."""
        names = list(self.game.leaders)
        trail, seen, quiet, halved = [values], {self._key(values)}, 0, 0
        sweeps: list[dict[str, float]] = []
        for turn in range(_SWEEPS * len(names)):
            if time.monotonic() >= self._until or halved > _HALVED * len(names):
                break
            name = names[turn % len(names)]
            reply = self.reply(name, values, proved=False)
            if self._stays(name, values, reply):
                quiet += 1
                if quiet < len(names):
                    continue
                point = self.assessed(values)
                yield point
                if self._is_equilibrium(point):
                    return
                name = max(names, key=lambda n: point.gains[n] / self.sizes[n])
                reply, quiet = point.replies[name], 0
            values, quiet = self._moved(name, values, reply, halved=halved > 0)
            if turn % len(names) == len(names) - 1 and not halved:
                sweeps = [*sweeps, values][-3:]
                ahead = self._ahead(sweeps) if len(sweeps) == 3 else None
                if ahead is not None:
                    values, quiet, sweeps = ahead, 0, []
            trail.append(values)
            key = self._key(values)
            halved += halved > 0 or key in seen
            seen.add(key)
        for last in {self._key(p): p for p in trail[-2 * len(names) :]}.values():
            yield self.assessed(last)

    def _stays(self, name: str, values: Mapping[str, float], reply: Plan) -> bool:
        """True if the reply is where the leader stands, or elsewhere and no better."""
        own = [self.game.names[id(v)] for v in self.game.leaders[name].variables]
        step = max((abs(reply.values[n] - values[n]) / self.reaches[n] for n in own), default=0.0)
        before, after = self.cost(name, values), self.cost(name, reply.values)
        better = before - after > TOLERANCES.noise * max(self.sizes[name], abs(before))
        rests = step <= TOLERANCES.tight or (step > TOLERANCES.weak and not better)
        return rests and violation(self.game, values) <= TOLERANCES.feasibility

    def _moved(
        self, name: str, values: Mapping[str, float], reply: Plan, *, halved: bool
    ) -> tuple[dict[str, float], int]:
        """(the plan after this leader's step, how many leaders are known to rest there)."""
        if halved:
            middle = dict(values)
            for var in self.game.leaders[name].variables:
                own = self.game.names[id(var)]
                middle[own] = (values[own] + reply.values[own]) / 2.0
            return self._answered(middle, name) or middle, 0
        if violation(self.game, reply.values) <= TOLERANCES.feasibility:
            return dict(reply.values), 1
        return self._answered(reply.values, name) or dict(reply.values), 0

    def _ahead(self, sweeps: list[dict[str, float]]) -> dict[str, float] | None:
        """Where sweeps whose steps shrink by a constant factor go to (Aitken's Δ²): exact where replies are affine."""
        first, second, third = sweeps
        limit = dict(third)
        for var in self._decided():
            name = self.game.names[id(var)]
            before, after = second[name] - first[name], third[name] - second[name]
            if not var.is_continuous() or abs(after) >= abs(before):
                continue
            goal = third[name] + after * after / (before - after)
            limit[name] = clipped(goal, var)
        return None if limit == third else self._answered(limit)

    def _key(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """A plan up to the accuracy that tells two plans apart."""
        return tuple(round(values[n] / (TOLERANCES.accuracy * reach)) for n, reach in self.reaches.items())

    def _rooms(self, point: Assessment) -> dict[str, float]:
        """Leader → the largest ε of a plan that is called an equilibrium."""
        return {name: self._gap(name, self.cost(name, point.values)) for name in self.game.leaders}

    def _is_equilibrium(self, point: Assessment) -> bool:
        return all(point.gains[name] <= room for name, room in self._rooms(point).items())

    # --- no equilibrium -----------------------------------------------------------------------------------------------

    def _least_gain(self, best: Assessment) -> tuple[Assessment, float]:
        """(the plan of least ε, what no plan's ε is below): deviations that pay become rows, until they meet."""
        until = min(self._until, time.monotonic() + _BUDGET)
        master = LeastGains(self.game, self.common, self.options, until, self.reaches)
        rows, points = Deviations({}), [best]
        for name in best.replies:
            master.learn(name, *self._replies(name))
        for (name, *_), reply in self._known.items():
            for deviation in master.deviation(name, reply.values):
                rows.add(deviation)

        def paying_deviations(values: Mapping[str, float]) -> Iterator[Deviation]:
            try:
                point = self.assessed(values)
            except NoPlan:
                return
            points.append(point)
            nearest = min(points, key=Assessment.largest)
            if nearest.largest() - master.bound > max(self._rooms(nearest).values()):
                for name, reply in point.replies.items():
                    master.learn(name, *self._replies(name))
                    yield from master.deviation(name, reply.values, point.gains[name])

        generate(master, paying_deviations, rows, most=_ROUNDS, until=until, words="deviations of the leaders")
        return min(points, key=Assessment.largest), master.bound

    def _replies(self, name: str) -> tuple[Array, Array]:
        """(what others did, what this leader replied), in natural units, in the order in which they were asked."""
        own = [self.game.names[id(v)] for v in self.game.leaders[name].variables]
        others = [n for n in self.reaches if n not in own]
        known = [(levels, plan) for (leader, _, levels), plan in self._known.items() if leader == name]
        given = np.array([levels for levels, _ in known]) / [self.reaches[n] for n in others]
        replied = np.array([[plan.values[n] / self.reaches[n] for n in own] for _, plan in known])
        return given, replied

    # --- the plan -----------------------------------------------------------------------------------------------------

    def _plan(self, best: Assessment, least: float) -> Plan:
        game, values, rooms = self.game, best.values, self._rooms(best)
        plan = answered_plan(
            game,
            values,
            list(game.followers),
            self.options,
            leader_objective=math.nan,
            termination="converged",
            seconds=self.seconds,
            solver="diagonalisation",
            log=self.log,
            leader_objectives={n: game.leaders[n].sign * self.cost(n, values) for n in game.leaders},
            shortfall=best.gains,
            least_shortfall=least,
        )
        if plan.report is None or not plan.report.ok or plan.residuals["feasibility"] > TOLERANCES.feasibility:
            not_held(plan)
        elif self._is_equilibrium(best):
            plan.quality = "feasible"
        elif least > max(rooms.values()):
            plan.quality = "infeasible"
            plan.warnings.append(
                f"there is no equilibrium of the leaders: whatever they do, one gains {shown(least)} or more (proved)"
            )
        else:
            paid = [n for n, gain in best.gains.items() if not gain <= rooms[n]]
            plan.warnings.append(
                f"not shown to be an equilibrium of the leaders: {listed(paid)} may gain up to {shown(best.largest())}"
            )
        return plan
