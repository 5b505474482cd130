"""Two writings of one game: every other public function gives the same words, and the same numbers but for the unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo

import stackpyomo as sp

from .ledger import Ledger

__all__ = ["hunt"]

_SAME = 1e-4
"""Numbers within this share of one another are the same."""

Said = dict[str, Any]
"""Words, and numbers in the units of the first writing."""


@dataclass(frozen=True)
class Units:
    """What variables and objectives are multiplied by; a constant is added to the followers' objectives."""

    action: float = 1.0
    leader: float = 1.0
    cost: float = 1.0
    goal: float = 1.0
    constant: float = 0.0

    @classmethod
    def drawn(cls, random: np.random.Generator) -> Units:
        """Some of them are others."""
        kind = int(random.integers(5))
        pick = [10.0 ** int(random.integers(-7, 8)) if kind in (i, 4) else 1.0 for i in range(2)]
        factor = [10.0 ** int(random.integers(-8, 9)) if kind == 2 else 1.0 for _ in range(2)]
        return cls(*pick, *factor, float(random.choice([-1e6, 1e6])) if kind == 3 else 0.0)


Question = Callable[[np.random.Generator], Callable[[Units], Said]]


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """One question, asked of both writings."""
    names = list(_QUESTIONS)
    name = names[int(random.integers(len(names)))]
    ask = _QUESTIONS[name](random)
    units = Units.drawn(random)
    first, second = _answer(ask, Units()), _answer(ask, units)
    for key in sorted(first.keys() | second.keys()):
        a, b = first.get(key), second.get(key)
        if not ledger.claim(f"{name}: same {key}", _is_same(a, b), f"{a} is {b} in {units}"):
            return  # what follows a first difference says nothing new


def _answer(ask: Callable[[Units], Said], units: Units) -> Said:
    try:
        return ask(units)
    except sp.NoPlan as refusal:
        return {"refusal": refusal.termination}
    except sp.StackpyomoError as refusal:
        return {"refusal": type(refusal).__name__}


def _is_same(first: Any, second: Any) -> bool:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(_is_same(first[k], second[k]) for k in first)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(map(_is_same, first, second))
    if isinstance(first, float) and isinstance(second, float):
        if not (math.isfinite(first) and math.isfinite(second)):
            return str(first) == str(second)
        return abs(first - second) <= _SAME * max(1.0, abs(first))
    return bool(first == second)


# --- games ------------------------------------------------------------------------------------------------------------


@dataclass
class Quadratic:
    """Followers ½ a u² + u (c + B u_others + d t), u within [0, top]; the leader's Σ (u − w)² + ε (t − r)²."""

    own: Any
    others: Any
    level: Any
    effect: Any
    wanted: Any
    top: float
    price: float

    @classmethod
    def drawn(cls, random: np.random.Generator, coupled: bool = True) -> Quadratic:
        """Whole numbers; the followers' own slopes outweigh what others add."""
        count = int(random.integers(1, 4))
        others = random.integers(-1, 2, (count, count)) * (1.0 - np.eye(count)) * coupled
        own = random.integers(1, 4, count) + np.abs(others).sum(axis=1)
        level, wanted = random.integers(-6, 2, count).astype(float), random.integers(0, 5, count) / 2.0
        effect = random.choice([-2.0, -1.0, 1.0, 2.0], count)
        return cls(own, others, level, effect, wanted, float(random.integers(2, 6)), float(random.choice([0.1, 1.0])))

    def model(self, units: Units) -> pyo.ConcreteModel:
        """The Pyomo model in these units; ``m.u`` are the actions and ``m.t0`` the toll as they were first written."""
        m = pyo.ConcreteModel()
        m.t = pyo.Var(bounds=(-20 * units.leader, 20 * units.leader), initialize=0.5 * units.leader)
        m.f = pyo.Block(range(len(self.own)))
        for block in m.f.values():
            block.u = pyo.Var(bounds=(0, self.top * units.action), initialize=units.action)
        toll, u = m.t / units.leader, [block.u / units.action for block in m.f.values()]
        for k, block in m.f.items():
            slope = self.level[k] + self.effect[k] * toll + sum(b * v for b, v in zip(self.others[k], u, strict=True))
            cost = units.cost * (self.own[k] / 2 * u[k] ** 2 + u[k] * slope) + units.constant
            block.cost = pyo.Objective(expr=cost)
        goal = sum((v - w) ** 2 for v, w in zip(u, self.wanted, strict=True)) + self.price * (toll - 0.5) ** 2
        m.goal = pyo.Objective(expr=units.goal * goal)
        return m


