"""Structures: names, values and owners of a game's variables, and what changed since they were taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyomo.environ as pyo
import pytest
from helpers.roads import game_of, roads

import stackpyomo as sp


def two_plants() -> sp.Game:
    """A leader with a price and a pump of its own, two plants under indexed names, and the mean of what they make."""
    m = pyo.ConcreteModel(name="market")
    m.price = pyo.Var(["a", "b"], initialize=1.0)
    m.pump = pyo.Block()
    m.pump.load = pyo.Var(initialize=2.0)
    m.pump.load.fix()
    m.mean = pyo.Var(initialize=0.5)
    m.plant = pyo.Block([1, 2])
    for k, block in m.plant.items():
        block.make = pyo.Var(bounds=(3, 4) if k == 2 else (None, None))
        block.cost = pyo.Objective(expr=block.make**2 - m.price["a"] * block.make)
    m.average = pyo.Constraint(expr=2 * m.mean == m.plant[1].make + m.plant[2].make)
    m.goal = pyo.Objective(expr=m.mean + m.pump.load)
    return sp.Game(m, m.plant, aggregates=m.average)


def test_variables_have_names_and_owners() -> None:
    game = two_plants()
    names = ["price[a]", "price[b]", "mean", "pump.load", "plant[1].make", "plant[2].make"]
    assert list(game.variables_by_name) == names
    assert [game.names[id(v)] for v in game.actions] == names[-2:]
    assert game.owners == {id(v): v.parent_block().name for v in game.actions}
    assert game.action_owners.tolist() == [0, 1]
    assert game.action_sizes == [1.0, 1.0]
    assert [v.name for v in game.aggregate_variables()] == ["mean"]
    assert [v.name for v in game.leader.variables] == ["price[a]", "price[b]", "mean"], "what is fixed nobody decides"
    assert game.component("pump.load") is game.model.pump.load
    with pytest.raises(sp.InvalidGame, match=r"plant\[2\].mak: market has no component of that name. Did you mean"):
        game.component("plant[2].mak")


def test_actions_are_found_among_signals() -> None:
    game = two_plants()
    assert game.positions(["plant[2].make", "plant[1].make"]) == [1, 0]
    with pytest.raises(sp.InvalidGame, match=r"plant\[1\].make: fixed, freed or added since"):
        game.positions(["plant[2].make"])


def test_values_are_completed_next_to_zero() -> None:
    game = two_plants()
    with pytest.raises(sp.InvalidGame, match=r"plant\[1\].make: has the value None, where a finite one is needed"):
        game.current_values()
    values = game.completed({id(game.model.price["b"]): 7.0})
    assert values == {
        "price[a]": 1.0,
        "price[b]": 7.0,
        "mean": 0.5,
        "pump.load": 2.0,
        "plant[1].make": 0.0,
        "plant[2].make": 3.0,
    }
    for name, value in values.items():
        game.component(name).set_value(value)
    assert game.current_values() == values
    assert game.objective_value(game.leader) == pytest.approx(2.5)


def test_within_a_call_a_question_is_answered_once() -> None:
    game, calls = two_plants(), []

    def answer() -> int:
        calls.append(len(calls))
        return calls[-1]

    assert [game.once("how many", answer) for _ in range(2)] == [0, 1]
    with game.unchanged(), game.unchanged():
        assert [game.once("how many", answer) for _ in range(2)] == [2, 2]
        game.rescan()
        assert game.once("how many", answer) == 3, "the model was read again"
    assert game.once("how many", answer) == 4


@pytest.mark.parametrize("entry", [sp.verify, sp.affine_incentive])
def test_a_variable_fixed_elsewhere_after_the_plan_is_noticed(entry: Callable[[sp.Plan], Any], refused: Any) -> None:
    """Nothing said at flow = 0.2 is about a plan at flow = 0.6."""
    m = roads()
    plan = sp.leader_optimal(game_of(m))
    m.driver.flow.fix(0.2)
    refused(m, lambda: entry(plan), sp.InvalidGame, "driver.flow", "fixed", "0.2")
    m.driver.flow.fix(plan.value(m.driver.flow))
    entry(plan)


@pytest.mark.parametrize("unit", [1e-7, 1.0, 1e7])
@pytest.mark.parametrize("upper", [5.0, None])
def test_a_var_fixed_elsewhere_makes_a_plan_fall_in_any_unit(unit: float, upper: float | None) -> None:
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var(bounds=(0, None if upper is None else upper * unit), initialize=unit), pyo.Block()
    m.f.q = pyo.Var(bounds=(0, 5), initialize=1.0)
    m.f.cost = pyo.Objective(expr=(m.f.q - 1) ** 2 + m.p / unit * m.f.q)
    m.goal = pyo.Objective(expr=(m.f.q - 2) ** 2 + (m.p / unit - 2) ** 2)
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    m.p.fix(unit * (1 + 1e-9))
    sp.verify(plan)
    m.p.fix(4 * unit)
    with pytest.raises(sp.InvalidGame, match="Unfix it"):
        sp.verify(plan)


@pytest.mark.parametrize("level", [0.0, None])
def test_an_objective_without_a_value_is_named_once(level: float | None, refused: Any) -> None:
    """At a pole, or with a variable that has none: Pyomo says so to its log, too, if it is asked."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(0, 1), initialize=0.5), pyo.Block()
    m.f.x = pyo.Var(bounds=(0, 1), initialize=1.0)
    m.f.cost = pyo.Objective(expr=1 / m.f.x + m.t * m.f.x)
    m.goal = pyo.Objective(expr=m.f.x**2 + m.t**2)
    game = sp.Game(m, m.f)
    m.f.x.set_value(level)
    follower = game.followers["f"]
    refused(m, lambda: game.objective_value(follower), sp.InvalidGame, "f.cost: has no value", "Give every variable")
