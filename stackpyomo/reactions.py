"""Reactions: how responding followers move when somebody else does.

With F = 0 the conditions of the responding followers (minors), free of bounds and constraints that hold them,

    d(minors)/dx = −F_minors⁻¹ F_x,      x another follower's action or the leader's variable

and what this carries into follower k's cost completes its derivatives: a_k + S_xᵀ ∂J_k/∂(minors), b_k likewise. That is
the reading in which minors settle after the major has deviated; the other one (frozen) holds them at the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse

from .curvatures import FollowerHessians
from .derivatives import Derivatives, FollowerRows
from .errors import InvalidGame
from .multipliers import ActiveSide
from .results import Array
from .tolerances import TOLERANCES

__all__ = ["with_reactions"]


def with_reactions(
    rows: FollowerRows,
    here: Derivatives,
    values: Mapping[str, float],
    minors: Sequence[str],
    sides: Sequence[ActiveSide],
) -> Derivatives:
    """The derivatives of the other followers with the minors' answers carried along.

    Raises :class:`InvalidGame` where the minors' conditions are singular at the plan: their answer is not determined.
    """
    numbers = [k for k, f in enumerate(rows.followers) if f.name in set(minors)]
    responding = np.isin(rows.owners, numbers)
    held = {int(c) for side in sides if side.follower in numbers for c in side.columns}
    free = np.array([j for j in np.flatnonzero(responding) if j not in held], dtype=int)
    if not len(free):
        return here
    hessians = FollowerHessians(rows, values, {})
    member = sparse.csr_array(rows.responses_to(sparse.csr_array((len(rows.instruments), len(rows.owners)))))
    together, tools = rows.block_columns, rows.instrument_columns
    by_action = np.zeros((len(free), len(rows.owners)))
    by_tool = np.zeros((len(free), len(rows.instruments)))
    for place, action in enumerate(free):
        hessian = hessians.of(int(rows.owners[action]))
        half = member[hessian.places][:, [action]].toarray().T @ hessian.matrix
        by_action[place] = half @ together[hessian.places].toarray()
        by_tool[place] = half @ tools[hessian.places].toarray()
    answers = _solved(by_action[:, free], np.hstack([by_action, by_tool]), rows, free)
    carried = (rows.gradients(values) @ together).toarray()[:, free]  # ∂J_k/∂(minors), all members together
    own, leader = here.own.copy(), here.leader.toarray()
    for number in range(len(rows.followers)):
        if number not in numbers:
            mine = np.flatnonzero(rows.owners == number)
            own[mine] += carried[number] @ answers[:, mine]
            leader[number] += carried[number] @ answers[:, len(rows.owners) :]
    return replace(here, own=own, leader=sparse.csr_array(leader))


def _solved(matrix: Array, wanted: Array, rows: FollowerRows, free: Array) -> Array:
    scale = np.abs(matrix).max(initial=0.0)
    if not np.linalg.svd(matrix, compute_uv=False).min() > TOLERANCES.bent * scale:
        names = [rows.game.names[id(rows.actions[j])] for j in free[:4]]
        raise InvalidGame(f"minors='respond': the conditions of {', '.join(names)} do not determine their answer.")
    return np.asarray(-np.linalg.solve(matrix, wanted))
