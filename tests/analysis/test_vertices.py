"""Worst cases that vertices prove with several followers or actions, against closed-form answers on fine grids."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp


def pair(least: float = -20.0) -> sp.Game:
    """Two followers who mind each other, J_i = ½u_i² − θ_i u_i + ¼ u_1 u_2 + p u_i, and a leader who wants (1, 2)."""
    m = pyo.ConcreteModel()
    m.theta = pyo.Param([0, 1], initialize=3.0, mutable=True)
    m.p, m.mean = pyo.Var(bounds=(-20, 20), initialize=0), pyo.Var(initialize=0)
    m.f = pyo.Block([0, 1])
    for block in m.f.values():
        block.u = pyo.Var(bounds=(least, 20), initialize=3)
    for i, block in m.f.items():
        u, other = block.u, m.f[1 - i].u
        block.cost = pyo.Objective(expr=u**2 / 2 - m.theta[i] * u + u * other / 4 + m.p * u)
    m.average = pyo.Constraint(expr=m.mean == (m.f[0].u + m.f[1].u) / 2)
    m.goal = pyo.Objective(expr=((m.f[0].u - 1) ** 2 + (m.f[1].u - 2) ** 2) / 2 + m.p**2 / 10)
    return sp.Game(m, followers=m.f, aggregates=[m.average])


SQUARE = {"theta": (2.0, 4.0)}


def answers(line: tuple[float, float], theta: Any) -> np.ndarray:
    """The equilibrium under p = c + k (u_1 + u_2)/2: (1 + k) u_i + (¼ + ½k) u_j = θ_i − c."""
    c, k = line
    return np.linalg.solve(np.array([[1 + k, 0.25 + k / 2], [0.25 + k / 2, 1 + k]]), np.asarray(theta) - c)


def missed(line: tuple[float, float], theta: Any) -> float:
    u = answers(line, theta)
    p = line[0] + line[1] * u.mean()
    return float(((u[0] - 1) ** 2 + (u[1] - 2) ** 2) / 2 + p**2 / 10)


@pytest.mark.parametrize("line", [(-2.0, 2.0), (1.0, 0.0), (0.5, 1.0)])
@pytest.mark.parametrize("less", [None, "leader-optimal"])
def test_several_followers_in_equilibrium(line: tuple[float, float], less: str | None) -> None:
    """The leader-optimal value is 0, whatever the types: nobody else's cost is in it."""
    game = pair()
    rule = {"p": line[0] + line[1] * game.model.mean}
    worst = sp.worst_case(game, rule, SQUARE, less=less)
    assert (worst.evidence, worst.why, worst.share) == ("vertices", "", 0.0)
    square = list(product(np.linspace(2, 4, 21), repeat=2))
    assert worst.value == pytest.approx(max(missed(line, theta) for theta in square), abs=1e-7)
    assert missed(line, worst.at) == pytest.approx(worst.value, abs=1e-7)
    assert worst.loose == ("p",) * (line[1] > 0)
    assert ("Beware: judged by the formula alone" in str(worst)) == (line[1] > 0)


def test_an_incentive_for_several_followers() -> None:
    game = pair()
    rule = sp.affine_incentive(sp.leader_optimal(game))
    worst = sp.worst_case(game, rule, SQUARE)
    assert worst.evidence == "vertices"
    gain = rule.gain.to_numpy()[0]

    def objective(theta: Any) -> float:
        matrix = np.array([[1 + 2 * gain[0], 0.25 + gain[1]], [0.25 + gain[0], 1 + 2 * gain[1]]])
        intercept = rule.offset["p"] - gain @ [1, 2]
        u = np.linalg.solve(matrix, np.asarray(theta) - intercept)
        return float(((u[0] - 1) ** 2 + (u[1] - 2) ** 2) / 2 + (intercept + gain @ u) ** 2 / 10)

    assert worst.value == pytest.approx(max(map(objective, product(np.linspace(2, 4, 21), repeat=2))), abs=1e-7)


def test_regret_where_the_ideal_moves_with_the_type() -> None:
    """J0 = ½(u − θ/2)² + ½p²: its least is 0 for every type; J = ½u² − θu + pu answers u = (θ − c)/(1 + 2k)."""
    m = pyo.ConcreteModel()
    m.theta = pyo.Param(initialize=3.0, mutable=True)
    m.p, m.f = pyo.Var(bounds=(-20, 20), initialize=0), pyo.Block()
    m.f.u = pyo.Var(bounds=(-20, 20), initialize=1)
    m.f.cost = pyo.Objective(expr=m.f.u**2 / 2 - m.theta * m.f.u + m.p * m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - m.theta / 2) ** 2 / 2 + m.p**2 / 2 + m.theta**2)
    worst = sp.worst_case(sp.Game(m, followers=m.f), (-0.5, 0.4), {"theta": (-1.0, 4.0)}, less="leader-optimal")

    def regret(theta: float) -> float:
        u = (theta + 0.5) / 1.8
        return (u - theta / 2) ** 2 / 2 + (-0.5 + 0.4 * u) ** 2 / 2

    assert worst.evidence == "vertices"
    assert worst.value == pytest.approx(max(map(regret, np.linspace(-1, 4, 501))), abs=1e-7)


def test_what_several_followers_leave_to_a_search() -> None:
    """At its bound an answer is no longer affine; a quartic cost has no affine answer at all."""
    bound = sp.worst_case(pair(2.5), {"p": 0.0}, SQUARE)
    assert (bound.evidence, bound.why) == ("search", "an action reaches its bounds")
    game = pair()
    game.model.f[0].cost.expr += game.model.f[0].u ** 4 / 4
    assert "the slopes of f[0] are not affine" in sp.worst_case(game, {"p": 0.0}, SQUARE).why
    game = pair()
    game.model.goal.expr -= 2 * (game.model.f[0].u - 1) ** 2
    assert "not convex along the answers" in sp.worst_case(game, {"p": 0.0}, SQUARE).why
