"""Checker: what a certificate (``stackpyomo-certificate/1``) proves of each follower, derived again and rigorously.

    python checker.py FILE        exit code 0: confirmed, 1: not confirmed, 2: no such certificate

This file runs alone: it needs Python and mpmath, no solver and nothing else of stackpyomo. It believes no number that
it can compute. With the rule substituted in, follower k's cost over its own actions v is f, its rows are g(v) ≤ 0 and
h(v) = 0. For multipliers p ≥ 0 and q, and a weight w ≥ 0, every v that it may choose has

    f(v) ≥ F(v) = f(v) + pᵀg(v) + qᵀh(v) + w ‖h(v)‖²

and F is bounded from below over the box of the bounds: where F is shown to be convex on a box (rules for sums and
compositions, and an interval Hessian without a negative pivot), by its tangent at a point c and what it bends above it,

    F(v) ≥ F(c) + ∇F(c)ᵀ(v − c) + ½ Σ m_i (v_i − c_i)²

(a rule that is stopped at bounds falls into cases, each with a point and multipliers of its own, also of the rows that
say where it is), else by its range; boxes that are not settled are halved, where there are at most ``ACTIONS`` actions.
Whole actions, up to ``WHOLE`` of them, are halved between whole numbers first, down to their points. ε_k is what the
cost at the plan is above the least bound. Where a variable has no bound, the box ends ``REACH`` · max(1, |plan|) away
from the plan, and the claim says so. All arithmetic is on intervals: sums and products of floats rounded outward,
functions by mpmath. Where a cost has no value, nothing is gained. Numbers are compared with what the file says to
``SAME``, relative.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from mpmath import libmp

FORMAT = "stackpyomo-certificate/1"

REACH = 1000.0

SAME = 2.0**-30

FEASIBLE = 2.0**-19

BOXES = 2000

_SWEEPS = 3

ACTIONS = 6

WHOLE = 12  # integer actions up to which a box is taken apart into its points

PIECES = 81

_NOISE = 2.0**-46  # of a Hessian's diagonal: what rounding may hide of a pivot; it is paid for in the bound

_PRECISION = 60

_INF = math.inf

Span = tuple[float, float]

_NIL: Span = (0.0, 0.0)

_ONE: Span = (1.0, 1.0)

_UNITS = (1.0, -1.0)  # Products with these are exact.

_ALL: Span = (-_INF, _INF)


class BadCertificate(Exception):
    """The file is no certificate, or says things that do not belong together."""


# --- ranges -----------------------------------------------------------------------------------------------------------


def _down(t: float) -> float:
    return math.nextafter(t, -_INF)


def _low_sum(a: float, b: float) -> float:
    s = a + b
    back = s - a
    if (a - (s - back)) + (b - back) >= 0.0:  # exact, or rounded down
        return s
    return math.nextafter(s, -_INF) if s == s else -_INF  # ∞ − ∞: nothing is known


def _add(f: Span, g: Span) -> Span:
    if f == _NIL or g == _NIL:
        return g if f == _NIL else f
    return _low_sum(f[0], g[0]), -_low_sum(-f[1], -g[1])


def _neg(f: Span) -> Span:
    return -f[1], -f[0]


def _low_product(a: float, b: float) -> float:
    if a == 0.0 or b == 0.0:
        return 0.0
    return a * b if a in _UNITS or b in _UNITS else math.nextafter(a * b, -_INF)


def _mul(f: Span, g: Span) -> Span:
    """All products, rounded outwards: signs say which of the ends make the least and the largest."""
    if f == _NIL or g == _NIL:
        return _NIL
    if f == _ONE:
        return g
    (a, b), (c, d) = f, g
    if not (a <= b and c <= d):  # one is no number: nothing is known
        return _ALL
    if c >= 0.0:
        least, most = (a, c if a >= 0.0 else d), (b, d if b >= 0.0 else c)
    elif d <= 0.0:
        least, most = (b, d if b <= 0.0 else c), (a, c if a <= 0.0 else d)
    elif a >= 0.0:
        least, most = (b, c), (b, d)
    elif b <= 0.0:
        least, most = (a, d), (a, c)
    else:
        return min(_low_product(a, d), _low_product(b, c)), -min(_low_product(-a, c), _low_product(-b, d))
    return _low_product(*least), -_low_product(-most[0], most[1])


def _square(f: Span) -> Span:
    size = _size(f)
    return _mul(size, size) if size[0] > 0.0 else (0.0, _mul(size, size)[1])


def _size(f: Span) -> Span:
    return (0.0, max(-f[0], f[1])) if f[0] <= 0.0 <= f[1] else f if f[0] > 0.0 else _neg(f)


def _inverse(f: Span) -> Span:
    if f[0] <= 0.0 <= f[1]:
        return (max(0.0, _down(1.0 / f[1])), _INF) if f[0] == 0.0 < f[1] else _ALL
    return _down(1.0 / f[1]), -_down(-1.0 / f[0])


def _through(function: Callable[..., Any], f: Span) -> Span:
    """mpmath's range of a function, a float wider on both sides."""
    lo, hi = function((libmp.from_float(f[0]), libmp.from_float(f[1])), _PRECISION)
    return _down(libmp.to_float(lo)), -_down(-libmp.to_float(hi))


def _log(f: Span) -> Span:
    return _through(libmp.mpi_log, (max(f[0], 0.0), max(f[1], 0.0)))


def _exp(f: Span) -> Span:
    lo, hi = _through(libmp.mpi_exp, f)
    return max(lo, 0.0), hi


def _power(f: Span, a: float) -> Span:
    """f^a; for a fraction a of what is not negative."""
    if a == 0.0:
        return 1.0, 1.0
    if a < 0.0:
        return _inverse(_power(f, -a)) if f[0] >= 0.0 or a.is_integer() else _power((0.0, max(f[1], 0.0)), a)
    if a == 1.0 or a == 2.0:
        return f if a == 1.0 else _square(f)
    if a.is_integer() and a < 1e6:
        lo, hi = _through(lambda s, p: libmp.mpi_pow_int(s, int(a), p), f)
        return (max(lo, 0.0) if a % 2.0 == 0.0 or f[0] >= 0.0 else lo), hi
    lo, hi = max(f[0], 0.0), max(f[1], 0.0)
    exponent = (libmp.from_float(a), libmp.from_float(a))
    low = 0.0 if lo == 0.0 else _through(lambda s, p: libmp.mpi_pow(s, exponent, p), (lo, lo))[0]
    return max(low, 0.0), 0.0 if hi == 0.0 else _through(lambda s, p: libmp.mpi_pow(s, exponent, p), (hi, hi))[1]


