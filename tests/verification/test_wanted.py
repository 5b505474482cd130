"""What a cost says of an aggregate it says of the actions that move it: of those next to 0 in boxes far wider."""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.verification import reaches_wanted


def _market(
    kind: str, cost: Any, *, want: float = 2.0, wide: float = 1e9, unit: float = 1.0, count: int = 3, rate: float = 1.0
) -> sp.Game:
    """A leader who wants ``want`` of every follower, on their sum, in boxes far wider; ``kind``: how it is said."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-9, 9), initialize=0.0), pyo.Block(range(count))
    for block in m.f.values():
        block.u = pyo.Var(bounds=(0, wide * unit), initialize=want * unit)
        block.cost = pyo.Objective(expr=cost(block.u / unit))
    total = rate * sum(block.u / unit for block in m.f.values())
    if kind != "sum":
        m.q = pyo.Var(initialize=rate * count * want)
        m.define = pyo.Constraint(expr=m.q == total)
        total = m.q
    m.goal = pyo.Objective(expr=(total - rate * count * want) ** 2 + m.t**2)
    return sp.Game(m, followers=m.f, **({"aggregates": m.define} if kind == "declared" else {}))


def _square(u: Any) -> Any:
    return u**2


def _line(u: Any) -> Any:
    return 1e-3 * u


@pytest.mark.parametrize("kind", ["declared", "row", "sum"])
@pytest.mark.parametrize("cost", [_square, _line])
@pytest.mark.parametrize(("unit", "rate"), [(1.0, 1.0), (1e-5, 1.0), (1e4, -3.0)])
def test_two_of_a_billion_that_an_aggregate_wants_is_no_rounding(
    kind: str, cost: Any, unit: float, rate: float
) -> None:
    """Everybody wants 0 and is to play 2: a regret of cost(2), in any unit, however the leader writes what it wants."""
    game = _market(kind, cost, unit=unit, rate=rate)
    plan = sp.Plan.from_values(game)
    assert [plan.value(block.u) / unit for block in game.model.f.values()] == pytest.approx([2.0] * 3)
    report = sp.verify(plan)
    assert not report.ok
    assert (report.scale < 1e4 * cost(2.0)).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["declared", "row"])
def test_many_followers_are_told_as_few_are(kind: str) -> None:
    assert not sp.verify(sp.Plan.from_values(_market(kind, _line, count=120)), certify="convex").ok


@pytest.mark.slow
def test_a_leader_who_wants_every_action_tells_many_followers_too() -> None:
    """Slopes alone, read into arrays, know of no leader: 0.002 was small beside 1e-3 times a billion."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-9, 9), initialize=0.0), pyo.Block(range(120))
    for block in m.f.values():
        block.u = pyo.Var(bounds=(0, 1e9), initialize=2.0)
        block.cost = pyo.Objective(expr=1e-3 * block.u)
    m.goal = pyo.Objective(expr=sum((block.u - 2) ** 2 for block in m.f.values()) + m.t**2)
    assert not sp.verify(sp.Plan.from_values(sp.Game(m, followers=m.f)), certify="convex").ok


@pytest.mark.parametrize("kind", ["declared", "row", "sum"])
@pytest.mark.parametrize("unit", [1.0, 1e-5, 1e4])
def test_what_a_solver_left_next_to_a_bound_is_rounding_beside_what_the_aggregate_wants(kind: str, unit: float) -> None:
    """(Q − 25)² of 50 followers at 0.5 and one at 1e-8 of [0, 1]: nobody wants 1e-8."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-9, 9), initialize=0.0), pyo.Block(range(51))
    for k, block in m.f.items():
        block.u = pyo.Var(bounds=(0, unit), initialize=(0.5 if k else 1e-8) * unit)
        block.cost = pyo.Objective(expr=(block.u / unit - (0.5 if k else -0.5)) ** 2)
    total = sum(block.u / unit for block in m.f.values())
    m.q = pyo.Var(initialize=25.0)
    if kind != "sum":
        m.define = pyo.Constraint(expr=m.q == total)
    m.goal = pyo.Objective(expr=((total if kind == "sum" else m.q) - 25.0) ** 2 + m.t**2)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f, **({"aggregates": m.define} if kind == "declared" else {})))
    assert plan.value(m.f[0].u) == 0.0
    assert sp.verify(plan).ok


def test_a_followers_own_cost_tells_through_an_aggregate() -> None:
    """(Q − 2)² on [0, 1e9], Q its action: `from_values` does not put 2 on 0, and 2 is what it wants."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-9, 9), initialize=0.0), pyo.Block()
    m.f.u, m.q = pyo.Var(bounds=(0, 1e9), initialize=2.0), pyo.Var(initialize=2.0)
    m.define = pyo.Constraint(expr=m.q == m.f.u)
    m.f.cost = pyo.Objective(expr=(m.q - 2) ** 2)
    m.goal = pyo.Objective(expr=m.t**2)
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f, aggregates=m.define))
    assert plan.value(m.f.u) == 2.0
    assert sp.verify(plan).ok


@pytest.mark.parametrize("size", [1.0, 1e3])
def test_reaches_are_those_of_the_cost_with_the_sum_written_out(size: float) -> None:
    """The same to the step between two looks (10^¼), for one action and for those of several that share a want."""
    for count in (1, 4):
        reaches = []
        for kind in ("declared", "sum"):
            game = _market(kind, _square, want=2.0 * size, count=count)
            actions = [block.u for block in game.model.f.values()]
            levels = {id(v): v.value for v in game.variables_by_name.values()}
            told = reaches_wanted(game, [game.leader], actions, levels)
            reaches.append([told[id(v)] for v in actions])
        assert reaches[0] == pytest.approx(reaches[1], rel=0.8)
        assert 10 * size < min(reaches[0]) <= max(reaches[0]) < 100 * size
