"""Counterexamples to convexity: found in every unit, and never made of rounding."""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo
import pytest
from helpers.responders import concave_cost, split_set

import stackpyomo as sp
from stackpyomo.bilevel import counterexample


def one_action(cost: Any, unit: float, worth: float, more: float, start: float) -> sp.Game:
    """One follower with an action, in another unit, whose cost is multiplied and has a constant added."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, 5), initialize=1.0), pyo.Block()
    m.f.u = pyo.Var(initialize=start * unit)
    m.f.cost = pyo.Objective(expr=worth * cost(m.x, m.f.u / unit) + more)
    m.goal = pyo.Objective(expr=(m.f.u / unit - 1) ** 2 + m.x**2)
    return sp.Game(m, m.f)


WRITINGS = [(1.0, 1.0, 0.0), (1e7, 1.0, 0.0), (1e-6, 1.0, 0.0), (1.0, 1e-8, 0.0), (1.0, 1e6, 0.0), (1.0, 1.0, 1e6)]


@pytest.mark.parametrize(("unit", "worth", "more"), WRITINGS)
def test_what_is_proved_nonconvex_is_so_in_every_writing(unit: float, worth: float, more: float) -> None:
    def wave(x: Any, u: Any) -> Any:
        return (u + 1.15) ** 2 + 0.3 * pyo.sin(5 * u) + 0.1 * x * u

    with pytest.raises(sp.NonconvexFollower):
        sp.stackelberg(one_action(wave, unit, worth, more, -1.9), solver="pounce")


@pytest.mark.parametrize(("unit", "worth", "more"), WRITINGS)
@pytest.mark.parametrize("start", [-30.0, 0.0, 1e6])
def test_rounding_proves_nothing_nonconvex(unit: float, worth: float, more: float, start: float) -> None:
    """√(1 + u²) − u is 5e-7 at 1e6, a difference of two numbers of that size."""

    def flat(x: Any, u: Any) -> Any:
        return (1 + (u - x) ** 2) ** 0.5 - u

    game = one_action(flat, unit, worth, more, start)
    assert not counterexample(game, game.followers["f"], game.movers())


pytestmark = pytest.mark.usefixtures("unchanged")


REFUSING = [
    lambda g: sp.stackelberg(g, solver="pounce"),
    lambda g: sp.stackelberg(g, complementarity="scholtes"),
    lambda g: sp.nash(g, leader={"x": 1.0}, solver="pounce"),
]


@pytest.mark.parametrize("call", REFUSING, ids=["pounce", "scholtes", "nash"])
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (concave_cost, ("f: ", "f.cost", "convex")),
        (lambda: concave_cost((1, -1)), ("f: ", "f.cost", "concave")),
        (split_set, ("f: ", "f.row", "not convex")),
    ],
)
def test_nonconvex_followers_are_refused_by_name_where_conditions_are_all_there_is(
    build: Any, words: tuple[str, ...], call: Any
) -> None:
    with pytest.raises(sp.InvalidGame) as caught:
        call(build())
    for word in (*words, "allow_nonconvex=True"):
        assert word in str(caught.value)
