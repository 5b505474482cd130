"""Own rows of a follower, which hold no variable of others: what is a solver's tolerance beyond them is moved within.

By relaxation: x is reflected in the row that it is farthest beyond, until it is beyond none; that ends where the rows
leave an interior. In an equality, which does not, it is projected. Source: T. S. Motzkin, I. J. Schoenberg, Canadian J.
Math. 6 (1954) 393–404.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stackpyomo.core import TOLERANCES
from stackpyomo.solvers import BadRow, Program

_STEPS = 100


@dataclass(frozen=True)
class OwnRows:
    """Rows of one follower that hold no variable of others."""

    program: Program | None  #: None of rows that hold no continuous variable, or that nothing meets.

    @classmethod
    def of(cls, rows: Sequence[Any]) -> OwnRows:
        """Those of a list."""
        try:
            program = Program(0.0, rows) if rows else None
        except BadRow:
            program = None
        return cls(program if program and any(v.is_continuous() for v in program.variables) else None)

    def nearest(self, levels: Mapping[int, float]) -> dict[int, float]:
        """{id(Var): level} within the rows, next to levels that are a solver's tolerance beyond; empty of all others.

        Actions that are whole stay.
        """
        program = self.program
        if program is None:
            return {}
        x = np.array([levels[id(v)] for v in program.variables])
        moves = np.array([v.is_continuous() for v in program.variables])
        floor, ceiling = program.row_bounds
        for _ in range(_STEPS):
            with np.errstate(all="ignore"):  # a root or a logarithm may have no value or no slope there
                slopes, body = program.jacobian(x).toarray(), np.asarray(program.problem.constraints(x))
                below, above = floor - body, body - ceiling
                beyond = np.maximum(below, above)
                sizes = np.abs(slopes) @ np.abs(x) + np.abs(np.where(below > above, floor, ceiling))
            if not (beyond <= TOLERANCES.feasibility * sizes).all():
                return {}
            left = beyond - TOLERANCES.rounding * sizes
            row = int(left.argmax())
            slope = np.where(moves, slopes[row], 0.0)
            if left[row] <= 0.0 or not slope.any():
                break
            share = (1.0 if floor[row] == ceiling[row] else 2.0) * beyond[row] / float(slope @ slope)
            x = np.clip(x + share * np.where(below[row] > above[row], slope, -slope), *program.bounds)
        return program.levels(x)
