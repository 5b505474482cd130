"""Sensitivities: how what the followers do, and the slopes of what they mind, change with parameters θ.

At an answer u of one follower, with the normals N of its active sides,

    [ H  Nᵀ ] [ ∂u/∂θ ]     [ ∂²L/∂u∂θ ]
    [ N  0  ] [ ∂λ/∂θ ] = − [ ∂g/∂θ    ]        ∂u/∂θ = 0 where bounds leave nothing open

All followers of an experiment come from one Hessian: a copy holds its own actions and θ alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.expr.calculus.derivatives import Modes, differentiate
from scipy import linalg, sparse
from scipy.optimize import lsq_linear

from stackpyomo.core import TOLERANCES, Array, listed
from stackpyomo.core.expressions import UNREADABLE, is_affine, substituting
from stackpyomo.derivatives import ActiveSide, FollowerRows, active_sides, by_follower, open_directions
from stackpyomo.errors import InvalidGame
from stackpyomo.solvers import least_nonnegative

from .experiments import Experiments

_ROUNDS = 100  # Active sets tried before a fit of residuals is given up.


@dataclass(frozen=True)
class Local:
    """The followers' problems at one point: what they mind, and how θ changes it."""

    slope: Array  #: (actions) a = ∂J/∂u.
    mixed: Array  #: (actions × θ) ∂²L/∂u∂θ.
    hessian: sparse.csr_array  #: (actions × actions) ∂²L/∂u², block by block.
    sides: dict[int, list[ActiveSide]]  #: Number of a copy → its active sides.
    firm: dict[int, list[ActiveSide]]  #: Number of a copy → its active sides that push back.


