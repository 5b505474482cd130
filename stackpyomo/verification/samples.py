"""Samples: where the cost of a follower that is not proved convex is looked at, and how far that reaches.

A search that is to count as evidence has to say where it looked. The cost is evaluated over the ranges that bounds and
rows leave to the follower's actions, and the cost itself, where it grows in every direction: beyond them nothing costs
less than the plan. Where none of these leave an end, it is looked at up to ``TOLERANCES.trust`` sizes away from the
plan, and along directions without an end much farther out; the best points are starts of re-solves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from stackpyomo.core import TOLERANCES, Array, bounds_of, box_of, limits_of
from stackpyomo.core.expressions import UNDEFINED, affine_terms, interval, numbers_of, range_of, sublevel_box, tighten

from .best_response import Composed

# In how many decades of sizes away from the plan a direction without an end is looked along, and how far at least: what
# happens next to 0 may tell a size.
_DECADES, _FAR = 12, 30
_DECADED = 4  # Of so many points all over a box one lies in each decade of distance from the plan alike.
_TOGETHER = 2  # Affine rows from which on they may say more together than each by itself.


def ranges(problem: Composed) -> tuple[Array, Array]:
    """(lowest, highest) value of each own variable in what can be better than the plan, ±inf where none is shown."""
    low, high = row_ranges(problem)
    if np.isfinite([low, high]).all():
        return low, high
    if problem.better is None:
        low, high = _affine_ranges(problem, low, high)
        with _within(problem, low, high):
            better = np.array(list(_better(problem))).reshape(-1, 2)
        problem.better = list(zip(np.maximum(low, better[:, 0]), np.minimum(high, better[:, 1]), strict=True))
    ends = np.array(problem.better).reshape(-1, 2)
    return np.maximum(low, ends[:, 0]), np.minimum(high, ends[:, 1])


def _affine_ranges(problem: Composed, low: Array, high: Array) -> tuple[Array, Array]:
    """What the affine rows together leave where each by itself leaves no end: a linear program a side.

    In natural units; a row with an entry so small that a solver takes it for 0 is left out.
    """
    place = {id(v): i for i, v in enumerate(problem.variables)}
    sizes = np.array(problem.reaches or [1.0] * len(place))
    matrix, floor, ceiling = list[Array](), list[float](), list[float]()
    for row in problem.rows:
        try:
            known = affine_terms(row.body)
        except UNDEFINED:
            continue
        constant, terms = known or (0.0, [])
        entries = np.zeros(len(place))
        entries[[place[id(v)] for v, _ in terms]] = [slope for _, slope in terms]
        entries *= sizes
        unit = np.abs(entries).max(initial=0.0)
        if unit > 0.0 and (np.abs(entries[entries != 0.0]) > TOLERANCES.feasibility * unit).all():
            matrix.append(entries / unit)
            floor.append((bounds_of(row)[0] - constant) / unit)
            ceiling.append((bounds_of(row)[1] - constant) / unit)
    if len(matrix) < _TOGETHER:
        return low, high
    rows, box = LinearConstraint(np.array(matrix), floor, ceiling), Bounds(low / sizes, high / sizes)
    ends = low.copy(), high.copy()
    for side, end, sign in ((ends[0], low, 1.0), (ends[1], high, -1.0)):
        for number in np.flatnonzero(~np.isfinite(end)):
            cost = np.zeros(len(place))
            cost[number] = sign
            answer = milp(cost, constraints=rows, bounds=box)
            if answer.status == 0:
                room = TOLERANCES.feasibility * max(1.0, abs(answer.fun))
                side[number] = sign * (answer.fun - room) * sizes[number]
    return ends


def _better(problem: Composed) -> Iterable[tuple[float, float]]:
    """A box that holds every point of no more than the plan's cost, where one is shown, else no limits.

    Where the leader's variables are stopped at their bounds, they are within them in whatever piece it is.
    """
    home = problem.home or problem
    level, count = home.cost_at(home.target), len(problem.variables)
    units = problem.reaches or [1.0] * count
    problem.cost_at(problem.target)  # the point whose tangents are taken
    box = sublevel_box(problem.cost, problem.variables, units, level)
    if box is None and problem.projected and home.answers:
        together = [*problem.variables, *home.answers]
        box = sublevel_box(home.own, together, [*units, *(1.0 for _ in home.answers)], level)
    return [(-math.inf, math.inf)] * count if box is None else box[:count]


def row_ranges(problem: Composed, *, boxed: bool = False) -> tuple[Array, Array]:
    """(lowest, highest) value of each own variable by bounds and rows alone; by rows where bounds leave no end.

    boxed: by rows where all bounds leave one, too.
    """
    low, high = box_of(problem.variables)
    with _within(problem, low, high):
        if boxed or not np.isfinite([low, high]).all():
            tighten(problem.rows)
        return box_of(problem.variables)


def is_empty(problem: Composed) -> bool:
    """True if bounds leave no action where the piece is, or at most some at its border, which a neighbour has, too.

    Shown by the range of one of the rows that say where it is; these come before the follower's own.
    """
    own = len(problem.follower.constraints) - len(problem.constants)
    for row in problem.rows[: len(problem.rows) - own]:
        (low, high), (lower, upper) = interval(row.body), bounds_of(row)
        room = TOLERANCES.rounding * max(abs(low), abs(high))
        if math.isfinite(room) and (high <= lower + room or low >= upper - room):
            return True
    return False


def within_ranges(problem: Composed) -> AbstractContextManager[None]:
    """The own variables within :func:`ranges`: a global solver's relaxation is then a limited one."""
    return _within(problem, *ranges(problem))


