"""Boxes that everybody's rows imply, by feasibility-based bound tightening on copies: the user's Vars keep theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyomo.environ as pyo

from stackpyomo.core.expressions import interval, substituting, variables_in
from stackpyomo.games import GameStructure
from stackpyomo.solvers import rows_at
from stackpyomo.verification import tighten

from .copies import copied

__all__ = ["implied_boxes", "least_cost"]


def implied_boxes(game: GameStructure) -> dict[str, tuple[float, float]]:
    """Variable name → what bounds and rows of all players leave to it; ±inf where that is no limit."""
    rows = [c for player in (game.leader, *game.followers.values()) for c in player.constraints]
    return {game.names[key]: interval(copy) for key, copy in _tightened(game, rows).items()}


def least_cost(game: GameStructure, cost: Any, rows: Sequence[Any]) -> float:
    """A lower bound of an expression by interval arithmetic over what bounds and these rows leave; −inf: none.

    Rows that hold Vars beside the game's, and relations that are no Constraint, leave everything.
    """
    least = interval(cost)[0]
    return max(least, interval(substituting(_tightened(game, rows))(cost))[0])


def _tightened(game: GameStructure, rows: Sequence[Any]) -> dict[int, Any]:
    """id(Var) → a copy with what is left of its bounds."""
    copies = copied(pyo.Block(concrete=True), [v for v in game.variables_by_name.values() if not v.fixed])
    known = {id(copy) for copy in copies.values()}
    written = rows_at((c for c in rows if hasattr(c, "body")), copies)
    tighten(row for row in written if all(v.fixed or id(v) in known for v in variables_in(row.body)))
    return copies
