"""Bounds on all gains and limits of ever larger ones, against closed forms and searches over (c, K) by SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.optimize import minimize

import stackpyomo as sp

THETA, WEIGHT = np.array([1.0, 2.0, 4.0]), np.array([0.5, 0.25, 0.25])


@pytest.mark.slow
def test_one_tariff_is_the_best_of_all_gains() -> None:
    """Types who answer u = (θ − c)/(1 + 2K), a leader who wants 1 of each: (c, K) by a search from 20 starts."""
    m = pyo.ConcreteModel()
    m.toll, m.f = pyo.Var(range(3), bounds=(-20, 20), initialize=0), pyo.Block(range(3))
    for block, theta, toll in zip(m.f.values(), THETA.tolist(), m.toll.values(), strict=True):
        block.u = pyo.Var(bounds=(-20, 20), initialize=1)
        block.cost = pyo.Objective(expr=block.u**2 / 2 - theta * block.u + toll * block.u)
    parts = [w * ((b.u - 1) ** 2 / 2 + t**2 / 2) for w, b, t in zip(WEIGHT, m.f.values(), m.toll.values(), strict=True)]
    m.goal = pyo.Objective(expr=sum(parts))
    game = sp.Game(m, followers=m.f)
    rule = sp.optimal_rule(game, [(m.toll[i], [m.f[i].u]) for i in range(3)], common=["toll"])

    def missed(line: Any) -> float:
        if 1 + 2 * line[1] < 1e-6:
            return 1e3
        u = (THETA - line[0]) / (1 + 2 * line[1])
        return float(WEIGHT @ ((u - 1) ** 2 + (line[0] + line[1] * u) ** 2) / 2)

    random, fine = np.random.default_rng(0), {"xatol": 1e-10, "fatol": 1e-14}
    ends = [minimize(missed, random.normal(size=2), method="Nelder-Mead", options=fine).fun for _ in range(20)]
    assert rule.plan.leader_objective == pytest.approx(min(ends), abs=1e-7)
    assert rule.standing is not None
    assert (rule.plan.quality, rule.standing.free) == ("optimal", True)
    assert rule.plan.bound == pytest.approx(min(ends), abs=1e-5)
    assert "proved: the best of all affine rules" in str(rule)


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "most"), [(1, 20.0), (-1, 20.0), (1, 2.0)])
def test_curvature_binds_whatever_the_gain(sign: int, most: float) -> None:
    """J = ½u² − pu, J0 = ½(u − 2.4)² + ½p²: V(K) = 2.88 (1 − K)²/(1 + (1 − K)²) where 1 − 2K ≥ 0, so 0.576 at K = ½."""
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var(bounds=(-2000, 2000), initialize=0), pyo.Block()
    m.f.u = pyo.Var(bounds=(-most, most), initialize=1)
    sense = pyo.minimize if sign > 0 else pyo.maximize
    m.f.cost = pyo.Objective(expr=sign * (m.f.u**2 / 2 - m.p / 100 * m.f.u), sense=sense)
    m.goal = pyo.Objective(expr=sign * ((m.f.u - 2.4) ** 2 / 2 + (m.p / 100) ** 2 / 2), sense=sense)
    rule = sp.optimal_rule(sp.Game(m, followers=m.f))
    assert sign * rule.plan.leader_objective == pytest.approx(0.576, abs=1e-6)
    assert rule.gain.iloc[0, 0] == pytest.approx(50.0, rel=1e-5)
    assert rule.standing is not None
    assert (rule.plan.quality, rule.standing.free, sp.verify(rule).ok) == ("optimal", True, True)


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "sense"), [(1.0, 1), (1e3, -1), (1e-3, 1)])
@pytest.mark.parametrize(("most", "box"), [(50.0, 5.0), (1e3, 50.0)])
def test_what_ever_larger_gains_tend_to(most: float, box: float, unit: float, sense: int) -> None:
    """J = ½(u − 1)² + pu wants 1, the leader 0, where p u has no slope in p: V(κ) falls like 1/κ², and to 0.

    Beside what p could cost within wide bounds that is less than a proof's gap: no rule is the best for it.
    """
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var(bounds=(-most / unit, most / unit), initialize=0), pyo.Block()
    m.f.u = pyo.Var(bounds=(-box, box), initialize=0.5)
    m.f.cost = pyo.Objective(expr=sense * ((m.f.u - 1) ** 2 / 2 + unit * m.p * m.f.u), sense=sense)
    m.goal = pyo.Objective(expr=sense * (m.f.u**2 / 2 + (unit * m.p) ** 2 / 2), sense=sense)
    rule = sp.optimal_rule(sp.Game(m, followers=m.f))
    kappa = unit * float(rule.gain.iloc[0, 0])
    # u − 1 + p + K u = 0 on p = c + K u: least of ½u² + ½p² on the line (1 + K) u + p = 1
    assert sense * rule.plan.leader_objective == pytest.approx(0.5 / (1 + (1 + kappa) ** 2), rel=1e-6, abs=1e-8)
    assert rule.standing is not None
    assert rule.standing.infimum == pytest.approx(0.0, abs=1e-9)
    assert rule.standing.nearest
    assert rule.plan.attained is False
    assert sp.Incentive.from_json(rule.to_json(), rule.game).standing == rule.standing


def test_what_is_not_told_without_bounds() -> None:
    """Of a follower with a curved row the conditions need not hold: nothing is said beyond the bounds of the gain."""
    m = pyo.ConcreteModel()
    m.p, m.a, m.b = pyo.Var(bounds=(-20, 20), initialize=0), pyo.Block(), pyo.Block()
    for block, (h, theta) in ((m.a, (1.0, 4.0)), (m.b, (2.0, 3.0))):
        block.u = pyo.Var(bounds=(-5, 5), initialize=0)
        block.cost = pyo.Objective(expr=h * block.u**2 / 2 - theta * block.u + m.p * block.u)
    m.a.ball = pyo.Constraint(expr=m.a.u**2 <= 20)
    m.goal = pyo.Objective(expr=((m.a.u - 1) ** 2 + (m.b.u - 1) ** 2) / 2 + m.p**2 / 10)
    rule = sp.optimal_rule(sp.Game(m, followers=[m.a, m.b]), [(m.a.u + m.b.u) / 2])
    assert rule.plan.leader_objective == pytest.approx(0.06357603062574153, abs=1e-6)
    assert rule.standing is not None
    assert not rule.standing.free
