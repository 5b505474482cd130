"""Solvers: one problem, written once, solved by anybody, and judged by ourselves.

In: an objective and rows over Pyomo Vars. Out: a :class:`Solution` and the residuals of its point. Law: a solver's word
is not evidence; why it stopped is kept apart from what it holds.
"""

from .array_programs import ArrayProgram, read_program
from .certificates import Residuals, least_nonnegative
from .library import pounce
from .natural_sizes import evaluated_rows, natural_size, objective_unit, random_start, reaches_told
from .parts import free_row, rows_at
from .program import BadRow, Program, scales_of
from .rays import ray
from .registry import SolverInfo, choose, least_point, prover, registry, solve
from .solution import Solution, Termination

__all__ = [
    "ArrayProgram",
    "BadRow",
    "Program",
    "Residuals",
    "Solution",
    "SolverInfo",
    "Termination",
    "choose",
    "evaluated_rows",
    "free_row",
    "least_nonnegative",
    "least_point",
    "natural_size",
    "objective_unit",
    "pounce",
    "prover",
    "random_start",
    "ray",
    "reaches_told",
    "read_program",
    "registry",
    "rows_at",
    "scales_of",
    "solve",
]
