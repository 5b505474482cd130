"""Published-quality cases of gains by deviations (tests/data/deviation_gains.json): gains, lotteries, repairs."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import number

import stackpyomo as sp
from stackpyomo.core import undisturbed
from stackpyomo.derivatives import FollowerRows
from stackpyomo.games import parse_game
from stackpyomo.games.information import read_observation
from stackpyomo.incentives.gains.levers import Lever, levers
from stackpyomo.incentives.gains.selection import Entries, Wishes
from stackpyomo.incentives.lottery import exact_lottery, fraction, rational, simple

FILE = Path(__file__).parent.parent / "data" / "deviation_gains.json"
CASES = {case["id"]: case for case in json.loads(FILE.read_text(encoding="utf-8"))}
GAINS = {
    "GD1_interval": "least_norm",
    "GD4b_well": "gain",
    "GD5a_switch": "gain",
    "GD6_two_intervals": "least_norm",
    "GD7_population_1": "least_norm",
    "GD7_population_10": "least_norm",
    "GD7_population_100": "least_norm",
    "GD9_monotone": "least_norm",
    "GD12b_tariff_free": "gain",
    "GD13b_participation_paid": "gain",
}


def read(name: str) -> tuple[sp.Plan, dict[str, Any]]:
    game = parse_game(CASES[name]["data"])
    asked: dict[str, Any] = {"observe": game.observe, "free": [] if "u0" in game.target else ["u0"]}
    return sp.Plan.from_values(game), asked


def refused(name: str) -> sp.NoIncentive:
    plan, asked = read(name)
    with pytest.raises(sp.NoIncentive) as refusal:
        sp.affine_incentive(plan, **asked)
    return refusal.value


@pytest.mark.parametrize("name", GAINS)
def test_the_least_gain(name: str) -> None:
    plan, asked = read(name)
    rule = sp.affine_incentive(plan, **asked)
    expected = CASES[name]["expected"]
    assert rule.matrix.toarray().ravel() == pytest.approx([number(expected[GAINS[name]])], abs=1e-6)
    if "u0" in expected:
        assert rule.offset["u0"] == pytest.approx(number(expected["u0"]), abs=1e-6)
    report = sp.verify(rule)
    assert report.ok
    assert set(report.certificate) <= {"global", "convex"}
    assert rule.excursions == {}


@pytest.mark.parametrize(
    ("name", "weights", "liked"),
    [
        ("GD2_impossible", {0.0: "1/2", 2.0: "1/2"}, 1),
        ("GD4a_well_impossible", {-1.0: "1/4", 1.0: "3/4"}, 9 / 64),
        ("GD12a_tariff_fixed", {1.0: "3/4", 3.0: "1/4"}, 0.75),
    ],
)
def test_lotteries_are_exact_where_the_data_are(name: str, weights: dict[float, str], liked: float) -> None:
    table = refused(name).deviations
    found = {action["f.v"]: exact for action, exact in zip(table["action"], table["exact"], strict=True)}
    assert found == weights
    np.testing.assert_allclose(table["weight"], [float(Fraction(text)) for text in table["exact"]], atol=1e-9)
    assert table["weight"] @ table["temptation"] == pytest.approx(liked)


def test_a_deviation_that_nothing_shows() -> None:
    refusal = refused("GD10_hidden")
    (line,) = refusal.deviations.itertuples()
    assert line.action == {"f.a": 1.0, "f.b": 1.0}
    assert (line.follower, line.weight, line.temptation, line.exact) == ("f", 1.0, 1.0, "1")
    assert "no signal shows it" in refusal.reasons["f"]
    assert "Observe f.b, too" in str(refusal)


def test_a_price_that_reaches_nobody_who_is_off() -> None:
    refusal = refused("GD13a_participation")
    (line,) = refusal.deviations.itertuples()
    assert line.action["f.z"] == 0.0
    assert line.temptation == pytest.approx(13 / 8)
    assert "a payment for being on" in str(refusal)


def test_a_switch_that_is_not_seen() -> None:
    """The slope asks for 2, switching off for at most 1/2; what is seen helps.

    The line from (0, 9) that touches 7 + (w − 3)² does so at w = √7: of all lotteries this one is liked most.
    """
    refusal = refused("GD5b_switch_off")
    table = refusal.deviations.sort_values("weight", ignore_index=True)
    assert table.loc[0, "action"] == {"f.z": 0.0, "f.w": 0.0}
    assert table.loc[1, "action"]["f.w"] == pytest.approx(7.0**0.5, abs=1e-5)
    assert list(table["weight"]) == pytest.approx([1.0 - 2.0 / 7.0**0.5, 2.0 / 7.0**0.5], abs=2e-6)
    weights = [Fraction(text) for text in table["exact"]]
    steps = [Fraction(action["f.w"]) - 2 for action in table["action"]]
    assert abs(float(sum(w * s for w, s in zip(weights, steps, strict=True)))) <= 1e-12
    assert table["weight"] @ table["temptation"] == pytest.approx(11.0 - 4.0 * 7.0**0.5, abs=1e-9)
    assert "proved for gains up to" not in str(refusal)
    assert "Observe f.z, too" in str(refusal)
    plan, _ = read("GD5b_switch_off")
    rule = sp.affine_incentive(plan, observe=CASES["GD5b_switch_off"]["expected"]["observe_both"])
    np.testing.assert_allclose(rule.matrix.toarray(), [[2.0, -3.0]], atol=1e-6)
    assert sp.verify(rule).ok


def test_what_the_certificate_suggests_helps() -> None:
    plan, _ = read("GD2_impossible")
    assert "(f.v - 1)**2" in str(refused("GD2_impossible"))
    rule = sp.affine_incentive(plan, observe=CASES["GD2_impossible"]["expected"]["with_signals"])
    np.testing.assert_allclose(rule.matrix.toarray(), [[0.0, 1.0]], atol=1e-9)
    assert sp.verify(rule).ok
    least = sp.affine_incentive(plan, observe=["v"], regret="least")
    assert least.epsilon == pytest.approx(1.0)
    assert sp.verify(least).epsilon == pytest.approx(1.0)
    assert "may still gain 1 by leaving" in str(least)


def test_two_followers_whom_the_mean_does_not_tell_apart() -> None:
    """f1 drops out and f2 joins: the mean cannot tell; one by one they are held by −2 and 3."""
    players = [
        {"name": f"f{i}", "variables": [{"name": f"v{i}", "lb": 0, "ub": 1, "integer": True}], "objective": cost}
        for i, cost in ((1, "2*v1 + u"), (2, "-3*v2 + u"))
    ]
    document = {
        "format": "stackpyomo-game/1",
        "leader": {"variables": [{"name": "u"}], "objective": "u**2"},
        "followers": players,
        "target": {"v1": 1, "v2": 0, "u": 0},
        "observe": ["(v1 + v2)/2"],
    }
    game = parse_game(document)
    plan = sp.Plan.from_values(game)
    with pytest.raises(sp.NoIncentive, match=r"Observe f1\.v1, f2\.v2 one by one") as refusal:
        sp.affine_incentive(plan, observe=game.observe)
    assert list(refusal.value.deviations["follower"]) == ["f1", "f2"]
    assert list(refusal.value.deviations["exact"]) == ["1/2", "1/2"]
    assert set(refusal.value.reasons) == {"f1", "f2"}
    rule = sp.affine_incentive(plan)
    np.testing.assert_allclose(rule.matrix.toarray(), [[-2.0, 3.0]], atol=1e-9)
    assert "indifferent to each" in str(rule)
    firm = sp.affine_incentive(plan, margin=0.5)
    np.testing.assert_allclose(firm.matrix.toarray(), [[-2.5, 3.5]], atol=1e-9)
    assert firm.deviations["slack"].min() == pytest.approx(0.5)
    alone = sp.affine_incentive(plan, observe={"u": ["v1"]})
    assert alone.alone == ["f2"]


@pytest.mark.parametrize("cost", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("unit", [1e-7, 1.0, 1e7])
@pytest.mark.parametrize("level", [1e-7, 1.0])
def test_a_remedy_is_the_same_in_all_units(cost: float, unit: float, level: float) -> None:
    """At both ends of [0, 2] the follower gains from the middle: no slope holds it, a square does."""
    m = pyo.ConcreteModel()
    m.p = pyo.Var(bounds=(-9 * level, 9 * level), initialize=0.0)
    m.f = pyo.Block()
    m.f.v, m.f.z = pyo.Var(bounds=(0, 2 * unit), initialize=unit), pyo.Var(domain=pyo.Binary, initialize=1)
    m.f.cost = pyo.Objective(expr=cost * (m.p / level - (m.f.v / unit - 1) ** 2 + m.f.z))
    m.loss = pyo.Objective(expr=(m.f.v / unit - 1) ** 2 + (m.f.z - 1) ** 2)
    plan = sp.Plan.from_values(sp.Game(m, m.f))
    with pytest.raises(sp.NoIncentive, match=r"Observe \(f\.v - .*\)\*\*2, too"):
        sp.affine_incentive(plan, observe=[m.f.v, m.f.z])


def test_bounds_and_gain_bounds_are_part_of_the_proof() -> None:
    plan, asked = read("GD1_interval")
    with pytest.raises(sp.NoIncentive, match="Widen gain_bounds=") as refusal:
        sp.affine_incentive(plan, gain_bounds=(-0.5, 0.5), **asked)
    assert "gain bound" in list(refusal.value.deviations["kind"])


def test_a_row_that_the_gain_may_bar_proves_nothing() -> None:
    """The follower's constraint holds the price: under some gain the deviation may not be open to it."""
    m = pyo.ConcreteModel()
    m.p = pyo.Var(bounds=(-2, 2), initialize=0.0)
    m.f = pyo.Block()
    m.f.v, m.f.w = pyo.Var(domain=pyo.Binary, initialize=0), pyo.Var(domain=pyo.Binary, initialize=1)
    m.f.cost = pyo.Objective(expr=-3 * m.f.v + m.p * m.f.w - m.f.w)
    m.f.row = pyo.Constraint(expr=m.f.v + m.p <= 5)
    m.loss = pyo.Objective(expr=m.f.v + m.p**2 + (m.f.w - 1) ** 2)
    plan = sp.Plan.from_values(sp.Game(m, [m.f]))
    with pytest.raises(sp.NoIncentive, match="was found, which proves nothing: f may not be able to do this"):
        sp.affine_incentive(plan, observe=[m.f.w])


