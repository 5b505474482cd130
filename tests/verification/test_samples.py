"""Samples: where a search begins, and whether a cost falls without end."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from helpers.one_follower import one_follower
from scipy.optimize import minimize_scalar

import stackpyomo as sp
from stackpyomo.solvers import free_row
from stackpyomo.verification.samples import is_empty


def test_a_local_best_response_is_not_called_one() -> None:
    """A double well: u = 1 is a strict local minimum, u = −1 is 0.4 better; a start at the plan alone sees nothing."""

    def cost(u0: Any, u: Any) -> Any:
        return (u**2 - 1) ** 2 + 0.2 * u + u0

    game = one_follower(cost, bounds=(-2, 2))
    game.model.f.u.set_value(0.9740)  # near the local minimum at which the slope vanishes
    local = minimize_scalar(lambda u: (u * u - 1) ** 2 + 0.2 * u, bracket=(0.8, 1.0)).x
    game.model.f.u.set_value(local)
    plan = sp.Plan.from_values(game)
    lazy = sp.verify(plan, starts=1, certify="multistart")
    assert lazy.certificate["f"] == "multistart"
    assert lazy.epsilon <= 1e-9
    for certify, starts, evidence in (("multistart", 8, "multistart"), ("auto", 1, "global"), ("global", 1, "global")):
        report = sp.verify(plan, starts=starts, certify=certify)
        assert report.certificate["f"] == evidence
        assert not report.ok
    assert report.regret["f"] == pytest.approx(0.4, abs=0.01)
    assert report.best_response["f"]["f.u"] == pytest.approx(-1.024, abs=0.01)
    assert not report.ok
    assert sp.verify(plan, certify="convex").certificate["f"] == "unknown"


@pytest.mark.parametrize("tail", [lambda u: -1e-6 * u**4, lambda u: 1e-4 * u**3, lambda u: -1e-9 * u**4])
def test_a_tail_that_falls_without_end_is_never_verified(tail: Any) -> None:
    """(u − 1)² near the plan, and a term that wins far out: a solver says so, or the cost along the ray does."""
    report = sp.verify(sp.Plan.from_values(one_follower(lambda u0, u: (u - 1) ** 2 + tail(u) + u0, target=1.0)))
    assert not report.ok
    assert report.certificate["f"] == "unknown"
    assert "unbounded" in report.note["f"]


@pytest.mark.parametrize("level", [0.0, 5.6e-9])
@pytest.mark.parametrize("unit", [1.0, 1e-4, 1e4])
@pytest.mark.parametrize("tail", [lambda u: 0.0, lambda u: 0.1 * u**4, lambda u: pyo.exp(-u)])
def test_a_cubic_that_falls_in_two_actions_is_never_verified(level: float, unit: float, tail: Any) -> None:
    """t v² with t = 3 + K (u − u*): where u takes t below 0 the cost falls with v, whatever a solver's bound says."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(initialize=3.0), pyo.Block()
    m.f.u, m.f.v = pyo.Var(initialize=-0.15), pyo.Var(initialize=level * unit)
    m.f.cost = pyo.Objective(
        expr=(m.f.u - 0.8) ** 2 + 0.14 * m.t + 1.6 * m.t * (m.f.v / unit) ** 2 + tail(m.f.u),
    )
    m.goal = pyo.Objective(expr=m.f.u**2 + (m.f.v / unit) ** 2 + m.t**2)
    rule = sp.affine_incentive(sp.Plan.from_values(sp.Game(m, m.f)), observe=[m.f.u], curvature="none")
    assert not sp.verify(rule).ok


