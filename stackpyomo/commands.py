"""The commands ``stackpyomo verify``, ``stackpyomo compare`` and ``stackpyomo study``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from . import __version__
from .catalogues import Settings, machine, tuned
from .clusters import cluster
from .comparisons import Comparison, compare, entries_of, ways
from .contracts import Incentive
from .errors import InvalidGame
from .games import Game
from .pages import page, table_page
from .plan import Plan
from .plots import formats
from .reports import show
from .stores import plain, require_parquet, write_parquet
from .studies import study
from .terminal import (
    FileTask,
    GameArgument,
    JobsOption,
    JsonOption,
    LimitOption,
    LogOption,
    ParameterOption,
    ReportOption,
    SeedOption,
    SettingOption,
    SolverOption,
    StartsOption,
    deliver,
    load,
    logged,
    one_line_errors,
    read,
    require_writable,
    results_only,
    said,
    settings_of,
    titled,
    typed,
    writable,
)
from .verification import verify

__all__ = ["compare_command", "study_command", "verify_command"]

_SHOWN = 40
"""Rows of a study that are printed."""


# --- verify -----------------------------------------------------------------------------------------------------------


@one_line_errors()
def verify_command(
    game: GameArgument,
    plan_from: Annotated[
        Path | None, typer.Option("--plan", help="JSON of a plan, or what solve --json wrote: the leader is constant.")
    ] = None,
    incentive_from: Annotated[
        Path | None, typer.Option("--incentive", help="JSON of an incentive, or what solve --json wrote.")
    ] = None,
    solver: SolverOption = "auto",
    option: SettingOption = None,
    starts: Annotated[int, typer.Option(help="Starting points for followers not proved convex.", min=1)] = 8,
    time_limit: Annotated[
        float | None, typer.Option(help="Seconds for the re-solves; who is not settled by then is unknown.")
    ] = None,
    parameter: ParameterOption = None,
    json_to: JsonOption = None,
    report_to: ReportOption = None,
    log_to: LogOption = None,
) -> None:
    """Re-solve every follower against a plan or an incentive; without one, against the values that the model holds.

    Exit code 0: nobody gains by leaving. solve --json FILE writes what --plan and --incentive read.
    """
    require_writable(json_to)
    require_writable(report_to)
    with results_only(), logged(log_to), tuned(solver, settings_of(option)):
        loaded, _ = load(game, parameter or [])
        plan, rule = _subject(loaded, plan_from, incentive_from)
        report = verify(plan if rule is None else rule, solver=solver, starts=starts, time_limit=time_limit)
    document = {
        "game": loaded.name,
        "version": __version__,
        "plan": plan.as_dict(),
        "incentive": None if rule is None else rule.as_dict(),
        "report": report.as_dict(),
    }
    if report_to is not None:
        writable(report_to, page(report, title=titled(loaded, game), command=typed()))
    if not deliver(document, json_to):
        show(Console(), plan, rule, report)
    raise typer.Exit(0 if report.ok else 1)


def _subject(game: Game, plan_from: Path | None, incentive_from: Path | None) -> tuple[Plan, Incentive | None]:
    if plan_from is not None and incentive_from is not None:
        raise InvalidGame("--plan, --incentive: give one of them; an incentive has its plan inside.")
    path = plan_from or incentive_from
    if path is None:
        try:
            return Plan.from_values(game), None
        except InvalidGame as error:
            raise InvalidGame(f"{error} Or pass --incentive or --plan FILE, as solve --json FILE writes it.") from None
    written = read(path)
    try:
        told = json.loads(written)
        if plan_from is not None:
            return Plan.from_json(json.dumps(told.get("plan", told)), game), None
        if "incentive" in told:
            if told["incentive"] is None:
                raise InvalidGame("holds no incentive; none was found.")
            told = {**told["incentive"], "plan": told["plan"]}
        rule = Incentive.from_json(json.dumps(told), game)
    except (InvalidGame, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = error if isinstance(error, InvalidGame) else "is not what solve --json writes."
        raise InvalidGame(f"{path}: {reason}") from None
    return rule.plan, rule


# --- compare ----------------------------------------------------------------------------------------------------------


@one_line_errors()
def compare_command(
    games: Annotated[Path, typer.Argument(help="A JSON game or list of games, or a Python file with build().")],
    solver: Annotated[str, typer.Option(help="Solvers, separated by commas; all: every one that is known.")] = "auto",
    complementarity: Annotated[
        str, typer.Option(help="Treatments (scholtes, penalty, …), separated by commas.")
    ] = "auto",
    time_limit: LimitOption = Settings.time_limit,
    starts: StartsOption = 1,
    seed: SeedOption = 0,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="solver:name=value for one of the solvers; may be repeated.")
    ] = None,
    jobs: JobsOption = 1,
    parameter: ParameterOption = None,
    plot_to: Annotated[Path | None, typer.Option("--plot", help="Draw performance profiles into this file.")] = None,
    json_to: JsonOption = None,
    report_to: ReportOption = None,
    log_to: LogOption = None,
) -> None:
    """Play every game by every solver and treatment, all followers responding, and compare what each proved.

    Exit code 0: every answer is verified, and as good as the best.
    """
    require_writable(json_to)
    require_writable(report_to)
    if plot_to is not None:
        _require_drawable(plot_to)
    with results_only(), logged(log_to):
        subject: Any = games if games.suffix == ".json" else load(games, parameter or [])[0]
        found = compare(
            entries_of(subject),
            ways(_listed(solver)),
            _listed(complementarity),
            time_limit=time_limit,
            jobs=jobs,
            starts=starts,
            seed=seed,
            options=_by_solver(option),
        )
    if plot_to is not None:
        _draw(found, plot_to)
    told = {"version": __version__, "machine": machine(), "games": os.fspath(games), **found.as_dict()}
    bad = found.disagreements()
    if report_to is not None:
        table = found.table.drop(columns=["stages", "error"])
        writable(report_to, table_page(games.name, _summary(found, len(bad)), table))
    if not deliver(told, json_to):
        print(found)
        _tell(found, len(bad))
        for (way, treatment, message), rows in bad.groupby(["solver", "complementarity", "message"], sort=False):
            who = rows["game"].iloc[0] if len(rows) == 1 else f"{len(rows)} games"
            print(f"{way}, {treatment}, {who}: {' '.join(str(message).split())}")
    raise typer.Exit(1 if len(bad) else 0)


def _require_drawable(path: Path) -> None:
    if path.suffix and path.suffix[1:].lower() not in formats():
        raise InvalidGame(f"{path}: pictures are drawn as {', '.join(formats())}; end the name so.")
    require_writable(path)


def _draw(found: Comparison, path: Path) -> None:
    with said(path):
        found.plot().figure.savefig(path)


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _by_solver(options: list[str] | None) -> dict[str, dict[str, Any]]:
    """solver:name=value of --option, as a dict of dicts."""
    told: dict[str, dict[str, Any]] = {}
    for text in options or ():
        solver, colon, rest = text.partition(":")
        if not colon:
            raise InvalidGame(f"--option {text}: expected solver:name=value.")
        told.setdefault(solver, {}).update(settings_of([rest]))
    return told


def _summary(found: Comparison, bad: int) -> str:
    return f"{len(found.rows) - bad} of {len(found.rows)} verified and as good as the best of their game"


def _tell(found: Comparison, bad: int) -> None:
    print(f"\n{_summary(found, bad)}\n")
    if found.table["game"].nunique() > 1:
        shares = found.profile(points=[1, 2, 5, 10, 100])
        print(f"Share of games so answered within a factor τ of the fastest:\n{shares}\n")


# --- study ------------------------------------------------------------------------------------------------------------


@one_line_errors()
def study_command(
    task: Annotated[str, typer.Argument(help="FILE.py:function; it returns a number or a dict of results.")],
    grid: Annotated[
        list[str], typer.Option(help="name=value,value,…: JSON or plain text; repeated, all combinations are run.")
    ],
    store: Annotated[
        Path | None, typer.Option(help="Append finished rows to this file; the same command again goes on there.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; left out: this one alone.", min=1)] = None,
    dask: Annotated[
        str | None, typer.Option(help="A scheduler, tcp://host:port, or local[:n]: n workers on this machine.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run rows that failed again.")] = False,
    seed: SeedOption = 0,
    parquet_to: Annotated[Path | None, typer.Option("--parquet", help="Write the table as Parquet.")] = None,
    json_to: JsonOption = None,
    report_to: ReportOption = None,
    log_to: LogOption = None,
) -> None:
    """Run a function over a grid of parameters, on one process or many; a study that was stopped goes on.

    The function is given the parameters by name, and, if it takes one, a seed that depends on nothing but --seed and
    the row. Exit code 0: every row is finished, none with an error.
    """
    require_writable(json_to)
    require_writable(report_to)
    if parquet_to is not None:
        require_parquet()
    began = time.perf_counter()
    with results_only(), logged(log_to), _executor(dask, workers) as executor:
        table = study(
            FileTask.named(task),
            dict(_axis(text) for text in grid),
            store=store,
            executor=executor,
            workers=workers,
            seed=seed,
            retry_failed=retry_failed,
        )
    if parquet_to is not None:
        write_parquet(table, parquet_to)
    failed = int(table["error"].notna().sum())
    records = zip(table.index, table.to_dict("records"), strict=True)
    document = {
        "version": __version__,
        "machine": machine(),
        "task": task,
        "seed": seed,
        "store": None if store is None else os.fspath(store),
        "rows": plain([{"row": number, **row} for number, row in records]),
        "summary": {"rows": len(table), "failed": failed, "seconds": time.perf_counter() - began},
    }
    summary = f"{len(table)} rows, {failed} with an error{'; --retry-failed runs those again' if failed else ''}"
    if report_to is not None:
        writable(report_to, table_page(task, summary, table))
    if not deliver(document, json_to):
        print(table.to_string(max_rows=_SHOWN))
        print(summary)
    raise typer.Exit(1 if failed else 0)


@contextmanager
def _executor(dask: str | None, workers: int | None) -> Iterator[Executor | None]:
    if dask is None:
        yield None
        return
    if workers is not None:
        raise InvalidGame("--dask, --workers: give one of them; local:n starts n workers.")
    with cluster(dask) as executor:
        yield executor


def _axis(text: str) -> tuple[str, list[Any]]:
    """name=1,2,3: a JSON list without its brackets, or else words."""
    name, equals, values = text.partition("=")
    if not equals or not name.isidentifier() or not values:
        raise InvalidGame(f"--grid {text}: expected name=value,value,…")
    try:
        return name, list(json.loads(f"[{values}]"))
    except ValueError:
        return name, [_word(value.strip()) for value in values.split(",")]


def _word(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
