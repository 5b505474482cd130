"""Proofs of convexity: random expressions against dense samples; poles, kinks, domains and overflow included."""

from __future__ import annotations

from typing import Any

import numpy as np

from stackpyomo.core.expressions import Curvature, curvature, is_convex_on_box
from stackpyomo.verification.halved_boxes import bends_up_on_box

from .drafts import Box, Draft, Side, evaluated, number
from .ledger import Ledger
from .oracles import is_bent_down

__all__ = ["hunt"]

_TAIL = """
from stackpyomo.core.expressions import curvature, is_convex_on_box
from stackpyomo.verification.halved_boxes import bends_up_on_box
print(curvature(m.goal.expr))
if len(m.goal.expr.args) and {single}:
    print(is_convex_on_box(m.goal.expr, x0))
if not {single}:
    print(bends_up_on_box(m.goal.expr, [x0, x1]))
"""
_EXPRESSIONS = 20
"""Expressions of one game of this hunt."""


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """Is what is proved of random expressions so?"""
    for _ in range(_EXPRESSIONS):
        count = 1 if random.random() < 0.6 else 2
        boxes = {f"x{i}": _box(random) for i in range(count)}
        text = " + ".join(_term(random, list(boxes), 3) for _ in range(random.integers(1, 4)))
        draft = Draft(Side(boxes, text), [], {n: b[0] for n, b in boxes.items()})
        try:
            m = draft.model()
        except (ArithmeticError, ValueError):
            continue
        if not hasattr(m.goal.expr, "args"):
            continue
        script = draft.script(_TAIL.format(single=count == 1))
        proof = curvature(m.goal.expr).curvature
        ledger.claim(f"structure: {proof.value}") if proof is Curvature.UNKNOWN else None
        box = list(boxes.values())

        def values(z: Any, sign: int = 1, text: str = text) -> Any:
            return sign * evaluated(text, {f"x{i}": column for i, column in enumerate(z.T)}) + np.zeros(len(z))

        if proof in (Curvature.CONVEX, Curvature.AFFINE, Curvature.CONSTANT):
            _judged(f"structure: {proof.value}", values, box, random, ledger, script)
        if proof in (Curvature.CONCAVE, Curvature.AFFINE, Curvature.CONSTANT):
            _judged(f"structure: {proof.value}", lambda z: values(z, -1), box, random, ledger, script)
        if proof is Curvature.NONCONVEX:
            straight = all(is_bent_down(lambda z, s=s: values(z, s), box, random) is None for s in (1, -1))
            ledger.claim("structure: nonconvex", not straight, f"{text}: no sample of it", script)
        if count == 1:
            if is_convex_on_box(m.goal.expr, m.x0):
                _judged("interval: convex", values, box, random, ledger, script)
            else:
                ledger.claim("interval: nothing proved")
        elif bends_up_on_box(m.goal.expr, [m.x0, m.x1]):
            _judged("boxes: convex", values, box, random, ledger, script)
        else:
            ledger.claim("boxes: nothing proved")


def _judged(word: str, cost: Any, box: list[Box], random: np.random.Generator, ledger: Ledger, script: str) -> None:
    bent = is_bent_down(cost, box, random)
    ledger.claim(word, bent is None, f"midpoint above the chord: {bent}", script)


def _box(random: np.random.Generator) -> Box:
    low = round(float(random.uniform(-3, 2)), 2)
    boxes = [(-2.0, 2.0), (low, low + 1.0), (low, low + 3.0), (0.0, 2.0), (0.1, 3.0), (-1000.0, 1000.0), (0.0, 1e-6)]
    return boxes[int(random.integers(len(boxes)))]


def _term(random: np.random.Generator, names: list[str], depth: int) -> str:
    """A random expression: products, powers, quotients and functions of one another."""
    c, d = (number(round(float(random.choice([-1, 1]) * random.uniform(0.1, 2.0)), 2)) for _ in range(2))
    if depth == 0 or random.random() < 0.15:
        return f"({c}*{random.choice(names)} + {d})" if random.random() < 0.6 else str(random.choice(names))
    f = _term(random, names, depth - 1)
    g = _term(random, names, depth - 2) if depth > 1 else str(random.choice(names))
    power = random.choice(["2", "3", "4", "(-1)", "(-2)", "(-3)", "(-4)", "0.5", "1.5", "2.5", "(-0.5)", "(1/3)", "0"])
    shapes = [
        f"{c}*{f}",
        f"({f} + {g})",
        f"({f} - {g})",
        f"({f})*({g})",
        f"{c}/({f})",
        f"({f})/({g})",
        f"({f})**{power}",
        f"({f})**{power}",
        f"exp({f})",
        f"exp(-({f})**2)",
        f"log({f})",
        f"log(1 + exp({f}))",
        f"sqrt({f})",
        f"sqrt(1 + ({f})**2)",
        f"abs({f})",
        f"{random.choice(['sin', 'cos', 'tan', 'tanh', 'sinh', 'cosh', 'atan'])}({f})",
        f"({f})*log({f})",
        f"({f})*exp({g})",
        f"({f})**2/({g})",
        f"{number(abs(float(c.strip('()'))))}**({f})",
        f"exp({number(300.0)}*({f}))",
    ]
    return str(random.choice(shapes))
