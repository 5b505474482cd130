"""Verification must catch what is wrong, and say which evidence it has."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import NLP, toll_game
from scipy import sparse
from scipy.optimize import minimize_scalar

import stackpyomo as sp
from stackpyomo.cli.console import show
from stackpyomo.games.information import Signal
from stackpyomo.reporting import page
from stackpyomo.solvers import Solution, Termination
from stackpyomo.verification import batch as separables
from stackpyomo.verification.best_response import composed
from stackpyomo.verification.confirmation import is_confirmed


def one_follower(cost: Any, *, bounds: tuple[Any, Any] = (None, None), target: float = 0.0) -> sp.Game:
    """A follower with cost(u0, u), a leader who wants u = target at u0 = 0."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=bounds, initialize=target)
    m.f.cost = pyo.Objective(expr=cost(m.u0, m.f.u))
    m.goal = pyo.Objective(expr=m.u0**2 + (m.f.u - target) ** 2)
    return sp.Game(m, followers=m.f)


@pytest.mark.parametrize("solver", NLP)
@pytest.mark.parametrize("factor", [0.0, 0.5, 0.9, 1.2])
def test_a_wrong_gain_is_found_out(factor: float, solver: str) -> None:
    """The regret equals what SciPy finds for the same composed cost."""
    rule = sp.affine_incentive(sp.leader_optimal(toll_game()))
    rule.matrix = rule.matrix * factor
    report = sp.verify(rule, solver=solver)

    def composed(flow: float) -> float:
        return (flow - 1) ** 2 + factor * 4 / 3 * (flow - 0.6) * flow

    best = minimize_scalar(composed, bounds=(0, 1), method="bounded", options={"xatol": 1e-10})
    assert report.regret["driver"] == pytest.approx(composed(0.6) - best.fun, abs=1e-8)
    assert not report.ok
    assert report.certificate["driver"] == "convex"
    assert report.best_response["driver"]["driver.flow"] == pytest.approx(best.x, abs=1e-5)


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


@pytest.mark.parametrize(("coupling", "regret"), [(-4.0, 0.0), (1.9, 0.0), (2.1, 0.1)])
def test_a_cost_is_proved_convex_where_an_equality_holds(coupling: float, regret: float) -> None:
    """u² + v² + c u v with v = −u is (2 − c) u²: convex there for c ≤ 2 only, elsewhere for |c| ≤ 2."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u, m.f.v = pyo.Var(bounds=(-1, 1), initialize=0.0), pyo.Var(bounds=(-1, 1), initialize=0.0)
    m.f.rule = pyo.Constraint(expr=m.f.u + m.f.v == 0)
    m.f.cost = pyo.Objective(expr=m.f.u**2 + m.f.v**2 + coupling * m.f.u * m.f.v)
    m.goal = pyo.Objective(expr=m.u0**2 + m.f.u**2)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    assert sp.verify(plan, certify="convex").certificate["f"] == ("unknown" if regret else "convex")
    assert sp.verify(plan).regret["f"] == pytest.approx(regret, abs=1e-7)


@pytest.mark.parametrize("slope", [-1.0, -1e-3])
def test_an_unbounded_follower_is_unknown(slope: float) -> None:
    plan = sp.Plan.from_values(one_follower(lambda u0, u: slope * u + u0))
    report = sp.verify(plan)
    assert math.isnan(report.regret["f"])
    assert report.certificate["f"] == "unknown"
    assert not report.ok
    assert math.isnan(report.epsilon)
    assert report.note["f"]
    assert "NOT verified" in str(report)
    assert report.advice == ["Bound the variables of f, or add the missing cost."]


def test_one_bad_follower_does_not_hide_the_others() -> None:
    """In a batch of 40, three are unbounded: the other 37 are still verified, and only those three unknown."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(40))
    bad = {3, 17, 39}
    for i in range(40):
        m.f[i].u = pyo.Var(initialize=0.0)
        m.f[i].cost = pyo.Objective(expr=-m.f[i].u if i in bad else (m.f[i].u - i / 40) ** 2 + m.u0)
    m.goal = pyo.Objective(expr=m.u0**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f)))
    unknown = {i for i in range(40) if report.certificate[f"f[{i}]"] == "unknown"}
    assert unknown == bad
    for i in set(range(40)) - bad:
        assert report.regret[f"f[{i}]"] == pytest.approx((i / 40) ** 2, abs=1e-8)


