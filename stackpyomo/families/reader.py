"""Reading: an expression is a tree with places for its numbers and its Vars; expressions of one tree are a family.

    (u − 1)² · c_i + t · u   →   ("+", ("*", ("^", 2, ("+", ("v", 0), ("c", 0))), ("c", 1)), ("*", ("v", 1), ("v", 0)))

with numbers (−1, c_i) and Vars (u, t) of member i. Params and fixed Vars are numbers. Vars are numbered by their first
appearance, so that equal trees have equal Vars in equal places.

Nobody is read alone: the nodes that stand in one place of all expressions are a column, and a column whose nodes differ
(another operator, number of arguments, whole power) parts the expressions into groups that are read on by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter, methodcaller
from typing import Any, TypeAlias

import numpy as np
import pyomo.core.expr.numeric_expr as nodes
from pyomo.common.numeric_types import native_numeric_types

from stackpyomo.core import Array
from stackpyomo.core.expressions import number_of, terms, variables_in

Tree: TypeAlias = tuple[Any, ...]

Item: TypeAlias = tuple[int, Any, float]

Token: TypeAlias = tuple[str, Any, int]  #: What stands at a node: (kind, what else it says, number of arguments).
FUNCTIONS = ("exp", "log", "sqrt", "sin", "cos", "tanh")  #: Functions that are understood, by Pyomo's name.

# Numbers and Vars of one expression, beyond which its terms are read, and none of these is a member of a family.
_LONGEST = 500

_DEEPEST = 200  # Levels of a tree, beyond which going through it would end Python's stack.

# Families that are worth their arrays: so many, or this share of the expressions; beyond, terms are read instead.
_FEW, _SHARE = 30, 0.05

_TOGETHER = 10_000  # Expressions that are read at a time: what they hold stays near the processor.

_RULES = (
    (nodes.SumExpression, "+"),
    (nodes.LinearExpression, "+"),
    (nodes.ProductExpression, "*"),
    (nodes.DivisionExpression, "/"),
    (nodes.NegationExpression, "-"),
    (nodes.PowExpression, "^"),
    (nodes.UnaryFunctionExpression, "f"),
)
_INNER = ("named", *"+*/-^f")  # Kinds of nodes that have arguments.
_VALUES: dict[str, Callable[[Any], Any]] = {"#": float, "c": number_of, "v": attrgetter("value")}


def _whole(node: Any) -> int:
    """The power, where it is a whole number above 0; else 0."""
    power = node.args[1]
    return int(power) if power.__class__ in native_numeric_types and power > 0 and float(power).is_integer() else 0


_DETAILS: dict[str, Callable[[Any], Any]] = {
    "v": attrgetter("fixed"),
    "f": methodcaller("getname"),
    "^": _whole,
}  # What nodes of one kind differ by, beside the number of their arguments.


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


def gathered(
    items: Iterable[Item], column: dict[int, int], variables: list[Any] | None = None
) -> tuple[list[Family], dict[int, str]]:
    """(families, row → why it is in none) of (row, expression, factor); column: id(Var) → its column.

    variables: where given, Vars without a column get the next one, and are added to these.

    Where almost every expression has a tree of its own (zeros in data drop terms), their terms are read, not they.
    """
    items = list(items)
    most = max(_FEW, _SHARE * len(items))
    reader = _Reader(items, column, variables)
    if not reader.read(most):
        parts = [(row, term, k) for row, expression, factor in items for k, term in terms(expression, factor)]
        reader = _Reader(parts, column, variables)
        if not reader.read(most):
            return [], {row: "its formula is like no other's" for row, _, _ in items}
    return reader.families(), reader.unread


@dataclass
class _Group:
    """Expressions that are alike as far as they have been read."""

    members: Array  #: Numbers of the items.
    pending: list[Sequence[Any]]  #: Columns that are still to be read, the next one last.
    tokens: list[Token] = field(default_factory=list)  #: The tree in Polish notation.
    numbers: list[Sequence[Any]] = field(default_factory=list)
    places: list[Sequence[Any]] = field(default_factory=list)  #: The columns of its Vars, place by place.

    @property
    def leaves(self) -> int:
        """Numbers and Vars of each member, at least."""
        return len(self.pending) + len(self.numbers) + len(self.places)

    def parts(self, labels: Iterable[Hashable]) -> Iterator[tuple[Any, _Group]]:
        """(label, the members of that label), in the order of their appearance."""
        where: dict[Hashable, list[int]] = {}
        for number, label in enumerate(labels):
            where.setdefault(label, []).append(number)
        for label, chosen in where.items():
            some: list[list[Sequence[Any]]] = [
                [[column[i] for i in chosen] for column in part] for part in (self.pending, self.numbers, self.places)
            ]
            yield label, _Group(self.members[chosen], some[0], list(self.tokens), *some[1:])

    def tree(self, slots: Sequence[int]) -> tuple[Tree, int]:
        """(the tree with these numbers of Vars in its places, its depth)."""
        done: list[tuple[Tree, int]] = []
        number, place = len(self.numbers), len(slots)
        for kind, detail, count in reversed(self.tokens):
            below = [done.pop() for _ in range(count)]
            if kind == "c":
                number -= 1
                leaf: Tree = (number,)
            elif kind == "v":
                place -= 1
                leaf = (slots[place],)
            else:
                leaf = (detail,) if kind in ("f", "^") else ()
            done.append(
                ((kind, *leaf, *(tree for tree, _ in below)), 1 + max((depth for _, depth in below), default=0))
            )
        return done[0]


class _Reader:
    """All expressions, column by column."""

    def __init__(self, items: Sequence[Item], column: dict[int, int], variables: list[Any] | None) -> None:
        self.items, self.column, self.variables = list(items), column, variables
        self.unread: dict[int, str] = {}
        self._kinds: dict[type, str] = {}
        self._trees: dict[Tree, list[tuple[Array, Array, Array]]] = {}
        #: tree → (numbers of the items, numbers, columns) of every group that has it.
        self._groups: list[_Group] = []

    def read(self, most: float) -> bool:
        """False where they have more than ``most`` trees."""
        first = 0
        while first < len(self.items):  # the terms of what is too long are added behind
            chosen = np.arange(first, min(first + _TOGETHER, len(self.items)))
            first += len(chosen)
            self._groups = [_Group(chosen, [[self.items[i][1] for i in chosen]])]
            while self._groups:
                self._go_on(self._groups.pop())
                if len(self._trees) > most:
                    return False
        return True

    def families(self) -> list[Family]:
        """What has been read, by first appearance, without the rows of which a part is not understood."""
        families = []
        rows = np.array([row for row, _, _ in self.items], dtype=np.int64)
        factors = np.array([factor for _, _, factor in self.items], dtype=float)
        for tree, parts in self._trees.items():
            members, numbers, columns = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
            order = np.argsort(members)
            order = order[~np.isin(rows[members[order]], list(self.unread))]
            family = Family(tree, numbers, columns, rows[members], factors[members])
            families.append((int(members.min()), family.only(order)))
        return [family for _, family in sorted(families, key=itemgetter(0))]

    def _go_on(self, group: _Group) -> None:
        """Read a group to its end, or until it falls into parts."""
        while group.pending:
            if group.leaves > _LONGEST:
                self._by_terms(group)
                return
            column = group.pending[-1]
            samples = dict(zip(map(type, column), column, strict=True))
            kinds = {kind: self._kinds.get(kind) or self._kind(node) for kind, node in samples.items()}
            kind, *others = set(kinds.values())
            labels: Sequence[Hashable] = [kinds[node.__class__] for node in column] if others else ()
            arguments = [node.args for node in column] if kind in _INNER and not others else []
            if kind in _DETAILS and not others:
                labels = list(map(_DETAILS[kind], column))
            elif arguments:
                labels = list(map(len, arguments))
            if len(set(labels)) > 1:
                self._groups += [part for _, part in group.parts(labels)]
                return
            if not self._is_taken(group, kind, labels[0] if labels else None, arguments):
                return
        self._close(group)

    def _is_taken(self, group: _Group, kind: str, detail: Any, arguments: list[Any]) -> bool:
        """Take the next column, of one kind and detail; False where some of its members cannot be read."""
        column = group.pending[-1]
        if kind in ("#", "c") or (kind == "v" and detail):
            return self._takes_numbers(group, [_VALUES[kind](node) for node in column])
        if kind == "v":
            return self._takes_variables(group)
        if kind not in _INNER or (kind == "f" and detail not in FUNCTIONS):
            self._refuse(group, f"{detail if kind == 'f' else kind} is not known here")
            return False
        if kind == "^" and not detail:
            decided = [any(not v.fixed for v in variables_in(power)) for _, power in arguments]
            if any(decided):
                self._drop(group, ["a power that is decided" if wrong else "" for wrong in decided])
                return False
            kind = "^^"
        group.pending.pop()
        columns = list(zip(*arguments, strict=True))[: 1 if kind == "^" else None]
        if kind != "named":
            group.tokens.append((kind, detail, len(columns)))
        group.pending.extend(reversed(columns))
        return True

    def _kind(self, node: Any) -> str:
        """What all nodes of its class are; of those that are not understood the name of the class."""
        kind: str = node.__class__.__name__
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
        elif not isinstance(node, (nodes.AbsExpression, nodes.ExternalFunctionExpression)):
            kind = next((rule for base, rule in _RULES if isinstance(node, base)), kind)
        self._kinds[node.__class__] = kind
        return kind

    def _takes_numbers(self, group: _Group, numbers: Sequence[float | None]) -> bool:
        known = np.array(numbers, dtype=float)  # None is nan
        if not np.isfinite(known).all():
            finite = np.isfinite(known).tolist()
            self._drop(group, ["" if fine else f"it holds {n}" for n, fine in zip(numbers, finite, strict=True)])
            return False
        group.pending.pop()
        group.tokens.append(("c", None, 0))
        group.numbers.append(known.tolist())
        return True

    def _takes_variables(self, group: _Group) -> bool:
        places = [self.column.get(id(var), -1) for var in group.pending[-1]]
        if min(places) < 0 and self.variables is not None:
            for var in group.pending[-1]:
                if self.column.setdefault(id(var), len(self.variables)) == len(self.variables):
                    self.variables.append(var)
            places = [self.column[id(var)] for var in group.pending[-1]]
        if min(places) < 0:
            named = zip(group.pending[-1], places, strict=True)
            self._drop(group, ["" if place >= 0 else f"{var.name} is not of this game" for var, place in named])
            return False
        group.pending.pop()
        group.tokens.append(("v", None, 0))
        group.places.append(places)
        return True

    def _refuse(self, group: _Group, why: str) -> None:
        self.unread.update((self.items[i][0], why) for i in group.members)

    def _drop(self, group: _Group, reasons: Sequence[str]) -> None:
        """Refuse the members that have a reason, and go on with the others."""
        for why, part in group.parts(reasons):
            if why:
                self._refuse(part, why)
            else:
                self._groups.append(part)

    def _by_terms(self, group: _Group) -> None:
        """Add the terms of what is too long behind the items."""
        for row, expression, factor in [self.items[i] for i in group.members]:
            parts = [(row, term, k) for k, term in terms(expression, factor)]
            if len(parts) > 1:
                self.items += parts
            else:
                self.unread[row] = "it is too long"

    def _close(self, group: _Group) -> None:
        """Number the Vars of each member by their first appearance, and put those who agree into one family."""
        places = np.array(group.places, dtype=np.int64).reshape(-1, len(group.members))
        firsts = _firsts(places)
        alike = [np.arange(len(group.members))] if (firsts == firsts[:, :1]).all() else []
        if not alike:
            _, pattern = np.unique(firsts, axis=1, return_inverse=True)
            alike = [np.flatnonzero(pattern.ravel() == number) for number in range(pattern.max() + 1)]
        numbers = np.array(group.numbers, dtype=float).reshape(-1, len(group.members))
        for chosen in alike:
            some = slice(None) if len(chosen) == len(group.members) else chosen
            first = firsts[:, chosen[0]]
            slots, where = np.unique(first, return_inverse=True)
            tree, depth = group.tree(where.ravel().tolist())
            members = group.members[some]
            if depth > _DEEPEST:
                self.unread.update((self.items[i][0], "it is too deep") for i in members)
            else:
                self._trees.setdefault(tree, []).append((members, numbers[:, some], places[slots][:, some]))


def _firsts(places: Array) -> Array:
    """(places × members) the first place that has the same column."""
    order = np.argsort(places, axis=0, kind="stable")
    ranked = np.take_along_axis(places, order, 0)
    rank = np.broadcast_to(np.arange(len(places))[:, None], places.shape).copy()
    rank[1:][ranked[1:] == ranked[:-1]] = 0
    firsts = np.empty_like(places)
    np.put_along_axis(firsts, order, np.take_along_axis(order, np.maximum.accumulate(rank, axis=0), 0), 0)
    return firsts
