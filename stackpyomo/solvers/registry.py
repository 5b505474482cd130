"""Solvers: one way in, one normalised answer out, whatever stands behind.

``registry`` says once what each solver can do and how to get it. The three NLP solvers read the program's own .nl file
(POUNCE and Ipopt as executables, Ipopt through cyipopt with POUNCE's evaluators); the others go through Pyomo's
solver interface. No solver ever sets a value in the user's model.
"""

from __future__ import annotations

import importlib.util
import logging
import math
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from pyomo.contrib.solver.common.factory import SolverFactory

from stackpyomo.core import TOLERANCES, Array, is_closed
from stackpyomo.core.expressions import is_affine
from stackpyomo.errors import InvalidGame, SolverNotAvailable

from .array_programs import ArrayProgram
from .interfaces import (
    CLOCK_LIMIT,
    PROCESSOR_CLOCK,
    Scip,
    run_cyipopt,
    run_executable,
    run_pounce,
    run_pyomo,
)
from .program import BadRow, Program
from .solution import Solution, Termination
from .twins import Twin, closer, twin

logger = logging.getLogger(__name__)

_Ask = Callable[..., Solution]  # (units or None for the program's own, start, limit, more options) → answer.
_CLOSER = 4  # Times at most that an answer is looked for once more in the units that it tells.


@dataclass(frozen=True)
class SolverInfo:
    """What a solver can do, how it is driven, and how a user gets it."""

    name: str
    classes: frozenset[str]  #: Of "LP", "QP", "NLP", "MIP", "SOS1", "global".
    install: str
    version: Callable[[], str | None] = field(repr=False)  #: The installed version, None if the solver is not here.
    run: Callable[..., Solution] = field(repr=False)
    ipopt_options: bool = False  #: True if it takes Ipopt's options.
    #: Options with which rows are met to ``TOLERANCES.tight``, and its bound holds for little else.
    tight: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: Options for linear programs with sets, to which branching comes sooner than heuristics do; and with which it does
    #: nothing but branch.
    branching: Mapping[str, Any] = field(default_factory=dict, repr=False)
    bare: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: Options with which a limit of time is one of processor seconds.
    processor_clock: Mapping[str, Any] = field(default_factory=dict, repr=False)
    clock_limit: str = ""  #: The option of a limit by the clock beside such a one.
    #: Options of another way to work through linear programs, for a second opinion.
    otherwise: Mapping[str, Any] = field(default_factory=dict, repr=False)
    gap: str = ""  #: The option that says at which difference of answer and bound it may stop.

    def seconds_of(self, clock: float) -> dict[str, Any]:
        """Options with which a limit of time is one of processor seconds, and ends after these by the clock, too."""
        return {**self.processor_clock, **({self.clock_limit: clock} if self.clock_limit else {})}

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


def prover(program: Program) -> str:
    """The name of a solver whose bound proves: HiGHS for what is linear and holds no sets, else SCIP."""
    model = program.model
    linear = is_affine(model.objective.expr, *(row.body for row in model.rows.values()))
    return "highs" if linear and not program.sets and registry["highs"].available else "scip"


