"""What the size of a population costs: plan, incentive and verification at N = 1, a billion and ∞, in one process.

Two games: minors alone under the leader, who observes their actions, and leader, major and minors, of whom the major is
observed (``models/major_minor.py``, quadratic). The three sizes take turns, so that the machine's load meets all alike;
what is shown are medians over the rounds, and their ratios to size 1. Then the mean-field plan is played by 10⁶ real
followers (``sp.simulate``), in the deterministic game and with two types drawn anew each time.

``python benchmarks/populations.py`` runs 15 rounds, or the number given.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

SIZES = [1, 10**9, math.inf]
STAGES = ["solve", "incentive", "verify"]
FOLLOWERS = 10**6


def stages(game: Any, responding: Any, observe: Any) -> dict[str, float]:
    """Seconds of plan, incentive, verification, and of all three."""
    import stackpyomo as sp

    marks = [time.perf_counter()]
    plan = sp.leader_optimal(game, responding=responding)
    marks.append(time.perf_counter())
    rule = sp.affine_incentive(plan, observe)
    marks.append(time.perf_counter())
    if not sp.verify(rule).ok:
        raise SystemExit(f"{game.name}: not verified.")
    marks.append(time.perf_counter())
    found = {stage: end - begin for stage, begin, end in zip(STAGES, marks, marks[1:], strict=False)}
    return {**found, "all": marks[-1] - marks[0]}


def measure(build: Callable[[float], Any], rounds: int, responding: Any = (), observe: Any = "actions") -> pd.DataFrame:
    """Medians by size and the ratios to size 1; a first round, which loads libraries, does not count."""
    games = {size: build(size) for size in SIZES}
    rows = [
        {"size": size, "round": number, **stages(game, responding, observe)}
        for number in range(rounds + 1)
        for size, game in games.items()
    ]
    table = pd.DataFrame(rows)
    medians = table[table["round"] > 0].groupby("size").median().drop(columns="round")
    medians["ratio"] = medians["all"] / medians.loc[1, "all"]
    return medians


def two_types() -> Any:
    """Half of infinitely many followers would like 1, the other half 3; the leader wants their average at 2."""
    import pyomo.environ as pyo

    import stackpyomo as sp

    m = pyo.ConcreteModel(name="two types")
    m.u0, m.mean = pyo.Var(initialize=0.0), pyo.Var(initialize=2.0)
    m.f = pyo.Block([1, 3])
    for level in (1, 3):
        m.f[level].u = u = pyo.Var(initialize=level)
        m.f[level].cost = pyo.Objective(expr=(u - level) ** 2 + m.mean * u / 10 + (m.u0 + 1) ** 2)
    m.average = pyo.Constraint(expr=m.mean == (m.f[1].u + m.f[3].u) / 2)
    m.goal = pyo.Objective(expr=(m.mean - 2) ** 2 + m.u0**2 + ((m.f[1].u - 1) ** 2 + (m.f[3].u - 3) ** 2) / 9)
    return sp.Game(m, [sp.Population(m.f[level], math.inf) for level in (1, 3)], aggregates=m.average)


def played() -> pd.DataFrame:
    """Seconds for a simulation of 10⁶ followers."""
    import stackpyomo as sp
    from models import major_minor

    game = major_minor.build(size=math.inf)
    plan = sp.leader_optimal(game, responding=major_minor.MINORS)
    rule = sp.affine_incentive(plan, major_minor.observed(game))
    drawn = sp.leader_optimal(two_types())
    runs: dict[str, Callable[[], Any]] = {
        "deterministic, 1 draw": lambda: sp.simulate(rule, [FOLLOWERS]),
        "deterministic, settled": lambda: sp.simulate(rule, [FOLLOWERS], settle=True),
        "two types, 100 draws": lambda: sp.simulate(drawn, [FOLLOWERS], draws=100),
    }
    rows = []
    for name, run in runs.items():
        start = time.perf_counter()
        run()
        rows.append({"simulation": name, "seconds": time.perf_counter() - start})
    return pd.DataFrame(rows).set_index("simulation")


def main() -> None:
    """Print the tables and the machine."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from models import major_minor

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("rounds", nargs="?", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, {rounds} rounds")
    with pd.option_context("display.width", 120, "display.float_format", "{:.4g}".format):
        print("\nminors alone", measure(major_minor.alone, rounds), sep="\n")
        led = measure(lambda size: major_minor.build(size=size), rounds, major_minor.MINORS, {"u0": ["major.u"]})
        print("\nleader, major and minors", led, sep="\n")
        print(f"\n{FOLLOWERS:,} followers", played(), sep="\n")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")


if __name__ == "__main__":
    main()
