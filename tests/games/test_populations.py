"""Populations of any size: written out, found again, growing without limit, played by real followers, randomised."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from conftest import drawn, work
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stackpyomo as sp
from stackpyomo.games import exchangeable

SLOW = settings(max_examples=drawn(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])

DT01 = {1: -111 / 223, 2: -187 / 223, 5: -415 / 223, 10: -795 / 223, 100: -7635 / 223}
"""Exact gains of the average (this project's case DT01)."""


def crowd(size: float, *, explicit: bool = False, wanted: float | None = None) -> sp.Game:
    """J_i = (u_i−1)²/2 + ū u_i/4 + (u0+1)²/2 + u0 u_i/5. wanted: the leader's u, at u0 = 0 (None: case DT01)."""
    m = pyo.ConcreteModel(name="crowd")
    m.u0, m.mean = pyo.Var(initialize=0.5), pyo.Var(initialize=1.0)
    blocks = int(size) if explicit else 1
    m.f = pyo.Block(range(blocks))
    for i in range(blocks):
        m.f[i].u = pyo.Var(initialize=1.0)
        u = m.f[i].u
        m.f[i].cost = pyo.Objective(expr=(u - 1) ** 2 / 2 + m.mean * u / 4 + (m.u0 + 1) ** 2 / 2 + m.u0 * u / 5)
    m.average = pyo.Constraint(expr=m.mean == pyo.quicksum(m.f[i].u for i in range(blocks)) / blocks)
    square = pyo.quicksum(m.f[i].u ** 2 for i in range(blocks)) / blocks
    goal = (m.u0 - 1) ** 2 + (m.mean - 2) ** 2 + square / 2 + m.u0 * m.mean / 2
    if wanted is not None:
        goal = m.u0**2 + pyo.quicksum((m.f[i].u - wanted) ** 2 for i in range(blocks)) / blocks
    m.goal = pyo.Objective(expr=goal)
    return sp.Game(m, followers=m.f if explicit else sp.Population(m.f, size), aggregates=m.average)


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


@pytest.mark.parametrize("observe", ["actions", ["mean"]])
def test_the_gain_of_the_average_grows_like_the_crowd(observe: Any) -> None:
    sizes = [*DT01, 10**3, 10**4, 10**6, math.inf]
    table = sp.scaling(crowd(10), sizes, observe=observe)
    for size, gain in DT01.items():
        assert table.set_index("size").loc[size, "average_gain"] == pytest.approx(-gain, rel=1e-6)
    assert table.attrs["exponent"] == pytest.approx(1, abs=0.02)
    assert table.attrs["verdict"].startswith("ill-posed")
    assert "f[0].u" in table.attrs["verdict"]
    assert table["average_gain"].iloc[-1] == math.inf
    assert table["average_gain"].iloc[-2] / 10**6 == pytest.approx(76 / 223, rel=1e-5)
    assert table["epsilon"][:-1].max() <= 1e-8


def test_a_plan_that_is_an_equilibrium_already_needs_no_growing_gain() -> None:
    """u = 4/5 solves u − 1 + u/4 = 0: with the average taken as given nobody wants to leave."""
    table = sp.scaling(crowd(10, wanted=0.8), [10, 100, 1000, 10**6])
    assert table.attrs["verdict"].startswith("bounded")
    assert table.attrs["exponent"] == pytest.approx(0, abs=0.02)
    # K_N = −∂J/∂ū / ∂J/∂u0 for every N: (u/4) / (1 + u/5)
    np.testing.assert_allclose(table["average_gain"], (0.8 / 4) / (1 + 0.8 / 5), rtol=1e-5)


@pytest.mark.parametrize("free", [True, False])
def test_free_prices_and_constraints_that_hold_are_seen_by_the_verdict(free: bool) -> None:
    """u₁ + u₂ = 1 and the leader wants u = (3/4, 1/4): p₁ − p₂ = 2(u₂ − u₁) holds everybody, equal prices do not."""
    m = pyo.ConcreteModel()
    m.p = pyo.Var([1, 2], bounds=(0, None), initialize=1.0)
    m.mean = pyo.Var([1, 2], initialize=0.5)
    m.f = pyo.Block()
    m.f.u = u = pyo.Var([1, 2], bounds=(0, 1), initialize=0.5)
    m.f.all = pyo.Constraint(expr=u[1] + u[2] == 1)
    m.f.cost = pyo.Objective(expr=u[1] ** 2 + u[2] ** 2 + m.p[1] * u[1] + m.p[2] * u[2])
    m.average = pyo.Constraint([1, 2], rule=lambda m, i: m.mean[i] == m.f.u[i])
    m.goal = pyo.Objective(expr=(m.mean[1] - 0.75) ** 2 + (m.mean[2] - 0.25) ** 2)
    if not free:
        m.same = pyo.Constraint([1, 2], rule=lambda m, i: m.p[i] == 1)
    game = sp.Game(m, sp.Population(m.f, 10), aggregates=[m.average])
    table = sp.scaling(game, [10, 1000, math.inf], observe=[m.mean], free=[m.p] if free else (), multipliers="free")
    assert table.attrs["verdict"].startswith("bounded" if free else "ill-posed")
    assert np.isfinite(table["average_gain"].iloc[-1]) == free
    if not free:  # the common part of the slopes, 2 and more, is held by the constraint
        assert table.attrs["exponent"] == pytest.approx(1, abs=0.02)
        assert "∂J/∂f.u[1] = 0." in table.attrs["verdict"]


def test_minors_at_their_equilibrium_need_no_growing_gain() -> None:
    """At every finite size their slope with the average as given is −u/N: it need not be 0 to vanish."""
    game = ruled(10)
    table = sp.scaling(game, [10, 100, 1000], responding=["minor"], followers=["minor"])
    assert table.attrs["verdict"].startswith("bounded: at the plan")
    assert table.attrs["exponent"] == pytest.approx(0, abs=0.02)
    unseen = sp.scaling(game, [10, 100, math.inf], observe=["major.u"], followers=["minor"])
    assert unseen.attrs["verdict"].startswith("bounded: the leader observes no population")
    assert np.isfinite(unseen["average_gain"]).all()


@pytest.mark.parametrize("observe", ["actions", ["mean"], ["f[0].u", "mean"]])
@pytest.mark.parametrize("size", [2, 7, 40])
def test_a_population_has_the_energy_of_its_members(observe: Any, size: int) -> None:
    """Written out: every member has its own signal and its own gain. One linear system, least Σ over all entries."""
    game = crowd(size)
    plan = sp.leader_optimal(game)
    rule = sp.affine_incentive(plan, observe)
    u0, u = plan.value("u0"), plan.value("mean")
    slope, grip = u - 1 + u / 4 + u / 4 / size + u0 / 5, u0 + 1 + u / 5
    shown = np.hstack([np.eye(size)] * (observe != ["mean"]) + [np.full((size, 1), 1 / size)] * ("mean" in observe))
    wanted = np.linalg.lstsq(grip * shown, np.full(size, -slope), rcond=None)[0]
    assert rule.energy == pytest.approx(wanted @ wanted, rel=1e-6)
    assert sp.verify(rule).ok
    kept = sp.Incentive.from_json(rule.to_json())
    assert kept.energy == rule.energy
    written = game.expand()
    seen = [s for s in ("mean",) if s in observe] + list(written.actions) * (observe != ["mean"])
    assert sp.affine_incentive(sp.leader_optimal(written), seen).energy == pytest.approx(rule.energy, rel=1e-5)


def test_infinitely_many_members_have_no_finite_energy_unless_nothing_is_answered() -> None:
    rule = sp.affine_incentive(sp.leader_optimal(crowd(math.inf)))
    assert rule.energy == math.inf
    assert sp.Incentive.from_json(rule.to_json()).energy == math.inf
    assert "at infinite energy" in str(rule)
    assert "no strategy of finite energy is left" in str(sp.verify(rule))
    easy = sp.affine_incentive(sp.leader_optimal(crowd(math.inf, wanted=0.8)))
    assert easy.energy == 0
    assert "energy" not in str(easy) + str(sp.verify(easy))
    ruled_by_one = sp.leader_optimal(ruled(math.inf), responding=["minor"])
    assert math.isfinite(sp.affine_incentive(ruled_by_one, observe=["major.u"]).energy)


@pytest.mark.parametrize("size", [10**18, 10**100], ids=["1e18", "1e100"])
def test_very_large_crowds(size: int) -> None:
    rule = sp.affine_incentive(sp.leader_optimal(crowd(size)))
    limit = sp.affine_incentive(sp.leader_optimal(crowd(math.inf)))
    assert rule.gain.iloc[0, 0] == pytest.approx(limit.gain.iloc[0, 0], rel=1e-9)
    assert rule.energy == pytest.approx(size * limit.norm**2)
    assert sp.verify(rule).ok


@pytest.mark.parametrize("digits", [101, 308, 309, 400])
def test_crowds_that_are_infinite_to_a_computer(digits: int) -> None:
    with pytest.raises(sp.InvalidGame, match=r"not more than 1e100, which is math\.inf"):
        crowd(10**digits)


def priced(wish: float) -> sp.Game:
    """(u − 2)²/2 + (z + p) u with the wish z = w at p = 0: K_N = N (2 − 2w)/w − 1."""
    m = pyo.ConcreteModel()
    m.p, m.z, m.f = pyo.Var(initialize=0), pyo.Var(initialize=1), pyo.Block()
    m.f.u = pyo.Var(initialize=1)
    m.f.cost = pyo.Objective(expr=(m.f.u - 2) ** 2 / 2 + (m.z + m.p) * m.f.u)
    m.average = pyo.Constraint(expr=m.z == m.f.u)
    m.goal = pyo.Objective(expr=(m.z - wish) ** 2 + m.p**2)
    return sp.Game(m, sp.Population(m.f, 10), aggregates=[m.average])


@pytest.mark.parametrize(
    ("wish", "sizes", "exponent", "begins"),
    [
        (0.8, [2, 5, 20], 1, "ill-posed: the gain of the average grows like N^1.00 (± 0.3)"),  # 0, 3/2, 9
        (0.8, [1, 2, 3], 1, "ill-posed: the gain of the average grows like N^1.00,"),  # −1/2, 0, 1/2
        (2 / 3, [1, 2, 3], 1, "ill-posed"),  # 0, 1, 2
        (0.8, [10, 100, 1000, 10**6], 1, "ill-posed: the gain of the average grows like N^1.00,"),
        (1 - 1e-7, [10, 1000, 10**6, 10**9], 1, "ill-posed"),  # begins to grow at 10⁷
        (1 - 1e-7, [10, 100, 1000], 0, "ill-posed: the gain of the average will grow like N, though not yet"),
        (1 - 1e-9, [10, 100, 1000, 10**6], 1, "not settled"),  # −1 to −0.998, by slopes of 2e-9
        (1.0, [10, 100, 1000, 10**6], 0, "bounded: at the plan"),
        (0.8, [5, 50, math.inf], None, "ill-posed: the gain of the average grows with N,"),
        (0.8, [5], None, "ill-posed: the gain of the average grows with N,"),
    ],
)
def test_the_exponent_is_that_of_the_tail(wish: float, sizes: list[float], exponent: Any, begins: str) -> None:
    table = sp.scaling(priced(wish), sizes, observe=["z"])
    if exponent is not None:
        assert table.attrs["exponent"] == pytest.approx(exponent, abs=1e-3)
    assert table.attrs["verdict"].startswith(begins)


def test_a_member_by_itself_has_a_limit_that_the_average_has_not() -> None:
    verdict = sp.scaling(priced(0.8), [10, 100, 1000, math.inf]).attrs["verdict"]
    assert "The gain on a member's own action settles (at size inf: 0.5)" in verdict
    assert "settles" not in sp.scaling(priced(0.8), [10, 100, 1000], observe=["z"]).attrs["verdict"]


def test_bad_questions_about_scaling() -> None:
    for sizes in ([], [10, 10], [10, 2]):
        with pytest.raises(sp.InvalidGame, match="increasing"):
            sp.scaling(crowd(10), sizes)
    with pytest.raises(sp.InvalidGame, match="nobody: not a follower"):
        sp.scaling(crowd(10), [1, 2], followers=["nobody"])


def test_size_does_not_cost() -> None:
    """Plan, incentive and verification at 10⁹ and ∞ do the work of size 1; the sizes take turns, the best time counts.

    ``benchmarks/populations.py`` shows medians, with a major as well.
    """
    games = {size: crowd(size) for size in (1, 10**9, math.inf)}
    best = dict.fromkeys(games, math.inf)
    for _ in range(10):
        for size, game in games.items():
            start = work()
            sp.verify(sp.affine_incentive(sp.leader_optimal(game)))
            best[size] = min(best[size], work() - start)
    assert best[10**9] <= 1.2 * best[1] + 0.005
    assert best[math.inf] <= 1.2 * best[1] + 0.005


MM01 = {
    1: (517 / 90, -456 / 53),
    2: (322 / 61, -303 / 34),
    5: (5725 / 1162, -5688 / 637),
    10: (5050 / 1053, -5127 / 578),
    100: (448525 / 96003, -465117 / 53003),
    math.inf: (177 / 38, -184 / 21),
}
"""size → (leader-major-optimal objective, gain on the major), this project's case MM01, exact."""


def ruled(size: float) -> sp.Game:
    """A leader, a major M and minors u with J = u²/2 − u (4 − ū − u0/2 − M/2)."""
    m = pyo.ConcreteModel(name="ruled")
    m.u0, m.mean = pyo.Var(initialize=0.0), pyo.Var(initialize=1.0)
    m.major, m.minor = pyo.Block(), pyo.Block()
    m.major.u, m.minor.u = pyo.Var(initialize=1.0), pyo.Var(initialize=1.0)
    m.average = pyo.Constraint(expr=m.mean == m.minor.u)
    big, small = m.major.u, m.minor.u
    m.minor.cost = pyo.Objective(expr=small**2 / 2 - small * (4 - m.mean - m.u0 / 2 - big / 2))
    m.major.cost = pyo.Objective(expr=big**2 / 2 + (m.u0 + 1) ** 2 / 2 + (big + m.mean - 1) ** 2 / 2)
    m.goal = pyo.Objective(expr=m.u0**2 / 2 + big**2 / 2 + (m.mean + big - 5) ** 2 + small**2 / 4)
    return sp.Game(m, followers=[m.major, sp.Population(m.minor, size)], aggregates=m.average)


@pytest.mark.parametrize("size", MM01)
def test_a_major_follower_keeps_the_gain_bounded(size: float) -> None:
    game = ruled(size)
    cost, gain = MM01[size]
    assert sp.leader_optimal(game).leader_objective == pytest.approx(25 / 7, rel=1e-8)
    plan = sp.leader_optimal(game, responding=["minor"])
    assert plan.leader_objective == pytest.approx(cost, rel=1e-8)
    rule = sp.affine_incentive(plan)
    assert rule.gain.loc["u0", "major.u"] == pytest.approx(gain, rel=1e-7)
    assert rule.gain.loc["u0", "minor.u"] == pytest.approx(0, abs=1e-7), "minors are at their equilibrium already"
    assert sp.verify(rule).ok


EP01 = {2: (225 / 1444, 0.0650969862895, 2.1355104249532, 1.26926104565417),
        10: (15 / 1444, 0.00341831627752, 2.13251158019088, 1.50548297162618),
        1000: (3 / 2411480, 3.67587198303e-07, 2.13158872403101, 1.57817725117643)}  # fmt: skip
"""size → (minor's regret, what the leader loses to the N-game's optimum, M and u once settled): case EP01."""


def test_the_mean_field_plan_played_by_real_followers() -> None:
    plan = sp.leader_optimal(ruled(math.inf), responding=["minor"])
    rule = sp.affine_incentive(plan, observe=["major.u"])
    table = sp.simulate(rule, list(EP01), settle=True)
    for (size, (regret, gap, major, minor)), (_, row) in zip(EP01.items(), table.iterrows(), strict=True):
        assert row["regret"] == pytest.approx(regret, rel=1e-6)
        best = sp.leader_optimal(ruled(size), responding=["minor"]).leader_objective
        assert row["settled_leader_objective"] - best == pytest.approx(gap, rel=1e-4, abs=1e-9)
        settled = sp.settled(rule, sizes={"minor": size})
        assert settled.value("major.u") == pytest.approx(major, abs=1e-7)
        assert settled.value("minor.u") == pytest.approx(minor, abs=1e-7)
    late = sp.simulate(rule, [100, 1000, 10**4], settle=True)
    assert late.attrs["rates"]["regret"] == pytest.approx(-2, rel=0.05)
    assert late.attrs["rates"]["settled_leader_objective"] == pytest.approx(-1, rel=0.05), "|J0(N) − J0(∞)|"
    # One minor's cost bends by 1 + 2/N and slopes by u/N with u = 30/19.
    wanted = [(30 / 19 / n) ** 2 / (2 * (1 + 2 / n)) for n in late["size"]]
    np.testing.assert_allclose(late["regret"], wanted, rtol=1e-5)
    assert (late["settled_leader_objective"].iloc[-1] - 177 / 38) * 10**4 == pytest.approx(1.4128, rel=1e-3)
    assert "leader_objective" not in late.attrs["rates"], "what is frozen does not change"


def test_a_frozen_plan_that_looks_better_is_no_optimality_gap() -> None:
    """Two real minors who stay at the mean-field plan are not at Nash; to the leader it looks good."""
    plan = sp.leader_optimal(ruled(math.inf), responding=["minor"])
    row = sp.simulate(sp.affine_incentive(plan, observe=["major.u"]), [2], settle=True).iloc[0]
    best = sp.leader_optimal(ruled(2), responding=["minor"]).leader_objective
    assert row["leader_objective"] < best < row["settled_leader_objective"]
    assert row["regret"] > 0.1, "which is why"
    assert not [column for column in row.index if "gap" in column]


def test_a_million_followers() -> None:
    """Followers of one type do the same: a draw of 10⁶ costs what a draw of 10 does (asked: a minute)."""
    plan = sp.leader_optimal(ruled(math.inf), responding=["minor"])
    rule = sp.affine_incentive(plan, observe=["major.u"])
    start = work()
    table = sp.simulate(rule, [10**6], draws=10)
    assert work() - start < 60
    assert table["regret"].iloc[0] == pytest.approx((30 / 19) ** 2 / 2 / 10**12, abs=1e-13)


def test_followers_drawn_from_types() -> None:
    """Two types, one half each: the average of N draws scatters like N^-1/2, and the leader's loss like N^-1."""
    m = pyo.ConcreteModel()
    m.u0, m.mean = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0)
    m.f = pyo.Block(["low", "high"])
    for name, level in (("low", 1.0), ("high", 3.0)):
        m.f[name].u = pyo.Var(initialize=level)
        u = m.f[name].u
        m.f[name].cost = pyo.Objective(expr=(u - level) ** 2 + m.mean * u / 10 + (m.u0 + 1) ** 2)
    m.average = pyo.Constraint(expr=m.mean == (m.f["low"].u + m.f["high"].u) / 2)
    m.goal = pyo.Objective(expr=(m.mean - 2) ** 2 + m.u0**2 + ((m.f["low"].u - 1) ** 2 + (m.f["high"].u - 3) ** 2) / 9)
    game = sp.Game(m, [sp.Population(m.f["low"], math.inf), sp.Population(m.f["high"], math.inf)], aggregates=m.average)
    plan = sp.leader_optimal(game)
    assert plan.leader_objective == pytest.approx(0, abs=1e-8)
    table = sp.simulate(plan, [100, 1000, 10**4], draws=60, seed=7)
    for _, row in table.iterrows():
        # mean = 2 + (n_high − n_low)/N has variance 1/N, and that is what the leader loses
        assert row["leader_objective"] == pytest.approx(1 / row["size"], abs=5 * row["leader_objective_se"])
        middle = (row["leader_objective_low"] + row["leader_objective_high"]) / 2
        assert middle == pytest.approx(row["leader_objective"])
        reach = row["leader_objective_high"] - row["leader_objective"]
        assert reach == pytest.approx(2.0009953780 * row["leader_objective_se"], rel=1e-8), "Student's t, 59 degrees"
    assert table.attrs["rates"]["leader_objective"] == pytest.approx(-1, abs=0.2)
    narrow = sp.simulate(plan, [100], draws=60, seed=7, confidence=0.5).iloc[0]
    assert narrow["leader_objective_high"] < table["leader_objective_high"].iloc[0]
    with pytest.raises(sp.InvalidGame, match="confidence=95: expected a probability"):
        sp.simulate(plan, [10], confidence=95)
    assert table.equals(sp.simulate(plan, [100, 1000, 10**4], draws=60, seed=7)), "a seed gives the same draws"
    assert not table.equals(sp.simulate(plan, [100, 1000, 10**4], draws=60, seed=8))
    assert isinstance(table.attrs["draws"], pd.DataFrame)
    with pytest.raises(sp.InvalidGame, match="expected a probability above 0 for each"):
        sp.simulate(plan, [10], types={"f[low]": 1.0})


