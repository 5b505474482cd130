"""Inducibility: whether ANY announced strategy, affine or not, can make the plan a follower's best response.

A strategy may answer a deviation v with the worst the leader can do, so follower k can be held iff

    J_k(plan) ≤ min_v max_{u0 ∈ U0} J_k(u0, v),      v feasible for it, U0 the leader's bounds and own constraints

(compact sets, others at the plan; punishments are looked for within ``TOLERANCES.reach``, then ``trust``, of the plan
where the leader has no bounds). The right-hand side is its security level. One v whose worst case is proved to be
better than the plan shows that nothing can hold it; a finite set of punishments under which no v is better shows the
opposite.

Two kinds of punishments are not looked for: other values of the leader's integer variables, and those that forbid v by
a row of the follower that holds a leader variable. Where there are such, nothing is called impossible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyomo.environ as pyo

from stackpyomo.core import TOLERANCES, listed, tracked, triplets, undisturbed
from stackpyomo.core.expressions import (
    Substitution,
    is_affine,
    is_convex_problem,
    number_of,
    substituting,
    variables_in,
)
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game, require
from stackpyomo.plans import Plan
from stackpyomo.solvers import BadRow, Program, free_row, natural_size, registry, rows_at, solve

_PUNISHMENTS = 30  # Punishments tried for one follower before it stays undecided.
_SECONDS = 5.0  # For a global solver's bound on one punishment.
_Verdict: TypeAlias = tuple[str, float, float, float, float, str]  # A row of the table.


def inducible(plan: Plan, *, solver: str = "auto") -> pd.DataFrame:
    """Whether some strategy, of whatever form, makes each follower want the plan.

    A follower can be punished down to its security level min_v max_{u0} J_k, and no further.

    Parameters
    ----------
    plan : Plan
        With its game.
    solver : str, default "auto"
        A name of :mod:`stackpyomo.solvers.registry`.

    Returns
    -------
    DataFrame
        A row for each follower: ``verdict`` ("possible", "impossible" or "undecided"); ``objective`` at the plan;
        ``security``, what the search came to for the security level; ``at_least`` and ``at_most``, what is proved of
        that level (NaN: nothing); ``evidence``, what was proved. Numbers are in the sense and unit of its objective.

    Raises
    ------
    InvalidGame
        What is given is no plan, or a plan without its game.
    """
    if not isinstance(plan, Plan):
        raise InvalidGame(f"inducible({type(plan).__name__}): expected a Plan.")
    game = plan.attached()
    with undisturbed():
        require(game, leader_objective=False)
        rows = []
        with tracked("looking for punishments", len(game.followers)) as step:
            for follower in game.followers.values():
                rows.append(_settled(game, plan, follower, solver))
                step()
    columns = ["verdict", "objective", "security", "at_least", "at_most", "evidence"]  # a narrow display cuts the rest
    return pd.DataFrame(rows, index=list(game.followers), columns=columns)


def _settled(game: Game, plan: Plan, follower: Follower, solver: str) -> _Verdict:
    """Punishments near the plan first: far away many functions have no finite value."""
    near = _MinMaxTest(game, plan, follower, solver, TOLERANCES.reach).run()
    return near if near[0] != "undecided" else _MinMaxTest(game, plan, follower, solver, TOLERANCES.trust).run()


@dataclass
class _Move:
    """An optimum of one side and whether it is proved to be one."""

    values: list[float]
    level: float
    proved: bool


class _MinMaxTest:
    """One follower against the leader: the follower picks v, then the leader u0."""

    def __init__(self, game: Game, plan: Plan, follower: Follower, solver: str, reach: float) -> None:
        self.follower, self.solver = follower, solver
        self.model = pyo.ConcreteModel(name="min_max")
        instruments, rows, self.unseen = _punishments(game, follower)
        values = {id(v): plan.values[name] for name, v in game.variables_by_name.items() if not v.fixed}
        self.own = self._copies("own", follower.variables, values)
        self.instruments = self._copies("instrument", list(instruments.values()), values)
        table = dict(values)
        table.update(zip(map(id, follower.variables), self.own, strict=True))
        table.update(zip(instruments, self.instruments, strict=True))
        responses = game.responses()
        for row, col, rate in triplets(responses.leads):
            aggregate, driver = id(responses.variables[row]), id(responses.drivers[col])
            table[aggregate] = table[aggregate] + rate * (table[driver] - values[driver])
        for var, copy in zip(follower.variables, self.own, strict=True):
            for moved, rate in game.movers().get(id(var), ()):
                table[id(moved)] = table[id(moved)] + rate * (copy - values[id(var)])
        cost = substituting(table)(follower.cost)
        self.plan_cost = number_of(cost)
        levels = {id(v): float(v.value) for v in (*self.own, *self.instruments)}
        self.cost = cost - self.plan_cost  #: What it loses beside the plan: a constant is in nobody's way.
        self.room = TOLERANCES.feasibility * natural_size(self.cost, levels) + TOLERANCES.rounding * abs(self.plan_cost)
        self.far_bounds = [_far_bounds(copy, reach) for copy in self.instruments]
        mine = {id(v) for v in self.own}
        own = rows_at(follower.constraints, table)
        self.own_rows = [row for row in own if any(id(v) in mine for v in variables_in(row.body))]
        self.leader_rows = rows_at(rows, table)
        self.low, self.high = -math.inf, math.inf  #: What is proved of its security level, beside the plan.

    def _copies(self, name: str, variables: Sequence[Any], values: dict[int, float]) -> list[Any]:
        copies = pyo.Var(range(len(variables)))
        self.model.add_component(name, copies)
        for var, copy in zip(variables, copies.values(), strict=True):
            copy.domain = pyo.Reals if var.is_continuous() else var.domain
            copy.setlb(var.lb)
            copy.setub(var.ub)
            copy.set_value(values[id(var)], skip_validation=True)
        return list(copies.values())

    def run(self) -> _Verdict:
        """The follower minimises, the leader maximises, in turn, until "possible" or "impossible" is proved."""
        if not math.isfinite(self.plan_cost):
            return self._row("undecided", math.nan, "its objective has no finite value at the plan")
        punishments = [[float(pyo.value(v)) for v in self.instruments]]
        security = math.nan
        for _ in range(_PUNISHMENTS):
            deviation = self._deviation(punishments)
            if deviation is None:
                break
            if deviation.proved and not self.unseen:  # against some of the leader's punishments: no less against all
                self.low = max(self.low, deviation.level)
            if deviation.proved and deviation.level >= -self.room:
                many = f"{len(punishments)} punishment{'s' if len(punishments) > 1 else ''}"
                return self._row("possible", deviation.level, f"no deviation is better against {many}")
            punishment = self._punishment(deviation.values)
            if punishment is None:
                break
            security = punishment.level if math.isnan(security) else min(security, punishment.level)
            if punishment.proved and not self.unseen:  # the worst at one deviation: the best deviation is no worse
                self.high = min(self.high, punishment.level)
            if punishment.proved and punishment.level < -self.room:
                return self._refuted(deviation, punishment)
            if punishment.values in punishments:
                break
            punishments.append(punishment.values)
        return self._row("undecided", security, f"nothing proved with {len(punishments)} punishments")

    def _refuted(self, deviation: _Move, punishment: _Move) -> _Verdict:
        at = ", ".join(
            f"{v.name.split('.')[-1]} = {x:.6g}" for v, x in zip(self.follower.variables, deviation.values, strict=True)
        )
        worst = self.plan_cost + punishment.level
        why = f"at {at} the worst the leader can do costs it {worst:.6g} < {self.plan_cost:.6g}"
        if self.unseen:
            why = f"{why}, but {self.unseen} may be a punishment that is not looked at"
            return self._row("undecided", math.nan, why)
        return self._row("impossible", punishment.level, why)

    def _row(self, verdict: str, security: float, why: str) -> _Verdict:
        """The row of the table, in the sense and unit of the follower's objective."""
        sign, security = self.follower.sign, self.plan_cost + security
        low, high = (
            self.plan_cost + level for level in (min(self.low, self.high), self.high)
        )  # rounding may cross them
        least, most = (low, high) if sign > 0 else (-high, -low)
        least, most = (level if math.isfinite(level) else math.nan for level in (least, most))
        return verdict, sign * self.plan_cost, sign * security, least, most, why

    def _at(self, variables: Sequence[Any], values: Sequence[float], expression: Any) -> Any:
        table = dict(zip(map(id, variables), values, strict=True))
        return Substitution(substitute=table).walk_expression(expression)

    def _deviation(self, punishments: Sequence[Sequence[float]]) -> _Move | None:
        """min_v max over the punishments of J(u0, v)."""
        height = pyo.Var(initialize=0.0)
        height.construct()
        costs = [self._at(self.instruments, punishment, self.cost) for punishment in punishments]
        rows = [*(free_row(cost - height, None, 0.0) for cost in costs)]
        own = [free_row(self._at(self.instruments, punishments[0], row.body), row.lb, row.ub) for row in self.own_rows]
        convex = not self.follower.integers and is_convex_problem(height, [*rows, *own])
        return self._optimum(height, [*rows, *own], self.own, convex)

    def _punishment(self, v: Sequence[float]) -> _Move | None:
        """max_{u0} J(u0, v)."""
        cost = -self._at(self.own, v, self.cost)
        rows = self.leader_rows
        if not hasattr(cost, "is_expression_type"):
            if not math.isfinite(cost):
                return None
            return _Move([float(pyo.value(t)) for t in self.instruments], -float(cost), True)
        convex = is_convex_problem(cost, rows)
        optimum = self._optimum(cost, rows, self.instruments, convex)
        if optimum is None:
            return None
        bounded = any(side is not None for ends in self.far_bounds for side in ends)
        inside = convex and all(_is_inside(x, ends) for x, ends in zip(optimum.values, self.far_bounds, strict=True))
        return _Move(optimum.values, -optimum.level, optimum.proved and (inside or not bounded))

    def _optimum(self, cost: Any, rows: list[Any], variables: list[Any], convex: bool) -> _Move | None:
        """The optimum, proved by a duality gap (convex) or by a global solver's bound."""
        try:
            program = Program(cost, rows)
        except BadRow:
            return None
        name = self.solver if convex or not registry["scip"].available else "scip"
        solution = solve(program, name, time_limit=None if convex else _SECONDS)
        if solution.answer is None:
            return None
        levels = program.levels(solution.answer)
        values = [levels.get(id(v), float(pyo.value(v))) for v in variables]
        level = float(program.problem.objective(solution.x))
        if convex:
            duals = program.recovered_duals(solution.answer) if solution.duals is None else solution.duals
            gap = program.proved_gap(solution.answer, duals, TOLERANCES.trust)
            return _Move(values, level, bool(gap <= self.room))
        # Far out a global solver does not look: where nothing ends, its bound is no proof but of what is linear.
        ends = all(None not in v.bounds for v in variables) or is_affine(cost, *(row.body for row in rows))
        met = math.isfinite(solution.bound) and level - solution.bound <= self.room
        return _Move(values, level, bool(ends and met))