def least_point(
    cost: Any, rows: Sequence[Any], solver: str | None = None, *, time_limit: float | None = None
) -> dict[int, float]:
    """{id(Var): value} where the cost is least, by a solver whose bound proves it or a named one; empty: no answer."""
    try:
        program = Program(cost, rows)
    except BadRow:
        return {}
    solution = solve(program, solver or prover(program), time_limit=time_limit)
    ended = solution.termination.solved or solution.termination.limited
    return program.levels(solution.x) if ended and solution.x is not None else {}


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

    solver "auto": the NLP solver of :func:`choose`; SCIP (or HiGHS where that is all there is) for a program with
    integers. ``start`` (in the order of the program's variables) takes the place of the Vars' values in NLP solvers.

    Raises :class:`SolverNotAvailable`, and :class:`InvalidGame` when a variable is integer and the solver continuous.
    """
    integers = _integers(program)
    if integers and solver == "auto":  # SCIP, or HiGHS, which takes linear ones alone
        solver = next((name for name in ("scip", "highs") if registry[name].available), "auto")
    info = choose(solver)
    if integers and "MIP" not in info.classes:
        raise InvalidGame(
            f"{integers[0].name}: an integer variable, and {info.name} is continuous. "
            "Use solver='scip' or 'highs', relax its domain, or fix it."
        )
    began = time.perf_counter()
    if not program.variables:
        return Solution(Termination.OPTIMAL, "nothing to decide", np.zeros(0), np.zeros(0), solver="none")
    in_this_process = isinstance(program, ArrayProgram)
    run = partial(run_pounce, _RETRY, None) if in_this_process else info.run

    def ask(natural: Twin | None, start: Array | None, limit: float | None = time_limit, **more: Any) -> Solution:
        if natural is None:
            return run(program, {**(options or {}), **more}, limit, tee, start)
        return natural.back(run(natural.of(program, start), {**(options or {}), **more}, limit, tee, None))

    solution = _asked(program, info, ask, start, math.inf if time_limit is None else time_limit)
    solution.seconds = time.perf_counter() - began
    solution.solver = info.name
    logger.debug("%s: %s (%s) in %.3f s", info.name, solution.termination, solution.message, solution.seconds)
    return solution


def _asked(program: Program, info: SolverInfo, ask: _Ask, start: Array | None, limit: float) -> Solution:
    """The answer in natural units, and where these may mislead a solver what it says otherwise, within the limit."""
    began, proves = time.perf_counter(), "MIP" in info.classes
    other = twin(program, proves)
    solution = ask(other, start)
    if other is not None:
        lost = solution.answer is None and solution.termination in (Termination.INFEASIBLE, Termination.FAILED)
        if (lost and other.is_rough) or (not proves and other.is_stretched):
            solution = _agreed(program, solution, ask(None, start))  # units drown each other: asked in both
        ended = solution.termination in (Termination.OPTIMAL, Termination.INFEASIBLE)
        left = limit - (time.perf_counter() - began)
        if info.otherwise and other.is_uneven and ended and left > 0.0:
            second = ask(other, start, left if math.isfinite(left) else None, **info.otherwise)
            solution = _doubted(program, solution, second)
        if proves and other.is_torn and not program.is_linear:
            solution = solution.without_proof("units lie too far apart for a proof")
    return solution if proves else _closest(program, solution, ask)


def _integers(program: Program) -> list[Any]:
    """Its integer variables; one that is held is none."""
    if all(v.is_continuous() for v in program.variables):
        return []
    levels = zip(program.variables, *program.bounds, strict=True)
    return [v for v, low, high in levels if not v.is_continuous() and low < high]


def _agreed(program: Program, natural: Solution, plain: Solution) -> Solution:
    """The better of two answers; where there is none, infeasible only if both say so."""
    if min(_cost(program, natural), _cost(program, plain)) < math.inf:
        return min(natural, plain, key=lambda answer: _cost(program, answer))
    return plain if natural.termination is Termination.INFEASIBLE else natural


def _doubted(program: Program, one: Solution, other: Solution) -> Solution:
    """What two opinions of a global solver leave: the better answer, and the lower bound.

    Of a second one that did not end the point counts alone: it refutes that there is none, or none so good.
    """
    if one.termination is Termination.INFEASIBLE:
        return one if other.x is None else other
    if other.termination is not Termination.OPTIMAL:
        return other if other.x is not None and _refutes(program, other.x, one.bound) else one
    best = min(one, other, key=lambda answer: _cost(program, answer))
    return replace(best, bound=min(one.bound, other.bound), seconds=one.seconds + other.seconds)


def _refutes(program: Program, x: Array, bound: float) -> bool:
    """True if a point costs less than what was said to be the least."""
    cost = _cost_at(program, x)
    return cost < bound and not is_closed(bound, cost, program.units(x)[2])


def _closest(program: Program, solution: Solution, ask: _Ask) -> Solution:
    """The answer, or a better one in the units that it tells, as long as there is one."""
    for _ in range(_CLOSER):
        finer = None if solution.answer is None else closer(program, solution.answer)
        if finer is None:
            break
        again = ask(finer, solution.answer)
        if not _cost(program, again) < _cost(program, solution):
            break
        solution = again
    return solution


def _cost(program: Program, solution: Solution) -> float:
    return math.inf if solution.answer is None else _cost_at(program, solution.answer)


def _cost_at(program: Program, x: Array) -> float:
    """The objective at a point; ∞ where that is not feasible."""
    feasible = program.residuals(x, None).feasibility <= TOLERANCES.feasibility
    return float(program.problem.objective(x)) if feasible else math.inf


# --- versions -----------------------------------------------------------------------------------------------------


def _of_package(name: str) -> str | None:
    try:
        package = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    line = re.search(r"^Version: *(\S+)", package.read_text("METADATA") or "", re.M)
    return line[1] if line else package.version  # which reads all of it, five times as long


def _of_executable(name: str) -> str | None:
    path = shutil.which(name)
    if path is None:
        return None
    try:
        shown = subprocess.run([path, "--version"], capture_output=True, timeout=15, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    number = re.search(r"\d+(\.\d+)+", (shown.stdout + shown.stderr).decode(errors="replace"))
    return number[0] if number else "unknown"


# What it calls infeasible it solves again with other settings; with this one sometimes without an end.
_RETRY = {"feral_infeasibility_scaling_retry": "no"}

_POUNCE = {"solver_selection": "nlp", "print_level": 3, **_RETRY}

_SCIP = {
    "display/verblevel": 0,
    "numerics/feastol": TOLERANCES.global_feasibility,
    "limits/absgap": TOLERANCES.tight,
    # At its own 1e-9 its presolve loses points, and others are called optimal (SCIP 10: 16 of 800 games of four linear
    # followers under one toll, costs in units from 0.01 to 20; 4 of 57 of a quartic cost in wide boxes; now none).
    "numerics/epsilon": TOLERANCES.global_zero,
    # With its LP solver's presolving bounds are lost where boxes are far wider than what is at stake (SCIP 10: 6 of 60
    # networks with tolls up to 1e6, "optimal" at 0 where 13 is; none without it).
    "lp/presolving": False,
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
    **options: Any,
) -> SolverInfo:
    tightly = {tight: TOLERANCES.tight} if tight else {}
    able = frozenset(classes.split())
    return SolverInfo(name, able, install, version, run, ipopt_options, tightly, **options)


_HIGHS = {
    "qp_regularization_value": TOLERANCES.regularization,
    "mip_rel_gap": 0.0,  # its own, 1e-4, closes no gap
    "parallel": "off",  # threads that wait for each other cost more than small programs do
}

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
            partial(_of_package, "pounce-solver"),
            partial(run_pounce, _RETRY, partial(run_executable, "pounce", _POUNCE, "max_wall_time")),
            True,
        ),
        _info(
            "ipopt",
            "LP QP NLP",
            "Install the executable (conda install -c conda-forge ipopt, or idaes-pse's `idaes get-extensions`) "
            "and put it on the PATH; or use solver='pounce'.",
            partial(_of_executable, "ipopt"),
            partial(run_executable, "ipopt", {"sb": "yes"}, "max_cpu_time"),
            True,
        ),
        _info(
            "cyipopt",
            "LP QP NLP",
            "Install Ipopt's library (conda-forge ipopt, or Debian coinor-libipopt-dev), "
            'then: pip install "stackpyomo[ipopt]".',
            partial(_of_package, "cyipopt"),
            run_cyipopt,
            True,
        ),
        _info(
            "highs",
            "LP QP MIP",
            'Install it with: pip install "highspy".',
            partial(_of_package, "highspy"),
            run_pyomo(partial(SolverFactory, "highs"), _HIGHS, True),
        ),
        _info(
            "scip",
            "LP QP NLP MIP SOS1 global",
            'Install it with: pip install "pyscipopt".',
            partial(_of_package, "pyscipopt"),
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
            branching={"heuristics": "fast"},
            bare={"heuristics": "off", "presolving": "off", "separating": "off"},
            processor_clock=PROCESSOR_CLOCK,
            clock_limit=CLOCK_LIMIT,
            otherwise={"lp/presolving": True, "lp/disablecutoff": 1},
            gap="limits/absgap",
        ),
        _info(
            "gurobi",
            "LP QP MIP SOS1 global",  # Pyomo's interface passes on what is quadratic at most
            'Install it with: pip install "gurobipy" (a free licence is limited in size).',
            partial(_of_package, "gurobipy"),
            run_pyomo(partial(SolverFactory, "gurobi_persistent"), _GUROBI, True),
            tight="FeasibilityTol",
        ),
    )
}  #: Name → what the solver can do. One entry a solver; tests run all of them that are installed.
