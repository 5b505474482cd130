"""Incentives: the affine strategy that makes a plan every follower's best response.

With a_k, b_k the derivatives of follower k's cost at the plan with respect to its own actions and to the leader's
(Zheng, Başar, Cruz 1984; arXiv 2207.10611), a strategy u0 = u0* + K (s − s*) in the signals s = C u leaves follower k
without a first-order reason to deviate iff

    a_k + G_kᵀλ_k + Q_kᵀ b_k = 0,   Q = K M,   λ_k ⟂ its own constraints in the COMPOSED problem.

Observing every action and observing an average are two cases of the same linear system:
:mod:`stackpyomo.incentives.gains.system`.

Routes: by slopes, or by deviations, or by slopes first and then by deviations where these do not hold.

A follower with integer actions has no first-order conditions, a signal that is not linear bends its answer, a follower
that is not convex may pass every local test and leave all the same: these are designed deviation by deviation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyomo.common.collections import ComponentMap

from stackpyomo.core import TOLERANCES, bounds_of, tracked, undisturbed
from stackpyomo.core.expressions import is_affine, is_convex_problem, is_quadratic
from stackpyomo.derivatives import is_jointly_convex
from stackpyomo.errors import InvalidGame, NoIncentive, RefusalCause
from stackpyomo.games import Follower, Game, leader_variables, require
from stackpyomo.games.information import read_observation
from stackpyomo.plans import Plan
from stackpyomo.solvers import choose
from stackpyomo.verification import Effort, composed, resolved

from . import by_deviations, by_slopes
from .diagnosis import with_hint
from .gains.selection import Payment, Wishes
from .incentive import Incentive
from .lottery import table

_LOOKED_AT = 50  # Actions up to which followers not proved convex are re-solved before a design by slopes is returned.
_SECOND_LOOK = 5.0  # Seconds for a design by deviations where slopes have none.
_REPAIR = 20.0  # Seconds for one where what slopes came to is refuted: each of its rounds asks a global solver.


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
                "observe=: names no signal, so that nobody is held, and nothing determines the free variables. "
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
                stopping = _stopping(plan, game, refused) if saturate else []
                raise with_hint(refused, game, stopping, chosen) from None


def _stopping(plan: Plan, game: Game, refused: NoIncentive) -> list[str]:
    """Leader variables whose bounds bend a projection: where the plan is on one, or at the deviations of a proof."""
    limits = {game.names[id(v)]: [x for x in bounds_of(v) if math.isfinite(x)] for v in game.leader.variables}
    anywhere = len(refused.deviations) > 0
    return [name for name, ends in limits.items() if plan.values[name] in ends or (ends and anywhere)]


def _way(design: str, regret: str, margin: float) -> str:
    """design=, and "deviations" where what is asked for needs them."""
    _one_of("design", design, ("auto", "slopes", "deviations"))
    _one_of("regret", regret, ("zero", "least"))
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0.0 <= margin < math.inf:
        raise InvalidGame(f"margin={margin!r}: expected a finite number from 0 on, the least cost of a deviation.")
    if design == "slopes" and (regret == "least" or margin):
        raise InvalidGame("design='slopes': looks at no deviation; regret= and margin= need design='deviations'.")
    return "deviations" if regret == "least" or margin else design


def least_curvature(given: Any) -> float | None:
    """What curvature= asks for at least; None: whatever comes. Raises :class:`InvalidGame` for anything else."""
    if not isinstance(given, (int, float)) or isinstance(given, bool):
        _one_of("curvature", given, ("auto", "none"), "the least curvature asked for, a number")
        return 0.0 if given == "auto" else None
    if not 0.0 <= given < math.inf:
        raise InvalidGame(f"curvature={given!r}: expected a finite number from 0 on, the least curvature.")
    return float(given)


def _payment(expression: Any, limit: float | None) -> Payment:
    if limit is None:
        return Payment(expression)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not math.isfinite(limit):
        raise InvalidGame(f"payment_limit={limit!r}: expected a finite number.")
    if expression is None:
        raise InvalidGame("payment_limit=: there is nothing to limit; pass payment=, an expression of free variables.")
    return Payment(expression, float(limit), given=True)


def _one_of(name: str, given: Any, known: Sequence[str], *others: str) -> None:
    if not isinstance(given, str) or given not in known:
        raise InvalidGame(f"{name}={given!r}: choose {' or '.join([*map(repr, known), *others])}.")


def routed(plan: Plan, game: Game, wishes: Wishes) -> Incentive:
    """By slopes where they are enough, else by deviations; raises :class:`NoIncentive` if neither holds everybody."""
    whole = any(follower.integers for follower in game.followers.values())
    curved = any(signal.curve is not None for signal in wishes.observation.signals)
    if wishes.design == "deviations" or (wishes.design == "auto" and (whole or curved)):
        return _by_deviations(plan, game, wishes)
    if wishes.design == "slopes" or not _may_fall_back(wishes):
        return by_slopes.designed(plan, game, wishes)
    try:
        rule = by_slopes.designed(plan, game, wishes)
    except NoIncentive as refused:
        if not (_is_boxed(game) and RefusalCause.CURVATURE in refused.causes.values()):
            raise
        return _bent_by_deviations(refused, plan, game, wishes)
    return _by_deviations(plan, game, wishes, _REPAIR) if _is_refuted(rule, wishes.solver) else rule


def _bent_by_deviations(refused: NoIncentive, plan: Plan, game: Game, wishes: Wishes) -> Incentive:
    """What is refused for its curvature, deviation by deviation: held after all, or with the proof that it is not."""
    try:
        return _by_deviations(plan, game, wishes, _SECOND_LOOK)
    except NoIncentive as proof:
        raise NoIncentive(
            f"{refused} A design by deviations: {proof}",
            reasons={**proof.reasons, **refused.reasons},
            residuals={**proof.residuals, **refused.residuals},
            causes={**proof.causes, **refused.causes},
            deviations=proof.deviations,
        ) from None


def _is_boxed(game: Game) -> bool:
    """Whether a global solver can be asked of every follower: few, and each action between two bounds."""
    actions = game.actions
    return len(actions) <= _LOOKED_AT and all(v.lb is not None and v.ub is not None for v in actions)


def _may_fall_back(wishes: Wishes) -> bool:
    """Whether a design by deviations could do what is asked for."""
    plain = isinstance(wishes.multipliers, str) and wishes.prefer == "energy" and not wishes.quadratic
    plain = plain and wishes.payment.expression is None and wishes.minors == "frozen"
    # what a deviation costs says nothing of a curvature that is asked for
    return plain and wishes.curvature is not None and wishes.curvature <= 0.0


def _is_refuted(rule: Incentive, solver: str) -> bool:
    """Whether a follower that is not convex under the strategy gains by leaving; large games are left to verify."""
    game = rule.attached()
    if not _is_boxed(game):
        return False
    others = [*game.aggregate_variables(), *(game.variables_by_name[name] for name in rule.leader)]
    alone = set(rule.alone)
    watched = (
        f
        for name, f in game.followers.items()
        if name not in alone and not _bends_alike(f, game.names, rule.plan.values)
    )
    doubtful = {f.name for f in watched if not is_jointly_convex(f, others)}
    if not doubtful:
        return False
    announced = rule.announcement
    problems = composed(game, replace(announced, saturate=True), doubtful)
    open_ones = {p.follower.name for p in problems if not is_convex_problem(p.cost, p.rows)}
    if not open_ones:
        return False
    report = resolved(game, announced, open_ones, Effort(solver))
    return any(report.regret > report.tolerance * report.scale)


def _bends_alike(follower: Follower, names: Mapping[int, str], values: Mapping[str, float]) -> bool:
    """Whether its curvature at the plan is that everywhere: a quadratic cost, linear equalities, within its bounds.

    Under an affine strategy its cost is quadratic then, and no bound has hidden a direction from the design.
    """
    for var in follower.variables:  # what costs least to see comes first
        (low, high), level = var.bounds, values[names[id(var)]]
        near = TOLERANCES.active * (high - low)
        if level - low <= near or high - level <= near:
            return False
    if any(not row.equality or not is_affine(row.body) for row in follower.constraints):
        return False
    return is_quadratic(follower.cost)


def _by_deviations(plan: Plan, game: Game, wishes: Wishes, seconds: float = math.inf) -> Incentive:
    for given, what in (
        (not isinstance(wishes.multipliers, str), "multipliers by name"),
        (wishes.prefer != "energy", "prefer="),
        (wishes.quadratic, "quadratic= (observe the square instead)"),
        (wishes.payment.expression is not None, "payment="),
        (wishes.minors != "frozen", "minors="),
        ((wishes.curvature or 0.0) > 0.0, f"curvature={wishes.curvature}"),
    ):
        if given:
            raise InvalidGame(f"{what}: a design by deviations has none. Leave it out, or pass design='slopes'.")
    if wishes.margin and not any(follower.integers for follower in game.followers.values()):
        raise InvalidGame("margin=: asks what a change of an integer action costs, and there is none; pass curvature=.")
    return by_deviations.designed(plan, game, wishes, seconds)
