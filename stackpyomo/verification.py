"""Verification: re-solve every follower against what the leader announces, and see what it could gain.

This module knows games, programs and solvers only. It uses no optimality condition, no plan and no incentive code: it
plays the announced strategy, so that a wrong derivation cannot certify itself. For follower k,

    regret_k = J_k(plan) − min_v J_k(v, u0 = offset + Q_k (v − u_k*), aggregates moved by its share, others as planned).

All followers are re-solved in one separable problem a batch; one that fails is halved until the doubtful stand alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from pyomo.core.expr.visitor import ExpressionReplacementVisitor

from .checks import require, require_positive, require_whole
from .composition import Composed, composed
from .errors import InvalidGame
from .games import Game
from .programs import BadRow, Program, free_row, timed, undisturbed
from .progress import tracked
from .results import Announcement, Array, Report
from .solvers import Solution, Termination, choose, registry, solve
from .tolerances import TOLERANCES

__all__ = ["best_responses", "resolved", "verify"]

logger = logging.getLogger(__name__)

_BATCH = 10_000
"""Followers per separable problem: beyond this one factorisation grows faster than the number of followers."""


def verify(
    subject: Any,
    *,
    solver: str = "auto",
    starts: int = 8,
    certify: str = "auto",
    tolerance: float = 1e-6,
    followers: Sequence[str] | None = None,
) -> Report:
    """Re-solve every follower of a Plan (constant leader) or an Incentive: regret_k = J_k(plan) − min_v J_k(v).

    starts: starting points for followers not proved convex. certify: "auto" (prove convexity where possible, else
    search from several starts and ask a global solver for a bound), "convex" or "global" (this proof or "unknown"),
    "multistart" (no proof). tolerance: the largest regret that counts as none, and the largest duality gap of a proof,
    relative to ``report.scale``. followers: names of those to re-solve (None: all). Raises :class:`InvalidGame`,
    :class:`SolverNotAvailable`.
    """
    if certify not in ("auto", "convex", "global", "multistart"):
        raise InvalidGame(f"certify={certify!r}: choose 'auto', 'convex', 'global' or 'multistart'.")
    if not hasattr(subject, "announcement"):
        raise InvalidGame(f"verify({type(subject).__name__}): expected a Plan or an Incentive.")
    require_whole("starts", starts)
    require_positive("tolerance", tolerance)
    choose(solver)
    game: Game = subject.attached()
    with undisturbed():
        require(game, leader_objective=False)
        subject.attached()  # once more: the model may have gained a Var since the plan
        game.require_fixed_as(subject.announcement.values)
        wanted = _wanted(game, followers)
        _require_aggregates(game, subject.announcement.values)
        report = resolved(
            game,
            subject.announcement,
            wanted=wanted,
            solver=solver,
            starts=starts,
            certify=certify,
            tolerance=tolerance,
        )
        report.others = len(game.followers) - len(wanted)
        report.options = {"solver": solver, "starts": starts, "certify": certify}
        report.subject = subject
        logger.info("%s: %s", game.name, report.verdict)
        return report


def _require_aggregates(game: Game, values: Mapping[str, float]) -> None:
    """Raise :class:`InvalidGame` where an aggregate is not what the actions make it: nothing could be shown then."""
    table = {id(v): values[name] for name, v in game.variables_by_name.items() if not v.fixed}
    visitor = ExpressionReplacementVisitor(substitute=table)
    for constraint in game.aggregates:
        body = float(pyo.value(visitor.walk_expression(constraint.body)))
        if abs(body - constraint.ub) > TOLERANCES.feasibility * max(1.0, abs(constraint.ub), abs(body)):
            raise InvalidGame(
                f"{constraint.name}: does not hold at the plan (off by {body - constraint.ub:.3g}), so that its "
                "aggregate is not what the followers' actions make it. Give a plan that meets it."
            )


def resolved(
    game: Game,
    announced: Announcement,
    *,
    wanted: Container[str],
    solver: str = "auto",
    starts: int = 8,
    certify: str = "auto",
    tolerance: float = 1e-6,
) -> Report:
    """:func:`verify` for a game that is known to be sound, inside ``undisturbed()``."""
    seconds: dict[str, float] = {}
    with timed(seconds, "compose"):
        problems = list(composed(game, announced, wanted))
    told = best_responses(problems, solver=solver, starts=starts, certify=certify, tolerance=tolerance, seconds=seconds)
    return _report(told, announced, tolerance, seconds, choose(solver).name)


def best_responses(
    problems: Sequence[Composed],
    *,
    solver: str,
    seconds: dict[str, float],
    starts: int = 8,
    certify: str = "auto",
    tolerance: float = 1e-6,
) -> list[Composed]:
    """One problem a follower with its best response and its evidence, over all its pieces; inside undisturbed()."""
    with timed(seconds, "certify"), tracked("proving convexity", len(problems)) as step:
        for problem in problems:
            problem.prove(certify)
            step()
        tasks = list(_tasks(problems, starts))
    failed: list[_Task] = []
    with timed(seconds, "resolve"), tracked("re-solving followers", len(tasks)) as step:
        for first in range(0, len(tasks), _BATCH):
            _resolve(tasks[first : first + _BATCH], solver, tolerance, failed)
            step(_BATCH)
    if certify in ("auto", "global"):
        with timed(seconds, "global"), tracked("asking a global solver"):
            _bound_globally(problems, solver, tolerance, required=certify == "global")
    joined = _joined(problems)
    for problem in joined:
        if problem.certificate != "unknown" and not math.isfinite(problem.best_cost):
            problem.give_up("its re-solve ended where its objective has no value")
    return joined


def _wanted(game: Game, followers: Sequence[str] | None) -> set[str]:
    if followers is None:
        return set(game.followers)
    if not len(followers):
        raise InvalidGame("followers=[]: name at least one, or leave it out for all.")
    unknown = [name for name in followers if name not in game.followers]
    if unknown:
        raise InvalidGame(f"followers={unknown[0]}: not a follower of this game.")
    return set(followers)


_PATIENCE = 200
"""Failed re-solves after which the rest is left unknown: a model in which every follower fails must come to an end."""
_TOGETHER = {"mu_strategy": "adaptive"}
"""For batches: a third of the iterations on separable problems. What it leaves unsolved is solved alone without it."""


@dataclass
class _Task:
    """Re-solve one follower from one starting point."""

    problem: Composed
    start: list[float]
    first: bool
    """The start at the plan; the others are random."""


def _tasks(problems: Sequence[Composed], starts: int) -> Iterator[_Task]:
    """Convex followers start at the plan, the others also at random points; doubtful plans are given up here."""
    random = np.random.default_rng(0)
    for problem in problems:
        if problem.certificate == "unknown":
            continue
        if problem.home is not None:  # a piece the plan is not in: all it can do is hold something better
            problem.plan_cost = problem.home.plan_cost
            yield _Task(problem, problem.target, True)
            continue
        problem.plan_cost = problem.cost_at(problem.target)
        if not math.isfinite(problem.plan_cost):
            problem.give_up("its objective has no value at the plan")
        elif problem.violation() > TOLERANCES.feasibility:
            problem.give_up("the plan violates its constraints")
        else:
            yield _Task(problem, problem.target, True)
            others = starts - 1 if problem.certificate == "multistart" else 0
            for _ in range(others):
                yield _Task(problem, problem.random_point(random), False)


def _resolve(tasks: list[_Task], solver: str, tolerance: float, failed: list[_Task]) -> None:
    """Solve the tasks as one separable problem; halve it when it fails, solve alone what is not proved."""
    if len(failed) >= _PATIENCE:
        for task in tasks:
            if task.first:
                task.problem.give_up(f"not re-solved, because {len(failed)} re-solves before it failed")
        return
    together = len(tasks) > 1
    separable = _Separable(tasks)
    options = _TOGETHER if together and choose(solver).ipopt_options else {}
    solution = separable.solve(solver, options)
    if not together and solution is not None and solution.termination is Termination.FAILED:
        separable = _Separable(tasks, scaled=True)
        solution = separable.solve(solver, options)
    if solution is None or solution.x is None or not solution.termination.solved:
        if together:
            middle = len(tasks) // 2
            _resolve(tasks[:middle], solver, tolerance, failed)
            _resolve(tasks[middle:], solver, tolerance, failed)
        else:
            failed += tasks if tasks[0].first else []
            _fail(tasks[0], solution, separable.trouble)
        return
    doubtful = separable.doubtful(solution, tolerance)
    if doubtful and not together and separable.unit == 1.0:  # a cost too steep or too flat for the solver's own scale
        again = _Separable(tasks, scaled=True)
        sharper = again.solve(solver, options)
        if sharper is not None and sharper.x is not None and sharper.termination.solved:
            separable, solution, doubtful = again, sharper, again.doubtful(sharper, tolerance)
    for number, (task, point) in enumerate(zip(tasks, separable.points(solution), strict=True)):
        if number not in doubtful:
            task.problem.offer(point, task.problem.cost_at(point))
        elif together:
            _resolve([task], solver, tolerance, failed)
        elif task.first:
            task.problem.give_up(f"its re-solve is not proved: {doubtful[number]}")


def _fail(task: _Task, solution: Solution | None, trouble: str) -> None:
    """No answer from the plan, or no limit from anywhere: unknown. A random start that fails shows nothing."""
    infeasible = solution is not None and solution.termination is Termination.INFEASIBLE
    if infeasible and task.problem.home is not None and task.problem.certificate == "convex":
        task.problem.empty = True
    elif infeasible and task.problem.home is not None:
        task.problem.stuck = True  # a global solver may know
    elif solution is not None and solution.termination is Termination.UNBOUNDED:
        task.problem.give_up("its problem is unbounded: some deviation pays without limit")
    elif task.first and solution is None:
        task.problem.give_up(f"its problem cannot be written: {trouble}")
    elif task.first and solution is not None:
        task.problem.give_up(f"its re-solve stopped: {solution.termination.value} ({solution.message})")
        task.problem.stuck = solution.termination is Termination.FAILED


_BOUNDED = 50
"""Followers that a global solver is asked about, and the most variables one of them may have."""
_GLOBAL_SECONDS = 5.0
"""Seconds for each of them."""


def _bound_globally(problems: Sequence[Composed], solver: str, tolerance: float, *, required: bool) -> None:
    """ "global" for those whose best response a global solver's bound meets; needed is a plan within its rows."""
    name = solver if "global" in choose(solver).classes else "scip"
    # Where the user named a solver that broke down, no other one is asked.
    searched = [p for p in problems if p.certificate == "multistart" or (p.stuck and solver == "auto")]
    for problem in searched:
        if problem.stuck and solver == "auto" and problem.home is None:
            problem.offer(problem.target, problem.plan_cost)
    for number, problem in enumerate(searched):
        small = number < _BOUNDED and len(problem.variables) <= _BOUNDED and registry[name].available
        closed = small and _is_bounded(problem, name, tolerance)
        if closed:
            problem.certificate, problem.note = "global", ""
        elif required:
            problem.give_up("no global solver's bound meets its best response")


