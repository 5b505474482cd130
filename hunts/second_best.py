"""Second-best rules: their order, what is verified, and what other rules reach, in plain arithmetic."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from scipy.optimize import minimize, root

import stackpyomo as sp

from .drafts import Draft, Side, number
from .incentives import judged, rule_of
from .ledger import Ledger
from .oracles import Rule, best_deviation, natural_scale

__all__ = ["hunt"]

_SAME = 1e-5
"""Objectives within this share of what separates the best constants from the leader-optimal plan are the same."""

_SECONDS = 20.0
"""For one search."""

_WIDE = 20.0
"""Bounds of the leader's variables."""

_TAIL = """
rule = sp.optimal_rule(game, {observe})
print(rule, sp.verify(rule), rule.plan.quality, rule.plan.bound, sep="\\n")
"""


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """One random game: leader-optimal ≤ rule ≤ best constants, verified or not called so, and "optimal" not beaten."""
    draft, signals = _drawn(random)
    game = draft.game()
    script = draft.script(_TAIL.format(observe=f"[{', '.join(signals)}]"))
    observe = [draft.expression(game, s) for s in signals]
    rule, late = _ruled(game, observe)
    sign = -1.0 if draft.leader.maximize else 1.0
    ideal, value, constant = (sign * rule.comparison).tolist()
    size = max(constant - ideal, 1e-3 * abs(constant), 1e-12) if math.isfinite(constant) else max(1e-12, abs(value))
    room = _SAME * size
    ledger.claim("leader-optimal ≤ rule", ideal <= value + room, f"{value} is below {ideal}", script)
    ledger.claim("rule ≤ best constant", not value > constant + room, f"{value} is above {constant}", script)
    _with_incentives(rule, observe, ideal, value, room, ledger, script)
    report, plain = sp.verify(rule), rule_of(draft, rule, signals)
    judged(draft, plain, report, random, ledger, script)
    reached = float(draft.leader.value(plain.plan))
    ledger.claim("the objective is that of the plan", abs(reached - value) <= room, f"{reached}, not {value}", script)
    _beaten(draft, plain, rule, value, size, random, ledger, script)
    if not late:
        _in_units(draft, signals, rule, room, random, ledger, script)


def _ruled(game: sp.Game, observe: Any) -> tuple[sp.Incentive, bool]:
    """The rule, and whether the clock had a part in it: what a search comes to by then is a matter of the machine."""
    before = time.monotonic()
    rule = sp.optimal_rule(game, observe, time_limit=_SECONDS)
    stopped = any("time limit" in str(entry["termination"]) for entry in rule.plan.log)
    return rule, stopped or time.monotonic() - before >= _SECONDS / 3


def _with_incentives(
    rule: sp.Incentive, observe: Any, ideal: float, value: float, room: float, ledger: Ledger, script: str
) -> None:
    """The leader-optimal value is reached exactly where an incentive holds the leader-optimal plan."""
    plan, exists = sp.leader_optimal(rule.game), False
    for multipliers in ("free", "zero"):
        try:
            exists = exists or bool(sp.verify(sp.affine_incentive(plan, observe, multipliers=multipliers)).ok)
        except sp.NoIncentive:
            continue
    if exists:
        ledger.claim("an incentive exists", value <= ideal + room, f"{value} is above {ideal}", script)
    else:
        ledger.claim("no incentive exists" + ("" if value > ideal + room else ", nearly reached"))


def _beaten(
    draft: Draft, plain: Rule, rule: sp.Incentive, value: float, size: float, random: np.random.Generator,
    ledger: Ledger, script: str,
) -> None:  # fmt: skip
    """Do rules around, and a search from some, reach less than what is called optimal?"""
    if any(side.rows for side in draft.followers) or random.random() < 0.5:
        return
    most = float(rule.value_curve["kappa"].max()) if len(rule.value_curve) else 0.0
    bounds = 10.0 * max(1.0, most)
    play = _Responses(draft, plain)
    best, at = math.inf, None
    here = np.concatenate([[plain.plan[n] for n in plain.leader], np.asarray(plain.gain).ravel()])
    start = here + 0.1 * random.normal(size=len(here)) * np.maximum(1.0, np.abs(here))
    end = minimize(play.cost, start, method="Nelder-Mead", options={"maxfev": 60 * len(here), "xatol": 1e-9})
    if play.holds(end.x, bounds if rule.plan.quality != "optimal" else most, random):
        best, at = float(end.fun), end.x
    if rule.plan.quality == "optimal":
        holds = best >= value - 10 * _SAME * size
        ledger.claim("optimal", holds, f"{best} by offset and gain {at}, claimed {value}", script)
    else:
        ledger.claim("not proved, " + ("beaten" if best < value - 1e-3 * size else "not beaten"))


