"""Solvers: every registered one on every class of problem, in one sign convention, each answer checked from outside."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn, toll_game, work
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pyomo.contrib.solver.common.results import TerminationCondition
from scipy.optimize import linprog, minimize, minimize_scalar

import stackpyomo as sp
from stackpyomo.core import prefix, unbroken, unwinding
from stackpyomo.core.shutdown import sweep
from stackpyomo.solvers import Program, Solution, Termination, choose, registry, solve
from stackpyomo.solvers.interfaces import Scip

T = Termination
LOCAL, GLOBAL = (T.CONVERGED,), (T.OPTIMAL,)
GONE, ENDLESS = (T.INFEASIBLE,), (T.UNBOUNDED,)
REFUSED = "refused"  # InvalidGame before the solver is started
FAILS = (T.FAILED,)  # not its class: it says so, and holds nothing

CLASSES = ("LP", "QP", "NLP", "MIP", "infeasible", "unbounded")
MATRIX: dict[str, tuple[Any, ...]] = {
    "pounce": (LOCAL, LOCAL, LOCAL, REFUSED, GONE, ENDLESS),
    "ipopt": (LOCAL, LOCAL, LOCAL, REFUSED, GONE, ENDLESS),
    "cyipopt": (LOCAL, LOCAL, LOCAL, REFUSED, GONE, ENDLESS),
    "highs": (GLOBAL, GLOBAL, FAILS, GLOBAL, GONE, ENDLESS),
    "scip": (GLOBAL, GLOBAL, GLOBAL, GLOBAL, GONE, (T.UNBOUNDED, T.INFEASIBLE_OR_UNBOUNDED)),
    "gurobi": (GLOBAL, GLOBAL, FAILS, GLOBAL, GONE, (T.UNBOUNDED, T.INFEASIBLE_OR_UNBOUNDED)),
}
"""What each solver makes of each class. A solver may say that it does not know which of the two it is."""


def test_every_registered_solver_is_in_the_matrix() -> None:
    assert set(MATRIX) == set(registry), "give a new solver its row: what it makes of each class of problem"
    for name, info in registry.items():
        row = dict(zip(CLASSES, MATRIX[name], strict=True))
        solved = {kind for kind in ("LP", "QP", "NLP", "MIP") if row[kind] in (LOCAL, GLOBAL)}
        assert solved == info.classes & {"LP", "QP", "NLP", "MIP"}, f"{name}: registry and matrix agree"


def pounce() -> str:
    import pyomo_pounce

    return str(pyomo_pounce.POUNCE().executable())


Fake = Callable[[str], Path]


@pytest.fixture
def fake_ipopt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a shell script named ipopt first on the PATH; ``$sol`` is where its answer belongs."""
    if os.name == "nt":
        pytest.skip("needs a POSIX shell")
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.fspath(folder), prepend=os.pathsep)

    def write(body: str) -> Path:
        script = folder / "ipopt"
        version = 'if [ "$1" = "--version" ]; then echo "Ipopt 3.14.16 (fake)"; exit 0; fi'
        script.write_text(f'#!/bin/sh\n{version}\nsol="${{1%.nl}}.sol"\n{body}\n')
        script.chmod(0o755)
        return script

    return write


REAL = f'exec {shlex.quote(pounce())} "$@"'
RUN = f'{shlex.quote(pounce())} "$@" >/dev/null'


