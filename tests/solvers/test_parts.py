"""Parts of programs: what stands free of a model, and bounds by rows of one variable, by hand."""

from __future__ import annotations

import math

import numpy as np
import pyomo.environ as pyo
import pytest

from stackpyomo.solvers import Program, free_row
from stackpyomo.solvers.parts import copies_between, with_loosest


def test_rows_bound_only_where_nothing_else_does_and_the_loosest_counts() -> None:
    """x has bounds of its own; y two rows, [0, 4] and [−1, 2]; of z one side is known; w's rows would leave nothing."""
    lower, upper = np.array([0.0, -math.inf, -math.inf, 5.0]), np.array([1.0, math.inf, math.inf, math.inf])
    ends = np.array([[-9.0, 0.0, -1.0, -math.inf, -math.inf], [9.0, 4.0, 2.0, 7.0, 3.0]])
    low, high = with_loosest((lower, upper), np.array([0, 1, 1, 2, 3]), ends)
    assert low.tolist() == [0.0, -1.0, -math.inf, 5.0]
    assert high.tolist() == [1.0, 4.0, 7.0, math.inf]


@pytest.mark.parametrize("slope", [3.0, -3.0, 1e-9, -1e9])
def test_a_program_reads_bounds_off_its_linear_rows_alone(slope: float) -> None:
    """slope · x + 6 slope in [2, 8] · slope: −4 ≤ x ≤ 2. Equations, curved rows and those of two variables say none."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    low, high = sorted((2.0 * slope, 8.0 * slope))
    rows = [m.x + m.y <= 9, m.y == 5, m.y**2 <= 4, free_row(slope * m.x + 6.0 * slope, low, high)]
    program = Program(m.x, rows)
    lower, upper = (program.levels(side) for side in program.within_rows(program.bounds))
    assert (lower[id(m.x)], upper[id(m.x)]) == pytest.approx((-4.0, 2.0))
    assert (lower[id(m.y)], upper[id(m.y)]) == (-math.inf, math.inf)
    as_costs = np.array([number == 3 for number in program.rows])
    assert program.within_rows(program.bounds, as_costs)[0].max() == -math.inf, "a cost is no bound"


def test_copies_have_the_kind_of_their_vars_and_other_bounds() -> None:
    m = pyo.ConcreteModel()
    m.x, m.n = pyo.Var(bounds=(0, 1)), pyo.Var(domain=pyo.NonNegativeIntegers)
    x, n = copies_between(pyo.ConcreteModel(), [m.x, m.n], [-2.0, 1.0], [3.0, math.inf])
    assert x.is_continuous()
    assert x.bounds == (-2.0, 3.0)
    assert n.is_integer()
    assert n.bounds == (1, None)
    assert m.x.bounds == (0, 1)
