"""``stackpyomo solve --equilibrium``: one equilibrium, or all of them."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from stackpyomo.cli.app import app
from stackpyomo.cli.solve_command import solve

HARKER = {
    "format": "stackpyomo-game/1",
    "leader": {"variables": [], "objective": "x"},
    "followers": [
        {"name": "a", "variables": [{"name": "x", "lb": 0, "ub": 10}], "objective": "x**2 + 8/3*x*y - 34*x"},
        {"name": "b", "variables": [{"name": "y", "lb": 0, "ub": 10}], "objective": "y**2 + 5/4*x*y - 24.25*y"},
    ],
    "shared": ["x + y <= 15"],
}


def run(tmp_path: Path, kind: str) -> tuple[int, dict[str, object]]:
    path = tmp_path / "harker.json"
    path.write_text(json.dumps(HARKER))
    assert callable(solve)
    found = CliRunner().invoke(app, ["solve", str(path), "--equilibrium", kind, "--json", "-"])
    return found.exit_code, json.loads(found.stdout)


def test_all_equilibria_are_listed_with_what_is_proved(tmp_path: Path) -> None:
    code, document = run(tmp_path, "all")
    assert code == 1
    assert document["complete"] is False
    assert document["continuum"] == ["a continuum of dimension 1: a.x in [9, 10], b.y in [5, 6]"]
    assert len(document["equilibria"]) == 1  # type: ignore[arg-type]


def test_one_equilibrium_is_planned_and_verified(tmp_path: Path) -> None:
    code, document = run(tmp_path, "variational")
    plan = document["plan"]
    assert code == 0
    assert plan["selection"]["kind"] == "variational"  # type: ignore[index]
