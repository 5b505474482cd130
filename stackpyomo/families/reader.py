"""Reading: an expression is a tree with places for its numbers and its Vars; expressions of one tree are a family.

    (u − 1)² · c_i + t · u   →   ("+", ("*", ("^", 2, ("+", ("v", 0), ("c", 0))), ("c", 1)), ("*", ("v", 1), ("v", 0)))

with numbers (−1, c_i) and Vars (u, t) of member i. Params and fixed Vars are numbers. Vars are numbered by their first
appearance, so that equal trees have equal Vars in equal places.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyomo.core.expr.numeric_expr as nodes
from pyomo.common.numeric_types import native_numeric_types

from stackpyomo.core import Array
from stackpyomo.core.expressions import number_of, terms, variables_in

__all__ = ["FUNCTIONS", "Family", "Tree", "gathered"]

Tree: TypeAlias = tuple[Any, ...]

FUNCTIONS = ("exp", "log", "sqrt", "sin", "cos", "tanh")
"""Functions that are understood, by Pyomo's name."""

_LONGEST = 500
"""Numbers and Vars of one expression, beyond which its terms are read, and none of these is a member of a family."""

_FEW, _SHARE = 30, 0.05
"""Families that are worth their arrays: so many, or this share of the expressions; beyond, terms are read instead."""

_RULES = (
    (nodes.SumExpression, "+"),
    (nodes.LinearExpression, "+"),
    (nodes.ProductExpression, "*"),
    (nodes.DivisionExpression, "/"),
    (nodes.NegationExpression, "-"),
    (nodes.PowExpression, "^"),
    (nodes.UnaryFunctionExpression, "f"),
)


class _Unread(Exception):
    """An expression that is not understood."""


class _TooLong(_Unread):
    """One that no family is to hold."""


@dataclass(frozen=True)
class Family:
    """Expressions of one tree: the value of row r is the sum of factor · tree over its members."""

    tree: Tree
    numbers: Array  #: (numbers × members)
    columns: Array  #: (Vars × members) the column of each Var.
    rows: Array  #: (members)
    factors: Array  #: (members)

    def only(self, members: Array) -> Family:
        """These of its members, in this order."""
        parts = (self.numbers[:, members], self.columns[:, members], self.rows[members], self.factors[members])
        return Family(self.tree, *parts)


@dataclass
class _Members:
    """A family while it grows."""

    numbers: list[list[float]] = field(default_factory=list)
    columns: list[list[int]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)

    def closed(self, tree: Tree) -> Family:
        size = len(self.rows)
        numbers = np.array(self.numbers, dtype=float).reshape(size, -1).T
        columns = np.array(self.columns, dtype=np.int64).reshape(size, -1).T
        return Family(tree, numbers.copy(), columns.copy(), np.array(self.rows), np.array(self.factors, dtype=float))


def gathered(
    items: Iterable[tuple[int, Any, float]], column: dict[int, int], variables: list[Any] | None = None
) -> tuple[list[Family], dict[int, str]]:
    """(families, row → why it is in none) of (row, expression, factor); column: id(Var) → its column.

    variables: where given, Vars without a column get the next one, and are added to these.

    Where almost every expression has a tree of its own (zeros in data drop terms), their terms are read, not they.
    """
    items = list(items)
    reader = _Reader(column, variables)
    families, unread = reader.gathered(items)
    if len(families) > max(_FEW, _SHARE * len(items)):
        parts = [(row, term, k) for row, expression, factor in items for k, term in terms(expression, factor)]
        families, unread = reader.gathered(parts)
        if len(families) > max(_FEW, _SHARE * len(items)):
            return [], {row: "its formula is like no other's" for row, _, _ in items}
    closed = [members.closed(tree) for tree, members in families.items()]
    return [family.only(np.flatnonzero(~np.isin(family.rows, list(unread)))) for family in closed], unread


