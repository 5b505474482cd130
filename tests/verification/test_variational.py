"""Variational equilibria: the inequality by linear programs of SciPy, and what is never called variational."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds
from scipy.optimize import linprog, minimize

import stackpyomo as sp
from stackpyomo.games.information import Announcement
from stackpyomo.plans import Plan
from stackpyomo.verification import variational_gap

Matrix = np.ndarray[Any, Any]


def shared_game(seed: int) -> tuple[Any, sp.Game, Matrix, Matrix, Matrix, Matrix]:
    """cost_i = ½ H_ii u_i² + u_i (Σ_{j≠i} H_ij u_j + c_i), u in [0, 3], A u ≤ b for all: declared, or written each."""
    random = np.random.default_rng(seed)
    number, rows = int(random.integers(2, 5)), int(random.integers(1, 3))
    hessian = random.normal(size=(number, number)) * 0.3
    np.fill_diagonal(hessian, random.uniform(1, 3, number))
    slope = -random.uniform(1, 6, number)
    matrix, level = random.uniform(0.1, 1, (rows, number)), random.uniform(0.5, 2, rows)
    m = pyo.ConcreteModel()
    m.p = pyo.Block(range(number))
    for block in m.p.values():
        block.u = pyo.Var(bounds=(0, 3))
    for i, block in m.p.items():
        others = sum(float(hessian[i, j]) * m.p[j].u for j in m.p if j != i)
        block.cost = pyo.Objective(expr=0.5 * float(hessian[i, i]) * block.u**2 + block.u * (others + float(slope[i])))
    m.goal = pyo.Objective(expr=0.0)

    def row(i: int, factor: float) -> Any:
        body = factor * sum(float(matrix[i, j]) * m.p[j].u for j in m.p)
        return body <= factor * float(level[i]) if factor > 0 else body >= factor * float(level[i])

    if random.integers(0, 2):
        m.cap = pyo.Constraint(range(rows), rule=lambda _, i: row(i, 1.0))
        return m, sp.Game(m, followers=m.p, shared=[m.cap]), hessian, slope, matrix, level
    for k, block in m.p.items():
        block.cap = pyo.Constraint(range(rows), rule=lambda _, i, f=(-1.0) ** k * (k + 1): row(i, f))
    return m, sp.Game(m, followers=m.p), hessian, slope, matrix, level


@pytest.mark.parametrize("seed", seeds(12))
@pytest.mark.parametrize("weighted", [False, True])
def test_the_variational_inequality_holds_by_an_independent_linear_program(seed: int, weighted: bool) -> None:
    m, game, hessian, slope, matrix, level = shared_game(seed)
    weights = np.random.default_rng(seed).uniform(0.5, 2, len(slope)) if weighted else np.ones(len(slope))
    given = {f"p[{k}]": float(w) for k, w in enumerate(weights)} if weighted else None
    plan = sp.nash(game, equilibrium="variational", weights=given)
    u = np.array([plan.value(m.p[k].u) for k in m.p])
    force = weights * (hessian @ u + slope)
    best = linprog(force, A_ub=matrix, b_ub=level, bounds=[(0, 3)] * len(u), method="highs")
    assert force @ u - best.fun <= 1e-6 * max(1.0, np.abs(force).max())
    assert plan.selection.kind == "variational"
    assert plan.selection.gap <= 1e-5


def rosen() -> tuple[Any, sp.Game]:
    """F. Facchinei and C. Kanzow's A.11: (x−1)², (y−½)², x + y ≤ 1: equilibria (t, 1−t), ½ ≤ t ≤ 1."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Block(), pyo.Block()
    m.x.v, m.y.v = pyo.Var(initialize=0), pyo.Var(initialize=0)
    m.x.cost, m.y.cost = pyo.Objective(expr=(m.x.v - 1) ** 2), pyo.Objective(expr=(m.y.v - 0.5) ** 2)
    m.cap = pyo.Constraint(expr=m.x.v + m.y.v <= 1)
    m.goal = pyo.Objective(expr=m.x.v)
    return m, sp.Game(m, followers=[m.x, m.y], shared=[m.cap])


@pytest.mark.parametrize("t", [0.5, 0.6, 0.74, 0.7501, 0.9, 1.0])
def test_an_equilibrium_that_is_not_variational_has_a_gap(t: float) -> None:
    """F = (2(t−1), 2(½−t)): the least over x + y ≤ 1 has no end unless both are equal."""
    _, game = rosen()
    announced = Announcement({"x.v": t, "y.v": 1 - t}, math.nan)
    gap = variational_gap(game, announced, ["x", "y"], {}, game.shared_rows())
    assert not max(gap.value, gap.bound) <= 1e-5
    good = variational_gap(game, Announcement({"x.v": 0.75, "y.v": 0.25}, math.nan), ["x", "y"], {}, game.shared_rows())
    assert max(good.value, good.bound) <= 1e-6


