"""Game files: published games read, anything written reads back, bad input is named with its place."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import drawn
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stackpyomo.errors import GameFileError, InvalidGame
from stackpyomo.games import Game, Population, parse_game, read_game
from stackpyomo.games.files import document, read_games
from stackpyomo.games.files.formulas import FORMAT
from stackpyomo.games.files.writer import write_game
from stackpyomo.games.information import read_observation
from stackpyomo.plans import Plan

GAMES = sorted((Path(__file__).parents[2] / "data" / "games").glob("*.json"))
MATHS = {name: getattr(math, name) for name in ["exp", "log", "sin", "cos", "tan", "sqrt", "sinh", "cosh", "tanh"]}
MATHS["abs"] = abs

TOLL = f"""{{
 "format": "{FORMAT}",
 "name": "toll",
 "leader": {{
  "variables": [{{"name": "toll", "lb": -2, "ub": 2}}],
  "objective": "(flow - 0.6)**2 + 0.01*toll**2"
 }},
 "followers": [{{
   "name": "driver",
   "variables": [{{"name": "flow", "lb": 0, "ub": 1, "start": 5}}],
   "objective": "(flow - 1)**2 + toll*flow",
   "constraints": ["toll + flow <= 2"]
 }}]
}}"""


def toll() -> dict[str, Any]:
    return json.loads(TOLL)


def with_objective(text: str) -> dict[str, Any]:
    game = toll()
    game["leader"]["objective"] = text
    return game


def variables(game: Game) -> list[Any]:
    return [v for player in (game.leader, *game.followers.values()) for v in player.variables]


def contents(game: Game) -> list[Any]:
    """Every objective and constraint body with its bounds, aggregates last."""
    apart = {id(row) for row in game.aggregates}
    found: list[Any] = []
    for player in (game.leader, *game.followers.values()):
        rows = [row for row in player.constraints if id(row) not in apart]
        found += [player.objective.expr, *((row.lb, row.body, row.ub) for row in rows)]
    return found + [(row.lb, row.body, row.ub) for row in game.aggregates]


def values(game: Game, point: list[float]) -> list[Any]:
    for var, value in zip(variables(game), point, strict=True):
        var.set_value(value, skip_validation=True)
    return [
        [None if part is None else pyo.value(part) for part in entry] if isinstance(entry, tuple) else pyo.value(entry)
        for entry in contents(game)
    ]


# Reading


@pytest.mark.parametrize("path", GAMES, ids=lambda path: path.stem)
def test_published_games_have_their_published_costs(path: Path) -> None:
    game, raw = read_game(path), json.loads(path.read_text())
    assert game.name == raw["name"]
    reference = game.metadata["reference"]
    assert reference == raw["reference"]
    assert "CC0" in game.metadata["source"]
    if reference["leader"] is None:
        return
    for player, key in ((game.leader, "leader"), (game.followers["follower"], "follower")):
        assert [v.local_name for v in player.variables] == [
            v["name"] for v in ([raw["leader"], *raw["followers"]][key == "follower"]["variables"])
        ]
        for var, value in zip(player.variables, reference[key], strict=True):
            var.set_value(value)
    assert pyo.value(game.leader.objective) == pytest.approx(reference["leader_cost"])
    assert pyo.value(game.followers["follower"].objective) == pytest.approx(reference["follower_cost"])
    assert Plan.from_values(game).residuals["feasibility"] <= 1e-9


@pytest.mark.parametrize("path", GAMES, ids=lambda path: path.stem)
def test_published_games_write_as_they_were_read(path: Path, tmp_path: Path) -> None:
    raw = json.loads(path.read_text())
    game = read_game(path)
    write_game(game, tmp_path / "game.json")
    written = json.loads((tmp_path / "game.json").read_text())
    assert document(read_game(tmp_path / "game.json")) == written
    for key in set(raw) - {"leader", "followers"}:
        assert written[key] == raw[key]
    for ours, theirs in zip(written["followers"], raw["followers"], strict=True):
        assert ours["variables"] == theirs["variables"]
    point = [0.25 * (i + 1) for i in range(len(variables(game)))]
    assert values(read_game(tmp_path / "game.json"), point) == values(game, point)


def test_components_carry_the_names_of_the_file() -> None:
    game = parse_game(toll())
    model = game.model
    assert (model.toll.bounds, model.driver.flow.bounds) == ((-2, 2), (0, 1))
    assert (model.toll.value, model.driver.flow.value) == (None, 5)  # a start outside is no error
    assert game.leader.objective is model.objective
    assert game.followers["driver"].objective is model.driver.cost
    assert [row.name for row in game.followers["driver"].constraints] == ["driver.constraints[1]"]


def test_names_of_players_and_components_may_meet() -> None:
    game = toll()
    leader, follower = game["leader"], game["followers"][0]
    leader["variables"] += [{"name": "objective"}, {"name": "constraints"}]
    leader["constraints"] = ["objective + constraints <= cost"]
    follower["variables"].append({"name": "cost"})
    game["followers"] += [copy.deepcopy(follower), copy.deepcopy(follower)]
    for i, name in enumerate(("toll", "unit 1", "unit-1")):
        game["followers"][i]["name"] = name
        for var in game["followers"][i]["variables"] if i else []:
            var["name"] += str(i)
    read = parse_game(game)
    assert list(read.followers) == ["toll_2", "unit_1", "unit_1_2"]
    written = document(read)
    assert [f["name"] for f in written["followers"]] == list(read.followers)
    assert document(parse_game(written)) == written


def test_senses_sizes_bounds_and_aggregates() -> None:
    game = toll()
    game["leader"] |= {"sense": "max", "aggregates": ["mean == 3*flow"], "constraints": None}
    game["leader"]["variables"].append({"name": "mean", "lb": "-inf", "ub": None})
    game["followers"][0] |= {"size": "inf", "sense": "min"}
    read = parse_game(game)
    assert read.leader.objective.sense == pyo.maximize
    assert read.followers["driver"].objective.sense == pyo.minimize
    assert read.followers["driver"].size == math.inf
    assert [row.name for row in read.aggregates] == ["aggregates[1]"]
    assert read.leader.constraints == read.aggregates
    assert read.model.mean.bounds == (None, None)
    written = document(read)
    assert written["leader"]["aggregates"] == ["mean - 3*flow == 0"]
    assert written["leader"]["constraints"] == []
    assert written["followers"][0]["size"] == "inf"
    again = parse_game(written)
    assert (document(again), len(again.aggregates)) == (written, 1)


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


def test_catalogues(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    path.write_text("[" + TOLL + ",\n" + TOLL.replace("0.01*toll", "0.01*tol") + "]")
    good, bad = read_games(path)
    assert good == toll()
    assert parse_game(good).name == "toll"
    with pytest.raises(GameFileError, match="unknown name 'tol'; did you mean") as caught:
        parse_game(bad, path=str(path))
    column = TOLL.splitlines()[5].index("toll**2") + 1
    assert (caught.value.line, caught.value.column) == (14 + 6, column)
    with pytest.raises(GameFileError, match="read_games"):
        read_game(path)
    path.write_text(TOLL)
    with pytest.raises(GameFileError, match="read_game"):
        read_games(path)
    path.write_text("[{},\n 3]")
    with pytest.raises(GameFileError, match=r"game 2 .* expected an object") as caught:
        read_games(path)
    assert (caught.value.line, caught.value.column) == (2, 2)


def test_metadata_is_a_copy() -> None:
    raw = toll() | {"reference": {"cost": [1]}}
    game = parse_game(raw)
    game.metadata["reference"]["cost"].append(2)
    written = document(game)
    written["reference"]["cost"].append(3)
    assert (raw["reference"], game.metadata["reference"]) == ({"cost": [1]}, {"cost": [1, 2]})


# Errors of a file


def refused(path: Path, text: str | bytes) -> GameFileError:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(GameFileError) as caught:
        read_game(path)
    error = caught.value
    assert str(error).startswith(str(path))
    assert error.path == str(path)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    return error


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", (1, 1), "nothing in it"),
        (" \n", (2, 1), "nothing in it"),
        ('{"a": 1,\n "b" 2}', (2, 6), "':'"),
        ('{"a": [1,\n 2}', (2, 3), "','"),
        ('{"a": "x', (1, 7), "Unterminated"),
        ('{"a": 1}\n]', (2, 1), "Extra data"),
        ('{"a": 1,\n "a": 2}', (2, 2), "stands twice"),
        ('{"a":\n NaN}', (2, 2), "NaN is not a finite number; write null"),
        ('{"a": [-Infinity]}', (1, 8), "-Infinity is not a finite"),
        ('{"a": 1e999}', (1, 7), "1e999 is not a finite"),
        ('{"a": ' + "[" * 150 + "]" * 150 + "}", (1, 106), "nested more than 100"),
        ('{"a": ' + "[" * 99999 + "]" * 99999 + "}", None, "recursion"),
        ('{"a": ' + "9" * 9999 + "}", None, "digits"),
        (b'{"a": "\xff"}', None, "UTF-8"),
        ("3", None, "expected an object {...}, found 3"),
        ("{}", (1, 1), "has no 'format'"),
        ('{"format": 1}', (1, 12), "expected a string"),
        ('{"format": "stackpyomo-game/2"}', (1, 12), "write 'stackpyomo-game/1'"),
    ],
)
def test_files_that_are_no_games(text: str | bytes, place: tuple[int, int] | None, words: str, tmp_path: Path) -> None:
    error = refused(tmp_path / "game.json", text)
    assert words in str(error)
    assert place is None or (error.line, error.column) == place


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path, "a\0b"):
        with pytest.raises(GameFileError, match="cannot be read"):
            read_game(path)
    with pytest.raises(GameFileError, match="cannot be written"):
        write_game(parse_game(toll()), tmp_path / "no" / "game.json")


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "game.json").write_text(TOLL, encoding="utf-8-sig")
    assert read_game(tmp_path / "game.json").name == "toll"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [  # ¦ stands where the error is, and is taken out
        ('"name": "toll",\n', '"name": ¦3,\n', "name of game: expected a string"),
        ('{\n "format"', '¦{\n "formal"', "has no 'format'"),
        (' "name": "toll",\n', ' "name": "toll", ¦"name": "toll",\n', "stands twice"),
        ('"leader": {', '"leader": ¦3, "x": {', "leader: expected an object"),
        ('"followers": [', '"followers": ¦3, "x": [', "expected a list [...], found 3"),
        ('[{"name": "toll"', '[¦"toll", {"name": "toll"', "variable 1 of leader: expected"),
        ('"variables": [{"name": "flow"', '"x": ¦[{"name": "flow"', "unknown field 'x'; there are"),
        ('"objective": "(flow - 0', '"objektive": ¦"(flow - 0', "did you mean 'objective'?"),
        ('[{\n   "name": "driver",', "[¦{", "follower 1 of game: has no 'name'"),
        ('[{"name": "toll", ', "[¦{", "variable 1 of leader: has no 'name'"),
        ('"name": "flow"', '"name": ¦"toll"', "'toll' is declared twice"),
        ('"name": "flow"', '"name": ¦"my flow"', "'my flow' is not a Python identifier"),
        ('"name": "flow"', '"name": ¦"exp"', "'exp' is not"),
        ('"name": "flow"', '"name": ¦"lambda"', "'lambda' is not"),
        ('"name": "flow"', '"name": ¦"index"', "reserved by Pyomo; rename it"),
        ('[{"name": "toll", "lb": -2', '[¦{"name": "toll", "lb": 3', "lb 3.0 lies above ub 2.0"),
        ('"lb": -2', '"lb": ¦"inf"', "lb of variable 'toll' of leader: expected a finite"),
        ('"lb": -2', '"lb": ¦true', "expected a finite number"),
        ('"lb": -2', '"lb": ¦1' + "0" * 400, "expected a finite number"),
        ('"start": 5', '"start": ¦"5"', "expected a finite number, or null, found '5'"),
        ('"start": 5', '"guess": ¦5', "unknown field 'guess'"),
        ('"start": 5', '"integer": ¦1', "expected true or false, found 1"),
        ('"ub": 2}', '"UB": ¦2}', "there are name, lb, ub, start"),
        ('"name": "driver"', '"name": "driver", "size": ¦0', 'whole number from 1 on, or "inf"'),
        ('"name": "driver"', '"name": "driver", "size": ¦1.5', "found 1.5"),
        ('"name": "driver"', '"name": "driver", "size": ¦true', "found True"),
        ('"name": "driver"', '"name": "driver", "sense": ¦"up"', "write minimize or maximize"),
        ('"name": "driver"', '"name": "driver", "aggregates": ¦[]', "unknown field"),
        ('["toll + flow <= 2"]', '¦"toll + flow <= 2"', "expected a list"),
        ('"toll + flow <= 2"', "¦3", "constraint 1 of follower 'driver': expected a string"),
        ('"toll + flow <= 2"', '"flow <= 1", "toll + ¦flwo <= 2"', "did you mean 'flow'?"),
        ('"toll + flow <= 2"', '"¦toll + flow"', "add one of <=, >= or =="),
        ('"toll + flow <= 2"', '"¦toll < flow"', "'<' makes no constraint"),
        ('"toll + flow <= 2"', '"¦toll != flow"', "'!=' makes no constraint"),
        ('"toll + flow <= 2"', '"toll ¦= flow"', "== for equality"),
        ('"toll + flow <= 2"', '"¦1 <= 2"', "holds no variable and is always True"),
        ('"toll + flow <= 2"', '"¦3 == 2"', "holds no variable and is always False"),
        ('"toll + flow <= 2"', '"¦toll <= flow <= 2"', "write two constraints"),
        ('"toll + flow <= 2"', '"¦1 <= flow >= 2"', "write two constraints"),
        ('"toll + flow <= 2"', '"¦2 <= flow <= 1"', "write two constraints"),
        ('"toll + flow <= 2"', '"¦1 == flow == 1"', "write two constraints"),
        ('"toll + flow <= 2"', '"¦0 <= 1 <= 2"', "write two constraints"),
        ('ub": 2}],', 'ub": 2}], "aggregates": [¦"toll >= flow"],', "write =="),
    ],
)
def test_documents_that_are_no_games(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert TOLL.count(old) == 1
    before, after = TOLL.replace(old, new).split("¦")
    error = refused(tmp_path / "game.json", before + after)
    assert words in str(error)
    assert error.line == before.count("\n") + 1
    assert error.column == len(before) - before.rfind("\n")


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("leader", "has no 'leader'"),
        ("followers", "has no 'followers'; list at least one"),
        ("leader.objective", "leader: has no 'objective'"),
        ("leader.variables", "leader: has no 'variables'"),
        ("followers.0.objective", "follower 'driver': has no 'objective'"),
        ("followers.0.variables", "follower 'driver': has no 'variables'"),
    ],
)
@pytest.mark.parametrize("value", [None, ...])
def test_fields_that_are_missing(field: str, words: str, value: Any) -> None:
    game = toll()
    holder: Any = game
    *path, last = field.split(".")
    for key in path:
        holder = holder[int(key) if key.isdigit() else key]
    holder[last] = value
    if value is ...:
        del holder[last]
    with pytest.raises(GameFileError, match=words):
        parse_game(game)


def test_two_followers_of_one_name() -> None:
    game = toll()
    game["followers"] *= 2
    with pytest.raises(GameFileError, match="'driver' is taken"):
        parse_game(game)


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
        ("toll(flow)", 0, "'toll' is no function"),
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
        ("__import__('os')", 0, "'__import__' is no function"),
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


# Writing


def model_of(build: Any) -> Game:
    """A game whose one follower owns y, the leader x; ``build`` adds to the model."""
    m = pyo.ConcreteModel(name="written")
    m.x = pyo.Var()
    m.f = pyo.Block()
    m.f.y = pyo.Var()
    m.f.cost = pyo.Objective(expr=(m.f.y - m.x) ** 2)
    build(m)
    if not list(m.component_objects(pyo.Objective, descend_into=False)):
        m.goal = pyo.Objective(expr=m.x)
    return Game(m, m.f)


def written(expression: Any) -> str:
    """How the leader's objective ``expression(m)`` is written."""

    def build(m: Any) -> None:
        m.p = pyo.Param(initialize=2.5, mutable=True)
        m.fixed = pyo.Var(initialize=4)
        m.fixed.fix()
        m.inner = pyo.Expression(expr=m.x - m.f.y)
        m.goal = pyo.Objective(expr=expression(m))

    return document(model_of(build))["leader"]["objective"]


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