# --- values: what is known of a function of the own actions on a box --------------------------------------------------

_Row = dict[int, Span]

_Matrix = dict[tuple[int, int], Span]


@dataclass(slots=True)
class Value:
    """Range, gradient and Hessian on a box (None: not known to be differentiable), and convexity by rules."""

    span: Span
    slope: _Row | None = field(default_factory=dict)
    bend: _Matrix | None = field(default_factory=dict)
    convex: bool = True
    concave: bool = True
    terms: list[Value] | None = None
    kind: tuple[str, Value, Span] | None = None  #: It is c + z² or c + eᶻ: ("square" or "exp", z, c).

    @property
    def parts(self) -> list[Value]:
        return [self] if self.terms is None else self.terms

    @property
    def constant(self) -> bool:
        return self.slope == {} and self.bend == {}


def number(t: float) -> Value:
    """A constant."""
    return Value((t, t))


def _joined(f: Mapping[Any, Span] | None, g: Mapping[Any, Span] | None) -> Any:
    if f is None or g is None:
        return None
    if not f or not g:
        return f or g
    total = dict(f)
    for key, entry in g.items():
        total[key] = _add(total[key], entry) if key in total else entry
    return total


def _times(c: Span, f: Mapping[Any, Span] | None) -> Any:
    return f if not f else {key: _mul(c, entry) for key, entry in f.items()}


def plus(f: Value, g: Value) -> Value:
    """f + g."""
    span, slope, bend = _add(f.span, g.span), _joined(f.slope, g.slope), _joined(f.bend, g.bend)
    terms = None if bend == {} else f.parts + g.parts
    kinds = [(*one.kind[:2], _add(one.kind[2], c.span)) for one, c in ((f, g), (g, f)) if one.kind and c.constant]
    kind = kinds[0] if kinds else None
    return Value(span, slope, bend, f.convex and g.convex, f.concave and g.concave, terms, kind)


def scaled(c: Span, f: Value) -> Value:
    """c·f for a number c."""
    if c in (_NIL, _ONE):
        return f if c[0] else number(0.0)
    up, down = c[0] >= 0.0, c[1] <= 0.0
    convex = (f.convex and f.concave) or (f.convex and up) or (f.concave and down)
    concave = (f.convex and f.concave) or (f.concave and up) or (f.convex and down)
    terms = None if f.terms is None else [scaled(c, part) for part in f.terms]
    return Value(_mul(c, f.span), _times(c, f.slope), _times(c, f.bend), convex, concave, terms)


def _crossed(f: _Row | None, g: _Row | None) -> _Matrix | None:
    """f gᵀ + g fᵀ, each pair once."""
    if f is None or g is None:
        return None
    cross: _Matrix = {}
    for (i, a), (j, b) in product(f.items(), g.items()):
        key = (min(i, j), max(i, j))
        entry = _mul(a, b) if i != j else _mul((2.0, 2.0), _mul(a, b))
        cross[key] = _add(cross.get(key, _NIL), entry)
    return cross


def _outer(f: _Row) -> _Matrix:
    keys = sorted(f)
    return {(i, j): _square(f[i]) if i == j else _mul(f[i], f[j]) for i in keys for j in keys if i <= j}


def times(f: Value, g: Value) -> Value:
    """f·g."""
    if f.constant or g.constant:
        return scaled(f.span, g) if f.constant else scaled(g.span, f)
    slope = _joined(_times(g.span, f.slope), _times(f.span, g.slope))
    bend = _joined(_joined(_times(g.span, f.bend), _times(f.span, g.bend)), _crossed(f.slope, g.slope))
    return Value(_mul(f.span, g.span), slope, bend, False, False)


def composed(f: Value, span: Span, rate: Span, turn: Span, *, smooth: bool = True, floor: float = -_INF) -> Value:
    """h∘f from the ranges of h, h′, h″ on that of f; h is defined on t ≥ floor."""
    affine = f.convex and f.concave
    below = f.convex and f.span[0] >= floor
    convex = turn[0] >= 0.0 and (affine or (rate[0] >= 0.0 and below) or (rate[1] <= 0.0 and f.concave))
    concave = turn[1] <= 0.0 and (affine or (rate[0] >= 0.0 and f.concave) or (rate[1] <= 0.0 and below))
    if f.constant:
        return Value(span)
    if not smooth or f.slope is None or f.bend is None:
        return Value(span, None, None, convex, concave)
    bend = _joined(_times(turn, _outer(f.slope)), _times(rate, f.bend))
    return Value(span, _times(rate, f.slope), bend, convex, concave)


def _of_sum(f: Value, kind: str, span: Span) -> Value | None:
    """√(c + z²) or log(c + eᶻ), c > 0 and z affine, which bend up: by composition alone their turn is lost in ranges.

    h″ = (c/g)/√g ≥ 0 and |h′| < 1 for the first, h′ = 1 − s and h″ = s(1 − s) with s = c/g in (0, 1) for the other.
    """
    if f.kind is None or f.kind[0] != kind or f.kind[2][0] <= 0.0 or not (f.kind[1].convex and f.kind[1].concave):
        return None
    _, z, c = f.kind
    low, high = _mul(c, _inverse(f.span))
    low, high = max(low, 0.0), min(high, 1.0)
    if kind == "square":
        rate, turn = _mul(z.span, _inverse(span)), _mul((low, high), _inverse(span))
        return composed(z, span, (max(rate[0], -1.0), min(rate[1], 1.0)), (max(turn[0], 0.0), turn[1]))
    ends = [_mul((s, s), _add(_ONE, (-s, -s))) for s in (low, high)]
    most = 0.25 if low <= 0.5 <= high else max(end[1] for end in ends)
    return composed(z, span, _add(_ONE, (-high, -low)), (max(min(end[0] for end in ends), 0.0), most))


