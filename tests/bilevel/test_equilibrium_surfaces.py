"""Surfaces of equilibria: their dimension by counting, and what moves along them."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest

import stackpyomo as sp


def capped(wishes: list[float], cap: float) -> sp.Game:
    """Each would like its own wish; together they may have ``cap``."""
    m = pyo.ConcreteModel()
    m.goal = pyo.Objective(expr=0)
    m.f = pyo.Block(range(len(wishes)))
    for k, wish in enumerate(wishes):
        m.f[k].u = pyo.Var(bounds=(0, None))
        m.f[k].cost = pyo.Objective(expr=(m.f[k].u - wish) ** 2)
    m.cap = pyo.Constraint(expr=sum(m.f[k].u for k in m.f) <= cap)
    return sp.Game(m, m.f, shared=[m.cap])


@pytest.mark.parametrize("count", [2, 3, 4])
def test_pairs_minus_rows(count: int) -> None:
    """One active row felt by n followers: n − 1 directions, in which all of them move."""
    plan = sp.nash(capped([2.0] * count, 1.0))
    assert plan.selection is not None
    assert plan.selection.dimension == count - 1
    assert set(plan.selection.moving) == {f"f[{k}].u" for k in range(count)}


def test_a_row_with_room_makes_no_surface() -> None:
    plan = sp.nash(capped([1.0, 1.0], 3.0))
    assert plan.selection is not None
    assert plan.selection.dimension == 0
    assert plan.selection.moving == ()


@pytest.mark.parametrize(
    ("kind", "most", "end"), [("best", None, 0.5), ("worst", None, 1.0), ("worst", 0.6, 0.6), ("variational", 0.6, 0.6)]
)
def test_nothing_is_said_at_an_end_of_the_set(kind: str, most: float | None, end: float) -> None:
    """All (t, 1 − t), 1/2 ≤ t ≤ 1, are equilibria; at an end a multiplier is 0, or two make up for each other."""
    m = pyo.ConcreteModel()
    m.f = pyo.Block(range(2))
    for k, wish in enumerate((1.0, 0.5)):
        m.f[k].u = pyo.Var()
        m.f[k].cost = pyo.Objective(expr=(m.f[k].u - wish) ** 2)
    if most is not None:
        m.f[0].most = pyo.Constraint(expr=m.f[0].u <= most)
    m.cap = pyo.Constraint(expr=m.f[0].u + m.f[1].u <= 1)
    m.goal = pyo.Objective(expr=m.f[0].u)
    plan = sp.nash(sp.Game(m, m.f, shared=[m.cap]), equilibrium=kind)
    assert plan.value("f[0].u") == pytest.approx(end, abs=1e-6)
    assert plan.selection.dimension is None
