"""Treatments of complementarity: the same verified answer from each, honest big-M, exact zeros, clear refusals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import NLP, snapshot

import stackpyomo as sp
from stackpyomo.bilevel import Conditions, Problem, Treatment
from stackpyomo.bilevel.complementarity import Given, audit
from stackpyomo.bilevel.conditions import conditions
from stackpyomo.bilevel.mpcc import Equilibrium
from stackpyomo.solvers import registry

LOCAL = [sp.Scholtes(), sp.FischerBurmeister(), sp.Penalty()]
ALL: list[Treatment] = [*LOCAL, sp.BigM(), sp.SOS1()]
GLOBAL = [
    pytest.param(name, marks=pytest.mark.skipif(not registry[name].available, reason=f"needs {name}"))
    for name in ("scip", "gurobi")
]


# --- games whose only local answer is the global one, in closed form --------------------------------------------------


def duopoly() -> tuple[sp.Game, dict[str, float], float]:
    """p = 10 − q₀ − q₁, unit cost 2: q₀ = (10 − 2)/2, q₁ = (10 − 2)/4."""
    m = pyo.ConcreteModel()
    m.q = pyo.Var(bounds=(0, 20))
    m.rival = pyo.Block()
    m.rival.q = pyo.Var(bounds=(0, 20))
    price = 10 - m.q - m.rival.q
    m.rival.profit = pyo.Objective(expr=m.rival.q * (price - 2), sense=pyo.maximize)
    m.profit = pyo.Objective(expr=m.q * (price - 2), sense=pyo.maximize)
    return sp.Game(m, m.rival), {"q": 4, "rival.q": 2}, 8


def toll() -> tuple[sp.Game, dict[str, float], float]:
    """u = clip(1 − x/2, 0, 1): (0.4 − x/2)² + 0.01x² is least at x = 10/13."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-2, 2))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 1))
    m.f.cost = pyo.Objective(expr=(m.f.u - 1) ** 2 + m.x * m.f.u)
    m.miss = pyo.Objective(expr=(m.f.u - 0.6) ** 2 + 0.01 * m.x**2)
    return sp.Game(m, m.f), {"x": 10 / 13, "f.u": 8 / 13}, (8 / 13 - 0.6) ** 2 + 0.01 * (10 / 13) ** 2


def split() -> tuple[sp.Game, dict[str, float], float]:
    """u + v = 1, u, v ≥ 0: u = clip(x − 1/2, 0, 1); (x − 5/4)² + (x − 1)² is least at x = 9/8."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 2))
    m.f = pyo.Block()
    m.f.u, m.f.v = pyo.Var(bounds=(0, None)), pyo.Var(bounds=(0, None))
    m.f.whole = pyo.Constraint(expr=m.f.u + m.f.v == 1)
    m.f.cost = pyo.Objective(expr=(m.f.u - m.x) ** 2 + (m.f.v + m.x - 2) ** 2)
    m.goal = pyo.Objective(expr=(m.f.u - 0.75) ** 2 + (m.x - 1) ** 2)
    return sp.Game(m, m.f), {"x": 1.125, "f.u": 0.625, "f.v": 0.375}, 1 / 32


def capped() -> tuple[sp.Game, dict[str, float], float]:
    """max −(u − 4)² s.t. u ≤ x: u = x, its multiplier 4.1; (x − 2)² + x/10 is least at 1.95."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 10))
    m.f = pyo.Block()
    m.f.u = pyo.Var()
    m.f.cap = pyo.Constraint(expr=m.x >= m.f.u)
    m.f.gain = pyo.Objective(expr=-((m.f.u - 4) ** 2), sense=pyo.maximize)
    m.goal = pyo.Objective(expr=(m.f.u - 2) ** 2 + 0.1 * m.x)
    return sp.Game(m, m.f), {"x": 1.95, "f.u": 1.95}, 0.1975


