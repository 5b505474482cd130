"""Boxes that everybody's rows imply, by feasibility-based bound tightening on copies: the user's Vars keep theirs."""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo
from pyomo.common.errors import InfeasibleConstraintException, PyomoException
from pyomo.contrib.fbbt.fbbt import fbbt

from stackpyomo.core.expressions import substituting
from stackpyomo.games import GameStructure
from stackpyomo.solvers import free_row

from .complementarity import interval
from .copies import copied

__all__ = ["implied_boxes", "least_cost"]

_SWEEPS = 3  # Times that the rows are gone through.


def implied_boxes(game: GameStructure) -> dict[str, tuple[float, float]]:
    """Variable name → what bounds and rows of all players leave to it; ±inf where that is no limit."""
    return {game.names[key]: interval(copy) for key, copy in _tightened(game).items()}


def least_cost(game: GameStructure, cost: Any) -> float:
    """A lower bound of an expression by interval arithmetic over these boxes; −inf where there is none."""
    return interval(substituting(_tightened(game))(cost))[0]


def _tightened(game: GameStructure) -> dict[int, Any]:
    """id(Var) → a copy with what is left of its bounds."""
    copies = copied(pyo.Block(concrete=True), [v for v in game.variables_by_name.values() if not v.fixed])
    walk = substituting(copies)
    rows = [c for player in (game.leader, *game.followers.values()) for c in player.constraints]
    written = [free_row(walk(c.body), c.lb, c.ub) for c in rows]
    try:
        for _ in range(_SWEEPS):
            for row in written:
                fbbt(row)
    except (InfeasibleConstraintException, PyomoException, ArithmeticError, ValueError, TypeError):
        pass  # what the rows showed until then holds
    return copies
