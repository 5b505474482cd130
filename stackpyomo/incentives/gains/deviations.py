"""Gains by deviations: the least gain under which no follower gains by anything it can do, whatever its problem.

    min ½ Σ w K²   s.t.   J_k(u0* + K d_k(v), v) ≥ J_k*   for every follower k and everything v it can do

Masters for the loop of :mod:`stackpyomo.deviations`: each knows some of these rows. Where every row is linear
(:mod:`stackpyomo.incentives.gains.levers`) the least gain is a point of least distance; where there is none the same
computation gives the weights of a lottery over deviations that the announcement cannot see on average,

    Σ μ p(v) d(v)ᵀ = 0,   Σ μ r(v) > 0,   μ ≥ 0        (Farkas),

which is the proof. Otherwise the gain alone is chosen by a global solver. First-order conditions of the continuous
actions, whole ones held, are rows from the start (infinitesimal deviations): without them the loop is slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyomo.environ as pyo
from scipy import sparse
from scipy.optimize import linprog
from scipy.sparse import csgraph

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.deviations import Deviation, Deviations, LeaderBound, nearest
from stackpyomo.solvers import BadRow, Program, Termination, free_row, solve

from .levers import Lever, Row

__all__ = ["Candidate", "CurvedGain", "Excluded", "LeastGain", "LeastRegret", "Tag", "Unknowns"]

_FAR = 1e3  # How far, in natural units, a gain is looked for where its rows are not linear.


@dataclass(frozen=True)
class Tag:
    """What a row of a master says, for whoever has to put it into words."""

    #: "deviation", "slope", "bound" (of the leader), "gain bound", "price bound", "side" (a multiplier's sign).
    kind: str
    follower: str = ""
    action: Mapping[str, float] = field(default_factory=dict)
    temptation: float = math.nan
    limit: LeaderBound | None = None


@dataclass(frozen=True)
class Excluded:
    """Rows that exclude every gain, with the weights that show it; empty where a global solver said so."""

    weights: list[tuple[Tag, float]]
    radius: float = math.inf  #: No gain whose norm, in natural units, is below this meets the rows.


@dataclass(frozen=True)
class Candidate:
    """A gain that meets the rows so far."""

    gain: Array  #: (instruments × signals)
    offsets: Array  #: (instruments) on-path values.
    regret: float = 0.0  #: What every follower is allowed to gain, in the unit of its cost.


@dataclass
class Unknowns:
    """Entries of the gain, free on-path values, multipliers of the followers' active sides: the columns of a master."""

    entries: list[tuple[int, int]]  #: (instrument, signal) of every entry that may be used and reaches somebody.
    units: Array  #: (entries) one of each in the user's units.
    energy: Array  #: (entries) Σ energy · K² is made least, in the user's units.
    lower: Array  #: (entries) the least each may be, −∞ for no limit.
    upper: Array
    levels: Array  #: (instruments) u0*.
    free: Array  #: (instruments) whether the on-path value is chosen anew.
    spans: Array  #: (instruments) one of each in the user's units.
    bounds: list[tuple[float, float]]  #: (instruments) the leader's own bounds.

    def __post_init__(self) -> None:
        self.chosen = np.flatnonzero(self.free)
        places = np.array(self.entries, dtype=int).reshape(-1, 2)
        self._rows: Array = places[:, 0]
        self._columns: Array = places[:, 1]

    def vector(self, row: Row) -> Array:
        """The row over entries and free values, in natural units."""
        gain = row.gain[self._rows, self._columns] * self.units
        return np.concatenate([gain, row.offsets[self.chosen] * self.spans[self.chosen]])

    @property
    def weights(self) -> Array:
        """Energy of every entry and free value, in natural units, the largest 1."""
        raw = np.concatenate([self.energy * self.units**2, self.spans[self.chosen] ** 2])
        return np.asarray(raw / raw.max(initial=0.0)) if raw.any() else raw

    def candidate(self, point: Array, shape: tuple[int, int], regret: float = 0.0) -> Candidate:
        """The point as a gain and on-path values in the user's units."""
        gain, offsets = np.zeros(shape), self.levels.copy()
        entries = point[: len(self.entries)]
        entries = np.where(np.abs(entries) <= TOLERANCES.determined * np.abs(entries).max(initial=1.0), 0.0, entries)
        gain[self._rows, self._columns] = entries * self.units
        offsets[self.chosen] = point[len(self.entries) : len(self.entries) + len(self.chosen)] * self.spans[self.chosen]
        return Candidate(gain, offsets, regret)

    def limits(self) -> Iterator[tuple[Array, float, Tag]]:
        """(row, level, tag): bounds of entries and of free values as rows ≥."""
        count = len(self.entries) + len(self.chosen)
        pairs = [(place, "gain bound", self.lower[place], self.upper[place], unit)
                 for place, unit in enumerate(self.units)]  # fmt: skip
        pairs += [(len(self.entries) + place, "price bound", *self.bounds[i], self.spans[i])
                  for place, i in enumerate(self.chosen)]  # fmt: skip
        for column, kind, low, high, unit in pairs:
            for sign, bound in ((1.0, low), (-1.0, high)):
                if math.isfinite(bound):
                    row = np.zeros(count)
                    row[column] = sign
                    yield row, sign * float(bound) / float(unit), Tag(kind)


