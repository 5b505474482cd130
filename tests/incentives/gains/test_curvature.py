"""Second order: gains that bend every follower's composed cost up, and proofs that there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.linalg import null_space
from scipy.optimize import minimize

import stackpyomo as sp

SLOW = settings(max_examples=drawn(120), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _quadratic(matrix: np.ndarray, linear: np.ndarray, z: list[Any]) -> Any:
    n = range(len(z))
    squares = sum(float(matrix[i, j]) / 2 * z[i] * z[j] for i in n for j in n if matrix[i, j])
    return squares + sum(float(linear[i]) * z[i] for i in n)


def _game(m0: int, m1: int, costs: list[tuple[np.ndarray, np.ndarray]], values: np.ndarray) -> sp.Game:
    """J_k = zᵀPz/2 + pᵀz over z = (u0, u_k), with values as the plan."""
    m = pyo.ConcreteModel()
    m.lead = pyo.Var(range(m0))
    m.f = pyo.Block(range(len(costs)))
    for k, (matrix, linear) in enumerate(costs):
        m.f[k].u = pyo.Var(range(m1))
        m.f[k].cost = pyo.Objective(expr=_quadratic(matrix, linear, [*m.lead.values(), *m.f[k].u.values()]))
    for var, value in zip(
        [*m.lead.values(), *(v for b in m.f.values() for v in b.u.values())], values.tolist(), strict=True
    ):
        var.set_value(value)
    m.goal = pyo.Objective(expr=sum(v**2 for v in m.lead.values()))
    return sp.Game(m, followers=m.f)


class Parts:
    """One follower's derivatives at the plan and its composed Hessian, in NumPy."""

    def __init__(self, matrix: np.ndarray, linear: np.ndarray, m0: int, z: np.ndarray) -> None:
        slope = matrix @ z + linear
        self.a, self.b = slope[m0:], slope[:m0]
        self.h00, self.h01, self.h11 = matrix[:m0, :m0], matrix[:m0, m0:], matrix[m0:, m0:]
        self.least = -np.outer(self.b, self.a) / (self.b @ self.b)
        self.across = null_space(self.b[np.newaxis])

    def hessian(self, gain: np.ndarray) -> np.ndarray:
        cross = gain.T @ self.h01
        return self.h11 + cross + cross.T + gain.T @ self.h00 @ gain

    def is_achievable(self) -> bool | None:
        """C₂ has no more non-positive eigenvalues than S positive ones (THEORY); None where S is singular."""
        s = self.across.T @ self.h00 @ self.across
        rising = np.linalg.eigvalsh(s) if s.size else np.zeros(0)
        if np.abs(rising).min(initial=1.0) < 1e-9:
            return None
        cross = self.across.T @ (self.h01 + self.h00 @ self.least)
        schur = self.hessian(self.least) - (cross.T @ np.linalg.solve(s, cross) if s.size else 0.0)
        return bool((np.linalg.eigvalsh(schur) <= 0.0).sum() <= (rising > 0.0).sum())

    def best_found(self, random: np.random.Generator) -> float:
        """The largest least eigenvalue that Nelder–Mead finds over all valid gains."""
        shape = self.across.shape[1], len(self.a)

        def bend(w: np.ndarray) -> float:
            return -float(np.linalg.eigvalsh(self.hessian(self.least + self.across @ w.reshape(shape)))[0])

        options = {"maxiter": 3000, "maxfev": 3000}
        starts = [random.normal(size=shape[0] * shape[1]) * size for size in (0.0, 1.0, 10.0)]
        return max(-minimize(bend, start, method="Nelder-Mead", options=options).fun for start in starts)


