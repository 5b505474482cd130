"""Populations: the closed form of one exchangeable follower with one action, for N = 1 to 1000 and in the limit."""

from __future__ import annotations

import math

import numpy as np

import stackpyomo as sp

from .ledger import Ledger

__all__ = ["hunt"]

_SAME = 1e-5
_SCRIPT = """\
import math
import pyomo.environ as pyo
import stackpyomo as sp
m = pyo.ConcreteModel()
m.t = pyo.Var(bounds=(-50, 50), initialize=0)
m.mean = pyo.Var(bounds=(-50, 50), initialize=0)
m.f = pyo.Block()
m.f.u = pyo.Var(bounds=(-5, 5), initialize=0)
m.define = pyo.Constraint(expr=m.mean == m.f.u)
u, t, z = m.f.u, m.t, m.mean
m.f.cost = pyo.Objective(expr={cost})
m.goal = pyo.Objective(expr={goal})
game = sp.Game(m, followers=sp.Population(m.f, {size}), aggregates=[m.define])
plan = sp.leader_optimal(game)
rule = sp.affine_incentive(plan{options})
print(rule, sp.verify(rule), rule.gain, rule.energy)
"""


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """½ p (u − c)² + d u z + (e + f t)² g + h t u: gain, regret and energy for every size, alone and written out."""
    p, c, d, f, h = (round(float(random.uniform(0.3, 2) * s), 2) for s in (1, *random.choice([-1, 1], size=4)))
    d = d if random.random() < 0.7 else 0.0
    target, size = round(float(random.uniform(-1, 1)), 2), int(random.choice([1, 2, 5, 10, 100, 1000]))
    of_mean = bool(random.random() < 0.5)
    cost = f"{p}/2*(u - ({c}))**2 + ({d})*u*z + ({h})*t*u + (t + ({f}))**2/2"
    goal = f"(z - ({target}))**2 + 0.1*t**2"
    script = _SCRIPT.format(cost=cost, goal=goal, size=size, options=", observe=[m.mean]" if of_mean else "")
    names: dict[str, object] = {}
    exec(compile(script.split("plan =")[0], "<population>", "exec"), names)
    game, m = names["game"], names["m"]
    assert isinstance(game, sp.Game)
    plan = sp.leader_optimal(game)
    u, t = plan.value(m.f.u), plan.value(m.t)
    ledger.claim("team optimum", abs(u - target) < 1e-4 and abs(t) < 1e-4, f"u = {u}, t = {t}", script)
    a, b = p * (u - c) + d * u + d * u / size + h * t, h * u + t + f
    try:
        rule = sp.affine_incentive(plan, [m.mean] if of_mean else "actions")
    except sp.NoIncentive:
        bend = p + 2 * d / size - 2 * h * a / b + (a / b) ** 2 if abs(b) > 1e-6 else -1.0
        ledger.claim("refusal", abs(b) < 1e-3 or bend < 1e-3, f"a = {a}, b = {b}, curvature {bend}", script)
        return
    gain = float(rule.gain.iloc[0, 0])
    truth = -a / b * (size if of_mean else 1)
    ledger.claim("gain", abs(gain - truth) <= _SAME * max(1.0, abs(truth)), f"{gain}, by hand {truth}", script)
    _regret(rule, (p, c, d, f, h), (u, t, size, -a / b), ledger, script)
    _written_out(rule, game, size, of_mean, ledger, script)
    _limit(game, of_mean, (p, c, d, h, u, t), ledger, script)


def _regret(
    rule: sp.Incentive, data: tuple[float, ...], plan: tuple[float, float, int, float], ledger: Ledger, script: str
) -> None:
    """One member on a dense grid: it moves the mean by 1/N, and the leader by its own gain, cut to bounds."""
    p, c, d, f, h = data
    u, t, size, slope = plan
    v = np.linspace(-5, 5, 200_001)
    z, lead = u + (v - u) / size, np.clip(t + slope * (v - u), -50, 50)
    cost = p / 2 * (v - c) ** 2 + d * v * z + h * lead * v + (lead + f) ** 2 / 2
    here = p / 2 * (u - c) ** 2 + d * u * u + h * t * u + (t + f) ** 2 / 2
    gain, report = here - float(cost.min()), sp.verify(rule)
    holds = gain <= 1e-5 * max(1.0, float(np.ptp(cost[np.abs(v - u) < 1])))
    if report.ok:
        ledger.claim(f"verified: {report.certificate.iloc[0]}", holds, f"a member gains {gain}", script)
    else:
        ledger.claim(
            "not verified",
            gain > 1e-9 or str(report.certificate.iloc[0]) == "unknown",
            f"the best gain is {gain}",
            script,
        )


def _written_out(rule: sp.Incentive, game: sp.Game, size: int, of_mean: bool, ledger: Ledger, script: str) -> None:
    """The same followers one by one: the same gains; the energy of their actions is N Q²."""
    if size > 10:
        return
    other = game.expand()
    plan = sp.leader_optimal(other)
    means = [v for v in other.aggregate_variables() if v.name == "mean"]
    try:
        wide = sp.affine_incentive(plan, means if of_mean else "actions")
    except sp.NoIncentive as refusal:
        ledger.claim("written out: a gain", False, str(refusal)[:200], script)
        return
    apart = float(np.abs(wide.gain.to_numpy() - float(rule.gain.iloc[0, 0])).max())
    ledger.claim("written out: same gain", apart <= _SAME * max(1.0, rule.norm), f"off by {apart}", script)
    energies = abs(wide.energy - rule.energy) <= _SAME * max(1.0, wide.energy)
    ledger.claim("written out: same energy", energies, f"{wide.energy}, as a population {rule.energy}", script)


def _limit(game: sp.Game, of_mean: bool, data: tuple[float, ...], ledger: Ledger, script: str) -> None:
    """K_N = −(N ∂_u J + ∂_z J)/∂_t J: bounded only where ∂_u J is 0 at the plan."""
    p, c, d, h, u, t = data
    own = p * (u - c) + d * u + h * t
    sizes = [10, 100, 1000, 10000]
    aggregate = game.aggregate_variables()
    try:
        table = sp.scaling(game, sizes, observe=aggregate if of_mean else "actions")
    except sp.NoIncentive:
        return
    exponent = table.attrs["exponent"]
    limit = 1.0 if abs(own) > 1e-3 else 0.0
    at_end = [abs(n * own + d * u) for n in sizes[-2:]]
    tail = math.log10(at_end[1] / at_end[0]) if min(at_end) > 0.0 else limit  # what a tail of these sizes shows
    low, high = sorted((limit, tail))
    ledger.claim(
        "exponent",
        low - 0.05 < exponent < high + 0.05,
        f"{exponent}, by hand {tail} at the end, {limit} in the limit",
        script + f"print(sp.scaling(game, {sizes}).attrs)",
    )
