"""Stochastic games: published-quality figures, and oracles that know nothing of Pyomo."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from conftest import CASES, number
from helpers.stochastic_games import SC01, P, X, Y, sc01
from scipy import sparse
from scipy.optimize import brentq, minimize_scalar

import stackpyomo as sp
from stackpyomo.errors import InvalidGame


def cost(x: Any, u0: Any, u: Any) -> Any:
    return np.exp(u - x) + (u + 1) ** 2 / 2 + (u0 - 2) ** 2 / 2 + (u0 - u) ** 2 / 4


def conditional_cost(y: str, u0: np.ndarray, gain: np.ndarray, target: float, v: Any) -> Any:
    """E[J1 | y] of the follower who plays v where target was planned, by hand."""
    here = y == Y
    move = np.asarray(v)[..., np.newaxis] - target
    values = cost(X[here], u0[here] + gain[here] * move, np.asarray(v)[..., np.newaxis])
    return values @ P[here] / P[here].sum()


def best_leader_action(x: float, u: float) -> float:
    """argmin (x − u0 − u)² + u0⁴/4: the root of u0³ + 2 u0 = 2 (x − u)."""
    return float(brentq(lambda z: z**3 + 2 * z - 2 * (x - u), -50, 50, xtol=1e-15))


def planned(y: str, bound: float) -> tuple[float, float, float]:
    """(u, its multiplier given y, E[J0 1{y}]) of the leader's plan: a scalar convex problem for each y."""
    here = np.flatnonzero(y == Y)

    def slope(u: float) -> float:
        terms = [-2 * (X[w] - best_leader_action(X[w], u) - u) + math.exp(u) / 4 for w in here]
        return float(P[here] @ terms)

    u = bound if slope(bound) < 0 else float(brentq(slope, -20, bound, xtol=1e-15))
    u0 = np.array([best_leader_action(X[w], u) for w in here])
    value = P[here] @ ((X[here] - u0 - u) ** 2 + u0**4 / 4 + math.exp(u) / 4)
    return u, max(0.0, -slope(u)) / P[here].sum(), float(value)


