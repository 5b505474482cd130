"""``stackpyomo compare``: games by several solvers and treatments, side by side."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from stackpyomo.core import said
from stackpyomo.errors import InvalidGame
from stackpyomo.reporting import formats, table_page
from stackpyomo.studies import Settings, compare, entries_of, machine, ways

from .app import Answer, command
from .console import show_comparison
from .inputs import load, settings_of


@command(
    "models/literature/bilevel.json --solver auto,scip --plot profiles.png",
    name="compare",
    offers="json report log",
    solver="Solvers, separated by commas; all: every one that is known.",
    complementarity="Treatments (scholtes, penalty, …), separated by commas.",
    option="solver:name=value for one of the solvers; repeatable.",
)
def compare_command(
    games: Path,
    solver: str = "auto",
    complementarity: str = "auto",
    time_limit: float = Settings.time_limit,
    starts: int = 1,
    ties: str = Settings.ties,
    equilibrium: str = Settings.equilibrium,
    seed: int = 0,
    option: list[str] | None = None,
    jobs: int = 1,
    parameter: list[str] | None = None,
    plot_to: Path | None = None,
) -> Answer:
    """Solve every game by every solver and treatment, all followers responding; compare what each proved.

    Exit code 0: every answer is verified, and as good as the best.
    """
    if plot_to is not None and plot_to.suffix and plot_to.suffix[1:].lower() not in formats():
        raise InvalidGame(f"{plot_to}: pictures are drawn as {', '.join(formats())}; end the name so.")
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
        with said(plot_to):
            comparison.plot().figure.savefig(plot_to)
    document = {"machine": machine(), "games": os.fspath(games), **comparison.as_dict()}
    code = 1 if len(comparison.disagreements()) else 0
    rows = comparison.table.drop(columns=["stages", "error"])
    make_page = partial(table_page, games.name, comparison.summary(), rows)
    return Answer(document, partial(show_comparison, comparison), code, make_page)


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
