"""Prices without an end: max y s.t. y² ≤ x has the price dy*/dx = 1/(2√x), which x → 0 makes as large as you like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.bilevel import Equilibrium, Problem, conditions
from stackpyomo.bilevel.endless_prices import endless_prices


def root(least: float = 0.0, most: float = 1.0, goal: Callable[[Any], Any] = lambda m: m.price) -> sp.Game:
    """min goal over x in [least, most]: the price, in the sign of a minimiser, is −1/(2√x)."""
    m = pyo.ConcreteModel()
    m.x, m.price = pyo.Var(bounds=(least, most)), pyo.Var()
    m.f = pyo.Block()
    m.f.y = pyo.Var()
    m.goal = pyo.Objective(expr=goal(m))
    m.f.cost = pyo.Objective(expr=-m.f.y)
    m.f.row = pyo.Constraint(expr=m.f.y**2 <= m.x)
    return sp.Game(m, m.f, prices=[(m.price, m.f.row)])


@pytest.mark.parametrize("goal", [lambda m: m.price, lambda m: 1e3 * m.price + m.x, lambda m: 2 * m.price - 5 * m.f.y])
def test_a_price_without_an_end_makes_the_leader_unbounded(goal: Callable[[Any], Any]) -> None:
    """Own closed form: the value function −√x has the slope −1/(2√x)."""
    with pytest.raises(sp.NoPlan, match=r"price \(multiplier of f\.row\)") as caught:
        sp.stackelberg(root(goal=goal), proof_seconds=1.0)
    assert caught.value.termination == "unbounded"


@pytest.mark.parametrize("least", [1e-2, 1e-4])
def test_a_bound_that_ends_it_is_where_the_plan_is(least: float) -> None:
    plan = sp.stackelberg(root(least))
    assert plan.leader_objective == pytest.approx(-0.5 / least**0.5, rel=1e-5)


def test_a_cost_that_ends_it_is_where_the_plan_is() -> None:
    """min p + p²/20: p = −10, x = 1/400."""
    plan = sp.stackelberg(root(goal=lambda m: m.price + m.price**2 / 20))
    assert plan.leader_objective == pytest.approx(-5.0, rel=1e-5)


@pytest.mark.parametrize(("most", "points"), [(1.0, 3), (0.0, 0)])
def test_where_there_is_no_multiplier_there_is_no_curve(most: float, points: int) -> None:
    """At x = 0 throughout, y = 0 has no multiplier: points within tolerances, which have huge ones, are none."""
    game = root(0.0, most)
    m = game.model
    made = conditions(game, list(game.followers.values()))
    plain = Equilibrium(Problem(m.price + 0.0, [], leader=[m.x]), made, None, {})
    level = 4e4
    (force,) = [pair.multiplier for pair in made.pairs]
    known = {id(m.f.y): 0.5 / level, id(m.price): -level, id(force): level, id(m.x): min(most, 0.25 / level**2)}
    curve = endless_prices(plain, plain.point(known), [m.price])
    assert len(curve) == points
    place = [v is m.price for v in plain.program.variables].index(True)
    assert [x[place] / curve[0][place] for x in curve] == pytest.approx([1.0, 30.0, 1e3][:points])
