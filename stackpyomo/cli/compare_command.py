"""``stackpyomo compare``: games by several solvers and treatments, side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from stackpyomo.core import said, writable
from stackpyomo.errors import InvalidGame
from stackpyomo.reporting import formats, table_page
from stackpyomo.studies import Comparison, Settings, compare, entries_of, machine, ways
from stackpyomo.version import __version__

from .app import (
    EquilibriumOption,
    JobsOption,
    JsonOption,
    LimitOption,
    LogOption,
    ParameterOption,
    ReportOption,
    SeedOption,
    StartsOption,
    TiesOption,
    deliver,
    logged,
    one_line_errors,
    require_writable,
    results_only,
)
from .inputs import load, settings_of

__all__ = ["compare_command"]

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
    ties: TiesOption = Settings.ties,
    equilibrium: EquilibriumOption = Settings.equilibrium,
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
    """Play every game by every solver and treatment, all followers responding; compare what each proved.

    Exit code 0: every answer is verified, and as good as the best.
    """
    require_writable(json_to)
    require_writable(report_to)
    if plot_to is not None:
        _require_drawable(plot_to)
    with results_only(), logged(log_to):
        subject: Any = games if games.suffix == ".json" else load(games, parameter or [])[0]
        comparison = compare(
            entries_of(subject),
            ways(_listed(solver)),
            _listed(complementarity),
            time_limit=time_limit,
            jobs=jobs,
            starts=starts,
            seed=seed,
            options=_by_solver(option),
            ties=ties,
            equilibrium=equilibrium,
        )
    if plot_to is not None:
        _draw(comparison, plot_to)
    document = {"version": __version__, "machine": machine(), "games": os.fspath(games), **comparison.as_dict()}
    bad = comparison.disagreements()
    if report_to is not None:
        table = comparison.table.drop(columns=["stages", "error"])
        writable(report_to, table_page(games.name, _summary(comparison, len(bad)), table))
    if not deliver(document, json_to):
        print(comparison)
        _tell(comparison, len(bad))
        for (way, treatment, message), rows in bad.groupby(["solver", "complementarity", "message"], sort=False):
            who = rows["game"].iloc[0] if len(rows) == 1 else f"{len(rows)} games"
            print(f"{way}, {treatment}, {who}: {' '.join(str(message).split())}")
    raise typer.Exit(1 if len(bad) else 0)


def _require_drawable(path: Path) -> None:
    if path.suffix and path.suffix[1:].lower() not in formats():
        raise InvalidGame(f"{path}: pictures are drawn as {', '.join(formats())}; end the name so.")
    require_writable(path)


def _draw(comparison: Comparison, path: Path) -> None:
    with said(path):
        comparison.plot().figure.savefig(path)


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _by_solver(options: list[str] | None) -> dict[str, dict[str, Any]]:
    """solver:name=value of --option, as a dict of dicts."""
    settings: dict[str, dict[str, Any]] = {}
    for text in options or ():
        solver, colon, rest = text.partition(":")
        if not colon:
            raise InvalidGame(f"--option {text}: expected solver:name=value.")
        settings.setdefault(solver, {}).update(settings_of([rest]))
    return settings


def _summary(comparison: Comparison, bad: int) -> str:
    return f"{len(comparison.rows) - bad} of {len(comparison.rows)} verified and as good as the best of their game"


def _tell(comparison: Comparison, bad: int) -> None:
    print(f"\n{_summary(comparison, bad)}\n")
    if comparison.table["game"].nunique() > 1:
        shares = comparison.profile(points=[1, 2, 5, 10, 100])
        print(f"Share of games so answered within a factor τ of the fastest:\n{shares}\n")
