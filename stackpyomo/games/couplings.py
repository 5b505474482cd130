"""Couplings: prices, which are multipliers of followers' rows, and rows that several followers feel together.

A *price* is a Var of the model that nobody chooses: it is the multiplier of one row of one follower, in the sign of
``plan.multipliers``, d(the follower's objective)/d(level of the row). Who has it in its cost takes it as given.

A *shared row* binds several followers at once: declared (a Constraint of the model, felt by every follower that moves
what is in it), or recognised, the same row written once per follower. Affine rows are the same up to a factor: their
coefficients are divided by the largest and compared to ``TOLERANCES.same_row``; others are compared node by node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyomo.environ as pyo
from pyomo.common.collections import ComponentMap
from pyomo.core.base.constraint import ConstraintData
from pyomo.core.base.var import VarData

from stackpyomo.core import TOLERANCES
from stackpyomo.core.expressions import affine_terms, apart, spelled, variables_in
from stackpyomo.errors import InvalidGame

from .players import Follower, Leader

#: id(action) → [(aggregate, rate)]: what one member's action moves beside itself.
Movers: TypeAlias = Mapping[int, Sequence[tuple[VarData, float]]]
_EXPECTED = "expected (Var, Constraint), or (Var, (Constraint, follower))."
_TURNED = {"lower": "upper", "upper": "lower", "equal": "equal"}


def moved_along(follower: Follower, movers: Movers, played: Mapping[int, Any]) -> dict[int, Any]:
    """id(what moves) → what it becomes once the follower plays this: id(action) → level, everybody else as planned."""
    moved: dict[int, Any] = {}
    for var in follower.variables:
        for other, rate in movers.get(id(var), ()):
            moved[id(other)] = moved.get(id(other), apart(other)) + rate * (played[id(var)] - apart(var))
    return moved


@dataclass(frozen=True)
class Price:
    """A Var that is the multiplier of one follower's row."""

    var: VarData
    follower: str
    row: ConstraintData
    said: bool = False  #: True if the follower was named: several may feel the row.


def priced_rows(given: Any, component: Callable[[str], Any], followers: Mapping[str, Follower]) -> list[Price]:
    """``prices=`` of a Game, read: (Var, row), (Var, (row, follower)), a mapping of these, or a list of them.

    component: name → component. Raises :class:`InvalidGame` naming a row that is no follower's, a Var that somebody
    decides, two prices of one row, two rows of one price.
    """
    owners = {id(v): f.name for f in followers.values() for v in f.declared}
    holders: dict[int, list[str]] = {}
    for follower in followers.values():
        for row in follower.rows:
            holders.setdefault(id(row), []).append(follower.name)
    blocks = {id(f.block): f.name for f in followers.values()}
    prices: list[Price] = []
    for var, row, follower in _price_pairs(given, component):
        name = follower if isinstance(follower, str) or follower is None else blocks.get(id(follower))
        prices.append(_price(var, row, name, holders.get(id(row), []), said=follower is not None))
        if id(var) in owners:
            raise InvalidGame(f"{var.name}: a price is nobody's decision, and {owners[id(var)]} owns this Var.")
    _require_single(prices)
    return prices


def _price_pairs(given: Any, component: Callable[[str], Any]) -> Iterator[tuple[VarData, ConstraintData, Any]]:
    """(Var, row, follower as it was named or None), index by index."""
    pairs = list(given.items()) if isinstance(given, (ComponentMap, Mapping)) else given
    if isinstance(pairs, tuple) and len(pairs) == 2 and getattr(pairs[0], "ctype", None) is pyo.Var:
        pairs = [pairs]
    for item in pairs:
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise InvalidGame(f"prices={getattr(item, 'name', item)}: {_EXPECTED}")
        target, follower = item[1] if isinstance(item[1], (tuple, list)) else (item[1], None)
        var, row = (component(part) if isinstance(part, str) else part for part in (item[0], target))
        if getattr(var, "ctype", None) is not pyo.Var or getattr(row, "ctype", None) is not pyo.Constraint:
            given_names = ", ".join(str(getattr(part, "name", part)) for part in (item[0], target))
            raise InvalidGame(f"prices=({given_names}): {_EXPECTED}")
        if var.is_indexed() != row.is_indexed() or (var.is_indexed() and not set(row.keys()) <= set(var.keys())):
            raise InvalidGame(f"prices: {var.name} and {row.name} have different indices; give one price for each row.")
        yield from ((var[key], row[key], follower) for key in row) if row.is_indexed() else ((var, row, follower),)


