"""Jobs: one row of a study, its seed, and the fingerprint of its task."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from .store import plain


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


def run_job(task: Callable[..., Any], job: Job) -> dict[str, Any]:
    """What a worker does: the finished row, with the error where there was one."""
    began = time.perf_counter()
    parameters = dict(job.parameters)
    try:
        if _takes_seed(task) and "seed" not in parameters:
            parameters["seed"] = job.seed
        result = _columns(task(**parameters))
    except (Exception, SystemExit) as error:  # a task's error is a row, not the end of the study
        return job.row(None, f"{type(error).__name__}: {error}", time.perf_counter() - began)
    return job.row(result, None, time.perf_counter() - began)


def _takes_seed(task: Callable[..., Any]) -> bool:
    try:
        return "seed" in inspect.signature(task).parameters
    except (TypeError, ValueError):
        return False


def _columns(result: Any) -> dict[str, Any]:
    """A result as columns."""
    if hasattr(result, "as_dict"):
        result = result.as_dict()
    if isinstance(result, pd.Series):
        result = result.to_dict()
    return dict(plain(result if isinstance(result, Mapping) else {"result": result}))
