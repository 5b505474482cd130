"""Gains that bend a follower's cost up, against a search in numpy that knows neither eigenvalue counts nor programs."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.linalg import null_space

import stackpyomo as sp

KINDS = ("tariff", "mixed", "curved")


def follower_game(seed: int, kind: str, pinned: bool) -> tuple[sp.Game, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """J = ½ vᵀC v + cᵀv + u0ᵀ B v + ½ u0ᵀ S u0 + sᵀu0 with v* = 1, u0* = 0 for the leader; S = 0 is a tariff."""
    random = np.random.default_rng(seed)
    m0, m1 = int(random.integers(1, 6)), int(random.integers(1, 5))
    root = random.normal(size=(m1, m1))
    own = (root + root.T) / 2 + random.uniform(-1, 2) * np.eye(m1)
    cross = random.normal(size=(m0, m1))
    signs = {"tariff": np.zeros(m0), "mixed": random.choice([-1, 0, 0, 1], m0), "curved": random.choice([-1, 1], m0)}
    turn = np.linalg.qr(random.normal(size=(m0, m0)))[0]
    bowl = turn @ np.diag(signs[kind] * random.uniform(0.5, 2, m0)) @ turn.T
    slope, effect = random.normal(size=m1), random.normal(size=m0)
    m = pyo.ConcreteModel()
    m.u0 = pyo.Var(range(m0), initialize=0.0)
    m.f = pyo.Block()
    m.f.v = pyo.Var(range(m1), initialize=1.0)
    u0, v = np.array(list(m.u0.values())), np.array(list(m.f.v.values()))
    if pinned:
        m.f.day = pyo.Constraint(expr=pyo.quicksum(v) == m1)
    m.f.cost = pyo.Objective(expr=v @ own @ v / 2 + slope @ v + u0 @ cross @ v + u0 @ bowl @ u0 / 2 + effect @ u0)
    m.goal = pyo.Objective(expr=pyo.quicksum((v - 1) ** 2) + pyo.quicksum(u0**2))
    at = np.ones(m1)
    return sp.Game(m, followers=m.f), own @ at + slope, cross @ at + effect, cross, own, bowl


def composed(gain: np.ndarray, own: np.ndarray, cross: np.ndarray, bowl: np.ndarray) -> np.ndarray:
    return own + gain.T @ cross + cross.T @ gain + gain.T @ bowl @ gain


def is_possible(
    a: np.ndarray, b: np.ndarray, cross: np.ndarray, own: np.ndarray, bowl: np.ndarray, free: np.ndarray, wanted: float
) -> bool:
    """True if one of many random climbs over the valid gains finds λ_min beyond what is wanted: then there is one."""
    start, away = -np.outer(b, a) / (b @ b), null_space(b[np.newaxis, :])
    random, best = np.random.default_rng(1), -np.inf
    for scale in (0.0, 1.0, 10.0, 100.0):
        for _ in range(4):
            w = scale * random.normal(size=(away.shape[1], len(a)))
            for _ in range(300):
                response = start + away @ w
                values, vectors = np.linalg.eigh(free.T @ composed(response, own, cross, bowl) @ free)
                best = max(best, values[0])
                if best > wanted + 1e-6:
                    return True
                d = free @ vectors[:, 0]
                push = 2 * away.T @ (cross @ d + bowl @ response @ d)
                norm = push @ push
                if norm < 1e-12:
                    break
                w = w + min(10.0, 1.2 * (wanted + 0.1 - values[0]) / norm) * np.outer(push, d)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("pinned", [False, True], ids=["open", "pinned"])
@pytest.mark.parametrize("wanted", [0.0, 0.7])
@pytest.mark.parametrize("kind", KINDS)
def test_curvature_is_found_wherever_it_can_be(kind: str, wanted: float, pinned: bool) -> None:
    """40 random games of each kind: a gain is convex on the open directions; a refusal, no climb finds one."""
    outcomes = {True: 0, False: 0}
    for seed in range(40):
        game, a, b, cross, own, bowl = follower_game(seed, kind, pinned)
        m1 = len(a)
        free = null_space(np.ones((1, m1))) if pinned else np.eye(m1)
        if not free.shape[1]:
            continue
        plan = sp.Plan.from_values(game)
        try:
            rule = sp.affine_incentive(plan, curvature=wanted or "auto")
        except sp.NoIncentive as error:
            refused = error
        else:
            refused = None
        if refused is not None:
            assert "curvature" in refused.reasons["f"]
            assert not is_possible(a, b, cross, own, bowl, free, wanted), seed
            outcomes[False] += 1
            continue
        gain = rule.gain.to_numpy()
        np.testing.assert_allclose(a + gain.T @ b, 0, atol=1e-6)
        least = np.linalg.eigvalsh(free.T @ composed(gain, own, cross, bowl) @ free)[0]
        assert least >= wanted - 1e-6 * max(1.0, np.abs(own).max()), seed
        bent = (
            np.linalg.eigvalsh(free.T @ composed(-np.outer(b, a) / (b @ b), own, cross, bowl) @ free)[0] < wanted - 1e-6
        )
        outcomes[True] += bent
    assert min(outcomes.values()) >= 3, "both outcomes are met, and the least gain would not do"


@pytest.mark.parametrize("bad", [-1.0, float("inf"), float("nan"), True, "flat", None])
def test_a_curvature_that_is_none_is_refused(bad: object) -> None:
    game, *_ = follower_game(0, "tariff", False)
    with pytest.raises(sp.InvalidGame, match="curvature="):
        sp.affine_incentive(sp.Plan.from_values(game), curvature=bad)
