"""Small plants under one tariff: which form of it holds them at the cheapest commitment.

An operator (leader) has to serve a whole number of MW in the coming hour at the least expense: what it costs the
plants, and n/2 € to dispatch the n-th of a kind. Plants (followers) are off, or on at a whole number w of MW between
their least and their capacity. At a price p for a MWh and perhaps a payment s_k for a start (a charge if negative), a
plant of kind k minimises

    F_k on + c_k w − p w − s_k on,      least_k on ≤ w ≤ capacity_k on

    kind    capacity  least  start F  unit cost c        Units, MW, € and €/MWh: the smokestack, high tech and med tech
    smoke         16      0       53            3        plants of H. Scarf, J. Econ. Perspectives 8(4) (1994) 111-128,
    high           7      0       30            2        as changed by W. Hogan, B. Ring, On minimum-uplift pricing for
    med            6      2        0            7        electricity markets, Harvard University (2003).

Costs are not convex, so that a price alone holds the plan for few demands. ``TARIFFS``, all without discrimination
but the third, announce

    one price             p
    total seen            p + K (total − demand), seen and paid by everybody
    plants seen           p + Σ K_i (w_i − w_i*)
    starts paid           p, s_smoke, s_high, s_med: each kind has its own, each plant of the kind the same

Where there is none, ``NoIncentive.deviations`` is a lottery over what plants might do instead that leaves what is seen
and paid as it is on average, and costs less: whatever p and K, somebody likes a part of it. The remedy is to see more,
another form of the price, or another plan. Start payments are those of R. O'Neill, P. Sotkiewicz, B. Hobbs,
M. Rothkopf, W. Stewart, European J. Operational Research 164 (2005) 269-285, here one for all plants of a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd
import pyomo.environ as pyo

import stackpyomo as sp


class Kind(NamedTuple):
    """``capacity`` and ``least`` output in MW, ``start`` in €, ``unit`` cost in €/MWh."""

    capacity: int
    least: int
    start: float
    unit: float


KINDS = {"smoke": Kind(16, 0, 53.0, 3.0), "high": Kind(7, 0, 30.0, 2.0), "med": Kind(6, 2, 0.0, 7.0)}
FLEET = {"smoke": 2, "high": 2, "med": 2}
DEMAND = 44  # MW
DEMANDS = range(40, 47)  # MW
EXPECTED = {"leader_objective": 283.5, "one price": 25 / 12, "total seen": 4 / 19}


class Tariff(NamedTuple):
    """``starts``: whether starts are paid; ``seen``: the signals; ``options`` of ``sp.affine_incentive``."""

    starts: bool
    seen: Callable[[Any], list[Any]]
    options: Mapping[str, Any] = {}


def _total(m: Any) -> list[Any]:
    return [m.total]


CONSTANT = {"gain_bounds": (0, 0)}
TARIFFS = {
    "one price": Tariff(False, _total, CONSTANT),
    "total seen": Tariff(False, _total),
    "plants seen": Tariff(False, lambda m: [plant.output for plant in m.plant.values()]),
    "starts paid": Tariff(True, _total, CONSTANT),
}


def build(demand: int = DEMAND, fleet: Mapping[str, int] = FLEET, *, starts: bool = False) -> sp.Game:
    """The operator against the plants; ``starts``: it may pay them for a start, too."""
    m = pyo.ConcreteModel(name="unit_commitment")
    kind = {f"{name}{number}": (name, number) for name, count in fleet.items() for number in range(1, count + 1)}
    m.price = pyo.Var(initialize=0)
    m.start = pyo.Var(list(KINDS), initialize=0)
    if not starts:
        m.start.fix(0)
    m.plant = pyo.Block(list(kind), rule=lambda block, name: _plant(block, *kind[name]))
    m.total = pyo.Expression(expr=pyo.quicksum(plant.output for plant in m.plant.values()))
    m.served = pyo.Constraint(expr=m.total == demand)
    m.expense = pyo.Objective(expr=pyo.quicksum(plant.cost + plant.dispatch for plant in m.plant.values()))
    return sp.Game(m, followers=m.plant, name=f"unit commitment, {demand} MW")


def _plant(block: Any, kind: str, number: int) -> None:
    m, data = block.model(), KINDS[kind]
    block.on = pyo.Var(domain=pyo.Binary, initialize=0)
    block.output = pyo.Var(domain=pyo.NonNegativeIntegers, bounds=(0, data.capacity), initialize=0)
    block.most = pyo.Constraint(expr=block.output <= data.capacity * block.on)
    block.least = pyo.Constraint(expr=block.output >= data.least * block.on)
    block.cost = pyo.Expression(expr=data.start * block.on + data.unit * block.output)
    block.dispatch = pyo.Expression(expr=number / 2 * block.on)
    block.loss = pyo.Objective(expr=block.cost - m.price * block.output - m.start[kind] * block.on)


def commitment(**outputs: int) -> sp.Plan:
    """A plan by what its plants give, MW, as a commitment that somebody else has chosen; the others are off."""
    game = build(sum(outputs.values()))
    for name, output in outputs.items():
        game.model.plant[name].on.set_value(1)
        game.model.plant[name].output.set_value(output)
    return sp.Plan.from_values(game)


def tariff(form: str, demand: int = DEMAND, plan: sp.Plan | None = None, **options: Any) -> sp.Incentive:
    """The tariff of a form that holds all plants at a plan with the least answers to deviations.

    plan: the cheapest commitment for the demand if None.
    """
    chosen = TARIFFS[form]
    plan = plan or sp.leader_optimal(build(demand, starts=chosen.starts))
    m = plan.attached().model
    free = [m.price, m.start] if chosen.starts else [m.price]
    return sp.affine_incentive(plan, observe=chosen.seen(m), free=free, **{**chosen.options, **options})


def regret(form: str, demand: int = DEMAND) -> float:
    """What a plant gains at most under the best tariff of the form, €, proved least: 0 where it holds everybody."""
    return tariff(form, demand, regret="least").epsilon


def regrets(demands: Iterable[int] = DEMANDS, forms: Iterable[str] = tuple(TARIFFS)) -> pd.DataFrame:
    """``regret`` by demand and form."""
    rows = {demand: {form: regret(form, demand) for form in forms} for demand in demands}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("MW")


def gains(rule: sp.Incentive, name: str) -> pd.Series:
    """What a plant gains under a tariff of the price alone by every other output it could have, €, by output."""
    m = rule.plan.attached().model
    plant, data = m.plant[name], KINDS[name.rstrip("0123456789")]
    planned, seen = rule.plan.value(plant.output), (m.total.name, plant.output.name)
    answer = sum(float(rule.gain.loc[m.price.name, signal]) for signal in seen if signal in rule.gain)

    def profit(output: float) -> float:
        price = rule.offset[m.price.name] + answer * (output - planned)
        return price * output - data.unit * output - data.start * (output > 0)

    outputs = [0, *range(max(data.least, 1), data.capacity + 1)]
    return pd.Series([profit(w) - profit(planned) for w in outputs], index=pd.Index(outputs, name="MW"), name=name)


def bill(rule: sp.Incentive) -> float:
    """What the operator pays on the plan, €."""
    return -float(rule.payments.sum())


def main() -> None:
    """The plan, then every form of tariff: the certificate that there is none, or the incentive and its report."""
    plan = sp.leader_optimal(build())
    on = {name: f"{plan.value(block.output):.0f} MW" for name, block in plan.attached().model.plant.items()}
    print(f"{DEMAND} MW at {plan.leader_objective:.2f} € ({plan.quality}): {on}")
    proved = True
    for form in TARIFFS:
        print(f"\n{form}")
        try:
            rule = tariff(form)
        except sp.NoIncentive as refusal:
            print(f"{refusal}\n{refusal.deviations[['follower', 'action', 'weight', 'exact']].to_string(index=False)}")
            print(f"The best of them leaves a plant a gain of up to {regret(form):.4f} €.")
            continue
        report = sp.verify(rule)
        proved &= report.ok
        print(f"{rule}\n{report}\nThe operator pays {bill(rule):.2f} €.")
    print(f"\nWhat a plant gains at most, €:\n{regrets((42, 43, 44)).round(4).to_string()}")
    raise SystemExit(0 if proved else 1)


if __name__ == "__main__":
    main()
