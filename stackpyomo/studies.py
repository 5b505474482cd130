"""Studies: a task over a grid of parameters, on one process or many, that survives whatever stops it.

Every row has its parameters and a seed of its own, so that the results do not depend on how many workers there are or
when they were stopped. A finished row is in the store before the next one is asked for.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .errors import InvalidGame
from .stores import Store

__all__ = ["study"]

logger = logging.getLogger(__name__)

_AHEAD = 2
"""Rows per worker that are asked for before they are needed."""


def study(
    task: Callable[..., Any],
    grid: Any,
    *,
    store: str | Path | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    seed: int = 0,
    retry_failed: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """``task(**parameters)`` for every row of the grid; a table of parameters, results, ``error`` and ``seconds``.

    task: returns a number, a dict, a Series or an object with ``as_dict``; if it takes ``seed``, it is given the row's
    own. grid: {name: values} (all combinations), or a list of dicts, or a DataFrame. store: a file of JSON lines that
    rows are appended to; a second call goes on where the first one stopped. executor: any of ``concurrent.futures``
    (Dask: ``client.get_executor()``); workers: processes of one's own. A task that raises is a row with its error;
    retry_failed runs such rows again. Raises :class:`InvalidGame` for a store of another study, a task that cannot be
    sent to a worker, a lost executor.
    """
    rows = _rows(grid)
    if executor is not None and workers is not None:
        raise InvalidGame("study: give an executor or a number of workers, not both.")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise InvalidGame(f"workers={workers!r}: expected an integer from 1 on.")
    seeds = [int(s.generate_state(1, np.uint64)[0]) for s in np.random.SeedSequence(seed).spawn(len(rows))]
    jobs = [Job(i, row, s) for i, (row, s) in enumerate(zip(rows, seeds, strict=True))]
    header = {"task": _fingerprint(task), "grid": _digest(rows), "seed": seed, "rows": len(rows)}
    held = Store(header, None if store is None else Path(store))
    held.open()
    try:
        if retry_failed:
            held.forget({number for number, row in held.rows.items() if row["error"]})
        waiting = [job for job in jobs if job.number not in held.rows]
        with _bar(len(jobs), len(jobs) - len(waiting), shown=progress) as advance:
            for row in _played(task, waiting, executor, workers):
                held.add(row)
                advance()
        return held.frame()
    finally:
        held.close()


@dataclass(frozen=True)
class Job:
    """One row to be run."""

    number: int
    parameters: dict[str, Any]
    seed: int

    def row(self, result: dict[str, Any] | None, error: str | None, seconds: float) -> dict[str, Any]:
        """What the store keeps."""
        return {
            "row": self.number,
            "parameters": self.parameters,
            "seed": self.seed,
            "result": result,
            "error": error,
            "seconds": seconds,
        }


def _rows(grid: Any) -> list[dict[str, Any]]:
    if isinstance(grid, pd.DataFrame):
        found = [{str(k): _plain(v) for k, v in row.items()} for row in grid.to_dict("records")]
    elif isinstance(grid, Mapping):
        names = [str(name) for name in grid]
        values = [list(v) if not isinstance(v, (str, bytes)) and hasattr(v, "__iter__") else [v] for v in grid.values()]
        found = [
            {n: _plain(v) for n, v in zip(names, combination, strict=True)}
            for combination in itertools.product(*values)
        ]
    elif isinstance(grid, Sequence) and all(isinstance(row, Mapping) for row in grid):
        found = [{str(k): _plain(v) for k, v in row.items()} for row in grid]
    else:
        raise InvalidGame(
            f"grid={type(grid).__name__}: expected a dict name → values, a list of dicts, or a DataFrame."
        )
    if not found:
        raise InvalidGame("grid: no rows; give at least one value for every parameter.")
    return found


def _plain(value: Any) -> Any:
    """A value that JSON can keep."""
    if isinstance(value, np.generic):
        value = value.item()
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        raise InvalidGame(f"grid: {value!r} cannot be kept as JSON; use numbers, text, lists and dicts.") from None
    return value


def _digest(rows: Any) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def _fingerprint(task: Callable[..., Any]) -> str:
    """Name and source of the task (of the function within a partial, with what it was given)."""
    given: Any = ()
    function = task
    while isinstance(function, partial):
        given = (given, function.args, sorted(function.keywords.items()))
        function = function.func
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}"
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = ""
    return f"{name}:{hashlib.sha256((text + repr(given)).encode()).hexdigest()[:16]}"


def run_job(task: Callable[..., Any], job: Job) -> dict[str, Any]:
    """What a worker does: the finished row, its error told in it."""
    began = time.perf_counter()
    parameters = dict(job.parameters)
    try:
        if _takes_seed(task) and "seed" not in parameters:
            parameters["seed"] = job.seed
        result = _told(task(**parameters))
    except Exception as error:  # a task's error is a row, not the end of the study
        return job.row(None, f"{type(error).__name__}: {error}", time.perf_counter() - began)
    return job.row(result, None, time.perf_counter() - began)


def _takes_seed(task: Callable[..., Any]) -> bool:
    try:
        return "seed" in inspect.signature(task).parameters
    except (TypeError, ValueError):
        return False


def _told(result: Any) -> dict[str, Any]:
    """A result as JSON-ready columns."""
    if hasattr(result, "as_dict"):
        result = result.as_dict()
    if isinstance(result, pd.Series):
        result = result.to_dict()
    if not isinstance(result, Mapping):
        result = {"result": result}
    return {str(key): _plain(value) for key, value in result.items()}


# --- who runs them ----------------------------------------------------------------------------------------------------


def _played(
    task: Callable[..., Any], jobs: Sequence[Job], executor: Executor | None, workers: int | None
) -> Iterator[dict[str, Any]]:
    """Finished rows, as they come."""
    if executor is None and workers is None:
        yield from (run_job(task, job) for job in jobs)
        return
    _require_sendable(task)
    if executor is not None:
        yield from _on(executor, task, jobs, _width(executor))
        return
    assert workers is not None
    yield from _on_own(task, jobs, workers)


def _require_sendable(task: Callable[..., Any]) -> None:
    try:
        ForkingPickler.dumps(task)
    except Exception as error:
        raise InvalidGame(
            f"task={getattr(task, '__qualname__', task)!r}: cannot be sent to a worker ({error}). Define it at the top "
            "of a module."
        ) from None


def _width(executor: Executor) -> int:
    """How many rows an executor works on at once."""
    client = getattr(executor, "_client", None)  # Dask's
    if client is not None:
        return max(1, int(sum(client.ncores().values())))
    return max(1, int(getattr(executor, "_max_workers", 0) or os.cpu_count() or 1))


def _on(executor: Executor, task: Callable[..., Any], jobs: Sequence[Job], width: int) -> Iterator[dict[str, Any]]:
    """On the user's executor; one that breaks is an error of its own, with everything finished kept."""
    queue, running = list(reversed(jobs)), dict[Future[Any], Job]()
    try:
        while queue or running:
            while queue and len(running) < _AHEAD * width:
                job = queue.pop()
                running[executor.submit(run_job, task, job)] = job
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                yield _row_of(future, job)
    except BrokenProcessPool:
        raise InvalidGame(
            "executor: a worker died and took the pool with it; finished rows are kept. Start again."
        ) from None
    finally:
        for future in running:
            future.cancel()


