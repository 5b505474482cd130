"""Curvature proofs against oracles that know nothing of them: chords, finite differences, eigenvalues."""

from __future__ import annotations

import math
import operator
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.core.expr import numeric_expr as nodes

from stackpyomo.core.expressions import Curvature, curvature, is_convex_feasible_set
from stackpyomo.core.expressions.convexity import Proof
from stackpyomo.errors import InvalidGame

CONSTANT, AFFINE, CONVEX = Curvature.CONSTANT, Curvature.AFFINE, Curvature.CONVEX
CONCAVE, NONCONVEX, UNKNOWN = Curvature.CONCAVE, Curvature.NONCONVEX, Curvature.UNKNOWN
BOUNDS = {
    "x": (None, None), "y": (None, None), "a": (None, None), "b": (None, None),
    "u": (0, None), "v": (0.5, 3), "w": (0, 4), "n": (-2, 0), "s": (-1, 1),
}  # fmt: skip
SAMPLED = {"x": (-3, 3), "y": (-3, 3), "a": (-3, 3), "b": (-3, 3), "u": (0, 4)}
PARAMETERS = {"p": (0, 2), "r": (-1, 1)}  # Vars that are not asked about
BOX = {**BOUNDS, **SAMPLED, **PARAMETERS}


class World:
    """The same names as Pyomo Vars or as floats, the same functions from Pyomo or from ``math``."""

    def __init__(self, leaves: dict[str, Any], functions: Any, maximum: Any, minimum: Any) -> None:
        self.__dict__.update(leaves)
        for name in ("exp", "log", "log10", "sqrt", "sin", "cos", "cosh", "sinh", "tanh"):
            setattr(self, name, getattr(functions, name))
        self.max, self.min = maximum, minimum


def model() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    for name, bounds in {**BOUNDS, **PARAMETERS}.items():
        m.add_component(name, pyo.Var(bounds=bounds))
    return m


def symbols(m: pyo.ConcreteModel) -> World:
    leaves = {name: m.component(name) for name in BOX}
    return World(leaves, pyo, lambda *f: nodes.MaxExpression(f), lambda *f: nodes.MinExpression(f))


def numbers(point: dict[str, float]) -> World:
    return World(point, math, max, min)


def prove(f: Callable[[World], Any]) -> Proof:
    """The curvature of f in everything but ``PARAMETERS``."""
    m = model()
    return curvature(f(symbols(m)), [m.component(name) for name in BOUNDS])


def evaluate(f: Callable[[World], Any], point: dict[str, float]) -> float | None:
    """f at a point; None outside its natural domain or where the rounding would drown the test."""
    try:
        y = f(numbers(point))
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    return None if isinstance(y, complex) or not abs(y) < 1e5 else float(y)


def sample(rng: random.Random) -> dict[str, float]:
    return {k: rng.choice([lo, hi, *(rng.uniform(lo, hi) for _ in range(4))]) for k, (lo, hi) in BOX.items()}


def chords(f: Callable[[World], Any], trials: int, seed: int) -> list[tuple[float, float, float | None]]:
    """(f(x), f(y), f(z) minus the chord) at random z between random x and y, the parameters shared by the three.

    None instead of a number: z left the natural domain that x and y are in.
    """
    rng, found = random.Random(seed), []
    for _ in range(trials):
        x, y = sample(rng), sample(rng)
        if rng.random() < 0.5:
            moved = rng.choice(list(BOUNDS))
            y = {**x, moved: y[moved]}
        y |= {k: x[k] for k in PARAMETERS}
        reach, t = rng.choice([1.0, 1.0, 0.1]), rng.choice([0.5, rng.random()])
        y = {k: x[k] + reach * (y[k] - x[k]) for k in x}
        z = {k: t * x[k] + (1 - t) * y[k] for k in x} | {k: x[k] for k in PARAMETERS}
        fx, fy = evaluate(f, x), evaluate(f, y)
        if fx is not None and fy is not None:
            fz = evaluate(f, z)
            found.append((fx, fy, None if fz is None else fz - t * fx - (1 - t) * fy))
    return found


