"""Levers: how the leader's answers reach one follower at any deviation, not at the plan alone.

With J_k(u0, v) the cost of follower k over the leader's variables and its own actions, everybody else as planned and
aggregates moving by its share, and d(v) what its deviation v shows of the signals, a gain K holds it against v iff

    J_k(u0* + K d(v), v)  ≥  J_k*.

Where J_k is affine in u0 (tolls, prices, transfers) that is one linear row, p(v)ᵀ K d(v) ≥ r(v), with p = ∂J_k/∂u0 and
the temptation r(v) = J_k* − J_k(u0*, v). Where the follower feels one leader variable alone and its cost only rises (or
only falls) with it, K d(v) ≥ w(v) − u0* is such a row, too, w(v) the level at which it is indifferent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from pyomo.core.expr.calculus.diff_with_pyomo import DifferentiationException
from scipy import sparse
from scipy.optimize import brentq

from stackpyomo.core import TOLERANCES, Array, whole_points
from stackpyomo.core.expressions import Substitution, degree_of, interval, number_of, numbers_of, partials, variables_in
from stackpyomo.derivatives import ActiveSide, active_sides, by_follower
from stackpyomo.errors import InvalidGame
from stackpyomo.games.information import Announcement, excursion
from stackpyomo.verification import Composed, composed, measure

from .selection import Entries

_FARTHEST = 1e12  # How far, in units of the leader's variable, a level of indifference is looked for.
_LISTED = 4096  # Points up to which what a follower of integer actions can do is written down as a list.


@dataclass(frozen=True)
class Row:
    """gain · K + offsets · y (+ weights of active sides) ≥ level, or = level; y are free on-path values."""

    gain: Array  #: (instruments × signals) coefficients.
    offsets: Array  #: (instruments) coefficients of on-path values.
    level: float
    #: Number of an active side of the follower → its coefficient.
    sides: Mapping[int, float] = field(default_factory=dict)
    #: What the follower gains under the constant u0*, per unit of its cost; of a slope: per unit of its action.
    temptation: float = math.nan


@dataclass
class Lever:
    """One follower's cost over its own actions and the leader's variables."""

    problem: Composed
    design: Entries
    instruments: Array  #: Numbers of the leader's variables that it feels: the order of ``problem.answers``.
    shown: Array  #: (signals × own actions) what one member's action moves of each, where they are linear.
    curved: Mapping[int, Any]
    #: True if its own constraints hold what the leader's answers move: what it can do changes with the gain.
    coupled: bool
    columns: slice  #: Where its actions stand among all.
    sides: Sequence[ActiveSide]  #: Those of its constraints and bounds that are active at the plan.

    def __post_init__(self) -> None:
        self.variables, self.count = self.problem.variables, len(self.design.leader)
        whole = [not v.is_continuous() for v in self.problem.follower.variables]
        self.whole = np.array(whole, dtype=bool)
        target = np.array(self.problem.target, dtype=float)
        self.target = np.where(self.whole, np.round(target), target)
        self.levels = np.array([v.value for v in self.problem.answers], dtype=float)  #: (its instruments) u0*.
        self.slopes = partials(self.problem.own, self.problem.answers)
        self.cost = self.cost_at(self.target)  #: J_k*, in minimise form.

    @property
    def name(self) -> str:
        """The follower's."""
        return self.problem.follower.name

    @cached_property
    def is_affine(self) -> bool:
        """True if its cost is affine in the leader's variables."""
        mine = {id(v) for v in self.problem.answers}
        return not any(id(v) in mine for slope in self.slopes for v in variables_in(slope))

    @cached_property
    def direction(self) -> int:
        """+1 or −1 if it feels one leader variable and its cost is shown to rise, or to fall, with it; else 0."""
        if len(self.slopes) != 1:
            return 0
        self._set(self.target)
        low, high = interval(self.slopes[0])
        rises, falls = low >= 0.0, high <= 0.0
        return 0 if rises and falls else 1 if rises else -1 if falls else 0

    @property
    def is_linear(self) -> bool:
        """True if every deviation is one linear row of the gain."""
        return self.is_affine or self.direction != 0

    def _set(self, point: Array, levels: Array | None = None) -> None:
        answers = self.levels if levels is None else levels
        pairs = [*zip(self.variables, point, strict=True), *zip(self.problem.answers, answers, strict=True)]
        for var, value in pairs:
            var.set_value(float(value), skip_validation=True)

    def cost_at(self, point: Array, levels: Array | None = None) -> float:
        """J_k(u0, v), u0 = u0* if not given."""
        self._set(point, levels)
        return number_of(self.problem.own)

    def point(self, action: Mapping[str, float]) -> Array:
        """(own actions) of {variable name: value}."""
        return np.array([action[name] for name in self.problem.names])

    def pulls(self, point: Array) -> Array:
        """(its instruments) p(v) at u0*."""
        self._set(point)
        return np.array([number_of(slope) for slope in self.slopes])

    def signs(self, point: Array) -> Array:
        """(signals) d(v): what the deviation shows."""
        moved = self.shown @ (point - self.target)
        if self.curved:
            self._set(point)
            for number, expression in self.curved.items():
                moved[number] = number_of(expression)
        return np.asarray(moved)

    def row(self, point: Array, free: Array, margin: float = 0.0) -> Row:
        """What holds it against this deviation. ``free``: (instruments) whether the on-path value is chosen anew."""
        temptation = self.cost - self.cost_at(point) + margin
        seen = self.signs(point)
        gain, offsets = np.zeros((self.count, len(self.design.signals))), np.zeros(self.count)
        if not self.is_affine:
            gain[self.instruments[0]] = self.direction * seen
            level = self._indifferent(point, self.cost + margin)
            return Row(gain, offsets, self.direction * (level - self.levels[0]), temptation=temptation)
        pulls = self.pulls(point)
        gain[self.instruments] = pulls[:, np.newaxis] * seen
        chosen = free[self.instruments]
        change = np.where(chosen, pulls - self.pulls(self.target), 0.0)
        offsets[self.instruments] = change
        return Row(gain, offsets, temptation + float(change @ self.levels), temptation=temptation)

    def _indifferent(self, point: Array, wanted: float) -> float:
        """The level of its one leader variable at which J_k(u0, v) = wanted; ∓∞ if it costs more (less) at each."""

        def missing(level: float) -> float:
            cost = self.cost_at(point, np.array([level]))
            return (math.inf if math.isnan(cost) else cost) - wanted

        start, step = float(self.levels[0]), 1.0
        before, at = missing(start), start
        way = -self.direction if before > 0.0 else self.direction
        while step <= _FARTHEST:
            beyond = start + way * step
            after = missing(beyond)
            if (before > 0.0) != (after > 0.0):
                if not math.isfinite(after):
                    return math.nan
                return float(brentq(missing, min(at, beyond), max(at, beyond), xtol=TOLERANCES.determined))
            at, step = beyond, step * 2.0
        return math.copysign(math.inf, -self.direction if before > 0.0 else self.direction)

    def expression(self, point: Array, answers: Mapping[int, Any]) -> Any:
        """J_k(u0, v) at a deviation, with an expression for each of its instruments (by number)."""
        table = {id(v): float(x) for v, x in zip(self.variables, point, strict=True)}
        table |= {id(v): answers[int(i)] for v, i in zip(self.problem.answers, self.instruments, strict=True)}
        return Substitution(substitute=table).walk_expression(self.problem.own)

    # --- all at once ---------------------------------------------------------------------------------------------

    @cached_property
    def listed(self) -> tuple[Array, Array] | None:
        """(points, what each shows of the signals): all it can do but the plan, if a short list of whole numbers."""
        able = self.whole.all() and not self.coupled
        points = whole_points(self.variables, _LISTED) if able else None
        if points is None:
            return None
        inside = (points != self.target).any(axis=1)
        for row, size in zip(self.problem.rows, self.problem.row_scales, strict=True):
            body = numbers_of(row.body, self._table(points), len(points))
            if body is None:
                return None
            room = TOLERANCES.feasibility * np.maximum(size, np.abs(body))
            inside &= (row.lb is None or body >= row.lb - room) & (row.ub is None or body <= row.ub + room)
        points = points[inside]
        seen = (points - self.target) @ self.shown.T
        for number, expression in self.curved.items():
            column = numbers_of(expression, self._table(points), len(points))
            if column is None:
                return None
            seen[:, number] = column
        return points, seen

    def _table(self, points: Array) -> dict[int, Array]:
        return {id(v): points[:, j] for j, v in enumerate(self.variables)}

    def costs(self, gain: Array, offsets: Array) -> Array | None:
        """The cost of each listed point under a gain and on-path values, NaN where it has none; None: no list."""
        if self.listed is None:
            return None
        points, seen = self.listed
        answers = offsets[self.instruments] + seen @ gain[self.instruments].T
        table = {**self._table(points), **{id(v): answers[:, i] for i, v in enumerate(self.problem.answers)}}
        return numbers_of(self.problem.own, table, len(points))

    # --- first order ----------------------------------------------------------------------------------------------

    def stationary(self, free: Array) -> Iterator[Row]:
        """a_j + (Kᵀ p)·∂d/∂v_j + Σ λ G = 0 for its continuous actions, whole ones held: infinitesimal deviations.

        Necessary where the active sides' normals are independent; else, or where its constraints hold what the leader
        answers, nothing is asked.
        """
        moving = np.flatnonzero(~self.whole & [v.lb is None or v.ub is None or v.lb < v.ub for v in self.variables])
        if self.coupled or not len(moving):
            return
        normals = self._active(moving)
        curved = any(degree_of(row.body) != 1 for row in self.problem.rows)
        if curved and len(normals) and np.linalg.matrix_rank(normals, tol=TOLERANCES.rank) < len(normals):
            return
        own = [self.variables[j] for j in moving]
        slopes, seen = partials(self.problem.own, own), self._seen(moving)
        pulls = self.pulls(self.target)
        chosen = np.flatnonzero(free[self.instruments]) if self.is_affine else np.zeros(0, dtype=int)
        for place, slope in enumerate(slopes):
            level = number_of(slope)
            gain, offsets = np.zeros((self.count, len(self.design.signals))), np.zeros(self.count)
            gain[self.instruments] = pulls[:, np.newaxis] * seen[:, place]
            if len(chosen):
                mixed = partials(slope, [self.problem.answers[i] for i in chosen])
                offsets[self.instruments[chosen]] = [number_of(part) for part in mixed]
            sides = {number: float(normal[place]) for number, normal in enumerate(normals) if normal[place] != 0.0}
            right = -level + float(offsets[self.instruments] @ self.levels)
            yield Row(gain, offsets, right, sides, abs(level))

    def _seen(self, moving: Array) -> Array:
        """(signals × moving) ∂d/∂v at the plan."""
        slopes = self.shown[:, moving].copy()
        self._set(self.target)
        for number, expression in self.curved.items():
            parts = partials(expression, [self.variables[j] for j in moving])
            slopes[number] = [number_of(part) for part in parts]
        return slopes

    def _active(self, moving: Array) -> Array:
        """(active sides × moving) normals out of what it may do at the plan; of an equality both ways."""
        normals: list[Array] = []
        for side in self.sides:
            normal = np.zeros(len(self.variables))
            normal[side.columns - self.columns.start] = side.normal / self.design.rows.action_units[side.columns]
            normals += [normal[moving], -normal[moving]] if side.equality else [normal[moving]]
        return np.array([normal for normal in normals if normal.any()]).reshape(-1, len(moving))

    def reach(self, number: int) -> float:
        """The natural unit of an action."""
        return float(self.problem.reaches[number])


