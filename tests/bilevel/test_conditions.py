"""KKT with responses: the rows against finite differences, hand-written multipliers and independent follower optima."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import snapshot, toll_game
from pyomo.core.expr.visitor import identify_variables
from scipy.optimize import brentq, linprog, minimize

import stackpyomo as sp
from stackpyomo.bilevel import Conditions, responding_followers
from stackpyomo.bilevel.conditions import conditions
from stackpyomo.bilevel.nonconvexity import multiplier_cut

SEEDS = range(4)


def set_values(components: Any, values: Any) -> None:
    for var, value in zip(components, values, strict=True):
        var.set_value(float(value), skip_validation=True)


def multipliers_of(made: Conditions, component: Any) -> dict[str, float]:
    """side → value of the multipliers on one row or on one variable's bounds."""
    return {p.side: pyo.value(p.multiplier) for p in made.pairs if p.component is component}


def lagrangian(made: Conditions, follower: sp.Follower) -> float:
    """L_k at the current values, term by term from the module's docstring: everybody minimises."""
    sign = 1.0 if follower.objective.sense == pyo.minimize else -1.0
    total = sign * pyo.value(follower.objective.expr)
    for row in follower.constraints:
        if row.equality:
            total += pyo.value(made.signed[follower.name, id(row)][0][0]) * (pyo.value(row.body) - row.ub)
            continue
        sides = {
            p.side: pyo.value(p.multiplier) for p in made.pairs if p.follower == follower.name and p.component is row
        }
        if row.ub is not None:
            total += sides["upper"] * (pyo.value(row.body) - row.ub)
        if row.lb is not None:
            total += sides["lower"] * (row.lb - pyo.value(row.body))
    for var in follower.variables:
        sides = multipliers_of(made, var)
        if var.ub is not None:
            total += sides["upper"] * (var.value - var.ub)
        if var.lb is not None:
            total += sides["lower"] * (var.lb - var.value)
    return total


# --- everything at once ---------------------------------------------------------------------------------------------


def zoo(senses: tuple[int, int] = (1, -1), sizes: tuple[float, float, float] = (3, 1, math.inf)) -> sp.Game:
    """Three followers with every kind of row, bound, function and coupling; chained aggregates."""
    sense = {1: pyo.minimize, -1: pyo.maximize}
    m = pyo.ConcreteModel(name="zoo")
    m.x, m.mean, m.drift = pyo.Var(), pyo.Var(), pyo.Var()
    m.cap, m.floor, m.power = (pyo.Param(mutable=True, initialize=v) for v in (4.0, 0.5, 3.0))
    m.a, m.b, m.c = pyo.Block(), pyo.Block(), pyo.Block()
    m.a.u, m.a.v = pyo.Var(bounds=(m.floor, m.cap)), pyo.Var()
    m.b.u, m.b.idle, m.b.held = pyo.Var(bounds=(2.0, 2.0)), pyo.Var(bounds=(-1, None)), pyo.Var(initialize=1.5)
    m.b.held.fix()
    m.c.u = pyo.Var(bounds=(None, 7.0))
    m.def_mean = pyo.Constraint(expr=m.mean == 0.2 * m.a.u + 0.3 * m.b.u + 0.5 * m.c.u)
    m.def_drift = pyo.Constraint(expr=m.drift - 2 * m.mean - 0.5 * m.a.u == 0)

    m.a.bill = pyo.Expression(expr=m.a.u * m.mean + m.x * m.a.v)
    m.a.cost = pyo.Objective(
        expr=m.a.u**m.power + pyo.sinh(m.a.v) + pyo.cosh(m.a.u - m.x) - m.a.bill * m.drift, sense=sense[senses[0]]
    )
    m.a.more = pyo.Constraint(expr=m.a.u + m.a.v**2 + m.mean**2 >= m.x)
    m.a.less = pyo.Constraint(expr=pyo.exp(m.a.v) - m.b.u * m.a.u <= 2 * m.x)
    m.a.band = pyo.Constraint(expr=(-1, m.a.u * m.a.v - m.x, m.cap))
    m.a.tie = pyo.Constraint(expr=m.a.v + m.drift * m.a.u == 3 * m.b.u)

    m.b.cost = pyo.Objective(
        expr=pyo.tanh(m.b.u * m.x) + m.b.held * m.b.u**2 + m.a.u * m.b.u + m.mean * m.drift, sense=sense[senses[1]]
    )
    m.b.shared = pyo.Constraint(expr=m.a.u + m.b.u + m.mean * m.b.held <= 5)
    m.c.cost = pyo.Objective(expr=pyo.log(1 + m.c.u**2) + m.c.u * m.mean**2 + m.drift)
    m.c.shared = pyo.Constraint(expr=m.a.u * m.c.u + m.drift >= -5)
    m.goal = pyo.Objective(expr=m.x**2)
    populations = [sp.Population(b, n) for b, n in zip((m.a, m.b, m.c), sizes, strict=True)]
    return sp.Game(m, populations, aggregates=[m.def_mean, m.def_drift])


