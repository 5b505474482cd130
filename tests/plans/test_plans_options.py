"""Options of plans: each is looked at before anything is solved."""

from __future__ import annotations

import math
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import toll_game
from helpers.responders import bards_problem, one_follower

import stackpyomo as sp
from stackpyomo.bilevel import Equilibrium
from stackpyomo.bilevel.mpcc import Answer
from stackpyomo.solvers import Termination

pytestmark = pytest.mark.usefixtures("unchanged")


@pytest.mark.parametrize("function", [sp.stackelberg, sp.nash, sp.leader_optimal])
@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"starts": 0}, sp.InvalidGame, "starts"),
        ({"starts": 1.5}, sp.InvalidGame, "starts"),
        ({"time_limit": 0}, sp.InvalidGame, "time_limit"),
        ({"time_limit": -1.0}, sp.InvalidGame, "time_limit"),
        ({"solver": "snopt"}, sp.SolverNotAvailable, "snopt"),
        ({"complementarity": "none"}, sp.InvalidGame, "none"),
    ],
)
def test_options_are_checked_first(function: Any, options: dict[str, Any], error: Any, word: str) -> None:
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: u**2)
    with pytest.raises(error, match=word):
        function(game, **options)
    with pytest.raises(sp.InvalidGame, match="expected a Game"):
        function(game.model, **options)


def _market() -> sp.Game:
    """Five unlike Cournot firms with fractional powers in their costs: Newton answers at once, SCIP takes its time."""
    m = pyo.ConcreteModel()
    m.q, m.f = pyo.Var(bounds=(0, 50), initialize=5.0), pyo.Block(range(5))
    for i in range(5):
        m.f[i].q = pyo.Var(bounds=(0, 50), initialize=5.0)
    total = m.q + pyo.quicksum(f.q for f in m.f.values())
    for i, f in m.f.items():
        f.profit = pyo.Objective(expr=(60 - total) * f.q - (2 + i) * f.q - f.q**1.5, sense=pyo.maximize)
    m.profit = pyo.Objective(expr=(60 - total) * m.q - m.q**1.5, sense=pyo.maximize)
    return sp.Game(m, m.f)


def test_the_global_stage_has_a_budget_that_the_plan_tells() -> None:
    game = _market()
    plan = sp.stackelberg(game, proof_seconds=0.05)
    assert plan.report is not None
    assert plan.report.ok
    assert plan.options["proof_seconds"] == 0.05
    assert any(entry["solver"] == "scip" and entry["termination"] == "time limit" for entry in plan.log)
    assert plan.quality == "feasible"
    assert "s of proof spent; proof_seconds=60 or a longer time_limit= may prove it" in str(plan)
    with pytest.raises(sp.InvalidGame, match="proof_seconds"):
        sp.nash(game, proof_seconds=0.0)


@pytest.mark.parametrize("asked", [{}, {"time_limit": 60.0}])
def test_without_a_word_proofs_of_a_verified_plan_take_little_and_with_a_time_limit_part_of_it(
    asked: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget is one of the processor: a busy machine proves as much."""
    budgets, solve = [], Equilibrium.solve

    def heard(self: Equilibrium, solver: str, **options: Any) -> Any:
        if solver == "scip":
            budgets.append(options["budget"])
            options["budget"] = 0.05
        return solve(self, solver, **options)

    monkeypatch.setattr(Equilibrium, "solve", heard)
    plan = sp.stackelberg(_market(), **asked)
    assert plan.report is not None
    assert plan.report.ok
    assert plan.quality == "feasible"
    assert budgets == [math.inf if asked else 1.0]


def test_where_no_other_stage_has_a_plan_the_global_one_is_given_more(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets, solve = [], Equilibrium.solve

    def nothing_found(self: Equilibrium, solver: str, **options: Any) -> Any:
        if solver == "scip":
            budgets.append(options["budget"])
            if len(budgets) > 1:
                return solve(self, solver, **options)
        return Answer(Termination.TIME_LIMIT, "nothing found", solver=solver)

    monkeypatch.setattr(Equilibrium, "solve", nothing_found)
    plan = sp.stackelberg(bards_problem())
    assert plan.quality == "optimal"
    assert budgets == [1.0, 10.0]


def test_every_solver_of_plans_takes_a_plan_to_start_from() -> None:
    game = toll_game()
    plan = sp.leader_optimal(game)
    assert sp.leader_optimal(game, start=plan).leader_objective == pytest.approx(plan.leader_objective, abs=1e-9)
    answer = sp.stackelberg(game, start=plan)
    assert answer.leader_objective == pytest.approx(sp.stackelberg(game).leader_objective, abs=1e-7)
    assert answer.quality == "optimal"
    assert sp.pessimistic(answer, start=answer).leader_objective == pytest.approx(answer.leader_objective, abs=1e-6)


def test_what_is_no_start_is_refused() -> None:
    game = toll_game()
    with pytest.raises(sp.InvalidGame, match="start=dict: expected a Plan, of this game or of a neighbouring one"):
        sp.stackelberg(game, start={})
    with pytest.raises(sp.InvalidGame, match="start: a plan of another game: it has no variable of toll"):
        sp.nash(game, leader={"toll": 0}, start=sp.nash(bards_problem(), leader={"x": 3.0}))
