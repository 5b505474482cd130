"""Gains by slopes against closed forms, and against the same game written another way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

import stackpyomo as sp

SLOW = settings(max_examples=drawn(15), deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Quadratic:
    """A random jointly convex LQ game: J_k = zᵀP_k z/2 − p_kᵀz, z = (u0, u_1 … u_N), known in closed form."""

    def __init__(self, seed: int, leaders: int, followers: int, own: int) -> None:
        random = np.random.default_rng(seed)
        self.m0, self.n, self.own = leaders, followers, own
        size = leaders + followers * own
        self.costs = []
        for _ in range(followers + 1):
            root = random.normal(size=(size, size))
            self.costs.append((root @ root.T / size + np.eye(size), random.normal(size=size) * 2))
        matrix, linear = self.costs[0]
        self.z = np.linalg.solve(matrix, linear)

    def columns(self, k: int) -> slice:
        return slice(self.m0 + k * self.own, self.m0 + (k + 1) * self.own)

    def gradients(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        matrix, linear = self.costs[k + 1]
        slope = matrix @ self.z - linear
        return slope[self.columns(k)], slope[: self.m0]

    def gain(self, k: int, weights: np.ndarray | None = None) -> np.ndarray:
        a, b = self.gradients(k)
        inverse = np.ones(self.m0) if weights is None else 1 / weights
        return -np.outer(inverse * b, a) / (b @ (inverse * b))

    def game(self, signs: list[int]) -> sp.Game:
        """signs[k] = −1 writes player k's cost as something to be maximised."""
        m = pyo.ConcreteModel()
        m.lead = pyo.Var(range(self.m0))
        m.f = pyo.Block(range(self.n))
        for k in range(self.n):
            m.f[k].u = pyo.Var(range(self.own))
        z = [*m.lead.values(), *(v for k in range(self.n) for v in m.f[k].u.values())]

        def objective(player: int) -> pyo.Objective:
            matrix, linear = self.costs[player]
            cost = sum(matrix[i, j] / 2 * z[i] * z[j] for i in range(len(z)) for j in range(len(z)))
            cost -= sum(linear[i] * z[i] for i in range(len(z)))
            sense = pyo.minimize if signs[player] > 0 else pyo.maximize
            return pyo.Objective(expr=signs[player] * cost, sense=sense)

        m.goal = objective(0)
        for k in range(self.n):
            m.f[k].cost = objective(k + 1)
        return sp.Game(m, followers=m.f)


@SLOW
@given(
    seed=st.integers(0, 10**6),
    leaders=st.integers(1, 3),
    followers=st.integers(1, 3),
    own=st.integers(1, 2),
    data=st.data(),
)
def test_random_quadratic_games(seed: int, leaders: int, followers: int, own: int, data: Any) -> None:
    """Plan, gains and regret do not depend on how the senses are written, and equal the closed forms."""
    lq = Quadratic(seed, leaders, followers, own)
    signs = data.draw(st.lists(st.sampled_from([1, -1]), min_size=followers + 1, max_size=followers + 1))
    plan = sp.leader_optimal(lq.game(signs))
    assert plan.quality == "optimal"
    np.testing.assert_allclose([plan.value(v) for v in _order(plan)], lq.z, atol=1e-7)
    matrix, linear = lq.costs[0]
    assert signs[0] * plan.leader_objective == pytest.approx(lq.z @ matrix @ lq.z / 2 - linear @ lq.z, abs=1e-7)
    weights = np.array(data.draw(st.lists(st.floats(0.1, 10), min_size=leaders, max_size=leaders)))
    energy = [(f"lead[{i}]", w) for i, w in enumerate(weights)]
    rule = sp.affine_incentive(plan, energy=energy)
    for k in range(followers):
        columns = [f"f[{k}].u[{j}]" for j in range(own)]
        wanted = lq.gain(k, weights)
        np.testing.assert_allclose(rule.gain[columns].to_numpy(), wanted, rtol=1e-5, atol=1e-6)
    assert rule.residual <= 1e-7
    assert rule.freedom == (leaders - 1) * own * followers
    assert rule.energy == pytest.approx(
        sum((weights[:, None] * lq.gain(k, weights) ** 2).sum() for k in range(followers)), rel=1e-5
    )
    report = sp.verify(rule)
    assert report.ok
    assert (report.certificate == "convex").all()
    assert report.epsilon <= 1e-8 * max(1, report.objective.abs().max())


def _order(plan: sp.Plan) -> list[Any]:
    m = plan.attached().model
    return [*m.lead.values(), *(v for k in m.f for v in m.f[k].u.values())]


