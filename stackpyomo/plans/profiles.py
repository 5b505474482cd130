"""Profiles: the pure equilibria of followers whose actions are all whole numbers, by looking at every profile.

A profile is an equilibrium if and only if it keeps everybody's rows and no follower does better by another action of
its own that keeps its rows, the others' actions given. Nothing is solved, so that the list is complete.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from pyomo.core.base.var import VarData

from stackpyomo.core import TOLERANCES
from stackpyomo.core.expressions import number_of
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game, evaluated_at

__all__ = ["pure_equilibria"]

_MOST = 100_000
"""Profiles up to which all are looked at."""


def pure_equilibria(game: Game, followers: Sequence[Follower], values: dict[str, float]) -> Iterator[dict[str, float]]:
    """The values of every pure equilibrium, everybody else as in ``values``.

    Raises :class:`InvalidGame` for followers with other actions than bounded whole ones, and for too many profiles.
    """
    if game.aggregates:
        raise InvalidGame(
            f"{game.aggregates[0].name}: equilibrium='all' looks at whole actions one by one, without aggregates; "
            "write the sum out in the objectives."
        )
    actions = [v for f in followers for v in f.variables]
    levels = [_levels(v) for v in actions]
    shape = tuple(map(len, levels))
    if math.prod(shape) > _MOST:
        raise InvalidGame(
            f"equilibrium='all': {math.prod(shape):g} profiles of whole actions are too many to be looked at one by "
            f"one (at most {_MOST}); bound them, or ask for equilibrium='any'."
        )
    costs = np.full((len(followers), *shape), math.inf)
    with evaluated_at(game, values):
        for place in itertools.product(*map(range, shape)):
            for var, known, number in zip(actions, levels, place, strict=True):
                var.set_value(known[number], skip_validation=True)
            for k, follower in enumerate(followers):
                costs[(k, *place)] = _cost(follower)
    best = np.ones(shape, dtype=bool)
    first = 0
    for k, follower in enumerate(followers):
        own = tuple(range(first, first + len(follower.variables)))
        first += len(own)
        least = costs[k].min(axis=own, keepdims=True)
        with np.errstate(invalid="ignore"):
            room = TOLERANCES.noise * np.maximum(1.0, np.abs(least))
            best &= np.isfinite(costs[k]) & (costs[k] <= least + room)
    for profile in np.argwhere(best):
        chosen = {game.names[id(v)]: known[n] for v, known, n in zip(actions, levels, profile, strict=True)}
        yield {**values, **chosen}


def _levels(var: VarData) -> list[float]:
    if var.is_continuous() or var.lb is None or var.ub is None:
        kind = "a continuous variable" if var.is_continuous() else "an integer variable without two bounds"
        raise InvalidGame(
            f"equilibrium='all': {var.name} is {kind} among followers with whole actions, whose equilibria are listed "
            "profile by profile. Bound it, or ask for equilibrium='any'."
        )
    return [float(n) for n in range(math.ceil(var.lb), math.floor(var.ub) + 1)]


def _cost(follower: Follower) -> float:
    """The follower's cost at the current values; infinite where one of its rows does not hold."""
    assert follower.objective is not None
    for row in follower.constraints:
        level = number_of(row.body)
        room = TOLERANCES.feasibility * max(1.0, abs(level))
        if not (row.lb is None or level >= row.lb - room) or not (row.ub is None or level <= row.ub + room):
            return math.inf
    return follower.sign * number_of(follower.objective.expr)
