"""The loop: a master with some rows, a re-solve of every follower at its candidate, the violated rows, and again.

The master is a relaxation. Where it is empty nothing meets all rows; where no follower gains at its candidate, that is
as good as anything that meets them all. Finite actions: it ends after at most Σ_k |X_k| rows. Compact actions and
continuous costs, the master's variables in a compact set: for every ε after finitely many rounds (Blankenship and Falk
1976). Each round is logged; a bar shows that it goes on.
"""

from __future__ import annotations

import enum
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from stackpyomo.core import tracked

from .rows import Deviation, Deviations

logger = logging.getLogger(__name__)

Candidate = TypeVar("Candidate")
Choice = TypeVar("Choice", covariant=True)


class Stop(str, enum.Enum):
    """Why the loop ended."""

    SETTLED = "settled"  #: At the candidate no follower gains more than was asked: every row holds.
    EMPTY = "empty"  #: No candidate meets the rows: none meets all of them.
    REPEATED = "repeated"  #: Followers gain only by deviations that are rows already: the master's accuracy ends here.
    ROUNDS = "rounds"  #: The limit of rounds was reached.
    TIME = "time limit"  #: The time limit was reached.


class Master(Protocol[Choice]):
    """Chooses the best candidate under some rows."""

    @property
    def bound(self) -> float:
        """What no candidate is better than, by the rows so far; NaN: not known."""
        ...

    def solve(self, rows: Deviations) -> Choice | None:
        """The best candidate that meets these rows; None if there is none."""
        ...


@dataclass(frozen=True)
class Round:
    """One round: how many rows the master had, its bound, the largest gain of a follower at its candidate."""

    rows: int
    bound: float
    regret: float
    seconds: float


@dataclass
class Outcome(Generic[Candidate]):
    """What the loop ends with."""

    stop: Stop
    candidate: Candidate | None
    rows: Deviations
    rounds: list[Round] = field(default_factory=list)

    def log(self, **more: float) -> list[dict[str, float]]:
        """The rounds as plain data, for a plan's log; ``more``: what is said of each."""
        return [{"round": number, **vars(entry), **more} for number, entry in enumerate(self.rounds, 1)]


def generate(
    master: Master[Candidate],
    tempted: Callable[[Candidate], Iterable[Deviation]],
    rows: Deviations,
    *,
    most: int = 500,
    until: float = math.inf,
    words: str = "re-solving followers against deviations",
) -> Outcome[Candidate]:
    """Master, re-solve, rows, again, until no follower gains by a deviation.

    tempted: candidate → the deviations by which a follower gains more than is allowed; none: the candidate is settled.
    rows: what is known before; it grows. most: rounds. until: ``time.monotonic()`` at which to stop.
    """
    outcome: Outcome[Candidate] = Outcome(Stop.ROUNDS, None, rows)
    with tracked(words) as step:
        for _ in range(most):
            began = time.monotonic()
            if began >= until:
                outcome.stop = Stop.TIME
                break
            number = len(rows)
            candidate = master.solve(rows)
            if candidate is None:
                outcome.stop, outcome.candidate = Stop.EMPTY, None
                break
            outcome.candidate = candidate
            better = list(tempted(candidate))
            worst = max((deviation.temptation for deviation in better), default=0.0)
            outcome.rounds.append(Round(number, master.bound, worst, time.monotonic() - began))
            logger.debug("round %d: %d rows, regret %.3g", len(outcome.rounds), number, worst)
            added = [rows.add(deviation) for deviation in better]
            if not any(added):
                outcome.stop = Stop.REPEATED if better else Stop.SETTLED
                break
            step()
    logger.info("deviations: %s after %d rounds, %d rows", outcome.stop.value, len(outcome.rounds), len(rows))
    return outcome
