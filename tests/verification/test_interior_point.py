"""Many small convex problems at once, each against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from stackpyomo.verification.interior_point import minimized


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [1, 2, 4])
def test_minima_are_scipys(seed: int, count: int) -> None:
    """Quadratic plus exponential costs on a box with one row, feasible or not at the start."""
    random = np.random.default_rng(seed)
    size = 6
    root = random.normal(size=(size, count, count))
    bend, slope = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(count), 3.0 * random.normal(size=(size, count))
    normal, inside = random.normal(size=(size, 1, count)), random.uniform(-0.7, 0.7, size=(size, count))
    limit = np.einsum("kmn,kn->km", normal, inside) + 0.01

    everybody = np.arange(size)

    def costs(x: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        growth, h, g = np.exp(x), bend[members], slope[members]
        value = (np.einsum("ki,kij,kj->k", x, h, x) / 2.0) + (g * x).sum(axis=1) + growth.sum(axis=1)
        return value, np.einsum("kij,kj->ki", h, x) + g + growth, h + growth[:, :, None] * np.eye(count)

    eye = np.broadcast_to(np.eye(count), (size, count, count))
    matrix, limits = np.concatenate([eye, -eye, normal], axis=1), np.concatenate([np.ones((size, 2 * count)), limit], 1)
    x, force, _ = minimized(costs, np.zeros((size, count)), matrix, limits)
    assert (np.einsum("kmn,kn->km", matrix, x) <= limits + 1e-9).all()
    assert (force >= 0.0).all()
    for k in range(size):
        answer = minimize(
            lambda u, k=k: costs(np.tile(u, (size, 1)), everybody)[0][k],
            np.zeros(count),
            bounds=[(-1, 1)] * count,
            constraints={"type": "ineq", "fun": lambda u, k=k: limit[k, 0] - normal[k, 0] @ u},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert costs(x, everybody)[0][k] == pytest.approx(answer.fun, abs=1e-7)


def test_limits_that_there_are_not_do_not_bind() -> None:
    def costs(x: np.ndarray, _members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return ((x - 3.0) ** 2).sum(axis=1), 2.0 * (x - 3.0), np.full((len(x), 1, 1), 2.0)

    matrix = np.array([[[1.0], [-1.0]]])
    x, _, _ = minimized(costs, np.zeros((1, 1)), matrix, np.array([[np.inf, 0.5]]))
    assert x[0, 0] == pytest.approx(3.0, abs=1e-9)


def test_equalities_are_kept() -> None:
    """min Σ (x − a)² with Σ x = b: x = a + (b − Σ a)/n, y = −2 (b − Σ a)/n; a row of zeros asks nothing."""
    wish = np.array([[0.1, 0.5, 0.3], [0.2, 0.2, 0.9]])

    def costs(x: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        away = x - wish[members]
        return (away**2).sum(axis=1), 2.0 * away, np.tile(2.0 * np.eye(3), (len(members), 1, 1))

    eye = np.broadcast_to(np.eye(3), (2, 3, 3))
    matrix, limits = np.concatenate([eye, -eye], axis=1), np.concatenate([np.full((2, 3), 2.0), np.zeros((2, 3))], 1)
    equal, levels = np.zeros((2, 2, 3)), np.zeros((2, 2))
    equal[0, 0], levels[0, 0] = 1.0, 1.5
    x, _, pull = minimized(costs, np.full((2, 3), 0.5), matrix, limits, equal, levels)
    assert x[0] == pytest.approx(wish[0] + 0.2, abs=1e-9)
    assert pull[0, 0] == pytest.approx(-0.4, abs=1e-8)
    assert x[1] == pytest.approx(wish[1], abs=1e-9)


def test_who_is_enough_goes_no_further_and_the_others_to_their_minima() -> None:
    """exp(x) − c x on [−5, 5]: x = log c. Every second one is called enough at the first question."""
    c, asked = np.linspace(0.5, 20.0, 8), []

    def costs(x: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        growth = np.exp(x)
        return (growth - c[members, None] * x).sum(axis=1), growth - c[members, None], growth[:, :, None]

    def enough(x: np.ndarray, force: np.ndarray, pull: np.ndarray, members: np.ndarray) -> np.ndarray:
        assert len(x) == len(force) == len(pull) == len(members)
        asked.append(members.tolist())
        return members % 2 == 1

    matrix = np.broadcast_to(np.array([[1.0], [-1.0]]), (8, 2, 1))
    x, _, _ = minimized(costs, np.zeros((8, 1)), matrix, np.full((8, 2), 5.0), enough=enough)
    assert x[::2, 0] == pytest.approx(np.log(c[::2]), abs=1e-8)
    assert np.abs(x[1::2, 0] - np.log(c[1::2])).max() > 1e-3
    assert asked[0] == list(range(8))
    assert all(member % 2 == 0 for members in asked[1:] for member in members), "the others are left out"
