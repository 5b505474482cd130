"""Places: JSON as the standard has it, and where its faults are."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from conftest import drawn
from helpers.game_texts import JSONS, TOLL, refused, toll
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stackpyomo.errors import GameFileError
from stackpyomo.games import parse_game, read_game
from stackpyomo.games.files import read_games
from stackpyomo.games.files.writer import write_game


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


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", (1, 1), "nothing in it"),
        (" \n", (2, 1), "nothing in it"),
        ('{"a": 1,\n "b" 2}', (2, 6), "':'"),
        ('{"a": [1,\n 2}', (2, 3), "','"),
        ('{"a": "x', (1, 7), "Unterminated"),
        ('{"a": 1}\n]', (2, 1), "Extra data"),
        ('{"a": 1,\n "a": 2}', (2, 2), "is given twice"),
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


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("games") / "game.json"


@pytest.mark.slow
@settings(max_examples=drawn(50), deadline=None)
@given(value=st.lists(st.dictionaries(st.text(), JSONS)), indent=st.none() | st.just(2), ascii_only=st.booleans())
def test_reading_agrees_with_json(path: Path, value: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    assume(not any(0xD800 <= ord(c) < 0xE000 for c in text))
    assert read_games(path) == value
    assert pickle.loads(pickle.dumps(read_games(path))) == value
