"""Far bounds of the leader's variables are left out first: answers known by enumeration of what is used."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.solvers import registry

needs_scip = pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")


@needs_scip
@pytest.mark.parametrize(("price", "action"), [(1.0, 1.0), (1.0, 1e4), (1e6, 1e-3), (1e4, 1e-4)])
@pytest.mark.parametrize("most", [1e3, 1e6, 1e8, 1e9, 1e12])
def test_how_far_tolls_might_go_is_nothing_beside_what_they_earn(most: float, price: float, action: float) -> None:
    """Ways of 2 and 4 with tolls beside one of 5 without: 3 can be earned; 0 was "optimal", a gap of 3 nothing.

    In whatever units of tolls and trips, and with ties against the leader but for what is needed to break them.
    """
    m = pyo.ConcreteModel()
    m.t = pyo.Var([0, 1], bounds=(0, most * price), initialize=0)
    m.f = pyo.Block()
    m.f.y = pyo.Var([0, 1, 2], bounds=(0, action), initialize=0)
    m.f.trip = pyo.Constraint(expr=sum(m.f.y.values()) == action)
    tolls = sum(m.t[i] * m.f.y[i] for i in m.t)
    m.f.cost = pyo.Objective(expr=price * (2 * m.f.y[0] + 4 * m.f.y[1] + 5 * m.f.y[2]) + tolls)
    m.goal = pyo.Objective(expr=tolls, sense=pyo.maximize)
    plan = sp.stackelberg(sp.Game(m, m.f))
    assert plan.quality == "optimal"
    assert plan.leader_objective / price / action == pytest.approx(3.0, abs=1e-6)
    assert plan.game.model is m
    assert m.t[0].ub == most * price
    assert sp.verify(plan).ok
    if most == 1e9 and price == 1.0:
        worst = sp.stackelberg(sp.Game(m, m.f), ties="pessimistic")
        assert 2.99 < worst.leader_objective / action < 3.0 < worst.bound / action + 1e-6


@needs_scip
@pytest.mark.parametrize("most", [1.0, 2e4, 1e7])
def test_a_bound_that_holds_the_plan_is_no_far_one(most: float) -> None:
    """max t − 10⁻⁶ t² up to 5 · 10⁵, beside a follower with y = 1 while t ≤ 10⁹: the bound where it is below that."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(0, most), initialize=0), pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 1), initialize=0)
    m.f.cost = pyo.Objective(expr=-m.f.y)
    m.goal = pyo.Objective(expr=m.t - 1e-6 * m.t**2 + m.f.y, sense=pyo.maximize)
    plan = sp.stackelberg(sp.Game(m, m.f))
    assert plan.quality == "optimal"
    assert plan.value(m.t) == pytest.approx(min(most, 5e5), rel=1e-3)
    free = sp.stackelberg(sp.Game(m, m.f), ties="pessimistic")
    assert free.leader_objective == pytest.approx(plan.leader_objective, rel=1e-6)


@needs_scip
def test_what_is_better_without_a_far_bound_is_better_within_it_or_no_plan() -> None:
    """max t y beside a way of 1 + s, s ≤ 10⁶ the leader's as well: without its bound there is no end, so it holds."""
    m = pyo.ConcreteModel()
    m.t, m.s = pyo.Var(bounds=(0, 1e9), initialize=0), pyo.Var(bounds=(0, 1e6), initialize=0)
    m.f = pyo.Block()
    m.f.y = pyo.Var([0, 1], bounds=(0, 1), initialize=0)
    m.f.trip = pyo.Constraint(expr=m.f.y[0] + m.f.y[1] == 1)
    m.f.cost = pyo.Objective(expr=m.t * m.f.y[0] + (1 + m.s) * m.f.y[1])
    m.goal = pyo.Objective(expr=m.t * m.f.y[0], sense=pyo.maximize)
    plan = sp.stackelberg(sp.Game(m, m.f))
    assert plan.leader_objective <= 1e6 + 1 + 1e-3
    assert plan.quality != "optimal" or plan.leader_objective == pytest.approx(1e6 + 1, rel=1e-6)
    assert plan.value(m.s) <= 1e6


@needs_scip
def test_far_out_where_tolls_cancel_a_gap_beside_their_terms_is_no_proof() -> None:
    """max pay = (1.5 t + 0.5 s) y beside 0.8 (y − 0.4)² + pay, at most 0.064: with t, s at ∓10⁵ its terms are 10⁵."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var([0, 1], bounds=(-1e6, 1e6), initialize=0), pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 1), initialize=0)
    pay = 1e3 * (1.5 * m.t[0] + 0.5 * m.t[1]) * m.f.y
    m.f.cost = pyo.Objective(expr=0.8 * (m.f.y - 0.4) ** 2 + pay)
    m.goal = pyo.Objective(expr=pay, sense=pyo.maximize)
    m.order = pyo.Constraint(expr=1e3 * m.t[0] <= 2e3 * m.t[1] + 1)
    plan = sp.stackelberg(sp.Game(m, m.f), time_limit=2.0)
    assert plan.leader_objective == pytest.approx(0.064, rel=1e-6)
    assert plan.quality != "optimal" or plan.bound <= 0.064 * (1 + 1e-5)
