"""What the plan of the row before is worth as a start: sweeps along one parameter, without it and with it.

Run ``python benchmarks/sweeps.py``: processor seconds of each sweep, solvers included, in turn and the median of three,
and the largest difference between the values of their plans, relative to the largest value.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import stackpyomo as sp
from models import cournot, oligopoly

SWEEPS: dict[str, tuple[Callable[..., sp.Plan], Any]] = {
    "nash, five firms of curved costs, elasticity 1 to 2": (
        lambda gamma, **given: sp.nash(oligopoly.build_cournot(gamma), **given),
        np.linspace(1.0, 2.0, 21),
    ),
    "stackelberg, the same with one ahead": (
        lambda gamma, **given: sp.stackelberg(oligopoly.build(gamma), **given),
        np.linspace(1.0, 2.0, 21),
    ),
    "stackelberg, 50 firms whose costs lie up to 2 to 3": (
        lambda high, **given: sp.stackelberg(cournot.build(50, high=high), **given),
        np.linspace(2.0, 3.0, 11),
    ),
    "stackelberg, 400 of them": (
        lambda high, **given: sp.stackelberg(cournot.build(400, high=high), **given),
        np.linspace(2.0, 3.0, 6),
    ),
}


def used() -> float:
    """Processor seconds of this process and of solvers that have ended."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def swept(solve: Callable[..., sp.Plan], grid: Any, *, warm: bool) -> tuple[float, list[sp.Plan]]:
    """(processor seconds, the plans) of one sweep."""
    began, plans = used(), list[sp.Plan]()
    for value in grid:
        plans.append(solve(float(value), **({"start": plans[-1]} if warm and plans else {})))
    return used() - began, plans


def apart(one: sp.Plan, other: sp.Plan) -> float:
    """The largest difference of the values of two plans, relative to the largest value."""
    values = np.array([list(one.values.values()), [other.values[name] for name in one.values]])
    return float(np.abs(values[0] - values[1]).max() / np.abs(values).max())


def main() -> None:
    """Print the figures."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, (solve, grid) in SWEEPS.items():
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(3):
            plans = {}
            for warm in seconds:
                took, plans[warm] = swept(solve, grid, warm=warm)
                seconds[warm].append(took)
        cold, warm_ = (statistics.median(took) for took in seconds.values())
        worst = max(map(apart, *plans.values()))
        print(f"{name}, {len(grid)} rows: {cold:.2f} s, from the row before {warm_:.2f} s; plans {worst:.0e} apart")


if __name__ == "__main__":
    main()
