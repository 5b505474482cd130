"""Prices: which multipliers a market's answer leaves open.

At an answer u of follower k the multipliers of its rows are a polyhedron,

    M = {π, ν :  ∇_{u_k} L_k(u; π, ν) = 0,  π ≥ 0,  π_i = 0 where row i has room},

a point where the gradients of the active rows are independent. A price is one number of it, and its range is two linear
programs, min and max over M. Where that is wider than a point the leader's model has picked the end that it likes.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.games import Game

from .mpcc import Equilibrium
from .polyhedra import Polyhedron

_SWEEPS = 30  # Each halves how many decades the largest entries of rows and columns are away from 1.


def price_ranges(game: Game, equilibrium: Equilibrium, x: Array) -> dict[str, tuple[float, float]]:
    """price → (low, high): what the market may as well choose at the answer x, ±inf where nothing bounds it.

    equilibrium: one whose conditions are KKT's, without a treatment that adds to its rows.
    """
    kkt, program = equilibrium.conditions, equilibrium.program
    chosen = [price for price in game.prices if any(price.var is var for var, _ in kkt.prices)]
    if not chosen:
        return {}
    place = {id(v): i for i, v in enumerate(program.variables)}
    lower, upper = np.full(len(x), -math.inf), np.full(len(x), math.inf)
    multipliers = [place[id(var)] for terms in kkt.signed.values() for var, _ in terms if id(var) in place]
    reaches = _reaches(equilibrium, x)
    for pair, owner, room in zip(kkt.pairs, equilibrium.owners, equilibrium.slacks(x), strict=True):
        if (number := place.get(id(pair.multiplier))) is not None:
            multipliers.append(number)
            lower[number], upper[number] = 0.0, math.inf if room <= TOLERANCES.active * reaches[owner] else 0.0
    columns, values = np.unique(multipliers), np.clip(x, lower, upper)
    slopes = sparse.csr_array(program.jacobian(x)[equilibrium.stationary][:, columns])
    links = abs(slopes)  # those that stand in rows together, and in rows with these, and so on
    _, parts = connected_components(links.T @ links, directed=False)
    ranges = {}
    for price in chosen:
        goal = np.zeros(len(x))
        for var, factor in kkt.signed[price.follower, id(price.row)]:
            if id(var) in place:
                goal[place[id(var)]] -= game.followers[price.follower].sign * factor
        tied = np.flatnonzero(np.isin(parts, parts[np.flatnonzero(goal[columns])]))
        own, places = slopes[:, tied], columns[tied]
        own = own[np.flatnonzero(np.diff(own.indptr))]
        low, high, size = _ends(own, values[places], lower[places], upper[places], goal[places])
        level = float(goal @ values)
        low, high = min(low, level), max(high, level)
        ranges[game.names[id(price.var)]] = (level, level) if high - low <= TOLERANCES.accuracy * size else (low, high)
    return ranges


def _reaches(equilibrium: Equilibrium, x: Array) -> Array:
    """(variables, and 1) what is room: to a plan's accuracy, however near it is to one of two bounds, or to a row.

    Between bounds that is one of their distance, at a row one of what the row changes by: a solver's 0 tells no size.
    """
    program = equilibrium.program
    reaches, sizes, _ = program.units(x)
    width = program.bounds[1] - program.bounds[0]
    reaches = np.maximum(reaches, np.where(np.isfinite(width), width, 0.0))
    pairs = zip(equilibrium.conditions.pairs, equilibrium.owners, strict=True)
    slacks = np.array([owner for pair, owner in pairs if pair.slack is not pair.gap and owner >= 0], dtype=int)
    entries = abs(program.jacobian(x))[:, slacks].tocoo()
    felt = entries.data > 0.0
    np.maximum.at(reaches, slacks[entries.col[felt]], sizes[entries.row[felt]] / entries.data[felt])
    return np.append(reaches, 1.0)


def _ends(matrix: sparse.csr_array, at: Array, lower: Array, upper: Array, goal: Array) -> tuple[float, float, float]:
    """(least, most, size) of goal·z where A z is what it is at a point, in units in which nothing is large.

    HiGHS takes coefficients below 1e-9 for 0. size: what goal·z changes by where its unknowns are as large as they must
    be for the largest row.
    """
    loose = lower < upper
    at, lower, upper, goal = (part[loose] for part in (at, lower, upper, goal))
    plain, steps = _evened(sparse.csr_array(matrix[:, np.flatnonzero(loose)]))
    levels = plain @ (at / steps)
    most = float(np.abs(levels).max(initial=0.0)) or 1.0
    units = most * steps
    low, high, _ = Polyhedron(plain, levels / most, levels / most, lower / units, upper / units).ends(goal * units)
    return low, high, float(np.abs(goal * units).max(initial=0.0))


def _evened(matrix: sparse.csr_array) -> tuple[sparse.csr_array, Array]:
    """(the matrix with rows and columns in units in which their largest entries are near 1, the columns' units).

    Daniel Ruiz (2001): A scaling algorithm to equilibrate both rows and columns norms in matrices, RAL-TR-2001-034.
    """
    entries = matrix.tocoo()
    rows, steps = np.ones(matrix.shape[0]), np.ones(matrix.shape[1])
    for _ in range(_SWEEPS):
        sizes = np.abs(entries.data) * rows[entries.row] * steps[entries.col]
        for units, place in ((rows, entries.row), (steps, entries.col)):
            largest = np.zeros(len(units))
            np.maximum.at(largest, place, sizes)
            units /= np.sqrt(np.where(largest > 0.0, largest, 1.0))
    return sparse.csr_array(sparse.diags_array(rows) @ matrix @ sparse.diags_array(steps)), steps
