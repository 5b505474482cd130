"""Feasibility: what stands on a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyomo.environ as pyo
import pytest
from helpers.responders import SENSES, SOLVERS, one_follower

import stackpyomo as sp


def test_values_next_to_a_bound_stand_on_it() -> None:
    """In the unit of the box, whatever that is."""
    for unit in (1e-6, 1.0, 1e6):
        m = pyo.ConcreteModel()
        m.t = pyo.Var(bounds=(0, 10 * unit), initialize=10 * unit * (1 - 1e-9))
        m.f = pyo.Block()
        m.f.u, m.f.w = pyo.Var([0, 1], bounds=(0, 2 * unit)), pyo.Var(bounds=(0, unit), initialize=1e-4 * unit)
        m.f.u[0].set_value(1e-8 * unit)
        m.f.u[1].set_value(unit)
        m.f.cost = pyo.Objective(expr=m.f.u[0] ** 2 + (m.f.u[1] - m.t) ** 2 + m.f.w**2)
        m.goal = pyo.Objective(expr=m.t)
        values = sp.Plan.from_values(sp.Game(m, m.f)).values
        assert (values["t"], values["f.u[0]"], values["f.w"]) == (10 * unit, 0.0, 1e-4 * unit)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("top", [1e3, 1e6, 1e9, 1e11])
def test_a_value_is_next_to_a_bound_beside_what_its_owner_wants(unit: float, top: float) -> None:
    """2 of a billion is not 0 to somebody who wants 2; 1e-8 of it is."""
    for level, rested in ((2.0 + 2e-6, 2.0 + 2e-6), (0.5, 0.5), (2e-8, 0.0)):
        m = pyo.ConcreteModel()
        m.t, m.f = pyo.Var(initialize=0.0), pyo.Block()
        m.f.u = pyo.Var(bounds=(0, top * unit), initialize=level * unit)
        m.f.cost = pyo.Objective(expr=(m.f.u / unit - 2) ** 2 + m.t * m.f.u / unit)
        m.goal = pyo.Objective(expr=m.t**2)
        assert sp.Plan.from_values(sp.Game(m, m.f)).values["f.u"] == rested * unit


@pytest.mark.parametrize("top", [1e3, 1e6, 1e9, 1e12])
@pytest.mark.parametrize("level", [0.01, 0.02])
@pytest.mark.parametrize(
    "cost",
    [lambda x: 100 * x - pyo.log(x), lambda x: x + 1e-4 / x, lambda x: 0.2 * x - 0.04 * pyo.sqrt(x)],
    ids=["log", "pole", "root"],
)
def test_a_slope_without_end_at_0_tells_a_reach(cost: Callable[[Any], Any], level: float, top: float) -> None:
    """All three are least at 0.01; at 0 they have no value, or a slope that is no number."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(0, 1), initialize=0.5), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, top), initialize=level)
    m.f.cost = pyo.Objective(expr=cost(m.f.u) + m.t)
    m.goal = pyo.Objective(expr=m.t)
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    assert plan.values["f.u"] == level
    assert sp.verify(plan).ok is (level == 0.01)


def test_who_wants_nothing_has_values_next_to_a_bound() -> None:
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(0, 1), initialize=1e-9), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 1), initialize=1e-9)
    m.f.cost, m.goal = pyo.Objective(expr=3.0), pyo.Objective(expr=m.t)
    assert sp.Plan.from_values(sp.Game(m, m.f)).values == {"t": 0.0, "f.u": 0.0}


@pytest.mark.parametrize("who", [True, ["a"]])
def test_what_those_who_respond_and_those_who_serve_leave_at_a_bound_is_exactly_there(who: Any) -> None:
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(0, 4), initialize=1)
    m.a, m.b = pyo.Block(), pyo.Block()
    for block in (m.a, m.b):
        block.u = pyo.Var(bounds=(0, 3), initialize=1)
        block.cost = pyo.Objective(expr=(block.u + 1 + m.t) ** 2)
    m.goal = pyo.Objective(expr=(m.t - 5) ** 2 + m.b.u + m.a.u)
    plan = sp.leader_optimal(sp.Game(m, [m.a, m.b]), responding=who)
    assert (plan.value("t"), plan.value("a.u"), plan.value("b.u")) == (4.0, 0.0, 0.0)


