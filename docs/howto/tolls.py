"""The task of the guide on studies: the best constant toll for a city that wants a share ``aim`` on its bridge."""

import pyomo.environ as pyo

import stackpyomo as sp


def toll(aim: float) -> dict[str, float]:
    """One row of the study: the toll, the flow under it, and what the driver could gain by another flow."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(-2, 2))
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1))
    m.driver.cost = pyo.Objective(expr=(m.driver.flow - 1) ** 2 + m.toll * m.driver.flow)
    m.miss = pyo.Objective(expr=(m.driver.flow - aim) ** 2 + 0.01 * m.toll**2)
    plan = sp.stackelberg(sp.Game(m, followers=m.driver))
    report = sp.verify(plan)
    return {
        "toll": round(plan.value(m.toll), 6),
        "flow": round(plan.value(m.driver.flow), 6),
        "regret": round(report.epsilon, 6),
    }
