"""Games made to fool the toolkit: each of these once looked verified, or ended in a wrong refusal."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds, toll_game
from pyomo.core.base.var import VarData

import stackpyomo as sp
from stackpyomo.solvers import Solution, Termination, registry

needs_scip = pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")


def given(cost: Any, *, at: float = 0.0, bounds: tuple[Any, Any] = (None, None), lead: float = 0.0) -> sp.Plan:
    """The plan (u0, u) = (lead, at) of a game with one follower of cost(u0, u)."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=lead)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=bounds)
    m.f.u.set_value(at, skip_validation=True)
    m.f.cost = pyo.Objective(expr=cost(m.u0, m.f.u))
    m.goal = pyo.Objective(expr=m.u0**2)
    return sp.Plan.from_values(sp.Game(m, followers=m.f))


# --- verify must not say ok -----------------------------------------------------------------------------------------


def test_a_plan_outside_the_followers_bounds_beats_every_response_and_proves_nothing() -> None:
    report = sp.verify(given(lambda u0, u: -u + u0, at=5.0, bounds=(0, 1)))
    assert not report.ok
    assert report.certificate["f"] == "unknown"
    assert "violates" in report.note["f"]


@pytest.mark.parametrize("solver", ["pounce", pytest.param("scip", marks=needs_scip)])
def test_an_answer_at_which_the_objective_has_no_value_is_no_answer(solver: str) -> None:
    report = sp.verify(given(lambda u0, u: u * pyo.log(u) + 100 * u + u0, at=4.0, bounds=(0, 10)), solver=solver)
    assert not report.ok
    assert not report.regret["f"] <= 400


def test_a_solver_that_returns_its_start_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def liar(program: Any, *_: Any) -> Solution:
        start = np.array([v.value for v in program.variables], dtype=float)
        return Solution(Termination.OPTIMAL, "trust me", start)

    monkeypatch.setitem(registry, "pounce", replace(registry["pounce"], run=liar))
    report = sp.verify(given(lambda u0, u: (u - 5) ** 2 + u0, bounds=(-9, 9)), solver="pounce")
    assert not report.ok
    assert report.certificate["f"] == "unknown"
    assert "could still be gained" in report.note["f"]


@pytest.mark.parametrize("solver", [name for name, info in registry.items() if info.available])
def test_a_small_slope_over_a_wide_box_counts(solver: str) -> None:
    report = sp.verify(given(lambda u0, u: -1e-8 * u + u0, bounds=(0, 1e7)), solver=solver)
    assert not report.ok or report.regret["f"] == pytest.approx(0.1, rel=1e-4)
    assert not (report.ok and report.regret["f"] < 0.09)


def test_a_constant_in_the_objective_does_not_hide_a_regret() -> None:
    report = sp.verify(given(lambda u0, u: (u - 5) ** 2 + u0 + 1e8))
    assert report.regret["f"] == pytest.approx(25, abs=1e-6)
    assert not report.ok


def test_almost_convex_on_a_huge_box_is_not_convex() -> None:
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(range(2), bounds=(-1e6, 1e6), initialize=0.0)
    u, v = m.f.u[0], m.f.u[1]
    m.f.cost = pyo.Objective(expr=(u - v) ** 2 - 1e-10 * (u + v) ** 2 + m.u0)
    m.goal = pyo.Objective(expr=m.u0**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f)), proof_seconds=1.0)
    assert report.certificate["f"] != "convex"


def test_a_follower_fixed_after_the_design_does_not_shift_the_gains() -> None:
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(-2, 2))
    m.f = pyo.Block(range(2))
    for i in range(2):
        m.f[i].u = pyo.Var(bounds=(0, 1))
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - 1) ** 2 + m.toll * m.f[i].u)
    m.goal = pyo.Objective(expr=sum((m.f[i].u - 0.6) ** 2 for i in range(2)) + 0.01 * m.toll**2)
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f)))
    m.f[0].u.fix(0.6)
    for use in (sp.verify, lambda r: r.actions({}), lambda r: r.strategy()):
        with pytest.raises(sp.InvalidGame, match=r"f\[0\]\.u: fixed"):
            use(rule)


