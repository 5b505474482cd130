"""Followers settled by arrays: the same verdicts, regrets, scales as by substitution and a solver, or none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from helpers.array_games import game, tracking
from scipy import sparse
from scipy.optimize import minimize

import stackpyomo as sp
from stackpyomo.core.expressions import Substitution
from stackpyomo.verification import arrays, best_response, many, regret
from stackpyomo.verification.effort import Effort


def subject_of(game: sp.Game) -> Any:
    plan = sp.Plan.from_values(game)
    try:
        return sp.affine_incentive(plan, design="slopes")
    except sp.NoIncentive:
        return plan


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "MANY", 1)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4, 6, 7, 8])
def test_the_same_as_by_substitution(seed: int) -> None:
    """Whoever was proved is proved, with the same regret and scale; nobody else unless a scan agrees."""
    subject = subject_of(game(seed))
    new, _ = regret.examine(subject, Effort(starts=1, certify="convex"))
    old, problems = regret.examine(subject, Effort(starts=1, certify="convex", together=False))
    assert new.cut == old.cut
    for name in old.regret.index:
        if old.certificate[name] == "convex":
            assert new.certificate[name] == "convex"
            size = max(1.0, abs(old.objective[name]))
            assert new.regret[name] == pytest.approx(old.regret[name], abs=1e-9 * size)
            if old.regret[name] > 1e-9:
                assert new.scale[name] == pytest.approx(old.scale[name], rel=1e-6)
        elif new.certificate[name] == "convex":
            scanned([p for p in problems if p.follower.name == name], float(new.regret[name]), seed)


def scanned(pieces: Any, claimed: float, seed: int) -> None:
    """No point of a grid is better, and every piece is convex on random chords."""
    random = np.random.default_rng(seed)
    low, high = (np.array([getattr(v, side) for v in pieces[0].variables]) for side in ("lb", "ub"))
    plan = pieces[0].cost_at(pieces[0].target)
    for piece in pieces:
        for share in np.stack(np.meshgrid(*[np.linspace(0, 1, 15)] * 2), axis=-1).reshape(-1, 2):
            cost = piece.cost_at((low + share * (high - low)).tolist())
            if piece.violation() <= 1e-9:
                assert plan - cost <= claimed + 1e-9 * max(1.0, abs(cost))
        for _ in range(30):
            a, b = random.uniform(low, high), random.uniform(low, high)
            ends, middle = [piece.cost_at(x.tolist()) for x in (a, b)], piece.cost_at(((a + b) / 2).tolist())
            assert middle <= sum(ends) / 2 + 1e-9 * max(1.0, *map(abs, ends))


def test_regrets_are_the_closed_form() -> None:
    m = tracking()
    report = sp.verify(sp.Plan.from_values(sp.Game(m, m.f)))
    best = np.clip(np.arange(120) / 120 - 0.2, 0.0, 1.0)
    at = [(x - np.arange(120) / 120) ** 2 + 0.4 * x for x in (np.full(120, 0.5), best)]
    assert report.regret.to_numpy() == pytest.approx(at[0] - at[1], abs=1e-10)
    assert (report.certificate == "convex").all()
    assert report.solver == "arrays"
    assert [report.best_response[f"f[{i}]"][f"f[{i}].x"] for i in range(120)] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("money", [1e-8, 1.0, 1e8])
def test_a_price_that_just_pays_a_linear_cost_leaves_rounding(money: float) -> None:
    """max (p − c) x, p is c but for rounding: nothing is gained. One that is paid 1e-3 more gains 1e-3 c (1 − x)."""
    random = np.random.default_rng(5)
    size, off = 120, 7
    m = pyo.ConcreteModel()
    m.f = pyo.Block(range(size))
    cost = money * random.uniform(1.0, 100.0, size)
    price = cost * (1.0 + 1e-14 * random.uniform(-1, 1, size))
    price[off] = 1.001 * cost[off]
    m.p = pyo.Var(range(size), initialize=dict(enumerate(price)))
    for i in range(size):
        m.f[i].x = pyo.Var(bounds=(0, 1), initialize=float(random.uniform(0.1, 0.9)))
        m.f[i].profit = pyo.Objective(expr=m.p[i] * m.f[i].x - cost[i] * m.f[i].x, sense=pyo.maximize)
    m.goal = pyo.Objective(expr=sum(m.f[i].x for i in range(size)))
    report = sp.verify(sp.Plan.from_values(sp.Game(m, m.f)))
    assert report.refuted == [f"f[{off}]"]
    assert report.regret[f"f[{off}]"] == pytest.approx(1e-3 * cost[off] * (1 - m.f[off].x.value), rel=1e-9)


@pytest.mark.slow
def test_those_who_are_not_understood_are_resolved_as_ever() -> None:
    """One kink, one integer-free sine: everybody else by arrays, and all in the game's order."""
    m = tracking()
    m.f[7].cost.set_value(abs(m.f[7].x - 0.25) + m.t * m.f[7].x)
    m.f[9].cost.set_value(pyo.sin(6 * m.f[9].x) + m.t * m.f[9].x)
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    report, _ = regret.examine(plan, Effort(certify="convex"))
    alone, _ = regret.examine(plan, Effort(certify="convex", together=False), ["f[7]", "f[9]"])
    assert list(report.regret.index) == [f"f[{i}]" for i in range(120)]
    assert report.solver.startswith("arrays, ")
    for name in ("f[7]", "f[9]"):
        assert report.certificate[name] == alone.certificate[name]
        assert report.regret[name] == pytest.approx(alone.regret[name], nan_ok=True)
    assert (report.certificate.drop(["f[7]", "f[9]"]) == "convex").all()


