"""Conditions in arrays: the same rows, at random points, as differentiated by Pyomo follower by follower."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from models import cournot
from stackpyomo.bilevel.array_conditions import array_equilibrium
from stackpyomo.bilevel.conditions import conditions
from stackpyomo.bilevel.mpcc import Equilibrium
from stackpyomo.plans.problems import leading_problem


def growers(size: int = 5, sense: int = 1) -> sp.Game:
    """Unlike followers of two actions who feel an average, with bounds and rows of every kind."""
    m = pyo.ConcreteModel()
    m.p, m.mean = pyo.Var(bounds=(0, 3), initialize=1.0), pyo.Var(initialize=0.3)
    m.scale = pyo.Param(initialize=4.0, mutable=True)
    m.f = pyo.Block(range(size))
    for i, b in m.f.items():
        b.x, b.y = pyo.Var(bounds=(0, 2), initialize=0.4), pyo.Var(bounds=(None, 3), initialize=0.3)
        gain = pyo.log(1 + b.x) * (2 + i) + b.y * m.mean - b.y**2 / (1 + m.p) - pyo.exp(b.x * b.y / m.scale)
        b.cost = pyo.Objective(expr=-sense * (gain - m.p * b.x**1.5), sense=sense)
        b.above = pyo.Constraint(expr=b.x + 2 * b.y <= 2 + i / 10)
        b.between = pyo.Constraint(expr=pyo.inequality(-1, b.x - b.y * m.p, 1))
        b.curved = pyo.Constraint(expr=b.x**2 + b.y**2 <= 4)
        if i % 2:
            b.equal = pyo.Constraint(expr=b.x + pyo.sqrt(1 + b.y) == 1.5)
    m.average = pyo.Constraint(expr=m.mean == pyo.quicksum(b.x + b.y / 2 for b in m.f.values()) / size)
    m.goal = pyo.Objective(expr=(m.mean - 0.5) ** 2 - m.p * m.mean)
    return sp.Game(m, followers=m.f, aggregates=[m.average])


def rows(equilibrium: Equilibrium, x: Any) -> tuple[Any, Any]:
    """(values less their limits, Jacobian) in the order of the conditions' relations."""
    program = equilibrium.program
    order = np.argsort(program.rows)
    return (program.problem.constraints(x) - program.row_bounds[0])[order], program.jacobian(x).toarray()[order]


@pytest.mark.parametrize("game", [growers(), growers(4, -1), cournot.build(6)], ids=["costs", "profits", "cournot"])
@pytest.mark.parametrize("some", [None, 2])
def test_rows_are_those_of_pyomos_derivatives(game: sp.Game, some: int | None) -> None:
    """All respond, or all but the first two, in reverse order."""
    followers = list(game.followers.values())[:some:-1] if some else list(game.followers.values())
    problem = leading_problem(game, {f.name for f in followers})
    arrays = array_equilibrium(game, followers, problem, {}, [])
    assert arrays is not None
    text = Equilibrium(problem, conditions(game, followers), None, {})
    known = {id(v): v for v in game.variables_by_name.values()}
    same = dict(zip(known, known, strict=True))
    mine, theirs = arrays.conditions, text.conditions
    for one, other in zip(mine.pairs, theirs.pairs, strict=True):
        assert (one.follower, one.component, one.side) == (other.follower, other.component, other.side)
        same[id(one.multiplier)] = id(other.multiplier)
        if one.slack.is_variable_type() and id(one.slack) not in known:
            same[id(one.slack)] = id(other.slack)
    for key, terms in mine.signed.items():
        same |= {id(a): id(b) for (a, _), (b, _) in zip(terms, theirs.signed[key], strict=True)}
    place = {id(v): i for i, v in enumerate(text.program.variables)}
    order = np.array([place[same[id(v)]] for v in arrays.program.variables])
    assert len(order) == len(place)
    random = np.random.default_rng(3)
    for _ in range(4):
        x = random.uniform(0.2, 1.5, len(order))
        y = np.empty(len(x))
        y[order] = x
        (value, slope), (wanted, steep) = rows(arrays, x), rows(text, y)
        np.testing.assert_allclose(value, wanted, atol=1e-12)
        np.testing.assert_allclose(slope, steep[:, order], atol=1e-12)
        assert arrays.residuals(x) == pytest.approx(text.residuals(y), rel=1e-6)


def test_what_arrays_do_not_hold_is_none() -> None:
    game = growers(3)
    followers, m = list(game.followers.values()), game.model
    problem = leading_problem(game, set(game.followers))
    m.f[0].cost.expr = m.f[0].cost.expr + abs(m.f[0].x - 1)
    assert array_equilibrium(game, followers, problem, {}, []) is None

    def cap(m: Any) -> Any:
        return m.f[1].x + m.f[2].x <= 2

    other = growers(3)
    other.model.cap = pyo.Constraint(rule=cap)
    shared = sp.Game(other.model, other.model.f, aggregates=[other.model.average], shared=[other.model.cap])
    problem = leading_problem(shared, set(shared.followers))
    assert array_equilibrium(shared, list(shared.followers.values()), problem, {}, []) is None
