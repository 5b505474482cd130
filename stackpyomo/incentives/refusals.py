"""Refusals: what is known of followers who cannot be induced, and the sentences that say so.

A :class:`Finding` holds a cause and its numbers; :func:`refusal` makes the error of them, and nothing reads its words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
    reasons = {name: _WORDS[finding.cause](finding) for name, finding in findings.items()}
    first, (why, remedy) = next(iter(reasons.items()))
    others = len(reasons) - 1
    more = f" (and {others} more follower{'s' if others > 1 else ''})" if others else ""
    return NoIncentive(
        f"No affine incentive: {first}: {why}{more}. {remedy}",
        reasons={name: reason for name, (reason, _) in reasons.items()},
        residuals={name: finding.residual for name, finding in findings.items()},
        causes={name: finding.cause for name, finding in findings.items()},
    )


def _lean(finding: Finding) -> str:
    """The remedy of a follower whom constraints of its own may carry, unless that was tried."""
    return ", or pass multipliers='free': one of its own constraints may hold it there" if finding.may_lean else ""


def _undefined(finding: Finding) -> tuple[str, str]:
    what = "a constraint that holds it" if finding.of_constraint else "its objective"
    return (
        f"{what} has no finite value or derivative at the plan",
        "Choose a plan inside the domain of its functions.",
    )


def _zero_gradient(finding: Finding) -> tuple[str, str]:
    known = f", known to {finding.accuracy:.1e} at this plan's accuracy" if finding.effect > 0.0 else ""
    lean = "choose another plan"
    if not finding.is_supported:
        lean = "pass multipliers='free' if one of its own constraints holds it there"
    return (
        "zero gradient: at the plan its objective does not change with any leader variable "
        f"(‖∇_{{u0}} J‖ = {finding.effect:.1e}{known}), yet its own gradient is {finding.slope:.6g}",
        f"Let its objective depend on a leader variable there (a price times an action that is 0 does not), or {lean}.",
    )


def _no_weight(_: Finding) -> tuple[str, str]:
    return (
        "no weight: one member of an infinite population moves no signal the leader sees",
        "Observe each member's own action, or take a finite size.",
    )


def _out_of_sight(finding: Finding) -> tuple[str, str]:
    lean = ", or pass multipliers='free' if its own constraints settle it (as with a CVaR)"
    return (
        f"out of sight: no signal shows its action {listed(finding.names)}, which it would change by itself "
        f"(slope {finding.slope:.6g})",
        "Observe it, or ask for a plan that leaves it where the follower puts it by itself (the leader's objective "
        f"counts what the action costs the follower){'' if finding.is_supported else lean}.",
    )


def _leader_bound(finding: Finding) -> tuple[str, str]:
    return (
        f"leader bound: {listed(finding.names)}; to hold it the leader would have to go beyond "
        f"(slope left {finding.residual:.6g})",
        f"Widen that bound, or choose a plan inside it{_lean(finding)}. A price that is no part of the leader's "
        "objective can be chosen anew by free=; inducible(plan) says whether any strategy could do it.",
    )


def _gain_bounds(finding: Finding) -> tuple[str, str]:
    return (
        f"gain bounds: within them {finding.residual:.6g} of its slope is left",
        f"Widen gain_bounds{_lean(finding)}.",
    )


def _no_instrument(finding: Finding) -> tuple[str, str]:
    return (
        f"no leader variable that may use what shows {listed(finding.names)} moves its objective at the plan",
        f"Let a variable that it feels use that signal{_lean(finding)}.",
    )


def _indistinct(finding: Finding) -> tuple[str, str]:
    return (
        f"its own actions ({listed(finding.names)}) cannot be told apart by what the leader sees "
        f"(residual {finding.residual:.6g})",
        f"Observe them one by one{_lean(finding)}.",
    )


def _conflict(finding: Finding) -> tuple[str, str]:
    why = (
        "what tells them apart is less than this plan's accuracy"
        if finding.in_doubt
        else "one gain cannot hold them all"
    )
    return (
        f"conflict under shared signals with {listed(finding.names, NAMED, finding.others)}: {why} "
        f"(least-squares residual {finding.residual:.6g} per unit of signal)",
        f"Observe them apart, or give the leader more variables that they feel differently{_lean(finding)}.",
    )


def _rounding(_: Finding) -> tuple[str, str]:
    return (
        "rounding: the gain that solves the equations still leaves it a slope",
        "Rescale the model or choose another plan.",
    )


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


_WORDS: Mapping[RefusalCause, Callable[[Finding], tuple[str, str]]] = {
    RefusalCause.UNDEFINED: _undefined,
    RefusalCause.ZERO_GRADIENT: _zero_gradient,
    RefusalCause.NO_WEIGHT: _no_weight,
    RefusalCause.OUT_OF_SIGHT: _out_of_sight,
    RefusalCause.LEADER_BOUND: _leader_bound,
    RefusalCause.GAIN_BOUNDS: _gain_bounds,
    RefusalCause.NO_INSTRUMENT: _no_instrument,
    RefusalCause.INDISTINCT: _indistinct,
    RefusalCause.CONFLICT: _conflict,
    RefusalCause.ROUNDING: _rounding,
    RefusalCause.CURVATURE: _curvature,
}  # Cause → (why, what to do).
