"""Refusals: games in which no gain exists by a closed form, their neighbours in which one does, and wrong arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo

import stackpyomo as sp

from .ledger import Ledger

__all__ = ["hunt"]

_FAR = 0.05
"""How far from the border between a gain and none a game must be to be judged."""


@dataclass(frozen=True)
class Follower:
    """½ bend (u − want)² + t (fee + rate u), at u within −9 and 9 while the leader plays t."""

    bend: float
    want: float
    fee: float
    rate: float
    at: float

    @classmethod
    def drawn(cls, random: np.random.Generator) -> Follower:
        """Nothing of it is next to 0."""
        bend, fee, rate = random.uniform(0.3, 3, 3) * random.choice([-1, 1], 3)
        want, at = random.uniform(-3, 3, 2)
        return cls(abs(float(bend)), float(want), float(fee), float(rate), float(at))

    def needed(self, t: float) -> float:
        """The gain on its own action that makes its slope vanish; ∞ where it does not feel the leader."""
        slope, effect = self.bend * (self.at - self.want) + self.rate * t, self.fee + self.rate * self.at
        return -slope / effect if abs(effect) > 1e-12 else np.inf

    def curvature(self, gain: float) -> float:
        """Of its cost under that gain."""
        return self.bend + 2.0 * self.rate * gain


@dataclass(frozen=True)
class Units:
    """Of the followers' actions, of the leader's variable and of costs."""

    action: float
    leader: float
    money: float

    def game(self, followers: list[Follower], t: float) -> tuple[sp.Game, Any]:
        """(the game, its model), at the plan."""
        m = pyo.ConcreteModel()
        m.t, m.f = (
            pyo.Var(bounds=(-1e3 * self.leader, 1e3 * self.leader), initialize=t * self.leader),
            pyo.Block([0, 1]),
        )
        for block, one in zip(m.f.values(), followers, strict=False):
            block.u = pyo.Var(bounds=(-9 * self.action, 9 * self.action), initialize=one.at * self.action)
            level, paid = block.u / self.action, m.t / self.leader
            cost = one.bend / 2 * (level - one.want) ** 2 + paid * (one.fee + one.rate * level)
            block.cost = pyo.Objective(expr=self.money * cost)
        m.goal = pyo.Objective(expr=(m.t / self.leader) ** 2)
        return sp.Game(m, [m.f[k] for k in range(len(followers))]), m


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """One question whose answer is known: a gain, or a refusal of the right type."""
    units = Units(*(10.0 ** int(random.integers(-6, 7)) for _ in range(3)))
    names = list(_KINDS)
    name = names[int(random.integers(len(names)))]
    if (case := _KINDS[name](random, units)) is None:
        return
    ask, exists, why = case
    told = f"{name}, {units}: {why}"
    try:
        ask()
    except (sp.NoIncentive, sp.NoPlan) as refusal:
        ledger.claim(f"{name}: refused", exists is not True, f"{told}; {str(refusal)[:200]}")
    except sp.StackpyomoError as refusal:
        ledger.claim(f"{name}: wrong input", exists is None, f"{told}; {type(refusal).__name__} {str(refusal)[:200]}")
    else:
        ledger.claim(f"{name}: an answer", exists is True, told)


# --- kinds: (what is asked, whether there is an answer; None: the input is wrong, why) --------------------------------

Case = tuple[Callable[[], Any], bool | None, str]


def _alone(random: np.random.Generator, units: Units) -> Case | None:
    """One gain alone makes the slope vanish: it holds the follower if and only if the cost bends up under it."""
    one, t = Follower.drawn(random), float(random.uniform(-2, 2))
    gain = one.needed(t)
    bend = one.curvature(gain)
    if abs(bend) < _FAR * one.bend or abs(gain) * 12 > 900 or abs(one.fee + one.rate * one.at) < _FAR:
        return None
    game, _ = units.game([one], t)
    return lambda: sp.affine_incentive(sp.Plan.from_values(game)), bend > 0.0, f"{one}, t {t}: {gain} bends {bend}"


def _blind(random: np.random.Generator, units: Units) -> Case:
    """What the leader does leaves the follower cold at the plan."""
    one = Follower.drawn(random)
    one = Follower(one.bend, one.at + float(random.choice([-1, 1])), -one.rate * one.at, one.rate, one.at)
    game, _ = units.game([one], 0.0)
    return lambda: sp.affine_incentive(sp.Plan.from_values(game)), False, f"{one}"


def _shared(random: np.random.Generator, units: Units) -> Case | None:
    """One signal of two followers: they need one gain."""
    one, two, t = Follower.drawn(random), Follower.drawn(random), float(random.uniform(-2, 2))
    alike = bool(random.random() < 0.5)
    gain, effect = one.needed(t), two.fee + two.rate * two.at
    if alike:  # what the second wants is what makes the gain its own
        two = Follower(two.bend, two.at + (two.rate * t + gain * effect) / two.bend, two.fee, two.rate, two.at)
    bends = [one.curvature(gain) / one.bend, two.curvature(gain) / two.bend]
    apart = abs(two.needed(t) - gain) > _FAR * max(1.0, abs(gain))
    small = min(abs(effect), abs(one.fee + one.rate * one.at)) < _FAR
    if small or abs(gain) * 24 > 900 or min(map(abs, bends)) < _FAR or (not alike and not apart):
        return None
    game, m = units.game([one, two], t)
    exists = alike and min(bends) > 0.0
    why = f"{one}, {two}, t {t}: {gain}, {two.needed(t)} bend {bends}"
    return lambda: sp.affine_incentive(sp.Plan.from_values(game), observe=[m.f[0].u + m.f[1].u]), exists, why


def _limited(random: np.random.Generator, units: Units) -> Case | None:
    """The gain has a limit."""
    one, t = Follower.drawn(random), float(random.uniform(-2, 2))
    gain, share = one.needed(t), float(random.choice([0.5, 0.9, 1.1, 2.0]))
    if one.curvature(gain) < _FAR * one.bend or not _FAR < abs(gain) < 70:
        return None
    game, _ = units.game([one], t)
    limit = share * abs(gain) * units.leader / units.action
    why = f"{one}, t {t}: {gain} within {share} of it"
    return lambda: sp.affine_incentive(sp.Plan.from_values(game), gain_bounds=(-limit, limit)), share > 1.0, why


def _unseen(random: np.random.Generator, units: Units) -> Case:
    """The other's action alone is seen."""
    one, two = Follower.drawn(random), Follower.drawn(random)
    one = Follower(one.bend, one.at + 1.0, one.fee, one.rate, one.at)
    game, m = units.game([one, two], 0.0)

    def ask() -> None:
        rule = sp.affine_incentive(sp.Plan.from_values(game), observe=[m.f[1].u])
        if not sp.verify(rule).ok:
            raise sp.NoPlan("the first gains", termination="not verified")

    return ask, False, f"{one}, {two}"


