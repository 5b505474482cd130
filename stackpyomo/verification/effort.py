"""What a re-solve of the followers may cost, and what it has to prove."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

EVIDENCE = ("convex", "global", "multistart", "unknown")  #: Certificates, the strongest first.
PROVED = EVIDENCE[:2]  #: Certificates under which nothing better than the best response exists.
_PROOF, _ALONE = 10.0, 3.0  # Processor seconds of a global solver that nobody has asked for: of all, of one follower.
_SHARE = 5.0  # Where they are asked for: of one, or its share of them all if that is more.


class Unsettled(str, Enum):
    """Why the re-solve of a follower showed nothing."""

    UNBOUNDED = "unbounded"  #: Some deviation pays without limit.
    UNCONFIRMED = "unconfirmed"  #: A solver says so, and its cost far out does not confirm it.
    STOPPED = "stopped"  #: A solver, or a limit of time, ended it before.
    OTHER = "other"  #: No solver would settle it as it stands.


@dataclass(frozen=True)
class Effort:
    """What a re-solve may cost and has to prove: the options of :func:`verify`."""

    solver: str = "auto"
    starts: int = 8
    certify: str = "auto"
    tolerance: float = 1e-6
    time_limit: float | None = None
    #: Processor seconds of a global solver in all; None: ``_PROOF``, or no end where proof is asked for.
    proof_seconds: float | None = None
    together: bool = True  #: Whether many followers may be settled by arrays; their problems then hold no expressions.

    @property
    def proof(self) -> float:
        """Processor seconds of a global solver, for all followers together."""
        if self.proof_seconds is not None:
            return self.proof_seconds
        return _PROOF if self.certify == "auto" else math.inf

    def share(self, followers: int) -> float:
        """How many of these one of so many followers may take."""
        if self.proof_seconds is None and self.certify == "auto":
            return _ALONE
        return _SHARE if math.isinf(self.proof) else max(_SHARE, self.proof / max(1, followers))
