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
    width = program.bounds[1] - program.bounds[0]
    # A plan is known to its accuracy, which between two bounds is one of their distance, however near it is to one.
    reaches = np.append(np.maximum(program.units(x)[0], np.where(np.isfinite(width), width, 0.0)), 1.0)
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
        low, high = _ends(own, values[places], lower[places], upper[places], goal[places])
        level = float(goal @ values)
        low, high = min(low, level), max(high, level)
        size = max(abs(level), float(np.abs(values[places]).max(initial=0.0)))
        ranges[game.names[id(price.var)]] = (level, level) if high - low <= TOLERANCES.accuracy * size else (low, high)
    return ranges


def _ends(matrix: sparse.csr_array, at: Array, lower: Array, upper: Array, goal: Array) -> tuple[float, float]:
    """(least, most) of goal·z where A z is what it is at a point, rows and unknowns in units in which nothing is large.

    A row is small against its terms at the point, an unknown against what it adds to a row.
    """
    sizes = abs(matrix)
    terms, slopes = (np.asarray((sizes @ sparse.diags_array(x)).max(axis=1).toarray()).ravel()
                     for x in (np.abs(at), np.ones(len(at))))  # fmt: skip
    scaled = sparse.diags_array(1.0 / np.where(terms > 0.0, terms, np.where(slopes > 0.0, slopes, 1.0))) @ matrix
    largest, entries = np.zeros(len(at)), scaled.tocoo()
    np.maximum.at(largest, entries.col, np.abs(entries.data))
    steps = 1.0 / np.where(largest > 0.0, largest, 1.0)
    plain = sparse.csr_array(scaled @ sparse.diags_array(steps))
    levels = plain @ (at / steps)
    low, high, _ = Polyhedron(plain, levels, levels, lower / steps, upper / steps).ends(goal * steps)
    return low, high
