"""Central paths: Newton's method for as many conditions as unknowns, pairs λ ≥ 0, s ≥ 0 with λ s = 0 among them.

    g(x) = 0,    λ_i s_i = μ,    μ → 0        (S. Mehrotra, SIAM J. Optim. 2 (1992) 575–601)

An NLP solver has no objective to go by there, and may search long for a point that meets the rows. μ falls as fast as a
trial step with μ = 0 allows; every step leaves the products λ_i s_i of one size and shortens g, or nothing is found.
What is found still has to be verified: a square system may have other solutions.

The multipliers are eliminated, dλ = (r − λ ds) / s, so that what is factorised has a row for each action and each
aggregate: followers are blocks, and fill only what couples them.

The leader's descent along the central path of the followers: Newton's method in the leader's variables alone.

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
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.solvers import Program

_STEPS = 100  # Newton steps at most: a path that can be followed takes twenty or thirty.
_SHORTEST = 0.01  # Part of a step below which the path is lost.
_WIDEST = 100  # The leader's variables, for each of which there is a column of X.
_ROUNDED = 1e-2  # The first μ, beside the product of a large λ and a large s.
_LARGE = 0.9  # What part of them is smaller than a large one.
_LEVELS, _FALL = 5, 1e-2  # How many μ there are, and the next one beside each.
_MOVES = 12  # Steps of the leader at one level.
_NEWTON = 15  # Steps of the followers after one of the leader.
_HALVINGS = 12
_KEPT = 1e-2  # The part of what a step promises that it has to keep.
_INSIDE = 0.1  # What is left of a λ or s that a step would use up.


@dataclass(frozen=True)
class Pairs:
    """Where λ_i and the variable of s_i = ±(variable − limit) stand among a program's variables."""

    multiplier: Array
    owner: Array
    limit: Array
    way: Array  #: (pairs) +1: a lower limit; −1: an upper one.

    def at(self, x: Array) -> tuple[Array, Array]:
        """(λ, s)."""
        return x[self.multiplier], self.way * (x[self.owner] - self.limit)

    def level(self, x: Array) -> float:
        """μ: the mean of λ s."""
        return float(np.prod(self.at(x), axis=0).mean())

    def moved(self, step: Array) -> tuple[Array, Array]:
        """(dλ, ds)."""
        return step[self.multiplier], (self.way * step[self.owner].T).T


def followed(system: System, x: Array) -> Array | None:
    """A solution from a start made interior; None if the system is not square, or the path is lost."""
    if not system.is_square:
        return None
    with np.errstate(all="ignore"):  # what is not finite loses the path
        return system.solved(x)


class System:
    """The system of one program: square, once the variables ``held`` are where they are."""

    def __init__(self, program: Program, pairs: Pairs, held: Array | None = None) -> None:
        self.program, self.pairs = program, pairs
        self.held = np.zeros(0, dtype=int) if held is None else held
        self.right = program.row_bounds[0]
        self.count = len(pairs.limit)
        given = np.zeros(len(program.variables), dtype=bool)
        given[self.held] = given[pairs.multiplier[pairs.multiplier >= 0]] = True
        self.rest = np.flatnonzero(~given)  #: What is left once multipliers are eliminated.

    @property
    def is_square(self) -> bool:
        """True if all rows are equalities, every pair has its Vars, and conditions and unknowns are as many."""
        floor, ceiling = self.program.row_bounds
        pairs = self.pairs
        whole = self.count > 0 and (pairs.multiplier >= 0).all() and np.isin(pairs.owner, self.rest).all()
        apart = len(np.unique(pairs.multiplier)) == self.count
        return bool(whole and apart and len(floor) == len(self.rest) and (floor == ceiling).all())

    def solved(self, x: Array, enough: Callable[[Array], bool] = lambda _: False) -> Array | None:
        """The end of the path from x made interior, or where it is ``enough``; None where the path is lost."""
        x = self._inside(x)
        for _ in range(_STEPS):
            residual = self.residual(x)
            force, room = self.pairs.at(x)
            far = np.abs(residual).max(initial=0.0)
            if max(far, float((force * room).max())) <= TOLERANCES.solver or (far <= TOLERANCES.accuracy and enough(x)):
                return x
            moved = self._step(x, residual, force, room)
            if moved is None:
                return None
            x = moved
        return None

    def residual(self, x: Array) -> Array:
        """g(x)."""
        return np.asarray(self.program.problem.constraints(x)) - self.right

    def _inside(self, x: Array) -> Array:
        """s of 1 where there is room, λ of the size of what it has to balance."""
        lower, upper = self.program.bounds
        margin = np.minimum(1.0, (upper - lower) / 4.0)
        inside, owner = x.copy(), self.pairs.owner
        inside[owner] = np.clip(x, lower + margin, upper - margin)[owner]
        inside[self.pairs.multiplier] = max(1.0, float(np.abs(self.residual(inside)).max(initial=0.0)))
        return inside

    def _step(self, x: Array, residual: Array, force: Array, room: Array) -> Array | None:
        mean = float((force * room).mean())
        try:
            linear = Linear(self, x)
            trial = linear.step(residual, force * room)
        except RuntimeError:  # singular
            return None
        left = self.pairs.level(x + self.longest(trial, force, room) * trial)
        centre = min(1.0, max(left, 0.0) / mean) ** 3
        dforce, droom = self.pairs.moved(trial)
        step = linear.step(residual, force * room - centre * mean + dforce * droom)
        length = 0.99 * self.longest(step, force, room)
        while length >= _SHORTEST:
            moved = np.asarray(x + length * step)
            if self._keeps(moved, (1.0 - _SHORTEST * length) * float(np.linalg.norm(residual))):
                return moved
            length *= 0.7
        return None

    def longest(self, step: Array, force: Array, room: Array) -> float:
        """The part of a step, at most 1, that keeps every λ and s positive."""
        positive, there = np.concatenate([force, room]), np.concatenate(self.pairs.moved(step))
        return float(np.where(there < 0.0, -positive / there, 1.0).min(initial=1.0))

    def _keeps(self, x: Array, most: float) -> bool:
        """True at a point with balanced pairs and rows no further off than ``most``, or than rounding."""
        force, room = self.pairs.at(x)
        balanced = (force * room).min() >= TOLERANCES.balanced * (force * room).mean()
        return bool(balanced and np.linalg.norm(self.residual(x)) <= max(most, TOLERANCES.solver))


