"""Rows of which one at least holds: both ways of writing them allow the union of what the rows allow."""

from __future__ import annotations

import math

import pyomo.environ as pyo
import pytest

from stackpyomo.bilevel.choices import Choices, Written
from stackpyomo.solvers import Program, solve


def least(cost: pyo.Expression, written: Written) -> float:
    return solve(Program(cost, written.rows, sets=written.sets), "scip").bound


@pytest.mark.parametrize("most", [8.0, math.inf])
@pytest.mark.parametrize(("target", "distance"), [(0.0, 2.0), (6.0, 1.0), (5.0, 0.0), (1.0, 1.0)])
def test_the_union_of_two_intervals(most: float, target: float, distance: float) -> None:
    """x in [2, 3] or x ≤ 5, x ≥ 5: the nearest point to a target, by hand."""
    model = pyo.ConcreteModel()
    model.x = pyo.Var(bounds=(0.0, 8.0), initialize=0.0)
    model.away = pyo.Var(bounds=(0.0, None))
    written = Choices(model).one_of([((2.0 - model.x, model.x - 3.0), most), ((5.0 - model.x, model.x - 5.0), most)])
    written.rows += [model.away >= model.x - target, model.away >= target - model.x]
    assert least(model.away + 0.0, written) == pytest.approx(distance, abs=1e-6)
    assert len(written.sets) == (0 if most == 8.0 else 2)


def test_several_choices_stand_side_by_side_on_one_model() -> None:
    model = pyo.ConcreteModel()
    model.x = pyo.Var(bounds=(0.0, 8.0), initialize=0.0)
    choices, whole = Choices(model), Written()
    for low, high in ((1.0, 2.0), (2.0, 5.0)):
        written = choices.one_of([((model.x - low,), 8.0), ((high - model.x,), math.inf)])
        whole.add(written)
    assert least(model.x + 0.0, whole) == pytest.approx(0.0, abs=1e-6)
    assert least(-1.0 * model.x, whole) == pytest.approx(-8.0, abs=1e-6)
    bound = Written([*whole.rows, model.x >= 1.5], whole.sets)
    assert least(model.x + 0.0, bound) == pytest.approx(2.0, abs=1e-6)
