"""Gains, offsets and multipliers against closed forms, and against the same game written another way."""

from __future__ import annotations

import math
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import drawn, toll_game
from hypothesis import HealthCheck, settings
from scipy.optimize import minimize

import stackpyomo as sp
from stackpyomo.incentives.gains import free_prices as offsets
from stackpyomo.solvers import Program, Solution, Termination, solve

SLOW = settings(max_examples=drawn(15), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_the_multiplier_of_an_equality_may_have_any_sign() -> None:
    for pull in (-3.0, 3.0):
        m = pyo.ConcreteModel()
        m.u0 = pyo.Var()
        m.f = pyo.Block()
        m.f.u = pyo.Var()
        m.f.rule = pyo.Constraint(expr=m.f.u == 1)
        m.f.cost = pyo.Objective(expr=m.f.u**2 + pull * m.f.u + (m.u0 + 1) ** 2)
        m.goal = pyo.Objective(expr=m.u0**2 + m.f.u**2)
        rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f)), multipliers="free")
        assert rule.matrix.nnz == 0
        assert rule.multipliers["f.rule"] == pytest.approx(-(2 + pull), rel=1e-6)
        assert sp.verify(rule).ok


def _priced(bounds: tuple[float | None, float | None] = (None, None)) -> Any:
    """Two sellers, a price each; marginal costs at the plan are 2 and 6."""
    m = pyo.ConcreteModel()
    m.price = pyo.Var(range(2), bounds=bounds)
    m.gift = pyo.Var(bounds=(1, 9), initialize=5)
    m.f = pyo.Block(range(2))
    for i in range(2):
        m.f[i].q = pyo.Var(bounds=(0, 10), initialize=1)
        m.f[i].profit = pyo.Objective(
            expr=m.price[i] * m.f[i].q - (i + 1) * m.f[i].q ** 2 / 2 + m.gift, sense=pyo.maximize
        )
    m.goal = pyo.Objective(expr=(m.f[0].q - 2) ** 2 + (m.f[1].q - 3) ** 2)
    return m


def test_free_prices_need_no_gain_and_idle_ones_are_small() -> None:
    m = _priced()
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f)), free=[m.price, "gift"])
    assert rule.offset["price[0]"] == pytest.approx(2, abs=1e-6)
    assert rule.offset["price[1]"] == pytest.approx(6, abs=1e-6)
    assert rule.offset["gift"] == pytest.approx(1, abs=1e-6), "a gift moves nobody: its least norm within bounds"
    assert rule.norm == 0
    assert sp.verify(rule).ok


def test_bounds_and_the_leaders_constraints_bind_free_prices() -> None:
    m = _priced(bounds=(0, 5))
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f)), free=m.price)
    assert rule.offset["price[1]"] == pytest.approx(5, abs=1e-6)
    # What the bound leaves, the slope 6 − 5 = 1, is met with b = −(q, 1) for (price, gift): Q = (3, 1)/10.
    assert rule.gain.loc["price[1]", "f[1].q"] == pytest.approx(0.3, rel=1e-5)
    assert rule.gain.loc["gift", "f[1].q"] == pytest.approx(0.1, rel=1e-5)
    assert sp.verify(rule).ok
    m = _priced()
    m.same = pyo.Constraint(expr=m.price[0] == m.price[1])
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f)), free=m.price)
    best = minimize(lambda p: (p - 2) ** 2 / 5 + (p - 6) ** 2 / 10, 3.0).x[0]
    assert rule.offset["price[0]"] == pytest.approx(best, rel=1e-5)
    assert rule.energy == pytest.approx((best - 2) ** 2 / 5 + (best - 6) ** 2 / 10, rel=1e-5)


@pytest.mark.parametrize("solver", ["auto", "highs"])
@pytest.mark.parametrize("payment", [False, True])
def test_tolls_of_a_mean_field_need_no_gain(payment: bool, solver: str) -> None:
    """Pigou's two roads, times v₁ and 1, three populations: six equations in two tolls and three multipliers.

    No traveller moves the flows, so that nothing but tolls works, and half of them take road 1 at t₁ − t₂ = 1/2.
    """
    m = pyo.ConcreteModel()
    m.toll = pyo.Var([1, 2], bounds=(0, None), initialize=0.0)
    m.flow = pyo.Var([1, 2], initialize=0.5)
    m.f = pyo.Block(range(3))
    for f in m.f.values():
        f.x = pyo.Var([1, 2], bounds=(0, 1 / 3), initialize=1 / 6)
        f.all = pyo.Constraint(expr=f.x[1] + f.x[2] == 1 / 3)
        f.cost = pyo.Objective(expr=(m.flow[1] + m.toll[1]) * f.x[1] + (1 + m.toll[2]) * f.x[2])
    m.sum = pyo.Constraint([1, 2], rule=lambda m, r: m.flow[r] == sum(f.x[r] for f in m.f.values()))
    m.time = pyo.Objective(expr=m.flow[1] ** 2 + m.flow[2])
    followers = [sp.Population(f, math.inf) for f in m.f.values()]
    plan = sp.leader_optimal(sp.Game(m, followers=followers, aggregates=[m.sum]))
    paid = m.toll[1] * m.flow[1] + m.toll[2] * m.flow[2] if payment else None
    rule = sp.affine_incentive(
        plan, observe=[m.flow], free=[m.toll], multipliers="free", payment=paid, solver=solver
    )  # without a payment, the tolls of least norm: the same
    assert rule.offset == pytest.approx({"toll[1]": 0.5, "toll[2]": 0.0}, abs=1e-7)
    assert rule.norm == 0
    assert sp.verify(rule).ok


