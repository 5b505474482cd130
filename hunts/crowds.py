"""Crowds: equilibria and plans of populations of two types beside a major follower, against fixed points by SciPy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize_scalar

import stackpyomo as sp

from .ledger import Ledger

__all__ = ["hunt"]

_SAME = 1e-5
"""Numbers within this share of what is at stake are the same."""

_BOX = 3.0
"""Every action lies within ± so much."""

_LIMIT = 4.0
"""The leader's variable lies within ± so much."""

_CLEAR = 0.01
"""A slope below so much is near 0, an action so near is at its bound."""

_SCRIPT = """\
import math
import pyomo.environ as pyo
import stackpyomo as sp
m = pyo.ConcreteModel()
m.t = pyo.Var(bounds=(-{limit}, {limit}), initialize=0)
m.z = pyo.Var(initialize=0)
m.f = pyo.Block(range({kinds}))
for k, (p, q, c, d, e, h, r) in enumerate({data}):
    m.f[k].u = pyo.Var(bounds=(-3 * {action}, 3 * {action}), initialize=0)
    u, z = m.f[k].u / {action}, m.z / {action}
    m.f[k].cost = pyo.Objective(
        expr={money} * (p/2*(u - c)**2 + q/4*(u - c)**4 + d*u*z + e*z**2/2 + h*m.t*u + r*(m.t + 1)**2/2)
    )
m.define = pyo.Constraint(expr=m.z == sum(w * m.f[k].u for k, w in enumerate({weights})))
m.goal = pyo.Objective(expr=(m.z / {action} - {target})**2 + {price}*m.t**2)
members = [sp.Population(m.f[k], n) if n != 1 else m.f[k] for k, n in enumerate({sizes})]
game = sp.Game(m, followers=members, aggregates=[m.define])
"""


@dataclass(frozen=True)
class _Crowd:
    """J_k = p/2 (u − c)² + q/4 (u − c)⁴ + d u z + e z²/2 + h t u + r (t+1)²/2, where z = Σ w_k u_k.

    One of N members moves z by w/N of its own step.
    """

    data: np.ndarray  #: (types, 7) p, q, c, d, e, h, r.
    weights: np.ndarray  #: (types) w.
    sizes: tuple[float, ...]  #: (types) N, perhaps infinite.

    @property
    def shares(self) -> np.ndarray:
        return self.weights / np.array(self.sizes)

    def cost(self, k: int, u: Any, z: Any, t: Any) -> Any:
        p, q, c, d, e, h, r = self.data[k]
        own = p / 2 * (u - c) ** 2 + q / 4 * (u - c) ** 4
        return own + d * u * z + e * z**2 / 2 + h * t * u + r * (t + 1) ** 2 / 2

    def marginal(self, k: int, u: float, z: float, t: float) -> float:
        """What a member's cost changes with its own action, its part of the aggregate with it."""
        p, q, c, d, e, h, _ = self.data[k]
        return float(p * (u - c) + q * (u - c) ** 3 + d * z + self.shares[k] * (d * u + e * z) + h * t)

    def answer(self, k: int, z: float, t: float) -> float:
        """Where a member's marginal cost is 0 at the aggregate z, its own part of it included, or its bound."""

        def marginal(u: float) -> float:
            return self.marginal(k, u, z, t)

        if marginal(-_BOX) >= 0.0 or marginal(_BOX) <= 0.0:
            return -_BOX if marginal(-_BOX) >= 0.0 else _BOX
        return float(brentq(marginal, -_BOX, _BOX, xtol=1e-13))

    def equilibrium(self, t: float) -> tuple[np.ndarray, float]:
        """(actions, aggregate): the only root of z − Σ w_k answer_k(z), which grows with z as no d or e is below 0."""

        def answers(z: float) -> np.ndarray:
            return np.array([self.answer(k, z, t) for k in range(len(self.weights))])

        far = _BOX * float(self.weights.sum()) + 1.0
        z = float(brentq(lambda z: z - float(self.weights @ answers(z)), -far, far, xtol=1e-13))
        return answers(z), z

    def regret(self, u: np.ndarray, t: float, slopes: np.ndarray | float = 0.0) -> np.ndarray:
        """(types) what a member gains at most where the leader answers t + slope (v − u)."""
        z, v = float(self.weights @ u), np.linspace(-_BOX, _BOX, 60_001)
        gains = []
        for k, share in enumerate(self.shares):
            lead = t + np.broadcast_to(slopes, len(u))[k] * (v - u[k])
            best = float(np.min(self.cost(k, v, z + share * (v - u[k]), lead)))
            gains.append(max(0.0, float(self.cost(k, u[k], z, t)) - best))
        return np.array(gains)


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """One to three types in any unit: nash, stackelberg, what one regrets, the game written out, and simulations."""
    crowd, names = _drawn(random)
    action, money, target, price = names["action"], names["money"], names["target"], names["price"]
    script = _SCRIPT.format(**names)
    spaces: dict[str, Any] = {}
    exec(compile(script, "<crowd>", "exec"), spaces)
    game, m = spaces["game"], spaces["m"]
    t = round(float(random.uniform(-1, 1)), 2)
    u, z = crowd.equilibrium(t)
    plan = sp.nash(game, leader={"t": t})
    _same_plan("nash", plan, m, (u, z), action, ledger, script + f"print(sp.nash(game, leader={{'t': {t}}}))\n")
    _verified(plan, crowd, (u, t), money, ledger, script)
    _written_out(game, crowd, t, action, ledger, script)
    _led(game, m, crowd, (action, target, price), ledger, script)
    _played(plan, crowd, (u, z, t), (action, money, target, price), ledger, script)
    _announced(game, m, crowd, action, ledger, script)


