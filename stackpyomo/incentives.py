"""Incentives: the affine strategy that makes a plan every follower's best response.

With a_k, b_k the derivatives of follower k's cost at the plan with respect to its own actions and to the leader's
(Zheng, Başar, Cruz 1984; arXiv 2207.10611), a strategy u0 = u0* + K (s − s*) in the signals s = C u leaves follower k
without a first-order reason to deviate iff

    a_k + G_kᵀλ_k + Q_kᵀ b_k = 0,   Q = K M,   λ_k ⟂ its own constraints in the COMPOSED problem.

Observing every action and observing an average are two cases of the same linear system (:mod:`stackpyomo.gains`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from pyomo.common.collections import ComponentMap
from pyomo.core.base.var import VarData
from scipy import sparse

from .checks import require, require_positive
from .choices import Limits, bounded, by_instrument, gain_bounds, sparsest
from .contracts import Incentive
from .curvatures import FollowerHessians, is_jointly_convex
from .derivatives import Derivatives, FollowerRows, rows_of, rows_scaled
from .errors import InvalidGame, NoIncentive
from .gains import System, gain_system, picked
from .games import Game
from .multipliers import Balance, active_sides, balanced, given_multipliers, leaning
from .offsets import Demand, Payment, choose_offsets
from .programs import timed, undisturbed
from .progress import tracked
from .reactions import Anticipated, require_still_signals, with_reactions
from .refusals import Attempt, hinted, refuse, refuse_curvature, refuse_undefined
from .results import Array, Plan
from .second_order import Curved, bent_followers, repaired
from .selections import component_pairs, leader_variables
from .signals import Observation, counts, read_observation, shares
from .solvers import choose
from .tolerances import TOLERANCES
from .uniqueness import Meeting, uniqueness

__all__ = ["affine_incentive"]

logger = logging.getLogger(__name__)

_CROWD = 1e9
"""What an infinite population's members together weigh in the energy beside a single follower, to choose a gain."""
_LOOKED_AT = 3000
"""Followers not proved convex whose second derivatives are looked at one by one, where no evaluation gives all."""


@dataclass(frozen=True)
class _Wishes:
    """What the user asked for, beside the plan."""

    observation: Observation
    energy: Any
    multipliers: Any
    curvature: float | None
    """The least curvature of the followers' composed costs; None: whatever comes."""
    saturate: bool
    gain_bounds: Any
    prefer: str
    quadratic: bool
    minors: str
    solver: str


