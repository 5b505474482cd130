"""Uniqueness of the followers' equilibrium, against closed forms, grids and the same game written another way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn, toll_game
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stackpyomo as sp

SLOW = settings(max_examples=drawn(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def sharers(count: int, pull: float, bend: float, *, population: bool = False, bounds: Any = (None, None)) -> sp.Game:
    """J_i = bend u²/2 + u0 u + 2 u0 + pull ū u, everybody to 1 at u0 = 0."""
    m = pyo.ConcreteModel(name="sharers")
    m.u0, m.mean = pyo.Var(), pyo.Var()
    blocks = 1 if population else count
    m.f = pyo.Block(range(blocks))
    for i in range(blocks):
        m.f[i].u = pyo.Var(bounds=bounds)
        u = m.f[i].u
        m.f[i].cost = pyo.Objective(expr=bend * u**2 / 2 + m.u0 * u + 2 * m.u0 + pull * m.mean * u)
    m.average = pyo.Constraint(expr=m.mean == pyo.quicksum(m.f[i].u for i in range(blocks)) / blocks)
    m.goal = pyo.Objective(expr=m.u0**2 + sum((m.f[i].u - 1) ** 2 for i in range(blocks)) / blocks)
    return sp.Game(m, followers=sp.Population(m.f, count) if population else m.f, aggregates=m.average)


def jacobian(count: int, pull: float, bend: float) -> np.ndarray:
    """F_i = bend u_i + u0 + 3 Q … written out: u0 = Q Σ (u_j − 1), dJ_i/du_i along Q and 1/N."""
    slope = bend + pull + pull / count
    gain = -slope / 3
    # F_i = bend u_i + u0 + pull ū + (u_i + 2) Q + pull u_i/N
    own = bend + gain + pull / count + gain + pull / count
    other = gain + pull / count
    return np.full((count, count), other) + (own - other) * np.eye(count)


@SLOW
@given(count=st.integers(2, 6), pull=st.floats(-0.4, 0.4), bend=st.floats(0.5, 2.0))
def test_a_unique_equilibrium_is_called_so(count: int, pull: float, bend: float) -> None:
    """Three words, each against the Jacobian written out by hand; a population says what its members say."""
    values = np.linalg.eigvalsh(jacobian(count, pull, bend))
    if np.abs(values).min() < 1e-3:
        return
    for population in (False, True):
        plan = sp.leader_optimal(sharers(count, pull, bend, population=population))
        try:
            rule = sp.affine_incentive(plan)
        except sp.NoIncentive:
            assert bend - 2 * (bend + pull + pull / count) / 3 + 2 * pull / count < 0
            return
        assert rule.uniqueness.startswith("unique: "), rule.uniqueness
        monotone = values.min() > 0
        assert ("strongly monotone" in rule.uniqueness) == monotone
        report = sp.verify(rule)
        assert report.unique is True
        assert sp.Report.from_json(report.to_json()).uniqueness == rule.uniqueness


@pytest.mark.parametrize("population", [False, True])
def test_followers_who_can_drift_together_are_told(population: bool) -> None:
    """J_i = u²/2 + u0 u + 2 u0, N = 2, Q = −1/3: u1 = u2 = v is an equilibrium for every v (this project's NU01)."""
    rule = sp.affine_incentive(sp.leader_optimal(sharers(2, 0.0, 1.0, population=population)))
    assert rule.gain.iloc[0, 0] == pytest.approx(-1 / 3, rel=1e-7)
    report = sp.verify(rule)
    assert report.ok, "each of them has no reason to leave alone"
    assert report.unique is False
    assert "not unique" in str(report)
    assert "not unique" in report._repr_html_()


def test_bounds_and_curved_costs_leave_less_to_say() -> None:
    rule = sp.affine_incentive(sp.leader_optimal(sharers(2, 0.0, 1.0, bounds=(0, 2))))
    assert rule.uniqueness.startswith("not shown unique")
    assert sp.verify(rule).unique is None
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var()
    m.f = pyo.Block(range(2))
    for i in range(2):
        m.f[i].u = pyo.Var()
        m.f[i].cost = pyo.Objective(expr=pyo.exp(m.f[i].u) + (m.u0 + 1) ** 2 / 2)
    m.goal = pyo.Objective(expr=m.u0**2 + sum((m.f[i].u - 0.1) ** 2 for i in range(2)))
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f)))
    assert rule.uniqueness.startswith("locally unique")
    assert sp.verify(rule).unique is None


def test_the_papers_words() -> None:
    """ε₀ from the plan, ε from the report, both in one sentence; nothing is claimed where nothing was proved."""
    game = toll_game()
    report = sp.verify(sp.affine_incentive(sp.leader_optimal(game)))
    assert report.epsilon0 < 1e-8
    assert "ε-Stackelberg equilibrium with ε = " in report.vocabulary
    assert "incentive" not in sp.verify(sp.stackelberg(game)).vocabulary, "the leader announced constants"
    for name, value in sp.leader_optimal(game).values.items():
        game.component(name).set_value(value)
    report = sp.verify(sp.affine_incentive(sp.Plan.from_values(game)))
    assert report.ok
    assert math.isnan(report.epsilon0)
    assert "ε₀ unknown" in report.vocabulary
    assert "ε-Stackelberg" not in report.vocabulary
    report.regret["driver"] = math.nan
    assert report.remarks[0] == "Nothing is said of an ε-Stackelberg equilibrium: ε is unknown."


