"""Response pieces: the least cost of a leader who decides one number, where followers answer by one affine equilibrium.

With the leader's variable u held, affine conditions are a linear complementarity problem,

    G y = c + d u + V λ,     s = W y − w ≥ 0,     λ ≥ 0,     λ_i s_i = 0        or        s = q(u) + M λ,  M = W G⁻¹ V.

Two answers at the same u would give (λ − λ')ᵀ M (λ − λ') ≤ 0. Where M is positive definite but for what moves nothing
(V λ = 0: the two bounds of a variable) the answer is one, and piecewise affine in u. The pieces are gone through until
they cover the leader's box; on each a quadratic cost is a parabola, and the least of all is the optimum: the point, its
active pairs, and a bound that holds for every answer of the followers.

R. W. Cottle, J.-S. Pang, R. E. Stone, The Linear Complementarity Problem, Academic Press 1992, ch. 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import LinearOperator, onenormest, splu

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.solvers import Program

from .central_path import Pairs

_MOST = 500  # Pairs up to which the matrix is written: it is not sparse.
_PATIENCE = 5  # Times that the number of wrong signs need not fall before one pair at a time changes sides.
_AFRESH = 50  # Changes after which everything is worked out anew.


@dataclass(frozen=True)
class Least:
    """The least cost on all pieces: the point, which pairs are active there, and what no answer costs less than."""

    x: Array
    active: Array
    bound: float


def least_on_pieces(program: Program, pairs: Pairs, led: Array) -> Least | None:
    """The optimum of a program of affine rows and quadratic cost; None where it is not known that answers are one.

    led: numbers of the leader's variables.
    """
    if len(led) != 1 or not 0 < len(pairs.limit) <= _MOST or program.curved_rows:
        return None
    low, high = (float(side[led[0]]) for side in program.bounds)
    if not math.isfinite(high - low):
        return None
    with np.errstate(all="ignore"):
        response = _Response.of(program, pairs, int(led[0]))
        return None if response is None else response.least(low, high)


@dataclass
class _Response:
    """s = q + r u + M λ in units in which M has a diagonal of ones; x = origin + slope u + moves λ."""

    program: Program
    q: Array
    r: Array
    matrix: Array
    origin: Array
    slope: Array
    moves: Array
    sides: tuple[Array, Array, Array, Array]  #: (rows, constants, floor, ceiling) of what else x has to meet.

    @classmethod
    def of(cls, program: Program, pairs: Pairs, led: int) -> _Response | None:
        """None unless conditions are as many as unknowns, and the answer is one for every u."""
        count, (floor, ceiling) = len(program.variables), program.row_bounds
        held = np.zeros(count, dtype=bool)
        held[[led, *pairs.multiplier[pairs.multiplier >= 0]]] = True
        rest, equal = np.flatnonzero(~held), floor == ceiling
        whole = (pairs.multiplier >= 0).all() and len(np.unique(pairs.multiplier)) == len(pairs.multiplier)
        whole = bool(whole and np.isinf(program.bounds[1][pairs.multiplier]).all())
        if not (whole and np.isin(pairs.owner, rest).all() and equal.sum() == len(rest)):
            return None
        start = np.asarray(program.problem.x0, dtype=float)
        jacobian = program.jacobian(start).toarray()
        constants = np.asarray(program.problem.constraints(start)) - jacobian @ start
        conditions = jacobian[equal]
        right = np.column_stack(
            [floor[equal] - constants[equal], -conditions[:, led], -conditions[:, pairs.multiplier]]
        )
        solved = _solved(conditions[:, rest], right)
        if solved is None:
            return None
        points = np.zeros((count, right.shape[1]))
        points[rest], points[led, 1] = solved, 1.0
        points[pairs.multiplier, np.arange(len(pairs.multiplier)) + 2] = 1.0
        rooms = pairs.way[:, np.newaxis] * points[pairs.owner]
        rooms[:, 0] -= pairs.way * pairs.limit
        size = 1.0 / np.sqrt(np.diag(rooms[:, 2:]))  # NaN where it is none
        matrix = size[:, np.newaxis] * rooms[:, 2:] * size
        if not _is_one(matrix, right[:, 2:] * size):
            return None
        away = np.setdiff1d(rest, pairs.owner)
        sides: tuple[Any, Any, Any, Any] = (
            np.vstack([jacobian[~equal], np.eye(count)[away]]),
            np.append(constants[~equal], np.zeros(len(away))),
            np.append(floor[~equal], program.bounds[0][away]),
            np.append(ceiling[~equal], program.bounds[1][away]),
        )
        return cls(
            program,
            size * rooms[:, 0],
            size * rooms[:, 1],
            matrix,
            points[:, 0],
            points[:, 1],
            points[:, 2:] * size,
            sides,
        )

    def least(self, low: float, high: float) -> Least | None:
        """The least cost for u in a box; None where a part of it is without an answer, or nothing there is feasible."""
        best: Least | None = None
        for basis, first, last in self._pieces(low, high):
            if basis is None:
                return None
            x, way = self._line(basis)
            start, end = self._feasible(x, way, first, last)
            if start > end:
                continue
            at = x + start * way
            cost = float(self.program.problem.objective(at))
            slope, bend = float(np.asarray(self.program.problem.gradient(at)) @ way), self._bend(way)
            turn = -slope / bend if bend > 0.0 else math.inf
            for step in (0.0, end - start, min(max(turn, 0.0), end - start)):
                terms = np.array([cost, slope * step, 0.5 * bend * step**2])
                bound = float(terms.sum() - TOLERANCES.rounding * np.abs(terms).sum())
                if best is None or bound < best.bound:
                    best = Least(at + step * way, basis.active.copy(), bound)
        return best

    def _pieces(self, low: float, high: float) -> Iterator[tuple[_Basis | None, float, float]]:
        """(the active pairs, from, to) until they cover the box; None where they are not found."""
        open_, basis = [(low, high)], _Basis(self.matrix, np.column_stack([self.q, self.r]))
        width, left = max(high - low, abs(low), abs(high)), 4 * len(self.q) + 20
        while open_:
            first, last = open_.pop()
            if last - first <= TOLERANCES.cancelled * width and (first > low or last < high):
                continue
            left -= 1
            if not left or not basis.move(first + TOLERANCES.nothing * (last - first)):
                yield None, first, last
                return
            begin, end = basis.interval
            open_ += [(end, last)] if end < last else []
            open_ += [(first, begin)] if begin > first else []
            yield basis, max(first, begin), min(last, end)

    def _line(self, basis: _Basis) -> tuple[Array, Array]:
        """(x at u = 0, dx/du) on a piece."""
        x, way = np.column_stack([self.origin, self.slope]).T + (self.moves @ basis.force).T
        return x, way

    def _feasible(self, x: Array, way: Array, first: float, last: float) -> tuple[float, float]:
        """What rows that are no conditions, and bounds, leave of a piece."""
        rows, constants, floor, ceiling = self.sides
        at, by = rows @ x + constants, rows @ way
        room = TOLERANCES.noise * np.maximum(1.0, np.maximum(np.abs(at + first * by), np.abs(at + last * by)))
        start, end = _between(at, by, floor - room, ceiling + room)
        return max(first, start), min(last, end)

    def _bend(self, way: Array) -> float:
        """The second derivative of the cost along a piece."""
        problem = self.program.problem
        rows, columns = problem.hessian_structure()
        entries = np.asarray(problem.hessian(self.origin, np.zeros(problem.m), 1.0))
        return float((np.where(np.equal(rows, columns), 1.0, 2.0) * entries * way[rows] * way[columns]).sum())


class _Basis:
    """w = sides (1, u) + table z with z = 0: w is λ of active pairs and s of the others, z the other one of each."""

    def __init__(self, matrix: Array, sides: Array) -> None:
        self._first = matrix, sides
        self.table, self.sides = matrix.copy(), sides.copy()
        self.active, self._turns = np.zeros(len(matrix), dtype=bool), 0
        self._room = float(TOLERANCES.cancelled * np.abs(sides).max())  # what rounding leaves below 0

    @property
    def force(self) -> Array:
        """λ of all pairs, (pairs × at u = 0, by u)."""
        return np.where(self.active[:, np.newaxis], self.sides, 0.0)

    @property
    def interval(self) -> tuple[float, float]:
        """Where these active pairs are those of the answer."""
        count = len(self.active)
        at, by = self.sides.T
        return _between(at, by, np.full(count, -self._room), np.full(count, math.inf))

    def move(self, u: float) -> bool:
        """Turn pairs until no sign is wrong at u: all that are wrong, and once that cycles the last one.

        K. G. Murty's rule comes to an end for such matrices. False where it did not.
        """
        fewest, patience = len(self.active) + 1, _PATIENCE
        for _ in range(10 * len(self.active) + 50):
            wrong = np.flatnonzero(self.sides @ (1.0, u) < -self._room)
            if not len(wrong):
                return True
            patience = _PATIENCE if len(wrong) < fewest else patience - 1
            fewest = min(fewest, len(wrong))
            for pair in wrong if patience >= 0 else wrong[-1:]:
                if not self.table[pair, pair] > TOLERANCES.cancelled:
                    return False
                self._turn(int(pair))
        return False

    def _turn(self, pair: int) -> None:
        """Let λ and s of a pair change places."""
        self.active[pair] ^= True
        self._turns += 1
        if self._turns % _AFRESH == 0:
            self._solve()
            return
        pivot, row, column = self.table[pair, pair], self.table[pair].copy(), self.table[:, pair].copy()
        side = self.sides[pair] / pivot
        self.table -= np.outer(column, row / pivot)
        self.sides -= np.outer(column, side)
        self.table[pair], self.table[:, pair], self.table[pair, pair] = -row / pivot, column / pivot, 1.0 / pivot
        self.sides[pair] = -side

    def _solve(self) -> None:
        """Without the rounding of turns before."""
        (matrix, sides), on, off = self._first, np.flatnonzero(self.active), np.flatnonzero(~self.active)
        inverse = np.linalg.inv(matrix[np.ix_(on, on)])
        self.table[np.ix_(on, on)], self.sides[on] = inverse, -inverse @ sides[on]
        self.table[np.ix_(on, off)] = -inverse @ matrix[np.ix_(on, off)]
        self.table[np.ix_(off, on)] = matrix[np.ix_(off, on)] @ inverse
        self.table[np.ix_(off, off)] = matrix[np.ix_(off, off)] - self.table[np.ix_(off, on)] @ matrix[np.ix_(on, off)]
        self.sides[off] = sides[off] + matrix[np.ix_(off, on)] @ self.sides[on]


def _solved(matrix: Array, right: Array) -> Array | None:
    """The solution of a square system; None where it is not determined."""
    try:
        factor = splu(sparse.csc_array(matrix))
    except RuntimeError:
        return None
    inverse = LinearOperator(matrix.shape, factor.solve, rmatvec=lambda b: factor.solve(b, "T"), dtype=float)
    determined = onenormest(inverse) * np.linalg.norm(matrix, 1) * TOLERANCES.noise < 1.0
    return np.asarray(factor.solve(right)) if determined else None


def _is_one(matrix: Array, moves: Array) -> bool:
    """True if λᵀ M λ > 0 for all λ that move anything, and λᵀ M = 0 for the others; M has a diagonal of ones."""
    if not (np.isfinite(matrix).all() and np.isfinite(moves).all()):
        return False
    if linalg.eigvalsh(matrix + matrix.T, subset_by_index=[0, 0])[0] > TOLERANCES.apart:
        return True
    sizes, basis = linalg.svd(moves, full_matrices=True)[1:]
    rank = int((sizes > TOLERANCES.noise * sizes[0]).sum())
    if (sizes[:rank] < TOLERANCES.apart * sizes[0]).any():  # neither one nor the other
        return False
    range_, null = basis[:rank], basis[rank:]
    inner = range_ @ (matrix + matrix.T) @ range_.T / 2.0
    still = np.abs(null @ matrix).max(initial=0.0) <= TOLERANCES.noise
    return bool(still and linalg.eigvalsh(inner)[0] > TOLERANCES.apart)


def _between(at: Array, by: Array, floor: Array, ceiling: Array) -> tuple[float, float]:
    """The u with floor ≤ at + by u ≤ ceiling in every row; none: (inf, −inf)."""
    if ((by == 0.0) & ((at < floor) | (at > ceiling))).any():
        return math.inf, -math.inf
    up, down = by > 0.0, by < 0.0
    lowest = np.append((floor - at)[up] / by[up], (ceiling - at)[down] / by[down])
    highest = np.append((ceiling - at)[up] / by[up], (floor - at)[down] / by[down])
    return float(lowest.max(initial=-math.inf)), float(highest.min(initial=math.inf))
