"""Plans: what is found, what is claimed about it, and what is kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import NLP, snapshot, toll_game
from scipy.optimize import minimize

import stackpyomo as sp
from stackpyomo.solvers import registry


def leader_only(goal: Any, *, bounds: tuple[Any, Any] = (None, None), start: float | None = None) -> sp.Game:
    """A game whose follower is decoration: the plan is min goal(x)."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=bounds, initialize=start)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.cost = pyo.Objective(expr=m.f.u**2 + m.x)
    m.goal = pyo.Objective(expr=goal(m.x) + m.f.u**2)
    return sp.Game(m, followers=m.f)


def double_well(x: Any) -> Any:
    """Local minimum near +1, global near −1, 0.4 lower."""
    return (x**2 - 1) ** 2 + 0.2 * x


@pytest.mark.parametrize("solver", NLP)
def test_a_nonconvex_plan_is_never_called_optimal(solver: str) -> None:
    plan = sp.leader_optimal(leader_only(double_well, bounds=(-2, 2), start=1.0), solver=solver)
    assert plan.value("x") == pytest.approx(0.974, abs=1e-3)
    assert plan.quality == "feasible"
    assert math.isnan(plan.epsilon0)
    assert math.isnan(plan.bound)


def test_more_starts_leave_the_wrong_valley_and_are_logged() -> None:
    game = leader_only(double_well, bounds=(-2, 2), start=1.0)
    before = snapshot(game.model)
    plan = sp.leader_optimal(game, starts=8)
    assert plan.value("x") == pytest.approx(-1.024, abs=1e-3)
    assert len(plan.log) == 8
    assert {"start", "solver", "termination", "objective", "seconds"} <= set(plan.log[0])
    assert plan.leader_objective == pytest.approx(min(row["objective"] for row in plan.log))
    assert snapshot(game.model) == before


@pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")
def test_a_global_solver_proves_what_a_local_one_cannot() -> None:
    plan = sp.leader_optimal(leader_only(double_well, bounds=(-2, 2), start=1.0), solver="scip")
    assert plan.value("x") == pytest.approx(-1.024, abs=1e-2)
    assert plan.quality == "optimal"
    assert plan.bound == pytest.approx(plan.leader_objective, abs=1e-5)
    assert 0 <= plan.epsilon0 <= 1e-5


@pytest.mark.parametrize("sense", [1, -1])
@pytest.mark.parametrize("flip", [1, -1])
def test_multipliers_are_sensitivities_in_the_users_sense(sense: int, flip: int) -> None:
    """d(objective)/d(right-hand side) by finite differences, whatever way the row and the objective are written."""

    def value(shift: float) -> sp.Plan:
        m = pyo.ConcreteModel()
        m.x, m.y = pyo.Var(bounds=(0, 10)), pyo.Var(bounds=(0, 10))
        m.f = pyo.Block()
        m.f.u = pyo.Var()
        m.f.cost = pyo.Objective(expr=m.f.u**2 + m.x)
        row = flip * (m.x + 2 * m.y)
        m.need = pyo.Constraint(expr=row >= 3 + shift if flip > 0 else row <= -3 + shift)
        m.tie = pyo.Constraint(expr=m.x - m.y == 0.25)
        m.band = pyo.Constraint(expr=(-1, m.f.u, 1))
        cost = pyo.exp(m.x) + m.y**2 + (m.f.u - 2) ** 2
        m.goal = pyo.Objective(expr=sense * cost, sense=pyo.minimize if sense > 0 else pyo.maximize)
        return sp.leader_optimal(sp.Game(m, followers=m.f))

    step = 1e-4
    slope = (value(step).leader_objective - value(-step).leader_objective) / (2 * step)
    plan = value(0.0)
    assert plan.multipliers["need"] == pytest.approx(slope, rel=1e-5)
    assert plan.multipliers["band"] == pytest.approx(sense * -2, rel=1e-6)
    assert plan.quality == "optimal"
    best = minimize(
        lambda z: math.exp(z[0]) + z[1] ** 2 + 1,
        [1.0, 1.0],
        constraints=[
            {"type": "ineq", "fun": lambda z: z[0] + 2 * z[1] - 3},
            {"type": "eq", "fun": lambda z: z[0] - z[1] - 0.25},
        ],
    )
    assert sense * plan.leader_objective == pytest.approx(best.fun, abs=1e-6)
    assert max(plan.residuals.values()) <= 1e-8


