"""Finite ties: followers of integer actions, of whom every profile can be looked at, in equilibrium with each other.

    inf_x ψ(x),   ψ(x) = max {F(x, y): y an equilibrium at x},   E(x) = {y: J_k(x, y) ≤ J_k(x, v, y_−k) for all k, v}

over a leader whose variables are whole, point by point; or over one continuous variable in which all costs are affine,
at the points where two of them cross and on the open intervals between: there E is the same everywhere, and ψ affine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.games import Follower, Game

from .answer_sets import keep_apart
from .profiles import Profiles, count, whole_levels

_MOST = 4096  # Profiles of actions, and values of a leader of whole variables, at most.


@dataclass(frozen=True)
class FiniteAnswer:
    """The infimum, whether it is reached, and a plan that comes to it or near; costs are minimised."""

    infimum: float
    attained: bool
    values: dict[str, float]
    optimistic: float  #: What the leader gets if ties are broken in its favour.
    worst: float  #: What its plan for that comes to if they are broken against it.


def is_finite(game: Game, followers: Sequence[Follower]) -> bool:
    """True if every profile of the followers, and every leader that matters, can be looked at."""
    alone = not (game.leader.constraints or game.aggregates or game.prices or game.shared)
    leading = game.leader.variables
    one = len(leading) == 1 and leading[0].lb is not None and leading[0].ub is not None
    return (
        alone
        and keep_apart(followers)
        and count([v for f in followers for v in f.variables]) <= _MOST
        and (one or count(leading) <= _MOST)
    )


@dataclass(frozen=True)
class _Level:
    """The leader's cost at the worst of the equilibria and at the best; infinite where there is none."""

    cost: float
    profile: int
    hoped: float


def _level(profiles: Profiles, costs: Array) -> _Level:
    """By everybody's costs at every profile, the leader's first."""
    stable = profiles.stable(costs[1:]).ravel()
    if not stable.any():
        return _Level(math.inf, -1, math.inf)
    leading = costs[0].ravel()
    worst = int(np.argmax(np.where(stable, leading, -math.inf)))
    return _Level(float(leading[worst]), worst, float(leading[stable].min()))


def finite_answer(game: Game, followers: Sequence[Follower]) -> FiniteAnswer | None:
    """The pessimistic optimum by looking at everything; None where that is not all there is, or there is no answer."""
    profiles, players = Profiles(game, followers), (game.leader, *followers)
    leading = game.leader.variables
    names = [game.names[id(v)] for v in leading]
    if count(leading) > _MOST:
        return _on_a_line(profiles, names[0], float(leading[0].lb), float(leading[0].ub))
    points = [dict(zip(names, point, strict=True)) for point in itertools.product(*map(whole_levels, leading))]
    levels = [(_level(profiles, profiles.costs(point, players)), point) for point in points]
    level, point = min(levels, key=lambda pair: pair[0].cost)
    hoped, _ = min(levels, key=lambda pair: pair[0].hoped)
    if math.isinf(level.cost):
        return None
    return FiniteAnswer(level.cost, True, {**_chosen(profiles, level.profile), **point}, hoped.hoped, hoped.cost)


def _chosen(profiles: Profiles, profile: int) -> dict[str, float]:
    fixed = {name: float(v.value) for name, v in profiles.game.variables_by_name.items() if v.fixed}
    return {**fixed, **profiles.values(np.unravel_index(profile, profiles.shape))}


def _on_a_line(profiles: Profiles, name: str, low: float, high: float) -> FiniteAnswer | None:
    """One continuous variable between these; None unless all costs are affine in it."""
    players = (profiles.game.leader, *profiles.followers)
    first, middle, last = (profiles.costs({name: t}, players) for t in (low, (low + high) / 2.0, high))
    if not np.allclose(middle, (first + last) / 2.0, rtol=TOLERANCES.noise, atol=TOLERANCES.noise):
        return None
    with np.errstate(invalid="ignore"):
        step = np.where(np.isfinite(first), last - first, 0.0)  # what is infinite stays so

    def at(t: float) -> Array:
        return np.asarray(first + step * (t - low) / (high - low))

    shares = np.concatenate([[0.0, 1.0], *_crossings(profiles, first, last)])
    ordered = (low + (high - low) * np.unique(shares)).tolist()
    levels = [(_level(profiles, at(t)), t) for t in ordered]
    level, where = min(levels, key=lambda pair: pair[0].cost)
    hoped, _ = min(levels, key=lambda pair: pair[0].hoped)
    best = (level.cost, True, level.profile, where)
    for left, right in itertools.pairwise(ordered):
        if right - left <= TOLERANCES.accuracy * (high - low):
            continue
        worst = _level(profiles, at((left + right) / 2.0)).profile
        for end, other in ((left, right), (right, left)) if worst >= 0 else ():
            limit = float(at(end)[0].ravel()[worst])
            if limit < best[0] - TOLERANCES.noise * abs(limit):
                best = (limit, False, worst, end + TOLERANCES.early * (other - end))
    limit, attained, profile, t = best
    values = {**_chosen(profiles, profile), name: float(t)} if profile >= 0 else {}
    return None if math.isinf(limit) else FiniteAnswer(limit, attained, values, hoped.hoped, hoped.cost)


def _crossings(profiles: Profiles, first: Array, last: Array) -> Iterator[Array]:
    """Parts of the way at which two costs of one player cross: the leader's anywhere, a follower's by its own moves."""
    axes = [tuple(range(len(profiles.shape))), *profiles.axes]
    for before, after, own in zip(first, last, axes, strict=True):
        ends = [np.moveaxis(c, own, range(len(own))) for c in (before, after)]
        start, end = (c.reshape(math.prod(c.shape[: len(own)]), -1) for c in ends)
        for one in range(len(start)):
            with np.errstate(invalid="ignore"):
                here, there = start[one] - start[one + 1 :], end[one] - end[one + 1 :]
                cross = here * there < 0.0
            yield here[cross] / (here[cross] - there[cross])