@pytest.fixture
def ready(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Skip a solver that is not here; without an ipopt executable POUNCE's plays it (same options, same files)."""

    def prepare(name: str) -> str:
        if name == "ipopt" and not registry[name].available:
            request.getfixturevalue("fake_ipopt")(REAL)
        if not registry[name].available:
            pytest.skip(f"{name} is not installed")
        return name

    return prepare


# --- the matrix ---------------------------------------------------------------------------------------------------


def lp() -> tuple[Any, Any, float, list[float]]:
    """Against scipy's linprog."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3), bounds=(0, 4), initialize=1.0)
    cost, rows, most = np.array([-3.0, -5.0, 1.0]), np.array([[1.0, 2, 0], [3, 2, 1]]), np.array([5.0, 11])
    m.rows = pyo.Constraint([0, 1], rule=lambda m, i: sum(rows[i, j] * m.x[j] for j in range(3)) <= most[i])
    oracle = linprog(cost, rows, most, bounds=(0, 4))
    return m, sum(cost[j] * m.x[j] for j in range(3)), oracle.fun, list(oracle.ineqlin.marginals)


def qp() -> tuple[Any, Any, float, list[float]]:
    """min (x − 3)² + 2 (y − 1)² s.t. x + y ≤ 1: the distance 3 is split as 1 : 1/2, λ = −4."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0)
    m.row = pyo.Constraint(expr=m.x + m.y <= 1)
    return m, (m.x - 3) ** 2 + 2 * (m.y - 1) ** 2, 2.0**2 + 2 * 1.0**2, [-4.0]


def nlp() -> tuple[Any, Any, float, list[float]]:
    """min eˣ + e⁻ˣ s.t. x ≥ 1: e + 1/e, and the row costs e − 1/e."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-5, 5), initialize=2.0)
    m.row = pyo.Constraint(expr=m.x**3 >= 1)
    return m, pyo.exp(m.x) + pyo.exp(-m.x), math.e + 1 / math.e, [(math.e - 1 / math.e) / 3]


def mip() -> tuple[Any, Any, float, None]:
    """A knapsack small enough to count out."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(4), domain=pyo.Binary, initialize=0)
    worth, weight = (5, 4, 3, 2), (4, 3, 2, 2)
    m.row = pyo.Constraint(expr=sum(w * x for w, x in zip(weight, m.x.values(), strict=True)) <= 6)
    choices = ([(c >> i) & 1 for i in range(4)] for c in range(16))
    best = max(np.dot(worth, c) for c in choices if np.dot(weight, c) <= 6)
    return m, -sum(w * x for w, x in zip(worth, m.x.values(), strict=True)), -float(best), None


def infeasible() -> tuple[Any, Any, None, None]:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0, 1), initialize=0.5), pyo.Var(bounds=(0, 1), initialize=0.5)
    m.row = pyo.Constraint(expr=m.x + m.y >= 3)
    return m, m.x + 2 * m.y, None, None


def unbounded() -> tuple[Any, Any, None, None]:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0, None), initialize=1.0), pyo.Var(bounds=(0, None), initialize=1.0)
    m.row = pyo.Constraint(expr=m.x - m.y <= 1)
    return m, -m.x - m.y, None, None


PROBLEMS = dict(zip(CLASSES, (lp, qp, nlp, mip, infeasible, unbounded), strict=True))


def rows_of(m: Any) -> list[Any]:
    return list(m.component_data_objects(pyo.Constraint))


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("name", registry)
def test_matrix(name: str, kind: str, ready: Callable[[str], str]) -> None:
    solver = ready(name)
    wanted = dict(zip(CLASSES, MATRIX[name], strict=True))[kind]
    m, objective, optimum, duals = PROBLEMS[kind]()
    held = [v.value for v in m.component_data_objects(pyo.Var)]
    program = Program(objective, rows_of(m))
    if wanted == REFUSED:
        with pytest.raises(sp.InvalidGame, match=rf"x\[.\]: an integer variable, and {name} is continuous.*scip"):
            solve(program, solver)
        return
    solution = solve(program, solver)
    assert solution.solver == name
    assert solution.termination in wanted, solution.message
    assert solution.message
    assert solution.termination.solved == (optimum is not None and wanted != FAILS)
    assert [v.value for v in m.component_data_objects(pyo.Var)] == held
    if not solution.termination.solved:
        return
    assert solution.x is not None
    assert program.problem.objective(solution.x) == pytest.approx(optimum, abs=1e-6)
    if math.isfinite(solution.bound):
        assert solution.bound == pytest.approx(optimum, abs=1e-6)
    if kind == "MIP":
        return
    assert program.residuals(solution.x, None).feasibility < 1e-7
    if "global" in registry[name].classes and solution.duals is None:
        return
    assert solution.duals is not None
    by_row = np.zeros(len(program.rows))
    by_row[program.rows] = solution.duals
    assert by_row == pytest.approx(duals, abs=1e-5)
    residuals = program.residuals(solution.x, solution.duals)
    assert max(residuals.as_dict().values()) < 1e-6


