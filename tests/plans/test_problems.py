"""Problems: given leader values, what is defined from the actions, and what is held."""

from __future__ import annotations

import math
from typing import Any

import pyomo.environ as pyo
import pytest
from helpers.responders import two_prices

import stackpyomo as sp

pytestmark = pytest.mark.usefixtures("unchanged")


def test_leader_values_as_dict_component_map_and_pairs() -> None:
    game = two_prices()
    m = game.model
    wanted = {"p[1]": 1.5, "p[2]": -0.5, "t": 0.25, "f.u": 1.25, "revenue": 1.875}
    ways = [
        {"p[1]": 1.5, "p[2]": -0.5},
        pyo.ComponentMap([(m.p[1], 1.5), (m.p[2], -0.5)]),
        [(m.p[1], 1.5), (m.p[2], -0.5)],
        [(m.p, {1: 1.5, 2: -0.5})],
    ]
    for given in ways:
        plan = sp.nash(game, leader=given)
        assert plan.values == pytest.approx(wanted, abs=1e-7)
        assert plan.leader_objective == pytest.approx(1.875, abs=1e-7)
        assert plan.quality == "feasible"
    m.p[1].set_value(1.5)
    m.p[2].set_value(4.0)
    plan = sp.nash(game, leader={"p[2]": -0.5})
    assert plan.values == pytest.approx(wanted, abs=1e-7), "given values over current ones"


def test_what_is_defined_from_a_defined_variable_follows_too() -> None:
    game = two_prices()
    m = game.model
    m.twice = pyo.Var()
    m.double = pyo.Constraint(expr=m.twice - 2 * m.revenue == 0)
    plan = sp.nash(sp.Game(m, m.f), leader={"p[1]": 1.5, "p[2]": -0.5})
    assert plan.value("twice") == pytest.approx(3.75, abs=1e-7)


@pytest.mark.parametrize(
    ("leader", "words"),
    [
        (None, ("p[1]", "value")),
        ({"p[1]": 1.0}, ("p[2]", "value", "leader=")),
        ({"p[1]": 1.0, "p[2]": math.nan}, ("p[2]", "finite")),
        ({"p[1]": 1.0, "p[2]": "2"}, ("p[2]", "finite")),
        ({"p[1]": 1.0, "p[2]": True}, ("p[2]", "finite")),
        ({"p[1]": 1.0, "p[2]": 0.0, "f.u": 1.0}, ("f.u",)),
        ({"p[1]": 1.0, "p[2]": 0.0, "q": 1.0}, ("q",)),
        (7, ("leader",)),
    ],
)
def test_leader_values_that_do_not_do(leader: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(sp.InvalidGame) as caught:
        sp.nash(two_prices(), leader=leader)
    for word in words:
        assert word in str(caught.value)
