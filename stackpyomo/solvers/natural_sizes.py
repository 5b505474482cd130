"""Natural sizes: what costs tell of their variables' reaches, and how much a cost can change over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stackpyomo.errors import InvalidGame

from .program import BadRow, Program, free_row, scales_of

_ANYTHING = 1e30  # The upper limit of a row that is evaluated only.


def reaches_told(costs: Sequence[Any], levels: Mapping[int, float]) -> dict[int, float]:
    """id(Var) → the reach that these costs tell at the levels, id(Var) → level; none where one has no value."""
    try:
        program = Program(0.0, [free_row(cost, None, _ANYTHING) for cost in costs])
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
