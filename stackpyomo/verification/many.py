"""Many followers at once: who is settled by arrays alone, with a proof, before anybody is composed and re-solved.

For follower k in every piece of its problem, with v within its bounds and rows:

    λ_min(∂²J_k) ≥ 0 over the whole box   and   J_k(v) ≥ J_k(x) + ∇J_k(x)·(v − x) ≥ J_k(x) − gap

taken at the plan first, and where that leaves a gap at the answer of an interior-point method. Who is not settled so,
for whatever reason, is composed by substitution and re-solved as ever; and of those who are, some drawn at random are
composed by substitution as well, and compared.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from stackpyomo.core import (
    TOLERANCES,
    Array,
    confirmed_steps,
    limited_reaches,
    newton_steps,
    probes,
    steepest_of,
    turns_well_within,
)
from stackpyomo.families import MANY, least_eigenvalues, swept
from stackpyomo.games import Follower, Game, action_names
from stackpyomo.games.information import Announcement

from .arrays import Layout, Pieces, grouped
from .best_response import idle_of, limited_by_others, scale_of
from .effort import Effort
from .halved_boxes import bend_up
from .interior_point import minimized
from .wanted import beside_nothing, wanted_by_leader
from .witness import witnessed

_WIDEST, _HALVINGS = 3, 4  # Actions of followers whose boxes are halved, and how often.

_ROUNDING = 8.0 * sys.float_info.epsilon

# Of squared equalities, beside the curvature of the cost, tried to prove it convex where they hold.
_WEIGHTS = (1.0, 100.0)


class Row(NamedTuple):
    """What a report says of a follower."""

    follower: Follower
    evidence: tuple[str, str]  #: Certificate and note.
    numbers: Sequence[float]  #: Objective, regret, scale.
    best: dict[str, float]
    stopped: list[str]  #: Leader variables that the formula takes beyond their bounds.


def settled(game: Game, announced: Announcement, wanted: Container[str], effort: Effort) -> list[Row]:
    """All who are settled by arrays; raises :class:`StackpyomoError` where the witness sees a difference."""
    names = [name for name in game.followers if name in wanted]
    plain = effort.solver == "auto" and effort.certify in ("auto", "proof", "convex")
    if not plain or not effort.together or len(names) < MANY:
        return []
    layout = Layout(game, announced)
    if not layout.is_plain:
        return []
    rows = list[Row]()
    rest = set(names) - _told_by_leader(layout)
    for numbers, pieces in grouped(layout, rest):
        proofs = _Proofs(pieces, numbers, effort.tolerance)
        proofs.settle()
        rows += proofs.answers()
        witnessed(game, replace(announced, saturate=True), pieces, np.flatnonzero(proofs.open), proofs.reaches)
    return rows


def _told_by_leader(layout: Layout) -> set[str]:
    """Followers with an action next to 0 of which the leader's objective tells a reach: substitution knows of it."""
    game = layout.game
    beside = beside_nothing(game.actions, layout.target, (layout.lower, layout.upper))
    if not beside:
        return set()
    levels = {id(v): layout.announced.values[name] for name, v in game.variables_by_name.items()}
    return {game.owners[key] for key in wanted_by_leader(game, beside, levels)}


@dataclass(frozen=True)
class _Shown:
    """What is proved of pieces by points in them and multipliers."""

    x: Array
    cost: Array
    fair: Array  #: Whether nothing there costs less than the point.
    nothing_below: Array  #: Whether nothing there costs less than the plan.


