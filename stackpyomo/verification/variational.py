"""Variational equilibria, verified: one convex program over everybody's rows together, without a multiplier.

    gap = max_{z ∈ X} F_r(u)·(u − z) ≥ 0,    F_r = (r_k ∇_{u_k} J_k(u))_k,    X = all rows and bounds together,

is 0 if and only if u is the variational equilibrium of weights r. F_r is the gradient of the followers' composed costs,
each over actions of its own with aggregates moved by its share. A population counts as many times as it has members,
and in X an aggregate is moved by all of them.

Prices, verified: a market re-solved with its priced rows taken out and paid for, without an optimality condition.

    gap_k = J_k(plan) − min {J_k(v) − Σ_c λ_c (body_c(v) − level_c) : the other rows of k} ≥ 0        (costs)

By weak duality λ are multipliers of the rows c of a convex follower if and only if the gap is 0, a sign that does not
fit the row apart. Of a market with integer actions the same number is the *uplift*: what has to be paid beside the
price, because no price clears it (R. P. O'Neill et al., EJOR 164 (2005) 269–285).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.constraint import ConstraintData
from pyomo.core.base.var import VarData

from stackpyomo.core import TOLERANCES, entries_in
from stackpyomo.core.expressions import apart, is_convex_problem, substituting, terms, variables_in
from stackpyomo.families import MANY
from stackpyomo.games import Follower, Game, Price, SharedRow
from stackpyomo.games.information import Announcement
from stackpyomo.solvers import BadRow, Program, free_row, natural_size, solve

from .arrays import Layout, grouped
from .best_response import Composed, composed, stand_in
from .effort import Unsettled
from .report import PriceCheck, Report


@dataclass(frozen=True)
class Gap:
    """max F_r(u)·(u − z) over the joint set."""

    value: float  #: What a point of the joint set shows of it.
    bound: float  #: Proved: it is no larger; infinite without a proof.


def variational_gap(
    game: Game, announced: Announcement, names: Collection[str], weights: Mapping[str, float], shared: list[SharedRow]
) -> Gap:
    """The gap of these followers' actions, everybody else's as announced; inside ``undisturbed()``.

    shared: rows that are the same for several: they are written once.
    """
    joint = _Joint(game, announced, names, weights)
    try:
        program = Program(joint.value(), list(joint.rows(shared)))
    except BadRow:
        return Gap(math.nan, math.inf)
    u = np.array([joint.target[id(v)] for v in program.variables])
    linear = program.is_linear
    solution = solve(program, "highs" if linear else "auto")
    if solution.x is None or solution.duals is None or not solution.termination.solved:
        return Gap(math.nan, math.inf)
    value = float(program.problem.objective(u) - program.problem.objective(solution.x))
    convex = linear or is_convex_problem(program.model.objective.expr, program.model.rows.values())
    bound = program.proved_gap(u, solution.duals, TOLERANCES.trust) if convex else math.inf
    return Gap(max(value, 0.0), bound)


class _Joint:
    """The joint set of these followers, in copies of their actions and of the aggregates that they move."""

    def __init__(
        self, game: Game, announced: Announcement, names: Collection[str], weights: Mapping[str, float]
    ) -> None:
        self.game, self.values, self.names = game, announced.values, set(names)
        self.holder = pyo.ConcreteModel(name="joint")
        actions = [v for f in game.followers.values() if f.name in self.names for v in f.variables]
        responses = game.responses()
        self.holder.action = pyo.Var(range(len(actions)))
        self.holder.aggregate = pyo.Var(range(len(responses.variables)))
        copies = [*self.holder.action.values(), *self.holder.aggregate.values()]
        self.copies = dict(zip([id(v) for v in (*actions, *responses.variables)], copies, strict=True))
        self.target: dict[int, float] = {}
        for var, copy in zip((*actions, *responses.variables), copies, strict=True):
            level = announced.values[game.names[id(var)]]
            copy.set_value(level, skip_validation=True)
            self.target[id(copy)] = level
        for var in actions:
            self.copies[id(var)].setlb(var.lb)
            self.copies[id(var)].setub(var.ub)
        self.slopes = dict(self._slopes(announced, weights))

    def _slopes(self, announced: Announcement, weights: Mapping[str, float]) -> Iterator[tuple[int, float]]:
        """(id(action), r_k · size_k · its slope of J_k)."""
        known = _read_slopes(self.game, announced, self.names)
        known |= _composed_slopes(self.game, announced, self.names - known.keys())
        for name, slopes in known.items():
            follower = self.game.followers[name]
            for action, slope in zip(follower.variables, slopes, strict=True):
                yield id(action), weights.get(name, 1.0) * follower.size * slope

    def value(self) -> Any:
        """F_r(u)·z."""
        return sum(slope * self.copies[key] for key, slope in self.slopes.items())

    def rows(self, shared: list[SharedRow]) -> Iterator[Any]:
        """Everybody's rows, each once, and what the aggregates are."""
        table: dict[int, Any] = {
            id(v): self.values[name] for name, v in self.game.variables_by_name.items() if not v.fixed
        }
        seen = {(m.follower, id(m.row), m.side) for row in shared for m in row.members[1:]}
        feeling = self._feeling(shared)
        standing = {**table, **self.copies}
        walk = substituting(standing)
        done: set[int] = set()
        for follower in (f for f in self.game.followers.values() if f.name in self.names):
            for row in follower.constraints:
                sides = {"equal"} if row.equality else {s for s in ("lower", "upper") if getattr(row, s) is not None}
                repeated = all((follower.name, id(row), side) in seen for side in sides)
                if id(row) in done or repeated:
                    continue
                done.add(id(row))
                still = self._still(row, feeling.get((follower.name, id(row)), {follower.name}))
                standing.update((key, table[key]) for key in still)
                yield free_row(walk(row.body), row.lb, row.ub)
                standing.update((key, self.copies[key]) for key in still)
        yield from self._aggregates()

    @staticmethod
    def _feeling(shared: list[SharedRow]) -> dict[tuple[str, int], set[str]]:
        """(follower, id(row)) → who feels that row, if it is a shared one: the others stay where they are in it."""
        feeling: dict[tuple[str, int], set[str]] = {}
        for row in shared:
            names = {member.follower for member in row.members}
            for member in row.members:
                key = member.follower, id(member.row)
                feeling[key] = names if feeling.get(key, names) <= names else feeling[key] | names
        return feeling

    def _still(self, row: ConstraintData, feel: Collection[str]) -> set[int]:
        """id of the actions in a row that are of followers who do not feel it."""
        owners = self.game.owners
        keys = {id(v) for v in variables_in(row.body)} & self.copies.keys()
        return {key for key in keys if key in owners and owners[key] not in feel}

    def _aggregates(self) -> Iterator[Any]:
        responses, actions = self.game.responses(), self.game.actions
        for number, var in enumerate(responses.variables):
            copy = self.copies[id(var)]
            moved: Any = copy - self.target[id(copy)]
            for column, share in entries_in(responses.shares, number):
                action = self.copies.get(id(actions[column]))
                if action is not None:
                    moved = moved - share * (action - self.target[id(action)])
            yield free_row(moved, 0.0, 0.0)