def test_the_plan_says_which_equilibrium_and_how_many() -> None:
    m, game = rosen()
    plan = sp.nash(game)
    assert [plan.value(m.x.v), plan.value(m.y.v)] == pytest.approx([0.75, 0.25], abs=1e-6)
    assert plan.multipliers == {("cap", "x"): pytest.approx(-0.5), ("cap", "y"): pytest.approx(-0.5)}
    assert (plan.selection.kind, plan.selection.dimension) == ("variational", 1)
    assert sorted(plan.selection.moving) == ["x.v", "y.v"]
    text = str(plan)
    assert "variational: one multiplier for all who feel cap" in text
    assert "a surface of dimension 1 near this one: along it x.v, y.v move" in text
    again = sp.Plan.from_json(plan.to_json(), game)
    assert again.multipliers == plan.multipliers
    assert again.selection == plan.selection


def test_weights_divide_the_multiplier() -> None:
    m, game = rosen()
    plan = sp.nash(game, weights={"x": 2, "y": 1})
    assert [plan.value(m.x.v), plan.value(m.y.v)] == pytest.approx([5 / 6, 1 / 6], abs=1e-6)
    assert plan.multipliers["cap", "y"] == pytest.approx(2 * plan.multipliers["cap", "x"])


def test_any_best_and_worst_are_still_there() -> None:
    m, game = rosen()
    assert sp.nash(game, equilibrium="any").selection.kind == "any"
    best, worst = (sp.nash(game, equilibrium=kind) for kind in ("best", "worst"))
    assert [best.value(m.x.v), worst.value(m.x.v)] == pytest.approx([0.5, 1.0], abs=1e-6)


def test_where_none_is_variational_there_is_no_plan() -> None:
    """F. Facchinei and C. Kanzow's A.8: equilibria are a segment, and none has equal multipliers."""
    m = pyo.ConcreteModel()
    m.p = pyo.Block([1, 2, 3])
    for k, block in m.p.items():
        block.x = pyo.Var(bounds=(0, 2 if k == 3 else None))
    a, b, c = (m.p[k].x for k in (1, 2, 3))
    m.p[1].cost, m.p[2].cost = pyo.Objective(expr=-a), pyo.Objective(expr=(b - 0.5) ** 2)
    m.p[3].cost = pyo.Objective(expr=(c - 1.5 * a) ** 2)
    for k in (1, 2):
        m.p[k].top, m.p[k].low = pyo.Constraint(expr=a + b <= 1), pyo.Constraint(expr=c <= a + b)
    m.goal = pyo.Objective(expr=a)
    with pytest.raises(sp.NoPlan, match=r"No plan exists .*variational"):
        sp.nash(sp.Game(m, followers=m.p))


