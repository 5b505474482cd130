"""Diagnosis: why no affine incentive exists, follower by follower.

A follower is lost where a_k + G_kᵀλ_k + Q_kᵀ b_k stays away from 0 for every gain the leader may use. The
cause is the first of these that explains it: no derivative, b_k = 0, an action without weight or unobserved, a bound
of the leader or of the gain, signals that cannot tell its own actions apart, another follower who asks something else
of the same signals, curvature.

Refusals: what is known of followers who cannot be induced, and the sentences that say so.

A :class:`Finding` holds a cause and its numbers; :func:`refusal` makes the error of them, and nothing reads its words.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import linalg, sparse

from stackpyomo.core import TOLERANCES, Array, listed
from stackpyomo.core.expressions import variables_in
from stackpyomo.derivatives import ActiveSide, Derivatives, FollowerRows
from stackpyomo.errors import NoIncentive, RefusalCause
from stackpyomo.games import Game

from .accuracy import Accuracy
from .gains.selection import Entries
from .gains.system import System
from .gains.turning import Fault, Unrepaired

#: What another on-path value of a price may mend.
_CHOSEN_BY_VALUES = {RefusalCause.CURVATURE, RefusalCause.CONFLICT, RefusalCause.ZERO_GRADIENT}
_NOT_ASKED_OF_FREE = {RefusalCause.CURVATURE, RefusalCause.LEADER_BOUND}  # What free= does not look at.
NAMED = 6  # Other followers named in a conflict.
_WORDS: Mapping[RefusalCause, tuple[str, str]] = {
    RefusalCause.UNDEFINED: (
        "{what} has no finite value or derivative at the plan",
        "Choose a plan inside the domain of its functions.",
    ),
    RefusalCause.ZERO_GRADIENT: (
        "zero gradient: at the plan its objective does not change with any leader variable "
        "(‖∇_{{u0}} J‖ = {effect:.1e}{known}), yet its own gradient is {slope:.6g}",
        "Let its objective depend on a leader variable there (a price times an action that is 0 does not), or "
        "{support}.",
    ),
    RefusalCause.NO_WEIGHT: (
        "no weight: one member of an infinite population moves no signal the leader sees",
        "Observe each member's own action, or take a finite size.",
    ),
    RefusalCause.OUT_OF_SIGHT: (
        "unobserved: no signal shows its action {who}, which it would change by itself (slope {slope:.6g})",
        "Observe it, or ask for a plan that leaves it where the follower puts it by itself (the leader's objective "
        "counts what the action costs the follower){settle}.",
    ),
    RefusalCause.LEADER_BOUND: (
        "leader bound: {who}; to hold it the leader would have to go beyond (slope left {residual:.6g})",
        "Widen that bound, or choose a plan inside it{lean}. A price that is no part of the leader's "
        "objective can be chosen anew by free=; inducible(plan) says whether any strategy could do it.",
    ),
    RefusalCause.GAIN_BOUNDS: (
        "gain bounds: within them {residual:.6g} of its slope is left",
        "Widen gain_bounds={lean}.",
    ),
    RefusalCause.NO_INSTRUMENT: (
        "no leader variable that may answer a signal of {who} changes its objective at the plan",
        "Let a variable that it feels answer that signal{lean}.",
    ),
    RefusalCause.INDISTINCT: (
        "its own actions ({who}) cannot be told apart by what the leader sees (residual {residual:.6g})",
        "Observe them one by one{lean}.",
    ),
    RefusalCause.CONFLICT: (
        "conflict under shared signals with {rivals}: {apart} "
        "(least-squares residual {residual:.6g} per unit of signal)",
        "Observe them apart, or give the leader more variables that they feel differently{lean}.",
    ),
    RefusalCause.ROUNDING: (
        "rounding: the gain that solves the equations still leaves it a slope",
        "Rescale the model or choose another plan.",
    ),
}  # Cause → (why, what to do).


@dataclass(frozen=True)
class Attempt:
    """A gain and all that is needed to say why it does not do, in natural units."""

    design: Entries
    leader: sparse.csr_array  #: b (followers × leader variables), as far as it is known.
    system: System
    slope: Array
    gain: Array
    unlimited: Array  #: The gain without bounds on gains and leader.
    #: Number of a leader variable → which bound it stands at, where that forbids the gain to move it.
    reaches_bounds: Mapping[int, str]
    leaning: Container[int]  #: Numbers of the followers whom a constraint or bound of their own could carry.
    accuracy: Accuracy  #: How well the derivatives are known.

    @property
    def rows(self) -> FollowerRows:
        """In natural units."""
        return self.design.rows

    @property
    def supported(self) -> bool:
        """True if followers' constraints were allowed to carry them."""
        return bool(self.design.wishes.multipliers == "free")

    @cached_property
    def left(self) -> Array:
        """(actions) what the gain leaves of each slope."""
        return np.asarray(self.slope + self.system.matrix @ self.gain)

    @cached_property
    def lost(self) -> Array:
        """Numbers of followers who would deviate."""
        return np.unique(self.rows.owners[np.abs(self.left) > TOLERANCES.residual])

    # What follows is asked for each lost follower, and there may be thousands: none may look at all actions anew.

    @cached_property
    def effects(self) -> Array:
        """‖b_k‖ of each follower, as far as it is known not to be 0."""
        return np.asarray(np.sqrt(self.leader.power(2).sum(axis=1))).ravel()

    @cached_property
    def slopes(self) -> Array:
        """(actions) what a slope of 1 is in the user's units."""
        return np.asarray(self.rows.units.costs[self.rows.owners] / self.rows.action_units)

    def effect(self, follower: int) -> tuple[float, float]:
        """(‖b_k‖, how well it is known), in the user's units."""
        at = self.accuracy.derivatives.leader
        part = slice(at.indptr[follower], at.indptr[follower + 1])
        units = self.rows.units.costs[follower] / self.rows.instrument_units[at.indices[part]]
        return float(np.linalg.norm(at.data[part] * units)), float(np.linalg.norm(self.accuracy.effects[part] * units))

    @cached_property
    def shown(self) -> Array:
        """(actions) whether it moves a signal."""
        return np.bincount(self.design.moves.tocoo().col, minlength=len(self.left)) > 0

    @cached_property
    def summed(self) -> Array:
        """(actions) whether all members of its block together move a signal."""
        return np.bincount(self.design.shares.sums.tocoo().col, minlength=len(self.left)) > 0

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

    def names(self, actions: Iterable[int]) -> tuple[str, ...]:
        """Of actions by number."""
        return tuple(self.rows.game.names[id(self.rows.actions[j])] for j in actions)