def oligopoly() -> tuple[sp.Game, dict[str, float], float]:
    """Two Cournot rivals answer q = (12 − x)/3 each: x(12 − x)/3 is greatest at 6."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 12))
    m.f = pyo.Block([1, 2])
    for b in m.f.values():
        b.q = pyo.Var(bounds=(0, 12))
    price = 12 - m.x - m.f[1].q - m.f[2].q
    for b in m.f.values():
        b.profit = pyo.Objective(expr=b.q * price, sense=pyo.maximize)
    m.profit = pyo.Objective(expr=m.x * price, sense=pyo.maximize)
    return sp.Game(m, m.f), {"x": 6, "f[1].q": 2, "f[2].q": 2}, 12


def circle() -> tuple[sp.Game, dict[str, float], float]:
    """max u s.t. u² + x² ≤ 4: u = √(4 − x²); x + u is greatest at √2 each. A curved row, with an interior."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1.9), initialize=0.5)
    m.f = pyo.Block()
    m.f.u = pyo.Var(initialize=0.5, bounds=(-3, 3))
    m.f.disc = pyo.Constraint(expr=m.f.u**2 + m.x**2 <= 4)
    m.f.far = pyo.Objective(expr=m.f.u, sense=pyo.maximize)
    m.far = pyo.Objective(expr=m.x + m.f.u, sense=pyo.maximize)
    return sp.Game(m, m.f), {"x": math.sqrt(2), "f.u": math.sqrt(2)}, 2 * math.sqrt(2)


def ceiling() -> tuple[sp.Game, dict[str, float], float]:
    """u = min(x, 3), the target 4 out of reach: −2u + x is least at the kink, where two rows meet."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 8))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 3))
    m.f.cap = pyo.Constraint(expr=m.f.u - m.x <= 0)
    m.f.cost = pyo.Objective(expr=(m.f.u - 4) ** 2)
    m.goal = pyo.Objective(expr=-2 * m.f.u + m.x)
    return sp.Game(m, m.f), {"x": 3, "f.u": 3}, -3


def kink() -> tuple[sp.Game, dict[str, float], float]:
    """u = clip(x, 0, 2): u − x/2 is greatest at the kink, where bound and multiplier are both 0 (degenerate)."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 5))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(0, 2))
    m.f.cost = pyo.Objective(expr=(m.f.u - m.x) ** 2)
    m.goal = pyo.Objective(expr=m.f.u - 0.5 * m.x, sense=pyo.maximize)
    return sp.Game(m, m.f), {"x": 2, "f.u": 2}, 1


GAMES: list[Callable[[], tuple[sp.Game, dict[str, float], float]]] = [
    duopoly, toll, split, capped, oligopoly, circle, ceiling, kink,
]  # fmt: skip
LINEAR = [ceiling, kink]
"""Those whose leader's objective and conditions a MIP solver takes."""


def solved(build: Any, treatment: Any, solver: str = "auto") -> sp.Plan:
    """Solve, and expect the closed form, verified, the model as it was."""
    game, values, objective = build()
    before = snapshot(game.model)
    plan = sp.stackelberg(game, complementarity=treatment, solver=solver)
    assert snapshot(game.model) == before
    assert plan.values == pytest.approx(values, abs=1e-6)
    assert plan.leader_objective == pytest.approx(objective, abs=1e-6)
    assert plan.report is not None
    assert plan.report.ok
    assert plan.residuals["complementarity"] <= 1e-12
    assert plan.residuals["stationarity"] <= 1e-6
    assert plan.quality in ("feasible", "optimal")
    return plan


@pytest.mark.parametrize("build", GAMES)
@pytest.mark.parametrize("solver", NLP)
@pytest.mark.parametrize("treatment", LOCAL, ids=lambda t: t.name)
def test_local_treatments_give_the_answer_and_never_call_it_optimal(treatment: Any, solver: str, build: Any) -> None:
    plan = solved(build, treatment, solver)
    assert plan.quality == "feasible"
    assert math.isnan(plan.bound)
    assert math.isnan(plan.epsilon0)
    assert {row["treatment"] for row in plan.log} <= {treatment.name, "polish"}
    levels = [row["level"] for row in plan.log if row["treatment"] == treatment.name]
    signed = [-t for t in levels] if treatment.name == "Penalty" else levels
    assert levels[0] == treatment.levels[0]
    assert all(b < a for a, b in itertools.pairwise(signed)), "a homotopy goes one way"
    assert (
        abs(signed[-1]) >= treatment.levels[-1] if treatment.name == "Penalty" else levels[-1] <= treatment.levels[-1]
    ), "to its end at least"


