"""Boxes that everybody's rows imply, by feasibility-based bound tightening on copies: the user's Vars keep theirs.

Conditions imply boxes, too: an action off its only bound has no multiplier there, so that its slope is 0, and with what
the others can be that may end it on the other side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyomo.environ as pyo

from stackpyomo.core import TOLERANCES, bounds_of
from stackpyomo.core.expressions import affine_terms, interval, root_of, substituting, tighten, variables_in
from stackpyomo.games import GameStructure
from stackpyomo.solvers import free_row, rows_at

from .conditions import Conditions
from .copies import copied


def implied_boxes(game: GameStructure) -> dict[str, tuple[float, float]]:
    """Variable name → what bounds and rows of all players leave to it; ±inf where that is no limit."""
    rows = [c for player in (game.leader, *game.followers.values()) for c in player.constraints]
    return {game.names[key]: box for key, box in _boxes_of(game, rows).items()}


def _boxes_of(game: GameStructure, rows: Sequence[Any]) -> dict[int, tuple[float, float]]:
    """id(Var) → what its bounds and these rows leave to it; ±inf where that is no limit."""
    return {key: interval(copy) for key, copy in _tightened(game, rows).items()}


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


def bound_actions(kkt: Conditions, game: GameStructure, rows: Sequence[Any]) -> None:
    """Cuts that end the actions of those who respond where bounds leave no end: a global solver's bound hangs on it.

    rows: what holds as well, whoever responds.
    """
    endless = []
    for var in {id(p.component): p.component for p in kkt.pairs}.values():
        slope = kkt.forces.get(id(var))
        low, high = bounds_of(var) if slope is not None else (-math.inf, math.inf)
        if math.isinf(low) == math.isinf(high) or var.fixed or not getattr(slope, "is_expression_type", bool)():
            continue
        endless.append((var, slope, low, high))
    boxes = _boxes_of(game, rows) if endless else {}
    for var, slope, low, high in endless:
        least, most = _left_by(slope, var, boxes)
        if math.isfinite(low) and math.isfinite(most):
            kkt.implied.append(free_row(var, None, max(low, most + TOLERANCES.feasibility * max(1.0, abs(most)))))
        elif math.isfinite(high) and math.isfinite(least):
            kkt.implied.append(free_row(var, min(high, least - TOLERANCES.feasibility * max(1.0, abs(least))), None))


def _left_by(slope: Any, var: Any, boxes: Mapping[int, tuple[float, float]]) -> tuple[float, float]:
    """What its box leaves of a Var, and where it is affine with like terms collected, slope = 0 within all boxes."""
    least, most = boxes.get(id(var)) or bounds_of(var)
    constant, terms = affine_terms(slope) or (0.0, [])
    own = next((weight for v, weight in terms if v is var), 0.0)
    if not own:
        return least, most
    others = ((weight, boxes.get(id(v)) or bounds_of(v)) for v, weight in terms if v is not var)
    low, high = root_of(own, constant, others)
    return (max(least, low), min(most, high)) if low <= most and least <= high else (least, most)
