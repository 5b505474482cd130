"""``stackpyomo export``: what other solvers read gives the equilibrium known by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import MODELS, TEXT, TOLL, Run, game, one_message, strict
from pyscipopt import Model


@pytest.mark.parametrize("kind", ["nl", "mps", "lp", "gms"])
def test_every_format_is_written(kind: str, run: Run, write: Any, tmp_path: Path) -> None:
    result = run("export", write("game.json", TEXT), f"toll.{kind}", "--json", "-")
    assert (result.code, result.err) == (0, "")
    assert strict(result.out)["variables"] >= 4, "toll, flow and two multipliers at least"
    assert (tmp_path / f"toll.{kind}").stat().st_size > 100


def test_another_solver_reads_it(run: Run, write: Any, tmp_path: Path) -> None:
    """flow = 1 − toll/2; (toll/2 − 0.4)² + toll²/100 is least at toll = 10/13: 2/325. Flow stays within 0.9."""
    assert run("export", write("game.json", TEXT), "toll.nl").code == 0
    model = Model()
    model.hideOutput()
    model.readProblem(str(tmp_path / "toll.nl"))
    model.optimize()
    values = {variable.name: model.getVal(variable) for variable in model.getVars()}
    assert model.getObjVal() == pytest.approx(2 / 325, abs=1e-5)
    assert values["toll"] == pytest.approx(10 / 13, abs=1e-2)
    assert values["driver.flow"] == pytest.approx(1 - values["toll"] / 2, abs=1e-5)


def test_followers_who_meet_in_an_aggregate(run: Run) -> None:
    """Cournot: the leader's output, the total, and each of two followers' own with the multiplier of its bound."""
    result = run("export", MODELS / "cournot.py", "cournot.nl", "--parameter", "n=2", "--json", "-")
    assert (result.code, result.err) == (0, "")
    assert strict(result.out)["variables"] == 6


def test_one_of_two_followers(run: Run, write: Any) -> None:
    two = json.loads(json.dumps(TOLL))
    south = {"variables": [{"name": "flow2", "lb": 0, "ub": 1}], "objective": "(flow2 - 1)**2 + toll*flow2"}
    two["followers"].append({"name": "south", **south})
    path = write("two.json", json.dumps(two))
    whole = strict(run("export", path, "two.nl", "--json", "-").out)
    part = strict(run("export", path, "part.nl", "--responding", "driver", "--json", "-").out)
    assert part["variables"] < whole["variables"]
    assert run("export", path, "part.lp", "--responding", "driver").code == 0, "one objective: south serves the leader"


def test_what_cannot_be_written_is_one_line(run: Run, write: Any) -> None:
    path = write("game.json", TEXT)
    one_message(run("export", path, "toll.xyz"), ("toll.xyz", ".nl, .lp, .mps, .gms"))
    one_message(run("export", path, "no/toll.nl"), ("no/toll.nl", "cannot be written"))
    one_message(run("export", path, "toll.nl", "--responding", "nobody"), ("--responding nobody", "driver"))
    one_message(run("export", path, "toll.nl", "--complementarity", "none"), ("--complementarity none",))
    curved = write("curved.json", TEXT.replace("(flow - 1)**2", "exp(flow - 1)"))
    one_message(run("export", curved, "toll.lp"), ("toll.lp", "nonlinear terms", "Write .nl or .gms"))
    assert not Path("toll.lp").exists()
    whole = write("whole.py", game("m.driver.flow.domain = pyo.Binary"))
    one_message(run("export", whole, "toll.nl"), ("driver.flow is integer", "Relax"))
