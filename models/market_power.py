"""Market power on a grid: one generator names its price, the market operator clears the grid and pays nodal prices.

Unit s of the 30-bus grid of ``models/grid_prices.py`` (leader) offers its output q_s at o + 2 c2_s q_s $/MWh, where its
marginal cost is c1_s + 2 c2_s q_s; every other unit offers at cost. The market operator (follower) believes the offers:

    unit s    max_o  π_s q_s − c2_s q_s² − c1_s q_s,          c1_s ≤ o ≤ cap
    market    min_q,θ  Σ_g c2_g q_g² + Σ_{g ≠ s} c1_g q_g + o q_s,    lower_g ≤ q_g ≤ upper_g,
              Σ_{g at i} q_g − Σ_{l from i} f_l + Σ_{l to i} f_l = demand_i   (price π_i),    |f_l| ≤ limit_l,

with the DC flows f_l(θ) of that model. The price at bus i is the multiplier of its balance: what one MW more there adds
to the cost of the offers. The market is strictly convex in q, so that each offer has one answer. To offer below cost
never pays: more output can only lower the price of its bus.

Without full lines, and the others strictly between their limits, there is one price π for all, and what is left to s
falls with it: q_s = D + α − β π, α = Σ_{g ≠ s} c1_g / (2 c2_g), β = Σ_{g ≠ s} 1 / (2 c2_g), D all demand. Then

    q_s = ((D + α)/β − c1_s) / (2 (1/β + c2_s)),      o = π − 2 c2_s q_s

is best (``uncongested``). With line limits the same unit may relieve a full line far better than any other: then what
it sells hardly falls with its offer, and only the cap ends that. The offer curve with a strategic intercept is that of
B. Hobbs, C. Metzler, J.-S. Pang, Strategic gaming analysis for electric power systems: an MPEC approach, IEEE Trans.
Power Syst. 15(2):638-645, 2000.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd
import pyomo.environ as pyo

import stackpyomo as sp
from models.grid_prices import Generator, Grid, add_power_flow, read_ieee30
from stackpyomo.errors import InvalidGame

UNIT, DEMAND, CAP = 4, 1.2, 8.0  # the unit at bus 27; 120 % of the demand in the data; $/MWh
EXPECTED = {"leader_objective": 63.775590, "at cost": 16.833155}  # $/h of build(): HiGHS on shift factors, see its test


class Optimum(NamedTuple):
    """Best offer ($/MWh), output (MW), price ($/MWh) and profit ($/h)."""

    offer: float
    output: float
    price: float
    profit: float


def grid_at(demand: float, *, limited: bool = True) -> Grid:
    """The 30-bus grid with its demand times ``demand``; ``limited=False``: lines carry whatever comes."""
    grid = read_ieee30()
    lines = grid.branches if limited else [line._replace(limit=math.inf) for line in grid.branches]
    return grid._replace(buses=[bus._replace(demand=demand * bus.demand) for bus in grid.buses], branches=lines)


def build(unit: int = UNIT, demand: float = DEMAND, cap: float = CAP, limited: bool = True) -> sp.Game:
    """The game of one unit (1 to 6) that offers at ``cap`` $/MWh at most; see :func:`grid_at` for the others."""
    grid = grid_at(demand, limited=limited)
    units = dict(enumerate(grid.generators, start=1))
    if unit not in units or not units[unit].linear <= cap < math.inf or not 0 < demand < math.inf:
        raise InvalidGame(
            f"market_power unit={unit}, demand={demand}, cap={cap}: expected a unit from 1 to {len(units)}, a finite "
            "demand > 0, and a finite cap that is not below the unit's linear cost."
        )
    m = pyo.ConcreteModel(name="market_power")
    m.offer = pyo.Var(bounds=(units[unit].linear, cap), initialize=units[unit].linear)
    m.price = pyo.Var(initialize=0)
    m.market = market = pyo.Block()
    market.output = q = pyo.Var(list(units), bounds=lambda _, g: (units[g].lower, units[g].upper))
    add_power_flow(market, grid, list(q.values()))
    m.cost = pyo.Expression(list(units), rule=lambda _, g: _cost(units[g], q[g]))
    offers = pyo.quicksum(m.cost[g] for g in units if g != unit) + _cost(units[unit]._replace(linear=m.offer), q[unit])
    market.offers = pyo.Objective(expr=offers)
    m.profit = pyo.Objective(expr=m.price * q[unit] - m.cost[unit], sense=pyo.maximize)
    return sp.Game(m, followers=market, prices=[(m.price, market.balance[units[unit].bus])], name="market power")


def _cost(unit: Generator, output: Any) -> Any:
    return unit.quadratic * output**2 + unit.linear * output + unit.constant


def at_cost(game: sp.Game) -> sp.Plan:
    """The competitive outcome: the unit offers at its cost."""
    return sp.nash(game, leader={"offer": game.model.offer.lb})


def uncongested(unit: int = UNIT, demand: float = DEMAND) -> Optimum:
    """The best offer in closed form, if no line is full and the others stay strictly between their limits."""
    grid = grid_at(demand)
    own = grid.generators[unit - 1]
    others = [generator for number, generator in enumerate(grid.generators, start=1) if number != unit]
    most = sum(bus.demand + bus.shunt for bus in grid.buses) + sum(g.linear / (2 * g.quadratic) for g in others)
    slope = sum(1 / (2 * g.quadratic) for g in others)
    output = (most / slope - own.linear) / (2 * (1 / slope + own.quadratic))
    price = (most - output) / slope
    return Optimum(price - 2 * own.quadratic * output, output, price, price * output - _cost(own, output))


def prices(plan: sp.Plan) -> pd.Series:
    """Bus → nodal price, $/MWh."""
    balance = plan.attached().model.market.balance
    return pd.Series({bus: plan.multipliers[row.name] for bus, row in balance.items()}).rename_axis("bus")


def bill(plan: sp.Plan) -> pd.Series:
    """What consumers pay, $/h, and who has it: profits, production cost, and the operator the rent of full lines."""
    m, nodal = plan.attached().model, prices(plan)
    grid = read_ieee30()
    plan.load()
    paid = sum(nodal[bus] * pyo.value(row.upper) for bus, row in m.market.balance.items())
    cost = {g: pyo.value(m.cost[g]) for g in m.cost}
    profit = {g: nodal[unit.bus] * m.market.output[g].value - cost[g] for g, unit in enumerate(grid.generators, 1)}
    own = pyo.value(m.profit)
    rest = {"the unit": own, "other units": sum(profit.values()) - own, "production": sum(cost.values())}
    return pd.Series({"consumers pay": paid, **rest, "full lines": paid - sum(rest.values())})


def main() -> None:
    """Offered at cost and with power: offer, price, and who pays whom; then the report."""
    game = build()
    m, plan = game.model, sp.stackelberg(game, proof_seconds=60)
    table = {}
    for name, each in {"at cost": at_cost(game), "strategic": plan}.items():
        table[name] = pd.concat([pd.Series({"offer": each.value(m.offer), "price": each.value(m.price)}), bill(each)])
    print(f"{game.name}: unit {UNIT} ($/MWh and $/h), {plan.quality}\n{pd.DataFrame(table).round(4).to_string()}\n")
    print(f"Without line limits it could earn {uncongested().profit:.4f} $/h.\n")
    print(report := sp.verify(plan))
    raise SystemExit(0 if report.ok else 1)


if __name__ == "__main__":
    main()
