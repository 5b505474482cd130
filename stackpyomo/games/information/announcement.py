"""Announcements: what the leader says it will do, as plain data that a re-solve plays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import sparse

from .signals import Signal

__all__ = ["Announcement"]


@dataclass(frozen=True)
class Announcement:
    """What the leader announces: u0 = offset + Q d + ½ R d², d = signal − target, and on-path values of the rest.

    ``gain`` Q and ``bend`` R are (leader variables × signals), by name; None: a constant. ``saturate``: what is
    announced is the projection of this on the leader's bounds.
    """

    values: Mapping[str, float]
    leader_objective: float
    leader: Sequence[str] = ()
    signals: Sequence[Signal] = ()
    gain: sparse.csc_array | None = None
    bend: sparse.csc_array | None = None
    saturate: bool = False
    uniqueness: str = ""
    """Whether the followers' equilibrium under it is the only one, and why; empty: not looked at."""
    epsilon0: float = math.nan
    """Proved gap of the plan to the leader's optimum."""
    warnings: Sequence[str] = ()
    """What a re-solve of the followers does not look at."""
    responding: Sequence[str] = ()
    """Followers who respond in the plan: no better plan means none in which they do."""
    settling: Sequence[str] = ()
    """Followers who settle anew when another one deviates; a re-solve holds them at the plan."""
