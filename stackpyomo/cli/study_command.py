"""``stackpyomo study``: a function over a grid of parameters."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from stackpyomo.core import plain
from stackpyomo.errors import InvalidGame
from stackpyomo.reporting import table_page
from stackpyomo.studies import cluster, machine, require_parquet, study, write_parquet

from .app import Answer, command
from .console import show_study
from .inputs import FileTask, parsed


@command(
    "TASK.py:regret --grid size=10,100 --grid noise=0,0.5 --store regret.jsonl", name="study", offers="json report log"
)
def study_command(
    task: str,
    grid: Annotated[
        list[str], Option(help="name=value,value,…: JSON or plain text; repeated, all combinations are run.")
    ],
    store: Path | None = None,
    workers: int | None = None,
    dask: str | None = None,
    retry_failed: bool = False,
    seed: int = 0,
    parquet_to: Path | None = None,
) -> Answer:
    """Run a function over a grid of parameters, on one process or many; an interrupted study resumes.

    The function is given the parameters by name, and, if it takes one, a seed that depends on nothing but --seed and
    the row. Exit code 0: every row is finished, none with an error.
    """
    if parquet_to is not None:
        require_parquet()
    began = time.perf_counter()
    axes = dict(_axis(text) for text in grid)
    with _executor(dask, workers) as executor:
        table = study(
            FileTask.named(task),
            axes,
            store=store,
            executor=executor,
            workers=workers,
            seed=seed,
            retry_failed=retry_failed,
        )
    if parquet_to is not None:
        write_parquet(table, parquet_to)
    failed = int(table["error"].notna().sum())
    records = zip(table.index, table.to_dict("records"), strict=True)
    document = {
        "machine": machine(),
        "task": task,
        "seed": seed,
        "store": None if store is None else os.fspath(store),
        "rows": plain([{"row": number, **row} for number, row in records]),
        "summary": {"rows": len(table), "failed": failed, "seconds": time.perf_counter() - began},
    }
    count = f"{len(table)} row" if len(table) == 1 else f"{len(table)} rows"
    summary = f"{count}, {failed} with an error{'; --retry-failed runs those again' if failed else ''}"
    make_page = partial(table_page, task, summary, table)
    return Answer(document, partial(show_study, table, summary), 1 if failed else 0, make_page)


@contextmanager
def _executor(dask: str | None, workers: int | None) -> Iterator[Executor | None]:
    if dask is None:
        yield None
        return
    if workers is not None:
        raise InvalidGame("--dask, --workers: give one of them; local:n starts n workers.")
    with cluster(dask) as executor:
        yield executor


def _axis(text: str) -> tuple[str, list[Any]]:
    """name=1,2,3: a JSON list without its brackets, or else words."""
    name, equals, values = text.partition("=")
    if not equals or not name.isidentifier() or not values:
        raise InvalidGame(f"--grid {text}: expected name=value,value,…")
    try:
        return name, list(json.loads(f"[{values}]"))
    except ValueError:
        return name, [parsed(value.strip()) for value in values.split(",")]
