"""Polytopes of parameters: all θ that explain what was seen, where readings are off by no more than ε.

With one action, a composed cost that is convex in it and a slope S(u; θ) affine in θ, the answer lies within ε of what
was read exactly where

    S(y − ε; θ) ≤ 0 ≤ S(y + ε; θ),        a side beyond a bound of the action left out

so that the set is {θ : A θ ≤ b}. Its vertices come from Qhull, in the space that its equalities leave.

Boxes around all parameters that explain every row, where that set is no polytope.

    min / max θ_i   s.t.  |y_t − u_t| ≤ ε_t,   u_t a best answer of row t's follower at θ

are two games of the analyst for each parameter, who now leads with θ towards an end. Their proved bounds, not what the
search found, are the sides of the box: every θ that explains the data lies in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from scipy import linalg, sparse
from scipy.optimize import linprog
from scipy.spatial import HalfspaceIntersection

from stackpyomo.core import TOLERANCES, Array, listed, plain
from stackpyomo.errors import InvalidGame, NoPlan
from stackpyomo.games import Game
from stackpyomo.plans import stackelberg

from .experiments import Experiments

_LOOKS, _SHORTEST = 2, TOLERANCES.accuracy**0.5
"""How often the set is measured in units of what was measured last, and the most that a unit shrinks at once."""


@dataclass(frozen=True, eq=False)
class Polytope:
    """The parameters θ that explain every row within its noise, {θ : A θ ≤ b}."""

    names: list[str]  #: The parameters, columns of A.
    matrix: Array  #: A, (faces × parameters).
    limits: Array  #: b, (faces).
    faces: list[str]  #: What each row of A comes from: a row of the data and its side, or a bound.
    #: Where it is a box that holds all of them, and others besides: why they are no polytope themselves.
    around: str = ""

    @classmethod
    def box(cls, names: list[str], lower: Sequence[float], upper: Sequence[float]) -> Polytope:
        """The polytope of all θ between limits.

        Parameters
        ----------
        names : list of str
            The n parameters.
        lower, upper : sequence of float, length n
            The limits, in the parameters' units.

        Returns
        -------
        Polytope
            With 2 n faces.
        """
        unit, ends = np.eye(len(names)), np.concatenate([upper, np.negative(lower)])
        faces = [f"{name} at most {end:.6g}" for name, end in zip(names, upper, strict=True)]
        faces += [f"{name} at least {end:.6g}" for name, end in zip(names, lower, strict=True)]
        return cls(names, np.vstack([unit, -unit]), ends, faces)

    def contains(self, point: Sequence[float]) -> bool:
        """Whether θ keeps every row, but for rounding.

        Parameters
        ----------
        point : sequence of float
            The parameters, in the order of ``names``.

        Returns
        -------
        bool
            False where some row is broken.
        """
        matrix, limits = self._scaled
        return bool(np.all(matrix @ (np.asarray(point, dtype=float) / self._units) <= limits + TOLERANCES.noise))

    @cached_property
    def conflict(self) -> list[str]:
        """Faces that no θ keeps together; empty where the polytope holds a point."""
        if self._center is not None:
            return []
        matrix, limits = self._scaled
        ones = np.ones((len(limits), 1))
        program = linprog([*np.zeros(len(self.names)), 1.0], np.hstack([matrix, -ones]), limits, bounds=(None, None))
        weights = np.abs(program.ineqlin.marginals)
        return [self.faces[i] for i in np.flatnonzero(weights > TOLERANCES.blame * weights.max())]

    @cached_property
    def ranges(self) -> pd.DataFrame:
        """The least and the largest value of each parameter, ±∞ where nothing limits it."""
        ends = _ends(*self._scaled) * self._units[:, np.newaxis]
        return pd.DataFrame(ends, index=self.names, columns=["low", "high"])

    @cached_property
    def vertices(self) -> pd.DataFrame:
        """Its corners, one a row; raises :class:`InvalidGame` where it is empty, or has no end."""
        if self._center is None:
            raise InvalidGame(f"no parameters explain {listed(self.conflict, 4)} together; allow for more noise.")
        endless = [name for name, ends in zip(self.names, self.ranges.to_numpy(), strict=True) if np.isinf(ends).any()]
        if len(endless):
            raise InvalidGame(f"{endless[0]}: the data do not limit it; give bounds, parameters={{name: (low, high)}}.")
        matrix, limits = self._scaled
        start, directions = self._span
        corners = start + self._corners(matrix @ directions, limits - matrix @ start) @ directions.T
        points = np.unique(np.round(corners / TOLERANCES.noise) * TOLERANCES.noise, axis=0) * self._units
        return pd.DataFrame(points, columns=self.names)

    def sample(self, size: int, seed: int) -> pd.DataFrame:
        """Points drawn evenly from its volume, by hit and run.

        Parameters
        ----------
        size : int
            How many.
        seed : int
            The same seed gives the same points.

        Returns
        -------
        DataFrame
            A row for each point, a column for each parameter.

        Raises
        ------
        InvalidGame
            It is empty, or has no end.
        """
        corners = self.vertices.to_numpy()
        random = np.random.default_rng(seed)
        start, directions = self._span
        if not directions.shape[1]:
            return pd.DataFrame(np.repeat(corners[:1], size, axis=0), columns=self.names)
        inside = (corners / self._units - start) @ directions
        low, high = inside.min(axis=0), inside.max(axis=0)
        matrix, limits = self._scaled
        reduced, room = matrix @ directions, limits - matrix @ start + TOLERANCES.noise
        point, drawn = inside.mean(axis=0), list[Array]()
        while len(drawn) < size:  # hit and run, each step along a random line through the point
            for _ in range(len(low) * 2 + 1):
                way = random.normal(size=len(low)) * (high - low)
                rate, left = reduced @ way, room - reduced @ point
                with np.errstate(divide="ignore", invalid="ignore"):
                    ratio = left / rate
                longest = np.min(ratio[rate > 0], initial=np.inf)
                shortest = np.max(ratio[rate < 0], initial=-np.inf)
                point = point + random.uniform(shortest, longest) * way
            drawn.append((start + directions @ point) * self._units)
        return pd.DataFrame(drawn, columns=self.names)

    def as_dict(self) -> dict[str, Any]:
        """Ranges and, where it has an end everywhere, vertices, as JSON-ready Python objects."""
        ranges = self.ranges
        closed = bool(np.isfinite(ranges.to_numpy()).all())
        vertices = plain(self.vertices.to_dict("records")) if closed else None
        return {"ranges": plain(ranges.T.to_dict("list")), "vertices": vertices}

    @cached_property
    def _units(self) -> Array:
        """The unit of each parameter: how far the set reaches in it.

        Where its own bounds do not tell, or a face of it is missing, what makes the columns of A alike stands for that.
        """
        steep = np.abs(self.matrix).max(axis=0, initial=0.0)
        alike = np.where(steep > 0.0, 1.0 / np.where(steep > 0.0, steep, 1.0), 1.0)
        widths = self._widths()
        units = np.where((widths > 0.0) & np.isfinite(widths), widths, alike)
        for _ in range(_LOOKS):
            lengths = np.diff(_ends(*_even(self.matrix * units, self.limits)))[:, 0]
            # What is shorter may be rounding: the next look tells, in units nearer to it.
            units = np.where(np.isfinite(lengths), np.maximum(lengths, _SHORTEST), 1.0) * units
        return np.asarray(10.0 ** np.round(np.log10(units)))  # corners are rounded in these: 5 stays 5

    def _widths(self) -> Array:
        """How far each parameter's own bounds, the faces that hold no other, lie apart; ∞ where one is missing."""
        rows, columns = np.nonzero(self.matrix * (np.count_nonzero(self.matrix, axis=1) == 1)[:, np.newaxis])
        rates, low, high = self.matrix[rows, columns], *np.full((2, len(self.names)), np.inf)
        np.minimum.at(high, columns[rates > 0.0], (self.limits[rows] / rates)[rates > 0.0])
        np.minimum.at(low, columns[rates < 0.0], -(self.limits[rows] / rates)[rates < 0.0])
        return np.asarray(low + high)

    @cached_property
    def _scaled(self) -> tuple[Array, Array]:
        """A and b with rows of length 1, in the units of the parameters."""
        return _even(self.matrix * self._units, self.limits)

    @cached_property
    def _center(self) -> tuple[Array, float] | None:
        """The centre of the largest ball inside and its radius (at most 1); None where no point is inside."""
        matrix, limits = self._scaled
        return _ball(matrix, limits)

    @cached_property
    def _span(self) -> tuple[Array, Array]:
        """(a point of it, an orthonormal basis of the directions it extends in)."""
        assert self._center is not None
        center, radius = self._center
        if radius > TOLERANCES.noise:
            return center, np.eye(len(center))
        matrix, limits = self._scaled
        count, width = matrix.shape
        # max Σ s, s ≤ 1, A z + s ≤ (b + noise) t: what stays at s = 0 is an equality of the set (Freund et al. 1985).
        rows = sparse.hstack([matrix, sparse.eye_array(count), -(limits + TOLERANCES.noise)[:, np.newaxis]])
        cost = np.concatenate([np.zeros(width), -np.ones(count), [0.0]])
        ends = [(None, None)] * width + [(0.0, 1.0)] * count + [(0.0, 1.0 / TOLERANCES.accuracy)]
        solution = linprog(cost, rows, np.zeros(count), bounds=ends)
        slack = solution.x[width : width + count]
        directions = linalg.null_space(matrix[slack < 1.0 / 2.0], rcond=TOLERANCES.accuracy)
        return solution.x[:width] / solution.x[-1], directions

    def _corners(self, matrix: Array, limits: Array) -> Array:
        """Vertices of a full-dimensional polytope."""
        width = matrix.shape[1]
        if not width:
            return np.zeros((1, 0))
        sizes = np.linalg.norm(matrix, axis=1)
        felt = sizes > TOLERANCES.accuracy
        matrix, limits = matrix[felt] / sizes[felt, np.newaxis], limits[felt] / sizes[felt]
        if width == 1:
            ends = limits / matrix[:, 0]
            return np.array([[ends[matrix[:, 0] < 0].max()], [ends[matrix[:, 0] > 0].min()]])
        inside = _ball(matrix, limits)
        assert inside is not None
        return np.asarray(HalfspaceIntersection(np.hstack([matrix, -limits[:, np.newaxis]]), inside[0]).intersections)


