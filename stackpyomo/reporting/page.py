"""Pages: a report and all that is known with it as one HTML file that needs nothing from a network, and no script.

Plan, contract in plain words, who gains and who pays, certificates, plots, the solvers' log, and what is needed to do
it again. It follows the reader's theme, fits a telephone, and prints.

Pictures: the plots of a report as SVG that stands in a page, takes the colours of its theme and needs nothing else.

A best response also has its curve as data, for a slider: with a script, a reader leaves the plan and sees the cost.
"""

from __future__ import annotations

import html
import io
import json
import math
import platform
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

from stackpyomo.core import Part, Table, as_html, shown
from stackpyomo.errors import StackpyomoError
from stackpyomo.incentives import Incentive, stakes, terms
from stackpyomo.plans import Plan
from stackpyomo.solvers import registry
from stackpyomo.verification import Report, regret_shown
from stackpyomo.version import __version__

from . import plots

#: A bar under each best response, with which a reader leaves the plan; the page is complete without it.
SLIDER = files(__package__).joinpath("slider.js").read_text(encoding="utf-8")

_DRAWN = 3  # Followers whose best responses are drawn.
_TRIED = 12  # Followers among whom these are looked for.
_CELLS = 250_000  # Entries of a gain that is drawn.
_WIDTH = 5.2  # Inches: 10 points stay readable on a telephone.
_POINTS = 121  # Positions of a slider.
_SHOWN = 200  # Rows of a table.
_OPEN = 24  # Of these those that are not folded.
_LINES = 6  # Formulas that are not folded.
_EVIDENCE = {
    "convex": "a proof, for the follower's problem under the announced strategy is convex and its duality gap is small",
    "global": "a proof, for a global solver's bound leaves no better answer",
    "multistart": "evidence, no proof, the best of several starting points",
    "unknown": "its re-solve failed, and nothing is known of its regret",
}
_PACKAGES = ("numpy", "scipy", "pandas", "pyomo")
_THEME = {
    **plots.COLOURS,
    "soft": ("#57606a", "#9aa7b4"),
    "line": ("#d0d7de", "#343b44"),
    "shade": ("#f3f5f7", "#1d232a"),
    "link": ("#0b57a4", "#7db3e8"),
}
_SHEET = files(__package__).joinpath("page.css").read_text(encoding="utf-8").replace("\n", "")


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
        caption = "The gain: by how much each leader variable answers one unit of each signal."
        yield _picture(partial(plots.gains, rule), caption, plots.height_of_gains(rule))
    yield from _responses(report, rule)


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
                f"Level sets of {name} and of the leader. The announced strategy touches what {name} prefers to "
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
    ink, paper = plots.COLOURS["ink"][0], plots.COLOURS["paper"][0]
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
        for name, (colour, _) in plots.COLOURS.items():
            markup = markup.replace(f": {colour}", f": var(--{name})")
        if markup.startswith("<svg "):
            markup = re.sub(r' (width|height|version|xmlns(:\w+)?)="[^"]*"', "", markup)[:-1] + label + ">"
        return markup

    return re.sub(r"<\w[^>]*>", own, svg).strip()


def page(
    report: Report,
    *,
    title: str | None = None,
    baseline: Plan | None = None,
    remarks: Sequence[str] = (),
    command: str = "",
) -> str:
    """The page as HTML text.

    title: None: the game's name. baseline: a plan to tell who gains and who loses against. remarks: what else is to be
    said at the top, e.g. why there is no incentive or no baseline. command: what was typed.
    """
    plan, rule = _subjects(report)
    name = title or ("stackpyomo report" if plan is None or plan.game is None else plan.game.name)
    sections: list[tuple[str, str, Sequence[Part] | str]] = [
        ("plan", "The plan", _plan(plan, rule)),
        ("contract", "The contract in plain words", [] if rule is None else terms(rule)),
        ("stakes", "Who gains and who pays", [] if rule is None else stakes(rule, baseline)),
        ("certificates", "Every follower re-solved", _certificates(report)),
        ("plots", "Plots", _plots(report, rule)),
        ("again", "To reproduce", _again(report, plan, baseline, command)),
        ("log", "What the solvers did", _log(report, plan, baseline)),
    ]
    links = body = ""
    for key, heading, content in (section for section in sections if section[-1]):
        text = content if isinstance(content, str) else "".join(map(_shortened, content))
        links += f'<a href="#{key}">{heading}</a>'
        body += f'<section id="{key}"><h2>{heading}</h2>{text}</section>'
    return _document(name, _verdict(report, plan, remarks), f'<nav aria-label="Sections">{links}</nav>', body)


