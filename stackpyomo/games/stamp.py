"""Stamps: what a statement about a game depends on beside the point it is about.

A plan, the rows written at it and all that was proved of them belong to the data of one moment: expressions with the
values of their Params, senses, what is active, fixed values, bounds, domains, sizes. Equal stamps: the same data, also
in another process; each part has its own, so that what has changed can be named.
"""

from __future__ import annotations

import hashlib
import operator
from array import array
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.expr.numeric_expr import DivisionExpression, ExternalFunctionExpression, UnaryFunctionExpression

from stackpyomo.core.expressions import UNREADABLE

from .players import Player
from .structure import GameStructure

_NAMED = (UnaryFunctionExpression, ExternalFunctionExpression)  # Nodes of one class that stand for functions by name.
_COMPARED = (int, float, tuple)  # What leaves are compared by value.


def stamp(game: GameStructure) -> dict[str, str]:
    """part of the game → a short text that changes with its data."""
    return game.once("stamp", lambda: _stamp(game))


def _stamp(game: GameStructure) -> dict[str, str]:
    outline = _outline(game)
    if game.traced is None or not game.traced.is_of(outline):
        game.traced = _traced(game, outline)
    return {
        **game.traced.parts,
        "bounds, domains and fixed values": game.traced.limits(game),
        "the aggregates": _digest(c.name for c in game.aggregates),
    }


@dataclass
class Traced:
    """Digests of expressions that have been walked, and what must be as it was for them to be the same expressions."""

    outline: tuple[list[Any], list[str]]
    parts: dict[str, str]
    leaves: list[Any]  #: Params, named Expressions and Vars of other models: what changes within an expression.
    states: list[Any]
    doubtful: list[Any]  #: Divisions, formulas of Params, functions that nobody reads: what may be an error.
    is_finite: bool  #: True if every number in them is one.
    known: tuple[list[Any], str] = ([], "")  #: Names and limits of the Vars as they were digested last, their digest.

    def limits(self, game: GameStructure) -> str:
        """A text that changes with bounds, domains and fixed values, made anew where one of them is another."""
        domains: dict[int, str] = {}
        facts: list[Any] = []  # one after the other: a tuple for each Var costs the garbage collector more than this
        for name, var in game.variables_by_name.items():
            facts += name, _domain(var, domains), *_limits(var)
        if not self.known[1] or facts != self.known[0]:
            ends = zip(*(facts[part::5] for part in range(5)), strict=True)
            texts = (f"{name} {low if fixed else [low, high]} {domain}" for name, domain, fixed, low, high in ends)
            self.known = facts, _digest(texts)
        return self.known[1]

    def is_of(self, outline: tuple[list[Any], list[str]]) -> bool:
        """True if these are the same expressions, of the same Vars in the same places, with the same data in them.

        Pyomo's expressions are immutable: the same object is the same expression, but for the leaves.
        """
        (known, texts), (parts, more) = self.outline, outline
        same = len(known) == len(parts) and all(map(operator.is_, known, parts)) and texts == more
        return same and all(map(_is_same, map(_state, self.leaves), self.states))


def _outline(game: GameStructure) -> tuple[list[Any], list[str]]:
    """(objects that must be the same ones, texts that must be equal ones) for equal expressions."""
    parts: list[Any] = list(game.variables_by_name.values())
    texts = [f"{f.size!r} {f.noise or ''}" for f in game.followers.values()]
    for player in (game.leader, *game.followers.values()):
        texts.append(player.name)
        for objective in player.active_objectives:
            parts += objective.expr, objective.sense
        for constraint in player.constraints:
            parts += constraint, constraint.expr
            texts.append(constraint.local_name)
    for row in game.shared:
        parts += row, row.expr
        texts += row.local_name, str(row.active)
    for price in game.prices:
        parts += price.var, price.row
        texts.append(price.follower)
    return parts, texts


def _traced(game: GameStructure, outline: tuple[list[Any], list[str]]) -> Traced:
    followers = game.followers.values()
    place = {id(v): number for number, v in enumerate(game.variables_by_name.values())}
    sizes = [f"{f.name} {f.size!r} {f.noise or ''}" for f in followers]
    apart = {id(row) for row in game.shared}
    walks = [_Walk(place, []), _Walk(place, sizes)]
    parts = {
        "the leader's problem": _problems(walks[0], [game.leader]),
        "the followers' problems": _problems(walks[1], followers, apart),
    }
    if game.prices or game.shared:
        texts = [f"{price.var.name} {price.follower} {price.row.name}" for price in game.prices]
        walk = _Walk(place, texts)
        for row in game.shared:
            texts += [row.name, str(row.active)]
            walk.tell(row.expr)
        parts["prices and shared rows"] = _digest(texts, walk.numbers.tobytes())
        walks.append(walk)
    leaves = [leaf for walk in walks for leaf in walk.leaves.values()]
    doubtful = [node for walk in walks for node in walk.doubtful]
    return Traced(outline, parts, leaves, list(map(_state, leaves)), doubtful, all(walk.is_finite for walk in walks))


