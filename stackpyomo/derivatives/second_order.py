"""Curvatures: second derivatives of the followers' problems as they are once the strategy is announced.

With T_k = d(everything)/d(own actions of one member of k) — its own actions, aggregates by its share, the leader's
variables by the gain — the composed problem of follower k has at the plan

    gradient  T_kᵀ ∇L_k          Hessian  H_k = T_kᵀ ∇²L_k T_k,   L_k = J_k + multipliers · own constraints

and two followers meet in the Jacobian of the game's pseudo-gradient, T_iᵀ ∇²L_i T̃_j.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from stackpyomo.core import Array, matches
from stackpyomo.core.expressions import is_convex_problem
from stackpyomo.games import Follower

from .first_order import FollowerRows


def is_jointly_convex(follower: Follower, others: Sequence[Any]) -> bool:
    """True if the follower's problem is proved convex in its own actions and ``others`` (aggregates, leader variables).

    Then it stays convex under every affine strategy, whatever the gain.
    """
    return is_convex_problem(follower.cost, follower.constraints, [*follower.variables, *others])


@dataclass(frozen=True)
class Hessian:
    """∇²L_k at the plan, over the Vars it is curved in."""

    places: Array  #: Numbers of these Vars among :attr:`FollowerRows.variables`.
    matrix: Array  #: Dense, symmetric.


class FollowerHessians:
    """∇²L_k of every follower at one point; Lagrange terms by name of constraint."""

    def __init__(self, rows: FollowerRows, values: Mapping[str, float], multipliers: Mapping[str, float]) -> None:
        self.rows = rows
        self._point = rows.point(values)
        self._structure = tuple(np.asarray(part) for part in rows.problem.hessian_structure())
        self._weights = rows.lagrangian(multipliers)
        self._alone: dict[int, Hessian] = {}

    def of(self, number: int) -> Hessian:
        """∇²L_k of one follower: one evaluation, of all followers where nobody's second derivatives are another's."""
        if number not in self._alone:
            row, column = self._structure
            if self._private is None:
                lagrange = np.zeros(self._weights.shape[1])
                part = slice(self._weights.indptr[number], self._weights.indptr[number + 1])
                lagrange[self._weights.indices[part]] = self._weights.data[part]
                data = self._evaluated(lagrange)
                chosen = np.flatnonzero(data)
            else:
                data, chosen = self._private[1], self._entries[number]
            places, local = np.unique(np.concatenate([row[chosen], column[chosen]]), return_inverse=True)
            first, second = local[: len(chosen)], local[len(chosen) :]
            matrix = np.zeros((len(places), len(places)))
            matrix[first, second] = data[chosen]
            matrix[second, first] = data[chosen]
            self._alone[number] = Hessian(places, matrix)
        return self._alone[number]

    @cached_property
    def _entries(self) -> list[Array]:
        """Numbers of the entries that are each follower's and not 0."""
        assert self._private is not None
        whose, data = self._private
        chosen = np.flatnonzero(data)
        order = chosen[np.argsort(whose[chosen], kind="stable")]
        return np.split(order, np.searchsorted(whose[order], np.arange(1, len(self.rows.followers))))

    def _evaluated(self, lagrange: Array) -> Array:
        row, column = self._structure
        reaches = self.rows.units.reaches
        entries = np.asarray(self.rows.problem.hessian(self._point, lagrange, 0.0))
        return np.asarray(entries * reaches[row] * reaches[column])

    @cached_property
    def _private(self) -> tuple[Array, Array] | None:
        """(the follower each entry belongs to, the entries of all), from one evaluation; None where two share one."""
        owner = self.rows.column_owners
        row, column = self._structure
        first, second = owner[row], owner[column]
        whose = np.where(first >= 0, first, second)
        crossing = (first >= 0) & (second >= 0) & (first != second)
        if (whose < 0).any() or crossing.any() or not self.rows.is_private:
            return None
        return whose, self._evaluated(np.asarray(self._weights.sum(axis=0)).ravel())

    @property
    def are_private(self) -> bool:
        """True if no second derivative is two followers', so that one evaluation gives everybody's."""
        return self._private is not None

    def composed(self, response: sparse.csc_array) -> tuple[sparse.csr_array, sparse.csr_array]:
        """(T_kᵀ ∇²L_k T_k of all followers as one block-diagonal matrix, the same of absolute values)."""
        assert self._private is not None
        whose, data = self._private
        row, column = self._structure
        nonzero = data != 0.0
        row, column, whose, data = row[nonzero], column[nonzero], whose[nonzero], data[nonzero]
        off = row != column
        row, column = np.concatenate([row, column[off]]), np.concatenate([column, row[off]])
        whose, data = np.concatenate([whose, whose[off]]), np.concatenate([data, data[off]])
        reach = _Reach(response, self.rows.owners)
        entry, first, left = reach.of(row, whose)
        again, second, right = reach.of(column[entry], whose[entry])
        values = data[entry][again] * left[again] * right
        at, shape = (first[again], second), (len(self.rows.owners),) * 2
        return sparse.csr_array((values, at), shape=shape), sparse.csr_array((np.abs(values), at), shape=shape)


class _Reach:
    """T by (Var, follower): which of the follower's actions move the Var, and how fast."""

    def __init__(self, response: sparse.csc_array, owners: Array) -> None:
        entries = response.tocoo()
        self._width = int(owners.max(initial=0)) + 1
        keys = entries.row.astype(np.int64) * self._width + owners[entries.col]
        order = np.argsort(keys, kind="stable")
        self._keys, self._columns, self._rates = keys[order], entries.col[order], entries.data[order]

    def of(self, var: Array, follower: Array) -> tuple[Array, Array, Array]:
        """(which question, action, rate) for many (Var, follower) at once."""
        wanted = var.astype(np.int64) * self._width + follower
        source, place = matches(self._keys, wanted)
        return source, self._columns[place], self._rates[place]


def composed_size(hessian: Hessian, response: sparse.csc_array) -> float:
    """The largest entry before terms cancel: what rounding in the composed Hessian is measured against."""
    reached = np.abs(response.tocsr()[hessian.places].toarray())
    return float((reached.T @ np.abs(hessian.matrix) @ reached).max(initial=0.0))


def composed_hessian(hessian: Hessian, response: sparse.csc_array) -> Array:
    """T_kᵀ ∇²L_k T_k, the response T_k over all Vars × own actions."""
    reached = response.tocsr()[hessian.places].toarray()
    return np.asarray(reached.T @ hessian.matrix @ reached)