def test_a_game_in_which_everybody_fails_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stackpyomo.verification.regret._PATIENCE", 5)
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(30))
    for i in range(30):
        m.f[i].u = pyo.Var(initialize=0.0)
        m.f[i].cost = pyo.Objective(expr=m.f[i].u + m.u0)
    m.goal = pyo.Objective(expr=m.u0**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f)))
    assert (report.certificate == "unknown").all()
    assert report.note.str.contains("unbounded").sum() == 5
    assert report.note.str.contains("not re-solved, because 5").sum() == 25


def rivals(count: int, bend: float = 1.0) -> sp.Game:
    """Each wants u = 1/2 and stands at 0; with a negative bend it wants an end of [0, 1]."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(count))
    for i in range(count):
        m.f[i].u = pyo.Var(bounds=(0, 1), initialize=0.0)
        m.f[i].cost = pyo.Objective(expr=bend * (m.f[i].u - 0.5) ** 2 + m.u0)
    m.goal = pyo.Objective(expr=m.u0**2)
    return sp.Game(m, m.f)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Each follower is re-solved alone and takes 10 s of the clock; the time limits that the solver was given."""
    now, given = [0.0], []
    work = separables.solve

    def slow(*args: Any, time_limit: float | None = None, **others: Any) -> Any:
        given.append(time_limit)
        now[0] += 10.0
        return work(*args, **others)

    monkeypatch.setattr(separables, "solve", slow)
    monkeypatch.setattr("stackpyomo.verification.regret._BATCH", 1)
    monkeypatch.setattr("stackpyomo.verification.regret.time", SimpleNamespace(monotonic=lambda: now[0]))
    return given


def test_a_time_limit_leaves_the_rest_unknown(ticking: list[float | None]) -> None:
    report = sp.verify(sp.Plan.from_values(rivals(5)), time_limit=25.0)
    assert ticking == [25.0, 15.0, 5.0]  # each follower is a batch of its own here
    assert list(report.certificate) == ["convex"] * 3 + ["unknown"] * 2
    assert list(report.regret[:3]) == pytest.approx([0.25] * 3)
    assert report.note["f[4]"] == "not re-solved, because the time limit was reached"
    assert "Not settled for f[3], f[4]: another solver=, more than time_limit=25 may settle it." in str(report)
    assert report.options["time_limit"] == 25.0
    del ticking[:]
    assert (sp.verify(sp.Plan.from_values(rivals(5))).certificate == "convex").all()
    assert ticking == [None] * 5


def test_a_time_limit_that_cuts_a_search_short_is_said(ticking: list[float | None]) -> None:
    report = sp.verify(sp.Plan.from_values(rivals(1, -1.0)), time_limit=25.0)
    assert (len(ticking), report.certificate["f[0]"]) == (3, "multistart")
    assert report.note["f[0]"] == "searched from fewer starts, because the time limit was reached"


def test_a_time_limit_says_that_no_global_solver_was_asked(ticking: list[float | None]) -> None:
    plan = sp.Plan.from_values(rivals(1, -1.0))
    report = sp.verify(plan, starts=2, time_limit=15.0)
    assert (report.certificate["f[0]"], report.note["f[0]"]) == (
        "multistart",
        "no global solver was asked, because the time limit was reached",
    )
    report = sp.verify(plan, starts=2, time_limit=15.0, certify="global")
    assert report.certificate["f[0]"] == "unknown"
    assert "was asked, because the time limit was reached" in report.note["f[0]"]


