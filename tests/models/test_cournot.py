"""Cournot behind a leader: against bisection on the price and on the leader's marginal profit."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import NLP

import stackpyomo as sp
from models import cournot
from stackpyomo.errors import InvalidGame
from stackpyomo.solvers import registry

TREATMENTS = [sp.Scholtes(), sp.FischerBurmeister(), sp.Penalty()]
KINK = 50  # followers at which one is indifferent in the leader's best point (so are 30, 3,000 and 100,000)


def supply(margin: float, margins: np.ndarray) -> float:
    """What the followers sell at the price 12 + margin; margins: c_i − 12."""
    return float(np.maximum(0.0, (margin - margins) / 2).sum())


def bisected(sign: Callable[[float], bool], low: float, high: float) -> float:
    """Where ``sign`` turns from True to False."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sign(middle) else (low, middle)
    return low


def oracle(margins: np.ndarray) -> tuple[float, float, float]:
    """(the leader's best output, profit, margin P − 12).

    With x = P − 12 the leader sells 88 − x − supply(x); x times that is concave, so its right-hand derivative
    88 − 2x − supply(x) − x · (followers who produce just above x)/2 falls, in jumps at the kinks.
    """

    def rises(x: float) -> bool:
        return 88.0 - 2 * x - supply(x, margins) - x * np.count_nonzero(margins <= x) / 2 > 0

    best = bisected(rises, 0.0, 88.0)
    quantity = 88.0 - best - supply(best, margins)
    return quantity, best * quantity, best


def margins_of(game: sp.Game) -> np.ndarray:
    """c_i − 12, read off the model: a follower's marginal profit at 0 output and price 100 is 100 − c_i."""
    found = []
    for follower in game.followers.values():
        at = pyo.ComponentMap([(game.model.quantity, 0.0), (game.model.rivals, 0.0), (follower.block.quantity, 1.0)])
        for var, value in at.items():
            var.set_value(value)
        found.append(100.0 - 0.5 - pyo.value(follower.block.profit) - 12.0)
    return np.array(found)


def check(plan: sp.Plan, margins: np.ndarray, tolerance: float = 1e-8) -> None:
    """Leader, price and every follower against the oracle, relative to the margin; verified by re-solves."""
    quantity, profit, margin = oracle(margins)
    assert plan.value("quantity") == pytest.approx(quantity, abs=tolerance)
    assert plan.leader_objective == pytest.approx(profit, rel=tolerance)
    sold = np.array([plan.value(f"firm[{i}].quantity") for i in range(1, len(margins) + 1)])
    np.testing.assert_allclose(sold, np.maximum(0.0, (margin - margins) / 2), atol=tolerance * max(1.0, margin))
    report = sp.verify(plan)
    assert report.ok
    assert report.epsilon <= 1e-6
    assert (report.certificate == "convex").all()


@pytest.mark.parametrize("n", [2, 3, 5, 10, 20, KINK, 100, 300])
def test_plan_is_the_closed_form(n: int) -> None:
    game = cournot.build(n)
    check(sp.stackelberg(game), margins_of(cournot.build(n)))


def test_large_game_is_not_content_with_any_equilibrium() -> None:
    n = 2500
    assert sp.stackelberg(cournot.build(n)).leader_objective == pytest.approx(cournot.optimum(n).profit, rel=1e-6)


@pytest.mark.parametrize("n", [1, 2, 10, 100])
def test_equal_costs_leave_the_leader_44(n: int) -> None:
    plan = sp.stackelberg(cournot.build(n, low=0.0, high=0.0))
    check(plan, np.zeros(n))
    assert plan.value("quantity") == pytest.approx(44.0, abs=1e-8)
    assert plan.leader_objective == pytest.approx(44.0**2 / (1 + n / 2), rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 30, KINK, 100, 1000, 3000, 10_000, 100_000])
@pytest.mark.parametrize(("low", "high"), [(cournot.LOW, cournot.HIGH), (0.0, 0.0), (0.0, 4.0), (1.0, 1.5)])
def test_closed_form_of_the_model(n: int, low: float, high: float) -> None:
    """By pieces in the model, by bisection here."""
    quantity, profit, margin = oracle(cournot.costs(n, low, high) - 12.0)
    best = cournot.optimum(n, low, high)
    assert best.quantity == pytest.approx(quantity, rel=1e-9)
    assert best.profit == pytest.approx(profit, rel=1e-9)
    assert best.price - 12.0 == pytest.approx(margin, rel=1e-9)


def test_followers_stay_out_at_every_size() -> None:
    for n in [2, *range(4, 200), 300, 1000, 3000, 10_000, 100_000]:
        c, best = cournot.costs(n), cournot.optimum(n)
        assert c.min() > cournot.LEADER_COST
        assert best.quantity > 40
        assert 0.1 <= np.mean(c >= best.price) <= 0.6, n


def test_one_follower_is_indifferent_at_a_kink() -> None:
    c, best = cournot.costs(KINK), cournot.optimum(KINK)
    assert np.abs(c - best.price).min() <= 1e-12 * best.price


@pytest.mark.parametrize("solver", NLP)
@pytest.mark.parametrize("treatment", TREATMENTS, ids=lambda t: t.name)
@pytest.mark.parametrize("n", [10, KINK])
def test_solvers_and_treatments_agree(n: int, treatment: object, solver: str) -> None:
    plan = sp.stackelberg(cournot.build(n), solver=solver, complementarity=treatment)
    check(plan, cournot.costs(n) - 12.0, 1e-6)


@pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP: pip install pyscipopt")
@pytest.mark.parametrize("n", [2, 10, KINK])
def test_scip_proves_the_same(n: int) -> None:
    plan = sp.stackelberg(cournot.build(n), solver="scip")
    check(plan, cournot.costs(n) - 12.0, 1e-6)
    assert plan.quality == "optimal"
    # A gap is closed at 1e-6 of what is at stake: a price of 100 times what the leader can sell, 88.
    assert 0.0 <= plan.bound - cournot.optimum(n).profit <= 1e-6 * 100 * 88


@pytest.mark.parametrize("n", [2, 10, 100])
def test_cournot_at_a_given_output(n: int) -> None:
    margins = cournot.costs(n) - 12.0
    plan = sp.nash(cournot.build(n), leader={"quantity": 30.0})
    margin = bisected(lambda x: 88.0 - x - supply(x, margins) > 30.0, 0.0, 88.0)
    assert plan.value("rivals") == pytest.approx(supply(margin, margins), abs=1e-8)
    assert plan.leader_objective == pytest.approx(30.0 * margin, abs=1e-7)


def test_a_bought_off_follower_is_caught() -> None:
    """The oracle's plan with one follower moved is refused: the re-solve is not idle at these sizes."""
    plan = sp.stackelberg(cournot.build(10))
    name = max(plan.follower_objectives, key=plan.follower_objectives.__getitem__)
    plan.values[f"{name}.quantity"] += 0.01
    plan.values["rivals"] += 0.01
    report = sp.verify(plan)
    assert not report.ok
    assert math.isclose(report.regret[name], 1.5 * 0.01**2, rel_tol=1e-3)


def test_bad_parameters_are_refused() -> None:
    for bad in ({"n": 0}, {"low": -1.0}, {"low": 2.0, "high": 1.0}):
        with pytest.raises(InvalidGame, match="expected n ≥ 1 and 0 ≤ low ≤ high"):
            cournot.build(**bad)


def test_demo_prints_the_closed_form(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cournot.main()
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert f"{cournot.EXPECTED['leader_objective']:.6f}" in printed
    assert "out" in printed
    assert "verified: largest regret" in printed
