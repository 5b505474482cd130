"""Units and accuracy of the design: no gain depends on a unit, none rests on a derivative that is not known."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn
from hypothesis import given, settings
from hypothesis import strategies as st

import stackpyomo as sp

SOME = settings(max_examples=drawn(25), deadline=None)


@dataclass(frozen=True)
class Units:
    """In what a game is written."""

    action: float = 1.0
    leader: float = 1.0
    cost: float = 1.0
    constant: float = 0.0
    row: float = 1.0


OTHERS = [
    Units(action=1e-7),
    Units(action=1e7),
    Units(leader=1e-7),
    Units(leader=1e7),
    Units(cost=1e-8),
    Units(cost=1e8),
    Units(constant=1e6),
    Units(row=1e6),
    Units(row=1e-6),
    Units(action=1e5, leader=1e-4, cost=1e3),
]


class Drawn:
    """Two followers of up to two actions, two leader's variables, costs that are not quadratic, a row, any plan."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.random = random
        self.width = [int(n) for n in random.integers(1, 3, 2)]
        self.numbers = random.normal(size=(2, 40))
        self.boxed = bool(random.random() < 0.6)
        self.plan_actions = random.uniform(-0.8, 0.8, (2, 2))
        self.plan_leader = random.uniform(-0.8, 0.8, 2) * (random.random(2) < 0.7)
        self.tight = bool(random.random() < 0.4)
        self.multipliers = "free" if random.random() < 0.5 else "zero"
        self.aggregate = bool(random.random() < 0.3)

    def game(self, units: Units) -> sp.Game:
        m = pyo.ConcreteModel()
        m.t = pyo.Var([0, 1], bounds=(-3 * units.leader, 3 * units.leader) if self.boxed else None)
        m.f = pyo.Block([0, 1])
        for k in m.f:
            m.f[k].u = pyo.Var(
                range(self.width[k]), bounds=(-2 * units.action, 2 * units.action) if self.boxed else None
            )
        t = [m.t[j] / units.leader for j in (0, 1)]
        for j in (0, 1):
            m.t[j].set_value(self.plan_leader[j] * units.leader)
        for k in m.f:
            c = iter(self.numbers[k])
            u = [v / units.action for v in m.f[k].u.values()]
            for i, v in enumerate(m.f[k].u.values()):
                v.set_value(self.plan_actions[k][i] * units.action)
            cost = sum((1 + next(c) ** 2) * (x - next(c)) ** 2 + (t[0] * next(c) + t[1] * next(c)) * (x + 3) for x in u)
            cost += 0.3 * pyo.exp(0.5 * next(c) * t[0] + 0.5 * next(c) * u[0]) + 0.1 * t[1] ** 2
            m.f[k].cost = pyo.Objective(expr=units.cost * cost + units.constant)
            level = sum(self.plan_actions[k][i] for i in range(len(u))) + (0.0 if self.tight else 1.0)
            m.f[k].row = pyo.Constraint(expr=units.row * sum(u) <= units.row * level)
        m.goal = pyo.Objective(expr=sum(v**2 for v in t))
        return sp.Game(m, followers=m.f)

    def designed(self, units: Units) -> tuple[str, np.ndarray]:
        """("a gain" or the kind of reason for each follower, the gain in natural units)."""
        game = self.game(units)
        observe: Any = "actions"
        if self.aggregate:
            observe = [sum(v for k in (0, 1) for v in game.model.f[k].u.values())]
        try:
            rule = sp.affine_incentive(sp.Plan.from_values(game), observe, multipliers=self.multipliers)
        except sp.NoIncentive as refused:
            return str({name: why[:20] for name, why in refused.reasons.items()}), np.zeros(0)
        return "a gain", rule.gain.to_numpy() * units.action / units.leader


@pytest.mark.slow
@SOME
@given(seed=st.integers(0, 10**6), other=st.sampled_from(OTHERS))
def test_units_change_no_gain_and_no_refusal(seed: int, other: Units) -> None:
    world = Drawn(seed)
    plain, gain = world.designed(Units())
    scaled, same = world.designed(other)
    assert plain == scaled
    np.testing.assert_allclose(same, gain, rtol=1e-5, atol=1e-6 * max(1.0, float(np.abs(gain).max(initial=0.0))))