def table_page(name: str, summary: str, table: pd.DataFrame) -> str:
    """A table of many rows and its summary, as the text of such a page."""
    headings = list(map(str, table.columns))
    rows = [list(map(_cell, row)) for row in table.itertuples(index=False)]
    numbers = set(table.select_dtypes("number").columns)
    words = tuple(head for head, column in zip(headings, table.columns, strict=True) if column not in numbers)
    return _document(name, as_html([summary]), "", as_html([Table(headings, rows, words=words)]))


def _document(title: str, header: str, nav: str, body: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><style>{_style()}</style></head>'
        f"<body><header><h1>{html.escape(title)}</h1>{header}</header>{nav}<main>{body}</main>"
        f"<footer><p>Written by stackpyomo {__version__}.</p></footer></body></html>\n"
    )


def _shortened(part: Part) -> str:
    """A part as HTML; of long tables and lists the end is folded."""
    if isinstance(part, Table) and len(part.rows) > _OPEN + _LINES:
        first, rest = (replace(part, rows=rows) for rows in (part.rows[:_OPEN], part.rows[_OPEN:]))
        return as_html([first]) + _folded(f"{len(rest.rows)} more rows", [rest])
    if isinstance(part, list) and len(part) > _LINES:
        return as_html([part[:_LINES]]) + _folded(f"{len(part) - _LINES} more lines", [part[_LINES:]])
    return as_html([part])


def _subjects(report: Report) -> tuple[Plan | None, Incentive | None]:
    """The plan and the incentive that were verified, as far as the report knows."""
    if isinstance(report.subject, Incentive):
        return report.subject.plan, report.subject
    return (report.subject if isinstance(report.subject, Plan) else None), None


def _verdict(report: Report, plan: Plan | None, remarks: Sequence[str]) -> str:
    """What was shown, in one line with a sign that needs no colour, and the numbers that matter."""
    kind, sign = ("good", "✓") if report.ok else ("bad", "✗")
    facts = [
        ("leader's objective", shown(report.leader_objective, 8)),
        ("largest regret", regret_shown(report.epsilon)),
        ("followers re-solved", str(len(report.regret))),
        *([] if plan is None else [("plan", plan.quality)]),
    ]
    terms = "".join(f"<div><dt>{name}</dt><dd>{html.escape(value)}</dd></div>" for name, value in facts)
    rest = "".join(f'<p class="remark">{html.escape(remark)}</p>' for remark in remarks)
    verdict = html.escape(report.verdict)
    return f'<p class="verdict {kind}"><span aria-hidden="true">{sign} </span>{verdict}</p>{rest}<dl>{terms}</dl>'


def _plan(plan: Plan | None, rule: Incentive | None) -> list[Part]:
    if plan is None:
        return []
    parts = plan.parts({} if rule is None else rule.offset, _SHOWN)
    if rule is None:
        parts.insert(1, "The leader announces these values as constants; nothing answers a deviation.")
    return parts


def _certificates(report: Report) -> list[Part]:
    _, *rest = report.parts(_SHOWN)  # the verdict stands above
    kinds = [f"{kind}: {_EVIDENCE[kind]}" for kind in _EVIDENCE if (report.certificate == kind).any()]
    how = f"By {report.solver or 'a solver'}, the others at the plan, against what the leader announces. " + (
        f"A regret is within tolerance up to {report.tolerance:g} times how fast the follower's objective changes."
    )
    return [how, *rest, *(f"{kind[:1].upper()}{kind[1:]}." for kind in kinds)]