def _empty(random: np.random.Generator, units: Units) -> Case:
    """The leader's row leaves nothing, or next to nothing."""
    room = float(random.choice([-1e-3, -1.0, 1e-3]))
    m = units.game([Follower.drawn(random)], 0.0)[1]
    m.floor = pyo.Constraint(expr=m.t >= units.leader)
    m.ceiling = pyo.Constraint(expr=m.t / units.leader <= 1.0 + room)
    call = sp.leader_optimal if random.random() < 0.5 else sp.stackelberg
    return lambda: call(sp.Game(m, [m.f[0]])), room > 0.0, f"t between 1 and {1.0 + room}"


def _wrong(random: np.random.Generator, units: Units) -> Case:
    """An argument, or a model, that nobody can use."""
    game, m = units.game([Follower.drawn(random)], 0.5)
    plan, other = sp.Plan.from_values(game), pyo.Var(initialize=1.0)
    other.construct()
    asks: list[Callable[[], Any]] = [
        lambda: sp.affine_incentive(plan, gain_bounds=(1.0, -1.0)),
        lambda: sp.affine_incentive(plan, curvature=-1.0),
        lambda: sp.affine_incentive(plan, observe=[other]),
        lambda: sp.affine_incentive(plan, prefer="nobody"),
        lambda: sp.affine_incentive(plan, free=[m.f[0].u]),
        lambda: sp.verify(plan, certify="sworn"),
        lambda: sp.verify(plan, starts=0),
        lambda: sp.verify(plan, tolerance=-1e-6),
        lambda: sp.verify(plan, tolerance=float("nan")),
        lambda: sp.verify(plan, time_limit=0.0),
        lambda: sp.verify(plan, followers=["nobody"]),
        lambda: sp.verify(plan, solver="nobody"),
        lambda: sp.stackelberg(game, ties="kindly"),
        lambda: sp.stackelberg(game, tie_tolerance=1.0),
        lambda: sp.leader_optimal(game, starts=-1),
        lambda: sp.leader_optimal(game, proof_seconds=float("inf") * 0.0),
        lambda: sp.Game(m, [m.f[0], m.f[0]]),
        lambda: sp.Game(m, []),
        lambda: sp.verify(3.0),
    ]
    number = int(random.integers(len(asks)))
    return asks[number], None, f"number {number}"


_KINDS: dict[str, Callable[[np.random.Generator, Units], Case | None]] = {
    "one gain": _alone,
    "no effect": _blind,
    "one signal of two": _shared,
    "a limit": _limited,
    "unseen": _unseen,
    "no plan": _empty,
    "wrong": _wrong,
}
