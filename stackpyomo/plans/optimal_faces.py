"""Optimal faces: the infimum of a leader who expects the worst answers, as one program without a loop.

For followers of linear or convex quadratic cost whose rows and slopes are affine,

    f = ½ yᵀH y + c(x)·y,    Y(x) = {y: g_i(x, y) ≥ 0},    S(x) = {y ∈ Y(x): H y = H ȳ, g_i(x, y) = 0 for i ∈ N},

ȳ any best answer and N the rows that have a multiplier π_i > 0 (Mangasarian 1988). The worst y ∈ S(x) has multipliers
∇F + Σ (α_i − β_i) ∇g_i + H ω = 0 with α, β ≥ 0, α_i g_i = 0 and β on N alone, where it may be as large as one likes:
τ times the follower's multipliers at a leader x°, ξ = τ x°, who has an answer y° on the same face, υ = τ y°,

    inf ψ = min F(x, y)  s.t.  H y + c(x) = Σ π_i ∇g_i,         0 = π_i g_i(x, y) = α_i g_i(x, y) = β_i g_i(x, y),
                               H υ + τ c(ξ/τ) = Σ β_i ∇g_i,     0 = π_i τ g_i(ξ/τ, υ/τ) = β_i τ g_i(ξ/τ, υ/τ),

with nothing that is not affine but these products. On the way from x to x° the face stays the optimal one and its worst
answer moves continuously, so that ψ comes to F(x, y) there; and x° = x gives every ψ(x). The infimum is exact, reached
or not.

Ties of a width ε are no face: S_ε(x) = {y ∈ Y(x): f(x, y) ≤ f(x, ȳ) + ε} has an interior, a multiplier τ of its level,
∇F + Σ α_i ∇g_i − τ ∇f = 0, and is least where ȳ ∈ Y(x) is a best answer, as a leader who fears it chooses ȳ to be.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo

from stackpyomo.bilevel import Choices, Polyhedron, Written, copied, substituted
from stackpyomo.core import TOLERANCES, Array, bounds_of
from stackpyomo.core.expressions import partials
from stackpyomo.solvers import BadRow, Program, Solution, Termination, choose, free_row, solve

from .answer_sets import Affine, Kind
from .linear_answers import Side, affine_sides, gaps
from .worst_answers import Goal, WorstAnswers

# Parts of the way from x to x° at which a leader is looked at.
_STEPS = (0.0, 1e-1, 1e-2, TOLERANCES.weak, TOLERANCES.early, TOLERANCES.snap)


@dataclass(frozen=True)
class FaceAnswer:
    """How the program ended: a bound on the infimum, and leaders who come to it, or nearer and nearer."""

    solutions: tuple[Solution, ...]  #: Of the program without the rows of y°, of the whole one where that did not do.
    bound: float
    leaders: tuple[dict[int, float], ...] = ()  #: {id(leader's Var): value}; the first is the x of the infimum.


class OptimalFaces:
    """The program of one game; :meth:`of` writes down its data where everything is affine that has to be."""

    def __init__(self, worst: WorstAnswers, sides: list[Side], slopes: dict[int, Affine], width: float) -> None:
        self.worst, self.sides, self.slopes, self.width = worst, sides, slopes, width
        self.reaches = _reaches(worst)
        self.quadratic = [a for a in worst.answers if a.kind is Kind.QUADRATIC]
        leading = {id(v) for v in worst.leading}
        rows_move = any(leading & side.gap.slopes.keys() for side in sides if side.owned)
        moving = bool(self.quadratic) or any(leading & slope.slopes.keys() for slope in slopes.values())
        self.shifts = moving and not width  #: Whether x° may have to be another leader than x.
        #: Whether y° has to be asked for: while no row moves there is one.
        self.answers = self.shifts and (rows_move or bool(self.quadratic))

    @classmethod
    def of(cls, worst: WorstAnswers, width: float) -> OptimalFaces | None:
        """The program of ties of this width; None where a cost is not linear or quadratic, or rows are not affine."""
        reaches = _reaches(worst)
        slopes: dict[int, Affine | None] = {}
        for answers in worst.answers:
            if answers.kind not in (Kind.LINEAR, Kind.QUADRATIC):
                return None
            own = answers.follower.variables
            affine = [Affine.of(slope) for slope in partials(answers.cost, own)]
            unit = _steepest(affine, reaches)
            slopes.update((id(v), slope and slope.over(unit)) for v, slope in zip(own, affine, strict=True))
        sides = affine_sides(worst.answers, worst.defining)
        if sides is None or None in slopes.values():
            return None
        known = {key: slope for key, slope in slopes.items() if slope is not None}
        return cls(worst, sides, known, width)

    def least(self, low: float, high: float, gap: float, *, until: float = math.inf, tight: bool = False) -> FaceAnswer:
        """The infimum, which is known to lie between these; ``tight``: rows met as closely as the solver can.

        Without the rows of y° the program has little more than half the pairs, and is a relaxation: its bound is the
        infimum where the whole program has a point at its x that comes to it but for ``gap``.
        """
        written = _Written(self, low, high)
        solutions: list[Solution] = []
        levels: dict[int, float] | None = None
        for beside in (False, True) if self.answers else (True,):
            try:
                program = written.program(written.model.level + 0.0, beside=beside)
            except BadRow as bad:
                return FaceAnswer((_without_end(bad),), math.nan)
            solution = _solved(program, until, tight=tight)
            solutions.append(solution)
            if solution.x is None:
                break
            levels = program.levels(solution.x)
            if not beside:
                levels = written.completed(levels, until)
            if levels is not None and not program.is_linear:
                levels = written.polished(levels)
            if levels is not None and levels[id(written.model.level)] <= solution.bound + gap:
                break
        leaders = () if levels is None else written.leaders(levels)
        return FaceAnswer(tuple(solutions), max(solution.bound for solution in solutions), tuple(leaders))

    def is_only(self, near: Mapping[int, float], rooms: Mapping[int, float], high: float, until: float) -> bool:
        """True if no leader farther than these from ``near`` comes to ``high`` at most, proved."""
        written = _Written(self, -math.inf, high)
        ways = []
        for key, var in written.leader.items():
            for sign, end in zip((1.0, -1.0), bounds_of(var), strict=True):  # each is farthest from it at the other end
                excess = near[key] + sign * rooms[key] - var
                ways.append(((sign * excess,), rooms[key] + abs(near[key] - end)))
        written.main.add(Choices(written.model).one_of(ways))
        return _solved(written.program(0.0, beside=False), until).termination is Termination.INFEASIBLE


def _solved(program: Program, until: float, *, tight: bool = False) -> Solution:
    """SCIP's answer; a linear program is met tightly, and by branching alone: 2 to 5 times as fast (50 pairs)."""
    left, scip = until - time.monotonic(), choose("scip")
    options = {**scip.tight, **scip.bare} if program.is_linear else scip.tight if tight else {}
    return solve(program, "scip", options=options, time_limit=max(left, 1.0) if math.isfinite(left) else None)


