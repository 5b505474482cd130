"""Crowds of alike followers, and majors among them, of any size."""

from __future__ import annotations

import math

import pyomo.environ as pyo

import stackpyomo as sp


def crowd(size: float, *, explicit: bool = False, wanted: float | None = None) -> sp.Game:
    """J_i = (u_i−1)²/2 + ū u_i/4 + (u0+1)²/2 + u0 u_i/5. wanted: the leader's u, at u0 = 0 (None: case DT01)."""
    m = pyo.ConcreteModel(name="crowd")
    m.u0, m.mean = pyo.Var(initialize=0.5), pyo.Var(initialize=1.0)
    blocks = int(size) if explicit else 1
    m.f = pyo.Block(range(blocks))
    for i in range(blocks):
        m.f[i].u = pyo.Var(initialize=1.0)
        u = m.f[i].u
        m.f[i].cost = pyo.Objective(expr=(u - 1) ** 2 / 2 + m.mean * u / 4 + (m.u0 + 1) ** 2 / 2 + m.u0 * u / 5)
    m.average = pyo.Constraint(expr=m.mean == pyo.quicksum(m.f[i].u for i in range(blocks)) / blocks)
    square = pyo.quicksum(m.f[i].u ** 2 for i in range(blocks)) / blocks
    goal = (m.u0 - 1) ** 2 + (m.mean - 2) ** 2 + square / 2 + m.u0 * m.mean / 2
    if wanted is not None:
        goal = m.u0**2 + pyo.quicksum((m.f[i].u - wanted) ** 2 for i in range(blocks)) / blocks
    m.goal = pyo.Objective(expr=goal)
    return sp.Game(m, followers=m.f if explicit else sp.Population(m.f, size), aggregates=m.average)


MM01 = {
    1: (517 / 90, -456 / 53),
    2: (322 / 61, -303 / 34),
    5: (5725 / 1162, -5688 / 637),
    10: (5050 / 1053, -5127 / 578),
    100: (448525 / 96003, -465117 / 53003),
    math.inf: (177 / 38, -184 / 21),
}
"""size → (leader-major-optimal objective, gain on the major), this project's case MM01, exact."""


def ruled(size: float) -> sp.Game:
    """A leader, a major M and minors u with J = u²/2 − u (4 − ū − u0/2 − M/2)."""
    m = pyo.ConcreteModel(name="ruled")
    m.u0, m.mean = pyo.Var(initialize=0.0), pyo.Var(initialize=1.0)
    m.major, m.minor = pyo.Block(), pyo.Block()
    m.major.u, m.minor.u = pyo.Var(initialize=1.0), pyo.Var(initialize=1.0)
    m.average = pyo.Constraint(expr=m.mean == m.minor.u)
    big, small = m.major.u, m.minor.u
    m.minor.cost = pyo.Objective(expr=small**2 / 2 - small * (4 - m.mean - m.u0 / 2 - big / 2))
    m.major.cost = pyo.Objective(expr=big**2 / 2 + (m.u0 + 1) ** 2 / 2 + (big + m.mean - 1) ** 2 / 2)
    m.goal = pyo.Objective(expr=m.u0**2 / 2 + big**2 / 2 + (m.mean + big - 5) ** 2 + small**2 / 4)
    return sp.Game(m, followers=[m.major, sp.Population(m.minor, size)], aggregates=m.average)
