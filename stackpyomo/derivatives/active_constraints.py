"""The sides of the followers' constraints that are active at a plan, with their normals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from stackpyomo.core import TOLERANCES, Array

from .first_order import Derivatives, FollowerRows


@dataclass(frozen=True)
class ActiveSide:
    """One active side of a follower's constraint or bound; the derivatives point out of what it allows."""

    follower: int
    name: str
    sign: float  #: +1: its upper side, or an equality; −1: its lower side.
    equality: bool
    columns: Array  #: Numbers of the follower's actions it holds.
    normal: Array  #: ∂g/∂u_k over ``columns``.
    instruments: Array  #: Numbers of the leader's variables it holds.
    effect: Array  #: ∂g/∂u_0 over ``instruments``.
    unit: float  #: A multiplier of 1 is one of this size in the user's units.


def by_follower(sides: Sequence[ActiveSide]) -> dict[int, list[ActiveSide]]:
    """Number of a follower → its sides."""
    sides_of: dict[int, list[ActiveSide]] = {}
    for side in sides:
        sides_of.setdefault(side.follower, []).append(side)
    return sides_of


def composed_normals(
    sides: Sequence[ActiveSide], multipliers: Mapping[str, float], mine: slice, moved: sparse.csr_array
) -> tuple[Array, Array]:
    """(normals that pin directions, normals that limit them) of one follower: rows G_k + G_0 K M over its own actions.

    mine: where its actions stand. moved: K M, the leader's variables × its own actions. An equality pins, and so does
    a constraint with a multiplier.
    """
    pinned, limiting = list[Array](), list[Array]()
    width = mine.stop - mine.start
    for side in sides:
        normal = np.zeros(width)
        normal[side.columns - mine.start] = side.normal
        if len(side.instruments):
            normal += side.effect @ moved[side.instruments].toarray()
        firm = side.equality or multipliers.get(side.name, 0.0) > 0.0
        (pinned if firm else limiting).append(normal)
    return np.array(pinned).reshape(-1, width), np.array(limiting).reshape(-1, width)


def open_directions(normals: Array) -> Array:
    """An orthonormal basis (columns) of the directions that the normals (rows) leave open."""
    return np.asarray(linalg.null_space(normals)) if len(normals) else np.eye(normals.shape[1])


def active_sides(
    rows: FollowerRows, derivatives: Derivatives, values: Mapping[str, float], natural: FollowerRows | None = None
) -> list[ActiveSide]:
    """Every active side of the followers' constraints and bounds.

    natural: the rows in natural units, where ``rows`` are not: in these a side is active within ``TOLERANCES.active``.
    """
    active = []
    nothing = np.zeros(0)
    near, costs = (natural or rows), rows.units.costs
    for index, constraint in enumerate(rows.constraints):
        room = TOLERANCES.active * near.units.rows[index]
        sides = list(_sides(derivatives.bodies[index], constraint.lb, constraint.ub, room))
        if sides:
            own, instruments = row_entries(derivatives.own_rows, index), row_entries(derivatives.leader_rows, index)
            follower = int(rows.constraint_owners[index])
            name, unit = constraint.name, float(costs[follower] / rows.units.rows[index])
            active += [
                ActiveSide(
                    follower, name, side, equality, own[0], side * own[1], instruments[0], side * instruments[1], unit
                )
                for side, equality in sides
                if len(own[0]) or len(instruments[0])
            ]
    reaches, units = near.action_units, rows.action_units
    for column, var in enumerate(rows.actions):
        name, follower = rows.game.names[id(var)], int(rows.owners[column])
        for side, equality in _sides(values[name], var.lb, var.ub, TOLERANCES.active * reaches[column]):
            own, unit = (np.array([column]), np.array([float(side)])), float(costs[follower] / units[column])
            active.append(ActiveSide(follower, name, side, equality, *own, nothing.astype(int), nothing, unit))
    return active


def row_entries(matrix: sparse.csr_array, row: int) -> tuple[Array, Array]:
    """(columns, values) of one row of a sparse matrix."""
    part = slice(matrix.indptr[row], matrix.indptr[row + 1])
    return matrix.indices[part], matrix.data[part]


def _sides(level: float, lower: float | None, upper: float | None, near: float) -> Iterator[tuple[float, bool]]:
    """+1 for an active upper side, −1 for a lower one; an equality once."""
    if lower is not None and lower == upper:
        yield 1.0, True
        return
    if upper is not None and upper - level <= near:
        yield 1.0, False
    if lower is not None and level - lower <= near:
        yield -1.0, False
