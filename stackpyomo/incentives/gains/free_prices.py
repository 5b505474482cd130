"""Offsets: the on-path values of prices and transfers the leader's objective does not depend on.

They are chosen together with the gains. With p the free values, s_j what is left of a_j(p) for the gain to balance and
K the gain,

    min_{p, λ ≥ 0, K} Σ w K²   s.t.  s = a(p) + Gᵀλ,  s + (K M)ᵀ b(p) = 0,  bounds and the leader's constraints on p

(an action that shares no entry of K costs s_j² / Σ b² M²/w). Among p that need the same gain, the one of least norm is
taken. A payment, a function of p, is an objective of its own, which comes first: its least value over the same
constraints, and then the least energy among the p that pay no more; or the least energy among the p within a limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.var import VarData
from pyomo.core.expr.calculus.diff_with_pyomo import DifferentiationException
from pyomo.core.expr.visitor import identify_variables
from scipy import sparse
from scipy.sparse.linalg import lsqr

from stackpyomo.core import TOLERANCES, Array, bounds_of, entries_in, limits_of
from stackpyomo.core.expressions import UNDEFINED, number_of, partials, substituting, variables_in
from stackpyomo.derivatives import ActiveSide, Derivatives
from stackpyomo.errors import InvalidGame, NoIncentive
from stackpyomo.games import Follower, Game
from stackpyomo.solvers import BadRow, Program, Solution, Termination, free_row, natural_size, prover, registry, solve

from .selection import Entries, Limits, Payment
from .system import System

_PROOF = 10.0  # Seconds for a second solver's word on free values that the first did not find.


@dataclass(frozen=True)
class Demand:
    """What the gains will have to do at the plan."""

    entries: Entries
    here: Derivatives  #: At the plan's values, in natural units.
    system: System  #: Its equations there.
    sides: Sequence[ActiveSide]  #: Active constraints that may carry a follower (none with multipliers='zero').
    shift: Array  #: (actions) what multipliers given by the user add to the slopes.
    limits: Limits  #: What ``gain_bounds`` leaves to the entries of the gain, in natural units.


def choose_offsets(demand: Demand, values: Mapping[str, float]) -> tuple[dict[str, float], Payment]:
    """({name: value} of the free leader variables, what they pay).

    Raises :class:`InvalidGame` if the leader's objective holds one of them, :class:`NoIncentive` if no values of
    theirs hold the followers within the leader's bounds and constraints.
    """
    wish, solver = demand.entries.wishes.payment, demand.entries.wishes.solver
    _refuse_valued(demand.entries.rows.game, demand.entries.wishes.free)
    design = _Design(demand, values)
    cost, balance = design.balance()
    names = design.names
    equations: list[Any] = [*balance, *design.constraints()]
    paid = None if wish.expression is None else design.paid(wish.expression)
    if paid is not None:
        wish = _limited(wish, paid, equations, names, solver)
    size = 0.0 if paid is None else natural_size(paid, {id(v): v.value for v in variables_in(paid)})
    size = abs(wish.limit) if abs(wish.limit) > TOLERANCES.noise * size else size  # of a limit of 0 what may be paid
    limit = [] if paid is None else [free_row(paid, None, wish.limit + TOLERANCES.noise * size)]
    first = _written(cost, [*equations, *limit], names)
    solution = _answered(first, solver)
    if solution.answer is None:
        within = f" within payment_limit={wish.limit:g}" if wish.given else ""
        advice = "Allow more (without payment_limit= the least is found), free" if wish.given else "Free"
        proved = solution.termination is Termination.INFEASIBLE and solution.solver == prover(first)
        hold = "hold" if proved else "were found to hold"
        raise NoIncentive(
            f"No values of the free variables ({names}){within} {hold} every follower within the leader's bounds and "
            f"constraints ({solution.message}). {advice} more variables, let the leader see or price each follower by "
            "itself (one price that answers a total seldom holds followers who differ), relax bounds, or choose "
            "another plan: optimal_rule(game) finds the best that a rule holds.",
            reasons={},
            residuals={},
        )
    levels = first.levels(_exact(first, solution.answer))
    return design.least(levels, limit, solver), wish if paid is None else replace(wish, paid=number_of(paid))


def _limited(wish: Payment, paid: Any, rows: Sequence[Any], names: str, solver: str) -> Payment:
    """The wish with its limit: the least payment of all free values that the rows allow, unless one is given."""
    if wish.given:
        return wish
    program = _written(paid, rows, names)
    solution = _answered(program, solver)
    if solution.termination is Termination.UNBOUNDED:
        raise InvalidGame("payment=: it falls without limit; bound the free variables it is made of.")
    if solution.answer is None:
        raise NoIncentive(f"payment=: no least one was found ({solution.message}).", reasons={}, residuals={})
    return replace(wish, limit=float(program.problem.objective(solution.x)))


def _refuse_valued(game: Game, chosen: Sequence[VarData]) -> None:
    driving = {id(v) for v in game.responses().drivers}
    for var in chosen:
        if id(var) in driving:
            raise InvalidGame(
                f"{var.name}: cannot be free, because an aggregate holds it: another value is another plan."
            )
    objective = game.leader.objective
    if objective is None:
        return
    valued = {id(v) for v in Program(objective.expr).variables}  # what a weight of 0 has removed is not among them
    for var in chosen:
        if id(var) in valued:
            raise InvalidGame(
                f"{var.name}: cannot be free, because the leader's objective {objective.name} depends on it. "
                "Take it out of that objective (payment= can still make what is paid least), or do not free it."
            )


class _Design:
    """The small problem in copies of the free variables in natural units, everything else at its value at the plan."""

    def __init__(self, demand: Demand, values: Mapping[str, float]) -> None:
        self.slopes: dict[int, Any] = {}
        #: Follower number → {leader variable → ∂J/∂u0 as a function of the free values}.
        self.effects: dict[int, dict[int, Any]] = {}
        self.demand, self.rows, self.here, self.values = demand, demand.entries.rows, demand.here, values
        self.game, self.chosen = self.rows.game, demand.entries.wishes.free
        self.names = ", ".join(self.game.names[id(v)] for v in self.chosen[:4])
        self.model = pyo.ConcreteModel(name="offsets")
        self.model.free = pyo.Var(range(len(self.chosen)))
        place = {id(v): i for i, v in enumerate(self.rows.instruments)}
        #: (free variables) the unit of each.
        units = np.append(self.rows.instrument_units, 1.0)[[place.get(id(v), -1) for v in self.chosen]]
        self.units = np.full(len(units), np.exp(np.log(units).mean()))  # one for all: the norm counts them alike
        self._map: dict[int, Any] = {id(v): values[n] for n, v in self.game.variables_by_name.items() if not v.fixed}
        for copy, var, unit in zip(self.model.free.values(), self.chosen, self.units.tolist(), strict=True):
            copy.bounds = limits_of(*(bound / unit for bound in bounds_of(var)))
            copy.set_value(values[self.game.names[id(var)]] / unit, skip_validation=True)
            self._map[id(var)] = unit * copy
        self.at_plan = substituting(self._map)  #: Expression → a function of the free copies alone.

    def _holds_free(self, expression: Any) -> bool:
        return any(hasattr(self._map.get(id(v)), "is_expression_type") for v in identify_variables(expression))

    def balance(self) -> tuple[Any, list[Any]]:
        """(energy of the gain, the equations it has to meet) as functions of the free values."""
        effects = self.effects = self._reached()
        self._lean()
        system, (by_row, by_column) = self.demand.system, self.demand.system.labels
        limited = np.isfinite(self.demand.limits.lower) | np.isfinite(self.demand.limits.upper)
        single = system.single() & ~np.isin(by_row, by_column[limited])  # what has limits is a variable of its own
        shared = {int(by_row[j]) for j in self.slopes if not single[j]}
        model = self.model
        model.residual = residual = pyo.Var(list(self.slopes), initialize=0.0)
        model.gain = pyo.Var(pyo.Any, dense=False)
        rows = [residual[j] == slope for j, slope in self.slopes.items() if single[j]]
        cost = 0.0
        for j in self.slopes:
            if not single[j]:
                continue
            power = self._power(effects, j)
            if not number_of(power) <= TOLERANCES.gradient**2:  # what overflows is large
                cost += residual[j] ** 2 / power
            elif _moves(self.slopes[j]):
                residual[j].fix(0.0)
        for number in np.flatnonzero(np.isin(by_row, list(shared))):
            rows += self._shared(effects, int(number))
        weights = system.weights
        return cost + sum(float(weights[e]) * model.gain[e] ** 2 for e in model.gain), rows

    def _reached(self) -> dict[int, dict[int, Any]]:
        """Follower number → {leader variable → ∂J/∂u0 as a function of the free values}; fills the slopes."""
        effects: dict[int, dict[int, Any]] = {}
        for number, follower in enumerate(self.rows.followers):
            if self.demand.entries.watched[number] and self._holds_free(follower.cost):
                slopes, effects[number] = self._gradients(follower, number)
                for j, slope in enumerate(slopes, self.rows.own(number).start):
                    self.slopes[j] = slope + float(self.demand.shift[j])
        return effects

    def _terms(self, effects: Mapping[int, Mapping[int, Any]], action: int) -> Iterator[tuple[int, Any, float]]:
        """(entry of the gain, ∂J/∂u0, M) for the entries that an action's equation holds."""
        system, follower = self.demand.system, int(self.rows.owners[action])
        for entry, _ in entries_in(system.matrix, action):
            instrument = int(system.leader[entry])
            known = follower in effects
            effect = effects[follower].get(instrument, 0.0) if known else float(self.here.leader[follower, instrument])
            yield entry, effect, float(self.demand.entries.moves[int(system.signal[entry]), action])

    def _power(self, effects: Mapping[int, Mapping[int, Any]], action: int) -> Any:
        """Σ b² M²/w over the entries of one action's own equation."""
        weights = self.demand.system.weights
        return sum((effect * move) ** 2 / float(weights[e]) for e, effect, move in self._terms(effects, action))

    def _shared(self, effects: Mapping[int, Mapping[int, Any]], action: int) -> list[Any]:
        """The equation of an action whose entries of the gain others use too."""
        slope = self.slopes.get(action, float(self.here.own[action] + self.demand.shift[action]))
        body = slope
        for entry, effect, move in self._terms(effects, action):
            if entry not in self.model.gain:
                self.model.gain[entry].set_value(0.0)
                self.model.gain[entry].bounds = limits_of(*self.demand.limits.at(entry))
            body = body + effect * move * self.model.gain[entry]
        return [body == 0.0] if hasattr(body, "is_expression_type") else []

    def _gradients(self, follower: Follower, number: int) -> tuple[list[Any], dict[int, Any]]:
        """(a_j(p) for own actions, {leader variable: b(p)}), both in minimise form."""
        rows, own = self.rows, np.arange(len(self.rows.actions))[self.rows.own(number)]
        felt = {id(v) for v in identify_variables(follower.cost, include_fixed=False)}
        aggregates = np.array([g for g, v in enumerate(rows.responses.variables) if id(v) in felt], dtype=int)
        leads = rows.leads[aggregates].tocsc()
        led = np.diff(leads.indptr) > 0
        instruments = np.flatnonzero(
            [id(v) in felt or through for v, through in zip(rows.instruments, led, strict=True)]
        )
        variables = [
            *follower.variables,
            *(rows.responses.variables[g] for g in aggregates),
            *(rows.instruments[i] for i in instruments),
        ]
        try:
            slopes = partials(follower.cost, variables)
        except (*UNDEFINED, DifferentiationException) as error:
            name = getattr(follower.objective, "name", follower.name)
            raise InvalidGame(f"{name}: free= needs its symbolic derivative, which does not exist ({error}).") from None
        units = [*rows.action_units[own], *rows.aggregate_units[aggregates], *rows.instrument_units[instruments]]
        cost = float(rows.units.costs[number])
        direct = [float(unit) / cost * self.at_plan(p) for unit, p in zip(units, slopes, strict=True)]
        carried = direct[len(own) : len(own) + len(aggregates)]

        def along(matrix: sparse.csc_array, column: int) -> Any:
            """What moves of the aggregates adds."""
            return sum(rate * carried[group] for group, rate in entries_in(matrix, column))

        moves, effects = rows.responses.moves[aggregates].tocsc(), direct[len(own) + len(aggregates) :]
        own_slopes = [slope + along(moves, int(j)) for j, slope in zip(own, direct, strict=False)]
        return own_slopes, {int(i): b + along(leads, int(i)) for i, b in zip(instruments, effects, strict=True)}

    def _lean(self) -> None:
        """Add Gᵀλ of active constraints that hold no leader variable to the slopes of their followers."""
        sides = [side for side in self.demand.sides if not len(side.instruments)]
        self.model.multiplier = pyo.Var(range(len(sides)), initialize=0.0)
        for number, side in enumerate(sides):
            multiplier = self.model.multiplier[number]
            multiplier.setlb(None if side.equality else 0.0)
            for column, weight in zip(side.columns, side.normal, strict=True):
                if weight and int(column) in self.slopes:
                    self.slopes[int(column)] = self.slopes[int(column)] + float(weight) * multiplier

    def constraints(self) -> Iterator[Any]:
        """Everybody's constraints that hold a free variable, as constraints on the copies."""
        for player in (self.game.leader, *self.rows.followers):
            for constraint in player.constraints:
                if self._holds_free(constraint.body):
                    yield free_row(self.at_plan(constraint.body), constraint.lb, constraint.ub)

    def least(self, levels: Mapping[int, float], limit: Sequence[Any], solver: str) -> dict[str, float]:
        """Among free values that leave the same slopes and grips (within noise) and the payment, those of least norm.

        Slopes that can be 0 are made exactly 0: what is left of one is multiplied by how far the follower can go.
        """
        names = [self.game.names[id(v)] for v in self.chosen]
        copies = list(self.model.free.values())
        values = np.array([levels.get(id(c), c.value) for c in copies])
        for var in (*copies, *self.model.multiplier.values()):
            if id(var) in levels:
                var.set_value(levels[id(var)], skip_validation=True)
        rows = list(self._kept())
        second = _written(
            pyo.quicksum(c**2 for c in copies),
            [*rows, *limit, *self.constraints()],
            self.names,
        )
        solution = solve(second, _able(second, solver))
        if solution.answer is not None:
            point = _exact(second, second.snapped(np.asarray(solution.x), solution.duals)[0])
            before = np.array([levels.get(id(v), v.value or 0.0) for v in second.variables])
            left = [second.residuals(x, None).feasibility for x in (point, before)]
            norms = [float(second.problem.objective(x)) for x in (point, before)]
            # A quadratic program is met less closely than a linear one, and what saves nothing is not worth its band.
            shorter = norms[0] < (1.0 - TOLERANCES.accuracy) * norms[1] or left[1] > TOLERANCES.noise
            if shorter and left[0] <= max(TOLERANCES.noise, left[1]):
                better = second.levels(point)
                values = np.array([better.get(id(c), value) for c, value in zip(copies, values, strict=True)])
        for copy, value in zip(copies, values.tolist(), strict=True):
            copy.set_value(value, skip_validation=True)
        return dict(zip(names, (values * self.units).tolist(), strict=True))

    def _kept(self) -> Iterator[Any]:
        """What the gain depends on, held where it is: slopes, and the grips of followers who need a gain at all."""
        pulled = set[int]()
        for action, slope in self.slopes.items():
            level = number_of(slope)
            small = abs(level) <= TOLERANCES.stationarity
            pulled |= set() if small else {int(self.rows.owners[action])}
            if _moves(slope):
                yield slope == 0.0 if small else _near(slope, level)
        for follower in sorted(pulled):
            for effect in self.effects[follower].values():
                if _moves(effect):
                    yield _near(effect, number_of(effect))

    def paid(self, payment: Any) -> Any:
        """The payment at the plan, as a function of the free values; raises :class:`InvalidGame` if it is none."""
        if not hasattr(payment, "is_expression_type") or not self._holds_free(payment):
            name = getattr(payment, "name", payment)
            raise InvalidGame(
                f"payment={name}: expected an expression that holds a free variable, as sum(fee[i]*use[i] for i in I)."
            )
        return self.at_plan(payment)