def _levels(plan: sp.Plan, units: Units, count: int) -> list[float]:
    return [plan.value(f"f[{k}].u") / units.action for k in range(count)]


# --- questions --------------------------------------------------------------------------------------------------------


def _inducible(random: np.random.Generator) -> Callable[[Units], Said]:
    game = Quadratic.drawn(random)

    def ask(units: Units) -> Said:
        m = game.model(units)
        table = sp.inducible(sp.leader_optimal(sp.Game(m, m.f)))
        security = [(float(x) - units.constant) / units.cost for x in table["security"]]
        return {"a verdict": table["verdict"].tolist(), "security": security}

    return ask


def _variational(random: np.random.Generator) -> Callable[[Units], Said]:
    game = Quadratic.drawn(random)
    count = len(game.own)
    cap = float(random.integers(1, 4))
    weights = random.integers(1, 3, count)

    def ask(units: Units) -> Said:
        m = game.model(units)
        used = sum(w * block.u for w, block in zip(map(int, weights), m.f.values(), strict=True))
        m.cap = pyo.Constraint(expr=used <= cap * units.action)
        plan = sp.nash(sp.Game(m, m.f, shared=[m.cap]), equilibrium="variational")
        kind = None if plan.selection is None else str(plan.selection.kind)
        return {"a kind": kind, "b quality": str(plan.quality), "levels": _levels(plan, units, count)}

    return ask


def _lists(random: np.random.Generator) -> Callable[[Units], Said]:
    count = int(random.integers(2, 4))
    own, level = random.integers(0, 3, count).astype(float), random.integers(-3, 4, count).astype(float)
    others = random.integers(-2, 3, (count, count)) * (1.0 - np.eye(count))
    zero = np.zeros(count)
    game = Quadratic(own, others, level, zero, zero, 1.0, 1.0)

    def ask(units: Units) -> Said:
        m = game.model(units)
        m.t.fix()
        plans = sp.nash(sp.Game(m, m.f), equilibrium="all", limit=40)
        levels = sorted(np.round(_levels(plan, units, count), 3).tolist() for plan in plans)
        return {"a complete": plans.complete, "b pieces": len(plans.continuum), "levels": levels}

    return ask


def _ties(random: np.random.Generator) -> Callable[[Units], Said]:
    size = int(random.integers(2, 4))
    row, limit = random.integers(1, 4, size), int(random.integers(1, 4))
    fixed, moving, worth = (random.integers(-2, 3, size) for _ in range(3))
    slope, sense = int(random.integers(-3, 4)), random.choice([1, -1])

    def ask(units: Units) -> Said:
        m = pyo.ConcreteModel()
        m.x, m.f = pyo.Var(bounds=(0, units.leader)), pyo.Block()
        m.f.y = pyo.Var(range(size), bounds=(0, units.action))
        x, y = m.x / units.leader, [v / units.action for v in m.f.y.values()]
        cost = sum((int(a) + int(b) * x) * v for a, b, v in zip(fixed, moving, y, strict=True))
        m.f.cost = pyo.Objective(expr=units.cost * cost + units.constant)
        m.f.row = pyo.Constraint(
            expr=sum(int(a) * v for a, v in zip(row, m.f.y.values(), strict=True)) <= limit * units.action
        )
        goal = sum(int(w) * v for w, v in zip(worth, y, strict=True)) + slope * x
        m.goal = pyo.Objective(expr=units.goal * int(sense) * goal, sense=pyo.minimize if sense > 0 else pyo.maximize)
        plan = sp.stackelberg(sp.Game(m, m.f), ties="pessimistic")
        told = {k: None if v is None else v / units.goal for k, v in plan.ties.items() if isinstance(v, (float, int))}
        return {
            "a quality": str(plan.quality),
            "b attained": plan.attained,
            # "worst" is that of one optimistic plan, of which there may be several
            "ties": {k: round(float(v), 3) for k, v in told.items() if v is not None and k != "worst"},
        }

    return ask


