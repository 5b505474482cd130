"""Re-solved plans: measured at values that no program holds, and not called more than the re-solve shows."""

from __future__ import annotations

import pytest
from conftest import toll_game

import stackpyomo as sp
from stackpyomo.core import undisturbed
from stackpyomo.plans import Options
from stackpyomo.plans.resolved_plans import answered_plan, not_held

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
