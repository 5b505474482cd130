"""The project's own errors.

Every error a user can cause says what is wrong, with which component, and what to do next.
Nothing else in the package raises a bare ``ValueError`` at a user.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

__all__ = [
    "GameFileError",
    "InvalidGame",
    "NoIncentive",
    "NoPlan",
    "NonconvexFollower",
    "RefusalCause",
    "SolverNotAvailable",
    "StackpyomoError",
]


class StackpyomoError(Exception):
    """Base of every error that stackpyomo raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _as_it_was, (type(self), self.args, self.__dict__)


def _as_it_was(kind: type[StackpyomoError], args: tuple[Any, ...], state: dict[str, Any]) -> StackpyomoError:
    """An error that comes out of another process: what it was told by name is in its state."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class InvalidGame(StackpyomoError, ValueError):
    """The game, or an argument that refers to it, cannot be used as it stands."""


class GameFileError(InvalidGame):
    """A game file cannot be read; the message begins ``path:line:column:`` where these are known."""

    path: str  #: The file; empty if unknown.
    line: int | None  #: Counted from 1; None if unknown.
    column: int | None  #: Counted from 1; None if unknown.

    def __init__(self, message: str, *, path: str = "", line: int | None = None, column: int | None = None) -> None:
        self.path, self.line, self.column = path, line, column
        place = ":".join(str(part) for part in (path or None, line, column) if part is not None)
        super().__init__(f"{place}: {message}" if place else message)


class NonconvexFollower(InvalidGame):
    """A follower who is to respond is proved not convex: its optimality conditions do not say what it answers."""

    follower: str  #: The name of this follower.

    def __init__(self, message: str, *, follower: str) -> None:
        self.follower = follower
        super().__init__(message)


class SolverNotAvailable(StackpyomoError):
    """The solver asked for is unknown, or known and not installed; the message says what to install."""


class NoPlan(StackpyomoError):
    """No plan was found; the message says whose constraints are in conflict, or what is unbounded."""

    termination: str  #: Why the solver stopped: "infeasible", "unbounded", "failed", ...

    def __init__(self, message: str, *, termination: str) -> None:
        self.termination = termination
        super().__init__(message)


class RefusalCause(str, Enum):
    """Why a follower cannot be induced."""

    UNDEFINED = "undefined"  #: Its objective, or an active constraint, has no derivative at the plan.
    ZERO_GRADIENT = "zero gradient"  #: No leader variable moves its objective at the plan.
    NO_WEIGHT = "no weight"  #: One member of an infinite population moves no signal.
    OUT_OF_SIGHT = "unobserved"  #: No signal shows an action that it would change.
    LEADER_BOUND = "leader bound"  #: The leader would have to go beyond a bound that it stands at.
    GAIN_BOUNDS = "gain bounds"  #: The entries of the gain would have to leave their bounds.
    NO_INSTRUMENT = "no instrument"  #: No leader variable that may use what shows its action moves its objective.
    INDISTINCT = "indistinct"  #: The signals cannot tell its own actions apart.
    CONFLICT = "conflict"  #: Another follower asks something else of the same signals.
    CURVATURE = "curvature"  #: The plan is a stationary point of its composed cost, and no minimum.
    ROUNDING = "rounding"  #: The gain that solves the equations still leaves it a slope.
    DEVIATIONS = "deviations"  #: A lottery over deviations that the announcement cannot see, and that somebody likes.
    RANDOMISATION = "randomisation"  #: A randomised strategy is not needed, or does not help.


class NoIncentive(StackpyomoError):
    """No valid gain exists; the message names each follower that cannot be induced, and why."""

    reasons: dict[str, str]  #: follower name → why, in words.
    causes: dict[str, RefusalCause]  #: follower name → why.
    #: follower name → ‖a + Qᵀb‖ that remains; of a lottery over deviations what it would gain.
    residuals: dict[str, float]
    #: The proof, where followers were looked at deviation by deviation: a DataFrame with a row for each deviation of a
    #: lottery that the announcement cannot see on average and that somebody would like (follower, action, weight,
    #: temptation, kind, exact); else None.
    deviations: Any

    def __init__(
        self,
        message: str,
        *,
        reasons: Mapping[str, str],
        residuals: Mapping[str, float],
        causes: Mapping[str, RefusalCause] | None = None,
        deviations: Any = None,
    ) -> None:
        self.reasons, self.residuals, self.causes = dict(reasons), dict(residuals), dict(causes or {})
        self.deviations = deviations
        super().__init__(message)