@pytest.mark.parametrize("name", registry)
def test_time_limits(name: str, ready: Callable[[str], str]) -> None:
    """A market split for those who branch, a curved valley for the others; nobody calls a time limit optimal."""
    solver = ready(name)
    m = pyo.ConcreteModel()
    draw = np.random.default_rng(1).integers
    if "MIP" in registry[name].classes:
        m.x = pyo.Var(range(50), domain=pyo.Binary, initialize=0)
        rows = [sum(int(draw(0, 100)) * v for v in m.x.values()) == 1200 + i for i in range(6)]
        program = Program(sum(m.x.values()), rows)
    else:
        m.x = pyo.Var(range(4000), initialize=-1.2)
        x = m.x
        program = Program(sum(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(3999)))
    began = work()
    solution = solve(program, solver, time_limit=0.5)
    assert work() - began < 15
    assert solution.termination is T.TIME_LIMIT


@pytest.mark.parametrize("limit", [-0.5, 0.5])
@pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")
def test_scip_knows_hyperbolic_functions_and_ranges_that_are_equalities(limit: float) -> None:
    """min cosh(x) − 2 y with tanh(x) + sinh(y) = limit: by SciPy's bounded search along x."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(-3, 3)), pyo.Var(bounds=(-3, 3))
    cost, row = pyo.cosh(m.x) - 2 * m.y, pyo.inequality(limit + 1, pyo.tanh(m.x) + pyo.sinh(m.y) + 1, limit + 1)
    found = solve(Program(cost, [row]), "scip")
    known = minimize_scalar(lambda x: math.cosh(x) - 2 * math.asinh(limit - math.tanh(x)), bounds=(-3, 3))
    assert found.termination is T.OPTIMAL
    assert found.bound == pytest.approx(known.fun, abs=1e-4)


@pytest.mark.parametrize("lies", [1, 2])
@pytest.mark.parametrize("power", [1, 3])
@pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")
def test_a_curved_problem_is_called_infeasible_twice_or_not_at_all(
    lies: int, power: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SCIP that says so once or twice of a problem that is not; a linear one is not asked again."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 2))
    truth, settings = Scip.solve, list[dict[str, Any]]()

    def lie(self: Any, model: Any, **given: Any) -> Any:
        settings.append(given["solver_options"])
        results = truth(self, model, **given)
        if len(settings) <= lies:
            results.termination_condition = TerminationCondition.provenInfeasible
        return results

    monkeypatch.setattr(Scip, "solve", lie)
    found = solve(Program(m.x, [m.x**power >= 1]), "scip")
    assert found.termination is (T.OPTIMAL if lies == 1 and power == 3 else T.INFEASIBLE)
    assert len(settings) == (2 if power == 3 else 1)
    assert len({tuple(sorted(each.items())) for each in settings}) == len(settings), "the same settings again"


@pytest.mark.parametrize("initial", [None, 0.3])
@pytest.mark.parametrize("name", [n for n in registry if registry[n].ipopt_options])
def test_a_start_decides_between_two_valleys(name: str, initial: float | None, ready: Callable[[str], str]) -> None:
    """min (x² − 1)² + x/10 has a minimum on each side: the outer roots of 4x³ − 4x + 1/10."""
    solver = ready(name)
    left, _, right = sorted(np.roots([4, 0, -4, 0.1]).real)
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(-3, 3), initialize=initial), pyo.Var()
    program = Program((m.x**2 - 1) ** 2 + 0.1 * m.x + (m.y - m.x) ** 2)
    for start, wanted in ((-2.0, left), (2.0, right), (-0.5, left)):
        solution = solve(program, solver, start=np.array([start, start]))
        assert solution.x == pytest.approx([wanted, wanted], abs=1e-6)
    assert (m.x.value, m.y.value) == (initial, None)
    m.driver = pyo.Block()
    m.driver.z = pyo.Var(bounds=(0, 1))
    m.driver.cost = pyo.Objective(expr=m.driver.z**2)
    m.goal = pyo.Objective(expr=(m.x**2 - 1) ** 2 + 0.1 * m.x + (m.y - m.x) ** 2)
    plan = sp.leader_optimal(sp.Game(m, m.driver), solver=solver, starts=6)
    assert plan.value(m.x) == pytest.approx(left, abs=1e-6), "the better one is kept"
    found = {round(entry["objective"], 6) for entry in plan.log}
    assert found == {round((v**2 - 1) ** 2 + 0.1 * v, 6) for v in (left, right)}
    assert plan.quality == "feasible", "nothing is proved of a nonconvex plan"


# --- signs of duals -----------------------------------------------------------------------------------------------


def least(name: str, level: float) -> float:
    """scipy's minimum of (x − 3)² + 2 (y − 1)² + (z + 4)² with the row ``name`` at ``level``."""
    below, above = ("ineq", -1.0, level), ("ineq", 1.0, level)
    rows = {
        "<=": [below],
        ">=": [above],
        "==": [("eq", 1.0, level)],
        "range": [below, ("ineq", 1.0, -9.0)],
        "range below": [above, ("ineq", -1.0, 9.0)],
        "flipped": [("ineq", -1.0, -level)],
        "moved": [below],
    }
    found = minimize(
        lambda v: (v[0] - 3) ** 2 + 2 * (v[1] - 1) ** 2 + (v[2] + 4) ** 2,
        np.zeros(3),
        jac=lambda v: np.array([2 * (v[0] - 3), 4 * (v[1] - 1), 2 * (v[2] + 4)]),
        constraints=[
            {"type": kind, "fun": lambda v, w=w, c=c: w * (v.sum() - c), "jac": lambda v, w=w: w * np.ones(3)}
            for kind, w, c in rows[name]
        ],
        bounds=[(None, None), (None, None), (-2, 2)],
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert found.success
    return float(found.fun)


ROWS: dict[str, tuple[Callable[[Any, Any, float], Any], float]] = {
    "<=": (lambda m, s, b: s <= b, 1.0),
    ">=": (lambda m, s, b: s >= b, 6.0),
    "==": (lambda m, s, b: s == b, 1.0),
    "range": (lambda m, s, b: (-9, s, b), 1.0),
    "range below": (lambda m, s, b: (b, s, 9), 6.0),
    "flipped": (lambda m, s, b: -s >= b, -1.0),
    "moved": (lambda m, s, b: s + m.held - b <= 0, 1.0),
}
"""How the row is written and the level where it is active; "moved": everything on the left, and a fixed Var."""


@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize], ids=["min", "max"])
@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("name", [n for n in registry if "QP" in registry[n].classes])
def test_a_multiplier_is_the_derivative_of_the_optimal_value(
    name: str, kind: str, sense: Any, ready: Callable[[str], str]
) -> None:
    """In the sense the user wrote: d(leader's objective)/d(right-hand side)."""
    solver = ready(name)
    write, level = ROWS[kind]
    sign = 1 if sense == pyo.minimize else -1
    step = 1e-3
    slope = sign * (least(kind, level + step) - least(kind, level - step)) / (2 * step)
    m = pyo.ConcreteModel()
    m.x, m.z = pyo.Var(initialize=0.0), pyo.Var(bounds=(-2, 2), initialize=0.0)
    m.held = pyo.Var(initialize=0.0)
    m.held.fix()
    m.driver = pyo.Block()
    m.driver.y = pyo.Var(initialize=0.0)
    m.driver.cost = pyo.Objective(expr=(m.driver.y - m.x) ** 2)
    m.idle = pyo.Constraint(expr=m.x + m.z <= 100)
    m.driver.row = pyo.Constraint(expr=write(m, m.x + m.driver.y + m.z, level))
    cost = (m.x - 3) ** 2 + 2 * (m.driver.y - 1) ** 2 + (m.z + 4) ** 2
    m.goal = pyo.Objective(expr=sign * cost, sense=sense)
    plan = sp.leader_optimal(sp.Game(m, m.driver), solver=solver)
    assert plan.leader_objective == pytest.approx(sign * least(kind, level), abs=1e-5)
    assert abs(slope) > 0.5, "the row is active"
    assert plan.multipliers["driver.row"] == pytest.approx(slope, abs=2e-4)
    assert plan.multipliers["idle"] == pytest.approx(0.0, abs=1e-4)
    assert set(plan.multipliers) == {"driver.row", "idle"}


