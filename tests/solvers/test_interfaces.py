"""What a solver says is no proof where it cannot see the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp


@pytest.mark.parametrize(("price", "at"), [(lambda p: p, 1e21), (lambda p: pyo.exp(-p), -100.0)])
def test_no_plan_is_proved_away_by_numbers_that_are_infinite_to_a_solver(
    price: Callable[[Any], Any], at: float
) -> None:
    """(u − 1)² + price u on [0, 2]: u = 0 is the equilibrium at any large price, its multiplier beyond 1e20."""
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var(initialize=at), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 2), initialize=0.0)
    m.f.cost = pyo.Objective(expr=(m.f.u - 1) ** 2 + price(m.p) * m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - 0.5) ** 2)
    game = sp.Game(m, m.f)
    assert sp.verify(sp.Plan.from_values(game)).ok
    with pytest.raises(sp.NoPlan) as refusal:
        sp.nash(game, leader={"p": at})
    assert "proved by" not in str(refusal.value)
