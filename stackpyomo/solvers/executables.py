"""Executables: NLP solvers that read the program's own .nl file and write a .sol file (POUNCE, Ipopt)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pyomo.contrib.solver.common.util import SolverError
from pyomo.contrib.solver.solvers.asl_sol_reader import parse_asl_sol_file

from stackpyomo.core import TOLERANCES, Array, kill, unbroken

from .program import Program
from .solution import Solution, Termination


def ipopt_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Tight, and with bounds kept exactly: prices and gains are read off the answer's derivatives."""
    return {"tol": TOLERANCES.solver, "bound_relax_factor": 0.0, "max_iter": 3000, **options}


def run_executable(executable: str, extra: Mapping[str, Any], limit_option: str) -> Callable[..., Solution]:
    """How to run this program on a :class:`Program`: with ``extra`` options, its time limit under that name."""

    def run(
        program: Program, options: dict[str, Any], time_limit: float | None, tee: bool, start: Array | None = None
    ) -> Solution:
        settings = {**extra, **({"print_level": 5} if tee else {}), **ipopt_options(options)}
        if time_limit is not None:
            settings[limit_option] = time_limit
        path = program.variant(start).path
        answer = path.with_suffix(".sol")
        answer.unlink(missing_ok=True)
        command = [_executable(executable), str(path), "-AMPL"]
        command += [f"{key}={value}" for key, value in settings.items()]
        try:
            status, output = _wait(command, program, time_limit, tee)
        except OSError as error:
            return Solution(Termination.FAILED, f"{command[0]} cannot be run ({error.strerror})")
        if status is None:
            return Solution(Termination.TIME_LIMIT, f"stopped after {time_limit} s")
        if status < 0:
            return Solution(Termination.KILLED, f"{executable} was killed by signal {-status}")
        if not answer.exists():
            return Solution(
                Termination.FAILED, output.strip().rpartition("\n")[2].strip() or f"exit code {status}, no answer"
            )
        return _read_sol(program, answer, output)

    return run


def _wait(command: list[str], program: Program, time_limit: float | None, tee: bool) -> tuple[int | None, str]:
    """Run to the end, or kill: on Ctrl-C, or a little after the limit the solver was given (status None)."""
    patience = None if time_limit is None else time_limit + max(1.0, 0.05 * time_limit)
    process: subprocess.Popen[str] | None = None
    try:
        with unbroken():
            process = subprocess.Popen(
                command,
                cwd=program.path.parent,
                env=amplfunc(program.libraries),
                stdin=subprocess.DEVNULL,
                stdout=None if tee else subprocess.PIPE,
                stderr=None if tee else subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # so that what it started ends with it
            )
            _mark(process, program).touch()
        output, _ = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        return None, ""
    finally:
        if process is not None:
            _reap(process)
            _mark(process, program).unlink(missing_ok=True)
    return process.returncode, output or ""


def _mark(process: subprocess.Popen[str], program: Program) -> Path:
    """The file that says which solver is at work here, for :func:`endings.sweep`."""
    return program.path.with_name(f"{process.pid}.pid")


def _reap(process: subprocess.Popen[str]) -> None:
    """End the solver, where it still runs, and what it started."""
    if process.poll() is None:
        kill(process.pid)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _read_sol(program: Program, path: Path, output: str) -> Solution:
    try:
        with path.open(encoding="utf-8") as stream:
            data = parse_asl_sol_file(stream)
        if data.primals and len(data.primals) != len(program.variables):
            return Solution(Termination.FAILED, "its answer has the wrong number of values")
        if not np.isfinite([*(data.primals or []), *(data.duals or [])]).all():
            return Solution(Termination.FAILED, "its answer holds numbers that are not finite")
    except (AssertionError, IndexError, SolverError, ValueError) as error:
        return Solution(Termination.FAILED, f"its answer cannot be read ({error})")
    said = (data.message or "").strip().rpartition("\n")[2]
    iterations = re.search(r"Number of Iterations\.*:\s*(\d+)", output)
    return Solution(
        _sol_termination(data.solve_code, said),
        said,
        np.array(data.primals, dtype=float) if data.primals else None,
        np.array(data.duals, dtype=float) if len(data.duals) == len(program.rows) else None,
        iterations=int(iterations[1]) if iterations else None,
    )


def _sol_termination(code: int | None, message: str) -> Termination:
    """AMPL's solve codes by hundreds."""
    if code is None:
        return Termination.FAILED
    words = message.lower()
    if 400 <= code < 500:
        known = {"time": Termination.TIME_LIMIT, "searchdirection": Termination.FAILED}
        return next((why for word, why in known.items() if word in words), Termination.ITERATION_LIMIT)
    if "acceptable" in words:
        return Termination.CONVERGED
    hundreds = {0: Termination.CONVERGED, 2: Termination.INFEASIBLE, 3: Termination.UNBOUNDED}
    return hundreds.get(code // 100, Termination.FAILED)


def _executable(name: str) -> str:
    if name == "pounce":
        import pyomo_pounce

        return str(pyomo_pounce.POUNCE().executable())
    return str(shutil.which(name))


def amplfunc(libraries: Sequence[str]) -> dict[str, str]:
    """The environment with AMPLFUNC naming the external function libraries a problem needs."""
    environment = dict(os.environ)
    if libraries:
        known = environment.get("AMPLFUNC", "").split("\n")
        environment["AMPLFUNC"] = "\n".join(filter(None, dict.fromkeys([*known, *libraries])))
    return environment
