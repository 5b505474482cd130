"""Gains: the linear system that makes a plan stationary for every follower under what the leader observes.

With b_k = ∂J_k/∂u_0, s_j what is left of follower k's slope for the leader to balance at its action j, and M what the
action moves of the signals, a gain K (leader variables × signals) is valid iff

    Σ_l Σ_s b_kl M_sj K_ls = −s_j      for every action j of every observed follower k = k(j)

over the entries that the leader may use. The system falls into components that share no entry of K: one per action
where every action is observed, one for all followers who share a single average.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import linalg, sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import lsmr

from stackpyomo.core import TOLERANCES, Array, largest_by_row, ranges, rows_scaled

#: Entries up to which a component is solved densely; beyond, iteratively, its rank being that of the pattern.
_DENSE = 40_000_000

_SVD = 300  # Equations or entries up to which singular values are computed; beyond, a pivoted QR finds the rank.


@dataclass(frozen=True)
class Component:
    """Equations and unknowns that have nothing to do with the others."""

    rows: Array
    columns: Array


@dataclass(frozen=True)
class System:
    """matrix · K = −slope, one row per action (empty where nothing can be balanced), one column per entry of K."""

    #: (actions × entries), with its zeros: an entry that balances nothing at the plan may still bend a cost.
    matrix: sparse.csr_array
    leader: Array  #: For each entry the number of the leader's variable.
    signal: Array  #: For each entry the number of the signal.
    shape: tuple[int, int]  #: (leader variables, signals).
    #: How many entries of K the leader may use at all; those that move nobody are not among the columns.
    permitted: int
    weights: Array  #: Energy of a unit of each entry.
    #: How well each equation is known, relative to its norm: what is less in a combination of them counts as zero.
    doubt: Array

    @cached_property
    def labels(self) -> tuple[Array, Array]:
        """For each equation and each unknown the number of its component."""
        rows, columns = self.matrix.shape
        entries = self.matrix.tocoo()
        graph = sparse.csr_array(
            (np.ones(entries.nnz), (entries.row, entries.col + rows)), shape=(rows + columns, rows + columns)
        )
        _, labels = csgraph.connected_components(graph, directed=False)
        return labels[:rows], labels[rows:]

    @cached_property
    def row_sizes(self) -> Array:
        """Norm of each equation (1 if it is empty): its follower's units of cost, which tell nothing of its gain."""
        return _norms(self.matrix)

    def evened(self, part: Component) -> Array:
        """The component's equations, dense, each of norm 1: what has the same solutions and an honest rank."""
        return np.asarray(self.matrix[part.rows][:, part.columns].toarray() / self.row_sizes[part.rows, np.newaxis])

    def cut(self, part: Component) -> float:
        """Singular values below this, relative to the largest, count as zero."""
        return max(TOLERANCES.rank, float(self.doubt[part.rows].max(initial=0.0)))

    def is_solvable(self, part: Component, slope: Array) -> bool:
        """True if some K meets the component's equations as they stand, however well they are known."""
        if len(part.rows) * len(part.columns) > _DENSE:
            return False
        block = sparse.csr_array(self.matrix[part.rows][:, part.columns] / np.sqrt(self.weights[part.columns]))
        sizes, right = _norms(block), -slope[part.rows]
        solution, _ = _fitted(sparse.csr_array(rows_scaled(block, 1.0 / sizes)), right / sizes, TOLERANCES.rank)
        return _is_met(block, solution, right)

    def single(self) -> Array:
        """True for equations that share no unknown with another."""
        by_row, _ = self.labels
        return np.asarray(np.bincount(by_row)[by_row] == 1)

    def components(self, equations: Array | None = None) -> Iterator[Component]:
        """Components of more than one equation; or all that hold one of these equations."""
        by_row, by_column = self.labels
        counts = np.bincount(by_row, minlength=1)
        chosen = np.unique(by_row[equations]) if equations is not None else np.flatnonzero(counts > 1)
        order, along = np.argsort(by_row, kind="stable"), np.argsort(by_column, kind="stable")
        starts, stops = (np.searchsorted(by_row[order], chosen, side) for side in ("left", "right"))
        begins, ends = (np.searchsorted(by_column[along], chosen, side) for side in ("left", "right"))
        for start, stop, begin, end in zip(starts, stops, begins, ends, strict=True):
            yield Component(np.sort(order[start:stop]), np.sort(along[begin:end]))

    def least_energy(self, slope: Array) -> tuple[Array, int]:
        """(K of least Σ w K² among the least-squares solutions, rank): closed form where an equation stands alone."""
        root = np.sqrt(self.weights)
        scaled = sparse.csr_array(self.matrix.multiply(1.0 / root[np.newaxis, :]))
        sizes = _norms(scaled)
        evened = rows_scaled(scaled, 1.0 / sizes)
        alone = self.single() & (np.abs(evened).sum(axis=1) > 0.0)
        gain = evened.T @ np.where(alone, -slope / sizes, 0.0)
        rank = int(alone.sum())
        for part in self.components():
            block = scaled[part.rows][:, part.columns]
            part_gain, independent = _least_norm(block, -slope[part.rows], self.cut(part))
            gain[part.columns] = part_gain
            rank += independent
        return gain / root, rank

    def without(self, lost: Array) -> System:
        """The same system with some entries of K held at 0."""
        matrix = sparse.csr_array(self.matrix.multiply(~lost[np.newaxis, :]))
        matrix.eliminate_zeros()
        return replace(self, matrix=matrix)

    def null_space(self) -> list[tuple[Array, Array]]:
        """(columns, basis of {z : matrix z = 0} over them, one direction a row) for each component that has any."""
        bases = []
        for part in self.components(np.arange(self.matrix.shape[0])):
            if len(part.columns):
                basis = linalg.null_space(self.evened(part), rcond=self.cut(part)).T
                bases += [(part.columns, basis)] if len(basis) else []
        return bases

    def in_units(self, equations: Array, entries: Array) -> System:
        """The same system where one of an equation, and of an entry of K, is as large as this in the units now."""
        matrix = sparse.csr_array(rows_scaled(self.matrix, 1.0 / equations))
        matrix.data = matrix.data * entries[matrix.indices]
        return replace(self, matrix=matrix, weights=self.weights * entries**2)

    def as_matrix(self, gain: Array) -> sparse.csc_array:
        """K as a (leader variables × signals) matrix."""
        matrix = sparse.csc_array((gain, (self.leader, self.signal)), shape=self.shape)
        matrix.eliminate_zeros()
        return matrix

    def as_entries(self, matrix: sparse.csc_array) -> Array:
        """The entries of a (leader variables × signals) matrix that stand in the system."""
        return picked(sparse.csr_array(matrix), self.leader, self.signal)