@pytest.mark.parametrize("unit", [1e-3, 1e6, 1e8])
@pytest.mark.parametrize("name", [n for n in registry if "QP" in registry[n].classes])
def test_units_do_not_matter(name: str, unit: float, ready: Callable[[str], str]) -> None:
    """The driver counts in euros, in thousands or in cents: the same toll, the same verdict."""
    solver = ready(name)
    m = toll_game().model
    m.driver.cost.set_value(unit * m.driver.cost.expr)
    plan = sp.leader_optimal(sp.Game(m, m.driver), solver=solver)
    rule = sp.affine_incentive(plan, solver=solver)
    assert rule.gain.loc["toll", "driver.flow"] == pytest.approx(4 / 3, abs=1e-4)
    report = sp.verify(rule, solver=solver)
    assert report.ok, report.note["driver"]
    constant = sp.verify(plan, solver=solver)
    assert not constant.ok
    assert constant.regret["driver"] == pytest.approx(0.16 * unit, rel=1e-3)


# --- residuals and proved gaps, recomputed by hand ------------------------------------------------------------------

quick = settings(
    max_examples=drawn(60),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
figure = st.floats(-4, 4).map(lambda v: round(v, 3))
N, M = 3, 2


def vector(n: int, elements: Any = figure) -> Any:
    return arrays.arrays(float, n, elements=elements)


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


@pytest.mark.parametrize("off", [0.0, 1e-5, 0.01, 0.3])
def test_a_solver_that_stops_early_is_not_called_optimal(off: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """It claims convergence at toll = off, flow = 0.6 + off, where the leader loses 1.01 off² against the optimum 0."""
    game = toll_game()

    def run(program: Program, *_: Any) -> Solution:
        point = {"toll": off, "driver.flow": 0.6 + off}
        return Solution(T.CONVERGED, "so it says", np.array([point[v.name] for v in program.variables]), np.zeros(0))

    monkeypatch.setitem(registry, "pounce", dataclasses.replace(registry["pounce"], run=run))
    plan = sp.leader_optimal(game, solver="pounce")
    lost = 1.01 * off**2
    assert plan.leader_objective == pytest.approx(lost, abs=1e-15)
    assert plan.epsilon0 >= lost * (1 - 1e-9)
    assert plan.bound <= 1e-15
    assert 0.1 * plan.epsilon0 <= plan.gap <= 10.0 * plan.epsilon0, "relative to what is at stake in the box"
    assert plan.quality == ("optimal" if off == 0.0 else "feasible")
    assert plan.residuals["complementarity"] + plan.residuals["stationarity"] >= 0.01 * off


# --- choosing, and the ipopt executable -----------------------------------------------------------------------------


def test_auto_takes_an_ipopt_executable_if_there_is_one(fake_ipopt: Fake) -> None:
    script = fake_ipopt(f'echo "$@" > {{}}/seen\n{REAL}'.replace("{}", '"$(dirname "$0")"'))
    assert choose("auto").name == "ipopt"
    plan = sp.leader_optimal(toll_game())
    assert plan.solver == "ipopt"
    assert plan.value("driver.flow") == pytest.approx(0.6, abs=1e-7)
    options = (script.parent / "seen").read_text().split()
    assert options[0].endswith(".nl")
    assert options[1] == "-AMPL"
    assert {"tol=1e-10", "bound_relax_factor=0.0", "sb=yes"} <= set(options)
    rule = sp.affine_incentive(plan)
    assert rule.gain.loc["toll", "driver.flow"] == pytest.approx(4 / 3, abs=1e-6)
    report = sp.verify(rule)
    assert (report.ok, report.solver) == (True, "ipopt")


def test_auto_takes_pounce_without_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    assert choose("auto").name == "pounce"
    assert sp.leader_optimal(toll_game()).solver == "pounce"


def limited() -> sp.Game:
    """The toll game with a row, so that there are duals to lose."""
    m = toll_game().model
    m.cap = pyo.Constraint(expr=m.driver.flow + m.toll <= 0.5)
    return sp.Game(m, m.driver)


SAVED = f'{RUN}\ncp "$sol" "$sol.full"\n'
SHORT = """sed -e '10,11s/2/1/' -e '$!N;/\\nobjno/!P;D' "$sol.full" > "$sol"\n"""
NAN = """awk 'NR > 1 {print /^objno/ ? "nan" : last} {last = $0} END {print}' "$sol.full" > "$sol"\n"""
BAD_ANSWERS: dict[str, tuple[str, str]] = {
    "kills itself": ("kill -9 $$", "killed"),
    "is ended": ("kill -15 $$", "killed"),
    "garbage": ('echo "once upon a time" > "$sol"', "failed"),
    "bytes": ("printf '\\377\\376\\000\\201' > \"$sol\"", "failed"),
    "an empty answer": (': > "$sol"', "failed"),
    "cut in the middle of a number": (SAVED + 'head -c 90 "$sol.full" > "$sol"', "failed"),
    "without its last lines": (SAVED + 'head -n 13 "$sol.full" > "$sol"', "failed"),
    "without its code": (SAVED + 'grep -v objno "$sol.full" > "$sol"', "failed"),
    "one variable short": (SAVED + SHORT, "failed"),
    "nan for a value": (SAVED + NAN, "failed"),
    "an exit code": ('echo "EXIT: licence expired" >&2; exit 3', "failed"),
    "an exit code in silence": ("exit 3", "failed"),
    "no answer": ("exit 0", "failed"),
}


@pytest.mark.parametrize("make", [toll_game, limited])
def test_the_answers_are_cut_where_they_should_be(make: Callable[[], sp.Game], fake_ipopt: Fake) -> None:
    """What the cases below count on: lines 10 and 11 say how many values follow, the last of them before the code."""
    keep = 'test -e "$(dirname "$0")/nan" || cp'  # what is asked after a failure is another problem
    save = [f'{keep} "{text}" "$(dirname "$0")/{name}"\n' for text, name in (("$sol.full", "full"), ("$sol", "short"))]
    script = fake_ipopt(SAVED + SHORT + "".join(save) + NAN + f'{keep} "$sol" "$(dirname "$0")/nan"')
    with contextlib.suppress(sp.NoPlan):
        sp.leader_optimal(make(), solver="ipopt")
    full, short, nan = ((script.parent / name).read_text().splitlines() for name in ("full", "short", "nan"))
    code = next(i for i, line in enumerate(full) if line.startswith("objno"))
    assert full[9:11] == ["2", "2"]
    assert short == [*full[:9], "1", "1", *full[11 : code - 1], *full[code:]]
    assert nan == [*full[: code - 1], "nan", *full[code:]]


@pytest.mark.parametrize("make", [toll_game, limited])
@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_answers_that_are_none(case: str, make: Callable[[], sp.Game], fake_ipopt: Fake) -> None:
    body, termination = BAD_ANSWERS[case]
    fake_ipopt(body)
    with pytest.raises(sp.NoPlan) as caught:
        sp.leader_optimal(make(), solver="ipopt")
    assert caught.value.termination == termination
    assert "ipopt" in str(caught.value)
    assert "Try another solver=" in str(caught.value)
    if case == "an exit code":
        assert "licence expired" in str(caught.value)


CODES = [
    (0, "Optimal Solution Found", T.CONVERGED),
    (100, "Solved To Acceptable Level.", T.CONVERGED),  # as cyipopt's status 1: the residuals say how good it is
    (200, "Converged to a locally infeasible point.", T.INFEASIBLE),
    (300, "Iterates diverging; problem might be unbounded.", T.UNBOUNDED),
    (400, "Maximum Number of Iterations Exceeded.", T.ITERATION_LIMIT),
    (401, "Maximum CPU Time Exceeded.", T.TIME_LIMIT),
    (500, "Search Direction becomes Too Small.", T.FAILED),
    (501, "Invalid number in NLP function or derivative detected.", T.FAILED),
]
"""What Ipopt's AMPL executable writes, from its AmplTNLP."""


@pytest.mark.parametrize(("code", "message", "wanted"), CODES)
def test_what_ipopt_says(code: int, message: str, wanted: Termination, fake_ipopt: Fake) -> None:
    edit = f"sed -e '1s/.*/Ipopt 3.14.16: {message}/' -e 's/^objno 0 0/objno 0 {code}/' \"$sol.full\" > \"$sol\""
    fake_ipopt(SAVED + edit)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 5), initialize=1.0)
    solution = solve(Program((m.x - 3) ** 2), "ipopt")
    assert solution.termination is wanted
    assert message in solution.message


