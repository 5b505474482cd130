"""Incentives: the affine strategy that makes a plan every follower's best response.

With a_k, b_k the derivatives of follower k's cost at the plan with respect to its own actions and to the leader's
(Zheng, Başar, Cruz 1984; arXiv 2207.10611), a strategy u0 = u0* + K (s − s*) in the signals s = C u leaves follower k
without a first-order reason to deviate iff

    a_k + G_kᵀλ_k + Q_kᵀ b_k = 0,   Q = K M,   λ_k ⟂ its own constraints in the COMPOSED problem.

Observing every action and observing an average are two cases of the same linear system:
:mod:`stackpyomo.incentives.gains.system`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pyomo.common.collections import ComponentMap

from stackpyomo.core import tracked, undisturbed
from stackpyomo.errors import InvalidGame, NoIncentive
from stackpyomo.games import leader_variables, require
from stackpyomo.games.information import read_observation
from stackpyomo.plans import Plan
from stackpyomo.solvers import choose

from .diagnosis import with_hint
from .gains.entries import Payment, Wishes
from .incentive import Incentive
from .lottery import table
from .routes import routed

__all__ = ["affine_incentive", "least_curvature"]


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
    by = _way(design, regret, margin)
    choose(solver)
    with undisturbed(), game.unchanged():
        require(game, leader_objective=False)
        plan.attached()  # once more: the model may have gained a Var since the plan
        game.require_fixed_as(plan.values)
        plan = plan.now()
        observation = read_observation(game, observe, curved=by != "slopes")
        chosen = leader_variables(game, free)
        if not observation.signals and chosen:
            raise InvalidGame(
                "observe: names no signal, so that nobody is held, and nothing tells the free variables where to be. "
                "For prices without charges on deviations, observe the actions with gain_bounds=(0, 0)."
            )
        wishes = Wishes(
            observation, energy, multipliers, least, bool(saturate), gain_bounds, prefer, bool(quadratic), minors,
            solver, chosen, _payment(payment, payment_limit), by, regret, float(margin),
        )  # fmt: skip
        with tracked("designing the incentive"):
            try:
                return routed(plan, game, wishes)
            except NoIncentive as refused:
                if refused.deviations is None:
                    refused.deviations = table([])
                raise (refused if chosen else with_hint(refused, game)) from None


def _way(design: str, regret: str, margin: float) -> str:
    """design=, and "deviations" where what is asked for needs them."""
    _one_of("design", design, ("auto", "slopes", "deviations"))
    _one_of("regret", regret, ("zero", "least"))
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0.0 <= margin < math.inf:
        raise InvalidGame(f"margin={margin!r}: what a deviation has to cost at least is a finite number of 0 or more.")
    if design == "slopes" and (regret == "least" or margin):
        raise InvalidGame("design='slopes': looks at no deviation; regret= and margin= need design='deviations'.")
    return "deviations" if regret == "least" or margin else design


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
