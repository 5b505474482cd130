"""Kinks of projected rules: a toll of at least 0 holds cars and trucks by one meter, where no slope holds both."""

from __future__ import annotations

import math

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.incentives.second_best.kinks import least_at_bounds


def bridge(low: float | None = 0.0) -> sp.Game:
    """Each vehicle pays detour (flow − 1)² + toll · flow; the city wants flows of 0.6 and no toll."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(low, 2))
    m.car, m.truck = pyo.Block(), pyo.Block()
    for vehicle, detour in ((m.car, 1), (m.truck, 2)):
        vehicle.flow = pyo.Var(bounds=(0, 1))
        vehicle.cost = pyo.Objective(expr=detour * (vehicle.flow - 1) ** 2 + m.toll * vehicle.flow)
    m.miss = pyo.Objective(expr=(m.car.flow - 0.6) ** 2 + (m.truck.flow - 0.6) ** 2 + 0.01 * m.toll**2)
    m.meter = pyo.Expression(expr=m.car.flow + m.truck.flow)
    return sp.Game(m, followers=[m.car, m.truck])


@pytest.mark.slow
def test_nothing_is_proved_of_a_projection_past_its_kinks() -> None:
    """max(0, 4 (s − 1.2)) makes 0.6 everybody's best, on a grid: a rule of slopes that costs 0.013 is not optimal."""
    flow = np.linspace(0.0, 1.0, 10001)
    for detour in (1.0, 2.0):
        cost = detour * (flow - 1.0) ** 2 + np.clip(4.0 * (flow - 0.6), 0.0, 2.0) * flow
        assert flow[cost.argmin()] == pytest.approx(0.6)
    game = bridge()
    rule = sp.optimal_rule(game, observe=[game.model.meter], saturate=True)
    assert rule.plan.quality == "feasible"
    assert rule.plan.bound <= 1e-9
    assert any("only the projection's kink holds" in text for text in rule.plan.warnings)
    with pytest.raises(sp.NoIncentive, match="by the kink at a bound of toll"):
        sp.affine_incentive(sp.leader_optimal(game), [game.model.meter], saturate=True)


@pytest.mark.slow
def test_bounds_that_no_good_plan_stands_on_leave_the_proof() -> None:
    """A toll of 2 or −2 costs 0.04 at least, more than the rule."""
    game = bridge(-2.0)
    rule = sp.optimal_rule(game, observe=[game.model.meter], saturate=True)
    assert rule.plan.quality == "optimal"
    assert rule.plan.leader_objective < 0.04


@pytest.mark.parametrize(("low", "least"), [(-2.0, 0.04), (0.0, 0.0), (None, 0.04)])
def test_the_least_cost_on_a_bound(low: float | None, least: float) -> None:
    game = bridge(low)
    assert least_at_bounds(game, [game.model.toll], 10.0) == pytest.approx(least, abs=1e-6)
    assert least_at_bounds(game, [], 10.0) == math.inf
    assert least_at_bounds(game, [game.model.toll], 0.0) == -math.inf


@pytest.mark.parametrize(("saturate", "words"), [(True, "where no bound stops"), (False, "within")])
def test_the_least_regret_is_that_of_formulas_within_their_bounds(saturate: bool, words: str) -> None:
    """max(0, 4 (s − 1.2)), as above, leaves nobody any regret: what is proved is of gains that nothing stops."""
    game = bridge()
    plan, meter = sp.leader_optimal(game), [game.model.meter]
    rule = sp.affine_incentive(plan, meter, design="deviations", regret="least", saturate=saturate)
    assert rule.epsilon > 0.01
    assert f"no gain leaves less to all {words}" in str(rule)
    with pytest.raises(sp.NoIncentive) as refusal:
        sp.affine_incentive(plan, meter, design="deviations", saturate=saturate)
    assert ("by the kink at a bound of toll" in str(refusal.value)) is saturate