@pytest.mark.parametrize("text", ["no program", "#!/no/such/interpreter\n"])
def test_an_ipopt_that_does_not_start(text: str, fake_ipopt: Fake) -> None:
    """A file of another machine, say."""
    fake_ipopt("").write_text(text)
    with pytest.raises(sp.StackpyomoError) as caught:
        sp.leader_optimal(toll_game(), solver="ipopt")
    assert "ipopt" in str(caught.value)


def test_a_file_that_may_not_be_run_is_not_installed(fake_ipopt: Fake) -> None:
    fake_ipopt("").chmod(0o644)
    if registry["ipopt"].available:
        pytest.skip("there is another ipopt behind it")
    with pytest.raises(sp.SolverNotAvailable, match="not installed"):
        sp.leader_optimal(toll_game(), solver="ipopt")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_time_limit_ends_the_solver_and_what_it_started(fake_ipopt: Fake) -> None:
    """An ipopt that is a wrapper script, as conda's may be: the program behind it must not go on."""
    script = fake_ipopt('sleep 60 &\necho $! > "$(dirname "$0")/pid"\nwait')
    began = time.monotonic()
    with pytest.raises(sp.NoPlan, match="time limit") as caught:
        sp.leader_optimal(limited(), solver="ipopt", time_limit=0.5)
    assert time.monotonic() - began < 50
    assert caught.value.termination == "time limit"
    behind = int((script.parent / "pid").read_text())
    try:
        end = time.monotonic() + 30
        while alive(behind) and time.monotonic() < end:
            time.sleep(0.05)
        assert not alive(behind)
    finally:
        if alive(behind):
            os.kill(behind, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["_execute_child", "communicate"])
