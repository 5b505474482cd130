"""Linear answers: closed forms beside ties, and vertices of random polygons, in any units."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.plans.worst_answers import WorstAnswers

UNITS = [(1.0, 1.0), (1e3, 1.0), (1e-3, 1.0), (1.0, 1e3), (1.0, 1e-3)]


def worst_at(game: sp.Game, x: Any, *, rounded: bool = True) -> float | None:
    """The leader's cost at the worst answer to these values of its variables."""
    worst = WorstAnswers(game, list(game.followers.values()))
    assert worst._linear is not None
    given = {id(v): float(level) for v, level in zip(worst.leading, np.atleast_1d(x), strict=True)}
    answer = worst.worst(given, 0.0, rounded=rounded)
    return None if answer is None else answer.cost


def indifferent(unit: float, worth: float) -> sp.Game:
    """f = −x y over [0, unit], F = x − y/unit: indifferent at x = 0 alone; costs in a unit of ``worth``."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(0, unit))
    m.f.cost = pyo.Objective(expr=-worth * m.x * m.f.y)
    m.goal = pyo.Objective(expr=m.x - m.f.y / unit)
    return sp.Game(m, m.f)


@pytest.mark.parametrize(("unit", "worth"), UNITS)
def test_beside_a_tie_the_answer_is_the_one_of_the_face(unit: float, worth: float) -> None:
    game = indifferent(unit, worth)
    for x in (1e-2, 1e-4, 1e-5):
        assert worst_at(game, x) == pytest.approx(x - 1.0, abs=1e-12)
    assert worst_at(game, 0.0) == pytest.approx(0.0, abs=1e-12)
    # what costs a follower so little is a tie, unless it is asked for without
    assert worst_at(game, 1e-8) == pytest.approx(1e-8, abs=1e-12)
    assert worst_at(game, 1e-8, rounded=False) == pytest.approx(-1.0, abs=1e-7)


def test_an_action_without_any_limit_has_no_worst_answer() -> None:
    """f = x y over all y: at x = 0 anything ties, elsewhere there is no best answer; no plan is left (an error was)."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(bounds=(0, 1)), pyo.Block()
    m.f.y = pyo.Var()
    m.f.cost = pyo.Objective(expr=m.x * m.f.y)
    m.goal = pyo.Objective(expr=m.x - m.f.y)
    game = sp.Game(m, m.f)
    assert worst_at(game, 0.0) is worst_at(game, 1.0) is None
    with pytest.raises(sp.NoPlan, match="leave none"):
        sp.stackelberg(game, ties="pessimistic")


def polygon(seed: int, unit: float, worth: float, signs: int) -> tuple[sp.Game, Any]:
    """Two actions in a random polygon, a third that is their sum; ``signs`` −1: the follower maximises, rows reversed.

    The other answer is ψ(x), from all vertices.
    """
    random = np.random.default_rng(seed)
    normals, room = random.integers(-2, 3, (5, 2)), random.integers(1, 4, 5)
    tilt, cost, goal = random.integers(-1, 2, 2), random.integers(-1, 2, 2), random.integers(-2, 3, 2)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.f = pyo.Block()
    m.f.y = pyo.Var(range(2), bounds=(0, 2 * unit))
    m.f.sum = pyo.Var()
    m.f.adds = pyo.Constraint(expr=m.f.sum == m.f.y[0] + m.f.y[1])
    rows = [
        (sum(int(a) * m.f.y[i] for i, a in enumerate(n)), unit * (int(r) + m.x))
        for n, r in zip(normals, room, strict=True)
    ]
    held = [(n, body, level) for n, (body, level) in zip(normals, rows, strict=True) if n.any()]
    m.f.rows = pyo.Constraint(
        range(len(held)),
        rule=lambda b, k: held[k][1] <= held[k][2] if signs > 0 else -held[k][1] >= -held[k][2],
    )
    slope = [int(cost[i]) + int(tilt[i]) * m.x for i in range(2)]
    m.f.cost = pyo.Objective(
        expr=signs * worth * sum(slope[i] * m.f.y[i] for i in range(2)),
        sense=pyo.minimize if signs > 0 else pyo.maximize,
    )
    m.goal = pyo.Objective(expr=(sum(int(goal[i]) * m.f.y[i] for i in range(2)) + m.f.sum) / unit)

    def psi(x: float) -> float:
        sides = np.vstack([normals[normals.any(axis=1)], -np.eye(2), np.eye(2)])
        limits = np.concatenate([(room + x)[normals.any(axis=1)], [0.0, 0.0, 2.0, 2.0]])
        corners = []
        for one, other in itertools.combinations(range(len(sides)), 2):
            pair = sides[[one, other]]
            if abs(np.linalg.det(pair)) > 1e-9:
                corner = np.linalg.solve(pair, limits[[one, other]])
                corners += [corner] if (sides @ corner <= limits + 1e-9).all() else []
        points = np.array(corners)
        costs = points @ (cost + tilt * x)
        return float((points @ (goal + 1))[costs <= costs.min() + 1e-12].max())

    return sp.Game(m, m.f), psi


@pytest.mark.parametrize(("unit", "worth"), UNITS)
def test_random_polygons(unit: float, worth: float) -> None:
    for seed, signs in itertools.product(range(12), (1, -1)):
        game, psi = polygon(seed, unit, worth, signs)
        for x in (0.0, 1e-5, 0.3, 1.0 - 1e-5, 1.0):
            assert worst_at(game, x) == pytest.approx(psi(x), abs=1e-6), (seed, signs, x)


def test_a_leader_without_an_answer_has_no_worst_one() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 2))
    m.f = pyo.Block()
    m.f.y = pyo.Var(bounds=(0, 1))
    m.f.row = pyo.Constraint(expr=m.f.y >= m.x)
    m.f.cost = pyo.Objective(expr=m.f.y)
    m.goal = pyo.Objective(expr=m.x - m.f.y)
    game = sp.Game(m, m.f)
    assert worst_at(game, 0.5) == pytest.approx(0.0, abs=1e-12)
    assert worst_at(game, 2.0) is None
