"""Game files, parameters and neighbours, and what is said of files that are none."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import MODELS, PYTHON_FILES, TEXT, Run, game, one_message, strict


def test_a_json_game_and_a_python_game_are_the_same_game(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "game.json"
    sys.path.insert(0, os.fspath(MODELS))
    import two_roads

    two_roads.build().write(path)
    found = strict(run("solve", path, "--json", "-").out)
    assert found["plan"]["values"]["driver.flow"] == pytest.approx(0.6, abs=1e-6)
    assert found["report"]["ok"] is True


def test_parameters_reach_build(run: Run, write: Any) -> None:
    path = write("toll.py", game())
    found = strict(run("solve", path, "--parameter", "aim=0.25", "--parameter", "size=3", "--json", "-").out)
    assert found["plan"]["values"]["driver.flow"] == pytest.approx(0.25, abs=1e-6)
    text = write("text.py", game().replace("aim=0.6", 'aim="wide"').replace("- aim", '- {"wide": 0.5}[aim]'))
    found = strict(run("solve", text, "--parameter", "aim=wide", "--json", "-").out)
    assert found["plan"]["values"]["driver.flow"] == pytest.approx(0.5, abs=1e-6)
    # 1/size is 0: the size of a mean field can be given, too
    text = write("size.py", game().replace("- aim", "- (aim + 1 / size)"))
    found = strict(run("solve", text, "--parameter", "size=inf", "--json", "-").out)
    assert found["plan"]["values"]["driver.flow"] == pytest.approx(0.6, abs=1e-6)


def test_a_model_with_dataclasses(run: Run, write: Any) -> None:
    """They look their module up in sys.modules."""
    data = "from dataclasses import dataclass\n\n@dataclass\nclass Road:\n    aim: float = 0.6\n"
    path = write("roads.py", "from __future__ import annotations\n" + data + game())
    assert run("solve", path, "--json", "-").code == 0


def test_a_model_with_a_neighbour(run: Run, write: Any, tmp_path: Path) -> None:
    write("numbers_of_mine.py", "AIM = 0.25\n")
    path = write("toll.py", "import numbers_of_mine\n" + game().replace("aim=0.6", "aim=numbers_of_mine.AIM"))
    before = list(sys.path)
    found = strict(run("solve", path, "--json", "-").out)
    assert found["plan"]["values"]["driver.flow"] == pytest.approx(0.25, abs=1e-6)
    assert sys.path == before


def edited(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)


def place(text: str) -> str:
    """Where ``text`` stands in TEXT, as an editor counts."""
    before = TEXT[: TEXT.index(text)]
    return f"game.json:{before.count(chr(10)) + 1}:{len(before) - before.rindex(chr(10))}: "


JSON_FILES: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "missing": (None, ("game.json", "No such file")),
    "empty": ("", ("game.json", "nothing in it")),
    "syntax": ('{\n  "format": "stackpyomo-game/1",\n  "name" "toll"\n}\n', ("game.json:3:10: ", "is not JSON")),
    "unknown name": (edited("toll*flow", "tool*flow"), (place("toll*flow"), "tool", "toll")),
    "undeclared function": (edited("toll*flow", "system(flow)"), (place("toll*flow"), "system", "exp")),
    "attribute": (edited("toll*flow", "toll.__class__"), (place("toll*flow"), "driver")),
    "duplicate variable": (edited('"name": "flow"', '"name": "toll"'), ("game.json:", "toll")),
    "lb > ub": (edited('"lb": 0,', '"lb": 3,'), ("game.json:", "lb 3.0 lies above ub 1.0", "flow")),
    "no followers": (TEXT.split('"followers"')[0] + '"followers": []}', ("game.json:", "followers")),
    "a list": (f"[{TEXT}]", ("game.json", "list of games")),
    "another format": (edited("game/1", "game/9"), ("game.json:2:", "game/9", "game/1")),
}


@pytest.mark.parametrize("case", JSON_FILES)
def test_json_files_that_are_no_games(case: str, run: Run, write: Any, tmp_path: Path) -> None:
    text, words = JSON_FILES[case]
    if text is not None:
        write("game.json", text)
    one_message(run("solve", tmp_path / "game.json", "--json", "-"), words)


@pytest.mark.parametrize("case", PYTHON_FILES)
def test_python_files_that_are_no_games(case: str, run: Run, write: Any, tmp_path: Path) -> None:
    text, words = PYTHON_FILES[case]
    if text is not None:
        write("model.py", text)
    one_message(run("solve", tmp_path / "model.py", "--json", "-"), words)


def test_a_parameter_is_not_for_json(run: Run, write: Any) -> None:
    one_message(run("solve", write("game.json", TEXT), "--parameter", "aim=1"), ("--parameter", "build("))


def test_a_folder_is_no_game(run: Run, tmp_path: Path) -> None:
    one_message(run("solve", tmp_path), (os.fspath(tmp_path), "directory"))


def test_what_build_imports(run: Run, write: Any) -> None:
    """A neighbour that is imported only once build() runs."""
    write("late_neighbour.py", "AIM = 0.25\n")
    path = write("late.py", game("import late_neighbour"))
    before = list(sys.path)
    assert run("solve", path, "--json", "-").code == 0
    assert sys.path == before