@pytest.mark.parametrize("build", GAMES)
@pytest.mark.parametrize("solver", GLOBAL)
def test_special_ordered_sets_prove_the_answer(solver: str, build: Any) -> None:
    if build is circle and "NLP" not in registry[solver].classes:
        pytest.skip(f"{solver} is given what is quadratic at most")
    plan = solved(build, sp.SOS1(), solver)
    assert plan.quality == "optimal"
    assert plan.bound == pytest.approx(plan.leader_objective, abs=2e-6 * max(1, abs(plan.leader_objective)))
    assert 0 <= plan.epsilon0 <= 1e-5


@pytest.mark.parametrize("build", GAMES)
@pytest.mark.parametrize("solver", GLOBAL)
def test_big_m_in_a_global_solver(solver: str, build: Any) -> None:
    told = [row for entry in solved(build, sp.BigM(), solver).log for row in entry.get("audit", ())]
    assert told


@pytest.mark.parametrize("build", LINEAR)
def test_big_m_in_a_mip_solver(build: Any) -> None:
    plan = solved(build, sp.BigM(), "highs")
    assert plan.log[0]["solver"] == "highs"


# --- what each row says -----------------------------------------------------------------------------------------------


def scattered(build: Any, seed: int) -> tuple[Conditions, Any, list[float], list[float]]:
    """Conditions, a block for new Vars, and random λ, s ≥ 0 at which rows are read."""
    game = build()[0]
    made = conditions(game, list(game.followers.values()))
    random = np.random.default_rng(seed)
    for var in (*game.variables_by_name.values(), *made.block.pi.values(), *made.block.slack.values()):
        var.set_value(float(random.uniform(0.1, 1.9)), skip_validation=True)
    values = [(pyo.value(p.multiplier), pyo.value(p.slack)) for p in made.pairs]
    return made, pyo.ConcreteModel(), [a for a, _ in values], [b for _, b in values]


def residual(relation: Any) -> float:
    """body − upper of a relation, at the current values."""
    return float(pyo.value(relation.args[0]) - pyo.value(relation.args[1]))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("build", [split, capped, ceiling])
def test_rows_are_the_documented_mathematics(build: Any, seed: int) -> None:
    made, holder, force, room = scattered(build, seed)
    t = 0.037
    rows = sp.Scholtes().apply(Given(made, holder, t)).rows
    assert [residual(r) for r in rows] == pytest.approx([a * b - t for a, b in zip(force, room, strict=True)])
    rows = sp.FischerBurmeister().apply(Given(made, holder, t)).rows
    wanted = [a + b - math.sqrt(a * a + b * b + 2 * t * t) for a, b in zip(force, room, strict=True)]
    assert [residual(r) for r in rows] == pytest.approx(wanted)
    added = sp.Penalty().apply(Given(made, holder, t))
    assert added.rows == []
    assert pyo.value(added.term) == pytest.approx(t * sum(a * b for a, b in zip(force, room, strict=True)))
    for pair, row in zip(made.pairs, sp.FischerBurmeister().apply(Given(made, holder, t)).rows, strict=True):
        if pair.slack.is_variable_type():
            pair.slack.set_value(t * t / pair.multiplier.value)
            assert residual(row) == pytest.approx(0, abs=1e-14), "λ s = t²"
    sets = sp.SOS1().apply(Given(made, pyo.ConcreteModel(), 0.0))
    for pair, (first, second) in zip(made.pairs, sets.sets, strict=True):
        assert first is pair.multiplier
        assert second is pair.slack or second.lb == 0
    assert sp.SOS1().apply(Given(made, pyo.ConcreteModel(), 0.0)).term == 0


@pytest.mark.parametrize("treatment", ALL, ids=lambda t: t.name)
def test_every_treatment_says_its_mathematics_and_source(treatment: Any) -> None:
    text = type(treatment).__doc__ or ""
    assert "λ" in text
    formula = {"Scholtes": "λ s ≤ t", "FischerBurmeister": "√(λ² + s² + 2t²)", "Penalty": "Σ λ s", "SOS1": "{λ, s}"}
    assert formula.get(treatment.name, "λ ≤ M z, s ≤ M' (1 − z)") in text
    assert "References" in text
    assert "exact" in text.lower() or "→ 0" in text, "in which sense it stands for complementarity"


