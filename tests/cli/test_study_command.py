"""``stackpyomo study``: grids, stores, workers, errors."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, one_message, strict, wait_until
from helpers.processes import Command
from helpers.study_tasks import DASK, POSIX, finished

import stackpyomo as sp

TASKS = """
from dataclasses import dataclass

import stackpyomo as sp


@dataclass
class Told:
    x: int


def power(x, exponent=2, seed=0):
    if x == 3:
        raise ValueError("three")
    return {"power": Told(x).x ** exponent, "drawn": seed}
"""


@pytest.mark.parametrize("more", [[], ["--workers", 2]], ids=str)
def test_study(more: list[Any], stranger: Run, write: Any, tmp_path: Path) -> None:
    axes = ["--grid", "x=1,2", "--grid", "exponent=2,3"]
    arguments = [f"{write('tasks.py', TASKS)}:power", *axes, "--store", "s.jsonl", *more]
    result = stranger("study", *arguments, "--json", "-")
    assert (result.code, result.err) == (0, "")
    found = strict(result.out)
    powers = [(row["x"], row["exponent"], row["power"]) for row in found["rows"]]
    assert powers == [(1, 2, 1), (1, 3, 1), (2, 2, 4), (2, 3, 8)]
    assert len({row["drawn"] for row in found["rows"]}) == 4
    assert (found["summary"]["rows"], found["summary"]["failed"]) == (4, 0)
    assert len((tmp_path / "s.jsonl").read_text().splitlines()) == 5
    result = stranger("study", *arguments, "--report", "out.html")
    assert (result.code, result.err) == (0, "")
    assert "4 rows, 0 with an error\n" in result.out
    assert "4 rows, 0 with an error" in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_study_with_an_error(run: Run, stranger: Run, write: Any, tmp_path: Path) -> None:
    task, store = f"{write('tasks.py', TASKS)}:power", tmp_path / "s.jsonl"
    result = run("study", task, "--grid", "x=2,3", "--store", store)
    assert (result.code, result.err) == (1, "")
    assert "2 rows, 1 with an error; --retry-failed runs those again" in result.out
    write("tasks.py", TASKS.replace("x == 3", "x == 7"))
    one_message(run("study", task, "--grid", "x=2,3", "--store", store, "--retry-failed"), ("the task", "was changed"))
    write("tasks.py", TASKS)
    assert run("study", task, "--grid", "x=2,3", "--store", store, "--retry-failed").code == 1
    with store.open("a") as stream:
        stream.write('{"row": 1')
    result = stranger("study", task, "--grid", "x=2,3", "--store", store)
    assert "its last line was not finished; 9 bytes were cut off" in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tasks.py", "--grid", "x=1"], ("tasks.py: expected FILE.py:function",)),
        (["none.py:f", "--grid", "x=1"], ("none.py: no such file",)),
        (["tasks.py:root", "--grid", "x=1"], ("tasks.py: has no function root()",)),
        (["broken.py:f", "--grid", "x=1"], ("broken.py:1:", "syntax")),
        (["tasks.py:power", "--grid", "x"], ("--grid x: expected name=value",)),
        (["tasks.py:power", "--grid", "error=1"], ("'error' is a column",)),
        (["tasks.py:power", "--grid", "x=1", "--dask", "local:2", "--workers", "2"], ("give one of them",)),
        (["tasks.py:power", "--grid", "x=1", "--json", "no/out.json"], ("out.json", "cannot be written")),
        (["tasks.py:power", "--grid", "x=1", "--store", "tasks.py"], ("tasks.py", "is not a store of a study")),
    ],
)
def test_study_refuses(arguments: list[str], words: tuple[str, ...], run: Run, write: Any) -> None:
    write("tasks.py", TASKS)
    write("broken.py", "def f(:\n")
    one_message(run("study", *arguments), words)


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


@pytest.mark.slow
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
