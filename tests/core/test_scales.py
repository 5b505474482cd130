"""Scales: natural units move with the units the model is written in, and with nothing else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.core import limited_reaches
from stackpyomo.derivatives import FollowerRows
from stackpyomo.solvers import Program, scales_of


def units_of(expression: Any, rows: list[Any] | None = None) -> tuple[dict[str, float], Any]:
    program = Program(expression, rows or [])
    x = np.array([v.value for v in program.variables], dtype=float)
    found = scales_of(program, x)
    return dict(zip((v.name for v in program.variables), found.reaches, strict=True)), found


@pytest.mark.parametrize(
    ("level", "lower", "upper", "reach"),
    [
        (0.6, 0.0, 1.0, 1.0),  # a box
        (0.0, -2.0, 2.0, 4.0),
        (1e-9, 0.0, 12.0, 12.0),  # a solver's 0
        (3.0, 0.0, 1e6, 30.0),  # a box that is no limit
        (1e6 + 0.5, 1e6, 1e6 + 1.0, 1.0),
        (3.0, 0.0, math.inf, 3.0),
        (0.0, 0.0, math.inf, 0.0),  # nothing tells
        (5.0, 5.0, math.inf, 5.0),
        (0.0, -5.0, math.inf, 5.0),
        (-7.0, -math.inf, math.inf, 7.0),
        (1e-17, -math.inf, math.inf, 0.0),
    ],
)
@pytest.mark.parametrize("unit", [1.0, 1e-7, 1e7])
def test_a_reach_is_read_off_bounds_and_level(
    level: float, lower: float, upper: float, reach: float, unit: float
) -> None:
    at = (np.array([side * unit]) for side in (level, lower, upper))
    assert limited_reaches(*at) == pytest.approx([reach * unit])


def test_where_bounds_and_level_tell_nothing_the_functions_do() -> None:
    m = pyo.ConcreteModel()
    m.u, m.t, m.s = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0), pyo.Var(bounds=(0, 8), initialize=0.0)
    reaches, found = units_of((m.u - 3) ** 2 + m.t * m.u, [m.t - 2 * m.s == 0])
    assert reaches["u"] == pytest.approx(3.0), "its slope of −6 is gone after 3 of its units"
    assert reaches["t"] == pytest.approx(16.0, rel=1.0)
    assert found.of_rows()[0] == pytest.approx(18.0, rel=0.2)


def test_only_a_function_without_any_size_has_units_of_1() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=0.0)
    assert units_of(5 * m.x)[0] == {"x": 1.0}
    m.x.set_value(1e-12)
    assert units_of(m.x**2)[0] == {"x": 1.0}, "the rounding of a 0 is no size"


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-9, 2.5e-7, 1e-5, 1e-4])
@pytest.mark.parametrize("unit", [1.0, 1e-7, 1e7])
@pytest.mark.parametrize("bounds", [(None, None), (0.0, None)])
def test_what_is_nothing_beside_newtons_step_is_no_size(size: float, unit: float, bounds: tuple[Any, Any]) -> None:
    m = pyo.ConcreteModel()
    m.u, m.s = pyo.Var(bounds=bounds, initialize=size * unit), pyo.Var(bounds=(-2, 3), initialize=0.5)
    u = m.u / unit
    reaches, _ = units_of((u - 3) ** 2 + pyo.cos(u) + (m.s - 1) ** 2 + 0.1 * m.s * u)
    assert reaches["u"] == pytest.approx(5.95 * unit, rel=1e-3), "its slope of −5.95 bends by 1 a unit"


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("factor", [1e-8, 1.0, 1e8])
def test_where_only_curvature_is_left_it_tells_a_step_by_the_other_changes(unit: float, factor: float) -> None:
    """Over the box of s its square changes by 16, and 2 u² after √8: u has no size, and no slope, to tell more."""
    m = pyo.ConcreteModel()
    m.u, m.s = pyo.Var(initialize=0.0), pyo.Var(bounds=(-3, 5), initialize=2.0)
    reaches, _ = units_of(factor * (2 * (m.u / unit) ** 2 + (m.s - 1) ** 2))
    assert reaches["u"] == pytest.approx(2.0 * unit, rel=1e-6), "1/√(f''/16)"


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("slope", [0.0, 1e-9, 0.1])
def test_a_solvers_0_is_nothing_whether_others_have_a_slope_or_not(slope: float, unit: float) -> None:
    """3e-9 of (a + 1)², a ≥ 0, beside (t − 1)² whose slope is gone: the change that a makes by itself is no size."""
    m = pyo.ConcreteModel()
    m.a, m.t = pyo.Var(bounds=(0, None), initialize=3e-9 * unit), pyo.Var(initialize=(1.0 + slope) * unit)
    reaches, found = units_of((m.a / unit + 1) ** 2 + 0.01 * (m.t / unit - 1) ** 2)
    assert reaches["a"] == pytest.approx(unit, rel=1e-6)
    assert found.of_rows()[0] == pytest.approx(2.2, rel=0.1)


def test_a_slope_of_zero_without_curvature_is_nothing() -> None:
    """d(xy)/dx = 0 at y = 0, and nothing bends along x: 0 over an endless step."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=3.0), pyo.Var(initialize=0.0)
    reaches, _ = units_of(m.x * m.y)
    assert reaches["x"] == 3.0
    assert math.isfinite(reaches["y"])