@pytest.mark.parametrize("cost", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_a_proof_keeps_its_bound_whatever_the_units(cost: float, unit: float) -> None:
    """At 0 the follower saves 7 and pays p: 7 would hold it, and p ends at 5. Weights 1 and 1 add up to nothing.

    The weight of a bound has another unit than that of a deviation: beside it, it may look as small as rounding.
    """
    m = pyo.ConcreteModel()
    m.p = pyo.Var(bounds=(-5 * unit, 5 * unit), initialize=0.0)
    m.f = pyo.Block()
    m.f.y = pyo.Var(domain=pyo.Binary, initialize=1)
    m.f.cost = pyo.Objective(expr=cost * (7 * m.f.y + m.p / unit * (1 - m.f.y)))
    m.loss = pyo.Objective(expr=(m.f.y - 1) ** 2)
    with pytest.raises(sp.NoIncentive, match="beside the leader's upper bound of p") as refusal:
        sp.affine_incentive(sp.Plan.from_values(sp.Game(m, m.f)))
    proof = refusal.value.deviations.set_index("kind")
    assert proof.loc["deviation", "weight"] == pytest.approx(1.0)
    assert proof.loc["<= p", "weight"] == pytest.approx(cost / unit)
    assert proof.loc["deviation", "temptation"] == pytest.approx(7 * cost)


def test_a_number_is_the_decimal_it_is_written_as() -> None:
    assert fraction(0.1) == Fraction(1, 10)
    assert fraction(-2.5e-3) == Fraction(-1, 400)


def test_polynomials_and_quotients_are_exact() -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=1.0), pyo.Var(initialize=0.3)
    m.e = pyo.Expression(expr=m.x * m.y - 2)
    third = {id(m.x): Fraction(1, 3)}
    assert rational(m.x**2 + 0.1 * m.y, third) == Fraction(1, 9) + Fraction(3, 100)
    assert rational(m.e / m.x, third) == Fraction(3, 10) - 6
    assert rational(-m.x, third) == Fraction(-1, 3)
    assert rational(7.0, {}) == 7