def test_unique_is_not_said_of_shared_sets_projections_or_saddles() -> None:
    """u1 + u2 ≤ 1 held by both: (0.5, 0.5) and (0.7, 0.3) are both equilibria. A cut strategy is not the affine one."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(-0.5, 0.5), initialize=0.0)
    m.f = pyo.Block(range(2))
    for i in range(2):
        m.f[i].u = pyo.Var(initialize=0.5)
    for i in range(2):
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - 1) ** 2 + m.t)
        m.f[i].shared = pyo.Constraint(expr=m.f[0].u + m.f[1].u <= 1)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    held = {m.f[0].shared.name: 1.0, m.f[1].shared.name: 1.0}
    assert sp.affine_incentive(plan, multipliers=held).uniqueness.startswith("locally unique")
    cut = sp.affine_incentive(sp.leader_optimal(sharers(3, 0.0, 1.0)), saturate=True)
    assert not cut.uniqueness.startswith("not checked"), "nothing to cut without bounds"
    cut = sp.affine_incentive(plan, multipliers=held, saturate=True)
    assert cut.uniqueness.startswith("not checked")


def test_members_of_a_population_do_not_share_their_own_squares() -> None:
    """Two members, J = 0.625 u² − 1.5 z u + u + t, a square on each one's own action: they can drift together."""
    told = []
    for explicit in (False, True):
        m = pyo.ConcreteModel()
        m.t, m.z = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0)
        m.f = pyo.Block(range(2 if explicit else 1))
        blocks = list(m.f.values())
        for block in blocks:
            block.u = pyo.Var(initialize=0.0)
            block.c = pyo.Objective(expr=0.625 * block.u**2 - 1.5 * m.z * block.u + block.u + m.t)
        m.mean = pyo.Constraint(expr=m.z == sum(b.u for b in blocks) / len(blocks))
        game = sp.Game(m, m.f if explicit else sp.Population(m.f, 2), aggregates=m.mean)
        told.append(sp.affine_incentive(sp.Plan.from_values(game), quadratic=True).uniqueness)
    assert told[0].split(":")[0] == told[1].split(":")[0] == "not shown unique"


def test_an_aggregate_that_is_not_what_the_actions_make_it_is_refused() -> None:
    m = pyo.ConcreteModel()
    m.z = pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(2))
    for i in range(2):
        m.f[i].u = pyo.Var(initialize=1.0)
        m.f[i].c = pyo.Objective(expr=(m.f[i].u - 1) ** 2 + m.z * m.f[i].u)
    m.mean = pyo.Constraint(expr=m.z == (m.f[0].u + m.f[1].u) / 2)
    plan = sp.Plan.from_values(sp.Game(m, m.f, aggregates=m.mean))
    with pytest.raises(sp.InvalidGame, match=r"mean: does not hold at the plan"):
        sp.verify(plan)
    m.z.set_value(1.0)
    plan = sp.Plan.from_values(sp.Game(m, m.f, aggregates=m.mean))
    assert "1 follower not looked at" in sp.verify(plan, followers=["f[0]"]).vocabulary
    with pytest.raises(sp.InvalidGame, match=r"followers=\[\]"):
        sp.verify(plan, followers=[])


@pytest.mark.parametrize(("width", "money"), [(1.0, 1.0), (1e5, 1e-6), (1e-4, 1e6)])
@pytest.mark.parametrize("tolls", [1.2, 100.0])
def test_a_formula_that_bounds_stop_leaves_other_equilibria(width: float, money: float, tolls: float) -> None:
    """(u − 1)² − 3 u v + t u with t = 3 (u − 1): monotone; where t stops at 1.2 both may also be at 5."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var([0, 1], bounds=(-tolls, tolls), initialize=0)
    m.f = pyo.Block([0, 1])
    for i in (0, 1):
        m.f[i].u = pyo.Var(bounds=(-5 * width, 5 * width), initialize=width)
    u = [m.f[i].u / width for i in (0, 1)]
    for i in (0, 1):
        m.f[i].cost = pyo.Objective(expr=money * ((u[i] - 1) ** 2 - 3 * u[0] * u[1] + m.t[i] * u[i]))
    m.goal = pyo.Objective(expr=sum((x - 1) ** 2 for x in u) + m.t[0] ** 2 + m.t[1] ** 2)
    rule = sp.affine_incentive(sp.Plan.from_values(sp.Game(m, followers=[m.f[0], m.f[1]])))
    report = sp.verify(rule)
    assert report.ok
    v = np.linspace(-5, 5, 10_001)
    played = (v - 1) ** 2 - 15 * v + np.clip(3 * (v - 1), -tolls, tolls) * v  # against 5
    assert (v[played.argmin()] == 5.0) == (tolls < 12)
    assert report.unique is (None if tolls < 12 else True)
    assert rule.uniqueness.startswith("locally unique: " if tolls < 12 else "unique: "), rule.uniqueness


def test_a_formula_at_its_bound_is_not_checked() -> None:
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(0, 2), initialize=0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 1), initialize=0.6)
    m.f.cost = pyo.Objective(expr=(m.f.u - 1) ** 2 + m.t * m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - 0.6) ** 2 + m.t**2)
    rule = sp.affine_incentive(sp.Plan.from_values(sp.Game(m, followers=m.f)))
    assert rule.uniqueness.startswith("not checked: the formula goes beyond bounds of t"), rule.uniqueness
