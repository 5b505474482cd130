"""Tolerances: a level is within its limits up to the size of these."""

from __future__ import annotations

import math

import pytest

from stackpyomo.core import TOLERANCES, is_closed, is_within


@pytest.mark.parametrize("limit", [0.0, 1.0, -1e6, 1e12])
def test_the_room_at_a_limit_is_relative_where_it_is_large(limit: float) -> None:
    room = TOLERANCES.feasibility * max(1.0, abs(limit))
    assert is_within(limit - room / 2, limit, None)
    assert not is_within(limit - 2 * room, limit, None)
    assert is_within(limit + room / 2, None, limit)
    assert not is_within(limit + 2 * room, None, limit)


def test_no_limit_is_none() -> None:
    assert is_within(1e300, None, None)


def test_a_gap_is_closed_on_its_scale_alone() -> None:
    gap = TOLERANCES.global_gap
    assert is_closed(1e9 + gap, 1e9, 1.0)
    assert is_closed(5.0 + 900.0 * gap, 5.0, 1e3)
    assert not is_closed(5.0 + 2.0 * gap, 5.0, 1.0)
    assert is_closed(4.94, 4.94 - 0.066 * gap, 0.066), "the difference is off by the rounding of 4.94"
    assert not is_closed(1e10, 1e10 - 1e-5, 1e-6), "a constant of 1e10 hides a gap, and does not close it"
    assert is_closed(4.0, 5.0, 1.0), "a bound above the cost leaves nothing"
    assert not is_closed(5.0, -math.inf, 1.0)
