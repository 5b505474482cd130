"""The contract in plain words: its numbers against closed forms, its formats against what they must escape."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import toll_game
from scipy import sparse

import stackpyomo as sp
from stackpyomo.core import Table, as_html, as_latex, as_markdown, as_text
from stackpyomo.incentives import in_words, terms


@pytest.fixture(scope="module")
def toll() -> sp.Incentive:
    return sp.affine_incentive(sp.leader_optimal(toll_game()))


# --- numbers ------------------------------------------------------------------------------------------------------


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
    assert "Not verified yet: under a rule that answers, the cost of f[2] need not be convex." in text
    assert re.search(r"more f\[1\]\.u +2 +0 +2\n", text)
    assert re.search(r"more f\[2\]\.u +2 +2 +0\n", text)
    assert "f[0].u" not in text


def test_a_follower_whose_actions_are_all_fixed_is_left_alone() -> None:
    m = toll_game().model
    m.driver.flow.fix(0.5)
    rule = sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.driver)))
    assert "Left alone, because nothing they do is observed: driver." in str(rule)


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
Not verified yet: under a rule that answers, the cost of driver need not be convex. verify(rule) shows whether \
following the plan is the best answer.
(rule.compare(sp.stackelberg(game)) shows who gains and who loses against announcing constants.)"""

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


def test_a_game_that_has_changed_is_told_not_raised() -> None:
    game = toll_game()
    rule = sp.affine_incentive(sp.leader_optimal(game))
    game.model.driver.flow.fix(0.1)
    assert "What it means to the followers is not known: " in str(rule)
    assert "toll = 0 + 1.33333" in str(rule)
    with pytest.raises(sp.InvalidGame, match=r"driver\.flow"):
        _ = rule.payments


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


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_a_payment_is_small_beside_objectives_alone(unit: float) -> None:
    """1 of price times 2 of action, in any money: of 1e-9 the contract once knew of no payment."""
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var(bounds=(-5, 5)), pyo.Block()
    m.f.q = pyo.Var(bounds=(0, 5))
    m.f.cost = pyo.Objective(expr=unit * ((m.f.q - 1) ** 2 + m.p * m.f.q))
    m.goal = pyo.Objective(expr=(m.f.q - 2) ** 2 + (m.p - 1) ** 2)
    text = sp.affine_incentive(sp.leader_optimal(sp.Game(m, m.f)), curvature="none").to_markdown()
    (paid,) = re.findall(r"On the plan the followers pay (\S+) in all", text)
    assert float(paid) == pytest.approx(2.0 * unit, rel=1e-5)
