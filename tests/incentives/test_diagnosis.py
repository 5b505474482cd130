"""Why nobody holds a follower: bounds in the way, thousands behind one average."""

from __future__ import annotations

import time

import pyomo.environ as pyo
import pytest
from conftest import at_a_bound

import stackpyomo as sp


@pytest.mark.parametrize("row", [False, True])
def test_a_bound_in_the_way_of_a_follower_whom_its_own_row_may_carry(row: bool) -> None:
    """SAT01: x would have to fall below 0. With a row y ≥ 1 of its own that presses, no gain is needed at all."""
    plan = at_a_bound("SAT01")
    if row:
        block = plan.attached().followers["f"].block
        block.row = pyo.Constraint(expr=block.y >= 1)
        plan = sp.Plan.from_values(plan.attached())
    with pytest.raises(sp.NoIncentive, match="leader bound: x stands at its lower bound") as caught:
        sp.affine_incentive(plan)
    assert ("multipliers='free'" in str(caught.value)) is row
    if row:
        assert sp.verify(sp.affine_incentive(plan, multipliers="free")).ok


@pytest.mark.parametrize("actions", [1, 2])
def test_thousands_lost_behind_one_average(actions: int) -> None:
    """Every one of them is told why, and no time is lost on it."""
    count = 3000
    m = pyo.ConcreteModel()
    m.t, m.s, m.mean = pyo.Var(initialize=0), pyo.Var(initialize=0), pyo.Var(initialize=1)
    m.f = pyo.Block(range(count))
    for i in range(count):
        m.f[i].u = pyo.Var(range(actions), initialize=1)
        cost = sum((m.f[i].u[k] - 2 - i / count) ** 2 for k in range(actions))
        m.f[i].cost = pyo.Objective(expr=cost + m.t * m.f[i].u[0] + m.s)
    total = sum(m.f[i].u[k] for i in range(count) for k in range(actions))
    m.average = pyo.Constraint(expr=m.mean == total / count)
    m.goal = pyo.Objective(expr=m.t**2 + m.s**2)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f, aggregates=m.average))
    began = time.process_time()
    with pytest.raises(sp.NoIncentive) as caught:
        sp.affine_incentive(plan, observe=[m.mean])
    assert time.process_time() - began < 4.0  # some 0.3 s of this process
    assert len(caught.value.reasons) == len(caught.value.residuals) == count
    others = "f[0], f[1], f[2], f[3], f[4], f[5], … (2999 in all)"
    assert caught.value.reasons["f[2999]"].startswith(f"conflict under shared signals with {others}: one gain")
    assert "with f[0], f[1], f[3], f[4], f[5], f[6], … (2999" in caught.value.reasons["f[2]"]