def refuted(f: Callable[[World], Any], claim: Curvature, trials: int = 300, seed: int = 0) -> bool:
    """Whether a chord contradicts the claim (the domain must be convex too)."""
    for fx, fy, excess in chords(f, trials, seed):
        slack = 1e-7 * (1 + abs(fx) + abs(fy))
        if excess is None:
            return claim in (AFFINE, CONVEX, CONCAVE)
        if claim is CONSTANT and abs(fx - fy) > slack:
            return True
        if claim in (AFFINE, CONVEX) and excess > slack:
            return True
        if claim in (AFFINE, CONCAVE) and excess < -slack:
            return True
    return False


# --- a table of expressions ---------------------------------------------------------------------------------------

TABLE: list[tuple[Curvature, Callable[[World], Any]]] = [
    (CONVEX, lambda m: m.exp(m.x - m.y) + (m.x + m.y) ** 2 / 2),
    (CONVEX, lambda m: m.log(m.exp(m.a) + m.exp(m.b + m.x) + m.exp(m.y - m.x))),
    (CONVEX, lambda m: (m.y + 1) ** 2 / 2 + 2 * m.log(m.exp(m.x) + 1)),
    (CONVEX, lambda m: (m.x - m.y) ** 2 + (m.y - 1.5) ** 4),
    (CONVEX, lambda m: m.sqrt(m.b**2 + 1) + m.exp(m.a / 2 - m.b / 2) + (m.x - m.y) ** 2),
    (CONVEX, lambda m: m.u**3),
    (CONCAVE, lambda m: m.n**3),
    (CONVEX, lambda m: 1 / m.u),
    (CONCAVE, lambda m: 1 / m.n),
    (CONVEX, lambda m: m.n**-2),
    (CONVEX, lambda m: 2 / (5 - m.w) - m.x),
    (CONVEX, lambda m: abs(m.x - 2 * m.y)),
    (CONVEX, lambda m: m.x * m.log(m.x)),
    (CONVEX, lambda m: 3 * m.x * m.log(2 * m.x)),
    (CONVEX, lambda m: (m.x + m.y) * m.log((m.x + m.y) / 3 + 1)),
    (CONCAVE, lambda m: -m.x * m.log(m.x)),
    (CONCAVE, lambda m: m.u * (m.u + 3) ** (-1 / 1.1)),
    (CONVEX, lambda m: m.u**2 - 5 * m.u * (2 * m.u + 7.5) ** -0.25),
    (CONVEX, lambda m: m.v * (m.v - 0.5) ** -2),
    (CONCAVE, lambda m: m.x * m.log10(1 - m.x)),
    (CONVEX, lambda m: 2**m.x),
    (CONVEX, lambda m: 0.5 ** m.log(m.x)),
    (CONVEX, lambda m: m.x**1.5 + m.y),
    (CONVEX, lambda m: (m.x**2 + 1) ** 1.5),
    (CONCAVE, lambda m: m.x**0.5),
    (CONVEX, lambda m: m.x**-0.5),
    (CONCAVE, lambda m: m.sqrt(1 - m.x**2) + m.log(m.y)),
    (CONVEX, lambda m: -m.log(1 - m.x**2 - m.exp(m.y))),
    (CONVEX, lambda m: (m.x**4 + (m.y - m.a) ** 4 + 2) ** 0.25),
    (CONVEX, lambda m: m.sqrt((m.x - 1) ** 2 + (m.y + 2) ** 2)),
    (CONVEX, lambda m: (m.x**2 + 1) ** 2),
    (CONVEX, lambda m: (m.exp(m.x) + m.x**2) ** 2),
    (CONVEX, lambda m: (lambda f: f * f)(m.exp(m.x) + m.x**2)),
    (CONVEX, lambda m: m.x**2 / m.v + m.y),
    (CONVEX, lambda m: (m.x**2 + m.y**2) / (1 + m.u)),
    (CONVEX, lambda m: m.x**2 / m.sqrt(m.u)),
    (CONVEX, lambda m: m.exp(m.x) * m.exp(m.y**2) / m.u),
    (CONVEX, lambda m: m.w * (1 + 0.15 * (m.w / 3) ** 4)),  # the total cost of a congested road
    (CONVEX, lambda m: m.v / (20 - m.v)),  # the delay of a queue
    (CONVEX, lambda m: m.u * m.exp(m.u)),
    (CONCAVE, lambda m: m.sqrt(m.w) * (5 - m.w)),
    (CONVEX, lambda m: m.max(m.x**2, m.y, 1)),
    (CONCAVE, lambda m: m.min(m.x, -m.exp(m.y))),
    (CONVEX, lambda m: (m.x * m.y + m.exp(m.x)) + m.x**2 + m.y**2),
    (CONVEX, lambda m: 2 * (m.exp(m.x) - m.x * m.y) / 4 - (-(m.x**2) - m.y * m.y)),
    (CONVEX, lambda m: m.cosh(m.x - m.y) + m.sinh(m.u) - m.tanh(m.u)),
    (CONCAVE, lambda m: m.cos(m.s) + m.sin(m.v)),
    (CONVEX, lambda m: m.sin(m.n)),
    (CONVEX, lambda m: (m.x + m.y) * (m.x + m.y) - m.x),
    (CONVEX, lambda m: m.x * m.x + m.y * m.y - 2 * m.x * m.y),
    (AFFINE, lambda m: m.x * m.y - m.y * m.x + m.x),
    (AFFINE, lambda m: 2 * m.x - m.y / 4 + 1),
    (CONSTANT, lambda m: m.x - m.x + 3),
    (NONCONVEX, lambda m: m.x * m.y),
    (NONCONVEX, lambda m: m.x**2 - m.y**2),
    (NONCONVEX, lambda m: m.x**2 - 1e-10 * m.y**2),
    (NONCONVEX, lambda m: 1e3 * m.x**2 + m.x * m.y + m.v**2),
    # parameters: p ≥ 0, r of any sign
    (CONSTANT, lambda m: m.p**2 * m.exp(m.r)),
    (AFFINE, lambda m: m.r * m.x + m.p * m.y),
    (AFFINE, lambda m: m.r**3 * m.x),
    (CONVEX, lambda m: m.p * m.x**2),
    (CONCAVE, lambda m: -m.p * m.exp(m.r * m.x)),
    (CONVEX, lambda m: (m.r * m.x - m.y) ** 2),
    (CONVEX, lambda m: (m.x - m.r) ** 2 + m.r * m.x * m.p),
    (CONVEX, lambda m: m.p * (m.x**2 + m.x * m.y + m.y**2)),
    (CONVEX, lambda m: m.x**2 / (1 + m.p)),
    (CONVEX, lambda m: (2 + m.r) ** m.x),
    (CONVEX, lambda m: m.x * m.y + m.x**2 + m.y**2 + m.p * m.x**4),
]
UNPROVED: list[Callable[[World], Any]] = [  # neither convex nor concave: each has chords on both sides
    lambda m: m.x**3,
    lambda m: 1 / m.x,
    lambda m: m.exp(m.x) - m.x**2,
    lambda m: (m.x**2 - 1) ** 2,
    lambda m: m.x**4 - 2 * m.x**2 + 1,
    lambda m: (m.x**2 - 1) ** 1.5,
    lambda m: m.x / m.v,
    lambda m: m.w / m.v,
    lambda m: abs(m.x) ** 1.5 / m.v,
    lambda m: m.sqrt(m.x**2 / m.v),
    lambda m: (m.x**4 / m.v) ** 0.3,
    lambda m: m.sqrt(m.x**4 + m.x**2 * m.y**2 + abs(m.x)),
    lambda m: m.log(m.x**2 + 1),
    lambda m: m.log(m.exp(m.x) + m.x**2),
    lambda m: (m.x + 2) * m.log((m.x + 1) / 2),
    lambda m: (m.x + 2) * m.log(m.x),
    lambda m: m.u * (m.u + 0.2) ** -1.5,
    lambda m: (m.u + 0.6) * (m.u + 0.5) ** -0.9,
    lambda m: m.u * m.exp(-m.u),
    lambda m: m.u * (m.v + m.exp(-m.u)) + m.u**0.5,
    lambda m: m.w * m.exp(m.v),
    lambda m: m.exp(-(m.x**2)),
    lambda m: m.tanh(m.x) + m.sinh(m.y),
    lambda m: m.sin(m.w) + m.x,
    lambda m: m.cosh(m.x**2 - 3),
    lambda m: 1 / (1 + m.exp(-m.x)),
    lambda m: m.max(m.x**2 - 4, -(m.y**2)),
    lambda m: m.r * m.x**2,
    lambda m: m.r * m.x**2 + m.p * m.exp(m.y),
    lambda m: m.p * m.x * m.y**2,
    lambda m: m.x**2 * (m.y**2),
    lambda m: m.u * (m.u + 3 * (m.u - 3) ** 2),
    lambda m: m.x**m.p + m.x**-1,
    lambda m: m.x * m.y * m.u,
    lambda m: m.x * m.y + m.exp(m.x) + m.y,
]


