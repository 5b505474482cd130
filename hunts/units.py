"""Other units: nothing but the unit of an answer may change with those of actions, leader variables and objectives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import stackpyomo as sp

from .drafts import Draft
from .incentives import drawn
from .ledger import Ledger

__all__ = ["hunt"]

_SAME = 1e-4
"""Answers within this share of one another are the same."""

_GAP, _FLAT = 2e-6, 1e-2
"""What two proofs of optimality may leave open between them, and how far apart plans of costs that near may be."""


@dataclass
class Answer:
    """What the package says of a game, in the units of the draft it was first written in."""

    quality: str
    plan: dict[str, float]
    cost: float
    ruled: str
    gain: dict[tuple[str, str], float]
    ok: str
    certain: tuple[str, ...]


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """The same game in two writings."""
    draft = drawn(random)
    names = list(draft.start)
    units = dict.fromkeys(names, 1.0)
    factors, constants = [1.0] * (1 + len(draft.followers)), [0.0] * (1 + len(draft.followers))
    kind = str(random.choice(["actions", "leader", "objectives", "constants", "all variables"]))
    if kind in ("actions", "all variables"):
        units |= {n: float(10.0 ** random.integers(-7, 8)) for f in draft.followers for n in f.boxes}
    if kind in ("leader", "all variables"):
        units |= {n: float(10.0 ** random.integers(-7, 8)) for n in draft.leader.boxes}
    if kind == "objectives":
        factors = [float(10.0 ** random.integers(-8, 9)) for _ in factors]
    if kind == "constants":
        constants = [float(random.choice([-1e6, 1e6, 0.0])) for _ in constants]
    other = draft.in_units(units, factors, constants)
    calls = ["stackelberg"] if random.random() < 0.4 else ["leader_optimal"]
    rest = (
        "" if calls[0] == "stackelberg" else "    rule = sp.affine_incentive(plan)\n    print(rule, sp.verify(rule))\n"
    )
    tail = f"try:\n    plan = sp.{calls[0]}(game)\n    print(plan)\n{rest}except sp.StackpyomoError as refusal:\n"
    tail += "    print(type(refusal).__name__, refusal)\n"
    script = "\n# the same game in other units\n".join(d.script(tail) for d in (draft, other))
    first = _answer(draft, draft, dict.fromkeys(names, 1.0), calls[0])
    second = _answer(other, draft, units, calls[0])
    _compared(first, second, f"{calls[0]}, {kind}", script, ledger)


def _answer(draft: Draft, plain: Draft, units: dict[str, float], call: str) -> Answer:
    """What is said of a draft, in the units of the plain one."""
    game = draft.game()
    try:
        plan = sp.leader_optimal(game) if call == "leader_optimal" else sp.stackelberg(game, time_limit=120)
    except sp.NoPlan as refusal:
        return Answer(refusal.termination, {}, math.nan, "", {}, "", ())
    except sp.StackpyomoError as refusal:
        return Answer(type(refusal).__name__, {}, math.nan, "", {}, "", ())
    values = {n: v / units[n] for n, v in draft.plain(plan.values).items()}
    cost = float(plain.leader.value(values))
    if call == "stackelberg":
        report = sp.verify(plan)
        return Answer(plan.quality, values, cost, "", {}, str(report.ok), ())
    try:
        rule = sp.affine_incentive(plan)
    except sp.NoIncentive:
        return Answer(plan.quality, values, cost, "refused", {}, "", ())
    report = sp.verify(rule)
    gain = {
        (row, column.split(".")[-1]): float(rule.gain.loc[row, column]) * units[column.split(".")[-1]] / units[row]
        for row in rule.gain.index
        for column in rule.gain.columns
    }
    proved = {"convex": "proved", "global": "proved"}
    certain = tuple(  # a search of a set without an end shows no more than nothing
        "unknown" if name in report.endless else proved.get(c, str(c)) for name, c in report.certificate.items()
    )
    return Answer(plan.quality, values, cost, "announced", gain, str(report.ok), certain)


def _compared(first: Answer, second: Answer, kind: str, script: str, ledger: Ledger) -> None:
    """One claim for each thing that must not change; a difference in what follows a first one says nothing new.

    The least of several gains is one of units: where two were chosen, each has evidence of its own.
    """
    chosen = len({row for row, _ in first.gain}) > 1 and _apart(first.gain, second.gain) > _SAME
    for word in ("quality", "ruled") if chosen else ("quality", "ruled", "ok", "certain"):
        a, b = getattr(first, word), getattr(second, word)
        if not ledger.claim(f"same {word}: {kind}", a == b, f"{a} is {b} in other units", script):
            return
    # where the leader is indifferent, both may be right: followers' actions and gains are compared where it is not
    if first.quality == "optimal" and first.plan:
        apart = _apart(first.plan, second.plan)
        alike = abs(second.cost - first.cost) <= _GAP * max(1.0, abs(first.cost))
        near = apart <= (_FLAT if alike else _SAME)
        if not ledger.claim(f"same plan: {kind}", near or not math.isfinite(apart), f"off by {apart:.3g}", script):
            return
        one = len({row for row, _ in first.gain}) == 1  # with several, the least gain is one of units
        if one and apart <= _SAME:
            off = _apart(first.gain, second.gain)
            ledger.claim(f"same gain: {kind}", off <= _SAME, f"off by {off:.3g}", script)


def _apart(first: dict[Any, float], second: dict[Any, float]) -> float:
    """The largest difference, relative to max(1, |·|); ∞ where the second has not all of the first."""
    return max((abs(second.get(n, math.inf) - v) / max(1.0, abs(v)) for n, v in first.items()), default=0.0)