def test_every_direction_of_the_null_space_is_valid() -> None:
    lq = Quadratic(7, 3, 2, 2)
    rule = sp.affine_incentive(sp.leader_optimal(lq.game([1, 1, 1])))
    assert rule.null_space.shape == (rule.freedom, 3, 4) == (8, 3, 4)
    flat = rule.null_space.reshape(8, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(8), atol=1e-12)
    for k in range(2):
        a, b = lq.gradients(k)
        for direction in rule.null_space:
            gain = (rule.gain.to_numpy() + 3 * direction)[:, 2 * k : 2 * k + 2]
            np.testing.assert_allclose(a + gain.T @ b, 0, atol=1e-6)


DT01 = {1: (-111, 223), 2: (-187, 446), 5: (-83, 223), 10: (-159, 446), 100: (-1527, 4460)}
"""Exact gains of the game below (this project's case DT01), by number of followers."""


def _averages(size: int, explicit: bool, written_out: bool = False) -> sp.Game:
    """J_i = (u_i−1)²/2 + ū u_i/4 + (u0+1)²/2 + u0 u_i/5, ū including one's own action."""
    m = pyo.ConcreteModel()
    m.u0, m.mean = pyo.Var(), pyo.Var()
    count = size if explicit else 1
    m.f = pyo.Block(range(count))
    for i in range(count):
        m.f[i].u = pyo.Var()
    users = [m.f[i].u for i in range(count)]
    m.average = pyo.Constraint(expr=m.mean == pyo.quicksum(users) / count)
    mean = pyo.quicksum(users) / count if written_out else m.mean
    for i in range(count):
        u = m.f[i].u
        m.f[i].cost = pyo.Objective(expr=(u - 1) ** 2 / 2 + mean * u / 4 + (m.u0 + 1) ** 2 / 2 + m.u0 * u / 5)
    square = pyo.quicksum(u**2 for u in users) / count
    m.goal = pyo.Objective(expr=(m.u0 - 1) ** 2 + (m.mean - 2) ** 2 + square / 2 + m.u0 * m.mean / 2)
    followers = m.f if explicit else sp.Population(m.f, size)
    return sp.Game(m, followers=followers, aggregates=[] if written_out else [m.average])


@pytest.mark.parametrize("size", DT01)
@pytest.mark.parametrize("how", ["explicit", "written out", "population"])
def test_a_share_of_the_average(size: int, how: str) -> None:
    """One population of N, N followers with an aggregate, and the sum written out are the same game."""
    game = _averages(size, how != "population", how == "written out")
    plan = sp.leader_optimal(game)
    assert plan.value("u0") == pytest.approx(16 / 23, abs=1e-8)
    assert plan.value("f[0].u") == pytest.approx(28 / 23, abs=1e-8)
    rule = sp.affine_incentive(plan)
    numerator, denominator = DT01[size]
    assert rule.gain.loc["u0"].to_numpy() == pytest.approx(numerator / denominator, rel=1e-7)
    report = sp.verify(rule)
    assert report.ok
    assert report.epsilon <= 1e-9
    deviation = 0.3  # of every member
    answer = rule.actions({s: rule.targets[s] + deviation for s in rule.signals})["u0"]
    assert answer == pytest.approx(16 / 23 + size * deviation * numerator / denominator, rel=1e-7)


def test_the_limit_of_many_followers_takes_the_average_as_given() -> None:
    plan = sp.leader_optimal(_averages(1, explicit=False).with_sizes({"f[0]": math.inf}))
    rule = sp.affine_incentive(plan)
    slope = (28 / 23 - 1) + 28 / 23 / 4 + 16 / 23 / 5
    assert rule.gain.iloc[0, 0] == pytest.approx(-slope / (16 / 23 + 1 + 28 / 23 / 5), rel=1e-7)
    assert sp.verify(rule).ok


def test_chained_aggregates_move_together() -> None:
    """total = 2 mean, mean = Σu/N: what is felt through the total is felt twice."""
    m = pyo.ConcreteModel()
    m.u0, m.mean, m.total = pyo.Var(), pyo.Var(), pyo.Var()
    m.f = pyo.Block(range(3))
    for i in range(3):
        m.f[i].u = pyo.Var()
        m.f[i].cost = pyo.Objective(expr=m.f[i].u ** 2 + m.total * (i + 1) + m.u0 * m.f[i].u + m.u0**2)
    m.a = pyo.Constraint(expr=m.total == 2 * m.mean)
    m.b = pyo.Constraint(expr=3 * m.mean == sum(m.f[i].u for i in range(3)))
    m.goal = pyo.Objective(expr=(m.u0 - 1) ** 2 + sum((m.f[i].u - 1) ** 2 for i in range(3)))
    game = sp.Game(m, followers=m.f, aggregates=[m.a, m.b])
    rule = sp.affine_incentive(sp.leader_optimal(game))
    for i in range(3):
        slope = 2 + 2 / 3 * (i + 1) + 1
        assert rule.gain.loc["u0", f"f[{i}].u"] == pytest.approx(-slope / 3, rel=1e-7)
    assert sp.verify(rule).ok


