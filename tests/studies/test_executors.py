"""Executors: the same rows on any of them, and a worker that dies takes no other row along."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import launcher, ranks_environment, toll_game
from helpers.study_tasks import (
    DASK,
    GRID,
    POSIX,
    WAYS,
    curable,
    drawn,
    finished,
    lines,
    picky,
    same,
    slow,
    squared,
    study,
    timeless,
)

import stackpyomo as sp
from stackpyomo.studies import cluster


def test_results_that_are_plans_and_series() -> None:
    table = study(lambda i: sp.stackelberg(toll_game()), {"i": [0]})
    assert table.loc[0, "leader_objective"] == pytest.approx(2 / 325, abs=1e-7)
    assert "result.seconds" in table, "beside the row's own"
    table = study(lambda i: pd.Series({"a": i, "i": 7}), {"i": [5]})
    assert (table.loc[0, "a"], table.loc[0, "i"], table.loc[0, "result.i"]) == (5, 5, 7)


def test_a_result_that_cannot_be_kept_is_the_error_of_its_row() -> None:
    table = study(lambda x: object() if x else 1, {"x": [0, 1]})
    assert table["error"].isna().tolist() == [True, False]
    assert "object cannot be kept as JSON" in table.loc[1, "error"]


def make_task(power: int) -> Callable[..., Any]:
    def task(x: int) -> int:
        return int(x**power)

    return task


@dataclasses.dataclass
class Powers:
    power: int

    def __call__(self, x: int) -> int:
        return int(x**self.power)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (partial(squared, power=2), partial(squared, power=3)),
        (make_task(2), make_task(3)),
        (Powers(2), Powers(3)),
        (lambda x: x, lambda x: x + 1),
    ],
    ids=["partials", "closures", "objects", "lambdas"],
)
def test_tasks_that_differ_in_what_they_were_given(one: Any, other: Any, tmp_path: Path) -> None:
    study(one, {"x": [1, 2]}, store=tmp_path / "s.jsonl")
    study(one, {"x": [1, 2]}, store=tmp_path / "s.jsonl")
    with pytest.raises(sp.InvalidGame, match="the task is another one"):
        study(other, {"x": [1, 2]}, store=tmp_path / "s.jsonl")


def deadly(x: int) -> int:
    if x == 2:
        os._exit(3)
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def leaving(x: int) -> int:
    if x == 2:
        sys.exit("enough")
    return x


@pytest.fixture(scope="module")
def dask_workers() -> Iterator[Executor]:
    """Two, for every test here: a worker that dies is started anew."""
    with cluster("local:2") as executor:
        yield executor


def opened(way: str, request: pytest.FixtureRequest) -> AbstractContextManager[dict[str, Any]]:
    """What runs the rows, as arguments of a study."""
    return nullcontext({"executor": request.getfixturevalue("dask_workers")}) if way == "Dask" else WAYS[way]()


SOMEWHERE = [*WAYS, pytest.param("Dask", marks=DASK)]


@pytest.mark.parametrize("way", SOMEWHERE)
def test_the_same_rows_bit_for_bit(way: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    expected = study(drawn, GRID, seed=5)
    with opened(way, request) as options:
        table = study(drawn, GRID, seed=5, store=tmp_path / "s.jsonl", **options)
    assert timeless(table) == timeless(expected)
    assert sorted(row["row"] for row in lines(tmp_path / "s.jsonl")[1:]) == list(range(6))


@pytest.mark.parametrize("way", SOMEWHERE)
def test_a_task_that_raises_is_a_row(way: str, request: pytest.FixtureRequest) -> None:
    with opened(way, request) as options:
        table = study(picky, {"x": [1, 2, 4]}, **options)
    assert table["error"].tolist() == [None, "ValueError: two is\nnot a number of mine", None]
    assert table["result"].tolist()[::2] == [1.0, 0.25]
    assert math.isnan(table["result"][1])


@pytest.mark.parametrize("way", ["serial", "3 workers", "threads", "processes"])
def test_a_task_that_exits_is_a_row(way: str) -> None:
    with WAYS[way]() as options:
        table = study(leaving, {"x": [1, 2, 3]}, **options)
    assert table["error"].tolist() == [None, "SystemExit: enough", None]


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize("way", ["1 worker", "3 workers", pytest.param("Dask", marks=DASK)])
def test_a_worker_that_dies_takes_its_own_row_along(way: str, request: pytest.FixtureRequest) -> None:
    with opened(way, request) as options:
        table = study(deadly, {"x": [1, 2, 3, 4, 5, 6]}, **options)
    assert table["error"].isna().tolist() == [True, False, False, True, True, True]
    assert table["error"].str.startswith("WorkerDied: the process that ran it ended").sum() == 2
    if way != "Dask":
        assert "(exit code 3)" in table.loc[1, "error"]
        assert "(SIGKILL)" in table.loc[2, "error"]
    assert table["result"].tolist()[3:] == [4, 5, 6]


def once(x: int, folder: str) -> int:
    """The first process that comes to it dies, the second does not."""
    mark = Path(folder) / str(x)
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return x


def test_a_worker_that_dies_once_costs_nothing(tmp_path: Path) -> None:
    table = study(once, {"x": [1, 2, 3], "folder": [str(tmp_path)]}, workers=2)
    assert table["error"].isna().all()
    assert table["result"].tolist() == [1, 2, 3]


def dismissed(x: int, folder: str) -> int:
    """The first process that comes to it is told to end, as an administrator does."""
    mark = Path(folder) / str(x)
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    return x


@POSIX
def test_a_worker_that_is_told_to_end_once_costs_nothing(tmp_path: Path) -> None:
    table = study(dismissed, {"x": [1, 2, 3], "folder": [str(tmp_path)]}, workers=2)
    assert table["error"].isna().all()
    assert table["result"].tolist() == [1, 2, 3]


@pytest.mark.slow
def test_a_pool_that_breaks_keeps_what_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    with ProcessPoolExecutor(2) as executor, pytest.raises(sp.InvalidGame, match="executor: it broke down"):
        study(slow, {"x": [0, 1, 2]}, store=path, executor=executor)
    assert [row["row"] for row in lines(path)[1:]] == [1, 2]
    assert study(slow, {"x": [0, 1, 2]}, store=path, workers=1)["error"].notna().tolist() == [True, False, False]


def test_an_executor_that_was_shut_down(tmp_path: Path) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(sp.InvalidGame, match="does not take the task"):
        study(same, {"x": [1]}, executor=executor)


MPI_SCRIPT = """
import os
import sys
from functools import partial
from threading import Lock

