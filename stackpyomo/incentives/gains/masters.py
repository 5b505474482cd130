"""Masters: the least gain under which no follower gains by anything it can do, whatever its problem.

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
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import numpy as np
import pyomo.environ as pyo
from scipy import sparse
from scipy.optimize import linprog
from scipy.sparse import csgraph

from stackpyomo.core import TOLERANCES, Array, bounds_of
from stackpyomo.deviations import Answer, Deviation, Deviations, LeaderBound, nearest
from stackpyomo.solvers import BadRow, Program, Termination, free_row, solve

from .levers import Lever, Row
from .selection import Entries

_BOXES = (1.0, 30.0, 1e3)  # How far, in natural units, a gain is looked for where its rows are not linear.


@dataclass(frozen=True)
class Tag:
    """What a row of a master says, as data for its words."""

    #: "deviation", "slope", "bound" (of the leader), "gain bound", "price bound", "side" (a multiplier's sign).
    kind: str
    follower: str = ""
    action: Mapping[str, float] = field(default_factory=dict)
    temptation: float = math.nan
    limit: LeaderBound | None = None


@dataclass(frozen=True)
class Line:
    """row · unknowns (+ multipliers of active sides) ≥ level, or = level."""

    row: Array
    level: float
    tag: Tag
    equal: bool = False
    sides: Mapping[int, float] = field(default_factory=dict)  #: Number of a multiplier → its coefficient.


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


class Unknowns:
    """Entries of the gain that may be used and reach somebody, and free on-path values: the columns of a master."""

    def __init__(self, design: Entries, levers: Mapping[str, Lever], values: Mapping[str, float]) -> None:
        rows = design.rows
        reached = set[tuple[int, int]]()
        for lever in levers.values():
            seen = [s for s in range(len(design.signals)) if s in lever.curved or lever.shown[s].any()]
            reached |= {(int(i), s) for i in lever.instruments for s in seen}
        allowed = None if design.allowed is None else design.allowed.toarray() != 0.0
        #: (instrument, signal) of each.
        self.entries = sorted(pair for pair in reached if allowed is None or allowed[pair])
        self._rows, self._columns = np.array(self.entries, dtype=int).reshape(-1, 2).T
        self.units = design.units(self._rows, self._columns)  #: (entries) one of each in the user's units.
        #: (entries) Σ energy · K² is made least, in the user's units.
        self.energy = design.weights[self._rows] * design.crowds[self._columns]
        self.lower, self.upper = design.lower[self._rows], design.upper[self._rows]
        self.levels = np.array([values[name] for name in design.leader])  #: (instruments) u0*.
        free = {id(v) for v in design.wishes.free}
        #: (instruments) whether the on-path value is chosen anew.
        self.free = np.array([id(v) in free for v in rows.instruments], dtype=bool)
        self.chosen = np.flatnonzero(self.free)
        self.spans = rows.instrument_units  #: (instruments) one of each in the user's units.
        self.bounds = [bounds_of(v) for v in rows.instruments]  #: (instruments) the leader's own bounds.

    def vector(self, row: Row) -> Array:
        """The row over entries and free values, in natural units."""
        gain = row.gain[self._rows, self._columns] * self.units
        return np.concatenate([gain, row.offsets[self.chosen] * self.spans[self.chosen]])

    @property
    def weights(self) -> Array:
        """Energy of every entry and free value, in natural units, the largest 1."""
        raw = np.concatenate([self.energy * self.units**2, self.spans[self.chosen] ** 2])
        return np.asarray(raw / raw.max(initial=0.0)) if raw.any() else raw

    def candidate(self, point: Array, shape: tuple[int, int]) -> Candidate:
        """The point as a gain and on-path values in the user's units."""
        gain, offsets = np.zeros(shape), self.levels.copy()
        entries = point[: len(self.entries)]
        entries = np.where(np.abs(entries) <= TOLERANCES.determined * np.abs(entries).max(initial=1.0), 0.0, entries)
        gain[self._rows, self._columns] = entries * self.units
        offsets[self.chosen] = point[len(self.entries) : len(self.entries) + len(self.chosen)] * self.spans[self.chosen]
        return Candidate(gain, offsets)

    def limits(self) -> Iterator[Line]:
        """Bounds of entries and of free values as rows ≥."""
        entries = zip(repeat("gain bound"), self.lower, self.upper, self.units)
        values = [("price bound", *self.bounds[i], self.spans[i]) for i in self.chosen]
        for column, (kind, low, high, unit) in enumerate([*entries, *values]):
            for sign, bound in ((1.0, low), (-1.0, high)):
                if math.isfinite(bound):
                    row = np.zeros(len(self.entries) + len(values))
                    row[column] = sign
                    yield Line(row, sign * float(bound) / float(unit), Tag(kind))


