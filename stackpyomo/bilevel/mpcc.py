"""Equilibria as one problem: the leader's objective over everybody's rows and the conditions of those who respond.

An :class:`Equilibrium` is that problem under one treatment of complementarity, written once. :meth:`Equilibrium.solve`
runs the treatment's homotopy. :meth:`Equilibrium.polished` fixes an active set and solves the smooth problem left:

    min J0   s.t.  rows, stationarity,  s_i = 0 on the active pairs, λ_i = 0 on the others,

so that zeros are exact and multipliers belong to a regular problem. Pairs whose sign comes out wrong change sides
(a primal-dual active set method); those that go on changing keep their sign, so that it ends.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.constraint import ConstraintData
from pyomo.core.base.var import VarData

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.core.expressions import apart, is_affine
from stackpyomo.games import Movers
from stackpyomo.solvers import Program, Residuals, Solution, Termination, choose, ray, solve

from .central_path import Pairs, System, descended, followed
from .complementarity import FischerBurmeister, Given, Penalty, Scholtes, Treatment, audit
from .conditions import Conditions
from .response_pieces import least_on_pieces

logger = logging.getLogger(__name__)

_ROUNDS = 25  # Active sets that one polish tries.
_TURNS = 4  # Times a pair may change sides in one polish: a primal-dual active set method, made to end.

_PATIENCE, _PACE = 10.0, 100.0  # Seconds of one local solve, and variables for which it gets another second.

# Iterations of one local solve: those that converge need fewer, and a restoration phase may go on for ever.
_ITERATIONS = 500

# With the leader held a polish begins where it is: an interior-point method's own start leaves the point for the middle
# of its bounds. Where there is something to choose, that leads to the end of a face of ties, where a proof closes.
_FROM_NEARBY = dict.fromkeys(("mu_init", "bound_push", "bound_frac"), TOLERANCES.barrier)

_FURTHER = 5  # Steps beyond a treatment's own levels, for games whose λ and s are small themselves.


@dataclass
class Problem:
    """What binds beside the conditions of those who respond: min cost s.t. constraints, some variables held."""

    cost: Any
    constraints: list[tuple[str, ConstraintData]] = field(default_factory=list)  #: (owner's name, constraint).
    held: list[tuple[VarData, float]] = field(default_factory=list)
    #: What the leader decides, and those who serve it: the variables that descend in a large game.
    leader: list[VarData] = field(default_factory=list)
    #: id(action) → [(leader's variable, rate)]: how a rule answers; a rate may be an expression of Vars to be found.
    answers: Movers = field(default_factory=dict)
    #: False: every multiplier of the followers' constraints is 0; nobody is held by its own constraints.
    leaning: bool = True
    #: Pairs of Vars of which at most one is not 0, for solvers that take such sets.
    sets: list[tuple[Any, Any]] = field(default_factory=list)

    @property
    def has_cost(self) -> bool:
        """False where any equilibrium is as good as another."""
        return hasattr(self.cost, "is_expression_type")

    def under(self, *rows: Any, owner: str = "leader", **changes: Any) -> Problem:
        """The problem with more rows, and other fields."""
        return replace(self, constraints=[*self.constraints, *((owner, row) for row in rows)], **changes)


@dataclass
class Answer(Solution):
    """A point of an :class:`Equilibrium`, and how it was come by; x is in the order of its program's variables."""

    cost: float = math.inf
    polished: bool = False


