"""Deviation rows written out: what stands in a master for "follower k does not gain by playing v".

    f(x, y) ≤ f(x, v)      or  g_j(x, v) > 0 for a row j of the follower that holds variables of others

v is a point; of the follower's affine equalities that hold others' variables one continuous action each follows them.
Aggregates move by the follower's share. The open alternative is written g_j ≥ margin: 0 is its closure, for a master
that relaxes; a positive margin restricts, so that what it finds are plans. Where g_j counts in steps (whole numbers
with rational coefficients), "> 0" is "≥ the first step", which is exact at any margin.

Where others only block actions (:mod:`.interdiction`), v gives way to them, and the row needs no alternative.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import pyomo.environ as pyo
from pyomo.contrib.fbbt.expression_bounds_walker import ExpressionBoundsVisitor

from stackpyomo.core import TOLERANCES, bounds_of, clipped, is_within
from stackpyomo.core.expressions import (
    Substitution,
    affine_terms,
    interval,
    number_of,
    sized,
    substituting,
    variables_in,
)
from stackpyomo.deviations import Deviation
from stackpyomo.games import Follower, Game, foreign, moved_along

from .choices import Choices, Written
from .interdiction import blocks
from .own_rows import OwnRows

_SMALL, _LARGE = 2.0**-5, 2.0**10  # Costs that can change by less, or by more, are written in another unit.
_DENOMINATOR = 10**6  # Coefficients whose fraction has a larger denominator count in no steps.


@dataclass
class Alternatives:
    """cost ≤ 0, or one of ``ways`` above 0; nothing at all (``void``) where one of them always is."""

    cost: Any
    #: (g, its first step above 0 or None, its size).
    ways: list[tuple[Any, float | None, float]] = field(default_factory=list)
    void: bool = False


class RowWriter:
    """Turns deviations into rows; what a deviation substitutes is worked out once."""

    def __init__(self, game: Game, followers: Sequence[Follower], worths: Mapping[str, Any] | None = None) -> None:
        """``worths``: follower → what stands for its cost in its rows; its cost where it is not named."""
        self.game, self._worths = game, worths or {}
        self.followers = {f.name: f for f in followers}
        self.movers = game.movers()
        self._choices = Choices(pyo.ConcreteModel(name="deviations"))
        self._known: dict[int, tuple[Deviation, Alternatives]] = {}
        self._written: dict[tuple[int, float, float], Written] = {}
        self._own: dict[str, OwnRows] = {}
        self.blocks = {f.name: blocks(f) for f in followers}
        self._bounds = ExpressionBoundsVisitor()
        self.units = {f.name: _unit(interval(f.cost, self._bounds)) for f in followers}

    def written(self, deviations: Sequence[Deviation], margin: float, unit: float = 1.0) -> Written:
        """The rows of these deviations at a margin; their costs times a unit."""
        whole = Written()
        for deviation in deviations:
            key = id(deviation), margin, unit
            if key not in self._written:
                row = self.alternatives(deviation)
                row = row if unit == 1.0 else replace(row, cost=unit * row.cost)
                self._written[key] = self._write(row, margin)
            whole.add(self._written[key])
        return whole

    def settled(self, deviations: Sequence[Deviation], margin: float, values: Mapping[int, float]) -> Iterator[Any]:
        """Of each row the alternative that holds at {id(Var): value}: for a solver without integers."""
        for deviation in deviations:
            row = self.alternatives(deviation)
            ways = [(g, margin * size if step is None else step) for g, step, size in row.ways]
            rooms = [value_at(g, values) - level for g, level in ways]
            if row.void:
                continue
            if not ways or value_at(row.cost, values) <= max(TOLERANCES.feasibility, -max(rooms)):
                yield row.cost <= 0
            else:
                g, level = ways[rooms.index(max(rooms))]
                yield g >= level

    def alternatives(self, deviation: Deviation) -> Alternatives:
        """What the deviation's row says, before a margin is chosen."""
        if id(deviation) not in self._known:
            self._known[id(deviation)] = (deviation, self._alternatives(deviation))
        return self._known[id(deviation)][1]

    def binds_others(self, follower: Follower) -> bool:
        """True if a row of the follower holds what others decide: which deviations there are depends on them."""
        moved = {id(z) for v in follower.variables for z, _ in self.movers.get(id(v), ())}
        return bool(foreign(follower, *follower.constraints).keys() - moved)

    def _own_rows(self, follower: Follower) -> OwnRows:
        if follower.name not in self._own:
            others = foreign(follower, *follower.constraints)
            own = [c for c in follower.constraints if not any(id(v) in others for v in variables_in(c.expr))]
            self._own[follower.name] = OwnRows.of(own)
        return self._own[follower.name]

    # --- substitution -------------------------------------------------------------------------------------------------

    def _alternatives(self, deviation: Deviation) -> Alternatives:
        follower = self.followers[deviation.follower]
        names = self.game.names
        table: dict[int, Any] = {}
        for var in follower.variables:
            level = clipped(float(deviation.action[names[id(var)]]), var)
            table[id(var)] = level if var.is_continuous() else float(round(level))
        # A solver's answer beyond bounds or rows by its tolerance would bar plans that nobody leaves.
        table.update(self._own_rows(follower).nearest(table))
        for key, block in self.blocks[follower.name].items():
            table[key] = block.yielding(table[key])
        table.update(moved_along(follower, self.movers, table))
        dependent = self._follow(follower, table)
        solved = {id(constraint) for _, constraint in dependent}
        walk = substituting(table)
        own = follower.cost
        row = Alternatives(self.units[follower.name] * (self._worths.get(follower.name, own) - walk(own)))
        for constraint in follower.constraints:
            if id(constraint) not in solved:
                self._add(row, walk(constraint.body), constraint.lb, constraint.ub, constraint.equality)
        for var, _ in dependent:
            self._add(row, table[id(var)], var.lb, var.ub, False)
        return row

    def _follow(self, follower: Follower, table: dict[int, Any]) -> list[tuple[Any, Any]]:
        """(action, equality): one continuous action an affine equality with others' variables follows these.

        It stands in no other such equality, so that each is solved by itself; of several the one farthest from its
        bounds, which has room to follow.
        """
        binding = [c for c in follower.constraints if c.equality and foreign(follower, c)]
        often = Counter(id(v) for c in binding for v in variables_in(c.expr))
        dependent: list[tuple[Any, Any]] = []
        for constraint in binding:
            terms = {id(v): slope for v, slope in (affine_terms(constraint.body) or (0.0, []))[1]}
            free = [v for v in follower.variables if v.is_continuous() and often[id(v)] == 1]
            free = [v for v in free if abs(terms.get(id(v), 0.0)) > TOLERANCES.noise and not self.movers.get(id(v))]
            if not free:
                continue
            var = max(free, key=lambda v: _room(v, table[id(v)]))
            rest = substituting({**table, id(var): 0.0})(constraint.body)
            table[id(var)] = (constraint.ub - rest) / terms[id(var)]
            dependent.append((var, constraint))
        return dependent

    def _add(self, row: Alternatives, body: Any, lower: Any, upper: Any, equality: bool) -> None:
        """The ways in which lower ≤ body ≤ upper can fail."""
        body = _plain(body)
        if not any(not v.fixed for v in variables_in(body)):
            row.void |= not is_within(*sized(body, lower, upper))
            return
        low, high = interval(body, self._bounds)
        for side, limit, far in ((1.0, upper, high), (-1.0, lower, -low)):
            size = max([abs(limit or 0.0), *(abs(end) for end in (low, high) if math.isfinite(end))])
            if limit is None or far - side * limit <= TOLERANCES.noise * size:
                continue  # it holds whatever the others do
            way = side * (body - limit)
            least, most = interval(way, self._bounds)
            step = _first_step(way)
            size = most - max(least, -most) if math.isfinite(most) else 1.0
            row.ways.append((way, step, max(size, TOLERANCES.noise) if math.isfinite(size) else 1.0))
            row.void |= (equality and step is None) or least > TOLERANCES.noise

    # --- writing ------------------------------------------------------------------------------------------------------

    def _write(self, row: Alternatives, margin: float) -> Written:
        """The alternatives, of which one at least holds; whole-number rows by constants of intervals."""
        if row.void:
            return Written()
        if not row.ways:
            return Written([row.cost <= 0])
        counted = all(step is not None for _, step, _ in row.ways)
        ways = [((row.cost,), max(interval(row.cost, self._bounds)[1], 0.0) if counted else math.inf)]
        for way, step, size in row.ways:
            level = margin * size if step is None else step
            most = math.inf if step is None else level - interval(way, self._bounds)[0]
            ways.append(((level - way,), most))
        return self._choices.one_of(ways)