def toll_road(flow: float, *, curved: float = 1.0, width: float = 10.0) -> sp.Plan:
    """A toll that takes toll · flow, at a plan whose flow is nearly 0: its grip on the driver is that flow."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(-5, 5), initialize=1.0)
    m.driver = pyo.Block()
    m.driver.flow = pyo.Var(bounds=(0, width), initialize=flow)
    m.driver.cost = pyo.Objective(expr=curved * (m.driver.flow - 3) ** 2 + m.toll * m.driver.flow)
    m.goal = pyo.Objective(expr=m.driver.flow**2)
    return sp.Plan.from_values(sp.Game(m, followers=m.driver))


@pytest.mark.parametrize("flow", [1e-13, 1e-10, 1e-8, 9e-7])
def test_a_grip_that_is_smaller_than_its_error_is_none(flow: float) -> None:
    with pytest.raises(sp.NoIncentive, match="zero gradient"):
        sp.affine_incentive(toll_road(flow))


def test_a_grip_that_is_known_is_used_however_small_beside_the_box() -> None:
    rule = sp.affine_incentive(toll_road(0.01))
    assert rule.gain.iloc[0, 0] == pytest.approx((6 - 0.02 - 1) / 0.01)
    assert 1e-7 < rule.uncertainty < 1e-3
    assert "differs by" not in str(rule)


def test_a_gain_that_is_hardly_known_says_so() -> None:
    """b = x − y of two actions near 1, each known to 1e-6 of its reach of 10."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(initialize=0.0, bounds=(-100, 100))
    m.f = pyo.Block()
    m.f.x, m.f.y = pyo.Var(bounds=(0, 10), initialize=1.0), pyo.Var(bounds=(0, 10), initialize=1.0 - 1e-4)
    m.f.cost = pyo.Objective(expr=(m.f.x - 2) ** 2 + (m.f.y - 2) ** 2 + m.t * (m.f.x - m.f.y))
    m.goal = pyo.Objective(expr=m.t**2)
    game = sp.Game(m, followers=m.f)
    rule = sp.affine_incentive(sp.Plan.from_values(game), curvature="none")
    assert 0.05 < rule.uncertainty < 0.5
    assert "at plans as good as this one the gain differs by" in str(rule)
    again = sp.Incentive.from_json(rule.to_json(), game)
    assert again.uncertainty == rule.uncertainty
    m.f.y.set_value(1.0 - 1e-6)
    with pytest.raises(sp.NoIncentive, match="zero gradient"):
        sp.affine_incentive(sp.Plan.from_values(game), curvature="none")


@SOME
@given(seed=st.integers(0, 10**6))
def test_what_is_announced_says_how_much_a_plan_known_to_1e_6_moves_it(seed: int) -> None:
    """Against the oracle: the design at another plan as good."""
    world = Drawn(seed)
    world.tight, world.multipliers, world.aggregate = False, "zero", False
    game = world.game(Units())
    try:
        rule = sp.affine_incentive(sp.Plan.from_values(game), curvature="none")
    except sp.NoIncentive:
        return
    for var in game.variables_by_name.values():
        var.set_value(var.value * (1.0 + 1e-6 * world.random.choice([-1.0, 1.0])))
    try:
        other = sp.affine_incentive(sp.Plan.from_values(game), curvature="none")
    except sp.NoIncentive:
        assert rule.uncertainty > 0.1
        return
    moved = float(np.linalg.norm(other.gain.to_numpy() - rule.gain.to_numpy())) / max(rule.norm, 1e-300)
    assert moved <= 30 * rule.uncertainty + 1e-9


