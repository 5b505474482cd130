"""Followers who respond: closed forms, published figures, independent best responses, and what is claimed of them."""

from __future__ import annotations

import importlib
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import NLP, number, snapshot, work
from scipy.optimize import minimize, minimize_scalar

import stackpyomo as sp
from stackpyomo.bilevel import mpcc as equilibria
from stackpyomo.solvers import registry

SENSES = [1, -1]
SOLVERS = [*NLP, pytest.param("scip", marks=pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP"))]
TREATMENTS = ["auto", "scholtes", "fischer-burmeister", "penalty", "big-m", "sos1"]


def objective(cost: Any, sense: int) -> pyo.Objective:
    """The cost minimised (1), or its negative maximised (−1)."""
    return pyo.Objective(expr=sense * cost, sense=pyo.minimize if sense > 0 else pyo.maximize)


def one_follower(
    cost: Callable[[Any, Any], Any],
    goal: Callable[[Any, Any], Any],
    *,
    x: tuple[float | None, float | None] = (None, None),
    u: tuple[float | None, float | None] = (None, None),
    row: Callable[[Any, Any], Any] | None = None,
    senses: tuple[int, int] = (1, 1),
) -> sp.Game:
    """Leader x, follower u; costs are written as minimised ones."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=x)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=u)
    m.f.cost = objective(cost(m.x, m.f.u), senses[1])
    if row is not None:
        m.f.row = pyo.Constraint(expr=row(m.x, m.f.u))
    m.goal = objective(goal(m.x, m.f.u), senses[0])
    return sp.Game(m, m.f)


@pytest.fixture(autouse=True)
def _unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model of this file is, after each function and each failure, what it was before."""

    def guarded(call: Any) -> Any:
        def run(subject: Any, *args: Any, **options: Any) -> Any:
            game = getattr(subject, "game", None) if isinstance(subject, sp.Plan) else subject
            before = snapshot(game.model) if isinstance(game, sp.Game) else None
            try:
                return call(subject, *args, **options)
            finally:
                assert before is None or snapshot(game.model) == before

        return run

    for name in ("stackelberg", "nash", "leader_optimal", "pessimistic"):
        monkeypatch.setattr(sp, name, guarded(getattr(sp, name)))


def attempt(call: Callable[[], sp.Plan]) -> sp.Plan | sp.NoPlan:
    """The plan, or the error that says there is none."""
    try:
        return call()
    except sp.NoPlan as none:
        return none


# --- markets, in closed form ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_the_stackelberg_duopoly(solver: str) -> None:
    """p = a − b(q₀ + q₁), costs c₀, c₁: q₀ = (a − 2c₀ + c₁)/2b, q₁ = (a + 2c₀ − 3c₁)/4b."""
    a, b, c0, c1 = 11.0, 0.5, 2.0, 1.0
    m = pyo.ConcreteModel()
    m.q = pyo.Var(bounds=(0, 100))
    m.f = pyo.Block()
    m.f.q = pyo.Var(bounds=(0, 100))
    price = a - b * (m.q + m.f.q)
    m.f.profit = pyo.Objective(expr=(price - c1) * m.f.q, sense=pyo.maximize)
    m.profit = pyo.Objective(expr=(price - c0) * m.q, sense=pyo.maximize)
    plan = sp.stackelberg(sp.Game(m, m.f), solver=solver)
    q0, q1 = (a - 2 * c0 + c1) / (2 * b), (a + 2 * c0 - 3 * c1) / (4 * b)
    assert plan.values == pytest.approx({"q": q0, "f.q": q1}, abs=1e-6)
    assert plan.leader_objective == pytest.approx(b * q0**2 / 2, abs=1e-6)
    assert plan.follower_objectives == pytest.approx({"f": b * q1**2}, abs=1e-6)
    assert plan.responding == ("f",)
    assert plan.quality == ("optimal" if solver in ("auto", "scip") else "feasible")


@pytest.mark.parametrize("firms", [1, 2, 7, 40])
def test_cournot_with_n_firms(firms: int) -> None:
    """N separate firms, the sum written out: q = (a − c)/(N + 1)."""
    m = pyo.ConcreteModel()
    m.tax = pyo.Var(initialize=1.0)
    m.f = pyo.Block(range(firms))
    for block in m.f.values():
        block.q = pyo.Var(bounds=(0, None))
    total = pyo.quicksum(block.q for block in m.f.values())
    for block in m.f.values():
        block.profit = pyo.Objective(expr=(10 - total - m.tax) * block.q, sense=pyo.maximize)
    m.goal = pyo.Objective(expr=m.tax * total, sense=pyo.maximize)
    plan = sp.nash(sp.Game(m, m.f), solver="pounce")
    assert [plan.value(b.q) for b in m.f.values()] == pytest.approx([9 / (firms + 1)] * firms, abs=1e-7)
    assert plan.value("tax") == 1.0
    assert plan.quality == "feasible", "nothing to be optimal for"


@pytest.mark.parametrize("size", [1, 2, 7, 1000, math.inf])
@pytest.mark.parametrize("chained", [False, True])
def test_a_population_and_its_mean(size: float, chained: bool) -> None:
    """max u(9 − ū) − u²/2 with ū moving by 1/N: u = 9/(2 + 1/N); also where ū moves through another aggregate."""
    m = pyo.ConcreteModel()
    m.tax, m.mean = pyo.Var(initialize=1.0), pyo.Var()
    m.f = pyo.Block()
    m.f.u = pyo.Var()
    rows = []
    if chained:
        m.half = pyo.Var()
        m.def_half = pyo.Constraint(expr=m.half == 0.5 * m.f.u)
        rows.append(m.def_half)
    m.def_mean = pyo.Constraint(expr=m.mean == (2 * m.half if chained else m.f.u))
    m.f.profit = pyo.Objective(expr=(10 - m.mean - m.tax) * m.f.u - m.f.u**2 / 2, sense=pyo.maximize)
    m.goal = pyo.Objective(expr=m.tax * m.mean, sense=pyo.maximize)
    game = sp.Game(m, sp.Population(m.f, size), aggregates=[*rows, m.def_mean])
    assert sp.nash(game).value("f.u") == pytest.approx(9 / (2 + 1 / size), abs=1e-7)
    plan = sp.stackelberg(game)
    assert plan.value("tax") == pytest.approx(5, abs=1e-4)
    assert plan.leader_objective == pytest.approx(25 / (2 + 1 / size), abs=1e-6)


# --- major and minors: exact figures of the notes on arXiv 2207.10611 -------------------------------------------------


def major_minor(size: float) -> sp.Game:
    """Minors u²/2 − u(4 − ū − u₀/2 − u_M/2); a major; a leader who steers towards ū + u_M = 5."""
    m = pyo.ConcreteModel()
    m.u0, m.mean = pyo.Var(initialize=0.0), pyo.Var(initialize=1.0)
    m.major, m.minor = pyo.Block(), pyo.Block()
    m.major.u, m.minor.u = pyo.Var(initialize=1.0), pyo.Var(initialize=1.0)
    m.define = pyo.Constraint(expr=m.mean == m.minor.u)
    m.minor.cost = pyo.Objective(expr=m.minor.u**2 / 2 - m.minor.u * (4 - m.mean - m.u0 / 2 - m.major.u / 2))
    m.major.cost = pyo.Objective(expr=m.major.u**2 / 2 + (m.u0 + 1) ** 2 / 2 + (m.major.u + m.mean - 1) ** 2 / 2)
    m.goal = pyo.Objective(expr=m.u0**2 / 2 + m.major.u**2 / 2 + (m.mean + m.major.u - 5) ** 2 + m.minor.u**2 / 4)
    return sp.Game(m, [m.major, sp.Population(m.minor, size)], aggregates=m.define)


MM01 = {
    1: ("-37/90", "229/90", "44/45", "517/90"),
    2: ("-27/61", "145/61", "74/61", "322/61"),
    5: ("-75/166", "2605/1162", "820/581", "5725/1162"),
    10: ("-475/1053", "2305/1053", "1570/1053", "5050/1053"),
    100: ("-43000/96003", "205210/96003", "150700/96003", "448525/96003"),
    math.inf: ("-17/38", "81/38", "30/19", "177/38"),
}
"""Number of minors → u₀, u_M, u, the leader's cost: exact rationals."""


@pytest.mark.parametrize("size", MM01)
def test_leader_major_optimal_plans(size: float) -> None:
    u0, major, minor, cost = map(number, MM01[size])
    plan = sp.leader_optimal(major_minor(size), responding="minor", solver="pounce")
    assert plan.responding == ("minor",)
    assert plan.values == pytest.approx({"u0": u0, "mean": minor, "major.u": major, "minor.u": minor}, abs=1e-6)
    assert plan.leader_objective == pytest.approx(cost, abs=1e-9)
    assert plan.report is not None
    assert plan.report.ok
    assert list(plan.report.regret.index) == ["minor"]
    assert not sp.verify(plan).ok, "the major would leave"


def test_what_has_no_complementarity_and_is_convex_is_proved() -> None:
    """Minors without bounds or rows: their condition is one linear equality, the leader's problem a convex QP."""
    plan = sp.leader_optimal(major_minor(math.inf), responding="minor", time_limit=3)
    assert plan.leader_objective == pytest.approx(177 / 38, abs=1e-9)
    assert plan.quality == "optimal"


@pytest.mark.parametrize("size", [1, math.inf])
def test_the_leader_optimal_plan_does_not_know_who_would_respond(size: float) -> None:
    plan = sp.leader_optimal(major_minor(size))
    assert plan.leader_objective == pytest.approx(25 / 7, abs=1e-9)
    assert (plan.value("u0"), plan.value("major.u"), plan.value("minor.u")) == pytest.approx(
        (0, 10 / 7, 20 / 7), abs=1e-6
    )
    assert plan.responding == ()


MM04 = {
    1: ("7.24330900243", "2.98783454988", "0.442822384428"),
    2: ("6.84304932735", "2.86098654709", "0.605381165919"),
    5: ("6.42192497819", "2.72753707473", "0.776388485025"),
    100: ("6.00527953018", "2.59551739608", "0.945552585864"),
    math.inf: ("5.97826086957", "2.58695652174", "0.95652173913"),
}
"""Number of minors → the leader's expected cost, the major's gain on x, the minors' gain on their y."""


@pytest.mark.parametrize("size", MM04)
def test_leader_major_optimal_gains_of_a_gaussian_game(size: float) -> None:
    """x ~ N(0,1), y_i = x + w_i: with u_i = k y_i, u_M = κ x, u₀ = p x + q ȳ all expectations are numbers."""
    cost, kappa, gain = map(float, MM04[size])
    n = 1 / size
    m = pyo.ConcreteModel()
    m.p, m.q, m.kappa, m.mean = (pyo.Var(initialize=0.0) for _ in range(4))
    m.minor = pyo.Block()
    m.minor.k = pyo.Var(initialize=0.5)
    m.define = pyo.Constraint(expr=m.mean == m.minor.k)
    k = m.minor.k
    seen = 4 - (m.p + m.q * (1 + n)) / 2 - m.kappa / 2  # E[y_i (4x − u₀/2 − u_M/2)]
    m.minor.cost = pyo.Objective(expr=k**2 - k * seen + k * (m.mean + k * n))  # E[y_i ū] = mean + k/N
    m.goal = pyo.Objective(
        expr=((m.p + m.q) ** 2 + m.q**2 * n) / 2 + m.kappa**2 / 2 + (k + m.kappa - 5) ** 2 + k**2 * n + k**2 / 2
    )
    plan = sp.stackelberg(sp.Game(m, sp.Population(m.minor, size), aggregates=m.define), solver="pounce")
    assert plan.leader_objective == pytest.approx(cost, abs=1e-9)
    assert plan.value("kappa") == pytest.approx(kappa, abs=1e-6)
    assert plan.value("minor.k") == pytest.approx(gain, abs=1e-6)


MM06 = {
    2: ("-0.333632775710619", "2.07427293274342", "0.718662198307792", "3.66448328561619"),
    10: ("-0.342627558611559", "2.00419252732379", "0.819025842150867", "3.45248214238405"),
    100: ("-0.343583488085477", "1.98718374661014", "0.844032638049448", "3.40011251185104"),
    math.inf: ("-0.343660713773382", "1.98526651735592", "0.846867566939598", "3.39418718226386"),
}
"""Nonquadratic minors exp(u) − u(…): 15 digits."""


@pytest.mark.parametrize("size", MM06)
@pytest.mark.parametrize("solver", ["auto", *NLP])
def test_nonquadratic_minors(size: float, solver: str) -> None:
    u0, major, minor, cost = map(float, MM06[size])
    m = major_minor(size).model
    m.minor.cost.set_value(pyo.exp(m.minor.u) - m.minor.u * (4 - m.mean - m.u0 / 2 - m.major.u / 2))
    m.major.cost.set_value(pyo.exp(m.major.u / 2) + (m.u0 + 1) ** 2 / 2 + (m.major.u + m.mean - 1) ** 2 / 2)
    m.goal.set_value(pyo.cosh(m.u0) - 1 + m.major.u**2 / 2 + (m.mean + m.major.u - 4) ** 2)
    game = sp.Game(m, [m.major, sp.Population(m.minor, size)], aggregates=m.define)
    plan = sp.leader_optimal(game, responding=[m.minor], solver=solver, time_limit=4 if solver == "auto" else None)
    assert plan.values == pytest.approx({"u0": u0, "mean": minor, "major.u": major, "minor.u": minor}, abs=1e-6)
    assert plan.leader_objective == pytest.approx(cost, abs=1e-9)


# --- published bilevel problems ---------------------------------------------------------------------------------------


def bards_problem() -> sp.Game:
    """min x − 4y; min y s.t. four rows: (4, 4) with −12, and a local (1, 2) with −7; (3, 6) is no answer at all.

    J. F. Bard, Practical Bilevel Optimization (1998); reported at Pyomo/pao#92, where a solver gave (3, 6).
    """
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, None))
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(0, None))
    m.f.rows = pyo.ConstraintList()
    for body, limit in ((-m.x - m.f.y, -3), (-2 * m.x + m.f.y, 0), (2 * m.x + m.f.y, 12), (3 * m.x - 2 * m.f.y, 4)):
        m.f.rows.add(body <= limit)
    m.f.cost = pyo.Objective(expr=m.f.y)
    m.goal = pyo.Objective(expr=m.x - 4 * m.f.y)
    return sp.Game(m, m.f)


