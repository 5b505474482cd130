"""Central paths: square systems with known solutions, and the path's place in the search."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy import sparse
from scipy.optimize import minimize_scalar, nnls
from scipy.sparse.linalg import splu

import stackpyomo as sp
from models import cournot
from stackpyomo.bilevel import search
from stackpyomo.bilevel.central_path import Factors, Linear, Pairs, System, followed
from stackpyomo.solvers import Program


def complementary(matrix: np.ndarray, vector: np.ndarray, upper: float | None = None) -> tuple[Program, Pairs]:
    """Mz + q − λ + κ = 0, λ ⟂ z, κ ⟂ upper − z."""
    n = len(vector)
    m = pyo.ConcreteModel()
    m.z = pyo.Var(range(n), bounds=(0, upper), initialize=0.0)
    m.low = pyo.Var(range(n), bounds=(0, None), initialize=0.0)
    m.high = pyo.Var(range(n) if upper else [], bounds=(0, None), initialize=0.0)
    rows = [
        sum(matrix[i, j] * m.z[j] for j in range(n)) + vector[i] - m.low[i] + (m.high[i] if upper else 0) == 0
        for i in range(n)
    ]
    program = Program(0.0, rows)
    place = {id(v): i for i, v in enumerate(program.variables)}
    forces = [*m.low.values(), *m.high.values()]
    owner = [place[id(m.z[i])] for i in range(n)] * (2 if upper else 1)
    limit, way = np.zeros(len(forces)), np.ones(len(forces))
    limit[n:], way[n:] = upper or 0.0, -1.0
    return program, Pairs(np.array([place[id(v)] for v in forces]), np.array(owner), limit, way)


def solution(program: Program, pairs: Pairs) -> np.ndarray | None:
    found = followed(System(program, pairs), np.asarray(program.problem.x0))
    return None if found is None else found[pairs.owner]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e3])
def test_least_squares_with_signs(seed: int, unit: float) -> None:
    """min ‖Az − b‖²/2, z ≥ 0, at several scales of z."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(12, 8)), random.normal(size=12)
    program, pairs = complementary(a.T @ a, -a.T @ b * unit)
    np.testing.assert_allclose(solution(program, pairs), nnls(a, b)[0] * unit, atol=max(1e-6, 1e-4 * unit))


def test_a_long_row_is_no_pivot_that_fills_the_factors() -> None:
    """Firms whose products are small beside an aggregate's row of ones: entries in proportion to the firms."""
    entries = []
    for n in (200, 400):
        firms, ones = sparse.diags_array(np.linspace(1e-3, 1e-2, n)), np.ones((n, 1))
        matrix = sparse.csc_array(sparse.block_array([[firms, ones], [ones.T, -sparse.eye_array(1)]]))
        right = np.arange(n + 1.0)
        with patch("stackpyomo.bilevel.central_path.splu", wraps=splu) as spy:
            answer = Factors(matrix).solve(right)
        np.testing.assert_allclose(matrix @ answer, right, atol=1e-6 * n)
        np.testing.assert_allclose(matrix.T @ Factors(matrix).solve(right, transposed=True), right, atol=1e-6 * n)
        factors = splu(spy.call_args.args[0])
        entries.append(factors.L.nnz + factors.U.nnz)
    assert entries[1] < 2.1 * entries[0]


@pytest.mark.parametrize("seed", range(5))
def test_two_sided_bounds_and_no_symmetry(seed: int) -> None:
    random = np.random.default_rng(seed)
    skew = random.normal(size=(9, 9))
    matrix, vector = skew - skew.T + np.eye(9), random.normal(size=9)
    program, pairs = complementary(matrix, vector, upper=0.5)
    z = solution(program, pairs)
    assert z is not None
    z = z[:9]
    np.testing.assert_allclose(z, np.clip(z - matrix @ z - vector, 0.0, 0.5), atol=1e-5)
    assert (z > 0.499).any() or (z < 0.001).any()


def test_what_is_lost_is_none() -> None:
    free = complementary(np.array([[0.0, 1.0], [-1.0, 0.0]]), -np.ones(2))  # −z − 1 = λ: no solution
    assert followed(System(*free), np.asarray(free[0].problem.x0)) is None
    program, pairs = complementary(np.eye(2), -np.ones(2))
    fewer = Pairs(*(part[:1] for part in (pairs.multiplier, pairs.owner, pairs.limit, pairs.way)))
    assert followed(System(program, fewer), np.asarray(program.problem.x0)) is None, "not square"


def test_a_large_nash_game_goes_along_the_path() -> None:
    """200 players u ≥ 0 with min (u − c)²/2 + u·mean, price takers: u = max(0, c − mean), by bisection on the mean."""
    n = 200
    wish = np.linspace(-1.0, 2.0, n)
    m = pyo.ConcreteModel()
    m.mean = pyo.Var()
    m.f = pyo.Block(range(n))
    for i in range(n):
        m.f[i].u = pyo.Var(bounds=(0, None))
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - wish[i]) ** 2 / 2 + m.f[i].u * m.mean)
    m.total = pyo.Constraint(expr=m.mean == sum(m.f[i].u for i in range(n)) / n)
    m.goal = pyo.Objective(expr=m.mean)
    followers = [sp.Population(f, float("inf")) for f in m.f.values()]
    plan = sp.nash(sp.Game(m, followers, aggregates=[m.total]))
    low, high = 0.0, 2.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(0.0, wish - middle).mean() > middle else (low, middle)
    assert plan.value("mean") == pytest.approx(low, abs=1e-8)
    assert {entry["treatment"] for entry in plan.log} == {"central path", "polish"}
    assert plan.report.ok


