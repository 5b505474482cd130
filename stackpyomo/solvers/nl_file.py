"""Problems as text: AMPL's .nl format, written by Pyomo and changed in place; and the one that has none."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pyomo.common.errors import InfeasibleConstraintException, InvalidValueError
from pyomo.repn.plugins.nl_writer import NLWriter

from stackpyomo.core import Array, intercepted

_UNLIMITED = 1e19  # POUNCE and Ipopt read bounds beyond this as none.


class UndefinedValue(Exception):
    """The .nl writer met a number that is not finite."""


def write_nl(model: Any, path: Path) -> Any:
    """Write the model as it is. Of a constant part without value Pyomo's writer warns, or lets a NaN pass."""
    try:
        with intercepted("pyomo.repn") as warned, path.open("w", newline="\n", encoding="utf-8") as stream:
            info = NLWriter().write(model, stream, linear_presolve=False, scale_model=False)
    except InfeasibleConstraintException:
        raise
    except (InvalidValueError, ArithmeticError, ValueError):
        raise UndefinedValue from None
    if "Exception encountered evaluating" in warned.getvalue() or b"nan" in path.read_bytes():
        raise UndefinedValue
    return info


def rewritten(
    text: bytes, start: Array | None, limits: tuple[tuple[Array, Array], tuple[Array, Array]] | None
) -> bytes:
    """The .nl text with another start, and with other bounds of variables and of rows; None: as they are."""
    if start is not None:
        lines = (f"{i} {value!r}" for i, value in enumerate(start.tolist()))
        text = replaced_segment(text, rb"^x\d+[^\n]*\n(?:\d+ [^\n]*\n)*", [f"x{len(start)}", *lines])
    for segment, (lower, upper) in zip("br", limits or (), strict=False):
        if len(lower):
            pattern = rf"^{segment}(?:[ \t][^\n]*)?\n(?:[0-4][^\n]*\n)*".encode()
            text = replaced_segment(text, pattern, [segment, *map(bounds_line, lower.tolist(), upper.tolist())])
    return text


def replaced_segment(text: bytes, segment: bytes, lines: Sequence[str]) -> bytes:
    """The .nl text with one segment written anew."""
    block = "\n".join(lines).encode() + b"\n"
    text, count = re.subn(segment, lambda _: block, text, count=1, flags=re.M)
    assert count == 1
    return text


def bounds_line(lower: float, upper: float) -> str:
    """A line of a .nl file's bounds."""
    if lower == upper:
        return f"4 {lower!r}"
    if lower == -math.inf:
        return "3" if upper == math.inf else f"1 {upper!r}"
    return f"2 {lower!r}" if upper == math.inf else f"0 {lower!r} {upper!r}"


def without_limits(bounds: Any) -> Array:
    """Bounds as floats, ±inf where a solver reads none."""
    array = np.array(bounds, dtype=float)
    array[array <= -_UNLIMITED] = -math.inf
    array[array >= _UNLIMITED] = math.inf
    return array


class Nothing:
    """A problem without variables, which no solver reads: its rows hold, its objective is a number."""

    n = m = 0
    x0 = x_l = x_u = g_l = g_u = np.zeros(0)

    def __init__(self, objective: float) -> None:
        self._value = objective

    def objective(self, _x: Array) -> float:
        return self._value

    def gradient(self, _x: Array) -> Array:
        return np.zeros(0)

    constraints = jacobian = gradient

    def hessian(self, _x: Array, _weights: Array, _factor: float) -> Array:
        return np.zeros(0)

    def jacobian_structure(self) -> tuple[Array, Array]:
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int)

    hessian_structure = jacobian_structure
