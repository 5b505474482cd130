"""Selections: components of the leader by themselves, by name and in lists; pairs in every form of a mapping."""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo
import pytest
from pyomo.common.collections import ComponentMap

import stackpyomo as sp
from stackpyomo.games.selection import by_component, component_pairs, leader_variables, members


@pytest.fixture
def game() -> sp.Game:
    m = pyo.ConcreteModel()
    m.price = pyo.Var([1, 2, 3], initialize=0.0)
    m.price[2].fix()
    m.mean = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.cost = pyo.Objective(expr=m.f.u**2 + m.price[1] * m.f.u)
    m.average = pyo.Constraint(expr=m.mean == m.f.u)
    m.goal = pyo.Objective(expr=m.price[3] ** 2)
    return sp.Game(m, followers=m.f, aggregates=m.average)


def names(variables: list[Any]) -> list[str]:
    return [variable.name for variable in variables]


def test_a_component_is_its_members_that_are_not_fixed(game: sp.Game) -> None:
    price = game.model.price
    for chosen in (price, "price", [price], ["price", price[1]]):
        assert names(leader_variables(game, chosen)) == ["price[1]", "price[3]"], "each once"
    assert names(leader_variables(game, "price[3]")) == ["price[3]"]
    assert [names(group) for group in by_component(game, [price, price[3], price[2]])] == [
        ["price[1]", "price[3]"],
        ["price[3]"],
        [],
    ]
    assert names(members(game, price)) == ["price[1]", "price[2]", "price[3]"]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (lambda m: m.f.u, "f.u: not a variable of the leader"),
        (lambda m: m.mean, "mean: an aggregate follows the followers' actions; nobody chooses it"),
        (lambda m: m.goal, "goal: expected a Var of the leader"),
        (lambda m: 3, "3: expected a Var of the leader, its name, or a list of these"),
        (lambda m: "prize", "prize: .* no component of that name. Did you mean price"),
    ],
)
def test_what_the_leader_does_not_choose_is_refused(chosen: Any, words: str, game: sp.Game) -> None:
    with pytest.raises(sp.InvalidGame, match=words):
        leader_variables(game, chosen(game.model))


def test_pairs_in_every_form(game: sp.Game) -> None:
    price = game.model.price
    for mapping in (ComponentMap([(price[1], 2.0)]), [(price[1], 2.0)], ((price[1], 2.0),)):
        ((component, value),) = component_pairs(mapping, "leader")
        assert component is price[1]
        assert value == 2.0
    assert component_pairs({"price[1]": 2.0}, "leader") == [("price[1]", 2.0)]
    for wrong in (3, [price[1]], "price"):
        with pytest.raises(sp.InvalidGame, match=r"leader=.*: expected a ComponentMap, \(component, size\) pairs"):
            component_pairs(wrong, "leader", "size")
