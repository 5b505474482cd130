"""Game files: the JSON format ``stackpyomo-game/1``, read with positions, written from any game.

Nothing in a file is run as Python: :mod:`stackpyomo.games.files.formulas` checks and builds the expressions.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import pyomo.environ as pyo

from stackpyomo.core import clipped
from stackpyomo.errors import GameFileError, InvalidGame
from stackpyomo.games.aggregates import Definition
from stackpyomo.games.noise import Noise, noise_of
from stackpyomo.games.players import Population

from .formulas import MEAN, MODEL_WORDS, SENSES, Formula, legal, nearest, show, unique, usable
from .places import Item, load_json

Rows: TypeAlias = list[tuple[str, Any]]  #: (text without blanks, row).

_PLAYER = ("variables", "objective", "sense", "constraints")


SENSES |= dict.fromkeys(("maximize", "max"), pyo.maximize)


def read_entries(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The objects of a catalogue, or the one of a game file; :func:`parse_game` reads each of them."""
    document = load_json(os.fspath(path))
    return [document] if isinstance(document, dict) else read_games(path)


def read_games(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The objects in a catalogue, a JSON list of games; :func:`parse_game` reads each of them."""
    document = load_json(os.fspath(path))
    if not isinstance(document, list):
        raise GameFileError("does not hold a list of games; use read_game().", path=os.fspath(path))
    for entry in Item({"games": document}, "the catalogue", os.fspath(path)).entries("games"):
        entry.get("format")
    return document


def declare(player: Item, block: Any, variables: dict[str, Any], *more: str) -> None:
    """Add the player's variables to its block, and to those known by name."""
    player.only(*_PLAYER, *more)
    player.need("variables", "an empty list for a player that decides nothing")
    for entry in player.entries("variables"):
        entry.only("name", "lb", "ub", "start", "integer")
        name = _variable_name(entry.need("name", "give it one"), block, variables)
        entry = replace(entry, label=f"variable {show(name)} of {player.label}")
        lower, upper = _bound(entry, "lb", -math.inf), _bound(entry, "ub", math.inf)
        if lower is not None and upper is not None and lower > upper:
            raise entry.fault(f"lb {lower} lies above ub {upper}; swap or correct them.")
        domain = pyo.Integers if _is_whole(entry) else pyo.Reals
        variables[name] = var = pyo.Var(bounds=(lower, upper), domain=domain)
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


def _is_whole(variable: Item) -> bool:
    item = variable.get("integer")
    if item is not None and not isinstance(item.value, bool):
        raise item.fault(f"expected true or false, found {show(item.value)}.")
    return item is not None and item.value


def _bound(variable: Item, key: str, none: float) -> float | None:
    item = variable.get(key)
    return None if item is None or item.value in (none, str(none)) else item.number()


def name_of(player: Item) -> str:
    """What a leader or follower is called."""
    return player.need("name", "give it one").text()


def read_block(item: Item, name: str, model: Any, variables: dict[str, Any], *more: str) -> Any:
    """A Block with the player's variables."""
    block = pyo.Block(concrete=True)
    model.add_component(unique(legal(name), model.component_map(), MODEL_WORDS), block)
    declare(item, block, variables, "name", *more)
    return block


def read_leaders(entries: Sequence[Item], model: Any, variables: dict[str, Any]) -> dict[str, tuple[Item, Any]]:
    """Name → (a leader of several, its Block with its variables)."""
    leaders: dict[str, tuple[Item, Any]] = {}
    for entry in entries:
        name = name_of(entry)
        if name in leaders:
            raise entry.fault(f"the name {show(name)} is taken; give every leader its own.")
        item = replace(entry, label=f"leader {show(name)}")
        leaders[name] = item, read_block(item, name, model, variables)
    return leaders


def common_leader(root: Item) -> Item:
    """What binds several leaders together: aggregates and rows, without an objective."""
    leader = root.get("leader")
    if leader is None:
        return Item({"variables": []}, "leader", root.path)
    for field in ("objective", "sense"):
        if (part := leader.get(field)) is not None:
            raise part.fault("each of 'leaders' has its own; move it there.")
    return leader


def read_follower(item: Item, name: str, model: Any, variables: dict[str, Any]) -> Population:
    """A Block with the follower's variables, and how many followers it stands for."""
    block = read_block(item, name, model, variables, "size", "noise")
    size, noise = item.get("size") or Item(1, "size"), _read_noise(item, block)
    try:
        return Population(block, math.inf if size.value == "inf" else size.value, noise)
    except InvalidGame:
        given = f"found {show(size.value)}"
        raise size.fault(f'expected a whole number from 1 on, or "inf", {given}.') from None


def _read_noise(follower: Item, block: Any) -> Noise | None:
    """Scenarios of a member's own: [{"probability": ..., "variables": what it decides in it}, ...]."""
    scenarios = follower.entries("noise")
    if not scenarios:
        return None
    probabilities, members = [], list[frozenset[str]]()
    for scenario in scenarios:
        scenario.only("probability", "variables")
        probabilities.append(scenario.need("probability", "write a number above 0").number())
        names = scenario.entries("variables")
        for name in names:
            if not isinstance(block.component(name.text()), pyo.Var) or any(name.text() in other for other in members):
                raise name.fault(f"{show(name.value)} is not a variable of this follower, or is in another scenario.")
        members.append(frozenset(name.text() for name in names))
    try:
        weighed = noise_of(dict(enumerate(probabilities)), follower.label)
    except InvalidGame as error:
        raise follower.part("noise", follower.label).fault(str(error).partition(": ")[2]) from None
    assert weighed is not None
    return replace(weighed, members=tuple(members))


def read_wishes(player: Item, goal: str, block: Any, variables: Mapping[str, Any]) -> Rows:
    """Objective and constraints, which may hold the variables of every player; the constraints, each with its text."""
    wish = player.need("objective", "0 for a player without one")
    sense = player.get("sense")
    if sense and sense.text() not in SENSES:
        raise sense.fault(f"{show(sense.value)} is unknown; write minimize or maximize.")
    direction = SENSES[sense.value if sense else "minimize"]
    objective = pyo.Objective(expr=_formula(wish, variables).value(), sense=direction)
    block.add_component(unique(goal, block.component_map()), objective)
    return read_rows(player, "constraints", block, variables)


def read_rows(player: Item, key: str, block: Any, variables: Mapping[str, Any]) -> Rows:
    """The rows under ``key``, each with its text."""
    entries = player.entries(key)
    rows = _listed(entries, key, block, variables)
    return [(_bare(entry.text()), row) for entry, row in zip(entries, rows, strict=True)]


def _bare(text: str) -> str:
    return "".join(text.split())


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
        name = entry.need("variable", "name the aggregate that the row defines")
        if name.text() not in variables:
            raise name.fault(f"unknown name {show(name.value)}; {nearest(name.value, variables)}")
        named, rows = [*named, variables[name.value]], [*rows, entry.need("row", "write the equality")]
    pairs = list(zip(named, _listed(rows, "aggregates", model, variables), strict=True))
    for entry, (_, row) in zip(rows, pairs, strict=True):
        if not row.equality:
            raise entry.fault("is not an equality, which an aggregate needs; write ==.")
    return pairs


def declare_prices(root: Item, model: Any, variables: dict[str, Any]) -> None:
    """A Var for every price that the leader's variables do not declare."""
    for item in _prices(root):
        item.only("follower", "row")
        name = item.label.removeprefix("price ")
        if name not in variables:
            variables[name] = var = pyo.Var()
            model.add_component(_variable_name(replace(item, value=name), model, {}), var)


def read_prices(
    root: Item, variables: Mapping[str, Any], blocks: Mapping[str, Any], rows: Mapping[str, Rows], shared: Rows
) -> list[Any]:
    """(Var, (row, follower)) of every price; a row is found by its text, blanks left out.

    blocks, rows: follower's name → its Block, its rows. shared: the rows that several followers feel.
    """
    prices = []
    for item in _prices(root):
        whose = item.need("follower", "name whose row it is the multiplier of")
        if whose.text() not in blocks:
            raise whose.fault(f"unknown follower {show(whose.value)}; {nearest(whose.value, blocks)}")
        text = item.need("row", "write the row as it stands among the follower's constraints")
        known = dict(reversed([*rows[whose.value], *shared]))
        if _bare(text.text()) not in known:
            raise text.fault(f"{show(text.value)} is not a row of {whose.value}; {nearest(_bare(text.value), known)}")
        var = variables[item.label.removeprefix("price ")]
        prices.append((var, (known[_bare(text.value)], blocks[whose.value])))
    return prices


def _prices(root: Item) -> list[Item]:
    """The entries of "prices", an object by the name of the Var."""
    prices = root.get("prices")
    if prices is None:
        return []
    prices.get("")  # an object
    return [prices.part(name, f"price {name}") for name in prices.value]


def _formula(item: Item, variables: Mapping[str, Any]) -> Formula:
    return Formula(item.text(), variables, lambda message, at: item.fault(message, at + 1))


def read_target(root: Item, variables: Mapping[str, Any]) -> dict[str, float]:
    """Variable → its value in the plan to be held: a number, or a formula of numbers ("85/24"). The Vars are set."""
    target = root.get("target")
    if target is None:
        return {}
    if not isinstance(target.value, Mapping):
        raise target.fault(f"expected an object {{variable: value}}, found {show(target.value)}.")
    levels = {}
    for name in target.value:
        item = target.part(name, f"target of {show(name)}")
        if name not in variables:
            raise item.fault(f"unknown name {show(name)}; {nearest(str(name), variables)}")
        levels[name] = float(_formula(item, {}).value()) if isinstance(item.value, str) else item.number()
    for name, var in variables.items():
        if name in levels:
            var.set_value(levels[name], skip_validation=True)
        elif var.value is None:  # to be chosen with the incentive
            var.set_value(clipped(0.0, var))
    return {variables[name].name: level for name, level in levels.items()}


def read_observe(root: Item, variables: Mapping[str, Any]) -> list[str]:
    """What the leader sees, as it is written: "actions", or formulas of actions; "mean of v" is a population's mean."""
    signals = []
    for item in root.entries("observe"):
        text = item.text()
        inside = text.removeprefix(MEAN)
        if text != "actions":
            _formula(replace(item, value=inside), variables).value()
        signals.append(text)
    return signals