def power(f: Value, a: float) -> Value:
    """f^a."""
    if a in (0.0, 1.0):
        return f if a else number(1.0)
    if a == 0.5 and (root := _of_sum(f, "square", _power(f.span, a))):
        return root
    whole, (lo, hi) = a.is_integer(), f.span
    pole = a < 0.0 and whole and not (lo > 0.0 or hi < 0.0)
    smooth = (whole and a > 0.0) or lo > 0.0 or (whole and hi < 0.0)
    if not whole and hi < 0.0:
        return Value(_ALL, None, None, False, False)
    if pole and lo < 0.0:  # an even one rises to ∞ on both sides
        return Value(_power(f.span, a) if a % 2.0 == 0.0 else _ALL, None, None, False, False)
    rate = _mul((a, a), _power(f.span, a - 1.0))
    second = _mul((a, a), _add((a, a), (-1.0, -1.0)))
    turn = _mul(second, _power(f.span, a - 2.0)) if a != 2.0 else (2.0, 2.0)
    if not whole:  # on t ≥ 0, infinite at 0
        rate = (0.0, _INF) if a > 0.0 and lo <= 0.0 else (-_INF, 0.0) if lo <= 0.0 else rate
        turn = turn if lo > 0.0 else (0.0, _INF) if second[0] > 0.0 else (-_INF, 0.0)
    elif pole:
        rate, turn = (-_INF, 0.0), (0.0, _INF)
    result = composed(f, _power(f.span, a), rate, turn, smooth=smooth, floor=-_INF if whole else 0.0)
    return replace(result, kind=("square", f, _NIL)) if a == 2.0 else result


def exp(f: Value) -> Value:
    """exp f."""
    e = _exp(f.span)
    return replace(composed(f, e, e, e), kind=("exp", f, _NIL))


def log(f: Value) -> Value:
    """log f."""
    if f.span[1] <= 0.0:
        return Value(_ALL, None, None, False, False)
    if soft := _of_sum(f, "exp", _log(f.span)):
        return soft
    rate = _inverse((max(f.span[0], 0.0), f.span[1]))
    return composed(f, _log(f.span), rate, _neg(_square(rate)), smooth=f.span[0] > 0.0, floor=0.0)


def _tan(f: Value) -> Value:
    cos = _through(libmp.mpi_cos, f.span)
    if cos[0] <= 0.0 <= cos[1]:
        return Value(_ALL, None, None, False, False)
    tan, rate = _through(libmp.mpi_tan, f.span), _inverse(_square(cos))
    return composed(f, tan, rate, _mul((2.0, 2.0), _mul(tan, rate)))


def _sin(f: Value) -> Value:
    sin, cos = _through(libmp.mpi_sin, f.span), _through(libmp.mpi_cos, f.span)
    return composed(f, sin, cos, _neg(sin))


def _cos(f: Value) -> Value:
    sin, cos = _through(libmp.mpi_sin, f.span), _through(libmp.mpi_cos, f.span)
    return composed(f, cos, _neg(sin), _neg(cos))


def _hyperbolic(f: Value) -> tuple[Span, Span]:
    """(sinh, cosh)."""
    sizes = [(_exp((t, t)), _exp((-t, -t))) for t in f.span]
    (sl, _), (_, sh) = (_mul((0.5, 0.5), _add(a, _neg(b))) for a, b in sizes)
    ends = [_mul((0.5, 0.5), _add(a, b)) for a, b in sizes]
    inside = f.span[0] <= 0.0 <= f.span[1]
    return (sl, sh), (1.0 if inside else max(1.0, min(e[0] for e in ends)), max(e[1] for e in ends))


def _sinh(f: Value) -> Value:
    sinh, cosh = _hyperbolic(f)
    return composed(f, sinh, cosh, sinh)


def _cosh(f: Value) -> Value:
    sinh, cosh = _hyperbolic(f)
    return composed(f, cosh, sinh, cosh)


def _tanh(f: Value) -> Value:
    rate = _inverse(_square(_hyperbolic(f)[1]))
    ends = [_add(_ONE, _mul((-2.0, -2.0), _inverse(_add(_ONE, _exp((2 * t, 2 * t)))))) for t in f.span]
    tanh = max(-1.0, ends[0][0]), min(1.0, ends[1][1])
    return composed(f, tanh, rate, _mul((-2.0, -2.0), _mul(tanh, rate)))


def absolute(f: Value) -> Value:
    """|f|."""
    if f.span[0] > 0.0 or f.span[1] < 0.0:
        return scaled(_ONE if f.span[0] > 0.0 else (-1.0, -1.0), f)
    return composed(f, _size(f.span), (-1.0, 1.0), (0.0, _INF), smooth=False)


_FUNCTIONS: dict[str, Callable[[Value], Value]] = {
    "abs": absolute, "exp": exp, "log": log, "sqrt": lambda f: power(f, 0.5), "sin": _sin, "cos": _cos, "tan": _tan,
    "sinh": _sinh, "cosh": _cosh, "tanh": _tanh,
}  # fmt: skip


# --- formulas ---------------------------------------------------------------------------------------------------------


class _Squares(ast.NodeTransformer):
    def visit_BinOp(self, node: ast.BinOp) -> ast.BinOp:
        self.generic_visit(node)
        alike = isinstance(node.op, ast.Mult) and type(node.left) is type(node.right)
        if not alike or isinstance(node.left, ast.Constant) or ast.dump(node.left) != ast.dump(node.right):
            return node
        return ast.BinOp(node.left, ast.Pow(), ast.Constant(2))


def parsed(text: Any) -> ast.expr:
    """The syntax tree of a formula, f·f as f²; nothing in it is ever run."""
    try:
        tree: ast.expr = _Squares().visit(ast.parse(str(text).strip(), mode="eval")).body
        return tree
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise BadCertificate(f"{str(text)[:60]!r} is not a formula.") from None


def value(tree: ast.expr, names: Mapping[str, Value]) -> Value:
    """The formula's value with these names."""
    match tree:
        case ast.Constant(value=int() | float() as t) if not isinstance(t, bool) and math.isfinite(t):
            return number(float(t))
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return scaled((-1.0, -1.0), value(inner, names))
        case ast.UnaryOp(op=ast.UAdd(), operand=inner):
            return value(inner, names)
        case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](value(inner, names))
        case ast.BinOp(left=left, op=op, right=right):
            return _operation(op, left, right, names)
    raise BadCertificate(f"{ast.dump(tree)[:60]} is not allowed in a formula.")


