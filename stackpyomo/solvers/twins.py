"""Twins: a program in natural units, for solvers whose tolerances know no units.

A solver meets rows to 1e-6 and closes gaps to 1e-9, whatever a user measures in. A program whose numbers are far from
1 is therefore solved as its twin: x = step · y, rows divided by their scale, f = level + unit · g, with the steps and
scales of :mod:`stackpyomo.core.scales` rounded to powers of 2, so that nothing is rounded. Answers come back in the
user's units, and are judged there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.expr.numeric_expr import SumExpression

from stackpyomo.core import TOLERANCES, Array, Scales, bounds_of
from stackpyomo.core.expressions import substituting

from .array_programs import ArrayProgram
from .certificates import violations
from .parts import copies_between, free_row
from .program import BadRow, Program, scales_of
from .solution import Solution

_Range = tuple[int, int]

# Powers of 2 within which a unit is as good as 1, that of the objective last: for global solvers, whose bounds are no
# better than what they take for nothing (of an objective 1e-6 of its unit), and for those that scale problems
# themselves, whom large numbers only make more accurate.
_PLAIN: dict[bool, tuple[_Range, _Range]] = {True: ((-2, 10), (-4, 14)), False: ((-10, 20), (-10, 20))}

_STRETCHED = 2.0**30
_UNEVEN = 2.0**12  # Where units lie farther apart a global solver's linear programs may lose points.

_FAR = 2.0**16  # How many times as wide as the reach that an answer tells a box may be before the answer is too rough.


@dataclass(frozen=True)
class Twin:
    """A program in natural units, and the way there and back."""

    program: Program
    columns: Array  #: For each variable of the twin its number in the program it stands for.
    rows: Array  #: For each row of the twin the same.
    steps: Array  #: (variables of the program) x = step · y.
    units: Array  #: (rows of the program) what each is divided by.
    unit: float  #: What the objective is divided by.
    level: float  #: What is taken from it first.
    rest: Array  #: Where variables stand that the twin does not hold.

    @property
    def is_stretched(self) -> bool:
        """Whether its variables' units lie too far apart for one tolerance."""
        return _spread(self.steps) > _STRETCHED

    @property
    def is_uneven(self) -> bool:
        """Whether its variables' units lie so far apart that one opinion of a global solver is not enough."""
        return _spread(self.steps) > _UNEVEN

    @property
    def is_rough(self) -> bool:
        """Whether an entry of its rows may be so small that a solver takes it for nothing, and a row for broken.

        Those of affine rows are known; of others as much as units lie apart is thought possible.
        """
        if self.program.is_linear:
            return _spread(self._entries) > _STRETCHED
        return _spread(self.steps) * _spread(self.units) > _STRETCHED

    @property
    def is_torn(self) -> bool:
        """Whether its units lie so far apart that what is 1 in one of them is nothing in a row that has another.

        Of a box of 1e12 a cost of 2 is 2e-12: SCIP drops that, and proves what is left.
        """
        limits = np.abs(np.concatenate(self.program.row_bounds))
        small = limits[(limits > 0.0) & np.isfinite(limits)]
        return self.is_stretched and _spread(np.append(self._entries, small)) > _STRETCHED

    @property
    def _entries(self) -> Array:
        """Those of its rows that are not 0, and 1."""
        entries = np.abs(self.program.jacobian(self.program.problem.x0).data)
        return np.append(entries[entries > 0.0], 1.0)

    def of(self, program: Program, start: Array | None) -> Program:
        """The twin of this variant of the program."""
        start = program.start if start is None else start
        if start is None and "bounds" not in program.__dict__ and "row_bounds" not in program.__dict__:
            return self.program
        steps, units = self.steps[self.columns], self.units[self.rows]
        point = np.asarray(program.problem.x0 if start is None else start)
        return self.program.variant(
            point[self.columns] / steps,
            bounds=tuple(side[self.columns] / steps for side in program.bounds),  # type: ignore[arg-type]
            row_bounds=tuple(side[self.rows] / units for side in program.row_bounds),  # type: ignore[arg-type]
        )

    def back(self, solution: Solution) -> Solution:
        """A solution of the twin in the units of the program."""
        x = duals = None
        if solution.x is not None:
            x = self.rest.copy()
            x[self.columns] = solution.x * self.steps[self.columns]
        if solution.duals is not None:
            duals = np.zeros(len(self.units))
            duals[self.rows] = solution.duals * self.unit / self.units[self.rows]
        return replace(solution, x=x, duals=duals, bound=self.level + self.unit * solution.bound)


