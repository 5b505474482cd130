"""Followers with whole actions and nonconvex ones: plans and gains against all their points, in other units, too."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import linprog

import stackpyomo as sp

from . import switches
from .drafts import Draft, Side, number
from .ledger import Ledger
from .switches import total

__all__ = ["envelopes", "gains", "hunt", "plans"]

_SAME = 1e-6
"""Values within this share of their scale are the same."""


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """Two plans, one gain, one nonconvex follower."""
    for play in (plans, switches.plans, gains, envelopes):
        play(random, ledger)


def in_units(draft: Draft, random: np.random.Generator) -> tuple[Draft, dict[str, float], list[float]]:
    """The draft in other units of its leader's continuous variables and of everybody's objective; both of these."""
    unit = float(random.choice([1.0, 1e-3, 1e3]))
    units = dict.fromkeys(draft.start, 1.0)
    units |= dict.fromkeys(() if draft.leader.whole else draft.leader.boxes, unit)
    factors = [float(random.choice([1.0, 1e-6, 1e6])) for _ in (draft.leader, *draft.followers)]
    return draft.in_units(units, factors), units, factors


def switching(random: np.random.Generator, binaries: int, name: str, felt: list[str], others: list[str]) -> Side:
    """A follower with binaries: a quadratic cost, in products with what it feels; a knapsack row half of the time."""
    own = [f"{name}{i}" for i in range(binaries)]
    pairs = [f"{a}*{b}" for i, a in enumerate(own) for b in own[i + 1 :]]
    products = [f"{a}*{b}" for a in own for b in felt]
    meets = [f"{a}*{b}" for a in own for b in others]
    cost = " + ".join(
        [
            total(random.integers(-5, 6, len(own)), own),
            total(random.integers(-2, 3, len(pairs)), pairs),
            total(random.integers(-3, 4, len(products)), products),
            total(random.integers(-2, 3, len(meets)), meets),
        ]
    )
    weights = random.integers(1, 5, binaries)
    rows = [f"{total(weights, own)} - {int(weights.sum()) // 2}"] if random.random() < 0.5 else []
    return Side(dict.fromkeys(own, (0.0, 1.0)), cost, rows, whole=own)


# --- plans ------------------------------------------------------------------------------------------------------------


def plans(random: np.random.Generator, ledger: Ledger) -> None:
    """``stackelberg`` is what the leader's best pure equilibrium over all points says, or nothing is claimed."""
    count = int(random.integers(1, 3))
    binaries = int(random.integers(1, 7 if count == 1 else 4))
    priced = random.random() < 0.5
    leads = ["x"] if priced else [f"x{i}" for i in range(int(random.integers(1, 3)))]
    sides: list[Side] = []
    for k in range(count):
        others = [n for side in sides[:k] for n in side.boxes] if random.random() < 0.5 and not priced else []
        sides.append(switching(random, binaries, "ab"[k], leads, others))
    actions = [n for side in sides for n in side.boxes]
    aim = f"{total(random.integers(-4, 5, len(leads)), leads)} + {total(random.integers(-4, 5, len(actions)), actions)}"
    leader = Side(dict.fromkeys(leads, (-2.0, 3.0) if priced else (0.0, 2.0)), aim, whole=() if priced else leads)
    draft = Draft(leader, sides, dict.fromkeys([*leads, *actions], 0.0))
    best, scale = enumerated(draft)
    other, _, factors = in_units(draft, random)
    script = other.script("print(sp.stackelberg(game))\n")
    try:
        plan = sp.stackelberg(other.game(), time_limit=20)
    except sp.NoPlan as refusal:
        if refusal.termination == "infeasible" and "proved" in str(refusal):
            ledger.claim("no pure equilibrium", math.isinf(best), f"one is worth {best:.8g}", script)
        else:
            ledger.claim("no plan, nothing proved")
        return
    worth = plan.leader_objective / factors[0]
    if plan.quality == "optimal":
        holds = abs(worth - best) <= _SAME * scale
        ledger.claim("optimal", holds, f"{worth:.10g}, enumerated {best:.10g}", script)
    else:
        ledger.claim(
            "plan, not proved", worth >= best - _SAME * scale, f"{worth:.10g} is better than {best:.10g}", script
        )


