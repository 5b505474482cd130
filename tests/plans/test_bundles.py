"""Bundles and hedging: the pieces are the leader's problem, and mpi-sppy finds its plan and a bound of it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import launcher, ranks_environment, snapshot, strict, toll_game

import stackpyomo as sp
from stackpyomo.plans.decomposition.engine import chosen_engine
from stackpyomo.plans.decomposition.hedging import team
from stackpyomo.plans.decomposition.partition import Partition
from stackpyomo.plans.decomposition.subproblem import Copy


def missing() -> str:
    """Why the engine is not here; empty: it is."""
    try:
        team()
    except sp.SolverNotAvailable as error:
        return str(error)
    return ""


needs_engine = pytest.mark.skipif(bool(missing()), reason=missing())

Sums = pyo.quicksum


def averaged(n: int) -> sp.Game:
    """Quadratic costs around an average; J0* = 2 (m − 0.4)² with m = (mean of t + 0.4)/2."""
    t = np.random.default_rng(0).uniform(0.2, 0.8, n)
    m = pyo.ConcreteModel(name="averaged")
    m.mean = pyo.Var()

    def follower(b: Any, i: int) -> None:
        b.u = pyo.Var(bounds=(0, 2), initialize=0.5)
        b.cost = pyo.Objective(expr=(b.u - 1) ** 2 + m.mean * b.u)

    m.f = pyo.Block(range(n), rule=follower)
    m.define = pyo.Constraint(expr=m.mean == Sums(m.f[i].u for i in range(n)) / n)
    m.goal = pyo.Objective(expr=(m.mean - 0.4) ** 2 + Sums((m.f[i].u - t[i]) ** 2 for i in range(n)) / n)
    game = sp.Game(m, followers=m.f, aggregates=[m.define])
    game.metadata["optimum"] = 2.0 * ((t.mean() + 0.4) / 2.0 - 0.4) ** 2
    return game


def cournot(n: int) -> sp.Game:
    """A maximising leader who sells next to firms of different costs, at a price that the total sets."""
    c = np.random.default_rng(1).uniform(10, 20, n)
    m = pyo.ConcreteModel(name="cournot")
    m.q = pyo.Var(bounds=(0, None), initialize=1.0)
    m.total = pyo.Var()

    def firm(b: Any, i: int) -> None:
        b.q = pyo.Var(bounds=(0, 200), initialize=0.1)
        b.profit = pyo.Objective(expr=(100 - m.q - m.total - c[i]) * b.q - n * b.q**2 / 2, sense=pyo.maximize)

    m.f = pyo.Block(range(n), rule=firm)
    m.define = pyo.Constraint(expr=m.total == Sums(m.f[i].q for i in range(n)))
    wanted = Sums(0.1 * n * (m.f[i].q - (5 + c[i] / 4) / n) ** 2 for i in range(n))
    own = (88 - m.q - m.total) * m.q - 0.2 * m.q**2
    m.profit = pyo.Objective(expr=own - (m.total - 20) ** 2 - wanted, sense=pyo.maximize)
    return sp.Game(m, followers=m.f, aggregates=[m.define])


def shifted(n: int, hours: int = 3) -> sp.Game:
    """Loads over hours under a capacity that the leader buys, each follower's energy fixed, a curved budget for all."""
    random = np.random.default_rng(2)
    a, d = random.uniform(1, 3, (n, hours)), random.uniform(0.2, 1, (n, hours))
    m = pyo.ConcreteModel(name="shifted")
    m.capacity = pyo.Var(bounds=(0, 5), initialize=1.0)
    m.load_ = pyo.Var(range(hours))

    def user(b: Any, i: int) -> None:
        b.u = pyo.Var(range(hours), bounds=(0, 2), initialize=0.5)
        b.energy = pyo.Constraint(expr=Sums(b.u[t] for t in range(hours)) == float(d[i].sum()))
        b.cost = pyo.Objective(expr=Sums(a[i, t] * (b.u[t] - d[i, t]) ** 2 for t in range(hours)))

    m.f = pyo.Block(range(n), rule=user)
    m.define = pyo.Constraint(range(hours), rule=lambda m, t: m.load_[t] == Sums(m.f[i].u[t] for i in range(n)) / n)
    m.limit = pyo.Constraint(range(hours), rule=lambda m, t: m.load_[t] <= m.capacity)
    m.budget = pyo.Constraint(expr=Sums(m.f[i].u[0] ** 2 for i in range(n)) / n <= 0.4)
    discomfort = Sums(a[i, t] * (m.f[i].u[t] - d[i, t]) ** 2 for i in range(n) for t in range(hours)) / n
    m.cost = pyo.Objective(expr=3 * m.capacity**2 + m.load_[0] + 2 * m.load_[1] + discomfort)
    return sp.Game(m, followers=m.f, aggregates=list(m.define.values()))