class LeastGain:
    """min Σ w K² subject to linear rows: a point of least distance, group by group of unknowns that share a row."""

    def __init__(self, levers: Mapping[str, Lever], unknowns: Unknowns, margin: float = 0.0) -> None:
        self.levers, self.unknowns, self.margin = levers, unknowns, margin
        self.shape = next(iter(levers.values())).count, len(next(iter(levers.values())).signals)
        self.rows: list[Array] = []
        self.levels: list[float] = []
        self.equal: list[bool] = []
        self.tags: list[Tag] = []
        self.multipliers = np.zeros(0)  #: (rows) of the last solve: which of them bind.
        self.excluded: Excluded | None = None
        self.points: list[tuple[Lever, Array]] = []  #: Deviations whose rows are not linear.
        self._sides = 0
        self._seen = 0
        self._norm = 0.0
        self._begin()

    def _begin(self) -> None:
        for limit, level, tag in self.unknowns.limits():
            self._add(limit, level, tag)
        for lever in self.levers.values() if self._slopes else ():
            stationary = list(lever.stationary(self.unknowns.free))
            number = 1 + max((side for row in stationary for side in row.sides), default=-1)
            for row in stationary:
                if np.isfinite(row.level):
                    sides = {self._sides + side: value for side, value in row.sides.items()}
                    tag = Tag("slope", lever.name, temptation=row.temptation)
                    self._add(self.unknowns.vector(row), row.level, tag, True, sides)
            for side in range(number):
                self._add(np.zeros(len(self.unknowns.weights)), 0.0, Tag("side"), False, {self._sides + side: 1.0})
            self._sides += number

    _slopes = True  #: Whether first-order conditions are asked for.

    def _add(
        self, row: Array, level: float, tag: Tag, equal: bool = False, sides: Mapping[int, float] | None = None
    ) -> None:
        count = len(self.unknowns.weights)
        wide = np.zeros(count + (max(sides) + 1 if sides else 0))
        wide[:count] = row
        for side, value in (sides or {}).items():
            wide[count + side] = value
        self.rows.append(wide)
        self.levels.append(level)
        self.equal.append(equal)
        self.tags.append(tag)

    def bound(self) -> float:
        """The energy, in natural units, that no valid gain is below."""
        return self._norm

    def solve(self, rows: Deviations) -> Candidate | None:
        """The least gain under these rows; None, and ``excluded``, if they exclude each other."""
        for deviation in list(rows)[self._seen :]:
            self.take(deviation)
        self._seen = len(rows)
        return self._solved()

    def take(self, deviation: Deviation) -> None:
        """Add what a deviation asks for."""
        lever = self.levers[deviation.follower]
        point = np.array([deviation.action[name] for name in lever.problem.names])
        if deviation.limit:
            self._add(*self._within(lever, point, deviation))
            return
        moves = (np.abs(point - lever.target)[lever.whole] > TOLERANCES.apart).any()
        row = lever.row(point, self.unknowns.free, self.margin if moves else 0.0)
        tag = Tag("deviation", lever.name, deviation.action, row.temptation)
        if math.isnan(row.level) or row.level == -math.inf:
            return
        if row.level == math.inf:  # no level of the leader's variable holds it
            row = Row(np.zeros(self.shape), np.zeros(self.shape[0]), 1.0)
        self._add(self.unknowns.vector(row), row.level, tag)

    def _within(self, lever: Lever, point: Array, deviation: Deviation) -> tuple[Array, float, Tag]:
        """The leader's answer to a deviation stays within a bound."""
        limit = deviation.limit
        assert limit is not None
        number = lever.leader.index(limit.variable)
        low, high = self.unknowns.bounds[number]
        sign, bound = (1.0, low) if limit.lower else (-1.0, -high)
        gain, offsets = np.zeros(self.shape), np.zeros(self.shape[0])
        gain[number] = sign * lever.signs(point)
        level = bound - sign * self.unknowns.levels[number]
        if self.unknowns.free[number]:
            offsets[number] = sign
            level = bound
        tag = Tag("bound", lever.name, deviation.action, limit=limit)
        return self.unknowns.vector(Row(gain, offsets, level)), level, tag

    def matrix(self) -> Array:
        """(rows × unknowns), multipliers of sides last."""
        width = len(self.unknowns.weights) + self._sides
        return np.array([np.pad(row, (0, width - len(row))) for row in self.rows]).reshape(len(self.rows), width)

    def _solved(self) -> Candidate | None:
        return self._least(0.0)

    def _least(self, shift: float) -> Candidate | None:
        """The point of least distance, every deviation's row eased by ``shift``."""
        matrix, levels, equal = self.matrix(), np.array(self.levels), np.array(self.equal, dtype=bool)
        eased = np.array([tag.kind == "deviation" for tag in self.tags], dtype=bool)
        levels = levels - shift * eased
        weights = np.concatenate([self.unknowns.weights, np.zeros(self._sides)])
        point, self.multipliers = np.zeros(len(weights)), np.zeros(len(matrix))
        for rows, columns in _groups(matrix):
            if not len(columns) and (levels[rows] <= self._nothing(rows)).all() and not equal[rows].any():
                continue
            if not len(columns):
                worst = rows[np.argmax(np.where(equal[rows], np.abs(levels[rows]), levels[rows]))]
                if abs(levels[worst]) <= self._nothing(np.array([worst]))[0]:
                    continue
                self.excluded = Excluded([(self.tags[worst], math.copysign(1.0, levels[worst]))])
                return None
            answer = nearest(matrix[rows][:, columns], levels[rows], weights[columns], equal[rows])
            if answer.point is None:
                counts = _counts(answer.weights, matrix[rows], levels[rows])
                pairs = zip(rows[counts], answer.weights[counts], strict=True)
                self.excluded = Excluded([(self.tags[row], float(weight)) for row, weight in pairs], answer.radius)
                return None
            point[columns], self.multipliers[rows] = answer.point, answer.weights
        self._norm = float(weights @ point**2)
        return self.unknowns.candidate(point, self.shape)

    def _nothing(self, rows: Array) -> Array:
        """(rows) a level that counts as 0 where no unknown stands in the row."""
        unit = {name: lever.problem.unit for name, lever in self.levers.items()}
        return np.array([TOLERANCES.tempting * unit.get(self.tags[row].follower, 1.0) for row in rows])

    def binding(self) -> list[tuple[Tag, float]]:
        """(row, multiplier) of the deviations that hold the gain where it is."""
        if len(self.multipliers) != len(self.rows):  # a global solver gives none
            return []
        counts = _counts(self.multipliers, self.matrix(), np.array(self.levels))
        pairs = zip(self.tags, self.multipliers, counts, strict=True)
        return [(tag, float(m)) for tag, m, count in pairs if count and tag.kind != "side"]


