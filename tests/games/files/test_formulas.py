"""Formulas: what they mean, how they are written, and texts that are none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import drawn
from helpers.game_texts import TOLL, model_of, only_game_file_errors, refused, toll, values, written
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stackpyomo.errors import GameFileError, InvalidGame
from stackpyomo.games import Game, parse_game
from stackpyomo.games.files import document

MATHS: dict[str, Any] = {
    name: getattr(math, name) for name in ["exp", "log", "sin", "cos", "tan", "sqrt", "sinh", "cosh", "tanh"]
} | {"abs": abs}


def with_objective(text: str) -> dict[str, Any]:
    game = toll()
    game["leader"]["objective"] = text
    return game


EXPRESSIONS = [
    "-toll**2",
    "2**-flow**2",
    "toll**flow**0.5",
    "-(-toll)*-flow",
    "toll/flow/3",
    "toll/(flow/3)*2",
    "toll - (flow - 1) - -2",
    "  +toll\n + 1e-3*flow",
    "abs(-toll) + exp(flow) + log(toll) + sqrt(toll)",
    "sin(toll)*cos(toll)/tan(flow)",
    "sinh(toll) - cosh(flow)**2 + tanh(toll*flow)",
    "0*toll + 1*flow",
    "log(2)*3**2 - 1/3",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions_mean_what_they_mean_in_python(text: str) -> None:
    read = parse_game(with_objective(text))
    for point in ([0.7, 0.4], [1.9, 0.9], [0.1, 0.2]):
        names = dict(zip(("toll", "flow"), point, strict=True))
        wanted = eval(text.strip().replace("\n", ""), {"__builtins__": {}}, {**MATHS, **names})
        assert values(read, point)[0] == pytest.approx(wanted, rel=1e-14)
        assert values(parse_game(document(read)), point)[0] == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "lower", "body", "upper"),
    [
        ("toll <= 2*flow", None, 0.3 - 2 * 0.4, 0),
        ("toll >= 1", 1, 0.3, None),
        ("1 >= toll", None, 0.3, 1),
        ("toll + flow == 1", 1, 0.7, 1),
        ("0 <= toll*flow <= 1/2", 0, 0.12, 0.5),
        ("4 >= toll >= 3 - 1", 2, 0.3, 4),
        ("0*flow <= 1", None, 0, 1),
    ],
)
def test_constraints(text: str, lower: Any, body: float, upper: Any) -> None:
    game = toll()
    game["leader"]["constraints"] = [text]
    for read in (parse_game(game), parse_game(document(parse_game(game)))):
        values(read, [0.3, 0.4])
        (row,) = read.leader.constraints
        assert (row.lb, row.ub) == (lower, upper)
        assert pyo.value(row.body) == pytest.approx(body)


@pytest.mark.parametrize(
    ("text", "offset", "words"),
    [
        ("", 0, "syntax"),
        ("flow +", 6, "syntax"),
        ("(flow", 0, "never closed"),
        ("flow) + (1", 4, "unmatched"),
        ("2flow", 0, "invalid"),
        ("flow = 1", 5, "syntax"),
        ("toll + flwo", 7, "unknown name 'flwo'; did you mean 'flow'?"),
        ("  toll + zz", 9, "unknown name 'zz'; there are toll, flow."),
        ("toll\\n + zz", 8, "unknown name"),  # an escape shortens what is counted by one
        ("π + flow", 0, "unknown name 'π'"),
        ("€ + flow", 0, "invalid character"),
        ("exp", 0, "unknown name 'exp'"),
        ("1 + arctan(flow)", 4, "there are abs, exp, log"),
        ("toll(flow)", 0, "'toll' is not a function"),
        ("2(flow)", 0, "'call' is not allowed"),
        ("exp(flow, 2)", 0, "one argument"),
        ("exp(x=flow)", 0, "no keyword"),
        ("exp(*flow)", 4, "'starred' is not allowed"),
        ("toll + flow // 2", 7, "'//' is not allowed"),
        ("flow % 2", 0, "'%' is not allowed"),
        ("flow @ 2", 0, "'@' is not allowed"),
        ("flow ^ 2", 0, "'^' is not allowed; use numbers, declared names, + - * / **"),
        ("flow | 2", 0, "'|' is not allowed"),
        ("flow << 2", 0, "'<<' is not allowed"),
        ("~flow", 0, "'~' is not allowed"),
        ("not flow", 0, "'not' is not allowed"),
        ("toll and flow", 0, "'and' is not allowed"),
        ("1 + (toll <= 3)", 5, "'<=' is not allowed"),
        ("toll == flow", 0, "'==' is not allowed"),
        ("flow.real", 0, "'attribute' is not allowed"),
        ("flow[0]", 0, "'subscript' is not allowed"),
        ("lambda: 1", 0, "'lambda' is not allowed"),
        ("1 if flow else 2", 0, "'ifexp' is not allowed"),
        ("flow, toll", 0, "'tuple' is not allowed"),
        ("(flow := 2)", 1, "'namedexpr' is not allowed"),
        ("[x for x in flow]", 0, "'listcomp' is not allowed"),
        ("__import__('os')", 0, "'__import__' is not a function"),
        ("'flow'", 0, "'flow' is not allowed"),
        ("f'{flow}'", 0, "'joinedstr' is not allowed"),
        ("True + flow", 0, "'True' is not allowed"),
        ("2j*flow", 0, "'2j' is not allowed"),
        ("None", 0, "'None' is not allowed"),
        ("flow # + toll", 5, "comment"),
        ("toll + 1/0", 7, "cannot be computed (float division by zero)"),
        ("flow/0", 0, "cannot be computed"),
        ("flow/(1 - 1)", 0, "cannot be computed"),
        ("log(0)", 0, "cannot be computed"),
        ("sqrt(-1)", 0, "cannot be computed"),
        ("exp(1000)", 0, "cannot be computed"),
        ("(-8)**(1/3)", 0, "not to a finite number"),
        ("9**9**9", 0, "cannot be computed"),
        ("1e999*flow", 0, "comes to inf"),
        ("1" + "0" * 400, 0, "cannot be computed"),
        ("flow/1e-320", 0, "comes to inf"),
        ("1e200*(1e200*flow)", 0, "comes to inf"),
        ("9" * 9999, None, "digits"),
        ("flow\\u0000", None, "null bytes"),
        ("x\\ud800", None, "surrogates"),
        ("-" * 99999 + "flow", 0, "group terms in brackets"),
        ("flow**" * 99999 + "flow", 0, "group terms in brackets"),
        ("flow+" * 99999 + "flow", 0, "group terms in brackets"),
        ("(" * 101 + "flow" + ")" * 101, 0, "100 brackets"),
        ("flow + " * 150_000 + "flow", 0, "1000000 characters"),
    ],
)
def test_expressions_that_are_refused(text: str, offset: int | None, words: str, tmp_path: Path) -> None:
    old = "(flow - 0.6)**2 + 0.01*toll**2"
    error = refused(tmp_path / "game.json", TOLL.replace(old, text))
    assert words in str(error)
    assert "objective of leader: " in str(error)
    assert len(str(error)) < 600 + len(str(tmp_path))
    assert error.line == 6
    assert offset is None or error.column == 17 + offset


def test_without_a_file_the_error_counts_characters() -> None:
    with pytest.raises(GameFileError, match=r"^objective of leader: .*\(at character 8\)") as caught:
        parse_game(with_objective("toll + flwo"))
    assert (caught.value.line, caught.value.column, caught.value.path) == (None, None, "")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (lambda m: m.x, "x"),
        (lambda m: 3, "3"),
        (lambda m: -m.x + 2.0 * m.f.y - 1.5, "-x + 2*y - 1.5"),
        (lambda m: m.x - (m.f.y - 1), "x - (y - 1)"),
        (lambda m: m.x - m.inner, "x - (x - y)"),
        (lambda m: m.p * m.x + m.fixed, "2.5*x + 4"),
        (lambda m: m.p * m.fixed * m.x, "10*x"),
        (lambda m: m.x * (m.f.y * m.x) / (m.x / m.f.y), "x*(y*x)/(x/y)"),
        (lambda m: (-m.x) ** 2, "(-x)**2"),
        (lambda m: -(m.x**2), "-x**2"),
        (lambda m: (m.x**m.f.y) ** 2, "(x**y)**2"),
        (lambda m: m.x ** (m.f.y**2), "x**(y**2)"),
        (lambda m: m.x**-2 * (-m.f.y), "x**(-2)*(-y)"),
        (lambda m: (-2) ** m.x, "(-2)**x"),
        (lambda m: pyo.exp(m.x + 1) * abs(m.f.y), "exp(x + 1)*abs(y)"),
        (lambda m: pyo.log10(m.x), "log(x)/2.302585092994046"),
        (lambda m: 0.1 * m.x + 1e-7 * m.f.y + 1e20, "0.1*x + 1e-07*y + 1e+20"),
        (lambda m: sum(m.x * i for i in range(3)), "0*x + x + 2*x"),
    ],
)
def test_expressions_are_written_readably(expression: Any, text: str) -> None:
    assert written(expression) == text


def _doubling(m: Any) -> None:
    e = m.x + 1
    for i in range(60):
        m.add_component(f"e{i}", pyo.Expression(expr=e * e))
        e = m.component(f"e{i}")
    m.goal = pyo.Objective(expr=e)


def test_named_expressions_that_double_are_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stackpyomo.games.files.formulas.LENGTH", 10_000)
    with pytest.raises(InvalidGame, match="goal: is over 10000 characters; put a variable"):
        document(model_of(_doubling))


@pytest.mark.slow
def test_long_sums_go_both_ways() -> None:
    m = pyo.ConcreteModel()
    m.u = pyo.Var(range(10_500))
    m.f = pyo.Block()
    m.f.y = pyo.Var()
    m.f.cost = pyo.Objective(expr=m.f.y**2)
    m.goal = pyo.Objective(expr=sum((m.u[i] - i) ** 2 for i in m.u))
    game = Game(m, m.f)
    point = [float(i % 7) for i in range(10_501)]
    wanted = sum((point[i] - i) ** 2 for i in range(10_500))  # integers: exact in any order
    assert values(parse_game(document(game)), point)[0] == wanted
    text = " + ".join(["toll"] * 900)
    assert values(parse_game(with_objective(text)), [1.0, 0.0])[0] == 900


NUMBERS = st.integers(-8, 8).map(lambda n: n / 4) | st.floats(-3, 3).filter(lambda x: abs(x) > 0.01)


SMOOTH = [pyo.sin, pyo.cos, pyo.tanh, abs]


DANGEROUS = [pyo.exp, pyo.log, pyo.log10, pyo.sqrt, pyo.sinh, pyo.cosh, pyo.tan]


def _combined(parts: Any) -> Any:
    pairs = st.tuples(parts, parts)
    return st.one_of(
        *(pairs.map(lambda p, op=op: ("pair", op, *p)) for op in "+-*/"),
        *(parts.map(lambda p, f=f: ("call", f, p)) for f in (*SMOOTH, *DANGEROUS)),
        parts.map(lambda p: ("negation", p)),
        st.tuples(parts, st.integers(-2, 3) | st.sampled_from([0.5, 1.5])).map(lambda p: ("power", *p)),
        parts.map(lambda p: ("exponent", p)),
        parts.map(lambda p: ("named", p)),
    )


TREES = st.recursive(NUMBERS | st.sampled_from(["x", "y", "p", "fixed"]), _combined, max_leaves=14)


def _pyomo(m: Any, tree: Any) -> Any:
    if isinstance(tree, str):
        return m.f.y if tree == "y" else getattr(m, tree)
    if not isinstance(tree, tuple):
        return tree
    kind, *parts = tree
    if kind == "pair":
        a, b = _pyomo(m, parts[1]), _pyomo(m, parts[2])
        return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b}[parts[0]]()
    if kind == "call":
        return parts[0](_pyomo(m, parts[1]))
    inner = _pyomo(m, parts[0])
    if kind == "named":
        index = len(m.named)
        m.named[index] = inner
        return m.named[index]
    return {"negation": lambda: -inner, "power": lambda: inner ** parts[1], "exponent": lambda: 1.5**inner}[kind]()


def _value(game: Game, point: list[float]) -> list[Any] | None:
    """Objective and constraint of the leader, None where they are not defined or too steep to compare."""
    try:
        first = values(game, point)
        second = values(game, [v * (1 + 1e-13) for v in point])
    except (ArithmeticError, ValueError, TypeError):
        return None
    flat = [x for entry in (*first, *second) for x in (entry if isinstance(entry, list) else [entry])]
    if any(isinstance(x, complex) or (x is not None and not math.isfinite(x)) for x in flat):
        return None
    close = _near(first, second, 1e-8)
    return first if close else None


def _near(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(_near(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return a == b or math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)


@pytest.mark.slow
@settings(max_examples=drawn(200), deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(TREES, TREES, st.lists(st.tuples(NUMBERS, NUMBERS), min_size=4, max_size=4))
def test_what_is_written_reads_back_to_the_same_values(tree: Any, row: Any, points: Any) -> None:
    def build(m: Any) -> None:
        m.named = pyo.Expression(pyo.Any)
        m.p = pyo.Param(initialize=0.75, mutable=True)
        m.fixed = pyo.Var(initialize=-1.25)
        m.fixed.fix()
        m.goal = pyo.Objective(expr=_pyomo(m, tree))
        m.row = pyo.Constraint(expr=pyo.inequality(-1, m.x + _pyomo(m, row), 2))

    try:
        game = model_of(build)
        text = document(game)
    except (ArithmeticError, ValueError, TypeError):  # such as log(-1): no such game
        assume(False)
    again = parse_game(json.loads(json.dumps(text, allow_nan=False)))
    compared = 0
    for point in points:
        wanted = _value(game, list(point))
        if wanted is not None:
            assert _near(values(again, list(point)), wanted, 1e-6)
            compared += 1
    assume(compared)
    once_more = document(again)
    assert document(parse_game(once_more)) == once_more


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("games") / "game.json"


TOKENS = [
    "flow", "toll", "x", "1", "2.5", "0", "1e999", "9", "**", "**", "*", "/", "//", "%", "+", "-", "(", "(", "(",
    ")", ")", ")", "exp(", "log(", "abs(", "sqrt(", ",", "<=", "==", "<", "=", "if", "else", "lambda", ".", "[",
    "]", "{", "}", "'", '"', ":", "not", "and", "is", "1j", "True", "\\", "#", "@", "^", "\n",
]  # fmt: skip


@settings(max_examples=drawn(500), deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=14).map(" ".join) | st.text(), st.booleans())
def test_any_expression_is_read_or_a_clear_error(text: str, as_constraint: bool) -> None:
    game = with_objective("0" if as_constraint else text)
    if as_constraint:
        game["leader"]["constraints"] = [text]
    only_game_file_errors(lambda: parse_game(game))
