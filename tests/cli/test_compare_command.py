"""``stackpyomo compare``: documents, pages, logs, options for one of the solvers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from conftest import TEXT, Run, one_message, strict

from stackpyomo.solvers import registry

pytestmark = pytest.mark.usefixtures("quick_workers")


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


def test_compare_says_what_is_missing(run: Run, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry, "scip", dataclasses.replace(registry["scip"], version=lambda: None))
    two = f"[{TEXT}, {TEXT}]"
    result = run("compare", write("games.json", two), "--solver", "pounce,scip", "--time-limit", "20")
    assert (result.code, result.err) == (1, "")
    assert "2 of 4 verified and as good as the best of their game" in result.out
    assert "scip, auto, 2 games: --solver scip: not installed." in result.out
    assert "toll (2)" in result.out
    one_message(
        run("compare", write("games.json", two), "--solver", "clpex"), ("--solver clpex", "unknown solver", "pounce")
    )
    one_message(run("compare", write("games.json", two), "--json", "no/out.json"), ("out.json", "cannot be written"))
    one_message(run("compare", "nothing.json"), ("nothing.json", "cannot be read"))
