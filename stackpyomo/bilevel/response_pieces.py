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
    if len(led) != 1 or not 0 < len(pairs.limit) <= _MOST or program.curved_rows or program.sets:
        return None
    if not all(v.is_continuous() for v in program.variables):
        return None
    low, high = (float(side[led[0]]) for side in program.bounds)
    if not math.isfinite(high - low):
        return None
    with np.errstate(all="ignore"):
        nearest = min(max(0.0, low), high)
        response = _Response.of(program, pairs, int(led[0]), nearest)
        return None if response is None else response.least(low - nearest, high - nearest)


@dataclass
class _Sides:
    """floor ≤ rows x + constants ≤ ceiling: what x has to meet beside conditions."""

    rows: Array
    constants: Array
    floor: Array
    ceiling: Array
    sizes: Array  #: |rows|, times what is lost of each variable where terms cancel: of u nothing but its rounding.
    room: Array  #: What is lost beside, at least.

    @classmethod
    def of(cls, program: Program, jacobian: Array, constants: Array, led: int, own: Array) -> _Sides:
        """own: numbers of variables whose bounds are conditions."""
        (lower, upper), (floor, ceiling) = program.bounds, program.row_bounds
        bounded = np.flatnonzero(np.isfinite(lower) | np.isfinite(upper))
        free, away = floor != ceiling, np.setdiff1d(bounded, own)
        rows = np.vstack([jacobian[free], np.eye(jacobian.shape[1])[away]])
        constants = np.append(constants[free], np.zeros(len(away)))
        reaches, units, _ = program.units(np.asarray(program.problem.x0, dtype=float))
        sizes = TOLERANCES.noise * np.abs(rows)
        sizes[:, led] = TOLERANCES.rounding * np.abs(rows[:, led])
        room = TOLERANCES.cancelled * np.append(units[free], reaches[away]) + TOLERANCES.rounding * np.abs(constants)
        limits = np.append(floor[free], lower[away]), np.append(ceiling[free], upper[away])
        return cls(rows, constants, *limits, sizes, room)

    def between(self, line: Array, sizes: Array, sign: float) -> tuple[float, float]:
        """The u of this sign for which line · (1, u) meets them; sizes: of the terms that add up to the line."""
        (at, by), room = (self.rows @ line).T, (self.sizes @ sizes).T
        at, room[0] = at + self.constants, room[0] + self.room
        rooms = np.tile(room, 2)
        return _between(np.append(at - self.floor, self.ceiling - at), np.append(by, -by), rooms, sign)


@dataclass
class _Response:
    """s = q + r u + M λ in units in which M has a diagonal of ones; x = origin + slope u + moves λ.

    u is counted from the point of the box that is nearest to 0: q is of the size of what it is there.
    """

    program: Program
    q: Array
    r: Array
    matrix: Array
    line: Array  #: (origin, slope).
    moves: Array
    sides: _Sides

    @classmethod
    def of(cls, program: Program, pairs: Pairs, led: int, nearest: float) -> _Response | None:
        """None unless conditions are as many as unknowns, and the answer is one for every u."""
        count, (floor, ceiling) = len(program.variables), program.row_bounds
        given = np.zeros(count, dtype=bool)
        given[[led, *pairs.multiplier[pairs.multiplier >= 0]]] = True
        rest, equal = np.flatnonzero(~given), floor == ceiling
        whole = (pairs.multiplier >= 0).all() and len(np.unique(pairs.multiplier)) == len(pairs.multiplier)
        whole = bool(whole and np.isinf(program.bounds[1][pairs.multiplier]).all())
        if not (whole and np.isin(pairs.owner, rest).all() and equal.sum() == len(rest)):
            return None
        jacobian = program.jacobian(np.zeros(count)).toarray()
        constants = np.asarray(program.problem.constraints(np.zeros(count)))
        conditions = jacobian[equal]
        first = floor[equal] - constants[equal] - conditions[:, led] * nearest
        right = np.column_stack([first, -conditions[:, led], -conditions[:, pairs.multiplier]])
        solved = _solved(conditions[:, rest], right, np.searchsorted(rest, pairs.owner))
        if solved is None:
            return None
        points = np.zeros((count, right.shape[1]))
        points[rest], points[led, :2] = solved, (nearest, 1.0)
        points[pairs.multiplier, np.arange(len(pairs.multiplier)) + 2] = 1.0
        rooms = pairs.way[:, np.newaxis] * points[pairs.owner]
        rooms[:, 0] -= pairs.way * pairs.limit
        size = 1.0 / np.sqrt(np.diag(rooms[:, 2:]))  # NaN where it is none
        matrix = size[:, np.newaxis] * rooms[:, 2:] * size
        if not _is_one(matrix, right[:, 2:] * size):
            return None
        return cls(
            program,
            size * rooms[:, 0],
            size * rooms[:, 1],
            matrix,
            points[:, :2],
            points[:, 2:] * size,
            _Sides.of(program, jacobian, constants, led, np.append(pairs.owner, [led, *pairs.multiplier])),
        )

    def least(self, low: float, high: float) -> Least | None:
        """The least cost for u in a box; None where a part of it is without an answer, or nothing there is feasible."""
        best: Least | None = None
        for basis, first, last in self._pieces(low, high):
            if basis is None:
                return None
            x, way = (line := self.line + self.moves @ basis.force).T
            sizes = np.abs(self.line) + np.abs(self.moves) @ np.abs(basis.force)
            start, end = self.sides.between(line, sizes, first + last)
            start, end = max(first, start), min(last, end)
            if start > end:
                continue
            base = min(max(0.0, start), end)
            slope, bend = float(self._gradient(x + base * way) @ way), self._bend(way)
            turn = base - slope / bend if bend > 0.0 else start
            for u in (start, end, min(max(turn, start), end)):
                at = x + u * way
                cost = float(self.program.problem.objective(at))
                size = abs(cost) + float(np.abs(self._gradient(at)) @ np.maximum(np.abs(x), np.abs(u * way)))
                bound = cost - TOLERANCES.rounding * size
                if best is None or bound < best.bound:
                    best = Least(at, basis.active.copy(), bound)
        return best

    def _pieces(self, low: float, high: float) -> Iterator[tuple[_Basis | None, float, float]]:
        """(the active pairs, from, to) until they cover the box; None where they are not found."""
        open_ = [(low, high)] if low >= 0.0 or high <= 0.0 else [(low, 0.0), (0.0, high)]  # one sign each
        basis, left = _Basis(self.matrix, np.column_stack([self.q, self.r])), 4 * len(self.q) + 20
        while open_:
            first, last = open_.pop()
            if last - first <= TOLERANCES.cancelled * max(-first, last) and (first > low or last < high):
                continue
            left -= 1
            if not left or not basis.move(first + TOLERANCES.nothing * (last - first)):
                yield None, first, last
                return
            begin, end = basis.interval(first + last)
            open_ += [(end, last)] if end < last else []
            open_ += [(first, begin)] if begin > first else []
            yield basis, max(first, begin), min(last, end)

    def _gradient(self, x: Array) -> Array:
        return np.asarray(self.program.problem.gradient(x))

    def _bend(self, way: Array) -> float:
        """The second derivative of the cost along a piece."""
        problem = self.program.problem
        rows, columns = problem.hessian_structure()
        entries = np.asarray(problem.hessian(self.line[:, 0], np.zeros(problem.m), 1.0))
        return float((np.where(np.equal(rows, columns), 1.0, 2.0) * entries * way[rows] * way[columns]).sum())


