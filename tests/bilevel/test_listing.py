"""Listing: what is left out is what is known, by patterns where conditions are affine and by distances where not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.bilevel import Equilibrium, Listing, Problem, conditions, face, pattern
from stackpyomo.solvers import Termination, registry

pytestmark = pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")


def coordination() -> tuple[sp.Game, list[Any]]:
    """u₀ = u₁ is best for both: equilibria (0, 0), (½, ½) and (1, 1)."""
    m = pyo.ConcreteModel()
    m.f = pyo.Block([0, 1])
    for k in (0, 1):
        m.f[k].u = pyo.Var(bounds=(0, 1))
    u = [m.f[k].u for k in (0, 1)]
    for k in (0, 1):
        m.f[k].cost = pyo.Objective(expr=0.5 * u[k] ** 2 - u[k] * (2 * u[1 - k] - 0.5))
    m.goal = pyo.Objective(expr=0)
    return sp.Game(m, m.f), u


@pytest.mark.parametrize("by_distance", [False, True])
def test_three_equilibria_and_then_none(by_distance: bool) -> None:
    game, u = coordination()
    kkt = conditions(game, list(game.followers.values()))
    patterns: list[tuple[bool, ...]] = []
    points: list[dict[int, float]] = []
    for _ in range(3):
        listing = Listing(
            () if by_distance else tuple(patterns), tuple(points) if by_distance else (), tuple(u), (0.1, 0.1)
        )
        exact = Equilibrium(Problem(0.0), kkt, listing, {})
        answer = exact.solve("scip", tight=True)
        assert answer.x is not None
        patterns.append(tuple(map(bool, pattern(exact, answer.x))))
        points.append(exact.program.levels(answer.x))
    seen = sorted([point[id(v)] for v in u] for point in points)
    np.testing.assert_allclose(seen, [[0, 0], [0.5, 0.5], [1, 1]], atol=1e-5)
    listing = Listing(
        () if by_distance else tuple(patterns), tuple(points) if by_distance else (), tuple(u), (0.1, 0.1)
    )
    assert Equilibrium(Problem(0.0), kkt, listing, {}).solve("scip", tight=True).termination is Termination.INFEASIBLE


def test_the_extent_of_a_pattern() -> None:
    """min (u₀ + u₁ − 1)² for both: u₀ + u₁ = 1, a segment of which each action sees [0, 1]."""
    m = pyo.ConcreteModel()
    m.f = pyo.Block([0, 1])
    for k in (0, 1):
        m.f[k].u = pyo.Var(bounds=(0, 1))
    for k in (0, 1):
        m.f[k].cost = pyo.Objective(expr=(m.f[0].u + m.f[1].u - 1) ** 2)
    m.goal = pyo.Objective(expr=0)
    game = sp.Game(m, m.f)
    kkt = conditions(game, list(game.followers.values()))
    plain = Equilibrium(Problem(0.0), kkt, None, {})
    inside = plain.point({id(m.f[0].u): 0.5, id(m.f[1].u): 0.5})
    u = [m.f[k].u for k in (0, 1)]
    segment = face(plain, inside, np.zeros(len(kkt.pairs), dtype=bool), u)
    dimension, ranges = segment.extent()
    assert dimension == 1
    assert ranges == {id(v): pytest.approx((0.0, 1.0), abs=1e-6) for v in u}
    near = dict.fromkeys(ranges, 1e-3)
    inside_it = [segment.holds(dict(zip(ranges, point, strict=True)), near) for point in ((0, 1), (0.3, 0.7), (1, 1))]
    assert inside_it == [True, True, False]


@pytest.mark.parametrize("unit", [1e-7, 1.0, 1e7])
def test_points_are_no_continuum_in_any_unit(unit: float) -> None:
    """½ u_i − u_1 u_2 on [0, 1]²: (0, 0), (½, ½) and (1, 1); in large units a slope is below what HiGHS keeps."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, 1), initialize=0.0), pyo.Block([1, 2])
    for i in m.f:
        m.f[i].u = pyo.Var(bounds=(0, unit), initialize=0.3 * unit)
    for i in m.f:
        m.f[i].cost = pyo.Objective(expr=0.5 * m.f[i].u / unit - m.f[1].u * m.f[2].u / unit**2)
    m.goal = pyo.Objective(expr=m.x**2)
    known = sp.nash(sp.Game(m, m.f), leader={"x": 0.0}, equilibrium="all")
    assert known.complete
    assert not known.continuum
    assert sorted(round(plan.value(m.f[1].u) / unit, 6) for plan in known) == [0.0, 0.5, 1.0]


def _two(widths: tuple[float, float], money: tuple[float, float], first: Any, second: Any) -> sp.Game:
    """Two followers with an action each, x and y in units of their boxes."""
    m = pyo.ConcreteModel()
    m.f = pyo.Block(range(2))
    for i, width in enumerate(widths):
        m.f[i].u = pyo.Var(bounds=(-5 * width, 5 * width))
    x, y = (m.f[i].u / width for i, width in enumerate(widths))
    m.f[0].cost = pyo.Objective(expr=money[0] * first(x, y))
    m.f[1].cost = pyo.Objective(expr=money[1] * second(x, y))
    m.goal = pyo.Objective(expr=0 * m.f[0].u)
    return sp.Game(m, followers=m.f)


@pytest.mark.parametrize("money", [(1.0, 1.0), (1e-6, 1e7), (1e-8, 1e-8), (1e8, 1e8)])
@pytest.mark.parametrize("widths", [(1.0, 1.0), (1e5, 1e-4), (1e-4, 1e5), (1e-3, 1e-3)])
def test_slopes_in_small_units_are_not_lost_beside_multipliers(
    widths: tuple[float, float], money: tuple[float, float]
) -> None:
    """(x − 1)² − 3 x y for both: the three points where both are at a bound, or at −2; none is a continuum."""
    game = _two(widths, money, lambda x, y: (x - 1) ** 2 - 3 * x * y, lambda x, y: (y - 1) ** 2 - 3 * x * y)
    known = sp.nash(game, equilibrium="all")
    assert not known.continuum
    points = sorted([plan.values[f"f[{i}].u"] / widths[i] for i in range(2)] for plan in known)
    np.testing.assert_allclose(points, [[-5, -5], [-2, -2], [5, 5]], atol=1e-4)


@pytest.mark.parametrize(("widths", "money"), [((1.0, 1.0), 1.0), ((1e4, 1e-3), 1e-5), ((1e-4, 1e4), 1e6)])
def test_first_order_points_of_a_cost_that_bends_down_are_no_continuum(
    widths: tuple[float, float], money: float
) -> None:
    """One flees from the other, who follows: every x = y is a first-order point, and none is an equilibrium."""
    game = _two(widths, (money, money), lambda x, y: -((x - y) ** 2), lambda x, y: (y - x) ** 2)
    known = sp.nash(game, equilibrium="all")
    assert not known.continuum
    assert not known.complete
    assert "no proof that a continuum of first-order points are equilibria" in known.reason
