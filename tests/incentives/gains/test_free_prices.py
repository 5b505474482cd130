"""Free prices: on-path values chosen with the gain, least payments, what makes no sense."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn, seeds
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, lsq_linear, minimize

import stackpyomo as sp

SLOW = settings(max_examples=drawn(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])


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


@pytest.mark.slow
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


def test_payments_that_make_no_sense() -> None:
    m, *_ = _network(1)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    with pytest.raises(sp.InvalidGame, match="payment=3: expected an expression"):
        sp.affine_incentive(plan, free=m.toll, payment=3)
    with pytest.raises(sp.InvalidGame, match="payment=: there is nothing to choose it by"):
        sp.affine_incentive(plan, payment=m.toll[0] * 1.0)
    with pytest.raises(sp.InvalidGame, match=r"payment=.*: expected an expression that holds a free variable"):
        sp.affine_incentive(plan, free=m.toll[0], payment=m.toll[1] * 1.0)


def test_nothing_observed_tells_free_prices_nothing() -> None:
    m = pyo.ConcreteModel()
    m.p = pyo.Var(bounds=(0, 9), initialize=1.0)
    m.f = pyo.Block()
    m.f.q = pyo.Var(bounds=(0, 9), initialize=1.0)
    m.f.profit = pyo.Objective(expr=m.p * m.f.q - m.f.q**2, sense=pyo.maximize)
    m.goal = pyo.Objective(expr=(m.f.q - 2) ** 2)
    plan = sp.leader_optimal(sp.Game(m, m.f))
    assert sp.affine_incentive(plan, observe=[]).alone == ["f"]
    with pytest.raises(sp.InvalidGame, match=r"observe=: names no signal.*gain_bounds=\(0, 0\)"):
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


def _fare(unit: float = 1.0) -> Any:
    """A rider who likes 3 and is wanted at 1: −2 + fare + gain = 0."""
    m = pyo.ConcreteModel()
    m.fare = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=1.0)
    m.f.cost = pyo.Objective(expr=(m.f.u - 3) ** 2 / 2 + m.fare / unit * m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - 1) ** 2)
    return m


@pytest.mark.parametrize("unit", [1e-5, 1.0, 1e5])
@pytest.mark.parametrize("bounds", [(-0.5, 0.5), (0.25, None)])
def test_the_least_payment_counts_what_the_gain_may_be(unit: float, bounds: tuple[float, float | None]) -> None:
    """Without limits of the gain the fare may fall without end; within ½ the rider pays 3/2, at the limit's corner."""
    m = _fare(unit)
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    limits = tuple(None if end is None else end * unit for end in bounds)
    asked = {"free": [m.fare], "payment": m.fare * m.f.u / unit, "gain_bounds": limits}
    if bounds[1] is None:
        with pytest.raises(sp.InvalidGame, match="falls without limit"):
            sp.affine_incentive(plan, **asked)
        return
    rule = sp.affine_incentive(plan, **asked)
    assert rule.payment == pytest.approx(1.5, rel=1e-6)
    assert rule.offset["fare"] == pytest.approx(1.5 * unit, rel=1e-6)
    assert rule.gain.loc["fare", "f.u"] == pytest.approx(0.5 * unit, rel=1e-6)
    assert sp.verify(rule).ok


@pytest.mark.parametrize("unit", [1e-5, 1e-2, 1.0, 1e4])
def test_free_prices_in_any_unit_within_a_payment(unit: float) -> None:
    """Two actions under one price with payment_limit=: in small units the program was called infeasible by solvers."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u, m.f.v = pyo.Var(initialize=-1.0), pyo.Var(initialize=0.5)
    step = (m.f.u - 4.8, m.f.v + 1.5)
    m.f.cost = pyo.Objective(
        expr=1e5 * (step[0] ** 2 / 2 + step[1] ** 2 / 2 + m.t / unit * (-2.8 + 0.59 * m.f.u + 1.17 * m.f.v))
    )
    m.goal = pyo.Objective(expr=(m.f.u + 1) ** 2 + (m.f.v - 0.5) ** 2)
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    rule = sp.affine_incentive(plan, free=[m.t], payment=0.61 * m.t / unit, payment_limit=0.3, curvature="none")
    price, effect = rule.offset["t"] / unit, -2.8 - 0.59 + 1.17 * 0.5
    assert 0.61 * price <= 0.3 + 1e-6
    gain = rule.gain.loc["t"].to_numpy() / unit
    np.testing.assert_allclose([-5.8 + 0.59 * price, 2.0 + 1.17 * price] + gain * effect, 0.0, atol=1e-5)
    best = minimize(lambda t: (-5.8 + 0.59 * t[0]) ** 2 + (2.0 + 1.17 * t[0]) ** 2, [0.0], bounds=[(None, 0.3 / 0.61)])
    assert (gain**2).sum() * effect**2 == pytest.approx(best.fun, rel=1e-5)


@pytest.mark.parametrize("unit", [1e-5, 1.0, 1e5])
@pytest.mark.parametrize("seed", [35, *seeds(8)])
def test_free_prices_are_chosen_in_their_natural_unit(seed: int, unit: float) -> None:
    """Actions at 0 or its ends, Σ ((a + b t ± λ) / e)² least: of 1e-5 a solver called the program infeasible."""
    random = np.random.default_rng(seed)
    count, prices = int(random.integers(2, 5)), int(random.integers(1, 3))
    slopes, effects = random.normal(size=count), random.uniform(0.2, 2.0, count) * random.choice([-1, 1], count)
    pulls, ends = random.normal(size=(count, prices)), random.choice([-1, 0, 0, 1], count)
    levels = np.round(random.normal(size=prices), 2) * unit
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(range(prices), initialize=dict(enumerate(levels.tolist()))), pyo.Block(range(count))
    for i, f in m.f.items():
        f.u = pyo.Var(bounds=(0 if ends[i] < 0 else None, 0 if ends[i] > 0 else None), initialize=0.0)
        paid = sum(m.t[j] / unit * float(pulls[i, j]) for j in m.t) * f.u + m.t[0] / unit * float(effects[i])
        f.cost = pyo.Objective(expr=float(slopes[i]) * f.u + f.u**2 / 2 + paid)
    m.goal = pyo.Objective(expr=sum(f.u**2 for f in m.f.values()))
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    rule = sp.affine_incentive(plan, free=list(m.t.values()), curvature="none", multipliers="free")
    matrix = np.hstack([pulls, np.diag(ends)[:, ends != 0]]) / effects[:, np.newaxis]
    low = [-np.inf] * prices + [0.0] * np.count_nonzero(ends)
    least = 2.0 * lsq_linear(matrix, -slopes / effects, (low, np.inf), method="bvls").cost
    energy = float((np.nan_to_num(rule.gain.to_numpy(dtype=float)) ** 2).sum()) / unit**2
    assert energy == pytest.approx(least, rel=1e-5, abs=1e-8)
