"""Noise of a population's members: what is read, refused, kept, written and read again."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyomo.environ as pyo
import pytest

import stackpyomo as sp

NOISE = {"low": 0.3, "high": 0.7}


def crowd(noise: Any = NOISE, size: float = math.inf, index: Any = ("low", "high"), weights: Any = None) -> Any:
    """(model, game) of homes that heat by u[s] and one plant."""
    m = pyo.ConcreteModel()
    m.p, m.mean, m.home, m.plant = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0), pyo.Block(), pyo.Block()
    m.home.u, m.plant.v = pyo.Var(list(index), initialize=0.1), pyo.Var(initialize=0.0)
    first, second = m.home.u.values()
    one, two = weights or (0.3, 0.7)
    m.home.cost = pyo.Objective(expr=0.3 * (first - 1) ** 2 + 0.7 * (second - 2) ** 2 + m.p * m.mean)
    m.plant.cost = pyo.Objective(expr=(m.plant.v - 1) ** 2 + m.p * m.plant.v)
    m.average = pyo.Constraint(expr=m.mean == one * first + two * second)
    m.goal = pyo.Objective(expr=(m.mean - m.plant.v) ** 2 + m.p**2)
    return m, sp.Game(m, [m.plant, sp.Population(m.home, size, noise)], aggregates=[m.average])


@pytest.mark.parametrize(
    ("noise", "index"),
    [
        (NOISE, ("low", "high")),
        (pd.Series(NOISE), ("low", "high")),
        (sp.Scenarios({"wish": [1, 2]}, [0.3, 0.7]), (0, 1)),
        (sp.Scenarios({"wish": ["low", "high"]}, [0.3, 0.7]).atom_probability("wish"), ("low", "high")),
    ],
)
def test_what_noise_may_be(noise: Any, index: Any) -> None:
    _, game = crowd(noise, index=index)
    assert game.followers["home"].scenarios() == [0, 1]
    assert [f.severity for f in game.check()] == []


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ({}, ".*a probability above 0 for each scenario, together 1"),
        ({"low": 0.3, "high": 0.6}, ".*together 1"),
        ({"low": 0.0, "high": 1.0}, ".*above 0"),
        ({"low": "half", "high": 0.5}, ".*above 0"),
        ({(1, 2): 1.0}, ".*a plain index, not a tuple"),
        (pd.Series([0.5, 0.5], index=["low", "low"]), ".*is given twice"),
        (7, r"7: expected \{scenario: probability\} or Scenarios"),
    ],
)
def test_what_noise_may_not_be(noise: Any, words: str) -> None:
    with pytest.raises(sp.InvalidGame, match="home: noise=" + words):
        crowd(noise)


def test_a_finite_size_is_refused_by_name() -> None:
    _, game = crowd(size=10)
    (finding,) = [f for f in game.check() if f.severity == "error"]
    assert str(finding).startswith("home: its members have noise of their own, and the model holds its averages")
    for call in (
        lambda: sp.leader_optimal(game),
        lambda: sp.stackelberg(game),
        lambda: sp.scaling(crowd()[1], [1, 10], responding=["home"]),
    ):
        with pytest.raises(sp.InvalidGame, match=r"home: its members have noise.*simulate\(plan, sizes\)"):
            call()
    with pytest.raises(sp.InvalidGame, match="home: members with noise of their own cannot be written out"):
        game.expand()
    with pytest.raises(sp.InvalidGame, match=r"home: its members have noise"):
        sp.settled(sp.leader_optimal(crowd()[1], responding=["home"]), sizes={"home": 5})


def test_actions_by_scenario_and_their_averages() -> None:
    _, game = crowd(index=("cold", "warm"))
    assert "no Var of it says what a member does in scenario low" in str(game.check()[0])
    _, game = crowd(weights=(0.5, 0.5))
    assert "home: mean weights its scenarios by other numbers than probabilities" in str(game.check()[0])


def test_an_action_of_one_member_shows_no_scenario() -> None:
    m, game = crowd()
    plan = sp.leader_optimal(game, responding=["home"])
    for seen in ("actions", [m.home.u], [m.plant.v, m.home.u["low"]]):
        with pytest.raises(
            sp.InvalidGame, match=r"observe=: home.u\[low\]: what one member of home does tells a leader"
        ):
            sp.affine_incentive(plan, observe=seen)
    assert sp.verify(sp.affine_incentive(plan, observe=[m.plant.v])).ok


@pytest.mark.slow
def test_copies_and_files_keep_it(tmp_path: Path) -> None:
    _, game = crowd()
    plan = sp.leader_optimal(game, responding=["home"])
    game.write(tmp_path / "game.json")
    same = sp.read_game(tmp_path / "game.json")
    again = same.followers["home"]
    assert again.scenarios() == [0, 1]
    assert again.noise is not None
    assert again.noise.probabilities == (0.3, 0.7)
    assert [f.severity for f in same.check()] == []
    replanned = sp.leader_optimal(same, responding=["home"])
    assert replanned.leader_objective == pytest.approx(plan.leader_objective, abs=1e-9)
    one, two = (sp.simulate(p, [5], draws=3, seed=1)["leader_objective"][0] for p in (plan, replanned))
    assert one == pytest.approx(two, rel=1e-7)
    same.write(tmp_path / "again.json")
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("game.json", "again.json"))
    assert first["followers"][1] == second["followers"][1]
    for other in (game.with_sizes({"plant": 1}), game.collapse(), copy.deepcopy(game)):
        assert other.followers["home"].noise == game.followers["home"].noise


def test_collapse_keeps_populations_with_other_noise_apart() -> None:
    m = pyo.ConcreteModel()
    m.z, m.f = pyo.Var(initialize=0.0), pyo.Block([1, 2, 3])
    for k in m.f:
        m.f[k].u = pyo.Var([0, 1], initialize=0.0)
        m.f[k].c = pyo.Objective(expr=0.5 * (m.f[k].u[0] - 1) ** 2 + 0.5 * m.f[k].u[1] ** 2)
    m.sum = pyo.Constraint(expr=m.z == sum(0.5 * (m.f[k].u[0] + m.f[k].u[1]) for k in m.f) / 3)
    m.goal = pyo.Objective(expr=m.z**2)
    noises = {1: {0: 0.5, 1: 0.5}, 2: {0: 0.5, 1: 0.5}, 3: {0: 0.4, 1: 0.6}}
    crowds = [sp.Population(m.f[k], math.inf, noise) for k, noise in noises.items()]
    collapsed = sp.Game(m, crowds, aggregates=[m.sum]).collapse()
    assert [f.noise.probabilities for f in collapsed.followers.values() if f.noise] == [(0.5, 0.5), (0.4, 0.6)]


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ([{"probability": 0.5, "variables": ["u"]}], ".*together 1"),
        ([{"variables": ["u"]}], "has no 'probability'"),
        ([{"probability": 1, "variables": ["v"]}], "'v' is not a variable of this follower"),
        ([{"probability": 0.5, "variables": ["u"]}] * 2, "or is in another scenario"),
        ([{"probability": 1, "variables": ["u"], "name": "low"}], "unknown field"),
    ],
)
def test_a_file_whose_noise_is_wrong(noise: Any, words: str, tmp_path: Path) -> None:
    home = {"name": "home", "size": "inf", "noise": noise, "variables": [{"name": "u"}], "objective": "u**2"}
    leader = {"variables": [{"name": "p"}], "objective": "p**2 + u"}
    text = json.dumps({"format": "stackpyomo-game/1", "leader": leader, "followers": [home]})
    (tmp_path / "game.json").write_text(text)
    with pytest.raises(sp.GameFileError, match=words):
        sp.read_game(tmp_path / "game.json")


def test_another_probability_is_another_game() -> None:
    m, game = crowd()
    plan = sp.leader_optimal(game, responding=["home"])
    other = sp.Game(m, [m.plant, sp.Population(m.home, math.inf, {"low": 0.4, "high": 0.6})], aggregates=[m.average])
    assert sp.games.stamp(game) != sp.games.stamp(other)
    assert plan.quality == "optimal"