def exponential(n: int) -> sp.Game:
    """Nothing is quadratic, the average is written out (twice), and every follower has a toll of its own."""
    a = np.random.default_rng(3).uniform(0.5, 2, n)
    m = pyo.ConcreteModel(name="exponential")
    m.s = pyo.Var(bounds=(0, 3), initialize=1.0)
    m.toll = pyo.Var(range(n), bounds=(-1, 1), initialize=0.0)

    def follower(b: Any, i: int) -> None:
        b.u = pyo.Var(bounds=(-2, 3), initialize=0.0)
        b.cost = pyo.Objective(expr=pyo.exp(a[i] * b.u) - (m.s + m.toll[i]) * b.u)

    m.f = pyo.Block(range(n), rule=follower)
    mean = Sums(m.f[i].u for i in range(n)) / n
    own = Sums(pyo.exp(a[i] * m.f[i].u - 1) + (m.toll[i] - 0.1 * m.f[i].u) ** 2 for i in range(n)) / n
    m.goal = pyo.Objective(expr=pyo.exp(1 - mean) + own + 0.1 * (m.s - 1) ** 2 + pyo.exp(0.2 * m.s - 0.5 * mean))
    return sp.Game(m, followers=m.f)


def bought(n: int) -> sp.Game:
    """A linear programme: what the followers do not deliver is bought."""
    random = np.random.default_rng(4)
    c, d = random.uniform(1, 3, n), random.uniform(0.5, 1.5, n)
    m = pyo.ConcreteModel(name="bought")
    m.buy = pyo.Var(bounds=(0, n))

    def follower(b: Any, i: int) -> None:
        b.u = pyo.Var(bounds=(0, float(d[i])))
        b.cost = pyo.Objective(expr=c[i] * b.u)

    m.f = pyo.Block(range(n), rule=follower)
    m.balance = pyo.Constraint(expr=m.buy + Sums(m.f[i].u for i in range(n)) == 0.7 * n)
    m.goal = pyo.Objective(expr=(2.1 * m.buy + Sums(c[i] * m.f[i].u for i in range(n))) / n)
    return sp.Game(m, followers=m.f)


def mixed(n: int) -> sp.Game:
    """What else a model may hold: Params, fixed Vars, named Expressions, nested Blocks, Populations, other senses."""
    m = pyo.ConcreteModel(name="mixed")
    m.p = pyo.Param(initialize=1.5, mutable=True)
    m.b = pyo.Block()
    m.b.x = pyo.Var(bounds=(0, 2), initialize=1.0)
    m.held = pyo.Var(initialize=0.7)
    m.held.fix()
    m.idle = pyo.Var(bounds=(0, 1), initialize=0.0)
    m.f = pyo.Block(range(n))
    for i, f in m.f.items():
        f.u = pyo.Var([0, 1], bounds=(-1, 1), initialize=0.0)
        f.cost = pyo.Objective(expr=-((f.u[0] - m.b.x) ** 2) - f.u[1] ** 2, sense=pyo.maximize)
        f.row = pyo.Constraint(expr=f.u[0] + f.u[1] <= 1 + 0.1 * i)
    m.f[0].u[1].fix(0.25)
    m.total = pyo.Expression(expr=m.p * Sums(f.u[0] for f in m.f.values()) / m.held + m.b.x)
    m.least = pyo.Constraint(expr=m.total >= -2)
    m.curved = pyo.Constraint(expr=Sums(f.u[1] for f in m.f.values()) + pyo.log(1 + m.b.x) >= -5)
    m.range = pyo.Constraint(expr=(-5, Sums((1 + i) * f.u[1] for i, f in m.f.items()) - m.b.x, 5))
    m.worth = pyo.Expression(expr=-(m.total**2) - m.held * Sums((f.u[1] - 0.3) ** 2 for f in m.f.values()) / m.p)
    m.goal = pyo.Objective(expr=2 * (m.worth - 3) - m.b.x**2 * m.p, sense=pyo.maximize)
    return sp.Game(m, followers=[sp.Population(f, 3) for f in m.f.values()])