# --- the polish -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", GAMES)
@pytest.mark.parametrize("treatment", LOCAL, ids=lambda t: t.name)
def test_the_polish_leaves_exact_zeros(treatment: Any, build: Any) -> None:
    game = build()[0]
    made = conditions(game, list(game.followers.values()))
    sign = game.leader.sign
    equilibrium = Equilibrium(Problem(sign * game.leader.objective.expr), made, treatment, {})
    found = equilibrium.solve("pounce")
    assert found.x is not None
    rough = np.minimum(equilibrium.multipliers(found.x), equilibrium.slacks(found.x))
    assert np.abs(rough).max() <= 1e-3
    polished = equilibrium.polished(found.x, "pounce")
    assert polished is not None
    assert polished.x is not None
    assert polished.polished
    force, room = equilibrium.multipliers(polished.x), equilibrium.slacks(polished.x)
    assert np.abs(np.minimum(force, room)).max() <= 1e-12
    assert min(force.min(), room.min()) >= -1e-12
    assert polished.cost == pytest.approx(sign * build()[2], abs=1e-6)
    assert equilibrium.complementarity(polished.x) <= 1e-12


def test_a_wrong_active_set_is_mended() -> None:
    """ceiling() from the set that says: multiplier 0, u below its limits (where stationarity would want u = 4)."""
    game = ceiling()[0]
    made = conditions(game, list(game.followers.values()))
    equilibrium = Equilibrium(Problem(game.leader.objective.expr), made, None, {})
    start = equilibrium.point({id(game.model.x): 5.0, id(game.model.f.u): 2.0})
    found = equilibrium.polished(start, "pounce", active=np.zeros(len(made.pairs), dtype=bool))
    if found is not None:
        assert found.x is not None
        force, room = equilibrium.multipliers(found.x), equilibrium.slacks(found.x)
        assert np.abs(np.minimum(force, room)).max() <= 1e-9
        assert min(force.min(), room.min()) >= -1e-9


# --- big-M ------------------------------------------------------------------------------------------------------------


def told(plan: sp.Plan) -> list[dict[str, Any]]:
    return [row for entry in plan.log for row in entry.get("audit", ())]


@pytest.mark.parametrize("solver", ["highs", "scip"])
def test_a_follower_in_a_box_proves_every_constant(solver: str) -> None:
    plan = solved(kink, sp.BigM(), solver)
    assert {row["verdict"] for row in told(plan)} == {"proved"}
    limits = {(row["component"], row["side"], row["quantity"]): row["limit"] for row in told(plan)}
    assert limits["f.u", "lower", "slack"] == limits["f.u", "upper", "slack"] == 2
    assert limits["f.u", "lower", "multiplier"] == pytest.approx(4), "sup 2(u − x)"
    assert limits["f.u", "upper", "multiplier"] == pytest.approx(10), "sup −2(u − x)"
    assert plan.quality == "optimal", "nothing was assumed"


@pytest.mark.parametrize("solver", ["scip"])
def test_a_constant_that_cuts_the_answer_off_is_said_to_be_hit(solver: str) -> None:
    """capped(): π = 2(4 − u) ≤ 1 leaves u ≥ 3.5, a worse answer than the true one at 1.95."""
    game = capped()[0]
    plan = sp.stackelberg(game, complementarity=sp.BigM(multiplier=1.0), solver=solver)
    rows = {(r["component"], r["quantity"]): r for r in told(plan)}
    assert rows["f.cap", "multiplier"]["verdict"] == "bound hit"
    assert rows["f.cap", "multiplier"]["limit"] == 1.0
    assert plan.quality != "optimal"
    assert math.isnan(plan.epsilon0)
    assert not plan.bound >= 0.1975 + 1e-6, "a bound that a wrong constant gives is none"
    assert plan.report is not None
    assert plan.report.ok, "the answer itself is an equilibrium"


@pytest.mark.parametrize("solver", ["scip"])
def test_a_constant_that_leaves_nothing_proves_nothing(solver: str) -> None:
    game = capped()[0]
    game.model.x.setub(3)
    with pytest.raises(sp.NoPlan) as caught:
        sp.stackelberg(game, complementarity=sp.BigM(multiplier=1.0), solver=solver)
    assert "nothing is proved" in str(caught.value)
    assert "proved by" not in str(caught.value)
    assert sp.stackelberg(game).value("f.u") == pytest.approx(1.95, abs=1e-6)


