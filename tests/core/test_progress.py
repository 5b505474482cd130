"""What is shown on the way: bars on terminals alone, logs by the module's name, the solver's own words if asked for."""

from __future__ import annotations

import ast
import errno
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import environment, toll_game

import stackpyomo as sp
from stackpyomo.solvers import registry

HOME = Path(sp.__file__).parent
MODULES = {".".join(path.relative_to(HOME.parent).with_suffix("").parts) for path in HOME.rglob("*.py")}
TERMINAL = pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")

# --- bars ---------------------------------------------------------------------------------------------------------

SHOWN = """
import threading, time
from stackpyomo.core import progress
from stackpyomo.core import tracked

progress._PATIENCE = 0.0


def work(words, **more):
    with tracked(words, 3, **more) as step:
        for _ in range(3):
            time.sleep(0.3)
            step()
"""


def on_terminal(program: str, folder: Path, **more: str) -> str:
    """What a program writes to a terminal."""
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment(folder) | {"TERM": "xterm", "COLUMNS": "100"} | more,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    told = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError as error:
            if error.errno != errno.EIO:  # the end of a pseudo-terminal
                raise
            piece = b""
        if not piece:
            break
        told += piece
    os.close(ours)
    assert child.wait() == 0, told
    return told.decode()


def bare(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


@pytest.mark.slow
@TERMINAL
def test_a_bar_on_a_terminal_that_goes_when_the_work_is_done(tmp_path: Path) -> None:
    told = on_terminal(f"{SHOWN}\nwork('counting')\nprint('that was it')", tmp_path)
    assert "counting" in bare(told)
    assert re.search(r"[123]/3", bare(told))
    assert told.index("counting") < told.rindex("\x1b[2K") < told.index("that was it"), "its line is erased"


@pytest.mark.slow
@TERMINAL
@pytest.mark.parametrize(
    ("program", "more"),
    [
        ("work('counting', shown=False)", {}),
        ("work('counting')", {"STACKPYOMO_PROGRESS": "0"}),
        ("work('counting')", {"TERM": "dumb"}),
        ("progress._PATIENCE = 60\nwork('counting')", {}),
        ("t = threading.Thread(target=work, args=('counting',))\nt.start()\nt.join()", {}),
        (
            "from multiprocessing import get_context\n"
            "p = get_context('fork').Process(target=work, args=('counting',))\np.start()\np.join()",
            {},
        ),
        ("with tracked('outer', shown=False):\n    work('counting')", {}),
    ],
    ids=["asked", "environment", "dumb", "soon over", "thread", "process", "within none"],
)
def test_no_bar_where_nobody_wants_one(program: str, more: dict[str, str], tmp_path: Path) -> None:
    assert on_terminal(f"{SHOWN}\n{program}", tmp_path, **more) == ""


@pytest.mark.slow
@TERMINAL
def test_one_bar_at_a_time(tmp_path: Path) -> None:
    told = bare(on_terminal(f"{SHOWN}\nwith tracked('outer'):\n    work('inner')\nwork('next')", tmp_path))
    assert "outer" in told
    assert "inner" not in told
    assert "next" in told


@pytest.mark.slow
@TERMINAL
def test_an_error_ends_the_bar(tmp_path: Path) -> None:
    work = "with tracked('counting'):\n        time.sleep(0.5)\n        1 / 0"
    broken = f"try:\n    {work}\nexcept ZeroDivisionError:\n    pass"
    told = on_terminal(f"{SHOWN}\n{broken}\ntime.sleep(0.3)\nprint('caught')", tmp_path)
    assert told.rindex("counting") < told.index("caught")
    assert "counting" not in told[told.rindex("\x1b[2K") :]


SCENES = {
    "leader_optimal": "sp.leader_optimal(game)",
    "stackelberg": "sp.stackelberg(game)",
    "nash": "sp.nash(game, leader={'toll': 0.5})",
    "affine_incentive": "sp.affine_incentive(plan)",
    "verify": "sp.verify(plan)",
    "inducible": "sp.inducible(plan)",
    "scaling": "sp.scaling(game, [1, 2])",
    "simulate": "sp.simulate(plan, [2], draws=2, seed=1)",
    "robustness": "sp.affine_incentive(plan).robustness()",
    "study": "sp.study(abs, [{'x': 1}])",
}


@pytest.mark.slow
@TERMINAL
def test_every_long_function_says_what_it_is_at(tmp_path: Path) -> None:
    """By the words that a bar is given, whether it comes to be shown or not."""
    program = f"""
from contextlib import contextmanager
import sys
sys.path.insert(0, {os.fspath(Path(__file__).parents[1])!r})
from conftest import toll_game
import stackpyomo as sp
from stackpyomo.core import progress

class Told(progress._Bar):
    def __init__(self, console, words, total, done):
        print("BAR", words, total)
        super().__init__(console, words, total, done)

game = toll_game()
plan = sp.leader_optimal(game)
progress._Bar = Told
for name, call in {SCENES!r}.items():
    print("CALL", name)
    eval(call)
"""
    told = on_terminal(program, tmp_path).split("CALL ")[1:]
    assert [part.split()[0] for part in told] == list(SCENES)
    assert [part.split()[0] for part in told if "BAR " not in part] == []


@pytest.mark.slow
def test_nothing_on_pipes(tmp_path: Path) -> None:
    """Also where rich is told to colour: FORCE_COLOR is for colours."""
    told = subprocess.run(
        [sys.executable, "-c", f"{SHOWN}\nwork('counting')"],
        env=environment(tmp_path) | {"FORCE_COLOR": "1"},
        capture_output=True,
        check=True,
    )
    assert (told.stdout, told.stderr) == (b"", b"")


# --- logs ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_loggers_have_the_names_of_their_modules() -> None:
    found = set()
    for path in HOME.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "logger":
                assert ast.unparse(node.value) == "logging.getLogger(__name__)", path.name
                found.add(path.stem)
    assert {"registry", "search", "mpcc", "cooperative", "by_slopes", "regret", "runner", "store"} <= found


def test_what_is_logged_on_the_way(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with caplog.at_level(logging.DEBUG, logger="stackpyomo"):
        plan = sp.leader_optimal(toll_game())
        rule = sp.affine_incentive(plan)
        report = sp.verify(rule)
        sp.stackelberg(toll_game())
    told = {(record.name, record.levelname) for record in caplog.records if record.name.startswith("stackpyomo")}
    assert {name for name, _ in told} <= MODULES
    assert {
        ("stackpyomo.plans.cooperative", "INFO"),
        ("stackpyomo.incentives.by_slopes", "INFO"),
        ("stackpyomo.verification.regret", "INFO"),
        ("stackpyomo.bilevel.search", "INFO"),
        ("stackpyomo.bilevel.mpcc", "DEBUG"),
        ("stackpyomo.solvers.registry", "DEBUG"),
    } <= told
    assert report.verdict in caplog.text
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_nothing_is_printed_by_default(tmp_path: Path) -> None:
    """Without a handler, in a process of its own."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from conftest import toll_game\nimport stackpyomo as sp\n"
        "plan = sp.leader_optimal(toll_game())\nsp.verify(sp.affine_incentive(plan))\nsp.stackelberg(toll_game())\n"
        "sp.compare(toll_game(), ['pounce'])\nsp.study(abs, [{'x': 1}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, os.fspath(Path(__file__).parents[1])],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("", "")


# --- tee ----------------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[..., Any]] = {
    "leader_optimal": lambda game, **more: sp.leader_optimal(game, **more),
    "stackelberg": lambda game, **more: sp.stackelberg(game, **more),
    "nash": lambda game, **more: sp.nash(game, leader={"toll": 0.5}, **more),
    "pessimistic": lambda game, **more: sp.pessimistic(sp.stackelberg(game), **more),
}
WORDS = {
    "pounce": "POUNCE",
    "ipopt": "Ipopt",
    "cyipopt": "Ipopt",
    "highs": "HiGHS",
    "scip": "SCIP Status",
    "gurobi": "Gurobi",
}


def test_every_solver_has_its_words() -> None:
    assert set(WORDS) == set(registry)


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("solver", [name for name, info in registry.items() if info.available])
def test_tee_shows_the_solver(solver: str, call: str, capfd: pytest.CaptureFixture[str]) -> None:
    def played(**more: Any) -> str:
        try:
            CALLS[call](toll_game(), solver=solver, **more)
        except sp.NoPlan:
            assert "NLP" not in registry[solver].classes, "that one can"
        return "".join(capfd.readouterr())

    assert played() == ""
    assert WORDS[solver] in played(tee=True)
