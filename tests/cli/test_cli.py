"""The command line as a stranger meets it: exit codes, one JSON document, one message, never a traceback."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Result, environment, strict

import stackpyomo as sp
from stackpyomo.cli import commands as registered
from stackpyomo.cli import entry as cli
from stackpyomo.cli.example import two_roads
from stackpyomo.solvers import registry
from stackpyomo.verification import checker

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
INSTALLED = [name for name, info in registry.items() if info.available]


Run = Callable[..., Result]


def checked(result: Result) -> Result:
    assert "Traceback" not in result.err
    assert "Traceback" not in result.out
    return result


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command in this process, from another folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*arguments: Any) -> Result:
        monkeypatch.setattr(sys, "argv", ["stackpyomo", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        return checked(Result(0 if code is None else int(code), *capfd.readouterr()))

    return call


@pytest.fixture
def stranger(tmp_path: Path) -> Run:
    """``python -m stackpyomo`` in a process of its own, from an empty folder, with an empty TMPDIR."""
    folder = tmp_path / "tmp"
    folder.mkdir()

    def call(*arguments: Any, **more: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-m", "stackpyomo", *map(str, arguments)],
            cwd=tmp_path,
            env=environment(folder) | {"COLUMNS": "200"} | more,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=120,
            check=False,
        )
        assert list(folder.glob("stackpyomo-*")) == [], "no temporary folder stays behind"
        return checked(Result(done.returncode, done.stdout, done.stderr))

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return file


GAME = """
import pyomo.environ as pyo
import stackpyomo as sp


def build(aim=0.6, size=1):
    m = pyo.ConcreteModel(name="toll")
    m.toll = pyo.Var(bounds=(-2, 2), initialize=0.5)
    m.price = pyo.Var(bounds=(0, 9), initialize=0.125)
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1), initialize=0.5)
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.toll * m.driver.flow)
    m.miss = pyo.Objective(expr=(m.driver.flow - aim) ** 2 + 0.01 * m.toll**2)
    {edit}
    return sp.Game(m, sp.Population(m.driver, size))
