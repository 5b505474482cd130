"""Multipliers of the followers' own constraints in the composed problem, never the duals of the leader's.

A constraint g ≤ 0 that is active at the plan may hold a follower there by itself. With λ ≥ 0 on inequalities and of any
sign on equalities, the incentive has to balance only

    a_k + G_kᵀ λ + Q_kᵀ (b_k + G_0kᵀ λ) = 0        G_k = ∂g/∂u_k, G_0k = ∂g/∂u_0

"zero" takes λ = 0; "free" the λ that leaves the gain of least energy (least squares with signs; for constraints that
hold leader variables the product of gain and multiplier makes it a small nonlinear program, in which leaning on them
costs ``TOLERANCES.flat`` λ² in natural units, because without that there may be no least gain); or λ is given by name.

Least squares with signs: the nearest point of a cone, its last rows met exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyomo.environ as pyo
from scipy import linalg, optimize, sparse
from scipy.sparse import csgraph

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.derivatives import ActiveSide, Derivatives, FollowerRows, composed_normals, open_directions, row_entries
from stackpyomo.errors import InvalidGame
from stackpyomo.games import component_pairs
from stackpyomo.solvers import BadRow, Program, least_nonnegative, solve

from .selection import Limits, least_within
from .system import Component, System

_DENSE = 400  # Unknowns up to which gains within limits and multipliers are sought together.
_LEANED = 10.0  # Multipliers of constraints with leader variables, in natural units, a start is taken from.

#: How much more than energy an equation that no gain can balance weighs in each round of the search for multipliers.
_TIGHT = 1e4
_ROUNDS = 30


@dataclass
class Balance:
    """What the gain has to balance once the followers' multipliers are chosen."""

    slope: Array  #: (actions) a + Gᵀλ.
    leader: sparse.csr_array  #: (followers × leader variables) b + G_0ᵀλ.
    held: dict[str, float] = field(default_factory=dict)  #: Constraint or bound → multiplier ≠ 0.
    #: The same with the sign of the side that is active: what multiplies the body in L = J + Σ force · body.
    forces: dict[str, float] = field(default_factory=dict)


def leaning(derivatives: Derivatives, sides: Sequence[ActiveSide], multipliers: Array) -> Balance:
    """a + Gᵀλ and b + G_0ᵀλ."""
    slope, leader = derivatives.own.copy(), derivatives.leader
    extra: tuple[list[int], list[int], list[float]] = ([], [], [])
    for side, multiplier in zip(sides, multipliers, strict=True):
        slope[side.columns] += multiplier * side.normal
        if multiplier and len(side.instruments):
            extra[0].extend([side.follower] * len(side.instruments))
            extra[1].extend(side.instruments.tolist())
            extra[2].extend((multiplier * side.effect).tolist())
    if extra[0]:
        leader = sparse.csr_array(leader + sparse.csr_array((extra[2], extra[:2]), shape=leader.shape))
    by_name: dict[str, float] = {}
    forces: dict[str, float] = {}
    for side, multiplier in zip(sides, multipliers, strict=True):
        if abs(multiplier) > TOLERANCES.accuracy:
            by_name[side.name] = by_name.get(side.name, 0.0) + float(multiplier)
            forces[side.name] = forces.get(side.name, 0.0) + side.sign * float(multiplier)
    return Balance(slope, leader, by_name, forces)


