"""Incentives: the affine strategy that makes a plan every follower's best response.

With a_k, b_k the derivatives of follower k's cost at the plan with respect to its own actions and to the leader's
(Zheng, Başar, Cruz 1984; arXiv 2207.10611), a strategy u0 = u0* + K (s − s*) in the signals s = C u leaves follower k
without a first-order reason to deviate iff

    a_k + G_kᵀλ_k + Q_kᵀ b_k = 0,   Q = K M,   λ_k ⟂ its own constraints in the COMPOSED problem.

Observing every action and observing an average are two cases of the same linear system:
:mod:`stackpyomo.incentives.gains.system`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pyomo.common.collections import ComponentMap
from pyomo.core.base.var import VarData
from scipy import sparse

from stackpyomo.core import TOLERANCES, timed, tracked, undisturbed
from stackpyomo.derivatives import ActiveSide, FollowerRows
from stackpyomo.errors import InvalidGame, NoIncentive
from stackpyomo.games import Game, leader_variables, require
from stackpyomo.games.information import Equilibrium, read_observation
from stackpyomo.plans import Plan, rows_of
from stackpyomo.solvers import choose

from .by_deviations import How
from .by_slopes import Design, Draft, Wishes, weights_of
from .diagnosis import hinted, refuse_undefined
from .gains.free_prices import Payment, choose_offsets
from .incentive import Incentive
from .lottery import table
from .routes import routed

__all__ = ["affine_incentive", "given_incentive", "least_curvature"]

logger = logging.getLogger(__name__)


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
    design: str = "auto",
    regret: str = "zero",
    margin: float = 0.0,
    solver: str = "auto",
) -> Incentive:
    """The affine rule u0 = u0* + K (s − s*) that makes the plan every observed follower's best response.

    By slopes K is the gain of least energy Σ w n K² with a_k + G_kᵀλ_k + (K M)ᵀ b_k = 0 for all k: a_k = ∂J_k/∂u_k and
    b_k = ∂J_k/∂u0 at the plan, n the number of followers who show a signal (:attr:`Incentive.energy`). By deviations no
    follower gains by anything that it can do; :attr:`Incentive.deviations` has those that bind. A leader variable that
    stands at a bound is moved only inward against what tempts a follower.

    Parameters
    ----------
    plan : Plan
        What is to be held.
    observe : "actions", list, or mapping of leader Var to list
        What the leader sees, or what each of its variables may answer: Vars or Expressions linear in follower actions.
    free : list of Var, optional
        Leader variables whose on-path value may be chosen anew because the leader's objective does not depend on them.
    energy : mapping of leader Var to float, optional
        The weights w, by default 1.
    multipliers : "zero", "free" or mapping of Constraint to float
        The multipliers λ of followers' own constraints in the composed problem.
    curvature : "auto", "none" or float
        Where the freedom among gains is used: "auto", where the gain of least energy makes a follower's cost concave
        along some deviation; a number, where its least curvature is below that, per squared unit of its actions;
        "none", nowhere.
    saturate : bool, default False
        Announce the projection on the leader's bounds.
    gain_bounds : (float, float) or mapping of leader Var to (float, float), optional
        Limits of the entries of K, in units of the leader's variable per unit of the signal.
    prefer : {"energy", "sparsest"}
        Which of several gains is taken.
    quadratic : bool, default False
        Add ½ R (s − s*)² where no gain makes a follower's cost convex.
    payment : expression, optional
        Of ``free`` variables: made least before the energy is; by default their norm is least among equals.
    payment_limit : float, optional
        ``payment`` is held within it instead, in its unit.
    minors : {"frozen", "respond"}
        Whether the plan's responding followers stay at the plan when another one deviates, or settle anew (then
        :func:`anticipated_regret` verifies it).
    design : {"auto", "slopes", "deviations"}
        "auto": by slopes first, by deviations where a follower is integer, or not convex and not held by slopes.
    regret : {"zero", "least"}
        "least": the rule under which the most that a follower gains is least (:attr:`Incentive.epsilon`).
    margin : float, default 0
        What each deviation that changes an integer action has to cost at least, in the follower's unit.
    solver : str, default "auto"
        A name of :mod:`stackpyomo.solvers.registry`.

    Returns
    -------
    Incentive
        The rule; :func:`verify` has still to prove it.

    Raises
    ------
    NoIncentive
        There is none; the message names every follower that cannot be induced and why, and
        :attr:`NoIncentive.deviations` has the lottery over deviations that proves it.
    InvalidGame
        An argument cannot be used.

    References
    ----------
    Y.-P. Zheng, T. Başar, J. B. Cruz, IEEE Trans. Syst. Man Cybern. 14 (1984) 10–24; arXiv 2207.10611.
    """
    if not isinstance(plan, Plan):
        raise InvalidGame(
            f"affine_incentive({type(plan).__name__}): expected a Plan; make one with leader_optimal(game)."
        )
    game = plan.attached()
    least = least_curvature(curvature)
    _one_of("prefer", prefer, ("energy", "sparsest"))
    _one_of("minors", minors, ("frozen", "respond"))
    if not isinstance(multipliers, (Mapping, ComponentMap, list, tuple)):
        _one_of("multipliers", multipliers, ("zero", "free"))
    how = _how(design, regret, margin)
    choose(solver)
    with undisturbed(), game.unchanged():
        require(game, leader_objective=False)
        plan.attached()  # once more: the model may have gained a Var since the plan
        game.require_fixed_as(plan.values)
        plan = plan.now()
        observation = read_observation(game, observe, curved=how.design != "slopes")
        if not observation.signals and leader_variables(game, free):
            raise InvalidGame(
                "observe: names no signal, so that nobody is held, and nothing tells the free variables where to be. "
                "For prices without charges on deviations, observe the actions with gain_bounds=(0, 0)."
            )
        wishes = Wishes(
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
                return routed(plan, game, wishes, free, _payment(payment, payment_limit), how, _designed)
            except NoIncentive as refused:
                if refused.deviations is None:
                    refused.deviations = table([])
                raise (refused if leader_variables(game, free) else hinted(refused, game)) from None


def _how(design: str, regret: str, margin: float) -> How:
    _one_of("design", design, ("auto", "slopes", "deviations"))
    _one_of("regret", regret, ("zero", "least"))
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0.0 <= margin < math.inf:
        raise InvalidGame(f"margin={margin!r}: what a deviation has to cost at least is a finite number of 0 or more.")
    if design == "slopes" and (regret == "least" or margin):
        raise InvalidGame("design='slopes': looks at no deviation; regret= and margin= need design='deviations'.")
    return How("deviations" if regret == "least" or margin else design, regret, float(margin))


def least_curvature(given: Any) -> float | None:
    """What curvature= asks for at least; None: whatever comes. Raises :class:`InvalidGame` for anything else."""
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


def _designed(plan: Plan, game: Game, wishes: Wishes, free: Any, payment: Payment) -> Incentive:
    seconds: dict[str, float] = {}
    with timed(seconds, "derivatives"):
        rows = rows_of(plan, game)
        chosen = leader_variables(game, free)
        if payment.expression is not None and not chosen:
            raise InvalidGame("payment: there is nothing to choose it by; name the free= variables it is made of.")
        values = dict(plan.values)
        derivatives = rows.at(values)
        refuse_undefined(rows, derivatives)
    settling = plan.responding if wishes.minors == "respond" else ()
    if chosen:
        with timed(seconds, "free"):
            design = Design(rows.natural(values), wishes, settling)
            demand = design.demand(values)
            offsets, payment = choose_offsets(design.rows, values, chosen, demand, payment, wishes.solver)
            values.update(offsets)
            derivatives = rows.at(values)
    with timed(seconds, "incentive"):
        refuse_undefined(rows, derivatives)
        design = Design(rows.natural(values), wishes, settling)
        gains = design.solve(values, _accuracy(plan))
    with timed(seconds, "curvature"):
        design.convexify(gains, values)
    with timed(seconds, "uniqueness"):
        equilibrium = design.equilibrium(gains, values)
    return replace(_incentive(plan, design, gains, values, chosen, equilibrium, seconds), **_decided(payment))


def given_incentive(plan: Plan, rows: FollowerRows, wishes: Wishes, gain: sparse.csc_array) -> Incentive:
    """The incentive of a gain that is known, (leader variables × signals) in the user's units, at a plan.

    What it leaves of the followers' slopes is recomputed: ``residual``.
    """
    seconds: dict[str, float] = {}
    with timed(seconds, "incentive"):
        design = Design(rows.natural(plan.values), wishes)
        gains = design.given(plan.values, gain)
        equilibrium = design.equilibrium(gains, plan.values)
    return _incentive(plan, design, gains, plan.values, (), equilibrium, seconds)


def _decided(payment: Payment) -> dict[str, Any]:
    return {"payment": payment.paid, "payment_limit": payment.limit if payment.given else math.nan}


def _accuracy(plan: Plan) -> float:
    """How well the plan is known, in reaches of its variables: no better than ``TOLERANCES.accuracy``."""
    known = [x for x in plan.residuals.values() if math.isfinite(x)]
    return min(max([TOLERANCES.accuracy, *known]), TOLERANCES.margin)


def _incentive(
    plan: Plan,
    design: Design,
    gains: Draft,
    values: Mapping[str, float],
    chosen: Sequence[VarData],
    equilibrium: Equilibrium,
    seconds: dict[str, float],
) -> Incentive:
    rows, system = design.rows, gains.system
    names = rows.game.names
    leader = [names[id(v)] for v in rows.instruments]
    offset = {name: values[name] for name in leader}
    offset.update({names[id(v)]: values[names[id(v)]] for v in chosen})
    entries, weights = design.entry_units(system), weights_of(rows, design.wishes.energy)
    slopes = rows.units.costs[rows.owners] / rows.action_units
    left = np.abs(gains.slope + system.matrix @ gains.gain) * slopes
    bend = None
    if gains.bend is not None:
        one = (rows.instrument_units, 1.0 / design.spans**2)
        bend = sparse.csc_array(sparse.diags_array(one[0]) @ gains.bend @ sparse.diags_array(one[1]))
    logger.info("%s: %d gains, rank %d", rows.game.name, len(gains.gain), gains.rank)
    return Incentive(
        plan=plan,
        leader=leader,
        observed=design.signals,
        matrix=system.as_matrix(gains.gain * entries),
        offset=offset,
        targets={s.name: s.value(values) for s in design.signals},
        actions_seen=[names[id(v)] for v in rows.actions],
        residual=float(left.max(initial=0.0)),
        rank=gains.rank,
        freedom=system.permitted - gains.rank,
        weights={n: float(w) for n, w in zip(leader, weights, strict=True) if w != 1.0},
        members={s.name: float(n) for s, n in zip(design.signals, design.counts, strict=True) if n != 1.0},
        multipliers=_multipliers(gains.balance.held, design.sides),
        bend=bend,
        saturate=design.wishes.saturate,
        settling=tuple(design.settling),
        equilibrium=equilibrium,
        permitted=design.allowed,
        system=replace(
            system.in_units(1.0 / slopes, 1.0 / entries),
            weights=weights[system.leader] * design.counts[system.signal],
        ),
        uncertainty=gains.uncertainty,
        alone=[f.name for f, seen in zip(rows.followers, design.watched, strict=True) if not seen],
        seconds=seconds,
    )


def _multipliers(multipliers: Mapping[str, float], sides: Sequence[ActiveSide]) -> dict[str, float]:
    """The same in the user's units."""
    unit = {side.name: side.unit for side in sides}
    return {name: unit[name] * multiplier for name, multiplier in multipliers.items()}
