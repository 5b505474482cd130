"""Charging by night: the plan and every vehicle's answer against scipy, and the incentive as N grows."""

from __future__ import annotations

import importlib.util
import math
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import stackpyomo as sp
from models import ev_charging as night
from stackpyomo.errors import InvalidGame

pytestmark = pytest.mark.skipif(importlib.util.find_spec("demandlib") is None, reason="needs stackpyomo[load]")

SIZES = [10, 10**6, math.inf]


def wear(vehicle: night.Vehicle, kind: str, power: np.ndarray) -> float:
    quartic = power**4 / vehicle.power**2 if kind == "quartic" else 0.0
    return float(np.sum(vehicle.wear * (power**2 + quartic)))


def parts_of(vehicles: list[night.Vehicle]) -> list[slice]:
    """Where each vehicle's powers stand in one vector of all."""
    counts = [len(night.plugged(v)) for v in vehicles]
    return [slice(int(end) - n, int(end)) for n, end in zip(counts, np.cumsum(counts), strict=True)]


def least(cost: Any, vehicles: list[night.Vehicle], start: np.ndarray) -> Any:
    """min cost over everybody's powers, each within its limits and charged in the morning."""
    bounds = [(0.0, v.power) for v in vehicles for _ in night.plugged(v)]
    full = [
        {"type": "eq", "fun": lambda u, part=part, v=v: u[part].sum() - v.energy}
        for part, v in zip(parts_of(vehicles), vehicles, strict=True)
    ]
    options = {"ftol": 1e-12, "maxiter": 500}
    return minimize(cost, start, method="SLSQP", bounds=bounds, constraints=full, options=options)


def evenly(vehicles: list[night.Vehicle]) -> np.ndarray:
    return np.concatenate([np.full(len(night.plugged(v)), v.energy / len(night.plugged(v))) for v in vehicles])


def planned(date: str, kind: str) -> tuple[float, np.ndarray]:
    """The utility's least cost and the load it goes with, without stackpyomo or Pyomo."""
    base, vehicles = np.array(night.base_load(date)), list(night.VEHICLES.values())
    pairs = list(zip(vehicles, parts_of(vehicles), strict=True))

    def demand(u: np.ndarray) -> np.ndarray:
        total = base.copy()
        for v, part in pairs:
            total[night.plugged(v)] += v.share * u[part]
        return total

    def cost(u: np.ndarray) -> float:
        worn = sum(v.share * wear(v, kind, u[part]) for v, part in pairs)
        return float(night.SLOPE / 2 * np.sum(demand(u) ** 2)) + worn

    found = least(cost, vehicles, evenly(vehicles))
    assert found.success, found.message
    return float(found.fun), demand(found.x)


def load_of(plan: sp.Plan) -> np.ndarray:
    return np.array([plan.value(f"demand[{t}]") for t in range(night.HOURS)])


def design(game: sp.Game, pricing: str) -> tuple[sp.Plan, sp.Incentive]:
    plan, m = sp.leader_optimal(game), game.model
    free = [m.price] if pricing == "hourly" else ()
    return plan, sp.affine_incentive(plan, observe=[m.demand], free=free, multipliers="free")


def test_the_load_is_the_published_profile() -> None:
    """H25, a winter working day: the evening peak, the valley of the night, 3500 kWh a year."""
    base = night.base_load("2025-01-15")
    assert len(base) == night.HOURS
    assert int(np.argmax(base)) + night.FIRST == 18
    assert min(base) == pytest.approx(0.263, abs=1e-3)
    assert max(night.base_load("2025-07-16")) < max(base)


@pytest.mark.parametrize(("kind", "date"), [("quadratic", "2025-01-15"), ("quartic", "2025-07-16")])
def test_the_plan_is_scipys(kind: str, date: str) -> None:
    plan = sp.leader_optimal(night.build(wear=kind, date=date))
    value, load = planned(date, kind)
    assert plan.leader_objective == pytest.approx(value, rel=1e-6)
    assert plan.leader_objective <= value * (1 + 1e-9)
    np.testing.assert_allclose(load_of(plan), load, atol=2e-3)
    assert plan.quality == "optimal"


