"""What players want of actions that the plan has next to 0 in far wider boxes: the reach that a cost tells of each.

An aggregate Q is no action, and a cost (Q − Q*)² says of the actions that move it what it says of their part of it: in
the place of Q stand the rest of its level and Σ rate_j v_j, one variable t whose reach, in shares of its range, is that
of every v_j in shares of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo

from stackpyomo.core import TOLERANCES, Array, box_of, entries_in, limited_reaches
from stackpyomo.core.expressions import affine_terms, substituting, variables_in
from stackpyomo.games import Follower, GameStructure, Player
from stackpyomo.solvers import reaches_told

UNHELD = 10.0  #: How much further off a plan may be in an action that no bound holds.

_Rate = tuple[int, list[tuple[Any, float]]]  # id(aggregate), (action, how much of the aggregate one unit moves).


def beside_nothing(actions: Sequence[Any], levels: Any, box: tuple[Array, Array] | None = None) -> list[Any]:
    """The actions that are not 0, but nothing beside what their boxes (None: their bounds) tell as their reach."""
    at = np.array(levels, dtype=float)
    near = (at != 0.0) & (np.abs(at) <= TOLERANCES.nothing * limited_reaches(at, *(box or box_of(actions))))
    return [actions[number] for number in np.flatnonzero(near).tolist()]


def wanted_by_leader(game: GameStructure, actions: Sequence[Any], levels: Mapping[int, float]) -> dict[int, float]:
    """id(action) → the reach that the leader's objective tells of it, of those that the plan has next to 0.

    x² has the same shape in any unit: a follower who wants 0 and is to play 2 of a billion tells no 2 from rounding.
    A leader who wants 2 does; nothing is told by what is within the accuracy of a plan there.
    """
    near = UNHELD * TOLERANCES.accuracy
    reaches = reaches_wanted(game, [game.leader], actions, levels)
    return {key: reach for key, reach in reaches.items() if near * reach < abs(levels[key])}


def reaches_wanted(
    game: GameStructure, players: Sequence[Player], actions: Sequence[Any], levels: Mapping[int, float]
) -> dict[int, float]:
    """id(action) → the least reach that these players' costs tell of it; none of those of which they tell nothing.

    levels: id(Var) → level, of all of the game's. The costs are measured together (:mod:`stackpyomo.core.scales`).
    """
    parts, costs = _Parts(levels), []
    for player in players:
        if player.objective is not None:
            own = {id(v) for v in player.variables} if isinstance(player, Follower) else None
            moving = [v for v in actions if own is None or id(v) in own]
            costs.append(parts.put_into(player.objective.expr, dict(_rates(game, player, moving))))
    of_variables = reaches_told(costs, parts.levels)
    reaches = {id(v): of_variables[id(v)] for v in actions if id(v) in of_variables}
    for part, spans in parts.spans.items():
        share = of_variables.get(part, np.inf) / sum(abs(rate) * span for _, rate, span in spans)
        for action, _, span in spans:
            reaches[id(action)] = min(reaches.get(id(action), np.inf), share * span)
    return reaches


class _Parts:
    """Variables for what actions move of aggregates, and the levels of all variables with them."""

    def __init__(self, levels: Mapping[int, float]) -> None:
        self.levels = dict(levels)
        self.spans: dict[int, list[tuple[Any, float, float]]] = {}  #: id(part) → (action, rate, natural range).
        self._model = pyo.ConcreteModel()
        self._model.variables = pyo.VarList()

    def put_into(self, cost: Any, rates: Mapping[int, Sequence[tuple[Any, float]]]) -> Any:
        """The cost with every such aggregate as the part that the actions move, and the rest, which stays."""
        felt = {id(v): v for v in variables_in(cost) if id(v) in rates}
        return substituting({key: self._parted(v, rates[key]) for key, v in felt.items()})(cost) if felt else cost

    def _parted(self, aggregate: Any, terms: Sequence[tuple[Any, float]]) -> Any:
        actions, rates = [action for action, _ in terms], np.array([rate for _, rate in terms])
        at, box = np.array([self.levels[id(v)] for v in actions]), box_of(actions)
        ends, level = rates * np.array(box), float(rates @ at)
        part = self._variable(level, float(ends.min(axis=0).sum()), float(ends.max(axis=0).sum()))
        spans = limited_reaches(at, *box).tolist()
        self.spans[id(part)] = list(zip(actions, rates.tolist(), spans, strict=True))
        rest = self.levels[id(aggregate)] - level
        return self._variable(rest, rest, rest) + part

    def _variable(self, level: float, lower: float, upper: float) -> Any:
        variable = self._model.variables.add()
        variable.setlb(lower)
        variable.setub(upper)
        self.levels[id(variable)] = level
        return variable


def _rates(game: GameStructure, player: Player, actions: Sequence[Any]) -> Iterator[_Rate]:
    """id(variable) → what these actions move of it; of the leader's own ones, too, where its rows say so."""
    known, place = game.responses(), {id(v): i for i, v in enumerate(game.actions)}
    bounded = {id(v): v for v in actions if id(v) in place and np.isfinite(box_of([v])).all()}
    columns = [(v, place[key]) for key, v in bounded.items()]
    of_all = known.moves if isinstance(player, Follower) else known.shares
    moves = of_all[:, [column for _, column in columns]].tocsr()
    for row, aggregate in enumerate(known.variables):
        moving = [(columns[column][0], rate) for column, rate in entries_in(moves, row)]
        if moving:
            yield id(aggregate), moving
    if not isinstance(player, Follower):
        yield from _by_rows(game, player, bounded)


def _by_rows(game: GameStructure, leader: Player, actions: Mapping[int, Any]) -> Iterator[_Rate]:
    """The leader's variables that its cost holds and a linear equality of its own makes of actions alone."""
    assert leader.objective is not None
    felt = {id(v) for v in variables_in(leader.objective.expr) if id(v) not in game.owners}
    declared = {id(row) for row in game.aggregates}
    for row in leader.constraints:
        if not row.equality or id(row) in declared or not any(id(v) in felt for v in variables_in(row.body)):
            continue
        _, terms = affine_terms(row.body) or (0.0, [])
        defined = [(v, rate) for v, rate in terms if id(v) not in game.owners]
        moving = [(v, rate) for v, rate in terms if id(v) in actions]
        if len(defined) == 1 and moving:
            ((variable, own),) = defined
            yield id(variable), [(v, -rate / own) for v, rate in moving]