@pytest.mark.parametrize(
    "options", [{"certify": "global"}, {"certify": "multistart"}, {"solver": "pounce"}, {"followers": ["f[3]"]}]
)
def test_what_else_is_asked_for_is_done_as_ever(options: dict[str, Any]) -> None:
    m = tracking(101 if "followers" in options else 100)
    if options.get("certify") == "global":
        options |= {"followers": ["f[3]", "f[4]"]}
    report = sp.verify(sp.Plan.from_values(sp.Game(m, m.f)), **options, starts=1)
    assert "arrays" not in report.solver


def at_rest(size: int, seed: int) -> Any:
    """(x − a)² + t x + e y² − b y, x, y ≥ 0 without an upper bound, x + y ≤ 2: many of the plan's actions are 0."""
    random = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-1, 1), initialize=float(random.uniform(-0.5, 0.5))), pyo.Block(range(size))
    for f in m.f.values():
        f.x = pyo.Var(bounds=(0, None), initialize=float(random.choice([0.0, random.uniform(0.1, 0.9)])))
        f.y = pyo.Var(bounds=(0, None), initialize=float(random.choice([0.0, random.uniform(0.1, 0.9)])))
        a, b, e = (float(random.uniform(low, 1)) for low in (-1, -1, 0.2))
        f.cost = pyo.Objective(expr=(f.x - a) ** 2 + m.t * f.x + e * f.y**2 - b * f.y)
        f.row = pyo.Constraint(expr=f.x + 3 * f.y <= 4)
    m.goal = pyo.Objective(expr=m.t**2)
    return m


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("seed", range(4))
def test_actions_at_0_with_one_bound(seed: int) -> None:
    """Their reach is slope over curvature, as by substitution: the same regrets, scales and certificates."""
    m = at_rest(40, seed)
    plan = sp.Plan.from_values(game := sp.Game(m, m.f))
    new = sp.verify(plan)
    old, _ = regret.examine(plan, Effort(together=False))
    assert len(settled(game, plan.announcement)) >= 38  # the others' slopes may cancel
    assert list(new.certificate) == list(old.certificate) == ["convex"] * 40
    assert new.regret.to_numpy() == pytest.approx(old.regret.to_numpy(), abs=1e-9)
    assert new.scale.to_numpy() == pytest.approx(old.scale.to_numpy(), rel=1e-6)


