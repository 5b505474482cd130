"""Robustness: how wrong the leader may be about each follower, against playing with the error."""

from __future__ import annotations

import math

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import toll_game
from scipy.optimize import minimize, minimize_scalar

import stackpyomo as sp


def test_robustness_of_the_toll() -> None:
    """Everything in closed form: H = 2 + 2Q, δ = e/H, loss = δ²(1 + 0.01 Q²); e = 0.8 ε up to the leader's 0.00615."""
    game = toll_game()
    rule = sp.affine_incentive(sp.leader_optimal(game))
    row = rule.robustness().loc["driver"]
    gain = 4 / 3
    bent = 2 + 2 * gain
    assert row["curvature"] == pytest.approx(bent, rel=1e-9)
    assert row["shift"] == pytest.approx(1 / bent, rel=1e-9)
    assert row["leader_slope"] == pytest.approx(0, abs=1e-8)
    loss = (1 + 0.01 * gain**2) / bent**2
    assert row["leader_loss"] == pytest.approx(loss, rel=1e-9)
    without = sp.stackelberg(game).leader_objective
    assert row["relative_error"] == pytest.approx(math.sqrt(without / loss) / 0.8, rel=1e-5)
    given = rule.robustness(sp.stackelberg(game), followers=["driver"])
    assert given.loc["driver", "relative_error"] == pytest.approx(row["relative_error"], rel=1e-9)
    with pytest.raises(sp.InvalidGame, match="nobody: not a follower"):
        rule.robustness(followers=["nobody"])


@pytest.mark.parametrize("money", [1e-9, 1e9])
def test_a_cost_in_small_units_is_as_curved(money: float) -> None:
    """(u − 1)² + t u in another currency: its curvature is 2 (1 + K), and an error of one unit moves u by 1/H."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(initialize=0.5), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 3), initialize=0.5)
    m.f.cost = pyo.Objective(expr=money * ((m.f.u - 1) ** 2 + m.t * m.f.u))
    m.goal = pyo.Objective(expr=(m.f.u - 0.5) ** 2 + 0.01 * (m.t - 0.5) ** 2)
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, m.f)))
    row = rule.robustness(sp.Plan.from_values(rule.attached())).loc["f"]
    assert row["curvature"] == pytest.approx(money * (2 + 2 * rule.gain.iloc[0, 0]), rel=1e-6)
    assert row["shift"] == pytest.approx(1 / row["curvature"], rel=1e-9)


def test_robustness_along_a_constraint_that_the_leaders_answer_moves() -> None:
    """u + v + x ≤ 2 holds with x = x* + K d in it: the follower slides along it as SciPy does under small errors."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.f = pyo.Block()
    m.f.u, m.f.v = pyo.Var(bounds=(-50, 50)), pyo.Var(bounds=(-50, 50))
    m.f.cost = pyo.Objective(expr=(m.f.u - 3) ** 2 + 2 * (m.f.v - 1) ** 2 + m.x * m.f.u + m.x**2)
    m.f.cap = pyo.Constraint(expr=m.f.u + m.f.v + m.x <= 2)
    m.goal = pyo.Objective(expr=(m.f.u - 1.3) ** 2 + (m.f.v - 0.7) ** 2 + (m.x - 0.5) ** 2)
    plan = sp.leader_optimal(sp.Game(m, followers=m.f))
    rule = sp.affine_incentive(plan, multipliers={m.f.cap: 1.0})
    gain = rule.gain.to_numpy()[0]
    planned = np.array([plan.values["f.u"], plan.values["f.v"]])

    def answer(error: np.ndarray) -> np.ndarray:
        def leader(z: np.ndarray) -> float:
            return float(plan.values["x"] + gain @ (z - planned))

        found = minimize(
            lambda z: (z[0] - 3) ** 2 + 2 * (z[1] - 1) ** 2 + leader(z) * z[0] + leader(z) ** 2 + error @ z,
            planned,
            constraints={"type": "ineq", "fun": lambda z: 2 - z.sum() - leader(z)},
            method="SLSQP",
            options={"ftol": 1e-16, "maxiter": 500},
        )
        return np.asarray(found.x - planned)

    size = 1e-3
    turns = [np.array([math.cos(a), math.sin(a)]) for a in np.linspace(0, 2 * math.pi, 73)]
    row = rule.robustness().loc["f"]
    assert row["shift"] == pytest.approx(max(np.linalg.norm(answer(size * t)) for t in turns) / size, rel=1e-3)
    assert row["leader_slope"] == pytest.approx(0, abs=1e-6)  # the plan is the leader's best along the constraint


