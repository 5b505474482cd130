"""Quadrature of Gaussian vectors: grids and weights that keep its moments, and what its observations leave open.

A product grid of the state and of the noises gives a signal y = x + w another value nearly everywhere, so that y tells
x, which it does not. A grid that respects information is built from the observations inwards: each y_i stands on the
Gauss–Hermite nodes of its own law; the joint weights p on the product of these nodes are those nearest to the Gaussian
density's (in relative entropy) with

    P(y_i = a) exact,   E[y_j | y_i = a] = E[y_j] + Σ_ji (a − E[y_i])/Σ_ii   for every node a and all i ≠ j,

and the rest is what it is given all y: its conditional mean, plus Gauss–Hermite nodes of its conditional covariance.
Hence E[x | y_i] and E[y_j | y_i] are the Gaussian's, and all second moments: what Radner's conditions of a linear
quadratic team hold, which two nodes meet exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from stackpyomo.core import TOLERANCES, Array, listed
from stackpyomo.errors import InvalidGame

_NODES = 350  # Nodes of a Gauss–Hermite rule; beyond, numpy's weights overflow.
_POINTS = 1_000_000  # Points up to which a grid of observations is built.

# Shares of independence mixed in, in turn, where the density is too concentrated for Newton's method to start from.
_MIXED = (0.0, 0.5**20, 0.5**7, 1.0)

_STEPS, _HALVINGS = 200, 40  # Newton steps for the joint weights, and halvings of one.

_EPSILON = float(np.finfo(float).eps)


def gaussian(
    names: str | Sequence[str], nodes: Any, mean: Any, covariance: Any, observed: Any, shown: Iterable[Any]
) -> tuple[dict[str, Array], Array]:
    """(name → its values, weights) of :meth:`stackpyomo.Scenarios.gauss_hermite`; shown: what observations are of."""
    named = [names] if isinstance(names, str) else list(names)
    size = len(named)
    if not named or len(set(named)) < size:
        raise InvalidGame(f"names={names!r}: expected at least one name, each once.")
    if np.shape(mean) not in ((), (1,), (size,)) or not np.isfinite(mean).all():
        raise InvalidGame(f"mean={mean!r}: expected a finite number, or one for each of {listed(named)}.")
    middle = np.broadcast_to(np.asarray(mean, dtype=float), (size,))
    signals = _coefficients(observed, named)
    rows = np.array(list(signals.values())).reshape(len(signals), size)
    if signals:
        matrix = _covariance_matrix(covariance, size)
        together = _seen_together(shown, list(signals))
        state, seen, weights = _inward_grid(matrix, rows, list(signals), nodes, together)
    else:
        counts = _node_counts(nodes, named)
        points, weights = _product_grid(counts)
        state, seen = points @ _definite_root(_covariance_matrix(covariance, size)).T, np.zeros((len(points), 0))
    columns = dict(zip([*named, *signals], np.concatenate([state, seen], axis=1).T, strict=False))
    columns.update(zip(signals, seen.T, strict=True))  # a name that is observed is its signal, to the last digit
    centre = {**dict(zip(named, middle, strict=True)), **dict(zip(signals, rows @ middle, strict=True))}
    table = {name: _merged(column, float(centre[name]), name) for name, column in columns.items()}
    return table, weights / weights.sum()


def _coefficients(observed: Any, names: Sequence[str]) -> dict[str, Array]:
    """Signal → its coefficients, one for each name; raises :class:`InvalidGame` for what no signal of them is."""
    if isinstance(observed, Mapping):
        given = {str(signal): what for signal, what in observed.items()}
        taken = [signal for signal in given if signal in names]
        if taken:
            raise InvalidGame(f"observed: {taken[0]} is a name by itself; give the sum another name.")
    elif isinstance(observed, (str, Iterable)):
        given = {str(name): {name: 1.0} for name in ([observed] if isinstance(observed, str) else observed)}
    else:
        given = {str(observed): None}
    return {signal: _row(signal, weights, names) for signal, weights in given.items()}


def _row(signal: str, weights: Any, names: Sequence[str]) -> Array:
    try:
        row = np.array([float(weights.get(name, 0.0)) for name in names])
        if all(name in names for name in weights) and np.isfinite(row).all() and row.any():
            return row
    except (AttributeError, TypeError, ValueError):
        pass
    raise InvalidGame(
        f"observed: {signal} is not a signal of {listed(list(names))}; give names, or {{signal: {{name: number}}}}."
    )


def _node_counts(nodes: Any, axes: Sequence[str]) -> list[int]:
    """Nodes for each axis; raises :class:`InvalidGame` for other numbers or too many points."""
    counts = list(nodes) if isinstance(nodes, Iterable) else [nodes] * len(axes)
    whole = [isinstance(n, (int, np.integer)) and not isinstance(n, bool) and 1 <= n <= _NODES for n in counts]
    if len(counts) != len(axes) or not all(whole):
        raise InvalidGame(
            f"nodes={nodes!r}: expected an integer from 1 to {_NODES}, or one for each of {listed(list(axes))}."
        )
    return [int(n) for n in counts]


def _covariance_matrix(covariance: Any, size: int) -> Array:
    """The covariance as a matrix; raises :class:`InvalidGame` if it is none."""
    matrix = np.atleast_2d(np.asarray(covariance, dtype=float))
    matrix = matrix * np.eye(size) if matrix.shape == (1, 1) else matrix
    if matrix.shape != (size, size) or not np.isfinite(matrix).all() or not _are_alike(matrix, matrix.T):
        raise InvalidGame(f"covariance: expected a symmetric {size} × {size} matrix.")
    return matrix


def _are_alike(first: Array, second: Array) -> bool:
    """Two covariances that differ by rounding only, in the units of their variances."""
    sizes = np.sqrt(np.abs(np.diag(second)))
    return bool((np.abs(first - second) <= TOLERANCES.noise * np.outer(sizes, sizes)).all())


def _definite_root(matrix: Array, what: str = "covariance") -> Array:
    """A Cholesky factor of a covariance; raises :class:`InvalidGame` where it is singular or no covariance."""
    root = _semidefinite_root(matrix, np.diag(matrix))
    if root.shape[1] < len(matrix) or not _are_alike(root @ root.T, matrix):
        raise InvalidGame(f"{what}: not positive definite; leave out what the others determine.")
    return root


def _semidefinite_root(matrix: Array, sizes: Array) -> Array:
    """L with L Lᵀ = matrix, lower triangular but for the columns of what the others determine, which are left out.

    sizes: a variance is nothing where it is rounding beside these.
    """
    columns: list[Array] = []
    rest = matrix.astype(float).copy()
    for place, size in enumerate(sizes):
        pivot = rest[place, place]
        if pivot > TOLERANCES.determined * size:
            column = rest[:, place] / np.sqrt(pivot)
            column[:place] = 0.0
            columns.append(column)
            rest -= np.outer(column, column)
    return np.array(columns).reshape(len(columns), len(matrix)).T


def _product_grid(counts: Sequence[int]) -> tuple[Array, Array]:
    """(points × axes, weights) of independent standard Gaussians."""
    points, weights = np.zeros((1, 0)), np.ones(1)
    for count in counts:
        nodes, chances = np.polynomial.hermite_e.hermegauss(count)
        points = np.column_stack([np.repeat(points, count, axis=0), np.tile(nodes, len(points))])
        weights = np.outer(weights, chances / chances.sum()).ravel()
    return points, weights


def _observed_grid(
    matrix: Array, names: Sequence[str], counts: Sequence[int], together: Sequence[tuple[int, ...]] = ()
) -> tuple[Array, Array]:
    """(points × observations, weights): deviations of the observations from their means, and their joint law.

    matrix: their covariance. together: groups of them that somebody sees: for these, E[y_j | the group] is exact, too.
    """
    spread = np.sqrt(np.diag(matrix))
    correlation = matrix / np.outer(spread, spread)
    _definite_root(correlation, f"covariance of {listed(list(names))}")
    if np.prod(np.array(counts, dtype=float)) > _POINTS:
        raise InvalidGame(
            f"nodes: {len(names)} observations make a grid of more than {_POINTS} points; take fewer nodes or "
            "decisions that are functions, scenarios.policy(...)."
        )
    points, weights = _product_grid(counts)
    groups = [*((i,) for i in range(len(names))), *together]
    joint = _joint(points, weights, correlation, groups) if len(names) > 1 else weights
    if joint is None:
        raise InvalidGame(
            f"nodes: no weights on this grid give {listed(list(names))} their covariance; take more nodes, or "
            "decisions that are functions, scenarios.policy(...)."
        )
    likely = joint > _EPSILON * np.min([_marginal(axis, joint) for axis in points.T], axis=0)
    return points[likely] * spread, joint[likely] / joint[likely].sum()


def _marginal(axis: Array, weights: Array) -> Array:
    """At each point, the probability of what the axis shows there."""
    _, atoms = np.unique(axis, return_inverse=True)
    return np.asarray(np.bincount(atoms.ravel(), weights)[atoms.ravel()])


def _joint(points: Array, weights: Array, correlation: Array, groups: Sequence[tuple[int, ...]]) -> Array | None:
    """The weights nearest to the density's that meet the conditions; None if there are none."""
    excess = np.einsum("pi,ij,pj->p", points, np.linalg.inv(correlation) - np.eye(len(correlation)), points)
    density = weights * np.exp(-(excess - excess.min()) / 2.0)
    conditions, targets = _conditions(points, weights, correlation, groups)
    for share in _MIXED:
        joint = _nearest((1.0 - share) * density / density.sum() + share * weights, conditions, targets)
        if np.abs(conditions @ joint - targets).max() <= TOLERANCES.moments:
            return joint
    return None


