"""Bilevel games without an incentive: affine ones by linear programs over active sets, curved ones by dense search."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linprog, minimize_scalar

import stackpyomo as sp

from .drafts import Draft, Side, number
from .ledger import Ledger
from .oracles import best_deviation, natural_scale, unknown

__all__ = ["affine", "affine_game", "curved", "follows"]

_SAME = 1e-4
"""Objectives within this share of each other are the same."""
_TAIL = "plan = sp.stackelberg(game, time_limit=30)\nprint(plan, sp.verify(plan))\n"


# --- affine games -----------------------------------------------------------------------------------------------------


@dataclass
class Affine:
    """min ½ u·M u + u·(C x + d) over rows A u + B x <= h and bounds, for each follower; the leader: p·x + q·u."""

    owner: Any
    matrix: Any
    lead: Any
    shift: Any
    rows: Any
    row_lead: Any
    level: Any
    row_owner: Any
    boxes: list[tuple[float, float]]
    lead_boxes: list[tuple[float, float]]
    lead_cost: Any
    cost: Any
    whole: bool
    names: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))

    def sides(self) -> tuple[Any, Any, Any, Any]:
        """Rows and bounds as A u + B x <= h, with owners."""
        n, eye = len(self.owner), np.eye(len(self.owner))
        low = [i for i, b in enumerate(self.boxes) if math.isfinite(b[0])]
        high = [i for i, b in enumerate(self.boxes) if math.isfinite(b[1])]
        none = np.zeros((n, len(self.lead_boxes)))
        return (
            np.vstack([self.rows.reshape(-1, n), -eye[low], eye[high]]),
            np.vstack([self.row_lead.reshape(-1, none.shape[1]), none[low], none[high]]),
            np.concatenate([self.level, [-self.boxes[i][0] for i in low], [self.boxes[i][1] for i in high]]),
            np.concatenate([self.row_owner, self.owner[low], self.owner[high]]).astype(int),
        )

    def best(self) -> tuple[float, Any]:
        """(the leader's least cost over all equilibria, where): ∞ where there is none, −∞ where there is no end."""
        best, where = math.inf, None
        choices = [range(int(b[0]), int(b[1]) + 1) for b in self.lead_boxes] if self.whole else [[None]]
        for fixed in itertools.product(*choices):
            boxes = [(f, f) for f in fixed] if self.whole else self.lead_boxes
            for level, z in self._pieces(boxes):
                if level < best:
                    best, where = level, z
                if best == -math.inf:
                    return best, where
        return best, where

    def _pieces(self, lead_boxes: list[Any]) -> Iterator[tuple[float, Any]]:
        """(x, u, λ) with each row either tight or of multiplier 0: one linear program for every such choice."""
        rows, lead, level, owner = self.sides()
        n, p, r = len(self.owner), len(self.lead_boxes), len(level)
        own = rows * (owner[:, None] == self.owner[None, :])
        stationary = np.hstack([self.lead, self.matrix, own.T])
        objective = np.concatenate([self.lead_cost, self.cost, np.zeros(r)])
        slack = np.hstack([lead, rows, np.zeros((r, r))])
        for tight in itertools.product([False, True], repeat=r):
            chosen = np.array(tight, dtype=bool)
            if chosen.sum() > n + p:
                continue
            bounds = [*lead_boxes, *[(None, None)] * n, *[(0, None) if t else (0, 0) for t in chosen]]
            piece = {
                "A_ub": slack[~chosen] if (~chosen).any() else None,
                "b_ub": level[~chosen] if (~chosen).any() else None,
                "A_eq": np.vstack([stationary, slack[chosen]]),
                "b_eq": np.concatenate([-self.shift, level[chosen]]),
            }
            done = linprog(objective, bounds=_within(bounds, math.inf), **piece)
            if done.status == 3:  # believed where a point far out says so, too
                far = linprog(objective, bounds=_within(bounds, 1e6), **piece)
                if far.status == 0 and far.fun < -1e5:
                    yield -math.inf, far.x
            elif done.status == 0:
                yield float(done.fun), done.x

    def draft(self) -> Draft:
        """As text."""
        xs = [f"x{i}" for i in range(len(self.lead_boxes))]
        us = [f"u{i}" for i in range(len(self.owner))]

        def linear(row: Any, names: list[str]) -> list[str]:
            return [f"{number(float(c))}*{v}" for c, v in zip(row, names, strict=True) if c]

        sides = []
        for k in range(int(self.owner.max()) + 1):
            mine = np.flatnonzero(self.owner == k)
            terms = []
            for i in mine:
                terms += linear(self.lead[i], [f"{x}*{us[i]}" for x in xs]) + linear([self.shift[i]], [us[i]])
                for j, other in enumerate(us):
                    factor = self.matrix[i, j] * (0.5 if self.owner[j] == k else 1.0)
                    terms += linear([factor], [f"{us[i]}*{other}"])
            rows = [
                " + ".join(linear(a, us) + linear(b, xs) + [number(-float(h))])
                for a, b, h, o in zip(self.rows, self.row_lead, self.level, self.row_owner, strict=True)
                if o == k
            ]
            sides.append(Side({us[i]: self.boxes[i] for i in mine}, " + ".join(terms) or f"0*{us[mine[0]]}", rows))
        goal = " + ".join(linear(self.lead_cost, xs) + linear(self.cost, us)) or f"0*{xs[0]}"
        leader = Side(dict(zip(xs, self.lead_boxes, strict=True)), goal, whole=xs if self.whole else ())
        return Draft(leader, sides, dict.fromkeys([*xs, *us], 0.0))


def _within(bounds: list[Any], most: float) -> list[Any]:
    """Bounds for SciPy, none beyond ``most``."""
    wide = [(-most if a is None else max(a, -most), most if b is None else min(b, most)) for a, b in bounds]
    return [(a if math.isfinite(a) else None, b if math.isfinite(b) else None) for a, b in wide]


def affine_game(random: np.random.Generator) -> Affine:
    """Small whole numbers: ties, degenerate rows and unbounded sets are drawn on purpose."""
    followers = int(random.integers(1, 3))
    owner = np.repeat(np.arange(followers), random.integers(1, 3 if followers == 1 else 2, size=followers))
    n, p, r = len(owner), int(random.integers(1, 3)), int(random.integers(0, 3))
    same = owner[:, None] == owner[None, :]
    matrix = random.integers(-2, 3, size=(n, n)) / 2.0
    for k in range(followers):
        root = random.integers(-1, 2, size=(n, n)) * float(random.random() < 0.7)
        matrix = np.where(same & (owner == k)[:, None], root @ root.T + np.eye(n) * (random.random() < 0.4), matrix)
    row_owner = random.integers(followers, size=r)
    rows = random.integers(-2, 3, size=(r, n)) * (row_owner[:, None] == owner[None, :])
    row_lead = random.integers(-1, 2, size=(r, p))
    row_lead[~rows.any(axis=1), 0] = 1  # a row of numbers alone is no constraint
    some = [(0.0, 3.0), (0.0, 2.0), (-2.0, None), (0.0, None), (None, None), (-1.0, 1.0)]

    def box() -> tuple[float, float]:
        a, b = some[int(random.integers(len(some)))]
        return (-math.inf if a is None else a, math.inf if b is None else b)

    whole = bool(random.random() < 0.2)
    lead_boxes = [(-1.0, 2.0) for _ in range(p)] if whole else [box() for _ in range(p)]
    return Affine(
        owner,
        matrix,
        random.integers(-2, 3, size=(n, p)).astype(float),
        random.integers(-2, 3, size=n).astype(float),
        rows.astype(float),
        row_lead.astype(float),
        random.integers(0, 4, size=r).astype(float),
        row_owner,
        [box() for _ in range(n)],
        lead_boxes,
        random.integers(-2, 3, size=p).astype(float),
        random.integers(-2, 3, size=n).astype(float),
        whole,
    )


def affine(random: np.random.Generator, ledger: Ledger) -> None:
    """Stackelberg plans of linear and quadratic followers against all active sets."""
    game = affine_game(random)
    draft, (least, where) = game.draft(), game.best()
    script = draft.script(
        f"# by all active sets: {least}, x, u, multipliers = {None if where is None else where.tolist()}\n" + _TAIL
    )
    try:
        plan = sp.stackelberg(draft.game(), time_limit=30)
    except sp.NoPlan as refusal:
        word = refusal.termination
        holds = {"infeasible": least == math.inf, "unbounded": least == -math.inf}.get(word, True)
        ledger.claim(f"no plan: {word}", holds, f"the leader's least cost is {least:.6g}", script)
        return
    follows(draft, plan, random, ledger, script)
    ledger.claim(f"plan: {plan.quality}")
    if plan.quality == "optimal":
        room = _SAME * max(1.0, abs(least)) if math.isfinite(least) else 0.0
        holds = abs(plan.leader_objective - least) <= room
        ledger.claim("optimal", holds, f"{plan.leader_objective:.8g}, by all active sets {least:.8g}", script)
    if math.isfinite(plan.bound):
        ledger.claim(
            "bound",
            plan.bound <= least + _SAME * max(1.0, abs(least) if math.isfinite(least) else 1.0),
            f"{plan.bound:.8g} > {least:.8g}",
            script,
        )


def follows(draft: Draft, plan: sp.Plan, random: np.random.Generator, ledger: Ledger, script: str) -> None:
    """A plan that is called feasible or optimal is one from which nobody wants to go."""
    if plan.quality not in ("optimal", "feasible"):
        return
    at = draft.plain(plan.values)
    report = sp.verify(plan)
    for k, side in enumerate(draft.followers):
        seen = best_deviation(side, None, at, random)
        scale = max(natural_scale(side, at, random), 1e-9)
        holds = seen.gain <= _SAME * max(scale, 1e-3) + unknown(side, at, seen)
        why = f"f{k} gains {seen.gain:.4g} (its cost changes by {scale:.3g}) by {seen.values}"
        if plan.quality == "optimal":
            ledger.claim("followers answer: optimal plan", holds, why, script)
        if report.ok:
            ledger.claim("followers answer: verified", holds, why, script)
        elif str(report.certificate[f"f{k}"]) == "unknown":
            ledger.claim("followers answer: unknown")


# --- curved games -----------------------------------------------------------------------------------------------------


def curved(random: np.random.Generator, ledger: Ledger) -> None:
    """One leader variable, one follower with one action and a cost that is not quadratic, against a dense search."""
    draft = _curved(random)
    script = draft.script(_TAIL)
    least, where = _searched(draft)
    try:
        plan = sp.stackelberg(draft.game(), time_limit=30)
    except sp.NoPlan as refusal:
        word = refusal.termination
        ledger.claim(
            f"no plan: {word}",
            word not in ("infeasible", "unbounded") or where is None,
            f"x, u = {where} serve the leader with {least:.6g}",
            script,
        )
        return
    ledger.claim(f"plan: {plan.quality}")
    follows(draft, plan, random, ledger, script)
    objective = plan.leader_objective
    if plan.quality == "optimal" and where is not None:
        better = least < objective - _SAME * max(1.0, abs(objective))
        ledger.claim("optimal", not better, f"{objective:.8g}, at x, u = {where} {least:.8g}", script)
    if math.isfinite(plan.bound) and where is not None:
        ledger.claim(
            "bound",
            plan.bound <= least + _SAME * max(1.0, abs(least)),
            f"{plan.bound:.8g} > {least:.8g} at {where}",
            script,
        )


def _curved(random: np.random.Generator) -> Draft:
    def c(low: float = 0.2, high: float = 2.0) -> str:
        return number(round(float(random.uniform(low, high) * random.choice([-1, 1])), 2))

    def p() -> str:
        return number(round(float(random.uniform(0.2, 2.0)), 2))

    shapes = [
        f"exp({c()}*u) + {p()}*u**2",
        f"{p()}*u**4",
        f"-log(u + 3) + {p()}*u**2",
        f"log(1 + exp({c()}*u + x)) + {p()}*(u - {c()})**2",
        f"sqrt(1 + (u - x)**2) + {p()}*u**2",
        f"cosh(u + {c()}*x)",
        "(u + 3)*log(u + 3)",
        f"1/(u + 3) + {p()}*(u - {c()})**2",
        f"(u - x)**4 + {p()}*(u + {c()})**2",
    ]
    cost = f"{random.choice(shapes)} + {c()}*x*u + {c()}*u"
    goal = (
        f"(u - {c()})**2 + {p()}*(x - {c()})**2 + {c()}*x*u"
        if random.random() < 0.7
        else f"{c()}*x + {c()}*u + 0.5*x**2"
    )
    box = [(-2.0, 2.0), (-2.0, 2.0), (0.0, 2.0), (-2.0, 1.0)][int(random.integers(4))]
    rows = [f"u + {c()}*x - {p()}"] if random.random() < 0.3 else []
    return Draft(Side({"x": (-2.0, 2.0)}, goal), [Side({"u": box}, cost, rows)], {"x": 0.0, "u": 0.0})


def _searched(draft: Draft) -> tuple[float, list[float] | None]:
    """The leader's least cost on a grid of its variable; the follower, whose cost is convex, answers best."""
    side, best, where = draft.followers[0], math.inf, None
    for x in np.linspace(-2.0, 2.0, 801):
        grid = np.linspace(*side.boxes["u"], 401)
        fine = side.is_feasible({"x": x, "u": grid}) & np.ones(len(grid), bool)
        if not fine.any():
            continue
        low, high = _ends(side, x, grid[fine].min(), grid[fine].max(), grid[1] - grid[0])
        u = minimize_scalar(
            lambda v, x=x: float(side.value({"x": x, "u": v})),
            bounds=(low, high),
            method="bounded",
            options={"xatol": 1e-10},
        ).x
        u = min((low, u, high), key=lambda v: float(side.value({"x": x, "u": v})))
        level = float(draft.leader.value({"x": x, "u": u}))
        if level < best:
            best, where = level, [float(x), float(u)]
    return best, where


def _ends(side: Side, x: float, low: float, high: float, step: float) -> tuple[float, float]:
    """The ends of its feasible interval, by bisection beyond the grid."""
    ends = []
    for inside, sign in ((low, -1), (high, 1)):
        bound = side.boxes["u"][0 if sign < 0 else 1]
        outside = max(bound, inside - step) if sign < 0 else min(bound, inside + step)
        for _ in range(60):
            middle = (inside + outside) / 2
            if side.is_feasible({"x": x, "u": middle}, 0.0):
                inside = middle
            else:
                outside = middle
        ends.append(bound if abs(bound - inside) < 1e-12 else inside)
    return ends[0], ends[1]
