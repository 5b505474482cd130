"""Private noise: members who act by scenarios of their own, in a population of finite size.

Of N members, c_s of them in scenario s, the aggregates are z = z* + Σ_s S_s u_s (c_s / (N p_s) − 1), S_s the weight of
the block's Vars in them. A member knows its own scenario, not those of the others: what it minimises is

    E_s E_c [ J(v_s, z(c, v_s), u0(z)) ]

over all that the others may draw, exactly where these are few; else over points that have their mean and covariance,
which is exact where costs are quadratic and off by a share of 1/N elsewhere. The leader's cost is that of one draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.expr.numeric_expr import ProductExpression
from scipy.special import gammaln

from stackpyomo.core import Array, entries_in, triplets
from stackpyomo.core.expressions import substituting, terms, variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game, evaluator
from stackpyomo.games.information import Announcement, formula_steps, shares
from stackpyomo.solvers import free_row
from stackpyomo.verification import Composed, Effort, best_responses, oversteps

_STATES = 200  # Draws of the others that a member's expected cost is summed over one by one.
_Key = tuple[str, int]  # (follower, number of its scenario).


@dataclass
class PrivateNoise:
    """The populations ``names`` of a game, drawn with these ``weights``; some of their members have noise."""

    game: Game
    announced: Announcement
    names: Sequence[str]
    weights: Array

    def __post_init__(self) -> None:
        if self.announced.saturate:
            raise InvalidGame("simulate: a strategy that is projected on its bounds does not go with noise of members.")
        followers = list(self.game.followers.values())
        self.probabilities = {f.name: np.array(f.noise.probabilities if f.noise else (1.0,)) for f in followers}
        self.keys: list[_Key | None] = [
            None if place is None else (f.name, place) for f in followers for place in f.scenarios()
        ]
        self.owners = [followers[k].name for k in self.game.action_owners]
        self.places = {id(v): key for v, key in zip(self.game.actions, self.keys, strict=True) if key is not None}
        self.responses = self.game.responses()
        self.seen = shares(self.game, self.announced.signals)
        leader = self.game.leader.objective
        self.leaders = {} if leader is None else self._parts(leader.expr, leader.name)
        self.regrets: dict[tuple[int, ...], Array] = {}

    # --- one draw -----------------------------------------------------------------------------------------------------

    def drawn(self, counts: Array, random: np.random.Generator) -> dict[str, Array]:
        """population → how many of its members are in each scenario."""
        return {
            name: random.multinomial(count, self.probabilities[name])
            for name, count in zip(self.names, counts, strict=True)
        }

    def excess(self, counted: Mapping[str, Array], size: int) -> Array:
        """(actions) by what factor more of each is done than the model's average holds, less one."""
        weight = dict(zip(self.names, self.weights, strict=True))
        factors = np.zeros(len(self.keys))
        for action, (owner, key) in enumerate(zip(self.owners, self.keys, strict=True)):
            if owner in counted:
                many = counted[owner].sum() if key is None else counted[owner][key[1]] / self._probability(key)
                factors[action] = many / (size * weight[owner]) - 1.0
        return factors

    def leader_objective(self, counted: Mapping[str, Array], values: Mapping[str, float]) -> float:
        """The leader's objective where that many members are in each scenario."""
        value_of = evaluator(self.game, values)
        total = 0.0
        for key, part in self.leaders.items():
            of = 0 if key is None or key[0] not in counted else counted[key[0]].sum()
            factor = counted[key[0]][key[1]] / (of * self._probability(key)) if key is not None and of else 1.0
            total += factor * math.fsum(value_of(term) for term in part)
        return total

    # --- what a member gains by leaving -------------------------------------------------------------------------------

    def regret(self, counts: Array, size: int, solver: str) -> Array:
        """population → what one of its members can gain by another decision, before anybody's noise is known."""
        key = (size, *map(int, counts))
        if key not in self.regrets:
            members = [self.game.followers[name] for name in self.names]
            asked = [member for member, count in zip(members, counts, strict=True) if count]
            regrets = best_responses([self._problem(member, counts, size) for member in asked], Effort(solver), {})
            gains = {
                p.follower.name: max(0.0, p.plan_cost - p.best_cost) for p in regrets if p.certificate != "unknown"
            }
            self.regrets[key] = np.array([gains.get(name, math.nan) for name in self.names])
        return self.regrets[key]

    def _problem(self, member: Follower, counts: Array, size: int) -> Composed:
        """A member's expected cost and its rows in copies of its own variables."""
        assert member.objective is not None
        values = self.announced.values
        names = [self.game.names[id(v)] for v in member.variables]
        copies = pyo.ConcreteModel(name=member.name)
        copies.own = pyo.Var(range(len(names)))
        target = [float(values[name]) for name in names]
        for copy, var, level in zip(copies.own.values(), member.variables, target, strict=True):
            copy.setlb(var.lb)
            copy.setub(var.ub)
            copy.set_value(level, skip_validation=True)
        own = dict(zip(map(id, member.variables), copies.own.values(), strict=True))
        plan = {id(v): values[name] for name, v in self.game.variables_by_name.items() if not v.fixed} | own
        put = substituting(plan)
        rows = [free_row(put(row.body), row.lb, row.ub) for row in self._rows(member)]
        costs: dict[bool, list[Any]] = {True: [], False: []}  # with the leader's answers, and without
        parts = self._parts(member.objective.expr, member.objective.name)
        states = list(self._states(member, counts))
        for place, chance in enumerate(self.probabilities[member.name]):
            mine, whole = pyo.quicksum(parts.get((member.name, place), [])), pyo.quicksum(parts.get(None, []))
            for weight, others in states:
                for answered, terms_of in costs.items():
                    faced = plan | self._faced(member, place, others, size, own, answered)
                    terms_of.append(weight * substituting(faced)(mine + chance * whole))
        cost, bare = (member.sign * pyo.quicksum(costs[answered]) for answered in (True, False))
        return Composed(member, names, target, cost, rows, [], list(copies.own.values()), own=bare, planned=plan)

    def _rows(self, member: Follower) -> Iterator[Any]:
        """The rows of its own actions; one that holds more has no one value while the others draw."""
        moving = {
            id(v) for v in (*self.responses.variables, *(self.game.variables_by_name[n] for n in self.announced.leader))
        }
        for row in member.constraints:
            if any(id(v) in moving for v in variables_in(row.body)):
                raise InvalidGame(
                    f"{row.name}: holds what the noise of others moves; keep aggregates and the leader's variables in "
                    "the objectives of members with noise."
                )
            yield row

    def _states(self, member: Follower, counts: Array) -> Iterator[tuple[float, dict[str, Array]]]:
        """(probability, population → counts by scenario) of everybody but one member."""
        others = {n: int(c) - (n == member.name) for n, c in zip(self.names, counts, strict=True)}
        ways = [math.comb(n + len(self.probabilities[name]) - 1, n) for name, n in others.items()]
        if math.prod(ways) <= _STATES:
            tables = [list(_multinomial(n, self.probabilities[name])) for name, n in others.items()]
            for choice in product(*tables):
                yield math.prod(p for p, _ in choice), dict(zip(others, (c for _, c in choice), strict=True))
            return
        means = {name: n * self.probabilities[name] for name, n in others.items()}
        steps = [(name, step) for name, n in others.items() for step in _deviations(n, self.probabilities[name])]
        for name, step in steps:
            for side in (1.0, -1.0):
                moved = means[name] + side * math.sqrt(len(steps)) * step
                yield 0.5 / len(steps), {**means, name: moved}

    def _faced(
        self,
        member: Follower,
        place: int,
        others: Mapping[str, Array],
        size: int,
        own: Mapping[int, Any],
        answered: bool,
    ) -> dict[int, Any]:
        """id(aggregate or leader's variable) → what it is to a member in its own scenario, the others in theirs."""
        counted = {n: np.array(c, dtype=float) for n, c in others.items()}
        counted[member.name][place] += 1.0
        values, names, sums = self.announced.values, self.game.names, self.responses.shares
        planned = np.array([values[names[id(v)]] for v in self.game.actions])
        many = size * dict(zip(self.names, self.weights, strict=True))[member.name]
        excess = planned * self.excess(counted, size)
        steps: dict[int, Any] = {}  # what its deviation adds to what the block does
        for action, var in enumerate(self.game.actions):
            key = self.keys[action]
            if id(var) in own and (key is None or key[1] == place):
                chance = 1.0 if key is None else self._probability(key)
                steps[action] = (own[id(var)] - planned[action]) / (many * chance)
        moved = zip(self.responses.variables, sums @ excess, strict=True)
        levels: list[Any] = [values[names[id(v)]] + float(e) + _sum(sums, r, steps) for r, (v, e) in enumerate(moved)]
        answer = self._answer(excess, steps, many) if answered else {}
        for row, column, rate in triplets(self.responses.leads):
            levels[row] += rate * answer.get(id(self.responses.drivers[column]), 0.0)
        faced = {id(var): level for var, level in zip(self.responses.variables, levels, strict=True)}
        return faced | {key: self._within(names[key], values[names[key]] + step) for key, step in answer.items()}

    def _within(self, name: str, level: Any) -> Any:
        """What the leader answers, which is no formula where it is stopped at its bounds."""
        if any(oversteps(level, self.game.variables_by_name[name])):
            raise InvalidGame(
                f"simulate: {name}: its answer to what members with noise draw may leave its bounds, where it is "
                "stopped. Widen them, or let the leader answer to others alone."
            )
        return level

    def _answer(self, excess: Array, steps: Mapping[int, Any], many: float) -> dict[int, Any]:
        """id(leader's variable) → by how much the announced strategy moves it."""
        gain, bend = self.announced.gain, self.announced.bend
        if gain is None:
            return {}
        together = np.array([not s.own for s in self.announced.signals], dtype=bool)
        seen, before = [], np.zeros(len(together))
        before[together] = self.seen.sums[together] @ excess
        for row, signal in enumerate(self.announced.signals):
            if signal.own:  # of the one who deviates alone
                seen.append(_sum(self.seen.moves, row, {a: many * step for a, step in steps.items()}))
            else:
                seen.append(float(before[row]) + _sum(self.seen.sums, row, steps))
        by_name, leader = self.game.variables_by_name, self.announced.leader
        return {id(by_name[leader[row]]): step for row, step in formula_steps(gain, bend, seen.__getitem__).items()}

    # --- what belongs to which scenario -------------------------------------------------------------------------------

    def _probability(self, key: _Key) -> float:
        return float(self.probabilities[key[0]][key[1]])

    def _parts(self, expression: Any, name: str) -> dict[_Key | None, list[Any]]:
        """The terms of an objective by the scenario whose actions they hold; None: no scenario's."""
        by_scenario: dict[_Key | None, list[Any]] = {}
        stack = list(terms(expression))
        while stack:
            factor, term = stack.pop()
            keys = self._held(term)
            if len(keys) < 2:
                by_scenario.setdefault(next(iter(keys), None), []).append(factor * term)
                continue
            sides = term.args if isinstance(term, ProductExpression) else []
            common = next((a for a in sides if not self._held(a)), None)
            if common is None:
                raise InvalidGame(
                    f"{name}: a term holds what members do in several scenarios of their own, which no member does at "
                    "once. Write averages of actions as aggregates, and sum over the scenarios outside."
                )
            other = sides[1] if common is sides[0] else sides[0]
            stack.extend((factor * f, common * t) for f, t in terms(other))
        return by_scenario

    def _held(self, term: Any) -> set[_Key]:
        return {self.places[id(v)] for v in variables_in(term) if id(v) in self.places}


def _sum(matrix: Any, row: int, steps: Mapping[int, Any]) -> Any:
    return pyo.quicksum(weight * steps[a] for a, weight in entries_in(matrix.tocsr(), row) if a in steps)


def _multinomial(count: int, probabilities: Array) -> Iterator[tuple[float, Array]]:
    """Every (probability, counts by scenario) of so many independent draws."""
    bins = len(probabilities)
    for bars in combinations(range(count + bins - 1), bins - 1):
        counts = np.diff([-1, *bars, count + bins - 1]) - 1
        logarithm = gammaln(count + 1) - gammaln(counts + 1).sum() + counts @ np.log(probabilities)
        yield float(np.exp(logarithm)), counts


def _deviations(count: int, probabilities: Array) -> Iterator[Array]:
    """Directions d with Σ d dᵀ = count (diag p − p pᵀ), the covariance of the counts."""
    covariance = count * (np.diag(probabilities) - np.outer(probabilities, probabilities))
    sizes, directions = np.linalg.eigh(covariance)
    yield from (np.sqrt(s) * d for s, d in zip(sizes[1:], directions.T[1:], strict=True) if s > 0.0)
