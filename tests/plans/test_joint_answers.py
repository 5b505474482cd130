"""Joint answers: prices by merit order and linear programs, equilibria by enumeration of active sets and by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds
from scipy.optimize import linprog

import stackpyomo as sp
from stackpyomo.bilevel import Options
from stackpyomo.plans.joint_answers import JointFaces
from stackpyomo.plans.worst_answers import WorstEquilibria
from stackpyomo.solvers import registry

pytestmark = pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")

_APART = 1e-6


def market(seed: int, sense: int) -> tuple[sp.Game, Any]:
    """Plants with whole capacities, one of them the leader's choice within two whole numbers, and a whole demand."""
    random = np.random.default_rng(seed)
    size = int(random.integers(3, 6))
    costs, limits = random.permutation(np.arange(1, 12))[:size], random.integers(1, 4, size)
    low, high = 0.0, 6.0
    if random.random() < 0.5:  # a jump at an end of what the leader may choose
        low, high = map(float, sorted(random.choice(7, 2, replace=False)))
    demand = int(random.integers(1, limits[1:].sum() + 1))
    weight, slope = random.choice([-2, -1, 1, 2]), float(random.choice([-0.5, 0.25, 1.0]))
    m = pyo.ConcreteModel()
    m.x, m.price, m.k = pyo.Var(bounds=(low, high)), pyo.Var(), pyo.Block()
    m.k.y = pyo.Var(range(size), bounds=(0, None))
    paid = sum(float(c) * m.k.y[i] for i, c in enumerate(costs))
    m.k.cost = pyo.Objective(expr=sense * paid, sense=pyo.minimize if sense > 0 else pyo.maximize)
    m.k.balance = pyo.Constraint(expr=-demand == -sum(m.k.y.values()) if sense < 0 else sum(m.k.y.values()) == demand)
    m.k.mine = pyo.Constraint(expr=m.k.y[0] <= m.x)
    m.k.limit = pyo.Constraint(range(1, size), rule=lambda k, i: -k.y[i] >= -int(limits[i]))
    m.goal = pyo.Objective(expr=int(weight) * m.price + slope * m.x)

    def worst(x: float) -> float:
        """ψ(x): the price is anything between the marginal costs of a bit less demand and a bit more."""
        ends = [(0, x), *((0, limit) for limit in limits[1:])]
        levels = [linprog(costs, A_eq=np.ones((1, size)), b_eq=[demand + d], bounds=ends) for d in (-_APART, 0, _APART)]
        if levels[2].status:  # all plants run: the price has no limit above
            return np.inf if weight > 0 else weight * (levels[1].fun - levels[0].fun) / _APART + slope * x
        sides = [(levels[n + 1].fun - levels[n].fun) / _APART for n in (0, 1)]
        return float(max(weight * side for side in sides) + slope * x)

    points = [float(n) + d for n in range(7) for d in (-2 * _APART, 0, 2 * _APART)]
    return sp.Game(m, m.k, prices=[(m.price, m.k.balance)]), min(worst(x) for x in points if low <= x <= high)


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(12))
@pytest.mark.parametrize("sense", [1, -1])
def test_prices_by_merit_order(seed: int, sense: int) -> None:
    game, least = market(seed, 1)
    if sense < 0:  # the price of an objective with the other sign, of a row with the other sign: the same
        game = market(seed, -1)[0]
    plan = sp.stackelberg(game, ties="pessimistic")
    assert plan.bound == pytest.approx(least, abs=1e-4)
    assert plan.leader_objective == pytest.approx(least, abs=1e-2)
    assert (plan.quality == "optimal") == (plan.attained is True)


