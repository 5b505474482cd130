"""Studies: a task over a grid of parameters, on one process or many, that survives whatever stops it.

Every row has its parameters and a seed of its own, so that the results do not depend on how many workers there are or
when they were stopped. A finished row is in the store before the next one is asked for.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import closing
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stackpyomo.core import plain, require_whole, tracked
from stackpyomo.errors import InvalidGame

from .executors import Job, Rows, digest, fingerprint, played
from .store import Store

logger = logging.getLogger(__name__)

_COLUMNS = ("error", "seconds")  # Columns of every study's table.


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
    """Run a task for every row of a grid and return one table; an interrupted study goes on where it stopped.

    Parameters
    ----------
    task : callable
        Called as ``task(**parameters)``; returns a number, a dict, a Series or an object with ``as_dict``. Where it
        raises, the row has the error. If it takes ``seed``, that is the row's own. A plan in its dict as "start" is no
        column, but the next row's ``start`` where it takes that: of the same process, and not with an executor.
    grid : mapping of str to sequence, list of mappings or DataFrame
        A mapping stands for all combinations.
    store : path, optional
        A file of JSON lines that rows are appended to; a second call goes on from there.
    executor : Executor, optional
        Any of ``concurrent.futures`` (Dask: ``client.get_executor()``, MPI: ``mpi4py.futures.MPIPoolExecutor()``).
    workers : int, optional
        Number of own processes, instead of an executor; by default rows run in this process.
    seed : int, default 0
        Each row's seed is made from it.
    retry_failed : bool, default False
        Run rows with an error again.
    progress : bool, default True
        Show a bar on a terminal.

    Returns
    -------
    DataFrame
        Parameters, results, ``error`` and ``seconds``.

    Raises
    ------
    InvalidGame
        The store is of another study, the task cannot be sent to a worker, or an executor was lost.
    """
    rows = _rows(grid)
    _require(task, executor, workers, seed)
    # 53 bits: what every reader of JSON can hold
    seeds = [int(s.generate_state(1, np.uint64)[0] >> 11) for s in np.random.SeedSequence(seed).spawn(len(rows))]
    jobs = [Job(i, row, s) for i, (row, s) in enumerate(zip(rows, seeds, strict=True))]
    header = {"task": fingerprint(task), "grid": digest(rows), "seed": int(seed), "rows": len(rows)}
    stored = Store(header, None if store is None else Path(store))
    stored.open()
    try:
        if retry_failed:
            stored.forget({number for number, row in stored.rows.items() if row["error"]})
        waiting = [job for job in jobs if job.number not in stored.rows]
        finished = played(Rows(task), waiting, executor, workers)
        done = len(jobs) - len(waiting)
        with tracked("study", len(jobs), done=done, shown=progress) as step, closing(finished):
            for row in finished:
                stored.add(row)
                logger.info("row %d: %s", row["row"], row["error"] or "finished")
                step()
        return stored.frame()
    finally:
        stored.close()


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