class Slopes:
    """The rows of all copies, evaluated at any θ and actions."""

    def __init__(self, experiments: Experiments) -> None:
        self.experiments = experiments
        self.rows = FollowerRows(experiments.game)
        self.names = [experiments.game.names[id(v)] for v in experiments.variables]
        place = {id(v): i for i, v in enumerate(self.rows.variables)}
        count, width = len(self.rows.variables), len(self.names)
        felt = [(place[id(v)], i) for i, v in enumerate(experiments.variables) if id(v) in place]
        at = tuple(np.array(felt, dtype=int).reshape(-1, 2).T)
        self._theta = sparse.csr_array((np.ones(len(felt)), at), shape=(count, width))
        self._instrument = {id(v): i for i, v in enumerate(self.rows.instruments)}

    def values(self, theta: Array, actions: Array) -> dict[str, float]:
        """{name: value} of the analyst's game."""
        names = self.experiments.game.names
        levels = dict(zip(self.names, map(float, theta), strict=True))
        levels.update(zip((names[id(v)] for v in self.rows.actions), map(float, actions), strict=True))
        return levels

    def at(self, theta: Array, actions: Array) -> Local:
        """Slopes, second derivatives and active sides there, the multipliers those of least squares."""
        values = self.values(theta, actions)
        derivatives = self.rows.at(values)
        sides = by_follower(active_sides(self.rows, derivatives, values, self.rows.natural(values)))
        unit = self._units(values)
        firm, multipliers = dict[int, list[ActiveSide]](), dict[str, float]()
        for number, own in sides.items():
            part = self.rows.own(number)
            normals = self._normals(own, part)
            free = [i for i, side in enumerate(own) if side.equality]
            columns = np.vstack([normals, -normals[free]]).T
            parts = least_nonnegative(columns, -derivatives.own[part])
            pushes = parts[: len(own)].copy()
            pushes[free] -= parts[len(own) :]
            firm[number] = [
                side for side, push in zip(own, pushes, strict=True) if side.equality or push > TOLERANCES.noise * unit
            ]
            multipliers.update({side.name: side.sign * float(p) for side, p in zip(own, pushes, strict=True)})
        hessian, mixed = self._second(values, multipliers)
        return Local(derivatives.own, mixed, hessian, sides, firm)

    def _units(self, values: Mapping[str, float]) -> float:
        """What a slope is small against: the median of the largest changes."""
        natural = self.rows.natural(values)
        steep = natural.units.costs[self.rows.owners] / natural.action_units
        return float(np.median(steep)) if len(steep) else 1.0

    def _second(self, values: Mapping[str, float], multipliers: Mapping[str, float]) -> tuple[sparse.csr_array, Array]:
        rows = self.rows
        weights = np.asarray(rows.lagrangian(multipliers).sum(axis=0)).ravel()
        structure = tuple(np.asarray(part) for part in rows.problem.hessian_structure())
        data = np.asarray(rows.problem.hessian(rows.point(values), weights, 0.0))
        count = len(rows.variables)
        triangle = sparse.csr_array((data, structure), shape=(count, count))
        whole = triangle + triangle.T - sparse.diags_array(triangle.diagonal())
        own = rows.own_columns
        return sparse.csr_array(own.T @ whole @ own), np.asarray((own.T @ whole @ self._theta).toarray())

    def _normals(self, sides: Sequence[ActiveSide], part: slice) -> Array:
        normals = np.zeros((len(sides), part.stop - part.start))
        for row, side in enumerate(sides):
            normals[row, side.columns - part.start] = side.normal
        return normals

    def _drift(self, sides: Sequence[ActiveSide]) -> Array:
        """∂g/∂θ of these sides, (sides × θ)."""
        drift = np.zeros((len(sides), len(self.names)))
        of = {self._instrument[id(v)]: i for i, v in enumerate(self.experiments.variables) if id(v) in self._instrument}
        for row, side in enumerate(sides):
            for instrument, effect in zip(side.instruments, side.effect, strict=True):
                drift[row, of[int(instrument)]] = effect
        return drift

    def lines(self, theta: Array, actions: Array) -> tuple[Array, Array]:
        """(a, ∂a/∂θ) at these actions, constraints left out."""
        values = self.values(theta, actions)
        return self.rows.at(values).own, self._second(values, {})[1]

    @cached_property
    def is_separable(self) -> bool:
        """True if no copy's cost has a mixed derivative of two of its actions."""
        owners = self.rows.column_owners
        row, column = (np.asarray(part) for part in self.rows.problem.hessian_structure())
        return not np.any((row != column) & (owners[row] >= 0) & (owners[column] >= 0))

    def responses(self, local: Local) -> Array:
        """Derivatives ∂u/∂θ at an optimum, (actions × θ); 0 too where a bound is just met and left to one side alone.

        Raises :class:`InvalidGame` naming the row of a follower who has no unique answer.
        """
        response = np.zeros_like(local.mixed)
        for number in range(len(self.rows.followers)):
            part = self.rows.own(number)
            own = local.sides.get(number, [])
            normals, curved = self._normals(own, part), local.hessian[part, part].toarray()
            free = open_directions(normals)
            pinned = -np.linalg.pinv(normals) @ self._drift(own) if len(own) else np.zeros((part.stop - part.start, 1))
            response[part] = pinned
            if not free.shape[1]:
                continue
            bent = free.T @ curved @ free
            least = np.linalg.eigvalsh(bent)[0]
            if least <= TOLERANCES.curvature * max(np.abs(curved).max(), np.finfo(float).tiny):
                reading = self.experiments.readings[part.start]
                raise InvalidGame(
                    f"row {reading.label}: the answer of {reading.follower} has no curvature at the fit, so that it is "
                    "not unique and says nothing of parameters. Keep their bounds clear of that."
                )
            force = free.T @ (local.mixed[part] + curved @ response[part])
            response[part] -= free @ linalg.solve(bent, force, assume_a="pos")
        return response

    def equations(self, local: Local) -> tuple[Array, Array]:
        """(matrix, rest) of what is left of the slopes once active sides have pushed back: matrix · θ + rest.

        Those that push at this θ count; what they carry is projected out.
        """
        matrix, rest = local.mixed.copy(), local.slope.copy()
        for number, own in local.firm.items():
            if own:
                part = self.rows.own(number)
                free = open_directions(self._normals(own, part))
                keep = free @ free.T
                matrix[part], rest[part] = keep @ matrix[part], keep @ rest[part]
        return matrix, rest


def residual_fit(slopes: Slopes, actions: Array, start: Array, limits: tuple[Array, Array]) -> tuple[Array, Local]:
    """argmin_θ Σ dist(−a(y; θ), cone of the active normals)², a affine in θ: a convex problem, by active sets.

    Once the sides that push are known it is linear least squares; rounds end where they are the same again. Raises
    :class:`InvalidGame` where they do not end.
    """
    theta, seen = start, set[frozenset[tuple[int, str]]]()
    step = 1.0
    for _ in range(_ROUNDS):
        local = slopes.at(theta, actions)
        pushing = frozenset((number, side.name) for number, own in local.firm.items() for side in own)
        matrix, rest = slopes.equations(local)
        fitted = theta + step * (_least_squares(matrix, rest - matrix @ theta, theta, limits) - theta)
        if np.all(np.abs(fitted - theta) <= TOLERANCES.noise * np.maximum(1.0, np.abs(theta))):
            return fitted, local
        step = step / 2.0 if pushing in seen else 1.0
        seen.add(pushing)
        theta = fitted
    raise InvalidGame('method="residuals": its active bounds do not settle; use method="responses".')