def test_a_search_verifies_nobody_where_there_is_no_end() -> None:
    """A hollow in waves that never grow: a search of the real line says how far it looked, and no more than that."""
    best = minimize_scalar(cost_of, bounds=(0.5, 1.5), method="bounded")
    for bounds, ok in (((-2, 4), True), ((None, None), False)):
        game = one_follower(lambda u0, u: 0.1 * pyo.sin(3 * u) ** 2 - pyo.exp(-((u - 1) ** 2)) + u0, bounds=bounds)
        game.model.f.u.set_value(minimize_scalar(cost_of, bracket=(best.x - 0.01, best.x + 0.01)).x)
        plan = sp.Plan.from_values(game)
        report = sp.verify(plan, certify="multistart")
        assert (report.ok, report.certificate["f"], report.endless) == (ok, "multistart", () if ok else ("f",))
        low, high = report.reach["f"]["f.u"]
        assert low <= -2
        assert high >= 4
        assert not report.refuted
        assert ("by search for 1 of 1" in report.verdict) is ok
        assert sp.Report.from_json(report.to_json()).reach == report.reach
        assert sp.verify(plan, certify="proof").certificate["f"] in ("global", "unknown")


@pytest.mark.parametrize("unit", [1.0, 1e-7, 1e7])
@pytest.mark.parametrize("factor", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_where_the_cost_grows_it_ends_what_can_be_better(unit: float, factor: float, shift: float) -> None:
    """(u − 1)² in waves of cos 5u, without bounds: at its least one it is proved, in the next valley it is refuted."""

    def waves(u: float) -> float:
        return (u - 1) ** 2 + math.cos(5 * u)

    valleys = [minimize_scalar(waves, bounds=(a, a + 1.0), method="bounded").x for a in (0.1, 1.4)]
    best, other = sorted(valleys, key=waves)
    at = other if shift else best
    game = one_follower(lambda u0, u: factor * ((u / unit - 1) ** 2 + pyo.cos(5 * u / unit)) + u0, target=at * unit)
    report = sp.verify(sp.Plan.from_values(game))
    assert report.certificate["f"] == "global"
    assert not report.endless
    assert report.ok is (shift == 0.0)
    assert report.epsilon == pytest.approx(factor * (waves(at) - waves(best)), rel=1e-5, abs=1e-7 * factor)


@pytest.mark.parametrize("unit", [1.0, 1e-4, 1e4])
def test_what_the_leader_answers_within_its_bounds_ends_a_cost_too(unit: float) -> None:
    """t u² with t stopped at ±1 takes no more than half of 2 u²: as a formula, t = K u, it would be a cubic."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-unit, unit), initialize=0.2 * unit), pyo.Block()
    m.f.u = pyo.Var(initialize=0.3)
    u, t = m.f.u, m.t / unit
    m.f.cost = pyo.Objective(expr=2 * (u - 1) ** 2 + t * u**2 + 0.4 * pyo.sin(4 * u))
    m.goal = pyo.Objective(expr=(u - 0.3) ** 2 + (t - 0.2) ** 2)
    report = sp.verify(sp.affine_incentive(sp.leader_optimal(sp.Game(m, m.f)), curvature="none"))
    assert not report.endless

    def cost(v: float) -> float:
        answer = min(max(0.2 + float(rule_slope) * (v - 0.3), -1.0), 1.0)
        return 2 * (v - 1) ** 2 + answer * v**2 + 0.4 * math.sin(4 * v)

    rule_slope = -(-2.8 + 0.12 + 1.6 * math.cos(1.2)) / 0.09
    least = min(cost(k / 1000.0) for k in range(-5000, 5001))
    assert report.epsilon == pytest.approx(cost(0.3) - least, abs=1e-4)
    assert report.certificate["f"] in ("multistart", "global")


def cost_of(u: float) -> float:
    return 0.1 * math.sin(3 * u) ** 2 - math.exp(-((u - 1) ** 2))


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_affine_rows_that_end_a_set_together_leave_a_proof(unit: float) -> None:
    """A triangle none of whose rows ends an action by itself: u + v ≥ 1, 2u − v ≤ 1, 2v − u ≤ 1; −u² − v² at (1, 1)."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(initialize=0.0), pyo.Block()
    m.f.u, m.f.v = pyo.Var(initialize=unit), pyo.Var(initialize=unit)
    u, v = m.f.u / unit, m.f.v / unit
    m.f.rows = pyo.ConstraintList()
    for row in (u + v >= 1, 2 * u - v <= 1, 2 * v - u <= 1):
        m.f.rows.add(row)
    m.f.cost = pyo.Objective(expr=-(u**2) - v**2 + m.t)
    m.goal = pyo.Objective(expr=m.t**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, m.f)))
    assert (report.ok, report.certificate["f"]) == (True, "global")


