"""Plans by every function: closed forms and exact figures; who responds, equilibria, optimists and pessimists."""

from __future__ import annotations

import itertools
import math

import pyomo.environ as pyo
import pytest
from conftest import NLP, number
from helpers.responders import SENSES, SOLVERS, major_minor, objective, one_follower, two_prices

import stackpyomo as sp

pytestmark = pytest.mark.usefixtures("unchanged")


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_the_stackelberg_duopoly(solver: str) -> None:
    """p = a − b(q₀ + q₁), costs c₀, c₁: q₀ = (a − 2c₀ + c₁)/2b, q₁ = (a + 2c₀ − 3c₁)/4b."""
    a, b, c0, c1 = 11.0, 0.5, 2.0, 1.0
    m = pyo.ConcreteModel()
    m.q = pyo.Var(bounds=(0, 100))
    m.f = pyo.Block()
    m.f.q = pyo.Var(bounds=(0, 100))
    price = a - b * (m.q + m.f.q)
    m.f.profit = pyo.Objective(expr=(price - c1) * m.f.q, sense=pyo.maximize)
    m.profit = pyo.Objective(expr=(price - c0) * m.q, sense=pyo.maximize)
    plan = sp.stackelberg(sp.Game(m, m.f), solver=solver)
    q0, q1 = (a - 2 * c0 + c1) / (2 * b), (a + 2 * c0 - 3 * c1) / (4 * b)
    assert plan.values == pytest.approx({"q": q0, "f.q": q1}, abs=1e-6)
    assert plan.leader_objective == pytest.approx(b * q0**2 / 2, abs=1e-6)
    assert plan.follower_objectives == pytest.approx({"f": b * q1**2}, abs=1e-6)
    assert plan.responding == ("f",)
    assert plan.quality == ("optimal" if solver in ("auto", "scip") else "feasible")


@pytest.mark.parametrize("firms", [1, 2, 7, 40])
def test_cournot_with_n_firms(firms: int) -> None:
    """N separate firms, the sum written out: q = (a − c)/(N + 1)."""
    m = pyo.ConcreteModel()
    m.tax = pyo.Var(initialize=1.0)
    m.f = pyo.Block(range(firms))
    for block in m.f.values():
        block.q = pyo.Var(bounds=(0, None))
    total = pyo.quicksum(block.q for block in m.f.values())
    for block in m.f.values():
        block.profit = pyo.Objective(expr=(10 - total - m.tax) * block.q, sense=pyo.maximize)
    m.goal = pyo.Objective(expr=m.tax * total, sense=pyo.maximize)
    plan = sp.nash(sp.Game(m, m.f), solver="pounce")
    assert [plan.value(b.q) for b in m.f.values()] == pytest.approx([9 / (firms + 1)] * firms, abs=1e-7)
    assert plan.value("tax") == 1.0
    assert plan.quality == "feasible", "nothing to be optimal for"


@pytest.mark.parametrize("size", [1, 2, 7, 1000, math.inf])
@pytest.mark.parametrize("chained", [False, True])
def test_a_population_and_its_mean(size: float, chained: bool) -> None:
    """max u(9 − ū) − u²/2 with ū moving by 1/N: u = 9/(2 + 1/N); also where ū moves through another aggregate."""
    m = pyo.ConcreteModel()
    m.tax, m.mean = pyo.Var(initialize=1.0), pyo.Var()
    m.f = pyo.Block()
    m.f.u = pyo.Var()
    rows = []
    if chained:
        m.half = pyo.Var()
        m.def_half = pyo.Constraint(expr=m.half == 0.5 * m.f.u)
        rows.append(m.def_half)
    m.def_mean = pyo.Constraint(expr=m.mean == (2 * m.half if chained else m.f.u))
    m.f.profit = pyo.Objective(expr=(10 - m.mean - m.tax) * m.f.u - m.f.u**2 / 2, sense=pyo.maximize)
    m.goal = pyo.Objective(expr=m.tax * m.mean, sense=pyo.maximize)
    game = sp.Game(m, sp.Population(m.f, size), aggregates=[*rows, m.def_mean])
    assert sp.nash(game).value("f.u") == pytest.approx(9 / (2 + 1 / size), abs=1e-7)
    plan = sp.stackelberg(game)
    assert plan.value("tax") == pytest.approx(5, abs=1e-4)
    assert plan.leader_objective == pytest.approx(25 / (2 + 1 / size), abs=1e-6)


