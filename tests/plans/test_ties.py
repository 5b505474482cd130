"""Plans against ties: published and closed forms, and enumeration of vertices on random games."""

from __future__ import annotations

import math

import pyomo.environ as pyo
import pytest
from conftest import snapshot
from helpers.responders import two_valued_price

import stackpyomo as sp
from stackpyomo.solvers import registry

pytestmark = pytest.mark.skipif(not registry["scip"].available, reason="needs SCIP")


def zeng() -> sp.Game:
    """The example of B. Zeng, INFORMS Journal on Computing 2020."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var([1, 2], bounds=(0, None))
    m.f = pyo.Block()
    m.f.y = y = pyo.Var([1, 2, 3, 4], bounds=(0, None))
    m.f.cost = pyo.Objective(expr=-10 * sum(y[i] for i in y))
    m.f.first = pyo.Constraint(expr=sum(y[i] for i in y) <= 10 - m.x[1] - m.x[2])
    m.f.second = pyo.Constraint(expr=-y[1] + y[4] <= 0.8 * m.x[1] + 0.8 * m.x[2])
    m.f.third = pyo.Constraint(expr=y[2] + y[4] <= 4 * m.x[2])
    m.goal = pyo.Objective(expr=-8 * m.x[1] - 6 * m.x[2] - 25 * y[1] - 30 * y[2] + 2 * y[3] + 16 * y[4])
    m.row = pyo.Constraint(expr=m.x[1] + m.x[2] <= 10)
    return sp.Game(m, m.f)


def test_zeng() -> None:
    """By hand: ψ = −8x₁ − 6x₂ + 2(10 − x₁ − x₂) + 14 min(.8(x₁ + x₂), 4x₂, 10 − x₁ − x₂) ≥ −80, at (10, 0)."""
    game = zeng()
    before = snapshot(game.model)
    plan = sp.stackelberg(game, ties="pessimistic")
    assert snapshot(game.model) == before
    assert plan.leader_objective == pytest.approx(-80, abs=1e-6)
    assert (plan.value("x[1]"), plan.value("x[2]")) == pytest.approx((10, 0), abs=1e-6)
    assert plan.quality == "optimal"
    assert plan.attained is True
    assert plan.ties["optimistic"] == pytest.approx(-252, abs=1e-6)
    assert plan.ties["worst"] == pytest.approx(26.4, abs=1e-6)
    assert sp.verify(plan).ok
    worst = sp.pessimistic(plan)
    assert worst.leader_objective == pytest.approx(-80, abs=1e-5)  # the plan is already the worst of its leader
    assert sp.pessimistic(sp.stackelberg(game)).leader_objective == pytest.approx(26.4, abs=1e-5)
    again = sp.Plan.from_json(plan.to_json(), game)
    assert again.attained is True
    assert again.ties == plan.ties
    assert "broken for the leader -252, against it -80, against it at the optimistic plan 26.4" in str(plan)


def jumping() -> sp.Game:
    """min x − y; the follower: min −x y over [0, 1]: ψ(x) = x − 1 for x > 0, ψ(0) = 0."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 1))
    m.f.cost = pyo.Objective(expr=-m.x * m.f.y)
    m.goal = pyo.Objective(expr=m.x - m.f.y)
    return sp.Game(m, m.f)


def test_an_infimum_that_is_not_reached() -> None:
    plan = sp.stackelberg(jumping(), ties="pessimistic")
    assert plan.attained is False
    assert plan.quality == "feasible"
    assert plan.bound == pytest.approx(-1, abs=1e-6)
    assert -1 < plan.leader_objective < -0.999
    assert "-1 is approached but not reached: this plan is within" in str(plan)
    assert sp.verify(plan).ok


