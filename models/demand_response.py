"""A demand-response tariff: a utility leads with 24 hourly prices, electricity customers follow with their loads.

Customer i would like the loads d_t (kWh in hour t) were electricity free. It pays for what it takes, and for leaving d:

    min  Σ_t p_t x_t + σ + Σ_t [ κ/2 (x_t − d_t)²/d_t + ω (x_t ln(x_t/d_t) − x_t + d_t) ],      d_t/5 ≤ x_t ≤ 5/2 d_t,

with p_t the price of the hour (€/kWh) and σ a standing charge (€ a day, a bonus if negative), the same for everybody.
An electric car has to be charged whatever it costs: Σ_t x_t = Σ_t d_t. The utility (leader) serves the total load L_t
at the least cost of generation and discomfort together. Per customer, in units of the mean load ℓ,

    C'(L_t) = 0.05 + 0.06 (L_t/ℓ)³ €/kWh                             (base load, then ever dearer peak plants).

Neither prices nor charge enter its cost. Three ways to get the plan x*:

- Free prices (``FREE``): at p_t = C'(L_t*), the marginal cost, nobody wants to deviate and no gain is needed.
- A flat tariff, promised to all who keep to the plan (``build(flat=True)``), and prices that answer each customer's own
  deviations (x − x*). With a = p + ∇discomfort and b = (x*, 1) the least gain is −b aᵀ/‖b‖². The bill p·x is bilinear:
  along x* that gain lowers the price of what one takes more of, and a flexible customer's cost bends down: its plan is
  a saddle. Other gains are as good to first order, Q = −b aᵀ/‖b‖² + P W, and some of them bend every cost up: prices
  that rise in one's own load, paid back by a falling standing charge (``curvature=``). The discomfort flattens towards
  high loads (its second derivative is κ/d + ω/x): a gain that is just good enough at the plan is not good enough far
  from it, so a number asks for more. Without the charge P ⟂ x* leaves x*ᵀHx* = x*ᵀ∇²discomfort x* − 2 a·x* as it is.
- The same with a coarse meter that reads each region's total (``COARSE``): one gain for all customers of a region. At
  most 25 can be held (p and σ are 25), and the gain's curvature is given along the differences of their plans.

The tariff is the average of EU households in the first half of 2024 (Eurostat: 28.9 € per 100 kWh); a household's
κ + ω makes its elasticity at d about that tariff / (κ + ω) ≈ 0.28, the median of short-run estimates in J. Espey,
M. Espey, J. Agric. Appl. Econ. 36 (2004) 65–81. Everything else (profiles, energies, generation) is synthetic.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyomo.environ as pyo
from rich.console import Console
from rich.table import Column, Table

import stackpyomo as sp
from stackpyomo.errors import InvalidGame

TARIFF = 0.289  # €/kWh
BASE, PEAK = 0.05, 0.06  # €/kWh, see C'
LOWEST, HIGHEST = 0.2, 2.5  # bounds of the load, in units of the preferred one
CURVATURE = 0.5  # €/kWh² at the plan: enough to bend the costs up on the customers' whole boxes

FREE = ["price", "charge"]
COARSE = ["meter"]

KINDS = ("hybrid", "car", "household")
ENERGY = {"hybrid": 20.0, "car": 16.0, "household": 9.6}  # kWh a day; 9.6 are 3,500 a year
STIFFNESS = {"hybrid": (0.15, 0.3), "car": (0.1, 0.2), "household": (0.9, 1.2)}  # κ + ω in €/kWh


class Customer(NamedTuple):
    """``preferred``: kWh in each hour; ``quadratic``, ``entropic``: κ and ω in €/kWh; ``charged``: its total is fixed.

    "hybrid": a heat pump beside a gas boiler, which may use less; "car": an electric car and a household.
    """

    kind: str
    preferred: np.ndarray
    quadratic: float
    entropic: float
    charged: bool


def portfolio(customers: int, hours: int = 24, seed: int = 0) -> list[Customer]:
    """Hybrids, cars and households in turn, each a little different. Synthetic."""
    random, found = np.random.default_rng(seed), []
    clock = (np.arange(hours) + 0.5) * 24 / hours

    def bump(hour: float, width: float) -> np.ndarray:
        return np.exp(-(((clock - hour + 12) % 24 - 12) ** 2) / (2 * width**2))

    home = 0.55 + 0.5 * bump(7.5, 1.5) + 0.3 * bump(12.5, 2) + 1.2 * bump(19, 2.5)
    home, plugged = home / home.sum(), bump(20, 2) / bump(20, 2).sum()
    heating = (1 - 0.3 * bump(14, 4)) / hours
    shapes = {"hybrid": 0.3 * home + 0.7 * heating, "car": 0.4 * home + 0.6 * plugged, "household": home}
    for kind in (KINDS[i % len(KINDS)] for i in range(customers)):
        shape = shapes[kind] * random.uniform(0.8, 1.2, hours)
        energy, stiffness = ENERGY[kind] * random.uniform(0.8, 1.2), random.uniform(*STIFFNESS[kind])
        entropic = stiffness * random.uniform(0.3, 0.7)
        found.append(Customer(kind, energy * shape / shape.sum(), stiffness - entropic, entropic, kind == "car"))
    return found


def build(
    customers: int = 6, hours: int = 24, seed: int = 0, flat: bool = False, charge: bool = True, regions: int = 2
) -> sp.Game:
    """The utility against ``customers`` customers (dealt to ``regions`` in turn), over a day of ``hours`` periods.

    flat: who keeps to the plan pays the flat tariff and no charge. charge: there is a standing charge at all.
    """
    if not (customers >= 1 and hours >= 2 and 1 <= regions <= customers):
        raise InvalidGame(
            f"demand response customers={customers}, hours={hours}, regions={regions}: "
            "expected customers ≥ 1, hours ≥ 2 and 1 ≤ regions ≤ customers."
        )
    people = portfolio(customers, hours, seed)
    m = pyo.ConcreteModel(name=f"demand_response_{customers}")
    m.T, m.R, m.I = pyo.RangeSet(hours), pyo.RangeSet(regions), pyo.RangeSet(customers)
    m.price = pyo.Var(m.T, initialize=TARIFF)
    m.charge = pyo.Var(initialize=0.0)
    if not charge:
        m.charge.fix(0.0)
    m.customer = pyo.Block(m.I, rule=lambda block, i: _customer(block, people[i - 1]))
    _add_meters(m, regions)
    if flat:
        m.flat = pyo.Constraint(m.T, rule=lambda m, t: m.price[t] == TARIFF)
    if flat and charge:
        m.waived = pyo.Constraint(expr=m.charge == 0)
    mean = sum(c.preferred.sum() for c in people) / hours
    m.generation = pyo.Expression(
        expr=pyo.quicksum(BASE * m.total[t] + PEAK / 4 * mean * (m.total[t] / mean) ** 4 for t in m.T)
    )
    m.cost = pyo.Objective(expr=m.generation + pyo.quicksum(m.customer[i].discomfort for i in m.I))
    return sp.Game(m, followers=m.customer, aggregates=[m.metered, m.summed], name=f"demand response, {customers}")


def _customer(block: Any, data: Customer) -> None:
    m, d = block.model(), {t: float(data.preferred[t - 1]) for t in block.model().T}
    block.load = x = pyo.Var(m.T, bounds=lambda b, t: (LOWEST * d[t], HIGHEST * d[t]), initialize=d)
    if data.charged:
        block.charged = pyo.Constraint(expr=pyo.quicksum(x.values()) == sum(d.values()))
    square = pyo.quicksum((x[t] - d[t]) ** 2 / d[t] for t in m.T)
    entropy = pyo.quicksum(x[t] * pyo.log(x[t] / d[t]) - x[t] + d[t] for t in m.T)
    block.discomfort = pyo.Expression(expr=data.quadratic / 2 * square + data.entropic * entropy)
    block.bill = pyo.Expression(expr=pyo.quicksum(m.price[t] * x[t] for t in m.T) + m.charge)
    block.cost = pyo.Objective(expr=block.bill + block.discomfort)


def _add_meters(m: Any, regions: int) -> None:
    """What the coarse meters read, and the total load: the utility's cost holds no customer's load by itself."""
    region = {r: [i for i in m.I if (i - r) % regions == 0] for r in m.R}

    def metered(m: Any, r: int, t: int) -> Any:
        return m.meter[r, t] == pyo.quicksum(m.customer[i].load[t] for i in region[r])

    m.meter = pyo.Var(m.R, m.T, initialize=1.0)
    m.total = pyo.Var(m.T, initialize=1.0)
    m.metered = pyo.Constraint(m.R, m.T, rule=metered)
    m.summed = pyo.Constraint(m.T, rule=lambda m, t: m.total[t] == pyo.quicksum(m.meter[r, t] for r in m.R))


def main() -> None:
    """Free prices, then a flat tariff with gains of more and more curvature, then coarser meters."""
    console = Console()
    priced, promised = sp.leader_optimal(build()), sp.leader_optimal(build(flat=True))
    free = sp.affine_incentive(priced, free=FREE, multipliers="free")
    console.print(_day(priced, free))
    table = Table(
        "tariff", *(Column(name, justify="right") for name in ("‖gain‖", "regret, €")), "evidence", "verified"
    )
    good = _add(table, "hourly, marginal cost", free)
    _add(table, "flat, no incentive", promised)
    _add(table, "flat, least gain", sp.affine_incentive(promised, curvature="none"))
    _add(table, "flat, bent up at the plan", sp.affine_incentive(promised))
    curved = sp.affine_incentive(promised, curvature=CURVATURE)
    good &= _add(table, f"flat, bent up by {CURVATURE:g} €/kWh²", curved)
    _add(table, "flat, coarse meters", sp.affine_incentive(promised, observe=COARSE, curvature="none"))
    console.print(table)
    console.print(f"\nThe plan: {promised.leader_objective:.4f} €/day ({promised.quality}).", highlight=False)
    for title, game, observe in (
        ("Without a standing charge", build(flat=True, charge=False), "actions"),
        ("60 customers behind coarse meters", build(60, flat=True), COARSE),
    ):
        try:
            sp.affine_incentive(sp.leader_optimal(game), observe=observe, design="slopes")
        except sp.NoIncentive as refused:
            console.print(f"{title}: {refused}", highlight=False, soft_wrap=True)
    raise SystemExit(0 if good else 1)


def _day(plan: sp.Plan, rule: sp.Incentive) -> Table:
    """Loads at the flat tariff and as planned, and the prices of the plan."""
    left_alone = sp.nash(build(flat=True), leader={**{f"price[{t}]": TARIFF for t in range(1, 25)}, "charge": 0.0})
    names = ("hour", "flat tariff, kWh", "plan, kWh", "price, €/kWh")
    table = Table(*(Column(name, justify="right") for name in names), title=f"{plan.attached().name}: the day")
    for t in range(1, 25):
        before, after = left_alone.value(f"total[{t}]"), plan.value(f"total[{t}]")
        table.add_row(str(t), f"{before:.3f}", f"{after:.3f}", f"{rule.offset[f'price[{t}]']:.4f}")
    return table


def _add(table: Table, title: str, subject: sp.Plan | sp.Incentive) -> bool:
    report = sp.verify(subject, certify="convex")
    evidence = "proof" if (report.certificate == "convex").all() else "8 starts"
    if evidence != "proof":
        report = sp.verify(subject, certify="multistart")
    norm = f"{subject.norm:.3f}" if isinstance(subject, sp.Incentive) else ""
    table.add_row(title, norm, f"{report.epsilon:.2g}", evidence, "yes" if report.ok else "no")
    return report.ok


if __name__ == "__main__":
    main()