SHARES = {"a": (0.2, 2 * 0.2 + 0.5), "b": (0.3, 0.6), "c": (0.5, 1.0)}
"""d(mean), d(drift) by the block's u; one member moves 1/size of it."""


def scatter(game: sp.Game, made: Conditions, seed: int) -> None:
    """Random values everywhere: the formula holds at any point, feasible or not."""
    random = np.random.default_rng(seed)
    variables = [v for v in game.variables_by_name.values() if not v.fixed]
    set_values(variables, random.uniform(0.6, 1.9, len(variables)))
    block = made.block
    for component in (block.pi, block.nu, block.slack):
        set_values(component.values(), random.uniform(0.1, 2.0, len(component)))


@pytest.mark.parametrize("senses", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 1, math.inf), (math.inf, 3, 1)])
def test_stationarity_is_the_slope_of_the_lagrangian_with_what_moves(
    senses: tuple[int, int], sizes: tuple[float, float, float]
) -> None:
    game = zoo(senses, sizes)
    m = game.model
    before = snapshot(m)
    made = conditions(game, list(game.followers.values()))
    assert snapshot(m) == before
    slopes = {id(var): slope for var, slope in made.stationarity}
    assert [v.name for v, _ in made.stationarity] == ["a.u", "a.v", "b.u", "b.idle", "c.u"]
    step = 1e-6
    for seed in SEEDS:
        scatter(game, made, seed)
        for follower in game.followers.values():
            for var in follower.variables:
                moved = [m.mean, m.drift] if var.local_name == "u" else []
                rates = [s / follower.size for s in SHARES[follower.name]]
                here = [v.value for v in (var, *moved)]
                sides = []
                for h in (step, -step):
                    set_values(
                        (var, *moved), [here[0] + h, *(z + h * r for z, r in zip(here[1:], rates, strict=False))]
                    )
                    sides.append(lagrangian(made, follower))
                set_values((var, *moved), here)
                slope = (sides[0] - sides[1]) / (2 * step)
                assert pyo.value(slopes[id(var)]) == pytest.approx(slope, rel=1e-6, abs=1e-6), var.name


def test_rows_keep_their_sides_and_their_limits() -> None:
    """Every inequality becomes gap == slack, gap ≥ 0 exactly where the user's row holds; equalities stay.

    (Pyomo itself turns a.more, with variables on both sides, into x − … ≤ 0.)
    """
    game = zoo()
    m = game.model
    made = conditions(game, list(game.followers.values()))
    found = [(p.follower, p.component.name, p.side) for p in made.pairs]
    assert sorted(found) == sorted(
        [
            ("a", "a.more", "upper"), ("a", "a.less", "upper"), ("a", "a.band", "lower"), ("a", "a.band", "upper"),
            ("a", "a.u", "lower"), ("a", "a.u", "upper"), ("b", "b.shared", "upper"), ("b", "b.u", "lower"),
            ("b", "b.u", "upper"), ("b", "b.idle", "lower"), ("c", "c.shared", "lower"), ("c", "c.u", "upper"),
        ]
    )  # fmt: skip
    assert ("a", id(m.a.tie)) in made.signed
    assert len({id(p.multiplier) for p in made.pairs}) == len(made.pairs), "one multiplier each"
    for seed in SEEDS:
        scatter(game, made, seed)
        gaps = {(p.component.name, p.side): pyo.value(p.gap) for p in made.pairs}
        x, u, v, b, c = m.x.value, m.a.u.value, m.a.v.value, m.b.u.value, m.c.u.value
        mean, drift = m.mean.value, m.drift.value
        assert gaps["a.more", "upper"] == pytest.approx(u + v**2 + mean**2 - x)
        assert gaps["a.less", "upper"] == pytest.approx(2 * x - math.exp(v) + b * u)
        assert gaps["a.band", "lower"] == pytest.approx(u * v - x + 1)
        assert gaps["a.band", "upper"] == pytest.approx(4 - u * v + x)
        assert gaps["a.u", "lower"] == pytest.approx(u - 0.5)
        assert gaps["a.u", "upper"] == pytest.approx(4 - u)
        assert gaps["b.u", "upper"] == pytest.approx(2 - b)
        assert gaps["b.shared", "upper"] == pytest.approx(5 - u - b - 1.5 * mean)
        assert gaps["c.shared", "lower"] == pytest.approx(u * c + drift + 5)
    for constraint, relation in made.rows:
        if constraint is m.a.tie:
            m.a.v.set_value(3 * m.b.u.value - m.drift.value * m.a.u.value)
            assert pyo.value(relation.args[0] - relation.args[1]) == pytest.approx(0, abs=1e-12)
            continue
        pair = next(p for p in made.pairs if p.component is constraint and str(p.slack) in str(relation))
        pair.slack.set_value(pyo.value(pair.gap), skip_validation=True)
        assert pyo.value(relation.args[0] - relation.args[1]) == pytest.approx(0, abs=1e-12)