def _operation(op: ast.operator, left: ast.expr, right: ast.expr, names: Mapping[str, Value]) -> Value:
    f, g = value(left, names), value(right, names)
    if isinstance(op, ast.Add | ast.Sub):
        return plus(f, g if isinstance(op, ast.Add) else scaled((-1.0, -1.0), g))
    if isinstance(op, ast.Mult):
        return times(f, g)
    if isinstance(op, ast.Div):
        return scaled(_inverse(g.span), f) if g.constant else times(f, power(g, -1.0))
    if isinstance(op, ast.Pow) and g.constant and g.span[0] == g.span[1]:
        return power(f, g.span[0])
    if isinstance(op, ast.Pow):
        return exp(times(g, log(f)))
    raise BadCertificate(f"{type(op).__name__} is not allowed in a formula.")


@dataclass(frozen=True)
class Relation:
    """left − right ≤ 0, or = 0."""

    left: ast.expr
    right: ast.expr
    equal: bool

    def value(self, names: Mapping[str, Value]) -> Value:
        return plus(value(self.left, names), scaled((-1.0, -1.0), value(self.right, names)))


def relations(text: Any) -> Iterator[Relation]:
    """A constraint as one or two relations."""
    tree = parsed(text)
    if not isinstance(tree, ast.Compare):
        raise BadCertificate(f"{str(text)[:60]!r} is not a constraint.")
    sides = [tree.left, *tree.comparators]
    for left, op, right in zip(sides, tree.ops, sides[1:], strict=False):
        if not isinstance(op, ast.LtE | ast.GtE | ast.Eq):
            raise BadCertificate(f"{str(text)[:60]!r} is not a constraint.")
        yield Relation(*((right, left) if isinstance(op, ast.GtE) else (left, right)), isinstance(op, ast.Eq))


# --- a follower's problem, with the rule substituted in ---------------------------------------------------------------


@dataclass
class Player:
    """One follower's own problem: its cost and rows as functions of its actions alone."""

    name: str
    own: list[str]
    bounds: list[tuple[float | None, float | None]]
    sign: float
    cost: ast.expr
    rows: list[Relation]
    game: Rules
    claims: dict[str, Any]
    whole: list[bool]  #: Which of its actions are whole numbers.

    def values(self, box: Sequence[Span], choice: Mapping[str, str] | None = None) -> tuple[Value, list[Value]]:
        """(cost, to be minimised; rows ≤ 0 or = 0) on a box of its actions."""
        names = self.game.names(self.own, box, choice or {})
        cost = scaled((self.sign, self.sign), value(self.cost, names))
        return cost, [row.value(names) for row in self.rows]

    @property
    def plan(self) -> list[float]:
        return [self.game.plan[name] for name in self.own]

    @property
    def sizes(self) -> list[float]:
        """Of each action: the width of its bounds, or the largest of its level and its bound; 1 where that is 0."""
        sizes = []
        for t, (lower, upper) in zip(self.plan, self.bounds, strict=True):
            ends = [abs(end) for end in (t, lower, upper) if end is not None]
            sizes.append((max(ends) if lower is None or upper is None else upper - lower) or 1.0)
        return sizes

    def height(self, row: Value) -> float:
        """How much a row changes at the plan over the size of an action; 0 where that is not known."""
        slopes = (row.slope or {}).items()
        return max((max(map(abs, slope)) * self.sizes[i] for i, slope in slopes), default=0.0)

    def box(self) -> tuple[list[Span], bool]:
        """What bounds and linear rows leave of the actions, within reach where that has no end; if all have one."""
        ends = [(-_INF if lower is None else lower, _INF if upper is None else upper) for lower, upper in self.bounds]
        if any(map(math.isinf, sum(ends, ()))):
            for _ in range(_SWEEPS):
                self._tighten(ends)
        spans = []
        for (lower, upper), at in zip(ends, self.plan, strict=True):
            room = REACH * max(1.0, abs(at))
            spans.append((max(min(lower, at), at - room), min(max(upper, at), at + room)))
        spans = [
            (math.ceil(lo), math.floor(hi)) if whole else (lo, hi)
            for (lo, hi), whole in zip(spans, self.whole, strict=True)
        ]
        return spans, not any(map(math.isinf, sum(ends, ())))

    def _tighten(self, ends: list[Span]) -> None:
        """One sweep: g + Σ s_j (v_j − v_j*) ≤ 0 leaves v_i so much, whatever the other actions are."""
        _, rows = self.values([(t, t) for t in self.plan])
        for row, relation in zip(rows, self.rows, strict=True):
            if row.bend != {} or not row.slope:
                continue
            for sign in (_ONE, (-1.0, -1.0))[: 1 + relation.equal]:
                slopes = {i: _mul(sign, s) for i, s in row.slope.items()}
                rooms = {i: _add(ends[i], (-self.plan[i], -self.plan[i])) for i in slopes}
                for i, slope in slopes.items():
                    rest = _mul(sign, row.span)
                    for j in slopes.keys() - {i}:
                        rest = _add(rest, _mul(slopes[j], rooms[j]))
                    if slope[0] <= 0.0 <= slope[1] or math.isinf(rest[0]):
                        continue
                    step = _add(_mul((-rest[0], -rest[0]), _inverse(slope)), (self.plan[i], self.plan[i]))
                    low, high = ends[i]
                    ends[i] = (low, min(high, step[1])) if slope[0] > 0.0 else (max(low, step[0]), high)


