"""``stackpyomo verify``: re-solve the followers against a plan or an incentive that a file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stackpyomo.core import writable
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game
from stackpyomo.incentives import Incentive
from stackpyomo.plans import Plan
from stackpyomo.reporting import page
from stackpyomo.studies import tuned
from stackpyomo.verification import verify
from stackpyomo.version import __version__

from .app import (
    GameArgument,
    JsonOption,
    LogOption,
    ParameterOption,
    ReportOption,
    SettingOption,
    SolverOption,
    deliver,
    logged,
    one_line_errors,
    require_writable,
    results_only,
    typed,
)
from .console import show
from .inputs import load, read, settings_of, titled

__all__ = ["verify_command"]

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
    """Re-solve every follower against a plan or an incentive; without one, against the values of the model.

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
        document = json.loads(written)
        if plan_from is not None:
            return Plan.from_json(json.dumps(document.get("plan", document)), game), None
        if "incentive" in document:
            if document["incentive"] is None:
                raise InvalidGame("holds no incentive; none was found.")
            document = {**document["incentive"], "plan": document["plan"]}
        rule = Incentive.from_json(json.dumps(document), game)
    except (InvalidGame, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = error if isinstance(error, InvalidGame) else "is not what solve --json writes."
        raise InvalidGame(f"{path}: {reason}") from None
    return rule.plan, rule