def _leaders(random: np.random.Generator) -> Callable[[Units], Said]:
    level, cost = float(random.integers(20, 60)), float(random.integers(1, 11))
    followers = int(random.integers(1, 3))

    def ask(units: Units) -> Said:
        m = pyo.ConcreteModel()
        m.L, m.f = pyo.Block([1, 2]), pyo.Block(range(followers))
        for block, unit in [*((b, units.leader) for b in m.L.values()), *((b, units.action) for b in m.f.values())]:
            block.q = pyo.Var(bounds=(0, level * unit), initialize=unit)
        amounts = [b.q / units.leader for b in m.L.values()] + [b.q / units.action for b in m.f.values()]
        for i, block in enumerate([*m.L.values(), *m.f.values()]):
            factor = units.goal if i < 2 else units.cost
            profit = factor * (level - sum(amounts) - cost) * amounts[i] + (units.constant if i > 1 else 0.0)
            block.profit = pyo.Objective(expr=profit, sense=pyo.maximize)
        plan = sp.stackelberg(sp.Game(m, m.f, leaders=m.L))
        epsilon = float(plan.epsilon.max()) / units.goal <= 1e-3 * level
        return {
            "a quality": str(plan.quality),
            "b epsilon": epsilon,
            "levels": [plan.value(f"L[{k}].q") / units.leader for k in (1, 2)],
        }

    return ask


def _prices(random: np.random.Generator) -> Callable[[Units], Said]:
    count = int(random.integers(2, 5))
    cost, bend = random.integers(1, 9, count), random.integers(0, 3, count)
    room = random.integers(1, 6, count)
    demand = int(random.integers(1, int(room.sum())))

    def ask(units: Units) -> Said:
        m = pyo.ConcreteModel()
        m.p, m.f = pyo.Var(), pyo.Block()
        m.f.y = pyo.Var(range(count), bounds=lambda _, i: (0, int(room[i]) * units.action))
        y = [v / units.action for v in m.f.y.values()]
        total = sum(int(c) * v + int(b) * v**2 for c, b, v in zip(cost, bend, y, strict=True))
        m.f.goal = pyo.Objective(expr=units.cost * total + units.constant)
        m.f.row = pyo.Constraint(expr=sum(m.f.y.values()) >= demand * units.action)
        m.goal = pyo.Objective(expr=m.p)
        plan = sp.nash(sp.Game(m, m.f, prices=[(m.p, m.f.row)]))
        unit = units.cost / units.action
        span = [float(x) / unit for x in plan.price_range.loc["p"]]
        return {"a quality": str(plan.quality), "range": span, "verified": sp.verify(plan).ok}

    return ask


def _deviations(random: np.random.Generator) -> Callable[[Units], Said]:
    game = Quadratic.drawn(random, coupled=False)
    least = random.random() < 0.5

    def ask(units: Units) -> Said:
        m = game.model(units)
        plan = sp.leader_optimal(sp.Game(m, m.f))
        rule = sp.affine_incentive(plan, design="deviations", regret="least" if least else None)
        report = sp.verify(rule)
        gains = [float(x) * units.action / units.leader for x in rule.gain.to_numpy().ravel()]
        return {
            "a verified": report.ok,
            "certificates": [str(c) for c in report.certificate],
            "gains": gains if len(gains) == 1 else [],
        }

    return ask


def _worst(random: np.random.Generator) -> Callable[[Units], Said]:
    game = Quadratic.drawn(random, coupled=False)
    line = float(random.integers(-2, 3)), float(random.choice([0.0, 0.25, 1.0]))
    less = str(random.choice(["", "leader-optimal"])) or None

    def ask(units: Units) -> Said:
        m = game.model(units)
        m.theta = pyo.Param(initialize=1.0, mutable=True)
        for block in m.f.values():
            block.cost.set_value(block.cost.expr - units.cost * m.theta * block.u / units.action)
        seen = m.f[0].u / units.action
        rule = {"t": units.leader * (line[0] + line[1] * seen)}
        worst = sp.worst_case(sp.Game(m, m.f), rule, {"theta": (0.5, 2.0)}, less=less)
        return {"a evidence": worst.evidence, "value": worst.value / units.goal, "at": float(worst.at.iloc[0])}

    return ask