def grid_game(leader: Any, follower: Any, bounds: tuple[float, float] | None = (0.0, 1.0)) -> sp.Game:
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(bounds=bounds, initialize=0.5)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=bounds, initialize=0.5)
    m.f.cost = pyo.Objective(expr=follower(m.u0, m.f.u))
    m.goal = pyo.Objective(expr=leader(m.u0, m.f.u))
    return sp.Game(m, followers=m.f)


def test_a_coin_helps_where_the_leader_is_concave() -> None:
    """J1 = u1² − u0, J0 = 2 (1 − u1)² + √u0 (this project's case RL01): 7/8 without a coin, 2/3 with one."""
    found = sp.randomized_target(grid_game(lambda a, b: 2 * (1 - b) ** 2 + pyo.sqrt(a), lambda a, b: b**2 - a))
    assert found.leader_objective == pytest.approx(2 / 3, abs=1e-6)
    assert found.deterministic == pytest.approx(7 / 8, abs=1e-6)
    assert found.target["f.u"] == pytest.approx(2 / 3, abs=1e-5)
    assert found.atoms["u0"].tolist() == [0.0, 1.0]
    np.testing.assert_allclose(found.atoms["probability"], [5 / 9, 4 / 9], atol=1e-5)
    assert found.punishment == {"u0": 0.0}
    assert "without randomising" in str(found)


