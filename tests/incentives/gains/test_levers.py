"""Levers against arithmetic: temptations, pulls, slopes, levels of indifference, lists of integer actions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.core import undisturbed
from stackpyomo.derivatives import FollowerRows
from stackpyomo.games.information import read_observation
from stackpyomo.incentives.gains.levers import Lever, levers
from stackpyomo.incentives.gains.selection import Entries, Wishes


def lever(cost: Any, start: dict[str, float], *, whole: bool = True, row: Any = None) -> Lever:
    """Of a follower of actions a ∈ {0 … 3}, b ∈ [0, 4] and a leader's u."""
    m = pyo.ConcreteModel()
    m.u = pyo.Var(initialize=start["u"])
    m.f = pyo.Block()
    m.f.a = pyo.Var(bounds=(0, 3), initialize=start["a"], domain=pyo.Integers if whole else pyo.Reals)
    m.f.b = pyo.Var(bounds=(0, 4), initialize=start["b"], domain=pyo.Integers if whole else pyo.Reals)
    if row is not None:
        m.f.row = pyo.Constraint(expr=row(m))
    m.f.cost = pyo.Objective(expr=cost(m))
    m.wish = pyo.Objective(expr=m.u**2)
    game = sp.Game(m, followers=m.f)
    with undisturbed():
        design = Entries(FollowerRows(game), Wishes(read_observation(game, "actions")))
        return levers(design, game.current_values())["f"]


START = {"u": 0.5, "a": 1.0, "b": 2.0}


def test_an_affine_row() -> None:
    """J = a² + 2b + u(a + 3): p(v) = a + 3, r(v) = J* − J(u*, v)."""
    one = lever(lambda m: m.f.a**2 + 2 * m.f.b + m.u * (m.f.a + 3), START)
    assert one.is_affine
    assert one.cost == pytest.approx(7.0)
    row = one.row(np.array([3.0, 0.0]), np.array([False]))
    np.testing.assert_allclose(row.gain, [[6.0 * 2.0, 6.0 * -2.0]])
    assert row.level == row.temptation == pytest.approx(7.0 - 12.0)
    free = one.row(np.array([3.0, 0.0]), np.array([True]))
    np.testing.assert_allclose(free.offsets, [2.0])
    assert free.level == pytest.approx(-5.0 + 2.0 * 0.5)


def test_a_level_of_indifference() -> None:
    """exp(u) rises with u: the row is K d ≥ log(J* − cost) − u*; where no u reaches J*, there is none."""
    one = lever(lambda m: m.f.a + pyo.exp(m.u), {**START, "u": 0.0})
    assert (one.is_affine, one.direction, one.is_linear) == (False, 1, True)
    row = one.row(np.array([0.0, 2.0]), np.array([False]))
    assert row.level == pytest.approx(math.log(2.0))
    np.testing.assert_allclose(row.gain, [[-1.0, 0.0]])
    assert one.row(np.array([3.0, 2.0]), np.array([False])).level == -math.inf
    assert lever(lambda m: m.f.a + (m.u - 1) ** 2, START).is_linear is False


def test_what_it_can_do_is_a_list_of_whole_numbers() -> None:
    one = lever(lambda m: m.f.a * m.u, START, row=lambda m: m.f.a + m.f.b <= 3)
    assert one.listed is not None
    points, seen = one.listed
    assert len(points) == 4 + 3 + 2 + 1 - 1  # the plan is left out
    np.testing.assert_allclose(seen, points - [1.0, 2.0])
    costs = one.costs(np.array([[1.0, 0.0]]), np.array([0.5]))
    np.testing.assert_allclose(costs, points[:, 0] * (0.5 + points[:, 0] - 1.0))
    assert lever(lambda m: m.f.a * m.u, START, whole=False).listed is None
    coupled = lever(lambda m: m.f.a * m.u, START, row=lambda m: m.f.a <= 3 + m.u)
    assert coupled.coupled
    assert coupled.listed is None


def test_first_order_rows_lean_on_what_is_active() -> None:
    """At b = 4, its bound, the slope may be negative: a + K + λ = 0 with λ ≥ 0."""
    one = lever(lambda m: m.f.a**2 - 3 * m.f.b + m.u, {"u": 0.0, "a": 1.0, "b": 4.0}, whole=False)
    first, second = one.stationary(np.array([False]))
    assert (first.level, first.sides) == (pytest.approx(-2.0), {})
    assert (second.level, second.sides) == (pytest.approx(3.0), {0: 1.0})
    np.testing.assert_allclose(first.gain, [[1.0, 0.0]])
    assert list(lever(lambda m: m.f.a + m.u, START).stationary(np.array([False]))) == []


@pytest.mark.parametrize("regret", [None, "least"])
def test_a_cost_without_a_derivative_is_refused_by_name(regret: str | None) -> None:
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(-2, 2), initialize=0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 1), initialize=0.6)
    m.f.cost = pyo.Objective(expr=pyo.Expr_if(m.f.u >= 0.5, (m.f.u - 1) ** 2, 0.25) + m.t * m.f.u)
    m.wish = pyo.Objective(expr=(m.f.u - 0.6) ** 2 + 0.01 * m.t**2)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    with pytest.raises(sp.InvalidGame, match="f: its cost has no symbolic derivative"):
        sp.affine_incentive(plan, **({} if regret is None else {"regret": regret}))
