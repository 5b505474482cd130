"""A toll that steers a driver between two roads: the smallest incentive Stackelberg game.

A driver sends the share ``flow`` of the trips over a bridge, the rest by the ring road, and left
alone would take the bridge. The city wants 60 % on it and no toll, or rebate, for its own sake:
flow = 0.6 at toll = 0. A constant toll of 0 puts everybody on the bridge; toll = 4/3 (flow − 0.6)
does not: ∂cost/∂flow = −0.8 and ∂cost/∂toll = 0.6 at the plan, and −(−0.8)/0.6 = 4/3.
"""

import pyomo.environ as pyo

import stackpyomo as sp

EXPECTED = {"leader_objective": 0.0, "toll": 0.0, "driver.flow": 0.6, "gain": 4 / 3}


def build() -> sp.Game:
    """City (leader) against driver (follower)."""
    m = pyo.ConcreteModel(name="two_roads")
    m.toll = pyo.Var(bounds=(-2, 2))
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1))
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.toll * m.driver.flow)
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6) ** 2 + 0.01 * m.toll**2)
    return sp.Game(m, followers=m.driver, name="two roads")
