"""Gains by deviations: continuous followers whose costs are known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.incentives.gains import masters


def scalar(cost: Any, target: float, bounds: tuple[float, float], level: float = 0.0) -> sp.Plan:
    """One follower of one action v who pays a transfer u: cost(v) + u."""
    m = pyo.ConcreteModel()
    m.u = pyo.Var(initialize=level)
    m.f = pyo.Block()
    m.f.v = pyo.Var(bounds=bounds, initialize=target)
    m.f.cost = pyo.Objective(expr=cost(m.f.v) + m.u)
    m.wish = pyo.Objective(expr=(m.f.v - target) ** 2 + m.u**2)
    return sp.Plan.from_values(sp.Game(m, followers=m.f))


def well(v: Any) -> Any:
    return v**4 / 4 - v**2 / 2


def wave(v: Any) -> Any:
    return v**2 / 2 + pyo.sin(4 * v)


def test_a_target_outside_the_wells_has_the_one_gain_of_its_slope() -> None:
    """−c'(6/5) = −(1.728 − 1.2)."""
    rule = sp.affine_incentive(scalar(well, 1.2, (-2, 2)))
    assert rule.gain.loc["u", "f.v"] == pytest.approx(-0.528, abs=1e-9)
    assert sp.verify(rule).certificate["f"] == "global"


def test_between_the_wells_there_is_none_and_the_lottery_says_why() -> None:
    """conv c = −1/4 on [−1, 1]: at 1/2 a lottery of −1 (1/4) and 1 (3/4) is better by 9/64."""
    with pytest.raises(sp.NoIncentive, match="weight") as refusal:
        sp.affine_incentive(scalar(well, 0.5, (-2, 2)))
    table = refusal.value.deviations.sort_values("weight", ignore_index=True)
    assert [a["f.v"] for a in table["action"]] == pytest.approx([-1.0, 1.0], abs=1e-2)
    assert table["weight"].sum() == pytest.approx(1.0)
    assert table["weight"] @ [a["f.v"] for a in table["action"]] == pytest.approx(0.5, abs=1e-9)
    assert table["weight"] @ table["temptation"] == pytest.approx(9 / 64, abs=1e-6)
    assert "regret='least'" in str(refusal.value)


@pytest.mark.parametrize(
    ("cost", "target", "box", "least", "gain"),
    [(well, 0.5, (-2, 2), 9 / 64, 0.0), (wave, 0.2, (-3, 3), 1.4456891436735, -0.3926990817)],
)
def test_the_least_regret_is_the_distance_to_the_convex_envelope(
    cost: Any, target: float, box: tuple[float, float], least: float, gain: float
) -> None:
    """Figures: by hand, and the convex hull of 600,001 points."""
    rule = sp.affine_incentive(scalar(cost, target, box), regret="least")
    assert rule.epsilon == pytest.approx(least, abs=1e-6)
    assert rule.gain.loc["u", "f.v"] == pytest.approx(gain, abs=1e-7)
    report = sp.verify(rule)
    assert report.epsilon == pytest.approx(least, abs=1e-6)
    assert not report.ok


def hull_gap(cost: Any, target: float, box: tuple[float, float], parts: int = 4000) -> float:
    """c − conv c at the target, on a grid that holds it."""
    grid = np.unique(np.append(np.linspace(*box, parts), target))
    level = np.array([cost(v) for v in grid])
    hull: list[int] = []
    for i in range(len(grid)):
        while len(hull) > 1:
            a, b = hull[-2:]
            if (level[b] - level[a]) * (grid[i] - grid[a]) < (level[i] - level[a]) * (grid[b] - grid[a]):
                break
            hull.pop()
        hull.append(i)
    return float(cost(target) - np.interp(target, grid[hull], level[hull]))


