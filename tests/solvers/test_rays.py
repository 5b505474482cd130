"""Rays: followed as far as nothing stops them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo

from stackpyomo.solvers import Program, ray


def program(objective: Any, *rows: Any) -> tuple[Program, np.ndarray[Any, Any]]:
    made = Program(objective, rows)
    return made, np.asarray(made.problem.x0, dtype=float)


def test_a_ray_is_followed_only_where_nothing_stops_it() -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=1.0), pyo.Var(initialize=0.0)
    assert ray(*program(-m.x, m.x - m.y <= 5)), "y goes along"
    assert not ray(*program(-m.x, m.x - m.y <= 5, m.y <= 1e6)), "y stops, far out"
    assert not ray(*program((m.x - 3) ** 2 - m.y, m.y <= m.x)), "the bend stops it"
    assert ray(*program((m.x - m.y) ** 2 - m.y, m.y <= m.x)), "along the valley"
    assert not ray(*program(pyo.exp(-m.x))), "falls, but not without limit"