def test_a_signal_while_the_solver_is_started(
    number: signal.Signals, moment: str, fake_ipopt: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to end between the start of a process and its being somebody's: it ends all the same."""
    started: list[subprocess.Popen[str]] = []
    act = getattr(subprocess.Popen, moment)

    def told(self: Any, *args: Any, **others: Any) -> Any:
        if "-AMPL" not in self.args:  # it is only asked for its version
            return act(self, *args, **others)
        started.append(self)
        if moment == "_execute_child":
            act(self, *args, **others)
            signal.raise_signal(number)
            return None
        signal.raise_signal(number)
        return act(self, *args, **others)

    fake_ipopt("exec sleep 60")
    monkeypatch.setattr(subprocess.Popen, moment, told)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), unwinding("told"):
        sp.leader_optimal(toll_game(), solver="ipopt")
    assert [process.returncode for process in started] == [-signal.SIGKILL]
    assert signal.getsignal(signal.SIGTERM) is before


STUBBORN = """
import os, signal, threading, time
from stackpyomo.core import prefix, unbroken, unwinding
from stackpyomo.core.shutdown import sweep

def nag():
    time.sleep(0.5)
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)

with unwinding("gone", patience=1.0):
    threading.Thread(target=nag, daemon=True).start()
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass
"""


