"""Choices among gains, free offsets, and what the leader's bounds make of a strategy."""

from __future__ import annotations

import math
import time
import tracemalloc
from itertools import combinations, product
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import CASES, drawn, number
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from scipy import sparse as sp_sparse
from scipy.optimize import linprog, minimize

import stackpyomo as sp

SLOW = settings(max_examples=drawn(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Meters:
    """Followers of one action each under shared meters: E K = −a, all 0 at the plan."""

    def __init__(self, seed: int, *, sparse: bool = False) -> None:
        self.random = random = np.random.default_rng(seed)
        self.leaders, self.count = int(random.integers(1, 4)), int(random.integers(1, 5))
        self.meters = int(random.integers(1, 4))
        self.a, self.b = random.normal(size=self.count), random.normal(size=(self.count, self.leaders))
        self.moves = random.normal(size=(self.meters, self.count))
        if sparse:
            self.b *= random.random(self.b.shape) < 0.7
            self.moves *= random.random(self.moves.shape) < 0.7
        kept = self.moves.any(axis=1)
        self.moves, self.meters = self.moves[kept], int(kept.sum())
        self.equations = np.array([np.outer(b, row).ravel() for b, row in zip(self.b, self.moves.T, strict=True)])
        seen = self.moves.any(axis=0)
        self.slope = np.where(seen, self.a, 0.0)
        m = self.model = pyo.ConcreteModel()
        m.lead = pyo.Var(range(self.leaders), initialize=0.0)
        m.f = pyo.Block(range(self.count))
        for k, block in m.f.items():
            block.u = pyo.Var(initialize=0.0)
            felt = sum(float(x) * v for x, v in zip(self.b[k], m.lead.values(), strict=True) if x)
            tiny = sum(v**2 for v in m.lead.values())
            block.cost = pyo.Objective(expr=float(self.a[k]) * block.u + block.u**2 + felt + tiny)
        m.goal = pyo.Objective(expr=sum(v**2 for v in m.lead.values()))
        users = [b.u for b in m.f.values()]
        self.observe = [sum(float(w) * u for w, u in zip(row, users, strict=True) if w) for row in self.moves]
        self.plan = sp.Plan.from_values(sp.Game(m, followers=m.f))

    def table(self, rule: sp.Incentive) -> np.ndarray:
        return rule.gain.loc[[f"lead[{i}]" for i in range(self.leaders)]].to_numpy().ravel()


def _solves(matrix: np.ndarray, wanted: np.ndarray) -> bool:
    found = np.linalg.lstsq(matrix, wanted, rcond=1e-9)[0] if matrix.shape[1] else np.zeros(0)
    return bool(np.abs(matrix @ found - wanted).max(initial=0.0) <= 1e-8)


@SLOW
@given(seed=st.integers(0, 10**6))
def test_weights_of_energy_under_shared_meters(seed: int) -> None:
    world = Meters(seed)
    assume(world.meters and _solves(world.equations, -world.slope))
    weights = 10.0 ** world.random.uniform(-3, 3, size=world.leaders)
    energy = {f"lead[{i}]": float(w) for i, w in enumerate(weights)}
    rule = sp.affine_incentive(world.plan, world.observe, energy=energy)
    root = np.repeat(np.sqrt(weights), world.meters)
    least = np.linalg.lstsq(world.equations / root, -world.slope, rcond=1e-12)[0] / root
    np.testing.assert_allclose(world.table(rule), least, rtol=1e-5, atol=1e-6 * np.abs(least).max(initial=0.0))
    assert rule.energy == pytest.approx(float((root**2 * least**2).sum()), rel=1e-5)
    assert len(rule.null_space) == rule.freedom


@SLOW
@example(seed=2043)  # what is integer to a tolerance allows entries of 1e-4
@given(seed=st.integers(0, 10**6))
def test_the_sparsest_gain_against_every_support(seed: int) -> None:
    world = Meters(seed, sparse=True)
    assume(world.meters and world.leaders * world.meters <= 9 and _solves(world.equations, -world.slope))
    entries = world.leaders * world.meters
    fewest = next(
        n
        for n in range(entries + 1)
        for chosen in combinations(range(entries), n)
        if _solves(world.equations[:, list(chosen)], -world.slope)
    )
    rule = sp.affine_incentive(world.plan, world.observe, prefer="sparsest")
    gain = world.table(rule)
    assert np.count_nonzero(gain) == fewest
    np.testing.assert_allclose(world.equations @ gain, -world.slope, atol=1e-7)
    assert sp.verify(rule, followers=[f for f in rule.plan.follower_objectives if f not in rule.alone]).ok


@SLOW
@given(seed=st.integers(0, 10**6), one=st.booleans())
def test_gains_within_bounds_are_the_least_there_are(seed: int, one: bool) -> None:
    """A quadratic program by SLSQP; where linear programming finds no gain within bounds, the refusal says so."""
    world = Meters(seed)
    assume(world.meters and _solves(world.equations, -world.slope))
    limits = np.sort(world.random.normal(size=(world.leaders, 2)), axis=1)
    limits[world.random.random(limits.shape) < 0.2] = np.nan
    pairs = [tuple(None if np.isnan(x) else float(x) for x in row) for row in limits]
    gain_bounds: Any = pairs[0] if one else {f"lead[{i}]": pair for i, pair in enumerate(pairs)}
    each = [pairs[0] if one else pairs[i] for i in range(world.leaders) for _ in range(world.meters)]
    feasible = linprog(np.zeros(len(each)), A_eq=world.equations, b_eq=-world.slope, bounds=each)
    refused: dict[str, str] = {}
    try:
        rule = sp.affine_incentive(world.plan, world.observe, gain_bounds=gain_bounds)
    except sp.NoIncentive as error:
        refused = error.reasons
    if refused:
        assert feasible.status != 0
        assert any("gain bounds" in why for why in refused.values())
        return
    gain = world.table(rule)
    low, high = (np.array([e if p[i] is None else p[i] for p in each]) for i, e in ((0, -np.inf), (1, np.inf)))
    assert ((gain >= low - 1e-8 * (1 + np.abs(gain))) & (gain <= high + 1e-8 * (1 + np.abs(gain)))).all()
    np.testing.assert_allclose(world.equations @ gain, -world.slope, atol=1e-6)
    left = {"type": "eq", "fun": lambda k: world.equations @ k + world.slope, "jac": lambda k: world.equations}
    if world.equations.shape[0] <= np.linalg.matrix_rank(world.equations):
        best = minimize(lambda k: k @ k, feasible.x, jac=lambda k: 2 * k, bounds=each, constraints=left, method="SLSQP")
        assert gain @ gain <= best.fun * (1 + 1e-5) + 1e-8


@pytest.mark.parametrize("bounds", [(1, 0), (0, 1, 2), "wide", {"lead[0]": 3}, {"f[0].u": (0, 1)}, (float("nan"), 1)])
def test_bounds_of_gains_that_make_no_sense(bounds: Any) -> None:
    with pytest.raises(sp.InvalidGame, match=r"gain_bounds|leader"):
        sp.affine_incentive(Meters(3).plan, gain_bounds=bounds)


# --- free offsets -----------------------------------------------------------------------------------------------------


def _network(seed: int) -> tuple[Any, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Travellers on parallel routes of shared links: tolls on links, flows of the plan, marginal costs, routes."""
    random = np.random.default_rng(seed)
    common, groups = int(random.integers(2, 5)), int(random.integers(1, 4))
    counts = random.integers(2, 4, size=groups)
    own = np.eye(counts.sum())[:, random.random(counts.sum()) < 0.8]  # links of one route alone
    whole = np.hstack([(random.random((counts.sum(), common)) < 0.5).astype(float), own])
    routes, links = np.split(whole, np.cumsum(counts)[:-1]), whole.shape[1]
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(range(links), bounds=(0, None), initialize=0.0)
    m.f = pyo.Block(range(groups))
    flows, delays = [], []
    for k, block in m.f.items():
        count = len(routes[k])
        share = random.dirichlet(np.ones(count)) * (random.random(count) < 0.8)
        share = share / share.sum() if share.sum() else np.eye(count)[0]
        delay = random.uniform(0.5, 3.0, size=count)
        block.flow = pyo.Var(range(count), bounds=(0, None), initialize=lambda b, r, s=share: float(s[r]))
        block.demand = pyo.Constraint(expr=sum(block.flow.values()) == 1)
        paid = sum(m.toll[i] * block.flow[r] for r in range(count) for i in range(links) if routes[k][r, i])
        spent = sum(float(delay[r]) * block.flow[r] + block.flow[r] ** 2 / 2 for r in range(count))
        block.cost = pyo.Objective(expr=spent + paid)
        flows.append(share)
        delays.append(delay + share)
    m.goal = pyo.Objective(expr=sum(v**2 for b in m.f.values() for v in b.flow.values()))
    return m, np.concatenate(flows), np.concatenate(delays), routes


@pytest.mark.parametrize("how", ["payment", "norm"])
@SLOW
@given(seed=st.integers(0, 10**6))
def test_tolls_of_least_revenue_are_a_linear_program(how: str, seed: int) -> None:
    """Tolls τ ≥ 0 with delay + τ = μ_k on used routes, ≥ μ_k on idle ones; least Σ τ·flow, or least |τ|."""
    m, flow, delay, routes = _network(seed)
    incidence, links = np.vstack(routes), len(m.toll)
    group = np.repeat(np.arange(len(routes)), [len(r) for r in routes])
    single = np.eye(len(routes))[group]
    rows = np.hstack([incidence, -single])
    used = flow > 1e-6
    assume(((flow == 0) | (flow > 1e-3)).all())
    system = {"A_eq": rows[used], "b_eq": -delay[used], "A_ub": -rows[~used], "b_ub": delay[~used]}
    bounds = [(0, None)] * links + [(None, None)] * len(routes)
    best = linprog(np.concatenate([incidence.T @ flow, np.zeros(len(routes))]), bounds=bounds, **system)
    assume(best.status == 0)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    revenue = sum(
        m.toll[i] * m.f[k].flow[r] for k, table in enumerate(routes) for r, i in zip(*np.nonzero(table), strict=True)
    )
    least: dict[str, Any] = {"payment": revenue, "gain_bounds": (0, 0)} if how == "payment" else {}
    rule = sp.affine_incentive(plan, free=m.toll, multipliers="free", **least)
    toll = np.array([rule.offset.get(f"toll[{i}]", 0.0) for i in range(links)])
    assert (toll >= -1e-9).all()
    assert rule.norm <= 1e-5, "the tolls alone hold everybody"
    report = sp.verify(rule)
    assert report.ok
    assert report.epsilon <= 1e-6
    if how == "payment":
        assert flow @ incidence @ toll == pytest.approx(best.fun, abs=1e-5)
        return
    held = [
        {"type": "eq", "fun": lambda x: rows[used] @ x + delay[used], "jac": lambda x: rows[used]},
        {"type": "ineq", "fun": lambda x: rows[~used] @ x + delay[~used], "jac": lambda x: rows[~used]},
    ]
    least = minimize(lambda x: x[:links] @ x[:links], best.x, bounds=bounds, constraints=held, method="SLSQP")
    assert toll @ toll <= max(0.0, least.fun) * (1 + 1e-4) + 1e-6


@SLOW
@given(seed=st.integers(0, 10**6))
def test_a_free_price_and_a_shared_gain_together(seed: int) -> None:
    """One meter, one price felt by all, one more tool: min |K|² over price and gain, by elimination."""
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 4))
    a, b, c = random.normal(size=count), random.uniform(0.5, 2.0, size=count), random.normal(size=count)
    m = pyo.ConcreteModel()
    m.price, m.tool = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(count))
    for k, block in m.f.items():
        block.u = pyo.Var(initialize=0.0)
        cost = float(a[k]) * block.u + float(c[k]) * m.price * block.u + float(b[k]) * m.tool + block.u**2
        block.cost = pyo.Objective(expr=cost)
    m.goal = pyo.Objective(expr=m.tool**2 + sum(x.u**2 for x in m.f.values()))
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    meter = [sum(x.u for x in m.f.values())]
    # a + c p + b K = 0, the price's own gain is felt by nobody at u = 0
    matrix = np.column_stack([c, b])
    found, *_ = np.linalg.lstsq(matrix, -a, rcond=None)
    if np.abs(matrix @ found + a).max() > 1e-6:
        with pytest.raises(sp.NoIncentive):
            sp.affine_incentive(plan, meter, free=m.price)
        return
    rule = sp.affine_incentive(plan, meter, free=m.price)
    if count == 1:
        assert rule.norm == pytest.approx(0.0, abs=1e-7)
        assert rule.offset["price"] == pytest.approx(-a[0] / c[0], rel=1e-6)
    else:
        assert rule.offset["price"] == pytest.approx(found[0], rel=1e-5, abs=1e-6)
        assert rule.gain.loc["tool"].iloc[0] == pytest.approx(found[1], rel=1e-5, abs=1e-6)
    assert rule.residual <= 1e-6


def test_the_least_price_leaves_the_leader_his_grip() -> None:
    """The price moves no slope, yet without it the gain has no grip: b = p, energy 4/p², least at the cap."""
    m = pyo.ConcreteModel()
    m.price = pyo.Var(initialize=1.0)
    m.cap = pyo.Constraint(expr=(0, m.price, 3))
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=1.0)
    m.f.cost = pyo.Objective(expr=(m.f.u - 2) ** 2 + m.price**2 / 2)
    m.goal = pyo.Objective(expr=(m.f.u - 1) ** 2)
    rule = sp.affine_incentive(sp.Plan.from_values(sp.Game(m, followers=m.f)), free=m.price)
    assert rule.offset["price"] == pytest.approx(3.0, rel=1e-4)
    assert rule.gain.iloc[0, 0] == pytest.approx(2 / 3, rel=1e-4)
    assert sp.verify(rule).ok


# --- the leader's bounds ----------------------------------------------------------------------------------------------


def _at_a_bound(case: str) -> sp.Plan:
    """NQ11 (good orientation) and SAT01 (bad): u0 ≥ 0 active, J1 = (y+1)²/2 ± …, the follower tempted down."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, None), initialize=0.0)
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(-5, 5), initialize=1.0)
    effect = 2 * pyo.log(pyo.exp(m.x) + 1) if case == "NQ11" else (m.x - 1) ** 2 / 2
    m.f.cost = pyo.Objective(expr=(m.f.y + 1) ** 2 / 2 + effect)
    m.goal = pyo.Objective(expr=m.x * m.f.y / 10 + (m.x + 1) ** 2 + (m.f.y - 1) ** 2)
    return sp.Plan.from_values(sp.Game(m, followers=m.f))


@pytest.mark.parametrize("saturate", [False, True])
def test_a_bound_of_good_orientation(saturate: bool) -> None:
    wanted = CASES["NQ11_leader_bound_active_good_orientation"]["expected"]["followers"][0]
    rule = sp.affine_incentive(_at_a_bound("NQ11"), saturate=saturate)
    assert rule.gain.iloc[0, 0] == pytest.approx(number(wanted["Q_min_norm_lambda0"][0][0]), rel=1e-7)
    assert rule.excursions["x"] == pytest.approx((-8.0, 12.0))
    assert rule.actions({"f.y": 5.0})["x"] == pytest.approx(0.0 if saturate else -8.0)
    report = sp.verify(rule)
    assert report.ok
    assert report.epsilon <= 1e-9


@pytest.mark.parametrize("saturate", [False, True])
def test_a_bound_of_bad_orientation(saturate: bool) -> None:
    """b = −1: to punish, the leader would have to go below 0."""
    with pytest.raises(sp.NoIncentive, match="leader bound: x stands at its lower bound") as caught:
        sp.affine_incentive(_at_a_bound("SAT01"), saturate=saturate)
    assert caught.value.residuals["f"] == pytest.approx(2.0)


@pytest.mark.parametrize("row", [False, True])
def test_a_bound_in_the_way_of_a_follower_whom_its_own_row_may_carry(row: bool) -> None:
    """SAT01: x would have to fall below 0. With a row y ≥ 1 of its own that presses, no gain is needed at all."""
    plan = _at_a_bound("SAT01")
    if row:
        block = plan.attached().followers["f"].block
        block.row = pyo.Constraint(expr=block.y >= 1)
        plan = sp.Plan.from_values(plan.attached())
    with pytest.raises(sp.NoIncentive, match="leader bound: x stands at its lower bound") as caught:
        sp.affine_incentive(plan)
    assert ("multipliers='free'" in str(caught.value)) is row
    if row:
        assert sp.verify(sp.affine_incentive(plan, multipliers="free")).ok


@pytest.mark.parametrize("actions", [1, 2])
def test_thousands_lost_behind_one_average(actions: int) -> None:
    """Every one of them is told why, and no time is lost on it."""
    count = 3000
    m = pyo.ConcreteModel()
    m.t, m.s, m.mean = pyo.Var(initialize=0), pyo.Var(initialize=0), pyo.Var(initialize=1)
    m.f = pyo.Block(range(count))
    for i in range(count):
        m.f[i].u = pyo.Var(range(actions), initialize=1)
        cost = sum((m.f[i].u[k] - 2 - i / count) ** 2 for k in range(actions))
        m.f[i].cost = pyo.Objective(expr=cost + m.t * m.f[i].u[0] + m.s)
    total = sum(m.f[i].u[k] for i in range(count) for k in range(actions))
    m.average = pyo.Constraint(expr=m.mean == total / count)
    m.goal = pyo.Objective(expr=m.t**2 + m.s**2)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f, aggregates=m.average))
    began = time.process_time()
    with pytest.raises(sp.NoIncentive) as caught:
        sp.affine_incentive(plan, observe=[m.mean])
    assert time.process_time() - began < 4.0  # some 0.3 s of this process
    assert len(caught.value.reasons) == len(caught.value.residuals) == count
    others = "f[0], f[1], f[2], f[3], f[4], f[5], … (2999 in all)"
    assert caught.value.reasons["f[2999]"].startswith(f"conflict under shared signals with {others}: one gain")
    assert "with f[0], f[1], f[3], f[4], f[5], f[6], … (2999" in caught.value.reasons["f[2]"]


