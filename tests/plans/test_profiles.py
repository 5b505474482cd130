"""Pure equilibria of followers with integer actions, by enumeration."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest

import stackpyomo as sp


def entry() -> sp.Game:
    """Three firms enter or not: y_i (c_i − 2 − 10 + 3 Σ y) with c = 3, 4, 6: exactly two enter."""
    m = pyo.ConcreteModel()
    m.e = pyo.Block([1, 2, 3])
    for block in m.e.values():
        block.y = pyo.Var(domain=pyo.Binary)
    total = sum(block.y for block in m.e.values())
    for (_, block), cost in zip(m.e.items(), (3, 4, 6), strict=True):
        block.cost = pyo.Objective(expr=block.y * (cost - 2 - 10 + 3 * total))
    m.goal = pyo.Objective(expr=total)
    return sp.Game(m, followers=m.e)


def test_all_pure_equilibria_are_listed() -> None:
    equilibria = sp.nash(entry(), equilibrium="all")
    assert equilibria.complete
    listed = sorted([int(plan.values[f"e[{k}].y"]) for k in (1, 2, 3)] for plan in equilibria)
    assert listed == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert not sp.nash(entry(), equilibrium="all", limit=2).complete


def test_actions_that_are_not_whole_are_refused_by_name() -> None:
    game = entry()
    game.model.e[2].z = pyo.Var(bounds=(0, 1))
    with pytest.raises(sp.InvalidGame, match=r"e\[2\].z is a continuous variable among followers with integer actions"):
        sp.nash(game, equilibrium="all")