"""


def game(edit: str = "pass") -> str:
    return GAME.replace("{edit}", edit)


# --- what a stranger tries first ----------------------------------------------------------------------------------


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
    assert ("Exit code 0: " in result.out) == (command != "bench-worker"), "that one is for bench alone"
    assert result.err == ""


OFFERED = {
    "demo": {"--solver", "--json", "--report"},
    "solve": {"--solver", "--option", "--time-limit", "--seed", "--json", "--report", "--log", "--free", "--payment"},
    "verify": {"--solver", "--option", "--json", "--report", "--log"},
    "fit": {"--parameter", "--build", "--noise", "--solver", "--time-limit", "--seed", "--json", "--log"},
    "compare": {"--solver", "--option", "--time-limit", "--seed", "--json", "--report", "--log", "--jobs"},
    "study": {"--seed", "--json", "--report", "--log", "--store", "--workers", "--dask", "--parquet"},
    "bench": {"--solver", "--option", "--time-limit", "--seed", "--json", "--report", "--log", "--jobs"},
    "doctor": {"--json"},
}
"""What the command line promises; verify is not random, and its solves have no limit."""


def test_check(run: Run, tmp_path: Path) -> None:
    """0 for what holds, 1 for what does not, 2 for what was changed or is something else."""
    report = sp.verify(sp.affine_incentive(sp.leader_optimal(two_roads())))
    report.to_certificate(tmp_path / "roads.json")
    good = run("check", tmp_path / "roads.json")
    assert (good.code, good.err, good.out.splitlines()[-1][:10]) == (0, "", "confirmed:")
    document = json.loads((tmp_path / "roads.json").read_text())
    for claims in document["followers"].values():
        claims["cost"] = 1.0 + 1.1 * claims["cost"]
    (tmp_path / "changed.json").write_text(json.dumps(document))
    assert run("check", tmp_path / "changed.json").code == 2
    document["digest"] = checker.digest(document)
    (tmp_path / "forged.json").write_text(json.dumps(document))
    assert run("check", tmp_path / "forged.json").code == 1
    missing = run("check", tmp_path / "missing.json")
    assert (missing.code, missing.out, len(missing.err.splitlines())) == (2, "", 1)


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


def test_the_example_of_solve_runs(stranger: Run) -> None:
    """As printed by --help, but for the folder; and with what the model publishes."""
    result = stranger("solve", MODELS / "grid_prices.py", "--parameter", "posted_price=4", "--json", "-")
    assert (result.code, result.err) == (0, "")
    found = strict(result.out)
    assert found["report"]["ok"] is True
    prices = {name: value for name, value in found["plan"]["values"].items() if name.startswith("price")}
    assert len(prices) == 6
    assert all(value == pytest.approx(4.0, abs=1e-6) for value in prices.values())
    assert len(found["report"]["followers"]) == 6


def test_solve(stranger: Run) -> None:
    result = stranger("solve", MODELS / "two_roads.py")
    assert (result.code, result.err) == (0, "")
    for word in ("driver.flow", "0.6", "The leader announces", "1.33333", "convex", "verified: largest regret"):
        assert word in result.out


def test_demo(run: Run, tmp_path: Path) -> None:
    """Without a file: the game of models/two_roads.py, told first; --write gives what solve takes."""
    result = run("demo", "--report", "demo.html", "--write", "toll.json")
    assert (result.code, result.err) == (0, "")
    places = [
        result.out.index(w) for w in ("A driver sends", "Plan: ", "1.33333", "verified: largest regret", "solve toll")
    ]
    assert places == sorted(places)
    assert "two roads" in (tmp_path / "demo.html").read_text(encoding="utf-8")
    found, again = strict(run("demo", "--json", "-").out), strict(run("solve", "toll.json", "--json", "-").out)
    assert found["report"]["ok"] is again["report"]["ok"] is True
    assert found["plan"]["values"] == again["plan"]["values"]
    assert found.keys() == again.keys()
    one_message(run("demo", "--write", "no/toll.json"), ("no/toll.json", "cannot be written"))
    one_message(run("demo", "--solver", "clpex"), ("'clpex'", "unknown solver"))


# --- one JSON document --------------------------------------------------------------------------------------------


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


def test_free_and_multipliers_from_file_and_command(run: Run, write: Any) -> None:
    """price moves the driver and costs the leader nothing: at price = 0.8 no gain is needed."""
    priced = game("m.driver.cost.set_value(m.driver.cost.expr + m.price * m.driver.flow)")
    for path, more in (
        (write("a.py", priced), ["--free", "price"]),
        (write("b.py", priced + "\nFREE = 'price'\n"), []),
    ):
        result = run("solve", path, *more, "--multipliers", "free", "--json", "-")
        assert result.code == 0
        rule = strict(result.out)["incentive"]
        assert rule["offset"]["price"] == pytest.approx(0.8, abs=1e-5)
        assert rule["norm"] == pytest.approx(0.0, abs=1e-5)


def test_the_least_payment(run: Run, write: Any) -> None:
    """price + fee = 0.8 needs no gain, in equal parts by norm; where nothing is paid, the gain does it all."""
    priced = game(
        "m.fee = pyo.Var(bounds=(0, 9), initialize=0)\n"
        "    m.pay = pyo.Expression(expr=2 * m.price + m.fee)\n"
        "    m.driver.cost.set_value((m.driver.flow - 1) ** 2 + (m.price + m.fee) * m.driver.flow)"
    )
    path = write("toll.py", priced)

    def chosen(*more: str) -> tuple[float, float]:
        offset = strict(run("solve", path, "--free", "price", "--free", "fee", *more, "--json", "-").out)["incentive"][
            "offset"
        ]
        return offset["price"], offset["fee"]

    assert chosen() == pytest.approx((0.4, 0.4), abs=1e-5)
    assert chosen("--payment", "pay") == pytest.approx((0.0, 0.0), abs=1e-5)
    assert chosen("--payment", "pay", "--payment-limit", "0.5") == pytest.approx((0.0, 0.5), abs=1e-5)
    one_message(run("solve", path, "--free", "fee", "--payment", "miss"), ("--payment miss", "named Expression"))
    one_message(run("solve", path, "--payment", "pay"), ("payment: there is nothing to choose it by",))


def test_what_is_observed_may_be_named(run: Run, write: Any) -> None:
    path = write("toll.py", game("m.twice = pyo.Expression(expr=2 * m.driver.flow)") + "\nOBSERVE = 'actions'\n")
    for name, gain in (("twice", 2 / 3), ("actions", 4 / 3)):
        found = strict(run("solve", path, "--observe", name, "--json", "-").out)["incentive"]["gain"]
        ((_, signal, value),) = [entry for entry in found if entry[0] == "toll"]
        assert (signal, value) == ("driver.flow" if name == "actions" else name, pytest.approx(gain, abs=1e-5))
    one_message(run("solve", path, "--observe", "weather"), ("weather", "no component"))


def test_what_is_observed_may_depend_on_the_game(run: Run, write: Any) -> None:
    result = run("solve", MODELS / "quadratic_gaussian.py", "--parameter", "n=3", "--json", "-")
    assert result.code == 0
    gain = strict(result.out)["incentive"]["gain"]
    assert {(leader, signal) for leader, signal, _ in gain} == {(f"r[{i}]", f"follower[{i}].k") for i in (1, 2, 3)}
    assert [value for _, _, value in gain] == pytest.approx([4 / 3] * 3, abs=1e-6)
    result = run("solve", write("bad.py", game() + "\ndef OBSERVE(game):\n    return 1 / 0\n"))
    assert result.code == 2
    assert "OBSERVE(game) raised ZeroDivisionError" in result.err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_without_our_letters(encoding: str, stranger: Run) -> None:
    """A minus sign or ‖ that the terminal cannot show is not a traceback, nor "not verified"."""
    result = stranger("solve", MODELS / "two_roads.py", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (result.code, result.err) == (0, "")
    assert "verified: largest regret" in result.out


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


@pytest.mark.parametrize("value", ["object()", "float('nan')", "__import__('numpy').arange(2)"])
def test_expectations_that_json_cannot_say(value: str, run: Run, write: Any) -> None:
    result = run("solve", write("toll.py", game() + f"\nEXPECTED = {{'flow': {value}}}\n"), "--json", "-")
    if result.code == 0:
        strict(result.out)
    else:
        assert (result.code, result.out) == (2, "")
        assert "EXPECTED" in result.err


# --- exit code 1 --------------------------------------------------------------------------------------------------

NO_GRIP = game("m.driver.cost.set_value((m.driver.flow - 1) ** 2)")
BACKFIRES = game(
    "m.driver.cost.set_value(-pyo.cos(10 * (m.driver.flow - 0.6)) + 3 * m.driver.flow**2 + m.toll * m.driver.flow)"
)


def test_no_incentive_is_exit_1_with_a_document(stranger: Run, write: Any) -> None:
    result = stranger("solve", write("no_grip.py", NO_GRIP), "--json", "-")
    assert result.code == 1
    found = strict(result.out)
    assert found["incentive"] is None
    assert "driver" in found["no_incentive"]["message"]
    assert list(found["no_incentive"]["reasons"]) == ["driver"]
    assert found["report"]["ok"] is False
    assert found["report"]["followers"]["driver"]["regret"] == pytest.approx(0.16, abs=1e-6)
    assert result.err.startswith("stackpyomo: No affine incentive: driver: zero gradient")
    assert result.err.count("\n") == 1


def test_not_verified_is_exit_1(run: Run, write: Any, tmp_path: Path) -> None:
    """A gain that meets the first- and second-order conditions; the driver is better off far away."""
    path = write("backfires.py", BACKFIRES)
    refused = run("solve", path)
    assert refused.code == 1
    assert "No affine incentive: driver plays driver.flow = 0 and gains" in refused.err
    slopes = ("--design", "slopes")
    result = run("solve", path, *slopes, "--report", tmp_path / "out.html")
    assert (result.code, result.err) == (1, "")
    assert "NOT verified" in result.out
    assert "NOT verified" in (tmp_path / "out.html").read_text(encoding="utf-8")
    found = strict(run("solve", path, *slopes, "--json", "-").out)
    assert found["incentive"] is not None
    assert found["no_incentive"] is None
    assert found["report"]["ok"] is False
    # −cos(10 (v − 0.6)) + 3 v² + Q (v − 0.6) v with Q = −6, on a grid of [0, 1].
    grid = (v / 100000 for v in range(100001))
    best = min(-math.cos(10 * (v - 0.6)) + 3 * v**2 - 6 * (v - 0.6) * v for v in grid)
    assert found["report"]["epsilon"] == pytest.approx(-1 + 3 * 0.36 - best, abs=1e-5)


CAPPED = game("m.toll.setub(0.5); m.miss.set_value((m.driver.flow - 0.6) ** 2 + (m.toll - 0.2) ** 2 + 0 * m.price)")


def test_a_strategy_cut_at_the_bounds(run: Run, write: Any) -> None:
    """toll = 0.2 + (flow − 0.6)·2/3 would be 1/2 at most: it is cut below 0."""
    path = write("capped.py", CAPPED)
    found = strict(run("solve", path, "--json", "-").out)
    assert found["report"]["verdict"].startswith("verified with toll stopped at the leader's bounds: largest")
    assert found["report"]["cut"] == ["toll"]
    result = run("solve", path)
    assert result.out.count("Beware: toll leaves its bounds") == 1
    cut = strict(run("solve", path, "--saturate", "--json", "-").out)
    assert cut["incentive"]["saturate"] is True
    assert cut["report"]["verdict"].startswith("verified: largest regret")


def test_a_squared_term_where_no_gain_bends_up(run: Run, write: Any) -> None:
    """The leader pays for more: the payment (u − 2.4) u comes off the cost and bends it down."""
    paid = write(
        "paid.py",
        "import pyomo.environ as pyo\nimport stackpyomo as sp\n\n\ndef build():\n"
        "    m = pyo.ConcreteModel()\n    m.pay, m.w = pyo.Var(bounds=(-9, 9)), pyo.Block()\n"
        "    m.w.u = pyo.Var(bounds=(0.5, 5))\n"
        "    m.w.cost = pyo.Objective(expr=(m.w.u - 1) ** 2 - m.pay * m.w.u)\n"
        "    m.goal = pyo.Objective(expr=(m.w.u - 2.4) ** 2 + m.pay**2)\n    return sp.Game(m, m.w)\n",
    )
    assert "curvature" in run("solve", paid).err
    assert strict(run("solve", paid, "--quadratic", "--json", "-").out)["incentive"]["bend"]


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


# --- exit code 2: one message -------------------------------------------------------------------------------------

TOLL = {
    "format": "stackpyomo-game/1",
    "name": "toll",
    "leader": {"variables": [{"name": "toll", "lb": -2, "ub": 2}], "objective": "(flow - 0.6)**2 + 0.01*toll**2"},
    "followers": [
        {
            "name": "driver",
            "variables": [{"name": "flow", "lb": 0, "ub": 1}],
            "objective": "(flow - 1)**2 + toll*flow",
            "constraints": ["flow <= 0.9"],
        }
    ],
}
TEXT = json.dumps(TOLL, indent=1)


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
PYTHON_FILES: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "missing": (None, ("model.py", "no such file")),
    "no build": ("x = 1\n", ("model.py", "no function build()", "define build(")),
    "build is no function": ("build = 3\n", ("model.py", "no function build()")),
    "syntax": ("def build(:\n    pass\n", ("model.py:1:", "syntax")),
    "indentation": ("def build():\nreturn 3\n", ("model.py:2:", "indent")),
    "null bytes": ("x = 1\0\n", ("model.py", "null bytes")),
    "import fails": ("import no_such_module_of_mine\n", ("model.py", "no_such_module_of_mine")),
    "import raises": ("1 / 0\n", ("model.py", "importing it raised ZeroDivisionError", "(line 1: 1 / 0)")),
    "import exits": ("raise SystemExit(0)\n", ("model.py", "SystemExit")),
    "build raises": (
        "def build():\n    raise KeyError('north')\n",
        ("model.py", "build() raised KeyError: 'north' (line 2: raise"),
    ),
    "build exits": ("def build():\n    raise SystemExit(0)\n", ("model.py", "build()", "SystemExit")),
    "build returns None": ("def build():\n    pass\n", ("model.py", "build() returned None", "stackpyomo Game")),
    "build needs more": ("def build(n):\n    pass\n", ("model.py", "build() raised TypeError", "'n'")),
    "not a game": (game("return m"), ("model.py", "returned ConcreteModel", "Game")),
    "a bad game": (game("m.driver.cost.deactivate()"), ("driver: ", "no active objective", "Add exactly one")),
    "infeasible": (
        game("m.driver.need = pyo.Constraint(expr=m.driver.flow >= 2)"),
        ("driver.need (driver)", "Relax one"),
    ),
    "unbounded": (game("m.miss.set_value(-m.price); m.price.setub(None)"), ("price (leader)", "Bound them")),
    "nan": (game("m.miss.set_value(float('nan') * m.toll)"), ("miss: ", "nan", "finite")),
    "no value for a Param": (
        game("m.p = pyo.Param(mutable=True); m.driver.row = pyo.Constraint(expr=m.driver.flow <= m.p)"),
        ("driver.row: ", "parameter p", "Give it"),
    ),
    "unknown OBSERVE": (game() + "\nOBSERVE = 'weather'\n", ("observe='weather'",)),
    "unknown FREE": (game() + "\nFREE = ['fee']\n", ("fee: ", "no component of that name")),
    "misspelt FREE": (game() + "\nFREE = ['tol']\n", ("tol: ", "Did you mean toll?")),
}


def one_message(result: Result, words: tuple[str, ...]) -> None:
    assert (result.code, result.out) == (2, "")
    for word in words:
        assert word in result.err
    assert result.err.startswith("stackpyomo: ")
    assert result.err.count("\n") == 1, "one line"


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


OPTIONS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "unknown parameter": (["--parameter", "goal=1"], ("toll.py", "build(goal=1)", "goal")),
    "parameter without a value": (["--parameter", "aim"], ("--parameter aim", "expected name=value")),
    "parameter without a name": (["--parameter", "=3"], ("--parameter =3", "expected name=value")),
    "unknown solver": (["--solver", "clpex"], ("'clpex'", "unknown solver", "pounce")),
    "unknown free": (["--free", "fee"], ("fee: ", "no component")),
    "a valued free": (["--free", "toll"], ("toll: ", "cannot be free")),
    "unknown multipliers": (["--multipliers", "some"], ("multipliers='some'", "'zero'")),
    "time limit 0": (["--time-limit", "0"], ("time_limit",)),
    "time limit nan": (["--time-limit", "nan"], ("time_limit", "nan")),
    "unwritable report": (["--report", "no/such/folder/out.html"], ("out.html", "cannot be written", "No such file")),
    "unwritable document": (["--json", "no/such/folder/out.json"], ("out.json", "cannot be written", "No such file")),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_make_no_sense(case: str, run: Run, write: Any) -> None:
    options, words = OPTIONS[case]
    one_message(run("solve", write("toll.py", game()), *options), words)


def test_a_parameter_is_not_for_json(run: Run, write: Any) -> None:
    one_message(run("solve", write("game.json", TEXT), "--parameter", "aim=1"), ("--parameter", "build("))


def test_a_folder_is_no_game(run: Run, tmp_path: Path) -> None:
    one_message(run("solve", tmp_path), (os.fspath(tmp_path), "directory"))


@pytest.mark.parametrize("name", registry)
def test_a_solver_that_is_not_installed(name: str, run: Run, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    info = registry[name]
    monkeypatch.setitem(registry, name, dataclasses.replace(info, version=lambda: None))
    one_message(run("solve", write("toll.py", game()), "--solver", name), (repr(name), "not installed", info.install))


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


# --- solve --responding -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["all", "driver"])
def test_solve_with_all_responding(who: str, stranger: Run, write: Any) -> None:
    """The driver's flow is 1 − toll/2; the leader's (toll/2 − 0.4)² + toll²/100 is least at toll = 10/13: 2/325."""
    path = write("game.json", TEXT)
    result = stranger("solve", path, "--responding", who, "--complementarity", "scholtes", "--json", "-")
    assert (result.code, result.err) == (0, "")
    found = strict(result.out)
    assert found["plan"]["responding"] == ["driver"]
    assert found["plan"]["leader_objective"] == pytest.approx(2 / 325, abs=1e-7)
    assert found["plan"]["values"]["toll"] == pytest.approx(10 / 13, abs=1e-4)
    assert {attempt["treatment"] for attempt in found["plan"]["log"]} <= {"Scholtes", "polish"}
    assert (found["incentive"], found["no_incentive"]) == (None, None)
    assert found["report"]["ok"] is True


def test_solve_says_that_no_incentive_is_designed(run: Run, write: Any) -> None:
    result = run("solve", write("game.json", TEXT), "--responding", "all")
    assert (result.code, result.err) == (0, "")
    assert "All followers respond: the leader announces constants, and no incentive is designed." in result.out
    assert "The leader announces:" not in result.out
    assert "verified: largest regret" in result.out


ONE_METER = """
import pyomo.environ as pyo
import stackpyomo as sp

