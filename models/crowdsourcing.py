"""A crowdsourcing contract: a platform pays workers for quality that they alone know the cost of.

Worker i spends effort e_i ≥ 0, which is the quality of its work, and is paid p_i; the platform values the average
quality q of its N workers, each unit a little less than the one before. Per worker,

    platform   max  v q − s q²/2 − (p_1 + … + p_N)/N,    q = (e_1 + … + e_N)/N
    worker     max  p_i − c_i e_i²/2,                    p_i − c_i e_i²/2 ≥ r_i        (the outside option)

At a constant pay nobody works. The platform would like effort to be paid at its marginal value μ = v − s q, which is

    μ = v / (1 + s mean(1/c)),     e_i* = μ/c_i,     p_i* = r_i + ρ + μ²/(2 c_i)        (ρ: the rent it leaves them)

and the contract that brings it about is affine in what it observes:

- each worker's own quality (``OBSERVE``): p_i = p_i* + μ (e_i − e_i*), one bonus μ for all, on a base pay of
  p_i* − μ e_i* = r_i + ρ − μ²/(2 c_i). It may be negative: then the worker buys the right to the bonus. Under limited
  liability (pay ≥ 0) max(0, p_i) is announced (``saturate=True``); with r_i + ρ ≥ 0 doing nothing still does not pay.
- the average alone (``AVERAGE``): p_i = p_i* + N μ (q − q*). One worker moves the average by 1/N, so that the bonus has
  to be N times as steep: it has no limit, and infinitely many workers cannot be held by it.

The incentive says which effort is best for those who stay. That they stay is the platform's own constraint, on its
plan: it holds with equality (ρ = 0: the platform keeps the whole surplus), and ``main`` shows both payoffs. All figures
are synthetic; the contract is the textbook's under hidden action without risk: J.-J. Laffont, D. Martimort, The Theory
of Incentives, Princeton 2002, chapter 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyomo.environ as pyo
from rich.console import Console
from rich.table import Column, Table

import stackpyomo as sp
from stackpyomo.errors import InvalidGame

COSTS = (1.0, 1.25, 1.6, 2.0, 4.0)  # c
VALUE, SATURATION = 10.0, 2.0  # v, s
OUTSIDE = 3.0  # r

OBSERVE = "actions"
AVERAGE = ["quality"]


class Contract(NamedTuple):
    """What the closed form says: per worker, but for the bonus, the average quality and the profit."""

    effort: np.ndarray
    pay: np.ndarray
    base: np.ndarray
    bonus: float
    quality: float
    profit: float


def contract(
    costs: Sequence[float] = COSTS,
    value: float = VALUE,
    saturation: float = SATURATION,
    outside: float = OUTSIDE,
    rent: float = 0.0,
) -> Contract:
    """The platform's best contract in closed form, see above."""
    c = np.array(costs, dtype=float)
    bonus = value / (1 + saturation * float(np.mean(1 / c)))
    effort = bonus / c
    pay = outside + rent + c * effort**2 / 2
    quality = float(effort.mean())
    profit = value * quality - saturation / 2 * quality**2 - float(pay.mean())
    return Contract(effort, pay, pay - bonus * effort, bonus, quality, profit)


