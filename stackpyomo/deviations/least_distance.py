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

_SWEEPS = 10_000  # Iterations of nonnegative least squares.
_ROUNDS = 4  # Looks at the rows; between them what rounding left missing of them is made good.
_ROOM = TOLERANCES.noise / 2.0  # What a point may lack of a row's terms, and what a row may be relaxed by.


@dataclass(frozen=True)
class Answer:
    """The point of least norm, or the proof that there is none."""

    point: Array | None  #: None: the rows exclude each other, or rounding lets no point be told that meets them.
    #: (rows) ≥ 0, free on equalities: multipliers of the point; or Σ weight · row = 0 with Σ weight · r > 0.
    weights: Array
    #: Where rows exclude each other but for rounding: no point whose norm is below this meets them.
    radius: float = np.inf


def nearest(rows: Array, levels: Array, weights: Array, equal: Array) -> Answer:
    """min ½ Σ w x² subject to rows · x ≥ levels, and = levels where ``equal``, for unknowns in natural units.

    Every row holds up to ``TOLERANCES.noise`` of its terms; rows that exclude each other by less hold up to that.

    rows: (rows × unknowns). weights: (unknowns) > 0, or 0 for an unknown that costs nothing. equal: (rows) booleans.
    """
    rows, levels = np.asarray(rows, dtype=float), np.asarray(levels, dtype=float)
    if not len(rows):
        return Answer(np.zeros(rows.shape[1]), np.zeros(0))
    roots = np.sqrt(np.where(weights > 0.0, weights, TOLERANCES.costless))
    sizes = np.linalg.norm(rows / roots, axis=1)
    unmoved = sizes <= TOLERANCES.noise * np.abs(levels)
    sizes = np.where(unmoved, np.where(levels == 0.0, 1.0, np.abs(levels)), sizes)
    scaled, wanted = rows / roots / sizes[:, np.newaxis], levels / sizes
    scaled[unmoved] = 0.0
    relaxed = wanted - _ROOM * np.where(equal, 0.0, np.abs(wanted))
    for asked in (wanted, relaxed):  # at the very corner of limits rounding lets rows exclude each other
        point, multipliers = _least(scaled, asked, equal)
        if point is None and asked @ multipliers > TOLERANCES.noise * np.abs(asked) @ np.abs(multipliers):
            return Answer(None, multipliers / sizes, _radius(scaled, asked, multipliers))
        if point is not None:
            point = _met(scaled, asked, equal, _sharpened(scaled, asked, equal, weights > 0.0, point, multipliers))
        if point is not None:
            return Answer(point / roots, multipliers / sizes)
    return Answer(None, np.zeros(len(rows)), 0.0)


def _met(rows: Array, levels: Array, equal: Array, point: Array) -> Array | None:
    """The point, what it lacks of the rows made good by the least steps; None where that does not come to an end."""
    for _ in range(_ROUNDS):
        if _missed(rows, levels, equal, point) <= _ROOM:
            return point
        lacking = levels - rows @ point
        size = np.where(equal, np.abs(lacking), lacking).max()
        step, _ = _least(rows, lacking / size, equal)
        if step is None:
            return None
        point = point + size * step
    return None


def _least(rows: Array, levels: Array, equal: Array) -> tuple[Array | None, Array]:
    """(the point of least norm but for rounding, its multipliers), or (None, weights that show that there is none)."""
    far = max(1.0, float(np.where(equal, np.abs(levels), levels).max()))  # of rows of norm 1: no point is nearer
    left, signed = _dual(rows, levels / far, equal)
    if np.linalg.norm(left) > TOLERANCES.empty and left[-1] < 0.0:
        away = float(np.linalg.norm(left[:-1] / left[-1]))
        if away > 1.0:  # of a point far off rounding leaves little of ρ_{n+1}
            far *= away
            left, signed = _dual(rows, levels / far, equal)
        if left[-1] < 0.0:
            return -far * left[:-1] / left[-1], -far * signed / left[-1]
    return None, signed


def _missed(rows: Array, levels: Array, equal: Array, point: Array) -> float:
    """The largest share of its terms that a row lacks, but for the rounding of the point."""
    lacking, terms = levels - rows @ point, np.abs(rows) @ np.abs(point) + np.abs(levels)
    lacking = np.where(equal, np.abs(lacking), lacking) - TOLERANCES.rounding * np.linalg.norm(point)
    return float((lacking / np.where(terms > 0.0, terms, 1.0)).max())


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
    as_near = _missed(rows, levels, equal, sharp) <= max(_missed(rows, levels, equal, point), TOLERANCES.rounding)
    moved = float(np.linalg.norm((sharp - point)[priced]))
    return sharp if as_near and moved <= TOLERANCES.margin * float(np.linalg.norm(point[priced])) else point
