"""Expressions of a game file: from a string to Pyomo and back, and the names they are made of.

Nothing is run as Python: :class:`Formula` checks the syntax tree of an expression node by node and
builds Pyomo from it; :class:`Printer` turns Pyomo back into such an expression.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import math
import operator
import re
import reprlib
import unicodedata
from collections.abc import Callable, Container, Iterable, Mapping
from itertools import accumulate, chain, count, islice
from numbers import Complex, Real
from typing import Any, NamedTuple

import pyomo.environ as pyo
from pyomo.common.numeric_types import native_types
from pyomo.core.expr import numeric_expr as trees
from pyomo.core.expr.visitor import StreamBasedExpressionVisitor

from stackpyomo.core import TOLERANCES, bounds_of
from stackpyomo.errors import InvalidGame

FORMAT = "stackpyomo-game/1"

MEAN = "mean of "  #: Begins a signal of a game file that is the mean over a population.
LENGTH = 1_000_000  # characters of one expression
NESTING = 100  # brackets within brackets, in the JSON and in an expression
_GROUP = 100  # terms written side by side before a sum is split into groups

_brief = reprlib.Repr()

_brief.maxstring = _brief.maxother = 80

show = _brief.repr


class _Text(NamedTuple):
    """A piece of an expression; rank: 1 sum, 2 product, 3 negation, 4 power, 5 never bracketed."""

    text: str
    rank: int
    number: float | None = None

    def within(self, rank: int) -> str:
        return self.text if self.rank >= rank else f"({self.text})"


class Printer(StreamBasedExpressionVisitor):
    """Pyomo expressions as Python arithmetic that reads back to the same values."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()
        self.names = names
        self.component: Any = None  # whose expression this is, for errors

    def fault(self, message: str, _at: int = 0) -> InvalidGame:
        return InvalidGame(f"{self.component.name}: {message}")

    def printed(self, expression: Any, component: Any) -> _Text:
        self.component = component
        text: _Text = self.walk_expression(expression)
        Formula(text.text, {}, self.fault)  # refuses here what could not be read
        return text

    def rows(self, constraints: Iterable[Any]) -> list[str]:
        return [row for row in map(self.row, constraints) if row]

    def row(self, constraint: Any) -> str:
        """The constraint as a string, empty if it holds whatever the players do."""
        try:
            lower, body, upper = constraint.to_bounded_expression(evaluate_bounds=True)
        except ValueError as error:
            raise InvalidGame(f"{constraint.name}: {error}") from None
        low, high = bounds_of(constraint)
        text, _, number = self.printed(body, constraint)
        slack = TOLERANCES.feasibility * max(1.0, abs(number or 0.0))
        if low > high or (number is not None and not low - slack <= number <= high + slack):
            raise self.fault("can never hold; correct it, or free one of its variables.")
        if number is not None or (lower is None and upper is None):
            return ""
        if low == high:
            return f"{text} == {_literal(low).text}"
        left = "" if lower is None else f"{_literal(low).text} <= "
        right = "" if upper is None else f" <= {_literal(high).text}"
        return f"{left}{text}{right}"

    def initializeWalker(self, expression: Any) -> tuple[bool, Any]:
        walk, result = self.beforeChild(None, expression, 0)
        return walk, expression if walk else result

    def beforeChild(self, _parent: Any, child: Any, _index: int) -> tuple[bool, _Text | None]:
        if child.__class__ not in native_types:
            if child.is_expression_type() and child.is_potentially_variable():
                return True, None
            if child.is_variable_type() and not child.fixed:
                return False, self.variable(child)
        return False, self.constant(child)

    def exitNode(self, node: Any, parts: list[_Text]) -> _Text:
        if all(part.number is not None for part in parts):
            return self.constant(node)
        written = self.operation(node, parts)
        if len(written.text) > LENGTH:
            raise self.fault(f"is over {LENGTH} characters; put a variable in a part's place.")
        return written

    def variable(self, var: Any) -> _Text:
        if id(var) not in self.names:
            raise self.fault(f"{var.name} belongs to no player; activate its Block or fix it.")
        return _Text(self.names[id(var)], 5)

    def constant(self, part: Any) -> _Text:
        try:
            number = finite(pyo.value(part, exception=False))
        except (ArithmeticError, TypeError, ValueError):
            number = None
        if number is None:
            raise self.fault(f"{show(str(part))} has no finite value; set or correct it.")
        return _literal(number)

    def operation(self, node: Any, parts: list[_Text]) -> _Text:
        first, last = parts[0], parts[-1]
        if node.is_named_expression_type():
            return first
        match node:
            case trees.SumExpression():
                return _sum(parts)
            case trees.NegationExpression():
                return _negation(first)
            case trees.ProductExpression() if first.number in (1, -1):
                return last if first.number == 1 else _negation(last)
            case trees.ProductExpression():
                return _Text(f"{first.within(2)}*{last.within(4)}", 2)
            case trees.DivisionExpression() if last.number != 0:
                return _Text(f"{first.within(2)}/{last.within(4)}", 2)
            case trees.PowExpression():
                return _Text(f"{first.within(5)}**{last.within(5)}", 4)
            case trees.UnaryFunctionExpression() if node.getname() in _FUNCTIONS:
                return _Text(f"{node.getname()}({first.text})", 5)
            case trees.UnaryFunctionExpression() if node.getname() == "log10":
                return _Text(f"log({first.text})/{math.log(10)!r}", 2)
        raise self.fault(f"{show(str(node))} cannot be written in {FORMAT}; {ALLOWED}.")


