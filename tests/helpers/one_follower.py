"""A game of one follower, whose cost is all that matters."""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo

import stackpyomo as sp


def one_follower(cost: Any, *, bounds: tuple[Any, Any] = (None, None), target: float = 0.0) -> sp.Game:
    """A follower with cost(u0, u), a leader who wants u = target at u0 = 0."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=bounds, initialize=target)
    m.f.cost = pyo.Objective(expr=cost(m.u0, m.f.u))
    m.goal = pyo.Objective(expr=m.u0**2 + (m.f.u - target) ** 2)
    return sp.Game(m, followers=m.f)
