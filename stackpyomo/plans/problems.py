"""Problems over the user's Vars: the leader's cost and everybody's rows, with some values held."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from numbers import Real
from typing import Any

from pyomo.core.base.var import VarData

from stackpyomo.bilevel import Problem
from stackpyomo.core.expressions import variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game, component_pairs, leader_variables


def leading_problem(game: Game, responding: Container[str]) -> Problem:
    """The leader's cost and rows, and those of the followers who serve it; ``responding`` ones are left out."""
    aggregates = {id(v) for v in [*aggregate_definitions(game)[1], *game.price_variables]}
    serving = (game.leader, *(f for f in game.followers.values() if f.name not in responding))
    return Problem(
        game.leader.cost,
        [(owner, c) for owner, c in all_constraints(game) if owner not in responding],
        leader=[v for player in serving for v in player.variables if id(v) not in aggregates],
    )


def held_problem(game: Game, followers: Sequence[Follower], values: Mapping[str, float], cost: Any) -> Problem:
    """All but ``followers`` stay at ``values``; what the leader's equalities define, and prices, still follow."""
    defining, defined = aggregate_definitions(game)
    loose = {id(v) for v in defined} | {id(v) for f in followers for v in f.variables}
    names = {f.name for f in followers}
    loose |= {id(price.var) for price in game.prices if price.follower in names}
    fixed = [(v, values[n]) for n, v in game.variables_by_name.items() if not v.fixed and id(v) not in loose]
    return Problem(cost, [("leader", c) for c in defining], fixed)


def aggregate_definitions(game: Game) -> tuple[list[Any], list[VarData]]:
    """Equalities of the leader that define variables of its own from the followers' actions, and these variables.

    The aggregates; and variables that no follower feels, where as many equalities hold them as there are of them.
    """
    aggregates = game.aggregate_variables()
    known, declared = {id(v) for v in [*aggregates, *game.price_variables]}, {id(c) for c in game.aggregates}
    felt_by = (e for f in game.followers.values() for e in [f.objective, *f.constraints] if e is not None)
    felt = {id(v) for e in {id(e): e for e in felt_by}.values() for v in variables_in(e.expr)}
    rows: dict[int, Any] = {}
    defined: dict[int, VarData] = {}
    while True:  # a definition may stand on another
        before = len(rows)
        for constraint in game.leader.constraints:
            if not constraint.equality or id(constraint) in declared or id(constraint) in rows:
                continue
            inside = {id(v): v for v in variables_in(constraint.expr) if not v.fixed}
            free = {k: v for k, v in inside.items() if k not in game.owners and k not in felt and k not in known}
            if free and any(k in game.owners or k in known or k in defined for k in inside):
                rows[id(constraint)] = constraint
                defined.update(free)
        if len(rows) == before:
            break
    if len(rows) != len(defined):
        rows, defined = {}, {}
    return [*game.aggregates, *rows.values()], [*aggregates, *defined.values()]


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
    defined = {id(v) for v in [*aggregate_definitions(game)[1], *game.price_variables]}
    values = {}
    for name, var in game.variables_by_name.items():
        number = given.get(name, var.value)
        if number is None and id(var) not in game.owners and id(var) not in defined:
            raise InvalidGame(f"{name}: has no value; set it on the model, or pass leader={{{name!r}: ...}}.")
        values[name] = 0.0 if number is None else float(number)
    return values


def all_constraints(game: Game) -> list[tuple[str, Any]]:
    """(owner's name, constraint) of every active constraint."""
    players = (game.leader, *game.followers.values())
    once = {id(c): (player.name, c) for player in reversed(players) for c in player.constraints}  # shared ones, too
    return list(reversed(once.values()))


def require_priced(game: Game, followers: Sequence[Follower]) -> None:
    """Raise :class:`InvalidGame` where a price is asked of a market that serves the leader: it has none then."""
    names = {f.name for f in followers}
    for price in game.prices:
        if price.follower not in names:
            raise InvalidGame(
                f"{price.var.name}: the price of {price.row.name}, and {price.follower} serves the leader in this "
                f"plan, so that its row has none. Let it answer: responding=[{price.follower!r}], or stackelberg(game)."
            )