def test_variables_nobody_uses_and_fixed_ones_have_values_too() -> None:
    game = toll_game()
    m = game.model
    m.idle = pyo.Var(bounds=(2, 5))
    m.given = pyo.Var(initialize=7.0)
    m.given.fix()
    m.known = pyo.Var(initialize=3.5)
    game = sp.Game(m, followers=m.driver)
    plan = sp.leader_optimal(game)
    assert (plan.value("idle"), plan.value("given"), plan.value("known")) == (2.0, 7.0, 3.5)
    assert m.idle.value is None


def test_load_and_from_values_and_json() -> None:
    game = toll_game()
    plan = sp.leader_optimal(game)
    assert game.model.driver.flow.value is None
    plan.load()
    assert game.model.driver.flow.value == pytest.approx(0.6)
    again = sp.Plan.from_values(game)
    assert "scip" not in str(again), "no solver found it, and none would be asked"
    assert again.values == plan.values
    assert again.leader_objective == pytest.approx(plan.leader_objective, abs=1e-12)
    assert again.quality == "feasible"
    assert sp.affine_incentive(again).gain.iloc[0, 0] == pytest.approx(4 / 3)
    read = sp.Plan.from_json(plan.to_json(), game)
    assert read == plan
    assert sp.verify(sp.affine_incentive(read)).ok
    game.model.driver.flow.set_value(3.0, skip_validation=True)
    assert sp.Plan.from_values(game).quality == "infeasible"


def test_a_discrete_leader_needs_a_solver_for_it() -> None:
    m = pyo.ConcreteModel()
    m.open = pyo.Var(domain=pyo.Binary)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 4))
    m.f.cost = pyo.Objective(expr=(m.f.u - 1) ** 2 + m.open * m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - 3 * m.open) ** 2 + (m.open - 0.7) ** 2)
    game = sp.Game(m, followers=m.f)
    with pytest.raises(sp.InvalidGame, match=r"open: an integer variable.*scip"):
        sp.leader_optimal(game, solver="pounce")
    plan = sp.leader_optimal(game)  # "auto" takes a solver that can
    assert plan.solver == "scip"
    assert plan.value("open") == pytest.approx(1.0)
    assert plan.value("f.u") == pytest.approx(3.0, abs=1e-3)
    assert plan.quality == "optimal"


def test_residuals_are_recomputed_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver that claims success at a wrong point: the plan says infeasible, or far from stationary."""
    from dataclasses import replace

    info = registry["pounce"]

    def shifted(program: Any, *args: Any) -> Any:
        solution = info.run(program, *args)
        solution.x = solution.x + 0.3
        return solution

    monkeypatch.setitem(registry, "pounce", replace(info, run=shifted))
    plan = sp.leader_optimal(toll_game(), solver="pounce")
    assert plan.residuals["stationarity"] > 0.1 or plan.residuals["complementarity"] > 0.1
    assert plan.quality == "feasible"
    assert plan.epsilon0 > 0.01

    def outside(program: Any, *args: Any) -> Any:
        solution = info.run(program, *args)
        solution.x = np.full_like(solution.x, 50.0)
        return solution

    monkeypatch.setitem(registry, "pounce", replace(info, run=outside))
    assert sp.leader_optimal(toll_game(), solver="pounce").quality == "infeasible"


@pytest.mark.parametrize(("low", "high"), [(0, 2), (-2, 0)])
def test_a_bound_that_the_optimum_only_touches(low: int, high: int) -> None:
    """toll = 0 is best with and without the bound: an interior-point method alone stops 5e-5 beside it.

    The driver is tempted to more flow, which only a higher toll can make up for.
    """
    plan = sp.leader_optimal(toll_game(low, high))
    assert plan.values["toll"] == 0.0
    if high:
        assert sp.affine_incentive(plan).gain.iloc[0, 0] == pytest.approx(4 / 3, abs=1e-6)
        return
    with pytest.raises(sp.NoIncentive, match="toll stands at its upper bound"):
        sp.affine_incentive(plan)


def test_what_need_not_be_optimal_gets_no_advice() -> None:
    found = sp.nash(toll_game(), leader={"toll": 0.5})
    assert found.options["function"] == "nash"
    assert "optimal: solver" not in str(found)


def game(cost: Any, *, sense: Any = pyo.minimize, rows: Any = None, domain: Any = pyo.Reals) -> tuple[Any, sp.Game]:
    """The leader wants u = 1 and u0 = 0; cost(u0, u, v) is the follower's."""
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.3)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.v = pyo.Var(initialize=0.0, bounds=(-5, 5), domain=domain)
    m.f.cost = pyo.Objective(expr=cost(m.u0, m.f.u, m.f.v), sense=sense)
    if rows is not None:
        m.f.row = pyo.Constraint(expr=rows(m.f.u, m.f.v))
    m.goal = pyo.Objective(expr=(m.f.u - 1) ** 2 + m.u0**2)
    return m, sp.Game(m, followers=m.f)


