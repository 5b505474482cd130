"""Reading: equal formulas are one family, whatever their data; what is not understood is named, never guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.core.expr.numeric_expr as nx
import pyomo.environ as pyo
import pytest

from stackpyomo.families import gathered, swept


@pytest.fixture
def model() -> Any:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(40), initialize=lambda _, i: 0.5 + i / 100)
    m.p = pyo.Param(range(40), initialize=lambda _, i: 1.0 + i, mutable=True)
    m.t = pyo.Var(initialize=0.3)
    m.fixed = pyo.Var(initialize=2.0)
    m.fixed.fix()
    m.e = pyo.Expression(range(40), rule=lambda m, i: m.x[i] ** 2 + m.p[i])
    return m


def columns(m: Any) -> dict[int, int]:
    return {id(v): i for i, v in enumerate([*m.x.values(), m.t])}


def values(m: Any) -> Any:
    return np.array([pyo.value(v) for v in [*m.x.values(), m.t]])


RULES = {
    "Params": lambda m, i: m.p[i] * (m.x[i] - 1) ** 2 + m.t * m.x[i],
    "numbers": lambda m, i: (2.0 + i) * m.x[i] / (3.0 + i) - 4 * m.t,
    "formulas of Params": lambda m, i: (m.p[i] ** 2 / 7) * m.x[i],
    "named Expressions": lambda m, i: m.e[i] * m.t + m.e[i],
    "fixed Vars": lambda m, i: m.fixed * m.x[i] + m.x[i] ** m.fixed,
    "exponents": lambda m, i: m.x[i] ** (1.55 + i / 10) + m.t**3,
    "functions": lambda m, i: pyo.exp(-m.x[i]) + pyo.log(m.x[i]) * pyo.sqrt(m.t) + pyo.sin(m.t) - pyo.tanh(m.x[i]),
    "linear sums": lambda m, i: nx.LinearExpression([3.0, nx.MonomialTermExpression((2.0 + i, m.x[i])), m.t]),
}


@pytest.mark.parametrize("name", RULES)
def test_one_rule_is_one_family(model: Any, name: str) -> None:
    """Values against Pyomo's own."""
    m = model
    expressions = [RULES[name](m, i) for i in range(40)]
    families, unread = gathered([(i, e, -2.0) for i, e in enumerate(expressions)], columns(m))
    assert not unread
    assert len(families) == 1
    (family,) = families
    value, _, _ = swept(family.tree, family.numbers, values(m)[family.columns])
    for row, factor, number in zip(family.rows, family.factors, np.broadcast_to(value, 40), strict=True):
        assert factor * number == pytest.approx(-2.0 * pyo.value(expressions[row]), rel=1e-13)


def test_the_same_variable_twice_is_another_family(model: Any) -> None:
    m = model
    items = [(0, m.x[0] * m.x[1], 1.0), (1, m.x[2] * m.x[2], 1.0), (2, m.x[3] * m.x[4], 1.0)]
    families, _ = gathered(items, columns(m))
    assert sorted(sorted(f.rows.tolist()) for f in families) == [[0, 2], [1]]


def test_many_trees_are_read_by_their_terms(model: Any) -> None:
    """Zeros in data drop terms: 2^6 trees, and a few kinds of terms."""
    m = model
    random = np.random.default_rng(0)
    expressions = []
    for _ in range(400):
        kept = random.random(8) < 0.5
        parts = [2.5 * m.x[j] ** 2 if j % 2 else m.x[j] * m.t for j in range(8) if kept[j]]
        expressions.append(sum(parts, 1.0 * m.t))
    families, unread = gathered([(i, e, 1.0) for i, e in enumerate(expressions)], columns(m))
    assert not unread
    assert len(families) < 10
    total = np.zeros(400)
    for family in families:
        value, _, _ = swept(family.tree, family.numbers, values(m)[family.columns])
        np.add.at(total, family.rows, family.factors * value)
    assert total == pytest.approx([pyo.value(e) for e in expressions], rel=1e-12)


def test_numbers_params_and_fixed_vars_in_one_place_are_one_family(model: Any) -> None:
    m = model
    expressions = [2.5 * m.x[0], m.p[1] * m.x[1], m.fixed * m.x[2], (m.p[3] + 1) * m.x[3], m.e[4]]
    families, unread = gathered([(i, e, 1.0) for i, e in enumerate(expressions)], columns(m))
    assert not unread
    assert sorted(f.rows.tolist() for f in families) == [[0, 1, 2, 3], [4]]
    (family,) = (f for f in families if len(f.rows) == 4)
    assert family.numbers.tolist() == [[2.5, 2.0, 2.0, 5.0]]


def nested(m: Any) -> Any:
    expression = m.x[0]
    for _ in range(250):
        expression = pyo.sin(expression)
    return expression


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (nested, "too deep"),
        (lambda m: abs(m.x[0]), "AbsExpression"),
        (lambda m: nx.MaxExpression([m.x[0], m.t]), "MaxExpression"),
        (lambda m: m.x[0] ** m.t, "decided"),
        (lambda m: pyo.tan(m.x[0]), "tan"),
        (lambda m: m.x[0] * float("inf"), "inf"),
        (lambda m: m.x[0] * m.stranger, "not of this game"),
        (lambda m: pyo.exp(pyo.quicksum(m.x[i % 40] ** 2 for i in range(2100))), "too long"),
    ],
)
def test_what_is_not_understood_is_named(model: Any, make: Any, why: str) -> None:
    m = model
    m.stranger = pyo.Var(initialize=1.0)
    families, unread = gathered([(0, m.x[0] ** 2, 1.0), (1, make(m), 1.0)], columns(m))
    assert list(unread) == [1]
    assert why in unread[1]
    assert [f.rows.tolist() for f in families if len(f.rows)] == [[0]], "the others are read"


def test_a_part_that_is_not_understood_takes_its_whole_along(model: Any) -> None:
    """Read by terms, a row with an unknown term is in no family at all."""
    m = model
    odd = [(i, sum((m.x[j] ** 2 for j in range(i % 32)), m.t) + 0.0, 1.0) for i in range(64)]
    families, unread = gathered([*odd, (64, m.t + abs(m.x[0]), 1.0)], columns(m))
    assert set(unread) == {64}
    assert all(64 not in family.rows for family in families)