def test_what_is_no_rational_is_none() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=2.0)
    assert rational(pyo.exp(m.x), {}) is None
    assert rational(m.x**0.5, {}) is None
    assert rational(1 / (m.x - 2), {}) is None


def priced() -> Lever:
    """A follower of v ∈ {0 … 2}, planned at 1, that pays u v and is seen by its v."""
    m = pyo.ConcreteModel()
    m.u, m.f = pyo.Var(initialize=1), pyo.Block()
    m.f.v = pyo.Var(bounds=(0, 2), initialize=1, domain=pyo.Integers)
    m.f.cost = pyo.Objective(expr=m.u * m.f.v)
    m.wish = pyo.Objective(expr=(m.f.v - 1) ** 2)
    game = sp.Game(m, followers=m.f)
    with undisturbed():
        design = Entries(FollowerRows(game), Wishes(read_observation(game, [m.f.v])))
        return levers(design, game.current_values())["f"]


def test_weights_count_what_a_free_price_does() -> None:
    """p d is 0 at v = 0 and 2 at v = 2: it takes v = 0 alone to hide from the gain, not from a price that is free."""
    lever = priced()
    off, more = [Fraction(0)], [Fraction(2)]
    assert exact_lottery([(lever, off)], np.array([False])) == ([Fraction(1)], [Fraction(1)])
    assert exact_lottery([(lever, off)], np.array([True])) is None
    assert exact_lottery([(lever, off), (lever, more)], np.array([True])) is None, "a gain would see it"


def test_what_a_follower_cannot_do_is_no_proof() -> None:
    """v = −1 costs 1 less than 0, and no box holds it."""
    assert exact_lottery([(priced(), [Fraction(-1)])], np.array([False])) is None


def test_the_simplest_fraction_next_to_a_level() -> None:
    """0.33333333 is 1/3, √2 a quotient that is as near as a plan is known; bounds stay what they are."""
    m = pyo.ConcreteModel()
    m.u, m.f = pyo.Var(initialize=0), pyo.Block()
    m.f.v = pyo.Var(range(3), bounds=(0, 1.5), initialize=1)
    m.f.cost = pyo.Objective(expr=sum(m.f.v[i] ** 2 for i in range(3)) + m.u)
    m.wish = pyo.Objective(expr=m.u**2)
    game = sp.Game(m, followers=m.f)
    with undisturbed():
        design = Entries(FollowerRows(game), Wishes(read_observation(game, "actions")))
        lever = levers(design, game.current_values())["f"]
    third, root, end = simple(lever, np.array([0.33333333, 2.0**0.5, 1.5]))
    assert (third, end) == (Fraction(1, 3), Fraction(3, 2))
    assert root.denominator < 1000
    assert abs(float(root) - 2.0**0.5) <= 1e-5
