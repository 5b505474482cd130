"""Plans: the point the leader would like best, and who cooperates or responds in it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from pyomo.core.base.var import VarData

from .bilevel import Options, respond
from .checks import require, require_positive, require_whole, variables_in
from .complementarity import interval, named
from .conditions import responding_followers
from .conflicts import conflict, unbounded
from .convexity import is_convex_problem
from .derivatives import FollowerRows
from .engines import chosen_engine, hedged
from .equilibria import Problem
from .errors import InvalidGame, NoPlan
from .games import Game
from .hedging import Hedging
from .indifference import settled
from .ladders import random_start
from .plan import Plan, untried
from .programs import BadRow, Program, timed, undisturbed
from .progress import tracked
from .rays import ray
from .results import Array
from .selections import component_pairs, leader_variables
from .solvers import Solution, Termination, choose, solve
from .structure import Follower
from .tolerances import TOLERANCES

__all__ = ["leader_optimal", "nash", "pessimistic", "stackelberg"]

logger = logging.getLogger(__name__)


def leader_optimal(
    game: Game,
    *,
    responding: Any = (),
    solver: str = "auto",
    starts: int = 1,
    complementarity: Any = "auto",
    time_limit: float | None = None,
    tee: bool = False,
    allow_nonconvex: bool = False,
    seed: int = 0,
    engine: Any = "auto",
) -> Plan:
    """min J0 over all variables, subject to everybody's constraints; ``responding`` followers answer optimally.

    responding: followers (Blocks, names, True for all) who play Nash by their KKT conditions, in the leader's favour
    where they are indifferent; everybody else serves the leader. (): the team optimum (arXiv 2207.10611, Definition 2).
    solver: a name of :mod:`stackpyomo.solvers`, or "auto". starts: more than 1 tries further starting points within the
    bounds (random, by ``seed``) and keeps the best. complementarity: a treatment (Scholtes(), FischerBurmeister(),
    Penalty(), BigM(), SOS1()) or "auto", the fallback ladder. time_limit: seconds, for each solve of the team optimum,
    for the whole ladder otherwise. tee: show the solver's output. allow_nonconvex: followers proved nonconvex may
    respond; the plan then says so. seed: of the starting points. engine: "mpi-sppy" or a :class:`Hedging` for the team
    optimum bundle by bundle, in as many processes as ``mpiexec`` started; "auto": one solve in this process.

    The plan's ``quality`` is "optimal" only where the leader's problem is proved convex, or a global solver closed its
    gap and the re-solve of the responding followers is a proof.

    Raises :class:`InvalidGame` for a game that cannot be used, :class:`NonconvexFollower` for a responding follower
    proved nonconvex, :class:`SolverNotAvailable`, and :class:`NoPlan` (naming whose constraints) when there is none.
    """
    _require_game(game, "leader_optimal")
    options = read_options(solver, starts, complementarity, time_limit, tee, allow_nonconvex, seed)
    hedging = chosen_engine(engine)
    with undisturbed():
        require(game)
        followers = responding_followers(game, responding)
        if hedging is not None:
            if followers or starts > 1:
                what = "responding followers" if followers else f"starts={starts}"
                raise InvalidGame(f"engine={engine!r}: finds the team optimum alone, from one start: no {what}.")
            plan = hedged(game, hedging, solver, time_limit, tee)
        else:
            plan = _leading(game, followers, options) if followers else cooperative_plan(game, options)
        return with_options(plan, "leader_optimal", options, hedging)


def stackelberg(game: Game, **options: Any) -> Plan:
    """What the leader gets WITHOUT an incentive: he announces constants, and all followers answer by a Nash point.

    options: those of :func:`leader_optimal` (``responding`` is everybody).

    Raises :class:`InvalidGame`, :class:`SolverNotAvailable`, :class:`NoPlan`, as :func:`leader_optimal` does.
    """
    _require_game(game, "stackelberg")
    return leader_optimal(game, responding=True, **options)


def nash(
    game: Game,
    *,
    leader: Any = None,
    responding: Any = True,
    solver: str = "auto",
    starts: int = 1,
    complementarity: Any = "auto",
    time_limit: float | None = None,
    tee: bool = False,
    allow_nonconvex: bool = False,
    seed: int = 0,
) -> Plan:
    """The followers' equilibrium at fixed leader values: ∇_{u_k} L_k + R_kᵀ ∇ L_k = 0 for all k at u0 given.

    leader: component mapping leader variable → value; the others keep their current values. Leader variables that the
    leader's equalities define from the followers' actions, and that no follower feels, follow them. responding: who
    plays (True: all); the other followers keep their current values.

    R_k is what moves with follower k's action: its share of an aggregate, 0 in an infinite population. ``quality`` is
    "feasible" at best: there is nothing to be optimal for. Other arguments are those of :func:`leader_optimal`.

    Raises :class:`InvalidGame` for a leader variable without a value, and what :func:`leader_optimal` raises.
    """
    _require_game(game, "nash")
    options = read_options(solver, starts, complementarity, time_limit, tee, allow_nonconvex, seed)
    with undisturbed():
        require(game, leader_objective=False)
        followers = responding_followers(game, responding)
        if not followers:
            raise InvalidGame("nash(responding=()): no follower responds; name at least one, or leave it out for all.")
        given = leader_values(game, leader)
        problem = held_problem(game, followers, given, 0.0)
        return with_options(respond(game, followers, problem, options, objective=False), "nash", options)


def pessimistic(plan: Plan, **options: Any) -> Plan:
    """max J0 over the followers' optimal answers to the plan's leader: what he gets if they break ties against him.

    The followers are those who respond in ``plan`` (all, if none do); the leader and everybody else keep the plan's
    values. ``plan.leader_objective`` and the answer's differ by the price of optimism; "optimal" means that no answer
    is worse for the leader. options: those of :func:`leader_optimal` but ``responding``.

    Raises :class:`InvalidGame` for an option that is none, :class:`NoPlan` with ``termination="unbounded"`` where the
    leader can lose without limit, and what :func:`leader_optimal` raises.
    """
    if not isinstance(plan, Plan):
        raise InvalidGame(f"pessimistic({type(plan).__name__}): expected a Plan; make one with stackelberg(game).")
    game = plan.attached()
    unknown = options.keys() - {"solver", "starts", "complementarity", "time_limit", "tee", "allow_nonconvex", "seed"}
    if unknown:
        raise InvalidGame(f"pessimistic({min(unknown)}=...): unknown option.")
    chosen = read_options(**options)
    with undisturbed():
        require(game)
        game.require_fixed_as(plan.values)
        followers = responding_followers(game, plan.responding or True)
        problem = held_problem(game, followers, plan.values, -leader_cost(game))
        worst = respond(game, followers, problem, chosen, sign=-game.leader.sign)
        return with_options(worst, "pessimistic", chosen)


def read_options(
    solver: str = "auto",
    starts: int = 1,
    complementarity: Any = "auto",
    time_limit: float | None = None,
    tee: bool = False,
    allow_nonconvex: bool = False,
    seed: int = 0,
) -> Options:
    """The arguments that all functions here share, checked once."""
    require_whole("starts", starts)
    require_whole("seed", seed, 0)
    require_positive("time_limit", time_limit, none=True)
    options = Options(solver, starts, named(complementarity), time_limit, tee, allow_nonconvex, seed)
    choose(solver)
    return options


def with_options(plan: Plan, function: str, options: Options, hedging: Hedging | None = None) -> Plan:
    """The plan with what it was asked for with."""
    plan.options = {
        "function": function,
        "solver": options.solver,
        "starts": options.starts,
        "seed": options.seed,
        "complementarity": "auto" if options.treatment is None else repr(options.treatment),
        "time_limit": options.time_limit,
        "allow_nonconvex": options.allow_nonconvex,
        **({} if hedging is None else {"engine": repr(hedging)}),
    }
    return plan


def _require_game(game: Any, function: str) -> None:
    if not isinstance(game, Game):
        raise InvalidGame(f"{function}({type(game).__name__}): expected a Game; make one with Game(model, followers).")


def leader_cost(game: Game) -> Any:
    objective = game.leader.objective
    assert objective is not None  # require() saw to it
    return objective.expr if game.leader.sign > 0 else -objective.expr


def _leading(game: Game, followers: Sequence[Follower], options: Options) -> Plan:
    """The leader and those who cooperate optimise over the equilibria of ``followers``."""
    names = {f.name for f in followers}
    aggregates = {id(v) for v in aggregate_definitions(game)[1]}
    serving = (game.leader, *(f for f in game.followers.values() if f.name not in names))
    problem = Problem(
        leader_cost(game),
        [(owner, c) for owner, c in all_constraints(game) if owner not in names],
        leader=[v for player in serving for v in player.variables if id(v) not in aggregates],
    )
    plan = respond(game, followers, problem, options, sign=game.leader.sign)
    if len(serving) > 1 and plan.quality in ("optimal", "feasible"):
        with timed(plan.seconds, "indifference"):
            rows = FollowerRows(game)
            plan.values = settled(rows, plan.values, {id(v) for v in variables_in(problem.cost)}, names)
            objectives = rows.at(plan.values).objectives
            plan.follower_objectives = dict(zip(game.followers, map(float, objectives), strict=True))
    return plan


def held_problem(game: Game, followers: Sequence[Follower], values: Mapping[str, float], cost: Any) -> Problem:
    """Everybody but ``followers`` held at ``values``; what the leader's equalities define goes on following."""
    defining, defined = aggregate_definitions(game)
    loose = {id(v) for v in defined} | {id(v) for f in followers for v in f.variables}
    held = [(v, values[n]) for n, v in game.variables_by_name.items() if not v.fixed and id(v) not in loose]
    return Problem(cost, [("leader", c) for c in defining], held)