def _read_slopes(game: Game, announced: Announcement, names: Collection[str]) -> dict[str, list[float]]:
    """follower → ∇J_k at the plan, of many whom arrays read; :func:`.settled` has them witnessed."""
    layout = Layout(game, announced) if len(names) >= MANY else None
    if layout is None or not layout.is_plain:
        return {}
    slopes: dict[str, list[float]] = {}
    for _, pieces in grouped(layout, names):
        with np.errstate(all="ignore"):
            steep = pieces.at(np.zeros((len(pieces.owner), pieces.count)), 1)[1][pieces.home, 0]
        for number, (follower, own) in enumerate(zip(pieces.followers, steep.tolist(), strict=True)):
            if number not in pieces.unread and np.isfinite(own).all():
                slopes[follower.name] = own
    return slopes


def _composed_slopes(game: Game, announced: Announcement, names: Collection[str]) -> dict[str, list[float]]:
    """The same of those who are composed by substitution."""
    problems = list(composed(game, announced, names))
    if not problems:
        return {}
    program = Program(sum(p.cost for p in problems))
    place = {id(v): i for i, v in enumerate(program.variables)}
    point = np.array([v.value for v in program.variables])
    for problem in problems:
        for copy, level in zip(problem.variables, problem.target, strict=True):
            if id(copy) in place:
                point[place[id(copy)]] = level
    slopes = np.asarray(program.problem.gradient(point))
    return {
        p.follower.name: [float(slopes[place[id(v)]]) if id(v) in place else 0.0 for v in p.variables] for p in problems
    }