@pytest.mark.parametrize(
    ("solver", "treatment"),
    [
        *itertools.product(["auto"], TREATMENTS),
        *itertools.product(NLP, ["auto", "scholtes", "fischer-burmeister", "penalty"]),
        ("scip", "auto"),
        ("scip", "big-m"),
        ("highs", "auto"),
        ("highs", "big-m"),
    ],
)
def test_bards_problem_by_every_way(solver: str, treatment: str) -> None:
    plan = sp.stackelberg(bards_problem(), solver=solver, complementarity=treatment)
    point = round(plan.value("x"), 5), round(plan.value("f.y"), 5)
    assert point in ((4, 4), (1, 2))
    if point == (1, 2):
        assert plan.quality == "feasible"
        assert not plan.epsilon0 < 5
    else:
        assert plan.leader_objective == pytest.approx(-12, abs=1e-6)
    if treatment in ("auto", "sos1") and solver in ("auto", "scip"):
        assert plan.quality == "optimal"
        assert point == (4, 4)
        assert plan.bound == pytest.approx(-12, abs=1e-4)
    if treatment == "big-m":
        assert plan.quality == "feasible"


@pytest.mark.parametrize("treatment", [sp.Scholtes(), sp.FischerBurmeister()], ids=lambda t: t.name)
def test_more_starts_leave_the_local_answer(treatment: Any) -> None:
    one = sp.stackelberg(bards_problem(), complementarity=treatment)
    many = sp.stackelberg(bards_problem(), complementarity=treatment, starts=8)
    assert many.leader_objective <= one.leader_objective + 1e-9
    assert many.leader_objective == pytest.approx(-12, abs=1e-6)
    assert {row["start"] for row in many.log} == set(range(8))
    again = sp.stackelberg(bards_problem(), complementarity=treatment, starts=8)
    assert again.values == many.values, "the seed is fixed"


