"""Answer sets: all best answers of a follower, described by rows that are affine in its actions.

With ȳ one best answer to the leader's x, and Y(x) what the follower's rows allow,

    linear cost       S(x) = {y ∈ Y(x): f(x, y) ≤ f(x, ȳ)}
    quadratic cost    S(x) = {y ∈ Y(x): H y = H ȳ, c(x)·y = c(x)·ȳ},  f = ½yᵀHy + c(x)·y   (Mangasarian 1988)
    within ε          S_ε(x) = {y ∈ Y(x): f(x, y) ≤ f(x, ȳ) + ε}                         (any cost)
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.base.var import VarData
from pyomo.repn import generate_standard_repn
from scipy.linalg import orth

from stackpyomo.bilevel import Table, substituted
from stackpyomo.core import TOLERANCES, Array
from stackpyomo.core.expressions import Curvature, affine_terms, curvature, is_convex_feasible_set, number_of, partials
from stackpyomo.games import Follower, Game, foreign


class Kind(str, enum.Enum):
    """What a follower's problem is in its own actions, whatever the leader does."""

    LINEAR = "linear"
    QUADRATIC = "quadratic"
    CONVEX = "convex"
    OTHER = "other"


@dataclass(frozen=True)
class Affine:
    """constant + Σ slope · Var."""

    constant: float
    slopes: Mapping[int, float]

    @classmethod
    def of(cls, expression: Any) -> Affine | None:
        """The expression as one; None if it is not affine."""
        known = affine_terms(expression)
        return None if known is None else cls(known[0], {id(v): slope for v, slope in known[1]})

    def size(self, reaches: Mapping[int, float]) -> float:
        """Its largest term, each Var at its reach, 1 if it has none."""
        return max([abs(self.constant), *(abs(slope) * reaches.get(key, 1.0) for key, slope in self.slopes.items())])

    def over(self, unit: float) -> Affine:
        """The function divided by a number."""
        return Affine(self.constant / unit, {key: slope / unit for key, slope in self.slopes.items()})

    def at(self, table: Mapping[int, Any], scale: Any = 1.0) -> Any:
        """scale · value(table/scale), which is affine in scale and table."""
        return self.constant * scale + sum(slope * table[key] for key, slope in self.slopes.items())


def _without_constant(cost: Any) -> Any:
    """The cost less what no variable moves, beside which everything else may look like nothing."""
    repn = generate_standard_repn(cost, compute_values=True)
    repn.constant = 0.0
    return repn.to_expression()


class AnswerSet:
    """The best answers of one follower who feels nobody but the leader."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.cost = _without_constant(follower.cost)
        self.hessian: Array = np.zeros((0, 0))  #: Of a quadratic cost.
        self.kind = self._kind()

    def _kind(self) -> Kind:
        own = self.follower.variables
        if self.follower.integers or not _has_convex_rows(self.follower):
            return Kind.OTHER
        proof = curvature(self.cost, own)
        if proof.curvature.is_flat:
            return Kind.LINEAR
        if proof.curvature is not Curvature.CONVEX:
            return Kind.OTHER
        hessian = second_derivatives(self.cost, own, own)
        if hessian is None:
            return Kind.CONVEX
        self.hessian = hessian
        return Kind.QUADRATIC

    def tie_rows(
        self, given: Table, witness: Mapping[int, float], slack: float
    ) -> Iterator[tuple[Any, float | None, float | None]]:
        """Rows (body, lower, upper) of answers to a given leader, worse than ``witness`` by at most ``slack``."""
        cost = substituted(self.cost, given)
        if self.kind is not Kind.QUADRATIC or slack > 0.0:
            yield cost - number_of(substituted(cost, witness)), None, slack
            return
        own = self.follower.variables
        zero = {id(v): 0.0 for v in own}
        slopes = [number_of(substituted(slope, zero)) for slope in partials(cost, own)]
        for row in independent_rows(np.vstack([self.hessian, slopes])):
            yield sum(float(a) * (v - witness[id(v)]) for a, v in zip(row, own, strict=True) if a), 0.0, 0.0


def _has_convex_rows(follower: Follower) -> bool:
    own = follower.variables
    return all(is_convex_feasible_set(c, own).curvature is Curvature.CONVEX for c in follower.constraints)


def second_derivatives(expression: Any, rows: Sequence[VarData], columns: Sequence[VarData]) -> Array | None:
    """∂²/∂(row) ∂(column); None unless these are numbers whatever anybody does."""
    place = {id(v): j for j, v in enumerate(columns)}
    table = np.zeros((len(rows), len(columns)))
    for i, slope in enumerate(partials(expression, rows)):
        if slope.__class__ in native_numeric_types:
            continue
        repn = generate_standard_repn(slope, compute_values=True, quadratic=True)
        curved = [*repn.nonlinear_vars, *(v for pair in repn.quadratic_vars for v in pair)]
        if any(id(v) in place for v in curved):
            return None
        for coefficient, var in zip(repn.linear_coefs, repn.linear_vars, strict=True):
            if id(var) in place:
                table[i, place[id(var)]] = float(coefficient)
    return table


def independent_rows(matrix: Array) -> Array:
    """As many rows as the rank, spanning the same space."""
    rows = orth(matrix.T, rcond=TOLERANCES.rank).T
    return np.asarray(np.where(np.abs(rows) > TOLERANCES.noise, rows, 0.0))


def is_independent(game: Game, follower: Follower) -> bool:
    """True if neither its cost nor its rows hold what another follower decides or moves."""
    moved = {id(v) for v in game.aggregate_variables()}
    others = foreign(follower, follower.cost, *follower.constraints)
    return not any(key in moved or key in game.owners for key in others)


def keep_apart(followers: Sequence[Follower]) -> bool:
    """True if no row of theirs holds what the leader decides: every answer is one to every leader."""
    own = {id(v) for f in followers for v in f.variables}
    return all(foreign(f, *f.constraints).keys() <= own for f in followers)


def are_unique(game: Game, followers: Sequence[Follower]) -> bool:
    """True if these have one joint answer to whatever the leader does, proved.

    Their pseudo-gradient is strongly monotone, its Jacobian constant, and everybody's convex rows hold no other
    follower's actions (Rosen 1965).
    """
    aggregates = {id(v) for v in game.aggregate_variables()}
    actions = [v for f in followers for v in f.variables]
    blocks: list[Array] = []
    for follower in followers:
        rows = follower.constraints
        felt = foreign(follower, follower.cost, *rows).keys() & aggregates
        if follower.integers or felt or any(key in game.owners for key in foreign(follower, *rows)):
            return False
        if not _has_convex_rows(follower):
            return False
        block = second_derivatives(follower.cost, follower.variables, actions)
        if block is None:
            return False
        blocks.append(block)
    jacobian = np.vstack(blocks)
    symmetric = (jacobian + jacobian.T) / 2.0
    size = float(np.abs(symmetric).max(initial=0.0))
    return bool(size > 0.0 and np.linalg.eigvalsh(symmetric).min() > TOLERANCES.rank * size)