@pytest.mark.parametrize(
    ("cost", "options", "wanted"),
    [
        (lambda u0, u, v: (v - 2 * u) ** 2 + u0 * u, {}, 2.0),
        (lambda u0, u, v: -((v - 2 * u) ** 2) + u0 * u, {"sense": pyo.maximize}, 2.0),
        (lambda u0, u, v: (v - 9 * u) ** 2 + u0 * u, {}, 5.0),  # its bound
        (lambda u0, u, v: (v - 9 * u) ** 2 + u0 * u, {"rows": lambda u, v: u + v <= 3}, 2.0),
        (lambda u0, u, v: pyo.exp(v) - v * u + u0 * u, {"rows": lambda u, v: v == v * u}, 0.0),
        (lambda u0, u, v: v + u0 * u, {"rows": lambda u, v: v >= u**2}, 1.0),
    ],
)
def test_own_business_is_settled(cost: Any, options: Any, wanted: float) -> None:
    m, played = game(cost, **options)
    before = snapshot(m)
    plan = sp.leader_optimal(played)
    assert snapshot(m) == before
    assert plan.value("f.v") == pytest.approx(wanted, abs=1e-6)
    assert plan.value("f.u") == pytest.approx(1.0, abs=1e-7)
    assert plan.value("u0") == pytest.approx(0.0, abs=1e-7)
    assert plan.leader_objective == pytest.approx(0.0, abs=1e-9)
    assert plan.residuals["feasibility"] <= 1e-7
    assert plan.follower_objectives["f"] == pytest.approx(cost(0.0, 1.0, wanted) if wanted else 1.0, abs=1e-5)


def test_a_leader_who_counts_in_integers() -> None:
    m, played = game(lambda u0, u, v: (v - u0 - 0.3 * u) ** 2)
    m.u0.domain = pyo.Integers
    m.goal.set_value((m.f.u - 1) ** 2 + (m.u0 - 2.2) ** 2)
    assert sp.leader_optimal(played, solver="scip").value("f.v") == pytest.approx(2.3, abs=1e-4)


def test_an_integer_that_only_the_follower_feels() -> None:
    m, played = game(lambda u0, u, v: (v - u) ** 2)
    m.size = pyo.Var(domain=pyo.Integers, initialize=2)
    m.f.cost.set_value((m.f.v - m.size * m.f.u) ** 2)
    assert sp.leader_optimal(played).value("f.v") == pytest.approx(2.0, abs=1e-6)


def test_it_settles_nothing_without_a_best_answer() -> None:
    m, played = game(lambda u0, u, v: v * u + u0)
    m.f.v.setlb(None)
    assert math.isfinite(sp.leader_optimal(played).value("f.v"))


@pytest.mark.parametrize("who", ["leader's objective", "leader's row", "another's cost", "another's row"])
def test_what_somebody_else_holds_is_not_its_own(who: str) -> None:
    """v = 0.5 suits the leader or the other follower's row; follower f, left to itself, would take 2."""
    m, _ = game(lambda u0, u, v: (v - 2 * u) ** 2 + u0 * u)
    m.g = pyo.Block()
    m.g.w = pyo.Var(initialize=0.0)
    m.g.cost = pyo.Objective(expr=(m.g.w - m.u0) ** 2 + (m.f.v if who == "another's cost" else 0) ** 2)
    if who == "leader's objective":
        m.goal.set_value(m.goal.expr + (m.f.v - 0.5) ** 2)
    elif who == "leader's row":
        m.row = pyo.Constraint(expr=m.f.v <= 0.5)
    elif who == "another's row":
        m.g.row = pyo.Constraint(expr=m.f.v + m.g.w <= 0.5)
    plan = sp.leader_optimal(sp.Game(m, followers=[m.f, m.g]))
    assert plan.value("f.v") <= 0.5 + 1e-6
    assert plan.value("f.v") == pytest.approx(0.5, abs=1e-6) or who != "leader's objective"
    assert who == "another's row" or plan.value("g.w") == pytest.approx(0.0, abs=1e-6)