class LeastGain:
    """min Σ w K² subject to linear rows: a point of least distance, group by group of unknowns that share a row."""

    def __init__(
        self, levers: Mapping[str, Lever], unknowns: Unknowns, margin: float = 0.0, until: float = math.inf
    ) -> None:
        self.levers, self.unknowns, self.margin = levers, unknowns, margin
        self.until = until  #: ``time.monotonic()`` at which a global solver stops looking.
        design = next(iter(levers.values())).design
        self.shape = len(design.leader), len(design.signals)
        self.lines = list(unknowns.limits())
        self.multipliers = np.zeros(0)  #: (lines) of the last solve: which of them bind.
        self.excluded: Excluded | None = None
        self.points: list[tuple[Lever, Array]] = []  #: Deviations whose rows are not linear.
        self._sides = 0
        self._seen = 0
        self.bound = 0.0  #: The energy, in natural units, that no valid gain is below.
        for lever in levers.values() if self._slopes else ():
            self._add_slopes(lever)

    _slopes = True  #: Whether first-order conditions are asked for.
    #: Of the least regret: the deviations and weights that show that no gain does better.
    lottery: Sequence[tuple[Tag, float]] = ()

    def _add_slopes(self, lever: Lever) -> None:
        stationary = list(lever.stationary(self.unknowns.free))
        number = 1 + max((side for row in stationary for side in row.sides), default=-1)
        for row in stationary:
            if np.isfinite(row.level):
                sides = {self._sides + side: value for side, value in row.sides.items()}
                tag = Tag("slope", lever.name, temptation=row.temptation)
                self.lines.append(Line(self.unknowns.vector(row), row.level, tag, True, sides))
        nothing = np.zeros(len(self.unknowns.weights))
        self.lines += [Line(nothing, 0.0, Tag("side"), sides={self._sides + side: 1.0}) for side in range(number)]
        self._sides += number

    def solve(self, rows: Deviations) -> Candidate | None:
        """The least gain under these rows; None, and ``excluded``, if they exclude each other."""
        for deviation in list(rows)[self._seen :]:
            self.take(deviation)
        self._seen = len(rows)
        return self._solved()

    def take(self, deviation: Deviation) -> None:
        """Add what a deviation asks for."""
        lever = self.levers[deviation.follower]
        point = lever.point(deviation.action)
        if deviation.limit:
            self.lines.append(self._within(lever, point, deviation, deviation.limit))
            return
        moves = (np.abs(point - lever.target)[lever.whole] > TOLERANCES.apart).any()
        row = lever.row(point, self.unknowns.free, self.margin if moves else 0.0)
        tag = Tag("deviation", lever.name, deviation.action, row.temptation)
        if row.level == math.inf:  # no level of the leader's variable holds it
            row = Row(np.zeros(self.shape), np.zeros(self.shape[0]), 1.0)
        if math.isfinite(row.level):
            self.lines.append(Line(self.unknowns.vector(row), row.level, tag))

    def _within(self, lever: Lever, point: Array, deviation: Deviation, limit: LeaderBound) -> Line:
        """The leader's answer to a deviation stays within a bound."""
        number = lever.design.leader.index(limit.variable)
        low, high = self.unknowns.bounds[number]
        sign, level = (1.0, low) if limit.lower else (-1.0, -high)
        gain, offsets = np.zeros(self.shape), np.zeros(self.shape[0])
        gain[number] = sign * lever.signs(point)
        if self.unknowns.free[number]:
            offsets[number] = sign
        else:
            level -= sign * self.unknowns.levels[number]
        tag = Tag("bound", lever.name, deviation.action, limit=limit)
        return Line(self.unknowns.vector(Row(gain, offsets, level)), level, tag)

    def matrix(self) -> Array:
        """(lines × unknowns), multipliers of sides last."""
        count = len(self.unknowns.weights)
        matrix = np.zeros((len(self.lines), count + self._sides))
        for row, line in zip(matrix, self.lines, strict=True):
            row[:count] = line.row
            for side, value in line.sides.items():
                row[count + side] = value
        return matrix

    @property
    def levels(self) -> Array:
        """(lines) what each is to reach."""
        return np.array([line.level for line in self.lines])

    @property
    def equal(self) -> Array:
        """(lines) True for equations."""
        return np.array([line.equal for line in self.lines], dtype=bool)

    @property
    def eased(self) -> Array:
        """(lines) True for those of deviations, which a regret that is allowed eases."""
        return np.array([line.tag.kind == "deviation" for line in self.lines], dtype=bool)

    def _solved(self) -> Candidate | None:
        return self._least(0.0)

    def _least(self, shift: float) -> Candidate | None:
        """The point of least distance, every deviation's row eased by ``shift``."""
        matrix, levels, equal = self.matrix(), self.levels - shift * self.eased, self.equal
        weights = np.concatenate([self.unknowns.weights, np.zeros(self._sides)])
        point, self.multipliers = np.zeros(len(weights)), np.zeros(len(matrix))
        for rows, columns in _groups(matrix):
            if len(columns):
                answer = nearest(matrix[rows][:, columns], levels[rows], weights[columns], equal[rows])
            else:  # rows without unknowns come one by one
                missing = float(np.where(equal[rows], np.abs(levels[rows]), levels[rows])[0])
                is_met = missing <= self._nothing(int(rows[0]))
                answer = Answer(np.zeros(0) if is_met else None, np.sign(levels[rows]) * (not is_met))
            if answer.point is None:
                counts = _counts(answer.weights, matrix[rows], levels[rows])
                pairs = zip(rows[counts], answer.weights[counts], strict=True)
                self.excluded = Excluded([(self.lines[row].tag, float(w)) for row, w in pairs], answer.radius)
                return None
            point[columns], self.multipliers[rows] = answer.point, answer.weights
        self.bound = float(weights @ point**2)
        return self.unknowns.candidate(point, self.shape)

    def _nothing(self, row: int) -> float:
        """What counts as 0 where no unknown stands in the row."""
        lever = self.levers.get(self.lines[row].tag.follower)
        return TOLERANCES.tempting * (1.0 if lever is None else lever.problem.unit)

    def binding(self) -> list[tuple[Line, float]]:
        """(line, multiplier) of the rows that hold the gain where it is."""
        if len(self.multipliers) != len(self.lines):  # a global solver gives none
            return []
        counts = _counts(self.multipliers, self.matrix(), self.levels)
        pairs = zip(self.lines, self.multipliers, counts, strict=True)
        return [(line, float(m)) for line, m, count in pairs if count and line.tag.kind != "side"]


