"""How plan, incentive and verification scale with the number of scenarios.

A leader and ten followers: x ~ N(0, 1) is drawn with ten noisy observations, each follower sees which of 100 intervals
its own lies in and has an action for each (within −5 … 5), the leader knows the scenario:

    J0 = E[(x − u0 − ū)² + u0² + ½ mean u_i²],    J_i = E[(u_i − x)² + u0²].

"ocs": it answers every action; "opcs": the average alone, an aggregate variable for each scenario. Run
``python benchmarks/scenarios.py`` for 1,000 and 10,000 scenarios, or name sizes. Each runs in a process of its own, so
that peak memory is that run's. "game" is drawing the scenarios and plain Pyomo; "total" leaves it out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo

FOLLOWERS = 10
INTERVALS = 100
STAGES = ["game", "plan", "incentive", "verify"]


def draw(generator: np.random.Generator, count: int) -> dict[str, Any]:
    """The state and the interval each follower sees."""
    x = generator.normal(size=count)
    edges = np.linspace(-4.0, 4.0, INTERVALS - 1)
    seen = {f"y{i}": np.digitize(x + generator.normal(size=count), edges) for i in range(FOLLOWERS)}
    return {"x": x, **seen}


def build(size: int, kind: str) -> tuple[Any, Any, Any]:
    """(game, scenarios, signals)."""
    import stackpyomo as sp

    scenarios = sp.Scenarios.from_samples(draw, size, seed=1)
    x = scenarios["x"]
    m = pyo.ConcreteModel(name=f"scenarios{size}")
    m.u0, m.average = (pyo.Var(list(scenarios), initialize=0.0) for _ in range(2))
    m.follower = pyo.Block(range(FOLLOWERS))
    for i, block in m.follower.items():
        block.u = pyo.Var(scenarios.atoms(f"y{i}"), bounds=(-5, 5), initialize=0.0)
    u = [[m.follower[i].u[scenarios.atom(f"y{i}", w)] for i in range(FOLLOWERS)] for w in scenarios]
    m.mean = pyo.Constraint(list(scenarios), rule=lambda m, w: m.average[w] == pyo.quicksum(u[w]) / FOLLOWERS)
    m.goal = pyo.Objective(
        expr=scenarios.expectation(
            lambda w: (
                (x[w] - m.u0[w] - m.average[w]) ** 2 + m.u0[w] ** 2 + pyo.quicksum(v**2 for v in u[w]) / (2 * FOLLOWERS)
            )
        )
    )
    for i, block in m.follower.items():
        block.cost = pyo.Objective(expr=scenarios.expectation(lambda w, i=i: (u[w][i] - x[w]) ** 2 + m.u0[w] ** 2))
    each = [(m.follower[i].u, f"y{i}") for i in range(FOLLOWERS)]
    return (
        sp.Game(m, followers=m.follower, aggregates=m.mean),
        scenarios,
        each if kind == "ocs" else [(m.average, None)],
    )


def measure(size: int, kind: str) -> dict[str, Any]:
    """Seconds per stage, peak memory and what was found."""
    import stackpyomo as sp

    clock, seconds = time.perf_counter, [time.perf_counter()]
    game, scenarios, signals = build(size, kind)
    seconds.append(clock())
    plan = sp.leader_optimal(game)
    seconds.append(clock())
    u0 = game.model.u0
    rule = sp.affine_incentive(plan, scenarios.observe(u0, signals), energy=scenarios.energy(u0))
    seconds.append(clock())
    report = sp.verify(rule)
    seconds.append(clock())
    return {
        "scenarios": size,
        "kind": kind,
        **dict(zip(STAGES, np.diff(seconds).tolist(), strict=True)),
        "total": seconds[-1] - seconds[1],
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "solver GB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
        "energy": rule.energy,
        "regret": report.epsilon,
        "convex": int((report.certificate == "convex").sum()),
        "ok": report.ok,
    }


def main() -> None:
    """Print one table over sizes and kinds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="*", type=int, default=[1_000, 10_000])
    parser.add_argument("--child", nargs=2, metavar=("SIZE", "KIND"))
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(int(arguments.child[0]), arguments.child[1])))
        return
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    rows = []
    for size in arguments.sizes:
        for kind in ("ocs", "opcs"):
            command = [sys.executable, os.path.abspath(__file__), "--child", str(size), kind]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    with pd.option_context("display.width", 200, "display.max_columns", None, "display.float_format", "{:.3g}".format):
        print(pd.DataFrame(rows).set_index(["scenarios", "kind"]).T)


if __name__ == "__main__":
    main()
