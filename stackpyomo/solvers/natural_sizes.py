"""Natural sizes: the reaches that costs tell, how much a cost can change over these, and points drawn within."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from stackpyomo.core import TOLERANCES, Array, largest_by_row
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
    """What a gap of the objective at x is small against: its natural unit, at most ten times what a size tells.

    The reach of a variable at 0 is its box, or what rows tell, whatever is there to be gained by it: 0.01 t² in
    [0, 1e5] would make 1e7 nothing beside costs of 1. What is rounding beside the cost itself is no size.
    """
    natural = scales_of(program, x)
    sizes = np.where(np.abs(x) > TOLERANCES.nothing * natural.reaches, natural.reaches, 0.0)
    slopes = natural.slopes[:1]
    whole, sized = (
        largest_by_row(slopes.data * reaches[slopes.indices], slopes.indptr)[0] for reaches in (natural.reaches, sizes)
    )
    rounding = TOLERANCES.accuracy * abs(float(program.problem.objective(x)))
    return float(min(whole, TOLERANCES.reach * sized) if sized > rounding else whole) or 1.0
