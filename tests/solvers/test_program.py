"""Programs: residuals and proved gaps at solutions and elsewhere, against problems whose solutions are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from stackpyomo.solvers import Program, free_row, registry, solve

# --- residuals and proved gaps, recomputed by hand ------------------------------------------------------------------

quick = settings(
    max_examples=drawn(60),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
figure = st.floats(-4, 4).map(lambda v: round(v, 3))


def vector(n: int, elements: Any = figure) -> Any:
    return arrays.arrays(float, n, elements=elements)


N, M = 3, 2


class Quadratic:
    """½ xᵀPx + qᵀx, low ≤ Ax ≤ high, lower ≤ x ≤ upper: as arrays and as a Program in the same order."""

    def __init__(self, P: Any, q: Any, A: Any, low: Any, high: Any, lower: Any, upper: Any) -> None:
        self.P, self.q, self.A = P, q, A
        self.low, self.high, self.lower, self.upper = low, high, lower, upper
        m = self.model = pyo.ConcreteModel()
        m.x = pyo.Var(range(N), initialize=0.0)
        for i in range(N):
            m.x[i].setlb(lower[i] if np.isfinite(lower[i]) else None)
            m.x[i].setub(upper[i] if np.isfinite(upper[i]) else None)
        rows = [self._row(sum(A[r, j] * m.x[j] for j in range(N)), low[r], high[r]) for r in range(M)]
        cost = sum((0.5 * P[i, j] * m.x[i] + q[j] / N) * m.x[j] for i in range(N) for j in range(N))
        self.program = Program(cost, rows)
        self.columns = [v.index() for v in self.program.variables]

    @staticmethod
    def _row(body: Any, low: float, high: float) -> Any:
        if low == high:
            return body == low
        return (low if np.isfinite(low) else None, body, high if np.isfinite(high) else None)

    def value(self, x: Any) -> float:
        return float(0.5 * x @ self.P @ x + self.q @ x)

    def kkt(self, x: Any, duals: Any) -> tuple[float, Any]:
        """(largest violation, gradient − Aᵀduals)."""
        body = self.A @ x
        gaps = []
        for point, low, high in ((x, self.lower, self.upper), (body, self.low, self.high)):
            gaps += [lo - p for p, lo in zip(point, low, strict=True) if np.isfinite(lo)]
            gaps += [p - hi for p, hi in zip(point, high, strict=True) if np.isfinite(hi)]
        return max([0.0, *gaps]), self.P @ x + self.q - self.A.T @ duals


@st.composite
def quadratics(draw: Any) -> tuple[Quadratic, Any, Any]:
    """A convex program with a known solution: x*, row duals and bound duals are drawn, q and the limits follow."""
    factor = draw(arrays.arrays(float, (N, N), elements=figure))
    P = factor @ factor.T
    A = draw(arrays.arrays(float, (M, N), elements=figure))
    A[np.abs(A).sum(axis=1) == 0] = 1.0
    x, duals, reduced = draw(vector(N)), draw(vector(M)), draw(vector(N))
    room = st.sampled_from([0.0, 0.5, 3.0, np.inf])

    def limits(at: Any, force: Any) -> tuple[Any, Any]:
        """The side a force pushes against is at the point, the other one anywhere beyond."""
        spare = draw(vector(len(at), room)), draw(vector(len(at), room))
        low = np.where(force > 0, at, at - spare[0])
        high = np.where(force < 0, at, at + spare[1])
        return low, high

    low, high = limits(A @ x, duals)
    high = np.where(np.isinf(low) & np.isinf(high), A @ x + 3.0, high)  # Pyomo wants one side at least
    lower, upper = limits(x, reduced)
    q = A.T @ duals + reduced - P @ x
    return Quadratic(P, q, A, low, high, lower, upper), x, duals


@quick
@given(quadratics())
def test_residuals_vanish_at_a_solution(case: tuple[Quadratic, Any, Any]) -> None:
    problem, x, duals = case
    program = problem.program
    assume(len(program.rows) == M)
    order = problem.columns
    assume(sorted(order) == list(range(N)))
    residuals = program.residuals(x[order], duals[program.rows])
    assert max(residuals.as_dict().values()) < 1e-9
    assert residuals.outside_bounds == pytest.approx(np.zeros(N), abs=1e-9)
    assert residuals.outside_rows == pytest.approx(np.zeros(M), abs=1e-9)
    assert program.proved_gap(x[order], duals[program.rows], 1e3) == pytest.approx(0.0, abs=1e-8)


@quick
@given(quadratics(), vector(N), vector(M))
def test_residuals_elsewhere(case: tuple[Quadratic, Any, Any], step: Any, turn: Any) -> None:
    """Feasibility and the gradient of the Lagrangian by hand; no residual can hide a wrong point."""
    problem, x, duals = case
    program, order = problem.program, problem.columns
    assume(len(program.rows) == M)
    assume(sorted(order) == list(range(N)))
    point, forces = x + step, duals + turn
    feasibility, reduced = problem.kkt(point, forces)
    plain = (np.ones(N), np.ones(M), 1.0)
    got = program.residuals(point[order], forces[program.rows], plain)
    assert got.feasibility == pytest.approx(feasibility, rel=1e-9, abs=1e-9)
    free = ~np.isfinite(problem.lower) & ~np.isfinite(problem.upper)
    assert got.stationarity >= np.abs(reduced[free]).max(initial=0.0) - 1e-9
    blind = program.residuals(point[order], None, plain)
    assert blind.feasibility == pytest.approx(feasibility, rel=1e-9, abs=1e-9)
    assert math.isnan(blind.stationarity)
    if max(got.as_dict().values()) < 1e-12:  # KKT of a convex program: a minimiser
        assert problem.value(point) == pytest.approx(problem.value(x), abs=1e-6)


@quick
@given(quadratics(), vector(N), vector(M), st.floats(0, 1))
def test_the_proved_gap_is_a_bound(case: tuple[Quadratic, Any, Any], step: Any, turn: Any, size: float) -> None:
    """f(x) − gap ≤ f(x*) from any point, feasible or not, with any multipliers."""
    problem, x, duals = case
    program, order = problem.program, problem.columns
    assume(len(program.rows) == M)
    assume(sorted(order) == list(range(N)))
    point, forces = x + size * step, duals + size * turn
    gap = program.proved_gap(point[order], forces[program.rows], 1e3)
    assert gap >= 0
    slack = 1e-9 * max(1.0, abs(problem.value(x)), abs(problem.value(point)))
    assert gap >= problem.value(point) - problem.value(x) - slack


@pytest.mark.parametrize("solver", ["auto", "scip", "highs"])
@pytest.mark.parametrize("power", [1, 2])
def test_a_variant_is_the_same_to_every_solver(solver: str, power: int) -> None:
    """min x^p + y, x in [2, 5] and x + 2 y ≥ 3 where the program itself has x in [0, 5] and x + 2 y ≥ 1."""
    if not registry[solver if solver != "auto" else "pounce"].available:
        pytest.skip(f"needs {solver}")
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], bounds=(0, 5), initialize=1.0)
    program = Program(m.x[0] ** power + m.x[1], [free_row(m.x[0] + 2 * m.x[1] + 7.0, 8.0, None)])
    bounds, limits = (np.array([2.0, 0.0]), np.array([5.0, 5.0])), (np.array([3.0]), np.array([math.inf]))
    assert solve(program.variant(bounds=bounds, row_bounds=limits), solver).x == pytest.approx([2.0, 0.5], abs=1e-6)
    assert solve(program.variant(row_bounds=(-limits[1], limits[1])), solver).x == pytest.approx([0, 0], abs=1e-3)
    held = solve(program.variant(bounds=(np.array([4.0, 0.0]), np.array([4.0, 5.0]))), solver).x
    assert held == pytest.approx([4.0, 0.0], abs=1e-6)
    wider = solve(program.variant(bounds=(np.array([-3.0, -9.0]), np.array([-2.0, 9.0]))), solver).x
    assert wider == pytest.approx([-2.0, 1.5] if power == 2 else [-3.0, 2.0], abs=1e-5)
    assert (m.x[0].lb, m.x[0].ub) == (0, 5)


def test_roots_of_0_are_seen() -> None:
    """In objective and rows, behind constants and inside other functions; of what is fixed none is taken."""
    m = pyo.ConcreteModel()
    m.x, m.fixed = pyo.Var(range(5)), pyo.Var(initialize=0.0)
    m.fixed.fix()
    x = m.x
    rows = [x[1] + pyo.exp(-((2.0 - x[2]) ** 0.5)) <= 3.0, x[3] ** 1.5 + pyo.sqrt(m.fixed) * x[4] <= 1.0]
    program = Program(pyo.sqrt(x[0] + x[1] - 1.0) + x[3] ** 2, rows)

    def taken(levels: list[float]) -> set[int]:
        at = np.array([levels[v.index()] for v in program.variables])
        return {v.index() for v, is_taken in zip(program.variables, program.at_roots(at), strict=True) if is_taken}

    assert taken([1.0, 1.0, 1.0, 0.0, 0.0]) == set()
    assert taken([0.25, 0.75, 1.0, 0.0, 0.0]) == {0, 1}
    assert taken([1.0, 1.0, 2.0, 0.0, 0.0]) == {2}
    assert program.variant(start=np.zeros(5)).at_roots(np.full(5, 0.5)).sum() == 2


def test_units_are_those_of_a_variants_own_row_limits() -> None:
    """0 ≤ x ≤ 2 in a row tells a reach, and 0 ≤ x ≤ 20 of a variant another one, at the same point."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    program = Program(m.x, [free_row(m.x + 0.0, 0.0, 2.0)])
    at = np.array([0.0])
    reach = program.units(at)[0]
    wider = program.variant(row_bounds=(np.array([0.0]), np.array([20.0])))
    assert wider.units(at)[0] == pytest.approx(10.0 * reach)
    assert program.units(at)[0] == pytest.approx(reach)


@pytest.mark.parametrize("money", [1e-8, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e5])
@pytest.mark.parametrize("beside", [1e-10, 1e-8, 1e-6])
def test_what_a_solver_left_beside_a_bound_is_put_on_it_in_any_unit(beside: float, unit: float, money: float) -> None:
    """(x + 0.53)² + (y − 0.47)²/20 with x ≥ 0 and both a little off: what y is off by tells x no unit."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0, None), initialize=0.0), pyo.Var(bounds=(0, None), initialize=1.0)
    program = Program(money * ((m.x / unit + 0.53) ** 2 + (m.y - 0.47) ** 2 / 20))
    place = {v.name: i for i, v in enumerate(program.variables)}
    point = np.zeros(2)
    point[place["x"]], point[place["y"]] = beside * unit, 0.47 + 1e-6
    moved, _ = program.snapped(point, np.zeros(0))
    assert moved[place["x"]] == 0.0
    assert moved[place["y"]] == point[place["y"]]
