"""Lotteries: why no gain holds the followers, as weights on named deviations, in a table, in words, with a repair.

A lottery over deviations that the announcement cannot see on average, Σ μ p(v) d(v)ᵀ = 0, and that somebody would like,
Σ μ r(v) > 0: whatever the gain, the rows of its deviations cannot all hold. Deviations have weights that add up to 1;
a slope (a first-order condition of the followers' continuous actions) has the weight that goes with them.

Rationals: a certificate of emptiness recomputed without rounding, where its data are decimal numbers.

Every number is read as the decimal it is written as (0.1 is 1/10), costs that are polynomials are evaluated in exact
arithmetic, and the weights are a vector of the null space of Σ μ p(v) d(v)ᵀ = 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from pyomo.core.expr import numeric_expr as nodes

from stackpyomo.core import TOLERANCES, Array, listed, shown
from stackpyomo.core.expressions import UNDEFINED, folded
from stackpyomo.errors import NoIncentive, RefusalCause

from .gains.levers import Lever
from .gains.masters import Excluded, Tag

#: Columns of :attr:`stackpyomo.NoIncentive.deviations`.
TABLE = ["follower", "action", "weight", "temptation", "kind", "exact"]

#: Of weights that are shown as fractions: beyond it the data are decimals of what is no such number.
_DENOMINATOR = 10**6


def table(parts: Sequence[tuple[Tag, float]], texts: Sequence[str] = ()) -> pd.DataFrame:
    """follower, action ({variable: value}), weight, temptation, kind, exact (the weight as a fraction, or "")."""
    rows = [
        (tag.follower, dict(tag.action), weight, tag.temptation, str(tag.limit or tag.kind), text)
        for (tag, weight), text in zip(parts, texts, strict=True)
    ]
    return pd.DataFrame(rows, columns=TABLE)


def refusal(excluded: Excluded, levers: Mapping[str, Lever], free: Array) -> NoIncentive:
    """The error that carries the certificate. free: (instruments) whether the on-path value is chosen anew."""
    parts = [(tag, weight) for tag, weight in excluded.weights if tag.kind != "side"]
    if not parts:
        return _unexplained(excluded, levers)
    total = sum(w for tag, w in parts if tag.kind == "deviation") or sum(abs(weight) for _, weight in parts)
    parts, texts = [(tag, weight / total) for tag, weight in parts], [""] * len(parts)
    exact = _exact(parts, levers, free)
    if exact is not None:
        parts = [(tag, float(weight)) for tag, weight in exact]
        texts = [str(w) if w.denominator <= _DENOMINATOR else "" for _, w in exact]
    frame = table(parts, texts)
    names = list(dict.fromkeys(tag.follower for tag, _ in parts if tag.follower)) or list(levers)
    sentence = _sentence(parts, texts, levers)
    gained = math.fsum(w * t.temptation for t, w in parts if t.kind == "deviation")
    residuals = dict.fromkeys(names, gained)
    return NoIncentive(
        f"{_headline(excluded, parts, exact is not None, levers)}: {sentence} {_repair(parts, levers)}",
        reasons=dict.fromkeys(names, sentence),
        residuals=residuals,
        causes=dict.fromkeys(names, RefusalCause.DEVIATIONS),
        deviations=frame,
    )


def _headline(excluded: Excluded, parts: Sequence[tuple[Tag, float]], exact: bool, levers: Mapping[str, Lever]) -> str:
    """What is proved: a row of a follower whose constraints hold what the leader answers asks more than it has to."""
    coupled = sorted({tag.follower for tag, _ in parts if tag.follower in levers and levers[tag.follower].coupled})
    if coupled:
        own = "its own constraints hold" if len(coupled) == 1 else "their own constraints hold"
        return (
            f"No affine incentive was found, which proves nothing: {listed(coupled, 3)} may not be able to do this "
            f"under every gain ({own} what the leader answers)"
        )
    if not exact and math.isfinite(excluded.radius):
        return f"No affine incentive (proved for gains up to {excluded.radius:.1e} natural units)"
    return "No affine incentive"


def _unexplained(excluded: Excluded, levers: Mapping[str, Lever]) -> NoIncentive:
    names = list(levers)
    if excluded.radius > 0.0:
        sentence = (
            f"no gain up to {excluded.radius:g} natural units keeps every deviation worse than the plan (by a global "
            "solver: the costs are not affine in the leader's variables)."
        )
    else:
        sentence = "the search for a gain ended without an answer."
    return NoIncentive(
        f"No affine incentive: {listed(names, 3)}: {sentence} Let the leader see more: observe= other functions of the "
        "actions.",
        reasons=dict.fromkeys(names, sentence),
        residuals=dict.fromkeys(names, math.inf),
        causes=dict.fromkeys(names, RefusalCause.DEVIATIONS),
        deviations=table([]),
    )


def _exact(
    parts: Sequence[tuple[Tag, float]], levers: Mapping[str, Lever], free: Array
) -> list[tuple[Tag, Fraction]] | None:
    """The same without rounding, where the whole certificate is one of deviations and its data are rationals."""
    if any(tag.kind != "deviation" for tag, _ in parts):
        return None
    mine = [levers[tag.follower] for tag, _ in parts]
    points = [lever.point(tag.action) for lever, (tag, _) in zip(mine, parts, strict=True)]
    for read in (simple, lambda _, point: [fraction(level) for level in point]):
        rows = [(lever, read(lever, point)) for lever, point in zip(mine, points, strict=True)]
        lottery = exact_lottery(rows, free)
        if lottery is not None:
            weights, temptations = lottery
            actions = [dict(zip(lever.problem.names, map(float, point), strict=True)) for lever, point in rows]
            said = zip(parts, actions, temptations, strict=True)
            tags = [replace(tag, action=action, temptation=float(r)) for (tag, _), action, r in said]
            return list(zip(tags, weights, strict=True))
    return None


def _move(tag: Tag, lever: Lever) -> str:
    """What changes in a deviation: v = 0."""
    point = lever.point(tag.action)
    names = [name for number, name in enumerate(lever.problem.names) if _step(lever, point, number)]
    return listed([f"{name} = {shown(tag.action[name])}" for name in names], 4)


def _sentence(parts: Sequence[tuple[Tag, float]], texts: Sequence[str], levers: Mapping[str, Lever]) -> str:
    deviations = [(*part, text) for part, text in zip(parts, texts, strict=True) if part[0].kind == "deviation"]
    others = sorted({_other(tag) for tag, _ in parts if tag.kind != "deviation"})
    if len(deviations) == 1 and not others:
        return _alone(deviations[0][0], levers[deviations[0][0].follower])
    moves = [
        f"{tag.follower} plays {_move(tag, levers[tag.follower])} (weight {text or format(weight, '.4g')})"
        for tag, weight, text in deviations
    ]
    gained = math.fsum(w * t.temptation for t, w, _ in deviations)
    if not moves:
        return f"{listed(others, 3)}: they exclude each other."
    beside = f" beside {listed(others, 3)}" if others else ""
    liked = f", and together they gain {shown(gained)}" if not others else ""
    return f"{listed(moves, 4)}{beside}: what the leader sees cannot tell these apart from the plan on average{liked}."


def _alone(tag: Tag, lever: Lever) -> str:
    """One deviation that no gain reaches."""
    point = lever.point(tag.action)
    what = f"{tag.follower} plays {_move(tag, lever)} and gains {shown(tag.temptation)}"
    if not lever.signs(point).any():
        return f"{what}: no signal shows it."
    if lever.is_affine and not lever.pulls(point).any():
        return f"{what}: there no leader variable moves its cost (a price times an output of 0 does not)."
    return f"{what}, whatever the leader's answer."


def _other(tag: Tag) -> str:
    if tag.kind == "slope":
        return f"the first-order condition of {tag.follower}"
    if tag.kind == "bound":
        assert tag.limit is not None
        return f"the leader's {'lower' if tag.limit.lower else 'upper'} bound of {tag.limit.variable}"
    return {"gain bound": "the bounds of the gains", "price bound": "the bounds of the free variables"}.get(
        tag.kind, tag.kind
    )


def _repair(parts: Sequence[tuple[Tag, float]], levers: Mapping[str, Lever]) -> str:
    """A signal that would show the lottery: an action that is not seen, else a square."""
    deviations = [(tag, weight) for tag, weight in parts if tag.kind == "deviation"]
    if any(tag.kind in ("bound", "price bound") for tag, _ in parts):
        return "Widen these bounds, or choose a plan further inside them."
    if any(tag.kind == "gain bound" for tag, _ in parts):
        return "Widen gain_bounds=."
    dead = [t for t, _ in deviations if levers[t.follower].is_affine]
    if dead and all(not levers[t.follower].pulls(levers[t.follower].point(t.action)).any() for t in dead):
        return (
            f"Let the cost of {dead[0].follower} hold a leader variable there, too: a payment for being on, beside the "
            "price; or choose the on-path price anew with free=."
        )
    several = list(dict.fromkeys(tag.follower for tag, _ in deviations))
    if len(several) > 1:
        apart = [n for name in several for n in _mixed(levers[name], [t for t, _ in deviations if t.follower == name])]
        if apart:
            return f"Observe {listed(apart, 4)} one by one (observe='actions' sees them all)."
    for name, lever in levers.items():
        deviating = [(lever.point(tag.action), weight) for tag, weight in deviations if tag.follower == name]
        for number, variable in enumerate(lever.problem.names):
            if deviating and not lever.shown[:, number].any() and _moved(lever, deviating, number, 1):
                return f"Observe {variable}, too: it shows these."
        for number, variable in enumerate(lever.problem.names):
            if deviating and _moved(lever, deviating, number, 2):
                target = shown(float(lever.target[number]))
                return (
                    f"Observe ({variable} - {target})**2, too: observe=[..., (m.{variable} - {target})**2]; "
                    "or regret='least' for the best strategy all the same."
                )
    return "Observe more of what they do, one by one; or regret='least' for the best strategy all the same."


def _mixed(lever: Lever, tags: Sequence[Tag]) -> list[str]:
    """Actions that change in these deviations and that no signal shows by itself."""
    alone = {name for signal in lever.design.signals if len(signal.terms) == 1 for name in signal.terms}
    points = [lever.point(tag.action) for tag in tags]
    changed = [any(_step(lever, point, number) for point in points) for number in range(len(lever.target))]
    return [n for n, moved in zip(lever.problem.names, changed, strict=True) if moved and n not in alone]


def _step(lever: Lever, point: Array, number: int) -> float:
    """How far a deviation takes an action from the plan; 0 where that is nothing beside its reach."""
    step = float(point[number] - lever.target[number])
    return step if abs(step) > TOLERANCES.apart * lever.reach(number) else 0.0


def _moved(lever: Lever, mine: Sequence[tuple[Array, float]], number: int, power: int) -> bool:
    """True if on average the lottery shows in this power of an action's step."""
    parts = np.array(
        [
            weight * (lever.pulls(point) if lever.is_affine else 1.0) * _step(lever, point, number) ** power
            for point, weight in mine
        ]
    )
    return bool((np.abs(parts.sum(axis=0)) > TOLERANCES.margin * np.abs(parts).sum(axis=0)).any())