@pytest.mark.slow
@pytest.mark.parametrize(("money", "unit"), [(1e-8, 1.0), (1.0, 1e-6)])
def test_what_is_reached_does_not_depend_on_the_leaders_units(money: float, unit: float) -> None:
    """x² + ½ (y − 1)² where y ∈ [0, 1] minimises x y: at x = 0 anything may be played, and 0 is only approached."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(-unit, unit), initialize=0.0), pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 1), initialize=0.0)
    m.f.cost = pyo.Objective(expr=m.x / unit * m.f.y)
    m.goal = pyo.Objective(expr=money * ((m.x / unit) ** 2 + 0.5 * (m.f.y - 1) ** 2))
    plan = sp.stackelberg(sp.Game(m, m.f), ties="pessimistic")
    assert plan.attained is not True
    assert plan.leader_objective <= 1e-2 * money
    assert plan.quality == "feasible" or plan.leader_objective <= 1e-4 * money


@pytest.mark.parametrize("width", [1e-2, 1e-4])
def test_ties_of_a_width(width: float) -> None:
    """P_ε = −1 + 2√ε at x = √ε."""
    plan = sp.stackelberg(jumping(), ties="pessimistic", tie_tolerance=width)
    assert plan.leader_objective == pytest.approx(-1 + 2 * math.sqrt(width), abs=1e-6)
    assert plan.value("x") == pytest.approx(math.sqrt(width), abs=1e-4)
    assert plan.attained is True


def test_the_leaders_rows_hold_for_every_answer() -> None:
    """The follower does not care where in [0, x] it is; y ≤ ½ for all of it asks for x ≤ ½."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 1))
    m.f.row = pyo.Constraint(expr=m.f.y <= m.x)
    m.f.cost = pyo.Objective(expr=0 * m.f.y)
    m.goal = pyo.Objective(expr=-m.x)
    m.room = pyo.Constraint(expr=m.f.y <= 0.5)
    game = sp.Game(m, m.f)
    assert sp.stackelberg(game).value("x") == pytest.approx(1)
    plan = sp.stackelberg(game, ties="pessimistic")
    assert plan.value("x") == pytest.approx(0.5, abs=1e-6)
    assert plan.quality == "optimal"
    m.room.set_value(m.f.y >= 0.5)  # y = 0 is always a best answer
    with pytest.raises(sp.NoPlan, match="whatever answer its followers choose"):
        sp.stackelberg(game, ties="pessimistic")


def test_what_is_refused() -> None:
    game = zeng()
    with pytest.raises(sp.InvalidGame, match='expected "optimistic" or "pessimistic"'):
        sp.stackelberg(game, ties="worst")
    with pytest.raises(sp.InvalidGame, match=r"tie_tolerance=0\.1: is for ties='pessimistic'"):
        sp.stackelberg(game, tie_tolerance=0.1)
    with pytest.raises(sp.InvalidGame, match="tie_tolerance=-1: expected a finite number from 0 on"):
        sp.stackelberg(game, ties="pessimistic", tie_tolerance=-1)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_no_unit_changes_whether_an_infimum_is_reached(unit: float) -> None:
    """min y − x with x in units, its cost (1 − x) y: at x = 1 alone y is anything, 1 at worst; reached at no x."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, unit))
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 1))
    m.f.cost = pyo.Objective(expr=unit * (1 - m.x / unit) * m.f.y)
    m.goal = pyo.Objective(expr=m.f.y - m.x / unit)
    plan = sp.stackelberg(sp.Game(m, m.f), ties="pessimistic")
    assert plan.bound == pytest.approx(-1, abs=1e-5)
    assert -1 < plan.leader_objective < -0.99
    assert plan.attained is not True


@pytest.mark.slow
@pytest.mark.parametrize("sense", [1, -1])
def test_ties_say_nothing_of_a_price_that_only_the_optimistic_plan_relies_on(
    sense: int, caplog: pytest.LogCaptureFixture
) -> None:
    game = two_valued_price(sense)
    with caplog.at_level("WARNING"):
        plan = sp.stackelberg(game, ties="pessimistic")
    assert plan.bound == pytest.approx(sense * 6.0, abs=1e-6)
    assert plan.ties["worst"] == pytest.approx(sense * 16.0, abs=1e-6)
    assert not caplog.records
    with caplog.at_level("WARNING"):
        sp.stackelberg(game)
    assert "need not choose" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("capacity", "energy", "dollars", "row"), [(1.0, 1.0, 1.0, 1.0), (1e-3, 1e-3, 1e3, 1e3), (1e3, 1.0, 1e-3, 1.0)]
)
def test_no_unit_makes_a_plan_beside_a_price_without_a_value_the_best_one(
    capacity: float, energy: float, dollars: float, row: float
) -> None:
    """A. J. Conejo et al. (2016), by merit order: a capacity below 50 is paid 15 and comes to −3,800 x, at 50 the price
    may be 12, which costs 1,124,000: −190,000 is approached, and no x is worth it."""
    m = pyo.ConcreteModel()
    m.x, m.price, m.market = pyo.Var(bounds=(0, 250 / capacity)), pyo.Var(), pyo.Block()
    m.market.y = pyo.Var(range(3), bounds=lambda _, k: (0, (None, 150 / energy, 100 / energy)[k]))
    x, y = m.x * capacity, [v * energy for v in m.market.y.values()]
    m.market.cost = pyo.Objective(expr=(10 * y[0] + 12 * y[1] + 15 * y[2]) / dollars)
    m.market.balance = pyo.Constraint(expr=sum(y) / row == 200 / row)
    m.market.capacity = pyo.Constraint(expr=(y[0] - x) / row <= 0)
    m.goal = pyo.Objective(expr=40000 * x + 8760 * (10 - m.price * dollars / row) * y[0])
    plan = sp.stackelberg(sp.Game(m, m.market, prices=[(m.price, m.market.balance)]), ties="pessimistic")
    assert plan.quality == "feasible"
    assert plan.attained is not True
    assert -190000 < plan.leader_objective < -189900
    assert plan.bound == pytest.approx(-190000, rel=1e-5)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("money", [1.0, 1e3])
def test_a_tie_on_the_leaders_bound_is_one_in_every_unit(unit: float, money: float) -> None:
    """min x − y, the follower's cost −x y: −1 is approached as x falls to 0, where y may be 0."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, unit)), pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 1))
    m.f.cost = pyo.Objective(expr=-m.x / unit * m.f.y)
    m.goal = pyo.Objective(expr=money * (m.x / unit - m.f.y))
    plan = sp.stackelberg(sp.Game(m, m.f), ties="pessimistic")
    assert (plan.quality, plan.attained) == ("feasible", False)
    assert plan.bound == pytest.approx(-money, rel=1e-6)
    assert -money < plan.leader_objective < -0.999 * money


