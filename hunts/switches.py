"""Plans with followers of whole and real actions, against every whole part and the closed form of what is real.

    J_k = c(Z, p) + b(Z, p) w_k + a w_k² / 2,   0 ≤ w_k ≤ end(Z)        Z: everybody's whole variables; p: the leader's

With Z and p given w_k is known. In p all is piecewise quadratic: between the levels at which a row opens, w_k meets an
end or two whole parts cost a follower as much, the equilibria are the same, and the leader's cost is least at an end,
which may not belong to them (the infimum is not attained), or at its vertex.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

import stackpyomo as sp

from .drafts import Draft, Side, evaluated, number
from .ledger import Ledger

__all__ = ["Mixed", "drawn", "plans", "total"]

_SAME = 1e-6
"""Values within this share of their scale are the same."""
_TIE = 1e-9
_PRICE = (-2.0, 3.0)


def total(coefficients: Any, texts: Any) -> str:
    """Σ coefficient · text."""
    return " + ".join(f"{number(float(c))}*{t}" for c, t in zip(coefficients, texts, strict=True) if c) or "0.0"


@dataclass
class Mixed:
    """A draft; of each follower the real action, what bends it and the text of its end (None: it has none)."""

    draft: Draft
    reals: list[tuple[str, float, str] | None]
    price: str | None = None

    def __post_init__(self) -> None:
        self.sides = [self.draft.leader, *self.draft.followers]
        boxes = [{name: side.boxes[name] for name in side.whole} for side in self.sides]
        levels = [np.arange(low, high + 1.0) for box in boxes for low, high in box.values()]
        grids = np.meshgrid(*levels, indexing="ij")
        self.shape = grids[0].shape
        names = [name for box in boxes for name in box]
        self.axes = [tuple(names.index(name) for name in box) for box in boxes]
        self.whole = dict(zip(names, grids, strict=True))

    def at(self, price: float) -> dict[str, Any]:
        """Everybody's variables for every whole part at a level of the price, each real action a best one."""
        values = {**self.whole, **({self.price: price} if self.price else {})}
        for side, real in zip(self.draft.followers, self.reals, strict=True):
            if real is not None:
                name, bend, end = real
                values[name] = np.clip(-self.slope(side, real, values) / bend, 0.0, evaluated(end, values))
        return {name: np.broadcast_to(level, self.shape) for name, level in values.items()}

    def slope(self, side: Side, real: tuple[str, float, str], values: dict[str, Any]) -> Any:
        """b(Z, p)."""
        at = [side.value({**values, real[0]: level}) for level in (0.0, 1.0)]
        return at[1] - at[0] - real[1] / 2.0

    def costs(self, side: Side, values: dict[str, Any]) -> Any:
        """What it pays, for every whole part; ∞ where a row of its own is not met."""
        cost = np.broadcast_to(side.value(values), self.shape)
        return np.where(side.is_feasible(values, room=_TIE), cost, np.inf)

    def equilibria(self, price: float) -> Any:
        """Whether nobody gains there and all rows hold, for every whole part."""
        values = self.at(price)
        fine = np.broadcast_to(self.draft.leader.is_feasible(values), self.shape).copy()
        for side, axes in zip(self.draft.followers, self.axes[1:], strict=True):
            cost = self.costs(side, values)
            fine &= np.isfinite(cost) & (cost <= cost.min(axis=axes, keepdims=True) + _TIE)
        return fine

    def worth(self, price: float) -> Any:
        """What the leader pays, for every whole part."""
        return np.broadcast_to(self.draft.leader.value(self.at(price)), self.shape)

    def breaks(self) -> Any:
        """Levels of the price between which nothing changes."""
        low, high = self.draft.leader.boxes[self.price or ""]
        ends = [{**self.whole, self.price: level} for level in (low, high)]
        shares = [np.array([0.0, 1.0])]
        for side, real in zip(self.draft.followers, self.reals, strict=True):
            lines = [[evaluated(row, {**e, **self.no_reals()}) for e in ends] for row in side.rows]
            if real is not None:
                first, last = (
                    [self.slope(side, real, e) + real[1] * end for e in ends]
                    for end in (0.0, evaluated(real[2], self.whole))
                )
                lines += [first, last]
            shares += [crossing(*line) for line in lines]
        levels = np.unique(np.round(low + (high - low) * np.concatenate(shares), 12))
        return np.unique(np.concatenate([levels, *(self.inside(*pair) for pair in pairwise(levels))]))

    def no_reals(self) -> dict[str, float]:
        """Every real action at 0, for rows that have none."""
        return {real[0]: 0.0 for real in self.reals if real is not None}

    def inside(self, low: float, high: float) -> Any:
        """Where in between two whole parts cost a follower as much, or a row of the leader's is just met."""
        points = [self.at(level) for level in (low, (low + high) / 2.0, high)]
        roots = [
            quadratic(*(np.broadcast_to(evaluated(row, p), self.shape) for p in points))
            for row in self.draft.leader.rows
        ]
        for side, axes in zip(self.draft.followers, self.axes[1:], strict=True):
            lines = [np.moveaxis(np.broadcast_to(side.value(p), self.shape), axes, range(len(axes))) for p in points]
            lines = [line.reshape(math.prod(line.shape[: len(axes)]), -1) for line in lines]
            roots.append(quadratic(*(line[:, np.newaxis] - line[np.newaxis] for line in lines)))
        return low + (high - low) * np.concatenate([np.zeros(1), *roots])

    def best(self) -> tuple[float, bool, float]:
        """(infimum of the leader's cost, ∞ without equilibria; whether it is reached; what it can change by)."""
        if self.price is None:
            worth = self.worth(0.0)
            return float(np.where(self.equilibria(0.0), worth, np.inf).min()), True, spread(worth)
        levels = self.breaks()
        worths = {level: self.worth(level) for level in levels}
        scale = max(spread(worth) for worth in worths.values())
        reached = min(float(np.where(self.equilibria(level), worths[level], np.inf).min()) for level in levels)
        least = reached
        for low, high in pairwise(levels):
            middle = (low + high) / 2.0
            fine = self.equilibria(middle)
            if high - low > _TIE and fine.any():
                inner, limit = vertex(worths[low][fine], self.worth(middle)[fine], worths[high][fine])
                reached, least = min(reached, inner), min(least, limit)
        least = min(least, reached)
        return least, reached <= least + _SAME * scale, scale

    def gain(self, values: dict[str, float]) -> float:
        """The most that somebody gains there by another action, or lacks of a row, in his scale."""
        grid = self.at(values.get(self.price or "", 0.0))
        worst = 0.0 if all(side.is_feasible(values, room=_SAME) for side in self.sides) else math.inf
        for side in self.draft.followers:
            others = [name for name in self.whole if name not in side.whole]
            cost = self.costs(side, {**grid, **{name: values[name] for name in others}})
            finite = cost[np.isfinite(cost)]
            worst = max(worst, (float(side.value(values)) - float(finite.min())) / spread(finite))
        return worst


