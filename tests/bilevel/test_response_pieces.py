"""One leader variable and one affine answer: the optimum of all pieces, against projected steps on a grid."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds

import stackpyomo as sp
from stackpyomo.plans import far_bounds


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


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
def test_what_an_equality_holds_beside_a_bound_is_no_piece(unit: float) -> None:
    """y = 0.3 − u and y ≥ 0: there is no answer with u > 0.3, where a bound's multiplier would have to move y."""
    m = pyo.ConcreteModel()
    m.u, m.f = pyo.Var(bounds=(-1, 1), initialize=0.5), pyo.Block()
    m.f.y, m.f.z = pyo.Var(bounds=(0, None), initialize=1), pyo.Var(bounds=(0, 1), initialize=1)
    m.f.row = pyo.Constraint(expr=-0.1 * unit * m.f.y == 0.1 * unit * (m.u - 0.3))
    m.f.cost = pyo.Objective(expr=unit * (0.15 * m.f.y**2 - 2 * m.f.y + 1.3 * (m.f.z - 1) ** 2))
    m.goal = pyo.Objective(expr=(m.u - 1) ** 2 + m.f.z)
    plan = sp.stackelberg(sp.Game(m, followers=m.f))
    assert all(entry["solver"] != "pieces" for entry in plan.log)
    assert plan.leader_objective == pytest.approx(1.49, abs=1e-6)
    assert plan.bound <= 1.49 + 1e-6


@pytest.mark.parametrize("width", [1.0, 1e3, 1e9, 1e12])
def test_a_wide_box(width: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """y = clip(u, 0, 1), the best u = 0.4/1.001: what happens near 0 is not lost beside the ends of the box."""
    monkeypatch.setattr(far_bounds, "_far_bounds", lambda *_: [])
    m = pyo.ConcreteModel()
    m.u, m.f = pyo.Var(bounds=(-width, width), initialize=0.0), pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 1), initialize=0.2)
    m.f.cost = pyo.Objective(expr=m.f.y**2 / 2 - m.u * m.f.y)
    m.goal = pyo.Objective(expr=(m.f.y - 0.4) ** 2 + 1e-3 * m.u**2)
    plan = sp.stackelberg(sp.Game(m, followers=m.f))
    assert (plan.log[0]["solver"], plan.quality) == ("pieces", "optimal")
    assert plan.leader_objective == pytest.approx(1.6e-4 / 1.001, abs=1e-9)
    assert plan.bound == pytest.approx(1.6e-4 / 1.001, abs=1e-9)


@pytest.mark.parametrize("unit", [1e-10, 1e-5, 1.0, 1e8])
def test_a_row_of_the_leader_in_any_unit(unit: float) -> None:
    one = game(high=2.0)
    one.model.row = pyo.Constraint(expr=unit * (one.model.u[0] + one.model.f.y) <= unit * 1.5)
    plan = sp.stackelberg(sp.Game(one.model, followers=one.model.f))
    assert (plan.log[0]["solver"], plan.quality) == ("pieces", "optimal")
    assert plan.log[0]["bound"] == pytest.approx(0.0625 + 1.5625, abs=1e-7)


def test_a_row_that_holds_where_an_action_is_on_its_bound() -> None:
    """y0 ≤ 0 where 0 is its least: u is all but 0 only where y0 comes out as 0, rounding and all."""
    m = pyo.ConcreteModel()
    m.u, m.f = pyo.Var(bounds=(-1000, 1000), initialize=0.0), pyo.Block()
    m.f.y = pyo.Var(range(2), bounds=(0, 1), initialize=0.5)
    own = 0.65 * m.f.y[0] ** 2 + 0.37 * m.f.y[1] ** 2 + 0.31 * m.f.y[0] * m.f.y[1]
    m.f.cost = pyo.Objective(expr=own + (0.7 - 0.0017 * m.u) * m.f.y[0] - (0.3 + 0.0013 * m.u) * m.f.y[1])
    m.row = pyo.Constraint(expr=m.f.y[0] <= 0)
    m.goal = pyo.Objective(expr=(m.u / 1000 - 1) ** 2)
    u = np.linspace(-1000, 1000, 2000001)
    second = np.clip((0.3 + 0.0013 * u) / 0.74, 0, 1)
    least = ((u / 1000 - 1) ** 2)[0.7 - 0.0017 * u + 0.31 * second >= 0].min()
    plan = sp.stackelberg(sp.Game(m, followers=m.f))
    assert (plan.log[0]["solver"], plan.quality) == ("pieces", "optimal")
    assert plan.leader_objective == pytest.approx(least, abs=1e-5)
    assert plan.bound <= least + 1e-6


def test_integers_of_those_who_serve_the_leader() -> None:
    m = pyo.ConcreteModel()
    m.s, m.f = pyo.Block(), pyo.Block()
    m.s.k = pyo.Var(domain=pyo.Integers, bounds=(0, 3), initialize=1)
    m.s.cost = pyo.Objective(expr=m.s.k**2)
    m.f.y = pyo.Var(bounds=(0, 5), initialize=0.2)
    m.f.cost = pyo.Objective(expr=m.f.y**2 / 2 - m.s.k * m.f.y)
    m.goal = pyo.Objective(expr=(m.f.y - 1.4) ** 2)
    plan = sp.leader_optimal(sp.Game(m, followers=[m.s, m.f]), responding=m.f)
    assert all(entry["solver"] != "pieces" for entry in plan.log)
    assert plan.leader_objective == pytest.approx(0.16, abs=1e-6)


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1.0, 1e6])
def test_conditions_much_smaller_than_their_multipliers_at_the_start(unit: float) -> None:
    """y = clip(1 − u, 0, 1) in large units, at a small cost: 1e-18 beside the 1 that multipliers begin with."""
    m, size = pyo.ConcreteModel(), 1e6
    m.u, m.f = pyo.Var(bounds=(-2, 2), initialize=0.3), pyo.Block()
    m.f.y = pyo.Var(bounds=(0, size), initialize=0.5 * size)
    y = m.f.y / size
    m.f.cost = pyo.Objective(expr=unit * (y**2 / 2 - (1 - m.u) * y))
    m.goal = pyo.Objective(expr=(y - 0.7) ** 2 + 0.1 * (m.u - 1) ** 2)
    plan = sp.stackelberg(sp.Game(m, followers=m.f))
    assert (plan.log[0]["solver"], plan.quality) == ("pieces", "optimal")
    assert plan.log[0]["bound"] == pytest.approx(0.49 / 11, abs=1e-9)
