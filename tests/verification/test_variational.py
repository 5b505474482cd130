"""Variational equilibria: the inequality by linear programs of SciPy, and what is never called variational."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds
from scipy.optimize import linprog

import stackpyomo as sp
from stackpyomo.games.information import Announcement
from stackpyomo.verification import variational_gap

Matrix = np.ndarray[Any, Any]


def shared_game(seed: int) -> tuple[Any, sp.Game, Matrix, Matrix, Matrix, Matrix]:
    """cost_i = ½ H_ii u_i² + u_i (Σ_{j≠i} H_ij u_j + c_i), u in [0, 3], A u ≤ b for all: declared, or written each."""
    random = np.random.default_rng(seed)
    number, rows = int(random.integers(2, 5)), int(random.integers(1, 3))
    hessian = random.normal(size=(number, number)) * 0.3
    np.fill_diagonal(hessian, random.uniform(1, 3, number))
    slope = -random.uniform(1, 6, number)
    matrix, level = random.uniform(0.1, 1, (rows, number)), random.uniform(0.5, 2, rows)
    m = pyo.ConcreteModel()
    m.p = pyo.Block(range(number))
    for block in m.p.values():
        block.u = pyo.Var(bounds=(0, 3))
    for i, block in m.p.items():
        others = sum(float(hessian[i, j]) * m.p[j].u for j in m.p if j != i)
        block.cost = pyo.Objective(expr=0.5 * float(hessian[i, i]) * block.u**2 + block.u * (others + float(slope[i])))
    m.goal = pyo.Objective(expr=0.0)

    def row(i: int, factor: float) -> Any:
        body = factor * sum(float(matrix[i, j]) * m.p[j].u for j in m.p)
        return body <= factor * float(level[i]) if factor > 0 else body >= factor * float(level[i])

    if random.integers(0, 2):
        m.cap = pyo.Constraint(range(rows), rule=lambda _, i: row(i, 1.0))
        return m, sp.Game(m, followers=m.p, shared=[m.cap]), hessian, slope, matrix, level
    for k, block in m.p.items():
        block.cap = pyo.Constraint(range(rows), rule=lambda _, i, f=(-1.0) ** k * (k + 1): row(i, f))
    return m, sp.Game(m, followers=m.p), hessian, slope, matrix, level


@pytest.mark.parametrize("seed", seeds(12))
@pytest.mark.parametrize("weighted", [False, True])
def test_the_variational_inequality_holds_by_an_independent_linear_program(seed: int, weighted: bool) -> None:
    m, game, hessian, slope, matrix, level = shared_game(seed)
    weights = np.random.default_rng(seed).uniform(0.5, 2, len(slope)) if weighted else np.ones(len(slope))
    given = {f"p[{k}]": float(w) for k, w in enumerate(weights)} if weighted else None
    plan = sp.nash(game, equilibrium="variational", weights=given)
    u = np.array([plan.value(m.p[k].u) for k in m.p])
    force = weights * (hessian @ u + slope)
    best = linprog(force, A_ub=matrix, b_ub=level, bounds=[(0, 3)] * len(u), method="highs")
    assert force @ u - best.fun <= 1e-6 * max(1.0, np.abs(force).max())
    assert plan.selection.kind == "variational"
    assert plan.selection.gap <= 1e-5


def rosen() -> tuple[Any, sp.Game]:
    """F. Facchinei and C. Kanzow's A.11: (x−1)², (y−½)², x + y ≤ 1: equilibria (t, 1−t), ½ ≤ t ≤ 1."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Block(), pyo.Block()
    m.x.v, m.y.v = pyo.Var(initialize=0), pyo.Var(initialize=0)
    m.x.cost, m.y.cost = pyo.Objective(expr=(m.x.v - 1) ** 2), pyo.Objective(expr=(m.y.v - 0.5) ** 2)
    m.cap = pyo.Constraint(expr=m.x.v + m.y.v <= 1)
    m.goal = pyo.Objective(expr=m.x.v)
    return m, sp.Game(m, followers=[m.x, m.y], shared=[m.cap])


@pytest.mark.parametrize("t", [0.5, 0.6, 0.74, 0.7501, 0.9, 1.0])
def test_an_equilibrium_that_is_not_variational_has_a_gap(t: float) -> None:
    """F = (2(t−1), 2(½−t)): the least over x + y ≤ 1 has no end unless both are equal."""
    _, game = rosen()
    announced = Announcement({"x.v": t, "y.v": 1 - t}, math.nan)
    gap = variational_gap(game, announced, ["x", "y"], {}, game.shared_rows())
    assert not max(gap.value, gap.bound) <= 1e-5
    good = variational_gap(game, Announcement({"x.v": 0.75, "y.v": 0.25}, math.nan), ["x", "y"], {}, game.shared_rows())
    assert max(good.value, good.bound) <= 1e-6


