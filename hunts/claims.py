"""Fits, and plans of several leaders, against closed-form answers: SciPy's least squares and enumerated deviations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from scipy.optimize import minimize

import stackpyomo as sp

from .ledger import Ledger

__all__ = ["Market", "fits", "leaders"]

_SAME = 1e-5
"""Numbers within this share of what is at stake are the same."""

_POINTS = 4001
"""Levels at which a leader's deviations are looked at."""


# --- fits -------------------------------------------------------------------------------------------------------------


def fits(random: np.random.Generator, ledger: Ledger) -> None:
    """A customer of taste and slope known by its meter, in any unit: least squares, and all that explains the data."""
    action, money = 10.0 ** int(random.integers(-7, 8)), 10.0 ** int(random.integers(-8, 9))
    taste, slope, top = random.uniform(1, 9), random.uniform(0.3, 4), float(random.choice([2.0, 5.0, 50.0]))
    price = random.choice(
        [random.uniform(-2, 10, int(random.integers(2, 9))), np.arange(6.0)][int(random.integers(2))], 8
    )
    noise = float(random.choice([0.0, 0.02, 0.3]))
    use = np.clip(answers(taste, slope, price, top) + noise * random.uniform(-1, 1, len(price)), 0.0, top)
    low, high = np.array([0.0, 0.1]), np.array([12.0, 8.0])
    units = np.array([money / action, money / action**2])
    m = pyo.ConcreteModel()
    m.taste, m.slope = pyo.Param(initialize=units[0], mutable=True), pyo.Param(initialize=units[1], mutable=True)
    m.p, m.f = pyo.Var(initialize=0.0), pyo.Block()
    m.f.u = pyo.Var(bounds=(0, top * action), initialize=top * action / 2)
    m.f.cost = pyo.Objective(expr=m.slope * m.f.u**2 / 2 - m.taste * m.f.u + m.p * m.f.u)
    m.goal = pyo.Objective(expr=m.f.u)
    bounds = dict(zip(("taste", "slope"), zip(low * units, high * units, strict=True), strict=True))
    rows = {"p": price * units[0], "f.u": use * action}
    fit = sp.fit(sp.Game(m, m.f), rows, bounds, noise=max(noise, 1e-3) * action)
    told = f"prices {price.tolist()}, uses {use.tolist()}, at most {top}, units {action:g} and {money:g}"

    def squares(theta: Any) -> float:
        return float(np.sum((use - answers(theta[0], theta[1], price, top)) ** 2))

    theta = fit.parameters[["taste", "slope"]].to_numpy() / units
    size = max(float(np.sum(use**2)), 1e-3)
    level = fit.sum_of_squares / action**2
    ledger.claim("fit: squares", abs(level - squares(theta)) <= _SAME * size, f"{level}, not {squares(theta)}: {told}")
    ledger.claim("fit: within bounds", bool((theta >= low - 1e-9).all() and (theta <= high + 1e-9).all()), f"{theta}")
    starts = [theta, np.array([taste, slope]), *random.uniform(low, high, (12, 2))]
    ends = [minimize(squares, s, bounds=list(zip(low, high, strict=True)), method="Nelder-Mead") for s in starts]
    best = min(ends, key=lambda end: float(end.fun))
    word = "fit: proved the least" if fit.quality == "optimal" else "fit: least, not proved"
    beaten = level - float(best.fun) > 10 * _SAME * size
    if fit.quality == "optimal":
        ledger.claim(word, not beaten, f"{level} at {theta}, and {best.fun} at {best.x}: {told}")
    else:
        ledger.claim(word + (", beaten" if beaten else ""))
    _explained(fit, units, price, use, top, max(noise, 1e-3), (taste, slope), ledger, told)


def _explained(
    fit: sp.Fit, units: Any, price: Any, use: Any, top: float, noise: float, truth: Any, ledger: Ledger, told: str
) -> None:
    """Corners explain every row, and the truth, which does, lies among them."""
    corners = fit.consistent.vertices.to_numpy() / units
    if fit.consistent.around:
        ledger.claim("fit: a box around all that explains")
    else:
        worst = max(float(np.abs(answers(*corner, price, top) - use).max()) for corner in corners)
        ledger.claim("fit: corners explain", worst <= noise + 1e-6 * max(1.0, top), f"{worst} beyond {noise}: {told}")
    directions = np.array([[math.cos(a), math.sin(a)] for a in np.linspace(0.0, 2 * math.pi, 73)])
    outside = (directions @ np.array(truth) - (directions @ corners.T).max(axis=1)).max()
    ledger.claim("fit: the truth is explained", outside <= 1e-6, f"{truth} lies {outside} outside of {corners}: {told}")


def answers(taste: float, slope: float, price: Any, top: float) -> Any:
    """min slope u²/2 − (taste − price) u within 0 ≤ u ≤ top."""
    return np.clip((taste - price) / slope, 0.0, top)


