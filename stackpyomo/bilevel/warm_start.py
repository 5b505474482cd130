"""Warm starts: the plan of a neighbouring game says which rows and bounds bind, and with these one solve may do.

    min J0   s.t.  rows, stationarity,   s_i = 0 on the pairs without room at the plan that was given, λ_i = 0 elsewhere

Pairs whose sign comes out wrong change sides, as in every polish. The answer is verified like any other; then the
search goes on where something is left to be proved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from stackpyomo.core import TOLERANCES
from stackpyomo.solvers import Termination

from .search import PlanSearch

__all__ = ["WarmSearch"]


class WarmSearch(PlanSearch):
    """A search that begins on the active set of the Vars' values."""

    def _stages(self) -> Iterator[Callable[[], None]]:
        if not self.game.leader.integers:
            yield self._resume
        yield from super()._stages()

    def _resume(self) -> None:
        plain = self._equilibrium(self.kkt, None)
        x = np.clip(np.asarray(plain.program.problem.x0, dtype=float), *plain.program.bounds)
        active = plain.slacks(x) <= TOLERANCES.snap * np.maximum(1.0, np.abs(plain.slacks(x)))
        answer = plain.polished(x, self._nlp, active=active, until=self._until)
        if answer is not None and answer.x is not None and answer.termination is not Termination.FAILED:
            self._offer(self._finished(plain, answer, self._nlp))