def _even(matrix: Array, limits: Array) -> tuple[Array, Array]:
    """A and b with rows of length 1."""
    sizes = np.linalg.norm(matrix, axis=1)
    sizes = np.where(sizes > 0.0, sizes, 1.0)
    return matrix / sizes[:, np.newaxis], limits / sizes


def _ends(matrix: Array, limits: Array) -> Array:
    """(columns × 2) the least and the largest of each in {z : A z ≤ b}, ±∞ where there is none."""
    ends = np.empty((matrix.shape[1], 2))
    for column, side in np.ndindex(*ends.shape):
        cost = np.zeros(len(ends))
        cost[column] = 1.0 - 2.0 * side
        solution = linprog(cost, matrix, limits, bounds=(None, None))
        ends[column, side] = solution.x[column] if solution.status == 0 else -cost[column] * np.inf
    return ends


def _ball(matrix: Array, limits: Array) -> tuple[Array, float] | None:
    """The largest ball in {z : A z ≤ b}, the rows of A of length 1: its centre and radius, at most 1."""
    width = matrix.shape[1]
    sizes = np.linalg.norm(matrix, axis=1, keepdims=True)
    ends = [(None, None)] * width + [(-np.inf, 1.0)]
    ball = linprog([*np.zeros(width), -1.0], np.hstack([matrix, sizes]), limits, bounds=ends)
    if ball.status != 0 or ball.x[-1] < -TOLERANCES.noise:
        return None
    return ball.x[:width], max(float(ball.x[-1]), 0.0)


