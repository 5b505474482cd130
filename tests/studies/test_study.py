"""Studies: the same rows on any executor, nothing lost whatever stops them, and stores that are never mixed."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import launcher, ranks_environment, strict, toll_game, wait_until
from processes import Command

import stackpyomo as sp
from benchmarks.kills import storm
from stackpyomo.studies import cluster, plain, write_parquet
from stackpyomo.studies import store as stores
from stackpyomo.studies.store import Store

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
DASK = pytest.mark.skipif(find_spec("distributed") is None, reason="needs Dask")
GRID = {"x": [1, 2, 3], "y": [0.1, 0.2]}

study = partial(sp.study, progress=False)


def drawn(x: int, y: float, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {"product": x * y, "draw": float(random.normal()), "root": np.sqrt(x), "pair": (x, y)}


def same(x: int) -> int:
    return x


def picky(x: int) -> float:
    if x == 2:
        raise ValueError("two is\nnot a number of mine")
    return 1.0 / x


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


def curable(x: int, folder: str) -> int:
    """Fails until there is a file "cured"; counts its calls."""
    with open(os.path.join(folder, "calls"), "a") as calls:
        calls.write(f"{x}\n")
    if x % 2 and not os.path.exists(os.path.join(folder, "cured")):
        raise RuntimeError(f"{x} is ill")
    return x


def timeless(table: pd.DataFrame) -> str:
    """All but the seconds, with every digit."""
    return repr(table.drop(columns="seconds").to_dict("records"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [strict(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- grids --------------------------------------------------------------------------------------------------------


def test_a_grid_is_all_combinations() -> None:
    table = study(drawn, GRID)
    assert list(table.columns) == ["x", "y", "product", "draw", "root", "pair", "error", "seconds"]
    assert list(table["x"]) == [1, 1, 2, 2, 3, 3]
    assert list(table["y"]) == [0.1, 0.2] * 3
    assert list(table["product"]) == [x * y for x in (1, 2, 3) for y in (0.1, 0.2)]
    assert table.index.name == "row"
    assert table["error"].isna().all()
    assert (table["seconds"] >= 0).all()


def test_a_list_and_a_frame_are_their_rows() -> None:
    rows = [{"x": 3, "y": 0.5}, {"x": 1, "y": 0.25}]
    listed = study(drawn, rows)
    assert timeless(listed) == timeless(study(drawn, pd.DataFrame(rows)))
    assert list(listed["x"]) == [3, 1]


def test_a_single_value_is_one_value() -> None:
    assert list(study(lambda name, x: f"{name}{x}", {"name": "abc", "x": np.arange(2)})["result"]) == ["abc0", "abc1"]


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({}, "no rows"),
        ([], "no rows"),
        ({"x": []}, "no rows"),
        (pd.DataFrame(), "no rows"),
        (7, "grid=int: expected a dict"),
        ("abc", "grid=str"),
        ([1, 2], "grid=list"),
        ({"x": [object()]}, "grid: a object cannot be kept as JSON"),
        ({"x": [{1, 2}]}, "grid: a set"),
        ({"error": [1]}, "'error' is a column of the results"),
    ],
)
def test_grids_that_are_none(grid: Any, words: str) -> None:
    with pytest.raises(sp.InvalidGame, match=words):
        study(same, grid)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "workers=0"),
        ({"workers": True}, "workers=True"),
        ({"workers": 2.0}, "workers=2.0"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 0.5}, "seed=0.5"),
        ({"executor": "dask"}, "executor=str: expected one of concurrent.futures"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(sp.InvalidGame, match=words):
        study(same, {"x": [1]}, **options)


def test_an_executor_or_workers() -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(sp.InvalidGame, match="not both"):
        study(same, {"x": [1]}, executor=executor, workers=2)
    with pytest.raises(sp.InvalidGame, match="task=3"):
        study(3, {"x": [1]})  # type: ignore[arg-type]


# --- results ------------------------------------------------------------------------------------------------------


def test_results_of_every_kind(tmp_path: Path) -> None:
    """What comes back is what the store holds, also numbers that JSON has no word for."""
    kinds = [1, 0.1, "text", None, True, math.nan, math.inf, -math.inf, np.float64(0.5), np.arange(2), (1, "a")]
    table = study(lambda i: {"kind": kinds[i]}, {"i": range(len(kinds))}, store=tmp_path / "s.jsonl")
    told = [1, 0.1, "text", None, True, None, math.inf, -math.inf, 0.5, [0, 1], [1, "a"]]
    assert repr(list(table["kind"])) == repr(told)
    assert timeless(sp.read_study(tmp_path / "s.jsonl")) == timeless(table)
    assert len(lines(tmp_path / "s.jsonl")) == len(kinds) + 1, "each line is JSON as the standard has it"


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


# --- the same on any executor -------------------------------------------------------------------------------------


@contextmanager
def serial() -> Iterator[dict[str, Any]]:
    yield {}


@contextmanager
def own(number: int) -> Iterator[dict[str, Any]]:
    yield {"workers": number}


@contextmanager
def pool(kind: Callable[[int], Executor], number: int) -> Iterator[dict[str, Any]]:
    with kind(number) as executor:
        yield {"executor": executor}


@contextmanager
def dask(number: int) -> Iterator[dict[str, Any]]:
    with cluster(f"local:{number}") as executor:
        yield {"executor": executor}


WAYS = {
    "serial": serial,
    "1 worker": partial(own, 1),
    "3 workers": partial(own, 3),
    "threads": partial(pool, ThreadPoolExecutor, 3),
    "processes": partial(pool, ProcessPoolExecutor, 2),
    "Dask": partial(dask, 2),
}
SOMEWHERE = [pytest.param(way, marks=DASK if way == "Dask" else ()) for way in WAYS]


@pytest.mark.parametrize("way", SOMEWHERE)
def test_the_same_rows_bit_for_bit(way: str, tmp_path: Path) -> None:
    expected = study(drawn, GRID, seed=5)
    with WAYS[way]() as options:
        table = study(drawn, GRID, seed=5, store=tmp_path / "s.jsonl", **options)
    assert timeless(table) == timeless(expected)
    assert sorted(row["row"] for row in lines(tmp_path / "s.jsonl")[1:]) == list(range(6))


@pytest.mark.parametrize("way", SOMEWHERE)
def test_a_task_that_raises_is_a_row(way: str) -> None:
    with WAYS[way]() as options:
        table = study(picky, {"x": [1, 2, 4]}, **options)
    assert table["error"].tolist() == [None, "ValueError: two is\nnot a number of mine", None]
    assert table["result"].tolist()[::2] == [1.0, 0.25]
    assert math.isnan(table["result"][1])


@pytest.mark.parametrize("way", ["serial", "3 workers", "threads", "processes"])
def test_a_task_that_exits_is_a_row(way: str) -> None:
    with WAYS[way]() as options:
        table = study(leaving, {"x": [1, 2, 3]}, **options)
    assert table["error"].tolist() == [None, "SystemExit: enough", None]


def test_seeds() -> None:
    """One for each row, whatever else is in the grid; other ones for another seed; a seed of the grid comes first."""
    table = study(lambda x, seed: {"s": seed}, {"x": range(100)})
    assert table["s"].nunique() == 100
    assert table["s"].max() < 2**53
    assert list(study(lambda x, seed: {"s": seed}, {"x": range(50)})["s"]) == list(table["s"][:50])
    assert not set(study(lambda x, seed: {"s": seed}, {"x": range(100)}, seed=1)["s"]) & set(table["s"])
    assert list(study(lambda x, seed: {"s": seed}, {"x": [1], "seed": [7, 8]})["s"]) == [7, 8]


# --- workers that die ---------------------------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize("way", ["1 worker", "3 workers", pytest.param("Dask", marks=DASK)])
def test_a_worker_that_dies_takes_its_own_row_along(way: str) -> None:
    with WAYS[way]() as options:
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


def slow(x: int) -> int:
    time.sleep(0.2 if x else 1.0)
    if not x:
        os._exit(1)
    return x


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
    monkeypatch.setattr("stackpyomo.studies.dask_cluster._PATIENCE", 1)
    with pytest.raises(sp.InvalidGame, match=words), cluster(address):
        pass


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(sp.InvalidGame, match=r"pip install .stackpyomo\[dask\]"), cluster("local"):
        pass


@pytest.mark.parametrize("way", ["3 workers", "processes"])
def test_a_task_that_cannot_be_sent(way: str, tmp_path: Path) -> None:
    """Said before anything is written."""
    lock = threading.Lock()
    with WAYS[way]() as options:
        for task in (lambda x: x, partial(curable, folder=lock)):
            with pytest.raises(sp.InvalidGame, match="cannot be sent to a worker"):
                study(task, {"x": [1]}, store=tmp_path / "s.jsonl", **options)
    assert list(tmp_path.iterdir()) == []
    assert study(lambda x: x, {"x": [1]}, executor=ThreadPoolExecutor(1))["result"].tolist() == [1], "threads need not"


@DASK
def test_a_task_that_dask_cannot_send(tmp_path: Path) -> None:
    """In the words of what it could not take; what Dask can send (a lambda) is run."""
    with dask(1) as options:
        with pytest.raises(sp.InvalidGame, match=r"does not take the task \(TypeError: cannot pickle '_thread.lock'"):
            study(partial(curable, folder=threading.Lock()), {"x": [1]}, store=tmp_path / "s.jsonl", **options)
        assert study(lambda x: x + 1, {"x": [1]}, **options)["result"].tolist() == [2]
    assert sp.read_study(tmp_path / "s.jsonl").empty


@DASK
def test_a_scheduler_without_workers() -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, dashboard_address=":0") as alone:  # type: ignore[no-untyped-call]
        address = alone.scheduler_address
        with pytest.raises(sp.InvalidGame, match="has no workers; start some"), cluster(address):
            pass


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


# --- going on -----------------------------------------------------------------------------------------------------


def called(folder: Path) -> list[int]:
    return sorted(int(word) for word in (folder / "calls").read_text().split())


@pytest.mark.parametrize("way", ["serial", "3 workers"])
def test_retry_failed(way: str, tmp_path: Path) -> None:
    grid, path = {"x": range(6), "folder": str(tmp_path)}, tmp_path / "s.jsonl"

    def again(**more: Any) -> list[int]:
        with WAYS[way]() as options:
            table = study(curable, grid, store=path, **options, **more)
        assert len(lines(path)) == 7
        return [row for row, error in table["error"].items() if error]

    assert again() == [1, 3, 5]
    assert again() == [1, 3, 5]
    assert called(tmp_path) == [0, 1, 2, 3, 4, 5], "a failed row is finished, too"
    assert again(retry_failed=True) == [1, 3, 5]
    (tmp_path / "cured").touch()
    assert again(retry_failed=True) == []
    assert again(retry_failed=True) == []
    assert called(tmp_path) == sorted([0, 1, 2, 3, 4, 5, 1, 3, 5, 1, 3, 5])
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("s.jsonl")] == ["s.jsonl"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "s.jsonl")
    study(picky, {"x": [1, 2]}, store=link)
    study(picky, {"x": [1, 2]}, store=link, retry_failed=True)
    assert link.is_symlink()
    assert len(lines(tmp_path / "s.jsonl")) == 3


def make_task(power: int) -> Callable[..., Any]:
    def task(x: int) -> int:
        return int(x**power)

    return task


@dataclasses.dataclass
class Powers:
    power: int

    def __call__(self, x: int) -> int:
        return int(x**self.power)


def squared(x: int, power: int = 2) -> int:
    return int(x**power)


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "another task": ({"task": picky}, "the task is another one, or was changed"),
    "another value": ({"grid": {"x": [1, 3]}}, "the grid was changed"),
    "another name": ({"grid": {"power": [1, 2]}}, "the grid was changed"),
    "more rows": ({"grid": {"x": [1, 2, 3]}}, "the grid was changed; the number of rows"),
    "another order": ({"grid": {"x": [2, 1]}}, "the grid was changed"),
    "another seed": ({"seed": 1}, "the seed is another one"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_study_is_never_mixed(change: str, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    given: dict[str, Any] = {"task": squared, "grid": {"x": [1, 2]}, "seed": 0}
    study(**given, store=path)
    before = path.read_bytes()
    edits, words = CHANGES[change]
    with pytest.raises(sp.InvalidGame, match=words) as error:
        study(**{**given, **edits}, store=path)
    assert str(path) in str(error.value)
    assert path.read_bytes() == before
    assert list(study(**given, store=path)["result"]) == [1, 4]


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


def test_a_store_cut_anywhere_is_recovered(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At every byte: what is whole is kept, the rest run again, and that is told."""
    path = tmp_path / "s.jsonl"
    wanted = timeless(study(squared, {"x": [1, 2, 3]}, store=path))
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        whole = data[:size].count(b"\n")
        caplog.clear()
        store = Store(json.loads(data.split(b"\n")[0]), path)
        store.open()
        store.close()
        assert len(store.rows) == max(0, whole - 1)
        torn = size > 0 and not data[:size].endswith(b"\n")
        assert ("was not finished" in store.recovered) == ("was not finished" in caplog.text) == torn
        if size % 40 == 0:
            path.write_bytes(data[:size])
            assert timeless(study(squared, {"x": [1, 2, 3]}, store=path)) == wanted
            assert len(lines(path)) == 4


