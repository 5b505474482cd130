"""Derivatives of trees: one differentiation for all members of a family, whose numbers and Vars stay where they are.

    ∂(g h) = h ∂g + g ∂h        ∂(g / h) = ∂g / h − g ∂h / h²        ∂ f(g) = f′(g) ∂g

What is 0 is left out, and so are factors of 1. A number that no member has of its own stands in the tree: ("n", 2.0).
"""

from __future__ import annotations

from collections.abc import Callable

from .reader import Tree

__all__ = ["derived", "product"]

_ONE: Tree = ("n", 1.0)


def derived(tree: Tree, slot: int) -> Tree | None:
    """∂tree/∂(the Var in this slot); None where it is 0. Exponents of ``^^`` are data."""
    kind = tree[0]
    if kind in ("c", "n", "v"):
        return _ONE if tree == ("v", slot) else None
    if kind == "f":
        inner = derived(tree[2], slot)
        return inner and product(_OUTER[tree[1]](tree[2]), inner)
    if kind == "^":
        inner = derived(tree[2], slot)
        return inner and product(product(("n", float(tree[1])), _power(tree[2], tree[1] - 1)), inner)
    if kind == "^^":
        inner, less = derived(tree[1], slot), ("+", tree[2], ("n", -1.0))
        return inner and product(product(tree[2], ("^^", tree[1], less)), inner)
    parts = [derived(part, slot) for part in tree[1:]]
    if kind == "+":
        return _total(*parts)
    if kind == "-":
        return parts[0] and ("-", parts[0])
    left, right = tree[1:]
    if kind == "*":
        return _total(parts[0] and product(parts[0], right), parts[1] and product(left, parts[1]))
    falling = parts[1] and ("-", ("/", product(left, parts[1]), ("^", 2, right)))
    return _total(parts[0] and ("/", parts[0], right), falling)


def product(left: Tree, right: Tree) -> Tree:
    """The product of two trees."""
    return right if left == _ONE else left if right == _ONE else ("*", left, right)


def _total(*parts: Tree | None) -> Tree | None:
    there = [part for part in parts if part is not None]
    return None if not there else there[0] if len(there) == 1 else ("+", *there)


def _power(tree: Tree, power: int) -> Tree:
    return _ONE if power == 0 else tree if power == 1 else ("^", power, tree)


_OUTER: dict[str, Callable[[Tree], Tree]] = {
    "exp": lambda inner: ("f", "exp", inner),
    "log": lambda inner: ("/", _ONE, inner),
    "sqrt": lambda inner: ("/", ("n", 0.5), ("f", "sqrt", inner)),
    "sin": lambda inner: ("f", "cos", inner),
    "cos": lambda inner: ("-", ("f", "sin", inner)),
    "tanh": lambda inner: ("+", _ONE, ("-", ("^", 2, ("f", "tanh", inner)))),
}  #: f′, by the name of f.