class LeastRegret(LeastGain):
    """min t, then Σ w K², such that no follower gains more than t: the best ε-incentive, and t is proved least."""

    _slopes = False

    def _solved(self) -> Candidate | None:
        """``bound`` is the regret that no gain is below."""
        matrix, regret = self.matrix(), 0.0
        if len(matrix):
            wide = np.column_stack([matrix, self.eased])
            cost = np.zeros(wide.shape[1])
            cost[-1] = 1.0
            bounds = [(None, None)] * matrix.shape[1] + [(0.0, None)]
            answer = linprog(cost, -wide, -self.levels, bounds=bounds, method="highs")
            if answer.status != 0:
                self.excluded = Excluded([])
                return None
            regret = max(0.0, float(answer.x[-1]))
            marginals = zip(self.lines, answer.ineqlin.marginals, strict=True)
            self.lottery = [(line.tag, -float(m)) for line, m in marginals if m < 0.0]
        unit = max(lever.problem.unit for lever in self.levers.values())
        least = self._least(regret * (1.0 + TOLERANCES.noise) + TOLERANCES.noise * unit if regret > 0.0 else 0.0)
        self.bound = regret
        if least is None and regret > 0.0:  # by rounding alone: the program's own answer has that regret
            least, self.excluded = self.unknowns.candidate(answer.x, self.shape), None
        return None if least is None else replace(least, regret=regret)


