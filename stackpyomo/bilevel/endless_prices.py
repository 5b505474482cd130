"""Prices without an end: equilibria along a curve on which a price grows, decade after decade, and the cost falls.

Where a follower's rows lose their interior a multiplier has no limit: max y s.t. y² ≤ x has dy*/dx = 1/(2√x). No ray
leads there, but a curve does, on which an active set F of the conditions stays as it is:

    F(x) = 0,    price(x) = t,    t = 2^k price(x⁰),    Newton's method in log |x_j|,

exact for products of powers, which a vanishing row is near its end. Every point has to meet every row relative to the
terms of that row there: an absolute tolerance would take a point without a multiplier for one with a huge one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from pyomo.core.base.var import VarData

from stackpyomo.core import TOLERANCES, Array

from .mpcc import Equilibrium

_LARGE = 300  # Variables up to which curves are followed.

# How many times smaller than at the best answer the price may be where the curve begins: close to its end nothing can
# be re-solved.
_BACK = (1e3, 100.0, 10.0, 1.0)

# How many times as large the price is at the points that are offered, as far as a ray is followed.
_STEPS = (1.0, 30.0, 1e3)

_FARTHEST = 1e7  # How many times as large the price has to become on the curve: so far no bound and no row may end it.
_ITERATIONS = 20  # Newton steps for one point.


def endless_prices(equilibrium: Equilibrium, x: Array, prices: Sequence[VarData]) -> tuple[Array, ...]:
    """Points that meet the conditions with an ever larger price and a cost that falls in proportion; () if unknown.

    x: an answer of the equilibrium (without a treatment), in the order of its program's variables.
    """
    program = equilibrium.program
    if not prices or len(program.variables) > _LARGE:
        return ()
    chosen = {id(v) for v in prices}
    slopes = np.asarray(program.problem.gradient(x))
    for number, var in enumerate(program.variables):
        if id(var) in chosen and slopes[number] and x[number]:
            curve = _Curve(equilibrium, x, number)
            for smaller in _BACK:
                if points := curve.points(x, float(x[number]) / smaller):
                    return points
    return ()


class _Curve:
    """The points with the active set of one, by the level of a price."""

    def __init__(self, equilibrium: Equilibrium, x: Array, price: int) -> None:
        self.program, self.price = equilibrium.program, price
        active = equilibrium.multipliers(x) > equilibrium.slacks(x)
        lower, upper = equilibrium.face(active)
        self.bounds = lower, upper
        self.free = np.flatnonzero(lower < upper)
        self.floor, self.ceiling = self.program.row_bounds
        self.equal = np.flatnonzero(self.floor == self.ceiling)
        self.reaches = self.program.units(x)[0]

    def points(self, x: Array, level: float) -> tuple[Array, ...]:
        """Those of ``_STEPS``, from this price on; () where the curve ends before ``_FARTHEST``."""
        begin = self._reached(np.clip(x, *self.bounds), level)
        if begin is None:
            return ()
        curve = [begin]
        for step in (*_STEPS[1:], _FARTHEST):
            farther = self._reached(curve[-1], step * level)
            if farther is None:
                return ()
            curve.append(farther)
        costs = np.array([float(self.program.problem.objective(point)) for point in curve])
        fallen = costs[0] - costs[1:]
        steps = np.array([*_STEPS[1:], _FARTHEST]) - 1.0
        falls = fallen[0] > 0.0 and (fallen >= 0.5 * steps / steps[0] * fallen[0]).all()
        return tuple(curve[:-1]) if falls else ()

    def _reached(self, x: Array, level: float) -> Array | None:
        """The point of the curve with this price, doubled or halved until there; None where the curve is lost."""
        for target in _doubled(float(x[self.price]), level):
            point = self._corrected(x, target)
            if point is None:
                return None
            x = point
        return x

    def _corrected(self, x: Array, target: float) -> Array | None:
        x = x.copy()
        x[self.price] = target
        free = self.free[self.free != self.price]
        for _ in range(_ITERATIONS):
            residual, slopes, sizes = self._rows(x)
            if np.abs(residual[self.equal] / sizes[self.equal]).max(initial=0.0) <= TOLERANCES.noise:
                return x if self._keeps(x, residual, sizes) else None
            units = np.where(x != 0.0, np.abs(x), self.reaches)[free]
            matrix = slopes[self.equal][:, free] * units / sizes[self.equal][:, None]
            step = np.linalg.lstsq(matrix, -residual[self.equal] / sizes[self.equal], rcond=None)[0]
            if not np.isfinite(step).all():
                return None
            step = np.clip(step, -1.0, 1.0)
            x[free] = np.where(x[free] != 0.0, x[free] * np.exp(np.sign(x[free]) * step), units * step)
        return None

    def _rows(self, x: Array) -> tuple[Array, Array, Array]:
        """(how far bodies are from their limits, slopes, Σ |slope · x|: the size of each row's terms)."""
        body = np.asarray(self.program.problem.constraints(x))
        slopes = self.program.jacobian(x).toarray()
        sizes = np.abs(slopes) @ np.abs(x)
        residual = np.where(
            body > self.ceiling, body - self.ceiling, np.where(body < self.floor, body - self.floor, 0.0)
        )
        return residual, slopes, np.where(sizes > 0.0, sizes, 1.0)

    def _keeps(self, x: Array, residual: Array, sizes: Array) -> bool:
        """Whether bounds hold exactly and all rows relative to their terms."""
        lower, upper = self.program.bounds
        inside = bool(((x >= lower) & (x <= upper)).all())
        return inside and bool((np.abs(residual) <= TOLERANCES.noise * sizes).all())


def _doubled(start: float, end: float) -> Iterator[float]:
    """From start to end, by factors of at most 2."""
    count = max(1, math.ceil(abs(math.log2(end / start)) - TOLERANCES.noise))
    yield from (start * (end / start) ** (step / count) for step in range(1, count + 1))
