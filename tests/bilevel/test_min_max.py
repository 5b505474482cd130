"""Min-max plans: who is opposed to the leader, and interdiction against enumeration, in other units and senses."""

from __future__ import annotations

import math
from itertools import combinations, product
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.core.expr.visitor import identify_variables

import stackpyomo as sp
from stackpyomo.bilevel.min_max import opposition
from stackpyomo.bilevel.mpcc import Problem


class Interdiction:
    """The leader blocks items of knapsacks, each of another follower; what it pays for that counts, too."""

    def __init__(self, seed: int, items: int, followers: int = 1, *, tied: bool = False) -> None:
        """``tied``: profits that go with weights, so that values lie close together."""
        random = np.random.default_rng(seed)
        self.weights, self.profits = random.integers(1, 60, (2, followers, items))
        self.profits = self.weights + 10 if tied else self.profits
        self.fees, self.room = random.integers(0, 9, items), self.weights.sum(axis=1) // 2
        self.most = items // 3

    def game(self, form: str = "tie", unit: float = 1.0, flip: int = 1, *, account: bool = False) -> sp.Game:
        """``account``: the leader's fees are a continuous variable of its own."""
        m = pyo.ConcreteModel()
        m.x = pyo.Var(range(len(self.fees)), domain=pyo.Binary)
        m.f = pyo.Block(range(len(self.room)), rule=lambda b, k: self._follower(b, k, m, form, unit, flip))
        m.few = pyo.Constraint(expr=sum(m.x.values()) <= self.most)
        fees = sum(unit * int(fee) * x for fee, x in zip(self.fees, m.x.values(), strict=True))
        if account:
            m.account = pyo.Var(bounds=(0, unit * float(self.fees.sum())))
            m.paid = pyo.Constraint(expr=m.account >= fees)
            fees = m.account
        cost = fees + sum(flip * 2 * block.profit.expr for block in m.f.values())
        m.cost = pyo.Objective(expr=flip * cost, sense=flip)
        return sp.Game(m, m.f)

    def _follower(self, block: Any, k: int, m: Any, form: str, unit: float, flip: int) -> None:
        block.y = pyo.Var(m.x.index_set(), domain=pyo.Binary)
        block.room = pyo.Constraint(
            expr=sum(int(w) * block.y[i] for i, w in enumerate(self.weights[k])) <= self.room[k]
        )
        if form == "tie":
            block.tie = pyo.Constraint(m.x.index_set(), rule=lambda b, i: m.x[i] + b.y[i] <= 1)
        worth = {i: block.y[i] * (1 - m.x[i]) if form == "cost" else block.y[i] for i in m.x}
        profit = unit * sum(int(p) * worth[i] for i, p in enumerate(self.profits[k]))
        block.profit = pyo.Objective(expr=flip * profit, sense=-flip)

    def least(self) -> float:
        points = np.array(list(product((0, 1), repeat=len(self.fees))))
        packs = [points[points @ w <= room] for w, room in zip(self.weights, self.room, strict=True)]
        return min(
            float(
                self.fees @ x + 2 * sum((pack * (1 - x) @ p).max() for pack, p in zip(packs, self.profits, strict=True))
            )
            for x in points[points.sum(axis=1) <= self.most]
        )


@pytest.mark.parametrize("form", ["tie", "cost"])
@pytest.mark.parametrize("account", [False, True])
@pytest.mark.parametrize(("unit", "flip"), [(1.0, 1), (1e-6, -1), (1e6, 1)])
def test_interdiction_as_enumeration_says(form: str, account: bool, unit: float, flip: int) -> None:
    for seed, followers in ((0, 1), (1, 2)):
        drawn = Interdiction(seed, 7, followers)
        plan = sp.stackelberg(drawn.game(form, unit, flip, account=account))
        assert plan.quality == "optimal"
        assert flip * plan.leader_objective == pytest.approx(unit * drawn.least(), rel=1e-6)
        ways = {entry["treatment"] for entry in plan.log}
        assert ways == ({"deviations"} if account else {"every subset"})


@pytest.mark.slow
def test_twenty_items_are_proved_by_masters() -> None:
    """Without actions and by rows that give way; 276 against a bound of 275 after a minute without them."""
    plan = sp.stackelberg(Interdiction(3, 20).game(account=True))
    assert plan.quality == "optimal"
    assert plan.bound == pytest.approx(plan.leader_objective, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["tie", "cost"])
def test_twenty_items_whose_profits_go_with_their_weights_are_proved(form: str) -> None:
    """After a minute of masters plans of 412 stood against a bound of 328 for the like of these."""
    drawn = Interdiction(0, 20, tied=True)
    plan = sp.stackelberg(drawn.game(form))
    assert plan.quality == "optimal"
    assert plan.leader_objective == plan.bound == heaviest(drawn)


def heaviest(drawn: Interdiction) -> float:
    """The least the leader pays, by dynamic programming over the room for every choice that leaves a maximum open."""
    weights, profits, room = drawn.weights[0], drawn.profits[0], int(drawn.room[0])
    least = math.inf
    for chosen in combinations(range(len(weights)), drawn.most):
        best = np.zeros(room + 1)
        for i in set(range(len(weights))) - set(chosen):
            w = int(weights[i])
            best[w:] = np.maximum(best[w:], best[: room + 1 - w] + profits[i])
        least = min(least, float(sum(drawn.fees[list(chosen)]) + 2 * best[-1]))
    return least


def problem(game: sp.Game, cost: Any) -> Problem:
    return Problem(cost, [("leader", c) for c in game.leader.constraints], leader=game.leader.variables)


def test_opposed_is_who_stands_in_the_leaders_cost_with_the_other_sign() -> None:
    game = Interdiction(0, 4, 2).game()
    followers = list(game.followers.values())
    opposed = opposition(game, followers, problem(game, game.leader.cost))
    assert opposed is not None
    assert dict(opposed.shares) == {"f[0]": 2.0, "f[1]": 2.0}
    owned = {id(v) for v in game.model.x.values()}
    assert {id(v) for v in identify_variables(opposed.rest)} <= owned


@pytest.mark.parametrize(
    "cost",
    [
        lambda m: -m.f[0].profit.expr,  # the same wish
        lambda m: m.f[0].profit.expr + m.f[0].y[0],  # not a multiple
        lambda m: m.f[0].profit.expr + pyo.exp(m.x[0] * m.f[0].y[0]),
        lambda m: sum(m.x.values()),
    ],
)
def test_others_are_not_opposed(cost: Any) -> None:
    game = Interdiction(0, 4).game()
    assert opposition(game, list(game.followers.values()), problem(game, cost(game.model))) is None


@pytest.mark.parametrize(
    "meet",
    [
        lambda m: m.add_component("more", pyo.Constraint(expr=m.f[0].y[0] <= m.x[1])),  # the leader's row
        lambda m: m.f[0].add_component("more", pyo.Constraint(expr=m.f[0].y[0] <= m.f[1].y[1])),
        lambda m: m.f[0].add_component("w", pyo.Var(bounds=(0, 1))),  # not whole
    ],
)
def test_who_meets_in_another_way_is_not_opposed(meet: Any) -> None:
    model = Interdiction(0, 4, 2).game().model
    meet(model)
    game = sp.Game(model, model.f)
    assert opposition(game, list(game.followers.values()), problem(game, game.leader.cost)) is None
