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
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .checks import require_whole
from .crews import Crew
from .errors import InvalidGame
from .progress import tracked
from .stores import Store, plain

__all__ = ["study"]

logger = logging.getLogger(__name__)

_AHEAD = 2
"""Rows per worker that an executor is given at once."""
_GLANCE = 2.0
"""Seconds after which one looks whether there are workers."""
_DESERTED = 30.0
"""Seconds without a worker that are too many."""
_COLUMNS = ("error", "seconds")
"""Columns of every study's table."""


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
    (Dask: ``client.get_executor()``, MPI: ``mpi4py.futures.MPIPoolExecutor()``); workers: processes of one's own.
    progress: a bar, where a terminal is. A task that raises is a row with its error; retry_failed runs such rows again.
    Raises :class:`InvalidGame` for a store of another study, a task that cannot be sent to a worker, a lost executor.
    """
    rows = _rows(grid)
    _require(task, executor, workers, seed)
    # 53 bits: what every reader of JSON can hold
    seeds = [int(s.generate_state(1, np.uint64)[0] >> 11) for s in np.random.SeedSequence(seed).spawn(len(rows))]
    jobs = [Job(i, row, s) for i, (row, s) in enumerate(zip(rows, seeds, strict=True))]
    header = {"task": fingerprint(task), "grid": digest(rows), "seed": int(seed), "rows": len(rows)}
    held = Store(header, None if store is None else Path(store))
    held.open()
    try:
        if retry_failed:
            held.forget({number for number, row in held.rows.items() if row["error"]})
        waiting = [job for job in jobs if job.number not in held.rows]
        found = played(partial(run_job, task), waiting, executor, workers)
        done = len(jobs) - len(waiting)
        with tracked("study", len(jobs), done=done, shown=progress) as step, closing(found):
            for row in found:
                held.add(row)
                logger.info("row %d: %s", row["row"], row["error"] or "finished")
                step()
        return held.frame()
    finally:
        held.close()


@dataclass(frozen=True)
class Job:
    """One row to be run."""

    number: int
    parameters: dict[str, Any]
    seed: int

    def row(self, result: dict[str, Any] | None, error: str | None, seconds: float | None) -> dict[str, Any]:
        """What the store keeps."""
        return {
            "row": self.number,
            "parameters": self.parameters,
            "seed": self.seed,
            "result": result,
            "error": error,
            "seconds": seconds,
        }


def _require(task: Any, executor: Any, workers: Any, seed: Any) -> None:
    if not callable(task):
        raise InvalidGame(f"task={task!r}: expected a function of the grid's parameters.")
    if executor is not None and workers is not None:
        raise InvalidGame("study: give an executor or a number of workers, not both.")
    if executor is not None and not isinstance(executor, Executor):
        raise InvalidGame(
            f"executor={type(executor).__name__}: expected one of concurrent.futures (Dask: client.get_executor())."
        )
    if workers is not None:
        require_whole("workers", workers)
    require_whole("seed", seed, 0)
    by_mpi = type(executor).__module__.startswith("mpi4py")
    if workers is not None or by_mpi or isinstance(executor, ProcessPoolExecutor):
        _require_sendable(task)


def _require_sendable(task: Callable[..., Any]) -> None:
    """Also where forked workers would do without: a study that runs here is to run elsewhere."""
    try:
        ForkingPickler.dumps(task)
    except Exception as error:
        raise InvalidGame(
            f"task={getattr(task, '__qualname__', task)!r}: cannot be sent to a worker ({error}). Define it at the top "
            "of a module, and let it take what it needs as parameters."
        ) from None


# --- what is to be run --------------------------------------------------------------------------------------------


def _rows(grid: Any) -> list[dict[str, Any]]:
    if isinstance(grid, pd.DataFrame):
        given = grid.to_dict("records")
    elif isinstance(grid, Mapping):
        values = [list(v) if not isinstance(v, (str, bytes)) and hasattr(v, "__iter__") else [v] for v in grid.values()]
        given = [dict(zip(grid, combination, strict=True)) for combination in itertools.product(*values)]
    elif isinstance(grid, Sequence) and all(isinstance(row, Mapping) for row in grid):
        given = [dict(row) for row in grid]
    else:
        raise InvalidGame(
            f"grid={type(grid).__name__}: expected a dict name → values, a list of dicts, or a DataFrame."
        )
    if not given or not any(given):
        raise InvalidGame("grid: no rows; give at least one value for every parameter.")
    if taken := sorted({str(key) for row in given for key in row} & set(_COLUMNS)):
        raise InvalidGame(f"grid: {taken[0]!r} is a column of the results; give the parameter another name.")
    try:
        return [plain(row) for row in given]
    except InvalidGame as error:
        raise InvalidGame(f"grid: {error}") from None


def digest(rows: Any) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def fingerprint(task: Callable[..., Any]) -> str:
    """Name and source of the task, with what it was given (by a partial, a closure, defaults, its own fields)."""
    given: list[Any] = []
    function: Any = task
    while isinstance(function, partial):
        given.append((function.args, sorted(function.keywords.items())))
        function = function.func
    if told := getattr(function, "fingerprint", None):  # it knows better
        return str(told)
    if not hasattr(function, "__code__"):  # an object that can be called
        given.append(sorted(getattr(function, "__dict__", {}).items()))
        function = getattr(function, "__func__", type(function))
    given.append((getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)))
    given += [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    code = getattr(function, "__code__", None)
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = ""
    if code is not None and (not text or function.__name__ == "<lambda>"):  # two of which may stand on one line
        text += f"{code.co_code.hex()} {code.co_consts} {code.co_names}"
    text += re.sub(r" at 0x[0-9a-fA-F]+", "", repr(given))
    name = getattr(function, "__qualname__", type(function).__name__)
    return f"{name}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def run_job(task: Callable[..., Any], job: Job) -> dict[str, Any]:
    """What a worker does: the finished row, its error told in it."""
    began = time.perf_counter()
    parameters = dict(job.parameters)
    try:
        if _takes_seed(task) and "seed" not in parameters:
            parameters["seed"] = job.seed
        result = _told(task(**parameters))
    except (Exception, SystemExit) as error:  # a task's error is a row, not the end of the study
        return job.row(None, f"{type(error).__name__}: {error}", time.perf_counter() - began)
    return job.row(result, None, time.perf_counter() - began)


def _takes_seed(task: Callable[..., Any]) -> bool:
    try:
        return "seed" in inspect.signature(task).parameters
    except (TypeError, ValueError):
        return False


def _told(result: Any) -> dict[str, Any]:
    """A result as columns."""
    if hasattr(result, "as_dict"):
        result = result.as_dict()
    if isinstance(result, pd.Series):
        result = result.to_dict()
    return dict(plain(result if isinstance(result, Mapping) else {"result": result}))


# --- who runs them ----------------------------------------------------------------------------------------------------


_Play = Callable[[Job], dict[str, Any]]


def played(
    play: _Play, jobs: Sequence[Job], executor: Executor | None, workers: int | None
) -> Generator[dict[str, Any], None, None]:
    """Finished rows, as they come."""
    if executor is not None:
        yield from _on(executor, play, jobs)
    elif workers is not None:
        yield from Crew(play, min(workers, max(1, len(jobs)))).rows(jobs, _lost)
    else:
        yield from map(play, jobs)


def _lost(job: Job, how: str) -> dict[str, Any]:
    return job.row(None, f"WorkerDied: the process that ran it ended ({how})", None)


def _width(executor: Executor) -> int:
    """How many rows an executor works on at once."""
    client = getattr(executor, "_client", None)  # Dask's
    if client is not None:
        return max(1, int(sum(client.ncores().values())))
    return max(1, int(getattr(executor, "_max_workers", 0) or os.cpu_count() or 1))


def _on(executor: Executor, play: _Play, jobs: Sequence[Job]) -> Iterator[dict[str, Any]]:
    """On the user's executor; one that breaks is an error of its own, with everything finished kept.

    Dask blames a worker's death on every job that the worker held: those are asked for once more, one at a time.
    """
    suspects: list[Job] = []
    for job, row in _asked(executor, play, jobs, _AHEAD * _width(executor)):
        if row is None:
            suspects.append(job)
        else:
            yield row
    for job, row in _asked(executor, play, suspects, 1):
        yield _lost(job, "the scheduler gave it up") if row is None else row


def _asked(
    executor: Executor, play: _Play, jobs: Sequence[Job], ahead: int
) -> Iterator[tuple[Job, dict[str, Any] | None]]:
    """Every job with its row, or None where its worker died; ``ahead`` of them are under way at a time."""
    queue, running, broken = deque(jobs), dict[Future[Any], Job](), False
    try:
        while running or (queue and not broken):
            while queue and not broken and len(running) < ahead:
                job = queue.popleft()
                running[_submitted(executor, play, job)] = job
            for future in _done(executor, running):
                job = running.pop(future)
                if _is_lost(future):
                    broken = True  # what is under way comes to its end, one way or the other
                else:
                    yield job, _row_of(future, job)
    finally:
        for future in running:
            future.cancel()
    if broken:
        raise InvalidGame(
            "executor: it broke down (a worker died, or it was shut down); finished rows are kept. Start again."
        )


def _done(executor: Executor, running: Iterable[Future[Any]]) -> set[Future[Any]]:
    """Those that are finished, at least one; raises :class:`InvalidGame` when there is nobody left to finish any.

    Dask goes on waiting when the last of its workers could not be started anew.
    """
    client, seen = getattr(executor, "_client", None), time.monotonic()
    while not (done := wait(running, None if client is None else _GLANCE, FIRST_COMPLETED).done):
        if client is not None and client.ncores():
            seen = time.monotonic()
        elif time.monotonic() - seen > _DESERTED:
            raise InvalidGame("executor: has no workers any more; finished rows are kept. Start again.")
    return done


def _submitted(executor: Executor, play: _Play, job: Job) -> Future[Any]:
    # to Dask, the same job is the same answer, and a worker's death would be remembered
    more = {"pure": False} if hasattr(executor, "_client") else {}
    try:
        return executor.submit(play, job, **more)
    except Exception as error:
        first = _first(error)
        raise InvalidGame(
            f"executor: does not take the task ({type(first).__name__}: {first}); finished rows are kept. A task is "
            "defined at the top of a module, and takes what it needs as parameters."
        ) from None


def _first(error: BaseException) -> BaseException:
    """What all began with: Dask wraps it in words of its own."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error


def _is_lost(future: Future[Any]) -> bool:
    return future.cancelled() or isinstance(future.exception(), (BrokenExecutor, CancelledError))


def _row_of(future: Future[Any], job: Job) -> dict[str, Any] | None:
    error = future.exception()
    if error is None:
        return dict(future.result())
    if type(error).__name__ == "KilledWorker":  # Dask's
        return None
    return job.row(None, f"{type(error).__name__}: {error}", None)
