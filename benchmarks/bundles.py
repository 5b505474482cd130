"""Large plans beyond one process: the leader's plan in one solve, and in bundles by mpi-sppy on 1 and on 2 ranks.

On paper. One follower brings to the leader's problem v variables, r rows, and about 3 v nonzeros; N followers bring
N times that, and everything a solve holds is proportional to it: Pyomo's model (Var objects and expression trees, here
about 3 KB for a variable with its quadratic costs), the rows and derivatives written from it, and the solver's matrix
and its factor (linear in N as long as followers meet in a few aggregates alone). So

    bytes(N) ≈ base + N · (model + writing + solver) of one follower,

and one machine of M bytes is outgrown at N ≈ (M − base) / that. Time grows the same way: one factorisation for each of
20 to 40 interior-point steps, all of them in one process. ``--memory`` measures the bytes, for followers of 1, 24 and
96 variables, and prints the N at which 16 and 24 GB are reached.

What hedging changes. In b bundles on k ranks each rank writes and solves its own N/k followers, b/k bundles one after
the other: "writing" and "solver" shrink by k and b. "model" does not: every rank builds the user's whole game. The
price is iterations, 5 to 100 solves of every bundle where the monolith needs one. Where followers meet in many
aggregates (96 hours) the solver of a bundle needs more memory than the monolith's, and two ranks gain nothing.

``python benchmarks/bundles.py`` prints N = 100, 1,000, 10,000; each run is a process of its own (``mpiexec`` for two
ranks: pip's beside this Python, else the system's). "peak MB" is the largest rank's own, "solver MB" its largest
child's, seen every 10 ms. "to monolith" is (objective − the monolith's) /
max(1, |J0|), "bound gap" the plan's own proved gap. The game is that of ``scale.py``: two actions per follower, one
aggregate, every follower different; ``--hours 24`` is one with hourly loads, an energy balance each, 24 aggregates.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo

GB = 2**20
"""KB in a GB: getrusage counts in KB."""


def build(size: int, hours: int) -> Any:
    """``size`` different followers: those of ``scale.py`` (hours = 0), or loads over hours with an energy balance."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import stackpyomo as sp
    from benchmarks import scale

    if hours == 0:
        return scale.build(size)
    random = np.random.default_rng(0)
    a, d = random.uniform(1, 3, (size, hours)), random.uniform(0.2, 1.0, (size, hours))
    m = pyo.ConcreteModel(name=f"hours{hours}")
    m.price = pyo.Var(range(hours), bounds=(-5, 5), initialize=0.0)
    m.average = pyo.Var(range(hours), initialize=0.5)

    def follower(block: Any, i: int) -> None:
        block.u = pyo.Var(range(hours), bounds=(0, 2), initialize=0.5)
        own = pyo.quicksum(a[i, t] * (block.u[t] - d[i, t]) ** 2 + m.price[t] * block.u[t] for t in range(hours))
        block.cost = pyo.Objective(expr=own)
        block.energy = pyo.Constraint(expr=pyo.quicksum(block.u[t] for t in range(hours)) == float(d[i].sum()))

    m.follower = pyo.Block(range(size), rule=follower)
    users = [m.follower[i] for i in range(size)]
    m.mean = pyo.Constraint(range(hours), rule=lambda m, t: m.average[t] == pyo.quicksum(f.u[t] for f in users) / size)
    discomfort = pyo.quicksum(a[i, t] * (f.u[t] - d[i, t]) ** 2 for i, f in enumerate(users) for t in range(hours))
    peaks = pyo.quicksum((m.average[t] - 0.5) ** 2 + 0.1 * m.price[t] ** 2 for t in range(hours))
    m.goal = pyo.Objective(expr=peaks + discomfort / size)
    return sp.Game(m, followers=m.follower, aggregates=list(m.mean.values()))


