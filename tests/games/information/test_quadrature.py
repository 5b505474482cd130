"""Information is respected by the numerics: grids from the observations inwards, and what atoms reveal is named."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import minimize_scalar

import stackpyomo as sp
from models import quadratic_gaussian as qg
from models.storage_contract import shocks
from stackpyomo.errors import InvalidGame

COSTS = [qg.Costs(), qg.Costs(noise=0.5, r0=2.0, r1=1.5, beta=1.3, theta=0.2, s=0.7)]


def private(n: int, nodes: Any, noise: float) -> sp.Scenarios:
    """x ~ N(0, 1), y_i = x + w_i, from the observations inwards."""
    names = ["x", *(f"w{i}" for i in range(1, n + 1))]
    signals = {f"y{i}": {"x": 1.0, f"w{i}": 1.0} for i in range(1, n + 1)}
    covariance = np.diag([1.0, *[noise] * n])
    return sp.Scenarios.gauss_hermite(names, nodes, covariance=covariance, observed=signals)


# --- quadrature from the observations inwards -------------------------------------------------------------------------


def random_covariance(generator: np.random.Generator, size: int) -> np.ndarray:
    root = generator.normal(size=(size, size + 1))
    return root @ root.T


@settings(max_examples=drawn(25), deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 5))
def test_moments_given_each_observation_are_the_gaussians(seed: int, nodes: int) -> None:
    """E[z | y_i] is linear of slope Cov(z, y_i)/Var(y_i) at every node, for any z; all second moments are right."""
    generator = np.random.default_rng(seed)
    names, seen = ["a", "b", "c", "d"], ["b", "d"]
    matrix, mean = random_covariance(generator, 4), generator.normal(size=4)
    scale = 10.0 ** generator.integers(-8, 9, size=4)
    matrix, mean = matrix * np.outer(scale, scale), mean * scale
    scenarios = sp.Scenarios.gauss_hermite(names, nodes, mean=mean, covariance=matrix, observed=seen)
    values = np.stack([(scenarios[n] - m) / s for n, m, s in zip(names, mean, scale, strict=True)])
    wanted = matrix / np.outer(scale, scale)
    found = np.einsum("w,iw,jw->ij", scenarios.probability, values, values)
    np.testing.assert_allclose(found, wanted, atol=1e-7)
    assert scenarios.probability.min() > 0.0
    for name in seen:
        i = names.index(name)
        assert len(scenarios.atoms(name)) == nodes
        for atom, power in scenarios.atom_probability(name).items():
            here = scenarios.members(name, atom)
            given_atom = values[:, here] @ scenarios.probability[here] / power
            line = wanted[:, i] / wanted[i, i] * (atom - mean[i]) / scale[i]
            np.testing.assert_allclose(given_atom, line, atol=1e-5)


def test_a_list_of_signals_is_as_exact_as_one() -> None:
    """Who sees y1 and z1 together expects y2 as a Gaussian would."""
    matrix = np.eye(4) + 0.3 * (np.ones((4, 4)) - np.eye(4))
    names = ["x", "y1", "z1", "y2"]
    scenarios = sp.Scenarios.gauss_hermite(
        names, 3, covariance=matrix, observed=["y1", "z1", "y2"], observations={"both": ["y1", "z1"]}
    )
    slope = np.linalg.solve(matrix[1:3, 1:3], matrix[1:3, [0, 3]])
    for atom, power in scenarios.atom_probability("both").items():
        here = scenarios.members("both", atom)
        means = [scenarios.probability[here] @ scenarios[n][here] / power for n in ("x", "y2")]
        np.testing.assert_allclose(means, np.array(atom) @ slope, atol=1e-8)


def test_what_is_not_quadratic_converges() -> None:
    """min E[(x − γ(y1) − γ(y2)) ² + γ⁴]: the leader's cost settles as nodes are added, from the second on."""

    def cost(nodes: int) -> float:
        scenarios = private(2, [nodes, nodes, 3], 1.0)
        m = pyo.ConcreteModel()
        m.f = pyo.Block([1, 2])
        for i in (1, 2):
            m.f[i].u = pyo.Var(scenarios.atoms(f"y{i}"), initialize=0.1)
            m.f[i].cost = pyo.Objective(expr=sum(u**2 for u in m.f[i].u.values()))

        def u(i: int, w: int) -> Any:
            return m.f[i].u[scenarios.atom(f"y{i}", w)]

        x = scenarios["x"]
        m.goal = pyo.Objective(
            expr=scenarios.expectation(lambda w: (x[w] - u(1, w) - u(2, w)) ** 2 + u(1, w) ** 4 + u(2, w) ** 4)
        )
        return float(sp.leader_optimal(sp.Game(m, m.f)).leader_objective)

    errors = [abs(cost(nodes) - cost(15)) for nodes in (3, 5, 7, 9)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"observed": "z"}, "observed: z is no signal of x, y"),
        ({"observed": ["x", "z"]}, "observed: z is no signal of x, y"),
        ({"observed": {"s": {"z": 1.0}}}, "observed: s is no signal of x, y"),
        ({"observed": 5}, "observed: 5 is no signal of x, y"),
        ({"observed": {"s": "x"}}, "observed: s is no signal of x, y"),
        ({"observed": {"s": {"x": "much"}}}, "observed: s is no signal of x, y"),
        ({"observed": {"s": {"x": 0.0}}}, "observed: s is no signal of x, y"),
        ({"observed": {"s": {"x": math.nan}}}, "observed: s is no signal of x, y"),
        ({"observed": {"x": {"x": 1.0, "y": 1.0}}}, "observed: x is a name by itself"),
        ({"observed": {"s": {"x": 1.0}, "t": {"x": 2.0}}}, "covariance of s, t: not positive definite"),
        ({"observed": ["x"], "nodes": [3]}, "one for each of x, what they leave open"),
        ({"mean": 1e20}, "so far from 0 that the nodes of x are one number"),
    ],
)
def test_bad_signals_are_told(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidGame) as told:
        sp.Scenarios.gauss_hermite(["x", "y"], **{"nodes": 3, **arguments})
    assert words in str(told.value)


