"""Derivatives of trees: those of a sweep, entry by entry, and differentiated once more."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds
from helpers.formulas import LEAVES, drawn

from stackpyomo.families import derived, gathered, product, swept


@pytest.mark.parametrize("seed", seeds(60))
def test_slopes_and_bends_are_those_of_a_sweep(seed: int) -> None:
    random = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(LEAVES))
    expression = drawn(random, m, 3) / (1.0 + m.x[0] * m.x[1]) + m.x[2] ** 2
    (family,), _ = gathered([(0, expression, 1.0)], {id(v): i for i, v in enumerate(m.x.values())})
    point = random.uniform(0.2, 2.0, (LEAVES, 5))[family.columns[:, 0]]
    numbers = np.repeat(family.numbers, 5, axis=1)
    _, slope, bend = swept(family.tree, numbers, point)
    for slot in range(len(point)):
        tree = derived(family.tree, slot)
        assert tree is not None
        value, _, _ = swept(tree, numbers, point)
        np.testing.assert_allclose(np.broadcast_to(value, 5), np.broadcast_to(slope.get(slot, 0.0), 5), atol=1e-9)
        for other in range(len(point)):
            again = derived(tree, other)
            value = 0.0 if again is None else swept(again, numbers, point, 1)[0]
            entry = np.broadcast_to(bend.get((min(slot, other), max(slot, other)), 0.0), 5)
            np.testing.assert_allclose(np.broadcast_to(value, 5), entry, rtol=1e-8, atol=1e-8)


def test_what_is_not_held_is_none_and_ones_are_left_out() -> None:
    var, number = ("v", 0), ("c", 0)
    assert derived(number, 0) is None
    assert derived(("v", 1), 0) is None
    assert derived(("+", var, number), 0) == ("n", 1.0)
    assert derived(("*", number, var), 0) == number
    assert derived(("^", 2, var), 0) == ("*", ("n", 2.0), var)
    assert product(("n", 1.0), var) == var
