"""Simulations: a mean-field plan played by real followers, drawn from types, up to a million."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from conftest import work
from helpers.crowds import ruled

import stackpyomo as sp

EP01 = {2: (225 / 1444, 0.0650969862895, 2.1355104249532, 1.26926104565417),
        10: (15 / 1444, 0.00341831627752, 2.13251158019088, 1.50548297162618),
        1000: (3 / 2411480, 3.67587198303e-07, 2.13158872403101, 1.57817725117643)}  # fmt: skip
"""size → (minor's regret, what the leader loses to the N-game's optimum, M and u once settled): case EP01."""


@pytest.mark.slow
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


@pytest.mark.slow
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
    table = sp.simulate(plan, [30, 300, 3000], draws=60, seed=7)
    for _, row in table.iterrows():
        # mean = 2 + (n_high − n_low)/N has variance 1/N, and that is what the leader loses
        assert row["leader_objective"] == pytest.approx(1 / row["size"], abs=5 * row["leader_objective_se"])
        middle = (row["leader_objective_low"] + row["leader_objective_high"]) / 2
        assert middle == pytest.approx(row["leader_objective"])
        reach = row["leader_objective_high"] - row["leader_objective"]
        assert reach == pytest.approx(2.0009953780 * row["leader_objective_se"], rel=1e-8), "Student's t, 59 degrees"
    assert table.attrs["rates"]["leader_objective"] == pytest.approx(-1, abs=0.2)
    small, again, other, narrow = (
        sp.simulate(plan, [30], draws=8, seed=seed, confidence=confidence)
        for seed, confidence in ((7, 0.95), (7, 0.95), (8, 0.95), (7, 0.5))
    )
    assert small.equals(again), "a seed gives the same draws"
    assert not small.equals(other)
    assert narrow.loc[0, "leader_objective_high"] < small.loc[0, "leader_objective_high"]
    with pytest.raises(sp.InvalidGame, match="confidence=95: expected a probability"):
        sp.simulate(plan, [10], confidence=95)
    assert isinstance(table.attrs["draws"], pd.DataFrame)
    with pytest.raises(sp.InvalidGame, match="expected a probability above 0 for each"):
        sp.simulate(plan, [10], types={"f[low]": 1.0})
