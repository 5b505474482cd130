"""A storage contract over several periods: payments of tomorrow for what the storage did until today.

A grid operator (leader) would like an owner of storage (follower) to discharge when demand is high. Demand in period t
is d_t = 1 + z_t with an independent shock z_t, which both see at the start of the period; what the operator generates
costs exp. The owner sells q_t at a flat price and wears the storage down by q²/2 + q⁴/4 (q < 0: it charges):

    operator  min E Σ_t [ exp(d_t − q_t) + r b_t² ]
    owner     min E Σ_t [ q_t²/2 + q_t⁴/4 − price · q_t − b_t ]
              s.t. 0 ≤ level_t = start − q_1 − … − q_t ≤ capacity,  |q_t| ≤ rate,  level_T ≥ last,  along every history

The operator pays b_t at the start of period t = 2 … T + 1, after it has seen the shocks up to t and what the owner did
before t, never what it does in t or later. By itself it pays nothing. An action in the history h at period s can be
answered in T + 1 − s periods; the gain of least energy answers it in each of them alike, in every history that goes on
from h, and with a_s(h) the owner's marginal cost there,

    b_t = Σ_{s < t} K_s(h_s) (q_s − q_s*),      K_s(h) = a_s(h)/(T + 1 − s),    a = q + q³ − price,

so that over the periods the owner gets back what a unit more costs it, and no more.
"""

from __future__ import annotations

import math
from typing import Any

import pyomo.environ as pyo
from rich.console import Console
from rich.table import Column, Table

import stackpyomo as sp
from stackpyomo.errors import InvalidGame

EXPECTED = {"leader_objective": 8.302298590543085}  # of build(): SLSQP on the problem written out, see its test


def shocks(periods: int, low: float, high: float, chance: float) -> sp.Scenarios:
    """Independent shocks z1 … zT, high with probability ``chance``; h_t is their history up to t."""
    each = [sp.Scenarios({f"z{t}": [low, high]}, [1 - chance, chance]) for t in range(1, periods + 1)]
    histories = {f"h{t}": [f"z{s}" for s in range(1, t + 1)] for t in range(1, periods + 1)}
    return sp.Scenarios.product(*each, observations=histories)


def build(
    periods: int = 3,
    low: float = -0.5,
    high: float = 1.0,
    chance: float = 0.4,
    price: float = 1.5,
    start: float = 1.0,
    capacity: float = 1.5,
    rate: float = 1.0,
    last: float = 0.25,
    cost: float = 0.1,
) -> sp.Game:
    """Operator and owner over ``periods``; ``cost`` is r, what the operator loses by a payment squared."""
    numbers = (low, high, chance, price, start, capacity, rate, last, cost)
    whole = isinstance(periods, int) and not isinstance(periods, bool)
    if not whole or periods < 1 or not all(math.isfinite(v) for v in numbers):
        raise InvalidGame(f"storage_contract periods={periods!r}: expected an integer from 1 on, all else finite.")
    if not (0 < chance < 1 and 0 <= start <= capacity and 0 <= last <= capacity and min(rate, cost) > 0):
        raise InvalidGame("storage_contract: expected 0 < chance < 1, 0 ≤ start, last ≤ capacity, rate > 0, cost > 0.")
    scenarios = shocks(periods, low, high, chance)
    m = pyo.ConcreteModel(name=f"storage_contract_{periods}")
    m.scenarios = scenarios
    m.owner, m.pay = pyo.Block(), pyo.Block(range(2, periods + 2))
    m.owner.stage = pyo.Block(range(1, periods + 1))
    for t, block in m.pay.items():
        block.bonus = pyo.Var(scenarios.atoms(_known(t, periods)), initialize=0.0)
    for t, block in m.owner.stage.items():
        block.sold = pyo.Var(scenarios.atoms(f"h{t}"), bounds=(-rate, rate), initialize=0.0)

    def sold(t: int, w: int) -> Any:
        return m.owner.stage[t].sold[scenarios.atom(f"h{t}", w)]

    def bonuses(w: int) -> list[Any]:
        return [m.pay[t].bonus[scenarios.atom(_known(t, periods), w)] for t in m.pay]

    for t, block in m.owner.stage.items():
        block.room = pyo.Constraint(pyo.Any)
        for history in scenarios.atoms(f"h{t}"):
            w = scenarios.members(f"h{t}", history)[0]
            level = start - sum(sold(s, w) for s in range(1, t + 1))
            block.room[history] = (last if t == periods else 0.0, level, capacity)

    def runs(w: int) -> Any:
        demand = [1 + float(scenarios[f"z{t}"][w]) for t in m.owner.stage]
        return sum(pyo.exp(d - sold(t, w)) for t, d in enumerate(demand, 1)) + cost * sum(b**2 for b in bonuses(w))

    def owns(w: int) -> Any:
        trade = [sold(t, w) for t in m.owner.stage]
        return sum(q**2 / 2 + q**4 / 4 - price * q for q in trade) - sum(bonuses(w))

    m.goal = pyo.Objective(expr=scenarios.expectation(runs))
    m.owner.cost = pyo.Objective(expr=scenarios.expectation(owns))
    return sp.Game(m, followers=m.owner, name=f"storage contract, {periods} periods")


def _known(t: int, periods: int) -> str:
    """What is known when period t starts; period T + 1 has no shock of its own."""
    return f"h{min(t, periods)}"


def observed(game: sp.Game) -> pyo.ComponentMap:
    """b_t answers what the owner did before t, in the histories that led to where the operator stands."""
    m = game.model
    found, periods = pyo.ComponentMap(), len(m.owner.stage)
    for t, block in m.pay.items():
        past = [(m.owner.stage[s].sold, f"h{s}") for s in range(1, t)]
        found.update(m.scenarios.observe(block.bonus, past, knows=_known(t, periods)))
    return found


def energy(game: sp.Game) -> pyo.ComponentMap:
    """The probability of each payment's history."""
    m = game.model
    found, periods = pyo.ComponentMap(), len(m.owner.stage)
    for t, block in m.pay.items():
        found.update(m.scenarios.energy(block.bonus, knows=_known(t, periods)))
    return found


OBSERVE = observed


def main() -> None:
    """Plan and contract, history by history, and what the owner could gain without it."""
    game = build()
    plan = sp.leader_optimal(game)
    rule = sp.affine_incentive(plan, observed(game), energy=energy(game))
    report = sp.verify(rule)
    m, console = game.model, Console()
    table = Table(
        *(Column(name, justify="right") for name in ("period", "shocks so far", "sold", "gain of each later payment")),
        title=f"{game.name}: the operator's plan",
        title_justify="left",
    )
    for t, block in m.owner.stage.items():
        for history in m.scenarios.atoms(f"h{t}"):
            action = block.sold[history]
            shown = ", ".join(f"{z:g}" for z in (history if isinstance(history, tuple) else (history,)))
            gains = rule.matrix[:, [rule.signals.index(action.name)]].data
            table.add_row(str(t), shown, f"{plan.value(action):.4f}", f"{gains.mean():.4f}")
    console.print(table)
    console.print(
        f"Without a contract the owner could gain {sp.verify(plan).epsilon:.4f} by leaving this plan.\n{report}",
        highlight=False,
        soft_wrap=True,
    )
    raise SystemExit(0 if report.ok else 1)


if __name__ == "__main__":
    main()
