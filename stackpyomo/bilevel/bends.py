"""Second-order rows: what a best answer's second derivatives say, for a master that knows first-order conditions alone.

An action that may be moved either way by itself is at a best answer only where the cost bends up in it, so that

    (v − lower)(upper − v) Π_j s_j ∂²J/∂v²  ≥  0,    s_j ≥ 0 the room of the follower's affine rows that hold v,

holds at every best answer, whatever the others do. Peaks and saddles meet the first-order conditions as well as hollows
do: without these rows a master goes through them one deviation at a time, ever closer to where they vanish.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pyomo.common.numeric_types import native_numeric_types

from stackpyomo.core import sides_of
from stackpyomo.core.expressions import curvature, degree_of, is_affine, variables_in
from stackpyomo.games import Follower, Movers

from .conditions import derivatives

_FACTORS = 3  # Rooms of bounds and rows beyond which the product is of too high a degree to be of use.


def bends(follower: Follower, movers: Movers) -> Iterator[Any]:
    """One relation an action, where the follower's cost is a polynomial that is not known to bend up in it."""
    assert follower.objective is not None
    if degree_of(follower.cost) is None:
        return
    slopes = derivatives(follower.cost, follower.objective.name, follower.name)
    for var in follower.variables:
        rooms = _rooms(follower, var)
        known = curvature(follower.cost, [var]).curvature.is_convex
        if rooms is None or known or not var.is_continuous() or movers.get(id(var)):
            continue
        bend = derivatives(slopes.get(id(var), 0), follower.objective.name, follower.name).get(id(var), 0)
        if bend.__class__ in native_numeric_types and bend >= 0:
            continue
        yield math.prod(rooms) * bend >= 0


def _rooms(follower: Follower, var: Any) -> list[Any] | None:
    """What is ≥ 0, and above 0 where the action may be moved either way; None where rows leave no such product."""
    rooms = [sign * (limit - var) for sign, limit in sides_of(var)]
    for constraint in follower.constraints:
        if any(v is var for v in variables_in(constraint.expr)):
            if constraint.equality or not is_affine(constraint.body):
                return None
            rooms += [sign * (limit - constraint.body) for sign, limit in sides_of(constraint)]
    return rooms if len(rooms) <= _FACTORS else None