def spread(values: Any) -> float:
    """How far the numbers lie apart, at least 1."""
    return max(1.0, float(np.ptp(values)))


def crossing(first: Any, last: Any) -> Any:
    """Shares of the way from ``first`` to ``last`` at which straight lines are 0."""
    first, last = np.broadcast_arrays(first, last)
    moves = first != last
    shares = first[moves] / (first - last)[moves]
    return shares[(shares > 0.0) & (shares < 1.0)]


def quadratic(first: Any, middle: Any, last: Any) -> Any:
    """Shares of the way at which a quadratic through three values is 0."""
    c, b, a = first.ravel(), (4.0 * middle - 3.0 * first - last).ravel(), (2.0 * (first + last) - 4.0 * middle).ravel()
    size = np.abs(a) + np.abs(b) + np.abs(c)
    a = np.where(np.abs(a) <= 1e-11 * size, 0.0, a)
    root = np.sqrt(np.maximum(b * b - 4.0 * a * c, 0.0))
    far = -(b + np.where(b >= 0.0, root, -root)) / 2.0
    with np.errstate(all="ignore"):
        shares = np.concatenate([far / a, c / far])
    return np.unique(np.round(shares[np.isfinite(shares) & (shares > 0.0) & (shares < 1.0)], 12))


def vertex(first: Any, middle: Any, last: Any) -> tuple[float, float]:
    """(least of quadratics through three values strictly between, least with the ends), ∞ where there is none."""
    b, a = 4.0 * middle - 3.0 * first - last, 2.0 * (first + last) - 4.0 * middle
    with np.errstate(all="ignore"):
        share = -b / (2.0 * a)
        inner = np.where((a > 1e-9) & (share > 0.0) & (share < 1.0), first + b * share + a * share**2, np.inf)
    flat = np.where((np.abs(a) <= 1e-9) & (np.abs(b) <= 1e-9), middle, np.inf)  # as good everywhere
    inner = np.minimum(inner, flat)
    return float(inner.min()), float(min(inner.min(), first.min(), last.min()))


# --- random ones ------------------------------------------------------------------------------------------------------


def drawn(random: np.random.Generator) -> Mixed:
    """One or two followers with switches, whole amounts and a real one; whole leader variables, a price, or both."""
    many = int(random.integers(0, 3))
    priced = many == 0 or random.random() < 0.6
    tools = [f"x{i}" for i in range(many)]
    felt = [*tools, *(["p"] if priced else [])]
    count = int(random.integers(1, 3))
    meeting = count == 2 and random.random() < 0.5
    names = []
    for k in range(count):
        top, size = int(random.choice([1, 1, 1, 2])), int(random.integers(1, 7 if count == 1 else 4))
        names.append({f"{'ab'[k]}{i}": (0.0, float(top)) for i in range(size if top == 1 else min(size, 3))})
    sides, reals = [], []
    for k in range(count):
        side, real = follower(random, names[k], felt, list(names[1 - k]) if meeting else [], "wv"[k])
        sides.append(side)
        reals.append(real)
    lead = Side(dict.fromkeys(tools, (0.0, 2.0)) | ({"p": _PRICE} if priced else {}), "", whole=tools)
    actions = [n for side in sides for n in side.boxes]
    lead.cost = total(random.integers(-4, 5, len(felt) + len(actions)), [*felt, *actions])
    if priced and random.random() < 0.6:
        lead.cost += " + " + total(random.integers(-2, 3, len(actions)), [f"p*{n}" for n in actions])
    if priced and random.random() < 0.4:
        lead.cost += f" + {number(float(random.integers(1, 4)))}*(p - {number(float(random.integers(-2, 4)) / 2)})**2"
    if random.random() < 0.3:
        whole = [*felt, *(n for box in names for n in box)]
        lead.rows.append(f"{total(random.integers(-2, 3, len(whole)), whole)} - {number(float(random.integers(0, 4)))}")
    flip(random, lead)
    return Mixed(Draft(lead, sides, dict.fromkeys([*felt, *actions], 0.0)), reals, "p" if priced else None)


