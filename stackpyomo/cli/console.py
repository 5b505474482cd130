"""Reports: how a solved game looks on a terminal, and the rows of a catalogue."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stackpyomo.core import Part, as_text, cut, shown
from stackpyomo.core import Table as Cells
from stackpyomo.incentives import Incentive, in_words
from stackpyomo.plans import Plan
from stackpyomo.studies import RIGHT, Row
from stackpyomo.verification import Report

__all__ = ["show", "show_rows"]

_SHOWN = 30

_NAME = 19
"""Letters of a game's name in the table of a catalogue: with the other columns, 100."""


def show(console: Console, plan: Plan, rule: Incentive | None, report: Report) -> None:
    """Print plan, contract and report."""
    _print(console, plan.parts({} if rule is None else rule.offset, _SHOWN))
    if rule is not None:
        terms = [part for part in in_words(rule, verified=True) if part not in report.warnings]
        console.print(Text(f"{as_text(terms)}\n"))
    console.print(Text(f"Every follower re-solved ({report.solver}):"))
    verdict, *rest = report.parts(_SHOWN)
    tables = [part for part in rest if part not in report.remarks]
    _print(console, tables)
    console.print(Text(str(verdict), style="bold green" if report.ok else "bold red"))
    _print(console, report.remarks)


def _print(console: Console, parts: Iterable[Part]) -> None:
    """Tables as Rich draws them; what to beware of stands out."""
    for part in parts:
        if isinstance(part, Cells):
            table = Table(*part.headings)
            for column, left in zip(table.columns, part.left, strict=True):
                column.justify = "left" if left else "right"
            for row in part.rows:
                table.add_row(*map(Text, row))
            console.print(table)
        else:
            text = as_text([part])
            console.print(Text(text, style="yellow" if text.startswith("Beware") else ""))


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
            Text(cut(row.name, _NAME)),
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
            reason = row.message or f"worse than the reference by {row.gap:.2g}"
            line = f"{row.name}: {row.outcome}: {' '.join(reason.split())}"
            console.print(Text(line), no_wrap=True, overflow="ellipsis")


def _digits(value: float, form: str) -> str:
    return "" if math.isnan(value) else "0" if value == 0 else format(value, form)
