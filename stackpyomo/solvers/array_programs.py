"""Programs of many rows: read into arrays where these hold them, and solved in this process, without an .nl text.

The functions are those of :mod:`stackpyomo.families`; solver, options and what is computed of an answer are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from stackpyomo.core import Array, bounds_of, timed
from stackpyomo.families import Functions, functions_of

from .program import Program

__all__ = ["ArrayProgram", "read_program"]


def read_program(objective: Any, constraints: Sequence[Any], seconds: dict[str, float]) -> ArrayProgram | None:
    """min ``objective`` subject to constraints, None where arrays cannot hold it: integers, rows without a variable."""
    with timed(seconds, "write"):
        functions = functions_of([objective, *(c.body for c in constraints)])
    if functions is None or not all(v.is_continuous() for v in functions.variables):
        return None
    held = np.isin(np.arange(1, functions.m), functions.jacobian_structure()[0]).all()
    return ArrayProgram(functions, _limits(constraints)) if held and functions.n else None


class ArrayProgram(Program):
    """A program that has no .nl text; ``functions``: its objective, then the bodies of its rows, within ``limits``."""

    def __init__(self, functions: Functions, limits: tuple[Array, Array]) -> None:
        self.seconds, self.start, self.kept, self.libraries = {}, None, {}, []
        self.variables, self.rows = functions.variables, np.arange(functions.m - 1)
        self._problem = _Problem(functions, limits)

    @property
    def problem(self) -> _Problem:
        """The evaluable problem."""
        return self._problem

    @property
    def objective_columns(self) -> Array:
        """Numbers of the variables that the objective holds."""
        rows, columns = self._problem.functions.jacobian_structure()
        return np.asarray(columns[rows == 0])

    @property
    def takes_roots(self) -> bool:
        """True if a square root or a power that is no whole number may stand in it."""
        return self._problem.functions.takes_roots


class _Problem:
    """Objective and rows apart, with the names of a solver library's problem."""

    def __init__(self, functions: Functions, limits: tuple[Array, Array]) -> None:
        self.functions, self.n, self.m = functions, functions.n, functions.m - 1
        self.x_l, self.x_u = _limits(functions.variables)
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


def _limits(parts: Sequence[Any]) -> tuple[Array, Array]:
    low, high = np.array([bounds_of(part) for part in parts]).reshape(-1, 2).T
    return low, high
