"""``stackpyomo fit``: followers' parameters from a table of what was announced and what they did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from typer import Argument, Option

from stackpyomo.analysis import fit
from stackpyomo.errors import InvalidGame
from stackpyomo.version import __version__

from .app import Answer, command
from .inputs import incentive_from, load
from .options import GameArgument, SeedOption, SolverOption, StartsOption

__all__ = ["fit_command"]

_EXAMPLE = "models/metered_tariff.py models/data/evenings.csv --parameter worth --parameter slope"


@command(_EXAMPLE, name="fit", offers="option json log")
def fit_command(
    game: GameArgument,
    data: Annotated[Path, Argument(help="A CSV file: a row for each time, columns by component name.")],
    parameter: Annotated[
        list[str] | None,
        Option("--parameter", help="A mutable Param to be fitted, name or name=lower,upper; repeatable."),
    ] = None,
    build: Annotated[list[str] | None, Option("--build", help="name=value for build(); repeatable.")] = None,
    method: Annotated[str, Option(help="responses, or residuals: of the optimality conditions.")] = "responses",
    noise: Annotated[
        float | None, Option(help="How far a reading may be off; also says which values explain every row.")
    ] = None,
    rule: Annotated[
        list[str] | None,
        Option(help="label=FILE: the rule of the rows with that label in column rule, as solve --json wrote it."),
    ] = None,
    candidates: Annotated[
        Path | None, Option(help="A CSV file of what could be announced next, ranked by what it would reveal.")
    ] = None,
    solver: SolverOption = "auto",
    starts: StartsOption = 1,
    seed: SeedOption = 0,
    time_limit: Annotated[float | None, Option(help="Seconds for the search.")] = None,
) -> Answer:
    """Estimate followers' parameters from what was announced and what they did; say what the data leave open.

    Exit code 0: the data determine every parameter. 1: they leave a combination open.
    """
    loaded, _ = load(game, build or [])
    rules = {}
    for text in rule or []:
        label, _, path = text.partition("=")
        rules[label] = incentive_from(Path(path), loaded)
    search: dict[str, Any] = {
        "method": method,
        "solver": solver,
        "starts": starts,
        "time_limit": time_limit,
        "seed": seed,
    }
    estimate = fit(loaded, _table(data), _parameters(parameter or []), rules=rules or None, noise=noise, **search)
    ranked = None if candidates is None else estimate.next(_table(candidates), rules=rules or None)
    document: dict[str, Any] = {"game": loaded.name, "version": __version__, "fit": estimate.as_dict()}
    if ranked is not None:
        document["next"] = json.loads(ranked.astype({"gain": str}).to_json(orient="records"))

    def tell() -> None:
        print(estimate)
        if ranked is not None:
            print(f"The most informative comes first:\n{ranked.to_string()}")

    return Answer(document, tell, 0 if estimate.rank == len(estimate.names) else 1)


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
