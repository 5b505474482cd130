"""Surfaces of equilibria: how many there are beside one of a generalised Nash game.

With a multiplier of its own for every follower that feels an active row there are more unknowns than equations,

    ∇_{u_k} J_k + Σ_i λ_ki ∇_{u_k} g_i = 0 (all k),    g_i(u) = 0 (active rows),

and near a point where the active multipliers are positive the equilibria are a surface whose dimension is the rank, in
u, of the null space of that system's derivative. As a rule: (active row, follower) pairs minus different active rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pyomo.core.base.var import VarData
from scipy.linalg import null_space

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.core.expressions import Substitution, number_of
from stackpyomo.games import Follower, Game

from .conditions import Conditions, conditions
from .mpcc import Equilibrium, Problem
from .polyhedra import balanced

_LARGE = 600  # Unknowns up to which the null space is worked out.
_AROUND, _NEAR = 3, 0.01  # Points around one, and how far off in natural units, at which a rank is looked at.


def surface(
    game: Game, followers: Sequence[Follower], problem: Problem, kkt: Conditions, values: Mapping[int, float]
) -> tuple[int, list[VarData]] | None:
    """(dimension, the actions that move along it) of the set of equilibria near an answer; None where it is too large.

    None too where nothing moves but a multiplier is 0, or not the only one, in a row or bound that is met: the answer
    may be an end of the set.

    kkt: the conditions that the answer was found by; values: {id(Var): value}, the user's and their multipliers.
    """
    actions = [v for f in followers for v in f.variables]
    if len(actions) + sum(len(f.constraints) for f in followers) > _LARGE:
        return None
    own = conditions(game, followers)
    system = Equilibrium(Problem(0.0, problem.constraints, problem.held), own, None, {})
    x = system.point({**values, **_own_multipliers(own, kkt, values), **_own_slacks(own, values)})
    dimension, moving, solutions = directions(system, x, actions, problem.leader)
    return None if not dimension and (solutions or _is_degenerate(system, x)) else (dimension, moving)


def directions(
    system: Equilibrium, x: Array, actions: Sequence[VarData], leader: Sequence[VarData]
) -> tuple[int, list[VarData], int]:
    """(dimension in the actions, those that move, dimension with multipliers) of the solutions with x's active set.

    The leader's variables are held.
    """
    free, own = _free(system, x, leader), {id(v) for v in actions}
    chosen = [i for i, column in enumerate(free) if id(system.program.variables[column]) in own]
    (slopes,) = _slopes(system, x, free, chosen, [x])
    null = null_space(slopes, rcond=TOLERANCES.rank) if len(slopes) else np.eye(len(free))
    moves = null[chosen]
    dimension = int(np.linalg.matrix_rank(moves, tol=TOLERANCES.active)) if moves.size else 0
    sway = np.abs(moves).max(axis=1, initial=0.0)
    moving = [
        system.program.variables[free[i]] for i, size in zip(chosen, sway, strict=True) if size > TOLERANCES.active
    ]
    return dimension, moving if dimension else [], null.shape[1]


def is_surface(system: Equilibrium, x: Array, actions: Sequence[VarData], leader: Sequence[VarData]) -> bool:
    """True if the solutions near x are a surface of the dimension that :func:`directions` tells.

    They are where every multiplier or its slack is above 0, and the derivative has the same rank all around x (the
    constant rank theorem). At the double root of (u − v)² it is not: 0 there, 1 beside.
    """
    if _is_degenerate(system, x):
        return False
    free, own, (lower, upper) = _free(system, x, leader), {id(v) for v in actions}, system.program.bounds
    chosen = [i for i, column in enumerate(free) if id(system.program.variables[column]) in own]
    steps = np.random.default_rng(0).uniform(-1.0, 1.0, (_AROUND, len(free))) * system.program.units(x)[0][free]
    points = [x.copy() for _ in steps]
    for point, step in zip(points, steps, strict=True):
        point[free] = np.clip(x[free] + _NEAR * step, lower[free], upper[free])
    here, *around = _slopes(system, x, free, chosen, [x, *points])
    if not all(np.isfinite(slopes).all() for slopes in around):
        return False
    ranks = {int(np.linalg.matrix_rank(slopes, rtol=TOLERANCES.rank)) for slopes in (here, *around) if slopes.size}
    return len(ranks) <= 1


def _free(system: Equilibrium, x: Array, leader: Sequence[VarData]) -> Array:
    """The unknowns, by number, that x's active set leaves free; the leader's are held."""
    active = _active(system, x)
    gone = {id(v) for v in leader}
    pairs = system.conditions.pairs
    gone |= {id(pair.multiplier) for pair, on in zip(pairs, active, strict=True) if not on}
    binding = (pair for pair, on in zip(pairs, active, strict=True) if on)  # its slack is, or the variable at its bound
    gone |= {id(pair.slack if isinstance(pair.slack, VarData) else pair.component) for pair in binding}
    return np.array([i for i, v in enumerate(system.program.variables) if id(v) not in gone], dtype=int)


def _slopes(system: Equilibrium, x: Array, free: Array, chosen: Sequence[int], points: Sequence[Array]) -> list[Array]:
    """The derivative of the rows in the free unknowns at each point, in units of x."""
    program = system.program
    matrices = [program.jacobian(point).toarray()[:, free] for point in points]
    sizes, reaches = balanced(matrices[0], program.units(x)[0][free], np.array(chosen, dtype=int))
    return [matrix * reaches / sizes[:, np.newaxis] for matrix in matrices]


def _is_degenerate(system: Equilibrium, x: Array) -> bool:
    """Whether some multiplier and its slack are 0 both."""
    reaches = np.append(system.program.units(x)[0], 1.0)[system.owners]
    return bool(((system.slacks(x) <= TOLERANCES.active * reaches) & ~_active(system, x)).any())


def _active(system: Equilibrium, x: Array) -> Array:
    """Pairs with a multiplier."""
    force = system.multipliers(x)
    return np.asarray(force > TOLERANCES.active * float(force.max(initial=0.0)))


def _own_slacks(own: Conditions, values: Mapping[int, float]) -> dict[int, float]:
    """What room every row has."""
    at = Substitution(substitute=dict(values)).walk_expression
    rows = (pair for pair in own.pairs if isinstance(pair.slack, VarData))
    return {id(pair.slack): max(0.0, number_of(at(pair.gap))) for pair in rows}


def _own_multipliers(own: Conditions, kkt: Conditions, values: Mapping[int, float]) -> dict[int, float]:
    """Everybody's own multipliers from those of the answer, which may be common ones."""
    bounds = {(id(p.component), p.side): p for p in kkt.pairs if isinstance(p.component, VarData)}
    multipliers: dict[int, float] = {}
    for pair in own.pairs:
        if isinstance(pair.component, VarData):
            twin = bounds[id(pair.component), pair.side]
            multipliers[id(pair.multiplier)] = kkt.multiplier(twin.follower, twin.multiplier, values)
    for (follower, row), terms in own.signed.items():
        common = kkt.signed[follower, row]
        for (var, factor), (theirs, rate) in zip(terms, common, strict=True):
            multipliers[id(var)] = rate * kkt.multiplier(follower, theirs, values) / factor
    return multipliers