def fraction(number: float) -> Fraction:
    """The decimal number as it is written."""
    return Fraction(repr(float(number)))


def rational(expression: Any, values: Mapping[int, Fraction]) -> Fraction | None:
    """The expression's exact value where it is a polynomial (or a quotient) of rationals; None: it is not."""
    try:
        return Fraction(folded(expression, values, fraction, _power))
    except (*UNDEFINED, RecursionError):
        return None


def _power(node: Any, parts: list[Fraction]) -> Fraction:
    if not isinstance(node, nodes.PowExpression) or parts[1].denominator != 1:
        return Fraction(math.nan)  # raises what stands for no value
    return Fraction(parts[0] ** int(parts[1]))


def exact_lottery(
    rows: Sequence[tuple[Lever, Sequence[Fraction]]], free: Array
) -> tuple[list[Fraction], list[Fraction]] | None:
    """(weights μ ≥ 0, temptations r) of deviations (lever, point): Σ μ p dᵀ = 0, Σ μ r > 0, Σ μ = 1; None: not shown.

    All in exact arithmetic, as is that each point is one that the follower can play. free: (instruments) whether the
    on-path value is chosen anew; there Σ μ (p(v) − p(u*)) = 0, too.
    """
    columns, temptations = list[list[Fraction]](), list[Fraction]()
    for lever, point in rows:
        row = _row(lever, point, free)
        if row is None:
            return None
        columns.append(row[0])
        temptations.append(row[1])
    vector = _null_vector(columns)
    if vector is None or not sum(vector):
        return None
    vector = [weight / sum(vector) for weight in vector]
    gained = sum((w * r for w, r in zip(vector, temptations, strict=True)), Fraction(0))
    return (vector, temptations) if gained > 0 and min(vector) >= 0 else None