def test_names_are_short_where_they_can_be() -> None:
    m = pyo.ConcreteModel()
    m.price = pyo.Var([1, 2])
    m.part = pyo.Block()
    m.part.load = pyo.Var()  # nothing of the model itself can be called load
    m.gen = pyo.Block([3, "north west"])
    for block in m.gen.values():
        block.output = pyo.Var()
        block.cost = pyo.Objective(expr=m.price[1] * block.output + m.part.load)
    m.gen[3].load = pyo.Var()
    m.gen["north west"].own = pyo.Var(["ä", "€"])
    m.gen_3_output = pyo.Var()
    m.goal = pyo.Objective(expr=m.gen[3].output + m.gen_3_output)
    written = document(Game(m, m.gen))
    names = [[v["name"] for v in p["variables"]] for p in (written["leader"], *written["followers"])]
    assert names[0] == ["price_1", "price_2", "gen_3_output", "part_load"]
    assert names[1] == ["gen_3_output_2", "gen_3_load"]
    assert names[2] == ["gen_north_west_output", "own_ä", "own"]
    assert written["leader"]["objective"] == "gen_3_output_2 + gen_3_output"
    assert [f["name"] for f in written["followers"]] == ["gen_3", "gen_north_west"]
    assert document(parse_game(written)) == written


