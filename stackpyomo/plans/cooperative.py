"""The team optimum: everybody serves the leader's objective.

Indifference: what a plan leaves open, because the leader does not care, is settled as its follower would.

A variable of a follower that neither the leader's objective, nor the leader's constraints, nor another player's problem
holds is the follower's own business (the threshold and the excesses of a CVaR, say). A solve of the leader's problem
leaves it anywhere. With everything else held at the plan the follower's own objective decides on it:

    min Σ_k J_k   over these variables, subject to the rows of their followers that hold one of them,

all followers at once, for they share none of them. The leader's objective stays what it is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyomo.environ as pyo

from stackpyomo.bilevel import Options
from stackpyomo.core import TOLERANCES, Array, timed, tracked
from stackpyomo.core.expressions import interval, is_convex_problem, substituting, variables_in
from stackpyomo.derivatives import FollowerRows
from stackpyomo.errors import NoPlan
from stackpyomo.games import Game
from stackpyomo.solvers import (
    BadRow,
    Program,
    Solution,
    Termination,
    choose,
    free_row,
    random_start,
    ray,
    read_program,
    solve,
)

from .feasibility import conflict, refusal, unbounded
from .plan import Plan, proved_within, untried
from .problems import all_constraints

logger = logging.getLogger(__name__)

_MANY = 1_000  # Actions from which on arrays go to the solver, in this process, rather than a text.


def cooperative_plan(game: Game, options: Options) -> Plan:
    """The plan in which everybody serves the leader; raises :class:`NoPlan` with the reason."""
    seconds: dict[str, float] = {}
    constraints = all_constraints(game)
    objective = game.leader.objective
    assert objective is not None
    rows = [c for _, c in constraints]
    in_process = choose(options.solver).name == "pounce" and options.time_limit is None and not options.tee
    try:
        program: Program | None = None
        if in_process and len(game.actions) >= _MANY:
            program = read_program(game.leader.cost, rows, seconds)
        if program is not None:
            log, solution = _best(program, game, options, seconds)
        if program is None or not solution.termination.solved:  # why not is looked at in the text
            program = Program(game.leader.cost, rows, seconds=seconds)
            log, solution = _best(program, game, options, seconds)
    except BadRow as bad:
        owner, component = ("leader", objective) if bad.row is None else constraints[bad.row]
        raise refusal(bad, f"{component.name} ({owner})") from None
    logger.info("%s: %s (%s)", game.name, solution.termination.value, solution.message)
    if solution.x is None or not (solution.termination.solved or math.isfinite(_cost_of(program, solution))):
        _explain(game, program, solution, log)
    with timed(seconds, "evaluate"):
        return _plan(game, program, solution, log, seconds)


def _best(
    program: Program, game: Game, options: Options, seconds: dict[str, float]
) -> tuple[list[dict[str, Any]], Solution]:
    """Solve from the model's values, then from random points; the feasible answer of least cost wins."""
    log: list[dict[str, Any]] = []
    best: Solution | None = None
    best_cost = math.inf
    random = np.random.default_rng(options.seed)
    for start in range(options.starts):
        point = None if start == 0 else random_start(program, random)
        with timed(seconds, "solve"), tracked("solving for the plan", shown=not options.tee):
            solution = solve(program, options.solver, time_limit=options.time_limit, tee=options.tee, start=point)
        cost = _cost_of(program, solution)
        objective = game.leader.sign * cost if math.isfinite(cost) else None
        log.append({"start": start, **solution.entry(objective=objective)})
        if best is None or cost < best_cost:
            best, best_cost = solution, cost
    assert best is not None
    return log, best


def _cost_of(program: Program, solution: Solution) -> float:
    """The objective at a feasible point, infinity otherwise."""
    if solution.x is None or not (solution.termination.solved or solution.termination.limited):
        return math.inf
    if program.residuals(solution.x, None).feasibility > TOLERANCES.feasibility:
        return math.inf
    return float(program.problem.objective(solution.x))


def _plan(
    game: Game, program: Program, solution: Solution, log: list[dict[str, Any]], seconds: dict[str, float]
) -> Plan:
    whole = [not v.is_continuous() for v in program.variables]
    x = np.where(whole, np.round(np.asarray(solution.x)), np.asarray(solution.x))
    x, duals = program.snapped(x, solution.duals)
    values = game.completed(program.levels(x))
    with timed(seconds, "rows"):
        rows = FollowerRows(game)
    with timed(seconds, "indifference"):
        leading = {id(program.variables[c]) for c in program.objective_columns}
        values = settled(rows, values, leading)
        x = program.vector(values, game.names)
    with timed(seconds, "rows"):
        objectives = rows.at(values).objectives
    sign = game.leader.sign
    names = [c.name for _, c in all_constraints(game)]
    plan = Plan(
        values=values,
        leader_objective=sign * float(program.problem.objective(x)),
        follower_objectives=dict(zip(game.followers, map(float, objectives), strict=True)),
        multipliers={names[row]: sign * float(dual) for row, dual in zip(program.rows, duals, strict=True)},
        termination=solution.termination.value,
        residuals=program.residuals(x, duals).as_dict(),
        seconds=seconds,
        solver=solution.solver,
        log=log,
        game=game,
        rows=rows,
    )
    _judge(plan, game, program, solution, x, duals)
    return plan


