"""Games of scenarios with published figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.environ as pyo
from conftest import CASES

import stackpyomo as sp

SC01 = CASES["SC01_scenario_exp"]


PX, PL = ([float(v) for v in SC01["data"][k]] for k in ("px", "pL"))


WORLD = [(x, y, p * (q if y == "L" else 1 - q)) for x, p, q in zip((1, 2), PX, PL, strict=True) for y in "LH"]


X, Y, P = (np.array(column) for column in zip(*WORLD, strict=True))


def sc01(bound: float | None = None, row: Callable[[Any], Any] | None = None) -> tuple[Any, sp.Scenarios, sp.Game]:
    scenarios = sp.Scenarios({"x": X, "y": Y}, P)
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(list(scenarios), initialize=0.5)
    m.f = pyo.Block()
    m.f.u = pyo.Var(scenarios.atoms("y"), initialize=0.0, bounds=(None, bound))

    def act(w: int) -> Any:
        return m.f.u[scenarios.atom("y", w)]

    x = [float(v) for v in X]
    m.goal = pyo.Objective(
        expr=scenarios.expectation(lambda w: (x[w] - m.u0[w] - act(w)) ** 2 + m.u0[w] ** 4 / 4 + pyo.exp(act(w)) / 4)
    )
    m.f.cost = pyo.Objective(
        expr=scenarios.expectation(
            lambda w: (
                pyo.exp(act(w) - x[w]) + (act(w) + 1) ** 2 / 2 + (m.u0[w] - 2) ** 2 / 2 + (m.u0[w] - act(w)) ** 2 / 4
            )
        )
    )
    if row is not None:
        m.f.row = pyo.Constraint(expr=row(m.f.u))
    return m, scenarios, sp.Game(m, followers=m.f)


def grid(step: float, centre: float = 7.0) -> sp.Scenarios:
    """N(1, 2) on midpoints of cells, with ``centre`` between two of them."""
    y = np.round(centre - 16 + step * (np.arange(round(25 / step)) + 0.5), 12)
    weight = np.exp(-((y - 1) ** 2) / 4)
    return sp.Scenarios({"y": y}, weight / weight.sum())