def clark_westerberg() -> tuple[sp.Game, float]:
    """P. A. Clark, A. W. Westerberg, Comput. Chem. Eng. 14 (1990): value 5 at (1, 3); a local answer 9 at x = 3… 5."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 8))
    m.f = pyo.Block()
    m.f.y = pyo.Var()
    m.f.a = pyo.Constraint(expr=-2 * m.x + m.f.y <= 1)
    m.f.b = pyo.Constraint(expr=m.x - 2 * m.f.y <= -2)
    m.f.c = pyo.Constraint(expr=m.x + 2 * m.f.y <= 14)
    m.f.cost = pyo.Objective(expr=(m.f.y - 5) ** 2)
    m.goal = pyo.Objective(expr=(m.x - 3) ** 2 + (m.f.y - 2) ** 2)
    return sp.Game(m, m.f), 5.0


def falk_liu() -> tuple[sp.Game, float]:
    """J. E. Falk, J. Liu, Math. Program. 70 (1995): −2.25 at x = (√3/2, √3/2)-like; here found anew by a grid below."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var([1, 2], bounds=(-3, 3), initialize=1.0)
    m.f = pyo.Block()
    m.f.y = pyo.Var([1, 2], bounds=(0.5, 1.5))
    x, y = m.x, m.f.y
    m.f.cost = pyo.Objective(expr=(y[1] - x[1]) ** 2 + (y[2] - x[2]) ** 2)
    m.goal = pyo.Objective(expr=sum(x[i] ** 2 - 3 * x[i] + y[i] ** 2 for i in (1, 2)))
    grid = np.linspace(-3, 3, 60001)
    return sp.Game(m, m.f), 2 * float((grid**2 - 3 * grid + np.clip(grid, 0.5, 1.5) ** 2).min())


@pytest.mark.parametrize("build", [clark_westerberg, falk_liu])
@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_agree_on_published_problems(solver: str, build: Any) -> None:
    game, value = build()
    plan = sp.stackelberg(game, solver=solver, starts=1 if solver == "scip" else 4)
    assert plan.leader_objective == pytest.approx(value, abs=1e-6)
    assert plan.report is not None
    assert plan.report.ok
    assert plan.quality == ("optimal" if solver == "scip" else "feasible")


# --- random games against enumeration ---------------------------------------------------------------------------------


def best_response(hessian: Any, slope: Any, rows: Any, limits: Any) -> Any:
    """min ½uᵀHu + slopeᵀu s.t. rows·u ≤ limits, H ≻ 0, by trying every active set."""
    size = len(slope)
    for count in range(size + 1):
        for active in itertools.combinations(range(len(rows)), count):
            a = rows[list(active)]
            system = np.block([[hessian, a.T], [a, np.zeros((count, count))]])
            if abs(np.linalg.det(system)) < 1e-9:
                continue
            answer = np.linalg.solve(system, np.concatenate([-slope, limits[list(active)]]))
            u, force = answer[:size], answer[size:]
            if (rows @ u <= limits + 1e-9).all() and (force >= -1e-9).all():
                return u
    raise AssertionError("infeasible")


@pytest.mark.parametrize("seed", range(6))
def test_random_quadratic_games_against_enumeration(seed: int) -> None:
    """Two actions in a box with two rows; the leader's cost along the best response is scanned on a fine grid."""
    random = np.random.default_rng(seed)
    root = random.normal(size=(2, 2))
    hessian = root @ root.T + 0.5 * np.eye(2)
    base, tilt = random.normal(size=2), 2 * random.normal(size=2)
    side, shift = random.normal(size=(2, 2)), random.normal(size=2)
    target = random.normal(size=3)
    leader_sense, follower_sense = random.choice(SENSES, 2)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-1, 1))
    m.f = pyo.Block()
    m.f.u = pyo.Var([0, 1], bounds=(-1, 1))
    u = [m.f.u[0], m.f.u[1]]
    cost = sum(float(hessian[i, j]) / 2 * u[i] * u[j] for i in (0, 1) for j in (0, 1))
    cost += sum((float(base[i]) + float(tilt[i]) * m.x) * u[i] for i in (0, 1))
    m.f.cost = objective(cost, int(follower_sense))
    m.f.rows = pyo.ConstraintList()
    for i in (0, 1):
        body = float(side[i, 0]) * u[0] + float(side[i, 1]) * u[1] - float(shift[i]) * m.x
        m.f.rows.add(body <= 1 if i else -body >= -1)
    goal = (m.x - float(target[0])) ** 2 / 4 + sum((u[i] - float(target[1 + i])) ** 2 for i in (0, 1))
    m.goal = objective(goal, int(leader_sense))
    game = sp.Game(m, m.f)
    rows = np.vstack([side, np.eye(2), -np.eye(2)])

    def answer(x: float) -> Any:
        return best_response(hessian, base + tilt * x, rows, np.concatenate([1 + shift * x, np.ones(4)]))

    def along(x: float) -> float:
        return (x - target[0]) ** 2 / 4 + float(((answer(x) - target[1:]) ** 2).sum())

    plan = sp.stackelberg(game)
    x = plan.value("x")
    assert [plan.value(v) for v in u] == pytest.approx(answer(x), abs=1e-5)
    assert leader_sense * plan.leader_objective == pytest.approx(along(x), abs=1e-5)
    grid = np.linspace(-1, 1, 401)
    costs = np.array([along(t) for t in grid])
    near = grid[costs.argmin()]
    fine = minimize_scalar(
        along, bounds=(max(-1, near - 0.01), min(1, near + 0.01)), method="bounded", options={"xatol": 1e-9}
    )
    best = min(costs.min(), float(fine.fun))
    assert plan.quality == "optimal"
    assert leader_sense * plan.leader_objective == pytest.approx(best, abs=1e-5)
    assert leader_sense * plan.bound <= best + 1e-5
    again = sp.nash(game, leader={"x": x})
    assert [again.value(v) for v in u] == pytest.approx(answer(x), abs=1e-6)


