"""What is printed: messages in the words of the command line, tables in 80 columns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import TOLL, Run, game

from stackpyomo.cli.console import in_options

pytestmark = pytest.mark.usefixtures("quick_workers")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("pass saturate=True, or design='slopes'.", "pass --saturate, or --design slopes."),
        ("name the free= variables it is made of.", "name the --free variables it is made of."),
        ("time_limit=nan: expected more.", "--time-limit nan: expected more."),
        ("a longer time_limit= gives it time; starts=20 can find better", None),
        ("(and 2 more: see game.check())", "(and 2 more: see stackpyomo check-game)"),
        ("observe=[..., (m.x - 1)**2]", "observe=[..., (m.x - 1)**2]"),
        ("announced that holds it; affine_incentive(plan) designs one where there is one.", "announced that holds it."),
        ("margin==3 and weights=: unknown", "margin==3 and weights=: unknown"),
        ("toll = 0 + 4/3 (flow − 0.6)", "toll = 0 + 4/3 (flow − 0.6)"),
    ],
)
def test_messages_in_the_words_of_the_command_line(message: str, words: str | None) -> None:
    expected = "a longer --time-limit gives it time; --starts 20 can find better" if words is None else words
    assert in_options(message) == expected


@pytest.mark.parametrize("options", [["--solver", "pounce"], ["--complementarity", "scholtes,penalty"]])
def test_comparisons_fit_80_columns(options: list[str], run: Run, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    games = [{**TOLL, "name": f"a game of a rather long name, number {number}"} for number in range(2)]
    result = run("compare", write("games.json", json.dumps(games)), *options)
    table = result.out.split("\n\n")[0].splitlines()
    assert max(map(len, table)) <= 80
    assert len(table) >= 3


@pytest.mark.parametrize("command", ["solve", "inducible", "doctor"])
def test_tables_fit_80_columns(command: str, run: Run, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    wide = game().replace("driver", "a_driver_of_a_long_name")
    result = run(command, *([] if command == "doctor" else [write("wide.py", wide)]))
    assert result.code == 0
    assert max(map(len, result.out.splitlines())) <= 80