@pytest.mark.parametrize("others", [1, 3])
@SLOW
@given(seed=st.integers(0, 10**6))
def test_what_is_announced_is_what_is_played(others: int, seed: int) -> None:
    """saturate: verify's regret is the best a follower finds against the projection, on a fine grid of its action."""
    random = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    center, room = random.normal(size=others), random.uniform(0.1, 2.0, size=(others, 2))
    room[random.random(room.shape) < 0.2] = 0.0
    room[random.random(room.shape) < 0.2] = np.inf
    m.lead = pyo.Var(range(others), initialize=lambda _, i: float(center[i]))
    for i, (low, high) in enumerate(zip(center - room[:, 0], center + room[:, 1], strict=True)):
        m.lead[i].setlb(float(low) if np.isfinite(low) else None)
        m.lead[i].setub(float(high) if np.isfinite(high) else None)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.5, bounds=(-2, 3))
    root = random.normal(size=(others + 1, others + 1))
    matrix, linear = root @ root.T / (others + 1), random.normal(size=others + 1)
    z = [*m.lead.values(), m.f.u]
    n = range(others + 1)
    quadratic = sum(float(matrix[i, j]) / 2 * z[i] * z[j] for i in n for j in n)
    m.f.cost = pyo.Objective(expr=quadratic + sum(float(linear[i]) * z[i] for i in n))
    m.goal = pyo.Objective(expr=sum(v**2 for v in m.lead.values()))
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    slope = matrix @ np.append(center, 0.5) + linear
    # of the tools at a bound only those that are free to move against the temptation help
    inward = -np.sign(slope[-1]) * -np.sign(slope[:-1] * slope[-1])
    useful = ~((room[:, 0] == 0.0) & (inward < 0) | (room[:, 1] == 0.0) & (inward > 0))
    refused: dict[str, str] = {}
    try:
        rule = sp.affine_incentive(plan, saturate=True)
    except sp.NoIncentive as error:
        refused = error.reasons
    if refused:
        assert "leader bound" in refused["f"]
        assert not useful.any()
        return
    gain = rule.gain.loc[[f"lead[{i}]" for i in range(others)]].to_numpy().ravel()
    held = np.where(useful, slope[:-1], 0.0)
    np.testing.assert_allclose(gain, -held * slope[-1] / (held @ held), rtol=1e-6, atol=1e-9)
    grid = np.linspace(-2, 3, 20_001)
    answer = np.clip(center + np.outer(grid - 0.5, gain), center - room[:, 0], center + room[:, 1])
    points = np.column_stack([answer, grid])
    costs = np.einsum("ni,ij,nj->n", points, matrix, points) / 2 + points @ linear
    here = np.append(center, 0.5)
    regret = here @ matrix @ here / 2 + linear @ here - costs.min()
    report = sp.verify(rule)
    assert report.certificate["f"] in ("convex", "global")
    assert report.regret["f"] == pytest.approx(max(0.0, regret), abs=2e-6 * (1 + np.abs(costs).max()))
    for u in (-2.0, 0.1, 3.0):
        seen = rule.actions({"f.u": u})
        expected = np.clip(center + (u - 0.5) * gain, center - room[:, 0], center + room[:, 1])
        assert [seen[f"lead[{i}]"] for i in range(others)] == pytest.approx(expected.tolist(), abs=1e-9)
    reach = np.sort(center + np.outer([-2.5, 2.5], gain), axis=0)
    beyond = (reach[0] < center - room[:, 0] - 1e-6) | (reach[1] > center + room[:, 1] + 1e-6)
    assert set(rule.excursions) == {f"lead[{i}]" for i in np.flatnonzero(beyond)}
    for i in np.flatnonzero(beyond):
        assert rule.excursions[f"lead[{i}]"] == pytest.approx(tuple(reach[:, i]), abs=1e-9)


