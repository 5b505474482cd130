"""Functions of what has no end: what SCIP says of them as far as it counts is believed only where it holds beyond."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.solvers import Program, Termination, solve
from stackpyomo.solvers.endless import endless_arguments, is_known_afar, within_rows

ENDLESS = {
    "a hump": (lambda x: -0.5 * pyo.exp(-20 * (x - 2) ** 2) + 0.01 * x, (0, None), -0.480002),
    "a flat hump": (lambda x: -0.5 * pyo.exp(-20 * (x - 2) ** 4) + 0.01 * x, (0, None), -0.480471),
    "a step": (lambda x: -1 / (1 + pyo.exp(-20 * (x - 2))) + 0.1 * x, (0, None), -0.768533),
    "a root": (lambda x: (1 + 20 * (x - 2) ** 2) ** 0.5 - 3.6 * x, (None, None), -6.6067),
    "a tail": (lambda x: (1 + x) ** -0.05, (0, None), 0.1),
    "a tail beyond a valley": (lambda x: (1 + x) ** -0.05 - 0.95 * pyo.exp(-x), (0, None), 1e-3),
    "a limit": (lambda x: -x / (1 + x), (0, None), -1.0),
}
"""cost → its bounds, what it comes to somewhere: SCIP calls more than that its least."""


@pytest.mark.parametrize("name", ENDLESS)
def test_functions_of_what_has_no_end_are_not_believed(name: str) -> None:
    cost, bounds, known = ENDLESS[name]
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=bounds, initialize=0.0)
    solution = solve(Program(cost(m.x)), "scip", time_limit=20.0)
    assert not solution.bound > known + 1e-5


def test_an_end_that_several_variables_come_to_together_is_not_believed() -> None:
    """(1 + x + z)^(−1/20) falls to 0; SCIP calls 0.2 its least, at x = z = 5e13."""
    m = pyo.ConcreteModel()
    m.x, m.z = (pyo.Var(bounds=(0, None), initialize=0.0) for _ in range(2))
    assert not solve(Program((1 + m.x + m.z) ** -0.05), "scip", time_limit=20.0).bound > 0.1


def test_functions_of_affine_arguments_and_within_bounds_are_believed() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, None), initialize=0.0)
    solution = solve(Program(0.1 * m.x - pyo.log(1 + m.x)), "scip")
    assert solution.termination is Termination.OPTIMAL
    assert solution.bound == pytest.approx(0.9 - math.log(10.0), abs=1e-4)
    m.x.setub(1e3)
    limited = solve(Program(ENDLESS["a hump"][0](m.x)), "scip", time_limit=20.0)
    assert limited.termination is Termination.OPTIMAL
    assert limited.bound == pytest.approx(-0.480002, abs=1e-4)


@pytest.mark.parametrize("limit", [2.0, 1e3])
def test_what_rows_limit_has_an_end(limit: float) -> None:
    """√(1 + x² + z²) − x/2 is √¾ at least; a row, not bounds, ends its argument, and one of z alone does not."""
    m = pyo.ConcreteModel()
    m.x, m.z = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0)
    cost = pyo.sqrt(1 + m.x**2 + m.z**2) - m.x / 2
    program = Program(cost, [m.x**2 + m.z**2 <= limit**2])
    assert endless_arguments(program)
    assert not endless_arguments(within_rows(program))
    solution = solve(program, "scip", time_limit=20.0)
    assert solution.termination is Termination.OPTIMAL
    assert solution.bound == pytest.approx(0.75**0.5, abs=1e-5)
    assert (m.x.bounds, m.z.bounds) == ((None, None), (None, None))
    half = Program(cost, [m.z**2 <= limit**2])
    assert endless_arguments(within_rows(half))
    assert math.isnan(solve(half, "scip", time_limit=20.0).bound)


def endless(cost: Callable[[Any], Any], low: float | None, *rows: Callable[[Any], Any]) -> Program:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(low, None), initialize=1.0)
    m.z = pyo.Var(initialize=1.0)
    m.rows = pyo.ConstraintList()
    for row in rows:
        m.rows.add(row(m))
    return Program(cost(m), list(m.rows.values()))


KNOWN: dict[str, tuple[Program, float, bool]] = {
    "the cost climbs": (endless(lambda m: 0.1 * m.x - pyo.log(1 + m.x), 0.0), -1.5, True),
    "the cost falls": (endless(lambda m: -pyo.log(1 + m.x), 0.0), -44.0, False),
    "no less than the bound": (endless(lambda m: pyo.exp(-m.x), 0.0), 0.0, True),
    "less than the bound": (endless(lambda m: (1 + m.x) ** -0.05, 0.0), 0.17, False),
    "a logarithm has no value": (endless(lambda m: m.x - pyo.log(m.x), None), 1.0, True),
    "a row ends it": (endless(lambda m: -pyo.log(1 + m.x), 0.0, lambda m: m.x + pyo.exp(-m.x) <= 9.0), -3.0, True),
    "a row lets it go": (endless(lambda m: -m.z, 0.0, lambda m: m.z <= pyo.log(1 + m.x)), -44.0, False),
    "a row is in nobody's way": (endless(lambda m: m.x - m.z, 0.0, lambda m: m.z + pyo.exp(m.x) <= 1.0), 0.0, True),
    "its other side is": (endless(lambda m: m.x, 0.0, lambda m: pyo.sqrt(m.x) >= m.z + 1.0), math.inf, False),
    "a point far out": (endless(lambda m: 0.0 * m.x, 0.0, lambda m: pyo.log(1 + m.x) >= 60.0), math.inf, False),
    "none there either": (endless(lambda m: 0.0 * m.x, 0.0, lambda m: 1 / (1 + m.x) >= 2.0), math.inf, True),
    "a curved argument": (endless(lambda m: pyo.exp(m.x * m.x), 0.0), 1.0, False),
}
"""What is said of a program as far as one counts: a bound, infinite where it is called infeasible; is it so beyond?"""


@pytest.mark.parametrize("name", KNOWN)
def test_what_holds_beyond(name: str) -> None:
    program, bound, holds = KNOWN[name]
    assert is_known_afar(program, endless_arguments(program), bound) is holds


def test_a_program_that_is_feasible_beyond_what_scip_counts_is_not_called_infeasible() -> None:
    program = endless(lambda m: 0.0 * m.z, 0.0, lambda m: m.z <= pyo.log(1 + m.x), lambda m: m.z >= 60.0)
    assert solve(program, "scip", time_limit=20.0).termination is not Termination.INFEASIBLE


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["auto", "scip"])
def test_a_leader_whose_cost_falls_ever_more_slowly_has_no_optimum(solver: str) -> None:
    m = pyo.ConcreteModel()
    m.u, m.z, m.x = pyo.Var(bounds=(0, 1)), pyo.Var(initialize=0.1), pyo.Var(bounds=(0, None), initialize=1.0)
    m.cost = pyo.Objective(expr=0.01 * m.u - m.z)
    m.least = pyo.Constraint(expr=m.z <= pyo.log(1 + m.x))
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 1))
    m.f.cost = pyo.Objective(expr=(m.f.y - m.u) ** 2)
    assert sp.stackelberg(sp.Game(m, m.f), solver=solver, time_limit=20.0).quality != "optimal"