def least_energy(u0: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(−D ā / E[D² | y], −ā / E[D | y]) of SC01, scenario by scenario."""
    a = np.exp(u - X) + u + 1 - (u0 - u) / 2
    grip = u0 - 2 + (u0 - u) / 2
    given = {y: (y == Y) * P / P[y == Y].sum() for y in "LH"}
    mean_a, mean_d, mean_dd = (np.array([given[y] @ f for y in Y]) for f in (a, grip, grip**2))
    return -grip * mean_a / mean_dd, -mean_a / mean_d


def test_sc01_is_reproduced() -> None:
    m, scenarios, game = sc01()
    wanted = SC01["expected"]
    plan = sp.leader_optimal(game)
    assert plan.quality == "optimal"
    assert plan.leader_objective == pytest.approx(number(wanted["J0"]), abs=1e-9)
    rule = sp.affine_incentive(plan, scenarios.observe(m.u0, [(m.f.u, "y")]), energy=scenarios.energy(m.u0))
    total = 0.0
    for y in "LH":
        facts = wanted["by_y"][y]
        assert plan.value(m.f.u[y]) == pytest.approx(number(facts["u1"]), abs=1e-7)
        for w in np.flatnonzero(y == Y):
            assert plan.value(m.u0[int(w)]) == pytest.approx(number(facts["u0"][str(X[w])]), abs=1e-7)
            gain = rule.gain.loc[f"u0[{w}]", f"f.u[{y}]"]
            assert gain == pytest.approx(number(facts["Q_min_energy"][str(X[w])]), abs=1e-6)
            assert math.isnan(rule.gain.loc[f"u0[{w}]", f"f.u[{'H' if y == 'L' else 'L'}]"])
        total += P[y == Y].sum() * number(facts["EQ2_min_energy"])
    assert rule.energy == pytest.approx(total, abs=1e-6)
    report = sp.verify(rule)
    assert report.ok
    assert report.certificate["f"] == "convex"


def test_sc01_holds_with_a_gain_that_depends_on_the_observation_alone() -> None:
    """Another valid gain of the same equations: −ā/E[D | y], of more energy."""
    m, scenarios, game = sc01()
    rule = sp.affine_incentive(
        sp.leader_optimal(game), scenarios.observe(m.u0, [(m.f.u, "y")]), energy=scenarios.energy(m.u0)
    )
    table = rule.gain.fillna(0.0)
    for w, y in enumerate(Y):
        table.loc[f"u0[{w}]", f"f.u[{y}]"] = number(SC01["expected"]["by_y"][y]["Q_y_only"])
    other = replace(rule, matrix=sparse.csc_array(table.to_numpy()))
    assert sp.verify(other).epsilon <= 1e-7
    more = sum(P[y == Y].sum() * number(SC01["expected"]["by_y"][y]["EQ2_y_only"]) for y in "LH")
    assert other.energy == pytest.approx(more, abs=1e-6)
    assert other.energy > rule.energy


@pytest.mark.parametrize("bound", [0.5, 0.25, -0.3])
def test_scenarios_with_an_active_bound_of_the_follower(bound: float) -> None:
    """The bound holds the leader's plan; the follower's own multiplier is 0, since it is tempted away from it."""
    m, scenarios, game = sc01(bound)
    plan = sp.leader_optimal(game)
    facts = {y: planned(y, bound) for y in "LH"}
    assert facts["H"][1] > 0.1, "the bound is active"
    assert plan.leader_objective == pytest.approx(sum(f[2] for f in facts.values()), abs=1e-8)
    u = np.array([facts[y][0] for y in Y])
    u0 = np.array([best_leader_action(x, v) for x, v in zip(X, u, strict=True)])
    np.testing.assert_allclose([plan.value(m.u0[w]) for w in scenarios], u0, atol=1e-6)
    np.testing.assert_allclose([plan.value(m.f.u[y]) for y in Y], u, atol=1e-6)
    rule = sp.affine_incentive(plan, scenarios.observe(m.u0, [(m.f.u, "y")]), energy=scenarios.energy(m.u0))
    gain = np.array([rule.gain.loc[f"u0[{w}]", f"f.u[{y}]"] for w, y in enumerate(Y)])
    np.testing.assert_allclose(gain, least_energy(u0, u)[0], atol=1e-5)
    assert rule.multipliers == {}
    grid = np.linspace(-3, bound, 200_001)
    for y in "LH":
        here = conditional_cost(y, u0, gain, facts[y][0], grid)
        assert here.min() >= float(conditional_cost(y, u0, gain, facts[y][0], facts[y][0])) - 1e-9
        assert grid[here.argmin()] == pytest.approx(facts[y][0], abs=1e-3)
    assert sp.verify(rule).ok


def scanned(y: str, u0: np.ndarray, gain: np.ndarray, u: dict[str, float], low: float, high: float) -> float:
    """What the follower could gain after it has seen y, by scipy's scalar search."""
    found = minimize_scalar(
        lambda v: float(conditional_cost(y, u0, gain, u[y], v)),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return float(conditional_cost(y, u0, gain, u[y], u[y]) - found.fun)


def regrets(subject: Any, m: Any, scenarios: sp.Scenarios) -> pd.DataFrame:
    return sp.conditional_regret(subject, scenarios, [(m.f.u, "y")]).set_index("atom")


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_regret_of_each_observation(scale: float) -> None:
    m, scenarios, game = sc01()
    plan = sp.leader_optimal(game)
    rule = sp.affine_incentive(plan, scenarios.observe(m.u0, [(m.f.u, "y")]), energy=scenarios.energy(m.u0))
    weak = replace(rule, matrix=sparse.csc_array(rule.matrix * scale))
    u0 = np.array([plan.value(m.u0[w]) for w in scenarios])
    u = {y: plan.value(m.f.u[y]) for y in "LH"}
    gain = np.array([weak.matrix.toarray()[w, rule.signals.index(f"f.u[{y}]")] for w, y in enumerate(Y)])
    table = regrets(weak, m, scenarios)
    for y in "LH":
        wanted = scanned(y, u0, gain, u, -9, 9)
        assert wanted > 0.1 or scale == 1.0
        assert table.loc[y, "regret"] == pytest.approx(max(0.0, wanted), abs=1e-7)
        assert table.loc[y, "probability"] == pytest.approx(P[y == Y].sum())
        assert table.loc[y, "certificate"] == "convex"
    joint = sp.verify(weak).regret["f"]
    assert table["regret"] @ table["probability"] == pytest.approx(joint, abs=1e-7)


@pytest.mark.parametrize("least", [1.0, 0.9, 0.0, -9.0])
def test_regret_where_a_row_couples_the_observations(least: float) -> None:
    """u_L + u_H ≥ least: after one observation the other action is as planned, so each may use the slack alone."""
    m, scenarios, game = sc01(row=lambda u: u["L"] + u["H"] >= least)
    plan = sp.leader_optimal(game)
    u0 = np.array([plan.value(m.u0[w]) for w in scenarios])
    u = {y: plan.value(m.f.u[y]) for y in "LH"}
    assert u["L"] + u["H"] > 1.0, "the row does not bind at the plan"
    table = regrets(plan, m, scenarios)
    for y, other in ("LH", "HL"):
        wanted = scanned(y, u0, np.zeros(4), u, least - u[other], 9)
        assert table.loc[y, "regret"] == pytest.approx(wanted, abs=1e-6)
        assert table.loc[y, "certificate"] == "convex"
    together = table["regret"] @ table["probability"]
    joint = sp.verify(plan).regret["f"]
    assert together == pytest.approx(joint, abs=1e-7) if least == -9 else together > joint + 0.005


@pytest.mark.slow
def test_regret_of_one_who_shuns_risk() -> None:
    """Threshold and excesses have no observation: they follow what is decided after one."""
    m, scenarios, _ = sc01()
    m.f.cost.deactivate()
    x = [float(v) for v in X]

    def pays(w: int) -> Any:
        u, u0 = m.f.u[scenarios.atom("y", w)], m.u0[w]
        return pyo.exp(u - x[w]) + (u + 1) ** 2 / 2 + (u0 - 2) ** 2 / 2 + (u0 - u) ** 2 / 4

    m.f.risk = pyo.Objective(expr=scenarios.cvar(m.f, pays, level=0.5))
    plan = sp.leader_optimal(sp.Game(m, followers=m.f))
    u0 = np.array([plan.value(m.u0[w]) for w in scenarios])
    u = np.array([plan.value(m.f.u[y]) for y in Y])

    def risk(losses: np.ndarray) -> float:
        order = np.argsort(-losses)
        room = np.clip(0.5 - (np.cumsum(P[order]) - P[order]), 0.0, P[order])
        return float(room @ losses[order] / 0.5)

    table = regrets(plan, m, scenarios)
    for y in "LH":
        at = [risk(cost(X, u0, np.where(y == Y, v, u))) for v in np.linspace(-3, 3, 60_001)]
        wanted = risk(cost(X, u0, u)) - min(at)
        assert wanted > 0.05
        assert table.loc[y, "regret"] * table.loc[y, "probability"] == pytest.approx(wanted, abs=1e-6)


def test_conditional_regret_names_what_is_wrong() -> None:
    m, scenarios, game = sc01()
    plan = sp.leader_optimal(game)
    for actions, words in (
        ([(m.f.u, "x")], r"f\.u\[1\]: not in its index; index it by x"),
        ([(m.u0, "y")], r"u0\[L\]: not in its index"),
        ({"f.u": "z"}, "z: no observation of that name"),
    ):
        with pytest.raises(InvalidGame, match=words):
            sp.conditional_regret(plan, scenarios, actions)
    m.v = pyo.Var(["L", "H"], initialize=0.0)
    with pytest.raises(InvalidGame, match=r"v\[L\]: no follower decides on it"):
        sp.conditional_regret(sp.leader_optimal(game), scenarios, [(m.v, "y")])


def channel(p: float, c: list[float], d: list[float]) -> tuple[Any, sp.Scenarios, sp.Game]:
    """x = ±1; two followers see it right with probability p; the leader sees what they see and their sum."""
    rows = [(x, a, b) for x in (-1, 1) for a in (-1, 1) for b in (-1, 1)]
    weight = [0.5 * (p if a == x else 1 - p) * (p if b == x else 1 - p) for x, a, b in rows]
    x, y1, y2 = (list(column) for column in zip(*rows, strict=True))
    scenarios = sp.Scenarios({"x": x, "y1": y1, "y2": y2}, weight, {"y": ["y1", "y2"]})
    m = pyo.ConcreteModel()
    m.u0, m.s = (pyo.Var(scenarios.atoms("y"), initialize=0.0) for _ in range(2))
    m.f = pyo.Block([1, 2])
    for i in (1, 2):
        m.f[i].u = pyo.Var([-1, 1], initialize=0.0)
    m.sums = pyo.Constraint(scenarios.atoms("y"), rule=lambda m, a, b: m.s[a, b] == m.f[1].u[a] + m.f[2].u[b])

    def lead(w: int) -> Any:
        return m.u0[scenarios.atom("y", w)]

    def act(i: int, w: int) -> Any:
        return m.f[i].u[scenarios.atom(f"y{i}", w)]

    m.goal = pyo.Objective(
        expr=scenarios.expectation(
            lambda w: (
                (x[w] - lead(w) - (act(1, w) + act(2, w)) / 2) ** 2
                + lead(w) ** 2
                + (act(1, w) ** 2 + act(2, w) ** 2) / 4
            )
        )
    )
    for i in (1, 2):
        m.f[i].cost = pyo.Objective(
            expr=scenarios.expectation(
                lambda w, i=i: (act(i, w) - c[i - 1] * x[w]) ** 2 + (lead(w) - d[i - 1]) ** 2 / 2
            )
        )
    return m, scenarios, sp.Game(m, followers=m.f, aggregates=m.sums)


def test_qg06_shares_one_sum() -> None:
    case = CASES["QG06_finite_probability_opcs"]
    c, d = ([number(v) for v in case["data"][k]] for k in "cd")
    m, scenarios, game = channel(number(case["data"]["p"]), c, d)
    plan = sp.leader_optimal(game)
    wanted = case["expected"]
    assert plan.leader_objective == pytest.approx(number(wanted["J0"]), abs=1e-9)
    for i in (1, 2):
        for a in (-1, 1):
            assert plan.value(m.f[i].u[a]) == pytest.approx(number(wanted[f"u{i}"][str(a)]), abs=1e-8)
    rule = sp.affine_incentive(plan, scenarios.observe(m.u0, [(m.s, "y")], knows="y"))
    signs = {-1: "-", 1: "+"}
    for a, b in scenarios.atoms("y"):
        at = signs[a] + signs[b]
        assert plan.value(m.u0[a, b]) == pytest.approx(number(wanted["u0"][at]), abs=1e-8)
        assert rule.gain.loc[f"u0[{a},{b}]", f"s[{a},{b}]"] == pytest.approx(number(wanted["K"][at]), abs=1e-6)
    assert (rule.rank, rule.freedom) == (4, 0)
    report = sp.verify(rule)
    assert report.ok
    assert (report.certificate == "convex").all()
    each = scenarios.observe(m.u0, [(m.f[1].u, "y1"), (m.f[2].u, "y2")], knows="y")
    apart = sp.affine_incentive(plan, each)
    assert apart.norm < rule.norm, "who sees the actions one by one needs less"
    assert sp.verify(apart).ok


@pytest.mark.parametrize(
    ("p", "c", "d", "rank"),
    [
        (0.65, [1, 1.5], [2, -1], 4),
        (0.8, [1, 1.5], [2, -1], 4),
        (0.52, [1, 1.5], [2, -1], 4),
        (0.65, [1, 1], [2, 2], 3),
    ],
)
def test_one_channel_against_the_written_equations(p: float, c: list[float], d: list[float], rank: int) -> None:
    """E[2(u_i − c_i x) + K(y)(u0 − d_i) | y_i] = 0 for each (i, y_i), solved by numpy; of several K the least one."""
    m, scenarios, game = channel(p, c, d)
    plan = sp.leader_optimal(game)
    both = scenarios.atoms("y")
    matrix, wanted = np.zeros((4, 4)), np.zeros(4)
    for row, (i, a) in enumerate((i, a) for i in (0, 1) for a in (-1, 1)):
        u = plan.value(m.f[i + 1].u[a])
        for x, y in ((x, y) for x in (-1, 1) for y in both if y[i] == a):
            weight = math.prod(p if seen == x else 1 - p for seen in y) / 2
            matrix[row, both.index(y)] += weight * (plan.value(m.u0[y]) - d[i])
            wanted[row] -= weight * 2 * (u - c[i] * x)
    known = np.linalg.lstsq(matrix, wanted, rcond=1e-10)[0]
    assert np.abs(matrix @ known - wanted).max() <= 1e-9
    rule = sp.affine_incentive(plan, scenarios.observe(m.u0, [(m.s, "y")], knows="y"))
    found = [rule.gain.loc[m.u0[y].name, m.s[y].name] for y in both]
    np.testing.assert_allclose(found, known, atol=1e-6 if p > 0.6 else 1e-4)  # near ½ the equations are nearly singular
    assert (rule.rank, rule.freedom) == (rank, 4 - rank)
    assert sp.verify(rule).ok


def test_a_channel_that_tells_less_than_the_plan_is_known_to() -> None:
    """At p = 0.501 the four equations differ by 2e-7 of their size: a gain would rest on the plan's own error."""
    m, scenarios, game = channel(0.501, [1, 1.5], [2, -1])
    plan = sp.leader_optimal(game)
    with pytest.raises(sp.NoIncentive, match="what tells them apart is less than this plan's accuracy"):
        sp.affine_incentive(plan, scenarios.observe(m.u0, [(m.s, "y")], knows="y"))


def projected(low: float, high: float) -> tuple[Any, sp.Scenarios, sp.Incentive]:
    """E[0.05 u² − u + t] with the plan u = 0, t = 1: the gain 1, projected on (low, high)."""
    scenarios = sp.Scenarios({"y": ["L", "H"]})
    m = pyo.ConcreteModel()
    m.t = pyo.Var([0, 1], bounds=(low, high), initialize=1)
    m.f = pyo.Block()
    m.f.u = pyo.Var(["L", "H"], bounds=(-5, 5), initialize=0)

    def act(w: int) -> Any:
        return m.f.u[scenarios["y"][w]]

    m.f.cost = pyo.Objective(expr=scenarios.expectation(lambda w: 0.05 * act(w) ** 2 - act(w) + m.t[w]))
    m.goal = pyo.Objective(expr=scenarios.expectation(lambda w: act(w) ** 2 + (m.t[w] - 1) ** 2))
    plan = sp.leader_optimal(sp.Game(m, m.f))
    return m, scenarios, sp.affine_incentive(plan, scenarios.observe(m.t, [(m.f.u, "y")]), saturate=True)


@pytest.mark.parametrize("high", [2.0, 4.0, 20.0])
def test_regret_of_each_observation_under_a_projection(high: float) -> None:
    """Beyond the bound the leader answers no more: 0.05 u² − u + min(1 + u, high) is least at u = 5 if that pays."""
    m, scenarios, rule = projected(0.0, high)
    u = np.linspace(-5, 5, 100_001)
    wanted = 1 - np.min(0.05 * u**2 - u + np.clip(1 + u, 0.0, high))
    table = regrets(rule, m, scenarios)
    np.testing.assert_allclose(table["regret"], wanted, atol=1e-7)
    assert set(table["certificate"]) == {"convex"}
    assert table["regret"] @ table["probability"] == pytest.approx(sp.verify(rule).regret["f"], abs=1e-7)
