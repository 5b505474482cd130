"""The leader's descent along the central path of the followers: Newton's method in the leader's variables alone.

At a level μ the followers' conditions with λ_i s_i = μ make everything a smooth function y(u) of what the leader
decides, and with X = d(u, y)/du, by one factorisation,

    φ(u) = J0(u, y(u))      ∇φ = Xᵀ ∇J0      ∇²φ = Xᵀ (∇²J0 − Σ p ∇²g − Σ q ∇²(λ s)) X

with p, q the prices of rows and pairs in J0. μ falls tenfold from level to level: kinks, where a follower begins or
stops, are rounded off ever less. What comes out says which pairs are active; the polish and the re-solve do the rest.

Z.-Q. Luo, J.-S. Pang, D. Ralph, Mathematical Programs with Equilibrium Constraints, Cambridge 1996, ch. 6.
"""

from __future__ import annotations

import math
import time

import numpy as np
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array

from .central_path import Linear, System

_WIDEST = 100  # The leader's variables, for each of which there is a column of X.
_ROUNDED = 1e-2  # The first μ, beside the product of a large λ and a large s.
_LARGE = 0.9  # What part of them is smaller than a large one.
_LEVELS, _FALL = 5, 1e-2  # How many μ there are, and the next one beside each.
_MOVES = 12  # Steps of the leader at one level.
_NEWTON = 15  # Steps of the followers after one of the leader.
_HALVINGS = 12
_KEPT = 1e-2  # The part of what a step promises that it has to keep.
_INSIDE = 0.1  # What is left of a λ or s that a step would use up.


def descended(system: System, x: Array, until: float = math.inf) -> Array | None:
    """A point near a local optimum of the leader, all pairs within rounding of their sides; None where that is lost.

    ``until``: a time of ``time.monotonic``, after which it is given up.
    """
    if not system.is_square or not 0 < len(system.held) <= _WIDEST:
        return None
    with np.errstate(all="ignore"):
        try:
            return _Descent(system, until).run(x)
        except (RuntimeError, np.linalg.LinAlgError):  # singular
            return None


class _Descent:
    def __init__(self, system: System, until: float) -> None:
        self.system, self.problem, self.until = system, system.program.problem, until
        lower, upper = system.program.bounds
        self.lower, self.upper = lower[system.held], upper[system.held]

    def run(self, x: Array) -> Array | None:
        point = self.system.solved(x, self._is_parted)
        first = 0.0 if point is None else self.system.pairs.level(point)
        for number in range(_LEVELS):
            level = first * _FALL**number
            settled = None if point is None else self._settled(point, level)
            point = None if settled is None else self._best(settled, level)
        return point

    def _is_parted(self, x: Array) -> bool:
        """True once it shows which pairs are active: large λ and large s are not of the same pairs."""
        large = (np.quantile(part, _LARGE) for part in self.system.pairs.at(x))
        return self.system.pairs.level(x) <= _ROUNDED * float(np.prod(list(large)))

    def _settled(self, x: Array, level: float) -> Array | None:
        """The followers' conditions at this level, the leader held; None where Newton's method does not get there."""
        pairs = self.system.pairs
        for _ in range(_NEWTON):
            force, room = pairs.at(x)
            rows, products = self.system.residual(x), force * room - level
            if np.abs(rows).max(initial=0.0) <= TOLERANCES.noise and np.abs(products).max() <= TOLERANCES.sharp * level:
                return x
            step = Linear(self.system, x).step(rows, products)
            if not np.isfinite(step).all():
                return None
            x = x + min(1.0, 0.99 * self.system.longest(step, force, room)) * step
        return None

    def _best(self, x: Array, level: float) -> Array | None:
        """The leader's optimum at this level, from a settled point."""
        cost, held = float(self.problem.objective(x)), self.system.held
        unit = self.system.program.units(x)[2]
        for _ in range(_MOVES):
            if time.monotonic() > self.until:
                return None
            linear = Linear(self.system, x)
            slope, bend = self._derivatives(linear, x)
            step = self._step(x[held], slope, bend)
            promise = -float(slope @ step)
            if not promise > _KEPT * TOLERANCES.solver * unit:
                return x
            part = 1.0
            for _ in range(_HALVINGS):
                ahead = self._ahead(x, linear.tangents @ (part * step))
                ahead[held] = np.clip(x[held] + part * step, self.lower, self.upper)
                tried = self._settled(ahead, level)
                reached = np.inf if tried is None else float(self.problem.objective(tried))
                if tried is not None and reached <= cost - _KEPT * part * promise:
                    x, cost = tried, reached
                    break
                part /= 2.0
            else:
                return x
        return x

    def _derivatives(self, linear: Linear, x: Array) -> tuple[Array, Array]:
        """∇φ and ∇²φ."""
        gradient, tangents = np.asarray(self.problem.gradient(x)), linear.tangents
        rows, products = linear.prices(gradient)
        entries = np.asarray(self.problem.hessian(x, -rows, 1.0))
        lower = sparse.csr_array((entries, self.problem.hessian_structure()), shape=(len(x), len(x)))
        moved = lower @ tangents
        whole = tangents.T @ moved
        bend = whole + whole.T - tangents.T @ (lower.diagonal()[:, None] * tangents)
        forces, rooms = self.system.pairs.moved(tangents)
        crossed = (products[:, None] * forces).T @ rooms
        return tangents.T @ gradient, bend - crossed - crossed.T

    def _step(self, point: Array, slope: Array, bend: Array) -> Array:
        """Newton's step within the bounds, downhill in every direction that is free."""
        free = ~(((point <= self.lower) & (slope > 0.0)) | ((point >= self.upper) & (slope < 0.0)))
        step = np.zeros(len(point))
        if free.any():
            sizes, axes = np.linalg.eigh(bend[np.ix_(free, free)])
            sizes = np.maximum(np.abs(sizes), TOLERANCES.noise * np.abs(sizes).max(initial=1.0))
            step[free] = -axes @ ((axes.T @ slope[free]) / sizes)
        return np.clip(point + step, self.lower, self.upper) - point

    def _ahead(self, x: Array, step: Array) -> Array:
        """x + step, but for λ and s that would be used up."""
        ahead, pairs = x + step, self.system.pairs
        (force, room), (after, left) = pairs.at(x), pairs.at(ahead)
        ahead[pairs.multiplier] = np.where(after > _INSIDE * force, after, _INSIDE * force)
        room = np.where(left > _INSIDE * room, left, _INSIDE * room)
        ahead[pairs.owner] = pairs.limit + pairs.way * room
        return ahead
