"""Policies: decisions that are functions of what is observed, exact where they are affine."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from helpers.gaussian_games import private
from scipy import sparse
from scipy.optimize import minimize_scalar

import stackpyomo as sp
from models import quadratic_gaussian as qg
from stackpyomo.errors import InvalidGame

COSTS = [qg.Costs(), qg.Costs(noise=0.5, r0=2.0, r1=1.5, beta=1.3, theta=0.2, s=0.7)]


def with_policies(scenarios: sp.Scenarios, n: int, costs: qg.Costs) -> sp.Game:
    """The quadratic Gaussian game with u_i = c + k y_i."""
    m = pyo.ConcreteModel()
    m.follower = pyo.Block(range(1, n + 1))
    for i in m.follower:
        scenarios.policy(m.follower[i], f"y{i}", name="u")
    m.u0 = pyo.Var(list(scenarios), initialize=0.0)
    return qg.priced(m, scenarios, m.u0, costs)


def on_grid(n: int, nodes: int, noise: float) -> sp.Scenarios:
    """The product grid on which y tells x."""
    names = ["x", *(f"w{i}" for i in range(1, n + 1))]
    shown = {f"y{i}": lambda row, i=i: row["x"] + row[f"w{i}"] for i in range(1, n + 1)}
    return sp.Scenarios.gauss_hermite(names, nodes, covariance=np.diag([1.0, *[noise] * n]), observations=shown)


def true_cost(plan: sp.Plan, costs: qg.Costs) -> float:
    """J0 of two followers' u_i = k_i y_i + c_i under the Gaussian, the leader's answer best in every state."""
    blocks = plan.attached().model.follower.values()
    c, k = np.array([[plan.value(v) for v in block.u_coefficients.values()] for block in blocks]).T
    rho = costs.r0 / (1 + costs.r0)
    miss = (1 - k.mean()) ** 2 + costs.noise * (k**2).sum() / 4 + c.mean() ** 2
    return float(rho * miss + costs.r1 * ((1 + costs.noise) * k**2 + c**2).mean())


@pytest.mark.parametrize("costs", COSTS)
@pytest.mark.parametrize(("n", "nodes"), [(1, 2), (2, 2), (2, 3), (2, 5), (2, 7), (4, 2)])
def test_affine_policies_are_exact_with_two_nodes_or_more(n: int, nodes: int, costs: qg.Costs) -> None:
    """Also on grids whose atoms tell x: a function of y knows no more than y."""
    game = with_policies(on_grid(n, nodes, costs.noise), n, costs)
    assert game.check() == []
    plan, wanted = sp.leader_optimal(game), qg.closed_form(n, costs)
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(wanted.cost, abs=1e-9)
    for block in game.model.follower.values():
        c, k = (plan.value(v) for v in block.u_coefficients.values())
        assert (c, k) == pytest.approx((0.0, wanted.k), abs=1e-8)


@pytest.mark.slow
def test_less_information_never_looks_better_than_it_is() -> None:
    """What a sample's plan costs in truth comes down to the optimum from above, at the rate of the sample size."""
    costs = qg.Costs()
    best = qg.closed_form(2, costs).cost
    excess = {}
    for size in (20, 80, 320):
        plans = [sp.leader_optimal(qg.in_samples(size, seed, costs=costs)[0]) for seed in range(6)]
        gaps = [true_cost(plan, costs) - best for plan in plans]
        assert min(gaps) >= -1e-12
        excess[size] = float(np.mean(gaps))
        errors = [plan.leader_objective - best for plan in plans]
        assert abs(np.mean(errors)) < 6 / math.sqrt(size)
    assert excess[320] < excess[80] / 2 < excess[20] / 4
    scenarios = qg.in_samples(20, 0, costs=costs)[1]
    m = pyo.ConcreteModel()
    m.follower = pyo.Block([1, 2])
    for i in (1, 2):
        m.follower[i].u = pyo.Var(scenarios.atoms(f"y{i}"), initialize=0.0)
    m.u0 = pyo.Var(list(scenarios), initialize=0.0)
    informed = qg.priced(m, scenarios, m.u0, costs)
    assert [f.component for f in informed.check()] == ["follower[1].u", "follower[2].u"]
    assert sp.leader_optimal(informed).leader_objective < best - 0.05, "the plan of full information"


@pytest.mark.slow
def test_a_report_says_among_which_deviations() -> None:
    """On a fine grid the gain of least energy holds affine deviations and no others; Q of the closed form holds all."""
    costs = qg.Costs()
    scenarios = private(2, [5, 5, 2], costs.noise)
    game = with_policies(scenarios, 2, costs)
    m = game.model
    plan = sp.leader_optimal(game)
    signals = [(m.follower[i].u, f"y{i}") for i in (1, 2)]
    rule = sp.affine_incentive(plan, scenarios.observe(m.u0, signals), energy=scenarios.energy(m.u0))
    report = sp.verify(rule)
    assert report.ok
    assert "among functions of the policies' form" in report.verdict
    assert report.forms == {f"follower[{i}]": f"functions of y{i} made of constant, y{i}" for i in (1, 2)}
    assert "conditional_regret looks at all others" in str(report)
    assert sp.Report.from_json(report.to_json()).forms == report.forms
    table = sp.conditional_regret(rule, scenarios, signals)
    assert len(table) == 10
    assert table["regret"].max() > 1e-4
    oracle = {y: others_would_gain(game, scenarios, plan, rule, y, costs) for y in scenarios.atoms("y1")}
    found = table[table["follower"] == "follower[1]"].set_index("atom")["regret"]
    assert found.to_dict() == pytest.approx(oracle, abs=1e-7)
    gain = rule.gain.where(rule.gain.isna(), qg.closed_form(2, costs).gain).fillna(0.0)
    constant = replace(rule, matrix=sparse.csc_array(gain.to_numpy()))
    assert sp.verify(constant).ok
    assert sp.conditional_regret(constant, scenarios, {"follower[1].u": "y1"})["regret"].max() <= 1e-9


