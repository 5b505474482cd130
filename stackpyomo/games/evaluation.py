"""Values of a game's expressions at a point that is not the model's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from stackpyomo.core import undisturbed
from stackpyomo.core.expressions import Substitution, number_of, variables_in

from .players import Player
from .structure import GameStructure


def evaluator(game: GameStructure, values: Mapping[str, float]) -> Callable[[Any], float]:
    """Expression → its value where the variables have these, by name; NaN outside the domain of its functions."""

    def value_of(expression: Any) -> float:  # its own variables alone: a game may have many, and many players
        variables = [v for v in variables_in(expression) if not v.fixed and id(v) in game.names]
        table = {id(v): values[game.names[id(v)]] for v in variables}
        return number_of(Substitution(substitute=table).walk_expression(expression))

    return value_of


def objective_at(game: GameStructure, player: Player, values: Mapping[str, float]) -> float:
    """A player's objective there, in the sense the user wrote; NaN if it has none."""
    return math.nan if player.objective is None else evaluator(game, values)(player.objective.expr)


@contextmanager
def evaluated_at(game: GameStructure, values: Mapping[str, float]) -> Iterator[None]:
    """The model with other values, given back afterwards."""
    with undisturbed():
        variables = [(v, values[name]) for name, v in game.variables_by_name.items() if not v.fixed]
        before = [(v, v.value, v._stale) for v, _ in variables]  # as Pyomo counts it: a value may move the counter on
        try:
            for var, value in variables:
                var.set_value(value, skip_validation=True)
            yield
        finally:
            for var, value, stale in before:
                var.set_value(value, skip_validation=True)
                var._stale = stale
