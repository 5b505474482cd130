"""Prices on a power grid: a system operator leads, the generators follow.

The operator (leader) dispatches a grid under the DC power flow: angles θ in radians, susceptance
s = base / (x · tap) in MW per radian, and on each line ``l = (i, j)`` the flow, in MW,

    f_l = s_l (θ_i − θ_j − shift_l),        |f_l| ≤ limit_l,
    Σ_{g at i} q_g − Σ_{l from i} f_l + Σ_{l to i} f_l = demand_i + shunt_i        (at every bus i).

It wants the least total production cost Σ_g C_g(q_g) and may name a price p_g for each generator.
Each generator (follower) runs at the output that pays best, whatever the operator would like:

    max  p_g q_g − C_g(q_g),    C_g(q) = c2 q² + c1 q + c0,    lower_g ≤ q_g ≤ upper_g.

Prices do not enter the operator's cost, so they are free (``FREE``): at p_g = C_g'(q_g*), the
marginal cost, no generator wants to deviate and no gain is needed. Strictly inside its limits that
is the nodal price of its bus, the dual of the balance there. If one posted price p binds everybody
instead, p_g = p + Q_g (q_g − q_g*) restores the plan with

    Q_g = (C_g'(q_g*) − p) / q_g*,        which suffices while Q_g < c2 (concave profit).

``ieee30``: O. Alsac, B. Stott, IEEE Trans. PAS 93(3):745–751, 1974, with the generators of
R. Ferrero, S. Shahidehpour, V. Ramesh, IEEE Trans. Power Syst. 12(3):1340–1347, 1997, as in
MATPOWER (R. Zimmerman, C. Murillo-Sánchez, R. Thomas, IEEE Trans. Power Syst. 26(1):12–19, 2011).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyomo.environ as pyo
from rich.console import Console
from rich.table import Column, Table

import stackpyomo as sp
from stackpyomo.errors import InvalidGame

FREE = ["price"]
POSTED = 4.0  # $/MWh: above every marginal cost of the plan, so that each generator would like to run more
COLUMNS = ("bus", "MW", "marginal cost", "price", "nodal price", "gain", "regret $/h", "proof")
UNLIMITED = 1e6  # MW: pandapower writes "no limit" on a line as 99 999 kA
PLACEHOLDER = 99.999  # MVA: and on a transformer of the cases of PEGASE and RTE as 99 999 kVA


class Bus(NamedTuple):
    """A node: ``demand`` and ``shunt`` (its conductance at 1 p.u. voltage) in MW."""

    number: int
    demand: float
    shunt: float


class Branch(NamedTuple):
    """A line or transformer: reactance in p.u., shift in degrees, limit in MW (inf: none)."""

    start: int
    end: int
    reactance: float
    tap: float
    shift: float
    limit: float


class Generator(NamedTuple):
    """A generator: limits in MW, cost quadratic·q² + linear·q + constant in $/h of q MW."""

    bus: int
    lower: float
    upper: float
    quadratic: float
    linear: float
    constant: float


class Grid(NamedTuple):
    """The facts a DC power flow needs; ``reference``: bus → angle held there, in degrees."""

    base: float
    reference: dict[int, float]
    buses: list[Bus]
    branches: list[Branch]
    generators: list[Generator]


def read_ieee30() -> Grid:
    """The 30-bus system in ``models/data``, with the numbering of its source (from 1)."""
    path = Path(__file__).parent / "data" / "ieee30.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    return Grid(
        facts["base_mva"],
        dict(facts["reference"]),
        [Bus(*row) for row in facts["bus"]],
        [Branch(*row) for row in facts["branch"]],
        [Generator(*row) for row in facts["generator"]],
    )


def read_net(case: str) -> Any:
    """A test case of pandapower by name, as :mod:`pandapower` holds it.

    Its cases of PEGASE and RTE have transformers without a limit as 99.999 MVA: at that limit their demand cannot be
    met. These are unlimited here.
    """
    try:
        from pandapower.networks import power_system_test_cases as library
    except ImportError as error:
        raise InvalidGame(
            f"grid case {case!r} comes from pandapower, which cannot be imported ({error}); "
            'pip install "stackpyomo[grid]", or use case="ieee30"'
        ) from error
    known = sorted(name for name in vars(library) if name.startswith("case"))
    if case not in known:
        raise InvalidGame(f"unknown grid case {case!r}; there are ieee30, {', '.join(known)}")
    net = getattr(library, case)()
    for refused, what in (
        (len(net.pwl_cost), "has piecewise linear generation costs"),
        (net.poly_cost.empty, "gives no generation costs"),
        (len(net.dcline), "has DC lines"),
    ):
        if refused:
            raise InvalidGame(f"grid case {case!r} {what}: not supported, choose another case")
    if len(net.trafo):
        net.trafo.loc[net.trafo.sn_mva.sub(PLACEHOLDER).abs() < 1e-9, "max_loading_percent"] = 1e8
    return net


def read_pandapower(case: str) -> Grid:
    """A test case of pandapower by name, numbered as pandapower numbers it (from 0)."""
    net = read_net(case)
    from pandapower.converter.pypower.to_ppc import to_ppc

    return _from_matpower(to_ppc(net, init="flat", mode="opf"))


def _from_matpower(case: dict[str, Any]) -> Grid:
    """Elements in service only; columns as in the MATPOWER manual, appendix B."""
    buses, branches = case["bus"].real, case["branch"].real
    return Grid(
        float(case["baseMVA"]),
        {int(row[0]): float(row[8]) for row in buses if row[1] == 3},
        [Bus(int(row[0]), *_clean(row[2], row[4])) for row in buses],
        [Branch(int(row[0]), int(row[1]), *_clean(row[3], row[8] or 1, row[9], _limit(row[5]))) for row in branches],
        [
            Generator(int(row[0]), *_clean(row[9], row[8], *_quadratic(cost)))
            for row, cost in zip(case["gen"], case["gencost"], strict=False)  # reactive costs last
        ],
    )


def _clean(*values: float) -> tuple[float, ...]:
    """Undo the rounding noise and the 1e-10 MW by which pandapower widens every limit."""
    return tuple(round(float(value), 9) for value in values)


def _limit(rating: float) -> float:
    return float(rating) if 0 < rating < UNLIMITED else math.inf


def _quadratic(cost: Any) -> list[float]:
    """c2, c1, c0 of a polynomial given with its highest power first."""
    return [0.0, 0.0, 0.0, *cost[4 : 4 + int(cost[3])]][-3:]


def build(case: str = "ieee30", posted_price: float | None = None) -> sp.Game:
    """The game on ``case``: "ieee30" or a test case of pandapower ("case9", "case118", "case3120sp", ...).

    ``posted_price`` in $/MWh, when given, is what every generator is paid on path.
    """
    grid = read_ieee30() if case == "ieee30" else read_pandapower(case)
    m = pyo.ConcreteModel(name=f"grid_prices_{case}")
    m.G = pyo.RangeSet(len(grid.generators))
    m.demand = pyo.Param([bus.number for bus in grid.buses], initialize={bus.number: bus.demand for bus in grid.buses})
    m.site = pyo.Param(m.G, initialize=lambda m, g: grid.generators[g - 1].bus)
    m.price = pyo.Var(m.G)
    m.generator = pyo.Block(m.G, rule=lambda block, g: _generator(block, grid.generators[g - 1]))
    add_power_flow(m, grid, [m.generator[g].output for g in m.G])
    if posted_price is not None:
        m.one_price = pyo.Constraint(m.G, rule=lambda m, g: m.price[g] == posted_price)
    m.cost = pyo.Objective(expr=pyo.quicksum(m.generator[g].cost for g in m.G))
    return sp.Game(m, followers=m.generator, name=f"grid prices ({case})")


def _generator(block: Any, data: Generator) -> None:
    _, lower, upper, c2, c1, c0 = data
    block.output = pyo.Var(bounds=(lower, upper))
    block.cost = pyo.Expression(expr=c2 * block.output**2 + c1 * block.output + c0)
    block.marginal_cost = pyo.Expression(expr=2 * c2 * block.output + c1)
    price = block.model().price[block.index()]
    block.profit = pyo.Objective(expr=price * block.output - block.cost, sense=pyo.maximize)


def add_power_flow(m: Any, grid: Grid, outputs: Sequence[Any]) -> None:
    """Angles, flows, line limits and the balance of each bus, on a model or block; the dual of a balance is $/MWh.

    ``outputs``: what each of the grid's generators gives, MW, in its order.
    """
    m.B = pyo.Set(initialize=[bus.number for bus in grid.buses])
    m.L = pyo.RangeSet(len(grid.branches))
    m.angle = pyo.Var(m.B)
    held = {bus: math.radians(angle) for bus, angle in grid.reference.items()}
    m.reference = pyo.Constraint(list(held), rule=lambda m, b: m.angle[b] == held[b])

    def flow(m: Any, number: int) -> Any:
        line = grid.branches[number - 1]
        turn = m.angle[line.start] - m.angle[line.end] - math.radians(line.shift)
        return grid.base / (line.reactance * line.tap) * turn

    def limit(m: Any, number: int) -> Any:
        most = grid.branches[number - 1].limit
        return pyo.Constraint.Skip if math.isinf(most) else (-most, m.flow[number], most)

    m.flow = pyo.Expression(m.L, rule=flow)
    m.limit = pyo.Constraint(m.L, rule=limit)
    supply: dict[int, list[Any]] = {bus: [] for bus in m.B}
    for generator, output in zip(grid.generators, outputs, strict=True):
        supply[generator.bus].append(output)
    for number, line in enumerate(grid.branches, start=1):
        supply[line.start].append(-m.flow[number])
        supply[line.end].append(m.flow[number])
    use = {bus.number: bus.demand + bus.shunt for bus in grid.buses}
    m.balance = pyo.Constraint(m.B, rule=lambda m, b: pyo.quicksum(supply[b]) == use[b])


def at_nodal_prices(plan: sp.Plan) -> sp.Plan:
    """The same dispatch, each generator paid the nodal price of its bus: constants, without a gain."""
    return _at_prices(plan, lambda m, g: plan.multipliers[m.balance[m.site[g]].name])


def at_falling_prices(plan: sp.Plan, fall: float) -> sp.Plan:
    """The same dispatch, each generator paid its marginal cost and ``fall`` times its output, in $/MWh.

    Then :func:`stackpyomo.affine_incentive` has each price fall by ``fall`` per MW: no output pays as much as the plan,
    also where the cost is linear.
    """
    return _at_prices(plan, lambda m, g: pyo.value(m.generator[g].marginal_cost + fall * m.generator[g].output))


def _at_prices(plan: sp.Plan, price: Callable[[Any, int], float]) -> sp.Plan:
    plan.load()
    m = plan.attached().model
    for g in m.G:
        m.price[g].set_value(price(m, g))
    return sp.Plan.from_values(plan.attached())


def ties(plan: sp.Plan) -> dict[int, float]:
    """Generator → the MW between its limits, where its price is its marginal cost at every output.

    There the price leaves the output open: nobody gains by leaving the plan, and nobody loses.
    """
    m, room = plan.attached().model, sp.TOLERANCES.accuracy
    plan.load()
    widths = {}
    for g in m.G:
        price, cost, output = m.price[g].value, m.generator[g].marginal_cost, m.generator[g].output
        tied = cost.polynomial_degree() == 0 and math.isclose(price, pyo.value(cost), rel_tol=room)
        if tied and output.ub > output.lb:
            widths[g] = output.ub - output.lb
    return widths


def survey(case: str) -> bool:
    """Dispatch a case of pandapower, verify its nodal prices, and print what they leave open."""
    game = build(case)
    m, plan = game.model, sp.leader_optimal(game)
    report = sp.verify(nodal := at_nodal_prices(plan))
    prices, widths = [m.price[g].value for g in m.G], ties(nodal)
    print(f"{game.name}: {len(m.B)} buses, {len(m.L)} lines and transformers, {len(m.G)} generators")
    print(f"least production cost {plan.leader_objective:,.2f} $/h ({plan.quality})")
    print(f"at nodal prices, {min(prices):.2f} to {max(prices):.2f} $/MWh: {report.verdict}")
    print(f"paid just their linear cost: {len(widths)}, whose price leaves {sum(widths.values()):,.0f} MW open")
    return report.ok


def main() -> None:
    """The demo: prices the operator may choose, then one posted price with charges on deviations.

    With the name of a case of pandapower (``python -m models.grid_prices case3120sp``) its nodal prices.
    """
    if cases := sys.argv[1:]:
        raise SystemExit(0 if all(survey(case) for case in cases) else 1)
    game = build()
    plan = sp.leader_optimal(game)
    print(f"{game.name}: least production cost {plan.leader_objective:.4f} $/h ({plan.quality})\n")
    good = show("A price per generator", plan, sp.affine_incentive(plan, free=[game.model.price]))
    plan = sp.leader_optimal(build(posted_price=POSTED))
    title = f"One posted price, {POSTED:.2f} $/MWh, and a charge on deviations"
    good &= show(title, plan, sp.affine_incentive(plan))
    raise SystemExit(0 if good else 1)


def show(title: str, plan: sp.Plan, rule: sp.Incentive) -> bool:
    """Verify the rule and print, per generator, what it is paid and what leaving would gain it."""
    report = sp.verify(rule)
    m = plan.attached().model
    plan.load()
    table = Table(*(Column(name, justify="right") for name in COLUMNS), title=title, title_justify="left")
    for g in m.G:
        follower, price = m.generator[g], m.price[g].name
        table.add_row(
            str(m.site[g]),
            f"{pyo.value(follower.output):.3f}",
            f"{pyo.value(follower.marginal_cost):.4f}",
            f"{rule.offset[price]:.4f}",
            f"{plan.multipliers[m.balance[m.site[g]].name]:.4f}",
            f"{rule.gain.loc[price, follower.output.name]:.5f}",
            f"{report.regret[follower.name]:.1e}",
            report.certificate[follower.name],
        )
    Console().print(table)
    print(f"{report.verdict}\n")
    return report.ok


if __name__ == "__main__":
    main()
