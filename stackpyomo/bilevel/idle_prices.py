"""Idle prices: leader's variables that its cost does not feel at a plan, brought down to what keeps the plan.

A toll on a road that nobody takes may be anything that keeps everybody off it. An immense one is no worse a plan, but
it makes the scale of the leader's cost immense, by what the leader would get if somebody paid, and every gap small
beside it. With the rest of the plan held, the prices z and the multipliers λ solve a linear program,

    min Σ_j |z_j| / |z_j*|   s.t.  rows and conditions, linearised, on the plan's active set, 0 ≤ z_j / z_j* ≤ 1,

whose answer may leave followers between two actions that are equally good. So prices go from the plan's towards it only
until they are about twice as large.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from stackpyomo.core import TOLERANCES, Array

from .mpcc import Equilibrium

_MOST = 2000  # Unknowns of the linear program.
_FAR_LESS = 0.1  # Of the largest price: what makes it worth while.


def with_less(equilibrium: Equilibrium, x: Array, own: Container[int]) -> Array | None:
    """The point with idle prices brought down; None where there are none, or not far down.

    own: id(Var) of all of the game's.
    """
    idle = _idle(equilibrium, x)
    if not len(idle):
        return None
    program = equilibrium.program
    rest = [i for i, v in enumerate(program.variables) if id(v) not in own]
    free = np.concatenate([idle, np.array(rest, dtype=int)])
    if len(free) > _MOST:
        return None
    lower, upper = equilibrium.face(equilibrium.multipliers(x) > equilibrium.slacks(x))
    lower[idle] = np.maximum(lower[idle], np.minimum(x[idle], 0.0))
    upper[idle] = np.minimum(upper[idle], np.maximum(x[idle], 0.0))
    levels = _least(equilibrium, x, free, len(idle), (lower[free], upper[free]))
    if levels is None:
        return None
    share = float(np.abs(levels[: len(idle)]).max() / np.abs(x[idle]).max())
    if share > _FAR_LESS:
        return None
    point = x.copy()
    point[free] += (1.0 - share) * (levels - x[free])
    return point


def _idle(equilibrium: Equilibrium, x: Array) -> Array:
    """Numbers of the leader's variables that its cost feels neither at the plan nor where they are 0 all together."""
    program, led = equilibrium.program, equilibrium.led
    sizes, room = np.abs(x), TOLERANCES.accuracy * program.units(x)[2]
    idle = led[(sizes[led] > 0.0) & (np.abs(program.problem.gradient(x))[led] * sizes[led] <= room)]
    without = x.copy()
    without[idle] = np.clip(0.0, program.bounds[0][idle], program.bounds[1][idle])
    still = np.abs(program.problem.gradient(without))[idle] * sizes[idle] <= room
    charged = sizes[idle] > TOLERANCES.accuracy * program.units(without)[0][idle]  # less is 0, not a price
    return np.asarray(idle[still & charged])


def _least(equilibrium: Equilibrium, x: Array, free: Array, count: int, box: tuple[Array, Array]) -> Array | None:
    """Levels of the columns ``free``, of which the first ``count`` are prices, where these are least.

    In units of what the rows lack without them: the plan's own are as immense as its prices.
    """
    program = equilibrium.program
    rows = sparse.csr_array(program.jacobian(x).tocsc()[:, free])
    rows.eliminate_zeros()
    rest = np.asarray(program.problem.constraints(x)) - rows @ x[free]
    if not (np.isfinite(rows.data).all() and np.isfinite(rest).all()):
        return None
    floor, ceiling = (side - rest for side in program.row_bounds)
    missing = np.where(np.isfinite(floor), np.abs(floor), np.where(np.isfinite(ceiling), np.abs(ceiling), 0.0))
    sizes = abs(rows).tocoo()
    units, heights = np.zeros(len(free)), np.zeros(len(missing))
    np.maximum.at(units, sizes.col, missing[sizes.row] / sizes.data)
    units = np.where(units > 0.0, units, units.max(initial=0.0) or 1.0)
    np.maximum.at(heights, sizes.row, sizes.data * units[sizes.col])
    heights = np.where(heights > 0.0, heights, 1.0)
    scaled = rows * units / heights[:, None]
    moving = np.diff(rows.indptr) > 0
    at = rows @ x[free]
    floor, ceiling = np.minimum(floor, at), np.maximum(ceiling, at)  # what immense prices leave off may stay so
    up, down = moving & np.isfinite(ceiling), moving & np.isfinite(floor)
    prices = np.abs(x[free[:count]])
    answer = linprog(
        np.append(np.sign(x[free[:count]]) * prices.max() / prices, np.zeros(len(free) - count)),
        A_ub=sparse.vstack([scaled[up], -scaled[down]], format="csr"),
        b_ub=np.concatenate([(ceiling / heights)[up], -(floor / heights)[down]]),
        bounds=np.stack(box, axis=1) / units[:, None],
        method="highs",
    )
    return answer.x * units if answer.status == 0 else None
