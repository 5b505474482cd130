"""Programs of many rows: read into arrays where these hold them, and solved in this process, without an .nl text.

The functions are those of :mod:`stackpyomo.families`; solver, options and what is computed of an answer are the same.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from stackpyomo.core import Array, box_of, timed
from stackpyomo.families import Functions, Written, functions_of

from .program import Program


def read_program(
    objective: Any, constraints: Sequence[Any], seconds: dict[str, float], more: Written | None = None
) -> ArrayProgram | None:
    """min ``objective`` subject to constraints, None where arrays cannot hold it: integers, rows without a variable.

    ``more``: rows that are families already, to be 0; they come after the constraints.
    """
    with timed(seconds, "write"):
        functions = functions_of([objective, *(c.body for c in constraints)], more)
    if functions is None or not all(v.is_continuous() for v in functions.variables):
        return None
    held = np.isin(np.arange(1, functions.m), functions.jacobian_structure()[0]).all()
    zeros = np.zeros(more.count if more else 0)
    limits = [np.concatenate([side, zeros]) for side in box_of(constraints)]
    return ArrayProgram(functions, (limits[0], limits[1])) if held and functions.n else None


class ArrayProgram(Program):
    """A program that has no .nl text; ``functions``: its objective, then the bodies of its rows, within ``limits``."""

    def __init__(self, functions: Functions, limits: tuple[Array, Array]) -> None:
        self.seconds, self.start, self.kept, self.libraries, self.sets = {}, None, {}, [], []
        self.variables, self.rows = functions.variables, np.arange(functions.m - 1)
        self._problem: Any = _Problem(functions, limits)
        self.functions = functions

    @property
    def problem(self) -> Any:
        """The evaluable problem."""
        return self._problem

    @property
    def objective_columns(self) -> Array:
        """Numbers of the variables that the objective holds."""
        rows, columns = self.functions.jacobian_structure()
        return np.asarray(columns[rows == 0])

    @property
    def curved_rows(self) -> int:
        """All that are not known to be affine; which those are is not asked here."""
        return int(self.problem.m)

    @property
    def takes_roots(self) -> bool:
        """True if a square root or a power that is no whole number may stand in it."""
        return self.functions.takes_roots

    def at_roots(self, x: Array) -> Array:
        """(variables) none: slopes at roots of 0 are infinite here."""
        return np.zeros(len(x), dtype=bool)

    def variant(
        self,
        start: Array | None = None,
        *,
        bounds: tuple[Array, Array] | None = None,
        row_bounds: tuple[Array, Array] | None = None,
    ) -> ArrayProgram:
        """The same program with another start, other bounds or other row limits."""
        other = copy.copy(self)
        other.start = self.start if start is None else start
        other.__dict__ |= {} if bounds is None else {"bounds": bounds}
        other.__dict__ |= {} if row_bounds is None else {"row_bounds": row_bounds}
        return other

    def in_units(self, steps: Array, units: Array, unit: float, level: float) -> ArrayProgram:
        """This program in other units: x = step · y, rows over their unit, (objective − level) / unit."""
        other = copy.copy(self)
        other._problem, other.kept, other.start = _Scaled(self._problem, steps, units, unit, level), {}, None
        other._measured = None
        for name in ("bounds", "row_bounds"):
            other.__dict__.pop(name, None)
        return other


class _Problem:
    """Objective and rows apart, with the names of a solver library's problem."""

    def __init__(self, functions: Functions, limits: tuple[Array, Array]) -> None:
        self.functions, self.n, self.m = functions, functions.n, functions.m - 1
        self.x_l, self.x_u = box_of(functions.variables)
        self.g_l, self.g_u = limits
        self.x0 = np.array([0.0 if v.value is None else v.value for v in functions.variables], dtype=float)
        self._rows = functions.jacobian_structure()[0]

    @cached_property
    def nnz_hess(self) -> int:
        """Entries of the second derivatives."""
        return len(self.functions.hessian_structure()[0])

    def objective(self, x: Array) -> float:
        return float(self.functions.constraints(x)[0])

    def gradient(self, x: Array) -> Array:
        first = self._rows == 0
        columns = self.functions.jacobian_structure()[1][first]
        return np.bincount(columns, self.functions.jacobian(x)[first], self.n)

    def constraints(self, x: Array) -> Array:
        return self.functions.constraints(x)[1:]

    def jacobian_structure(self) -> tuple[Array, Array]:
        rows, columns = self.functions.jacobian_structure()
        return rows[self._rows > 0] - 1, columns[self._rows > 0]

    def jacobian(self, x: Array) -> Array:
        return self.functions.jacobian(x)[self._rows > 0]

    def hessian_structure(self) -> tuple[Array, Array]:
        return self.functions.hessian_structure()

    def hessian(self, x: Array, weights: Array, factor: float) -> Array:
        return self.functions.hessian(x, np.concatenate([[factor], weights]))


class _Scaled:
    """A problem in other units; the names are those of :class:`_Problem`."""

    def __init__(self, problem: Any, steps: Array, units: Array, unit: float, level: float) -> None:
        self._inner, self._steps, self._units, self._unit, self._level = problem, steps, units, unit, level
        self.n, self.m, self.nnz_hess = problem.n, problem.m, problem.nnz_hess
        self.x_l, self.x_u, self.x0 = (side / steps for side in (problem.x_l, problem.x_u, problem.x0))
        self.g_l, self.g_u = problem.g_l / units, problem.g_u / units
        self.jacobian_structure, self.hessian_structure = problem.jacobian_structure, problem.hessian_structure

    def objective(self, y: Array) -> float:
        return float(self._inner.objective(y * self._steps) - self._level) / self._unit

    def gradient(self, y: Array) -> Array:
        return np.asarray(self._inner.gradient(y * self._steps) * self._steps / self._unit)

    def constraints(self, y: Array) -> Array:
        return np.asarray(self._inner.constraints(y * self._steps) / self._units)

    def jacobian(self, y: Array) -> Array:
        rows, columns = self.jacobian_structure()
        return np.asarray(self._inner.jacobian(y * self._steps) * self._steps[columns] / self._units[rows])

    def hessian(self, y: Array, weights: Array, factor: float) -> Array:
        one, other = self.hessian_structure()
        bend = self._inner.hessian(y * self._steps, weights / self._units, factor / self._unit)
        return np.asarray(bend * self._steps[one] * self._steps[other])
