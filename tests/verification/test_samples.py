"""Samples: where a search begins, and whether a cost falls without end."""

from __future__ import annotations

import math
from typing import Any

import pyomo.environ as pyo
import pytest
from helpers.one_follower import one_follower
from scipy.optimize import minimize_scalar

import stackpyomo as sp


def test_a_local_best_response_is_not_called_one() -> None:
    """A double well: u = 1 is a strict local minimum, u = −1 is 0.4 better; a start at the plan alone sees nothing."""

    def cost(u0: Any, u: Any) -> Any:
        return (u**2 - 1) ** 2 + 0.2 * u + u0

    game = one_follower(cost, bounds=(-2, 2))
    game.model.f.u.set_value(0.9740)  # near the local minimum at which the slope vanishes
    local = minimize_scalar(lambda u: (u * u - 1) ** 2 + 0.2 * u, bracket=(0.8, 1.0)).x
    game.model.f.u.set_value(local)
    plan = sp.Plan.from_values(game)
    lazy = sp.verify(plan, starts=1, certify="multistart")
    assert lazy.certificate["f"] == "multistart"
    assert lazy.epsilon <= 1e-9
    for certify, starts, evidence in (("multistart", 8, "multistart"), ("auto", 1, "global"), ("global", 1, "global")):
        report = sp.verify(plan, starts=starts, certify=certify)
        assert report.certificate["f"] == evidence
        assert not report.ok
    assert report.regret["f"] == pytest.approx(0.4, abs=0.01)
    assert report.best_response["f"]["f.u"] == pytest.approx(-1.024, abs=0.01)
    assert not report.ok
    assert sp.verify(plan, certify="convex").certificate["f"] == "unknown"


@pytest.mark.parametrize("tail", [lambda u: -1e-6 * u**4, lambda u: 1e-4 * u**3, lambda u: -1e-9 * u**4])
def test_a_tail_that_falls_without_end_is_never_verified(tail: Any) -> None:
    """(u − 1)² near the plan, and a term that wins far out: a solver says so, or the cost along the ray does."""
    report = sp.verify(sp.Plan.from_values(one_follower(lambda u0, u: (u - 1) ** 2 + tail(u) + u0, target=1.0)))
    assert not report.ok
    assert report.certificate["f"] == "unknown"
    assert "unbounded" in report.note["f"]


def test_a_search_verifies_nobody_where_there_is_no_end() -> None:
    """sin moves the best answer about; a search of the real line says how far it looked, and no more than that."""

    def cost(u0: Any, u: Any) -> Any:
        return (u - 1) ** 2 + 0.1 * pyo.sin(3 * u) ** 2 + u0

    best = minimize_scalar(lambda u: (u - 1) ** 2 + 0.1 * math.sin(3 * u) ** 2, bounds=(0.5, 1.5), method="bounded")
    for bounds, ok in (((-2, 4), True), ((None, None), False)):
        game = one_follower(cost, bounds=bounds)
        game.model.f.u.set_value(minimize_scalar(lambda u: cost_of(u), bracket=(best.x - 0.01, best.x + 0.01)).x)
        plan = sp.Plan.from_values(game)
        report = sp.verify(plan, certify="multistart")
        assert (report.ok, report.certificate["f"], report.endless) == (ok, "multistart", () if ok else ("f",))
        low, high = report.reach["f"]["f.u"]
        assert low <= -2
        assert high >= 4
        assert not report.refuted
        assert ("by search for 1 of 1" in report.verdict) is ok
        assert sp.Report.from_json(report.to_json()).reach == report.reach
        assert sp.verify(plan, certify="proof").certificate["f"] in ("global", "unknown")


def cost_of(u: float) -> float:
    return float((u - 1) ** 2 + 0.1 * math.sin(3 * u) ** 2)