@pytest.mark.slow
@SLOW
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(["any", "tariff", "mild", "falling"]))
def test_random_quadratic_games_of_any_curvature(seed: int, kind: str) -> None:
    """What is returned is stationary and bends up; what is refused cannot be bent up, by the count of eigenvalues."""
    random = np.random.default_rng(seed)
    m0, m1, count = (int(random.integers(1, n)) for n in (5, 4, 3))
    costs = []
    for _ in range(count):
        root = random.normal(size=(m0 + m1, m0 + m1))
        matrix = root + root.T + (1.5 * np.eye(m0 + m1) if kind == "mild" else 0.0)
        if kind in ("tariff", "falling"):
            matrix[:m0, :m0] = 0.0 if kind == "tariff" else -np.eye(m0)
        costs.append((matrix, random.normal(size=m0 + m1)))
    values = random.normal(size=m0 + count * m1)
    plan = sp.Plan.from_values(_game(m0, m1, costs, values))
    refused: dict[str, str] = {}
    try:
        rule = sp.affine_incentive(plan)
    except sp.NoIncentive as error:
        refused = error.reasons
    if refused:
        assert all(why.startswith("curvature") for why in refused.values())
        rule = sp.affine_incentive(plan, curvature="none")
    for k, (matrix, linear) in enumerate(costs):
        own = values[m0 + k * m1 : m0 + (k + 1) * m1]
        parts = Parts(matrix, linear, m0, np.concatenate([values[:m0], own]))
        gain = rule.gain[[f"f[{k}].u[{j}]" for j in range(m1)]].loc[[f"lead[{i}]" for i in range(m0)]].to_numpy()
        np.testing.assert_allclose(parts.a + gain.T @ parts.b, 0.0, atol=1e-6 * (1 + np.abs(parts.a).max()))
        hessian = parts.hessian(gain)
        least = np.linalg.eigvalsh(hessian)[0]
        if f"f[{k}]" not in refused:
            assert least >= -1e-6 * max(1.0, np.abs(hessian).max()) or refused
            continue
        assert least < 0.0
        achievable = parts.is_achievable()
        if achievable is None:
            achievable = parts.best_found(random) > 1e-6
        assert not achievable
    if not refused:
        report = sp.verify(rule)
        assert report.ok
        assert (report.certificate == "convex").all(), "a composed quadratic that bends up is convex everywhere"


@pytest.mark.parametrize(("low", "achievable"), [(-1.0, False), (1.0, True)])
def test_the_case_that_no_gain_bends_up(low: float, achievable: bool) -> None:
    """NC05: H00 = diag(1, −1), a = (1, 1), b = (1, 0); C₂ has the eigenvalues −2 and −1. With H00 = I one gain does."""
    h00, h01 = np.diag([1.0, low]), np.array([[0.0, 1.0], [1.0, 0.0]])
    h11 = np.array([[-3.0, 0.0], [0.0, -1.0]]) if not achievable else np.array([[-3.0, 0.0], [0.0, 4.0]])
    matrix = np.block([[h00, h01], [h01.T, h11]])
    slope = np.array([1.0, 0.0, 1.0, 1.0])
    plan = sp.Plan.from_values(_game(2, 2, [(matrix, slope)], np.zeros(4)))
    if achievable:
        gain = sp.affine_incentive(plan).gain.to_numpy()
        assert np.linalg.eigvalsh(Parts(matrix, slope, 2, np.zeros(4)).hessian(gain))[0] > 0.0
        assert gain[0] == pytest.approx([-1.0, -1.0])
        return
    with pytest.raises(sp.NoIncentive, match="curvature: no gain makes its composed cost convex") as caught:
        sp.affine_incentive(plan)
    assert caught.value.residuals["f[0]"] == pytest.approx(2.0), "how far down it bends at the least gain"
    rule = sp.affine_incentive(plan, curvature="none")
    np.testing.assert_allclose(rule.gain.to_numpy(), [[-1.0, -1.0], [0.0, 0.0]], atol=1e-9)
    assert not sp.verify(rule).ok