@pytest.mark.parametrize(("expected", "f"), TABLE)
def test_known_curvature(expected: Curvature, f: Callable[[World], Any]) -> None:
    assert prove(f).curvature is expected
    assert not refuted(f, expected, trials=1000)
    if expected in (CONVEX, CONCAVE, NONCONVEX):  # the table itself is tested: nothing in it is flat
        assert refuted(f, AFFINE, trials=1000)


@pytest.mark.parametrize("f", UNPROVED)
def test_nothing_is_proved_of_what_is_neither_convex_nor_concave(f: Callable[[World], Any]) -> None:
    assert prove(f) == Proof(UNKNOWN, "none")
    assert refuted(f, CONVEX, trials=3000)
    assert refuted(f, CONCAVE, trials=3000)


def test_method_is_reported() -> None:
    assert prove(lambda m: m.x + 1).method == "affine"
    assert prove(lambda m: m.x * m.y).method == "constant Hessian"
    assert prove(lambda m: m.x**2 + m.r * m.x).method == "constant Hessian"
    assert prove(lambda m: m.x**2 + m.exp(m.x)).method == "structure"
    assert Curvature("convex") is CONVEX
    assert all(member == member.value for member in Curvature)


# --- random expressions -------------------------------------------------------------------------------------------

NAMES = st.sampled_from([*BOX, "x", "u"])
LINEAR = st.lists(st.tuples(st.sampled_from([1, 2, -1, 0.5, -0.3]), NAMES), min_size=1, max_size=3)
UNARY = ["exp", "log", "log10", "sqrt", "sin", "cos", "cosh", "sinh", "tanh", "abs", "neg", "square", "inverse"]
POWERS = [2, 3, 4, -1, -2, -3, 0.5, 1.5, -0.5, 0.25, 2.5]
BINARY = ["add", "add", "sub", "mul", "mul", "truediv", "max", "min", "twice", "entropy"]