def test_two_nodes_cannot_have_every_covariance() -> None:
    """Three signs cannot each disagree with the two others as much as this; three nodes can."""
    matrix = np.full((3, 3), -0.45) + 1.45 * np.eye(3)
    with pytest.raises(InvalidGame, match="no weights on this grid give a, b, c their covariance; take more nodes"):
        sp.Scenarios.gauss_hermite(["a", "b", "c"], 2, covariance=matrix, observed=["a", "b", "c"])
    assert len(sp.Scenarios.gauss_hermite(["a", "b", "c"], 3, covariance=matrix, observed=["a", "b", "c"])) <= 27


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1e-20), (0.0, 1e-300), (1e9, 0.04), (1e9, 1e18), (-3e5, 1e-6)])
def test_nodes_do_not_merge_in_any_unit(mean: float, variance: float) -> None:
    scenarios = sp.Scenarios.gauss_hermite(["x", "z"], 5, mean=[mean, 0.0], covariance=np.diag([variance, 1.0]))
    assert len(scenarios.atoms("x")) == 5
    d = (scenarios["x"] - mean) / math.sqrt(variance)
    assert scenarios.probability @ d**2 == pytest.approx(1.0, rel=1e-4)


# --- what atoms reveal ------------------------------------------------------------------------------------------------


def noisy(kind: str, show: Any) -> sp.Scenarios:
    """A state, a noise and an observation of both, on a product grid or in samples."""
    if kind == "grid":
        return sp.Scenarios.gauss_hermite(["x", "w"], 4, covariance=np.diag([1.0, 0.5]), observations={"y": show})

    def draw(generator: np.random.Generator, size: int) -> dict[str, Any]:
        return {"x": generator.normal(size=size), "w": generator.normal(size=size)}

    return sp.Scenarios.from_samples(draw, 60, seed=3, observations={"y": show})