class Equilibrium:
    """The problem under one treatment (None: the rows alone, to polish on). May raise :class:`BadRow`.

    ``program``: the rows under no treatment, where they are written already.
    """

    def __init__(
        self,
        problem: Problem,
        conditions: Conditions,
        treatment: Treatment | None,
        seconds: dict[str, float],
        log: list[dict[str, Any]] | None = None,
        program: Program | None = None,
    ) -> None:
        self.conditions, self.treatment = conditions, treatment
        self.log = [] if log is None else log
        self._seconds = seconds
        self._leader = problem.leader
        self._holder = holder = pyo.ConcreteModel(name="treatment")
        first = treatment.levels[0] if treatment else 0.0
        holder.level = pyo.Var(bounds=(first, first), initialize=first)
        self._treated = (treatment or Treatment()).apply(Given(conditions, holder, holder.level))
        self._plain = len(problem.constraints) + len(problem.held)
        self._first = self._plain + conditions.height
        self.program = program or self._written(problem)
        self._locate()

    def _written(self, problem: Problem) -> Program:
        relations = [
            *(c for _, c in problem.constraints),
            *(var == value for var, value in problem.held),
            *self.conditions.relations,
            *self._treated.rows,
        ]
        cost = apart(problem.cost) + self._treated.term
        return Program(cost, relations, sets=[*problem.sets, *self._treated.sets], seconds=self._seconds)

    def _locate(self) -> None:
        """Where pairs stand among the program's variables: λ, and the Var whose distance to a limit s is."""
        place = {id(v): i for i, v in enumerate(self.program.variables)}
        self._level = place.get(id(self._holder.level), -1)
        pairs = self.conditions.pairs
        owners = [p.slack if isinstance(p.slack, VarData) else p.component for p in pairs]
        bare = [p.slack is owner for p, owner in zip(pairs, owners, strict=True)]
        limits = [
            0.0 if alone else pyo.value(var.upper if p.side == "upper" else var.lower)
            for p, var, alone in zip(pairs, owners, bare, strict=True)
        ]
        self._lambda = np.array([place.get(id(p.multiplier), -1) for p in pairs], dtype=int)
        self._owner = np.array([place.get(id(v), -1) for v in owners], dtype=int)
        self._limit = np.array(limits, dtype=float)
        self._whole = np.flatnonzero([not v.is_continuous() for v in self.program.variables])
        self._led = np.array([place[id(v)] for v in self._leader if id(v) in place], dtype=int)
        self._above = np.array([p.side == "upper" and not b for p, b in zip(pairs, bare, strict=True)], dtype=bool)

    @property
    def stationary(self) -> Array:
        """Numbers of the program's rows that are stationarity."""
        rows = self.program.rows - self._plain
        return np.flatnonzero((rows >= 0) & (rows < len(self.conditions.stationarity)))

    @property
    def led(self) -> Array:
        """Numbers of the program's variables that the leader decides."""
        return self._led

    @property
    def owners(self) -> Array:
        """For every pair the number of the variable whose distance to a limit its slack is, −1 for none."""
        return self._owner

    def multipliers(self, x: Array) -> Array:
        """λ of every pair at x."""
        return np.where(self._lambda >= 0, x[self._lambda], 0.0) if len(self._lambda) else np.zeros(0)

    def slacks(self, x: Array) -> Array:
        """s of every pair at x."""
        if not len(self._owner):
            return np.zeros(0)
        level = np.where(self._owner >= 0, x[self._owner], self._limit)
        return np.where(self._above, self._limit - level, level - self._limit)

    def complementarity(self, x: Array) -> float:
        """max min(λ, s), each in its natural unit: 0 where every pair is complementary."""
        reaches = np.append(self.program.units(x)[0], 1.0)
        force, room = self.multipliers(x) / reaches[self._lambda], self.slacks(x) / reaches[self._owner]
        return float(np.minimum(np.abs(force), np.abs(room)).max(initial=0.0))

    def cost(self, x: Array) -> float:
        """The leader's cost at x, the treatment's term left out."""
        cost = float(self.program.problem.objective(x))
        has_term = isinstance(self.treatment, Penalty) and self._level >= 0
        return cost - float(x[self._level] * self.multipliers(x) @ self.slacks(x)) if has_term else cost

    def outside(self, x: Array) -> Residuals:
        """Violations at x, the treatment's own parameter left out."""
        residuals = self.program.residuals(x, None)
        if self._level >= 0:
            residuals.outside_bounds[self._level] = 0.0
        return residuals

    def residuals(self, x: Array) -> dict[str, float]:
        """Recomputed at x: violation of rows and bounds, of the followers' stationarity, of complementarity."""
        outside = self.outside(x)
        rows = np.zeros(int(self.program.rows.max(initial=-1)) + 1)
        rows[self.program.rows] = outside.outside_rows
        first, after = self._plain, self._plain + len(self.conditions.stationarity)
        others = (rows[:first], rows[after : self._first], outside.outside_bounds)
        return {
            "feasibility": float(max(part.max(initial=0.0) for part in others)),
            "stationarity": float(rows[first:after].max(initial=0.0)),
            "complementarity": self.complementarity(x),
        }

    def audit(self, x: Array) -> list[dict[str, Any]]:
        """What became of the constants of a big-M treatment; empty for the others."""
        return audit(self._treated.bounds, self.multipliers(x), self.slacks(x))

    def point(self, values: dict[int, float]) -> Array:
        """{id(Var): value} in the order of the program's variables; Vars not among them keep their start."""
        start = np.asarray(self.program.problem.x0, dtype=float)
        levels = [values.get(id(v), start[i]) for i, v in enumerate(self.program.variables)]
        return np.array(levels, dtype=float)

    # --- solving ------------------------------------------------------------------------------------------------------

    def solve(
        self,
        solver: str,
        *,
        start: Array | None = None,
        until: float = math.inf,
        budget: float = math.inf,
        tee: bool = False,
        tight: bool = False,
    ) -> Answer:
        """Run the treatment to its end, from ``start``; ``until`` is a time of ``time.monotonic``.

        ``tight``: with the least tolerance for rows that a global solver is asked for; ``budget``: its processor
        seconds, seconds by the clock where that has to be watched, too.
        """
        if self.treatment is None or self.treatment.needs != "NLP":
            options = dict(choose(solver).tight) if tight else {}
            if self._is_affine:
                options |= choose(solver).branching
            if math.isfinite(budget) and math.isinf(until):
                options |= choose(solver).processor_clock
            until = min(until, time.monotonic() + budget)
            return self._answer(self._run(self.program, solver, options, None, until, tee))
        step = 0
        level = self.treatment.levels[step]
        while True:
            last = step >= len(self.treatment.levels) - 1
            program = self.program.variant(start, bounds=self._at(level))
            options = self._options(solver, level, last=last)
            answer = self._answer(self._run(program, solver, options, level, until, tee))
            if answer.x is None or answer.termination is Termination.TIME_LIMIT:
                return answer
            start, blur = answer.x, self._blur(answer.x)
            step += 1
            if last and (blur <= TOLERANCES.sharp or step >= len(self.treatment.levels) + _FURTHER):
                return answer
            level = self._next(level, step, answer.x)

    @property
    def _is_affine(self) -> bool:
        """True if cost, rows and conditions are affine, whatever the treatment adds."""
        model = self.program.model
        bodies = [model.objective.expr, *(model.rows[i].body for i in range(self._first))]
        return is_affine(*bodies)

    def followed(self, until: float) -> Answer | None:
        """Newton's method along the central path; None if that is lost.

        Where conditions and unknowns are as many once the leader is held, it descends on the way; where it has nothing
        to decide, the path is followed to its end.
        """
        if time.monotonic() >= until:
            return None
        began = time.perf_counter()
        system = System(self.program, self._pairs, self._led)
        start = np.asarray(self.program.problem.x0, dtype=float)
        x = descended(system, start, until) if len(self._led) else followed(system, start)
        end = Termination.FAILED if x is None else Termination.CONVERGED
        message = "the path was lost" if x is None else "followed to its end"
        solution = Solution(end, message, x, seconds=time.perf_counter() - began, solver="newton")
        self._noted(solution, "descent" if len(self._led) else "central path", None)
        return None if x is None else self._answer(solution)

    @property
    def _pairs(self) -> Pairs:
        return Pairs(self._lambda, self._owner, self._limit, np.where(self._above, -1.0, 1.0))

    def on_pieces(self) -> tuple[Answer, Array] | None:
        """(the optimum with its bound, its active pairs) where answers are affine pieces of one number; else None."""
        began = time.perf_counter()
        least = least_on_pieces(self.program, self._pairs, self._led)
        if least is None:
            return None
        message, seconds = "all pieces of the answer gone through", time.perf_counter() - began
        solution = Solution(Termination.OPTIMAL, message, least.x, bound=least.bound, seconds=seconds, solver="pieces")
        return self._answer(self._noted(solution, "pieces", None)), least.active

    def _next(self, level: float, step: int, x: Array) -> float:
        """The treatment's own next level, or beyond its last one a hundredth; λ s ≤ t is made to bite."""
        assert self.treatment is not None
        levels = self.treatment.levels
        if isinstance(self.treatment, Penalty):
            return levels[step] if step < len(levels) else 100.0 * level
        level = levels[step] if step < len(levels) and levels[step] < level else level / 100.0
        if isinstance(self.treatment, Scholtes):
            level = min(level, float((self.multipliers(x) * self.slacks(x)).max(initial=level)) / 10.0)
        return max(level, TOLERANCES.least_level)

    def _blur(self, x: Array) -> float:
        """How far from complementary the pairs are: the largest min(λ, s) over the median of max(λ, s)."""
        if not len(self._lambda):
            return 0.0
        force, room = np.abs(self.multipliers(x)), np.abs(self.slacks(x))
        size = float(np.median(np.maximum(force, room)))
        return float(np.minimum(force, room).max()) / size if size > 0.0 else 0.0

    def _options(self, solver: str, level: float, *, last: bool) -> dict[str, Any]:
        if not choose(solver).ipopt_options:
            return {}
        small = 1.0 / level if isinstance(self.treatment, Penalty) else level
        tolerance = TOLERANCES.solver if last else max(TOLERANCES.solver, TOLERANCES.homotopy * small)
        return {"mu_init": min(0.1, max(small, TOLERANCES.barrier)), "tol": tolerance}

    def _at(self, level: float) -> tuple[Array, Array]:
        """The bounds at a level; Fischer–Burmeister's equation keeps λ and s positive without any."""
        lower, upper = (side.copy() for side in self.program.bounds)
        if isinstance(self.treatment, FischerBurmeister):
            inside = np.concatenate([self._lambda, self._owner])
            lower[inside[inside >= 0]] = -math.inf
            upper[inside[inside >= 0]] = math.inf
        if self._level >= 0:
            lower[self._level] = upper[self._level] = level
        return lower, upper

    def _run(
        self,
        program: Program,
        solver: str,
        options: dict[str, Any],
        level: float | None,
        until: float,
        tee: bool,
        name: str = "",
    ) -> Solution:
        name = name or (self.treatment.name if self.treatment else "rows")
        left = until - time.monotonic()
        if left <= 0:
            return self._noted(Solution(Termination.TIME_LIMIT, "no time left", solver=solver), name, level)
        if choose(solver).ipopt_options:
            options = {"max_iter": _ITERATIONS, **options}
            left = min(left, _PATIENCE + len(program.variables) / _PACE)
        limit = left if math.isfinite(left) else None
        return self._noted(solve(program, solver, options=options, time_limit=limit, tee=tee), name, level)

    def _noted(self, solution: Solution, name: str, level: float | None) -> Solution:
        """Put an attempt on the log."""
        usable = solution.x is not None and np.isfinite(solution.x).all()
        logger.debug("%s at level %s: %s in %.3f s", name, level, solution.termination.value, solution.seconds)
        cost = self.cost(solution.x) if usable and solution.x is not None else None
        bound = solution.bound if math.isfinite(solution.bound) else None
        self.log.append(solution.entry(treatment=name, level=level, cost=cost, bound=bound))
        self._seconds["solve"] = self._seconds.get("solve", 0.0) + solution.seconds
        return solution

    def _answer(self, solution: Solution) -> Answer:
        usable = solution.x is not None and (solution.termination.solved or solution.termination.limited)
        x = solution.x if usable and np.isfinite(np.asarray(solution.x)).all() else None
        return Answer(**{**vars(solution), "x": x}, cost=math.inf if x is None else self.cost(x))

    # --- the polish -------------------------------------------------------------------------------------------------

    def polished(
        self, x: Array, solver: str, *, active: Array | None = None, signed: bool = False, until: float = math.inf
    ) -> Answer | None:
        """The best point with the active set of x (or ``active``), zeros exact; None if there is none.

        ``signed``: keep every λ, s ≥ 0, and with them the active set.
        """
        active = self._consistent(self._active(x) if active is None else active, x)
        kept, turns = np.full(len(active), signed), np.zeros(len(active), dtype=int)
        options = {} if len(self._led) or not choose(solver).ipopt_options else _FROM_NEARBY
        for _ in range(_ROUNDS):
            lower, upper = self._piece(active, kept)
            lower[self._whole] = upper[self._whole] = np.round(x[self._whole])
            program = self.program.variant(np.clip(x, lower, upper), bounds=(lower, upper), row_bounds=self._freed())
            solution = self._run(program, solver, options, None, until, False, "polish")
            if solution.answer is None:
                if kept.all() or solution.termination.limited:
                    return None
                kept[:], options = True, {}
                continue
            x = solution.answer
            reaches = np.append(TOLERANCES.noise * self.program.units(x)[0], 0.0)
            force, room = reaches[self._lambda], reaches[self._owner]
            wrong = np.where(active, self.multipliers(x) < -force, self.slacks(x) < -room) & ~kept
            if not wrong.any():
                return self._polished(program, x, solution)
            turns += wrong
            active, kept = self._consistent(active ^ wrong, x), kept | (turns >= _TURNS)
        return None

    def face(self, active: Array) -> tuple[Array, Array]:
        """Bounds of everything that has this active set, every sign kept."""
        return self._piece(active, np.ones(len(active), dtype=bool))

    def endless(self, x: Array) -> tuple[Array, ...]:
        """Points ever farther out on x's own piece along which the cost falls: :func:`stackpyomo.solvers.ray`."""
        force, room = self.multipliers(x), self.slacks(x)
        for active in (force > room, force >= room):
            active = self._consistent(active, x)
            bounds = self.face(active)
            points = ray(self.program.variant(bounds=bounds, row_bounds=self._freed()), np.clip(x, *bounds))
            if points:
                return points
        return ()

    def _active(self, x: Array) -> Array:
        """Pairs whose λ is the larger of the two at x."""
        return np.asarray(self.multipliers(x) > self.slacks(x))

    def _polished(self, piece: Program, x: Array, solution: Solution) -> Answer:
        """Rounding below a bound, and what an interior-point method leaves just above one, is put on it."""
        snapped = piece.snapped(x, solution.duals)[0] if solution.duals is not None else x
        answer = self._answer(replace(solution, x=np.clip(snapped, *self.program.bounds)))
        answer.polished = True
        return answer

    def _consistent(self, active: Array, x: Array) -> Array:
        """Of two bounds of one variable the one with the larger multiplier is active (both, if they coincide)."""
        order = np.flatnonzero(active & (self._owner >= 0))
        owners = self._owner[order]
        twice = np.isin(owners, [k for k, n in zip(*np.unique(owners, return_counts=True), strict=True) if n > 1])
        force = self.multipliers(x)
        active = active.copy()
        for owner in np.unique(owners[twice]):
            both = order[owners == owner]
            if np.ptp(self._limit[both]) > 0.0:
                active[both] = both == both[np.argmax(force[both])]
        return active

    def _piece(self, active: Array, kept: Array) -> tuple[Array, Array]:
        """Bounds of the smooth problem: what is 0 by the active set, signs only where they are kept."""
        lower, upper = (side.copy() for side in self.program.bounds)

        def put(side: Array, places: Array, chosen: Array, value: Any) -> None:
            owned = chosen & (places >= 0)
            side[places[owned]] = np.broadcast_to(value, places.shape)[owned]

        put(lower, self._owner, ~active & ~kept & ~self._above, -math.inf)
        put(upper, self._owner, ~active & ~kept & self._above, math.inf)
        put(lower, self._lambda, active & ~kept, -math.inf)
        put(upper, self._lambda, ~active, 0.0)
        for side in (lower, upper):
            put(side, self._owner, active, self._limit)
        return lower, upper

    def _freed(self) -> tuple[Array, Array] | None:
        """Row limits with the treatment's rows set free: the active set says what they said."""
        floor, ceiling = (side.copy() for side in self.program.row_bounds)
        treated = self.program.rows >= self._first
        if not treated.any():
            return None
        floor[treated], ceiling[treated] = -math.inf, math.inf
        return floor, ceiling
