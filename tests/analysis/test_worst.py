"""Worst cases over sets of parameters, against closed-form answers on fine grids."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from helpers.customers import customer

import stackpyomo as sp
from stackpyomo.analysis.experiments import Experiments

BOX = {"theta": (3.0, 5.0), "h": (0.5, 1.5)}


def lost(line: tuple[float, float], theta: float, h: float) -> float:
    u = float(np.clip((theta - line[0]) / (h + 2 * line[1]), 0, 20))
    return (u - 1) ** 2 / 2 + (line[0] + line[1] * u) ** 2 / 2


def grid() -> list[tuple[float, float]]:
    return list(product(np.linspace(*BOX["theta"], 41), np.linspace(*BOX["h"], 41)))


@pytest.mark.parametrize("line", [(-3.0, 3.0), (1.5, 0.0), (-1.0, 0.25), (6.0, 1.0)])
def test_the_vertices_prove_it(line: tuple[float, float]) -> None:
    found = sp.worst_case(customer(4.0), line, BOX)
    assert found.evidence == "vertices"
    assert found.share == 0.0
    assert found.value == pytest.approx(max(lost(line, *point) for point in grid()), abs=1e-7)
    assert lost(line, *found.at) == pytest.approx(found.value, abs=1e-7)
    assert "Proved by the 4 vertices of the set: no other point is worse." in str(found)


def test_a_box_by_components_is_that_by_names() -> None:
    """Params have no hash, so that a ComponentMap or pairs name them."""
    game, by_name = customer(4.0), sp.worst_case(customer(4.0), (-1.0, 0.25), BOX).value
    pairs = [(game.component(name), ends) for name, ends in BOX.items()]
    for within in (pairs, pyo.ComponentMap(pairs)):
        assert sp.worst_case(game, (-1.0, 0.25), within).value == by_name


def test_a_leader_who_maximises() -> None:
    game = customer(4.0)
    game.model.goal.set_value(-game.model.goal.expr)
    game.model.goal.sense = pyo.maximize
    found = sp.worst_case(game, {"p": (-3.0, 3.0)}, BOX)
    assert found.value == pytest.approx(-max(lost((-3.0, 3.0), *point) for point in grid()), abs=1e-7)
    assert found.cases["objective"].min() == pytest.approx(found.value, abs=1e-9)


def test_an_incentive_over_a_fitted_set() -> None:
    game = customer(4.0)
    rule = sp.affine_incentive(sp.leader_optimal(game))
    rows = pd.DataFrame({"p": [0.0, 1.0, 2.0, 3.0], "f.u": [4.1, 2.9, 2.2, 0.8]})
    within = sp.fit(game, rows, {"theta": (0, 20), "h": (0.05, 10)}, noise=0.3).consistent
    found = sp.worst_case(game, rule, within, fresh=200)
    assert found.evidence == "vertices"
    assert found.violations == 0
    assert found.value == pytest.approx(max(lost((-3.0, 3.0), *v) for v in within.vertices.to_numpy()), abs=1e-7)


# J = −θ log(1 + u) + p u, J0 = u²/2 − θ/2 log(1 + u) + p²/10: the leader-optimal answer solves u (1 + u) = θ/2.


def rate() -> sp.Game:
    m = pyo.ConcreteModel()
    m.theta = pyo.Param(initialize=3.0, mutable=True)
    m.p = pyo.Var(bounds=(-20, 20), initialize=0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 10), initialize=1)
    m.f.cost = pyo.Objective(expr=-m.theta * pyo.log(1 + m.f.u) + m.p * m.f.u)
    m.goal = pyo.Objective(expr=m.f.u**2 / 2 - m.theta / 2 * pyo.log(1 + m.f.u) + m.p**2 / 10)
    return sp.Game(m, followers=m.f)


def known(theta: float) -> float:
    """What the leader gets of a type it knows."""
    u = (np.sqrt(1 + 2 * theta) - 1) / 2
    return float(u**2 / 2 - theta / 2 * np.log(1 + u))


def regret(line: tuple[float, float], theta: float) -> float:
    """(c + 2 K u)(1 + u) = θ, the answer in (0, 10)."""
    c, k = line
    u = (-(c + 2 * k) + np.sqrt((c + 2 * k) ** 2 + 8 * k * (theta - c))) / (4 * k)
    return float(u**2 / 2 - theta / 2 * np.log(1 + u) + (c + k * u) ** 2 / 10 - known(theta))


def designed(types: sp.Scenarios) -> sp.Incentive:
    """The one affine tariff whose worst regret over the types is least."""
    m = pyo.ConcreteModel()
    m.p = pyo.Var(list(types), bounds=(-20, 20), initialize=0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(list(types), bounds=(0, 10), initialize=1)
    theta, p, u = types["theta"], m.p, m.f.u
    m.f.cost = pyo.Objective(expr=types.expectation(lambda w: -theta[w] * pyo.log(1 + u[w]) + p[w] * u[w]))
    best = [known(x) for x in theta]
    m.goal = pyo.Objective(
        expr=types.worst(m, lambda w: u[w] ** 2 / 2 - theta[w] / 2 * pyo.log(1 + u[w]) + p[w] ** 2 / 10, less=best)
    )
    game = sp.Game(m, followers=m.f)
    return sp.optimal_rule(game, types.observe(m.p, [(m.f.u, None)]), common=[m.p], time_limit=10)


@pytest.mark.slow
def test_least_worst_regret_by_exchange() -> None:
    """Types 2, 3 and 5 with log utility: value and rule to 10 digits by Newton on the Lagrange system at 40 digits.

    Begun with types 2 and 3, the exchange adds 5; nothing between the types is worse.
    """
    types, values = sp.Scenarios({"theta": [2.0, 3.0]}), list[float]()
    for _ in range(3):
        rule = designed(types)
        values.append(rule.plan.leader_objective)
        gain = float(rule.gain.iloc[0, 0])
        line = (rule.offset["p[0]"] - gain * rule.targets["f.u[0]"], gain)
        found = sp.worst_case(rate(), line, {"theta": (2.0, 5.0)}, less=lambda x: known(x["theta"]), fresh=300)
        if found.value <= values[-1] + 1e-6:
            break
        types = found.added(types)
    assert len(types) == 3
    assert types["theta"][-1] == 5.0
    assert found.value == pytest.approx(0.01808563583961226, abs=1e-6)
    assert line == pytest.approx((-1.630141364370166, 1.84442394778919), abs=1e-5)
    assert max(regret(line, x) for x in np.linspace(2, 5, 301)) == pytest.approx(found.value, abs=1e-6)
    assert (found.evidence, found.violations) == ("search", 0)
    assert found.share == pytest.approx(np.log(100) / 300)
    assert "what could be had depends on the parameters" in str(found)
    assert "None of 300 fresh draws was worse: with confidence 0.99 at most 0.0154 of the set is." in str(found)


@pytest.mark.slow
def test_a_worst_case_inside_is_searched_for() -> None:
    """Loss −(u − 1)²: worst where u = 1, at no vertex."""
    game = customer(4.0)
    game.model.goal.set_value(-((game.model.f.u - 1) ** 2))
    found = sp.worst_case(game, (3.0, 0.0), BOX, fresh=100)
    assert found.evidence == "search"
    assert "the leader's objective is not proved convex in the answer" in found.why
    assert found.value == pytest.approx(0.0, abs=1e-3)


@pytest.mark.slow
def test_why_the_vertices_do_not_suffice() -> None:
    found = sp.worst_case(rate(), (1.0, 1.0), {"theta": (2.0, 5.0)})
    assert found.why == "the leader's objective holds a parameter"
    assert np.isnan(found.share)
    bent = customer(4.0)
    bent.model.f.cost.set_value(bent.model.theta**2 * bent.model.f.u**2 / 2 - bent.model.f.u)
    assert "slope is not shown affine" in sp.worst_case(bent, (0.0, 0.0), {"theta": (1.0, 2.0)}).why
    tied = customer(4.0)
    tied.model.f.limit = pyo.Constraint(expr=tied.model.f.u <= 5)
    assert "f has constraints beside the bounds" in sp.worst_case(tied, (0.0, 0.0), BOX).why


@pytest.mark.parametrize("start", [None, 0.0, 0.5])
@pytest.mark.parametrize(("reach", "money"), [(1.0, 1.0), (1e-4, 1e6), (1e5, 1e-5)])
def test_a_slope_that_is_not_affine_at_a_vanishing_action(start: float | None, reach: float, money: float) -> None:
    """u = 4 a (1 − a): nothing at both ends, 1 in the middle. Its term vanishes with the action, not with its slope."""
    m = pyo.ConcreteModel()
    m.a = pyo.Param(initialize=0.3, mutable=True)
    m.p = pyo.Var(bounds=(-5, 5))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 10 * reach), initialize=start and start * reach)
    u = m.f.u / reach
    m.f.cost = pyo.Objective(expr=money * (u**2 / 2 - 4 * (m.a - m.a**2) * u + m.p * u))
    m.goal = pyo.Objective(expr=m.f.u / reach)
    found = sp.worst_case(sp.Game(m, followers=m.f), {"p": 0.0}, {"a": (0.0, 1.0)})
    assert (found.evidence, found.why) == ("search", "the slope is not shown affine in the parameters")
    assert found.value == pytest.approx(1.0, abs=1e-3)


def test_answers_that_no_re_solve_confirms_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = Experiments.answered
    monkeypatch.setattr(Experiments, "answered", lambda self, theta: replace(answered(self, theta), quality="none"))
    found = sp.worst_case(customer(4.0), (-3.0, 3.0), BOX)
    assert found.evidence == "search"
    assert "a re-solve does not confirm" in found.why


@pytest.mark.slow
@pytest.mark.parametrize("money", [1e-6, 1.0, 1e6])
def test_a_tie_at_a_vertex_is_no_proof(money: float) -> None:
    """At a = 0 all of [0, 10] is as good for the follower: 100 for the leader, or 0. Away from it nothing is tied."""
    m = pyo.ConcreteModel()
    m.a = pyo.Param(initialize=0.3, mutable=True)
    m.p = pyo.Var(bounds=(-5, 5))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 10))
    m.f.cost = pyo.Objective(expr=money * (m.a * m.f.u + m.p * m.f.u))
    m.goal = pyo.Objective(expr=m.f.u**2)
    game = sp.Game(m, followers=m.f)
    tied = sp.worst_case(game, {"p": 0.0}, {"a": (0.0, 1.0)})
    assert tied.evidence == "search"
    assert "equally good answers at a vertex" in tied.why
    assert sp.worst_case(game, {"p": 0.0}, {"a": (0.5, 1.0)}).evidence == "vertices"
    inside = sp.worst_case(game, {"p": 0.0}, {"a": (-1.0, 1.0)})  # all that ties in between is no worse than the ends
    assert (inside.evidence, inside.value) == ("vertices", pytest.approx(100.0, abs=1e-5))


@pytest.mark.parametrize(
    ("within", "options", "message"),
    [
        (["theta", "h"], {}, "within: theta is unbounded"),
        ({"theta": (0, np.inf)}, {}, "the bounds of theta are"),
        (BOX, {"fresh": -1}, "fresh=-1: expected an integer from 0 on"),
        (BOX, {"confidence": 1.0}, "confidence=1.0: expected a number between 0 and 1"),
        ({"gone": (0, 1)}, {}, "gone: "),
    ],
)
def test_wrong_input_is_named(within: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(sp.InvalidGame, match=message):
        sp.worst_case(customer(4.0), (0.0, 0.0), within, **options)


def test_a_population_is_refused() -> None:
    game = customer(4.0)
    crowd = sp.Game(game.model, followers=sp.Population(game.model.f, 10))
    with pytest.raises(sp.InvalidGame, match="f: a population of 10; expand\\(\\) the game"):
        sp.worst_case(crowd, (0.0, 0.0), BOX)
    with pytest.raises(sp.InvalidGame, match="less='best'"):
        sp.worst_case(game, (0.0, 0.0), BOX, less="best")


def pair(least: float = -20.0) -> sp.Game:
    """Two followers who mind each other, J_i = ½u_i² − θ_i u_i + ¼ u_1 u_2 + p u_i, and a leader who wants (1, 2)."""
    m = pyo.ConcreteModel()
    m.theta = pyo.Param([0, 1], initialize=3.0, mutable=True)
    m.p, m.mean = pyo.Var(bounds=(-20, 20), initialize=0), pyo.Var(initialize=0)
    m.f = pyo.Block([0, 1])
    for block in m.f.values():
        block.u = pyo.Var(bounds=(least, 20), initialize=3)
    for i, block in m.f.items():
        u, other = block.u, m.f[1 - i].u
        block.cost = pyo.Objective(expr=u**2 / 2 - m.theta[i] * u + u * other / 4 + m.p * u)
    m.average = pyo.Constraint(expr=m.mean == (m.f[0].u + m.f[1].u) / 2)
    m.goal = pyo.Objective(expr=((m.f[0].u - 1) ** 2 + (m.f[1].u - 2) ** 2) / 2 + m.p**2 / 10)
    return sp.Game(m, followers=m.f, aggregates=[m.average])


SQUARE = {"theta": (2.0, 4.0)}


def answers(line: tuple[float, float], theta: Any) -> np.ndarray:
    """The equilibrium under p = c + k (u_1 + u_2)/2: (1 + k) u_i + (¼ + ½k) u_j = θ_i − c."""
    c, k = line
    return np.linalg.solve(np.array([[1 + k, 0.25 + k / 2], [0.25 + k / 2, 1 + k]]), np.asarray(theta) - c)


def missed(line: tuple[float, float], theta: Any) -> float:
    u = answers(line, theta)
    p = line[0] + line[1] * u.mean()
    return float(((u[0] - 1) ** 2 + (u[1] - 2) ** 2) / 2 + p**2 / 10)


@pytest.mark.parametrize("line", [(-2.0, 2.0), (1.0, 0.0), (0.5, 1.0)])
@pytest.mark.parametrize("less", [None, "leader-optimal"])
def test_several_followers_in_equilibrium(line: tuple[float, float], less: str | None) -> None:
    """The leader-optimal value is 0, whatever the types: nobody else's cost is in it."""
    game = pair()
    rule = {"p": line[0] + line[1] * game.model.mean}
    worst = sp.worst_case(game, rule, SQUARE, less=less)
    assert (worst.evidence, worst.why, worst.share) == ("vertices", "", 0.0)
    square = list(product(np.linspace(2, 4, 21), repeat=2))
    assert worst.value == pytest.approx(max(missed(line, theta) for theta in square), abs=1e-7)
    assert missed(line, worst.at) == pytest.approx(worst.value, abs=1e-7)
    assert worst.loose == ("p",) * (line[1] > 0)
    assert ("Beware: judged by the formula alone" in str(worst)) == (line[1] > 0)


