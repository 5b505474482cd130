"""Plots: tables, reports and incentives as matplotlib pictures (the extra "plot").

Each function takes what another one returned and draws into ``ax`` (None: a new figure); it returns the Axes, so that
titles, labels and limits can be changed and ``ax.figure.savefig("file.png")`` be called. Nothing here solves anything.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from stackpyomo.core import TOLERANCES, Array, cut, listed, require_whole, undisturbed
from stackpyomo.core.expressions import variables_in
from stackpyomo.errors import InvalidGame, StackpyomoError
from stackpyomo.games import Game
from stackpyomo.games.information import shares
from stackpyomo.incentives import Incentive
from stackpyomo.solvers import BadRow, Program
from stackpyomo.verification import EVIDENCE, Composed, Report, composed, plane, regret_shown

__all__ = ["best_response", "formats", "gains", "leaders", "level_sets", "profiles", "regret", "scaling"]

COLOURS = {
    "ink": ("#1b1f24", "#e6edf3"),
    "paper": ("#fefefe", "#14181d"),  # not white, which is a colour of heat maps
    "first": ("#20507a", "#7db3e8"),
    "second": ("#c0504d", "#f0837f"),
    "pale": ("#9a9a9a", "#8b949e"),
    # By certificate: proofs are green and blue, evidence is orange, nothing is red.
    "convex": ("#2a7f4f", "#5fbf8a"),
    "global": ("#3b6fb6", "#82aef0"),
    "multistart": ("#d98c1f", "#e6b15c"),
    "unknown": ("#b03030", "#ff8a80"),
}  #: Name of a CSS variable → the colour that plots use, which is the one on light paper, and the one on dark.

_FIRST, _SECOND, _PALE = (COLOURS[name][0] for name in ("first", "second", "pale"))

MOST = 40  #: Bars, or gains with numbers, that can still be read.
_NAMED = 24  # Rows or columns of a heat map that can be named; of more every second, third, … is.
_WIDTH, _LETTERS = 68, 24  # Letters that have room above a picture, and in a name beside or under it.
_UNDER = 40  # Letters that have room in a row under a heat map.


def _axes(ax: Any, size: tuple[float, float] = (6.4, 4.4)) -> Any:
    return _pyplot().subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise StackpyomoError('plots: matplotlib is missing; pip install "stackpyomo[plot]".') from error
    return plt


def formats() -> list[str]:
    """Endings of the picture files that matplotlib writes, "png" among them.

    Raises :class:`StackpyomoError` without matplotlib.
    """
    return sorted(_pyplot().matplotlib.backend_bases.FigureCanvasBase.filetypes)


def _ink() -> str:
    """The colour of what is written, under any style."""
    import matplotlib as mpl

    return str(mpl.rcParams["text.color"])


def scaling(table: pd.DataFrame, ax: Any = None) -> Any:
    """Draw the gain of the average against the number of followers N, log-log, with its power of N and the verdict.

    A size of infinity is a dotted line where its gain is finite.

    Parameters
    ----------
    table : DataFrame
        What :func:`stackpyomo.scaling` returned.
    ax : Axes, optional
        Where to draw, by default a new figure.

    Returns
    -------
    Axes
        What was drawn on.

    Raises
    ------
    InvalidGame, StackpyomoError
        The table is another one; matplotlib is not installed.
    """
    _require_columns(table, ["size", "average_gain"])
    ax = _axes(ax)
    finite = table[np.isfinite(table["size"]) & (table["average_gain"] > 0.0)]
    sizes, gain = finite["size"].to_numpy(dtype=float), finite["average_gain"].to_numpy(dtype=float)
    exponent = table.attrs.get("exponent", math.nan)
    if math.isfinite(exponent):
        level = float(np.log(gain[-1]) - exponent * np.log(sizes[-1]))  # it says how the gain ends
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
    """Draw what the leader gets when everybody serves it, and when the minors play their equilibrium.

    Parameters
    ----------
    table : DataFrame
        Columns ``leader_optimal``, ``leader_major_optimal`` and ``over``.
    ax : Axes, optional
        Where to draw, by default a new figure.
    over : str, default "size"
        The column of the axis: sizes (log scale; infinity is a dotted line), or the strength of a coupling.

    Returns
    -------
    Axes
        What was drawn on.

    Raises
    ------
    InvalidGame, StackpyomoError
        The table is another one; matplotlib is not installed.
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
    """Draw a bar for each follower's regret in the colour of its certificate, in the model's order, with its number.

    Where every regret is within its tolerance, bars are shares of that tolerance; otherwise regrets, linear up to the
    tolerance and logarithmic beyond, with a tick at each tolerance. Unknown regrets are crosses at 0. Of more than 40
    followers the worst are shown: unknown ones, then the largest regrets.

    Parameters
    ----------
    report : Report
        What :func:`stackpyomo.verify` returned.
    ax : Axes, optional
        Where to draw, by default a new figure.

    Returns
    -------
    Axes
        What was drawn on.

    Raises
    ------
    StackpyomoError
        Matplotlib is not installed.
    """
    worst = set(report.worst(MOST))
    names = [name for name in report.regret.index if name in worst]
    ax = _axes(ax, (8.0, 1.8 + 0.28 * len(names)))
    place = np.arange(len(names))
    level = report.regret[names].to_numpy(dtype=float)
    allowed = report.tolerance * report.scale[names].to_numpy(dtype=float)
    within = bool(len(names)) and bool((level <= allowed).all())
    unit = allowed if within else np.ones(len(names))
    kinds = report.certificate[names].to_numpy()
    for kind in EVIDENCE:
        of_kind = kinds == kind
        if of_kind.any():
            lengths = np.nan_to_num(level[of_kind]) / unit[of_kind]
            ax.barh(place[of_kind], lengths, color=COLOURS[kind][0], label=kind)
    unknown = np.isnan(level)
    if unknown.any():
        ax.plot(np.zeros(unknown.sum()), place[unknown], "x", color=COLOURS["unknown"][0], clip_on=False)
    ax.plot(allowed / unit, place, "|", color=_ink(), markersize=12, label="tolerance")
    if within:
        ax.set_xlim(0.0, 1.25)
    else:
        ax.set_xscale("symlog", linthresh=report.tolerance)
        ax.set_xlim(0.0, 100.0 * max(np.nanmax(level, initial=0.0), allowed.max(initial=report.tolerance)))
    for row, value in enumerate(level):
        words = regret_shown(value) if math.isfinite(value) else "unknown"
        ax.annotate(words, (np.nan_to_num(value) / unit[row], row), (6, 0), textcoords="offset points", va="center")
    ax.set_yticks(place, [cut(str(name), _LETTERS) for name in names], parse_math=False)
    ax.set_ylim(len(names) - 0.4, -0.6)
    shown = "" if len(names) == len(report.regret) else f" (the worst {len(names)} of {len(report.regret)})"
    ax.set(xlabel=f"regret{' as a share of its tolerance' if within else ''}{shown}")
    ax.set_title(textwrap.fill(report.verdict, _WIDTH), fontsize="medium", parse_math=False)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))  # beside the bars: they may be long
    return ax