def test_a_rule_whose_punishment_the_bounds_cut_short_is_caught() -> None:
    """u0 ∈ [−0.1, 0.1] cannot pay what the affine strategy promises: far away the follower gains, and verify tells."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(bounds=(-0.1, 0.1), initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-1, 1), initialize=0.0)
    m.f.cost = pyo.Objective(expr=m.f.u + m.u0 + m.f.u**2 / 10)
    m.goal = pyo.Objective(expr=m.u0**2)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    for saturate in (False, True):  # whether the projection is announced or not: the leader cannot play anything else
        report = sp.verify(sp.affine_incentive(plan, saturate=saturate))
        assert not report.ok
        assert report.regret["f"] == pytest.approx(1 - 0.1 - 0.1, abs=1e-6)
        assert report.best_response["f"]["f.u"] == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize(("lower", "upper"), list(product([-1.0, None], [1.0, None])))
def test_a_population_leaves_bounds_one_member_at_a_time(lower: float | None, upper: float | None) -> None:
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(bounds=(lower, upper), initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-4, 4), initialize=0.0)
    m.f.cost = pyo.Objective(expr=m.f.u + 2 * m.u0 + m.f.u**2)
    m.goal = pyo.Objective(expr=m.u0**2)
    plan = sp.Plan.from_values(sp.Game(m, followers=sp.Population(m.f, 50)))
    beyond = sp.affine_incentive(plan).excursions  # K = −1/2 of one member's own action
    assert list(beyond) == ([] if lower is None and upper is None else ["u0"])
    for ends in beyond.values():  # in natural units one step more is rounded
        assert ends == pytest.approx((-2.0, 2.0), rel=1e-12)


@pytest.mark.parametrize("top", [5.0, None])
def test_excursions_of_many_quadratic_terms(top: float | None) -> None:
    """t_i = offset + K d + ½ R d² on d = u − 1 from −6 to top − 1, no dense table."""
    count = 1500
    m = pyo.ConcreteModel()
    m.f = pyo.Block(range(count))
    m.t = pyo.Var(range(count), bounds=(-1, 1), initialize=0)
    for i in range(count):
        m.f[i].u = pyo.Var(bounds=(-5, top), initialize=1)
        pay = m.t[i] if i % 2 else -m.t[i]
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - 2) ** 2 + pay)
    m.goal = pyo.Objective(expr=sum((m.f[i].u - 1) ** 2 + m.t[i] ** 2 for i in range(count)))
    rule = sp.affine_incentive(sp.Plan.from_values(sp.Game(m, followers=m.f)))
    signs = np.array([1.0 if i % 2 else -1.0 for i in range(count)])
    rule.bend = sp_sparse.csc_array(sp_sparse.diags_array(0.5 * signs))
    tracemalloc.start()
    found = rule.excursions
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 * count**2 / 2, "less than half of a table of leader variables × followers"
    far = math.inf if top is None else top - 1
    for i in (0, 1, count - 1):  # K = 2, R = 1/2 in its sign; the two terms each at their worst
        bow = max(6.0, far) ** 2 / 4
        low, high = -12.0, 2 * far + bow
        assert found[f"t[{i}]"] == pytest.approx((low, high) if i % 2 else (-high, -low))


@pytest.mark.parametrize("seed", range(12))
def test_projections_of_many_followers_and_signals(seed: int) -> None:
    """Populations, two actions, a mean: every follower's regret against the projection, on a grid of its actions."""
    random = np.random.default_rng(seed)
    m0, sizes = int(random.integers(1, 3)), [int(random.choice([1, 1, 3])) for _ in range(random.integers(1, 4))]
    own = random.integers(1, 3, size=len(sizes)).tolist()
    low, high = -random.uniform(0.0, 1.5, size=m0) * (random.random(m0) < 0.8), random.uniform(0.1, 1.5, size=m0)
    m = pyo.ConcreteModel()
    m.lead = pyo.Var(range(m0), initialize=0.0, bounds=lambda _, i: (float(low[i]), float(high[i])))
    m.mean, m.f = pyo.Var(initialize=0.0), pyo.Block(range(len(sizes)))
    costs = []
    for k, block in m.f.items():
        block.u = pyo.Var(range(own[k]), initialize=0.0, bounds=(-1, 1))
        z, n = [*m.lead.values(), *block.u.values()], range(m0 + own[k])
        root = random.normal(size=(len(n), len(n)))
        matrix, linear = root @ root.T / len(n), random.normal(size=len(n))
        cost = sum(float(matrix[i, j]) / 2 * z[i] * z[j] for i in n for j in n)
        block.cost = pyo.Objective(expr=cost + sum(float(linear[i]) * z[i] for i in n))
        costs.append((matrix, linear))
    m.average = pyo.Constraint(expr=m.mean == sum(v for b in m.f.values() for v in b.u.values()))
    m.goal = pyo.Objective(expr=sum(v**2 for v in m.lead.values()))
    game = sp.Game(m, followers=[sp.Population(m.f[k], s) for k, s in enumerate(sizes)], aggregates=[m.average])
    refused: dict[str, str] = {}
    try:
        rule = sp.affine_incentive(sp.Plan.from_values(game), [m.mean, *(b.u for b in m.f.values())], saturate=True)
    except sp.NoIncentive as error:
        refused = error.reasons
    if refused:
        assert all("leader bound" in why for why in refused.values())
        return
    gain, report = rule.gain.loc[[f"lead[{i}]" for i in range(m0)]], sp.verify(rule, starts=4)
    for k, (matrix, linear) in enumerate(costs):
        axes = [np.linspace(-1, 1, 4001 if own[k] == 1 else 201)] * own[k]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, own[k])
        response = gain[[f"f[{k}].u[{j}]" for j in range(own[k])]].to_numpy() + gain[["mean"]].to_numpy() / sizes[k]
        points = np.hstack([np.clip(grid @ response.T, low, high), grid])
        regret = -(np.einsum("ni,ij,nj->n", points, matrix, points) / 2 + points @ linear).min()
        assert report.regret[f"f[{k}]"] >= regret - 1e-6
        assert report.regret[f"f[{k}]"] <= max(0.0, regret) + (1e-2 if own[k] == 2 else 1e-5)


