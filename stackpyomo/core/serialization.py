"""Interchange: numbers as JSON has them, files written, and the errors for a document or a file that will not do."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from stackpyomo.errors import InvalidGame


def json_number(value: float | None) -> float | str | None:
    """A JSON-safe number: NaN is null, infinities are strings, and 0 has no sign."""
    if value is None or math.isnan(value):
        return None
    return float(value) + 0.0 if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def plain(value: Any) -> Any:
    """A value as JSON keeps it; raises :class:`InvalidGame` for what it cannot."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, float):
        return json_number(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    raise InvalidGame(f"a {type(value).__name__} cannot be kept as JSON; use numbers, text, lists and dicts.")


def real(value: Any) -> float:
    """Back from JSON: null is NaN."""
    return math.nan if value is None else float(value)


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Text that :meth:`to_json` did not write is bad input."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidGame):
            raise
        raise InvalidGame(f"not the JSON that {what}.to_json() writes ({type(error).__name__}: {error}).") from None


def writable(path: str | Path, text: str) -> None:
    """Write the file; raises :class:`InvalidGame`."""
    with said(path):
        Path(path).write_text(text, encoding="utf-8")


@contextmanager
def said(path: str | Path) -> Iterator[None]:
    """What the system says of a file that cannot be written, as :class:`InvalidGame`."""
    try:
        yield
    except OSError as error:
        raise InvalidGame(f"{path}: cannot be written ({error.strerror}).") from None


def floats(values: Mapping[str, Any]) -> dict[str, float]:
    """:func:`real` of every value."""
    return {name: real(value) for name, value in values.items()}


def limits_read(pairs: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """:func:`real` of both ends of every range."""
    return {name: (real(low), real(high)) for name, (low, high) in pairs.items()}


_FORMS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "float": (json_number, real),
    "dict[str, float]": (plain, floats),
    "dict[str, tuple[float, float]]": (plain, limits_read),
    "tuple[str, ...]": (plain, tuple),
}  # How a field of a dataclass is written in JSON and read back, by its annotation; any other is written as it is.


def fields_to_json(thing: Any, leave: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a dataclass but for some, as JSON has them."""
    chosen = [f for f in fields(thing) if f.name not in leave]
    return {f.name: _FORMS.get(str(f.type), (_same, _same))[0](getattr(thing, f.name)) for f in chosen}


def fields_from_json(kind: Any, data: Mapping[str, Any], leave: Collection[str] = ()) -> dict[str, Any]:
    """Of a document the fields of a dataclass but for some; what it does not have is left to the field's default."""
    chosen = [f for f in fields(kind) if f.name in data and f.name not in leave]
    return {f.name: _FORMS.get(str(f.type), (_same, _same))[1](data[f.name]) for f in chosen}


def _same(value: Any) -> Any:
    return value
