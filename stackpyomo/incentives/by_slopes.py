"""By slopes: the gain of one plan by first-order conditions, on its way to an incentive, in natural units.

With a_k, b_k the derivatives of follower k's cost, the gain K solves a_k + G_kᵀλ_k + (K M)ᵀ b_k = 0 for every observed
follower; then come limits, choice and curvature, and whatever has been changed is checked once more.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array, box_of, largest_by_row, rows_scaled, timed
from stackpyomo.derivatives import Derivatives, FollowerHessians, FollowerRows, active_sides, is_jointly_convex
from stackpyomo.errors import InvalidGame, NoIncentive, RefusalCause
from stackpyomo.games import Game
from stackpyomo.games.information import Equilibrium
from stackpyomo.plans import Plan, rows_of

from .accuracy import Accuracy, Improbable, improbable
from .diagnosis import Attempt, Finding, refusal, refuse, refuse_curvature, refuse_undefined
from .gains.curvature import Curved, NegativeCurvature, convexified, negatively_curved
from .gains.free_prices import Demand, choose_offsets
from .gains.multipliers import Balance, balanced, given_multipliers, leaning, supporting, within_limits
from .gains.reactions import Anticipated, require_still_signals, with_reactions
from .gains.selection import Entries, Limits, Wishes, bounded, sparsest
from .gains.system import System, picked
from .gains.turning import Fault, Unrepaired
from .incentive import Incentive, assembled
from .uniqueness import SharedLeader, equilibrium

logger = logging.getLogger(__name__)

#: Followers not proved convex whose second derivatives are looked at one by one, where no evaluation gives all.
_LOOKED_AT = 3000

#: (at the lower one, at the upper one) → which.
_BOUNDS = {(True, False): "lower bound", (False, True): "upper bound", (True, True): "bounds"}


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

    @property
    def left(self) -> Array:
        """(actions) |a + Gᵀλ + Qᵀb| of those whom something tempts."""
        return np.asarray(np.abs(self.slope + self.system.matrix @ self.gain))

    @property
    def merit(self) -> tuple[float, float]:
        """(the largest slope that it leaves, 0 if that is none; its energy): the less the better."""
        left = float(self.left.max(initial=0.0))
        return (left if left > TOLERANCES.residual else 0.0), float(self.system.weights @ self.gain**2)


class Design(Entries):
    """The gain of one plan by its slopes: equations, limits, choice, curvature."""

    def __init__(self, rows: FollowerRows, wishes: Wishes, settling: Sequence[str] = ()) -> None:
        super().__init__(rows, wishes)
        self.settling = settling
        self.watched &= np.array([f.name not in settling for f in rows.followers], dtype=bool)

    def demand(self, values: Mapping[str, float]) -> Demand:
        """What :func:`choose_offsets` has to know of the gains."""
        derivatives = self.rows.at(values)
        sides = active_sides(self.rows, derivatives, values) if self.wishes.multipliers != "zero" else []
        shift = np.zeros(len(self.rows.actions))
        if not isinstance(self.wishes.multipliers, str):
            shift = given_multipliers(self.rows, derivatives, sides, self.wishes.multipliers).slope - derivatives.own
            sides = []
        system = self.system(derivatives.leader)
        barred = (self.lower == 0.0) & (self.upper == 0.0)  # what may not answer holds nobody
        system = system.without(barred[system.leader])
        return Demand(self, derivatives, system, sides, shift, self._asked(system))

    def solve(self, values: Mapping[str, float], error: float) -> Draft:
        """The gain that balances every watched follower; raises :class:`NoIncentive` if there is none."""
        derivatives = self.rows.at(values)
        self.sides = active_sides(self.rows, derivatives, values)
        if self.settling:
            require_still_signals(self.rows, self.signals, self.shares.sums, self.settling)
            derivatives = with_reactions(self.rows, derivatives, values, self.settling, self.sides)
            self.sides = active_sides(self.rows, derivatives, values)
        refuse_undefined(self.rows, derivatives, self.sides)
        accuracy = Accuracy(derivatives, [] if self.settling else list(self.rows.perturbed(values, error)))
        unlikely = improbable(self.rows, values, derivatives, accuracy.slopes)
        if unlikely.actions.any():
            try:
                return self._balanced(values, accuracy, unlikely)
            except NoIncentive as why:  # what hardly ever happens takes nobody's gain away, but its own
                logger.warning("no gain for what an improbable scenario asks: %s", why)
        return self._balanced(values, accuracy, None)

    def _balanced(self, values: Mapping[str, float], accuracy: Accuracy, unlikely: Improbable | None) -> Draft:
        """:meth:`solve` for derivatives of which these are rare, and no rounding."""
        known = accuracy.known(None if unlikely is None else unlikely.effects)
        draft, attempt = self._tried(self._balance(known), values, accuracy, unlikely)
        if self.wishes.multipliers == "free" and not draft.limits.are_met(attempt.unlimited).all():
            watched = self.watched[self.rows.owners]
            multipliers = within_limits(known, self.sides, draft.system, draft.limits, watched)
            if multipliers is not None:
                again = self._tried(leaning(known, self.sides, multipliers), values, accuracy, unlikely)
                draft, attempt = min((draft, attempt), again, key=lambda tried: tried[0].merit)
        refuse(attempt)
        system, slope = draft.system, draft.slope
        if self.wishes.prefer == "sparsest":
            draft.gain = sparsest(system, slope, draft.gain, draft.limits)
        draft.uncertainty = accuracy.of_gain(system, self.moves, self.rows.owners, slope, draft.gain)
        return draft

    def _tried(
        self, balance: Balance, values: Mapping[str, float], accuracy: Accuracy, unlikely: Improbable | None
    ) -> tuple[Draft, Attempt]:
        """The gain of least energy for these multipliers, within its limits, and what it leaves."""
        idle = self._idle(balance, accuracy)
        if unlikely is not None:
            idle &= ~unlikely.actions
        slope = np.where(self.watched[self.rows.owners] & ~idle, balance.slope, 0.0)
        system = self._felt(self.system(balance.leader), slope)
        if unlikely is not None:
            slope = unlikely.answered(slope, np.diff(system.matrix.indptr) > 0)
        system = replace(system, doubt=accuracy.of_followers()[self.rows.owners])
        gain, rank = system.least_energy(slope)
        limits, at_bounds = self._limits(system, slope, values)
        within, leaning_ones = self._within(system, slope, gain, limits), {side.follower for side in self.sides}
        attempt = Attempt(self, balance.leader, system, slope, within, gain, at_bounds, leaning_ones, accuracy)
        return Draft(balance, slope, system, within, rank, limits, 0.0), attempt

    def fitted(self, values: Mapping[str, float]) -> sparse.csc_array:
        """The least-squares gain at these values, in the user's units: what all followers' slopes ask for together."""
        derivatives = self.rows.at(values)
        slope = np.where(self.watched[self.rows.owners], derivatives.own, 0.0)
        system = self._felt(self.system(derivatives.leader), slope, TOLERANCES.accuracy)
        gain, _ = system.least_energy(slope)
        return system.as_matrix(gain * self.units(system.leader, system.signal))

    def given(self, values: Mapping[str, float], gain: sparse.csc_array) -> Draft:
        """A gain that is known, in the user's units, with the multipliers that leave least of the slopes."""
        derivatives = self.rows.at(values)
        self.sides = active_sides(self.rows, derivatives, values) if self.wishes.multipliers == "free" else []
        scaled = self.system(derivatives.leader)
        known = scaled.as_matrix(scaled.as_entries(gain) / self.units(scaled.leader, scaled.signal))
        moved = sparse.csr_array(known @ self.moves)
        balance = leaning(derivatives, self.sides, supporting(derivatives, self.sides, self.rows.owners, moved))
        system = self.system(balance.leader)
        slope = np.where(self.watched[self.rows.owners], balance.slope, 0.0)
        _, rank = system.least_energy(slope)
        entries = system.as_entries(gain) / self.units(system.leader, system.signal)
        low, high = np.full(len(entries), -np.inf), np.full(len(entries), np.inf)
        return Draft(balance, slope, system, entries, rank, Limits(low, high), 0.0)

    def _idle(self, balance: Balance, accuracy: Accuracy) -> Array:
        """(actions) whose slope is rounding; or within its error, where no leader variable could answer it."""
        felt = np.abs(balance.slope)
        deaf = np.bincount(balance.leader.tocoo().row[balance.leader.data != 0.0], minlength=len(self.watched)) == 0
        return np.asarray((felt <= TOLERANCES.noise) | (deaf[self.rows.owners] & (felt <= accuracy.slopes)))

    def _felt(self, system: System, slope: Array, least: float = TOLERANCES.gradient) -> System:
        """Without the equations whose coefficients are rounding beside the slope that they balance (a pole)."""
        effect = largest_by_row(np.abs(system.matrix.data), system.matrix.indptr)
        return replace(system, matrix=rows_scaled(system.matrix, effect > least * np.abs(slope)))

    def _balance(self, derivatives: Derivatives) -> Balance:
        chosen = self.wishes.multipliers
        if isinstance(chosen, str) and chosen == "zero":
            return leaning(derivatives, (), np.zeros(0))
        if isinstance(chosen, str):
            return balanced(derivatives, self.sides, self.rows.owners, self.system, self.wishes.solver)
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
        return bounded(system, slope, gain, limits)

    def _limits(self, system: System, slope: Array, values: Mapping[str, float]) -> tuple[Limits, dict[int, str]]:
        """Bounds of the gain's entries, and the leader variables that stand at a bound."""
        asked, near = self._asked(system), TOLERANCES.active * self.rows.instrument_units
        levels = np.array([values[name] for name in self.leader])
        lowest, highest = box_of(self.rows.instruments)
        at_low, at_high = levels - lowest <= near, highest - levels <= near
        at_bounds = {
            int(i): f"{self.leader[i]} stands at its {_BOUNDS[at_low[i], at_high[i]]}"
            for i in np.flatnonzero(at_low | at_high)
        }
        rising, falling = self._temptations(system, slope)
        floor, ceiling = at_low[system.leader], at_high[system.leader]
        no_drop = (floor & rising) | (ceiling & falling)  # K ≥ 0: what tempts must not push beyond the bound
        no_rise = (floor & falling) | (ceiling & rising)
        low = np.where(no_drop, np.maximum(asked.lower, 0.0), asked.lower)
        return Limits(low, np.where(no_rise, np.minimum(asked.upper, 0.0), asked.upper)), at_bounds

    def _asked(self, system: System) -> Limits:
        """``gain_bounds`` of the gain's entries."""
        units = self.units(system.leader, system.signal)
        return Limits(self.lower[system.leader] / units, self.upper[system.leader] / units)

    def _temptations(self, system: System, slope: Array) -> tuple[Array, Array]:
        """For each entry whether its signal rises, and whether it falls, when somebody does what tempts them."""
        entries, count = system.matrix.tocoo(), len(system.leader)
        moved = picked(self.moves, system.signal[entries.col], entries.row)
        way = -np.sign(slope[entries.row]) * np.sign(moved)
        rising, falling = (np.bincount(entries.col, one, minlength=count) > 0 for one in (way > 0.0, way < 0.0))
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
        if not gains.limits.are_met(gains.gain).all() or (gains.left > TOLERANCES.residual).any():
            gains.gain = before
            failed = {b.follower: Unrepaired(Fault.BOUNDS) for b in bent}
        if failed and self.wishes.quadratic:
            failed, again = self._with_quadratic_terms(gains, curved, failed)
        else:
            again = negatively_curved(curved, self._suspects(curved, gains.gain), gains.gain)
            failed = {**{b.follower: Unrepaired(Fault.OTHERS) for b in again}, **failed}
        refuse_curvature(self.rows, failed, {b.follower: b.curvature for b in (*bent, *again)}, self._wanted)
        self._require_balance(gains)

    def _curved(self, gains: Draft, values: Mapping[str, float]) -> Curved:
        hessians = FollowerHessians(self.rows, values, gains.balance.forces)
        known = (self.rows, hessians, gains.system, self.moves, self.sides, gains.balance.held, self._wanted)
        # the minors' answers have second derivatives of their own
        return Anticipated(*known, self.settling, values) if self.settling else Curved(*known)

    @property
    def _wanted(self) -> float:
        return self.wishes.curvature or 0.0

    def _require_balance(self, gains: Draft) -> None:
        """Raise :class:`NoIncentive` if the gain, as it is now, leaves somebody a slope."""
        left = gains.left
        lost = np.unique(self.rows.owners[left > TOLERANCES.residual])
        findings = {
            self.rows.followers[k].name: Finding(RefusalCause.ROUNDING, float(left[self.rows.own(k)].max()))
            for k in lost
        }
        if findings:
            raise refusal(findings)

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
            self.rows, hessians, gain, self.moves, gains.balance.leader, gains.bend, own, projected=cut, values=values
        )
        return equilibrium(shared)

    def _with_quadratic_terms(
        self, gains: Draft, curved: Curved, failed: Mapping[int, Unrepaired]
    ) -> tuple[dict[int, Unrepaired], list[NegativeCurvature]]:
        """Add ½ R d² with R = ρ b/‖b‖² on the signals of each follower that no gain bends up; who is left, and how."""
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
        return left | {b.follower: Unrepaired(Fault.QUADRATIC) for b in bent}, bent


