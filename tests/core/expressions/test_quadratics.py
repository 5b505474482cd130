"""Quadratic expressions by their terms, against their values at random points."""

from __future__ import annotations

import math

import numpy as np
import pyomo.environ as pyo
import pytest

from stackpyomo.core.expressions import at_levels, expression_of, sum_of, terms_of


@pytest.mark.parametrize("seed", range(5))
def test_terms_are_summed_held_at_levels_and_written_again(seed: int) -> None:
    random = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3))
    x, weights = [m.x[i] for i in range(3)], random.normal(size=(2, 10))

    def quadratic(a: np.ndarray) -> pyo.Expression:
        products = [x[i] * x[j] for i in range(3) for j in range(i, 3)]
        return sum(c * part for c, part in zip(a.tolist(), [1.0, *x, *products], strict=True))

    one, other = map(quadratic, weights)
    first, second = terms_of(one), terms_of(other)
    assert first is not None
    assert second is not None
    levels = random.normal(size=3)
    for v, level in zip(x, levels.tolist(), strict=True):
        v.set_value(level)
    whole = expression_of(sum_of(first, second, -2.5), {id(v): v for v in x})
    assert pyo.value(whole) == pytest.approx(pyo.value(one) - 2.5 * pyo.value(other))
    rest = at_levels(first, {id(x[0]): levels[0], id(x[2]): levels[2]})
    assert {key for product in rest for key in product} == {id(x[1])}
    assert pyo.value(expression_of(rest, {id(x[1]): x[1]})) == pytest.approx(pyo.value(one))


def test_what_cancels_is_no_term_and_what_is_not_quadratic_has_none() -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    one, third = terms_of(0.1 * m.x + m.y), terms_of(0.3 * m.x)
    assert one is not None
    assert third is not None
    assert sum_of(one, third, -1.0 / 3.0) == {(id(m.y),): 1.0}
    assert terms_of(pyo.exp(m.x)) is None
    assert terms_of(m.x**3) is None
    assert at_levels({(id(m.x), id(m.y)): 2.0, (): -6.0}, {id(m.x): 1.0, id(m.y): 3.0}) == {}
    assert math.isclose(pyo.value(expression_of({(): 3.0}, {})), 3.0)
