"""Candidates: a polished answer, or the answer as it came, judged by a re-solve alone."""

from __future__ import annotations

import importlib
from typing import Any

import pyomo.environ as pyo
import pytest
from helpers.responders import attempt, one_follower

import stackpyomo as sp
from stackpyomo.bilevel import PlanSearch, Problem
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


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_what_is_nothing_beside_its_box_is_nothing_in_any_unit(unit: float) -> None:
    """A rounding of 1e-12 of the box is 0; 1e-3 of a small box, and anything without a box, is what it is."""
    m = pyo.ConcreteModel()
    m.x, m.y, m.free = pyo.Var(bounds=(0, unit)), pyo.Var(bounds=(-unit, unit)), pyo.Var(bounds=(0, None))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0.5 * unit, unit))
    m.f.cost = pyo.Objective(expr=(m.f.u - m.x) ** 2)
    m.goal = pyo.Objective(expr=m.x + m.y + m.free)
    game = sp.Game(m, m.f)
    search = PlanSearch(game, list(game.followers.values()), Problem(0.0), lambda _: None)
    levels = {id(m.x): 1e-12 * unit, id(m.y): 1e-3 * unit, id(m.free): 1e-12, id(m.f.u): 1e-12 * unit}
    assert search._without_rounding(dict(levels)) == {**levels, id(m.x): 0.0}
