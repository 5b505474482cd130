"""Accuracy: how well the derivatives that a gain is made of are known.

A plan is known to some accuracy alone. At points that are as good (``FollowerRows.perturbed``) the derivatives differ;
what differs by as much as it is large is zero, and a gain that would rest on it is none:

    |b_kl| ≤ max over the points of |b_kl(point) − b_kl|     counts as b_kl = 0.

Improbable scenarios: what a follower does where it hardly ever is.

Of an atom of probability p the slope a_j is p times what the atom says, nothing beside the follower's expected cost for
p small enough, and still no rounding: rounding is small beside the terms of ∂J_k/∂u_j itself,

    |a_j| ≤ ε Σ |terms of ∂J_k/∂u_j|,

which p multiplies, too. Given the atom, its gain is what it would be at any other probability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from pyomo.core.expr.calculus.diff_with_pyomo import DifferentiationException
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.core.expressions import UNDEFINED, partials, size_of
from stackpyomo.derivatives import Derivatives, FollowerRows
from stackpyomo.errors import InvalidGame

from .gains.system import System


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


@dataclass(frozen=True)
class Improbable:
    """Derivatives that are small beside their follower's cost, and large beside their own terms."""

    actions: Array  #: (actions) slopes that are no rounding.
    effects: Array  #: (entries of b) the same of ∂J_k/∂u0, of followers with such actions.

    def answered(self, slope: Array, equations: Array) -> Array:
        """The slopes without those of rare actions that no entry of the gain could answer."""
        return np.where(self.actions & ~equations, 0.0, slope)


def improbable(rows: FollowerRows, values: Mapping[str, float], derivatives: Derivatives, errors: Array) -> Improbable:
    """What of the derivatives at these values, in natural units, is rare. errors: (actions) how well they are known."""
    felt = np.abs(derivatives.own)
    asked = (felt > errors) & (felt <= TOLERANCES.noise)
    actions, effects = np.zeros(len(felt), dtype=bool), np.zeros(len(derivatives.leader.data), dtype=bool)
    entries, units = derivatives.leader.tocoo(), rows.units
    for k in np.unique(rows.owners[asked]):
        own, places = np.flatnonzero(asked & (rows.owners == k)), np.flatnonzero(entries.row == k)
        instruments = [rows.instruments[entries.col[e]] for e in places]
        sizes = _sizes(rows, int(k), [*(rows.actions[j] for j in own), *instruments], values) / units.costs[k]
        of_actions = sizes[: len(own)] * rows.action_units[own]
        of_instruments = sizes[len(own) :] * rows.instrument_units[entries.col[places]]
        actions[own] = (of_actions > 0.0) & (felt[own] > TOLERANCES.noise * of_actions)
        effects[places] = (of_instruments > 0.0) & (np.abs(entries.data[places]) > TOLERANCES.gradient * of_instruments)
    return Improbable(actions, effects if actions.any() else np.zeros_like(effects))


def _sizes(rows: FollowerRows, number: int, variables: Sequence[Any], values: Mapping[str, float]) -> Array:
    """Σ |terms| of the derivatives of one follower's objective, in the user's units; 0 where they are not known."""
    point = {id(v): values[name] for name, v in rows.game.variables_by_name.items() if name in values}
    try:
        slopes = partials(rows.followers[number].cost, variables)
    except (*UNDEFINED, DifferentiationException, InvalidGame):
        return np.zeros(len(variables))
    return np.asarray(np.nan_to_num([size_of(slope, point) for slope in slopes], nan=0.0, posinf=0.0))