GAMES: list[Callable[[int], sp.Game]] = [averaged, cournot, shifted, exponential, bought]


# --- the partition, without mpi-sppy ----------------------------------------------------------------------------------


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


def test_aggregates_lie_between_what_their_links_allow() -> None:
    """An aggregate without bounds of its own, 2000 Σ u with u in [0, 1], is held by these and not near a plan."""
    m = pyo.ConcreteModel()
    m.total = pyo.Var(initialize=0.0)
    m.f = pyo.Block(range(4))
    for f in m.f.values():
        f.u = pyo.Var(bounds=(0, 1), initialize=0.0)
        f.cost = pyo.Objective(expr=f.u**2)
    m.sum = pyo.Constraint(expr=m.total == 2000 * sum(f.u for f in m.f.values()) + 5)
    m.goal = pyo.Objective(expr=-m.total)
    partition = Partition(sp.Game(m, followers=m.f, aggregates=[m.sum]), 2)
    low, high = Copy(partition, 0, "pounce").implied
    np.testing.assert_allclose([*low, *high], [5.0, 8005.0])


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


def test_arguments_are_looked_at() -> None:
    game = toll_game()
    with pytest.raises(sp.InvalidGame, match="expected 1 to 1"):
        Partition(game, 2)
    with pytest.raises(sp.InvalidGame, match="engine='mpi'"):
        sp.leader_optimal(game, engine="mpi")
    for wrong in ({"bundles": 0}, {"iterations": 0}, {"tolerance": 0.0}):
        with pytest.raises(sp.InvalidGame, match=next(iter(wrong))):
            sp.Hedging(**wrong)  # type: ignore[arg-type]
    assert chosen_engine("auto") is chosen_engine("monolith") is None
    assert sp.leader_optimal(game, engine="monolith").value("driver.flow") == pytest.approx(0.6)


def test_what_it_cannot_do_is_refused() -> None:
    game = averaged(4)
    with pytest.raises(sp.InvalidGame, match="no responding followers"):
        sp.leader_optimal(game, engine="mpi-sppy", responding=True)
    with pytest.raises(sp.InvalidGame, match="no starts=2"):
        sp.leader_optimal(game, engine="mpi-sppy", starts=2)
    with pytest.raises(sp.InvalidGame, match="by an NLP solver"):
        sp.leader_optimal(game, engine="mpi-sppy", solver="scip")
    game.model.whole = pyo.Var(domain=pyo.Integers)
    with pytest.raises(sp.InvalidGame, match="whole: an integer variable"):
        sp.leader_optimal(game, engine="mpi-sppy")


def test_without_mpi_sppy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "mpisppy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mpisppy", None)
    with pytest.raises(sp.SolverNotAvailable, match=r'pip install "stackpyomo\[mpi\]"'):
        sp.leader_optimal(averaged(4), engine="mpi-sppy")


# --- hedging, with mpi-sppy -------------------------------------------------------------------------------------------


