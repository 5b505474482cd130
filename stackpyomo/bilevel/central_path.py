"""Central paths: Newton's method for as many conditions as unknowns, pairs λ ≥ 0, s ≥ 0 with λ s = 0 among them.

    g(x) = 0,    λ_i s_i = μ,    μ → 0        (S. Mehrotra, SIAM J. Optim. 2 (1992) 575–601)

An NLP solver has no objective to go by there, and may search long for a point that meets the rows. μ falls as fast as a
trial step with μ = 0 allows; every step leaves the products λ_i s_i of one size and shortens g, or nothing is found.
What is found still has to be verified: a square system may have other solutions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.solvers import Program

__all__ = ["Pairs", "followed"]

_STEPS = 100  # Newton steps at most: a path that can be followed takes twenty or thirty.
_SHORTEST = 0.01  # Part of a step below which the path is lost.


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

    def moved(self, step: Array) -> tuple[Array, Array]:
        """(dλ, ds)."""
        return step[self.multiplier], self.way * step[self.owner]


def followed(program: Program, pairs: Pairs, x: Array) -> Array | None:
    """A solution from a start made interior; None if the system is not square, or the path is lost."""
    floor, ceiling = program.row_bounds
    square = len(floor) + len(pairs.limit) == len(program.variables) and (floor == ceiling).all()
    if not square or not len(pairs.limit) or (pairs.multiplier < 0).any() or (pairs.owner < 0).any():
        return None
    system = _System(program, pairs, floor)
    with np.errstate(all="ignore"):  # what is not finite loses the path
        return system.solved(x)


class _System:
    """The square system of one program."""

    def __init__(self, program: Program, pairs: Pairs, right: Array) -> None:
        self.program, self.pairs, self.right = program, pairs, right
        self.count = len(pairs.limit)

    def solved(self, x: Array) -> Array | None:
        x = self._inside(x)
        for _ in range(_STEPS):
            residual = self._residual(x)
            force, room = self.pairs.at(x)
            if max(np.abs(residual).max(initial=0.0), float((force * room).max())) <= TOLERANCES.solver:
                return x
            moved = self._step(x, residual, force, room)
            if moved is None:
                return None
            x = moved
        return None

    def _residual(self, x: Array) -> Array:
        return np.asarray(self.program.problem.constraints(x)) - self.right

    def _inside(self, x: Array) -> Array:
        """s of 1 where there is room, λ of the size of what it has to balance."""
        lower, upper = self.program.bounds
        margin = np.minimum(1.0, (upper - lower) / 4.0)
        inside, owner = x.copy(), self.pairs.owner
        inside[owner] = np.clip(x, lower + margin, upper - margin)[owner]
        inside[self.pairs.multiplier] = max(1.0, float(np.abs(self._residual(inside)).max(initial=0.0)))
        return inside

    def _step(self, x: Array, residual: Array, force: Array, room: Array) -> Array | None:
        mean = float((force * room).mean())
        try:
            solved = _solver(self._matrix(x, force, room))
        except RuntimeError:  # singular
            return None
        trial = solved(-np.concatenate([residual, force * room]))
        left = self._mean(x + self._longest(trial, force, room) * trial)
        centre = min(1.0, max(left, 0.0) / mean) ** 3
        dforce, droom = self.pairs.moved(trial)
        step = solved(-np.concatenate([residual, force * room - centre * mean + dforce * droom]))
        length = 0.99 * self._longest(step, force, room)
        while length >= _SHORTEST:
            moved = np.asarray(x + length * step)
            if self._keeps(moved, (1.0 - _SHORTEST * length) * float(np.linalg.norm(residual))):
                return moved
            length *= 0.7
        return None

    def _matrix(self, x: Array, force: Array, room: Array) -> sparse.csr_array:
        each = np.arange(self.count)
        rows, columns = np.concatenate([each, each]), np.concatenate([self.pairs.multiplier, self.pairs.owner])
        entries = np.concatenate([room, force * self.pairs.way])
        products = sparse.csr_array((entries, (rows, columns)), shape=(self.count, len(x)))
        return sparse.csr_array(sparse.vstack([self.program.jacobian(x), products]))

    def _longest(self, step: Array, force: Array, room: Array) -> float:
        """The part of a step, at most 1, that keeps every λ and s positive."""
        positive, there = np.concatenate([force, room]), np.concatenate(self.pairs.moved(step))
        return float(np.where(there < 0.0, -positive / there, 1.0).min(initial=1.0))

    def _mean(self, x: Array) -> float:
        force, room = self.pairs.at(x)
        return float((force * room).mean())

    def _keeps(self, x: Array, most: float) -> bool:
        """True at a point with balanced pairs and rows no further off than ``most``, or than rounding."""
        force, room = self.pairs.at(x)
        balanced = (force * room).min() >= TOLERANCES.balanced * (force * room).mean()
        return bool(balanced and np.linalg.norm(self._residual(x)) <= max(most, TOLERANCES.solver))


def _solver(matrix: sparse.csr_array) -> Callable[[Array], Array]:
    """right → matrix⁻¹ right; raises RuntimeError where the matrix is singular.

    Rows are divided by the sum of their entries: a pivot is then not taken from an aggregate's long row, which would
    fill everything below it.
    """
    sums = np.asarray(abs(matrix).sum(axis=1)).ravel()
    weights = 1.0 / np.where(sums > 0.0, sums, 1.0)
    factors = splu(sparse.csc_array(sparse.diags_array(weights) @ matrix))
    return lambda right: np.asarray(factors.solve(weights * right))
