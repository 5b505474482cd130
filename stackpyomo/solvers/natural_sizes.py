"""Natural sizes: the reaches that costs tell, how much a cost can change over these, and points drawn within."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.errors import InvalidGame

from .parts import free_row
from .program import BadRow, Program, scales_of

_FARTHEST = 1e100  # No random start lies farther out: the width of a box has to be a number.
_ANYTHING = 1e30  # The upper limit of a row that is evaluated only.


def evaluated_rows(costs: Iterable[Any]) -> list[Any]:
    """Costs as rows of a program, to be measured side by side: no limit of theirs ever binds."""
    return [free_row(cost, None, _ANYTHING) for cost in costs]


def reaches_told(costs: Sequence[Any], levels: Mapping[int, float]) -> dict[int, float]:
    """id(Var) → the reach that these costs tell at the levels, id(Var) → level; none where one has no value."""
    moving = [cost for cost in costs if getattr(cost, "is_potentially_variable", bool)()]
    try:
        program = Program(0.0, evaluated_rows(moving))
        x = np.array([levels[id(v)] for v in program.variables], dtype=float)
        reaches = scales_of(program, x, np.ones(len(program.rows), dtype=bool)).reaches
    except (BadRow, InvalidGame):
        return {}
    return {id(v): reach for v, reach in zip(program.variables, reaches.tolist(), strict=True)}


def natural_size(cost: Any, levels: Mapping[int, float]) -> float:
    """How much a cost can change over the natural reaches of its variables, id(Var) → level; 1 without a value."""
    try:
        program = Program(cost)
        return program.units(np.array([levels[id(v)] for v in program.variables]))[2]
    except (BadRow, InvalidGame):
        return 1.0


def random_start(program: Program, random: np.random.Generator, reach: Array | None = None) -> Array:
    """A point of the program's box; without a bound within a reach of the other one or of 0.

    reach: None: ``TOLERANCES.reach`` reaches of each variable.
    """
    lower, upper = program.bounds
    if reach is None:
        reach = TOLERANCES.reach * program.units(np.clip(np.asarray(program.problem.x0, dtype=float), lower, upper))[0]
    reach = np.minimum(reach, _FARTHEST)
    low = np.where(np.isfinite(lower), lower, np.where(np.isfinite(upper), upper - 2 * reach, -reach))
    high = np.where(np.isfinite(upper), upper, low + 2 * reach)
    return random.uniform(low, high)


def objective_unit(program: Program, x: Array) -> float:
    """The objective's natural unit at x, where a box that is as good as endless beside what rows tell is none.

    A price that is 0 in a box of 1e9, and that nobody pays, would make 1000 nothing beside what it could earn.
    """
    reaches, _, unit = program.units(x)
    (low, high), width = program.bounds, program.bounds[1] - program.bounds[0]
    wide = np.isfinite(width) & (np.abs(x) <= TOLERANCES.nothing * width)
    wide &= TOLERANCES.nothing * width > reaches.min(initial=math.inf)
    if not wide.any():
        return unit
    endless = np.where(wide, -math.inf, low), np.where(wide, math.inf, high)
    steps = scales_of(program, x, bounds=endless).reaches
    far = wide & (steps < TOLERANCES.nothing * width)
    near = np.where(far, np.maximum(low, x - steps), low), np.where(far, np.minimum(high, x + steps), high)
    return float(scales_of(program, x, bounds=near).of_rows()[0]) or unit