def test_inactive_fixed_and_idle_parts_are_left_out() -> None:
    def build(m: Any) -> None:
        m.old = pyo.Objective(expr=m.x**9)
        m.old.deactivate()
        m.goal = pyo.Objective(expr=m.x, sense=pyo.maximize)
        m.z = pyo.Var(bounds=(0, 1), initialize=0.5)
        m.z.fix()
        m.rows = pyo.ConstraintList()
        m.rows.add(m.x + m.z <= 1)
        m.rows.add(m.x >= 7)
        m.rows[2].deactivate()
        m.rows.add(m.z <= 1)
        m.rows.add(pyo.inequality(-1, m.x, 1))

    leader = document(model_of(build))["leader"]
    assert leader["objective"] == "x"
    assert leader["sense"] == "maximize"
    assert leader["variables"] == [{"name": "x"}]
    assert leader["constraints"] == ["x + 0.5 <= 1", "-1 <= x <= 1"]


def test_populations_and_domains() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(within=pyo.NonNegativeReals, initialize=2)
    m.f, m.g = pyo.Block(), pyo.Block()
    for block in (m.f, m.g):
        block.y = pyo.Var(within=pyo.UnitInterval)
        block.cost = pyo.Objective(expr=block.y)
    m.goal = pyo.Objective(expr=m.x)
    game = document(Game(m, [Population(m.f, 7), Population(m.g, math.inf)], name="crowd"))
    assert game["name"] == "crowd"
    assert game["leader"]["variables"] == [{"name": "x", "lb": 0.0, "start": 2.0}]
    assert [f["size"] for f in game["followers"]] == [7, "inf"]
    assert game["followers"][1]["variables"] == [{"name": "g_y", "lb": 0.0, "ub": 1.0}]
    assert [f.size for f in parse_game(game).followers.values()] == [7, math.inf]