def given_multipliers(
    rows: FollowerRows, derivatives: Derivatives, sides: Sequence[ActiveSide], mapping: Any
) -> Balance:
    """λ as the user gives them, by constraint (or by variable, for a bound).

    Raises :class:`InvalidGame` for what is not an active constraint or bound of a follower, or a wrong sign.
    """
    given: dict[str, float] = {}
    for key, value in component_pairs(mapping, "multipliers", "multiplier"):
        component = rows.game.component(key) if isinstance(key, str) else key
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise InvalidGame(f"multipliers: the multiplier of {key} is {value!r}; expected a finite number.")
        given[component.name] = float(value)
    place = {side.name: i for i, side in enumerate(sides)}
    multipliers = np.zeros(len(sides))
    for name, value in given.items():
        if name not in place:
            raise InvalidGame(
                f"multipliers: {name} is not a constraint or bound of a follower that is active at the plan."
            )
        if value < 0 and not sides[place[name]].equality:
            raise InvalidGame(f"multipliers: {name} is an inequality; its multiplier is ≥ 0, not {value:g}.")
        multipliers[place[name]] = value / sides[place[name]].unit
    return leaning(derivatives, sides, multipliers)


def supporting(derivatives: Derivatives, sides: Sequence[ActiveSide], owners: Array, moved: sparse.csr_array) -> Array:
    """λ of each side for a gain that is known: what leaves least of a + Gᵀλ + (K M)ᵀ(b + G_0ᵀλ), follower by follower.

    moved: K M, (leader variables × actions).
    """
    multipliers = np.zeros(len(sides))
    slope = (
        derivatives.own + np.asarray(sparse.csr_array(derivatives.leader)[owners].multiply(moved.T).sum(axis=1)).ravel()
    )
    numbers: dict[int, list[int]] = {}
    for number, side in enumerate(sides):
        numbers.setdefault(side.follower, []).append(number)
    for follower, mine in numbers.items():
        place = np.flatnonzero(owners == follower)
        own, active = slice(int(place[0]), int(place[-1]) + 1), [sides[i] for i in mine]
        pinned, limiting = composed_normals(active, {}, own, moved[:, own])
        firm = np.array([side.equality for side in active], dtype=bool)
        normals = np.zeros((len(mine), own.stop - own.start))
        normals[firm], normals[~firm] = pinned, limiting
        lower = np.where(firm, -np.inf, 0.0)
        multipliers[mine] = optimize.lsq_linear(normals.T, -slope[own], bounds=(lower, np.inf)).x
    return multipliers


def balanced(
    derivatives: Derivatives,
    sides: Sequence[ActiveSide],
    owners: Array,
    system: Callable[[sparse.csr_array], System],
    solver: str,
) -> Balance:
    """λ of the gain of least energy. ``system`` makes the equations of the gain from b (followers × leader)."""
    multipliers = np.zeros(len(sides))
    if not len(sides):
        return Balance(derivatives.own.copy(), derivatives.leader)
    equations = system(derivatives.leader)
    bilinear = {side.follower for side in sides if len(side.instruments)}
    for actions, numbers in _clusters(equations, sides, owners):
        chosen = [sides[i] for i in numbers]
        if bilinear & {side.follower for side in chosen}:
            multipliers[numbers] = _bilinear(derivatives, chosen, actions, system, solver)
        else:
            multipliers[numbers] = _signed(equations, derivatives.own, chosen, actions)
    return leaning(derivatives, sides, multipliers)


def within_limits(
    derivatives: Derivatives, sides: Sequence[ActiveSide], system: System, limits: Limits, watched: Array
) -> Array | None:
    """Multipliers of the least gain within its limits, or those with which such gains leave least.

    The multipliers of the least gain of all know no limits. None where constraints hold leader variables, or beyond
    ``_DENSE`` unknowns.
    """
    size = len(limits.lower)
    if not sides or size + len(sides) > _DENSE or any(len(side.instruments) for side in sides):
        return None
    normals = np.zeros((len(derivatives.own), len(sides)))
    for number, side in enumerate(sides):
        normals[side.columns, number] = side.normal
    matrix = np.hstack([system.matrix.toarray(), normals])[watched] / system.row_sizes[watched, np.newaxis]
    right = -derivatives.own[watched] / system.row_sizes[watched]
    signs = [-np.inf if side.equality else 0.0 for side in sides]
    within = Limits(np.append(limits.lower, signs), np.append(limits.upper, np.full(len(sides), np.inf)))
    weights = np.append(system.weights, np.zeros(len(sides)))
    return least_within(matrix, right, weights, within)[size:]


