"""Charging by night: a utility would like the valley of its load filled, vehicles charge when it is cheapest for them.

A household draws base_t kW at hour t, and shares_k vehicles of type k stand at the plug beside it, N of each type in
all. Each of these (follower) chooses its powers u_{k,t}, of which the utility (leader) sees the total alone:

    demand_t = base_t + Σ_k share_k (average u_k)_t                                                 kW per household
    utility   min  Σ_t s/2 demand_t² + Σ_k share_k Σ_t wear_k(u_{k,t})                              € per household
    vehicle   min  Σ_t price_t u_t + wear_k(u_t),   Σ_t u_t = energy_k,   0 ≤ u_t ≤ power_k (0 when it is away)

``wear`` "quadratic": α_k u²; "quartic": α_k u² (1 + u²/power²), harder on the battery at full power. Prices in €/kWh
are transfers, no part of what the utility minimises, so they are free (``FREE``); their mean is the tariff.

``pricing`` "hourly": a price for each hour. At price_t = s demand_t + constant, the marginal cost of supply, no vehicle
wants to leave the plan: no gain is needed, at any N, and the mean field is the limit. "flat": one tariff in all hours,
and a bill that answers to the total, price_t = tariff + Σ_τ K_{tτ} (demand_τ − demand*_τ), settled in the morning. A
vehicle moves the total by 1/N of its share, and its own marginal cost does not vanish at the plan, so that K grows like
N and no strategy of finite energy is left at N = ∞ (``sp.scaling`` shows both).

Valley filling by many vehicles: Z. Ma, D. Callaway, I. Hiskens, IEEE Trans. Control Syst. Technol. 21 (2013) 67–78. The
load is the German standard profile of households H25 (BDEW, 2025), 3500 kWh a year, from demandlib
(``pip install "stackpyomo[load]"``).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd
import pyomo.environ as pyo
from rich.console import Console
from rich.table import Column, Table

import stackpyomo as sp
from stackpyomo.errors import InvalidGame

OBSERVE = ["demand"]
FREE = ["price"]
WEARS = ("quadratic", "quartic")
PRICINGS = ("hourly", "flat")
FIRST, HOURS = 17, 16  # from 17:00 to 9:00 the next day, some type at the plug in each
YEARLY = 3500.0  # kWh of a household
SLOPE = 0.5  # s, €/kWh per kW: supply costs s/2 demand²
TARIFF = 0.3  # €/kWh


class Vehicle(NamedTuple):
    """A type: vehicles per household, kWh to be charged, kW at most, α in €/kW² an hour, and when it is plugged in."""

    share: float
    energy: float
    power: float
    wear: float
    arrives: int
    leaves: int


VEHICLES = {
    "commuter": Vehicle(0.30, 8.0, 3.7, 0.010, 18, 7),
    "family": Vehicle(0.15, 14.0, 7.4, 0.006, 20, 9),
    "van": Vehicle(0.05, 25.0, 11.0, 0.004, 17, 6),
}


def base_load(date: str) -> list[float]:
    """kW of a household in the hours from 17:00 of the date on."""
    try:
        from demandlib.bdew import H25
    except ImportError as error:
        raise InvalidGame(
            f'The load profile comes from demandlib, which cannot be imported ({error}); pip install "stackpyomo[load]"'
        ) from error
    try:
        hours = pd.date_range(pd.Timestamp(date).normalize() + pd.Timedelta(hours=FIRST), periods=HOURS, freq="h")
    except ValueError as error:
        raise InvalidGame(f"ev_charging date={date!r}: expected a day like 2025-01-15 ({error}).") from None
    return [float(kw) * YEARLY / 1e6 for kw in H25(hours)]  # the profile is scaled to 10⁶ kWh a year


def plugged(vehicle: Vehicle) -> list[int]:
    """The hours of the night, counted from its beginning, at which it can charge."""
    return list(range(vehicle.arrives - FIRST, vehicle.leaves + 24 - FIRST))


def build(number: float = 1000, wear: str = "quadratic", pricing: str = "hourly", date: str = "2025-01-15") -> sp.Game:
    """The utility against ``number`` vehicles of each type (``math.inf``: the mean field) in the night of ``date``."""
    for name, given, known in (("wear", wear, WEARS), ("pricing", pricing, PRICINGS)):
        if given not in known:
            raise InvalidGame(f"ev_charging {name}={given!r}: choose {' or '.join(known)}.")
    base = base_load(date)
    m = pyo.ConcreteModel(name="ev_charging")
    m.hour = pyo.RangeSet(0, HOURS - 1)
    m.base = pyo.Param(m.hour, initialize=dict(enumerate(base)))
    m.price = pyo.Var(m.hour, initialize=TARIFF)
    m.demand = pyo.Var(m.hour, initialize=dict(enumerate(base)))
    m.vehicle = pyo.Block(list(VEHICLES), rule=lambda block, name: _vehicle(block, VEHICLES[name], wear))

    def total(m: Any, t: int) -> Any:
        there = [name for name, vehicle in VEHICLES.items() if t in plugged(vehicle)]
        return m.demand[t] == m.base[t] + sum(VEHICLES[name].share * m.vehicle[name].power[t] for name in there)

    m.balance = pyo.Constraint(m.hour, rule=total)
    if pricing == "flat":
        m.tariff = pyo.Constraint(m.hour, rule=lambda m, t: m.price[t] == TARIFF)
    else:
        m.tariff = pyo.Constraint(expr=pyo.quicksum(m.price.values()) == HOURS * TARIFF)
    supply = pyo.quicksum(SLOPE / 2 * m.demand[t] ** 2 for t in m.hour)
    m.cost = pyo.Objective(expr=supply + sum(v.share * m.vehicle[name].wear for name, v in VEHICLES.items()))
    followers = [sp.Population(m.vehicle[name], number) for name in m.vehicle]
    return sp.Game(m, followers, aggregates=[m.balance], name=f"charging by night ({wear} wear, {pricing} price)")


def _vehicle(block: Any, vehicle: Vehicle, wear: str) -> None:
    hours = plugged(vehicle)
    block.power = pyo.Var(hours, bounds=(0, vehicle.power), initialize=vehicle.energy / len(hours))
    block.full = pyo.Constraint(expr=pyo.quicksum(block.power.values()) == vehicle.energy)
    harder = 1 / vehicle.power**2 if wear == "quartic" else 0.0
    block.wear = pyo.Expression(expr=pyo.quicksum(vehicle.wear * (u**2 + harder * u**4) for u in block.power.values()))
    price = block.model().price
    block.bill = pyo.Objective(expr=pyo.quicksum(price[t] * block.power[t] for t in hours) + block.wear)


def scaled(pricing: str, sizes: list[float]) -> pd.DataFrame:
    """What the incentive becomes as the vehicles grow in number."""
    game = build(sizes[0], pricing=pricing)
    m = game.model
    free = [m.price] if pricing == "hourly" else ()
    return sp.scaling(game, sizes, observe=[m.demand], free=free, multipliers="free")


def main() -> None:
    """The night hour by hour, then what each kind of price becomes with ten vehicles, a million, infinitely many."""
    game, console = build(), Console()
    m = game.model
    plan = sp.leader_optimal(game)
    left_alone = sp.nash(game, leader={m.price[t].name: TARIFF for t in m.hour})
    rule = sp.affine_incentive(plan, observe=[m.demand], free=[m.price], multipliers="free")
    report = sp.verify(rule)
    table = Table(
        *(Column(name, justify="right") for name in ("hour", "base kW", "one tariff kW", "plan kW", "price €/kWh")),
        *(Column(f"{name} kW", justify="right") for name in VEHICLES),
        title=f"{game.name}: kW a household, kW a vehicle",
        title_justify="left",
    )
    for t in m.hour:
        powers = [plan.values.get(f"vehicle[{name}].power[{t}]") for name in VEHICLES]
        table.add_row(
            f"{(FIRST + t) % 24}:00",
            f"{m.base[t]:.3f}",
            f"{left_alone.value(m.demand[t]):.3f}",
            f"{plan.value(m.demand[t]):.3f}",
            f"{rule.offset[m.price[t].name]:.4f}",
            *("" if kw is None else f"{kw:.3f}" for kw in powers),
        )
    console.print(table)
    saved = 1 - plan.leader_objective / left_alone.leader_objective
    console.print(f"The plan costs {saved:.1%} less than charging at one tariff. {report.verdict}.\n", highlight=False)
    for pricing in PRICINGS:
        growth = scaled(pricing, [10, 1000, 10**6, math.inf])
        console.print(f"{pricing} price, N of each type:\n{growth.drop(columns='seconds').to_string(index=False)}")
        console.print(f"{growth.attrs['verdict']}.\n", highlight=False, markup=False, soft_wrap=True)
    raise SystemExit(0 if report.ok else 1)


if __name__ == "__main__":
    main()