def _unit(reach: tuple[float, float]) -> float:
    """What a cost is multiplied by that changes little, or much: a solver's tolerance is one of numbers near 1."""
    size = (reach[1] - reach[0]) / 2.0
    return 1.0 if _SMALL <= size <= _LARGE or not 0.0 < size < math.inf else 2.0 ** -math.floor(math.log2(size))


def _room(var: Any, level: Any) -> float:
    """How far from its bounds a variable is."""
    (low, high), at = bounds_of(var), number_of(level)
    return min(at - low, high - at)


def _plain(body: Any) -> Any:
    """An affine expression with like terms collected: 1 (1 − x) + x is 1."""
    known = affine_terms(body)
    return body if known is None else sum((c * v for v, c in known[1] if abs(c) > TOLERANCES.determined), known[0])


def value_at(expression: Any, values: Mapping[int, float]) -> float:
    """The expression at {id(Var): value}."""
    table = {id(v): values.get(id(v), v.value) for v in variables_in(expression) if not v.fixed}
    return number_of(Substitution(substitute=table).walk_expression(expression))


def _first_step(way: Any) -> float | None:
    """The least value above 0 that an affine expression of whole numbers can have; None where it counts in no steps."""
    level, terms = affine_terms(way) or (0.0, [])
    if not terms or any(v.is_continuous() for v, _ in terms):
        return None
    numbers = [level, *(slope for _, slope in terms)]
    constant, *coefficients = (Fraction(number).limit_denominator(_DENOMINATOR) for number in numbers)
    near = zip((constant, *coefficients), numbers, strict=True)
    if any(abs(float(part) - number) > TOLERANCES.determined * max(1.0, abs(number)) for part, number in near):
        return None
    unit = math.lcm(*(c.denominator for c in coefficients))
    step = Fraction(math.gcd(*(int(c * unit) for c in coefficients)), unit)
    rest = constant % step if step else None
    return None if rest is None else float(rest or step)
