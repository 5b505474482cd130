"""One leader variable and one affine answer: the optimum of all pieces, against projected steps on a grid."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds

import stackpyomo as sp


@dataclasses.dataclass(frozen=True)
class Drawn:
    """y answers u: min ½ yᵀ A y restricted to each follower's own part, + (b + d u)·y, low ≤ y ≤ high."""

    matrix: Any
    linear: Any
    felt: Any
    low: Any
    high: Any
    wish: Any
    weight: float
    unit: float

    @classmethod
    def of(cls, seed: int, unit: float) -> Drawn:
        random = np.random.default_rng(seed)
        n = int(random.integers(1, 7))
        coupling = random.uniform(-1, 1, (n, n))
        matrix = coupling @ coupling.T + random.uniform(-0.3, 0.3, (n, n)) + (0.5 + 0.3 * n) * np.eye(n)
        low = np.where(np.append(0.0, random.random(n - 1)) < 0.8, random.uniform(-1, 0.5, n), -np.inf)
        high = np.where(random.random(n) < 0.5, random.uniform(0.6, 2, n), np.inf)
        linear, felt, wish = (random.uniform(-3, 3, n) for _ in range(3))
        return cls(matrix, linear, felt, low, high, wish, float(random.uniform(-0.5, 1.5)), unit)

    def build(self) -> sp.Game:
        """Each action is one follower's; costs in other units, every second follower maximises."""
        m, n = pyo.ConcreteModel(), len(self.linear)
        m.u = pyo.Var(bounds=(-1, 1), initialize=0.3)

        def follower(block: Any, i: int) -> None:
            bounds = (self.low[i], self.high[i])
            block.y = pyo.Var(bounds=tuple(float(b) if np.isfinite(b) else None for b in bounds), initialize=0.5)

        m.f = pyo.Block(range(n), rule=follower)
        for i in range(n):
            others = sum(float(self.matrix[i, j]) * m.f[j].y for j in range(n) if j != i)
            own = float(self.matrix[i, i]) / 2 * m.f[i].y ** 2
            cost = self.unit * (own + (others + float(self.linear[i]) + float(self.felt[i]) * m.u) * m.f[i].y)
            maximises = bool(i % 2)
            sense = pyo.maximize if maximises else pyo.minimize
            m.f[i].cost = pyo.Objective(expr=-cost if maximises else cost, sense=sense)
        wished = sum((m.f[i].y - float(self.wish[i])) ** 2 for i in range(n))
        m.goal = pyo.Objective(expr=wished + self.weight * m.u**2)
        return sp.Game(m, followers=m.f)

    def answer(self, u: Any) -> Any:
        """(u × n) by projected steps, which shrink distances: the matrix is positive definite."""
        step = np.linalg.eigvalsh((self.matrix + self.matrix.T) / 2)[0] / np.linalg.norm(self.matrix, 2) ** 2
        y = np.zeros((len(u), len(self.linear)))
        for _ in range(4000):
            slope = y @ self.matrix.T + self.linear + np.outer(u, self.felt)
            y = np.clip(y - step * slope, self.low, self.high)
        return y

    def cost(self, u: Any) -> Any:
        return ((self.answer(u) - self.wish) ** 2).sum(axis=1) + self.weight * np.asarray(u) ** 2


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e4])
@pytest.mark.parametrize("seed", seeds(80))
def test_the_least_of_all_pieces(seed: int, unit: float) -> None:
    drawn_game = Drawn.of(seed, unit)
    plan = sp.stackelberg(drawn_game.build())
    costs = drawn_game.cost(np.linspace(-1, 1, 801))
    assert plan.log[0]["solver"] == "pieces"
    assert plan.quality == "optimal"
    assert plan.leader_objective <= costs.min() + 1e-6
    assert plan.bound <= costs.min() + 1e-6
    (there,) = drawn_game.cost(np.array([plan.value("u")]))
    assert plan.leader_objective == pytest.approx(there, abs=1e-5)


def game(curved: float = 1.0, leaders: int = 1, high: float | None = 3.0) -> sp.Game:
    """min (u − 1)² + (y − 2)² where the answer is y = clip(u/curved, 0, 1), or anything at u = 0."""
    m = pyo.ConcreteModel()
    m.u = pyo.Var(range(leaders), bounds=(-2, high), initialize=0.5)
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 1), initialize=0.2)
    m.f.cost = pyo.Objective(expr=curved * m.f.y**2 / 2 - m.u[0] * m.f.y)
    m.goal = pyo.Objective(expr=sum((m.u[i] - 1) ** 2 for i in range(leaders)) + (m.f.y - 2) ** 2)
    return sp.Game(m, followers=m.f)


def test_the_leaders_rows_leave_a_part() -> None:
    one = game()
    one.model.row = pyo.Constraint(expr=one.model.u[0] + one.model.f.y <= 1.5)
    plan = sp.stackelberg(sp.Game(one.model, followers=one.model.f))
    assert plan.log[0]["solver"] == "pieces"
    assert (plan.value("u[0]"), plan.value("f.y")) == pytest.approx((0.75, 0.75), abs=1e-6)
    assert plan.quality == "optimal"


@pytest.mark.parametrize("given_", [{"curved": 0.0}, {"leaders": 2}, {"high": None}])
def test_where_answers_are_not_one_or_the_leader_has_no_box_others_look(given_: dict[str, Any]) -> None:
    plan = sp.stackelberg(game(**given_))
    assert all(entry["solver"] != "pieces" for entry in plan.log)
    assert plan.leader_objective == pytest.approx(1.0, abs=1e-6)


def test_a_piece_without_an_answer_leaves_it_to_others() -> None:
    """Above u = 1/2 the follower's rows leave nothing: no answer there, and no proof by pieces."""
    one = game()
    one.model.f.row = pyo.Constraint(expr=one.model.f.y >= 2 * one.model.u[0])
    plan = sp.stackelberg(sp.Game(one.model, followers=one.model.f))
    assert all(entry["solver"] != "pieces" for entry in plan.log)
    assert (plan.value("u[0]"), plan.value("f.y")) == pytest.approx((0.5, 1.0), abs=1e-5)