OBSERVE = ["mean"]


def build():
    m = pyo.ConcreteModel()
    m.p, m.a, m.b = pyo.Var(bounds=(-20, 20)), pyo.Block(), pyo.Block()
    m.a.u, m.b.u = pyo.Var(bounds=(-5, 5)), pyo.Var(bounds=(-5, 5))
    m.mean = pyo.Expression(expr=(m.a.u + m.b.u) / 2)
    m.a.cost = pyo.Objective(expr=m.a.u**2 / 2 - 4 * m.a.u + m.p * m.a.u)
    m.b.cost = pyo.Objective(expr=m.b.u**2 - 3 * m.b.u + m.p * m.b.u)
    m.goal = pyo.Objective(expr=((m.a.u - 1) ** 2 + (m.b.u - 1) ** 2) / 2 + m.p**2 / 10)
    return sp.Game(m, followers=[m.a, m.b])
"""


def test_solve_for_the_best_rule(run: Run, tmp_path: Path) -> None:
    """40-digit value of the case SB01, which no incentive holds."""
    (tmp_path / "meter.py").write_text(ONE_METER, encoding="utf-8")
    assert run("solve", "meter.py").code == 1
    done = run("solve", "meter.py", "--second-best", "--json", "-")
    assert done.code == 0
    document = json.loads(done.out)
    standing = document["incentive"]["standing"]
    assert standing["rule"] == pytest.approx(0.06357603062574153, abs=1e-6)
    assert standing["constant"] == pytest.approx(57 / 58, abs=1e-6)
    assert document["plan"]["quality"] == "optimal"
    assert "best constant" in run("solve", "meter.py", "--second-best").out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--common", "p"], "add --second-best"),
        (["--second-best", "--quadratic"], "--quadratic: does not go with --second-best"),
        (["--second-best", "--responding", "all"], "--responding: does not go with --second-best"),
        (["--second-best", "--common", "q"], "q: the model has no component of that name"),
    ],
)
def test_options_that_do_not_go_together(options: list[str], words: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "meter.py").write_text(ONE_METER, encoding="utf-8")
    done = run("solve", "meter.py", *options)
    assert done.code == 2
    assert words in done.err


def test_solve_with_one_of_two_responding(run: Run, write: Any) -> None:
    """The driver answers at a constant toll (10/13 by hand), the south driver gets the gain 4/3."""
    game = json.loads(TEXT)
    game["leader"]["variables"].append({"name": "fee", "lb": -2, "ub": 2})
    game["leader"]["objective"] += " + (flow2 - 0.6)**2 + 0.01*fee**2"
    south = {"variables": [{"name": "flow2", "lb": 0, "ub": 1}], "objective": "(flow2 - 1)**2 + fee*flow2"}
    game["followers"].append({"name": "south", **south})
    result = run("solve", write("two.json", json.dumps(game)), "--responding", "driver")
    assert (result.code, result.err) == (0, "")
    assert "Responding: driver. " in result.out
    assert "toll = 0.769231\n" in result.out
    assert "fee = 0 + 1.33333 (south.flow2 − 0.6)" in result.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--responding", "nobody"], "nobody: not a follower"),
        (["--responding", "all", "--complementarity", "none"], "complementarity='none'"),
    ],
)
def test_solve_refuses(options: list[str], words: str, run: Run, write: Any) -> None:
    one_message(run("solve", write("game.json", TEXT), *options), (words,))


# --- doctor -------------------------------------------------------------------------------------------------------


def test_doctor_in_json(stranger: Run) -> None:
    result = stranger("doctor", "--json", "-")
    assert (result.code, result.err) == (0, "")
    found = strict(result.out)
    assert (found["version"], found["python"]) == (sp.__version__, sys.version.split()[0])
    rows = {row["solver"]: row for row in found["solvers"]}
    assert list(rows) == list(registry)
    for name, row in rows.items():
        assert row["version"] == registry[name].version()
        assert set(row["classes"]) == registry[name].classes
        if name in INSTALLED:
            assert row["answer"] == "correct"
            assert row["seconds"] > 0
            assert row["remedy"] == ""
        else:
            assert (row["answer"], row["seconds"]) == ("", None)
            assert row["remedy"] == registry[name].install


def test_doctor_as_a_table(run: Run) -> None:
    result = run("doctor")
    assert (result.code, result.err) == (0, "")
    for name, info in registry.items():
        assert name in result.out
        assert (info.version() or "not installed") in result.out
    assert result.out.count("correct") == len(INSTALLED)


def test_doctor_writes_a_file(run: Run, tmp_path: Path) -> None:
    result = run("doctor", "--json", tmp_path / "doctor.json")
    assert (result.code, result.out, result.err) == (0, "", "")
    assert strict((tmp_path / "doctor.json").read_text())["version"] == sp.__version__
    one_message(run("doctor", "--json", tmp_path / "no" / "doctor.json"), ("doctor.json", "cannot be written"))


def test_doctor_without_an_nlp_solver(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, info in list(registry.items()):
        if "NLP" in info.classes:
            monkeypatch.setitem(registry, name, dataclasses.replace(info, version=lambda: None))
    result = run("doctor", "--json", "-")
    assert result.code == 2
    assert strict(result.out)["solvers"][0]["answer"] == ""


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    "script",
    [
        "#!/bin/sh\nkill -9 $$\n",
        '#!/bin/sh\necho nothing > "${1%.nl}.sol"\n',
        "no program at all",
        "#!/no/such/shell\n",
    ],
)
def test_doctor_of_a_broken_solver(script: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so in its row, and examines the others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ipopt").write_text(script)
    (folder / "ipopt").chmod(0o755)
    monkeypatch.setenv("PATH", os.fspath(folder), prepend=os.pathsep)
    result = run("doctor", "--json", "-")
    assert (result.code, result.err) == (0, "")
    rows = {row["solver"]: row for row in strict(result.out)["solvers"]}
    assert rows["pounce"]["answer"] == "correct"
    assert rows["ipopt"]["answer"] != "correct"
    assert rows["ipopt"]["remedy"] == registry["ipopt"].install


# --- Ctrl-C and SIGTERM -------------------------------------------------------------------------------------------

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
        end = time.monotonic() + 60
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
        end = time.monotonic() + 60
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


# --- verify, compare, study ---------------------------------------------------------------------------------------


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
    assert "time_limit=0" in result.err


def test_verify_the_values_of_the_model(run: Run, write: Any) -> None:
    """At toll 0.8 the driver's best answer is 0.6."""
    told = game("m.toll.set_value(0.8); m.driver.flow.set_value(0.6)")
    assert run("verify", write("toll.py", told)).code == 0
    assert run("verify", write("other.py", game())).code == 1