def simple(lever: Lever, point: Array) -> list[Fraction]:
    """A point that is as good, in the simplest fractions: actions as near as a plan is known, those on bounds there."""
    near = []
    for number, var in enumerate(lever.variables):
        level, room = fraction(point[number]), fraction(TOLERANCES.accuracy * lever.reach(number))
        held = lever.whole[number] or level in [fraction(end) for end in var.bounds if end is not None]
        near.append(level if held else _simplest(level - room, level + room))
    return near


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """The fraction of the least denominator from low to high."""
    whole = Fraction(math.ceil(low))
    if whole <= high:
        return whole
    return whole - 1 + 1 / _simplest(1 / (high - whole + 1), 1 / (low - whole + 1))


def _row(lever: Lever, point: Sequence[Fraction], free: Array) -> tuple[list[Fraction], Fraction] | None:
    """(p(v) d(v)ᵀ over instruments × signals, and p(v) − p(u*) of what is free; r(v)); None: not known exactly."""
    if not lever.is_affine:
        return None
    own, answers = lever.variables, lever.problem.answers
    level = {id(v): fraction(x) for v, x in zip(answers, lever.levels, strict=True)}
    table = {**level, **{id(v): x for v, x in zip(own, point, strict=True)}}
    plan = {**level, **{id(v): fraction(x) for v, x in zip(own, lever.target, strict=True)}}
    if not _is_able(lever, table):
        return None
    bent = {number: rational(curve, table) for number, curve in lever.curved.items()}
    costs = [rational(lever.problem.own, values) for values in (plan, table)]
    pulls, planned = ([rational(slope, values) for slope in lever.slopes] for values in (table, plan))
    if None in (*costs, *pulls, *planned, *bent.values()):
        return None
    steps = [table[id(v)] - plan[id(v)] for v in own]
    seen = [sum((fraction(m) * s for m, s in zip(moves, steps, strict=True)), Fraction(0)) for moves in lever.shown]
    seen = [bent.get(number) or sign for number, sign in enumerate(seen)]
    column = [Fraction(0)] * (lever.count * (len(seen) + 1))
    for instrument, pull, before in zip(map(int, lever.instruments), pulls, planned, strict=True):
        for number, sign in enumerate(seen):
            column[instrument * len(seen) + number] = (pull or Fraction(0)) * sign
        if free[instrument]:
            column[lever.count * len(seen) + instrument] = (pull or Fraction(0)) - (before or Fraction(0))
    return column, (costs[0] or Fraction(0)) - (costs[1] or Fraction(0))


