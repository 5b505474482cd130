"""Wide: followers at or near 0 in boxes far wider than what they want, or without an end, against dense grids."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.environ as pyo

import stackpyomo as sp

from .ledger import Ledger

__all__ = ["hunt"]

_COSTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "parabola": lambda x, a, _: (x - a) ** 2,
    "fourth power": lambda x, a, _: x**4 - 4 * a**3 * x,
    "quartic": lambda x, a, _: x**4 - 3 * a * x**3 + a**3 * x,
    "hump": lambda x, a, math: 0.01 * x - 0.5 * math.exp(-3 * (x - a) ** 2) + 1e-3 * x**2,
    "waves": lambda x, a, math: 0.3 * math.sin(x / a) + 0.02 * (x / a) ** 2,
    "exponential": lambda x, a, math: math.exp(x / a) - 3 * x / a,
    "line": lambda x, a, _: x / a,
    "entropy": lambda x, a, math: x * math.log(x / a + 1e-300),
    "soft entropy": lambda x, a, math: x * math.log(x / a + 1e-12),
    "root": lambda x, a, math: x - 2 * math.sqrt(a * x),
    "barrier": lambda x, a, math: x - a * math.log(x),
    "pole": lambda x, a, _: x + a**2 / x,
}
"""name → cost of x and of what is wanted, in the functions of numpy or Pyomo."""

_UPWARD = ("entropy", "soft entropy", "root", "barrier", "pole")
"""Costs that have a value above 0 alone."""


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """Regret and verdict at 0, next to it, and at the best answer known to so many digits."""
    name = str(random.choice(list(_COSTS)))
    want, action, money = (
        float(random.uniform(0.5, 3)),
        10.0 ** int(random.integers(-7, 8)),
        10.0 ** int(random.integers(-8, 9)),
    )
    top = float(random.choice([10.0, 1e3, 1e5, 1e6, 1e9, 1e11, math.inf]))
    low = float(random.choice([0.0, 0.0, -10.0, -1e9, -math.inf]))
    number = int(random.choice([1, 1, 120]))
    low = 0.0 if name in _UPWARD else low
    grid = _grid(low, top)
    with np.errstate(divide="ignore", invalid="ignore"):
        costs = _COSTS[name](grid, want, np)
    best = float(grid[int(np.nanargmin(costs))])
    at = float(
        random.choice([0.0, 0.0, 1e-9, 1e-6, want / 4, best, *(best * (1 + off) for off in (1e-7, 1e-6, -1e-6))])
    )
    at = want / 4 if name in ("barrier", "pole") and at == 0.0 else at
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-1, 1), initialize=0), pyo.Block(range(number))
    for f in m.f.values():
        limits = (None if math.isinf(end) else end * action for end in (low, top))
        f.x = pyo.Var(bounds=tuple(limits), initialize=at * action)
        f.cost = pyo.Objective(expr=money * (_COSTS[name](f.x / action, want, pyo) + m.t * f.x / action))
    m.goal = pyo.Objective(expr=sum((f.x / action) ** 2 for f in m.f.values()) + m.t**2)
    plan = sp.Plan.from_values(sp.Game(m, list(m.f.values())))
    report, at = sp.verify(plan), plan.value(m.f[0].x) / action
    here, least = float(_COSTS[name](np.array(at), want, np)), float(np.nanmin(costs))
    case = f"{name} of {want} on [{low}, {top}] at {at}, units {action:g} and {money:g}, {number}: {report}"
    if report.ok:
        stake = float(np.ptp(_COSTS[name](np.linspace(min(at, best), max(at, best), 1001), want, np)))
        room = max(1e-4 * want**2 * stake, 1e-9 * abs(here), 1e-11)
        nothing = abs(at - best) <= 1e-4 * want  # a plan's accuracy
        ledger.claim("verified", here - least <= room or nothing, f"gains {here - least}: {case}")
    elif here - least > 1e-6 * want**2 and abs(best - at) > 1e-3:
        ledger.claim("not verified, and somebody gains")
    else:
        known = bool(np.isfinite(report.regret).all())
        holds = here - least > 1e-12 or not known or report.certificate.iloc[0] in ("unknown", "multistart")
        ledger.claim("not verified", holds, f"gains {here - least}: {case}")


def _grid(low: float, top: float) -> np.ndarray:
    """Levels in every decade, and a dense set of those where something can be wanted."""
    decades = 10.0 ** np.linspace(-9, 12, 5001)
    near = np.linspace(-30, 30, 600_001)
    levels = np.concatenate([-decades, [0.0], decades, near])
    kept = levels[(levels >= low) & (levels <= top)]
    return np.sort(np.concatenate([kept, [end for end in (low, top) if math.isfinite(end)]]))
