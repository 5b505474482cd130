"""Interdiction: what a blocked action gives way to, and which rows leave it none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

import stackpyomo as sp
from stackpyomo.bilevel.interdiction import answer, blocks, gives_way, widened
from stackpyomo.deviations import Deviation

WEIGHTS, PROFITS, ROOM = (3, 2, 4, 3, 2), (7, 5, 9, 6, 4), 7


def knapsack(tie: Any = None, *, most: int = 1) -> Any:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(5), domain=pyo.Binary)
    m.f = pyo.Block()
    m.f.y = pyo.Var(range(5), domain=pyo.Integers, bounds=(0, most))
    m.f.room = pyo.Constraint(expr=sum(w * y for w, y in zip(WEIGHTS, m.f.y.values(), strict=True)) <= ROOM)
    m.f.tie = pyo.Constraint(range(5), rule=lambda _, i: (tie or (lambda x, y: x + y <= 1))(m.x[i], m.f.y[i]))
    worth = sum(p * y for p, y in zip(PROFITS, m.f.y.values(), strict=True))
    m.f.profit = pyo.Objective(expr=worth, sense=pyo.maximize)
    m.loss = pyo.Objective(expr=worth)
    return m


def follower(m: Any) -> Any:
    return sp.Game(m, m.f).followers["f"]


@pytest.mark.parametrize(
    ("tie", "closed", "limit"),
    [
        (lambda x, y: x + y <= 1, 1, 0.0),
        (lambda x, y: -3 * y >= 3 * x - 3, 1, 0.0),
        (lambda x, y: y <= x, 0, 0.0),
        (lambda x, y: 2 * y <= 3 * x, 0, 0.0),
        (lambda x, y: y + 2 * x <= 3, 1, 1.0),
        (lambda x, y: 2 * y + 3 * x <= 6, 1, 1.0),  # y ≤ 1.5, which is 1 for whole numbers
    ],
)
def test_a_row_that_blocks_an_action(tie: Any, closed: int, limit: float) -> None:
    m = knapsack(tie, most=3)
    found = blocks(follower(m))
    assert len(found) == 5
    block = found[id(m.f.y[2])]
    assert (block.binary, block.closed, block.limit) == (m.x[2], closed, limit)
    m.x[2].value = closed
    assert pyo.value(block.yielding(3.0)) == limit
    m.x[2].value = 1 - closed
    assert pyo.value(block.yielding(3.0)) == 3.0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m: pyo.Constraint(expr=m.f.y[0] + m.f.y[1] >= 1),  # less of it hurts
        lambda m: pyo.Constraint(expr=m.f.y[0] + m.f.y[1] == 1),
        lambda m: pyo.Constraint(expr=m.f.y[0] + m.f.y[1] + m.x[0] <= 2),  # x in another kind of row
        lambda m: pyo.Constraint(expr=m.f.y[0] + m.x[1] <= 1),  # blocked twice
        lambda m: pyo.Constraint(expr=m.f.y[0] ** 2 + m.f.y[1] <= 2),
    ],
)
def test_where_less_may_hurt_or_others_meet_it_otherwise_nothing_gives_way(spoil: Any) -> None:
    m = knapsack()
    m.f.more = spoil(m)
    assert blocks(follower(m)) == {}
    assert not gives_way(follower(m))


def test_a_limit_that_is_not_0_gives_way_in_part() -> None:
    assert not gives_way(follower(knapsack(lambda x, y: y + 2 * x <= 3, most=3)))
    assert gives_way(follower(knapsack()))


def test_widened_keeps_the_cost_and_fills_what_is_blocked() -> None:
    """x blocks items 2 and 4: 0 and 1 are best, 12, and with room 2 left item 4 (weight 2) goes in, not 2."""
    m = knapsack()
    game = sp.Game(m, m.f)
    reply = Deviation("f", {f"f.y[{i}]": float(i in (0, 1)) for i in range(5)}, 1.0)
    values = {id(v): 0.0 for v in game.variables_by_name.values()} | {id(m.x[2]): 1.0, id(m.x[4]): 1.0}
    wider = widened(game, game.followers["f"], reply, values)
    assert [wider.action[f"f.y[{i}]"] for i in range(5)] == [1, 1, 0, 0, 1]
    assert widened(game, game.followers["f"], reply, values | {id(m.x[2]): 0.0, id(m.x[4]): 0.0}) is reply


@pytest.mark.parametrize("seed", range(3))
def test_the_answer_to_a_fraction_is_that_of_the_discounted_profits(seed: int) -> None:
    m = knapsack()
    shares = np.random.default_rng(seed).uniform(0, 1, 5)
    game = sp.Game(m, m.f)
    values = {id(v): 0.0 for v in game.variables_by_name.values()} | {
        id(m.x[i]): float(share) for i, share in enumerate(shares)
    }
    action = answer(game.followers["f"], values)
    discounted = np.array(PROFITS) * (1 - shares)
    rows = LinearConstraint(np.array([WEIGHTS]), -np.inf, ROOM)
    best = milp(-discounted, constraints=rows, bounds=Bounds(0, 1), integrality=np.ones(5))
    assert sum(discounted[i] * action[id(m.f.y[i])] for i in range(5)) == pytest.approx(-best.fun)
