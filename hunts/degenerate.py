"""Degenerate writings of affine bilevel games: rows twice, tiny, or of nothing, sets without an inside, other units."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import stackpyomo as sp

from .bilevel import affine_game, follows
from .drafts import Draft, Side, number
from .ledger import Ledger

__all__ = ["hunt"]

_SAME = 1e-4
"""Objectives within this share of each other are the same."""

Rewriting = Callable[[Draft, np.random.Generator], Draft]


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """One affine game in a writing that changes nothing of it but the way it looks, against all active sets."""
    game = affine_game(random)
    draft, (least, _) = game.draft(), game.best()
    names = list(_REWRITINGS)
    chosen = [names[i] for i in random.choice(len(names), size=int(random.integers(1, 4)), replace=False)]
    for name in chosen:
        draft = _REWRITINGS[name](draft, random)
    written, money = ", ".join(sorted(chosen)), 10.0 ** int(random.integers(-6, 7)) if random.random() < 0.5 else 1.0
    units = {n: 10.0 ** int(random.integers(-6, 7)) if random.random() < 0.3 else 1.0 for n in draft.start}
    if not game.whole:
        draft = draft.in_units(units, [money, *(10.0 ** int(random.integers(-6, 7)) for _ in draft.followers)])
    else:
        money = 1.0
    script = draft.script(f"# {written}: {least} by all active sets\nprint(sp.stackelberg(game, time_limit=30))\n")
    try:
        plan = sp.stackelberg(draft.game(), time_limit=30)
    except sp.NoPlan as refusal:
        holds = {"infeasible": least == math.inf, "unbounded": least == -math.inf}.get(refusal.termination, True)
        ledger.claim(f"no plan: {refusal.termination}", holds, f"{written}: the least cost is {least:.6g}", script)
        return
    ledger.claim(f"plan: {plan.quality}")
    level, bound, room = plan.leader_objective / money, plan.bound / money, _SAME * max(1.0, abs(least))
    room = room if math.isfinite(room) else 0.0
    if plan.quality == "optimal":
        ledger.claim("optimal", abs(level - least) <= room, f"{written}: {level:.8g}, not {least:.8g}", script)
    elif plan.quality == "feasible":
        ledger.claim("feasible", level >= least - room, f"{written}: {level:.8g}, not {least:.8g}", script)
    if math.isfinite(bound):
        ledger.claim("bound", bound <= least + room, f"{written}: {bound:.8g} > {least:.8g}", script)
    if all(unit == 1.0 for unit in units.values()) and "rows scaled" not in chosen:  # whose room knows no units
        follows(draft, plan, random, ledger, script)


# --- writings -------------------------------------------------------------------------------------------------------


def _rows(draft: Draft, change: Callable[[list[str]], list[str]]) -> Draft:
    return replace(draft, followers=[replace(side, rows=change(side.rows)) for side in draft.followers])


def _twice(draft: Draft, _: np.random.Generator) -> Draft:
    return _rows(draft, lambda rows: [*rows, *rows])


def _scaled(draft: Draft, random: np.random.Generator) -> Draft:
    factor = number(10.0 ** int(random.choice([-9, -6, 6, 9])))
    return _rows(draft, lambda rows: [f"{factor}*({row})" for row in rows])


def _implied(draft: Draft, _: np.random.Generator) -> Draft:
    """A row that the others imply: their sum."""
    return _rows(draft, lambda rows: [*rows, " + ".join(f"({row})" for row in rows)] if len(rows) > 1 else rows)


def _of_nothing(draft: Draft, _: np.random.Generator) -> Draft:
    """0 ≤ 0, in one of its own variables."""
    sides = [replace(s, rows=[*s.rows, f"0.0*{next(iter(s.boxes))}"]) for s in draft.followers]
    return replace(draft, followers=sides)


def _bounds_as_rows(draft: Draft, _: np.random.Generator) -> Draft:
    """Every bound is a row as well."""

    def sides(side: Side) -> Side:
        low = [f"{number(b[0])} - {n}" for n, b in side.boxes.items() if math.isfinite(b[0])]
        return replace(side, rows=[*side.rows, *low])

    return replace(draft, followers=[sides(side) for side in draft.followers])


def _more(draft: Draft, box: tuple[float, float], start: float, **changes: Callable[[str, Side], Any]) -> Draft:
    """Each follower has one variable more: its name and the side → the cost and the rows that hold it."""
    sides, values = [], dict(draft.start)
    for k, side in enumerate(draft.followers):
        name = f"z{k}{len(side.boxes)}"
        values[name] = start
        changed = {field: change(name, side) for field, change in changes.items()}
        sides.append(replace(side, boxes={**side.boxes, name: box}, **changed))
    return Draft(draft.leader, sides, values)


def _fixed(draft: Draft, _: np.random.Generator) -> Draft:
    """A variable that bounds hold at 1 is a factor of the cost."""
    return _more(draft, (1.0, 1.0), 1.0, cost=lambda z, side: f"{side.cost} + 3*{z}")


def _idle(draft: Draft, random: np.random.Generator) -> Draft:
    """A variable that nobody's cost holds, with an end or without."""
    return _more(draft, (0.0, float(random.choice([1.0, math.inf]))), 0.0)


def _copied(draft: Draft, _: np.random.Generator) -> Draft:
    """A variable that two rows hold to the first one: no point is inside."""

    def rows(z: str, side: Side) -> list[str]:
        own = next(iter(side.boxes))
        return [*side.rows, f"{z} - {own}", f"{own} - {z}"]

    return _more(draft, (-math.inf, math.inf), 0.0, rows=rows)


def _shifted(draft: Draft, random: np.random.Generator) -> Draft:
    """A million more in every follower's cost."""
    return replace(draft, followers=[replace(s, cost=f"{s.cost} + 1e6") for s in draft.followers])


_REWRITINGS: dict[str, Rewriting] = {
    "rows twice": _twice,
    "rows scaled": _scaled,
    "an implied row": _implied,
    "a row of nothing": _of_nothing,
    "bounds as rows": _bounds_as_rows,
    "a fixed variable": _fixed,
    "an idle variable": _idle,
    "a copied variable": _copied,
    "a million more": _shifted,
}
