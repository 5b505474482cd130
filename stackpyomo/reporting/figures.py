"""Pictures: the plots of a report as SVG that stands in a page, takes the colours of its theme and needs nothing else.

A best response also has its curve as data, for a slider: with a script, a reader leaves the plan and sees the cost.
"""

from __future__ import annotations

import html
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np

from stackpyomo.errors import StackpyomoError
from stackpyomo.incentives import Incentive
from stackpyomo.verification import Report

from . import plots

COLOURS = {
    "ink": ("#1b1f24", "#e6edf3"),
    "paper": ("#fefefe", "#14181d"),  # not white, which is a colour of heat maps
    "first": ("#20507a", "#7db3e8"),
    "second": ("#c0504d", "#f0837f"),
    "pale": ("#9a9a9a", "#8b949e"),
    "convex": ("#2a7f4f", "#5fbf8a"),
    "global": ("#3b6fb6", "#82aef0"),
    "multistart": ("#d98c1f", "#e6b15c"),
    "unknown": ("#b03030", "#ff8a80"),
}  #: Name of a CSS variable → the colour that plots use, which is the one on light paper, and the one on dark.

#: A bar under each best response, with which a reader leaves the plan; the page is complete without it.
SLIDER = files(__package__).joinpath("slider.js").read_text(encoding="utf-8")

_DRAWN = 3  # Followers whose best responses are drawn.
_TRIED = 12  # Followers among whom these are looked for.
_CELLS = 250_000  # Entries of a gain that is drawn.
_WIDTH = 5.2  # Inches: 10 points stay readable on a telephone.


@dataclass(frozen=True)
class Picture:
    """An SVG element and what it shows."""

    svg: str
    caption: str
    curve: str = ""  #: Of a best response: JSON of its points and costs, for :data:`SLIDER`.


def pictures(report: Report, rule: Incentive | None) -> Iterator[Picture]:
    """What can be drawn of a report and of the incentive that it verified.

    Raises :class:`StackpyomoError` without matplotlib.
    """
    bars, count = min(len(report.regret), plots.MOST), len(report.regret)
    if bars:
        caption = "What each follower could gain by leaving the plan, in the colour of its evidence; the tick is the "
        caption += "tolerance. " + (f"Drawn: the largest {bars} of {count}." if bars < count else "")
        yield _picture(partial(_bars, report), caption, 1.1 + 0.26 * bars)
    if rule is None or not rule.leader:
        return
    rows, columns = rule.matrix.shape
    if 0 < rows * columns <= _CELLS:
        caption = "The gain: by how much what the leader moves answers one unit of what it observes."
        yield _picture(partial(plots.gains, rule), caption, 1.6 + 0.32 * min(rows, 14))
    yield from _responses(report, rule)


_POINTS = 121  # Positions of a slider.


def _responses(report: Report, rule: Incentive) -> Iterator[Picture]:
    """Best responses of the first few followers, those with the largest regrets first, and one with its level sets."""
    game = rule.attached()
    observed = set(game.followers) - set(rule.alone)
    count = 0
    for name in report.worst(_TRIED):
        if name not in observed or count == _DRAWN:
            continue
        action = game.names[id(game.followers[name].variables[0])]
        drawn = _response(rule, name, action)
        if drawn is None:
            continue
        count += 1
        yield drawn
        if count == 1:
            yield _picture(
                partial(plots.level_sets, rule, name, action=action),
                f"Level sets of {name} and of the leader. The announced strategy touches what {name} likes better than "
                "the plan, and does not enter it where its regret is 0.",
            )


def _response(rule: Incentive, name: str, action: str) -> Picture | None:
    """None where constraints leave nothing of the curve to see."""
    try:
        return _picture(
            partial(_curve, rule, name, action),
            f"The objective of {name} against {action}, all else as planned: under the announced strategy, and behind "
            "it with a leader that announces constants.",
            points=partial(_points, name, action),
        )
    except _Unseen:
        return None


def _points(name: str, action: str, ax: Any) -> dict[str, Any]:
    """The curves of a best response in their own units, and where they stand in the picture, from 0 to 1."""
    constant, announced, plan = (line.get_xydata() for line in ax.get_lines()[:3])
    chosen = np.linspace(0, len(announced) - 1, _POINTS).round().astype(int)
    chosen = np.unique([*chosen, int(np.abs(announced[:, 0] - plan[0, 0]).argmin())])
    places = ax.transData.transform(announced[chosen]) / ax.figure.bbox.size

    def numbers(values: Any) -> list[float | None]:
        return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]

    return {
        "follower": name,
        "action": action,
        "at": numbers(announced[chosen, 0]),
        "announced": numbers(announced[chosen, 1]),
        "constant": numbers(np.interp(announced[chosen, 0], *constant.T)),
        "plan": numbers(plan[0]),
        "better": -1 if "larger" in ax.get_ylabel() else 1,
        "x": numbers(places[:, 0]),
        "y": numbers(1.0 - places[:, 1]),
    }


class _Unseen(Exception):
    """There is nothing to see."""


def _curve(rule: Incentive, name: str, action: str, ax: Any) -> None:
    plots.best_response(rule, name, ax, action=action)
    if all(np.isfinite(line.get_ydata()).sum() <= 1 for line in ax.get_lines()[:2]):
        raise _Unseen


def _bars(report: Report, ax: Any) -> None:
    """The legend above the bars: beside them there is no room on a telephone. The verdict stands on the page."""
    plots.regret(report, ax)
    ax.set_title("")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize="small")


def _picture(
    draw: Callable[[Any], Any], caption: str, height: float = 3.6, points: Callable[[Any], Any] | None = None
) -> Picture:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise StackpyomoError('pictures: matplotlib is missing; pip install "stackpyomo[plot]".') from error
    ink, paper = COLOURS["ink"][0], COLOURS["paper"][0]
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"text.color": ink, "axes.edgecolor": ink, "axes.labelcolor": ink})
        mpl.rcParams.update({"xtick.color": ink, "ytick.color": ink, "legend.facecolor": paper})
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": caption, "font.sans-serif": ["DejaVu Sans"]})
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        ax = figure.add_subplot()
        draw(ax)
        with io.StringIO() as stream:
            figure.savefig(stream, format="svg", transparent=True, dpi=150, metadata={"Date": None})
            curve = "" if points is None else json.dumps(points(ax))
            return Picture(_inline(stream.getvalue(), caption), caption.strip(), curve)


def _inline(text: str, caption: str) -> str:
    """An <svg> element for a page of many: no prologue, no style for everybody, no size, names of its own."""
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    prefix = f"p{zlib.crc32(caption.encode()):x}-"
    label = f' role="img" aria-label="{html.escape(caption)}"'

    def own(tag: re.Match[str]) -> str:
        """One tag; only these hold ids and colours, what stands between them are the user's words."""
        markup = re.sub(r'( id="|url\(#|xlink:href="#)', lambda m: m[0] + prefix, tag[0])
        for name, (colour, _) in COLOURS.items():
            markup = markup.replace(f": {colour}", f": var(--{name})")
        if markup.startswith("<svg "):
            markup = re.sub(r' (width|height|version|xmlns(:\w+)?)="[^"]*"', "", markup)[:-1] + label + ">"
        return markup

    return re.sub(r"<\w[^>]*>", own, svg).strip()
