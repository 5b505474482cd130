"""What is announced is what is played: strategies beside the leader's bounds, excursions and projections."""

from __future__ import annotations

import math
import tracemalloc
from itertools import product

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import CASES, at_a_bound, drawn, number, seeds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse as sp_sparse

import stackpyomo as sp

SLOW = settings(max_examples=drawn(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("saturate", [False, True])
def test_a_bound_of_good_orientation(saturate: bool) -> None:
    wanted = CASES["NQ11_leader_bound_active_good_orientation"]["expected"]["followers"][0]
    rule = sp.affine_incentive(at_a_bound("NQ11"), saturate=saturate)
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
        sp.affine_incentive(at_a_bound("SAT01"), saturate=saturate)
    assert caught.value.residuals["f"] == pytest.approx(2.0)


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


@pytest.mark.parametrize("seed", seeds(12))
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