def test_a_coin_is_not_offered_where_it_cannot_help() -> None:
    with pytest.raises(sp.NoIncentive, match=r"convex in u0.*mean of a mixture"):
        sp.randomized_target(grid_game(lambda a, b: (1 - b) ** 2 + a**2, lambda a, b: b**2 - a))
    game = grid_game(lambda a, b: (b - 0.2) ** 2 + a**2, lambda a, b: (b + 1) ** 2 + (a - 1) ** 2 / 2, None)
    with pytest.raises(sp.NoIncentive, match="not needed"):
        sp.randomized_gain(sp.leader_optimal(game))
    game = grid_game(lambda a, b: (b - 0.2) ** 2 + a**2, lambda a, b: (b**2 - 1) ** 2 - (a - 1) ** 2 / 2, None)
    with pytest.raises(sp.NoIncentive, match="not convex enough"):
        sp.randomized_gain(sp.leader_optimal(game), most=10)
    with pytest.raises(sp.InvalidGame, match="needs its bounds"):
        sp.randomized_target(grid_game(lambda a, b: (b - 1) ** 2 - a**2, lambda a, b: b**2 - a, None))


def test_a_random_gain_bends_a_double_well() -> None:
    """J1 = (u1² − 1)² + (u0 − 1)²/2 at u1 = 1/5 (this project's case NC02): only Q̄ ± τ works, from 1.8028… on."""
    game = grid_game(lambda a, b: (b - 0.2) ** 2 + a**2, lambda a, b: (b**2 - 1) ** 2 + (a - 1) ** 2 / 2, None)
    plan = sp.leader_optimal(game)
    with pytest.raises(sp.NoIncentive, match="f: curvature"):
        sp.affine_incentive(plan)
    found = sp.randomized_gain(plan)
    assert found.spread == pytest.approx(1.80282445068842, abs=1e-6)
    low, high = found.gains
    assert (low + high).iloc[0, 0] / 2 == pytest.approx(-0.768, rel=1e-7)
    # An independent look: the expected cost on a fine grid, a little above and a little below the spread.
    d = np.linspace(-3, 3, 600001)

    def excess(spread: float) -> float:
        base = ((0.2 + d) ** 2 - 1) ** 2
        cost = sum(base + ((-0.768 + way * spread) * d - 1) ** 2 / 2 for way in (-1, 1)) / 2
        return float(cost[300000] - cost.min())

    assert excess(found.spread + 1e-3) <= 1e-9
    assert excess(found.spread - 1e-3) > 1e-4