def _fit(random: np.random.Generator) -> Callable[[Units], Said]:
    truth, bend = float(random.integers(2, 7)), float(random.integers(1, 4))
    tolls = random.uniform(-3.0, 3.0, 6)
    noise = 0.05 * random.normal(size=6)
    method = str(random.choice(["responses", "residuals"]))

    def ask(units: Units) -> Said:
        m = pyo.ConcreteModel()
        m.theta = pyo.Param(initialize=1.0, mutable=True)
        m.t, m.f = pyo.Var(initialize=0), pyo.Block()
        m.f.u = pyo.Var(bounds=(0, 10 * units.action), initialize=units.action)
        u = m.f.u / units.action
        m.f.cost = pyo.Objective(
            expr=units.cost * (bend / 2 * u**2 - m.theta * u + m.t / units.leader * u) + units.constant
        )
        done = np.clip((truth - tolls) / bend + noise, 0.0, 10.0)
        rows = {"t": tolls * units.leader, "f.u": done * units.action}
        fit = sp.fit(sp.Game(m, m.f), rows, {"theta": (0.0, 20.0)}, method=method)
        return {
            "a quality": str(fit.quality),
            "b rank": fit.rank,
            "theta": float(fit.parameters["theta"]),
            "error": math.sqrt(float(fit.covariance.iloc[0, 0])),
        }

    return ask


def _menu(random: np.random.Generator) -> Callable[[Units], Said]:
    types = [float(x) for x in np.sort(random.choice(np.arange(1, 8), int(random.integers(2, 4)), replace=False))]
    wanted = float(random.choice([0.5, 0.75]))

    def ask(units: Units) -> Said:
        drawn = sp.Scenarios({"theta": types})
        m = pyo.ConcreteModel()
        m.toll = pyo.Var(list(drawn), bounds=(-20 * units.leader, 20 * units.leader), initialize=0)
        m.user = pyo.Block()
        m.user.q = pyo.Var(drawn.atoms("theta"), bounds=(0, 20 * units.action), initialize=units.action)
        theta = drawn["theta"]

        def q(w: int) -> Any:
            return m.user.q[drawn.atom("theta", w)] / units.action

        def pay(w: int) -> Any:
            return m.toll[w] / units.leader

        cost = drawn.expectation(lambda w: q(w) ** 2 / 2 - theta[w] * q(w) + pay(w) * q(w))
        goal = drawn.expectation(lambda w: (q(w) - wanted * theta[w]) ** 2 / 2 + pay(w) ** 2 / 2)
        m.user.cost = pyo.Objective(expr=units.cost * cost + units.constant)
        m.goal = pyo.Objective(expr=units.goal * goal)
        menu = sp.best_menu(sp.Game(m, followers=m.user), drawn)
        return {
            "b quality": str(menu.quality),
            "a objective": menu.leader_objective / units.goal,
            "c punishment": menu.options["common_punishment"],
        }

    return ask


def _scaling(random: np.random.Generator) -> Callable[[Units], Said]:
    wanted, effect, drag = float(random.integers(1, 4)), float(random.choice([0.5, 1.0])), float(random.integers(0, 2))

    def ask(units: Units) -> Said:
        m = pyo.ConcreteModel()
        m.t = pyo.Var(initialize=0.0, bounds=(-50 * units.leader, 50 * units.leader))
        m.z = pyo.Var(initialize=units.action)
        m.f = pyo.Block()
        m.f.u = pyo.Var(initialize=units.action)
        m.mean = pyo.Constraint(expr=m.z == m.f.u)
        u, z, toll = m.f.u / units.action, m.z / units.action, m.t / units.leader
        m.f.cost = pyo.Objective(
            expr=units.cost * (u**2 - 2 * drag * u + effect * toll * z + (u - z) ** 2) + units.constant
        )
        m.goal = pyo.Objective(expr=units.goal * ((z - wanted) ** 2 + 0.1 * toll**2))
        game = sp.Game(m, sp.Population(m.f, 10), aggregates=[m.mean])
        table = sp.scaling(game, [10, 20, 40], observe=[m.z])
        words = str(table.attrs["verdict"]).split(":")[0]
        gains = [float(x) * units.action / units.leader for x in table["gain"]]
        return {"a verdict": words, "exponent": round(float(table.attrs["exponent"]), 2), "gains": gains}

    return ask


_QUESTIONS: dict[str, Question] = {
    "inducible": _inducible,
    "variational": _variational,
    "lists": _lists,
    "ties": _ties,
    "leaders": _leaders,
    "prices": _prices,
    "deviations": _deviations,
    "worst case": _worst,
    "fit": _fit,
    "menu": _menu,
    "scaling": _scaling,
}
