"""Least gains: the least that some leader gains by deviating, whatever all of them do.

    min ε   s.t.   F_l(x, y) − F_l(v, x_others, y′) ≤ ε   for every listed deviation (l, v),
                   everybody's rows at x,   y and y′ answers of the followers to x and to (v, x_others)

A deviation is a row and a copy of the followers. The game is a relaxation, so that its bound is one on the ε of every
plan: above 0 the leaders have no equilibrium in pure strategies. The answers y′ are those that let ε be least, which
is on the safe side where the followers are indifferent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyomo.environ as pyo

from stackpyomo.bilevel import Options, Problem, add_rows, block_of, copied, substituted
from stackpyomo.core.expressions import variables_in
from stackpyomo.deviations import Deviation, Deviations
from stackpyomo.games import Game, Population
from stackpyomo.solvers import free_row, rows_at

from .responding import plan_if_any

_MOST = 60  # Deviations that are listed at most.


class LeastGains:
    """The master of :func:`stackpyomo.deviations.generate` over plans of all leaders."""

    def __init__(self, game: Game, common: Sequence[Any], options: Options, until: float = math.inf) -> None:
        self.game, self.options, self.until = game, options, until
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

    def solve(self, rows: Deviations) -> dict[str, float] | None:
        """The plan of least ε against these deviations; None where no plan was found."""
        if not self.is_usable or not 0 < len(rows) <= _MOST:
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
        for number, deviation in enumerate(listed):
            leader = self.game.leaders[deviation.follower]
            moved = {**table, **{id(v): deviation.action[self.game.names[id(v)]] for v in leader.variables}}
            self._answer(model, f"deviation{number}", moved, players)
            gain = substituted(leader.cost, table) - substituted(leader.cost, moved)
            rows.append(free_row(gain - model.epsilon, None, 0.0))
        add_rows(model, rows)
        model.cost = pyo.Objective(expr=model.epsilon)
        game = Game(model, players)
        problem = Problem(model.epsilon, [("leader", c) for c in game.leader.constraints], leader=game.leader.variables)
        return game, problem, table

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
