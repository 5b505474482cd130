"""Tolls without an end on a small network, against every choice of ways and a linear program for the tolls of each."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.optimize import linprog

import stackpyomo as sp

from .drafts import Draft, Side, number
from .ledger import Ledger

__all__ = ["Network", "hunt"]

Arc = tuple[int, int]
Way = tuple[Arc, ...]

_ROOM = 1e-5
"""Relative to the largest cost of a road, or to what tolls earn: what a plan, known to 1e-6, may be off by."""

_TAIL = "\nplan = sp.stackelberg(game)\nprint(plan)\nprint(sp.verify(plan))\n"


class Network:
    """Roads from 0 to the last node; some have tolls, and travellers of several origins go the cheapest way."""

    def __init__(self, costs: dict[Arc, float], tolled: list[Arc], origins: list[int], top: float = math.inf) -> None:
        self.costs, self.tolled, self.origins, self.top = costs, tolled, origins, top
        self.end = max(node for arc in costs for node in arc)

    @classmethod
    def drawn(cls, random: np.random.Generator) -> Network:
        """Four or five nodes; costs that differ much, or by hundredths only."""
        end = int(random.integers(3, 5))
        arcs = [
            arc for arc in itertools.combinations(range(end + 1), 2) if arc[1] == arc[0] + 1 or random.random() < 0.8
        ]
        near = random.random() < 0.5
        costs = {arc: 4 + 0.01 * random.integers(9) if near else float(random.integers(9)) for arc in arcs}
        costs |= {arc: float(random.integers(12, 17)) + 0.003 for arc in [(0, end)]}
        tolled = [arc for arc in arcs if arc != (0, end) and random.random() < 0.45]
        origins = [0, 1] if random.random() < 0.3 else [0]
        if random.random() < 0.05:
            tolled.append((0, end))  # perhaps no way is free
        top = float(random.choice([math.inf, math.inf, 1e6, 3.0]))
        return cls({arc: float(cost) for arc, cost in costs.items()}, tolled or [arcs[0]], origins, top)

    def ways(self, node: int) -> list[Way]:
        """All from a node to the end."""
        if node == self.end:
            return [()]
        return [(arc, *rest) for arc in self.costs if arc[0] == node for rest in self.ways(arc[1])]

    def cost(self, way: Way, tolls: dict[Arc, float]) -> float:
        """What a way costs."""
        return sum(self.costs[arc] + tolls.get(arc, 0.0) for arc in way)

    def revenue(self) -> float:
        """The most that tolls can earn, ties broken for the leader; infinite without an end."""
        most = -math.inf
        for chosen in itertools.product(*map(self.ways, self.origins)):
            uses = np.array([sum(arc in way for way in chosen) for arc in self.tolled], dtype=float)
            rows, limits = [], []
            for way in chosen:
                for other in self.ways(way[0][0]):
                    rows.append([float(arc in way) - float(arc in other) for arc in self.tolled])
                    limits.append(self.cost(other, {}) - self.cost(way, {}))
            high = None if math.isinf(self.top) else self.top
            best = linprog(-uses, A_ub=rows, b_ub=limits, bounds=[(0.0, high)] * len(uses))
            most = math.inf if best.status == 3 else max(most, -best.fun) if best.status == 0 else most
        return most

    def draft(self, action: float, money: float) -> Draft:
        """The game, flows in the unit ``action`` and costs in ``money``."""
        tolls = {arc: f"t{arc[0]}{arc[1]}" for arc in self.tolled}
        sides, earned = [], []
        for k, origin in enumerate(self.origins):
            flows = {arc: f"y{k}x{arc[0]}{arc[1]}" for arc in self.costs}
            earned += [f"{toll}*{flows[arc]}" for arc, toll in tolls.items()]
            paid = [f"{number(money / action * cost)}*{flows[arc]}" for arc, cost in self.costs.items()]
            paid += [f"{toll}*{flows[arc]}" for arc, toll in tolls.items()]
            rows = []
            for node in range(self.end):
                left = [f"+ {flows[arc]}" for arc in flows if arc[0] == node]
                left += [f"- {flows[arc]}" for arc in flows if arc[1] == node]
                if left:
                    rows.append(f"{' '.join(left)} - {number(action * (node == origin))}")
            both = [*rows, *(f"-({row})" for row in rows)]
            sides.append(Side(dict.fromkeys(flows.values(), (0.0, math.inf)), " + ".join(paid), both))
        leader = Side(
            dict.fromkeys(tolls.values(), (0.0, self.top * money / action)), " + ".join(earned), maximize=True
        )
        names = [*leader.boxes, *(name for side in sides for name in side.boxes)]
        return Draft(leader, sides, dict.fromkeys(names, 0.0))


def hunt(random: np.random.Generator, ledger: Ledger) -> None:
    """One network: is its revenue that of the best ways, and does nobody have a cheaper one?"""
    network = Network.drawn(random)
    action, money = 10.0 ** random.integers(-4, 5), 10.0 ** random.integers(-4, 5)
    most, draft = network.revenue() * money, network.draft(action, money)
    stake = money * max(network.costs.values())
    script = draft.script(_TAIL)
    try:
        plan = sp.stackelberg(draft.game())
    except sp.NoPlan as refusal:
        ledger.claim("no plan", math.isinf(most), f"{refusal} where tolls earn {most:.6g}", script)
        return
    earned = plan.leader_objective
    why = f"{earned:.9g} where {most:.9g} is the most"
    near = _ROOM * max(stake, most)  # a bound on tolls may be what ends them
    ledger.claim(plan.quality, plan.quality != "optimal" or abs(earned - most) <= near, why, script)
    ledger.claim("within reach", earned <= most + near, why, script)
    values = draft.plain(plan.values)
    tolls = {arc: values[f"t{arc[0]}{arc[1]}"] * action / money for arc in network.tolled}
    for k, origin in enumerate(network.origins):
        flows = {arc: values[f"y{k}x{arc[0]}{arc[1]}"] / action for arc in network.costs}
        paid = sum(flow * network.cost((arc,), tolls) for arc, flow in flows.items())
        least = min(network.cost(way, tolls) for way in network.ways(origin)) * money
        gain, claimed = paid * money - least, float(plan.report.regret.iloc[k])
        room = _ROOM * max(stake, least)  # who has no free way pays what there is of a toll
        ledger.claim("regret", gain <= claimed + room, f"f{k} gains {gain:.4g}, not {claimed:.4g}", script)
