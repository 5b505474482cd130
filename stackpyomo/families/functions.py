"""Functions: rows of expressions read into families, evaluated at one point: values, Jacobian, second derivatives.

    f_r(x) = Σ factor · tree(x) over the members of row r        ∇²(Σ_r w_r f_r) = Σ w_r factor · ∂²tree

with the names that solver libraries give these evaluations, so that one stands where the other does.

Derivatives of trees: one differentiation for all members of a family, whose numbers and Vars stay where they are.

    ∂(g h) = h ∂g + g ∂h        ∂(g / h) = ∂g / h − g ∂h / h²        ∂ f(g) = f′(g) ∂g

What is 0 is left out, and so are factors of 1. A number that no member has of its own stands in the tree: ("n", 2.0).

Forms: a tree of one member as a function of the affine forms of its Vars that it holds.

    f(x) = g(R x)        ∂²f = Rᵀ ∂²g R        so that f bends up where g does

    (x + y) exp((x + y + 3) / 2)   →   g(t) = t exp((t + 3) / 2),  t = x + y

Second derivatives that are the same number to f are four ranges that know nothing of each other over a box of x, and
one over a range of t. Forms are told apart up to their size; coefficients are floats, as exact as the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pyomo.core.base.var import VarData

from stackpyomo.core import Array

from .reader import Family, Tree, gathered
from .sweep import Sweep, swept, takes_roots

MANY = 100  #: Rows, or followers, from which on arrays pay.
_ONE: Tree = ("n", 1.0)
_Affine = tuple[dict[int, float], float]  # coefficients of Vars, and a constant


@dataclass
class Written:
    """Rows that are families already, and the Vars that these number."""

    count: int = 0
    families: list[Family] = field(default_factory=list)
    column: dict[int, int] = field(default_factory=dict)  #: id(Var) → its column.
    variables: list[VarData] = field(default_factory=list)

    def columns(self, variables: Iterable[VarData]) -> Array:
        """Their columns; those that have none get the next ones."""
        for var in (variables := list(variables)):
            if self.column.setdefault(id(var), len(self.variables)) == len(self.variables):
                self.variables.append(var)
        return np.array([self.column[id(var)] for var in variables], dtype=np.int64)


def functions_of(expressions: Sequence[Any], more: Written | None = None) -> Functions | None:
    """The expressions as functions of all their Vars that are not fixed; None where arrays cannot hold one of them.

    more: rows that come after these.
    """
    more = more or Written()
    items = [(row, e, 1.0) for row, e in enumerate(expressions)]
    families, unread = gathered(items, more.column, more.variables)
    families += [replace(family, rows=family.rows + len(items)) for family in more.families if len(family.rows)]
    return None if unread else Functions(families, len(items) + more.count, more.variables)


def functions_among(families: Sequence[Family], count: int, variables: Sequence[VarData]) -> Functions:
    """Families whose columns are places among these Vars as functions of those that they hold."""
    nothing = np.zeros(0, dtype=np.int64)
    places = np.unique(np.concatenate([nothing, *(family.columns.ravel() for family in families)]))
    chosen = [replace(family, columns=np.searchsorted(places, family.columns)) for family in families]
    return Functions(chosen, count, [variables[c] for c in places])


class Functions:
    """``count`` functions of ``variables``; points are arrays in the order of these."""

    def __init__(self, families: Sequence[Family], count: int, variables: list[VarData]) -> None:
        self.families, self.m, self.variables = list(families), count, variables
        self.n = len(variables)
        self.takes_roots = any(takes_roots(family.tree) for family in families)
        self._last: tuple[bytes, list[Sweep]] = (b"", [])
        self._last_bends: tuple[bytes, list[Array]] = (b"", [])
        self._place()

    def _place(self) -> None:
        """Number the entries of Jacobian and second derivatives: one for each (row, Var) and each pair of Vars."""
        middle = np.ones(self.n)
        known = [(family, self._swept(family, middle, 2)) for family in self.families]
        slopes = [f.rows * self.n + f.columns[slot] for f, (_, slope, _) in known for slot in slope]
        pairs = [(f.columns[a], f.columns[b]) for f, (_, _, bend) in known for a, b in bend]
        bends = [np.maximum(a, b) * self.n + np.minimum(a, b) for a, b in pairs]
        nothing, width = np.zeros(0, dtype=np.int64), max(1, self.n)
        keys, self._slopes = np.unique(np.concatenate([nothing, *slopes]), return_inverse=True)
        twice, inverse = np.unique(np.concatenate([nothing, *bends]), return_inverse=True)
        shapes = [(len(bend), len(f.rows)) for f, (_, _, bend) in known]
        parts = np.split(inverse, np.cumsum([rows * members for rows, members in shapes])[:-1])
        self._bends = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=False)]
        self._jacobian, self._hessian = (keys // width, keys % width), (twice // width, twice % width)

    def _swept(self, family: Family, point: Array, order: int) -> Sweep:
        with np.errstate(all="ignore"):
            return swept(family.tree, family.numbers, point[family.columns], order)

    def _sweeps(self, point: Array) -> list[Sweep]:
        """Values and slopes of all families; those of the last point are kept."""
        key = np.asarray(point, dtype=float).tobytes()
        if self._last[0] != key:
            self._last = (key, [self._swept(family, np.asarray(point), 1) for family in self.families])
        return self._last[1]

    def constraints(self, point: Array) -> Array:
        """(rows) values."""
        values = np.zeros(self.m)
        for family, (value, _, _) in zip(self.families, self._sweeps(point), strict=True):
            values += np.bincount(family.rows, family.factors * value, self.m)
        return values

    def jacobian_structure(self) -> tuple[Array, Array]:
        """(rows, columns) of its entries."""
        return self._jacobian

    def jacobian(self, point: Array) -> Array:
        """(entries) ∂f/∂x."""
        sweeps = zip(self.families, self._sweeps(point), strict=True)
        parts = [family.factors * entry for family, (_, slope, _) in sweeps for entry in slope.values()]
        return _summed(self._slopes, parts, len(self._jacobian[0]))

    def hessian_structure(self) -> tuple[Array, Array]:
        """(rows, columns) of the entries of its lower triangle."""
        return self._hessian

    def hessian(self, point: Array, weights: Array, _factor: float = 0.0) -> Array:
        """(entries) second derivatives of Σ weight · function."""
        total = np.zeros(len(self._hessian[0]))
        for family, places, bends in zip(self.families, self._bends, self._second_derivatives(point), strict=True):
            weight = family.factors * np.asarray(weights)[family.rows]
            chosen = np.flatnonzero(weight)
            with np.errstate(invalid="ignore"):  # beside a pole
                entries = (bends[:, chosen] * weight[chosen]).ravel()
                total += np.bincount(places[:, chosen].ravel(), entries, len(total))
        return total

    def _second_derivatives(self, point: Array) -> list[Array]:
        """(pairs of Vars × members) of each family; those of the last point are kept: one sweep for all followers."""
        key = np.asarray(point, dtype=float).tobytes()
        if self._last_bends[0] != key:
            self._last_bends = (key, [self._stacked(family, np.asarray(point)) for family in self.families])
        return self._last_bends[1]

    def _stacked(self, family: Family, point: Array) -> Array:
        bends = self._swept(family, point, 2)[2].values()
        stacked = np.empty((len(bends), len(family.rows)))
        for place, bend in enumerate(bends):
            stacked[place] = bend
        return stacked


def _summed(places: Array, parts: Sequence[Array], count: int) -> Array:
    """(count) the sums of what has the same place."""
    return np.bincount(places, np.concatenate([np.zeros(0), *parts]), count)


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
