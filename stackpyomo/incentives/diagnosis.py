"""Refusals: why no affine incentive exists, follower by follower.

A follower is lost where a_k + G_kᵀλ_k + Q_kᵀ b_k stays away from 0 for every gain the leader may use. What is told is
the first of these that explains it: no derivative, no grip (b_k = 0), an action without weight or out of sight, a bound
of the leader or of the gain, signals that cannot tell its own actions apart, another follower who pulls the same
signals elsewhere, curvature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

import numpy as np
from scipy import linalg, sparse

from stackpyomo.core import TOLERANCES, Array, listed
from stackpyomo.core.expressions import variables_in
from stackpyomo.derivatives import ActiveSide, Derivatives, FollowerRows
from stackpyomo.errors import NoIncentive
from stackpyomo.games import Game

from .doubts import Doubts
from .gains.system import System

__all__ = ["Attempt", "hinted", "refuse", "refuse_curvature", "refuse_undefined"]

_NAMED = 6
"""Other followers named in a conflict."""


@dataclass(frozen=True)
class Attempt:
    """A gain and all that is needed to say why it does not do, in natural units."""

    rows: FollowerRows
    leader: sparse.csr_array
    moves: sparse.csr_array
    reach: Array
    """(actions) the most that one of each moves a signal, both in the user's units."""
    sums: sparse.csr_array
    system: System
    slope: Array
    left: Array
    """(actions) what the gain leaves of each slope."""
    left_unlimited: Array
    """The same without bounds on gains and leader."""
    reaches_bounds: Mapping[int, str]
    """Number of a leader variable → which bound it stands at, where that forbids the gain to move it."""
    held: bool
    """True if followers' constraints were allowed to carry them (multipliers='free')."""
    leaning: frozenset[int]
    """Numbers of the followers whom a constraint or bound of their own could carry."""
    doubts: Doubts
    """How well the derivatives are known."""

    @cached_property
    def lost(self) -> Array:
        """Numbers of followers who would deviate."""
        return np.unique(self.rows.owners[np.abs(self.left) > TOLERANCES.residual])

    # What follows is asked for each lost follower, and there may be thousands: none may look at all actions anew.

    @cached_property
    def grips(self) -> Array:
        """‖b_k‖ of each follower, as far as it is known not to be 0."""
        return np.asarray(np.sqrt(self.leader.power(2).sum(axis=1))).ravel()

    @cached_property
    def slopes(self) -> Array:
        """(actions) what a slope of 1 is in the user's units."""
        return np.asarray(self.rows.units.costs[self.rows.owners] / self.rows.action_units)

    def grip(self, follower: int) -> tuple[float, float]:
        """(‖b_k‖, how well it is known), in the user's units."""
        at = self.doubts.here.leader
        part = slice(at.indptr[follower], at.indptr[follower + 1])
        units = self.rows.units.costs[follower] / self.rows.instrument_units[at.indices[part]]
        return float(np.linalg.norm(at.data[part] * units)), float(np.linalg.norm(self.doubts.grips[part] * units))

    @cached_property
    def shown(self) -> Array:
        """(actions) whether it moves a signal."""
        return np.bincount(self.moves.tocoo().col, minlength=len(self.left)) > 0

    @cached_property
    def summed(self) -> Array:
        """(actions) whether all members of its block together move a signal."""
        return np.bincount(self.sums.tocoo().col, minlength=len(self.left)) > 0

    @cached_property
    def balanced(self) -> Array:
        """(actions) whether its equation holds any entry of the gain."""
        return np.asarray((abs(self.system.matrix) > 0.0).sum(axis=1)).ravel() > 0

    @cached_property
    def together(self) -> dict[int, Array]:
        """Component of the equations → numbers of its followers."""
        pairs = np.unique(np.stack([self.system.labels[0], self.rows.owners]), axis=1)
        labels, starts = np.unique(pairs[0], return_index=True)
        return dict(zip(labels.tolist(), np.split(pairs[1], starts[1:]), strict=True))

    @cached_property
    def solvable(self) -> dict[int, bool]:
        """Component of lost followers' equations → whether it can be met as it stands, however well it is known."""
        parts = self.system.components(np.flatnonzero(np.isin(self.rows.owners, self.lost)))
        labels = self.system.labels[0]
        return {int(labels[part.rows[0]]): self.system.is_solvable(part, self.slope) for part in parts}

    def own(self, follower: int) -> Array:
        """Numbers of its actions."""
        return np.arange(len(self.rows.owners))[self.rows.own(follower)]


