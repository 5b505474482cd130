"""Game files: the JSON format ``stackpyomo-game/1``, read with positions, written from any game.

Nothing in a file is run as Python: :class:`_Formula` checks the syntax tree of an expression node
by node and builds Pyomo from it; :class:`_Printer` turns Pyomo back into such an expression.
"""

from __future__ import annotations

import ast
import copy
import difflib
import json
import keyword
import math
import operator
import os
import re
import reprlib
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, chain, count, islice
from numbers import Complex, Real
from pathlib import Path
from typing import Any, NamedTuple

import pyomo.environ as pyo
from pyomo.common.numeric_types import native_types
from pyomo.core.expr import numeric_expr as trees
from pyomo.core.expr.visitor import StreamBasedExpressionVisitor

from .errors import GameFileError, InvalidGame
from .games import Game, Leader, Population
from .results import TOLERANCES

__all__ = ["FORMAT", "document", "parse_game", "read_game", "read_games", "write_game"]

FORMAT = "stackpyomo-game/1"
_LENGTH = 1_000_000  # characters of one expression
_NESTING = 100  # brackets within brackets, in the JSON and in an expression
_GROUP = 100  # terms written side by side before a sum is split into groups
_ROOT = ("format", "name", "leader", "followers")
_PLAYER = ("variables", "objective", "sense", "constraints")
_SENSES = dict.fromkeys(("minimize", "min"), pyo.minimize)
_SENSES |= dict.fromkeys(("maximize", "max"), pyo.maximize)
_MODEL_WORDS = frozenset(dir(pyo.ConcreteModel()))  # what Pyomo lets no component be called
_BLOCK_WORDS = frozenset(dir(pyo.Block(concrete=True)))
_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80
_show = _brief.repr

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


def _load(path: str) -> Any:
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
    if depth > _NESTING:
        return f"is nested more than {_NESTING} deep; flatten it."
    return f"{_show(value)} stands twice in one object; remove one of them." if value in taken else ""


@dataclass(frozen=True)
class _Item:
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

    def part(self, key: Any, label: str) -> _Item:
        place = getattr(self.value, "places", {}).get(key, self.place)
        return _Item(self.value[key], label, self.path, place)

    def get(self, key: str) -> _Item | None:
        """The value under ``key``; None if it is missing or null."""
        if not isinstance(self.value, Mapping):
            raise self.fault(f"expected an object {{...}}, found {_show(self.value)}.")
        found = self.value.get(key) is not None
        return self.part(key, f"{key} of {self.label}") if found else None

    def need(self, key: str, remedy: str) -> _Item:
        found = self.get(key)
        if found is None:
            raise self.fault(f"has no {key!r}; {remedy}.")
        return found

    def only(self, *known: str) -> None:
        """Refuse a key that would otherwise be passed over, such as a misspelt one."""
        self.get("")
        for key in self.value:
            if key not in known:
                message = f"unknown field {_show(key)}; {_nearest(str(key), known)}"
                raise self.part(key, self.label).fault(message)

    def entries(self, key: str) -> list[_Item]:
        """The entries of the list under ``key``, none if it is missing."""
        found = self.get(key)
        if found is None:
            return []
        if not isinstance(found.value, (list, tuple)):
            raise found.fault(f"expected a list [...], found {_show(found.value)}.")
        labels = (f"{key[:-1]} {i} of {self.label}" for i in count(1))
        return [found.part(i, next(labels)) for i in range(len(found.value))]

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.fault(f'expected a string "...", found {_show(self.value)}.')
        return self.value

    def number(self) -> float:
        if isinstance(self.value, bool) or (number := _finite(self.value)) is None:
            raise self.fault(f"expected a finite number, or null, found {_show(self.value)}.")
        return number


def read_game(path: str | os.PathLike[str]) -> Game:
    """The game in a JSON file; raises :class:`GameFileError` naming line, column and component."""
    found = _load(os.fspath(path))
    if isinstance(found, list):
        raise GameFileError("holds a list of games; use read_games().", path=os.fspath(path))
    return parse_game(found, path=os.fspath(path))