def picked(matrix: sparse.csr_array, rows: Array, columns: Array) -> Array:
    """matrix[rows, columns] as numbers; where nothing is asked for, SciPy would answer with a sparse array."""
    return np.asarray(matrix[rows, columns]).ravel() if len(rows) else np.zeros(0)


def gain_system(
    leader: sparse.csr_array,
    moves: sparse.csr_array,
    owners: Array,
    weights: Array,
    counts: Array,
    allowed: sparse.csr_array | None,
) -> System:
    """The system for b (followers × leader variables), M (signals × actions) and what is allowed (None: all).

    A unit of the gain of a leader variable on a signal has the energy weights · counts of the two.
    """
    shown = moves.tocoo()
    if allowed is None:  # every leader variable that the follower feels, for every signal of the action
        rows = leader.indptr[owners[shown.col]], leader.indptr[owners[shown.col] + 1]
        pair, place = ranges(*rows)
        instrument, effect = leader.indices[place], leader.data[place]
    else:  # every leader variable that may use the signal, where the follower feels it
        columns = allowed.tocsc()
        pair, place = ranges(columns.indptr[shown.row], columns.indptr[shown.row + 1])
        instrument = columns.indices[place]
        felt = _looked_up(leader, owners[shown.col[pair]], instrument)
        pair, instrument, effect = pair[felt >= 0], instrument[felt >= 0], leader.data[felt[felt >= 0]]
    row, signal, data = shown.col[pair], shown.row[pair], shown.data[pair] * effect
    signals, instruments = moves.shape[0], leader.shape[1]
    keys, column = np.unique(instrument.astype(np.int64) * max(signals, 1) + signal, return_inverse=True)
    matrix = sparse.csr_array((data, (row, column)), shape=(len(owners), len(keys)))
    by_entry, by_signal = (keys // max(signals, 1)).astype(int), (keys % max(signals, 1)).astype(int)
    return System(
        matrix=matrix,
        leader=by_entry,
        signal=by_signal,
        shape=(instruments, signals),
        permitted=instruments * signals if allowed is None else int(allowed.nnz),
        weights=weights[by_entry] * counts[by_signal],
        doubt=np.zeros(len(owners)),
    )


def _looked_up(matrix: sparse.csr_array, row: Array, column: Array) -> Array:
    """Place of each entry in the matrix's data, −1 where it has none."""
    entries = matrix.tocoo()
    order = np.argsort(entries.row.astype(np.int64) * matrix.shape[1] + entries.col, kind="stable")
    keys = (entries.row.astype(np.int64) * matrix.shape[1] + entries.col)[order]
    places = row.astype(np.int64) * matrix.shape[1] + column
    place = np.minimum(np.searchsorted(keys, places), max(len(keys) - 1, 0))
    present = keys[place] == places if len(keys) else np.zeros(len(places), dtype=bool)
    return np.where(present, order[place] if len(keys) else -1, -1)


def _least_norm(block: sparse.csr_array, right: Array, cut: float) -> tuple[Array, int]:
    """(least-norm solution, rank) of the equations scaled to norm 1; where not all can be met, the fit as they are."""
    sizes = _norms(block)
    solution, rank = _fitted(sparse.csr_array(rows_scaled(block, 1.0 / sizes)), right / sizes, cut)
    if _is_met(block, solution, right):
        return solution, rank
    return _fitted(block, right, cut)[0], rank


def _norms(block: sparse.csr_array) -> Array:
    """Norm of each equation, 1 if it is empty."""
    largest = largest_by_row(np.abs(block.data), block.indptr)
    largest = np.where(largest > 0.0, largest, 1.0)
    squares = np.asarray(rows_scaled(block, 1.0 / largest).power(2).sum(axis=1)).ravel()  # of numbers that have one
    return largest * np.where(squares > 0.0, np.sqrt(squares), 1.0)


def _is_met(block: sparse.csr_array, solution: Array, right: Array) -> bool:
    noise = TOLERANCES.residual * (abs(block) @ np.abs(solution) + np.abs(right))
    return bool((np.abs(block @ solution - right) <= noise).all())


def _fitted(block: sparse.csr_array, right: Array, cut: float) -> tuple[Array, int]:
    """(least-norm least-squares solution, rank)."""
    if block.shape[0] * block.shape[1] > _DENSE:
        fit = lsmr(block, right, atol=TOLERANCES.rank, btol=TOLERANCES.rank, maxiter=10 * min(block.shape))[0]
        return np.asarray(fit), int(csgraph.structural_rank(sparse.csr_matrix(block)))
    driver = "gelsd" if min(block.shape) <= _SVD else "gelsy"
    fit, _, rank, _ = linalg.lstsq(block.toarray(), right, cond=cut, lapack_driver=driver)
    return np.asarray(fit), int(rank)
