"""``stackpyomo fit``: followers' parameters from a table of what was announced and what they did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from stackpyomo.analysis import Fit
from stackpyomo.analysis import fit as fitted
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game
from stackpyomo.incentives import Incentive
from stackpyomo.studies import tuned
from stackpyomo.version import __version__

from .app import (
    GameArgument,
    JsonOption,
    LogOption,
    SeedOption,
    SettingOption,
    SolverOption,
    StartsOption,
    app,
    deliver,
    logged,
    one_line_errors,
    require_writable,
    results_only,
)
from .inputs import load, read, settings_of

__all__ = []


_EXAMPLE = "models/metered_tariff.py models/data/evenings.csv --parameter worth --parameter slope"


@app.command(epilog=f"Example: stackpyomo fit {_EXAMPLE}")
@one_line_errors()
def fit(
    game: GameArgument,
    data: Annotated[Path, typer.Argument(help="A CSV file, a row for each time, columns by component name.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", help="Mutable Param to be fitted: name or name=lower,upper; may be repeated."),
    ] = None,
    build: Annotated[list[str] | None, typer.Option("--build", help="name=value handed to build().")] = None,
    method: Annotated[str, typer.Option(help="responses, or residuals: of the optimality conditions.")] = "responses",
    noise: Annotated[
        float | None, typer.Option(help="How far a reading may be off: what explains every row is told, too.")
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(help="label=FILE: the rule of the rows labelled so in column rule, as solve --json wrote it."),
    ] = None,
    candidates: Annotated[
        Path | None, typer.Option(help="A CSV file of what could be announced next, ranked by what it would tell.")
    ] = None,
    solver: SolverOption = "auto",
    option: SettingOption = None,
    starts: StartsOption = 1,
    seed: SeedOption = 0,
    time_limit: Annotated[float | None, typer.Option(help="Seconds for the search.")] = None,
    json_to: JsonOption = None,
    log_to: LogOption = None,
) -> None:
    """Tell followers' parameters from what was announced and what they did, and what the data leave open.

    Exit code 0: every parameter is told. 1: the data leave a combination open.
    """
    require_writable(json_to)
    with results_only(), logged(log_to), tuned(solver, settings_of(option)):
        loaded, _ = load(game, build or [])
        rules = _rules(rule or [], loaded)
        estimate = fitted(
            loaded,
            _table(data),
            _parameters(parameter or []),
            method=method,
            rules=rules or None,
            noise=noise,
            solver=solver,
            starts=starts,
            time_limit=time_limit,
            seed=seed,
        )
        ranked = None if candidates is None else estimate.next(_table(candidates), rules=rules or None)
    _deliver(loaded, estimate, ranked, json_to)
    raise typer.Exit(0 if estimate.rank == len(estimate.names) else 1)


def _deliver(game: Game, estimate: Fit, ranked: pd.DataFrame | None, json_to: str | None) -> None:
    document: dict[str, Any] = {"game": game.name, "version": __version__, "fit": estimate.as_dict()}
    if ranked is not None:
        document["next"] = json.loads(ranked.astype({"gain": str}).to_json(orient="records"))
    if not deliver(document, json_to):
        print(estimate)
        if ranked is not None:
            print(f"What tells most comes first:\n{ranked.to_string()}")


def _table(path: Path) -> pd.DataFrame:
    """The rows of a CSV file; raises :class:`InvalidGame` for one that cannot be read."""
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InvalidGame(f"{path}: cannot be read as CSV ({getattr(error, 'strerror', None) or error}).") from None


def _parameters(given: list[str]) -> Any:
    """Names, or names with bounds, as :func:`stackpyomo.fit` takes them."""
    pairs = [text.partition("=") for text in given]
    bounded = [bool(sign) for _, sign, _ in pairs]
    if not pairs or (any(bounded) and not all(bounded)):
        raise InvalidGame("--parameter: name each to be fitted, all with bounds (name=lower,upper) or none.")
    if not any(bounded):
        return [name for name, _, _ in pairs]
    return {name: tuple(_numbers(name, ends)) for name, _, ends in pairs}


def _numbers(name: str, ends: str) -> list[float]:
    try:
        return [float(end) for end in ends.split(",")]
    except ValueError:
        raise InvalidGame(f"--parameter {name}={ends}: expected lower,upper, two numbers.") from None


def _rules(given: list[str], game: Game) -> Mapping[str, Incentive]:
    """Label → rule, from what ``solve --json`` wrote; raises :class:`InvalidGame` for what holds none."""
    rules = {}
    for text in given:
        label, _, path = text.partition("=")
        try:
            document = json.loads(read(Path(path)))
            whole = {**document["incentive"], "plan": document["plan"]}
            rules[label] = Incentive.from_json(json.dumps(whole), game)
        except (ValueError, TypeError, KeyError) as error:
            reason = error if isinstance(error, InvalidGame) else "is not what solve --json writes"
            raise InvalidGame(f"--rule {text}: {reason}") from None
    return rules
