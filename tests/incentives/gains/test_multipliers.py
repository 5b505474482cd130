"""Multipliers of the followers' own constraints: leaning on them, by convex duality and by the published figures."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import CASES, drawn, number
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyomo.common.collections import ComponentMap
from scipy.optimize import linprog

import stackpyomo as sp
from stackpyomo.derivatives import FollowerRows
from stackpyomo.games import parse_game
from stackpyomo.incentives.gains import multipliers
from stackpyomo.solvers import least_nonnegative

SLOW = settings(max_examples=drawn(80), deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Leaning:
    """A random convex game whose followers stand at bounds and constraints; everything is 0 at the plan.

    J_k = units · (a_k·u_k + b_k·u0 + |u_k|² + |u0|²); the columns of G point out of what each side allows.
    """

    def __init__(self, seed: int) -> None:
        self.random = random = np.random.default_rng(seed)
        self.leaders, count = int(random.integers(1, 4)), int(random.integers(1, 4))
        self.owner = np.repeat(np.arange(count), random.integers(1, 4, size=count))
        self.within = np.concatenate([np.arange((self.owner == k).sum()) for k in range(count)])
        self.a, self.b = random.normal(size=len(self.owner)), random.normal(size=(count, self.leaders))
        if random.random() < 0.25:
            self.b[random.integers(count)] = 0.0
        self.units = 10.0 ** random.integers(-3, 4, size=count) if random.random() < 0.3 else np.ones(count)
        self.normals: list[np.ndarray] = []
        self.equal: list[bool] = []
        self.model = self._model()
        self.game = sp.Game(self.model, followers=self.model.f)
        self.signals, self.moves = self._signals()
        pairs = [(self.b[k], row) for k, row in zip(self.owner, self.moves.T, strict=True)]
        self.equations = np.array([np.outer(b, row).ravel() for b, row in pairs])
        self.normal = np.array(self.normals).reshape(-1, len(self.owner)).T

    def _model(self) -> Any:
        m = pyo.ConcreteModel()
        m.lead = pyo.Var(range(self.leaders), initialize=0.0)
        m.f = pyo.Block(range(len(self.b)))
        for k, block in m.f.items():
            own = np.flatnonzero(self.owner == k)
            block.u = pyo.Var(range(len(own)), initialize=0.0)
            cost = sum(float(self.a[i]) * block.u[j] for j, i in enumerate(own))
            cost += sum(float(b) * v for b, v in zip(self.b[k], m.lead.values(), strict=True))
            block.cost = pyo.Objective(
                expr=float(self.units[k]) * (cost + sum(v**2 for v in [*block.u.values(), *m.lead.values()]))
            )
            block.rows = pyo.ConstraintList()
            self._bounds(block, own)
            for _ in range(self.random.integers(0, 4)):
                self._row(block, own)
        m.goal = pyo.Objective(expr=sum(v**2 for v in m.lead.values()))
        return m

    def _bounds(self, block: Any, own: np.ndarray) -> None:
        for j, i in enumerate(own):
            side = self.random.choice([-1, 0, 1], p=[0.3, 0.5, 0.2])
            if side:
                (block.u[j].setlb if side < 0 else block.u[j].setub)(0.0)
                self._side(own, float(side) * (own == i), False)

    def _row(self, block: Any, own: np.ndarray) -> None:
        weights = self.random.integers(-1, 2, size=len(own)).astype(float)
        weights = weights if self.random.random() < 0.4 and weights.any() else self.random.normal(size=len(own))
        # a body may be a bare entry of an indexed Var
        terms = [block.u[j] if w == 1.0 else float(w) * block.u[j] for j, w in enumerate(weights) if w]
        body = terms[0] if len(terms) == 1 else sum(terms)
        kind = self.random.choice(["==", "<=", ">="])
        block.rows.add(body == 0 if kind == "==" else body <= 0 if kind == "<=" else body >= 0)
        self._side(own, -weights if kind == ">=" else weights, kind == "==")

    def _side(self, own: np.ndarray, normal: np.ndarray, equality: bool) -> None:
        whole = np.zeros(len(self.owner))
        whole[own] = normal
        self.normals.append(whole)
        self.equal.append(equality)

    def _signals(self) -> tuple[Any, np.ndarray]:
        if self.random.random() < 0.4:
            return "actions", np.eye(len(self.owner))
        moves = self.random.normal(size=(self.random.integers(1, 4), len(self.owner)))
        actions = [self.model.f[k].u[j] for k, j in zip(self.owner, self.within, strict=True)]
        return [sum(float(w) * v for w, v in zip(row, actions, strict=True)) for row in moves], moves

    def is_solvable(self) -> bool:
        """Is there a gain K and λ (≥ 0 on inequalities) with E K + a + G λ = 0? By linear programming."""
        matrix = np.hstack([self.equations, self.normal])
        sizes = np.linalg.norm(matrix, axis=1)
        sizes = np.where(sizes > 0, sizes, 1.0)
        free = [(None, None)] * self.equations.shape[1] + [(None if e else 0, None) for e in self.equal]
        return bool(
            linprog(np.zeros(matrix.shape[1]), A_eq=matrix / sizes[:, None], b_eq=-self.a / sizes, bounds=free).status
            == 0
        )

    def distance_from_least(self, gain: np.ndarray, multipliers: np.ndarray) -> float:
        """How far K is from −Eᵀμ with Gᵀμ ≥ 0 (= 0 where λ > 0 or an equality): the optimality of least energy.

        Relative to K, or to a thousandth of what would hold the followers without their constraints: where the
        constraints do it alone, K is 0 but for rounding.
        """
        size = max(np.abs(gain).max(), 1e-3 * np.abs(self.a).max() / max(np.abs(self.equations).max(), 1e-3))
        rows, n = self.equations.T, len(gain)
        tight = np.array(self.equal, dtype=bool) | (multipliers > 1e-7 * max(1.0, np.abs(multipliers).max(initial=0)))
        ones = np.ones((n, 1))
        upper = np.vstack([np.hstack([rows, -ones]), np.hstack([-rows, -ones])])
        normal = self.normal.T
        upper = np.vstack([upper, np.hstack([-normal[~tight], -np.ones((int((~tight).sum()), 1))])])
        limits = np.concatenate([-gain / size, gain / size, np.zeros(int((~tight).sum()))])
        pinned = np.vstack([normal[tight], -normal[tight]])
        upper = np.vstack([upper, np.hstack([pinned, -np.ones((len(pinned), 1))])])
        limits = np.concatenate([limits, np.zeros(len(pinned))])
        cost = np.concatenate([np.zeros(rows.shape[1]), [1.0]])
        found = linprog(cost, A_ub=upper, b_ub=limits, bounds=[(None, None)] * rows.shape[1] + [(0, None)])
        return float(found.fun)

    def names(self) -> list[str]:
        """Of bounds and rows, in the order of the normals."""
        named = []
        for block in self.model.f.values():
            named += [v.name for v in block.u.values() if v.lb is not None or v.ub is not None]
            named += [c.name for c in block.rows.values()]
        return named


@pytest.mark.slow
@SLOW
@example(seed=33)  # the gain is exactly 0
@example(seed=52717)  # the gain is 0 but for rounding
@given(seed=st.integers(0, 10**6))
def test_free_multipliers_leave_the_gain_of_least_energy(seed: int) -> None:
    world = Leaning(seed)
    plan = sp.Plan.from_values(world.game)
    try:
        rule = sp.affine_incentive(plan, world.signals, multipliers="free")
    except sp.NoIncentive:
        assert not world.is_solvable()
        return
    order = [rule.leader.index(f"lead[{i}]") for i in range(world.leaders)]
    gain = rule.gain.to_numpy()[order].ravel()
    multipliers = np.array([rule.multipliers.get(n, 0.0) for n in world.names()]) / world.units[_owners(world)]
    assert (multipliers[~np.array(world.equal, dtype=bool)] >= 0.0).all()
    left = world.equations @ gain + world.a + world.normal @ multipliers
    np.testing.assert_allclose(left, 0.0, atol=2e-6 * (1 + np.abs(world.a).max()))
    assert world.distance_from_least(gain, multipliers) <= 1e-5
    report = sp.verify(rule)
    assert report.ok
    assert (report.regret <= 1e-7 * np.maximum(1.0, world.units)).all()


def _owners(world: Leaning) -> np.ndarray:
    owners = [world.owner[np.flatnonzero(n)[0]] for n in world.normals]
    return np.array(owners, dtype=int)


def test_a_row_or_a_cost_that_is_one_entry_of_an_indexed_variable() -> None:
    """u ≤ 0 pushes the other way from −u ≤ 0, whatever Python makes of == between kinds of Var."""
    m = pyo.ConcreteModel()
    m.lead = pyo.Var(range(1), initialize=0.0)
    m.f = pyo.Block(range(2))
    for k in range(2):
        m.f[k].u = pyo.Var(range(1), initialize=0.0)
    m.f[0].cap = pyo.Constraint(expr=m.f[0].u[0] <= 0)
    m.f[0].cost = pyo.Objective(expr=0.6 * m.f[0].u[0] + 2.5 * m.lead[0] + m.f[0].u[0] ** 2)
    m.f[1].cost = pyo.Objective(expr=m.f[1].u[0])
    m.f[1].floor = pyo.Constraint(expr=m.f[1].u[0] >= 0)
    m.goal = pyo.Objective(expr=m.lead[0] ** 2)
    game = sp.Game(m, followers=m.f)
    here = FollowerRows(game).at(sp.Plan.from_values(game).values)
    np.testing.assert_allclose(here.own_rows.toarray(), np.eye(2))
    np.testing.assert_allclose(here.own, [0.6, 1.0])
    np.testing.assert_allclose(here.objectives, [0.0, 0.0])
    rule = sp.affine_incentive(sp.Plan.from_values(game), multipliers="free")
    assert rule.multipliers == pytest.approx({"f[1].floor": 1.0}), "the cap does not keep it from going down"
    assert rule.gain.loc["lead[0]", "f[0].u[0]"] == pytest.approx(-0.24)
    assert sp.verify(rule).ok


def _nq05() -> sp.Plan:
    case = CASES["NQ05_shared_constraint_active"]
    follower = {
        "name": "f",
        "variables": [{"name": "y"}],
        "objective": case["J"][0],
        "constraints": [f"{g} <= 0" for g in case["follower_g_le_0"][0]],
    }
    leader = {"variables": [{"name": "x"}], "objective": case["J0"], "constraints": []}
    document = {"format": "stackpyomo-game/1", "name": "NQ05", "leader": leader, "followers": [follower]}
    return sp.leader_optimal(parse_game(document))


def test_every_multiplier_of_a_shared_constraint_has_its_gain() -> None:
    """NQ05: Q(λ) = −(a+λ)/(b+λ), two of them published; a leader's dual (1.634) is another number altogether."""
    wanted = CASES["NQ05_shared_constraint_active"]["expected"]["followers"][0]
    a, b = number(wanted["grad_ui"][0]), number(wanted["grad_u0"][0])
    plan = _nq05()
    (cap,) = plan.attached().followers["f"].constraints
    for multiplier in (0.0, 0.5, 2.0):
        for given_as in ({cap.name: multiplier}, [(cap, multiplier)], pyo.ComponentMap([(cap, multiplier)])):
            rule = sp.affine_incentive(plan, multipliers=given_as)
            assert rule.gain.iloc[0, 0] == pytest.approx(-(a + multiplier) / (b + multiplier), rel=1e-6)
            assert rule.multipliers == ({cap.name: multiplier} if multiplier else {})
            assert sp.verify(rule).ok
    half = sp.affine_incentive(plan, multipliers={cap.name: 0.5})
    assert half.gain.iloc[0, 0] == pytest.approx(number(wanted["Q_min_norm_with_multipliers"][0][0]), rel=1e-7)
    zero = sp.affine_incentive(plan)
    assert zero.gain.iloc[0, 0] == pytest.approx(number(wanted["Q_min_norm_lambda0"][0][0]), rel=1e-7)
    free = sp.affine_incentive(plan, multipliers="free")
    assert free.energy < half.energy < zero.energy
    held = free.multipliers[cap.name]
    assert free.gain.iloc[0, 0] == pytest.approx(-(a + held) / (b + held), rel=1e-6)
    assert sp.verify(free).ok


