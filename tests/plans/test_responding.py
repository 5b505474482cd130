"""Followers who respond: closed forms, published figures, independent best responses, and what is claimed of them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from helpers.responders import SENSES, SOLVERS, attempt, bards_problem, concave_cost, objective, one_follower, split_set
from pyomo.core.expr.numeric_expr import NumericExpression
from scipy.optimize import minimize, minimize_scalar

import stackpyomo as sp
from stackpyomo.bilevel import PlanSearch
from stackpyomo.verification.batch import Separable

pytestmark = pytest.mark.usefixtures("unchanged")


# --- random games against enumeration ---------------------------------------------------------------------------------


def best_response(hessian: Any, slope: Any, rows: Any, limits: Any) -> Any:
    """min ½uᵀHu + slopeᵀu s.t. rows·u ≤ limits, H ≻ 0, by trying every active set."""
    size = len(slope)
    for count in range(size + 1):
        for active in itertools.combinations(range(len(rows)), count):
            a = rows[list(active)]
            system = np.block([[hessian, a.T], [a, np.zeros((count, count))]])
            if abs(np.linalg.det(system)) < 1e-9:
                continue
            answer = np.linalg.solve(system, np.concatenate([-slope, limits[list(active)]]))
            u, force = answer[:size], answer[size:]
            if (rows @ u <= limits + 1e-9).all() and (force >= -1e-9).all():
                return u
    raise AssertionError("infeasible")


@pytest.mark.parametrize("seed", range(6))
def test_random_quadratic_games_against_enumeration(seed: int) -> None:
    """Two actions in a box with two rows; the leader's cost along the best response is scanned on a fine grid."""
    random = np.random.default_rng(seed)
    root = random.normal(size=(2, 2))
    hessian = root @ root.T + 0.5 * np.eye(2)
    base, tilt = random.normal(size=2), 2 * random.normal(size=2)
    side, shift = random.normal(size=(2, 2)), random.normal(size=2)
    target = random.normal(size=3)
    leader_sense, follower_sense = random.choice(SENSES, 2)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-1, 1))
    m.f = pyo.Block()
    m.f.u = pyo.Var([0, 1], bounds=(-1, 1))
    u = [m.f.u[0], m.f.u[1]]
    cost = sum(float(hessian[i, j]) / 2 * u[i] * u[j] for i in (0, 1) for j in (0, 1))
    cost += sum((float(base[i]) + float(tilt[i]) * m.x) * u[i] for i in (0, 1))
    m.f.cost = objective(cost, int(follower_sense))
    m.f.rows = pyo.ConstraintList()
    for i in (0, 1):
        body = float(side[i, 0]) * u[0] + float(side[i, 1]) * u[1] - float(shift[i]) * m.x
        m.f.rows.add(body <= 1 if i else -body >= -1)
    goal = (m.x - float(target[0])) ** 2 / 4 + sum((u[i] - float(target[1 + i])) ** 2 for i in (0, 1))
    m.goal = objective(goal, int(leader_sense))
    game = sp.Game(m, m.f)
    rows = np.vstack([side, np.eye(2), -np.eye(2)])

    def answer(x: float) -> Any:
        return best_response(hessian, base + tilt * x, rows, np.concatenate([1 + shift * x, np.ones(4)]))

    def along(x: float) -> float:
        return (x - target[0]) ** 2 / 4 + float(((answer(x) - target[1:]) ** 2).sum())

    plan = sp.stackelberg(game)
    x = plan.value("x")
    assert [plan.value(v) for v in u] == pytest.approx(answer(x), abs=1e-5)
    assert leader_sense * plan.leader_objective == pytest.approx(along(x), abs=1e-5)
    grid = np.linspace(-1, 1, 401)
    costs = np.array([along(t) for t in grid])
    near = grid[costs.argmin()]
    fine = minimize_scalar(
        along, bounds=(max(-1, near - 0.01), min(1, near + 0.01)), method="bounded", options={"xatol": 1e-9}
    )
    best = min(costs.min(), float(fine.fun))
    assert plan.quality == "optimal"
    assert leader_sense * plan.leader_objective == pytest.approx(best, abs=1e-5)
    assert leader_sense * plan.bound <= best + 1e-5
    again = sp.nash(game, leader={"x": x})
    assert [again.value(v) for v in u] == pytest.approx(answer(x), abs=1e-6)


