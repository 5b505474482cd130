"""Natural units: what a global solver closes in one unit it closes in all."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.repn import generate_standard_repn

import stackpyomo as sp
from stackpyomo.solvers import Program, Termination, free_row, registry, solve
from stackpyomo.solvers.twins import twin


@pytest.mark.parametrize("money", [1e-8, 1e-7, 1.0, 1e8])
def test_a_bound_is_closed_whatever_a_follower_counts_in(money: float) -> None:
    """The driver's slope is a sum of small numbers, which SCIP takes for nothing where they are divided together."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var([0, 1], bounds=(0, None), initialize=1.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-2, 3), initialize=1.0)
    u = m.f.u
    cost = 1.79 * (u + 1.65) ** 2 + (m.t[0] + 1.88 * u + 0.22) ** 2 + pyo.exp(1.69 * m.t[1] + 0.41 * u) + 1.84 * u**2
    m.f.cost = pyo.Objective(expr=money * cost)
    m.goal = pyo.Objective(expr=0.56 * (u - 0.18) ** 2 + 0.125 * (m.t[0] - 0.06) ** 2 + 0.159 * (m.t[1] - 0.875) ** 2)
    plan = sp.stackelberg(sp.Game(m, m.f))
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(0.29743133, abs=1e-6)


def test_every_term_of_a_sum_is_in_natural_units() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], bounds=(0, 2), initialize=1.0)
    natural = twin(Program(m.x[0] ** 2, [free_row(3e-9 * m.x[0] + 5e-9 * m.x[1], None, 4e-9)]), exact=True)
    assert natural is not None
    (row,) = natural.program.model.rows.values()
    sizes = generate_standard_repn(row.body).linear_coefs
    assert all(0.1 < size < 10.0 for size in sizes)
    assert sizes[1] / sizes[0] == pytest.approx(5.0 / 3.0)


@pytest.mark.parametrize("unit", [1.0, 1e-7])
def test_a_multiplier_that_no_row_holds_leaves_its_slack_free(unit: float) -> None:
    """One of (x, y), one of (x, z), z in no row: y = 0 and x = 2, though what z is nobody writes."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(["x", "y", "z"], bounds=(0, 5 * unit), initialize=unit)
    rows = [free_row(m.x["x"] + m.x["y"], 2 * unit, None)]
    program = Program(
        m.x["x"] + 3.0 * m.x["y"], rows, sets=[(m.x["x"], m.x["y"]), (m.x["x"], m.x["z"])]
    )  # fmt: skip
    solution = solve(program, "scip")
    assert solution.x == pytest.approx([2 * unit, 0.0], abs=1e-9 * unit)


@pytest.mark.parametrize("unit", [1e-8, 1e-3, 1.0, 1e5, 1e8])
@pytest.mark.parametrize("solver", ["pounce", "highs", "scip"])
def test_a_solver_gets_natural_units(solver: str, unit: float) -> None:
    """min (x − 3)² + y under x + y ≥ 1, 0 ≤ x, y ≤ 10: x = 3, y = 0; x in one unit, y and the row in others."""
    if not registry[solver].available:
        pytest.skip(f"needs {solver}")
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0, 10 * unit), initialize=unit), pyo.Var(bounds=(0, 10 / unit), initialize=1 / unit)
    x, y = m.x / unit, m.y * unit
    made = Program(unit * ((x - 3) ** 2 + y), [unit**2 * (x + y) >= unit**2, (x + 2 * y) / unit <= 9 / unit])
    solution = solve(made, solver)
    found = dict(zip([v.name for v in made.variables], solution.x, strict=True))
    assert found["x"] / unit == pytest.approx(3.0, abs=1e-4)
    assert found["y"] * unit == pytest.approx(0.0, abs=1e-4)
    assert (twin(made, exact=False) is None) == (unit == 1.0), "numbers near 1 stay as they are"


@pytest.mark.parametrize(("seed", "most"), [(12, 9.0), (3, 11.0)])
def test_an_answer_that_is_lost_in_natural_units_is_looked_for_as_written(seed: int, most: float) -> None:
    """A chain of lines with susceptances of 1 to 1e11, fed at both ends: in natural units HiGHS takes the small entries
    for nothing, and the rest has no point. All is fed at the cheaper end, so that it costs the demand."""
    random = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    m.q = pyo.Var(range(2), bounds=(0, 100), initialize=1.0)
    m.t = pyo.Var(range(10))
    flow = [s * (m.t[i] - m.t[i + 1]) for i, s in enumerate(10.0 ** random.uniform(0, most, 9))]
    demand = random.uniform(1, 5, 10)
    fed = [m.q[0], *[0.0] * 8, m.q[1]]
    rows = [m.t[0] == 0.0]
    for i, use in enumerate(demand):
        rows.append(fed[i] + (flow[i - 1] if i else 0.0) - (flow[i] if i < 9 else 0.0) == use)
    program = Program(m.q[0] + 2 * m.q[1], rows)
    solution = solve(program, "highs")
    assert solution.termination.solved, solution.message
    assert program.problem.objective(solution.x) == pytest.approx(demand.sum(), rel=1e-6)


@pytest.mark.parametrize("money", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("width", [1e3, 1e7, 1e9, 1e12])
def test_a_box_that_is_there_to_have_one_costs_no_accuracy(width: float, unit: float, money: float) -> None:
    """In units of 1e9 an answer of 2 is known to 1 at best: it is solved once more in those that the answer tells."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, width * unit), initialize=0.0)
    m.y = pyo.Var(bounds=(0, 1), initialize=0.5)
    x = m.x / unit
    solution = solve(Program(money * ((x - 2) ** 2 + (x - 2) * (m.y - 0.25) + (m.y - 0.25) ** 2), []))
    assert solution.x is not None
    assert solution.x / [unit, 1.0] == pytest.approx([2.0, 0.25], abs=1e-4)


@pytest.mark.parametrize("unit", [1e-7, 1e-8])
def test_what_natural_units_refute_is_not_asked_of_numbers_that_are_dropped(unit: float) -> None:
    """4 · 10⁻⁵ x + y = 10⁻³, x ≥ 10², y ≥ 0, in far units: SCIP takes the coefficient of x, as written, for 0."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(1e2 / unit, 2e2 / unit)), pyo.Var(bounds=(0, None))
    program = Program(0.0, [4e-5 * unit * m.x + m.y == 1e-3])
    made = twin(program, exact=True)
    assert made is not None
    assert not made.is_rough
    assert solve(program, "scip").termination is Termination.INFEASIBLE


@pytest.mark.parametrize(
    ("most", "price", "action", "torn"), [(1e3, 1.0, 1.0, False), (1e3, 1e-7, 1e8, False), (1e12, 1.0, 1.0, True)]
)
def test_units_are_torn_apart_by_a_box_and_not_by_what_others_count_in(
    most: float, price: float, action: float, torn: bool
) -> None:
    """A cost of 2 beside a toll of up to 1e12, in one row; or tolls and actions that count in 1e-7 and 1e8."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=(0, most * price), initialize=0.0)
    m.y = pyo.Var(bounds=(0, action), initialize=0.0)
    m.shadow = pyo.Var(bounds=(0, 5 * most * price / action), initialize=0.0)
    natural = twin(Program(-m.t * m.y, [(2 * price + m.t) / action - m.shadow == 0]), exact=True)
    assert natural is not None
    assert natural.is_stretched == (torn or price != 1.0)
    assert natural.is_torn == torn
