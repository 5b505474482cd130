"""Interfaces to the solvers, one function each.

Executables: NLP solvers that read the program's own .nl file and write a .sol file (POUNCE, Ipopt).
"""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
from pyomo.contrib.solver.common.util import SolverError
from pyomo.contrib.solver.solvers.asl_sol_reader import parse_asl_sol_file
from pyomo.contrib.solver.solvers.scip.scip_direct import ScipDirect
from pyomo.core.expr.relational_expr import RangedExpression

from stackpyomo.core import TOLERANCES, Array, kill, unbroken
from stackpyomo.core.expressions import elementary

from .endless import AFAR, HUGE, endless_arguments, is_known_afar, within_rows
from .library import pounce
from .program import Program
from .solution import Solution, Termination

# --- Ipopt and POUNCE as libraries ------------------------------------------------------------------------------

_LIBRARY_STATUS = {
    0: Termination.CONVERGED,
    1: Termination.CONVERGED,
    2: Termination.INFEASIBLE,
    4: Termination.UNBOUNDED,
    6: Termination.CONVERGED,
    -1: Termination.ITERATION_LIMIT,
    -4: Termination.TIME_LIMIT,
    -5: Termination.TIME_LIMIT,
}
_CONDITIONS = {
    TerminationCondition.convergenceCriteriaSatisfied: Termination.OPTIMAL,
    TerminationCondition.maxTimeLimit: Termination.TIME_LIMIT,
    TerminationCondition.iterationLimit: Termination.ITERATION_LIMIT,
    TerminationCondition.unbounded: Termination.UNBOUNDED,
    TerminationCondition.provenInfeasible: Termination.INFEASIBLE,
    TerminationCondition.locallyInfeasible: Termination.INFEASIBLE,
    TerminationCondition.infeasibleOrUnbounded: Termination.INFEASIBLE_OR_UNBOUNDED,
}

# SCIP's option for limits in processor seconds, and the least of them that is worth going on for.
PROCESSOR_CLOCK: Mapping[str, Any] = {"timing/clocktype": 1}
CLOCK_LIMIT = "timing/clocklimit"  # An option of :class:`_Released`: seconds by the clock, beside processor seconds.
_TICK = 0.01

_SMALL = 500  # Variables up to which POUNCE works in this process.

# How much of these SCIP does ("off", "fast"), by the functions that set it: none of them is one of its own options.
_EMPHASES = {"heuristics": "setHeuristics", "presolving": "setPresolve", "separating": "setSeparating"}


class _Callbacks:
    """A program's functions under the names that cyipopt calls; ``endings``: signals that have told the process to end.

    A library takes whatever is raised in a function for a point without a value: so it is asked to stop instead.
    """

    def __init__(self, program: Program, endings: Sequence[int]) -> None:
        problem = program.problem
        self.objective = problem.objective
        self.gradient = problem.gradient
        self.constraints = problem.constraints
        self.jacobian = problem.jacobian
        self.jacobianstructure = problem.jacobian_structure
        self.hessian = problem.hessian
        self.hessianstructure = problem.hessian_structure
        self.iterations = 0
        self._endings = endings

    def intermediate(self, *state: Any) -> bool:
        self.iterations = int(state[1])
        return not self._endings


def run_cyipopt(
    program: Program, options: dict[str, Any], time_limit: float | None, tee: bool, start: Array | None = None
) -> Solution:
    """Ipopt's library through cyipopt, on the program's own functions."""
    import cyipopt

    limit = {} if time_limit is None else {"max_cpu_time": float(time_limit)}
    return _run_library(cyipopt.Problem, program, {"sb": "yes", **limit, **options}, tee, start)


def run_pounce(
    extra: Mapping[str, Any],
    executable: Callable[..., Solution] | None,
    program: Program,
    options: Mapping[str, Any],
    time_limit: float | None,
    tee: bool,
    start: Array | None = None,
) -> Solution:
    """POUNCE's library, on the program's own functions; its executable where a program is not small, if there is one.

    To start that takes longer than most small programs do.
    """
    if executable is not None and (tee or program.libraries or len(program.variables) > _SMALL):
        return executable(program, options, time_limit, tee, start)
    limit = {} if time_limit is None else {"max_wall_time": float(time_limit)}
    return _run_library(pounce.Problem, program, {**extra, **limit, **options}, tee, start)


