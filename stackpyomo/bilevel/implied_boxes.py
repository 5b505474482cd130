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

__all__ = ["implied_boxes", "least_cost"]

_SWEEPS = 3  # Times that the rows are gone through.


def implied_boxes(game: GameStructure) -> dict[str, tuple[float, float]]:
    """Variable name → what bounds and rows of all players leave to it; ±inf where that is no limit."""
    copies = _tightened(game)
    return {name: interval(copy) for name, copy in copies.items()}


def least_cost(game: GameStructure, cost: Any) -> float:
    """A lower bound of an expression by interval arithmetic over these boxes; −inf where there is none."""
    copies = _tightened(game)
    return interval(_walker(game, copies)(cost))[0]


def _tightened(game: GameStructure) -> dict[str, Any]:
    free = {name: v for name, v in game.variables_by_name.items() if not v.fixed}
    holder = pyo.ConcreteModel(name="boxes")
    holder.own = pyo.Var(list(free))
    for name, var in free.items():
        holder.own[name].domain = pyo.Reals if var.is_continuous() else var.domain
        holder.own[name].setlb(var.lb)
        holder.own[name].setub(var.ub)
    copies = dict(holder.own.items())
    walk = _walker(game, copies)
    rows = [c for player in (game.leader, *game.followers.values()) for c in player.constraints]
    written = [free_row(walk(c.body), c.lb, c.ub) for c in rows]
    try:
        for _ in range(_SWEEPS):
            for row in written:
                fbbt(row)
    except (InfeasibleConstraintException, PyomoException, ArithmeticError, ValueError, TypeError):
        pass  # what the rows showed until then holds
    return copies


def _walker(game: GameStructure, copies: dict[str, Any]) -> Any:
    table = {id(v): copies[name] for name, v in game.variables_by_name.items() if not v.fixed}
    return substituting(table)