def extend(trees: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.tuples(st.sampled_from(UNARY), trees),
        st.tuples(st.just("power"), trees, st.sampled_from(POWERS)),
        st.tuples(st.sampled_from(BINARY), trees, trees),
    )


LEAVES = st.one_of(NAMES, st.sampled_from([1.0, 2.0, -1.0, 0.5]), st.tuples(st.just("line"), LINEAR))
TREES = st.recursive(LEAVES, extend, max_leaves=5)


def grow(tree: Any, m: World) -> Any:
    """The tree in Pyomo or in floats; the operations are Python's own."""
    if isinstance(tree, (str, float)):
        return tree if isinstance(tree, float) else getattr(m, tree)
    kind, parts = tree[0], tree[1:]
    if kind == "line":
        return sum(c * getattr(m, name) for c, name in parts[0])
    args = [grow(part, m) for part in parts] if kind != "power" else [grow(parts[0], m), parts[1]]
    special: dict[str, Callable[..., Any]] = {
        "abs": abs,
        "neg": operator.neg,
        "square": lambda f: f**2,
        "inverse": lambda f: 1 / f,
        "power": operator.pow,
        "twice": lambda f, g: f * f + g,
        "entropy": lambda f, g: f * m.log(f) + g,
    }
    rule = special.get(kind) or getattr(m, kind, None) or getattr(operator, kind)
    grown = rule(*args)
    if isinstance(grown, complex) or grown is NotImplemented:
        raise ValueError("not real")
    return grown