def test_a_parameter_changed_after_the_plan_is_seen() -> None:
    m = pyo.ConcreteModel()
    m.p = pyo.Param(mutable=True, initialize=1.0)
    m.toll = pyo.Var(bounds=(-2, 2))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 1))
    m.f.cost = pyo.Objective(expr=(m.f.u - m.p) ** 2 + m.toll * m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - 0.6) ** 2 + 0.01 * m.toll**2)
    plan = sp.leader_optimal(sp.Game(m, followers=m.f))
    m.p.set_value(0.75)
    assert sp.affine_incentive(plan).gain.iloc[0, 0] == pytest.approx(-2 * (0.6 - 0.75) / 0.6)


@pytest.mark.slow
def test_random_starts_fail_quietly() -> None:
    """log has no value at half of the random starts; the starts from the plans still count."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(12))
    for i in m.f:
        m.f[i].u = pyo.Var(initialize=1.0)
        m.f[i].cost = pyo.Objective(expr=-pyo.log(m.f[i].u) + m.f[i].u + 0.01 * pyo.sin(m.f[i].u) ** 2 + m.u0)
    m.goal = pyo.Objective(expr=m.u0**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f)), tolerance=1e-3, proof_seconds=1.0)
    assert report.certificate.isin(["multistart", "global"]).all()


# --- the user's model -----------------------------------------------------------------------------------------------


def test_no_value_of_the_users_model_is_ever_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for a moment: another thread may be looking."""
    game = toll_game()
    mine = {id(v) for v in game.variables_by_name.values()}
    original = VarData.set_value

    def guarded(self: Any, *args: Any, **kwargs: Any) -> None:
        assert id(self) not in mine, f"{self.name} was set"
        original(self, *args, **kwargs)

    monkeypatch.setattr(VarData, "set_value", guarded)
    for solver in [name for name, info in registry.items() if info.available]:
        plan = sp.leader_optimal(game, solver=solver, starts=3)
        sp.verify(sp.affine_incentive(plan), solver=solver, certify="multistart", starts=2)


# --- derivatives ----------------------------------------------------------------------------------------------------


def test_a_parameter_of_zero_takes_no_constant_along() -> None:
    m = toll_game().model
    m.p = pyo.Param(mutable=True, initialize=0.0)
    m.idle = pyo.Block()
    m.idle.u = pyo.Var(bounds=(0, 1), initialize=0.5)
    m.idle.cost = pyo.Objective(expr=m.p * m.idle.u - 5)
    m.idle.row = pyo.Constraint(expr=m.p * m.idle.u + 3 <= 4)
    plan = sp.leader_optimal(sp.Game(m, followers=[m.driver, m.idle]))
    assert plan.follower_objectives["idle"] == -5
    report = sp.verify(sp.affine_incentive(plan))
    assert report.ok
    assert report.objective["idle"] == -5


def test_a_cost_without_a_derivative_at_the_plan_has_no_incentive() -> None:
    plan = given(lambda u0, u: -pyo.log(u) + u0 * u, at=0.5, lead=1.0)
    plan.values["f.u"] = -0.5
    with pytest.raises(sp.NoIncentive, match=r"f: its objective has no finite value or derivative"):
        sp.affine_incentive(plan)
    with pytest.raises(sp.NoIncentive):
        sp.affine_incentive(given(lambda u0, u: -pyo.sqrt(u) + u0 * u, at=0.0, bounds=(0, 1), lead=1.0))


@pytest.mark.parametrize("scale", [1e-10, 1e-4, 1e6])
def test_gains_do_not_depend_on_the_unit_of_the_cost(scale: float) -> None:
    plan = given(lambda u0, u: scale * ((u - 1) ** 2 + (u0 + 2) * u), at=0.25)
    rule = sp.affine_incentive(plan, curvature="none")
    assert rule.gain.iloc[0, 0] == pytest.approx(-(2 * (0.25 - 1) + 2) / 0.25, rel=1e-9)
    with pytest.raises(sp.NoIncentive, match="f: curvature"):
        sp.affine_incentive(plan)


def test_a_weak_grip_is_a_grip_whatever_the_energy() -> None:
    plan = given(lambda u0, u: 1e6 * (u - 1) ** 2 + u0 * u, at=0.05)
    rule = sp.affine_incentive(plan, energy={"u0": 1e15})
    assert rule.gain.iloc[0, 0] == pytest.approx(2e6 * 0.95 / 0.05, rel=1e-9)


# --- incentives -----------------------------------------------------------------------------------------------------


