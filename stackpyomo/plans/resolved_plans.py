"""Re-solved plans: the followers' best answers are known, and no program holds the plan; all re-solved and measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stackpyomo.derivatives import FollowerRows
from stackpyomo.games import Game
from stackpyomo.games.information import Announcement
from stackpyomo.verification import Effort, resolved

from .feasibility import violation
from .options import Options
from .plan import Plan

__all__ = ["answered_plan", "not_held"]


def answered_plan(
    game: Game, values: Mapping[str, float], responding: Sequence[str], options: Options, **fields: Any
) -> Plan:
    """The plan at these values, name → level, with the report of those who respond; ``fields``: of the Plan besides."""
    report = resolved(game, Announcement(values, math.nan), set(responding), Effort(time_limit=options.time_limit))
    objectives = FollowerRows(game).at(values).objectives
    return Plan(
        values=dict(values),
        follower_objectives=dict(zip(game.followers, map(float, objectives), strict=True)),
        residuals={"feasibility": violation(game, values), "stationarity": math.nan, "complementarity": math.nan},
        game=game,
        responding=tuple(responding),
        report=report,
        **fields,
    )


def not_held(plan: Plan) -> None:
    """Say of a plan that its followers' re-solve does not bear it out."""
    assert plan.report is not None
    plan.quality = "infeasible" if plan.report.refuted else "none"
    plan.warnings.append(f"not an equilibrium by the re-solve of the followers ({plan.report.verdict})")