pytestmark = pytest.mark.usefixtures("unchanged")


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e8])
@pytest.mark.parametrize("find", [sp.leader_optimal, sp.stackelberg])
def test_rows_in_conflict_are_named_in_every_unit(find: Any, unit: float) -> None:
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, 9 * unit)), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 9 * unit))
    m.f.cost = pyo.Objective(expr=(m.f.u / unit - 1) ** 2)
    m.high = pyo.Constraint(expr=m.x + m.f.u >= 3 * unit)
    m.low = pyo.Constraint(expr=m.x + m.f.u <= unit)
    m.other = pyo.Constraint(expr=m.x <= 8 * unit)
    m.goal = pyo.Objective(expr=(m.x / unit) ** 2 + m.f.u / unit)
    with pytest.raises(sp.NoPlan, match=r"low \(leader\), high \(leader\)\. Relax") as refusal:
        find(sp.Game(m, m.f))
    assert refusal.value.termination == "infeasible"


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_a_leader_who_asks_for_what_nobody_answers(solver: str) -> None:
    """u = clip(x, 0, 2) never reaches 3, though some u does: everybody's rows can be met, but not by an answer."""
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: x**2 + u, x=(0, 2), u=(0, 9))
    game.model.want = pyo.Constraint(expr=game.model.f.u >= 3)
    game = sp.Game(game.model, game.model.f)
    with pytest.raises(sp.NoPlan) as caught:
        sp.stackelberg(game, solver=solver)
    text = str(caught.value)
    assert caught.value.termination == "infeasible"
    assert "answers optimally" in text
    assert ("No plan exists (proved by scip)" in text) == (solver in ("auto", "scip"))
    assert ("nothing is proved" in text) == (solver not in ("auto", "scip"))


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_leader_rows_in_conflict_are_named(solver: str) -> None:
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: x**2 + u, x=(0, 2), u=(0, 9))
    m = game.model
    m.high = pyo.Constraint(expr=m.x + m.f.u >= 3)
    m.low = pyo.Constraint(expr=m.x + m.f.u <= 1)
    with pytest.raises(sp.NoPlan) as caught:
        sp.stackelberg(sp.Game(m, m.f), solver=solver)
    assert caught.value.termination == "infeasible"
    assert "high (leader)" in str(caught.value)
    assert "low (leader)" in str(caught.value)


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_follower_rows_without_a_point_are_no_plan(solver: str) -> None:
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: x**2, x=(0, 2), row=lambda x, u: (1, u, 2))
    m = game.model
    m.f.other = pyo.Constraint(expr=m.f.u + m.x <= 0)
    with pytest.raises(sp.NoPlan) as caught:
        sp.stackelberg(sp.Game(m, m.f), solver=solver)
    assert caught.value.termination == "infeasible"


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
@pytest.mark.parametrize("sense", SENSES)
def test_an_unbounded_leader_is_told_which_variable_runs(solver: str, sense: int) -> None:
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: x + u, u=(0, 1), senses=(sense, 1))
    with pytest.raises(sp.NoPlan) as caught:
        sp.stackelberg(game, solver=solver)
    assert caught.value.termination == "unbounded"
    assert "x" in str(caught.value)


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_a_follower_without_a_best_answer_has_no_plan(solver: str) -> None:
    """min x u, 1 ≤ x ≤ 2, u free: −∞ for the follower whatever the leader does."""
    game = one_follower(lambda x, u: x * u, lambda x, u: (x - 1.5) ** 2 + u**2, x=(1, 2))
    with pytest.raises(sp.NoPlan) as caught:
        sp.stackelberg(game, solver=solver)
    assert caught.value.termination == "infeasible"


@pytest.mark.slow
def test_a_follower_who_can_do_nothing_is_named() -> None:
    """Its own row contradicts its bounds: no leader's constraint is to blame."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(0, 2), initialize=1.0)
    m.f = pyo.Block()
    m.f.x = pyo.Var(bounds=(0, 1))
    m.f.k = pyo.Constraint(expr=m.f.x >= 3)
    m.f.c = pyo.Objective(expr=(m.f.x - 0.8) ** 2 + m.t * m.f.x)
    m.o = pyo.Objective(expr=(m.f.x - 0.2) ** 2 + (m.t - 1) ** 2)
    game = sp.Game(m, m.f)
    for ask in (sp.leader_optimal, sp.stackelberg, sp.nash):
        with pytest.raises(sp.NoPlan, match=r"In conflict.*f\.k \(f\)"):
            ask(game)
    m.f.k.deactivate()
    with pytest.raises(sp.InvalidGame, match=r"leader: 9 is outside the bounds of t, \[0, 2\]"):
        sp.nash(game, leader={"t": 9})


@pytest.mark.parametrize("limited", [None, "row", "Param"])
def test_a_follower_whose_objective_falls_without_limit_has_no_equilibrium(limited: str | None) -> None:
    """Its slope is a constant, whatever the others do, and nothing holds its action on that side."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.slope = pyo.Param(initialize=2.0, mutable=True)
    m.f = pyo.Block(range(2))
    m.f[0].u = pyo.Var()
    m.f[0].cost = pyo.Objective(expr=(m.slope if limited == "Param" else 2.0) * m.f[0].u)
    m.f[1].u = pyo.Var(bounds=(0, 1))
    m.f[1].cost = pyo.Objective(expr=(m.f[1].u - m.x) ** 2)
    m.goal = pyo.Objective(expr=m.x + m.f[1].u + m.f[0].u)
    if limited == "row":
        m.f[0].floor = pyo.Constraint(expr=m.f[0].u >= m.x - 3)
        assert sp.stackelberg(sp.Game(m, m.f)).values["f[0].u"] == pytest.approx(-3, abs=1e-6)
        return
    game = sp.Game(m, m.f)
    for solve in (sp.stackelberg, lambda g: sp.nash(g, leader={"x": 0.5})):
        with pytest.raises(sp.NoPlan, match=r"f\[0\].u .*no bound on the side") as refusal:
            solve(game)
        assert refusal.value.termination == "infeasible"
