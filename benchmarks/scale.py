"""How the whole path scales with the number of followers.

N heterogeneous followers, two actions each, coupled through one aggregate (the average of their first actions):

    J_i = c_i (u_i − 1)² + d_i (v_i − t_i)² + u_i v_i / 2 + toll · u_i + average · u_i / 4.

Run ``python benchmarks/scale.py`` for N = 100, 1,000, 10,000, 100,000, or name sizes; ``--beside FOLDER``: another
checkout of the project, measured in turn with this one, and its table beside. Seconds are processor seconds of the
process and its solvers. Each size runs in a process of its own, so that peak memory is that size's. "model" is Pyomo
building the game, "solver" the solver's own time (by the clock), "path" the sum of leader_optimal, affine_incentive and
verify; the stages below are by the clock: "write" (reading into arrays, or the text), "derivatives" (read and one
Jacobian, wherever they were made), "curvature" (second derivatives and, up to 200 actions, uniqueness).
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
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo


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


def processor() -> float:
    """Processor seconds of this process and of those it has started."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure(size: int) -> dict[str, float]:
    """Seconds per stage and peak memory of one run."""
    import stackpyomo as sp

    sp.verify(sp.affine_incentive(sp.leader_optimal(build(3))))  # imports are not the path's

    times = [processor()]
    game = build(size)
    times.append(processor())
    plan = sp.leader_optimal(game)
    times.append(processor())
    rule = sp.affine_incentive(plan)
    times.append(processor())
    report = sp.verify(rule)
    times.append(processor())
    model, planned, designed, verified = np.diff(times).tolist()
    solver = plan.seconds["solve"]
    return {
        "N": size,
        "model": model,
        "solver": solver,
        "leader_optimal": planned,
        "affine_incentive": designed,
        "verify": verified,
        "path": planned + designed + verified,
        "path/(model+solver)": (planned + designed + verified) / (model + solver),
        "verify/model": verified / model,
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "solver GB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
        "write": plan.seconds["write"],
        "derivatives": plan.seconds["rows"] + rule.seconds["derivatives"],
        "incentive": rule.seconds["incentive"],
        "curvature": rule.seconds.get("curvature", 0.0) + rule.seconds.get("uniqueness", 0.0),
        **{f"verify {stage}": seconds for stage, seconds in report.seconds.items()},
        "regret": report.epsilon,
        "ok": report.ok,
        "convex": int((report.certificate == "convex").sum()),
    }


def run(size: int, repeats: int, folders: list[str]) -> list[dict[str, float]]:
    """Medians over ``repeats`` processes for each checkout, in turn."""
    command = [sys.executable, os.path.abspath(__file__), "--child", str(size)]
    rows: list[list[dict[str, float]]] = [[] for _ in folders]
    for _ in range(repeats):
        for folder, known in zip(folders, rows, strict=True):
            home = {**os.environ, "PYTHONPATH": folder}
            known.append(
                json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=home).stdout)
            )
    return [{key: statistics.median(row[key] for row in known) for key in known[0]} for known in rows]


def main() -> None:
    """Print one table over the sizes, and the growth exponent between neighbours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="*", type=int, default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--beside", help="the folder of another checkout")
    parser.add_argument("--child", type=int)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.child)))
        return
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, "
        f"medians of {arguments.repeats}"
    )
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    names = {"here": here, **({"beside": os.path.abspath(arguments.beside)} if arguments.beside else {})}
    rows = [run(size, arguments.repeats, list(names.values())) for size in sorted(arguments.sizes)]
    tables = {name: pd.DataFrame([known[i] for known in rows]).set_index("N") for i, name in enumerate(names)}
    for table in tables.values():
        steps = table.index.to_series() / table.index.to_series().shift()
        table["exponent"] = np.log(table["path"] / table["path"].shift()) / np.log(steps)
    if arguments.beside:
        tables["ratio"] = tables["beside"].loc[:, :"path"] / tables["here"].loc[:, :"path"]
    with pd.option_context("display.width", 200, "display.max_columns", None, "display.max_rows", None):
        print(pd.concat(tables, axis=1).T.unstack(0).map(lambda x: "" if pd.isna(x) else f"{x:.3g}").to_string())


if __name__ == "__main__":
    main()
