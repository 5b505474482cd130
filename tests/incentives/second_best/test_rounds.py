"""Rounds of plan and gain: bounds, what a wider bound would bring, time limits, against closed forms."""

from __future__ import annotations

import math

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.incentives.second_best.rounds import _side


def wanting(sign: int = 1) -> sp.Game:
    """J = ½(u − 1)² + pu wants 1, the leader 0: V(K) = ½/(1 + (1 + K)²), least at the largest K."""
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var(bounds=(-50, 50), initialize=0), pyo.Block()
    m.f.u = pyo.Var(bounds=(-5, 5), initialize=0.5)
    m.f.cost = pyo.Objective(expr=(m.f.u - 1) ** 2 / 2 + m.p * m.f.u)
    sense = pyo.minimize if sign > 0 else pyo.maximize
    m.goal = pyo.Objective(expr=sign * (m.f.u**2 / 2 + m.p**2 / 2), sense=sense)
    return sp.Game(m, followers=m.f)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("most", [1.0, 3.0])
def test_what_a_wider_bound_of_the_gain_would_bring(most: float, sign: int) -> None:
    """dV/dK = −(1 + K)/(1 + (1 + K)²)², in the sense the leader wrote."""
    rule = sp.optimal_rule(wanting(sign), gain_bounds=(-most, most))
    square = 1.0 + (1.0 + most) ** 2
    assert sign * rule.plan.leader_objective == pytest.approx(0.5 / square, abs=1e-7)
    assert list(rule.at_bound) == [("p", "f.u")]
    assert sign * rule.at_bound["p", "f.u"] == pytest.approx(-(1.0 + most) / square**2, rel=1e-4)
    assert rule.plan.quality == "optimal"
    assert sign * rule.plan.bound <= 0.5 / square + 1e-7


@pytest.mark.parametrize(
    ("level", "bounds", "side"),
    [
        (1.0, (0.0, 1.0), 1),
        (0.0, (0.0, 1.0), -1),
        (0.5, (0.0, 1.0), 0),
        (1.0, (1.0, 1.0), 1),
        (7.0, (-math.inf, math.inf), 0),
        (-3.0, (-3.0, math.inf), -1),
    ],
)
def test_which_bound_a_gain_stands_at(level: float, bounds: tuple[float, float], side: int) -> None:
    assert _side(level, *bounds) == side
