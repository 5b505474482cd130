"""Multipliers of the followers' own constraints in the composed problem.

A constraint that is active at the plan may hold a follower there by itself: the incentive then has to balance only

    min_{λ} ‖a_k + G_kᵀ λ‖,   λ ≥ 0 on inequalities, free on equalities,

the distance of −a_k to the normal cone of its own constraints. Constraints that also hold leader variables keep λ = 0,
which is always allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from .derivatives import Derivatives, FollowerRows
from .programs import least_nonnegative
from .results import Array
from .tolerances import TOLERANCES

__all__ = ["ActiveSet", "active_sets", "least_slope"]


@dataclass
class ActiveSet:
    """One follower's active constraints: ``normals`` point out of the feasible set, (active × own actions)."""

    columns: Array
    """Numbers of the follower's actions."""
    names: list[str] = field(default_factory=list)
    normals: list[Array] = field(default_factory=list)
    equalities: list[bool] = field(default_factory=list)

    def add(self, name: str, normal: Array, equality: bool) -> None:
        """Note one active side of a constraint or bound."""
        self.names.append(name)
        self.normals.append(normal)
        self.equalities.append(equality)


def least_slope(rows: FollowerRows, here: Derivatives, values: Mapping[str, float]) -> tuple[Array, dict[str, float]]:
    """(what is left of a for the incentive to balance, {constraint or bound: multiplier ≠ 0})."""
    slope, held = here.own.copy(), {}
    for active in active_sets(rows, here, values):
        matrix = np.column_stack(active.normals)
        both = np.flatnonzero(active.equalities)  # an equality pushes either way: λ = λ⁺ − λ⁻
        parts = least_nonnegative(np.hstack([matrix, -matrix[:, both]]), -here.own[active.columns])
        found = parts[: len(active.names)]
        found[both] -= parts[len(active.names) :]
        slope[active.columns] = here.own[active.columns] + matrix @ found
        held.update({n: float(v) for n, v in zip(active.names, found, strict=True) if abs(v) > TOLERANCES.gradient})
    return slope, held


def active_sets(rows: FollowerRows, here: Derivatives, values: Mapping[str, float]) -> list[ActiveSet]:
    """The active constraints and bounds of every follower that has any, leader variables not among them."""
    counts = np.bincount(rows.owners, minlength=len(rows.followers))
    stops = np.cumsum(counts)
    sets = [ActiveSet(np.arange(stop - n, stop)) for stop, n in zip(stops, counts, strict=True)]
    for follower, name, normal, equality in _active(rows, here, values, sets):
        sets[follower].add(name, normal, equality)
    return [active for active in sets if active.names]


def _active(
    rows: FollowerRows, here: Derivatives, values: Mapping[str, float], sets: list[ActiveSet]
) -> Iterator[tuple[int, str, Array, bool]]:
    for index, constraint in enumerate(rows.constraints):
        if here.leader_rows.indptr[index] != here.leader_rows.indptr[index + 1]:
            continue
        follower = int(rows.constraint_owners[index])
        own = sets[follower].columns
        if not len(own):
            continue
        entries = slice(here.own_rows.indptr[index], here.own_rows.indptr[index + 1])
        normal = np.zeros(len(own))
        normal[here.own_rows.indices[entries] - own[0]] = here.own_rows.data[entries]
        for side, equality in _sides(here.bodies[index], constraint.lb, constraint.ub):
            yield follower, constraint.name, side * normal, equality
    for column, var in enumerate(rows.actions):
        name = rows.game.names[id(var)]
        for side, equality in _sides(values[name], var.lb, var.ub):
            follower = int(rows.owners[column])
            own = sets[follower].columns
            yield follower, name, side * (own == column).astype(float), equality


def _sides(level: float, lower: float | None, upper: float | None) -> Iterator[tuple[float, bool]]:
    """+1 for an active upper side, −1 for a lower one; an equality once."""
    near = TOLERANCES.active
    if lower is not None and lower == upper:
        yield 1.0, True
        return
    if upper is not None and upper - level <= near * max(1.0, abs(upper)):
        yield 1.0, False
    if lower is not None and level - lower <= near * max(1.0, abs(lower)):
        yield -1.0, False