def test_a_slack_that_is_cut_off_is_said_to_be_hit() -> None:
    """max u s.t. u ≤ 3, x − u ≤ 100 (slack 100 − x + u unbounded above): with M' = 90 only x ≥ 13 is left."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, None))
    m.f = pyo.Block()
    m.f.u = pyo.Var()
    m.f.cap = pyo.Constraint(expr=m.f.u <= 3)
    m.f.far = pyo.Constraint(expr=m.x - m.f.u <= 100)
    m.f.gain = pyo.Objective(expr=m.f.u, sense=pyo.maximize)
    m.goal = pyo.Objective(expr=m.x + m.f.u)
    game = sp.Game(m, m.f)
    plan = sp.stackelberg(game, complementarity=sp.BigM(slack=90.0), solver="highs")
    rows = {(r["component"], r["quantity"]): r["verdict"] for r in told(plan)}
    assert rows["f.far", "slack"] == "bound hit"
    assert plan.quality != "optimal"
    assert sp.stackelberg(game).leader_objective == pytest.approx(3, abs=1e-6)


@pytest.mark.parametrize("build", [split, capped, circle, ceiling])
def test_what_is_assumed_and_not_hit_is_unverifiable_and_never_optimal(build: Any) -> None:
    plan = solved(build, sp.BigM(), "scip")
    verdicts = {row["verdict"] for row in told(plan)}
    assert "unverifiable" in verdicts
    assert "bound hit" not in verdicts
    assert plan.quality == "feasible"
    assert math.isnan(plan.epsilon0)


@pytest.mark.parametrize("seed", range(4))
def test_proved_constants_hold_at_every_optimum(seed: int) -> None:
    """Random separable boxes: u = clip((b x − a)/c) and its multipliers in closed form, at random leader values."""
    random = np.random.default_rng(seed)
    a, b, c = random.normal(size=3), random.normal(size=3), random.uniform(0.5, 2, 3)
    low = random.uniform(-2, 0, 3)
    high = low + random.uniform(0.1, 2, 3)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-1.5, 2.5))
    m.f = pyo.Block()
    m.f.u = pyo.Var(range(3), bounds=lambda _, i: (float(low[i]), float(high[i])))
    terms = [float(c[i]) / 2 * m.f.u[i] ** 2 + (float(a[i]) - float(b[i]) * m.x) * m.f.u[i] for i in range(3)]
    m.f.gain = pyo.Objective(expr=-sum(terms), sense=pyo.maximize)
    m.goal = pyo.Objective(expr=m.x)
    game = sp.Game(m, m.f)
    made = conditions(game, list(game.followers.values()))
    limits = sp.BigM(multiplier=1e-9, slack=1e-9).apply(Given(made, pyo.ConcreteModel(), 0.0)).bounds
    assert all(limit.proved for limit in limits)
    for x in random.uniform(-1.5, 2.5, 50):
        u = np.clip((b * x - a) / c, low, high)
        slope = c * u + a - b * x
        for limit in limits:
            i = limit.pair.component.index()
            lower = limit.pair.side == "lower"
            force = max(0.0, slope[i] if lower else -slope[i])
            room = u[i] - low[i] if lower else high[i] - u[i]
            assert (force if limit.quantity == "multiplier" else room) <= limit.size + 1e-12


def test_coinciding_bounds_prove_no_multiplier() -> None:
    """λ⁻ − λ⁺ is known, neither of the two: any size may come."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(1, 1))
    m.f.cost = pyo.Objective(expr=(m.f.u - m.x) ** 2)
    m.goal = pyo.Objective(expr=m.x)
    game = sp.Game(m, m.f)
    limits = sp.BigM().apply(Given(conditions(game, list(game.followers.values())), pyo.ConcreteModel(), 0.0)).bounds
    assert {limit.proved for limit in limits if limit.quantity == "multiplier"} == {False}