def _answered(program: Program, solver: str) -> Solution:
    """The solution; where a solver has none, that of one whose word on it is a proof, made exact from there."""
    solution = solve(program, _able(program, solver))
    other = prover(program)
    if solution.answer is not None or solution.solver == other or not registry[other].available:
        return solution
    proof = solve(program, other, time_limit=_PROOF)
    if proof.answer is None:
        return proof if proof.termination in (Termination.INFEASIBLE, Termination.UNBOUNDED) else solution
    sharp = solve(program.variant(start=proof.answer), solver)
    return proof if sharp.answer is None else sharp


def _exact(program: Program, point: Array) -> Array:
    """The point with its equations and the middles of its bands met to rounding, if that keeps the rest."""
    floor, ceiling = program.row_bounds
    equal = ceiling - floor <= TOLERANCES.noise
    left = (floor + ceiling)[equal] / 2.0 - np.asarray(program.problem.constraints(point))[equal]
    step = lsqr(program.jacobian(point)[equal], left, atol=0.0, btol=TOLERANCES.rounding, conlim=0.0)[0]
    exact = np.clip(point + step, *program.bounds)
    better = program.residuals(exact, None).feasibility <= program.residuals(point, None).feasibility
    return exact if better else point


def _written(cost: Any, rows: Sequence[Any], names: str) -> Program:
    try:
        return Program(cost, rows)
    except BadRow as bad:
        raise NoIncentive(
            f"No values of the free variables ({names}) are an incentive: {bad.reason}", reasons={}, residuals={}
        ) from None


def _near(expression: Any, level: float) -> Any:
    band = TOLERANCES.noise / 2
    return pyo.inequality(level - band, expression, level + band)


def _able(program: Program, solver: str) -> str:
    """What "auto" means here: interior-point methods refuse more equations than variables, even where they agree."""
    floor, ceiling = program.row_bounds
    return "highs" if solver == "auto" and (floor == ceiling).sum() > len(program.variables) else solver


def _moves(slope: Any) -> bool:
    """True if the slope depends on a free value (or a multiplier) at all."""
    return next(iter(identify_variables(slope, include_fixed=False)), None) is not None
