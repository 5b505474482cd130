"""Random expressions with poles, kinks, ends of domains and overflow, for Pyomo and mpmath, and what refutes a claim.

    python tests/helpers/random_expressions.py 100000        # all of it: claims by Hessians and by structure
    python tests/helpers/random_expressions.py 100000 7      # with another seed

The oracle is a chord in fifty digits: it knows nothing of derivatives, intervals or rules. What is multiplied by 0 is
0, and what is raised to 0 is 1, even where it has no value: that is how solvers read it.
"""

from __future__ import annotations

import logging
import operator
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import mpmath
import pyomo.environ as pyo

from stackpyomo.core.expressions import Curvature, curvature, is_convex_on_box

BOXES = [(-2, 2), (-1, 1), (0, 3), (0, 1), (0.1, 2), (-5, -0.5), (-3, 0), (-1e-3, 1e3), (0.5, 0.75), (-9, 9), (1, 100)]
NUMBERS = [0.0, 1.0, -1.0, 2.0, 0.5, -0.3, 0.1, 3.0, 1e8, -1e-8, 1e200]
LARGE = mpmath.mpf(10) ** 400  # what has overflown
POWERS = [2, 3, 4, 5, -1, -2, -3, -4, 0.5, 1.5, -0.5, 1 / 3, 2 / 3, 2.5, 0, 1, -0.7]
UNARY = ["exp", "log", "log10", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan", "abs"]
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "twice": lambda f, g: f * f + g
}  # fmt: skip

Tree = tuple[Any, ...]
Boxes = Mapping[str, tuple[float, float]]


def drawn(rng: random.Random, names: str, depth: int = 3) -> Tree:
    """A tree of operations; its leaves are numbers, names and lines through them."""
    kind = rng.random()
    if depth == 0 or kind < 0.15:
        name = ("name", rng.choice(names))
        shift, factor = ("number", rng.choice(NUMBERS[:8])), ("number", rng.choice(NUMBERS[:9]))
        return rng.choice(
            [name, name, ("+", name, shift), ("*", factor, name), ("+", ("*", factor, name), shift), shift]
        )
    if kind < 0.35:
        return ("power", drawn(rng, names, depth - 1), rng.choice(POWERS))
    if kind < 0.55:
        return (rng.choice(UNARY), drawn(rng, names, depth - 1))
    if kind < 0.65:
        return ("*", ("number", rng.choice(NUMBERS)), drawn(rng, names, depth - 1))
    if kind < 0.8:
        bowl = ("*", ("number", rng.choice([1.0, 10.0, 100.0, 1e6])), ("power", ("name", rng.choice(names)), 2))
        return ("+", drawn(rng, names, depth - 1), bowl)
    return (rng.choice(list(BINARY)), drawn(rng, names, depth - 1), drawn(rng, names, depth - 1))


def grown(tree: Tree, leaves: Mapping[str, Any], world: Any) -> Any:
    """The tree's value over Pyomo Vars (``world`` is pyo) or over mpmath's numbers (mpmath)."""
    kind = tree[0]
    if kind == "name":
        return leaves[tree[1]]
    if kind == "number":
        return tree[1] if world is pyo else mpmath.mpf(tree[1])
    if world is mpmath and is_zero(tree):
        return mpmath.mpf(0)
    if world is mpmath and kind == "power" and tree[2] == 0:
        return grown(("number", 1.0), leaves, world)
    parts = [grown(part, leaves, world) for part in tree[1:] if isinstance(part, tuple)]
    if kind == "power":
        exponent = tree[2] if world is pyo or isinstance(tree[2], int) else mpmath.mpf(tree[2])
        value = parts[0] ** exponent
    else:
        function = abs if kind == "abs" else BINARY.get(kind) or getattr(world, kind)
        value = function(*parts)
    if isinstance(value, (complex, mpmath.mpc)) or (world is mpmath and not abs(value) < LARGE):
        raise ValueError("no real number")
    return value