def _run_library(
    kind: Callable[..., Any], program: Program, options: Mapping[str, Any], tee: bool, start: Array | None
) -> Solution:
    problem = program.problem
    (lower, upper), (floor, ceiling) = program.bounds, program.row_bounds
    first = next(point for point in (start, program.start, problem.x0) if point is not None)
    with unbroken() as endings:
        callbacks = _Callbacks(program, endings)
        nlp = kind(n=problem.n, m=problem.m, problem_obj=callbacks, lb=lower, ub=upper, cl=floor, cu=ceiling)
        for key, value in {"print_level": 5 if tee else 0, **ipopt_options(options)}.items():
            nlp.add_option(key, value)
        try:
            x, info = nlp.solve(np.clip(np.asarray(first), lower, upper))
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # a library of Rust that has lost its way; no Exception
                raise
            return Solution(Termination.FAILED, str(error))
    message = info["status_msg"]
    return Solution(
        _LIBRARY_STATUS.get(info["status"], Termination.FAILED),
        message.decode() if isinstance(message, bytes) else str(message),
        np.asarray(x),
        -np.asarray(info["mult_g"]),
        iterations=callbacks.iterations,
    )


# --- solvers behind Pyomo's interface -----------------------------------------------------------------------------


class _Released:
    """A SCIP model that solves without Python's lock: else it and Pyomo's reader of its output wait for each other.

    A limit in processor seconds is kept by going on where the clock has stopped it too early: SCIP's own processor
    clock is a system call each time that it looks, a million in two seconds, which take longer than the solve. Beside
    much other work it may end by the clock, too (``CLOCK_LIMIT``).
    """

    def __init__(self, model: Any) -> None:
        self._model, self._by_processor, self._latest = model, False, math.inf

    def setParam(self, name: str, value: Any) -> None:
        if {name: value} == PROCESSOR_CLOCK:
            self._by_processor = True
        elif name == CLOCK_LIMIT:
            self._latest = value
        elif name in _EMPHASES:
            from pyscipopt.scip import PY_SCIP_PARAMSETTING as settings

            getattr(self._model, _EMPHASES[name])(getattr(settings, value.upper()))
        else:
            self._model.setParam(name, value)

    def optimize(self) -> None:
        """Solve until done, or until the limits."""
        limit, began, start = self._model.getParam("limits/time"), time.thread_time(), time.monotonic()
        self._model.optimizeNogil()
        while self._by_processor and self._model.getStatus() == "timelimit":
            left = min(limit - (time.thread_time() - began), self._latest - (time.monotonic() - start))
            if left <= _TICK:
                break
            self._model.setParam("limits/time", self._model.getSolvingTime() + left)
            self._model.optimizeNogil()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class Scip(ScipDirect):
    """Pyomo's interface, with the lock released while SCIP works, hyperbolic functions, and ranges as two rows.

    It moves a constant of a ranged row's body to the upper side alone.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        walk = self._expr_visitor.walk_expression
        self._expr_visitor.walk_expression = lambda expression: walk(elementary(expression))

    def _add_constraint(self, constraint: Any) -> None:
        if not isinstance(constraint.expr, RangedExpression):
            super()._add_constraint(constraint)
            return
        lower, upper = constraint.lb, constraint.ub
        body = self._expr_visitor.walk_expression(constraint.body)
        for row in (body == lower,) if lower == upper else (body >= lower, body <= upper):
            self._pyomo_con_to_solver_con_map[constraint] = self._solver_model.addCons(row)

    def _create_solver_model(self, model: Any, config: Any) -> tuple[Any, Any, Any]:
        model_of, loader, has_objective = super()._create_solver_model(model, config)
        return _Released(model_of), loader, has_objective


def run_pyomo(
    interface_of: Callable[[], Any],
    settings: Mapping[str, Any],
    duals: bool,
    again: tuple[Mapping[str, Any], ...] = (),
    loud: Mapping[str, Any] | None = None,
) -> Callable[..., Solution]:
    """``loud``: settings under which there is something to show.

    ``again``: settings under which a solve that broke down is tried once more, each in turn. That a curved problem is
    infeasible is believed when two of these say so: rounding alone can empty a small set.
    """

    def run(
        program: Program, options: dict[str, Any], time_limit: float | None, tee: bool, _start: Array | None = None
    ) -> Solution:
        began, doubted, program = time.monotonic(), False, within_rows(program)
        for extra in ({}, *again):
            left = None if time_limit is None else max(time_limit - (time.monotonic() - began), 0.1)
            solution = attempt(program, {**options, **extra}, left, tee)
            if solution.termination is Termination.INFEASIBLE and _holds_huge_numbers(program):
                return solution.without_proof("not reliable beside numbers of 1e15 and more")
            if solution.termination is Termination.INFEASIBLE and not doubted and not program.is_linear:
                doubted = True
            elif solution.termination not in (Termination.FAILED, Termination.INFEASIBLE_OR_UNBOUNDED):
                break
        return _believed(program, solution)

    def attempt(program: Program, options: dict[str, Any], time_limit: float | None, tee: bool) -> Solution:
        interface, (model, variables) = interface_of(), program.limited
        try:
            with _heard_interrupts():
                results = interface.solve(
                    model,
                    load_solutions=False,
                    raise_exception_on_nonoptimal_result=False,
                    time_limit=time_limit,
                    tee=tee,
                    solver_options={**settings, **(loud if tee and loud else {}), **options},
                )
        except Exception as error:  # every interface has its own way of saying "not my class of problem"
            return Solution(Termination.FAILED, f"{getattr(interface, 'name', 'solver')}: {error}")
        if results.termination_condition is TerminationCondition.interrupted:
            raise KeyboardInterrupt
        solution = Solution(
            _CONDITIONS.get(results.termination_condition, Termination.FAILED),
            # convergenceCriteriaSatisfied → convergence criteria satisfied
            re.sub("(?<=[a-z])(?=[A-Z])", " ", results.termination_condition.name).lower(),
            bound=math.nan if results.objective_bound is None else float(results.objective_bound),
        )
        if results.solution_status in (SolutionStatus.optimal, SolutionStatus.feasible):
            levels = results.solution_loader.get_vars()
            solution.x = np.array([levels.get(v, v.value or 0.0) for v in variables])
            solution.duals = _pyomo_duals(program, results) if duals else None
        return solution

    return run


def _believed(program: Program, solution: Solution) -> Solution:
    """The solution without what it says of all points, where a function has an argument without an end.

    SCIP loses what stands beside infinite numbers: −½ exp(−20 (x − 2)²) + x/100 is 0 at least, it says, for x ≥ 0.
    Functions of affine arguments it knows, but as far as it counts: (1 + x)^(−1/20) falls to 0.17 and ends, it says,
    and of x + z in place of x at 1e14 already. No z ≤ log(1 + x) is more than 44, it says.
    """
    endless = endless_arguments(program)
    farthest = 0.0 if solution.x is None else float(np.abs(solution.x).max(initial=0.0))
    is_infeasible = solution.termination is Termination.INFEASIBLE
    bound = math.inf if is_infeasible else solution.bound
    if farthest < (AFAR if endless else HUGE) and (math.isnan(bound) or is_known_afar(program, endless, bound)):
        return solution
    return solution.without_proof("not reliable with functions of unbounded arguments")


def _holds_huge_numbers(program: Program) -> bool:
    """True if a limit, or a row at the start, is so large that a solver may lose what stands beside it."""
    sides = [side for part in (*program.variables, *program.model.rows.values()) for side in (part.lb, part.ub)]
    with np.errstate(all="ignore"):
        bodies = program.problem.constraints(np.asarray(program.problem.x0, dtype=float)) if len(program.rows) else ()
    return any(not abs(size) < HUGE for size in (*(side for side in sides if side is not None), *bodies))


@contextmanager
def _heard_interrupts() -> Iterator[None]:
    """Ctrl-C ends in KeyboardInterrupt even if the solver caught it and called it an error."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    previous = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        if callable(previous):
            previous(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if heard:
            raise KeyboardInterrupt


def _pyomo_duals(program: Program, results: Any) -> Array | None:
    try:
        duals = results.solution_loader.get_duals()
    except Exception:  # a MIP, say, has none
        return None
    rows = program.limited[0].rows  # one without limits is left out
    return np.array([duals.get(rows[i], 0.0) if i in rows else 0.0 for i in program.rows.tolist()], dtype=float)


def ipopt_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Tight, and with bounds kept exactly: prices and gains are read off the answer's derivatives."""
    return {"tol": TOLERANCES.solver, "bound_relax_factor": 0.0, "max_iter": 3000, **options}


def run_executable(
    executable: str,
    extra: Mapping[str, Any],
    limit_option: str,
    program: Program,
    options: dict[str, Any],
    time_limit: float | None,
    tee: bool,
    start: Array | None = None,
) -> Solution:
    """The executable on the program's .nl file: with ``extra`` options, its time limit under that name."""
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
