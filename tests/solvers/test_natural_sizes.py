"""What costs tell of natural sizes, in any unit."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest

from stackpyomo.solvers import reaches_told


def test_what_costs_tell_of_reaches_beside_their_bounds() -> None:
    """(x − 2)² does, in any unit; x tells nothing but the bounds, and a constant nothing."""
    for unit in (1e-6, 1.0, 1e5):
        m = pyo.ConcreteModel()
        m.x = pyo.Var(bounds=(0, 1e9 * unit))
        x, levels = m.x / unit, {id(m.x): 2.0 * unit}
        assert 10 * unit <= reaches_told([(x - 2) ** 2], levels)[id(m.x)] <= 100 * unit
        assert reaches_told([x], levels)[id(m.x)] == pytest.approx(1e9 * unit)
        assert reaches_told([0.0 * x + 1.0], levels) == reaches_told([], {}) == {}