def test_integers_go_both_ways() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(within=pyo.Binary)
    m.f = pyo.Block()
    m.f.y = pyo.Var(within=pyo.Integers, bounds=(-3, 5), initialize=2)
    m.f.z = pyo.Var(bounds=(0, 1))
    m.f.cost = pyo.Objective(expr=(m.f.y - m.x) ** 2 + m.f.z)
    m.goal = pyo.Objective(expr=m.x)
    written = document(Game(m, m.f))
    assert written["leader"]["variables"] == [{"name": "x", "lb": 0.0, "ub": 1.0, "integer": True}]
    assert written["followers"][0]["variables"][0] == {
        "name": "y",
        "lb": -3.0,
        "ub": 5.0,
        "start": 2.0,
        "integer": True,
    }
    assert "integer" not in written["followers"][0]["variables"][1]
    read = parse_game(written)
    assert [v.is_integer() for v in variables(read)] == [True, True, False]
    assert document(read) == {**written, "name": read.name}
    plain = {**written["leader"]["variables"][0], "integer": False}
    relaxed = {**written, "leader": {**written["leader"], "variables": [plain]}}
    assert parse_game(relaxed).leader.integers == []


def _unowned(m: Any) -> None:
    m.off = pyo.Block()
    m.off.v = pyo.Var()
    m.off.deactivate()
    m.goal = pyo.Objective(expr=m.off.v)


