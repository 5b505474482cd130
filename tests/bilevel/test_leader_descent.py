"""The leader's descent along the central path of many followers: closed forms, and what it leaves to others."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.optimize import minimize_scalar

import stackpyomo as sp
from models import cournot
from stackpyomo.bilevel import search


@pytest.fixture(autouse=True)
def _small_is_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_SEVERAL", 10)


@pytest.mark.parametrize("size", [40, 50, 61])
@pytest.mark.parametrize("spread", [{}, {"low": 0.0, "high": 0.0}], ids=["some stay out", "all produce"])
def test_cournot_ends_at_the_closed_form(size: int, spread: dict[str, float]) -> None:
    """At 50 the best point is a kink, where one follower is just indifferent."""
    plan = sp.stackelberg(cournot.build(size, **spread))
    best = cournot.optimum(size, **spread)
    assert plan.report is not None
    assert plan.report.ok
    assert plan.leader_objective == pytest.approx(best.profit, rel=1e-10)
    assert plan.value("quantity") == pytest.approx(best.quantity, rel=1e-8)
    assert {entry["treatment"] for entry in plan.log} == {"descent", "polish"}


def street(unit: float, cost: float, sense: int, size: int = 25) -> tuple[sp.Game, float]:
    """A toll against homes min (u − w_i)²/2 + toll·u, 0 ≤ u ≤ 1, u + v ≤ 1.2, (v − 1)²/2; and the best toll by search.

    ``unit``: of actions; ``cost``: of every cost; ``sense``: of the homes' objectives.
    """
    wish = np.linspace(0.1, 2.0, size)
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(0, 3), initialize=0.3)
    m.home = pyo.Block(range(size))
    for i, home in m.home.items():
        home.u = pyo.Var(bounds=(0, unit), initialize=0.5 * unit)
        home.v = pyo.Var(bounds=(0, None), initialize=0.5 * unit)
        home.row = pyo.Constraint(expr=home.u + home.v <= 1.2 * unit)
        own = (home.u / unit - wish[i]) ** 2 / 2 + m.toll * home.u / unit + (home.v / unit - 1) ** 2 / 2
        home.cost = pyo.Objective(expr=sense * cost * own, sense=pyo.minimize if sense > 0 else pyo.maximize)
    earned = m.toll * pyo.quicksum(h.u for h in m.home.values()) / unit / size
    m.goal = pyo.Objective(expr=cost * (0.2 * (m.toll - 0.4) ** 2 - earned))

    def used(toll: float) -> float:
        free = np.clip(wish - toll, 0.0, 1.0)  # v = 1 where there is room, else the row binds: v = 1.2 − u
        bound = np.clip((wish - toll + 0.2) / 2.0, 0.0, 1.0)
        return float(np.where(free <= 0.2, free, np.maximum(bound, 0.2)).mean())

    best = min(
        minimize_scalar(lambda t: 0.2 * (t - 0.4) ** 2 - t * used(t), bounds=(a, a + 0.3), options={"xatol": 1e-10}).fun
        for a in np.arange(0.0, 3.0, 0.3)
    )
    return sp.Game(m, followers=m.home), cost * best


@pytest.mark.parametrize(("unit", "cost", "sense"), [(1.0, 1.0, 1), (1.0, 1.0, -1), (1e3, 1e-4, 1), (1e-3, 1e5, -1)])
def test_rows_bounds_units_and_senses(unit: float, cost: float, sense: int) -> None:
    game, best = street(unit, cost, sense)
    plan = sp.stackelberg(game)
    assert plan.report is not None
    assert plan.report.ok
    assert plan.leader_objective == pytest.approx(best, rel=1e-6)
    assert plan.log[0]["treatment"] == "descent"


def test_what_has_rows_of_the_leader_is_left_to_the_homotopy() -> None:
    game, _ = street(1.0, 1.0, 1, 12)
    game.model.most = pyo.Constraint(expr=game.model.home[3].u >= 0.2)
    plan = sp.stackelberg(sp.Game(game.model, followers=game.model.home))
    assert plan.report is not None
    assert plan.report.ok
    assert plan.value("home[3].u") >= 0.2 - 1e-8
    assert plan.log[0]["message"] == "the path was lost"
    assert plan.log[-1]["treatment"] not in ("descent", "central path")


def test_who_asks_for_several_starts_gets_them() -> None:
    plan = sp.stackelberg(cournot.build(40), starts=2)
    assert "descent" not in {entry["treatment"] for entry in plan.log}