@pytest.mark.parametrize("unit", [1e-10, 1e-6, 1.0, 1e6])
def test_mixtures_do_not_depend_on_units(unit: float) -> None:
    """RL01 in other units of either cost: 2/3 with a coin, 7/8 without one."""
    for lead, follow in ((unit, 1.0), (1.0, unit)):
        found = sp.randomized_target(
            grid_game(lambda a, b, k=lead: k * (2 * (1 - b) ** 2 + pyo.sqrt(a)), lambda a, b, k=follow: k * (b**2 - a)),
            leader_points=101,
            follower_points=61,
            zooms=3,
        )
        assert found.leader_objective == pytest.approx(2 / 3 * lead, rel=1e-4)
        assert found.deterministic == pytest.approx(7 / 8 * lead, rel=1e-6)
        np.testing.assert_allclose(found.atoms["probability"], [5 / 9, 4 / 9], atol=1e-3)


@pytest.mark.parametrize("seed", [0, 3, 4, 7])
def test_without_a_coin_is_as_good_as_a_fine_grid_says(seed: int) -> None:
    """A coarse grid for the point without a coin alone would overstate what the coin is worth."""
    c = np.random.default_rng(seed).normal(size=5)

    def leader(a: Any, b: Any) -> Any:
        return 1.5 * c[0] * a * (1 - a) + (b - abs(c[1]) % 1) ** 2 + c[2] * a * b

    def follower(a: Any, b: Any) -> Any:
        return (b - 0.4) ** 2 + c[3] * a**2 + c[4] * a * b

    try:
        found = sp.randomized_target(grid_game(leader, follower), leader_points=101, follower_points=101, zooms=3)
    except sp.NoIncentive:
        return
    x, y = np.linspace(0, 1, 2001)[:, np.newaxis], np.linspace(0, 1, 2001)[np.newaxis, :]
    own = follower(x, y)
    best = leader(x, y)[own <= own.max(axis=0).min() + 1e-9].min()
    assert found.deterministic <= best + 1e-8
    assert found.deterministic == pytest.approx(best, abs=2e-3)
    assert found.leader_objective <= found.deterministic
    promised = sum(p * follower(a, found.target["f.u"]) for a, p in found.atoms.to_numpy())
    assert promised <= own.max(axis=0).min() + 1e-6
    assert (found.threats["objective"] >= promised - 1e-6).all(), "off target each action is answered by its worst"