def _clusters(system: System, sides: Sequence[ActiveSide], owners: Array) -> Iterator[tuple[Array, Array]]:
    """(actions, numbers of the sides) of groups linked by a shared entry of the gain or a shared constraint."""
    by_row, _ = system.labels
    count = int(by_row.max(initial=0)) + 1
    # A side links what it holds; one with leader variables is felt in every action of its follower.
    starts, stops = (np.searchsorted(owners, [side.follower for side in sides], end) for end in ("left", "right"))
    holders = [
        by_row[start:stop] if len(side.instruments) else by_row[side.columns]
        for side, start, stop in zip(sides, starts, stops, strict=True)
    ]
    row = np.repeat(np.arange(len(sides)), [len(h) for h in holders])
    column = np.concatenate(holders) if holders else np.zeros(0, dtype=int)
    shape = (len(sides) + count,) * 2
    graph = sparse.csr_array((np.ones(len(row)), (row, column + len(sides))), shape=shape)
    _, groups = csgraph.connected_components(graph, directed=False)
    of_sides, of_actions = groups[: len(sides)], groups[len(sides) :][by_row]
    order, along = np.argsort(of_sides, kind="stable"), np.argsort(of_actions, kind="stable")
    for group in np.unique(of_sides):
        start, stop = np.searchsorted(of_sides[order], [group, group + 1])
        begin, end = np.searchsorted(of_actions[along], [group, group + 1])
        if end > begin:
            yield np.sort(along[begin:end]), np.sort(order[start:stop])


def _signed(system: System, slope: Array, sides: Sequence[ActiveSide], actions: Array) -> Array:
    """min_{λ} ‖E⁺(a + Gᵀλ)‖² with what E cannot balance made 0, E the equations scaled by the energy's weights."""
    sizes = system.row_sizes[actions]
    columns = np.unique(system.matrix[actions].indices)
    part = Component(actions, columns)
    matrix = system.evened(part) / np.sqrt(system.weights[columns])
    left, values, _ = (
        linalg.svd(matrix, full_matrices=True) if matrix.size else (np.eye(len(actions)), np.zeros(0), None)
    )
    rank = int((values > system.cut(part) * values.max(initial=0.0)).sum())
    normals = np.zeros((len(actions), len(sides)))
    for number, side in enumerate(sides):
        places = np.searchsorted(actions, side.columns)
        normals[places, number] = side.normal / sizes[places]
    both = np.flatnonzero([side.equality for side in sides])  # an equality pushes either way: λ = λ⁺ − λ⁻
    turned = left.T @ np.hstack([normals, -normals[:, both]])
    turned[np.abs(turned) <= TOLERANCES.noise * np.linalg.norm(turned, axis=0)] = 0.0  # rounding pushes nobody
    parts = nearest_nonnegative(turned, -(left.T @ (slope[actions] / sizes)), 1.0 / values[:rank])
    multipliers = parts[: len(sides)]
    multipliers[both] -= parts[len(sides) :]
    return multipliers


def _bilinear(
    derivatives: Derivatives,
    sides: Sequence[ActiveSide],
    actions: Array,
    system: Callable[[sparse.csr_array], System],
    solver: str,
) -> Array:
    """min Σ w K² + a little Σ λ² over constraints with leader variables, s.t. a + Gᵀλ + (b + G_0ᵀλ)·K M = 0, λ ≥ 0."""
    best, least = np.zeros(len(sides)), math.inf
    for start in (0.0, 1.0, _LEANED):
        program, multipliers = _product(derivatives, sides, actions, system, start)
        try:
            written = Program(*program)
        except BadRow:
            continue
        solution = solve(written, solver)
        if solution.answer is None:
            continue
        cost = float(written.problem.objective(solution.x))
        if not cost < least:
            continue
        levels = written.levels(solution.answer)
        best, least = np.array([levels.get(id(v), 0.0) for v in multipliers]), cost
    return np.where(np.abs(best) > TOLERANCES.snap, best, 0.0)


