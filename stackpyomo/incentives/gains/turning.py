"""Turning: a gain that bends one follower's cost up where every action is seen, or the proof that there is none.

With C the composed Hessian under one gain, S and B what the freedom W of the gain brings in, the others have

    H = C + BᵀW + WᵀB + WᵀSW.

Directions that B carries into the null space of S are bent up at will (Finsler). On the others, with C₂ = C − BᵀS⁻¹B,
some W makes H ≻ 0 iff C₂ has no more non-positive eigenvalues than S has positive ones (the project's theory notes;
tested on random games), and the proof builds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from scipy import linalg

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.derivatives import open_directions

HALVINGS = 30  # Of a step, or doublings of a level, before giving up.


class Fault(Enum):
    """Why a follower's composed cost is left with a direction of negative curvature."""

    ONLY_GAIN = auto()  #: No other gain solves the equations.
    PROVED = auto()  #: It bends down along more directions than any gain can turn.
    NOT_FOUND = auto()  #: The search ended without a gain that bends it up.
    WIDE = auto()  #: It has more actions than a search takes.
    ANTICIPATED = auto()  #: What it anticipates of the minors does not bend up.
    BOUNDS = auto()  #: None was found within the bounds of the gain.
    OTHERS = auto()  #: What bends others up bends it down.
    QUADRATIC = auto()  #: Not even a quadratic term of the strategy bends it up.


@dataclass(frozen=True)
class Unrepaired:
    """One follower's, with what was proved or measured."""

    fault: Fault
    directions: int = 0  #: Of a proof: how many bend down whatever the gain.
    turnable: int = 0  #: Of a proof: how many directions a gain can turn.
    missing: float = 0.0  #: Of a search: the curvature that the best gain lacks.
    squared: bool = False  #: True if no quadratic term of the strategy helps either.


def turned(composed: Array, cross: Array, s: Array, size: float) -> Array | Unrepaired | None:
    """W with composed + crossᵀW + Wᵀcross + WᵀsW ≻ 0, a proof that there is none, or None if rounding decides."""
    values, vectors = np.linalg.eigh(s) if s.size else (np.zeros(0), s)
    flat = np.abs(values) <= TOLERANCES.noise * size
    if (np.abs(values[~flat]) <= TOLERANCES.bent * size).any():
        return None
    values, solid, loose = values[~flat], vectors[:, ~flat], vectors[:, flat].T @ cross
    if np.abs(loose).max(initial=0.0) <= TOLERANCES.accuracy * size:  # what rounding leaves turns nothing
        loose = loose[:0]
    blind = np.asarray(linalg.null_space(loose, rcond=TOLERANCES.accuracy)) if len(loose) else np.eye(len(composed))
    turn = solid.T @ cross @ blind
    bends, along = np.linalg.eigh(blind.T @ composed @ blind - turn.T @ (turn / values[:, np.newaxis]))
    margin = TOLERANCES.margin * size
    bad, rising = np.flatnonzero(bends < margin), np.flatnonzero(values > 0.0)
    impossible = int((bends < -TOLERANCES.bent * size).sum())  # at 0 deviating changes nothing, which is no harm
    if impossible > len(rising):
        return Unrepaired(Fault.PROVED, impossible, len(rising))
    if len(bad) > len(rising) and len(loose):
        return None
    w = -turn / values[:, np.newaxis]
    for i, j in zip(bad, rising[::-1], strict=False):  # the most negative first; what is left over is flat
        w[j] += np.sqrt((2 * margin - bends[i]) / values[j]) * along[:, i]
    w = solid @ w @ blind.T
    if not len(loose):
        return np.asarray(w)
    bent = composed + cross.T @ w + w.T @ cross + w.T @ s @ w
    return np.asarray(w + vectors[:, flat] @ _lifted(bent, loose, margin))


def _lifted(composed: Array, loose: Array, margin: float) -> Array:
    """W with composed + looseᵀW + Wᵀloose ≻ 0, by lifting the Schur complement.

    It is there if composed ≻ 0 on the null space of ``loose``.
    """
    left, sizes, right = np.linalg.svd(loose, full_matrices=False)
    reached = sizes > TOLERANCES.accuracy * sizes.max(initial=0.0)
    left, sizes, seen = left[:, reached], sizes[reached], right[reached].T
    blind = open_directions(seen.T)
    aside = blind.T @ composed @ seen
    bends, along = np.linalg.eigh(
        seen.T @ composed @ seen - aside.T @ np.linalg.solve(blind.T @ composed @ blind, aside)
    )
    w, level = np.zeros_like(loose), margin
    for _ in range(HALVINGS):
        lift = (along * np.maximum(level - bends, 0.0)) @ along.T
        w = left @ (lift / sizes[:, np.newaxis]) @ seen.T / 2.0
        if np.linalg.eigvalsh(composed + loose.T @ w + w.T @ loose).min(initial=np.inf) >= margin / 2.0:
            break
        level *= 2.0
    return w