def others_would_gain(
    game: sp.Game, scenarios: sp.Scenarios, plan: sp.Plan, rule: sp.Incentive, y: float, costs: qg.Costs
) -> float:
    """By numpy: E[J1 | y1 = y] at the plan, less the least over u1 alone, the leader answering by its row of gains."""
    here = np.array(scenarios.members("y1", y))
    p = scenarios.probability[here] / scenarios.probability[here].sum()
    x, u0 = scenarios["x"][here], np.array([plan.value(game.model.u0[int(w)]) for w in here])
    gain = np.array([rule.gain.loc[f"u0[{w}]", f"follower[1].u[{y}]"] for w in here])
    target = qg.closed_form(2, costs).k * y

    def cost(v: float) -> float:
        answer = u0 + gain * (v - target)
        return float(p @ ((v - costs.beta * x) ** 2 + costs.s * (answer - costs.theta * x) ** 2))

    return cost(target) - float(minimize_scalar(cost, tol=1e-12).fun)


def test_a_leader_who_answers_coefficients_has_no_answer_to_other_deviations() -> None:
    scenarios = private(1, 2, 1.0)
    game = with_policies(scenarios, 1, qg.Costs())
    m = game.model
    plan = sp.leader_optimal(game)
    rule = sp.affine_incentive(plan, [(m.u0[w], list(m.follower[1].u_coefficients.values())) for w in scenarios])
    with pytest.raises(InvalidGame, match=r"the leader answers follower\[1\]\.u_coefficients\[constant\], a coef"):
        sp.conditional_regret(rule, scenarios, [(m.follower[1].u, "y1")])


def test_other_features() -> None:
    """min E (x² − u(y))²: the conditional mean is ((y/2)² + ½); 1 and y² find it, 1 and y do not."""
    scenarios = private(1, [4, 3], 1.0)
    x = scenarios["x"]
    values = {}
    for name, features in (("line", None), ("square", {"one": lambda y: 1.0, "y²": lambda y: y**2})):
        m = pyo.ConcreteModel()
        m.f = pyo.Block()
        u = scenarios.policy(m.f, "y1", features=features)
        m.f.cost = pyo.Objective(expr=sum(c**2 for c in m.f.policy_coefficients.values()))
        m.goal = pyo.Objective(expr=scenarios.expectation(lambda w, u=u: (x[w] ** 2 - u[scenarios.atom("y1", w)]) ** 2))
        values[name] = sp.leader_optimal(sp.Game(m, m.f))
    found = [values["square"].value(c) for c in ("f.policy_coefficients[one]", "f.policy_coefficients[y²]")]
    assert found == pytest.approx([0.5, 0.25], abs=1e-7)
    assert values["square"].leader_objective == pytest.approx(1.5, abs=1e-7)  # Var x² − Var(y²/4) = 2 − 1/2
    assert values["line"].leader_objective == pytest.approx(2.0, abs=1e-7)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda s, b: s.policy(b, "z"), "z: no observation of that name"),
        (lambda s, b: (s.policy(b, "x"), s.policy(b, "x")), "b: has a component named policy"),
        (lambda s, b: s.policy(b, "forecast"), "the feature forecast of forecast has no value at 'fine'"),
        (lambda s, b: s.policy(b, "x", features={"1/x": lambda x: 1 / x}), "1/x of x has no value at 0.0"),
        (lambda s, b: s.policy(b, "x", features=["x"]), "features=['x']: expected {name: function"),
        (
            lambda s, b: s.policy(b, "x", features={"one": lambda x: 1, "x": lambda x: x, "x²": lambda x: x**2}),
            "on the 2 values of x the features one, x, x² cannot be told apart",
        ),
    ],
)
def test_bad_policies_are_told(make: Any, words: str) -> None:
    scenarios = sp.Scenarios({"x": [0.0, 1.0, 2.0], "forecast": ["fine", "poor", "?"]}, [0.5, 0.5, 0.0])
    block = pyo.Block(concrete=True, name="b")
    with pytest.raises(InvalidGame) as told:
        make(scenarios, block)
    assert words in str(told.value)


def test_a_policy_answers_nobody() -> None:
    scenarios = private(1, 2, 1.0)
    m = pyo.ConcreteModel()
    m.f = pyo.Block()
    lead, follow = scenarios.policy(m, "y1", name="u0"), scenarios.policy(m.f, "y1", name="u")
    with pytest.raises(InvalidGame, match="u0: a policy; the leader's answer to an action is a value in each scenario"):
        scenarios.observe(lead, [(follow, "y1")], knows="y1")
