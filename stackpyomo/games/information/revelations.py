"""Revelations: observations whose atoms tell more than what they stand for.

On a product grid or on samples a signal y = x + w takes another value in nearly every scenario. Decisions indexed by
these values know x, though y does not tell it: the plan is the one of full information. Such an observation is named.

    P(x is constant on y) ≥ ``TOLERANCES.revealed``,  though  E (x(y) − x(y'))² ≥ 2 Var x ``TOLERANCES.open``

with y' the value next to y: where near values of y go with values of x that are far apart, y leaves x open. No
observation of a grid is named that shows a function of x alone, nor any of few scenarios that the user wrote down.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from stackpyomo.core import TOLERANCES, Array, listed
from stackpyomo.games.findings import Finding

# Atoms below which nothing can be said, by where the scenarios come from.
_FEW = {"grid": 2, "samples": 8, "given": 20}


_HIDDEN = 8.0 * sys.float_info.epsilon


@dataclass(frozen=True)
class Revelation:
    """An observation that tells some outcomes exactly, with at least this probability, though it leaves them open."""

    observation: str
    outcomes: tuple[str, ...]
    probability: float

    def finding(self, component: str) -> Finding:
        """What ``game.check()`` says of a component indexed by the observation."""
        return Finding(
            "warning",
            component,
            f"observing {self.observation} tells {listed(list(self.outcomes))} exactly in {self.probability:.0%} of "
            "the probability, though it leaves that open: each value stands for hardly more than one scenario, and "
            "what is decided by it is decided with full information.",
            f"Decide by a function, scenarios.policy(block, {self.observation!r}), or build the grid from the "
            "observations, Scenarios.gauss_hermite(..., observed=...).",
        )


@dataclass(frozen=True)
class Vanishing:
    """Values that an observation shows so seldom that an expected cost is the same without them."""

    observation: str
    labels: tuple[Hashable, ...]
    probabilities: tuple[float, ...]

    def finding(self, component: str) -> Finding:
        """What ``game.check()`` says of a component indexed by the observation."""
        return Finding(
            "warning",
            component,
            f"what is decided at {self.observation} = {listed([str(label) for label in self.labels], 3)} is so "
            "improbable that it adds nothing to an expected cost: its planned value is the one that the solver started "
            "from, and no verdict covers it.",
            "Give it probability 0, or a larger one; conditional_regret looks at it by itself.",
        )


class Atoms(list[Hashable]):
    """What an observation can show, and what is doubtful about deciding by it."""

    def __init__(self, labels: Sequence[Hashable], doubts: Sequence[Revelation | Vanishing] = ()) -> None:
        super().__init__(labels)
        self.doubts = doubts


def doubts_in(component: Any) -> list[Revelation | Vanishing]:
    """Those of the atoms that an indexed component was given as its index."""
    return [doubt for _, doubts in _indices(component) for doubt in doubts]


def probability_of(member: Any) -> float:
    """That of what a Var is decided by, where an expected cost is the same without it; else 1."""
    probability, index, place = 1.0, member.index(), 0
    sets = list(_indices(member.parent_component()))
    for length, doubts in sets:
        label = index if len(sets) == 1 else index[place] if length == 1 else index[place : place + length]
        place += length
        for doubt in doubts:
            if isinstance(doubt, Vanishing) and label in doubt.labels:
                probability *= doubt.probabilities[doubt.labels.index(label)]
    return probability


def _indices(component: Any) -> Iterator[tuple[int, Sequence[Revelation | Vanishing]]]:
    """(how many labels, doubts of the atoms it was made from) of every Set that indexes a component."""
    for part in component.index_set().subsets() if component.is_indexed() else ():
        source: Any = part
        for attribute in ("_init_values", "_init", "val", "_ref"):  # where a Set keeps the list it was made from
            source = getattr(source, attribute, None)
        yield part.dimen or 1, source.doubts if isinstance(source, Atoms) else ()


def vanishing_atoms(observation: str, labels: Sequence[Hashable], codes: Array, probability: Array) -> Vanishing | None:
    """Atoms that can happen, and whose probability rounding of 1 hides; None if there are none."""
    shares = np.bincount(codes, probability, len(labels))
    lost = np.flatnonzero((shares > 0.0) & (shares < _HIDDEN))
    hidden = tuple(labels[int(a)] for a in lost)
    return Vanishing(observation, hidden, tuple(shares[lost].tolist())) if hidden else None


def revealed_outcomes(
    observation: str, labels: Sequence[Hashable], codes: Array, outcomes: Any, probability: Array, source: str
) -> Revelation | None:
    """What the observation reveals; None if nothing. source: "grid", "samples" or "given" by the user."""
    likely = probability > 0.0
    weights = probability[likely]
    atoms, codes = np.unique(codes[likely], return_inverse=True)
    shown = _numbers([labels[a] for a in atoms])
    if shown is None or len(atoms) < _FEW[source] or (source == "given" and not (shown % 1.0).any()):
        return None
    power = np.bincount(codes, weights)
    shares: dict[str, float] = {}
    for name in outcomes.columns:
        values = _numbers(outcomes[name].tolist())
        if values is None or str(name) == observation:
            continue
        level = values[likely, 0]
        low, high = np.full(len(atoms), np.inf), np.full(len(atoms), -np.inf)
        np.minimum.at(low, codes, level)
        np.maximum.at(high, codes, level)
        share = float(power[low == high].sum())
        if share >= TOLERANCES.revealed and not _is_shown(shown[codes], level, source) and _is_open(shown, low, power):
            shares[str(name)] = share
    return Revelation(observation, tuple(shares), min(shares.values())) if shares else None


def _numbers(labels: Sequence[Any]) -> Array | None:
    """Labels as rows of numbers; None if they are something else."""
    try:
        rows = np.array([label if isinstance(label, tuple) else (label,) for label in labels], dtype=float)
    except (TypeError, ValueError):
        return None
    plain = not any(isinstance(part, (str, bytes)) for part in np.ravel(np.array(labels[:1], dtype=object)))
    return rows if plain and np.isfinite(rows).all() else None


def _is_shown(shown: Array, level: Array, source: str) -> bool:
    """True if the observation shows the outcome itself or, on a grid that repeats it, a function of it alone."""
    if any(np.array_equal(part, level) for part in shown.T):
        return True
    _, place, repeats = np.unique(level, return_inverse=True, return_counts=True)
    if source == "samples" and repeats.max() == 1:
        return False  # all that samples show is a function of any one of their numbers
    pairs = ((len(np.unique(part)), np.unique(np.stack([place.ravel(), part]), axis=1).shape[1]) for part in shown.T)
    return repeats.max() > 1 and any(number == count == len(repeats) for number, count in pairs)


def _is_open(shown: Array, level: Array, power: Array) -> bool:
    """True if values of the observation, and of each part of it, go with far apart values of the outcome next door."""
    mean = power @ level / power.sum()
    variance = power @ (level - mean) ** 2
    spread = np.ptp(shown, axis=0)
    points = shown[:, spread > 0.0] / spread[spread > 0.0]
    if not variance > 0.0 or not points.shape[1]:
        return False
    for view in [points, *(part[:, np.newaxis] for part in points.T)]:
        _, nearest = KDTree(view).query(view, k=2)
        if power @ (level - level[nearest[:, 1]]) ** 2 < TOLERANCES.open * 2.0 * variance:
            return False
    return True
