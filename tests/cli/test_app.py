"""What every command delivers: one JSON document, a page, a log; paths tried before the work; one message."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from conftest import INSTALLED, MODELS, TEXT, Result, Run, checked, environment, game, one_message, strict

import stackpyomo as sp
from stackpyomo.cli import commands
from stackpyomo.cli.app import HELP, LEAST
from stackpyomo.cli.console import in_options
from stackpyomo.solvers import registry


@pytest.mark.parametrize("solver", INSTALLED)
def test_json_on_standard_output_and_nothing_else(solver: str, stranger: Run) -> None:
    """In a process of its own: what a solver's library prints does not pass through sys.stdout."""
    result = stranger("solve", MODELS / "two_roads.py", "--json", "-", "--solver", solver)
    assert (result.code, result.err) == (0, "")
    found = strict(result.out)
    assert list(found) == ["game", "version", "findings", "plan", "incentive", "no_incentive", "report", "expected"]
    assert (found["game"], found["version"], found["no_incentive"]) == ("two roads", sp.__version__, None)
    assert found["plan"]["solver"] == found["report"]["solver"] == solver
    assert found["plan"]["values"]["driver.flow"] == pytest.approx(found["expected"]["driver.flow"], abs=1e-6)
    ((leader, signal, gain),) = found["incentive"]["gain"]
    assert (leader, signal) == ("toll", "driver.flow")
    assert gain == pytest.approx(4 / 3, abs=1e-5)
    assert found["report"]["ok"] is True


@pytest.mark.slow
def test_json_and_report_in_files(run: Run, tmp_path: Path) -> None:
    document, page = tmp_path / "out.json", tmp_path / "out.html"
    result = run("solve", MODELS / "two_roads.py", "--json", document, "--report", page)
    assert (result.code, result.err) == (0, "")
    assert "verified" in result.out, "the tables are still shown"
    assert strict(document.read_text(encoding="utf-8"))["report"]["ok"] is True
    html = page.read_text(encoding="utf-8")
    assert html.lower().startswith("<!doctype html>")
    for word in ("two roads", "driver.flow", "verified", "The leader announces"):
        assert word in html


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(run: Run, write: Any, tmp_path: Path) -> None:
    path = write("toll.py", game())
    one_message(run("solve", path, "--json", "/dev/full"), ("/dev/full", "cannot be written", "No space left"))
    one_message(run("solve", path, "--report", "/dev/full"), ("/dev/full", "cannot be written", "No space left"))
    command = [sys.executable, "-m", "stackpyomo", "solve", os.fspath(path), "--json", "-"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command, env=environment(tmp_path), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    one_message(checked(Result(done.returncode, "", done.stderr)), ("No space left",))


@pytest.mark.parametrize("edit", ['print("building")', "m.toll.set_value(7.0)"], ids=["prints", "makes Pyomo warn"])
def test_a_chatty_model_does_not_spoil_the_document(edit: str, stranger: Run, write: Any) -> None:
    """Pyomo's log goes to standard output, too."""
    result = stranger("solve", write("chatty.py", game(edit)), "--json", "-")
    assert result.code == 0
    assert strict(result.out)["report"]["ok"] is True


OPTIONS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "unknown parameter": (["--parameter", "goal=1"], ("toll.py", "build(goal=1)", "goal")),
    "parameter without a value": (["--parameter", "aim"], ("--parameter aim", "expected name=value")),
    "parameter without a name": (["--parameter", "=3"], ("--parameter =3", "expected name=value")),
    "unknown solver": (["--solver", "clpex"], ("--solver clpex", "unknown solver", "pounce")),
    "unknown free": (["--free", "fee"], ("fee: ", "no component")),
    "a valued free": (["--free", "toll"], ("toll: ", "cannot be free")),
    "unknown multipliers": (["--multipliers", "some"], ("--multipliers some", "'zero'")),
    "time limit 0": (["--time-limit", "0"], ("--time-limit 0",)),
    "time limit nan": (["--time-limit", "nan"], ("--time-limit nan",)),
    "unwritable report": (["--report", "no/such/folder/out.html"], ("out.html", "cannot be written", "No such file")),
    "unwritable document": (["--json", "no/such/folder/out.json"], ("out.json", "cannot be written", "No such file")),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_make_no_sense(case: str, run: Run, write: Any) -> None:
    options, words = OPTIONS[case]
    one_message(run("solve", write("toll.py", game()), *options), words)


@pytest.mark.parametrize("name", registry)
def test_a_solver_that_is_not_installed(name: str, run: Run, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    info = registry[name]
    monkeypatch.setitem(registry, name, dataclasses.replace(info, version=lambda: None))
    one_message(
        run("solve", write("toll.py", game()), "--solver", name),
        (f"--solver {name}", "not installed", in_options(info.install)),
    )


def test_options_reach_the_named_solver(run: Run, write: Any, tmp_path: Path) -> None:
    path, before = write("game.json", TEXT), dict(registry)
    assert run("solve", path, "--solver", "pounce", "--option", "max_iter=200").code == 0
    assert run("solve", path, "--solver", "pounce", "--option", "max_iter=0").code != 0
    assert registry == before
    one_message(run("solve", path, "--option", "max_iter"), ("--option max_iter", "expected name=value"))


def test_logs(run: Run, write: Any, tmp_path: Path) -> None:
    path, log = write("game.json", TEXT), tmp_path / "log.txt"
    assert run("solve", path, "--solver", "pounce", "--log", log).err == ""
    assert "stackpyomo.solvers.registry: pounce:" in log.read_text(encoding="utf-8")
    assert "stackpyomo.solvers.registry: pounce:" in run("solve", path, "--solver", "pounce", "--log", "-").err
    one_message(run("solve", path, "--log", "no/such/log.txt"), ("log.txt", "cannot be written"))


@pytest.mark.parametrize("command", [["demo"], ["solve"]])
def test_a_file_that_cannot_be_written_is_said_before_the_work(
    command: list[str], run: Run, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("worked first")

    monkeypatch.setattr("stackpyomo.cli.solve_command.leader_optimal", work)
    subject = [write("toll.py", game())] if command == ["solve"] else []
    found = run(*command, *subject, "--report", "no/such/page.html")
    assert found.code == 2
    assert "page.html: cannot be written" in found.err


def test_every_help_is_shown_by_some_command() -> None:
    whole = typer.main.get_command(commands.app)
    parameters = [part for command in whole.commands.values() for part in command.params]  # type: ignore[attr-defined]
    shown = {str(part.help) for part in parameters}
    assert [name for name, words in HELP.items() if words not in shown] == []
    assert set(LEAST) <= {part.name for part in parameters}
    assert all(part.help for part in parameters)
