"""Followers who settle anew: hand-solved games of a major, a leader and minors who answer the major."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyomo.environ as pyo
import pytest

import stackpyomo as sp

BIG = 5.0


def played(minor: Any, major: Any, size: int = 1, bounds: tuple[Any, Any] = (None, None), **wishes: Any) -> Any:
    """(model, game) of the major M.u, the minor n.x, the leader's t and the aggregate z == M.u."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(bounds=bounds, initialize=0.0)
    m.z = pyo.Var(initialize=1.0)
    m.M, m.n = pyo.Block(), pyo.Block()
    m.M.u = pyo.Var(bounds=(-BIG, BIG), initialize=1.0)
    m.n.x = pyo.Var(bounds=(-BIG, BIG), initialize=0.5)
    m.share = pyo.Constraint(expr=m.z == m.M.u)
    m.n.c = pyo.Objective(expr=minor(m))
    m.M.c = pyo.Objective(expr=major(m))
    m.goal = pyo.Objective(expr=(m.M.u - 1) ** 2 + (m.t - wishes.get("t", 0.0)) ** 2)
    return m, sp.Game(m, [sp.Population(m.M, size), m.n], aggregates=m.share)


def test_a_projection_is_not_left_out() -> None:
    """0.05 u² − u + t, t = 1 + (u − 1) projected on (0, 2): u = 5 pays; without the projection nothing does."""
    m, game = played(lambda m: (m.n.x - m.M.u) ** 2, lambda m: 0.05 * m.M.u**2 - m.M.u + m.t, bounds=(0, 2), t=1.0)
    plan = sp.leader_optimal(game, responding=["n"])
    rule = sp.affine_incentive(plan, [m.M.u], saturate=True, minors="respond")
    assert sp.verify(rule).regret["M"] > 1.0
    for ask in (lambda: sp.anticipated_regret(rule, "M"), lambda: sp.settled(rule)):
        with pytest.raises(sp.InvalidGame, match=r"t: .*projected"):
            ask()
    m.t.setub(100)
    m.t.setlb(-100)
    assert sp.anticipated_regret(rule, "M")["regret"] == pytest.approx(0, abs=1e-6)


def test_a_quadratic_term_is_played() -> None:
    """−u²/2 + u/2 + t: only t = ½ (u − 1) + ½ R (u − 1)² holds u = 1; without its R leaving would pay 8."""
    m, game = played(lambda m: (m.n.x - m.M.u) ** 2, lambda m: -0.5 * m.M.u**2 + 0.5 * m.M.u + m.t)
    plan = sp.leader_optimal(game, responding=["n"])
    rule = sp.affine_incentive(plan, [m.M.u], quadratic=True)
    assert rule.bend is not None
    assert sp.anticipated_regret(rule, "M")["regret"] == pytest.approx(0, abs=1e-6)


def test_the_leaders_own_constraint_does_not_bind_a_deviator() -> None:
    """The leader asks for u ≥ 1; the major gains by u = 0 at its cost u² + t."""
    m, game = played(lambda m: (m.n.x - 0.5 * m.M.u) ** 2, lambda m: m.M.u**2 + m.t)
    m.want = pyo.Constraint(expr=m.M.u >= 1)
    m.cap = pyo.Constraint(expr=m.z >= 1)
    m.z.setlb(1.0)
    game.rescan()
    plan = sp.leader_optimal(game, responding=["n"])
    assert sp.anticipated_regret(plan, "M")["regret"] == pytest.approx(plan.value("M.u") ** 2, abs=1e-6)
    assert plan.value("M.u") == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_an_aggregate_of_the_deviators_own_action(size: int) -> None:
    """x = z, z moved by 1/N: u²/2 + x + t, at t held, is least at u = −1/N, a gain of ½ (1 + 1/N)²."""
    _, game = played(lambda m: 0.5 * (m.n.x - m.z) ** 2, lambda m: 0.5 * m.M.u**2 + m.n.x + m.t, size)
    plan = sp.leader_optimal(game, responding=["n"])
    assert sp.anticipated_regret(plan, "M")["regret"] == pytest.approx(0.5 * (1 + 1 / size) ** 2, abs=1e-6)


def test_a_block_that_stands_for_all_its_members_is_refused() -> None:
    _, game = played(lambda m: 0.5 * (m.n.x - m.M.u) ** 2, lambda m: 0.5 * m.M.u**2 + m.n.x + m.t, 4)
    plan = sp.leader_optimal(game, responding=["n"])
    with pytest.raises(sp.InvalidGame, match=r"population of 4 whose actions n\.c holds"):
        sp.anticipated_regret(plan, "M")


