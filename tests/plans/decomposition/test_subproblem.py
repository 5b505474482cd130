"""Copies of bundles: implied bounds, least costs and proximal steps, by hand."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
from helpers.bundles import averaged

import stackpyomo as sp
from stackpyomo.plans.decomposition.partition import Partition
from stackpyomo.plans.decomposition.subproblem import Copy


def test_aggregates_lie_between_what_their_links_allow() -> None:
    """An aggregate without bounds of its own, 2000 Σ u with u in [0, 1], is held by these and not near a plan."""
    m = pyo.ConcreteModel()
    m.total = pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(4))
    for f in m.f.values():
        f.u = pyo.Var(bounds=(0, 1), initialize=0.0)
        f.cost = pyo.Objective(expr=f.u**2)
    m.sum = pyo.Constraint(expr=m.total == 2000 * sum(f.u for f in m.f.values()) + 5)
    m.goal = pyo.Objective(expr=-m.total)
    partition = Partition(sp.Game(m, followers=m.f, aggregates=[m.sum]), 2)
    low, high = Copy(partition, 0, "pounce").implied
    np.testing.assert_allclose([*low, *high], [5.0, 8005.0])


def test_least_costs_under_weights_that_add_up_to_nothing_bound_the_plan() -> None:
    """Σ_b min (F_b + w_b·x) / count is no more than the closed form, and meets it where the copies agree on prices."""
    game = averaged(6)
    partition = Partition(game, 2)
    first, second = (Copy(partition, b, "pounce") for b in range(2))
    random = np.random.default_rng(5)
    for size in (0.0, 0.1, 1.0):
        w = size * random.normal(size=len(first.x))
        bound = (first.least(w, first.point) + second.least(-w, second.point)) / 2
        assert bound <= game.metadata["optimum"] + 1e-7


def test_a_proximal_step_goes_to_its_center_where_that_costs_most() -> None:
    copy = Copy(Partition(averaged(6), 2), 0, "pounce")
    center = np.full(len(copy.x), -0.3)  # links of an average on the left side
    copy.move(np.zeros(len(center)), np.full(len(center), 1e6), center)
    assert copy.trouble is None
    np.testing.assert_allclose(copy.x, center, atol=1e-4)