def _price(var: VarData, row: ConstraintData, name: str | None, holders: Sequence[str], *, said: bool) -> Price:
    if not holders or (said and name not in holders):
        whose = f"of {name}" if said and name is not None else "of a follower"
        raise InvalidGame(
            f"{row.name}: the price {var.name} needs a row {whose}, and this is not one. Name a Constraint on a "
            "follower's Block, or a shared row with whose multiplier is meant: (Var, (row, follower))."
        )
    if len(holders) > 1 and not said:
        raise InvalidGame(
            f"{row.name}: {', '.join(holders[:3])} feel this row, each with a multiplier; say whose {var.name} is, "
            f"e.g. prices=[({var.name}, ({row.name}, {holders[0]}))]."
        )
    if not row.active:
        raise InvalidGame(f"{row.name}: its price is {var.name}, and it is deactivated; activate it.")
    return Price(var, holders[0] if name is None else name, row, said)


def _require_single(prices: Sequence[Price]) -> None:
    rows: dict[tuple[str, int], Price] = {}
    variables: dict[int, Price] = {}
    for price in prices:
        twin = rows.setdefault((price.follower, id(price.row)), price)
        if twin is not price:
            raise InvalidGame(
                f"{price.row.name}: two prices, {twin.var.name} and {price.var.name}, for one row of "
                f"{price.follower}; keep one."
            )
        other = variables.setdefault(id(price.var), price)
        if other is not price:
            raise InvalidGame(
                f"{price.var.name}: the price of two rows, {other.row.name} and {price.row.name}; give each its own."
            )


def shared_constraints(given: Any, component: Callable[[str], Any], leader: Leader) -> list[ConstraintData]:
    """``shared=`` of a Game, read: Constraints of the model, indexed ones too, or their names."""
    items = [given] if isinstance(given, str) or hasattr(given, "ctype") else list(given)
    own = {id(row) for row in leader.rows}
    rows: dict[int, ConstraintData] = {}
    for item in items:
        constraint = component(item) if isinstance(item, str) else item
        if getattr(constraint, "ctype", None) is not pyo.Constraint:
            raise InvalidGame(f"shared={item}: expected a Constraint of the model, outside every follower's Block.")
        for row in constraint.values() if constraint.is_indexed() else (constraint,):
            if id(row) not in own:
                raise InvalidGame(
                    f"{row.name}: a shared row is a Constraint of the model outside every follower's Block; one that "
                    "is written once per follower is recognised by itself."
                )
            rows[id(row)] = row
    return list(rows.values())


def dealt(
    rows: Sequence[ConstraintData], leader: Leader, followers: Mapping[str, Follower], movers: Movers
) -> list[ConstraintData]:
    """Give every shared row to each follower that moves something in it, and take it from the leader.

    Those that nobody feels stay the leader's, and are returned.
    """
    feel = {id(v): [f.name] for f in followers.values() for v in f.variables}
    for action, moved in movers.items():
        for aggregate, rate in moved:
            if rate:
                feel.setdefault(id(aggregate), []).append(feel[action][0])
    unfelt: list[ConstraintData] = []
    for row in rows:
        names = dict.fromkeys(name for var in variables_in(row.expr) for name in feel.get(id(var), ()))
        for name in names:
            followers[name].rows.append(row)
        unfelt += [] if names else [row]
    given = {id(row) for row in rows} - {id(row) for row in unfelt}
    leader.rows[:] = [row for row in leader.rows if id(row) not in given]
    return unfelt


