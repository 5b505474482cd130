"""Bundles: their pieces are the leader's problem, and only a few variables hold them together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import snapshot
from helpers.bundles import GAMES, Sums, averaged, exponential, mixed

import stackpyomo as sp
from stackpyomo.plans.decomposition.partition import Partition


def random_values(game: sp.Game, seed: int) -> None:
    random = np.random.default_rng(seed)
    for var in (v for v in game.variables_by_name.values() if not v.fixed):
        low, high = (-3.0 if var.lb is None else var.lb), (3.0 if var.ub is None else var.ub)
        var.set_value(float(random.uniform(low, high)))


@pytest.mark.parametrize("make", [*GAMES, mixed])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_pieces_add_up_to_the_leaders_problem(make: Callable[[int], sp.Game], count: int) -> None:
    game = make(7)
    cuts = Partition(game, count)
    users = {c.name: c for p in (game.leader, *game.followers.values()) for c in p.constraints}
    given = [name for rows in cuts.rows for name, _ in rows] + [name for name, _ in cuts.shared_rows]
    assert sorted(given) == sorted(users), "every row once"
    for seed in range(3):
        random_values(game, seed)
        for link in cuts.links:
            link.variable.set_value(pyo.value(link.content), skip_validation=True)
            assert pyo.value(link.pin.body) == pytest.approx(0.0, abs=1e-12)
            low, high = link.variable.bounds
            assert low is None or low - 1e-9 <= link.variable.value
            assert high is None or link.variable.value <= high + 1e-9
        parts = [pyo.value(cuts.cost(b)) / count for b in range(count)]
        assert math.fsum(parts) == pytest.approx(game.leader.sign * game.objective_value(game.leader), rel=1e-12)
        for name, row in [pair for rows in cuts.rows for pair in rows] + cuts.shared_rows:
            assert pyo.value(row.body) == pytest.approx(pyo.value(users[name].body), rel=1e-9, abs=1e-9)
            assert (row.lb, row.ub) == (users[name].lb, users[name].ub)


@pytest.mark.parametrize("make", GAMES)
def test_a_piece_holds_only_its_own_followers(make: Callable[[int], sp.Game]) -> None:
    game = make(9)
    cuts = Partition(game, 3)
    for b in range(3):
        mine = {f.name for f in cuts.members[b]}
        held = {game.owners[id(v)] for v in cuts.piece(b).program.variables if id(v) in game.owners}
        assert held == mine
    assert [f.name for own in cuts.members for f in own] == list(game.followers), "neighbours, in their order"


def test_bundles_are_even() -> None:
    for n, count in [(5, 5), (7, 3), (100, 8), (11, 10)]:
        sizes = [len(own) for own in Partition(averaged(n), count).members]
        assert sum(sizes) == n
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1 + n // count


def test_what_one_bundle_alone_feels_is_its_own() -> None:
    game = exponential(8)
    cuts = Partition(game, 2)
    assert [v.name for v in cuts.first[:1]] == ["s"]
    assert len(cuts.links) == 2, "the average is one sum for both terms that hold it"
    assert len(cuts.first) == 3
    assert sum(id(game.model.toll[i]) in cuts.owned(0) for i in range(8)) == 4


def test_aggregates_follow_from_the_links() -> None:
    cuts = Partition(averaged(6), 3)
    assert [v.name for v in cuts.derived] == ["mean"]
    assert cuts.first == [link.variable for link in cuts.links]


def test_a_row_of_leader_variables_alone_may_couple_bundles() -> None:
    game = exponential(4)
    m = game.model
    m.total = pyo.Constraint(expr=Sums(m.toll[i] for i in range(4)) <= 1)
    game.rescan()
    assert len(Partition(game, 2).first) == 1 + 2 + 2, "s, the average, and the sum of tolls"
    m.product = pyo.Constraint(expr=m.toll[0] * m.toll[3] <= 0.5)
    game.rescan()
    first = {v.name for v in Partition(game, 2).first}
    assert {"toll[0]", "toll[3]"} <= first, "known to all, where no sum says it"


def pair(term: Callable[[Any], Any]) -> sp.Game:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.f = pyo.Block([0, 1])
    for b in m.f.values():
        b.u = pyo.Var(bounds=(0, 1))
        b.cost = pyo.Objective(expr=(b.u - m.x) ** 2)
    m.goal = pyo.Objective(expr=(m.x - m.f[0].u) ** 2 + term(m))
    return sp.Game(m, followers=m.f)


def test_a_product_of_two_bundles_actions_is_refused_by_name() -> None:
    game = pair(lambda m: m.f[0].u * m.f[1].u)
    with pytest.raises(sp.InvalidGame, match=r"goal: couples followers of different bundles \(f\[0\], f\[1\]\)"):
        Partition(game, 2)
    assert Partition(game, 1).links == [], "in one bundle it may stand"


def test_a_row_that_couples_two_bundles_is_refused_by_name() -> None:
    game = pair(lambda m: 0.0)
    game.model.both = pyo.Constraint(expr=pyo.exp(game.model.f[0].u * game.model.f[1].u) <= 2)
    game.rescan()
    with pytest.raises(sp.InvalidGame, match="both: couples followers"):
        Partition(game, 2)


def test_a_function_of_a_sum_goes_through_links() -> None:
    cuts = Partition(pair(lambda m: pyo.exp(m.f[0].u + 2 * m.f[1].u + m.x) * 3), 2)
    assert len(cuts.links) == 2
    assert list(cuts.shared_costs) == [3.0], "3 exp(link + 2 link + x), known to all"


@pytest.mark.parametrize("make", GAMES)
def test_cutting_leaves_the_model_as_it_was(make: Callable[[int], sp.Game]) -> None:
    game = make(5)
    before = snapshot(game.model)
    cuts = Partition(game, 2)
    cuts.piece(0)
    cuts.piece(1)
    assert snapshot(game.model) == before