@pytest.mark.parametrize("senses", list(itertools.product(SENSES, SENSES)))
@pytest.mark.parametrize("solver", SOLVERS)
def test_senses_change_signs_and_nothing_else(senses: tuple[int, int], solver: str) -> None:
    game = one_follower(
        lambda x, u: (u - 1) ** 2 + x * u,
        lambda x, u: (u - 0.6) ** 2 + 0.01 * x**2,
        x=(-2, 2),
        u=(0, 1),
        senses=senses,
    )
    plan = sp.stackelberg(game, solver=solver)
    x, u = 10 / 13, 8 / 13
    assert plan.values == pytest.approx({"x": x, "f.u": u}, abs=1e-6)
    assert plan.leader_objective == pytest.approx(senses[0] * ((u - 0.6) ** 2 + 0.01 * x**2), abs=1e-9)
    assert plan.follower_objectives["f"] == pytest.approx(senses[1] * ((u - 1) ** 2 + x * u), abs=1e-6)
    if solver == "scip":
        assert senses[0] * (plan.leader_objective - plan.bound) >= -1e-9, "the bound is on the right side"
        assert plan.gap <= 1e-6
        assert plan.quality == "optimal"
    objectives = [row["objective"] for row in plan.log if row["objective"] is not None]
    assert objectives[-1] == pytest.approx(plan.leader_objective, abs=1e-6), "the log speaks the user's sense"


# --- who responds -----------------------------------------------------------------------------------------------------


def test_those_who_do_not_respond_serve_the_leader() -> None:
    """a would choose 1, b would choose x; the leader wants a = 3, b = 0.5, x = 2."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.a, m.b = pyo.Block(), pyo.Block()
    m.a.u, m.b.u = pyo.Var(), pyo.Var()
    m.a.cost = pyo.Objective(expr=(m.a.u - 1) ** 2)
    m.b.cost = pyo.Objective(expr=(m.b.u - m.x) ** 2)
    m.goal = pyo.Objective(expr=(m.a.u - 3) ** 2 + (m.b.u - 0.5) ** 2 + (m.x - 2) ** 2)
    game = sp.Game(m, [m.a, m.b])
    assert sp.leader_optimal(game).leader_objective == pytest.approx(0, abs=1e-9)
    only_a = sp.leader_optimal(game, responding=m.a)
    assert only_a.values == pytest.approx({"x": 2, "a.u": 1, "b.u": 0.5}, abs=1e-6)
    only_b = sp.leader_optimal(game, responding="b")
    assert only_b.values == pytest.approx({"x": 1.25, "a.u": 3, "b.u": 1.25}, abs=1e-6)
    both = sp.stackelberg(game)
    assert both.values == pytest.approx({"x": 1.25, "a.u": 1, "b.u": 1.25}, abs=1e-6)
    assert [p.responding for p in (only_a, only_b, both)] == [("a",), ("b",), ("a", "b")]
    assert {p.quality for p in (only_a, only_b, both)} == {"optimal"}


def test_a_fixed_variable_is_data() -> None:
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: (u - 4) ** 2 + x**2)
    m = game.model
    m.f.w = pyo.Var(initialize=2.0)
    m.f.w.fix()
    m.f.cost.set_value((m.f.u - m.x * m.f.w) ** 2)
    plan = sp.stackelberg(sp.Game(m, m.f))
    assert plan.value("x") == pytest.approx(8 / 5, abs=1e-6), "min (2x − 4)² + x²"
    assert plan.value("f.w") == 2.0


# --- nash -------------------------------------------------------------------------------------------------------------


def two_prices() -> sp.Game:
    """u = p₁ + p₂ + t; the leader's revenue is defined from it."""
    m = pyo.ConcreteModel()
    m.p = pyo.Var([1, 2], bounds=(-9, 9))
    m.t = pyo.Var(initialize=0.25)
    m.revenue = pyo.Var()
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.cost = pyo.Objective(expr=(m.f.u - m.p[1] - m.p[2] - m.t) ** 2)
    m.account = pyo.Constraint(expr=m.revenue == m.p[1] * m.f.u)
    m.goal = pyo.Objective(expr=m.revenue, sense=pyo.maximize)
    return sp.Game(m, m.f)


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


def test_nash_of_some_keeps_the_others() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=1.0)
    m.a, m.b = pyo.Block(), pyo.Block()
    m.a.u, m.b.u = pyo.Var(initialize=5.0), pyo.Var(initialize=7.0)
    m.a.cost = pyo.Objective(expr=(m.a.u - m.b.u - m.x) ** 2)
    m.b.cost = pyo.Objective(expr=(m.b.u - m.a.u / 2) ** 2)
    m.goal = pyo.Objective(expr=m.a.u)
    game = sp.Game(m, [m.a, m.b])
    assert sp.nash(game, responding=m.a).values == pytest.approx({"x": 1, "a.u": 8, "b.u": 7}, abs=1e-7)
    assert sp.nash(game).values == pytest.approx({"x": 1, "a.u": 2, "b.u": 1}, abs=1e-7)
    with pytest.raises(sp.InvalidGame, match="no follower responds"):
        sp.nash(game, responding=())


def test_nash_needs_no_leader_objective_and_ignores_his_inequalities() -> None:
    """At fixed leader values there is nothing for the leader to choose; his rows on followers bind nobody."""
    game = two_prices()
    m = game.model
    m.goal.deactivate()
    m.limit = pyo.Constraint(expr=m.f.u <= -100)
    plan = sp.nash(sp.Game(m, m.f), leader={"p[1]": 1.0, "p[2]": 1.0})
    assert plan.value("f.u") == pytest.approx(2.25, abs=1e-7)
    assert math.isnan(plan.leader_objective)


def test_nash_is_content_with_an_equilibrium_that_holds() -> None:
    """There is no cost by which another treatment's answer could be better."""
    plan = sp.nash(two_prices(), leader={"p[1]": 1.0, "p[2]": 1.0}, solver="pounce")
    assert {entry["treatment"] for entry in plan.log} <= {"Scholtes", "polish"}
    assert sp.verify(plan).ok


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_no_equilibrium_is_not_found(solver: str) -> None:
    """a wants b + 1, b wants a + 1: no equilibrium without bounds."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=0.0)
    m.a, m.b = pyo.Block(), pyo.Block()
    m.a.u, m.b.u = pyo.Var(), pyo.Var()
    m.a.cost = pyo.Objective(expr=(m.a.u - m.b.u - 1) ** 2 + m.x)
    m.b.cost = pyo.Objective(expr=(m.b.u - m.a.u - 1) ** 2)
    m.goal = pyo.Objective(expr=m.x)
    with pytest.raises(sp.NoPlan) as caught:
        sp.nash(sp.Game(m, [m.a, m.b]), solver=solver)
    assert caught.value.termination == "infeasible"
    assert ("proved by" in str(caught.value)) == (solver in ("auto", "scip"))


# --- optimists and pessimists -----------------------------------------------------------------------------------------


def indifferent(sense: int = 1, follower_sense: int = 1, *, wide: bool = False) -> sp.Game:
    """Only u + v = x matters to the follower; the leader pays (x − 1)² + (u − 0.8)."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 2))
    m.f = pyo.Block()
    m.f.u, m.f.v = (pyo.Var(bounds=(None, None) if wide else (0, 1)) for _ in range(2))
    m.f.cost = objective((m.f.u + m.f.v - m.x) ** 2, follower_sense)
    cost = (m.x - 1) ** 2 + m.f.u**2 if wide else (m.x - 1) ** 2 + m.f.u - 0.8
    m.goal = objective(cost, sense)
    return sp.Game(m, m.f)


