"""``stackpyomo bench``: documents, exit codes, every option, and nothing that outlives it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import TOLL, Result, Run, checked, one_message, strict, wait_until
from helpers.entries import KINKED, NONCONVEX, WITHOUT_PLAN, entry, slow, without
from helpers.processes import Command

import stackpyomo as sp

pytestmark = pytest.mark.usefixtures("quick_workers")


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


Bench = Callable[..., Result]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """``stackpyomo bench`` on these entries, in a process of its own."""

    def call(entries: Any, *options: Any) -> Result:
        path = tmp_path / "games.json"
        path.write_text(entries if isinstance(entries, str) else json.dumps(entries, indent=1), encoding="utf-8")
        (tmp_path / "tmp").mkdir(exist_ok=True)
        words = ["stackpyomo", "bench", "games.json", *map(str, options)]
        with Command(words, tmp_path, tmp_path / "tmp") as command:
            result = checked(command.ended())
        assert list((tmp_path / "tmp").iterdir()) == [], "nothing stays behind"
        return result

    return call


def test_all_right_is_exit_0(bench: Bench) -> None:
    bent = entry("bent", 0.16, **NONCONVEX) | {"follower_convex": False}
    result = bench([entry(), entry("no plan", None, **WITHOUT_PLAN), entry("better", 1.0), bent])
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert [line.split()[-1] for line in lines[:-1]] == ["outcome", "ok", "infeasible", "better", "ok"]
    assert lines[-1].startswith("4 of 4 as expected (2 ok, 1 better, 1 infeasible), 3 verified, ")
    assert max(map(len, lines[:-1])) <= 80


def test_a_document_and_nothing_else(bench: Bench) -> None:
    entries = [entry(), entry("wrong", 0.0), entry("kinked", **KINKED), without("format")]
    result = bench(entries, "--json", "-", "--time-limit", "30", "--jobs", "2")
    assert (result.code, result.err) == (1, "")
    found = strict(result.out)
    assert list(found) == ["version", "machine", "catalogue", "settings", "interrupted", "rows", "summary"]
    assert (found["version"], found["catalogue"], found["interrupted"]) == (sp.__version__, "games.json", False)
    assert found["machine"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["machine"]["cores"] == os.cpu_count()
    assert set(found["machine"]) == {"python", "platform", "processor", "cores"}
    assert found["settings"] == {
        "solver": "auto",
        "complementarity": "auto",
        "time_limit": 30.0,
        "starts": 1,
        "seed": 0,
        "options": {},
        "ties": "optimistic",
        "tie_tolerance": 0.0,
        "equilibrium": "auto",
        "allow_nonconvex": False,
        "tolerance": 1e-4,
        "jobs": 2,
    }
    fields = "name class objective reference gap regret certificate quality seconds outcome message error "
    fields += "termination residual iterations stages"
    assert all(" ".join(row) == fields for row in found["rows"])
    assert [row["outcome"] for row in found["rows"]] == ["ok", "worse", "refused", "failed"]
    assert found["rows"][2]["objective"] is None
    assert found["rows"][3]["message"].startswith("games.json:"), "with line and column"
    assert found["summary"]["outcomes"] == {"failed": 1, "ok": 1, "refused": 1, "worse": 1}


def test_a_document_in_a_file(bench: Bench, tmp_path: Path) -> None:
    result = bench([entry("wrong", 0.0)], "--json", "out.json")
    assert (result.code, result.err) == (1, "")
    assert "wrong: worse: worse than the reference by 0.0062" in result.out
    assert strict((tmp_path / "out.json").read_text())["rows"][0]["outcome"] == "worse"


def test_a_document_that_cannot_be_written_is_told_first(bench: Bench) -> None:
    result = bench([slow()], "--json", "no/such/folder/x.json")
    assert (result.code, result.out) == (2, "")
    assert result.err == "stackpyomo: no/such/folder/x.json: cannot be written (No such file or directory).\n"


def test_a_filter(bench: Bench) -> None:
    result = bench([entry("north"), entry("south"), entry("southwest")], "--filter", "south", "--json", "-")
    assert [row["name"] for row in strict(result.out)["rows"]] == ["south", "southwest"]
    assert result.code == 0


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("{}", [], "games.json: does not hold a list of games"),
        ("[3]", [], "expected an object"),
        ("[]", [], "holds no game."),
        ("[", [], "is not JSON"),
        (json.dumps([entry()]), ["--filter", "north"], "holds no game whose name contains 'north'"),
        (json.dumps([entry()]), ["--solver", "clpex"], "unknown solver"),
        (json.dumps([entry()]), ["--complementarity", "no"], "--complementarity no"),
        (json.dumps([entry()]), ["--time-limit", "-1"], "--time-limit"),
        (json.dumps([entry()]), ["--tolerance", "nan"], "tolerance"),
    ],
)
def test_bad_input_is_exit_2(text: str, options: list[str], words: str, bench: Bench) -> None:
    result = bench(text, *options)
    assert (result.code, result.out) == (2, "")
    assert words in result.err
    assert result.err.startswith("stackpyomo: ")
    assert result.err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_ends_workers_and_shows_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "games.json").write_text(json.dumps([entry("quick"), slow(size=20000)]), encoding="utf-8")
    folder = tmp_path / "tmp"
    folder.mkdir()
    words, log = ["stackpyomo", "bench", "games.json", "--json", "-", "--log", "log.txt"], tmp_path / "log.txt"
    with Command(words, tmp_path, folder) as command:
        wait_until(lambda: log.exists() and "stackpyomo.studies.catalogue: quick" in log.read_text())
        os.kill(command.pid, signal.SIGINT)
        result = command.ended()
    assert (result.code, result.err) == (130, "stackpyomo: interrupted\n")
    found = strict(result.out)
    assert found["interrupted"] is True
    assert [row["name"] for row in found["rows"]] == ["quick"]
    assert list(folder.iterdir()) == []


def runs(number: str) -> bool:
    try:
        return psutil.Process(int(number)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_outlives_the_command(blow: signal.Signals, tmp_path: Path, endless_ipopt: str) -> None:
    """Neither workers nor their solvers nor the files of both, also where the command can do nothing about it."""
    (tmp_path / "games.json").write_text(json.dumps([entry(), entry()]), encoding="utf-8")
    folder = tmp_path / "tmp"
    folder.mkdir()
    words = ["stackpyomo", "bench", "games.json", "--solver", "ipopt", "--jobs", "2"]
    fresh = blow in (signal.SIGTERM, signal.SIGKILL)
    with Command(words, tmp_path, folder, forked_workers=not fresh, PATH=endless_ipopt) as command:
        wait_until(lambda: len(list(folder.glob("stackpyomo-*/*.solving"))) == 2)
        time.sleep(0.2)
        solving = [number for path in folder.glob("stackpyomo-*/*.solving") for number in path.read_text().split()]
        assert len(solving) == 4
        assert all(map(runs, solving))
        os.kill(command.pid, blow)
        assert command.ended(10).code == (-blow if blow is signal.SIGKILL else 128 + blow)
        wait_until(lambda: not any(map(runs, solving)) and not list(folder.iterdir()), 10)