def test_a_direction_that_stays_flat_is_no_reason_to_refuse() -> None:
    """S ≺ 0 and C₂ = diag(0, 1): W = −S⁻¹B leaves one direction flat, on which deviating changes nothing."""
    matrix = np.zeros((4, 4))
    matrix[:2, :2] = np.diag([1.0, -1.0])
    matrix[1, 2] = matrix[2, 1] = 1.0
    matrix[2:, 2:] = np.diag([-1.0 - 1.0, 1.0])
    slope = np.array([1.0, 0.0, 1.0, 0.0])
    parts = Parts(matrix, slope, 2, np.zeros(4))
    assert np.linalg.eigvalsh(parts.hessian(parts.least))[0] < -0.5
    best = parts.least + np.array([[0.0, 0.0], [1.0, 0.0]])
    assert np.linalg.eigvalsh(parts.hessian(best)) == pytest.approx([0.0, 1.0], abs=1e-12)
    rule = sp.affine_incentive(sp.Plan.from_values(_game(2, 2, [(matrix, slope)], np.zeros(4))))
    assert np.linalg.eigvalsh(parts.hessian(rule.gain.to_numpy()))[0] >= -1e-7
    assert sp.verify(rule).ok


@pytest.mark.slow
@SLOW
@given(seed=st.integers(0, 10**6))
@example(seed=250000)  # the least gain is large: its length must not be weighed against the curvature in absolute units
@example(seed=780)  # the only gains that bend everybody up are a hundred times the least one
def test_shared_signals_of_a_tariff(seed: int) -> None:
    """Bilinear costs under shared meters: a semidefinite program in all gains at once; Nelder–Mead finds no better."""
    random = np.random.default_rng(seed)
    m0, count = int(random.integers(2, 4)), 2
    own, meters = 2, int(random.integers(2, 5))
    size = m0 + own
    costs = []
    for _ in range(count):
        root = random.normal(size=(size, size))
        matrix = root + root.T
        matrix[:m0, :m0] = 0.0
        matrix[m0:, m0:] += 1.5 * np.eye(own)
        costs.append((matrix, random.normal(size=size)))
    moves = random.normal(size=(meters, count * own))
    game = _game(m0, own, costs, np.zeros(m0 + count * own))
    actions = [v for b in game.model.f.values() for v in b.u.values()]
    observe = [sum(float(w) * v for w, v in zip(row, actions, strict=True)) for row in moves]
    parts = [Parts(matrix, linear, m0, np.zeros(size)) for matrix, linear in costs]
    rows = [np.outer(parts[k // own].b, moves[:, k]).ravel() for k in range(count * own)]
    equations, slope = np.array(rows), np.concatenate([p.a for p in parts])
    least = np.linalg.lstsq(equations, -slope, rcond=None)[0]
    if np.abs(equations @ least + slope).max() > 1e-8:
        with pytest.raises(sp.NoIncentive, match=r"conflict|cannot be told apart"):
            sp.affine_incentive(sp.Plan.from_values(game), observe)
        return

    def worst(gain: np.ndarray) -> float:
        matrix = gain.reshape(m0, meters)
        return min(
            np.linalg.eigvalsh(p.hessian(matrix @ moves[:, k * own : (k + 1) * own]))[0] for k, p in enumerate(parts)
        )

    refused: dict[str, str] = {}
    try:
        rule = sp.affine_incentive(sp.Plan.from_values(game), observe)
    except sp.NoIncentive as error:
        refused = error.reasons
    if refused:
        assert all(why.startswith("curvature") for why in refused.values())
        basis = null_space(equations)
        if not basis.shape[1]:
            assert worst(least) < 0.0
            return
        search = [
            -minimize(
                lambda t: -worst(least + basis @ t), random.normal(size=basis.shape[1]) * s, method="Nelder-Mead"
            ).fun
            for s in (0.0, 3.0)
        ]
        assert max(search) < 1e-6
        return
    gain = rule.gain.loc[[f"lead[{i}]" for i in range(m0)]].to_numpy().ravel()
    np.testing.assert_allclose(equations @ gain, -slope, atol=1e-6)
    assert worst(gain) >= -1e-6 * max(1.0, np.abs(gain).max())
    report = sp.verify(rule)
    assert report.ok
    assert report.epsilon <= 1e-7


@pytest.mark.slow
@given(seed=st.integers(0, 10**6))
@settings(max_examples=drawn(40), deadline=None)
def test_curvature_only_counts_where_constraints_let_the_follower_go(seed: int) -> None:
    """An equality, or an inequality it leans on, pins a direction; a bound without a multiplier limits a half-space."""
    random = np.random.default_rng(seed)
    bend, a, b = random.uniform(0.5, 3.0), random.normal(), random.uniform(0.5, 2.0)
    sign = float(random.choice([-1.0, 1.0]))

    def designed(kind: str) -> sp.Incentive:
        m = pyo.ConcreteModel()
        m.u0 = pyo.Var(initialize=0.0)
        m.f = pyo.Block()
        m.f.u = pyo.Var(range(2), initialize=0.0, bounds=(-1, 1))
        if kind == "equality":
            m.f.row = pyo.Constraint(expr=m.f.u[1] == 0)
        elif kind != "open":
            body = -sign * m.f.u[1]
            m.f.row = pyo.Constraint(expr=body <= 0)
        pull = sign if kind == "leaning" else 0.0
        own = a * m.f.u[0] + pull * m.f.u[1] + 10 * m.f.u[0] ** 2
        m.f.cost = pyo.Objective(expr=own - bend / 2 * m.f.u[1] ** 2 + b * m.u0)
        m.goal = pyo.Objective(expr=m.u0**2)
        plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
        return sp.affine_incentive(plan, multipliers={"f.row": 1.0} if kind == "leaning" else "zero", design="slopes")

    for kind in ("open", "limited"):
        with pytest.raises(sp.NoIncentive, match="curvature"):
            designed(kind)
    assert sp.verify(designed("equality")).ok
    rule = designed("leaning")
    # Far along the pinned direction the concave cost may win again: to second order at the plan it does not.
    assert sp.verify(rule).ok == (1.0 - bend / 2 >= -1e-9)


@pytest.mark.slow
@given(seed=st.integers(0, 10**6))
@example(seed=6896)
@settings(max_examples=drawn(40), deadline=None)
def test_a_quadratic_term_bends_up_what_no_gain_can(seed: int) -> None:
    """u0 enters linearly: H = H11 + b·R + what the gain adds; with R along b every follower is held."""
    random = np.random.default_rng(seed)
    m0, m1 = int(random.integers(1, 3)), int(random.integers(1, 3))
    root = random.normal(size=(m1, m1))
    matrix = np.zeros((m0 + m1, m0 + m1))
    matrix[m0:, m0:] = root + root.T - 3.0 * np.eye(m1) * np.linalg.norm(root)
    linear = random.normal(size=m0 + m1)
    plan = sp.Plan.from_values(_game(m0, m1, [(matrix, linear)], np.zeros(m0 + m1)))
    with pytest.raises(sp.NoIncentive, match="curvature"):
        sp.affine_incentive(plan)
    rule = sp.affine_incentive(plan, quadratic=True)
    assert rule.bend is not None
    lead = [rule.leader.index(f"lead[{i}]") for i in range(m0)]
    bend, gain = rule.bend.toarray()[lead], rule.gain.to_numpy()[lead]
    np.testing.assert_allclose(linear[m0:] + gain.T @ linear[:m0], 0.0, atol=1e-7)
    order = [rule.signals.index(f"f[0].u[{j}]") for j in range(m1)]
    hessian = matrix[m0:, m0:] + np.diag((linear[:m0] @ bend)[order])
    assert np.linalg.eigvalsh(hessian)[0] > 0.0
    report = sp.verify(rule)
    assert report.ok
    assert report.certificate.isin(["convex", "global"]).all(), "proved, not only searched"


def test_what_already_bends_up_needs_no_quadratic_term() -> None:
    matrix = np.diag([0.0, 1.0])
    plan = sp.Plan.from_values(_game(1, 1, [(matrix, np.array([1.0, 1.0]))], np.zeros(2)))
    assert sp.affine_incentive(plan, quadratic=True).bend is None


@pytest.mark.slow
def test_a_gain_that_is_right_nearby_and_wrong_far_away_is_caught() -> None:
    """Local second order accepts Q = −a/b; far away the follower's cost has a deeper valley, and verify says so."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0, bounds=(-5, 5))
    # composed: u²(u−2)² − u³/4, a minimum at 0 with F'' = 8, and F < 0 around 2
    m.f.cost = pyo.Objective(expr=m.f.u**2 * (m.f.u - 2) ** 2 - m.f.u**3 / 4 + 3 * m.f.u + m.u0)
    m.goal = pyo.Objective(expr=m.u0**2 + m.f.u**2)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    with pytest.raises(sp.NoIncentive):
        sp.affine_incentive(plan)
    rule = sp.affine_incentive(plan, design="slopes")
    assert rule.gain.iloc[0, 0] == pytest.approx(-3.0)
    grid = np.linspace(-5, 5, 100_001)
    cost = grid**2 * (grid - 2) ** 2 - grid**3 / 4
    report = sp.verify(rule)
    assert not report.ok
    assert report.regret["f"] == pytest.approx(-cost.min(), rel=1e-6)
    assert report.best_response["f"]["f.u"] == pytest.approx(grid[cost.argmin()], abs=1e-3)


@pytest.mark.parametrize("allowed", [[0], [1], [0, 1]])
def test_a_quadratic_term_only_where_the_signal_may_be_used(allowed: list[int]) -> None:
    """Who may not use the signal does not bend; the others do his part too."""
    m = pyo.ConcreteModel()
    m.lead = pyo.Var(range(2), initialize=0.0)
    m.f = pyo.Block(range(2))
    for k in range(2):
        m.f[k].u = pyo.Var(initialize=0.0, bounds=(-1, 1))
        m.f[k].cost = pyo.Objective(expr=m.f[k].u - 3 * m.f[k].u ** 2 + 0.1 * m.lead[0] + 2 * (k + 1) * m.lead[1])
    m.goal = pyo.Objective(expr=sum(v**2 for v in m.lead.values()))
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    rule = sp.affine_incentive(plan, {f"lead[{i}]": "actions" for i in allowed}, quadratic=True)
    assert rule.bend is not None
    bend = rule.bend.toarray()[[rule.leader.index(f"lead[{i}]") for i in range(2)]]
    assert (bend[[i for i in range(2) if i not in allowed]] == 0.0).all()
    for k in range(2):
        assert np.array([0.1, 2.0 * (k + 1)]) @ bend[:, rule.signals.index(f"f[{k}].u")] > 6.0
    report = sp.verify(rule)
    assert report.ok
    assert report.epsilon <= 1e-7


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 51, 135])
def test_shared_meters_where_the_leaders_own_curvature_counts(seed: int) -> None:
    """Hessians quadratic in the shared gains: what is returned bends up (in 51 and 135 from a second start only)."""
    random = np.random.default_rng(seed)
    m0, count, own = int(random.integers(2, 5)), int(random.integers(1, 3)), int(random.integers(1, 3))
    meters = int(random.integers(max(1, count * own - 1), count * own + 2))
    costs = []
    for _ in range(count):
        root = random.normal(size=(m0 + own, m0 + own))
        matrix = root + root.T
        if random.random() < 0.5:
            matrix[:m0, :m0] = np.diag(random.choice([0.0, 1.0, -1.0], size=m0))
        costs.append((matrix + random.choice([0, 0.5]) * np.eye(m0 + own), random.normal(size=m0 + own)))
    moves, values = random.normal(size=(meters, count * own)), random.normal(size=m0 + count * own)
    game = _game(m0, own, costs, values)
    actions = [v for b in game.model.f.values() for v in b.u.values()]
    observe = [sum(float(w) * v for w, v in zip(row, actions, strict=True)) for row in moves]
    rule = sp.affine_incentive(sp.Plan.from_values(game), observe)
    gain = rule.gain.loc[[f"lead[{i}]" for i in range(m0)]].to_numpy()
    for k, (matrix, linear) in enumerate(costs):
        place = slice(m0 + k * own, m0 + (k + 1) * own)
        parts = Parts(matrix, linear, m0, np.concatenate([values[:m0], values[place]]))
        response = gain @ moves[:, k * own : (k + 1) * own]
        np.testing.assert_allclose(parts.a + response.T @ parts.b, 0.0, atol=1e-6 * (1 + np.abs(gain).max()))
        assert np.linalg.eigvalsh(parts.hessian(response))[0] > 0.0
    assert sp.verify(rule).ok


@pytest.mark.parametrize("bend", [0.5, 1.0, 3.0])
def test_a_follower_without_second_derivatives_shares_the_gain_of_one_that_bends_down(bend: float) -> None:
    """Signals u + v and u − v are both players'; u's cost is linear, v's falls off by ``bend`` unless s v lifts it."""
    m = pyo.ConcreteModel()
    m.s, m.t, m.f = pyo.Var(initialize=1.0), pyo.Var(initialize=1.0), pyo.Block([0, 1])
    for block in m.f.values():
        block.u = pyo.Var(bounds=(0, 2), initialize=1.0)
    u, v = m.f[0].u, m.f[1].u
    m.f[0].cost = pyo.Objective(expr=u + m.s + m.t)
    m.f[1].cost = pyo.Objective(expr=v - bend * v**2 / 2 + m.s * v + m.t)
    m.goal = pyo.Objective(expr=(u - 1) ** 2 + (v - 1) ** 2)
    rule = sp.affine_incentive(sp.Plan.from_values(sp.Game(m, m.f)), observe=[u + v, u - v])
    by_action = rule.gain.to_numpy() @ np.array([[1.0, 1.0], [1.0, -1.0]])  # (s, t) per unit of u and of v
    assert 1 + by_action[:, 0].sum() == pytest.approx(0.0, abs=1e-6)
    assert 2 - bend + by_action[:, 1].sum() == pytest.approx(0.0, abs=1e-6)
    assert 2 * by_action[0, 1] - bend >= -1e-6
    assert set(sp.verify(rule).certificate) == {"convex"}


@pytest.mark.parametrize(("count", "why"), [(3, "no gain was found"), (32, "it has too many actions for a search")])
def test_a_follower_of_many_actions_is_refused_before_the_search(count: int, why: str) -> None:
    """A semidefinite program in 32 directions would take gigabytes."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var([0, 1], initialize=1.0)
    m.f = pyo.Block([0, 1])
    for f in m.f.values():
        f.u = pyo.Var(range(count), bounds=(-5, 5), initialize=1.0)
        paid = (f.u[i] * (m.t[0] + m.t[1] * i / count) for i in range(count))
        f.cost = pyo.Objective(expr=sum(paid) - sum(f.u[i] ** 2 for i in range(count)) / 2)
    m.goal = pyo.Objective(expr=sum((v - 1) ** 2 for f in m.f.values() for v in f.u.values()) + (m.t[0] - 1) ** 2)
    plan = sp.leader_optimal(sp.Game(m, m.f))
    shown = [m.f[0].u[i] + m.f[1].u[i] for i in range(count)]
    with pytest.raises(sp.NoIncentive, match=f"curvature: {why}"):
        sp.affine_incentive(plan, observe=shown, design="slopes")
