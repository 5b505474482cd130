"""Designs: the gain of one plan on its way to an incentive, in natural units.

With a_k, b_k the derivatives of follower k's cost, the gain K solves a_k + G_kᵀλ_k + (K M)ᵀ b_k = 0 for every observed
follower; then come limits, choice and curvature, and whatever has been changed is checked once more.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from pyomo.core.base.var import VarData
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array, require_positive, rows_scaled
from stackpyomo.derivatives import Derivatives, FollowerHessians, FollowerRows, active_sides, is_jointly_convex
from stackpyomo.errors import NoIncentive, RefusalCause
from stackpyomo.games import component_pairs
from stackpyomo.games.information import Equilibrium, Observation, counts, shares

from .accuracy import Accuracy
from .diagnosis import Attempt, refuse, refuse_curvature, refuse_undefined
from .gains.curvature import Curved, convexified, negatively_curved
from .gains.free_prices import Demand
from .gains.multipliers import Balance, balanced, given_multipliers, leaning, supporting
from .gains.reactions import Anticipated, require_still_signals, with_reactions
from .gains.selection import Limits, bounded, by_instrument, gain_bounds, sparsest
from .gains.system import System, gain_system, picked
from .gains.turning import Fault, Unrepaired
from .improbable import Improbable, improbable
from .refusals import Finding, refusal
from .uniqueness import SharedLeader, equilibrium

__all__ = ["CROWD", "Design", "Draft", "Wishes", "weights_of"]

logger = logging.getLogger(__name__)

#: What an infinite population's members together weigh in the energy beside a single follower, to choose a gain.
CROWD = 1e9

# Followers not proved convex whose second derivatives are looked at one by one, where no evaluation gives all.
_LOOKED_AT = 3000


@dataclass(frozen=True)
class Wishes:
    """What the user asked for, beside the plan."""

    observation: Observation
    energy: Any
    multipliers: Any
    curvature: float | None  #: The least curvature of the followers' composed costs; None: whatever comes.
    saturate: bool
    gain_bounds: Any
    prefer: str
    quadratic: bool
    minors: str
    solver: str


@dataclass
class Draft:
    """A gain on its way: what it balances, the equations, its entries."""

    balance: Balance
    slope: Array  #: (actions) what is left of it for the gain: 0 for those whom nothing tempts.
    system: System
    gain: Array
    rank: int
    limits: Limits
    uncertainty: float
    bend: sparse.csc_array | None = None


class Design:
    """The gain of one plan: signals and equations, limits, choice, curvature; all in natural units.

    ``rows`` are in natural units at the plan. One of a signal is the most that one action moves it over its reach, so
    that one of an entry K_ls is (reach of the leader's variable) / (one of the signal).
    """

    def __init__(self, rows: FollowerRows, wishes: Wishes, settling: Sequence[str] = ()) -> None:
        self.rows, self.wishes, self.settling = rows, wishes, settling
        self.signals = wishes.observation.signals
        raw = shares(rows.game, self.signals)
        moves = sparse.csr_array(raw.moves @ sparse.diags_array(rows.action_units))
        spans = abs(moves).max(axis=1).toarray().ravel() if len(self.signals) else np.zeros(0)
        self.spans = np.where(spans > 0.0, spans, 1.0)  #: (signals) the unit of each.
        self.moves = sparse.csr_array(rows_scaled(moves, 1.0 / self.spans))
        self.sums = raw.sums
        most = abs(raw.moves).max(axis=0).toarray() if len(self.signals) else np.zeros(raw.moves.shape[1])
        #: (actions) the most that one of each moves a signal, both in the user's units.
        self.reach = np.asarray(most).ravel()
        weights = weights_of(rows, wishes.energy) * rows.instrument_units**2
        typical = np.median(self.spans) / np.sqrt(np.median(weights)) if len(weights) and len(self.spans) else 1.0
        #: (leader's variables) energy of a unit of gain; whatever the units, that of a typical one is about 1.
        self.weights = weights * typical**2
        self.counts = counts(rows.game, self.signals)
        self.allowed = self._allowed()
        seen = self.sums
        if self.allowed is not None:
            used = np.asarray(self.allowed.sum(axis=0)).ravel() > 0
            seen = sparse.csr_array(seen.multiply(used[:, np.newaxis]))
        self.watched = np.zeros(len(rows.followers), dtype=bool)
        self.watched[rows.owners[np.unique(seen.tocoo().col)]] = True
        self.watched &= np.array([f.name not in set(settling) for f in rows.followers])

    def _allowed(self) -> sparse.csr_array | None:
        permitted = self.wishes.observation.permitted
        if permitted is None:
            return None
        names = self.rows.game.names
        pairs = [(i, s) for i, v in enumerate(self.rows.instruments) for s in sorted(permitted.get(names[id(v)], ()))]
        at = tuple(np.array(pairs, dtype=int).reshape(-1, 2).T)
        return sparse.csr_array((np.ones(len(pairs)), at), shape=(len(self.rows.instruments), len(self.signals)))

    def equations(self, leader: sparse.csr_array) -> System:
        """The linear system of the gain for b (followers × leader variables)."""
        weighed = np.where(np.isinf(self.counts), CROWD, self.counts) / self.spans**2
        felt = rows_scaled(leader, self.watched)
        return gain_system(felt, self.moves, self.rows.owners, self.weights, weighed, self.allowed)

    def entry_units(self, system: System) -> Array:
        """One of each entry of K in the user's units."""
        return np.asarray(self.rows.instrument_units[system.leader] / self.spans[system.signal])

    def demand(self, values: Mapping[str, float]) -> Demand:
        """What :func:`choose_offsets` has to know of the gains."""
        derivatives = self.rows.at(values)
        sides = active_sides(self.rows, derivatives, values) if self.wishes.multipliers == "free" else []
        shift = np.zeros(len(self.rows.actions))
        if not isinstance(self.wishes.multipliers, str):
            self.sides = active_sides(self.rows, derivatives, values)
            shift = (
                given_multipliers(self.rows, derivatives, self.sides, self.wishes.multipliers).slope - derivatives.own
            )
        lower, upper = gain_bounds(self.rows, self.wishes.gain_bounds)
        system, barred = (
            self.equations(derivatives.leader),
            (lower == 0.0) & (upper == 0.0),
        )  # what may not answer holds nobody
        return Demand(derivatives, system.without(barred[system.leader]), self.moves, self.watched, sides, shift)

    def solve(self, values: Mapping[str, float], error: float) -> Draft:
        """The gain that balances every watched follower; raises :class:`NoIncentive` if there is none."""
        derivatives = self.rows.at(values)
        self.sides = active_sides(self.rows, derivatives, values)
        if self.settling:
            require_still_signals(self.rows, self.signals, self.sums, self.settling)
            derivatives = with_reactions(self.rows, derivatives, values, self.settling, self.sides)
            self.sides = active_sides(self.rows, derivatives, values)
        refuse_undefined(self.rows, derivatives, self.sides)
        accuracy = Accuracy(derivatives, [] if self.settling else list(self.rows.shaken(values, error)))
        unlikely = improbable(self.rows, values, derivatives, accuracy.slopes)
        if unlikely.actions.any():
            try:
                return self._balanced(values, accuracy, unlikely)
            except NoIncentive as why:  # what hardly ever happens takes nobody's gain away, but its own
                logger.warning("no gain for what an improbable scenario asks: %s", why)
        return self._balanced(values, accuracy, None)

    def _balanced(self, values: Mapping[str, float], accuracy: Accuracy, unlikely: Improbable | None) -> Draft:
        """:meth:`solve` for derivatives of which these are rare, and no rounding."""
        balance = self._balance(accuracy.known(None if unlikely is None else unlikely.effects))
        idle = self._idle(balance, accuracy) & ~(False if unlikely is None else unlikely.actions)
        slope = np.where(self.watched[self.rows.owners] & ~idle, balance.slope, 0.0)
        system = self._felt(self.equations(balance.leader), slope)
        if unlikely is not None:
            slope = unlikely.answered(slope, np.diff(system.matrix.indptr) > 0)
        system = replace(system, doubt=accuracy.of_followers()[self.rows.owners])
        gain, rank = system.least_energy(slope)
        limits, at_bounds = self._limits(system, slope, values)
        unlimited = slope + system.matrix @ gain
        gain = self._within(system, slope, gain, limits)
        attempt = Attempt(
            self.rows, balance.leader, self.moves, self.reach, self.sums, system, slope,
            slope + system.matrix @ gain, unlimited, at_bounds, self.wishes.multipliers == "free",
            frozenset(side.follower for side in self.sides), accuracy,
        )  # fmt: skip
        refuse(attempt)
        if self.wishes.prefer == "sparsest":
            gain = sparsest(system, slope, gain, limits, self.wishes.solver)
        return Draft(balance, slope, system, gain, rank, limits, self._uncertainty(accuracy, system, slope, gain))

    def fitted(self, values: Mapping[str, float]) -> sparse.csc_array:
        """The least-squares gain at these values, in the user's units: what all followers' slopes ask for together."""
        derivatives = self.rows.at(values)
        slope = np.where(self.watched[self.rows.owners], derivatives.own, 0.0)
        system = self._felt(self.equations(derivatives.leader), slope, TOLERANCES.accuracy)
        gain, _ = system.least_energy(slope)
        return system.as_matrix(gain * self.entry_units(system))

    def given(self, values: Mapping[str, float], gain: sparse.csc_array) -> Draft:
        """A gain that is known, in the user's units, with the multipliers that leave least of the slopes."""
        derivatives = self.rows.at(values)
        self.sides = active_sides(self.rows, derivatives, values) if self.wishes.multipliers == "free" else []
        scaled = self.equations(derivatives.leader)
        known = scaled.as_matrix(scaled.as_entries(gain) / self.entry_units(scaled))
        moved = sparse.csr_array(known @ self.moves)
        balance = leaning(derivatives, self.sides, supporting(derivatives, self.sides, self.rows.owners, moved))
        system = self.equations(balance.leader)
        slope = np.where(self.watched[self.rows.owners], balance.slope, 0.0)
        _, rank = system.least_energy(slope)
        entries = system.as_entries(gain) / self.entry_units(system)
        low, high = np.full(len(entries), -np.inf), np.full(len(entries), np.inf)
        return Draft(balance, slope, system, entries, rank, Limits(low, high), 0.0)

    def _uncertainty(self, accuracy: Accuracy, system: System, slope: Array, gain: Array) -> float:
        return accuracy.of_gain(system, self.moves, self.rows.owners, slope, gain)

    def _idle(self, balance: Balance, accuracy: Accuracy) -> Array:
        """(actions) whose slope is rounding; or within its error, where no leader variable could answer it."""
        felt = np.abs(balance.slope)
        deaf = np.bincount(balance.leader.tocoo().row[balance.leader.data != 0.0], minlength=len(self.watched)) == 0
        return np.asarray((felt <= TOLERANCES.noise) | (deaf[self.rows.owners] & (felt <= accuracy.slopes)))

    def _felt(self, system: System, slope: Array, least: float = TOLERANCES.gradient) -> System:
        """Without the equations whose grip is rounding beside the slope it would have to balance (a pole)."""
        effect = np.sqrt(np.asarray(system.matrix.power(2).sum(axis=1)).ravel())
        return replace(system, matrix=rows_scaled(system.matrix, effect > least * np.abs(slope)))

    def _balance(self, derivatives: Derivatives) -> Balance:
        chosen = self.wishes.multipliers
        if isinstance(chosen, str) and chosen == "zero":
            return leaning(derivatives, (), np.zeros(0))
        if isinstance(chosen, str):
            return balanced(derivatives, self.sides, self.rows.owners, self.equations, self.wishes.solver)
        return given_multipliers(self.rows, derivatives, self.sides, chosen)

    def _within(self, system: System, slope: Array, gain: Array, limits: Limits) -> Array:
        """The gain of least energy within the limits; an equation by itself only loses the entries that break them."""
        broken = ~limits.are_met(gain)
        if not broken.any():
            return gain
        by_row, by_column = system.labels
        alone = np.isin(by_column, by_row[system.single()])
        at_zero = np.where(gain > 0.0, limits.upper, limits.lower) == 0.0
        lost = broken & alone & at_zero
        if lost.any():
            gain, _ = system.without(lost).least_energy(slope)
        return bounded(system, slope, gain, limits, self.wishes.solver)

    def _limits(self, system: System, slope: Array, values: Mapping[str, float]) -> tuple[Limits, dict[int, str]]:
        """Bounds of the gain's entries, and the leader variables that stand at a bound."""
        lower, upper = gain_bounds(self.rows, self.wishes.gain_bounds)
        units = self.entry_units(system)
        low, high = lower[system.leader] / units, upper[system.leader] / units
        instruments = zip(self.rows.instruments, self.rows.instrument_units, strict=True)
        stands = {
            i: side for i, (v, unit) in enumerate(instruments) if (side := _bound(v, values[self._name(v)], unit))
        }
        at_bounds = {i: f"{self._name(self.rows.instruments[i])} stands at its {side}" for i, side in stands.items()}
        if stands:
            rising, falling = self._temptations(system, slope)
            kind = np.array([stands.get(int(instrument), "") for instrument in system.leader], dtype=object)
            floor, ceiling = (kind == "lower bound") | (kind == "bounds"), (kind == "upper bound") | (kind == "bounds")
            no_drop = (floor & rising) | (ceiling & falling)  # K ≥ 0: what tempts must not push beyond the bound
            no_rise = (floor & falling) | (ceiling & rising)
            low, high = np.where(no_drop, np.maximum(low, 0.0), low), np.where(no_rise, np.minimum(high, 0.0), high)
        return Limits(low, high), at_bounds

    def _name(self, var: VarData) -> str:
        return self.rows.game.names[id(var)]

    def _temptations(self, system: System, slope: Array) -> tuple[Array, Array]:
        """For each entry whether its signal rises, and whether it falls, when somebody does what tempts them."""
        entries = system.matrix.tocoo()
        moved = picked(self.moves, system.signal[entries.col], entries.row)
        rising, falling = np.zeros(len(system.leader), dtype=bool), np.zeros(len(system.leader), dtype=bool)
        way = -np.sign(slope[entries.row]) * np.sign(moved)
        np.logical_or.at(rising, entries.col, way > 0.0)
        np.logical_or.at(falling, entries.col, way < 0.0)
        return rising, falling

    # --- second order -------------------------------------------------------------------------------------------------

    def convexify(self, gains: Draft, values: Mapping[str, float]) -> None:
        """Use the freedom where the gain leaves a direction of negative curvature; raise where that cannot be.

        What leaves has been checked once more, whoever changed it: balance, limits, curvature.
        """
        if self.wishes.curvature is None:
            self._require_balance(gains)
            return
        curved = self._curved(gains, values)
        bent = negatively_curved(curved, self._suspects(curved, gains.gain), gains.gain)
        if not bent:
            self._require_balance(gains)
            return
        before, failed = gains.gain, {b.follower: Unrepaired(Fault.ANTICIPATED) for b in bent}
        if not self.settling:
            gains.gain, failed = convexified(curved, before, bent)
        if not gains.limits.are_met(gains.gain).all() or self._unbalanced(gains):
            gains.gain = before
            failed = {b.follower: Unrepaired(Fault.BOUNDS) for b in bent}
        if failed and self.wishes.quadratic:
            failed = self._with_quadratic_terms(gains, curved, failed)
        else:
            again = negatively_curved(curved, self._suspects(curved, gains.gain), gains.gain)
            left = {b.follower: Unrepaired(Fault.OTHERS) for b in again}
            failed, bent = {**left, **failed}, [*bent, *again]
        refuse_curvature(self.rows, failed, {b.follower: b.curvature for b in bent}, self._wanted)
        self._require_balance(gains)

    def _curved(self, gains: Draft, values: Mapping[str, float]) -> Curved:
        hessians = FollowerHessians(self.rows, values, gains.balance.forces)
        known = (self.rows, hessians, gains.system, self.moves, self.sides, gains.balance.held, self._wanted)
        # the minors' answers have second derivatives of their own
        return Anticipated(*known, self.settling, values) if self.settling else Curved(*known)

    @property
    def _wanted(self) -> float:
        return self.wishes.curvature or 0.0

    def _unbalanced(self, gains: Draft) -> bool:
        return bool((self._left(gains) > TOLERANCES.residual).any())

    def _left(self, gains: Draft) -> Array:
        """(actions) |a + Gᵀλ + Qᵀb| of those whom something tempts."""
        return np.asarray(np.abs(gains.slope + gains.system.matrix @ gains.gain))

    def _require_balance(self, gains: Draft) -> None:
        """Raise :class:`NoIncentive` if the gain, as it is now, leaves somebody a slope."""
        if self._unbalanced(gains):
            left = self._left(gains)
            lost = np.unique(self.rows.owners[left > TOLERANCES.residual])
            names = [self.rows.followers[k].name for k in lost]
            raise refusal(
                {
                    name: Finding(RefusalCause.ROUNDING, float(left[self.rows.own(k)].max()))
                    for name, k in zip(names, lost, strict=True)
                }
            )

    def _suspects(self, curved: Curved, gain: Array) -> list[int]:
        """Followers who may have a direction of negative curvature."""
        watched = np.flatnonzero(self.watched)
        if self.settling:
            return [int(k) for k in watched]
        if curved.hessians.are_private:
            return [int(k) for k in curved.suspects(watched, gain)]
        if curved.wanted:  # a convex cost may still be too flat
            return [int(k) for k in watched[:_LOOKED_AT]]
        others = [*self.rows.responses.variables, *self.rows.instruments]
        doubtful = (int(k) for k in watched if not is_jointly_convex(self.rows.followers[k], others))
        return list(islice(doubtful, _LOOKED_AT))

    def equilibrium(self, gains: Draft, values: Mapping[str, float]) -> Equilibrium:
        """Whether the followers' equilibrium under the strategy is the only one."""
        hessians = FollowerHessians(self.rows, values, {})
        gain = gains.system.as_matrix(gains.gain)
        own = np.array([signal.own for signal in self.signals], dtype=bool)
        cut = self.wishes.saturate and any(v.lb is not None or v.ub is not None for v in self.rows.instruments)
        shared = SharedLeader(
            self.rows, hessians, gain, self.moves, gains.balance.leader, gains.bend, own=own, projected=cut
        )
        return equilibrium(shared)

    def _with_quadratic_terms(
        self, gains: Draft, curved: Curved, failed: Mapping[int, Unrepaired]
    ) -> dict[int, Unrepaired]:
        """Add ½ R d² with R = ρ b/‖b‖² on the signals of each follower that no gain bends up; who is left."""
        shape = (len(self.rows.instruments), len(self.signals))
        bend = sparse.lil_array(shape)
        left = dict[int, Unrepaired]()
        for follower in failed:
            mine = self.rows.own(follower)
            shown = np.unique(self.moves[:, mine].tocoo().row)
            b = gains.balance.leader[[follower]].toarray()[0]
            radius = curved.quadratic(follower, gains.gain, self.moves[shown].tocsr()[:, mine].toarray())
            if math.isinf(radius) or not b.any():
                left[follower] = replace(failed[follower], squared=True)
                continue
            for signal in shown:
                may = np.ones(len(b)) if self.allowed is None else self.allowed[:, [signal]].toarray().ravel()
                for instrument in np.flatnonzero(b * may):
                    bend[instrument, signal] = radius * b[instrument] / float((b * may) @ b)
        gains.bend = sparse.csc_array(bend)
        squared = np.flatnonzero(np.asarray(abs(gains.bend).sum(axis=0)).ravel() > 0.0)
        reached = np.unique(self.rows.owners[np.unique(self.moves.tocsr()[squared].tocoo().col)])
        again = [int(k) for k in reached if self.watched[k]]  # a square that lifts one follower may bend another down
        bent = negatively_curved(curved, again, gains.gain, quadratic=(gains.bend, gains.balance.leader))
        left.update({b.follower: Unrepaired(Fault.QUADRATIC) for b in bent})
        return left


def _bound(var: VarData, level: float, reach: float) -> str:
    """Which bound the leader's variable stands at."""
    low = var.lb is not None and level - var.lb <= TOLERANCES.active * reach
    high = var.ub is not None and var.ub - level <= TOLERANCES.active * reach
    return "bounds" if low and high else "lower bound" if low else "upper bound" if high else ""


def weights_of(rows: FollowerRows, energy: Any) -> Array:
    """Weight per instrument from a ComponentMap, (component, value) pairs, or a dict keyed by name."""
    weights = np.ones(len(rows.instruments))
    if energy is None:
        return weights
    pairs = component_pairs(energy, "energy", "weight")
    for key, weight in pairs:
        require_positive(f"energy: the weight of {key}", weight)
    for place, weight in by_instrument(rows, pairs):
        weights[place] = weight
    return weights
