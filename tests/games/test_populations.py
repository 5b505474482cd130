"""Populations of any size: written out, found again, growing without limit, played by real followers, randomised."""

from __future__ import annotations

import math

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn
from helpers.crowds import MM01, crowd, ruled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stackpyomo as sp
from stackpyomo.games import exchangeable

SLOW = settings(max_examples=drawn(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def told(game: sp.Game) -> list[float]:
    """Plan, gain, regret of a constant leader, regret under the incentive."""
    plan = sp.leader_optimal(game)
    rule = sp.affine_incentive(plan)
    return [
        plan.leader_objective,
        plan.value("u0"),
        float(rule.gain.iloc[0, 0]),
        float(sp.verify(plan).regret.iloc[0]),
        sp.verify(rule).epsilon,
    ]


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 7, 50, 200])
def test_written_out_and_found_again(size: int) -> None:
    whole, explicit = crowd(size), crowd(size, explicit=True)
    wanted = told(whole)
    written = whole.expand()
    assert len(written.followers) == size
    assert len(whole.followers) == 1, "the user's game stays as it is"
    found = explicit.collapse()
    assert [f.size for f in found.followers.values()] == [size]
    assert [f.size for f in written.collapse().followers.values()] == [size]
    for other in (written, explicit, found):
        np.testing.assert_allclose(told(other), wanted, atol=1e-6)


def test_who_can_be_told_apart_is_kept() -> None:
    """Two pairs of twins; of the second pair one is treated apart by the leader."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var()
    m.f = pyo.Block(range(5))
    for i in range(5):
        m.f[i].u = pyo.Var(bounds=(0, 3))
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - (1 if i < 2 else 2)) ** 2 + m.toll * m.f[i].u)
    m.goal = pyo.Objective(expr=sum((m.f[i].u - 1.5) ** 2 for i in range(4)) + 2 * (m.f[4].u - 1) ** 2 + m.toll**2)
    game = sp.Game(m, followers=m.f)
    assert exchangeable(game) == [["f[0]", "f[1]"], ["f[2]", "f[3]"]]
    found = game.collapse()
    assert {name: f.size for name, f in found.followers.items()} == {"f[0]": 2, "f[2]": 2, "f[4]": 1}
    assert sp.leader_optimal(found).leader_objective == pytest.approx(
        sp.leader_optimal(game).leader_objective, abs=1e-7
    )
    m.f[1].u.setub(2.5)
    assert exchangeable(game) == [["f[2]", "f[3]"]]
    m.f[2].cost.set_value((m.f[2].u - 2) ** 2 + m.toll * m.f[2].u + m.f[3].u)
    assert exchangeable(game) == []
    assert game.collapse() is game


def test_a_major_that_holds_the_minors_themselves() -> None:
    """Kept as it is, its objective would speak of followers that are no more."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var()
    m.major = pyo.Block()
    m.major.u = pyo.Var()
    m.f = pyo.Block(range(3))
    for i in range(3):
        m.f[i].u = pyo.Var(bounds=(0, 5))
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - 2) ** 2 + m.t * m.f[i].u)
    total = sum(m.f[i].u for i in range(3))
    m.major.cost = pyo.Objective(expr=(m.major.u - total) ** 2 + m.t * m.major.u)
    m.major.row = pyo.Constraint(expr=m.major.u + total <= 50)
    m.goal = pyo.Objective(expr=sum((m.f[i].u - 1) ** 2 for i in range(3)) + m.t**2 + (m.major.u - 1) ** 2)
    game = sp.Game(m, followers=[m.major, m.f])
    found = game.collapse()
    assert {name: f.size for name, f in found.followers.items()} == {"major": 1, "f[0]": 3}
    assert not [f for f in found.check() if f.severity == "error"]
    plans = [sp.leader_optimal(g) for g in (game, found)]
    assert plans[0].leader_objective == pytest.approx(plans[1].leader_objective, abs=1e-7)
    regrets = [sp.verify(plan).regret["major"] for plan in plans]
    assert regrets[0] == pytest.approx(regrets[1], abs=1e-6)
    assert regrets[0] > 1