@pytest.mark.parametrize("toward", [1.0, -1.0])
def test_a_cubic_that_a_row_ends_on_its_falling_side_is_proved(toward: float) -> None:
    """y³ − 3y within a row y ≥ −2: it grows without end, and is least at 1 and at −2."""
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(initialize=-2.0), pyo.Block()
    m.f.y = pyo.Var(initialize=toward)
    y = toward * m.f.y
    m.f.row = pyo.Constraint(expr=m.x - y <= 0)
    m.f.cost = pyo.Objective(expr=y**3 - 3 * y)
    m.goal = pyo.Objective(expr=m.x**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, m.f)))
    assert (report.ok, report.certificate["f"]) == (True, "global")


@pytest.mark.parametrize(("cost", "ok"), [(lambda u, v: u, True), (lambda u, v: u - 1e-3 * v**2, False)])
def test_a_cost_that_its_bounds_end_is_proved_on_a_set_without_an_end(cost: Any, ok: bool) -> None:
    """(u − 1)² − (v − 1/2)² ≤ 5/4 and u + v ≤ 1, u ≥ 0: v has no end, and u alone needs none."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(initialize=0.0), pyo.Block()
    m.f.u, m.f.v = pyo.Var(bounds=(0, None), initialize=0.0), pyo.Var(initialize=1.0)
    m.f.curved = pyo.Constraint(expr=(m.f.u - 1) ** 2 - (m.f.v - 0.5) ** 2 <= 1.25)
    m.f.row = pyo.Constraint(expr=m.f.u + m.f.v <= 1)
    m.f.cost = pyo.Objective(expr=cost(m.f.u, m.f.v) + m.t)
    m.goal = pyo.Objective(expr=m.t**2)
    assert sp.verify(sp.Plan.from_values(sp.Game(m, m.f))).ok is ok


@pytest.mark.parametrize("unit", [1e-6, 1e6])
@pytest.mark.parametrize("off", [4e-7, -4e-7])
@pytest.mark.parametrize("equal", [True, False])
def test_rows_end_a_search_at_a_plan_that_is_known_to_a_millionth(unit: float, off: float, equal: bool) -> None:
    """u + v = 2 (or ≤) with |u − v| ≤ 2 ends a cost of ripples; the plan, at a corner, is as far off as plans are."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-2, 2), initialize=0.0), pyo.Block()
    m.f.u, m.f.v = pyo.Var(initialize=(2 + off) * unit), pyo.Var(initialize=off * unit)
    u, v = m.f.u / unit, m.f.v / unit
    m.f.sum = pyo.Constraint(expr=(u + v == 2) if equal else (u + v <= 2))
    m.f.apart = pyo.Constraint(expr=(-2, u - v, 2))
    m.f.cost = pyo.Objective(expr=-3 * u + v + 0.3 * pyo.sin(5 * u) ** 2 + (u + v - 2) ** 2 + m.t * 0)
    m.goal = pyo.Objective(expr=(u - 2) ** 2 + m.t**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, m.f)), proof_seconds=5.0)
    best = min(-3 * x + (2 - x) + 0.3 * math.sin(5 * x) ** 2 for x in np.linspace(0.0, 2.0, 20001))
    assert report.best_response["f"]["f.u"] / unit == pytest.approx(2.0, abs=0.35)
    assert float(report.objective["f"]) - float(report.regret["f"]) == pytest.approx(best, abs=2e-3)
    assert not report.endless


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e-7])
def test_pieces_of_a_stopped_rule_that_hold_no_action_stop_no_proof(unit: float) -> None:
    """One meter, two tolls: where the first is at its bound the second nearly is, and a solver finds no point of that.

    The composed costs exp(u) + 4.1 u² and u⁴/4 + 4.6 u², less their slopes at the plan, are convex by hand.
    """
    levels = (0.5530141765489401, 0.554629529649615)
    m = pyo.ConcreteModel()
    m.p, m.f = pyo.Var([0, 1], bounds=(-20 * unit, 20 * unit), initialize=0), pyo.Block([0, 1])
    for block in m.f.values():
        block.u = pyo.Var(bounds=(-5, 5), initialize=0.5)
    own = pyo.exp(m.f[0].u) - 4 * m.f[0].u, m.f[1].u ** 4 / 4 + m.f[1].u ** 2 / 2 - 3 * m.f[1].u
    for block, cost, toll in zip(m.f.values(), own, m.p.values(), strict=True):
        block.cost = pyo.Objective(expr=cost + toll / unit * block.u)
    m.goal = pyo.Objective(
        expr=sum((b.u - x) ** 2 for b, x in zip(m.f.values(), levels, strict=True))
        + sum((p / unit + 0.022) ** 2 for p in m.p.values())
    )
    game = sp.Game(m, followers=list(m.f.values()))
    rule = sp.affine_incentive(sp.leader_optimal(game), [(m.f[0].u + m.f[1].u) / 3])
    report = sp.verify(rule, certify="convex")
    assert report.ok
    assert report.certificate.tolist() == ["convex", "convex"]


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1.0, 1e6, 1e12])
def test_a_piece_is_empty_where_no_action_is_in_it(unit: float) -> None:
    """slope · (v − target) ≥ stop on a box: by the ends of the box; divisions that round show nothing."""
    random, seen = np.random.default_rng(5), set[bool]()
    for _ in range(200):
        m = pyo.ConcreteModel()
        low, high, target = np.sort(random.uniform(-1, 1, 3)).tolist()
        stop = float(random.uniform(-300, 300))
        m.v = pyo.Var(bounds=(low, target))
        slope = float(random.uniform(-300, 300))
        row = free_row(unit * slope * (m.v - high), unit * stop, None)
        rest = free_row(m.v, None, target)
        follower = SimpleNamespace(constraints=[rest])
        empty = is_empty(SimpleNamespace(follower=follower, rows=[row, rest], constants=[]))  # type: ignore[arg-type]
        most = max(slope * (end - high) for end in (low, target))
        assert empty == (most < stop)
        seen.add(empty)
    assert seen == {True, False}


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(
    ("cost", "ends"),
    [
        (lambda x: x * pyo.log(x + 1e-20), True),
        (lambda x: x * pyo.log(x + 1e-100), True),
        (lambda x: 0.2 * x - 0.04 * pyo.sqrt(x + 1e-20), True),
        (lambda x: -x + pyo.sqrt(x + 1e-20), False),
    ],
)
def test_a_size_that_is_told_next_to_0_is_not_far_out(cost: Any, ends: bool, unit: float) -> None:
    """Costs with an end were called unbounded: slopes at 0 tell sizes of 1e-20, and decades of these were far."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-1, 1), initialize=0), pyo.Block()
    m.f.x = pyo.Var(bounds=(0, None), initialize=0)
    m.f.cost = pyo.Objective(expr=cost(m.f.x / unit))
    m.goal = pyo.Objective(expr=m.t**2)
    report = sp.verify(sp.Plan.from_values(sp.Game(m, m.f)))
    assert not report.ok
    assert ("some deviation pays without limit" in str(report)) is not ends