@pytest.mark.parametrize("angle", [1e-9, 1e-7, 1e-5, 1e-3])
@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
def test_signals_that_are_nearly_parallel_balance_or_are_refused(angle: float, unit: float) -> None:
    """Two actions seen through x + y and x + (1 + angle) y: what leaves is balanced, whatever its size."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var(initialize=0.0, bounds=(-5, 5))
    m.f = pyo.Block()
    m.f.u = pyo.Var([0, 1], bounds=(-2 * unit, 2 * unit), initialize=0.3 * unit)
    x, y = m.f.u[0] / unit, m.f.u[1] / unit
    m.f.cost = pyo.Objective(expr=(x - 1) ** 2 + 2 * (y - 1.5) ** 2 + 3 * m.t)
    m.goal = pyo.Objective(expr=m.t**2)
    m.s = pyo.Expression([1, 2], expr={1: m.f.u[0] + m.f.u[1], 2: m.f.u[0] + (1 + angle) * m.f.u[1]})
    plan = sp.Plan.from_values(sp.Game(m, followers=m.f))
    if angle < 1e-7:
        with pytest.raises(sp.NoIncentive, match="cannot be told apart"):
            sp.affine_incentive(plan, [m.s[1], m.s[2]])
        return
    rule = sp.affine_incentive(plan, [m.s[1], m.s[2]])
    k = rule.gain.to_numpy()[0] * unit
    assert k[0] + k[1] == pytest.approx(1.4 / 3, rel=1e-4)
    assert k[0] + (1 + angle) * k[1] == pytest.approx(4.8 / 3, rel=1e-4)


@SOME
@given(seed=st.integers(0, 10**6), many=st.integers(2, 4), size=st.sampled_from([1.0, 1e-5, 1e5]))
def test_no_gain_leaves_with_a_residual_or_bent_down(seed: int, many: int, size: float) -> None:
    """A price times a quantity, felt through several variables that all bend down: refused, or right."""
    random = np.random.default_rng(seed)
    felt = np.round(random.uniform(-1.5, 1.5, many), 2)
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(range(many), initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(bounds=(-2, 3), initialize=0.0)
    pull, aim = float(random.uniform(0.1, 2)), float(random.uniform(-1, 1.5))
    price = sum(float(w) * m.u0[j] for j, w in enumerate(felt))
    m.f.cost = pyo.Objective(expr=size * (pull * m.f.u + price * (m.f.u + 3) + random.choice([0, 0.2]) * m.u0[0] ** 2))
    m.goal = pyo.Objective(expr=(m.f.u - aim) ** 2 + sum((m.u0[j] - 0.1 * j) ** 2 for j in range(many)))
    plan = sp.leader_optimal(sp.Game(m, followers=m.f))
    try:
        rule = sp.affine_incentive(plan)
    except sp.NoIncentive as refused:
        reasons = set(refused.reasons.values())
        assert all(why.startswith("curvature") for why in reasons) or not felt.any()
        return
    assert rule.residual <= 1e-6 * size
    assert sp.verify(rule).ok


def test_the_same_row_twice_and_in_other_units_carries_as_once() -> None:
    """Multipliers are not unique then; what they carry together, and the gain, are."""
    gains = []
    for rows in ([1.0], [1.0, 1.0], [1.0, 1e6, 1e-6]):
        m = pyo.ConcreteModel()
        m.t = pyo.Var(initialize=0.0, bounds=(-2, 2))
        m.f = pyo.Block()
        m.f.u = pyo.Var([0, 1], bounds=(0, 4), initialize=1.0)
        m.f.row = pyo.Constraint(range(len(rows)), rule=lambda b, i, r=rows: r[i] * (b.u[0] + b.u[1]) <= 2 * r[i])
        m.f.cost = pyo.Objective(expr=(m.f.u[0] - 3) ** 2 + (m.f.u[1] - 2) ** 2 + m.t * m.f.u[0])
        m.goal = pyo.Objective(expr=m.t**2)
        rule = sp.affine_incentive(sp.Plan.from_values(sp.Game(m, followers=m.f)), multipliers="free")
        carried = sum(r * rule.multipliers.get(f"f.row[{i}]", 0.0) for i, r in enumerate(rows))
        gains.append([*rule.gain.to_numpy()[0], carried])
    assert gains[0][2] > 0.0
    np.testing.assert_allclose(gains[1], gains[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(gains[2], gains[0], rtol=1e-6, atol=1e-8)


def test_units_of_one_follower_are_no_business_of_another() -> None:
    """One cost written 1e8 times as large: nobody's gain but for nothing."""

    def gains(units: Units) -> np.ndarray:
        world = Drawn(7)
        world.aggregate, world.multipliers = False, "zero"
        game = world.game(Units())
        cost = game.model.f[1].cost
        cost.set_value(cost.expr * units.cost)
        return sp.affine_incentive(sp.Plan.from_values(game), curvature="none").gain.to_numpy()

    for cost in (1e-8, 1e8):
        np.testing.assert_allclose(gains(replace(Units(), cost=cost)), gains(Units()), rtol=1e-7)


