"""Terms: an expression taken apart, and what is known of its parts, against Pyomo's own evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

from stackpyomo.core.expressions import (
    affine_terms,
    apart,
    elementary,
    interval,
    is_affine,
    is_quadratic,
    leaves,
    partials,
    roots,
    terms,
    variables_in,
)


@pytest.fixture
def m() -> Any:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=0.7), pyo.Var(initialize=1.9)
    m.p = pyo.Param(initialize=3.0, mutable=True)
    m.e = pyo.Expression(expr=m.x**2 - 2 * m.y)
    return m


EXPRESSIONS = {
    "sum": lambda m: 2 * m.x - (m.x * m.y) / 4 + m.p,
    "nested": lambda m: -(3 * (m.x + m.p * (m.y - m.x)) - m.e * 2) / m.p,
    "product": lambda m: m.x * m.y,
    "number": lambda m: 4.0,
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_terms_sum_to_the_expression(m: Any, name: str) -> None:
    expression = EXPRESSIONS[name](m)
    parts = list(terms(expression, -2.0))
    assert sum(k * pyo.value(term) for k, term in parts) == pytest.approx(-2.0 * pyo.value(expression), rel=1e-14)
    assert len(parts) == {"sum": 3, "nested": 5, "product": 1, "number": 1}[name]


def test_a_sum_as_a_term_is_not_added_to_the_sum(m: Any) -> None:
    total = m.x + m.y
    assert pyo.value(apart(total) - m.x) == pytest.approx(1.9)
    assert pyo.value(total) == pytest.approx(2.6)


def test_leaves_of_a_shared_expression_are_told_once(m: Any) -> None:
    seen: set[int] = set()
    expression = m.e * m.p + m.e / m.y
    assert sum(1 for leaf in leaves(expression, seen) if leaf is m.x) == 1
    assert {v.name for v in variables_in(expression)} == {"x", "y"}


def test_roots_are_square_roots_and_powers_between_0_and_1(m: Any) -> None:
    taken = list(roots(pyo.sqrt(m.x + 1) + m.y**0.5 + m.x**2 + m.y**1.5))
    assert sorted(pyo.value(part) for part in taken) == pytest.approx([1.7, 1.9])


@pytest.mark.parametrize("function", [pyo.sinh, pyo.cosh, pyo.tanh])
def test_hyperbolic_functions_by_exponentials(m: Any, function: Any) -> None:
    expression = function(m.x * m.y)
    assert pyo.value(elementary(expression)) == pytest.approx(pyo.value(expression), rel=1e-14)
    (slope,) = partials(expression, [m.x])
    step = 1e-6
    sides = []
    for side in (step, -step):
        m.x.set_value(0.7 + side)
        sides.append(pyo.value(expression))
    m.x.set_value(0.7)
    assert pyo.value(slope) == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-8)


def test_a_number_has_no_slope(m: Any) -> None:
    assert partials(2.0, [m.x, m.y]) == [0.0, 0.0]
    assert partials(m.x, []) == []


def test_bounds_that_are_numbers_of_numpy_beside_no_bound_warn_of_nothing() -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(np.float64(0.0), None)), pyo.Var(bounds=(None, np.float64(2.0)))
    assert interval(m.x * m.y) == (-np.inf, np.inf)  # 0 times infinity may be anything
    assert interval(3 * m.y - m.x) == (-np.inf, 6.0)


def test_what_is_affine(m: Any) -> None:
    """Like terms are collected; fixed Vars and Params are numbers; a number is affine, a product of Vars is not."""
    expression = 2 * (m.x - m.y / 4) + m.p - m.x
    constant, slopes = affine_terms(expression) or (0.0, [])
    assert (constant, {v.name: slope for v, slope in slopes}) == (3.0, {"x": 1.0, "y": -0.5})
    assert affine_terms(m.x * m.y) is None
    assert affine_terms(m.e) is None
    assert affine_terms(4.0) == (4.0, [])
    assert is_affine(4.0, expression)
    assert not is_affine(expression, m.e)
    assert is_quadratic(m.e, expression)
    assert not is_quadratic(m.e * m.x)
    m.y.fix()
    assert is_affine(m.x * m.y)
    assert affine_terms(m.x * m.y) == (0.0, [(m.x, 1.9)])
