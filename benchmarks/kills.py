"""What a study survives: SIGKILL at random moments, to the process that runs it and to its workers.

Studies of 60 rows are started again and again, and killed again and again; after every kill the store is read: no row
may be lost, doubled or changed. A study that comes to its end must equal one that nobody disturbed, bit for bit.

Run ``python benchmarks/kills.py`` for 200 kills on two workers, ``--workers 0`` for a study without workers, ``--on
dask`` for a local Dask cluster, ``--on pool`` for a ProcessPoolExecutor (whose own workers stay behind when the process
that made it is killed: they are counted, and ended here); ``--kills`` and ``--seed`` as you like.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import stackpyomo as sp
from stackpyomo.studies import cluster

ROWS = 60
PATIENCE = 60.0
"""Seconds that anything may take to end."""


def task(x: int, seed: int) -> dict[str, Any]:
    """Some milliseconds of work, and numbers of many digits."""
    drawn = np.random.default_rng(seed).normal(size=3)
    time.sleep(0.01 + 0.02 * float(np.abs(drawn[0]) % 1))
    return {"mean": float(drawn.mean()), "root": float(np.sqrt(x)), "draws": drawn.tolist(), "none": float("nan")}


def executor_of(on: str, workers: int) -> AbstractContextManager[Executor | None]:
    """Where the rows are run; None: by the study itself."""
    if on == "dask":
        return cluster(f"local:{workers}")
    return ProcessPoolExecutor(workers) if on == "pool" else nullcontext()


def play(store: Path, workers: int, on: str) -> None:
    """The study in this process."""
    own = None if on != "workers" else workers or None
    with executor_of(on, workers) as executor:
        sp.study(
            task, {"x": range(ROWS)}, store=store, executor=executor, workers=own, retry_failed=True, progress=False
        )


def started(store: Path, workers: int, on: str) -> int:
    """The study in a process of its own: its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
        play(store, workers, on)
        code = 0
    except sp.StackpyomoError:
        code = 2  # an executor that broke down, or was not to be had, told in words
    finally:
        os._exit(code)


def children(parent: int) -> list[int]:
    """The processes that it started, from any of its threads."""
    try:
        listed = [path.read_text().split() for path in Path(f"/proc/{parent}/task").glob("*/children")]
    except OSError:
        return []
    return [int(word) for words in listed for word in words]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def rows_of(store: Path) -> dict[int, str]:
    """Row number → its line; a line that was not finished is none. Fails for a doubled row."""
    if not store.exists():
        return {}
    text = store.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()[1:]]
    found = {line["row"]: json.dumps(line, sort_keys=True) for line in lines}
    assert len(found) == len(lines), "a row is there twice"
    return found


def whole(table: pd.DataFrame) -> str:
    """All but the seconds, with every digit."""
    return repr(table.drop(columns="seconds").to_dict("records"))


def waited(child: int) -> int | None:
    """Its exit code, if it has one by now."""
    done, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def storm(kills: int, workers: int = 2, on: str = "workers", seed: int = 0, folder: Path | None = None) -> Counter[str]:
    """Counts of what was killed and what came of it; fails if a row is lost, doubled or changed."""
    chance, told = random.Random(seed), Counter[str]()
    home = Path(tempfile.mkdtemp(prefix="kills-")) if folder is None else folder
    wanted = whole(sp.study(task, {"x": range(ROWS)}, progress=False))
    while told["kills"] < kills:
        store = home / f"{told['studies']}.jsonl"
        kept: dict[int, str] = {}
        while True:
            kept, code = _blow(store, workers, on, chance, told, kept, kills)
            if code == 0:
                break
        assert len(kept) == ROWS
        assert whole(sp.read_study(store)) == wanted, "not as without kills"
        told["studies"] += 1
    return told


def _blow(
    store: Path, workers: int, on: str, chance: random.Random, told: Counter[str], kept: dict[int, str], kills: int
) -> tuple[dict[int, str], int | None]:
    """Start the study, kill something (perhaps several workers) until it ends, and see what is left of it."""
    child, seen, code = started(store, workers, on), set[int](), None
    end = time.monotonic() + PATIENCE
    while code is None:
        assert time.monotonic() < end, "it hangs"
        time.sleep(chance.uniform(0.0, 2.5 if on == "dask" else 0.5))
        hands = children(child)
        seen.update(hands)
        code = waited(child)
        if code is None and told["kills"] < kills:
            victim = chance.choice(hands) if hands and chance.random() < 0.5 else child
            told["kills"] += 1
            told["main process" if victim == child else "workers"] += 1
            os.kill(victim, signal.SIGKILL)
            if victim == child:
                _, status = os.waitpid(child, 0)
                code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL) or (on != "workers" and code == 2), f"it ended with {code}"
    told["executors that broke down"] += code == 2
    left = rows_of(store)
    failed = {number for number, line in kept.items() if json.loads(line)["error"]}
    assert all(left[number] == line for number, line in kept.items() if number not in failed), (
        "a row is lost or changed"
    )
    told["rows of workers killed twice"] += len(failed)
    if on == "pool":
        _bury(seen, told)
    while any(alive(process) for process in seen):
        assert time.monotonic() < end, "workers are left behind"
        time.sleep(0.01)
    if code == 0 and any(json.loads(line)["error"] for line in left.values()):
        return left, None  # once more, with retry_failed
    return left, code


def _bury(seen: set[int], told: Counter[str]) -> None:
    """End workers that wait for a process that is gone; a ProcessPoolExecutor's do."""
    time.sleep(0.2)
    for process in filter(alive, seen):
        told["pool workers that stayed behind"] += 1
        os.kill(process, signal.SIGKILL)


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--on", choices=("workers", "pool", "dask"), default="workers")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.perf_counter()
    told = storm(given.kills, given.workers, given.on, given.seed)
    print(", ".join(f"{number} {what}" for what, number in told.items()))
    print(f"0 rows lost, 0 doubled, {told['studies']} studies as without kills; {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
