"""Treatments of complementarity: what stands for 0 ≤ λ ⟂ s ≥ 0 in a problem that a solver takes.

A treatment is a frozen object; :meth:`Treatment.apply` turns pairs into rows, a term of the objective, special ordered
sets. What a homotopy changes from one solve to the next is one number t, the bounds of one Var, so that a program is
written once. λ ≥ 0 and s ≥ 0 hold by the bounds of the pair's own Vars.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import pyomo.environ as pyo
from pyomo.contrib.fbbt.expression_bounds_walker import ExpressionBoundsVisitor
from pyomo.core.base.var import VarData

from stackpyomo.core import TOLERANCES, Array
from stackpyomo.core.expressions import interval
from stackpyomo.errors import InvalidGame

from .choices import Written
from .conditions import Conditions, Pair


@dataclass
class Treated(Written):
    """What a treatment adds: rows, sets of which one member may be nonzero, a term of the (minimised) objective."""

    term: Any = 0
    bounds: list[Limit] = field(default_factory=list)


@dataclass(frozen=True)
class Limit:
    """A constant of big-M: on ``quantity`` ("multiplier" or "slack") of a pair; proved from the model or assumed."""

    pair: Pair
    quantity: str
    size: float
    proved: bool


@dataclass(frozen=True)
class Given:
    """What a treatment works on: conditions, a Block for new Vars, what stands for t (a Var or a number)."""

    conditions: Conditions
    block: Any
    level: Any


class Treatment:
    """One way to write complementarity; the parameter t runs through ``levels`` from solve to solve."""

    needs: ClassVar[str] = "NLP"  #: The class of problems a solver must take (``SolverInfo.classes``).
    levels: tuple[float, ...] = (0.0,)  #: The values of t, one solve each.

    def __post_init__(self) -> None:
        rising = isinstance(self, Penalty)
        numbers = isinstance(self.levels, tuple) and all(isinstance(t, (int, float)) for t in self.levels)
        good = numbers and self.levels and (min(self.levels) > 0 or self.needs != "NLP")
        if not good or any((b <= a if rising else b >= a) for a, b in pairwise(self.levels)):
            order = "rising" if rising else "falling"
            raise InvalidGame(f"{self.name}(levels={self.levels!r}): expected a tuple of {order} numbers above 0.")

    def apply(self, _given: Given) -> Treated:
        """Write all pairs of multiplier and slack; the base class writes nothing.

        Parameters
        ----------
        _given : Given
            Conditions, a Block for new Vars, and what stands for t.

        Returns
        -------
        Treated
            Rows, a term of the objective, special ordered sets.
        """
        return Treated()

    @property
    def name(self) -> str:
        """The treatment's name in logs."""
        return type(self).__name__


@dataclass(frozen=True)
class Scholtes(Treatment):
    """One inequality for each pair, relaxed and tightened: λ s ≤ t, t → 0.

    A regular problem for every t > 0, whose solutions tend to C-stationary points or better.

    Raises
    ------
    InvalidGame
        Levels do not fall.

    References
    ----------
    S. Scholtes, SIAM J. Optim. 11 (2001) 918–936.
    """

    levels: tuple[float, ...] = (1e-1, 1e-3, 1e-5, 1e-8)  #: The values of t, falling.

    def apply(self, given: Given) -> Treated:
        return Treated([pair.multiplier * pair.slack <= given.level for pair in given.conditions.pairs])


@dataclass(frozen=True)
class FischerBurmeister(Treatment):
    """One smooth equality for each pair: λ + s − √(λ² + s² + 2t²) = 0, t → 0.

    It means λ, s > 0 with λ s = t², and is smooth for every t > 0.

    Raises
    ------
    InvalidGame
        Levels do not fall.

    References
    ----------
    C. Kanzow, SIAM J. Matrix Anal. Appl. 17 (1996) 851–868; F. Facchinei, H. Jiang, L. Qi, Math. Program. 85 (1999)
    107–134.
    """

    levels: tuple[float, ...] = (1e-1, 1e-2, 1e-4, 1e-6)  #: The values of t, falling.

    def apply(self, given: Given) -> Treated:
        return Treated(
            [
                p.multiplier + p.slack - pyo.sqrt(p.multiplier**2 + p.slack**2 + 2 * given.level**2) == 0
                for p in given.conditions.pairs
            ]
        )


@dataclass(frozen=True)
class Penalty(Treatment):
    """No row, but a product for each pair in the objective: min J0 + t Σ λ s, with t growing from solve to solve.

    Exact for some finite t at strongly stationary points.

    Raises
    ------
    InvalidGame
        Levels do not rise.

    References
    ----------
    D. Ralph, S. J. Wright, Optim. Methods Softw. 19 (2004) 527–556.
    """

    levels: tuple[float, ...] = (1.0, 1e2, 1e4)  #: The values of t, rising.

    def apply(self, given: Given) -> Treated:
        return Treated(term=given.level * pyo.quicksum(p.multiplier * p.slack for p in given.conditions.pairs))