def _unset(m: Any) -> None:
    m.z = pyo.Var()
    m.z.fixed = True
    m.goal = pyo.Objective(expr=m.x * m.z)


def _empty(m: Any) -> None:
    m.low = pyo.Param(initialize=1, mutable=True)
    m.c = pyo.Constraint(expr=pyo.inequality(m.low, m.x, 0))


def _sos(m: Any) -> None:
    m.w = pyo.Var([1, 2])
    m.s = pyo.SOSConstraint(var=m.w, sos=1)


def _doubling(m: Any) -> None:
    e = m.x + 1
    for i in range(60):
        m.add_component(f"e{i}", pyo.Expression(expr=e * e))
        e = m.component(f"e{i}")
    m.goal = pyo.Objective(expr=e)


def _recursive(m: Any) -> None:
    e = m.x
    for _ in range(120):
        e = pyo.sin(e)
    m.goal = pyo.Objective(expr=e)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda m: m.add_component("b", pyo.Var(within=pyo.RangeSet(0, 6, 2))),
            "b: .* real and integer variables only",
        ),
        (lambda m: m.add_component("v", pyo.Var(bounds=(2, 1))), r"v: bounds \(2, 1\)"),
        (lambda m: m.x.setlb(math.nan), "'x' .*bound"),
        (lambda m: m.x.set_value(math.nan, skip_validation=True), "x: .* value nan"),
        (
            lambda m: m.add_component("goal", pyo.Objective(expr=pyo.atan(m.x))),
            r"goal: 'atan\(x\)' cannot be said",
        ),
        (
            lambda m: m.add_component("goal", pyo.Objective(expr=pyo.Expr_if(IF=m.x >= 1, THEN=m.x, ELSE=0))),
            "goal: .* cannot be said",
        ),
        (lambda m: m.add_component("goal", pyo.Objective(expr=math.inf * m.x)), "goal: 'inf' has no"),
        (_empty, "c: can never hold"),
        (_sos, "s: .* has no SOS"),
        (lambda m: m.f.cost.deactivate(), "f: needs one active objective"),
        (_unowned, "goal: off.v belongs to no player"),
        (_unset, "goal: 'z' has no finite value"),
        (_recursive, "goal: is over .* 100 brackets"),
    ],
)
def test_what_the_format_cannot_say_is_refused(build: Any, words: str) -> None:
    game = model_of(build)
    with pytest.raises(InvalidGame, match=words):
        document(game)


