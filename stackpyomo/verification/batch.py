"""Separable problems: many followers' re-solves in one, each from a start of its own, and what its answer proves.

Nobody's variables meet anybody else's, so that what is shown of one does not depend on the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.core.expressions import Substitution
from stackpyomo.solvers import BadRow, Program, Solution, free_row, solve

from .best_response import Composed
from .measures import terms_of_slopes

_FEW = 500  # Variables and rows of a program up to which multipliers are worked out to see whether it has to be solved.


@dataclass
class Task:
    """Re-solve one follower from one starting point."""

    problem: Composed
    start: list[float]
    first: bool  #: The start at the plan; the others are random.


class Separable:
    """min Σ cost over all tasks: nobody's variables meet anybody else's.

    A task whose units are far from 1 is written in its natural ones (``scaled``: every task), in which its cost is
    divided by its scale; what a solver calls near 0 is then near 0.
    """

    def __init__(self, tasks: list[Task], *, scaled: bool = False) -> None:
        self.tasks = tasks
        self._copies = pyo.ConcreteModel(name="copies")
        self._copies.own = pyo.VarList()
        seen: set[int] = set()
        self.owned: list[list[Any]] = []
        costs, rows = [], []
        self._row_owners: list[int] = []
        #: Each task's unit of cost and of its variables in the program.
        self.units: list[tuple[float, list[float]]] = []
        for number, task in enumerate(tasks):
            problem = task.problem
            whole = problem.home or problem  # pieces of one projected strategy are written in the same variables
            natural = scaled or problem.is_awkward
            again = id(whole) in seen or natural
            seen.add(id(whole))
            unit, reaches = (problem.unit, problem.reaches) if natural else (1.0, [1.0] * len(problem.variables))
            reaches = [1.0 if not v.is_continuous() else r for v, r in zip(problem.variables, reaches, strict=True)]
            own, cost, constraints = problem.variables, problem.cost, problem.rows
            if again:
                own, cost, constraints = self._fresh(problem, unit, reaches, natural=natural)
            for var, value, reach in zip(own, task.start, reaches, strict=True):
                var.set_value(value / reach, skip_validation=True)
            self.owned.append(own)
            self.units.append((unit, reaches))
            costs.append(cost)
            rows += constraints
            self._row_owners += [number] * len(constraints)
        self.scaled = all(task.problem.is_awkward for task in tasks) or scaled
        self.program: Program | None = None
        self.trouble = ""
        self._cost, self._rows = pyo.quicksum(costs), rows
        try:
            self.program = Program(self._cost, self._rows)
        except BadRow as bad:
            self.trouble = bad.reason

    def _fresh(
        self, problem: Composed, unit: float, reaches: Sequence[float], *, natural: bool
    ) -> tuple[list[Any], Any, list[Any]]:
        """(variables, cost, rows) in variables of its own: of one that appears again, or is written in other units."""
        own = []
        for var, reach in zip(problem.variables, reaches, strict=True):
            copy = self._copies.own.add()
            if not var.is_continuous():
                copy.domain = var.domain
            copy.setlb(None if var.lb is None else var.lb / reach)
            copy.setub(None if var.ub is None else var.ub / reach)
            own.append(copy)
        stands = (c if reach == 1.0 else reach * c for c, reach in zip(own, reaches, strict=True))
        visitor = Substitution(substitute={id(v): stand for v, stand in zip(problem.variables, stands, strict=True)})
        cost = visitor.walk_expression(problem.cost)
        rows = []
        for row, size in zip(problem.rows, problem.row_scales, strict=True):
            size = size if natural else 1.0
            limits = (None if limit is None else limit / size for limit in (row.lb, row.ub))
            body = visitor.walk_expression(row.body)
            rows.append(free_row(body if size == 1.0 else body / size, *limits))
        return own, cost if unit == 1.0 else cost / unit, rows

    def solve(self, solver: str, options: Mapping[str, Any], time_limit: float | None = None) -> Solution | None:
        """The solver's answer; None if there is no such problem (``trouble`` says why)."""
        return None if self.program is None else solve(self.program, solver, options=options, time_limit=time_limit)

    def solve_without_idle(self, solver: str, time_limit: float | None = None) -> Solution | None:
        """The solver's answer where idle actions stay where they start; None where there are none, or nothing else.

        A solver takes its scale from what is dearest, and leaves them beside their bounds, where that costs more than
        all the rest. What is proved of the answer (:meth:`doubtful`) holds for them, too.
        """
        idle = [own[n] for task, own in zip(self.tasks, self.owned, strict=True) for n in task.problem.idle]
        if self.program is None or not idle or len(idle) == len(self.program.variables):
            return None
        for var in idle:
            var.fix()
        try:
            rest = Program(self._cost, self._rows)
            solution = solve(rest, solver, time_limit=time_limit)
        except BadRow:
            return None
        finally:
            for var in idle:
                var.unfix()
        if solution.x is None:
            return None
        levels = rest.levels(solution.x)
        x = np.array([levels.get(id(v), v.value) for v in self.program.variables])
        return replace(solution, x=x, duals=None, bound=math.nan)  # what bounds the rest does not bound the whole

    def points(self, solution: Solution) -> Iterator[list[float]]:
        """Each task's answer; variables that no term holds stay at the start."""
        assert self.program is not None
        assert solution.x is not None
        levels = self.program.levels(solution.x)
        for task, own, (_, reaches) in zip(self.tasks, self.owned, self.units, strict=True):
            yield [
                s if id(v) not in levels else levels[id(v)] * reach
                for v, s, reach in zip(own, task.start, reaches, strict=True)
            ]

    def _owners(self) -> Array:
        """For each variable of the program the number of its task."""
        assert self.program is not None
        owner = {id(v): number for number, own in enumerate(self.owned) for v in own}
        return np.array([owner[id(v)] for v in self.program.variables], dtype=int)

    def closed(self) -> list[int]:
        """Numbers of the tasks whose proof closes where they start, at the plan: no re-solve could find more.

        A solver would not tell what is left of the gap from 0. Multipliers of many rows are dearer than a solve.
        """
        program = self.program
        able = [n for n, t in enumerate(self.tasks) if t.first and t.problem.certificate == "convex"]
        able = [n for n in able if self.tasks[n].problem.home is None]
        if program is None or not able or (program.problem.m and program.problem.n + program.problem.m > _FEW):
            return []
        start = np.array([v.value for v in program.variables], dtype=float)
        if not np.isfinite(program.problem.gradient(start)).all():
            return []
        duals = program.recovered_duals(start) if program.problem.m else np.zeros(0)
        row_owners = np.array(self._row_owners, dtype=int)[program.rows]
        gap = self._gap(self._proved(start, duals), row_owners)
        left = [number for number in able if not gap[number] <= TOLERANCES.closed]
        if left and not np.isfinite(program.bounds).all():
            rounding = self._rounding(left)
            gap = np.fmin(gap, self._gap(self._proved(start, duals, rounding), row_owners))
        return [number for number in able if gap[number] <= TOLERANCES.closed]

    def _proved(self, x: Array, duals: Array, rounding: Any = 0.0) -> tuple[Array, Array]:
        """What may still be gained, over no less than the reach of an action whose cost falls far out."""
        assert self.program is not None
        far = {
            id(own[number]): problem.reaches[number] / reaches[number]
            for problem, own, (_, reaches) in zip((t.problem for t in self.tasks), self.owned, self.units, strict=True)
            for number in problem.outward
        }
        least = np.array([far.get(id(v), 0.0) for v in self.program.variables])
        trust = TOLERANCES.trust * (np.maximum(1.0, least / self.program.units(x)[0]) if far else 1.0)
        return self.program.proved_gaps(x, duals, trust, rounding)

    def _rounding(self, numbers: Sequence[int]) -> Array:
        """(variables of the program) what the slopes of these tasks' costs may be off by at the plan; 0 of others.

        The announced slope is to cancel the follower's own, and cancels it but for the rounding of its terms.
        """
        assert self.program is not None
        off: dict[int, float] = {}
        for number in numbers:
            (unit, reaches), terms = self.units[number], terms_of_slopes(self.tasks[number].problem)
            sizes = TOLERANCES.rounding * terms * np.array(reaches) / unit
            off |= {id(v): size for v, size in zip(self.owned[number], sizes.tolist(), strict=True)}
        return np.array([off.get(id(v), 0.0) for v in self.program.variables])

    def doubtful(self, solution: Solution, tolerance: float) -> dict[int, str]:
        """Task number → what is wrong with its answer: infeasible, or (if convex) not proved optimal.

        The proof is the duality gap at the answer, each task's own: a scaling common to all could hide one that has
        not converged, and "solved" is only the solver's word.
        """
        program = self.program
        assert program is not None
        assert solution.x is not None
        duals = program.recovered_duals(solution.x) if solution.duals is None else solution.duals
        residuals = program.residuals(solution.x, duals)
        owners = self._owners()
        row_owners = np.array(self._row_owners, dtype=int)[program.rows]
        gaps = self._proved(solution.x, duals)
        gap, total = self._gap(gaps, row_owners), self._total(gaps, row_owners)
        outside = np.zeros(len(self.tasks))
        np.maximum.at(outside, row_owners, residuals.outside_rows)
        np.maximum.at(outside, owners, residuals.outside_bounds)
        wrong: dict[int, str] = {}
        for number, (task, point) in enumerate(zip(self.tasks, self.points(solution), strict=True)):
            if outside[number] > TOLERANCES.feasibility:
                wrong[number] = f"it violates its constraints by {outside[number]:.1e}"
            elif task.problem.certificate == "convex" and not gap[number] <= tolerance:
                if len(self.tasks) == 1:
                    gap[number] = min(gap[number], self._sharper_gap(solution.x))
                if not (gap[number] <= tolerance or _is_behind(task.problem, point, total[number])):
                    wrong[number] = f"up to {gap[number]:.1e} of its scale could still be gained"
        return wrong

    def _gap(self, gaps: tuple[Array, Array], row_owners: Array) -> Array:
        """What each task can still gain, each variable's part relative to what is at stake in it.

        A steep variable hides nothing in another; a row counts by the largest stake of the variables it holds.
        """
        program = self.program
        assert program is not None
        stake = {
            id(v): s / unit
            for task, own, (unit, _) in zip(self.tasks, self.owned, self.units, strict=True)
            for v, s in zip(own, task.problem.stakes, strict=True)
        }
        stakes, steep = np.array([stake[id(v)] for v in program.variables]), np.zeros(program.problem.m)
        if program.problem.m:
            rows, columns = (np.asarray(part) for part in program.problem.jacobian_structure())
            np.maximum.at(steep, rows, stakes[columns])
        by_variable, by_row = gaps[0] / stakes, gaps[1] / np.where(steep > 0.0, steep, 1.0)
        total = np.bincount(self._owners(), by_variable, minlength=len(self.tasks))
        return np.asarray(total + np.bincount(row_owners, by_row, minlength=len(self.tasks)))

    def _total(self, gaps: tuple[Array, Array], row_owners: Array) -> Array:
        """What each task can still gain, in the unit of its follower's cost."""
        count = len(self.tasks)
        total = np.bincount(self._owners(), gaps[0], count) + np.bincount(row_owners, gaps[1], count)
        return np.asarray(total * [unit for unit, _ in self.units])

    def _sharper_gap(self, answer: Array) -> float:
        """The gap of a single task with multipliers of our own, taken at the answer and at the start (the plan)."""
        program = self.program
        assert program is not None
        start = np.array([v.value for v in program.variables], dtype=float)
        costs = [float(program.problem.objective(point)) for point in (answer, start)]
        row_owners, relative = np.zeros(len(program.rows), dtype=int), self.units[0][0] / self.tasks[0].problem.unit
        gaps = []
        for point, cost in zip((answer, start), costs, strict=True):
            proved = self._proved(point, program.recovered_duals(point))
            gaps.append(float(self._gap(proved, row_owners)[0]) + (cost - min(costs)) * relative)
        return float(np.nanmin(gaps)) if np.isfinite(gaps).any() else math.inf


def _is_behind(problem: Composed, point: Sequence[float], gap: float) -> bool:
    """True of a piece that is proved to hold nothing as good as the plan, which lies in another piece.

    How near an answer comes to the piece's own best does not matter there; half of the distance is left for rounding.
    """
    if problem.home is None:
        return False
    cost = problem.cost_at(point)
    return math.isfinite(cost) and gap <= (cost - problem.plan_cost) / 2.0