@pytest.mark.parametrize("kind", night.WEARS)
@pytest.mark.parametrize("number", [1, 10**9, math.inf])
def test_hourly_prices_are_the_marginal_cost_of_supply(kind: str, number: float) -> None:
    plan, rule = design(night.build(number, kind), "hourly")
    price = np.array([rule.offset[f"price[{t}]"] for t in range(night.HOURS)])
    above = price - night.SLOPE * load_of(plan)
    np.testing.assert_allclose(above, above.mean(), atol=1e-7)
    assert price.mean() == pytest.approx(night.TARIFF, abs=1e-9)
    assert rule.norm == 0
    report = sp.verify(rule)
    assert report.ok
    assert (report.certificate == "convex").all()


@pytest.mark.parametrize("kind", night.WEARS)
def test_the_flat_tariffs_bill_leaves_nothing_to_gain(kind: str) -> None:
    """Every vehicle's best answer by SLSQP, with its 1/N in the total, from the plan and from even charging."""
    number = 7
    game = night.build(number, kind, "flat")
    plan, rule = design(game, "flat")
    assert sp.verify(rule).ok
    assert list(rule.offset.values()) == pytest.approx([night.TARIFF] * night.HOURS)
    planned_load = load_of(plan)
    gain = rule.gain.to_numpy()
    for name, vehicle in night.VEHICLES.items():
        hours = night.plugged(vehicle)
        here = np.array([plan.value(f"vehicle[{name}].power[{t}]") for t in hours])

        def bill(u: np.ndarray, vehicle=vehicle, hours=hours, here=here) -> float:
            load = planned_load.copy()
            load[hours] += vehicle.share * (u - here) / number
            price = night.TARIFF + gain @ (load - planned_load)
            return float(price[hours] @ u) + wear(vehicle, kind, u)

        even = evenly([vehicle])
        assert bill(even) > bill(here) + 1e-6
        for start in (here, even):
            assert least(bill, [vehicle], start).fun >= bill(here) - 1e-7


def test_at_one_tariff_the_valley_is_not_filled() -> None:
    game = night.build()
    plan = sp.leader_optimal(game)
    alone = sp.nash(game, leader={f"price[{t}]": night.TARIFF for t in range(night.HOURS)})
    assert np.ptp(load_of(plan)) < 0.2 * np.ptp(load_of(alone))
    for name, vehicle in night.VEHICLES.items():  # wear alone: evenly
        even = vehicle.energy / len(night.plugged(vehicle))
        for t in night.plugged(vehicle):
            assert alone.value(f"vehicle[{name}].power[{t}]") == pytest.approx(even, abs=1e-6)


@pytest.fixture(scope="module")
def growth() -> dict[str, pd.DataFrame]:
    return {pricing: night.scaled(pricing, SIZES) for pricing in night.PRICINGS}


@pytest.mark.slow
def test_hourly_prices_have_a_limit_and_the_flat_tariffs_bill_has_none(growth: dict[str, pd.DataFrame]) -> None:
    hourly, flat = growth["hourly"], growth["flat"]
    assert (hourly["average_gain"] == 0).all()
    assert hourly.attrs["verdict"].startswith("bounded")
    assert flat.attrs["exponent"] == pytest.approx(1.0, abs=0.02)
    assert flat.attrs["verdict"].startswith("ill-posed")
    assert flat["average_gain"].iloc[-1] == math.inf
    assert (hourly["epsilon"] <= 1e-6).all()
    assert (flat["epsilon"].iloc[:-1] <= 1e-6).all()


def test_demo_prints_the_night(
    growth: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(night, "scaled", lambda pricing, sizes: growth[pricing])
    with pytest.raises(SystemExit) as left:
        night.main()
    assert left.value.code == 0
    printed = capsys.readouterr().out
    for told in ("verified: largest regret", "bounded: at the plan", "ill-posed: the gain of the average", "17:00"):
        assert told in printed


def test_what_is_missing_or_unknown_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidGame, match="choose quadratic or quartic"):
        night.build(wear="none")
    with pytest.raises(InvalidGame, match="choose hourly or flat"):
        night.build(pricing="fair")
    with pytest.raises(InvalidGame, match="a day like"):
        night.build(date="tomorrow-ish")
    monkeypatch.setitem(sys.modules, "demandlib.bdew", None)
    with pytest.raises(InvalidGame, match=r"stackpyomo\[load\]"):
        night.build()
