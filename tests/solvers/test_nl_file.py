"""The .nl text: bounds and segments changed in place are read as they are meant, by a reader of POUNCE's."""

from __future__ import annotations

import math
from pathlib import Path

import pyomo.environ as pyo
import pytest

from stackpyomo.solvers.nl_file import UndefinedValue, bounds_line, replaced_segment, without_limits, write_nl


@pytest.mark.parametrize(
    ("lower", "upper", "line"),
    [
        (-math.inf, math.inf, "3"),
        (-math.inf, 2.0, "1 2.0"),
        (0.1, math.inf, "2 0.1"),
        (-1.0, 1e-3, "0 -1.0 0.001"),
        (4.0, 4.0, "4 4.0"),
    ],
)
def test_a_line_of_bounds_is_one_of_five_kinds(lower: float, upper: float, line: str) -> None:
    """AMPL's "Writing .nl files" (Gay 2005), table 17."""
    assert bounds_line(lower, upper) == line


def test_huge_bounds_are_none() -> None:
    assert without_limits([-1e20, 5.0, 1e19]).tolist() == [-math.inf, 5.0, math.inf]


def test_a_segment_is_written_anew_once() -> None:
    text = b"b\n3\n3\nk1\n"
    assert replaced_segment(text, rb"^b\n(?:3\n)+", ["b", "0 0 1", "3"]) == b"b\n0 0 1\n3\nk1\n"


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_no_number_is_told(number: float, tmp_path: Path) -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=1.0)
    m.p = pyo.Param(initialize=number, mutable=True)
    m.o = pyo.Objective(expr=m.p * m.x**2)
    with pytest.raises(UndefinedValue):
        write_nl(m, tmp_path / "model.nl")