def follower(
    random: np.random.Generator, box: dict[str, tuple[float, float]], felt: list[str], others: list[str], real: str
) -> tuple[Side, tuple[str, float, str] | None]:
    """Whole actions that meet each other and what it feels; often a real one that one of them may switch."""
    own = list(box)
    terms = [*own, *(f"{a}*{b}" for i, a in enumerate(own) for b in own[i:]), *(f"{a}*{b}" for a in own for b in felt)]
    terms += [f"{a}*{b}" for a in own for b in others]
    cost = total([*random.integers(-5, 6, len(own)), *random.integers(-2, 3, len(terms) - len(own))], terms)
    side = Side(dict(box), cost, whole=own)
    if random.random() < 0.5:
        weights = random.integers(1, 5, len(own))
        load = random.integers(-2, 3, len(felt)) * int(random.random() < 0.5)
        room = int(weights @ [high for _, high in box.values()]) // 2
        side.rows.append(f"{total([*weights, *load], [*own, *felt])} - {number(float(room + 4 * load.any()))}")
    if random.random() < 0.5:
        return flip(random, side), None
    bend, top = float(random.choice([1.0, 2.0, 4.0])), float(random.integers(1, 4))
    meets = [*own, *felt]
    slope = f"{number(float(random.integers(-4, 5)))} + {total(random.integers(-2, 3, len(meets)), meets)}"
    side.cost += f" + {number(bend / 2)}*{real}**2 + {real}*({slope})"
    side.boxes[real] = (0.0, top)
    switched = random.random() < 0.5
    if switched:
        side.rows.append(f"{real} - {number(top)}*{own[0]}")
    end = f"{number(top)}*minimum({own[0]}, 1.0)" if switched else number(top)
    return flip(random, side), (real, bend, number(top) if not switched else end)


def flip(random: np.random.Generator, side: Side) -> Side:
    """The same side, which maximises the opposite now and then."""
    if random.random() < 0.3:
        side.cost, side.maximize = f"-({side.cost})", True
    return side


# --- judged -----------------------------------------------------------------------------------------------------------


def plans(random: np.random.Generator, ledger: Ledger) -> None:
    """What ``stackelberg`` says of one, in other units, against :meth:`Mixed.best`."""
    mixed = drawn(random)
    draft = mixed.draft
    best, reached, scale = mixed.best()
    unit = float(random.choice([1.0, 1e-3, 1e3]))
    units = {n: 1.0 if n in side.whole else unit for side in mixed.sides for n in side.boxes}
    factors = [float(random.choice([1.0, 1e-6, 1e6])) for _ in mixed.sides]
    other = draft.in_units(units, factors)
    script = other.script("print(sp.stackelberg(game))\n")
    try:
        plan = sp.stackelberg(other.game(), time_limit=20)
    except sp.NoPlan as refusal:
        if refusal.termination == "infeasible" and "proved" in str(refusal):
            ledger.claim("mixed: no pure equilibrium", math.isinf(best), f"one is worth {best:.8g}", script)
        else:
            ledger.claim("mixed: no plan, nothing proved" + (" (there is none)" if math.isinf(best) else ""))
        return
    sign = -1.0 if draft.leader.maximize else 1.0
    worth, bound = (sign * x / factors[0] for x in (plan.leader_objective, plan.bound))
    why = f"{worth:.10g}, bound {bound:.10g}, enumerated {best:.10g}{'' if reached else ' (not reached)'}"
    ledger.claim("mixed: bound", not bound > best + _SAME * scale, why, script)
    values = {n: x / units[n] for n, x in draft.plain(plan.values).items()}
    gain = mixed.gain(values)
    ledger.claim("mixed: nobody gains", gain <= 10.0 * _SAME, f"{gain:.3g} of its scale", script)
    if plan.quality == "optimal":
        word = "mixed: optimal" if reached else "mixed: optimal but for the gap's tolerance"
        ledger.claim(word, abs(worth - best) <= _SAME * scale, why, script)
    elif plan.attained is False:
        ledger.claim("mixed: approached", not reached and worth >= best - _SAME * scale, why, script)
    else:
        holds = worth >= best - _SAME * scale
        ledger.claim(f"mixed: not proved{'' if reached else ' (not reached)'}", holds, why, script)
