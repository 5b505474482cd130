"""Followers whose costs bend up or down, and who stand beside their best."""

from __future__ import annotations

import pyomo.environ as pyo

import stackpyomo as sp


def rivals(count: int, bend: float = 1.0) -> sp.Game:
    """Each wants u = 1/2 and stands at 0; with a negative bend it wants an end of [0, 1]."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(count))
    for i in range(count):
        m.f[i].u = pyo.Var(bounds=(0, 1), initialize=0.0)
        m.f[i].cost = pyo.Objective(expr=bend * (m.f[i].u - 0.5) ** 2 + m.u0)
    m.goal = pyo.Objective(expr=m.u0**2)
    return sp.Game(m, m.f)
