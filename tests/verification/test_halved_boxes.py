"""Boxes that are halved: who is proved convex, and that nobody is who is not, by dense Hessians."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds
from helpers.formulas import LEAVES, drawn

import stackpyomo as sp
from stackpyomo.families import gathered, swept
from stackpyomo.verification.halved_boxes import bends_up_on_box


def box(count: int, low: float = 0.0, high: float = 2.0) -> Any:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(count), bounds=(low, high), initialize=(low + high) / 2)
    return m


@pytest.mark.parametrize(("others", "size"), [(0.0, 1.0), (3.0, 5.0), (-1.0, 4.0)])
def test_a_function_of_a_sum_bends_up_as_it_does_in_the_sum(others: float, size: float) -> None:
    """t exp((t + o)/S): its second derivative is (2/S + t/S²) exp(…), 0 at t = −2 S."""
    m = box(2)
    m.x[0].setub(3.0)
    total = m.x[0] + m.x[1]
    cost = total * pyo.exp((m.x[1] + m.x[0] + others) / size) + (m.x[0] - 1) ** 2 - m.x[1]
    assert bends_up_on_box(cost, list(m.x.values()))
    m.x[0].setlb(-1.5 * size)
    m.x[1].setlb(-size)
    assert not bends_up_on_box(total * pyo.exp(total / size), list(m.x.values()))


def test_halves_show_what_the_whole_does_not() -> None:
    m = box(2, 0.5, 1.5)
    x, y = m.x[0], m.x[1]
    assert bends_up_on_box(pyo.exp(x * y / 2) + 2 * (x - y) ** 2, [x, y])
    assert not bends_up_on_box(pyo.exp(x * y) + 2 * (x - y) ** 2, [x, y]), "bends down next to (1.5, 1.5)"
    assert not bends_up_on_box(x**3 - y**2 * x, [x, y])
    x.setub(None)
    assert not bends_up_on_box(pyo.exp(x * y / 2) + 2 * (x - y) ** 2, [x, y]), "bends down for a large x"


def test_boxes_without_an_end() -> None:
    """t exp((t + o)/S) bends up from t = −2 S on, 1/t² beside −t³ only until t⁵ = 1, t exp(−t) nowhere before t = 2."""
    m = box(2)
    x, y = m.x[0], m.x[1]
    for var in (x, y):
        var.setub(None)
    t = x + y
    assert bends_up_on_box(t * pyo.exp((t + 1) / 6) + (x - 1) ** 2 - 3 * y, [x, y])
    x.setlb(0.1)
    assert not bends_up_on_box(t**-2 - t**3, [x, y])
    assert not bends_up_on_box(t * pyo.exp(-t), [x, y])
    x.setlb(None)
    assert not bends_up_on_box(t * pyo.exp((t + 1) / 6), [x, y])


def test_a_pole_of_numbers_alone_proves_nothing() -> None:
    m = box(2)
    x, y = m.x[0], m.x[1]
    assert not bends_up_on_box((x - x) ** -1.0 * y**2 + x**2, [x, y])
    assert not bends_up_on_box(x**2 + y**2 / (x - x), [x, y])


@pytest.mark.parametrize("seed", seeds(80))
def test_nobody_is_proved_who_bends_down_somewhere(seed: int) -> None:
    random = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(LEAVES), bounds=(0.2, 2.0))
    push = float(random.uniform(0.0, 4.0))
    cost = drawn(random, m, 2) + drawn(random, m, 2) + push * sum(v**2 for v in m.x.values())
    own = list(m.x.values())
    top = np.full((LEAVES, 1), 2.0)
    for k in range(seed % 3):
        own[k].setub(None)
        top[k] = 60.0
    if not bends_up_on_box(cost, own):
        return
    (family,), _ = gathered([(0, cost, 1.0)], {id(v): i for i, v in enumerate(own)})
    points = 0.2 * (top / 0.2) ** random.random((LEAVES, 2000))
    numbers = np.repeat(family.numbers, 2000, axis=1)
    _, _, bend = swept(family.tree, numbers, points[family.columns[:, 0]])
    hessian = np.zeros((2000, LEAVES, LEAVES))
    for (a, b), entry in bend.items():
        one, other = family.columns[a, 0], family.columns[b, 0]
        hessian[:, one, other] = hessian[:, other, one] = entry
    hessian = hessian[np.isfinite(hessian).all(axis=(1, 2))]
    size = np.abs(hessian).max(axis=(1, 2)) + 1.0
    assert (np.linalg.eigvalsh(hessian)[:, 0] >= -1e-9 * size).all()


def crowd(count: int, push: float) -> sp.Game:
    """Unlike followers, convex on their boxes for ``push`` = 2, and not for 0."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(0, 1), initialize=0.5)
    m.f = pyo.Block(range(count))
    for i, b in m.f.items():
        b.x, b.y = pyo.Var(bounds=(0, 1), initialize=0.5), pyo.Var(bounds=(0, 1), initialize=0.5)
        near = pyo.exp(b.x * b.y * (0.5 + 0.4 * i / count)) + push * (b.x - b.y) ** 2 + m.toll * b.x
        b.cost = pyo.Objective(expr=near - b.x - b.y)
    m.goal = pyo.Objective(expr=m.toll**2)
    return sp.Game(m, followers=m.f)


@pytest.mark.slow
def test_many_are_proved_by_arrays_on_halves() -> None:
    """Each member beside the others, whose sides are halved where it is not proved yet."""
    game = crowd(120, 2.0)
    plan = sp.Plan.from_values(game)
    report = sp.verify(plan)
    assert set(report.certificate) == {"convex"}
    assert "arrays" in report.solver
    alone = sp.verify(plan, followers=["f[7]", "f[119]"])
    assert report.regret[["f[7]", "f[119]"]].tolist() == pytest.approx(alone.regret.tolist(), abs=1e-9)
    other = sp.verify(sp.Plan.from_values(crowd(100, 0.0)), starts=1)
    assert "convex" not in set(other.certificate)