def _judge(plan: Plan, game: Game, program: Program, solution: Solution, x: Array, duals: Array) -> None:
    """Set quality, bound, gap and ε0: "optimal" only with a proof of convexity or a closed global gap."""
    residuals = plan.residuals
    if residuals["feasibility"] > TOLERANCES.feasibility:
        plan.quality = "infeasible"
        return
    plan.quality = "feasible"
    cost = float(program.problem.objective(x))
    scale = program.units(x)[2]
    if math.isfinite(solution.bound) and "global" in choose(solution.solver).classes:
        gap = max(0.0, cost - solution.bound)
        if not math.isfinite(interval(game.leader.cost)[0]):
            gap = max(gap, TOLERANCES.global_gap * scale)
            if not _is_bound(game, cost - gap, solution.solver):
                return
    elif _is_convex(game, program):
        gap = program.proved_gap(x, duals, TOLERANCES.trust)
    else:
        return
    proved_within(plan, gap, scale)


def _is_bound(game: Game, level: float, solver: str) -> bool:
    """True if no point costs less than ``level``.

    It is asked without an objective: a relaxation without a limit proves nothing.
    """
    rows = [c for _, c in all_constraints(game)]
    try:
        asked = Program(0.0, [*rows, game.leader.cost <= level])
    except BadRow:
        return True
    return solve(asked, solver, options=choose(solver).tight).termination is Termination.INFEASIBLE


def _is_convex(game: Game, program: Program) -> bool:
    continuous = all(v.is_continuous() for v in program.variables)
    return continuous and is_convex_problem(game.leader.cost, (c for _, c in all_constraints(game)))


def _runs_without_limit(game: Game, program: Program, solver: str) -> bool:
    """True if a ray of plans shows it: that a solver's steps run away is no proof."""
    start = Program(0.0, [c for _, c in all_constraints(game)])
    solution = solve(start, solver)
    if solution.answer is None:
        return False
    known = start.levels(solution.answer)
    x = np.clip(np.asarray(program.problem.x0, dtype=float), *program.bounds)
    return bool(ray(program, np.array([known.get(id(v), x[i]) for i, v in enumerate(program.variables)])))


def _explain(game: Game, program: Program, solution: Solution, log: Sequence[Mapping[str, Any]]) -> None:
    """Raise :class:`NoPlan` saying why there is no plan, and whose constraints or variables are behind it."""
    if solution.termination is Termination.UNBOUNDED:
        if _runs_without_limit(game, program, solution.solver):
            raise NoPlan(unbounded(game, program, solution.x), termination="unbounded")
        solution = replace(solution, termination=Termination.FAILED, message="its iterates diverge: no proof")
    if solution.termination.maybe_infeasible or solution.termination is Termination.FAILED:
        discrete = any(not v.is_continuous() for v in program.variables)
        clash = conflict(all_constraints(game), solution.solver if discrete else "auto")
        proved = "global" in choose(solution.solver).classes or _is_convex(game, program)
        if clash and proved:
            raise NoPlan(f"No point satisfies all constraints. {clash}", termination="infeasible")
        if clash:
            raise NoPlan(
                f"No point that satisfies all constraints was found from here (it may exist: the problem is not proved "
                f"convex). {clash} Untried: {', '.join(untried(log))}.",
                termination="infeasible",
            )
    raise NoPlan(
        f"{solution.solver} found no plan: {solution.termination.value} ({solution.message}). "
        f"Try another solver= or start: {', '.join(untried(log))}. Or a longer time_limit=; tee=True shows "
        "a solver's log.",
        termination=solution.termination.value,
    )


def settled(
    rows: FollowerRows, values: Mapping[str, float], leading: Container[int], responding: Container[str] = ()
) -> dict[str, float]:
    """``values`` with the own business of those who cooperate settled; as they are where there is no best answer.

    leading: ids of the Vars in the leader's objective. responding: followers who have settled theirs.
    """
    levels, names = dict(values), rows.game.names
    private = _private(rows, leading, responding)
    program = _own_problem(rows, private, values) if private else None
    if program is not None:
        solution = solve(program, start=program.vector(values, names))
        if solution.answer is not None:
            x = program.snapped(np.asarray(solution.x), solution.duals)[0]
            if program.residuals(x, None).feasibility <= TOLERANCES.feasibility:
                levels.update({names[id(v)]: float(a) for v, a in zip(program.variables, x, strict=True)})
    return levels


def _private(rows: FollowerRows, leading: Container[int], responding: Container[str]) -> set[int]:
    """The actions (ids) that only their owner's problem holds."""
    shared = {id(rows.variables[c]) for c in rows.shared}
    free = (v for f in rows.followers if f.name not in responding for v in f.variables)
    private = {id(v) for v in free if id(v) not in leading} - shared
    for constraint in rows.game.leader.constraints if private else ():
        private.difference_update(id(v) for v in variables_in(constraint.expr))
    return private


def _own_problem(rows: FollowerRows, private: set[int], values: Mapping[str, float]) -> Program | None:
    """The followers' problem over what is theirs alone, everything else at its value; None if it cannot be written."""
    levels = {id(v): values[name] for name, v in rows.game.variables_by_name.items() if id(v) not in private}
    walk = substituting(levels)
    costs: list[Any] = []
    rows_left: list[Any] = []
    try:
        for follower in rows.followers:
            if follower.objective is not None and any(id(v) in private for v in follower.variables):
                costs.append(follower.sign * walk(follower.objective.expr))
                own = (c for c in follower.constraints if any(id(v) in private for v in variables_in(c.expr)))
                rows_left += [free_row(walk(c.body), c.lb, c.ub) for c in own]
        return Program(pyo.quicksum(costs), rows_left)
    except (ArithmeticError, ValueError, BadRow):
        return None
