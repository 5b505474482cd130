"""Solutions: what a solver says, and why it stopped, in one form for all of them."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace
from typing import Any

from stackpyomo.core import Array


class Termination(str, enum.Enum):
    """Why a solver stopped."""

    CONVERGED = "converged"  #: Its own convergence test was met (a local optimum for an NLP solver).
    OPTIMAL = "optimal"  #: It claims a global optimum of the class of problems it solves.
    INFEASIBLE = "infeasible"  #: It found no feasible point (proved only by a global or convex solver).
    UNBOUNDED = "unbounded"  #: The objective improves without limit.
    INFEASIBLE_OR_UNBOUNDED = "infeasible or unbounded"  #: One of the two, it does not say which: neither is a claim.
    TIME_LIMIT = "time limit"  #: It stopped at the time limit.
    ITERATION_LIMIT = "iteration limit"  #: It stopped at its iteration limit.
    FAILED = "failed"  #: It gave up; the message says why.
    KILLED = "killed"  #: Its process was ended from outside.

    @property
    def solved(self) -> bool:
        """True if the solver claims to hold an answer."""
        return self in (Termination.CONVERGED, Termination.OPTIMAL)

    @property
    def maybe_infeasible(self) -> bool:
        """True if the solver says that there is no feasible point, or that there may be none."""
        return self in (Termination.INFEASIBLE, Termination.INFEASIBLE_OR_UNBOUNDED)

    @property
    def limited(self) -> bool:
        """True if a limit ended it; what it holds then may still be a feasible point."""
        return self in (Termination.TIME_LIMIT, Termination.ITERATION_LIMIT)


@dataclass
class Solution:
    """What a solver says: x in the order of the program's variables, duals (Pyomo's sign) in the order of its rows."""

    termination: Termination
    message: str
    x: Array | None = None
    duals: Array | None = None
    bound: float = math.nan
    iterations: int | None = None
    seconds: float = 0.0
    solver: str = ""

    @property
    def answer(self) -> Array | None:
        """x where the solver claims that it is one; None where it stopped early, or holds nothing."""
        return self.x if self.termination.solved else None

    def without_proof(self, why: str) -> Solution:
        """The solution without what it says of all points: its point alone is left."""
        if self.termination is Termination.INFEASIBLE:
            return replace(self, termination=Termination.FAILED, message=f"called infeasible: {why}", bound=math.nan)
        optimal = self.termination is Termination.OPTIMAL
        return replace(self, termination=Termination.CONVERGED if optimal else self.termination, bound=math.nan)

    def entry(self, **more: Any) -> dict[str, Any]:
        """The attempt for a log; ``more``: what else there is to know of it, or is known better."""
        return {
            "solver": self.solver,
            "termination": self.termination.value,
            "message": self.message,
            "seconds": round(self.seconds, 6),
            **more,
        }
