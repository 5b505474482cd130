"""Forms: a tree of one member as a function of the affine forms of its Vars that it holds.

    f(x) = g(R x)        ∂²f = Rᵀ ∂²g R        so that f bends up where g does

    (x + y) exp((x + y + 3) / 2)   →   g(t) = t exp((t + 3) / 2),  t = x + y

Second derivatives that are the same number to f are four ranges that know nothing of each other over a box of x, and
one over a range of t. Forms are told apart up to their size; coefficients are floats, as exact as the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .reader import Tree

__all__ = ["Forms"]

_Affine = tuple[dict[int, float], float]  # coefficients of Vars, and a constant


@dataclass
class Forms:
    """Affine forms as they are met: each the coefficients of Vars (by slot), the first of them 1."""

    numbers: Sequence[float]
    forms: list[dict[int, float]] = field(default_factory=list)

    def rewritten(self, tree: Tree) -> Tree:
        """The tree with forms in the places of Vars."""
        affine = self._affine(tree)
        if affine is not None:
            return self._form(*affine)
        kind = tree[0]
        if kind == "+":
            return ("+", *map(self.rewritten, tree[1:]))
        if kind in ("f", "^"):
            return (kind, tree[1], self.rewritten(tree[2]))
        if kind == "^^":
            return (kind, self.rewritten(tree[1]), tree[2])
        return (kind, *map(self.rewritten, tree[1:]))

    def _affine(self, tree: Tree) -> _Affine | None:
        """The tree as an affine function; None where it is none, or is not seen to be one."""
        kind = tree[0]
        if kind in ("c", "n"):
            return {}, float(tree[1] if kind == "n" else self.numbers[tree[1]])
        if kind == "v":
            return {tree[1]: 1.0}, 0.0
        if kind not in ("+", "-", "*", "/"):
            return None
        parts = [self._affine(part) for part in tree[1:]]
        if any(part is None for part in parts):
            return None
        known: list[_Affine] = [part for part in parts if part is not None]
        if kind == "+":
            slots = dict.fromkeys(slot for slopes, _ in known for slot in slopes)
            total = {slot: sum(slopes.get(slot, 0.0) for slopes, _ in known) for slot in slots}
            return {slot: slope for slot, slope in total.items() if slope}, sum(level for _, level in known)
        if kind == "-":
            return _times(known[0], -1.0)
        left, right = known
        if kind == "/":
            return _times(left, 1.0 / right[1]) if not right[0] and right[1] else None
        return _times(right, left[1]) if not left[0] else _times(left, right[1]) if not right[0] else None

    def _form(self, slopes: dict[int, float], level: float) -> Tree:
        if not slopes:
            return ("n", level)
        first = min(slopes)
        form = {slot: slope / slopes[first] for slot, slope in sorted(slopes.items())}
        if form not in self.forms:
            self.forms.append(form)
        var: Tree = ("v", self.forms.index(form))
        scaled = var if slopes[first] == 1.0 else ("*", ("n", slopes[first]), var)
        return ("+", scaled, ("n", level)) if level else scaled


def _times(affine: _Affine, factor: float) -> _Affine:
    slopes, level = affine
    return {slot: slope * factor for slot, slope in slopes.items() if factor}, level * factor
