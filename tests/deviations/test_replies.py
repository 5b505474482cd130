"""Replies are what verification finds, as rows."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.core import undisturbed
from stackpyomo.deviations import best_replies
from stackpyomo.verification import Effort


@pytest.fixture
def driver() -> sp.Plan:
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(-2, 2), initialize=0.0)
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1), initialize=0.6)
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.toll * m.driver.flow)
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6) ** 2 + m.toll**2)
    return sp.Plan.from_values(sp.Game(m, followers=m.driver))


def test_a_constant_toll_tempts_and_the_rule_does_not(driver: sp.Plan) -> None:
    game = driver.attached()
    with undisturbed():
        (reply,) = best_replies(game, driver.announcement, {"driver"}, Effort())
        assert reply.action["driver.flow"] == pytest.approx(1.0, abs=1e-4)
        assert reply.regret == pytest.approx(0.16)
        assert reply.certificate == "convex"
        assert (reply.deviation.follower, reply.deviation.temptation) == ("driver", reply.regret)
    rule = sp.affine_incentive(driver)
    with undisturbed():
        (reply,) = best_replies(game, rule.announcement, {"driver"}, Effort())
    assert reply.regret <= 1e-6 * reply.scale
