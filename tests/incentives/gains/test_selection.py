"""Choices among valid gains: within bounds, sparsest, weighed, against enumeration and quadratic programs."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

import stackpyomo as sp
from stackpyomo.core import undisturbed
from stackpyomo.derivatives import FollowerRows
from stackpyomo.games.information import read_observation
from stackpyomo.incentives.gains.selection import Entries, Wishes

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


def entries(observe: Any, size: float = 1, **wishes: Any) -> Entries:
    """Two followers who each feel both of two tolls; the second may be a population."""
    m = pyo.ConcreteModel()
    m.toll, m.f = pyo.Var(range(2), bounds=(-5, 5), initialize=0.0), pyo.Block(range(2))
    for block in m.f.values():
        block.u = pyo.Var(bounds=(0, 4), initialize=1.0)
        block.cost = pyo.Objective(expr=(block.u - 2) ** 2 + (m.toll[0] + 2 * m.toll[1]) * block.u)
    m.wish = pyo.Objective(expr=sum((b.u - 1) ** 2 for b in m.f.values()) + m.toll[0] ** 2 + m.toll[1] ** 2)
    game = sp.Game(m, followers=[m.f[0], sp.Population(m.f[1], size)])
    with undisturbed():
        rows = FollowerRows(game).natural(game.current_values())
        curved = read_observation(game, observe(m), curved=True)
        return Entries(rows, Wishes(curved, **wishes))


def test_one_of_an_entry() -> None:
    """A signal's unit is what one action moves it at most over its reach: of 3u three times as much as of u."""
    design = entries(lambda m: [m.f[0].u, 3 * m.f[1].u])
    assert design.leader == ["toll[0]", "toll[1]"]
    assert design.spans[1] == pytest.approx(3 * design.spans[0])
    one, other = design.units(np.array([0, 0]), np.array([0, 1]))
    assert one == pytest.approx(3 * other)
    np.testing.assert_allclose(abs(design.moves).max(axis=1).toarray().ravel(), 1.0)
    assert design.reach.tolist() == [1.0, 3.0]


def test_whoever_nothing_shows_that_may_be_used_is_not_watched() -> None:
    assert entries(lambda m: [m.f[0].u]).watched.tolist() == [True, False]
    apart = entries(lambda m: [(m.toll[0], [m.f[0].u]), (m.toll[1], [])])
    assert apart.watched.tolist() == [True, False]
    assert apart.allowed is not None
    assert apart.allowed.toarray().tolist() == [[1.0], [0.0]]
    bent = entries(lambda m: [(m.f[1].u - 1) ** 2])
    assert bent.watched.tolist() == [False, True], "what a square shows is watched, too"


def test_equations_hold_what_is_felt_and_may_be_used() -> None:
    """∂J/∂toll = (u, 2u) at u = 1: both tolls may answer both signals, or each its own."""
    both = entries(lambda m: [m.f[0].u, m.f[1].u])
    leader = both.rows.at(both.rows.game.current_values()).leader
    system = both.system(leader)
    assert (len(system.leader), system.permitted) == (4, 4)
    own = entries(lambda m: [(m.toll[i], [m.f[i].u]) for i in range(2)])
    system = own.system(leader)
    assert [*zip(system.leader.tolist(), system.signal.tolist(), strict=True)] == [(0, 0), (1, 1)]
    assert system.permitted == 2


def test_energy_and_limits_by_leader_variable() -> None:
    design = entries(lambda m: [m.f[0].u], energy={"toll[1]": 9.0}, gain_bounds={"toll[0]": (None, 2.0)})
    assert design.weights.tolist() == [1.0, 9.0]
    assert (design.lower.tolist(), design.upper.tolist()) == ([-math.inf] * 2, [2.0, math.inf])
    with pytest.raises(sp.InvalidGame, match=r"energy: the weight of toll\[1\]"):
        entries(lambda m: [m.f[0].u], energy={"toll[1]": -1.0})


@pytest.mark.parametrize("size", [1, 5, math.inf])
def test_members_who_show_a_signal_each_count_in_the_energy(size: float) -> None:
    design = entries(lambda m: [m.f[0].u, m.f[1].u], size)
    assert design.counts.tolist() == [1.0, size]
    assert np.isfinite(design.crowds).all()
    assert design.crowds[1] == (size if math.isfinite(size) else pytest.approx(1e9))


def test_what_is_announced_goes_through_the_point() -> None:
    design = entries(lambda m: [m.f[0].u], saturate=True)
    values = design.rows.game.current_values()
    system = design.system(design.rows.at(values).leader)
    announced = design.announced(values, system.as_matrix(np.ones(2)), 7.0)
    assert (announced.values, announced.leader_objective, announced.saturate) == (values, 7.0, True)
    assert announced.gain is not None
    assert announced.gain.toarray().tolist() == [[1.0], [1.0]]