MM01 = {
    1: ("-37/90", "229/90", "44/45", "517/90"),
    2: ("-27/61", "145/61", "74/61", "322/61"),
    5: ("-75/166", "2605/1162", "820/581", "5725/1162"),
    10: ("-475/1053", "2305/1053", "1570/1053", "5050/1053"),
    100: ("-43000/96003", "205210/96003", "150700/96003", "448525/96003"),
    math.inf: ("-17/38", "81/38", "30/19", "177/38"),
}
"""Number of minors → u₀, u_M, u, the leader's cost: exact rationals."""


@pytest.mark.parametrize("size", MM01)
def test_leader_major_optimal_plans(size: float) -> None:
    u0, major, minor, cost = map(number, MM01[size])
    plan = sp.leader_optimal(major_minor(size), responding="minor", solver="pounce")
    assert plan.responding == ("minor",)
    assert plan.values == pytest.approx({"u0": u0, "mean": minor, "major.u": major, "minor.u": minor}, abs=1e-6)
    assert plan.leader_objective == pytest.approx(cost, abs=1e-9)
    assert plan.report is not None
    assert plan.report.ok
    assert list(plan.report.regret.index) == ["minor"]
    assert not sp.verify(plan).ok, "the major would leave"


def test_what_has_no_complementarity_and_is_convex_is_proved() -> None:
    """Minors without bounds or rows: their condition is one linear equality, the leader's problem a convex QP."""
    plan = sp.leader_optimal(major_minor(math.inf), responding="minor", time_limit=3)
    assert plan.leader_objective == pytest.approx(177 / 38, abs=1e-9)
    assert plan.quality == "optimal"


@pytest.mark.parametrize("size", [1, math.inf])
def test_the_leader_optimal_plan_does_not_know_who_would_respond(size: float) -> None:
    plan = sp.leader_optimal(major_minor(size))
    assert plan.leader_objective == pytest.approx(25 / 7, abs=1e-9)
    assert (plan.value("u0"), plan.value("major.u"), plan.value("minor.u")) == pytest.approx(
        (0, 10 / 7, 20 / 7), abs=1e-6
    )
    assert plan.responding == ()


MM04 = {
    1: ("7.24330900243", "2.98783454988", "0.442822384428"),
    2: ("6.84304932735", "2.86098654709", "0.605381165919"),
    5: ("6.42192497819", "2.72753707473", "0.776388485025"),
    100: ("6.00527953018", "2.59551739608", "0.945552585864"),
    math.inf: ("5.97826086957", "2.58695652174", "0.95652173913"),
}
"""Number of minors → the leader's expected cost, the major's gain on x, the minors' gain on their y."""


@pytest.mark.parametrize("size", MM04)
def test_leader_major_optimal_gains_of_a_gaussian_game(size: float) -> None:
    """x ~ N(0,1), y_i = x + w_i: with u_i = k y_i, u_M = κ x, u₀ = p x + q ȳ all expectations are numbers."""
    cost, kappa, gain = map(float, MM04[size])
    n = 1 / size
    m = pyo.ConcreteModel()
    m.p, m.q, m.kappa, m.mean = (pyo.Var(initialize=0.0) for _ in range(4))
    m.minor = pyo.Block()
    m.minor.k = pyo.Var(initialize=0.5)
    m.define = pyo.Constraint(expr=m.mean == m.minor.k)
    k = m.minor.k
    seen = 4 - (m.p + m.q * (1 + n)) / 2 - m.kappa / 2  # E[y_i (4x − u₀/2 − u_M/2)]
    m.minor.cost = pyo.Objective(expr=k**2 - k * seen + k * (m.mean + k * n))  # E[y_i ū] = mean + k/N
    m.goal = pyo.Objective(
        expr=((m.p + m.q) ** 2 + m.q**2 * n) / 2 + m.kappa**2 / 2 + (k + m.kappa - 5) ** 2 + k**2 * n + k**2 / 2
    )
    plan = sp.stackelberg(sp.Game(m, sp.Population(m.minor, size), aggregates=m.define), solver="pounce")
    assert plan.leader_objective == pytest.approx(cost, abs=1e-9)
    assert plan.value("kappa") == pytest.approx(kappa, abs=1e-6)
    assert plan.value("minor.k") == pytest.approx(gain, abs=1e-6)


