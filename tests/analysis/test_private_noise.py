"""Noise of members: hand-solved averages, joint draws written out one by one, and samples."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.optimize import minimize

import stackpyomo as sp
from stackpyomo.analysis import private_noise

SCENARIOS = {"low": 0.3, "high": 0.7}
LEVEL = {"low": -1.0, "high": 0.5}


def crowd(curve: float = 0.0, bend: float = 0.0) -> Any:
    """(model, game) of a major v, infinitely many u[s] who meet their average, and a leader who feels its variance."""
    m = pyo.ConcreteModel()
    m.p, m.mean, m.f, m.major = pyo.Var(initialize=0.0), pyo.Var(initialize=0.1), pyo.Block(), pyo.Block()
    m.f.u = pyo.Var(SCENARIOS, bounds=(-5, 5), initialize=0.1)
    m.major.v = v = pyo.Var(bounds=(-5, 5), initialize=0.5)
    u = m.f.u
    m.f.cost = pyo.Objective(
        expr=sum(
            p
            * ((u[s] - 1 - LEVEL[s]) ** 2 + (m.p - 0.3) ** 2 + 0.4 * u[s] * m.mean + m.p * u[s] / 2 + curve * u[s] ** 4)
            for s, p in SCENARIOS.items()
        )
        + bend * m.mean**2
    )
    m.major.cost = pyo.Objective(expr=(v - 1) ** 2 + v * m.p + m.p**2)
    m.average = pyo.Constraint(expr=m.mean == sum(p * u[s] for s, p in SCENARIOS.items()))
    own = sum(p * (u[s] - m.mean) ** 2 for s, p in SCENARIOS.items())
    m.goal = pyo.Objective(expr=(1 - m.p - m.mean) ** 2 + m.p**2 / 2 + (v - 0.2) ** 2 + own / 3)
    return m, sp.Game(m, [m.major, sp.Population(m.f, math.inf, noise=SCENARIOS)], aggregates=[m.average])


def planned(m: Any, plan: Any) -> tuple[Any, float, float]:
    return np.array([plan.value(m.f.u[s]) for s in SCENARIOS]), plan.value(m.p), plan.value(m.mean)


def test_the_leader_loses_the_variance_of_an_average() -> None:
    """E (a − ū)² holds Var u / N, and the mean of (u − ū)² is (1 − 1/N) Var u."""
    m, game = crowd()
    plan = sp.leader_optimal(game, responding=["f"])
    (low, high), p, mean = planned(m, plan)
    spread = 0.21 * (high - low) ** 2
    assert mean == pytest.approx(0.3 * low + 0.7 * high, abs=1e-7)
    table = sp.simulate(plan, [2, 10, 1000], draws=500, seed=1)
    for row in table.itertuples():
        wanted = (1 - p - mean) ** 2 + spread / row.size + p**2 / 2 + (1 - 1 / row.size) * spread / 3
        wanted += (plan.value(m.major.v) - 0.2) ** 2
        assert abs(row.leader_objective - wanted) < 4 * row.leader_objective_se
        assert row.regret_se == pytest.approx(0.0, abs=1e-12), "what a member can expect is no matter of one draw"
    assert table.attrs["rates"]["regret"] == pytest.approx(-2.0, abs=0.05)


@pytest.mark.parametrize("seen", ["nothing", "the major", "both"])
def test_regret_and_loss_against_every_joint_draw(seen: str) -> None:
    """All 2³ draws of three members, a member's best decision by scipy, the leader's answer by its formula."""
    m, game = crowd(curve=0.1, bend=0.2)
    plan = sp.leader_optimal(game, responding=["f"])
    (u, p, mean), v = planned(m, plan), plan.value(m.major.v)
    signal = {"the major": m.major.v, "both": m.major.v + m.mean / 2}.get(seen)
    subject = plan if signal is None else sp.affine_incentive(plan, observe=[signal])
    slope = float(subject.gain.iloc[0, 0]) / 2 if seen == "both" else 0.0
    level, chance = np.array(list(LEVEL.values())), np.array(list(SCENARIOS.values()))

    def expected(mine: Any) -> tuple[float, float]:
        cost = loss = 0.0
        for draw in product((0, 1), repeat=3):
            weight = math.prod(chance[s] for s in draw)
            acts = np.array([mine[draw[0]], u[draw[1]], u[draw[2]]])
            price = p + slope * (acts.mean() - mean)
            own = (acts[0] - 1 - level[draw[0]]) ** 2 + (price - 0.3) ** 2 + 0.4 * acts[0] * acts.mean()
            cost += weight * (own + price * acts[0] / 2 + 0.1 * acts[0] ** 4 + 0.2 * acts.mean() ** 2)
            spread = ((acts - acts.mean()) ** 2).mean() / 3
            loss += weight * ((1 - price - acts.mean()) ** 2 + price**2 / 2 + (v - 0.2) ** 2 + spread)
        return cost, loss

    best = minimize(lambda x: expected(x)[0], u, tol=1e-12)
    row = sp.simulate(subject, [3], draws=800, seed=2).iloc[0]
    assert row["regret"] == pytest.approx(expected(u)[0] - best.fun, rel=1e-4, abs=1e-8)
    assert abs(row["leader_objective"] - expected(u)[1]) < 4 * row["leader_objective_se"]


def test_points_of_the_same_mean_and_covariance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact where costs are quadratic, close to it elsewhere."""
    for curve, share in ((0.0, 1e-6), (0.1, 0.05)):
        plan = sp.leader_optimal(crowd(curve, bend=0.3)[1], responding=["f"])
        monkeypatch.setattr(private_noise, "_STATES", 100)
        exact = sp.simulate(plan, [20])["regret"]
        monkeypatch.setattr(private_noise, "_STATES", 1)
        assert sp.simulate(plan, [20])["regret"][0] == pytest.approx(exact[0], rel=share)