def test_many_followers_at_once() -> None:
    generator = np.random.default_rng(2)
    wish = generator.uniform(-1, 1, 30)
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(30))
    for i in range(30):
        m.f[i].u = pyo.Var(initialize=0.0)
        m.f[i].v = pyo.Var(bounds=(-0.5, 0.5), initialize=0.0)
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - m.u0) ** 2 + (m.f[i].v - wish[i] * m.f[i].u) ** 2)
    m.goal = pyo.Objective(expr=sum((m.f[i].u - 1) ** 2 for i in range(30)) + m.u0**2)
    plan = sp.leader_optimal(sp.Game(m, followers=m.f))
    np.testing.assert_allclose([plan.value(m.f[i].v) for i in range(30)], np.clip(wish, -0.5, 0.5), atol=1e-6)
    assert plan.quality == "optimal"


# --- followers who shun risk --------------------------------------------------------------------------------------


def mean_of_the_worst(loss: np.ndarray, probability: np.ndarray, level: float) -> float:
    order = np.argsort(-loss)
    weight = probability[order]
    room = np.clip(1 - level - (np.cumsum(weight) - weight), 0.0, weight)
    return float(room @ loss[order] / (1 - level))


X, P = np.array([1.0, 1.0, 2.0, 2.0]), np.array([0.45, 0.15, 0.08, 0.32])
Y = np.array([0, 1, 0, 1])


def loss(x: Any, u0: Any, u: Any) -> Any:
    return np.exp(u - x) + (u + 1) ** 2 / 2 + (u0 - 2) ** 2 / 2 + (u0 - u) ** 2 / 4


def risky(level: float) -> tuple[Any, sp.Scenarios, sp.Game]:
    scenarios = sp.Scenarios({"x": X, "y": Y}, P)
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(list(scenarios), initialize=0.5)
    m.f = pyo.Block()
    m.f.u = pyo.Var([0, 1], initialize=0.5)

    def act(w: int) -> Any:
        return m.f.u[scenarios.atom("y", w)]

    def pays(w: int) -> Any:
        u, u0 = act(w), m.u0[w]
        return pyo.exp(u - X[w]) + (u + 1) ** 2 / 2 + (u0 - 2) ** 2 / 2 + (u0 - u) ** 2 / 4

    m.goal = pyo.Objective(
        expr=scenarios.expectation(lambda w: (X[w] - m.u0[w] - act(w)) ** 2 + m.u0[w] ** 2 + act(w) ** 2 / 2)
    )
    m.f.cost = pyo.Objective(expr=scenarios.cvar(m.f, pays, level=level))
    return m, scenarios, sp.Game(m, followers=m.f)


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.0, 0.3, 0.5, 0.9])
def test_an_incentive_for_a_follower_who_shuns_risk(level: float) -> None:
    m, scenarios, played = risky(level)
    plan = sp.leader_optimal(played)
    u0 = np.array([plan.value(m.u0[w]) for w in scenarios])
    u = np.array([plan.value(m.f.u[y]) for y in (0, 1)])
    planned = mean_of_the_worst(loss(X, u0, u[Y]), P, level)
    assert plan.follower_objectives["f"] == pytest.approx(planned, abs=1e-7)
    assert plan.quality == "optimal"

    def deviating(gain: np.ndarray) -> float:
        """The least CVaR of a grid of deviations, losses and gain by hand."""
        steps = np.linspace(-1.5, 1.5, 121)
        return min(
            mean_of_the_worst(loss(X, u0 + gain * np.array([a, b])[Y], (u + np.array([a, b]))[Y]), P, level)
            for a in steps
            for b in steps
        )

    assert deviating(np.zeros(4)) < planned - 0.05, "without an incentive it would leave the plan"
    rule = sp.affine_incentive(
        plan, scenarios.observe(m.u0, [(m.f.u, "y")]), energy=scenarios.energy(m.u0), multipliers="free"
    )
    gain = np.array([rule.gain.loc[f"u0[{w}]", f"f.u[{Y[w]}]"] for w in scenarios])
    assert deviating(gain) >= planned - 1e-7
    report = sp.verify(rule)
    assert report.ok
    assert report.certificate["f"] == "convex"
    assert report.epsilon <= 1e-6