def affine_incentive(
    plan: Plan,
    observe: Any = "actions",
    *,
    free: Any = (),
    energy: Any = None,
    multipliers: Any = "zero",
    curvature: str | float = "auto",
    saturate: bool = False,
    gain_bounds: Any = None,
    prefer: str = "energy",
    quadratic: bool = False,
    payment: Any = None,
    payment_limit: float | None = None,
    minors: str = "frozen",
    solver: str = "auto",
) -> Incentive:
    """The gain K of least energy Σ w n K² with a_k + G_kᵀλ_k + (K M)ᵀ b_k = 0 for every observed follower.

    a_k = ∂J_k/∂u_k and b_k = ∂J_k/∂u0 at the plan; K is (leader variables × signals), n the number of followers who
    show a signal (:attr:`Incentive.energy`). Source: Zheng, Başar, Cruz 1984; arXiv 2207.10611.

    observe: "actions", a list of Vars or Expressions linear in follower actions, or leader variable → such a list.
    free: leader Vars whose on-path value may be chosen anew because the leader's objective does not depend on them;
    payment: an expression of theirs that is made least before the energy is, or is held within payment_limit; None:
    their norm is least among equals (:attr:`Incentive.payment` says what was decided). energy: leader Var → weight w
    (1). multipliers: "zero", "free", or follower constraint → λ. curvature: "auto" (use the freedom where the gain of
    least energy leaves a follower a direction of negative curvature), a number (or of less curvature than this, per
    squared unit of its actions: it may fall away from the plan) or "none". gain_bounds: (low, high) or leader Var →
    (low, high) for its entries. prefer: "energy" or "sparsest". quadratic: add ½ R (s − s*)² where no gain bends a
    follower's cost up. saturate: announce the projection on the leader's bounds.

    minors: whether the plan's responding followers stay at the plan when another one deviates ("frozen") or settle anew
    ("respond"; :func:`stackpyomo.anticipated_regret` then verifies it).

    A leader variable that stands at a bound is moved only inward against what tempts a follower.

    Raises :class:`NoIncentive` naming every follower that cannot be induced and why, :class:`InvalidGame` for bad
    arguments.
    """
    if not isinstance(plan, Plan):
        raise InvalidGame(
            f"affine_incentive({type(plan).__name__}): expected a Plan; make one with leader_optimal(game)."
        )
    game = plan.attached()
    least = _least_curvature(curvature)
    _one_of("prefer", prefer, ("energy", "sparsest"))
    _one_of("minors", minors, ("frozen", "respond"))
    if not isinstance(multipliers, (Mapping, ComponentMap, list, tuple)):
        _one_of("multipliers", multipliers, ("zero", "free"))
    choose(solver)
    with undisturbed():
        require(game, leader_objective=False)
        plan.attached()  # once more: the model may have gained a Var since the plan
        game.require_fixed_as(plan.values)
        plan = plan.now()
        observation = read_observation(game, observe)
        if not observation.signals and leader_variables(game, free):
            raise InvalidGame(
                "observe: names no signal, so that nobody is held, and nothing tells the free variables where to be. "
                "For prices without charges on deviations, observe the actions with gain_bounds=(0, 0)."
            )
        wishes = _Wishes(
            observation,
            energy,
            multipliers,
            least,
            bool(saturate),
            gain_bounds,
            prefer,
            bool(quadratic),
            minors,
            solver,
        )
        with tracked("designing the incentive"):
            try:
                return _designed(plan, game, wishes, free, _payment(payment, payment_limit))
            except NoIncentive as refused:
                raise (refused if leader_variables(game, free) else hinted(refused, game)) from None


def _least_curvature(given: Any) -> float | None:
    if not isinstance(given, (int, float)) or isinstance(given, bool):
        _one_of("curvature", given, ("auto", "none"))
        return 0.0 if given == "auto" else None
    if not 0.0 <= given < math.inf:
        raise InvalidGame(f"curvature={given!r}: the least curvature is a finite number of 0 or more.")
    return float(given)


def _payment(expression: Any, limit: float | None) -> Payment:
    if limit is None:
        return Payment(expression)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not math.isfinite(limit):
        raise InvalidGame(f"payment_limit={limit!r}: expected a finite number.")
    if expression is None:
        raise InvalidGame("payment_limit: there is nothing to limit; pass payment=, an expression of free variables.")
    return Payment(expression, float(limit), given=True)


def _one_of(name: str, given: Any, known: Sequence[str]) -> None:
    if not isinstance(given, str) or given not in known:
        raise InvalidGame(f"{name}={given!r}: choose {' or '.join(repr(k) for k in known)}.")


def _designed(plan: Plan, game: Game, wishes: _Wishes, free: Any, payment: Payment) -> Incentive:
    seconds: dict[str, float] = {}
    with timed(seconds, "derivatives"):
        rows = rows_of(plan, game)
        chosen = leader_variables(game, free)
        if payment.expression is not None and not chosen:
            raise InvalidGame("payment: there is nothing to choose it by; name the free= variables it is made of.")
        values = dict(plan.values)
        here = rows.at(values)
        refuse_undefined(rows, here)
    design = _Design(rows, wishes, plan.responding if wishes.minors == "respond" else ())
    if chosen:
        with timed(seconds, "free"):
            demand = design.demand(here, values)
            offsets, payment = choose_offsets(rows, here, values, chosen, demand, payment, wishes.solver)
            values.update(offsets)
            here = rows.at(values)
    with timed(seconds, "incentive"):
        refuse_undefined(rows, here)
        found = design.solve(here, values)
    with timed(seconds, "curvature"):
        found = design.bent_up(found, values)
    with timed(seconds, "uniqueness"):
        unique = design.uniqueness(found, values)
    return replace(_incentive(plan, design, found, values, chosen, unique, seconds), **_decided(payment))


def _decided(payment: Payment) -> dict[str, Any]:
    return {"payment": payment.paid, "payment_limit": payment.limit if payment.given else math.nan}


