"""Plans: the point the leader would like best, and who cooperates or responds in it."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from stackpyomo.bilevel import Options, named, responding_followers
from stackpyomo.core import listed, require_positive, require_whole, timed, undisturbed
from stackpyomo.core.expressions import variables_in
from stackpyomo.derivatives import FollowerRows
from stackpyomo.errors import InvalidGame, NoPlan
from stackpyomo.games import Follower, Game, evaluated_at, require, require_game
from stackpyomo.solvers import Termination, choose

from .cooperative import cooperative_plan, settled
from .decomposition.engine import chosen_engine, hedged
from .decomposition.hedging import Hedging
from .equilibria import all_equilibria
from .far_bounds import beyond_far_bounds
from .leaders import leaders_plan
from .members import perhaps_unlike
from .plan import Plan
from .problems import held_problem, leader_values, leading_problem, require_priced
from .responding import respond
from .selection import wishing
from .ties import enumerated_plan, never_tie, pessimistic_plan

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
    start: Plan | None = None,
    equilibrium: str = "auto",
    weights: Any = None,
    proof_seconds: float | None = None,
) -> Plan:
    """The plan that is best for the leader: min J0 over all variables, subject to everybody's constraints.

    Followers who respond answer optimally, as a Nash game, in the leader's favour where they are indifferent; everybody
    else serves the leader. ``quality`` is "optimal" only where the leader's problem is proved convex, or a global
    solver closed its gap and the re-solve of the responding followers is a proof.

    Parameters
    ----------
    game : Game
        Leader and followers.
    responding : followers, optional
        Blocks, names, or True for all; by default nobody: the team optimum.
    solver : str, default "auto"
        A name of :mod:`stackpyomo.solvers.registry`.
    starts : int, default 1
        Starting points: further ones are random, within the bounds.
    complementarity : Treatment or str, default "auto"
        :class:`Scholtes`, :class:`FischerBurmeister`, :class:`Penalty`, :class:`BigM`, :class:`SOS1`, or several in
        turn.
    time_limit : float, optional
        Seconds, for each solve of the team optimum, for the whole search where followers respond.
    tee : bool, default False
        Show the solver's output.
    allow_nonconvex : bool, default False
        Followers that are proved nonconvex may respond; the plan then says so.
    seed : int, default 0
        Of the starting points.
    engine : "auto", "mpi-sppy" or Hedging
        One solve in this process; or the team optimum bundle by bundle, in as many processes as ``mpiexec`` started.
    start : Plan, optional
        Of this game or of a neighbouring one: its values and binding rows are tried first.
    equilibrium : {"auto", "any", "variational"}
        Which equilibrium of the responding followers: "any", each with multipliers of its own, in the leader's favour;
        or "variational", one multiplier λ for all who feel a shared row, "auto" where rows are declared ``shared=``.
    weights : ComponentMap, optional
        Follower → r > 0: its multiplier is λ/r in a variational equilibrium.
    proof_seconds : float, optional
        Of the processor, in all for the global solver that "auto" asks of small games where followers respond; the plan
        says where they were spent. By default 1, and half of a ``time_limit``; 10 for each of its solves where no other
        stage has a plan.

    Returns
    -------
    Plan
        Values, quality, bound and residuals.

    Raises
    ------
    InvalidGame
        The game or an argument cannot be used.
    NonconvexFollower
        A responding follower is proved nonconvex.
    SolverNotAvailable
        The solver is not installed, or none is that takes the problem.
    NoPlan
        There is none; the message says whose constraints are in conflict.

    References
    ----------
    arXiv 2207.10611, Definition 2.
    """
    require_game(game, "leader_optimal")
    options = read_options(
        solver, starts, complementarity, time_limit, tee, allow_nonconvex, seed, start, proof_seconds
    )
    hedging = chosen_engine(engine)
    with undisturbed(), game.unchanged(), started(game, start):
        require(game)
        followers = responding_followers(game, responding)
        if hedging is not None:
            if followers or starts > 1:
                what = "responding followers" if followers else f"starts={starts}"
                raise InvalidGame(f"engine={engine!r}: finds the team optimum alone, from one start: no {what}.")
            plan = hedged(game, hedging, solver, time_limit, tee)
        else:
            require_priced(game, followers)
            options = _leading_wish(game, followers, options, equilibrium, weights)
            if followers:
                plan = beyond_far_bounds(game, followers, options, _leading)
            else:
                plan = cooperative_plan(game, options)
        return with_options(plan, "leader_optimal", options, hedging)


def stackelberg(game: Game, *, ties: str = "optimistic", tie_tolerance: float = 0.0, **options: Any) -> Plan:
    """What the leader gets WITHOUT an incentive: it announces constants, all followers answer by a Nash equilibrium.

    Against ties the leader prepares for the worst, inf_x max {J0(x, y): y a best answer to x}, with its constraints
    kept whatever answer is chosen. The infimum is exact for followers of linear and convex quadratic cost with affine
    rows who feel nobody but the leader, and of few integer actions, by enumeration; elsewhere the plan is worth what it
    says against every answer, and ``bound`` may be the optimistic one. The plan says what ties cost (``ties``) and
    whether the infimum is reached (``attained``).

    Parameters
    ----------
    game : Game
        Leader and followers.
    ties : {"optimistic", "pessimistic"}
        Who is favoured where a follower is indifferent: the leader, or nobody.
    tie_tolerance : float, default 0
        A difference in a follower's cost, in its unit, that is a tie as well; for "pessimistic".
    **options
        Those of :func:`leader_optimal` but ``responding`` and ``engine``.

    Returns
    -------
    Plan
        As :func:`leader_optimal` returns it.

    Raises
    ------
    InvalidGame, SolverNotAvailable, NoPlan
        As :func:`leader_optimal`; InvalidGame also where best answers have no exact description and ``tie_tolerance``
        is 0.

    References
    ----------
    O. L. Mangasarian, Oper. Res. Lett. 7 (1988) 21–26.
    """
    require_game(game, "stackelberg")
    if ties not in ("optimistic", "pessimistic"):
        raise InvalidGame(f'ties={ties!r}: expected "optimistic" or "pessimistic".')
    require_positive("tie_tolerance", tie_tolerance, zero=True)
    if tie_tolerance and ties == "optimistic":
        raise InvalidGame(f"tie_tolerance={tie_tolerance!r}: is for ties='pessimistic', not for ties='optimistic'.")
    if game.leaders:
        return _several(game, ties, options)
    if ties == "optimistic":
        return leader_optimal(game, responding=True, **options)
    followers = list(game.followers.values())
    rest = {name: value for name, value in options.items() if name not in ("equilibrium", "weights")}
    chosen = read_options(**rest)
    with undisturbed(), game.unchanged():
        require(game)
        require_priced(game, followers)
        chosen = _leading_wish(game, followers, chosen, options.get("equilibrium", "auto"), options.get("weights"))
        with started(game, options.get("start")):
            plan = beyond_far_bounds(game, followers, chosen, partial(_against_ties, slack=float(tie_tolerance)))
    return with_options(plan, "stackelberg", chosen, ties=ties, tie_tolerance=tie_tolerance)


def _leading_wish(
    game: Game, followers: Sequence[Follower], options: Options, equilibrium: str, weights: Any
) -> Options:
    """The options with the equilibrium that a leader plans for: any, where no row is declared shared."""
    kind = "any" if equilibrium == "auto" and not game.shared and weights is None else equilibrium
    return wishing(game, followers, options, kind, weights, among=("auto", "any", "variational"))


def _several(game: Game, ties: str, options: dict[str, Any]) -> Plan:
    """The plan of several leaders."""
    if ties != "optimistic":
        raise InvalidGame(f"ties={ties!r}: is for one leader, and {game.name} has {listed(list(game.leaders))}.")
    chosen = read_options(**options)
    with undisturbed(), game.unchanged():
        require(game, leader_objective=False)
        require_priced(game, list(game.followers.values()))
        with started(game, options.get("start")):
            return with_options(leaders_plan(game, replace(chosen, warm=False)), "stackelberg", chosen)


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
    start: Plan | None = None,
    equilibrium: str = "auto",
    weights: Any = None,
    limit: int = 20,
    distance: float = 1e-3,
    proof_seconds: float | None = None,
) -> Any:
    """The followers' equilibrium at fixed leader values.

    ∇_{u_k} L_k + R_kᵀ ∇ L_k = 0 for all k at u0 given, R_k what moves with follower k's action: its share of an
    aggregate, 0 in an infinite population. ``quality`` is "feasible" at best, but for "best" and "worst": there is
    nothing to be optimal for.

    Parameters
    ----------
    game : Game
        Leader and followers.
    leader : ComponentMap, optional
        Leader variable → value; the others keep their current values. Leader variables that the leader's equalities
        define from the followers' actions, and that no follower feels, follow them.
    responding : followers, default True
        Who plays: Blocks, names, True for all; the other followers keep their current values.
    solver, starts, complementarity, time_limit, tee, allow_nonconvex, seed, start : optional
        As for :func:`leader_optimal`.
    equilibrium : {"auto", "any", "variational", "best", "worst", "all"}
        "best" and "worst" are by the leader's objective, among all equilibria, or among the variational ones where
        weights are given; "all" lists them; otherwise as for :func:`leader_optimal`. ``plan.selection`` tells which it
        is and how many there are beside it.
    weights : ComponentMap, optional
        As for :func:`leader_optimal`; 1 for followers that are left out.
    limit : int, default 20
        The most that "all" lists.
    distance : float, default 1e-3
        By how much two of the list differ in some action, in its unit (in widths of its box where that is smaller than
        1; where followers' slopes are affine, in its size at any of the list where that is smaller).
    proof_seconds : float, optional
        As for :func:`leader_optimal`.

    Returns
    -------
    Plan or Equilibria
        For "all" a list of plans, proved complete or "at least these".

    Raises
    ------
    InvalidGame
        A leader variable has no value, or as :func:`leader_optimal`.
    NonconvexFollower, SolverNotAvailable, NoPlan
        As :func:`leader_optimal`.
    """
    require_game(game, "nash")
    options = read_options(
        solver, starts, complementarity, time_limit, tee, allow_nonconvex, seed, start, proof_seconds
    )
    with undisturbed(), game.unchanged(), ExitStack() as opened:
        require(game, leader_objective=False)
        followers = responding_followers(game, responding)
        if not followers:
            raise InvalidGame("nash(responding=()): no follower responds; name at least one, or leave it out for all.")
        options = wishing(game, followers, options, equilibrium, weights)
        given = leader_values(game, leader)
        opened.enter_context(started(game, start))
        if options.equilibrium == "all":
            require_whole("limit", limit)
            require_positive("distance", distance)
            return all_equilibria(game, followers, held_problem(game, followers, given, 0.0), options, limit, distance)
        if (sense := {"best": 1, "worst": -1}.get(options.equilibrium)) is not None:
            require(game)
            problem = held_problem(game, followers, given, sense * game.leader.cost)
            plan = respond(game, followers, problem, options, sign=sense * game.leader.sign)
        else:
            problem = held_problem(game, followers, given, 0.0)
            plan = respond(game, followers, problem, options, objective=False)
        return with_options(plan, "nash", options)


def pessimistic(plan: Plan, **options: Any) -> Plan:
    """What the leader gets if followers break ties against it: max J0 over their optimal answers to the plan's leader.

    The leader and everybody who does not respond keep the plan's values. ``plan.leader_objective`` and the answer's
    differ by the price of optimism; "optimal" means that no answer is worse for the leader.

    Parameters
    ----------
    plan : Plan
        Followers who respond in it answer (all, if none do).
    **options
        Those of :func:`leader_optimal` but ``responding``, ``engine``, ``equilibrium`` and ``weights``.

    Returns
    -------
    Plan
        The worst answer.

    Raises
    ------
    InvalidGame
        An option is unknown, or as :func:`leader_optimal`.
    NoPlan
        The leader can lose without limit (``termination="unbounded"``), or as :func:`leader_optimal`.
    """
    if not isinstance(plan, Plan):
        raise InvalidGame(f"pessimistic({type(plan).__name__}): expected a Plan; make one with stackelberg(game).")
    game = plan.attached()
    unknown = options.keys() - inspect.signature(read_options).parameters.keys()
    if unknown:
        raise InvalidGame(f"pessimistic({min(unknown)}=...): unknown option.")
    chosen, chosen_start = read_options(**options), options.get("start")
    with undisturbed(), game.unchanged(), started(game, chosen_start):
        require(game)
        game.require_fixed_as(plan.values)
        followers = responding_followers(game, plan.responding or True)
        problem = held_problem(game, followers, plan.values, -game.leader.cost)
        worst = respond(game, followers, problem, chosen, sign=-game.leader.sign)
        return with_options(worst, "pessimistic", chosen)


def _leading(game: Game, followers: Sequence[Follower], options: Options) -> Plan:
    """The leader and those who cooperate optimise over the equilibria of ``followers``."""
    names = {f.name for f in followers}
    serving = [f for f in game.followers.values() if f.name not in names]
    problem = leading_problem(game, names)
    plan = respond(game, followers, problem, options, sign=game.leader.sign)
    if serving and plan.quality in ("optimal", "feasible"):
        with timed(plan.seconds, "indifference"):
            plan.rows = rows = FollowerRows(game)
            plan.values = settled(rows, plan.values, {id(v) for v in variables_in(problem.cost)}, names)
            objectives = rows.at(plan.values).objectives
            plan.follower_objectives = dict(zip(game.followers, map(float, objectives), strict=True))
    return plan


def _against_ties(game: Game, followers: Sequence[Follower], options: Options, slack: float) -> Plan:
    """What the leader gets whichever best answer is given, and whichever is worse by no more than the slack."""
    plan = None if slack else enumerated_plan(game, followers, options)
    if plan is not None:
        return plan
    return pessimistic_plan(game, followers, _hoped_for(game, followers, options, slack), options, slack)


def _hoped_for(game: Game, followers: Sequence[Follower], options: Options, slack: float) -> Plan:
    """The plan for ties broken for the leader; where these serve it without limit, some equilibrium, and no bound."""
    try:
        return _leading(game, followers, options)
    except NoPlan as none:
        if none.termination != Termination.UNBOUNDED.value or never_tie(game, followers, slack):
            raise
    problem = replace(leading_problem(game, {f.name for f in followers}), cost=0.0)
    plan = respond(game, followers, problem, options, objective=False)
    return replace(plan, leader_objective=-game.leader.sign * math.inf, bound=math.nan, quality="feasible")


def read_options(
    solver: str = "auto",
    starts: int = 1,
    complementarity: Any = "auto",
    time_limit: float | None = None,
    tee: bool = False,
    allow_nonconvex: bool = False,
    seed: int = 0,
    start: Plan | None = None,
    proof_seconds: float | None = None,
) -> Options:
    """The arguments that all functions here share, checked once."""
    require_whole("starts", starts)
    require_whole("seed", seed, 0)
    require_positive("time_limit", time_limit, none=True)
    require_positive("proof_seconds", proof_seconds, none=True)
    choose(solver)
    return Options(
        solver,
        starts,
        named(complementarity),
        time_limit,
        tee,
        allow_nonconvex,
        seed,
        warm=start is not None,
        proof_seconds=proof_seconds,
    )


@contextmanager
def started(game: Game, start: Any) -> Iterator[None]:
    """The model at the values of a plan, of this game or a neighbouring one, given back afterwards; None: as it is.

    Raises :class:`InvalidGame` for what is no plan, or of another game.
    """
    if start is None:
        yield
        return
    if not isinstance(start, Plan):
        raise InvalidGame(f"start={type(start).__name__}: expected a Plan, of this game or of a neighbouring one.")
    if not start.values.keys() & game.variables_by_name.keys():
        raise InvalidGame(f"start: a plan of another game: it has no variable of {game.name}.")
    values = {name: start.values.get(name, var.value) for name, var in game.variables_by_name.items()}
    with evaluated_at(game, values):
        yield


def with_options(plan: Plan, function: str, options: Options, hedging: Hedging | None = None, **more: Any) -> Plan:
    """The plan with what it was asked for with, its warnings said."""
    if plan.quality == "optimal" and plan.game is not None:
        plan.warnings += [
            f"{name}: optimal among plans in which all its members act alike; where its cost or the leader's is not "
            "convex in their actions, better ones may exist in which they differ"
            for name in perhaps_unlike(plan.game, plan.responding)
        ]
    for text in plan.warnings if plan.responding else ():
        logger.warning("%s: %s", plan.game.name if plan.game is not None else "", text)
    plan.options = {
        "function": function,
        "solver": options.solver,
        "starts": options.starts,
        "seed": options.seed,
        "complementarity": "auto" if options.treatment is None else repr(options.treatment),
        "time_limit": options.time_limit,
        "allow_nonconvex": options.allow_nonconvex,
        **({} if options.proof_seconds is None else {"proof_seconds": options.proof_seconds}),
        **({} if options.equilibrium == "any" else {"equilibrium": options.equilibrium}),
        **({} if hedging is None else {"engine": repr(hedging)}),
        **more,
    }
    return plan
