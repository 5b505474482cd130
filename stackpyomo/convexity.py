"""Convexity: what can be proved of the curvature of a Pyomo expression in some of its variables.

Two proofs, and never a guess. *Constant Hessian*: a quadratic is convex iff its Hessian H ⪰ 0.
*Structure*: a tree is folded to its root, each node keeping what is known of it on the box:

    convex, concave   both: affine in the variables; with ``constant``: free of them
    lo, hi            its range
    order q           f ≥ 0 and f^q is convex, 0 ≤ q ≤ 1 (q = 0: log f is); a smaller q says more
    slope             f is a monotone function of one single variable

The order turns norms, quotients and log-sum-exp into three rules: with f^q and g^q also (f + g)^q
is convex, the 1/q-norm of (f^q, g^q); f^a has order q/a; u^a/v^b is convex for a ≥ 1 + b, u ≥ 0
convex and v > 0 concave. Convex means: on the box of the bounds, within the natural domain (itself
proved convex), integrality ignored. Signs hold up to rounding, definiteness up to ``tolerance``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import reduce
from itertools import chain
from typing import Any

import numpy as np
import pyomo.core.expr.numeric_expr as nodes
from pyomo.common.errors import PyomoException
from pyomo.common.numeric_types import native_numeric_types, native_types, value
from pyomo.contrib.fbbt import interval
from pyomo.repn.quadratic import QuadraticRepnVisitor
from pyomo.repn.util import OrderedVarRecorder
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .errors import InvalidGame

__all__ = ["Curvature", "Proof", "curvature", "is_convex_feasible_set"]

_DENSE = 2000  # the largest coupled block whose eigenvalues are computed; beyond it, Gershgorin
_NOISE = 1e-12  # negative curvature below this share of the largest coefficient may be rounding
_INF = math.inf
_UNREADABLE = (ArithmeticError, TypeError, ValueError, RecursionError, PyomoException)


class Curvature(str, Enum):
    """What is proved of x ↦ f(x) on the box; the members are strings."""

    CONSTANT = "constant"
    """f does not depend on the variables."""
    AFFINE = "affine"
    """f(x) = aᵀx + b."""
    CONVEX = "convex"
    """f(tx + (1−t)y) ≤ t f(x) + (1−t) f(y)."""
    CONCAVE = "concave"
    """−f is convex."""
    NONCONVEX = "nonconvex"
    """Proof of the opposite: f is neither convex nor concave."""
    UNKNOWN = "unknown"
    """Nothing is proved."""


@dataclass(frozen=True)
class Proof:
    """A curvature and its proof: "affine", "constant Hessian", "structure" or "none"."""

    curvature: Curvature
    method: str


_FLAT = (Curvature.AFFINE, Curvature.CONSTANT)
_NO_PROOF = Proof(Curvature.UNKNOWN, "none")
_Vars = Iterable[Any] | None
_Hessian = dict[tuple[int, int], float]  # (i, j) -> coefficient of x_i x_j, each pair once


def curvature(
    expr: Any, variables: _Vars = None, *, bounds: Any = None, tolerance: float = 1e-9
) -> Proof:
    """Prove the curvature of x ↦ f(x, p), for every p within its bounds.

    ``variables`` are the x (Vars; None: all unfixed), any other unfixed Var is a p; fixed Vars and
    Params count by value. ``bounds``, a component mapping or pairs Var → (lb, ub), go before the
    Vars' own. H ⪰ 0 means λ_min ≥ −``tolerance`` once its diagonal is scaled to 1. Whatever has no
    value is UNKNOWN. Raises InvalidGame if ``expr`` is not numeric or a variable not a single Var.
    """
    if expr.__class__ not in native_numeric_types and not getattr(expr, "is_numeric_type", bool)():
        raise InvalidGame(f"{expr!s} is not a numeric expression: it has no curvature.")
    return _Prover(variables, bounds, tolerance).prove(expr)


def is_convex_feasible_set(constraint: Any, variables: _Vars = None) -> Proof:
    """Prove {x : lb ≤ g(x, p) ≤ ub} convex for every p: g convex (no lb), concave (no ub) or affine.

    ``constraint`` is one ConstraintData; ``variables`` and errors as in :func:`curvature`. CONVEX or
    UNKNOWN, never NONCONVEX: a g of the wrong curvature may still cut a convex set out of the box.
    """
    try:
        lower, body, upper = constraint.to_bounded_expression(evaluate_bounds=True)
    except AttributeError:
        raise InvalidGame(f"{constraint!s} is not one constraint.") from None
    except _UNREADABLE:
        return _NO_PROOF
    proof, free = curvature(body, variables), lower is None and upper is None
    enough = [*_FLAT] + [Curvature.CONVEX] * (lower is None) + [Curvature.CONCAVE] * (upper is None)
    return Proof(Curvature.CONVEX, proof.method) if free or proof.curvature in enough else _NO_PROOF


# --- constant Hessians ----------------------------------------------------------------------------


def _semidefinite(hessian: _Hessian, tolerance: float) -> bool | None:
    """H ⪰ 0, by λ_min of D^{-1/2} H D^{-1/2}; what may be noise proves nothing (None)."""
    noise = _NOISE * max(map(abs, hessian.values()), default=0.0)
    diagonal = {i: 2.0 * hessian.get((i, i), 0.0) for pair in hessian for i in pair}
    couplings = {(i, j): c for (i, j), c in hessian.items() if c and i != j}
    floor = {(i, j): min(diagonal[i], diagonal[j]) for i, j in couplings}
    least = min(diagonal.values(), default=0.0)
    bare = max((abs(c) for pair, c in couplings.items() if floor[pair] <= 0.0), default=0.0)
    if least < -noise or bare > noise:  # −x_i², or x_i x_j without x_i²
        return False
    if least < 0.0 or bare or not couplings:
        return None if least < 0.0 or bare else True
    root = {i: math.sqrt(d) for i, d in diagonal.items()}
    lowest = _least_eigenvalue({(i, j): c / root[i] / root[j] for (i, j), c in couplings.items()})
    if lowest >= -tolerance:
        return True
    return False if lowest * min(floor.values()) < -noise else None


def _least_eigenvalue(couplings: _Hessian) -> float:
    """λ_min of the symmetric matrix with a unit diagonal and these couplings; NaN if too large."""
    if len(couplings) == 1:
        return 1.0 - abs(next(iter(couplings.values())))
    index = {i: k for k, i in enumerate(dict.fromkeys(i for pair in couplings for i in pair))}
    pairs = [[index[i] for i, _ in couplings], [index[j] for _, j in couplings]]
    half = coo_array((list(couplings.values()), pairs), shape=(len(index), len(index))).tocsr()
    matrix, lowest = half + half.T, 1.0
    label = connected_components(matrix, directed=False)[1]
    for block in np.split(np.argsort(label, kind="stable"), np.cumsum(np.bincount(label))[:-1]):
        part = matrix[block][:, block]
        if len(block) <= _DENSE:
            lowest = min(lowest, float(np.linalg.eigvalsh(np.eye(len(block)) + part.toarray())[0]))
        elif abs(part).sum(axis=1).max() > 1.0:  # Gershgorin
            return math.nan
    return lowest


# --- shapes: what is known of a subexpression, and how operations carry it ------------------------

_Piece = tuple[int, int]  # a function of one real: bend +1 convex, −1 concave; slope ±1; 0 unknown
_CUP, _CAP = (1, 1), (-1, 1)  # rising: convex, concave
_Span = Callable[..., tuple[float, float]]  # the range of an operation, from those of its operands


@dataclass(frozen=True)
class _Shape:
    """What is known of f; the same object (``is``) always means the same function."""

    convex: bool
    concave: bool
    lo: float = -_INF
    hi: float = _INF
    order: float | None = None
    slope: tuple[int, int] | None = None  # (id of the variable, +1 or −1)
    constant: bool = False

    def __post_init__(self) -> None:
        if not self.lo <= self.hi or self.lo == _INF or self.hi == -_INF:
            raise ValueError("an expression without a finite value")
        if self.order is None and self.convex and self.lo >= 0.0:
            object.__setattr__(self, "order", 0.0 if self.constant else 1.0)

    def join(self, g: _Shape, convex: bool, concave: bool, lo: float, hi: float) -> _Shape:
        """What an operation that rises in both operands keeps: the worst order, a common slope."""
        order = None if self.order is None or g.order is None else max(self.order, g.order)
        slopes = {f.slope for f in (self, g) if not f.constant}
        slope = slopes.pop() if len(slopes) == 1 else None
        return _Shape(convex, concave, lo, hi, order, slope, self.constant and g.constant)

    def maximum(self, g: _Shape) -> _Shape:
        convex, constant = self.convex and g.convex, self.constant and g.constant
        return self.join(g, convex, constant, max(self.lo, g.lo), max(self.hi, g.hi))

    def __add__(self, g: _Shape) -> _Shape:
        convex, concave = self.convex and g.convex, self.concave and g.concave
        return self.join(g, convex, concave, self.lo + g.lo, self.hi + g.hi)

    def __neg__(self) -> _Shape:
        slope = self.slope and (self.slope[0], -self.slope[1])
        return _Shape(self.concave, self.convex, -self.hi, -self.lo, None, slope, self.constant)

    def __mul__(self, g: _Shape) -> _Shape:
        """c·f, or f², or log-convex factors, or f, g ≥ 0 monotone in one variable."""
        if self is g:
            return self.power(2.0)
        if g.constant and not self.constant:
            return g * self
        ends = [x * y if x and y else 0.0 for x in (self.lo, self.hi) for y in (g.lo, g.hi)]
        lo, hi = min(ends), max(ends)  # with 0·∞ = 0
        if self.constant and (self.lo >= 0.0 or self.hi <= 0.0):
            return replace(g if self.lo >= 0.0 else -g, lo=lo, hi=hi)
        if self.constant:
            return _Shape(g.convex and g.concave, g.convex and g.concave, lo, hi, constant=g.constant)
        if self.order == g.order == 0.0:
            return self.join(g, True, False, lo, hi)
        if not (self.slope and g.slope and self.lo >= 0.0 and g.lo >= 0.0):
            return _Shape(False, False, lo, hi)
        together, opposed = self.slope == g.slope, self.slope == (g.slope[0], -g.slope[1])
        convex, concave = self.convex and g.convex, self.concave and g.concave
        slope = self.slope if together else None
        return _Shape(together and convex, opposed and concave, lo, hi, None, slope)

    def __truediv__(self, g: _Shape) -> _Shape:
        """f·g⁻¹; convex, of order q/(1−q), when f has the order q ≤ 1/2 and g > 0 is concave."""
        quotient = self * g.power(-1.0)
        if self.order is None or self.order > 0.5 or not g.concave or g.lo < 0.0:
            return quotient
        return replace(quotient, convex=True, order=self.order / (1.0 - self.order))

    def __pow__(self, g: _Shape) -> _Shape:
        """f^g for a constant exponent, or exp(g log f) for a constant base > 0."""
        if g.constant and g.lo == g.hi:
            return self.power(g.lo)
        base = self.constant and self.lo > 0.0
        return _UNARY["exp"](_UNARY["log"](self) * g) if base else _Shape(False, False)

    def power(self, a: float) -> _Shape:
        """f^a for f ≥ 0, or of any sign for an integer a (a < 0: not through 0); by order q ≤ a."""
        if a in (0.0, 1.0):
            return self if a else _Shape(True, True, 1.0, 1.0, constant=True)
        if a < 0.0 and self.lo <= 0.0 <= self.hi and (self.lo < 0.0 < self.hi or self.lo == self.hi):
            return _Shape(self.constant, self.constant, constant=self.constant)
        bend, slope, floor = -1 if 0.0 < a < 1.0 else 1, 1 if a > 0.0 else -1, -_INF
        left = right = bend, slope
        if a.is_integer():
            left = (-bend, slope) if a % 2.0 else (bend, -slope)
        else:
            floor = 0.0
        power = self.compose(lambda s, t: interval.power(s, t, a, a, 0.0), left, right, None, floor)
        if power.constant or not (power.convex or (self.order is not None and self.order <= a)):
            return power
        order = 0.0 if a < 0.0 else (1.0 if self.order is None else self.order) / a
        return replace(power, convex=True, order=order)

    def log(self, span: _Span) -> _Shape:
        """log f: concave if f is, convex by definition if f is log-convex."""
        log = self.compose(span, _CAP, _CAP, None, 0.0)
        return replace(log, convex=True) if self.order == 0.0 else log

    def sin(self, shift: float) -> _Shape:
        """sin(f + shift) on one arch: concave on [2kπ, (2k+1)π], convex on the next."""
        lo, hi = self.lo + shift, self.hi + shift
        arch = math.floor(lo / math.pi) if math.isfinite(lo) else 0
        inside = arch * math.pi <= lo and hi <= (arch + 1) * math.pi
        piece = (arch % 2 or -1) * inside, 0
        return self.compose(lambda *_: interval.sin(lo, hi), piece, piece)

    def compose(
        self, span: _Span, left: _Piece, right: _Piece, order: Any = None, floor: float = -_INF
    ) -> _Shape:
        """h∘f, h a piece on each side of 0, defined on t ≥ floor: what the pieces f meets agree on.

        h convex and f affine, h rising and f convex (so long as {x : f(x) ≥ floor} is convex),
        h falling and f concave; and the mirror. ``order`` is that of a convex h∘f.
        """
        met = [left] * (self.lo < 0.0) + [right] * (self.hi > 0.0 or self.lo >= 0.0)
        bend, slope = (ends[0] if len({*ends}) == 1 else 0 for ends in zip(*met, strict=True))
        affine, below = self.convex and self.concave, self.convex and self.lo >= floor
        grows = affine or (slope > 0 and below) or (slope < 0 and self.concave)
        falls = affine or (slope > 0 and self.concave) or (slope < 0 and below)
        convex, concave = self.constant or (bend > 0 and grows), self.constant or (bend < 0 and falls)
        rise = (self.slope[0], self.slope[1] * slope) if self.slope and slope else None
        try:
            lo, hi = span(self.lo, self.hi)
        except _UNREADABLE:
            lo, hi = -_INF, _INF
        return _Shape(convex, concave, lo, hi, order if convex else None, rise, self.constant)


_UNARY: dict[str, Callable[[_Shape], _Shape]] = {
    "abs": lambda f: f.power(2.0).power(0.5),
    "sqrt": lambda f: f.power(0.5),
    "log": lambda f: f.log(interval.log),
    "log10": lambda f: f.log(interval.log10),
    "sin": lambda f: f.sin(0.0),
    "cos": lambda f: f.sin(math.pi / 2.0),
    "exp": lambda f: f.compose(interval.exp, _CUP, _CUP, 0.0),
    "cosh": lambda f: f.compose(lambda a, b: (1.0, math.cosh(max(-a, b))), (1, -1), _CUP, 0.0),
    "sinh": lambda f: f.compose(lambda a, b: (math.sinh(a), math.sinh(b)), _CAP, _CUP),
    "tanh": lambda f: f.compose(lambda a, b: (math.tanh(a), math.tanh(b)), _CUP, _CAP),
}
_RULES: dict[type, Callable[..., _Shape]] = {
    nodes.SumExpression: lambda *parts: reduce(operator.add, parts),
    nodes.LinearExpression: lambda *parts: reduce(operator.add, parts),
    nodes.NegationExpression: operator.neg,
    nodes.ProductExpression: operator.mul,
    nodes.MonomialTermExpression: operator.mul,
    nodes.DivisionExpression: operator.truediv,
    nodes.PowExpression: operator.pow,
    nodes.MaxExpression: lambda *parts: reduce(_Shape.maximum, parts),
    nodes.MinExpression: lambda *parts: -reduce(_Shape.maximum, [-f for f in parts]),
}

# --- the prover -----------------------------------------------------------------------------------


class _Recorder(OrderedVarRecorder):
    """The Vars that Pyomo's visitor meets, without all the other indices of their components."""

    def add(self, var: Any) -> None:
        self.var_map[id(var)] = var
        self.var_order[id(var)] = len(self.var_order)