def with_hint(refused: NoIncentive, game: Game, stopping: Sequence[str], chosen: Sequence[object]) -> NoIncentive:
    """Of a refusal that other values of a price may mend: which the leader does not mind, or which free= chose.

    stopping: leader variables with a bound at which what is announced is to stop, and may hold what no formula does.
    chosen: the variables of free=.
    """
    objective, hints = game.leader.objective, []
    if stopping:
        hints.append(f"Rules that hold only by the kink at a bound of {listed(stopping, 3)} are not looked for.")
    if objective is not None and not chosen and _CHOSEN_BY_VALUES.intersection(refused.causes.values()):
        felt = {id(v) for v in [*variables_in(objective.expr), *game.aggregate_variables()]}
        idle = [game.names[id(v)] for v in game.leader.variables if id(v) not in felt]
        if idle:
            text = f"The leader's objective does not hold {listed(idle, 3)}: free= chooses such values with the gain."
            hints.append(text)
    if chosen and not len(refused.deviations) and _NOT_ASKED_OF_FREE.intersection(refused.causes.values()):
        names = listed([game.names[id(v)] for v in chosen], 3)
        hints.append(
            f"free= takes the values at which the gain, or the payment, is least: other values of {names} were not "
            "looked for, and may do. Set them in the plan and leave out free=."
        )
    if not hints:
        return refused
    return NoIncentive(
        " ".join([str(refused), *hints]),
        reasons=refused.reasons,
        residuals=refused.residuals,
        causes=refused.causes,
        deviations=refused.deviations,
    )


def refuse_undefined(rows: FollowerRows, derivatives: Derivatives, sides: Sequence[ActiveSide] = ()) -> None:
    """Raise :class:`NoIncentive` naming followers whose cost, or an active side, has no derivative at the plan."""
    bad = {s.follower for s in sides if not np.isfinite([*s.normal, *s.effect]).all()}
    bad |= set(rows.owners[~np.isfinite(derivatives.own)].tolist())
    entries = derivatives.leader.tocoo()
    bad |= set(entries.row[~np.isfinite(entries.data)].tolist())
    bad |= set(np.flatnonzero(~np.isfinite(derivatives.objectives)).tolist())
    if bad:
        finding = Finding(RefusalCause.UNDEFINED, math.inf, of_constraint=bool(sides))
        raise refusal({rows.followers[k].name: finding for k in sorted(bad)})


