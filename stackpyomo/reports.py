"""Reports: how a solved game looks on a terminal and as an HTML page."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .catalogues import RIGHT, Row
from .contracts import Incentive
from .markup import as_text
from .results import Plan, Report, html_page, shown
from .tolerances import TOLERANCES
from .wording import in_words

__all__ = ["page", "show", "show_rows", "table_page"]

_SHOWN = 30
_NAME = 19
"""Letters of a game's name in the table of a catalogue: with the other columns, 100."""


def show(console: Console, plan: Plan, rule: Incentive | None, report: Report) -> None:
    """Print plan, contract and report."""
    proof = "" if math.isnan(plan.epsilon0) else f", within {plan.epsilon0:.1e} of the optimum"
    console.print(Text(f"Plan: leader's objective {shown(plan.leader_objective, 8)} ({plan.quality}{proof})"))
    console.print(_plan_table(plan, rule))
    if rule is not None:
        console.print(Text(f"{as_text(in_words(rule))}\n"))
    console.print(Text(f"Every follower re-solved ({report.solver}):"))
    console.print(_report_table(report))
    console.print(Text(report.verdict, style="bold green" if report.ok else "bold red"))
    for remark in report.remarks:
        console.print(Text(remark, style="yellow" if remark.startswith("Beware") else ""))


def _plan_table(plan: Plan, rule: Incentive | None) -> Table:
    offset = {} if rule is None else rule.offset
    table = Table("variable", "value")
    table.columns[1].justify = "right"
    for name, value in list(plan.values.items())[:_SHOWN]:
        chosen = offset.get(name, value)
        again = (
            f" (chosen with the incentive, {shown(value, 8)} before)" if abs(chosen - value) > TOLERANCES.noise else ""
        )
        table.add_row(Text(name), shown(chosen, 8) + again)
    if len(plan.values) > _SHOWN:
        table.add_row(f"… {len(plan.values) - _SHOWN} more", "")
    return table


def _report_table(report: Report) -> Table:
    noted = bool(report.note.any())
    headings = ["follower", "objective", "regret", "certificate", *(["note"] if noted else [])]
    table = Table(*headings)
    for name in list(report.regret.index)[:_SHOWN]:
        cells: list[str | Text] = [
            Text(str(name)),
            shown(report.objective[name], 8),
            f"{report.regret[name]:.1e}",
            str(report.certificate[name]),
        ]
        table.add_row(*cells, *([Text(report.note[name])] if noted else []))
    if len(report.regret) > _SHOWN:
        table.add_row(f"… {len(report.regret) - _SHOWN} more")
    return table


def show_rows(console: Console, rows: Sequence[Row]) -> None:
    """Print the rows of a catalogue, and what is to be said of those that are not right."""
    headings = ("game", "class", "objective", "reference", "gap", "regret", "evidence", "quality", "s", "outcome")
    table = Table(*headings, box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for column in table.columns:
        column.no_wrap = True
        if column.header in ("objective", "reference", "gap", "regret", "s"):
            column.justify = "right"
    for row in rows:
        table.add_row(
            Text(_cut(row.name)),
            Text(row.kind[:7]),
            "" if math.isnan(row.objective) else shown(row.objective, 5),
            "" if math.isnan(row.reference) else shown(row.reference, 5),
            _digits(row.gap, "+.0e"),
            _digits(row.regret, ".0e"),
            row.certificate,
            row.quality,
            _digits(row.seconds, ".2f" if row.seconds < 10 else ".0f"),
            Text(row.outcome, style="" if row.outcome in RIGHT else "bold red"),
        )
    console.print(table)
    for row in rows:
        if row.outcome not in RIGHT:
            told = row.message or f"worse than the reference by {row.gap:.2g}"
            line = f"{row.name}: {row.outcome}: {' '.join(told.split())}"
            console.print(Text(line), no_wrap=True, overflow="ellipsis")


def _cut(name: str) -> str:
    """A long name without its middle: what tells games apart is at the ends."""
    half = _NAME // 2
    return name if len(name) <= _NAME else f"{name[: _NAME - half - 1]}…{name[-half:]}"


def _digits(value: float, form: str) -> str:
    return "" if math.isnan(value) else "0" if value == 0 else format(value, form)


def page(path: str | Path, name: str, plan: Plan, rule: Incentive | None, report: Report) -> None:
    """Write plan, contract and report as one self-contained HTML page."""
    values = "".join(f"<tr><td>{html.escape(n)}</td><td>{shown(v, 8)}</td></tr>" for n, v in plan.values.items())
    contract = "" if rule is None else f"<h2>Incentive</h2>{rule._repr_html_()}"
    body = (
        f"<h1>{html.escape(name)}</h1>"
        f"<h2>Plan</h2><p>Leader's objective {shown(plan.leader_objective)}, {plan.quality} "
        f"({html.escape(plan.solver)}: {html.escape(plan.termination)}).</p>"
        f"<table><tr><th>variable</th><th>value</th></tr>{values}</table>"
        f"{contract}<h2>Report</h2>{report._repr_html_()}"
    )
    Path(path).write_text(html_page(name, body), encoding="utf-8")


def table_page(path: str | Path, name: str, summary: str, table: pd.DataFrame) -> None:
    """Write a table of many rows, with what it comes to, as one self-contained HTML page."""
    cells = table.to_html(index=False, na_rep="", float_format="{:.6g}".format, border=0)
    body = f"<h1>{html.escape(name)}</h1><p>{html.escape(summary)}</p>{cells}"
    Path(path).write_text(html_page(name, body), encoding="utf-8")