def hinted(refused: NoIncentive, game: Game) -> NoIncentive:
    """Of a refusal for curvature or a conflict: the plan holds values that are nothing to the leader; others may do."""
    fitting = any(reason.startswith(("curvature", "conflict")) for reason in refused.reasons.values())
    objective = game.leader.objective
    if not fitting or objective is None:
        return refused
    felt = {id(v) for v in [*variables_in(objective.expr), *game.aggregate_variables()]}
    idle = [game.names[id(v)] for v in game.leader.variables if id(v) not in felt]
    if not idle:
        return refused
    hint = f"The leader's objective does not hold {listed(idle, 3)}: free= chooses such values with the gain."
    return NoIncentive(f"{refused} {hint}", reasons=refused.reasons, residuals=refused.residuals)


def refuse_undefined(rows: FollowerRows, derivatives: Derivatives, sides: Sequence[ActiveSide] = ()) -> None:
    """Raise :class:`NoIncentive` naming followers whose cost, or an active side, has no derivative at the plan."""
    bad = {s.follower for s in sides if not np.isfinite([*s.normal, *s.grip]).all()}
    bad |= set(rows.owners[~np.isfinite(derivatives.own)].tolist())
    entries = derivatives.leader.tocoo()
    bad |= set(entries.row[~np.isfinite(entries.data)].tolist())
    bad |= set(np.flatnonzero(~np.isfinite(derivatives.objectives)).tolist())
    if bad:
        names = [rows.followers[k].name for k in sorted(bad)]
        what = "a constraint that holds it" if sides else "its objective"
        reason = f"{what} has no finite value or derivative at the plan"
        _raise(
            dict.fromkeys(names, reason),
            dict.fromkeys(names, math.inf),
            "Choose a plan inside the domain of its functions.",
        )


def refuse(attempt: Attempt) -> None:
    """Raise :class:`NoIncentive` with a reason for every follower the gain does not hold, if there is one."""
    lost = attempt.lost
    if not len(lost):
        return
    reasons, residuals = {}, {}
    hints: list[str] = []
    per_signal = attempt.slopes * np.abs(attempt.left) / np.where(attempt.reach > 0.0, attempt.reach, 1.0)
    for follower in lost:
        own = attempt.own(follower)
        bad = own[np.abs(attempt.left[own]) > TOLERANCES.residual]
        name = attempt.rows.followers[follower].name
        residuals[name] = float(per_signal[bad].max())
        reasons[name], hint = _reason(attempt, int(follower), bad, residuals[name])
        hints.append(hint)
    _raise(reasons, residuals, hints[0])


def refuse_curvature(
    rows: FollowerRows, failed: Mapping[int, str], curvatures: Mapping[int, float], wanted: float
) -> None:
    """Raise :class:`NoIncentive` for followers no gain bends up as wanted; the residual is what their cost lacks."""
    if failed:
        names = {rows.followers[k].name: why for k, why in failed.items()}
        residuals = {rows.followers[k].name: -curvatures[k] for k in failed}
        flat = "Under every such strategy its plan is a stationary point, no minimum. "
        less = "ask for less curvature" if wanted else "curvature='none' to have the gain all the same"
        _raise(
            names,
            residuals,
            f"{'' if wanted else flat}Let the leader see or act on more, pass quadratic=True, or {less}.",
        )


def _raise(reasons: Mapping[str, str], residuals: Mapping[str, float], hint: str) -> NoReturn:
    first = next(iter(reasons))
    others = len(reasons) - 1
    more = f" (and {others} more follower{'s' if others > 1 else ''})" if others else ""
    raise NoIncentive(
        f"No affine incentive: {first}: {reasons[first]}{more}. {hint}", reasons=reasons, residuals=residuals
    )


