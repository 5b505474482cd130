"""Equilibria: prices by marginal costs, variational ones by linear programs, lists and ties by all corners."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from scipy.optimize import linprog

import stackpyomo as sp

from .drafts import number
from .ledger import Ledger

__all__ = ["hunt", "infimum", "lists", "markets", "ties", "variational", "vertices"]

_SAME = 1e-4
"""Numbers within this share of each other are the same."""
_APART = 1e-3
"""Equilibria within this of each other are one."""
_HEAD = "import pyomo.environ as pyo\nimport stackpyomo as sp\n"


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """One market, one game with shared rows, one list and one game with ties."""
    for play in (markets, variational, lists, ties):
        play(random, ledger)


def built(script: str) -> sp.Game:
    """The game of a script that this module wrote itself."""
    names: dict[str, Any] = {}
    exec(script, names)
    return names["game"]


def text(x: Any) -> str:
    """A number of NumPy's as text."""
    return number(float(x))


def linear(numbers: Any, name: str) -> str:
    """Σ number · name[i]."""
    return " + ".join(f"{text(c)}*{name}[{i}]" for i, c in enumerate(numbers) if c) or f"0*{name}[0]"


# --- prices -----------------------------------------------------------------------------------------------------------


def markets(random: np.random.Generator, ledger: Ledger) -> None:
    """The price of a market's row is its marginal cost, from the left or from the right."""
    count = int(random.integers(2, 6))
    cost, room = random.integers(1, 9, count).astype(float), random.integers(1, 6, count).astype(float)
    bend = random.integers(0, 3, count).astype(float) if random.random() < 0.5 else np.zeros(count)
    demand = float(random.integers(1, int(room.sum()))) - (0.5 if random.random() < 0.5 else 0.0)
    maximize, reversed_row, factor = random.random() < 0.5, random.random() < 0.5, float(random.choice([1.0, 2.0, 0.5]))
    relation = "==" if random.random() < 0.5 else "<=" if reversed_row else ">="
    sign, turn = (-1.0 if maximize else 1.0), (-factor if reversed_row else factor)
    terms = " + ".join(
        f"{text(sign * c)}*m.f.y[{i}] + {text(sign * b)}*m.f.y[{i}]**2"
        for i, (c, b) in enumerate(zip(cost, bend, strict=True))
    )
    script = _HEAD + "\n".join(
        [
            "m = pyo.ConcreteModel()",
            "m.p, m.f = pyo.Var(), pyo.Block()",
            f"m.f.y = pyo.Var(range({count}), bounds=lambda b, i: (0, {room.tolist()}[i]))",
            f"m.f.goal = pyo.Objective(expr={terms}, sense=pyo.{'maximize' if maximize else 'minimize'})",
            f"m.f.row = pyo.Constraint(expr={linear([turn] * count, 'm.f.y')} {relation} {turn * demand!r})",
            "m.goal = pyo.Objective(expr=m.p)",
            "game = sp.Game(m, m.f, prices=[(m.p, m.f.row)])",
        ]
    )
    plan = sp.nash(built(script))
    script += "\nplan = sp.nash(game)\nprint(plan, plan.price_range, sp.verify(plan).prices)\n"
    step = 1e-4 * factor
    levels = [sign * _supplied(cost, bend, room, demand + shift / turn) for shift in (-step, 0.0, step)]
    low, high = sorted(((levels[1] - levels[0]) / step, (levels[2] - levels[1]) / step))
    tolerance = 1e-3 * max(1.0, abs(low), abs(high))
    price = plan.value("p")
    holds = low - tolerance <= price <= high + tolerance
    ledger.claim("price", holds, f"{price:.8g}, marginal cost in [{low:.8g}, {high:.8g}]", script)
    least, most = plan.price_range.loc["p"]
    same = abs(least - low) <= tolerance and abs(most - high) <= tolerance
    ledger.claim("range of a price", same, f"[{least:.8g}, {most:.8g}], in fact [{low:.8g}, {high:.8g}]", script)


