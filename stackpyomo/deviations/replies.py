"""Replies: what each follower does best against an announcement, and what that proves; verification re-solves them."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

from stackpyomo.games import Game
from stackpyomo.games.information import Announcement
from stackpyomo.verification import Composed, Effort, best_responses, composed

from .rows import Deviation

__all__ = ["Reply", "best_replies", "tempting"]

PROVED = ("convex", "global")
"""Certificates under which nothing better than the reply exists."""


@dataclass(frozen=True)
class Reply:
    """One follower's best response to an announcement."""

    follower: str
    action: Mapping[str, float]
    """Variable name → what it does; its part of the plan where nothing is better."""
    regret: float
    """J_k(plan) − J_k(reply) ≥ 0, in the unit of its cost; NaN: not known."""
    scale: float
    """What that is small against."""
    certificate: str
    """"convex", "global", "multistart" or "unknown"."""
    note: str = ""
    """Why nothing was proved."""

    @property
    def proved(self) -> bool:
        """True if it is proved that nothing is better."""
        return self.certificate in PROVED

    @property
    def deviation(self) -> Deviation:
        """The same as a row."""
        return Deviation(self.follower, self.action, self.regret)


def best_replies(
    game: Game, announced: Announcement, followers: Container[str], effort: Effort, *, projected: bool = True
) -> list[Reply]:
    """Every named follower re-solved against the announcement; inside ``undisturbed()``.

    projected: the leader cannot leave its bounds, so that its answers are stopped there.
    """
    announced = replace(announced, saturate=True) if projected else announced
    return [_reply(problem) for problem in best_responses(list(composed(game, announced, followers)), effort, {})]


def tempting(replies: Sequence[Reply], tolerance: float) -> list[Deviation]:
    """The replies by which a follower gains more than the tolerance, relative to its scale."""
    return [reply.deviation for reply in replies if reply.regret > tolerance * reply.scale]


def _reply(problem: Composed) -> Reply:
    known = problem.certificate != "unknown"
    better = known and problem.best_cost < problem.plan_cost
    point = problem.best if better else problem.target
    return Reply(
        problem.follower.name,
        dict(zip(problem.names, point, strict=True)),
        max(0.0, problem.plan_cost - problem.best_cost) if known else math.nan,
        problem.scale,
        problem.certificate,
        problem.note,
    )