def test_a_game_inside_a_larger_model() -> None:
    """Names are the larger model's; the new game is a model of its own."""
    top = pyo.ConcreteModel()
    top.part = pyo.Block()
    m = top.part
    m.t, m.mean = pyo.Var(), pyo.Var()
    m.f = pyo.Block(range(2))
    for i in range(2):
        m.f[i].u = pyo.Var()
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - 2) ** 2 + m.t * m.f[i].u + m.mean * m.f[i].u + m.t)
    m.rule = pyo.Constraint(expr=m.mean == (m.f[0].u + m.f[1].u) / 2)
    m.goal = pyo.Objective(expr=(m.f[0].u - 1) ** 2 + (m.f[1].u - 1) ** 2 + m.t**2)
    game = sp.Game(m, followers=m.f, aggregates=m.rule)
    found = game.collapse()
    written = found.expand()
    assert [f.size for f in found.followers.values()] == [2]
    assert len(written.followers) == len(sp.Game(m, followers=m.f, aggregates=m.rule).expand().followers) == 2
    wanted = sp.affine_incentive(sp.leader_optimal(game)).gain.iloc[0, 0]
    for other in (found, written):
        assert sp.affine_incentive(sp.leader_optimal(other)).gain.iloc[0, 0] == pytest.approx(wanted, rel=1e-6)


def test_params_are_compared_by_value() -> None:
    m = pyo.ConcreteModel()
    m.t = pyo.Var()
    m.f = pyo.Block(range(3))
    for i in range(3):
        m.f[i].k = pyo.Param(initialize=2 if i < 2 else 2.5, mutable=True)
        m.f[i].u = pyo.Var()
        m.f[i].cost = pyo.Objective(expr=m.f[i].k * m.f[i].u ** 2 + m.t * m.f[i].u)
    m.goal = pyo.Objective(expr=m.t**2 + sum((m.f[i].u - 1) ** 2 for i in range(3)))
    game = sp.Game(m, followers=m.f)
    assert exchangeable(game) == [["f[0]", "f[1]"]]
    m.f[2].k.set_value(2.0)
    assert exchangeable(game) == [["f[0]", "f[1]", "f[2]"]]
    assert [f.size for f in game.collapse().followers.values()] == [3]


def _pair(apart: str, scale: float = 1.0, shift: float = 0.0, top: float | None = 10.0) -> sp.Game:
    """Two alike followers, and a leader whose cost holds one more term."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(-5, 5))
    m.f = pyo.Block(range(2))
    for i in range(2):
        m.f[i].u = pyo.Var(bounds=(0, top))
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - 1) ** 2 + m.t * m.f[i].u)
    u, v = m.f[0].u, m.f[1].u
    more = {
        "a kink": abs(u - 2) - (u - 2),
        "far out": abs(u - 200) - (200 - u),
        "a tail": pyo.exp(-20 * u),
        "a needle": 1 / (1 + 1e6 * (u - 5) ** 2),
        "one's own": 0.01 * u,
        "both": abs(u - v) + u * v + abs(u - 2) + abs(v - 2),
    }
    m.goal = pyo.Objective(expr=scale * ((u + v) ** 2 + m.t**2) + shift + more[apart])
    return sp.Game(m, followers=m.f)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e9, 0.0), (1.0, 1e12), (1e-8, -1e6)])
@pytest.mark.parametrize("apart", ["a kink", "far out", "a tail", "a needle", "one's own"])
def test_what_tells_them_apart_however_small_and_wherever(apart: str, scale: float, shift: float) -> None:
    """A term that is nothing near the upper bounds, or beside a large one or a constant."""
    game = _pair(apart, scale, shift, None if apart == "far out" else 10.0)
    assert exchangeable(game) == []
    assert exchangeable(_pair("both", scale, shift)) == [["f[0]", "f[1]"]]


def test_rows_of_others_tell_them_apart() -> None:
    """Of the leader, also one that came after the game was made, and of a third follower."""
    game = _pair("both")
    m = game.model
    m.cap = pyo.Constraint(expr=m.f[0].u + m.t <= 20)
    assert len(game.collapse().followers) == 2
    m.cap.set_value(m.f[0].u + m.f[1].u + m.t <= 20)
    assert len(game.collapse().followers) == 1
    m.g = pyo.Block()
    m.g.w = pyo.Var(bounds=(0, 10))
    m.g.cost = pyo.Objective(expr=(m.g.w - 5) ** 2)
    m.g.row = pyo.Constraint(expr=m.g.w <= m.f[0].u)
    assert exchangeable(sp.Game(m, followers=[m.f, m.g])) == []
    m.g.row.set_value(m.g.w <= m.f[0].u + m.f[1].u)
    assert exchangeable(sp.Game(m, followers=[m.f, m.g])) == [["f[0]", "f[1]"]]


def test_what_cannot_be_written_out() -> None:
    for size in (math.inf, 10**6):
        with pytest.raises(sp.InvalidGame, match=r"f\[0\]: .* members cannot be written out"):
            crowd(size).expand()


@SLOW
@given(seed=st.integers(0, 10**6), size=st.integers(2, 5))
def test_the_symmetrized_plan_is_never_worse(seed: int, size: int) -> None:
    """The mechanism behind the paper's Theorem 1, for a convex leader: Jensen."""
    game = crowd(size, explicit=True)
    random = np.random.default_rng(seed)
    actions = random.normal(1, 1, size)
    for i in range(size):
        game.model.f[i].u.set_value(actions[i])
    game.model.mean.set_value(actions.mean())
    plan = sp.Plan.from_values(game)
    even = plan.symmetrized()
    assert even.leader_objective <= plan.leader_objective + 1e-12
    for i in range(size):
        assert even.value(f"f[{i}].u") == pytest.approx(actions.mean())
        assert game.model.f[i].u.value == actions[i], "the model is not touched"
    assert even.quality == "feasible"