def twin(program: Program, exact: bool) -> Twin | None:
    """The program's twin, made once for all its variants; None where its numbers are near 1 as they are.

    exact: for a global solver, whose bound is no better than its tolerances.
    """
    key = f"twin {exact}"
    if key not in program.kept:
        middle = _middle(program)
        with np.errstate(all="ignore"):
            body = np.asarray(program.problem.constraints(middle)) if program.problem.m else np.zeros(0)
            missing = np.nan_to_num(violations(body, *program.row_bounds), nan=0.0, posinf=0.0)
            units = scales_of(program, middle, missing=np.append(0.0, missing))
        program.kept[key] = _made(program, _PLAIN[exact], middle, units)
    return program.kept[key]  # type: ignore[no-any-return]


def closer(program: Program, x: Array) -> Twin | None:
    """The twin in the units of an answer, where bounds that lie far out told wider ones."""
    lower, upper = program.bounds
    width = np.where(np.isfinite(upper - lower), upper - lower, 0.0)
    if not (width > _FAR * TOLERANCES.reach * np.abs(x)).any():
        return None
    with np.errstate(all="ignore"):
        units = scales_of(program, x, accuracy=0.0)
    return _made(program, ((0, 0), (0, 0)), x, units) if (width > _FAR * units.reaches).any() else None


def _made(program: Program, plain: tuple[_Range, _Range], point: Array, units: Scales) -> Twin | None:
    problem = program.problem
    with np.errstate(all="ignore"):
        steps, sizes = _powers(units.reaches, plain[0]), _powers(units.of_rows(), plain[0])
        sizes[:1] = _powers(units.of_rows()[:1], plain[1])
        level = float(problem.objective(point))
    steps[[not v.is_continuous() for v in program.variables]] = 1.0
    level = level if math.isfinite(level) and abs(level) > 2.0 ** plain[0][1] * sizes[0] else 0.0
    if not level and (steps == 1.0).all() and (sizes == 1.0).all():
        return None
    if isinstance(program, ArrayProgram):
        scaled = program.in_units(steps, sizes[1:], float(sizes[0]), level)
        columns, rows = np.arange(problem.n), np.arange(problem.m)
        return Twin(scaled, columns, rows, steps, sizes[1:], float(sizes[0]), level, np.zeros(problem.n))
    try:
        return _written(program, steps, sizes[1:], float(sizes[0]), level)
    except BadRow:
        return None


def _spread(units: Array) -> float:
    return float(units.max(initial=1.0) / units.min(initial=1.0))


def _middle(program: Program) -> Array:
    """Between two bounds; elsewhere the point next to 0, for what a start is says nothing of a multiplier's size."""
    lower, upper = program.bounds
    with np.errstate(invalid="ignore"):
        between = (lower + upper) / 2.0
    return np.where(np.isfinite(between), between, np.clip(0.0, lower, upper))


def _powers(sizes: Array, plain: tuple[int, int]) -> Array:
    """Powers of 2 next to these, 1 where they are near 1, 0 or not finite."""
    with np.errstate(divide="ignore"):
        exponents = np.round(np.log2(sizes))
    return np.where(np.isfinite(exponents) & ((exponents < plain[0]) | (exponents > plain[1])), np.exp2(exponents), 1.0)


def _written(program: Program, steps: Array, units: Array, unit: float, level: float) -> Twin:
    holder = pyo.ConcreteModel(name="natural units")
    bounds = np.array([bounds_of(v) for v in program.variables]).reshape(-1, 2)
    copies = copies_between(holder, program.variables, *(bounds / steps[:, np.newaxis]).T)
    for own, step, start in zip(copies, steps.tolist(), program.problem.x0, strict=True):
        own.set_value(start / step, skip_validation=True)
    table = dict(zip(map(id, program.variables), copies, strict=True))
    walk = substituting({key: step * own for (key, own), step in zip(table.items(), steps.tolist(), strict=True)})
    rows = [program.model.rows[int(number)] for number in program.rows]
    limits = ((row, size, row.lb, row.ub) for row, size in zip(rows, units.tolist(), strict=True))
    given = [
        free_row(_divided(walk(row.body), size), *(None if side is None else side / size for side in sides))
        for row, size, *sides in limits
    ]
    sets = [(table[id(one)], table[id(other)]) for one, other in program.sets]
    twin = Program(_divided(walk(program.model.objective.expr) - level, unit), given, sets=sets)
    place = {id(own): i for i, own in enumerate(copies)}
    rest = np.asarray(program.problem.x0, dtype=float)
    columns = np.array([place[id(v)] for v in twin.variables], dtype=int)
    return Twin(twin, columns, twin.rows, steps, units, unit, level, rest)


def _divided(expression: Any, unit: float) -> Any:
    """The expression over its unit, term by term.

    A sum of small numbers that is divided as a whole stays one of small numbers to SCIP, which takes them for nothing.
    """
    if isinstance(expression, SumExpression):
        return sum(_divided(term, unit) for term in expression.args)
    return expression / unit
