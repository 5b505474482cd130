"""Sweeps: values, gradients and second derivatives against Pyomo's, and against ranges over boxes around."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds
from helpers.formulas import LEAVES, drawn
from pyomo.core.expr.calculus.derivatives import Modes, differentiate

from stackpyomo.core.expressions import elementary
from stackpyomo.families import Ranges, gathered, swept


@pytest.mark.parametrize("seed", seeds(60))
def test_derivatives_are_pyomos(seed: int) -> None:
    """At a point, and within their ranges over a box around it; a function that is not bounded says nothing."""
    random = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(LEAVES))
    low, high = random.uniform(0.2, 1.0, LEAVES), random.uniform(1.1, 2.0, LEAVES)
    expression = drawn(random, m, 3) + m.x[0] * m.x[1]
    families, unread = gathered([(0, expression, 1.0)], {id(v): i for i, v in enumerate(m.x.values())})
    assert not unread
    (family,) = families
    columns = family.columns[:, 0]
    boxes = [Ranges(low[[c]], high[[c]]) for c in columns]
    spans = swept(family.tree, [Ranges.of(n) for n in family.numbers], boxes)
    own = [m.x[int(c)] for c in columns]
    for share in (0.0, 1.0, *random.random(4)):
        point = low + share * (high - low)
        for v, level in zip(m.x.values(), point, strict=True):
            v.set_value(float(level))
        value, slope, bend = swept(family.tree, family.numbers, [point[[c]] for c in columns])
        here = pyo.value(expression)
        assert np.ravel(value)[0] == pytest.approx(here, rel=1e-12, abs=1e-12)
        assert within(spans[0], here)
        gradient = differentiate(elementary(expression), wrt_list=own, mode=Modes.reverse_numeric)
        for place, derivative in enumerate(gradient):
            assert number(slope.get(place, 0.0)) == pytest.approx(derivative, rel=1e-9, abs=1e-9)
            assert within(spans[1].get(place, 0.0), derivative)
            for other in range(place, len(own)):
                second = number(bend.get((place, other), 0.0))
                assert second == pytest.approx(differenced(expression, own, place, other), rel=1e-4, abs=1e-4)
                assert within(spans[2].get((place, other), 0.0), second)


def number(entry: Any) -> float:
    return float(np.ravel(entry)[0])


def within(span: Any, level: float) -> bool:
    span, room = Ranges.of(span), 1e-12 * max(1.0, abs(level))
    return bool((span.low <= level + room).all() and (span.high >= level - room).all())


def differenced(expression: Any, own: list[Any], a: int, b: int) -> float:
    """∂²f/∂a∂b from Pyomo's gradient on both sides."""
    middle, step = own[b].value, 1e-6
    sides = []
    for sign in (1.0, -1.0):
        own[b].set_value(middle + sign * step)
        sides.append(differentiate(elementary(expression), wrt=own[a], mode=Modes.reverse_numeric))
    own[b].set_value(middle)
    return float((sides[0] - sides[1]) / (2.0 * step))
