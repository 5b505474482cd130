"""Entries of a gain: which leader variable may answer which signal, one of each, its energy and limits.

The record that every design starts from, by slopes, by deviations or with plan and gain unknown together: what is
observed, what one member's action moves of it, who is watched, and what the user asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from stackpyomo.core import Array, require_positive, rows_scaled
from stackpyomo.derivatives import FollowerRows
from stackpyomo.games import component_pairs
from stackpyomo.games.information import Announcement, Observation, counts, shares

from .selection import by_instrument, gain_bounds
from .system import System, gain_system

#: What an infinite population's members together weigh in the energy beside a single follower, to choose a gain.
_CROWD = 1e9


@dataclass(frozen=True)
class Payment:
    """What the free values are to pay, and what was decided."""

    expression: Any = None  #: Of free variables; None: no payment is looked at.
    limit: float = math.nan  #: The most that may be paid: as given, or the least that is possible.
    given: bool = False  #: True if the limit is the user's; else the least payment comes first.
    paid: float = math.nan  #: What is paid on the plan.


@dataclass(frozen=True)
class Wishes:
    """What the user asked for, beside the plan."""

    observation: Observation
    energy: Any = None
    multipliers: Any = "zero"
    curvature: float | None = None  #: The least curvature of the followers' composed costs; None: whatever comes.
    saturate: bool = False
    gain_bounds: Any = None
    prefer: str = "energy"
    quadratic: bool = False
    minors: str = "frozen"
    solver: str = "auto"
    free: Sequence[Any] = ()  #: Leader Vars whose on-path value is chosen anew.
    payment: Payment = Payment()
    design: str = "auto"
    regret: str = "zero"
    margin: float = 0.0


class Entries:
    """What a gain may answer and what that moves; ``rows`` are in natural units at the plan.

    One of a signal is the most that one action moves it over its reach, so that one of an entry K_ls is (reach of the
    leader's variable) / (one of the signal).
    """

    def __init__(self, rows: FollowerRows, wishes: Wishes) -> None:
        game = rows.game
        self.rows, self.wishes, self.signals = rows, wishes, wishes.observation.signals
        self.leader = [game.names[id(v)] for v in rows.instruments]
        self.shares = shares(game, self.signals)  #: In the user's units.
        most = abs(self.shares.moves).max(axis=0).toarray() if self.signals else np.zeros(len(rows.actions))
        #: (actions) the most that one of each moves a signal, both in the user's units.
        self.reach = np.asarray(most).ravel()
        moves = sparse.csr_array(self.shares.moves @ sparse.diags_array(rows.action_units))
        spans = abs(moves).max(axis=1).toarray().ravel() if self.signals else np.zeros(0)
        self.spans = np.where(spans > 0.0, spans, 1.0)  #: (signals) the unit of each.
        self.moves = sparse.csr_array(rows_scaled(moves, 1.0 / self.spans))  #: (signals × actions) M.
        self.counts = counts(game, self.signals)  #: (signals) how many followers show each.
        self.crowds = np.where(np.isinf(self.counts), _CROWD, self.counts)
        #: (leader's variables) energy of a unit of gain, in the user's units.
        self.weights = _weights(rows, wishes.energy)
        #: (leader's variables) bounds of the entries of each, in the user's units.
        self.lower, self.upper = gain_bounds(rows, wishes.gain_bounds)
        #: (leader variables × signals) ≠ 0 where the leader may use the signal; None: everywhere.
        self.allowed = self._allowed()
        used = np.ones(len(self.signals)) if self.allowed is None else np.asarray(self.allowed.sum(axis=0)).ravel()
        seen = sparse.csr_array(self.shares.sums.multiply((used > 0)[:, np.newaxis]))
        self.watched = np.zeros(len(rows.followers), dtype=bool)  #: (followers) whom the incentive has to hold.
        self.watched[rows.owners[np.unique(seen.tocoo().col)]] = True
        curved = {name for signal in self.signals if signal.curve is not None for name in signal.terms}
        for number, follower in enumerate(rows.followers if curved else ()):
            self.watched[number] |= any(game.names[id(v)] in curved for v in follower.variables)

    def _allowed(self) -> sparse.csr_array | None:
        permitted = self.wishes.observation.permitted
        if permitted is None:
            return None
        pairs = [(i, s) for i, name in enumerate(self.leader) for s in sorted(permitted.get(name, ()))]
        at = tuple(np.array(pairs, dtype=int).reshape(-1, 2).T)
        return sparse.csr_array((np.ones(len(pairs)), at), shape=(len(self.leader), len(self.signals)))

    def system(self, leader: sparse.csr_array) -> System:
        """The linear system of the gain for b (followers × leader variables), in natural units.

        Whatever the units, a typical unit of gain has an energy of about 1.
        """
        weights, typical = self.weights * self.rows.instrument_units**2, 1.0
        if len(weights) and len(self.spans):
            typical = float(np.median(self.spans)) / float(np.sqrt(np.median(weights)))
        felt, crowds = rows_scaled(leader, self.watched), self.crowds / self.spans**2
        return gain_system(felt, self.moves, self.rows.owners, weights * typical**2, crowds, self.allowed)

    def units(self, instruments: Array, signals: Array) -> Array:
        """One of each entry of K in the user's units."""
        return np.asarray(self.rows.instrument_units[instruments] / self.spans[signals])

    def announced(self, values: Mapping[str, float], gain: sparse.csc_array, objective: float) -> Announcement:
        """What a re-solve plays: the formula through the point, with this gain."""
        saturate = self.wishes.saturate
        return Announcement(values, objective, self.leader, self.signals, gain, saturate=saturate)


def _weights(rows: FollowerRows, energy: Any) -> Array:
    """Weight per leader variable from a ComponentMap, (component, value) pairs, or a dict keyed by name."""
    weights = np.ones(len(rows.instruments))
    if energy is None:
        return weights
    pairs = component_pairs(energy, "energy", "weight")
    for key, weight in pairs:
        require_positive(f"energy: the weight of {key}", weight)
    for place, weight in by_instrument(rows, pairs):
        weights[place] = weight
    return weights
