"""Feasibility: values of a game's variables by name, put on the bounds they are meant for, measured against all rows.

A value is known only to its accuracy: one that is within ``TOLERANCES.active`` of its reach from a bound stands on it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stackpyomo.core import TOLERANCES, Array, box_of, limited_reaches
from stackpyomo.games import GameStructure
from stackpyomo.solvers import BadRow, Program

__all__ = ["rested", "violation"]


def violation(game: GameStructure, values: Mapping[str, float]) -> float:
    """The largest violation of a bound or an active row there in natural units; infinite where a row has no value."""
    return _violation(game, _rows(game), values)


def _rows(game: GameStructure) -> Program | None:
    """Everybody's rows, written once for all points; None where one of them has no value."""
    try:
        return Program(0.0, [c for player in (game.leader, *game.followers.values()) for c in player.constraints])
    except BadRow:
        return None


def _violation(game: GameStructure, rows: Program | None, values: Mapping[str, float]) -> float:
    if rows is None:
        return np.inf
    levels, lower, upper = _levels(game, values)
    beyond = float((np.maximum(lower - levels, levels - upper) / _reaches(levels, lower, upper)).max(initial=0.0))
    whole = [not v.is_continuous() for v in game.variables_by_name.values() if not v.fixed]
    beyond = max(beyond, float(np.abs(levels - np.round(levels))[whole].max(initial=0.0)))
    outside = rows.residuals(rows.vector(values, game.names), None).feasibility
    return max(0.0, beyond, outside if np.isfinite(outside) else np.inf)


def rested(game: GameStructure, values: Mapping[str, float]) -> dict[str, float]:
    """The values with those next to a bound on it, unless a row is violated by that."""
    levels, lower, upper = _levels(game, values)
    room = TOLERANCES.active * _reaches(levels, lower, upper)
    moved = np.where(np.abs(levels - lower) <= room, lower, np.where(np.abs(upper - levels) <= room, upper, levels))
    names = [name for name, v in game.variables_by_name.items() if not v.fixed]
    moved_values = {**values, **dict(zip(names, moved.tolist(), strict=True))}
    if moved_values == values:
        return dict(values)
    rows = _rows(game)
    worse = _violation(game, rows, moved_values) > max(TOLERANCES.feasibility, _violation(game, rows, values))
    return dict(values) if worse else moved_values


def _levels(game: GameStructure, values: Mapping[str, float]) -> tuple[Array, Array, Array]:
    """(values, lower bounds, upper bounds) of all variables that are not fixed, ±inf where there is none."""
    free = {name: v for name, v in game.variables_by_name.items() if not v.fixed}
    return np.array([values[name] for name in free], dtype=float), *box_of(free.values())


def _reaches(levels: Array, lower: Array, upper: Array) -> Array:
    reaches = limited_reaches(levels, lower, upper)
    return np.where(reaches > 0.0, reaches, 1.0)
