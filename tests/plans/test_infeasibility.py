"""Infeasibility: rows in conflict by name."""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp


@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e8])
@pytest.mark.parametrize("find", [sp.leader_optimal, sp.stackelberg])
def test_rows_in_conflict_are_named_in_every_unit(find: Any, unit: float) -> None:
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, 9 * unit)), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 9 * unit))
    m.f.cost = pyo.Objective(expr=(m.f.u / unit - 1) ** 2)
    m.high = pyo.Constraint(expr=m.x + m.f.u >= 3 * unit)
    m.low = pyo.Constraint(expr=m.x + m.f.u <= unit)
    m.other = pyo.Constraint(expr=m.x <= 8 * unit)
    m.goal = pyo.Objective(expr=(m.x / unit) ** 2 + m.f.u / unit)
    with pytest.raises(sp.NoPlan, match=r"low \(leader\), high \(leader\)\. Relax") as refusal:
        find(sp.Game(m, m.f))
    assert refusal.value.termination == "infeasible"
