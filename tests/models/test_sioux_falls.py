"""Sioux Falls: against published figures, shortest paths, and the linear program of least tolls, none by stackpyomo."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog
from scipy.sparse.csgraph import dijkstra

import stackpyomo as sp
from models import sioux_falls_tolls as roads
from stackpyomo.errors import InvalidGame

pytestmark = pytest.mark.skipif(importlib.util.find_spec("aequilibrae") is None, reason="needs stackpyomo[traffic]")


class City:
    """The network as arrays, without Pyomo: links × (from, to), their times, and the trips."""

    def __init__(self, network: roads.Network) -> None:
        self.n = len(network.nodes)
        place = {node: i for i, node in enumerate(network.nodes)}
        self.start = np.array([place[link.start] for link in network.links])
        self.end = np.array([place[link.end] for link in network.links])
        self.capacity, self.free, self.factor, self.power = np.array([link[2:] for link in network.links]).T
        self.trips = np.zeros((self.n, self.n))
        for r, row in network.trips.items():
            for s, x in row.items():
                self.trips[place[r], place[s]] = x

    def times(self, flow: np.ndarray) -> np.ndarray:
        return self.free * (1 + self.factor * (flow / self.capacity) ** self.power)

    def marginal(self, flow: np.ndarray) -> np.ndarray:
        return self.free * self.factor * self.power * (flow / self.capacity) ** self.power

    def potential(self, flow: np.ndarray) -> float:
        relative = (flow / self.capacity) ** self.power
        return float(np.sum(self.free * flow * (1 + self.factor * relative / (self.power + 1))))

    def gap(self, flow: np.ndarray, cost: np.ndarray) -> float:
        """What all would save on the shortest paths at these costs, in parts of what they spend: 0 in equilibrium."""
        graph = sparse.csr_array((cost, (self.start, self.end)), shape=(self.n, self.n))
        spent = float(cost @ flow)
        return (spent - float(np.sum(self.trips * dijkstra(graph)))) / spent

    def least_revenue(self, flow: np.ndarray) -> float:
        """min v·toll over toll ≥ 0 and node potentials π of every origin under which nobody has a shorter path."""
        links, n = len(flow), self.n
        time = self.times(flow)
        rows, right = [], []
        for r in range(n):
            block = sparse.lil_array((links, links + n * n))
            block[np.arange(links), np.arange(links)] = -1.0
            block[np.arange(links), links + r * n + self.end] = 1.0
            block[np.arange(links), links + r * n + self.start] = -1.0
            rows.append(block)
            right.append(time)
        # Everybody on a shortest path: what is spent is what the potentials make of the trips.
        spent = np.concatenate([-flow, self.trips.ravel()])
        roots = links + np.arange(n) * (n + 1)
        spent[roots] -= self.trips.sum(axis=1)
        bounds = [(0, None)] * links + [(None, None)] * (n * n)
        for root in roots:
            bounds[root] = (0, 0)
        cost = np.concatenate([flow, np.zeros(n * n)])
        found = linprog(
            cost,
            A_ub=sparse.vstack(rows).tocsr(),
            b_ub=np.concatenate(right),
            A_eq=spent[np.newaxis, :],
            b_eq=[time @ flow],
            bounds=bounds,
        )
        assert found.success, found.message
        return float(found.fun)


def flows(plan: sp.Plan) -> np.ndarray:
    return np.array([plan.value(f"flow[{a}]") for a in range(1, 77)])


def amounts(rule: sp.Incentive) -> np.ndarray:
    return np.array([rule.offset[f"toll[{a}]"] for a in range(1, 77)])


@pytest.fixture(scope="module")
def city() -> City:
    return City(roads.read_network())


@pytest.fixture(scope="module")
def game() -> sp.Game:
    return roads.build()


@pytest.fixture(scope="module")
def free(game: sp.Game) -> sp.Plan:
    return roads.equilibrium(game)


@pytest.fixture(scope="module")
def best(game: sp.Game) -> sp.Plan:
    return sp.leader_optimal(game)


@pytest.fixture(scope="module")
def rules(best: sp.Plan) -> dict[str, sp.Incentive]:
    return {pricing: roads.tolls(best, pricing) for pricing in roads.PRICING}


@pytest.fixture(scope="module")
def driven(game: sp.Game, rules: dict[str, sp.Incentive]) -> dict[str, sp.Plan]:
    return {pricing: roads.equilibrium(game, rule.offset) for pricing, rule in rules.items()}


def test_the_network_is_the_published_one(city: City) -> None:
    network = roads.read_network()
    assert (len(network.nodes), len(network.links)) == (24, 76)
    assert np.count_nonzero(city.trips) == 528
    assert city.trips.sum() == pytest.approx(360.6)
    assert network.links[0] == (1, 2, pytest.approx(25.90020064), 6, 0.15, 4)
    assert network.trips[10][16] == pytest.approx(4.4)


@pytest.mark.slow
def test_equilibrium_is_beckmanns(free: sp.Plan, city: City) -> None:
    flow = flows(free)
    assert city.potential(flow) / 100 == pytest.approx(42.31335287107440, abs=1e-6)
    assert roads.potential(free) == pytest.approx(city.potential(flow), rel=1e-12)
    assert free.leader_objective == pytest.approx(7480.2, rel=1e-4)
    assert abs(city.gap(flow, city.times(flow))) <= 1e-9
    report = sp.verify(free)
    assert report.ok
    assert (report.certificate == "convex").all()


@pytest.mark.slow
def test_optimum_is_the_equilibrium_of_marginal_times(best: sp.Plan, city: City) -> None:
    flow = flows(best)
    assert best.quality == "optimal"
    assert best.leader_objective == pytest.approx(7194.3, rel=1e-4)
    assert best.leader_objective == pytest.approx(float(flow @ city.times(flow)), rel=1e-12)
    assert best.leader_objective == pytest.approx(roads.EXPECTED["leader_objective"], rel=1e-9)
    assert abs(city.gap(flow, city.times(flow) + city.marginal(flow))) <= 1e-9
    assert sp.verify(best).epsilon > 1.0, "without tolls people would leave it"


@pytest.mark.slow
def test_tolls_make_the_optimum_an_equilibrium(
    best: sp.Plan, rules: dict[str, sp.Incentive], driven: dict[str, sp.Plan], city: City
) -> None:
    flow = flows(best)
    for pricing, rule in rules.items():
        toll = amounts(rule)
        assert toll.min() >= 0
        assert rule.norm == 0, "tolls alone; no traveller moves a flow"
        assert abs(city.gap(flow, city.times(flow) + toll)) <= 1e-9
        report = sp.verify(rule)
        assert report.ok
        assert (report.certificate == "convex").all()
        assert driven[pricing].leader_objective == pytest.approx(best.leader_objective, rel=1e-6)
        np.testing.assert_allclose(flows(driven[pricing]), flow, rtol=1e-4)
    np.testing.assert_allclose(amounts(rules["marginal"]), city.marginal(flow), rtol=1e-9)


def test_least_tolls_take_the_least_money(best: sp.Plan, rules: dict[str, sp.Incentive], city: City) -> None:
    flow = flows(best)
    paid = {pricing: float(amounts(rule) @ flow) for pricing, rule in rules.items()}
    assert paid["least"] == pytest.approx(city.least_revenue(flow), rel=1e-6)
    assert paid["least"] <= paid["marginal"]
    assert paid["least"] < 0.15 * paid["marginal"]


@pytest.mark.slow
def test_demo_tells_the_story(
    free: sp.Plan,
    best: sp.Plan,
    rules: dict[str, sp.Incentive],
    driven: dict[str, sp.Plan],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With what the other tests have solved already."""
    by_offset = {id(rule.offset): driven[pricing] for pricing, rule in rules.items()}
    monkeypatch.setattr(roads, "equilibrium", lambda game, at=None: free if at is None else by_offset[id(at)])
    monkeypatch.setattr(roads, "tolls", lambda plan, pricing="least": rules[pricing])
    with pytest.raises(SystemExit) as left:
        roads.main()
    assert left.value.code == 0
    printed = capsys.readouterr().out
    for told in ("7480.2253", "7194.2561", "2066.6387", "14492.9313", "4231.335287107"):
        assert told in printed


def test_what_is_missing_or_unknown_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidGame, match="choose least or marginal"):
        roads.build(pricing="fair")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidGame, match=r"stackpyomo\[traffic\]"):
        roads.build()
