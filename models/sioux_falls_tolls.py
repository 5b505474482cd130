"""Tolls in Sioux Falls: a city wants its roads used well, and all drive the way that is shortest for them.

24 nodes, 76 links a of one way each, 528 pairs of an origin and a destination with trips between them. With v_a
thousand vehicles on a link, one takes, in hundredths of an hour (often read as minutes),

    t_a(v_a) = t⁰_a (1 + 0.15 (v_a / c_a)⁴)                                    (Bureau of Public Roads, 1964)

The city (leader) would like the least time of all together, Σ_a v_a t_a(v_a), and may set a toll on every link, in the
unit of time; tolls are no part of its objective, so they are free (``FREE``). All who start at an origin r are one
population of infinite size: each takes the flows on the links as given, v_a = Σ_r x_{r,a}, and they spread so that

    min Σ_a (t_a(v_a) + toll_a) x_{r,a},    x ≥ 0,    what comes into a node − what leaves it = the trips from r to it.

24 followers stand for all 528 pairs exactly: a flow x_r falls apart into paths to the destinations (and circles, which
cost time and are left out), so that this linear program is the shortest path to each of them side by side. Every used
path is then a shortest one: Wardrop's equilibrium, the minimum of Σ_a ∫₀^{v_a} t_a + toll_a (M. Beckmann, C. McGuire,
C. Winsten, Studies in the Economics of Transportation, 1956). Its link flows are unique; which origin sends how much of
them is not.

The system optimum is the equilibrium under tolls at marginal cost, v_a t_a'(v_a) (A. Pigou, The Economics of Welfare,
1920). Others do as well, and some take far less money: the least Σ_a v_a toll_a over toll ≥ 0 for which x* meets the
followers' conditions is a linear program (D. Hearn, M. Ramana, in: Equilibrium and Advanced Transportation Modelling,
1998, 109–124).

Network and trips: L. LeBlanc, E. Morlok, W. Pierskalla, Transportation Research 9 (1975) 309–318, as shipped with
AequilibraE (``pip install "stackpyomo[traffic]"``), whose archive is read without importing it.
"""

from __future__ import annotations

import importlib.util
import math
import sqlite3
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyomo.environ as pyo
from rich.console import Console
from rich.table import Column, Table

import stackpyomo as sp
from stackpyomo.errors import InvalidGame

OBSERVE = ["flow"]  # counts on the links; no single traveller moves one, so that only the tolls themselves hold anybody
FREE = ["toll"]
PRICING = ("least", "marginal")
THOUSAND = 1000.0

EXPECTED = {"leader_objective": 7194.2560529}  # of build(): thousand vehicles × time
PUBLISHED = {"potential": 4231.335287107440, "equilibrium": 7480.2, "optimum": 7194.3}  # Beckmann's; total times


class Link(NamedTuple):
    """A road of one way; ``capacity`` in thousand vehicles, ``free_time`` t⁰ in hundredths of an hour."""

    start: int
    end: int
    capacity: float
    free_time: float
    factor: float
    power: float


class Network(NamedTuple):
    """``trips``: origin → destination → thousand vehicles."""

    nodes: list[int]
    links: list[Link]
    trips: dict[int, dict[int, float]]


def read_network() -> Network:
    """Sioux Falls out of AequilibraE's example project: links from its SQLite tables, trips from its matrix file."""
    spec = importlib.util.find_spec("aequilibrae")
    if spec is None or not spec.submodule_search_locations:
        raise InvalidGame('Sioux Falls comes with AequilibraE, which is not here; pip install "stackpyomo[traffic]"')
    archive = Path(spec.submodule_search_locations[0]) / "reference_files" / "sioux_falls.zip"
    with zipfile.ZipFile(archive) as packed, tempfile.TemporaryDirectory() as folder:
        links = _links(packed.extract("project_database.sqlite", folder))
        matrix = packed.read("matrices/demand.aem")
    nodes = sorted({link.start for link in links})
    n = len(nodes)
    # After a header of text: the n zones' numbers, then n rows of n doubles, to the end of the file.
    zones = np.frombuffer(matrix[-8 * n * (n + 1) : -8 * n * n], "<u8").tolist()
    table = np.frombuffer(matrix[-8 * n * n :], "<f8").reshape(n, n) / THOUSAND
    rows = [dict(zip(zones, row.tolist(), strict=True)) for row in table]
    return Network(
        nodes, links, {r: {s: x for s, x in row.items() if x > 0} for r, row in zip(zones, rows, strict=True)}
    )


def _links(database: str) -> list[Link]:
    connection = sqlite3.connect(database)
    try:
        rows = connection.execute(
            "SELECT a_node, b_node, capacity_ab, free_flow_time, b, power FROM links ORDER BY link_id"
        ).fetchall()
    finally:
        connection.close()
    return [Link(start, end, capacity / THOUSAND, *rest) for start, end, capacity, *rest in rows]


