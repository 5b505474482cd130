"""Improbable scenarios: what a follower does where it hardly ever is.

Of an atom of probability p the slope a_j is p times what the atom says, nothing beside the follower's expected cost for
p small enough, and still no rounding: rounding is small beside the terms of ∂J_k/∂u_j itself,

    |a_j| ≤ ε Σ |terms of ∂J_k/∂u_j|,

which p multiplies, too. Given the atom, its gain is what it would be at any other probability.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyomo.core.expr.calculus.diff_with_pyomo import DifferentiationException

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.core.expressions import UNDEFINED, partials, size_of
from stackpyomo.derivatives import Derivatives, FollowerRows
from stackpyomo.errors import InvalidGame

__all__ = ["Improbable", "improbable"]

#: Slopes below this are rounding of the follower's cost as a whole, and nobody asks what they are made of.
_ROUNDING = 8.0 * sys.float_info.epsilon


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
    asked = (felt > np.maximum(errors, _ROUNDING)) & (felt <= TOLERANCES.noise)
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
