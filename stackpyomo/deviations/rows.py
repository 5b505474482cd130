"""Rows: what a follower might do instead of its part of a plan, each once.

    row(k, v):   J_k(plan)  ≤  J_k(plan, k plays v, the announcement moves with v)

Deviations closer to the plan than ``TOLERANCES.apart`` reaches in every action are none: of such a row only rounding is
left once it is divided by its size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from stackpyomo.core import TOLERANCES


@dataclass(frozen=True)
class LeaderBound:
    """One bound of one leader variable."""

    variable: str
    lower: bool

    def __str__(self) -> str:
        return f"{'>=' if self.lower else '<='} {self.variable}"


@dataclass(frozen=True)
class Deviation:
    """Follower k plays v instead of its part of the plan, everybody else as planned."""

    follower: str
    action: Mapping[str, float] = field(hash=False)  #: Variable name → what it does.
    #: What it would gain by that under the announcement it was seen at, in the unit of its cost; NaN: not looked at.
    temptation: float = math.nan
    #: Of a row that keeps the leader within its bounds the bound; None: of the follower's gain.
    limit: LeaderBound | None = None


class Deviations:
    """A list of deviations without repeats: those nearer to each other than ``TOLERANCES.apart`` are one."""

    def __init__(self, reaches: Mapping[str, float], plan: Mapping[str, float] | None = None) -> None:
        """``reaches``: variable name → its natural unit (1 if absent). ``plan``: what is no deviation (None: any)."""
        self._reaches, self._plan = reaches, plan
        self._by_follower: dict[tuple[str, LeaderBound | None], list[Deviation]] = {}
        self._all: list[Deviation] = []

    def __iter__(self) -> Iterator[Deviation]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def of(self, follower: str, limit: LeaderBound | None = None) -> list[Deviation]:
        """Those of one follower, in the order they were added."""
        return self._by_follower.get((follower, limit), [])

    def distance(self, one: Mapping[str, float], other: Mapping[str, float]) -> float:
        """The largest difference of two actions of one follower, in reaches."""
        steps = (abs(level - other[name]) / self._reaches.get(name, 1.0) for name, level in one.items())
        return max(steps, default=0.0)

    def is_new(self, deviation: Deviation) -> bool:
        """True if it is away from the plan, and from every other one of this follower."""
        known = [d.action for d in self.of(deviation.follower, deviation.limit)]
        if self._plan is not None:
            known.append({name: self._plan[name] for name in deviation.action})
        return all(self.distance(deviation.action, action) > TOLERANCES.apart for action in known)

    def add(self, deviation: Deviation) -> bool:
        """True if it is new, and a row from now on."""
        if not self.is_new(deviation):
            return False
        self._by_follower.setdefault((deviation.follower, deviation.limit), []).append(deviation)
        self._all.append(deviation)
        return True