class Rules:
    """The plan and the announced rule: what everybody's variables are when one follower deviates."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        game, rule = document["game"], document["rule"]
        self.plan = {str(name): float(t) for name, t in document["plan"].items()}
        self.still = {name: number(t) for name, t in self.plan.items()}
        if not all(map(math.isfinite, self.plan.values())):
            raise BadCertificate("the plan has numbers that are not finite.")
        self.leader = [str(name) for name in rule["leader"]]
        self.signals = [{str(n): float(w) for n, w in s["terms"].items()} for s in rule["signals"]]
        self.gain = [(int(r), int(c), float(t)) for r, c, t in rule["gain"]]
        self.bend = [(int(r), int(c), float(t)) for r, c, t in rule["bend"]]
        declared = _declared(game["leader"])
        self.limits = declared if rule["saturate"] else {}
        leaders = set(declared)
        self.aggregates: list[tuple[str, Relation]] = []
        for entry in game["leader"].get("aggregates", ()):
            text = entry["row"] if isinstance(entry, Mapping) else entry
            (row,) = relations(text)
            inside = {n.id for side in (row.left, row.right) for n in ast.walk(side) if isinstance(n, ast.Name)}
            known = {name for name, _ in self.aggregates}
            own = [entry["variable"]] if isinstance(entry, Mapping) else sorted((inside & leaders) - known)
            if len(own) != 1 or not row.equal:
                raise BadCertificate(f"{text[:60]!r} does not say which aggregate it defines.")
            self.aggregates.append((own[0], row))
        missing = ({*self.leader, *(n for s in self.signals for n in s)}) - self.plan.keys()
        if missing:
            raise BadCertificate(f"{min(missing)} is not in the plan.")

    def names(self, own: Sequence[str], box: Sequence[Span], choice: Mapping[str, str]) -> dict[str, Value]:
        """Name → value: the actions on the box, what they move, the plan for all the rest."""
        names, deviations = self._moved(own, box)
        for leader in self.leader:
            names[leader] = self._projected(leader, self._answer(leader, deviations), choice.get(leader, ""))
        self._follow(names)
        return names

    def choices(self, own: Sequence[str], box: Sequence[Span]) -> Iterator[dict[str, str]]:
        """Where a projected rule may be on a box: each leader variable free, at its lower or its upper bound."""
        ways: list[list[tuple[str, str]]] = []
        _, deviations = self._moved(own, box) if self.limits else ({}, [])
        for leader in self.leader if self.limits else ():
            low, high = self._answer(leader, deviations).span
            lower, upper = self.limits.get(leader, (None, None))
            below, above = lower is not None and low < lower, upper is not None and high > upper
            if below or above:
                free = (lower is None or high >= lower) and (upper is None or low <= upper)
                kinds = ["free"] * free + ["lower"] * below + ["upper"] * above
                ways.append([(leader, kind) for kind in kinds])
        yield from map(dict, product(*ways)) if math.prod(map(len, ways)) <= PIECES else iter([{}])

    def edges(self, own: Sequence[str], box: Sequence[Span], choice: Mapping[str, str]) -> list[Value]:
        """Rows ≤ 0 on a box that say where a choice is what a projected rule does."""
        rows: list[Value] = []
        _, deviations = self._moved(own, box) if choice else ({}, [])
        for leader, kind in choice.items():
            answer, (lower, upper) = self._answer(leader, deviations), self.limits[leader]
            for limit, side, beyond in ((lower, -1.0, "lower"), (upper, 1.0, "upper")):
                if limit is not None and kind in ("free", beyond):
                    sign = side if kind == "free" else -side
                    rows.append(scaled((sign, sign), plus(answer, number(-limit))))
        return rows

    def _moved(self, own: Sequence[str], box: Sequence[Span]) -> tuple[dict[str, Value], list[Value]]:
        """(the plan with the actions on the box, what that moves of the signals)."""
        names = dict(self.still)
        names |= {n: Value(s, {i: _ONE}) for i, (n, s) in enumerate(zip(own, box, strict=True))}
        before = dict(names)
        self._follow(before)
        return names, [self._deviation(signal, before) for signal in self.signals]

    def _follow(self, names: dict[str, Value]) -> None:
        """Put the aggregates where their equalities have them: z = z* − (row − row*) / (∂row/∂z)."""
        still = self.still
        for aggregate, row in self.aggregates:
            level = row.value(still)
            rate = row.value({**still, aggregate: Value((still[aggregate].span), {0: _ONE})})
            if rate.bend != {} or not rate.slope or rate.slope[0][0] <= 0.0 <= rate.slope[0][1]:
                raise BadCertificate(f"{aggregate}: its equality is not linear in it.")
            step = plus(row.value({**names, aggregate: still[aggregate]}), scaled((-1.0, -1.0), level))
            names[aggregate] = plus(still[aggregate], scaled(_neg(_inverse(rate.slope[0])), step))

    def _deviation(self, signal: Mapping[str, float], names: Mapping[str, Value]) -> Value:
        deviation = number(0.0)
        for name, weight in signal.items():
            if not names[name].constant:
                step = plus(names[name], number(-self.plan[name]))
                deviation = plus(deviation, scaled((weight, weight), step))
        return deviation

    def _answer(self, leader: str, deviations: Sequence[Value]) -> Value:
        answer = number(self.plan[leader])
        for row, column, entry in self.gain:
            if self.leader[row] == leader and not deviations[column].constant:
                answer = plus(answer, scaled((entry, entry), deviations[column]))
        for row, column, entry in self.bend:
            if self.leader[row] == leader and not deviations[column].constant:
                answer = plus(answer, scaled((entry / 2.0, entry / 2.0), power(deviations[column], 2.0)))
        return answer

    def _projected(self, leader: str, answer: Value, kind: str) -> Value:
        lower, upper = self.limits.get(leader, (None, None))
        limit = {"lower": lower, "upper": upper}.get(kind)
        if kind == "free" or limit is not None:
            return answer if limit is None else number(limit)
        return _clipped(_clipped(answer, lower, 1.0), upper, -1.0)


def _clipped(f: Value, limit: float | None, side: float) -> Value:
    """max(limit, f) for side 1, min(limit, f) for side −1."""
    if limit is None or (f.span[0] >= limit if side > 0.0 else f.span[1] <= limit):
        return f
    if f.span[1] <= limit if side > 0.0 else f.span[0] >= limit:
        return number(limit)
    ends = (limit, f.span[1]) if side > 0.0 else (f.span[0], limit)
    return Value(ends, None, None, f.convex and side > 0.0, f.concave and side < 0.0)


_Limits = tuple[float | None, float | None]


def _declared(player: Mapping[str, Any]) -> dict[str, _Limits]:
    """Name → (lower, upper) of a player's variables."""
    limits: dict[str, _Limits] = {}
    for variable in player.get("variables", ()):
        lower, upper = (None if variable.get(key) is None else float(variable[key]) for key in ("lb", "ub"))
        limits[str(variable["name"])] = lower, upper
    return limits