SWITCHED = """
{"format": "stackpyomo-game/1", "name": "switched",
 "leader": {"variables": [{"name": "price", "lb": 0, "ub": 10}], "objective": "(w - 3)**2"},
 "followers": [{"name": "plant", "objective": "6.125*on + w**2/2 - price*w", "constraints": ["w <= 4*on"],
   "variables": [{"name": "on", "lb": 0, "ub": 1, "integer": true}, {"name": "w", "lb": 0, "ub": 4}]}],
 "target": {"on": 1, "w": 3, "price": 3}, "observe": ["w"]}
"""


def test_a_game_file_with_a_switch(run: Run, write: Any, tmp_path: Path) -> None:
    """At 3 the plant switches off and gains 1.625; at 10.625/3 it is indifferent, and price + 3 gain − 3 = 0."""
    path, solved = write("switched.json", SWITCHED), tmp_path / "solved.json"
    refused = run("solve", path, "--json", "-")
    assert refused.code == 1
    assert "No affine incentive: plant plays plant.on = 0, plant.w = 0 and gains 1.625" in refused.err
    (line,) = strict(refused.out)["no_incentive"]["deviations"]
    assert (line["follower"], line["action"], line["exact"]) == ("plant", {"plant.on": 0.0, "plant.w": 0.0}, "1")
    assert run("solve", path, "--free", "price", "--json", solved).code == 0
    rule = strict(run("verify", path, "--incentive", solved, "--json", "-").out)
    assert rule["report"]["ok"] is True
    assert rule["report"]["followers"]["plant"]["certificate"] == "global"
    assert rule["incentive"]["offset"]["price"] == pytest.approx(10.625 / 3, abs=1e-6)
    constant = run("verify", path, "--plan", solved, "--json", "-")
    assert constant.code == 1, "the plan's own price is 3"
    told = strict(constant.out)["report"]["followers"]["plant"]
    assert told["regret"] == pytest.approx(1.625, abs=1e-6)
    assert told["best_response"] == {"plant.on": 0.0, "plant.w": 0.0}
    alone = strict(run("solve", path, "--responding", "all", "--json", "-").out)
    assert alone["plan"]["leader_objective"] == pytest.approx(0.25, abs=1e-6), "on from 3.5 on, at 3.5"


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


