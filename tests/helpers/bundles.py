"""Games of many followers to be cut into bundles, and whether mpi-sppy is here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.plans.decomposition.hedging import team


def missing() -> str:
    """Why the engine is not here; empty: it is."""
    try:
        team()
    except sp.SolverNotAvailable as error:
        return str(error)
    return ""


needs_engine = pytest.mark.skipif(bool(missing()), reason=missing())


Sums = pyo.quicksum


def averaged(n: int) -> sp.Game:
    """Quadratic costs around an average; J0* = 2 (m − 0.4)² with m = (mean of t + 0.4)/2."""
    t = np.random.default_rng(0).uniform(0.2, 0.8, n)
    m = pyo.ConcreteModel(name="averaged")
    m.mean = pyo.Var()

    def follower(b: Any, i: int) -> None:
        b.u = pyo.Var(bounds=(0, 2), initialize=0.5)
        b.cost = pyo.Objective(expr=(b.u - 1) ** 2 + m.mean * b.u)

    m.f = pyo.Block(range(n), rule=follower)
    m.define = pyo.Constraint(expr=m.mean == Sums(m.f[i].u for i in range(n)) / n)
    m.goal = pyo.Objective(expr=(m.mean - 0.4) ** 2 + Sums((m.f[i].u - t[i]) ** 2 for i in range(n)) / n)
    game = sp.Game(m, followers=m.f, aggregates=[m.define])
    game.metadata["optimum"] = 2.0 * ((t.mean() + 0.4) / 2.0 - 0.4) ** 2
    return game


def cournot(n: int) -> sp.Game:
    """A maximising leader who sells next to firms of different costs, at a price that the total sets."""
    c = np.random.default_rng(1).uniform(10, 20, n)
    m = pyo.ConcreteModel(name="cournot")
    m.q = pyo.Var(bounds=(0, None), initialize=1.0)
    m.total = pyo.Var()

    def firm(b: Any, i: int) -> None:
        b.q = pyo.Var(bounds=(0, 200), initialize=0.1)
        b.profit = pyo.Objective(expr=(100 - m.q - m.total - c[i]) * b.q - n * b.q**2 / 2, sense=pyo.maximize)

    m.f = pyo.Block(range(n), rule=firm)
    m.define = pyo.Constraint(expr=m.total == Sums(m.f[i].q for i in range(n)))
    wanted = Sums(0.1 * n * (m.f[i].q - (5 + c[i] / 4) / n) ** 2 for i in range(n))
    own = (88 - m.q - m.total) * m.q - 0.2 * m.q**2
    m.profit = pyo.Objective(expr=own - (m.total - 20) ** 2 - wanted, sense=pyo.maximize)
    return sp.Game(m, followers=m.f, aggregates=[m.define])


def shifted(n: int, hours: int = 3) -> sp.Game:
    """Loads over hours under a capacity that the leader buys, each follower's energy fixed, a curved budget for all."""
    random = np.random.default_rng(2)
    a, d = random.uniform(1, 3, (n, hours)), random.uniform(0.2, 1, (n, hours))
    m = pyo.ConcreteModel(name="shifted")
    m.capacity = pyo.Var(bounds=(0, 5), initialize=1.0)
    m.load_ = pyo.Var(range(hours))

    def user(b: Any, i: int) -> None:
        b.u = pyo.Var(range(hours), bounds=(0, 2), initialize=0.5)
        b.energy = pyo.Constraint(expr=Sums(b.u[t] for t in range(hours)) == float(d[i].sum()))
        b.cost = pyo.Objective(expr=Sums(a[i, t] * (b.u[t] - d[i, t]) ** 2 for t in range(hours)))

    m.f = pyo.Block(range(n), rule=user)
    m.define = pyo.Constraint(range(hours), rule=lambda m, t: m.load_[t] == Sums(m.f[i].u[t] for i in range(n)) / n)
    m.limit = pyo.Constraint(range(hours), rule=lambda m, t: m.load_[t] <= m.capacity)
    m.budget = pyo.Constraint(expr=Sums(m.f[i].u[0] ** 2 for i in range(n)) / n <= 0.4)
    discomfort = Sums(a[i, t] * (m.f[i].u[t] - d[i, t]) ** 2 for i in range(n) for t in range(hours)) / n
    m.cost = pyo.Objective(expr=3 * m.capacity**2 + m.load_[0] + 2 * m.load_[1] + discomfort)
    return sp.Game(m, followers=m.f, aggregates=list(m.define.values()))