@needs_engine
@pytest.mark.parametrize("make", GAMES)
def test_hedging_finds_the_monoliths_plan_and_bounds_it(make: Callable[[int], sp.Game]) -> None:
    game = make(40)
    before = snapshot(game.model)
    plan = sp.leader_optimal(game, engine="mpi-sppy")
    assert snapshot(game.model) == before
    whole = sp.leader_optimal(game)
    scale = max(1.0, abs(whole.leader_objective))
    assert (plan.quality, plan.termination) == ("optimal", "converged")
    assert plan.leader_objective == pytest.approx(whole.leader_objective, abs=5e-6 * scale)
    assert plan.epsilon0 <= 1e-6 * scale
    assert game.leader.sign * (whole.leader_objective - plan.bound) >= -5e-6 * scale, "a bound on the right side"
    assert plan.residuals["feasibility"] <= 1e-6
    for name, value in whole.values.items():
        assert plan.values[name] == pytest.approx(value, abs=max(5e-3, math.sqrt(1e-6 * scale))), (
            "a gap δ leaves √δ free"
        )
    for name, value in whole.multipliers.items():
        # The copies' own: they still differ by the last consensus when plan and bound are already within 1e-6.
        assert plan.multipliers[name] == pytest.approx(value, abs=2e-2), "the same signs"
    assert all(row["consensus"] >= 0.0 and row["seconds"] > 0.0 for row in plan.log)


@needs_engine
def test_a_model_of_many_kinds_of_components_is_hedged() -> None:
    game = mixed(6)
    plan, whole = sp.leader_optimal(game, engine=sp.Hedging(bundles=3)), sp.leader_optimal(game)
    assert plan.leader_objective == pytest.approx(whole.leader_objective, rel=2e-6)
    assert plan.values.keys() == whole.values.keys()
    assert (plan.value("held"), plan.value("idle")) == (0.7, 0.0)
    assert plan.value("f[0].u[1]") == 0.25
    assert (whole.leader_objective - plan.bound) / abs(whole.leader_objective) <= 1e-6, "he maximises"


@needs_engine
@pytest.mark.parametrize("bundles", [1, 3, 6])
def test_the_closed_form_is_met_by_any_number_of_bundles(bundles: int) -> None:
    game = averaged(24)
    plan = sp.leader_optimal(game, engine=sp.Hedging(bundles=bundles, tolerance=1e-8))
    assert plan.leader_objective == pytest.approx(game.metadata["optimum"], abs=1e-7)
    assert plan.value("mean") == pytest.approx(sum(plan.value(f"f[{i}].u") for i in range(24)) / 24, abs=1e-12)
    for name, follower in game.followers.items():
        own, mean = plan.value(f"{name}.u"), plan.value("mean")
        assert follower.sign * plan.follower_objectives[name] == pytest.approx((own - 1) ** 2 + mean * own, abs=1e-9)


@needs_engine
def test_a_hedged_plan_is_a_plan() -> None:
    game = averaged(6)
    game.model.toll = pyo.Var(range(6), bounds=(-5, 5), initialize=0.0)
    for i in range(6):
        game.model.f[i].cost.set_value(game.model.f[i].cost.expr + game.model.toll[i] * game.model.f[i].u)
    game.model.goal.set_value(game.model.goal.expr + Sums(game.model.toll[i] ** 2 for i in range(6)))
    plan = sp.leader_optimal(game, engine=sp.Hedging(tolerance=1e-9))
    assert sp.verify(sp.affine_incentive(plan)).ok
    back = sp.Plan.from_json(plan.to_json(), game)
    assert back.leader_objective == plan.leader_objective
    assert "mpi-sppy" in str(back)
    assert back.options["engine"] == repr(sp.Hedging(tolerance=1e-9)), "needed to do it again"


@needs_engine
def test_what_the_leader_does_not_care_about_its_follower_settles() -> None:
    game = averaged(4)
    for i in range(4):
        b = game.model.f[i]
        b.own = pyo.Var(bounds=(-1, 3), initialize=0.0)
        b.cost.set_value(b.cost.expr + (b.own - 0.1 * i - b.u) ** 2)
    plan = sp.leader_optimal(game, engine="mpi-sppy")
    for i in range(4):
        assert plan.value(f"f[{i}].own") == pytest.approx(plan.value(f"f[{i}].u") + 0.1 * i, abs=1e-6)