def levers(design: Entries, values: Mapping[str, float]) -> dict[str, Lever]:
    """Name of each watched follower → its lever at the plan."""
    rows, signals = design.rows, design.signals
    game = rows.game
    # A strategy that lets every variable answer every signal shows what can reach whom; no two effects cancel in it.
    pattern = np.random.default_rng(0).uniform(1.0, 2.0, (len(design.leader), len(signals)))
    announced = Announcement(values, math.nan, design.leader, signals, sparse.csc_array(pattern))
    place = {name: number for number, name in enumerate(design.leader)}
    numbers = {f.name: number for number, f in enumerate(rows.followers)}
    answering = {id(v) for v in (*rows.instruments, *game.aggregate_variables())}
    sides = by_follower(active_sides(rows, rows.at(values), values))
    watched = {follower.name for follower, seen in zip(rows.followers, design.watched, strict=True) if seen}
    problems = list(composed(game, announced, watched))
    measure(problems, TOLERANCES.tempting)
    by_name = {}
    for problem in problems:
        follower = problem.follower
        number = numbers[follower.name]
        try:
            by_name[follower.name] = Lever(
                problem,
                design,
                instruments=np.array([place[v.index()] for v in problem.answers], dtype=int),
                shown=design.shares.moves[:, rows.own(number)].toarray(),
                columns=rows.own(number),
                curved=_curved(design, values, problem),
                coupled=any(id(v) in answering for c in follower.constraints for v in variables_in(c.body)),
                sides=sides.get(number, ()),
            )
        except DifferentiationException as error:
            raise InvalidGame(
                f"{follower.name}: its cost has no symbolic derivative, by which deviations are rows of the gain "
                f"({error}). Write it with smooth functions (no if, min, max, external function)."
            ) from None
    return by_name


def _curved(design: Entries, values: Mapping[str, float], problem: Composed) -> dict[int, Any]:
    """Number of a signal that is not linear → what a deviation shows of it."""
    copies = {id(v): copy for v, copy in zip(problem.follower.variables, problem.variables, strict=True)}
    signals = [(number, signal) for number, signal in enumerate(design.signals) if signal.curve is not None]
    return {number: excursion(design.rows.game, signal, values, copies) for number, signal in signals}