def _literal(number: float) -> _Text:
    whole = number.is_integer() and abs(number) < 1e15
    text = f"{number:.0f}" if whole else repr(number)
    return _Text(text, 3 if text.startswith("-") else 5, number)


def _sum(terms: list[_Text]) -> _Text:
    """Many terms go in groups of groups: Python's parser goes one deeper at each +."""
    while len(terms) > _GROUP:
        terms = [_sum(terms[i : i + _GROUP]) for i in range(0, len(terms), _GROUP)]
    tail = (term.within(2) for term in terms[1:])
    signed = [f" - {t[1:]}" if t.startswith("-") else f" + {t}" for t in tail]
    return _Text(terms[0].text + "".join(signed), 1) if signed else terms[0]


def _negation(part: _Text) -> _Text:
    """-x*y is (-x)*y, which is the same number as -(x*y)."""
    text = f"({part.text})" if part.text.startswith("-") else part.within(2)
    return _Text(f"-{text}", 2 if part.rank == 2 else 3)


def _power(base: Any, exponent: Any) -> Any:
    """Pyomo shows x**2 for an integer exponent, x**2.0 for a float."""
    whole = isinstance(exponent, float) and exponent.is_integer() and abs(exponent) < 100
    return base ** (int(exponent) if whole and not isinstance(base, float) else exponent)


_Operations = dict[Any, Callable[..., Any]]

_CALLS = ("exp", "log", "sin", "cos", "tan", "sqrt", "sinh", "cosh", "tanh")

_FUNCTIONS: _Operations = {"abs": abs, **{name: getattr(pyo, name) for name in _CALLS}}

_UNARY: _Operations = {ast.UAdd: operator.pos, ast.USub: operator.neg}

_BINARY: _Operations = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


_BINARY |= {ast.Div: operator.truediv, ast.Pow: _power}


_RELATIONS: _Operations = {ast.LtE: operator.le, ast.GtE: operator.ge, ast.Eq: operator.eq}

ALLOWED = f"use numbers, declared names, + - * / **, and {' '.join(_FUNCTIONS)}"

_REFUSED = "FloorDiv // Mod % MatMult @ BitXor ^ BitAnd & BitOr | LShift << RShift >> Invert ~"

_SYMBOLS = dict(re.findall(r"(\w+) (\S+)", f"{_REFUSED} Lt < Gt > NotEq != LtE <= GtE >= Eq =="))