def test_payments_that_make_no_sense() -> None:
    m, *_ = _network(1)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    with pytest.raises(sp.InvalidGame, match="payment=3: expected an expression"):
        sp.affine_incentive(plan, free=m.toll, payment=3)
    with pytest.raises(sp.InvalidGame, match="payment: there is nothing to choose it by"):
        sp.affine_incentive(plan, payment=m.toll[0] * 1.0)
    with pytest.raises(sp.InvalidGame, match=r"payment=.*: expected an expression that holds a free variable"):
        sp.affine_incentive(plan, free=m.toll[0], payment=m.toll[1] * 1.0)


@pytest.mark.parametrize("alike", [2, 3, 5])
@pytest.mark.parametrize("prefer", ["energy", "sparsest"])
def test_alike_followers_give_one_equation_many_times(alike: int, prefer: str) -> None:
    """a + b = 1 holds them all; with b = 0 or b ≤ 0.4 there is still a gain."""
    m = pyo.ConcreteModel()
    m.a, m.b = pyo.Var(), pyo.Var()
    m.f = pyo.Block(range(alike))
    for i in m.f:
        m.f[i].x = pyo.Var(bounds=(0, 2))
        m.f[i].c = pyo.Objective(expr=(m.f[i].x - 1.5) ** 2 + (m.a + m.b) * m.f[i].x)
    m.s = pyo.Expression(expr=sum(m.f[i].x for i in m.f))
    m.goal = pyo.Objective(expr=sum((m.f[i].x - 1) ** 2 for i in m.f) + m.a**2 + m.b**2)
    plan = sp.leader_optimal(sp.Game(m, m.f))
    for high in (0.0, 0.4):
        rule = sp.affine_incentive(plan, [m.s], gain_bounds={"b": (0, high)}, prefer=prefer)
        gain = rule.gain["s"]
        assert gain.sum() == pytest.approx(1.0, abs=1e-7)
        assert -1e-9 <= gain["b"] <= high + 1e-9


