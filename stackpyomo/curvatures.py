"""Curvatures: second derivatives of the followers' problems as they are once the strategy is announced.

With T_k = d(everything)/d(own actions of one member of k) — its own actions, aggregates by its share, the leader's
variables by the gain — the composed problem of follower k has at the plan

    gradient  T_kᵀ ∇L_k          Hessian  H_k = T_kᵀ ∇²L_k T_k,   L_k = J_k + multipliers · own constraints

and two followers meet in the Jacobian of the game's pseudo-gradient, T_iᵀ ∇²L_i T̃_j.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from .convexity import Curvature, curvature, is_convex_feasible_set
from .derivatives import FollowerRows
from .results import Array

__all__ = ["FollowerHessians", "Hessian", "is_jointly_convex"]

_GOOD = (Curvature.CONSTANT, Curvature.AFFINE, Curvature.CONVEX)


def is_jointly_convex(rows: FollowerRows, number: int) -> bool:
    """True if the follower's problem is proved convex in its own actions, aggregates and the leader's variables.

    Then it stays convex under every affine strategy, whatever the gain.
    """
    follower = rows.followers[number]
    assert follower.objective is not None
    moving = [*follower.variables, *rows.responses.variables, *rows.instruments]
    if curvature(follower.sign * follower.objective.expr, moving).curvature not in _GOOD:
        return False
    return all(is_convex_feasible_set(c, moving).curvature is Curvature.CONVEX for c in follower.constraints)


@dataclass(frozen=True)
class Hessian:
    """∇²L_k at the plan, over the Vars it is curved in."""

    places: Array
    """Numbers of these Vars among the columns of :attr:`FollowerHessians.columns`."""
    matrix: Array
    """Dense, symmetric."""


class FollowerHessians:
    """∇²L_k of every follower at one point; Lagrange terms by name of constraint."""

    def __init__(self, rows: FollowerRows, values: Mapping[str, float], held: Mapping[str, float]) -> None:
        self.rows = rows
        self._point = rows.point(values)
        self._structure = tuple(np.asarray(part) for part in rows.problem.hessian_structure())
        self._weights = rows.lagrangian(held)
        self._alone: dict[int, Hessian] = {}

    @property
    def columns(self) -> int:
        """How many Vars the rows hold."""
        return len(self._point)

    def of(self, number: int) -> Hessian:
        """∇²L_k of one follower: one evaluation."""
        if number not in self._alone:
            lagrange = np.zeros(self._weights.shape[1])
            part = slice(self._weights.indptr[number], self._weights.indptr[number + 1])
            lagrange[self._weights.indices[part]] = self._weights.data[part]
            self._alone[number] = self._dense(self._evaluated(lagrange), None)
        return self._alone[number]

    def _evaluated(self, lagrange: Array) -> Array:
        return np.asarray(self.rows.problem.hessian(self._point, lagrange, 0.0))

    def _dense(self, data: Array, kept: Array | None) -> Hessian:
        row, column = self._structure
        chosen = np.flatnonzero(data) if kept is None else kept[data[kept] != 0.0]
        places, local = np.unique(np.concatenate([row[chosen], column[chosen]]), return_inverse=True)
        first, second = local[: len(chosen)], local[len(chosen) :]
        matrix = np.zeros((len(places), len(places)))
        matrix[first, second] = data[chosen]
        matrix[second, first] = data[chosen]
        return Hessian(places, matrix)

    def separately(self, numbers: Sequence[int]) -> bool:
        """Have the Hessians of many followers from one evaluation, where no second derivative is two followers'."""
        owner = self.rows.column_owners
        row, column = self._structure
        first, second = owner[row], owner[column]
        whose = np.where(first >= 0, first, second)
        if (whose < 0).any() or ((first >= 0) & (second >= 0) & (first != second)).any():
            return False
        if not self.rows.is_private:
            return False
        data = self._evaluated(np.asarray(self._weights.sum(axis=0)).ravel())
        order = np.argsort(whose, kind="stable")
        starts, stops = (np.searchsorted(whose[order], numbers, side) for side in ("left", "right"))
        for number, start, stop in zip(numbers, starts, stops, strict=True):
            self._alone[int(number)] = self._dense(data, order[start:stop])
        return True


def composed_size(hessian: Hessian, response: sparse.csc_array) -> float:
    """The largest entry before terms cancel: what rounding in the composed Hessian is measured against."""
    reached = np.abs(response.tocsr()[hessian.places].toarray())
    return float((reached.T @ np.abs(hessian.matrix) @ reached).max(initial=0.0))


def composed_hessian(hessian: Hessian, response: sparse.csc_array) -> Array:
    """T_kᵀ ∇²L_k T_k, the response T_k over all Vars × own actions."""
    reached = response.tocsr()[hessian.places].toarray()
    return np.asarray(reached.T @ hessian.matrix @ reached)
