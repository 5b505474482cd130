"""Cuts: rows in (u0, u, K) that a rule has to keep for its plan to be a best response, not only stationary.

For a deviation v of follower k, z what moves with it (aggregates by its share, the leader's variables by the rule):

    J_k(u0, u) + margin ≤ J_k(u0 + K M (v − u_k), v, …)                          (a cut: every valid rule keeps it)
    T_kᵀ ∇²J_k T_k − μ I = L Lᵀ,   T_k = [I; R_k]                                (its composed cost bends up)

The cut is the value-function form one deviation at a time (Blankenship, Falk, J. Optim. Theory Appl. 19 (1976)
261–281); curvature is necessary only where no constraint of the follower's own binds. Where the formula would
leave the leader's bounds for some action, either its projection is what the cut plays, or rows keep it within them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.var import VarData

from stackpyomo.bilevel import along, derivatives, with_answers
from stackpyomo.core import TOLERANCES, Array, bounds_of, clipped, is_within, limited_reaches, sides_of
from stackpyomo.core.expressions import Substitution, apart, number_of
from stackpyomo.games import Follower, Movers, foreign, moved_along

from .unknown_gain import UnknownGain


@dataclass
class Cuts:
    """The rows found so far; ``necessary`` is False once one of them may cut off a valid rule."""

    gain: UnknownGain
    margin: float  #: How much worse than the plan a deviation has to be, in the follower's unit.
    curvature: float  #: The least curvature of a follower's composed cost.
    rows: list[Any] = field(default_factory=list)
    necessary: bool = True

    def __post_init__(self) -> None:
        self.game = self.gain.rows.game
        self.movers: Movers = with_answers(self.game.movers(), self.gain.answers)
        self._hessians: dict[str, list[list[Any]]] = {}
        self._inside: set[tuple[str, str]] = set()
        self._times: dict[str, int] = {}
        self._bent: set[str] = set()

    def refuted(self, follower: Follower, response: Mapping[str, float] | None, values: dict[int, float]) -> None:
        """Add what rules out that this follower plays ``response`` (None: without limit) against the point."""
        self._times[follower.name] = times = self._times.get(follower.name, 0) + 1
        if response is not None:
            self._cut(follower, response, values)
        if response is None or times > 1:
            self.bend_up(follower, values)

    # --- cuts ---------------------------------------------------------------------------------------------------------

    def _cut(self, follower: Follower, response: Mapping[str, float], values: dict[int, float]) -> None:
        names, cost = self.game.names, follower.cost
        table: dict[int, Any] = {id(v): response[names[id(v)]] for v in follower.variables}
        table |= moved_along(follower, self.movers, table)
        others = {id(other): other for v in follower.variables for other, _ in self.movers.get(id(v), ())}
        at = Substitution(substitute=values).walk_expression
        plain = Substitution(substitute=table).walk_expression
        left = [other for key, other in others.items() if self._leaves(other, number_of(at(table[key])))]
        if self.gain.design.wishes.saturate:
            self.necessary = False  # another rule may be stopped elsewhere
            table |= {id(v): clipped(number_of(at(table[id(v)])), v) for v in left}
        elif left and number_of(at(plain(cost))) >= number_of(at(apart(cost))):
            for other in left:  # what pays is that the leader is stopped at its bounds
                self._stay_inside(follower, other)
            return
        if foreign(follower, *follower.constraints):
            self.necessary = False  # elsewhere this response may break a row that others move
        self.rows.append(apart(cost) + self.margin <= Substitution(substitute=table).walk_expression(cost))

    def _leaves(self, var: VarData, level: float) -> bool:
        """True of a leader variable that the formula takes beyond its bounds there."""
        leader, units = self.gain.design.leader, self.gain.design.rows.instrument_units
        name = self.game.names[id(var)]
        return name in leader and not is_within(level, var.lb, var.ub, float(units[leader.index(name)]))

    def _stay_inside(self, follower: Follower, var: VarData) -> None:
        """The formula within the leader's bounds for every action in the follower's box."""
        key = follower.name, self.game.names[id(var)]
        if key in self._inside:
            return
        self._inside.add(key)
        self.necessary = False  # for some other action it may be of no harm
        rates = {id(v): (v, r) for v in follower.variables for z, r in self.movers.get(id(v), ()) if z is var}
        for sign, limit in sides_of(var):
            block = pyo.ConcreteModel(name="reach")
            block.most = pyo.Var(range(len(rates)), initialize=0.0)
            for most, (action, rate) in zip(block.most.values(), rates.values(), strict=True):
                for end, way in ((action.lb, -1.0), (action.ub, 1.0)):
                    push = sign * rate
                    self.rows.append(way * push <= 0.0 if end is None else most >= push * (end - action))
            self.rows.append(sign * apart(var) + pyo.quicksum(block.most.values()) <= sign * limit)

    # --- curvature ----------------------------------------------------------------------------------------------------

    def bend_up(self, follower: Follower, values: dict[int, float]) -> None:
        """Ask for curvature in every direction where the composed cost bends down in one that no bound closes."""
        free = [j for j, v in enumerate(follower.variables) if not _is_at_bound(v, values)]
        if not free or follower.name in self._bent:
            return
        entries = self._hessian(follower)
        response, plain = self._evaluated(entries, values), self._evaluated(entries, {**values, **self._no_gain})
        part = response[np.ix_(free, free)]
        rounding = TOLERANCES.noise * float(np.abs(plain[np.isfinite(plain)]).max(initial=0.0))
        least = max(self.curvature, rounding)
        if np.isfinite(part).all() and np.linalg.eigvalsh(part)[0] < least:
            if self.curvature == 0.0 and self._is_plain(follower):
                self._require_inside(follower, least)
                return
            self._require(follower, least)
            self.necessary = self.necessary and self.curvature > 0.0  # where a constraint binds, it need not hold

    def _is_plain(self, follower: Follower) -> bool:
        """True of one action without rows whose answers are one leader's variable: it is not stopped on both sides."""
        moved = [id(z) for v in follower.variables for z, _ in self.gain.answers.get(id(v), ())]
        answering = {id(v) for v in self.gain.rows.instruments}
        return len(follower.variables) == 1 and not follower.constraints and len(answering.intersection(moved)) == 1

    def _require_inside(self, follower: Follower, level: float) -> None:
        """H + n ≥ level, n ≥ 0 and n (u − lower) (upper − u) = 0: what every rule keeps, wherever its plan is."""
        self._bent.add(follower.name)
        (var,), block = follower.variables, pyo.ConcreteModel(name="bend")
        block.down = pyo.Var(bounds=(0, None), initialize=0.0)
        rooms = [sign * (limit - apart(var)) for sign, limit in sides_of(var)]
        self.rows.append(apart(self._hessian(follower)[0][0]) + block.down >= level)
        self.rows.append(block.down * math.prod(rooms) == 0.0)

    def require_curvature(self, follower: Follower) -> None:
        """T_kᵀ ∇²J_k T_k − μ I is positive semidefinite, as the user asks for."""
        self._require(follower, self.curvature)

    def is_plain_enough(self, follower: Follower, values: Mapping[int, float]) -> bool:
        """True if without a gain its cost has the curvature that the user asks for."""
        plain = self._evaluated(self._hessian(follower), {**values, **self._no_gain})
        rounding = TOLERANCES.noise * float(np.abs(plain).max(initial=0.0))
        return bool(np.isfinite(plain).all() and np.linalg.eigvalsh(plain)[0] >= self.curvature - rounding)

    def _require(self, follower: Follower, level: float) -> None:
        """One row for an action; for several H − level · I = L Lᵀ with L lower triangular."""
        self._bent.add(follower.name)
        entries = self._hessian(follower)
        if len(entries) == 1:
            self.rows += [entries[0][0] >= level] if hasattr(entries[0][0], "is_expression_type") else []
            return
        block, size = pyo.ConcreteModel(name="root"), range(len(entries))
        block.root = pyo.Var([(i, j) for i in size for j in range(i + 1)], initialize=lambda _, i, j: float(i == j))
        for i in size:
            for j in range(i + 1):
                product = pyo.quicksum(block.root[i, k] * block.root[j, k] for k in range(j + 1))
                self.rows.append(apart(entries[i][j]) - (level if i == j else 0.0) == product)

    @property
    def _no_gain(self) -> dict[int, float]:
        return {id(v): 0.0 for v in self.gain.holder.gain.values()}

    def _hessian(self, follower: Follower) -> list[list[Any]]:
        """T_kᵀ ∇²J_k T_k, entry by entry."""
        if follower.name not in self._hessians:
            slopes = [self._along(follower.cost, var, follower) for var in follower.variables]
            self._hessians[follower.name] = [
                [self._along(slope, var, follower) for var in follower.variables] for slope in slopes
            ]
        return self._hessians[follower.name]

    def _along(self, expression: Any, var: VarData, follower: Follower) -> Any:
        """Its derivative along an action, with what moves with that."""
        name = follower.name if follower.objective is None else follower.objective.name
        return along(var, derivatives(expression, name, follower.name), self.movers)

    def _evaluated(self, entries: Sequence[Sequence[Any]], values: dict[int, float]) -> Array:
        walk = Substitution(substitute=values).walk_expression
        return np.array([[_number(walk, entry) for entry in row] for row in entries], dtype=float)


def _number(walk: Any, entry: Any) -> float:
    return number_of(walk(entry)) if hasattr(entry, "is_expression_type") else float(entry)


def _is_at_bound(var: VarData, values: Mapping[int, float]) -> bool:
    level, (low, high) = values.get(id(var), 0.0), bounds_of(var)
    (reach,) = limited_reaches(*(np.array([side]) for side in (level, low, high)))
    return min(abs(level - low), abs(high - level)) <= TOLERANCES.active * (reach or 1.0)
