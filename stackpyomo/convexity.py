"""Convexity: what can be proved of the curvature of a Pyomo expression in some of its variables.

Two proofs, and never a guess. *Constant Hessian*: a quadratic is convex iff its Hessian H ⪰ 0. *Structure*: a tree is
folded to its root, each node keeping what is known of it on the box of the bounds:

    convex, concave   both: affine in the variables; with ``constant``: free of them
    lo, hi            its range
    order q           f ≥ 0 and f^q is convex, 0 ≤ q ≤ 1 (q = 0: log f is convex); a smaller q says more
    slope             f is a monotone function of one single variable

The order turns norms, quotients and log-sum-exp into three rules: with f^q and g^q also (f + g)^q is convex, the
1/q-norm of (f^q, g^q); f^a has order q/a; u^a/v^b is convex for a ≥ 1 + b, u ≥ 0 convex and v > 0 concave. Convex
means: on the box, within the natural domain (itself proved convex), integrality ignored; 0·f and f⁰ are 0 and 1.
Ranges are rounded outward (:mod:`stackpyomo.intervals`), so that signs hold; definiteness holds up to ``tolerance``,
the rounding of the coefficients themselves.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from functools import reduce
from itertools import chain, permutations
from typing import Any

import numpy as np
import pyomo.core.expr.numeric_expr as nodes
from pyomo.common.errors import PyomoException
from pyomo.common.numeric_types import native_numeric_types, native_types, value
from pyomo.repn.quadratic import QuadraticRepnVisitor
from pyomo.repn.util import OrderedVarRecorder
from scipy.sparse import coo_array, csgraph

from .errors import InvalidGame
from .intervals import FUNCTIONS, Span, add, negative, power, times
from .tolerances import TOLERANCES

__all__ = ["Curvature", "Proof", "curvature", "is_convex_feasible_set", "is_convex_problem"]

_DENSE = 2000  # the largest coupled block whose eigenvalues are computed
_NOISE = 1e-12  # negative curvature below this share of the largest coefficient may be rounding
INF = math.inf
UNREADABLE = (ArithmeticError, AttributeError, TypeError, ValueError, RecursionError, PyomoException)


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


def curvature(
    expr: Any, variables: _Vars = None, *, bounds: Any = None, tolerance: float = TOLERANCES.curvature
) -> Proof:
    """Prove the curvature of x ↦ f(x, p), for every p within its bounds.

    ``variables`` are the x (Vars; None: all unfixed), any other unfixed Var is a p; fixed Vars and Params count by
    value. ``bounds``, a component mapping or pairs Var → (lb, ub), go before the Vars' own. H ⪰ 0 is read as
    λ_min ≥ −``tolerance`` once its diagonal is scaled to 1. What has no value or is unknown to Pyomo is UNKNOWN.
    Raises :class:`InvalidGame` if ``expr`` is not numeric, or one of the variables not a single Var.
    """
    if expr.__class__ not in native_numeric_types and not getattr(expr, "is_numeric_type", bool)():
        raise InvalidGame(f"{expr!s} is not a numeric expression: it has no curvature.")
    prover = _Prover(variables, bounds, tolerance)
    try:
        return prover.prove(expr)
    except UNREADABLE:
        return _NO_PROOF


def is_convex_problem(cost: Any, constraints: Iterable[Any]) -> bool:
    """True if min cost s.t. constraints is proved convex in all its variables."""
    good = (Curvature.CONSTANT, Curvature.AFFINE, Curvature.CONVEX)
    return curvature(cost).curvature in good and all(
        is_convex_feasible_set(c).curvature is Curvature.CONVEX for c in constraints
    )


def is_convex_feasible_set(constraint: Any, variables: _Vars = None) -> Proof:
    """Prove {x : lb ≤ g(x, p) ≤ ub} convex for every p: g convex and no lb, g concave and no ub, or g affine.

    ``constraint`` is one ConstraintData; ``variables`` and errors are those of :func:`curvature`. CONVEX or UNKNOWN,
    never NONCONVEX: a g of the wrong curvature may still cut a convex set out of the box.
    """
    try:
        lower, body, upper = constraint.to_bounded_expression(evaluate_bounds=True)
    except AttributeError:
        raise InvalidGame(f"{constraint!s} is not one constraint.") from None
    except UNREADABLE:
        return _NO_PROOF
    proof = curvature(body, variables)
    enough = [*_FLAT] + [Curvature.CONVEX] * (lower is None) + [Curvature.CONCAVE] * (upper is None)
    return Proof(Curvature.CONVEX, proof.method) if proof.curvature in enough else _NO_PROOF


# --- constant Hessians ------------------------------------------------------------------------------------------------

_Hessian = dict[tuple[int, int], float]  # (i, j) -> coefficient of x_i x_j, each pair once


def _semidefinite(hessian: _Hessian, tolerance: float) -> bool | None:
    """H ⪰ 0, by λ_min of D^{-1/2} H D^{-1/2}; what may be noise proves nothing (None)."""
    noise = _NOISE * max(map(abs, hessian.values()), default=0.0)
    diagonal = {i: 2.0 * hessian.get((i, i), 0.0) for i in chain(*hessian)}
    couplings = {(i, j): c for (i, j), c in hessian.items() if c and i != j}
    floor = {(i, j): min(diagonal[i], diagonal[j]) for i, j in couplings}
    least = min(diagonal.values(), default=0.0)
    bare = max((abs(c) for pair, c in couplings.items() if floor[pair] <= 0.0), default=0.0)
    if least < 0.0 or bare:  # −x_i², or x_i x_j without x_i²
        return False if least < -noise or bare > noise else None
    if not couplings:
        return True
    root = {i: math.sqrt(d) for i, d in diagonal.items()}
    lowest = _least_eigenvalue({(i, j): c / root[i] / root[j] for (i, j), c in couplings.items()})
    if lowest >= -tolerance:
        return True
    return False if lowest * min(floor.values()) < -noise else None


def _least_eigenvalue(couplings: _Hessian) -> float:
    """λ_min of the symmetric matrix with a unit diagonal and these couplings.

    A lower bound where Gershgorin's suffices, NaN where a connected block is too large.
    """
    radius: dict[int, float] = dict.fromkeys(chain(*couplings), 0.0)
    for pair, c in couplings.items():
        for i in pair:
            radius[i] += abs(c)
    if len(couplings) == 1 or max(radius.values()) <= 1.0:
        return 1.0 - max(radius.values())
    index = {i: k for k, i in enumerate(radius)}
    rows, columns = np.array([(index[i], index[j]) for i, j in couplings]).T
    matrix = coo_array((list(couplings.values()), (rows, columns)), shape=(len(index),) * 2).tocsr()
    label = csgraph.connected_components(matrix, directed=False)[1]
    blocks = np.split(np.argsort(label, kind="stable"), np.cumsum(np.bincount(label))[:-1])
    if max(map(len, blocks)) > _DENSE:
        return math.nan
    dense = (matrix[block][:, block].toarray() for block in blocks)
    return min(float(np.linalg.eigvalsh(np.eye(len(a)) + a + a.T)[0]) for a in dense)


# --- shapes: what is known of a subexpression, and how operations carry it --------------------------------------------

_Piece = tuple[int, int]  # a function of one real: bend +1 convex, −1 concave; slope ±1; 0 unknown
_CUP, _CAP = (1, 1), (-1, 1)  # rising: convex, concave


@dataclass(frozen=True)
class Shape:
    """What is known of f; the same object (``is``) always means the same function."""

    convex: bool
    concave: bool
    lo: float = -INF
    hi: float = INF
    order: float | None = None
    slope: tuple[int, int] | None = None  # (id of the variable, +1 or −1)
    constant: bool = False

    def __post_init__(self) -> None:
        if not self.lo <= self.hi or self.lo == INF or self.hi == -INF:
            raise ValueError("an expression without a finite value")
        if self.order is None and self.convex and self.lo >= 0.0:
            object.__setattr__(self, "order", 0.0 if self.constant else 1.0)

    @property
    def span(self) -> Span:
        return self.lo, self.hi

    def join(self, g: Shape, convex: bool, concave: bool, lo: float, hi: float) -> Shape:
        """What an operation that rises in both operands keeps: the worst order, a common slope."""
        order = None if self.order is None or g.order is None else max(self.order, g.order)
        slopes = {f.slope for f in (self, g) if not f.constant}
        slope = slopes.pop() if len(slopes) == 1 else None
        return Shape(convex, concave, lo, hi, order, slope, self.constant and g.constant)

    def maximum(self, g: Shape) -> Shape:
        convex, constant = self.convex and g.convex, self.constant and g.constant
        return self.join(g, convex, constant, max(self.lo, g.lo), max(self.hi, g.hi))

    def __add__(self, g: Shape) -> Shape:
        convex, concave = self.convex and g.convex, self.concave and g.concave
        return self.join(g, convex, concave, *add(self.span, g.span))

    def __neg__(self) -> Shape:
        slope = self.slope and (self.slope[0], -self.slope[1])
        return Shape(self.concave, self.convex, *negative(self.span), None, slope, self.constant)

    def __mul__(self, g: Shape) -> Shape:
        """c·f, or f², or log-convex factors, or f, g ≥ 0 monotone in one variable."""
        if self is g or (g.constant and not self.constant):
            return self.power(2.0) if self is g else g * self
        lo, hi = times(self.span, g.span)
        if self.constant and self.span == (0.0, 0.0):
            return self
        if self.constant and (self.lo >= 0.0 or self.hi <= 0.0):
            return replace(g if self.lo >= 0.0 else -g, lo=lo, hi=hi)
        convex, concave = self.convex and g.convex, self.concave and g.concave
        if self.constant:
            return Shape(g.convex and concave, convex and g.concave, lo, hi, constant=g.constant)
        if self.order == g.order == 0.0:
            return self.join(g, True, False, lo, hi)
        if not (self.slope and g.slope and self.lo >= 0.0 and g.lo >= 0.0):
            return Shape(False, False, lo, hi)
        same, opposite = self.slope == g.slope, self.slope == (-g).slope
        slope = g.slope if same else None
        return Shape(convex and same, concave and opposite, lo, hi, None, slope)

    def __truediv__(self, g: Shape) -> Shape:
        """f·g⁻¹; convex, of order q/(1−q), when f has the order q ≤ 1/2 and g > 0 is concave."""
        quotient = self * g.power(-1.0)
        if self.order is None or self.order > 0.5 or not g.concave or g.lo < 0.0:
            return quotient
        return replace(quotient, convex=True, order=self.order / (1.0 - self.order))

    def __pow__(self, g: Shape) -> Shape:
        """f^g for a constant exponent, or exp(g log f) for a constant base > 0."""
        if g.constant and g.lo == g.hi:
            return self.power(g.lo)
        base = self.constant and self.lo > 0.0
        return UNARY["exp"](UNARY["log"](self) * g) if base else Shape(False, False)

    def power(self, a: float) -> Shape:
        """f^a for f ≥ 0, or of any sign for an integer a (a < 0: not through 0); by order q ≤ a."""
        if a in (0.0, 1.0):
            return self if a else number_of(1.0)
        if a < 0.0 and self.lo == self.hi == 0.0:
            raise ZeroDivisionError
        whole, bend, slope = a.is_integer(), -1 if 0.0 < a < 1.0 else 1, 1 if a > 0.0 else -1
        if whole and a < 0.0 and self.lo < 0.0 < self.hi:
            return Shape(self.constant, self.constant, constant=self.constant)
        left = (bend, slope) if not whole else (-bend, slope) if a % 2.0 else (bend, -slope)
        raised = self.compose(lambda f: power(f, a), left, (bend, slope), None, -INF if whole else 0.0)
        if raised.constant or not (raised.convex or (self.order is not None and self.order <= a)):
            return raised
        order = 0.0 if a < 0.0 else (1.0 if self.order is None else self.order) / a
        return replace(raised, convex=True, order=order)

    def log(self, span: Callable[[Span], Span]) -> Shape:
        """log f: concave if f is, convex by definition if f is log-convex."""
        log = self.compose(span, _CAP, _CAP, None, 0.0)
        return replace(log, convex=True) if self.order == 0.0 else log

    def sin(self, shift: float, name: str) -> Shape:
        """sin(f + shift), by its name, on one arch: concave on [2kπ, (2k+1)π], convex on the next."""
        lo, hi = self.lo + shift, self.hi + shift
        arch = math.floor(lo / math.pi) if math.isfinite(lo) else 0
        inside = arch * math.pi <= lo and hi <= (arch + 1) * math.pi
        piece = (arch % 2 or -1) * inside, 0
        return self.compose(FUNCTIONS[name], piece, piece)

    def compose(
        self, span: Callable[[Span], Span], left: _Piece, right: _Piece, order: Any = None, floor: float = -INF
    ) -> Shape:
        """h∘f, h a piece on each side of 0, defined on t ≥ floor: what the pieces f meets agree on.

        h convex and f affine, h rising and f convex (so long as {x : f(x) ≥ floor} is convex),
        h falling and f concave; and the mirror. ``order`` is that of a convex h∘f.
        """
        met = [left] * (self.lo < 0.0) + [right] * (self.hi > 0.0 or self.lo >= 0.0)
        bend, slope = (ends[0] if len({*ends}) == 1 else 0 for ends in zip(*met, strict=True))
        affine, below = self.convex and self.concave, self.convex and self.lo >= floor
        grows = affine or (slope > 0 and below) or (slope < 0 and self.concave)
        falls = affine or (slope > 0 and self.concave) or (slope < 0 and below)
        rise = (self.slope[0], self.slope[1] * slope) if self.slope and slope else None
        lo, hi = span(self.span)
        if self.constant:
            return Shape(True, True, lo, hi, constant=True)
        convex, concave = bend > 0 and grows, bend < 0 and falls
        return Shape(convex, concave, lo, hi, order if convex else None, rise)


def number_of(c: Any) -> Shape:
    return Shape(True, True, float(c), float(c), constant=True)


UNARY: dict[str, Callable[[Shape], Shape]] = {
    "abs": lambda f: f.power(2.0).power(0.5),
    "sqrt": lambda f: f.power(0.5),
    "log": lambda f: f.log(FUNCTIONS["log"]),
    "log10": lambda f: f.log(FUNCTIONS["log10"]),
    "sin": lambda f: f.sin(0.0, "sin"),
    "cos": lambda f: f.sin(math.pi / 2.0, "cos"),
    "exp": lambda f: f.compose(FUNCTIONS["exp"], _CUP, _CUP, 0.0),
    "cosh": lambda f: f.compose(FUNCTIONS["cosh"], (1, -1), _CUP, 0.0),
    "sinh": lambda f: f.compose(FUNCTIONS["sinh"], _CAP, _CUP),
    "tanh": lambda f: f.compose(FUNCTIONS["tanh"], _CUP, _CAP),
}
RULES: dict[type, Callable[..., Shape]] = {
    nodes.SumExpression: lambda *parts: reduce(operator.add, parts),
    nodes.LinearExpression: lambda *parts: reduce(operator.add, parts),
    nodes.NegationExpression: operator.neg,
    nodes.ProductExpression: operator.mul,
    nodes.MonomialTermExpression: operator.mul,
    nodes.DivisionExpression: operator.truediv,
    nodes.PowExpression: operator.pow,
    nodes.MaxExpression: lambda *parts: reduce(Shape.maximum, parts),
    nodes.MinExpression: lambda *parts: -reduce(Shape.maximum, [-f for f in parts]),
}

# --- the prover -------------------------------------------------------------------------------------------------------


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
        named = [] if variables is None else list(variables)
        for var in chain(named, (var for var, _ in self.bounds.values())):
            if not getattr(var, "is_variable_type", bool)() or var.is_indexed():
                raise InvalidGame(f"{var!s} is not a single Var.")
        moving = {id(var) for var in named}
        self.moves = (lambda _: True) if variables is None else moving.__contains__
        self.tolerance = tolerance
        self.known: dict[int, tuple[Any, Shape]] = {}  # id -> (the node, kept alive, its shape)
        self.visitor = QuadraticRepnVisitor({}, var_recorder=_Recorder({}, {}, None))

    def prove(self, expr: Any) -> Proof:
        """By the Hessian if f is quadratic, else (or if that is undecided) by structure."""
        hessian, moves = self.quadratic(expr) or (None, True)
        if hessian == {}:
            return Proof(_FLAT[not moves], "affine")
        convex, concave = self.definiteness(hessian) if hessian else (None, None)
        if convex or concave:
            return Proof(Curvature.CONVEX if convex else Curvature.CONCAVE, "constant Hessian")
        boxes = (self.box(self.visitor.var_map[i]) for i in chain(*hessian or ()))
        if convex is concave is False and all(lo < hi for lo, hi in boxes):
            return Proof(Curvature.NONCONVEX, "constant Hessian")
        shape = self.shape(expr)
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
        except UNREADABLE:
            return None
        hessian = {(i, j): c for (i, j), c in products.items() if self.moves(i) and self.moves(j)}
        return hessian, any(map(self.moves, chain(repn.linear, *products)))

    def definiteness(self, hessian: _Hessian) -> tuple[bool | None, bool | None]:
        """(H ⪰ 0, H ⪯ 0)."""
        opposite = {pair: -c for pair, c in hessian.items()}
        return _semidefinite(hessian, self.tolerance), _semidefinite(opposite, self.tolerance)

    def box(self, var: Any) -> tuple[float, float]:
        lo, hi = self.bounds[id(var)][1] if id(var) in self.bounds else var.bounds
        lo, hi = -INF if lo is None else float(lo), INF if hi is None else float(hi)
        return min(lo, hi), max(lo, hi)

    def shape(self, node: Any) -> Shape:
        """The shape of a node, found once."""
        if node.__class__ in native_types or not node.is_potentially_variable():
            return number_of(value(node))
        if id(node) not in self.known:
            self.known[id(node)] = node, self.leaf(node) if node.is_variable_type() else self.fold(node)
        return self.known[id(node)][1]

    def leaf(self, var: Any) -> Shape:
        slope = (id(var), 1) if self.moves(id(var)) else None
        free = Shape(True, True, *self.box(var), None, slope, slope is None)
        return number_of(var.value) if var.fixed else free

    def fold(self, node: Any) -> Shape:
        """The rule of the node; where it proves nothing, all its quadratic terms taken as one."""
        parts = [self.shape(arg) for arg in node.args]
        if node.is_named_expression_type():
            return parts[0]
        unary = isinstance(node, nodes.UnaryFunctionExpression)
        rule = UNARY.get(node.getname()) if unary else RULES.get(node.__class__)
        constant = all(f.constant for f in parts)
        shape = rule(*parts) if rule else Shape(constant, constant, constant=constant)
        if shape.constant and all(f.lo == f.hi for f in parts) and math.isfinite(shape.lo + shape.hi):
            return number_of(shape.lo / 2.0 + shape.hi / 2.0)  # one number but for rounding
        if shape.convex or shape.concave or not rule:
            return shape
        if rule is operator.mul and (bend := self.entropy(*node.args)):
            return replace(shape, convex=bend > 0.0, concave=bend < 0.0)
        self.known[id(node)] = node, shape  # the answer if the node is its only term
        hessian: _Hessian = {}
        rest = self.split(node, 1.0, hessian)
        convex, concave = self.definiteness(hessian)
        return replace(shape, convex=rest.convex and convex is True, concave=rest.concave and concave is True)

    def entropy(self, *factors: Any) -> float:
        """k if f = t·log(kt + c) with t affine, c ≥ 0: convex for k > 0, concave for k < 0; else 0."""
        for t, log in permutations(factors):
            if isinstance(log, nodes.UnaryFunctionExpression) and log.getname() in ("log", "log10"):
                s, t = (self.visitor.walk_expression(affine) for affine in (log.args[0], t))
                pure = all(r.nonlinear is None and not r.quadratic for r in (s, t))
                ratios = {s.linear.get(i, 0.0) / t.linear[i] for i in t.linear}
                if pure and s.linear.keys() == t.linear.keys() and len(ratios) == 1:
                    return next((k for k in ratios if s.constant >= k * t.constant), 0.0)
        return 0.0

    def split(self, node: Any, c: float, hessian: _Hessian) -> Shape:
        """Add the quadratic terms of c·f to ``hessian``; the shape of the sum of the others."""
        found = self.quadratic(node)
        if found is not None:
            for pair, entry in found[0].items():
                hessian[pair] = hessian.get(pair, 0.0) + c * entry
            return number_of(0.0)
        if isinstance(node, nodes.SumExpression) or node.is_named_expression_type():
            return reduce(operator.add, [self.split(arg, c, hessian) for arg in node.args])
        if isinstance(node, nodes.NegationExpression):
            return self.split(node.args[0], -c, hessian)
        divided = isinstance(node, nodes.DivisionExpression)
        if divided or isinstance(node, nodes.ProductExpression):
            for term, factor in [node.args] if divided else permutations(node.args):
                k = self.shape(factor)
                if k.constant and k.lo == k.hi:
                    return self.split(term, c / k.lo if divided else c * k.lo, hessian)
        return number_of(c) * self.shape(node)
