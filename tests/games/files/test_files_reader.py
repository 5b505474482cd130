"""Game files: published games read, and any other file is a game or an error with its place."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import drawn
from helpers.game_texts import GAMES, JSONS, TOLL, only_game_file_errors, refused, toll
from hypothesis import given, settings
from hypothesis import strategies as st

from stackpyomo.errors import GameFileError
from stackpyomo.games import parse_game, read_game
from stackpyomo.games.files import document
from stackpyomo.games.information import read_observation
from stackpyomo.plans import Plan


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


def test_metadata_is_a_copy() -> None:
    raw = toll() | {"reference": {"cost": [1]}}
    game = parse_game(raw)
    game.metadata["reference"]["cost"].append(2)
    written = document(game)
    written["reference"]["cost"].append(3)
    assert (raw["reference"], game.metadata["reference"]) == ({"cost": [1]}, {"cost": [1, 2]})


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [  # ¦ stands where the error is, and is taken out
        ('"name": "toll",\n', '"name": ¦3,\n', "name of game: expected a string"),
        ('{\n "format"', '¦{\n "formal"', "has no 'format'"),
        (' "name": "toll",\n', ' "name": "toll", ¦"name": "toll",\n', "is given twice"),
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
        ('"toll + flow <= 2"', '"¦toll < flow"', "'<' does not make a constraint"),
        ('"toll + flow <= 2"', '"¦toll != flow"', "'!=' does not make a constraint"),
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


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("games") / "game.json"


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
