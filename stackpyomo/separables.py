"""Separable problems: many followers' re-solves in one, each from a start of its own, and what its answer proves.

Nobody's variables meet anybody else's, so that what is shown of one does not depend on the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo

from .composition import Composed
from .programs import BadRow, Program, free_row
from .results import Array
from .solvers import Solution, solve
from .tolerances import TOLERANCES
from .values import Substitution

__all__ = ["Separable", "Task"]


@dataclass
class Task:
    """Re-solve one follower from one starting point."""

    problem: Composed
    start: list[float]
    first: bool
    """The start at the plan; the others are random."""


class Separable:
    """min Σ cost over all tasks: nobody's variables meet anybody else's."""

    def __init__(self, tasks: list[Task], *, scaled: bool = False) -> None:
        self.tasks = tasks
        self._copies = pyo.ConcreteModel(name="copies")
        self._copies.own = pyo.VarList()
        seen: set[int] = set()
        self.owned: list[list[Any]] = []
        costs, rows = [], []
        self._row_owners: list[int] = []
        for number, task in enumerate(tasks):
            problem = task.problem
            whole = problem.home or problem  # pieces of one projected strategy are written in the same variables
            again = id(whole) in seen
            seen.add(id(whole))
            own, cost, constraints = self._fresh(task) if again else (problem.variables, problem.cost, problem.rows)
            for var, value in zip(own, task.start, strict=True):
                var.set_value(value, skip_validation=True)
            self.owned.append(own)
            costs.append(cost)
            rows += constraints
            self._row_owners += [number] * len(constraints)
        self.program: Program | None = None
        self.trouble = ""
        self.unit = 1.0
        """What the cost is divided by in the program."""
        try:
            self.program = Program(pyo.quicksum(costs), rows)
            if scaled:  # a single task whose cost is too steep for the solver's own scaling
                self.unit = float(self._slopes(self._owners()).max())
                self.program = Program(costs[0] / self.unit, rows)
        except BadRow as bad:
            self.trouble = bad.reason

    def _fresh(self, task: Task) -> tuple[list[Any], Any, list[Any]]:
        """A follower that appears again, from another start or in another piece, gets variables of its own."""
        problem = task.problem
        own = []
        for var in problem.variables:
            copy = self._copies.own.add()
            copy.setlb(var.lb)
            copy.setub(var.ub)
            own.append(copy)
        substitute = {id(v): c for v, c in zip(problem.variables, own, strict=True)}
        visitor = Substitution(substitute=substitute)
        rows = [free_row(visitor.walk_expression(r.body), r.lb, r.ub) for r in problem.rows]
        return own, visitor.walk_expression(problem.cost), rows

    def solve(self, solver: str, options: Mapping[str, Any], time_limit: float | None = None) -> Solution | None:
        """The solver's answer; None if there is no such problem (``trouble`` says why)."""
        return None if self.program is None else solve(self.program, solver, options=options, time_limit=time_limit)

    def points(self, solution: Solution) -> Iterator[list[float]]:
        """Each task's answer; variables that no term holds stay at the start."""
        assert self.program is not None
        assert solution.x is not None
        found = {id(v): float(x) for v, x in zip(self.program.variables, solution.x, strict=True)}
        for task, own in zip(self.tasks, self.owned, strict=True):
            yield [found.get(id(v), s) for v, s in zip(own, task.start, strict=True)]

    def _owners(self) -> Array:
        """For each variable of the program the number of its task."""
        assert self.program is not None
        owner = {id(v): number for number, own in enumerate(self.owned) for v in own}
        return np.array([owner[id(v)] for v in self.program.variables], dtype=int)

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
        by_variable, by_row = program.proved_gaps(solution.x, duals, TOLERANCES.trust)
        owners = self._owners()
        row_owners = np.array(self._row_owners, dtype=int)[program.rows]
        gap, outside = np.zeros(len(self.tasks)), np.zeros(len(self.tasks))
        slopes = self._slopes(owners)
        self._note_slopes(slopes)
        # Each in its own scale: a steep variable hides nothing in another. A gap of the tolerance itself will do where
        # the follower's slopes are not all smaller than that.
        total = np.bincount(owners, slopes, minlength=len(self.tasks))
        slopes = np.maximum(slopes, np.minimum(1.0, TOLERANCES.ample * total)[owners])
        steep = self._steepest(slopes)
        np.maximum.at(gap, owners, self.unit * by_variable / slopes)
        np.maximum.at(gap, row_owners, self.unit * by_row / steep)
        np.maximum.at(outside, row_owners, residuals.outside_rows)
        np.maximum.at(outside, owners, residuals.outside_bounds)
        wrong: dict[int, str] = {}
        for number, task in enumerate(self.tasks):
            if outside[number] > TOLERANCES.feasibility:
                wrong[number] = f"it violates its constraints by {outside[number]:.1e}"
            elif task.problem.certificate == "convex" and not gap[number] <= tolerance:
                if len(self.tasks) == 1:
                    gap[number] = min(gap[number], self._sharper_gap(solution.x, slopes, steep))
                if not gap[number] <= tolerance:
                    wrong[number] = f"up to {gap[number]:.1e} of its slopes could still be gained"
        return wrong

    def _note_slopes(self, slopes: Array) -> None:
        """Tell each problem how steep it is in its variables."""
        assert self.program is not None
        place = {id(v): i for i, v in enumerate(self.program.variables)}
        for task, own in zip(self.tasks, self.owned, strict=True):
            if task.first:
                task.problem.slopes = [float(slopes[place[id(v)]]) if id(v) in place else 1.0 for v in own]

    def _sharper_gap(self, answer: Array, slopes: Array, steep: Array) -> float:
        """The gap of a single task with multipliers of our own, taken at the answer and at the start (the plan)."""
        program = self.program
        assert program is not None
        start = np.array([v.value for v in program.variables], dtype=float)
        costs = [float(program.problem.objective(point)) for point in (answer, start)]
        gaps = []
        for point, cost in zip((answer, start), costs, strict=True):
            by_variable, by_row = program.proved_gaps(point, program.recovered_duals(point), TOLERANCES.trust)
            worst = max((by_variable / slopes).max(initial=0.0), (by_row / steep).max(initial=0.0))
            gaps.append(float(worst) + (cost - min(costs)) / float(slopes.max(initial=1.0)))
        return self.unit * float(np.nanmin(gaps)) if np.isfinite(gaps).any() else math.inf

    def _steepest(self, slopes: Array) -> Array:
        """Per row of the program the largest slope of a variable it holds."""
        program = self.program
        assert program is not None
        found = np.zeros(program.problem.m)
        if program.problem.m:
            rows, columns = (np.asarray(part) for part in program.problem.jacobian_structure())
            np.maximum.at(found, rows, slopes[columns])
        return np.where(found > 0.0, found, 1.0)

    def _slopes(self, owners: Array) -> Array:
        """Per variable of the program the slope of the cost (not of the scaled one) a little away from its start.

        One that is flat there counts a share of its task's sum: decisions after an improbable observation are flat.
        """
        program = self.program
        assert program is not None
        lower, upper = program.bounds
        start = np.array([v.value for v in program.variables], dtype=float)
        step = TOLERANCES.nearby * np.maximum(1.0, np.abs(start))
        away = np.where(start + step <= upper, start + step, np.maximum(start - step, lower))
        slopes = self.unit * np.abs(np.asarray(program.problem.gradient(away)))
        slopes = np.where(np.isfinite(slopes), slopes, 0.0)
        total = np.bincount(owners, slopes, minlength=len(self.tasks))
        least = np.array([task.problem.least_slope(steep) for task, steep in zip(self.tasks, total, strict=True)])
        return np.asarray(np.maximum(slopes, least[owners]))