@needs_engine
def test_a_limit_is_never_called_optimal_and_the_bound_holds() -> None:
    game = averaged(24)
    plan = sp.leader_optimal(game, engine=sp.Hedging(bundles=6, iterations=2))
    assert plan.termination == "iteration limit"
    assert plan.quality == "feasible"
    assert plan.bound <= game.metadata["optimum"] + 1e-9 <= plan.leader_objective + 2e-9
    plan = sp.leader_optimal(game, engine=sp.Hedging(bundles=6), time_limit=0.01)
    assert plan.termination == "time limit"
    assert plan.bound <= game.metadata["optimum"] + 1e-9 <= plan.leader_objective + 2e-9


@needs_engine
def test_without_convexity_nothing_is_proved() -> None:
    game = averaged(6)
    game.model.goal.set_value(game.model.goal.expr + 0.01 * pyo.sin(3 * game.model.f[0].u))
    plan = sp.leader_optimal(game, engine="mpi-sppy")
    assert plan.quality == "feasible"
    assert math.isnan(plan.bound)
    assert plan.leader_objective == pytest.approx(sp.leader_optimal(game).leader_objective, abs=1e-5)


@needs_engine
def test_where_no_point_satisfies_a_bundles_rows_there_is_no_plan() -> None:
    game = averaged(6)
    game.model.f[5].never = pyo.Constraint(expr=game.model.f[5].u ** 2 + game.model.f[5].u >= 7)
    with pytest.raises(sp.NoPlan, match=r"bundle of f\[3\]"):
        sp.leader_optimal(game, engine="mpi-sppy")


@needs_engine
def test_where_bundles_cannot_agree_there_is_no_plan() -> None:
    game = bought(6)
    game.model.buy.setub(0.0)
    game.model.f[0].u.setub(0.1)
    game.model.balance.set_value(game.model.balance.body == 10.0)
    with pytest.raises(sp.NoPlan):
        sp.leader_optimal(game, engine=sp.Hedging(iterations=10))


@needs_engine
def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    sp.leader_optimal(averaged(4), engine="mpi-sppy")
    assert capfd.readouterr().out == ""


# --- two ranks --------------------------------------------------------------------------------------------------------


FOLDERS = [os.fspath(Path(__file__).parent), os.fspath(Path(__file__).parents[1])]
SCRIPT = """
import sys
sys.path[:0] = {tests!r}
import stackpyomo as sp
from test_bundles import {game}
from mpi4py import MPI
plan = sp.leader_optimal({game}({n}), engine={engine})
comm = MPI.COMM_WORLD
open({folder!r} + f"/{{comm.rank}}of{{comm.size}}.json", "w").write(plan.to_json())
"""


def on_two_ranks(folder: Path, game: str, n: int, engine: str = "'mpi-sppy'") -> list[Any]:
    if launcher() is None:
        pytest.skip("no mpi4py, or no mpiexec")
    path = folder / "play.py"
    path.write_text(SCRIPT.format(tests=FOLDERS, game=game, n=n, engine=engine, folder=os.fspath(folder)))
    command = [str(launcher()), "-n", "2", sys.executable, os.fspath(path)]
    done = subprocess.run(
        command, env=ranks_environment(folder), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    if not (folder / "1of2.json").exists():
        pytest.skip("mpiexec does not belong to mpi4py's MPI library: each rank is alone")
    return [strict((folder / f"{rank}of2.json").read_text()) for rank in range(2)]


@needs_engine
def test_two_ranks_find_the_same_plan_of_a_thousand_followers(tmp_path: Path) -> None:
    first, second = on_two_ranks(tmp_path, "averaged", 1000)
    assert first["values"] == second["values"]
    assert first["follower_objectives"] == second["follower_objectives"]
    assert "2 ranks, 2 bundles" in first["solver"]
    assert first["quality"] == "optimal"
    assert first["leader_objective"] == pytest.approx(averaged(1000).metadata["optimum"], abs=2e-6)
    assert len(first["values"]) == 1001


@needs_engine
def test_two_ranks_share_five_bundles(tmp_path: Path) -> None:
    first, second = on_two_ranks(tmp_path, "cournot", 20, "sp.Hedging(bundles=5)")
    assert first["values"] == second["values"]
    whole = sp.leader_optimal(cournot(20))
    assert first["leader_objective"] == pytest.approx(whole.leader_objective, rel=2e-6)
    assert first["bound"] >= whole.leader_objective * (1 - 1e-9), "he maximises"
