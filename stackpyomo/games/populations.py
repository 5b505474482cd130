"""Populations: one block for many identical followers, and the same game with all of them written out.

    expand     a block of size n → n blocks; its part in an expression is shared out, f(u) → (1/n) Σ_m f(u_m)
    collapse   n blocks that nobody can tell apart → one of size n; all their actions are the representative's

Both make a new model; the user's stays as it is. Followers are exchangeable if their problems are the same up to the
names of their own actions, hold nobody else's, and everybody else's problem stays the same when two of them are swapped
(tested at random points, term by term: an identity between expressions, not a proof).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import pyomo.environ as pyo
from pyomo.common.modeling import unique_component_name
from pyomo.core.expr.visitor import identify_mutable_parameters

from stackpyomo.core import TOLERANCES, Array, bounds_of
from stackpyomo.core.expressions import Substitution, number_of, terms, variables_in
from stackpyomo.errors import InvalidGame

from .aggregates import assigned
from .players import Follower
from .structure import GameStructure

Structure = TypeVar("Structure", bound=GameStructure)
_Part: TypeAlias = tuple[str, int]  # A player, and the number of a part of its problem.

_POINTS = 8  # Random points at which a swap has to change nothing.
_DECADES = -1.0, 3.0  # How far out they are where a variable has no end.
_MEMBERS = 10_000  # Members a population may be written out to.


def expanded(game: Structure) -> Structure:
    """The game with every member of every finite population as a follower of its own, in a new model.

    Raises :class:`InvalidGame` for a population that is infinite or too large to be written out.
    """
    game.rescan()
    for follower in game.followers.values():
        if follower.noise is not None:
            raise InvalidGame(
                f"{follower.name}: members with noise of their own cannot be written out: the model holds their "
                "averages, not what a few of them draw. simulate(plan, sizes) plays finite numbers of them."
            )
        if follower.size > _MEMBERS:
            raise InvalidGame(
                f"{follower.name}: {follower.size:g} members cannot be written out; ask for at most {_MEMBERS}."
            )
    model = game.model.clone()
    twin = twin_of(game, model)
    if all(f.size == 1 for f in twin.followers.values()):
        return twin
    groups: list[tuple[Follower, list[Any]]] = []
    blocks: list[Any] = []
    for follower in twin.followers.values():
        members = [follower.block]
        if follower.size > 1:
            members += list(_copies(model, follower))
            groups.append((follower, members))
        blocks += members
    for component in _outside(twin):
        for follower, members in groups:
            _share_out(component, follower, members)
    for follower, members in groups:  # other followers take the average member as given
        for block in blocks:
            if block not in members:
                for component in _parts(block):
                    _share_out(component, follower, members)
    return type(game)(model, blocks, name=game.name, **twin.couplings)


def twin_of(game: Structure, model: Any, sizes: Mapping[str, float] | None = None) -> Structure:
    """The same game on a clone of its model, its aggregates named: a row that is rewritten tells them no more."""

    def copied(component: Any) -> Any:
        # The model may be a Block of a larger one; its clone is the root of its own names.
        name = component.getname(fully_qualified=True, relative_to=game.model)
        twin = model.find_component(name)
        assert twin is not None, name
        return twin

    blocks = [f.population(block=copied(f.block), size=(sizes or {}).get(n)) for n, f in game.followers.items()]
    aggregates = [(None if v is None else copied(v), copied(c)) for v, c in assigned(game.definitions, game.actions)]
    prices = [(copied(p.var), (copied(p.row), copied(game.followers[p.follower].block))) for p in game.prices]
    named = {"aggregates": aggregates, "prices": prices, "shared": [copied(row) for row in game.shared]}
    return type(game)(model, blocks, **named, leaders=[copied(block) for block in game.leader_blocks], name=game.name)


def _copies(model: Any, follower: Follower) -> Iterator[Any]:
    """size − 1 more blocks beside the follower's."""
    name = unique_component_name(model, f"{follower.block.local_name}_members".replace("[", "_").replace("]", ""))
    holder = pyo.Block(range(1, int(follower.size)), concrete=True)
    model.add_component(name, holder)
    for index in range(1, int(follower.size)):
        holder[index].transfer_attributes_from(follower.block.clone())
        yield holder[index]


def _parts(block: Any) -> list[Any]:
    return [*block.component_data_objects((pyo.Objective, pyo.Constraint), active=True, descend_into=True)]


def _outside(game: GameStructure) -> list[Any]:
    """Active objectives and constraints of the leader and shared rows, aggregates among them."""
    rows = {id(row): row for row in (*game.leader.constraints, *(row for row in game.shared if row.active))}
    return [*game.leader.active_objectives, *rows.values()]