class _Proofs:
    """The pieces of one group of followers, and what is proved of them."""

    def __init__(self, pieces: Pieces, numbers: Array, tolerance: float) -> None:
        self.pieces, self.numbers, self.tolerance = pieces, numbers, tolerance
        size = len(pieces.followers)
        self.open = np.ones(size, dtype=bool)  #: (followers) not given up to substitution.
        self.open[list(pieces.unread)] = False
        layout = pieces.layout
        mine = pieces.first[:, None] + np.arange(pieces.count)
        self.target, self.lower, self.upper = layout.target[mine], layout.lower[mine], layout.upper[mine]
        self.reaches = limited_reaches(self.target, self.lower, self.upper)
        self.open &= (self.upper > self.lower).all(axis=1)
        self.costs = np.full(len(pieces.owner), math.nan)
        self.best = np.zeros((len(pieces.owner), pieces.count))  #: (pieces × actions) deviations of least cost.

    def settle(self) -> None:
        """Settle whom arrays settle; the rest is no longer open."""
        pieces = self.pieces
        with np.errstate(all="ignore"):
            value, slopes, bends = pieces.at(np.zeros((len(pieces.owner), pieces.count)))
            self.plan_cost = value[pieces.home, 0]
            self._reach(slopes[pieces.home], bends[pieces.home])
            self._measure()
            self.open &= np.isfinite(self.plan_cost) & np.isfinite(slopes[pieces.home, 0]).all(axis=1)
            self.open &= self._has_a_plan()
            low, high, affine = pieces.bends_over(*pieces.box)
            proved = affine & ((least_eigenvalues(low, high) >= 0.0) | self._bends_up_where_rows_hold(low, high))
            self._halve(proved, np.flatnonzero(affine & ~proved & self.open[pieces.owner]))
            np.logical_and.at(self.open, pieces.owner, proved)
            gains = self._gains(slopes[:, 0], np.zeros_like(self.best), np.arange(len(pieces.owner)))
            closed = pieces.home & ((gains / self.stakes[pieces.owner]).sum(axis=1) <= TOLERANCES.closed)
            self.costs[closed] = value[closed, 0]
            self._solve(np.flatnonzero(~closed & self.open[pieces.owner]))

    def _halve(self, proved: Array, chosen: Array) -> None:
        """Mark those of these pieces as proved whose cost bends up on every part of its box."""
        pieces = self.pieces
        if not len(chosen) or pieces.count > _WIDEST:
            return

        def bends(members: Array, low: Array, high: Array) -> tuple[Array, Array]:
            """Ranges for each part; the arrays hold a piece once."""
            least, most = np.zeros((2, *low.shape, low.shape[1]))
            for part in map(np.flatnonzero, _turns(members)):
                least[part], most[part], _ = pieces.only(chosen[members[part]]).bends_over(low[part], high[part])
            return least, most

        low, high = (side[chosen] for side in pieces.box)
        proved[chosen] = bend_up(bends, low, high, self.reaches[pieces.owner[chosen]], _HALVINGS)

    def _bends_up_where_rows_hold(self, low: Array, high: Array) -> Array:
        """(pieces) whether H + w Nᵀ N is positive semidefinite over the box, N the equalities (Finsler).

        A gap at a point that misses them by ``TOLERANCES.noise`` is then wrong by the square of that.
        """
        pieces = self.pieces
        equal = np.where(pieces.equal[..., None], pieces.normals, 0.0)
        proved = np.zeros(len(pieces.owner), dtype=bool)
        asked = np.flatnonzero(pieces.equal.any(axis=1) & self.open[pieces.owner])
        if not len(asked):
            return proved
        reaches = self.reaches[pieces.owner[asked]]
        squares = np.einsum("kmi,kmj->kij", equal[asked], equal[asked])
        ends = [np.abs(side[asked]) * reaches[:, :, None] * reaches[:, None, :] for side in (low, high)]
        steep = (np.abs(squares) * reaches[:, :, None] * reaches[:, None, :]).max(axis=(1, 2))
        unit = np.maximum(*ends).max(axis=(1, 2)) / np.where(steep > 0.0, steep, 1.0)
        for weight in _WEIGHTS:
            added = weight * unit[:, None, None] * squares
            proved[asked] |= least_eigenvalues(low[asked] + added, high[asked] + added) >= 0.0
        return proved

    def _reach(self, slopes: Array, bends: Array) -> None:
        """Reaches that bounds and level do not tell, as :mod:`.measures` has them: slope over curvature.

        Nobody is open to whom neither tells one, or whose size is nothing beside it and to whom a leader variable
        answers; nor who stands next to 0 and whose slope changes well within its bounds: terms of slopes tell more.
        """
        answered = np.isin(self.numbers, self.pieces.layout.movers()[1])
        steps = newton_steps(slopes[:, 0], np.einsum("kii->ki", bends))
        steps = np.where(np.isfinite(self.upper - self.lower), 0.0, steps)
        if steps.any():
            steps = confirmed_steps(steps, partial(self._changes, slopes[:, 0], steps))
        known, self.reaches = self.reaches, limited_reaches(self.target, self.lower, self.upper, steps)
        self.open &= ~(answered & (self.reaches != known).any(axis=1))
        self.open &= (self.reaches > 0.0).all(axis=1)
        limited = np.isfinite(self.lower) | np.isfinite(self.upper)
        wide = np.where(limited & (np.abs(self.target) <= TOLERANCES.nothing * self.reaches), self.reaches, 0.0)
        if wide.any():
            self.open &= ~turns_well_within(partial(self._changes, slopes[:, 0], wide)).any(axis=1)

    def _changes(self, slopes: Array, steps: Array, share: float) -> Array:
        """(followers × actions) by what part of itself each slope changes over that share of the steps, at most."""
        largest, deviations = np.zeros_like(steps), np.zeros_like(self.best)
        for sign in (1.0, -1.0):
            there = np.clip(self.target + sign * share * steps, self.lower, self.upper)
            deviations[self.pieces.home] = there - self.target
            moved = np.abs(self.pieces.at(deviations, 1)[1][self.pieces.home, 0] / slopes - 1.0)
            largest = np.maximum(largest, np.where(np.isnan(moved), math.inf, moved))
        return np.where(steps > 0.0, largest, 0.0)

    def _has_a_plan(self) -> Array:
        """(followers) whether the plan keeps bounds and rows well enough to be taken as it is."""
        pieces, room = self.pieces, TOLERANCES.feasibility / 2.0
        inside = (self.target >= self.lower - room * self.reaches) & (self.target <= self.upper + room * self.reaches)
        low, high, size = pieces.low[pieces.home], pieces.high[pieces.home], self._heights(np.flatnonzero(pieces.home))
        within = (low <= room * size) & (high >= -room * size)
        return np.asarray(inside.all(axis=1) & within.all(axis=1))

    def _heights(self, chosen: Array) -> Array:
        """(pieces × rows) how much each row changes over an action's reach."""
        reaches = self.reaches[self.pieces.owner[chosen]]
        sizes = (np.abs(self.pieces.normals[chosen]) * reaches[:, None, :]).max(axis=2, initial=0.0)
        return np.where(sizes > 0.0, sizes, 1.0)

    def _gains(self, slopes: Array, deviations: Array, chosen: Array) -> Array:
        """(pieces × actions) what each action can still gain within the box, by these slopes of a convex cost."""
        owner = self.pieces.owner[chosen]
        far = TOLERANCES.trust * self.reaches[owner]
        at = self.target[owner] + deviations
        down = np.where(np.isfinite(self.lower[owner]), at - self.lower[owner], far)
        up = np.where(np.isfinite(self.upper[owner]), self.upper[owner] - at, far)
        return np.asarray(np.where(slopes > 0.0, slopes * down, -slopes * up).clip(min=0.0))

    def _solve(self, chosen: Array) -> None:
        """Re-solve these pieces together; owners of those that are not proved are no longer open."""
        if not len(chosen):
            return
        pieces = self.pieces.only(chosen)
        reaches, unit = self.reaches[pieces.owner], self.stakes[pieces.owner].max(axis=1)
        heights, count = self._heights(chosen), pieces.count
        low, high = (side / reaches for side in pieces.box)
        normals = pieces.normals * reaches[:, None, :] / heights[..., None]
        eye = np.broadcast_to(np.eye(count), (len(chosen), count, count))
        matrix = np.concatenate([eye, -eye, normals, -normals], axis=1)
        above, below = (np.where(pieces.equal, np.inf, side / heights) for side in (pieces.high, -pieces.low))
        limits = np.concatenate([high, -low, above, below], axis=1)
        equal = np.where(pieces.equal[..., None], normals, 0.0)
        levels = np.where(pieces.equal, pieces.low / heights, 0.0)

        some = [(np.arange(len(chosen)), pieces)]

        def costs(x: Array, members: Array) -> tuple[Array, Array, Array]:
            if len(members) < len(some[-1][0]):
                some.append((members, pieces.only(members)))
            far, size = reaches[members], unit[members]
            value, slope, bend = some[-1][1].at(x * far)
            scaled = bend * far[:, :, None] * far[:, None, :]
            return value[:, 0] / size, slope[:, 0] * far / size[:, None], scaled / size[:, None, None]

        rows = pieces.normals.shape[1]

        def judged(x: Array, force: Array, pull: Array, members: Array) -> _Shown:
            """What an iterate shows."""
            pushes = force[:, 2 * count : 2 * count + rows] - force[:, 2 * count + rows :]
            duals = np.where(pieces.equal[members], pull, pushes) * unit[members, None] / heights[members]
            at = np.clip(x, low[members], high[members]) * reaches[members]
            return self._shown(chosen[members], pieces.only(members), at, duals)

        room = TOLERANCES.nearby * np.minimum(high - low, 1.0)
        start = np.clip(np.zeros_like(low), low + room, high - room)
        try:
            answer = minimized(costs, start, matrix, limits, equal, levels, lambda *at: judged(*at).nothing_below)
        except np.linalg.LinAlgError:
            self.open[pieces.owner] = False
            return
        shown = judged(*answer, np.arange(len(chosen)))
        np.logical_and.at(self.open, pieces.owner, shown.fair | shown.nothing_below)
        self.costs[chosen] = np.where(shown.fair, shown.cost, math.inf)
        self.best[chosen] = shown.x

    def _shown(self, chosen: Array, pieces: Pieces, x: Array, duals: Array) -> _Shown:
        """What the answers prove: f(v) ≥ f(x) + (∇f + Nᵀ π)·(v − x) − lost, for every π that pushes against a limit."""
        value, slopes, _ = pieces.at(x, 1)
        cost, owner = value[:, 0], pieces.owner
        body = np.einsum("kmn,kn->km", pieces.normals, x)
        duals = np.where(np.isfinite(np.where(duals > 0.0, pieces.high, pieces.low)), duals, 0.0)
        distance = np.where(duals == 0.0, 0.0, np.where(duals > 0.0, pieces.high - body, body - pieces.low))
        lost = np.abs(duals) * np.maximum(distance, 0.0)
        reduced = slopes[:, 0] + np.einsum("kmn,km->kn", pieces.normals, duals)
        gains, stakes = self._gains(reduced, x, chosen), self.stakes[owner]
        steep = np.where(pieces.normals != 0.0, stakes[:, None, :], 0.0).max(axis=2, initial=0.0)
        gap = (gains / stakes).sum(axis=1) + (lost / np.where(steep > 0.0, steep, 1.0)).sum(axis=1)
        outside = np.maximum(pieces.low - body, body - pieces.high) / self._heights(chosen)
        fair = np.isfinite(cost) & (outside.max(axis=1, initial=0.0) <= TOLERANCES.noise) & (gap <= TOLERANCES.noise)
        less, dearer = gains.sum(axis=1) + lost.sum(axis=1), cost - self.plan_cost[owner]
        above = dearer - less >= TOLERANCES.rounding * (np.abs(dearer) + less)  # far from the plan both may be immense
        above &= ~(pieces.equal & (outside > TOLERANCES.noise)).any(axis=1)  # it may bend down where they do not hold
        return _Shown(x, cost, fair, above | _empty(pieces, duals))

    def _measure(self) -> None:
        """Stakes as :mod:`.measures` has them: slopes over the reaches, without the announced slope."""
        layout = self.pieces.layout
        levels = layout.values[layout.leaders]
        reach = limited_reaches(levels, layout.floor, layout.ceiling)
        row, who, _, _ = layout.movers()
        place = {int(n): i for i, n in enumerate(self.numbers)}
        mine = np.array([int(n) in place for n in who], dtype=bool)
        keys = row[mine] * max(1, len(self.numbers)) + np.array([place[int(n)] for n in who[mine]], dtype=np.int64)
        keys = np.sort(keys)
        row, who = keys // max(1, len(self.numbers)), keys % max(1, len(self.numbers))
        self.open[who[~(reach[row] > 0.0)]] = False
        own = (self.target, *probes(self.target, self.reaches, self.lower, self.upper))
        bare = [self._bare(at - self.target, levels, keys) for at in own]
        slopes, answers = (steepest_of(*np.abs(part)) for part in zip(*bare, strict=True))
        self.slopes, self.keys = slopes, keys
        idle = idle_of(bare[0][0], self.target, (self.lower, self.upper), self.reaches)
        self.stakes = self._stakes(limited_by_others(slopes * self.reaches, idle), answers, row, who, levels)

    def _bare(self, deviations: Array, levels: Array, keys: Array, growth: float = 1.0) -> tuple[Array, Array]:
        """Slopes by own actions (followers × actions), aggregates moving along, and by leader variables (keys).

        growth: by what everything is multiplied that the follower does not move.
        """
        pieces, layout, size = self.pieces, self.pieces.layout, len(self.numbers)
        leader = np.full(len(layout.values), -1)
        leader[layout.leaders] = np.arange(len(layout.leaders))
        own, led = np.zeros((size, pieces.count)), np.zeros(len(keys))
        for part in pieces.parts:
            members = np.flatnonzero((part.rows == 0) & pieces.home[part.pieces])
            family, who = part.family.only(members), pieces.owner[part.pieces[members]]
            point, rates, spots = [], [], []
            for columns in family.columns:
                rate = layout.own.of(columns, pieces.first[who], pieces.count)
                spot, known = self._spots(leader[columns], who, keys)
                others = np.where(rate.any(axis=1), 1.0, growth) * layout.values[columns]
                base = np.where(known, levels[leader[columns]] if len(levels) else 0.0, others)
                point.append(base + (rate * deviations[who]).sum(axis=1))
                rates.append(rate)
                spots.append((spot, known))
            _, slope, _ = swept(family.tree, family.numbers, point, 1)
            for slot, entry in slope.items():
                steep = np.broadcast_to(entry * family.factors, len(members))
                np.add.at(own, who, steep[:, None] * rates[slot])
                spot, known = spots[slot]
                if len(keys):
                    led += np.bincount(spot[known], steep[known], len(keys))
        return np.where(np.isfinite(own), own, 0.0), np.where(np.isfinite(led), led, 0.0)

    def _spots(self, leader: Array, who: Array, keys: Array) -> tuple[Array, Array]:
        """Where among the keys each follower's leader variable stands, and whether it does."""
        if not len(keys):
            return np.zeros(len(who), dtype=int), np.zeros(len(who), dtype=bool)
        wanted = leader * len(self.numbers) + who
        spot = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return spot, (leader >= 0) & (keys[spot] == wanted)

    def _stakes(self, own: Array, answers: Array, row: Array, who: Array, levels: Array) -> Array:
        """(followers × actions); nobody is open whose cost is linear, or where nothing is at stake."""
        size = len(own)
        weighed = np.bincount(who, answers * np.abs(levels[row]), size)[:, None]
        own = np.where(own.sum(axis=1)[:, None] <= TOLERANCES.stationarity * weighed, np.maximum(own, weighed), own)
        self.open &= own.any(axis=1)
        own = np.maximum(own, TOLERANCES.flat * own.sum(axis=1)[:, None])
        own = np.where(own > 0.0, own, 1.0)
        cost = np.where(np.isfinite(self.plan_cost), np.abs(self.plan_cost), 0.0)
        return np.asarray(np.maximum(own, (_ROUNDING * cost / self.tolerance)[:, None]))

    def answers(self) -> Iterator[Row]:
        """Of everybody who is settled."""
        pieces, layout = self.pieces, self.pieces.layout
        costs = np.where(np.isnan(self.costs), math.inf, self.costs)
        least = np.minimum.reduceat(costs, np.flatnonzero(pieces.home))
        first = np.flatnonzero(costs == least[pieces.owner])
        place = first[np.searchsorted(pieces.owner[first], np.arange(len(least)))]
        better = least < self.plan_cost
        best = self.target + np.where(better[:, None], self.best[place], 0.0)
        least = np.where(better, least, self.plan_cost)
        with np.errstate(all="ignore"):  # of those who are not settled anything may be 0 or infinite
            scale = scale_of(self.stakes, np.abs(best - self.target) / self.reaches)
            large = self.open & (self.plan_cost - least > self.tolerance * scale)
            if large.any():  # the scale of those whose slopes cancel is measured by the terms of these
                self.open &= ~(large & self._cancels)
            numbers = np.stack([pieces.signs * self.plan_cost, self.plan_cost - least, scale], axis=1).tolist()
        names, leader = action_names(layout.game), layout.announced.leader
        levels, starts = best.tolist(), pieces.first.tolist()
        for k in np.flatnonzero(self.open).tolist():
            stopped = [leader[row] for row in pieces.cut.get(k, [])]
            reply = dict(zip(names[starts[k] : starts[k] + pieces.count], levels[k], strict=True))
            yield Row(pieces.followers[k], ("convex", ""), numbers[k], reply, stopped)

    @property
    def _cancels(self) -> Array:
        """(followers) whether a slope is so small beside the others, or its terms, that these may have cancelled."""
        sizes, terms = self.slopes * self.reaches, self._terms * self.reaches
        most = np.maximum(sizes.max(axis=1), terms.max(axis=1))
        return np.asarray((sizes <= TOLERANCES.accuracy * most[:, None]).any(axis=1))

    @cached_property
    def _terms(self) -> Array:
        """The size of the terms of the slopes at the plan, (followers × actions).

        It is what they change by if all that the follower does not move grows, as a price that just pays a cost does.
        """
        levels, still = self.pieces.layout.values[self.pieces.layout.leaders], np.zeros_like(self.target)
        growth = 1.0 + TOLERANCES.nearby
        at, grown = (self._bare(still, by * levels, self.keys, by)[0] for by in (1.0, growth))
        return np.asarray(np.abs(grown - at) / TOLERANCES.nearby)


def _empty(pieces: Pieces, duals: Array) -> Array:
    """(pieces) whether none is in one: over its box π·N d exceeds what the limits of its rows allow (Farkas)."""
    with np.errstate(invalid="ignore"):
        forces = duals / np.abs(duals).max(axis=1, initial=0.0)[:, None]
        slopes = np.einsum("kmn,km->kn", pieces.normals, forces)
        low, high = pieces.box
        least = np.where(slopes == 0.0, 0.0, slopes * np.where(slopes > 0.0, low, high))
        most = np.where(forces == 0.0, 0.0, forces * np.where(forces > 0.0, pieces.high, pieces.low))
        room = TOLERANCES.noise * (np.abs(least).sum(axis=1) + np.abs(most).sum(axis=1))
        return np.asarray(least.sum(axis=1) - most.sum(axis=1) > room)


def _turns(members: Array) -> Iterator[Array]:
    """Which are to be looked at together, so that no member is there twice."""
    left = np.ones(len(members), dtype=bool)
    while left.any():
        places = np.flatnonzero(left)
        turn = np.zeros(len(members), dtype=bool)
        turn[places[np.unique(members[places], return_index=True)[1]]] = True
        left &= ~turn
        yield turn
