"""Offsets: the on-path values of prices and transfers the leader's objective does not depend on.

They are chosen together with the gains. With p the free values and s_j what is left of a_j(p) for the gain to balance,

    min_{p, λ ≥ 0} Σ_j s_j² / (b_kᵀ W⁻¹ b_k)(p)   s.t.  s = a(p) + Gᵀλ,  bounds and the leader's constraints on p,

is the least energy of any gain; among p that need the same gain, the one of least norm is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.var import VarData
from pyomo.core.expr.calculus.derivatives import Modes, differentiate
from pyomo.core.expr.visitor import ExpressionReplacementVisitor, identify_variables

from .derivatives import Derivatives, FollowerRows
from .errors import InvalidGame, NoIncentive
from .games import Game
from .multipliers import active_sets
from .programs import Program
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
    first = Program(cost, constraints)
    solution = solve(first, solver)
    if solution.x is None or not solution.termination.solved:
        names = ", ".join(game.names[id(v)] for v in chosen[:4])
        raise NoIncentive(
            f"No values of the free variables ({names}) meet the leader's constraints on them: {solution.message}. "
            "Relax those constraints or free more variables.",
            reasons={},
            residuals={},
        )
    found = {id(v): float(x) for v, x in zip(first.variables, solution.x, strict=True)}
    return design.least_norm(first, found, slopes, solver)


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
        for follower in self.rows.followers:
            own = list(range(column, column + len(follower.variables)))
            column += len(own)
            if follower.objective is None or not self._holds_free(follower.objective.expr):
                continue
            gradients, power = self._gradients(follower, own, weights)
            slopes.update(zip(own, gradients, strict=True))
            grip = pyo.value(power) > TOLERANCES.gradient**2
            energy += [1.0 / power if grip else None] * len(own)
        return slopes, energy

    def _gradients(self, follower: Any, own: Sequence[int], weights: Array) -> tuple[list[Any], Any]:
        """(a_j(p) for own actions, bᵀW⁻¹b(p)), both in minimise form."""
        expression = follower.objective.expr
        felt = {id(v) for v in identify_variables(expression, include_fixed=False)}
        aggregates = [(g, v) for g, v in enumerate(self.rows.responses.variables) if id(v) in felt]
        tools = [(w, v) for w, v in zip(weights, self.rows.instruments, strict=True) if id(v) in felt]
        wanted = [*follower.variables, *(v for _, v in aggregates), *(v for _, v in tools)]
        partials = differentiate(expression, wrt_list=wanted, mode=Modes.reverse_symbolic)
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

    def least_norm(
        self, first: Program, found: Mapping[int, float], slopes: Sequence[Any], solver: str
    ) -> dict[str, float]:
        """Among free values that leave the same slopes, those of least norm (only if there is more than one)."""
        names = [self.game.names[id(v)] for v in self.chosen]
        copies = [self.copies[id(v)] for v in self.chosen]
        values = [found.get(id(c), self.values[n]) for c, n in zip(copies, names, strict=True)]
        for var in (*copies, *getattr(self.model, "multiplier", {}).values()):
            if id(var) in found:
                var.set_value(found[id(var)], skip_validation=True)
        if not self._ambiguous(first, found):
            return dict(zip(names, values, strict=True))
        band = TOLERANCES.noise
        kept = [pyo.inequality(pyo.value(s) - band, s, pyo.value(s) + band) for s in slopes if _moves(s)]
        second = Program(pyo.quicksum(c**2 for c in copies), [*kept, *self.constraints()])
        solution = solve(second, solver)
        if solution.x is not None and solution.termination.solved:
            better = {id(v): float(x) for v, x in zip(second.variables, solution.x, strict=True)}
            values = [better[id(c)] for c in copies]
        return dict(zip(names, values, strict=True))

    def _ambiguous(self, first: Program, found: Mapping[int, float]) -> bool:
        """True if moving the free values in some direction changes no slope (to first order)."""
        place = {id(v): i for i, v in enumerate(first.variables)}
        columns = [place[id(c)] for c in self.copies.values() if id(c) in place]
        if len(columns) < len(self.copies):
            return True
        x = np.array([found[id(v)] for v in first.variables])
        jacobian = first.jacobian(x)[:, columns].toarray()
        return bool(np.linalg.matrix_rank(jacobian) < len(columns))


def _moves(slope: Any) -> bool:
    """True if the slope depends on a free value (or a multiplier) at all."""
    return next(iter(identify_variables(slope, include_fixed=False)), None) is not None
