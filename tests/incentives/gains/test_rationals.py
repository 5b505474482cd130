"""Decimal numbers as fractions, polynomials in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pyomo.environ as pyo

from stackpyomo.incentives.gains.rationals import fraction, rational


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
