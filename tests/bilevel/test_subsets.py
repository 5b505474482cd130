"""Interdiction by every subset: tables of expressions and the worth of what is left open, against enumeration."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.bilevel.subsets import are_few, open_values, points_of, table, terms_of

WEIGHTS, PROFITS = (3, 2, 4, 3), (7, 5, 9, 6)


def subsets(count: int) -> list[tuple[int, ...]]:
    """Every choice, the first binary the fastest."""
    return [point[::-1] for point in product((0, 1), repeat=count)]


def test_a_table_holds_a_quadratic_expression_at_every_subset() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(4), domain=pyo.Binary)
    expression = 3 - m.x[0] + 2 * m.x[1] * m.x[3] - 5 * m.x[2] * m.x[0] + m.x[3] ** 2
    terms = terms_of(expression)
    assert terms is not None
    values = table(terms, [id(v) for v in m.x.values()])
    for number, point in enumerate(subsets(4)):
        m.x.set_values(dict(enumerate(point)))
        assert values[number] == pyo.value(expression)
    assert terms_of(pyo.exp(m.x[0])) is None
    m.rows = pyo.ConstraintList()
    m.rows.add(m.x[0] + m.x[1] <= 1)
    m.rows.add(pyo.inequality(1, 2 * m.x[2] + m.x[3], 2))
    within = points_of(m.rows.values(), [id(v) for v in m.x.values()])
    assert within is not None
    assert within.tolist() == [p[0] + p[1] <= 1 and 1 <= 2 * p[2] + p[3] <= 2 for p in subsets(4)]
    m.rows.add(pyo.exp(m.x[0]) <= 2)
    assert points_of(m.rows.values(), [id(v) for v in m.x.values()]) is None


def knapsack(form: str, *, unit: float = 1.0, flip: int = 1) -> Any:
    """Items 0 to 3; x[2] = 0 closes item 2, x[0] = x[1] = 1 items 0 and 1, nothing item 3."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(range(3), domain=pyo.Binary), pyo.Block()
    m.f.y = pyo.Var(range(4), domain=pyo.Binary)
    m.f.room = pyo.Constraint(expr=unit * sum(w * y for w, y in zip(WEIGHTS, m.f.y.values(), strict=True)) <= 7 * unit)
    is_open = {0: 1 - m.x[0], 1: 1 - m.x[1], 2: m.x[2], 3: 1}
    if form == "rows":
        m.f.ties = pyo.Constraint(range(3), rule=lambda b, i: b.y[i] <= is_open[i])
        is_open = dict.fromkeys(is_open, 1)
    worth = sum(unit * p * m.f.y[i] * is_open[i] for i, p in enumerate(PROFITS)) - unit * m.f.y[3]
    m.f.profit = pyo.Objective(expr=flip * worth, sense=-flip)
    m.goal = pyo.Objective(expr=worth)
    return m


@pytest.mark.parametrize("form", ["rows", "cost"])
@pytest.mark.parametrize(("unit", "flip"), [(1.0, 1), (1e-7, -1), (1e7, 1)])
def test_what_is_left_open_is_worth_what_enumeration_says(form: str, unit: float, flip: int) -> None:
    m = knapsack(form, unit=unit, flip=flip)
    worths = open_values(sp.Game(m, m.f).followers["f"], [id(v) for v in m.x.values()])
    assert worths is not None
    for number, x in enumerate(subsets(3)):
        is_open = (1 - x[0], 1 - x[1], x[2], 1)
        packs = [y for y in subsets(4) if np.dot(WEIGHTS, y) <= 7 and all(np.array(y) <= is_open)]
        assert worths[number] == pytest.approx(-unit * max(np.dot((7, 5, 9, 5), y) for y in packs))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: pyo.Constraint(expr=m.f.y[0] + m.f.y[1] >= 1),  # less of it hurts
        lambda m: pyo.Constraint(expr=m.f.y[0] + m.x[1] <= 1),
        lambda m: pyo.Constraint(expr=m.f.y[0] + m.f.y[1] + m.x[1] <= 2),
        lambda m: pyo.Constraint(expr=pyo.exp(m.f.y[3]) <= 2),
    ],
)
@pytest.mark.parametrize("form", ["rows", "cost"])
def test_rows_by_which_more_than_that_is_decided_are_left_alone(form: str, spoil: Any) -> None:
    m = knapsack(form)
    m.f.more = spoil(m)
    assert open_values(sp.Game(m, m.f).followers["f"], [id(v) for v in m.x.values()]) is None


@pytest.mark.parametrize(
    "cost",
    [
        lambda m: m.f.y[0] * (2 - m.x[0]),  # half its price is left
        lambda m: m.f.y[0] * m.x[0] + m.f.y[0] * m.x[1],
        lambda m: m.f.y[0] * m.x[0] + m.f.y[0] * m.f.y[1],
        lambda m: m.x[0] + m.f.y[0] * m.x[1],
        lambda m: m.f.y[0] * m.x[0] ** 3,
        lambda m: -m.f.y[0] - m.f.y[1],  # nothing is closed
    ],
)
def test_costs_that_hold_what_is_the_leaders_otherwise_are_left_alone(cost: Any) -> None:
    m = knapsack("cost")
    m.f.profit.set_value(expr=-cost(m))
    assert open_values(sp.Game(m, m.f).followers["f"], [id(v) for v in m.x.values()]) is None


def test_where_nothing_is_left_the_worth_is_infinite() -> None:
    m = knapsack("rows")
    m.f.more = pyo.Constraint(expr=m.f.y[3] >= 2)
    worths = open_values(sp.Game(m, m.f).followers["f"], [id(v) for v in m.x.values()])
    assert worths is not None
    assert (worths == math.inf).all()


def test_few_are_binaries_up_to_a_number() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(40), domain=pyo.Binary)
    m.z = pyo.Var(range(2), domain=pyo.Integers, bounds=(0, 2))
    assert are_few(list(m.x.values())[:20])
    assert not are_few(list(m.x.values()))
    assert not are_few(list(m.z.values()))