def _supplied(cost: Any, bend: Any, room: Any, demand: float) -> float:
    """The least cost of a demand: Σ c y + b y² by the price at which it is met, cheapest first where that is flat."""
    low, high = 0.0, float((cost + 2 * bend * room).max()) + 1.0
    for _ in range(200):
        price = (low + high) / 2.0
        supplied = np.where(
            bend > 0, np.clip((price - cost) / np.where(bend > 0, 2 * bend, 1.0), 0, room), room * (cost < price)
        )
        low, high = (price, high) if supplied.sum() < demand else (low, price)
    below = np.where(bend > 0, np.clip((low - cost) / np.where(bend > 0, 2 * bend, 1.0), 0, room), room * (cost < low))
    rest = demand - below.sum()
    return float(cost @ below + bend @ below**2 + rest * high)


# --- shared rows ------------------------------------------------------------------------------------------------------


def variational(random: np.random.Generator, ledger: Ledger) -> None:
    """An equilibrium called variational solves the variational inequality over everybody's rows together."""
    count, rows = int(random.integers(2, 5)), int(random.integers(1, 3))
    own, shift = random.integers(1, 4, count).astype(float), random.integers(-6, 3, count).astype(float)
    others = random.integers(-1, 2, (count, count)).astype(float) * (1.0 - np.eye(count))
    weights = random.integers(0, 3, (rows, count)).astype(float)
    weights[:, 0] = 1.0
    limits, top = random.integers(1, 5, rows).astype(float), float(random.integers(1, 5))
    divided = dict(enumerate(map(float, random.integers(1, 4, count)))) if random.random() < 0.5 else {}
    slopes = [linear(row, "u") for row in others + np.diag(own)]
    script = _HEAD + "\n".join(
        [
            "m = pyo.ConcreteModel()",
            "m.goal = pyo.Objective(expr=0)",
            f"m.f = pyo.Block(range({count}))",
            *(f"m.f[{k}].u = pyo.Var(bounds=(0, {top}))" for k in range(count)),
            f"u = [m.f[k].u for k in range({count})]",
            *(
                f"m.f[{k}].cost = pyo.Objective(expr=u[{k}]*({slope} + {text(shift[k])}))"
                for k, slope in enumerate(slopes)
            ),
            f"weights, limits = {weights.tolist()}, {limits.tolist()}",
            f"m.cap = pyo.Constraint(range({rows}), "
            "rule=lambda m, i: sum(w*v for w, v in zip(weights[i], u)) <= limits[i])",
            f"game = sp.Game(m, m.f, shared=[m.cap[i] for i in range({rows})])",
        ]
    )
    game = built(script)
    named = {f"f[{k}]": weight for k, weight in divided.items()} or None
    tail = f"\nplan = sp.nash(game, equilibrium='variational', weights={named})\nprint(plan)\n"
    scale = np.array([divided.get(k, 1.0) for k in range(count)])

    def gap(plan: sp.Plan) -> float:
        u = np.array([plan.value(f"f[{k}].u") for k in range(count)])
        slope = scale * (2 * own * u + others @ u + shift)
        best = linprog(slope, A_ub=weights, b_ub=limits, bounds=(0, top))
        return float(slope @ u - best.fun) / max(1.0, float(np.abs(slope).sum()) * top)

    try:
        plan = sp.nash(game, equilibrium="variational", weights=named)
    except sp.NoPlan as refusal:
        ledger.claim(f"no variational equilibrium: {refusal.termination}", refusal.termination != "infeasible")
        return
    kind = "" if plan.selection is None else plan.selection.kind
    ledger.claim(f"called {kind or 'nothing'}")
    if kind == "variational":
        ledger.claim("variational", gap(plan) <= _SAME, f"gap {gap(plan):.3g}", script + tail)
    loose = sp.nash(game, equilibrium="any")
    said = loose.selection is not None and loose.selection.kind == "variational"
    ledger.claim("never called so", not said or gap(loose) <= _SAME, f"gap {gap(loose):.3g}", script)


# --- lists ------------------------------------------------------------------------------------------------------------


