"""What a contract takes and pays, and who gains by it, against closed forms."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pyomo.environ as pyo
import pytest
from conftest import snapshot, toll_game

import stackpyomo as sp
from stackpyomo.incentives.payments import accounts


@pytest.fixture(scope="module")
def toll() -> sp.Incentive:
    return sp.affine_incentive(sp.leader_optimal(toll_game()))


def sellers(sense: int = 1, size: float = 1, charge: float = 0.0) -> sp.Game:
    """Two sellers, quantities 2 and 3 wanted, marginal costs there 2 and 6; ``charge``: a fee the first one pays.

    sense −1 writes each profit as a cost, which changes nothing but signs.
    """
    m = pyo.ConcreteModel()
    m.price = pyo.Var(range(2), initialize=0.0)
    m.fee = pyo.Var(initialize=charge)
    m.same = pyo.Constraint(expr=m.fee == charge)
    m.f = pyo.Block(range(2))
    for i in range(2):
        q = m.f[i].q = pyo.Var(bounds=(0, 10), initialize=1)
        profit = m.price[i] * q - (i + 1) * q**2 / 2 - (m.fee if i == 0 else 0)
        m.f[i].profit = pyo.Objective(expr=sense * profit, sense=pyo.maximize if sense > 0 else pyo.minimize)
    m.goal = pyo.Objective(expr=(m.f[0].q - 2) ** 2 + (m.f[1].q - 3) ** 2)
    return sp.Game(m, followers=[m.f[0], sp.Population(m.f[1], size)])


def priced(game: sp.Game) -> sp.Incentive:
    return sp.affine_incentive(sp.leader_optimal(game), free=game.model.price)


def test_the_toll_takes_back_what_tempts(toll: sp.Incentive) -> None:
    """J = (flow − 1)² + toll·flow at flow 0.6, toll 0: one more unit saves 2·0.4, and 4/3 · flow = 0.8 is charged."""
    found = accounts(toll)
    assert found.objective == pytest.approx([0.16], abs=1e-7)
    assert found.temptation == pytest.approx([0.8], abs=1e-6)
    assert found.answer == pytest.approx([0.8], abs=1e-6)
    assert toll.payments["driver"] == pytest.approx(0.0, abs=1e-7)


def test_against_constants_the_toll_helps_both(toll: sp.Incentive) -> None:
    """flow = 1 − t/2: the city's (0.4 − t/2)² + t²/100 is least at t = 0.4/0.52; the driver pays t − t²/4."""
    table = toll.compare(sp.stackelberg(toll.attached()))
    t = 0.4 / 0.52
    assert list(table.index) == ["leader", "driver"]
    assert table["baseline"].to_list() == pytest.approx([(0.4 - t / 2) ** 2 + t**2 / 100, t - t**2 / 4], abs=1e-6)
    assert table["objective"].to_list() == pytest.approx([0.0, 0.16], abs=1e-6)
    assert table["difference"].to_list() == pytest.approx((table["objective"] - table["baseline"]).to_list())
    assert list(table["verdict"]) == ["gains", "gains"]
    assert list(toll.compare(toll.plan)["verdict"]) == ["same", "same"]


@pytest.mark.parametrize("sense", [1, -1])
@pytest.mark.parametrize("size", [1, 5])
def test_sellers_are_paid_price_times_quantity(sense: int, size: int) -> None:
    game = sellers(sense, size, charge=1.5)
    rule = priced(game)
    assert rule.payments.to_list() == pytest.approx([-2 * 2 + 1.5, -6 * 3 * size], abs=1e-5)
    text = str(rule)
    assert "f[0]" in text
    assert "is paid 2.5" in text
    assert "is paid 18" in text, "one member's"
    assert f"On the plan the followers are paid {2.5 + 18 * size:g} in all; nobody pays." in text
    assert "no observed follower gains" in text, "free prices need no gain"
    table = rule.compare(rule.plan)  # on the plan before the prices are chosen both work for nothing
    worth = [4 - 2 - 1.5, 18 - 9]
    assert table["objective"].to_list()[1:] == pytest.approx([sense * w for w in worth], abs=1e-5)
    prices = [rule.plan.value(f"price[{i}]") for i in range(2)]
    assert [math.copysign(1, d) * sense for d in table["difference"][1:]] == [
        math.copysign(1, w - (p * q - c)) for w, p, q, c in zip(worth, prices, (2, 3), (3.5, 9), strict=True)
    ]
    assert set(table["verdict"][1:]) == {"gains"}


