"""Choices among valid gains: within bounds, or with as few entries as possible.

    min_K Σ w K²        s.t.  E K = −s,  lower ≤ K ≤ upper        (a point of least distance)
    min_K #{K ≠ 0}      s.t.  the same                            (least Σ|K| first, then integers)

one group of equations at a time; the sparsest is then made exact on its support by linear algebra.

Entries of a gain: which leader variable may answer which signal, one of each, its energy and limits.

The record that every design starts from, by slopes, by deviations or with plan and gain unknown together: what is
observed, what one member's action moves of it, who is watched, and what the user asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from scipy import linalg, sparse
from scipy.optimize import linprog, lsq_linear

from stackpyomo.core import TOLERANCES, Array, require_positive, rows_scaled
from stackpyomo.derivatives import FollowerRows
from stackpyomo.deviations import nearest
from stackpyomo.errors import InvalidGame
from stackpyomo.games import component_pairs, leader_variables, members
from stackpyomo.games.information import Announcement, Observation, counts, shares
from stackpyomo.solvers import Program, solve

from .system import Component, System, gain_system

_COUNTED = 120  # Entries of a group up to which the fewest are found by integers; beyond, the least Σ|K| is kept.
_REACH = 100.0  # How far an entry of the sparsest gain may lie, in units of the largest of the gain of least Σ|K|.

#: What an infinite population's members together weigh in the energy beside a single follower, to choose a gain.
_CROWD = 1e9


@dataclass(frozen=True)
class Limits:
    """Bounds of every entry of the gain."""

    lower: Array
    upper: Array

    def are_met(self, gain: Array) -> Array:
        """Which entries are within."""
        room = TOLERANCES.noise * np.maximum(1.0, np.abs(gain))
        return np.asarray((gain >= self.lower - room) & (gain <= self.upper + room))

    def at(self, entry: int) -> tuple[float, float]:
        """(low, high) of one entry."""
        return float(self.lower[entry]), float(self.upper[entry])


def bounded(system: System, slope: Array, gain: Array, limits: Limits) -> Array:
    """The gain of least energy within the limits; what cannot be met leaves its residual in the equations."""
    within = gain.copy()
    by_row, by_column = system.labels
    touched = np.flatnonzero(np.isin(by_row, by_column[~limits.are_met(gain)]))
    for part in system.components(touched):
        block, right = _equations(system, slope, part)
        part_limits = Limits(limits.lower[part.columns], limits.upper[part.columns])
        within[part.columns] = least_within(block, right, system.weights[part.columns], part_limits)
    return within


def least_within(block: Array, right: Array, weights: Array, limits: Limits) -> Array:
    """argmin Σ w x² subject to block x = right within the limits; where they exclude each other, what leaves least."""
    each, able = np.eye(block.shape[1]), limits.lower < limits.upper
    floors, ceilings = np.isfinite(limits.lower), np.isfinite(limits.upper)
    rows = np.vstack([block, each[floors], -each[ceilings]])
    levels = np.concatenate([right, limits.lower[floors], -limits.upper[ceilings]])
    point = nearest(rows, levels, weights, np.arange(len(rows)) < len(block)).point
    if point is not None:
        return np.clip(point, limits.lower, limits.upper)
    point = limits.lower.copy()
    ends = limits.lower[able], limits.upper[able]
    rest = right - block[:, ~able] @ point[~able]
    point[able] = lsq_linear(block[:, able], rest, ends, method="bvls", tol=TOLERANCES.rounding).x
    return point


def sparsest(system: System, slope: Array, gain: Array, limits: Limits) -> Array:
    """A gain with as few entries as possible (a group of many entries: of least Σ|K|)."""
    sparse_gain = gain.copy()
    for part in system.components(np.arange(len(slope))):
        if np.count_nonzero(gain[part.columns]) <= 1:
            continue
        values = _least_sum(system, slope, part, limits)
        if values is None:
            continue
        guesses = [values]
        if len(part.columns) <= _COUNTED:
            fewer = _fewest(system, slope, part, limits, float(np.abs(values).max(initial=0.0)))
            guesses = guesses if fewer is None else [fewer, values]
        for guess in guesses:  # what HiGHS counts as integer may hide an entry that is small and needed
            used = np.abs(guess) > TOLERANCES.snap * np.abs(guess).max(initial=0.0)
            exact, whole = _on_support(system, slope, part, used), gain.copy()
            if exact is None:
                continue
            whole[part.columns] = exact
            if limits.are_met(whole).all():
                sparse_gain[part.columns] = exact
                break
    return sparse_gain


def _equations(system: System, slope: Array, part: Component) -> tuple[Array, Array]:
    """(the component's equations, each of norm 1; what each is to be)."""
    return system.evened(part), -slope[part.rows] / system.row_sizes[part.rows]


def _least_sum(system: System, slope: Array, part: Component, limits: Limits) -> Array | None:
    """min Σ √w |K|, K = K⁺ − K⁻."""
    block, right = _equations(system, slope, part)
    low, high, cost = limits.lower[part.columns], limits.upper[part.columns], np.sqrt(system.weights[part.columns])
    sides = [np.maximum([low, high], 0.0), np.maximum([-high, -low], 0.0)]
    answer = linprog(np.tile(cost, 2), A_eq=np.hstack([block, -block]), b_eq=right, bounds=np.hstack(sides).T)
    return None if answer.x is None else answer.x[: len(cost)] - answer.x[len(cost) :]


def _fewest(system: System, slope: Array, part: Component, limits: Limits, largest: float) -> Array | None:
    """Fewest entries not 0, each within ``_REACH`` times the largest of the gain of least sum."""
    block, right = _equations(system, slope, part)
    reach = _REACH * max(largest, TOLERANCES.noise)
    low, high = np.maximum(limits.lower[part.columns], -reach), np.minimum(limits.upper[part.columns], reach)
    model = pyo.ConcreteModel(name="gain")
    model.entry = pyo.Var(range(len(low)), bounds=lambda _, j: (float(low[j]), float(high[j])), initialize=0.0)
    model.used = pyo.Var(range(len(low)), within=pyo.Binary, initialize=1)
    equations = zip(block, right, strict=True)
    rows = [
        sum(float(a) * model.entry[j] for j, a in enumerate(row) if a) == float(r) for row, r in equations if row.any()
    ]
    for j in model.used:
        rows += [model.entry[j] <= reach * model.used[j], -model.entry[j] <= reach * model.used[j]]
    program = Program(sum(model.used.values()), rows)
    solution = solve(program, "highs", options={"mip_feasibility_tolerance": TOLERANCES.solver})
    if solution.answer is None:
        return None
    levels = program.levels(solution.answer)
    return np.array([levels.get(id(entry), 0.0) for entry in model.entry.values()])


def _on_support(system: System, slope: Array, part: Component, used: Array) -> Array | None:
    """Least energy over these entries alone; None if the equations then do not hold."""
    block, right = _equations(system, slope, part)
    root = np.sqrt(system.weights[part.columns][used])
    values = np.zeros(len(used))
    values[used] = linalg.lstsq(block[:, used] / root, right, cond=system.cut(part))[0] / root
    left = np.abs(block @ values - right).max(initial=0.0)
    return values if left <= TOLERANCES.residual * max(1.0, np.abs(right).max(initial=0.0)) else None


def by_instrument(rows: FollowerRows, pairs: Sequence[tuple[Any, Any]]) -> list[tuple[int, Any]]:
    """(number of the leader's variable, value) for each Var that the pairs name."""
    place = {id(v): i for i, v in enumerate(rows.instruments)}
    chosen = [(var, value) for key, value in pairs for var in members(rows.game, key)]
    leader_variables(rows.game, [var for var, _ in chosen])
    return [(place[id(var)], value) for var, value in chosen if id(var) in place]


def gain_bounds(rows: FollowerRows, bounds: Any) -> tuple[Array, Array]:
    """(lower, upper) per leader variable from one pair of numbers or a component mapping of pairs."""
    lower, upper = np.full(len(rows.instruments), -np.inf), np.full(len(rows.instruments), np.inf)
    if bounds is None:
        return lower, upper
    if _are_limits(bounds):
        pairs: list[tuple[int, Any]] = [(i, bounds) for i in range(len(lower))]
    else:
        pairs = by_instrument(rows, component_pairs(bounds, "gain_bounds", "(low, high)"))
    for place, pair in pairs:
        low, high = pair if _are_limits(pair) else (np.nan, np.nan)
        low, high = (-np.inf if low is None else low), (np.inf if high is None else high)
        if not low <= high:
            raise InvalidGame(
                f"gain_bounds={pair!r}: expected (low, high) with low ≤ high; None where there is no limit."
            )
        lower[place], upper[place] = low, high
    return lower, upper


def _are_limits(pair: Any) -> bool:
    """Whether it is a pair of numbers, or None where there is no limit."""
    several = isinstance(pair, (tuple, list)) and len(pair) == 2
    return several and all(b is None or (isinstance(b, (int, float)) and not isinstance(b, bool)) for b in pair)


@dataclass(frozen=True)
class Payment:
    """What the free values are to pay, and what was decided."""

    expression: Any = None  #: Of free variables; None: no payment is looked at.
    limit: float = math.nan  #: The most that may be paid: as given, or the least that is possible.
    given: bool = False  #: True if the limit is the user's; else the least payment comes first.
    paid: float = math.nan  #: What is paid on the plan.


@dataclass(frozen=True)
class Wishes:
    """What the user asked for, beside the plan."""

    observation: Observation
    energy: Any = None
    multipliers: Any = "zero"
    curvature: float | None = None  #: The least curvature of the followers' composed costs; None: whatever comes.
    saturate: bool = False
    gain_bounds: Any = None
    prefer: str = "energy"
    quadratic: bool = False
    minors: str = "frozen"
    solver: str = "auto"
    free: Sequence[Any] = ()  #: Leader Vars whose on-path value is chosen anew.
    payment: Payment = Payment()
    design: str = "auto"
    regret: str = "zero"
    margin: float = 0.0


class Entries:
    """What a gain may answer and what that moves; ``rows`` are in natural units at the plan.

    One of a signal is the most that one action moves it over its reach, so that one of an entry K_ls is (reach of the
    leader's variable) / (one of the signal).
    """

    def __init__(self, rows: FollowerRows, wishes: Wishes) -> None:
        game = rows.game
        self.rows, self.wishes, self.signals = rows, wishes, wishes.observation.signals
        self.leader = [game.names[id(v)] for v in rows.instruments]
        self.shares = shares(game, self.signals)  #: In the user's units.
        most = abs(self.shares.moves).max(axis=0).toarray() if self.signals else np.zeros(len(rows.actions))
        #: (actions) the most that one of each moves a signal, both in the user's units.
        self.reach = np.asarray(most).ravel()
        moves = sparse.csr_array(self.shares.moves @ sparse.diags_array(rows.action_units))
        spans = abs(moves).max(axis=1).toarray().ravel() if self.signals else np.zeros(0)
        self.spans = np.where(spans > 0.0, spans, 1.0)  #: (signals) the unit of each.
        self.moves = sparse.csr_array(rows_scaled(moves, 1.0 / self.spans))  #: (signals × actions) M.
        self.counts = counts(game, self.signals)  #: (signals) how many followers show each.
        self.crowds = np.where(np.isinf(self.counts), _CROWD, self.counts)
        #: (leader's variables) energy of a unit of gain, in the user's units.
        self.weights = _weights(rows, wishes.energy)
        #: (leader's variables) bounds of the entries of each, in the user's units.
        self.lower, self.upper = gain_bounds(rows, wishes.gain_bounds)
        #: (leader variables × signals) ≠ 0 where the leader may use the signal; None: everywhere.
        self.allowed = self._allowed()
        used = np.ones(len(self.signals)) if self.allowed is None else np.asarray(self.allowed.sum(axis=0)).ravel()
        seen = sparse.csr_array(self.shares.sums.multiply((used > 0)[:, np.newaxis]))
        self.watched = np.zeros(len(rows.followers), dtype=bool)  #: (followers) whom the incentive has to hold.
        self.watched[rows.owners[np.unique(seen.tocoo().col)]] = True
        curved = {name for signal in self.signals if signal.curve is not None for name in signal.terms}
        for number, follower in enumerate(rows.followers if curved else ()):
            self.watched[number] |= any(game.names[id(v)] in curved for v in follower.variables)

    def _allowed(self) -> sparse.csr_array | None:
        permitted = self.wishes.observation.permitted
        if permitted is None:
            return None
        pairs = [(i, s) for i, name in enumerate(self.leader) for s in sorted(permitted.get(name, ()))]
        at = tuple(np.array(pairs, dtype=int).reshape(-1, 2).T)
        return sparse.csr_array((np.ones(len(pairs)), at), shape=(len(self.leader), len(self.signals)))

    def system(self, leader: sparse.csr_array) -> System:
        """The linear system of the gain for b (followers × leader variables), in natural units.

        Whatever the units, a typical unit of gain has an energy of about 1.
        """
        weights, typical = self.weights * self.rows.instrument_units**2, 1.0
        if len(weights) and len(self.spans):
            typical = float(np.median(self.spans)) / float(np.sqrt(np.median(weights)))
        felt, crowds = rows_scaled(leader, self.watched), self.crowds / self.spans**2
        return gain_system(felt, self.moves, self.rows.owners, weights * typical**2, crowds, self.allowed)

    def units(self, instruments: Array, signals: Array) -> Array:
        """One of each entry of K in the user's units."""
        return np.asarray(self.rows.instrument_units[instruments] / self.spans[signals])

    def announced(self, values: Mapping[str, float], gain: sparse.csc_array, objective: float) -> Announcement:
        """What a re-solve plays: the formula through the point, with this gain."""
        saturate = self.wishes.saturate
        return Announcement(values, objective, self.leader, self.signals, gain, saturate=saturate)


def _weights(rows: FollowerRows, energy: Any) -> Array:
    """Weight per leader variable from a ComponentMap, (component, value) pairs, or a dict keyed by name."""
    weights = np.ones(len(rows.instruments))
    if energy is None:
        return weights
    pairs = component_pairs(energy, "energy", "weight")
    for key, weight in pairs:
        require_positive(f"energy: the weight of {key}", weight)
    for place, weight in by_instrument(rows, pairs):
        weights[place] = weight
    return weights
