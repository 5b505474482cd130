"""Checks of plain arguments: whole numbers and positive ones."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

from stackpyomo.errors import InvalidGame


def require_whole(name: str, number: Any, least: int = 1) -> None:
    """Raise :class:`InvalidGame` unless the argument is an integer ≥ ``least``."""
    if isinstance(number, bool) or not isinstance(number, Integral) or int(number) < least:
        raise InvalidGame(f"{name}={number!r}: expected an integer from {least} on.")


def require_positive(name: str, number: Any, *, none: bool = False, zero: bool = False) -> None:
    """Raise :class:`InvalidGame` unless the argument is a finite number > 0 (or None, or 0, where that is allowed)."""
    if number is None and none:
        return
    if isinstance(number, bool) or not isinstance(number, Real) or not 0 <= float(number) < math.inf:
        raise InvalidGame(f"{name}={number!r}: expected a finite number {'from 0 on' if zero else 'above 0'}.")
    if not number and not zero:
        raise InvalidGame(f"{name}={number!r}: expected a finite number above 0.")
