"""A game with everything that a careless package could disturb, and its state."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyomo.environ as pyo

import stackpyomo as sp

NAN, INF = math.nan, math.inf


Edit = Callable[[Any], Any]


def roads() -> Any:
    """The toll game with everything a careless package could disturb: values, fixing, deactivation, stale flags."""
    m = pyo.ConcreteModel(name="roads")
    m.toll = pyo.Var(bounds=(-2, 2), initialize=0.5)
    m.price = pyo.Var(bounds=(0, 9), initialize=0.125)
    m.weather = pyo.Var(initialize=0.25)
    m.weather.fix()
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1), initialize=0.125)
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.toll * m.driver.flow + 0 * m.weather)
    m.driver.closed = pyo.Constraint(expr=m.driver.flow * NAN == INF)
    m.driver.closed.deactivate()
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6) ** 2 + 0.01 * m.toll**2)
    m.other = pyo.Objective(expr=-(m.driver.flow**3))
    m.other.deactivate()
    m.driver.flow.stale = True
    return m


def game_of(m: Any, edit: Edit | None = None) -> sp.Game:
    """The game on ``m`` after ``edit(m)``, which may return what Game(...) takes instead of followers=m.driver."""
    arguments = edit(m) if edit is not None else None
    return sp.Game(m, **{"followers": m.driver, **(arguments if isinstance(arguments, dict) else {})})


def cost(expression: Callable[[Any], Any]) -> Edit:
    """Replace the driver's cost."""
    return lambda m: m.driver.cost.set_value(expression(m))


def row(expression: Callable[[Any], Any]) -> Edit:
    """Add a constraint to the driver."""

    def edit(m: Any) -> None:
        m.driver.row = pyo.Constraint(expr=expression(m))

    return edit


def model_of(plan: sp.Plan) -> Any:
    return plan.attached().model


def everything(game: sp.Game, solver: str = "auto") -> sp.Report:
    """All that the package does with a game."""
    plan = sp.leader_optimal(game, solver=solver, starts=3)
    sp.affine_incentive(plan, free="price", multipliers="free", solver=solver)
    rule = sp.affine_incentive(plan, solver=solver)
    sp.verify(plan, solver=solver, certify="multistart", starts=2)
    return sp.verify(rule, solver=solver)


def priced(m: Any) -> None:
    """Let the free variable matter."""
    m.driver.cost.set_value(m.driver.cost.expr + m.price * m.driver.flow)


HOME = os.fspath(Path(sp.__file__).parent)
