"""Gains of any size: the homogenised form, whose bound holds for every gain, and what larger and larger ones tend to.

With K = K̂/σ and multipliers λ̂ = σ λ the conditions of a rule are

    σ a_k + A_kᵀ σ ∇_z J_k + M_kᵀ K̂ᵀ b_k + G_kᵀ λ̂_k = 0,      0 ≤ λ̂_k ⟂ −g_k ≥ 0,      σ² + ‖K̂‖² = 1,  σ ≥ 0

Every rule is a point of it, so that its minimum is a bound on all rules, whatever their gain. Points with σ = 0 belong
to no rule: their value is what rules tend to as the gain grows, where the conditions have full rank there. It is called
a limit only where rules of ten times the gain, verified, have come that near to it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.expr.relational_expr import EqualityExpression

from stackpyomo.bilevel import SOS1, Equilibrium, Problem, Scholtes, conditions
from stackpyomo.core import TOLERANCES, fixed
from stackpyomo.core.expressions import Substitution, apart, interval, is_affine, variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game
from stackpyomo.solvers import Termination, choose

from .unknown_gain import UnknownGain

_MOST = 40  # Actions and entries of the gain up to which a global solver is asked.
_PATIENCE = 5.0  # Processor seconds that it may take where no time limit was given.


class AnyGain:
    """The homogenised form of one search; ``problem`` is the leader's, with the gain's responses.

    necessary: relations that every rule keeps. While it is asked, the gain's Vars stand for K̂.

    Raises :class:`InvalidGame` where a constraint of a follower is curved, has a price or moves with the gain: the
    conditions may not hold, or are not linear in gain and multipliers together.
    """

    def __init__(self, game: Game, gain: UnknownGain, problem: Problem, necessary: Sequence[Any] = ()) -> None:
        self.gain = gain
        self.holder = holder = pyo.ConcreteModel(name="any gain")
        holder.share = pyo.Var(bounds=(0, 1), initialize=0.0)
        plain = conditions(game, list(game.followers.values()), answers=gain.answers)
        if plain.curved or plain.prices:
            raise InvalidGame("a curved constraint of a follower, or a price that is the multiplier of one")
        if not problem.leaning:
            plain.stand_alone()
        lines = {id(v) for v in (*gain.variables, *plain.block.pi.values(), *plain.block.nu.values())}
        stationarity = [(var, self._homogeneous(slope, lines)) for var, slope in plain.stationarity]
        felt = {id(v): v for _, slope in stationarity for v in variables_in(slope)}
        #: What somebody feels of K̂: along the others nothing is a rule.
        self.entries = [v for v in gain.holder.gain.values() if id(v) in felt]
        self.sizes = dict(zip(gain.numbers.tolist(), gain.units.tolist(), strict=True))
        norm = pyo.quicksum((v / self.sizes[v.index()]) ** 2 for v in self.entries)
        own = {id(row) for row in gain.common_rows()}
        rows = [(who, row) for who, row in problem.constraints if id(row) not in own]
        holder.row = pyo.ConstraintList()
        holder.row.add(holder.share**2 + norm == 1.0)
        for row in gain.common_rows():
            holder.row.add(self._homogeneous(row.body - row.upper, lines) == 0.0)
        for relation in necessary:
            with suppress(InvalidGame):  # without it the bound is still one
                left, right = relation.args
                inside = self._homogeneous(left - right, lines)
                holder.row.add(inside == 0.0 if isinstance(relation, EqualityExpression) else inside <= 0.0)
        rows += [("leader", row) for row in holder.row.values()]
        self.exact = replace(plain, stationarity=stationarity, implied=[])
        self.problem = replace(problem, constraints=rows)

    def _homogeneous(self, expression: Any, lines: set[int]) -> Any:
        """σ E(x/σ) of what is affine in these Vars: E(x) − (1 − σ) E(0)."""
        if not hasattr(expression, "is_expression_type"):
            return self.holder.share * expression
        present = [v for v in variables_in(expression) if id(v) in lines]
        others = [v for v in variables_in(expression) if id(v) not in lines and not v.fixed]
        with fixed(others, [1.0 if var.value is None else var.value for var in others]):
            if not is_affine(expression):
                raise InvalidGame("conditions that are not linear in gain and multipliers")
        none = Substitution(substitute=dict.fromkeys(map(id, present), 0.0)).walk_expression(expression)
        return apart(expression) - (1.0 - self.holder.share) * none

    def bound(self, time_limit: float | None) -> float:
        """What no rule costs less than, whatever its gain, by a global solver; −∞ where that does not tell."""
        few = len(self.exact.stationarity) + len(self.entries) <= _MOST
        if not few or not choose("scip").available or not math.isfinite(interval(self.problem.cost)[0]):
            return -math.inf
        self.gain.bound(-self.gain.units, self.gain.units)
        until, budget = math.inf, _PATIENCE
        if time_limit is not None:
            until, budget = time.monotonic() + time_limit, math.inf
        answer = Equilibrium(self.problem, self.exact, SOS1(), {}).solve("scip", until=until, budget=budget, tight=True)
        ended = answer.termination in (Termination.OPTIMAL, Termination.TIME_LIMIT)
        return answer.bound if ended and math.isfinite(answer.bound) else -math.inf

    def limit(self, values: Mapping[int, float]) -> float:
        """The leader's cost at σ = 0, from the direction of the gain at ``values`` ({id(Var): value}); NaN: none."""
        scaled = np.array([values.get(id(v), 0.0) / self.sizes[v.index()] for v in self.entries])
        norm = float(np.linalg.norm(scaled))
        if norm == 0.0:
            return math.nan
        self.gain.bound(-self.gain.units, self.gain.units)
        direction = zip(self.entries, (scaled / norm).tolist(), strict=True)
        start = {**values, **{id(v): x * self.sizes[v.index()] for v, x in direction}}
        ends = Equilibrium(replace(self.problem, held=[(self.holder.share, 0.0)]), self.exact, Scholtes(), {})
        answer = ends.solve(choose("auto").name, start=ends.point(start))
        if answer.x is None or not answer.termination.solved:
            return math.nan
        reached = ends.residuals(answer.x)["feasibility"] <= TOLERANCES.feasibility
        return ends.cost(answer.x) if reached else math.nan