def problems(document: Mapping[str, Any]) -> Iterator[Player]:
    """Every follower that the certificate speaks of; raises :class:`BadCertificate`."""
    rules = Rules(document)
    players = {player["name"]: player for player in document["game"]["followers"]}
    for name, claims in document["followers"].items():
        player = players[name]
        if player.get("size", 1) != 1:
            raise BadCertificate(f"{name}: a population; its members are not checked one by one.")
        declared = _declared(player)
        yield Player(
            name,
            list(declared),
            list(declared.values()),
            -1.0 if str(player.get("sense", "minimize")).startswith("max") else 1.0,
            parsed(player["objective"]),
            [row for text in player.get("constraints", ()) for row in relations(text)],
            rules,
            claims,
            [bool(variable.get("integer")) for variable in player.get("variables", ())],
        )


# --- bounds -----------------------------------------------------------------------------------------------------------


def _pivots_hold(bend: _Matrix, size: int, share: float) -> bool:
    """True if every symmetric matrix in these ranges, less ``share`` of its diagonal and plus noise, is ⪰ 0."""
    full = [[bend.get((min(i, j), max(i, j)), _NIL) for j in range(size)] for i in range(size)]
    for i in range(size):
        low, high = full[i][i]
        room = max(-_down(-_NOISE * max(abs(low), abs(high))), 0.0)
        full[i][i] = (
            _down(low - share * max(low, 0.0) + room) if high or low else 0.0,
            -_down(-high - room) if high else high,
        )
    for k in range(size):
        pivot = full[k][k]
        rest = range(k + 1, size)
        if pivot == _NIL and all(full[k][j] == _NIL for j in rest):
            continue
        if pivot[0] <= 0.0:
            return False
        for i in rest:
            factor = _mul(full[i][k], _inverse(pivot))
            for j in rest:
                taken = _mul(factor, full[k][j]) if i != j else _mul(_square(full[i][k]), _inverse(pivot))
                full[i][j] = _add(full[i][j], _neg(taken))
    return True


def _curvature(f: Value, size: int) -> list[float] | None:
    """m_i with F ⪰ Σ ½ m_i v_i² up to noise, where F is shown to be convex on the box; None where it is not."""
    curved = [part for part in f.parts if not (part.convex and part.bend is None)]
    bends: list[_Matrix | None] = []
    for chosen in (
        f.parts,
        curved,
        [p for p in curved if not p.convex or _is_flat(p)],
        [p for p in curved if not p.convex],
    ):
        if all(p.convex for p in f.parts if not any(p is c for c in chosen)):
            total: _Matrix | None = {}
            for part in chosen:
                total = _joined(total, part.bend)
            bends.append(total)
    for bend in bends:
        if bend is None:
            continue
        diagonal = [bend.get((i, i), _NIL) for i in range(size)]
        for share in (0.5, 0.0625, 0.00390625, 0.0):
            if _pivots_hold(bend, size, share):
                return [share * max(low, 0.0) - 2.0 * _NOISE * max(abs(low), abs(high)) for low, high in diagonal]
    return [0.0] * size if f.convex else None


def _is_flat(f: Value) -> bool:
    """True if its Hessian is one matrix, but for rounding."""
    return f.bend is not None and all(b - a <= SAME * max(abs(a), abs(b)) for a, b in f.bend.values())


def _least_along(slope: Span, room: Span, bend: float) -> float:
    """A lower bound of g d + ½ bend d² over g in slope and d in room (which holds 0)."""
    worst = 0.0
    for g, d in ((slope[0], room[1]), (-slope[1], -room[0])):  # d ≥ 0, both ways
        end = _add(_mul((g, g), (0.0, d)), _mul((0.5 * min(bend, 0.0),) * 2, _square((0.0, d))))[0]
        if bend > 0.0 and g < 0.0:
            valley = _mul(_neg(_square((g, g))), _inverse((2.0 * bend, 2.0 * bend)))[0]
            end = max(end, valley)
        worst = min(worst, end)
    return worst


def _least_near(tangent: Value, rooms: Sequence[Span], bends: Sequence[float] | None) -> float:
    """A lower bound of a tangent and what is above it, over a box that ends in these rooms around the point."""
    total = tangent.span
    for i, room in enumerate(rooms):
        step = _least_along((tangent.slope or {}).get(i, _NIL), room, bends[i] if bends is not None else 0.0)
        total = _add(total, (step, step))
    return total[0]


def _pushed(tangent: Value, edges: Sequence[Value], rooms: Sequence[Span], bends: Sequence[float] | None) -> float:
    """The best of :func:`_least_near` with multipliers ≥ 0 of affine rows ≤ 0: each makes one slope 0, or is 0.

    Every such bound holds where the rows do; which is best is tried, so that nobody has to be believed.
    """
    best = _least_near(tangent, rooms, bends)
    for edge in edges:
        slopes, steep = tangent.slope or {}, edge.slope or {}
        sizes = [-sum(slopes.get(i, _NIL)) / sum(s) for i, s in steep.items() if sum(s)]
        pushed = [plus(tangent, scaled((p, p), edge)) for p in sizes if 0.0 < p < _INF]
        bounds = [_least_near(one, rooms, bends) for one in pushed]
        if bounds and max(bounds) > best:
            best = max(bounds)
            tangent = pushed[bounds.index(best)]
    return best


