"""Polyhedra: how far a linear function goes over one, and where it ends.

    min and max of  goal·z   s.t.   floor ≤ A z ≤ ceiling,   lower ≤ z ≤ upper

Both are linear programs of SciPy's. An end that it does not give, for whatever reason, is NaN: no statement may lean on
what stands in its place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from stackpyomo.core import Array

_OPTIMAL, _UNBOUNDED = 0, 3  # SciPy's status of a linear program that was solved, and of one without an end.


@dataclass(frozen=True)
class Polyhedron:
    """floor ≤ A z ≤ ceiling, lower ≤ z ≤ upper."""

    matrix: Any  #: (rows × unknowns) A, sparse or dense.
    floor: Array
    ceiling: Array
    lower: Array
    upper: Array

    def ends(self, goal: Array) -> tuple[float, float, list[Array]]:
        """(least, most, the corners where they are) of goal·z; ∓inf without an end, NaN where none is known."""
        levels, corners, size = [], [], float(np.abs(goal).max(initial=0.0)) or 1.0
        rows = LinearConstraint(self.matrix, self.floor, self.ceiling) if self.matrix.shape[0] else ()
        for sign in (1.0, -1.0):
            end = milp(sign * goal / size, constraints=rows, bounds=Bounds(self.lower, self.upper))
            corners += [end.x] if end.status == _OPTIMAL else []
            known = {_OPTIMAL: size * float(end.fun or 0.0), _UNBOUNDED: -math.inf}
            levels.append(sign * known.get(end.status, math.nan))
        return levels[0], levels[1], [np.asarray(corner) for corner in corners]


def balanced(matrix: Array, reaches: Array, own: Array) -> tuple[Array, Array]:
    """(sizes of the rows, units of the columns) in which a dense matrix has entries about 1.

    own: the columns whose reaches tell a unit: a row's size is what they change of it. The others, multipliers, are in
    units of the rows that hold them: at a reach of 1 they would hide slopes of small units.
    """
    steps = np.abs(matrix) * reaches
    sizes = steps[:, own].max(axis=1, initial=0.0)
    sizes = np.where(sizes > 0.0, sizes, steps.max(axis=1, initial=0.0))
    sizes = np.where(sizes > 0.0, sizes, 1.0)
    heights = (steps / sizes[:, np.newaxis]).max(axis=0, initial=0.0)
    heights[own] = 1.0
    return sizes, reaches / np.where(heights > 0.0, heights, 1.0)