def answered(minor: Any, *, x: float, y: float, row: Any = None, bounds: Any = (None, None)) -> sp.Incentive:
    """The gain on M.u that holds u = 1 at the cost u²/2 + 2 x + t while n settles anew, from the plan u, x, y."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(initialize=0.0)
    m.M, m.n = pyo.Block(), pyo.Block()
    m.M.u = pyo.Var(initialize=1.0)
    m.n.x, m.n.y = pyo.Var(initialize=x, bounds=bounds), pyo.Var(initialize=y)
    m.n.c = pyo.Objective(expr=minor(m))
    if row is not None:
        m.n.r = pyo.Constraint(expr=row(m))
    m.M.c = pyo.Objective(expr=0.5 * m.M.u**2 + 2 * m.n.x + m.t)
    m.goal = pyo.Objective(expr=(m.M.u - 1) ** 2 + m.t**2)
    plan = replace(sp.Plan.from_values(sp.Game(m, [m.M, m.n])), responding=("n",))
    return sp.affine_incentive(plan, [m.M.u], minors="respond")


def near(m: Any) -> Any:
    return 0.5 * (m.n.x - m.M.u) ** 2 + 0.5 * m.n.y**2


@pytest.mark.parametrize(
    ("options", "slope"),
    [
        ({"x": 1.0, "y": 0.0}, 1.0),  # free: x = u
        ({"x": 1.0, "y": 0.0, "row": lambda m: m.n.x + m.n.y == 1}, 0.5),  # x = (u + 1)/2
        ({"x": 1.0, "y": 0.0, "row": lambda m: m.n.x + m.n.y == m.M.u}, 1.0),  # x = u, y = 0: no multiplier, yet held
        ({"x": 0.5, "y": 0.0, "bounds": (None, 0.5)}, 0.0),  # held by its bound
        ({"x": 0.5, "y": 0.0, "row": lambda m: m.n.x <= 0.5 * m.M.u}, 0.5),  # held by a row that the major moves
        # It stands at u, where the row begins to hold: free on one side, held on the other.
        ({"x": 1.0, "y": 0.0, "row": lambda m: m.n.x**2 + m.n.y**2 <= 0.25 + 0.75 * m.M.u**2}, None),
    ],
)
def test_minors_answer_within_what_holds_them(options: Any, slope: float | None) -> None:
    """K = −(u + 2 dx/du) at u = 1."""
    if slope is None:
        with pytest.raises(sp.InvalidGame, match=r"n\.r is active at the plan, but nothing pushes n"):
            answered(near, **options)
        return
    assert answered(near, **options).gain.iloc[0, 0] == pytest.approx(-(1 + 2 * slope), abs=1e-7)


def test_a_curved_row_holds_minors() -> None:
    """−x − u y on x² + y² ≤ 2: (x, y) = √2 (1, u)/√(1 + u²), so that dx/du = −½ at u = 1."""
    rule = answered(lambda m: -m.n.x - m.M.u * m.n.y, x=1.0, y=1.0, row=lambda m: m.n.x**2 + m.n.y**2 <= 2)
    assert rule.gain.iloc[0, 0] == pytest.approx(-(1 + 2 * -0.5), abs=1e-7)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_one_member_moves_the_minors_by_its_share(size: int) -> None:
    m, game = played(lambda m: 0.5 * (m.n.x - m.z) ** 2, lambda m: 0.5 * m.M.u**2 + m.n.x + m.t, size)
    plan = sp.leader_optimal(game, responding=["n"])
    rule = sp.affine_incentive(plan, [m.M.u], minors="respond")
    assert rule.gain.iloc[0, 0] == pytest.approx(-(1 + 1 / size), abs=1e-6)
    assert sp.anticipated_regret(rule, "M")["regret"] == pytest.approx(0, abs=1e-6)


def test_a_signal_that_holds_minors_is_refused() -> None:
    m, game = played(lambda m: 0.5 * (m.n.x - 0.5 * m.M.u) ** 2, lambda m: 0.5 * m.M.u**2 + m.t)
    plan = sp.leader_optimal(game, responding=["n"])
    m.seen = pyo.Expression(expr=m.M.u + m.n.x)
    with pytest.raises(sp.InvalidGame, match="seen holds actions of followers who settle anew"):
        sp.affine_incentive(plan, [m.seen], minors="respond")
    rule = sp.affine_incentive(plan, minors="respond")
    assert rule.gain["n.x"].abs().max() == 0, "what the minors do by themselves is seen, but not answered"
