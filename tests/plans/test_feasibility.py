"""Feasibility: what stands on a bound."""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp


def test_values_next_to_a_bound_stand_on_it() -> None:
    """In the unit of the box, whatever that is."""
    for unit in (1e-6, 1.0, 1e6):
        m = pyo.ConcreteModel()
        m.t = pyo.Var(bounds=(0, 10 * unit), initialize=10 * unit * (1 - 1e-9))
        m.f = pyo.Block()
        m.f.u, m.f.w = pyo.Var([0, 1], bounds=(0, 2 * unit)), pyo.Var(bounds=(0, unit), initialize=1e-4 * unit)
        m.f.u[0].set_value(1e-8 * unit)
        m.f.u[1].set_value(unit)
        m.f.cost = pyo.Objective(expr=m.f.u[0] ** 2 + (m.f.u[1] - m.t) ** 2 + m.f.w**2)
        m.goal = pyo.Objective(expr=m.t)
        values = sp.Plan.from_values(sp.Game(m, m.f)).values
        assert (values["t"], values["f.u[0]"], values["f.w"]) == (10 * unit, 0.0, 1e-4 * unit)


@pytest.mark.parametrize("who", [True, ["a"]])
def test_what_those_who_respond_and_those_who_serve_leave_at_a_bound_is_exactly_there(who: Any) -> None:
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(0, 4), initialize=1)
    m.a, m.b = pyo.Block(), pyo.Block()
    for block in (m.a, m.b):
        block.u = pyo.Var(bounds=(0, 3), initialize=1)
        block.cost = pyo.Objective(expr=(block.u + 1 + m.t) ** 2)
    m.goal = pyo.Objective(expr=(m.t - 5) ** 2 + m.b.u + m.a.u)
    plan = sp.leader_optimal(sp.Game(m, [m.a, m.b]), responding=who)
    assert (plan.value("t"), plan.value("a.u"), plan.value("b.u")) == (4.0, 0.0, 0.0)
