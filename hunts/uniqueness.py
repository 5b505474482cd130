"""Uniqueness: quadratic followers under a rule; every equilibrium by all combinations of bounds."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np

import stackpyomo as sp

from .drafts import Draft, Side, number
from .incentives import rule_of
from .ledger import Ledger
from .oracles import Rule

__all__ = ["hunt"]

_TAIL = """
rule = sp.affine_incentive(sp.Plan.from_values(game))
print(rule, sp.verify(rule))
"""


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """Is "unique", or "not unique", what all combinations of bounds say?"""
    draft = _drawn(random)
    script = draft.script(_TAIL)
    rule = sp.affine_incentive(sp.Plan.from_values(draft.game()))
    report = sp.verify(rule)
    if not report.ok:
        ledger.claim("not verified")
        return
    if report.unique is None:
        ledger.claim("neither unique nor not")
        return
    plain = replace(rule_of(draft, rule, None), cut=False)
    others, singular = _equilibria(draft, plain)
    word = "unique" if report.unique else "not unique"
    holds = not others if report.unique else bool(others) or singular
    ledger.claim(word, holds, f"other equilibria: {others[:2]}", script)


def _drawn(random: np.random.Generator) -> Draft:
    """Two or three followers with one or two bounded actions, strictly convex alone, of any coupling."""

    def c(low: float = 0.1, high: float = 2.0) -> float:
        return round(float(random.uniform(low, high) * random.choice([-1, 1])), 2)

    leaders = {f"t{i}": (-50.0, 50.0) for i in range(random.integers(1, 3))}
    owned = [[f"a{k}{j}" for j in range(random.integers(1, 3))] for k in range(random.integers(2, 4))]
    everybody = [n for own in owned for n in own][:5]
    followers = []
    for own in owned:
        cost = " + ".join(f"{number(abs(c(0.3)))}*({n} - {number(c())})**2" for n in own)
        cost += "".join(f" + {number(c())}*{t}*{random.choice(own)}" for t in leaders if random.random() < 0.7)
        cost += "".join(f" + {number(c())}*{t} + {number(abs(c()))}*({t} - {number(c())})**2" for t in leaders)
        cost += "".join(f" + {number(c())}*{random.choice(own)}*{n}" for n in everybody if n not in own)
        followers.append(Side(dict.fromkeys(own, (-2.0, 2.0)), cost))
    start = {n: round(float(random.uniform(-1, 1)), 2) for n in [*leaders, *(n for own in owned for n in own)]}
    return Draft(Side(leaders, " + ".join(f"{t}**2" for t in leaders)), followers, start)


def _equilibria(draft: Draft, rule: Rule) -> tuple[list[dict[str, float]], bool]:
    """All equilibria other than the plan, and whether some combination of bounds leaves a continuum."""
    names = [n for side in draft.followers for n in side.boxes]
    boxes = np.array([side.boxes[n] for side in draft.followers for n in side.boxes])
    matrix, shift = _pseudo_gradient(draft, rule, names)
    plan = np.array([rule.plan[n] for n in names])
    others, singular = [], False
    for kinds in itertools.product((-1, 0, 1), repeat=len(names)):
        kind = np.array(kinds)
        free = kind == 0
        u = np.where(kind < 0, boxes[:, 0], boxes[:, 1])
        block = matrix[np.ix_(free, free)]
        if free.any():
            if abs(np.linalg.det(block)) < 1e-9:
                singular = True
                continue
            u[free] = np.linalg.solve(block, -(shift[free] + matrix[np.ix_(free, ~free)] @ u[~free]))
        slope = matrix @ u + shift
        inside = (u >= boxes[:, 0] - 1e-9) & (u <= boxes[:, 1] + 1e-9)
        held = np.where(kind < 0, slope >= -1e-9, np.where(kind > 0, slope <= 1e-9, True))
        if inside.all() and held.all() and np.abs(u - plan).max() > 1e-4:
            others.append(dict(zip(names, u.tolist(), strict=True)))
    return others, singular


def _pseudo_gradient(draft: Draft, rule: Rule, names: list[str]) -> tuple[Any, Any]:
    """(M, q) of each follower's slope M u + q in its own actions, the leader answering; costs are quadratic."""

    def slopes(u: Any) -> Any:
        at = {**rule.plan, **dict(zip(names, u, strict=True))}
        rows = []
        for side in draft.followers:
            for name in side.boxes:
                ends = []
                for step in (1.0, -1.0):
                    moved = {**at, name: at[name] + step}
                    ends.append(float(side.value({**moved, **rule.answer(moved)})))
                rows.append((ends[0] - ends[1]) / 2)
        return np.array(rows)

    zero = slopes(np.zeros(len(names)))
    return np.array([slopes(e) - zero for e in np.eye(len(names))]).T, zero
