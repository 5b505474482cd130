"""Optimal faces: enumeration of vertices on random games, grids, and games of fifty pairs by linear programs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.optimize import linprog, lsq_linear

import stackpyomo as sp
from hunts.equilibria import infimum, vertices
from stackpyomo.solvers import registry

pytestmark = pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")


def linear_game(fixed: Any, moving: Any, rows: Any, limits: Any, leader: Any, slope: float, sense: int = 1) -> sp.Game:
    """min leader·y + slope·x over x in [0, 1]; the follower: min (fixed + x moving)·y, rows y ≤ limits, 0 ≤ y ≤ 1."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.f = pyo.Block()
    size = range(len(fixed))
    m.f.y = pyo.Var(size, bounds=(0, 1))
    m.f.cost = pyo.Objective(expr=sum((float(fixed[i]) + m.x * float(moving[i])) * m.f.y[i] for i in size))
    m.f.row = pyo.Constraint(
        range(len(rows)), rule=lambda b, k: sum(float(rows[k][i]) * b.y[i] for i in size) <= float(limits[k])
    )
    goal = sum(float(leader[i]) * m.f.y[i] for i in size) + slope * m.x
    m.goal = pyo.Objective(expr=sense * goal, sense=pyo.minimize if sense > 0 else pyo.maximize)
    return sp.Game(m, m.f)


def random_linear(seed: int) -> tuple[Any, ...]:
    random = np.random.default_rng(seed)
    size, count = int(random.integers(2, 4)), int(random.integers(1, 3))
    rows = random.integers(0, 4, (count, size))
    limits = random.integers(1, 4, count)
    fixed, moving, leader = (random.integers(-2, 3, size) for _ in range(3))
    return fixed, moving, rows, limits, leader, float(random.integers(-3, 4))


@pytest.mark.parametrize(("seed", "sense"), [(0, 1), (1, -1), (5, -1), (6, 1)])
def test_linear_followers_by_enumeration(seed: int, sense: int) -> None:
    fixed, moving, rows, limits, leader, slope = random_linear(seed)
    game = linear_game(fixed, moving, rows, limits, leader, slope, sense)
    least, reached = infimum(vertices(rows, limits), fixed, moving, leader, slope)
    plan = sp.stackelberg(game, ties="pessimistic")
    check(plan, sense, least, reached)


def check(plan: sp.Plan, sense: int, least: float, reached: bool) -> None:
    """The plan comes to the infimum, or as near as it says; and the order of the three values."""
    cost = sense * plan.leader_objective
    assert cost >= least - 1e-6
    assert abs(sense * plan.bound - least) <= 1e-5 or plan.quality == "feasible"
    if plan.attained is not None:
        assert plan.attained is reached
    assert cost <= least + (1e-5 if reached else 1e-3)
    order = [sense * plan.ties[key] for key in ("optimistic", "pessimistic", "worst")]
    assert order[0] <= order[1] + 1e-6
    assert order[1] <= order[2] + 1e-6