# --- several leaders --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Market:
    """Two leaders of one variable each, and a follower: a u²/2 + (b + c·x) u, 0 ≤ u ≤ top."""

    bend: float
    shift: float
    felt: Any
    top: float
    own: Any  #: (leader) half its curvature.
    slope: Any
    cross: Any  #: (leader) of x_1 x_2.
    by_answer: Any  #: (leader) of u x_k.
    of_answer: Any  #: (leader) of u.
    width: float

    @classmethod
    def drawn(cls, random: np.random.Generator) -> Market:
        """Small whole numbers."""

        def pair(low: int, high: int) -> Any:
            return random.integers(low, high, 2).astype(float)

        return cls(
            float(random.integers(1, 4)), float(random.integers(-6, 2)), pair(-2, 3), float(random.integers(1, 6)),
            pair(0, 4), pair(-6, 3), pair(-2, 3), pair(-1, 2), pair(-2, 3), float(random.integers(1, 6)),
        )  # fmt: skip

    def answer(self, x: Any) -> Any:
        """What the follower does, the only best."""
        return np.clip(-(self.shift + self.felt[0] * x[0] + self.felt[1] * x[1]) / self.bend, 0.0, self.top)

    def cost(self, k: int, x: Any) -> Any:
        """What leader k minimises."""
        return self.written(k, x, self.answer(x))

    def written(self, k: int, x: Any, u: Any) -> Any:
        """The same, of levels or of Vars."""
        rest = self.cross[k] * x[0] * x[1] + self.by_answer[k] * u * x[k] + self.of_answer[k] * u
        return self.own[k] * x[k] ** 2 + self.slope[k] * x[k] + rest

    def gain(self, k: int, x: Any) -> float:
        """What leader k gains by the best of many deviations, kinks of the answer among them."""
        levels = np.linspace(0.0, self.width, _POINTS)
        if self.felt[k]:
            other = self.shift + self.felt[1 - k] * x[1 - k]
            kinks = np.array([-other, -other - self.top * self.bend]) / self.felt[k]
            levels = np.concatenate([levels, kinks[(kinks >= 0.0) & (kinks <= self.width)]])
        deviations = [levels, np.full_like(levels, x[1])] if k == 0 else [np.full_like(levels, x[0]), levels]
        return float(self.cost(k, x) - np.min(self.cost(k, deviations)))


def leaders(random: np.random.Generator, ledger: Ledger) -> None:
    """ε bounds what each leader gains by any deviation; where no equilibrium is said to be, no point has less."""
    market = Market.drawn(random)
    action, step, goal = (10.0 ** int(random.integers(-n, n + 1)) if random.random() < 0.5 else 1.0 for n in (7, 7, 8))
    m = pyo.ConcreteModel()
    m.L, m.f = pyo.Block([0, 1]), pyo.Block()
    for k in (0, 1):
        m.L[k].x = pyo.Var(bounds=(0, market.width * step), initialize=step)
    m.f.u = pyo.Var(bounds=(0, market.top * action), initialize=action)
    x, u = [m.L[k].x / step for k in (0, 1)], m.f.u / action
    for k in (0, 1):
        m.L[k].cost = pyo.Objective(expr=goal * market.written(k, x, u))
    linear = market.shift + float(market.felt[0]) * x[0] + float(market.felt[1]) * x[1]
    m.f.cost = pyo.Objective(expr=market.bend / 2 * u**2 + linear * u)
    plan = sp.stackelberg(sp.Game(m, m.f, leaders=m.L), time_limit=20.0)
    at = [plan.value(m.L[k].x) / step for k in (0, 1)]
    told = (
        f"{market} in units {action:g}, {step:g}, {goal:g}: {plan.quality} at {at}, ε {(plan.epsilon / goal).to_dict()}"
    )
    size = max(
        1.0,
        *(float(np.ptp(market.cost(k, np.random.default_rng(0).uniform(0, market.width, (2, 99))))) for k in (0, 1)),
    )
    same = abs(plan.value(m.f.u) / action - market.answer(at)) <= 1e-5 * market.top
    ledger.claim("leaders: the follower's answer", bool(same), told)
    for k, epsilon in enumerate(plan.epsilon / goal):
        gain = market.gain(k, at)
        ledger.claim(
            "leaders: ε", math.isnan(epsilon) or gain <= epsilon + _SAME * size, f"{gain} by leader {k}: {told}"
        )
    if plan.quality == "infeasible":
        ledger.claim("leaders: no equilibrium", *_shortfall(market, plan.least_shortfall / goal, size, told))


def _shortfall(market: Market, least: float, size: float, told: str) -> tuple[bool, str]:
    """Whether some point leaves every leader less to gain than is said to be the least."""

    def most(x: Any) -> float:
        inside = np.clip(x, 0.0, market.width)
        return max(market.gain(k, inside) for k in (0, 1))

    axis = np.linspace(0.0, market.width, 21)
    points = sorted(((most((a, b)), (a, b)) for a in axis for b in axis), key=lambda pair: pair[0])[:3]
    ends = [minimize(most, start, method="Nelder-Mead") for _, start in points]
    best = min(ends, key=lambda end: float(end.fun))
    return float(best.fun) >= least - _SAME * size, f"{best.fun} at {best.x}, said {least}: {told}"