@pytest.mark.parametrize("senses", list(itertools.product(SENSES, SENSES)))
@pytest.mark.parametrize("solver", SOLVERS)
def test_senses_change_signs_and_nothing_else(senses: tuple[int, int], solver: str) -> None:
    game = one_follower(
        lambda x, u: (u - 1) ** 2 + x * u, lambda x, u: (u - 0.6) ** 2 + 0.01 * x**2, x=(-2, 2), u=(0, 1), senses=senses
    )
    plan = sp.stackelberg(game, solver=solver)
    x, u = 10 / 13, 8 / 13
    assert plan.values == pytest.approx({"x": x, "f.u": u}, abs=1e-6)
    assert plan.leader_objective == pytest.approx(senses[0] * ((u - 0.6) ** 2 + 0.01 * x**2), abs=1e-9)
    assert plan.follower_objectives["f"] == pytest.approx(senses[1] * ((u - 1) ** 2 + x * u), abs=1e-6)
    if solver == "scip":
        assert senses[0] * (plan.leader_objective - plan.bound) >= -1e-9, "the bound is on the right side"
        assert plan.gap <= 1e-6
        assert plan.quality == "optimal"
    objectives = [row["objective"] for row in plan.log if row["objective"] is not None]
    assert objectives[-1] == pytest.approx(plan.leader_objective, abs=1e-6), "the log speaks the user's sense"


# --- nonconvex followers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build", [concave_cost, lambda: concave_cost((1, -1)), lambda: concave_cost((-1, -1)), split_set]
)
@pytest.mark.parametrize("solver", ["auto", "scip"])
def test_nonconvex_followers_are_played_by_deviation_rows(build: Any, solver: str) -> None:
    game = build()
    least = 2.25 if game.model.find_component("f.row") is None else 3.61  # u = 1 for x > 0, at x = 0.2
    plan = sp.stackelberg(game, solver=solver)
    assert plan.quality == "optimal"
    assert plan.attained
    assert game.leader.sign * plan.leader_objective == pytest.approx(least, abs=1e-5)
    assert plan.report is not None
    assert plan.report.certificate.isin(["convex", "global"]).all()
    assert "ε_f" in str(plan)
    assert sp.Plan.from_json(plan.to_json(), game).attained


@pytest.mark.parametrize("build", [concave_cost, lambda: concave_cost((-1, -1)), split_set])
@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_what_is_allowed_is_told_and_not_called_more_than_it_is(build: Any, solver: str) -> None:
    game = build()
    least = 2.25 if game.model.find_component("f.row") is None else 1.9**2
    plan = attempt(lambda: sp.stackelberg(game, solver=solver, allow_nonconvex=True))
    if isinstance(plan, sp.NoPlan):
        return
    assert any(text.startswith("f: ") and "allow_nonconvex" in text for text in plan.warnings)
    cost = game.leader.sign * plan.leader_objective
    if plan.quality == "optimal":
        assert plan.report is not None
        assert plan.report.certificate.isin(["convex", "global"]).all()
        assert cost == pytest.approx(least, abs=1e-4)
    if plan.quality in ("optimal", "feasible"):
        assert cost >= least - 1e-5, "a KKT point that is no answer is not feasible"
    else:
        assert any("not an equilibrium" in text or "could not" in text for text in plan.warnings)
    assert sp.Plan.from_json(plan.to_json()).warnings == plan.warnings


