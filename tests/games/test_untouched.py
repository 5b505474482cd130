"""The user's expressions stay as they are: Pyomo's sums share their lists of terms, and ours must not grow theirs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp

KKT = pyo.TransformationFactory("stackpyomo.kkt")


def lengths(model: Any) -> list[int]:
    """How many terms every node of every expression holds, those that only its list knows included."""
    return [len(node._args_) for e in expressions(model) for node in nodes(e)]


def expressions(model: Any) -> Iterator[Any]:
    for component in model.component_data_objects((pyo.Objective, pyo.Constraint, pyo.Expression)):
        yield component.expr


def nodes(expression: Any) -> Iterator[Any]:
    stack = [expression]
    while stack:
        node = stack.pop()
        if hasattr(node, "_args_"):
            yield node
            stack += list(node.args)


def game() -> sp.Game:
    """Everything a sum: objectives, rows, aggregates, named expressions."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(-3, 3), initialize=0.5)
    m.mean = pyo.Var(initialize=0.5)
    m.f = pyo.Block(range(2))
    for i in range(2):
        m.f[i].u = pyo.Var(bounds=(0, 4), initialize=0.5)
        m.f[i].v = pyo.Var(bounds=(0, 4), initialize=0.5)
        m.f[i].work = pyo.Expression(expr=m.f[i].u ** 2 + m.f[i].v ** 2 + m.f[i].u * m.f[i].v)
        m.f[i].cap = pyo.Constraint(expr=m.f[i].u + 2 * m.f[i].v + m.f[i].u ** 2 <= 6 + i)
        m.f[i].tie = pyo.Constraint(expr=m.f[i].u - m.f[i].v + 0.1 * m.t >= -2)
        m.f[i].cost = pyo.Objective(
            expr=m.f[i].work - (2 + i) * m.f[i].u - m.f[i].v + m.t * m.f[i].u + m.t**2 + m.mean * m.f[i].v / 5
        )
    m.average = pyo.Constraint(expr=2 * m.mean == m.f[0].u + m.f[1].u)
    m.own = pyo.Constraint(expr=m.t + m.mean + m.t**2 <= 20)
    m.goal = pyo.Objective(expr=(m.t - 0.2) ** 2 + m.f[0].u ** 2 + (m.f[1].v - 0.5) ** 2 + m.mean)
    return sp.Game(m, followers=m.f, aggregates=m.average)


def designed(found: sp.Game) -> sp.Incentive:
    return sp.affine_incentive(sp.leader_optimal(found), multipliers="free")


DEEDS: dict[str, Callable[[sp.Game], Any]] = {
    "check": lambda g: g.check(),
    "leader_optimal": sp.leader_optimal,
    "stackelberg": sp.stackelberg,
    "stackelberg, scholtes": lambda g: sp.stackelberg(g, complementarity="scholtes"),
    "stackelberg, sos1": lambda g: sp.stackelberg(g, complementarity="sos1"),
    "nash": sp.nash,
    "pessimistic": lambda g: sp.pessimistic(sp.stackelberg(g)),
    "kkt": lambda g: KKT.create_using(g.model, followers=g.model.f, aggregates=g.aggregates),
    "verify a plan": lambda g: sp.verify(sp.leader_optimal(g)),
    "incentive": designed,
    "verify": lambda g: sp.verify(designed(g)),
    "words": lambda g: (str(designed(g)), designed(g).compare(sp.stackelberg(g))),
    "robustness": lambda g: designed(g).robustness(),
    "inducible": lambda g: sp.inducible(sp.leader_optimal(g)),
    "strategy": lambda g: designed(g).strategy(),
    "expand and collapse": lambda g: (g.expand(), g.collapse()),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_expressions_do_not_grow(deed: str) -> None:
    played = game()
    before = lengths(played.model)
    DEEDS[deed](played)
    assert lengths(played.model) == before
    gc.collect()
    twin = played.model.clone()
    assert str(twin.goal.expr) == str(played.model.goal.expr)
    for i in range(2):
        assert str(twin.f[i].cost.expr) == str(played.model.f[i].cost.expr)
