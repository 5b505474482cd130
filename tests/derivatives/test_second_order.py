"""Second derivatives of followers' problems as announced, against finite differences of what is announced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy import sparse

import stackpyomo as sp
from stackpyomo.derivatives import FollowerHessians, FollowerRows, composed_hessian, composed_size, is_jointly_convex


@pytest.fixture
def game() -> sp.Game:
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(initialize=0.4)

    def follower(b: Any, i: int) -> None:
        b.u, b.v = pyo.Var(bounds=(0, 2), initialize=0.3), pyo.Var(bounds=(0, 2), initialize=0.8)
        b.cost = pyo.Objective(expr=(i + 1) * (b.u - 1) ** 2 + b.v**4 + m.toll * b.u * b.v + m.toll**2)

    m.f = pyo.Block(range(2), rule=follower)
    m.goal = pyo.Objective(expr=m.toll**2)
    return sp.Game(m, followers=m.f)


def test_a_composed_hessian_is_that_of_the_composed_cost(game: sp.Game) -> None:
    """toll = 0.4 + 0.5 (u − 0.3) − 0.2 (v − 0.8), put into the cost by hand."""
    values = game.current_values()
    rows = FollowerRows(game)
    gain = sparse.csr_array(np.array([[0.5, -0.2, 0.5, -0.2]]))
    response = rows.responses_to(gain)
    for number in range(2):

        def cost(x: Any, number: int = number) -> float:
            toll = 0.4 + 0.5 * (x[0] - 0.3) - 0.2 * (x[1] - 0.8)
            return float((number + 1) * (x[0] - 1) ** 2 + x[1] ** 4 + toll * x[0] * x[1] + toll**2)

        h, at = 1e-4, np.array([0.3, 0.8])
        wanted = np.empty((2, 2))
        for i in range(2):
            for j in range(2):
                ei, ej = h * np.eye(2)[i], h * np.eye(2)[j]
                ends = cost(at + ei + ej) - cost(at + ei - ej) - cost(at - ei + ej) + cost(at - ei - ej)
                wanted[i, j] = ends / (4 * h * h)
        hessian = FollowerHessians(rows, values, {}).of(number)
        mine = sparse.csc_array(response.tocsc()[:, rows.own(number)])
        composed = composed_hessian(hessian, mine)
        assert composed == pytest.approx(wanted, abs=1e-6)
        assert composed_size(hessian, mine) >= np.abs(composed).max() - 1e-12


def test_joint_convexity_is_asked_of_actions_and_prices_together(game: sp.Game) -> None:
    """A price times an action bends down in the two together, though not in the action."""
    m = game.model
    m.apart = pyo.Block()
    m.apart.u = pyo.Var(bounds=(0, 1), initialize=0.5)
    m.apart.cost = pyo.Objective(expr=(m.apart.u - m.toll) ** 2)
    other = sp.Game(m, followers=[m.f, m.apart])
    first, _, last = other.followers.values()
    assert not is_jointly_convex(first, [m.toll])
    assert is_jointly_convex(last, [m.toll])
