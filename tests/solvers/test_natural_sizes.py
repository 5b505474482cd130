"""What costs tell of natural sizes, in any unit."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest

from stackpyomo.solvers import Program, objective_unit, reaches_told


def test_what_costs_tell_of_reaches_beside_their_bounds() -> None:
    """(x − 2)² does, in any unit; x tells nothing but the bounds, and a constant nothing."""
    for unit in (1e-6, 1.0, 1e5):
        m = pyo.ConcreteModel()
        m.x = pyo.Var(bounds=(0, 1e9 * unit))
        x, levels = m.x / unit, {id(m.x): 2.0 * unit}
        assert 10 * unit <= reaches_told([(x - 2) ** 2], levels)[id(m.x)] <= 100 * unit
        assert reaches_told([x], levels)[id(m.x)] == pytest.approx(1e9 * unit)
        assert reaches_told([0.0 * x + 1.0], levels) == reaches_told([], {}) == {}


@pytest.mark.parametrize("most", [9.0, 1e5, 1e12])
@pytest.mark.parametrize("money", [1e-3, 1.0, 1e4])
def test_a_price_that_is_nothing_in_an_endless_box_makes_the_objective_no_larger(most: float, money: float) -> None:
    """max t y + s z at t = s = z = 0, y = 1, where a row has t and s beside 2: 2 · 1 at most, not the box of 1e12."""
    m = pyo.ConcreteModel()
    m.t, m.s = (pyo.Var(bounds=(0, most * money), initialize=0.0) for _ in range(2))
    m.y, m.z = pyo.Var(bounds=(0, 1), initialize=1.0), pyo.Var(bounds=(0, 1), initialize=0.0)
    program = Program(-m.t * m.y - m.s * m.z, [2 * money * m.y - m.t == 0, 2 * money * m.y - m.s == 0])
    x = program.vector({"t": 0.0, "s": 0.0, "y": 1.0, "z": 0.0}, {id(v): v.name for v in program.variables})
    expected = (2.0 if most == 1e12 else most) * money
    assert 0.05 * expected <= program.units(x)[2] <= 1.01 * expected


@pytest.mark.parametrize("most", [1.0, 1e3, 1e5, 1e8])
def test_a_variable_at_0_in_a_wide_box_makes_no_gap_small(most: float) -> None:
    """(y − 0.9)² + 0.01 t² at y = 0.6, t = 0: 0.6 · 0.1 and more for y, whatever t could change in its box."""
    m = pyo.ConcreteModel()
    m.y, m.t = pyo.Var(bounds=(0, 1), initialize=0.6), pyo.Var(bounds=(0, most), initialize=0.0)
    program = Program((m.y - 0.9) ** 2 + 0.01 * m.t**2)
    x = program.vector({"y": 0.6, "t": 0.0}, {id(v): v.name for v in program.variables})
    assert 0.5 <= objective_unit(program, x) <= 6.0 * (1 + 1e-9)
