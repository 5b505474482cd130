"""What a study costs beside its tasks, and what workers gain.

Run ``python benchmarks/studies.py``: milliseconds per task on top of the task (store on disk, one fsync a row), for a
study in one process and on two workers; then rows per second on one and on two workers, processes of one's own and,
where Dask is installed, a local cluster. Tasks take a second of a core each; with ``--wait`` they wait for a second,
which shows the scheduling alone on a machine that others use, too.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import stackpyomo as sp
from stackpyomo.studies import cluster

ROWS, LONG = 500, 12


def nothing(x: int) -> int:
    """A task that takes no time."""
    return x


def second(x: int) -> float:
    """A task of about a second, all of it computing on one core."""
    end, total = time.process_time() + 1.0, 0.0
    while time.process_time() < end:
        total += float(np.sin(x + np.arange(1000.0)).sum())
    return total


def wait(x: int) -> int:
    """A task that takes a second and no core."""
    time.sleep(1.0)
    return x


def seconds_of(task: Any, rows: int, **options: Any) -> float:
    """Of a study with a store."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        table = sp.study(task, {"x": range(rows)}, store=Path(folder) / "s.jsonl", progress=False, **options)
        assert table["error"].isna().all()
        return time.perf_counter() - began


def on_dask(task: Any, workers: int) -> float:
    """Seconds of the long tasks, the cluster being there."""
    with cluster(f"local:{workers}") as executor:
        seconds_of(nothing, 2 * workers, executor=executor)  # everybody has imported everything
        return seconds_of(task, LONG, executor=executor)


def main() -> None:
    """Print the figures."""
    task = wait if "--wait" in sys.argv[1:] else second
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, options in (("one process", {}), ("two workers", {"workers": 2})):
        print(f"{name}: {1000 * seconds_of(nothing, ROWS, **options) / ROWS:.1f} ms per task beside the task")
    if find_spec("distributed"):
        with cluster("local:2") as executor:
            seconds_of(nothing, 4, executor=executor)
            print(f"Dask: {1000 * seconds_of(nothing, ROWS, executor=executor) / ROWS:.1f} ms per task beside the task")
    one, two = (seconds_of(task, LONG, workers=number) for number in (1, 2))
    print(f"own workers: {LONG / one:.2f} rows a second on one, {LONG / two:.2f} on two: {one / two:.2f} ×")
    if find_spec("distributed"):
        one, two = on_dask(task, 1), on_dask(task, 2)
        print(f"Dask: {LONG / one:.2f} rows a second on one, {LONG / two:.2f} on two: {one / two:.2f} ×")


if __name__ == "__main__":
    main()
