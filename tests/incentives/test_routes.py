"""Which design is taken: slopes where they are enough, deviations where they are not."""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.solvers import Program, Solution, solve


def plan_of(cost: Any, target: float, *, domain: Any = pyo.Reals) -> sp.Plan:
    m = pyo.ConcreteModel()
    m.u = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.v = pyo.Var(bounds=(-2, 2), initialize=target, domain=domain)
    m.f.cost = pyo.Objective(expr=cost(m.f.v, m.u))
    m.wish = pyo.Objective(expr=m.u**2)
    return sp.Plan.from_values(sp.Game(m, followers=m.f))


def test_convex_followers_are_designed_by_slopes() -> None:
    for cost in (lambda v, u: (v - 1) ** 2 + u * v, lambda v, u: pyo.exp(v) + (u + v) ** 2):
        assert "deviations" not in sp.affine_incentive(plan_of(cost, 0.3)).seconds


def test_whole_actions_are_designed_by_deviations() -> None:
    rule = sp.affine_incentive(plan_of(lambda v, u: (v - 1) ** 2 + u, 0.0, domain=pyo.Integers))
    assert "deviations" in rule.seconds
    assert rule.gain.loc["u", "f.v"] == pytest.approx(1.0), "v = 1 tempts by 1"


def test_a_local_minimum_that_is_left_all_the_same_is_no_incentive() -> None:
    """At 4/5 the well bends up, and the other one is better under the only gain, −c'(4/5)."""
    plan = plan_of(lambda v, u: v**4 / 4 - v**2 / 2 + u, 0.8)
    by_slopes = sp.affine_incentive(plan, design="slopes")
    assert by_slopes.gain.loc["u", "f.v"] == pytest.approx(0.288)
    assert not sp.verify(by_slopes).ok
    with pytest.raises(sp.NoIncentive, match="cannot tell these apart") as refusal:
        sp.affine_incentive(plan)
    assert refusal.value.deviations["weight"].sum() == pytest.approx(1.0)


def test_a_repair_that_takes_too_long_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(lambda v, u: v**4 / 4 - v**2 / 2 + u, 0.8)
    monkeypatch.setattr("stackpyomo.incentives.routes._REPAIR", 0.0)
    with pytest.raises(sp.NoIncentive, match="the time for it was up") as late:
        sp.affine_incentive(plan)
    assert "design='deviations' takes what it needs" in str(late.value)
    assert late.value.deviations.empty, "nothing is proved"
    with pytest.raises(sp.NoIncentive, match="cannot tell these apart"):
        sp.affine_incentive(plan, design="deviations")


def test_a_repair_leaves_a_global_solver_no_more_time_than_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs curved in the answer have masters that SCIP is asked about, and one of these may take minutes."""
    limits: list[float | None] = []

    def solved(program: Program, solver: str = "auto", *, time_limit: float | None = None, **more: Any) -> Solution:
        if solver == "scip":
            limits.append(time_limit)
        return solve(program, solver, time_limit=time_limit, **more)

    monkeypatch.setattr("stackpyomo.incentives.gains.masters.solve", solved)
    plan = plan_of(lambda v, u: v**4 / 4 - v**2 / 2 + u + u**2 / 4, 0.8)
    for design, is_limited in (("auto", True), ("deviations", False)):
        limits.clear()
        with pytest.raises(sp.NoIncentive):
            sp.affine_incentive(plan, design=design)
        assert limits
        assert all((limit is not None and limit <= 20.0) == is_limited for limit in limits)


def test_a_quadratic_follower_at_its_bound_is_looked_at_whole() -> None:
    """−v² + u v at v = 2: no slope is left with K = 2 or more, and v = −2 has to be held, too."""
    rule = sp.affine_incentive(plan_of(lambda v, u: -((v - 0.1) ** 2) + u, 2.0))
    assert sp.verify(rule).ok


def test_a_margin_needs_whole_actions() -> None:
    with pytest.raises(sp.InvalidGame, match="nobody has one"):
        sp.affine_incentive(plan_of(lambda v, u: (v - 1) ** 2 + u, 0.0), margin=0.1)


def test_what_slopes_refuse_for_its_curvature_may_be_held_against_a_bound() -> None:
    """−v² + u on [−2, 0] at 0: no slope of 0 is a minimum, but K = −2 outweighs what −2 gains: 4 − 2·2 = 0."""
    plan = plan_of(lambda v, u: -(v**2) + u, 0.0)
    plan.attached().model.f.v.setub(0.0)
    plan = sp.Plan.from_values(plan.attached())
    with pytest.raises(sp.NoIncentive, match="curvature"):
        sp.affine_incentive(plan, design="slopes")
    rule = sp.affine_incentive(plan)
    assert rule.gain.loc["u", "f.v"] == pytest.approx(-2.0, abs=1e-6)
    assert sp.verify(rule).ok


def test_a_least_curvature_is_no_matter_of_deviations() -> None:
    """max (p − 3) q at p = 3: nobody gains, and the profit is flat. A curvature that was asked for is not forgotten."""
    m = pyo.ConcreteModel()
    m.p = pyo.Var(bounds=(0, 100))
    m.f = pyo.Block()
    m.f.q = pyo.Var(bounds=(0, 10))
    m.f.profit = pyo.Objective(expr=m.p * m.f.q - 3 * m.f.q, sense=pyo.maximize)
    m.miss = pyo.Objective(expr=(m.f.q - 4) ** 2)
    plan = sp.leader_optimal(sp.Game(m, m.f))
    with pytest.raises(sp.NoIncentive, match=r"curvature of 0\.02 or more"):
        sp.affine_incentive(plan, free=[m.p], curvature=0.02)
    with pytest.raises(sp.InvalidGame, match=r"curvature=0\.02: a design by deviations has none"):
        sp.affine_incentive(plan, free=[m.p], curvature=0.02, design="deviations")
    assert sp.affine_incentive(plan, free=[m.p]).offset["p"] == pytest.approx(3.0)
