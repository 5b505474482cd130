"""Scaling: gains, energies and verdicts of growing crowds against what their formulas say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import work
from helpers.crowds import MM01, crowd, ruled

import stackpyomo as sp

DT01 = {1: -111 / 223, 2: -187 / 223, 5: -415 / 223, 10: -795 / 223, 100: -7635 / 223}
"""Exact gains of the average (this project's case DT01)."""


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


@pytest.mark.slow
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


def test_sizes_are_numbers() -> None:
    with pytest.raises(sp.InvalidGame, match=r"sizes=\[10, 'many'\]: expected numbers of followers"):
        sp.scaling(crowd(10), [10, "many"])  # type: ignore[list-item]
