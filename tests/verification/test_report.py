"""Reports: what they say, in the user's units and words."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import toll_game
from helpers.rivals import rivals

import stackpyomo as sp
from stackpyomo.cli.console import show
from stackpyomo.reporting import page


def test_only_what_moves_is_told() -> None:
    m = pyo.ConcreteModel()
    m.u0, m.f = pyo.Var(initialize=0.0), pyo.Block()
    m.f.u = pyo.Var(range(6), bounds=(0, 9), initialize=0.0)
    m.f.cost = pyo.Objective(expr=sum((m.f.u[i] - (i == 5)) ** 2 for i in range(6)) + m.u0)
    m.goal = pyo.Objective(expr=m.u0**2)
    assert sp.verify(sp.Plan.from_values(sp.Game(m, m.f))).advice[0].startswith("f would rather choose f.u[5] = 1. ")


def test_what_is_not_held_is_told_what_may_help() -> None:
    """The three ways in which a follower would rather do something else, each with its own next step."""
    plan = sp.Plan.from_values(rivals(2))
    report, move = sp.verify(plan), "f[0] would rather choose f[0].u = 0.5."
    why = "No strategy was announced that holds it; affine_incentive(plan) designs one where there is one."
    assert report.advice == [f"{move} {why}"]
    assert sp.Report.from_json(report.to_json()).advice == [move]
    plan.responding = ("f[1]",)
    assert sp.verify(plan).advice == [f"{move} {why}"]  # f[0] was not asked to respond
    plan.responding = ("f[0]",)
    why = "Its answer in the plan is not its best: more starts= or another solver= may find a better plan."
    assert sp.verify(plan).advice == [f"{move} {why}"]
    game = toll_game()
    rule = sp.affine_incentive(sp.leader_optimal(game))
    assert sp.verify(rule).advice == []
    rule.matrix = 0.0 * rule.matrix
    assert "A gain of more curvature may hold it (curvature=" in sp.verify(rule).advice[0]


def test_a_report_speaks_for_itself(tmp_path: Any) -> None:
    report = sp.verify(sp.affine_incentive(sp.leader_optimal(toll_game())))
    assert str(report).startswith("verified: largest regret")
    report.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "driver" in page
    assert "convex" in page
    data = report.as_dict()
    assert data["ok"] is True
    assert data["followers"]["driver"]["certificate"] == "convex"
    assert np.isfinite(data["epsilon"])


def test_nothing_is_minus_zero(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a profit of 0, which is −1 times a cost of 0, nor what a solver's rounding leaves below 0."""
    m = pyo.ConcreteModel()
    m.tax = pyo.Var(bounds=(-1, 1), initialize=-1e-13)
    m.firm = pyo.Block()
    m.firm.output = pyo.Var(bounds=(0, 1), initialize=0.0)
    m.firm.profit = pyo.Objective(expr=-m.firm.output * (2 + m.tax), sense=pyo.maximize)
    m.revenue = pyo.Objective(expr=m.tax, sense=pyo.maximize)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.firm))
    report = sp.verify(plan)
    assert math.copysign(1.0, report.objective["firm"]) == -1.0, "as it is computed"
    show(plan, None, report)
    words = re.sub(r"<style.*?</style>|<svg.*?</svg>", "", page(report), flags=re.DOTALL)
    told = [capsys.readouterr().out, str(plan), str(report), words]
    for text in told:
        assert re.search(r"-0(?![.\d])|-1e-13", text) is None
    assert "-0.0" not in json.dumps([plan.as_dict(), report.as_dict()])


def two_answers() -> sp.Game:
    """Two followers whose equilibrium is the only one under the formula, but not where t0 stops at its bounds."""
    m = pyo.ConcreteModel()
    m.f0, m.f1 = pyo.Block(), pyo.Block()
    t0, t1 = m.t0, m.t1 = pyo.Var(bounds=(-5, 5), initialize=-2.0), pyo.Var(initialize=-2.0)
    a, b = m.f0.a, m.f0.b = pyo.Var(bounds=(0, 3), initialize=1.34), pyo.Var(bounds=(-2, 3), initialize=3.0)
    c = m.f1.c = pyo.Var(bounds=(-2, 3), initialize=-1.74)
    m.goal = pyo.Objective(expr=a**2 + b**2 + c**2 + t0**2 + t1**2)
    m.f0.goal = pyo.Objective(
        expr=(a - 1.41) ** 2 + 1.63 * (b - 1.48) ** 2 + (t1 - 0.37 * a + 0.38) ** 2 - t0 * (0.78 * a + 4.26)
    )
    m.f1.goal = pyo.Objective(expr=(c - 1.27) ** 2 - 0.68 * t0 * (c + 3))
    return sp.Game(m, followers=[m.f0, m.f1])


def test_uniqueness_of_a_formula_is_not_claimed_where_its_answers_are_stopped() -> None:
    game = two_answers()
    rule = sp.affine_incentive(sp.Plan.from_values(game), multipliers="free", prefer="sparsest")
    report = sp.verify(rule)

    def costs(a: float, b: float, c: float) -> tuple[float, float]:
        answer = rule.actions({"f0.a": a, "f0.b": b, "f1.c": c})
        t0, t1 = max(-5.0, min(5.0, answer["t0"])), answer["t1"]
        first = (a - 1.41) ** 2 + 1.63 * (b - 1.48) ** 2 + 0.64 * t0 * a + (t1 - 0.37 * a + 0.38) ** 2
        return first - 1.42 * t0 * (a + 3), (c - 1.27) ** 2 - 0.68 * t0 * (c + 3)

    elsewhere = 0.0, 1.48, -0.43
    grid = [(a, b) for a in np.linspace(0, 3, 16) for b in np.linspace(-2, 3, 26)]
    assert min(costs(a, b, -0.43)[0] for a, b in grid) >= costs(*elsewhere)[0] - 1e-9
    assert min(costs(0.0, 1.48, c)[1] for c in np.linspace(-2, 3, 501)) >= costs(*elsewhere)[1] - 1e-9
    assert report.cut == ("t0",)
    assert report.unique is None
    assert "not shown unique: what was shown holds for the formula, and t0 stopped" in str(report)
