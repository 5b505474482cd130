"""Places: JSON whose parts know their line and column, so that an error can name them."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Container, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from stackpyomo.errors import GameFileError

from .formulas import NESTING, finite, nearest, show

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
    """The JSON of a file whose parts know their places; raises :class:`GameFileError`."""
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
    return f"{show(value)} is given twice in one object; remove one of them." if value in taken else ""


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
        present = self.value.get(key) is not None
        return self.part(key, f"{key} of {self.label}") if present else None

    def need(self, key: str, remedy: str) -> Item:
        part = self.get(key)
        if part is None:
            raise self.fault(f"has no {key!r}; {remedy}.")
        return part

    def only(self, *known: str) -> None:
        """Refuse a key that would otherwise be passed over, such as a misspelt one."""
        self.get("")
        for key in self.value:
            if key not in known:
                message = f"unknown field {show(key)}; {nearest(str(key), known)}"
                raise self.part(key, self.label).fault(message)

    def entries(self, key: str) -> list[Item]:
        """The entries of the list under ``key``, none if it is missing."""
        part = self.get(key)
        if part is None:
            return []
        if not isinstance(part.value, (list, tuple)):
            raise part.fault(f"expected a list [...], found {show(part.value)}.")
        labels = (f"{key[:-1]} {i} of {self.label}" for i in count(1))
        return [part.part(i, next(labels)) for i in range(len(part.value))]

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.fault(f'expected a string "...", found {show(self.value)}.')
        return self.value

    def number(self) -> float:
        if isinstance(self.value, bool) or (number := finite(self.value)) is None:
            raise self.fault(f"expected a finite number, or null, found {show(self.value)}.")
        return number