def test_what_the_leader_cannot_play_is_not_verified() -> None:
    """p = 0.3 + 3.7 (h − 1) would hold it; with p ≤ 0.6 it gains from h = 1 to h = 2.7: 4.3 − (0.09 + 1.62)."""
    m = pyo.ConcreteModel()
    m.p = pyo.Var(bounds=(0, 0.6), initialize=0.3)
    m.f = pyo.Block()
    m.f.h = pyo.Var(bounds=(0, 4), initialize=1.0)
    m.f.c = pyo.Objective(expr=(m.f.h - 3) ** 2 + m.p * m.f.h)
    m.goal = pyo.Objective(expr=(m.f.h - 1) ** 2 + (m.p - 0.3) ** 2)
    plan = sp.leader_optimal(sp.Game(m, m.f))
    report = sp.verify(sp.affine_incentive(plan))
    assert not report.ok
    assert report.verdict.startswith("NOT verified with p stopped at the leader's bounds: largest")
    assert report.regret["f"] == pytest.approx(4.3 - 0.09 - 1.62, abs=1e-6)
    assert report.best_response["f"]["f.h"] == pytest.approx(2.7, abs=1e-6)
    assert "The answer stops at the leader's bounds: wider ones, or another plan, may hold it." in report.advice[0]
    assert any("p leaves its bounds" in remark and "saturate=True" in remark for remark in report.remarks)
    again = sp.Report.from_json(report.to_json())
    assert (again.warnings, again.cut) == (report.warnings, ("p",))
    cut = sp.verify(sp.affine_incentive(plan, saturate=True))
    assert not cut.ok
    assert "The answer stops at the leader's bounds: wider ones, or another plan, may hold it." in cut.advice[0]