def test_named_expressions_that_double_are_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stackpyomo.games.files.formulas.LENGTH", 10_000)
    with pytest.raises(InvalidGame, match="goal: is over 10000 characters; put a variable"):
        document(model_of(_doubling))


def test_metadata_that_is_not_json_is_refused(tmp_path: Path) -> None:
    for value in ({1, 2}, math.nan):
        game = parse_game(toll())
        game.metadata["reference"] = value
        with pytest.raises(InvalidGame, match="metadata"):
            write_game(game, tmp_path / "game.json")
    assert list(tmp_path.iterdir()) == []


def test_the_model_is_not_changed_by_writing() -> None:
    game = parse_game(toll())
    before = [(v.value, v.stale, v.fixed, v.bounds) for v in variables(game)]
    document(game)
    assert [(v.value, v.stale, v.fixed, v.bounds) for v in variables(game)] == before


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


# Properties

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
    return {
        "negation": lambda: -inner,
        "power": lambda: inner ** parts[1],
        "exponent": lambda: 1.5**inner,
    }[kind]()


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


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(), parts, max_size=4),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("games") / "game.json"


@settings(max_examples=drawn(50), deadline=None)
@given(
    value=st.lists(st.dictionaries(st.text(), JSONS)),
    indent=st.none() | st.just(2),
    ascii_only=st.booleans(),
)
def test_reading_agrees_with_json(path: Path, value: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    assume(not any(0xD800 <= ord(c) < 0xE000 for c in text))
    assert read_games(path) == value
    assert pickle.loads(pickle.dumps(read_games(path))) == value


def only_game_file_errors(read: Any) -> None:
    """``read()`` gives a game that can be written, or raises GameFileError and nothing else."""
    game: Game | None = None
    with contextlib.suppress(GameFileError):
        game = read()
    if game is not None:
        again = document(game)
        assert document(parse_game(again)) == again


@settings(max_examples=drawn(150), deadline=None)
@given(text=st.text() | st.binary() | JSONS.map(json.dumps))
def test_any_file_is_a_game_or_a_clear_error(path: Path, text: str | bytes) -> None:
    path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
    only_game_file_errors(lambda: read_game(path))


@settings(max_examples=drawn(300), deadline=None)
@given(
    at=st.integers(0, len(TOLL)),
    length=st.integers(0, 12),
    new=st.text(max_size=6) | st.text('"{}[],:0123456789.eE-+*/() flowtaue\\', max_size=6),
)
def test_a_game_with_a_torn_text_is_a_game_or_a_clear_error(path: Path, at: int, length: int, new: str) -> None:
    text = TOLL[:at] + new + TOLL[at + length :]
    path.write_bytes(text.encode(errors="surrogatepass"))
    only_game_file_errors(lambda: read_game(path))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [(value, k) for k in keys] + [place for k in keys for place in _places(value[k])]


@settings(max_examples=drawn(300), deadline=None)
@given(data=st.data(), new=JSONS)
def test_a_game_with_an_odd_part_is_a_game_or_a_clear_error(data: Any, new: Any) -> None:
    game = toll()
    holder, key = data.draw(st.sampled_from(range(len(_places(game)))).map(_places(game).__getitem__))
    holder[key] = new
    if isinstance(holder, dict) and data.draw(st.booleans()):
        holder[data.draw(st.text(max_size=3))] = holder.pop(key)
    only_game_file_errors(lambda: parse_game(game))


TOKENS = [
    "flow",
    "toll",
    "x",
    "1",
    "2.5",
    "0",
    "1e999",
    "9",
    "**",
    "**",
    "*",
    "/",
    "//",
    "%",
    "+",
    "-",
    "(",
    "(",
    "(",
    ")",
    ")",
    ")",
    "exp(",
    "log(",
    "abs(",
    "sqrt(",
    ",",
    "<=",
    "==",
    "<",
    "=",
    "if",
    "else",
    "lambda",
    ".",
    "[",
    "]",
    "{",
    "}",
    "'",
    '"',
    ":",
    "not",
    "and",
    "is",
    "1j",
    "True",
    "\\",
    "#",
    "@",
    "^",
    "\n",
]


@settings(max_examples=drawn(500), deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=14).map(" ".join) | st.text(), st.booleans())
def test_any_expression_is_read_or_a_clear_error(text: str, as_constraint: bool) -> None:
    game = with_objective("0" if as_constraint else text)
    if as_constraint:
        game["leader"]["constraints"] = [text]
    only_game_file_errors(lambda: parse_game(game))