def test_params_stay_symbolic_and_are_read_when_the_rows_are() -> None:
    game = zoo()
    m = game.model
    made = conditions(game, list(game.followers.values()))
    scatter(game, made, 0)
    slope = {v.name: e for v, e in made.stationarity}["a.u"]
    gaps = {(p.component.name, p.side): p for p in made.pairs}
    first = pyo.value(slope)
    assert pyo.value(gaps["a.u", "upper"].slack) == pytest.approx(4.0 - m.a.u.value)
    m.cap.set_value(9.0)
    m.floor.set_value(-2.5)
    assert pyo.value(gaps["a.u", "upper"].slack) == pytest.approx(9.0 - m.a.u.value)
    assert pyo.value(gaps["a.u", "lower"].slack) == pytest.approx(m.a.u.value + 2.5)
    assert pyo.value(gaps["a.band", "upper"].gap) == pytest.approx(9.0 - m.a.u.value * m.a.v.value + m.x.value)
    assert pyo.value(slope) == pytest.approx(first), "limits are constants of the slope"
    m.power.set_value(2.0)
    u = m.a.u.value
    assert pyo.value(slope) - first == pytest.approx(2 * u - 3 * u**2)


@pytest.mark.parametrize("solver", ["pounce", "scip"])
def test_a_new_value_of_a_param_in_a_bound_counts_in_the_next_plan(solver: str) -> None:
    m = pyo.ConcreteModel()
    m.cap = pyo.Param(mutable=True, initialize=1.0)
    m.x = pyo.Var(bounds=(0, 5))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, m.cap))
    m.f.cost = pyo.Objective(expr=(m.f.u - m.x) ** 2)
    m.goal = pyo.Objective(expr=(m.f.u - 4) ** 2 + 0.01 * m.x)
    game = sp.Game(m, followers=m.f)
    for cap in (1.0, 2.5):
        m.cap.set_value(cap)
        plan = sp.stackelberg(game, solver=solver)
        assert plan.value("f.u") == pytest.approx(cap, abs=1e-7)
        assert plan.value("x") == pytest.approx(cap, abs=1e-6), "u = min(x, cap), and x costs"


def test_one_row_of_one_follower_on_anothers_variable_is_his_alone() -> None:
    """Generalised Nash: both write u + v ≤ 1; two rows, two multipliers, which may differ."""
    m = pyo.ConcreteModel()
    m.a, m.b = pyo.Block(), pyo.Block()
    m.a.u, m.b.v = pyo.Var(), pyo.Var()
    m.a.cost = pyo.Objective(expr=(m.a.u - 1) ** 2)
    m.b.cost = pyo.Objective(expr=(m.b.v - 2) ** 2)
    m.a.room = pyo.Constraint(expr=m.a.u + m.b.v <= 1)
    m.b.room = pyo.Constraint(expr=m.a.u + m.b.v <= 1)
    m.goal = pyo.Objective(expr=(m.a.u - 0.25) ** 2)
    game = sp.Game(m, [m.a, m.b])
    made = conditions(game, list(game.followers.values()))
    first, second = made.pairs
    assert (first.follower, second.follower) == ("a", "b")
    set_values((m.a.u, m.b.v), (0.25, 0.75))
    set_values((first.multiplier, second.multiplier), (1.5, 2.5))  # 2(1 − u), 2(2 − v)
    assert [pyo.value(e) for _, e in made.stationarity] == pytest.approx([0, 0], abs=1e-14)
    plan = sp.stackelberg(game)
    assert (plan.value("a.u"), plan.value("b.v")) == (pytest.approx(0.25, abs=1e-6), pytest.approx(0.75, abs=1e-6))
    assert plan.multipliers["a.room"] == pytest.approx(-1.5, abs=1e-5)
    assert plan.multipliers["b.room"] == pytest.approx(-2.5, abs=1e-5)


# --- text -----------------------------------------------------------------------------------------------------------


