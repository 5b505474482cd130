"""``stackpyomo inducible``: the verdict of the library, on the plan of a file or the leader's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import MODELS, Run, game, one_message, strict


def test_a_toll_can_hold_the_driver(run: Run) -> None:
    result = run("inducible", MODELS / "two_roads.py")
    assert (result.code, result.err) == (0, "")
    assert "possible" in result.out


def test_what_no_announcement_can_do(run: Run, write: Any, tmp_path: Path) -> None:
    """The driver does not feel the toll: at flow 1 it secures 0, and the plan costs it 0.16."""
    path = write("deaf.py", game("m.driver.cost.set_value((m.driver.flow - 1) ** 2)"))
    result = run("inducible", path, "--json", "-")
    document = strict(result.out)
    (row,) = document["followers"]
    assert (result.code, row["follower"], row["verdict"]) == (1, "driver", "impossible")
    assert row["objective"] == pytest.approx(0.16, abs=1e-6)
    assert row["security"] == pytest.approx(0.0, abs=1e-6)
    assert run("solve", path, "--json", "solved.json").code == 1
    again = strict(run("inducible", path, "--plan", "solved.json", "--json", "-").out)
    assert again["followers"] == document["followers"]
    one_message(run("inducible", path, "--plan", "gone.json"), ("gone.json", "cannot be read"))
