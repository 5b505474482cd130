"""Summaries: what is claimed of all followers together."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo

import stackpyomo as sp


def two_answers() -> sp.Game:
    """Two followers whose equilibrium is the only one under the formula, but not where t0 stops at its bounds."""
    m = pyo.ConcreteModel()
    m.f0, m.f1 = pyo.Block(), pyo.Block()
    t0, t1 = m.t0, m.t1 = pyo.Var(bounds=(-5, 5), initialize=-2.0), pyo.Var(initialize=-2.0)
    a, b = m.f0.a, m.f0.b = pyo.Var(bounds=(0, 3), initialize=1.34), pyo.Var(bounds=(-2, 3), initialize=3.0)
    c = m.f1.c = pyo.Var(bounds=(-2, 3), initialize=-1.74)
    m.goal = pyo.Objective(expr=a**2 + b**2 + c**2 + t0**2 + t1**2)
    m.f0.goal = pyo.Objective(
        expr=(a - 1.41) ** 2 + 1.63 * (b - 1.48) ** 2 + (t1 - 0.37 * a + 0.38) ** 2 - t0 * (0.78 * a + 4.26)
    )
    m.f1.goal = pyo.Objective(expr=(c - 1.27) ** 2 - 0.68 * t0 * (c + 3))
    return sp.Game(m, followers=[m.f0, m.f1])


def test_uniqueness_of_a_formula_is_not_claimed_where_its_answers_are_stopped() -> None:
    game = two_answers()
    rule = sp.affine_incentive(sp.Plan.from_values(game), multipliers="free", prefer="sparsest")
    report = sp.verify(rule)

    def costs(a: float, b: float, c: float) -> tuple[float, float]:
        answer = rule.actions({"f0.a": a, "f0.b": b, "f1.c": c})
        t0, t1 = max(-5.0, min(5.0, answer["t0"])), answer["t1"]
        first = (a - 1.41) ** 2 + 1.63 * (b - 1.48) ** 2 + 0.64 * t0 * a + (t1 - 0.37 * a + 0.38) ** 2
        return first - 1.42 * t0 * (a + 3), (c - 1.27) ** 2 - 0.68 * t0 * (c + 3)

    elsewhere = 0.0, 1.48, -0.43
    grid = [(a, b) for a in np.linspace(0, 3, 16) for b in np.linspace(-2, 3, 26)]
    assert min(costs(a, b, -0.43)[0] for a, b in grid) >= costs(*elsewhere)[0] - 1e-9
    assert min(costs(0.0, 1.48, c)[1] for c in np.linspace(-2, 3, 501)) >= costs(*elsewhere)[1] - 1e-9
    assert report.cut == ("t0",)
    assert report.unique is None
    assert "not shown unique: t0 stopped" in str(report)
