"""Programs in arrays: the same answers as from an .nl text, by the same solver."""

from __future__ import annotations

import importlib
import signal
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.solvers import Program, array_programs, read_program, solve
from stackpyomo.solvers.array_programs import ArrayProgram

cooperative = importlib.import_module("stackpyomo.plans.cooperative")


def pairs(size: int = 40) -> Any:
    """Σ (x_i − i)² + e^(x_i/size) with x_i + x_{i+1} ≤ i and Σ x = size."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(size), bounds=(0, None), initialize=1.0)
    m.cost = pyo.Expression(expr=pyo.quicksum((m.x[i] - i) ** 2 + pyo.exp(m.x[i] / size) for i in range(size)))
    m.near = pyo.Constraint(range(size - 1), rule=lambda m, i: m.x[i] + m.x[i + 1] <= i + 1)
    m.all = pyo.Constraint(expr=pyo.quicksum(m.x.values()) == size)
    return m


def test_answers_and_multipliers_are_those_of_the_text() -> None:
    m = pairs()
    rows = [*m.near.values(), m.all]
    text, arrays = Program(m.cost, rows), read_program(m.cost, rows, {})
    assert isinstance(arrays, ArrayProgram)
    one, two = solve(text, "pounce"), solve(arrays, "pounce")
    assert two.termination.solved
    levels, known = arrays.levels(two.x), text.levels(one.x)
    assert levels == pytest.approx(known, abs=1e-9)
    assert two.duals[np.argsort(arrays.rows)] == pytest.approx(one.duals[np.argsort(text.rows)], abs=1e-7)
    assert arrays.residuals(two.x, two.duals).stationarity <= 1e-8
    assert sorted(arrays.variables[c].name for c in arrays.objective_columns) == sorted(v.name for v in m.x.values())
    assert not arrays.takes_roots
    assert not arrays.is_linear


@pytest.mark.parametrize("read", [Program, lambda cost: read_program(cost, [], {})], ids=["text", "arrays"])
def test_nothing_is_proved_where_a_root_of_0_is_taken(read: Any) -> None:
    m = pairs()
    program = read(pyo.quicksum(0.3 * x - 0.04 * pyo.sqrt(x) for x in m.x.values()))
    assert program.takes_roots
    nothing, duals = np.zeros(40), np.zeros(0)
    assert program.proved_gap(nothing, duals, 1.0) == np.inf
    assert program.proved_gap(nothing + 0.04**2 / 0.36, duals, 1.0) == pytest.approx(0.0, abs=1e-12)


def test_what_arrays_cannot_hold_is_left_to_the_text() -> None:
    m = pairs(3)
    m.whole = pyo.Var(domain=pyo.Integers)
    m.fixed = pyo.Var(initialize=1.0)
    m.fixed.fix()
    m.idle = pyo.Constraint(expr=m.fixed <= 2.0)
    assert read_program(m.cost + m.whole, [], {}) is None
    assert read_program(m.cost, [m.idle], {}) is None
    assert read_program(abs(m.x[0]), [], {}) is None


def street(size: int) -> sp.Game:
    m = pyo.ConcreteModel()
    m.price, m.home = pyo.Var(bounds=(-2, 2), initialize=0), pyo.Block(range(size))
    for i, home in m.home.items():
        home.u = pyo.Var(bounds=(0, 4), initialize=1)
        home.cost = pyo.Objective(expr=(home.u - 2 - i / size) ** 2 + m.price * home.u)
    m.goal = pyo.Objective(expr=m.price**2 + pyo.quicksum((h.u - 1 - i / size) ** 2 for i, h in m.home.items()))
    return sp.Game(m, followers=m.home)


def test_a_large_plan_goes_by_arrays_and_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    game = street(60)
    text = sp.leader_optimal(game)
    monkeypatch.setattr(cooperative, "_MANY", 50)
    plan = sp.leader_optimal(game)
    assert plan.values == pytest.approx(text.values, abs=1e-9)
    assert plan.quality == text.quality == "optimal"
    assert "build" not in plan.seconds, "no model is made of it"
    limited = sp.leader_optimal(game, time_limit=60)
    assert "build" in limited.seconds, "a process of its own can be ended"


def test_why_there_is_no_plan_is_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cooperative, "_MANY", 1)
    game = street(3)
    game.model.none = pyo.Constraint(expr=game.model.home[0].u + game.model.home[1].u >= 9)
    with pytest.raises(sp.NoPlan, match="No point satisfies all constraints"):
        sp.leader_optimal(sp.Game(game.model, followers=game.model.home))


def test_ctrl_c_is_no_point_without_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not raised while the library solves: what a function raises is a point without a value to a library."""
    monkeypatch.setattr(cooperative, "_MANY", 1)
    asked: list[int] = []
    whole = array_programs._Problem.hessian

    def hessian(problem: Any, *point: Any) -> Any:
        asked.append(1)
        if len(asked) == 3:
            signal.raise_signal(signal.SIGINT)
        return whole(problem, *point)

    monkeypatch.setattr(array_programs._Problem, "hessian", hessian)
    with pytest.raises(KeyboardInterrupt):
        sp.leader_optimal(street(20))
    assert len(asked) <= 4, "the library stops"


@pytest.mark.parametrize("unit", [1e-6, 1e5])
def test_other_units_go_by_arrays_too(unit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers far from 1 are solved in natural units, as a text is."""
    monkeypatch.setattr(cooperative, "_MANY", 1)
    plan = sp.leader_optimal(street(20))
    small = pyo.ConcreteModel()
    small.price, small.home = pyo.Var(bounds=(-2, 2), initialize=0), pyo.Block(range(20))
    for i, home in small.home.items():
        home.u = pyo.Var(bounds=(0, 4 * unit), initialize=unit)
        home.cost = pyo.Objective(expr=(home.u / unit - 2 - i / 20) ** 2 + small.price * home.u / unit)
    spread = pyo.quicksum((h.u / unit - 1 - i / 20) ** 2 for i, h in small.home.items())
    small.goal = pyo.Objective(expr=unit * (small.price**2 + spread))
    other = sp.leader_optimal(sp.Game(small, followers=small.home))
    assert "build" not in other.seconds
    assert other.leader_objective / unit == pytest.approx(plan.leader_objective, abs=1e-9)
    for i in range(20):
        assert other.value(f"home[{i}].u") / unit == pytest.approx(plan.value(f"home[{i}].u"), abs=1e-8)


def test_a_variant_has_its_own_start_and_limits() -> None:
    m = pairs(6)
    arrays = read_program(m.cost, [*m.near.values(), m.all], {})
    assert arrays is not None
    lower, upper = (side.copy() for side in arrays.bounds)
    lower[:], upper[:] = 0.5, 2.0
    other = arrays.variant(np.full(arrays.problem.n, 0.7), bounds=(lower, upper))
    answer = solve(other, "pounce")
    assert answer.x is not None
    assert ((answer.x >= 0.5 - 1e-9) & (answer.x <= 2.0 + 1e-9)).all()
    assert (arrays.bounds[0] == 0.0).all()
