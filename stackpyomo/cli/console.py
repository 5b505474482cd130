"""What commands print: plan, contract and report, tables of games, in the words of the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stackpyomo.core import Part, as_text, cut, shown
from stackpyomo.core import Table as Cells
from stackpyomo.games import Finding
from stackpyomo.incentives import Incentive, in_words
from stackpyomo.plans import Plan
from stackpyomo.studies import RIGHT, Comparison, Row
from stackpyomo.verification import Report

_SHOWN = 30  # Rows of a table that are printed.
_WHOLE = 40  # Letters of a name that stands in one line of a contract's table.
_NAME = 19  # Letters of a game's name in the table of a catalogue, which so fits 80 columns.

_OPTIONS = (
    "allow_nonconvex|certify|common|complementarity|curvature|dask|design|equilibrium|free|gain_bounds|grid|jobs|margin|"
    "method|multipliers|noise|observe|payment|payment_limit|prefer|proof_seconds|quadratic|regret|responding|saturate|"
    "seed|solver|starts|tie_tolerance|ties|time_limit|tolerance"
)  # Arguments of the library that are options of a command.

_ARGUMENT = re.compile(rf"\b({_OPTIONS})=(True\b|'[^']*'|\"[^\"]*\"|\([-+\w., ]*\)|[-+\w.]*\w)?(?![=\[({{'\"])")

_LEADER = re.compile(r"set it on the model, or pass leader=\{[^}]*\}")

_PHRASES = {
    "; affine_incentive(plan) designs one where there is one": "",
    ", or Scholtes(), FischerBurmeister(), Penalty(), BigM(), SOS1()": "",
    "tee=True shows a solver's log": "--log - shows every attempt",
    "use read_games()": "bench and compare take one",
    "None where there is no limit": "an empty side is no limit",
    "parameters={name: (lower, upper)}": "--parameter name=lower,upper",
    "Leave it out of parameters=": "Leave it out of --parameter",
    "(rules=)": "(--rule)",
    "game.check()": "stackpyomo check-game",
    "; use read_game().": ": put [ and ] around the one that it holds.",
    "inducible(plan)": "stackpyomo inducible",
    "optimal_rule(game)": "--second-best",
    "sp.stackelberg(game)": "--responding all",
    "stackelberg(game)": "--responding all",
    'verify(..., certify="global")': "--certify global",
}
_Column = tuple[str, Callable[[Any], str | Text]]  # A heading and what stands under it.


def in_options(text: str) -> str:
    """A message of the library as the command line says it: ``saturate=True`` is ``--saturate``."""

    def option(match: re.Match[str]) -> str:
        name, value = match.groups()
        words = "" if value in (None, "True") else " " + value.strip("'\"()").replace(", ", ",")
        return f"--{name.replace('_', '-')}{words}"

    for phrase, words in _PHRASES.items():
        text = text.replace(phrase, words)
    text = _LEADER.sub("give it a start value in the file", text)
    return _ARGUMENT.sub(option, text)


def show(plan: Plan, rule: Incentive | None, report: Report) -> None:
    """Print plan, contract and report."""
    console = Console()
    _print(console, plan.parts({} if rule is None else rule.offset, _SHOWN))
    if rule is not None:
        _print_terms(console, [part for part in in_words(rule, verified=True) if part not in report.warnings])
    console.print(Text(f"Every follower re-solved ({report.solver}):"))
    verdict, *rest = report.parts(_SHOWN)
    _print(console, [part for part in rest if part not in report.remarks])
    console.print(Text(in_options(str(verdict)), style="bold green" if report.ok else "bold red"))
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
            text = in_options(as_text([part]))
            console.print(Text(text, style="yellow" if text.startswith("Beware") else ""))


def _print_terms(console: Console, parts: Iterable[Part]) -> None:
    """The contract as it is printed elsewhere, but each line within the width of the terminal, below its beginning."""
    for part in parts:
        if isinstance(part, str):
            console.print(Text(part))
        elif isinstance(part, Cells):
            table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
            for number, (heading, left) in enumerate(zip(part.headings, part.left, strict=True)):
                whole = number == 0 and max(len(row[0]) for row in part.rows) <= _WHOLE
                table.add_column(heading, justify="left" if left else "right", no_wrap=whole, overflow="fold")
            for row in part.rows:
                table.add_row(*map(Text, row))
            console.print(_indented(table))
        else:
            for item in part:
                console.print(_indented(Text(item)))
    console.print()


def _indented(what: Text | Table) -> Padding:
    return Padding(what, (0, 0, 0, 2), expand=False)


def show_parts(parts: Iterable[Part]) -> None:
    """Print tables and text."""
    _print(Console(), parts)


def show_findings(findings: Sequence[Finding], otherwise: str = "") -> None:
    """Print findings, the errors first; where there are none ``otherwise``."""
    console = Console()
    for finding in findings:
        kind = {"info": "note", "warning": "note"}.get(finding.severity, finding.severity)
        console.print(Text(f"{kind}: {in_options(str(finding))}"))
    if otherwise and not findings:
        print(otherwise)


# --- rows of many games -----------------------------------------------------------------------------------------------


def _show_rows(rows: Sequence[Any], columns: Sequence[_Column], left: str) -> None:
    """Rows of games in 80 columns or what the terminal has; numbers stand to the right."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for heading, _ in columns:
        table.add_column(heading, justify="left" if heading in left.split() else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(cell(row) for _, cell in columns))
    Console().print(table)