@pytest.mark.slow
def test_one_who_shuns_risk_beside_one_who_responds() -> None:
    """The minor plays u0/2 against whatever is announced; the threshold of the other is its loss at the level."""
    m, scenarios, _ = risky(0.5)
    m.minor = pyo.Block()
    m.minor.v = pyo.Var(initialize=0.0)
    m.minor.cost = pyo.Objective(expr=(m.minor.v - m.u0[0] / 2) ** 2)
    m.goal.set_value(m.goal.expr + (m.minor.v - 1) ** 2 / 10)
    plan = sp.leader_optimal(sp.Game(m, followers=[m.f, m.minor]), responding="minor")
    u0 = np.array([plan.value(m.u0[w]) for w in scenarios])
    u = np.array([plan.value(m.f.u[int(y)]) for y in Y])
    assert plan.value("minor.v") == pytest.approx(u0[0] / 2, abs=1e-6)
    losses = loss(X, u0, u)
    assert plan.follower_objectives["f"] == pytest.approx(mean_of_the_worst(losses, P, 0.5), abs=1e-6)
    assert plan.value("f.cvar.threshold") == pytest.approx(sorted(losses)[2], abs=1e-5)
    assert plan.follower_objectives["minor"] == pytest.approx(0.0, abs=1e-6)
    assert plan.responding == ("minor",)


@pytest.mark.parametrize(("level", "worst"), [(0.8, 0.5), (0.6, 0.75), (0.0, 1.05)])
def test_leaning_on_a_tail_that_is_one_outcome(level: float, worst: float) -> None:
    """At 0.8 the worst outcome is the tail: its weight is 1 by two equations that say the same.

    The loss is v² − (crop − fee) v, the mean crop of the tail ``worst``: 2v − worst + K v = 0 at v = 1/5.
    """
    crop = sp.Scenarios({"crop": [0.5, 1.0, 1.5]}, [0.2, 0.5, 0.3])
    m = pyo.ConcreteModel()
    m.fee, m.f = pyo.Var(initialize=0.0), pyo.Block()
    m.f.v = pyo.Var(bounds=(0, 2), initialize=1.0)

    def lost(w: int) -> Any:
        return m.f.v**2 - (float(crop["crop"][w]) - m.fee) * m.f.v

    m.f.cost = pyo.Objective(expr=crop.cvar(m.f, lost, level=level))
    m.goal = pyo.Objective(expr=(m.f.v - 0.2) ** 2 + m.fee**2)
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, m.f)), [m.f.v], multipliers="free")
    assert rule.gain.iloc[0, 0] == pytest.approx((worst - 0.4) / 0.2, abs=1e-6)
    assert sp.verify(rule).ok


def test_leaning_on_the_mean_is_the_mean() -> None:
    """At level 0 the CVaR is the expectation, and so are plan, tail weights and gain."""
    m, scenarios, played = risky(0.0)
    rule = sp.affine_incentive(
        sp.leader_optimal(played),
        scenarios.observe(m.u0, [(m.f.u, "y")]),
        energy=scenarios.energy(m.u0),
        multipliers="free",
    )
    weights = [rule.multipliers[f"f.cvar.tail[{w}]"] for w in scenarios]
    np.testing.assert_allclose(weights, P, atol=1e-8)
    plan = rule.plan
    u0 = np.array([plan.value(m.u0[w]) for w in scenarios])
    u = np.array([plan.value(m.f.u[int(y)]) for y in Y])
    slope = np.exp(u - X) + u + 1 - (u0 - u) / 2
    grip = u0 - 2 + (u0 - u) / 2
    for w in scenarios:  # THEORY: Q = −D ā / E[D² | y]
        here = P * (Y[w] == Y)
        wanted = -grip[w] * (here @ slope) / (here @ grip**2)
        assert rule.gain.loc[f"u0[{w}]", f"f.u[{Y[w]}]"] == pytest.approx(wanted, abs=1e-6)