def test_a_slow_follower_leaves_time_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever f[2] is solved with takes all the time it is given."""
    now, work = [0.0], separables.Separable.solve

    def slow(self: Any, solver: str, options: Any, time_limit: float | None = None) -> Any:
        names = {task.problem.follower.name for task in self.tasks}
        if "f[2]" not in names:
            return work(self, solver, options)
        assert time_limit is not None
        now[0] += time_limit
        return Solution(Termination.TIME_LIMIT, "stopped")

    monkeypatch.setattr(separables.Separable, "solve", slow)
    monkeypatch.setattr("stackpyomo.verification.regret.time", SimpleNamespace(monotonic=lambda: now[0]))
    report = sp.verify(sp.Plan.from_values(rivals(8)), time_limit=60.0)
    assert list(report.certificate[report.certificate == "unknown"].index) == ["f[2]"]
    assert now[0] <= 60.0
    assert report.advice[0].startswith("Not settled for f[2]: another solver=")


def test_a_plan_that_breaks_rows_is_not_settled_by_another_solver() -> None:
    game = rivals(1)
    game.model.f[0].need = pyo.Constraint(expr=game.model.f[0].u >= 0.2)
    assert sp.verify(sp.Plan.from_values(game)).advice == ["Not settled for f[0]: the plan violates its constraints."]


def test_only_what_moves_is_told() -> None:
    m = pyo.ConcreteModel()
    m.u0, m.f = pyo.Var(initialize=0.0), pyo.Block()
    m.f.u = pyo.Var(range(6), bounds=(0, 9), initialize=0.0)
    m.f.cost = pyo.Objective(expr=sum((m.f.u[i] - (i == 5)) ** 2 for i in range(6)) + m.u0)
    m.goal = pyo.Objective(expr=m.u0**2)
    assert sp.verify(sp.Plan.from_values(sp.Game(m, m.f))).advice[0].startswith("f would rather choose f.u[5] = 1. ")


@pytest.mark.parametrize("limit", [0, -1.0, math.nan, "soon"])
def test_a_time_limit_is_a_positive_number(limit: Any) -> None:
    with pytest.raises(sp.InvalidGame, match="time_limit"):
        sp.verify(sp.Plan.from_values(rivals(1)), time_limit=limit)


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


def test_followers_of_very_different_scale_are_each_solved() -> None:
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    scales = [1e-4, 1.0, 1e6]
    m.f = pyo.Block(range(3))
    for i, scale in enumerate(scales):
        m.f[i].u = pyo.Var(initialize=1.0, bounds=(-5, 5))
        m.f[i].cost = pyo.Objective(expr=scale * ((m.f[i].u - 2) ** 2 + pyo.exp(-m.f[i].u)) + m.u0)
    m.goal = pyo.Objective(expr=m.u0**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f)))
    best = minimize_scalar(lambda u: (u - 2) ** 2 + math.exp(-u)).fun
    for i, scale in enumerate(scales):
        assert report.regret[f"f[{i}]"] == pytest.approx(scale * (1 + math.exp(-1) - best), rel=1e-5)


def test_a_plan_outside_a_followers_constraints_is_not_verified() -> None:
    game = one_follower(lambda u0, u: (u - 1) ** 2 + u0)
    game.model.f.cap = pyo.Constraint(expr=game.model.f.u >= 0.5)
    plan = sp.Plan.from_values(sp.Game(game.model, followers=game.model.f))
    assert plan.quality == "infeasible"
    report = sp.verify(plan)
    assert report.certificate["f"] == "unknown"
    assert "violates" in report.note["f"]


def test_a_deviation_is_played_against_the_announced_strategy_in_constraints_too() -> None:
    """u ≤ 1 + u0 with u0 = Q u: at Q = 1/2 the follower can go up to 2, at Q = 0 up to 1."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.cap = pyo.Constraint(expr=m.f.u <= 1 + m.u0)
    m.f.cost = pyo.Objective(expr=-m.f.u + 0.001 * m.u0)
    m.goal = pyo.Objective(expr=m.u0**2 + m.f.u**2)
    game = sp.Game(m, followers=m.f)
    rule = sp.affine_incentive(sp.leader_optimal(game))
    for gain, reach in ((0.0, 1.0), (0.5, 2.0)):
        rule.matrix = rule.matrix * 0.0
        rule.matrix[0, 0] = gain
        report = sp.verify(rule)
        assert report.best_response["f"]["f.u"] == pytest.approx(reach, abs=1e-6)
        assert report.regret["f"] == pytest.approx(reach * (1 - 0.001 * gain), abs=1e-6)


@pytest.mark.parametrize("sense", [1, -1])
def test_regret_has_the_users_units_and_sign(sense: int) -> None:
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=3.0)
    kind = pyo.minimize if sense > 0 else pyo.maximize
    m.f.worth = pyo.Objective(expr=sense * ((m.f.u - 1) ** 2 + 5) + m.u0, sense=kind)
    m.goal = pyo.Objective(expr=m.u0**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f)))
    assert report.objective["f"] == pytest.approx(sense * 9)
    assert report.regret["f"] == pytest.approx(4.0, abs=1e-8)


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


