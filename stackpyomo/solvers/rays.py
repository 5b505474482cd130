"""Rays: whether an objective that a solver called unbounded really falls without limit over a program's rows.

A direction d of a point x that leaves no row and no bound, however far it is followed,

    min ∇f(x)·d   s.t.  d ≥ 0 at lower limits, ≤ 0 at upper ones, = 0 at equalities;  H d = 0 first, then without,

is found by a linear program and then followed: at x + t d, t up to a thousand reaches, all rows hold and f has
fallen in proportion. Where rows are affine and H d = 0 that is a proof; elsewhere what is shown is points so far out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from stackpyomo.core import TOLERANCES, Array, Scales

from .program import Program, scales_of

_STEPS = (1.0, 30.0, 1e3)  # How far a direction is followed, in reaches.


def ray(program: Program, x: Array) -> tuple[Array, ...]:
    """Feasible points ever farther out from x, along which the objective falls in proportion; () if none is known."""
    if not len(x):
        return ()
    units = scales_of(program, x)
    for direction in _directions(program, x, units):
        points = tuple(x + step * direction for step in _STEPS)
        if _falls(program, x, points):
            return points
    return ()


def _directions(program: Program, x: Array, units: Scales) -> Iterator[Array]:
    """Per program the steepest direction, in reaches, that no row stops: first among those that bend nothing."""
    problem, (lower, upper), (floor, ceiling) = program.problem, program.bounds, program.row_bounds
    reach = units.reaches
    steps = sparse.diags_array(reach)
    slopes = sparse.csr_array(program.jacobian(x) @ steps)
    sizes = np.where(units.of_rows()[1:] > 0.0, units.of_rows()[1:], 1.0)
    slopes = sparse.csr_array(sparse.diags_array(1.0 / sizes) @ slopes) if len(sizes) else slopes
    cost = np.asarray(problem.gradient(x)) * reach
    size = float(np.abs(cost).max(initial=0.0))
    if not size or not np.isfinite(cost).all() or not np.isfinite(slopes.data).all():
        return
    below, above = np.isfinite(floor), np.isfinite(ceiling)
    within = sparse.vstack([slopes[np.flatnonzero(above)], -slopes[np.flatnonzero(below)]])
    weights = np.random.default_rng(0).uniform(0.5, 1.0, len(floor))
    entries = problem.hessian(x, weights / sizes, 1.0 / size)
    bends = sparse.csr_array((entries, problem.hessian_structure()), shape=(len(x), len(x)))
    bends = steps @ (bends + bends.T - sparse.diags_array(bends.diagonal())) @ steps
    whole = np.array([not v.is_continuous() for v in program.variables])
    box = np.stack([np.where(np.isfinite(lower) | whole, 0.0, -1.0), np.where(np.isfinite(upper) | whole, 0.0, 1.0)], 1)
    for flat in (True, False) if bends.nnz else (False,):
        answer = linprog(
            cost / size,
            A_ub=within if within.shape[0] else None,
            b_ub=np.zeros(within.shape[0]) if within.shape[0] else None,
            A_eq=bends if flat else None,
            b_eq=np.zeros(len(x)) if flat else None,
            bounds=box,
        )
        if answer.status == 0 and answer.fun < -TOLERANCES.sharp:
            yield reach * np.where(np.abs(answer.x) > TOLERANCES.noise, answer.x, 0.0)


def _falls(program: Program, x: Array, points: tuple[Array, ...]) -> bool:
    start = float(program.problem.objective(x))
    first = start - float(program.problem.objective(points[0]))
    if not first > 0.0:
        return False
    for step, point in zip(_STEPS, points, strict=True):
        fallen = start - float(program.problem.objective(point))
        if not math.isfinite(fallen) or fallen < 0.5 * step * first:
            return False
        if not program.residuals(point, None).feasibility <= TOLERANCES.feasibility:
            return False
    return True
