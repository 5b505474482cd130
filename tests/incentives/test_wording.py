"""The contract in plain words: its numbers against closed forms, its formats against what they must escape."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from conftest import snapshot, toll_game
from scipy import sparse

import stackpyomo as sp
from stackpyomo.core import Table, as_html, as_latex, as_markdown, as_text
from stackpyomo.incentives import in_words, terms
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


# --- numbers ------------------------------------------------------------------------------------------------------


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


def test_a_sum_is_named_and_the_answer_to_one_action_counted() -> None:
    """J_i = (u_i − 2)² + p u_i, u_i* = 1: each is tempted by 2, and one more unit moves the meter by 1/2."""
    m = pyo.ConcreteModel()
    m.p = pyo.Var(initialize=1.0)
    m.f = pyo.Block(range(2))
    for i in range(2):
        m.f[i].u = pyo.Var(initialize=0.0)
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - 2) ** 2 + m.p * m.f[i].u)
    m.meter = pyo.Expression(expr=0.5 * m.f[0].u + 0.5 * m.f[1].u - 3)
    m.goal = pyo.Objective(expr=m.p**2 + sum((m.f[i].u - 1) ** 2 for i in range(2)))
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f)), observe=[m.meter])
    text = str(rule)
    assert "p = 0 + 4 (meter + 2)\n" in text
    assert "meter = 0.5 f[0].u + 0.5 f[1].u − 3\n" in text
    assert re.search(r"more f\[1\]\.u +2 +2\n", text)
    unnamed = sp.affine_incentive(rule.plan, observe=[m.f[0].u + m.f[1].u])
    assert "p = 0 + 2 (f[0].u + f[1].u − 2)\n" in str(unnamed)


def test_who_is_left_alone_held_by_constraints_or_doubtful_is_named() -> None:
    m = pyo.ConcreteModel()
    m.p = pyo.Var(bounds=(-9, 9), initialize=0.0)
    m.f = pyo.Block(range(3))
    for i in range(3):
        m.f[i].u = pyo.Var(bounds=(0, 2), initialize=0.5)
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - 2) ** 2 + (m.p + 1) ** 2)
    m.f[1].cap = pyo.Constraint(expr=m.f[1].u <= 1)
    m.f[2].cost.set_value((m.f[2].u - 2) ** 2 + m.p * m.f[2].u)
    m.goal = pyo.Objective(expr=m.p**2 + (m.f[0].u - 2) ** 2 + (m.f[1].u - 1.5) ** 2 + (m.f[2].u - 1) ** 2)
    plan = sp.leader_optimal(sp.Game(m, followers=m.f))
    rule = sp.affine_incentive(plan, observe=[m.f[1].u, m.f[2].u], multipliers="free", saturate=True)
    text = str(rule)
    assert "p = 0 + 2 (f[2].u − 1), never beyond [-9, 9]" in text
    assert "Left alone, because nothing they do is observed: f[0]." in text
    assert "Held by their own constraints: f[1].cap (multiplier 2)." in text
    assert "Run verify(rule): the costs of f[2] are not proved convex under this gain" in text
    assert re.search(r"more f\[1\]\.u +2 +0 +2\n", text)
    assert re.search(r"more f\[2\]\.u +2 +2 +0\n", text)
    assert "f[0].u" not in text


def test_a_quadratic_term_is_written_with_its_square() -> None:
    m = pyo.ConcreteModel()
    m.p = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-1, 1), initialize=0.0)
    m.f.cost = pyo.Objective(expr=-(m.f.u**2) + m.p)
    m.goal = pyo.Objective(expr=m.f.u**2 + m.p**2)
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f)), quadratic=True)
    assert rule.bend is not None
    assert f"p = 0 + {rule.bend.toarray()[0, 0] / 2:.6g} f.u²" in str(rule)


# --- words --------------------------------------------------------------------------------------------------------

PLAIN = """\
The leader announces:
  toll = 0 + 1.33333 (driver.flow − 0.6)
On the plan the first number applies; each unit of a deviation changes it as shown.
On the plan, each in the unit of its objective:
  follower  objective  money
  driver         0.16      0
On the plan no money changes hands.
One unit of a small deviation from the plan, to the follower:
  deviation         gains without the rule  the rule takes
  more driver.flow                     0.8             0.8
Run verify(rule): the costs of driver are not proved convex under this gain, so that following the plan may not be the \
best answer.
(rule.compare(sp.stackelberg(game)) tells who gains and who loses against announcing constants.)"""

COMPARED = """\
Against the baseline (optimal; responding: driver):

| player | with the rule | baseline | difference | verdict |
| --- | ---: | ---: | ---: | ---: |
| leader | 0 | 0.00615385 | -0.00615385 | gains |
| driver | 0.16 | 0.621302 | -0.461302 | gains |