def test_the_plan_says_which_equilibrium_and_how_many() -> None:
    m, game = rosen()
    plan = sp.nash(game)
    assert [plan.value(m.x.v), plan.value(m.y.v)] == pytest.approx([0.75, 0.25], abs=1e-6)
    assert plan.multipliers == {("cap", "x"): pytest.approx(-0.5), ("cap", "y"): pytest.approx(-0.5)}
    assert (plan.selection.kind, plan.selection.dimension) == ("variational", 1)
    assert sorted(plan.selection.moving) == ["x.v", "y.v"]
    text = str(plan)
    assert "variational: one multiplier for all who feel cap" in text
    assert "a surface of dimension 1 near this one: along it x.v, y.v move" in text
    again = sp.Plan.from_json(plan.to_json(), game)
    assert again.multipliers == plan.multipliers
    assert again.selection == plan.selection


def test_weights_divide_the_multiplier() -> None:
    m, game = rosen()
    plan = sp.nash(game, weights={"x": 2, "y": 1})
    assert [plan.value(m.x.v), plan.value(m.y.v)] == pytest.approx([5 / 6, 1 / 6], abs=1e-6)
    assert plan.multipliers["cap", "y"] == pytest.approx(2 * plan.multipliers["cap", "x"])


def test_any_best_and_worst_are_still_there() -> None:
    m, game = rosen()
    assert sp.nash(game, equilibrium="any").selection.kind == "any"
    best, worst = (sp.nash(game, equilibrium=kind) for kind in ("best", "worst"))
    assert [best.value(m.x.v), worst.value(m.x.v)] == pytest.approx([0.5, 1.0], abs=1e-6)


def test_where_none_is_variational_there_is_no_plan() -> None:
    """F. Facchinei and C. Kanzow's A.8: equilibria are a segment, and none has equal multipliers."""
    m = pyo.ConcreteModel()
    m.p = pyo.Block([1, 2, 3])
    for k, block in m.p.items():
        block.x = pyo.Var(bounds=(0, 2 if k == 3 else None))
    a, b, c = (m.p[k].x for k in (1, 2, 3))
    m.p[1].cost, m.p[2].cost = pyo.Objective(expr=-a), pyo.Objective(expr=(b - 0.5) ** 2)
    m.p[3].cost = pyo.Objective(expr=(c - 1.5 * a) ** 2)
    for k in (1, 2):
        m.p[k].top, m.p[k].low = pyo.Constraint(expr=a + b <= 1), pyo.Constraint(expr=c <= a + b)
    m.goal = pyo.Objective(expr=a)
    with pytest.raises(sp.NoPlan, match=r"No plan exists .*variational"):
        sp.nash(sp.Game(m, followers=m.p))


@pytest.mark.parametrize("seed", range(6))
def test_the_gap_of_many_is_that_of_everybody_composed(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slopes read into arrays, and by substitution: one gap."""
    _, game, *_ = shared_game(seed)
    random = np.random.default_rng(seed)
    announced = Announcement({name: float(random.uniform(0, 0.3)) for name in game.variables_by_name}, math.nan)
    gaps = []
    for least in (1, 100):
        monkeypatch.setattr("stackpyomo.verification.variational.MANY", least)
        gaps.append(variational_gap(game, announced, list(game.followers), {"p[0]": 2.0}, game.shared_rows()))
    assert gaps[0].value == pytest.approx(gaps[1].value, rel=1e-9)
    assert gaps[0].bound == pytest.approx(gaps[1].bound, rel=1e-9)


def cournot(size: int) -> tuple[Any, sp.Game]:
    """Cost (1 + k/(2N)) q + N q²/200, price 10 − Q, one cap Q ≤ 4 on all."""
    m = pyo.ConcreteModel()
    m.total, m.firm = pyo.Var(initialize=1.0), pyo.Block(range(size))
    for k, firm in m.firm.items():
        firm.q = pyo.Var(bounds=(0, None), initialize=0.1)
        cost = (1 + 0.5 * k / size) * firm.q + 0.005 * size * firm.q**2
        firm.cost = pyo.Objective(expr=cost - (10 - m.total) * firm.q)
    m.sum = pyo.Constraint(expr=m.total == pyo.quicksum(firm.q for firm in m.firm.values()))
    m.cap = pyo.Constraint(expr=m.total <= 4)
    m.goal = pyo.Objective(expr=m.total)
    return m, sp.Game(m, followers=m.firm, aggregates=[m.sum], shared=[m.cap])


def test_one_cap_on_many_firms_has_the_closed_form() -> None:
    """q_k = (a − k/(2N))⁺ / (1 + N/100), where a, what is left of the price, makes the sum 4: no one is composed."""
    size = 150
    m, game = cournot(size)
    plan = sp.nash(game)
    slopes = 0.5 * np.arange(size) / size
    low, high = 0.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (middle - slopes).clip(0).sum() < 4 * (1 + size / 100) else (low, middle)
    assert plan.selection.kind == "variational"
    assert plan.report.solver == "arrays"
    assert [plan.value(firm.q) for firm in m.firm.values()] == pytest.approx(
        (high - slopes).clip(0) / (1 + size / 100), abs=1e-7
    )
