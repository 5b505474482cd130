"""The equilibrium that an announced strategy induces once every follower answers it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from pyomo.common.modeling import unique_component_name

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.core.expressions import Substitution, number_of, variables_in
from stackpyomo.errors import InvalidGame, NoPlan
from stackpyomo.games import Follower, Game, evaluator, rewritten, twin_of
from stackpyomo.games.information import Announcement, formula_steps
from stackpyomo.plans import Plan, nash, stackelberg
from stackpyomo.verification import oversteps


def settled(subject: Any, *, sizes: Mapping[str, float] | None = None, solver: str = "auto") -> Plan:
    """The followers' equilibrium under the announced strategy, perhaps in a game of other sizes.

    The strategy is written into a new model, so that a deviation moves the leader; the leader's variables in the plan
    are what it answers there.

    Parameters
    ----------
    subject : Plan or Incentive
        What is announced.
    sizes : mapping of str to int or math.inf, optional
        Population → number of members, by default as they are.
    solver : str, default "auto"
        As for :func:`leader_optimal`.

    Returns
    -------
    Plan
        The equilibrium.

    Raises
    ------
    InvalidGame
        A gain acts on each member's own action of a population larger than 1 (one expression cannot say that), or a
        projection of the strategy (saturate=True) can come into play.
    """
    twin, _ = _written_in(subject, sizes or {})
    values = subject.announcement.values
    leader = [(v, values[n]) for n, v in twin.variables_by_name.items() if id(v) not in twin.owners and not v.fixed]
    aggregated = {id(v) for v in twin.aggregate_variables()}
    plan: Plan = nash(twin, leader=[(v, x) for v, x in leader if id(v) not in aggregated], solver=solver)
    evaluate = evaluator(twin, plan.values)
    faced = {twin.names[key]: evaluate(answer) for key, answer in _answers(twin, subject.announcement, "")}
    return replace(plan, values={**plan.values, **faced})


def anticipated_regret(
    subject: Any, follower: str, *, solver: str = "auto", time_limit: float | None = None
) -> pd.Series:
    """What a follower gains by deviating if the plan's responding followers settle anew after it (minors="respond").

    Its problem is a Stackelberg game with itself as the leader: J(plan) − J(stackelberg). The leader's own constraints
    do not bind it.

    Parameters
    ----------
    subject : Plan or Incentive
        What is announced.
    follower : str
        Who deviates.
    solver, time_limit : optional
        As for :func:`leader_optimal`.

    Returns
    -------
    Series
        ``regret``, ``objective`` (at the plan), ``best``, and ``certificate``: "global" where that plan is proved
        optimal, else "multistart" (where a solver finds no end, far deviations are looked at, too); "unknown" with a
        regret of NaN and a ``note`` where no plan was found.

    Raises
    ------
    InvalidGame
        A projection of the strategy can come into play.
    """
    plan = subject.plan if hasattr(subject, "plan") else subject
    if not plan.responding or follower in plan.responding or follower not in subject.attached().followers:
        raise InvalidGame(
            f"follower={follower}: expected one that does not respond in the plan, which lets others do so."
        )
    twin, model = _written_in(subject, {}, alone=follower)
    deviator = twin.followers[follower]
    if deviator.size > 1:
        driven = bool(subject.attached().responses().drivers)
        _require_unseen(twin, deviator, plan.responding, subject.announcement, driven=driven)
    assert deviator.objective is not None
    at_plan = number_of(deviator.objective.expr)
    aggregates = _let_go(twin, model, deviator, plan.responding, subject.announcement.values)
    minors = [twin.followers[n].population() for n in plan.responding]
    cells: dict[str, Any] = {"regret": math.nan, "objective": at_plan, "best": math.nan, "certificate": "unknown"}
    try:
        settling = Game(model, minors, aggregates=aggregates)
        best = stackelberg(settling, solver=solver, time_limit=time_limit)
    except NoPlan as why:
        return pd.Series({**cells, "note": f"no best deviation was found: {why.termination}"}, name=follower)
    kind, levels = "global" if best.quality == "optimal" else "multistart", [best.leader_objective]
    if kind == "multistart" and any(attempt["termination"] == "unbounded" for attempt in best.log):
        levels += _far_out(settling, solver)
    level = min(levels, key=lambda level: deviator.sign * level)
    gain = max(0.0, deviator.sign * (at_plan - level))
    cells.update(regret=gain, best=level, certificate=kind, note="")
    return pd.Series(cells, name=follower)


def _far_out(settling: Game, solver: str) -> Iterator[float]:
    """What the deviator gets far out along each of its actions without an end, the minors settled there."""
    aggregates = {id(v) for v in settling.aggregate_variables()}
    own = [v for v in settling.leader.variables if id(v) not in aggregates and not v.fixed]
    open_ways = [(v, way) for v in own for bound, way in zip(v.bounds, (-1.0, 1.0), strict=True) if bound is None]
    for (var, way), reach in product(open_ways, (TOLERANCES.reach, TOLERANCES.trust)):
        level = number_of(var)
        with suppress(NoPlan):
            plan = nash(settling, leader=[(var, level + way * reach * (abs(level) or 1.0))], solver=solver)
            if plan.quality in ("optimal", "feasible"):
                yield plan.leader_objective


def _require_unseen(
    twin: Game, deviator: Follower, minors: Sequence[str], announced: Announcement, *, driven: bool
) -> None:
    """One member of a population moves its aggregates by its share; a Var of the block itself stands for them all.

    driven: an aggregate holds the leader's variables, so that an answer to its own action moves it without that share.
    """
    own = {twin.names[id(v)] for v in deviator.variables}
    seen = [s.name for s in announced.signals if (driven or not s.own) and own.intersection(s.terms)]
    parts = [c for n in minors for c in (*twin.followers[n].active_objectives, *twin.followers[n].constraints)]
    seen += [c.name for c in parts if any(twin.names.get(id(v)) in own for v in variables_in(c.expr))]
    if seen:
        raise InvalidGame(
            f"follower={deviator.name}: a population of {deviator.size:g} whose actions {seen[0]} holds for all "
            "members at once; expand() the game, or write an aggregate."
        )


def _let_go(
    twin: Game, model: Any, deviator: Follower, minors: Sequence[str], values: Mapping[str, float]
) -> list[Any]:
    """Leave a problem of the deviator and the minors; the aggregates of what these move, the rest being fixed.

    z = z* + what one member of the deviator moves + what the minors move: the last is an aggregate of the new game, in
    which the deviator leads and no aggregate may hold its action. What binds the leader of the game binds nobody here.
    """
    responses, actions, owners = twin.responses(), twin.actions, twin.action_owners
    followers = list(twin.followers)
    mine = owners == followers.index(deviator.name)
    theirs = np.isin(owners, [followers.index(n) for n in minors])
    gone = [twin.leader, *(f for n, f in twin.followers.items() if n not in minors and n != deviator.name)]
    for part in [c for player in gone for c in (*player.active_objectives, *player.constraints)]:
        part.deactivate()
    model.add_component(unique_component_name(model, "settling"), holder := pyo.Block())
    holder.moved, holder.rows = pyo.VarList(), pyo.ConstraintList()
    table: dict[int, Any] = {}
    for row, var in enumerate(responses.variables):
        table[id(var)] = values[twin.names[id(var)]] + _steps(twin, responses.moves, row, mine, values)
        if responses.shares[[row]].toarray().ravel()[theirs].any():
            moved = holder.moved.add()
            moved.set_value(0.0)
            holder.rows.add(moved == _steps(twin, responses.shares, row, theirs, values))
            table[id(var)] += moved
    visitor = Substitution(substitute=table, descend_into_named_expressions=True)
    for player in (deviator, *(twin.followers[n] for n in minors)):
        for component in (*player.active_objectives, *player.constraints):
            rewritten(component, visitor)
    free = {id(v) for v, moves in zip(actions, mine | theirs, strict=True) if moves}
    for name, var in twin.variables_by_name.items():
        if id(var) not in free and not var.fixed:
            var.fix(values[name], skip_validation=True)
    return list(holder.rows.values())


def _steps(game: Game, matrix: Any, row: int, chosen: Array, values: Mapping[str, float]) -> Any:
    """Σ rate · (action − its plan) over the chosen actions."""
    rates = matrix[[row]].toarray().ravel()
    return pyo.quicksum(
        float(rates[j]) * (game.actions[j] - values[game.names[id(game.actions[j])]])
        for j in np.flatnonzero(chosen & (rates != 0.0))
    )


def _written_in(subject: Any, sizes: Mapping[str, float], alone: str = "") -> tuple[Game, Any]:
    """(the game in a new model with the strategy in place of the leader's variables, that model).

    alone: the one follower of whom a single member deviates.
    """
    game: Game = subject.attached()
    announced: Announcement = subject.announcement
    model = game.model.clone()
    twin = twin_of(game, model, sizes)
    answers = dict(_answers(twin, announced, alone))
    visitor = Substitution(substitute=answers, descend_into_named_expressions=True)
    for component in _components(twin):
        rewritten(component, visitor)
    for name, var in twin.variables_by_name.items():
        if not var.fixed:
            var.set_value(announced.values[name], skip_validation=True)
    return twin, model


def _answers(game: Game, announced: Announcement, alone: str) -> Iterator[tuple[int, Any]]:
    """id(leader Var) → offset + K d + ½ R d² as an expression, d = signal − target."""
    if announced.gain is None:
        return
    steps = formula_steps(announced.gain, announced.bend, partial(_seen, game, announced, alone))
    for row, step in steps.items():
        var, answer = game.variables_by_name[announced.leader[row]], announced.values[announced.leader[row]] + step
        if announced.saturate:
            _require_within(var, answer)
        yield id(var), answer


def _seen(game: Game, announced: Announcement, alone: str, column: int) -> Any:
    """signal − target as an expression."""
    signal = announced.signals[column]
    owner = game.followers.get(game.owners.get(id(game.variables_by_name[signal.name]), "")) if signal.own else None
    if owner is not None and owner.size > 1 and owner.name != alone:
        raise InvalidGame(
            f"{signal.name}: the strategy answers every member's own action; expand() the game to settle it."
        )
    return signal.written(game.variables_by_name) - signal.value(announced.values)


def _require_within(var: Any, answer: Any) -> None:
    """An equilibrium under a projection is not solved for; where none can come into play there is none."""
    if any(oversteps(answer, var)):
        raise InvalidGame(
            f"{var.name}: the strategy is stopped at the bounds (saturate=True), and no equilibrium of the followers "
            "is solved for that. verify() and conditional_regret() take it into account."
        )


def _components(game: Game) -> list[Any]:
    components = [*game.leader.active_objectives, *game.leader.constraints]
    for follower in game.followers.values():
        components += [*follower.active_objectives, *follower.constraints]
    return components
