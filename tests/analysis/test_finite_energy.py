"""Poles: the regular gain of QG04, the pole of QG08, and what is none."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import CASES, number
from helpers.stochastic_games import grid, sc01

import stackpyomo as sp
from stackpyomo.errors import InvalidGame


def gaussian(ys: sp.Scenarios, noise: sp.Scenarios, knows: str | None) -> tuple[Any, sp.Scenarios, sp.Game]:
    """x ~ N(1, 1), y = x + w: given y, x = (1 + y)/2 + e with e ~ N(0, ½)."""
    scenarios = sp.Scenarios.product(ys, noise)
    x = (1 + scenarios["y"]) / 2 + scenarios["e"]
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(list(scenarios) if knows is None else scenarios.atoms(knows), initialize=0.0)
    m.f = pyo.Block()
    m.f.u = pyo.Var(scenarios.atoms("y"), initialize=0.0)

    def act(w: int) -> Any:
        return m.f.u[scenarios.atom("y", w)]

    def lead(w: int) -> Any:
        return m.u0[w if knows is None else scenarios.atom(knows, w)]

    m.goal = pyo.Objective(
        expr=scenarios.expectation(lambda w: (x[w] - lead(w) - act(w)) ** 2 + lead(w) ** 2 + act(w) ** 2 / 2)
    )
    m.f.cost = pyo.Objective(expr=scenarios.expectation(lambda w: (act(w) - x[w]) ** 2 + (lead(w) - 1) ** 2))
    return m, scenarios, sp.Game(m, followers=m.f)


def quadrature(nodes: int) -> sp.Scenarios:
    return sp.Scenarios.gauss_hermite("y", nodes, mean=1.0, covariance=2.0)


def regular_gain(x: Any, y: Any) -> Any:
    half = (1 + y) / 4
    return 2 * half * (x - half - 2) / ((half - 2) ** 2 + Fraction(1, 2))


def test_the_formula_of_the_regular_gain_is_the_published_one() -> None:
    for fact in CASES["QG04_nonzero_mean_regular_gain"]["expected"]["values"]:
        assert regular_gain(Fraction(fact["x"]), Fraction(fact["y"])) == Fraction(fact["Q"])


def test_qg04_has_a_gain_of_finite_energy() -> None:
    wanted = CASES["QG04_nonzero_mean_regular_gain"]["expected"]
    m, scenarios, game = gaussian(quadrature(40), sp.Scenarios.gauss_hermite("e", 4, covariance=0.5), None)
    plan = sp.leader_optimal(game)
    assert plan.leader_objective == pytest.approx(number(wanted["J0"]), abs=1e-9)
    x, y = (1 + scenarios["y"]) / 2 + scenarios["e"], scenarios["y"]
    np.testing.assert_allclose([plan.value(m.f.u[scenarios.atom("y", w)]) for w in scenarios], (1 + y) / 4, atol=1e-7)
    np.testing.assert_allclose([plan.value(m.u0[w]) for w in scenarios], (x - (1 + y) / 4) / 2, atol=1e-7)
    rule = sp.affine_incentive(plan, scenarios.observe(m.u0, [(m.f.u, "y")]), energy=scenarios.energy(m.u0))
    assert rule.energy == pytest.approx(number(wanted["energy_EQ2"]), abs=1e-6)
    gain = np.array(rule.matrix[np.arange(len(scenarios)), [rule.signals.index(f"f.u[{v}]") for v in y]])
    likely = np.array([scenarios.atom_probability("y")[v] for v in y]) > 1e-6
    np.testing.assert_allclose(gain[likely], regular_gain(x, y).astype(float)[likely], atol=1e-6)
    assert sp.verify(rule).ok
    found = sp.poles(rule, scenarios, [(m.f.u, "y")])
    assert found.empty
    assert found.attrs["message"].startswith("No pole was found")


@pytest.mark.slow
def test_qg08_has_no_gain_of_finite_energy() -> None:
    """K = x̂/(2 − x̂/2) = 16/(7 − y) near 7: on cells of width h its energy grows as 256 f(7) π² / h."""
    wanted = CASES["QG08_unsolvable_pole"]["expected"]
    energies = {}
    for step in (0.2, 0.1, 0.05):
        for knows in ("y", None):
            m, scenarios, game = gaussian(grid(step), sp.Scenarios.gauss_hermite("e", 3, covariance=0.5), knows)
            plan = sp.leader_optimal(game)
            rule = sp.affine_incentive(
                plan, scenarios.observe(m.u0, [(m.f.u, "y")], knows=knows), energy=scenarios.energy(m.u0, knows=knows)
            )
            energies[step, knows] = rule.energy
            found = sp.poles(rule, scenarios, {"f.u": "y"})
            if knows is None:
                assert found.empty
                assert rule.energy == pytest.approx(0.886594304409, abs=1e-6), "who knows x needs no more"
                continue
            y = np.array(scenarios.atoms("y"))
            half = (1 + y) / 4
            np.testing.assert_allclose([plan.value(m.f.u[a]) for a in scenarios.atoms("y")], half, atol=1e-6)
            np.testing.assert_allclose([plan.value(m.u0[a]) for a in scenarios.atoms("y")], half / 2, atol=1e-6)
            assert found["action"].tolist() == ["f.u"]
            assert found["pole"][0] == pytest.approx(number(wanted["pole_y"]), abs=1e-6)
            assert found["below"][0] == pytest.approx(7 - step / 2)
            assert found["above"][0] == pytest.approx(7 + step / 2)
            assert found["slope"][0] == pytest.approx(-4.0, abs=1e-6)  # −x̂ at 7
            assert "E[Q²] is infinite" in found.attrs["message"]
            assert "f.u at about 7" in found.attrs["message"]
            assert sp.verify(rule).ok, "for these finitely many atoms it is an incentive all the same"
    density = math.exp(-9) / math.sqrt(4 * math.pi)
    for step in (0.1, 0.05):
        grown = energies[step, "y"] - energies[2 * step, "y"]
        assert grown == pytest.approx(256 * density * math.pi**2 * (1 / step - 1 / (2 * step)), rel=1e-3)


def test_an_observation_at_the_pole_has_no_gain() -> None:
    """At y = 7 itself the grip is 0 but for rounding, and a gain of 1e15 is none."""
    noise = sp.Scenarios.gauss_hermite("e", 3, covariance=0.5)
    m, scenarios, game = gaussian(grid(0.5, centre=7.25), noise, "y")
    assert 7.0 in scenarios.atoms("y")
    observe = scenarios.observe(m.u0, [(m.f.u, "y")], knows="y")
    with pytest.raises(
        sp.NoIncentive, match=r"f: no leader variable that may answer a signal of f\.u\[7\.0\] changes its"
    ):
        sp.affine_incentive(sp.leader_optimal(game), observe)


def test_a_grip_and_a_slope_that_vanish_together_are_no_pole() -> None:
    """Without means K = −A/B is one number, although a and b both change sign at 0."""
    ys = sp.Scenarios.gauss_hermite("y", 6, covariance=2.0)
    m, scenarios, _ = gaussian(ys, sp.Scenarios.gauss_hermite("e", 3, covariance=0.5), "y")
    x = scenarios["y"] / 2 + scenarios["e"]
    lead, act = (lambda w, v=v: v[scenarios.atom("y", w)] for v in (m.u0, m.f.u))
    m.goal.set_value(scenarios.expectation(lambda w: (x[w] - lead(w) - act(w)) ** 2 + lead(w) ** 2 + act(w) ** 2 / 2))
    m.f.cost.set_value(scenarios.expectation(lambda w: (act(w) - x[w]) ** 2 + lead(w) ** 2))
    plan = sp.leader_optimal(sp.Game(m, followers=m.f))
    rule = sp.affine_incentive(plan, scenarios.observe(m.u0, [(m.f.u, "y")], knows="y"))
    assert np.ptp(np.diag(rule.gain)) <= 1e-6
    assert rule.gain.iloc[0, 0] == pytest.approx(2.0, abs=1e-6)  # a = −x̂, b = x̂/2
    assert sp.poles(rule, scenarios, {"f.u": "y"}).empty


def test_poles_name_what_is_wrong() -> None:
    m, scenarios, game = sc01()
    rule = sp.affine_incentive(sp.leader_optimal(game), scenarios.observe(m.u0, [(m.f.u, "y")]))
    with pytest.raises(InvalidGame, match="y: shows 'L'; poles are looked for between numbers"):
        sp.poles(rule, scenarios, {"f.u": "y"})
    with pytest.raises(InvalidGame, match="u0: no action of a follower"):
        sp.poles(rule, scenarios, {"u0": "x"})
    with pytest.raises(InvalidGame, match="z: no observation"):
        sp.poles(rule, scenarios, {"f.u": "z"})
    again = sp.Incentive.from_json(rule.to_json(), game)
    with pytest.raises(InvalidGame, match="read from JSON"):
        sp.poles(again, scenarios, {"f.u": "y"})