def require_felt(unfelt: Sequence[ConstraintData]) -> None:
    """Raise :class:`InvalidGame` for a shared row that nobody feels."""
    if unfelt:
        raise InvalidGame(
            f"{unfelt[0].name}: a shared row that no follower feels: none of its variables is a follower's, or an "
            "aggregate that one moves. Leave it out of shared=, and it is the leader's."
        )


@dataclass(frozen=True)
class Member:
    """One follower's side of a shared row: its body is ``factor`` times the first member's, but for a constant."""

    follower: str
    row: ConstraintData
    side: str  #: "lower", "upper" or "equal".
    factor: float = 1.0


@dataclass(frozen=True)
class SharedRow:
    """One side of a row that several followers feel: the first member's row stands for all.

    A follower that has it several times is a member as often.
    """

    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """The name of the row that stands for all."""
        return str(self.members[0].row.name)


def recognised(followers: Iterable[Follower], movers: Movers) -> list[SharedRow]:
    """The rows that two or more of these followers feel, declared or written once per follower, side by side."""
    candidates: dict[frozenset[int], list[tuple[str, ConstraintData]]] = {}
    patterns: dict[int, frozenset[int]] = {}
    for follower in followers:
        moved = {id(v) for v in follower.variables}
        moved |= {id(z) for key in tuple(moved) for z, _ in movers.get(key, ())}
        for row in follower.constraints:
            if id(row) not in patterns:
                patterns[id(row)] = frozenset(id(v) for v in variables_in(row.expr) if not v.fixed)
            if not moved.isdisjoint(patterns[id(row)]):
                candidates.setdefault(patterns[id(row)], []).append((follower.name, row))
    return [row for rows in candidates.values() if len({name for name, _ in rows}) > 1 for row in _grouped(rows)]


def _grouped(rows: Sequence[tuple[str, ConstraintData]]) -> Iterator[SharedRow]:
    """Rows of the same variables, sorted into those that say the same."""
    groups: list[tuple[_Side, list[Member]]] = []
    written: dict[int, list[_Side]] = {}
    for follower, row in rows:
        if id(row) not in written:
            written[id(row)] = list(_sides(row))
        for side in written[id(row)]:
            for first, members in groups:
                if side.is_same(first):
                    members.append(Member(follower, row, side.side, side.factor / first.factor))
                    break
            else:
                groups.append((side, [Member(follower, row, side.side)]))
    yield from (SharedRow(tuple(members)) for _, members in groups if len({m.follower for m in members}) > 1)


@dataclass(frozen=True)
class _Side:
    """One side of a row: factor · (coefficients · x) on the ``side`` of factor · level; or the text of its body."""

    row: ConstraintData
    side: str
    way: str  #: The side once divided by ``factor``.
    factor: float
    coefficients: Mapping[int, float]
    level: float
    text: str = ""

    def is_same(self, other: _Side) -> bool:
        if self.row is other.row:
            return self.side == other.side
        if self.way != other.way or self.text != other.text or self.coefficients.keys() != other.coefficients.keys():
            return False
        near = TOLERANCES.same_row
        alike = all(abs(c - other.coefficients[key]) <= near for key, c in self.coefficients.items())
        return alike and abs(self.level - other.level) <= near * max(1.0, abs(self.level))


def _sides(row: ConstraintData) -> Iterator[_Side]:
    lower, upper = row.lb, row.ub
    levels = [("equal", upper)] if row.equality else [("lower", lower), ("upper", upper)]
    known = affine_terms(row.body)
    factor, constant, text = 1.0, 0.0, ""
    coefficients: dict[int, float] = {}
    if known is not None:
        terms = sorted((id(v), c) for v, c in known[1])  # the order of what is equally large must not matter
        most = max((abs(c) for _, c in terms), default=0.0)
        near = (1.0 - TOLERANCES.same_row) * most
        factor = next((c for _, c in terms if abs(c) >= near and c), 1.0)
        coefficients, constant = {key: c / factor for key, c in terms}, known[0]
    else:
        text = " ".join(spelled(row.body, {}))
    for side, level in levels:
        if level is not None and math.isfinite(level):
            way = side if factor > 0.0 else _TURNED[side]
            yield _Side(row, side, way, factor, coefficients, (level - constant) / factor, text)