@pytest.mark.slow
@settings(max_examples=drawn(1500), deadline=None, derandomize=True)
@given(tree=TREES, seed=st.integers(0, 10**6))
def test_no_random_expression_refutes_its_proof(tree: Any, seed: int) -> None:
    try:
        claim = prove(lambda m: grow(tree, m)).curvature
    except (ValueError, ArithmeticError):  # Python's own, from constants outside the domain
        return
    assert claim in (UNKNOWN, NONCONVEX) or not refuted(lambda m: grow(tree, m), claim, 60, seed)


def second_differences(f: Callable[[np.ndarray], float], size: int, rng: np.random.Generator) -> np.ndarray:
    """The Hessian of a quadratic by differences of step 1, exact but for rounding, at a random point."""
    x, step = rng.normal(size=size), np.eye(size)
    return np.array(
        [[f(x + step[i] + step[j]) - f(x + step[i]) - f(x + step[j]) + f(x) for j in range(size)] for i in range(size)]
    )


@settings(max_examples=drawn(300), deadline=None, derandomize=True)
@given(size=st.integers(1, 6), squares=st.lists(st.booleans(), min_size=4, max_size=4), seed=st.integers(0, 10**6))
def test_quadratics_agree_with_their_eigenvalues(size: int, squares: list[bool], seed: int) -> None:
    """Sums of c·(affine)² and c·affine·affine; the last two variables are parameters, c is a mutable Param."""
    rng = np.random.default_rng(seed)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(size + 2))
    m.c = pyo.Param(range(4), initialize=lambda _, k: float(rng.integers(-1, 4)), mutable=True)
    rows = rng.integers(-2, 3, size=(4, 2, size + 2)) * (rng.random((4, 2, size + 2)) < 0.5)

    def f(x: Any, c: Any) -> Any:
        lines = [[sum(float(a) * x[i] for i, a in enumerate(row)) + 1.0 for row in pair] for pair in rows]
        return sum(c[k] * g * (g if squares[k] else h) for k, (g, h) in enumerate(lines))

    values = {k: pyo.value(m.c[k]) for k in range(4)}
    hessian = second_differences(lambda x: f([*x, 0.3, -0.7], values), size, rng)
    low, high = np.linalg.eigvalsh(hessian)[[0, -1]]
    flat, expr = max(abs(low), abs(high)) < 1e-9, f(m.x, m.c)
    found = curvature(expr, [m.x[i] for i in range(size)]).curvature
    if flat:
        assert found in (CONSTANT, AFFINE)
    elif low > -1e-8 or high < 1e-8:
        assert found is (CONVEX if low > -1e-8 else CONCAVE)
    else:
        assert found is NONCONVEX


@settings(max_examples=drawn(60), deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 8), margin=st.sampled_from([-0.1, 0.0, 0.1]))
def test_scaling_the_variables_does_not_change_the_verdict(seed: int, size: int, margin: float) -> None:
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    hessian = basis @ np.diag([margin, *rng.uniform(0.5, 2, size - 1)]) @ basis.T
    scale = 10.0 ** rng.uniform(-2, 2, size)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(size))
    expr = sum(hessian[i, j] * scale[i] * scale[j] * m.x[i] * m.x[j] for i in range(size) for j in range(size))
    assert curvature(expr).curvature is (CONVEX if margin >= 0 else NONCONVEX)


