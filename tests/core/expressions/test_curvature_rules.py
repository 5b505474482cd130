"""Rules of curvature: what they call convex or concave is so along random chords, and their ranges hold."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from stackpyomo.core.expressions.curvature_rules import UNARY, Shape, number_of

LOW, HIGH = 0.25, 2.0
X = Shape(True, True, LOW, HIGH, slope=(0, 1))

CASES: dict[str, tuple[Shape, Callable[[float], float]]] = {
    "x²": (X.power(2.0), lambda x: x**2),
    "x^1.5": (X.power(1.5), lambda x: x**1.5),
    "√x": (UNARY["sqrt"](X), math.sqrt),
    "1/x": (X.power(-1.0), lambda x: 1 / x),
    "exp(x²)": (UNARY["exp"](X.power(2.0)), lambda x: math.exp(x**2)),
    "log x": (UNARY["log"](X), math.log),
    "x·exp(x)": (X * UNARY["exp"](X), lambda x: x * math.exp(x)),
    "x·log x": (X * UNARY["log"](X), lambda x: x * math.log(x)),
    "x²/(3−x)": (X.power(2.0) / (number_of(3.0) + -X), lambda x: x**2 / (3 - x)),
    "max(x, 1)": (X.maximum(number_of(1.0)), lambda x: max(x, 1.0)),
    "−exp(−x)": (-UNARY["exp"](-X), lambda x: -math.exp(-x)),
    "2^x": (number_of(2.0) ** X, lambda x: 2**x),
    "sin x": (UNARY["sin"](X), math.sin),
    "cos x": (UNARY["cos"](X), math.cos),
    "tanh x": (UNARY["tanh"](X), math.tanh),
    "√x·(3−x)": (UNARY["sqrt"](X) * (number_of(3.0) + -X), lambda x: math.sqrt(x) * (3 - x)),
}

CONVEX = {"x²", "x^1.5", "1/x", "exp(x²)", "x·exp(x)", "x²/(3−x)", "max(x, 1)", "2^x"}
CONCAVE = {"√x", "log x", "−exp(−x)", "sin x", "tanh x"}


@pytest.mark.parametrize("name", CASES)
def test_what_is_claimed_holds_along_chords(name: str) -> None:
    shape, function = CASES[name]
    random = np.random.default_rng(0)
    for first, second, share in random.uniform(0, 1, (300, 3)):
        a, b = LOW + (HIGH - LOW) * first, LOW + (HIGH - LOW) * second
        middle, chord = function(share * a + (1 - share) * b), share * function(a) + (1 - share) * function(b)
        assert not shape.convex or middle <= chord + 1e-12
        assert not shape.concave or middle >= chord - 1e-12
        assert shape.lo - 1e-12 <= middle <= shape.hi + 1e-12


@pytest.mark.parametrize("name", [name for name in CASES if name in CONVEX | CONCAVE])
def test_textbook_functions_are_known(name: str) -> None:
    shape, _ = CASES[name]
    assert (shape.convex, shape.concave) == (name in CONVEX, name in CONCAVE)


def test_what_has_no_value_is_no_shape() -> None:
    with pytest.raises(ValueError, match="finite"):
        Shape(True, True, math.inf, math.inf)
    with pytest.raises(ZeroDivisionError):
        number_of(0.0).power(-1.0)
