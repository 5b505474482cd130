"""Prices: which multipliers a market's answer leaves open.

At an answer u of follower k the multipliers of its rows are a polyhedron,

    M = {π, ν :  ∇_{u_k} L_k(u; π, ν) = 0,  π ≥ 0,  π_i = 0 where row i has room},

a point where the gradients of the active rows are independent. A price is one number of it, and its range is two linear
programs, min and max over M. Where that is wider than a point the leader's model has picked the end that it likes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy import sparse
from scipy.optimize import linprog
from scipy.sparse.csgraph import connected_components

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.games import Game, Price

from .mpcc import Equilibrium

__all__ = ["price_ranges"]


def price_ranges(game: Game, equilibrium: Equilibrium, x: Array) -> dict[str, tuple[float, float]]:
    """price → (low, high): what the market may as well choose at the answer x, ±inf where nothing bounds it.

    equilibrium: one whose conditions are KKT's, without a treatment that adds to its rows.
    """
    chosen = [price for price in game.prices if any(price.var is var for var, _ in equilibrium.conditions.prices)]
    if not chosen:
        return {}
    open_ones = _Multipliers(equilibrium, x)
    return {game.names[id(p.var)]: open_ones.range(p, game.followers[p.follower].sign) for p in chosen}


class _Multipliers:
    """The multipliers that stationarity leaves open at a point, those of rows with room at 0."""

    def __init__(self, equilibrium: Equilibrium, x: Array) -> None:
        self.made, program = equilibrium.conditions, equilibrium.program
        column = {id(v): i for i, v in enumerate(program.variables)}
        columns = [column[key] for key in dict.fromkeys(self._ids()) if key in column]
        place = {c: number for number, c in enumerate(columns)}
        self.place = {key: place[c] for key, c in column.items() if c in place}
        self.slopes = sparse.csr_array(program.jacobian(x)[equilibrium.stationary][:, columns])
        self.lower, self.upper = np.full(len(columns), -math.inf), np.full(len(columns), math.inf)
        reaches = np.append(program.units(x)[0], 1.0)
        sides = zip(self.made.pairs, equilibrium.owners, equilibrium.slacks(x), strict=True)
        for pair, owner, room in sides:
            if (number := self.place.get(id(pair.multiplier))) is not None:
                self.lower[number] = 0.0
                self.upper[number] = math.inf if room <= TOLERANCES.active * reaches[owner] else 0.0
        self.values = np.clip(x[columns], self.lower, self.upper)

    def _ids(self) -> Iterator[int]:
        yield from (id(pair.multiplier) for pair in self.made.pairs)
        yield from (id(var) for terms in self.made.signed.values() for var, _ in terms)

    def range(self, price: Price, sign: int) -> tuple[float, float]:
        """min and max of s(π⁻ − π⁺), among the multipliers that stationarity ties to its own."""
        goal = np.zeros(len(self.values))
        for var, factor in self.made.signed[price.follower, id(price.row)]:
            if id(var) in self.place:
                goal[self.place[id(var)]] -= sign * factor
        tied = self._tied(np.flatnonzero(goal))
        low, high = self._least(goal, tied), -self._least(-goal, tied)
        level = float(goal @ self.values)
        size = max(abs(level), float(np.abs(self.values[tied]).max(initial=0.0)))
        low, high = min(low, level), max(high, level)
        return (level, level) if high - low <= TOLERANCES.accuracy * size else (low, high)

    def _tied(self, chosen: Array) -> Array:
        """The multipliers that stand in rows with these, and in rows with those, and so on."""
        links = sparse.csr_array(abs(self.slopes))
        _, parts = connected_components(links.T @ links, directed=False)
        return np.flatnonzero(np.isin(parts, parts[chosen]))

    def _least(self, goal: Array, tied: Array) -> float:
        """min goal·m over slopes (m − m*) = 0 and the bounds of m; −inf without an end."""
        slopes = self.slopes[:, tied]
        slopes = slopes[np.flatnonzero(np.diff(slopes.indptr))]
        solution = linprog(
            goal[tied],
            A_eq=slopes,
            b_eq=slopes @ self.values[tied],
            bounds=np.column_stack([self.lower[tied], self.upper[tied]]),
            method="highs",
        )
        return -math.inf if solution.status == _UNBOUNDED else float(solution.fun) if solution.status == 0 else math.nan


_UNBOUNDED = 3  # SciPy's status of a linear program without an end.