def gains(rule: Incentive, ax: Any = None) -> Any:
    """Draw the gain K as a heat map, leader's variables by signals; hatched where the leader may not use the signal.

    Parameters
    ----------
    rule : Incentive
        What :func:`stackpyomo.affine_incentive` returned.
    ax : Axes, optional
        Where to draw, by default a new figure.

    Returns
    -------
    Axes
        What was drawn on.

    Raises
    ------
    StackpyomoError
        Matplotlib is not installed.
    """
    table = rule.gain
    values = table.to_numpy(dtype=float)
    rows, columns = values.shape
    ax = _axes(ax, (3.0 + 0.75 * min(columns, 12), 0.6 + 0.1 * min(rows, 14) + height_of_gains(rule)))
    most = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    ax.patch.set(hatch="///", edgecolor=_PALE)
    image = ax.imshow(np.ma.masked_invalid(values), cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
    ax.figure.colorbar(image, ax=ax, label="gain").solids.set_rasterized(True)
    across, names, upright = _named(rule.signals)
    ax.set_xticks(across, names, rotation=90 if upright else 0, parse_math=False)
    ax.set_yticks(*_named(rule.leader)[:2], parse_math=False)
    if values.size <= MOST:
        for (i, j), value in np.ndenumerate(values):
            if math.isfinite(value):
                colour = "white" if abs(value) > 0.6 * most else "black"
                size = "medium" if columns < 4 else "x-small"
                ax.text(j, i, f"{value:.3g}", ha="center", va="center", color=colour, fontsize=size)
    ax.set(xlabel="signal", ylabel="leader variable")
    return ax


def height_of_gains(rule: Incentive) -> float:
    """Inches of a heat map: a line for each leader variable, and room below for names that stand upright."""
    _, names, upright = _named(rule.signals)
    return 1.6 + 0.32 * min(len(rule.leader), 14) + (0.08 * max(map(len, names)) if upright else 0.0)


def _named(names: Sequence[str]) -> tuple[range, list[str], bool]:
    """Which columns of a heat map have a name under them, the names, and whether they have to stand upright."""
    places = range(0, len(names), max(1, math.ceil(len(names) / _NAMED)))
    words = [cut(names[place], _LETTERS) for place in places]
    return places, words, len(names) > 4 or len(names) * max(map(len, words), default=0) > _UNDER


def best_response(
    rule: Incentive,
    follower: str,
    ax: Any = None,
    *,
    action: str | None = None,
    within: tuple[float, float] | None = None,
    points: int = 401,
) -> Any:
    """Draw a follower's cost J_k(v, u0(v)) against one of its actions v, under the rule and under a constant leader.

    What violates the follower's own constraints is left out. Objectives are drawn in the sense they are written in.

    Parameters
    ----------
    rule : Incentive
        What :func:`stackpyomo.affine_incentive` returned.
    follower : str
        Its name.
    ax : Axes, optional
        Where to draw, by default a new figure.
    action : str, optional
        The action's name, by default the only one; the follower's others stay as planned.
    within : (float, float), optional
        Lowest and highest action, by default around the plan, inside its bounds.
    points : int, default 401
        How many are computed.

    Returns
    -------
    Axes
        What was drawn on.

    Raises
    ------
    InvalidGame, StackpyomoError
        A name is no follower's or none of its actions, or numbers make no sense; matplotlib is not installed.
    """
    game = rule.attached()
    require_whole("points", points)
    number = _numbered(game, "best_response", follower, action)
    sign, var = game.followers[follower].sign, game.followers[follower].variables[number]
    pieces = list(composed(game, rule.plan.announcement, {follower}))
    played = list(composed(game, rule.announcement, {follower}))
    target = played[0].target[number]
    low, high = _span("best_response", within) or _around(target, var.lb, var.ub)
    at = np.unique(np.append(np.linspace(low, high, points), target))
    ax = _axes(ax)
    constant = sign * _curve(pieces, number, at)
    ax.plot(at, constant, color=_PALE, linewidth=4, alpha=0.6, label="constant leader: no incentive")
    cost = _curve(played, number, at)
    ax.plot(at, sign * cost, "-", color=_FIRST, label="announced strategy")
    level = sign * float(cost[np.searchsorted(at, target)])
    ax.plot([target], [level], "o", color=_SECOND, label="plan", zorder=3)
    ax.axvline(target, color=_SECOND, linewidth=0.8, alpha=0.5)
    ax.set_xlabel(cut(game.names[id(var)], _WIDTH), parse_math=False)
    better = "smaller" if sign > 0 else "larger"
    ax.set_ylabel(f"objective of {cut(follower, _LETTERS)}, {better} is better", parse_math=False)
    ax.grid(visible=True, alpha=0.3)
    ax.legend()
    return ax


def level_sets(
    rule: Incentive,
    follower: str,
    ax: Any = None,
    *,
    action: str | None = None,
    leader: str | None = None,
    within: tuple[float, float] | None = None,
    points: int = 81,
) -> Any:
    """Draw level sets of the costs of follower and leader over an action v and a leader variable w, with the rule w(v).

    The rule touches J_k = J_k* at the plan; where its regret is 0, it never enters what the follower prefers, {J_k
    < J_k*}. Whatever else the leader announces answers v; all others stay as planned.

    Parameters
    ----------
    rule, follower, ax, action : Incentive, str, Axes, str
        As for :func:`best_response`.
    leader : str, optional
        The leader variable's name, by default the one that answers the action most.
    within : (float, float), optional
        As for :func:`best_response`.
    points : int, default 81
        In either direction.

    Returns
    -------
    Axes
        What was drawn on.

    Raises
    ------
    InvalidGame, StackpyomoError
        The rule does not hold a name, or numbers make no sense; matplotlib is not installed.
    """
    game = rule.attached()
    require_whole("points", points, 2)
    number = _numbered(game, "level_sets", follower, action)
    if leader is not None and leader not in rule.leader:
        raise InvalidGame(f"level_sets(leader={leader}): expected one of {listed(rule.leader) or 'no variable'}.")
    if not rule.leader:
        raise InvalidGame("level_sets: the leader announces nothing that a follower feels.")
    var = game.followers[follower].variables[number]
    name, target = game.names[id(var)], rule.plan.values[game.names[id(var)]]
    gain, bend = _answer(rule, game, name)
    instrument = _felt_most(rule, game, follower, gain) if leader is None else rule.leader.index(leader)
    leader = rule.leader[instrument]
    across = np.linspace(*(_span("level_sets", within) or _around(target, var.lb, var.ub)), points)
    line = rule.offset[leader] + gain[instrument] * (across - target) + bend[instrument] * (across - target) ** 2 / 2.0
    free = game.variables_by_name[leader]
    line = np.clip(line, free.lb, free.ub) if rule.saturate and free.bounds != (None, None) else line
    up = np.linspace(*_beside(line, rule.offset[leader]), points)
    with undisturbed():
        level, *players = plane(game, rule.announcement, follower, leader)
        costs = [_surface(each, number, level, across, up) for each in players]
        stars = [_surface(each, number, level, [target], [rule.offset[leader]]).item() for each in players]
    ax = _axes(ax)
    _contours(ax, across, up, costs, stars, cut(follower, _LETTERS))
    ax.plot(across, line, color=_ink(), label="announced strategy")
    ax.plot([target], [rule.offset[leader]], "o", color=_SECOND, label="plan", zorder=3)
    ax.set(xlim=(across[0], across[-1]), ylim=(up[0], up[-1]))
    ax.set_xlabel(cut(name, _WIDTH), parse_math=False)
    ax.set_ylabel(cut(leader, _LETTERS), parse_math=False)
    for text in ax.legend(fontsize="small").get_texts():
        text.set_parse_math(False)
    return ax


def _numbered(game: Game, function: str, follower: str, action: str | None) -> int:
    """Which of the follower's actions is meant."""
    if follower not in game.followers:
        raise InvalidGame(f"{function}(follower={follower!r}): no follower; choose {listed(list(game.followers))}.")
    names = [game.names[id(v)] for v in game.followers[follower].variables]
    if action is None and len(names) == 1:
        return 0
    if action not in names:
        raise InvalidGame(f"{function}(action={action}): {follower} has {len(names)} actions; choose {listed(names)}.")
    return names.index(action)


def _answer(rule: Incentive, game: Game, action: str) -> tuple[Array, Array]:
    """d(leader's variables)/d(one member's action), first and second derivative."""
    column = [game.names[id(v)] for v in game.actions].index(action)
    moved = shares(game, rule.observed).moves[:, [column]].toarray().ravel()
    bend = np.zeros(len(rule.leader)) if rule.bend is None else rule.bend @ moved**2
    return rule.matrix @ moved, bend


def _felt_most(rule: Incentive, game: Game, follower: str, gain: Array) -> int:
    """The number of the leader's variable that answers most, among those that the follower's objective holds."""
    felt = {game.names.get(id(v)) for v in variables_in(game.followers[follower].cost)}
    return max(range(len(gain)), key=lambda instrument: (rule.leader[instrument] in felt, abs(gain[instrument])))


def _beside(line: Array, at: float) -> tuple[float, float]:
    """The height of a picture of the line with room for what it touches."""
    reach = 1.6 * max(float(np.abs(line - at).max()), 0.25 * max(1.0, abs(at)))
    return at - reach, at + reach


def _surface(problem: Composed, number: int, level: Any, across: Any, up: Any) -> Array:
    """(len(up), len(across)) costs, NaN where there is none or a constraint is violated; compiled: there are many."""
    problem.cost_at(problem.target)
    costs = np.full((len(up), len(across)), np.nan)
    try:
        program = Program(problem.cost, problem.rows)
    except BadRow:
        return costs
    columns = {id(v): place for place, v in enumerate(program.variables)}
    places = [columns.get(id(v), -1) for v in (problem.variables[number], level)]  # −1: a spare entry, read by nobody
    point = np.array([*(v.value for v in program.variables), 0.0], dtype=float)
    units = program.units(point[:-1])
    for (i, height), (j, action) in product(enumerate(up), enumerate(across)):
        point[places] = action, height
        if program.residuals(point[:-1], None, units).feasibility <= TOLERANCES.feasibility:
            costs[i, j] = program.problem.objective(point[:-1])
    return costs


def _contours(ax: Any, across: Array, up: Array, costs: Sequence[Array], stars: Sequence[float], name: str) -> None:
    """The follower's level sets and what it prefers to the plan, the leader's level sets around them."""
    styles = [(_SECOND, "-", f"as good for {name}"), (_FIRST, "--", "as good for the leader")]
    for cost, star, (colour, dash, label) in zip(costs, stars, styles, strict=True):
        known = np.ma.masked_invalid(cost)
        if not known.count() or known.max() <= known.min():
            continue
        ax.contour(across, up, known, levels=7, colors=colour, linestyles=dash, linewidths=0.6, alpha=0.6)
        if colour == _SECOND and known.min() < star < known.max():
            ax.contour(across, up, known, levels=[star], colors=colour, linestyles=dash, linewidths=1.8)
            ax.contourf(across, up, known, levels=[known.min() - 1.0, star], colors=colour, alpha=0.15)
            ax.plot([], [], "s", color=colour, alpha=0.3, label=f"better for {name}")
        ax.plot([], [], color=colour, linestyle=dash, label=label)


def profiles(table: pd.DataFrame, ax: Any = None) -> Any:
    """Draw performance profiles: the share of games solved within τ times the fastest, as steps.

    Parameters
    ----------
    table : DataFrame
        What :meth:`stackpyomo.Comparison.profile` returned: a column for each way of solving, indexed by τ ≥ 1.
    ax : Axes, optional
        Where to draw, by default a new figure.

    Returns
    -------
    Axes
        What was drawn on.

    Raises
    ------
    InvalidGame, StackpyomoError
        The table is another one; matplotlib is not installed.

    References
    ----------
    E. D. Dolan, J. J. Moré, Math. Program. 91 (2002) 201–213.
    """
    if not isinstance(table, pd.DataFrame) or table.index.name != "tau":
        raise InvalidGame("profiles: expected the table that Comparison.profile() returns.")
    ax = _axes(ax)
    last = max(2.0, float(table.index.max()) * 1.5) if len(table) else 2.0
    for way in table.columns if len(table) else ():
        ax.step([*table.index, last], [*table[way], table[way].iloc[-1]], where="post", label=way)
    ax.set(xscale="log", xlim=(1.0, last), ylim=(0.0, 1.02), xlabel="τ: times the fastest", ylabel="share of games")
    ax.xaxis.set_major_formatter("{x:g}")
    if last < 10.0:
        ax.xaxis.set_minor_formatter("{x:g}")
    ax.grid(visible=True, alpha=0.3)
    if table.size:
        ax.legend(loc="lower right")
    return ax


def _span(function: str, within: tuple[float, float] | None) -> tuple[float, float] | None:
    """What was asked to be drawn; raises :class:`InvalidGame` for what is no interval."""
    if within is not None and not -math.inf < within[0] < within[1] < math.inf:
        raise InvalidGame(f"{function}(within={within}): expected (lowest, highest), two finite numbers.")
    return within


def _around(target: float, lower: float | None, upper: float | None) -> tuple[float, float]:
    """As far again to either side as the plan is from 0, inside its bounds."""
    reach = 1.25 * max(1.0, abs(target))
    low = target - reach if lower is None else max(lower, target - reach)
    return low, target + reach if upper is None else min(upper, target + reach)


def _curve(pieces: Sequence[Composed], number: int, at: Any) -> Array:
    """The composed cost at each value of an action, NaN where it has none; pieces of a projected strategy share it."""
    costs = np.full(len(at), np.nan)
    for piece in pieces:
        point = list(piece.target)
        for place, action in enumerate(at):
            point[number] = float(action)
            cost = piece.cost_at(point)
            if math.isfinite(cost) and piece.violation() <= TOLERANCES.feasibility:
                costs[place] = np.fmin(costs[place], cost)
    return costs


def _require_columns(table: pd.DataFrame, wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in getattr(table, "columns", ())]
    if missing:
        raise InvalidGame(f"plots: the table has no column {missing[0]}; expected {', '.join(wanted)}.")