def test_the_reformulation_of_a_small_game_reads_like_the_textbook() -> None:
    m = toll_game().model
    m.driver.jam = pyo.Constraint(expr=2 * m.driver.flow + m.toll >= -1)
    m.driver.tie = pyo.Constraint(expr=m.driver.flow**2 == m.toll)
    m.driver.lim = pyo.Constraint(expr=(-1, m.driver.flow * m.toll, 1))
    game = sp.Game(m, followers=m.driver)
    made = conditions(game, list(game.followers.values()))
    assert [str(r) for r in made.relations] == [
        "toll + 2*(driver.flow - 1) - 2*pi[0] + nu[0]*(2*driver.flow) - pi[1]*toll + pi[2]*toll + (- pi[3] + pi[4])"
        "  ==  0",
        "2*driver.flow + toll + 1  ==  slack[0]",
        "driver.flow**2  ==  toll",
        "driver.flow*toll + 1  ==  slack[1]",
        "1 - driver.flow*toll  ==  slack[2]",
    ]
    assert [(p.component.name, p.side, str(p.multiplier), str(p.slack), str(p.gap)) for p in made.pairs] == [
        ("driver.jam", "lower", "pi[0]", "slack[0]", "2*driver.flow + toll + 1"),
        ("driver.lim", "lower", "pi[1]", "slack[1]", "driver.flow*toll + 1"),
        ("driver.lim", "upper", "pi[2]", "slack[2]", "1 - driver.flow*toll"),
        ("driver.flow", "lower", "pi[3]", "driver.flow", "driver.flow"),
        ("driver.flow", "upper", "pi[4]", "1 - driver.flow", "1 - driver.flow"),
    ]
    assert made.scales == []
    for pair in made.pairs:
        assert pair.multiplier.lb == 0
        assert pair.multiplier.ub is None


def test_a_variable_that_nobody_uses_needs_no_row_unless_it_has_bounds() -> None:
    m = pyo.ConcreteModel()
    m.f = pyo.Block()
    m.f.u, m.f.free, m.f.boxed = pyo.Var(), pyo.Var(), pyo.Var(bounds=(1, 3))
    m.f.cost = pyo.Objective(expr=(m.f.u - 1) ** 2)
    m.goal = pyo.Objective(expr=m.f.u**2)
    game = sp.Game(m, m.f)
    made = conditions(game, list(game.followers.values()))
    rows = {v.name: str(e) for v, e in made.stationarity}
    assert set(rows) == {"f.u", "f.boxed"}
    plan = sp.stackelberg(game)
    assert plan.value("f.u") == pytest.approx(1)
    assert 1 <= plan.value("f.boxed") <= 3


def test_a_coinciding_pair_of_bounds_pins_the_variable() -> None:
    """lb == ub: feasible only there, and the multipliers take whatever slope is left."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-3, 3))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(2, 2))
    m.f.v = pyo.Var(bounds=(-5, 5))
    m.f.cost = pyo.Objective(expr=(m.f.u - 7) ** 2 + (m.f.v - m.x * m.f.u) ** 2)
    m.goal = pyo.Objective(expr=(m.f.v - 3) ** 2)
    plan = sp.stackelberg(sp.Game(m, m.f))
    assert plan.value("f.u") == 2.0
    assert plan.value("f.v") == pytest.approx(3, abs=1e-6)
    assert plan.value("x") == pytest.approx(1.5, abs=1e-6)


# --- Fritz John -----------------------------------------------------------------------------------------------------


def curved_game(*, size: float = 1) -> sp.Game:
    """Rows that are curved in u, curved in the leader's x alone, curved through what u moves, and affine."""
    m = pyo.ConcreteModel()
    m.x, m.mean = pyo.Var(initialize=1.0), pyo.Var(initialize=1.0)
    m.f, m.g = pyo.Block(), pyo.Block()
    m.f.u, m.f.v = pyo.Var(bounds=(0, 9)), pyo.Var()
    m.g.w = pyo.Var()
    m.define = pyo.Constraint(expr=m.mean == m.f.u)
    m.f.cost = pyo.Objective(expr=(m.f.u - 1) ** 2 + m.f.v**2 + m.mean)
    m.f.disc = pyo.Constraint(expr=m.f.u**2 + m.f.v**2 <= m.x)
    m.f.flat = pyo.Constraint(expr=m.f.u + m.x**2 * m.f.v <= 4)
    m.f.moved = pyo.Constraint(expr=m.mean**2 + m.f.v >= -8)
    m.f.given = pyo.Constraint(expr=m.g.w**2 + m.f.v <= 8)
    m.g.cost = pyo.Objective(expr=(m.g.w - m.x) ** 2)
    m.g.flat = pyo.Constraint(expr=m.g.w <= 3)
    m.goal = pyo.Objective(expr=m.x)
    return sp.Game(m, [sp.Population(m.f, size), m.g], aggregates=m.define)


def test_fritz_john_weighs_the_cost_and_the_curved_rows_alone() -> None:
    game = curved_game()
    m = game.model
    followers = list(game.followers.values())
    made = conditions(game, followers, fritz_john=["f", "g"])
    assert made.curved == {"f": {id(m.f.disc), id(m.f.moved)}}, "affine in what it decides and moves is not curved"
    assert list(made.weights) == ["f"], "g has affine rows only: KKT needs no qualification"
    tau = made.weights["f"]
    assert (tau.lb, tau.ub) == (0, 1)
    (scale,) = made.scales
    weighed = {id(p.multiplier) for p in made.pairs if p.component is m.f.disc or p.component is m.f.moved}
    assert {id(v) for v in identify_variables(scale)} == {id(tau), *weighed}
    scatter_all(game, made)
    total = tau.value + sum(pyo.value(p.multiplier) for p in made.pairs if id(p.multiplier) in weighed)
    assert pyo.value(scale.args[0]) - pyo.value(scale.args[1]) == pytest.approx(total - 1)
    plain = conditions(game, followers)
    assert (plain.scales, plain.weights) == ([], {})


