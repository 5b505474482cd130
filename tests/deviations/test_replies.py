"""Replies are what verification finds, as rows."""

from __future__ import annotations

import math

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.core import undisturbed
from stackpyomo.deviations import best_replies, better_replies, sharper_replies
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


def test_a_deviation_goes_downhill_from_where_it_is() -> None:
    """−cos 3v + u, u = 0: from 0.3 to 0, from 2 to 2π/3; the plan, 1, is worth −cos 3."""
    m = pyo.ConcreteModel()
    m.u, m.f = pyo.Var(initialize=0.0), pyo.Block()
    m.f.v = pyo.Var(bounds=(-1, 3), initialize=1.0)
    m.f.cost = pyo.Objective(expr=m.u - pyo.cos(3 * m.f.v))
    m.wish = pyo.Objective(expr=m.u**2)
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    with undisturbed():
        known = [("f", {"f.v": start}) for start in (0.3, 2.0)]
        replies = sharper_replies(plan.attached(), plan.announcement, known)
    assert [r.action["f.v"] for r in replies] == pytest.approx([0.0, 2 * math.pi / 3], abs=1e-7)
    assert [r.regret for r in replies] == pytest.approx([1.0 - math.cos(3.0)] * 2)


def test_one_better_reply_takes_no_global_solver() -> None:
    """(v − 1)² (v + 1)² at v = 0: one of the two wells."""
    m = pyo.ConcreteModel()
    m.u, m.f = pyo.Var(initialize=0.0), pyo.Block()
    m.f.v = pyo.Var(bounds=(-3, 3), initialize=0.0)
    m.f.cost = pyo.Objective(expr=m.u + (m.f.v - 1) ** 2 * (m.f.v + 1) ** 2)
    m.wish = pyo.Objective(expr=m.u**2)
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    with undisturbed():
        (free,) = better_replies(plan.attached(), plan.announcement, {"f"})
        (asked,) = better_replies(plan.attached(), plan.announcement, {"f"}, allowed=1.0)
    assert abs(free.action["f.v"]) == pytest.approx(1.0, abs=1e-6)
    assert asked.regret == pytest.approx(free.regret, abs=1e-9)