def refuse(attempt: Attempt) -> None:
    """Raise :class:`NoIncentive` with a reason for every follower the gain does not hold, if there is one."""
    reach = attempt.design.reach
    per_signal = attempt.slopes * np.abs(attempt.left) / np.where(reach > 0.0, reach, 1.0)
    findings = {}
    for follower in attempt.lost:
        own = attempt.rows.own(follower)
        bad = own.start + np.flatnonzero(np.abs(attempt.left[own]) > TOLERANCES.residual)
        finding = _finding(attempt, int(follower), bad, float(per_signal[bad].max()))
        may_lean = follower in attempt.leaning and not attempt.supported
        name = attempt.rows.followers[follower].name
        findings[name] = replace(finding, is_supported=attempt.supported, may_lean=may_lean)
    if findings:
        raise refusal(findings)


def refuse_curvature(
    rows: FollowerRows, failed: Mapping[int, Unrepaired], curvatures: Mapping[int, float], wanted: float
) -> None:
    """Raise :class:`NoIncentive` for followers no gain bends up as wanted; the residual is what their cost lacks."""
    findings = {
        k: Finding(RefusalCause.CURVATURE, -curvatures[k], unrepaired=u, wanted=wanted) for k, u in failed.items()
    }
    if findings:
        raise refusal({rows.followers[k].name: finding for k, finding in findings.items()})


def _finding(attempt: Attempt, follower: int, bad: Array, residual: float) -> Finding:
    """Why one follower's actions ``bad`` are not held."""
    slope = float((attempt.slopes * np.abs(attempt.slope))[bad].max())
    if not attempt.effects[follower] > 0.0:
        size, error = attempt.effect(follower)
        return Finding(RefusalCause.ZERO_GRADIENT, residual, slope=slope, effect=size, accuracy=error)
    blind = [j for j in bad if not attempt.shown[j]]
    if blind and attempt.summed[blind].any():
        return Finding(RefusalCause.NO_WEIGHT, residual)
    if blind:
        pull = float((attempt.slopes * np.abs(attempt.slope))[blind].max())
        return Finding(RefusalCause.OUT_OF_SIGHT, residual, attempt.names(blind), pull)
    unlimited = attempt.slope[bad] + attempt.system.matrix[bad] @ attempt.unlimited
    if (np.abs(unlimited) <= TOLERANCES.residual).all():
        felt = set(attempt.leader[[follower]].indices.tolist())
        bounds = [text for number, text in attempt.reaches_bounds.items() if number in felt]
        bounds = bounds or list(attempt.reaches_bounds.values())
        cause = RefusalCause.LEADER_BOUND if bounds else RefusalCause.GAIN_BOUNDS
        return Finding(cause, residual, tuple(bounds))
    unused = [j for j in bad if not attempt.balanced[j]]
    if unused:
        return Finding(RefusalCause.NO_INSTRUMENT, residual, attempt.names(unused))
    if not _holds_alone(attempt, follower):
        return Finding(RefusalCause.INDISTINCT, residual, attempt.names(bad))
    others, in_doubt = _rivals(attempt, follower)
    names = tuple(attempt.rows.followers[k].name for k in others[: NAMED + 1])
    return Finding(RefusalCause.CONFLICT, residual, names, others=len(others), in_doubt=in_doubt)


def _holds_alone(attempt: Attempt, follower: int) -> bool:
    """True if the follower's equations have a solution when nobody else's are asked for."""
    own = attempt.rows.own(follower)
    if own.stop - own.start == 1:  # one equation, which is known not to be empty
        return True
    block = attempt.system.matrix[own]
    columns = np.unique(block.indices)
    matrix = block[:, columns].toarray()
    fit = linalg.lstsq(matrix, -attempt.slope[own], cond=TOLERANCES.rank)[0]
    return bool((np.abs(matrix @ fit + attempt.slope[own]) <= TOLERANCES.residual).all())


def _rivals(attempt: Attempt, follower: int) -> tuple[Array, bool]:
    """(numbers of the followers that share its signals, whether all could be met were the plan known better)."""
    by_row, _ = attempt.system.labels
    labels = np.unique(by_row[attempt.rows.own(follower)]).tolist()
    groups = [attempt.together[label] for label in labels]
    together = groups[0] if len(groups) == 1 else np.unique(np.concatenate(groups))
    return together[together != follower], all(attempt.solvable[label] for label in labels)