class _Basis:
    """w = sides (1, u) + table z with z = 0: w is λ of active pairs and s of the others, z the other one of each."""

    def __init__(self, matrix: Array, sides: Array) -> None:
        self._first = matrix, sides
        self.table, self.sides = matrix.copy(), sides.copy()
        self.active, self._turns = np.zeros(len(matrix), dtype=bool), 0
        self._room = TOLERANCES.cancelled * np.abs(sides).max(axis=0)  # what rounding leaves: (at u = 0, by u)

    @property
    def force(self) -> Array:
        """λ of all pairs, (pairs × at u = 0, by u)."""
        return np.where(self.active[:, np.newaxis], self.sides, 0.0)

    def interval(self, sign: float) -> tuple[float, float]:
        """The u of this sign where these active pairs are those of the answer."""
        at, by = self.sides.T
        return _between(at, by, self._room, sign)

    def move(self, u: float) -> bool:
        """Turn pairs until no sign is wrong at u: all that are wrong, and once that cycles the last one.

        K. G. Murty's rule comes to an end for such matrices. False where it did not.
        """
        fewest, patience = len(self.active) + 1, _PATIENCE
        for _ in range(10 * len(self.active) + 50):
            wrong = np.flatnonzero(self.sides @ (1.0, u) < -self._room @ (1.0, abs(u)))
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


def _solved(matrix: Array, right: Array, own: Array) -> Array | None:
    """The solution of a square system; None where it is not determined.

    Nor where what column 2 + i does to unknown own[i] may be what rounding leaves: an equality may hold that unknown.
    """
    try:
        factor = splu(sparse.csc_array(matrix))
    except RuntimeError:
        return None
    inverse = LinearOperator(matrix.shape, factor.solve, rmatvec=lambda b: factor.solve(b, "T"), dtype=float)
    if not onenormest(inverse) * np.linalg.norm(matrix, 1) * TOLERANCES.noise < 1.0:
        return None
    solved = np.asarray(factor.solve(right))
    effects, back = solved[:, 2:], factor.solve(np.eye(len(matrix))[:, own], "T")
    terms = abs(factor.L) @ (abs(factor.U) @ np.abs(effects)[np.argsort(factor.perm_c)])
    sizes = (np.abs(back) * terms[factor.perm_r]).sum(axis=0)
    known = np.abs(effects[own, np.arange(len(own))]) > TOLERANCES.noise * sizes
    return solved if known.all() else None


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


def _between(at: Array, by: Array, room: Array, sign: float) -> tuple[float, float]:
    """The u of this sign with at + by u ≥ −(room, |u| room) · (1, 1) in every row; none: (inf, −inf)."""
    at, by = at + room[0], by + math.copysign(1.0, sign) * room[1]
    if ((by == 0.0) & (at < 0.0)).any():
        return math.inf, -math.inf
    ends, up, down = -at / by, by > 0.0, by < 0.0
    return float(ends[up].max(initial=-math.inf)), float(ends[down].min(initial=math.inf))