@pytest.mark.parametrize("seed", range(6))
def test_the_gap_of_many_is_that_of_everybody_composed(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slopes read into arrays, and by substitution: one gap."""
    _, game, *_ = shared_game(seed)
    random = np.random.default_rng(seed)
    announced = Announcement({name: float(random.uniform(0, 0.3)) for name in game.variables_by_name}, math.nan)
    gaps = []
    for least in (1, 100):
        monkeypatch.setattr("stackpyomo.verification.variational.MANY", least)
        gaps.append(variational_gap(game, announced, list(game.followers), {"p[0]": 2.0}, game.shared_rows()))
    assert gaps[0].value == pytest.approx(gaps[1].value, rel=1e-9)
    assert gaps[0].bound == pytest.approx(gaps[1].bound, rel=1e-9)


def cournot(size: int) -> tuple[Any, sp.Game]:
    """Cost (1 + k/(2N)) q + N q²/200, price 10 − Q, one cap Q ≤ 4 on all."""
    m = pyo.ConcreteModel()
    m.total, m.firm = pyo.Var(initialize=1.0), pyo.Block(range(size))
    for k, firm in m.firm.items():
        firm.q = pyo.Var(bounds=(0, None), initialize=0.1)
        cost = (1 + 0.5 * k / size) * firm.q + 0.005 * size * firm.q**2
        firm.cost = pyo.Objective(expr=cost - (10 - m.total) * firm.q)
    m.sum = pyo.Constraint(expr=m.total == pyo.quicksum(firm.q for firm in m.firm.values()))
    m.cap = pyo.Constraint(expr=m.total <= 4)
    m.goal = pyo.Objective(expr=m.total)
    return m, sp.Game(m, followers=m.firm, aggregates=[m.sum], shared=[m.cap])


def test_one_cap_on_many_firms_has_the_closed_form() -> None:
    """q_k = (a − k/(2N))⁺ / (1 + N/100), where a, what is left of the price, makes the sum 4: no one is composed."""
    size = 150
    m, game = cournot(size)
    plan = sp.nash(game)
    slopes = 0.5 * np.arange(size) / size
    low, high = 0.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (middle - slopes).clip(0).sum() < 4 * (1 + size / 100) else (low, middle)
    assert plan.selection.kind == "variational"
    assert plan.report.solver == "arrays"
    assert [plan.value(firm.q) for firm in m.firm.values()] == pytest.approx(
        (high - slopes).clip(0) / (1 + size / 100), abs=1e-7
    )


def market(seed: int) -> tuple[Any, sp.Game, Any]:
    """Three plants meet a random demand; cost linear or quadratic, sense and row turned round at random."""
    random = np.random.default_rng(seed)
    curved, flipped, reversed_row = (bool(b) for b in random.integers(0, 2, 3))
    slopes = random.uniform(1, 10, 3)
    bends = random.uniform(0.5, 2, 3) if curved else np.zeros(3)
    tops, demand = random.uniform(1, 3, 3), float(random.uniform(0.7, 2.5))
    m = pyo.ConcreteModel()
    m.price = pyo.Var()
    m.f = pyo.Block()
    m.f.y = pyo.Var(range(3), bounds=lambda _, i: (0, float(tops[i])))
    cost = sum(float(slopes[i]) * m.f.y[i] + float(bends[i]) / 2 * m.f.y[i] ** 2 for i in range(3))
    m.f.cost = pyo.Objective(expr=-cost if flipped else cost, sense=pyo.maximize if flipped else pyo.minimize)
    supply = sum(m.f.y[i] for i in range(3))
    factor = -1.0 if reversed_row else 1.0
    kind = int(random.integers(0, 2))
    row = factor * supply == factor * demand
    if kind:
        row = -supply <= -demand if reversed_row else supply >= demand
    m.f.balance = pyo.Constraint(expr=row)
    m.goal = pyo.Objective(expr=m.price)
    sign = (-1.0 if flipped else 1.0) * factor

    def value(level: float) -> float:
        """The best cost at a demand, by SciPy."""
        found = minimize(
            lambda y: slopes @ y + bends @ y**2 / 2,
            tops * min(1.0, level / tops.sum()),
            jac=lambda y: slopes + bends * y,
            bounds=[(0, t) for t in tops],
            constraints={"type": "ineq", "fun": lambda y: y.sum() - level, "jac": lambda y: np.ones(3)},
            options={"ftol": 1e-14, "maxiter": 500},
            method="SLSQP",
        )
        return float(found.fun)

    return m, sp.Game(m, followers=m.f, prices=[(m.price, m.f.balance)]), lambda: sign * _slope(value, demand)


def _slope(value: Any, demand: float, step: float = 1e-3) -> float:
    return (value(demand + step) - value(demand - step)) / (2 * step)


@pytest.mark.parametrize("seed", seeds(8))
def test_a_price_is_the_marginal_cost_by_finite_differences(seed: int) -> None:
    m, game, slope = market(seed)
    plan = sp.nash(game)
    assert plan.value(m.price) == pytest.approx(slope(), abs=1e-3)
    assert plan.multipliers["f.balance"] == pytest.approx(plan.value(m.price), abs=1e-7)
    report = sp.verify(plan)
    assert report.ok
    assert report.prices["price"] == pytest.approx(0.0, abs=1e-6)
    low, high = plan.price_range.loc["price"]
    assert low - 1e-6 <= plan.value(m.price) <= high + 1e-6


def _limited_market() -> sp.Game:
    """Maximise 10 y − y²/2, y ≤ 5: the price is 5."""
    m = pyo.ConcreteModel()
    m.price = pyo.Var()
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(0, None))
    m.f.gain = pyo.Objective(expr=10 * m.f.y - m.f.y**2 / 2, sense=pyo.maximize)
    m.f.limit = pyo.Constraint(expr=m.f.y <= 5)
    m.goal = pyo.Objective(expr=m.price)
    return sp.Game(m, followers=m.f, prices=[(m.price, m.f.limit)])


@pytest.mark.parametrize(("factor", "gap"), [(1.3, 1e-3), (0.7, 1e-3), (-1.0, math.inf)])
def test_a_wrong_price_is_refuted(factor: float, gap: float) -> None:
    """Maximise 10 y − y²/2, y ≤ 5: the price is 5, and none is negative."""
    plan = sp.nash(_limited_market())
    assert plan.value("price") == pytest.approx(5.0, abs=1e-6)
    plan.values["price"] *= factor
    report = sp.verify(plan)
    assert not report.ok
    assert report.prices["price"] >= gap
    assert "price is not a multiplier of its row" in report.verdict
    again = sp.Report.from_json(report.to_json())
    assert again.prices["price"] == report.prices["price"]


def test_a_price_of_which_nothing_is_shown_verifies_nothing() -> None:
    """Of a market whose re-solve breaks down the price is unknown; of one with integer actions no price need clear."""
    report = sp.verify(sp.nash(_limited_market()))
    assert report.ok
    check = report.price_checks["price"]
    report.price_checks["price"] = dataclasses.replace(check, gap=math.nan, certificate="unknown")
    assert not report.ok
    assert "NOT verified: whether price is a multiplier of its row is unknown" in report.verdict
    report.price_checks["price"] = dataclasses.replace(check, gap=math.nan, uplift=True)
    assert report.ok


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize(("price", "gap"), [(-1.0, math.inf), (-1e-8, 0.0), (1.0, 0.0)])
def test_a_price_of_the_wrong_sign_is_one_in_any_unit(unit: float, price: float, gap: float) -> None:
    """(y − 3/2)² with y ≥ 2: the price is 1, and −1 is none, however small the unit makes it."""
    m = pyo.ConcreteModel()
    m.price, m.f = pyo.Var(initialize=price / unit), pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 4 * unit), initialize=2 * unit if price > 0.0 else 1.5 * unit)
    m.f.cost = pyo.Objective(expr=(m.f.y / unit - 1.5) ** 2)
    m.f.row = pyo.Constraint(expr=m.f.y >= (2 if price > 0.0 else 1) * unit)
    m.goal = pyo.Objective(expr=m.price * unit)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f, prices=[(m.price, m.f.row)])))
    assert report.prices["price"] == pytest.approx(gap, abs=1e-6)


def test_a_market_with_whole_actions_has_an_uplift() -> None:
    """A block of 2 at cost 3, or 1 a unit up to 1 and 5 beyond: demand 2 costs 3; at price 1.5 the block just breaks
    even, at price 2 the plants would earn 1 more than they do."""
    m = pyo.ConcreteModel()
    m.price = pyo.Var(initialize=2.0)
    m.f = pyo.Block()
    m.f.on = pyo.Var(domain=pyo.Binary, initialize=1)
    m.f.y = pyo.Var(bounds=(0, 1), initialize=0)
    m.f.cost = pyo.Objective(expr=3 * m.f.on + m.f.y)
    m.f.balance = pyo.Constraint(expr=2 * m.f.on + m.f.y == 2)
    m.goal = pyo.Objective(expr=m.price)
    game = sp.Game(m, followers=m.f, prices=[(m.price, m.f.balance)])
    report = sp.verify(Plan.from_values(game))
    assert report.prices["price"] == pytest.approx(1.0, abs=1e-6)  # y = 1 earns 1 beside the block's 1
    assert report.ok
    assert report.price_checks["price"].uplift


@pytest.mark.parametrize("off", [1e-16, 0.0, -1e-16])
@pytest.mark.parametrize("unit", [1.0, 1e-2, 1e6])
def test_a_price_that_just_pays_an_action_without_an_end_is_none_of_rounding(unit: float, off: float) -> None:
    """Two loads may be shed at 20 without an end, each in a row of its own: 20 is right, less and more are not."""
    m = pyo.ConcreteModel()
    m.price, m.f = pyo.Var(["known", "asked"]), pyo.Block()
    m.f.shed = pyo.Var(["known", "asked"], bounds=(0, None), initialize={"known": 3.0, "asked": 2.0})
    m.f.cost = pyo.Objective(expr=1e6 * 20 * (m.f.shed["known"] + m.f.shed["asked"]))
    m.f.row = pyo.Constraint(
        ["known", "asked"], rule=lambda b, n: unit * b.shed[n] >= unit * (3.0 if n == "known" else 2.0)
    )
    m.goal = pyo.Objective(expr=0.0)
    m.price["known"].set_value(2e7 / unit * (1.0 + 2.0 * off))
    gaps = {}
    for price in (19.5, 20.0, 20.5):
        m.price["asked"].set_value(1e6 * price / unit)
        game = sp.Game(m, m.f, prices=[(m.price[n], m.f.row[n]) for n in m.price])
        report = sp.verify(sp.Plan.from_values(game))
        assert report.ok is (price == 20.0), price
        gaps[price] = report.prices["price[asked]"]
    assert gaps[20.0] == pytest.approx(0.0, abs=1.0)
    assert gaps[19.5] == pytest.approx(1e6, rel=1e-6)
    assert gaps[20.5] == math.inf