@pytest.mark.slow
def test_state_and_noise_together() -> None:
    """y = x + w, u = k y, x common, w a member's own: against one member's k + d by closed moments, as by hand."""
    x, w = (-1.0, 1.0), {-math.sqrt(0.5): 0.5, math.sqrt(0.5): 0.5}
    m = pyo.ConcreteModel()
    m.p, m.mean, m.f = pyo.Var(initialize=0.0), pyo.Var(x, initialize=0.1), pyo.Block()
    m.f.k, m.f.u = pyo.Var(initialize=0.1), pyo.Var(x, list(w), initialize=0.1)
    u = m.f.u
    m.f.policy = pyo.Constraint(x, list(w), rule=lambda b, s, n: b.u[s, n] == b.k * (s + n))
    m.f.cost = pyo.Objective(
        expr=sum(
            q / 2 * ((u[s, n] - 0.8 * s) ** 2 + (s * m.p - 0.3 * s) ** 2 + 0.4 * u[s, n] * m.mean[s])
            for s in x
            for n, q in w.items()
        )
    )
    m.average = pyo.Constraint(x, rule=lambda b, s: b.mean[s] == sum(q * b.f.u[s, n] for n, q in w.items()))
    m.goal = pyo.Objective(expr=sum((s - s * m.p - m.mean[s]) ** 2 + s**2 * m.p**2 / 2 for s in x) / 2)
    game = sp.Game(m, sp.Population(m.f, math.inf, noise=w), aggregates=[m.average])
    plan = sp.leader_optimal(game, responding=["f"])
    k, p = plan.value(m.f.k), plan.value(m.p)
    assert k == pytest.approx(1.6 / 3.4, abs=1e-6)
    table = sp.simulate(plan, [2, 10, 100], draws=600, seed=3)
    for row in table.itertuples():
        d, noise = np.linspace(-1, 1, 200_001), 0.5 / row.size
        both = (k + d) * (k + (d / row.size)) + noise * (k + d) ** 2
        cost = (k + d - 0.8) ** 2 + (k + d) ** 2 / 2 + 0.4 * both
        assert row.regret == pytest.approx(cost[100_000] - cost.min(), rel=1e-3, abs=1e-8)
        wanted = (1 - p - k) ** 2 + noise * k**2 + p**2 / 2
        assert abs(row.leader_objective - wanted) < 4 * row.leader_objective_se