def test_a_payment_that_was_not_made_least_is_not_passed_off(monkeypatch: pytest.MonkeyPatch) -> None:
    m = _priced()
    plan = sp.leader_optimal(sp.Game(m, followers=m.f))
    monkeypatch.setattr(offsets, "solve", lambda *_, **__: Solution(Termination.FAILED, "broke down"))
    with pytest.raises(sp.NoIncentive, match=r"payment=: no least one was found \(broke down\)"):
        sp.affine_incentive(plan, free=m.price, payment=m.price[0] + m.price[1])


def test_a_variable_the_leader_cares_about_is_not_free() -> None:
    game = toll_game()
    plan = sp.leader_optimal(game)
    with pytest.raises(sp.InvalidGame, match=r"toll: cannot be free.*miss"):
        sp.affine_incentive(plan, free=[game.model.toll])


def test_the_strategy_is_an_expression_and_survives_json() -> None:
    game = toll_game()
    rule = sp.affine_incentive(sp.leader_optimal(game))
    again = sp.Incentive.from_json(rule.to_json(), game)
    assert again.gain.equals(rule.gain)
    assert again.offset == rule.offset
    strategy = again.strategy()[game.model.toll]
    for flow in (0.0, 0.6, 1.0):
        game.model.driver.flow.set_value(flow)
        assert pyo.value(strategy) == pytest.approx(rule.actions({"driver.flow": flow})["toll"], abs=1e-12)
        assert pyo.value(strategy) == pytest.approx(4 / 3 * (flow - 0.6), abs=1e-9)
    assert sp.verify(again).ok
    assert "toll = " in str(again)
    assert "1.33333 (driver.flow − 0.6)" in str(again)
    with pytest.raises(sp.InvalidGame, match="speed: not a signal"):
        rule.actions({"speed": 1.0})


def test_one_price_in_total_that_no_value_makes_right() -> None:
    m = pyo.ConcreteModel()
    m.price = pyo.Var(bounds=(0, 5), initialize=1)
    m.f = pyo.Block([1, 2])
    for i, block in m.f.items():
        block.x = pyo.Var(bounds=(0, 8), initialize=1)
        block.cost = pyo.Objective(expr=i * block.x**2 / 2 - m.price * block.x)
    m.mean = pyo.Expression(expr=(m.f[1].x + m.f[2].x) / 2)
    m.miss = pyo.Objective(expr=(m.f[1].x - 2) ** 2 + (m.f[2].x - 2) ** 2)
    plan = sp.leader_optimal(sp.Game(m, followers=m.f))
    with pytest.raises(sp.NoIncentive, match=r"free variables.*hold every follower.*Free more variables"):
        sp.affine_incentive(plan, observe=[m.mean], free=[m.price])


def _tolled(low: float = 0.0) -> tuple[sp.Plan, Any]:
    """flow* = 0.6 whatever the toll p: a = p − 0.8, b = 0.6, so that K = (0.8 − p) / 0.6 and 0.6 p is paid."""
    m = toll_game(low=low).model
    m.miss.set_value((m.driver.flow - 0.6) ** 2)
    return sp.leader_optimal(sp.Game(m, m.driver)), m


@pytest.mark.parametrize(
    ("asked", "toll"),
    [({}, 0.8), ({"payment": True}, 0.0), ({"limit": 0.24}, 0.4), ({"limit": 0.6}, 0.8), ({"limit": 0.0}, 0.0)],
)
def test_payment_comes_before_energy_or_has_a_limit(asked: dict[str, Any], toll: float) -> None:
    plan, m = _tolled()
    more: dict[str, Any] = {"payment": m.toll * m.driver.flow} if asked else {}
    rule = sp.affine_incentive(plan, free=m.toll, payment_limit=asked.get("limit"), **more)
    assert rule.offset["toll"] == pytest.approx(toll, abs=1e-5)
    assert rule.gain.iloc[0, 0] == pytest.approx((0.8 - toll) / 0.6, abs=1e-4)
    assert sp.verify(rule).ok
    told = rule.as_dict()
    if not asked:
        assert told["payment"] is told["payment_limit"] is None
        assert "The payment on the plan" not in str(rule)
        return
    assert rule.payment == pytest.approx(0.6 * toll, abs=1e-5)
    assert rule.payments.sum() == pytest.approx(rule.payment, abs=1e-9)
    assert told["payment_limit"] == asked.get("limit")
    assert ("at most" if "limit" in asked else "the least that holds everybody") in str(rule)
    again = sp.Incentive.from_json(rule.to_json(), plan.game)
    assert again.payment == pytest.approx(rule.payment)


def test_a_payment_that_cannot_be_kept_to() -> None:
    plan, m = _tolled(low=0.5)
    paid = m.toll * m.driver.flow
    with pytest.raises(sp.NoIncentive, match=r"within payment_limit=0.1 .*without payment_limit= the least is found"):
        sp.affine_incentive(plan, free=m.toll, payment=paid, payment_limit=0.1)
    with pytest.raises(sp.InvalidGame, match="payment_limit=: there is nothing to limit"):
        sp.affine_incentive(plan, free=m.toll, payment_limit=0.1)
    with pytest.raises(sp.InvalidGame, match="payment_limit='x': expected a finite number"):
        sp.affine_incentive(plan, free=m.toll, payment=paid, payment_limit="x")
    unbounded, m = _tolled(low=-math.inf)
    with pytest.raises(sp.InvalidGame, match="falls without limit"):
        sp.affine_incentive(unbounded, free=m.toll, payment=m.toll * m.driver.flow)


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
    monkeypatch.setattr("stackpyomo.incentives.design._REPAIR", 0.0)
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
    with pytest.raises(sp.InvalidGame, match="there is none"):
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