def _is_bounded(problem: Composed, solver: str, tolerance: float) -> bool:
    """True if a global solver proves that nothing better than the best response is left."""
    problem.cost_at(problem.target)
    try:
        program = Program(problem.cost, problem.rows)
    except BadRow:
        return False
    solution = solve(program, solver, time_limit=_GLOBAL_SECONDS)
    if problem.home is not None and solution.termination is Termination.INFEASIBLE:
        problem.empty = True
        return True
    if not math.isfinite(solution.bound) or solution.termination in (Termination.INFEASIBLE, Termination.UNBOUNDED):
        return False
    if solution.x is not None:
        found = {id(v): float(x) for v, x in zip(program.variables, solution.x, strict=True)}
        point = [found.get(id(v), t) for v, t in zip(problem.variables, problem.target, strict=True)]
        cost = problem.cost_at(point)
        if problem.violation() <= TOLERANCES.feasibility:
            problem.offer(point, cost)
    return problem.best_cost - solution.bound <= tolerance * min(problem.slopes, default=1.0)


class _Separable:
    """min Σ cost over all tasks: nobody's variables meet anybody else's."""

    def __init__(self, tasks: list[_Task], *, scaled: bool = False) -> None:
        self.tasks = tasks
        self._copies = pyo.ConcreteModel(name="copies")
        self._copies.own = pyo.VarList()
        seen: set[int] = set()
        self.owned: list[list[Any]] = []
        costs, rows = [], []
        self._row_owners: list[int] = []
        for number, task in enumerate(tasks):
            problem = task.problem
            whole = problem.home or problem  # pieces of one projected strategy are written in the same variables
            again = id(whole) in seen
            seen.add(id(whole))
            own, cost, constraints = self._fresh(task) if again else (problem.variables, problem.cost, problem.rows)
            for var, value in zip(own, task.start, strict=True):
                var.set_value(value, skip_validation=True)
            self.owned.append(own)
            costs.append(cost)
            rows += constraints
            self._row_owners += [number] * len(constraints)
        self.program: Program | None = None
        self.trouble = ""
        self.unit = 1.0
        """What the cost is divided by in the program."""
        try:
            self.program = Program(pyo.quicksum(costs), rows)
            if scaled:  # a single task whose cost is too steep for the solver's own scaling
                self.unit = float(self._slopes(self._owners()).max())
                self.program = Program(costs[0] / self.unit, rows)
        except BadRow as bad:
            self.trouble = bad.reason

    def _fresh(self, task: _Task) -> tuple[list[Any], Any, list[Any]]:
        """A follower that appears again, from another start or in another piece, gets variables of its own."""
        problem = task.problem
        own = []
        for var in problem.variables:
            copy = self._copies.own.add()
            copy.setlb(var.lb)
            copy.setub(var.ub)
            own.append(copy)
        substitute = {id(v): c for v, c in zip(problem.variables, own, strict=True)}
        visitor = ExpressionReplacementVisitor(substitute=substitute)
        rows = [free_row(visitor.walk_expression(r.body), r.lb, r.ub) for r in problem.rows]
        return own, visitor.walk_expression(problem.cost), rows

    def solve(self, solver: str, options: Mapping[str, Any]) -> Solution | None:
        """The solver's answer; None if there is no such problem (``trouble`` says why)."""
        return None if self.program is None else solve(self.program, solver, options=options)

    def points(self, solution: Solution) -> Iterator[list[float]]:
        """Each task's answer; variables that no term holds stay at the start."""
        assert self.program is not None
        assert solution.x is not None
        found = {id(v): float(x) for v, x in zip(self.program.variables, solution.x, strict=True)}
        for task, own in zip(self.tasks, self.owned, strict=True):
            yield [found.get(id(v), s) for v, s in zip(own, task.start, strict=True)]

    def _owners(self) -> Array:
        """For each variable of the program the number of its task."""
        assert self.program is not None
        owner = {id(v): number for number, own in enumerate(self.owned) for v in own}
        return np.array([owner[id(v)] for v in self.program.variables], dtype=int)

    def doubtful(self, solution: Solution, tolerance: float) -> dict[int, str]:
        """Task number → what is wrong with its answer: infeasible, or (if convex) not proved optimal.

        The proof is the duality gap at the answer, each task's own: a scaling common to all could hide one that has
        not converged, and "solved" is only the solver's word.
        """
        program = self.program
        assert program is not None
        assert solution.x is not None
        duals = program.recovered_duals(solution.x) if solution.duals is None else solution.duals
        residuals = program.residuals(solution.x, duals)
        by_variable, by_row = program.proved_gaps(solution.x, duals, TOLERANCES.trust)
        owners = self._owners()
        row_owners = np.array(self._row_owners, dtype=int)[program.rows]
        gap, outside = np.zeros(len(self.tasks)), np.zeros(len(self.tasks))
        slopes = self._slopes(owners)
        self._note_slopes(slopes)
        # Each in its own scale: a steep variable hides nothing in another. A gap of the tolerance itself will do where
        # the follower's slopes are not all smaller than that.
        total = np.bincount(owners, slopes, minlength=len(self.tasks))
        slopes = np.maximum(slopes, np.minimum(1.0, TOLERANCES.ample * total)[owners])
        steep = self._steepest(slopes)
        np.maximum.at(gap, owners, self.unit * by_variable / slopes)
        np.maximum.at(gap, row_owners, self.unit * by_row / steep)
        np.maximum.at(outside, row_owners, residuals.outside_rows)
        np.maximum.at(outside, owners, residuals.outside_bounds)
        wrong: dict[int, str] = {}
        for number, task in enumerate(self.tasks):
            if outside[number] > TOLERANCES.feasibility:
                wrong[number] = f"it violates its constraints by {outside[number]:.1e}"
            elif task.problem.certificate == "convex" and not gap[number] <= tolerance:
                if len(self.tasks) == 1:
                    gap[number] = min(gap[number], self._sharper_gap(solution.x, slopes, steep))
                if not gap[number] <= tolerance:
                    wrong[number] = f"up to {gap[number]:.1e} of its slopes could still be gained"
        return wrong

    def _note_slopes(self, slopes: Array) -> None:
        """Tell each problem how steep it is in its variables."""
        assert self.program is not None
        place = {id(v): i for i, v in enumerate(self.program.variables)}
        for task, own in zip(self.tasks, self.owned, strict=True):
            if task.first:
                task.problem.slopes = [float(slopes[place[id(v)]]) if id(v) in place else 1.0 for v in own]

    def _sharper_gap(self, answer: Array, slopes: Array, steep: Array) -> float:
        """The gap of a single task with multipliers of our own, taken at the answer and at the start (the plan)."""
        program = self.program
        assert program is not None
        start = np.array([v.value for v in program.variables], dtype=float)
        costs = [float(program.problem.objective(point)) for point in (answer, start)]
        gaps = []
        for point, cost in zip((answer, start), costs, strict=True):
            by_variable, by_row = program.proved_gaps(point, program.recovered_duals(point), TOLERANCES.trust)
            worst = max((by_variable / slopes).max(initial=0.0), (by_row / steep).max(initial=0.0))
            gaps.append(float(worst) + (cost - min(costs)) / float(slopes.max(initial=1.0)))
        return self.unit * float(np.nanmin(gaps)) if np.isfinite(gaps).any() else math.inf

    def _steepest(self, slopes: Array) -> Array:
        """Per row of the program the largest slope of a variable it holds."""
        program = self.program
        assert program is not None
        found = np.zeros(program.problem.m)
        if program.problem.m:
            rows, columns = (np.asarray(part) for part in program.problem.jacobian_structure())
            np.maximum.at(found, rows, slopes[columns])
        return np.where(found > 0.0, found, 1.0)

    def _slopes(self, owners: Array) -> Array:
        """Per variable of the program the slope of the cost (not of the scaled one) a little away from its start.

        One that is flat there counts a share of its task's sum: decisions after an improbable observation are flat.
        """
        program = self.program
        assert program is not None
        lower, upper = program.bounds
        start = np.array([v.value for v in program.variables], dtype=float)
        step = TOLERANCES.nearby * np.maximum(1.0, np.abs(start))
        away = np.where(start + step <= upper, start + step, np.maximum(start - step, lower))
        slopes = self.unit * np.abs(np.asarray(program.problem.gradient(away)))
        slopes = np.where(np.isfinite(slopes), slopes, 0.0)
        total = np.bincount(owners, slopes, minlength=len(self.tasks))
        least = np.array([task.problem.least_slope(steep) for task, steep in zip(self.tasks, total, strict=True)])
        return np.asarray(np.maximum(slopes, least[owners]))