def budgeted(seed: int, size: int = 30, hours: int = 4) -> Any:
    """Σ_t c (x_t − w_t)² + p_t x_t with Σ x_t = Σ w_t: the total is to be used, when is the follower's own choice."""
    random = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    m.p = pyo.Var(range(hours), bounds=(-2, 2), initialize=lambda _, t: 0.1 * t)
    m.f = pyo.Block(range(size))
    for f in m.f.values():
        wish, steep = random.uniform(0.5, 1.5, hours), random.uniform(0.5, 2, hours)
        f.x = pyo.Var(range(hours), bounds=(0, 3), initialize=dict(enumerate(wish.tolist())))
        f.day = pyo.Constraint(expr=pyo.quicksum(f.x.values()) == float(wish.sum()))
        f.cost = pyo.Objective(
            expr=pyo.quicksum(float(steep[t]) * (f.x[t] - float(wish[t])) ** 2 + m.p[t] * f.x[t] for t in range(hours))
        )
    m.goal = pyo.Objective(expr=pyo.quicksum(p**2 for p in m.p.values()))
    return m


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("seed", range(3))
def test_equalities_against_scipy(seed: int) -> None:
    """Regrets are those of SLSQP's re-solves, and all are proved convex by arrays."""
    m = budgeted(seed)
    plan = sp.Plan.from_values(game := sp.Game(m, m.f))
    report = sp.verify(plan)
    assert len(settled(game, plan.announcement)) == 30
    assert set(report.certificate) == {"convex"}
    for name, follower in game.followers.items():
        own, at = follower.variables, np.array([v.value for v in follower.variables])

        def cost(x: Any, own: Any = own, follower: Any = follower) -> float:
            table = {id(v): float(level) for v, level in zip(own, x, strict=True)}
            return float(pyo.value(Substitution(substitute=table).walk_expression(follower.objective.expr)))

        total = {"type": "eq", "fun": lambda x, at=at: x.sum() - at.sum()}
        answer = minimize(cost, at, bounds=[(0, 3)] * 4, constraints=total, method="SLSQP", options={"ftol": 1e-13})
        assert report.regret[name] == pytest.approx(cost(at) - answer.fun, abs=1e-7)


@pytest.mark.slow
@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("seed", range(3))
def test_costs_that_bend_up_only_where_equalities_hold(seed: int) -> None:
    """A gain that makes the cost fall along Σ x, which nobody can move along: convex as by substitution."""
    m = budgeted(seed)
    for price in m.p.values():
        price.setlb(-50)
        price.setub(50)
    rule = sp.affine_incentive(sp.leader_optimal(game := sp.Game(m, m.f)))
    bowed = replace(rule.announcement, gain=sparse.csc_array(rule.announcement.gain.toarray() - 2.0))
    totals = settled(game, bowed)
    problems = {p.follower.name: p for p in best_response.composed(game, bowed, game.followers) if p.home is None}
    assert len(totals) >= 25
    for name, (best, target) in totals.items():
        problems[name].prove("convex")
        assert problems[name].certificate == "convex"
        assert np.linalg.eigvalsh(_hessian(problems[name]))[0] < 0.0, "without the equality it bends down"
        assert best == pytest.approx(target, abs=1e-9)


def settled(game: sp.Game, announced: Any) -> dict[str, tuple[float, float]]:
    """Who is settled by arrays → the sums of its best response and of its plan."""
    rows = many.settled(game, announced, game.followers, Effort())
    return {row.follower.name: (sum(row.best.values()), sum(announced.values[n] for n in row.best)) for row in rows}


def _hessian(problem: Any) -> Any:
    """By differences of the cost at the plan: exact for a quadratic but for rounding."""
    at, step = np.array(problem.target), np.eye(len(problem.target))
    return np.array(
        [
            [
                problem.cost_at(at + a + b) - problem.cost_at(at + a) - problem.cost_at(at + b) + problem.cost_at(at)
                for b in step
            ]
            for a in step
        ]
    )


@pytest.mark.usefixtures("always")
def test_a_piece_that_the_rows_leave_empty_is_none() -> None:
    """The box reaches the leader's bound, the equality does not: the piece beyond it is empty, and shown to be."""
    m = budgeted(0)
    rule = sp.affine_incentive(sp.leader_optimal(game := sp.Game(m, m.f)))
    gain = np.zeros(rule.announcement.gain.shape)
    gain[0] = 0.25  # the first price answers to everybody's total, which nobody can move
    tight = replace(rule.announcement, gain=sparse.csc_array(gain))
    layout = arrays.Layout(game, tight)
    numbers, pieces = next(arrays.grouped(layout, game.followers))
    assert (pieces.owner == 0).sum() > 1
    proofs = many._Proofs(pieces, numbers, 1e-6)
    proofs.settle()
    assert proofs.open.all()
    assert np.isinf(proofs.costs[~pieces.home]).all()


@pytest.mark.usefixtures("always")
def test_an_action_at_0_whose_reach_nothing_tells_is_composed() -> None:
    """A cost that is linear in it has no curvature to tell one, nor has one that a leader variable answers."""
    m = at_rest(12, 0)
    m.f[3].x.set_value(0.0)
    m.f[3].cost.set_value(m.f[3].x + m.f[3].y ** 2)
    plan = sp.Plan.from_values(game := sp.Game(m, m.f))
    report = sp.verify(plan)
    known = settled(game, plan.announcement)
    assert "f[3]" not in known
    assert len(known) > 6
    assert (report.certificate == "convex").all()