class _Prover:
    """One question: the variables, their box, and what is already known of subexpressions."""

    def __init__(self, variables: _Vars, bounds: Any, tolerance: float) -> None:
        pairs = getattr(bounds, "items", lambda: bounds or ())()
        self.bounds = {id(var): (var, span) for var, span in pairs}
        self.variables = None if variables is None else {id(var): var for var in variables}
        for var in [*(self.variables or {}).values(), *(var for var, _ in self.bounds.values())]:
            if not getattr(var, "is_variable_type", bool)() or var.is_indexed():
                raise InvalidGame(f"{var!s} is not a single Var.")
        self.tolerance = tolerance
        self.known: dict[int, tuple[Any, _Shape]] = {}  # id -> (the node, kept alive, its shape)
        self.visitor = QuadraticRepnVisitor({}, var_recorder=_Recorder({}, {}, None))

    def prove(self, expr: Any) -> Proof:
        """By the Hessian if f is quadratic, else (or if that is undecided) by structure."""
        hessian, moves = self.quadratic(expr) or (None, True)
        if hessian == {}:
            return Proof(_FLAT[not moves], "affine")
        convex, concave = self.definiteness(hessian or {}) if hessian else (None, None)
        if convex or concave:
            return Proof(Curvature.CONVEX if convex else Curvature.CONCAVE, "constant Hessian")
        boxes = (self.box(self.visitor.var_map[i]) for i in chain(*hessian or ()))
        if convex is concave is False and all(lo < hi for lo, hi in boxes):
            return Proof(Curvature.NONCONVEX, "constant Hessian")
        try:
            shape = self.shape(expr)
        except _UNREADABLE:
            return _NO_PROOF
        if shape.convex and shape.concave:
            return Proof(_FLAT[shape.constant], "affine")
        found = Curvature.CONVEX if shape.convex else Curvature.CONCAVE
        return Proof(found, "structure") if shape.convex or shape.concave else _NO_PROOF

    def quadratic(self, expr: Any) -> tuple[_Hessian, bool] | None:
        """Pyomo's reading of a quadratic: (H, whether f depends on the variables); else None."""
        try:
            repn = self.visitor.walk_expression(expr)
            products = repn.quadratic or {}
            numbers = repn.constant, *repn.linear.values(), *products.values()
            if repn.nonlinear is not None or not all(map(math.isfinite, numbers)):
                return None
        except _UNREADABLE:
            return None
        hessian = {(i, j): c for (i, j), c in products.items() if self.moves(i) and self.moves(j)}
        return hessian, any(map(self.moves, chain(repn.linear, *products)))

    def definiteness(self, hessian: _Hessian) -> tuple[bool | None, bool | None]:
        """(H ⪰ 0, H ⪯ 0)."""
        opposite = {pair: -c for pair, c in hessian.items()}
        return _semidefinite(hessian, self.tolerance), _semidefinite(opposite, self.tolerance)

    def moves(self, i: int) -> bool:
        return self.variables is None or i in self.variables

    def box(self, var: Any) -> tuple[float, float]:
        lo, hi = self.bounds[id(var)][1] if id(var) in self.bounds else var.bounds
        lo, hi = -_INF if lo is None else float(lo), _INF if hi is None else float(hi)
        return min(lo, hi), max(lo, hi)

    def shape(self, node: Any) -> _Shape:
        """The shape of a node, found once."""
        if id(node) not in self.known:
            self.known[id(node)] = node, self.leaf(node) or self.fold(node)
        return self.known[id(node)][1]

    def leaf(self, node: Any) -> _Shape | None:
        if node.__class__ in native_types or not node.is_potentially_variable():
            return _number(value(node))
        if not node.is_variable_type():
            return None
        if node.fixed:
            return _number(node.value)
        slope = (id(node), 1) if self.moves(id(node)) else None
        return _Shape(True, True, *self.box(node), None, slope, slope is None)

    def fold(self, node: Any) -> _Shape:
        """The rule of the node; where it proves nothing, its terms with the quadratic ones in one."""
        parts = [self.shape(arg) for arg in node.args]
        if node.is_named_expression_type():
            return parts[0]
        unary = isinstance(node, nodes.UnaryFunctionExpression)
        rule = _UNARY.get(node.getname()) if unary else _RULES.get(node.__class__)
        if rule is None:
            constant = all(f.constant for f in parts)
            return _Shape(constant, constant, constant=constant)
        shape = rule(*parts)
        if shape.convex or shape.concave:
            return shape
        hessian: _Hessian = {}
        rest = _number(0.0)
        for c, term in self.terms(node):
            found = self.quadratic(term)
            if found is None:
                rest += _number(c) * (shape if term is node else self.shape(term))
            for pair, entry in found[0].items() if found else ():
                hessian[pair] = hessian.get(pair, 0.0) + c * entry
        convex, concave = self.definiteness(hessian)
        both = rest.convex and convex is True, rest.concave and concave is True
        return replace(shape, convex=both[0], concave=both[1])

    def terms(self, node: Any, c: float = 1.0) -> Iterator[tuple[float, Any]]:
        """Pairs (c, g) with f = Σ c·g, through sums, signs, names and numeric factors."""
        args = node.args if getattr(node, "is_expression_type", bool)() else ()
        number = [f.lo if f.constant and f.lo == f.hi else None for f in map(self.shape, args)]
        inner = [(c, node)]
        if isinstance(node, nodes.SumExpression) or (args and node.is_named_expression_type()):
            inner = [(c, arg) for arg in args]
        elif isinstance(node, nodes.NegationExpression):
            inner = [(-c, args[0])]
        elif isinstance(node, nodes.ProductExpression) and number[0] is not None:
            inner = [(c * number[0], args[1])]
        elif isinstance(node, nodes.ProductExpression) and number[1] is not None:
            inner = [(c * number[1], args[0])]
        elif isinstance(node, nodes.DivisionExpression) and number[1]:
            inner = [(c / number[1], args[0])]
        for factor, term in inner:
            yield from [(c, node)] if term is node else self.terms(term, factor)


def _number(c: Any) -> _Shape:
    return _Shape(True, True, float(c), float(c), constant=True)
