"""Envelopes: followers with few whole answers who feel one variable of others, and feel it linearly.

    J_k(p, v) = c(v) + p q(v):    v is a best answer exactly on an interval [a_v, b_v] of p, where its line is the least

Every v that is best somewhere is known by that, ties as well. Where p is all that is left to decide, :func:`swept`
looks at every interval between two ends and at every tie: what the leader can have is the least of these minima.
Elsewhere each v gets a binary z_v, and the follower's problem is rows without any product:

    y_k = Σ z_v v,   Σ z_v = 1,   Σ z_v a_v ≤ p ≤ Σ z_v b_v

Source: parametric programming in one parameter, Eisner and Severance, J. ACM 23 (1976) 619–635.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from pyomo.repn import generate_standard_repn

from stackpyomo.core import TOLERANCES, Array, sides_of, whole_points
from stackpyomo.core.expressions import is_quadratic, numbers_of, variables_in
from stackpyomo.games import Follower, Movers, foreign

_POINTS = 4096  # Points of a follower's box up to which all are looked at.
_TIES = 64  # Combinations of answers that are tied at one level of the price up to which all are looked at.


@dataclass(frozen=True)
class Envelope:
    """The answers of a follower that are best for some level of the one variable that it feels."""

    follower: Follower
    price: Any  #: The Var of somebody else's.
    points: Array  #: (answers × actions).
    starts: Array  #: (answers) from which level on each is best.
    ends: Array  #: (answers) up to which level.

    def rows(self, pieces: Any) -> list[Any]:
        """Relations that say what the follower answers; ``pieces``: a VarList of binaries that takes one an answer."""
        chosen = [pieces.add() for _ in self.starts]
        mixed = [
            var == sum(float(level) * z for level, z in zip(column, chosen, strict=True) if level)
            for var, column in zip(self.follower.variables, self.points.T, strict=True)
        ]
        start, end = (sum(float(t) * z for t, z in zip(side, chosen, strict=True)) for side in (self.starts, self.ends))
        return [*mixed, sum(chosen) == 1, start <= self.price, self.price <= end]


def envelope(follower: Follower, movers: Movers) -> Envelope | None:
    """None for a follower with too many answers, who moves an aggregate, or who meets others in another way."""
    if any(id(v) in movers for v in follower.variables):
        return None
    price = _felt(follower)
    points = None if price is None or foreign(follower, *follower.constraints) else _points(follower)
    if points is None or not len(points):
        return None
    values = {id(v): column for v, column in zip(follower.variables, points.T, strict=True)}
    sides = [{**values, id(price): np.full(len(points), level)} for level in price.bounds]
    first, last = (numbers_of(follower.cost, side, len(points)) for side in sides)
    if first is None or last is None or not np.isfinite([first, last]).all():
        return None
    best, starts, ends = _best(first, last)
    low, high = price.bounds
    return Envelope(follower, price, points[best], *(low + (high - low) * share for share in (starts, ends)))


def _felt(follower: Follower) -> Any:
    """The one Var of others in its cost, which is linear in it, between two bounds; None where it is otherwise."""
    others = foreign(follower, follower.cost)
    repn = generate_standard_repn(follower.cost, quadratic=True)
    squared = any(id(v) in others and id(w) in others for v, w in repn.quadratic_vars)
    price = next(iter(others.values()), None)
    if len(others) != 1 or repn.nonlinear_expr is not None or squared or price is None or None in price.bounds:
        return None
    return price if price.ub > price.lb else None


def _points(follower: Follower) -> Array | None:
    """(points × actions) of its box within its rows; None where they are not whole, or too many."""
    whole = len(follower.integers) == len(follower.variables)
    points = whole_points(follower.variables, _POINTS) if whole else None
    if points is None:
        return None
    values = {id(v): column for v, column in zip(follower.variables, points.T, strict=True)}
    inside = np.ones(len(points), dtype=bool)
    for constraint in follower.constraints:
        body = numbers_of(constraint.body, values, len(points))
        if body is None:
            return None
        for side, limit in sides_of(constraint):
            inside &= side * (body - limit) <= TOLERANCES.feasibility * max(abs(limit), np.ptp(body))
    return points[inside]


def _best(first: Array, last: Array) -> tuple[Array, Array, Array]:
    """(numbers, starts, ends) of the lines (1 − t) first + t last that are least for some t of [0, 1], and where."""
    room = TOLERANCES.determined * max(np.abs(first).max(), np.abs(last).max())
    breaks = [0.0]
    line = int(np.lexsort((last, first))[0])
    while breaks[-1] < 1.0:  # the first line below this one
        steeper = np.flatnonzero(last - first < last[line] - first[line] - room)
        gaps = first[steeper] - first[line]
        shares = np.maximum(gaps / (gaps + last[line] - last[steeper]), breaks[-1])
        shares[gaps + last[line] - last[steeper] <= room] = math.inf
        if not len(shares) or shares.min() >= 1.0:
            breaks.append(1.0)
            break
        soonest = steeper[shares <= shares.min() + TOLERANCES.determined]
        line = int(soonest[np.argmin(last[soonest] - first[soonest])])
        breaks.append(float(shares.min()))
    levels = np.array(breaks)
    lines = np.outer(1.0 - levels, first) + np.outer(levels, last)
    least = lines <= lines.min(axis=1, keepdims=True) + room  # (breaks × lines), and for each line side by side
    best = np.flatnonzero(least.any(axis=0))
    starts = levels[least[:, best].argmax(axis=0)]
    ends = levels[len(levels) - 1 - least[::-1, best].argmax(axis=0)]
    return best, starts, ends


def swept(envelopes: Sequence[Envelope], cost: Any, constraints: Sequence[Any]) -> dict[int, float] | None:
    """{id(Var): value} of the least cost where price and answers are all there is; empty: the rows are never met.

    None where something else is to be decided, cost or rows are not quadratic and these not affine in the price, or too
    many answers are tied.
    """
    price = envelopes[0].price
    actions = [v for e in envelopes for v in e.follower.variables]
    known = {id(price), *map(id, actions)}
    bodies = [cost, *(c.body for c in constraints)]
    quadratic = is_quadratic(*bodies)
    others = any(id(v) not in known and not v.fixed for body in bodies for v in variables_in(body))
    if not quadratic or others or any(e.price is not price for e in envelopes) or not price.is_continuous():
        return None
    cells = _cells(envelopes)
    if cells is None:
        return None
    lows, highs, points = cells
    values = {id(v): column for v, column in zip(actions, points.T, strict=True)}
    spans = [{**values, id(price): lows + share * (highs - lows)} for share in (0.0, 0.5, 1.0)]
    start, end = np.zeros(len(points)), np.ones(len(points))
    for constraint in constraints:
        if not _cut(_along(constraint.body, spans), constraint, start, end):
            return None
    shares, least = _lowest(_along(cost, spans), start, end)
    if not np.isfinite(least).any():
        return {}
    best = int(np.argmin(least))
    level = lows[best] + shares[best] * (highs[best] - lows[best])
    return {id(price): float(level), **{id(v): float(x) for v, x in zip(actions, points[best], strict=True)}}


def _along(body: Any, spans: Sequence[dict[int, Array]]) -> Array:
    """(3 × cells) value, slope and bend of the parabola in s of [0, 1] that a quadratic expression is on a cell."""
    count = len(next(iter(spans[0].values())))
    first, middle, last = (np.asarray(numbers_of(body, span, count), dtype=float) for span in spans)
    bend = 2.0 * (first - 2.0 * middle + last)
    return np.array([first, last - first - bend, bend])


def _cut(along: Array, constraint: Any, start: Array, end: Array) -> bool:
    """Take from [start, end] what does not meet the constraint; False where its body is bent."""
    level, slope, bend = along
    if np.abs(bend).max() > TOLERANCES.noise * np.abs([level, slope]).max():
        return False
    for side, limit in sides_of(constraint):
        room = side * (limit - level) + TOLERANCES.noise * np.max([np.abs(level), np.abs(slope)], axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            meets = room / (side * slope)
        rises, falls = side * slope > 0.0, side * slope < 0.0
        end[rises] = np.minimum(end, meets)[rises]
        start[falls] = np.maximum(start, meets)[falls]
        end[~rises & ~falls & (room < 0.0)] = -math.inf
    return True


def _lowest(along: Array, start: Array, end: Array) -> tuple[Array, Array]:
    """(s, value) of the least of a parabola on [start, end]; ∞ where that is empty."""
    level, slope, bend = along
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = np.clip(np.where(bend > 0.0, -slope / (2.0 * bend), start), start, end)
        shares = np.array([start, end, vertex])
        values = np.where(start <= end, level + slope * shares + bend * shares**2, math.inf)
    lowest, columns = values.argmin(axis=0), np.arange(len(level))
    return shares[lowest, columns], values[lowest, columns]


def _cells(envelopes: Sequence[Envelope]) -> tuple[Array, Array, Array] | None:
    """(from, to, answers of all side by side): each end by itself, and intervals between two; None: too many ties."""
    price = envelopes[0].price
    room = TOLERANCES.noise * (price.ub - price.lb)
    ends = np.unique(np.concatenate([side for e in envelopes for side in (e.starts, e.ends)]))
    ends = ends[np.diff(ends, prepend=-math.inf) > room]
    cells: list[tuple[float, float, Array]] = []
    for low, high in [*zip(ends, ends, strict=True), *pairwise(ends)]:
        tied = [e.points[(e.starts <= low + room) & (e.ends >= high - room)] for e in envelopes]
        if math.prod(map(len, tied)) > _TIES:
            return None
        cells += [(low, high, np.concatenate(chosen)) for chosen in product(*tied)]
    lows, highs, points = zip(*cells, strict=True)
    return np.array(lows), np.array(highs), np.array(points)