# --- variables, parameters, bounds --------------------------------------------------------------------------------


@pytest.fixture
def m() -> pyo.ConcreteModel:
    return model()


def test_a_toll_is_a_parameter(m: pyo.ConcreteModel) -> None:
    cost = (m.x - 1) ** 2 + m.r * m.x
    assert curvature(cost, [m.x]).curvature is CONVEX
    assert curvature(cost).curvature is NONCONVEX
    assert curvature(m.r * m.x, [m.x]) == Proof(AFFINE, "affine")
    assert curvature(m.r**2, [m.x]) == Proof(CONSTANT, "affine")


def test_values_of_parameters_are_never_read(m: pyo.ConcreteModel) -> None:
    m.p.value, m.r.value, m.x.value = 1.0, 1.0, 2.0
    assert curvature(m.r * m.x**2, [m.x]).curvature is UNKNOWN
    assert curvature(m.x**m.p, [m.x]).curvature is UNKNOWN
    assert curvature(m.r**m.x, [m.x]).curvature is UNKNOWN
    assert m.x.value == 2.0


def test_fixed_variables_and_mutable_params_count_by_value(m: pyo.ConcreteModel) -> None:
    m.k = pyo.Param(initialize=2.0, mutable=True)
    m.r.fix(0.5)
    expr = m.k * m.x**2 + m.r * pyo.exp(m.x)
    assert curvature(expr, [m.x]).curvature is CONVEX
    m.k.set_value(-2.0)
    assert curvature(expr, [m.x]).curvature is UNKNOWN
    m.r.fix(-0.5)
    assert curvature(expr, [m.x]).curvature is CONCAVE
    m.r.unfix()
    assert curvature(expr, [m.x]).curvature is UNKNOWN
    m.y.fix(3.0)
    assert curvature(m.x**m.y * m.u, [m.u, m.y]).curvature is AFFINE
    assert curvature(m.x * m.y).curvature is AFFINE


@pytest.mark.parametrize("undefined", ["fixed", "param", "log", "zero"])
def test_data_without_a_value_proves_nothing(m: pyo.ConcreteModel, undefined: str) -> None:
    m.k = pyo.Param(mutable=True)
    m.l = pyo.Param(initialize=-1.0, mutable=True)
    m.r.fixed = True
    m.s.fix(0.0)
    data = {"fixed": m.r, "param": m.k, "log": pyo.log(m.l), "zero": 1 / m.s}[undefined]
    for expr in (data * m.x, data + m.x**2, data * pyo.exp(m.x), pyo.exp(m.x) + data):
        assert curvature(expr, [m.x]) == Proof(UNKNOWN, "none")


def test_bounds_decide_and_can_be_overridden(m: pyo.ConcreteModel) -> None:
    assert curvature(m.x**3).curvature is UNKNOWN
    assert curvature(m.x**3, bounds=pyo.ComponentMap([(m.x, (0, None))])).curvature is CONVEX
    assert curvature(m.x**3, bounds=[(m.x, (None, 0))]).curvature is CONCAVE
    assert curvature(m.u**3, bounds=[(m.u, (-1, 1))]).curvature is UNKNOWN
    assert curvature(m.r * m.x**2, [m.x], bounds=[(m.r, (-3, -1))]).curvature is CONCAVE
    m.x.setlb(0)
    assert curvature(m.x**3).curvature is CONVEX
    m.z = pyo.Var(domain=pyo.NonNegativeReals)
    assert curvature(m.z**3).curvature is CONVEX


def test_a_flat_box_is_no_proof_of_nonconvexity(m: pyo.ConcreteModel) -> None:
    m.y.setlb(1)
    m.y.setub(1)
    assert curvature(m.x * m.y).curvature is UNKNOWN


