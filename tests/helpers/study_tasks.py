"""Tasks of studies, ways to run them, and how a table is compared with another."""

from __future__ import annotations

import os
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
import pyomo.environ as pyo
import pytest
from conftest import strict

import stackpyomo as sp

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


DASK = pytest.mark.skipif(find_spec("distributed") is None, reason="needs Dask")


GRID = {"x": [1, 2, 3], "y": [0.1, 0.2]}


study = partial(sp.study, progress=False)


def drawn(x: int, y: float, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {"product": x * y, "draw": float(random.normal()), "root": np.sqrt(x), "pair": (x, y)}


def warm(aim: float, start: sp.Plan | None = None) -> dict[str, Any]:
    """The best constant toll, from the plan of the row before on."""
    m = pyo.ConcreteModel()
    m.toll, m.driver = pyo.Var(bounds=(-2, 2)), pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1))
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.toll * m.driver.flow)
    m.miss = pyo.Objective(expr=(m.driver.flow - aim) ** 2 + 0.01 * m.toll**2)
    plan = sp.stackelberg(sp.Game(m, followers=m.driver), start=start)
    before = None if start is None else start.values["driver.flow"]
    return {"flow": plan.value(m.driver.flow), "before": before, "start": plan}


def same(x: int) -> int:
    return x


def picky(x: int) -> float:
    if x == 2:
        raise ValueError("two is\nnot a number of mine")
    return 1.0 / x


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


WAYS = {
    "serial": serial,
    "1 worker": partial(own, 1),
    "3 workers": partial(own, 3),
    "threads": partial(pool, ThreadPoolExecutor, 3),
    "processes": partial(pool, ProcessPoolExecutor, 2),
}


def slow(x: int) -> int:
    time.sleep(0.2 if x else 1.0)
    if not x:
        os._exit(1)
    return x


def squared(x: int, power: int = 2) -> int:
    return int(x**power)


def finished(path: Path) -> int:
    return max(0, path.read_text().count("\n") - 1) if path.exists() else 0
