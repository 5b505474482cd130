"""Verification must catch what is wrong, and say which evidence it has."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import NLP, toll_game
from helpers.one_follower import one_follower
from helpers.rivals import rivals
from scipy.optimize import minimize_scalar

import stackpyomo as sp
from stackpyomo.solvers import Solution, Termination
from stackpyomo.verification import batch as separables


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
    clock = SimpleNamespace(monotonic=lambda: now[0], process_time=lambda: now[0])
    monkeypatch.setattr("stackpyomo.verification.regret.time", clock)
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
    clock = SimpleNamespace(monotonic=lambda: now[0], process_time=lambda: now[0])
    monkeypatch.setattr("stackpyomo.verification.regret.time", clock)
    report = sp.verify(sp.Plan.from_values(rivals(8)), time_limit=60.0)
    assert list(report.certificate[report.certificate == "unknown"].index) == ["f[2]"]
    assert now[0] <= 60.0
    assert report.advice[0].startswith("Not settled for f[2]: another solver=")


def test_a_plan_that_breaks_rows_is_not_settled_by_another_solver() -> None:
    game = rivals(1)
    game.model.f[0].need = pyo.Constraint(expr=game.model.f[0].u >= 0.2)
    assert sp.verify(sp.Plan.from_values(game)).advice == ["Not settled for f[0]: the plan violates its constraints."]


@pytest.mark.parametrize("limit", [0, -1.0, math.nan, "soon"])
def test_a_time_limit_is_a_positive_number(limit: Any) -> None:
    with pytest.raises(sp.InvalidGame, match="time_limit"):
        sp.verify(sp.Plan.from_values(rivals(1)), time_limit=limit)


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


@pytest.mark.parametrize("unit", [1e-7, 1.0, 1e7])
def test_an_aggregate_is_held_against_its_own_terms(unit: float) -> None:
    """Q = 9 where the actions make 2 is no plan, in units in which all three are below a millionth as in others."""
    m = pyo.ConcreteModel()
    m.p, m.Q = pyo.Var(bounds=(0, 5), initialize=1.0), pyo.Var(initialize=9 * unit)
    m.f = pyo.Block([0, 1])
    for f in m.f.values():
        f.q = pyo.Var(bounds=(0, 5 * unit), initialize=unit)
        f.cost = pyo.Objective(expr=(f.q / unit - 1) ** 2 + (m.Q / unit / 10 + m.p) * f.q / unit)
    m.makes = pyo.Constraint(expr=m.f[0].q + m.f[1].q == m.Q)
    m.goal = pyo.Objective(expr=m.p**2)
    plan = sp.Plan.from_values(sp.Game(m, m.f, aggregates=[m.makes]))
    with pytest.raises(sp.InvalidGame, match="does not hold at the plan"):
        sp.verify(plan)


def test_what_a_global_solver_gains_by_missing_a_row_is_no_deviation() -> None:
    """Nie, Wang and Ye's Example 5.7 in boxes of ±10: rows of size 80 are met to 5e-5, and a cubic pays for that.

    (0, 0, 1) is best: near it the cost on y'y = 1 is −1 + 3/2 y₁² + y₁ y₂ + 5/2 y₂².
    """
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-1, 1), initialize=1 - 2.5e-12)
    m.f = pyo.Block()
    m.f.y = y = pyo.Var([1, 2, 3], bounds=(-10, 10), initialize={1: 0.0, 2: 0.0, 3: 1 - 2.5e-12})
    m.f.ball = pyo.Constraint(expr=y[1] ** 2 + y[2] ** 2 + y[3] ** 2 <= m.x)
    m.f.cut = pyo.Constraint(expr=2 * y[2] * y[3] <= 1)
    m.f.cost = pyo.Objective(expr=y[1] * y[2] * y[3] + y[2] ** 2 - y[3] ** 3)
    m.goal = pyo.Objective(expr=(m.x - 1) ** 2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, m.f)))
    assert report.ok
    assert report.certificate["f"] == "global"
    assert report.epsilon < 1e-6