def build(
    costs: Sequence[float] = COSTS,
    value: float = VALUE,
    saturation: float = SATURATION,
    outside: float = OUTSIDE,
    rent: float = 0.0,
    size: float = 1,
    liable: bool = True,
) -> sp.Game:
    """The platform against one worker of each cost, or against ``size`` of each, with one pay for all of a kind.

    liable: workers may be made to pay (a negative pay); else pay ≥ 0.
    """
    if not (costs and min(costs) > 0 and value > 0 and saturation >= 0 and size >= 1):
        raise InvalidGame(
            f"crowdsourcing costs={costs}, value={value}, saturation={saturation}, size={size}: "
            "expected costs > 0, value > 0, saturation ≥ 0 and size ≥ 1."
        )
    m = pyo.ConcreteModel(name=f"crowdsourcing_{len(costs)}")
    m.K = pyo.RangeSet(len(costs))
    m.pay = pyo.Var(m.K, bounds=(None if liable else 0, None), initialize=outside + rent)
    m.quality = pyo.Var(initialize=1.0)

    def worker(block: Any, k: int) -> None:
        block.effort = pyo.Var(bounds=(0, 2 * value / costs[k - 1]), initialize=1.0)
        block.payoff = pyo.Objective(expr=m.pay[k] - costs[k - 1] * block.effort**2 / 2, sense=pyo.maximize)

    m.worker = pyo.Block(m.K, rule=worker)
    m.average = pyo.Constraint(expr=len(costs) * m.quality == pyo.quicksum(m.worker[k].effort for k in m.K))
    m.stays = pyo.Constraint(m.K, rule=lambda m, k: m.worker[k].payoff.expr >= outside + rent)
    worth = value * m.quality - saturation / 2 * m.quality**2
    m.profit = pyo.Objective(expr=worth - pyo.quicksum(m.pay.values()) / len(costs), sense=pyo.maximize)
    followers = m.worker if size == 1 else [sp.Population(m.worker[k], size) for k in m.K]
    return sp.Game(m, followers=followers, aggregates=[m.average], name=f"crowdsourcing, {len(costs) * size:g} workers")


def main() -> None:
    """The contract worker by worker, next to its closed form and the outside option; then larger and larger teams."""
    console = Console()
    game = build()
    plan = sp.leader_optimal(game)
    rule = sp.affine_incentive(plan)
    report = sp.verify(rule)
    console.print(_contracts(rule))
    constant = sp.stackelberg(game)
    best = contract()
    for line in (
        f"Profit per worker {plan.leader_objective:.4f} ({plan.quality}); closed form {best.profit:.4f}, "
        f"bonus {best.bonus:.4f}. At a constant pay {constant.leader_objective:.4f}: nobody works.",
        report.verdict,
        f"Paid for the average alone: {sp.verify(sp.affine_incentive(plan, AVERAGE)).verdict}",
        f"Limited liability: {_limited()}\n",
    ):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(_teams())
    raise SystemExit(0 if report.ok else 1)


def _contracts(rule: sp.Incentive) -> Table:
    names = ("worker", "cost", "effort", "contract", "closed form", "payoff", "outside")
    title = "What each worker is offered: base pay + bonus · e"
    table = Table(*(Column(name, justify="right") for name in names), title=title, title_justify="left")
    best, plan = contract(), rule.plan
    for k, cost in enumerate(COSTS, start=1):
        effort, pay = plan.value(f"worker[{k}].effort"), rule.offset[f"pay[{k}]"]
        bonus = rule.gain.loc[f"pay[{k}]", f"worker[{k}].effort"]
        payoff = plan.follower_objectives[f"worker[{k}]"]
        offers = ((pay - bonus * effort, bonus), (best.base[k - 1], best.bonus))
        written = (f"{base:.2f} + {slope:.2f} e" for base, slope in offers)
        table.add_row(str(k), f"{cost:.2f}", f"{effort:.3f}", *written, f"{payoff:.3f}", f"{OUTSIDE:.3f}")
    return table


def _limited() -> str:
    """What is announced where the bonus would make a lazy worker pay, and whether it holds."""
    rule = sp.affine_incentive(sp.leader_optimal(build(liable=False)), saturate=True)
    return f"max(0, pay) is announced to {len(rule.excursions)} of {len(COSTS)}; {sp.verify(rule).verdict}"


def _teams() -> Table:
    """Kinds of ``size`` equal workers, paid by their own quality or by everybody's average."""
    names = ("workers of each kind", "bonus on own quality", "bonus on the average")
    table = Table(*(Column(name, justify="right") for name in names), title="One pay for all of a kind")
    for size in (1, 10, 100, math.inf):
        plan = sp.leader_optimal(build(size=size))
        own = sp.affine_incentive(plan).gain.loc["pay[1]", "worker[1].effort"]
        try:
            team = f"{sp.affine_incentive(plan, AVERAGE).gain.loc['pay[1]', 'quality']:.3f}"
        except sp.NoIncentive as refused:
            team = refused.causes["worker[1]"].value
        table.add_row(f"{size:g}", f"{own:.3f}", team)
    return table


if __name__ == "__main__":
    main()
