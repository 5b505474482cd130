"""``stackpyomo doctor``: solvers that are there, missing and broken."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import pytest
from conftest import INSTALLED, Run, one_message, strict

import stackpyomo as sp
from stackpyomo.solvers import registry


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
    assert (result.code, result.err) == (0, "")
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
