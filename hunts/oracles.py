"""Oracles: what a deviation is worth, in plain arithmetic, by samples, rays and SciPy. Nothing of the package's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize

from .drafts import Box, Draft, Side, evaluated

__all__ = ["Deviation", "Rule", "best_deviation", "is_bent_down", "natural_scale", "slopes", "unknown"]

_SAMPLES = 3000


@dataclass
class Rule:
    """u0 = offset + K d + ½ R d², cut to the leader's bounds; signals are texts in plain names."""

    draft: Draft
    leader: list[str]
    signals: list[str]
    offset: Mapping[str, float]
    gain: Any
    plan: Mapping[str, float]
    bend: Any = None
    cut: bool = True

    def answer(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Leader variable → what it is where the followers play these values."""
        moved = [evaluated(s, values) - evaluated(s, self.plan) for s in self.signals]
        answers = {}
        for i, name in enumerate(self.leader):
            level = self.offset[name] + sum(self.gain[i][j] * d for j, d in enumerate(moved))
            if self.bend is not None:
                level = level + sum(self.bend[i][j] * d**2 / 2 for j, d in enumerate(moved))
            low, high = self.draft.leader.boxes[name]
            answers[name] = np.clip(level, low, high) if self.cut else level
        return answers

    def leaves_bounds(self, values: Mapping[str, float]) -> bool:
        """Whether the formula alone would leave the leader's bounds there."""
        formula = replace(self, cut=False).answer(values)
        return any(formula[n] != level for n, level in self.answer(values).items())


@dataclass
class Deviation:
    """The best deviation that was seen: ``gain`` is what the follower saves by it (infinite where there is no end)."""

    gain: float
    values: dict[str, float]


def played(side: Side, rule: Rule | None, plan: Mapping[str, float]) -> Callable[[Any], Any]:
    """(points × own variables) → the follower's cost, others as planned, the leader by its rule."""
    names = list(side.boxes)

    def cost(points: Any) -> Any:
        values: dict[str, Any] = {**plan, **dict(zip(names, np.asarray(points, dtype=float).T, strict=True))}
        if rule is not None:
            values |= rule.answer(values)
        return side.value(values) + np.zeros(len(points))

    return cost


def best_deviation(
    side: Side, rule: Rule | None, plan: Mapping[str, float], random: np.random.Generator, unit: Sequence[float] = ()
) -> Deviation:
    """The best that a follower can do within its bounds and rows, as far as samples, rays and SciPy see it."""
    cost, names = played(side, rule, plan), list(side.boxes)
    here = np.array([plan[n] for n in names])
    units = np.array(unit or [1.0] * len(names))
    points = _samples(here, list(side.boxes.values()), units, random)
    at_plan = float(cost(here[None])[0])

    def feasible(z: Any) -> Any:
        return side.is_feasible({**plan, **dict(zip(names, np.asarray(z).T, strict=True))}) & np.ones(len(z), bool)

    points = points[feasible(points)]
    levels = cost(points) if len(points) else np.empty(0)
    fine = np.isfinite(levels)
    if (np.isneginf(levels)).any():
        return Deviation(math.inf, dict(zip(names, points[np.isneginf(levels)][0].tolist(), strict=True)))
    points, levels = points[fine], levels[fine]
    best, least = here, at_plan
    order = np.argsort(levels)[:3]
    for start in [here, *points[order]]:
        end = _polished(side, cost, plan, start, units)
        for z in (start, end):
            if feasible(z[None])[0]:
                level = float(cost(z[None])[0])
                if math.isfinite(level) and level < least:
                    best, least = z, level
    return Deviation(at_plan - least, dict(zip(names, best.tolist(), strict=True)))


def _samples(here: Any, boxes: list[Box], units: Any, random: np.random.Generator) -> Any:
    """Points of the box: all over it, around the plan on every scale, on its faces, and far out where it is open."""
    n = len(here)
    low = np.array([b[0] if math.isfinite(b[0]) else h - 20 * u for b, h, u in zip(boxes, here, units, strict=True)])
    high = np.array([b[1] if math.isfinite(b[1]) else h + 20 * u for b, h, u in zip(boxes, here, units, strict=True)])
    over = random.uniform(low, high, size=(_SAMPLES, n))
    near = here + random.normal(size=(_SAMPLES, n)) * units * 10.0 ** random.uniform(-4, 0.5, size=(_SAMPLES, 1))
    rays = here + random.normal(size=(600, n)) * units * 10.0 ** random.uniform(1, 7, size=(600, 1))
    faces = np.where(random.random((600, n)) < 0.5, over[:600], np.where(random.random((600, n)) < 0.5, low, high))
    alone = np.tile(here, (600, 1))
    column = random.integers(n, size=600)
    alone[np.arange(600), column] = np.concatenate([over, rays])[random.integers(_SAMPLES + 600, size=600), column]
    points = np.concatenate([over, near, rays, faces, alone])
    return np.clip(points, [b[0] for b in boxes], [b[1] for b in boxes])


def _polished(side: Side, cost: Any, plan: Mapping[str, float], start: Any, units: Any) -> Any:
    """A local minimum from there, in units of order one."""
    names = list(side.boxes)
    boxes = [
        (None if not math.isfinite(a) else a / u, None if not math.isfinite(b) else b / u)
        for (a, b), u in zip(side.boxes.values(), units, strict=True)
    ]
    offset = float(cost(start[None])[0])

    def level(z: Any) -> float:
        value = float(cost((z * units)[None])[0]) - offset
        return value if math.isfinite(value) else 1e300

    rows: list[dict[str, Any]] = [
        {
            "type": "ineq",
            "fun": lambda z, row=row: -float(evaluated(row, {**plan, **dict(zip(names, z * units, strict=True))})),
        }
        for row in side.rows
    ]
    with np.errstate(all="ignore"):
        try:
            method = "SLSQP" if rows else "L-BFGS-B"
            options = {"maxiter": 200, "ftol": 1e-15}
            end = minimize(level, start / units, bounds=boxes, constraints=rows, method=method, options=options)
        except (ValueError, FloatingPointError):
            return start
    return end.x * units if np.isfinite(end.x).all() and np.abs(end.x).max() < 1e9 else start


def natural_scale(
    side: Side, plan: Mapping[str, float], random: np.random.Generator, unit: Sequence[float] = ()
) -> float:
    """How much the follower's cost changes within one unit of the plan while the leader stays where it is."""
    names = list(side.boxes)
    here = np.array([plan[n] for n in names])
    steps = random.uniform(-1, 1, size=(400, len(names))) * np.array(unit or [1.0] * len(names))
    points = np.clip(here + steps, [b[0] for b in side.boxes.values()], [b[1] for b in side.boxes.values()])
    levels = played(side, None, plan)(np.vstack([here, points]))
    levels = levels[np.isfinite(levels)]
    return float(levels.max() - levels.min()) if len(levels) else 0.0


def unknown(side: Side, plan: Mapping[str, float], deviation: Deviation) -> float:
    """How much of a gain hangs on the last digits of what others do: on a billionth of it, or of 1.

    Far out, at u = 2e5 say, a slope of 2 (x − 1) makes something of any x that is not 1 to all its digits.
    """
    others = {name: 1e-9 * max(1.0, abs(level)) for name, level in plan.items() if name not in side.boxes}
    moved = ({**plan, name: plan[name] + step} for name, step in others.items())
    gains = [float(side.value(at) - side.value({**at, **deviation.values})) for at in (plan, *moved)]
    return sum(abs(gain - gains[0]) for gain in gains)


def is_bent_down(
    cost: Callable[[Any], Any], boxes: list[Box], random: np.random.Generator, count: int = 4000
) -> tuple[float, Any, Any] | None:
    """(how much, x, y) where f((x + y)/2) > (f(x) + f(y))/2 beyond rounding on a finite box; None: nowhere seen."""
    low, high = np.array(boxes, dtype=float).T
    x = random.uniform(low, high, size=(count, len(boxes)))
    y = np.where(random.random((count, 1)) < 0.5, random.uniform(low, high, size=x.shape), x)
    y = np.clip(y + random.normal(size=x.shape) * (high - low) * 10.0 ** random.uniform(-3, 0, (count, 1)), low, high)
    x, y = x.astype(np.longdouble), y.astype(np.longdouble)  # nothing underflows that has a logarithm
    a, b, middle = cost(x), cost(y), cost((x + y) / 2)
    with np.errstate(all="ignore"):
        excess = middle - (a + b) / 2
        noise = 1e-9 * (np.abs(a) + np.abs(b) + np.abs(middle)) + 1e-12
        worst = np.where(np.isfinite(a) & np.isfinite(b), np.where(np.isnan(middle), np.inf, excess - noise), -np.inf)
    i = int(np.argmax(worst))
    return (float(worst[i]), x[i], y[i]) if worst[i] > 0 else None


def slopes(side: Side, names: Sequence[str], plan: Mapping[str, float], unit: float = 1e-5) -> Any:
    """∂J/∂(names) at the plan, by central differences."""
    at = []
    for name in names:
        step = unit * max(1.0, abs(plan[name]))
        up, down = ({**plan, name: plan[name] + sign * step} for sign in (1, -1))
        at.append((float(side.value(up)) - float(side.value(down))) / (2 * step))
    return np.array(at)