def _is_able(lever: Lever, table: Mapping[int, Fraction]) -> bool:
    """Whether the follower can do that: within its bounds and rows, without any room."""
    rows = [(rational(row.body, table), row.lb, row.ub) for row in lever.problem.rows]
    bounds = [(table[id(v)], *v.bounds) for v in lever.variables]
    return all(
        level is not None and (low is None or level >= fraction(low)) and (high is None or level <= fraction(high))
        for level, low, high in [*rows, *bounds]
    )


def _null_vector(columns: Sequence[Sequence[Fraction]]) -> list[Fraction] | None:
    """The one vector μ with Σ μ_i column_i = 0, up to a factor; None if there is none, or more than one."""
    count = len(columns)
    rows = [list(row) for row in zip(*columns, strict=True)]
    pivots: list[int] = []
    for column in range(count):
        pivot = next((i for i in range(len(pivots), len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        place = len(pivots)
        rows[place], rows[pivot] = rows[pivot], rows[place]
        rows[place] = [x / rows[place][column] for x in rows[place]]
        for i, row in enumerate(rows):
            if i != place and row[column]:
                rows[i] = [a - row[column] * b for a, b in zip(row, rows[place], strict=True)]
        pivots.append(column)
    free = [column for column in range(count) if column not in pivots]
    if len(free) != 1:
        return None
    vector = [Fraction(0)] * count
    vector[free[0]] = Fraction(1)
    for place, column in enumerate(pivots):
        vector[column] = -rows[place][free[0]]
    return vector