def test_seeds_reach_the_starting_points(run: Run, write: Any) -> None:
    hilly = game("m.miss.set_value(m.miss.expr + pyo.sin(20 * m.price) + m.price / 10)")

    def objectives(seed: int) -> list[float]:
        told = run("solve", write("hilly.py", hilly), "--starts", "4", "--seed", seed, "--json", "-").out
        return [attempt["objective"] for attempt in strict(told)["plan"]["log"]]

    assert objectives(1) == objectives(1)
    assert objectives(1) != objectives(2)


def test_compare(stranger: Run, write: Any, tmp_path: Path) -> None:
    path = write("games.json", f"[{TEXT}]")
    result = stranger(
        "compare", path, "--solver", "pounce,scip", "--time-limit", "20", "--json", "-", "--plot", "p.png"
    )
    assert (result.code, result.err) == (0, "")
    found = strict(result.out)
    assert [(row["game"], row["solver"], row["outcome"]) for row in found["rows"]] == [
        ("toll", "pounce", "ok"),
        ("toll", "scip", "ok"),
    ]
    assert found["profile"]["tau"][0] == 1.0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_compare_with_everything_that_can_be_said(run: Run, write: Any, tmp_path: Path) -> None:
    """A page, a log of its own, and options that reach one of the solvers in its worker."""
    path, log = write("games.json", f"[{TEXT}]"), tmp_path / "log.txt"
    told = ["--solver", "pounce,auto", "--report", "out.html", "--log", log, "--seed", 3]
    result = run("compare", path, *told, "--complementarity", "scholtes", "--option", "pounce:max_iter=0")
    assert (result.code, result.err) == (1, "")
    assert "1 of 2 verified" in result.out
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "1 of 2 verified" in page
    assert page.lower().startswith("<!doctype html>")
    text = log.read_text(encoding="utf-8")
    assert "stackpyomo.studies.catalogue: toll, auto, scholtes: ok" in text
    assert "stackpyomo.studies.catalogue: toll, pounce, scholtes: failed" in text
    one_message(run("compare", path, "--option", "max_iter=0"), ("--option max_iter=0", "solver:name=value"))
    one_message(run("compare", path, "--option", "scip:x=1"), ("options: 'scip' is not among the solvers", "auto"))
    one_message(run("compare", path, "--report", "no/out.html"), ("out.html", "cannot be written"))


