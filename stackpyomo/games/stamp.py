"""Stamps: what a statement about a game depends on beside the point it is about.

A plan, the rows written at it and all that was proved of them belong to the data of one moment: expressions with the
values of their Params, senses, what is active, fixed values, bounds, domains, sizes. Equal stamps: the same data, also
in another process; each part has its own, so that what has changed can be named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import pyomo.environ as pyo
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.expr.numeric_expr import ExternalFunctionExpression, UnaryFunctionExpression

from .players import Player
from .structure import GameStructure

__all__ = ["changes", "stamp"]

_NAMED = (UnaryFunctionExpression, ExternalFunctionExpression)
"""Nodes of one class that stand for functions by name."""


def stamp(game: GameStructure) -> dict[str, str]:
    """part of the game → a short text that changes with its data."""
    names, followers = game.names, game.followers.values()
    sizes = [f"{f.name} {f.size!r}" for f in followers]
    limits = (f"{name} {_limits(v)} {v.domain.name}" for name, v in game.variables_by_name.items())
    return {
        "the leader's problem": _digest(_problem(game.leader, names)),
        "the followers' problems": _digest([*sizes, *(text for f in followers for text in _problem(f, names))]),
        "bounds, domains and fixed values": _digest(limits),
        "the aggregates": _digest(c.name for c in game.aggregates),
    }


def changes(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """The parts that are not what they were."""
    return [part for part, text in now.items() if then.get(part) != text]


def _limits(var: Any) -> Any:
    """Its value if it is fixed, else its bounds; None for what is no number."""
    return var.value if var.fixed else [pyo.value(side, exception=False) for side in (var.lower, var.upper)]


def _digest(texts: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(texts).encode(), digest_size=8).hexdigest()


def _problem(player: Player, names: dict[int, str]) -> list[str]:
    """The player's active objectives and rows in Polish notation."""
    texts: list[str] = []
    for objective in player.active_objectives:
        texts.append(str(objective.sense))
        _tell(objective.expr, names, texts)
    for constraint in player.constraints:
        texts.append(constraint.name)
        _tell(constraint.expr, names, texts)
    return texts


def _tell(expression: Any, names: dict[int, str], texts: list[str]) -> None:
    """Append the nodes of the expression, Params by their value of this moment."""
    stack = [expression]
    while stack:
        node = stack.pop()
        kind = node.__class__
        if kind in native_numeric_types:
            texts.append(repr(node))
        elif id(node) in names:
            texts.append(names[id(node)])
        elif node.is_expression_type():
            texts.append(node.getname() if kind in _NAMED else kind.__name__)
            texts.append(str(node.nargs()))
            stack.extend(node.args)
        else:
            texts.append(node.name if node.is_variable_type() else repr(pyo.value(node, exception=False)))
