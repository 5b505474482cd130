"""Examples: a game inside the package, so that ``stackpyomo demo`` needs no file."""

from __future__ import annotations

import pyomo.environ as pyo

from stackpyomo.games import Game

__all__ = ["STORY", "two_roads"]

STORY = (
    "A driver sends a share of the trips over a bridge, and would like all of them there. The city wants 60 % of them\n"
    "there and, for its own sake, no toll. A constant toll of 0 leaves the driver with a reason to depart from that\n"
    "plan; a toll that answers the flow makes the plan the driver's own best choice."
)


def two_roads() -> Game:
    """City (leader) against driver (follower), as in ``models/two_roads.py``: toll = 4/3 (flow − 0.6) by hand."""
    m = pyo.ConcreteModel(name="two_roads")
    m.toll = pyo.Var(bounds=(-2, 2))
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1))
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.toll * m.driver.flow)
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6) ** 2 + 0.01 * m.toll**2)
    return Game(m, followers=m.driver, name="two roads")
