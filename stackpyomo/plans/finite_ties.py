"""Finite ties: followers of whole actions, of whom every profile can be looked at, in equilibrium with each other.

    inf_x ψ(x),   ψ(x) = max {F(x, y): y an equilibrium at x},   E(x) = {y: J_k(x, y) ≤ J_k(x, v, y_−k) for all k, v}

over a leader whose variables are whole, point by point; or over one continuous variable in which all costs are affine,
at the points where two of them cross and on the open intervals between: there E is the same everywhere, and ψ affine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stackpyomo.core import TOLERANCES, Array, is_within
from stackpyomo.core.expressions import variables_in
from stackpyomo.games import Follower, Game, evaluator

__all__ = ["FiniteAnswer", "finite_answer", "is_finite"]

_MOST = 4096
"""Profiles of actions, and values of a leader of whole variables, at most."""


@dataclass(frozen=True)
class FiniteAnswer:
    """The infimum, whether it is reached, and a plan that comes to it or near; costs are minimised."""

    infimum: float
    attained: bool
    values: dict[str, float]
    optimistic: float
    """What the leader gets if ties are broken in its favour."""
    worst: float
    """What its plan for that comes to if they are broken against it."""


def _range(var: Any) -> range:
    return range(math.ceil(var.lb), math.floor(var.ub) + 1)


def _count(variables: Sequence[Any]) -> float:
    """How many values these have together; infinite unless all are whole and bounded."""
    if any(v.is_continuous() or v.lb is None or v.ub is None for v in variables):
        return math.inf
    return math.prod(len(_range(v)) for v in variables)


def is_finite(game: Game, followers: Sequence[Follower]) -> bool:
    """True if every profile of the followers, and every leader that matters, can be looked at."""
    own = {id(v) for f in followers for v in f.variables}
    alone = not (game.leader.constraints or game.aggregates or game.prices or game.shared)
    private = all(id(v) in own or v.fixed for f in followers for c in f.constraints for v in variables_in(c.expr))
    leading = game.leader.variables
    one = len(leading) == 1 and leading[0].lb is not None and leading[0].ub is not None
    return (
        alone
        and private
        and _count([v for f in followers for v in f.variables]) <= _MOST
        and (one or _count(leading) <= _MOST)
    )


class _Table:
    """Everybody's costs at every profile."""

    def __init__(self, game: Game, followers: Sequence[Follower]) -> None:
        self.game, self.followers = game, followers
        self.actions = [v for f in followers for v in f.variables]
        names = [game.names[id(v)] for v in self.actions]
        whole = (dict(zip(names, map(float, p), strict=True)) for p in itertools.product(*map(_range, self.actions)))
        fixed = {n: float(v.value) for n, v in game.variables_by_name.items() if v.fixed}
        self.profiles = [{**fixed, **p} for p in whole if self._is_feasible({**fixed, **p})]
        place = {tuple(p[n] for n in names): i for i, p in enumerate(self.profiles)}
        self.moves: list[list[list[int]]] = []
        for follower in followers:
            mine = {game.names[id(v)] for v in follower.variables}
            groups: dict[tuple[float, ...], list[int]] = {}
            for key, i in place.items():
                groups.setdefault(tuple(x for n, x in zip(names, key, strict=True) if n not in mine), []).append(i)
            self.moves.append(list(groups.values()))

    def _is_feasible(self, values: Mapping[str, float]) -> bool:
        at = evaluator(self.game, values)
        return all(is_within(at(c.body), c.lb, c.ub) for f in self.followers for c in f.constraints)

    def costs(self, leader: Mapping[str, float]) -> Array:
        """(players × profiles): the leader first."""
        rows = []
        for player in (self.game.leader, *self.followers):
            assert player.objective is not None
            cost = [evaluator(self.game, {**p, **leader})(player.objective.expr) for p in self.profiles]
            rows.append(player.sign * np.array(cost))
        return np.array(rows)

    def worst(self, costs: Array) -> tuple[float, int, float]:
        """(the leader's cost at the worst equilibrium, its profile, the cost at the best); infinite where none is."""
        stable = np.ones(len(self.profiles), dtype=bool)
        for row, groups in zip(costs[1:], self.moves, strict=True):
            for group in groups:
                least = row[group].min()
                stable[group] &= row[group] <= least + TOLERANCES.noise * max(1.0, abs(least))
        if not stable.any():
            return math.inf, -1, math.inf
        worst = int(np.argmax(np.where(stable, costs[0], -math.inf)))
        return float(costs[0, worst]), worst, float(costs[0, stable].min())


def finite_answer(game: Game, followers: Sequence[Follower]) -> FiniteAnswer | None:
    """The pessimistic optimum by looking at everything; None where that is not all there is, or there is no answer."""
    table = _Table(game, followers)
    leading = game.leader.variables
    names = [game.names[id(v)] for v in leading]
    if not table.profiles:
        return None
    if _count(leading) <= _MOST:
        points = [dict(zip(names, map(float, p), strict=True)) for p in itertools.product(*map(_range, leading))]
        levels = [(*table.worst(table.costs(point)), point) for point in points]
        cost, worst, _, point = min(levels, key=lambda level: level[0])
        hoped = min(levels, key=lambda level: level[2])
        values = {**table.profiles[worst], **point}
        return None if math.isinf(cost) else FiniteAnswer(cost, True, values, hoped[2], hoped[0])
    return _on_a_line(table, names[0], float(leading[0].lb), float(leading[0].ub))


def _on_a_line(table: _Table, name: str, low: float, high: float) -> FiniteAnswer | None:
    """One continuous variable between these; None unless all costs are affine in it."""
    first, middle, last = (table.costs({name: t}) for t in (low, (low + high) / 2.0, high))
    if not np.allclose(middle, (first + last) / 2.0, rtol=TOLERANCES.noise, atol=TOLERANCES.noise):
        return None

    def at(t: float) -> Array:
        return np.asarray(first + (last - first) * (t - low) / (high - low))

    groups = [(0, [*range(len(table.profiles))]), *((k, g) for k, m in enumerate(table.moves, 1) for g in m)]
    points = {low, high}
    for player, group in groups:
        for i, j in itertools.combinations(group, 2):
            before, after = first[player, i] - first[player, j], last[player, i] - last[player, j]
            if before * after < 0.0:
                points.add(low + (high - low) * before / (before - after))
    ordered = sorted(points)
    levels = [(*table.worst(at(t)), t) for t in ordered]
    cost, place, _, where = min(levels)
    hoped = min(levels, key=lambda level: level[2])
    best = (cost, True, place, where)
    for left, right in itertools.pairwise(ordered):
        if right - left <= TOLERANCES.accuracy * (high - low):
            continue
        _, worst, _ = table.worst(at((left + right) / 2.0))
        for end, other in ((left, right), (right, left)) if worst >= 0 else ():
            limit = float(at(end)[0, worst])
            if limit < best[0] - TOLERANCES.noise * max(1.0, abs(limit)):
                best = (limit, False, worst, end + TOLERANCES.early * (other - end))
    limit, attained, worst, t = best
    values = {**table.profiles[worst], name: float(t)}
    return None if math.isinf(limit) else FiniteAnswer(limit, attained, values, hoped[2], hoped[0])
