"""The loop on a toy whose answer is known: the least x with x ≥ sin over a grid, rows found one by one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import pytest

from stackpyomo.deviations import Deviation, Deviations, Stop, generate

GRID = np.linspace(0.0, 4.0, 41)


class Least:
    """min x over x ≥ sin(v) for the rows, x ≤ most."""

    def __init__(self, most: float = math.inf) -> None:
        self.most, self.bound = most, math.nan

    def solve(self, rows: Deviations) -> float | None:
        self.bound = max((math.sin(d.action["v"]) for d in rows), default=-1.0)
        return self.bound if self.bound <= self.most else None


def tempted(x: float) -> Iterator[Deviation]:
    gains = np.sin(GRID) - x
    worst = int(np.argmax(gains))
    if gains[worst] > 0.0:
        yield Deviation("f", {"v": float(GRID[worst])}, float(gains[worst]))


def test_it_settles_on_what_meets_every_row() -> None:
    outcome = generate(Least(), tempted, Deviations({}))
    assert outcome.stop is Stop.SETTLED
    assert outcome.candidate == np.sin(GRID).max()
    assert [r.rows for r in outcome.rounds] == [0, 1]
    assert outcome.log()[0]["regret"] == pytest.approx(1.0 + np.sin(GRID).max())
    bounds = [r.bound for r in outcome.rounds]
    assert bounds == sorted(bounds), "a master with more rows is never better"


def test_an_empty_master_is_a_proof() -> None:
    outcome = generate(Least(most=0.5), tempted, Deviations({}))
    assert outcome.stop is Stop.EMPTY
    assert outcome.candidate is None
    assert len(outcome.rows) == 1


def test_limits_are_no_proof() -> None:
    assert generate(Least(), tempted, Deviations({}), most=1).stop is Stop.ROUNDS
    assert generate(Least(), tempted, Deviations({}), until=time.monotonic() - 1.0).stop is Stop.TIME


def test_a_row_that_is_known_already_ends_it() -> None:
    """A master that does not heed its rows would go on for ever."""
    outcome = generate(Least(), lambda _: [Deviation("f", {"v": 0.0}, 1.0)], Deviations({}))
    assert outcome.stop is Stop.REPEATED