@dataclass(frozen=True)
class Finding:
    """Why one follower is not held, in the user's units."""

    cause: RefusalCause
    residual: float  #: What is left of its slope per unit of signal; of curvature what its cost lacks.
    names: tuple[str, ...] = ()  #: The actions, bounds or other followers that are concerned.
    slope: float = math.nan  #: The largest slope of its cost among the actions that are not held.
    effect: float = 0.0  #: ‖∂J/∂u0‖.
    accuracy: float = 0.0  #: How well that is known.
    others: int = 0  #: With how many followers it is in conflict, those without a name included.
    in_doubt: bool = False  #: True if the equations could be met, were the plan known better.
    of_constraint: bool = False  #: True if a constraint, not the objective, has no derivative.
    is_supported: bool = False  #: True if its own constraints were allowed to carry it.
    may_lean: bool = False  #: True if one of its own constraints could carry it, and was not allowed to.
    unrepaired: Unrepaired | None = None
    wanted: float = 0.0  #: The curvature that was asked for.


def refusal(findings: Mapping[str, Finding]) -> NoIncentive:
    """The error for followers by name; its message tells the first one's reason and remedy."""
    reasons = {name: _reason(finding) for name, finding in findings.items()}
    first, (why, remedy) = next(iter(reasons.items()))
    others = len(reasons) - 1
    more = f"; nor can {others} more follower{'s' if others > 1 else ''} be held" if others else ""
    return NoIncentive(
        f"No affine incentive: {first}: {why}{more}. {remedy}",
        reasons={name: reason for name, (reason, _) in reasons.items()},
        residuals={name: finding.residual for name, finding in findings.items()},
        causes={name: finding.cause for name, finding in findings.items()},
    )


def _reason(finding: Finding) -> tuple[str, str]:
    """(why, what to do)."""
    if finding.cause is RefusalCause.CURVATURE:
        return _curvature(finding)
    free = "multipliers='free'"
    words = {
        **vars(finding),
        "what": "a constraint that holds it" if finding.of_constraint else "its objective",
        "known": f", known to {finding.accuracy:.1e} at this plan's accuracy" if finding.effect > 0.0 else "",
        "who": listed(finding.names),
        "rivals": listed(finding.names, NAMED, finding.others),
        "apart": "what tells them apart is less than this plan's accuracy"
        if finding.in_doubt
        else "one gain cannot hold them all",
        # the remedy of a follower whom constraints of its own may carry, unless that was tried
        "lean": f", or pass {free}: one of its own constraints may hold it there" if finding.may_lean else "",
        "support": "choose another plan"
        if finding.is_supported
        else f"pass {free} if one of its own constraints holds it there",
        "settle": "" if finding.is_supported else f", or pass {free} if its own constraints settle it (as with a CVaR)",
    }
    why, remedy = _WORDS[finding.cause]
    return why.format(**words), remedy.format(**words)


def _curvature(finding: Finding) -> tuple[str, str]:
    flat = "" if finding.wanted else "Under every such strategy its plan is a stationary point, but no minimum. "
    less = "ask for less curvature" if finding.wanted else "curvature='none' to take the gain as it is"
    return (
        f"curvature: {_unbent(finding)}",
        f"{flat}Let the leader see or act on more, pass quadratic=True, or {less}.",
    )


def _unbent(finding: Finding) -> str:
    unrepaired, wanted = finding.unrepaired, finding.wanted
    assert unrepaired is not None
    convex = f"of a curvature of {wanted:g} or more" if wanted else "convex"
    few = "1 direction" if unrepaired.directions == 1 else f"{unrepaired.directions} directions"
    why = {
        Fault.ONLY_GAIN: f"its gain is the only one, and under it its cost is not {convex} along some deviation",
        Fault.PROVED: f"no gain makes its composed cost {convex} "
        f"(along {few} the leader's answer cannot do it, and in {unrepaired.turnable} it can)",
        Fault.NOT_FOUND: f"no gain was found that makes its composed cost {convex} "
        f"({unrepaired.missing:.3g} is missing at best)",
        Fault.WIDE: f"it has too many actions for a search for a gain that makes its composed cost {convex}",
        Fault.ANTICIPATED: f"the cost that it anticipates is not {convex}",
        Fault.BOUNDS: f"no gain within the bounds was found that makes its cost {convex}",
        Fault.OTHERS: f"the gains that make others' costs {convex} do not make its own so",
        Fault.QUADRATIC: f"even with a quadratic term its cost is not {convex}",
    }[unrepaired.fault]
    return f"{why}, and no quadratic term in what the leader sees helps" if unrepaired.squared else why
