"""Copies: each bundle's problem with its own copy of what all share, solved again and again from one .nl file.

    F_b(x) = min count · f_b(x, u_b) + g(x)   over u_b, subject to the bundle's rows, its pins and the shared rows.

Between two questions only bounds change: the weights w and ρ of w·x + ρ·x²/2 are variables of the program that their
bounds hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.core.expressions import is_convex_problem
from stackpyomo.solvers import Program, Solution, Termination, solve

from .partition import Partition


class Copy:
    """The bundle of that number, from the values of its Vars (those without: the point of their bounds next to 0)."""

    def __init__(self, partition: Partition, number: int, solver: str, tee: bool = False) -> None:
        self.partition, self.number, self.solver, self.tee = partition, number, solver, tee
        self.piece = partition.piece(number)
        self.program = program = self.piece.program
        column = {id(v): i for i, v in enumerate(program.variables)}
        self.columns = np.array([column[id(v)] for v in partition.first], dtype=int)
        self.derived = np.array([column[id(v)] for v in partition.derived if id(v) in column], dtype=int)
        self.forces = [np.array([column[id(v)] for v in part], dtype=int) for part in partition.forces]
        self.pins = {row: self.piece.pins[int(n)] for row, n in enumerate(program.rows) if int(n) in self.piece.pins}
        self.point: Array = np.clip(np.asarray(program.problem.x0), *program.bounds)
        self._origin = self.point
        self.duals = np.zeros(len(program.rows))
        self.trouble: Solution | None = None  #: The first solve that failed.

    @property
    def x(self) -> Array:
        """This copy of what is shared."""
        return np.asarray(self.point[self.columns])

    @property
    def is_bounded(self) -> bool:
        """True if every variable has two bounds, or follows from those that have."""
        open_ends = ~np.isfinite(np.array(self.program.bounds)).all(axis=0)
        open_ends[self.derived] = False
        return not open_ends.any()

    def contents(self, point: Array) -> dict[int, float]:
        """Place of each own link → what the bundle's variables put into it at the point."""
        bare = point.copy()
        bare[self.columns[list(self.pins.values())]] = 0.0
        body = np.asarray(self.program.problem.constraints(bare)) if self.pins else np.zeros(0)
        floor, ceiling = self.program.row_bounds
        aim = np.where(np.isfinite(ceiling), ceiling, floor)
        return {place: float(body[row] - aim[row]) for row, place in self.pins.items()}

    def asked(
        self,
        w: Array,
        rho: Array,
        *,
        held: Array | None = None,
        loose: Array | None = None,
        around: Array | None = None,
    ) -> Program:
        """min count·f_b + g + w·x + ρ·x²/2; x ``held``, pins ``loose``, what has no bounds kept near ``around``."""
        lower, upper = (side.copy() for side in self.program.bounds)
        floor, ceiling = (side.copy() for side in self.program.row_bounds)
        if around is not None:
            reach = TOLERANCES.trust * self.reaches(around)
            lower = np.where(np.isfinite(lower), lower, around - reach)
            upper = np.where(np.isfinite(upper), upper, around + reach)
            if self.is_bounded and len(self.derived):
                lower[self.derived], upper[self.derived] = self.implied
        if held is not None:
            lower[self.columns] = upper[self.columns] = held
        if loose is not None:
            for row, place in self.pins.items():
                floor[row] -= loose[place]
                ceiling[row] += loose[place]
        for columns, values in zip(self.forces, (w, rho), strict=True):
            lower[columns] = upper[columns] = values
        start = np.clip(self.point, lower, upper)
        return self.program.variant(start, bounds=(lower, upper), row_bounds=(floor, ceiling))

    def _solved(
        self, program: Program, limit: float | None = None, options: Mapping[str, float] | None = None
    ) -> Solution:
        """The solver's answer to a variant, whose file is not needed any more."""
        try:
            return solve(program, self.solver, options=options, time_limit=limit, tee=self.tee)
        finally:
            program.discard()

    def move(self, w: Array, rho: Array, center: Array, limit: float | None = None) -> None:
        """x ← argmin F_b(x) + w·x + Σ ρ_i (x_i − center_i)²/2; a failure from everywhere is kept in ``trouble``."""
        solution = self._solved(self.asked(w - rho * center, rho), limit)
        if solution.termination is Termination.FAILED:
            self.point = self._origin
            solution = self._solved(self.asked(w - rho * center, rho), limit)
        if solution.answer is None:
            self.trouble = self.trouble or solution
            return
        self.point = np.asarray(solution.x)
        self.duals = self.duals if solution.duals is None else solution.duals

    def least(self, w: Array, around: Array) -> float:
        """A lower bound of min F_b(x) + w·x, proved if F_b is convex; where a variable has no bounds, near a point.

        Asked without those artificial bounds first: as the reach of a variable they would make the solver coarse.
        """
        zero = np.zeros(len(w))
        sharply = {"tol": TOLERANCES.bundle, "compl_inf_tol": TOLERANCES.bundle}
        solution = self._solved(self.asked(w, zero), options=sharply)
        near = self.asked(w, zero, around=around)
        lower, upper = near.bounds
        if solution.x is None or not ((lower <= solution.x) & (solution.x <= upper)).all():
            solution = self._solved(near, options=sharply)
        if solution.x is None or solution.duals is None:
            return math.nan
        x = np.asarray(solution.x)
        return float(near.problem.objective(x)) - near.proved_gap(x, solution.duals, TOLERANCES.trust)

    def settled(self, shared: Array, exact: bool) -> Array:
        """The bundle's best point with what is shared held there; its last answer where there is none.

        Not ``exact``: its own links may miss what is held by as much as its last answer did, which they can.
        """
        zero = np.zeros(len(shared))
        program = self.asked(zero, zero, held=shared, loose=None if exact else np.abs(self.x - shared))
        solution = self._solved(program)
        if solution.answer is None:
            return np.array(self.point)
        point: Array = program.snapped(np.asarray(solution.x), solution.duals)[0]
        return point

    def measured(self, point: Array) -> tuple[float, float, float]:
        """(count · f_b + g, largest violation of a row or bound, the objective's scale) at a point without weights."""
        problem, reaches = self.program.problem, self.reaches(point)
        for columns in self.forces:
            reaches[columns] = 0.0
        away = np.clip(point + TOLERANCES.nearby * reaches, *self.program.bounds)
        slopes = np.maximum(*(np.abs(np.asarray(problem.gradient(x))) for x in (point, away)))
        scale = float((slopes * reaches).max(initial=0.0))
        return float(problem.objective(point)), self.program.residuals(point, None).feasibility, scale

    def reaches(self, point: Array) -> Array:
        """The natural unit of each variable: :mod:`stackpyomo.core.scales`."""
        return self.program.units(point)[0].copy()

    def _settling(self, point: Array) -> tuple[list[int], Array, sparse.csr_array]:
        """(the aggregates' rows, their part of the Jacobian in the aggregates, the whole of it); they are linear."""
        names = {c.name for c in self.partition.game.aggregates}
        rows = [row for row, n in enumerate(self.program.rows) if self.piece.names[int(n)] in names]
        matrix = self.program.jacobian(point)[rows]
        return rows, matrix[:, self.derived].toarray(), matrix

    @cached_property
    def implied(self) -> tuple[Array, Array]:
        """Bounds of the aggregates from those of what they are made of: a bound that holds everywhere needs them."""
        lower, upper = self.program.bounds
        zero = np.zeros(len(lower))
        rows, own, matrix = self._settling(zero)
        level = self.program.row_bounds[1][rows] - np.asarray(self.program.problem.constraints(zero))[rows]
        others = np.setdiff1d(matrix.indices, self.derived)  # links and leader's variables, never all
        share = -np.linalg.solve(own, matrix[:, others].toarray())
        ends = share * lower[others], share * upper[others]
        middle = np.linalg.solve(own, level)
        low = middle + np.minimum(*ends).sum(axis=1)
        high = middle + np.maximum(*ends).sum(axis=1)
        return np.maximum(lower[self.derived], low), np.minimum(upper[self.derived], high)

    def completed(self, point: Array, shared: Array) -> Array:
        """The point with what is shared put in, and the aggregates that follow from it; no weights."""
        whole = point.copy()
        whole[self.columns] = shared
        for columns in self.forces:
            whole[columns] = 0.0
        if len(self.derived):
            rows, matrix, _ = self._settling(whole)
            missing = self.program.row_bounds[1] - np.asarray(self.program.problem.constraints(whole))
            whole[self.derived] += np.linalg.solve(matrix, missing[rows])
        return whole

    def is_convex(self) -> bool:
        """True if F_b is proved convex."""
        return is_convex_problem(self.partition.cost(self.number), self.program.model.rows.values())

    def curvature(self) -> Array:
        """About d²F_b/dx_i²: that of the cost, and for an own link 1/Σ_k (a_k²/h_k) over what it is made of.

        Where there is none, what takes its place is a slope over a width: |∂F_b/∂x_i| over the length of its bounds.
        """
        problem = self.program.problem
        rows, columns = (np.asarray(part) for part in problem.hessian_structure())
        diagonal = np.zeros(problem.n)
        same = rows == columns
        diagonal[rows[same]] = np.asarray(problem.hessian(self.point))[same]
        slopes = np.abs(np.asarray(problem.gradient(self.point)))
        bends, steep = np.abs(diagonal[self.columns]), slopes[self.columns]
        jacobian = self.program.jacobian(self.point)
        for row, place in self.pins.items():
            entries = slice(jacobian.indptr[row], jacobian.indptr[row + 1])
            own, rates = jacobian.indices[entries], np.abs(jacobian.data[entries])
            used = (own != self.columns[place]) & (rates > 0.0)
            own, rates = own[used], rates[used]
            bent = diagonal[own] > TOLERANCES.noise
            ease = float((rates[bent] ** 2 / diagonal[own[bent]]).sum())
            bends[place] += 1.0 / ease if ease > 0.0 else 0.0
            steep[place] = max(steep[place], float(np.median(slopes[own] / rates)) if len(own) else 0.0)
        lower, upper = (side[self.columns] for side in self.program.bounds)
        width = np.where(np.isfinite(upper - lower), upper - lower, self.reaches(self.point)[self.columns])
        flat = bends <= TOLERANCES.noise
        return np.asarray(np.nan_to_num(np.where(flat, steep / np.maximum(width, TOLERANCES.noise), bends)))