def _least_squares(matrix: Array, rest: Array, near: Array, limits: tuple[Array, Array]) -> Array:
    """argmin ‖matrix θ + rest‖ within the limits; of many, the nearest to ``near`` where no limit is met.

    What rows tell apart by less than the accuracy of a plan they do not tell apart.
    """
    units = np.maximum(1.0, np.abs(near))
    target = -(rest + matrix @ near)
    left, singular, right = np.linalg.svd(matrix * units, full_matrices=False)
    least = TOLERANCES.accuracy * singular.max(initial=0.0)
    known = singular > least
    step = right[known].T @ (left[:, known].T @ target / singular[known])
    lower, upper = ((side - near) / units for side in limits)
    if np.any((step < lower) | (step > upper)):
        short = least * np.eye(len(near))  # among equals the shortest step
        rows = np.vstack([(left[:, known] * singular[known]) @ right[known], short])
        target = np.concatenate([target, np.zeros(len(near))])
        step = lsq_linear(rows, target, (lower, upper), method="bvls", tol=TOLERANCES.curvature).x
    return np.asarray(near + units * step)


def has_affine_slopes(cost: Any, actions: Sequence[Any], *, throughout: bool = False) -> bool:
    """True if the slope in these actions is affine in everything else: where they are fixed, or ``throughout``.

    A cost of degree 1 says nothing of its slopes: u θ₁ θ₂ is 0 where u is fixed at 0, and θ to the power u is θ where u
    is 1. Throughout the actions have no value at all, so that no product with them is 0.
    """
    unknown = pyo.Param(range(len(actions)), mutable=True)
    unknown.construct()
    stand_ins = {id(v): unknown[i] for i, v in enumerate(actions)} if throughout else {}
    try:
        slopes = differentiate(cost, wrt_list=list(actions), mode=Modes.reverse_symbolic)
        return is_affine(*map(substituting(stand_ins), slopes))
    except UNREADABLE:
        return False


def null_directions(design: Array, units: Array) -> tuple[int, Array]:
    """(rank, directions of θ that the rows of ``design`` say nothing of): each has an entry 1, its least one.

    ``units``: the natural unit of each parameter. The directions are as sparse as elimination makes them.
    """
    scaled = design * units
    sizes = np.linalg.norm(scaled, axis=0)
    if not len(scaled) or not sizes.any():
        return 0, np.eye(len(units))
    _, singular, right = np.linalg.svd(scaled, full_matrices=True)
    rank = int(np.sum(singular > TOLERANCES.accuracy * singular[0]))
    basis = right[rank:] * units
    if not len(basis):
        return rank, basis
    _, _, order = linalg.qr(basis / units, pivoting=True)
    pivots = order[: len(basis)]
    directions = np.linalg.solve(basis[:, pivots], basis)
    cleaned = []
    for direction in directions:
        size = np.abs(direction / units)
        entries = np.where(size > TOLERANCES.active * size.max(), direction, 0.0)
        least = np.abs(entries[entries != 0.0]).min()
        lead = entries[np.flatnonzero(entries)[0]]
        cleaned.append(entries / (least * np.sign(lead)))
    return rank, np.array(cleaned)


def open_words(names: Sequence[str], directions: Array) -> list[str]:
    """Each open combination in words: (θ, h) + t (3, 1) fits equally well."""
    sentences = []
    for direction in directions:
        involved = direction != 0.0
        parts = [name for name, inside in zip(names, involved, strict=True) if inside]
        if len(parts) == 1:
            sentences.append(f"{parts[0]}: the data do not determine it")
            continue
        numbers = ", ".join(f"{level:.4g}" for level in direction[involved])
        sentences.append(
            f"({', '.join(parts)}) + t ({numbers}): every t fits equally well ({listed(parts)} not distinguished)"
        )
    return sentences
