"""The project's own errors.

Every error a user can cause says what is wrong, with which component, and what to do next.
Nothing else in the package raises a bare ``ValueError`` at a user.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "GameFileError",
    "InvalidGame",
    "NoIncentive",
    "NoPlan",
    "NonconvexFollower",
    "SolverNotAvailable",
    "StackpyomoError",
]


class StackpyomoError(Exception):
    """Base of every error raised on purpose by stackpyomo."""


class InvalidGame(StackpyomoError, ValueError):
    """The game, or an argument that refers to it, cannot be used as it stands."""


class GameFileError(InvalidGame):
    """A game file cannot be read; the message begins ``path:line:column:`` where these are known."""

    path: str
    """The file; empty if unknown."""
    line: int | None
    """Counted from 1; None if unknown."""
    column: int | None
    """Counted from 1; None if unknown."""

    def __init__(self, message: str, *, path: str = "", line: int | None = None, column: int | None = None) -> None:
        self.path, self.line, self.column = path, line, column
        place = ":".join(str(part) for part in (path or None, line, column) if part is not None)
        super().__init__(f"{place}: {message}" if place else message)


class NonconvexFollower(InvalidGame):
    """A follower who is to respond is proved not convex: its optimality conditions do not say what it answers."""


class SolverNotAvailable(StackpyomoError):
    """The solver asked for is unknown, or known and not installed; the message says what to install."""


class NoPlan(StackpyomoError):
    """No plan was found; the message says whose constraints are in conflict, or what is unbounded."""

    termination: str
    """Why the solver stopped: "infeasible", "unbounded", "failed", ..."""

    def __init__(self, message: str, *, termination: str) -> None:
        self.termination = termination
        super().__init__(message)


class NoIncentive(StackpyomoError):
    """No valid gain exists; the message names each follower that cannot be induced, and why."""

    reasons: dict[str, str]
    """follower name → why: a zero gradient, a conflict under shared signals, a bound of the leader, curvature."""
    residuals: dict[str, float]
    """follower name → ‖a + Qᵀb‖ that remains; of a lottery over deviations what it would gain."""
    deviations: Any
    """The proof, where followers were looked at deviation by deviation: a DataFrame with a row for each deviation of a
    lottery that the announcement cannot see on average and that somebody would like (follower, action, weight,
    temptation, kind, exact); else None."""

    def __init__(
        self, message: str, *, reasons: Mapping[str, str], residuals: Mapping[str, float], deviations: Any = None
    ) -> None:
        self.reasons, self.residuals, self.deviations = dict(reasons), dict(residuals), deviations
        super().__init__(message)
