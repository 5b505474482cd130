"""Plans: the point the leader would like best, everybody serving the leader's objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.var import VarData

from .checks import require, require_positive, require_whole
from .convexity import is_convex_problem
from .derivatives import FollowerRows
from .errors import InvalidGame, NoPlan
from .games import Game
from .programs import BadRow, Program, timed, undisturbed
from .results import Array, Plan
from .solvers import Solution, Termination, choose, solve
from .tolerances import TOLERANCES

__all__ = ["leader_optimal"]


def leader_optimal(
    game: Game,
    *,
    responding: Any = (),
    solver: str = "auto",
    starts: int = 1,
    time_limit: float | None = None,
    tee: bool = False,
) -> Plan:
    """The team optimum: min J0(u0, u1..uN) over all variables, subject to everybody's constraints.

    ``starts`` > 1 tries further starting points within the bounds (a fixed random seed) and keeps the best feasible
    answer; ``time_limit`` in seconds for each. ``responding`` must be () in this version. ``quality`` is "optimal" only
    where the leader's problem is proved convex, or a global solver closed its gap. Raises :class:`InvalidGame` for a
    game that cannot be used, :class:`SolverNotAvailable`, and :class:`NoPlan` (naming whose constraints) when there is
    none.
    """
    if not isinstance(game, Game):
        raise InvalidGame(
            f"leader_optimal({type(game).__name__}): expected a Game; make one with Game(model, followers)."
        )
    if not isinstance(responding, (tuple, list)) or responding:
        raise InvalidGame("leader_optimal(responding=...): followers that respond are not supported yet; pass ().")
    require_whole("starts", starts)
    require_positive("time_limit", time_limit, none=True)
    choose(solver)
    with undisturbed():
        require(game)
        return _solved(game, solver, starts, time_limit, tee)


def _solved(game: Game, solver: str, starts: int, time_limit: float | None, tee: bool) -> Plan:
    seconds: dict[str, float] = {}
    constraints = _all_constraints(game)
    objective = game.leader.objective
    assert objective is not None  # require() saw to it
    cost = objective.expr if game.leader.sign > 0 else -objective.expr
    try:
        program = Program(cost, [c for _, c in constraints], seconds=seconds)
    except BadRow as bad:
        owner, component = ("leader", objective) if bad.row is None else constraints[bad.row]
        message = f"{component.name} ({owner}): {bad.reason}"
        if bad.contradiction:
            raise NoPlan(message, termination="infeasible") from None
        raise InvalidGame(message) from None
    log, solution = _best(program, game, solver, starts, time_limit, tee, seconds)
    if solution.x is None or not (solution.termination.solved or math.isfinite(_cost_of(program, solution))):
        _explain(game, program, solution)
    with timed(seconds, "evaluate"):
        return _plan(game, program, solution, log, seconds)


def _all_constraints(game: Game) -> list[tuple[str, Any]]:
    """(owner's name, constraint) of every active constraint."""
    players = (game.leader, *game.followers.values())
    return [(player.name, c) for player in players for c in player.constraints]


def _best(
    program: Program,
    game: Game,
    solver: str,
    starts: int,
    time_limit: float | None,
    tee: bool,
    seconds: dict[str, float],
) -> tuple[list[dict[str, Any]], Solution]:
    """Solve from the model's values, then from random points; the feasible answer of least cost wins."""
    log: list[dict[str, Any]] = []
    best: Solution | None = None
    best_cost = math.inf
    random = np.random.default_rng(0)
    for start in range(starts):
        point = None if start == 0 else _random_start(program, random)
        with timed(seconds, "solve"):
            solution = solve(program, solver, time_limit=time_limit, tee=tee, start=point)
        cost = _cost_of(program, solution)
        log.append(
            {
                "start": start,
                "solver": solution.solver,
                "termination": solution.termination.value,
                "message": solution.message,
                "objective": game.leader.sign * cost if math.isfinite(cost) else None,
                "seconds": round(solution.seconds, 6),
            }
        )
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


def _random_start(program: Program, random: np.random.Generator) -> Array:
    """A point of the program's box; where there is no bound, within ``TOLERANCES.reach`` of the other one or of 0."""
    lower, upper = program.bounds
    reach = TOLERANCES.reach
    low = np.where(np.isfinite(lower), lower, np.where(np.isfinite(upper), upper - 2 * reach, -reach))
    high = np.where(np.isfinite(upper), upper, low + 2 * reach)
    return random.uniform(low, high)


def _plan(
    game: Game,
    program: Program,
    solution: Solution,
    log: list[dict[str, Any]],
    seconds: dict[str, float],
) -> Plan:
    x, duals = _snapped(program, np.asarray(solution.x), solution.duals)
    residuals = program.residuals(x, duals)
    values = _values(game, program.variables, x)
    with timed(seconds, "rows"):
        rows = FollowerRows(game)
        objectives = rows.at(values).objectives
    sign = game.leader.sign
    names = [c.name for _, c in _all_constraints(game)]
    plan = Plan(
        values=values,
        leader_objective=sign * float(program.problem.objective(x)),
        follower_objectives=dict(zip(game.followers, map(float, objectives), strict=True)),
        multipliers={names[row]: sign * float(dual) for row, dual in zip(program.rows, duals, strict=True)},
        termination=solution.termination.value,
        residuals=residuals.as_dict(),
        seconds=seconds,
        solver=solution.solver,
        log=log,
        game=game,
        rows=rows,
    )
    _judge(plan, game, program, solution, x, duals)
    return plan


def _values(game: Game, variables: Sequence[VarData], x: Array) -> dict[str, float]:
    """Solved values; Vars that are fixed or in no row keep theirs, or take the point of their box next to 0."""
    solved = {id(v): float(value) for v, value in zip(variables, x, strict=True)}
    values: dict[str, float] = {}
    for name, var in game.variables_by_name.items():
        number = solved.get(id(var), var.value)
        values[name] = _nearest_to_zero(var) if number is None else float(number)
    return values


def _nearest_to_zero(var: VarData) -> float:
    lower = -math.inf if var.lb is None else var.lb
    upper = math.inf if var.ub is None else var.ub
    return float(min(max(0.0, lower), upper))


def _snapped(program: Program, x: Array, duals: Array | None) -> tuple[Array, Array]:
    """Put variables an interior-point method left just inside a bound on it, if nothing gets worse by that."""
    lower, upper = program.bounds
    near = TOLERANCES.snap * np.maximum(1.0, np.abs(x))
    moved = np.where(np.abs(x - lower) <= near, lower, np.where(np.abs(upper - x) <= near, upper, x))

    def judged(point: Array) -> tuple[Array, Array]:
        held = program.recovered_duals(point) if duals is None else duals
        residuals = program.residuals(point, held).as_dict().values()
        return np.array([*residuals, program.problem.objective(point)]), held

    (before, held), (after, new) = judged(x), judged(moved)
    slack = TOLERANCES.solver * np.maximum(1.0, np.abs(before))
    return (moved, new) if (after <= before + slack).all() else (x, held)


def _judge(plan: Plan, game: Game, program: Program, solution: Solution, x: Array, duals: Array) -> None:
    """Set quality, bound, gap and ε0: "optimal" only with a proof of convexity or a closed global gap."""
    residuals = plan.residuals
    if residuals["feasibility"] > TOLERANCES.feasibility:
        plan.quality = "infeasible"
        return
    plan.quality = "feasible"
    sign, cost = game.leader.sign, float(program.problem.objective(x))
    scale = max(1.0, abs(cost))
    if math.isfinite(solution.bound) and "global" in choose(solution.solver).classes:
        gap = max(0.0, cost - solution.bound)
    elif _is_convex(game, program):
        gap = program.proved_gap(x, duals, TOLERANCES.trust)
    else:
        return
    plan.epsilon0 = gap
    plan.bound, plan.gap = sign * (cost - gap), gap / scale
    if gap <= TOLERANCES.stationarity * scale:
        plan.quality = "optimal"


def _is_convex(game: Game, program: Program) -> bool:
    continuous = all(v.is_continuous() for v in program.variables)
    return continuous and is_convex_problem(program.model.objective.expr, (c for _, c in _all_constraints(game)))


def _explain(game: Game, program: Program, solution: Solution) -> None:
    """Raise :class:`NoPlan` saying why there is no plan, and whose constraints or variables are behind it."""
    if solution.termination is Termination.UNBOUNDED:
        raise NoPlan(_unbounded(game, program, solution), termination="unbounded")
    if solution.termination in (Termination.INFEASIBLE, Termination.FAILED):
        discrete = any(not v.is_continuous() for v in program.variables)
        conflict = _conflict(game, solution.solver if discrete else "auto")
        proved = "global" in choose(solution.solver).classes or _is_convex(game, program)
        if conflict and proved:
            raise NoPlan(f"No point satisfies all constraints. {conflict}", termination="infeasible")
        if conflict:
            raise NoPlan(
                f"No point that satisfies all constraints was found from here (it may exist: the problem is not proved "
                f"convex). {conflict} Or try starts=5 or solver='scip'.",
                termination="infeasible",
            )
    raise NoPlan(
        f"{solution.solver} found no plan: {solution.termination.value} ({solution.message}). "
        "Try another solver=, starts=5, a longer time_limit=, or tee=True to see its log.",
        termination=solution.termination.value,
    )


def _unbounded(game: Game, program: Program, solution: Solution) -> str:
    """Name the unbounded variables that ran furthest away."""
    lower, upper = program.bounds
    free = np.flatnonzero(~(np.isfinite(lower) & np.isfinite(upper)))
    if solution.x is not None and len(free):
        free = free[np.argsort(-np.abs(solution.x[free]), kind="stable")]
    shown = [
        f"{game.names[id(v)]} ({game.owners.get(id(v), 'leader')})" for v in (program.variables[i] for i in free[:4])
    ]
    return (
        "The leader's objective improves without limit. Variables without a bound: "
        f"{', '.join(shown) or 'none'}. Bound them or add the missing cost."
    )


def _conflict(game: Game, solver: str) -> str:
    """Least total violation of the rows, bounds kept: rows with a multiplier there are the ones that contradict.

    Where the solver gives no multipliers, the rows that stay violated are named. Empty if all rows can be met.
    """
    constraints = _all_constraints(game)
    elastic = pyo.ConcreteModel()
    sides = [(c, 1.0) for _, c in constraints] + [(c, -1.0) for _, c in constraints]
    elastic.slack = pyo.Var(range(len(sides)), bounds=(0, None), initialize=0)
    rows = {}
    for index, (c, side) in enumerate(sides):
        bound = c.ub if side > 0 else c.lb
        if bound is not None:
            rows[index] = side * c.body - elastic.slack[index] <= side * bound
    relaxed = Program(pyo.quicksum(elastic.slack[i] for i in rows), list(rows.values()))
    solution = solve(relaxed, solver)
    if solution.x is None or not solution.termination.solved:
        return ""
    if relaxed.problem.objective(solution.x) <= TOLERANCES.feasibility:
        return ""
    if solution.duals is None:
        found = {id(v): x for v, x in zip(relaxed.variables, solution.x, strict=True)}
        blamed = [i for i in rows if found[id(elastic.slack[i])] > TOLERANCES.feasibility]
    else:
        numbers = list(rows)
        pairs = zip(relaxed.rows, solution.duals, strict=True)
        blamed = [numbers[int(row)] for row, dual in pairs if abs(dual) > TOLERANCES.blame]
    players = [constraints[i % len(constraints)] for i in blamed]
    named = list(dict.fromkeys(f"{c.name} ({owner})" for owner, c in players))
    more = f" and {len(named) - 6} more" if len(named) > 6 else ""
    return f"In conflict, together with the bounds of their variables: {', '.join(named[:6])}{more}. Relax one of them."
