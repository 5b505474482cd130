"""Random games of integer and nonconvex followers: gains by deviations against enumeration and linear programs.

The oracle writes down every row of every follower in plain arithmetic. A gain K is the least iff it meets them all and
min K·x over x that meet them is K·K, one linear program; there is none iff another is infeasible.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyomo.environ as pyo
import pytest
from conftest import seeds
from scipy.optimize import linprog

import stackpyomo as sp


@dataclass
class Follower:
    """cost(v) + Σ_l (base_l + price_l · v) u_l over v ∈ {0, 1}^n."""

    matrix: np.ndarray
    slope: np.ndarray
    base: np.ndarray
    price: np.ndarray
    target: np.ndarray

    def cost(self, v: np.ndarray) -> float:
        return float(v @ self.matrix @ v + self.slope @ v)

    def pull(self, v: np.ndarray) -> np.ndarray:
        return np.asarray(self.base + self.price @ v)

    def points(self) -> Iterator[np.ndarray]:
        for bits in itertools.product((0.0, 1.0), repeat=len(self.slope)):
            yield np.array(bits)


@dataclass
class Drawn:
    """A random game and what the leader sees: signals = observe · all actions."""

    followers: list[Follower]
    observe: np.ndarray
    levels: np.ndarray

    @property
    def starts(self) -> list[int]:
        return [0, *itertools.accumulate(len(f.slope) for f in self.followers)]

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """p(v) d(v)ᵀ · K ≥ r(v) for every deviation of everybody."""
        rows, right = [], []
        for k, f in enumerate(self.followers):
            part = self.observe[:, self.starts[k] : self.starts[k + 1]]
            if not part.any():  # nobody looks at it: it is left alone
                continue
            planned = f.cost(f.target) + f.pull(f.target) @ self.levels
            for v in f.points():
                if (v != f.target).any():
                    rows.append(np.outer(f.pull(v), part @ (v - f.target)).ravel())
                    right.append(planned - f.cost(v) - f.pull(v) @ self.levels)
        return np.array(rows), np.array(right)

    def game(self) -> tuple[sp.Plan, list[object]]:
        m = pyo.ConcreteModel()
        m.u = pyo.Var(range(len(self.levels)))
        m.f = pyo.Block(range(len(self.followers)))
        for k, f in enumerate(self.followers):
            block, n = m.f[k], len(f.slope)
            block.v = pyo.Var(range(n), domain=pyo.Binary)
            quadratic = sum(float(f.matrix[i, j]) * block.v[i] * block.v[j] for i in range(n) for j in range(n))
            linear = sum(float(f.slope[i]) * block.v[i] for i in range(n))
            pulls = [
                float(b) + sum(float(p) * block.v[i] for i, p in enumerate(row))
                for b, row in zip(f.base, f.price, strict=True)
            ]
            block.cost = pyo.Objective(expr=quadratic + linear + sum(p * m.u[i] for i, p in enumerate(pulls)))
            for i, value in enumerate(f.target):
                block.v[i].set_value(int(value))
        for i, level in enumerate(self.levels):
            m.u[i].set_value(float(level))
        m.wish = pyo.Objective(expr=sum((m.u[i] - float(level)) ** 2 for i, level in enumerate(self.levels)))
        actions = [v for k in range(len(self.followers)) for v in m.f[k].v.values()]
        m.seen = pyo.Expression(range(len(self.observe)))
        for s, row in enumerate(self.observe):
            m.seen[s] = sum(float(w) * v for w, v in zip(row, actions, strict=True) if w)
        signals: list[object] = list(m.seen.values())
        return sp.Plan.from_values(sp.Game(m, followers=m.f)), signals


def drawn(seed: int) -> Drawn:
    random = np.random.default_rng(seed)
    count, tools = int(random.integers(1, 4)), int(random.integers(1, 3))
    followers = []
    for _ in range(count):
        n = int(random.integers(1, 7 if count == 1 else 5))
        matrix = random.integers(-3, 4, (n, n)).astype(float)
        slope = random.integers(-4, 5, n).astype(float)
        base = random.integers(-1, 3, tools).astype(float)
        price = random.integers(-1, 3, (tools, n)).astype(float)
        f = Follower(matrix, slope, base, price, np.zeros(n))
        points = list(f.points())
        best = min(points, key=f.cost) if random.random() < 0.4 else points[int(random.integers(len(points)))]
        f.target = best.copy()
        if random.random() < 0.4 and n > 1:  # one bit off what it would do
            f.target[int(random.integers(n))] = 1.0 - f.target[0]
        followers.append(f)
    width = sum(len(f.slope) for f in followers)
    shared = random.random() < 0.5
    observe = np.eye(width) if not shared else random.integers(0, 3, (int(random.integers(1, 4)), width)).astype(float)
    observe = observe[observe.any(axis=1)]
    if not len(observe):
        observe = np.ones((1, width))
    return Drawn(followers, observe, random.integers(-1, 2, tools).astype(float))


def judge(game: Drawn, design: Callable[[sp.Plan, list[object]], sp.Incentive]) -> str:
    """ "gain" or "none", after the oracle has agreed."""
    rows, right = game.rows()
    part = np.linalg.norm(rows, axis=1) > 0.0
    free = linprog(np.zeros(rows.shape[1]), -rows, -right, bounds=(None, None))
    plan, signals = game.game()
    try:
        rule = design(plan, signals)
    except sp.NoIncentive as refused:
        assert free.status == 2, "the oracle has a gain"
        table = refused.deviations
        weights = table["weight"].to_numpy(dtype=float)
        assert (weights >= 0.0).all()
        total = np.zeros(rows.shape[1])
        liked = 0.0
        for weight, name, action in zip(weights, table["follower"], table["action"], strict=True):
            k = int(name.removeprefix("f[").removesuffix("]"))
            f = game.followers[k]
            v = np.array(list(action.values()))
            seen = game.observe[:, game.starts[k] : game.starts[k + 1]] @ (v - f.target)
            total += weight * np.outer(f.pull(v), seen).ravel()
            planned = f.cost(f.target) + f.pull(f.target) @ game.levels
            liked += weight * (planned - f.cost(v) - f.pull(v) @ game.levels)
        assert np.abs(total).max() <= 1e-7 * max(1.0, weights.sum())
        assert liked > 1e-6
        return "none"
    assert free.status == 0, "the oracle has none"
    names = [f"u[{i}]" for i in range(len(game.levels))]
    gain = rule.gain.reindex(names).fillna(0.0).to_numpy().ravel()  # a variable that nobody feels answers nobody
    assert (rows @ gain >= right - 1e-7 * (1.0 + np.abs(gain).max())).all()
    if part.any() and gain.any():
        best = linprog(gain, -rows, -right, bounds=(None, None))
        assert best.status == 0
        assert best.fun >= gain @ gain - 1e-6 * (1.0 + gain @ gain)
    return "gain"


def by_default(plan: sp.Plan, signals: list[object]) -> sp.Incentive:
    return sp.affine_incentive(plan, observe=signals)


@pytest.mark.parametrize("seed", seeds(24))
def test_integer_followers_against_enumeration(seed: int) -> None:
    judge(drawn(seed), by_default)


def test_the_slice_has_both_answers() -> None:
    answers = {judge(drawn(seed), by_default) for seed in range(4)}
    assert answers == {"gain", "none"}