def scatter_all(game: sp.Game, made: Conditions) -> None:
    scatter(game, made, 7)
    set_values(made.block.tau.values(), np.random.default_rng(8).uniform(0.1, 0.9, len(made.block.tau)))


@pytest.mark.parametrize("size", [1, 4])
def test_fritz_john_is_kkt_with_the_cost_scaled(size: float) -> None:
    """τ ∇J + Σ π ∇g: the slope at (τ, π) is τ times the KKT slope at π / τ."""
    game = curved_game(size=size)
    followers = list(game.followers.values())
    john, kkt = conditions(game, followers, fritz_john=["f"]), conditions(game, followers)
    scatter_all(game, john)
    tau = john.weights["f"].value
    for theirs, ours in zip(john.pairs, kkt.pairs, strict=True):
        ours.multiplier.set_value(theirs.multiplier.value / (tau if theirs.follower == "f" else 1.0))
    for (var, theirs), (_, ours) in zip(john.stationarity, kkt.stationarity, strict=True):
        factor = tau if var.local_name != "w" else 1.0
        assert pyo.value(theirs) == pytest.approx(factor * pyo.value(ours), rel=1e-12), var.name


def test_fritz_john_holds_where_kkt_has_no_multiplier() -> None:
    """min (y − 3)² s.t. y² ≤ x at x = 0: only τ = 0, π = 1; KKT would need −6 + π·0 = 0."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 10))
    m.f = pyo.Block()
    m.f.y = pyo.Var()
    m.f.cost = pyo.Objective(expr=(m.f.y - 3) ** 2)
    m.f.disc = pyo.Constraint(expr=m.f.y**2 <= m.x)
    m.goal = pyo.Objective(expr=m.x)
    game = sp.Game(m, m.f)
    made = conditions(game, list(game.followers.values()), fritz_john=["f"])
    set_values((m.x, m.f.y, made.weights["f"], made.pairs[0].multiplier, made.pairs[0].slack), (0, 0, 0, 1, 0))
    for relation in made.relations:
        assert pyo.value(relation.args[0] - relation.args[1]) == pytest.approx(0, abs=1e-15)
    kkt = conditions(game, list(game.followers.values()))
    for multiplier in (0.0, 1.0, 1e9):
        kkt.pairs[0].multiplier.set_value(multiplier)
        assert pyo.value(kkt.stationarity[0][1]) == pytest.approx(-6)


# --- what global solvers get beside ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sense", [1, -1])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_duality_row_holds_at_optima_of_linear_followers(seed: int, sense: int) -> None:
    """A random linear program with every kind of row and bound, solved by linprog at random leader values."""
    random = np.random.default_rng(seed)
    n = 4
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(range(n), bounds=lambda _, i: [(0, None), (-1, 2), (None, 3), (1, 4)][i])
    cost, slope, rows = random.normal(size=n), random.normal(size=n), random.normal(size=(3, n))
    x0, x1, u = m.x[0], m.x[1], [m.f.u[i] for i in range(n)]
    dot = lambda r: sum(float(c) * v for c, v in zip(r, u, strict=True))  # noqa: E731
    price = [float(c) + float(s) * x0 for c, s in zip(cost, slope, strict=True)]
    m.f.cost = pyo.Objective(
        expr=sense * (sum(p * v for p, v in zip(price, u, strict=True)) + 3 * x1**2),
        sense=pyo.minimize if sense > 0 else pyo.maximize,
    )
    m.f.upper = pyo.Constraint(expr=dot(rows[0]) + x1 <= 3)
    m.f.band = pyo.Constraint(expr=(-4, dot(rows[1]) + x0 * x1, 5))
    m.f.tie = pyo.Constraint(expr=dot(rows[2]) + x0 * u[0] == x1)
    m.f.box = pyo.Constraint([0, 1, 2], rule=lambda b, i: b.u[[0, 2, 1][i]] * [1, -1, 1][i] <= [6, 6, 1.5][i])
    m.goal = pyo.Objective(expr=x0)
    game = sp.Game(m, m.f)
    made = conditions(game, list(game.followers.values()))
    (relation,) = made.implied
    solved = 0
    for _ in range(6):
        a, b = random.uniform(-1, 1, 2)
        set_values(m.x.values(), (a, b))
        tied = rows[2].copy()
        tied[0] += a
        best = linprog(
            cost + slope * a,
            A_ub=[rows[0], rows[1], -rows[1], [1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0]],
            b_ub=[3 - b, 5 - a * b, 4 + a * b, 6, 6, 1.5],
            A_eq=[tied],
            b_eq=[b],
            bounds=[(0, None), (-1, 2), (None, 3), (1, 4)],
        )
        if best.status != 0:
            continue
        solved += 1
        set_values(u, best.x)
        upper, high, low, *box = -best.ineqlin.marginals
        worth = {("f.upper", "upper"): upper, ("f.band", "upper"): high, ("f.band", "lower"): low}
        worth |= {(f"f.box[{i}]", "upper"): value for i, value in enumerate(box)}
        worth |= {(f"f.u[{i}]", "lower"): v for i, v in enumerate(best.lower.marginals)}
        worth |= {(f"f.u[{i}]", "upper"): -v for i, v in enumerate(best.upper.marginals)}
        for pair in made.pairs:
            pair.multiplier.set_value(max(0.0, worth[pair.component.name, pair.side]))
        made.signed["f", id(m.f.tie)][0][0].set_value(-best.eqlin.marginals[0])
        for var, slope_here in made.stationarity:
            assert pyo.value(slope_here) == pytest.approx(0, abs=1e-8), var.name
        assert pyo.value(relation.args[0] - relation.args[1]) == pytest.approx(0, abs=1e-8)
        off = m.f.u[3].value
        m.f.u[3].set_value(off + 0.5)
        if abs(cost[3] + slope[3] * a) > 1e-6:
            assert abs(pyo.value(relation.args[0] - relation.args[1])) > 1e-8, "and it says something"
        m.f.u[3].set_value(off)
    assert solved >= 2


def test_no_duality_row_for_what_is_not_linear_or_moves_others() -> None:
    m = curved_game().model
    m.f.disc.deactivate()
    m.f.moved.deactivate()
    game = sp.Game(m, [m.f, m.g], aggregates=m.define)
    assert conditions(game, list(game.followers.values())).implied == []


@pytest.mark.parametrize("sense", [1, -1])
def test_the_cut_on_multipliers_holds_at_optima_of_convex_followers(sense: int) -> None:
    """min ‖u − (x, 2)‖² s.t. ‖u‖² ≤ ρ(x), u₁ ≤ 0.4: π from the one-dimensional dual, found by bisection."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.u, m.f.v = pyo.Var(bounds=(None, 0.4)), pyo.Var()
    cost = (m.f.u - m.x) ** 2 + (m.f.v - 2) ** 2
    m.f.cost = pyo.Objective(expr=sense * cost, sense=pyo.minimize if sense > 0 else pyo.maximize)
    m.f.disc = pyo.Constraint(expr=m.f.u**2 + m.f.v**2 <= 0.5 + m.x**2)
    m.goal = pyo.Objective(expr=m.x)
    game = sp.Game(m, m.f)
    follower = game.followers["f"]
    made = conditions(game, [follower])
    cut = multiplier_cut(made, follower, {id(m.f.u): 0.1, id(m.f.v): -0.2})
    sides = {(p.component.name, p.side): p.multiplier for p in made.pairs}

    def answer(pi: float, x: float) -> tuple[float, float]:
        return min(0.4, x / (1 + pi)), 2 / (1 + pi)

    for x in (-2.0, -0.7, 0.0, 0.3, 1.0, 2.5):
        excess = lambda pi, x=x: sum(z**2 for z in answer(pi, x)) - 0.5 - x**2  # noqa: E731
        pi = 0.0 if excess(0.0) <= 0 else brentq(excess, 0.0, 1e3, xtol=1e-14)
        u, v = answer(pi, x)
        force = max(0.0, 2 * (x - u) - 2 * pi * u)
        set_values((m.x, m.f.u, m.f.v, sides["f.disc", "upper"], sides["f.u", "upper"]), (x, u, v, pi, force))
        for _, slope in made.stationarity:
            assert pyo.value(slope) == pytest.approx(0, abs=1e-9)
        assert bool(pyo.value(cut))
        left = pi * (0.5 + x**2 - 0.05) + force * 0.3
        right = (0.1 - x) ** 2 + 4.84 - (u - x) ** 2 - (v - 2) ** 2
        assert left <= right
        assert pyo.value(cut.args[0]) == pytest.approx(left, abs=1e-9)
        assert pyo.value(cut.args[1]) == pytest.approx(right, abs=1e-9)
        sides["f.disc", "upper"].set_value(pi + 100)
        assert not bool(pyo.value(cut)), "a bound, not an empty row"