class _Responses:
    """The followers' equilibrium under u0 = c + K s, without rows: stationary inside, or at bounds."""

    def __init__(self, draft: Draft, rule: Rule) -> None:
        self.draft, self.rule = draft, rule
        self.names = [n for side in draft.followers for n in side.boxes]
        self.low, self.high = np.array([b for side in draft.followers for b in side.boxes.values()]).T
        self.owners = [k for k, side in enumerate(draft.followers) for _ in side.boxes]
        self.levels = np.array([rule.plan[n] for n in self.names])

    def announced(self, x: Any) -> Rule:
        """(on-path values at the plan, gains) as a rule through the plan of the first one."""
        count = len(self.rule.leader)
        gain = np.asarray(x[count:]).reshape(count, -1)
        offset = dict(zip(self.rule.leader, map(float, x[:count]), strict=True))
        return Rule(self.draft, self.rule.leader, self.rule.signals, offset, gain, self.rule.plan)

    def played(self, rule: Rule) -> dict[str, float] | None:
        """What everybody plays; None where no equilibrium was found."""
        steps = np.vstack([np.eye(len(self.names)), -np.eye(len(self.names))])

        def left(levels: Any) -> Any:
            inside = np.clip(levels, self.low, self.high)
            step = 1e-5 * np.maximum(1.0, np.abs(inside))
            points = inside + steps * step
            values: dict[str, Any] = {**self.rule.plan, **dict(zip(self.names, points.T, strict=True))}
            values |= rule.answer(values)
            costs = np.array([side.value(values) for side in self.draft.followers])[self.owners]
            up, down = np.diagonal(costs), np.diagonal(costs, len(levels))
            return (up - down) / (2 * step) + (levels - inside)  # the natural map: what pushes beyond a bound

        end = root(left, self.levels, method="hybr", options={"xtol": 1e-12})
        if np.abs(end.fun).max() > 1e-6:
            return None
        levels = dict(zip(self.names, np.clip(end.x, self.low, self.high).tolist(), strict=True))
        return {**self.rule.plan, **levels, **rule.answer({**self.rule.plan, **levels})}

    def cost(self, x: Any) -> float:
        """The leader's; infinite where nobody knows what is played, or it is not feasible."""
        values = self.played(self.announced(x))
        if values is None or not self.draft.leader.is_feasible(values):
            return math.inf
        return float(self.draft.leader.value(values))

    def holds(self, x: Any, most: float, random: np.random.Generator) -> bool:
        """True if its gain is within the bounds and nobody gains by another action."""
        rule = self.announced(x)
        values = self.played(rule)
        if values is None or np.abs(rule.gain).max(initial=0.0) > most * (1 + 1e-9):
            return False
        moved = Rule(self.draft, rule.leader, rule.signals, {n: values[n] for n in rule.leader}, rule.gain, values)
        for side in self.draft.followers:
            seen = best_deviation(side, moved, values, random)
            if seen.gain > 1e-7 * natural_scale(side, values, random) or moved.leaves_bounds({**values, **seen.values}):
                return False
        return True


def _in_units(
    draft: Draft, signals: list[str], rule: sp.Incentive, room: float, random: np.random.Generator,
    ledger: Ledger, script: str,
) -> None:  # fmt: skip
    """The same three values where everything is written in other units."""
    if random.random() < 0.6:
        return
    units = {name: float(10.0 ** random.integers(-4, 5)) for name in draft.start}
    factors = [float(10.0 ** random.integers(-4, 5)) for _ in range(1 + len(draft.followers))]
    other = draft.in_units(units, factors)
    texts = [other.rewritten(s, units) for s in signals]
    script += "\n# the same game in other units\n" + other.script(_TAIL.format(observe=f"[{', '.join(texts)}]"))
    game = other.game()
    again, late = _ruled(game, [other.expression(game, s) for s in texts])
    if late:
        return
    first, second = rule.comparison, again.comparison / factors[0]
    off = float(np.nanmax(np.abs(first - second)))
    ledger.claim("same values in other units", off <= 10 * room, f"{first.tolist()}, {second.tolist()}", script)
    same = rule.plan.quality == again.plan.quality
    ledger.claim("same quality in other units", same, f"{rule.plan.quality}, {again.plan.quality}", script)
    ledger.claim("same verdict in other units", sp.verify(rule).ok == sp.verify(again).ok, "ok or not", script)


