"""Forms: a tree in its affine forms has the same values, and second derivatives Rᵀ ∂²g R."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds
from helpers.formulas import LEAVES, drawn

from stackpyomo.families import Forms, gathered, swept


def held(expression: Any, m: Any) -> tuple[Any, Any, Forms, Any]:
    """(its family, the columns of its slots, its forms, the tree in these)."""
    (family,), _ = gathered([(0, expression, 1.0)], {id(v): i for i, v in enumerate(m.x.values())})
    known = Forms(family.numbers[:, 0].tolist())
    return family, family.columns[:, 0], known, known.rewritten(family.tree)


def square(bend: Any, count: int) -> Any:
    whole = np.zeros((count, count))
    for (a, b), entry in bend.items():
        whole[a, b] = whole[b, a] = float(np.ravel(entry)[0])
    return whole


@pytest.mark.parametrize("seed", seeds(60))
def test_values_and_bends_are_the_same(seed: int) -> None:
    random = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(LEAVES))
    weights = random.uniform(-2.0, 2.0, LEAVES)
    inner = (sum(w * v for w, v in zip(weights, m.x.values(), strict=True)) + 1.0) / 2.0
    family, columns, known, tree = held(drawn(random, m, 3) * pyo.exp(0.1 * inner) - inner * 3.0, m)
    x = random.uniform(0.2, 2.0, LEAVES)[columns]
    rates = np.array([[form.get(slot, 0.0) for slot in range(len(x))] for form in known.forms])
    value, _, bend = swept(family.tree, family.numbers, x[:, None])
    other, _, curved = swept(tree, family.numbers, (rates @ x)[:, None])
    assert np.ravel(other)[0] == pytest.approx(np.ravel(value)[0], rel=1e-10, abs=1e-10)
    whole = rates.T @ square(curved, len(rates)) @ rates
    np.testing.assert_allclose(whole, square(bend, len(x)), rtol=1e-8, atol=1e-8)


def test_forms_are_told_apart_up_to_their_size() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3))
    total = m.x[0] + m.x[1]
    _, _, known, _ = held(total * pyo.exp((3.0 - 2.0 * total) / 4.0) + (m.x[0] - m.x[1]) ** 2 + m.x[2], m)
    assert known.forms == [{0: 1.0, 1: 1.0}, {0: 1.0, 1: -1.0}, {2: 1.0}]


def test_what_is_left_of_a_difference_is_a_number() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(1))
    _, _, known, tree = held((m.x[0] - m.x[0] + 2.0) ** 2, m)
    assert known.forms == []
    assert swept(tree, [], [])[0] == 4.0