# --- who responds, and what cannot ----------------------------------------------------------------------------------


def family() -> sp.Game:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.f = pyo.Block([1, 2, 3], rule=lambda b, i: None)
    for b in m.f.values():
        b.u = pyo.Var(initialize=0.0)
        b.cost = pyo.Objective(expr=(b.u - m.x) ** 2)
    m.lone = pyo.Block()
    m.lone.u = pyo.Var(initialize=0.0)
    m.lone.cost = pyo.Objective(expr=(m.lone.u + m.x) ** 2)
    m.goal = pyo.Objective(expr=m.x)
    return sp.Game(m, [m.f, m.lone])


def test_every_way_to_name_who_responds() -> None:
    game = family()
    m = game.model
    names = lambda responding: [f.name for f in responding_followers(game, responding)]  # noqa: E731
    assert names(True) == ["f[1]", "f[2]", "f[3]", "lone"]
    assert names(()) == []
    assert names(m.lone) == names("lone") == names(game.followers["lone"]) == names([m.lone, "lone"]) == ["lone"]
    assert names(m.f) == ["f[1]", "f[2]", "f[3]"]
    assert names(m.f[2]) == names(["f[2]"]) == ["f[2]"]
    assert names([m.f, "lone"]) == ["f[1]", "f[2]", "f[3]", "lone"]
    assert names(sp.Population(m.lone, 3)) == ["lone"]


