"""Randomisation: coins and random gains against fine grids, in any unit, and where they cannot help."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "unit"), [(1e-11, 1), (1e-6, 1), (1e9, 1), (1, 1e-6), (1, 1e6), (1, 1)])
@pytest.mark.parametrize("bounds", [(-5, 5), (None, None)])
def test_random_gains_do_not_depend_on_units(scale: float, unit: float, bounds: Any) -> None:
    found = sp.randomized_gain(saddle(scale, unit, bounds=bounds))
    assert found.spread == pytest.approx(math.sqrt(3), rel=1e-6)
    assert found.evidence == "convex"


@pytest.mark.slow
def test_a_cost_that_falls_without_end_needs_more_than_a_coin() -> None:
    """−u⁴/100 outruns every spread where u has no bound; within |u| ≤ 5 it takes τ² = 7/2."""
    assert sp.randomized_gain(saddle(quartic=0.01, bounds=(-5, 5))).spread == pytest.approx(math.sqrt(3.5), rel=1e-6)
    with pytest.raises(sp.NoIncentive, match="no spread up to 1000 holds f"):
        sp.randomized_gain(saddle(quartic=0.01))


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "unit"), [(1.0, 1.0), (1e-6, 1e4)])
def test_a_spread_holds_as_far_as_the_leader_can_play_it(scale: float, unit: float) -> None:
    """u0 = (−1 ± τ) u stopped at ±2.5: 3.32 on a grid of |u| ≤ 1, not √3; at ±4 nothing holds |u| ≤ 5 (it was √3)."""
    plan = saddle(scale, unit, bounds=(-1, 1))
    instrument = plan.attached().model.u0
    instrument.bounds = (-2.5 * unit, 2.5 * unit)
    u = np.linspace(-1, 1, 20_001)

    def cost(spread: float) -> Any:
        answers = [np.clip((-1 + way * spread) * u, -2.5, 2.5) for way in (-1, 1)]
        return sum(u + a + a**2 / 2 - 2 * u**2 for a in answers) / 2

    spreads = np.linspace(1.7, 4.0, 5001)
    least = next(s for s in spreads if cost(s).min() >= -1e-12)
    assert least > math.sqrt(3) + 0.01
    found = sp.randomized_gain(sp.leader_optimal(plan.attached()))
    assert found.spread == pytest.approx(least, abs=1e-3)
    assert found.evidence == "global"
    wide = saddle(scale, unit, bounds=(-5, 5)).attached()
    wide.model.u0.bounds = (-4 * unit, 4 * unit)
    with pytest.raises(sp.NoIncentive, match="no spread up to 1000 holds f"):
        sp.randomized_gain(sp.leader_optimal(wide))


@pytest.mark.slow
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
