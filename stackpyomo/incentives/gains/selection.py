"""Choices among valid gains: within bounds, or with as few entries as possible.

    min_K Σ w K²        s.t.  E K = −s,  lower ≤ K ≤ upper        (quadratic program)
    min_K #{K ≠ 0}      s.t.  the same                            (least Σ|K| first, then integers)

one group of equations at a time; what is found is then made exact on its support by linear algebra.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from scipy import linalg

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.derivatives import FollowerRows
from stackpyomo.errors import InvalidGame
from stackpyomo.games import component_pairs, leader_variables, members
from stackpyomo.solvers import BadRow, Program, solve

from .system import Component, System

__all__ = ["Limits", "bounded", "by_instrument", "gain_bounds", "sparsest"]

_COUNTED = 120  # Entries of a group up to which the fewest are found by integers; beyond, the least Σ|K| is kept.
_REACH = 100.0  # How far an entry of the sparsest gain may lie, in units of the largest of the gain of least Σ|K|.


@dataclass(frozen=True)
class Limits:
    """Bounds of every entry of the gain."""

    lower: Array
    upper: Array

    def are_met(self, gain: Array) -> Array:
        """Which entries are within."""
        room = TOLERANCES.noise * np.maximum(1.0, np.abs(gain))
        return np.asarray((gain >= self.lower - room) & (gain <= self.upper + room))


def bounded(system: System, slope: Array, gain: Array, limits: Limits, solver: str) -> Array:
    """The gain of least energy within the limits; what cannot be met leaves its residual in the equations."""
    within_limits = gain.copy()
    broken = np.flatnonzero(~limits.are_met(gain))
    by_row, by_column = system.labels
    touched = np.flatnonzero(np.isin(by_row, by_column[broken]))
    for part in system.components(touched):
        model, entries, rows = _equations(system, slope, part, limits)
        energy = sum(float(system.weights[c]) * entries[c] ** 2 for c in part.columns)
        values = _solved(energy, rows, entries, part, solver)
        if values is None:
            within_limits[part.columns] = np.clip(
                gain[part.columns], limits.lower[part.columns], limits.upper[part.columns]
            )
            continue
        low, high = limits.lower[part.columns], limits.upper[part.columns]
        near = TOLERANCES.snap * np.maximum(1.0, np.abs(values))
        at_low, at_high = values - low <= near, high - values <= near
        fixed = np.where(at_low, low, np.where(at_high, high, np.nan))
        exact = _on_support(system, slope, part, fixed)
        within = exact is not None and limits.are_met(_placed(gain, part, exact)).all()
        within_limits[part.columns] = exact if within else np.clip(values, low, high)
        del model
    return within_limits


def sparsest(system: System, slope: Array, gain: Array, limits: Limits, solver: str) -> Array:
    """A gain with as few entries as possible (a group of many entries: of least Σ|K|)."""
    sparse_gain = gain.copy()
    for part in system.components(np.arange(len(slope))):
        if np.count_nonzero(gain[part.columns]) <= 1:
            continue
        values = _least_sum(system, slope, part, limits, solver)
        if values is None:
            continue
        guesses = [values]
        if len(part.columns) <= _COUNTED:
            fewer = _fewest(system, slope, part, limits, float(np.abs(values).max(initial=0.0)))
            guesses = guesses if fewer is None else [fewer, values]
        for guess in guesses:  # what HiGHS counts as integer may hide an entry that is small and needed
            small = np.abs(guess) <= TOLERANCES.snap * np.abs(guess).max(initial=0.0)
            exact = _on_support(system, slope, part, np.where(small, 0.0, np.nan))
            if exact is not None and limits.are_met(_placed(gain, part, exact)).all():
                sparse_gain[part.columns] = exact
                break
    return sparse_gain


def _placed(gain: Array, part: Component, values: Array) -> Array:
    whole = gain.copy()
    whole[part.columns] = values
    return whole


def _equations(system: System, slope: Array, part: Component, limits: Limits) -> tuple[Any, Any, list[Any]]:
    """(the model that owns them, entry number → Var, the component's equations)."""
    model = pyo.ConcreteModel(name="gain")
    model.entry = pyo.Var(part.columns.tolist(), initialize=0.0)
    for column in part.columns:
        low, high = limits.lower[column], limits.upper[column]
        model.entry[column].setlb(None if np.isinf(low) else float(low))
        model.entry[column].setub(None if np.isinf(high) else float(high))
    rows = []
    for action in part.rows:
        inside = slice(system.matrix.indptr[action], system.matrix.indptr[action + 1])
        pairs = zip(system.matrix.indices[inside], system.matrix.data[inside], strict=True)
        size = system.row_sizes[action]
        body = sum(float(value / size) * model.entry[column] for column, value in pairs)
        if hasattr(body, "is_expression_type"):
            rows.append(body == -float(slope[action] / size))
    return model, model.entry, rows


def _solved(
    cost: Any, rows: list[Any], entries: Any, part: Component, solver: str, options: dict[str, Any] | None = None
) -> Array | None:
    try:
        program = Program(cost, rows)
    except BadRow:
        return None
    # HiGHS where nobody else is asked for: alike followers give the same equation many times, which interior-point
    # methods for nonlinear programs do not like.
    solution = solve(program, "highs" if solver == "auto" else solver, options=options)
    if solution.answer is None:
        return None
    levels = program.levels(solution.answer)
    return np.array([levels.get(id(entries[c]), 0.0) for c in part.columns])


def _least_sum(system: System, slope: Array, part: Component, limits: Limits, solver: str) -> Array | None:
    model, entries, rows = _equations(system, slope, part, limits)
    model.size = pyo.Var(part.columns.tolist(), bounds=(0.0, None), initialize=0.0)
    for column in part.columns:
        rows += [entries[column] <= model.size[column], -entries[column] <= model.size[column]]
    cost = sum(float(np.sqrt(system.weights[c])) * model.size[c] for c in part.columns)
    return _solved(cost, rows, entries, part, solver)


def _fewest(system: System, slope: Array, part: Component, limits: Limits, largest: float) -> Array | None:
    """Fewest entries not 0, each within ``_REACH`` times the largest of the gain of least sum."""
    model, entries, rows = _equations(system, slope, part, limits)
    model.used = pyo.Var(part.columns.tolist(), within=pyo.Binary, initialize=1)
    reach = _REACH * max(largest, TOLERANCES.noise)
    for column in part.columns:
        rows += [entries[column] <= reach * model.used[column], -entries[column] <= reach * model.used[column]]
    strict = {"mip_feasibility_tolerance": TOLERANCES.solver}
    return _solved(sum(model.used.values()), rows, entries, part, "highs", strict)


def _on_support(system: System, slope: Array, part: Component, fixed: Array) -> Array | None:
    """Least energy over the entries that are not fixed (NaN); None if the equations then do not hold."""
    free = np.isnan(fixed)
    block, slope = system.evened(part), slope[part.rows] / system.row_sizes[part.rows]
    right = -slope - block[:, ~free] @ fixed[~free]
    root = np.sqrt(system.weights[part.columns][free])
    values = np.where(free, 0.0, fixed)
    if free.any():
        values[free] = linalg.lstsq(block[:, free] / root, right, cond=system.cut(part))[0] / root
    left = np.abs(block @ values + slope).max(initial=0.0)
    return values if left <= TOLERANCES.residual * max(1.0, np.abs(slope).max(initial=0.0)) else None


def by_instrument(rows: FollowerRows, pairs: Sequence[tuple[Any, Any]]) -> list[tuple[int, Any]]:
    """(number of the leader's variable, value) for each Var that the pairs name."""
    place = {id(v): i for i, v in enumerate(rows.instruments)}
    wanted = [(var, value) for key, value in pairs for var in members(rows.game, key)]
    leader_variables(rows.game, [var for var, _ in wanted])
    return [(place[id(var)], value) for var, value in wanted if id(var) in place]


def gain_bounds(rows: FollowerRows, bounds: Any) -> tuple[Array, Array]:
    """(lower, upper) per leader variable from one pair of numbers or a component mapping of pairs."""
    lower, upper = np.full(len(rows.instruments), -np.inf), np.full(len(rows.instruments), np.inf)
    if bounds is None:
        return lower, upper
    if isinstance(bounds, (tuple, list)) and len(bounds) == 2 and all(_is_limit(b) for b in bounds):
        pairs: list[tuple[int, Any]] = [(i, bounds) for i in range(len(lower))]
    else:
        pairs = by_instrument(rows, component_pairs(bounds, "gain_bounds", "(low, high)"))
    for place, pair in pairs:
        good = isinstance(pair, (tuple, list)) and len(pair) == 2 and all(_is_limit(b) for b in pair)
        low, high = (
            -np.inf if not good or pair[0] is None else pair[0],
            np.inf if not good or pair[1] is None else pair[1],
        )
        if not good or not low <= high:
            raise InvalidGame(
                f"gain_bounds={pair!r}: expected (low, high) with low ≤ high; None where there is no limit."
            )
        lower[place], upper[place] = low, high
    return lower, upper


def _is_limit(bound: Any) -> bool:
    return bound is None or (isinstance(bound, (int, float)) and not isinstance(bound, bool) and not math.isnan(bound))