The leader is better off. Followers: 1 better off.
"""


def test_the_words_of_the_toll(toll: sp.Incentive) -> None:
    assert str(toll) == PLAIN
    page = toll.to_markdown(sp.stackelberg(toll.attached()))
    assert page.endswith(COMPARED)
    assert "- `toll = 0 + 1.33333 (driver.flow − 0.6)`\n" in page
    assert "rule.compare" not in page
    assert "Against" not in toll.to_markdown()


def test_an_incentive_read_again_says_what_it_can(toll: sp.Incentive) -> None:
    alone = sp.Incentive.from_json(toll.to_json())
    assert str(alone).splitlines()[:3] == PLAIN.splitlines()[:3]
    assert "from_json(text, game)" in str(alone)
    assert alone.to_markdown().startswith("The leader announces:")
    assert alone.to_latex()
    for ask in (lambda: alone.payments, lambda: alone.compare(toll.plan), lambda: alone.to_markdown(toll.plan)):
        with pytest.raises(sp.InvalidGame, match="has no game"):
            ask()
    assert str(sp.Incentive.from_json(toll.to_json(), toll.attached())) == str(toll)


def test_a_game_that_has_changed_is_told_not_raised() -> None:
    game = toll_game()
    rule = sp.affine_incentive(sp.leader_optimal(game))
    game.model.driver.flow.fix(0.1)
    assert "What it means to the followers is not known: " in str(rule)
    assert "toll = 0 + 1.33333" in str(rule)
    with pytest.raises(sp.InvalidGame, match=r"driver\.flow"):
        _ = rule.payments


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


def test_long_contracts_are_cut() -> None:
    m = pyo.ConcreteModel()
    m.p = pyo.Var(range(50), initialize=0.0)
    m.f = pyo.Block(range(50))
    for i in range(50):
        m.f[i].u = pyo.Var()
        m.f[i].cost = pyo.Objective(expr=(m.f[i].u - 2) ** 2 + m.p[i] * m.f[i].u)
    m.goal = pyo.Objective(expr=sum(m.p[i] ** 2 + (m.f[i].u - 1) ** 2 for i in range(50)))
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f)))
    text, page = str(rule), as_text(in_words(rule, rule.plan))
    for told in (
        "10 more in .offset and .gain",
        "10 more in .plan.follower_objectives and .payments",
        "10 more deviations",
    ):
        assert told in text
        assert told in page
    assert "10 more in .compare(baseline)" in page
    for whole in (rule.to_markdown(rule.plan), rule.to_latex(rule.plan)):
        assert "10 more" not in whole
        assert whole.count("49") == whole.count("38") > 3
    np.testing.assert_allclose(rule.payments, 0.0, atol=1e-6)


def test_many_terms_are_cut() -> None:
    m = pyo.ConcreteModel()
    m.p = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(range(9), initialize=0.0)
    m.f.cost = pyo.Objective(expr=sum((m.f.u[j] - 2) ** 2 for j in range(9)) + m.p + 2 * m.p**2)
    m.goal = pyo.Objective(expr=m.p**2 + sum((m.f.u[j] - 1) ** 2 for j in range(9)))
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.f)))
    rule.matrix = rule.matrix @ sparse.diags_array(np.arange(9.0, 0.0, -1.0) * (-1.0) ** np.arange(9))
    assert str(rule).splitlines()[1].startswith("  p = 0 + 18 (f.u[0] − 1) − 16 (f.u[1] − 1)")
    assert str(rule).splitlines()[1].endswith("(f.u[5] − 1) … 3 more")
    for whole in (rule.to_markdown(), rule.to_latex(), "".join(map(str, terms(rule)))):
        places = [whole.index(text) for j in range(9) if (text := next(t for t in _written(j) if t in whole))]
        assert places == sorted(places), "in the model's order"
    rule.matrix = rule.matrix @ sparse.diags_array(1.0 / np.arange(9.0, 0.0, -1.0) ** 2)
    assert str(rule).splitlines()[1].endswith("(f.u[5] − 1) … 3 more"), "whatever their size"


def _written(place: int) -> tuple[str, ...]:
    return f"(f.u[{place}]", f"(f.u{{[}}{place}{{]}}"


# --- formats ------------------------------------------------------------------------------------------------------

AWKWARD: list[Any] = [
    r"100% of a_b & c#d {x} $y ~ ^ \n <i> |z|",
    ["x_1 = 2 − 3 (f[0].u − 1)²", "… 2 more"],
    Table(["who", "|u|"], [["[a]", "-1"], ["f_2", "—"]]),
]


def test_latex_is_escaped_and_balanced() -> None:
    text = as_latex(AWKWARD)
    assert r"100\% of a\_b \& c\#d \{x\} \$y \textasciitilde{} \textasciicircum{} \textbackslash{}n" in text
    assert r"$<$i$>$ $|$z$|$" in text
    assert r"\item x\_1 = 2 $-$ 3 (f{[}0{]}.u $-$ 1)$^2$" in text
    assert "  {[}a{]} & -1 \\\\\n" in text, "a bare bracket after \\\\ is an option"
    assert text.isascii()
    bare = re.sub(r"\\[%&#$_{}\\]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text) == ["itemize", "tabular"]
    for line in text.splitlines():
        if line.endswith("\\\\"):
            assert line.replace(r"\&", "").count("&") == 1


def test_markdown_is_a_proper_table() -> None:
    text = as_markdown(AWKWARD)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table == ["| who | \\|u\\| |", "| --- | ---: |", "| \\[a\\] | -1 |", "| f\\_2 | — |"]
    assert r"100% of a\_b & c#d {x} $y \~ ^ \\n \<i\> \|z\|" in text
    assert "- `x_1 = 2 − 3 (f[0].u − 1)²`" in text


def test_html_and_text() -> None:
    page = as_html(AWKWARD)
    assert "&lt;i&gt;" in page
    assert "<th>who</th>" in page
    assert "<td>f_2</td><td>—</td>" in page
    assert as_text(AWKWARD[2:]) == "  who  |u|\n  [a]   -1\n  f_2    —"


def test_a_notebook_shows_it(toll: sp.Incentive) -> None:
    assert "<td>more driver.flow</td><td>0.8</td><td>0.8</td>" in toll._repr_html_()


def two_tolls(**units: Any) -> sp.Incentive:
    """Two drivers, each with a toll of its own, declared backwards: Q = 4/3 for both, as for the toll game."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var([2, 1], bounds=(-2, 2), units=units.get("toll"))
    m.driver = pyo.Block([2, 1])
    for i in (2, 1):
        m.driver[i].flow = pyo.Var(bounds=(0, 1), units=units.get("flow"))
        m.driver[i].cost = pyo.Objective(expr=(m.driver[i].flow - 1) ** 2 + m.toll[i] * m.driver[i].flow)
    m.miss = pyo.Objective(expr=sum((m.driver[i].flow - 0.6) ** 2 + 0.01 * m.toll[i] ** 2 for i in (2, 1)))
    plan = sp.leader_optimal(sp.Game(m, m.driver))
    return sp.affine_incentive(plan, [(m.toll[i], [m.driver[i].flow]) for i in (2, 1)])


