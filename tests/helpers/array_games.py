"""Games of many followers, written by a few rules, for what is read into arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.environ as pyo

import stackpyomo as sp

RULES: dict[str, Callable[..., Any]] = {
    "quadratic": lambda r, x, y, z, p: r(2) * (x - r(2)) ** 2 + r(2) * (y - 0.3) ** 2 + 0.3 * x * y + p * x + z * x / 3,
    "exponential": lambda r, x, y, z, p: pyo.exp(r(2) * x - r(1)) + r(2) * y**2 + p * (x + y) + z * y / 4,
    "logarithm": lambda r, x, y, z, p: -r(2) * pyo.log(1 + x) + r(2) * (y - 0.2) ** 2 - r(1) * pyo.sqrt(y + 1) + p * x,
    "powers": lambda r, x, y, z, p: (x + 0.1) ** (1 + r(1)) + r(2) * y**4 + p * x + r(2) * x**2 + y * z / 3,
    "quotients": lambda r, x, y, z, p: r(1) / (1 + x) + r(2) / (1 + y) ** 2 + r(2) * x * p + z * x / 4 + x**2,
    "profit": lambda r, x, y, z, p: -(x + 1) * (8 - r(2) * x - r(1) * z) + y**2 - y + p * y,
    "tanh": lambda r, x, y, z, p: r(1) * pyo.tanh(x - r(2)) + 4 * x**2 + y**2 - r(2) * y + p * x,
    "sines": lambda r, x, y, z, p: r(2) * pyo.sin(3 * x) + r(2) * y**2 + p * x,
    "kinks": lambda r, x, y, z, p: r(2) * abs(x - r(2)) + y**2 + p * x,
    "linear": lambda r, x, y, z, p: r(2) * x + r(2) * y - z * x,
}


def game(seed: int, size: int = 12) -> sp.Game:
    """Followers of two rules, some with a row, in one sense; values of a plan near their best."""
    random = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    wide = float(random.choice([1.0, 9.0]))
    m.p = pyo.Var(bounds=(-wide, wide), initialize=float(random.uniform(-0.9, 0.9)))
    m.z = pyo.Var()
    m.f = pyo.Block(range(size))
    rules = random.choice(list(RULES), 2)
    sign, rowed = float(random.choice([1.0, -1.0])), random.random() < 0.5
    for i in range(size):
        f = m.f[i]
        f.x = pyo.Var(bounds=(0, 2), initialize=float(random.choice([0.0, random.uniform(0.1, 1.9)], p=[0.1, 0.9])))
        f.y = pyo.Var(bounds=(0, float(random.uniform(1, 3))), initialize=float(random.uniform(0.1, 0.9)))
        rule = RULES[rules[int(random.random() < 0.5)]]
        cost = rule(lambda top: float(random.uniform(0.4, 1) * top), f.x, f.y, m.z, m.p)
        f.cost = pyo.Objective(expr=sign * cost, sense=pyo.minimize if sign > 0 else pyo.maximize)
        if rowed and random.random() < 0.7:
            f.row = pyo.Constraint(expr=f.x + float(random.uniform(0.5, 1.5)) * f.y <= 3.5)
    m.mean = pyo.Constraint(expr=m.z == pyo.quicksum(m.f[i].x for i in range(size)) / size)
    m.z.set_value(sum(m.f[i].x.value for i in range(size)) / size)
    m.goal = pyo.Objective(expr=m.p**2 + m.z**2)
    sizes = [int(n) for n in random.integers(1, 9, size)]
    blocks = m.f if random.random() < 0.7 else [sp.Population(m.f[i], n) for i, n in enumerate(sizes)]
    return sp.Game(m, blocks, aggregates=[m.mean])


def tracking(size: int = 120) -> Any:
    """min (x − i/size)² + t x: the best answer to t is clip(i/size − t/2)."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(-1, 1), initialize=0.4)
    m.f = pyo.Block(range(size))
    for i in range(size):
        m.f[i].x = pyo.Var(bounds=(0, 1), initialize=0.5)
        m.f[i].cost = pyo.Objective(expr=(m.f[i].x - i / size) ** 2 + m.t * m.f[i].x)
    m.goal = pyo.Objective(expr=m.t**2)
    return m
