"""Information is respected by the numerics: grids from the observations inwards, and what atoms reveal is named."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn
from helpers.gaussian_games import private
from hypothesis import given, settings
from hypothesis import strategies as st

import stackpyomo as sp
from stackpyomo.errors import InvalidGame


def random_covariance(generator: np.random.Generator, size: int) -> np.ndarray:
    root = generator.normal(size=(size, size + 1))
    return root @ root.T


@settings(max_examples=drawn(25), deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 5))
def test_moments_given_each_observation_are_the_gaussians(seed: int, nodes: int) -> None:
    """E[z | y_i] is linear of slope Cov(z, y_i)/Var(y_i) at every node, for any z; all second moments are right."""
    generator = np.random.default_rng(seed)
    names, seen = ["a", "b", "c", "d"], ["b", "d"]
    matrix, mean = random_covariance(generator, 4), generator.normal(size=4)
    scale = 10.0 ** generator.integers(-8, 9, size=4)
    matrix, mean = matrix * np.outer(scale, scale), mean * scale
    scenarios = sp.Scenarios.gauss_hermite(names, nodes, mean=mean, covariance=matrix, observed=seen)
    values = np.stack([(scenarios[n] - m) / s for n, m, s in zip(names, mean, scale, strict=True)])
    wanted = matrix / np.outer(scale, scale)
    found = np.einsum("w,iw,jw->ij", scenarios.probability, values, values)
    np.testing.assert_allclose(found, wanted, atol=1e-7)
    assert scenarios.probability.min() > 0.0
    for name in seen:
        i = names.index(name)
        assert len(scenarios.atoms(name)) == nodes
        for atom, power in scenarios.atom_probability(name).items():
            here = scenarios.members(name, atom)
            given_atom = values[:, here] @ scenarios.probability[here] / power
            line = wanted[:, i] / wanted[i, i] * (atom - mean[i]) / scale[i]
            np.testing.assert_allclose(given_atom, line, atol=1e-5)


def test_a_list_of_signals_is_as_exact_as_one() -> None:
    """Who sees y1 and z1 together expects y2 as a Gaussian would."""
    matrix = np.eye(4) + 0.3 * (np.ones((4, 4)) - np.eye(4))
    names = ["x", "y1", "z1", "y2"]
    scenarios = sp.Scenarios.gauss_hermite(
        names, 3, covariance=matrix, observed=["y1", "z1", "y2"], observations={"both": ["y1", "z1"]}
    )
    slope = np.linalg.solve(matrix[1:3, 1:3], matrix[1:3, [0, 3]])
    for atom, power in scenarios.atom_probability("both").items():
        here = scenarios.members("both", atom)
        means = [scenarios.probability[here] @ scenarios[n][here] / power for n in ("x", "y2")]
        np.testing.assert_allclose(means, np.array(atom) @ slope, atol=1e-8)


@pytest.mark.slow
def test_what_is_not_quadratic_converges() -> None:
    """min E[(x − γ(y1) − γ(y2)) ² + γ⁴]: the leader's cost settles as nodes are added, from the second on."""

    def cost(nodes: int) -> float:
        scenarios = private(2, [nodes, nodes, 3], 1.0)
        m = pyo.ConcreteModel()
        m.f = pyo.Block([1, 2])
        for i in (1, 2):
            m.f[i].u = pyo.Var(scenarios.atoms(f"y{i}"), initialize=0.1)
            m.f[i].cost = pyo.Objective(expr=sum(u**2 for u in m.f[i].u.values()))

        def u(i: int, w: int) -> Any:
            return m.f[i].u[scenarios.atom(f"y{i}", w)]

        x = scenarios["x"]
        m.goal = pyo.Objective(
            expr=scenarios.expectation(lambda w: (x[w] - u(1, w) - u(2, w)) ** 2 + u(1, w) ** 4 + u(2, w) ** 4)
        )
        return float(sp.leader_optimal(sp.Game(m, m.f)).leader_objective)

    errors = [abs(cost(nodes) - cost(15)) for nodes in (3, 5, 7, 9)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"observed": "z"}, "observed: z is not a signal of x, y"),
        ({"observed": ["x", "z"]}, "observed: z is not a signal of x, y"),
        ({"observed": {"s": {"z": 1.0}}}, "observed: s is not a signal of x, y"),
        ({"observed": 5}, "observed: 5 is not a signal of x, y"),
        ({"observed": {"s": "x"}}, "observed: s is not a signal of x, y"),
        ({"observed": {"s": {"x": "much"}}}, "observed: s is not a signal of x, y"),
        ({"observed": {"s": {"x": 0.0}}}, "observed: s is not a signal of x, y"),
        ({"observed": {"s": {"x": math.nan}}}, "observed: s is not a signal of x, y"),
        ({"observed": {"x": {"x": 1.0, "y": 1.0}}}, "observed: x is a name by itself"),
        ({"observed": {"s": {"x": 1.0}, "t": {"x": 2.0}}}, "covariance of s, t: not positive definite"),
        ({"observed": ["x"], "nodes": [3]}, "one for each of x, what they leave open"),
        ({"mean": 1e20}, "so far from 0 that the nodes of x are one number"),
    ],
)
def test_bad_signals_are_told(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidGame) as told:
        sp.Scenarios.gauss_hermite(["x", "y"], **{"nodes": 3, **arguments})
    assert words in str(told.value)


def test_two_nodes_cannot_have_every_covariance() -> None:
    """Three signs cannot each disagree with the two others as much as this; three nodes can."""
    matrix = np.full((3, 3), -0.45) + 1.45 * np.eye(3)
    with pytest.raises(InvalidGame, match="no weights on this grid give a, b, c their covariance; take more nodes"):
        sp.Scenarios.gauss_hermite(["a", "b", "c"], 2, covariance=matrix, observed=["a", "b", "c"])
    assert len(sp.Scenarios.gauss_hermite(["a", "b", "c"], 3, covariance=matrix, observed=["a", "b", "c"])) <= 27


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1e-20), (0.0, 1e-300), (1e9, 0.04), (1e9, 1e18), (-3e5, 1e-6)])
def test_nodes_do_not_merge_in_any_unit(mean: float, variance: float) -> None:
    scenarios = sp.Scenarios.gauss_hermite(["x", "z"], 5, mean=[mean, 0.0], covariance=np.diag([variance, 1.0]))
    assert len(scenarios.atoms("x")) == 5
    d = (scenarios["x"] - mean) / math.sqrt(variance)
    assert scenarios.probability @ d**2 == pytest.approx(1.0, rel=1e-4)
