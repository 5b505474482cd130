"""The checker: integer actions are looked at point by point, a rule that stops at a bound piece by piece."""

from __future__ import annotations

import copy
import math
from fractions import Fraction
from itertools import product
from typing import Any

import mpmath
import numpy as np
import pyomo.environ as pyo
import pytest

import stackpyomo as sp
from stackpyomo.verification import checker
from stackpyomo.verification.certificate import certificate


def packer(count: int = 10, *, spare: bool = False) -> tuple[sp.Game, Any]:
    """Packs what is worth most under a price of 1; where ``spare``, it also runs w with a fixed cost for being on."""
    random = np.random.default_rng(count)
    worth, size = random.integers(2, 30, count), random.integers(2, 9, count)
    m = pyo.ConcreteModel()
    m.price = pyo.Var(bounds=(0, 5), initialize=1.0)
    m.f = pyo.Block()
    m.f.y = pyo.Var(range(count), domain=pyo.Binary)
    used = sum(int(s) * y for s, y in zip(size, m.f.y.values(), strict=True))
    m.f.room = pyo.Constraint(expr=used <= int(size.sum()) // 2)
    cost = m.price * used - sum(int(w) * y for w, y in zip(worth, m.f.y.values(), strict=True))
    points = [p for p in product((0, 1), repeat=count) if np.dot(p, size) <= int(size.sum()) // 2]
    best = min(points, key=lambda p: float(np.dot(p, size - worth)))
    for y, level in zip(m.f.y.values(), best, strict=True):
        y.value = level
    if spare:
        m.f.w, m.f.on = (
            pyo.Var(bounds=(0, 4), initialize=1.0),
            pyo.Var(domain=pyo.Integers, bounds=(0, 2), initialize=1),
        )
        m.f.run = pyo.Constraint(expr=m.f.w <= 2 * m.f.on)
        cost = cost + 0.4 * m.f.on - m.f.w + m.f.w**2 / 2
    m.f.cost = pyo.Objective(expr=cost)
    m.goal = pyo.Objective(expr=m.price)
    return sp.Game(m, m.f), best


def written(game: sp.Game) -> dict[str, Any]:
    return certificate(sp.verify(sp.Plan.from_values(game)))


@pytest.mark.parametrize(("count", "spare"), [(3, False), (10, False), (5, True)])
def test_whole_actions_are_confirmed_point_by_point(count: int, spare: bool) -> None:
    document = written(packer(count, spare=spare)[0])
    (checked,) = checker.check(document)
    assert checked.ok
    assert checked.epsilon <= 1e-6


def test_between_whole_numbers_it_would_gain() -> None:
    """The same file with actions of which parts may be taken: half an item is better than none."""
    document = copy.deepcopy(written(packer()[0]))
    for variable in document["game"]["followers"][0]["variables"]:
        del variable["integer"]
    (checked,) = checker.check({**document, "digest": checker.digest(document)})
    assert not checked.ok


def test_a_plan_that_it_would_leave_is_not_confirmed() -> None:
    game, best = packer()
    document = written(game)
    taken = best.index(1)
    document["plan"][f"y_{taken}"] = 0.0
    document["followers"]["f"]["cost"] = 0.0
    (checked,) = checker.check({**document, "digest": checker.digest(document)})
    assert not checked.ok


def test_a_part_of_a_whole_action_is_a_fault() -> None:
    document = written(packer(3)[0])
    symbol = document["game"]["followers"][0]["variables"][0]["name"]
    document["plan"][symbol] = 0.5
    (checked,) = checker.check({**document, "digest": checker.digest(document)})
    assert any("fraction of an integer action" in fault for fault in checked.faults)


def test_more_than_the_limit_are_left_to_one_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    document = written(packer()[0])
    monkeypatch.setattr(checker, "WHOLE", 9)
    (checked,) = checker.check(document)
    assert not checked.ok


def stopped(sign: float) -> dict[str, Any]:
    """A toll that is 0 on the plan, at its bound: for other flows it rises on one side, and stays on the other."""
    m = pyo.ConcreteModel()
    m.toll = pyo.Var(bounds=(0, 2) if sign > 0 else (-2, 0))
    m.driver = pyo.Block()
    m.driver.flow, m.driver.detour = pyo.Var(bounds=(0, 1)), pyo.Var(bounds=(0, 1))
    own = (m.driver.flow - 1) ** 2 + (m.driver.detour - m.driver.flow / 2) ** 2
    m.driver.cost = pyo.Objective(expr=own + sign * m.toll * m.driver.flow)
    miss = (m.driver.flow - 0.6) ** 2 + (m.driver.detour - 0.3) ** 2
    m.miss = pyo.Objective(expr=miss + 0.01 * m.toll**2)
    report = sp.verify(sp.affine_incentive(sp.leader_optimal(sp.Game(m, followers=m.driver)), saturate=True))
    assert report.ok
    return certificate(report)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_rule_that_stops_at_its_bound_on_the_plan_is_confirmed_piece_by_piece(sign: float) -> None:
    """The formula alone would pay for flows below the plan, where the rule does not."""
    document = stopped(sign)
    (checked,) = checker.check(document)
    assert checked.ok
    assert checked.epsilon <= 1e-9


@pytest.mark.parametrize(("factor", "held"), [(0.5, False), (0.95, False), (1.0, True), (1.5, True)])
def test_what_a_stopped_rule_does_not_hold_is_not_confirmed(factor: float, held: bool) -> None:
    """Against a dense scan of what is announced: above the plan the toll must rise by 4/3 at least, below it is 0."""
    document = stopped(1.0)
    document["rule"]["gain"] = [[r, c, factor * t] for r, c, t in document["rule"]["gain"]]
    flow = np.linspace(0, 1, 100_001)
    cost = (flow - 1) ** 2 + np.clip(
        factor * 4 / 3 * (flow - 0.6), 0, 2
    ) * flow  # the detour that is best costs nothing
    assert (0.16 - cost.min() <= 1e-6) == held
    (checked,) = checker.check({**document, "digest": checker.digest(document)})
    assert held or not checked.ok
    assert checked.ok or factor != 1.0


SOFT: dict[str, Any] = {
    "log(1 + exp(2*x - 3*y + 1))": lambda x, y: mpmath.log(1 + mpmath.exp(2 * x - 3 * y + 1)),
    "log(3 + exp(-2*x))": lambda x, y: mpmath.log(3 + mpmath.exp(-2 * x)),
    "sqrt(1 + (x - 2*y)**2)": lambda x, y: mpmath.sqrt(1 + (x - 2 * y) ** 2),
    "sqrt((3*x + 1)**2 + 0.25)": lambda x, y: mpmath.sqrt((3 * x + 1) ** 2 + 0.25),
}


@pytest.mark.parametrize("text", SOFT)
def test_roots_and_logarithms_of_sums_bend_up_on_every_box(text: str) -> None:
    """√(c + z²) and log(c + eᶻ): range, slopes and second derivatives hold those of samples in 40 digits."""
    random = np.random.default_rng(5)
    with mpmath.workdps(40):
        for _ in range(25):
            far, middle = 10.0 ** random.uniform(-4, 3), random.normal(size=2) * 10.0 ** random.uniform(-2, 2)
            ends = middle[:, None] + far * random.random((2, 2)) * [-1.0, 1.0]
            box = [tuple(map(float, pair)) for pair in ends]
            names = {n: checker.Value(box[i], {i: (1.0, 1.0)}) for i, n in enumerate("xy")}
            known = checker.value(checker.parsed(text), names)
            assert known.convex
            assert known.slope is not None
            assert known.bend is not None
            point = tuple(mpmath.mpf(float(random.uniform(*pair))) for pair in box)
            assert known.span[0] <= SOFT[text](*point) <= known.span[1]
            for i, orders in ((0, (1, 0)), (1, (0, 1))):
                low, high = known.slope.get(i, (0.0, 0.0))
                assert low - 1e-15 <= mpmath.diff(SOFT[text], point, orders) <= high + 1e-15
            for pair, orders in (((0, 0), (2, 0)), ((0, 1), (1, 1)), ((1, 1), (0, 2))):
                low, high = known.bend.get(pair, (0.0, 0.0))
                assert low - 1e-9 <= mpmath.diff(SOFT[text], point, orders) <= high + 1e-9


def test_a_wide_box_costs_a_convex_problem_nothing() -> None:
    """Of (3600 u + 900 v)² + … rounding hides a pivot of 1e-6: over 1,000 it was a gain of 0.4."""
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(bounds=(-2, 2), initialize=0.0), pyo.Block()
    m.f.u, m.f.v = pyo.Var(bounds=(0, None), initialize=0.5), pyo.Var(initialize=-0.25)
    steep = 3617 * (m.f.u - 0.5) + 946 * (m.f.v + 0.25)
    m.f.cost = pyo.Objective(
        expr=steep**2 + (m.f.u - 0.5) ** 2 + (m.f.v + 0.25) ** 2 + pyo.sqrt(1 + (steep - m.t) ** 2) + m.t**2
    )
    m.goal = pyo.Objective(expr=(m.f.u - 0.5) ** 2 + (m.f.v + 0.25) ** 2 + m.t**2)
    document = certificate(sp.verify(sp.Plan.from_values(sp.Game(m, m.f))))
    assert all(one.ok for one in checker.check(document))


ENDS = (0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 0.1, -0.7, 1e-320, -5e-324, 1e300, -1e308, math.inf, -math.inf)


def test_products_of_ranges_hold_every_product() -> None:
    """Against fractions, which round nothing; an end that is 0 makes 0 of whatever has no end."""
    spans = [(a, b) for a, b in product(ENDS, ENDS) if a <= b and not math.isinf(a) * (a == b)]
    for f, g in product(spans, spans):
        low, high = checker.times(checker.Value(f, {0: (1.0, 1.0)}), checker.Value(g, {0: (1.0, 1.0)})).span
        exact = [Fraction(a) * Fraction(b) for a in f for b in g if math.isfinite(a) and math.isfinite(b)]
        signs = {math.copysign(1, a) * math.copysign(1, b) for a, b in product(f, g) if math.isinf(a * b or 0.0)}
        assert low == -math.inf if -1.0 in signs else low <= high
        assert high == math.inf if 1.0 in signs else low <= high
        assert math.isinf(low) or Fraction(low) <= min(exact, default=Fraction(0))
        assert math.isinf(high) or Fraction(high) >= max(exact, default=Fraction(0))


def test_of_what_is_no_number_nothing_is_known() -> None:
    far = checker.plus(checker.number(math.inf), checker.number(-math.inf))
    assert far.span == (-math.inf, math.inf)
    unknown = checker.Value((math.nan, 1.0), {0: (1.0, 1.0)})
    assert checker.times(unknown, unknown).span == (-math.inf, math.inf)