def test_bench_with_everything_that_can_be_said(run: Run, write: Any, tmp_path: Path) -> None:
    path = write("games.json", json.dumps([TOLL | {"reference": {"leader_cost": 2 / 325}}]))
    told = ["--solver", "pounce", "--log", "-", "--seed", 3, "--report", "out.html"]
    result = run("bench", path, *told)
    assert result.code == 0
    assert "stackpyomo.studies.catalogue: toll, pounce, auto: ok" in result.err
    assert "1 of 1 as expected" in (tmp_path / "out.html").read_text(encoding="utf-8")
    result = run("bench", path, *told, "--option", "max_iter=0", "--json", "-")
    assert result.code == 1
    found = strict(result.out)
    assert found["rows"][0]["outcome"] == "failed"
    assert (found["settings"]["options"], found["settings"]["seed"]) == ({"max_iter": 0}, 3)
    one_message(run("bench", path, "--option", "max_iter"), ("--option max_iter", "expected name=value"))


def test_compare_says_what_is_missing(run: Run, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry, "scip", dataclasses.replace(registry["scip"], version=lambda: None))
    two = f"[{TEXT}, {TEXT}]"
    result = run("compare", write("games.json", two), "--solver", "pounce,scip", "--time-limit", "20")
    assert (result.code, result.err) == (1, "")
    assert "2 of 4 verified and as good as the best of their game" in result.out
    assert "scip, auto, 2 games: solver='scip': not installed." in result.out
    assert "toll (2)" in result.out
    one_message(run("compare", write("games.json", two), "--solver", "clpex"), ("'clpex'", "unknown solver", "pounce"))
    one_message(run("compare", write("games.json", two), "--json", "no/out.json"), ("out.json", "cannot be written"))
    one_message(run("compare", "nothing.json"), ("nothing.json", "cannot be read"))