class LeastRegret(LeastGain):
    """min t, then Σ w K², such that no follower gains more than t: the best ε-incentive, and t is proved least."""

    _slopes = False

    def __init__(self, levers: Mapping[str, Lever], unknowns: Unknowns, margin: float = 0.0) -> None:
        super().__init__(levers, unknowns, margin)
        self.least = 0.0
        self.lottery: list[tuple[Tag, float]] = []  #: The deviations and weights that show that no gain does better.

    def bound(self) -> float:
        """The regret that no gain is below."""
        return self.least

    def _solved(self) -> Candidate | None:
        matrix, levels = self.matrix(), np.array(self.levels)
        eased = np.array([tag.kind == "deviation" for tag in self.tags], dtype=float)
        if len(matrix):
            wide = np.hstack([matrix, eased[:, np.newaxis]])
            cost = np.zeros(wide.shape[1])
            cost[-1] = 1.0
            bounds = [(None, None)] * matrix.shape[1] + [(0.0, None)]
            answer = linprog(cost, -wide, -levels, bounds=bounds, method="highs")
            if answer.status != 0:
                self.excluded = Excluded([])
                return None
            self.least = max(0.0, float(answer.x[-1]))
            self.lottery = [(t, -float(m)) for t, m in zip(self.tags, answer.ineqlin.marginals, strict=True) if m < 0.0]
        unit = max(lever.problem.unit for lever in self.levers.values())
        allowed = self.least * (1.0 + TOLERANCES.noise) + TOLERANCES.noise * unit if self.least > 0.0 else 0.0
        least = self._least(allowed)
        return None if least is None else Candidate(least.gain, least.offsets, self.least)