@dataclass
class Bound:
    """F = f + pᵀg + qᵀh + w ‖h‖² of one follower, and how it is bounded."""

    player: Player
    multipliers: list[float]
    weight: float
    edges: Sequence[float] = ()  #: Multipliers of the rows that say where a case is.
    closed: list[tuple[dict[str, str], float]] = field(default_factory=list)  #: (case of the rule, bound there).

    def lagrangian(self, box: Sequence[Span], choice: Mapping[str, str]) -> tuple[Value, list[Value]]:
        cost, rows = self.player.values(box, choice)
        for row, relation, p in zip(rows, self.player.rows, self.multipliers, strict=True):
            cost = plus(cost, scaled((p, p), row)) if p else cost
            if relation.equal and self.weight:
                cost = plus(cost, scaled((self.weight, self.weight), power(row, 2.0)))
        if self.edges:
            for edge, q in zip(self.player.game.edges(self.player.own, box, choice), self.edges, strict=True):
                cost = plus(cost, scaled((q, q), edge)) if q else cost
        return cost, rows

    def on(self, box: Sequence[Span], point: Sequence[float]) -> float:
        """A lower bound of the cost on the part of the box where the rows hold; ∞ where that is empty.

        A projected rule is taken piece by piece: where its formula holds is a row more, which pushes as the plan asks.
        """
        return min(self._known(choice) or self.case(box, point, choice) for choice in self._choices(box))

    def _choices(self, box: Sequence[Span]) -> Iterator[dict[str, str]]:
        return self.player.game.choices(self.player.own, box)

    def _known(self, choice: Mapping[str, str]) -> float | None:
        """The bound of the closed case that the choice is a part of."""
        known = (b for case, b in self.closed if all(choice.get(name, "free") == kind for name, kind in case.items()))
        return next(known, None)

    def case(self, box: Sequence[Span], point: Sequence[float], choice: Mapping[str, str]) -> float:
        """A lower bound where the rule does what the choice says."""
        whole, rows = self.lagrangian(box, choice)
        if any(edge.span[0] > 0.0 for edge in self.player.game.edges(self.player.own, box, choice)):
            return _INF
        for row, relation in zip(rows, self.player.rows, strict=True):
            if row.span[0] > 0.0 or (relation.equal and row.span[1] < 0.0):
                return _INF
        best = whole.span[0] if not math.isnan(whole.span[0]) else -_INF
        inside = all(lo <= t <= hi for t, (lo, hi) in zip(point, box, strict=True))
        centre = list(point) if inside else [min(max(lo / 2.0 + hi / 2.0, lo), hi) for lo, hi in box]
        bends = _curvature(whole, len(box))
        if bends is None and whole.slope is None:
            return best
        at, _ = self.lagrangian([(t, t) for t in centre], choice)
        if at.slope is None:
            return best
        slopes = at.slope if bends is not None or whole.slope is None else whole.slope
        rooms = [(_down(lo - t), -_down(t - hi)) for t, (lo, hi) in zip(centre, box, strict=True)]
        base = Value((at.span[0], at.span[0]), dict(slopes))
        edges = self.player.game.edges(self.player.own, [(t, t) for t in centre], choice) if choice else []
        pushing = [edge for edge in edges if edge.bend == {}]
        ways = [bends, [0.0] * len(box)] if whole.convex and bends is not None and min(bends) < 0.0 else [bends]
        return max(best, *(_pushed(base, pushing, rooms, way) for way in ways))  # rules know no noise of pivots

    def least(self, box: list[Span], point: Sequence[float], enough: float, boxes: int) -> float:
        """A lower bound over the box; pieces whose bound is not ``enough`` are halved, up to so many boxes."""
        waiting, seen, least = [box], 0, _INF
        count = sum(self.player.whole)
        most = max(boxes, 2 ** (count + 1)) if boxes > 1 and count else boxes
        most = most if len(box) - count <= ACTIONS and count <= WHOLE else 1
        while waiting:
            piece = waiting.pop()
            seen += 1
            bound = self.on(piece, point)
            if bound >= enough or seen >= most:
                least = min(least, bound)
                if bound < enough:
                    return least if seen == 1 else -_INF
                continue
            halves = self._halves(piece, seen)
            if not halves:
                return -_INF
            waiting += halves
        return least

    def _halves(self, piece: list[Span], seen: int) -> list[list[Span]]:
        """The piece halved along its widest integer action, or along the widest other; empty where it is a point."""
        widths = [(hi - lo) / max(1.0, abs(lo), abs(hi)) if seen % 2 else hi - lo for lo, hi in piece]
        wide = [w and (self.player.whole[k], w) for k, w in enumerate(widths)]
        i = max(range(len(piece)), key=lambda k: wide[k] or (False, 0.0))
        lo, hi = piece[i]
        middle = lo / 2.0 + hi / 2.0
        parts = ((lo, middle), (middle, hi)) if lo < middle < hi else ()
        if self.player.whole[i] and lo < hi:
            parts = ((lo, math.floor(middle)), (math.floor(middle) + 1.0, hi))
        return [[*piece[:i], part, *piece[i + 1 :]] for part in parts]


# --- checking ---------------------------------------------------------------------------------------------------------


@dataclass
class Checked:
    """What was derived of one follower."""

    name: str
    epsilon: float  #: What it can gain at most; ∞ where nothing was shown.
    claimed: float
    faults: list[str]
    bounded: bool  #: False: shown within ``REACH`` of the plan alone.

    @property
    def ok(self) -> bool:
        return not self.faults and self.epsilon <= self.claimed


def derived(player: Player, boxes: int = BOXES) -> float:
    """ε of one follower: what its cost at the plan is above the least bound, with the file's points and multipliers."""
    claims = player.claims
    weight = float(claims["weight"])
    if not 0.0 <= weight < _INF:
        raise BadCertificate(f"{player.name}: a weight of the wrong sign.")
    point, multipliers = _told(player, claims)
    box, _ = player.box()
    cost, _ = player.values([(t, t) for t in player.plan])
    enough = cost.span[1] - float(claims["within"])
    bound = Bound(player, multipliers, weight)
    for case in claims.get("cases", ()):
        choice = {str(name): str(kind) for name, kind in case["choice"].items()}
        centre, pulls = _told(player, case)
        edges = [float(p) for p in case["edges"]]
        if not all(0.0 <= p < _INF for p in edges):
            raise BadCertificate(f"{player.name}: a multiplier of the wrong sign.")
        least = Bound(player, pulls, weight, edges).case(box, centre, choice)
        if least >= enough:
            bound.closed.append((choice, least))
    least = bound.least(box, point, enough, boxes)
    return max(0.0, -_down(least - cost.span[1])) if math.isfinite(cost.span[1]) else _INF