@needs_scip
def test_an_integer_variable_announces_nothing() -> None:
    m = pyo.ConcreteModel()
    m.open = pyo.Var(domain=pyo.Binary)
    m.toll = pyo.Var(bounds=(-2, 2))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 1))
    m.f.cost = pyo.Objective(expr=(m.f.u - 1) ** 2 + (m.toll + m.open) * m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - 0.6) ** 2 + m.toll**2 + m.open)
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f), solver="scip"))
    assert rule.leader == ["toll"]
    assert sp.verify(rule, tolerance=1e-4).ok


def test_a_strategy_that_leaves_the_leaders_bounds_says_so() -> None:
    game = toll_game()
    assert sp.affine_incentive(sp.leader_optimal(game)).excursions == {}
    game.model.toll.setub(0.1)
    rule = sp.affine_incentive(sp.leader_optimal(game))
    low, high = rule.excursions["toll"]
    assert low == pytest.approx(-4 / 3 * 0.6)
    assert high == pytest.approx(4 / 3 * 0.4)
    assert "Beware: toll leaves its bounds" in str(rule)
    assert rule.as_dict()["excursions"]["toll"] == [low, high]


@pytest.mark.parametrize("seed", seeds(40))
def test_many_active_constraints_carry_a_follower_exactly(seed: int) -> None:
    """The plan is the follower's own optimum: multipliers exist that leave nothing, and none is refused."""
    random = np.random.default_rng(seed)
    normals, weights = random.normal(size=(6, 4)), random.uniform(0.1, 5, 6)
    pull = -normals.T @ weights
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(range(4), initialize=0.0)
    m.f.row = pyo.Constraint(range(6), rule=lambda b, i: sum(normals[i, j] * b.u[j] for j in range(4)) <= 0)
    m.f.cost = pyo.Objective(expr=sum(pull[j] * m.f.u[j] + m.f.u[j] ** 2 for j in range(4)))
    m.goal = pyo.Objective(expr=m.u0**2)
    rule = sp.affine_incentive(sp.Plan.from_values(sp.Game(m, followers=m.f)), multipliers="free")
    assert rule.residual <= 1e-9
    assert sp.verify(rule).ok


def test_a_variable_the_leader_wants_exactly_on_its_bound_is_put_there() -> None:
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(-1, 1))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 0.6))
    m.f.cost = pyo.Objective(expr=(m.f.u - 1) ** 2)
    m.goal = pyo.Objective(expr=(m.f.u - 0.6) ** 2 + m.toll**2)
    plan = sp.leader_optimal(sp.Game(m, followers=m.f))
    assert plan.value("f.u") == 0.6
    assert sp.verify(plan).ok
    assert sp.affine_incentive(plan, multipliers="free").norm == 0


def test_infinitely_many_followers_have_no_sum() -> None:
    game = toll_game().with_sizes({"driver": math.inf})
    rule = sp.affine_incentive(sp.leader_optimal(game))
    assert rule.actions({})["toll"] == pytest.approx(0.0, abs=1e-9)
    assert "stands for one member's" in str(rule)
    with pytest.raises(sp.InvalidGame, match="infinitely many"):
        rule.actions({"driver.flow": 0.7})
    with pytest.raises(sp.InvalidGame, match="infinite size"):
        rule.strategy()


def test_signals_may_be_given_by_component() -> None:
    game = toll_game()
    rule = sp.affine_incentive(sp.leader_optimal(game))
    flow = game.model.driver.flow
    for signals in (pyo.ComponentMap([(flow, 0.9)]), [(flow, 0.9)], {"driver.flow": 0.9}):
        assert rule.actions(signals)["toll"] == pytest.approx(0.4)


# --- plans and models -----------------------------------------------------------------------------------------------


def test_what_a_local_solver_misses_is_not_called_impossible() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-3, 3), initialize=2.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.cost = pyo.Objective(expr=m.f.u**2 + m.x)
    m.well = pyo.Constraint(expr=m.x**4 - 8 * m.x**2 + 0.5 * m.x <= -16.5)
    m.goal = pyo.Objective(expr=m.x**2)
    game = sp.Game(m, followers=m.f)
    m.x.setlb(1.0)  # now it is impossible, but nobody proved it
    with pytest.raises(sp.NoPlan, match=r"may exist.*well \(leader\)"):
        sp.leader_optimal(game, solver="pounce")
    m.x.setlb(-3)
    assert sp.leader_optimal(game, solver="pounce", starts=5).value("x") == pytest.approx(-1.83, abs=0.02)


