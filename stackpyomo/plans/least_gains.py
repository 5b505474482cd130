"""Least gains: the least that some leader gains by deviating, whatever all of them do.

    min ε   s.t.   F_l(x, y) − F_l(v, x_others, y′) ≤ ε   for every listed deviation (l, v),
                   everybody's rows at x,   y and y′ answers of the followers to x and to (v, x_others)

A deviation is a row and a copy of the followers; v is a point, or moves with x_others by a rule. The game is a
relaxation, so that its bound is one on the ε of every plan: above 0 the leaders have no equilibrium in pure strategies.
The answers y′ are those that let ε be least, which is on the safe side where the followers are indifferent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyomo.environ as pyo

from stackpyomo.bilevel import Options, Problem, add_rows, block_of, copied, substituted
from stackpyomo.core import Array
from stackpyomo.core.expressions import is_affine, variables_in
from stackpyomo.deviations import Deviation, Deviations
from stackpyomo.games import Game, Population
from stackpyomo.solvers import free_row, rows_at

from .reply_rules import ReplyRule, rule_of
from .responding import plan_if_any

_MOST = 60  # Deviations that are listed at most.


class LeastGains:
    """The master of :func:`stackpyomo.deviations.generate` over plans of all leaders."""

    def __init__(
        self,
        game: Game,
        common: Sequence[Any],
        options: Options,
        until: float = math.inf,
        units: Mapping[str, float] | None = None,
    ) -> None:
        """``units``: leader variable → its natural unit (1 if absent), in which rules are."""
        self.game, self.options, self.until, self._units = game, options, until, units or {}
        self.rules: dict[str, list[ReplyRule]] = {name: [] for name in game.leaders}
        self.bound = 0.0  #: Proved: whatever the leaders do, one of them gains as much by a listed deviation.
        self.decided = [v for leader in game.leaders.values() for v in leader.variables]
        private = {n: {id(v) for v in leader.variables} for n, leader in game.leaders.items()}
        self._free = {
            name
            for name, leader in game.leaders.items()
            if all(id(v) in private[name] for row in leader.constraints for v in variables_in(row.expr) if not v.fixed)
        }  #: Leaders whose deviations are feasible whatever the others do.
        several = any(math.isinf(f.size) for f in game.followers.values())
        #: Whether nothing but the followers answers the leaders.
        self.is_usable = not (common or game.aggregates or game.prices or game.shared or several)

    def deviation(self, name: str, values: Mapping[str, float], gain: float = math.nan) -> Iterator[Deviation]:
        """A leader's own values as a deviation; none where they need not be feasible whatever others do."""
        if name in self._free:
            own = (self.game.names[id(v)] for v in self.game.leaders[name].variables)
            yield Deviation(name, {variable: values[variable] for variable in own}, gain)

    def learn(self, name: str, others: Array, own: Array) -> None:
        """Deviate by the rule of this leader's last reply, too, if it has one that is new; in natural units."""
        leader = self.game.leaders[name]
        plain = not self.game.leader.integers and is_affine(*(c.body for c in leader.constraints))
        if name not in self._free or not plain:
            return
        if not any(rule.predicts(others[-1:], own[-1:]).all() for rule in self.rules[name]):
            self.rules[name] += filter(None, [rule_of(others, own)])

    def solve(self, rows: Deviations) -> dict[str, float] | None:
        """The plan of least ε against these deviations; None where no plan was found."""
        if not self.is_usable or not 0 < len(rows) + sum(map(len, self.rules.values())) <= _MOST:
            return None
        game, problem, table = self._written(rows)
        left = self.until - time.monotonic()
        options = self.options if math.isinf(left) else replace(self.options, time_limit=max(1.0, left))
        plan = plan_if_any(game, list(game.followers.values()), problem, options)
        if plan is None:
            return None
        self.bound = max(self.bound, plan.bound if math.isfinite(plan.bound) else 0.0)
        names = self.game.names
        values = {names[key]: plan.values[game.names[id(copy)]] for key, copy in table.items()}
        fixed = {n: float(v.value) for n, v in self.game.variables_by_name.items() if v.fixed}
        return {**fixed, **values}

    def _written(self, listed: Deviations) -> tuple[Game, Problem, dict[int, Any]]:
        model = pyo.ConcreteModel(name=f"{self.game.name}, deviations of its leaders")
        table = dict(copied(model, self.decided))
        model.epsilon = pyo.Var(bounds=(0, None))
        players: list[Population] = []
        self._answer(model, "base", table, players)
        rows = rows_at((c for leader in self.game.leaders.values() for c in leader.constraints), table)
        for number, (name, own) in enumerate([*self._points(listed), *self._ruled(model, table, players)]):
            leader, moved = self.game.leaders[name], {**table, **own}
            self._answer(model, f"deviation{number}", moved, players)
            gain = substituted(leader.cost, table) - substituted(leader.cost, moved)
            rows.append(free_row(gain - model.epsilon, None, 0.0))
        add_rows(model, rows)
        model.cost = pyo.Objective(expr=model.epsilon)
        game = Game(model, players)
        problem = Problem(model.epsilon, [("leader", c) for c in game.leader.constraints], leader=game.leader.variables)
        return game, problem, table

    def _unit(self, var: Any) -> float:
        """Its natural unit."""
        return self._units.get(self.game.names[id(var)], 1.0)

    def _points(self, listed: Deviations) -> Iterator[tuple[str, dict[int, Any]]]:
        """(leader, id of its Var → what it does instead)"""
        for deviation in listed:
            variables = self.game.leaders[deviation.follower].variables
            yield deviation.follower, {id(v): deviation.action[self.game.names[id(v)]] for v in variables}

    def _ruled(
        self, model: Any, table: dict[int, Any], players: list[Population]
    ) -> Iterator[tuple[str, dict[int, Any]]]:
        """The same by rules: the point of the leader's own set that is nearest to the rule's, as a follower's."""
        for number, (name, rule) in enumerate((name, rule) for name, rules in self.rules.items() for rule in rules):
            variables = self.game.leaders[name].variables
            others = [table[id(v)] / self._unit(v) for v in self.decided if not any(v is w for w in variables)]
            block = block_of(model, f"rule{number}")
            own = copied(block, variables)
            add_rows(block, rows_at(self.game.leaders[name].constraints, own))
            steps = []
            for var, offset, slopes in zip(variables, rule.offset, rule.slopes, strict=True):
                goal = offset + sum(float(slope) * level for slope, level in zip(slopes, others, strict=True))
                steps.append(own[id(var)] / self._unit(var) - goal)
            block.cost = pyo.Objective(expr=sum(step**2 for step in steps))
            players.append(Population(block, 1))
            yield name, own

    def _answer(self, model: Any, name: str, table: dict[int, Any], players: list[Population]) -> None:
        """The followers' copies who answer the leaders of ``table``; their Vars are put into it."""
        blocks = []
        for number, follower in enumerate(self.game.followers.values()):
            block = block_of(model, f"{name}_{number}")
            table.update(copied(block, follower.variables))
            blocks.append((block, follower))
        for block, follower in blocks:
            add_rows(block, rows_at(follower.constraints, table))
            block.cost = pyo.Objective(expr=substituted(follower.cost, table))
            players.append(Population(block, follower.size))
