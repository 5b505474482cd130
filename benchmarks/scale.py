"""How the whole path scales with the number of followers.

N heterogeneous followers, two actions each, coupled through one aggregate (the average of their first actions):

    J_i = c_i (u_i − 1)² + d_i (v_i − t_i)² + u_i v_i / 2 + toll · u_i + average · u_i / 4.

Run ``python benchmarks/scale.py`` for N = 100, 1,000, 10,000, 100,000, or name sizes. Each size runs in a process of
its own, so that peak memory is that size's. "leader" is the whole of leader_optimal but the followers' rows, which
"derivatives" holds (write, read, one Jacobian) wherever they were made; "affine_incentive" is the whole call,
"curvature" its look at second derivatives and, up to 200 actions, at uniqueness; "model" is plain Pyomo building the
game.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo

STAGES = ["model", "build", "write", "solve", "leader", "derivatives", "incentive", "curvature", "verify"]


def build(size: int, seed: int = 0) -> Any:
    """The game with ``size`` different followers."""
    import stackpyomo as sp

    random = np.random.default_rng(seed)
    c, d, t = random.uniform(1, 2, size), random.uniform(1, 3, size), random.uniform(0.2, 0.8, size)
    m = pyo.ConcreteModel(name=f"scale{size}")
    m.toll = pyo.Var(bounds=(-5, 5), initialize=0.0)
    m.average = pyo.Var(initialize=0.5)

    def follower(block: Any, i: int) -> None:
        block.u = pyo.Var(bounds=(0, 2), initialize=0.5)
        block.v = pyo.Var(bounds=(0, 2), initialize=0.5)
        own = c[i] * (block.u - 1) ** 2 + d[i] * (block.v - t[i]) ** 2 + block.u * block.v / 2
        block.cost = pyo.Objective(expr=own + m.toll * block.u + m.average * block.u / 4)

    m.follower = pyo.Block(range(size), rule=follower)
    users = [m.follower[i] for i in range(size)]
    m.mean = pyo.Constraint(expr=m.average == pyo.quicksum(f.u for f in users) / size)
    spread = pyo.quicksum((f.u - t[i]) ** 2 + (f.v - 0.3) ** 2 for i, f in enumerate(users))
    m.goal = pyo.Objective(expr=(m.average - 0.4) ** 2 + 0.1 * m.toll**2 + 0.1 * m.toll * m.average + spread / size)
    return sp.Game(m, followers=m.follower, aggregates=[m.mean])


def measure(size: int) -> dict[str, float]:
    """Seconds per stage and peak memory of one run."""
    import stackpyomo as sp

    clock = time.perf_counter
    start = clock()
    game = build(size)
    model = clock() - start
    start = clock()
    plan = sp.leader_optimal(game)
    planned = clock() - start
    start = clock()
    rule = sp.affine_incentive(plan)
    designed = clock() - start
    start = clock()
    report = sp.verify(rule)
    verified = clock() - start
    rows = plan.seconds["rows"]
    row = {
        "N": size,
        "model": model,
        **{stage: plan.seconds[stage] for stage in ("build", "write", "solve")},
        "leader": planned - rows,
        "derivatives": rows + rule.seconds["derivatives"],
        "incentive": rule.seconds["incentive"],
        "curvature": rule.seconds["curvature"] + rule.seconds["uniqueness"],
        "affine_incentive": designed,
        "verify": verified,
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "solver GB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
        "regret": report.epsilon,
        "ok": report.ok,
        "convex": int((report.certificate == "convex").sum()),
        **{f"verify {stage}": seconds for stage, seconds in report.seconds.items()},
    }
    row["(der+inc+curv)/leader"] = (row["derivatives"] + row["incentive"] + row["curvature"]) / row["leader"]
    row["affine_incentive/leader_optimal"] = designed / planned
    row["verify/leader"] = row["verify"] / row["leader"]
    return row


def run(size: int, repeats: int) -> dict[str, float]:
    """Medians over ``repeats`` processes."""
    command = [sys.executable, os.path.abspath(__file__), "--child", str(size)]
    rows = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(repeats)
    ]
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def main() -> None:
    """Print one table over the sizes, and the growth exponent between neighbours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="*", type=int, default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--child", type=int)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.child)))
        return
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, "
        f"medians of {arguments.repeats}"
    )
    table = pd.DataFrame([run(size, arguments.repeats) for size in arguments.sizes]).set_index("N")
    total = table[["leader", "derivatives", "incentive", "verify"]].sum(axis=1)
    table["total"] = total
    table["exponent"] = np.log(total / total.shift()) / np.log(
        table.index.to_series() / table.index.to_series().shift()
    )
    with pd.option_context("display.width", 200, "display.max_columns", None, "display.float_format", "{:.3g}".format):
        print(table.T)


if __name__ == "__main__":
    main()