def test_a_line_that_was_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its row is run again; those after it are kept."""
    path = tmp_path / "s.jsonl"
    wanted = timeless(study(squared, {"x": [1, 2, 3]}, store=path))
    head, first, _, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(head + first + b"\0" * 20 + b"\n" + third)
    assert timeless(study(squared, {"x": [1, 2, 3]}, store=path)) == wanted
    assert "line 3 cannot be read; what stood there is run again" in caplog.text
    assert path.read_bytes().startswith(head + first + b"\0" * 20 + b"\n" + third)
    assert timeless(sp.read_study(path)) == wanted


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "no line", "{}\n", '{"format": "stackpyomo-game/1"}\n', "\n", "[1]\n"])
def test_a_file_that_is_no_store_is_left_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(sp.InvalidGame, match="is no store of a study"):
        study(same, {"x": [1]}, store=path)
    with pytest.raises(sp.InvalidGame, match="is no store of a study"):
        sp.read_study(path)
    assert path.read_text() == text


def test_stores_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(sp.InvalidGame, match="cannot be opened"):
        study(same, {"x": [1]}, store=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(sp.InvalidGame, match="cannot be opened"):
        study(same, {"x": [1]}, store=tmp_path / "file" / "s.jsonl")
    with pytest.raises(sp.InvalidGame, match="cannot be read"):
        sp.read_study(tmp_path / "nothing.jsonl")
    if Path("/dev/full").exists():
        with pytest.raises(sp.InvalidGame, match="no regular file"):
            study(same, {"x": [1]}, store="/dev/full")


@POSIX
def test_a_store_is_for_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"

    def intruder(x: int) -> str:
        with pytest.raises(sp.InvalidGame, match="another process writes to it") as error:
            study(same, {"x": [1]}, store=path)
        return str(error.value)

    table = study(intruder, {"x": [1, 2]}, store=path)
    assert table["error"].isna().all()
    assert len(sp.read_study(path)) == 2


@POSIX
def test_a_forked_process_does_not_hold_the_lock(tmp_path: Path) -> None:
    """As workers that outlive a killed study for a moment."""
    store = Store({"task": "t", "grid": "g", "seed": 0, "rows": 1}, tmp_path / "s.jsonl")
    store.open()
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        os.write(tell, b"x")
        time.sleep(60)
        os._exit(0)
    try:
        os.read(ready, 1)
        with pytest.raises(sp.InvalidGame, match="another process"):
            Store(store.header, store.path).open()
        store.close()
        again = Store(store.header, store.path)
        again.open()
        again.close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


# --- a full disk --------------------------------------------------------------------------------------------------


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes half of a line: the rows before are kept, no half is left, and the study goes on when there is room."""
    path, room = tmp_path / "s.jsonl", [700]
    write = os.write

    def full(file: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        some = bytes(data)[: room[0]]
        room[0] -= len(some)
        return write(file, some)

    monkeypatch.setattr(stores.os, "write", full)
    with pytest.raises(sp.InvalidGame, match=r"cannot be written \(No space left on device\).*rows before are kept"):
        study(squared, {"x": range(20)}, store=path)
    kept = lines(path)
    assert 2 <= len(kept) < 20
    assert path.read_bytes().endswith(b"\n")
    with pytest.raises(sp.InvalidGame, match="cannot be written"):
        study(squared, {"x": range(20)}, store=path)
    assert lines(path) == kept
    room[0] = 10**6
    assert list(study(squared, {"x": range(20)}, store=path)["result"]) == [x * x for x in range(20)]
    assert lines(path)[: len(kept)] == kept


def test_a_full_disk_while_failed_rows_are_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.jsonl"
    study(picky, {"x": [1, 2, 4]}, store=path)
    before = path.read_bytes()

    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stores.os, "write", full)
        with pytest.raises(sp.InvalidGame, match="cannot be written"):
            study(picky, {"x": [1, 2, 4]}, store=path, retry_failed=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["s.jsonl"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0 or not shutil.which("mount"), reason="needs to mount a disk")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("may not mount a disk")
    try:
        with pytest.raises(sp.InvalidGame, match="No space left on device"):
            study(squared, {"x": range(1000)}, store=disk / "s.jsonl", workers=2)
        kept = len(lines(disk / "s.jsonl")) - 1
        assert kept > 10
        shutil.copy(disk / "s.jsonl", tmp_path / "s.jsonl")
    finally:
        subprocess.run(["umount", disk], check=True)
    table = study(squared, {"x": range(1000)}, store=tmp_path / "s.jsonl")
    assert list(table["result"]) == [x * x for x in range(1000)]


# --- Ctrl-C and kill −9 -------------------------------------------------------------------------------------------

TASK = """
import time
import numpy as np


def nap(x, seed=0):
    time.sleep(0.05)
    return {"draw": float(np.random.default_rng(seed).normal())}


def long_nap(x):
    time.sleep(0.05 if x < 4 else 60)
    return x


def ill(x):
    if x == 1:
        raise ValueError("ill")
    return x
"""


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.py"
    path.write_text(textwrap.dedent(TASK))
    return path


def is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def finished(path: Path) -> int:
    return max(0, path.read_text().count("\n") - 1) if path.exists() else 0


@POSIX
@pytest.mark.parametrize("word", ["interrupted", "terminated"])
@pytest.mark.parametrize("more", [[], ["--workers", 2], pytest.param(["--dask", "local:2"], marks=DASK)], ids=str)
def test_told_to_end(more: list[Any], word: str, task_file: Path, tmp_path: Path) -> None:
    """Ctrl-C, which a terminal sends to everybody, or SIGTERM: one line, finished rows kept, nobody left behind."""
    store = tmp_path / "s.jsonl"
    grid = ["--grid", "x=0,1,2,3,4,5,6,7", "--store", store]
    words = ["stackpyomo", "study", f"{task_file}:long_nap", *grid, *more]
    with Command([*map(str, words)], tmp_path, tmp_path, COLUMNS="200") as command:
        wait_until(lambda: finished(store) >= 4 or command.is_over(), 90)
        assert not command.is_over()
        if word == "interrupted":
            os.killpg(command.pid, signal.SIGINT)
        else:
            os.kill(command.pid, signal.SIGTERM)
        code, out, err = command.ended()
        assert (code, out) == (130 if word == "interrupted" else 143, "")
        assert err.startswith(f"stackpyomo: {word}\n")
        assert err.count("\n") == 1 or (more[:1] == ["--dask"] and "Traceback" not in err), "but for Dask's semaphores"
        assert sorted(sp.read_study(store)["x"]) == [0, 1, 2, 3]
        wait_until(lambda: not is_there(command.pid), 20)


@POSIX
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
@pytest.mark.parametrize(("workers", "kills", "on"), [(0, 6, "workers"), (2, 14, "workers"), (2, 6, "pool")])
def test_kills_at_random_moments(workers: int, kills: int, on: str, tmp_path: Path) -> None:
    """benchmarks/kills.py does 200 of them."""
    told = storm(kills, workers, on, folder=tmp_path, seed=workers)
    assert told["kills"] == kills
    assert told["studies"] >= 1


def test_the_store_is_written_before_the_next_row_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    seen = study(lambda x: finished(path), {"x": range(5)}, store=path)["result"]
    assert list(seen) == [0, 1, 2, 3, 4]


# --- tables -------------------------------------------------------------------------------------------------------


def test_reading_a_study_that_runs(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    table = study(lambda x: len(sp.read_study(path)), {"x": range(3)}, store=path)
    assert list(table["result"]) == [0, 1, 2]
    with path.open("a") as stream:
        stream.write('{"row": 3, "param')
    assert timeless(sp.read_study(path)) == timeless(table)


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow")
def test_parquet(tmp_path: Path) -> None:
    table = study(drawn, GRID, store=tmp_path / "s.jsonl")
    write_parquet(sp.read_study(tmp_path / "s.jsonl"), tmp_path / "s.parquet")
    again = pd.read_parquet(tmp_path / "s.parquet")
    assert list(again.columns) == list(table.columns)
    assert [json.loads(pair) for pair in again["pair"]] == list(table["pair"])
    for column in ("x", "y", "product", "draw", "seconds"):
        assert list(again[column]) == list(table[column])
    with pytest.raises(sp.InvalidGame, match="cannot be written"):
        write_parquet(table, tmp_path / "no" / "s.parquet")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(sp.InvalidGame, match=r"pip install .stackpyomo\[parquet\]"):
        write_parquet(pd.DataFrame(), tmp_path / "s.parquet")


def test_a_bar_for_terminals_only(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour asked for, as Jupyter does of all its children, makes a pipe no terminal."""
    for variable in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.setenv(variable, "1")
        sp.study(same, {"x": [1, 2]})
        assert capfd.readouterr() == ("", "")


def test_nothing_is_logged_of_a_sound_study(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        study(same, {"x": [1, 2]}, store=tmp_path / "s.jsonl", workers=2)
    assert caplog.text == ""


def test_plain() -> None:
    told = {"a": np.array([[1.0, math.nan]]), 3: (np.int64(2), None, True), "b": {"c": -math.inf}}
    assert plain(told) == {"a": [[1.0, None]], "3": [2, None, True], "b": {"c": "-inf"}}
