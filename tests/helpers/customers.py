"""A customer whose parameters are fitted, and the data of his answers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest

import stackpyomo as sp

ROWS = pd.DataFrame({"p": [0.0, 1.0, 2.0, 3.0, 5.0], "f.u": [4.1, 2.9, 2.2, 0.8, 0.0]})


BOUNDS = {"theta": (0.0, 20.0), "h": (0.05, 10.0)}


def customer(theta: float = 1.0, h: float = 1.0) -> sp.Game:
    """J = h u²/2 − θ u + p u on 0 ≤ u ≤ 20: u = (θ − p)/h, cut at the bounds."""
    m = pyo.ConcreteModel()
    m.theta = pyo.Param(initialize=theta, mutable=True)
    m.h = pyo.Param(initialize=h, mutable=True)
    m.p = pyo.Var(bounds=(-20, 20), initialize=0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 20), initialize=1)
    m.f.cost = pyo.Objective(expr=m.h * m.f.u**2 / 2 - m.theta * m.f.u + m.p * m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - 1) ** 2 / 2 + m.p**2 / 2)
    return sp.Game(m, followers=m.f)


def exactly(*fractions: str) -> Any:
    return pytest.approx([float(Fraction(f)) for f in fractions], rel=1e-7)


def under_rules(rules: list[tuple[float, float]], theta: float, h: float) -> np.ndarray:
    """u of h u²/2 − θ u + (c + K u) u."""
    return np.array([np.clip((theta - c) / (h + 2 * k), 0, 20) for c, k in rules])