@contextmanager
def _within(problem: Composed, lows: Array, highs: Array) -> Iterator[None]:
    """The own variables between these, and between their own bounds again afterwards."""
    kept = [(v.lb, v.ub) for v in problem.variables]
    for var, low, high in zip(problem.variables, lows, highs, strict=True):
        var.bounds = limits_of(low, high) if low <= high else var.bounds  # an empty piece shows by its rows
    try:
        yield
    finally:
        for var, (lower, upper) in zip(problem.variables, kept, strict=True):
            var.setlb(lower)
            var.setub(upper)


@dataclass
class Samples:
    """One follower's problem, evaluated at many points."""

    problem: Composed

    def __post_init__(self) -> None:
        self.low, self.high = ranges(self.problem)
        self.plan = np.array(self.problem.target, dtype=float)
        self.size = np.maximum(self.problem.reaches, np.abs(self.plan))
        self.floor = np.where(np.isfinite(self.low), self.low, self.plan - TOLERANCES.trust * self.size)
        self.ceiling = np.where(np.isfinite(self.high), self.high, self.plan + TOLERANCES.trust * self.size)

    @property
    def bounded(self) -> bool:
        """True if bounds, rows and cost leave an end in every direction."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    def ends_above(self, level: float) -> bool:
        """True if the ranges themselves leave the cost nothing below a level, on a set without an end, too."""
        with within_ranges(self.problem):
            return range_of(self.problem.cost)[0] >= level

    @property
    def reach(self) -> dict[str, tuple[float, float]]:
        """own variable → (lowest, highest) value looked at."""
        ends = zip(self.floor.tolist(), self.ceiling.tolist(), strict=True)
        return dict(zip(self.problem.names, ends, strict=True))

    def costs(self, points: Array) -> Array:
        """The cost at each row of ``points``; infinity where it has none or a row or bound does not hold."""
        problem, costs = self.problem, np.full(len(points), math.inf)
        lower, upper = box_of(problem.variables)
        room = TOLERANCES.noise * self.size
        within = np.flatnonzero(((points >= lower - room) & (points <= upper + room)).all(axis=1))
        for row, scale in zip(problem.rows, problem.row_scales, strict=True):
            (floor, ceiling), slack = bounds_of(row), TOLERANCES.noise * scale
            body = self._values(row.body, points[within])
            within = within[(body >= floor - slack) & (body <= ceiling + slack)]
        costs[within] = self._values(problem.cost, points[within])
        return np.where(np.isnan(costs), math.inf, costs)

    def _values(self, expression: Any, points: Array) -> Array:
        """The expression's value at each point; NaN where it has none."""
        table = {id(v): column for v, column in zip(self.problem.variables, points.T, strict=True)}
        values = numbers_of(expression, table, len(points))
        return np.full(len(points), math.nan) if values is None else values

    def starts(self, count: int, most: int, random: np.random.Generator) -> list[list[float]]:
        """``count`` starts: the best of ``most`` points tried, far from one another, and as many at random.

        The best point of all is offered to the problem as it is.
        """
        points = self._points(most, random)
        costs = self.costs(points)
        order = np.argsort(costs, kind="stable")
        if len(order) and math.isfinite(costs[order[0]]):
            self.problem.offer(points[order[0]].tolist(), self.problem.cost_at(points[order[0]].tolist()))
        width = np.maximum(self.ceiling - self.floor, TOLERANCES.noise * self.size)
        picked: list[Array] = []
        for place in order[: 50 * count]:
            if len(picked) >= (count + 1) // 2 or not math.isfinite(costs[place]):
                break
            near = any((np.abs(points[place] - other) < 0.02 * width).all() for other in picked)
            picked += [] if near else [points[place]]
        drawn = random.choice(len(points), size=min(len(points), count - len(picked)), replace=False)
        return [point.tolist() for point in [*picked, *points[drawn]]]

    def _points(self, most: int, random: np.random.Generator) -> Array:
        """Lines through the plan along each variable, and points all over the box: of both some in every decade.

        A box may be far wider than what it holds.
        """
        count = len(self.plan)
        along = max(5, most // (2 * count))
        lines = np.tile(self.plan, (along * count, 1))
        for column in range(count):
            steps = np.linspace(self.floor[column], self.ceiling[column], along)
            steps[1::2] = self._by_decades(column, random.random(len(steps[1::2])))
            lines[column * along : (column + 1) * along, column] = steps
        cloud = random.random((most - min(most, len(lines)) + along, count))
        for column in range(count):
            cloud[:, column] = self._spread(column, cloud[:, column])
        return np.vstack([lines, cloud])

    def _spread(self, column: int, share: Array) -> Array:
        """Shares of 1 to values: three of four evenly where there are two ends, the others by decades."""
        if not math.isfinite(self.high[column] - self.low[column]):
            return self._by_decades(column, share)
        low, high = self.floor[column], self.ceiling[column]
        values = np.asarray(low + share * (high - low))
        values[::_DECADED] = self._by_decades(column, share[::_DECADED])
        return values

    def _by_decades(self, column: int, share: Array) -> Array:
        """Shares of 1 to values, as many in each decade of distance from the plan, down to a share of a size."""
        low, high, plan = self.floor[column], self.ceiling[column], self.plan[column]
        side = np.where(2.0 * share < 1.0, low - plan, high - plan)
        rest = np.abs(2.0 * share - 1.0)
        beside = np.maximum(np.abs(side), self.size[column]) / self.size[column]
        nearest = np.minimum(TOLERANCES.trust**-2.0, 1.0 / (TOLERANCES.trust * beside))
        return np.asarray(plan + side * nearest ** (1.0 - rest) * (rest > 0.0))

    def falls_without_end(self, towards: Sequence[float] = ()) -> bool:
        """True if along some direction, within its rows, the cost falls by ever more from decade to decade.

        From the plan, and from where one other variable is at either end that it has.
        """
        if self.bounded:
            return False
        return any(self._falls(base, way) for way in self._directions(towards) for base in self._bases())

    def _bases(self) -> Iterator[Array]:
        yield self.plan
        for column, ends in enumerate(zip(self.low, self.high, strict=True)):
            for end in filter(math.isfinite, ends):
                yield np.where(np.arange(len(self.plan)) == column, end, self.plan)

    def _falls(self, base: Array, direction: Array) -> bool:
        least = math.floor(math.log10((self.size * np.abs(direction))[direction != 0.0].min()))
        decades = 10.0 ** np.arange(2, 1 + min(300, max(_DECADES, _FAR - least)))
        points = base + decades[:, np.newaxis] * self.size * direction
        costs = self.costs(points)
        costs = costs[: int(np.argmax(~np.isfinite(costs)))] if not np.isfinite(costs).all() else costs
        if len(costs) < 4:
            return False
        fallen, plan = -np.diff(costs)[-3:], self.problem.plan_cost  # NaN: of a piece without the plan
        return bool(
            (fallen > 0.0).all() and (np.diff(fallen) >= -TOLERANCES.stationarity * fallen[:-1]).all()
        ) and bool(costs[-1] < (self.problem.best_cost if np.isnan(plan) else plan))

    def _directions(self, towards: Sequence[float]) -> Iterator[Array]:
        """Towards a point, and along every variable that has no end."""
        if len(towards):
            away = (np.asarray(towards) - self.plan) / self.size
            largest = float(np.abs(away).max(initial=0.0))
            if largest > 0.0 and math.isfinite(largest):
                yield away / largest
        for column in range(len(self.plan)):
            for sign, end in ((-1.0, self.low[column]), (1.0, self.high[column])):
                if not math.isfinite(end):
                    yield sign * np.eye(1, len(self.plan), column)[0]
