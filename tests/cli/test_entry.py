"""The command line as a new user meets it: help, completion, signals, one message and never a traceback."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import MODELS, PYTHON_FILES, Run, game, one_message, wait_until
from helpers.processes import Command

from stackpyomo.cli import commands as registered


def test_no_arguments_show_the_help(run: Run) -> None:
    result = run()
    assert result.code in (0, 2)
    for word in ("Usage", "solve", "doctor", "--version"):
        assert word in result.out + result.err


def commands() -> list[str]:
    return [str(c.name or c.callback.__name__) for c in registered.app.registered_commands if c.callback]


@pytest.mark.parametrize("command", commands())
def test_every_command_shows_an_example(command: str, run: Run) -> None:
    result = run(command, "--help")
    assert result.code == 0
    assert f"Example: stackpyomo {command}" in result.out
    assert "Exit code 0: " in result.out
    assert result.err == ""


OUTPUTS = {"--json", "--log"}


SOLVING = {"--solver", "--option", "--seed", "--starts", "--time-limit", "--complementarity", "--parameter", *OUTPUTS}


OFFERED = {
    "demo": {"--solver", "--json", "--report", "--write"},
    "solve": {
        *SOLVING,
        *("--report", "--contract", "--certificate", "--responding", "--ties", "--tie-tolerance", "--equilibrium"),
        *("--allow-nonconvex", "--observe", "--free", "--payment", "--payment-limit", "--multipliers", "--curvature"),
        *("--gain-bounds", "--prefer", "--saturate", "--quadratic", "--design", "--regret", "--margin"),
        *("--second-best", "--common"),
    },
    "verify": {"--solver", "--option", "--report", "--certify", "--tolerance", "--proof-seconds", *OUTPUTS},
    "check-game": {"--parameter", *OUTPUTS},
    "inducible": {"--plan", "--responding", *SOLVING},
    "export": {"--responding", "--complementarity", "--parameter", *OUTPUTS},
    "fit": {"--parameter", "--build", "--noise", "--solver", "--time-limit", "--seed", *OUTPUTS},
    "compare": {"--solver", "--option", "--time-limit", "--seed", "--report", "--jobs", *OUTPUTS},
    "study": {"--seed", "--report", "--store", "--workers", "--dask", "--parquet", *OUTPUTS},
    "bench": {"--solver", "--option", "--time-limit", "--seed", "--report", "--jobs", *OUTPUTS},
    "doctor": {"--json"},
}
"""What the command line promises; verify is not random, and its solves have no limit."""


@pytest.mark.parametrize("command", OFFERED)
def test_what_every_command_offers(command: str, run: Run) -> None:
    assert OFFERED[command] <= set(re.findall(r"--[a-z-]+", run(command, "--help").out))


@pytest.mark.parametrize(
    ("shell", "typed", "offered"),
    [
        ("bash", "stackpyomo so", "solve"),
        ("zsh", "stackpyomo solve --ti", "--time-limit"),
        ("fish", "stackpyomo do", "doctor"),
    ],
)
def test_completion(shell: str, typed: str, offered: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the script that --install-completion writes asks for, under the name that it is installed by."""
    asked = {
        "_STACKPYOMO_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": typed,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(typed.count(" ")),
    }
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))  # as a script, not as python -m pytest
    result = run()
    assert (result.code, result.err) == (0, "")
    assert offered in result.out
    assert "bench" not in result.out


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_without_our_letters(encoding: str, stranger: Run) -> None:
    """A minus sign or ‖ that the terminal cannot show is not a traceback, nor "not verified"."""
    result = stranger("solve", MODELS / "two_roads.py", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (result.code, result.err) == (0, "")
    assert "verified: largest regret" in result.out


@pytest.mark.parametrize("arguments", [["sovle"], ["solve"], ["solve", "a", "b"], ["solve", "x.py", "--starts", "0"]])
def test_usage_errors(arguments: list[str], run: Run) -> None:
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "Usage: " in result.err


def test_a_stranger_sees_one_line(stranger: Run, write: Any) -> None:
    """The whole way, with Pyomo's own log on standard error as it is for everybody."""
    text, words = PYTHON_FILES["no value for a Param"]
    assert text is not None
    one_message(stranger("solve", write("model.py", text)), words)


HARD = """
import random

import pyomo.environ as pyo
import stackpyomo as sp


def build():
    drawn = random.Random(1)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(60), bounds=(0, 1))
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1))
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.x[0] * m.driver.flow)
    m.miss = pyo.Objective(expr=sum(drawn.uniform(-1, 1) * m.x[i] * m.x[j] for i in range(60) for j in range(i)))
    return sp.Game(m, m.driver)
"""


ENDINGS = [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated"), ("SIGHUP", 129, "terminated")]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "code", "word"), ENDINGS)
@pytest.mark.parametrize("moment", ["solving", "importing"])
def test_told_to_end(
    moment: str, number: str, code: int, word: str, write: Any, tmp_path: Path, endless_ipopt: str
) -> None:
    """The solver is a process in a session of its own: it ends with the command all the same."""
    text = game() if moment == "solving" else "import time\nopen('started', 'w').close()\ntime.sleep(60)\n"
    words = ["stackpyomo", "solve", os.fspath(write("slow.py", text)), "--solver", "ipopt", "--json", "-"]
    folder = tmp_path / "tmp"
    folder.mkdir()
    with Command(words, tmp_path, folder, PATH=endless_ipopt) as command:
        wait_until(lambda: bool(list(folder.glob("stackpyomo-*/*.solving"))) or (tmp_path / "started").exists())
        time.sleep(0.2)
        os.kill(command.pid, signal.Signals[number])
        assert command.ended() == (code, "", f"stackpyomo: {word}\n")
    assert list(folder.glob("stackpyomo-*")) == []
    if Path("/proc/self").exists():
        running = map(command_of, Path("/proc").glob("[0-9]*/cmdline"))
        assert [line for line in running if os.fspath(folder) in line] == []


def command_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_library_that_does_not_listen(write: Any, tmp_path: Path) -> None:
    """SCIP keeps the main thread to itself: the command ends some seconds later, and leaves no file."""
    path, folder = write("hard.py", HARD), tmp_path / "tmp"
    folder.mkdir()
    with Command(["stackpyomo", "solve", os.fspath(path), "--solver", "scip"], tmp_path, folder) as command:
        wait_until(lambda: bool(list(folder.glob("stackpyomo-*/program.nl"))))
        time.sleep(1.0)  # past the writing of the file, into the solve
        os.kill(command.pid, signal.SIGTERM)
        result = command.ended()
    assert (result.code, result.err) == (143, "stackpyomo: terminated\n")
    assert list(folder.glob("stackpyomo-*")) == []
