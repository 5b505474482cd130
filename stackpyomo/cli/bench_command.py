"""``stackpyomo bench``: a catalogue of games against the values known."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console

from stackpyomo.core import tracked, writable
from stackpyomo.errors import InvalidGame
from stackpyomo.games.files import read_games
from stackpyomo.reporting import table_page
from stackpyomo.studies import RIGHT, Row, Runner, Settings, following, machine, serve, summarize, summary_line
from stackpyomo.version import __version__

from .app import (
    EquilibriumOption,
    JobsOption,
    JsonOption,
    LimitOption,
    LogOption,
    ReportOption,
    SeedOption,
    SettingOption,
    SolverOption,
    StartsOption,
    TiesOption,
    TreatmentOption,
    app,
    deliver,
    logged,
    one_line_errors,
    require_writable,
    results_only,
)
from .console import show_rows
from .inputs import settings_of

__all__ = []

_WIDTH = 100
"""Letters a line of the catalogue's table may have where there is no terminal to say."""


@app.command(epilog="Example: stackpyomo bench models/literature/bilevel.json --jobs 2")
@one_line_errors()
def bench(
    catalogue: Annotated[Path, typer.Argument(help="A JSON list of games, each with its reference.")],
    solver: SolverOption = "auto",
    complementarity: TreatmentOption = "auto",
    time_limit: LimitOption = Settings.time_limit,
    option: SettingOption = None,
    starts: StartsOption = 1,
    ties: TiesOption = Settings.ties,
    equilibrium: EquilibriumOption = Settings.equilibrium,
    seed: SeedOption = 0,
    allow_nonconvex: Annotated[
        bool, typer.Option("--allow-nonconvex", help="Play games with followers proved nonconvex, too.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(help="Relative distance to the reference that is as good as it.")
    ] = Settings.tolerance,
    only: Annotated[str, typer.Option("--filter", help="Games whose name contains this.")] = "",
    jobs: JobsOption = 1,
    json_to: JsonOption = None,
    report_to: ReportOption = None,
    log_to: LogOption = None,
) -> None:
    """Solve every game of a catalogue with all followers responding, and compare with its reference.

    Exit code 0: every game came out as well as its reference, or better, and verified; or without a plan, or refused
    for a nonconvex follower, as its entry says.
    """
    settings = Settings(
        solver,
        complementarity,
        time_limit,
        starts,
        allow_nonconvex,
        tolerance,
        seed=seed,
        options=settings_of(option),
        ties=ties,
        equilibrium=equilibrium,
    )
    entries = [entry for entry in read_games(catalogue) if only in str(entry.get("name", ""))]
    if not entries:
        raise InvalidGame(f"{catalogue}: holds no game" + (f" whose name contains {only!r}." if only else "."))
    settings.require()
    require_writable(json_to)
    require_writable(report_to)
    runner = Runner(entries, settings, os.fspath(catalogue), jobs)
    began, interrupted = time.perf_counter(), None
    try:
        with logged(log_to), tracked("playing", len(entries)) as step:
            for _ in runner.rows():
                step()
    except KeyboardInterrupt as error:
        interrupted = error
    rows = runner.finished
    _deliver_rows(
        catalogue, settings, jobs, rows, time.perf_counter() - began, interrupted is not None, json_to, report_to
    )
    if interrupted is not None:
        raise interrupted
    raise typer.Exit(0 if all(row.outcome in RIGHT for row in rows) else 1)


def _deliver_rows(
    catalogue: Path,
    settings: Settings,
    jobs: int,
    rows: list[Row],
    wall: float,
    interrupted: bool,
    json_to: str | None,
    report_to: Path | None,
) -> None:
    summary = summarize(rows, wall)
    document = {
        "version": __version__,
        "machine": machine(),
        "catalogue": os.fspath(catalogue),
        "settings": {k: v for k, v in dataclasses.asdict(settings).items() if k != "judged"} | {"jobs": jobs},
        "interrupted": interrupted,
        "rows": [row.as_dict() for row in rows],
        "summary": summary,
    }
    if report_to is not None:
        table = pd.DataFrame([row.as_dict() for row in rows]).drop(columns=["stages", "error"], errors="ignore")
        writable(report_to, table_page(catalogue.name, summary_line(summary), table))
    if deliver(document, json_to):
        return
    console = Console()
    show_rows(console if console.is_terminal else Console(width=max(_WIDTH, console.width)), rows)
    print(summary_line(summary))


@app.command(name="bench-worker", hidden=True, epilog="Example: stackpyomo bench-worker")
@one_line_errors()
def bench_worker() -> None:
    """Play one game for each line of standard input, and end with it; started by bench."""
    requests, answers = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)  # a solver reads nothing of what is meant for us,
    os.dup2(2, 1)  # and what its library prints is no answer

    def answer(line: str) -> None:
        answers.write(line + "\n")
        answers.flush()

    with results_only(), following(requests) as (folder, lines):
        answer(json.dumps(folder))
        serve(lines, answer)