def _drawn(random: np.random.Generator) -> tuple[_Crowd, dict[str, Any]]:
    kinds = int(random.integers(1, 4))
    sizes = [float(random.choice([2, 3, 7, 50, 1000, math.inf])) for _ in range(kinds)]
    if random.random() < 0.4:
        sizes[0] = 1.0
    columns = [
        random.uniform(0.3, 2, kinds),
        random.uniform(0, 1, kinds) * random.integers(0, 2, kinds),
        random.uniform(-2, 2, kinds),
        random.uniform(0, 1, kinds),
        random.uniform(0, 0.5, kinds) * random.integers(0, 2, kinds),
        random.choice([1.0, 0.5, -1.0], kinds),
        np.full(kinds, random.choice([0.0, 1.0, 4.0])),
    ]
    data = np.round(np.array(columns).T, 2)
    weights = np.round(random.uniform(0.2, 1, kinds), 2)
    action, money = 10.0 ** int(random.integers(-5, 6)), 10.0 ** int(random.integers(-6, 7))
    told = ["math.inf" if math.isinf(n) else str(int(n)) for n in sizes]
    names = {"kinds": kinds, "data": data.tolist(), "weights": weights.tolist(), "action": action, "money": money}
    names |= {"sizes": f"[{', '.join(told)}]", "target": round(float(random.uniform(-1, 1)), 2)}
    names |= {"price": float(random.choice([0.0, 0.1])), "limit": _LIMIT}
    return _Crowd(data, weights, tuple(sizes)), names


def _same_plan(word: str, plan: Any, m: Any, truth: Any, action: float, ledger: Ledger, script: str) -> None:
    u, z = truth
    far = max(
        np.abs([plan.value(m.f[k].u) / action - x for k, x in enumerate(u)]).max(), abs(plan.value(m.z) / action - z)
    )
    ledger.claim(word, far <= _SAME * _BOX, f"off by {far} of {_BOX}", script)


def _verified(
    plan: Any, crowd: _Crowd, at: tuple[np.ndarray, float], money: float, ledger: Ledger, script: str
) -> None:
    """At the equilibrium nobody gains, and the report says so; moved off it, the regret is the grid's."""
    u, t = at
    report, truth = sp.verify(plan), crowd.regret(u, t)
    word = "verified" if report.ok else "an equilibrium that is not verified"
    far = float(np.abs(report.regret.to_numpy() / money - truth).max())
    ledger.claim(word, report.ok and far <= _SAME, f"off by {far}: {report}", script)


def _written_out(game: Any, crowd: _Crowd, t: float, action: float, ledger: Ledger, script: str) -> None:
    """Every member a follower of its own: the same equilibrium."""
    if sum(crowd.sizes) > 12:
        return
    _, z = crowd.equilibrium(t)
    wide = game.expand()
    plan = sp.nash(wide, leader={"t": t})
    (total,) = [v for v in wide.aggregate_variables() if v.name == "z"]
    ledger.claim(
        "written out", abs(plan.value(total) / action - z) <= _SAME * _BOX, f"{plan.value(total)}, {z}", script
    )
    again = sp.nash(wide.collapse(), leader={"t": t})
    ledger.claim("collapsed", abs(again.value("z") / action - z) <= _SAME * _BOX, f"{again.value('z')}, {z}", script)


