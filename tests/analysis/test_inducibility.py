"""Inducibility of followers with whole actions against enumeration: every action, the leader's worst answer to each."""

from __future__ import annotations

from itertools import product

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp


def plant(price: float) -> sp.Plan:
    """A plant that should run at 3: switched off it costs 0, whatever the price."""
    m = pyo.ConcreteModel()
    m.price = pyo.Var(bounds=(0, 10), initialize=price)
    m.plant = pyo.Block()
    m.plant.on = pyo.Var(domain=pyo.Binary, initialize=1)
    m.plant.w = pyo.Var(bounds=(0, 4), initialize=3)
    m.plant.limit = pyo.Constraint(expr=m.plant.w <= 4 * m.plant.on)
    m.plant.cost = pyo.Objective(expr=6.125 * m.plant.on + m.plant.w**2 / 2 - m.price * m.plant.w)
    m.goal = pyo.Objective(expr=(m.plant.w - 3) ** 2)
    return sp.Plan.from_values(sp.Game(m, followers=m.plant))


def test_a_plant_that_may_switch_off() -> None:
    """6.125 + 9/2 − 3 p ≤ 0 iff p ≥ 10.625/3 = 3.5417."""
    refused = sp.inducible(plant(3.0)).loc["plant"]
    assert refused["verdict"] == "impossible"
    assert refused["objective"] == pytest.approx(1.625)
    assert "at on = 0" in refused["evidence"]
    assert sp.inducible(plant(3.55)).loc["plant", "verdict"] == "possible"


@pytest.mark.parametrize("seed", range(8))
def test_whole_actions_by_enumeration(seed: int) -> None:
    """J = c(v) + u (a · v + b) with u ∈ [−2, 2]: possible iff max_u J(u, v) ≥ J* at every v."""
    rng = np.random.default_rng(seed)
    cost, pull, base = rng.integers(-6, 7, 3), rng.integers(-2, 3, 3), int(rng.integers(-1, 2))
    cross = int(rng.integers(-4, 5))
    planned, u = rng.integers(0, 2, 3), float(rng.integers(-1, 2))
    m = pyo.ConcreteModel()
    m.u = pyo.Var(bounds=(-2, 2), initialize=u)
    m.f = pyo.Block()
    m.f.v = pyo.Var(range(3), domain=pyo.Binary, initialize=dict(enumerate(map(int, planned))))
    v = list(m.f.v.values())
    own = sum(int(c) * x for c, x in zip(cost, v, strict=True)) + cross * v[0] * v[1]
    m.f.cost = pyo.Objective(expr=own + m.u * (sum(int(a) * x for a, x in zip(pull, v, strict=True)) + base))
    m.goal = pyo.Objective(expr=m.u**2)

    def level(action: np.ndarray, answer: float) -> float:
        return float(cost @ action + cross * action[0] * action[1] + answer * (pull @ action + base))

    actions = [np.array(action) for action in product((0, 1), repeat=3)]
    security = min(max(level(action, -2.0), level(action, 2.0)) for action in actions)
    row = sp.inducible(sp.Plan.from_values(sp.Game(m, followers=m.f))).loc["f"]
    assert row["objective"] == pytest.approx(level(planned, u))
    worst = min(max(level(a, -2.0), level(a, 2.0)) for a in actions if (a != planned).any())
    assert row["verdict"] == ("possible" if worst >= level(planned, u) else "impossible")
    assert not row["at_least"] > security + 1e-6
    assert not row["at_most"] < security - 1e-6