def test_a_slope_that_cancelled_but_for_rounding_is_no_slope() -> None:
    """Σ p (x − c − d y)² with Σ p x y = 0: ∂/∂d is 5e-17 at 0, not what a step of 1e16 is told by."""
    m = pyo.ConcreteModel()
    m.c, m.d = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0)
    points = [(0.1, 1.0493), (0.4, -0.3), (0.2, 1.7), (0.3, -0.0)]
    mean = sum(p * 2.0 * y for p, y in points)
    expression = sum(p * (2.0 - m.c - m.d * (y - mean / 2.0)) ** 2 for p, y in points)
    reaches, _ = units_of(expression)
    assert reaches["c"] == pytest.approx(2.0, rel=0.5)
    assert 0.1 < reaches["d"] < 100.0


def game(unit: float, tool: float, cost: float, constant: float, *, boxed: bool) -> sp.Game:
    m = pyo.ConcreteModel()
    m.t = pyo.Var([1, 2], bounds=(-2 * tool, 2 * tool) if boxed else None, initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var([1, 2], bounds=(0, 3 * unit) if boxed else None, initialize=0.5 * unit)
    m.f.u[2].set_value(0.0)
    u = [m.f.u[i] / unit for i in (1, 2)]
    t = [m.t[i] / tool for i in (1, 2)]
    m.f.row = pyo.Constraint(expr=u[0] + u[1] <= 2)
    m.f.cost = pyo.Objective(
        expr=cost * ((u[0] - 1) ** 2 + pyo.exp(u[1] + t[0]) + t[1] * u[0] + 0.3 * u[0] * u[1]) + constant
    )
    m.goal = pyo.Objective(expr=(u[0] - 0.5) ** 2)
    return sp.Game(m, followers=m.f)


@pytest.mark.parametrize("boxed", [True, False])
@pytest.mark.parametrize(
    ("unit", "tool", "cost", "constant"),
    [(1e-7, 1, 1, 0), (1e7, 1, 1, 0), (1, 1e-7, 1, 0), (1, 1e7, 1, 0), (1, 1, 1e-8, 0), (1, 1, 1e8, 0), (1, 1, 1, 1e6)],
)
def test_units_move_reaches_and_changes_and_nothing_else(
    unit: float, tool: float, cost: float, constant: float, boxed: bool
) -> None:
    def measured(game: sp.Game) -> tuple[dict[str, float], Any]:
        rows = FollowerRows(game)
        found = rows.natural_units(game.current_values())
        return dict(zip((v.name for v in rows.variables), found.reaches, strict=True)), found.of_rows()

    plain, scaled = measured(game(1, 1, 1, 0, boxed=boxed)), measured(game(unit, tool, cost, constant, boxed=boxed))
    factors = {name: unit if name.startswith("f.") else tool if name.startswith("t") else 1.0 for name in plain[0]}
    for name, reach in plain[0].items():
        assert scaled[0][name] == pytest.approx(factors[name] * reach, rel=1e-6), name
    assert scaled[1] == pytest.approx(plain[1] * [cost, 1.0], rel=1e-6)
