"""Solvers: every registered one on every class of problem, in one sign convention, each answer checked from outside."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import toll_game, work
from helpers.ipopt import REAL
from pyomo.contrib.solver.common.results import TerminationCondition
from scipy.optimize import linprog, minimize, minimize_scalar

import stackpyomo as sp
from stackpyomo.solvers import Program, Solution, Termination, choose, least_point, registry, rows_at, solve
from stackpyomo.solvers.interfaces import Scip
from stackpyomo.solvers.registry import _doubted

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


N, M = 3, 2


def test_auto_takes_pounce_without_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    assert choose("auto").name == "pounce"
    assert sp.leader_optimal(toll_game()).solver == "pounce"


"""What Ipopt's AMPL executable writes, from its AmplTNLP."""
"""The system hands the signal to another thread; the main one waits for a solver."""
"""Says more than a pipe holds before it leaves its mark: by then who waits for it is inside one read."""


@pytest.mark.parametrize("solver", [None, "auto"])
def test_the_least_of_a_cost_under_rows(solver: str | None) -> None:
    """By hand: x + y under x ≥ 1.5 and x + 2y ≥ 4.5; nothing where rows exclude each other, written out or not."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0, 9), initialize=1.0), pyo.Var(bounds=(0, 9), initialize=1.0)
    m.row = pyo.Constraint(expr=(4.5, m.x + 2 * m.y, None))
    answer = least_point(m.x + m.y, [m.x >= 1.5, m.row], solver)
    assert [answer[id(v)] for v in (m.x, m.y)] == pytest.approx([1.5, 1.5], abs=1e-6)
    (row,) = rows_at([m.row], {id(m.x): 4.0})
    assert least_point(m.y + 0.0, [row], solver)[id(m.y)] == pytest.approx(0.25, abs=1e-6)
    assert least_point(m.x + m.y, [m.x >= 10.0], solver) == {}
    assert least_point(m.x + m.y, rows_at([m.row], {id(m.x): 1.0, id(m.y): 1.0}), solver) == {}


def test_of_two_opinions_the_better_answer_and_the_lower_bound_count() -> None:
    """A point that one of them lost is no longer said not to be there; one that did not end has but its point."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 2))
    program = Program(m.x)

    def opinion(termination: Termination, x: float | None = None, bound: float = -math.inf) -> Solution:
        return Solution(termination, "", None if x is None else np.array([x]), bound=bound)

    right, wrong = opinion(Termination.OPTIMAL, 1.0, 1.0), opinion(Termination.OPTIMAL, 2.0, 2.0)
    for one, other in ((right, wrong), (wrong, right)):
        both = _doubted(program, one, other)
        assert both.bound == 1.0
        assert both.answer == pytest.approx([1.0])
    nowhere, better = opinion(Termination.INFEASIBLE), opinion(Termination.TIME_LIMIT, 0.5, 0.0)
    assert _doubted(program, nowhere, right).bound == 1.0
    for other in (opinion(Termination.TIME_LIMIT, 1.5, 0.0), opinion(Termination.FAILED), nowhere):
        assert _doubted(program, right, other) is right
    assert _doubted(program, right, better) is better, "a point of 0.5 refutes that 1 is the least"
    assert _doubted(program, nowhere, better) is better
    assert _doubted(program, nowhere, opinion(Termination.TIME_LIMIT)) is nowhere
    unknown = opinion(Termination.OPTIMAL, 1.0, math.nan)
    assert _doubted(program, unknown, better) is unknown


def test_two_opinions_have_one_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second has what the first left; where that is nothing there is none."""
    limits: list[float | None] = []

    def run(program: Program, options: Any, limit: float | None, *_: Any) -> Solution:
        limits.append(limit)
        time.sleep(0.05)
        return Solution(Termination.OPTIMAL, "", np.zeros(len(program.variables)), bound=0.0)

    monkeypatch.setitem(registry, "scip", replace(registry["scip"], run=run, version=lambda: "1"))
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0, 1)), pyo.Var(bounds=(0, 1e6))
    for limit, number in ((None, 2), (10.0, 2), (0.01, 1)):
        limits.clear()
        solve(Program(m.x + m.y), "scip", time_limit=limit)
        assert len(limits) == number
        assert limits[0] == limit
        assert limit is None or number == 1 or limits[1] <= limit - 0.05  # type: ignore[operator]
