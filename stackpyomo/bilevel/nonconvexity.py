"""Counterexamples to convexity: two points a follower can reach whose midpoint says no.

    f(½a + ½b) > ½f(a) + ½f(b)          g(a), g(b) within their limits, g(½a + ½b) outside

with what the others decide held where their rows allow it, and a, b within all the follower's rows (for f) or within
the one row alone (for g). Either is a proof of the opposite. Points are sampled: finding none proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.common.numeric_types import native_numeric_types

from stackpyomo.core import TOLERANCES, Array, box_of
from stackpyomo.core.expressions import Substitution, apart, curvature, is_affine, variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game, Movers, foreign
from stackpyomo.solvers import BadRow, Program, random_start

from .common_multipliers import Common
from .conditions import Conditions, with_answers

_PAIRS = 400  # Pairs of points tried for one follower.


def counterexample(game: Game, follower: Follower, movers: Movers) -> str:
    """What is proved not convex of a follower, by component name; empty if nothing was found.

    ``movers``: ``game.movers()``.
    """
    if follower.objective is None:
        return ""
    bent, convex = _proved(follower, movers, game.once("affine rows", dict))
    if convex or bent or moves_others(follower, movers):  # an aggregate cannot be sampled by itself
        return bent
    rows = [c for c in follower.constraints if c.body is not None]
    outer = _outer(game, follower)
    holder = pyo.ConcreteModel(name="slack")
    holder.slack = slack = pyo.Var()
    bodies = [follower.cost, *(c.body for c in rows), *(c.body for c in outer)]
    try:
        program = Program(0.0, [apart(body) == slack for body in bodies])
        program.problem  # noqa: B018 (an external function shows here)
    except (BadRow, InvalidGame):
        return ""
    return _Search(follower, program, rows, outer, slack).run()


def is_proved_convex(follower: Follower, movers: Movers) -> bool:
    """True if cost and rows are proved convex in what the follower decides, whatever the others do."""
    return not follower.integers and _proved(follower, movers, {})[1]


def bound_multipliers(
    kkt: Conditions,
    slater: Mapping[str, Mapping[int, float]],
    game: Game,
    answers: Movers | None,
    common: Common | None,
) -> None:
    """Cuts on the multipliers of convex followers with a Slater point, where these are their own alone."""
    movers = with_answers(game.movers(), answers)
    sharing = {name for name, _, _ in common.places} if common else set()
    for name, point in slater.items():
        follower = game.followers[name]
        if name not in sharing and is_proved_convex(follower, movers) and not moves_others(follower, movers):
            kkt.implied.append(multiplier_cut(kkt, follower, point))


def multiplier_cut(kkt: Conditions, follower: Follower, point: Mapping[int, float]) -> Any:
    """Σ λ_i s_i(x, u⁰) ≤ J(x, u⁰) − J(x, u) for a convex follower that may always play u⁰ (and moves nothing).

    Implied by the conditions (weak duality); it bounds the multipliers of rows that u⁰ keeps with room to spare.
    """
    at_point = Substitution(substitute=dict(point)).walk_expression
    cost = kkt.units.get(follower.name, 1.0) * kkt.cost(follower)
    paid = sum(p.multiplier * at_point(p.gap) for p in kkt.pairs if p.follower == follower.name)
    return paid <= at_point(cost) - cost


def moves_others(follower: Follower, movers: Movers) -> bool:
    """True if an aggregate follows what the follower does."""
    return any(movers.get(id(v)) for v in follower.variables)


def _outer(game: Game, follower: Follower) -> list[Any]:
    """Rows of the others that its deviations do not enter, and that say where the others' variables can be."""
    mine = {id(v) for v in follower.variables}
    others = foreign(follower, follower.cost, *follower.constraints)
    outer = []
    for player in (game.leader, *game.followers.values()):
        for constraint in player.constraints if player is not follower else ():
            inside = {id(v) for v in variables_in(constraint.expr)}
            if inside & others.keys() and not inside & mine:
                outer.append(constraint)
    return outer


