"""Summary: the report of followers who have been re-solved."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from stackpyomo.core import listed
from stackpyomo.games.information import Announcement, Equilibrium, Uniqueness, policy_form

from .best_response import Composed
from .report import Report


def report_of(
    problems: Sequence[Composed], announced: Announcement, tolerance: float, seconds: dict[str, float], solver: str
) -> Report:
    """What every re-solve came to, in the order of the problems; ``seconds`` and ``solver`` of all together."""
    names = [c.follower.name for c in problems]
    cut = () if announced.saturate else tuple(dict.fromkeys(name for c in problems for name in c.cut))
    costs = [c.follower.sign * c.plan_cost for c in problems]
    regrets, responses = [], {}
    for problem in problems:
        known = problem.certificate != "unknown"
        regrets.append(max(0.0, problem.plan_cost - problem.best_cost) if known else math.nan)
        better = problem.best_cost < problem.plan_cost
        best = problem.best if better else problem.target
        responses[problem.follower.name] = dict(zip(problem.names, best, strict=True)) if known else {}
    return Report(
        regret=pd.Series(regrets, index=names, dtype=float, name="regret"),
        certificate=pd.Series([c.certificate for c in problems], index=names, dtype=object, name="certificate"),
        best_response=responses,
        objective=pd.Series(costs, index=names, dtype=float, name="objective"),
        scale=pd.Series([c.scale for c in problems], index=names, dtype=float, name="scale"),
        leader_objective=announced.leader_objective,
        equilibrium=_of_the_projection(announced.equilibrium, cut),
        epsilon0=announced.epsilon0,
        warnings=list(announced.warnings),
        responding=tuple(announced.responding),
        tolerance=tolerance,
        note=pd.Series([c.note for c in problems], index=names, dtype=object, name="note"),
        seconds=seconds,
        solver=solver,
        forms={c.follower.name: form for c in problems if (form := policy_form(c.follower.variables))},
        cut=cut,
        reach={c.follower.name: c.reach for c in problems if c.certificate == "multistart"},
        endless=tuple(c.follower.name for c in problems if c.certificate == "multistart" and c.endless),
        unsettled={c.follower.name: c.unsettled for c in problems if c.certificate == "unknown" and c.unsettled},
    )


def _of_the_projection(shown: Equilibrium, cut: Sequence[str]) -> Equilibrium:
    """What was shown of the formula says nothing of where its answers are stopped at the leader's bounds."""
    if not cut or shown.uniqueness in (Uniqueness.NOT_SHOWN, Uniqueness.NOT_CHECKED, Uniqueness.UNKNOWN):
        return shown
    why = f"{listed(cut, 2)} stopped at the leader's bounds, which the formula alone is not"
    return Equilibrium(Uniqueness.NOT_SHOWN, why)
