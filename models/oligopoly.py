"""An oligopoly with a leader: five firms sell one good, firm 1 chooses its output before the others.

Together the firms produce Q, which consumers buy at the price p(Q) = 5000^(1/γ) Q^(−1/γ). Firm i maximises

    q_i p(Q) − f_i(q_i),        f_i(q) = c_i q + β_i/(1+β_i) K^(−1/β_i) q^((1+β_i)/β_i),        0 ≤ q_i ≤ bound,

with c = (10, 8, 6, 4, 2), β = (1.2, 1.1, 1.0, 0.9, 0.8), K = 5, so that the marginal cost is c_i + (q/K)^(1/β_i). Firms
2 to 5 answer by a Cournot equilibrium, each aware that its own output moves the price:

    p(Q) + q_i p'(Q) = f_i'(q_i),        p'(Q) = −p(Q) / (γ Q)        (if 0 < q_i < bound).

``variant``: "mss" is the model as published (F. Murphy, H. Sherali, A. Soyster, Math. Program. 24 (1982) 92–106; with
a leader H. Sherali, A. Soyster, F. Murphy, Oper. Res. 31 (1983) 253–276; profits at bound = 150 in GAMS's ``mss``).
"gnash1" is what MacMPEC ships as gnash1 and gnash1m (S. Leyffer, after F. Facchinei, H. Jiang, L. Qi, Math. Program. 85
(1999) 107–134): its rows for the followers lack one exponent and read c_i + K^(−1/β_i) q, the marginal cost of

    f_i(q) = c_i q + K^(−1/β_i) q²/2        (followers only; the leader's cost is the published one).

The two agree for firm 3 alone, whose β is 1. In "gnash1" the other firms' costs differ: the leader earns 230.82 instead
of 343.35 at γ = 1 and bound = 150.
"""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo
from rich.console import Console
from rich.table import Column, Table

import stackpyomo as sp
from stackpyomo.errors import InvalidGame

UNIT_COST = {1: 10.0, 2: 8.0, 3: 6.0, 4: 4.0, 5: 2.0}  # c
ELASTICITY = {1: 1.2, 2: 1.1, 3: 1.0, 4: 0.9, 5: 0.8}  # β
SCALE = 5.0  # K
DEMAND = 5000.0
VARIANTS = ("mss", "gnash1")
START = 30.0

EXPECTED = {"leader_objective": 343.3453}  # of build(), as published with GAMS's mss
PUBLISHED = {
    # (variant, γ, bound): the leader's profit
    ("mss", 1.0, 150.0): 343.3453,
    ("mss", 1.1, 150.0): 203.1551,
    ("mss", 1.3, 150.0): 68.1356,
    ("mss", 1.5, 150.0): 19.1540,
    ("mss", 1.7, 150.0): 3.1612,
    ("gnash1", 1.0, 150.0): 230.823,  # gnash10
    ("gnash1", 1.1, 150.0): 129.912,
    ("gnash1", 1.3, 150.0): 36.9331,
    ("gnash1", 1.5, 150.0): 7.06178,
    ("gnash1", 1.7, 150.0): 0.179046,
    ("gnash1", 1.0, 50.0): 354.699,
    ("gnash1", 1.1, 40.0): 241.442,
    ("gnash1", 1.3, 30.0): 90.7491,
    ("gnash1", 1.5, 25.0): 25.6982,
    ("gnash1", 1.7, 20.0): 6.11671,  # gnash19
}


def build(gamma: float = 1.0, bound: float = 150.0, variant: str = "mss") -> sp.Game:
    """Firm 1 (leader) against firms 2 to 5; ``gamma``: the elasticity of demand, ``bound``: every firm's capacity."""
    return _market(gamma, bound, variant, leads=True)


def build_cournot(gamma: float = 1.0, bound: float = 150.0, variant: str = "mss") -> sp.Game:
    """The same market with nobody ahead: all five firms are followers, for :func:`stackpyomo.nash`."""
    return _market(gamma, bound, variant, leads=False)


