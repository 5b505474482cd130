"""Offsets: the on-path values of prices and transfers the leader's objective does not depend on.

They are chosen together with the gains. With p the free values and s_j what is left of a_j(p) for the gain to balance,

    min_{p, λ ≥ 0} Σ_j s_j² / (b_kᵀ W⁻¹ b_k)(p)   s.t.  s = a(p) + Gᵀλ,  bounds and the leader's constraints on p,

is the least energy of any gain; among p that need the same gain, the one of least norm is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyomo.environ as pyo
from pyomo.core.base.var import VarData
from pyomo.core.expr.calculus.derivatives import Modes, differentiate
from pyomo.core.expr.calculus.diff_with_pyomo import DifferentiationException
from pyomo.core.expr.visitor import ExpressionReplacementVisitor, identify_variables

from .derivatives import Derivatives, FollowerRows
from .errors import InvalidGame, NoIncentive
from .games import Game
from .multipliers import active_sets
from .programs import BadRow, Program
from .results import Array
from .solvers import solve
from .tolerances import TOLERANCES

__all__ = ["choose_offsets"]


def choose_offsets(
    rows: FollowerRows,
    here: Derivatives,
    values: Mapping[str, float],
    chosen: Sequence[VarData],
    weights: Array,
    multipliers: str,
    solver: str,
) -> dict[str, float]:
    """{name: value} of the chosen leader variables.

    Raises :class:`InvalidGame` if the leader's objective holds one of them, :class:`NoIncentive` if no values of
    theirs meet the leader's constraints.
    """
    game = rows.game
    _refuse_valued(game, chosen)
    design = _Design(rows, values, chosen)
    by_action, energy = design.slopes(weights)
    if multipliers == "free":
        design.lean(by_action, active_sets(rows, here, values))
    residual = pyo.Var(range(len(by_action)), initialize=0.0)
    design.model.residual = residual
    slopes = list(by_action.values())
    balance = [residual[i] == s for i, s in enumerate(slopes)]
    constraints = [*balance, *design.constraints()]
    for i, e in enumerate(energy):
        if e is None and _moves(slopes[i]):
            residual[i].fix(0.0)
    cost = pyo.quicksum(e * residual[i] ** 2 for i, e in enumerate(energy) if e is not None)
    names = ", ".join(game.names[id(v)] for v in chosen[:4])
    try:
        first = Program(cost, constraints)
    except BadRow as bad:
        raise NoIncentive(
            f"No values of the free variables ({names}) are an incentive: {bad.reason}", reasons={}, residuals={}
        ) from None
    solution = solve(first, solver)
    if solution.x is None or not solution.termination.solved:
        raise NoIncentive(
            f"No values of the free variables ({names}) meet the leader's constraints on them: {solution.message}. "
            "Relax those constraints or free more variables.",
            reasons={},
            residuals={},
        )
    found = {id(v): float(x) for v, x in zip(first.variables, solution.x, strict=True)}
    return design.least_norm(found, slopes, solver)


def _refuse_valued(game: Game, chosen: Sequence[VarData]) -> None:
    objective = game.leader.objective
    if objective is None:
        return
    valued = {id(v) for v in identify_variables(objective.expr, include_fixed=False)}
    for var in chosen:
        if id(var) in valued:
            raise InvalidGame(
                f"{var.name}: cannot be free, because the leader's objective {objective.name} depends on it."
            )


class _Design:
    """The small problem in copies of the free variables, everything else at its value at the plan."""

    def __init__(self, rows: FollowerRows, values: Mapping[str, float], chosen: Sequence[VarData]) -> None:
        self.units: list[float] = []
        """Per slope its follower's largest derivative."""
        self._scale = rows.scales(values)
        self._tools = {id(v): k for k, v in enumerate(rows.instruments)}
        self.rows, self.game, self.values, self.chosen = rows, rows.game, values, chosen
        self.model = pyo.ConcreteModel(name="offsets")
        self.model.free = pyo.Var(range(len(chosen)))
        self.copies: dict[int, Any] = {}
        for index, var in enumerate(chosen):
            copy = self.model.free[index]
            copy.setlb(var.lb)
            copy.setub(var.ub)
            copy.set_value(values[self.game.names[id(var)]], skip_validation=True)
            self.copies[id(var)] = copy
        self._map = {id(v): values[name] for name, v in self.game.variables_by_name.items() if not v.fixed}
        self._map.update(self.copies)

    def at_plan(self, expression: Any) -> Any:
        """The expression as a function of the free copies alone."""
        visitor = ExpressionReplacementVisitor(
            substitute=self._map, descend_into_named_expressions=True, remove_named_expressions=True
        )
        return visitor.walk_expression(expression)

    def _holds_free(self, expression: Any) -> bool:
        return any(id(v) in self.copies for v in identify_variables(expression, include_fixed=False))

    def slopes(self, weights: Array) -> tuple[dict[int, Any], list[Any]]:
        """Action number → a_j(p) for followers that hold a free variable; and 1/(bᵀW⁻¹b)(p), None where b = 0."""
        slopes: dict[int, Any] = {}
        energy: list[Any] = []
        column = 0
        for number, follower in enumerate(self.rows.followers):
            own = list(range(column, column + len(follower.variables)))
            column += len(own)
            if follower.objective is None or not self._holds_free(follower.objective.expr):
                continue
            gradients, power = self._gradients(follower, own, weights)
            slopes.update(zip(own, gradients, strict=True))
            grip = pyo.value(power) > TOLERANCES.gradient**2
            self.units += [float(self._scale[number])] * len(own)
            energy += [1.0 / power if grip else None] * len(own)
        return slopes, energy

    def _gradients(self, follower: Any, own: Sequence[int], weights: Array) -> tuple[list[Any], Any]:
        """(a_j(p) for own actions, bᵀW⁻¹b(p)), both in minimise form."""
        expression = follower.objective.expr
        felt = {id(v) for v in identify_variables(expression, include_fixed=False)}
        aggregates = [(g, v) for g, v in enumerate(self.rows.responses.variables) if id(v) in felt]
        numbers = sorted(self._tools[i] for i in felt & self._tools.keys())
        tools = [(weights[k], self.rows.instruments[k]) for k in numbers]
        wanted = [*follower.variables, *(v for _, v in aggregates), *(v for _, v in tools)]
        try:
            partials = differentiate(expression, wrt_list=wanted, mode=Modes.reverse_symbolic)
        except DifferentiationException as error:
            raise InvalidGame(
                f"{follower.objective.name}: free= needs its symbolic derivative, which does not exist ({error})."
            ) from None
        direct = [follower.sign * self.at_plan(p) for p in partials]
        split = len(own) + len(aggregates)
        moves = self.rows.responses.moves
        slopes = [
            direct[i] + sum(moves[g, j] * direct[len(own) + k] for k, (g, _) in enumerate(aggregates))
            for i, j in enumerate(own)
        ]
        power = sum(b**2 / w for b, (w, _) in zip(direct[split:], tools, strict=True))
        return slopes, power

    def lean(self, slopes: dict[int, Any], sets: Sequence[Any]) -> None:
        """Add Gᵀλ of each follower's active constraints to its slopes."""
        count = sum(len(active.names) for active in sets)
        self.model.multiplier = pyo.Var(range(count), initialize=0.0)
        place = 0
        for active in sets:
            for normal, equality in zip(active.normals, active.equalities, strict=True):
                multiplier = self.model.multiplier[place]
                multiplier.setlb(None if equality else 0.0)
                place += 1
                for column, weight in zip(active.columns, normal, strict=True):
                    if weight and int(column) in slopes:
                        slopes[int(column)] = slopes[int(column)] + weight * multiplier

    def constraints(self) -> Iterator[Any]:
        """Everybody's constraints that hold a free variable, as constraints on the copies."""
        for player in (self.game.leader, *self.rows.followers):
            for constraint in player.constraints:
                if self._holds_free(constraint.body):
                    yield (
                        pyo.inequality(constraint.lb, self.at_plan(constraint.body), constraint.ub)
                        if not constraint.equality
                        else self.at_plan(constraint.body) == constraint.ub
                    )

    def least_norm(self, found: Mapping[int, float], slopes: Sequence[Any], solver: str) -> dict[str, float]:
        """Among free values that leave the same slopes (within each follower's noise), those of least norm.

        Slopes that can be 0 are made exactly 0: what is left of one is multiplied by how far the follower can go.
        """
        names = [self.game.names[id(v)] for v in self.chosen]
        copies = [self.copies[id(v)] for v in self.chosen]
        values = [found.get(id(c), self.values[n]) for c, n in zip(copies, names, strict=True)]
        for var in (*copies, *getattr(self.model, "multiplier", {}).values()):
            if id(var) in found:
                var.set_value(found[id(var)], skip_validation=True)
        kept = []
        for slope, unit in zip(slopes, self.units, strict=True):
            if _moves(slope):
                level, band = pyo.value(slope), TOLERANCES.noise / 2 * unit
                small = abs(level) <= TOLERANCES.stationarity * unit
                kept.append(slope == 0.0 if small else pyo.inequality(level - band, slope, level + band))
        second = Program(pyo.quicksum(c**2 for c in copies), [*kept, *self.constraints()])
        solution = solve(second, solver)
        if solution.x is not None and solution.termination.solved:
            better = {id(v): float(x) for v, x in zip(second.variables, solution.x, strict=True)}
            values = [better[id(c)] for c in copies]
        return dict(zip(names, values, strict=True))


def _moves(slope: Any) -> bool:
    """True if the slope depends on a free value (or a multiplier) at all."""
    return next(iter(identify_variables(slope, include_fixed=False)), None) is not None
