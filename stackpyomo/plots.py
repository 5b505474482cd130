"""Plots: tables, reports and incentives as matplotlib pictures (the extra "plot").

Each function takes what another one returned and draws into ``ax`` (None: a new figure); it returns the Axes, so that
titles, labels and limits can be changed and ``ax.figure.savefig("file.png")`` be called. Nothing here solves anything.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .checks import require_whole
from .composition import Composed, composed
from .contracts import Incentive
from .errors import InvalidGame, StackpyomoError
from .results import Array, Report
from .tolerances import TOLERANCES

__all__ = ["best_response", "gains", "leaders", "regret", "scaling"]

_COLOURS = {"convex": "#2a7f4f", "global": "#3b6fb6", "multistart": "#d98c1f", "unknown": "#b03030"}
"""By certificate: proofs are green and blue, evidence is orange, nothing is red."""
_FIRST, _SECOND, _PALE = "#20507a", "#c0504d", "#9a9a9a"
_MOST = 40
"""Bars, or gains with numbers, that can still be read."""
_NAMED = 24
"""Rows or columns of a heat map that can be named; of more every second, third, … is."""
_WIDTH = 68


def _axes(ax: Any, size: tuple[float, float] = (6.4, 4.4)) -> Any:
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise StackpyomoError('plots: matplotlib is missing; pip install "stackpyomo[plot]".') from error
    return plt.subplots(figsize=size, layout="constrained")[1]


def scaling(table: pd.DataFrame, ax: Any = None) -> Any:
    """Gain of the average against the number of followers, log-log, with its fitted power of N and the verdict.

    table: what :func:`stackpyomo.scaling` returned. A size of infinity is a dotted line where its gain is finite.

    Raises :class:`InvalidGame` for another table, :class:`StackpyomoError` without matplotlib.
    """
    _require_columns(table, ["size", "average_gain"])
    ax = _axes(ax)
    finite = table[np.isfinite(table["size"]) & (table["average_gain"] > 0.0)]
    sizes, gain = finite["size"].to_numpy(dtype=float), finite["average_gain"].to_numpy(dtype=float)
    exponent = table.attrs.get("exponent", math.nan)
    if math.isfinite(exponent):
        used = sizes >= 10 if (sizes >= 10).sum() >= 2 else np.ones(len(sizes), dtype=bool)  # as it was fitted
        level = float(np.mean(np.log(gain[used]) - exponent * np.log(sizes[used])))
        slope = f"{exponent + 0.0:.2f}".replace("-0.00", "0.00")
        ax.plot(
            sizes,
            np.exp(level) * sizes**exponent,
            color=_PALE,
            linewidth=6,
            alpha=0.5,
            label=f"fitted: like $N^{{{slope}}}$",
        )
    ax.plot(sizes, gain, "o-", color=_FIRST, label="gain")
    limit = table.loc[np.isinf(table["size"]), "average_gain"]
    if len(limit) and math.isfinite(limit.iloc[0]):
        ax.axhline(limit.iloc[0], color=_FIRST, linestyle=":", label="$N = \\infty$")
    ax.set(xscale="log", yscale="log", xlabel="followers $N$", ylabel="norm of the gain, per unit of the average")
    if len(gain) and gain.max() < 10 * gain.min():  # nearly level: a full decade around it shows that it is
        middle = math.sqrt(gain.max() * gain.min())
        ax.set_ylim(middle / 10, middle * 10)
    ax.set_title(textwrap.fill(table.attrs.get("verdict", "").split(", ")[0], _WIDTH), fontsize="medium")
    ax.grid(visible=True, which="major", alpha=0.3)
    ax.legend()
    return ax


def leaders(table: pd.DataFrame, ax: Any = None, *, over: str = "size") -> Any:
    """What the leader gets when everybody serves him, and when the minors play their equilibrium.

    table: columns ``leader_optimal``, ``leader_major_optimal`` and ``over``, e.g. "size" (log scale; a size of infinity
    is a dotted line) or the strength of a coupling.

    Raises :class:`InvalidGame` for another table, :class:`StackpyomoError` without matplotlib.
    """
    _require_columns(table, [over, "leader_optimal", "leader_major_optimal"])
    ax = _axes(ax)
    at = table[over].to_numpy(dtype=float)
    finite = np.isfinite(at)
    lines = [("leader_major_optimal", "leader-major-optimal", _SECOND), ("leader_optimal", "leader-optimal", _FIRST)]
    for column, label, colour in lines:
        level = table[column].to_numpy(dtype=float)
        ax.plot(at[finite], level[finite], "o-", color=colour, label=label)
        if not finite.all():
            ax.axhline(level[~finite][0], color=colour, linestyle=":", label=f"{label}, $N = \\infty$")
    bounds = [table[column].to_numpy(dtype=float)[finite] for column, *_ in lines]
    ax.fill_between(at[finite], *bounds, color=_PALE, alpha=0.15, linewidth=0)
    if over == "size":
        ax.set_xscale("log")
    ax.set(xlabel="minor followers $N$" if over == "size" else over.replace("_", " "), ylabel="leader's objective")
    ax.grid(visible=True, alpha=0.3)
    ax.legend()
    return ax


def regret(report: Report, ax: Any = None) -> Any:
    """A bar for each follower's regret in the colour of its certificate, ticks where it counts as none.

    The axis is linear up to the tolerance and logarithmic beyond. Unknown regrets are crosses at 0. Of more than 40
    followers the worst are shown: unknown ones first, then the largest regrets.

    Raises :class:`StackpyomoError` without matplotlib.
    """
    worst = report.regret.sort_values(ascending=False, na_position="first").index[:_MOST]
    ax = _axes(ax, (8.0, 1.8 + 0.28 * len(worst)))
    place = np.arange(len(worst))
    level = report.regret[worst].to_numpy(dtype=float)
    kinds = report.certificate[worst].to_numpy()
    for kind, colour in _COLOURS.items():
        mine = kinds == kind
        if mine.any():
            ax.barh(place[mine], np.nan_to_num(level[mine]), color=colour, label=kind)
    unknown = np.isnan(level)
    if unknown.any():
        ax.plot(np.zeros(unknown.sum()), place[unknown], "x", color=_COLOURS["unknown"], clip_on=False)
    allowed = report.tolerance * report.scale[worst].to_numpy(dtype=float)
    ax.plot(allowed, place, "|", color="black", markersize=12, label="counts as none up to")
    ax.set_xscale("symlog", linthresh=report.tolerance)
    ax.set_xlim(0.0, 10.0 * max(np.nanmax(level, initial=0.0), allowed.max(initial=report.tolerance)))
    ax.set_yticks(place, [str(name) for name in worst])
    ax.invert_yaxis()
    shown = "" if len(worst) == len(report.regret) else f" (the worst {len(worst)} of {len(report.regret)})"
    ax.set(xlabel=f"regret{shown}")
    ax.set_title(textwrap.fill(report.verdict, _WIDTH), fontsize="medium")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))  # beside the bars: they may be long
    return ax


def gains(rule: Incentive, ax: Any = None) -> Any:
    """The gain K as a heat map, leader's variables by signals; hatched where the leader may not use the signal.

    Raises :class:`StackpyomoError` without matplotlib.
    """
    table = rule.gain
    values = table.to_numpy(dtype=float)
    rows, columns = values.shape
    ax = _axes(ax, (3.0 + 0.75 * min(columns, 12), 2.2 + 0.42 * min(rows, 14)))
    most = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    ax.patch.set(hatch="///", edgecolor=_PALE)
    image = ax.imshow(np.ma.masked_invalid(values), cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
    ax.figure.colorbar(image, ax=ax, label="gain")
    across, down = (range(0, count, math.ceil(count / _NAMED)) for count in (columns, rows))
    ax.set_xticks(across, table.columns[across], rotation=90 if columns > 4 else 0)
    ax.set_yticks(down, table.index[down])
    if values.size <= _MOST:
        for (i, j), value in np.ndenumerate(values):
            if math.isfinite(value):
                colour = "white" if abs(value) > 0.6 * most else "black"
                ax.text(j, i, f"{value:.3g}", ha="center", va="center", color=colour)
    ax.set(xlabel="what the leader observes", ylabel="what he moves")
    return ax


def best_response(
    rule: Incentive, follower: str, ax: Any = None, *, within: tuple[float, float] | None = None, points: int = 401
) -> Any:
    """The cost of a follower with one action against that action: under the strategy, and behind it without one.

    within: (lowest, highest) action drawn (None: around the plan, inside its bounds). points: how many are computed.
    Objectives are drawn in the sense they are written in.

    Raises :class:`InvalidGame` for a follower with several actions, :class:`StackpyomoError` without matplotlib.
    """
    game = rule.attached()
    require_whole("points", points)
    if follower not in game.followers or len(game.followers[follower].variables) != 1:
        raise InvalidGame(f"best_response(follower={follower}): expected the name of a follower with one action.")
    sign, var = game.followers[follower].sign, game.followers[follower].variables[0]
    held = list(composed(game, rule.plan.announcement, {follower}))
    played = list(composed(game, rule.announcement, {follower}))
    target = played[0].target[0]
    low, high = within or _around(target, var.lb, var.ub)
    at = np.unique(np.append(np.linspace(low, high, points), target))
    ax = _axes(ax)
    ax.plot(at, sign * _curve(held, at), color=_PALE, linewidth=4, alpha=0.6, label="constant leader: no incentive")
    cost = _curve(played, at)
    ax.plot(at, sign * cost, "-", color=_FIRST, label="announced strategy")
    level = sign * float(cost[np.searchsorted(at, target)])
    ax.plot([target], [level], "o", color=_SECOND, label="plan", zorder=3)
    ax.axvline(target, color=_SECOND, linewidth=0.8, alpha=0.5)
    ax.set(
        xlabel=game.names[id(var)], ylabel=f"objective of {follower}, {'smaller' if sign > 0 else 'larger'} is better"
    )
    ax.grid(visible=True, alpha=0.3)
    ax.legend()
    return ax


def _around(target: float, lower: float | None, upper: float | None) -> tuple[float, float]:
    """As far again to either side as the plan is from 0, inside its bounds."""
    reach = 1.25 * max(1.0, abs(target))
    low = target - reach if lower is None else max(lower, target - reach)
    return low, target + reach if upper is None else min(upper, target + reach)


def _curve(pieces: Sequence[Composed], at: Array) -> Array:
    """The composed cost at each action, NaN where it has no value; pieces of a projected strategy share the axis."""
    found = np.full(len(at), np.nan)
    for piece in pieces:
        for number, action in enumerate(at):
            cost = piece.cost_at([float(action)])
            if math.isfinite(cost) and piece.violation() <= TOLERANCES.feasibility:
                found[number] = np.fmin(found[number], cost)
    return found


def _require_columns(table: pd.DataFrame, wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in getattr(table, "columns", ())]
    if missing:
        raise InvalidGame(f"plots: the table has no column {missing[0]}; expected {', '.join(wanted)}.")