def build(pricing: str = "least") -> sp.Game:
    """The city against the travellers; ``pricing`` "marginal" holds the tolls at marginal cost, "least" only ≥ 0."""
    if pricing not in PRICING:
        raise InvalidGame(f"sioux_falls_tolls pricing={pricing!r}: choose {' or '.join(PRICING)}.")
    network = read_network()
    m = pyo.ConcreteModel(name="sioux_falls_tolls")
    m.link = pyo.RangeSet(len(network.links))
    m.toll = pyo.Var(m.link, bounds=(0, None), initialize=0.0)
    m.flow = pyo.Var(m.link, bounds=(0, None), initialize=lambda m, a: network.links[a - 1].capacity)
    m.time = pyo.Expression(m.link, rule=lambda m, a: travel_time(network.links[a - 1], m.flow[a]))
    m.origin = pyo.Block(list(network.trips), rule=lambda block, r: _travellers(block, r, network))
    m.total = pyo.Constraint(m.link, rule=lambda m, a: m.flow[a] == pyo.quicksum(m.origin[r].flow[a] for r in m.origin))
    m.revenue = pyo.Expression(expr=pyo.quicksum(m.toll[a] * m.flow[a] for a in m.link))
    m.at_marginal_cost = pyo.Constraint(
        m.link, rule=lambda m, a: m.toll[a] == marginal_cost(network.links[a - 1], m.flow[a])
    )
    if pricing == "least":
        m.at_marginal_cost.deactivate()
    m.total_time = pyo.Objective(expr=pyo.quicksum(m.time[a] * m.flow[a] for a in m.link))
    followers = [sp.Population(m.origin[r], math.inf) for r in m.origin]
    return sp.Game(m, followers=followers, aggregates=[m.total], name="Sioux Falls")


def travel_time(link: Link, flow: Any) -> Any:
    """t_a(v_a)."""
    return link.free_time * (1 + link.factor * (flow / link.capacity) ** link.power)


def marginal_cost(link: Link, flow: Any) -> Any:
    """v_a t_a'(v_a): what one vehicle more costs those who are on the link already."""
    return link.free_time * link.factor * link.power * (flow / link.capacity) ** link.power


def _travellers(block: Any, origin: int, network: Network) -> None:
    m, trips = block.model(), network.trips[origin]
    block.flow = pyo.Var(m.link, bounds=(0, None), initialize=sum(trips.values()) / len(network.nodes))

    def arrivals(block: Any, node: int) -> Any:
        ends = [(a, link) for a, link in enumerate(network.links, start=1) if node in (link.start, link.end)]
        return sum(block.flow[a] if link.end == node else -block.flow[a] for a, link in ends) == trips.get(node, 0.0)

    # The origin's own row is the sum of the others.
    block.arrivals = pyo.Constraint([node for node in network.nodes if node != origin], rule=arrivals)
    block.cost = pyo.Objective(expr=pyo.quicksum((m.time[a] + m.toll[a]) * block.flow[a] for a in m.link))


def tolls(plan: sp.Plan, pricing: str = "least") -> sp.Incentive:
    """Tolls ≥ 0 under which the plan is everybody's best: those at marginal cost, or those that take least money."""
    m = plan.attached().model
    if pricing == "marginal":
        m.at_marginal_cost.activate()
    else:
        m.at_marginal_cost.deactivate()
    return sp.affine_incentive(plan, observe=[m.flow], free=[m.toll], multipliers="free", payment=m.revenue)


def equilibrium(game: sp.Game, at: Mapping[str, float] | None = None) -> sp.Plan:
    """How people drive at these tolls (none: no tolls)."""
    return sp.nash(game, leader=at or {name: 0.0 for name in game.variables_by_name if name.startswith("toll[")})


def potential(plan: sp.Plan) -> float:
    """Σ_a ∫₀^{v_a} t_a, Beckmann's function: least at the equilibrium without tolls."""
    flows = [plan.value(f"flow[{a}]") for a in plan.attached().model.link]
    return sum(
        link.free_time * flow * (1 + link.factor / (link.power + 1) * (flow / link.capacity) ** link.power)
        for link, flow in zip(read_network().links, flows, strict=True)
    )


def main() -> None:
    """What driving as one likes costs, and two ways of pricing it away."""
    game, console = build(), Console()
    free, best = equilibrium(game), sp.leader_optimal(game)
    table = Table(
        *(Column(name, justify="right") for name in ("", "total time", "tolls paid", "links tolled", "regret")),
        title=f"{game.name}: thousand vehicles × hundredths of an hour",
        title_justify="left",
    )
    table.add_row("equilibrium", f"{free.leader_objective:.4f}", "0", "0", f"{sp.verify(free).epsilon:.1e}")
    table.add_row("system optimum", f"{best.leader_objective:.4f}", "0", "0", f"{sp.verify(best).epsilon:.1e}")
    good = True
    for title, pricing in (("marginal cost", "marginal"), ("least money", "least")):
        rule = tolls(best, pricing)
        report, driven = sp.verify(rule), equilibrium(game, rule.offset)
        paid = sum(toll * best.value(name.replace("toll", "flow")) for name, toll in rule.offset.items())
        tolled = sum(toll > 1e-3 for toll in rule.offset.values())
        total = f"{driven.leader_objective:.4f}"
        table.add_row(f"tolls: {title}", total, f"{paid:.4f}", str(tolled), f"{report.epsilon:.1e}")
        good &= report.ok and math.isclose(driven.leader_objective, best.leader_objective, rel_tol=1e-6)
    console.print(table)
    console.print(
        f"Beckmann's function at the equilibrium: {potential(free):.9f}; published {PUBLISHED['potential']:.9f}.\n"
        f"Driving as one likes costs {free.leader_objective / best.leader_objective - 1:.2%} more time than need be. "
        "With either tolls the equilibrium is the system optimum.",
        highlight=False,
        soft_wrap=True,
    )
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
