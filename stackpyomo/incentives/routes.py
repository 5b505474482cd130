"""Routes: by slopes, or by deviations, or by slopes first and then by deviations where these do not hold.

A follower with whole actions has no first-order conditions, a signal that is not linear bends its answer, a follower
that is not convex may pass every local test and leave all the same: these are designed deviation by deviation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from stackpyomo.core import TOLERANCES
from stackpyomo.core.expressions import is_convex_problem
from stackpyomo.derivatives import is_jointly_convex
from stackpyomo.errors import InvalidGame, NoIncentive, RefusalCause
from stackpyomo.games import Follower, Game
from stackpyomo.plans import Plan
from stackpyomo.verification import Effort, composed, resolved

from . import by_deviations, by_slopes
from .gains.entries import Wishes
from .incentive import Incentive

__all__ = ["routed"]

_LOOKED_AT = 50  # Actions up to which followers not proved convex are re-solved before a design by slopes is returned.
_SECOND_LOOK = 5.0  # Seconds for a design by deviations where slopes have none.
_REPAIR = 20.0  # Seconds for one where what slopes came to is refuted: each of its rounds asks a global solver.


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
    if any(not row.equality or row.body.polynomial_degree() not in (0, 1) for row in follower.constraints):
        return False
    return follower.cost.polynomial_degree() in (0, 1, 2)


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
        raise InvalidGame("margin: asks what a change of a whole action costs, and nobody has one; pass curvature=.")
    return by_deviations.designed(plan, game, wishes, seconds)