def _conditions(
    points: Array, weights: Array, correlation: Array, groups: Sequence[tuple[int, ...]]
) -> tuple[Array, Array]:
    """Rows A and targets b of A p = b: atoms' probabilities, and means of the other observations given an atom."""
    rows: list[Array] = []
    targets: list[float] = []
    for group in groups:
        own = list(group)
        others = [j for j in range(points.shape[1]) if j not in group]
        means = points[:, own] @ np.linalg.solve(correlation[np.ix_(own, own)], correlation[np.ix_(own, others)])
        _, atoms = np.unique(points[:, own], axis=0, return_inverse=True)
        for atom in range(int(atoms.max()) + 1):
            inside = (atoms.ravel() == atom).astype(float)
            power = float(weights @ inside)  # of independent ones: right for a group of one, a scale for the others
            if len(own) == 1:
                rows.append(inside / np.sqrt(power))
                targets.append(float(np.sqrt(power)))
            for place, other in enumerate(others):
                rows.append(inside * (points[:, other] - means[:, place]) / np.sqrt(power))
                targets.append(0.0)
    return np.array(rows), np.array(targets)


def _nearest(density: Array, conditions: Array, targets: Array) -> Array:
    """argmin Σ p log(p/density) s.t. conditions p = targets: Newton's method on the dual; p > 0 by construction.

    Where it does not get there, what it reached: there may be no such p.
    """
    multipliers = np.zeros(len(targets))
    current, value = density, density.sum()
    for _ in range(_STEPS):
        residual = conditions @ current - targets
        if np.abs(residual).max() <= TOLERANCES.moments / 100.0:
            break
        hessian = (conditions * current) @ conditions.T
        step = -np.linalg.lstsq(hessian, residual, rcond=_EPSILON * len(targets))[0]
        for halvings in range(_HALVINGS):
            length = 0.5**halvings
            with np.errstate(over="ignore", invalid="ignore"):
                trial = density * np.exp((multipliers + length * step) @ conditions)
            reached = trial.sum() - targets @ (multipliers + length * step)
            if reached <= value + length * float(residual @ step) / 8.0 + _EPSILON * abs(value):
                break
        else:
            break
        multipliers, current, value = multipliers + length * step, trial, reached
    return np.asarray(current)