def test_named_expressions_and_objectives_are_transparent(m: pyo.ConcreteModel) -> None:
    m.gap = pyo.Expression(expr=m.x - m.y)
    m.log = pyo.Expression(expr=-(m.x**3))
    m.cost = pyo.Objective(expr=m.gap**2 + m.gap**4)
    assert curvature(m.gap).curvature is AFFINE
    assert curvature(m.cost) == Proof(CONVEX, "structure")
    assert curvature(pyo.sqrt(m.gap**2 + 1)).curvature is CONVEX
    assert curvature(m.x * m.log).curvature is UNKNOWN
    m.gap.set_value(m.x * m.y)
    assert curvature(m.gap).curvature is NONCONVEX
    assert curvature(m.gap + pyo.exp(m.x)).curvature is UNKNOWN


def test_conditional_and_external_expressions_prove_nothing(m: pyo.ConcreteModel) -> None:
    assert curvature(pyo.Expr_if(m.x >= 0, m.x**2, m.x)).curvature is UNKNOWN
    assert curvature(m.y + pyo.Expr_if(m.x >= 0, pyo.exp(m.x), m.x**2)).curvature is UNKNOWN
    assert curvature(pyo.ceil(m.x) + m.x).curvature is UNKNOWN
    assert curvature(pyo.atan(m.x)).curvature is UNKNOWN


def test_numbers_are_constant() -> None:
    assert curvature(3.0).curvature is CONSTANT
    assert curvature(2).curvature is CONSTANT


def test_arguments_that_mean_nothing_are_refused(m: pyo.ConcreteModel) -> None:
    m.z = pyo.Var(range(2))
    m.c = pyo.Constraint(expr=m.x <= 1)
    for bad in ("x", None, m.c, m.x <= 1):
        with pytest.raises(InvalidGame):
            curvature(bad)
    for variables in ([m.z], ["x"], [m.c], [1.0]):
        with pytest.raises(InvalidGame, match="not a single Var"):
            curvature(m.x, variables)
    with pytest.raises(InvalidGame):
        is_convex_feasible_set(m.x**2)


# --- the numerical traps ------------------------------------------------------------------------------------------


def test_noise_is_neither_convex_nor_nonconvex(m: pyo.ConcreteModel) -> None:
    assert curvature(m.x**2 + (0.1 + 0.2 - 0.3) * m.x * m.y).curvature is UNKNOWN
    assert curvature((m.x - m.y / 3) ** 2 + (m.y / 3 - m.a / 7) ** 2).curvature is CONVEX


def test_a_weak_coupling_to_an_empty_diagonal_is_nonconvex(m: pyo.ConcreteModel) -> None:
    """λ_min is −1e-6 beside a largest entry of 1e6: within a naive tolerance, yet unbounded below."""
    assert curvature(5e5 * m.x**2 + m.x * m.y).curvature is NONCONVEX


def test_tolerance(m: pyo.ConcreteModel) -> None:
    nearly = m.x**2 + m.y**2 - (2 + 2e-6) * m.x * m.y
    assert curvature(nearly).curvature is NONCONVEX
    assert curvature(nearly, tolerance=1e-5).curvature is CONVEX


@pytest.mark.slow
def test_large_quadratics() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(6000))
    pairs = sum((m.x[2 * i] - 2 * m.x[2 * i + 1]) ** 2 for i in range(1500))
    assert curvature(pairs) == Proof(CONVEX, "constant Hessian")
    triples = sum((m.x[3 * i] + m.x[3 * i + 1] - 2 * m.x[3 * i + 2]) ** 2 for i in range(300))
    assert curvature(triples) == Proof(CONVEX, "constant Hessian")
    assert curvature(triples - 3 * m.x[7] * m.x[8]).curvature is NONCONVEX
    chain = sum((m.x[i] - m.x[i + 1]) ** 2 for i in range(3000))
    assert curvature(chain) == Proof(CONVEX, "structure")  # one block, too large for its eigenvalues
    dominant = sum(2 * m.x[i] ** 2 - m.x[i] * m.x[i + 1] for i in range(3000)) + m.x[3000] ** 2
    assert curvature(dominant) == Proof(CONVEX, "constant Hessian")
    expanded = sum(m.x[i] ** 2 - 2 * m.x[i] * m.x[i + 1] + m.x[i + 1] ** 2 for i in range(3000))
    assert curvature(expanded) == Proof(UNKNOWN, "none")


