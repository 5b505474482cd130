"""Scaling: what the incentive becomes as populations grow.

With every population of size N, a = ∂_u J + (1/N)·(what the aggregates carry) and the gain of the average is

    K_N = −(N ∂_u J + ∂_z J) / ∂_u0 J

so that it stays bounded iff ∂_u J → 0: iff the leader's mean-field optimum is already an equilibrium of the followers
under a constant leader. Otherwise it grows like N, and no strategy of finite energy in the average is left at N = ∞.
Seeing every member's own action does not help: K_N / N settles, but all of them together move the leader N times that.

The tail rule: from the last three finite sizes, K = β + α N^p with

    (N₃^p − N₂^p) / (N₂^p − N₁^p) = ‖K₃ − K₂‖ / ‖K₂ − K₁‖

so that what stays of the gain (β) and its sign do not distort the exponent, as they distort a line through log ‖K‖. A
gain whose last change is nothing beside it, or whose p is not above 0, settles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import brentq

from stackpyomo.core import TOLERANCES, listed, require_positive, tracked
from stackpyomo.derivatives import FollowerRows, active_sides
from stackpyomo.errors import InvalidGame, NoIncentive
from stackpyomo.games import Game
from stackpyomo.incentives import affine_incentive
from stackpyomo.incentives.gains import given_multipliers
from stackpyomo.plans import leader_optimal
from stackpyomo.verification import verify

COLUMNS = ["size", "gain", "average_gain", "energy", "epsilon", "leader_objective", "seconds"]

_STEEPEST = 8.0  # Powers of N between which the tail's exponent is looked for.


def scaling(
    game: Game,
    sizes: Sequence[float],
    *,
    observe: Any = "actions",
    followers: Sequence[str] | None = None,
    responding: Any = (),
    solver: str = "auto",
    **options: Any,
) -> pd.DataFrame:
    """How plan, incentive and verification grow with the number of followers, one row for each size N.

    Parameters
    ----------
    game : Game
        With populations.
    sizes : sequence of int or math.inf
        Increasing numbers of members.
    observe : default "actions"
        As for :func:`affine_incentive`.
    followers : sequence of str, optional
        Populations that grow, by default all that are larger than 1.
    responding, solver : optional
        As for :func:`leader_optimal`.
    **options
        Those of :func:`affine_incentive`.

    Returns
    -------
    DataFrame
        ``gain``: ‖K‖. ``average_gain``: ‖K‖ in units of the average, N times that of a member's own action: the
        strategy's slope in the norm (N⁻¹ Σ‖δ_i‖²)^½ of what all members do. ``energy``: Σ w n K²
        (:attr:`Incentive.energy`). ``epsilon``: the largest regret. ``attrs["exponent"]``: the power of N that
        average_gain grows with, by the tail rule of this module (0 where it settles; of two finite sizes the slope
        between them; NaN of one); ``attrs["band"]``: by how much the sizes before the last give another one;
        ``attrs["verdict"]``: what that means, and the term that does it.

    Raises
    ------
    InvalidGame
        Sizes are no numbers, or not increasing.
    NoIncentive
        There is no incentive at some size.
    """
    chosen = _chosen(game, followers)
    if not all(isinstance(n, Real) for n in sizes):
        raise InvalidGame(f"sizes={list(sizes)!r}: expected numbers of followers.")
    numbers = [float(n) if math.isinf(n) else n for n in sizes]
    if not numbers or any(b <= a for a, b in pairwise(numbers)):
        raise InvalidGame(f"sizes={list(sizes)!r}: expected at least one, increasing.")
    for size in numbers:
        require_positive("sizes", 1 if math.isinf(size) else size)
    rows: list[_Row] = []
    with tracked("scaling", len(numbers)) as step:
        for size in numbers:
            multipliers = rows[-1].multipliers if rows else {}
            rows.append(_row(game, chosen, size, observe, responding, solver, options, multipliers))
            step()
    table = pd.DataFrame([row.cells for row in rows], columns=COLUMNS)
    exponent, band = _exponent([row for row in rows if not math.isinf(row.size)])
    table.attrs.update(exponent=exponent, band=band, verdict=_verdict(exponent, band, rows))
    return table


def _chosen(game: Game, followers: Sequence[str] | None) -> list[str]:
    if followers is None:
        crowds = [name for name, f in game.followers.items() if f.size > 1]
        return crowds or list(game.followers)
    for name in followers:
        if name not in game.followers:
            raise InvalidGame(f"followers={name}: not a follower of this game.")
    return list(followers)


@dataclass(frozen=True)
class _Row:
    cells: list[float]
    watched: list[str]  #: Populations the leader observes.
    direct: dict[str, float]  #: Per action of theirs the owner's slope with the aggregates taken as given.
    multipliers: Mapping[str, float]  #: The multipliers of their own constraints that the gain leans on.
    average: sparse.csc_array = field(default_factory=lambda: sparse.csc_array((0, 0)))  #: K in units of the average.
    own: bool = False  #: True if members are answered one by one.

    @property
    def size(self) -> float:
        return self.cells[0]

    @property
    def steepest(self) -> float:
        return max(map(abs, self.direct.values()), default=0.0)


def _row(
    game: Game,
    chosen: Sequence[str],
    size: float,
    observe: Any,
    responding: Any,
    solver: str,
    options: dict[str, Any],
    multipliers: Mapping[str, float],
) -> _Row:
    """``multipliers``: the multipliers at the size before, where there is no incentive at this one."""
    sized = game.with_sizes(dict.fromkeys(chosen, size))
    plan = leader_optimal(sized, responding=responding, solver=solver)
    try:
        rule = affine_incentive(plan, observe, solver=solver, **options)
    except NoIncentive:
        if not math.isinf(size):
            raise
        nothing = [size, math.inf, math.inf, math.inf, math.nan, plan.leader_objective, sum(plan.seconds.values())]
        return _Row(nothing, list(chosen), _direct(sized, chosen, plan.values, multipliers), multipliers)
    report = verify(rule, solver=solver)
    owner = {name: sized.owners.get(id(var)) for name, var in sized.variables_by_name.items()}
    weight = np.array([size if s.own and owner[s.name] in chosen else 1.0 for s in rule.observed])
    average = rule.matrix.copy()
    average.data *= np.repeat(weight, np.diff(average.indptr))
    seconds = sum(plan.seconds.values()) + sum(rule.seconds.values()) + sum(report.seconds.values())
    cells = [size, rule.norm, _norm(average), rule.energy, report.epsilon, plan.leader_objective, seconds]
    watched = [name for name in chosen if name not in rule.alone]
    announced = {**plan.values, **rule.offset}
    direct = _direct(sized, watched, announced, rule.multipliers)
    own = bool((rule.norm > 0.0) and np.any(weight[np.diff(rule.matrix.indptr) > 0] != 1.0))
    return _Row(cells, watched, direct, rule.multipliers, average, own)


def _norm(matrix: sparse.csc_array) -> float:
    return float(np.sqrt((matrix.data**2).sum()))


def _direct(
    game: Game, chosen: Sequence[str], values: Mapping[str, float], multipliers: Mapping[str, float]
) -> dict[str, float]:
    """∂J/∂u + Gᵀλ with the aggregates taken as given, for the actions of the populations."""
    rows = FollowerRows(game.with_sizes(dict.fromkeys(chosen, math.inf)))
    natural = rows.natural(values)
    derivatives, unit = rows.at(values), natural.units.costs[rows.owners] / natural.action_units
    sides = active_sides(rows, derivatives, values, natural)
    active = {side.name for side in sides}
    slope = given_multipliers(
        rows, derivatives, sides, {name: size for name, size in multipliers.items() if name in active}
    ).slope
    slopes = {}
    for action, var in enumerate(rows.actions):
        follower = int(rows.owners[action])
        if rows.followers[follower].name in chosen and abs(slope[action]) > TOLERANCES.residual * unit[action]:
            slopes[game.names[id(var)]] = float(slope[action])
    return slopes


def _exponent(rows: Sequence[_Row]) -> tuple[float, float]:
    """(power of N that the average's gain grows with, how far another estimate of it lies), over the finite sizes."""
    if len(rows) < 2:
        return math.nan, math.nan
    first, last = (row.cells[2] for row in rows[-2:])
    line = math.log(last / first) / math.log(rows[-1].size / rows[-2].size) if min(first, last) > 0.0 else math.nan
    if len(rows) == 2:
        return (0.0 if first == last else line), math.nan
    power = _tail(rows[-3:])
    other = _tail(rows[-4:-1]) if len(rows) > 3 else line
    return power, abs(power - other)


def _tail(rows: Sequence[_Row]) -> float:
    """p of K = β + α N^p through three sizes; 0 where p ≤ 0, for what is left is β."""
    sizes = np.log([row.size for row in rows])
    before, after = (_norm(sparse.csc_array(b.average - a.average)) for a, b in pairwise(rows))
    if before + after <= TOLERANCES.settled * max(row.cells[2] for row in rows):
        return 0.0

    def excess(power: float) -> float:
        low, middle, high = np.exp(power * (sizes - sizes[1]))
        return float((high - middle) * before - (middle - low) * after)

    if after * (sizes[1] - sizes[0]) <= before * (sizes[2] - sizes[1]):  # not even like log N
        return 0.0
    if excess(_STEEPEST) <= 0.0:
        return _STEEPEST
    return float(brentq(lambda power: excess(power) / power, TOLERANCES.noise, _STEEPEST))


def _verdict(exponent: float, band: float, rows: Sequence[_Row]) -> str:
    last = rows[-1]
    finite = [row for row in rows if not math.isinf(row.size)]
    power = f"like N^{exponent:.2f}" + (f" (± {band:.1g})" if band >= 0.005 else "")
    grows, pace = exponent > 0.0, power if len(finite) > 2 else "with N"
    if not last.watched and not exponent > 0.5:
        return "bounded: the leader observes no population, and the gain on all others keeps its size as these grow"
    if not last.watched:
        return f"growing {pace}, though the leader observes no population: its plan for the others does not settle"
    if _vanishes(rows) and grows and len(finite) > 2:
        return (
            f"not settled: over these sizes the gain of the average grows {pace}, by slopes below the plan's "
            "accuracy; a sharper plan, or larger sizes, would tell growth from rounding"
        )
    if _vanishes(rows):
        return (
            "bounded: at the plan every member's own marginal cost vanishes with the average taken as given, so that "
            "the mean-field optimum is an equilibrium already and one gain of finite energy serves every size"
        )
    worst = sorted(last.direct, key=lambda name: -abs(last.direct[name]))
    terms = listed([f"∂J/∂{name} = {last.direct[name]:.4g}" for name in worst], 3)
    growth = f"grows {pace}" if grows or math.isnan(exponent) else "will grow like N, though not yet at these sizes"
    members = (
        f". The gain on a member's own action settles (at size {last.size:g}: {last.cells[1]:.4g}), which is enough "
        "where the leader's variable is each member's own; one that all of them feel is moved by all together"
    )
    return (
        f"ill-posed: the gain of the average {growth}, because a member's own marginal cost does not vanish at "
        f"the plan ({terms} with the average taken as given) while its weight in the average does"
        + (members if last.own and _settles(rows) else "")
    )


def _settles(rows: Sequence[_Row]) -> bool:
    """True if the gains themselves, as announced, move less between the last sizes than they did before."""
    gains = [row.cells[1] for row in rows[-3:]]
    return len(gains) == 3 and abs(gains[2] - gains[1]) <= max(abs(gains[1] - gains[0]), TOLERANCES.settled * gains[2])


def _vanishes(rows: Sequence[_Row]) -> bool:
    """True if the slope with the aggregates as given is 0 at the last size, or falls like 1/N between the last two."""
    last = rows[-1]
    if not last.direct or math.isinf(last.size) or len(rows) == 1:
        return not last.direct
    before = rows[-2]
    return last.steepest <= before.steepest * math.sqrt(before.size / last.size)
