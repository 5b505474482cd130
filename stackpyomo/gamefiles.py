"""Game files: the JSON format ``stackpyomo-game/1``, read with positions, written from any game.

Nothing in a file is run as Python: :mod:`stackpyomo.formulas` checks and builds the expressions.
"""

from __future__ import annotations

import copy
import json
import math
import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pyomo.environ as pyo

from .aggregates import Definition, assigned
from .errors import GameFileError, InvalidGame
from .formulas import FORMAT, NESTING, Formula, Printer, finite, legal, nearest, show, unique, usable
from .structure import GameStructure, Player, Population

__all__ = ["FORMAT", "document", "identifiers", "read_entries", "read_games", "write_game"]

ROOT = ("format", "name", "leader", "followers")
_PLAYER = ("variables", "objective", "sense", "constraints")
SENSES = dict.fromkeys(("minimize", "min"), pyo.minimize)
SENSES |= dict.fromkeys(("maximize", "max"), pyo.maximize)
MODEL_WORDS = frozenset(dir(pyo.ConcreteModel()))  # what Pyomo lets no component be called
BLOCK_WORDS = frozenset(dir(pyo.Block(concrete=True)))

_Place = tuple[int, int]  # line and column, both counted from one
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{},:]|[^][{},:"\s]+')


class _Object(dict[str, Any]):
    """A JSON object; ``places`` says where each value stands, and under None the object itself."""

    def __init__(self) -> None:
        self.places: dict[Any, _Place] = {}


class _Array(list[Any]):
    """A JSON list with the same ``places``."""

    def __init__(self) -> None:
        self.places: dict[Any, _Place] = {}


def load_json(path: str) -> Any:
    text = ""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
        json.loads(text)
    except json.JSONDecodeError as error:
        message = f"is not JSON ({error.msg if text.strip() else 'nothing in it'}); correct it here."
        raise GameFileError(message, path=path, line=error.lineno, column=error.colno) from None
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"cannot be read ({reason}); it must be a JSON file in UTF-8."
        raise GameFileError(message, path=path) from error
    return _located(text, path)


def _located(text: str, path: str) -> Any:
    """The value of a JSON text of sound syntax, its objects and lists holding their places."""
    lines = [0, *(match.end() for match in re.finditer("\n", text))]
    stack: list[Any] = [_Array()]
    key = None
    for match in _TOKEN.finditer(text):
        token, holder = match.group(), stack[-1]
        if token in "}]":
            stack.pop()
        if token in "}],:":
            continue
        value = _Object() if token == "{" else _Array() if token == "[" else json.loads(token)
        naming = isinstance(holder, _Object) and key is None
        line = bisect_right(lines, match.start())
        place = line, match.start() - lines[line - 1] + 1
        if fault := _json_fault(token, value, len(stack), holder if naming else ()):
            raise GameFileError(fault, path=path, line=place[0], column=place[1])
        if naming:
            key = value
            continue
        holder.places[len(holder) if key is None else key] = place
        holder.append(value) if key is None else holder.update({key: value})
        key = None
        if token in "{[":
            value.places[None] = place
            stack.append(value)
    return stack[0][0]


def _json_fault(token: str, value: Any, depth: int, taken: Container[str]) -> str:
    """What :mod:`json` lets pass and a game file does not; empty if nothing is wrong."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{token} is not a finite number; write null, or leave it out, for none."
    if depth > NESTING:
        return f"is nested more than {NESTING} deep; flatten it."
    return f"{show(value)} stands twice in one object; remove one of them." if value in taken else ""


@dataclass(frozen=True)
class Item:
    """A value of the document: what to call it and where it stands."""

    value: Any
    label: str
    path: str = ""
    place: _Place | None = None

    def fault(self, message: str, offset: int = 0) -> GameFileError:
        """The error to raise; ``offset`` counts characters into a string, its quote included."""
        line, column = self.place or (None, None)
        at = f" (at character {offset})" if offset and column is None else ""
        column = None if column is None else column + offset
        return GameFileError(f"{self.label}: {message}{at}", path=self.path, line=line, column=column)

    def part(self, key: Any, label: str) -> Item:
        place = getattr(self.value, "places", {}).get(key, self.place)
        return Item(self.value[key], label, self.path, place)

    def get(self, key: str) -> Item | None:
        """The value under ``key``; None if it is missing or null."""
        if not isinstance(self.value, Mapping):
            raise self.fault(f"expected an object {{...}}, found {show(self.value)}.")
        found = self.value.get(key) is not None
        return self.part(key, f"{key} of {self.label}") if found else None

    def need(self, key: str, remedy: str) -> Item:
        found = self.get(key)
        if found is None:
            raise self.fault(f"has no {key!r}; {remedy}.")
        return found

    def only(self, *known: str) -> None:
        """Refuse a key that would otherwise be passed over, such as a misspelt one."""
        self.get("")
        for key in self.value:
            if key not in known:
                message = f"unknown field {show(key)}; {nearest(str(key), known)}"
                raise self.part(key, self.label).fault(message)

    def entries(self, key: str) -> list[Item]:
        """The entries of the list under ``key``, none if it is missing."""
        found = self.get(key)
        if found is None:
            return []
        if not isinstance(found.value, (list, tuple)):
            raise found.fault(f"expected a list [...], found {show(found.value)}.")
        labels = (f"{key[:-1]} {i} of {self.label}" for i in count(1))
        return [found.part(i, next(labels)) for i in range(len(found.value))]

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.fault(f'expected a string "...", found {show(self.value)}.')
        return self.value

    def number(self) -> float:
        if isinstance(self.value, bool) or (number := finite(self.value)) is None:
            raise self.fault(f"expected a finite number, or null, found {show(self.value)}.")
        return number


def read_entries(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The objects of a catalogue, or the one of a game file; :func:`parse_game` reads each of them."""
    found = load_json(os.fspath(path))
    return [found] if isinstance(found, dict) else read_games(path)


def read_games(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The objects in a catalogue, a JSON list of games; :func:`parse_game` reads each of them."""
    found = load_json(os.fspath(path))
    if not isinstance(found, list):
        raise GameFileError("does not hold a list of games; use read_game().", path=os.fspath(path))
    for entry in Item({"games": found}, "the catalogue", os.fspath(path)).entries("games"):
        entry.get("format")
    return found


def declare(player: Item, block: Any, variables: dict[str, Any], *more: str) -> None:
    player.only(*_PLAYER, *more)
    player.need("variables", "an empty list will do for who decides nothing")
    for entry in player.entries("variables"):
        entry.only("name", "lb", "ub", "start")
        name = _variable_name(entry.need("name", "give it one"), block, variables)
        entry = replace(entry, label=f"variable {show(name)} of {player.label}")
        lower, upper = _bound(entry, "lb", -math.inf), _bound(entry, "ub", math.inf)
        if lower is not None and upper is not None and lower > upper:
            raise entry.fault(f"lb {lower} lies above ub {upper}; exchange or correct them.")
        variables[name] = var = pyo.Var(bounds=(lower, upper))
        block.add_component(name, var)
        if start := entry.get("start"):
            var.set_value(start.number(), skip_validation=True)  # may lie outside the bounds


def _variable_name(item: Item, block: Any, variables: Mapping[str, Any]) -> str:
    name = item.text()
    if not usable(name):
        kind = "a Python identifier that is neither a keyword nor a function of the format"
        raise item.fault(f"{show(name)} is not {kind}; rename it.")
    if name in variables:
        raise item.fault(f"{show(name)} is declared twice in the game; rename one of them.")
    if hasattr(block, name):
        raise item.fault(f"{name!r} is reserved by Pyomo; rename it, for instance {name}_.")
    return name


def _bound(variable: Item, key: str, none: float) -> float | None:
    item = variable.get(key)
    return None if item is None or item.value in (none, str(none)) else item.number()


def read_follower(item: Item, name: str, model: Any, variables: dict[str, Any]) -> Population:
    block = pyo.Block(concrete=True)
    model.add_component(unique(legal(name), model.component_map(), MODEL_WORDS), block)
    declare(item, block, variables, "name", "size")
    size = item.get("size") or Item(1, "size")
    try:
        return Population(block, math.inf if size.value == "inf" else size.value)
    except InvalidGame:
        found = f"found {show(size.value)}"
        raise size.fault(f'expected a whole number from 1 on, or "inf", {found}.') from None


def read_wishes(player: Item, goal: str, block: Any, variables: Mapping[str, Any]) -> None:
    """Objective and constraints, which may hold the variables of every player."""
    wish = player.need("objective", "0 will do for who has no wish")
    sense = player.get("sense")
    if sense and sense.text() not in SENSES:
        raise sense.fault(f"{show(sense.value)} is unknown; write minimize or maximize.")
    direction = SENSES[sense.value if sense else "minimize"]
    objective = pyo.Objective(expr=_formula(wish, variables).value(), sense=direction)
    block.add_component(unique(goal, block.component_map()), objective)
    read_rows(player, "constraints", block, variables)


def read_rows(player: Item, key: str, block: Any, variables: Mapping[str, Any]) -> list[Any]:
    return _listed(player.entries(key), key, block, variables)


def _listed(entries: Sequence[Item], key: str, block: Any, variables: Mapping[str, Any]) -> list[Any]:
    if not entries:
        return []
    rows = pyo.ConstraintList()
    block.add_component(unique(key, block.component_map()), rows)
    return [rows.add(_formula(entry, variables).relation()) for entry in entries]


def read_aggregates(leader: Item, model: Any, variables: Mapping[str, Any]) -> list[Definition]:
    """(the aggregate or None, its equality): an entry is the equality, or {"variable": ..., "row": the equality}."""
    named: list[Any] = []
    rows: list[Item] = []
    for entry in leader.entries("aggregates"):
        if not isinstance(entry.value, Mapping):
            named, rows = [*named, None], [*rows, entry]
            continue
        entry.only("variable", "row")
        wanted = entry.need("variable", "name the aggregate that the row defines")
        if wanted.text() not in variables:
            raise wanted.fault(f"unknown name {show(wanted.value)}; {nearest(wanted.value, variables)}")
        named, rows = [*named, variables[wanted.value]], [*rows, entry.need("row", "write the equality")]
    found = list(zip(named, _listed(rows, "aggregates", model, variables), strict=True))
    for entry, (_, row) in zip(rows, found, strict=True):
        if not row.equality:
            raise entry.fault("is not an equality, which an aggregate needs; write ==.")
    return found


def _formula(item: Item, variables: Mapping[str, Any]) -> Formula:
    return Formula(item.text(), variables, lambda message, at: item.fault(message, at + 1))


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
    leader = _player(game.leader, printer, {id(row) for row in game.aggregates})
    if game.aggregates:
        leader["aggregates"] = list(_definitions(game, printer))
    followers, taken = [], {printer.names[id(var)] for var in game.leader.variables}
    for name, follower in game.followers.items():
        short = unique(legal(name), taken, MODEL_WORDS)
        taken.add(short)
        size = "inf" if follower.size == math.inf else int(follower.size)
        followers.append({"name": short, "size": size, **_player(follower, printer)})
    head = {"format": FORMAT, "name": str(game.name)}
    kept = {key: copy.deepcopy(value) for key, value in game.metadata.items() if key not in ROOT}
    return {**head, **kept, "leader": leader, "followers": followers}


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
        raise InvalidGame(f"{player.name}: needs one active objective; 0 will do for no wish.")
    return {
        "variables": [_variable(var, printer.names[id(var)]) for var in player.variables],
        "objective": printer.printed(objective.expr, objective).text,
        "sense": "minimize" if objective.sense == pyo.minimize else "maximize",
        "constraints": printer.rows(row for row in player.constraints if id(row) not in apart),
    }


def _variable(var: Any, name: str) -> dict[str, Any]:
    if not var.is_continuous():
        remedy = "relax it (var.domain = pyo.Reals), or keep the game in a Python file"
        raise InvalidGame(f"{var.name}: {FORMAT} has continuous variables only; {remedy}.")
    try:
        numbers = {"lb": var.lb, "ub": var.ub, "start": var.value}
    except ValueError as error:  # a bound without a finite value
        raise InvalidGame(f"{error}; correct it.") from None
    entry = {key: finite(value) for key, value in numbers.items() if value is not None}
    if None in entry.values() or (var.has_lb() and var.has_ub() and var.lb > var.ub):
        raise InvalidGame(f"{var.name}: bounds {var.bounds}, value {var.value}; correct them.")
    return {"name": name, **entry}
