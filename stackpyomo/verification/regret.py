"""Verification: re-solve every follower against what the leader announces, and see what it could gain.

This module knows games, programs and solvers only. It uses no optimality condition, no plan and no incentive code: it
plays the announced strategy, so that a wrong derivation cannot certify itself. For follower k,

    regret_k = J_k(plan) − min_v J_k(v, u0 = offset + Q_k (v − u_k*), aggregates moved by its share, others as planned).

All followers are re-solved in one separable problem a batch; one that fails is halved until the doubtful stand alone.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import getattr_static
from typing import Any

import numpy as np

from stackpyomo.core import TOLERANCES, require_positive, require_whole, timed, tracked, undisturbed
from stackpyomo.core.expressions import size_of
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game, doubtful_indices, evaluator, require
from stackpyomo.games.information import Announcement
from stackpyomo.solvers import Solution, Termination, choose, natural_size, prover, registry

from .batch import Separable, Task
from .best_response import Composed, composed
from .confirmation import believe, is_shown, shows_all
from .effort import EVIDENCE, Effort, Unsettled
from .integers import Resolve, answer
from .many import settled
from .measures import measure, narrow, reconsider
from .report import Report, report_of
from .samples import Samples, is_empty, within_ranges
from .variational import lagrangians, price_checks

logger = logging.getLogger(__name__)

_CERTIFY = ("auto", "proof", "convex", "global", "multistart")

# Followers per separable problem: beyond this one factorisation grows faster than the number of followers.
_BATCH = 10_000

# Failed re-solves after which the rest is left unknown: a model in which every follower fails must come to an end.
_PATIENCE = 200

# For batches: a third of the iterations on separable problems. What it leaves unsolved is solved alone without it.
_TOGETHER = {"mu_strategy": "adaptive"}

# Points at which the costs of all followers without a proof are evaluated; of one of them at most, and at least.
_LOOKS, _MOST_LOOKS, _LEAST_LOOKS = 1_000_000, 20_000, 500
_LATE = "the time limit was reached"
_BOUNDED = 50  # Followers that a global solver is asked about, and the most variables one of them may have.
_UNMET = "no global solver's bound meets its best response"
_ENDLESS = "a global solver's bound meets its best response, which proves nothing on an unbounded set"
_SHARE = 2.0**-10  # Of what a bound may leave: so near intervals must come that no global solver is asked.
_CLOCK = 10.0  # Seconds by the clock after which one is left, however few of the processor's it had.
_ENOUGH = 0.5  # The same: so near to its own answer a global solver's bound has to come.


def verify(
    subject: Any,
    *,
    solver: str = "auto",
    starts: int = 8,
    certify: str = "auto",
    tolerance: float = 1e-6,
    followers: Sequence[str] | None = None,
    time_limit: float | None = None,
    proof_seconds: float | None = None,
) -> Report:
    """Re-solve every follower against what is announced, and say what each could gain by leaving the plan.

    regret_k = J_k(plan) − min_v J_k(v). The leader cannot leave its bounds: where the announced formula would, its
    answers are stopped there.

    Parameters
    ----------
    subject : Plan or Incentive
        What is announced: constants, or a rule.
    solver : str, default "auto"
        A name of :mod:`stackpyomo.solvers.registry`.
    starts : int, default 8
        Starting points for followers not proved convex.
    certify : {"auto", "proof", "convex", "global", "multistart"}
        "auto": prove convexity where possible, else search from several starts and ask a global solver for a bound.
        "proof": the same, and "unknown" where nothing is proved. "convex", "global": this proof or "unknown".
        "multistart": no proof.
    tolerance : float, default 1e-6
        The largest regret that is as good as none, and the largest duality gap of a proof, relative to
        ``report.scale``.
    followers : sequence of str, optional
        Names of those to re-solve, by default all.
    time_limit : float, optional
        Seconds for the re-solves; who is not settled by then is "unknown".
    proof_seconds : float, optional
        Processor seconds for a global solver, all followers together; by default 10, of which one may take 3, or no
        end where a proof is asked for.

    Returns
    -------
    Report
        Regrets, certificates, best responses, warnings.

    Raises
    ------
    InvalidGame
        An argument cannot be used, or the subject has no game.
    SolverNotAvailable
        The solver is not installed.
    """
    return examine(subject, Effort(solver, starts, certify, tolerance, time_limit, proof_seconds), followers)[0]


def examine(subject: Any, effort: Effort, followers: Sequence[str] | None = None) -> tuple[Report, list[Composed]]:
    """(the report of :func:`verify`, the composed problems behind it: every piece of every follower)."""
    if effort.certify not in _CERTIFY:
        raise InvalidGame(f"certify={effort.certify!r}: choose one of {', '.join(map(repr, _CERTIFY))}.")
    if getattr_static(subject, "announcement", None) is None:  # to ask for it would be to work it out
        raise InvalidGame(f"verify({type(subject).__name__}): expected a Plan or an Incentive.")
    require_whole("starts", effort.starts)
    require_positive("tolerance", effort.tolerance)
    limits = {"time_limit": effort.time_limit, "proof_seconds": effort.proof_seconds}
    limits = {name: seconds for name, seconds in limits.items() if seconds is not None}
    for name, seconds in limits.items():
        require_positive(name, seconds)
    choose(effort.solver)
    game: Game = subject.attached()
    with undisturbed(), game.unchanged():
        require(game, leader_objective=False)
        subject.attached()  # once more: the model may have gained a Var since the plan
        announced = subject.announcement
        game.require_fixed_as(announced.values)
        wanted = _wanted(game, followers)
        _require_aggregates(game, announced.values)
        report, problems = _resolved(game, announced, wanted, effort)
        report.warnings += [f"Beware: {finding}" for finding in doubtful_indices(game)]
        report.others = len(game.followers) - len(wanted)
        report.options = {"solver": effort.solver, "starts": effort.starts, "certify": effort.certify, **limits}
        report.subject = subject
        logger.info("%s: %s", game.name, report.verdict)
        return report, problems


def _require_aggregates(game: Game, values: Mapping[str, float]) -> None:
    """Raise :class:`InvalidGame` where an aggregate is not what the actions make it: nothing could be shown then."""
    known = game.responses()
    levels = {id(v): values[name] for name, v in game.variables_by_name.items()}
    point = np.array([levels[id(v)] for v in (*known.variables, *game.actions, *known.drivers)])
    missed = np.abs(known.equalities @ np.append(point, 1.0))
    doubtful = missed > TOLERANCES.feasibility * (abs(known.equalities[:, :-1]) @ np.abs(point))
    if not doubtful.any():
        return
    at_plan = evaluator(game, values)
    for constraint in (c for c, unsure in zip(game.aggregates, doubtful, strict=True) if unsure):
        body, size = at_plan(constraint.body), size_of(constraint.body, levels)
        off, near = abs(body - constraint.ub), TOLERANCES.feasibility * max(abs(constraint.ub), size)
        if off > near and off > TOLERANCES.feasibility * natural_size(constraint.body, levels):
            raise InvalidGame(
                f"{constraint.name}: does not hold at the plan (off by {body - constraint.ub:.3g}), so that its "
                "aggregate is not what the followers' actions make it. Give a plan that meets it."
            )


def resolved(game: Game, announced: Announcement, wanted: Container[str], effort: Effort) -> Report:
    """:func:`verify` for a game that is known to be sound, inside ``undisturbed()``."""
    return _resolved(game, announced, wanted, effort)[0]


def _resolved(
    game: Game, announced: Announcement, wanted: Container[str], effort: Effort
) -> tuple[Report, list[Composed]]:
    seconds: dict[str, float] = {}
    with timed(seconds, "arrays"):
        together = settled(game, announced, wanted, effort)
    with timed(seconds, "compose"):
        done = {row.follower.name for row in together}
        rest = {name for name in game.followers if name in wanted and name not in done}
        problems = list(composed(game, replace(announced, saturate=True), rest)) if rest or not together else []
    alone = best_responses(problems, effort, seconds, game)
    solvers = [*(["arrays"] if together else []), *([choose(effort.solver).name] if rest else [])]
    report = report_of(game, alone, together, announced, effort.tolerance, seconds, ", ".join(solvers))
    if game.prices and announced.gain is None:
        paid = best_responses(list(lagrangians(game, announced, wanted).values()), effort, seconds)
        report.price_checks = price_checks(game, announced, {p.follower.name: p for p in paid}, report)
    return report, problems


def best_responses(
    problems: Sequence[Composed], effort: Effort, seconds: dict[str, float], game: Game | None = None
) -> list[Composed]:
    """One problem a follower with its best response and its evidence, over all its pieces; inside undisturbed().

    game: whose leader may tell of reaches.
    """
    with timed(seconds, "certify"), tracked("proving convexity", len(problems)) as step:
        for problem in problems:
            problem.prove(effort.certify)
            step()
        measure(problems, effort.tolerance, game)
    with ExitStack() as implied:
        torn = {id(problem.home) for problem in problems if problem.home is not None}
        for problem in problems:  # pieces of one strategy share their variables: the rows of one say nothing of another
            if problem.certificate == "multistart" and problem.home is None and id(problem) not in torn:
                implied.enter_context(within_ranges(problem))
        _resolve(problems, effort, seconds)
    return _settled(problems, effort)


def _resolve(problems: Sequence[Composed], effort: Effort, seconds: dict[str, float]) -> None:
    with timed(seconds, "certify"):
        tasks = list(_Starts(problems, effort.starts).tasks())
    limit = math.inf if effort.time_limit is None else effort.time_limit
    search = _Search(effort.solver, effort.tolerance, time.monotonic() + limit)
    whole = [problem for problem in problems if problem.integers]
    with timed(seconds, "integers"), tracked("re-solving integer followers", len(whole)) as step:
        for problem in whole:
            answer(problem, Resolve(effort.solver, effort.certify, effort.tolerance, search.until))
            step()
    with timed(seconds, "resolve"), tracked("re-solving followers", len(tasks)) as step:
        for group in ([t for t in tasks if t.problem.home is None], [t for t in tasks if t.problem.home is not None]):
            for first in range(0, len(group), _BATCH):
                search.resolve(group[first : first + _BATCH], search.until)
                step(_BATCH)
    if effort.certify in ("auto", "proof", "global"):
        with timed(seconds, "global"), tracked("asking a global solver"):
            _bound_globally(problems, search, effort)
    with timed(seconds, "search"):
        for problem in (p for p in problems if not p.integers):
            if problem.certificate in ("multistart", "global") and Samples(problem).falls_without_end(problem.best):
                problem.give_up_endless()


def _settled(problems: Sequence[Composed], effort: Effort) -> list[Composed]:
    """One problem a follower; what was found is given up where it has no value."""
    for problem in (joined := _joined(problems)):
        if problem.certificate != "unknown" and not math.isfinite(problem.best_cost):
            problem.give_up("its re-solve ended where its objective has no value", Unsettled.STOPPED)
        elif problem.is_lost(effort.tolerance):
            problem.give_up("its re-solve ended where rounding is more than what is at stake", Unsettled.STOPPED)
        elif problem.plan_cost - problem.best_cost > effort.tolerance * problem.scale and not problem.integers:
            reconsider(problem)
        elif problem.best_cost < problem.plan_cost and problem.variables and not problem.integers:
            narrow(problem, effort.tolerance)
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


@dataclass
class _Starts:
    """Where each follower's re-solves begin."""

    problems: Sequence[Composed]
    starts: int

    def tasks(self) -> Iterator[Task]:
        """Convex followers start at the plan, the others also at further points; doubtful plans are given up here."""
        searched = sum(problem.certificate == "multistart" for problem in self.problems)
        looks = max(_LEAST_LOOKS, min(_MOST_LOOKS, _LOOKS // max(1, searched)))
        random = np.random.default_rng(0)
        for problem in self.problems:
            if problem.certificate == "unknown" or not self._has_a_plan(problem) or problem.integers:
                continue
            samples = Samples(problem) if problem.certificate == "multistart" else None
            if samples is not None and samples.falls_without_end():  # no solver would come to an end
                problem.give_up_endless()
                continue
            yield Task(problem, problem.target, True)
            if samples is not None:
                problem.endless = not samples.bounded
                if self.starts > 1:
                    problem.reach = samples.reach
                    for start in samples.starts(self.starts - 1, looks, random):
                        yield Task(problem, start, False)

    @staticmethod
    def _has_a_plan(problem: Composed) -> bool:
        """True if the plan has a cost and meets the rows; of a piece it is not in, if it has a cost."""
        if problem.home is not None:
            problem.plan_cost = problem.home.plan_cost
            return math.isfinite(problem.plan_cost)
        problem.plan_cost = problem.cost_at(problem.target)
        if not math.isfinite(problem.plan_cost):
            problem.give_up("its objective has no value at the plan")
        elif problem.violation() > TOLERANCES.feasibility:
            problem.give_up("the plan violates its constraints")
        return problem.certificate != "unknown"


@dataclass
class _Search:
    """Re-solves until all are settled or the time is over."""

    solver: str
    tolerance: float
    until: float  #: ``time.monotonic()`` at which to stop.
    failed: list[Task] = field(default_factory=list)

    @staticmethod
    def left(until: float) -> float | None:
        """Seconds, at least one hundredth; None: no limit."""
        return None if math.isinf(until) else max(until - time.monotonic(), 0.01)

    def resolve(self, tasks: list[Task], until: float) -> None:
        """Solve the tasks as one separable problem; halve it when it fails, solve alone what is not proved.

        Together they have half of the time until then, so that one that takes long leaves some to the others.
        """
        late = time.monotonic() >= until
        if not tasks:
            return
        if late or len(self.failed) >= _PATIENCE:
            self._leave(tasks, late)
            return
        together = len(tasks) > 1
        separable = Separable(tasks)
        closed = set(separable.closed())
        for number in closed:
            tasks[number].problem.offer(tasks[number].start, tasks[number].problem.plan_cost)
        if closed:
            self.resolve([task for number, task in enumerate(tasks) if number not in closed], until)
            return
        options = _TOGETHER if together and choose(self.solver).ipopt_options else {}
        limit = self.left(until)
        solution = separable.solve(self.solver, options, limit / 2.0 if limit is not None and together else limit)
        if not together and solution is not None and solution.termination is Termination.FAILED:
            separable = Separable(tasks, scaled=True)
            solution = separable.solve(self.solver, options, self.left(until))
        if solution is None or solution.answer is None:
            if together:
                middle = len(tasks) // 2
                self.resolve(tasks[:middle], (max(until, time.monotonic()) + time.monotonic()) / 2.0)
                self.resolve(tasks[middle:], until)
            elif tasks[0].problem.home is not None and is_empty(tasks[0].problem):
                tasks[0].problem.empty = True
            else:
                self.failed += tasks if tasks[0].first else []
                _fail(tasks[0], solution, separable)
            return
        doubtful = separable.doubtful(solution, self.tolerance)
        if doubtful and not together:
            separable, solution, doubtful = self._sharper(separable, solution, doubtful, until)
        for number, (task, point) in enumerate(zip(tasks, separable.points(solution), strict=True)):
            if number not in doubtful:
                task.problem.offer(point, task.problem.cost_at(point))
            elif together:
                self.resolve([task], until)
            elif task.first:
                task.problem.give_up(f"its re-solve is not proved: {doubtful[number]}", Unsettled.STOPPED)

    def _sharper(
        self, separable: Separable, solution: Solution, doubtful: dict[int, str], until: float
    ) -> tuple[Separable, Solution, dict[int, str]]:
        """One task's unproved answer, looked for again: in natural units, with idle actions held, by HiGHS."""
        scaled = Separable(separable.tasks, scaled=True)
        exact = self.solver == "auto" and scaled.program is not None and prover(scaled.program) == "highs"
        # In its own units it may be too steep or too flat for the solver's own scale.
        attempts = [] if separable.scaled else [partial(scaled.solve, self.solver, {})]
        attempts.append(partial(scaled.solve_without_idle, self.solver))
        attempts += [partial(scaled.solve, "highs", {})] if exact else []
        for attempt in attempts:
            sharper = attempt(self.left(until)) if doubtful else None
            if sharper is not None and sharper.answer is not None:
                separable, solution, doubtful = scaled, sharper, scaled.doubtful(sharper, self.tolerance)
        return separable, solution, doubtful

    def _leave(self, tasks: Sequence[Task], late: bool) -> None:
        """Nothing more is done for these."""
        why = _LATE if late else f"{len(self.failed)} re-solves before it failed"
        for task in tasks:
            if task.first:
                task.problem.give_up(f"not re-solved, because {why}", Unsettled.STOPPED)
            elif task.problem.certificate != "unknown":
                task.problem.note = f"searched from fewer starts, because {why}"


def _fail(task: Task, solution: Solution | None, separable: Separable) -> None:
    """No answer from the plan, or no limit from anywhere: unknown. A random start that fails shows nothing more."""
    point = task.problem.target
    if solution is not None and solution.x is not None:
        (point,) = separable.points(solution)
        cost = task.problem.cost_at(point)
        if task.problem.violation() <= TOLERANCES.feasibility:
            task.problem.offer(point, cost)
    if solution is not None and solution.termination.maybe_infeasible and task.problem.home is not None:
        sure = solution.termination is Termination.INFEASIBLE and task.problem.certificate == "convex"
        task.problem.empty, task.problem.stuck = sure, not sure  # a global solver may know
    elif solution is not None and solution.termination is Termination.UNBOUNDED:
        _give_up_unbounded(task.problem, point)
    elif task.first and solution is None:
        task.problem.give_up(f"its problem cannot be written: {separable.trouble}")
    elif task.first and solution is not None:
        why = f"its re-solve stopped: {solution.termination.value} ({solution.message})"
        task.problem.give_up(why, Unsettled.STOPPED)
        task.problem.stuck = solution.termination is Termination.FAILED
    elif not task.first and solution is not None and solution.termination is Termination.TIME_LIMIT:
        task.problem.note = task.problem.note or f"searched from fewer starts, because {_LATE}"


def _give_up_unbounded(problem: Composed, towards: Sequence[float]) -> None:
    """A solver said so: nobody is verified then, but the reason is its word alone where evaluation does not show it."""
    problem.give_up_endless(confirmed=Samples(problem).falls_without_end(towards))


def _bound_globally(problems: Sequence[Composed], search: _Search, effort: Effort) -> None:
    """ "global" for those whose best response a global solver's bound meets; needed is a plan within its rows."""
    solver = search.solver
    name = solver if "global" in choose(solver).classes else "scip"
    # Where the user named a solver that broke down, no other one is asked.
    searched = [p for p in problems if p.certificate == "multistart" or (p.stuck and solver == "auto")]
    searched = [p for p in searched if not p.integers]
    for problem in searched:
        if problem.stuck and solver == "auto" and problem.home is None:
            problem.offer(problem.target, problem.plan_cost)
    began, share = time.process_time(), effort.share(len(searched))
    for number, problem in enumerate(searched):
        small = number < _BOUNDED and len(problem.variables) <= _BOUNDED and registry[name].available
        late = small and time.monotonic() >= search.until
        seconds = min(share, effort.proof - (time.process_time() - began))
        cut = seconds <= 0.0
        if small and not late and not cut:
            with within_ranges(problem):
                cut = _ask(problem, name, search, seconds)
        if cut and problem.certificate == "multistart" and not problem.note:
            spent = share if seconds == share else effort.proof
            problem.note = f"not proved: {spent:g} s of proof spent; proof_seconds={6.0 * spent:g} may"
        if problem.certificate == "multistart" and effort.certify != "auto":
            problem.give_up(f"no global solver was asked, because {_LATE}" if late else _UNMET, Unsettled.STOPPED)
        elif problem.certificate == "multistart" and late and not problem.note:
            problem.note = f"no global solver was asked, because {_LATE}"


def _ask(problem: Composed, solver: str, search: _Search, seconds: float) -> bool:
    """Ask a global solver: "global" if its bound meets the best response; what it says against us stands.

    True if the seconds ended it before.
    """
    limit = min(seconds, search.left(search.until) or math.inf)
    info, within = choose(solver), search.tolerance * min(problem.stakes)
    clock = info.seconds_of(clock=max(seconds, _CLOCK)) if math.isinf(search.until) else {}
    if shows_all(problem) and Samples(problem).bounded and is_shown(problem, problem.least_known - _SHARE * within):
        problem.certificate = "global"
        return False
    separable = Separable([Task(problem, problem.target, True)], scaled=True)  # what is proved depends on no unit
    enough = {info.gap: _ENOUGH * within / separable.units[0][0]} if info.gap else {}
    solution = separable.solve(solver, {**clock, **enough}, limit)
    if solution is None:
        return False
    _offer(problem, separable, solution, TOLERANCES.noise)
    if solution.termination.solved and problem.least_known - solution.bound * separable.units[0][0] > within:
        # Rows met to its tolerance may leave that much of the cost: where it can do better that is no deviation.
        sharper = separable.solve(solver, {**info.tight, **clock}, limit) or solution
        _offer(problem, separable, solution if sharper.x is None else sharper, TOLERANCES.feasibility)
        solution = sharper
    if solution.termination.maybe_infeasible and problem.home is not None:
        # It says so, too, where it does not know whether the cost has no limit: asked once more without the cost.
        room = Separable([Task(replace(problem, cost=0.0), problem.target, True)]).solve(solver, clock, limit)
        problem.empty = room is not None and room.termination is Termination.INFEASIBLE
        problem.certificate = "global" if problem.empty else problem.certificate
    elif solution.termination is Termination.UNBOUNDED:
        _give_up_unbounded(problem, _point(problem, separable, solution))
    elif not solution.termination.maybe_infeasible:
        _believe(problem, solution.bound * separable.units[0][0], within)
    return solution.termination is Termination.TIME_LIMIT and limit == seconds


def _point(problem: Composed, separable: Separable, solution: Solution) -> list[float]:
    return problem.target if solution.x is None else next(separable.points(solution))


def _offer(problem: Composed, separable: Separable, solution: Solution, room: float) -> None:
    """What a global solver found, if it misses rows by no more than ``room``; of a piece that may be empty nothing."""
    if solution.termination.maybe_infeasible and problem.home is not None:
        return
    point = _point(problem, separable, solution)
    cost = problem.cost_at(point)
    if problem.violation() <= room:
        problem.offer(point, cost)


def _believe(problem: Composed, bound: float, within: float) -> None:
    """ "global" where a global solver's bound (NaN: none) meets the best response, and nothing speaks against it."""
    if not (math.isfinite(bound) and problem.least_known - bound <= within):
        return
    samples = Samples(problem)
    if samples.falls_without_end():  # far out, where a solver does not look
        problem.give_up_endless()
    elif not (samples.bounded or samples.ends_above(problem.least_known - within)):
        problem.note = _ENDLESS
    else:
        believe(problem, problem.least_known - within)


def _joined(problems: Sequence[Composed]) -> list[Composed]:
    """One problem a follower: the best of its pieces, on the weakest evidence among them."""
    joined: dict[str, Composed] = {}
    for problem in problems:
        whole = joined.setdefault(problem.follower.name, problem)
        if problem is whole or problem.empty:
            continue
        if EVIDENCE.index(problem.certificate) > EVIDENCE.index(whole.certificate):
            whole.certificate, whole.note, whole.unsettled = problem.certificate, problem.note, problem.unsettled
        if problem.best:
            whole.offer(problem.best, problem.best_cost)
        if problem.certificate == "multistart":
            whole.endless |= problem.endless
            whole.reach = {
                name: (
                    min(low, whole.reach.get(name, (low, high))[0]),
                    max(high, whole.reach.get(name, (low, high))[1]),
                )
                for name, (low, high) in problem.reach.items()
            }
    return list(joined.values())