def _row_of(future: Future[Any], job: Job) -> dict[str, Any]:
    error = future.exception()
    if error is None:
        return dict(future.result())
    if isinstance(error, BrokenProcessPool):
        raise error
    return job.row(None, f"{type(error).__name__}: {error}", float("nan"))


def _on_own(task: Callable[..., Any], jobs: Sequence[Job], workers: int) -> Iterator[dict[str, Any]]:
    """In processes of our own: a pool that breaks is made anew, and whoever was running is run alone."""
    left = {job.number: job for job in jobs}
    while left:
        pool = ProcessPoolExecutor(workers)
        running: dict[Future[Any], Job] = {}
        suspects: list[Job] = []
        try:
            queue = list(reversed(left.values()))
            while queue or running:
                while queue and len(running) < _AHEAD * workers:
                    job = queue.pop()
                    running[pool.submit(run_job, task, job)] = job
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    job = running[future]
                    row = _row_of(future, job)
                    del running[future]
                    del left[job.number]
                    yield row
        except BrokenProcessPool:
            suspects = list(running.values())
        finally:
            pool.shutdown(wait=not sys.exc_info()[0], cancel_futures=True)
        for job in suspects:
            if job.number in left:
                yield _alone(task, job)
                del left[job.number]


def _alone(task: Callable[..., Any], job: Job) -> dict[str, Any]:
    """A row in a process of its own: if that dies, it was this row."""
    began = time.perf_counter()
    with ProcessPoolExecutor(1) as pool:
        try:
            return dict(pool.submit(run_job, task, job).result())
        except BrokenProcessPool:
            return job.row(None, "WorkerDied: the process that ran it ended", time.perf_counter() - began)


@contextmanager
def _bar(total: int, done: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """A bar with what is left to wait, where somebody looks."""
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield lambda: None
        return
    columns = (
        TextColumn("study"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        line = bar.add_task("study", total=total, completed=done)
        yield lambda: bar.advance(line)
