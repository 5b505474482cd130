"""A thousand random convex games: every rule re-solved by SciPy, every refusal confirmed by linear programming.

Nothing of the package takes part in the check: costs and strategies are evaluated in NumPy from the rule's table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import drawn
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

import stackpyomo as sp

GAMES = settings(max_examples=drawn(250), deadline=None, suppress_health_check=[HealthCheck.too_slow])

SHAPES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "exp": (pyo.exp, np.exp, np.exp),
    "softplus": (lambda t: pyo.log(1 + pyo.exp(t)), lambda t: np.logaddexp(0, t), lambda t: 1 / (1 + np.exp(-t))),
    "quartic": (lambda t: t**4, lambda t: t**4, lambda t: 4 * t**3),
    "hyperbola": (lambda t: pyo.sqrt(1 + t**2), lambda t: np.sqrt(1 + t**2), lambda t: t / np.sqrt(1 + t**2)),
}
"""Convex functions of one number: as Pyomo writes them, their value, their derivative."""


class Cost:
    """J(z) = |R z|²/2 + p·z + Σ w φ(c·z + d): jointly convex in z = (u0, u_k, mean)."""

    def __init__(self, random: np.random.Generator, size: int, blind: int) -> None:
        self.root = random.normal(size=(int(random.integers(0, size + 1)), size)) / np.sqrt(size)
        self.linear = random.normal(size=size)
        self.bends = [
            (str(random.choice(list(SHAPES))), random.uniform(0.2, 2.0), random.normal(size=size), random.normal() / 2)
            for _ in range(random.integers(0, 4))
        ]
        if blind:  # its cost does not depend on the leader at all
            self.root[:, :blind], self.linear[:blind] = 0.0, 0.0
            for _, _, along, _ in self.bends:
                along[:blind] = 0.0

    def value(self, z: np.ndarray) -> float:
        total = ((self.root @ z) ** 2).sum() / 2 + self.linear @ z
        return float(total + sum(w * SHAPES[name][1](c @ z + d) for name, w, c, d in self.bends))

    def slope(self, z: np.ndarray) -> np.ndarray:
        total = self.root.T @ (self.root @ z) + self.linear
        return np.asarray(total + sum(w * SHAPES[name][2](c @ z + d) * c for name, w, c, d in self.bends))

    def written(self, z: list[Any]) -> Any:
        def dot(row: np.ndarray) -> Any:
            return sum(float(x) * v for x, v in zip(row, z, strict=True) if x != 0.0)

        total = dot(self.linear) + sum(dot(row) ** 2 for row in self.root) / 2
        return total + sum(w * SHAPES[name][0](dot(c) + d) for name, w, c, d in self.bends)


class World:
    """A game at a plan that was not optimised for anybody: at random points, at bounds and at constraints."""

    def __init__(self, seed: int, shared: bool, free: bool, bounded: bool) -> None:
        self.random = random = np.random.default_rng(seed)
        self.leaders, count = int(random.integers(1, 5)), int(random.integers(1, 6))
        self.owner = np.repeat(np.arange(count), random.integers(1, 5, size=count))
        self.lead = random.normal(size=self.leaders)
        self.low, self.high = (np.full(len(self.owner), s * np.inf) for s in (-1, 1))
        self.u = random.normal(size=len(self.owner))
        for j in np.flatnonzero(random.random(len(self.u)) < 0.5):
            room = [(0.0, 2.0), (1.0, 0.0), (1.0, 1.0), (0.0, np.inf)][random.integers(4)]
            self.low[j], self.high[j] = self.u[j] - room[0], self.u[j] + room[1]
        self.crowded = bool(random.random() < 0.5)
        self.weights = random.uniform(0.2, 1.0, size=len(self.u)) * self.crowded
        blind = self.leaders if random.random() < 0.1 else 0
        self.costs = [
            Cost(random, self.leaders + int(n) + 1, blind * int(k == 0)) for k, n in enumerate(np.bincount(self.owner))
        ]
        self.rows = [
            random.normal(size=(self.owner == k).sum()) if random.random() < 0.4 else None for k in range(count)
        ]
        self.lead_low = np.where(random.random(self.leaders) < 0.4, self.lead, -np.inf) if bounded else None
        self.free = free
        self.moves = np.eye(len(self.u))
        if shared:
            self.moves = random.normal(size=(random.integers(1, len(self.u) + 2), len(self.u)))
            self.moves[:, random.random(len(self.u)) < 0.1] = 0.0
            self.moves = self.moves[self.moves.any(axis=1)]
        self.shared = shared
        self.game = self._game()

    def z(self, k: int, lead: np.ndarray, own: np.ndarray) -> np.ndarray:
        u = self.u.copy()
        u[self.owner == k] = own
        return np.concatenate([lead, own, [self.weights @ u]])

    def _game(self) -> sp.Game:
        m = self.model = pyo.ConcreteModel()
        m.lead = pyo.Var(range(self.leaders), initialize=lambda _, i: float(self.lead[i]))
        for i, low in enumerate(self.lead_low if self.lead_low is not None else []):
            m.lead[i].setlb(float(low) if np.isfinite(low) else None)
        m.f = pyo.Block(range(len(self.costs)))
        self.actions = []
        for k, block in m.f.items():
            own = np.flatnonzero(self.owner == k)
            block.u = pyo.Var(range(len(own)))
            for var, i in zip(block.u.values(), own, strict=True):
                var.set_value(float(self.u[i]))
                var.setlb(float(self.low[i]) if np.isfinite(self.low[i]) else None)
                var.setub(float(self.high[i]) if np.isfinite(self.high[i]) else None)
                self.actions.append(var)
        mean = sum(float(w) * v for w, v in zip(self.weights, self.actions, strict=True) if w)
        for k, block in m.f.items():
            own_vars = [*block.u.values()]
            block.cost = pyo.Objective(expr=self.costs[k].written([*m.lead.values(), *own_vars, mean]))
            row = self.rows[k]
            if row is not None:
                level = float(row @ self.u[self.owner == k])
                block.row = pyo.Constraint(expr=sum(float(x) * v for x, v in zip(row, own_vars, strict=True)) <= level)
        m.goal = pyo.Objective(expr=sum(v**2 for v in m.lead.values()))
        return sp.Game(m, followers=m.f)

    def observe(self) -> Any:
        if not self.shared:
            return "actions"
        return [sum(float(c) * v for c, v in zip(row, self.actions, strict=True) if c) for row in self.moves]

    def equations(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(E, s, G) of E K + s + G λ = 0, λ ≥ 0, over observed followers."""
        matrix, slope = np.zeros((len(self.u), self.leaders * len(self.moves))), np.zeros(len(self.u))
        normals = []
        for k, cost in enumerate(self.costs):
            own = np.flatnonzero(self.owner == k)
            if not self.moves[:, own].any():
                continue
            g = cost.slope(self.z(k, self.lead, self.u[own]))
            slope[own] = g[self.leaders : -1] + g[-1] * self.weights[own]
            for i in own:
                matrix[i] = np.outer(g[: self.leaders], self.moves[:, i]).ravel()
            normals += self._normals(k, own) if self.free else []
        return matrix, slope, np.array(normals).reshape(-1, len(self.u)).T

    def _normals(self, k: int, own: np.ndarray) -> list[np.ndarray]:
        single = np.eye(len(self.u))
        sides = [single[i] for i in own if self.u[i] == self.high[i]] + [
            -single[i] for i in own if self.u[i] == self.low[i]
        ]
        if self.rows[k] is not None:
            whole = np.zeros(len(self.u))
            whole[own] = self.rows[k]
            sides.append(whole)
        return sides

    def is_solvable(self) -> bool:
        """Linear programming, equations scaled; a leader variable at its bound moves only up against temptation."""
        matrix, slope, normals = self.equations()
        sizes = np.linalg.norm(np.hstack([matrix, normals]), axis=1)
        sizes = np.where(sizes > 1e-9, sizes, 1.0)
        limits = [(None, None)] * matrix.shape[1] + [(0, None)] * normals.shape[1]
        for i in range(self.leaders):
            if self.lead_low is not None and np.isfinite(self.lead_low[i]):
                for s, row in enumerate(self.moves):
                    ways = set(-np.sign(slope * row)[np.abs(slope * row) > 1e-9])
                    low, high = (0 if 1.0 in ways else None), (0 if -1.0 in ways else None)
                    limits[i * len(self.moves) + s] = (low, high)
        stacked = np.hstack([matrix, normals]) / sizes[:, None]
        return bool(linprog(np.zeros(stacked.shape[1]), A_eq=stacked, b_eq=-slope / sizes, bounds=limits).status == 0)

    def regret(self, k: int, lead: np.ndarray, gain: np.ndarray) -> float:
        """How much follower k gains by its best deviation that SciPy finds, relative to its cost's size."""
        own = np.flatnonzero(self.owner == k)
        response = gain @ self.moves[:, own]

        def cost(v: np.ndarray) -> float:
            return self.costs[k].value(self.z(k, lead + response @ (v - self.u[own]), v))

        def slope(v: np.ndarray) -> np.ndarray:
            g = self.costs[k].slope(self.z(k, lead + response @ (v - self.u[own]), v))
            return np.asarray(g[self.leaders : -1] + response.T @ g[: self.leaders] + g[-1] * self.weights[own])

        bounds = list(zip(self.low[own], self.high[own], strict=True))
        row = self.rows[k]
        held = (
            [] if row is None else [{"type": "ineq", "fun": lambda v: row @ (self.u[own] - v), "jac": lambda v: -row}]
        )
        best = here = cost(self.u[own])
        for start in (self.u[own], self.u[own] + self.random.normal(size=len(own)) / 2):
            start = np.clip(start, self.low[own], self.high[own])
            with np.errstate(over="ignore", invalid="ignore"):
                method = "SLSQP" if held else "L-BFGS-B"
                found = minimize(cost, start, jac=slope, bounds=bounds, constraints=held, method=method)
            if np.isfinite(found.fun) and (row is None or row @ (found.x - self.u[own]) <= 1e-9):
                best = min(best, found.fun)
        return (here - best) / max(1.0, abs(here))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shared", "free", "bounded"),
    [(False, False, False), (True, False, False), (True, True, False), (False, False, True)],
    ids=["actions", "shared signals", "shared signals, free multipliers", "leader at bounds"],
)
@GAMES
@example(seed=1450)  # constraints that undo each other: their multipliers have no largest
@given(seed=st.integers(0, 10**9))
def test_no_rule_is_wrong_and_no_refusal_is_unfounded(shared: bool, free: bool, bounded: bool, seed: int) -> None:
    world = World(seed, shared, free, bounded)
    plan, refused = sp.Plan.from_values(world.game), {}
    try:
        rule = sp.affine_incentive(plan, world.observe(), multipliers="free" if free else "zero")
    except sp.NoIncentive as error:
        refused = error.reasons
    if refused:
        assert not world.is_solvable(), refused
        return
    lead = np.array([rule.offset.get(f"lead[{i}]", world.lead[i]) for i in range(world.leaders)])
    np.testing.assert_array_equal(lead, world.lead)
    gain = np.zeros((world.leaders, len(world.moves)))
    names = [f"lead[{i}]" for i in range(world.leaders)]
    gain[[names.index(n) for n in rule.leader]] = rule.gain.to_numpy()
    assert rule.gain.shape[1] == len(world.moves)
    for k in range(len(world.costs)):
        if world.moves[:, world.owner == k].any():
            assert world.regret(k, lead, gain) <= 1e-6, world.game.followers
