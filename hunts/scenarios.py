"""Scenario games: joint outcomes, signals, decisions by atom; expected costs are added up in plain arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo
from scipy.optimize import minimize

import stackpyomo as sp

from .ledger import Ledger

__all__ = ["hunt"]


@dataclass
class Drawn:
    """Outcomes (w, x), who sees what, and costs ½ p (u − c w)² + d t u + ½ s (t − e x)² + g u mean + bend."""

    outcomes: Any
    probability: Any
    seen: list[str]
    knows: str | None
    costs: list[tuple[float, float, float, float, float, float]]
    bend: list[float]
    goal: tuple[float, float, float]

    def build(self) -> tuple[sp.Game, sp.Scenarios, Any]:
        """As a user would write it."""
        table = {"w": self.outcomes[:, 0], "x": self.outcomes[:, 1]}
        scen = sp.Scenarios(table, self.probability, {"both": ["w", "x"], "nothing": [0] * len(self.probability)})
        m = pyo.ConcreteModel()
        m.t = pyo.Var(scen.atoms(self.knows) if self.knows else range(len(scen)), bounds=(-20, 20), initialize=0)
        m.f = pyo.Block(range(len(self.costs)))
        for k, block in m.f.items():
            block.u = pyo.Var(scen.atoms(self.seen[k]), bounds=(-4, 4), initialize=0)

        def lead(s: int) -> Any:
            return m.t[scen.atom(self.knows, s)] if self.knows else m.t[s]

        def action(k: int, s: int) -> Any:
            return m.f[k].u[scen.atom(self.seen[k], s)]

        def mean(s: int) -> Any:
            return sum(action(k, s) for k in range(len(self.costs))) / len(self.costs)

        for k, block in m.f.items():
            block.cost = pyo.Objective(
                expr=scen.expectation(
                    lambda s, k=k: self.cost(k, lead(s), action(k, s), mean(s), *self.outcomes[s].tolist(), pyo.exp)
                )
            )
        a, b, c = self.goal
        m.goal = pyo.Objective(
            expr=scen.expectation(
                lambda s: (
                    a * (mean(s) - float(self.outcomes[s, 0])) ** 2
                    + b * lead(s) ** 2
                    + c * sum(action(k, s) ** 2 for k in range(len(self.costs)))
                )
            )
        )
        return sp.Game(m, followers=m.f), scen, m

    def cost(self, k: int, t: Any, u: Any, mean: Any, w: Any, x: Any, exp: Any) -> Any:
        """Follower k's cost in one scenario."""
        p, c, d, s, e, g = self.costs[k]
        total = p * (u - c * w) ** 2 / 2 + d * t * u + s * (t - e * x) ** 2 / 2 + g * u * mean
        return total + self.bend[k] * exp(0.3 * t + 0.2 * u)


_SCRIPT = """\
import numpy as np
from numpy import array
from hunts.scenarios import Drawn
import stackpyomo as sp
drawn = {drawn!r}
game, scen, m = drawn.build()
plan = sp.leader_optimal(game)
observe, energy = scen.observe(m.t, {signals}, knows={knows!r}), scen.energy(m.t, knows={knows!r})
rule = sp.affine_incentive(plan, observe, energy=energy)
print(rule, sp.verify(rule))
"""


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """Plan, rule by atom, verification and conditional regret, against expected costs added up by hand."""
    drawn = _drawn(random)
    game, scen, m = drawn.build()
    seen_by_leader = [k for k in range(len(drawn.costs)) if scen.knows(drawn.knows or "both", drawn.seen[k])]
    signals = [(m.f[k].u, drawn.seen[k]) for k in seen_by_leader]
    shown = "[" + ", ".join(f"(m.f[{k}].u, {drawn.seen[k]!r})" for k in seen_by_leader) + "]"
    with np.printoptions(floatmode="unique", precision=17):
        script = _SCRIPT.format(drawn=drawn, signals=shown, knows=drawn.knows)
    plan = sp.leader_optimal(game)
    if not signals:
        return
    observe, energy = scen.observe(m.t, signals, knows=drawn.knows), scen.energy(m.t, knows=drawn.knows)
    try:
        rule = sp.affine_incentive(plan, observe, energy=energy)
    except sp.NoIncentive:
        _refused(drawn, scen, plan, m, seen_by_leader, ledger, script)
        return
    report = sp.verify(rule)
    for k in seen_by_leader:
        play = _Play(drawn, scen, plan, rule, m, k)
        gain, scale = play.best(random), play.scale()
        certificate = str(report.certificate[f"f[{k}]"])
        fine = report.regret[f"f[{k}]"] <= report.tolerance * report.scale[f"f[{k}]"]
        if certificate == "unknown" or not fine:
            ledger.claim("follower: " + ("unknown" if certificate == "unknown" else "gains"))
            continue
        ledger.claim(
            f"no regret: {certificate}", gain <= 1e-5 * scale, f"f[{k}] gains {gain:.4g} (scale {scale:.3g})", script
        )
    if random.random() < 0.4 and report.ok:
        table = sp.conditional_regret(rule, scen, [(m.f[k].u, drawn.seen[k]) for k in seen_by_leader])
        worst = float(table.regret.max())
        ledger.claim("no conditional regret", worst <= 1e-4, f"{worst}", script)
    ledger.claim("the gain meets its conditions", rule.residual <= 1e-5, f"{rule.residual:.3g} is left", script)