import numpy as np
from mpi4py.futures import MPIPoolExecutor

import stackpyomo as sp


def drawn(x, seed, lock=None):
    if x == 2:
        raise ValueError("two")
    return {"square": x * x, "draw": float(np.random.default_rng(seed).normal()), "process": os.getpid()}


if __name__ == "__main__":
    with MPIPoolExecutor() as executor:
        table = sp.study(drawn, {"x": range(6)}, executor=executor, store="s.jsonl")
        assert os.getpid() not in set(table["process"])
        try:
            sp.study(partial(drawn, lock=Lock()), {"x": [1]}, executor=executor)
        except sp.InvalidGame as error:
            assert "cannot be sent to a worker" in str(error)
        else:
            raise SystemExit("a lock was sent")
    wanted = sp.study(drawn, {"x": range(6)}).drop(columns=["seconds", "process"])
    assert repr(table.drop(columns=["seconds", "process"])) == repr(wanted)
    print("the same rows")
"""


@pytest.mark.slow
@pytest.mark.skipif(launcher() is None, reason="needs mpi4py and mpiexec")
def test_mpi(tmp_path: Path) -> None:
    """One process that asks, one that works, as ``mpiexec -n 2 python -m mpi4py.futures script.py``."""
    (tmp_path / "script.py").write_text(MPI_SCRIPT)
    done = subprocess.run(
        [str(launcher()), "-n", "2", sys.executable, "-m", "mpi4py.futures", "script.py"],
        cwd=tmp_path,
        env=ranks_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "the same rows\n"), done.stderr
    assert len(lines(tmp_path / "s.jsonl")) == 7


@pytest.mark.slow
@DASK
def test_a_scheduler_that_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    with cluster("local:1") as executor:
        client = executor._client  # type: ignore[attr-defined]

        def leave() -> None:
            while finished(path) < 3:
                time.sleep(0.05)
            client.cluster.close()

        threading.Thread(target=leave, daemon=True).start()
        with pytest.raises(sp.InvalidGame, match="executor"):
            study(slow, {"x": range(1, 100)}, store=path, executor=executor)
    assert 3 <= len(lines(path)) - 1 < 99
    assert (sp.read_study(path)["result"] > 0).all()


@DASK
@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("local:0", "expected an integer from 1 on"),
        ("local:many", "expected an integer from 1 on"),
        ("tcp://127.0.0.1:9", "no scheduler answers there"),
        ("nonsense://x:1", "no scheduler answers there"),
    ],
)
def test_schedulers_that_cannot_be_used(address: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stackpyomo.studies.executors._PATIENCE", 1)
    with pytest.raises(sp.InvalidGame, match=words), cluster(address):
        pass


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(sp.InvalidGame, match=r"pip install .stackpyomo\[dask\]"), cluster("local"):
        pass


@pytest.mark.slow
@DASK
def test_a_task_that_dask_cannot_send(tmp_path: Path) -> None:
    """In the words of what it could not take; what Dask can send (a lambda) is run."""
    with cluster("local:1") as executor:
        with pytest.raises(sp.InvalidGame, match=r"does not take the task \(TypeError: cannot pickle '_thread.lock'"):
            study(partial(curable, folder=threading.Lock()), {"x": [1]}, store=tmp_path / "s.jsonl", executor=executor)
        assert study(lambda x: x + 1, {"x": [1]}, executor=executor)["result"].tolist() == [2]
    assert sp.read_study(tmp_path / "s.jsonl").empty


@DASK
def test_a_scheduler_without_workers() -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, dashboard_address=":0") as alone:  # type: ignore[no-untyped-call]
        address = alone.scheduler_address
        with pytest.raises(sp.InvalidGame, match="has no workers; start some"), cluster(address):
            pass
