"""Counterexamples to convexity: two points a follower can reach whose midpoint says no.

    f(½a + ½b) > ½f(a) + ½f(b)          g(a), g(b) within their limits, g(½a + ½b) outside

with what the others decide held where their rows allow it, and a, b within all the follower's rows (for f) or within
the one row alone (for g). Either is a proof of the opposite. Points are sampled: finding none proves nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.core.expressions import Curvature, Substitution, apart, curvature, variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game, Movers
from stackpyomo.solvers import BadRow, Program

__all__ = ["counterexample", "is_proved_convex", "moves_others"]

_PAIRS = 400
"""Pairs of points tried for one follower."""


def counterexample(game: Game, follower: Follower, movers: Movers) -> str:
    """What is proved not convex of a follower, by component name; empty if nothing was found.

    ``movers``: ``game.movers()``.
    """
    if follower.objective is None:
        return ""
    bent, convex = _proved(follower, movers)
    if convex or bent or moves_others(follower, movers):  # an aggregate cannot be sampled by itself
        return bent
    rows = [c for c in follower.constraints if c.body is not None]
    outer = _outer(game, follower)
    holder = pyo.ConcreteModel(name="slack")
    holder.slack = slack = pyo.Var()
    bodies = [follower.sign * follower.objective.expr, *(c.body for c in rows), *(c.body for c in outer)]
    try:
        program = Program(0.0, [apart(body) == slack for body in bodies])
        program.problem  # noqa: B018 (an external function shows here)
    except (BadRow, InvalidGame):
        return ""
    return _Search(follower, program, rows, outer, slack).run()


def is_proved_convex(follower: Follower, movers: Movers) -> bool:
    """True if cost and rows are proved convex in what the follower decides, whatever the others do."""
    return _proved(follower, movers)[1]


def moves_others(follower: Follower, movers: Movers) -> bool:
    """True if an aggregate follows what the follower does."""
    return any(movers.get(id(v)) for v in follower.variables)


def _outer(game: Game, follower: Follower) -> list[Any]:
    """Rows of the others that its deviations do not enter, and that say where the others' variables can be."""
    mine = {id(v) for v in follower.variables}
    expressions = [follower.objective.expr] if follower.objective is not None else []
    expressions += [c.expr for c in follower.constraints]
    foreign = {id(v) for e in expressions for v in variables_in(e) if id(v) not in mine}
    found = []
    for player in (game.leader, *game.followers.values()):
        for constraint in player.constraints if player is not follower else ():
            inside = {id(v) for v in variables_in(constraint.expr)}
            if inside & foreign and not inside & mine:
                found.append(constraint)
    return found


@dataclass
class _Search:
    follower: Follower
    program: Program
    rows: list[Any]
    outer: list[Any]
    slack: Any

    def run(self) -> str:
        variables = self.program.variables
        place = {id(v): i for i, v in enumerate(variables)}
        own = np.array([place[id(v)] for v in self.follower.variables if id(v) in place], dtype=int)
        if not len(own):
            return ""
        random = np.random.default_rng(0)
        for number in range(_PAIRS):
            reach = 10.0 ** random.uniform(-2.0, 1.5)
            base = self._point(random, number, reach)
            if place.get(id(self.slack)) is not None:
                base[place[id(self.slack)]] = 0.0
            found = self._judge(base, self._own_step(base, own, self._point(random, number, reach), number))
            if found:
                return found
        return ""

    def _point(self, random: np.random.Generator, number: int, reach: float) -> Array:
        """Somewhere in the box; every other time within reach of the model's values."""
        lower, upper = self.program.bounds
        start = np.clip(np.asarray(self.program.problem.x0, dtype=float), lower, upper)
        if number % 2:
            return np.asarray(np.clip(start + reach * random.standard_normal(len(start)), lower, upper))
        low = np.where(np.isfinite(lower), lower, np.where(np.isfinite(upper), upper - 2 * reach, -reach))
        high = np.where(np.isfinite(upper), upper, low + 2 * reach)
        return np.asarray(random.uniform(low, high))

    def _own_step(self, base: Array, own: Array, other: Array, number: int) -> Array:
        if number % 3 == 0:  # near by: curvature of small regions
            other = base + 0.1 * (other - base)
        step = np.zeros(len(base))
        step[own] = (other - base)[own]
        return step

    def _bodies(self, x: Array) -> Array:
        bodies = np.zeros(1 + len(self.rows) + len(self.outer))
        bodies[self.program.rows] = np.asarray(self.program.problem.constraints(x)) - self.program.row_bounds[1]
        return bodies

    def _judge(self, base: Array, step: Array) -> str:
        with np.errstate(all="ignore"):
            first, middle, last = (self._bodies(base + t * step) for t in (0.0, 0.5, 1.0))
        count = len(self.rows)
        if not np.isfinite([first, middle, last]).all() or not self._within(first[1 + count :], self.outer).all():
            return ""
        a, m, b = (self._within(bodies[1 : 1 + count], self.rows) for bodies in (first, middle, last))
        beyond = self._within(middle[1 : 1 + count], self.rows, slack=TOLERANCES.feasibility)
        for row in np.flatnonzero(a & b & ~m & ~beyond):
            return f"{self.rows[row].name}: the set it allows is not convex"
        size = max(1.0, abs(first[0]), abs(last[0]))
        bent = middle[0] - (first[0] + last[0]) / 2.0 > TOLERANCES.feasibility * size
        if bent and a.all() and b.all():
            return _bent(self.follower)
        return ""

    def _within(self, bodies: Array, rows: list[Any], slack: float = 0.0) -> Array:
        low = np.array([-math.inf if c.lb is None else c.lb for c in rows], dtype=float)
        high = np.array([math.inf if c.ub is None else c.ub for c in rows], dtype=float)
        room = slack * np.maximum(1.0, np.abs(bodies))
        return (bodies >= low - room) & (bodies <= high + room)


def _proved(follower: Follower, movers: Movers) -> tuple[str, bool]:
    """(what a constant Hessian proves not convex, whether all is proved convex), what the follower moves moving along.

    An indefinite Hessian is a proof on every set with an interior: where no equality narrows it.
    """
    shifts: dict[int, Any] = {}
    for var in follower.variables:
        for moved, rate in movers.get(id(var), ()):
            shifts[id(moved)] = shifts.get(id(moved), moved) + rate * var
    visitor = Substitution(substitute=shifts) if shifts else None
    walk = visitor.walk_expression if visitor else lambda expression: expression
    own, flat = follower.variables, {Curvature.CONSTANT, Curvature.AFFINE}
    assert follower.objective is not None
    proof = curvature(walk(follower.sign * follower.objective.expr), own)
    if proof.curvature not in flat | {Curvature.CONVEX}:
        wide = not any(c.equality for c in follower.constraints)
        bent = wide and proof.method == "constant Hessian"
        return (_bent(follower) if bent else ""), False
    for constraint in follower.constraints:
        good = set(flat)
        good |= {Curvature.CONVEX} if constraint.lb is None else set()
        good |= {Curvature.CONCAVE} if constraint.ub is None else set()
        if curvature(walk(constraint.body), own).curvature not in good:
            return "", False
    return "", True


def _bent(follower: Follower) -> str:
    wanted = "concave (it is maximised)" if follower.sign < 0 else "convex"
    return "" if follower.objective is None else f"{follower.objective.name}: it is not {wanted}"
