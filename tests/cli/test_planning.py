"""Options of plans and rules, as the library takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import MODELS, TEXT, Run, game, one_message, strict


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
    one_message(run("solve", path, "--payment", "pay"), ("--payment: there is nothing to choose it by",))


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


@pytest.mark.slow
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
        (["--responding", "all", "--complementarity", "none"], "--complementarity none"),
    ],
)
def test_solve_refuses(options: list[str], words: str, run: Run, write: Any) -> None:
    one_message(run("solve", write("game.json", TEXT), *options), (words,))


def test_seeds_reach_the_starting_points(run: Run, write: Any) -> None:
    hilly = game("m.miss.set_value(m.miss.expr + pyo.sin(20 * m.price) + m.price / 10)")

    def objectives(seed: int) -> list[float]:
        told = run("solve", write("hilly.py", hilly), "--starts", "4", "--seed", seed, "--json", "-").out
        return [attempt["objective"] for attempt in strict(told)["plan"]["log"]]

    assert objectives(1) == objectives(1)
    assert objectives(1) != objectives(2)


HARKER = {
    "format": "stackpyomo-game/1",
    "leader": {"variables": [], "objective": "x"},
    "followers": [
        {"name": "a", "variables": [{"name": "x", "lb": 0, "ub": 10}], "objective": "x**2 + 8/3*x*y - 34*x"},
        {"name": "b", "variables": [{"name": "y", "lb": 0, "ub": 10}], "objective": "y**2 + 5/4*x*y - 24.25*y"},
    ],
    "shared": ["x + y <= 15"],
}
"""Harker 1991, example of a generalised Nash game with a segment of equilibria."""


def test_all_equilibria_are_listed_with_what_is_proved(run: Run, write: Any) -> None:
    done = run("solve", write("harker.json", json.dumps(HARKER)), "--equilibrium", "all", "--json", "-")
    document = strict(done.out)
    assert (done.code, document["complete"]) == (1, False)
    assert document["continuum"] == ["a continuum of dimension 1: a.x in [9, 10], b.y in [5, 6]"]
    assert len(document["equilibria"]) == 1


def test_one_equilibrium_is_planned_and_verified(run: Run, write: Any) -> None:
    done = run("solve", write("harker.json", json.dumps(HARKER)), "--equilibrium", "variational", "--json", "-")
    assert done.code == 0
    assert strict(done.out)["plan"]["selection"]["kind"] == "variational"


def test_bounds_of_the_gain(run: Run, write: Any) -> None:
    """The only gain is 4/3: bounds that hold it change nothing, others refuse it."""
    path = write("toll.py", game())
    for options in (["--gain-bounds", "0,2"], ["--gain-bounds", "toll=,1.5"], ["--prefer", "sparsest"]):
        rule = strict(run("solve", path, *options, "--json", "-").out)["incentive"]
        assert [value for name, _, value in rule["gain"] if name == "toll"] == pytest.approx([4 / 3], abs=1e-5)
    assert run("solve", path, "--gain-bounds", "0,1").code == 1
    one_message(run("solve", path, "--gain-bounds", "3"), ("--gain-bounds 3: expected low,high",))
    one_message(run("solve", path, "--gain-bounds", "0,1", "--gain-bounds", "toll=0,1"), ("one pair for all gains",))


def test_the_least_curvature(run: Run, write: Any) -> None:
    """(flow − 1)² + 4/3 (flow − 0.6) flow has the curvature 2 + 8/3."""
    path = write("toll.py", game())
    assert run("solve", path, "--curvature", "4.6").code == 0
    refused = run("solve", path, "--curvature", "5", "--design", "slopes")
    assert refused.code == 1
    assert "curvature" in refused.err
    one_message(run("solve", path, "--curvature", "flat"), ("curvature",))


def test_a_contract_as_csv(run: Run, write: Any, tmp_path: Path) -> None:
    assert run("solve", write("toll.py", game()), "--contract", "contract.csv").code == 0
    table = pd.read_csv(tmp_path / "contract.csv").set_index("variable")
    assert list(table.columns) == ["unit", "on_plan", "signal", "signal_unit", "followers", "target", "per_unit"]
    toll = table.loc["toll"]
    assert (toll["signal"], toll["followers"]) == ("driver.flow", "driver")
    assert [toll["on_plan"], toll["target"], toll["per_unit"]] == pytest.approx([0.0, 0.6, 4 / 3], abs=1e-5)
