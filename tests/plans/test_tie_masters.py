"""Masters of ties: integer and nonconvex followers in closed form."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.solvers import registry

pytestmark = pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")


def two_roads() -> sp.Game:
    """A driver takes a road at 2 + t₁, one at 3 + t₂, or none at 5: revenue up to 3, which is not reached."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var([1, 2], bounds=(0, 10))
    m.f = pyo.Block()
    m.f.a = pyo.Var([1, 2, 3], domain=pyo.Binary)
    m.f.one = pyo.Constraint(expr=sum(m.f.a.values()) == 1)
    m.f.cost = pyo.Objective(expr=(2 + m.t[1]) * m.f.a[1] + (3 + m.t[2]) * m.f.a[2] + 5 * m.f.a[3])
    m.revenue = pyo.Objective(expr=m.t[1] * m.f.a[1] + m.t[2] * m.f.a[2], sense=pyo.maximize)
    return sp.Game(m, m.f)


@pytest.mark.slow
def test_an_integer_follower_and_two_tolls() -> None:
    plan = sp.stackelberg(two_roads(), ties="pessimistic")
    assert plan.bound == pytest.approx(3, abs=1e-6)
    assert 2.99 < plan.leader_objective < 3
    assert plan.attained is not True
    assert plan.ties["worst"] < 2.01  # at the optimistic tolls it takes no road, or the other one


@pytest.mark.slow
def test_a_nonconvex_follower_and_ties_of_a_width() -> None:
    """min (x − ½)² + y; the follower is at the end of [0, 1] that is farther from x: inf ψ = 0 as x comes to ½.

    Within ε = 0.01 answers y up to x − √(x² − ε) count, and 1 up to x = ½ + ε/2: P_ε = ε²/4 + x − √(x² − ε) there."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 1))
    m.f.cost = pyo.Objective(expr=-((m.f.y - m.x) ** 2))
    m.goal = pyo.Objective(expr=(m.x - 0.5) ** 2 + m.f.y)
    game = sp.Game(m, m.f)
    plan = sp.stackelberg(game, ties="pessimistic")
    assert 0 < plan.leader_objective < 1e-5
    assert plan.bound == pytest.approx(0, abs=1e-6)
    assert plan.attained is not True
    assert plan.ties["worst"] == pytest.approx(1, abs=1e-6)
    width = 1e-2
    grid = 0.5 + width / 2 + np.linspace(1e-9, 0.1, 2001)
    least = float(((grid - 0.5) ** 2 + grid - np.sqrt(grid**2 - width)).min())
    wide = sp.stackelberg(game, ties="pessimistic", tie_tolerance=width)
    assert wide.bound <= least + 1e-6
    assert least - 1e-6 <= wide.leader_objective <= least + 1e-3