@pytest.mark.slow
@pytest.mark.parametrize("size", MM01)
def test_minors_who_settle_after_the_major(size: float) -> None:
    """a' = a + R_M ∂J/∂ū, b' = b + R_0 ∂J/∂ū with R = −1/2 / (2 + 1/N); the frozen gain is wrong for them."""
    plan = sp.leader_optimal(ruled(size), responding=["minor"])
    rule = sp.affine_incentive(plan, observe=["major.u"], minors="respond")
    answer = -0.5 / (2 + 1 / size)
    u0, major, mean = plan.value("u0"), plan.value("major.u"), plan.value("mean")
    carried = answer * (major + mean - 1)
    wanted = -(major + (major + mean - 1) + carried) / (u0 + 1 + carried)
    assert rule.gain.iloc[0, 0] == pytest.approx(wanted, rel=1e-8)
    found = sp.anticipated_regret(rule, "major")
    assert found["certificate"] == "global"
    assert found["regret"] == pytest.approx(0, abs=1e-8)
    frozen = sp.affine_incentive(plan, observe=["major.u"])
    assert sp.anticipated_regret(frozen, "major")["regret"] > 0.05
    with pytest.raises(sp.InvalidGame, match="minor: expected one that does not respond"):
        sp.anticipated_regret(rule, "minor")


@pytest.mark.parametrize("unit", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize("constant", [0.0, 1e6])
def test_followers_are_told_apart_by_small_numbers(unit: float, constant: float) -> None:
    """The leader wants 2 of one and 3 of the other: in an objective of 1e-10 they were called one population."""
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var(bounds=(0, 5)), pyo.Block([0, 1])
    for f in m.f.values():
        f.q = pyo.Var(bounds=(0, 5))
        f.cost = pyo.Objective(expr=(f.q - 1) ** 2 + m.p * f.q)
    wanted = (2.0, 3.0)
    m.goal = pyo.Objective(expr=unit * (sum((m.f[i].q - wanted[i]) ** 2 for i in m.f) + m.p**2 + constant))
    assert len(sp.Game(m, m.f).collapse().followers) == 2
    m.goal.set_value(unit * (sum((f.q - 2) ** 2 for f in m.f.values()) + m.p**2 + constant))
    assert len(sp.Game(m, m.f).collapse().followers) == 1
