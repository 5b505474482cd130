"""Scaling: what the incentive becomes as populations grow.

With every population of size N, a = ∂_u J + (1/N)·(what the aggregates carry) and the gain of the average is

    K_N = −(N ∂_u J + ∂_z J) / ∂_u0 J

so that it stays bounded iff ∂_u J → 0: iff the leader's mean-field optimum is already an equilibrium of the followers
under a constant leader. Otherwise it grows like N, and no strategy of finite energy in the average is left at N = ∞.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from .checks import require_positive
from .derivatives import FollowerRows
from .errors import InvalidGame, NoIncentive
from .games import Game
from .incentives import affine_incentive
from .multipliers import active_sides, given_multipliers
from .plans import leader_optimal
from .progress import tracked
from .results import listed
from .tolerances import TOLERANCES
from .verification import verify

__all__ = ["scaling"]

COLUMNS = ["size", "gain", "average_gain", "energy", "epsilon", "leader_objective", "seconds"]


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
    """One row per size N of the populations named (None: all that are larger than 1): plan, incentive, verification.

    gain: ‖K‖. average_gain: ‖K‖ in units of the average, N times that of a member's own action. energy: Σ w K².
    epsilon: the largest regret. ``attrs["exponent"]``: slope of log average_gain in log N over the finite sizes;
    ``attrs["verdict"]``: what that means, and the term that does it. options go to :func:`affine_incentive`. Raises
    :class:`InvalidGame` for sizes that are not increasing, :class:`NoIncentive` where there is none.
    """
    chosen = _chosen(game, followers)
    wanted = [float(n) if math.isinf(n) else n for n in sizes]
    if not wanted or any(b <= a for a, b in pairwise(wanted)):
        raise InvalidGame(f"sizes={list(sizes)!r}: expected at least one, increasing.")
    for size in wanted:
        require_positive("sizes", 1 if math.isinf(size) else size)
    rows: list[_Row] = []
    with tracked("scaling", len(wanted)) as step:
        for size in wanted:
            held = rows[-1].held if rows else {}
            rows.append(_row(game, chosen, size, observe, responding, solver, options, held))
            step()
    table = pd.DataFrame([row.cells for row in rows], columns=COLUMNS)
    exponent = _exponent(table)
    table.attrs["exponent"] = exponent
    table.attrs["verdict"] = _verdict(exponent, rows)
    return table


def _chosen(game: Game, followers: Sequence[str] | None) -> list[str]:
    if followers is None:
        found = [name for name, f in game.followers.items() if f.size > 1]
        return found or list(game.followers)
    for name in followers:
        if name not in game.followers:
            raise InvalidGame(f"followers={name}: not a follower of this game.")
    return list(followers)


@dataclass(frozen=True)
class _Row:
    cells: list[float]
    watched: list[str]
    """Populations the leader observes."""
    direct: dict[str, float]
    """Per action of theirs the owner's slope with the aggregates taken as given."""
    held: Mapping[str, float]
    """The multipliers of their own constraints that the gain leans on."""

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
    held: Mapping[str, float],
) -> _Row:
    """``held``: the multipliers at the size before, where there is no incentive at this one."""
    sized = game.with_sizes(dict.fromkeys(chosen, size))
    plan = leader_optimal(sized, responding=responding, solver=solver)
    try:
        rule = affine_incentive(plan, observe, solver=solver, **options)
    except NoIncentive:
        if not math.isinf(size):
            raise
        nothing = [size, math.inf, math.inf, math.inf, math.nan, plan.leader_objective, sum(plan.seconds.values())]
        return _Row(nothing, list(chosen), _direct(sized, chosen, plan.values, held), held)
    report = verify(rule, solver=solver)
    owner = {name: sized.owners.get(id(var)) for name, var in sized.variables_by_name.items()}
    weight = np.array([size if s.own and owner[s.name] in chosen else 1.0 for s in rule.observed])
    entries = rule.matrix.tocoo()
    average = float(np.sqrt(((entries.data * weight[entries.col]) ** 2).sum())) if entries.nnz else 0.0
    seconds = sum(plan.seconds.values()) + sum(rule.seconds.values()) + sum(report.seconds.values())
    cells = [size, rule.norm, average, rule.energy, report.epsilon, plan.leader_objective, seconds]
    watched = [name for name in chosen if name not in rule.alone]
    announced = {**plan.values, **rule.offset}
    return _Row(cells, watched, _direct(sized, watched, announced, rule.multipliers), rule.multipliers)


def _direct(
    game: Game, chosen: Sequence[str], values: Mapping[str, float], held: Mapping[str, float]
) -> dict[str, float]:
    """∂J/∂u + Gᵀλ with the aggregates taken as given, for the actions of the populations."""
    rows = FollowerRows(game.with_sizes(dict.fromkeys(chosen, math.inf)))
    here = rows.at(values)
    scale = rows.scales(values)
    sides = active_sides(rows, here, values)
    active = {side.name for side in sides}
    slope = given_multipliers(rows, here, sides, {name: size for name, size in held.items() if name in active}).slope
    found = {}
    for action, var in enumerate(rows.actions):
        follower = int(rows.owners[action])
        if rows.followers[follower].name in chosen and abs(slope[action]) > TOLERANCES.residual * scale[follower]:
            found[game.names[id(var)]] = float(slope[action])
    return found


def _exponent(table: pd.DataFrame) -> float:
    """Least squares of log average_gain on log N over finite sizes, those below 10 left out if enough are larger."""
    finite = table[np.isfinite(table["size"]) & (table["average_gain"] > TOLERANCES.noise)]
    large = finite[finite["size"] >= 10]
    used = large if len(large) >= 2 else finite
    if len(used) < 2:
        return math.nan
    slope, _ = np.polyfit(np.log(used["size"].astype(float)), np.log(used["average_gain"].astype(float)), 1)
    return float(slope)


def _verdict(exponent: float, rows: Sequence[_Row]) -> str:
    grows = f"like N^{exponent:.2f}" if math.isfinite(exponent) else "with N"
    last = rows[-1]
    if not last.watched and not exponent > 0.5:
        return "bounded: the leader observes no population, and the gain on all others keeps its size as these grow"
    if not last.watched:
        return f"growing {grows}, though the leader observes no population: its plan for the others does not settle"
    if _vanishes(rows):
        return (
            "bounded: at the plan every member's own marginal cost vanishes with the average taken as given, so that "
            "the mean-field optimum is an equilibrium already and one gain of finite energy serves every size"
        )
    worst = sorted(last.direct, key=lambda name: -abs(last.direct[name]))
    told = listed([f"∂J/∂{name} = {last.direct[name]:.4g}" for name in worst], 3)
    return (
        f"ill-posed: the gain of the average grows {grows}, because a member's own marginal cost does not vanish at "
        f"the plan ({told} with the average taken as given) while its weight in the average does"
    )


def _vanishes(rows: Sequence[_Row]) -> bool:
    """True if the slope with the aggregates as given is 0 at the last size, or falls like 1/N between the last two."""
    last = rows[-1]
    if not last.direct or math.isinf(last.size) or len(rows) == 1:
        return not last.direct
    before = rows[-2]
    return last.steepest <= before.steepest * math.sqrt(before.size / last.size)