def decided_by(scenarios: sp.Scenarios, observation: str) -> sp.Game:
    m = pyo.ConcreteModel()
    m.f = pyo.Block()
    m.f.u = pyo.Var(scenarios.atoms(observation), initialize=0.0)
    m.f.cost = pyo.Objective(expr=sum(u**2 for u in m.f.u.values()))
    m.goal = pyo.Objective(expr=sum((u - 1) ** 2 for u in m.f.u.values()))
    return sp.Game(m, m.f)


def findings_of(scenarios: sp.Scenarios, observation: str) -> list[Any]:
    return decided_by(scenarios, observation).check()


@pytest.mark.parametrize("kind", ["grid", "samples"])
@pytest.mark.parametrize(
    "show", [lambda r: r["x"] + r["w"], lambda r: r["x"] * math.exp(r["w"]), lambda r: (r["x"] + r["w"], 3.0)]
)
def test_a_sum_that_tells_its_parts_is_named(kind: str, show: Any, caplog: pytest.LogCaptureFixture) -> None:
    scenarios = noisy(kind, show)
    assert not caplog.records, "nothing is wrong before somebody decides by it"
    found = findings_of(scenarios, "y")
    assert [(f.severity, f.component) for f in found] == [("warning", "f.u")]
    assert "observing y tells x" in found[0].message
    assert "scenarios.policy(block, 'y')" in found[0].remedy
    assert [r.levelno for r in caplog.records] == [logging.WARNING], "once, however often it is asked for"
    assert "observing y tells x" in caplog.text


def test_the_leader_is_named_too() -> None:
    scenarios = noisy("grid", lambda r: r["x"] + r["w"])
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var([1, 2], scenarios.atoms("y"), initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.0)
    m.f.cost = pyo.Objective(expr=m.f.u**2)
    m.goal = pyo.Objective(expr=sum((u - 1) ** 2 for u in m.u0.values()) + m.f.u**2)
    assert [f.component for f in sp.Game(m, m.f).check()] == ["u0"]


BOTH = [["x", "w"], lambda r: (2.0 * r["x"], math.exp(r["w"])), lambda r: round(r["x"] + r["w"]), lambda r: "all"]
STATE = ["x", lambda r: 2.0 * r["x"] - 1.0, lambda r: math.exp(r["x"]), lambda r: r["x"] > 0.5]