def _reason(attempt: Attempt, follower: int, bad: Array, residual: float) -> tuple[str, str]:
    """(why, what to do) for one follower whose actions ``bad`` are not held."""
    slopes = attempt.slopes * np.abs(attempt.slope)
    names = attempt.rows.game.names
    if not attempt.grips[follower] > 0.0:
        size, error = attempt.grip(follower)
        known = f", known to {error:.1e} at this plan's accuracy" if size > 0.0 else ""
        lean = "choose another plan"
        if not attempt.held:
            lean = "pass multipliers='free' if one of its own constraints holds it there"
        return (
            "zero gradient: at the plan its objective does not change with any leader variable "
            f"(‖∇_{{u0}} J‖ = {size:.1e}{known}), yet its own gradient is {float(slopes[bad].max()):.6g}",
            "Let its objective depend on a leader variable there (a price times an action that is 0 does not), "
            f"or {lean}.",
        )
    blind = [j for j in bad if not attempt.shown[j]]
    if blind and attempt.summed[blind].any():
        return (
            "no weight: one member of an infinite population moves no signal the leader sees",
            "Observe each member's own action, or take a finite size.",
        )
    if blind:
        hidden = listed([names[id(attempt.rows.actions[j])] for j in blind])
        pull = float(slopes[blind].max())
        lean = "" if attempt.held else ", or pass multipliers='free' if its own constraints settle it (as with a CVaR)"
        return (
            f"out of sight: no signal shows its action {hidden}, which it would change by itself (slope {pull:.6g})",
            "Observe it, or ask for a plan that leaves it where the follower puts it by itself (the leader's objective "
            f"counts what the action costs the follower){lean}.",
        )
    if (np.abs(attempt.left_unlimited[bad]) <= TOLERANCES.residual).all():
        felt = set(attempt.leader[[follower]].indices.tolist())
        at = listed([text for number, text in attempt.reaches_bounds.items() if number in felt])
        at = at or listed(list(attempt.reaches_bounds.values()))
        if at:
            lean = _lean(attempt, follower)
            return (
                f"leader bound: {at}; to hold it the leader would have to go beyond (slope left {residual:.6g})",
                f"Widen that bound, or choose a plan inside it{lean}. A price that is no part of the leader's "
                "objective can be chosen anew by free=; inducible(plan) says whether any strategy could do it.",
            )
        return (
            f"gain bounds: within them {residual:.6g} of its slope is left",
            f"Widen gain_bounds{_lean(attempt, follower)}.",
        )
    unused = [j for j in bad if not attempt.balanced[j]]
    if unused:
        hidden = listed([names[id(attempt.rows.actions[j])] for j in unused])
        return (
            f"no leader variable that may use what shows {hidden} moves its objective at the plan",
            f"Let a variable that it feels use that signal{_lean(attempt, follower)}.",
        )
    if not _holds_alone(attempt, follower):
        actions = listed([names[id(attempt.rows.actions[j])] for j in bad])
        return (
            f"its own actions ({actions}) cannot be told apart by what the leader sees (residual {residual:.6g})",
            f"Observe them one by one{_lean(attempt, follower)}.",
        )
    return _conflict(attempt, follower, residual)


def _lean(attempt: Attempt, follower: int) -> str:
    """The remedy of a follower whom constraints of its own may carry, unless that was tried."""
    carried = follower in attempt.leaning and not attempt.held
    return ", or pass multipliers='free': one of its own constraints may hold it there" if carried else ""


def _holds_alone(attempt: Attempt, follower: int) -> bool:
    """True if the follower's equations have a solution when nobody else's are asked for."""
    own = attempt.own(follower)
    if len(own) == 1:  # one equation, which is known not to be empty
        return True
    block = attempt.system.matrix[own]
    columns = np.unique(block.indices)
    matrix = block[:, columns].toarray()
    fit = linalg.lstsq(matrix, -attempt.slope[own], cond=TOLERANCES.rank)[0]
    return bool((np.abs(matrix @ fit + attempt.slope[own]) <= TOLERANCES.residual).all())


def _conflict(attempt: Attempt, follower: int, residual: float) -> tuple[str, str]:
    by_row, _ = attempt.system.labels
    labels = np.unique(by_row[attempt.own(follower)]).tolist()
    groups = [attempt.together[label] for label in labels]
    together = groups[0] if len(groups) == 1 else np.unique(np.concatenate(groups))
    first = [attempt.rows.followers[k].name for k in together[: _NAMED + 1] if k != follower]
    doubtful = all(attempt.solvable[label] for label in labels)
    why = "what tells them apart is less than this plan's accuracy" if doubtful else "one gain cannot hold them all"
    return (
        f"conflict under shared signals with {listed(first, _NAMED, len(together) - 1)}: {why} "
        f"(least-squares residual {residual:.6g} per unit of signal)",
        f"Observe them apart, or give the leader more variables that they feel differently{_lean(attempt, follower)}.",
    )
