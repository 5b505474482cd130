"""``stackpyomo solve`` and ``demo``: exit codes, contracts and refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import MODELS, TEXT, Run, game, one_message, strict
from helpers.page_reader import Read

import stackpyomo as sp
from models import two_roads as model
from stackpyomo.cli import entry as cli
from stackpyomo.cli.solve_command import STORY, two_roads
from stackpyomo.games.files import document


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
    one_message(run("demo", "--solver", "clpex"), ("--solver clpex", "unknown solver"))


@pytest.mark.parametrize("value", ["object()", "float('nan')", "__import__('numpy').arange(2)"])
def test_expectations_that_json_cannot_say(value: str, run: Run, write: Any) -> None:
    result = run("solve", write("toll.py", game() + f"\nEXPECTED = {{'flow': {value}}}\n"), "--json", "-")
    if result.code == 0:
        strict(result.out)
    else:
        assert (result.code, result.out) == (2, "")
        assert "EXPECTED" in result.err


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
    *notes, refusal = result.err.splitlines()
    assert notes == ["note: price: no active objective or constraint uses it. Remove it or use it."]
    assert refusal.startswith("stackpyomo: No affine incentive: driver: zero gradient")


def test_a_wrong_sense_is_told_before_the_refusal_that_it_causes(run: Run, write: Any) -> None:
    done = run("solve", write("wrong.py", game("m.driver.cost.sense = pyo.maximize")))
    assert done.code == 1
    note, refusal = (line for line in done.err.splitlines() if "driver" in line)
    assert note.startswith("note: driver.cost: proved not concave (it is maximised)")
    assert refusal.startswith("stackpyomo: No affine incentive: driver: curvature")
    assert note not in done.out


@pytest.mark.slow
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
    assert "All followers respond: the leader announces constants, and no incentive is\ndesigned." in result.out
    assert "The leader announces:" not in result.out
    assert "verified: largest regret" in result.out


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


GAME = """
import pyomo.environ as pyo
import stackpyomo as sp


def build(weight=1.0):
    m = pyo.ConcreteModel(name="toll")
    m.toll = pyo.Var(bounds=(-2, 2), initialize=0.0)
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1), initialize=0.6)
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + weight * m.toll * m.driver.flow)
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6) ** 2 + 0.01 * m.toll**2)
    return sp.Game(m, m.driver)
"""


@pytest.fixture
def solve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    (tmp_path / "toll.py").write_text(GAME, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def call(command: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["stackpyomo", command, "toll.py", *arguments, "--report", "page.html"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), (tmp_path / "page.html").read_text(encoding="utf-8")

    return call


@pytest.mark.slow
def test_solve_compares_with_constants(solve: Any) -> None:
    code, text = solve("solve", "--starts", "2", "--seed", "3")
    read = Read(text)
    assert code == 0
    t = 0.4 / 0.52
    assert float(read.table("player", "with the rule")["driver"][1]) == pytest.approx(t - t**2 / 4, abs=1e-5)
    assert "stackpyomo solve toll.py --starts 2 --seed 3 --report page.html" in read.text
    assert "starts = 2, seed = 3" in read.text
    assert "Baseline:" in read.text


def test_solve_says_why_there_is_no_incentive(solve: Any) -> None:
    code, text = solve("solve", "--parameter", "weight=0")
    assert code == 1
    assert "No affine incentive: driver: zero gradient" in Read(text).text
    assert "✗  NOT verified" in Read(text).text


def test_solve_says_why_there_is_no_baseline(solve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise sp.NoPlan("No plan exists.", termination="infeasible")

    monkeypatch.setattr("stackpyomo.cli.solve_command.stackelberg", none)
    code, text = solve("solve")
    assert code == 0
    assert "because no plan without an incentive was found: No plan exists." in Read(text).text


def test_solve_with_all_responding_and_verify(solve: Any) -> None:
    code, text = solve("solve", "--responding", "all")
    assert code == 0
    assert "All followers respond: the leader announces constants" in Read(text).text
    assert "The contract in plain words" not in text
    code, text = solve("verify", "--starts", "3")
    assert code == 1, "at the values that the model holds the driver has a regret"
    assert "starts = 3" in Read(text).text


def test_the_demo_is_the_model() -> None:
    assert document(two_roads()) == document(model.build())


def test_its_toll_is_known_by_hand() -> None:
    """2 (0.6 − 1) + Q · 0.6 = 0."""
    rule = sp.affine_incentive(sp.leader_optimal(two_roads()))
    assert rule.gain.to_numpy().item() == pytest.approx(4 / 3, abs=1e-6)
    assert all(len(line) <= 120 for line in STORY.splitlines())