def _share_out(component: Any, follower: Follower, members: Sequence[Any]) -> None:
    """Every term that holds the block's actions becomes the average over the members."""
    own = [id(v) for v in follower.variables]
    if not any(id(v) in set(own) for v in variables_in(component.expr)):
        return
    free = ([v for v in block.component_data_objects(pyo.Var) if not v.fixed] for block in members)
    tables = [dict(zip(own, variables, strict=True)) for variables in free]
    visitors = [Substitution(substitute=t, descend_into_named_expressions=True) for t in tables]
    _changed(component, lambda expression: _averaged(expression, set(own), visitors))


def _averaged(expression: Any, own: set[int], visitors: Sequence[Any]) -> Any:
    terms = (
        list(expression.args)
        if expression.__class__.__name__ in ("SumExpression", "LinearExpression")
        else [expression]
    )
    shared = []
    for term in terms:
        holds = hasattr(term, "is_expression_type") and any(id(v) in own for v in variables_in(term))
        shared.append(pyo.quicksum(v.walk_expression(term) for v in visitors) / len(visitors) if holds else term)
    return pyo.quicksum(shared)


def exchangeable(game: GameStructure) -> list[list[str]]:
    """Names of followers that nobody can tell apart, in groups of two or more."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    priced = {price.follower for price in game.prices}
    for name, follower in game.followers.items():
        if name not in priced and not _holds_others(game, follower):
            groups.setdefault(_signature(follower), []).append(name)
    judge = _Judge(game)
    alike_groups = []
    for names in groups.values():
        while len(names) > 1:
            first, *rest = names
            alike = [first, *(n for n in rest if judge.is_same(game.followers[first], game.followers[n]))]
            alike_groups += [alike] if len(alike) > 1 else []
            names = [name for name in rest if name not in alike]
    return alike_groups


def _holds_others(game: GameStructure, follower: Follower) -> bool:
    """True if its problem holds another follower's action directly, not through an aggregate."""
    variables = (v for e in (follower.cost, *(c.expr for c in follower.constraints)) for v in variables_in(e))
    return any(game.owners.get(id(v), follower.name) != follower.name for v in variables)


def _signature(follower: Follower) -> tuple[Any, ...]:
    """Its problem as text with its own actions numbered: bounds, sense, size, expressions with the values of Params."""
    place = {id(v): i for i, v in enumerate(follower.variables)}
    stand = pyo.ConcreteModel()
    stand.own = pyo.Var(range(len(place)))
    table: dict[int, Any] = {key: stand.own[i] for key, i in place.items()}
    visitor = Substitution(substitute=table, descend_into_named_expressions=True, remove_named_expressions=True)

    def printed(expression: Any) -> str:
        levels = [(id(p), pyo.value(p, exception=False)) for p in identify_mutable_parameters(expression)]
        table.update((key, float(level)) for key, level in levels if level is not None)
        return str(visitor.walk_expression(expression))

    rows = [(c.lb, printed(c.body), c.ub) for c in follower.constraints]
    bounds = tuple((v.lb, v.ub, v.domain.name) for v in follower.variables)
    cost = printed(follower.cost)
    return bounds, follower.sign, follower.size, follower.noise, cost, tuple(rows)


class _Term(NamedTuple):
    """factor · written, a term in copies of the variables of these numbers."""

    factor: float
    written: Any
    places: list[int]