def test_nothing_observed_tells_free_prices_nothing() -> None:
    m = pyo.ConcreteModel()
    m.p = pyo.Var(bounds=(0, 9), initialize=1.0)
    m.f = pyo.Block()
    m.f.q = pyo.Var(bounds=(0, 9), initialize=1.0)
    m.f.profit = pyo.Objective(expr=m.p * m.f.q - m.f.q**2, sense=pyo.maximize)
    m.goal = pyo.Objective(expr=(m.f.q - 2) ** 2)
    plan = sp.leader_optimal(sp.Game(m, m.f))
    assert sp.affine_incentive(plan, observe=[]).alone == ["f"]
    with pytest.raises(sp.InvalidGame, match=r"observe: names no signal.*gain_bounds=\(0, 0\)"):
        sp.affine_incentive(plan, observe=[], free=[m.p])
    rule = sp.affine_incentive(plan, free=[m.p], gain_bounds=(0, 0))
    assert rule.offset["p"] == pytest.approx(4, abs=1e-6)
    assert rule.norm == 0


def test_a_weight_of_zero_does_not_value_a_price() -> None:
    m = pyo.ConcreteModel()
    m.p = pyo.Var(bounds=(0, 9), initialize=1.0)
    m.w = pyo.Param(initialize=0.0, mutable=True)
    m.f = pyo.Block()
    m.f.q = pyo.Var(bounds=(0, 9), initialize=1.0)
    m.f.profit = pyo.Objective(expr=m.p * m.f.q - m.f.q**2, sense=pyo.maximize)
    m.goal = pyo.Objective(expr=(m.f.q - 2) ** 2 + m.w * m.p**2)
    game = sp.Game(m, m.f)
    assert sp.affine_incentive(sp.leader_optimal(game), free=[m.p]).offset["p"] == pytest.approx(4, abs=1e-6)
    m.w.set_value(1e-3)
    with pytest.raises(sp.InvalidGame, match="p: cannot be free"):
        sp.affine_incentive(sp.leader_optimal(game), free=[m.p])
