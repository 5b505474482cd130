"""Accuracy: how well the derivatives that a gain is made of are known.

A plan is known to some accuracy alone. At points that are as good (``FollowerRows.perturbed``) the derivatives differ;
what differs by as much as it is large is zero, and a gain that would rest on it is none:

    |b_kl| ≤ max over the points of |b_kl(point) − b_kl|     counts as b_kl = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.derivatives import Derivatives

from .gains.system import System

__all__ = ["Accuracy"]


@dataclass(frozen=True)
class Accuracy:
    """The derivatives at a plan and at points as good, all in natural units."""

    derivatives: Derivatives
    points: Sequence[Derivatives]

    @cached_property
    def slopes(self) -> Array:
        """(actions) the error of a."""
        return _most([point.own - self.derivatives.own for point in self.points], len(self.derivatives.own))

    @cached_property
    def effects(self) -> Array:
        """The error of every entry of b."""
        effects = self.derivatives.leader.data
        return _most([point.leader.data - effects for point in self.points], len(effects))

    def known(self, rare: Array | None = None) -> Derivatives:
        """The derivatives at the plan, with those of b that are smaller than their error, or rounding, as 0.

        rare: entries of b that are no rounding, however small.
        """
        leader = self.derivatives.leader.copy()
        least = TOLERANCES.gradient * (1.0 if rare is None else ~rare)
        leader.data = np.where(np.abs(leader.data) > np.maximum(self.effects, least), leader.data, 0.0)
        return replace(self.derivatives, leader=leader)

    def of_followers(self) -> Array:
        """‖error of b_k‖ / ‖b_k‖ over what counts, at most ``TOLERANCES.margin``: more is told, not left out."""
        known = self.known().leader
        error = known.copy()
        error.data = np.where(known.data != 0.0, self.effects, 0.0)
        sizes, errors = (np.sqrt(np.asarray(m.power(2).sum(axis=1)).ravel()) for m in (known, error))
        return np.asarray(np.minimum(errors / np.where(sizes > 0.0, sizes, 1.0), TOLERANCES.margin))

    def of_gain(self, system: System, moves: sparse.csr_array, owners: Array, slope: Array, gain: Array) -> float:
        """The largest relative change of K from the plan to a point as good: E ΔK = −(Δa + ΔE K) in least squares."""
        size = float(np.linalg.norm(gain))
        answers = sparse.csr_array((system.as_matrix(gain) @ moves).T)
        worst = 0.0
        for point in self.points if size > 0.0 else ():
            change = self.derivatives.leader.copy()
            change.data = np.nan_to_num(point.leader.data - self.derivatives.leader.data, posinf=0.0, neginf=0.0)
            left = np.nan_to_num(point.own - self.derivatives.own, posinf=0.0, neginf=0.0)
            left += np.asarray(sparse.csr_array(change[owners]).multiply(answers).sum(axis=1)).ravel()
            moved, _ = system.least_energy(np.where(slope != 0.0, left, 0.0))
            worst = max(worst, float(np.linalg.norm(moved)) / size)
        return worst


def _most(changes: Sequence[Array], length: int) -> Array:
    """The largest of each; what is not finite says nothing."""
    largest = np.zeros(length)
    for change in changes:
        largest = np.fmax(largest, np.where(np.isfinite(change), np.abs(change), 0.0))
    return largest