class _Judge:
    """Whether everybody else's problem stays the same when two followers are swapped.

    Term by term: those that hold the actions of either are to be the same terms after the swap, each in its own size,
    so that neither a large term nor a constant hides a small one. What sums to the same otherwise is not seen.
    """

    def __init__(self, game: GameStructure) -> None:
        self.variables = {id(v): v for v in game.variables_by_name.values()}
        self.copies = pyo.Var(range(len(self.variables)), initialize=0.0)
        self.copies.construct()
        self.place = {key: i for i, key in enumerate(self.variables)}
        table = {key: self.copies[i] for key, i in self.place.items()}
        visitor = Substitution(substitute=table, descend_into_named_expressions=True, remove_named_expressions=True)
        #: id(action) → {(owner of a problem, number of its part): the terms of it that hold the action}
        self.holding: dict[int, dict[_Part, dict[int, _Term]]] = {}
        for name, number, expression in _problems(game):
            for place, (factor, term) in enumerate(terms(expression)):
                if not hasattr(term, "is_expression_type"):
                    continue
                keys = {id(v) for v in variables_in(term)} & self.place.keys()
                written = _Term(factor, visitor.walk_expression(term), [self.place[key] for key in keys])
                for key in keys & game.owners.keys():
                    self.holding.setdefault(key, {}).setdefault((name, number), {})[place] = written
        random = np.random.default_rng(0)
        self.points = np.array([self._point(random) for _ in range(_POINTS)])

    def _point(self, random: np.random.Generator) -> Array:
        """One in the box of all variables; where it has no end, a few decades out."""
        low, high = (np.array(side) for side in zip(*map(bounds_of, self.variables.values()), strict=True))
        low, high = np.minimum(low, high), np.maximum(low, high)
        out = 10.0 ** random.uniform(*_DECADES, len(low))
        start = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, 0.0))
        sides = np.where(np.isfinite(low), 1.0, np.where(np.isfinite(high), -1.0, random.choice([-1.0, 1.0], len(low))))
        both = np.isfinite(low) & np.isfinite(high)
        inside = random.uniform(np.where(both, low, 0.0), np.where(both, high, 1.0))
        point = np.where(both, inside, start + sides * out)
        fixed = np.array([v.fixed for v in self.variables.values()])
        values = np.array([v.value if v.fixed else 0.0 for v in self.variables.values()], dtype=float)
        return np.where(fixed, values, point)

    def _levels(self, held: Mapping[int, _Term], points: Array) -> Array:
        """(terms × points) the values of terms; NaN where there is none."""
        levels = np.empty((len(held), len(points)))
        for row, term in enumerate(held.values()):
            for column, point in enumerate(points[:, term.places].tolist()):
                for place, level in zip(term.places, point, strict=True):
                    self.copies[place].set_value(level, skip_validation=True)
                levels[row, column] = term.factor * number_of(term.written)
        return levels

    def is_same(self, first: Follower, second: Follower) -> bool:
        """True if swapping their actions changes no part of another player's problem."""
        swapped, parts = self.points.copy(), dict[_Part, dict[int, _Term]]()
        for a, b in zip(first.variables, second.variables, strict=True):
            i, j = self.place[id(a)], self.place[id(b)]
            swapped[:, [i, j]] = swapped[:, [j, i]]
            for var in (a, b):
                for part, held in self.holding.get(id(var), {}).items():
                    if part[0] not in (first.name, second.name):  # their own are the same by their signature
                        parts.setdefault(part, {}).update(held)
        return all(
            _are_same(*(self._levels(held, points) for points in (self.points, swapped))) for held in parts.values()
        )


def _problems(game: GameStructure) -> Iterator[tuple[str, int, Any]]:
    """(player, number, expression) of every cost and row; of a follower, too, whose rows may hold others' actions."""
    rows: list[Any] = [*game.leader.active_objectives, *game.leader.constraints, *game.shared]
    players = [("", rows)]
    players += [(n, [*f.active_objectives, *f.constraints]) for n, f in game.followers.items()]
    for name, parts in players:
        for number, part in enumerate(parts):
            yield name, number, getattr(part, "body", part.expr)


def _are_same(levels: Array, others: Array) -> bool:
    """Whether the rows of both are the same values, in whatever order; what has none anywhere tells nothing."""
    if not np.isfinite(levels).any(axis=1).all():
        return False
    levels, others = (np.nan_to_num(part[np.lexsort(part.T[::-1])]) for part in (levels, others))
    return bool(np.all(np.abs(levels - others) <= TOLERANCES.cancelled * np.maximum(np.abs(levels), np.abs(others))))


def collapsed(game: Structure) -> Structure:
    """The game with every group of exchangeable followers as one Population, in a new model.

    The representative is the first of its group and stands for all of them. A game without any is returned as it is.
    """
    game.rescan()
    groups = exchangeable(game)
    if not groups:
        return game
    model = game.model.clone()
    twin = twin_of(game, model)
    sizes: dict[str, float] = {n: f.size for n, f in twin.followers.items()}
    table: dict[int, Any] = {}
    gone: set[str] = set()
    same = dict(zip(game.followers, twin.followers, strict=True))
    for first, *rest in ([same[name] for name in group] for group in groups):
        leaders = twin.followers[first].variables
        for name in rest:
            table.update(zip((id(v) for v in twin.followers[name].variables), leaders, strict=True))
            sizes[first] += twin.followers[name].size
        gone.update(rest)
    visitor = Substitution(substitute=table, descend_into_named_expressions=True)
    others = [part for n, f in twin.followers.items() if n not in gone for part in _parts(f.block)]
    for component in (*_outside(twin), *others):
        if any(id(v) in table for v in variables_in(component.expr)):
            rewritten(component, visitor)
    for name in gone:
        twin.followers[name].block.deactivate()
    populations = [f.population(size=_whole(sizes[n])) for n, f in twin.followers.items() if n not in gone]
    return type(game)(model, populations, name=game.name, **twin.couplings)


def rewritten(component: Any, visitor: Any) -> None:
    """The objective or constraint with the visitor's substitutions."""
    _changed(component, visitor.walk_expression)


def _changed(component: Any, change: Callable[[Any], Any]) -> None:
    if component.ctype is pyo.Objective:
        component.set_value(change(component.expr))
        return
    body = change(component.body)
    component.set_value(body == component.ub if component.equality else (component.lb, body, component.ub))


def _whole(size: float) -> float:
    return size if math.isinf(size) else int(size)