class Factors:
    """A square matrix, factorised; raises RuntimeError where it is singular.

    Rows are divided by the sum of their entries: a pivot is then not taken from an aggregate's long row, which would
    fill everything below it.
    """

    def __init__(self, matrix: sparse.csc_array) -> None:
        sums = np.asarray(abs(matrix).sum(axis=1)).ravel()
        self._weights = 1.0 / np.where(sums > 0.0, sums, 1.0)
        self._factors = splu(sparse.csc_array(sparse.diags_array(self._weights) @ matrix))

    def solve(self, right: Array, *, transposed: bool = False) -> Array:
        """matrix⁻¹ right, or (matrixᵀ)⁻¹ right."""
        if transposed:
            return np.asarray(self._weights * self._factors.solve(right, "T"))
        return np.asarray(self._factors.solve(self._weights * right))


class Linear:
    """A system linearised at one point, multipliers eliminated; raises RuntimeError where that is singular."""

    def __init__(self, system: System, x: Array) -> None:
        self.system, pairs = system, system.pairs
        jacobian = sparse.csc_array(system.program.jacobian(x))
        force, self.room = pairs.at(x)
        self.ratio = pairs.way * force / self.room
        self.forces, self.led = jacobian[:, pairs.multiplier], jacobian[:, system.held]
        place = np.full(jacobian.shape[1], -1)
        place[system.rest] = np.arange(len(system.rest))
        self.owner = place[pairs.owner]
        each = np.arange(system.count)
        pushed = sparse.csc_array((self.ratio, (each, self.owner)), shape=(system.count, len(system.rest)))
        matrix = sparse.csc_array(jacobian[:, system.rest] - self.forces @ pushed)
        self._factors = Factors(matrix)

    def step(self, rows: Array, products: Array) -> Array:
        """dx with g′ dx = −rows and s dλ + λ ds = −products."""
        shift = -products / self.room
        rest = self._factors.solve(-rows - self.forces @ shift)
        return self._whole(rest, shift - self.ratio * rest[self.owner])

    @cached_property
    def tangents(self) -> Array:
        """(variables × held) how all follow what is held; 1 where it is that itself."""
        columns = []
        for number, column in enumerate(self.led.toarray().T):
            rest = self._factors.solve(-column)
            columns.append(self._whole(rest, -self.ratio * rest[self.owner]))
            columns[-1][self.system.held[number]] = 1.0
        return np.column_stack(columns)

    def prices(self, gradient: Array) -> tuple[Array, Array]:
        """(p, q) of rows and pairs with g′ᵀ p + (pairs)′ᵀ q = gradient, but in what is held."""
        rows = self._factors.solve(gradient[self.system.rest], transposed=True)
        return rows, -(self.forces.T @ rows) / self.room

    def _whole(self, rest: Array, forces: Array) -> Array:
        step = np.zeros(len(self.system.program.variables))
        step[self.system.rest], step[self.system.pairs.multiplier] = rest, forces
        return step


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