def _market(gamma: float, bound: float, variant: str, *, leads: bool) -> sp.Game:
    if variant not in VARIANTS:
        raise InvalidGame(f"oligopoly variant {variant!r}: choose one of {', '.join(VARIANTS)}.")
    if not (gamma >= 1.0 and bound > 0.0):
        raise InvalidGame(f"oligopoly gamma={gamma}, bound={bound}: γ ≥ 1 makes every profit concave, and bound > 0.")
    m = pyo.ConcreteModel(name=f"oligopoly_{variant}")
    followers = [i for i in UNIT_COST if not (leads and i == 1)]
    m.rivals = pyo.Var(bounds=(0, bound * len(followers)), initialize=min(START, bound) * len(followers))
    total = m.rivals
    if leads:
        m.quantity = pyo.Var(bounds=(0, bound), initialize=min(START, bound))
        total = m.quantity + m.rivals
    m.price = pyo.Expression(expr=DEMAND ** (1 / gamma) * total ** (-1 / gamma))

    def firm(block: Any, i: int) -> None:
        block.quantity = pyo.Var(bounds=(0, bound), initialize=min(START, bound))
        block.cost = pyo.Expression(expr=_cost(i, block.quantity, variant))
        block.profit = pyo.Objective(expr=block.quantity * m.price - block.cost, sense=pyo.maximize)

    m.firm = pyo.Block(followers, rule=firm)
    m.supply = pyo.Constraint(expr=m.rivals == pyo.quicksum(m.firm[i].quantity for i in followers))
    # Holds in every equilibrium (p(1) exceeds all costs) and never binds; it keeps solvers away from p(0) = ∞.
    m.some = pyo.Constraint(expr=total >= min(1.0, bound))
    if leads:
        cost = _cost(1, m.quantity, variant)
        m.profit = pyo.Objective(expr=m.quantity * m.price - cost, sense=pyo.maximize)
    return sp.Game(m, followers=m.firm, aggregates=[m.supply], name=f"oligopoly ({variant}, γ = {gamma:g})")


def _cost(i: int, q: Any, variant: str) -> Any:
    """c q + K^(−1/β) q^(1+e) / (1+e): e = 1/β, or 1 where the exponent is missing."""
    slope = SCALE ** (-1 / ELASTICITY[i])
    exponent = 1.0 if variant == "gnash1" and i != 1 else 1 / ELASTICITY[i]
    return UNIT_COST[i] * q + slope * q ** (1 + exponent) / (1 + exponent)


def main() -> None:
    """What firm 1 earns by moving first, next to the Cournot equilibrium of all five."""
    game = build()
    plan = sp.stackelberg(game, solver="pounce")  # SCIP, which "auto" asks first, does not close the gap in a minute
    cournot = sp.nash(build_cournot(), solver="pounce")
    table = Table(
        *(Column(name, justify="right") for name in ("firm", "output", "profit", "Cournot output", "Cournot profit")),
        title=f"{game.name}: firm 1 leads, no incentive",
        title_justify="left",
    )
    profits = {1: plan.leader_objective, **{i: plan.follower_objectives[f"firm[{i}]"] for i in UNIT_COST if i != 1}}
    outputs = {i: plan.value("quantity" if i == 1 else f"firm[{i}].quantity") for i in UNIT_COST}
    for i in UNIT_COST:
        table.add_row(
            f"{i} (leader)" if i == 1 else str(i),
            f"{outputs[i]:.4f}",
            f"{profits[i]:.4f}",
            f"{cournot.value(f'firm[{i}].quantity'):.4f}",
            f"{cournot.follower_objectives[f'firm[{i}]']:.4f}",
        )
    before = [cournot.value(f"firm[{i}].quantity") for i in UNIT_COST]
    table.add_section()
    table.add_row("price", f"{DEMAND / sum(outputs.values()):.4f}", "", f"{DEMAND / sum(before):.4f}", "")
    console = Console()
    console.print(table)
    wanted = EXPECTED["leader_objective"]
    console.print(
        f"{plan.quality} ({plan.solver}). Published: the leader earns {wanted:.4f}; "
        f"difference {abs(plan.leader_objective - wanted):.1e}.\n",
        highlight=False,
        soft_wrap=True,
    )
    report = sp.verify(plan)
    console.print(str(report), highlight=False, soft_wrap=True)
    console.print(f"\nCournot equilibrium: {sp.verify(cournot).verdict}", highlight=False, soft_wrap=True)
    raise SystemExit(0 if report.ok else 1)


if __name__ == "__main__":
    main()