def _state(leaf: Any) -> Any:
    """What an expression may see of a leaf."""
    if leaf.is_expression_type():
        return leaf.args[0]
    if leaf.is_variable_type():
        return leaf.name, leaf.fixed, leaf.value if leaf.fixed else None
    return pyo.value(leaf, exception=False)


def _is_same(now: Any, then: Any) -> bool:
    """The same object, or an equal number or tuple; expressions are not compared by what they say."""
    return now is then or (now.__class__ is then.__class__ and now.__class__ in _COMPARED and bool(now == then))


def changes(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """The parts that are not what they were."""
    return [part for part, text in now.items() if then.get(part) != text]


def _limits(var: Any) -> tuple[bool, Any, Any]:
    """(whether it is fixed, its value if it is, else its bounds); None for what is no number."""
    if var.fixed:
        return True, var.value, None
    low, high = var.lower, var.upper
    if low.__class__ not in native_numeric_types:
        low = pyo.value(low, exception=False)
    if high.__class__ not in native_numeric_types:
        high = pyo.value(high, exception=False)
    return False, low, high


def _domain(var: Any, known: dict[int, str]) -> str:
    """The name of its domain; the known ones by id."""
    domain = var.domain
    if id(domain) not in known:
        known[id(domain)] = str(domain.name)
    return known[id(domain)]


def _digest(texts: Iterable[str], numbers: bytes = b"") -> str:
    return hashlib.blake2b("\n".join(texts).encode() + b"\0" + numbers, digest_size=8).hexdigest()


def _problems(walk: _Walk, players: Iterable[Player], apart: Container[int] = ()) -> str:
    """The players' active objectives and rows in Polish notation, numbers and places of Vars apart from the rest.

    apart: id of rows that are left out.
    """
    for player in players:
        for objective in player.active_objectives:
            walk.texts.append(str(objective.sense))
            walk.tell(objective.expr)
        for constraint in (c for c in player.constraints if id(c) not in apart):
            walk.texts.append(constraint.name)
            walk.tell(constraint.expr)
    return _digest(walk.texts, walk.numbers.tobytes())


class _Walk:
    """Expressions node by node: a text for each, the numbers apart; what is shared is gone through once."""

    def __init__(self, place: dict[int, int], texts: list[str]) -> None:
        self.place, self.texts, self.numbers = place, texts, array("d")
        self.leaves: dict[int, Any] = {}  #: What may change within the expressions, by id.
        self.doubtful: list[Any] = []
        self._odd = False
        self._kinds: dict[type, str] = {}
        self._doubted: set[type] = set()
        self._shared: dict[int, int] = {}

    @property
    def is_finite(self) -> bool:
        """True if every number that it has met is one."""
        return not self._odd and bool(np.isfinite(np.frombuffer(self.numbers)).all())

    def tell(self, expression: Any) -> None:
        """Append its nodes, Params by their value of this moment."""
        texts, numbers, place, kinds = self.texts, self.numbers, self.place, self._kinds
        stack = [expression]
        while stack:
            node = stack.pop()
            kind = node.__class__
            if kind in native_numeric_types:
                self._number(node)
            elif (number := place.get(id(node))) is not None:
                texts.append("v")
                numbers.append(number)
            elif (text := kinds.get(kind) or self._kind(node)) == "leaf":
                self._leaf(node)
            elif text != "named":
                if kind in self._doubted:
                    self.doubtful.append(node)
                args = node.args
                texts.append(text if kind not in _NAMED else node.getname())
                numbers.append(len(args))
                stack.extend(args)
            elif id(node) in self._shared:
                texts.append("again")
                numbers.append(self._shared[id(node)])
            else:
                self._shared[id(node)] = len(self._shared)
                self.leaves[id(node)] = node
                texts.append(text)
                stack.extend(node.args)

    def _kind(self, node: Any) -> str:
        """What all nodes of its class are: leaves, named Expressions, or the class itself."""
        inner = node.is_expression_type()
        text = "leaf" if not inner else "named" if node.is_named_expression_type() else node.__class__.__name__
        if inner and (isinstance(node, (DivisionExpression, *UNREADABLE)) or not node.is_potentially_variable()):
            self._doubted.add(node.__class__)
        self._kinds[node.__class__] = text
        return text

    def _number(self, number: Any) -> None:
        """By its eight bytes; what has none, by its text."""
        try:
            self.numbers.append(number)
            self.texts.append("#")
        except (OverflowError, TypeError):
            self._odd = True
            self.texts.append(repr(number))

    def _leaf(self, node: Any) -> None:
        """A Param by its value; a Var that is not this game's by its name, and its value where it is fixed."""
        self.leaves[id(node)] = node
        if node.is_variable_type():
            self.texts += ["strange", node.name, repr(node.value) if node.fixed else "free"]
        else:
            self._number(pyo.value(node, exception=False))
