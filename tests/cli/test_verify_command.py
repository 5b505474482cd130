"""``stackpyomo verify``: what solve wrote, and what was changed since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Run, game, one_message, strict


def test_a_game_that_has_changed_since_it_was_solved(run: Run, write: Any, tmp_path: Path) -> None:
    """What was proved of the leader's optimum holds for the game it was proved in."""
    solved = tmp_path / "solved.json"
    assert run("solve", write("toll.py", game()), "--json", solved).code == 0
    same = strict(run("verify", write("toll.py", game()), "--incentive", solved, "--json", "-").out)
    assert (same["plan"]["quality"], same["plan"]["warnings"]) == ("optimal", [])
    assert same["report"]["epsilon0"] < 1e-6
    for edit, words in (
        ("m.toll.setub(0.1)", "bounds, domains and fixed values"),
        ("m.miss.set_value(m.miss.expr + 3)", "the leader's problem"),
        ("m.miss.set_value(pyo.log(m.driver.flow - 1))", "the leader's problem"),
    ):
        now = strict(run("verify", write("toll.py", game(edit)), "--incentive", solved, "--json", "-").out)
        assert now["plan"]["quality"] == "feasible"
        assert words in now["plan"]["warnings"][0]
        assert now["report"]["epsilon0"] is None


@pytest.mark.slow
def test_verify_what_solve_wrote(run: Run, write: Any, tmp_path: Path) -> None:
    path, solved = write("toll.py", game()), tmp_path / "solved.json"
    assert run("solve", path, "--json", solved).code == 0
    result = run("verify", path, "--incentive", solved, "--json", "-", "--report", tmp_path / "out.html")
    assert (result.code, result.err) == (0, "")
    found = strict(result.out)
    assert list(found) == ["game", "version", "plan", "incentive", "report"]
    assert found["report"]["ok"] is True
    assert "verified" in (tmp_path / "out.html").read_text(encoding="utf-8")
    result = run("verify", path, "--plan", solved, "--time-limit", 60)
    assert (result.code, result.err) == (1, "")
    assert "NOT verified: largest regret 0.16" in result.out
    assert "driver would rather choose driver.flow = 1. No strategy was announced" in result.out
    result = run("verify", path, "--plan", solved, "--time-limit", 0)
    assert (result.code, result.out) == (2, "")
    assert "--time-limit 0" in result.err


def test_verify_the_values_of_the_model(run: Run, write: Any) -> None:
    """At toll 0.8 the driver's best answer is 0.6."""
    told = game("m.toll.set_value(0.8); m.driver.flow.set_value(0.6)")
    assert run("verify", write("toll.py", told)).code == 0
    assert run("verify", write("other.py", game())).code == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--plan", "nothing.json"], ("nothing.json", "cannot be read")),
        (["--plan", "toll.py"], ("toll.py", "is not what solve --json writes")),
        (["--incentive", "other.json"], ("other.json", "not the JSON that")),
        (["--incentive", "none.json"], ("none.json", "holds no incentive")),
        (["--plan", "a.json", "--incentive", "b.json"], ("give one of them",)),
    ],
)
def test_verify_refuses(options: list[str], words: tuple[str, ...], run: Run, write: Any) -> None:
    write("other.json", "{}")
    write("none.json", '{"incentive": null, "plan": {}}')
    said = run("verify", write("toll.py", game()), *options)
    one_message(said, words)
    assert said.err.count("nothing.json") <= 1  # the file is named once