@pytest.mark.parametrize("what", ["nobody", "model", "var", "number", "nested"])
def test_responding_that_is_no_follower_is_named(what: str) -> None:
    game = family()
    m = game.model
    m.other = pyo.Block()
    given = {"nobody": "nobody", "model": m.other, "var": m.x, "number": 3, "nested": [m.lone, [m.other]]}[what]
    word = {"nobody": "nobody", "model": "other", "var": "x", "number": "3", "nested": "other"}[what]
    before = snapshot(m)
    with pytest.raises(sp.InvalidGame, match=rf"responding={word}: not a follower.*f\[1\]"):
        sp.leader_optimal(game, responding=given)
    assert snapshot(m) == before


def kinked(expression: Callable[[Any, Any], Any], *, row: bool = False) -> sp.Game:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1), initialize=0.5)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 1), initialize=0.5)
    bent = expression(m.f.u, m.x)
    m.f.cost = pyo.Objective(expr=(m.f.u - m.x) ** 2 + (0 if row else bent))
    if row:
        m.f.row = pyo.Constraint(expr=bent <= 3)
    m.goal = pyo.Objective(expr=(m.f.u - 0.3) ** 2 + m.x**2)
    return sp.Game(m, m.f)


@pytest.mark.parametrize("row", [False, True])
def test_an_if_has_no_symbolic_derivative_and_is_named(row: bool) -> None:
    game = kinked(lambda u, x: pyo.Expr_if(IF=u >= 0.4, THEN=u, ELSE=2 * u - 0.4), row=row)
    before = snapshot(game.model)
    name = "f.row" if row else "f.cost"
    with pytest.raises(sp.InvalidGame, match=rf"{name}: .*(smooth|if)"):
        conditions(game, list(game.followers.values()))
    with pytest.raises(sp.InvalidGame, match=name):
        sp.stackelberg(game)
    assert snapshot(game.model) == before


def test_an_absolute_value_has_no_derivative_at_its_kink_and_is_named() -> None:
    """min (u − x)² + |u − 0.5|: for |x − 0.5| < 0.5 the answer is u = 0.5, where |.| has no derivative."""
    game = kinked(lambda u, x: abs(u - 0.5))
    with pytest.raises(sp.InvalidGame, match=r"f\.cost: .*smooth"):
        conditions(game, list(game.followers.values()))
    with pytest.raises(sp.InvalidGame, match=r"f\.cost: .*smooth"):
        sp.stackelberg(game, solver="pounce")


def test_the_absolute_value_of_what_others_decide_is_no_trouble() -> None:
    game = kinked(lambda u, x: abs(x - 0.5))
    plan = sp.stackelberg(game, solver="pounce")
    assert plan.value("f.u") == pytest.approx(plan.value("x"), abs=1e-8)
    assert plan.value("x") == pytest.approx(0.15, abs=1e-6), "min (x − 0.3)² + x²"


@pytest.mark.parametrize("row", [False, True])
def test_an_external_function_is_named(row: bool) -> None:
    game = kinked(lambda u, x: u)
    m = game.model
    m.ext = pyo.ExternalFunction(lambda z: z**2, lambda args, *_: (args[0] ** 2, [2 * args[0]], [2.0]))
    if row:
        m.f.row = pyo.Constraint(expr=m.ext(m.f.u) <= 3)
    else:
        m.f.cost.set_value(m.ext(m.f.u) + m.x * m.f.u)
    with pytest.raises(sp.InvalidGame, match="f.row" if row else "f.cost"):
        sp.stackelberg(game)


@pytest.mark.parametrize("options", [{"solver": "pounce"}, {"complementarity": "scholtes"}])
def test_an_integer_follower_is_refused_before_anything_is_solved(options: dict[str, Any]) -> None:
    game = kinked(lambda u, x: u)
    game.model.f.n = pyo.Var(domain=pyo.Integers, bounds=(0, 3))
    before = snapshot(game.model)
    for call in (sp.stackelberg, lambda g, **k: sp.nash(g, leader={"x": 0.5}, **k)):
        with pytest.raises(sp.InvalidGame, match=r"f\.n.*integer"):
            call(game, **options)
    assert snapshot(game.model) == before


