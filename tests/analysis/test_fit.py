"""Fits against closed forms in exact fractions, scipy's least squares over closed-form answers, and wrong input."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from helpers.customers import BOUNDS, ROWS, customer, exactly, under_rules
from scipy.optimize import least_squares

import stackpyomo as sp


@pytest.mark.parametrize("parameters", [["theta", "h"], BOUNDS])
def test_responses_are_fitted_by_least_squares(parameters: Any) -> None:
    found = sp.fit(customer(), ROWS, parameters)
    assert found.parameters[["theta", "h"]].tolist() == exactly("409/106", "50/53")
    assert found.sum_of_squares == pytest.approx(41 / 500, rel=1e-7)
    assert found.covariance.to_numpy().ravel().tolist() == exactly(
        "3138345/63123848", "128125/7890481", "128125/7890481", "51250/7890481"
    )
    assert found.sandwich.to_numpy().ravel().tolist() == exactly(
        "2652345/126247696", "79975/15780962", "79975/15780962", "11225/7890481"
    )
    assert (found.rank, found.informative, found.quality) == (2, 4, "optimal")
    assert found.residuals["f.u"].iloc[-1] == pytest.approx(0.0, abs=1e-7)
    assert found.report is not None
    assert found.report.ok
    assert "proved the least within these bounds" in str(found)
    assert "1 of 5 readings carry no" in str(found)


def test_the_rule_for_what_was_fitted() -> None:
    game = customer()
    found = sp.fit(game, ROWS, BOUNDS)
    game.model.theta, game.model.h = found.parameters["theta"], found.parameters["h"]
    rule = sp.affine_incentive(sp.leader_optimal(game))
    assert float(rule.gain.loc["p", "f.u"]) == pytest.approx(309 / 106, rel=1e-6)


def test_the_users_model_is_left_alone() -> None:
    game = customer(3.0, 2.0)
    names = [c.name for c in game.model.component_objects()]
    sp.fit(game, ROWS, BOUNDS)
    assert [c.name for c in game.model.component_objects()] == names
    assert (game.model.theta.value, game.model.h.value) == (3.0, 2.0)
    assert (game.model.p.value, game.model.f.u.value) == (0, 1)


@pytest.mark.parametrize("seed", range(4))
def test_noisy_rows_against_scipy(seed: int) -> None:
    """Least squares over the closed-form answer, prices and rules mixed, some rows at the bound."""
    random = np.random.default_rng(seed)
    theta, h = random.uniform(3, 8), random.uniform(0.5, 2)
    lines = [(float(c), float(k)) for c, k in zip(random.uniform(0, 9, 8), random.uniform(0, 1, 8), strict=True)]
    u = np.clip(under_rules(lines, theta, h) + random.normal(0, 0.1, 8), 0, 20)

    def left(point: np.ndarray) -> np.ndarray:
        return u - under_rules(lines, *point)

    ways = [least_squares(left, start, bounds=([0, 0.05], [20, 10]), xtol=1e-15, ftol=1e-15, gtol=1e-15)
            for start in ([theta, h], [5.0, 1.0], [10.0, 3.0])]  # fmt: skip
    best = min(ways, key=lambda way: way.cost)
    found = sp.fit(customer(), {"f.u": u}, BOUNDS, rules=[{"p": line} for line in lines])
    assert found.sum_of_squares == pytest.approx(2 * best.cost, abs=1e-8)
    assert found.parameters.tolist() == pytest.approx(best.x.tolist(), rel=1e-4)


@pytest.mark.slow
def test_a_thousand_rows() -> None:
    random = np.random.default_rng(0)
    p = random.uniform(0, 5, 1000)
    u = np.clip((4 - p) / 1.2, 0, 20)
    found = sp.fit(customer(), {"p": p, "f.u": u}, BOUNDS)
    assert found.parameters.tolist() == pytest.approx([4.0, 1.2], rel=1e-6)
    assert found.rank == 2


def test_a_fit_that_runs_away_asks_for_bounds() -> None:
    """No answer to the price: the steeper h, the better, without an end."""
    rows = {"p": [0.0, 5.0], "f.u": [3.0, 3.0]}
    with pytest.raises(sp.InvalidGame, match=r"is unbounded, and the fit runs to .*Give bounds: parameters="):
        sp.fit(customer(6.0, 1.0), rows, ["theta", "h"])


def test_bounds_far_wider_than_the_data_prove_less() -> None:
    """Uses of 0.6 within 0 … 50: a gap that is nothing beside 50² is more than all that the least squares leave."""
    price = [7.028833533683638, 8.837447333733866, 8.837447333733866, 6.54474977073399]
    price += [7.028833533683638, 6.54474977073399, 3.3211176338939783, 4.722309217455457]
    use = [0.0013744189441433497, 0.0, 0.0, 0.0, 0.0, 0.005551160541117915, 0.581727533760646, 0.016648814936783662]
    game = customer(1.0, 1.0)
    game.model.f.u.setub(50)
    fit = sp.fit(game, {"p": price, "f.u": use}, {"theta": (0, 12), "h": (0.1, 8)})
    least = min(
        least_squares(
            lambda x: np.clip((x[0] - np.array(price)) / x[1], 0, 50) - use, at, bounds=([0, 0.1], [12, 8])
        ).cost
        for at in ([4.76, 2.48], [3.7, 0.7], [6.0, 2.0])
    )
    assert 2 * least == pytest.approx(3.27e-5, rel=1e-2)
    assert fit.quality != "optimal" or fit.sum_of_squares <= 2 * least + 1e-6
    assert fit.quality == "optimal" or "not proved the least" in str(fit)


def test_a_plan_without_numbers_is_no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds of 1e20 are infinite to a solver: what it comes back with need not be numbers."""
    lost = SimpleNamespace(values={"theta": math.nan}, solver="scip", termination="time limit")
    monkeypatch.setattr(sys.modules["stackpyomo.analysis.fit"], "stackelberg", lambda *_, **__: lost)
    with pytest.raises(sp.InvalidGame, match=r"no fit was found between bounds of up to 2e\+01 \(scip: time limit\)"):
        sp.fit(customer(), ROWS, BOUNDS)


@pytest.mark.parametrize("term", ["bilinear", "power"])
def test_slopes_at_an_action_where_their_term_vanishes(term: str) -> None:
    """(a b − 2 + p (1 − a)) u at u = 0, and aᵘ at u = 1, where it has degree 1: neither has an affine slope."""
    m = pyo.ConcreteModel()
    m.a, m.b = pyo.Param(initialize=1.2, mutable=True), pyo.Param(initialize=1.2, mutable=True)
    m.p = pyo.Var(bounds=(-5, 5))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-5, 5), initialize=0)
    u = m.f.u
    cost = u**2 / 2 + (m.a * m.b - 2) * u + m.p * (1 - m.a) * u if term == "bilinear" else m.a**u + m.b * u - m.p * u
    m.f.cost = pyo.Objective(expr=cost)
    rows = {"p": [0.0, 1.0, 2.0], "f.u": [0.0] * 3 if term == "bilinear" else [1.0] * 3}
    with pytest.raises(sp.InvalidGame, match="not shown to be affine"):
        sp.fit(sp.Game(m, followers=m.f), rows, {"a": (1.1, 4), "b": (0.5, 4)}, method="residuals")
