"""Followers who steer: pyomo.dae models once they are discretised, against closed forms and scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.dae import ContinuousSet, DerivativeVar
from scipy.integrate import solve_bvp

import stackpyomo as sp

STEPS = 20


def steered(*, decay: float = 0.0, discretised: bool = True) -> Any:
    """min ½ x(1)² + ∫ (½ u² + toll · u) dt,  x' = u − decay · x,  x(0) = 1."""
    m = pyo.ConcreteModel(name="steered")
    m.toll = pyo.Var(bounds=(-5, 5), initialize=0.0)
    m.d = b = pyo.Block()
    m.d.t = ContinuousSet(bounds=(0, 1))
    b.x, b.u = pyo.Var(b.t, initialize=0.5), pyo.Var(b.t, initialize=0.0)
    b.dx = DerivativeVar(b.x, wrt=b.t)
    b.law = pyo.Constraint(b.t, rule=lambda b, t: b.dx[t] == b.u[t] - decay * b.x[t])
    b.start = pyo.Constraint(expr=b.x[0] == 1)
    if discretised:
        pyo.TransformationFactory("dae.finite_difference").apply_to(m, nfe=STEPS, scheme="BACKWARD")
    times = [t for t in b.t if t > 0]
    spent = sum(0.5 * b.u[t] ** 2 + m.toll * b.u[t] for t in times) / len(times) + 0.5 * b.u[0] ** 2 / 1e3
    b.cost = pyo.Objective(expr=0.5 * b.x[1] ** 2 + spent)
    m.goal = pyo.Objective(expr=sum((b.u[t] + 0.2) ** 2 for t in times) + (b.u[0] + m.toll) ** 2 * 0)
    return m


def test_the_answer_to_a_toll_is_the_closed_form() -> None:
    """Without decay u is constant, u = −(1 + toll)/2, which backward differences meet exactly."""
    m = steered()
    plan = sp.nash(sp.Game(m, m.d), leader={"toll": 0.3})
    assert plan.values["d.x[1]"] == pytest.approx((1 - 0.3) / 2, abs=1e-7)
    assert [plan.values[f"d.u[{t}]"] for t in m.d.t if t > 0] == pytest.approx([-0.65] * STEPS, abs=1e-6)


def test_the_answer_with_decay_is_that_of_the_boundary_value_problem() -> None:
    """Pontryagin: u = −toll − λ, x' = u − x, λ' = λ, x(0) = 1, λ(1) = x(1); of first order in the step."""
    m = steered(decay=1.0)
    plan = sp.nash(sp.Game(m, m.d), leader={"toll": 0.3})
    grid = np.linspace(0.0, 1.0, 11)
    exact = solve_bvp(
        lambda _, y: np.vstack([-0.3 - y[1] - y[0], y[1]]),
        lambda left, right: np.array([left[0] - 1.0, right[1] - right[0]]),
        grid,
        np.ones((2, 11)) * 0.5,
    )
    assert plan.values["d.x[1]"] == pytest.approx(exact.sol(1.0)[0], abs=1.0 / STEPS)
    assert plan.values["d.x[1]"] != pytest.approx((1 - 0.3) / 2, abs=0.05)


def test_an_incentive_holds_a_follower_who_steers() -> None:
    m = steered()
    plan = sp.leader_optimal(sp.Game(m, m.d))
    report = sp.verify(sp.affine_incentive(plan, multipliers="free"))
    assert report.ok
    assert plan.values["d.x[1]"] == pytest.approx(0.8, abs=1e-6)


def test_what_is_not_discretised_is_refused_with_the_remedy() -> None:
    m = steered(discretised=False)
    with pytest.raises(sp.InvalidGame, match=r"d\.dx: a DerivativeVar.*Discretise it first.*dae\.collocation"):
        sp.leader_optimal(sp.Game(m, m.d))
