"""``stackpyomo check`` and ``check-game``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conftest import MODELS, Run, game, strict

import stackpyomo as sp
from stackpyomo.cli.solve_command import two_roads
from stackpyomo.verification import checker


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


def test_a_certificate_by_the_command_line_alone(run: Run, tmp_path: Path) -> None:
    assert run("solve", MODELS / "two_roads.py", "--certificate", "proof.json").code == 0
    assert run("check", tmp_path / "proof.json").code == 0


def test_check_game(run: Run, write: Any) -> None:
    """0: nothing but remarks. 1: doubtful. 2: of no use."""
    sound = run("check-game", MODELS / "two_roads.py")
    assert (sound.code, sound.out, sound.err) == (0, "two roads: no findings.\n", "")
    curved = write("curved.py", game("m.driver.cost.set_value(pyo.sin(9 * m.driver.flow) + m.toll * m.driver.flow)"))
    doubtful = run("check-game", curved, "--json", "-")
    assert doubtful.code == 1
    assert strict(doubtful.out)["findings"][0]["severity"] == "warning"
    useless = run("check-game", write("two.py", game("m.driver.more = pyo.Objective(expr=m.driver.flow)")))
    assert useless.code == 2
    assert useless.out.startswith("error: ")
