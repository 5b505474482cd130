"""Tolls that nobody pays: brought down to what keeps travellers off, so that no gap is small beside them."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.bilevel.conditions import conditions
from stackpyomo.bilevel.idle_prices import with_less
from stackpyomo.bilevel.mpcc import Equilibrium, Problem

pytestmark = pytest.mark.usefixtures("unchanged")

WAYS = {"north": 4.0, "south": 4.01, "round": 4.03}
"""What each way costs; the two first ones have a toll. The leader's best is 4.03 − 4.00 from the north."""


def _roads(action: float = 1.0, money: float = 1.0, paid: float = 1.0) -> sp.Game:
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(["north", "south"], bounds=(0, None))
    m.driver = pyo.Block()
    m.driver.flow = flow = pyo.Var(list(WAYS), bounds=(0, None))
    m.driver.trip = pyo.Constraint(expr=sum(flow.values()) == action)
    tolls = sum(m.toll[way] * flow[way] for way in m.toll)
    m.driver.cost = pyo.Objective(expr=tolls + money / action * sum(cost * flow[way] for way, cost in WAYS.items()))
    m.revenue = pyo.Objective(expr=paid * tolls, sense=pyo.maximize)
    return sp.Game(m, m.driver)


@pytest.mark.parametrize("idle", [1e5, 1e9])
@pytest.mark.parametrize(("action", "money", "paid"), [(1.0, 1.0, 1.0), (1e-4, 1e5, 1e-6), (1e5, 1e-4, 1e6)])
def test_tolls_that_nobody_pays_come_down_to_what_keeps_everybody_off(
    idle: float, action: float, money: float, paid: float
) -> None:
    """All drive round: a toll of 0.03 in the north and 0.02 in the south would do, and about twice that is left.

    λ of the row is what the trip costs, and a way's own multiplier what it is dearer.
    """
    game = _roads(action, money, paid)
    kkt = conditions(game, list(game.followers.values()))
    plain = Equilibrium(Problem(game.leader.cost, leader=list(game.leader.variables)), kkt, None, {})
    unit = money / action
    values = {id(game.model.driver.flow[way]): action * (way == "round") for way in WAYS}
    values |= {id(toll): idle * unit for toll in game.model.toll.values()}
    values |= {id(p.multiplier): unit * (idle - 0.01 * (3 - n) if n < 2 else 0.0) for n, p in enumerate(kkt.pairs[:3])}
    x = plain.point(values)
    rest = [i for i, v in enumerate(plain.program.variables) if id(v) not in values]
    steep = plain.program.jacobian(x).toarray()
    at = np.asarray(plain.program.problem.constraints(x)) - plain.program.row_bounds[0]
    x[rest] -= np.linalg.lstsq(steep[:, rest], at, rcond=None)[0]
    lower = with_less(plain, x, {id(v) for v in game.variables_by_name.values()})
    assert lower is not None
    levels = plain.program.levels(lower)
    north, south = (levels[id(game.model.toll[way])] / unit for way in ("north", "south"))
    assert 0.03 - 1e-6 <= north <= 0.07
    assert 0.02 - 1e-6 <= south <= 0.07
    assert plain.residuals(lower)["stationarity"] <= 1e-6
    assert with_less(plain, lower, {id(v) for v in game.variables_by_name.values()}) is None, "once is enough"


@pytest.mark.parametrize(("action", "money", "paid"), [(1.0, 1.0, 1.0), (1e-4, 1e5, 1e-6), (1e5, 1e-4, 1e6)])
def test_what_is_left_to_gain_is_not_small_beside_a_toll_that_nobody_pays(
    action: float, money: float, paid: float
) -> None:
    """Whatever is called optimal is 0.03; nothing above it is a plan."""
    game = _roads(action, money, paid)
    unit = money * paid
    for toll in game.model.toll.values():
        toll.set_value(1e7 * money / action)
    for way, flow in game.model.driver.flow.items():
        flow.set_value(action * (way == "round"))
    for options in ({}, {"solver": "pounce"}):
        plan = sp.stackelberg(game, **options)
        assert plan.leader_objective <= (0.03 + 1e-6) * unit
        assert plan.quality != "optimal" or plan.leader_objective == pytest.approx(0.03 * unit, rel=1e-5)
        tolls = [plan.value(toll) for toll in game.model.toll.values()]
        assert max(tolls) <= 1e3 * money / action