def test_one_punishment_for_all_that_does_not_punish() -> None:
    """J1 = (u0 − u1)²: whatever the leader sticks to, the follower joins it."""
    found = sp.randomized_target(
        grid_game(lambda a, b: (b - 0.5) ** 2 - a**2, lambda a, b: (a - b) ** 2, (-1.0, 1.0)), leader_points=81
    )
    assert not found.punishes
    assert "to each action what is worst for it" in str(found)
    threats = found.threats
    np.testing.assert_allclose(threats["objective"], (1 + threats["f.u"].abs()) ** 2, atol=1e-12)
    assert sp.randomized_target(
        grid_game(lambda a, b: (1 - b) ** 2 + pyo.sqrt(a), lambda a, b: b**2 - a), leader_points=81, follower_points=61
    ).punishes


def saddle(scale: float = 1.0, unit: float = 1.0, quartic: float = 0.0, bounds: Any = (None, None)) -> sp.Plan:
    """u + u0 + u0²/2 − 2u² − c u⁴ with Q = −1: held iff ½ (1 + τ²) ≥ 2 + c u², for τ from √3 on where c is 0."""
    m = pyo.ConcreteModel()
    m.u0, m.f = pyo.Var(initialize=0.0), pyo.Block()
    m.f.u = pyo.Var(bounds=tuple(None if b is None else b * unit for b in bounds), initialize=0.0)
    u, u0 = m.f.u / unit, m.u0 / unit
    m.f.cost = pyo.Objective(expr=scale * (u + u0 + u0**2 / 2 - 2 * u**2 - quartic * u**4))
    m.goal = pyo.Objective(expr=u**2 + u0**2)
    return sp.leader_optimal(sp.Game(m, m.f))