def test_two_types_of_whom_one_has_noise() -> None:
    """Of four: n of the noisy type by chance, a member of either judged before anybody's noise is known."""
    m = pyo.ConcreteModel()
    m.p, m.mean, m.a, m.b = pyo.Var(initialize=0.0), pyo.Var(initialize=0.1), pyo.Block(), pyo.Block()
    m.a.u, m.b.u = pyo.Var([0, 1], initialize=0.1), pyo.Var(initialize=0.1)
    m.a.c = pyo.Objective(expr=sum(0.5 * ((m.a.u[s] - s) ** 2 + m.a.u[s] * m.mean) for s in (0, 1)))
    m.b.c = pyo.Objective(expr=(m.b.u - 1) ** 2 + m.b.u * m.mean + m.mean**2)
    m.average = pyo.Constraint(expr=m.mean == 0.25 * (m.a.u[0] + m.a.u[1]) + 0.5 * m.b.u)
    m.goal = pyo.Objective(expr=m.mean**2 + m.p**2)
    noise = sp.Scenarios({"wish": [0, 1]})
    followers = [sp.Population(m.a, math.inf, noise=noise), sp.Population(m.b, math.inf)]
    plan = sp.leader_optimal(sp.Game(m, followers, aggregates=[m.average]), responding=["a", "b"])
    u, b = [plan.value(m.a.u[s]) for s in (0, 1)], plan.value(m.b.u)
    table = sp.simulate(plan, [4], draws=6, seed=5).attrs["draws"]
    random = np.random.default_rng(5)
    for _, row in table.iterrows():
        noisy, plain = random.multinomial(4, [0.5, 0.5])
        high = random.multinomial(noisy, [0.5, 0.5])[1]
        random.multinomial(plain, [1.0])
        mean = ((noisy - high) * u[0] + high * u[1] + plain * b) / 4
        assert row["leader_objective"] == pytest.approx(mean**2 + plan.value(m.p) ** 2, abs=1e-9)
        regrets = [0.0]
        average, spread = (u[0] + u[1]) / 2, (u[1] - u[0]) ** 2 / 4
        if noisy:
            rest = ((noisy - 1) * average + plain * b) / 4
            best = [s**2 - (2 * s - rest) ** 2 / 5 for s in (0, 1)]  # min (v − s)² + v (rest + v/4)
            regrets.append(np.mean([(u[s] - s) ** 2 + u[s] * (rest + u[s] / 4) - best[s] for s in (0, 1)]))
        if plain:
            rest, noise_of_rest = (noisy * average + (plain - 1) * b) / 4, noisy * spread / 16

            def cost(v: Any, rest: float = rest, extra: float = noise_of_rest) -> Any:
                mean = rest + v / 4
                return (v - 1) ** 2 + v * mean + mean**2 + extra

            regrets.append(cost(b) - float(minimize(lambda v: float(cost(v[0])), 0.0).fun))
        assert row["regret"] == pytest.approx(max(regrets), abs=1e-6)


@pytest.mark.slow
def test_what_cannot_be_drawn_is_refused() -> None:
    m, game = crowd()
    plan = sp.leader_optimal(game, responding=["f"])
    for other in ({"settle": True}, {"games": lambda _: game}):
        with pytest.raises(sp.InvalidGame, match="noise of their own go neither with settle=True nor with games="):
            sp.simulate(plan, [2], **other)
    m.goal.set_value(m.p**2 + (0.3 * m.f.u["low"] + 0.7 * m.f.u["high"]) ** 2)
    with pytest.raises(sp.InvalidGame, match="goal: a term holds what members do in several scenarios"):
        sp.simulate(sp.leader_optimal(game, responding=["f"]), [2])
    m.goal.set_value(m.p**2 + (m.mean - 1) ** 2 + (m.major.v - 0.2) ** 2)
    m.f.cap = pyo.Constraint(expr=m.f.u["low"] <= 4 + m.mean)
    with pytest.raises(sp.InvalidGame, match=r"f.cap: holds what the noise of others moves"):
        sp.simulate(sp.leader_optimal(game, responding=["f"]), [2])
    m.f.cap.deactivate()
    level = sp.leader_optimal(game, responding=["f"]).value(m.p)
    m.p.setlb(level - 0.01)
    m.p.setub(level + 0.01)
    both = sp.affine_incentive(sp.leader_optimal(game, responding=["f"]), observe=[m.major.v + m.mean / 2])
    with pytest.raises(sp.InvalidGame, match="p: its answer to what members with noise draw may leave its bounds"):
        sp.simulate(both, [2])
    rule = sp.affine_incentive(sp.leader_optimal(game, responding=["f"]), observe=[m.major.v], saturate=True)
    with pytest.raises(sp.InvalidGame, match="projected on its bounds does not go with noise"):
        sp.simulate(rule, [2])
