"""``stackpyomo bench``: a catalogue of games against the values known."""

from __future__ import annotations

import dataclasses
import os
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from typer import Option

from stackpyomo.core import tracked
from stackpyomo.errors import InvalidGame
from stackpyomo.games.files import read_games
from stackpyomo.reporting import table_page
from stackpyomo.studies import RIGHT, Row, Settings, machine, solved, summarize, summary_line

from .app import Answer, command
from .console import show_rows
from .inputs import settings_of


@command("models/literature/bilevel.json --jobs 2", offers="json report log")
def bench(
    catalogue: Path,
    solver: str = "auto",
    complementarity: str = "auto",
    time_limit: float = Settings.time_limit,
    option: list[str] | None = None,
    starts: int = 1,
    ties: str = Settings.ties,
    equilibrium: str = Settings.equilibrium,
    seed: int = 0,
    allow_nonconvex: bool = False,
    tolerance: float = Settings.tolerance,
    only: Annotated[str, Option("--filter", help="Games whose name contains this.")] = "",
    jobs: int = 1,
) -> Answer:
    """Solve every game of a catalogue with all followers responding, and compare with its reference.

    Exit code 0: every game came out as well as its reference, or better, and verified; or without a plan, or refused
    for a nonconvex follower, as its entry says.
    """
    asked: dict[str, Any] = {"seed": seed, "options": settings_of(option), "ties": ties, "equilibrium": equilibrium}
    settings = Settings(solver, complementarity, time_limit, starts, allow_nonconvex, tolerance, **asked)
    entries = [entry for entry in read_games(catalogue) if only in str(entry.get("name", ""))]
    if not entries:
        raise InvalidGame(f"{catalogue}: holds no game" + (f" whose name contains {only!r}." if only else "."))
    settings.require()
    began = time.perf_counter()
    rows, interrupted = _rows([(entry, settings) for entry in entries], os.fspath(catalogue), jobs)
    summary = summarize(rows, time.perf_counter() - began)
    document: dict[str, Any] = {
        "machine": machine(),
        "catalogue": os.fspath(catalogue),
        "settings": {k: v for k, v in dataclasses.asdict(settings).items() if k != "judged"} | {"jobs": jobs},
        "interrupted": interrupted is not None,
        "rows": [row.as_dict() for row in rows],
        "summary": summary,
    }

    def tell() -> None:
        show_rows(rows)
        print(summary_line(summary))

    code = 0 if all(row.outcome in RIGHT for row in rows) else 1
    make_page = partial(_page, catalogue.name, summary_line(summary), rows)
    return Answer(document, tell, code, make_page, interrupted)


def _rows(
    plays: list[tuple[dict[str, Any], Settings]], path: str, jobs: int
) -> tuple[list[Row], KeyboardInterrupt | None]:
    """The rows in the order of the catalogue, and what ended the run before its time."""
    rows: dict[int, Row] = {}
    interrupted = None
    try:
        with tracked("solving", len(plays)) as step:
            for number, row in solved(plays, path, jobs):
                rows[number] = row
                step()
    except KeyboardInterrupt as error:
        interrupted = error
    return [rows[number] for number in sorted(rows)], interrupted


def _page(name: str, summary: str, rows: list[Row]) -> str:
    table = pd.DataFrame([row.as_dict() for row in rows]).drop(columns=["stages", "error"], errors="ignore")
    return table_page(name, summary, table)
