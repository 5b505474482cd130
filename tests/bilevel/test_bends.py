"""Second-order rows: every best answer meets them, on random polynomials; peaks do not, and cost no round any more."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds

import stackpyomo as sp
from stackpyomo.bilevel.bends import bends


def one_action(cost: str, row: str = "", *, integer: bool = False) -> tuple[sp.Game, list[object]]:
    """A leader with x, a follower with y within [-1, 2] and perhaps a row; the rows for it."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(-1, 1), initialize=0.5), pyo.Block()
    m.f.y = pyo.Var(bounds=(-1, 2), initialize=0.5, domain=pyo.Integers if integer else pyo.Reals)
    scope = {"x": m.x, "y": m.f.y, "exp": pyo.exp}
    m.f.cost = pyo.Objective(expr=eval(cost, scope))
    if row:
        m.f.row = pyo.Constraint(expr=eval(row, scope))
    m.goal = pyo.Objective(expr=m.x + m.f.y)
    game = sp.Game(m, m.f)
    return game, list(bends(game.followers["f"], game.movers()))


@pytest.mark.parametrize("seed", seeds(200))
def test_every_best_answer_meets_them(seed: int) -> None:
    """Quartics with factors in x, at random x, with an affine row: the least of a fine grid, with its mesh to spare."""
    a, b, c, d, e, x = np.random.default_rng(seed).uniform(-2, 2, 6).round(2).tolist()
    x /= 2.0
    game, rows = one_action(f"{a}*y**4 + ({b})*y**3*x + ({c})*y**2 + ({d})*x*y", f"y - ({e})*x <= 1")
    grid = np.sort([*np.linspace(-1.0, 2.0, 6001), np.clip(1.0 + e * x, -1.0, 2.0)])
    cost = np.where(grid <= 1.0 + e * x, a * grid**4 + b * grid**3 * x + c * grid**2 + d * x * grid, np.inf)
    best = float(grid[cost.argmin()])
    game.variables_by_name["x"].set_value(x)
    game.variables_by_name["f.y"].set_value(best, skip_validation=True)
    assert len(rows) <= 1
    assert all(pyo.value(row.args[1]) >= -0.3 for row in rows)


@pytest.mark.parametrize(
    ("cost", "row", "count"),
    [
        ("-x*y**2", "", 1),
        ("y**4 - x*y**2", "y - x <= 1", 1),
        ("y**2 - x*y", "", 0),  # it bends up everywhere
        ("y**4", "", 0),
        ("-x*y**2", "y == x", 0),  # no way to move by itself
        ("-x*y**2", "y**2 <= 1 + x", 0),
        ("-exp(y)*x", "", 0),  # no polynomial
        ("3*y - x*y", "", 0),
    ],
)
def test_who_gets_a_row(cost: str, row: str, count: int) -> None:
    assert len(one_action(cost, row)[1]) == count


def test_whole_actions_get_none() -> None:
    assert not one_action("-x*y**2", integer=True)[1]


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
def test_peaks_cost_no_round(unit: float, sense: int) -> None:
    """x y²/2 + y⁴/4: below x = 0 the follower plays ±√−x, and 0 is a peak. (x + 1/2)² + y²/2 is least at x = −1/4."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(-1, 1)), pyo.Block()
    m.f.y = pyo.Var(bounds=(-unit, unit))
    y, sign = m.f.y / unit, 1.0 if sense == pyo.minimize else -1.0
    m.f.cost = pyo.Objective(expr=sign * (m.x * y**2 / 2 + y**4 / 4), sense=sense)
    m.goal = pyo.Objective(expr=(m.x + 0.5) ** 2 + y**2 / 2)
    plan = sp.stackelberg(sp.Game(m, m.f))
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(3 / 16, abs=1e-4)  # ε_f leaves the square root of it
    assert sum(entry["treatment"] == "deviations" for entry in plan.log) == 1


@pytest.mark.parametrize("cost", [3.0, 0])
def test_a_cost_that_is_a_number_bends_nowhere(cost: float) -> None:
    """Of two followers one counts nothing: it may play anything, and the leader takes what it likes best."""
    m = pyo.ConcreteModel()
    m.x, m.f, m.g = pyo.Var(bounds=(-1, 1), initialize=0.5), pyo.Block(), pyo.Block()
    m.f.y = pyo.Var(bounds=(-1, 2), initialize=0.5)
    m.g.y = pyo.Var(domain=pyo.Integers, bounds=(-1, 2), initialize=1)
    m.f.cost, m.g.cost = pyo.Objective(expr=cost), pyo.Objective(expr=(m.g.y - m.x) ** 2)
    m.goal = pyo.Objective(expr=m.x**2 + m.f.y + (m.g.y - 1) ** 2)
    game = sp.Game(m, [m.f, m.g])
    assert list(bends(game.followers["f"], game.movers())) == []
    plan = sp.stackelberg(game, proof_seconds=30)
    assert (plan.quality, plan.leader_objective) == ("optimal", pytest.approx(-0.75))  # x = 1/2: 0 and 1 tie