def _plots(report: Report, rule: Incentive | None) -> str:
    try:
        drawn = list(pictures(report, rule))
    except StackpyomoError as error:
        return as_html([f"No plots are shown. {error}"])
    figures = []
    for each in drawn:
        slider = f'<div class="slider" data-curve="{html.escape(each.curve)}"></div>' if each.curve else ""
        figures.append(f"<figure>{each.svg}{slider}<figcaption>{html.escape(each.caption)}</figcaption></figure>")
    script = f"<script>{SLIDER}</script>" if any(each.curve for each in drawn) else ""
    return f'<div class="plots">{"".join(figures)}</div>{script}' if figures else ""


# --- how it was made -----------------------------------------------------------------------------------------------


def _again(report: Report, plan: Plan | None, baseline: Plan | None, command: str) -> list[Part]:
    """Versions, options, seeds."""
    parts: list[Part] = [[command]] if command else []
    asked = {
        "plan": {} if plan is None else plan.options,
        "baseline": {} if baseline is None else baseline.options,
        "verify": {**report.options, "tolerance": report.tolerance},
    }
    settings = {name: ", ".join(f"{key} = {value}" for key, value in given.items()) for name, given in asked.items()}
    parts.append([f"{name}: {text}" for name, text in settings.items() if text])
    rows = [["stackpyomo", __version__], ["Python", platform.python_version()]]
    rows += [[name, _installed(name)] for name in _PACKAGES]
    rows += [[f"{name} (solver)", registry[name].version() or ""] for name in _solvers(report, plan, baseline)]
    return [*parts, Table(["software", "version"], rows)]


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _solvers(report: Report, *plans: Plan | None) -> list[str]:
    """Those that had a part in it."""
    named = [report.solver]
    for plan in plans:
        named += [] if plan is None else [plan.solver, *(str(entry.get("solver", "")) for entry in plan.log)]
    return [name for name in dict.fromkeys(named) if name in registry]


# --- log ----------------------------------------------------------------------------------------------------------


def _log(report: Report, plan: Plan | None, baseline: Plan | None) -> str:
    """Every attempt, and the seconds of every stage, folded."""
    folds = []
    for name, each in (("Plan", plan), ("Baseline", baseline)):
        if each is not None:
            summary = f"{name}: {len(each.log)} attempts" if len(each.log) != 1 else f"{name}: 1 attempt"
            folds.append(_folded(summary, [*_attempts(each.log), _stages(each.seconds)]))
    return "".join(folds) + _folded("Verification", [_stages(report.seconds)])


def _folded(summary: str, parts: Sequence[Part]) -> str:
    return f"<details><summary>{html.escape(summary)}</summary>{as_html(parts)}</details>"


def _attempts(log: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    if not log:
        return
    keys = dict.fromkeys(key for entry in log for key in entry)
    rows = [[str(number), *(_cell(entry.get(key)) for key in keys)] for number, entry in enumerate(log[:_SHOWN], 1)]
    yield Table(["attempt", *keys], rows, words=("treatment", "solver", "termination", "message", "audit"))
    if len(log) > _SHOWN:
        yield f"… {len(log) - _SHOWN} more in plan.log"


def _stages(seconds: Mapping[str, float]) -> Part:
    if not seconds:
        return "No times were kept."
    return Table(["stage", "seconds"], [[name, f"{value:.3f}"] for name, value in seconds.items()])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


# --- style --------------------------------------------------------------------------------------------------------


def _style() -> str:
    """Colours of either theme, and the sheet."""
    light, dark = ("".join(f"--{name}:{pair[side]};" for name, pair in _THEME.items()) for side in (0, 1))
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{_SHEET}"