# --- multipliers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sense", SENSES)
def test_multipliers_of_followers_are_slopes_of_their_own_objective(sense: int) -> None:
    """Every kind of row, its limit moved by ±h in a re-solve with SciPy at the leader's plan."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(1, 1.5))
    m.f = pyo.Block()
    m.f.u = pyo.Var(range(4), initialize=0.5)
    u = m.f.u
    want = (2.0, -1.0, 3.0, 0.7)
    m.f.cost = objective(sum((u[i] - want[i]) ** 2 for i in range(4)) + u[0] * u[1] / 2, sense)
    m.f.upper = pyo.Constraint(expr=u[0] ** 2 + u[1] <= m.x)
    m.f.lower = pyo.Constraint(expr=u[1] + 0.2 * u[2] >= -0.2)
    m.f.tie = pyo.Constraint(expr=u[2] - 2 * u[3] == 0.5)
    m.f.band = pyo.Constraint(expr=(-4, u[2] + u[0], 2))
    m.f.loose = pyo.Constraint(expr=u[3] <= 50)
    m.goal = pyo.Objective(expr=(m.x - 1.2) ** 2)
    plan = sp.stackelberg(sp.Game(m, m.f))

    def value(shift: dict[str, float]) -> float:
        by = lambda name: shift.get(name, 0.0)  # noqa: E731
        x = plan.value("x")
        return float(
            minimize(
                lambda z: sum((z[i] - want[i]) ** 2 for i in range(4)) + z[0] * z[1] / 2,
                [plan.value(u[i]) for i in range(4)],
                method="SLSQP",
                options={"ftol": 1e-15, "maxiter": 500},
                constraints=[
                    {"type": "ineq", "fun": lambda z: x + by("f.upper") - z[0] ** 2 - z[1]},
                    {"type": "ineq", "fun": lambda z: z[1] + 0.2 * z[2] + 0.2 - by("f.lower")},
                    {"type": "eq", "fun": lambda z: z[2] - 2 * z[3] - 0.5 - by("f.tie")},
                    {"type": "ineq", "fun": lambda z: 2 + by("f.band") - z[2] - z[0]},
                ],
            ).fun
        )

    assert sense * plan.follower_objectives["f"] == pytest.approx(value({}), abs=1e-7)
    step = 1e-3
    seen = []
    for name in ("f.upper", "f.lower", "f.tie", "f.band"):
        slope = (value({name: step}) - value({name: -step})) / (2 * step)
        seen.append(abs(slope))
        assert plan.multipliers[name] == pytest.approx(sense * slope, rel=1e-3, abs=1e-3), name
    assert sorted(seen)[1] > 0.05, "most rows bind"
    assert plan.multipliers["f.loose"] == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize("kind", ["upper", "lower", "tie", "band"])
@pytest.mark.parametrize("treatment", ["auto", "scholtes", "penalty"])
def test_multipliers_of_leaders_are_slopes_of_the_bilevel_value(sense: int, kind: str, treatment: str) -> None:
    """Along the answer u = x/2 the leader pays (x − 3)² + (u + y)² − y: closed form in the limit of his row x + y."""
    limit = {"upper": 1.0, "band": 1.0, "lower": 6.0, "tie": 2.0}[kind]

    def value(level: float) -> float:
        along = lambda x: (x - 3) ** 2 + (x / 2 + level - x) ** 2 - (level - x)  # noqa: E731
        return float(minimize_scalar(along, bounds=(-20, 20), method="bounded", options={"xatol": 1e-12}).fun)

    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-50, 50))
    m.f.cost = pyo.Objective(expr=(m.f.u - m.x / 2) ** 2)
    total = m.x + m.y
    rows = {"upper": total <= 1, "lower": total >= 6, "tie": total == 2, "band": pyo.inequality(-9, total, 1)}
    m.row = pyo.Constraint(expr=rows[kind])
    m.goal = objective((m.x - 3) ** 2 + (m.f.u + m.y) ** 2 - m.y, sense)
    plan = sp.stackelberg(sp.Game(m, m.f), complementarity=treatment)
    assert sense * plan.leader_objective == pytest.approx(value(limit), abs=1e-6)
    slope = (value(limit + 1e-3) - value(limit - 1e-3)) / 2e-3
    assert abs(slope) > 0.1
    assert plan.multipliers["row"] == pytest.approx(sense * slope, abs=1e-4)


# --- limits, logs, files ----------------------------------------------------------------------------------------------


def test_a_plan_is_verified_by_what_knows_no_conditions() -> None:
    """plan.report is verify's own; verify(plan) on all followers says the same."""
    plan = sp.stackelberg(bards_problem())
    assert isinstance(plan.report, sp.Report)
    assert plan.report.ok
    assert sp.verify(plan).ok
    moved = sp.Plan.from_json(plan.to_json(), plan.game)
    moved.values["f.y"] += 0.1
    assert not sp.verify(moved).ok