@dataclass
class _Found:
    """A design on its way: what the gain balances, the equations, the gain's entries."""

    here: Derivatives
    balance: Balance
    slope: Array
    scale: Array
    system: System
    gain: Array
    rank: int
    limits: Limits
    bend: sparse.csc_array | None = None


class _Design:
    """The gain of one plan: signals and equations, limits, choice, curvature."""

    def __init__(self, rows: FollowerRows, wishes: _Wishes, settling: Sequence[str] = ()) -> None:
        self.rows, self.wishes, self.settling = rows, wishes, settling
        self.weights = _weights(rows, wishes.energy)
        self.signals = wishes.observation.signals
        self.shares = shares(rows.game, self.signals)
        self.counts = counts(rows.game, self.signals)
        self.allowed = self._allowed()
        seen = self.shares.sums
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
        felt, weighed = rows_scaled(leader, self.watched), np.where(np.isinf(self.counts), _CROWD, self.counts)
        return gain_system(felt, self.shares.moves, self.rows.owners, self.weights, weighed, self.allowed)

    def demand(self, here: Derivatives, values: Mapping[str, float]) -> Demand:
        """What :func:`choose_offsets` has to know of the gains."""
        sides = active_sides(self.rows, here, values) if self.wishes.multipliers == "free" else []
        shift = np.zeros(len(self.rows.actions))
        if not isinstance(self.wishes.multipliers, str):
            self.sides = active_sides(self.rows, here, values)
            shift = given_multipliers(self.rows, here, self.sides, self.wishes.multipliers).slope - here.own
        system = self.equations(here.leader)
        lower, upper = gain_bounds(self.rows, self.wishes.gain_bounds)
        barred = (lower == 0.0) & (upper == 0.0)  # what may not answer holds nobody
        return Demand(system.without(barred[system.leader]), self.shares.moves, self.watched, sides, shift)

    def solve(self, here: Derivatives, values: Mapping[str, float]) -> _Found:
        """The gain that balances every watched follower; raises :class:`NoIncentive` if there is none."""
        scale = self.rows.scales(values)
        self.sides = active_sides(self.rows, here, values)
        if self.settling:
            require_still_signals(self.rows, self.signals, self.shares.sums, self.settling)
            here = with_reactions(self.rows, here, values, self.settling, self.sides)
            self.sides = active_sides(self.rows, here, values)
        refuse_undefined(self.rows, here, self.sides)
        balance = self._balance(here, scale)
        noise = TOLERANCES.noise * self.rows.own_scales(values)[self.rows.owners]
        tempted = self.watched[self.rows.owners] & (np.abs(balance.slope) > noise)
        slope = np.where(tempted, balance.slope, 0.0)
        grip = np.sqrt(np.asarray(balance.leader.power(2).sum(axis=1)).ravel())
        system = self._felt(self.equations(rows_scaled(balance.leader, grip > TOLERANCES.gradient * scale)), slope)
        gain, rank = system.least_energy(slope)
        limits, at_bounds = self._limits(system, slope, values)
        unlimited = slope + system.matrix @ gain
        gain = self._within(system, slope, gain, limits)
        attempt = Attempt(
            self.rows, balance.leader, self.shares.moves, self.shares.sums, system, slope, scale,
            slope + system.matrix @ gain, unlimited, at_bounds, self.wishes.multipliers == "free",
            frozenset(side.follower for side in self.sides),
        )  # fmt: skip
        refuse(attempt)
        if self.wishes.prefer == "sparsest":
            gain = sparsest(system, slope, gain, limits, self.wishes.solver)
        return _Found(here, balance, slope, scale, system, gain, rank, limits)

    def _felt(self, system: System, slope: Array) -> System:
        """Without the equations whose grip is rounding beside the slope it would have to balance (a pole)."""
        grip = np.sqrt(np.asarray(system.matrix.power(2).sum(axis=1)).ravel())
        return replace(system, matrix=rows_scaled(system.matrix, grip > TOLERANCES.gradient * np.abs(slope)))

    def _balance(self, here: Derivatives, scale: Array) -> Balance:
        chosen = self.wishes.multipliers
        if isinstance(chosen, str) and chosen == "zero":
            return leaning(here, (), np.zeros(0))
        if isinstance(chosen, str):
            return balanced(here, self.sides, self.rows.owners, self.equations, scale, self.wishes.solver)
        return given_multipliers(self.rows, here, self.sides, chosen)

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
        low, high = lower[system.leader].copy(), upper[system.leader].copy()
        stands = {i: side for i, v in enumerate(self.rows.instruments) if (side := _bound(v, values[self._name(v)]))}
        at_bounds = {i: f"{self._name(self.rows.instruments[i])} stands at its {side}" for i, side in stands.items()}
        if stands:
            rising, falling = self._temptations(system, slope)
            kind = np.array([stands.get(int(tool), "") for tool in system.leader], dtype=object)
            floor, ceiling = (kind == "lower bound") | (kind == "bounds"), (kind == "upper bound") | (kind == "bounds")
            no_drop = (floor & rising) | (ceiling & falling)  # K ≥ 0: what tempts must not push beyond the bound
            no_rise = (floor & falling) | (ceiling & rising)
            low, high = np.where(no_drop, np.maximum(low, 0.0), low), np.where(no_rise, np.minimum(high, 0.0), high)
        return Limits(low, high), at_bounds

    def _name(self, var: VarData) -> str:
        return self.rows.game.names[id(var)]

    def _temptations(self, system: System, slope: Array) -> tuple[Array, Array]:
        """For each entry: does its signal rise, does it fall, when somebody does what tempts him?"""
        entries = system.matrix.tocoo()
        moved = picked(self.shares.moves, system.signal[entries.col], entries.row)
        rising, falling = np.zeros(len(system.leader), dtype=bool), np.zeros(len(system.leader), dtype=bool)
        way = -np.sign(slope[entries.row]) * np.sign(moved)
        np.logical_or.at(rising, entries.col, way > 0.0)
        np.logical_or.at(falling, entries.col, way < 0.0)
        return rising, falling

    # --- second order -------------------------------------------------------------------------------------------------

    def bent_up(self, found: _Found, values: Mapping[str, float]) -> _Found:
        """Use the freedom where the gain leaves a direction of negative curvature; raise where that cannot be."""
        if self.wishes.curvature is None:
            return found
        hessians = FollowerHessians(self.rows, values, found.balance.forces)
        known = (self.rows, hessians, found.system, self.shares.moves, self.sides, found.balance.held)
        curved = Curved(*known, self.wishes.curvature)
        if self.settling:  # the minors' answers have second derivatives of their own
            curved = Anticipated(*known, self.wishes.curvature, self.settling, values)
        looked_at = np.flatnonzero(self.watched).tolist() if self.settling else self._suspects(curved, found.gain)
        bent = bent_followers(curved, looked_at, found.gain)
        if not bent:
            return found
        gain, failed = found.gain, {b.follower: "curvature: what it anticipates does not bend up" for b in bent}
        if not self.settling:
            gain, failed = repaired(curved, found.gain, bent)
        if not found.limits.are_met(gain).all():
            gain = found.gain
            failed = {b.follower: "curvature: no gain was found that bends its cost up within the bounds" for b in bent}
        found.gain = gain
        if failed and self.wishes.quadratic:
            failed = self._bowed(found, curved, failed)
        refuse_curvature(self.rows, failed, {b.follower: b.curvature for b in bent}, self.wishes.curvature)
        return found

    def _suspects(self, curved: Curved, gain: Array) -> list[int]:
        """Followers who may have a direction of negative curvature."""
        watched = np.flatnonzero(self.watched)
        if curved.hessians.are_private:
            return [int(k) for k in curved.suspects(watched, gain)]
        if curved.wanted:  # a convex cost may still be too flat
            return [int(k) for k in watched[:_LOOKED_AT]]
        others = [*self.rows.responses.variables, *self.rows.instruments]
        doubtful = (int(k) for k in watched if not is_jointly_convex(self.rows.followers[k], others))
        return list(islice(doubtful, _LOOKED_AT))

    def uniqueness(self, found: _Found, values: Mapping[str, float]) -> str:
        """Whether the followers' equilibrium under the strategy is the only one."""
        hessians = FollowerHessians(self.rows, values, {})
        gain = found.system.as_matrix(found.gain)
        own = np.array([signal.own for signal in self.signals], dtype=bool)
        cut = self.wishes.saturate and any(v.lb is not None or v.ub is not None for v in self.rows.instruments)
        meeting = Meeting(
            self.rows, hessians, gain, self.shares.moves, found.balance.leader, found.bend, own=own, projected=cut
        )
        return uniqueness(meeting)

    def _bowed(self, found: _Found, curved: Curved, failed: Mapping[int, str]) -> dict[int, str]:
        """Add ½ R d² with R = ρ b/‖b‖² on the signals of each follower that no gain bends up; who is left."""
        shape = (len(self.rows.instruments), len(self.signals))
        bend = sparse.lil_array(shape)
        left = dict[int, str]()
        for follower in failed:
            mine = self.rows.own(follower)
            shown = np.unique(self.shares.moves[:, mine].tocoo().row)
            b = found.balance.leader[[follower]].toarray()[0]
            radius = curved.bow(follower, found.gain, self.shares.moves[shown].tocsr()[:, mine].toarray())
            if math.isinf(radius) or not b.any():
                left[follower] = failed[follower] + ", and no quadratic term in what the leader sees helps"
                continue
            for signal in shown:
                may = np.ones(len(b)) if self.allowed is None else self.allowed[:, [signal]].toarray().ravel()
                for tool in np.flatnonzero(b * may):
                    bend[tool, signal] = radius * b[tool] / float((b * may) @ b)
        found.bend = sparse.csc_array(bend)
        bowed = np.flatnonzero(np.asarray(abs(found.bend).sum(axis=0)).ravel() > 0.0)
        reached = np.unique(self.rows.owners[np.unique(self.shares.moves.tocsr()[bowed].tocoo().col)])
        again = [int(k) for k in reached if self.watched[k]]  # a square that lifts one follower may bend another down
        bent = bent_followers(curved, again, found.gain, bow=(found.bend, found.balance.leader))
        left.update({b.follower: "curvature: even a quadratic term leaves its cost bent down" for b in bent})
        return left


