"""Executors: rows of a study handed out to processes, and what became of them.

Clusters: Dask workers as an executor for studies, at an address or started here.

Jobs: one row of a study, its seed, and the fingerprint of its task.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from stackpyomo.core import plain, require_whole
from stackpyomo.errors import InvalidGame
from stackpyomo.plans import Plan

from .pool import Pool

_AHEAD = 2  # Rows per worker that an executor is given at once.
_GLANCE = 2.0  # Seconds after which one looks whether there are workers.
_DESERTED = 30.0  # Seconds without a worker that are too many.
logger = logging.getLogger(__name__)
_PATIENCE = 10  # Seconds to wait for a scheduler to answer.


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


def digest(rows: Any) -> str:
    """A short text that changes with the rows of a grid."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def fingerprint(task: Callable[..., Any]) -> str:
    """Name and source of the task, with what it was given (by a partial, a closure, defaults, its own fields)."""
    given: list[Any] = []
    function: Any = task
    while isinstance(function, partial):
        given.append((function.args, sorted(function.keywords.items())))
        function = function.func
    if own := getattr(function, "fingerprint", None):  # it knows better
        return str(own)
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


@dataclass
class Rows:
    """What a worker does, row after row: the task, with the row's seed and the plan before it where it takes them."""

    task: Callable[..., Any]
    start: Plan | None = None  #: The last plan that a row gave as "start".

    def __call__(self, job: Job) -> dict[str, Any]:
        """The finished row, with the error where there was one."""
        began = time.perf_counter()
        try:
            given = {"seed": job.seed} if self.start is None else {"seed": job.seed, "start": self.start}
            given = {name: value for name, value in given.items() if _takes(self.task, name)}
            result = self.task(**{**given, **job.parameters})
            if isinstance(result, Mapping) and isinstance(result.get("start"), Plan):
                self.start = result["start"]
                result = {name: value for name, value in result.items() if name != "start"}
            columns = _columns(result)
        except (Exception, SystemExit) as error:  # a task's error is a row, not the end of the study
            return job.row(None, f"{type(error).__name__}: {error}", time.perf_counter() - began)
        return job.row(columns, None, time.perf_counter() - began)


def _takes(task: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(task).parameters
    except (TypeError, ValueError):
        return False


def _columns(result: Any) -> dict[str, Any]:
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
        pool = Pool(play, min(workers, max(1, len(jobs))))
        yield from (row for _, row in pool.rows(jobs, lambda job, loss: _lost(job, loss.how)))
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
            raise InvalidGame("executor: has no workers left; finished rows are kept. Start again.")
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


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """The executor of a Dask scheduler: ``tcp://host:port``, or ``local[:n]``: n workers on this machine.

    Raises :class:`InvalidGame` without Dask, for a scheduler that does not answer or has no worker.
    """
    try:
        import dask.config
        from distributed import Client, LocalCluster
    except ImportError:
        raise InvalidGame(f'dask={address!r}: needs Dask; pip install "stackpyomo[dask]".') from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what is lost is told by the rows
    kind, _, number = address.partition(":")
    if kind != "local":
        with _client(Client, address, address) as client:
            yield client.get_executor()
        return
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):  # a study asks again by itself
        local = _local(LocalCluster, number, address)
    with local, _client(Client, local, address) as client:
        yield client.get_executor()


def _local(kind: Any, number: str, address: str) -> Any:
    workers = int(number) if number.isdigit() else number or os.cpu_count()
    require_whole("dask=local: workers", workers)
    quiet = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    try:
        return kind(n_workers=workers, threads_per_worker=1, **quiet)
    except (OSError, RuntimeError) as error:
        raise InvalidGame(
            f"dask={address!r}: workers did not start ({error}) In a script, does the study start under "
            'if __name__ == "__main__":?'
        ) from None


@contextmanager
def _client(kind: Any, target: Any, address: str) -> Iterator[Any]:
    try:
        client = kind(target, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidGame(f"dask={address!r}: no scheduler answers there ({reason}).") from None
    with client:
        logger.info("%s: %d workers", address, len(client.ncores()))
        if not client.ncores():
            raise InvalidGame(f"dask={address!r}: the scheduler has no workers; start some (dask worker {address}).")
        yield client