MM06 = {
    2: ("-0.333632775710619", "2.07427293274342", "0.718662198307792", "3.66448328561619"),
    10: ("-0.342627558611559", "2.00419252732379", "0.819025842150867", "3.45248214238405"),
    100: ("-0.343583488085477", "1.98718374661014", "0.844032638049448", "3.40011251185104"),
    math.inf: ("-0.343660713773382", "1.98526651735592", "0.846867566939598", "3.39418718226386"),
}
"""Nonquadratic minors exp(u) − u(…): 15 digits."""


@pytest.mark.parametrize("size", MM06)
@pytest.mark.parametrize("solver", ["auto", *NLP])
def test_nonquadratic_minors(size: float, solver: str) -> None:
    u0, major, minor, cost = map(float, MM06[size])
    m = major_minor(size).model
    m.minor.cost.set_value(pyo.exp(m.minor.u) - m.minor.u * (4 - m.mean - m.u0 / 2 - m.major.u / 2))
    m.major.cost.set_value(pyo.exp(m.major.u / 2) + (m.u0 + 1) ** 2 / 2 + (m.major.u + m.mean - 1) ** 2 / 2)
    m.goal.set_value(pyo.cosh(m.u0) - 1 + m.major.u**2 / 2 + (m.mean + m.major.u - 4) ** 2)
    game = sp.Game(m, [m.major, sp.Population(m.minor, size)], aggregates=m.define)
    plan = sp.leader_optimal(game, responding=[m.minor], solver=solver, time_limit=4 if solver == "auto" else None)
    assert plan.values == pytest.approx({"u0": u0, "mean": minor, "major.u": major, "minor.u": minor}, abs=1e-6)
    assert plan.leader_objective == pytest.approx(cost, abs=1e-9)