# --- a plan to be held, and what the leader sees ------------------------------------------------------------------


def _asked(**more: Any) -> dict[str, Any]:
    follower = {"name": "f", "size": 10, "variables": [{"name": "v", "lb": 0, "ub": 2}], "objective": "v**2 + toll"}
    leader = {"variables": [{"name": "toll", "lb": 1}], "objective": "0"}
    return {"format": "stackpyomo-game/1", "leader": leader, "followers": [follower], **more}


def test_a_target_sets_the_values_and_an_observation_is_kept() -> None:
    game = parse_game(_asked(target={"v": "3/4"}, observe=["mean of v", "(v - 1)**2"]))
    assert game.target == {"f.v": 0.75}
    assert game.current_values() == {"toll": 1.0, "f.v": 0.75}, "what the target leaves open is next to 0"
    assert game.observe == ["mean of v", "(v - 1)**2"]
    again = parse_game(document(game))
    assert (again.target, again.observe) == (game.target, game.observe)
    assert game.with_sizes({"f": 3}).observe == game.observe
    mean, square = read_observation(game, game.observe, curved=True).signals
    assert (mean.name, mean.own, dict(mean.terms)) == ("mean of f.v", False, {"f.v": 1.0})
    assert square.value({"f.v": 3.0}) == 4.0
    assert read_observation(game, ["v"]).signals[0].own, "each member's own"
    assert [s.name for s in read_observation(game, ["actions"]).signals] == ["f.v"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"target": {"w": 1}}, "unknown name 'w'"),
        ({"target": [1]}, r"expected an object \{variable: value\}"),
        ({"target": {"v": True}}, "expected a finite number"),
        ({"target": {"v": "v + 1"}}, "unknown name"),
        ({"observe": ["w"]}, "unknown name"),
        ({"observe": ["mean of w"]}, "unknown name"),
        ({"observe": "v"}, "expected a list"),
        ({"observe": [1]}, "expected a string"),
    ],
)
def test_what_is_no_target_or_observation_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(GameFileError, match=message):
        parse_game(_asked(**more))