def _product(
    derivatives: Derivatives,
    sides: Sequence[ActiveSide],
    actions: Array,
    system: Callable[[sparse.csr_array], System],
    start: float,
) -> tuple[tuple[Any, list[Any]], list[Any]]:
    """(objective and rows of the small program, its multipliers)."""
    model = pyo.ConcreteModel(name="multipliers")
    model.multiplier = pyo.Var(range(len(sides)), initialize=0.0)
    for number, side in enumerate(sides):
        multiplier = model.multiplier[number]
        multiplier.setlb(None if side.equality else 0.0)
        multiplier.set_value(start if len(side.instruments) else 0.0)
    parts = [system(derivatives.leader)]  # b, then what each multiplier adds to it
    for side in sides:
        at = ([side.follower] * len(side.instruments), side.instruments)
        parts.append(system(sparse.csr_array((side.effect, at), shape=derivatives.leader.shape)))
    model.gain = gain = pyo.Var(pyo.Any, dense=False)
    weights: dict[tuple[int, int], float] = {}
    rows: list[Any] = []
    held_by: list[set[int]] = []
    pulls: list[dict[tuple[int, int], float]] = []
    for action in actions:
        pull: dict[tuple[int, int], float] = {}
        terms = [float(derivatives.own[action])]
        holders: set[int] = set()
        for number, side in enumerate(sides):
            where = np.flatnonzero(side.columns == action)
            terms += [float(side.normal[i]) * model.multiplier[number] for i in where]
            holders |= {number} if side.normal[where].any() else set()
        for number, part in enumerate(parts):
            columns, data = row_entries(part.matrix, int(action))
            factor = model.multiplier[number - 1] if number else 1.0
            for column, value in zip(columns, data, strict=True):
                key = int(part.leader[column]), int(part.signal[column])
                weights[key] = float(part.weights[column])
                if key not in gain:
                    gain[key].set_value(0.0)
                terms.append(float(value) * factor * gain[key])
                pull[key] = pull.get(key, 0.0) + float(value) * pyo.value(factor)
                holders.add(-1)
        row = sum(terms)
        if hasattr(row, "is_expression_type"):
            rows.append(row == 0.0)
            held_by.append(holders)
            pulls.append(pull)
    _begin(gain, rows, pulls)
    rows = [rows[i] for i in _needed(held_by)]
    energy = sum(w * gain[key] ** 2 for key, w in weights.items())
    leant = TOLERANCES.flat * sum(model.multiplier[i] ** 2 for i, side in enumerate(sides) if len(side.instruments))
    return (energy + leant, rows), list(model.multiplier.values())


def _begin(gain: Any, rows: Sequence[Any], pulls: Sequence[Mapping[tuple[int, int], float]]) -> None:
    """Start from the least gain that meets the rows at the multipliers' start: from 0 a solver may find no way."""
    keys = list(gain)
    matrix = np.array([[pull.get(key, 0.0) for key in keys] for pull in pulls]).reshape(len(rows), len(keys))
    levels = np.array([pyo.value(row.args[0]) for row in rows])
    start = linalg.lstsq(matrix, -levels, cond=TOLERANCES.rank)[0] if matrix.size else np.zeros(len(keys))
    for key, value in zip(keys, start, strict=True):
        gain[key].set_value(float(value))


def _needed(held_by: Sequence[set[int]]) -> list[int]:
    """Rows without those whose multipliers other rows settle one by one (−1: a gain, which none does).

    A CVaR's threshold asks that the weights of its tail sum to 1, and its excesses say what each of them is: that is an
    equation more than there are variables, and an NLP solver refuses it.
    """
    settled: set[int] = set()
    needed: set[int] = set()
    while True:
        single = {next(iter(left)): i for i, holders in enumerate(held_by) if len(left := holders - settled) == 1}
        single.pop(-1, None)
        if not single:
            return [i for i, holders in enumerate(held_by) if i in needed or holders - settled]
        settled |= single.keys()
        needed |= set(single.values())


