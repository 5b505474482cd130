"""Constraint qualifications: whether there are multipliers, and bounded ones.

*Whatever the others do*: a follower whose rows hold at one point, the curved ones strictly, for all values that the
others' bounds allow (by interval arithmetic) satisfies Slater's condition throughout: its KKT conditions are necessary.

*At the answer*: affine rows need nothing. With curved rows g ≤ 0, the linear program

    max t   s.t.  ∇g_i·d ≤ −t (active, curved),  A d ≤ 0 (active, affine),  E d = 0,  −1 ≤ d ≤ 1

has t > 0 iff Slater's condition holds there (for convex rows, up to equalities): then multipliers exist and those of
the curved rows are bounded. With t = 0 the conditions may not be necessary, and a better plan may have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyomo.environ as pyo

from stackpyomo.core import TOLERANCES, Array, Scales, bounds_of, sides_of
from stackpyomo.core.expressions import Substitution, apart, interval, variables_in
from stackpyomo.derivatives import Derivatives, FollowerRows
from stackpyomo.games import Follower, Game, Movers, foreign
from stackpyomo.solvers import least_point

from .polyhedra import Polyhedron


def interior_points(game: Game, curved: Mapping[str, set[int]], answers: Movers) -> dict[str, dict[int, float] | None]:
    """:func:`interior_point` of each of these followers whose rows hold nothing that a rule answers with.

    A rule's formula may leave the bounds that the leader's variables have. ``curved``: as for :func:`unqualified`.
    """
    answering = {id(v) for moved in answers.values() for v, _ in moved}
    points = {}
    for name, rows in curved.items():
        follower = game.followers[name]
        if not any(id(v) in answering for c in follower.constraints for v in variables_in(c.expr)):
            points[name] = interior_point(follower, rows)
    return points


def interior_point(follower: Follower, curved: set[int]) -> dict[int, float] | None:
    """{id(Var): value}: a Slater point proved for every choice of the others, None if none was found.

    ``curved``: id of the follower's rows that are not affine.
    """
    if foreign(follower, *(c for c in follower.constraints if c.equality)):
        return None
    point = _deepest(follower, curved)
    if point is None or not all(_holds(c, point, strictly=id(c) in curved) for c in follower.constraints):
        return None
    return point


def _deepest(follower: Follower, curved: set[int]) -> dict[int, float] | None:
    """argmax t: curved rows hold with t to spare, the others' variables where they stand."""
    holder = pyo.ConcreteModel(name="depth")
    holder.depth = pyo.Var(bounds=(None, 1.0), initialize=0.0)
    others = foreign(follower, *follower.constraints)
    visitor = Substitution(substitute={key: v.value or 0.0 for key, v in others.items()})
    rows: list[Any] = []
    for constraint in follower.constraints:
        body = visitor.walk_expression(constraint.body)
        spare = holder.depth if id(constraint) in curved else 0.0
        if constraint.equality:
            rows.append(body == constraint.ub)
            continue
        rows += [sign * apart(body) + spare <= sign * limit for sign, limit in sides_of(constraint)]
    levels = least_point(-holder.depth, [r for r in rows if hasattr(r, "is_expression_type")], "auto")
    if not levels:
        return None
    return {id(v): levels.get(id(v), v.value or 0.0) for v in follower.variables}


def _holds(constraint: Any, point: Mapping[int, float], *, strictly: bool) -> bool:
    """The row at the point, for all values of the other variables within their bounds."""
    body = Substitution(substitute=dict(point)).walk_expression(constraint.body)
    (low, high), (lower, upper) = interval(body), bounds_of(constraint)
    room = TOLERANCES.feasibility if strictly else -TOLERANCES.feasibility
    return low - room >= lower and high + room <= upper


def unqualified(
    game: Game, curved: Mapping[str, set[int]], values: Mapping[str, float], multipliers: Mapping[str, float]
) -> list[str]:
    """A warning for each follower without a confirmed qualification; ``curved``: follower → id of its curved rows."""
    if not curved:
        return []
    rows = FollowerRows(game)
    derivatives, units = rows.at(values), rows.natural_units(values)
    warnings = []
    for name, bent in curved.items():
        follower = game.followers[name]
        if not _interior(rows, derivatives, units, values, follower, bent) > TOLERANCES.active:
            warnings.append(
                f"{follower.name}: no constraint qualification confirmed at the answer (its feasible set has no "
                "interior point there), so its multipliers may not exist or not be bounded"
            )
        large = [c.name for c in follower.constraints if abs(multipliers.get(c.name, 0.0)) > TOLERANCES.multiplier]
        if large:
            warnings.append(
                f"{large[0]}: its multiplier in {follower.name} is {multipliers[large[0]]:.1e}, which may mean that "
                "no bounded one exists"
            )
    return warnings


def _interior(
    rows: FollowerRows,
    derivatives: Derivatives,
    units: Scales,
    values: Mapping[str, float],
    follower: Follower,
    curved: set[int],
) -> float:
    """t of the linear program in natural units."""
    number = rows.followers.index(follower)
    columns = np.flatnonzero(rows.owners == number)
    matrix = derivatives.own_rows.tocsr()
    place = {id(v): float(reach) for v, reach in zip(rows.variables, units.reaches, strict=True)}
    reaches = np.array([place.get(id(rows.actions[c]), 1.0) for c in columns])  # 1 for one that no row holds
    sizes = units.of_rows()[len(rows.followers) :]
    sizes = np.where(sizes > 0.0, sizes, 1.0)
    strict: list[Array] = []
    weak: list[Array] = []
    equal: list[Array] = []
    for index in np.flatnonzero(rows.constraint_owners == number):
        constraint, normal = rows.constraints[index], matrix[[index]].toarray().ravel()[columns]
        normal = normal * reaches / sizes[index]
        if constraint.equality:
            equal.append(normal)
            continue
        group = strict if id(constraint) in curved else weak
        group += [s * normal for s in _active(float(derivatives.bodies[index]), constraint, sizes[index])]
    for axis, column, reach in zip(np.eye(len(columns)), columns, reaches, strict=True):
        var = rows.actions[column]
        weak += [s * axis for s in _active(values[rows.game.names[id(var)]], var, reach)]
    return _largest(strict, weak, equal, len(columns))


def _active(level: float, part: Any, unit: float) -> list[float]:
    """−1 for an active lower side of a row or a Var, +1 for an upper one."""
    return [sign for sign, limit in sides_of(part) if sign * (limit - level) <= TOLERANCES.active * unit]


def _largest(strict: list[Array], weak: list[Array], equal: list[Array], size: int) -> float:
    if not strict:
        return 1.0
    counts = len(strict), len(weak), len(equal)
    matrix = np.column_stack([np.array([*strict, *weak, *equal]), np.repeat([1.0, 0.0, 0.0], counts)])
    floor = np.repeat([-np.inf, -np.inf, 0.0], counts)
    lower, upper = np.append(np.full(size, -1.0), 0.0), np.ones(size + 1)
    most = Polyhedron(matrix, floor, np.zeros(len(floor)), lower, upper).ends(np.eye(size + 1)[-1])[1]
    return 0.0 if np.isnan(most) else most
