"""Profiles: everything that followers of integer actions may do together, and which of it is an equilibrium.

A profile is an equilibrium if and only if it keeps everybody's rows and no follower does better by another action of
its own that keeps its rows, the others' actions given. Nothing is solved, so that nothing is missed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pyomo.core.base.var import VarData

from stackpyomo.core import TOLERANCES, Array, is_within
from stackpyomo.core.expressions import number_of, sized
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game, evaluated_at

_MOST = 100_000  # Profiles up to which all are looked at.


def count(variables: Sequence[VarData]) -> float:
    """How many values these have together; infinite unless all are whole and bounded."""
    if any(v.is_continuous() or v.lb is None or v.ub is None for v in variables):
        return math.inf
    return math.prod(len(whole_levels(v)) for v in variables)


def whole_levels(var: VarData) -> list[float]:
    """The values of a bounded whole variable."""
    return [float(n) for n in range(math.ceil(var.lb), math.floor(var.ub) + 1)]


class Profiles:
    """All profiles of followers of whole, bounded actions: arrays with an axis for each action."""

    def __init__(self, game: Game, followers: Sequence[Follower]) -> None:
        self.game, self.followers = game, followers
        self.actions = [v for f in followers for v in f.variables]
        self.levels = [whole_levels(v) for v in self.actions]
        self.shape = tuple(map(len, self.levels))
        ends = np.cumsum([0, *(len(f.variables) for f in followers)]).tolist()
        #: Of each follower's own actions.
        self.axes = [tuple(range(first, last)) for first, last in itertools.pairwise(ends)]

    def costs(self, values: Mapping[str, float], players: Sequence[Any]) -> Array:
        """(players, *profiles): infinite where a row of the player does not hold; everybody else as in ``values``."""
        costs = np.full((len(players), *self.shape), math.inf)
        with evaluated_at(self.game, {**self.game.completed({}), **values}):
            for place in itertools.product(*map(range, self.shape)):
                for var, known, number in zip(self.actions, self.levels, place, strict=True):
                    var.set_value(known[number], skip_validation=True)
                for k, player in enumerate(players):
                    costs[(k, *place)] = _cost(player)
        return costs

    def stable(self, costs: Array) -> Array:
        """Which profiles are equilibria, by the followers' costs."""
        best = np.ones(self.shape, dtype=bool)
        for cost, axes in zip(costs, self.axes, strict=True):
            least = cost.min(axis=axes, keepdims=True)
            known = cost[np.isfinite(cost)]
            room = TOLERANCES.noise * np.ptp(known) + TOLERANCES.rounding * np.abs(known).max() if known.size else 0.0
            with np.errstate(invalid="ignore"):
                best &= np.isfinite(cost) & (cost <= least + room)
        return best

    def values(self, place: Iterable[Any]) -> dict[str, float]:
        """Action → level of one profile."""
        chosen = zip(self.actions, self.levels, place, strict=True)
        return {self.game.names[id(v)]: known[number] for v, known, number in chosen}


def pure_equilibria(game: Game, followers: Sequence[Follower], values: dict[str, float]) -> Iterator[dict[str, float]]:
    """The values of every pure equilibrium, everybody else as in ``values``.

    Raises :class:`InvalidGame` for followers with other actions than bounded whole ones, and for too many profiles.
    """
    if game.aggregates:
        raise InvalidGame(
            f"{game.aggregates[0].name}: equilibrium='all' looks at integer actions one by one, without aggregates; "
            "write the sum out in the objectives."
        )
    for var in (v for f in followers for v in f.variables if math.isinf(count([v]))):
        kind = "a continuous variable" if var.is_continuous() else "an integer variable without two bounds"
        raise InvalidGame(
            f"equilibrium='all': {var.name} is {kind} among followers with integer actions, whose equilibria are "
            "enumerated. Bound it, or ask for equilibrium='any'."
        )
    profiles = Profiles(game, followers)
    if math.prod(profiles.shape) > _MOST:
        raise InvalidGame(
            f"equilibrium='all': {math.prod(profiles.shape):g} profiles of integer actions are too many to be "
            f"enumerated (at most {_MOST}); bound them, or ask for equilibrium='any'."
        )
    for place in np.argwhere(profiles.stable(profiles.costs(values, followers))):
        yield {**values, **profiles.values(place)}


def _cost(player: Any) -> float:
    """What it pays at the current values; infinite where one of its rows does not hold."""
    if all(is_within(*sized(row.body, row.lb, row.ub)) for row in player.constraints):
        return float(player.sign * number_of(player.objective.expr))
    return math.inf