def enumerated(draft: Draft) -> tuple[float, float]:
    """(cost of the best pure equilibrium for the leader, ∞ if there is none; how much that cost can change)."""
    levels = {name: np.arange(low, high + 1.0) for s in draft.followers for name, (low, high) in s.boxes.items()}
    names = [*draft.leader.boxes, *levels]
    for name, (low, high) in draft.leader.boxes.items():
        levels[name] = np.arange(low, high + 1.0) if draft.leader.whole else breaks(draft, name, (low, high))
    grid = dict(zip(names, np.meshgrid(*(levels[n] for n in names), indexing="ij"), strict=True))
    shape, fine = grid[names[0]].shape, np.ones(grid[names[0]].shape, dtype=bool)
    for side in draft.followers:
        cost = np.where(side.is_feasible(grid), np.broadcast_to(side.value(grid), shape), np.inf)
        own = tuple(names.index(name) for name in side.boxes)
        fine &= (cost <= cost.min(axis=own, keepdims=True) + 1e-9) & np.isfinite(cost)
    worth = np.broadcast_to(draft.leader.value(grid), shape)
    return float(np.where(fine, worth, np.inf).min()), float(max(1.0, worth.max() - worth.min()))


def breaks(draft: Draft, name: str, box: tuple[float, float]) -> Any:
    """Where a follower's lines in a price cross, and its bounds: a leader's linear cost is least at one of them."""
    low, high = box
    levels = [low, high]
    for side in draft.followers:
        points = np.meshgrid(*(np.arange(a, b + 1.0) for a, b in side.boxes.values()), indexing="ij")
        values = dict(zip(side.boxes, (p.ravel() for p in points), strict=True))
        first, last = (side.value({**values, name: np.full(points[0].size, level)}) for level in box)
        start, slope = np.subtract.outer(first, first), np.subtract.outer(last, last) - np.subtract.outer(first, first)
        shares = -start[slope != 0] / slope[slope != 0]
        levels += (low + (high - low) * shares[(shares > 0) & (shares < 1)]).tolist()
    return np.unique(np.round(levels, 12))


# --- gains ------------------------------------------------------------------------------------------------------------


def gains(random: np.random.Generator, ledger: Ledger) -> None:
    """A gain exists exactly where the rows of all deviations have a solution; no follower gains at the one returned."""
    tools = [f"u{i}" for i in range(int(random.integers(1, 3)))]
    sides = [
        switching(random, int(random.integers(1, 7)), "ab"[k], tools, []) for k in range(int(random.integers(1, 3)))
    ]
    actions = [n for side in sides for n in side.boxes]
    start = {tool: float(random.integers(-2, 3)) for tool in tools}
    for side in sides:
        points = feasible(side)
        start |= {n: float(v) for n, v in zip(side.boxes, points[int(random.integers(len(points)))], strict=True)}
    leader = Side(dict.fromkeys(tools, (-math.inf, math.inf)), total(np.ones(len(actions)), actions))
    draft = Draft(leader, sides, start)
    exists = [is_induced(side, tools, draft.start) for side in sides]
    other, units, _ = in_units(draft, random)
    script = other.script("rule = sp.affine_incentive(sp.Plan.from_values(game))\nprint(rule, sp.verify(rule))\n")
    try:
        rule = sp.affine_incentive(sp.Plan.from_values(other.game()))
    except sp.NoIncentive as refusal:
        ledger.claim("no gain", not all(exists), f"the rows have a solution: {str(refusal)[:200]}", script)
        return
    if not ledger.claim("gain", all(exists), "the rows exclude each other", script):
        return
    table = {(r, c.split(".")[-1]): float(rule.gain.loc[r, c]) / units[r] for r in rule.gain.index for c in rule.gain}
    worst = max(excess(side, tools, draft.start, table) for side in sides)
    ledger.claim("nobody gains", worst <= _SAME, f"{worst:.3g} of its scale", script)
    report = sp.verify(rule)
    ledger.claim("verified", bool(report.ok), f"{report.verdict}", script)


def feasible(side: Side) -> Any:
    """(points × actions) of its box of whole numbers within its rows."""
    grids = np.meshgrid(*(np.arange(low, high + 1.0) for low, high in side.boxes.values()), indexing="ij")
    points = np.array([grid.ravel() for grid in grids]).T
    inside = np.broadcast_to(side.is_feasible(dict(zip(side.boxes, points.T, strict=True))), len(points))
    return points[inside]


