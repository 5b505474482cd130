"""``stackpyomo bench`` with every option; the rest is in tests/studies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import TOLL, Run, one_message, strict

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
