"""Cournot competition behind a Stackelberg leader: one cheap producer moves first, N others answer, some stay out.

All sell one good at the price P = 100 − Q, Q what they produce together. The leader's unit costs 12, follower i's costs
c_i and rise with its output:

    leader    max  (P − 12) q,              q ≥ 0
    follower  max  (P − c_i) q_i − q_i²/2,  q_i ≥ 0        →   q_i = max(0, (P − c_i)/2),

for each follower knows that its own output lowers the price. The costs are spread with N, or else more and more
followers would leave nothing to decide: if all cost 12, the leader sells 44 and the margin P − 12 is 44 / (1 + N/2). In
this unit the costs lie between ``low`` and ``high``,

    c_i = 12 + 44/(1 + N/2) · (low + (high − low) t_i),      t_i = i (√5 − 1)/2 modulo 1     (i = 1 … N).

The t_i fill (0, 1) evenly at every N, in no order. With the defaults 0.25 and 3 between 33 and 50 % of the followers
stay out for N = 2 and every N ≥ 4 (of three two), and the leader sells 49 to 62. As q grows, followers leave one by
one: the leader's profit as a function of P is concave, made of parabolas, with a kink where a follower stops. At N = 50
and 100,000, say, the best point is such a kink, and one follower is just indifferent. ``low = high = 0``: all cost 12.

A. A. Cournot, Recherches sur les principes mathématiques de la théorie des richesses, 1838; H. von Stackelberg,
Marktform und Gleichgewicht, 1934.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pyomo.environ as pyo
from rich.console import Console
from rich.table import Column, Table

import stackpyomo as sp
from stackpyomo.errors import InvalidGame

CHOKE = 100.0  # the price at which nobody buys
LEADER_COST = 12.0
LOW, HIGH = 0.25, 3.0
SHOWN = 12

EXPECTED = {"leader_objective": 788.6012603136124, "quantity": 56.16409031805331}  # of build(); see optimum()


class Optimum(NamedTuple):
    """The leader's best point: what it sells, its profit, the price, and how many followers produce."""

    quantity: float
    profit: float
    price: float
    active: int


def costs(n: int, low: float = LOW, high: float = HIGH) -> np.ndarray:
    """c_1 … c_n."""
    spread = np.arange(1, n + 1) * ((math.sqrt(5) - 1) / 2) % 1
    return LEADER_COST + 44 / (1 + n / 2) * (low + (high - low) * spread)


def build(n: int = 10, low: float = LOW, high: float = HIGH) -> sp.Game:
    """The leader against ``n`` followers; ``low``, ``high``: where the followers' costs lie, see above."""
    if not (n >= 1 and 0 <= low <= high):
        raise InvalidGame(f"cournot n={n}, low={low}, high={high}: expected n ≥ 1 and 0 ≤ low ≤ high.")
    c = costs(n, low, high)
    m = pyo.ConcreteModel(name=f"cournot_{n}")
    m.quantity = pyo.Var(bounds=(0, CHOKE), initialize=CHOKE / 2)
    m.rivals = pyo.Var(initialize=0.0)
    m.price = pyo.Expression(expr=CHOKE - m.quantity - m.rivals)

    def firm(block: Any, i: int) -> None:
        block.quantity = q = pyo.Var(bounds=(0, None), initialize=0.0)
        block.profit = pyo.Objective(expr=(m.price - float(c[i - 1])) * q - q**2 / 2, sense=pyo.maximize)

    m.firm = pyo.Block(range(1, n + 1), rule=firm)
    m.supply = pyo.Constraint(expr=m.rivals == pyo.quicksum(m.firm[i].quantity for i in m.firm))
    m.profit = pyo.Objective(expr=(m.price - LEADER_COST) * m.quantity, sense=pyo.maximize)
    return sp.Game(m, followers=m.firm, aggregates=[m.supply], name=f"Cournot, {n} followers")


def optimum(n: int, low: float = LOW, high: float = HIGH) -> Optimum:
    """The leader's best point in closed form.

    While the k cheapest produce (c_k ≤ P ≤ c_{k+1}, in order), q = 100 − P − Σ_{j ≤ k} (P − c_j)/2 and (P − 12) q is a
    parabola; the best of the k pieces wins. Free of rounding by working with the margins P − 12.
    """
    margins = np.sort(costs(n, low, high) - LEADER_COST)
    k = np.arange(n + 1)
    room = CHOKE - LEADER_COST + np.concatenate([[0.0], np.cumsum(margins)]) / 2
    start = np.concatenate([[0.0], margins])
    end = np.concatenate([margins, [CHOKE - LEADER_COST]])
    margin = np.clip(room / (2 + k), start, end)
    quantity = room - (1 + k / 2) * margin
    profit = np.where(quantity >= 0, margin * quantity, -np.inf)
    best = int(np.argmax(profit))
    active = int(np.count_nonzero(margins < margin[best]))
    return Optimum(float(quantity[best]), float(profit[best]), LEADER_COST + float(margin[best]), active)


def main() -> None:
    """The leader's plan without an incentive, next to what it would earn at the Cournot output."""
    n = 10
    game = build(n)
    plan = sp.stackelberg(game)
    simultaneous = _cournot_quantity(n)
    cournot = sp.nash(game, leader={"quantity": simultaneous})
    c, console = costs(n), Console()
    table = Table(
        *(Column(name, justify="right") for name in ("firm", "unit cost", "output", "profit", "Cournot output")),
        title=f"{game.name}: the leader moves first, no incentive",
        title_justify="left",
    )
    rows = [("leader", LEADER_COST, "quantity", plan.leader_objective)]
    rows += [(str(i), c[i - 1], f"firm[{i}].quantity", plan.follower_objectives[f"firm[{i}]"]) for i in range(1, n + 1)]
    for name, cost, quantity, profit in rows:
        amount = plan.value(quantity)
        out = "out" if amount <= 1e-9 else f"{amount:.4f}"
        table.add_row(name, f"{cost:.4f}", out, f"{profit + 0.0:.4f}", f"{abs(cournot.value(quantity)):.4f}")
    console.print(table)
    best = optimum(n)
    console.print(
        f"{plan.quality} ({plan.solver}). Price {best.price:.4f}. Closed form: the leader earns {best.profit:.6f}; "
        f"difference {abs(plan.leader_objective - best.profit):.1e}.\n"
        f"At the Cournot output it would earn {cournot.leader_objective:.6f}.\n",
        highlight=False,
        soft_wrap=True,
    )
    report = sp.verify(plan)
    console.print(str(report), highlight=False, soft_wrap=True)
    raise SystemExit(0 if report.ok else 1)


def _cournot_quantity(n: int) -> float:
    """The leader's output if all choose at once: q = P − 12, everybody's best answer (bisection on P)."""
    margins = costs(n) - LEADER_COST
    low, high = 0.0, CHOKE - LEADER_COST
    for _ in range(200):
        middle = (low + high) / 2
        supply = middle + np.maximum(0.0, (middle - margins) / 2).sum()
        low, high = (middle, high) if CHOKE - LEADER_COST - middle > supply else (low, middle)
    return low


if __name__ == "__main__":
    main()
