"""What an answer is worth, computed from the problem alone: residuals and least-squares multipliers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import lsq_linear, nnls

from stackpyomo.core import Array, newton_steps

DENSE = 500  #: Columns up to which nonnegative least squares is solved exactly, by an active-set method.


@dataclass(frozen=True)
class Residuals:
    """KKT residuals of a point, in natural units; NaN where they are not known."""

    outside_bounds: Array  #: (variables) how far each is beyond its bounds.
    outside_rows: Array  #: (rows) how far each is beyond its limits.
    feasibility: float  #: The largest of these; so are the others.
    stationarity: float = math.nan
    complementarity: float = math.nan

    def as_dict(self) -> dict[str, float]:
        """The three largest residuals by name."""
        return {kind: getattr(self, kind) for kind in ("feasibility", "stationarity", "complementarity")}


def least_nonnegative(matrix: Any, wanted: Array) -> Array:
    """argmin ‖matrix · p − wanted‖ over p ≥ 0, columns scaled to norm 1 first; sparse where it is large."""
    if not matrix.shape[1]:
        return np.zeros(0)  # scipy's nnls frees memory twice
    norms = np.sqrt(np.asarray(sparse.csc_array(matrix).power(2).sum(axis=0)).ravel())
    scale = np.where(norms > 0, 1.0 / np.where(norms > 0, norms, 1.0), 0.0)
    scaled = sparse.csc_array(matrix) * scale[np.newaxis, :]
    if scaled.shape[1] <= DENSE:
        return np.asarray(scale * nnls(scaled.toarray(), wanted)[0])
    return np.asarray(scale * lsq_linear(scaled, wanted, (0.0, np.inf)).x)


def weights_of_slopes(gradient: Array, held: Array) -> Array:
    """What slopes weigh in least squares: those that bounds hold no more than the others, whose digits they would take.

    A bound makes up for any slope, so that an immense one says nothing of the rows' multipliers.
    """
    sizes = np.abs(gradient)
    others = sizes[~held].max(initial=0.0) or sizes[sizes > 0.0].min(initial=math.inf)
    weights, steep = np.ones(len(sizes)), held & (sizes > others)
    weights[steep] = others / sizes[steep]
    return weights


def violations(point: Array, lower: Array, upper: Array) -> Array:
    """How far beyond its limits each is."""
    with np.errstate(invalid="ignore"):  # what has no value is NaN
        return np.asarray(np.maximum(0.0, np.maximum(lower - point, point - upper)))


def split_force(force: Array, point: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Split |force| into (stationarity, complementarity) by the distance to the bound it pushes against."""
    size = np.abs(force)
    with np.errstate(invalid="ignore"):  # where nothing is finite, the residual is NaN
        distance = np.abs(np.where(force > 0, point - lower, upper - point))
        near = distance < 1.0
        return np.where(near, 0.0, size), np.where(near, size * np.where(near, distance, 0.0), 0.0)


def steps_at(program: Any, x: Array, duals: Array | None) -> Array:
    """(variables) after which the slope of the Lagrangian is gone: a unit also at a solver's 0, which tells no size."""
    problem = program.problem
    multipliers = np.zeros(problem.m) if duals is None else np.nan_to_num(duals)
    slopes = np.asarray(problem.gradient(x)) - program.jacobian(x).T @ multipliers
    rows, columns = (np.asarray(part, dtype=int) for part in problem.hessian_structure())
    bends, alone = np.asarray(problem.hessian(x, -multipliers, 1.0)), rows == columns
    return newton_steps(slopes, np.bincount(rows[alone], bends[alone], len(x)))