def test_of_an_integer_follower_the_continuous_part_has_conditions() -> None:
    """min 6 z + w²/2 − x w, w ≤ 4 z, z ≤ 1: stationarity of w alone; z's own row has no multiplier."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 10))
    m.f = pyo.Block()
    m.f.z = pyo.Var(domain=pyo.Binary)
    m.f.w = pyo.Var(bounds=(0, None))
    m.f.limit = pyo.Constraint(expr=m.f.w <= 4 * m.f.z)
    m.f.few = pyo.Constraint(expr=m.f.z + m.x <= 8)
    m.f.cost = pyo.Objective(expr=6 * m.f.z + m.f.w**2 / 2 - m.x * m.f.w)
    m.goal = pyo.Objective(expr=m.x)
    game = sp.Game(m, m.f)
    made = conditions(game, list(game.followers.values()))
    assert [v.name for v, _ in made.stationarity] == ["f.w"]
    assert [pair.component.name for pair in made.pairs] == ["f.limit", "f.w"]
    assert [row.name for row, _ in made.rows] == ["f.limit", "f.few"]


# --- functions with their own trouble -------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["pounce", "scip"])
def test_hyperbolic_followers_answer_as_their_derivatives_say(solver: str) -> None:
    """min cosh(u) − x u: u = asinh(x); min sinh(v) + sinh(-2v)..: 1-d convex, by SciPy."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-2, 2), initialize=0.1)
    m.f, m.g = pyo.Block(), pyo.Block()
    m.f.u = pyo.Var(bounds=(-3, 3), initialize=0.0)
    m.g.v = pyo.Var(bounds=(0, 3), initialize=1.0)
    m.f.cost = pyo.Objective(expr=pyo.cosh(m.f.u) - m.x * m.f.u)
    m.g.gain = pyo.Objective(expr=pyo.tanh(m.g.v) - 0.3 * m.g.v - 0.1 * m.x * m.g.v, sense=pyo.maximize)
    m.goal = pyo.Objective(expr=(m.f.u - 1) ** 2)
    plan = sp.stackelberg(sp.Game(m, [m.f, m.g]), solver=solver)
    assert plan.value("x") == pytest.approx(math.sinh(1.0), abs=1e-4)
    price = 0.3 + 0.1 * plan.value("x")
    assert plan.value("g.v") == pytest.approx(math.acosh(1 / math.sqrt(price)), abs=1e-6)


def test_conditions_hold_at_an_equilibrium_found_by_iterating_best_responses() -> None:
    """Two followers with bounds and rows, one of size 3: Gauss–Seidel with SciPy."""
    m = pyo.ConcreteModel()
    m.x, m.mean = pyo.Var(initialize=1.0), pyo.Var()
    m.a, m.b = pyo.Block(), pyo.Block()
    m.a.u, m.b.v = pyo.Var(bounds=(0, 1.2)), pyo.Var(bounds=(0.3, None))
    m.define = pyo.Constraint(expr=m.mean == 0.75 * m.a.u + 0.25 * m.b.v)
    m.a.cost = pyo.Objective(expr=pyo.exp(m.a.u) - m.a.u * (4 - m.mean - m.x))
    m.b.gain = pyo.Objective(expr=m.b.v * (2 - m.mean) - m.b.v**2, sense=pyo.maximize)
    m.b.room = pyo.Constraint(expr=m.a.u + m.b.v <= 1.5)
    m.goal = pyo.Objective(expr=m.x**2)
    game = sp.Game(m, [sp.Population(m.a, 3), m.b], aggregates=m.define)

    def share(u: float, v: float) -> float:
        return 0.75 * u + 0.25 * v

    u = v = 0.5
    for _ in range(60):
        z = share(u, v)
        a = lambda t, u=u, z=z: math.exp(t[0]) - t[0] * (4 - (z + 0.25 * (t[0] - u)) - 1.0)  # noqa: E731
        u = float(minimize(a, [u], bounds=[(0, 1.2)], options={"ftol": 1e-15, "gtol": 1e-12}).x[0])
        z = share(u, v)
        b = lambda t, v=v, z=z: t[0] ** 2 - t[0] * (2 - (z + 0.25 * (t[0] - v)))  # noqa: E731
        v = float(minimize(b, [v], bounds=[(0.3, max(0.3, 1.5 - u))], options={"ftol": 1e-15, "gtol": 1e-12}).x[0])
    plan = sp.nash(game, leader={"x": 1.0})
    assert plan.value("a.u") == pytest.approx(u, abs=1e-5)
    assert plan.value("b.v") == pytest.approx(v, abs=1e-5)
    assert plan.value("mean") == pytest.approx(share(u, v), abs=1e-5)
