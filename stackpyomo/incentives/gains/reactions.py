"""Reactions: how responding followers move when somebody else does.

With F = 0 the conditions of the responding followers (minors) and g = 0 the equalities, bounds and constraints that
hold them, F = ∇J_minors + G_minorsᵀ λ,

    [ F_minors  G_minorsᵀ ]  d(minors, λ)      [ F_x ]
    [ g_minors  0         ]  ────────────  = − [ g_x ],      x another follower's action or the leader's variable
                                  dx

solved on the null space of G_minors. What this carries into follower k's cost completes its derivatives: a_k + S_xᵀ
∂J_k/∂(minors), b_k likewise. That is the reading in which minors settle after the major has deviated; the other one
(frozen) holds them at the plan.

The second derivatives of what a deviator anticipates, J_k(u, u0(u), minors(u)), hold those of the minors' answers, too.
They are taken as central differences of the completed slopes along the line that the answers at the plan lay out: what
the minors themselves are off it by is even in the step, and cancels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import sparse
from scipy.linalg import null_space

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.derivatives import ActiveSide, Derivatives, FollowerHessians, FollowerRows
from stackpyomo.errors import InvalidGame
from stackpyomo.games.information import Signal
from stackpyomo.solvers import least_nonnegative

from .curvature import Curved


def require_still_signals(
    rows: FollowerRows, signals: Sequence[Signal], sums: sparse.csr_array, minors: Sequence[str]
) -> None:
    """Raise where a signal that others move holds actions of the minors: their answer would be observed along."""
    responding = np.isin(rows.owners, _numbers(rows, minors))
    moved = sums.astype(bool)
    mixed = np.flatnonzero(moved[:, responding].sum(axis=1) * moved[:, ~responding].sum(axis=1))
    if len(mixed):
        raise InvalidGame(
            f"minors='respond': {signals[mixed[0]].name} holds actions of followers who settle anew, so that the "
            "leader would answer their answer; observe what the others do alone, or use minors='frozen'."
        )


def with_reactions(
    rows: FollowerRows,
    derivatives: Derivatives,
    values: Mapping[str, float],
    minors: Sequence[str],
    sides: Sequence[ActiveSide],
) -> Derivatives:
    """The derivatives of the other followers with the minors' answers carried along.

    A member of a population moves the minors by its share. Raises :class:`InvalidGame` where the minors' answer is not
    determined at the plan, or has a kink there: a constraint that is active without a multiplier.
    """
    numbers = _numbers(rows, minors)
    free = np.flatnonzero(np.isin(rows.owners, numbers))
    if not len(free):
        return derivatives
    answers, limits = _settled(rows, derivatives, values, minors, sides)
    carried = (rows.gradients(values) @ rows.block_columns).toarray()[:, free]  # ∂J_k/∂(minors), all members together
    own, leader = derivatives.own.copy(), derivatives.leader.toarray()
    for number in range(len(rows.followers)):
        if number not in numbers:
            mine = np.flatnonzero(rows.owners == number)
            own[mine] += carried[number] @ answers[:, mine]
            leader[number] += carried[number] @ answers[:, len(rows.owners) :]
    own_rows, leader_rows = _limits_moved(rows, derivatives, limits, free, answers)
    return replace(derivatives, own=own, leader=sparse.csr_array(leader), own_rows=own_rows, leader_rows=leader_rows)


def _settled(
    rows: FollowerRows,
    derivatives: Derivatives,
    values: Mapping[str, float],
    minors: Sequence[str],
    sides: Sequence[ActiveSide],
) -> tuple[Array, sparse.csr_array]:
    """How the minors answer, (minors' actions × one member's actions and leader's variables), and rows' derivatives."""
    numbers = _numbers(rows, minors)
    free = np.flatnonzero(np.isin(rows.owners, numbers))
    leaning = [side for number in numbers for side in _holding(rows, derivatives, number, sides)]
    bodies = rows.constraint_gradients(values)
    both = [bodies @ rows.block_columns, bodies @ rows.instrument_columns]
    limits = sparse.csr_array(sparse.hstack(both))  # (constraints × actions and instruments)
    answers = _answers(rows, values, free, leaning, limits)
    answers[:, : len(rows.owners)] /= np.array(rows.game.action_sizes, dtype=float)
    return answers, limits


@dataclass(frozen=True)
class Anticipated(Curved):
    """Second-order conditions of what followers anticipate who know that the minors settle after them."""

    minors: Sequence[str] = ()
    values: Mapping[str, float] = field(default_factory=dict)

    def hessian(self, follower: int, gain: Array) -> Array:
        """Second derivatives of what it anticipates."""
        return next(self.all_hessians([follower], gain))[0] - self.asked(follower)

    def all_hessians(self, followers: Sequence[int], gain: Array) -> Iterator[tuple[Array, float]]:
        """(second derivatives of what each anticipates, the largest before terms cancel)."""
        answer = (self.system.as_matrix(gain) @ self.moves).tocsc()
        for follower in followers:
            mine = np.arange(len(self.rows.owners))[self.rows.own(follower)]
            parts = [self._change(follower, int(j), mine, answer) for j in mine]
            hessian = np.array([own + led for own, led in parts]).reshape(len(mine), len(mine))
            size = max((float(np.abs(part).max(initial=0.0)) for pair in parts for part in pair), default=0.0)
            yield (hessian + hessian.T) / 2.0, size

    def _change(self, follower: int, action: int, mine: Array, answer: sparse.csc_array) -> tuple[Array, Array]:
        """(change of its own slopes, change of what the leader's answer adds to them) per unit of one action."""
        step = TOLERANCES.difference
        direction = self._direction(action, answer)
        ends = []
        for way in (step, -step):
            values = {name: level + way * direction.get(name, 0.0) for name, level in self.values.items()}
            moved = with_reactions(self.rows, self.rows.at(values), values, self.minors, self.sides)
            led = answer[:, mine].T @ moved.leader[[follower]].toarray().ravel()
            ends.append((moved.own[mine], np.asarray(led)))
        return (ends[0][0] - ends[1][0]) / (2.0 * step), (ends[0][1] - ends[1][1]) / (2.0 * step)

    def _direction(self, action: int, answer: sparse.csc_array) -> dict[str, float]:
        """Variable → what it moves by per reach of the action: leader, minors, aggregates."""
        rows, names = self.rows, self.rows.game.names
        derivatives = rows.at(self.values)
        answers, _ = _settled(rows, derivatives, self.values, self.minors, self.sides)
        free = np.flatnonzero(np.isin(rows.owners, _numbers(rows, self.minors)))
        led = answer[:, [action]].toarray().ravel()
        minors = answers[:, action] + answers[:, len(rows.owners) :] @ led
        carried = rows.responses.moves[:, [action]].toarray().ravel() + rows.responses.shares[:, free] @ minors
        moved_by = {names[id(rows.actions[action])]: float(rows.action_units[action])}
        for variables, moved in (
            (rows.instruments, led * rows.instrument_units),
            ([rows.actions[j] for j in free], minors * rows.action_units[free]),
            (rows.responses.variables, carried * rows.aggregate_units),
        ):
            moved_by.update((names[id(var)], float(rate)) for var, rate in zip(variables, moved, strict=True))
        return moved_by


def _numbers(rows: FollowerRows, minors: Sequence[str]) -> list[int]:
    wanted = set(minors)
    return [k for k, f in enumerate(rows.followers) if f.name in wanted]


def _holding(
    rows: FollowerRows, derivatives: Derivatives, number: int, sides: Sequence[ActiveSide]
) -> Iterator[tuple[ActiveSide, float]]:
    """The active sides that hold one minor, with their multipliers: a + Gᵀλ = 0."""
    own = np.flatnonzero(rows.owners == number)
    active = [side for side in sides if side.follower == number and side.normal.any()]
    if not active:
        return
    normals = np.zeros((len(own), len(active)))
    for column, side in enumerate(active):
        normals[np.searchsorted(own, side.columns), column] = side.normal
    both = np.array([side.equality for side in active])
    parts = least_nonnegative(np.hstack([normals, -normals[:, both]]), -derivatives.own[own])
    multipliers = parts[: len(active)].copy()
    multipliers[both] -= parts[len(active) :]
    for column, (side, multiplier) in enumerate(zip(active, multipliers, strict=True)):
        force = abs(multiplier) * np.abs(normals[:, column]).max()
        if not side.equality and force <= TOLERANCES.stationarity:
            raise InvalidGame(
                f"minors='respond': {side.name} is active at the plan, but nothing pushes "
                f"{rows.followers[number].name} against it: its answer has a kink there, and no derivative."
            )
        yield side, float(multiplier)


def _answers(
    rows: FollowerRows,
    values: Mapping[str, float],
    free: Array,
    leaning: Sequence[tuple[ActiveSide, float]],
    limits: sparse.csr_array,
) -> Array:
    """(minors' actions × actions and leader's variables) how the minors answer."""
    forces: dict[str, float] = {}
    place = {c.name: i for i, c in enumerate(rows.constraints)}
    normals, moved = np.zeros((len(leaning), len(free))), np.zeros((len(leaning), limits.shape[1]))
    for row, (side, multiplier) in enumerate(leaning):
        normals[row, np.searchsorted(free, side.columns)] = side.normal
        if side.name in place:
            forces[side.name] = forces.get(side.name, 0.0) + side.sign * multiplier
            moved[row] = side.sign * limits[[place[side.name]]].toarray().ravel()
        else:
            moved[row, side.columns] = side.normal
    conditions = _conditions(rows, values, free, forces)
    loose = null_space(normals) if len(leaning) else np.eye(len(free))
    parts = [
        part / np.abs(part[:, free]).max(initial=0.0) for part in (loose.T @ conditions, moved) if part[:, free].any()
    ]
    system = np.vstack([*parts, np.zeros((0, limits.shape[1]))])
    return _solved(system[:, free], system, rows, free)


def _conditions(rows: FollowerRows, values: Mapping[str, float], free: Array, forces: Mapping[str, float]) -> Array:
    """(minors' actions × actions and leader's variables) second derivatives of the minors' Lagrangians."""
    hessians = FollowerHessians(rows, values, forces)
    member = sparse.csr_array(rows.responses_to(sparse.csr_array((len(rows.instruments), len(rows.owners)))))
    moving = sparse.hstack([rows.block_columns, rows.instrument_columns], format="csr")
    second = np.zeros((len(free), moving.shape[1]))
    for row, action in enumerate(free):
        hessian = hessians.of(int(rows.owners[action]))
        half = member[hessian.places][:, [action]].toarray().T @ hessian.matrix
        second[row] = half @ moving[hessian.places].toarray()
    return second


def _solved(matrix: Array, wanted: Array, rows: FollowerRows, free: Array) -> Array:
    singular = np.linalg.svd(matrix, compute_uv=False)
    determined = len(singular) == len(free) and singular.min() > TOLERANCES.bent * singular.max()
    answers = -np.linalg.lstsq(matrix, wanted, rcond=None)[0] if determined else None
    left = np.inf if answers is None else np.abs(matrix @ answers + wanted).max(initial=0.0)
    if answers is None or left > TOLERANCES.residual * max(1.0, np.abs(wanted).max(initial=0.0)):
        names = [rows.game.names[id(rows.actions[j])] for j in free[:4]]
        raise InvalidGame(f"minors='respond': the conditions of {', '.join(names)} do not determine their answer.")
    return np.asarray(answers)


def _limits_moved(
    rows: FollowerRows, derivatives: Derivatives, limits: sparse.csr_array, free: Array, answers: Array
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """The constraints of the other followers with the minors' answers carried along."""
    responding = np.unique(rows.owners[free])
    on_free = limits[:, free]
    felt = np.flatnonzero((np.diff(on_free.indptr) > 0) & ~np.isin(rows.constraint_owners, responding))
    if not len(felt):
        return derivatives.own_rows, derivatives.leader_rows
    carried = on_free[felt].toarray() @ answers
    carried[:, : len(rows.owners)] *= rows.owners[np.newaxis, :] == rows.constraint_owners[felt][:, np.newaxis]
    entries = sparse.coo_array(carried)
    added = sparse.csr_array((entries.data, (felt[entries.row], entries.col)), shape=limits.shape)
    actions = len(rows.owners)
    return (
        sparse.csr_array(derivatives.own_rows + added[:, :actions]),
        sparse.csr_array(derivatives.leader_rows + added[:, actions:]),
    )