def read_games(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The objects in a catalogue, a JSON list of games; :func:`parse_game` reads each of them."""
    found = _load(os.fspath(path))
    if not isinstance(found, list):
        raise GameFileError("does not hold a list of games; use read_game().", path=os.fspath(path))
    for entry in _Item({"games": found}, "the catalogue", os.fspath(path)).entries("games"):
        entry.get("format")
    return found


def parse_game(document: Mapping[str, Any], *, path: str = "") -> Game:
    """The game in a ``stackpyomo-game/1`` object; raises :class:`GameFileError`.

    The leader's variables become Vars of a ConcreteModel, each follower a Block of it. Fields the
    format does not know (source, reference, ...) are kept in ``game.metadata``.
    """
    root = _Item(document, "game", path, getattr(document, "places", {}).get(None))
    version = root.need("format", f'write "format": "{FORMAT}"')
    if version.text() != FORMAT:
        raise version.fault(f"{_show(version.value)} is not supported; write {FORMAT!r}.")
    named = root.get("name")
    name = named.text() if named else None
    leader = replace(root.need("leader", "give it variables and an objective"), label="leader")
    if not (entries := root.entries("followers")):
        raise root.fault("has no 'followers'; list at least one.")
    model, variables = pyo.ConcreteModel(name=name), dict[str, Any]()
    _declare(leader, model, variables, "aggregates")
    players: dict[str, tuple[_Item, Population]] = {}
    for entry in entries:
        called = entry.need("name", "give it one").text()
        if called in players:
            raise entry.fault(f"the name {_show(called)} is taken; give every follower its own.")
        follower = replace(entry, label=f"follower {_show(called)}")
        players[called] = follower, _follower(follower, called, model, variables)
    aggregates = _rows(leader, "aggregates", model, variables)
    _wishes(leader, "objective", model, variables)
    for follower, population in players.values():
        _wishes(follower, "cost", population.block, variables)
    populations = [population for _, population in players.values()]
    try:
        game = Game(model, populations, aggregates=aggregates, name=name)
    except InvalidGame as error:
        raise root.fault(str(error)) from error
    game.metadata = {key: copy.deepcopy(document[key]) for key in document if key not in _ROOT}
    return game


def _declare(player: _Item, block: Any, variables: dict[str, Any], *more: str) -> None:
    player.only(*_PLAYER, *more)
    player.need("variables", "an empty list will do for who decides nothing")
    for entry in player.entries("variables"):
        entry.only("name", "lb", "ub", "start")
        name = _variable_name(entry.need("name", "give it one"), block, variables)
        entry = replace(entry, label=f"variable {_show(name)} of {player.label}")
        lower, upper = _bound(entry, "lb", -math.inf), _bound(entry, "ub", math.inf)
        if lower is not None and upper is not None and lower > upper:
            raise entry.fault(f"lb {lower} lies above ub {upper}; exchange or correct them.")
        variables[name] = var = pyo.Var(bounds=(lower, upper))
        block.add_component(name, var)
        if start := entry.get("start"):
            var.set_value(start.number(), skip_validation=True)  # may lie outside the bounds


def _variable_name(item: _Item, block: Any, variables: Mapping[str, Any]) -> str:
    name = item.text()
    if not _usable(name):
        kind = "a Python identifier that is neither a keyword nor a function of the format"
        raise item.fault(f"{_show(name)} is not {kind}; rename it.")
    if name in variables:
        raise item.fault(f"{_show(name)} is declared twice in the game; rename one of them.")
    if hasattr(block, name):
        raise item.fault(f"{name!r} is reserved by Pyomo; rename it, for instance {name}_.")
    return name


def _bound(variable: _Item, key: str, none: float) -> float | None:
    item = variable.get(key)
    return None if item is None or item.value in (none, str(none)) else item.number()


def _follower(item: _Item, name: str, model: Any, variables: dict[str, Any]) -> Population:
    block = pyo.Block(concrete=True)
    model.add_component(_unique(_legal(name), model.component_map(), _MODEL_WORDS), block)
    _declare(item, block, variables, "name", "size")
    size = item.get("size") or _Item(1, "size")
    try:
        return Population(block, math.inf if size.value == "inf" else size.value)
    except InvalidGame:
        found = f"found {_show(size.value)}"
        raise size.fault(f'expected a whole number from 1 on, or "inf", {found}.') from None


def _wishes(player: _Item, goal: str, block: Any, variables: Mapping[str, Any]) -> None:
    """Objective and constraints, which may hold the variables of every player."""
    wish = player.need("objective", "0 will do for who has no wish")
    sense = player.get("sense")
    if sense and sense.text() not in _SENSES:
        raise sense.fault(f"{_show(sense.value)} is unknown; write minimize or maximize.")
    direction = _SENSES[sense.value if sense else "minimize"]
    objective = pyo.Objective(expr=_formula(wish, variables).value(), sense=direction)
    block.add_component(_unique(goal, block.component_map()), objective)
    _rows(player, "constraints", block, variables)


def _rows(player: _Item, key: str, block: Any, variables: Mapping[str, Any]) -> list[Any]:
    entries = player.entries(key)
    if not entries:
        return []
    rows = pyo.ConstraintList()
    block.add_component(_unique(key, block.component_map()), rows)
    made = [rows.add(_formula(entry, variables).relation()) for entry in entries]
    for entry, row in zip(entries, made, strict=True):
        if key == "aggregates" and not row.equality:
            raise entry.fault("is not an equality, which an aggregate needs; write ==.")
    return made


def _formula(item: _Item, variables: Mapping[str, Any]) -> _Formula:
    return _Formula(item.text(), variables, lambda message, at: item.fault(message, at + 1))


def write_game(game: Game, path: str | os.PathLike[str]) -> None:
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


def document(game: Game) -> dict[str, Any]:
    """The game as a ``stackpyomo-game/1`` object; raises :class:`InvalidGame` if it cannot be one.

    Names become identifiers, unique in the game and as short as that allows. Fixed variables,
    Params and named Expressions are written as what they now stand for; what is inactive is left
    out, and so is a constraint that holds whatever the players do.
    """
    printer = _Printer(_names(game))
    leader = _player(game.leader, printer, {id(row) for row in game.aggregates})
    if game.aggregates:
        leader["aggregates"] = printer.rows(row for row in game.aggregates if row.active)
    followers, taken = [], {printer.names[id(var)] for var in game.leader.variables}
    for name, follower in game.followers.items():
        short = _unique(_legal(name), taken, _MODEL_WORDS)
        taken.add(short)
        size = "inf" if follower.size == math.inf else int(follower.size)
        followers.append({"name": short, "size": size, **_player(follower, printer)})
    head = {"format": FORMAT, "name": str(game.name)}
    kept = {key: copy.deepcopy(value) for key, value in game.metadata.items() if key not in _ROOT}
    return {**head, **kept, "leader": leader, "followers": followers}


def _names(game: Game) -> dict[int, str]:
    """id(Var) → its name in the file: its own if no other has it, else led by its Blocks' names."""
    owned = [(var, _MODEL_WORDS) for var in game.leader.variables]
    owned += [(var, _BLOCK_WORDS) for f in game.followers.values() for var in f.variables]
    short = {id(var): _legal(var.local_name) for var, _ in owned}
    often = Counter(short.values())
    owns = [id(v) for v, words in owned if often[short[id(v)]] == 1 and short[id(v)] not in words]
    names = {key: short[key] for key in owns}
    taken = set(names.values())
    for var, words in owned:
        if id(var) not in names:
            names[id(var)] = _unique(_legal(var.name), taken, words)
            taken.add(names[id(var)])
    return names


def _player(player: Leader, printer: _Printer, apart: Container[int] = ()) -> dict[str, Any]:
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
    entry = {key: _finite(value) for key, value in numbers.items() if value is not None}
    if None in entry.values() or (var.has_lb() and var.has_ub() and var.lb > var.ub):
        raise InvalidGame(f"{var.name}: bounds {var.bounds}, value {var.value}; correct them.")
    return {"name": name, **entry}


class _Text(NamedTuple):
    """A piece of an expression; rank: 1 sum, 2 product, 3 negation, 4 power, 5 never bracketed."""

    text: str
    rank: int
    number: float | None = None

    def within(self, rank: int) -> str:
        return self.text if self.rank >= rank else f"({self.text})"


class _Printer(StreamBasedExpressionVisitor):
    """Pyomo expressions as Python arithmetic that reads back to the same values."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.names = names
        self.component: Any = None  # whose expression this is, for errors

    def fault(self, message: str, _at: int = 0) -> InvalidGame:
        return InvalidGame(f"{self.component.name}: {message}")

    def printed(self, expression: Any, component: Any) -> _Text:
        self.component = component
        found: _Text = self.walk_expression(expression)
        _Formula(found.text, {}, self.fault)  # refuses here what could not be read
        return found

    def rows(self, constraints: Iterable[Any]) -> list[str]:
        return [row for row in map(self.row, constraints) if row]

    def row(self, constraint: Any) -> str:
        """The constraint as a string, empty if it holds whatever the players do."""
        try:
            lower, body, upper = constraint.to_bounded_expression(evaluate_bounds=True)
        except ValueError as error:
            raise InvalidGame(f"{constraint.name}: {error}") from None
        low = -math.inf if lower is None else float(lower)
        high = math.inf if upper is None else float(upper)
        text, _, number = self.printed(body, constraint)
        slack = TOLERANCES.feasibility * max(1.0, abs(number or 0.0))
        if low > high or (number is not None and not low - slack <= number <= high + slack):
            raise self.fault("can never hold; correct it, or free one of its variables.")
        if number is not None or (lower is None and upper is None):
            return ""
        if low == high:
            return f"{text} == {_literal(low).text}"
        left = "" if lower is None else f"{_literal(low).text} <= "
        right = "" if upper is None else f" <= {_literal(high).text}"
        return f"{left}{text}{right}"

    def initializeWalker(self, expression: Any) -> tuple[bool, Any]:
        walk, result = self.beforeChild(None, expression, 0)
        return walk, expression if walk else result

    def beforeChild(self, _parent: Any, child: Any, _index: int) -> tuple[bool, _Text | None]:
        if child.__class__ not in native_types:
            if child.is_expression_type() and child.is_potentially_variable():
                return True, None
            if child.is_variable_type() and not child.fixed:
                return False, self.variable(child)
        return False, self.constant(child)

    def exitNode(self, node: Any, parts: list[_Text]) -> _Text:
        if all(part.number is not None for part in parts):
            return self.constant(node)
        written = self.operation(node, parts)
        if len(written.text) > _LENGTH:
            raise self.fault(f"is over {_LENGTH} characters; put a variable in a part's place.")
        return written

    def variable(self, var: Any) -> _Text:
        if id(var) not in self.names:
            raise self.fault(f"{var.name} belongs to no player; activate its Block or fix it.")
        return _Text(self.names[id(var)], 5)

    def constant(self, part: Any) -> _Text:
        try:
            number = _finite(pyo.value(part, exception=False))
        except (ArithmeticError, TypeError, ValueError):
            number = None
        if number is None:
            raise self.fault(f"{_show(str(part))} has no finite value; set or correct it.")
        return _literal(number)

    def operation(self, node: Any, parts: list[_Text]) -> _Text:
        first, last = parts[0], parts[-1]
        if node.is_named_expression_type():
            return first
        match node:
            case trees.SumExpression():
                return _sum(parts)
            case trees.NegationExpression():
                return _negation(first)
            case trees.ProductExpression() if first.number in (1, -1):
                return last if first.number == 1 else _negation(last)
            case trees.ProductExpression():
                return _Text(f"{first.within(2)}*{last.within(4)}", 2)
            case trees.DivisionExpression() if last.number != 0:
                return _Text(f"{first.within(2)}/{last.within(4)}", 2)
            case trees.PowExpression():
                return _Text(f"{first.within(5)}**{last.within(5)}", 4)
            case trees.UnaryFunctionExpression() if node.getname() in _FUNCTIONS:
                return _Text(f"{node.getname()}({first.text})", 5)
            case trees.UnaryFunctionExpression() if node.getname() == "log10":
                return _Text(f"log({first.text})/{math.log(10)!r}", 2)
        raise self.fault(f"{_show(str(node))} cannot be said in {FORMAT}; {_ALLOWED}.")


def _literal(number: float) -> _Text:
    whole = number.is_integer() and abs(number) < 1e15
    text = f"{number:.0f}" if whole else repr(number)
    return _Text(text, 3 if text.startswith("-") else 5, number)


def _sum(terms: list[_Text]) -> _Text:
    """Many terms go in groups of groups: Python's parser goes one deeper at each +."""
    while len(terms) > _GROUP:
        terms = [_sum(terms[i : i + _GROUP]) for i in range(0, len(terms), _GROUP)]
    tail = (term.within(2) for term in terms[1:])
    signed = [f" - {t[1:]}" if t.startswith("-") else f" + {t}" for t in tail]
    return _Text(terms[0].text + "".join(signed), 1) if signed else terms[0]


def _negation(part: _Text) -> _Text:
    """-x*y is (-x)*y, which is the same number as -(x*y)."""
    text = f"({part.text})" if part.text.startswith("-") else part.within(2)
    return _Text(f"-{text}", 2 if part.rank == 2 else 3)


def _power(base: Any, exponent: Any) -> Any:
    """Pyomo shows x**2 for an integer exponent, x**2.0 for a float."""
    whole = isinstance(exponent, float) and exponent.is_integer() and abs(exponent) < 100
    return base ** (int(exponent) if whole and not isinstance(base, float) else exponent)


_Operations = dict[Any, Callable[..., Any]]
_CALLS = ("exp", "log", "sin", "cos", "tan", "sqrt", "sinh", "cosh", "tanh")
_FUNCTIONS: _Operations = {"abs": abs, **{name: getattr(pyo, name) for name in _CALLS}}
_UNARY: _Operations = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_BINARY: _Operations = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
_BINARY |= {ast.Div: operator.truediv, ast.Pow: _power}
_RELATIONS: _Operations = {ast.LtE: operator.le, ast.GtE: operator.ge, ast.Eq: operator.eq}
_ALLOWED = f"use numbers, declared names, + - * / **, and {' '.join(_FUNCTIONS)}"
_REFUSED = "FloorDiv // Mod % MatMult @ BitXor ^ BitAnd & BitOr | LShift << RShift >> Invert ~"
_SYMBOLS = dict(re.findall(r"(\w+) (\S+)", f"{_REFUSED} Lt < Gt > NotEq != LtE <= GtE >= Eq =="))


class _Formula:
    """An expression of a file: parsed, checked node by node, built into Pyomo.

    ``refuse`` makes the error to raise from a message and a place in the text.
    """

    def __init__(self, text: str, variables: Mapping[str, Any], refuse: Callable[[str, int], Exception]) -> None:
        self.text, self.variables, self.refuse = text.lstrip(), variables, refuse
        self.margin = len(text) - len(self.text)
        self.tree = self.parsed()

    def fault(self, message: str, where: ast.expr | int = 0) -> Exception:
        if isinstance(where, ast.expr):
            where = len(self.text.encode()[: where.col_offset].decode())
        return self.refuse(f"{message} In {_show(self.text)}", where + self.margin)

    def parsed(self) -> ast.expr:
        """The syntax tree; what is too long or deep is refused before Python's parser sees it."""
        depth = accumulate((c in "([{") - (c in ")]}") for c in self.text)
        if len(self.text) > _LENGTH or max(depth, default=0) > _NESTING:
            limits = f"{_LENGTH} characters or {_NESTING} brackets within brackets"
            raise self.fault(f"is over {limits}; put a variable in a part's place.")
        if "#" in self.text:
            raise self.fault("a comment is not allowed; move it to notes.", self.text.index("#"))
        try:
            return ast.parse(re.sub(r"\s", " ", self.text), mode="eval").body
        except SyntaxError as error:
            at = error.offset - 1 if error.offset else len(self.text)
            raise self.fault(f"{error.msg}; {_ALLOWED}, with == for equality.", at) from None
        except (RecursionError, MemoryError, ValueError) as error:
            reason = str(error) or "too deep"
            raise self.fault(f"cannot be parsed ({reason}); group terms in brackets.") from None

    def relation(self) -> Any:
        """The constraint: two sides, or constant <= expression <= constant."""
        if not isinstance(self.tree, ast.Compare):
            raise self.fault("is no constraint; add one of <=, >= or ==.")
        kinds = {type(op) for op in self.tree.ops}
        if not kinds <= set(_RELATIONS):
            wrong = next(op for op in self.tree.ops if type(op) not in _RELATIONS)
            raise self.fault(f"{_symbol(wrong)!r} makes no constraint; write <=, >= or ==.")
        sides = [self.value(side) for side in (self.tree.left, *self.tree.comparators)]
        if len(sides) > 2:
            return self.ranged(sides if ast.LtE in kinds else sides[::-1], kinds)
        held = _RELATIONS[kinds.pop()](*sides)
        if isinstance(held, bool):
            raise self.fault(f"holds no variable and is always {held}; remove or correct it.")
        return held

    def ranged(self, sides: list[Any], kinds: set[type]) -> Any:
        constant = [isinstance(side, float) for side in sides]
        chained = len(kinds) == 1 and ast.Eq not in kinds and constant == [True, False, True]
        if chained and sides[0] <= sides[2]:
            return pyo.inequality(*sides)
        form = "smaller constant <= expression <= larger constant"
        raise self.fault(f"only {form} may be chained; write two constraints.")

    def value(self, tree: ast.expr | None = None) -> Any:
        """Children before parents and without recursion: a long sum costs no stack."""
        waiting = [self.tree if tree is None else tree]
        plan: dict[ast.expr, tuple[Callable[..., Any], list[ast.expr]]] = {}
        while waiting:
            node = waiting.pop()
            plan[node] = self.operation(node)
            waiting += reversed(plan[node][1])
        values: dict[ast.expr, Any] = {}
        for node, (make, parts) in reversed(plan.items()):
            values[node] = self.computed(node, make, [values[part] for part in parts])
        return values[node]

    def operation(self, node: ast.expr) -> tuple[Callable[..., Any], list[ast.expr]]:
        """How the node is computed and from what; refuses every node that is not arithmetic."""
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return lambda: float(number), []
            case ast.Name(id=name) if name in self.variables:
                return lambda: self.variables[name], []
            case ast.UnaryOp(op=op, operand=inner) if type(op) in _UNARY:
                return _UNARY[type(op)], [inner]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return _BINARY[type(op)], [left, right]
            case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in _FUNCTIONS:
                return _FUNCTIONS[name], [inner]
            case ast.Call(func=ast.Name(id=name)) if name in _FUNCTIONS:
                raise self.fault(f"{name} takes one argument and no keyword.", node)
            case ast.Call(func=ast.Name(id=name)):
                known = ", ".join(_FUNCTIONS)
                raise self.fault(f"{_show(name)} is no function; there are {known}.", node)
            case ast.Name(id=name):
                near = _nearest(name, self.variables)
                raise self.fault(f"unknown name {_show(name)}; {near}", node)
        raise self.fault(f"{_symbol(node)!r} is not allowed; {_ALLOWED}.", node)

    def computed(self, node: ast.expr, make: Callable[..., Any], parts: list[Any]) -> Any:
        """Constants stay finite floats, so that no power of integers grows without end."""
        try:
            value = make(*parts)
        except (ArithmeticError, ValueError) as error:
            raise self.fault(f"cannot be computed ({error.args[-1]}); correct it.", node) from None
        factor = value.args[0] if isinstance(value, trees.MonomialTermExpression) else value
        if isinstance(factor, Complex) and _finite(factor) is None:
            raise self.fault(f"comes to {factor}, not to a finite number; correct it.", node)
        return float(value) if isinstance(value, Real) else value


def _symbol(node: Any) -> str:
    """What to call a node that is refused."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    kind = type(getattr(node, "op", getattr(node, "ops", [node])[0])).__name__
    return str(_SYMBOLS.get(kind, kind.lower()))


def _finite(value: Any) -> float | None:
    """The value as a float; None if it is not a finite real number."""
    try:
        return float(value) if isinstance(value, Real) and math.isfinite(value) else None
    except OverflowError:
        return None


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    listed = ", ".join(islice(known, 12)) or "none"
    return f"did you mean {near[0]!r}?" if near else f"there are {listed}."


def _usable(name: str) -> bool:
    normal = name.isidentifier() and name == unicodedata.normalize("NFKC", name)
    return normal and not keyword.iskeyword(name) and name not in _FUNCTIONS


def _legal(name: str) -> str:
    """A usable name that still looks like ``name``: gen[3].output becomes gen_3_output."""
    if _usable(name):
        return name
    letters = [c if f"_{c}".isidentifier() else "_" for c in unicodedata.normalize("NFKC", name)]
    plain = re.sub("_+", "_", "".join(letters)).strip("_")
    return plain if _usable(plain) else f"v_{plain}"


def _unique(name: str, *taken: Container[str]) -> str:
    numbered = chain([name], (f"{name}_{i}" for i in count(2)))
    return next(n for n in numbered if not any(n in names for names in taken))
