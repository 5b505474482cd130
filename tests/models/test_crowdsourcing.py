"""The crowdsourcing contract: against its closed form, and against scalar searches that know neither."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar

import stackpyomo as sp
from models import crowdsourcing
from stackpyomo.errors import InvalidGame

GAMES = [
    {},
    {"costs": (3.0,), "saturation": 0.0},
    {"costs": (0.5, 2.0, 2.0), "value": 6.0, "saturation": 1.0, "outside": 1.0, "rent": 0.4},
]


def offered(rule: sp.Incentive, k: int, effort: float) -> float:
    """What the announced strategy pays worker k for that effort, everybody else as planned."""
    return rule.actions({f"worker[{k}].effort": effort})[f"pay[{k}]"]


@pytest.mark.parametrize("parameters", GAMES)
def test_the_closed_form_is_the_best_contract(parameters: dict) -> None:
    """SciPy over the efforts, with pay at its least that workers accept."""
    best = crowdsourcing.contract(**parameters)
    given = {"costs": crowdsourcing.COSTS, "value": 10.0, "saturation": 2.0, "outside": 3.0, "rent": 0.0, **parameters}
    c = np.array(given["costs"])

    def loss(effort: np.ndarray) -> float:
        pay = given["outside"] + given["rent"] + c * effort**2 / 2
        return pay.mean() - given["value"] * effort.mean() + given["saturation"] / 2 * effort.mean() ** 2

    found = minimize(loss, np.ones(len(c)), bounds=[(0, None)] * len(c), tol=1e-14)
    assert -found.fun == pytest.approx(best.profit, rel=1e-8)
    np.testing.assert_allclose(found.x, best.effort, rtol=1e-4)


@pytest.mark.parametrize("parameters", GAMES)
def test_plan_and_contract_are_the_closed_form(parameters: dict) -> None:
    game = crowdsourcing.build(**parameters)
    plan = sp.leader_optimal(game)
    rule = sp.affine_incentive(plan)
    best = crowdsourcing.contract(**parameters)
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(best.profit, rel=1e-7)
    for k, (effort, pay, base) in enumerate(zip(best.effort, best.pay, best.base, strict=True), start=1):
        assert plan.value(f"worker[{k}].effort") == pytest.approx(effort, rel=1e-6)
        assert rule.offset[f"pay[{k}]"] == pytest.approx(pay, rel=1e-6)
        assert offered(rule, k, 0.0) == pytest.approx(base, abs=1e-5)
        assert offered(rule, k, 1.0) - offered(rule, k, 0.0) == pytest.approx(best.bonus, rel=1e-6)
    assert np.count_nonzero(rule.gain) == len(best.effort), "nobody is paid for another's work"
    report = sp.verify(rule)
    assert report.ok
    assert report.epsilon <= 1e-8
    assert (report.certificate == "convex").all()


@pytest.mark.parametrize(("observe", "liable"), [("actions", True), (["quality"], True), ("actions", False)])
def test_no_other_effort_pays_better(observe: object, liable: bool) -> None:
    """A search over each worker's effort, at the pay that the announced strategy gives him for it."""
    parameters = {"costs": (0.5, 2.0, 4.0), "outside": 0.5, "rent": 0.1}
    plan = sp.leader_optimal(crowdsourcing.build(**parameters, liable=liable))
    rule = sp.affine_incentive(plan, observe, saturate=not liable)
    best = crowdsourcing.contract(**parameters)
    for k, cost in enumerate(parameters["costs"], start=1):

        def payoff(effort: float, k: int = k, cost: float = cost) -> float:
            seen = {f"worker[{k}].effort": effort}
            if observe != "actions":
                others = best.effort.sum() - best.effort[k - 1]
                seen = {"quality": (others + effort) / 3}
            return rule.actions(seen)[f"pay[{k}]"] - cost * effort**2 / 2

        found = minimize_scalar(lambda e: -payoff(e), bounds=(0, 20), method="bounded", options={"xatol": 1e-10})
        assert found.x == pytest.approx(best.effort[k - 1], abs=1e-4)
        assert -found.fun <= payoff(best.effort[k - 1]) + 1e-6
        assert payoff(0.0) <= 0.6 + 1e-6
        assert payoff(0.0) >= 0.0 or liable
    assert sp.verify(rule).ok