def _inward_grid(
    covariance: Array, rows: Array, names: Sequence[str], nodes: Any, together: Sequence[tuple[int, ...]]
) -> tuple[Array, Array, Array]:
    """(state's deviations, observations' deviations, weights): a grid of y = rows · x and, for each y, of x given y."""
    axes = [*names, "what they leave open"]
    counts = _node_counts(nodes, axes)
    cross = covariance @ rows.T
    seen, weights = _observed_grid(rows @ cross, names, counts[:-1], together)
    slope = np.linalg.solve(rows @ cross, cross.T)
    root = _semidefinite_root(covariance - cross @ slope, np.diag(covariance))
    inner, chances = _product_grid([counts[-1]] * root.shape[1])
    state = (seen @ slope)[:, np.newaxis, :] + (inner @ root.T)[np.newaxis, :, :]
    size = len(inner)
    return state.reshape(-1, len(covariance)), np.repeat(seen, size, axis=0), np.outer(weights, chances).ravel()


def _merged(deviations: Array, mean: float, name: str) -> Array:
    """mean + deviations, those that differ by rounding only made the same: they are one atom.

    Raises :class:`InvalidGame` where the mean is so large that different ones cannot be told apart.
    """
    order = np.argsort(deviations, kind="stable")
    ranked = deviations[order]
    steps = np.diff(ranked) > TOLERANCES.noise * float(np.abs(deviations).max(initial=0.0))
    group = np.concatenate([[0], np.cumsum(steps)])
    values = mean + ranked[np.concatenate([[True], steps])]
    if len(np.unique(values)) < len(values):
        raise InvalidGame(f"mean={mean:g}: so far from 0 that the nodes of {name} are one number; count from the mean.")
    result = np.empty(len(deviations))
    result[order] = values[group]
    return result


def _seen_together(observations: Iterable[Any], names: Sequence[str]) -> list[tuple[int, ...]]:
    """Which of the named are seen together by one observation, all of them left out."""
    groups = {
        tuple(sorted({names.index(n) for n in what}))
        for what in observations
        if isinstance(what, (list, tuple)) and what and all(isinstance(n, str) and n in names for n in what)
    }
    return sorted(group for group in groups if 1 < len(group) < len(names))
