"""The linear system of a gain against NumPy's least squares, its components, units and null space."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from stackpyomo.incentives.gains.system import System, gain_system, picked


def drawn_system(seed: int, *, allowed: bool = False) -> tuple[System, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(system, b, M, owners, which entries may be used) of three followers with five actions, all dense."""
    random = np.random.default_rng(seed)
    owners, b, moves = np.array([0, 0, 1, 2, 2]), random.normal(size=(3, 2)), random.normal(size=(3, 5))
    may = random.random((2, 3)) < 0.7 if allowed else np.ones((2, 3), dtype=bool)
    weights, counts = random.uniform(0.5, 2.0, 2), random.uniform(0.5, 2.0, 3)
    table = sparse.csr_array(may.astype(float)) if allowed else None
    args = sparse.csr_array(b), sparse.csr_array(moves), owners, weights, counts, table
    return gain_system(*args), b, moves, owners, may


def dense(b: np.ndarray, moves: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """(actions × leader variables × signals) b_kl M_sj."""
    return np.einsum("jl,sj->jls", b[owners], moves)


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_equations_and_the_least_energy(seed: int, allowed: bool) -> None:
    """min Σ w n K² among the least-squares solutions, only over what may be used."""
    system, b, moves, owners, may = drawn_system(seed, allowed=allowed)
    equations = dense(b, moves, owners)
    for entry, (leader, signal) in enumerate(zip(system.leader, system.signal, strict=True)):
        assert may[leader, signal]
        np.testing.assert_allclose(system.matrix.toarray()[:, entry], equations[:, leader, signal])
    assert system.permitted == may.sum()
    slope = np.random.default_rng(seed + 100).normal(size=5)
    gain, rank = system.least_energy(slope)
    root = np.sqrt(system.weights)
    matrix = system.matrix.toarray() / root
    wanted = np.linalg.lstsq(matrix, -slope, rcond=1e-10)[0] / root
    assert rank == np.linalg.matrix_rank(matrix)
    if rank == 5:
        np.testing.assert_allclose(gain, wanted, atol=1e-9)
    assert system.matrix @ gain + slope == pytest.approx(system.matrix @ wanted + slope, abs=1e-8)
    np.testing.assert_allclose(system.as_entries(system.as_matrix(gain)), gain)


def test_what_shares_no_entry_falls_apart() -> None:
    """Two followers with a signal each, and a third who shares the second's: components {0}, {1, 2}."""
    b, moves = sparse.csr_array(np.ones((3, 1))), sparse.csr_array(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 2.0]]))
    system = gain_system(b, moves, np.arange(3), np.ones(1), np.ones(2), None)
    assert system.single().tolist() == [True, False, False]
    (part,) = system.components()
    assert (part.rows.tolist(), part.columns.tolist()) == ([1, 2], [1])
    assert system.is_solvable(part, np.array([0.0, 1.0, 2.0]))
    assert not system.is_solvable(part, np.array([0.0, 1.0, 1.0]))
    gain, rank = system.least_energy(np.array([3.0, 1.0, 1.0]))
    assert gain.tolist() == pytest.approx([-3.0, -3.0 / 5.0]), "what cannot be met is fitted as it is written"
    assert rank == 2


@pytest.mark.parametrize("seed", range(3))
def test_directions_of_the_null_space_change_no_equation(seed: int) -> None:
    system, *_ = drawn_system(seed)
    count = 0
    for columns, basis in system.null_space():
        np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-12)
        np.testing.assert_allclose(system.matrix.toarray()[:, columns] @ basis.T, 0.0, atol=1e-9)
        count += len(basis)
    assert count == system.matrix.shape[1] - np.linalg.matrix_rank(system.matrix.toarray())


def test_other_units_are_the_same_equations() -> None:
    system, *_ = drawn_system(2)
    slope, random = np.arange(1.0, 6.0), np.random.default_rng(0)
    equations, entries = random.uniform(0.1, 10.0, 5), random.uniform(0.1, 10.0, len(system.leader))
    other = system.in_units(equations, entries)
    np.testing.assert_allclose(
        other.least_energy(slope / equations)[0] * entries, system.least_energy(slope)[0], rtol=1e-6
    )


def test_an_entry_that_is_lost_is_zero() -> None:
    system, *_ = drawn_system(1)
    lost = np.arange(len(system.leader)) == 0
    assert system.without(lost).least_energy(np.ones(5))[0][0] == 0.0


def test_nothing_asked_is_nothing_picked() -> None:
    matrix, nothing = sparse.csr_array(np.eye(2)), np.zeros(0, dtype=int)
    assert picked(matrix, nothing, nothing).shape == (0,)
    assert picked(matrix, np.array([0, 1]), np.array([0, 0])).tolist() == [1.0, 0.0]