class CurvedGain(LeastGain):
    """The same where rows are not linear in the gain: chosen by a global solver, then made exact on what binds.

    A global solver measures rows against what they may come to in its box: it looks in the small ones first, and what
    it answers has to meet the rows as they are.
    """

    def _solved(self) -> Candidate | None:
        model = pyo.ConcreteModel(name="gain")
        count = len(self.unknowns.weights)
        model.x = pyo.Var(range(count + self._sides), initialize=0.0)
        rows = [
            free_row(pyo.quicksum(float(row[j]) * model.x[int(j)] for j in np.flatnonzero(row)), level, most)
            for row, level, most in zip(
                self.matrix(), self.levels, np.where(self.equal, self.levels, np.inf), strict=True
            )
            if row.any()
        ]
        rows += [free_row((body - cost) / unit, 0.0, None) for body, cost, unit in self._curved(model)]
        energy = sum(float(w) * model.x[j] ** 2 for j, w in enumerate(self.unknowns.weights))
        best, empty = None, 0.0
        for reach in _BOXES:
            for var in model.x.values():
                var.setlb(-reach)
                var.setub(reach)
            try:
                program = Program(energy, rows)
            except BadRow:
                break
            left = self.until - time.monotonic()
            solution = solve(program, "scip", time_limit=max(left, 1.0) if math.isfinite(left) else None)
            empty = reach if solution.termination is Termination.INFEASIBLE else empty
            point = _sharpened(program, solution.x) if solution.termination is Termination.OPTIMAL else None
            if point is not None:
                best, self.bound = program.levels(point), solution.bound
                if solution.bound <= self.unknowns.weights.min() * reach**2:  # beyond the box all cost more
                    break
        if best is None:
            self.excluded = Excluded([], empty)
            return None
        whole = np.array([best.get(id(model.x[j]), 0.0) for j in range(count)])
        return self.unknowns.candidate(whole, self.shape)

    def take(self, deviation: Deviation) -> None:
        """Add what a deviation asks for."""
        lever = self.levers[deviation.follower]
        if deviation.limit or lever.is_linear:
            super().take(deviation)
            return
        self.points.append((lever, lever.point(deviation.action)))

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


def _sharpened(program: Program, point: Array | None) -> Array | None:
    """A global solver's answer, made exact by an NLP solver from there on; None if neither meets the rows."""
    if point is None:
        return None
    cost, (floor, ceiling) = program.problem.objective, program.row_bounds

    def met(answer: Array) -> bool:
        body, room = np.asarray(program.problem.constraints(answer)), 1.0 + np.abs(answer).max()
        return bool((np.maximum(floor - body, body - ceiling) <= TOLERANCES.feasibility * room).all())

    sharp, holds = solve(program.variant(start=point), "auto").answer, met(point)
    if sharp is not None and met(sharp) and (not holds or cost(sharp) <= (1.0 + TOLERANCES.margin) * cost(point)):
        return np.asarray(sharp)
    return point if holds else None


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
