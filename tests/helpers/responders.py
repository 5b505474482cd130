"""Games with followers who respond, and what their tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyomo.environ as pyo
import pytest
from conftest import NLP

import stackpyomo as sp
from stackpyomo.solvers import registry

SENSES = [1, -1]


SOLVERS = [*NLP, pytest.param("scip", marks=pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP"))]


TREATMENTS = ["auto", "scholtes", "fischer-burmeister", "penalty", "big-m", "sos1"]


def objective(cost: Any, sense: int) -> pyo.Objective:
    """The cost minimised (1), or its negative maximised (−1)."""
    return pyo.Objective(expr=sense * cost, sense=pyo.minimize if sense > 0 else pyo.maximize)


def one_follower(
    cost: Callable[[Any, Any], Any],
    goal: Callable[[Any, Any], Any],
    *,
    x: tuple[float | None, float | None] = (None, None),
    u: tuple[float | None, float | None] = (None, None),
    row: Callable[[Any, Any], Any] | None = None,
    senses: tuple[int, int] = (1, 1),
) -> sp.Game:
    """Leader x, follower u; costs are written as minimised ones."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=x)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=u)
    m.f.cost = objective(cost(m.x, m.f.u), senses[1])
    if row is not None:
        m.f.row = pyo.Constraint(expr=row(m.x, m.f.u))
    m.goal = objective(goal(m.x, m.f.u), senses[0])
    return sp.Game(m, m.f)


def attempt(call: Callable[[], sp.Plan]) -> sp.Plan | sp.NoPlan:
    """The plan, or the error that says there is none."""
    try:
        return call()
    except sp.NoPlan as none:
        return none


def major_minor(size: float) -> sp.Game:
    """Minors u²/2 − u(4 − ū − u₀/2 − u_M/2); a major; a leader who steers towards ū + u_M = 5."""
    m = pyo.ConcreteModel()
    m.u0, m.mean = pyo.Var(initialize=0.0), pyo.Var(initialize=1.0)
    m.major, m.minor = pyo.Block(), pyo.Block()
    m.major.u, m.minor.u = pyo.Var(initialize=1.0), pyo.Var(initialize=1.0)
    m.define = pyo.Constraint(expr=m.mean == m.minor.u)
    m.minor.cost = pyo.Objective(expr=m.minor.u**2 / 2 - m.minor.u * (4 - m.mean - m.u0 / 2 - m.major.u / 2))
    m.major.cost = pyo.Objective(expr=m.major.u**2 / 2 + (m.u0 + 1) ** 2 / 2 + (m.major.u + m.mean - 1) ** 2 / 2)
    m.goal = pyo.Objective(expr=m.u0**2 / 2 + m.major.u**2 / 2 + (m.mean + m.major.u - 5) ** 2 + m.minor.u**2 / 4)
    return sp.Game(m, [m.major, sp.Population(m.minor, size)], aggregates=m.define)


def bards_problem() -> sp.Game:
    """min x − 4y; min y s.t. four rows: (4, 4) with −12, and a local (1, 2) with −7; (3, 6) is no answer at all.

    J. F. Bard, Practical Bilevel Optimization (1998); reported at Pyomo/pao#92, where a solver gave (3, 6).
    """
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, None))
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(0, None))
    m.f.rows = pyo.ConstraintList()
    for body, limit in ((-m.x - m.f.y, -3), (-2 * m.x + m.f.y, 0), (2 * m.x + m.f.y, 12), (3 * m.x - 2 * m.f.y, 4)):
        m.f.rows.add(body <= limit)
    m.f.cost = pyo.Objective(expr=m.f.y)
    m.goal = pyo.Objective(expr=m.x - 4 * m.f.y)
    return sp.Game(m, m.f)


def pinched(low: float, high: float) -> sp.Game:
    """min (y − 3)² s.t. y² ≤ x: y = min(√x, 3); at x = 0 only y = 0, without a multiplier.

    The leader pays (x + 1)² + (y + 5)²: 26 at x = 0.
    """
    return one_follower(
        lambda x, u: (u - 3) ** 2, lambda x, u: (x + 1) ** 2 + (u + 5) ** 2, x=(low, high), row=lambda x, u: u**2 <= x
    )


def two_prices() -> sp.Game:
    """u = p₁ + p₂ + t; the leader's revenue is defined from it."""
    m = pyo.ConcreteModel()
    m.p = pyo.Var([1, 2], bounds=(-9, 9))
    m.t = pyo.Var(initialize=0.25)
    m.revenue = pyo.Var()
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.cost = pyo.Objective(expr=(m.f.u - m.p[1] - m.p[2] - m.t) ** 2)
    m.account = pyo.Constraint(expr=m.revenue == m.p[1] * m.f.u)
    m.goal = pyo.Objective(expr=m.revenue, sense=pyo.maximize)
    return sp.Game(m, m.f)


def concave_cost(senses: tuple[int, int] = (1, 1)) -> sp.Game:
    """min −u² + x u on [−1, 2]: u = 2 for x < 1, −1 for x > 1, either at 1; u = x/2 is its *worst* choice.

    The leader pays (u − 0.5)² + (x − 1)²/100: 2.25 at best; the false KKT point u = 0.5, x = 1 would cost 0.
    """
    return one_follower(
        lambda x, u: -(u**2) + x * u,
        lambda x, u: (u - 0.5) ** 2 + 0.01 * (x - 1) ** 2,
        x=(0, 3),
        u=(-1, 2),
        senses=senses,
    )


def split_set() -> sp.Game:
    """min (u − x)² s.t. u² ≥ 1, |u| ≤ 2: u = sign(x) for |x| ≤ 1. The leader pays (u − x)² + (x − 0.2)²: 0.32 at 0.6.

    KKT of u² ≥ 1 also holds at u = −1 for 0 < x < 1 (a local answer only).
    """
    return one_follower(
        lambda x, u: (u - x) ** 2,
        lambda x, u: (u + 0.9) ** 2 + (x - 0.2) ** 2,
        x=(0.1, 3),
        u=(-2, 2),
        row=lambda x, u: u**2 >= 1,
    )


def two_valued_price(sense: int = 1) -> sp.Game:
    """y₁ ≤ x costs 1 a unit, y₂ 3, and 5 are needed: the price is 3 below x = 5, 1 above, anything between at 5.

    sense: 1: the leader minimises what it pays; −1: it maximises the same with the other sign.
    """
    m = pyo.ConcreteModel()
    m.x, m.price = pyo.Var(bounds=(0, 10)), pyo.Var()
    m.f = pyo.Block()
    m.f.y = pyo.Var([1, 2], bounds=(0, None))
    m.f.cost = pyo.Objective(expr=m.f.y[1] + 3 * m.f.y[2])
    m.f.demand = pyo.Constraint(expr=m.f.y[1] + m.f.y[2] == 5)
    m.f.room = pyo.Constraint(expr=m.f.y[1] <= m.x)
    m.goal = pyo.Objective(expr=sense * (5 * m.price + 0.2 * m.x), sense=pyo.minimize if sense > 0 else pyo.maximize)
    return sp.Game(m, m.f, prices=[(m.price, m.f.demand)])
