"""``stackpyomo doctor``: the solvers there are, each tried on a small problem."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

import pyomo.environ as pyo

from stackpyomo.solvers import Program, SolverInfo, registry
from stackpyomo.solvers import solve as run_solver

from .app import Answer, command
from .console import show_solvers


@command("--json -", offers="json")
def doctor() -> Answer:
    """List every solver known, which are installed, and solve one tiny problem with each.

    Exit code 0: at least one solver for nonlinear problems works.
    """
    rows = [_examine(info) for info in registry.values()]
    usable = any(row["answer"] == "correct" and "NLP" in row["classes"] for row in rows)
    document = {"python": sys.version.split()[0], "solvers": rows}
    return Answer(document, partial(show_solvers, rows), 0 if usable else 2)


def _examine(info: SolverInfo) -> dict[str, Any]:
    """min (x − 1)² + (y − 2)² s.t. x + y = 2 has the answer (1/2, 3/2)."""
    version = info.version()
    row: dict[str, Any] = {
        "solver": info.name,
        "version": version,
        "classes": sorted(info.classes),
        "answer": "",
        "seconds": None,
        "remedy": "" if version else info.install,
    }
    if version is None:
        return row
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0)
    start = time.perf_counter()
    solution = run_solver(Program((m.x - 1) ** 2 + (m.y - 2) ** 2, [m.x + m.y == 2]), info.name)
    row["seconds"] = time.perf_counter() - start
    right = solution.x is not None and sorted(round(float(v), 4) for v in solution.x) == [0.5, 1.5]
    row["answer"] = "correct" if right else f"{solution.termination.value}: {solution.message}"
    row["remedy"] = "" if right else info.install
    return row