def designed(plan: Plan, game: Game, wishes: Wishes) -> Incentive:
    """The incentive of first-order conditions; raises :class:`NoIncentive` if there is none."""
    seconds: dict[str, float] = {}
    values, payment = dict(plan.values), wishes.payment
    with timed(seconds, "derivatives"):
        rows = rows_of(plan, game)
        if payment.expression is not None and not wishes.free:
            raise InvalidGame("payment=: there is nothing to choose it by; name the free= variables it is made of.")
        refuse_undefined(rows, rows.at(values))
    settling = plan.responding if wishes.minors == "respond" else ()
    if wishes.free:
        with timed(seconds, "free"):
            demand = Design(rows.natural(values), wishes, settling).demand(values)
            offsets, payment = choose_offsets(demand, values)
            values.update(offsets)
            refuse_undefined(rows, rows.at(values))
    with timed(seconds, "incentive"):
        design = Design(rows.natural(values), wishes, settling)
        gains = design.solve(values, _accuracy(plan))
    with timed(seconds, "curvature"):
        design.convexify(gains, values)
    limit = payment.limit if payment.given else math.nan
    return replace(_incentive(plan, design, gains, values, seconds), payment=payment.paid, payment_limit=limit)


def given_incentive(plan: Plan, rows: FollowerRows, wishes: Wishes, gain: sparse.csc_array) -> Incentive:
    """The incentive of a gain that is known, (leader variables × signals) in the user's units, at a plan.

    What it leaves of the followers' slopes is recomputed: ``residual``.
    """
    seconds: dict[str, float] = {}
    with timed(seconds, "incentive"):
        design = Design(rows.natural(plan.values), wishes)
        gains = design.given(plan.values, gain)
    return _incentive(plan, design, gains, plan.values, seconds)