class _Play:
    """Follower k by atom, others as planned, the leader by its rule cut to its bounds, scenario by scenario."""

    def __init__(
        self, drawn: Drawn, scen: sp.Scenarios, plan: sp.Plan, rule: sp.Incentive | None, m: Any, k: int
    ) -> None:
        self.drawn, self.k = drawn, k
        self.atoms = scen.atoms(drawn.seen[k])
        self.names = [m.f[k].u[a].name for a in self.atoms]
        self.here = np.array([plan.values[n] for n in self.names])
        self.atom = np.array([self.atoms.index(scen.atom(drawn.seen[k], s)) for s in scen])
        others = [j for j in range(len(drawn.costs)) if j != k]
        self.rest = np.array(
            [sum(plan.values[m.f[j].u[scen.atom(drawn.seen[j], s)].name] for j in others) for s in scen]
        )
        leads = [m.t[scen.atom(drawn.knows, s)].name if drawn.knows else m.t[s].name for s in scen]
        offset = plan.values if rule is None else {**plan.values, **rule.offset}
        self.lead = np.array([offset[n] for n in leads])
        self.gain = np.zeros((len(scen), len(self.atoms)))
        if rule is not None:
            table = rule.gain.fillna(0.0)
            for i, n in enumerate(leads):
                for j, s in enumerate(self.names):
                    if n in table.index and s in table.columns:
                        self.gain[i, j] = table.loc[n, s]

    def cost(self, v: Any) -> float:
        lead = np.clip(self.lead + self.gain @ (v - self.here), -20, 20)
        u = np.asarray(v)[self.atom]
        mean = (u + self.rest) / len(self.drawn.costs)
        return float(self.drawn.probability @ self.drawn.cost(self.k, lead, u, mean, *self.drawn.outcomes.T, np.exp))

    def best(self, random: np.random.Generator) -> float:
        here = self.cost(self.here)
        least = here
        starts = [self.here, self.here + 1e-3 * random.normal(size=len(self.here))]
        starts += [np.clip(self.here + random.normal(size=len(self.here)), -4, 4) for _ in range(3)]
        starts += [random.uniform(-4, 4, size=len(self.here))]
        for place in range(len(self.here)):  # one action at an end, the others where they are
            for end in (-4.0, 4.0):
                starts.append(np.where(np.arange(len(self.here)) == place, end, self.here))
        for start in starts:
            end = minimize(self.cost, np.clip(start, -4, 4), bounds=[(-4, 4)] * len(start), method="L-BFGS-B")
            least = min(least, float(end.fun))
        return here - least

    def scale(self) -> float:
        moved = [
            abs(self.cost(self.here + s * np.eye(len(self.here))[i]) - self.cost(self.here))
            for i in range(len(self.here))
            for s in (-1, 1)
        ]
        return max(*moved, 1e-9)


def _refused(
    drawn: Drawn, scen: sp.Scenarios, plan: sp.Plan, m: Any, seen: list[int], ledger: Ledger, script: str
) -> None:
    """A gain Q(s) = −D(s) ā / E[D²] meets every condition where D = ∂J/∂t does not vanish on an atom."""
    if drawn.knows is not None or len(seen) < len(drawn.costs):
        ledger.claim("refusal, not judged")
        return
    blind = False
    content = True
    for k in seen:
        play = _Play(drawn, scen, plan, None, m, k)
        step = 1e-5
        slope = np.array(
            [
                (play.cost(play.here + step * e) - play.cost(play.here - step * e)) / (2 * step)
                for e in np.eye(len(play.here))
            ]
        )
        own = play.here[play.atom]
        up, down = (
            drawn.cost(k, play.lead + e, own, (own + play.rest) / len(drawn.costs), *drawn.outcomes.T, np.exp)
            for e in (step, -step)
        )
        pull = (up - down) / (2 * step)
        power = np.array([(drawn.probability * pull**2)[play.atom == j].sum() for j in range(len(play.here))])
        if (power < 1e-6).any() or (np.abs(play.lead) > 19.99).any():
            blind = True
            continue
        play.gain = np.zeros_like(play.gain)
        play.gain[np.arange(len(pull)), play.atom] = -pull * slope[play.atom] / power[play.atom]
        content = content and play.best(np.random.default_rng(0)) <= 1e-8 * play.scale()
    ledger.claim("refusal", blind or not content, "Q(s) = −D(s) ā/E[D²] holds everybody", script)


def _drawn(random: np.random.Generator) -> Drawn:
    count, followers = int(random.integers(2, 7)), int(random.integers(1, 4))
    outcomes = np.column_stack([random.integers(-1, 2, size=count), np.round(random.normal(size=count), 2)]).astype(
        float
    )
    weights = random.uniform(0.2, 1.0, size=count)
    if random.random() < 0.2:
        weights[0] = float(random.choice([1e-6, 1e-9, 0.0]))
    probability = weights / weights.sum()
    probability = probability / probability.sum()

    def some(low: float = 0.3, high: float = 2.0) -> float:
        return round(float(random.uniform(low, high)), 2)

    costs = [
        (
            some(),
            some() * float(random.choice([-1, 1])),
            some() * float(random.choice([-1, 1])),
            float(random.choice([0.0, some()])),
            some(),
            float(random.choice([0.0, 0.0, some(0.1, 0.5)])),
        )
        for _ in range(followers)
    ]
    bend = [float(random.choice([0.0, 0.0, 0.5])) for _ in range(followers)]
    seen = [str(random.choice(["w", "x", "both", "nothing"])) for _ in range(followers)]
    knows = [None, None, "both", "w"][int(random.integers(4))]
    return Drawn(outcomes, probability, seen, knows, costs, bend, (some(), some(0.1, 0.5), some(0.1, 0.3)))