_EVIDENCE = ("unknown", "multistart", "global", "convex")


def _joined(problems: Sequence[Composed]) -> list[Composed]:
    """One problem a follower: the best of its pieces, on the weakest evidence among them."""
    joined: dict[str, Composed] = {}
    for problem in problems:
        whole = joined.setdefault(problem.follower.name, problem)
        if problem is whole or problem.empty:
            continue
        if _EVIDENCE.index(problem.certificate) < _EVIDENCE.index(whole.certificate):
            whole.certificate, whole.note = problem.certificate, problem.note
        if problem.best:
            whole.offer(problem.best, problem.best_cost)
    return list(joined.values())


def _report(
    problems: Sequence[Composed],
    announced: Announcement,
    tolerance: float,
    seconds: dict[str, float],
    solver: str,
) -> Report:
    names = [c.follower.name for c in problems]
    costs = [c.follower.sign * c.plan_cost for c in problems]
    regrets, responses = [], {}
    for problem in problems:
        known = problem.certificate != "unknown"
        regrets.append(max(0.0, problem.plan_cost - problem.best_cost) if known else math.nan)
        better = problem.best_cost < problem.plan_cost
        best = problem.best if better else problem.target
        responses[problem.follower.name] = dict(zip(problem.names, best, strict=True)) if known else {}
    return Report(
        regret=pd.Series(regrets, index=names, dtype=float, name="regret"),
        certificate=pd.Series([c.certificate for c in problems], index=names, dtype=object, name="certificate"),
        best_response=responses,
        objective=pd.Series(costs, index=names, dtype=float, name="objective"),
        scale=pd.Series([c.scale for c in problems], index=names, dtype=float, name="scale"),
        leader_objective=announced.leader_objective,
        uniqueness=announced.uniqueness,
        epsilon0=announced.epsilon0,
        warnings=list(announced.warnings),
        responding=tuple(announced.responding),
        tolerance=tolerance,
        note=pd.Series([c.note for c in problems], index=names, dtype=object, name="note"),
        seconds=seconds,
        solver=solver,
    )
