"""What several test modules share: games of published cases, solvers that are here, and how commands are run."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pyomo.environ as pyo
import pytest
from hypothesis import settings

import stackpyomo as sp
from stackpyomo.solvers import registry

# Property tests draw the same games every time: a failure has its cause in the change. `make explore` draws others.
settings.register_profile("same", derandomize=True)
settings.register_profile("other", derandomize=False, print_blob=True)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "same")
settings.load_profile(PROFILE)

DATA = Path(__file__).parent / "data"
CASES = {c["id"]: c for c in json.loads((DATA / "incentive_cases.json").read_text())["cases"]}
NLP = [name for name, info in registry.items() if info.ipopt_options and info.available]


def drawn(number: int) -> int:
    """How many random games a property is tried on: a quarter of them, at least five; by `make explore` all."""
    return number if PROFILE == "other" else min(number, max(5, number // 4))


def number(text: str | float) -> float:
    """A figure of the case files: '17/38' is an exact rational."""
    return float(Fraction(text)) if isinstance(text, str) and "/" in text else float(text)


def toll_game(low: float = -2, high: float = 2) -> sp.Game:
    """One driver, one toll: u0* = 0, flow* = 0.6, Q = 4/3 by hand."""
    m = pyo.ConcreteModel(name="toll")
    m.toll = pyo.Var(bounds=(low, high))
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1))
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.toll * m.driver.flow)
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6) ** 2 + 0.01 * m.toll**2)
    return sp.Game(m, followers=m.driver)


def work() -> float:
    """Processor seconds of this process and of those it waited for: beside other load, a clock on the wall runs on."""
    try:
        import resource
    except ImportError:  # Windows
        return time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def snapshot(model: Any) -> list[tuple[Any, ...]]:
    """Everything about a model that stackpyomo must not change: structure, activation, fixing, bounds, values."""
    rows: list[tuple[Any, ...]] = []
    for block in model.block_data_objects(active=None):
        rows.append(("block", block.name, block.active))
        rows += [(c.name, c.ctype.__name__, getattr(c, "active", None)) for c in block.component_map().values()]
    rows += [
        (v.name, v.value, v.fixed, v.lb, v.ub, v.stale, v.domain.name)
        for v in model.component_data_objects(pyo.Var, active=None)
    ]
    for kind in (pyo.Constraint, pyo.Objective):
        rows += [(d.name, d.active, str(d.expr)) for d in model.component_data_objects(kind, active=None)]
    return rows


@pytest.fixture(autouse=True, scope="session")
def _heard() -> Iterator[None]:
    """Ctrl-C is heard as from a terminal: a job in the background, or under nohup, inherits that it is ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """CI sets STACKPYOMO_REQUIRE_CYIPOPT where Ipopt's library is installed: then cyipopt must be here."""
    if items and os.environ.get("STACKPYOMO_REQUIRE_CYIPOPT") and not registry["cyipopt"].available:
        raise pytest.UsageError("STACKPYOMO_REQUIRE_CYIPOPT is set, and cyipopt is not installed")


class Result(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


def environment(folder: Path) -> dict[str, str]:
    """Of a process of its own that finds this package and puts its temporary files into the folder."""
    home = os.fspath(Path(__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": paths, "TMPDIR": os.fspath(folder), "PYTHONUTF8": "1"}


def strict(text: str) -> Any:
    """JSON as the standard has it: one document, no NaN, no Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def launcher() -> str | None:
    """``mpiexec``: pip's, beside this Python, before the system's; None without mpi4py."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    return None if importlib.util.find_spec("mpi4py") is None else found


def ranks_environment(folder: Path) -> dict[str, str]:
    """Of a command under ``mpiexec``: nothing of an MPI that these tests may run under, two ranks on any machine."""
    clean = {k: v for k, v in environment(folder).items() if not k.startswith(("OMPI_", "PMI", "MPI_"))}
    allowed = ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe")
    return clean | dict.fromkeys(allowed, "1")