@pytest.mark.parametrize("seed", range(6))
def test_a_gain_exists_exactly_where_the_cost_touches_its_convex_envelope(seed: int) -> None:
    """Random polynomials of degree 4 on [−2, 2]; the envelope from points."""
    random = np.random.default_rng(seed)
    weights = random.integers(-4, 5, 4).astype(float)
    target = float(np.round(random.uniform(-2.0, 2.0), 2))

    def cost(v: Any) -> Any:
        return v**4 + sum(float(w) * v**power for power, w in enumerate(weights))

    gap = hull_gap(cost, target, (-2.0, 2.0))
    try:
        rule = sp.affine_incentive(scalar(cost, target, (-2.0, 2.0)))
    except sp.NoIncentive:
        assert gap > 1e-5
        return
    assert gap < 1e-4
    assert sp.verify(rule).epsilon < 1e-5


@pytest.mark.slow
def test_a_signal_that_is_not_linear_holds_what_no_line_can() -> None:
    """u = 3/8 (v − 1/2) + 3/8 (v − 1/2)²: the least that keeps the other well out. Nothing is lost in JSON."""
    plan = scalar(well, 0.5, (-2, 2))
    v = plan.attached().model.f.v
    rule = sp.affine_incentive(plan, observe=[v, (v - 0.5) ** 2])
    np.testing.assert_allclose(rule.matrix.toarray(), [[0.375, 0.375]], atol=1e-6)
    assert sp.verify(rule).ok
    assert "the cost of f need not be convex; the deviations of the design were examined all the same" in str(rule)
    (line,) = (line for line in rule.deviations.itertuples() if line.weight > 0.0)
    assert line.action["f.v"] == pytest.approx(-0.5, abs=1e-3)
    assert line.slack == pytest.approx(0.0, abs=1e-9)
    again = sp.Incentive.from_json(rule.to_json(), plan.attached())
    assert sp.verify(again).epsilon == pytest.approx(sp.verify(rule).epsilon)
    assert again.deviations.equals(rule.deviations)
    assert sp.Incentive.from_json(rule.to_json()).to_json() == sp.Incentive.from_json(rule.to_json()).to_json()
    assert pyo.value(rule.strategy()[plan.attached().model.u]) == pytest.approx(0.0)
    with pytest.raises(sp.InvalidGame, match="not linear"):
        sp.affine_incentive(plan, observe=[(v - 0.5) ** 2], design="slopes")
    with pytest.raises(sp.InvalidGame, match="signal is not linear"):
        rule.robustness(plan)
    with pytest.raises(sp.InvalidGame, match="no linear space"):
        _ = rule.null_space
    with pytest.raises(sp.InvalidGame, match="certificate"):
        sp.verify(rule).to_certificate("nowhere.json")


def driver(bounds: tuple[float, float]) -> sp.Plan:
    """Two tolls on one flow; at a flow of 0.6 they have to rise by 4/3 together."""
    m = pyo.ConcreteModel()
    m.u = pyo.Var(range(2), initialize=0.0)
    m.u[0].setlb(bounds[0])
    m.u[0].setub(bounds[1])
    m.f = pyo.Block()
    m.f.v = pyo.Var(bounds=(0, 1), initialize=0.6)
    m.f.cost = pyo.Objective(expr=(m.f.v - 1) ** 2 + (m.u[0] + m.u[1]) * m.f.v)
    m.wish = pyo.Objective(expr=(m.f.v - 0.6) ** 2 + m.u[0] ** 2 + m.u[1] ** 2)
    return sp.Plan.from_values(sp.Game(m, followers=m.f))


def test_convex_games_have_the_gains_they_had() -> None:
    plan = driver((-2.0, 2.0))
    slopes, deviations = sp.affine_incentive(plan, design="slopes"), sp.affine_incentive(plan, design="deviations")
    np.testing.assert_allclose(slopes.matrix.toarray(), deviations.matrix.toarray(), atol=1e-9)
    assert deviations.freedom == slopes.freedom == 1


