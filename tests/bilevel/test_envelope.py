"""Envelopes: which answers are best for which price, and plans with many who switch, against enumeration."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.bilevel.envelope import envelope, swept
from stackpyomo.games import Follower


class Tariff:
    """Followers with few binaries under one price in [0, 5]; the leader wants a load, and a little income."""

    def __init__(self, seed: int, followers: int, binaries: int, income: float = 0.0) -> None:
        random = np.random.default_rng(seed)
        self.units = random.integers(1, 6, (followers, binaries))
        self.costs = np.round(random.uniform(0.5, 5, (followers, binaries)) * self.units, 2)
        self.room = (0.6 * self.units.sum(axis=1)).astype(int)
        self.wanted, self.income = 0.4 * float(self.units.sum()), income

    def game(self, *, unit: float = 1.0, scale: float = 1.0, flip: int = 1, least: float | None = None) -> sp.Game:
        """``unit``: of the objectives; ``scale``: of the price; ``least``: load that the leader has to reach."""
        m = pyo.ConcreteModel()
        m.price = pyo.Var(bounds=(0, 5 * scale))
        m.f = pyo.Block(range(len(self.room)))
        for k, block in m.f.items():
            block.y = pyo.Var(range(self.units.shape[1]), domain=pyo.Binary)
            block.load = pyo.Expression(
                expr=sum(int(w) * y for w, y in zip(self.units[k], block.y.values(), strict=True))
            )
            cost = sum(float(c) * y for c, y in zip(self.costs[k], block.y.values(), strict=True))
            block.cap = pyo.Constraint(expr=block.load <= int(self.room[k]))
            block.cost = pyo.Objective(expr=flip * unit * (cost - m.price / scale * block.load), sense=flip)
        load = sum(block.load for block in m.f.values())
        if least is not None:
            m.enough = pyo.Constraint(expr=load >= least)
        m.goal = pyo.Objective(expr=flip * unit * self.worth(m.price / scale, load), sense=flip)
        return sp.Game(m, m.f)

    def worth(self, price: Any, load: Any) -> Any:
        return (load - self.wanted) ** 2 / self.wanted + self.income * price * load + price**2 / 10

    def best(self, least: float = 0.0) -> float:
        """By every price at which somebody may change, its neighbours, and the tied answers of all there."""
        points = np.array(list(product((0, 1), repeat=self.units.shape[1])), dtype=float)
        ways = [points[points @ w <= room] for w, room in zip(self.units, self.room, strict=True)]
        lines = [(p @ c, p @ w) for p, c, w in zip(ways, self.costs, self.units, strict=True)]
        breaks = {0.0, 5.0}
        for cost, load in lines:
            gaps = np.subtract.outer(load, load)
            rates = np.subtract.outer(cost, cost)[gaps != 0] / gaps[gaps != 0]
            breaks.update(np.round(rates[(rates > 0) & (rates < 5)], 12).tolist())
        worth = np.inf
        for price in sorted(breaks):
            loads = [
                sorted(set(load[cost - price * load <= (cost - price * load).min() + 1e-9])) for cost, load in lines
            ]
            for chosen in product(*loads):
                if sum(chosen) >= least:
                    worth = min(worth, self.worth(price, sum(chosen)))
        return float(worth)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("unit", "scale", "flip"), [(1.0, 1.0, 1), (1e-6, 1e3, -1), (1e6, 1e-3, 1)])
def test_switches_under_one_price_as_enumeration_says(seed: int, unit: float, scale: float, flip: int) -> None:
    drawn = Tariff(seed, 2, 4, income=(0.0, 0.3)[seed % 2])
    plan = sp.stackelberg(drawn.game(unit=unit, scale=scale, flip=flip))
    assert plan.quality == "optimal"
    assert flip * plan.leader_objective == pytest.approx(unit * drawn.best(), rel=1e-6)


@pytest.mark.slow
def test_fifty_with_ten_switches_each_are_proved() -> None:
    plan = sp.stackelberg(Tariff(0, 50, 10).game())
    assert (plan.quality, plan.attained, plan.solver) == ("optimal", True, "enumeration")
    assert plan.report is not None
    assert set(plan.report.certificate) == {"global"}


def test_the_leaders_rows_count_and_no_price_may_meet_them() -> None:
    drawn = Tariff(1, 2, 4)
    least = float(drawn.room.sum() - 2)
    plan = sp.stackelberg(drawn.game(least=least))
    assert plan.leader_objective == pytest.approx(drawn.best(least), rel=1e-6)
    with pytest.raises(sp.NoPlan, match="proved by enumeration"):
        sp.stackelberg(drawn.game(least=float(drawn.units.sum())))


def test_beside_another_leader_variable_the_pieces_are_rows() -> None:
    drawn = Tariff(2, 2, 3)
    game = drawn.game()
    game.model.spare = pyo.Var(bounds=(0, 3))
    game.model.goal.set_value(game.model.goal.expr + (game.model.spare - 1) ** 2 + 0.5)
    plan = sp.stackelberg(sp.Game(game.model, game.model.f))
    assert plan.solver == "scip"
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(drawn.best() + 0.5, rel=1e-5)


def follower(cost: Any, *, integer: bool = True) -> Follower:
    m = pyo.ConcreteModel()
    m.p, m.q = pyo.Var(bounds=(-1, 3)), pyo.Var()
    m.f = pyo.Block()
    m.f.y = pyo.Var(range(2), domain=pyo.Integers if integer else pyo.Reals, bounds=(0, 3))
    m.f.cost = pyo.Objective(expr=cost(m))
    m.goal = pyo.Objective(expr=m.p)
    return sp.Game(m, m.f).followers["f"]


def test_every_answer_that_is_best_somewhere_and_no_other() -> None:
    """(y₀ − 1)² + p y₀ and a second action that nothing is paid for: all of its four levels are tied."""
    lines = envelope(follower(lambda m: (m.f.y[0] - 1) ** 2 + m.p * m.f.y[0]), {})
    assert lines is not None
    told = sorted({(float(y[0]), a, b) for y, a, b in zip(lines.points, lines.starts, lines.ends, strict=True)})
    assert told == [(0.0, 1.0, 3.0), (1.0, -1.0, 1.0), (2.0, -1.0, -1.0)]
    assert len(lines.points) == 12


@pytest.mark.parametrize(
    "cost",
    [
        lambda m: m.p**2 * m.f.y[0],
        lambda m: m.p * m.q + m.f.y[0],  # two of others'
        lambda m: m.q * m.f.y[0],  # without bounds
        lambda m: m.f.y[0] + m.f.y[1],  # none
        lambda m: pyo.exp(m.p * m.f.y[0]),
    ],
)
def test_who_feels_others_otherwise_has_none(cost: Any) -> None:
    assert envelope(follower(cost), {}) is None


def test_neither_has_one_who_moves_an_aggregate_or_is_not_whole() -> None:
    def plain(m: Any) -> Any:
        return m.f.y[0] * (m.p - 1)

    whole = follower(plain)
    assert envelope(whole, {id(whole.variables[0]): []}) is None
    assert envelope(follower(plain, integer=False), {}) is None


def test_a_cost_or_a_row_of_another_kind_is_not_swept() -> None:
    game = Tariff(0, 1, 2).game()
    lines = envelope(game.followers["f[0]"], {})
    assert lines is not None
    price = game.model.price
    assert swept([lines], price, []) is not None
    assert swept([lines], pyo.exp(price), []) is None
    game.model.bent = pyo.Constraint(expr=price**2 <= 4)
    assert swept([lines], price, [game.model.bent]) is None
    game.model.low = pyo.Constraint(expr=price <= -1)
    assert swept([lines], price, [game.model.low]) == {}


@pytest.mark.parametrize("unit", [1e-7, 1.0, 1e7])
def test_a_row_of_small_numbers_bounds_whole_actions(unit: float) -> None:
    """q ≤ 3 written as unit q ≤ 3 unit: where that is 3e-7, all of 0 … 6 seemed to be allowed."""
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var(bounds=(0, 1), initialize=0.0), pyo.Block()
    m.f.q = pyo.Var(domain=pyo.Integers, bounds=(0, 6))
    m.f.row = pyo.Constraint(expr=unit * m.f.q <= 3 * unit)
    m.f.cost = pyo.Objective(expr=m.p * m.f.q - m.f.q)
    m.goal = pyo.Objective(expr=0.1 * m.p - m.f.q)
    plan = sp.stackelberg(sp.Game(m, m.f))
    assert plan.quality == "optimal"
    assert plan.values["f.q"] == 3.0