def test_robustness_where_costs_are_not_quadratic() -> None:
    """The largest error against a search by SciPy: the driver re-solved with the error in its cost."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var()
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-2, 2))
    m.f.cost = pyo.Objective(expr=pyo.exp(m.f.u) - m.f.u / 2 + (m.toll + 1) ** 2)
    m.goal = pyo.Objective(expr=(m.f.u - 0.5) ** 2 + m.toll**2)
    game = sp.Game(m, followers=m.f)
    rule = sp.affine_incentive(sp.leader_optimal(game))
    slope = math.exp(0.5) - 0.5
    gain = -slope / 2
    without = sp.stackelberg(game).leader_objective

    def leader(error: float) -> float:
        def cost(u: float) -> float:
            return math.exp(u) - u / 2 + (gain * (u - 0.5) + 1) ** 2 + error * slope * u

        u = minimize_scalar(cost, bounds=(-2, 2), method="bounded", options={"xatol": 1e-12}).x
        return (u - 0.5) ** 2 + (gain * (u - 0.5)) ** 2 - without

    low, high = 0.0, 5.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if max(leader(middle), leader(-middle)) < 0 else (low, middle)
    assert rule.robustness().loc["f", "relative_error"] == pytest.approx(low, rel=1e-4)


def test_robustness_of_a_quadratic_strategy() -> None:
    """J = −u²/2 + u/2 + t at u = 1 under t = d/2 + R d²/2: curvature R − 1; the leader's (t − 3)² feels R through t."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(initialize=0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-5, 5), initialize=1)
    m.f.cost = pyo.Objective(expr=-(m.f.u**2) / 2 + m.t + m.f.u / 2)
    m.goal = pyo.Objective(expr=(m.f.u - 1) ** 2 + (m.t - 3) ** 2)
    rule = sp.affine_incentive(sp.Plan.from_values(sp.Game(m, followers=m.f)), quadratic=True)
    gain, bend = rule.gain.iloc[0, 0], rule.bend.toarray()[0, 0]
    assert gain == pytest.approx(0.5)
    m.t.set_value(4.0)
    baseline = sp.Plan.from_values(rule.attached())  # u = 1, t = 4: costs 1, less than the plan's 9
    row = rule.robustness(baseline).loc["f"]
    curved = bend - 1
    assert row["curvature"] == pytest.approx(curved, rel=1e-9)
    assert row["leader_slope"] == pytest.approx(6 * gain / curved, rel=1e-9)
    loss = (2 * (1 + gain**2) - 6 * bend) / 2 / curved**2
    assert row["leader_loss"] == pytest.approx(max(loss, 0), rel=1e-9)
    assert row["relative_error"] == 0.0
    m.t.set_value(-1.0)
    worst = 16.0

    def leader(error: float) -> float:
        d = -error * -0.5 / curved  # its own slope is −1 + 1/2
        return d**2 + (gain * d + bend * d**2 / 2 - 3) ** 2

    ways = [next(e for e in np.linspace(0, 40, 400_001) if leader(way * e) >= worst) for way in (1, -1)]
    row = rule.robustness(sp.Plan.from_values(rule.attached())).loc["f"]
    assert row["relative_error"] == pytest.approx(min(ways), abs=2e-4)


@pytest.mark.slow
def test_robustness_of_a_projected_strategy() -> None:
    """u²/2 − u + 2t, t = clip((1 + u)/2, 0, 1): past u = 1 it no longer answers, and the follower runs there."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(0, 1), initialize=0.5)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-10, 10), initialize=0)
    m.f.cost = pyo.Objective(expr=m.f.u**2 / 2 - m.f.u + 2 * m.t)
    m.goal = pyo.Objective(expr=m.f.u**2 + (m.t - 0.5) ** 2)
    game = sp.Game(m, followers=m.f)
    rule = sp.affine_incentive(sp.leader_optimal(game), saturate=True)
    m.f.u.set_value(2.0)
    m.t.set_value(1.0)
    grid = np.linspace(-10, 10, 200_001)

    def leader(error: float) -> float:
        paid = np.clip((1 + grid) / 2, 0, 1)
        best = np.argmin(grid**2 / 2 - (1 + error) * grid + 2 * paid)
        return float(grid[best] ** 2 + (paid[best] - 0.5) ** 2)

    worst = 4.25  # u = 2, t = 1
    truth = next(e for e in np.linspace(0, 3, 301) if max(leader(e), leader(-e)) >= worst)
    row = rule.robustness(sp.Plan.from_values(game)).loc["f"]
    assert row["relative_error"] == pytest.approx(truth, abs=0.011)


def test_robustness_sees_an_aggregate_that_only_the_leader_feels() -> None:
    """The leader's (z − 1)² with z = u/1 in the place of (u − 1)²: the same game, the same numbers."""
    rows = []
    for aggregate in (False, True):
        m = pyo.ConcreteModel()
        m.t, m.z = pyo.Var(), pyo.Var()
        m.f = pyo.Block()
        m.f.u = pyo.Var()
        m.f.cost = pyo.Objective(expr=m.f.u**2 + m.t * m.f.u + 4 * m.t)
        m.rule = pyo.Constraint(expr=m.z == m.f.u)
        m.goal = pyo.Objective(expr=((m.z if aggregate else m.f.u) - 1) ** 2 + m.t**2 / 100)
        rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f, aggregates=m.rule)), observe=[m.f.u])
        rows.append(rule.robustness().loc["f"].tolist())
    assert rows[0] == pytest.approx(rows[1], rel=1e-6)
    assert rows[1][3] > 0.01
