"""What is printed: messages in the words of the command line, tables in 80 columns."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from conftest import TOLL, Run, game
from helpers.entries import ROWS

from stackpyomo.cli.console import in_options, show_rows
from stackpyomo.studies import Row

pytestmark = pytest.mark.usefixtures("quick_workers")


LOG = "or a longer --time-limit; --log - shows every attempt."


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("pass saturate=True, or design='slopes'.", "pass --saturate, or --design slopes."),
        ("name the free= variables it is made of.", "name the --free variables it is made of."),
        ("or choose the on-path price anew with free=.", "or choose the on-path price anew with --free."),
        (
            "holds no list of games; use read_game().",
            "holds no list of games: put [ and ] around the one that it holds.",
        ),
        ("time_limit=nan: expected more.", "--time-limit nan: expected more."),
        ("a longer time_limit= gives it time; starts=20 can find better", None),
        ("(and 2 more: see game.check())", "(and 2 more: see stackpyomo check-game)"),
        ("observe=[..., (m.x - 1)**2]", "observe=[..., (m.x - 1)**2]"),
        ("announced that holds it; affine_incentive(plan) designs one where there is one.", "announced that holds it."),
        ("margin==3 and weights=: unknown", "margin==3 and weights=: unknown"),
        ("payment=: there is nothing", "--payment: there is nothing"),
        ("choose the price anew with free=.", "choose the price anew with --free."),
        ("gain_bounds=(2.0, None): too much", "--gain-bounds 2.0,None: too much"),
        ("design='slopes' or gain_bounds=(0, 0).", "--design slopes or --gain-bounds 0,0."),
        ("or a longer time_limit=; tee=True shows a solver's log.", LOG),
        (
            "t: has no value; set it on the model, or pass leader={'t': ...}.",
            "t: has no value; give it a start value in the file.",
        ),
        ("or 'sos1', or Scholtes(), FischerBurmeister(), Penalty(), BigM(), SOS1().", "or 'sos1'."),
        ("Widen gain_bounds=.", "Widen --gain-bounds."),
        ("sp.stackelberg(game) finds plans with them.", "--responding all finds plans with them."),
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


@pytest.mark.parametrize("command", ["solve", "inducible", "doctor", "demo"])
def test_tables_fit_80_columns(command: str, run: Run, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    wide = game().replace("driver", "a_driver_of_a_long_name")
    result = run(command, *([] if command in ("doctor", "demo") else [write("wide.py", wide)]))
    assert result.code == 0
    assert max(map(len, result.out.splitlines())) <= 80


def test_rows_of_a_contract_are_not_broken(run: Run, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane holds the driver: four columns, of which headings give way, not the row."""
    monkeypatch.setenv("COLUMNS", "80")
    held = json.loads(json.dumps(TOLL).replace("flow", "flow_over_the_bridge").replace("- 0.6", "- 0.7"))
    held["followers"][0]["constraints"] = ["flow_over_the_bridge <= 0.6"]
    result = run("solve", write("lane.json", json.dumps(held)), "--multipliers", "free")
    assert result.code == 0
    assert max(map(len, result.out.splitlines())) <= 80
    assert re.search(r"^  more driver\.flow_over_the_bridge +[\d.]+ +[\d.]+ +[\d.]+$", result.out, re.MULTILINE)


def test_the_table_fits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = Row(
        "a_name_of_more_letters_than_fit_2",
        "NLP-NLP",
        -12345.678,
        -12345.678,
        -1.2e-10,
        3.4e-12,
        "multistart",
        "feasible",
        12.3,
        "unverified",
        "a long story " * 20,
    )
    show_rows([long, *ROWS])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[: 2 + len(ROWS)])) <= 80
    for cell in ("a_name_of…", "_fit_2", "-12346", "-1e-10", "3e-12", "multistart", "unverified"):
        assert cell in lines[1]
    reasons = lines[1 + 1 + len(ROWS) :]
    assert [line.split(":")[0] for line in reasons] == [long.name, "c", "d", "f", "g"]
    assert reasons[3].rstrip() == "f: refused: no good"