class CurvedGain(LeastGain):
    """The same where rows are not linear in the gain: chosen by a global solver, then made exact on what binds."""

    def _solved(self) -> Candidate | None:
        model = pyo.ConcreteModel(name="gain")
        count = len(self.unknowns.weights)
        model.x = pyo.Var(range(count + self._sides), bounds=(-_FAR, _FAR), initialize=0.0)
        rows = [
            free_row(sum(float(a) * model.x[j] for j, a in enumerate(row) if a), level, level if equal else None)
            for row, level, equal in zip(self.rows, self.levels, self.equal, strict=True)
            if row.any()
        ]
        rows += [free_row((body - cost) / unit, 0.0, None) for body, cost, unit in self._curved(model)]
        energy = sum(float(w) * model.x[j] ** 2 for j, w in enumerate(self.unknowns.weights))
        try:
            program = Program(energy, rows)
        except BadRow:
            self.excluded = Excluded([])
            return None
        solution = solve(program, "scip")
        if solution.x is None or solution.termination is not Termination.OPTIMAL:
            self.excluded = Excluded([], _FAR if solution.termination is Termination.INFEASIBLE else 0.0)
            return None
        self._norm, point = solution.bound, solution.x
        sharp = solve(program.variant(start=point), "auto")
        if (
            sharp.x is not None
            and sharp.termination.solved
            and np.abs(sharp.x - point).max() <= TOLERANCES.margin * (1.0 + np.abs(point).max())
        ):
            point = sharp.x
        place = program.levels(point)
        whole = np.array([place.get(id(model.x[j]), 0.0) for j in range(count)])
        return self.unknowns.candidate(whole, self.shape)

    def take(self, deviation: Deviation) -> None:
        """Add what a deviation asks for."""
        lever = self.levers[deviation.follower]
        if deviation.limit or lever.is_linear:
            super().take(deviation)
            return
        point = np.array([deviation.action[name] for name in lever.problem.names])
        self.points.append((lever, point))

    def _curved(self, model: pyo.ConcreteModel) -> Iterator[tuple[Any, Any, float]]:
        """(cost of the deviation, cost of the plan, unit)."""
        unknowns, count = self.unknowns, len(self.unknowns.entries)
        offsets: dict[int, Any] = {i: float(level) for i, level in enumerate(unknowns.levels)}
        for place, i in enumerate(unknowns.chosen):
            offsets[int(i)] = float(unknowns.spans[i]) * model.x[count + place]
        for lever, point in self.points:
            seen, answers = lever.signs(point), dict(offsets)
            for column, (instrument, signal) in enumerate(unknowns.entries):
                if seen[signal]:
                    rate = float(unknowns.units[column] * seen[signal])
                    answers[instrument] = answers[instrument] + rate * model.x[column]
            cost = lever.expression(lever.target, offsets) if len(unknowns.chosen) else lever.cost
            yield lever.expression(point, answers), cost + self.margin, lever.problem.unit


def _counts(weights: Array, rows: Array, levels: Array) -> Array:
    """(rows) booleans: which rows, each in its own unit, add more than rounding beside the largest."""
    parts = np.abs(weights) * np.hypot(np.linalg.norm(rows, axis=1), levels)
    return np.asarray(parts > TOLERANCES.noise * parts.max(initial=0.0))


def _groups(matrix: Array) -> Iterator[tuple[Array, Array]]:
    """(rows, columns) that share no unknown with others; rows without unknowns come one by one."""
    count = len(matrix)
    if not count:
        return
    pattern = sparse.csr_array(matrix)
    graph = sparse.block_array([[None, pattern], [pattern.T, None]])
    _, labels = csgraph.connected_components(graph, directed=False)
    for label in np.unique(labels[:count]):
        yield np.flatnonzero(labels[:count] == label), np.flatnonzero(labels[count:] == label)