def test_a_fee_and_a_price_may_balance() -> None:
    text = str(priced(sellers(charge=22.0)))  # the first pays 22 − 4, the second is paid 18
    assert "Followers pay 18 in all and are paid 18: the budget balances." in text
    assert "pays 18" in text
    text = str(priced(sellers(charge=30.0)))
    assert "Followers pay 26 in all and are paid 18: the leader keeps 8." in text
    text = str(priced(sellers(charge=10.0)))
    assert "Followers pay 6 in all and are paid 18: the leader adds 12." in text


def test_infinitely_many_members_have_no_sum() -> None:
    rule = priced(sellers(size=math.inf))
    assert rule.payments.iloc[0] == pytest.approx(-4, abs=1e-5)
    assert math.isnan(rule.payments.iloc[1])
    assert "Not counted: f[1] (a population of infinite size has no sum)." in str(rule)
    assert "is paid 18" in str(rule)


def _one(cost: Any, at: float = 0.5) -> sp.Incentive:
    """One follower with the cost(u, lead) whose u the leader wants at ``at``, his own Vars at 1 and 2."""
    m = pyo.ConcreteModel()
    m.lead = pyo.Var(range(2), initialize=1.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0.1, 1), initialize=at)
    m.f.cost = pyo.Objective(expr=cost(m.f.u, m.lead))
    m.goal = pyo.Objective(expr=(m.f.u - at) ** 2 + (m.lead[0] - 1) ** 2 + (m.lead[1] - 2) ** 2)
    return sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f)), curvature="none")


@pytest.mark.parametrize(
    ("cost", "payment"),
    [
        (lambda u, p: u**2 + p[0] * u + p[1] * u**2, 0.5 + 2 * 0.25),
        (lambda u, p: u * pyo.log(u) + p[0] * pyo.exp(u) + p[1], math.exp(0.5) + 2),
        (lambda u, p: u**2 + p[0] ** 2 * u, math.nan),
        (lambda u, p: u**2 + p[0] * p[1] * u, math.nan),
        (lambda u, p: (u - p[0]) ** 2, math.nan),
        (lambda u, p: (u + p[0]) ** 2 - p[0] ** 2, 2 * 0.5),
    ],
)
def test_a_payment_is_what_is_affine_in_the_leaders_variables(cost: Any, payment: float) -> None:
    rule = _one(cost)
    assert rule.payments["f"] == pytest.approx(payment, abs=1e-6, nan_ok=True)
    assert ("Not counted: f (" in str(rule)) == math.isnan(payment)


def test_what_is_no_plan_of_the_game_is_no_baseline(toll: sp.Incentive) -> None:
    with pytest.raises(sp.InvalidGame, match="expected a Plan"):
        toll.compare(toll)  # type: ignore[arg-type]
    with pytest.raises(sp.InvalidGame, match="follower in only one"):
        toll.compare(priced(sellers()).plan)


def test_an_unknown_objective_is_no_verdict(toll: sp.Incentive) -> None:
    baseline = sp.Plan({}, math.nan, {"driver": 1.0})
    assert list(toll.compare(baseline)["verdict"]) == ["unknown", "gains"]
    assert "The leader is not comparable. Followers: 1 better off." in toll.to_markdown(baseline)


def test_words_leave_the_model_alone() -> None:
    game = sellers()
    rule = priced(game)
    before = snapshot(game.model)
    rule.to_markdown(rule.plan)
    assert isinstance(rule.payments, pd.Series)
    assert snapshot(game.model) == before
