"""Wishes: gains within limits, free prices of least payment, weights, against linear and quadratic programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
import pyomo.environ as pyo
from pyomo.common.collections import ComponentMap
from scipy import sparse
from scipy.optimize import linprog

import stackpyomo as sp

from .ledger import Ledger

__all__ = ["hunt"]

_SAME = 1e-5
"""Numbers within this share of their size are the same."""


@dataclass
class _Linear:
    """Followers ½ (u−c)'D(u−c) + t'(β + B u), in units of their own: conditions are linear in the gain K and in t."""

    slopes: np.ndarray  #: (actions) D (u* − c).
    effects: np.ndarray  #: (actions × prices) β + B u* of the action's follower.
    pulls: np.ndarray  #: (actions × prices) B.
    ends: np.ndarray  #: (actions) −1 at its lower bound, 1 at its upper one, 0 between.
    shown: np.ndarray  #: (signals × actions)

    def equations(self) -> tuple[np.ndarray, np.ndarray]:
        """(A, b) with A (K, t, λ) = b: D (u* − c) + B't + (K M)'(β + B u*) ± λ = 0."""
        gains = [np.kron(effect, seen) for effect, seen in zip(self.effects, self.shown.T, strict=True)]
        return np.hstack([np.array(gains), self.pulls, np.diag(self.ends)]), -self.slopes


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """One random game: does a rule exist, does it pay the least, is its energy the least?"""
    money, price = (10.0 ** int(random.integers(-5, 6)) if random.random() < 0.5 else 1.0 for _ in range(2))
    m, linear, levels = _drawn(random, money, price)
    actions = [u for block in m.f.values() for u in block.u.values()]
    prices, signals = len(levels), len(linear.shown)
    top = round(float(random.uniform(0.5, 5)), 2) if random.random() < 0.5 else np.inf
    weights = np.round(random.uniform(0.1, 5, prices), 2) if random.random() < 0.4 else np.ones(prices)
    free = bool(random.random() < 0.6)
    rates = np.round(random.normal(size=prices), 2) if free and random.random() < 0.6 else None
    limit = round(float(random.normal()), 2) if rates is not None and random.random() < 0.4 else None
    wishes: dict[str, Any] = {
        "observe": [sum(float(r) * u for r, u in zip(row, actions, strict=True)) for row in linear.shown],
        "gain_bounds": None if np.isinf(top) else (-top * price, top * price),
        "energy": ComponentMap(zip(m.t.values(), weights.tolist(), strict=True)),
        "free": list(m.t.values()) if free else (),
        "payment_limit": limit,
        "curvature": "none",
        "multipliers": "free",
    }  # fmt: skip
    if rates is not None:
        wishes["payment"] = sum(float(r) * t / price for r, t in zip(rates, m.t.values(), strict=True))
    none = np.zeros(len(actions))
    low = np.concatenate([np.full(prices * signals, -top), np.full(prices, -np.inf) if free else levels, none])
    able = np.where(linear.ends == 0.0, 0.0, np.inf)
    high = np.concatenate([np.full(prices * signals, top), np.full(prices, np.inf) if free else levels, able])
    bounds, (matrix, right) = np.column_stack([low, high]), linear.equations()
    story = f"{wishes} {linear}"
    paid = None if rates is None else np.concatenate([np.zeros(prices * signals), rates, none])
    rows = {"A_eq": matrix, "b_eq": right, "bounds": bounds}
    capped = {"A_ub": paid[None], "b_ub": [limit]} if limit is not None and paid is not None else {}
    exists = linprog(np.zeros(len(low)), **rows, **capped).status == 0
    endless = exists and paid is not None and limit is None and linprog(paid, **rows).status != 0
    try:
        rule = sp.affine_incentive(sp.Plan.from_values(sp.Game(m, m.f)), **wishes)
    except sp.NoIncentive as refusal:
        ledger.claim("wishes: no gain exists", not exists, f"{refusal}: {story}")
        return
    except sp.InvalidGame as refusal:
        ledger.claim("wishes: a payment falls without limit", endless or not exists, f"{refusal}: {story}")
        return
    gain = np.nan_to_num(rule.gain.to_numpy(dtype=float)) / price
    point = np.concatenate([gain.ravel(), np.array(list(rule.offset.values()), dtype=float) / price])
    rest = matrix[:, : len(point)] @ point - right
    pushed = np.maximum(-linear.ends * rest, 0.0)  # what its bound takes
    point, left = np.append(point, pushed), np.abs(rest + linear.ends * pushed).max()
    ledger.claim("wishes: a gain", left <= _SAME * max(1.0, np.abs(point).max()), f"{left} is left: {story}")
    over = max((np.abs(gain) - top).max(initial=0.0), 0.0 if limit is None else float(paid @ point) - limit)
    ledger.claim("wishes: within limits", over <= _SAME, f"{over} beyond: {story}")
    if not exists or endless or (free and (rates is None or limit is not None)):
        return
    if paid is not None:
        least = linprog(paid, **rows).fun
        ledger.claim("wishes: least payment", paid @ point <= least + _SAME * max(1.0, abs(least)), f"{least}: {story}")
        matrix, right = np.vstack([matrix, paid]), np.append(right, least)
    heavy = np.concatenate([np.repeat(weights, signals), np.zeros(prices), none])
    other = _least_squares(heavy, matrix, right, bounds)
    if other is not None:
        energy, least = heavy @ point**2, heavy @ other**2
        ledger.claim("wishes: least energy", energy <= least * (1 + 10 * _SAME) + _SAME, f"{energy}, {least}: {story}")


def _drawn(random: np.random.Generator, money: float, price: float) -> tuple[Any, _Linear, np.ndarray]:
    """A game, its conditions at the values it starts with, and its prices there in their unit."""
    prices, sizes = int(random.integers(1, 4)), random.integers(1, 3, int(random.integers(1, 4)))
    levels = np.round(random.normal(size=prices), 2)
    m = pyo.ConcreteModel()
    m.t = pyo.Var(range(prices), initialize=lambda _, j: float(levels[j] * price))
    m.f = pyo.Block(range(len(sizes)))
    parts: list[tuple[np.ndarray, ...]] = []
    for block, size in zip(m.f.values(), sizes, strict=True):
        root = random.normal(size=(size, size))
        bend = np.round(root @ root.T + np.eye(size), 2)
        taste, plan, start = (np.round(random.normal(size=n), 2) for n in (size, size, prices))
        pull = np.round(random.normal(size=(prices, size)), 2)
        block.u = pyo.Var(range(size), initialize=dict(enumerate(plan.tolist())))
        ends = random.choice([-1.0, 0.0, 0.0, 1.0], size)
        for u, end, level in zip(block.u.values(), ends, plan.tolist(), strict=True):
            if end:
                u.bounds = (level, level + 3) if end < 0 else (level - 3, level)
        step = [block.u[i] - float(taste[i]) for i in range(size)]
        own = sum(float(bend[i, j]) * step[i] * step[j] / 2 for i in range(size) for j in range(size))
        paid = sum(
            m.t[j] / price * (float(start[j]) + sum(float(pull[j, i]) * block.u[i] for i in range(size)))
            for j in range(prices)
        )
        block.cost = pyo.Objective(expr=money * (own + paid))
        parts.append((bend @ (plan - taste), np.tile(start + pull @ plan, (size, 1)), pull.T, ends))
    m.goal = pyo.Objective(expr=sum((u - u.value) ** 2 for block in m.f.values() for u in block.u.values()))
    count = int(sizes.sum())
    seen = int(random.integers(1, count + 1))
    shown = np.round(random.normal(size=(seen, count)), 2) if random.random() < 0.6 else np.eye(count)
    shown[~shown.any(axis=1), 0] = 1.0  # a signal that rounds to 0 is none, and refused as such
    return m, _Linear(*(np.concatenate(each) for each in zip(*parts, strict=True)), shown), levels


def _least_squares(weights: np.ndarray, matrix: np.ndarray, right: np.ndarray, bounds: np.ndarray) -> np.ndarray | None:
    """argmin Σ w x² under equations and bounds; None where HiGHS does not end."""
    program, columns = highspy.HighsLp(), sparse.csc_array(matrix)
    program.num_col_, program.num_row_ = matrix.shape[1], matrix.shape[0]
    program.col_cost_, (program.col_lower_, program.col_upper_) = np.zeros(len(weights)), bounds.T
    program.row_lower_ = program.row_upper_ = right
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_, program.a_matrix_.index_ = columns.indptr, columns.indices
    program.a_matrix_.value_ = columns.data
    squares = highspy.HighsHessian()
    squares.dim_, squares.format_ = len(weights), highspy.HessianFormat.kTriangular
    squares.start_, squares.index_ = np.arange(len(weights) + 1), np.arange(len(weights))
    squares.value_ = 2.0 * weights
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.passModel(program)
    solver.passHessian(squares)
    solver.run()
    ended = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return np.array(solver.getSolution().col_value) if ended else None
