"""Populations whose members had better differ: by the same game written out, and where nobody had."""

from __future__ import annotations

import math
from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.plans.members import perhaps_unlike
from stackpyomo.solvers import registry


def crowd(size: float, own: Any, goal: Any, width: float = 1.0, money: float = 1.0) -> tuple[sp.Game, Any]:
    """Members with actions u in [-5, 5] (in units of width), their average z, and a leader's t."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(-50, 50), initialize=0)
    m.z = pyo.Var(initialize=0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-5 * width, 5 * width), initialize=0)
    m.mean = pyo.Constraint(expr=m.z == m.f.u / width)
    u = m.f.u / width
    m.f.cost = pyo.Objective(expr=money * own(u, m.z, m.t))
    m.goal = pyo.Objective(expr=goal(u, m.z, m.t))
    return sp.Game(m, followers=sp.Population(m.f, size), aggregates=[m.mean]), m


def near(u: Any, z: Any, t: Any) -> Any:
    return (z - 0.5) ** 2 + 0.1 * t**2


def straight(u: Any, z: Any, t: Any) -> Any:
    return (u - 1) ** 2 + 0.3 * u * z + t * u


def away(u: Any, z: Any, t: Any) -> Any:
    return -((u - 0.5) ** 2) + t * u


@pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")
@pytest.mark.parametrize(("width", "money"), [(1.0, 1.0), (1e4, 1e-5), (1e-4, 1e6)])
def test_members_who_flee_from_the_middle(width: float, money: float) -> None:
    """Alike both are at one end, which costs the leader 20.35; one at each end is worth 0.25 + 0.1."""
    game, _ = crowd(2, away, near, width, money)
    plan = sp.stackelberg(game, proof_seconds=20)
    assert plan.leader_objective == pytest.approx(20.35, abs=1e-5)
    assert plan.quality != "optimal" or any("its members act alike" in text for text in plan.warnings)
    written = sp.stackelberg(game.expand(), proof_seconds=20)
    assert written.leader_objective == pytest.approx(0.35, abs=1e-5)
    assert not any("act alike" in text for text in written.warnings)


@pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")
def test_whom_the_leader_wants_apart() -> None:
    """z² − u²: 0 where all do the same, −25 where half of them go left."""
    game, _ = crowd(2, straight, lambda u, z, t: z**2 - u**2 + 0.1 * t**2)
    plan = sp.leader_optimal(game, solver="scip")
    assert (plan.quality, plan.leader_objective) == ("optimal", pytest.approx(0.0, abs=1e-6))
    assert any("its members act alike" in text for text in plan.warnings)
    assert sp.leader_optimal(game.expand(), solver="scip").leader_objective == pytest.approx(-25.0, abs=1e-5)


@pytest.mark.parametrize("size", [2, 1000, math.inf])
def test_where_nobody_had_better_differ(size: float) -> None:
    game, _ = crowd(size, straight, near)
    for plan in (sp.leader_optimal(game), sp.stackelberg(game)):
        assert not any("act alike" in text for text in plan.warnings)
    assert perhaps_unlike(game, {"f"}) == []


@pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")
def test_a_list_of_equilibria_in_which_members_differ() -> None:
    """½ v² + 2 v (2 z − v) on [−5, 5] for two: (0, 0), and also (5, −5) and (−5, 5), which no population shows."""
    game, _ = crowd(2, lambda u, z, t: u**2 / 2 + 2 * u * (2 * z - u) + t * u, near)
    known = sp.nash(game, leader={"t": 0.0}, equilibrium="all")
    assert not known.complete
    assert "members of f may differ" in known.reason
    assert len(sp.nash(game.expand(), leader={"t": 0.0}, equilibrium="all")) == 2  # of them (5, -5) stands for two
    other, _ = crowd(2, straight, near)
    assert sp.nash(other, leader={"t": 0.0}, equilibrium="all").complete