def test_who_is_told_again_and_again_is_not_given_more_time() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", STUBBORN], capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[1]
    )
    assert (done.returncode, done.stderr.strip()) == (128 + signal.SIGTERM, "gone")
    assert time.monotonic() - began < 30


TWICE = """
import os, signal, time
from stackpyomo.core import unwinding

with unwinding("gone"):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.3)
        print("cleaned up")
"""


def test_a_second_signal_does_not_disturb_who_cleans_up() -> None:
    done = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "cleaned up\n", "")


def test_a_signal_among_the_handlers_leaves_them_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while they are set, or while they are given back."""
    work, calls, at = signal.signal, [0], [0]
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def told(number: int, handler: Any) -> Any:
        found = work(number, handler)
        calls[0] += 1
        if calls == at:
            signal.raise_signal(signal.SIGINT)
        return found

    with monkeypatch.context() as patch, unwinding():
        inner = signal.getsignal(signal.SIGTERM)
        patch.setattr(signal, "signal", told)
        for call in range(1, 7):
            calls[0], at[0] = 0, call
            with contextlib.suppress(KeyboardInterrupt), unbroken():
                pass
            assert signal.getsignal(signal.SIGINT) is before[signal.SIGINT]
            assert signal.getsignal(signal.SIGTERM) is inner
        patch.undo()
    assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]


def test_the_marks_of_another_process_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder left by an earlier process of our number names a solver that is somebody else's by now."""
    monkeypatch.setattr("tempfile.tempdir", os.fspath(tmp_path))
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        for folder in (f"stackpyomo-{os.getpid()}-abc", f"{prefix()}abc"):
            (tmp_path / folder).mkdir()
        (tmp_path / f"stackpyomo-{os.getpid()}-abc" / f"{stranger.pid}.pid").touch()
        (tmp_path / f"{prefix()}abc" / "none.pid").touch()
        sweep(prefix())
        assert [path.name for path in tmp_path.iterdir()] == [f"stackpyomo-{os.getpid()}-abc"]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