def test_a_steep_variable_hides_no_gain_in_another() -> None:
    """J = 10⁸ x² + (y − 1)², planned at x = y = 0: leaving in y gains 1, whatever the slope in x is."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(-1, 1), initialize=0.0)
    m.f = pyo.Block()
    m.f.x, m.f.y = pyo.Var(bounds=(-1, 1), initialize=0.0), pyo.Var(bounds=(-2, 2), initialize=0.0)
    m.f.c = pyo.Objective(expr=1e8 * m.f.x**2 + (m.f.y - 1) ** 2 + 0.001 * m.t)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f)))
    assert report.regret["f"] == pytest.approx(1)
    assert not report.ok
    m.f.y.set_value(1.0)
    assert sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f))).ok


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1.0, 1e6])
def test_the_unit_of_a_cost_changes_no_verdict(unit: float) -> None:
    """J = unit ((u − 1)² + t u): whatever money is counted in, u = 0.5 is no best answer and u = 1 is."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(-1, 1), initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-2, 2), initialize=0.5)
    m.f.c = pyo.Objective(expr=unit * ((m.f.u - 1) ** 2 + m.t * m.f.u))
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f)))
    assert report.regret["f"] == pytest.approx(0.25 * unit)
    assert not report.ok
    m.f.u.set_value(1.0)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f)))
    assert report.ok
    assert report.certificate["f"] == "convex"


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e6])
def test_a_follower_made_indifferent_is_verified_in_any_unit(unit: float) -> None:
    """(u − 1)² − pay u with pay = u − 2 is 1 for all u: no regret counts against what rounding leaves of it."""
    m = pyo.ConcreteModel()
    m.pay = pyo.Var(bounds=(-5, 5))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 5))
    m.f.cost = pyo.Objective(expr=unit * ((m.f.u - 1) ** 2 - m.pay * m.f.u))
    m.goal = pyo.Objective(expr=(m.f.u - 2) ** 2 + m.pay**2)
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f)))
    report = sp.verify(rule)
    assert report.ok
    assert report.scale["f"] == pytest.approx(10 * unit, rel=1e-6)  # |2 (u − 1)| at 2, times the width of the box
    wrong = replace(rule, matrix=1.001 * rule.matrix)
    assert not sp.verify(wrong).ok


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