def aggregate_definitions(game: Game) -> tuple[list[Any], list[VarData]]:
    """Equalities of the leader that define variables of his from the followers' actions, and these variables.

    The aggregates; and variables that no follower feels, where as many equalities hold them as there are of them.
    """
    aggregates = game.aggregate_variables()
    known, declared = {id(v) for v in aggregates}, {id(c) for c in game.aggregates}
    felt = {
        id(v)
        for f in game.followers.values()
        for e in [f.objective, *f.constraints]
        if e is not None
        for v in variables_in(e.expr)
    }
    rows: dict[int, Any] = {}
    found: dict[int, VarData] = {}
    while True:  # a definition may stand on another
        before = len(rows)
        for constraint in game.leader.constraints:
            if not constraint.equality or id(constraint) in declared or id(constraint) in rows:
                continue
            inside = {id(v): v for v in variables_in(constraint.expr) if not v.fixed}
            free = {k: v for k, v in inside.items() if k not in game.owners and k not in felt and k not in known}
            if free and any(k in game.owners or k in known or k in found for k in inside):
                rows[id(constraint)] = constraint
                found.update(free)
        if len(rows) == before:
            break
    if len(rows) != len(found):
        rows, found = {}, {}
    return [*game.aggregates, *rows.values()], [*aggregates, *found.values()]