def test_the_leader_stays_within_its_bounds_where_a_gain_does() -> None:
    """u0 ≥ −1/10 after v = 0 leaves its gain 1/6 at most; the other toll carries the rest, 4/3 − 1/6."""
    plan = driver((-0.1, 2.0))
    assert "u[0]" in sp.affine_incentive(plan).excursions
    rule = sp.affine_incentive(plan, design="deviations")
    np.testing.assert_allclose(rule.matrix.toarray().ravel(), [1 / 6, 7 / 6], atol=1e-7)
    assert rule.excursions == {}
    assert sp.verify(rule).ok


def test_what_a_design_by_deviations_does_not_do_is_said() -> None:
    plan = scalar(well, 0.5, (-2, 2))
    for wrong, match in (
        ({"design": "best"}, "design="),
        ({"regret": "most"}, "regret="),
        ({"margin": -1.0}, "margin="),
        ({"design": "slopes", "regret": "least"}, "looks at no deviation"),
        ({"design": "deviations", "prefer": "sparsest"}, "prefer="),
        ({"design": "deviations", "quadratic": True}, "observe the square"),
        ({"design": "deviations", "minors": "respond"}, "minors="),
    ):
        with pytest.raises(sp.InvalidGame, match=match):
            sp.affine_incentive(plan, **wrong)


def endless(cost: Any) -> sp.Plan:
    """A follower at 1.2 whose action has no upper bound."""
    m = pyo.ConcreteModel()
    m.u = pyo.Var(initialize=0.0)
    m.f = pyo.Block()
    m.f.v = pyo.Var(initialize=1.2, bounds=(-2, None))
    m.f.cost = pyo.Objective(expr=cost(m.f.v) + m.u)
    m.wish = pyo.Objective(expr=m.u**2)
    return sp.Plan.from_values(sp.Game(m, followers=m.f))


def test_a_search_needs_bounds() -> None:
    with pytest.raises(sp.InvalidGame, match=r"f\.v: has no upper bound"):
        sp.affine_incentive(endless(lambda v: pyo.sin(3 * v) + 0.01 * v), design="deviations")


def test_a_cost_that_grows_without_end_is_a_bound() -> None:
    """The slope of the well at 1.2 is 0.528, and under the line that takes it away the quartic term ends the search."""
    rule = sp.affine_incentive(endless(well), design="deviations")
    assert rule.gain.loc["u", "f.v"] == pytest.approx(-0.528, abs=1e-6)
    assert sp.verify(rule).certificate["f"] == "global"
    v = np.linspace(-2, 50, 100_001)
    assert (well(v) - 0.528 * v).min() >= well(1.2) - 0.528 * 1.2 - 1e-9


def squared(scale: float) -> sp.Plan:
    """v ∈ {0, 1, 2} costs (2, 1, 0)·scale and u²v; planned at 1 and u = 0: K² ≥ scale/2 holds it against v = 2."""
    m = pyo.ConcreteModel()
    most = 30.0 * float(np.sqrt(scale))
    m.u, m.f = pyo.Var(bounds=(-most, most), initialize=0.0), pyo.Block()
    m.f.v = pyo.Var(bounds=(0, 2), domain=pyo.Integers, initialize=1)
    m.f.cost = pyo.Objective(expr=scale * (2 - m.f.v) + m.u**2 * m.f.v)
    m.wish = pyo.Objective(expr=scale * (m.f.v - 1) ** 2 + m.u**2)
    return sp.leader_optimal(sp.Game(m, followers=m.f))


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e2, 1e4])
def test_a_gain_of_costs_that_bend_with_the_answer_holds(scale: float) -> None:
    """A global solver measures rows by what they may come to in its box, and once called K = 0 the least of ±1000."""
    rule = sp.affine_incentive(squared(scale))
    assert abs(rule.gain.loc["u", "f.v"]) == pytest.approx(np.sqrt(scale / 2.0), rel=1e-5)
    assert sp.verify(rule).ok


