"""Announcements: what is known of an equilibrium is read as it was written; a constant is the least announcement."""

from __future__ import annotations

import math

import pytest

from stackpyomo.games.information import Announcement, Equilibrium, Uniqueness


@pytest.mark.parametrize("uniqueness", list(Uniqueness))
@pytest.mark.parametrize("why", ["", "the pseudo-gradient is monotone: everywhere"])
def test_an_equilibrium_is_read_as_it_was_written(uniqueness: Uniqueness, why: str) -> None:
    if uniqueness is Uniqueness.UNKNOWN and why:
        return  # who did not look has no reason
    equilibrium = Equilibrium(uniqueness, why)
    assert Equilibrium.read(str(equilibrium)) == equilibrium
    assert Equilibrium().uniqueness is Uniqueness.UNKNOWN


def test_an_unknown_verdict_is_no_equilibrium() -> None:
    with pytest.raises(ValueError, match="surely unique"):
        Equilibrium.read("surely unique: said so")


def test_a_constant_announces_no_answer() -> None:
    constant = Announcement({"toll": 1.0}, 0.5)
    assert (constant.gain, constant.bend, constant.saturate) == (None, None, False)
    assert math.isnan(constant.epsilon0), "no bound is claimed that was not given"
    assert (constant.responding, constant.settling, constant.warnings) == ((), (), ())