def leader_values(game: Game, leader: Any) -> dict[str, float]:
    """Given values over the model's current ones; raises naming a variable that needs one and has none."""
    given: dict[str, float] = {}
    for key, value in component_pairs(leader, "leader") if leader is not None else ():
        for var in leader_variables(game, [key]):
            number = value[var.index()] if isinstance(value, Mapping) else value
            if isinstance(number, bool) or not isinstance(number, Real) or not math.isfinite(number):
                raise InvalidGame(f"leader: the value of {var.name} is {number!r}; give a finite number.")
            low, high = var.bounds
            if (low is not None and number < low) or (high is not None and number > high):
                raise InvalidGame(f"leader: {number:g} is outside the bounds of {var.name}, [{low}, {high}].")
            given[game.names[id(var)]] = float(number)
    defined = {id(v) for v in aggregate_definitions(game)[1]}
    values = {}
    for name, var in game.variables_by_name.items():
        number = given.get(name, var.value)
        if number is None and id(var) not in game.owners and id(var) not in defined:
            raise InvalidGame(f"{name}: has no value; give one with leader={{{name!r}: ...}} or set it on the model.")
        values[name] = 0.0 if number is None else float(number)
    return values


def cooperative_plan(game: Game, options: Options) -> Plan:
    seconds: dict[str, float] = {}
    constraints = all_constraints(game)
    objective = game.leader.objective
    assert objective is not None
    try:
        program = Program(leader_cost(game), [c for _, c in constraints], seconds=seconds)
    except BadRow as bad:
        owner, component = ("leader", objective) if bad.row is None else constraints[bad.row]
        message = f"{component.name} ({owner}): {bad.reason}"
        if bad.contradiction:
            raise NoPlan(message, termination="infeasible") from None
        raise InvalidGame(message) from None
    log, solution = _best(program, game, options, seconds)
    logger.info("%s: %s (%s)", game.name, solution.termination.value, solution.message)
    if solution.x is None or not (solution.termination.solved or math.isfinite(_cost_of(program, solution))):
        _explain(game, program, solution, log)
    with timed(seconds, "evaluate"):
        return _plan(game, program, solution, log, seconds)


