"""Listing: the exact conditions without the equilibria that are known, so that a solver finds another one or none.

A *pattern* says of every pair which of λ and s is 0. Binaries z, w = 1 − z with the sets {z, s}, {w, λ} (no big-M), and

    Σ_{λ > 0 in the pattern} w + Σ_{s > 0 in it} z ≥ 1

leave out one pattern. Where the conditions are affine a pattern is a polyhedron, a point or a piece of a continuum.
Where they are not, a pattern may hold several points, and what is left out is what is near: ‖u − uⁱ‖_∞ ≥ δ, one binary
a side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.var import VarData
from scipy import sparse
from scipy.optimize import linprog

from stackpyomo.core import TOLERANCES, Array

from .complementarity import SOS1, Given, Treated
from .mpcc import Equilibrium

__all__ = ["Listing", "extent", "pattern"]


@dataclass(frozen=True)
class Listing(SOS1):
    """SOS1, and what is known left out."""

    patterns: tuple[tuple[bool, ...], ...] = ()  #: For every pair True where λ may be positive.
    points: tuple[Mapping[int, float], ...] = ()  #: {id(Var): value} of known points.
    actions: tuple[VarData, ...] = ()  #: What tells points apart.
    distances: tuple[float, ...] = ()  #: (actions) how far from a known point one of them is to be.

    def apply(self, given: Given) -> Treated:
        """SOS1's sets, and the rows that leave out what is known."""
        treated = super().apply(given)
        self._leave_patterns(given, treated)
        self._leave_points(given, treated)
        return treated

    def _leave_patterns(self, given: Given, treated: Treated) -> None:
        pairs = range(len(given.conditions.pairs))
        given.block.on = on = pyo.Var(pairs, domain=pyo.Binary)
        given.block.off = off = pyo.Var(pairs, domain=pyo.Binary)
        for number, (multiplier, slack) in enumerate(list(treated.sets)):
            treated.rows.append(on[number] + off[number] == 1)
            treated.sets += [(on[number], slack), (off[number], multiplier)]
        for pattern in self.patterns:
            treated.rows.append(sum(off[i] if active else on[i] for i, active in enumerate(pattern)) >= 1)

    def _leave_points(self, given: Given, treated: Treated) -> None:
        places = range(len(self.points) * len(self.actions) * 2)
        given.block.far = far = pyo.Var(places, domain=pyo.Binary)
        given.block.short = short = pyo.Var(places, bounds=(0, None))
        number = 0
        for point in self.points:
            chosen = []
            for var, distance in zip(self.actions, self.distances, strict=True):
                for sign in (1.0, -1.0):
                    treated.rows.append(sign * (var - point[id(var)]) + short[number] >= distance)
                    treated.sets.append((far[number], short[number]))
                    chosen.append(far[number])
                    number += 1
            treated.rows.append(sum(chosen) >= 1)


def pattern(exact: Equilibrium, x: Array) -> Array:
    """For every pair True where λ may be positive, by the binaries of a :class:`Listing`."""
    program = exact.program
    mine = (v.model().name == "treatment" and v.parent_component().local_name == "on" for v in program.variables)
    chosen = {v.index(): level for v, level, on in zip(program.variables, x, mine, strict=True) if on}
    return np.array([chosen.get(i, 0.0) > _HALF for i in range(len(exact.conditions.pairs))], dtype=bool)


_HALF = 0.5  # A binary above it is 1.


def extent(
    plain: Equilibrium, x: Array, active: Array, actions: Sequence[VarData]
) -> tuple[int, dict[int, tuple[float, float]]]:
    """(dimension, id(action) → (least, most)) of a pattern, a polyhedron that holds x: conditions that are affine."""
    program = plain.program
    lower, upper = plain.face(active)
    # In natural units: HiGHS drops coefficients below 1e-9.
    reaches, sizes, _ = program.units(x)
    matrix = sparse.csr_array(sparse.diags_array(1.0 / sizes) @ program.jacobian(x) @ sparse.diags_array(reaches))
    floor, ceiling = (side / sizes for side in program.row_bounds)
    at = x / reaches
    shift = matrix @ at - np.asarray(program.problem.constraints(x)) / sizes
    place = {id(v): i for i, v in enumerate(program.variables)}
    equal = floor == ceiling
    rows = {
        "A_eq": matrix[np.flatnonzero(equal)],
        "b_eq": (floor + shift)[equal],
        **dict(_inequalities(matrix, floor + shift, ceiling + shift, equal)),
    }

    box = np.column_stack([lower / reaches, upper / reaches])
    own = [place[id(v)] for v in actions if id(v) in place]
    ranges: dict[int, tuple[float, float]] = {}
    corners = []
    for number in own:
        ends = []
        for sign in (1.0, -1.0):
            goal = np.zeros(len(x))
            goal[number] = sign
            end = linprog(goal, **rows, bounds=box, method="highs")
            known = {0: sign * float(end.fun or 0.0), _UNBOUNDED: -sign * math.inf}
            ends.append(known.get(end.status, float(at[number])))
            corners += [end.x[own]] if end.status == 0 else []
        ranges[id(program.variables[number])] = (ends[0] * float(reaches[number]), ends[1] * float(reaches[number]))
    spread = np.array(corners) - at[own] if corners else np.zeros((1, 1))
    dimension = int(np.linalg.matrix_rank(spread, tol=TOLERANCES.feasibility)) if corners else 1
    return dimension, ranges


def _inequalities(matrix: Any, floor: Array, ceiling: Array, equal: Array) -> Iterator[tuple[str, Any]]:
    """A_ub and b_ub of the rows that are none."""
    above, below = ~equal & np.isfinite(ceiling), ~equal & np.isfinite(floor)
    if above.any() or below.any():
        parts = [matrix[np.flatnonzero(above)].toarray(), -matrix[np.flatnonzero(below)].toarray()]
        yield "A_ub", np.vstack(parts)
        yield "b_ub", np.concatenate([ceiling[above], -floor[below]])


_UNBOUNDED = 3  # SciPy's status of a linear program without an end.
