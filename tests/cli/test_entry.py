"""The command line as a new user meets it: help, completion, signals, one message and never a traceback."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import MODELS, PYTHON_FILES, Run, environment, game, one_message

import stackpyomo as sp
from stackpyomo.cli import commands as registered


def test_version(stranger: Run) -> None:
    assert stranger("--version") == (0, f"stackpyomo {sp.__version__}\n", "")


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
def test_completion(shell: str, typed: str, offered: str, tmp_path: Path) -> None:
    """What the script that --install-completion writes asks for, under the name that it is installed by."""
    asked = {
        "_STACKPYOMO_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": typed,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(typed.count(" ")),
    }
    program = "import sys; sys.argv = ['stackpyomo']; from stackpyomo.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(tmp_path) | asked, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert offered in done.stdout
    assert "bench" not in done.stdout


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


SLOW = game(
    "m.x = pyo.Var(range(6000), initialize=-1.2)\n"
    "    valley = (100 * (m.x[i + 1] - m.x[i] ** 2) ** 2 + (1 - m.x[i]) ** 2 for i in range(5999))\n"
    "    m.miss.set_value(m.miss.expr + sum(valley))"
)


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
def test_told_to_end(moment: str, number: str, code: int, word: str, write: Any, tmp_path: Path) -> None:
    """The solver is a process in a session of its own: it ends with the command all the same."""
    text = SLOW if moment == "solving" else "import time\nopen('started', 'w').close()\ntime.sleep(60)\n"
    path, folder = write("slow.py", text), tmp_path / "tmp"
    folder.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-m", "stackpyomo", "solve", os.fspath(path), "--json", "-"],
        cwd=tmp_path,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.Signals[number], signal.SIG_DFL),  # in the background: ignored
    )
    try:
        end = time.monotonic() + 240
        while not (list(folder.glob("stackpyomo-*/program.nl")) or (tmp_path / "started").exists()):
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)
        time.sleep(2.0)  # past the writing of the file, into the solve
        child.send_signal(signal.Signals[number])
        out, err = child.communicate(timeout=120)
    finally:
        child.kill()
        child.wait()
    assert (child.returncode, out) == (code, "")
    assert err == f"stackpyomo: {word}\n"
    assert list(folder.glob("stackpyomo-*")) == []
    if Path("/proc/self").exists():
        running = map(command_of, Path("/proc").glob("[0-9]*/cmdline"))
        assert [command for command in running if os.fspath(folder) in command] == []


def command_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_library_that_does_not_listen(write: Any, tmp_path: Path) -> None:
    """SCIP keeps the main thread to itself: the command ends some seconds later, and leaves no file."""
    path, folder = write("hard.py", HARD), tmp_path / "tmp"
    folder.mkdir()
    command = [sys.executable, "-m", "stackpyomo", "solve", os.fspath(path), "--solver", "scip"]
    child = subprocess.Popen(command, cwd=tmp_path, env=environment(folder), stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 240
        while not list(folder.glob("stackpyomo-*/program.nl")):
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)
        time.sleep(2.0)
        child.terminate()
        _, err = child.communicate(timeout=120)
        assert (child.returncode, err) == (143, b"stackpyomo: terminated\n")
    finally:
        child.kill()
        child.wait()
    assert list(folder.glob("stackpyomo-*")) == []


@pytest.mark.skipif(shutil.which("stackpyomo", path=os.path.dirname(sys.executable)) is None, reason="not installed")
def test_the_script_is_the_module(tmp_path: Path) -> None:
    script = shutil.which("stackpyomo", path=os.path.dirname(sys.executable))
    assert script is not None
    done = subprocess.run([script, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("stackpyomo ")
