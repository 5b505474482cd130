"""Worst answers: prices, and followers who feel each other, in closed form."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest
from conftest import snapshot
from helpers.responders import two_valued_price

import stackpyomo as sp
from stackpyomo.solvers import registry

pytestmark = pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")


def test_the_worst_equilibrium_of_followers_who_feel_each_other() -> None:
    """u₀ + u₁ = x whatever each does, so that ψ = (x − 1)² + x: ¾ at ½, proved."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.f = pyo.Block([0, 1])
    for i in (0, 1):
        m.f[i].u = pyo.Var(bounds=(0, 1))
    for i in (0, 1):
        m.f[i].cost = pyo.Objective(expr=(m.f[0].u + m.f[1].u - m.x) ** 2)
    m.goal = pyo.Objective(expr=m.f[0].u + (m.x - 1) ** 2)
    game = sp.Game(m, m.f)
    plan = sp.stackelberg(game, ties="pessimistic")
    assert plan.leader_objective == pytest.approx(0.75, abs=1e-4)
    assert plan.value("f[0].u") == pytest.approx(plan.value("x"), abs=1e-6)
    assert plan.bound == pytest.approx(0.75, abs=1e-5)
    assert (plan.quality, plan.attained) == ("optimal", True)
    with pytest.raises(sp.InvalidGame, match=r"tie_tolerance=0\.1: is for followers who feel nobody but the leader"):
        sp.stackelberg(game, ties="pessimistic", tie_tolerance=0.1)


@pytest.mark.slow
def test_ties_of_one_chosen_equilibrium() -> None:
    """With a cap u₀ + u₁ ≤ 1 + x of both, uₖ near 1: of the variational equilibria (1 + x)/2 each there is one."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.f = pyo.Block([0, 1])
    for i in (0, 1):
        m.f[i].u = pyo.Var(bounds=(0, 1))
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - 1) ** 2)
    m.cap = pyo.Constraint(expr=m.f[0].u + m.f[1].u <= 1 + m.x)
    m.goal = pyo.Objective(expr=m.f[0].u + (m.x - 1) ** 2)
    game = sp.Game(m, m.f, shared=[m.cap])
    plan = sp.stackelberg(game, ties="pessimistic")
    assert plan.leader_objective == pytest.approx(0.9375, abs=1e-6)  # (1 + x)/2 + (x − 1)² at ¾
    assert plan.quality == "optimal"
    assert plan.attained is True
    loose = sp.stackelberg(game, ties="pessimistic", equilibrium="any")  # u₀ anywhere in [x, 1]: 1 + (x − 1)²
    assert loose.ties["optimistic"] == pytest.approx(0.75, abs=1e-6)
    assert loose.leader_objective == pytest.approx(1, abs=1e-4)


def test_a_price_that_the_market_need_not_choose() -> None:
    game = two_valued_price()
    before = snapshot(game.model)
    plan = sp.stackelberg(game, ties="pessimistic")
    assert snapshot(game.model) == before
    assert plan.bound == pytest.approx(6, abs=1e-6)
    assert plan.attained is False
    assert 6 < plan.leader_objective < 6.001
    assert 5 < plan.value("x") < 5.001
    assert plan.ties["worst"] == pytest.approx(16, abs=1e-6)
    assert plan.value("price") == pytest.approx(1, abs=1e-6)
    assert sp.verify(plan).ok
