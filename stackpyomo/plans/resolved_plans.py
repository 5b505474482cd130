"""Re-solved plans: the followers' best answers at some values, re-solved and measured; nothing is proved yet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stackpyomo.bilevel import Options
from stackpyomo.derivatives import FollowerRows
from stackpyomo.games import Game, objective_at
from stackpyomo.games.information import Announcement
from stackpyomo.verification import Effort, Report, resolved

from .feasibility import violation
from .plan import Plan, measured


def answered_plan(
    game: Game,
    values: Mapping[str, float],
    responding: Sequence[str],
    options: Options,
    report: Report | None = None,
    **fields: Any,
) -> Plan:
    """The plan at these values, name → level, with the report of those who respond (None: they are re-solved now).

    ``fields``: of the Plan, beside or in the place of what is measured here.
    """
    if report is None:
        report = resolved(game, Announcement(values, math.nan), set(responding), Effort(time_limit=options.time_limit))
    known: Sequence[float] = report.objective.tolist()
    if len(known) < len(game.followers) or any(map(math.isnan, known)):
        known = FollowerRows(game).at(values).objectives.tolist()
    fields.setdefault("leader_objective", objective_at(game, game.leader, values))
    if "residuals" not in fields:
        fields["residuals"] = measured(violation(game, values))
    return Plan(
        values=dict(values),
        follower_objectives=dict(zip(game.followers, map(float, known), strict=True)),
        game=game,
        responding=tuple(responding),
        report=report,
        **fields,
    )


def not_held(plan: Plan) -> None:
    """Say of a plan that its followers' re-solve does not bear it out."""
    report = plan.report
    assert report is not None
    known = not report.regret.isna().any() and not (report.certificate == "unknown").any()
    plan.quality = "infeasible" if known and report.refuted else "none"
    plan.warnings.append(f"not an equilibrium by the re-solve of the followers ({report.verdict})")