@dataclass(frozen=True)
class SOS1(Treatment):
    """A special ordered set of type 1 for each pair {λ, s}: at most one of the two is not 0.

    Exact, without a constant to choose; a slack that is no Var gets one.

    References
    ----------
    E. M. L. Beale, J. A. Tomlin, Proc. 5th IFORS Conference (1970) 447–454.
    """

    needs: ClassVar[str] = "SOS1"

    def apply(self, given: Given) -> Treated:
        treated, conditions, block = Treated(), given.conditions, given.block
        shifted = [p for p in conditions.pairs if not isinstance(p.slack, VarData)]
        block.gap = pyo.Var(range(len(shifted)), bounds=(0, None))
        own = dict(zip(map(id, shifted), block.gap.values(), strict=True))
        treated.rows = [*(own[id(p)] == p.slack for p in shifted), *conditions.implied]
        treated.sets = [(p.multiplier, own.get(id(p), p.slack)) for p in conditions.pairs]
        return treated


@dataclass(frozen=True)
class BigM(Treatment):
    """Two rows and a binary for each pair: λ ≤ M z, s ≤ M' (1 − z), z ∈ {0, 1}.

    Exact if M and M' are large enough, wrong without a word if not. M' comes from interval arithmetic on the slack over
    the variables' bounds; M on a bound's multiplier from the stationarity row it stands in (there λ⁻ − λ⁺ equals the
    rest, and only one of the two is positive). Where that proves nothing, ``multiplier`` and ``slack`` are assumed; the
    plan's warnings say which limits were hit, proved, or cannot be verified.

    Raises
    ------
    InvalidGame
        ``multiplier`` or ``slack`` is not finite and above 0.

    References
    ----------
    J. Fortuny-Amat, B. McCarl, J. Oper. Res. Soc. 32 (1981) 783–792.
    """

    multiplier: float = 1e4  #: M where nothing is proved, in the unit of the multiplier.
    slack: float = 1e4  #: M' where nothing is proved, in the unit of the row.
    needs: ClassVar[str] = "MIP"

    def __post_init__(self) -> None:
        for name in ("multiplier", "slack"):
            if not (isinstance(getattr(self, name), (int, float)) and 0 < getattr(self, name) < math.inf):
                raise InvalidGame(f"BigM({name}={getattr(self, name)!r}): expected a finite number above 0.")

    def apply(self, given: Given) -> Treated:
        treated, conditions, block = Treated(), given.conditions, given.block
        block.choice = pyo.Var(range(len(conditions.pairs)), domain=pyo.Binary)
        bounds = ExpressionBoundsVisitor()
        for pair, choice in zip(conditions.pairs, block.choice.values(), strict=True):
            force = _multiplier_bound(conditions, pair, bounds)
            room = interval(pair.gap, bounds)[1]
            for quantity, limit, assumed in (("multiplier", force, self.multiplier), ("slack", room, self.slack)):
                proved = math.isfinite(limit)
                treated.bounds.append(Limit(pair, quantity, max(limit, 0.0) if proved else assumed, proved))
            large, wide = treated.bounds[-2].size, treated.bounds[-1].size
            treated.rows += [pair.multiplier <= large * choice, pair.slack <= wide * (1 - choice)]
        return treated


def _multiplier_bound(conditions: Conditions, pair: Pair, bounds: ExpressionBoundsVisitor) -> float:
    """sup of a bound's multiplier from its stationarity row, +inf where interval arithmetic proves none."""
    force = conditions.forces.get(id(pair.component))
    if force is None or (pair.component.lower is not None and pair.component.lb == pair.component.ub):
        return math.inf
    low, high = interval(force, bounds)
    return high if pair.side == "lower" else -low


def audit(limits: Sequence[Limit], multipliers: Array, slacks: Array) -> list[dict[str, Any]]:
    """What became of every big-M constant: {"component", "side", "quantity", "limit", "value", "verdict"}.

    verdict: "proved" (from the model, whatever the answer), "bound hit" (the answer stands at an assumed limit: it may
    cut off better ones), "unverifiable" (assumed, not hit: nothing shows that better answers do not lie beyond).
    """
    rows = []
    for number, limit in enumerate(limits):
        value = float((multipliers if limit.quantity == "multiplier" else slacks)[number // 2])
        hit = value >= limit.size * (1.0 - TOLERANCES.active)
        rows.append(
            {
                "component": limit.pair.component.name,
                "side": limit.pair.side,
                "quantity": limit.quantity,
                "limit": limit.size,
                "value": value,
                "verdict": "proved" if limit.proved else "bound hit" if hit else "unverifiable",
            }
        )
    return rows


_NAMES: dict[str, type[Treatment]] = {
    "scholtes": Scholtes,
    "fischer-burmeister": FischerBurmeister,
    "penalty": Penalty,
    "big-m": BigM,
    "sos1": SOS1,
}


def named(complementarity: Any) -> Treatment | None:
    """The treatment of that name, or the one given; None for "auto". Raises :class:`InvalidGame`."""
    if isinstance(complementarity, Treatment):
        return complementarity
    if isinstance(complementarity, str) and complementarity.lower() == "auto":
        return None
    treatment = _NAMES.get(complementarity.lower()) if isinstance(complementarity, str) else None
    if treatment is None:
        raise InvalidGame(
            f"complementarity={complementarity!r}: expected 'auto', {', '.join(map(repr, _NAMES))}, or "
            "Scholtes(), FischerBurmeister(), Penalty(), BigM(), SOS1()."
        )
    return treatment()
