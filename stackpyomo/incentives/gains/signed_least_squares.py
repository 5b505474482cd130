"""Least squares with signs: the nearest point of a cone, its last rows met exactly."""

from __future__ import annotations

import math

import numpy as np
from scipy import linalg

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.derivatives import open_directions
from stackpyomo.solvers import least_nonnegative

__all__ = ["nearest_nonnegative"]

#: How much more than energy an equation that no gain can balance weighs in each round of the search for multipliers.
_TIGHT = 1e4

_ROUNDS = 30


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