class _Reader:
    """One expression after another."""

    def __init__(self, column: dict[int, int], variables: list[Any] | None) -> None:
        self.column, self.variables = column, variables
        self._kinds: dict[type, str] = {}
        self.numbers: list[float] = []
        self.slots: dict[int, int] = {}
        self.leaves = 0

    def gathered(self, items: Iterable[tuple[int, Any, float]]) -> tuple[dict[Tree, _Members], dict[int, str]]:
        families: dict[Tree, _Members] = {}
        unread: dict[int, str] = {}
        for row, expression, factor in items:
            if row not in unread and (why := self._added(families, row, expression, factor)):
                unread[row] = why
        return families, unread

    def _added(self, families: dict[Tree, _Members], row: int, expression: Any, factor: float) -> str:
        """Put an expression into its family, of a long one each term; why not, where that cannot be."""
        self.numbers, self.slots, self.leaves = [], {}, 0
        try:
            tree = self._tree(expression)
        except _TooLong as why:
            parts = list(terms(expression, factor))
            wrong = (self._added(families, row, term, k) for k, term in parts)
            return next(filter(None, wrong), "") if len(parts) > 1 else str(why)
        except (_Unread, RecursionError) as why:
            return str(why) or "it is too deep"
        members = families.setdefault(tree, _Members())
        members.numbers.append(self.numbers)
        members.columns.append([self.column[key] for key in self.slots])
        members.rows.append(row)
        members.factors.append(factor)
        return ""

    def _tree(self, node: Any) -> Tree:
        kind = self._kinds.get(node.__class__) or self._kind(node)
        if kind == "#":
            return self._number(node)
        if kind == "v":
            return self._number(node.value) if node.fixed else self._variable(node)
        if kind == "c":
            return self._number(number_of(node))
        if kind == "named":
            return self._tree(node.args[0])
        if kind == "^":
            base, power = node.args
            if power.__class__ in native_numeric_types and float(power).is_integer() and power > 0:
                return ("^", int(power), self._tree(base))
            if next((v for v in variables_in(power) if not v.fixed), None) is not None:
                raise _Unread("a power that is decided")
            return ("^^", self._tree(base), self._tree(power))
        if kind == "f":
            name = node.getname()
            if name not in FUNCTIONS:
                raise _Unread(f"{name} is not known here")
            return ("f", name, self._tree(node.args[0]))
        return (kind, *map(self._tree, node.args))

    def _kind(self, node: Any) -> str:
        """What all nodes of its class are."""
        if node.__class__ in native_numeric_types:
            kind = "#"
        elif node.is_variable_type():
            kind = "v"
        elif not node.is_expression_type():
            kind = "c"
        elif node.is_named_expression_type():
            kind = "named"
        elif isinstance(node, nodes.NPV_Mixin):  # formulas of Params have classes of their own
            kind = "c"
        elif isinstance(node, (nodes.AbsExpression, nodes.ExternalFunctionExpression)):
            kind = ""
        else:
            kind = next((rule for base, rule in _RULES if isinstance(node, base)), "")
        if not kind:
            raise _Unread(f"{node.__class__.__name__} is not known here")
        self._kinds[node.__class__] = kind
        return kind

    def _number(self, number: Any) -> Tree:
        if number is None or not math.isfinite(number):
            raise _Unread(f"it holds {number}")
        self._count()
        self.numbers.append(float(number))
        return ("c", len(self.numbers) - 1)

    def _variable(self, var: Any) -> Tree:
        key = id(var)
        if key not in self.column:
            if self.variables is None:
                raise _Unread(f"{var.name} is not of this game")
            self.column[key] = len(self.variables)
            self.variables.append(var)
        self._count()
        return ("v", self.slots.setdefault(key, len(self.slots)))

    def _count(self) -> None:
        self.leaves += 1
        if self.leaves > _LONGEST:
            raise _TooLong("it is too long")