def _far_bounds(copy: Any, reach: float) -> tuple[float | None, float | None]:
    """Give a variable without bounds some, far away; which of them are ours."""
    step = reach * max(1.0, abs(copy.value))
    low = None if copy.lb is not None else copy.value - step
    high = None if copy.ub is not None else copy.value + step
    copy.setlb(copy.lb if low is None else low)
    copy.setub(copy.ub if high is None else high)
    return low, high


def _is_inside(level: float, ends: tuple[float | None, float | None]) -> bool:
    """True unless the level is at a bound of ours."""
    return not any(side is not None and abs(level - side) <= TOLERANCES.snap * abs(side) for side in ends)


def _punishments(game: Game, follower: Follower) -> tuple[dict[int, Any], list[Any], str]:
    """(what the leader may move, its rows about it, what else it could hurt the follower with, in words).

    A variable that the follower does not feel is moved too where rows tie it to one that it feels: held at the plan it
    would bar punishments, left out with its rows it would allow too many.
    """
    responses = game.responses()
    aggregates = {id(v): i for i, v in enumerate(responses.variables)}

    def leaders(expression: Any) -> dict[int, Any]:
        variables = {id(v): v for v in variables_in(expression) if not v.fixed}
        return {k: v for k, v in variables.items() if k in game.names and k not in game.owners and k not in aggregates}

    def felt(expression: Any) -> dict[int, Any]:
        """Its own, and what moves the aggregates in it."""
        rows = [aggregates[id(v)] for v in variables_in(expression) if id(v) in aggregates]
        moving = (responses.drivers[i] for i in responses.leads[np.array(rows, dtype=int)].tocoo().col)
        return leaders(expression) | {id(v): v for v in moving}

    reached = felt(follower.cost)
    barring = [(c.name, felt(c.body)) for c in follower.constraints]
    for _, movable in barring:
        reached.update(movable)
    about = [(c, leaders(c.body)) for c in game.leader.constraints]
    about = [
        (c, movable)
        for c, movable in about
        if movable and len(movable) == sum(not v.fixed for v in variables_in(c.body))
    ]
    rows: list[Any] = []
    size = -1
    while size < len(reached):
        size = len(reached)
        touched = [(c, movable) for c, movable in about if not reached.keys().isdisjoint(movable)]
        rows = [c for c, _ in touched]
        for _, movable in touched:
            reached.update(movable)
    unseen = [f"{game.names[key]} (integer)" for key, v in reached.items() if not v.is_continuous()]
    unseen += [f"to forbid this by {name}" for name, movable in barring if movable]
    return {key: v for key, v in reached.items() if v.is_continuous()}, rows, listed(unseen)
