"""Decimal numbers as fractions, polynomials in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pyomo.environ as pyo

import stackpyomo as sp
from stackpyomo.core import undisturbed
from stackpyomo.derivatives import FollowerRows
from stackpyomo.games.information import read_observation
from stackpyomo.incentives.gains.entries import Entries, Wishes
from stackpyomo.incentives.gains.levers import Lever, levers
from stackpyomo.incentives.gains.rationals import exact_weights, fraction, rational


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
    off, more = np.array([0.0]), np.array([2.0])
    assert exact_weights([(lever, off)], [1.0], np.array([False])) == [Fraction(1)]
    assert exact_weights([(lever, off)], [1.0], np.array([True])) is None
    assert exact_weights([(lever, off), (lever, more)], [0.5, 0.5], np.array([True])) is None, "a gain would see it"
