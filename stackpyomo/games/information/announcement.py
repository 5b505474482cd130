"""Announcements: what the leader says it will do, as plain data that a re-solve plays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from scipy import sparse

from stackpyomo.core import triplets

from .signals import Signal


class Uniqueness(str, Enum):
    """What is known of the number of the followers' equilibria under a strategy."""

    UNIQUE = "unique"  #: Proved to be the only one.
    LOCALLY_UNIQUE = "locally unique"  #: Proved to be the only one near the plan.
    NOT_UNIQUE = "not unique"  #: Proved to be one of several.
    NOT_SHOWN = "not shown unique"  #: Neither is proved.
    NOT_CHECKED = "not checked"  #: Not looked at, for the reason that is told.
    UNKNOWN = ""  #: Not looked at.


@dataclass(frozen=True)
class Equilibrium:
    """Whether the followers' equilibrium under a strategy is the only one, and why."""

    uniqueness: Uniqueness = Uniqueness.UNKNOWN
    why: str = ""

    def __str__(self) -> str:
        return f"{self.uniqueness.value}: {self.why}" if self.why else self.uniqueness.value

    @classmethod
    def read(cls, text: str) -> Equilibrium:
        """What was written as "verdict: why"."""
        verdict, _, why = text.partition(": ")
        return cls(Uniqueness(verdict), why)


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
    equilibrium: Equilibrium = Equilibrium()
    epsilon0: float = math.nan  #: Proved gap of the plan to the leader's optimum.
    warnings: Sequence[str] = ()  #: What a re-solve of the followers does not look at.
    responding: Sequence[str] = ()  #: Followers who respond in the plan: no better plan means none in which they do.
    #: Followers who settle anew when another one deviates; a re-solve holds them at the plan.
    settling: Sequence[str] = ()


def formula_steps(
    gain: sparse.sparray, bend: sparse.sparray | None, seen: Callable[[int], Any], times: Sequence[float] | None = None
) -> dict[int, Any]:
    """Number of a leader variable that answers → K d + ½ R d², in numbers or as an expression.

    seen: number of a signal → d. times: how many show each signal (None: one).
    """
    moved: dict[int, Any] = {}
    for matrix, power in ((gain, 1), (bend, 2)):
        for row, column, rate in triplets(matrix) if matrix is not None else ():
            if rate != 0.0:
                weight = rate / power * (1.0 if times is None else times[column])
                moved[row] = moved.get(row, 0.0) + weight * seen(column) ** power
    return moved
