"""Functions: what families say of values, slopes and second derivatives is what the .nl reader of POUNCE says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds
from helpers.formulas import LEAVES, drawn
from scipy import sparse

from stackpyomo.families import Forms, derived, functions_of, gathered, product, swept
from stackpyomo.families.functions import Functions
from stackpyomo.solvers import Program


@pytest.fixture
def model() -> Any:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(120), initialize=lambda _, i: 0.5 + i / 100)
    m.t = pyo.Var(initialize=0.3)
    m.p = pyo.Param(range(120), initialize=lambda _, i: 1.0 + i, mutable=True)
    return m


RULES: dict[str, Callable[[Any], list[Any]]] = {
    "quadratic": lambda m: [m.p[i] * (m.x[i] - 1) ** 2 + m.t * m.x[i] * m.x[0] for i in range(120)],
    "curved": lambda m: [pyo.exp(m.x[i] * m.t) / (1 + m.x[i]) - m.x[i] ** 1.5 for i in range(120)],
    "one long sum": lambda m: [pyo.quicksum((m.x[i] - m.p[i]) ** 2 * m.t + m.x[i] for i in range(120)) / 7 - m.t],
    "a mean and its squares": lambda m: [m.t - pyo.quicksum(m.x.values()) / 120, m.t**3, *(v**2 for v in m.x.values())],
    "constants beside": lambda m: [m.x[i] + 3.0 * m.p[i] for i in range(120)],
}


def hessian(problem: Any, point: Any, weights: Any) -> Any:
    row, column = problem.hessian_structure()
    low = np.maximum(row, column), np.minimum(row, column)
    return sparse.coo_array((problem.hessian(point, weights, 0.0), low), shape=(problem.n,) * 2).toarray()


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_they_are_what_a_solver_library_reads(model: Any, rule: str) -> None:
    expressions = RULES[rule](model)
    functions = functions_of(expressions)
    assert functions is not None
    model.slack = pyo.Var()
    program = Program(0.0, [e - model.slack == 0.0 for e in expressions])
    random = np.random.default_rng(5)
    place = {id(v): number for number, v in enumerate(program.variables)}
    order = [place[id(v)] for v in functions.variables]
    assert len(order) == len(program.variables) - 1
    for _ in range(3):
        point, weights = random.uniform(0.5, 1.5, functions.n), random.normal(size=functions.m)
        x = np.zeros(len(program.variables))
        x[order] = point
        rows = program.rows
        values = np.asarray(program.problem.constraints(x)) - program.row_bounds[1]
        assert functions.constraints(point)[rows] == pytest.approx(values, rel=1e-12, abs=1e-12)
        slopes = sparse.coo_array((functions.jacobian(point), functions.jacobian_structure())).toarray()[rows]
        assert slopes == pytest.approx(program.jacobian(x).toarray()[:, order], rel=1e-12, abs=1e-12)
        twice = hessian(program.problem, x, weights[rows])
        twice = (twice + np.tril(twice, -1).T)[np.ix_(order, order)]
        assert hessian(functions, point, weights) == pytest.approx(np.tril(twice), rel=1e-11, abs=1e-11)


def test_fixed_vars_are_numbers_and_others_in_the_order_they_are_met(model: Any) -> None:
    model.t.fix()
    functions = functions_of([model.t * model.x[3] + model.x[1]])
    assert functions is not None
    assert [v.name for v in functions.variables] == ["x[3]", "x[1]"]
    assert functions.constraints(np.array([2.0, 5.0])).tolist() == [pytest.approx(5.6)]


def test_what_arrays_cannot_hold_is_left_to_others(model: Any) -> None:
    assert functions_of([abs(model.x[0])]) is None
    assert functions_of([model.x[0] ** model.x[1]]) is None


@pytest.mark.parametrize("power", [1.0, 2.0, 1.5])
def test_powers_that_data_give_have_no_rounding_at_zero(model: Any, power: float) -> None:
    """x¹ and x² have second derivatives 0 and 2 at 0, whatever the formula p (p − 1) x^(p − 2) says there."""
    model.q = pyo.Param(initialize=power, mutable=True)
    functions = functions_of([model.x[0] ** model.q])
    assert functions is not None
    assert functions.takes_roots
    zero = np.zeros(1)
    assert functions.jacobian(zero).tolist() == [1.0 if power == 1.0 else 0.0]
    known = {1.0: 0.0, 2.0: 2.0, 1.5: np.inf}
    assert functions.hessian(zero, np.ones(1)).tolist() == [known[power]]


def test_no_work_grows_as_the_square(model: Any) -> None:
    functions = functions_of([m * model.t for m in model.x.values()])
    assert functions is not None
    assert len(functions.jacobian_structure()[0]) == 240
    assert len(functions.hessian_structure()[0]) == 120


def test_second_derivatives_of_all_functions_are_one_sweep(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for function by function at one point, as for followers who share a leader's variable."""
    functions = functions_of(RULES["quadratic"](model))
    assert functions is not None
    point, weights = np.random.default_rng(2).uniform(0.5, 1.5, (2, functions.n))
    whole = functions.hessian(point, weights[: functions.m])
    monkeypatch.setattr("stackpyomo.families.functions.swept", lambda *_: pytest.fail("swept again"))
    each = [weight * functions.hessian(point, unit) for weight, unit in zip(weights, np.eye(functions.m), strict=False)]
    assert np.sum(each, axis=0) == pytest.approx(whole, abs=1e-12)


def test_a_family_without_rows_adds_nothing(model: Any) -> None:
    """As a follower without any limit has no complementarity."""
    functions = functions_of([model.t * model.x[i] for i in range(3)])
    assert functions is not None
    (family,) = functions.families
    both = Functions([family, family.only(np.zeros(0, dtype=int))], 3, functions.variables)
    point = np.ones(functions.n)
    assert both.hessian(point, np.ones(3)) == pytest.approx(functions.hessian(point, np.ones(3)))


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
