"""Plans: what is kept in files, told in words, and advised."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest
from conftest import toll_game
from helpers.responders import (
    pinched,
)

import stackpyomo as sp
from stackpyomo.plans.plan import proved_within, untried

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