def _accuracy(plan: Plan) -> float:
    """How well the plan is known, in reaches of its variables: no better than ``TOLERANCES.accuracy``."""
    known = [x for x in plan.residuals.values() if math.isfinite(x)]
    return min(max([TOLERANCES.accuracy, *known]), TOLERANCES.margin)


def _incentive(
    plan: Plan, design: Design, gains: Draft, values: Mapping[str, float], seconds: dict[str, float]
) -> Incentive:
    rows, system = design.rows, gains.system
    with timed(seconds, "uniqueness"):
        equilibrium = design.equilibrium(gains, values)
    units = design.units(system.leader, system.signal)
    slopes = rows.units.costs[rows.owners] / rows.action_units
    bend = gains.bend
    if bend is not None:
        squares = sparse.diags_array(1.0 / design.spans**2)
        bend = sparse.csc_array(sparse.diags_array(rows.instrument_units) @ bend @ squares)
    side_units = {side.name: side.unit for side in design.sides}
    energies = design.weights[system.leader] * design.counts[system.signal]
    logger.info("%s: %d gains, rank %d", rows.game.name, len(gains.gain), gains.rank)
    return assembled(
        design,
        plan,
        values,
        matrix=system.as_matrix(gains.gain * units),
        residual=float((gains.left * slopes).max(initial=0.0)),
        rank=gains.rank,
        freedom=system.permitted - gains.rank,
        multipliers={name: side_units[name] * multiplier for name, multiplier in gains.balance.held.items()},
        bend=bend,
        settling=tuple(design.settling),
        equilibrium=equilibrium,
        system=replace(system.in_units(1.0 / slopes, 1.0 / units), weights=energies),
        uncertainty=gains.uncertainty,
        seconds=seconds,
    )