def nearest_nonnegative(turned: Array, target: Array, power: Array) -> Array:
    """argmin_{p ≥ 0} of what is left of the first rows, weighed by ``power``, with the others met.

    The method of multipliers: one heavily weighed row alone would leave a residual as large as its weight is small.
    """
    rank = len(power)
    tight = _TIGHT * power.max(initial=1.0)
    weights = np.concatenate([power, np.full(len(target) - rank, tight)])
    shifted, parts = target.copy(), np.zeros(turned.shape[1])
    for _ in range(_ROUNDS):
        parts = least_nonnegative(weights[:, np.newaxis] * turned, weights * shifted)
        left = target[rank:] - turned[rank:] @ parts
        if np.abs(left).max(initial=0.0) <= TOLERANCES.noise * np.abs(target).max(initial=0.0):
            break
        shifted[rank:] += left
    exact = _exact(turned, target, power, _independent(turned, parts))
    missed = np.abs(turned[rank:] @ exact - target[rank:]).max(initial=0.0)
    hopeless = missed > TOLERANCES.snap * np.abs(target).max(initial=0.0)
    return np.zeros(len(exact)) if hopeless else exact  # none will do, and what least squares make of them misleads


def _independent(turned: Array, parts: Array) -> Array:
    """The same sum Σ p_i column_i, p ≥ 0, of columns that are linearly independent (Carathéodory's theorem).

    Columns that undo each other may be taken without limit, and least squares then do.
    """
    norms = np.linalg.norm(turned, axis=0)
    parts = np.where(norms > 0.0, parts, 0.0)
    while True:
        used = np.flatnonzero(parts)
        ways = open_directions(turned[:, used] / norms[used])
        if not ways.shape[1]:
            return parts
        while ways.shape[1]:
            turn = ways[:, 0] if ways[:, 0].max() >= -ways[:, 0].min() else -ways[:, 0]
            way = turn / norms[used]
            limits = np.full(len(way), np.inf)
            np.divide(parts[used], way, out=limits, where=turn > TOLERANCES.noise)  # rounding alone limits nothing
            first = int(np.argmin(limits))
            parts[used] = np.maximum(parts[used] - limits[first] * way, 0.0)
            parts[used[first]] = 0.0
            ways = _without(ways, first)


def _without(ways: Array, entry: int) -> Array:
    """An orthonormal basis of those directions in the span of an orthonormal one that leave an entry alone."""
    mirror = ways[entry].copy()
    mirror[0] += math.copysign(float(np.linalg.norm(mirror)), mirror[0])  # Householder: the entry is in column 0 alone
    square = float(mirror @ mirror)
    return ways[:, 1:] - np.outer(ways @ mirror, mirror[1:]) * (2.0 / square) if square else ways[:, 1:]


def _exact(turned: Array, target: Array, power: Array, parts: Array) -> Array:
    """The least of all p that are 0 where ``parts`` is, the last rows met to the last digit, if it is ≥ 0."""
    rank, used = len(power), parts > 0.0
    columns = turned[:, used]
    begun = linalg.lstsq(columns[rank:], target[rank:])[0] if rank < len(target) else np.zeros(used.sum())
    open_ways = open_directions(columns[rank:])
    right = power * (target[:rank] - columns[:rank] @ begun)
    steps = linalg.lstsq(power[:, np.newaxis] * (columns[:rank] @ open_ways), right)[0]
    exact = np.zeros(len(parts))
    exact[used] = begun + open_ways @ steps
    missed, left = (np.abs(turned[rank:] @ p - target[rank:]).max(initial=0.0) for p in (parts, exact))
    return exact if (exact >= 0.0).all() and left <= missed else parts
