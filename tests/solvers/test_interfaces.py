"""What a solver says is no proof where it cannot see the numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.solvers import Program, Termination, solve
from stackpyomo.solvers.interfaces import _Released


@pytest.mark.parametrize(("price", "at"), [(lambda p: p, 1e21), (lambda p: pyo.exp(-p), -100.0)])
def test_no_plan_is_proved_away_by_numbers_that_are_infinite_to_a_solver(
    price: Callable[[Any], Any], at: float
) -> None:
    """(u − 1)² + price u on [0, 2]: u = 0 is the equilibrium at any large price, its multiplier beyond 1e20."""
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var(initialize=at), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 2), initialize=0.0)
    m.f.cost = pyo.Objective(expr=(m.f.u - 1) ** 2 + price(m.p) * m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - 0.5) ** 2)
    game = sp.Game(m, m.f)
    assert sp.verify(sp.Plan.from_values(game)).ok
    with pytest.raises(sp.NoPlan) as refusal:
        sp.nash(game, leader={"p": at})
    assert "proved by" not in str(refusal.value)


def test_a_limit_in_processor_seconds_is_kept_on_a_busy_machine() -> None:
    """A model that stops by the clock goes on until the processor's share is spent, or it is done."""

    class Busy:
        """Each solve takes 0.05 s of the processor in 10 s by the clock, and the fourth ends it."""

        def __init__(self) -> None:
            self.limits, self.solves, self.last = [1.0], 0, 4

        def getParam(self, _: str) -> float:
            return self.limits[-1]

        def setParam(self, name: str, value: float) -> None:
            assert name == "limits/time"
            self.limits.append(value)

        def optimizeNogil(self) -> None:
            self.solves += 1
            until = time.thread_time() + 0.05
            while time.thread_time() < until:
                pass

        def getStatus(self) -> str:
            return "optimal" if self.solves >= self.last else "timelimit"

        def getSolvingTime(self) -> float:
            return 10.0 * self.solves

    model = Busy()
    released = _Released(model)
    released.setParam("timing/clocktype", 1)
    released.optimize()
    assert model.solves == 4
    assert model.limits[1:] == pytest.approx([10.95, 20.9, 30.85], abs=0.04)
    model = Busy()
    model.limits, model.last = [0.12], 99
    released = _Released(model)
    released.setParam("timing/clocktype", 1)
    released.optimize()
    assert model.solves == 3  # 0.12 s are spent
    model = Busy()
    _Released(model).optimize()
    assert model.solves == 1  # by the clock


ENDLESS = {
    "a hump": (lambda x: -0.5 * pyo.exp(-20 * (x - 2) ** 2) + 0.01 * x, (0, None), -0.480002),
    "a flat hump": (lambda x: -0.5 * pyo.exp(-20 * (x - 2) ** 4) + 0.01 * x, (0, None), -0.480471),
    "a step": (lambda x: -1 / (1 + pyo.exp(-20 * (x - 2))) + 0.1 * x, (0, None), -0.768533),
    "a root": (lambda x: (1 + 20 * (x - 2) ** 2) ** 0.5 - 3.6 * x, (None, None), -6.6067),
}
"""cost → its bounds, what it comes to somewhere: SCIP calls more than that its least."""


@pytest.mark.parametrize("name", ENDLESS)
def test_functions_of_what_has_no_end_are_not_believed(name: str) -> None:
    cost, bounds, known = ENDLESS[name]
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=bounds, initialize=0.0)
    solution = solve(Program(cost(m.x)), "scip", time_limit=20.0)
    assert not solution.bound > known + 1e-5


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