def _without_end(bad: BadRow) -> Solution:
    """A goal's slope in an action that nothing holds: its worst answer has no end, whatever the leader does."""
    if not bad.contradiction:
        raise bad
    return Solution(Termination.INFEASIBLE, "the worst answer is unbounded", solver="rows")


def _corner(program: Program, zeros: list[int], lower: Array, upper: Array) -> Array | None:
    """Where the cost of a linear program is least between these bounds with these variables at 0; None: not known."""
    if not program.is_linear or not all(v.is_continuous() for v in program.variables):
        return None
    lower, upper, origin = lower.copy(), upper.copy(), np.zeros(len(program.variables))
    lower[zeros] = upper[zeros] = 0.0
    levels, (floor, ceiling) = np.asarray(program.problem.constraints(origin)), program.row_bounds
    piece = Polyhedron(program.jacobian(origin), floor - levels, ceiling - levels, lower, upper)
    least, _, corners = piece.ends(np.asarray(program.problem.gradient(origin)))
    return corners[0] if math.isfinite(least) else None


def _reaches(worst: WorstAnswers) -> dict[int, float]:
    """Leader variables with two bounds, and how far these are apart."""
    return {id(v): high - low for v in worst.leading for low, high in [bounds_of(v)] if high - low < math.inf}


def _steepest(slopes: Iterable[Affine | None], reaches: Mapping[int, float]) -> float:
    """The size of the largest slope, 1 where none has any."""
    return max((slope.size(reaches) for slope in slopes if slope is not None), default=0.0) or 1.0


