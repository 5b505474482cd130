"""What an improbable scenario asks: the gain that it would have at any probability, in any unit of the cost."""

from __future__ import annotations

import logging
from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp


def seldom(probability: float, money: float = 1.0, held: float = 1.0) -> Any:
    """(scenarios, model, rule or refusal): (u − 1)² + t u in two scenarios, the leader at u = ½."""
    seen = sp.Scenarios({"y": [0, 1]}, [probability, 1.0 - probability])
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var([0, 1], bounds=(-9, 9), initialize=0.0), pyo.Block()
    m.f.u = pyo.Var([0, 1], bounds=(-3, 3), initialize=0.5)
    answer = {0: held, 1: 1.0}
    cost = seen.expectation(lambda w: (m.f.u[w] - 1) ** 2 + answer[w] * m.t[w] * m.f.u[w])
    m.f.cost = pyo.Objective(expr=money * cost)
    m.goal = pyo.Objective(expr=seen.expectation(lambda w: (m.f.u[w] - 0.5) ** 2 + m.t[w] ** 2))
    plan = sp.leader_optimal(sp.Game(m, m.f))
    rule = sp.affine_incentive(plan, seen.observe(m.t, [(m.f.u, "y")]), energy=seen.energy(m.t))
    return seen, m, rule


@pytest.mark.parametrize("money", [1.0, 1e7, 1e-7])
@pytest.mark.parametrize("probability", [1e-8, 1e-10, 1e-12, 1e-14])
def test_an_improbable_atom_has_its_gain(probability: float, money: float) -> None:
    seen, m, rule = seldom(probability, money)
    for w in seen:
        u = rule.targets["f.u[0]"] if w == 0 else rule.targets["f.u[1]"]
        assert rule.gain.loc[f"t[{w}]", f"f.u[{w}]"] == pytest.approx(2.0 * (1.0 - u) / u, rel=1e-5)
    told = sp.conditional_regret(rule, seen, [(m.f.u, "y")])
    assert (told["regret"] <= 1e-8 * money).all()
    assert sp.verify(rule).ok


def test_what_nobody_can_answer_takes_no_gain_away(caplog: pytest.LogCaptureFixture) -> None:
    """The leader has no part in the improbable scenario: the other one keeps its gain."""
    with caplog.at_level(logging.WARNING):
        _, _, rule = seldom(1e-12, held=0.0)
    assert rule.gain.loc["t[1]", "f.u[1]"] == pytest.approx(2.0, rel=1e-5)
    assert "t[0]" not in rule.gain.index