def _bound(var: VarData, level: float) -> str:
    """Which bound the leader's variable stands at."""
    low = var.lb is not None and level - var.lb <= TOLERANCES.active * max(1.0, abs(var.lb))
    high = var.ub is not None and var.ub - level <= TOLERANCES.active * max(1.0, abs(var.ub))
    return "bounds" if low and high else "lower bound" if low else "upper bound" if high else ""


def _weights(rows: FollowerRows, energy: Any) -> Array:
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


def _incentive(
    plan: Plan,
    design: _Design,
    found: _Found,
    values: Mapping[str, float],
    chosen: Sequence[VarData],
    unique: str,
    seconds: dict[str, float],
) -> Incentive:
    rows, system = design.rows, found.system
    names = rows.game.names
    leader = [names[id(v)] for v in rows.instruments]
    offset = {name: values[name] for name in leader}
    offset.update({names[id(v)]: values[names[id(v)]] for v in chosen})
    left = np.abs(found.slope + system.matrix @ found.gain)
    logger.info("%s: %d gains, rank %d", rows.game.name, len(found.gain), found.rank)
    return Incentive(
        plan=plan,
        leader=leader,
        observed=design.signals,
        matrix=system.as_matrix(found.gain),
        offset=offset,
        targets={s.name: s.value(values) for s in design.signals},
        actions_seen=[names[id(v)] for v in rows.actions],
        residual=float(left.max(initial=0.0)),
        rank=found.rank,
        freedom=system.permitted - found.rank,
        weights={n: float(w) for n, w in zip(leader, design.weights, strict=True) if w != 1.0},
        members={s.name: float(n) for s, n in zip(design.signals, design.counts, strict=True) if n != 1.0},
        multipliers=found.balance.held,
        bend=found.bend,
        saturate=design.wishes.saturate,
        settling=tuple(design.settling),
        uniqueness=unique,
        permitted=design.allowed,
        system=system,
        alone=[f.name for f, seen in zip(rows.followers, design.watched, strict=True) if not seen],
        seconds=seconds,
    )