def test_those_who_do_not_respond_serve_the_leader() -> None:
    """a would choose 1, b would choose x; the leader wants a = 3, b = 0.5, x = 2."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.a, m.b = pyo.Block(), pyo.Block()
    m.a.u, m.b.u = pyo.Var(), pyo.Var()
    m.a.cost = pyo.Objective(expr=(m.a.u - 1) ** 2)
    m.b.cost = pyo.Objective(expr=(m.b.u - m.x) ** 2)
    m.goal = pyo.Objective(expr=(m.a.u - 3) ** 2 + (m.b.u - 0.5) ** 2 + (m.x - 2) ** 2)
    game = sp.Game(m, [m.a, m.b])
    assert sp.leader_optimal(game).leader_objective == pytest.approx(0, abs=1e-9)
    only_a = sp.leader_optimal(game, responding=m.a)
    assert only_a.values == pytest.approx({"x": 2, "a.u": 1, "b.u": 0.5}, abs=1e-6)
    only_b = sp.leader_optimal(game, responding="b")
    assert only_b.values == pytest.approx({"x": 1.25, "a.u": 3, "b.u": 1.25}, abs=1e-6)
    both = sp.stackelberg(game)
    assert both.values == pytest.approx({"x": 1.25, "a.u": 1, "b.u": 1.25}, abs=1e-6)
    assert [p.responding for p in (only_a, only_b, both)] == [("a",), ("b",), ("a", "b")]
    assert {p.quality for p in (only_a, only_b, both)} == {"optimal"}


def test_a_fixed_variable_is_data() -> None:
    game = one_follower(lambda x, u: (u - x) ** 2, lambda x, u: (u - 4) ** 2 + x**2)
    m = game.model
    m.f.w = pyo.Var(initialize=2.0)
    m.f.w.fix()
    m.f.cost.set_value((m.f.u - m.x * m.f.w) ** 2)
    plan = sp.stackelberg(sp.Game(m, m.f))
    assert plan.value("x") == pytest.approx(8 / 5, abs=1e-6), "min (2x − 4)² + x²"
    assert plan.value("f.w") == 2.0


def test_nash_of_some_keeps_the_others() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=1.0)
    m.a, m.b = pyo.Block(), pyo.Block()
    m.a.u, m.b.u = pyo.Var(initialize=5.0), pyo.Var(initialize=7.0)
    m.a.cost = pyo.Objective(expr=(m.a.u - m.b.u - m.x) ** 2)
    m.b.cost = pyo.Objective(expr=(m.b.u - m.a.u / 2) ** 2)
    m.goal = pyo.Objective(expr=m.a.u)
    game = sp.Game(m, [m.a, m.b])
    assert sp.nash(game, responding=m.a).values == pytest.approx({"x": 1, "a.u": 8, "b.u": 7}, abs=1e-7)
    assert sp.nash(game).values == pytest.approx({"x": 1, "a.u": 2, "b.u": 1}, abs=1e-7)
    with pytest.raises(sp.InvalidGame, match="no follower responds"):
        sp.nash(game, responding=())


def test_nash_needs_no_leader_objective_and_ignores_his_inequalities() -> None:
    """At fixed leader values there is nothing for the leader to choose; his rows on followers bind nobody."""
    game = two_prices()
    m = game.model
    m.goal.deactivate()
    m.limit = pyo.Constraint(expr=m.f.u <= -100)
    plan = sp.nash(sp.Game(m, m.f), leader={"p[1]": 1.0, "p[2]": 1.0})
    assert plan.value("f.u") == pytest.approx(2.25, abs=1e-7)
    assert math.isnan(plan.leader_objective)


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_no_equilibrium_is_not_found(solver: str) -> None:
    """a wants b + 1, b wants a + 1: no equilibrium without bounds."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=0.0)
    m.a, m.b = pyo.Block(), pyo.Block()
    m.a.u, m.b.u = pyo.Var(), pyo.Var()
    m.a.cost = pyo.Objective(expr=(m.a.u - m.b.u - 1) ** 2 + m.x)
    m.b.cost = pyo.Objective(expr=(m.b.u - m.a.u - 1) ** 2)
    m.goal = pyo.Objective(expr=m.x)
    with pytest.raises(sp.NoPlan) as caught:
        sp.nash(sp.Game(m, [m.a, m.b]), solver=solver)
    assert caught.value.termination == "infeasible"
    assert ("proved by" in str(caught.value)) == (solver in ("auto", "scip"))


