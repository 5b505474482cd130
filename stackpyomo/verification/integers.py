"""Integer followers: the best response by going through all its points, or by branch and bound.

    min cost(v)   s.t.  rows(v),  lower ≤ v ≤ upper,  v_j a whole number for j in I

A box of whole numbers alone that holds few points is enumerated: every one is evaluated, which is a proof whatever the
cost. Elsewhere HiGHS (linear) or SCIP is asked, and "global" is claimed only where its bound meets the best response; a
cost that is no polynomial needs the bound to be confirmed on intervals, too. Rows are met to their tolerance, so that a
point that is all but feasible counts as a deviation: a regret is never understated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stackpyomo.core import TOLERANCES, Array, clipped, fixed, is_within, whole_points
from stackpyomo.core.expressions import is_affine
from stackpyomo.solvers import BadRow, Program, Termination, choose, registry

from .batch import Separable, Task
from .best_response import Composed
from .confirmation import believe
from .effort import Unsettled

_POINTS = 4096  # Points of a box of whole numbers up to which all are evaluated.
_LOOKS = 1000  # Neighbours of an answer that are looked at.
_SECONDS = 30.0  # For one branch and bound where no time limit is given.
_SEARCH = 5.0  # The same where its bound would be no proof, so that it is a search.
_UNMET = "no solver's bound meets its best response"


@dataclass(frozen=True)
class Resolve:
    """How a best response is looked for; ``until``: a time of ``time.monotonic``."""

    solver: str
    certify: str
    tolerance: float
    until: float


def answer(problem: Composed, how: Resolve) -> None:
    """Set best response and certificate: "global" where it is proved, "unknown" where nothing was found."""
    if problem.certificate == "unknown":
        problem.note = "the problem of an integer follower is not convex" if how.certify == "convex" else problem.note
        return
    whole = len(problem.integers) == len(problem.variables)
    points = whole_points(problem.variables, _POINTS) if whole else None
    if points is not None and _enumerate(problem, points.tolist()):
        problem.certificate, problem.note = "global", ""
    else:
        _branch(problem, how)
    if how.certify == "multistart" and problem.certificate == "global":
        problem.certificate = "multistart"
    elif how.certify in ("proof", "global") and problem.certificate == "multistart":
        problem.give_up(problem.note or _UNMET)


# --- enumeration ------------------------------------------------------------------------------------------------------


def _enumerate(problem: Composed, points: Sequence[Sequence[float]]) -> bool:
    """Offer the best of the points; False where the problem cannot be evaluated this way."""
    try:
        program = Program(problem.cost, problem.rows)
        place = {id(v): number for number, v in enumerate(program.variables)}
        evaluated = program.problem
    except (BadRow, ValueError):
        return _evaluate(problem, points)
    columns = [number for number, v in enumerate(problem.variables) if id(v) in place]
    order = np.array([place[id(problem.variables[number])] for number in columns], dtype=int)
    sizes = np.array([problem.row_scales[int(row)] for row in program.rows])
    (floor, ceiling), constants = program.row_bounds, all(is_within(*row) for row in problem.constants)
    x = np.zeros(len(program.variables))
    for point in points if constants else ():
        x[order] = [point[number] for number in columns]
        body = np.asarray(evaluated.constraints(x)) if evaluated.m else np.zeros(0)
        if not _is_inside(body, floor, ceiling, sizes):
            continue
        cost = float(evaluated.objective(x))
        if math.isfinite(cost) and cost < problem.best_cost:
            problem.offer(point, problem.cost_at(point))
    return _settle(problem)


def _evaluate(problem: Composed, points: Sequence[Sequence[float]]) -> bool:
    """The same by Pyomo, for what has no .nl file: a row that holds or not whatever the point, an undefined datum."""
    for point in points:
        cost = problem.cost_at(point)
        if math.isfinite(cost) and problem.violation() <= TOLERANCES.feasibility:
            problem.offer(point, cost)
    return _settle(problem)


def _is_inside(body: Array, floor: Array, ceiling: Array, sizes: Array) -> bool:
    room = TOLERANCES.feasibility
    low = np.where(np.isfinite(floor), floor - room * np.maximum(sizes, np.abs(floor)), -np.inf)
    high = np.where(np.isfinite(ceiling), ceiling + room * np.maximum(sizes, np.abs(ceiling)), np.inf)
    return bool(((body >= low) & (body <= high)).all())


def _settle(problem: Composed) -> bool:
    """True with a best response; a piece the plan is not in may be empty, the plan's own holds it at least."""
    if not problem.best:
        problem.empty = problem.home is not None
        return problem.empty
    return True


# --- branch and bound -------------------------------------------------------------------------------------------------


