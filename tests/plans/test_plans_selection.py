"""Selections: which of several equilibria a plan is."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest

import stackpyomo as sp

pytestmark = pytest.mark.usefixtures("unchanged")


def test_an_equilibrium_on_a_shared_limit_is_said_to_be_one_of_many() -> None:
    """Capacity 2: every (q, 2 - q) with q in [0, 2] is an equilibrium; capacity 9: only (3, 3)."""
    for capacity, many in ((2.0, True), (9.0, False)):
        m = pyo.ConcreteModel()
        m.x = pyo.Var(bounds=(0, 1), initialize=0.5)
        m.f = pyo.Block([1, 2])
        for i in m.f:
            m.f[i].q = pyo.Var(bounds=(0, 5))
        for i in m.f:
            m.f[i].cost = pyo.Objective(expr=(m.f[i].q - 3) ** 2)
            m.f[i].cap = pyo.Constraint(expr=m.f[1].q + m.f[2].q <= capacity)
        m.goal = pyo.Objective(expr=(m.x - 0.5) ** 2 + 0.01 * m.f[1].q)
        for plan in (sp.nash(sp.Game(m, m.f)), sp.stackelberg(sp.Game(m, m.f))):
            assert ("the equilibria form a surface of dimension 1" in str(plan)) == many