def _led(game: Any, m: Any, crowd: _Crowd, at: tuple[float, float, float], ledger: Ledger, script: str) -> None:
    """The leader's best constant by a grid and Brent's method beside it."""
    action, target, price = at

    def goal(t: float) -> float:
        return (crowd.equilibrium(t)[1] - target) ** 2 + price * t**2

    grid = np.linspace(-_LIMIT, _LIMIT, 41)
    levels = [goal(t) for t in grid]
    k = int(np.argmin(levels))
    near = (grid[max(0, k - 1)], grid[min(len(grid) - 1, k + 1)])
    best = min(levels[k], float(minimize_scalar(goal, bounds=near, method="bounded", options={"xatol": 1e-9}).fun))
    plan = sp.stackelberg(game)
    script += "print(sp.stackelberg(game))\n"
    t = plan.value(m.t)
    u, z = crowd.equilibrium(t)
    _same_plan("stackelberg: they answer", plan, m, (u, z), action, ledger, script)
    word = "stackelberg: optimal" if plan.quality == "optimal" else "stackelberg: feasible"
    scale = max(levels) - best
    worse = plan.leader_objective - best
    holds = worse <= 10 * _SAME * scale and abs(plan.leader_objective - goal(t)) <= 10 * _SAME * scale
    ledger.claim(word, holds or plan.quality != "optimal", f"{plan.leader_objective}, by hand {best}", script)
    if not holds and plan.quality != "optimal":
        ledger.claim("stackelberg: feasible, beaten")


def _played(plan: Any, crowd: _Crowd, at: Any, scales: Any, ledger: Ledger, script: str) -> None:
    """One type alone, played by as many as it has: nobody regrets, the leader gets what the plan says."""
    if len(crowd.sizes) > 1:
        return
    u, z, t = at
    _, money, target, price = scales
    for size in (1, 4, 30):
        alone = _Crowd(crowd.data, crowd.weights, (float(size),))
        row = sp.simulate(plan, [size]).iloc[0]
        truth = float(alone.regret(u, t)[0])
        holds = abs(row["regret"] / money - truth) <= _SAME
        ledger.claim("simulated: regret", holds, f"{row['regret'] / money}, by hand {truth}, N = {size}", script)
        value = (z - target) ** 2 + price * t**2
        ledger.claim(
            "simulated: leader", abs(row["leader_objective"] - value) <= _SAME * max(1.0, value), f"{row}", script
        )
        settled = sp.settled(plan, sizes={"f[0]": size})
        there = alone.equilibrium(t)[1]
        far = abs(settled.value("z") / scales[0] - there)
        ledger.claim("settled", far <= _SAME * _BOX, f"off by {far}, N = {size}", script)


def _announced(game: Any, m: Any, crowd: _Crowd, action: float, ledger: Ledger, script: str) -> None:
    """The incentive of each member's action: the only gain by hand, and what a member gains under it on a grid."""
    plan = sp.leader_optimal(game)
    u, t = np.array([plan.value(m.f[k].u) / action for k in range(len(crowd.sizes))]), plan.value(m.t)
    z, kinds = float(crowd.weights @ u), range(len(u))
    grown = np.array([crowd.data[k][5] * u[k] + crowd.data[k][6] * (t + 1) for k in kinds])
    slopes = -np.array([crowd.marginal(k, u[k], z, t) for k in kinds]) / grown
    clear = bool((np.abs(grown) > _CLEAR).all() and (np.abs(u) < _BOX - _CLEAR).all())
    ends = np.array([np.abs(t + s * (np.array([-_BOX, _BOX]) - a)).max() for s, a in zip(slopes, u, strict=True)])
    regret, script = crowd.regret(u, t, slopes), script + "rule = sp.affine_incentive(sp.leader_optimal(game))\n"
    stopped, holds = bool((ends > _LIMIT).any()), float(regret.max()) <= _SAME
    try:
        rule = sp.affine_incentive(plan)
    except sp.NoIncentive as refusal:
        ledger.claim("no incentive", not clear or stopped or float(regret.max()) > 0.0, f"{slopes}: {refusal}", script)
        return
    report = sp.verify(rule)
    if clear:
        far = np.abs(rule.gain.to_numpy()[0] * action - slopes).max()
        ledger.claim("gain", far <= 1e-4 * max(1.0, np.abs(slopes).max()), f"off by {far}: {slopes}", script)
    if stopped or not clear:
        ledger.claim("a rule that is stopped, or not the only one")
    elif report.ok:
        ledger.claim("rule verified", holds, f"regret {regret}: {report}", script + "print(sp.verify(rule))\n")
    else:
        ledger.claim("rule not verified", not holds, f"regret {regret}: {report}", script + "print(sp.verify(rule))\n")
