"""Many small convex problems at once, by Mehrotra's predictor–corrector method with a step length for each.

    min f(x)  s.t.  A x = b,  G x + s = h, s ≥ 0
    H dx + Gᵀ dz + Aᵀ dy = −(∇f + Gᵀ z + Aᵀ y)      A dx = b − A x
    G dx + ds = h − G x − s                         z ds + s dz = σμ − s z

in natural units, where all that is looked at is of size 1. A limit that there is not is the row 0 · x ≤ 1, an equality
that there is not the row 0 · x = 0. What comes out is a candidate: its certificate is computed elsewhere, from the
problem alone.

Source: S. Mehrotra, On the Implementation of a Primal-Dual Interior Point Method, SIAM J. Optim. 2(4), 1992.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stackpyomo.core import TOLERANCES, Array

_SHARPER = 100.0  # How much further than a solver it goes: a certificate adds up what is left in all limits.
_MOST = 60  # Iterations; ten are usual.
_BACK = 0.995  # Share of the way to the nearest limit that a step goes.
_HALVINGS = 30  # Of a step that ends where a cost has no value.
_AIM = 0.1  # The least mean product s z aimed at, of the accuracy: beyond that, steps are rounding.

Costs = Callable[[Array, Array], tuple[Array, Array, Array]]


Enough = Callable[[Array, Array, Array, Array], Array]


def minimized(
    costs: Costs,
    start: Array,
    matrix: Array,
    limits: Array,
    equal: Array | None = None,
    levels: Array | None = None,
    enough: Enough | None = None,
) -> tuple[Array, Array, Array]:
    """(x, z, y) near the minima of K costs of n variables, M rows G x ≤ h and E rows A x = b each.

    costs: (x, numbers of the problems it is for) → values (K), gradients (K × n), Hessians (K × n × n). start: (K × n),
    within its bounds. matrix: (K × M × n), limits: (K × M), ±inf allowed. equal: (K × E × n), levels: (K × E); None: no
    equality. enough: (x, z, y, numbers of the problems) → which of them need not go on, asked after every other step.
    Once half of them are settled, the others go on alone.
    """
    there = np.isfinite(limits)
    matrix, limits = np.where(there[..., None], matrix, 0.0), np.where(there, limits, 1.0)
    equal = np.zeros((len(start), 0, start.shape[1])) if equal is None else equal
    levels = np.zeros(equal.shape[:2]) if levels is None else levels
    x, pull = start.copy(), np.zeros(equal.shape[:2])
    slack = np.maximum(limits - np.einsum("kmn,kn->km", matrix, x), TOLERANCES.nearby)
    force = 1.0 / np.maximum(1.0, slack)
    accuracy = TOLERANCES.solver / _SHARPER
    members: Array = np.arange(len(x))
    answers = x.copy(), force.copy(), pull.copy()
    _, slope, bend = costs(x, members)
    unsettled: Array = np.ones(len(x), dtype=bool)
    for number in range(_MOST):
        newton = _Newton(matrix, limits, equal, levels, x, slack, force, pull, slope, bend)
        unsettled &= ~(newton.error <= accuracy)
        if enough is not None and number % 2:
            unsettled &= ~enough(x, force, pull, members)
        if 2 * np.count_nonzero(unsettled) <= len(members):
            _store(answers, members, x, force, pull)
            data = (members, matrix, limits, equal, levels, x, slack, force, pull, slope, bend)
            members, matrix, limits, equal, levels, x, slack, force, pull, slope, bend = (d[unsettled] for d in data)
            unsettled = np.ones(len(members), dtype=bool)
            if not len(members):
                break
            continue
        dx, ds, dz, dy = newton.step(np.zeros_like(slack))
        after = ((slack + _far(slack, ds) * ds) * (force + _far(force, dz) * dz)).mean(axis=1)
        with np.errstate(all="ignore"):
            aim = np.where(newton.mean > 0.0, (after / newton.mean) ** 3, 0.0) * newton.mean
        dx, ds, dz, dy = newton.step(np.maximum(np.maximum(aim, _AIM * accuracy)[:, None] - ds * dz, -slack * force))
        far = np.minimum(_far(slack, ds), _far(force, dz)) * unsettled[:, None]
        for _ in range(_HALVINGS):
            value, slope, bend = costs(x + far * dx, members)
            lost = ~(np.isfinite(value) & np.isfinite(slope).all(axis=1) & np.isfinite(bend).all(axis=(1, 2)))
            if not lost.any():
                break
            far = np.where(lost[:, None], far / 2.0, far)
        x, slack, force, pull = x + far * dx, slack + far * ds, force + far * dz, pull + far * dy
    _store(answers, members, x, force, pull)
    return answers


def _store(answers: tuple[Array, Array, Array], members: Array, *parts: Array) -> None:
    for answer, part in zip(answers, parts, strict=True):
        answer[members] = part


@dataclass
class _Newton:
    """The linearised conditions at one iterate of all problems."""

    matrix: Array
    limits: Array
    equal: Array
    levels: Array
    x: Array
    slack: Array
    force: Array
    pull: Array
    slope: Array
    bend: Array

    def __post_init__(self) -> None:
        pulled = np.einsum("ken,ke->kn", self.equal, self.pull)
        self.dual = self.slope + np.einsum("kmn,km->kn", self.matrix, self.force) + pulled
        self.primal = np.einsum("kmn,kn->km", self.matrix, self.x) + self.slack - self.limits
        self.missed = np.einsum("ken,kn->ke", self.equal, self.x) - self.levels
        self.mean = (self.slack * self.force).mean(axis=1)
        sizes = [np.abs(part).max(axis=1, initial=0.0) for part in (self.dual, self.primal, self.missed)]
        self.error = np.max([*sizes, self.mean], axis=0)
        self.weights = self.force / self.slack
        count, rows = self.x.shape[1], self.equal.shape[1]
        whole = self.bend + np.einsum("kmi,km,kmj->kij", self.matrix, self.weights, self.matrix)
        size = TOLERANCES.closed * (1.0 + np.abs(whole).max(axis=(1, 2)))
        self.whole = np.zeros((len(whole), count + rows, count + rows))
        self.whole[:, :count, :count] = whole + size[:, None, None] * np.eye(count)
        self.whole[:, count:, :count], self.whole[:, :count, count:] = self.equal, self.equal.transpose(0, 2, 1)
        absent = np.where((self.equal == 0.0).all(axis=2), 1.0, TOLERANCES.closed)
        self.whole[:, count:, count:] = -absent[:, :, None] * np.eye(rows)

    def step(self, target: Array) -> tuple[Array, Array, Array, Array]:
        """(dx, ds, dz, dy) towards s z = target."""
        left = (target - self.slack * self.force + self.force * self.primal) / self.slack
        right = np.concatenate([-self.dual - np.einsum("kmn,km->kn", self.matrix, left), -self.missed], axis=1)
        both = np.linalg.solve(self.whole, right[..., None])[..., 0]
        dx, dy = both[:, : self.x.shape[1]], both[:, self.x.shape[1] :]
        moved = np.einsum("kmn,kn->km", self.matrix, dx)
        return dx, -self.primal - moved, left + self.weights * moved, dy


def _far(level: Array, change: Array) -> Array:
    """(K × 1) how far along a change all levels stay above 0, at most 1."""
    with np.errstate(all="ignore"):
        ends = np.where(change < 0.0, -level / change, np.inf).min(axis=1, initial=np.inf)
    return np.asarray(np.minimum(1.0, _BACK * ends)[:, None])
