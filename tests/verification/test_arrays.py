"""Arrays: pieces at the leader's bounds, and rows that many feel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from helpers.array_games import tracking
from scipy import sparse

import stackpyomo as sp
from stackpyomo.games.information import Announcement, read_observation
from stackpyomo.verification import many, regret, resolved
from stackpyomo.verification.arrays import Layout
from stackpyomo.verification.effort import Effort


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "MANY", 1)


def induced(size: int) -> Any:
    """The same, at values that an affine incentive holds."""
    m = tracking(size)
    m.t.set_value(-0.4)
    for i in range(size):
        m.f[i].x.set_value(0.25 + 0.5 * i / size)
    return m


def test_the_model_is_left_alone() -> None:
    m = induced(120)
    before = [(v.name, v.value, v.stale, v.lb, v.ub) for v in m.component_data_objects(pyo.Var)]
    sp.verify(sp.affine_incentive(sp.Plan.from_values(sp.Game(m, m.f))))
    assert [(v.name, v.value, v.stale, v.lb, v.ub) for v in m.component_data_objects(pyo.Var)] == before


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("seed", range(4))
def test_pieces_at_the_leaders_bounds(seed: int) -> None:
    """Answers that are stopped: regrets as by substitution, although each follower has several problems."""
    m = induced(30)
    m.t.setlb(-0.45 - seed / 20)
    m.t.setub(-0.38 + seed / 20)
    rule = sp.affine_incentive(sp.Plan.from_values(sp.Game(m, m.f)))
    new = sp.verify(rule)
    old, _ = regret.examine(rule, Effort(together=False))
    assert new.cut == old.cut == ("t",)
    assert new.solver == "arrays"
    assert new.regret.to_numpy() == pytest.approx(old.regret.to_numpy(), abs=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("order", [["p", "q"], ["q", "p"]])
def test_pieces_are_in_the_leaders_order_whatever_an_action_moves_first(order: list[str]) -> None:
    """x moves q alone, y both: two variables that are stopped, and the witness compares piece with piece."""
    m = pyo.ConcreteModel()
    m.p, m.q = pyo.Var(bounds=(-0.5, 0.5), initialize=0.4), pyo.Var(bounds=(-0.6, 0.6), initialize=0.3)
    m.f = pyo.Block(range(12))
    for i in range(12):
        f = m.f[i]
        f.x, f.y = pyo.Var(bounds=(0, 3), initialize=0.4), pyo.Var(bounds=(-1, 3), initialize=0.8)
        f.cost = pyo.Objective(expr=(f.x - i / 12) ** 2 + f.y**2 + pyo.exp(m.p / 3 - f.x / 2) + m.q * f.x)
    m.goal = pyo.Objective(expr=m.p**2 + m.q**2)
    game = sp.Game(m, m.f)
    gain = np.tile([[0.0, 0.6], [-0.2, 0.7]], 12)[[["p", "q"].index(name) for name in order]]
    values = {name: v.value for name, v in game.variables_by_name.items()}
    signals = read_observation(game, "actions").signals
    announced = Announcement(values, math.nan, order, signals, sparse.csc_array(gain))
    new, old = (
        resolved(game, announced, set(game.followers), Effort(certify="convex", together=way)) for way in (True, False)
    )
    assert new.solver == "arrays"
    assert new.cut == old.cut == tuple(order)
    assert new.regret.to_numpy() == pytest.approx(old.regret.to_numpy(), abs=1e-8)


@pytest.mark.usefixtures("always")
def test_an_aggregate_that_the_leader_moves_too() -> None:
    """Cournot followers under a constant output of the leader: only answers that move an aggregate are left out."""
    m = pyo.ConcreteModel()
    m.q, m.total, m.f = pyo.Var(bounds=(0, 9), initialize=2.0), pyo.Var(initialize=5.0), pyo.Block(range(3))
    for i in range(3):
        m.f[i].q = pyo.Var(bounds=(0, 9), initialize=1.0)
        m.f[i].profit = pyo.Objective(expr=(10 - m.total) * m.f[i].q - (i + 1) * m.f[i].q, sense=pyo.maximize)
    m.sum = pyo.Constraint(expr=m.total == m.q + pyo.quicksum(m.f[i].q for i in range(3)))
    m.goal = pyo.Objective(expr=(10 - m.total) * m.q, sense=pyo.maximize)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, m.f, aggregates=[(m.total, m.sum)])))
    best = [(10 - 4 - (i + 1)) / 2 for i in range(3)]
    assert report.solver == "arrays"
    assert report.regret.to_numpy() == pytest.approx([(q - 1) ** 2 for q in best], abs=1e-9)


def crowded(seed: int, size: int = 30) -> Any:
    """A cap on all that is used, t among it, and one on the mean: two rows that everybody feels."""
    random = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    m.t, m.mean, m.f = pyo.Var(bounds=(-1, 1), initialize=0.3), pyo.Var(), pyo.Block(range(size))
    for f in m.f.values():
        f.x = pyo.Var(bounds=(0, 2), initialize=float(random.uniform(0.2, 0.8)))
        a = float(random.uniform(0, 1.5))
        f.cost = pyo.Objective(expr=(f.x - a) ** 2 + m.t * f.x + m.mean * f.x / 4)
    total = sum(f.x.value for f in m.f.values())
    m.mean.set_value(total / size)
    m.sum = pyo.Constraint(expr=m.mean == pyo.quicksum(f.x for f in m.f.values()) / size)
    used = pyo.quicksum((1 + k % 3) * f.x for k, f in m.f.items()) + m.t
    m.cap = pyo.Constraint(expr=used <= pyo.value(used) + 0.3)
    m.level = pyo.Constraint(expr=(0.1, m.mean + m.f[0].x / 9, total / size + 0.1))
    m.goal = pyo.Objective(expr=m.t**2)
    return m


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("seed", range(4))
def test_rows_that_many_feel_are_read_once(seed: int) -> None:
    """Regrets, scales and certificates as by substitution; where the leader answers in a row it is read for each."""
    m = crowded(seed)
    game = sp.Game(m, m.f, aggregates=[m.sum], shared=[m.cap, m.level])
    plan = sp.Plan.from_values(game)
    new = sp.verify(plan)
    old, _ = regret.examine(plan, Effort(together=False))
    assert set(Layout(game, plan.announcement).lines.number) == {id(m.cap), id(m.level)}
    assert len(many.settled(game, plan.announcement, game.followers, Effort())) >= 28
    assert list(new.certificate) == list(old.certificate)
    assert new.regret.max() > 1e-3
    assert new.regret.to_numpy() == pytest.approx(old.regret.to_numpy(), abs=1e-8)
    assert new.scale.to_numpy() == pytest.approx(old.scale.to_numpy(), rel=1e-6)
    answering = Layout(game, plan.announcement)
    answering.leaders, answering.gain = np.array([answering.column[id(m.t)]]), sparse.coo_array(np.ones((1, 30)))
    assert set(answering.lines.number) == {id(m.level)}