# --- games ------------------------------------------------------------------------------------------------------------


def _drawn(random: np.random.Generator) -> tuple[Draft, list[str]]:
    """A game of one to three followers, and what the leader sees of them."""
    count, tools = int(random.integers(1, 4)), ["p", "q"][: 2 if random.random() < 0.25 else 1]
    kinds = ["linear"] * 10 + ["quartic"] * 3 + ["exponential"] * 2 + ["squared"]  # the last without a gain, mostly
    followers, boxes = [], dict[str, tuple[float, float]]()
    own = [[f"u{k}", f"v{k}"][: 2 if random.random() < 0.15 else 1] for k in range(count)]
    crowd = random.random() < 0.3
    for k, names in enumerate(own):
        box = (0.0, 3.0) if random.random() < 0.4 else (-5.0, 5.0)
        others = [n for j, o in enumerate(own) if j != k for n in o] if crowd else []
        cost = _cost(random, names, others, tools, str(random.choice(kinds)))
        rows = []
        if random.random() < 0.15:
            rows = [" + ".join(f"{number(_some(random, 0.4, 1.5))}*{n}" for n in names) + f" - {_some(random, 0.5, 3)}"]
        if random.random() < 0.3:
            followers.append(Side(dict.fromkeys(names, box), f"-({cost})", rows, maximize=True))
        else:
            followers.append(Side(dict.fromkeys(names, box), cost, rows))
        boxes |= dict.fromkeys(names, box)
    goals = [f"{number(_some(random, 0.5, 2))}/2*({n} - {number(_some(random, 0.2, 2.5))})**2" for n in boxes]
    care = [f"{number(_some(random, 0.05, 1))}/2*{t}**2" for t in tools]
    if random.random() < 0.3:
        earned = " + ".join(f"{number(_some(random, 0.05, 0.3))}*{tools[0]}*{n}" for n in boxes)
        care.append(f"-({earned})")
    goal, maximize = " + ".join([*goals, *care]), bool(random.random() < 0.3)
    leader = Side(dict.fromkeys(tools, (-_WIDE, _WIDE)), f"-({goal})" if maximize else goal, maximize=maximize)
    start = dict.fromkeys([*tools, *boxes], 0.5)
    return Draft(leader, followers, start), _signals(random, list(boxes))


def _signals(random: np.random.Generator, names: list[str]) -> list[str]:
    """Every action, or one or two sums of them."""
    if random.random() < 0.25:
        return names
    sums = range(2 if random.random() < 0.2 else 1)
    return [" + ".join(f"{number(_some(random, 0.3, 1))}*{n}" for n in names) for _ in sums]


def _cost(random: np.random.Generator, names: list[str], others: list[str], tools: list[str], kind: str) -> str:
    terms = []
    for name in names:
        terms.append(f"{number(_some(random, 0.6, 3))}*{name}**2/2 - {number(_some(random, 0.5, 6))}*{name}")
        if kind == "quartic":
            terms.append(f"{number(_some(random, 0.1, 0.6))}*{name}**4/4")
        if kind == "exponential":
            terms.append(f"exp({number(_some(random, 0.2, 0.6))}*{name})")
        for tool in tools if random.random() < 0.7 else [str(random.choice(tools))]:
            grip = number(_some(random, 0.4, 2) * float(random.choice([1, 1, 1, -1])))
            square = f"{tool}**2" if kind == "squared" else tool
            terms.append(f"{grip}*{square}*{name}")
        terms += [f"{number(_some(random, -0.3, 0.3))}*{name}*{other}" for other in others]
    if len(names) > 1:
        terms.append(f"{number(_some(random, -0.4, 0.4))}*{names[0]}*{names[1]}")
    return " + ".join(terms)


def _some(random: np.random.Generator, low: float, high: float) -> float:
    return round(float(random.uniform(low, high)), 2)
