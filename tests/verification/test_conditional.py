"""What a follower gains given its observation, where the leader's answer is stopped at its bounds."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp


@pytest.mark.parametrize("limit", [1.0, 0.4, 0.1])
def test_atom_by_atom_under_a_rule_that_is_stopped(limit: float) -> None:
    """(u − 1)² + (1 + w) t u, t = gain (u − ½) within ±limit: against a fine grid at each atom."""
    seen = sp.Scenarios({"y": [0, 1, 2]}, [0.2, 0.3, 0.5])
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var([0, 1, 2], bounds=(-limit, limit), initialize=0.0), pyo.Block()
    m.f.u = pyo.Var([0, 1, 2], bounds=(-3, 3), initialize=0.5)
    m.f.cost = pyo.Objective(expr=seen.expectation(lambda w: (m.f.u[w] - 1) ** 2 + m.t[w] * m.f.u[w] * (1 + w)))
    m.goal = pyo.Objective(expr=seen.expectation(lambda w: (m.f.u[w] - 0.5) ** 2 + m.t[w] ** 2))
    plan = sp.leader_optimal(sp.Game(m, m.f))
    rule = sp.affine_incentive(plan, seen.observe(m.t, [(m.f.u, "y")]), energy=seen.energy(m.t))
    told = sp.conditional_regret(rule, seen, [(m.f.u, "y")])
    u = np.linspace(-3, 3, 600_001)
    for w, regret in zip(told["atom"], told["regret"], strict=True):
        gain = float(rule.gain.loc[f"t[{w}]", f"f.u[{w}]"])
        assert gain == pytest.approx(2.0 / (1 + w))
        cost = (u - 1) ** 2 + np.clip(gain * (u - 0.5), -limit, limit) * u * (1 + w)
        assert regret == pytest.approx(cost[350_000] - cost.min(), abs=1e-6)
