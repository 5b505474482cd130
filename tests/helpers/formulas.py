"""Random formulas that a family may hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo

LEAVES = 3


def drawn(random: np.random.Generator, m: Any, depth: int) -> Any:
    """A random formula of positive variables, defined wherever they are between 0.2 and 2."""
    if depth == 0:
        return m.x[int(random.integers(LEAVES))] if random.random() < 0.7 else float(random.uniform(0.2, 2.0))
    kind = random.integers(9)
    one, two = drawn(random, m, depth - 1), drawn(random, m, depth - 1)
    positive = m.x[int(random.integers(LEAVES))] * float(random.uniform(0.5, 2.0)) + 0.1
    return [
        lambda: one + two * float(random.uniform(-1, 1)),
        lambda: one * two,
        lambda: one / (positive + 1.0),
        lambda: -one + two,
        lambda: positive ** float(random.choice([2, 3, 0.5, 1.5, -1, -2])) * one,
        lambda: pyo.exp(0.3 * one) if not isinstance(one, float) else one + m.x[0],
        lambda: pyo.log(positive) * two,
        lambda: pyo.sqrt(positive) + pyo.sin(one) * pyo.cos(two),
        lambda: pyo.tanh(one + m.x[1]),
    ][kind]()