def is_zero(tree: Tree) -> bool:
    """True for 0, and for products and sums that are 0 whatever the leaves are."""
    parts = [is_zero(part) for part in tree[1:] if isinstance(part, tuple)]
    if tree[0] == "number":
        return bool(tree[1] == 0.0)
    return {"*": any, "/": lambda p: p[0], "+": all, "-": all, "power": lambda p: tree[2] > 0 and p[0]}.get(
        tree[0], lambda _: False
    )(parts)


def value_at(tree: Tree, point: Mapping[str, Any]) -> Any:
    """The value in fifty digits; None where there is none."""
    try:
        return grown(tree, point, mpmath)
    except (ValueError, ArithmeticError):
        return None


def chord_breaks(tree: Tree, boxes: Boxes, sign: int, rng: random.Random, trials: int) -> Any:
    """Two points and one between them that refute that sign · f is convex; None if none of the trials does."""
    with mpmath.workdps(50):
        for _ in range(trials):
            near = rng.choice([1.0, 1.0, 0.1, 1e-3])
            first = {n: rng.choice([lo, hi, rng.uniform(lo, hi), rng.uniform(lo, hi)]) for n, (lo, hi) in boxes.items()}
            far = {n: rng.choice([lo, hi, rng.uniform(lo, hi)]) for n, (lo, hi) in boxes.items()}
            a = {n: mpmath.mpf(x) for n, x in first.items()}
            b = {n: a[n] + mpmath.mpf(near) * (mpmath.mpf(far[n]) - a[n]) for n in boxes}
            t = mpmath.mpf(rng.choice([0.5, rng.random()]))
            c = {n: t * a[n] + (1 - t) * b[n] for n in boxes}
            at, over = value_at(tree, a), value_at(tree, b)
            if at is None or over is None:
                continue
            between = value_at(tree, c)
            if between is None:
                return first, far, "no value between"
            chord, size = t * at + (1 - t) * over, abs(at) + abs(over) + abs(between)
            if sign * (between - chord) > mpmath.mpf(10) ** -11 * size + mpmath.mpf(10) ** -30:
                return first, far, mpmath.nstr(sign * (between - chord), 5)
    return None


def claims(tree: Tree, boxes: Boxes) -> dict[str, int]:
    """{who claims: +1 convex, −1 concave}; raises what Python raises where constants have no value."""
    m = pyo.ConcreteModel()
    for name, box in boxes.items():
        m.add_component(name, pyo.Var(bounds=box))
    expression = grown(tree, {name: m.component(name) for name in boxes}, pyo)
    told = {}
    proof = curvature(expression).curvature
    if proof in (Curvature.CONVEX, Curvature.AFFINE, Curvature.CONSTANT):
        told["structure"] = 1
    if proof in (Curvature.CONCAVE, Curvature.AFFINE, Curvature.CONSTANT):
        told["structure, concave"] = -1
    if len(boxes) == 1 and proof is not Curvature.CONVEX:
        (var,) = m.component_data_objects(pyo.Var)
        for sign in (1, -1):
            if is_convex_on_box(sign * expression, var):
                told["intervals" if sign > 0 else "intervals, concave"] = sign
    return told


def hunt(count: int, seed: int = 0, trials: int = 25) -> tuple[Counter[str], list[Any]]:
    """(claims made by who made them, those refuted) over ``count`` random expressions."""
    rng, made, refuted = random.Random(seed), Counter[str](), []
    for number in range(count):
        names = "x" if number % 2 else rng.choice(["x", "xy"])
        tree, boxes = drawn(rng, names), {name: rng.choice(BOXES) for name in names}
        try:
            told = claims(tree, boxes)
        except (ValueError, ArithmeticError, TypeError):
            continue
        for who, sign in told.items():
            made[who] += 1
            if why := chord_breaks(tree, boxes, sign, rng, trials):
                refuted.append((who, tree, boxes, why))
    return made, refuted


if __name__ == "__main__":
    logging.disable()  # Pyomo tells of every constant without a value
    made, refuted = hunt(*map(int, sys.argv[1:]))
    for row in refuted[:50]:
        print(*row, sep="\n    ")
    print("claims", dict(made), "refuted", dict(Counter(row[0] for row in refuted)))
    sys.exit(bool(refuted))