def test_the_audit_tells_three_verdicts() -> None:
    game = ceiling()[0]
    made = conditions(game, list(game.followers.values()))
    limits = sp.BigM(multiplier=5.0, slack=7.0).apply(Given(made, pyo.ConcreteModel(), 0.0)).bounds
    force, room = np.full(len(made.pairs), 5.0), np.full(len(made.pairs), 6.5)
    verdicts = {(r["component"], r["side"], r["quantity"]): r["verdict"] for r in audit(limits, force, room)}
    assert verdicts["f.cap", "upper", "multiplier"] == "bound hit"
    assert verdicts["f.cap", "upper", "slack"] == "proved", "x − u ≤ 8 by the bounds"
    assert verdicts["f.u", "lower", "slack"] == "proved"
    rows = audit(limits, force - 0.1, room)
    assert {r["verdict"] for r in rows if r["component"] == "f.cap" and r["quantity"] == "multiplier"} == {
        "unverifiable"
    }


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [sp.Scholtes, sp.FischerBurmeister])
@pytest.mark.parametrize(
    "levels", [(1e-3, 1e-1), (1e-1, 1e-1), (), (1e-1, 0.0), (-1.0,), [1e-1, 1e-3], ("a",), 0.1, (math.nan,)]
)
def test_levels_that_do_not_fall_are_refused(make: Any, levels: Any) -> None:
    with pytest.raises(sp.InvalidGame, match=rf"{make.__name__}\(levels=.*falling numbers above 0"):
        make(levels=levels)


@pytest.mark.parametrize("levels", [(1e2, 1.0), (), (0.0, 1.0), [1.0, 2.0], (1.0, 1.0), 3.0])
def test_penalties_that_do_not_rise_are_refused(levels: Any) -> None:
    with pytest.raises(sp.InvalidGame, match=r"Penalty\(levels=.*rising numbers above 0") as caught:
        sp.Penalty(levels=levels)
    assert f"levels={levels!r}" in str(caught.value), "as the user wrote it"


@pytest.mark.parametrize("value", [-1.0, 0.0, math.inf, math.nan, "3", None])
@pytest.mark.parametrize("name", ["multiplier", "slack"])
def test_a_big_m_is_a_finite_positive_number(name: str, value: Any) -> None:
    with pytest.raises(sp.InvalidGame, match=rf"BigM\({name}=.*finite number above 0"):
        sp.BigM(**{name: value})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"complementarity": "biggest-m"}, ("biggest-m", "'auto'", "'scholtes'", "'sos1'", "BigM()")),
        ({"complementarity": 3}, ("complementarity=3",)),
        ({"complementarity": None}, ("complementarity=None",)),
        ({"complementarity": sp.Scholtes}, ("Scholtes",)),
        ({"complementarity": sp.SOS1(), "solver": "highs"}, ("SOS1", "solver='highs'", "scip")),
        ({"complementarity": "sos1", "solver": "pounce"}, ("SOS1", "solver='pounce'", "scip")),
        ({"complementarity": sp.BigM(), "solver": "pounce"}, ("BigM", "solver='pounce'", "highs", "scip")),
        ({"complementarity": "scholtes", "solver": "highs"}, ("Scholtes", "solver='highs'", "pounce")),
    ],
)
def test_wrong_arguments_are_named_with_what_fits(options: dict[str, Any], words: tuple[str, ...]) -> None:
    game = kink()[0]
    before = snapshot(game.model)
    for call in (sp.stackelberg, lambda g, **k: sp.nash(g, leader={"x": 1.0}, **k)):
        with pytest.raises(sp.InvalidGame) as caught:
            call(game, **options)
        for word in words:
            assert word in str(caught.value)
    assert snapshot(game.model) == before


@pytest.mark.parametrize("name", ["scholtes", "Scholtes", "fischer-burmeister", "penalty", "big-m", "sos1", "AUTO"])
def test_treatments_go_by_name_too(name: str) -> None:
    plan = sp.stackelberg(kink()[0], complementarity=name)
    assert plan.leader_objective == pytest.approx(1, abs=1e-6)


def test_treatments_are_frozen_values() -> None:
    assert sp.Scholtes() == sp.Scholtes(levels=(1e-1, 1e-3, 1e-5, 1e-8))
    assert hash(sp.BigM()) == hash(sp.BigM(1e4, 1e4))
    with pytest.raises(AttributeError):
        sp.BigM().multiplier = 3.0  # type: ignore[misc]