@SLOW
@given(seed=st.integers(0, 10**6), lean=st.booleans())
def test_own_constraints_can_carry_a_follower(seed: int, lean: bool) -> None:
    """multipliers='free' leaves the distance of −a to the normal cone, here by SciPy's nnls."""
    random = np.random.default_rng(seed)
    target, pull = random.uniform(0.2, 0.8, 2), random.normal(size=2)
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var()
    m.f = pyo.Block()
    m.f.u = pyo.Var(range(2), bounds=(0, 1))
    m.f.cap = pyo.Constraint(expr=m.f.u[0] + 2 * m.f.u[1] <= target[0] + 2 * target[1])
    own = sum((m.f.u[i] - target[i]) ** 2 + pull[i] * m.f.u[i] for i in range(2))
    m.f.cost = pyo.Objective(expr=own + (m.u0 + 1) ** 2)
    m.goal = pyo.Objective(expr=m.u0**2 + sum((m.f.u[i] - target[i] - 0.5) ** 2 for i in range(2)))
    plan = sp.leader_optimal(sp.Game(m, followers=m.f))
    rule = sp.affine_incentive(plan, multipliers="free" if lean else "zero")
    at = np.array([plan.value(m.f.u[i]) for i in range(2)])
    slope = 2 * (at - target) + pull
    normals = [np.array([1.0, 2.0])]
    normals += [np.eye(2)[i] for i in range(2) if at[i] > 1 - 1e-6] + [-np.eye(2)[i] for i in range(2) if at[i] < 1e-6]
    if lean:
        multiplier, _ = nnls(np.column_stack(normals), -slope)
        slope = slope + np.column_stack(normals) @ multiplier
        held = rule.multipliers.get("f.cap", 0.0)
        if len(normals) == 1:
            assert held == pytest.approx(multiplier[0], abs=1e-6)
    np.testing.assert_allclose(rule.gain.to_numpy()[0], -slope / 2, atol=1e-6)
    report = sp.verify(rule)
    assert report.ok
    assert report.epsilon <= 1e-7


def test_a_square_that_lifts_one_follower_and_bends_another_down_is_refused_for_both_by_name() -> None:
    """−v² + t and w²/10 − t see one signal v + w, so that R v²/2 for the first is −R w²/2 for the second."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(-5, 5), initialize=0.0)
    m.f = pyo.Block([0, 1])
    for block in m.f.values():
        block.v = pyo.Var(bounds=(-1, 1), initialize=0.0)
    v, w = m.f[0].v, m.f[1].v
    m.f[0].cost = pyo.Objective(expr=-(v**2) + m.t)
    m.f[1].cost = pyo.Objective(expr=w**2 / 10 - m.t)
    m.goal = pyo.Objective(expr=v**2 + w**2 + m.t**2)
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    with pytest.raises(sp.NoIncentive) as refusal:
        sp.affine_incentive(plan, observe=[v + w], quadratic=True)
    assert "f[1]" in refusal.value.reasons
    assert refusal.value.residuals["f[1]"] > 0.0


@pytest.mark.parametrize("level", [0.0, 1e-9, 2.5e-7, 1e-5])
@pytest.mark.parametrize(("cost", "unit"), [(1.0, 1.0), (1e-8, 1.0), (1.0, 1e-7), (1e8, 1e7)])
def test_an_action_next_to_0_is_held_as_one_at_0(level: float, cost: float, unit: float) -> None:
    """A sum of two actions is seen, and their slopes are no multiples of it: the slope of the second is left.

    It has no bounds, and its level no size; were that its unit, a slope of −1.7 would look like rounding.
    """
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(-5, 5), initialize=1.42)
    m.f = pyo.Block()
    m.f.u, m.f.v = pyo.Var(bounds=(-2, 3), initialize=0.66), pyo.Var(initialize=level * unit)
    v = m.f.v / unit
    m.f.cost = pyo.Objective(expr=cost * ((m.f.u - 0.82) ** 2 + (v - 1.1) ** 2 + m.t * (v + m.f.u + 1)))
    m.goal = pyo.Objective(expr=(m.f.u - 0.68) ** 2 + v**2 + m.t**2)
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    with pytest.raises(sp.NoIncentive, match="cannot be told apart"):
        sp.affine_incentive(plan, observe=[1.83 * m.f.u + 0.96 * v], design="slopes")
    rule = sp.affine_incentive(plan)
    assert rule.gain.to_numpy().ravel() @ [1.0, unit] == pytest.approx(-(1.1 - 0.78) / 1.66, rel=1e-4)
