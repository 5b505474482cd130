"""Solvers: one way in, one normalised answer out, whatever stands behind.

``registry`` says once what each solver can do and how to get it. The three NLP solvers read the program's own .nl file
(POUNCE and Ipopt as executables, Ipopt through cyipopt with POUNCE's evaluators); the others go through Pyomo's
solver interface. No solver ever sets a value in the user's model.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import math
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
from pyomo.contrib.solver.solvers.scip.scip_direct import ScipDirect
from pyomo.core.expr.relational_expr import RangedExpression

from .checks import elementary
from .errors import InvalidGame, SolverNotAvailable
from .executables import ipopt_options, run_executable
from .programs import Program
from .results import Array
from .solutions import Solution, Termination
from .tolerances import TOLERANCES
from .twins import twin

__all__ = ["Solution", "SolverInfo", "Termination", "choose", "registry", "solve"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SolverInfo:
    """What a solver can do, how it is driven, and how a user gets it."""

    name: str
    classes: frozenset[str]
    """Of "LP", "QP", "NLP", "MIP", "SOS1", "global"."""
    install: str
    version: Callable[[], str | None] = field(repr=False)
    """The installed version, None if the solver is not here."""
    run: Callable[..., Solution] = field(repr=False)
    ipopt_options: bool = False
    """True if it takes Ipopt's options."""
    tight: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Options with which rows are met to ``TOLERANCES.tight``, and its bound holds for little else."""

    @property
    def available(self) -> bool:
        """True if the solver is installed."""
        return self.version() is not None


def choose(solver: str = "auto") -> SolverInfo:
    """The solver of that name; "auto": an ``ipopt`` executable if there is one, else POUNCE.

    Raises :class:`SolverNotAvailable` for a name nobody knows and for one that is not installed.
    """
    if solver == "auto":
        return registry["ipopt"] if shutil.which("ipopt") else registry["pounce"]
    info = registry.get(solver)
    if info is None:
        raise SolverNotAvailable(f"solver={solver!r}: unknown solver. Choose one of {', '.join(['auto', *registry])}.")
    if not info.available:
        raise SolverNotAvailable(f"solver={solver!r}: not installed. {info.install}")
    return info


def solve(
    program: Program,
    solver: str = "auto",
    *,
    options: Mapping[str, Any] | None = None,
    time_limit: float | None = None,
    tee: bool = False,
    start: Array | None = None,
) -> Solution:
    """Solve the program; never raises for what the solver reports, only for a solver that cannot be used.

    ``start`` (in the order of the program's variables) takes the place of the Vars' values in NLP solvers.

    Raises :class:`SolverNotAvailable`, and :class:`InvalidGame` when a variable is integer and the solver continuous.
    """
    info = choose(solver)
    integers = [v for v in program.variables if not v.is_continuous()]
    if integers:  # one that is held is none
        integers = [
            v
            for v, low, high in zip(program.variables, *program.bounds, strict=True)
            if not v.is_continuous() and low < high
        ]
    if integers and "MIP" not in info.classes:
        raise InvalidGame(
            f"{integers[0].name}: an integer variable, and {info.name} is continuous. "
            "Use solver='scip' or 'highs', relax its domain, or fix it."
        )
    began = time.perf_counter()
    if not program.variables:
        return Solution(Termination.OPTIMAL, "nothing to decide", np.zeros(0), np.zeros(0), solver="none")
    other = twin(program, "MIP" in info.classes)
    if other is None:
        solution = info.run(program, dict(options or {}), time_limit, tee, start)
    else:
        solution = other.back(info.run(other.of(program, start), dict(options or {}), time_limit, tee, None))
    solution.seconds = time.perf_counter() - began
    solution.solver = info.name
    logger.debug("%s: %s (%s) in %.3f s", info.name, solution.termination, solution.message, solution.seconds)
    return solution


# --- Ipopt through cyipopt ----------------------------------------------------------------------------------------

_CYIPOPT_STATUS = {
    0: Termination.CONVERGED,
    1: Termination.CONVERGED,
    2: Termination.INFEASIBLE,
    4: Termination.UNBOUNDED,
    6: Termination.CONVERGED,
    -1: Termination.ITERATION_LIMIT,
    -4: Termination.TIME_LIMIT,
    -5: Termination.TIME_LIMIT,
}


class _Callbacks:
    """POUNCE's evaluators under the names cyipopt calls."""

    def __init__(self, program: Program) -> None:
        problem = program.problem
        self.objective = problem.objective
        self.gradient = problem.gradient
        self.constraints = problem.constraints
        self.jacobian = problem.jacobian
        self.jacobianstructure = problem.jacobian_structure
        self.hessian = problem.hessian
        self.hessianstructure = problem.hessian_structure
        self.iterations = 0

    def intermediate(self, *state: Any) -> bool:
        self.iterations = int(state[1])
        return True


def run_cyipopt(
    program: Program, options: dict[str, Any], time_limit: float | None, tee: bool, start: Array | None = None
) -> Solution:
    import cyipopt

    problem, callbacks = program.problem, _Callbacks(program)
    (lower, upper), (floor, ceiling) = program.bounds, program.row_bounds
    nlp = cyipopt.Problem(n=problem.n, m=problem.m, problem_obj=callbacks, lb=lower, ub=upper, cl=floor, cu=ceiling)
    settings = ipopt_options(options)
    settings.setdefault("print_level", 5 if tee else 0)
    settings.setdefault("sb", "yes")
    if time_limit is not None:
        settings["max_cpu_time"] = float(time_limit)
    for key, value in settings.items():
        nlp.add_option(key, value)
    first = next(point for point in (start, program.start, problem.x0) if point is not None)
    x, info = nlp.solve(np.clip(np.asarray(first), lower, upper))
    message = info["status_msg"]
    return Solution(
        _CYIPOPT_STATUS.get(info["status"], Termination.FAILED),
        message.decode() if isinstance(message, bytes) else str(message),
        np.asarray(x),
        -np.asarray(info["mult_g"]),
        iterations=callbacks.iterations,
    )


# --- solvers behind Pyomo's interface -----------------------------------------------------------------------------

_CONDITIONS = {
    TerminationCondition.convergenceCriteriaSatisfied: Termination.OPTIMAL,
    TerminationCondition.maxTimeLimit: Termination.TIME_LIMIT,
    TerminationCondition.iterationLimit: Termination.ITERATION_LIMIT,
    TerminationCondition.unbounded: Termination.UNBOUNDED,
    TerminationCondition.provenInfeasible: Termination.INFEASIBLE,
    TerminationCondition.locallyInfeasible: Termination.INFEASIBLE,
    TerminationCondition.infeasibleOrUnbounded: Termination.INFEASIBLE,
}


class _Released:
    """A SCIP model that solves without Python's lock: else it and Pyomo's reader of its output wait for each other."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.optimize = model.optimizeNogil

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
        made, loader, has_objective = super()._create_solver_model(model, config)
        return _Released(made), loader, has_objective


def from_factory(name: str) -> Callable[[], Any]:
    return lambda: SolverFactory(name)


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
        began, doubted = time.monotonic(), False
        for extra in ({}, *again):
            left = None if time_limit is None else max(time_limit - (time.monotonic() - began), 0.1)
            solution = attempt(program, {**options, **extra}, left, tee)
            if solution.termination is Termination.INFEASIBLE and not doubted and not program.is_linear:
                doubted = True
            elif solution.termination is not Termination.FAILED:
                break
        return solution

    def attempt(program: Program, options: dict[str, Any], time_limit: float | None, tee: bool) -> Solution:
        interface = interface_of()
        try:
            with _heard_interrupts():
                results = interface.solve(
                    program.model,
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
            _in_words(results.termination_condition.name),
            bound=math.nan if results.objective_bound is None else float(results.objective_bound),
        )
        if results.solution_status in (SolutionStatus.optimal, SolutionStatus.feasible):
            held = results.solution_loader.get_vars()
            solution.x = np.array([held.get(v, v.value or 0.0) for v in program.variables])
            solution.duals = _pyomo_duals(program, results) if duals else None
        return solution

    return run


def _in_words(name: str) -> str:
    """convergenceCriteriaSatisfied → convergence criteria satisfied."""
    return re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower()


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
        held = results.solution_loader.get_duals()
    except Exception:  # a MIP, say, has none
        return None
    return np.array([held.get(program.model.rows[int(i)], 0.0) for i in program.rows], dtype=float)


# --- versions -----------------------------------------------------------------------------------------------------


def _package(name: str) -> Callable[[], str | None]:
    def version() -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    return version


def _program_version(name: str) -> Callable[[], str | None]:
    def version() -> str | None:
        path = shutil.which(name)
        if path is None:
            return None
        try:
            shown = subprocess.run([path, "--version"], capture_output=True, timeout=15, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return "unknown"
        number = re.search(r"\d+(\.\d+)+", (shown.stdout + shown.stderr).decode(errors="replace"))
        return number[0] if number else "unknown"

    return version


_POUNCE = {
    "solver_selection": "nlp",
    "print_level": 3,
    # What it calls infeasible it solves again with other settings; with this one sometimes without an end.
    "feral_infeasibility_scaling_retry": "no",
}
_SCIP = {
    "display/verblevel": 0,
    "numerics/feastol": TOLERANCES.global_feasibility,
    # Its presolver of independent components solves each in a SCIP of its own, and calls some infeasible that are not
    # (SCIP 10: 43 of 369 systems, each of eight curved games side by side with known equilibria; without it none).
    "constraints/components/maxprerounds": 0,
}


def _info(
    name: str,
    classes: str,
    install: str,
    version: Callable[[], str | None],
    run: Callable[..., Solution],
    ipopt_options: bool = False,
    tight: str = "",
) -> SolverInfo:
    options = {tight: TOLERANCES.tight} if tight else {}
    return SolverInfo(name, frozenset(classes.split()), install, version, run, ipopt_options, options)


_GUROBI = {
    "NonConvex": 2,
    "MIPGap": TOLERANCES.solver,  # its own, 1e-4, closes no gap
    "FeasibilityTol": TOLERANCES.tight,
    "OptimalityTol": TOLERANCES.tight,
}
registry: dict[str, SolverInfo] = {
    info.name: info
    for info in (
        _info(
            "pounce",
            "LP QP NLP",
            'Install it with: pip install "pyomo-pounce".',
            _package("pounce-solver"),
            run_executable("pounce", _POUNCE, "max_wall_time"),
            True,
        ),
        _info(
            "ipopt",
            "LP QP NLP",
            "Install the executable (conda install -c conda-forge ipopt, or idaes-pse's `idaes get-extensions`) "
            "and put it on the PATH; or use solver='pounce'.",
            _program_version("ipopt"),
            run_executable("ipopt", {"sb": "yes"}, "max_cpu_time"),
            True,
        ),
        _info(
            "cyipopt",
            "LP QP NLP",
            "Install Ipopt's library (conda-forge ipopt, or Debian coinor-libipopt-dev), "
            'then: pip install "stackpyomo[ipopt]".',
            _package("cyipopt"),
            run_cyipopt,
            True,
        ),
        _info(
            "highs",
            "LP QP MIP",
            'Install it with: pip install "highspy".',
            _package("highspy"),
            run_pyomo(from_factory("highs"), {"qp_regularization_value": TOLERANCES.regularization}, True),
        ),
        _info(
            "scip",
            "LP QP NLP MIP SOS1 global",
            'Install it with: pip install "pyscipopt".',
            _package("pyscipopt"),
            run_pyomo(
                Scip,
                _SCIP,
                False,
                again=(
                    {"randomization/randomseedshift": 1, "lp/scaling": 2},
                    {"randomization/randomseedshift": 2, "lp/scaling": 0},
                ),
                loud={"display/verblevel": 4},
            ),
            tight="numerics/feastol",
        ),
        _info(
            "gurobi",
            "LP QP MIP SOS1 global",  # Pyomo's interface passes on what is quadratic at most
            'Install it with: pip install "gurobipy" (a free licence is limited in size).',
            _package("gurobipy"),
            run_pyomo(from_factory("gurobi_persistent"), _GUROBI, True),
            tight="FeasibilityTol",
        ),
    )
}
"""Name → what the solver can do. One entry a solver; tests run all of them that are installed."""
