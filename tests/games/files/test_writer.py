"""Written games: names, domains, populations, and what the format cannot say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyomo.environ as pyo
import pytest
from helpers.game_texts import GAMES, model_of, toll, values, variables

from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game, Population, parse_game, read_game
from stackpyomo.games.files import document
from stackpyomo.games.files.writer import write_game


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
        (lambda m: m.add_component("goal", pyo.Objective(expr=pyo.atan(m.x))), r"goal: 'atan\(x\)' cannot be written"),
        (
            lambda m: m.add_component("goal", pyo.Objective(expr=pyo.Expr_if(IF=m.x >= 1, THEN=m.x, ELSE=0))),
            "goal: .* cannot be written",
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


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("games") / "game.json"
