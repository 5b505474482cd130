"""Plain data that flows through the toolkit: game → plan → incentive → report.

Nothing here solves or differentiates. A Plan says what was found and what is held; what is announced is in
:mod:`stackpyomo.contracts`, what a re-solve of every follower showed in :mod:`stackpyomo.verdicts`. They print and go
to JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from numpy.typing import NDArray
from scipy import sparse

from .tolerances import TOLERANCES

__all__ = ["Announcement", "Array", "Finding", "Signal"]


Array: TypeAlias = NDArray[Any]

SHOWN = 40
"""Rows or names that are printed."""


@dataclass(frozen=True)
class Finding:
    """One finding of ``game.check()``: severity "error", "warning" or "info", component, what, what to do."""

    severity: str  #: "error" (the game cannot be used), "warning" or "info".
    component: str  #: Name of the component it is about.
    message: str  #: What was found.
    remedy: str  #: What to do; may be empty.

    def __str__(self) -> str:
        return f"{self.component}: {self.message} {self.remedy}".rstrip()


@dataclass(frozen=True)
class Signal:
    """Something the leader observes: constant + Σ weight · action or aggregate; ``own``: one action, each member's."""

    name: str
    constant: float
    terms: Mapping[str, float]
    own: bool

    def value(self, values: Mapping[str, float]) -> float:
        """What it shows at {variable name: value}."""
        return self.constant + sum(weight * values[name] for name, weight in self.terms.items())


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


def shown(value: float, digits: int = 10) -> str:
    """A number as people read it: what is rounding of a solver is 0."""
    return f"{0.0 if abs(value) <= TOLERANCES.noise else value:.{digits}g}"


def head(values: Mapping[str, float], most: int = SHOWN) -> Iterator[tuple[str, float]]:
    return islice(values.items(), most)


def listed(names: Sequence[str], most: int = 6, count: int | None = None) -> str:
    """count: how many there are, where ``names`` are only the first of them."""
    count = len(names) if count is None else count
    return ", ".join(names[:most]) + (f", … ({count} in all)" if count > most else "")