@dataclass
class _Search:
    follower: Follower
    program: Program
    rows: list[Any]
    outer: list[Any]
    slack: Any

    def run(self) -> str:
        """Judge all samples against the size of the objective that half of them exceed: below it is rounding."""
        variables = self.program.variables
        place = {id(v): i for i, v in enumerate(variables)}
        own = np.array([place[id(v)] for v in self.follower.variables if id(v) in place], dtype=int)
        if not len(own):
            return ""
        lower, upper = self.program.bounds
        start = np.clip(np.asarray(self.program.problem.x0, dtype=float), lower, upper)
        reaches, sizes, _ = self.program.units(start)
        random = np.random.default_rng(0)
        samples = []
        for number in range(_PAIRS):
            reach = 10.0 ** random.uniform(-2.0, 1.5) * reaches
            base = self._point(random, number, start, reach)
            if place.get(id(self.slack)) is not None:
                base[place[id(self.slack)]] = 0.0
            step = self._own_step(base, own, self._point(random, number, start, reach), number)
            with np.errstate(all="ignore"):
                bodies = np.array([self._bodies(base + t * step) for t in (0.0, 0.5, 1.0)])
            if np.isfinite(bodies).all() and self._within(bodies[0], self.outer, 1 + len(self.rows)).all():
                samples.append(bodies)
        scale = np.zeros(1 + len(self.rows) + len(self.outer))
        scale[self.program.rows] = sizes
        usual = float(np.median(np.abs([bodies[0, 0] for bodies in samples]))) if samples else 0.0
        return next(filter(None, (self._judge(bodies, scale, usual) for bodies in samples)), "")

    def _point(self, random: np.random.Generator, number: int, start: Array, reach: Array) -> Array:
        """Somewhere in the box; every other time within this reach of the model's values."""
        if number % 2:
            return np.asarray(np.clip(start + reach * random.standard_normal(len(start)), *self.program.bounds))
        return random_start(self.program, random, reach)

    def _own_step(self, base: Array, own: Array, other: Array, number: int) -> Array:
        if number % 3 == 0:  # near by: curvature of small regions
            other = base + 0.1 * (other - base)
        step = np.zeros(len(base))
        step[own] = (other - base)[own]
        return step

    def _bodies(self, x: Array) -> Array:
        """The objective without its constant, and the bodies of the rows."""
        bodies = np.zeros(1 + len(self.rows) + len(self.outer))
        constants = np.where(self.program.rows > 0, self.program.row_bounds[1], 0.0)
        bodies[self.program.rows] = np.asarray(self.program.problem.constraints(x)) - constants
        return bodies

    def _judge(self, bodies: Array, scale: Array, usual: float) -> str:
        """What (first, middle, last) prove; ``scale``: natural units, ``usual``: a size of the objective."""
        a, m, b = (self._within(at, self.rows, 1) for at in bodies)
        beyond = self._within(bodies[1], self.rows, 1, TOLERANCES.feasibility * scale)
        for row in np.flatnonzero(a & b & ~m & ~beyond):
            return f"{self.rows[row].name}: the set it allows is not convex"
        first, middle, last = bodies[:, 0]
        room = TOLERANCES.feasibility * float(np.abs(bodies[:, 0]).max()) + TOLERANCES.noise * usual
        return _bent(self.follower) if middle - (first + last) / 2.0 > room and a.all() and b.all() else ""

    def _within(self, bodies: Array, rows: list[Any], first: int, slack: Any = None) -> Array:
        """Whether these rows hold, which begin at ``first``: exactly, or within a slack and rounding."""
        low, high = box_of(rows)
        block = slice(first, first + len(rows))
        room = np.zeros(len(rows)) if slack is None else slack[block] + TOLERANCES.noise * np.abs(bodies[block])
        return (bodies[block] >= low - room) & (bodies[block] <= high + room)


def _proved(follower: Follower, movers: Movers, affine: dict[int, bool]) -> tuple[str, bool]:
    """(what a constant Hessian proves not convex, whether all is proved convex), what the follower moves moving along.

    An indefinite Hessian is a proof on every set with an interior: where no equality narrows it.
    affine: id(row) → whether it is affine in everybody's variables; rows that many feel are looked at once.
    """
    shifts: dict[int, Any] = {}
    constant = True
    for var in follower.variables:
        for moved, rate in movers.get(id(var), ()):
            constant = constant and rate.__class__ in native_numeric_types
            shifts[id(moved)] = shifts.get(id(moved), moved) + rate * var
    visitor = Substitution(substitute=shifts) if shifts else None
    walk = visitor.walk_expression if visitor else lambda expression: expression
    own = follower.variables
    proof = curvature(walk(follower.cost), own)
    if not proof.curvature.is_convex:
        wide = not any(c.equality for c in follower.constraints)
        bent = wide and proof.method == "constant Hessian"
        return (_bent(follower) if bent else ""), False
    for constraint in follower.constraints:
        if constant and id(constraint) not in affine:
            affine[id(constraint)] = is_affine(constraint.body)
        if constant and affine[id(constraint)]:
            continue
        if not curvature(walk(constraint.body), own).curvature.allows(constraint.lb, constraint.ub):
            return "", False
    return "", True


def _bent(follower: Follower) -> str:
    shape = "concave (it is maximised)" if follower.sign < 0 else "convex"
    return "" if follower.objective is None else f"{follower.objective.name}: it is not {shape}"
