"""Writing a game as one JSON object of the format ``stackpyomo-game/1``."""

from __future__ import annotations

import copy
import json
import math
import os
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import pyomo.environ as pyo

from stackpyomo.errors import GameFileError, InvalidGame
from stackpyomo.games.aggregates import assigned
from stackpyomo.games.players import Follower, Player
from stackpyomo.games.structure import GameStructure

from .formulas import BLOCK_WORDS, FORMAT, MODEL_WORDS, ROOT, Printer, finite, legal, unique


def write_game(game: GameStructure, path: str | os.PathLike[str]) -> None:
    """Write the game to a JSON file; raises :class:`InvalidGame` for what the format cannot say."""
    whole = document(game)
    try:
        text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"{game.name}: its metadata is not JSON ({error}); remove or correct it."
        raise InvalidGame(message) from error
    try:
        Path(path).write_text(text + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise GameFileError(f"cannot be written: {reason}.", path=os.fspath(path)) from error


def document(game: GameStructure) -> dict[str, Any]:
    """The game as a ``stackpyomo-game/1`` object; raises :class:`InvalidGame` if it cannot be one.

    Names become identifiers, unique in the game and as short as that allows. Fixed variables,
    Params and named Expressions are written as what they now stand for; what is inactive is left
    out, and so is a constraint that holds whatever the players do.
    """
    printer = Printer(identifiers(game))
    taken = {printer.names[id(var)] for var in game.leader.variables}
    leaders = []
    for name, player in game.leaders.items():
        short = unique(legal(name), taken, MODEL_WORDS)
        taken.add(short)
        leaders.append({"name": short, **_player(player, printer)})
    leader = _common(game, printer) if leaders else _player(game.leader, printer, {id(row) for row in game.aggregates})
    if game.aggregates:
        leader["aggregates"] = list(_definitions(game, printer))
    followers = []
    for name, follower in game.followers.items():
        short = unique(legal(name), taken, MODEL_WORDS)
        taken.add(short)
        size = "inf" if follower.size == math.inf else int(follower.size)
        noise = {"noise": _noise(follower, printer)} if follower.noise else {}
        rest = _player(follower, printer, {id(row) for row in game.shared})
        followers.append({"name": short, "size": size, **noise, **rest})
    couplings = _couplings(game, [entry["name"] for entry in followers], printer)
    head = {"format": FORMAT, "name": str(game.name)}
    metadata = {key: copy.deepcopy(value) for key, value in game.metadata.items() if key not in ROOT}
    several = {"leaders": leaders} if leaders else {}
    players = {"leader": leader, **several, "followers": followers}
    return {**head, **metadata, **players, **couplings, **_asked(game, printer)}


def _asked(game: GameStructure, printer: Printer) -> dict[str, Any]:
    """The plan to be held and what the leader sees, where the game says so."""
    names = {name: printer.names[id(var)] for name, var in game.variables_by_name.items() if id(var) in printer.names}
    target = {names[name]: level for name, level in game.target.items() if name in names}
    seen = [item if isinstance(item, str) else printer.printed(item, game.leader).text for item in game.observe]
    return {**({"target": target} if target else {}), **({"observe": seen} if seen else {})}


def _couplings(game: GameStructure, called: list[str], printer: Printer) -> dict[str, Any]:
    """Prices and shared rows, where there are any; called: what the followers are called in the file."""
    fields: dict[str, Any] = {}
    names = dict(zip(game.followers, called, strict=True))
    if game.prices:
        prices = ((printer.names[id(p.var)], names[p.follower], printer.row(p.row)) for p in game.prices)
        fields["prices"] = {name: {"follower": follower, "row": row} for name, follower, row in prices}
    if game.shared:
        fields["shared"] = printer.rows(row for row in game.shared if row.active)
    return fields


def _noise(follower: Follower, printer: Printer) -> list[dict[str, Any]]:
    """Each scenario of a member's own: its probability, and what the member decides in it."""
    assert follower.noise is not None
    scenarios = list(zip(follower.variables, follower.scenarios(), strict=True))
    return [
        {
            "probability": probability,
            "variables": [printer.names[id(v)] for v, scenario in scenarios if scenario == place],
        }
        for place, probability in enumerate(follower.noise.probabilities)
    ]


def _common(game: GameStructure, printer: Printer) -> dict[str, Any]:
    """What no leader of several owns: aggregates and rows that bind all."""
    apart = {id(part) for player in game.leaders.values() for part in [*player.variables, *player.rows]}
    rows = (row for row in game.leader.constraints if id(row) not in apart | {id(row) for row in game.aggregates})
    variables = [v for v in game.leader.variables if id(v) not in apart]
    return {
        "variables": [_variable(var, printer.names[id(var)]) for var in variables],
        "constraints": printer.rows(rows),
    }


def _definitions(game: GameStructure, printer: Printer) -> Iterator[Any]:
    """The equalities; with the variable that each defines where the text alone would leave a choice."""
    for var, row in assigned(game.definitions, game.actions):
        if text := printer.row(row) if row.active else "":
            yield text if var is None else {"variable": printer.names[id(var)], "row": text}


def identifiers(game: GameStructure) -> dict[int, str]:
    """id(Var) → its name in the file: its own if no other has it, else led by its Blocks' names."""
    owned = [(var, MODEL_WORDS) for var in game.leader.variables]
    owned += [(var, BLOCK_WORDS) for f in game.followers.values() for var in f.variables]
    short = {id(var): legal(var.local_name) for var, _ in owned}
    often = Counter(short.values())
    owns = [id(v) for v, words in owned if often[short[id(v)]] == 1 and short[id(v)] not in words]
    names = {key: short[key] for key in owns}
    taken = set(names.values())
    for var, words in owned:
        if id(var) not in names:
            names[id(var)] = unique(legal(var.name), taken, words)
            taken.add(names[id(var)])
    return names


def _player(player: Player, printer: Printer, apart: Container[int] = ()) -> dict[str, Any]:
    """The fields of one player; a constraint whose id is in ``apart`` is written elsewhere."""
    for component in player.unsupported:
        kind = component.ctype.__name__
        raise InvalidGame(f"{component.name}: {FORMAT} has no {kind}; rewrite it as constraints.")
    objective = player.objective
    if objective is None:
        raise InvalidGame(f"{player.name}: needs one active objective; write 0 for a player without one.")
    return {
        "variables": [_variable(var, printer.names[id(var)]) for var in player.variables],
        "objective": printer.printed(objective.expr, objective).text,
        "sense": "minimize" if objective.sense == pyo.minimize else "maximize",
        "constraints": printer.rows(row for row in player.constraints if id(row) not in apart),
    }


def _variable(var: Any, name: str) -> dict[str, Any]:
    if not (var.is_continuous() or var.is_integer() or var.is_binary()):
        remedy = "write it with integer variables, or keep the game in a Python file"
        raise InvalidGame(f"{var.name}: {FORMAT} has real and integer variables only, no {var.domain}; {remedy}.")
    try:
        numbers = {"lb": var.lb, "ub": var.ub, "start": var.value}
    except ValueError as error:  # a bound without a finite value
        raise InvalidGame(f"{error}; correct it.") from None
    entry = {key: finite(value) for key, value in numbers.items() if value is not None}
    if None in entry.values() or (var.has_lb() and var.has_ub() and var.lb > var.ub):
        raise InvalidGame(f"{var.name}: bounds {var.bounds}, value {var.value}; correct them.")
    return {"name": name, **entry, **({} if var.is_continuous() else {"integer": True})}
