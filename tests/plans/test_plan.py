"""Plans: what is kept in files, told in words, and advised."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest
from conftest import toll_game
from helpers.responders import pinched

import stackpyomo as sp
from stackpyomo.core import undisturbed
from stackpyomo.plans import Options
from stackpyomo.plans.plan import answered_plan, bounded, not_held, proved_within, untried

pytestmark = pytest.mark.usefixtures("unchanged")


def test_files_keep_who_responds_and_what_was_told() -> None:
    game = pinched(0, 10)
    plan = sp.stackelberg(game)
    assert plan.warnings
    read = sp.Plan.from_json(plan.to_json(), game)
    assert read.responding == ("f",)
    assert read.warnings == plan.warnings
    assert read.log == plan.log
    assert read == plan
    assert "Responding: f" in str(plan)
    for text in plan.warnings:
        assert f"Beware: {text}" in str(plan)


def test_advice_names_what_has_not_been_tried() -> None:
    local = [{"solver": "pounce", "termination": "converged", "start": k} for k in range(5)]
    assert untried(local) == ["solver='scip' can prove more", "starts=20 can find better"]
    stopped = {"solver": "scip", "termination": "time limit", "seconds": 2.0}
    assert untried([stopped, *local]) == [
        "2 s of proof spent; proof_seconds=60 or a longer time_limit= may prove it",
        "starts=20 can find better",
    ]
    assert untried([{"solver": "scip", "termination": "optimal"}]) == ["starts=5 can find better"]


def test_advice_asks_for_the_bounds_that_a_proof_stands_on() -> None:
    """v**5 is convex where v ≥ 0 alone: without a bound nothing is proved, with one the plan is optimal."""
    m = pyo.ConcreteModel()
    m.flow = pyo.Var(initialize=1.0)
    m.f = pyo.Block()
    m.f.v = pyo.Var(bounds=(0, 3), initialize=1.0)
    m.f.cost = pyo.Objective(expr=(m.f.v - 2) ** 2 + m.flow * m.f.v)
    m.same = pyo.Constraint(expr=m.flow == m.f.v + 1)
    m.total = pyo.Objective(expr=m.flow**5 - 9 * m.flow)
    game = sp.Game(m, m.f, aggregates=[m.same])
    assert "bounds for flow may prove it convex" in str(sp.leader_optimal(game))
    m.flow.setlb(0)
    plan = sp.leader_optimal(game)
    assert plan.quality == "optimal"
    assert plan.value(m.flow) == pytest.approx(1.8**0.25, rel=1e-6)


@pytest.mark.parametrize("sense", [1, -1])
def test_a_gap_that_is_proved_bounds_the_objective_on_its_own_side(sense: int) -> None:
    game = toll_game()
    game.model.miss.set_value(sense * game.model.miss.expr)
    game.model.miss.sense = pyo.minimize if sense > 0 else pyo.maximize
    plan = sp.leader_optimal(game)
    level = plan.leader_objective
    proved_within(plan, 0.5, 2.0)
    assert (plan.epsilon0, plan.gap, plan.bound) == pytest.approx((0.5, 0.25, level - sense * 0.5))
    plan.quality = "feasible"
    proved_within(plan, 0.5, 1e9)
    assert plan.quality == "optimal", "what is small against the scale"
    bounded(plan, sense, sense * level, sense * level - 0.5, 2.0)
    assert (plan.gap, plan.bound) == pytest.approx((0.25, level - sense * 0.5))
    bounded(plan, sense, sense * level, sense * level + 1e-9, 2.0)
    assert plan.gap == 0.0, "rounding of a bound is no gap"


WANTED = {"toll": 0.0, "driver.flow": 0.6}
"""At toll 0 the driver would rather send everybody: (0.6 − 1)² = 0.16 more."""


def plan_at(values: dict[str, float], **fields: object) -> sp.Plan:
    with undisturbed():
        return answered_plan(toll_game(), values, ["driver"], Options(), **fields)


def test_values_are_measured_and_re_solved() -> None:
    plan = plan_at(WANTED)
    assert plan.report is not None
    assert plan.report.epsilon == pytest.approx(0.16, abs=1e-6)
    assert plan.leader_objective == pytest.approx(0.0)
    assert plan.follower_objectives == pytest.approx({"driver": 0.16})
    assert plan.residuals["feasibility"] == 0.0
    assert (plan.responding, plan.quality) == (("driver",), "none")
    assert plan_at({**WANTED, "driver.flow": 1.5}).residuals["feasibility"] == pytest.approx(0.5)


def test_what_is_known_better_is_not_measured_again() -> None:
    known = plan_at(WANTED).report
    plan = plan_at(WANTED, report=known, leader_objective=7.0, residuals={"feasibility": 0.25})
    assert plan.report is known
    assert (plan.leader_objective, plan.residuals) == (7.0, {"feasibility": 0.25})


def test_a_plan_that_is_left_is_infeasible_only_where_every_re_solve_showed_something() -> None:
    plan = plan_at(WANTED)
    not_held(plan)
    assert plan.quality == "infeasible"
    assert "not an equilibrium by the re-solve of the followers" in plan.warnings[-1]
    plan = plan_at(WANTED)
    assert plan.report is not None
    plan.report.certificate["driver"] = "unknown"
    not_held(plan)
    assert plan.quality == "none"
