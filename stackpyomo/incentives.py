"""Incentives: the affine strategy that makes a plan every follower's best response.

With a_k, b_k the derivatives of follower k's cost at the plan with respect to its own actions and to the leader's
(THEORY: Zheng–Başar–Cruz 1984; arXiv 2207.10611), a strategy u0 = u0* + Σ Q_k (u_k − u_k*) leaves follower k without a
first-order reason to deviate iff

    a_k + G_kᵀλ_k + Q_kᵀ b_k = 0,   λ_k the multipliers of its own constraints in the COMPOSED problem.

λ_k is never the dual of the leader's problem. multipliers="zero" sets it to 0; "free" takes the λ_k of least gain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pyomo.core.base.var import VarData
from scipy import sparse

from .checks import require, require_positive
from .contracts import Incentive
from .derivatives import Derivatives, FollowerRows, stamp
from .errors import InvalidGame, NoIncentive
from .games import Game
from .multipliers import least_slope
from .offsets import choose_offsets
from .programs import timed, undisturbed
from .results import Array, Plan
from .selections import component_pairs, leader_variables, members
from .solvers import choose
from .tolerances import TOLERANCES

__all__ = ["affine_incentive"]


def affine_incentive(
    plan: Plan,
    observe: Any = "actions",
    *,
    free: Any = (),
    energy: Any = None,
    multipliers: str = "zero",
    solver: str = "auto",
) -> Incentive:
    """Least-energy affine incentive at the plan: Q_k = −W⁻¹ b_k (a_k + G_kᵀλ_k)ᵀ / (b_kᵀ W⁻¹ b_k).

    observe: "actions" (the leader sees every action). free: leader Vars whose on-path value may be chosen anew because
    the leader's objective does not depend on them. energy: leader Var → weight W (1). multipliers: "zero" or "free".
    Raises :class:`NoIncentive` naming every follower that cannot be induced, and :class:`InvalidGame`.
    """
    if not isinstance(plan, Plan):
        raise InvalidGame(
            f"affine_incentive({type(plan).__name__}): expected a Plan; make one with leader_optimal(game)."
        )
    game = plan.attached()
    _check_arguments(observe, multipliers)
    choose(solver)
    with undisturbed():
        return _designed(plan, game, free, energy, multipliers, solver)


def _designed(plan: Plan, game: Game, free: Any, energy: Any, multipliers: str, solver: str) -> Incentive:
    require(game, leader_objective=False)
    plan.attached()  # once more: the model may have gained a Var since the plan
    game.require_fixed_as(plan.values)
    seconds: dict[str, float] = {}
    with timed(seconds, "derivatives"):
        kept = plan.rows
        rows = kept if isinstance(kept, FollowerRows) and kept.stamp == stamp(game) else FollowerRows(game)
        weights = _weights(rows, energy)
        chosen = leader_variables(game, free)
        values = dict(plan.values)
        here = rows.at(values)
    if chosen:
        with timed(seconds, "free"):
            values.update(choose_offsets(rows, here, values, chosen, weights, multipliers, solver))
            here = rows.at(values)
    with timed(seconds, "incentive"):
        return _design(plan, rows, here, values, weights, multipliers, chosen, seconds)


def _check_arguments(observe: Any, multipliers: str) -> None:
    if not (isinstance(observe, str) and observe == "actions"):
        raise InvalidGame(
            f"observe={observe!r}: only observe='actions' is known; use it, or wait for aggregate signals."
        )
    if multipliers not in ("zero", "free"):
        raise InvalidGame(f"multipliers={multipliers!r}: choose 'zero' or 'free'.")


def _weights(rows: FollowerRows, energy: Any) -> Array:
    """Weight per instrument from a ComponentMap, (component, value) pairs, or a dict keyed by name."""
    weights = np.ones(len(rows.instruments))
    if energy is None:
        return weights
    place = {id(v): i for i, v in enumerate(rows.instruments)}
    pairs = component_pairs(energy, "energy", "weight")
    for key, weight in pairs:
        require_positive(f"energy: the weight of {key}", weight)
    wanted = [(var, weight) for key, weight in pairs for var in members(rows.game, key)]
    leader_variables(rows.game, [var for var, _ in wanted])
    for var, weight in wanted:
        if id(var) in place:
            weights[place[id(var)]] = weight
    return weights


def _design(
    plan: Plan,
    rows: FollowerRows,
    here: Derivatives,
    values: Mapping[str, float],
    weights: Array,
    multipliers: str,
    chosen: Sequence[VarData],
    seconds: dict[str, float],
) -> Incentive:
    game, owners = rows.game, rows.owners
    slope, held = here.own.copy(), dict[str, float]()
    if multipliers == "free":
        slope, held = least_slope(rows, here, values)
    power = here.leader.power(2) @ (1.0 / weights)
    scale = rows.scales(values)
    _refuse_undefined(rows, here)
    grip = np.sqrt(np.asarray(here.leader.power(2).sum(axis=1)).ravel())
    induced = grip > TOLERANCES.gradient * scale
    _refuse(rows, slope, grip, induced, scale, multipliers)
    moved = np.where(induced[owners] & (np.abs(slope) > TOLERANCES.noise * scale[owners]), slope, 0.0)
    matrix = _gains(here.leader, moved, owners, power, induced, weights)
    left = np.abs(slope + _effect(matrix, here.leader, owners))
    names = game.names
    leader = [names[id(v)] for v in rows.instruments]
    offset = {name: values[name] for name in leader}
    offset.update({names[id(v)]: values[names[id(v)]] for v in chosen})
    signals = [names[id(v)] for v in rows.actions]
    counts = np.bincount(owners, minlength=len(rows.followers))
    return Incentive(
        plan=plan,
        leader=leader,
        signals=signals,
        matrix=matrix,
        offset=offset,
        targets={name: values[name] for name in signals},
        residual=float(left.max(initial=0.0)),
        rank=int(counts[induced].sum()),
        freedom=int(((len(leader) - induced) * counts).sum()),
        weights={n: float(w) for n, w in zip(leader, weights, strict=True) if w != 1.0},
        multipliers=held,
        gradients=sparse.csr_array(here.leader.multiply(induced[:, np.newaxis])),
        owners=owners,
        seconds=seconds,
    )


def _refuse_undefined(rows: FollowerRows, here: Derivatives) -> None:
    """Raise :class:`NoIncentive` naming followers whose cost has no derivative at the plan."""
    bad = set(rows.owners[~np.isfinite(here.own)].tolist())
    entries = here.leader.tocoo()
    bad |= set(entries.row[~np.isfinite(entries.data)].tolist())
    bad |= set(np.flatnonzero(~np.isfinite(here.objectives)).tolist())
    if bad:
        names = [rows.followers[k].name for k in sorted(bad)]
        reason = "its objective has no finite value or derivative at the plan"
        raise NoIncentive(
            f"No affine incentive: {names[0]}: {reason}. Choose a plan inside the domain of its functions.",
            reasons=dict.fromkeys(names, reason),
            residuals=dict.fromkeys(names, math.inf),
        )


def _refuse(
    rows: FollowerRows,
    slope: Array,
    grip: Array,
    induced: Array,
    scale: Array,
    multipliers: str,
) -> None:
    """Raise :class:`NoIncentive` naming followers the leader has no grip on (b = 0) and who would deviate (a ≠ 0)."""
    tempted = np.zeros(len(induced))
    np.maximum.at(tempted, rows.owners, np.abs(slope))
    lost = np.flatnonzero(~induced & (tempted > TOLERANCES.residual * scale))
    if not len(lost):
        return
    reasons, residuals = {}, {}
    for follower in lost:
        name = rows.followers[follower].name
        residuals[name] = float(tempted[follower])
        reasons[name] = (
            "zero gradient: at the plan its objective does not change with any leader variable "
            f"(‖∇_{{u0}} J‖ = {grip[follower]:.1e}), yet its own gradient is {tempted[follower]:.6g}"
        )
    first = rows.followers[lost[0]].name
    more = f" (and {len(lost) - 1} more followers)" if len(lost) > 1 else ""
    hint = "" if multipliers == "free" else ", or pass multipliers='free' if one of its own constraints holds it there"
    raise NoIncentive(
        f"No affine incentive: {first}: {reasons[first]}{more}. Let its objective depend on a leader variable there "
        f"(a price, a toll){hint}.",
        reasons=reasons,
        residuals=residuals,
    )


def _gains(
    leader: sparse.csr_array,
    slope: Array,
    owners: Array,
    power: Array,
    induced: Array,
    weights: Array,
) -> sparse.csc_array:
    """Q, (leader × actions): column j of follower k is −W⁻¹ b_k slope_j / (b_kᵀ W⁻¹ b_k)."""
    inverse = np.where(induced, 1.0 / np.where(induced, power, 1.0), 0.0)
    directions = leader.multiply(inverse[:, np.newaxis]).multiply(1.0 / weights[np.newaxis, :])
    matrix = sparse.csr_array(directions)[owners].multiply(-slope[:, np.newaxis])
    matrix = sparse.csc_array(sparse.csr_array(matrix).T)
    matrix.eliminate_zeros()
    return matrix


def _effect(matrix: sparse.csc_array, leader: sparse.csr_array, owners: Array) -> Array:
    """Qᵀb for every action: how the leader's answer to it changes its owner's cost."""
    return np.asarray(leader[owners].multiply(matrix.T.tocsr()).sum(axis=1)).ravel()