def duopoly(seed: int) -> tuple[sp.Game, Any]:
    """Two or three followers whose slopes M y + q + x s are monotone and have a kernel, so that answers tie."""
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 4))
    root = random.integers(-1, 2, (1, count))
    turn = random.integers(-1, 2, (count, count)) * int(random.integers(2))
    matrix = (root.T @ root + turn - turn.T).astype(float)
    base, moved = random.integers(-2, 3, count).astype(float), random.integers(-1, 2, count).astype(float)
    worth, slope = random.integers(-2, 3, count).astype(float), float(random.integers(-1, 2))
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, 1)), pyo.Block(range(count))
    for follower in m.f.values():
        follower.y = pyo.Var(bounds=(0, 1))
    y = [follower.y for follower in m.f.values()]
    for i, follower in enumerate(m.f.values()):
        others = sum(matrix[i, j] * y[j] for j in range(count) if j != i)
        follower.cost = pyo.Objective(expr=matrix[i, i] / 2 * y[i] ** 2 + (others + base[i] + moved[i] * m.x) * y[i])
    m.goal = pyo.Objective(expr=sum(w * v for w, v in zip(worth, y, strict=True)) + slope * m.x)

    def worst(x: float) -> float:
        """ψ(x) over all patterns of active bounds."""
        levels = []
        for pattern in itertools.product((0, 1, 2), repeat=count):
            signs = np.array([{0: -1.0, 1: 0.0, 2: 1.0}[side] for side in pattern])
            inner, outer = signs == 0, signs != 0
            ends = [(0.0, 0.0) if s < 0 else (1.0, 1.0) if s > 0 else (0.0, 1.0) for s in signs]
            equal = {"A_eq": matrix[inner], "b_eq": -(base + x * moved)[inner]} if inner.any() else {}
            rows = {"A_ub": (signs[:, None] * matrix)[outer], "b_ub": -(signs * (base + x * moved))[outer]}
            found = linprog(-worth, **equal, **(rows if outer.any() else {}), bounds=ends)
            levels += [slope * x - found.fun] if found.status == 0 else []
        return max(levels)

    return sp.Game(m, m.f), worst


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(16))
def test_followers_who_feel_each_other_by_enumeration(seed: int) -> None:
    game, worst = duopoly(seed)
    plan = sp.stackelberg(game, ties="pessimistic")
    points = np.unique(np.concatenate([np.linspace(0, 1, 61), np.linspace(0, 1, 61) + 1e-5, [1 - 1e-5]]))
    levels = [worst(x) for x in points[points <= 1]]
    assert plan.bound <= min(levels) + 1e-6
    assert plan.bound == pytest.approx(min(levels), abs=0.02)  # a grid is not the infimum
    assert plan.leader_objective == pytest.approx(worst(plan.value("x")), abs=1e-3)


def test_what_is_not_monotone_is_not_written() -> None:
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, 1)), pyo.Block([1, 2])
    for follower in m.f.values():
        follower.y = pyo.Var(bounds=(0, 1))
    for follower in m.f.values():  # both want to be where the other is: the slopes fall in the sum's opposite
        follower.cost = pyo.Objective(expr=-m.f[1].y * m.f[2].y + m.x * follower.y)
    m.goal = pyo.Objective(expr=m.f[1].y)
    game = sp.Game(m, m.f)
    assert JointFaces.of(WorstEquilibria(game, list(game.followers.values()), Options())) is None


@pytest.mark.slow
def test_rows_of_the_leader_hold_for_every_price() -> None:
    """At x = 5 the price is in [1, 3], beyond it 1: a leader who may not see 2 has x > 5, and comes near 5."""
    for most in (4.0, 2.0):
        m = pyo.ConcreteModel()
        m.x, m.price, m.k = pyo.Var(bounds=(5, 10)), pyo.Var(), pyo.Block()
        m.k.y = pyo.Var([1, 2], bounds=(0, None))
        m.k.cost = pyo.Objective(expr=m.k.y[1] + 3 * m.k.y[2])
        m.k.balance = pyo.Constraint(expr=m.k.y[1] + m.k.y[2] == 5)
        m.k.room = pyo.Constraint(expr=m.k.y[1] <= m.x)
        m.ceiling = pyo.Constraint(expr=m.price <= most)
        m.goal = pyo.Objective(expr=m.x - m.price / 100)
        plan = sp.stackelberg(sp.Game(m, m.k, prices=[(m.price, m.k.balance)]), ties="pessimistic")
        assert plan.leader_objective == pytest.approx(4.99, abs=1e-3)
        assert plan.attained is (most == 4.0)
        assert plan.warnings == []  # at 5 the price is the worst of them: nothing is hoped for
