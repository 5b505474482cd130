"""Engines: who solves the leader's problem as a whole. One solver in one process, or bundles hedged by mpi-sppy.

What comes out is the same :class:`Plan`, with the same meaning of every field; every rank returns the whole of it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from stackpyomo.core import timed
from stackpyomo.core.expressions import variables_in
from stackpyomo.derivatives import FollowerRows
from stackpyomo.errors import InvalidGame, NoPlan
from stackpyomo.games import Game, foreign
from stackpyomo.plans.cooperative import settled
from stackpyomo.plans.plan import Plan, measured, proved_within
from stackpyomo.solvers import Termination, choose

from .hedging import Hedging, Run, team
from .partition import Partition

# Followers whose own problems are written at once: all of a bundle's would take more memory than its plan.
_TOGETHER = 200


def chosen_engine(engine: Any) -> Hedging | None:
    """How to hedge; None for "auto" and "monolith". Raises :class:`InvalidGame` for anything else."""
    if isinstance(engine, Hedging):
        return engine
    if engine == "mpi-sppy":
        return Hedging()
    if engine in ("auto", "monolith"):
        return None
    raise InvalidGame(f"engine={engine!r}: expected 'auto', 'monolith', 'mpi-sppy' or a Hedging.")


def hedged(game: Game, engine: Hedging, solver: str, time_limit: float | None, tee: bool) -> Plan:
    """The team optimum by :class:`Hedging` (the game is sound). ``time_limit`` in seconds, for all iterations.

    Raises :class:`InvalidGame` for what it cannot do, :class:`SolverNotAvailable`, and :class:`NoPlan` on every rank.
    """
    info = choose(solver)
    if not info.ipopt_options:
        raise InvalidGame(
            f"solver={solver!r}: engine='mpi-sppy' solves bundles by an NLP solver: pounce, ipopt, cyipopt."
        )
    for player in (game.leader, *game.followers.values()):
        for var in player.integers:
            raise InvalidGame(f"{var.name}: an integer variable; engine='mpi-sppy' is continuous. Relax its domain.")
    seconds: dict[str, float] = {}
    ranks = team(tee)
    count = engine.bundles or max(2, ranks.size)
    if ranks.size > min(count, len(game.followers)):
        raise InvalidGame(
            f"engine='mpi-sppy': {ranks.size} MPI ranks for {min(count, len(game.followers))} bundle(s) of followers. "
            "Start fewer ranks, or ask for more bundles with engine=Hedging(bundles=...)."
        )
    with timed(seconds, "partition"):
        partition = Partition(game, count if engine.bundles else min(count, len(game.followers)))
    run = Run(partition, engine, ranks, info.name, time_limit, tee)
    with timed(seconds, "solve"):
        run.hedge()
    termination = _termination(run)
    with timed(seconds, "evaluate"):
        return _plan(run, termination, seconds)


def _termination(run: Run) -> str:
    """Why it stopped; raises :class:`NoPlan` where there is no feasible point."""
    failures = [failure for rank in run.team.all(_failures(run)) for failure in rank]
    if run.stopped == "converged":
        termination = Termination.CONVERGED.value
    elif failures:
        termination = failures[0][1]
    else:
        ended = run.iteration >= run.engine.iterations
        termination = (Termination.ITERATION_LIMIT if ended else Termination.TIME_LIMIT).value
    if run.best.is_feasible:
        return termination
    if failures:
        who, why, message = failures[0]
        raise NoPlan(
            f"{run.solver} could not solve the bundle of {who}: {why} ({message}). Try engine='monolith', which "
            "says whose constraints are behind it, or tee=True.",
            termination=why,
        )
    violation = f"violates a row by {run.best.feasibility:.3g}" if math.isfinite(run.best.feasibility) else "is none"
    apart = run.log[-1]["consensus"] if run.log else math.nan
    raise NoPlan(
        f"No feasible plan after {run.iteration} iterations: {termination}. The bundles are {apart:.3g} apart, and the "
        f"best point {violation}. Try engine=Hedging(iterations=...) with more, fewer bundles, or engine='monolith'.",
        termination=termination,
    )


def _failures(run: Run) -> list[tuple[str, str, str]]:
    """(the bundle's first follower, termination, message) of every solve of this rank's that failed."""
    failed = [(c.number, c.trouble) for c in run.copies.values() if c.trouble is not None]
    return [(run.partition.members[b][0].name, t.termination.value, t.message) for b, t in failed]


def _plan(run: Run, termination: str, seconds: dict[str, float]) -> Plan:
    partition, ranks, game = run.partition, run.team, run.partition.game
    values: dict[str, float] = dict.fromkeys(game.variables_by_name, math.nan)
    multipliers: dict[str, float] = {}
    for owned, forces in ranks.all((_values(run), _multipliers(run))):
        values.update(owned)
        for name, force in forces.items():
            multipliers[name] = multipliers.get(name, 0.0) + game.leader.sign * force
    by_name = game.variables_by_name
    values = game.completed({id(by_name[n]): v for n, v in values.items() if not math.isnan(v)})
    objectives: dict[str, float] = {}
    for settled_values, own in ranks.all(_followers(run, values)):
        values.update(settled_values)
        objectives.update(own)
    plan = Plan(
        values=values,
        quality="feasible",
        leader_objective=game.leader.sign * run.best.cost,
        follower_objectives={name: objectives[name] for name in game.followers},
        multipliers=multipliers,
        termination=termination,
        residuals=measured(run.best.feasibility),
        seconds=seconds,
        solver=f"mpi-sppy ({run.solver}, {_counted(ranks.size, 'rank')}, {_counted(partition.count, 'bundle')})",
        log=run.log,
        game=game,
    )
    if run.convex and math.isfinite(run.bound):  # every bundle is, and so the bound is one
        proved_within(plan, max(0.0, run.best.cost - run.bound), run.best.scale)
    return plan


def _values(run: Run) -> dict[str, float]:
    """{name: value} of what this rank's bundles own, and of what is shared."""
    names, shared = run.partition.game.names, {id(v) for v in (*run.partition.first, *run.partition.derived)}
    owned: dict[str, float] = {}
    for name, point in run.best.points.items():
        bundle = run.copies[name]
        keys = run.partition.owned(bundle.number) | shared
        pairs = zip(bundle.program.variables, point.tolist(), strict=True)
        owned.update((names[id(v)], value) for v, value in pairs if id(v) in keys and id(v) in names)
    return owned


def _multipliers(run: Run) -> dict[str, float]:
    """constraint → its dual in this rank's bundles, each with its share: over all bundles they add up to the plan's."""
    duals: dict[str, float] = {}
    for bundle in run.copies.values():
        names = bundle.piece.names
        for row, dual in zip(bundle.program.rows, bundle.duals.tolist(), strict=True):
            if names[row]:
                duals[names[row]] = duals.get(names[row], 0.0) + dual / run.partition.count
    return duals


def _followers(run: Run, values: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """What this rank's followers settle among themselves, for the leader does not care; and all their objectives."""
    game = run.partition.game
    changed: dict[str, float] = {}
    objectives: dict[str, float] = {}
    free = _indifferent(run)
    for bundle in run.copies.values():
        members = run.partition.members[bundle.number]
        for start in range(0, len(members), _TOGETHER):
            part = copy.copy(game)  # with the names of everything, and these followers alone
            part.followers = {f.name: f for f in members[start : start + _TOGETHER]}
            part.definitions = []
            rows = FollowerRows(part)
            others = {id(v) for f in part.followers.values() for v in f.variables} - free
            own = settled(rows, values, others) if free else values
            changed.update((name, value) for name, value in own.items() if value != values[name])
            objectives.update(zip(part.followers, map(float, rows.at(own).objectives), strict=True))
    return changed, objectives


def _indifferent(run: Run) -> set[int]:
    """ids of this rank's actions that nobody's problem holds but their owner's."""
    game = run.partition.game
    followers = [f for c in run.copies.values() for f in run.partition.members[c.number]]
    free = {id(v) for f in followers for v in f.variables}
    free.difference_update(id(v) for v in variables_in(game.leader.cost))
    for constraint in game.leader.constraints if free else ():
        free.difference_update(id(v) for v in variables_in(constraint.expr))
    for follower in game.followers.values() if free else ():
        free.difference_update(foreign(follower, follower.cost, *follower.constraints))
    return free


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")
