"""Candidates: a polished answer, or the answer as it came, judged by a re-solve alone."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from helpers.responders import (
    attempt,
    one_follower,
)

import stackpyomo as sp
from stackpyomo.bilevel import mpcc as equilibria

pytestmark = pytest.mark.usefixtures("unchanged")


@pytest.mark.parametrize("treatment", ["scholtes", "fischer-burmeister", "penalty"])
def test_an_answer_that_no_polish_mends_is_judged_as_it_is(treatment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The homotopy's last point, t = 1e-8 or so, is feasible: its own parameter t is nobody's row."""
    monkeypatch.setattr(equilibria.Equilibrium, "polished", lambda *args, **rest: None)
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: (u - 0.5) ** 2 + (x - 2) ** 2, x=(0, 3), u=(-1, 1))
    plan = sp.stackelberg(game, complementarity=treatment)
    assert plan.leader_objective == pytest.approx(0.25, abs=1e-4), "x = 2, u = 1"
    assert plan.residuals["feasibility"] <= 1e-6
    assert plan.quality == "feasible"


def test_conditions_that_are_wrong_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the follower's slope turned round most points found are no answers: none of these is called feasible.

    (Its bound is one on wrong conditions: no re-solve can see that.)
    """
    conditions = importlib.import_module("stackpyomo.bilevel.conditions")
    right = conditions.derivatives

    def wrong(*args: Any) -> Any:
        return {key: -slope for key, slope in right(*args).items()}

    monkeypatch.setattr(conditions, "derivatives", wrong)
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: (u - 0.5) ** 2 + (x - 2) ** 2, x=(0, 3), u=(-1, 1))
    plan = attempt(lambda: sp.stackelberg(game))
    if isinstance(plan, sp.NoPlan):
        return
    if plan.quality in ("feasible", "optimal"):
        assert plan.value("f.u") == pytest.approx(min(1, plan.value("x")), abs=1e-4)