def all_constraints(game: Game) -> list[tuple[str, Any]]:
    """(owner's name, constraint) of every active constraint."""
    players = (game.leader, *game.followers.values())
    return [(player.name, c) for player in players for c in player.constraints]


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


def _plan(
    game: Game,
    program: Program,
    solution: Solution,
    log: list[dict[str, Any]],
    seconds: dict[str, float],
) -> Plan:
    x, duals = program.snapped(np.asarray(solution.x), solution.duals)
    values = game.completed({id(v): float(n) for v, n in zip(program.variables, x, strict=True)})
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
    sign, cost = game.leader.sign, float(program.problem.objective(x))
    scale = program.units(x)[2]
    if math.isfinite(solution.bound) and "global" in choose(solution.solver).classes:
        gap = max(0.0, cost - solution.bound)
        if not math.isfinite(interval(leader_cost(game))[0]):
            gap = max(gap, TOLERANCES.global_gap * scale)
            if not _is_bound(game, cost - gap, solution.solver):
                return
    elif _is_convex(game, program):
        gap = program.proved_gap(x, duals, TOLERANCES.trust)
    else:
        return
    plan.epsilon0 = gap
    plan.bound, plan.gap = sign * (cost - gap), gap / scale
    if gap <= TOLERANCES.stationarity * scale:
        plan.quality = "optimal"


def _is_bound(game: Game, level: float, solver: str) -> bool:
    """True if no point costs less than ``level``, asked without an objective: a relaxation without a limit proves
    nothing."""
    rows = [c for _, c in all_constraints(game)]
    try:
        asked = Program(0.0, [*rows, leader_cost(game) <= level])
    except BadRow:
        return True
    return solve(asked, solver, options=choose(solver).tight).termination is Termination.INFEASIBLE


def _is_convex(game: Game, program: Program) -> bool:
    continuous = all(v.is_continuous() for v in program.variables)
    return continuous and is_convex_problem(program.model.objective.expr, (c for _, c in all_constraints(game)))


def _runs_without_limit(game: Game, program: Program, solver: str) -> bool:
    """True if a ray of plans shows it: that a solver's steps run away is no proof."""
    start = Program(0.0, [c for _, c in all_constraints(game)])
    solution = solve(start, solver)
    if solution.x is None or not solution.termination.solved:
        return False
    known = {id(v): value for v, value in zip(start.variables, solution.x.tolist(), strict=True)}
    x = np.clip(np.asarray(program.problem.x0, dtype=float), *program.bounds)
    return bool(ray(program, np.array([known.get(id(v), x[i]) for i, v in enumerate(program.variables)])))


def _explain(game: Game, program: Program, solution: Solution, log: Sequence[Mapping[str, Any]]) -> None:
    """Raise :class:`NoPlan` saying why there is no plan, and whose constraints or variables are behind it."""
    if solution.termination is Termination.UNBOUNDED:
        if _runs_without_limit(game, program, solution.solver):
            raise NoPlan(unbounded(game, program, solution.x), termination="unbounded")
        solution = replace(solution, termination=Termination.FAILED, message="its steps run away, which proves nothing")
    if solution.termination in (Termination.INFEASIBLE, Termination.FAILED):
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
        f"Untried: {', '.join(untried(log))}. Or a longer time_limit=; tee=True shows a solver's log.",
        termination=solution.termination.value,
    )