def lists(random: np.random.Generator, ledger: Ledger) -> None:
    """A list called complete holds every isolated equilibrium, and a continuum is told where there is one."""
    count = int(random.integers(2, 4))
    own, shift = random.integers(0, 3, count).astype(float), random.integers(-3, 4, count).astype(float)
    others = random.integers(-2, 3, (count, count)).astype(float) * (1.0 - np.eye(count))
    script = _HEAD + "\n".join(
        [
            "m = pyo.ConcreteModel()",
            "m.goal = pyo.Objective(expr=0)",
            f"m.f = pyo.Block(range({count}))",
            *(f"m.f[{k}].u = pyo.Var(bounds=(0, 1))" for k in range(count)),
            f"u = [m.f[k].u for k in range({count})]",
            *(
                f"m.f[{k}].cost = pyo.Objective(expr=u[{k}]*({linear(others[k], 'u')} + {text(shift[k])})"
                f" + {text(own[k] / 2.0)}*u[{k}]**2)"
                for k in range(count)
            ),
            "game = sp.Game(m, m.f)",
        ]
    )
    points, wide = _corners(np.diag(own) + others, shift)
    listed = sp.nash(built(script), equilibrium="all", limit=40)
    script += "\nprint(sp.nash(game, equilibrium='all', limit=40))\n"
    ledger.claim("complete" if listed.complete else "at least these")
    told = [np.array([plan.value(f"f[{k}].u") for k in range(count)]) for plan in listed]
    for point in told:
        slope = (np.diag(own) + others) @ point + shift
        rest = np.where(
            point < _APART, slope >= -_SAME, np.where(point > 1 - _APART, slope <= _SAME, abs(slope) < _SAME)
        )
        ledger.claim("listed", bool(rest.all()), f"{point}: slopes {slope}", script)
    if listed.complete:
        ledger.claim("complete: no continuum", not wide, f"a continuum: {wide[:1]}", script)
        number_told = sum(listed.copies)
        holds = number_told == len(points)
        ledger.claim("complete: all", holds, f"{number_told} told, there are {[p.tolist() for p in points]}", script)
    if wide and not listed.reason.startswith("limit"):
        ledger.claim("continuum told", bool(listed.continuum), f"a continuum: {wide[:1]}", script)


def _corners(matrix: Any, shift: Any) -> tuple[list[Any], list[Any]]:
    """(isolated points, pieces of a continuum) with u ∈ [0, 1]ⁿ, slope ≥ 0 at 0, ≤ 0 at 1, 0 between."""
    count = len(shift)
    points: list[Any] = []
    wide: list[Any] = []
    for pattern in itertools.product((0, 1, 2), repeat=count):
        bounds = [((0, 0), (1, 1), (0, 1))[p] for p in pattern]
        signs = np.array([-1.0 if p == 0 else 1.0 for p in pattern])
        free = np.array([p == 2 for p in pattern])
        equal = {"A_eq": matrix[free], "b_eq": -shift[free]} if free.any() else {}
        above = {"A_ub": (signs[:, None] * matrix)[~free], "b_ub": -(signs * shift)[~free]} if (~free).any() else {}
        ends = []
        for k, sign in itertools.product(range(count), (1.0, -1.0)):
            goal = np.zeros(count)
            goal[k] = sign
            ends.append(linprog(goal, bounds=bounds, **equal, **above))
        if any(end.status != 0 for end in ends):
            continue
        spread = np.ptp([end.x for end in ends], axis=0)
        if (spread > 1e-6).any():
            wide.append((np.min([e.x for e in ends], axis=0), np.max([e.x for e in ends], axis=0)))
        elif not any(np.abs(ends[0].x - p).max() < _APART for p in points):
            points.append(ends[0].x)
    inside = [any((p >= low - 1e-6).all() and (p <= high + 1e-6).all() for low, high in wide) for p in points]
    return [p for p, within in zip(points, inside, strict=True) if not within], wide


# --- ties -------------------------------------------------------------------------------------------------------------