def box_around(experiments: Experiments, noise: Array, why: str) -> Polytope:
    """The least box that is proved to hold all parameters of these rows; ``why``: no polytope is exactly that set.

    noise: (readings) how far each may be off. Raises :class:`InvalidGame` for parameters without bounds, where no
    parameters explain the rows, and where an end is not proved.
    """
    loose = next((p.name for p in experiments.parameters if not p.is_bounded), None)
    if loose is not None:
        raise InvalidGame(f"consistent: {why}; give bounds of {loose}: parameters={{name: (low, high)}}.")
    model, pairs = experiments.model, list(zip(experiments.variables, experiments.parameters, strict=True))
    for variable, parameter in pairs:
        variable.setlb(parameter.lower)
        variable.setub(parameter.upper)
    model.near = pyo.ConstraintList()
    model.end = pyo.Objective(expr=0.0)
    model.misfit.deactivate()
    try:
        for reading, room in zip(experiments.readings, noise, strict=True):
            if not math.isnan(reading.value):
                model.near.add(pyo.inequality(reading.value - room, reading.copy, reading.value + room))
        game = Game(model, model.row, name="the game of the analyst")
        low = [_end(game, variable, p.name) for variable, p in pairs]
        high = [-_end(game, -variable, p.name) for variable, p in pairs]
    finally:
        model.del_component(model.near)
        model.del_component(model.end)
        model.misfit.activate()
    box = Polytope.box([p.name for _, p in pairs], low, high)
    return replace(box, around=why)


def _end(game: Game, cost: Any, name: str) -> float:
    """The least cost, proved."""
    game.model.end.set_value(cost)
    try:
        plan = stackelberg(game)
    except NoPlan as none:
        if none.termination != "infeasible":
            raise
        raise InvalidGame(
            "no parameters explain these rows: what was done is farther from every best answer than noise= allows. "
            "Correct the rows, widen the bounds of the parameters, or allow for more noise."
        ) from None
    if not math.isfinite(plan.bound):
        raise InvalidGame(f"consistent: an end of {name} is not proved; use a global solver (SCIP), or fewer rows.")
    return float(plan.bound)