class Children(threading.Thread):
    """Looks every 10 ms at how large this process's children are (Linux; 0 elsewhere).

    ``RUSAGE_CHILDREN`` would also count what a child shares with its parent before it becomes the solver.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.largest = 0.0
        self.start()

    def run(self) -> None:
        while True:
            time.sleep(0.01)
            for number in self._numbers():
                try:
                    status = Path(f"/proc/{number}/status").read_text()
                except OSError:  # it has ended
                    continue
                found = re.search(r"VmHWM:\s+(\d+)", status)
                if found and "python" not in status.split("\n", 1)[0]:
                    self.largest = max(self.largest, float(found[1]))

    def _numbers(self) -> list[str]:
        try:
            return [n for path in Path("/proc/self/task").glob("*/children") for n in path.read_text().split()]
        except OSError:
            return []


def measure(size: int, hours: int, how: str, bundles: int) -> dict[str, Any]:
    """One plan in this process (one rank of it)."""
    game = build(size, hours)
    import stackpyomo as sp

    children = Children()
    built = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rank = 0
    row: dict[str, Any] = {"built KB": built}
    if how == "model":
        return row
    if how == "hedged":
        from mpisppy.MPI import COMM_WORLD

        rank = COMM_WORLD.Get_rank()
    began = time.perf_counter()
    plan = sp.leader_optimal(game, engine=sp.Hedging(bundles=bundles or None) if how == "hedged" else "monolith")
    seconds = time.perf_counter() - began
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row.update(
        {
            "rank": rank,
            "seconds": seconds,
            "peak KB": own,
            "solver KB": children.largest,
            "objective": plan.leader_objective,
        }
    )
    row.update({"gap": plan.gap, "quality": plan.quality, "iterations": len(plan.log), "sign": game.leader.sign})
    row["variables"] = len(game.variables_by_name)
    return row


def run(size: int, hours: int, how: str, ranks: int = 1, bundles: int = 0) -> dict[str, Any]:
    """The run in processes of its own: the largest of the ranks' memory and time."""
    with tempfile.TemporaryDirectory() as folder:
        child = [sys.executable, os.path.abspath(__file__), "--child", how, folder]
        child += [str(size), "--hours", str(hours), "--bundles", str(bundles)]
        beside = Path(sys.executable).with_name("mpiexec")
        launcher = str(beside) if beside.exists() else shutil.which("mpiexec")
        command = [str(launcher), "-n", str(ranks), *child] if ranks > 1 else child
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        subprocess.run(command, check=True, env={**os.environ, **root}, stdout=subprocess.DEVNULL)
        rows = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
    assert len(rows) == ranks, "mpiexec does not belong to mpi4py's MPI library"
    return {key: max(row[key] for row in rows) if "KB" in key or key == "seconds" else rows[0][key] for key in rows[0]}


def compare(sizes: list[int], hours: int, bundles: int) -> pd.DataFrame:
    """One line for each size and way."""
    lines = []
    for size in sizes:
        whole = run(size, hours, "monolith")
        ways = [("monolith", whole)] + [
            (f"mpi-sppy, {n} rank{'s' * (n > 1)}", run(size, hours, "hedged", n, bundles)) for n in (1, 2)
        ]
        for way, row in ways:
            scale = max(1.0, abs(whole["objective"]))
            lines.append(
                {
                    "N": size,
                    "way": way,
                    "seconds": row["seconds"],
                    "iterations": row["iterations"] if way != "monolith" else 1,
                    "model MB": row["built KB"] / 1024,
                    "peak MB": row["peak KB"] / 1024,
                    "solver MB": row["solver KB"] / 1024,
                    "to monolith": whole["sign"] * (row["objective"] - whole["objective"]) / scale,
                    "bound gap": row["gap"],
                    "quality": row["quality"],
                }
            )
    return pd.DataFrame(lines)


def memory(ways: list[tuple[int, tuple[int, int]]], hedged: bool) -> pd.DataFrame:
    """KB per follower, from the difference of two sizes, and the N at which 16 and 24 GB are reached."""
    lines = []
    for hours, (few, many) in ways:
        for how in ("monolith", "hedged")[: 1 + hedged]:
            ranks = 2 if how == "hedged" else 1
            small, large = (run(size, hours, how, ranks) for size in (few, many))
            per = {key: (large[key] - small[key]) / (many - few) for key in ("built KB", "peak KB", "solver KB")}
            both, base = per["peak KB"] + per["solver KB"], small["peak KB"] - few * per["peak KB"]
            lines.append(
                {
                    "variables each": max(hours, 1) if hours else 2,
                    "way": "monolith" if how == "monolith" else "2 ranks, each",
                    "model KB": per["built KB"],
                    "process KB": per["peak KB"],
                    "solver KB": per["solver KB"],
                    "s per 1,000": (large["seconds"] - small["seconds"]) / (many - few) * 1000,
                    "N at 16 GB": (16 * GB - base) / both,
                    "N at 24 GB": (24 * GB - base) / both,
                }
            )
    return pd.DataFrame(lines)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="*", type=int, default=[100, 1_000, 10_000])
    parser.add_argument("--hours", type=int, default=0)
    parser.add_argument("--bundles", type=int, default=0, help="default: 2")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--child", nargs=2)
    arguments = parser.parse_args()
    if arguments.child:
        how, folder = arguments.child
        row = measure(arguments.sizes[0], arguments.hours, how, arguments.bundles)
        Path(folder, f"{row.get('rank', 0)}.json").write_text(json.dumps(row))
        return
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    if arguments.memory:
        table = memory([(0, (5_000, 20_000)), (24, (500, 2_000)), (96, (125, 500))], True)
    else:
        table = compare(arguments.sizes, arguments.hours, arguments.bundles)
    with pd.option_context("display.width", 200, "display.max_columns", None, "display.float_format", "{:.3g}".format):
        print(table.to_string(index=False))


if __name__ == "__main__":
    main()
