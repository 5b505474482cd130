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
Ranges are rounded outward (:mod:`stackpyomo.core.expressions.intervals`), so that signs hold; definiteness holds up to
``tolerance``, the rounding of the coefficients themselves.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from functools import reduce
from itertools import chain, permutations
from typing import Any

import numpy as np
import pyomo.core.expr.numeric_expr as nodes
from pyomo.common.numeric_types import native_numeric_types, native_types, value
from pyomo.repn.quadratic import QuadraticRepnVisitor
from pyomo.repn.util import OrderedVarRecorder
from scipy.sparse import coo_array, csgraph

from stackpyomo.core.tolerances import TOLERANCES
from stackpyomo.errors import InvalidGame

from .curvature_rules import INF, RULES, UNARY, UNREADABLE, Shape, number_of

_DENSE = 2000  # the largest coupled block whose eigenvalues are computed
_NOISE = 1e-12  # negative curvature below this share of the largest coefficient may be rounding
_Vars = Iterable[Any] | None
_Hessian = dict[tuple[int, int], float]  # (i, j) -> coefficient of x_i x_j, each pair once


class Curvature(str, Enum):
    """What is proved of x ↦ f(x) on the box; the members are strings."""

    CONSTANT = "constant"  #: f does not depend on the variables.
    AFFINE = "affine"  #: f(x) = aᵀx + b.
    CONVEX = "convex"  #: f(tx + (1−t)y) ≤ t f(x) + (1−t) f(y).
    CONCAVE = "concave"  #: −f is convex.
    NONCONVEX = "nonconvex"  #: Proof of the opposite: f is neither convex nor concave.
    UNKNOWN = "unknown"  #: Nothing is proved.

    @property
    def is_flat(self) -> bool:
        """True if f is affine, or constant."""
        return self in (Curvature.AFFINE, Curvature.CONSTANT)

    @property
    def is_convex(self) -> bool:
        """True if f is convex, affine ones among them."""
        return self.is_flat or self is Curvature.CONVEX

    def allows(self, lower: float | None, upper: float | None) -> bool:
        """True if {x : lower ≤ f(x) ≤ upper} is convex by this curvature; None: no limit."""
        one_sided = (self is Curvature.CONVEX and lower is None) or (self is Curvature.CONCAVE and upper is None)
        return self.is_flat or one_sided


@dataclass(frozen=True)
class Proof:
    """A curvature and its proof: "affine", "constant Hessian", "structure" or "none"."""

    curvature: Curvature
    method: str


_FLAT = (Curvature.AFFINE, Curvature.CONSTANT)

_NO_PROOF = Proof(Curvature.UNKNOWN, "none")


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


def range_of(expr: Any) -> tuple[float, float]:
    """(lowest, highest) value of an expression over the box of its Vars, rounded outward; ±∞ where none is shown."""
    try:
        return _Prover(None, None, TOLERANCES.curvature).shape(expr).span
    except UNREADABLE:
        return -INF, INF


def is_convex_problem(cost: Any, constraints: Iterable[Any], variables: _Vars = None) -> bool:
    """True if min cost s.t. constraints is proved convex in these variables, or in all of them."""
    return curvature(cost, variables).curvature.is_convex and all(
        is_convex_feasible_set(c, variables).curvature is Curvature.CONVEX for c in constraints
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
    return Proof(Curvature.CONVEX, proof.method) if proof.curvature.allows(lower, upper) else _NO_PROOF


# --- constant Hessians ------------------------------------------------------------------------------------------------


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
        curvature = Curvature.CONVEX if shape.convex else Curvature.CONCAVE
        return Proof(curvature, "structure") if shape.convex or shape.concave else _NO_PROOF

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
        if rule is operator.mul and (bend := self.bend(*node.args)):
            return replace(shape, convex=bend > 0.0, concave=bend < 0.0)
        self.known[id(node)] = node, shape  # the answer if the node is its only term
        hessian: _Hessian = {}
        rest = self.split(node, 1.0, hessian)
        convex, concave = self.definiteness(hessian)
        return replace(shape, convex=rest.convex and convex is True, concave=rest.concave and concave is True)

    def bend(self, *factors: Any) -> float:
        """Above 0 if f = t·h(kt + c) with t affine is convex, below 0 if it is concave; 0: neither is shown.

        With s = kt + c it is (s·h(s) − c·h(s))/k: of a logarithm both terms are convex where c ≥ 0, and of a power of
        s ≥ 0 each bends like s^q by the sign of q(q − 1), e.g. both down where −1 ≤ power ≤ 0 and c ≥ 0.
        """
        for t, outer in permutations(factors):
            power = self.shape(outer.args[1]) if isinstance(outer, nodes.PowExpression) else None
            log = isinstance(outer, nodes.UnaryFunctionExpression) and outer.getname() in ("log", "log10")
            if not log and (power is None or not power.constant or power.lo < power.hi):
                continue
            s, t = (self.visitor.walk_expression(affine) for affine in (outer.args[0], t))
            pure = all(r.nonlinear is None and not r.quadratic for r in (s, t))
            ratios = {s.linear.get(i, 0.0) / t.linear[i] for i in t.linear}
            if not pure or s.linear.keys() != t.linear.keys() or len(ratios) != 1:
                continue
            k = ratios.pop()
            c = s.constant - k * t.constant
            if power is None:
                return k if c >= 0.0 else 0.0
            bends = {np.sign(power.lo * (power.lo + 1.0)), -np.sign(c * power.lo * (power.lo - 1.0))} - {0.0}
            if len(bends) == 1 and self.shape(outer.args[0]).lo >= 0.0:
                return float(k * bends.pop())
        return 0.0

    def split(self, node: Any, c: float, hessian: _Hessian) -> Shape:
        """Add the quadratic terms of c·f to ``hessian``; the shape of the sum of the others."""
        form = self.quadratic(node)
        if form is not None:
            for pair, entry in form[0].items():
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