@pytest.mark.parametrize(
    ("given_as", "message"),
    [
        ({"f.nothing": 1.0}, "has no component of that name"),
        ({"x": 1.0}, "x is not a constraint or bound of a follower that is active at the plan"),
        ({"f.y": 1.0}, "f.y is not a constraint or bound of a follower that is active"),
        ("cap −1", "is an inequality; its multiplier is ≥ 0, not -1"),
        ("cap nan", "expected a finite number"),
        ("cap text", "expected a finite number"),
        (3, "multipliers=3"),
        ("some", "multipliers='some': choose 'zero' or 'free'"),
    ],
)
def test_multipliers_that_make_no_sense_are_refused(given_as: Any, message: str) -> None:
    plan = _nq05()
    (cap,) = plan.attached().followers["f"].constraints
    values = {"cap −1": -1.0, "cap nan": float("nan"), "cap text": "much"}
    if isinstance(given_as, str) and given_as in values:
        given_as = {cap.name: values[given_as]}
    with pytest.raises(sp.InvalidGame, match=message):
        sp.affine_incentive(plan, multipliers=given_as)


@pytest.mark.slow
@SLOW
@given(seed=st.integers(0, 10**6))
def test_constraints_with_leader_variables_never_cost_energy(seed: int) -> None:
    """g = v·u + w·u0 ≤ 0 at 0: a + λv + Qᵀ(b + λw) = 0 with λ ≥ 0, no more energy than λ = 0 needs."""
    random = np.random.default_rng(seed)
    leaders, own = int(random.integers(1, 4)), int(random.integers(1, 4))
    a, b = random.normal(size=own), random.normal(size=leaders)
    v, w = random.normal(size=(2, own)), random.normal(size=(2, leaders))
    m = pyo.ConcreteModel()
    m.lead = pyo.Var(range(leaders), initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(range(own), initialize=0.0)
    m.f.row = pyo.ConstraintList()
    rows = int(random.integers(1, 3))
    for i in range(rows):
        body = sum(float(x) * m.f.u[j] for j, x in enumerate(v[i]))
        m.f.row.add(body + sum(float(x) * m.lead[j] for j, x in enumerate(w[i])) <= 0)
    bowl = sum(x**2 for x in [*m.f.u.values(), *m.lead.values()])
    cost = sum(float(x) * m.f.u[j] for j, x in enumerate(a)) + sum(float(x) * m.lead[j] for j, x in enumerate(b))
    m.f.cost = pyo.Objective(expr=cost + bowl)
    m.goal = pyo.Objective(expr=sum(x**2 for x in m.lead.values()))
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    zero, free = (sp.affine_incentive(plan, multipliers=how) for how in ("zero", "free"))
    for rule in (zero, free):
        held = np.array([rule.multipliers.get(f"f.row[{i + 1}]", 0.0) for i in range(rows)])
        assert (held >= 0.0).all()
        gain = rule.gain.to_numpy()[[rule.leader.index(f"lead[{i}]") for i in range(leaders)]]
        left = a + held @ v[:rows] + gain.T @ (b + held @ w[:rows])
        np.testing.assert_allclose(left, 0.0, atol=1e-6 * (1 + np.abs(gain).max()))
        assert sp.verify(rule).ok
    assert free.energy <= zero.energy * (1 + 1e-6) + 1e-9


def test_a_coupled_constraint_rescues_a_zero_gradient() -> None:
    """b = 0 at the plan, but the constraint u + u0 ≤ 0 lets the leader's move press: λ + a + Qλ = 0 (ZG02's kind)."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.both = pyo.Constraint(expr=m.f.u + m.u0 <= 0)
    m.f.cost = pyo.Objective(expr=2 * m.f.u + m.f.u**2 + m.u0**2)
    m.goal = pyo.Objective(expr=m.u0**2 + m.f.u**2)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    with pytest.raises(sp.NoIncentive, match=r"zero gradient.*multipliers='free'"):
        sp.affine_incentive(plan)
    rule = sp.affine_incentive(plan, multipliers="free")
    held = rule.multipliers["f.both"]
    assert held > 0.0
    assert 2 + held + rule.gain.iloc[0, 0] * held == pytest.approx(0.0, abs=1e-6 * (1 + held))
    report = sp.verify(rule)
    assert report.ok
    assert report.epsilon <= 1e-7


def test_three_constraints_through_one_corner() -> None:
    """Multipliers that are not unique: any will do, the gain left over is unique, and nothing is left."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(range(2), initialize=0.0, bounds=(None, 0))
    m.f.third = pyo.Constraint(expr=m.f.u[0] + m.f.u[1] <= 0)
    m.f.again = pyo.Constraint(expr=-2 * m.f.u[0] - 2 * m.f.u[1] >= 0)
    m.f.cost = pyo.Objective(expr=-3 * m.f.u[0] + 1 * m.f.u[1] + m.f.u[0] ** 2 + m.f.u[1] ** 2 + m.u0)
    m.goal = pyo.Objective(expr=m.u0**2)
    rule = sp.affine_incentive(sp.Plan.from_values(sp.Game(m, followers=m.f)), multipliers="free")
    assert rule.gain.to_numpy()[0] == pytest.approx([0.0, -1.0], abs=1e-7)
    held = rule.multipliers
    along = held.get("f.third", 0.0) + 2 * held.get("f.again", 0.0)
    assert along + held.get("f.u[0]", 0.0) == pytest.approx(3.0)
    assert along + held.get("f.u[1]", 0.0) == pytest.approx(0.0, abs=1e-7)
    assert sp.verify(rule).ok


def test_a_maximiser_leans_on_its_cap_too() -> None:
    """Signs: profit 2u − u² + u0 under u ≤ 0; λ = 2 holds it alone, λ = 1 half of it, λ = 0 leaves Q = −2."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.cap = pyo.Constraint(expr=-m.f.u >= 0)
    m.f.profit = pyo.Objective(expr=2 * m.f.u - m.f.u**2 + m.u0, sense=pyo.maximize)
    m.goal = pyo.Objective(expr=m.u0**2)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    for how, gain in (("zero", -2.0), ("free", 0.0), ({"f.cap": 1.0}, -1.0)):
        rule = sp.affine_incentive(plan, multipliers=how)
        assert rule.gain.iloc[0, 0] == pytest.approx(gain, abs=1e-9)
        assert rule.multipliers.get("f.cap", 0.0) == pytest.approx(2.0 + gain, abs=1e-9)
        assert sp.verify(rule).ok


def test_nothing_to_lean_on_gives_no_multipliers() -> None:
    for rows in (0, 1, 3):
        assert least_nonnegative(np.zeros((rows, 0)), np.ones(rows)).shape == (0,)


@pytest.mark.parametrize("unit", [1e-5, 1.0, 1e5])
def test_a_bound_that_carries_what_the_limits_leave(unit: float) -> None:
    """u at its upper bound, −1 + K₁ + K₂ + λ = 0 with λ ≥ 0; v inside, 4 + K₁ − K₂ = 0; both in one signal.

    The least gain of all is (−2, 2) with λ = 1; with K₂ ≤ 1 it is (−3, 1), and the bound has to carry λ = 3.
    """
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var([1, 2], initialize=0.0), pyo.Block([1, 2])
    for block, end in ((m.f[1], 1), (m.f[2], 5)):
        block.u = pyo.Var(bounds=(0, end), initialize=1.0)
    u, v = m.f[1].u, m.f[2].u
    m.f[1].cost = pyo.Objective(expr=unit * (u - 2) ** 2 / 2 + m.t[1] + m.t[2])
    m.f[2].cost = pyo.Objective(expr=unit * (v + 3) ** 2 / 2 + m.t[1] - m.t[2])
    m.goal = pyo.Objective(expr=(u - 1) ** 2 + (v - 1) ** 2)
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    limits = ComponentMap([(m.t[2], (None, unit))])
    asked = {"observe": [u + v], "multipliers": "free", "design": "slopes"}
    assert sp.affine_incentive(plan, **asked).gain.to_numpy().ravel() / unit == pytest.approx([-2.0, 2.0], abs=1e-6)
    rule = sp.affine_incentive(plan, gain_bounds=limits, **asked)
    assert rule.gain.to_numpy().ravel() / unit == pytest.approx([-3.0, 1.0], abs=1e-6)
    assert sp.verify(rule).ok


@pytest.mark.parametrize("number", [1, 5, 60])
def test_columns_that_undo_each_other_are_dropped_in_one_go(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random, asked = np.random.default_rng(number), []
    bases = multipliers.open_directions
    monkeypatch.setattr(multipliers, "open_directions", lambda normals: asked.append(1) or bases(normals))
    half = random.normal(size=(number, number))
    columns = np.hstack([half, -3.0 * half, random.normal(size=(number, 2)), np.zeros((number, 1))])
    before = random.uniform(1.0, 2.0, size=columns.shape[1])
    after = multipliers._independent(columns, before)
    used = columns[:, after > 0.0]
    assert (after >= 0.0).all()
    assert after[-1] == 0.0
    assert columns @ after == pytest.approx(columns @ before, abs=1e-9 * np.abs(columns).sum())
    assert np.linalg.matrix_rank(used) == used.shape[1]
    assert len(asked) <= 20, "a decomposition finds all directions, and others what rounding left: not one a column"


@pytest.mark.parametrize("seed", range(20))
def test_the_nearest_point_against_every_support(seed: int) -> None:
    """min ‖w(A p − t)‖ over p ≥ 0 with the last rows met: each support by its equations, the best that is ≥ 0."""
    random = np.random.default_rng(seed)
    count, free, tight = int(random.integers(1, 5)), int(random.integers(1, 4)), int(random.integers(0, 2))
    matrix, power = random.normal(size=(free + tight, count)), random.uniform(0.5, 5.0, free)
    target = np.concatenate([random.normal(size=free), (matrix @ random.uniform(0.0, 1.0, count))[free:]])

    def missed(point: np.ndarray) -> float:
        return float(np.linalg.norm(power * (matrix[:free] @ point - target[:free])))

    best = math.inf
    for size in range(count + 1):
        for used in map(list, combinations(range(count), size)):
            weighed, exact = power[:, None] * matrix[:free, used], matrix[free:, used]
            system = np.block([[weighed.T @ weighed, exact.T], [exact, np.zeros((tight, tight))]])
            right = np.concatenate([weighed.T @ (power * target[:free]), target[free:]])
            point = np.zeros(count)
            point[used] = np.linalg.lstsq(system, right, rcond=1e-12)[0][:size]
            if (point >= -1e-10).all() and np.abs(exact @ point[used] - target[free:]).max(initial=0.0) <= 1e-9:
                best = min(best, missed(point))
    nearest = multipliers.nearest_nonnegative(matrix, target, power)
    assert (nearest >= 0.0).all()
    np.testing.assert_allclose(matrix[free:] @ nearest, target[free:], atol=1e-8)
    assert missed(nearest) == pytest.approx(best, abs=1e-7)


def test_rows_that_no_sum_meets_leave_nothing() -> None:
    """−1 is no multiple p ≥ 0 of 1: what least squares make of it would mislead."""
    assert multipliers.nearest_nonnegative(np.ones((1, 2)), np.array([-1.0]), np.zeros(0)).tolist() == [
        0.0,
        0.0,
    ]