def lagrangians(game: Game, announced: Announcement, wanted: Container[str]) -> dict[str, Composed]:
    """follower → its problem with the priced rows paid for; a price of the wrong sign pays nothing here."""
    by_follower: dict[str, list[Price]] = {}
    for price in game.prices:
        if price.follower in wanted:
            by_follower.setdefault(price.follower, []).append(price)
    return {name: stand_in(game, announced, _paid(game, announced, prices)) for name, prices in by_follower.items()}


def _paid(game: Game, announced: Announcement, prices: list[Price]) -> Follower:
    """The follower without these rows, J − Σ λ (body − level) in its own sense its objective."""
    follower = game.followers[prices[0].follower]
    assert follower.objective is not None
    value: Any = apart(follower.objective.expr)
    for price in prices:
        level = _level(price, follower, announced.values[game.names[id(price.var)]])
        if level is not None:
            value = value - announced.values[game.names[id(price.var)]] * (price.row.body - level)
    gone = {id(price.row) for price in prices}
    rows = [row for row in follower.rows if id(row) not in gone]
    objective = pyo.Objective(expr=_without_rounding(value, rows), sense=follower.objective.sense)
    objective.construct()
    return Follower(follower.name, follower.declared, [objective], rows, block=follower.block, size=follower.size)


def _without_rounding(value: Any, rows: Collection[ConstraintData]) -> Any:
    """The cost without actions that a price just pays, so that their terms cancel but for rounding.

    Where no row holds them, nor another term, a solver would go as far with what is left as it can.
    """
    paid: dict[int, list[float]] = {}
    felt = {id(v) for row in rows for v in variables_in(row.body)}
    for factor, term in terms(value):
        if isinstance(term, VarData):
            paid.setdefault(id(term), []).append(factor)
        else:
            felt |= {id(v) for v in variables_in(term)}
    sums = {key: (abs(math.fsum(parts)), math.fsum(map(abs, parts))) for key, parts in paid.items() if key not in felt}
    none = {key: 0.0 for key, (left, size) in sums.items() if left <= TOLERANCES.rounding * size}
    return substituting(none)(value) if none else value


def _level(price: Price, follower: Follower, number: float) -> float | None:
    """The side of the row that a price of this sign belongs to; None where there is none."""
    if price.row.equality:
        return float(price.row.ub)
    side = price.row.lb if follower.sign * number > 0.0 else price.row.ub
    return None if side is None else float(side)


def price_checks(
    game: Game, announced: Announcement, resolved: Mapping[str, Composed], plain: Report
) -> dict[str, PriceCheck]:
    """price → what was shown of it; resolved: the :func:`lagrangians` re-solved, plain: of the followers themselves."""
    checks = {}
    for price in game.prices:
        if price.follower not in resolved or price.follower not in plain.regret:
            continue
        follower, paid = game.followers[price.follower], resolved[price.follower]
        cost, scale = follower.sign * float(plain.objective[follower.name]), float(plain.scale[follower.name])
        name = game.names[id(price.var)]
        number = announced.values[name]
        unbounded = paid.unsettled in (Unsettled.UNBOUNDED, Unsettled.UNCONFIRMED)
        known = paid.certificate != "unknown" and math.isfinite(cost)
        gap = max(0.0, cost - paid.best_cost) if known else math.inf if unbounded else math.nan
        levels = {id(v): announced.values[game.names[id(v)]] for v in variables_in(price.row.body)}
        paid_most = abs(number) * natural_size(price.row.body, levels)
        if _level(price, follower, number) is None and paid_most > TOLERANCES.accuracy * scale:
            gap = math.inf
        checks[name] = PriceCheck(follower.name, gap, scale, paid.certificate, bool(follower.integers))
    return checks