@pytest.mark.parametrize("senses", list(itertools.product(SENSES, SENSES)))
def test_the_price_of_optimism(senses: tuple[int, int]) -> None:
    """Best for the leader x = 1, u = 0: −0.8; the follower might as well play u = 1: 0.2."""
    sense = senses[0]
    plan = sp.stackelberg(indifferent(*senses))
    assert plan.values == pytest.approx({"x": 1, "f.u": 0, "f.v": 1}, abs=1e-5)
    assert sense * plan.leader_objective == pytest.approx(-0.8, abs=1e-6)
    worst = sp.pessimistic(plan)
    assert worst.value("x") == pytest.approx(plan.value("x"), abs=1e-9)
    assert worst.value("f.u") == pytest.approx(1, abs=1e-5)
    assert sense * worst.leader_objective == pytest.approx(0.2, abs=1e-5)
    assert worst.responding == ("f",)
    assert worst.quality == "optimal", "no answer is worse"
    assert worst.report is not None
    assert worst.report.ok
    assert sense * (worst.leader_objective - plan.leader_objective) == pytest.approx(1, abs=1e-5)
    if math.isfinite(worst.bound):
        assert sense * (worst.bound - worst.leader_objective) >= -1e-6, "a bound from above on what he pays"


@pytest.mark.parametrize("treatment", ["scholtes", "fischer-burmeister", "penalty", "sos1"])
def test_pessimists_by_every_treatment(treatment: str) -> None:
    plan = sp.stackelberg(indifferent())
    worst = sp.pessimistic(plan, complementarity=treatment)
    assert worst.leader_objective == pytest.approx(0.2, abs=1e-5)
    assert worst.quality == ("optimal" if treatment == "sos1" else "feasible")


def test_the_pessimist_of_a_plan_where_nobody_responds_lets_all_respond() -> None:
    plan = sp.leader_optimal(indifferent())
    assert plan.responding == ()
    worst = sp.pessimistic(plan)
    assert worst.responding == ("f",)
    assert worst.leader_objective == pytest.approx((plan.value("x") - 1) ** 2 + 0.2, abs=1e-5)


def test_the_pessimist_keeps_those_who_do_not_respond() -> None:
    plan = sp.leader_optimal(major_minor(2), responding="minor", solver="pounce")
    worst = sp.pessimistic(plan, solver="pounce")
    assert worst.values == pytest.approx(plan.values, abs=1e-6), "the minors' answer is unique"
    assert worst.responding == ("minor",)


def test_an_answer_that_can_hurt_without_limit() -> None:
    plan = sp.stackelberg(indifferent(wide=True))
    assert plan.leader_objective == pytest.approx(0, abs=1e-6)
    with pytest.raises(sp.NoPlan) as caught:
        sp.pessimistic(plan)
    assert caught.value.termination == "unbounded"
    assert "f.u" in str(caught.value)


def test_pessimistic_takes_a_plan_and_its_own_options_alone() -> None:
    plan = sp.stackelberg(indifferent())
    with pytest.raises(sp.InvalidGame, match="expected a Plan"):
        sp.pessimistic(plan.game)
    with pytest.raises(sp.InvalidGame, match="responding"):
        sp.pessimistic(plan, responding="f")
    with pytest.raises(sp.InvalidGame, match="starts"):
        sp.pessimistic(plan, starts=0)
    with pytest.raises(sp.InvalidGame, match="no game"):
        sp.pessimistic(sp.Plan.from_json(plan.to_json()))
    assert sp.pessimistic(sp.Plan.from_json(plan.to_json(), plan.game)).leader_objective == pytest.approx(0.2, abs=1e-5)


# --- integers ---------------------------------------------------------------------------------------------------------


def integer_leader() -> sp.Game:
    """u = n/2: n = 3 costs 0.07, n = 2 costs 0.11, relaxed n = 2.58."""
    game = one_follower(lambda x, u: (u - x / 2) ** 2, lambda x, u: (u - 1.3) ** 2 + 0.01 * x, x=(0, 5), u=(0, 9))
    game.model.x.domain = pyo.Integers
    return game


@pytest.mark.parametrize("options", [{}, {"solver": "scip"}, {"complementarity": "sos1"}, {"complementarity": "big-m"}])
def test_an_integer_leader(options: dict[str, Any]) -> None:
    plan = sp.stackelberg(integer_leader(), **options)
    assert plan.value("x") == pytest.approx(3, abs=1e-9)
    assert plan.value("f.u") == pytest.approx(1.5, abs=1e-5)
    assert plan.leader_objective == pytest.approx(0.07, abs=1e-5)
    assert plan.quality == "optimal"
    assert plan.bound <= 0.07 + 1e-5


@pytest.mark.parametrize("options", [{"solver": "pounce"}, {"complementarity": "scholtes"}])
def test_an_integer_leader_needs_a_solver_for_it(options: dict[str, Any]) -> None:
    with pytest.raises(sp.InvalidGame, match=r"x: an integer variable.*scip"):
        sp.stackelberg(integer_leader(), **options)


# --- no plan ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_a_leader_who_asks_for_what_nobody_answers(solver: str) -> None:
    """u = clip(x, 0, 2) never reaches 3, though some u does: everybody's rows can be met, but not by an answer."""
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: x**2 + u, x=(0, 2), u=(0, 9))
    game.model.want = pyo.Constraint(expr=game.model.f.u >= 3)
    game = sp.Game(game.model, game.model.f)
    with pytest.raises(sp.NoPlan) as caught:
        sp.stackelberg(game, solver=solver)
    text = str(caught.value)
    assert caught.value.termination == "infeasible"
    assert "answers optimally" in text
    assert ("No plan exists (proved by scip)" in text) == (solver in ("auto", "scip"))
    assert ("nothing is proved" in text) == (solver not in ("auto", "scip"))


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_leader_rows_in_conflict_are_named(solver: str) -> None:
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: x**2 + u, x=(0, 2), u=(0, 9))
    m = game.model
    m.high = pyo.Constraint(expr=m.x + m.f.u >= 3)
    m.low = pyo.Constraint(expr=m.x + m.f.u <= 1)
    with pytest.raises(sp.NoPlan) as caught:
        sp.stackelberg(sp.Game(m, m.f), solver=solver)
    assert caught.value.termination == "infeasible"
    assert "high (leader)" in str(caught.value)
    assert "low (leader)" in str(caught.value)


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_follower_rows_without_a_point_are_no_plan(solver: str) -> None:
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: x**2, x=(0, 2), row=lambda x, u: (1, u, 2))
    m = game.model
    m.f.other = pyo.Constraint(expr=m.f.u + m.x <= 0)
    with pytest.raises(sp.NoPlan) as caught:
        sp.stackelberg(sp.Game(m, m.f), solver=solver)
    assert caught.value.termination == "infeasible"


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
@pytest.mark.parametrize("sense", SENSES)
def test_an_unbounded_leader_is_told_which_variable_runs(solver: str, sense: int) -> None:
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: x + u, u=(0, 1), senses=(sense, 1))
    with pytest.raises(sp.NoPlan) as caught:
        sp.stackelberg(game, solver=solver)
    assert caught.value.termination == "unbounded"
    assert "x" in str(caught.value)


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_a_follower_without_a_best_answer_has_no_plan(solver: str) -> None:
    """min x u, 1 ≤ x ≤ 2, u free: −∞ for the follower whatever the leader does."""
    game = one_follower(lambda x, u: x * u, lambda x, u: (x - 1.5) ** 2 + u**2, x=(1, 2))
    with pytest.raises(sp.NoPlan) as caught:
        sp.stackelberg(game, solver=solver)
    assert caught.value.termination == "infeasible"


# --- nonconvex followers ----------------------------------------------------------------------------------------------


def concave_cost(senses: tuple[int, int] = (1, 1)) -> sp.Game:
    """min −u² + x u on [−1, 2]: u = 2 for x < 1, −1 for x > 1, either at 1; u = x/2 is its *worst* choice.

    The leader pays (u − 0.5)² + (x − 1)²/100: 2.25 at best; the false KKT point u = 0.5, x = 1 would cost 0.
    """
    return one_follower(
        lambda x, u: -(u**2) + x * u,
        lambda x, u: (u - 0.5) ** 2 + 0.01 * (x - 1) ** 2,
        x=(0, 3),
        u=(-1, 2),
        senses=senses,
    )


