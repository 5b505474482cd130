"""Copies: what stands in a user's place has its bounds, domain and value, and is somebody else's."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest
from pyomo.core.expr.visitor import identify_variables

from stackpyomo.bilevel import add_rows, block_of, copied, substituted
from stackpyomo.solvers import free_row


def user() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 3), initialize=2.0)
    m.n = pyo.Var(domain=pyo.NonNegativeIntegers, initialize=1)
    m.square = pyo.Expression(expr=m.x**2)
    return m


def test_a_copy_has_bounds_domain_and_value_of_its_own() -> None:
    m, holder = user(), pyo.ConcreteModel()
    table = copied(block_of(holder, "own"), [m.x, m.n])
    x, n = table[id(m.x)], table[id(m.n)]
    assert (x.bounds, x.value, x.domain) == ((0, 3), 2.0, pyo.Reals)
    assert (n.bounds, n.value, n.is_integer()) == ((0, None), 1, True)
    x.set_value(0.5)
    x.setub(1.0)
    assert (m.x.value, m.x.ub) == (2.0, 3)
    assert x.model() is holder


def test_an_expression_of_copies_holds_nothing_of_the_users() -> None:
    m, holder = user(), pyo.ConcreteModel()
    table = copied(holder, [m.x, m.n])
    written = substituted(m.square + m.n, table)
    assert {id(v) for v in identify_variables(written)} == {id(v) for v in table.values()}
    assert pyo.value(written) == pytest.approx(5.0)


def test_rows_keep_their_limits_and_equalities_stay_such() -> None:
    m, holder = user(), pyo.ConcreteModel()
    add_rows(holder, [free_row(m.x + m.n, None, 4.0), free_row(m.x, 1.0, 1.0), free_row(m.x - m.n, -1.0, 2.0)])
    assert [(c.lb, c.ub, c.equality) for c in holder.rows.values()] == [
        (None, 4.0, False),
        (1.0, 1.0, True),
        (-1.0, 2.0, False),
    ]