ELSEWHERE = """
import os, signal, sys, threading, time
from pathlib import Path
from conftest import toll_game
import stackpyomo as sp
from stackpyomo.core import prefix, unbroken, unwinding
from stackpyomo.core.shutdown import sweep

def tell():
    while not Path(sys.argv[2]).exists():
        time.sleep(0.01)
    signal.pthread_kill(threading.get_ident(), int(sys.argv[1]))

try:
    with unwinding("gone", patience=2.0 if sys.argv[3] == "deaf" else 30.0):
        threading.Thread(target=tell, daemon=True).start()
        if sys.argv[3] == "deaf":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGURG])
        sp.leader_optimal(toll_game(), solver="ipopt")
except KeyboardInterrupt as told:
    print(type(told).__name__)
"""
"""The system hands the signal to another thread; the main one waits for a solver."""
CHATTY = "dd if=/dev/zero bs=1000 count=1000 2> /dev/null; echo $$ > {mark}; exec sleep 60"
"""Says more than a pipe holds before it leaves its mark: by then who waits for it is inside one read."""


@pytest.mark.parametrize(
    ("number", "main", "code", "out", "err"),
    [
        (signal.SIGTERM, "waits", 0, "Terminated", ""),
        (signal.SIGINT, "waits", 0, "KeyboardInterrupt", ""),
        (signal.SIGTERM, "deaf", 128 + signal.SIGTERM, "", "gone"),
    ],
)
def test_a_signal_that_another_thread_was_given(
    number: int, main: str, code: int, out: str, err: str, fake_ipopt: Fake, tmp_path: Path
) -> None:
    mark = tmp_path / "pid"
    fake_ipopt(CHATTY.format(mark=shlex.quote(str(mark))))
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(int(number)), str(mark), main],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (code, out, err)
    assert not alive(int(mark.read_text()))
    assert list(tmp_path.glob("stackpyomo-*")) == []


def test_a_failed_verification_is_unknown(fake_ipopt: Fake) -> None:
    fake_ipopt(REAL)
    plan = sp.leader_optimal(limited(), solver="ipopt")
    for body in ("kill -9 $$", 'echo garbage > "$sol"', "exit 3"):
        fake_ipopt(body)
        report = sp.verify(plan, solver="ipopt")
        assert not report.ok
        assert list(report.certificate) == ["unknown"]
        assert math.isnan(report.regret["driver"])
        assert "ipopt" in report.note["driver"] or "stopped" in report.note["driver"]


def test_a_solution_is_plain_data() -> None:
    """What the log of a plan holds goes into JSON as it is."""
    plan = sp.leader_optimal(limited(), starts=2)
    assert json.loads(json.dumps(plan.log)) == plan.log
    assert [entry["termination"] for entry in plan.log] == ["converged", "converged"]
    assert Solution(T.FAILED, "").x is None
