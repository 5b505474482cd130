"""Least distance: the point of least norm in a polyhedron, or the weights that show that it is empty.

    min ½ Σ w x²   s.t.   A x ≥ r        u = nnls([Aᵀ; rᵀ], e_{n+1}),   ρ = [Aᵀ; rᵀ] u − e_{n+1}

ρ = 0: Aᵀu = 0 and rᵀu = 1, so that no x meets the rows (Farkas). Otherwise x = −ρ_{1..n} / ρ_{n+1} has the least
norm and u / −ρ_{n+1} its multipliers. ‖ρ‖ = 1 / √(1 + ‖x‖²): what is called empty holds no point of norm below that.
Source: Lawson and Hanson, Solving Least Squares Problems (1974), chapter 23.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.optimize import nnls

from stackpyomo.core import TOLERANCES, Array

__all__ = ["Answer", "nearest"]

_SWEEPS = 10_000  # Iterations of nonnegative least squares.


@dataclass(frozen=True)
class Answer:
    """The point of least norm, or the proof that there is none."""

    point: Array | None  #: None: the rows exclude each other.
    #: (rows) ≥ 0, free on equalities: multipliers of the point; or Σ weight · row = 0 with Σ weight · r > 0.
    weights: Array
    #: Where rows exclude each other but for rounding: no point whose norm is below this meets them.
    radius: float = np.inf


def nearest(rows: Array, levels: Array, weights: Array, equal: Array) -> Answer:
    """min ½ Σ w x² subject to rows · x ≥ levels, and = levels where ``equal``.

    rows: (rows × unknowns). weights: (unknowns) > 0, or 0 for an unknown that costs nothing. equal: (rows) booleans.
    """
    rows, levels = np.asarray(rows, dtype=float), np.asarray(levels, dtype=float)
    if not len(rows):
        return Answer(np.zeros(rows.shape[1]), np.zeros(0))
    roots = np.sqrt(np.where(weights > 0.0, weights, TOLERANCES.costless))
    sizes = np.linalg.norm(rows / roots, axis=1)
    unmoved = sizes <= TOLERANCES.noise * np.abs(levels)
    sizes = np.where(unmoved, np.maximum(np.abs(levels), 1.0), sizes)
    scaled, wanted = rows / roots / sizes[:, np.newaxis], levels / sizes
    scaled[unmoved] = 0.0
    left, signed = _dual(scaled, wanted, equal)
    empty = np.linalg.norm(left) <= TOLERANCES.empty or left[-1] >= 0.0
    far = 1.0 if empty else max(1.0, float(np.linalg.norm(left[:-1] / left[-1])))
    if far > 1.0:  # of a point far off rounding leaves little of ρ_{n+1}
        left, signed = _dual(scaled, wanted / far, equal)
    if empty or left[-1] >= 0.0:
        return Answer(None, signed / sizes, _radius(scaled, wanted, signed))
    point, multipliers = -far * left[:-1] / left[-1], -far * signed / left[-1]
    point = _sharpened(scaled, wanted, equal, weights > 0.0, point, multipliers)
    return Answer(point / roots, multipliers / sizes)


def _dual(rows: Array, levels: Array, equal: Array) -> tuple[Array, Array]:
    """(ρ, u), those of an equality both ways taken together."""
    matrix = np.vstack([np.vstack([rows, -rows[equal]]).T, np.concatenate([levels, -levels[equal]])])
    goal = np.zeros(len(matrix))
    goal[-1] = 1.0
    parts, _ = nnls(matrix, goal, maxiter=_SWEEPS)
    signed = parts[: len(rows)].copy()
    signed[equal] -= parts[len(rows) :]
    return matrix @ parts - goal, signed


def _radius(rows: Array, levels: Array, weights: Array) -> float:
    """Σ weight · row is 0 but for rounding: what no shorter point undoes."""
    rest = float(np.linalg.norm(rows.T @ weights))
    return float(levels @ weights) / rest if rest > 0.0 else np.inf


def _sharpened(rows: Array, levels: Array, equal: Array, priced: Array, point: Array, multipliers: Array) -> Array:
    """The point once more from the rows that bind, as equations: what nnls found but for the sum of its rounding."""
    largest = np.abs(multipliers).max(initial=0.0)
    binding = equal | (multipliers > TOLERANCES.noise * largest)
    if not binding.any():
        return point
    count, tight = rows.shape[1], rows[binding]
    system = np.block([[np.diag(priced.astype(float)), -tight.T], [tight, np.zeros((len(tight), len(tight)))]])
    goal = np.concatenate([np.zeros(count), levels[binding]])
    sharp = linalg.lstsq(system, goal, cond=TOLERANCES.rank)[0][:count]
    room = TOLERANCES.residual * (1.0 + np.abs(sharp).max(initial=0.0))
    off = np.where(equal, np.abs(rows @ sharp - levels), levels - rows @ sharp).max(initial=0.0)
    before = np.where(equal, np.abs(rows @ point - levels), levels - rows @ point).max(initial=0.0)
    near = np.linalg.norm((sharp - point)[priced]) <= TOLERANCES.margin * (1.0 + np.linalg.norm(point[priced]))
    return sharp if off <= max(before, room * TOLERANCES.residual) and near else point