def quadratic_game(matrix: Any, target: Any, rate: Any, leader: Any, slope: float) -> sp.Game:
    """min (x − ½)² slope + leader·y; the follower: min |matrix y − target − x rate|², 0 ≤ y ≤ 1."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.f = pyo.Block()
    m.f.y = pyo.Var(range(matrix.shape[1]), bounds=(0, 1))
    misses = [
        sum(float(a) * y for a, y in zip(row, m.f.y.values(), strict=True)) - float(t) - float(r) * m.x
        for row, t, r in zip(matrix, target, rate, strict=True)
    ]
    m.f.cost = pyo.Objective(expr=sum(miss**2 for miss in misses))
    m.goal = pyo.Objective(
        expr=slope * (m.x - 0.5) ** 2 + sum(float(c) * y for c, y in zip(leader, m.f.y.values(), strict=True))
    )
    return sp.Game(m, m.f)


def random_quadratic(seed: int) -> tuple[Any, ...]:
    random = np.random.default_rng(100 + seed)
    size = int(random.integers(2, 4))
    matrix = random.integers(-1, 3, (1, size)).astype(float)
    return matrix, random.integers(0, 2, 1), random.integers(-1, 2, 1), random.integers(-2, 3, size), 1.0


def worst_quadratic(x: float, matrix: Any, target: Any, rate: Any, leader: Any, slope: float) -> float:
    right = target + x * rate
    best = lsq_linear(matrix, right, (0.0, 1.0), tol=1e-14)
    found = linprog(-np.asarray(leader, dtype=float), A_eq=matrix, b_eq=matrix @ best.x, bounds=(0.0, 1.0))
    return slope * (x - 0.5) ** 2 - float(found.fun) if found.status == 0 else math.inf


def least_quadratic(data: tuple[Any, ...]) -> float:
    """On a grid, then on finer ones around its best point: ψ is continuous (the answer set is a fixed face's)."""
    low, high = 0.0, 1.0
    for _ in range(5):
        points = np.linspace(low, high, 41)
        levels = [worst_quadratic(x, *data) for x in points]
        best, step = points[int(np.argmin(levels))], (high - low) / 40.0
        low, high = max(0.0, best - 2 * step), min(1.0, best + 2 * step)
    return min(levels)


@pytest.mark.parametrize("seed", [1, 3])
def test_quadratic_followers_by_a_grid(seed: int) -> None:
    data = random_quadratic(seed)
    plan = sp.stackelberg(quadratic_game(*data), ties="pessimistic")
    check(plan, 1, least_quadratic(data), True)


def slater() -> sp.Game:
    """min (x − 1)² + a; the follower: min (a + b − x)²: ψ = (x − 1)² + min(1, x)."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 2))
    m.f = pyo.Block()
    m.f.a, m.f.b = pyo.Var(bounds=(0, 1)), pyo.Var(bounds=(0, 1))
    m.f.cost = pyo.Objective(expr=(m.f.a + m.f.b - m.x) ** 2)
    m.goal = pyo.Objective(expr=(m.x - 1) ** 2 + m.f.a)
    return sp.Game(m, m.f)


def test_a_quadratic_follower_whose_level_set_has_no_interior() -> None:
    plan = sp.stackelberg(slater(), ties="pessimistic")
    assert plan.leader_objective == pytest.approx(0.75, abs=1e-6)
    assert [plan.value(n) for n in ("x", "f.a", "f.b")] == pytest.approx([0.5, 0.5, 0.0], abs=1e-4)
    assert plan.quality == "optimal"
    assert plan.attained is True
    (row,) = plan.ties["answers"]  # a + b is what all best answers share
    shares = np.array([row["coefficients"][n] for n in ("f.a", "f.b")])
    assert shares[0] == pytest.approx(shares[1])
    assert row["lower"] / shares[0] == pytest.approx(0.5, abs=1e-6) == row["upper"] / shares[0]


def fifty_pairs(seed: int, moving: float) -> tuple[sp.Game, Any]:
    """Twenty actions in [0, 1], ten rows, four leader variables; ``moving``: the share of prices that they move."""
    random = np.random.default_rng(seed)
    size, count, lead = 20, 10, 4
    rows, rates = random.integers(0, 4, (count, size)), random.integers(-2, 3, (count, lead))
    cost, worth = random.integers(-3, 2, size), random.integers(-3, 4, size)
    slope = random.integers(-3, 4, lead)
    tilt = random.integers(-1, 2, (size, lead)) * (random.random((size, lead)) < moving)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(lead), bounds=(0, 1))
    m.f = pyo.Block()
    m.f.y = pyo.Var(range(size), bounds=(0, 1))
    prices = [int(cost[i]) + sum(int(tilt[i, j]) * m.x[j] for j in range(lead) if tilt[i, j]) for i in range(size)]
    m.f.cost = pyo.Objective(expr=sum(price * m.f.y[i] for i, price in enumerate(prices)))
    m.f.row = pyo.Constraint(
        range(count),
        rule=lambda b, k: (
            sum(int(rows[k, i]) * b.y[i] for i in range(size))
            <= size / 2 + sum(int(rates[k, j]) * m.x[j] for j in range(lead))
        ),
    )
    m.goal = pyo.Objective(
        expr=sum(int(worth[i]) * m.f.y[i] for i in range(size)) + sum(int(slope[j]) * m.x[j] for j in range(lead))
    )

    def worst(x: np.ndarray) -> float:
        """ψ(x) by two linear programs."""
        price, limits = cost + tilt @ x, size / 2 + rates @ x
        best = linprog(price, A_ub=rows, b_ub=limits, bounds=(0, 1)).fun
        tied = linprog(-worth, np.vstack([rows, price]), np.append(limits, best + 1e-9), bounds=(0, 1))
        return float(slope @ x - tied.fun)

    return sp.Game(m, m.f), worst


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "moving", "reached"), [(0, 0.0, True), (6, 0.2, False)])
def test_fifty_pairs(seed: int, moving: float, reached: bool | None) -> None:
    game, worst = fifty_pairs(seed, moving)
    plan = sp.stackelberg(game, ties="pessimistic")
    x = np.array([plan.value(f"x[{j}]") for j in range(4)])
    assert plan.leader_objective == pytest.approx(worst(x), abs=1e-3)
    assert plan.attained is reached
    assert plan.bound == pytest.approx(plan.leader_objective, abs=2e-3)
    random = np.random.default_rng(1)
    assert plan.bound <= min(worst(point) for point in random.random((200, 4))) + 1e-6
    assert reached or worst(x.round(2)) > plan.bound + 1.0  # the x that is approached is worth much more