def _digits(value: float, form: str) -> str:
    return "" if math.isnan(value) else "0" if value == 0 else format(value, form)


def _seconds(value: float) -> str:
    return _digits(value, ".2f" if value < 10 else ".0f")


def _number(value: float) -> str:
    return "" if math.isnan(value) else shown(value, 5)


def _outcome(text: str) -> Text:
    return Text(text, style="" if text in RIGHT else "bold red")


def show_rows(rows: Sequence[Row]) -> None:
    """Print the rows of a catalogue, and the reason for those that are not right."""
    columns: list[_Column] = [
        ("game", lambda row: Text(cut(row.name, _NAME))),
        ("objective", lambda row: _number(row.objective)),
        ("reference", lambda row: _number(row.reference)),
        ("gap", lambda row: _digits(row.gap, "+.0e")),
        ("regret", lambda row: _digits(row.regret, ".0e")),
        ("evidence", lambda row: row.certificate),
        ("s", lambda row: _seconds(row.seconds)),
        ("outcome", lambda row: _outcome(row.outcome)),
    ]
    _show_rows(rows, columns, "game evidence outcome")
    for row in rows:
        if row.outcome not in RIGHT:
            reason = row.message or f"worse than the reference by {row.gap:.2g}"
            print(f"{row.name}: {row.outcome}: {in_options(' '.join(reason.split()))}")


def show_comparison(comparison: Comparison) -> None:
    """Print a row for each game and way of solving it, the profiles, and what is not as good as the best."""
    ways = comparison.table["complementarity"].nunique() > 1
    columns: list[_Column] = [
        ("game", lambda row: Text(cut(row["game"], _NAME))),
        ("solver", lambda row: str(row["solver"])),
        *([("treatment", lambda row: cut(row["complementarity"], 9))] if ways else []),
        ("objective", lambda row: _number(row["objective"])),
        ("loss", lambda row: _digits(row["loss"], ".0e")),
        ("regret", lambda row: _digits(row["regret"], ".0e")),
        ("evidence", lambda row: str(row["certificate"])),
        ("s", lambda row: _seconds(row["seconds"])),
        ("outcome", lambda row: _outcome(row["outcome"])),
    ]
    _show_rows(comparison.rows, columns, "game solver treatment evidence outcome")
    print(f"\n{comparison.summary()}\n")
    if comparison.table["game"].nunique() > 1:
        shares = comparison.profile(points=[1, 2, 5, 10, 100])
        print(f"Share of games so answered within a factor τ of the fastest:\n{shares}\n")
    for (solver, treatment, message), rows in comparison.disagreements().groupby(
        ["solver", "complementarity", "message"], sort=False
    ):
        who = rows["game"].iloc[0] if len(rows) == 1 else f"{len(rows)} games"
        print(f"{solver}, {treatment}, {who}: {in_options(' '.join(str(message).split()))}")


def show_study(table: pd.DataFrame, summary: str) -> None:
    """Print the first and last rows of a study, in as many blocks of columns as the terminal needs."""
    print(table.to_string(max_rows=_SHOWN + 10, line_width=Console().width))
    print(summary)


def show_table(table: pd.DataFrame) -> None:
    """Print a table of followers."""
    print(table.to_string(line_width=Console().width, float_format=lambda value: shown(value, 6)))


def show_inducible(table: pd.DataFrame) -> None:
    """Print who can be held, and the evidence for each below, so that the table fits 80 columns."""
    show_table(table.drop(columns="evidence"))
    console = Console()
    for name, evidence in table["evidence"].items():
        console.print(Text(f"{name}: {evidence}"))


def show_solvers(rows: Sequence[dict[str, Any]]) -> None:
    """Print what is known of every solver."""
    table = Table("solver", "version", "tiny problem", "seconds", "solves")
    for row in rows:
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.2f}"
        table.add_row(row["solver"], row["version"] or "–", row["answer"], seconds, " ".join(row["classes"]))
    console = Console()
    console.print(table)
    for row in rows:
        if row["remedy"]:
            missing = "" if row["version"] else "not installed. "
            console.print(f"{row['solver']}: {missing}{in_options(row['remedy'])}", markup=False)