UNITS = [
    ("goal", 1e8),
    ("goal", 1e-8),
    ("cost", 1e8),
    ("cost", 1e-8),
    ("constant", 1e6),
    ("amount", 1e-7),
    ("amount", 1e7),
]


@pytest.mark.parametrize(("kind", "size"), UNITS)
def test_an_infimum_that_is_not_reached_is_the_same_in_every_unit(kind: str, size: float) -> None:
    """c(x) = (2 − x, x, 2x − 2) under y₁ + y₂ + y₃ ≤ 2: on x < 1 only y₃ pays and the leader has 3x − 2, above −2; at
    x = 0 the follower may add y₂ for nothing, which costs the leader 2."""
    unit = {"goal": 1.0, "cost": 1.0, "constant": 0.0, "amount": 1.0, kind: size}
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, unit["amount"])), pyo.Block()
    m.f.y = pyo.Var(range(3), bounds=(0, unit["amount"]))
    x, y = m.x / unit["amount"], [v / unit["amount"] for v in m.f.y.values()]
    cost = (2 - x) * y[0] + x * y[1] + (2 * x - 2) * y[2]
    m.f.cost = pyo.Objective(expr=unit["cost"] * cost + unit["constant"])
    m.f.row = pyo.Constraint(expr=sum(m.f.y.values()) <= 2 * unit["amount"])
    m.goal = pyo.Objective(expr=unit["goal"] * (y[0] + 2 * y[1] - 2 * y[2] + 3 * x))
    plan = sp.stackelberg(sp.Game(m, m.f), ties="pessimistic")
    assert plan.quality == "feasible"
    assert plan.bound / unit["goal"] == pytest.approx(-2.0, abs=1e-5)
    assert -2.0 - 1e-9 <= plan.leader_objective / unit["goal"] <= -1.99
    assert plan.attained is not True