def indifferent(sense: int = 1, follower_sense: int = 1, *, wide: bool = False) -> sp.Game:
    """Only u + v = x matters to the follower; the leader pays (x − 1)² + (u − 0.8)."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 2))
    m.f = pyo.Block()
    m.f.u, m.f.v = (pyo.Var(bounds=(None, None) if wide else (0, 1)) for _ in range(2))
    m.f.cost = objective((m.f.u + m.f.v - m.x) ** 2, follower_sense)
    cost = (m.x - 1) ** 2 + m.f.u**2 if wide else (m.x - 1) ** 2 + m.f.u - 0.8
    m.goal = objective(cost, sense)
    return sp.Game(m, m.f)


@pytest.mark.parametrize("senses", list(itertools.product(SENSES, SENSES)))
def test_the_price_of_optimism(senses: tuple[int, int]) -> None:
    """Best for the leader x = 1, u = 0: −0.8; the follower might as well play u = 1: 0.2."""
    sense = senses[0]
    plan = sp.stackelberg(indifferent(*senses))
    assert plan.values == pytest.approx({"x": 1, "f.u": 0, "f.v": 1}, abs=1e-5)
    assert sense * plan.leader_objective == pytest.approx(-0.8, abs=1e-6)
    worst = sp.pessimistic(plan)
    assert worst.value("x") == pytest.approx(plan.value("x"), abs=1e-9)
    assert worst.value("f.u") == pytest.approx(1, abs=1e-5)
    assert sense * worst.leader_objective == pytest.approx(0.2, abs=1e-5)
    assert worst.responding == ("f",)
    assert worst.quality == "optimal", "no answer is worse"
    assert worst.report is not None
    assert worst.report.ok
    assert sense * (worst.leader_objective - plan.leader_objective) == pytest.approx(1, abs=1e-5)
    if math.isfinite(worst.bound):
        assert sense * (worst.bound - worst.leader_objective) >= -1e-6, "a bound from above on what he pays"


@pytest.mark.parametrize("treatment", ["scholtes", "fischer-burmeister", "penalty", "sos1"])
def test_pessimists_by_every_treatment(treatment: str) -> None:
    plan = sp.stackelberg(indifferent())
    worst = sp.pessimistic(plan, complementarity=treatment)
    assert worst.leader_objective == pytest.approx(0.2, abs=1e-5)
    assert worst.quality == ("optimal" if treatment == "sos1" else "feasible")


def test_the_pessimist_of_a_plan_where_nobody_responds_lets_all_respond() -> None:
    plan = sp.leader_optimal(indifferent())
    assert plan.responding == ()
    worst = sp.pessimistic(plan)
    assert worst.responding == ("f",)
    assert worst.leader_objective == pytest.approx((plan.value("x") - 1) ** 2 + 0.2, abs=1e-5)


def test_the_pessimist_keeps_those_who_do_not_respond() -> None:
    plan = sp.leader_optimal(major_minor(2), responding="minor", solver="pounce")
    worst = sp.pessimistic(plan, solver="pounce")
    assert worst.values == pytest.approx(plan.values, abs=1e-6), "the minors' answer is unique"
    assert worst.responding == ("minor",)


@pytest.mark.slow
def test_an_answer_that_can_hurt_without_limit() -> None:
    plan = sp.stackelberg(indifferent(wide=True))
    assert plan.leader_objective == pytest.approx(0, abs=1e-6)
    with pytest.raises(sp.NoPlan) as caught:
        sp.pessimistic(plan)
    assert caught.value.termination == "unbounded"
    assert "f.u" in str(caught.value)


def test_pessimistic_takes_a_plan_and_its_own_options_alone() -> None:
    plan = sp.stackelberg(indifferent())
    with pytest.raises(sp.InvalidGame, match="expected a Plan"):
        sp.pessimistic(plan.game)
    with pytest.raises(sp.InvalidGame, match="responding"):
        sp.pessimistic(plan, responding="f")
    with pytest.raises(sp.InvalidGame, match="starts"):
        sp.pessimistic(plan, starts=0)
    with pytest.raises(sp.InvalidGame, match="no game"):
        sp.pessimistic(sp.Plan.from_json(plan.to_json()))
    assert sp.pessimistic(sp.Plan.from_json(plan.to_json(), plan.game)).leader_objective == pytest.approx(0.2, abs=1e-5)


@pytest.mark.slow
def test_cournot_firms_with_fractional_powers_are_verified() -> None:
    """F. Facchinei and C. Kanzow's A.16 without a cap, each firm's cost proved convex though its action has no end."""
    m = pyo.ConcreteModel()
    m.f = pyo.Block(range(5))
    for firm in m.f.values():
        firm.x = pyo.Var(bounds=(0, None))
    total = sum(firm.x for firm in m.f.values())
    for k, firm in m.f.items():
        beta = 1.2 - 0.1 * k
        own = (10 - 2 * k) * firm.x + beta / (1 + beta) * 5 ** (-1 / beta) * firm.x ** ((1 + beta) / beta)
        firm.loss = pyo.Objective(expr=own - 5000 ** (1 / 1.1) * firm.x * total ** (-1 / 1.1))
    m.goal = pyo.Objective(expr=0)
    plan = sp.nash(sp.Game(m, m.f))
    published = (36.93251081573577, 41.81814166043763, 43.70657852227421, 42.65923974330512, 39.17895251662502)
    assert [plan.value(firm.x) for firm in m.f.values()] == pytest.approx(published, abs=1e-8)
    assert plan.quality == "feasible"
    assert plan.report is not None
    assert set(plan.report.certificate) == {"convex"}
