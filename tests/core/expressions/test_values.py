"""Values of expressions: NaN where there is none, arrays as one by one, sizes without cancelling."""

from __future__ import annotations

import math

import numpy as np
import pyomo.environ as pyo
import pytest

from stackpyomo.core.expressions import number_of, numbers_of, size_of, sized, spelled, substituting

WRITTEN = {
    "log": (lambda x, y: pyo.log(x), lambda x, y: np.log(x)),
    "quotient": (lambda x, y: y / (x - 1), lambda x, y: y / (x - 1)),
    "root": (lambda x, y: (x - 1) ** 0.5 * y, lambda x, y: (x - 1) ** 0.5 * y),
    "overflow": (lambda x, y: pyo.exp(1000 * x) + y, lambda x, y: np.exp(1000 * x) + y),
    "mixed": (
        lambda x, y: abs(x) * pyo.atan(y) - pyo.sinh(x) / 3 + (x + y) ** 3,
        lambda x, y: np.abs(x) * np.arctan(y) - np.sinh(x) / 3 + (x + y) ** 3,
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_one_by_one_and_all_at_once(name: str) -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    ours, numpy = WRITTEN[name]
    expression = ours(m.x, m.y)
    points = np.random.default_rng(0).uniform(-2, 2, (2, 60))
    points[:, 0] = 1.0
    with np.errstate(all="ignore"):
        expected = numpy(*points)
    together = numbers_of(expression, {id(m.x): points[0], id(m.y): points[1]}, 60)
    assert together is not None
    for k, (x, y) in enumerate(points.T.tolist()):
        m.x.set_value(x)
        m.y.set_value(y)
        alone = number_of(expression)
        if math.isfinite(expected[k]):
            assert alone == pytest.approx(expected[k], rel=1e-12)
            assert together[k] == pytest.approx(expected[k], rel=1e-12)
        else:
            assert not math.isfinite(alone)
            assert not math.isfinite(together[k])
    m.x.set_value(None)
    assert math.isnan(number_of(expression))


def test_what_numpy_has_not_is_asked_point_by_point() -> None:
    """Cases, and a function of the user's own; where it fails there is no value."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.half = pyo.ExternalFunction(lambda x: 0.5 * math.sqrt(x))
    points = np.array([-1.0, 0.0, 4.0, 9.0])
    cases = numbers_of(2 * pyo.Expr_if(m.x >= 4, m.x**2, -m.x), {id(m.x): points}, 4)
    assert cases == pytest.approx([2.0, 0.0, 32.0, 162.0])
    assert numbers_of(1 + m.half(m.x), {id(m.x): points}, 4) == pytest.approx([math.nan, 1.0, 2.0, 2.5], nan_ok=True)
    assert numbers_of(m.half(m.x), {id(m.x): points[:0]}, 0) == pytest.approx([])


def test_sizes_do_not_cancel() -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    values = {id(m.x): 3.0, id(m.y): 4.0}
    assert size_of((m.x - m.y) * (m.y - 4), values) == 7.0 * 8.0
    assert size_of((m.x - 3) ** 2, values) == 36.0
    assert size_of(-m.x / (m.y - 6), values) == 1.5
    assert math.isnan(size_of(m.x / (m.y - 4), values))


def test_equal_texts_are_equal_functions() -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    m.p = pyo.Param(initialize=2.0, mutable=True)
    names = {id(m.x): "u", id(m.y): "u"}
    assert spelled(m.p * pyo.exp(m.x), names) == spelled(m.p * pyo.exp(m.y), names)
    assert spelled(pyo.exp(m.x), names) != spelled(pyo.sin(m.x), names)
    before = spelled(m.p * m.x, names)
    m.p.set_value(3.0)
    assert spelled(m.p * m.x, names) != before


def test_other_things_in_the_place_of_variables() -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=5.0), pyo.Var(initialize=7.0)
    m.named = pyo.Expression(expr=m.x**2)
    written = substituting({id(m.x): 2 * m.y})(m.named + m.x)
    assert number_of(written) == 14.0**2 + 14.0
    assert number_of(m.named + m.x) == 30.0, "the user's expression stays as it is"
    assert math.isnan(substituting({id(m.x): 0.0})(1 / m.x))


@pytest.mark.parametrize("unit", [1e-7, 1.0, 1e7])
def test_a_row_without_variables_is_measured_by_its_terms_and_limits(unit: float) -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=3 * unit), pyo.Var(initialize=2 * unit)
    level, lower, upper = sized(m.x - 2 * m.y, None, 0.5 * unit)
    assert lower is None
    assert (level, upper) == pytest.approx((-1 / 7, 0.5 / 7))
    assert sized(m.x - 2 * m.y, -21 * unit, math.inf) == pytest.approx((-1 / 21, -1.0, math.inf))
    assert sized(0.0, 0.0, None) == (0.0, 0.0, None)


def test_what_cancelled_breaks_no_row() -> None:
    """0.1 + 0.2 − 0.3 is 6e-17, and no row against 0 is broken by it; 1e-7 beside nothing else is all there is."""
    assert abs(sized(0.1 + 0.2 - 0.3, 0.0, 0.0)[0]) < 1e-15
    assert sized(1e-7, 0.0, 0.0) == (1.0, 0.0, 0.0)
