"""The plot of README.md: processor seconds from a ready game to a verified rule, against the number of followers.

The game is that of ``scale.py``: N followers with costs of their own and two actions each, coupled by an average. Timed
is each of ``leader_optimal``, ``affine_incentive`` and ``verify``, with the solvers they start, in its own process.

``python benchmarks/speed.py 10 100 1000 10000`` measures, writes ``benchmarks/speed.json`` with the machine and the
versions, and draws ``docs/speed.svg``; without sizes it draws what the file holds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parent
STAGES = {"leader_optimal": "#20507a", "affine_incentive": "#d98c1f", "verify": "#2a7f4f"}


def seconds() -> float:
    """Processor seconds of this process and of those that it waited for."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def measure(size: int) -> dict[str, Any]:
    """One run; raises SystemExit where the rule is not verified."""
    sys.path[:0] = [str(HOME), str(HOME.parent)]
    from scale import build

    import stackpyomo as sp

    result: Any = build(size)
    row: dict[str, Any] = {"followers": size}
    for stage in STAGES:
        began = seconds()
        result = getattr(sp, stage)(result)
        row[stage] = round(seconds() - began, 3)
    if not result.ok:
        raise SystemExit(f"{size} followers: {result.verdict}")
    return row


def draw(data: dict[str, Any], path: Path) -> None:
    """One line a stage and their sum, on logarithmic axes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = data["rows"]
    sizes = [row["followers"] for row in rows]
    with mpl.rc_context({"svg.hashsalt": "stackpyomo", "font.size": 9}):
        figure = Figure(figsize=(5.6, 2.6), layout="constrained")
        ax = figure.subplots()
        ax.plot(sizes, [sum(row[stage] for stage in STAGES) for row in rows], "o-", color="#1b1f24", label="in all")
        for stage, colour in STAGES.items():
            ax.plot(sizes, [row[stage] for row in rows], ".--", color=colour, label=stage, linewidth=1)
        ax.set(xscale="log", yscale="log", xlabel="followers", ylabel="processor seconds")
        ax.grid(visible=True, alpha=0.3)
        ax.legend(frameon=False)
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, or draw what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sizes", nargs="*", type=int)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    store = HOME / "speed.json"
    if arguments.child:
        print(json.dumps(measure(arguments.child)))
        return
    if arguments.sizes:
        command = [sys.executable, os.path.abspath(__file__), "--child"]
        rows = [
            json.loads(subprocess.run([*command, str(size)], check=True, stdout=subprocess.PIPE, text=True).stdout)
            for size in arguments.sizes
        ]
        packages = {name: version(name) for name in ("pyomo", "numpy", "scipy", "pyomo-pounce")}
        machine = {"python": platform.python_version(), "platform": platform.platform(), "cores": os.cpu_count()}
        machine["load"] = round(os.getloadavg()[0], 1)
        date = datetime.now(timezone.utc).date().isoformat()
        store.write_text(json.dumps({"date": date, **machine, **packages, "rows": rows}, indent=2) + "\n")
    draw(json.loads(store.read_text()), HOME.parent / "docs" / "speed.svg")


if __name__ == "__main__":
    main()
