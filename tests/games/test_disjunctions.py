"""Followers written with pyomo.gdp: after its transformations the indicators on the Disjuncts are theirs, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import state
from pyomo.gdp import Disjunct, Disjunction

import stackpyomo as sp


def switched(transformation: str, fixed_cost: float = 0.05, *, pair: bool = False) -> Any:
    """A driver who stays at 0 or takes at least one half; with ``pair`` a second switch that follows the first."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(0, 2))
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1))
    m.driver.on, m.driver.off = Disjunct(), Disjunct()
    m.driver.on.least = pyo.Constraint(expr=m.driver.flow >= 0.5)
    m.driver.off.none = pyo.Constraint(expr=m.driver.flow <= 0)
    m.driver.choice = Disjunction(expr=[m.driver.on, m.driver.off])
    if pair:
        m.driver.second = pyo.BooleanVar()
        m.driver.rule = pyo.LogicalConstraint(expr=m.driver.on.indicator_var.implies(m.driver.second))
    pyo.TransformationFactory(transformation).apply_to(m)
    switch = m.driver.second.get_associated_binary() if pair else m.driver.on.binary_indicator_var
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.toll * m.driver.flow + fixed_cost * switch)
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.2) ** 2 + 0.01 * m.toll**2)
    return m


def best_constant(fixed_cost: float) -> float:
    """By hand: on, the flow is max(1/2, 1 − toll/2); the driver is off where that costs more than 1."""
    toll = np.linspace(0, 2, 200_001)
    flow = np.maximum(0.5, 1 - toll / 2)
    on = (flow - 1) ** 2 + toll * flow + fixed_cost
    value = 0.01 * toll**2 + np.where(on <= 1, (flow - 0.2) ** 2, 0.04)
    tied = np.where(on >= 1, 0.04 + 0.01 * toll**2, np.inf)
    return float(min(value.min(), tied.min()))


@pytest.mark.slow
@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("transformation", ["gdp.bigm", "gdp.hull"])
def test_the_best_constant_against_a_switch(transformation: str, pair: bool) -> None:
    m = switched(transformation, pair=pair)
    game = sp.Game(m, m.driver)
    before = state(m)
    plan = sp.stackelberg(game)
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(best_constant(0.05), abs=1e-6)
    assert sp.verify(plan).ok
    assert state(m) == before


@pytest.mark.slow
def test_a_rule_that_holds_the_driver_at_the_edge() -> None:
    m = switched("gdp.bigm")
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, m.driver)), observe=[m.driver.flow])
    report = sp.verify(rule)
    assert report.ok
    assert report.certificate["driver"] == "global"
    gain, start = rule.gain.iloc[0, 0], rule.offset["toll"]
    flow = np.concatenate([[0.0], np.linspace(0.5, 1, 5001)])
    kept = rule.plan.value("driver.flow")
    cost = (flow - 1) ** 2 + (start + gain * (flow - kept)) * flow + 0.05 * (flow > 0)
    assert cost.min() >= cost[np.abs(flow - kept).argmin()] - 1e-6


def test_what_is_not_transformed_is_named_with_the_remedy() -> None:
    m = pyo.ConcreteModel()
    m.toll = pyo.Var()
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1))
    m.driver.on = Disjunct()
    m.driver.cost = pyo.Objective(expr=m.toll * m.driver.flow)
    m.goal = pyo.Objective(expr=m.driver.flow)
    with pytest.raises(sp.InvalidGame, match=r"driver\.on: a Disjunct is not .*TransformationFactory\('gdp\.bigm'\)"):
        sp.leader_optimal(sp.Game(m, m.driver))
