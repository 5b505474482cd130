"""Announcements: what is known of an equilibrium is read as it was written; a constant is the least announcement."""

from __future__ import annotations

import math

import pyomo.environ as pyo
import pytest
from scipy import sparse

from stackpyomo.games.information import Announcement, Equilibrium, Uniqueness, formula_steps


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


def test_a_formula_in_numbers_and_as_an_expression() -> None:
    """K d + ½ R d², each signal as often as it is shown; a leader variable that answers nothing has no step."""
    gain = sparse.csc_array([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    bend = sparse.csc_array([[0.0, 0.0, 4.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    deviations, times = [3.0, -2.0, 0.5], [1.0, 2.0, 10.0]
    assert formula_steps(gain, None, deviations.__getitem__) == {0: 5.5, 2: -1.0}
    assert formula_steps(gain, bend, deviations.__getitem__, times) == {0: 6.0 - 5.0 + 20.0 * 0.25, 2: -2.0}
    m = pyo.ConcreteModel()
    m.d = pyo.Var(range(3), initialize=dict(enumerate(deviations)))
    steps = formula_steps(gain, bend, m.d.__getitem__, times)
    assert {row: pyo.value(step) for row, step in steps.items()} == {0: 6.0, 2: -2.0}