TASKS = """
from dataclasses import dataclass

import stackpyomo as sp


@dataclass
class Told:
    x: int


def power(x, exponent=2, seed=0):
    if x == 3:
        raise ValueError("three")
    return {"power": Told(x).x ** exponent, "drawn": seed}
"""


@pytest.mark.parametrize("more", [[], ["--workers", 2]], ids=str)
def test_study(more: list[Any], stranger: Run, write: Any, tmp_path: Path) -> None:
    axes = ["--grid", "x=1,2", "--grid", "exponent=2,3"]
    arguments = [f"{write('tasks.py', TASKS)}:power", *axes, "--store", "s.jsonl", *more]
    result = stranger("study", *arguments, "--json", "-")
    assert (result.code, result.err) == (0, "")
    found = strict(result.out)
    powers = [(row["x"], row["exponent"], row["power"]) for row in found["rows"]]
    assert powers == [(1, 2, 1), (1, 3, 1), (2, 2, 4), (2, 3, 8)]
    assert len({row["drawn"] for row in found["rows"]}) == 4
    assert (found["summary"]["rows"], found["summary"]["failed"]) == (4, 0)
    assert len((tmp_path / "s.jsonl").read_text().splitlines()) == 5
    result = stranger("study", *arguments, "--report", "out.html")
    assert (result.code, result.err) == (0, "")
    assert "4 rows, 0 with an error\n" in result.out
    assert "4 rows, 0 with an error" in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_study_with_an_error(run: Run, stranger: Run, write: Any, tmp_path: Path) -> None:
    task, store = f"{write('tasks.py', TASKS)}:power", tmp_path / "s.jsonl"
    result = run("study", task, "--grid", "x=2,3", "--store", store)
    assert (result.code, result.err) == (1, "")
    assert "2 rows, 1 with an error; --retry-failed runs those again" in result.out
    write("tasks.py", TASKS.replace("x == 3", "x == 7"))
    one_message(run("study", task, "--grid", "x=2,3", "--store", store, "--retry-failed"), ("the task", "was changed"))
    write("tasks.py", TASKS)
    assert run("study", task, "--grid", "x=2,3", "--store", store, "--retry-failed").code == 1
    with store.open("a") as stream:
        stream.write('{"row": 1')
    result = stranger("study", task, "--grid", "x=2,3", "--store", store)
    assert "its last line was not finished; 9 bytes were cut off" in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tasks.py", "--grid", "x=1"], ("tasks.py: expected FILE.py:function",)),
        (["none.py:f", "--grid", "x=1"], ("none.py: no such file",)),
        (["tasks.py:root", "--grid", "x=1"], ("tasks.py: has no function root()",)),
        (["broken.py:f", "--grid", "x=1"], ("broken.py:1:", "syntax")),
        (["tasks.py:power", "--grid", "x"], ("--grid x: expected name=value",)),
        (["tasks.py:power", "--grid", "error=1"], ("'error' is a column",)),
        (["tasks.py:power", "--grid", "x=1", "--dask", "local:2", "--workers", "2"], ("give one of them",)),
        (["tasks.py:power", "--grid", "x=1", "--json", "no/out.json"], ("out.json", "cannot be written")),
        (["tasks.py:power", "--grid", "x=1", "--store", "tasks.py"], ("tasks.py", "is no store of a study")),
    ],
)
def test_study_refuses(arguments: list[str], words: tuple[str, ...], run: Run, write: Any) -> None:
    write("tasks.py", TASKS)
    write("broken.py", "def f(:\n")
    one_message(run("study", *arguments), words)


def test_what_build_imports(run: Run, write: Any) -> None:
    """A neighbour that is imported only once build() runs."""
    write("late_neighbour.py", "AIM = 0.25\n")
    path = write("late.py", game("import late_neighbour"))
    before = list(sys.path)
    assert run("solve", path, "--json", "-").code == 0
    assert sys.path == before


@pytest.mark.parametrize("command", [["demo"], ["solve"]])
def test_a_file_that_cannot_be_written_is_said_before_the_work(
    command: list[str], run: Run, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: Any, **__: Any) -> None:
        raise AssertionError("worked first")

    monkeypatch.setattr("stackpyomo.cli.solve.leader_optimal", work)
    subject = [write("toll.py", game())] if command == ["solve"] else []
    found = run(*command, *subject, "--report", "no/such/page.html")
    assert found.code == 2
    assert "page.html: cannot be written" in found.err