def split_set() -> sp.Game:
    """min (u − x)² s.t. u² ≥ 1, |u| ≤ 2: u = sign(x) for |x| ≤ 1. The leader pays (u − x)² + (x − 0.2)²: 0.32 at 0.6.

    KKT of u² ≥ 1 also holds at u = −1 for 0 < x < 1 (a local answer only).
    """
    return one_follower(
        lambda x, u: (u - x) ** 2,
        lambda x, u: (u + 0.9) ** 2 + (x - 0.2) ** 2,
        x=(0.1, 3),
        u=(-2, 2),
        row=lambda x, u: u**2 >= 1,
    )


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


@pytest.mark.parametrize(
    "build", [concave_cost, lambda: concave_cost((1, -1)), lambda: concave_cost((-1, -1)), split_set]
)
@pytest.mark.parametrize("solver", ["auto", "scip"])
def test_nonconvex_followers_are_played_by_deviation_rows(build: Any, solver: str) -> None:
    game = build()
    least = 2.25 if game.model.find_component("f.row") is None else 3.61  # u = 1 for x > 0, at x = 0.2
    plan = sp.stackelberg(game, solver=solver)
    assert plan.quality == "optimal"
    assert plan.attained
    assert game.leader.sign * plan.leader_objective == pytest.approx(least, abs=1e-5)
    assert plan.report is not None
    assert plan.report.certificate.isin(["convex", "global"]).all()
    assert "ε_f" in str(plan)
    assert sp.Plan.from_json(plan.to_json(), game).attained


@pytest.mark.parametrize("build", [concave_cost, lambda: concave_cost((-1, -1)), split_set])
@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_what_is_allowed_is_told_and_not_called_more_than_it_is(build: Any, solver: str) -> None:
    game = build()
    least = 2.25 if game.model.find_component("f.row") is None else 1.9**2
    plan = attempt(lambda: sp.stackelberg(game, solver=solver, allow_nonconvex=True))
    if isinstance(plan, sp.NoPlan):
        return
    assert any(text.startswith("f: ") and "allow_nonconvex" in text for text in plan.warnings)
    cost = game.leader.sign * plan.leader_objective
    if plan.quality == "optimal":
        assert plan.report is not None
        assert plan.report.certificate.isin(["convex", "global"]).all()
        assert cost == pytest.approx(least, abs=1e-4)
    if plan.quality in ("optimal", "feasible"):
        assert cost >= least - 1e-5, "a KKT point that is no answer is not feasible"
    else:
        assert any("not an equilibrium" in text or "could not" in text for text in plan.warnings)
    assert sp.Plan.from_json(plan.to_json()).warnings == plan.warnings


# --- where KKT needs what is not there --------------------------------------------------------------------------------


def pinched(low: float, high: float) -> sp.Game:
    """min (y − 3)² s.t. y² ≤ x: y = min(√x, 3); at x = 0 only y = 0, without a multiplier.

    The leader pays (x + 1)² + (y + 5)²: 26 at x = 0.
    """
    return one_follower(
        lambda x, u: (u - 3) ** 2,
        lambda x, u: (x + 1) ** 2 + (u + 5) ** 2,
        x=(low, high),
        row=lambda x, u: u**2 <= x,
    )


@pytest.mark.parametrize(
    ("solver", "treatment"),
    [
        *itertools.product(["auto"], TREATMENTS),
        *itertools.product(NLP, ["auto"]),
        ("scip", "sos1"),
    ],
)
def test_an_optimum_without_a_multiplier_is_not_missed_in_silence(solver: str, treatment: str) -> None:
    plan = sp.stackelberg(pinched(0, 10), solver=solver, complementarity=treatment)
    x, y = plan.value("x"), plan.value("f.u")
    true = (x + 1) ** 2 + (min(math.sqrt(max(x, 0.0)), 3) + 5) ** 2
    if plan.quality in ("feasible", "optimal"):
        assert abs(y - min(math.sqrt(max(x, 0.0)), 3)) <= 2e-3, "what is held is an answer"
    if math.isfinite(plan.bound):
        assert plan.bound <= 26 + 1e-5, "a bound above the optimum is none"
    if plan.quality == "optimal":
        assert plan.leader_objective == pytest.approx(26, abs=1e-3)
    if true < 26.2:
        assert any("f: " in text and "qualification" in text for text in plan.warnings)
    else:
        assert plan.quality != "optimal"


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_a_plan_without_any_multiplier_is_not_proved_away(solver: str) -> None:
    """−1 ≤ x ≤ 0 leaves x = y = 0 alone: a plan, although KKT has no solution there."""
    plan = attempt(lambda: sp.stackelberg(pinched(-1, 0), solver=solver))
    if isinstance(plan, sp.NoPlan):
        assert "No plan exists" not in str(plan)
        assert "proved by" not in str(plan)
        return
    assert plan.value("x") == pytest.approx(0, abs=1e-4)
    assert plan.value("f.u") == pytest.approx(0, abs=1e-2)
    assert plan.leader_objective == pytest.approx(26, abs=0.2)
    assert any("qualification" in text or "multiplier" in text for text in plan.warnings)


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_with_an_interior_there_is_no_such_warning(solver: str) -> None:
    plan = sp.stackelberg(pinched(1, 10), solver=solver)
    assert plan.leader_objective == pytest.approx(40, abs=1e-5), "x = 1, y = 1"
    assert not any("qualification" in text for text in plan.warnings)
    assert plan.multipliers["f.row"] == pytest.approx(-2, abs=1e-4), "(3 − y)/y, with d(cost)/d(rhs) < 0"