class _Written:
    """The program's variables, rows, and pairs of which one has to be 0."""

    def __init__(self, faces: OptimalFaces, low: float, high: float) -> None:
        self.faces, self.worst = faces, faces.worst
        self.model, self.leader, rows = self.worst.posed("optimal faces", low, high)
        self.model.scale = pyo.Var(bounds=(0.0, None))
        self.main, self.beside = Written(rows), Written()  #: The rows and pairs of all but y°, and of y°.
        self.first: dict[int, Any] = {}
        self.prices: dict[int, Any] = {}
        self.steep: dict[int, Any] = {}
        if faces.width:
            self.witness = {**self.leader, **copied(self.model, self.worst.actions, "witness")}
            self._write_slacks(self.main, "witness_slack", self.witness, 1.0, [])
        else:
            self.prices, self.steep = self._multipliers("prices"), self._multipliers("steep")
            self._write_shifted()
        for number, goal in enumerate(self.worst.goals()):
            self._write_worst(f"answer{number}", goal)

    def program(self, cost: Any, *, beside: bool = True) -> Program:
        """The program with this cost; ``beside``: with the rows of y°."""
        written = Written([*self.main.rows], [*self.main.sets])
        if beside:
            written.add(self.beside)
        return Program(cost, written.rows, sets=written.sets)

    def completed(self, levels: Mapping[int, float], until: float) -> dict[int, float] | None:
        """A point of all rows with the x and η of this one, if there is any: the one of least τ, as its face remains
        the optimal one farthest from x."""
        program = self.program(self.model.scale + 0.0)
        fixed = {id(v) for v in (*self.leader.values(), self.model.level)}
        lower, upper = (side.copy() for side in program.bounds)
        place = {id(v): number for number, v in enumerate(program.variables)}
        known = [place[key] for key in fixed if key in place]
        lower[known] = upper[known] = [levels[id(program.variables[number])] for number in known]
        answer = _corner(program, self._zeros(levels, place), lower, upper)
        if answer is None:
            answer = _solved(program.variant(bounds=(lower, upper)), until).answer
        return None if answer is None else program.levels(answer)

    def _zeros(self, levels: Mapping[int, float], place: Mapping[int, int]) -> list[int]:
        """Numbers of what is 0 at these levels: of each pair the multiplier, or the slack where that is smaller.

        Of a pair of y° the multiplier where it is 0, else the slack.
        """
        zeros = {}
        for slack, multiplier in self.main.sets:
            pushes = levels.get(id(multiplier), 0.0) > max(levels.get(id(slack), 0.0), TOLERANCES.noise)
            zeros[id(slack if pushes else multiplier)] = slack if pushes else multiplier
        zeros |= {id(slack): slack for slack, multiplier in self.beside.sets if id(multiplier) not in zeros}
        return [place[key] for key in zeros if key in place]

    def polished(self, levels: Mapping[int, float]) -> dict[int, float]:
        """The same point to more digits where it is curved: the smaller of each pair at 0, whole numbers held."""
        program = self.program(self.model.level + 0.0)
        place = {id(v): number for number, v in enumerate(program.variables)}
        x = np.array([levels[id(v)] for v in program.variables])
        lower, upper = (side.copy() for side in program.bounds)
        for pair in (*self.main.sets, *self.beside.sets):
            number = min((place[id(var)] for var in pair if id(var) in place), key=lambda i: abs(x[i]))
            lower[number] = upper[number] = 0.0
        whole = [number for number, v in enumerate(program.variables) if not v.is_continuous()]
        lower[whole] = upper[whole] = np.round(x[whole])
        answer = solve(program.variant(np.clip(x, lower, upper), bounds=(lower, upper)), "auto").answer
        return dict(levels) if answer is None else program.levels(answer)

    def leaders(self, levels: Mapping[int, float]) -> Iterator[dict[int, float]]:
        """Leaders on the way from x to x°, as far as there is one."""
        start = {key: levels.get(id(var), 0.0) for key, var in self.leader.items()}
        scale = levels.get(id(self.model.scale), 0.0)
        if not self.faces.shifts or scale <= TOLERANCES.noise:
            yield start
            return
        end = {key: levels.get(id(var), 0.0) / scale for key, var in self.shifted.items()}
        for step in _STEPS:
            yield {key: level + step * (end[key] - level) for key, level in start.items()}

    def _free(self, name: str, keys: Sequence[Any]) -> dict[Any, Any]:
        """A new Var without bounds for each of these."""
        family = pyo.Var(range(len(keys)))
        self.model.add_component(name, family)
        return dict(zip(keys, family.values(), strict=True))

    def _multipliers(self, name: str, *, owned: bool = True) -> dict[int, Any]:
        """number of a side → its multiplier, ≥ 0 but of equalities; ``owned``: of the followers' own sides alone."""
        chosen = [number for number, side in enumerate(self.faces.sides) if side.owned or not owned]
        multipliers = self._free(name, chosen)
        for number, var in multipliers.items():
            var.setlb(None if self.faces.sides[number].equality else 0.0)
        return multipliers

    def _write_shifted(self) -> None:
        """ξ and υ: a leader with the multipliers ``steep``, and an answer to it on the face that is described."""
        faces, scale, leading = self.faces, self.model.scale, self.worst.leading
        table: dict[int, Any] = {}
        if faces.shifts:
            self.shifted = self._free("shifted", list(map(id, leading)))
            table.update(self.shifted)
            for part in (*self.worst.plain, *leading):
                for gap, equality in gaps(getattr(part, "body", part), part):
                    if (affine := Affine.of(gap)) is not None and affine.slopes:  # a curved row asks nothing of x°
                        self.main.rows.append(_signed(affine.at(table, scale), equality))
            self.main.rows += [table[id(v)] == scale * self.leader[id(v)] for v in leading if not v.is_continuous()]
        if faces.answers:
            table.update(self._free("shifted_answer", list(map(id, self.worst.actions))))
            self._write_slacks(self.beside, "shifted_slack", table, scale, [self.steep, self.prices])
        self._write_stationary(self.steep, table, scale)

    def _write_worst(self, name: str, goal: Goal) -> None:
        """The answer on the face that is worst for one goal; the first of them has the followers' own multipliers."""
        table = {**self.leader, **copied(self.model, self.worst.actions, name)}
        spare = self._multipliers(f"{name}_spare", owned=False)
        self._write_slacks(self.main, f"{name}_slack", table, 1.0, [spare, self.steep, self.prices])
        slopes = partials(goal.body, self.worst.actions)
        # Multipliers have no size that a solver could read off: they are in units of the goal's steepest slope.
        unit = _steepest(map(Affine.of, slopes), self.faces.reaches)
        pulls = {id(v): substituted(slope, table) / unit for v, slope in zip(self.worst.actions, slopes, strict=True)}
        for number, alpha in spare.items():
            for key, slope in self.faces.sides[number].gap.slopes.items():
                if key in pulls:
                    pulls[key] += slope * (alpha - self.steep.get(number, 0.0))
        if self.faces.width:
            self._write_levels(name, table, pulls)
        else:
            self._write_along(name, table, pulls)
        self.main.rows += [_signed(pull, True) for pull in pulls.values()]
        if not (self.first or self.faces.width):
            self.first = table
            self._write_stationary(self.prices, table, 1.0)
        self.main.rows.append(free_row(goal.excess(table, self.model.level), None, 0.0))

    def _write_along(self, name: str, table: Mapping[int, Any], pulls: dict[int, Any]) -> None:
        """H y = H ȳ of quadratic followers: multipliers ω, and the rows of all answers but the first."""
        for number, answers in enumerate(self.faces.quadratic):
            own = list(map(id, answers.follower.variables))
            along = self._free(f"{name}_along{number}", own)
            for key, row in zip(own, answers.hessian, strict=True):
                pulls[key] += sum(float(h) * along[other] for h, other in zip(row, own, strict=True) if h)
                if self.first:
                    moved = ((h, table[other] - self.first[other]) for h, other in zip(row, own, strict=True))
                    self.main.rows.append(_signed(sum(float(h) * step for h, step in moved), True))

    def _write_levels(self, name: str, table: Mapping[int, Any], pulls: dict[int, Any]) -> None:
        """f(x, y) ≤ f(x, ȳ) + ε of each follower, with its multiplier τ."""
        for number, answers in enumerate(self.worst.answers):
            level = self._free(f"{name}_level{number}", ["weight", "room"])
            for var in level.values():
                var.setlb(0.0)
            self.main.sets.append((level["weight"], level["room"]))
            more = substituted(answers.cost, table) - substituted(answers.cost, self.witness)
            self.main.rows.append(_signed(self.faces.width - more - level["room"], True))
            for var in answers.follower.variables:
                pulls[id(var)] -= level["weight"] * self.faces.slopes[id(var)].at(table)

    def _write_slacks(
        self, written: Written, name: str, table: Mapping[int, Any], scale: Any, multipliers: Sequence[Any]
    ) -> None:
        """The sides hold at a point, and where one has room its multipliers are 0."""
        slacks = self._free(name, [n for n, side in enumerate(self.faces.sides) if not side.equality])
        for number, side in enumerate(self.faces.sides):
            level = side.gap.at(table, scale)
            if number in slacks:
                slacks[number].setlb(0.0)
                written.sets += [(slacks[number], group[number]) for group in multipliers if number in group]
                level = level - slacks[number]
            written.rows.append(_signed(level, True))

    def _write_stationary(self, multipliers: Mapping[int, Any], table: Mapping[int, Any], scale: Any) -> None:
        """Slopes of the followers' costs = Σ multiplier · slope of its side."""
        rows = {key: slope.at(table, scale) for key, slope in self.faces.slopes.items()}
        for number, multiplier in multipliers.items():
            for key, slope in self.faces.sides[number].gap.slopes.items():
                if key in rows:
                    rows[key] -= slope * multiplier
        self.main.rows += [_signed(row, True) for row in rows.values()]


def _signed(level: Any, equality: bool) -> Any:
    """level = 0, or level ≥ 0."""
    return free_row(level, 0.0, 0.0 if equality else None)
