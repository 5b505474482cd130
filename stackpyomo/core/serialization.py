"""Interchange: numbers as JSON has them, files written, and the errors for a document or a file that will not do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stackpyomo.errors import InvalidGame

__all__ = ["floats", "json_number", "json_numbers", "readable", "real", "said", "writable"]


def json_number(value: float | None) -> float | str | None:
    """A JSON-safe number: NaN is null, infinities are strings, and 0 has no sign."""
    if value is None or math.isnan(value):
        return None
    return float(value) + 0.0 if math.isfinite(value) else ("inf" if value > 0 else "-inf")


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


def json_numbers(values: Mapping[str, float]) -> dict[str, Any]:
    """:func:`json_number` of every value."""
    return {name: json_number(value) for name, value in values.items()}


def floats(values: Mapping[str, Any]) -> dict[str, float]:
    """:func:`real` of every value."""
    return {name: real(value) for name, value in values.items()}