def test_a_master_that_is_not_accurate_enough_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where followers gain by deviations that are rows already, nothing is returned as an incentive."""
    monkeypatch.setattr(masters, "_BOXES", (1e3,))
    monkeypatch.setattr(masters, "_sharpened", lambda _, point: 0.0 * point)
    with pytest.raises(sp.NoIncentive, match="after 1 deviations followers still gain"):
        sp.affine_incentive(squared(1.0))


@pytest.mark.parametrize("written", ["INC", "MC", "DCC", "DLOG", "CC", "LOG"])
def test_a_piecewise_cost_whose_auxiliaries_have_their_bounds_from_rows(written: str) -> None:
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(-2, 2))
    m.driver = pyo.Block()
    m.driver.flow, m.driver.worth = pyo.Var(bounds=(0, 1)), pyo.Var(bounds=(-5, 5))
    m.driver.curve = pyo.Piecewise(
        m.driver.worth, m.driver.flow, pw_pts=[0, 0.5, 1], f_rule=[1, 0.3, 0], pw_constr_type="EQ", pw_repn=written
    )
    m.driver.cost = pyo.Objective(expr=m.driver.worth + m.toll * m.driver.flow)
    m.miss = pyo.Objective(expr=(m.driver.flow - 0.6) ** 2 + 0.01 * m.toll**2)
    plan = sp.leader_optimal(sp.Game(m, m.driver))
    rule = sp.affine_incentive(plan, observe=[m.driver.flow])
    assert sp.verify(rule).ok
    flow = np.linspace(0, 1, 10_001)
    toll = rule.offset["toll"] + rule.gain.iloc[0, 0] * (flow - plan.value("driver.flow"))
    cost = np.interp(flow, [0, 0.5, 1], [1, 0.3, 0]) + toll * flow
    assert cost.min() >= np.interp(plan.value("driver.flow"), flow, cost) - 1e-6


@pytest.mark.slow
def test_an_integer_follower_without_an_end_is_named() -> None:
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(-2, 2))
    m.driver = pyo.Block()
    m.driver.trips = pyo.Var(domain=pyo.NonNegativeIntegers)
    m.driver.cost = pyo.Objective(expr=pyo.sin(m.driver.trips) + m.toll * m.driver.trips)
    m.miss = pyo.Objective(expr=(m.driver.trips - 3) ** 2 + 0.01 * m.toll**2)
    plan = sp.leader_optimal(sp.Game(m, m.driver))
    with pytest.raises(sp.InvalidGame, match=r"driver\.trips: has no upper bound.*Give it both"):
        sp.affine_incentive(plan)


def test_the_least_regret_is_none_where_a_gain_holds() -> None:
    """(w − 3)² + 2 z + u at w = 2, z = 1: the one gain is 2, which rows of deviations alone come near to."""
    m = pyo.ConcreteModel()
    m.u, m.f = pyo.Var(initialize=0.0), pyo.Block()
    m.f.z, m.f.w = pyo.Var(domain=pyo.Binary, initialize=1), pyo.Var(bounds=(0, 4), initialize=2.0)
    m.f.limit = pyo.Constraint(expr=m.f.w <= 4 * m.f.z)
    m.f.cost = pyo.Objective(expr=2 * m.f.z + (m.f.w - 3) ** 2 + m.u)
    m.wish = pyo.Objective(expr=(m.f.w - 2) ** 2 + m.u**2)
    rule = sp.affine_incentive(sp.Plan.from_values(sp.Game(m, m.f)), observe=[m.f.w], regret="least")
    assert rule.epsilon == 0.0
    assert rule.gain.loc["u", "f.w"] == pytest.approx(2.0, abs=1e-8)
    assert "small deviation" in str(rule)
    assert "more f.z" not in str(rule), "of a switch no step is small"


@pytest.mark.parametrize(("unit", "size"), [(0.1, 1e-3), (1e3, 1e-2), (0.1, 1.0)])
def test_the_least_regret_is_found_in_any_units(unit: float, size: float) -> None:
    """The well in v = y / unit, its cost times size: 9/64 size, whatever rounding leaves of the rows that say so."""
    plan = scalar(lambda v: size * well(v * unit), 0.5 / unit, (-2 / unit, 2 / unit))
    assert sp.affine_incentive(plan, regret="least").epsilon == pytest.approx(9 / 64 * size, rel=1e-6)
