"""Composed problems: a deviation is played against the announced strategy, in cost and constraints."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest
from helpers.one_follower import one_follower

import stackpyomo as sp


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


@pytest.mark.parametrize("unit", [1e-7, 1.0, 1e7])
@pytest.mark.parametrize(("shift", "ok"), [(0.0, False), (1.0, True)])
def test_a_row_that_no_action_moves_is_held_against_its_own_numbers(unit: float, shift: float, ok: bool) -> None:
    """p ≤ 3 of a follower at p = 4 is broken, also where both are below a millionth."""
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var(bounds=(0, 5 * unit), initialize=(4 - shift) * unit), pyo.Block()
    m.f.q = pyo.Var(bounds=(0, 5), initialize=1.0)
    m.f.row = pyo.Constraint(expr=m.p <= 3 * unit)
    m.f.cost = pyo.Objective(expr=(m.f.q - 1) ** 2 + 0 * m.p)
    m.goal = pyo.Objective(expr=m.p / unit - m.f.q)
    assert sp.verify(sp.Plan.from_values(sp.Game(m, m.f))).ok == ok
