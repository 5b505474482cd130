"""Rows that a cost stands in for the units of improbable decisions, against the cost written without probabilities."""

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy import sparse

import stackpyomo as sp
from stackpyomo.derivatives import FollowerRows
from stackpyomo.derivatives.conditional_rows import ConditionalRows


@pytest.mark.parametrize("probability", [1e-17, 1e-30, 1e-300])
def test_the_unit_of_a_decision_is_that_given_its_atom(probability: float) -> None:
    """An action as often and as never taken, coupled to another and held by a curved row: alike reaches."""
    seen = sp.Scenarios({"y": ["often", "never"]}, [1.0 - probability, probability])
    m = pyo.ConcreteModel()
    m.t, m.f = pyo.Var(seen.atoms("y"), initialize=0.1), pyo.Block()
    m.f.u, m.f.v = (pyo.Var(seen.atoms("y"), initialize=level) for level in (0.3, 0.2))
    m.f.row = pyo.Constraint(seen.atoms("y"), rule=lambda b, a: b.u[a] ** 2 + b.v[a] <= 5)
    place = {w: seen.atom("y", w) for w in seen}

    def given(w: int) -> object:
        u, v, t = m.f.u[place[w]], m.f.v[place[w]], m.t[place[w]]
        return (u - 1) ** 2 + u * v + (v - 1) ** 4 + t * u

    m.f.cost = pyo.Objective(expr=seen.expectation(given))
    m.goal = pyo.Objective(expr=0.0)
    game = sp.Game(m, m.f)
    rows = FollowerRows(game)
    units = rows.natural_units(game.current_values())
    reaches = {v.name: units.reaches[i] for i, v in enumerate(rows.variables)}
    for name in ("t", "f.u", "f.v"):
        assert reaches[f"{name}[never]"] == pytest.approx(reaches[f"{name}[often]"], rel=1e-9)
    slopes = {v.name: units.slopes[0, i] for i, v in enumerate(rows.variables)}
    assert slopes["f.u[never]"] == pytest.approx(probability * slopes["f.u[often]"], rel=1e-9)


def test_rows_taken_apart_are_put_together() -> None:
    """Two costs and a row; the last column is improbable, and counts in the row as it did."""
    matrix = sparse.csr_array(np.array([[1.0, 2e-20], [0.0, 3e-20], [4.0, 5.0]]))
    rows = ConditionalRows(np.array([1.0, 1e-20]), 2)
    apart = rows.apart(matrix)
    np.testing.assert_allclose(apart.toarray(), [[1.0, 0.0], [0.0, 0.0], [4.0, 5.0], [0.0, 2.0], [0.0, 3.0]])
    np.testing.assert_allclose(rows.together(apart).toarray(), matrix.toarray())