@pytest.mark.parametrize("seed", range(3))
def test_steps_and_prices_are_those_of_the_whole_system(seed: int) -> None:
    """With every multiplier among the unknowns, by dense matrices."""
    random = np.random.default_rng(seed)
    program, pairs = complementary(random.normal(size=(4, 4)), random.normal(size=4), upper=2.0)
    x = random.uniform(0.2, 1.8, len(program.variables))
    linear, (force, room) = Linear(System(program, pairs), x), pairs.at(x)
    products = np.zeros((8, len(x)))
    products[np.arange(8), pairs.multiplier], products[np.arange(8), pairs.owner] = room, force * pairs.way
    whole = np.vstack([program.jacobian(x).toarray(), products])
    rows, aims, gradient = random.normal(size=4), random.normal(size=8), random.normal(size=len(x))
    np.testing.assert_allclose(whole @ linear.step(rows, aims), -np.concatenate([rows, aims]), atol=1e-9)
    gradient[pairs.multiplier] = 0.0
    np.testing.assert_allclose(whole.T @ np.concatenate(linear.prices(gradient)), gradient, atol=1e-9)


@pytest.fixture(autouse=True)
def _small_is_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_SEVERAL", 10)


@pytest.mark.parametrize("size", [40, 50, 61])
@pytest.mark.parametrize("spread", [{}, {"low": 0.0, "high": 0.0}], ids=["some stay out", "all produce"])
def test_cournot_ends_at_the_closed_form(size: int, spread: dict[str, float]) -> None:
    """At 50 the best point is a kink, where one follower is just indifferent."""
    plan = sp.stackelberg(cournot.build(size, **spread))
    best = cournot.optimum(size, **spread)
    assert plan.report is not None
    assert plan.report.ok
    assert plan.leader_objective == pytest.approx(best.profit, rel=1e-10)
    assert plan.value("quantity") == pytest.approx(best.quantity, rel=1e-8)
    assert {entry["treatment"] for entry in plan.log} == {"descent", "polish"}


def street(unit: float, cost: float, sense: int, size: int = 25) -> tuple[sp.Game, float]:
    """A toll against homes min (u − w_i)²/2 + toll·u, 0 ≤ u ≤ 1, u + v ≤ 1.2, (v − 1)²/2; and the best toll by search.

    ``unit``: of actions; ``cost``: of every cost; ``sense``: of the homes' objectives.
    """
    wish = np.linspace(0.1, 2.0, size)
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(0, 3), initialize=0.3)
    m.home = pyo.Block(range(size))
    for i, home in m.home.items():
        home.u = pyo.Var(bounds=(0, unit), initialize=0.5 * unit)
        home.v = pyo.Var(bounds=(0, None), initialize=0.5 * unit)
        home.row = pyo.Constraint(expr=home.u + home.v <= 1.2 * unit)
        own = (home.u / unit - wish[i]) ** 2 / 2 + m.toll * home.u / unit + (home.v / unit - 1) ** 2 / 2
        home.cost = pyo.Objective(expr=sense * cost * own, sense=pyo.minimize if sense > 0 else pyo.maximize)
    earned = m.toll * pyo.quicksum(h.u for h in m.home.values()) / unit / size
    m.goal = pyo.Objective(expr=cost * (0.2 * (m.toll - 0.4) ** 2 - earned))

    def used(toll: float) -> float:
        free = np.clip(wish - toll, 0.0, 1.0)  # v = 1 where there is room, else the row binds: v = 1.2 − u
        bound = np.clip((wish - toll + 0.2) / 2.0, 0.0, 1.0)
        return float(np.where(free <= 0.2, free, np.maximum(bound, 0.2)).mean())

    best = min(
        minimize_scalar(lambda t: 0.2 * (t - 0.4) ** 2 - t * used(t), bounds=(a, a + 0.3), options={"xatol": 1e-10}).fun
        for a in np.arange(0.0, 3.0, 0.3)
    )
    return sp.Game(m, followers=m.home), cost * best


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "cost", "sense"), [(1.0, 1.0, 1), (1.0, 1.0, -1), (1e3, 1e-4, 1), (1e-3, 1e5, -1)])
def test_rows_bounds_units_and_senses(unit: float, cost: float, sense: int) -> None:
    game, best = street(unit, cost, sense)
    plan = sp.stackelberg(game)
    assert plan.report is not None
    assert plan.report.ok
    assert plan.leader_objective == pytest.approx(best, rel=1e-6)
    assert plan.log[0]["treatment"] == "descent"


def test_what_has_rows_of_the_leader_is_left_to_the_homotopy() -> None:
    game, _ = street(1.0, 1.0, 1, 12)
    game.model.most = pyo.Constraint(expr=game.model.home[3].u >= 0.2)
    plan = sp.stackelberg(sp.Game(game.model, followers=game.model.home))
    assert plan.report is not None
    assert plan.report.ok
    assert plan.value("home[3].u") >= 0.2 - 1e-8
    assert plan.log[0]["message"] == "the path was lost"
    assert plan.log[-1]["treatment"] not in ("descent", "central path")


def test_who_asks_for_several_starts_gets_them() -> None:
    plan = sp.stackelberg(cournot.build(40), starts=2)
    assert "descent" not in {entry["treatment"] for entry in plan.log}