@pytest.mark.parametrize(("scale", "unit"), [(1e-11, 1), (1e-6, 1), (1e9, 1), (1, 1e-6), (1, 1e6), (1, 1)])
@pytest.mark.parametrize("bounds", [(-5, 5), (None, None)])
def test_random_gains_do_not_depend_on_units(scale: float, unit: float, bounds: Any) -> None:
    found = sp.randomized_gain(saddle(scale, unit, bounds=bounds))
    assert found.spread == pytest.approx(math.sqrt(3), rel=1e-6)
    assert found.evidence == "convex"


def test_a_cost_that_falls_without_end_needs_more_than_a_coin() -> None:
    """−u⁴/100 outruns every spread where u has no bound; within |u| ≤ 5 it takes τ² = 7/2."""
    assert sp.randomized_gain(saddle(quartic=0.01, bounds=(-5, 5))).spread == pytest.approx(math.sqrt(3.5), rel=1e-6)
    with pytest.raises(sp.NoIncentive, match="no spread up to 1000 holds f"):
        sp.randomized_gain(saddle(quartic=0.01))


@pytest.mark.parametrize("seed", range(3))
def test_the_least_spread_against_a_fine_grid(seed: int) -> None:
    """τ² = max_d −F₀(d) / (h d²/2), d on 600,001 points; dips that are narrow on purpose."""
    random = np.random.default_rng(seed)
    a, c, w, f, h = random.normal(), random.uniform(-3, -0.5), random.uniform(0.2, 1), random.uniform(1, 6), 1.0
    m = pyo.ConcreteModel()
    m.u0, m.f = pyo.Var(initialize=0.0), pyo.Block()
    m.f.u = pyo.Var(bounds=(-3, 3), initialize=0.0)
    u = m.f.u
    m.f.cost = pyo.Objective(expr=a * u + m.u0 + h / 2 * m.u0**2 + c * u**2 + u**3 / 5 + w * (pyo.cos(f * u) - 1))
    m.goal = pyo.Objective(expr=u**2 + m.u0**2)
    d = np.linspace(-3, 3, 600_001)
    d = d[np.abs(d) > 1e-3]
    fallen = -(c * d**2 + d**3 / 5 + w * (np.cos(f * d) - 1) + h / 2 * a**2 * d**2)
    wanted = math.sqrt((fallen / (h / 2 * d**2)).max())
    assert sp.randomized_gain(sp.leader_optimal(sp.Game(m, m.f))).spread == pytest.approx(wanted, rel=1e-4)


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
