"""Least gains: the least that some leader gains by deviating, whatever all of them do.

    min ε   s.t.   F_l(x, y) − F_l(v, x_others, y′) ≤ ε   for every listed deviation (l, v),
                   everybody's rows at x,   y and y′ answers of the followers to x and to (v, x_others)

A deviation is a row and a copy of the followers. The game is a relaxation, so that its bound is one on the ε of every
plan: above 0 the leaders have no equilibrium in pure strategies. The answers y′ are those that let ε be least, which
is on the safe side where the followers are indifferent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyomo.environ as pyo

from stackpyomo.bilevel import Problem
from stackpyomo.core import TOLERANCES
from stackpyomo.core.expressions import variables_in
from stackpyomo.errors import NoPlan
from stackpyomo.games import Game, Population

from .copies import add_rows, block_of, copied, substituted
from .options import Options
from .responding import respond

__all__ = ["LeastGain", "LeastGains"]

_MOST = 60
"""Deviations that are listed at most."""


@dataclass(frozen=True)
class LeastGain:
    """A plan at which no listed deviation pays more than ``bound``, up to the solver's gap."""

    values: dict[str, float]
    bound: float


class LeastGains:
    """The deviations listed so far, and the game that they make."""

    def __init__(self, game: Game, common: Sequence[Any]) -> None:
        self.game, self.common = game, common
        self.decided = [v for leader in game.leaders.values() for v in leader.variables]
        self.actions = [v for f in game.followers.values() for v in f.variables]
        self.deviations: list[tuple[str, dict[int, float]]] = []
        private = {n: {id(v) for v in leader.variables} for n, leader in game.leaders.items()}
        self._free = {
            name
            for name, leader in game.leaders.items()
            if all(id(v) in private[name] for row in leader.constraints for v in variables_in(row.expr) if not v.fixed)
        }
        """Leaders whose deviations are feasible whatever the others do."""

    @property
    def is_usable(self) -> bool:
        """True if there are deviations, and nothing but the followers answers the leaders."""
        game = self.game
        alone = not (self.common or game.aggregates or game.prices or game.shared)
        return (
            alone
            and 0 < len(self.deviations) <= _MOST
            and not any(math.isinf(f.size) for f in self.game.followers.values())
        )

    def add(self, name: str, values: Mapping[str, float]) -> bool:
        """List a leader's own values as a deviation; False if they are there, or not feasible whatever others do."""
        if name not in self._free:
            return False
        deviation = {id(v): values[self.game.names[id(v)]] for v in self.game.leaders[name].variables}
        for other, known in self.deviations:
            if other == name and all(
                abs(known[k] - x) <= TOLERANCES.accuracy * max(1.0, abs(x)) for k, x in deviation.items()
            ):
                return False
        self.deviations.append((name, deviation))
        return True

    def solve(self, options: Options) -> LeastGain | None:
        """The plan of least ε against the listed deviations; None where no plan was found."""
        game, problem, table = self._written()
        try:
            plan = respond(game, list(game.followers.values()), problem, options)
        except NoPlan:
            return None
        names = self.game.names
        values = {names[key]: plan.values[game.names[id(copy)]] for key, copy in table.items()}
        fixed = {n: float(v.value) for n, v in self.game.variables_by_name.items() if v.fixed}
        return LeastGain({**fixed, **values}, plan.bound if math.isfinite(plan.bound) else 0.0)

    def _written(self) -> tuple[Game, Problem, dict[int, Any]]:
        model = pyo.ConcreteModel(name=f"{self.game.name}, deviations of its leaders")
        table = dict(copied(model, self.decided))
        model.epsilon = pyo.Var(bounds=(0, None))
        players: list[Population] = []
        self._answer(model, "base", table, players)
        rows = [
            (substituted(c.body, table), c.lb, c.ub)
            for leader in self.game.leaders.values()
            for c in leader.constraints
        ]
        for number, (name, deviation) in enumerate(self.deviations):
            moved = {**table, **deviation}
            self._answer(model, f"deviation{number}", moved, players)
            leader = self.game.leaders[name]
            assert leader.objective is not None
            cost = leader.sign * leader.objective.expr
            rows.append((substituted(cost, table) - substituted(cost, moved) - model.epsilon, None, 0.0))
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
            assert follower.objective is not None
            add_rows(block, ((substituted(c.body, table), c.lb, c.ub) for c in follower.constraints))
            block.cost = pyo.Objective(expr=follower.sign * substituted(follower.objective.expr, table))
            players.append(Population(block, follower.size))
