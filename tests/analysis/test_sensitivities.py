"""Sensitivities: fits of residuals, and how constraints that bind and members of a crowd enter them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from conftest import household
from helpers.customers import BOUNDS, ROWS, customer, exactly

import stackpyomo as sp


def test_residuals_are_fitted_by_linear_least_squares() -> None:
    found = sp.fit(customer(), ROWS, BOUNDS, method="residuals")
    assert found.parameters.tolist() == exactly("218/57", "53/57")
    assert found.sum_of_squares == pytest.approx(41 / 570, rel=1e-9)
    by_responses = sp.fit(customer(), ROWS, BOUNDS).parameters["h"]
    assert found.parameters["h"] / by_responses == pytest.approx(2809 / 2850), "errors in variables: R²"
    assert found.plan is None
    assert found.report is None


def test_bounds_may_admit_followers_who_are_not_convex() -> None:
    """They are played by deviations then; the least squares are where they were."""
    found = sp.fit(customer(), ROWS, {"theta": (0.0, 20.0), "h": (-1.0, 10.0)})
    assert found.parameters.tolist() == pytest.approx([409 / 106, 50 / 53], rel=1e-5)
    assert found.report is not None
    assert found.report.ok


def cournot(size: float = 1) -> sp.Game:
    """Two groups of firms: J = c q + d q²/2 − (20 − Q) q + t q, Q the sum of one of each group's average, times 2."""
    m = pyo.ConcreteModel()
    m.c = pyo.Param([1, 2], initialize=1.0, mutable=True)
    m.d = pyo.Param(initialize=1.0, mutable=True)
    m.t = pyo.Var(initialize=0, bounds=(-5, 5))
    m.Q = pyo.Var(initialize=0)
    m.firm = pyo.Block([1, 2])
    for i, firm in m.firm.items():
        firm.q = pyo.Var(bounds=(0, 50), initialize=1)
        firm.cost = pyo.Objective(expr=m.c[i] * firm.q + m.d * firm.q**2 / 2 - (20 - m.Q) * firm.q + m.t * firm.q)
    m.total = pyo.Constraint(expr=m.firm[1].q + m.firm[2].q == m.Q)
    m.goal = pyo.Objective(expr=m.t**2)
    return sp.Game(m, followers=[sp.Population(m.firm[i], size) for i in (1, 2)], aggregates=[m.total])


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("method", ["responses", "residuals"])
def test_each_member_moves_the_aggregate_by_its_share(size: int, method: str) -> None:
    """At equilibrium c_i + d q_i − 20 + Q + q_i/size + t = 0, q by a linear system."""
    costs, d, taxes = np.array([2.0, 3.0]), 1.5, [0.0, 1.0, 2.5]
    matrix = np.ones((2, 2)) + np.eye(2) * (d + 1 / size)
    outputs = np.array([np.linalg.solve(matrix, 20 - costs - t) for t in taxes])
    rows = pd.DataFrame({"t": taxes, "firm[1].q": outputs[:, 0], "firm[2].q": outputs[:, 1]})
    bounds = {"c[1]": (0, 10), "c[2]": (0, 10), "d": (0.1, 10)}
    found = sp.fit(cournot(size), rows, bounds, method=method)
    assert found.parameters.tolist() == pytest.approx([2.0, 3.0, 1.5], rel=1e-5)
    told = sp.fit(cournot(size), rows.assign(Q=outputs.sum(axis=1)), ["c", "d"], method=method)
    assert told.parameters.tolist() == pytest.approx([2.0, 3.0, 1.5], rel=1e-5)


def test_a_binding_constraint_tells_differences_alone() -> None:
    """Under the fuse u1 − u2 = want1 − want2 − p1 + p2: the sum of the wants is open."""
    rows = pd.DataFrame({"p[1]": [0.0, 0.5], "p[2]": [0.0, 0.0], "home.u[1]": [2.0, 1.75], "home.u[2]": [1.0, 1.25]})
    for method in ("responses", "residuals"):
        found = sp.fit(household(5.0), rows, {"want": (0, 20)}, method=method)
        assert found.parameters["want[1]"] - found.parameters["want[2]"] == pytest.approx(1.0, abs=1e-6)
        assert found.rank == 1
        assert found.null_space.iloc[0].tolist() == pytest.approx([1.0, 1.0])
    free = pd.DataFrame({"p[1]": [3.0], "p[2]": [2.0], "home.u[1]": [1.0], "home.u[2]": [1.0]})
    found = sp.fit(household(), pd.concat([rows, free], ignore_index=True), {"want": (0, 20)})
    assert found.parameters.tolist() == pytest.approx([4.0, 3.0], rel=1e-6)


def test_costs_that_are_not_affine_in_the_parameter() -> None:
    """J = exp(θ u) − θ... : −log(1+u)·θ² + p u, u = θ²/p − 1."""
    m = pyo.ConcreteModel()
    m.taste = pyo.Param(initialize=1.0, mutable=True)
    m.p = pyo.Var(initialize=1)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 50), initialize=1)
    m.f.cost = pyo.Objective(expr=-(m.taste**2) * pyo.log(1 + m.f.u) + m.p * m.f.u)
    m.goal = pyo.Objective(expr=m.p**2)
    game = sp.Game(m, followers=m.f)
    rows = {"p": [0.5, 1.0, 2.0], "f.u": [9 / 0.5 - 1, 8.0, 3.5]}
    found = sp.fit(game, rows, {"taste": (0.5, 6.0)})
    assert found.parameters.tolist() == pytest.approx([3.0], rel=1e-6)
    with pytest.raises(sp.InvalidGame, match="objective of f is not shown to be affine in the parameters"):
        sp.fit(game, rows, {"taste": (0.5, 6.0)}, method="residuals")


@pytest.mark.slow
def test_where_residuals_mislead_the_box_moves() -> None:
    """Answers of 3 and of 2.95 on average: (θ, h) = (300, 100), far from what noise makes of the slopes."""
    found = sp.fit(customer(), {"p": [0.0, 5.0, 5.0], "f.u": [3.0, 2.0, 3.9]}, ["theta", "h"], time_limit=4)
    assert found.parameters.tolist() == pytest.approx([300.0, 100.0], rel=1e-3)


def test_costs_without_a_unit_are_refused_by_residuals() -> None:
    m = pyo.ConcreteModel()
    m.a = pyo.Param([1, 2], initialize=1.0, mutable=True)
    m.p = pyo.Var(initialize=1)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-9, 9), initialize=1)
    m.f.cost = pyo.Objective(expr=m.a[1] * m.f.u**2 + m.a[2] * m.p * m.f.u)
    m.goal = pyo.Objective(expr=m.p**2)
    rows = {"p": [1.0, 2.0], "f.u": [-1.0, -2.0]}
    game = sp.Game(m, followers=m.f)
    with pytest.raises(sp.InvalidGame, match="every term of the costs holds a parameter"):
        sp.fit(game, rows, ["a"], method="residuals")
    found = sp.fit(game, rows, {"a": (0.1, 10)})
    assert found.rank == 1
    assert found.null_space.iloc[0].tolist() == pytest.approx([1.0, 2.0])