@pytest.mark.parametrize("action", [1e-7, 1.0, 1e7])
@pytest.mark.parametrize("money", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("box", [True, False])
def test_no_unit_and_no_constant_changes_a_verdict(action: float, money: float, box: bool) -> None:
    """J = money ((u/action − 1)² + t u/action + c): 0.5 is no best answer and 1 is, whatever the units are."""
    for planned, constant, ok in ((0.5, 0.0, False), (1.0, 0.0, True), (0.0, 0.0, False), (0.5, 1e6 / money, False)):
        m = pyo.ConcreteModel()
        m.t, m.f = pyo.Var(bounds=(-2, 2), initialize=0), pyo.Block()
        m.f.u = pyo.Var(bounds=(0, 2 * action) if box else (None, None), initialize=planned * action)
        m.f.c = pyo.Objective(
            expr=money * ((m.f.u / action - 1) ** 2 + m.t * m.f.u / action + (constant if money > 1e-8 else 0))
        )
        report = sp.verify(sp.Plan.from_values(sp.Game(m, m.f)))
        assert (report.ok, report.certificate["f"]) == (ok, "convex")


def test_a_steep_rule_is_no_scale_for_a_regret() -> None:
    """A price multiplied by a noise of 1e-10 is all that holds a cost of 64: the gain is 1e11, and nobody is held."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var([1, 2], bounds=(0, 12), initialize={1: 7.0, 2: 12.0})
    m.d = pyo.Block()
    m.d.z = pyo.Var([1, 2], bounds=(0, 10), initialize={1: 1e-10, 2: 8.0})
    z = m.d.z
    m.d.cost = pyo.Objective(expr=-8 * z[2] + z[2] ** 2 / 2 + z[1] ** 2 / 2 + m.t[1] * z[1] + m.t[2] * z[2] - 7 * z[1])
    m.rev = pyo.Objective(expr=m.t[1] * z[1] + m.t[2] * z[2], sense=pyo.maximize)
    plan = sp.Plan.from_values(sp.Game(m, m.d))
    announced = replace(
        sp.affine_incentive(sp.leader_optimal(toll_game())).announcement,
        values=plan.values,
        leader=["t[1]"],
        signals=[Signal("d.z[2]", 0.0, {"d.z[2]": 1.0}, True)],
        gain=sparse.csc_array([[-1.2e11]]),
    )
    report = sp.verify(SimpleNamespace(announcement=announced, attached=plan.attached))
    assert not report.ok
    assert report.regret["d"] == pytest.approx(64, rel=1e-4)  # z = 0 costs 0, whatever the tolls are


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
    assert "not shown unique: t0 stopped" in str(report)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("off", [0.0, 1e-13, 1e-3])
def test_a_price_that_clears_a_market_is_a_best_answer_up_to_rounding(unit: float, off: float) -> None:
    """The operator's p (D − Σ q) is flat where the market clears: D and Σ q are at stake, not what rounding leaves."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 3), domain=pyo.Integers, initialize=1)
    m.f = pyo.Block([0, 1])
    for i in m.f:
        m.f[i].q = pyo.Var(bounds=(0, 20), initialize=2.0)
        m.f[i].cost = pyo.Objective(expr=m.f[i].q ** 2 / 2 - m.f[i].q * m.x * 2)
    m.market = pyo.Block()
    m.market.p = pyo.Var(bounds=(0, 50), initialize=2.0)
    left = 4.0 * (1 + off) - m.f[0].q - m.f[1].q
    m.market.gain = pyo.Objective(expr=unit * m.market.p * left, sense=pyo.maximize)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, followers=[m.f[0], m.f[1], m.market])))
    size = 4 * off if off > 1e-6 else 4 + 2 + 2  # D and Σ q, where they cancel
    assert report.scale["market"] == pytest.approx(20 * size * unit, rel=1e-6)  # times ten sizes of p
    assert report.regret["market"] == pytest.approx(48 * 4 * off * unit, rel=1e-2, abs=1e-14 * unit)
    assert report.ok == (off < 1e-6)


def test_a_global_bound_is_confirmed_on_intervals_or_not_believed() -> None:
    """(u − 1)² − 1e6 exp(−((u − 777)/0.05)²) has its least at 777; who claims u = 1 is not believed."""

    def confirmed(cost: Any, best: float, above: float) -> bool:
        game = one_follower(lambda u0, u: cost(u) + u0, bounds=(-1000, 1000), target=best)
        (problem,) = composed(game, sp.Plan.from_values(game).announcement, set(game.followers))
        problem.offer([best], problem.cost_at([best]))
        return is_confirmed(problem, problem.best_cost - above)

    def needle(depth: float) -> Any:
        return lambda u: (u - 1) ** 2 - depth * pyo.exp(-(((u - 777) / 0.05) ** 2))

    assert confirmed(needle(1e5), 1.0, 1e-5)  # not as deep as 776²
    assert not confirmed(needle(1e6), 1.0, 1e-5)
    assert confirmed(lambda u: (u / 1000) ** 2 - pyo.cos(u / 100), 0.0, 1e-9)
    assert not confirmed(lambda u: (u / 1000) ** 2 - 2 * pyo.cos((u - 100) / 100), 0.0, 1e-9)


def test_a_budget_of_proof_is_for_all_and_is_told() -> None:
    """Nobody has asked for the proof: what it may cost has an end, and the report says how to give it more."""
    m = pyo.ConcreteModel()
    m.f = pyo.Block([0, 1])
    for i in m.f:
        m.f[i].x = pyo.Var(bounds=(-3, 3), initialize=-1.4)
        m.f[i].cost = pyo.Objective(expr=pyo.sin(3 * m.f[i].x) + m.f[i].x ** 2 / 9 + 0.1 * m.f[i].x ** 3)
    m.goal = pyo.Objective(expr=0.0)
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    report = sp.verify(plan, starts=2, proof_seconds=1e-6)
    assert set(report.certificate) == {"multistart"}
    assert report.note["f[1]"] == "not proved: 1e-06 s of proof spent; proof_seconds=6e-06 may"
    assert report.options["proof_seconds"] == 1e-6
    with pytest.raises(sp.InvalidGame, match="proof_seconds"):
        sp.verify(plan, proof_seconds=0.0)