def test_nobody_works_for_a_constant_pay() -> None:
    game = crowdsourcing.build()
    plan = sp.stackelberg(game)
    assert plan.leader_objective == pytest.approx(-crowdsourcing.OUTSIDE, abs=1e-6)
    assert all(plan.value(f"worker[{k}].effort") <= 1e-5 for k in game.model.K)
    regret = sp.verify(sp.leader_optimal(game)).regret.to_numpy()
    best = crowdsourcing.contract()
    np.testing.assert_allclose(regret, crowdsourcing.COSTS * best.effort**2 / 2, rtol=1e-5)


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_a_wrong_bonus_is_found_out(factor: float) -> None:
    """With the bonus f μ a worker's best effort is f e*; leaving e* gains c (1 − f)² e*²/2."""
    rule = sp.affine_incentive(sp.leader_optimal(crowdsourcing.build()))
    rule.matrix = rule.matrix * factor
    report = sp.verify(rule)
    best = crowdsourcing.contract()
    assert not report.ok
    wanted = crowdsourcing.COSTS * best.effort**2 / 2 * (1 - factor) ** 2
    np.testing.assert_allclose(report.regret.to_numpy(), wanted, rtol=1e-5)


@pytest.mark.parametrize("rent", [0.0, 0.75])
def test_workers_stay_at_the_outside_option_plus_the_rent(rent: float) -> None:
    plan = sp.leader_optimal(crowdsourcing.build(rent=rent))
    for payoff in plan.follower_objectives.values():
        assert payoff == pytest.approx(crowdsourcing.OUTSIDE + rent, abs=1e-6)
    # The bonus is marginal value: what the rent costs, the platform alone pays.
    assert plan.leader_objective == pytest.approx(crowdsourcing.contract().profit - rent, rel=1e-7)


@pytest.mark.parametrize("size", [1, 2, 10, 1000, math.inf])
def test_teams(size: float) -> None:
    """One's own quality is paid μ at any size; the average N μ, and nothing does for infinitely many."""
    plan = sp.leader_optimal(crowdsourcing.build(size=size))
    best = crowdsourcing.contract()
    assert plan.leader_objective == pytest.approx(best.profit, rel=1e-7)
    own = sp.affine_incentive(plan)
    np.testing.assert_allclose(
        [own.gain.loc[f"pay[{k}]", f"worker[{k}].effort"] for k in range(1, 6)], best.bonus, 1e-6
    )
    assert sp.verify(own).ok
    if math.isinf(size):
        with pytest.raises(sp.NoIncentive, match="no weight"):
            sp.affine_incentive(plan, crowdsourcing.AVERAGE)
        return
    team = sp.affine_incentive(plan, crowdsourcing.AVERAGE)
    np.testing.assert_allclose(team.gain["quality"], 5 * size * best.bonus, rtol=1e-6)
    assert sp.verify(team).ok


def test_limited_liability_is_left_only_where_it_is_projected() -> None:
    plan = sp.leader_optimal(crowdsourcing.build(liable=False))
    rule = sp.affine_incentive(plan, saturate=True)
    below = {f"pay[{k}]" for k, base in enumerate(crowdsourcing.contract().base, start=1) if base < 0}
    assert set(rule.excursions) == below
    assert len(below) == 4
    assert min(offered(rule, k, 0.0) for k in range(1, 6)) == 0.0


def test_bad_parameters_are_refused() -> None:
    for bad in ({"costs": ()}, {"costs": (1.0, 0.0)}, {"value": 0.0}, {"saturation": -1.0}, {"size": 0}):
        with pytest.raises(InvalidGame, match=r"crowdsourcing.*expected costs > 0"):
            crowdsourcing.build(**bad)


def test_demo_shows_contract_and_participation(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        crowdsourcing.main()
    assert left.value.code == 0
    printed = capsys.readouterr().out
    best = crowdsourcing.contract()
    assert printed.count(f"{best.base[0]:.2f} + {best.bonus:.2f} e") == 2, "computed and by the formula"
    assert "outside" in printed
    assert "no weight" in printed
    assert "verified: largest regret" in printed