def test_a_followers_row_of_leader_variables_alone() -> None:
    m = toll_game().model
    m.driver.cap = pyo.Constraint(expr=m.toll <= 3)
    m.driver.tie = pyo.Constraint(expr=m.toll == 0)
    plan = sp.leader_optimal(sp.Game(m, followers=m.driver))
    assert sp.verify(plan).certificate["driver"] == "convex"
    m.driver.cap.set_value(m.toll <= -1)
    m.driver.tie.deactivate()
    m.toll.set_value(0.0)
    m.driver.flow.set_value(0.6)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.driver)))
    assert "violates" in report.note["driver"]


def test_coupled_aggregates_of_one_action_and_singular_ones() -> None:
    m = pyo.ConcreteModel()
    m.y, m.z = pyo.Var(), pyo.Var()
    m.u0 = pyo.Var()
    m.f = pyo.Block()
    m.f.u = pyo.Var()
    m.f.cost = pyo.Objective(expr=m.f.u**2 + m.y + m.z + m.u0 * 3)
    m.a = pyo.Constraint(expr=m.y + m.z == 5 * m.f.u)
    m.b = pyo.Constraint(expr=m.y - m.z == m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - 1) ** 2 + m.u0**2)
    game = sp.Game(m, followers=m.f, aggregates=[m.a, m.b])
    np.testing.assert_allclose(game.responses().shares.toarray(), [[3.0], [2.0]])
    assert sp.affine_incentive(sp.leader_optimal(game)).gain.iloc[0, 0] == pytest.approx(-(2 + 5) / 3)
    m.b.set_value((1 + 1e-15) * m.y + m.z == m.f.u)
    findings = sp.Game(m, followers=m.f, aggregates=[m.a, m.b]).check()
    assert "do not determine" in findings[0].message


def test_free_values_that_cannot_be_differentiated_or_do_not_help() -> None:
    m = toll_game().model
    m.price = pyo.Var(initialize=1.0)
    m.driver.cost.set_value(pyo.Expr_if(m.driver.flow >= 0.5, m.driver.flow, m.price * m.driver.flow))
    plan = sp.leader_optimal(sp.Game(m, followers=m.driver))
    with pytest.raises(sp.InvalidGame, match=r"driver\.cost: free= needs"):
        sp.affine_incentive(plan, free=m.price)


def test_an_unused_external_function_is_nobodys_business() -> None:
    m = toll_game().model
    m.outside = pyo.ExternalFunction(lambda x: x)
    assert sp.Game(m, followers=m.driver).check() == []


def test_slices_and_generators_are_lists_too() -> None:
    m = pyo.ConcreteModel()
    m.p = pyo.Var(range(2), initialize=1.0)
    m.f = pyo.Block(range(2))
    for i in range(2):
        m.f[i].u = pyo.Var(bounds=(0, 9))
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - i) ** 2 - m.p[i] * m.f[i].u)
    m.goal = pyo.Objective(expr=sum((m.f[i].u - 3) ** 2 for i in range(2)))
    for followers in (m.f[:], (m.f[i] for i in range(2)), m.f.values()):
        assert list(sp.Game(m, followers=followers).followers) == ["f[0]", "f[1]"]
    plan = sp.leader_optimal(sp.Game(m, followers=m.f))
    for free in ([m.p, m.p[1]], (m.p[i] for i in range(2)), m.p.values(), "p"):
        rule = sp.affine_incentive(plan, free=free)
        assert [rule.offset[f"p[{i}]"] for i in range(2)] == pytest.approx([6.0, 4.0])


@pytest.mark.slow
@needs_scip
def test_what_a_global_solver_holds_at_its_limit_is_kept() -> None:
    random = np.random.default_rng(1)
    matrix = random.normal(size=(40, 40))
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(40), bounds=(-1, 1))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-1, 1))
    m.f.cost = pyo.Objective(expr=m.f.u**2 + m.x[0])
    m.goal = pyo.Objective(expr=sum(matrix[i, j] * m.x[i] * m.x[j] for i in range(40) for j in range(40)) + m.f.u**2)
    plan = sp.leader_optimal(sp.Game(m, followers=m.f), solver="scip", time_limit=2)
    assert plan.termination == "time limit"
    assert plan.quality == "feasible"
    assert plan.bound < plan.leader_objective
    assert plan.gap > 0.01