@pytest.mark.parametrize(
    ("kind", "show"), [("grid", what) for what in [*BOTH, *STATE]] + [("samples", what) for what in BOTH]
)
def test_what_is_meant_is_not_named(kind: str, show: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert findings_of(noisy(kind, show), "y") == []
    assert not caplog.records


@pytest.mark.parametrize(("show", "named"), [(lambda r: r["x"] + r["w"], True), (STATE[1], False)])
def test_who_knows_more_than_it_observes_is_told_beside_the_verdict(show: Any, named: bool) -> None:
    """The plan holds in the game as it is written; that this is one of full information stands under the verdict."""
    report = sp.verify(sp.Plan.from_values(decided_by(noisy("grid", show), "y")))
    assert report.ok
    assert any("decided with full information" in line for line in report.warnings) == named
    assert ("full information" in str(report)) == named


@pytest.mark.parametrize(("probability", "named"), [(1e-20, True), (1e-300, True), (1e-12, False), (0.0, False)])
def test_what_is_too_seldom_to_count_is_named(probability: float, named: bool) -> None:
    """1e-20 beside 1 is nothing to a sum of floats: whatever is decided there, the expected cost is the same."""
    scenarios = sp.Scenarios({"y": ["often", "never"]}, [1.0 - probability, probability])
    (text,) = [str(f) for f in findings_of(scenarios, "y")] or [""]
    assert ("y = never is so improbable" in text) == named
    report = sp.verify(sp.Plan.from_values(decided_by(scenarios, "y")))
    assert any("y = never" in line for line in report.warnings) == named


def test_a_sample_of_the_state_tells_the_noise_and_not_more() -> None:
    """Each drawn x comes with one w: who decides by it knows w, too; that 2x or exp(x) tells x is meant."""
    for show in STATE[:3]:
        (found,) = findings_of(noisy("samples", show), "y")
        assert "observing y tells w exactly" in found.message


def test_finite_information_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    """Rows that the user wrote down, histories of shocks, and grids from the observations inwards."""
    written = sp.Scenarios({"x": [1.0, 2.0, 4.0], "y": [0.5, 0.1, 0.3]}, [0.2, 0.3, 0.5])
    assert findings_of(written, "y") == []
    history = shocks(3, -0.5, 1.0, 0.4)
    assert findings_of(history, "h3") == []
    inwards = private(2, 3, 0.5)
    assert findings_of(inwards, "y1") == []
    first = sp.Scenarios.gauss_hermite(["y", "x"], 3, covariance=[[2.0, 0.7], [0.7, 1.0]])
    assert findings_of(first, "y") == []
    assert not caplog.records
    assert len(findings_of(first, "x")) == 1, "the second name of a Cholesky grid knows the first"


# --- scenarios that do not happen -------------------------------------------------------------------------------------


def test_what_cannot_happen_is_no_ignorance() -> None:
    """y tells x in every scenario that can happen."""
    scenarios = sp.Scenarios({"x": [0, 1, 0, 1], "y": ["a", "b", "b", "a"]}, [0.5, 0.5, 0.0, 0.0])
    assert scenarios.knows("y", "x")
    assert not sp.Scenarios({"x": [0, 1, 0, 1], "y": ["a", "b", "b", "a"]}).knows("y", "x")
    m = pyo.ConcreteModel()
    m.fee, m.u = pyo.Var(["a", "b"]), pyo.Var([0, 1])
    seen = scenarios.observe(m.fee, [(m.u, "x")], knows="y")
    assert [(var.index(), [s.index() for s in signals]) for var, signals in seen.items()] == [("a", [0]), ("b", [1])]


@pytest.mark.parametrize("chance", [1e-3, 1e-9, 1e-12, 1e-20, 1e-300])
def test_a_regret_is_what_it_is_however_rare_the_observation(chance: float) -> None:
    """(u − 1)² + K(u − 0.3) u from the plan u = 0.3: 0.49 without an answer, 0 with K = 14/3."""
    scenarios = sp.Scenarios({"y": ["often", "rarely"]}, [1 - chance, chance])
    m = pyo.ConcreteModel()
    m.fee = pyo.Var(scenarios.atoms("y"), initialize=0.0)
    m.o = pyo.Block()
    m.o.u = pyo.Var(scenarios.atoms("y"), initialize=0.0)

    def cost(w: int) -> Any:
        y = scenarios.atom("y", w)
        return (m.o.u[y] - 1) ** 2 + m.fee[y] * m.o.u[y]

    m.o.cost = pyo.Objective(expr=scenarios.expectation(cost))
    m.goal = pyo.Objective(expr=sum((u - 0.3) ** 2 for u in m.o.u.values()) + sum(t**2 for t in m.fee.values()))
    plan = sp.leader_optimal(sp.Game(m, m.o))
    report = sp.verify(plan)
    assert report.scale["o"] < 1.0, "what is hardly weighed has no natural unit of any size"
    assert not report.ok
    table = sp.conditional_regret(plan, scenarios, {"o.u": "y"})
    assert table["regret"].tolist() == pytest.approx([0.49, 0.49], abs=1e-6)
    assert table["certificate"].tolist() == ["convex", "convex"]


def test_one_value_cannot_answer_what_is_seen_only_sometimes() -> None:
    scenarios = sp.Scenarios({"f": ["a", "b"]})
    m = pyo.ConcreteModel()
    m.fee, m.u, m.v = pyo.Var(), pyo.Var(["a", "b"]), pyo.Var()
    for knows, index in ((None, "the scenarios"), ("f", "f")):
        with pytest.raises(InvalidGame, match=rf"fee: one value .* realised \(u\[b\], say\)\. Index it by {index}"):
            scenarios.observe(m.fee, [(m.u, "f")], knows=knows)
        assert list(scenarios.observe(m.fee, [(m.v, "f")], knows=knows).items()) == [(m.fee, [m.v])]
        assert list(scenarios.energy(m.fee, knows=knows).values()) == pytest.approx([1.0])


# --- decisions that are functions -------------------------------------------------------------------------------------


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
