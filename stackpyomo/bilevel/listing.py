"""Listing: the exact conditions without the equilibria that are known, so that a solver finds another one or none.

A *pattern* says of every pair which of λ and s is 0. Binaries z, w = 1 − z with the sets {z, s}, {w, λ} (no big-M), and

    Σ_{λ > 0 in the pattern} w + Σ_{s > 0 in it} z ≥ 1

leave out one pattern. Where the conditions are affine a pattern is a polyhedron, a point or a piece of a continuum.
Where they are not, a pattern may hold several points, and what is left out is what is near: ‖u − uⁱ‖_∞ ≥ δ, one binary
a side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.var import VarData
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array

from .choices import Choices
from .complementarity import SOS1, Given, Treated
from .mpcc import Equilibrium
from .polyhedra import Polyhedron, balanced


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
        choices = Choices(given.block)
        for point in self.points:
            near = [
                (var - point[id(var)], distance) for var, distance in zip(self.actions, self.distances, strict=True)
            ]
            ways = (((least - sign * step,), math.inf) for step, least in near for sign in (1.0, -1.0))
            treated.add(choices.one_of(ways))


def pattern(exact: Equilibrium, x: Array) -> Array:
    """For every pair True where λ may be positive, by the binaries of a :class:`Listing`."""
    program = exact.program
    mine = (v.model().name == "treatment" and v.parent_component().local_name == "on" for v in program.variables)
    chosen = {v.index(): level for v, level, on in zip(program.variables, x, mine, strict=True) if on}
    return np.array([chosen.get(i, 0.0) > _HALF for i in range(len(exact.conditions.pairs))], dtype=bool)


_HALF = 0.5  # A binary above it is 1.


@dataclass(frozen=True)
class Face:
    """Everything of one pattern, where conditions are affine: a polyhedron, in natural units."""

    polyhedron: Polyhedron
    at: Array  #: A point of it, in these units.
    reaches: Array  #: (unknowns) how much a unit of each is.
    places: dict[int, int]  #: id(action) → its number among the unknowns, for those that conditions hold.

    def extent(self) -> tuple[int, dict[int, tuple[float, float]]]:
        """(dimension, id(action) → (least, most)); ∓inf without an end, NaN for an end that nobody gives."""
        own = list(self.places.values())
        ranges: dict[int, tuple[float, float]] = {}
        spread = [np.zeros(len(own))]
        for key, number in self.places.items():
            low, high, corners = self.polyhedron.ends((np.arange(len(self.at)) == number).astype(float))
            ranges[key] = low * float(self.reaches[number]), high * float(self.reaches[number])
            spread += [corner[own] - self.at[own] for corner in corners]
        dimension = int(np.linalg.matrix_rank(np.array(spread), tol=TOLERANCES.feasibility))
        return (dimension if len(spread) > 1 else 1), ranges

    def holds(self, levels: Mapping[int, float], near: Mapping[int, float]) -> bool:
        """True if a point of it has these actions, id(action) → level, up to what is near."""
        lower, upper = self.polyhedron.lower.copy(), self.polyhedron.upper.copy()
        for key, number in self.places.items():
            level, room = levels[key] / self.reaches[number], near[key] / self.reaches[number]
            lower[number], upper[number] = max(lower[number], level - room), min(upper[number], level + room)
        if (lower > upper).any():
            return False
        _, _, corners = replace(self.polyhedron, lower=lower, upper=upper).ends(np.zeros(len(lower)))
        return bool(corners)


def face(plain: Equilibrium, x: Array, active: Array, actions: Sequence[VarData]) -> Face:
    """The face of a pattern whose conditions are affine, and that holds x."""
    program = plain.program
    lower, upper = plain.face(active)
    place = {id(v): i for i, v in enumerate(program.variables)}
    places = {id(v): place[id(v)] for v in actions if id(v) in place}
    # In natural units: HiGHS drops coefficients below 1e-9. What stays where it is tells none.
    moving, slopes = np.flatnonzero(lower < upper), program.jacobian(x).toarray()
    reaches = program.units(x)[0].copy()
    chosen = np.flatnonzero(np.isin(moving, list(places.values())))
    sizes, reaches[moving] = balanced(slopes[:, moving], reaches[moving], chosen)
    matrix = sparse.csr_array(slopes * reaches / sizes[:, np.newaxis])
    at = x / reaches
    shift = matrix @ at - np.asarray(program.problem.constraints(x)) / sizes
    floor, ceiling = (side / sizes + shift for side in program.row_bounds)
    return Face(Polyhedron(matrix, floor, ceiling, lower / reaches, upper / reaches), at, reaches, places)