def seldom(probability: float, money: float = 1.0, held: float = 1.0) -> Any:
    """(scenarios, model, rule or refusal): (u − 1)² + t u in two scenarios, the leader at u = ½."""
    seen = sp.Scenarios({"y": [0, 1]}, [probability, 1.0 - probability])
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var([0, 1], bounds=(-9, 9), initialize=0.0), pyo.Block()
    m.f.u = pyo.Var([0, 1], bounds=(-3, 3), initialize=0.5)
    answer = {0: held, 1: 1.0}
    cost = seen.expectation(lambda w: (m.f.u[w] - 1) ** 2 + answer[w] * m.t[w] * m.f.u[w])
    m.f.cost = pyo.Objective(expr=money * cost)
    m.goal = pyo.Objective(expr=seen.expectation(lambda w: (m.f.u[w] - 0.5) ** 2 + m.t[w] ** 2))
    plan = sp.leader_optimal(sp.Game(m, m.f))
    rule = sp.affine_incentive(plan, seen.observe(m.t, [(m.f.u, "y")]), energy=seen.energy(m.t))
    return seen, m, rule


@pytest.mark.parametrize("money", [1.0, 1e7, 1e-7])
@pytest.mark.parametrize("probability", [1e-8, 1e-10, 1e-12, 1e-14, 1e-16, 1e-20, 1e-30])
def test_an_improbable_atom_has_its_gain(probability: float, money: float) -> None:
    seen, m, rule = seldom(probability, money)
    for w in seen:
        u = rule.targets["f.u[0]"] if w == 0 else rule.targets["f.u[1]"]
        assert rule.gain.loc[f"t[{w}]", f"f.u[{w}]"] == pytest.approx(2.0 * (1.0 - u) / u, rel=1e-5)
    told = sp.conditional_regret(rule, seen, [(m.f.u, "y")])
    assert (told["regret"] <= 1e-8 * money).all()
    assert sp.verify(rule).ok


@pytest.mark.parametrize("probability", [1e-12, 1e-17, 1e-20, 1e-300])
def test_an_improbable_atom_has_its_gain_without_an_end_of_its_action(probability: float) -> None:
    """Its own condition tells the unit: (u − 1)² + t u + (v − 1)² + s v from u = 0.3 and v = 0.2."""
    seen = sp.Scenarios({"y": ["often", "never"]}, [1.0 - probability, probability])
    m = pyo.ConcreteModel()
    m.t, m.s = pyo.Var(seen.atoms("y"), initialize=0.0), pyo.Var(seen.atoms("y"), initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(["before"], seen.atoms("y"), initialize=0.3)
    m.f.v = pyo.Var(seen.atoms("y"), initialize=0.2)
    place = [seen.atom("y", w) for w in seen]
    m.f.cost = pyo.Objective(
        expr=seen.expectation(
            lambda w: (
                (m.f.u["before", place[w]] - 1) ** 2
                + m.t[place[w]] * m.f.u["before", place[w]]
                + (m.f.v[place[w]] - 1) ** 2
                + m.s[place[w]] * m.f.v[place[w]]
            )
        )
    )
    m.goal = pyo.Objective(expr=0.0)
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    answers = [(m.t[a], [m.f.u["before", a]]) for a in place] + [(m.s[a], [m.f.v[a]]) for a in place]
    rule = sp.affine_incentive(plan, pyo.ComponentMap(answers))
    for a in place:
        assert rule.gain.loc[f"t[{a}]", f"f.u[before,{a}]"] == pytest.approx(14.0 / 3.0, rel=1e-9)
        assert rule.gain.loc[f"s[{a}]", f"f.v[{a}]"] == pytest.approx(8.0, rel=1e-9)
    assert sp.verify(rule).ok


def test_what_nobody_can_answer_takes_no_gain_away(caplog: pytest.LogCaptureFixture) -> None:
    """The leader has no part in the improbable scenario: the other one keeps its gain."""
    with caplog.at_level(logging.WARNING):
        _, _, rule = seldom(1e-12, held=0.0)
    assert rule.gain.loc["t[1]", "f.u[1]"] == pytest.approx(2.0, rel=1e-5)
    assert "t[0]" not in rule.gain.index
