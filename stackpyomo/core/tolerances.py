"""Every tolerance of the package, each a named field of one frozen dataclass."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerances:
    """Every tolerance of the package, by name; relative to the scales of :mod:`stackpyomo.core.scales`."""

    solver: float = 1e-10  #: Convergence tolerance handed to NLP solvers.
    #: Largest constraint violation of a point that is called feasible (relative to the row's scale).
    feasibility: float = 1e-6
    #: Largest KKT residual of a point that is called optimal (relative to the gradient's scale).
    stationarity: float = 1e-6
    active: float = 1e-6  #: A constraint or variable closer to its bound than this, in its natural unit, is active.
    gradient: float = 1e-9  #: A gradient ∇_{u0}J smaller than this, in natural units, counts as zero.
    #: How well a plan is known at best, in reaches of its variables: what is 0 within that is 0.
    accuracy: float = 1e-6
    residual: float = 1e-7  #: Largest |a + Qᵀb| of a gain that is called valid, in natural units.
    rank: float = 1e-8  #: A singular value of a gain's equations below this, relative to the largest, counts as zero.
    #: How negative an eigenvalue of a Hessian called positive semidefinite may be, its diagonal scaled to 1.
    curvature: float = 1e-13
    #: A composed Hessian's eigenvalue below minus this, relative to its largest term, is negative curvature.
    bent: float = 1e-7
    #: The least eigenvalue a repaired composed Hessian is given, relative to the largest second derivative; and a size
    #: without a box that, beside the step the functions tell, is no size.
    margin: float = 1e-3
    #: A follower's derivative smaller than this, in natural units, is the solver's rounding: taken as 0.
    noise: float = 1e-9
    #: Largest gap of the variational inequality, relative to the largest scale of a follower's regret, that is none.
    variational: float = 1e-6
    #: Two rows whose coefficients and levels, divided by the largest coefficient, differ by less are one row.
    same_row: float = 1e-12
    #: A row of an infeasible plan with a larger multiplier than this in its least violation is part of the conflict.
    blame: float = 1e-4
    #: What HiGHS adds to a Hessian's diagonal (its default, 1e-7, moves prices; at 0 it refuses singular ones).
    regularization: float = 1e-10
    #: A variable closer to its bound than this is put on it if no residual and not the objective gets worse.
    snap: float = 1e-5
    #: The same where its multiplier may be 0: an interior-point method stops at √(μ / curvature) from such a bound.
    weak: float = 1e-3
    #: How far random starting points of a plan lie from 0, or from its one bound, where a variable has not two.
    reach: float = 10.0
    #: How far from the plan, in reaches of the variables, slopes are taken once more for the scale of a function.
    nearby: float = 0.1
    #: How much steeper a cost may count there than at the plan, or than the slope nearer to it lets a parabola be.
    steeper: float = 10.0
    #: A variable smaller than this beside its box is 0 there: its size tells nothing of its reach.
    nothing: float = 1e-7
    multiplier: float = 1e6  #: A follower's multiplier larger than this is named: perhaps none is bounded.
    #: A leader's gain, relative to its objective, below which a large game is near enough for its last polish.
    early: float = 1e-4
    #: A homotopy goes on beyond its last level until min(λ, s) is below this, relative to the median of max(λ, s).
    sharp: float = 1e-3
    #: Convergence tolerance of a homotopy's step, relative to its parameter; the last step uses ``solver``.
    homotopy: float = 1e-2
    #: The least product λ s on a central path, in units of their mean: smaller ones make its steps short.
    balanced: float = 1e-4
    least_level: float = 1e-16  #: The least parameter of a homotopy: below it a solver sees 0.
    barrier: float = 1e-7  #: Least barrier parameter that a step of a homotopy begins with.
    #: Feasibility tolerance handed to global solvers: their bound is read against a polished answer.
    global_feasibility: float = 1e-6
    #: The same once more, where the bound falls short of a verified answer although the solver closed its own gap.
    tight: float = 1e-8
    #: What SCIP takes for 0 (:mod:`stackpyomo.solvers.registry` says why it is not its own).
    global_zero: float = 1e-11
    #: Ipopt's own, where a bound is asked for: multipliers of many bundles, each a little off, add up to a gap.
    bundle: float = 1e-12
    #: Largest gap between answer and a global solver's bound that is called closed (relative to the objective's scale).
    global_gap: float = 1e-6
    #: A catalogue's reference and an objective this close to it are the same (relative to max(1, |reference|)).
    agreement: float = 1e-4
    loss: float = 1e-3  #: How much worse than its reference, on the same scale, the summary of a catalogue calls worse.
    regret: float = 1e-5  #: Largest regret, relative to max(1, |J|), of a plan that a catalogue counts as verified.
    #: The step, in units of its reach, over which slopes are compared where their derivative is not at hand.
    difference: float = 1e-4
    #: A gain of the average that changes by less than this between the last of growing populations has settled.
    settled: float = 1e-3
    #: A plan whose proof leaves no more than this of what is at stake is not re-solved: a solver would not see it.
    closed: float = 1e-14
    #: Share of all slopes of a follower's cost that a flat variable's counts as in the scale of its regret.
    flat: float = 1e-2
    #: What intervals may leave open of a global bound on three or more actions or with rows, relative to its scale.
    unconfirmed: float = 1e-3
    #: A conditional variance below this, relative to the variance, is nothing: the others determine it.
    determined: float = 1e-12
    #: An atom of less probability is re-solved by itself: what it adds to an expected cost a solver may not see.
    rare: float = 1e-3
    #: How far the moments of a grid of observations may be from the Gaussian's (of unit variances).
    moments: float = 1e-10
    revealed: float = 0.9  #: Probability from which an observation whose atoms tell an outcome exactly is named.
    #: Share of an outcome's variance left open by an observation's neighbouring values: what counts as unknown.
    open: float = 0.1
    #: Actions nearer to each other than this, in reaches, are one deviation; so near to the plan they are none.
    apart: float = 1e-6
    #: A gain of a follower by a deviation above this, relative to its scale, makes the deviation a row.
    tempting: float = 1e-7
    #: A least distance 1/√(1 + ‖x‖²) below this, in natural units, is 0: rows that exclude every point below 1/this.
    empty: float = 1e-7
    #: How far from feasible, in sizes of its row, a deviation is asked to be where it is to make no row of a plan; the
    #: second and third restriction ask for a hundredth and a thousandth of that.
    strict: float = 1e-2
    #: What an unknown without a cost weighs in a least distance, before its binding rows are solved without it.
    costless: float = 1e-8
    cancelled: float = 1e-12  #: What numbers around 1 leave that cancelled, with some room: of it nothing tells a unit.
    rounding: float = 64.0 * sys.float_info.epsilon  #: What a difference of two costs may be off by, relative to them.
    #: A proved gap holds within this multiple of their reaches around the plan for variables without bounds.
    trust: float = 1e3


TOLERANCES = Tolerances()


def is_within(level: float, lower: float | None, upper: float | None, size: float = 1.0) -> bool:
    """lower ≤ level ≤ upper up to the tolerance of a row that changes by ``size``; None: no limit."""
    room = TOLERANCES.feasibility
    above = lower is None or level >= lower - room * max(size, abs(lower))
    return above and (upper is None or level <= upper + room * max(size, abs(upper)))


def is_closed(cost: float, bound: float, scale: float) -> bool:
    """True if nothing better than ``cost`` is left by a bound that is proved; scale: what a gap is held against.

    A bound that is ``cost`` less the gap is known to the rounding of ``cost``. Where a constant makes that more than
    the gap it hides one, and closes none.
    """
    gap = TOLERANCES.global_gap * scale
    return cost - bound <= gap * (1.0 + TOLERANCES.noise) + min(gap, TOLERANCES.rounding * abs(cost))


def leaves(low: float, high: float, lower: float | None, upper: float | None) -> tuple[bool, bool]:
    """Whether a range reaches below the lower limit, above the upper one, by more than is nothing beside its ends or
    beside the distance of the limits; None: no limit."""
    width = math.inf if lower is None or upper is None else upper - lower
    room = TOLERANCES.feasibility * max((abs(size) for size in (low, high, width) if math.isfinite(size)), default=0.0)
    return lower is not None and not low >= lower - room, upper is not None and not high <= upper + room