def test_terms_as_csv_in_the_order_of_the_model() -> None:
    rule = two_tolls()
    table = pd.read_csv(io.StringIO(rule.to_csv()))
    assert table["variable"].tolist() == ["toll[2]", "toll[1]"]
    assert table["signal"].tolist() == ["driver[2].flow", "driver[1].flow"]
    assert table["followers"].tolist() == ["driver[2]", "driver[1]"]
    assert table["unit"].isna().all()
    assert table["per_unit"].tolist() == pytest.approx([4 / 3, 4 / 3], abs=1e-5)
    assert table[["on_plan", "target"]].to_numpy().ravel().tolist() == pytest.approx([0, 0.6] * 2, abs=1e-5)
    read = sp.Incentive.from_json(rule.to_json())
    assert pd.read_csv(io.StringIO(read.to_csv()))["per_unit"].tolist() == table["per_unit"].tolist()


def test_terms_with_the_units_of_the_model() -> None:
    rule = two_tolls(toll=pyo.units.kg, flow=pyo.units.m)
    table = pd.read_csv(io.StringIO(rule.to_csv()))
    assert (set(table["unit"]), set(table["signal_unit"])) == ({"kg"}, {"m"})
    assert "toll[2] [kg] = 0 + 1.33333 (driver[2].flow − 0.6)" in str(rule)


def test_units_within_expressions_count_as_1(tmp_path: Path) -> None:
    """2 (u − 1)² + t u − 0.2 u at u = 0.6: K = −(4·(−0.4) − 0.2)/0.6 = 3."""
    units, m = pyo.units, pyo.ConcreteModel()
    m.price = pyo.Param(initialize=0.2, units=units.kg / units.m, mutable=True)
    m.toll = pyo.Var(bounds=(-2, 2), units=units.kg / units.m)
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, 1), units=units.m)
    left = m.driver.flow - 1 * units.m
    m.driver.cost = pyo.Objective(expr=2 * units.kg / units.m**2 * left**2 + (m.toll - m.price) * m.driver.flow)
    m.driver.cap = pyo.Constraint(expr=m.driver.flow <= 0.9 * units.m)
    toll = m.toll * units.m / units.kg
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6 * units.m) ** 2 / units.m**2 + 0.01 * toll**2)
    game = sp.Game(m, m.driver)
    assert game.check() == []
    rule = sp.affine_incentive(sp.leader_optimal(game))
    assert rule.gain.loc["toll", "driver.flow"] == pytest.approx(3.0)
    assert "toll [kg/m] = 0 + 3 (driver.flow − 0.6)" in str(rule)
    assert sp.verify(rule).ok
    game.write(tmp_path / "game.json")
    assert sp.verify(sp.affine_incentive(sp.leader_optimal(sp.read_game(tmp_path / "game.json")))).ok
