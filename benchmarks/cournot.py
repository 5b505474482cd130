"""From a ready Cournot–Stackelberg game to a verified plan: seconds, stage by stage, for 2 to 100,000 followers.

The game is ``models/cournot.py``: N followers of different costs answer a leader, and a third or more stay out;
``--all-active`` gives all of them the leader's cost (its output is then 44), the instance that other tools were run on.
Timed is ``plan = sp.stackelberg(game)``, which ends with a re-solve of every follower; ``ok`` is ``plan.report.ok``:
no follower would leave. "best" says more: the leader's profit is the closed form's, to 1e-6.
"processor" is of this process and its solvers, all else by the clock. Building the game is not counted. Each size runs
in a process of its own, so that peak memory is that size's.

conditions, build, write, solve, verify are stages of the plan; compose, certify, resolve those of the verification that
its answer was judged by. "in solver" is the time inside solvers in both, their start and the reading of answers
included; "outside" is the rest. The errors are against the closed form: of the leader's output and profit, relative; of
the followers' outputs, the largest, relative to the largest output. "regret/profit" is the largest regret relative to
the largest follower's profit: for large N profits shrink as 1/N², and the absolute regret alone says less and less.
"solver GB" is the largest child's peak; where the solver is small it shows what the child held before it became one.

``python benchmarks/cournot.py`` runs N = 2, 10, 100, 300, 1,000, 10,000, 100,000, or the sizes named.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SIZES = [2, 10, 100, 300, 1_000, 10_000, 100_000]
STAGES = ["conditions", "build", "write", "solve", "verify"]
VERIFICATION = ["compose", "certify", "resolve"]

PEERS = """Others on the instance of --all-active, as given in the project's issue (seconds, not measured here):
    GAMS EMP with RESHOP    0.10 at N = 10, 0.16 at 100, 0.71 at 300, where its free licence ends (2 cores)
    Pyomo core.kkt + Ipopt  0.6 at N = 10, 1.5 at 100, 30 at 300
    NashOpt                 25 at N = 50; at 100 a wrong answer after 83 (leader 20.26 instead of 44)"""


def measure(size: int, all_active: bool) -> dict[str, Any]:
    """Seconds per stage, memory and errors of one run."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import stackpyomo as sp
    from models import cournot
    from stackpyomo.solvers import registry

    inside = 0.0

    def clocked(run: Any) -> Any:
        def wrapper(*args: Any) -> Any:
            nonlocal inside
            began = time.perf_counter()
            try:
                return run(*args)
            finally:
                inside += time.perf_counter() - began

        return wrapper

    for name, info in registry.items():
        registry[name] = dataclasses.replace(info, run=clocked(info.run))
    spread = {"low": 0.0, "high": 0.0} if all_active else {}
    began = time.perf_counter()
    game = cournot.build(size, **spread)
    model = time.perf_counter() - began
    began, used = time.perf_counter(), os.times()
    plan = sp.stackelberg(game)
    total, now = time.perf_counter() - began, os.times()
    best, costs = cournot.optimum(size, **spread), cournot.costs(size, **spread)
    sold = np.array([plan.value(f"firm[{i}].quantity") for i in range(1, size + 1)])
    wanted = np.maximum(0.0, (best.price - costs) / 2)
    report = plan.report
    assert report is not None
    return {
        "N": size,
        "(model)": model,
        "processor": sum(now[:4]) - sum(used[:4]),
        "total": total,
        **{stage: plan.seconds.get(stage, 0.0) for stage in STAGES},
        **{f"  {stage}": report.seconds[stage] for stage in VERIFICATION},
        "in solver": inside,
        "outside": total - inside,
        "attempts": len(plan.log),
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "solver GB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
        "ok": report.ok,
        "best": bool(abs(plan.leader_objective / best.profit - 1) <= 1e-6),
        "convex": int((report.certificate == "convex").sum()),
        "optimal": plan.quality == "optimal",
        "staying out": float(np.mean(costs >= best.price)),
        "at a kink": bool(np.abs(costs - best.price).min() <= 1e-9 * (best.price - cournot.LEADER_COST)),
        "leader": plan.value("quantity"),
        "output error": abs(plan.value("quantity") / best.quantity - 1),
        "profit error": abs(plan.leader_objective / best.profit - 1),
        "follower error": float(np.abs(sold - wanted).max() / wanted.max()),
        "regret": report.epsilon,
        "regret/profit": report.epsilon / float(report.objective.max()),
    }


def run(size: int, repeats: int, all_active: bool) -> dict[str, Any]:
    """Medians over ``repeats`` processes; what is not a number must be the same in all."""
    command = [sys.executable, os.path.abspath(__file__), "--child", str(size)]
    command += ["--all-active"] if all_active else []
    rows = [
        json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        for _ in range(repeats)
    ]
    return {
        key: all(row[key] for row in rows) if isinstance(first, bool) else statistics.median(row[key] for row in rows)
        for key, first in rows[0].items()
    }


def main() -> None:
    """Print one table over the sizes, and the growth exponent between neighbours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--all-active", action="store_true", help="all followers' costs equal to the leader's")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.child, arguments.all_active)))
        return
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, "
        f"medians of {arguments.repeats}, {'all followers produce' if arguments.all_active else 'some stay out'}"
    )
    rows = [run(size, arguments.repeats, arguments.all_active) for size in sorted(arguments.sizes)]
    table = pd.DataFrame(rows).set_index("N")
    sizes = table.index.to_series()
    table.insert(3, "exponent", np.log(table["total"] / table["total"].shift()) / np.log(sizes / sizes.shift()))
    with pd.option_context("display.width", 200, "display.max_columns", None, "display.max_rows", None):
        print(table.map(_shown).T.to_string())
    print(PEERS)
    if not (table["ok"].all() and table["best"].all()):
        raise SystemExit("not every plan is verified and best for the leader")


def _shown(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return "" if pd.isna(value) else f"{value:.3g}" if isinstance(value, float) else f"{value:,}"


if __name__ == "__main__":
    main()