def test_one_entry_of_a_large_variable_costs_no_more_than_a_small_one() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(100_000))
    expr = m.x[3] ** 2 - m.x[3] * m.x[4]
    tracemalloc.start()
    curvature(expr, [m.x[3]])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100_000 * 8, "not one number for every index"


def test_deep_trees_do_not_overflow_the_stack(m: pyo.ConcreteModel) -> None:
    expr = m.x
    for _ in range(3000):
        expr = pyo.sqrt(expr**2 + 1)
    assert curvature(expr).curvature in (CONVEX, UNKNOWN)


# --- feasible sets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "lower", "upper", "expected"),
    [
        (lambda m: m.x**2 + m.y**2, None, 1, CONVEX),
        (lambda m: m.x**2 + m.y**2, 1, None, UNKNOWN),
        (lambda m: m.x**2 + m.y**2, 1, 1, UNKNOWN),
        (lambda m: m.x**2 + m.y**2, 0, 1, UNKNOWN),
        (lambda m: m.log(m.x) - m.y, 0, None, CONVEX),
        (lambda m: m.log(m.x) - m.y, None, 0, UNKNOWN),
        (lambda m: m.x - m.r * m.y, 0, 1, CONVEX),
        (lambda m: m.x - m.r * m.y, 1, 1, CONVEX),
        (lambda m: m.r + m.p, 1, 1, CONVEX),
        (lambda m: m.x * m.y, None, 1, UNKNOWN),
        (lambda m: m.u * m.v, 1, None, UNKNOWN),
    ],
)
def test_feasible_sets(m: pyo.ConcreteModel, body: Any, lower: Any, upper: Any, expected: Curvature) -> None:
    m.c = pyo.Constraint(expr=(lower, body(symbols(m)), upper))
    variables = [m.component(name) for name in BOUNDS]
    assert is_convex_feasible_set(m.c, variables).curvature is expected


def test_both_sides_of_a_constraint_count(m: pyo.ConcreteModel) -> None:
    m.k = pyo.Param(initialize=1.0, mutable=True)
    m.below = pyo.Constraint(expr=pyo.exp(m.x) <= m.y)
    m.above = pyo.Constraint(expr=m.y >= m.x**2 - m.k)
    m.wrong = pyo.Constraint(expr=m.y <= m.x**2)
    m.given = pyo.Constraint(expr=m.x**2 <= m.r)
    m.equal = pyo.Constraint(expr=m.y == 2 * m.x)
    assert is_convex_feasible_set(m.below) == Proof(CONVEX, "structure")
    assert is_convex_feasible_set(m.above) == Proof(CONVEX, "constant Hessian")
    assert is_convex_feasible_set(m.wrong) == Proof(UNKNOWN, "none")
    assert is_convex_feasible_set(m.given, [m.x]).curvature is CONVEX
    assert is_convex_feasible_set(m.equal) == Proof(CONVEX, "affine")


@pytest.mark.parametrize("shape", list(Curvature))
def test_what_a_curvature_allows_is_what_its_examples_show(shape: Curvature) -> None:
    """Level sets of 1, x, x², −x² and x³ − x on a line are convex, or are not, by hand."""
    flat = shape in (Curvature.CONSTANT, Curvature.AFFINE)
    assert shape.is_flat is flat
    assert shape.is_convex is (flat or shape is Curvature.CONVEX)
    assert shape.allows(None, 1.0) is (flat or shape is Curvature.CONVEX)
    assert shape.allows(-1.0, None) is (flat or shape is Curvature.CONCAVE)
    assert shape.allows(-1.0, 1.0) is flat