class Formula:
    """An expression of a file: parsed, checked node by node, built into Pyomo.

    ``refuse`` makes the error to raise from a message and a place in the text.
    """

    def __init__(self, text: str, variables: Mapping[str, Any], refuse: Callable[[str, int], Exception]) -> None:
        self.text, self.variables, self.refuse = text.lstrip(), variables, refuse
        self.margin = len(text) - len(self.text)
        self.tree = self.parsed()

    def fault(self, message: str, where: ast.expr | int = 0) -> Exception:
        if isinstance(where, ast.expr):
            where = len(self.text.encode()[: where.col_offset].decode())
        return self.refuse(f"{message} In {show(self.text)}", where + self.margin)

    def parsed(self) -> ast.expr:
        """The syntax tree; what is too long or deep is refused before Python's parser sees it."""
        depth = accumulate((c in "([{") - (c in ")]}") for c in self.text)
        if len(self.text) > LENGTH or max(depth, default=0) > NESTING:
            limits = f"{LENGTH} characters or {NESTING} brackets within brackets"
            raise self.fault(f"is over {limits}; put a variable in a part's place.")
        if "#" in self.text:
            raise self.fault("a comment is not allowed; move it to notes.", self.text.index("#"))
        try:
            return ast.parse(re.sub(r"\s", " ", self.text), mode="eval").body
        except SyntaxError as error:
            at = error.offset - 1 if error.offset else len(self.text)
            raise self.fault(f"{error.msg}; {ALLOWED}, with == for equality.", at) from None
        except (RecursionError, MemoryError, ValueError) as error:
            reason = str(error) or "too deep"
            raise self.fault(f"cannot be parsed ({reason}); group terms in brackets.") from None

    def relation(self) -> Any:
        """The constraint: two sides, or constant <= expression <= constant."""
        if not isinstance(self.tree, ast.Compare):
            raise self.fault("is not a constraint; add one of <=, >= or ==.")
        kinds = {type(op) for op in self.tree.ops}
        if not kinds <= set(_RELATIONS):
            wrong = next(op for op in self.tree.ops if type(op) not in _RELATIONS)
            raise self.fault(f"{_symbol(wrong)!r} does not make a constraint; write <=, >= or ==.")
        sides = [self.value(side) for side in (self.tree.left, *self.tree.comparators)]
        if len(sides) > 2:
            return self.ranged(sides if ast.LtE in kinds else sides[::-1], kinds)
        constraint = _RELATIONS[kinds.pop()](*sides)
        if isinstance(constraint, bool):
            raise self.fault(f"holds no variable and is always {constraint}; remove or correct it.")
        return constraint

    def ranged(self, sides: list[Any], kinds: set[type]) -> Any:
        constant = [isinstance(side, float) for side in sides]
        chained = len(kinds) == 1 and ast.Eq not in kinds and constant == [True, False, True]
        if chained and sides[0] <= sides[2]:
            return pyo.inequality(*sides)
        form = "smaller constant <= expression <= larger constant"
        raise self.fault(f"only {form} may be chained; write two constraints.")

    def value(self, tree: ast.expr | None = None) -> Any:
        """Children before parents and without recursion: a long sum costs no stack."""
        waiting = [self.tree if tree is None else tree]
        plan: dict[ast.expr, tuple[Callable[..., Any], list[ast.expr]]] = {}
        while waiting:
            node = waiting.pop()
            plan[node] = self.operation(node)
            waiting += reversed(plan[node][1])
        values: dict[ast.expr, Any] = {}
        for node, (make, parts) in reversed(plan.items()):
            values[node] = self.computed(node, make, [values[part] for part in parts])
        return values[node]

    def operation(self, node: ast.expr) -> tuple[Callable[..., Any], list[ast.expr]]:
        """How the node is computed and from what; refuses every node that is not arithmetic."""
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return lambda: float(number), []
            case ast.Name(id=name) if name in self.variables:
                return lambda: self.variables[name], []
            case ast.UnaryOp(op=op, operand=inner) if type(op) in _UNARY:
                return _UNARY[type(op)], [inner]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return _BINARY[type(op)], [left, right]
            case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in _FUNCTIONS:
                return _FUNCTIONS[name], [inner]
            case ast.Call(func=ast.Name(id=name)) if name in _FUNCTIONS:
                raise self.fault(f"{name} takes one argument and no keyword.", node)
            case ast.Call(func=ast.Name(id=name)):
                known = ", ".join(_FUNCTIONS)
                raise self.fault(f"{show(name)} is not a function; there are {known}.", node)
            case ast.Name(id=name):
                near = nearest(name, self.variables)
                raise self.fault(f"unknown name {show(name)}; {near}", node)
        raise self.fault(f"{_symbol(node)!r} is not allowed; {ALLOWED}.", node)

    def computed(self, node: ast.expr, make: Callable[..., Any], parts: list[Any]) -> Any:
        """Constants stay finite floats, so that no power of integers grows without end."""
        try:
            value = make(*parts)
        except (ArithmeticError, ValueError) as error:
            raise self.fault(f"cannot be computed ({error.args[-1]}); correct it.", node) from None
        factor = value.args[0] if isinstance(value, trees.MonomialTermExpression) else value
        if isinstance(factor, Complex) and finite(factor) is None:
            raise self.fault(f"comes to {factor}, not to a finite number; correct it.", node)
        return float(value) if isinstance(value, Real) else value


def _symbol(node: Any) -> str:
    """What to call a node that is refused."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    kind = type(getattr(node, "op", getattr(node, "ops", [node])[0])).__name__
    return str(_SYMBOLS.get(kind, kind.lower()))


def finite(value: Any) -> float | None:
    """The value as a float; None if it is not a finite real number."""
    try:
        return float(value) if isinstance(value, Real) and math.isfinite(value) else None
    except OverflowError:
        return None


def nearest(name: str, known: Iterable[str]) -> str:
    """What may have been meant by a name that is not known."""
    near = difflib.get_close_matches(name, known, 1)
    listed = ", ".join(islice(known, 12)) or "none"
    return f"did you mean {near[0]!r}?" if near else f"there are {listed}."


def usable(name: str) -> bool:
    """True for an identifier that is neither a keyword nor a function of the format."""
    normal = name.isidentifier() and name == unicodedata.normalize("NFKC", name)
    return normal and not keyword.iskeyword(name) and name not in _FUNCTIONS


def legal(name: str) -> str:
    """A usable name that still looks like ``name``: gen[3].output becomes gen_3_output."""
    if usable(name):
        return name
    letters = [c if f"_{c}".isidentifier() else "_" for c in unicodedata.normalize("NFKC", name)]
    plain = re.sub("_+", "_", "".join(letters)).strip("_")
    return plain if usable(plain) else f"v_{plain}"


def unique(name: str, *taken: Container[str]) -> str:
    """The name, numbered if it is taken."""
    numbered = chain([name], (f"{name}_{i}" for i in count(2)))
    return next(n for n in numbered if not any(n in names for names in taken))


ROOT = ("format", "name", "leader", "leaders", "followers", "prices", "shared", "target", "observe")

SENSES = dict.fromkeys(("minimize", "min"), pyo.minimize)

MODEL_WORDS = frozenset(dir(pyo.ConcreteModel()))  # what Pyomo lets no component be called

BLOCK_WORDS = frozenset(dir(pyo.Block(concrete=True)))