def test_an_incentive_for_several_followers() -> None:
    game = pair()
    rule = sp.affine_incentive(sp.leader_optimal(game))
    worst = sp.worst_case(game, rule, SQUARE)
    assert worst.evidence == "vertices"
    gain = rule.gain.to_numpy()[0]

    def objective(theta: Any) -> float:
        matrix = np.array([[1 + 2 * gain[0], 0.25 + gain[1]], [0.25 + gain[0], 1 + 2 * gain[1]]])
        intercept = rule.offset["p"] - gain @ [1, 2]
        u = np.linalg.solve(matrix, np.asarray(theta) - intercept)
        return float(((u[0] - 1) ** 2 + (u[1] - 2) ** 2) / 2 + (intercept + gain @ u) ** 2 / 10)

    assert worst.value == pytest.approx(max(map(objective, product(np.linspace(2, 4, 21), repeat=2))), abs=1e-7)


def test_regret_where_the_ideal_moves_with_the_type() -> None:
    """J0 = ½(u − θ/2)² + ½p²: its least is 0 for every type; J = ½u² − θu + pu answers u = (θ − c)/(1 + 2k)."""
    m = pyo.ConcreteModel()
    m.theta = pyo.Param(initialize=3.0, mutable=True)
    m.p, m.f = pyo.Var(bounds=(-20, 20), initialize=0), pyo.Block()
    m.f.u = pyo.Var(bounds=(-20, 20), initialize=1)
    m.f.cost = pyo.Objective(expr=m.f.u**2 / 2 - m.theta * m.f.u + m.p * m.f.u)
    m.goal = pyo.Objective(expr=(m.f.u - m.theta / 2) ** 2 / 2 + m.p**2 / 2 + m.theta**2)
    worst = sp.worst_case(sp.Game(m, followers=m.f), (-0.5, 0.4), {"theta": (-1.0, 4.0)}, less="leader-optimal")

    def regret(theta: float) -> float:
        u = (theta + 0.5) / 1.8
        return (u - theta / 2) ** 2 / 2 + (-0.5 + 0.4 * u) ** 2 / 2

    assert worst.evidence == "vertices"
    assert worst.value == pytest.approx(max(map(regret, np.linspace(-1, 4, 501))), abs=1e-7)


@pytest.mark.slow
def test_what_several_followers_leave_to_a_search() -> None:
    """At its bound an answer is no longer affine; a quartic cost has no affine answer at all."""
    bound = sp.worst_case(pair(2.5), {"p": 0.0}, SQUARE)
    assert (bound.evidence, bound.why) == ("search", "an action reaches its bounds")
    game = pair()
    game.model.f[0].cost.expr += game.model.f[0].u ** 4 / 4
    assert "the slopes of f[0] are not affine" in sp.worst_case(game, {"p": 0.0}, SQUARE).why
    game = pair()
    game.model.goal.expr -= 2 * (game.model.f[0].u - 1) ** 2
    assert "not convex along the answers" in sp.worst_case(game, {"p": 0.0}, SQUARE).why
