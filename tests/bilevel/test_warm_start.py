"""Warm starts: the plan of a neighbouring game is tried first, gives the same answer, and changes nothing."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest
from conftest import snapshot, toll_game

import stackpyomo as sp


def market() -> sp.Game:
    """Four firms, price 10 − total, costs 1 to 4, each at most 2: at tax t, q_k = 2, or its Cournot answer."""
    m = pyo.ConcreteModel()
    m.tax = pyo.Var(bounds=(0, 5), initialize=0.0)
    m.f = pyo.Block(range(4))
    for block in m.f.values():
        block.q = pyo.Var(bounds=(0, 2), initialize=0.0)
    total = sum(block.q for block in m.f.values())
    for cost, block in enumerate(m.f.values(), 1):
        block.profit = pyo.Objective(expr=(10 - total - cost - m.tax) * block.q, sense=pyo.maximize)
    m.goal = pyo.Objective(expr=m.tax * total, sense=pyo.maximize)
    return sp.Game(m, m.f)


def test_a_sweep_with_plans_of_neighbouring_games() -> None:
    game = market()
    before = snapshot(game.model)
    last = None
    for tax in (0.0, 0.5, 1.0):
        plan = sp.nash(game, leader={"tax": tax}, start=last)
        assert plan.value("tax") == tax  # what is given, not what the start had
        assert plan.values == pytest.approx(sp.nash(game, leader={"tax": tax}).values, abs=1e-7)
        if last is not None:
            assert [entry["treatment"] for entry in plan.log] == ["polish"] * len(plan.log)
        last = plan
    assert snapshot(game.model) == before


def test_every_solver_of_plans_takes_one() -> None:
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
        sp.nash(game, leader={"toll": 0}, start=sp.nash(market()))