def ties(random: np.random.Generator, ledger: Ledger) -> None:
    """Plans against ties of a linear follower, by its corners: the same between two crossings of costs."""
    size, count = int(random.integers(2, 4)), int(random.integers(1, 3))
    rows, limits = random.integers(0, 4, (count, size)), random.integers(1, 4, count)
    fixed, moving, worth = (random.integers(-2, 3, size) for _ in range(3))
    slope, sense = float(random.integers(-3, 4)), float(random.choice([1.0, -1.0]))
    goal = f"{linear(sense * worth, 'm.f.y')} + {text(sense * slope)}*m.x"
    script = _HEAD + "\n".join(
        [
            "m = pyo.ConcreteModel()",
            "m.x, m.f = pyo.Var(bounds=(0, 1)), pyo.Block()",
            f"m.f.y = pyo.Var(range({size}), bounds=(0, 1))",
            f"m.f.cost = pyo.Objective(expr={linear(fixed, 'm.f.y')} + m.x*({linear(moving, 'm.f.y')}))",
            f"m.f.row = pyo.Constraint(range({count}), rule=lambda b, k: sum(a*b.y[i] for i, a in "
            f"enumerate({rows.tolist()}[k])) <= {limits.tolist()}[k] + 0*b.y[0])",
            f"m.goal = pyo.Objective(expr={goal}, sense=pyo.{'minimize' if sense > 0 else 'maximize'})",
            "game = sp.Game(m, m.f)",
        ]
    )
    least, reached = infimum(vertices(rows, limits), fixed, moving, worth, slope)
    plan = sp.stackelberg(built(script), ties="pessimistic")
    script += "\nplan = sp.stackelberg(game, ties='pessimistic')\nprint(plan)\n"
    cost, bound, room = sense * plan.leader_objective, sense * plan.bound, _SAME * max(1.0, abs(least))
    ledger.claim("against ties: plan", cost >= least - room, f"{cost:.8g}, the infimum is {least:.8g}", script)
    ledger.claim("against ties: near", cost <= least + 10 * room, f"{cost:.8g}, the infimum is {least:.8g}", script)
    ledger.claim("against ties: bound", bound <= least + room, f"{bound:.8g} > {least:.8g}", script)
    if plan.attained is not None:
        word = "reached" if plan.attained else "not reached"
        ledger.claim(f"against ties: {word}", plan.attained is reached, f"infimum {least:.8g}", script)
    order = [sense * plan.ties[key] for key in ("optimistic", "pessimistic", "worst")]
    holds = order[0] <= order[1] + room and order[1] <= order[2] + room
    ledger.claim("against ties: order", bool(holds), f"{order}", script)


def vertices(rows: Any, limits: Any) -> Any:
    """Those of {rows y ≤ limits, 0 ≤ y ≤ 1}, by every choice of active rows."""
    size = rows.shape[1]
    whole = np.vstack([rows, np.eye(size), -np.eye(size)])
    right = np.concatenate([limits, np.ones(size), np.zeros(size)])
    corners: list[Any] = []
    for chosen in itertools.combinations(range(len(right)), size):
        part = whole[list(chosen)]
        if abs(np.linalg.det(part)) > 1e-9:
            y = np.linalg.solve(part, right[list(chosen)])
            if (whole @ y <= right + 1e-9).all() and not any(np.abs(y - c).max() < 1e-9 for c in corners):
                corners.append(y)
    return np.array(corners)


def infimum(corners: Any, fixed: Any, moving: Any, worth: Any, slope: float) -> tuple[float, bool]:
    """(inf ψ, whether it is reached): answers are corners of least cost, the same between two breakpoints."""
    start, rate, value = corners @ fixed, corners @ moving, corners @ worth
    pairs = itertools.combinations(range(len(corners)), 2)
    crossings = [(start[j] - start[i]) / (rate[i] - rate[j]) for i, j in pairs if abs(rate[i] - rate[j]) > 1e-12]
    points = np.unique(np.round([0.0, 1.0, *(x for x in crossings if 0.0 < x < 1.0)], 12))

    def worst(x: float) -> float:
        cost = start + x * rate
        return float(value[cost <= cost.min() + 1e-9].max())

    reached = min(worst(x) + slope * x for x in points)
    ends = [worst((a + b) / 2.0) + slope * end for a, b in itertools.pairwise(points) for end in (a, b)]
    return min([reached, *ends]), bool(reached <= min(ends) + 1e-9)