def _branch(problem: Composed, how: Resolve) -> None:
    """Ask a solver of integer programs, and take its answer with the integers rounded and the rest solved anew."""
    name = _solver(problem, how.solver)
    if not name:
        problem.give_up("an integer follower, and no global solver is installed (pip install pyscipopt)")
        return
    provable = _is_linear(problem) or all(None not in v.bounds for v in problem.variables)
    left = _SECONDS if math.isinf(how.until) else how.until - time.monotonic()
    left = left if provable else min(left, _SEARCH)
    if left <= 0.0:
        problem.give_up("not re-solved, because the time limit was reached", Unsettled.STOPPED)
        return
    separable = Separable([Task(problem, problem.target, True)])
    solution = separable.solve(name, {}, left)
    if solution is None:
        problem.give_up(f"its problem cannot be written: {separable.trouble}")
    elif solution.termination is Termination.INFEASIBLE and problem.home is not None:
        problem.empty, problem.certificate = True, "global"
    elif solution.termination is Termination.UNBOUNDED:
        problem.give_up("its objective improves without limit, according to the solver")
    elif solution.x is None:
        problem.give_up(f"its re-solve stopped: {solution.termination.value} ({solution.message})", Unsettled.STOPPED)
    else:
        _take(problem, next(separable.points(solution)))
        unit, within = separable.units[0][0], how.tolerance * min(problem.stakes)
        if provable and solution.termination.solved and problem.best_cost - solution.bound * unit > within:
            # Rows met to its tolerance may leave that much of the cost.
            again = separable.solve(name, choose(name).tight, left)
            solution = solution if again is None or again.x is None else again
        _judge(problem, solution.bound * unit, within, provable=provable)


def _solver(problem: Composed, wanted: str) -> str:
    """The solver asked for, if it is able; else HiGHS for what is linear, SCIP for the rest; empty: there is none."""
    classes = choose(wanted).classes
    if wanted != "auto" and "global" in classes:
        return wanted
    if registry["highs"].available and _is_linear(problem):
        return "highs"
    return "scip" if registry["scip"].available else ""


def _is_linear(problem: Composed) -> bool:
    return is_affine(problem.cost, *(row.body for row in problem.rows))


def _take(problem: Composed, point: list[float]) -> None:
    """Offer the answer with whole numbers, its continuous part as it came and solved anew; and the plan itself."""
    whole = problem.integers
    rounded = [round(x) if number in whole else x for number, x in enumerate(point)]
    candidates = [list(map(float, rounded)), list(problem.target)]
    if len(whole) < len(point) and not problem.is_awkward:
        candidates.insert(0, _polished(problem, candidates[0]))
    for candidate in candidates:
        cost = problem.cost_at(candidate)
        if math.isfinite(cost) and problem.violation() <= TOLERANCES.feasibility:
            problem.offer(candidate, cost)
    _descend(problem, whole)


def _descend(problem: Composed, whole: Sequence[int]) -> None:
    """Offer better neighbours of the best point, one whole action moved at a time: what a solver's tolerance leaves.

    A step that pays is doubled, the next begins at 1 again.
    """
    looks, improved = _LOOKS, bool(problem.best)
    while improved and looks > 0:
        improved, base = False, list(problem.best)
        for number, way in ((number, way) for number in whole for way in (-1.0, 1.0)):
            step = 1.0
            while looks > 0:
                looks -= 1
                point = list(base)
                point[number] += way * step
                cost = problem.cost_at(point)
                if not cost < problem.best_cost or problem.violation() > TOLERANCES.feasibility:
                    break
                problem.offer(point, cost)
                improved, step = True, 2.0 * step


def _polished(problem: Composed, point: list[float]) -> list[float]:
    """The best continuous part at these integers, by an NLP solver from there."""
    whole = [problem.variables[number] for number in problem.integers]
    with fixed(whole, [point[number] for number in problem.integers]):
        separable = Separable([Task(replace(problem, best=[], best_cost=math.inf), point, True)])
        solution = separable.solve("auto", {}, None)
        if solution is None or solution.answer is None:
            return point
        assert separable.program is not None
        snapped = separable.program.snapped(solution.answer, solution.duals)[0]
        polished = next(separable.points(replace(solution, x=snapped)))
        return list(map(clipped, polished, problem.variables))


def _judge(problem: Composed, bound: float, within: float, *, provable: bool) -> None:
    if not problem.best:
        problem.give_up("its re-solve found no point within its rows", Unsettled.STOPPED)
    elif not (math.isfinite(bound) and problem.best_cost - bound <= within):
        problem.note = _UNMET
    elif not provable:
        problem.note = f"{_UNMET}: without a box for every variable it is no proof"
    else:
        believe(problem, problem.best_cost - within)