# --- multipliers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sense", SENSES)
def test_multipliers_of_followers_are_slopes_of_their_own_objective(sense: int) -> None:
    """Every kind of row, its limit moved by ±h in a re-solve with SciPy at the leader's plan."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(1, 1.5))
    m.f = pyo.Block()
    m.f.u = pyo.Var(range(4), initialize=0.5)
    u = m.f.u
    want = (2.0, -1.0, 3.0, 0.7)
    m.f.cost = objective(sum((u[i] - want[i]) ** 2 for i in range(4)) + u[0] * u[1] / 2, sense)
    m.f.upper = pyo.Constraint(expr=u[0] ** 2 + u[1] <= m.x)
    m.f.lower = pyo.Constraint(expr=u[1] + 0.2 * u[2] >= -0.2)
    m.f.tie = pyo.Constraint(expr=u[2] - 2 * u[3] == 0.5)
    m.f.band = pyo.Constraint(expr=(-4, u[2] + u[0], 2))
    m.f.loose = pyo.Constraint(expr=u[3] <= 50)
    m.goal = pyo.Objective(expr=(m.x - 1.2) ** 2)
    plan = sp.stackelberg(sp.Game(m, m.f))

    def value(shift: dict[str, float]) -> float:
        by = lambda name: shift.get(name, 0.0)  # noqa: E731
        x = plan.value("x")
        return float(
            minimize(
                lambda z: sum((z[i] - want[i]) ** 2 for i in range(4)) + z[0] * z[1] / 2,
                [plan.value(u[i]) for i in range(4)],
                method="SLSQP",
                options={"ftol": 1e-15, "maxiter": 500},
                constraints=[
                    {"type": "ineq", "fun": lambda z: x + by("f.upper") - z[0] ** 2 - z[1]},
                    {"type": "ineq", "fun": lambda z: z[1] + 0.2 * z[2] + 0.2 - by("f.lower")},
                    {"type": "eq", "fun": lambda z: z[2] - 2 * z[3] - 0.5 - by("f.tie")},
                    {"type": "ineq", "fun": lambda z: 2 + by("f.band") - z[2] - z[0]},
                ],
            ).fun
        )

    assert sense * plan.follower_objectives["f"] == pytest.approx(value({}), abs=1e-7)
    step = 1e-3
    seen = []
    for name in ("f.upper", "f.lower", "f.tie", "f.band"):
        slope = (value({name: step}) - value({name: -step})) / (2 * step)
        seen.append(abs(slope))
        assert plan.multipliers[name] == pytest.approx(sense * slope, rel=1e-3, abs=1e-3), name
    assert sorted(seen)[1] > 0.05, "most rows bind"
    assert plan.multipliers["f.loose"] == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize("kind", ["upper", "lower", "tie", "band"])
@pytest.mark.parametrize("treatment", ["auto", "scholtes", "penalty"])
def test_multipliers_of_leaders_are_slopes_of_the_bilevel_value(sense: int, kind: str, treatment: str) -> None:
    """Along the answer u = x/2 the leader pays (x − 3)² + (u + y)² − y: closed form in the limit of his row x + y."""
    limit = {"upper": 1.0, "band": 1.0, "lower": 6.0, "tie": 2.0}[kind]

    def value(level: float) -> float:
        along = lambda x: (x - 3) ** 2 + (x / 2 + level - x) ** 2 - (level - x)  # noqa: E731
        return float(minimize_scalar(along, bounds=(-20, 20), method="bounded", options={"xatol": 1e-12}).fun)

    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-50, 50))
    m.f.cost = pyo.Objective(expr=(m.f.u - m.x / 2) ** 2)
    total = m.x + m.y
    rows = {"upper": total <= 1, "lower": total >= 6, "tie": total == 2, "band": pyo.inequality(-9, total, 1)}
    m.row = pyo.Constraint(expr=rows[kind])
    m.goal = objective((m.x - 3) ** 2 + (m.f.u + m.y) ** 2 - m.y, sense)
    plan = sp.stackelberg(sp.Game(m, m.f), complementarity=treatment)
    assert sense * plan.leader_objective == pytest.approx(value(limit), abs=1e-6)
    slope = (value(limit + 1e-3) - value(limit - 1e-3)) / 2e-3
    assert abs(slope) > 0.1
    assert plan.multipliers["row"] == pytest.approx(sense * slope, abs=1e-4)


# --- limits, logs, files ----------------------------------------------------------------------------------------------


def crowd(size: int = 24) -> sp.Game:
    """Many followers with rows and bounds, coupled by their sum, a nonconvex leader: no solver closes it at once."""
    random = np.random.default_rng(3)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(4), bounds=(0, 2), initialize=1.0)
    m.f = pyo.Block(range(size))
    for block in m.f.values():
        block.u, block.v = pyo.Var(bounds=(0, 3), initialize=0.5), pyo.Var(bounds=(0, 3), initialize=0.5)
    total = pyo.quicksum(block.u for block in m.f.values()) / size
    for i, block in m.f.items():
        a, b, c = (float(t) for t in random.uniform(0.5, 2, 3))
        x, y = m.x[i % 4], m.x[(i + 1) % 4]
        block.cost = pyo.Objective(expr=a * (block.u - x) ** 2 + b * (block.v - y + total) ** 2)
        block.row = pyo.Constraint(expr=block.u + c * block.v <= 1 + y)
    m.goal = pyo.Objective(
        expr=pyo.quicksum(pyo.sin(3 * b.u + i) * b.v - 0.3 * b.u * m.x[i % 4] for i, b in m.f.items())
    )
    return sp.Game(m, m.f)


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
@pytest.mark.parametrize("limit", [1e-3, 0.3])
def test_a_time_limit_is_kept_and_never_optimal(solver: str, limit: float) -> None:
    game = crowd()
    began = work()
    plan = attempt(lambda: sp.stackelberg(game, solver=solver, time_limit=limit))
    if isinstance(plan, sp.NoPlan):
        assert plan.termination != "infeasible" or "nothing is proved" in str(plan)
        assert "No plan exists" not in str(plan)
    else:
        assert plan.quality != "optimal"
        assert not plan.epsilon0 <= 1e-6
    assert work() - began < limit + 6


@pytest.mark.parametrize("options", [{}, {"solver": "pounce", "starts": 2}, {"complementarity": "big-m"}])
def test_every_attempt_is_in_the_log(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(program: Any, solver: str = "auto", _solve: Any = equilibria.solve, **rest: Any) -> Any:
        calls.append(solver)
        return _solve(program, solver, **rest)

    monkeypatch.setattr(equilibria, "solve", counted)
    plan = sp.stackelberg(bards_problem(), **options)
    assert len(plan.log) == len(calls) > 1
    for row in plan.log:
        assert {"treatment", "level", "solver", "termination", "message", "objective", "bound", "seconds"} <= set(row)
        assert row["seconds"] >= 0
    assert plan.solver in {row["solver"] for row in plan.log}
    assert {"solve", "verify", "conditions"} <= set(plan.seconds)


@pytest.mark.parametrize("treatment", ["scholtes", "fischer-burmeister", "penalty"])
def test_an_answer_that_no_polish_mends_is_judged_as_it_is(treatment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The homotopy's last point, t = 1e-8 or so, is feasible: its own parameter t is nobody's row."""
    monkeypatch.setattr(equilibria.Equilibrium, "polished", lambda *args, **rest: None)
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: (u - 0.5) ** 2 + (x - 2) ** 2, x=(0, 3), u=(-1, 1))
    plan = sp.stackelberg(game, complementarity=treatment)
    assert plan.leader_objective == pytest.approx(0.25, abs=1e-4), "x = 2, u = 1"
    assert plan.residuals["feasibility"] <= 1e-6
    assert plan.quality == "feasible"


TALKATIVE = """
import pyomo.environ as pyo, stackpyomo as sp

def test_returns():
    n = 1 / 5
    m = pyo.ConcreteModel()
    m.p, m.q, m.kappa, m.mean = (pyo.Var(initialize=0.0) for _ in range(4))
    m.minor = pyo.Block()
    m.minor.k = k = pyo.Var(initialize=0.5)
    m.define = pyo.Constraint(expr=m.mean == k)
    seen = 4 - (m.p + m.q * (1 + n)) / 2 - m.kappa / 2
    m.minor.cost = pyo.Objective(expr=k**2 - k * seen + k * (m.mean + k * n))
    m.goal = pyo.Objective(
        expr=((m.p + m.q) ** 2 + m.q**2 * n) / 2 + m.kappa**2 / 2 + (k + m.kappa - 5) ** 2 + k**2 * n + k**2 / 2
    )
    sp.stackelberg(sp.Game(m, sp.Population(m.minor, 5), aggregates=m.define), time_limit=4)
"""


@pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")
def test_a_time_limit_is_kept_where_the_solver_floods_its_error_output(tmp_path: Path) -> None:
    """SCIP's LP solver writes "Cannot set feasibility tolerance …" without end: a full pipe must not stop it.

    In a process of its own, under pytest's capture: a solver that waits for its reader hears no signal.
    """
    (tmp_path / "test_talk.py").write_text(TALKATIVE)
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(tmp_path), str(tmp_path)]
    root = str(Path(sp.__file__).parents[1])
    ended = subprocess.run(command, cwd=root, timeout=120, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stdout.decode()


def test_files_keep_who_responds_and_what_was_told() -> None:
    game = pinched(0, 10)
    plan = sp.stackelberg(game)
    assert plan.warnings
    read = sp.Plan.from_json(plan.to_json(), game)
    assert read.responding == ("f",)
    assert read.warnings == plan.warnings
    assert read.log == plan.log
    assert read == plan
    assert "Responding: f" in str(plan)
    for text in plan.warnings:
        assert f"Beware: {text}" in str(plan)


def test_a_plan_is_verified_by_what_knows_no_conditions() -> None:
    """plan.report is verify's own; verify(plan) on all followers says the same."""
    plan = sp.stackelberg(bards_problem())
    assert isinstance(plan.report, sp.Report)
    assert plan.report.ok
    assert sp.verify(plan).ok
    moved = sp.Plan.from_json(plan.to_json(), plan.game)
    moved.values["f.y"] += 0.1
    assert not sp.verify(moved).ok


def test_conditions_that_are_wrong_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the follower's slope turned round most points found are no answers: none of these is called feasible.

    (Its bound is one on wrong conditions: no re-solve can see that.)
    """
    conditions = importlib.import_module("stackpyomo.bilevel.conditions")
    right = conditions.derivatives

    def wrong(*args: Any) -> Any:
        return {key: -slope for key, slope in right(*args).items()}

    monkeypatch.setattr(conditions, "derivatives", wrong)
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: (u - 0.5) ** 2 + (x - 2) ** 2, x=(0, 3), u=(-1, 1))
    plan = attempt(lambda: sp.stackelberg(game))
    if isinstance(plan, sp.NoPlan):
        return
    if plan.quality in ("feasible", "optimal"):
        assert plan.value("f.u") == pytest.approx(min(1, plan.value("x")), abs=1e-4)


@pytest.mark.parametrize("function", [sp.stackelberg, sp.nash, sp.leader_optimal])
@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"starts": 0}, sp.InvalidGame, "starts"),
        ({"starts": 1.5}, sp.InvalidGame, "starts"),
        ({"time_limit": 0}, sp.InvalidGame, "time_limit"),
        ({"time_limit": -1.0}, sp.InvalidGame, "time_limit"),
        ({"solver": "snopt"}, sp.SolverNotAvailable, "snopt"),
        ({"complementarity": "none"}, sp.InvalidGame, "none"),
    ],
)
def test_options_are_checked_first(function: Any, options: dict[str, Any], error: Any, word: str) -> None:
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: u**2)
    with pytest.raises(error, match=word):
        function(game, **options)
    with pytest.raises(sp.InvalidGame, match="expected a Game"):
        function(game.model, **options)


@pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")
@pytest.mark.parametrize("unit", [1.0, 1e3])
def test_a_bound_does_not_fall_short_by_a_solvers_tolerance(unit: float) -> None:
    """An LP-LP of BASBLib (s_1989_01, −14.6), in thousands: a row met to 1e-6 is worth 1e-4 of the cost."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var([1, 2], bounds=(0, 10 / unit))
    m.f = pyo.Block()
    m.f.y = y = pyo.Var([1, 2, 3], bounds=(0, 10 / unit))
    x = m.x
    m.cost = pyo.Objective(expr=unit * unit * (-8 * x[1] - 4 * x[2] + 4 * y[1] - 40 * y[2] + 4 * y[3]))
    m.row = pyo.Constraint(expr=unit * (x[1] + 2 * x[2] - y[3]) <= 1.3)
    m.f.cost = pyo.Objective(expr=unit * unit * (2 * y[1] + y[2] + 2 * y[3]))
    m.f.row = pyo.ConstraintList()
    m.f.row.add(unit * (-y[1] + y[2] + y[3]) <= 1)
    m.f.row.add(unit * (4 * x[1] - 2 * y[1] + 4 * y[2] - y[3]) <= 2)
    m.f.row.add(unit * (4 * x[2] + 4 * y[1] - 2 * y[2] - y[3]) <= 2)
    plan = sp.stackelberg(sp.Game(m, followers=m.f))
    assert plan.leader_objective == pytest.approx(-14.6 * unit, rel=1e-8)
    assert plan.quality == "optimal"
    assert plan.gap <= sp.TOLERANCES.global_gap


def test_a_follower_who_can_do_nothing_is_named() -> None:
    """Its own row contradicts its bounds: no leader's constraint is to blame."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(0, 2), initialize=1.0)
    m.f = pyo.Block()
    m.f.x = pyo.Var(bounds=(0, 1))
    m.f.k = pyo.Constraint(expr=m.f.x >= 3)
    m.f.c = pyo.Objective(expr=(m.f.x - 0.8) ** 2 + m.t * m.f.x)
    m.o = pyo.Objective(expr=(m.f.x - 0.2) ** 2 + (m.t - 1) ** 2)
    game = sp.Game(m, m.f)
    for ask in (sp.leader_optimal, sp.stackelberg, sp.nash):
        with pytest.raises(sp.NoPlan, match=r"In conflict.*f\.k \(f\)"):
            ask(game)
    m.f.k.deactivate()
    with pytest.raises(sp.InvalidGame, match=r"leader: 9 is outside the bounds of t, \[0, 2\]"):
        sp.nash(game, leader={"t": 9})


@pytest.mark.parametrize("limited", [None, "row", "Param"])
def test_a_follower_whose_objective_falls_without_limit_has_no_equilibrium(limited: str | None) -> None:
    """Its slope is a constant, whatever the others do, and nothing holds its action on that side."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.slope = pyo.Param(initialize=2.0, mutable=True)
    m.f = pyo.Block(range(2))
    m.f[0].u = pyo.Var()
    m.f[0].cost = pyo.Objective(expr=(m.slope if limited == "Param" else 2.0) * m.f[0].u)
    m.f[1].u = pyo.Var(bounds=(0, 1))
    m.f[1].cost = pyo.Objective(expr=(m.f[1].u - m.x) ** 2)
    m.goal = pyo.Objective(expr=m.x + m.f[1].u + m.f[0].u)
    if limited == "row":
        m.f[0].floor = pyo.Constraint(expr=m.f[0].u >= m.x - 3)
        assert sp.stackelberg(sp.Game(m, m.f)).values["f[0].u"] == pytest.approx(-3, abs=1e-6)
        return
    game = sp.Game(m, m.f)
    for solve in (sp.stackelberg, lambda g: sp.nash(g, leader={"x": 0.5})):
        with pytest.raises(sp.NoPlan, match=r"f\[0\].u .*no bound on the side") as refusal:
            solve(game)
        assert refusal.value.termination == "infeasible"


def test_an_equilibrium_on_a_shared_limit_is_said_to_be_one_of_many() -> None:
    """Capacity 2: every (q, 2 - q) with q in [0, 2] is an equilibrium; capacity 9: only (3, 3)."""
    for capacity, many in ((2.0, True), (9.0, False)):
        m = pyo.ConcreteModel()
        m.x = pyo.Var(bounds=(0, 1), initialize=0.5)
        m.f = pyo.Block([1, 2])
        for i in m.f:
            m.f[i].q = pyo.Var(bounds=(0, 5))
        for i in m.f:
            m.f[i].cost = pyo.Objective(expr=(m.f[i].q - 3) ** 2)
            m.f[i].cap = pyo.Constraint(expr=m.f[1].q + m.f[2].q <= capacity)
        m.goal = pyo.Objective(expr=(m.x - 0.5) ** 2 + 0.01 * m.f[1].q)
        for plan in (sp.nash(sp.Game(m, m.f)), sp.stackelberg(sp.Game(m, m.f))):
            assert ("the equilibria form a surface of dimension 1" in str(plan)) == many
