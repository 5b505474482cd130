"""Refusals: what is known of followers who cannot be induced, and the sentences that say so.

A :class:`Finding` holds a cause and its numbers; :func:`refusal` makes the error of them, and nothing reads its words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from stackpyomo.core import listed
from stackpyomo.errors import NoIncentive, RefusalCause

from .gains.turning import Fault, Unrepaired

__all__ = ["NAMED", "Finding", "refusal"]

NAMED = 6  # Other followers named in a conflict.


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
    more = f" (and {others} more follower{'s' if others > 1 else ''})" if others else ""
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
        "out of sight: no signal shows its action {who}, which it would change by itself (slope {slope:.6g})",
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
        "Widen gain_bounds{lean}.",
    ),
    RefusalCause.NO_INSTRUMENT: (
        "no leader variable that may use what shows {who} moves its objective at the plan",
        "Let a variable that it feels use that signal{lean}.",
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


def _curvature(finding: Finding) -> tuple[str, str]:
    flat = "" if finding.wanted else "Under every such strategy its plan is a stationary point, no minimum. "
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
        Fault.ANTICIPATED: f"the cost that it anticipates is not {convex}",
        Fault.BOUNDS: f"no gain within the bounds was found that makes its cost {convex}",
        Fault.OTHERS: f"the gains that make others' costs {convex} do not make its own so",
        Fault.QUADRATIC: f"even with a quadratic term its cost is not {convex}",
    }[unrepaired.fault]
    return f"{why}, and no quadratic term in what the leader sees helps" if unrepaired.squared else why