def exponential(n: int) -> sp.Game:
    """Nothing is quadratic, the average is written out (twice), and every follower has a toll of its own."""
    a = np.random.default_rng(3).uniform(0.5, 2, n)
    m = pyo.ConcreteModel(name="exponential")
    m.s = pyo.Var(bounds=(0, 3), initialize=1.0)
    m.toll = pyo.Var(range(n), bounds=(-1, 1), initialize=0.0)

    def follower(b: Any, i: int) -> None:
        b.u = pyo.Var(bounds=(-2, 3), initialize=0.0)
        b.cost = pyo.Objective(expr=pyo.exp(a[i] * b.u) - (m.s + m.toll[i]) * b.u)

    m.f = pyo.Block(range(n), rule=follower)
    mean = Sums(m.f[i].u for i in range(n)) / n
    own = Sums(pyo.exp(a[i] * m.f[i].u - 1) + (m.toll[i] - 0.1 * m.f[i].u) ** 2 for i in range(n)) / n
    m.goal = pyo.Objective(expr=pyo.exp(1 - mean) + own + 0.1 * (m.s - 1) ** 2 + pyo.exp(0.2 * m.s - 0.5 * mean))
    return sp.Game(m, followers=m.f)


def bought(n: int) -> sp.Game:
    """A linear programme: what the followers do not deliver is bought."""
    random = np.random.default_rng(4)
    c, d = random.uniform(1, 3, n), random.uniform(0.5, 1.5, n)
    m = pyo.ConcreteModel(name="bought")
    m.buy = pyo.Var(bounds=(0, n))

    def follower(b: Any, i: int) -> None:
        b.u = pyo.Var(bounds=(0, float(d[i])))
        b.cost = pyo.Objective(expr=c[i] * b.u)

    m.f = pyo.Block(range(n), rule=follower)
    m.balance = pyo.Constraint(expr=m.buy + Sums(m.f[i].u for i in range(n)) == 0.7 * n)
    m.goal = pyo.Objective(expr=(2.1 * m.buy + Sums(c[i] * m.f[i].u for i in range(n))) / n)
    return sp.Game(m, followers=m.f)


def mixed(n: int) -> sp.Game:
    """What else a model may hold: Params, fixed Vars, named Expressions, nested Blocks, Populations, other senses."""
    m = pyo.ConcreteModel(name="mixed")
    m.p = pyo.Param(initialize=1.5, mutable=True)
    m.b = pyo.Block()
    m.b.x = pyo.Var(bounds=(0, 2), initialize=1.0)
    m.held = pyo.Var(initialize=0.7)
    m.held.fix()
    m.idle = pyo.Var(bounds=(0, 1), initialize=0.0)
    m.f = pyo.Block(range(n))
    for i, f in m.f.items():
        f.u = pyo.Var([0, 1], bounds=(-1, 1), initialize=0.0)
        f.cost = pyo.Objective(expr=-((f.u[0] - m.b.x) ** 2) - f.u[1] ** 2, sense=pyo.maximize)
        f.row = pyo.Constraint(expr=f.u[0] + f.u[1] <= 1 + 0.1 * i)
    m.f[0].u[1].fix(0.25)
    m.total = pyo.Expression(expr=m.p * Sums(f.u[0] for f in m.f.values()) / m.held + m.b.x)
    m.least = pyo.Constraint(expr=m.total >= -2)
    m.curved = pyo.Constraint(expr=Sums(f.u[1] for f in m.f.values()) + pyo.log(1 + m.b.x) >= -5)
    m.range = pyo.Constraint(expr=(-5, Sums((1 + i) * f.u[1] for i, f in m.f.items()) - m.b.x, 5))
    m.worth = pyo.Expression(expr=-(m.total**2) - m.held * Sums((f.u[1] - 0.3) ** 2 for f in m.f.values()) / m.p)
    m.goal = pyo.Objective(expr=2 * (m.worth - 3) - m.b.x**2 * m.p, sense=pyo.maximize)
    return sp.Game(m, followers=[sp.Population(f, 3) for f in m.f.values()])


GAMES: list[Callable[[int], sp.Game]] = [averaged, cournot, shifted, exponential, bought]