def lines(side: Side, tools: list[str], start: dict[str, float]) -> tuple[Any, Any, Any, float]:
    """(steps, slopes in the tools, temptations, scale) of all its deviations from ``start``."""
    points = feasible(side)
    values = dict(zip(side.boxes, points.T, strict=True))
    at = {tool: np.full(len(points), start[tool]) for tool in tools}
    plain = np.broadcast_to(side.value({**values, **at}), len(points))
    slopes = [np.broadcast_to(side.value({**values, **at, t: at[t] + 1.0}), len(points)) - plain for t in tools]
    planned = float(side.value(start))
    scale = max(1.0, float(np.ptp(plain)))
    return points - [start[n] for n in side.boxes], np.array(slopes).T, planned - plain, scale


def is_induced(side: Side, tools: list[str], start: dict[str, float]) -> bool:
    """Whether Σ slope · K step ≥ temptation has a solution K over all of its deviations."""
    steps, slopes, tempted, _ = lines(side, tools, start)
    rows = np.einsum("pt,pa->pta", slopes, steps).reshape(len(steps), -1)
    answer = linprog(np.zeros(rows.shape[1]), A_ub=-rows, b_ub=-tempted, bounds=(None, None))
    return bool(answer.status == 0)


def excess(side: Side, tools: list[str], start: dict[str, float], gain: dict[tuple[str, str], float]) -> float:
    """The most that it gains by one of its deviations under the gain, in its scale."""
    steps, slopes, tempted, scale = lines(side, tools, start)
    matrix = np.array([[gain.get((tool, name), 0.0) for name in side.boxes] for tool in tools])
    return float((tempted - np.einsum("pt,ta,pa->p", slopes, matrix, steps)).max() / scale)


# --- nonconvex followers ----------------------------------------------------------------------------------------------


def envelopes(random: np.random.Generator, ledger: Ledger) -> None:
    """One action and a transfer: a gain exists exactly where the cost touches its convex envelope at the target."""
    a, b, c, d = np.round(random.uniform(-2, 2, 4), 2).tolist()
    cost = f"{number(abs(a))}*v**4 + {number(b)}*v**3 + {number(c)}*v**2 + {number(d)}*v"
    cost += f" + {number(float(np.round(random.uniform(0, 2), 2)))}*sin(3.0*v)" if random.random() < 0.5 else ""
    target = float(np.round(random.uniform(-2, 2), 2))
    follower = Side({"v": (-2.0, 2.0)}, f"{cost} + u")
    draft = Draft(Side({"u": (-math.inf, math.inf)}, "(v - 1.0)**2"), [follower], {"u": 0.0, "v": target})
    above, gap, scale = above_envelope(follower, target)
    other, _, _ = in_units(draft, random)
    script = other.script("rule = sp.affine_incentive(sp.Plan.from_values(game))\nprint(rule, sp.verify(rule))\n")
    try:
        rule = sp.affine_incentive(sp.Plan.from_values(other.game()))
    except sp.NoIncentive as refusal:
        ledger.claim("off the envelope", above, f"it touches there: {str(refusal)[:200]}", script)
        return
    holds = gap <= 10.0 * _SAME * scale
    ledger.claim("on the envelope", holds, f"{gap:.3g} above it", script)
    report = sp.verify(rule)
    ledger.claim("verified", bool(report.ok), f"{report.verdict}", script)


def above_envelope(side: Side, target: float) -> tuple[bool, float, float]:
    """Whether no line supports the cost at the target on a fine grid; c(target) − its envelope there; range of c."""
    grid = np.linspace(-2.0, 2.0, 8001)
    level, height = side.value({"v": grid, "u": 0.0}), float(side.value({"v": target, "u": 0.0}))
    left, right = grid < target - 1e-9, grid > target + 1e-9
    if not left.any() or not right.any():
        return False, 0.0, float(np.ptp(level))
    rises = (height - level[left]) / (target - grid[left])
    falls = (level[right] - height) / (grid[right] - target)
    above = float(rises.max() - falls.min())
    near, far = target - grid[left][np.argmax(rises)], grid[right][np.argmin(falls)] - target
    return above > 0.0, max(0.0, above) * near * far / (near + far), float(np.ptp(level))