@pytest.mark.parametrize("unit", [1.0, 1e3])
def test_an_infimum_that_best_answers_do_not_reach_is_not_reached_by_the_worst(unit: float) -> None:
    """y is the least whole number from x on, the leader wants x small and y = 1: −1 as x falls to 0, and 0 at it."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, 1)), pyo.Block()
    m.f.y = pyo.Var(domain=pyo.Integers, bounds=(0, 1))
    m.f.row = pyo.Constraint(expr=m.f.y >= m.x)
    m.f.cost = pyo.Objective(expr=m.f.y)
    m.goal = pyo.Objective(expr=unit * (m.x - m.f.y))
    game = sp.Game(m, m.f)
    for ties in ("optimistic", "pessimistic"):
        plan = sp.stackelberg(game, ties=ties)
        assert (plan.quality, plan.attained) == ("feasible", False)
        assert plan.bound == pytest.approx(-unit, rel=1e-6)
        assert -unit < plan.leader_objective <= -0.999 * unit


@pytest.mark.parametrize("money", [1e-4, 1.0, 1e5])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("tie", [0.0, 0.25, 1.0])
def test_an_infimum_that_every_other_price_reaches_is_not_called_unreached(
    money: float, unit: float, tie: float
) -> None:
    """At one price the follower is indifferent, at those above (below 1) it answers 0, which the leader would have."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, unit)), pyo.Block()
    m.f.y = pyo.Var(range(2), bounds=(0, 1))
    price = (m.x / unit - tie) * (-1 if tie == 1 else 1)
    m.f.cost = pyo.Objective(expr=money * price * (2 * m.f.y[0] + 2 * m.f.y[1]))
    m.f.row = pyo.Constraint(range(2), rule=lambda b, k: (1 + k) * b.y[0] + 2 * b.y[1] <= 2 - k)
    m.goal = pyo.Objective(expr=m.f.y[0] + (0 if tie == 0.25 else -1) * m.f.y[1])
    plan = sp.stackelberg(sp.Game(m, m.f), ties="pessimistic")
    assert plan.leader_objective == pytest.approx(0.0, abs=1e-6)
    assert plan.attained is not False


@pytest.mark.parametrize("sense", [1, -1])
def test_ties_that_serve_the_leader_without_limit_say_nothing_of_ties_against_it(sense: int) -> None:
    """A follower pays x y for y ≥ 0, the leader x − y: at x = 0 any y ties, and y = 0 is the worst, 0 in all."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, 1)), pyo.Block()
    m.f.y = pyo.Var(bounds=(0, None))
    m.f.cost = pyo.Objective(expr=m.x * m.f.y)
    m.goal = pyo.Objective(expr=sense * (m.x - m.f.y), sense=pyo.minimize if sense > 0 else pyo.maximize)
    game = sp.Game(m, m.f)
    with pytest.raises(sp.NoPlan, match="improves without limit"):
        sp.stackelberg(game)
    plan = sp.stackelberg(game, ties="pessimistic")
    assert (plan.quality, plan.attained) == ("optimal", True)
    assert [plan.leader_objective, plan.value("x")] == pytest.approx([0, 0], abs=1e-7)
    assert plan.ties["optimistic"] == -sense * math.inf
    again = sp.Plan.from_json(plan.to_json(), game)
    assert again.ties["optimistic"] == -sense * math.inf
    assert str(again) == str(plan)


def test_an_action_that_nothing_holds_leaves_no_plan_against_ties() -> None:
    """A row of the leader's over an action that its follower may set to anything holds at no x."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, 1)), pyo.Block()
    m.f.y, m.f.z = pyo.Var(), pyo.Var(bounds=(0, 5))
    m.f.cost = pyo.Objective(expr=(m.f.z - m.x) ** 2)
    m.goal = pyo.Objective(expr=m.f.z + m.x)
    m.row = pyo.Constraint(expr=m.f.y <= 5)
    with pytest.raises(sp.NoPlan, match="leave none") as refusal:
        sp.stackelberg(sp.Game(m, m.f), ties="pessimistic")
    assert refusal.value.termination == "infeasible"


def test_what_improves_without_limit_whatever_the_ties_is_no_plan() -> None:
    """x is unbounded and its cost, beside a tie that serves the leader without limit, too."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(), pyo.Block()
    m.f.y = pyo.Var(bounds=(0, None))
    m.f.cost = pyo.Objective(expr=0 * m.f.y)
    m.goal = pyo.Objective(expr=m.x - m.f.y)
    with pytest.raises(sp.NoPlan, match="without limit"):
        sp.stackelberg(sp.Game(m, m.f), ties="pessimistic")