def _told(player: Player, claims: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """(point, multipliers of the rows) as the file has them."""
    point, multipliers = ([float(t) for t in claims[key]] for key in ("point", "multipliers"))
    if len(multipliers) != len(player.rows) or len(point) != len(player.own):
        raise BadCertificate(f"{player.name}: another number of multipliers or actions than it has.")
    wrong = [p for p, row in zip(multipliers, player.rows, strict=True) if not row.equal and p < 0.0]
    if wrong or not all(map(math.isfinite, [*multipliers, *point])):
        raise BadCertificate(f"{player.name}: a multiplier of the wrong sign.")
    return point, multipliers


def _differs(f: Span, g: Span, size: float) -> bool:
    return max(f[0] - g[1], g[0] - f[1], 0.0) > SAME * size


def _samples(player: Player) -> Iterator[list[float]]:
    """The plan, and points between it and the ends of the box."""
    box, _ = player.box()
    for k in range(5):
        shares = [((3 * k + 5 * i) % 7 - 3) / (8.0 if k % 2 else 80.0) * bool(k) for i in range(len(box))]
        yield [
            t + s * ((hi - t) if s > 0.0 else (t - lo)) for t, s, (lo, hi) in zip(player.plan, shares, box, strict=True)
        ]


def _faults(player: Player) -> Iterator[str]:
    """What the file says that is not so: bounds, the plan's cost, the composed problem, rows that the plan breaks."""
    claims = player.claims
    stated = claims["composed"]
    if [list(pair) for pair in player.bounds] != [list(stated["bounds"][name]) for name in player.own]:
        yield "its bounds are not those of the composed problem"
    cost, rows = player.values([(t, t) for t in player.plan])
    claim = player.sign * float(claims["cost"])
    if _differs(cost.span, (claim, claim), max(abs(claim), float(claims["within"]))):
        yield f"its cost at the plan is {player.sign * cost.span[0]:.10g}, not {float(claims['cost']):.10g}"
    names = player.game.names(player.own, [(t, t) for t in player.plan], {})
    for row, relation in zip(rows, player.rows, strict=True):
        off = max(row.span[1], -row.span[0] if relation.equal else 0.0)
        sides = [abs(value(side, names).span[0]) for side in (relation.left, relation.right)]
        if not off <= FEASIBLE * max(player.height(row), *sides):
            yield f"the plan breaks one of its rows by {off:.2g}"
    for t, (lower, upper), size in zip(player.plan, player.bounds, player.sizes, strict=True):
        room = FEASIBLE * size
        if (lower is not None and t < lower - room) or (upper is not None and t > upper + room):
            yield "the plan is outside its bounds"
    if any(whole and t != round(t) for t, whole in zip(player.plan, player.whole, strict=True)):
        yield "the plan has a fraction of an integer action"
    if stated["cost"] is not None:
        yield from _composition(player, parsed(stated["cost"]), [r for text in stated["rows"] for r in relations(text)])


def _composition(player: Player, cost: ast.expr, rows: Sequence[Relation]) -> Iterator[str]:
    """Where the composed problem is not the original one with the rule substituted in, at some points."""
    seen: list[tuple[list[Span], list[Span]]] = []
    for point in _samples(player):
        box = [(t, t) for t in point]
        names = {name: number(t) for name, t in zip(player.own, point, strict=True)}
        ours, own_rows = player.values(box)
        theirs = [value(cost, names), *(row.value(names) for row in rows)]
        seen.append(([ours.span, *(r.span for r in own_rows if not r.constant)], [v.span for v in theirs]))
    for ours_at, theirs_at in seen:
        if len(ours_at) != len(theirs_at):
            yield "the composed problem has another number of rows"
            return
    for k in range(len(seen[0][0])):
        size = max(
            [abs(t) for ours_at, theirs_at in seen for s in (ours_at[k], theirs_at[k]) for t in s if math.isfinite(t)]
            + [2.0**-60]
        )
        if any(_differs(ours_at[k], theirs_at[k], size) for ours_at, theirs_at in seen):
            yield "the composed problem is not the original one with the rule substituted in"
            return


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of everything but the digest itself."""
    rest = {key: part for key, part in document.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check(document: Any) -> list[Checked]:
    """Derive the claim about every follower again from a certificate alone.

    Parameters
    ----------
    document : dict
        What a certificate's JSON holds.

    Returns
    -------
    list of Checked
        One for each follower.

    Raises
    ------
    BadCertificate
        It is no certificate, or was changed since it was written.
    """
    try:
        kind = document.get("format")
        if kind != FORMAT:
            raise BadCertificate(f"it is of the format {kind!r}, not {FORMAT!r}, which solve --certificate writes.")
        if document["digest"] != digest(document):
            raise BadCertificate("its contents do not match its digest: it was changed since it was written.")
        checked = []
        for player in problems(document):
            claimed = float(player.claims["epsilon"])
            faults = list(_faults(player))
            within = float(player.claims["within"])
            if not float(player.claims["regret"]) >= 0.0 or claimed > within:
                faults.append(f"what it could show, {claimed:.3g}, is more than the {within:.3g} of its report")
            epsilon = _INF if faults else derived(player)
            checked.append(Checked(player.name, epsilon, claimed * (1.0 + SAME), faults, player.box()[1]))
        if not checked:
            raise BadCertificate("it lists no follower.")
        return checked
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError, OverflowError) as error:
        raise BadCertificate(f"something is missing or of the wrong kind ({type(error).__name__}: {error}).") from None


def _said(one: Checked) -> str:
    if one.faults:
        return f"{one.name}: NOT confirmed: {'; '.join(one.faults)}"
    reach = "" if one.bounded else f" (where a variable has no bound: within {REACH:g} max(1, |plan|) of the plan)"
    if not one.ok:
        shown = f"could gain up to {one.epsilon:.3g} as far as is shown; claimed {one.claimed:.3g}"
        return f"{one.name}: NOT confirmed: {shown}"
    return f"{one.name}: confirmed: gains at most {one.epsilon:.3g} by leaving the plan{reach}"


def main(path: str) -> int:
    """Print what is confirmed of the certificate in a file; the exit code."""
    try:
        with open(path, encoding="utf-8") as file:
            checked = check(json.load(file))
    except (OSError, ValueError, BadCertificate) as error:
        reason = f"it is not JSON ({error})" if isinstance(error, json.JSONDecodeError) else error
        reason = getattr(error, "strerror", None) or reason
        print(f"{path}: no certificate that can be checked: {reason}", file=sys.stderr)
        return 2
    for one in checked:
        print(_said(one))
    ok = all(one.ok for one in checked)
    worst = max(one.epsilon for one in checked)
    plural = "" if len(checked) == 1 else "s"
    print(f"{'confirmed' if ok else 'NOT confirmed'}: {len(checked)} follower{plural}, ε = {worst:.3g}")
    return 0 if ok else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__)
        sys.exit(2)
    sys.exit(main(sys.argv[1]))