@pytest.mark.parametrize("kind", ["INC", "DCC", "CC", "MC"])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_whatever_a_piecewise_declares(kind: str, unit: float) -> None:
    """Costs 0, 2, 1, 3 at v = 0, 1, 2, 3, less s v: 0 is best up to s = 1/2, then 2, from 2 on 3; there (v − 3)² ends.

    Some forms declare variables that no row holds, and that need no bounds.
    """
    m = pyo.ConcreteModel()
    m.s, m.f = pyo.Var(bounds=(-3, 3)), pyo.Block()
    m.f.v, m.f.c = pyo.Var(bounds=(0, 3)), pyo.Var(bounds=(0, 3 * unit))
    levels = [level * unit for level in (0.0, 2.0, 1.0, 3.0)]
    m.f.pw = pyo.Piecewise(m.f.c, m.f.v, pw_pts=[0.0, 1.0, 2.0, 3.0], f_rule=levels, pw_constr_type="EQ", pw_repn=kind)
    m.f.cost = pyo.Objective(expr=m.f.c - unit * m.s * m.f.v)
    m.goal = pyo.Objective(expr=(m.f.v - 3) ** 2 + 0.1 * m.s**2)
    plan = sp.stackelberg(sp.Game(m, m.f))
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(0.4, abs=1e-5)


def test_a_row_that_many_feel_is_not_read_for_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    m = pyo.ConcreteModel()
    m.firm = pyo.Block(range(40))
    for firm in m.firm.values():
        firm.x = pyo.Var(bounds=(0, 1))
        firm.cost = pyo.Objective(expr=(firm.x - 1) ** 2)
    m.cap = pyo.Constraint(expr=sum(firm.x for firm in m.firm.values()) <= 10)
    m.goal = pyo.Objective(expr=m.firm[0].x)
    game = sp.Game(m, followers=m.firm, shared=[m.cap])
    body, degree, reads = m.cap.body, NumericExpression.polynomial_degree, []

    def counted(expression: Any) -> Any:
        reads.extend([1] if expression is body else [])
        return degree(expression)

    monkeypatch.setattr(NumericExpression, "polynomial_degree", counted)
    plan = sp.nash(game)
    assert [plan.value(firm.x) for firm in m.firm.values()] == pytest.approx([0.25] * 40, abs=1e-6)
    assert len(reads) <= 10


def test_a_follower_without_a_best_answer_is_named() -> None:
    """−u falls for ever, whatever the leader does."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, 1)), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, None))
    m.f.cost = pyo.Objective(expr=-m.f.u + m.x)
    m.goal = pyo.Objective(expr=m.x**2 + (m.f.u - 1) ** 2)
    with pytest.raises(sp.NoPlan, match=r"No plan exists.*bound f\.u|f\.u \(f\) has no bound"):
        sp.stackelberg(sp.Game(m, m.f))


def test_answers_that_nobody_confirms_are_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver that ends well with what no re-solve confirms has failed: "optimal" is not what NoPlan says."""
    monkeypatch.setattr(PlanSearch, "_keep", lambda *_: False)
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, 1), domain=pyo.Binary), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 4))
    m.f.cost = pyo.Objective(expr=(m.f.u - m.x - 1) ** 2)
    m.goal = pyo.Objective(expr=m.x + m.f.u)
    with pytest.raises(sp.NoPlan, match=r"scip: .*, but no re-solve confirms its answer") as refusal:
        sp.stackelberg(sp.Game(m, m.f))
    assert refusal.value.termination == "failed"


def test_wells_that_nearly_tie_need_no_global_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mirrlees (1999): near x = 1, where both wells cost the same, SCIP used up what a re-solve may take."""
    asked: list[str] = []
    solve = Separable.solve

    def spy(self: Separable, solver: str, *arguments: Any) -> Any:
        asked.append(solver)
        return solve(self, solver, *arguments)

    monkeypatch.setattr(Separable, "solve", spy)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-2, 2))
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(-3, 3))
    m.f.cost = pyo.Objective(expr=-m.x * pyo.exp(-((m.f.y + 1) ** 2)) - pyo.exp(-((m.f.y - 1) ** 2)))
    m.goal = pyo.Objective(expr=(m.x - 2) ** 2 + (m.f.y - 1) ** 2)
    plan = sp.stackelberg(sp.Game(m, m.f))
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(1.001805907969, rel=1e-7)
    assert asked
    assert "scip" not in asked
