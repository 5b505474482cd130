"""``game.check()``: what is found before solving, by component."""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo
from conftest import snapshot, toll_game

import stackpyomo as sp
from stackpyomo.core.expressions import variables_in


def found(game: sp.Game) -> dict[str, str]:
    """component → severity and message."""
    before = snapshot(game.model)
    findings = {f.component: f"{f.severity}: {f.message}" for f in game.check()}
    assert snapshot(game.model) == before
    return findings


def follower(cost: Any) -> Any:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=1.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-3, 3), initialize=0.5)
    m.f.cost = pyo.Objective(expr=cost(m.x, m.f.u))
    m.goal = pyo.Objective(expr=m.x**2 + m.f.u**2)
    return m


def test_a_sound_game_has_no_findings() -> None:
    assert toll_game().check() == []


def test_convexity_is_proved_disproved_or_not_certified() -> None:
    m = follower(lambda x, u: u**2 + x * u)
    assert found(sp.Game(m, followers=m.f)) == {}
    m = follower(lambda x, u: x * u - u**2)
    assert "proved not convex" in found(sp.Game(m, followers=m.f))["f.cost"]
    m = follower(lambda x, u: pyo.sin(u) + x)
    assert "not certified" in found(sp.Game(m, followers=m.f))["f.cost"]
    m = follower(lambda x, u: u**2 + x)
    m.f.ring = pyo.Constraint(expr=m.f.u**2 >= 0.1)
    assert "not certified" in found(sp.Game(m, followers=m.f))["f.ring"]


def test_an_integer_follower_is_told_and_its_box_asked_for() -> None:
    m = follower(lambda x, u: x * u - u**2)
    m.f.u.domain = pyo.Integers
    m.f.more = pyo.Var(within=pyo.NonNegativeIntegers)
    m.f.cost.set_value(m.f.cost.expr + m.f.more)
    named = found(sp.Game(m, followers=m.f))
    assert named["f.u"].startswith("info: f is an integer follower (2 of its 2 variables)")
    assert "no two bounds" in named["f.more"]
    assert "f.cost" not in named  # what a first-order condition is worth is no question here


def test_a_maximising_follower_should_be_concave() -> None:
    m = follower(lambda x, u: x * u - u**2)
    m.f.cost.sense = pyo.maximize
    assert found(sp.Game(m, followers=m.f)) == {}
    m = follower(lambda x, u: u**2)
    m.f.cost.sense = pyo.maximize
    assert "proved not concave" in found(sp.Game(m, followers=m.f))["f.cost"]


def test_an_undeclared_aggregate_is_pointed_out() -> None:
    m = follower(lambda x, u: u**2)
    m.mean = pyo.Var()
    m.f.cost.set_value(m.f.u**2 + m.mean * m.f.u)
    m.average = pyo.Constraint(expr=m.mean == m.f.u)
    assert "not an aggregate" in found(sp.Game(m, followers=m.f))["average"]
    assert "average" not in found(sp.Game(m, followers=m.f, aggregates=[m.average]))


def test_shared_constraints_fixed_and_idle_variables() -> None:
    m = pyo.ConcreteModel()
    m.f = pyo.Block(range(2))
    for i in range(2):
        m.f[i].u = pyo.Var(bounds=(0, 1))
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - 1) ** 2)
    m.f[0].road = pyo.Constraint(expr=m.f[0].u + m.f[1].u <= 1)
    m.idle = pyo.Var()
    m.given = pyo.Var(initialize=2.0)
    m.given.fix()
    m.goal = pyo.Objective(expr=m.f[0].u + m.given)
    findings = found(sp.Game(m, followers=m.f))
    assert "generalised Nash" in findings["f[0].road"]
    assert "f[1]" in findings["f[0].road"]
    assert findings["idle"].startswith("warning")
    assert findings["given"].startswith("info")


def test_errors_come_alone_and_all_of_them() -> None:
    m = pyo.ConcreteModel()
    m.a, m.b = pyo.Block(), pyo.Block()
    m.a.cost = pyo.Objective(expr=0.0)
    m.b.u = pyo.Var(domain=pyo.Integers)
    findings = [f for f in sp.Game(m, followers=[m.a, m.b]).check() if f.severity == "error"]
    assert [f.component for f in findings] == ["a", "b"]
    assert all(f.remedy for f in findings)


def test_a_large_game_is_checked_once_per_component() -> None:
    """A named expression over all followers that every follower holds is not walked N times."""
    size = 2000
    m = pyo.ConcreteModel()
    m.f = pyo.Block(range(size))
    for i in range(size):
        m.f[i].u = pyo.Var(initialize=0.0)
    m.total = pyo.Expression(expr=pyo.quicksum(m.f[i].u for i in range(size)) / size)
    for i in range(size):
        m.f[i].cost = pyo.Objective(expr=m.f[i].u ** 2 + m.total * m.f[i].u)
    m.goal = pyo.Objective(expr=m.total**2)
    game = sp.Game(m, followers=m.f)
    game.require_sound()
    seen: set[int] = set()
    walked = sum(1 for f in game.followers.values() for _ in variables_in(f.objective.expr, seen))
    assert walked <= 4 * size
