"""``stackpyomo fit``: followers' parameters from a table of what was announced and what they did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from stackpyomo.analysis import fit
from stackpyomo.errors import InvalidGame

from .app import Answer, command
from .console import show_parts, show_table
from .inputs import incentive_from, load

_EXAMPLE = "models/metered_tariff.py models/data/evenings.csv --parameter worth --parameter slope"


@command(
    _EXAMPLE,
    name="fit",
    offers="option json log",
    parameter="A mutable Param to be fitted, name or name=lower,upper; repeatable.",
    time_limit="Seconds for the search.",
)
def fit_command(
    game: Path,
    data: Path,
    parameter: list[str] | None = None,
    build: list[str] | None = None,
    method: str = "responses",
    noise: float | None = None,
    rule: list[str] | None = None,
    candidates: Path | None = None,
    solver: str = "auto",
    starts: int = 1,
    seed: int = 0,
    time_limit: float | None = None,
) -> Answer:
    """Estimate followers' parameters from what was announced and what they did; say what the data leave open.

    Exit code 0: the data determine every parameter. 1: they leave a combination open.
    """
    loaded, _ = load(game, build or [])
    rules = {}
    for text in rule or []:
        label, _, path = text.partition("=")
        rules[label] = incentive_from(Path(path), loaded)
    search: dict[str, Any] = {"method": method, "solver": solver, "starts": starts, "time_limit": time_limit}
    given = _table(data), _parameters(parameter or [])
    estimate = fit(loaded, *given, rules=rules or None, noise=noise, seed=seed, **search)
    ranked = None if candidates is None else estimate.next(_table(candidates), rules=rules or None)
    document: dict[str, Any] = {"game": loaded.name, "fit": estimate.as_dict()}
    if ranked is not None:
        document["next"] = json.loads(ranked.astype({"gain": str}).to_json(orient="records"))

    def tell() -> None:
        show_parts(estimate.parts())
        if ranked is not None:
            print("The most informative comes first:")
            show_table(ranked)

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
