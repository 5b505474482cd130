"""Min-max plans: followers with integer actions who want the opposite of what the leader wants, each for itself.

    F(x, y) = a(x) − Σ s_k J_k(x, y_k),  s_k > 0:     min a(x) − Σ s_k w_k   s.t.  w_k ≤ J_k(x, v)  for the v known

Only the value w_k of a follower's problem counts, not which action has it. The master is left without actions, and the
leader of its candidate with everybody's best answer is a plan at once: bounds come from the one, plans from the other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyomo.environ as pyo

from stackpyomo.core import TOLERANCES
from stackpyomo.core.expressions import expression_of, interval, substituting, sum_of, terms_of, variables_in
from stackpyomo.deviations import Deviation, Deviations, better_replies
from stackpyomo.games import Follower, Game
from stackpyomo.games.information import Announcement
from stackpyomo.solvers import Program, Solution, Termination, prover, solve

from .copies import copied
from .deviation_rows import RowWriter, value_at
from .interdiction import answer, widened
from .mpcc import Problem
from .subsets import are_few, open_values, points_of, table

Point = dict[int, float]  #: id(Var) → its value.


@dataclass(frozen=True)
class Opposition:
    """The leader's cost is a(x) − Σ s_k J_k."""

    rest: Any  #: a(x).
    shares: Mapping[str, float]  #: Follower → s_k > 0.


def opposition(game: Game, followers: Sequence[Follower], problem: Problem) -> Opposition | None:
    """How the leader's cost is made of theirs; None where it is not, or where players meet in another way."""
    owners = {id(v): f.name for f in followers for v in f.variables}
    if game.aggregates or problem.held or not problem.has_cost or not all(_stands_alone(f, owners) for f in followers):
        return None
    if any(id(v) in owners for _, constraint in problem.constraints for v in variables_in(constraint.expr)):
        return None
    rest, shares = terms_of(problem.cost), {}
    for follower in followers:
        cost = terms_of(follower.cost)
        first = next((key for key in cost or () if any(part in owners for part in key)), None)
        if rest is None or cost is None or first is None:
            return None
        share = -rest.get(first, 0.0) / cost[first]
        if share <= 0.0:
            return None
        shares[follower.name] = share
        rest = sum_of(rest, cost, share)
    assert rest is not None
    if any(part in owners for key in rest for part in key):
        return None
    return Opposition(expression_of(rest, {id(v): v for v in variables_in(problem.cost)}), shares)


def _stands_alone(follower: Follower, owners: Mapping[int, str]) -> bool:
    """Whether its actions are whole, its cost has limits, and no other follower is in its problem."""
    parts = [follower.cost, *(c.expr for c in follower.constraints)]
    met = {owners.get(id(v), follower.name) for part in parts for v in variables_in(part)}
    whole = len(follower.integers) == len(follower.variables)
    return whole and met == {follower.name} and all(map(math.isfinite, interval(follower.cost)))


@dataclass
class MinMax:
    """The master over what is the leader's and the values w_k, and everybody's best answer to its candidate."""

    game: Game
    followers: Sequence[Follower]
    problem: Problem
    opposition: Opposition
    until: float  #: A time of ``time.monotonic``.
    #: Of the last master: its bound is one on every plan, and where it is infeasible there is none.
    solution: Solution = field(default_factory=lambda: Solution(Termination.TIME_LIMIT, "no time left"))
    #: Whether the leader's whole numbers need not be whole: rows are found at once that many masters would ask for.
    relaxed: bool = False
    #: The candidate of least cost with everybody's best answer, to be re-solved by verification.
    best: Point = field(default_factory=dict)
    cost: float = math.inf  #: What it costs the leader.

    def __post_init__(self) -> None:
        self._holder = pyo.ConcreteModel(name="values")
        self._holder.worth = pyo.VarList()
        self._names = {f.name for f in self.followers}
        self._worths = {f.name: self._holder.worth.add() for f in self.followers}
        for follower in self.followers:
            low, high = interval(follower.cost)
            self._worths[follower.name].setlb(low)
            self._worths[follower.name].setub(high)
        self._writer = RowWriter(self.game, self.followers, self._worths)
        own = {id(v) for f in self.followers for v in f.variables}
        ours = [v for v in self.game.variables_by_name.values() if id(v) not in own and not v.fixed]
        self._stand_ins = copied(self._holder, [v for v in ours if self.relaxed and not v.is_continuous()])
        for copy in self._stand_ins.values():
            copy.domain = pyo.Reals
        self._standing_for = {id(copy): key for key, copy in self._stand_ins.items()}

    @property
    def bound(self) -> float:
        """What no plan costs less than."""
        return self.solution.bound

    def solve(self, rows: Deviations) -> Point | None:
        """What the leader decides, everybody's best answer to it, and the w_k; None where there is nothing."""
        program = self._program(rows)
        if self.relaxed and prover(program) != "highs":
            return None
        self.solution = solve(program, prover(program), time_limit=max(0.1, self.until - time.monotonic()))
        if self.solution.x is None:
            return None
        solved = {self._standing_for.get(key, key): x for key, x in program.levels(self.solution.x).items()}
        if not self.relaxed:
            solved.update((id(v), float(round(solved[id(v)]))) for v in program.variables if not v.is_continuous())
        names = self.game.completed(solved)
        point = {**{id(v): names[name] for name, v in self.game.variables_by_name.items()}, **solved}
        return self._answered(point, names)

    def settle(self) -> bool:
        """Try every choice of a leader who decides on a few binaries; False where it decides more, or otherwise."""
        rows = [c for _, c in self.problem.constraints]
        felt = [self.opposition.rest, *(f.cost for f in self.followers), *(c.expr for c in rows)]
        felt += [c.expr for f in self.followers for c in f.constraints]
        own = {id(v) for f in self.followers for v in f.variables}
        ours = {id(v): v for part in felt for v in variables_in(part) if id(v) not in own and not v.fixed}
        order = list(ours)
        within = points_of(rows, order) if are_few(list(ours.values())) else None
        rest = terms_of(self.opposition.rest)
        if within is None or rest is None:
            return False
        cost = table(rest, order)
        for follower in self.followers:
            worth = open_values(follower, order)
            if worth is None:
                return False
            cost -= self.opposition.shares[follower.name] * worth
        cost = np.where(within & np.isfinite(cost), cost, math.inf)
        best = int(cost.argmin())
        end = Termination.OPTIMAL if math.isfinite(cost[best]) else Termination.INFEASIBLE
        self.solution = Solution(end, "every choice was examined", bound=float(cost[best]), solver="enumeration")
        if end is Termination.OPTIMAL:
            chosen = {key: float(best >> place & 1) for place, key in enumerate(order)}
            names = self.game.completed(chosen)
            self._answered({id(v): names[n] for n, v in self.game.variables_by_name.items()}, names)
        return True

    def _program(self, rows: Deviations) -> Program:
        written = self._writer.written(list(rows), 0.0)
        worth = sum(share * self._worths[name] for name, share in self.opposition.shares.items())
        relations = [*(c for _, c in self.problem.constraints), *written.rows]
        if not self.relaxed:
            return Program(self.opposition.rest - worth, relations, sets=written.sets)
        walk = substituting(self._stand_ins)
        return Program(walk(self.opposition.rest - worth), [walk(getattr(r, "expr", r)) for r in relations])

    def _answered(self, point: Point, names: dict[str, float]) -> Point | None:
        """With everybody's best answer; None where somebody has none in time."""
        if self.relaxed:
            answers = [answer(f, point) for f in self.followers]
            return {**point, **{key: level for theirs in answers for key, level in theirs.items()}}
        by_name = self.game.variables_by_name
        replies = better_replies(self.game, Announcement(names, math.nan), self._names)
        for reply in replies:
            point.update((id(by_name[name]), float(level)) for name, level in reply.action.items())
        cost = value_at(self.problem.cost, point)
        if len(replies) == len(self._names) and cost < self.cost:
            self.best, self.cost = point, cost
        return point if len(replies) == len(self._names) else None

    def tempted(self, point: Point) -> Iterator[Deviation]:
        """The answers of those whose problem is worth less than the master takes it for."""
        names = self.game.names
        for follower in self.followers:
            worth = self._worths[follower.name]
            deviation = Deviation(follower.name, {names[id(v)]: point[id(v)] for v in follower.variables})
            deviation = deviation if self.relaxed else widened(self.game, follower, deviation, point)
            excess = value_at(self._writer.alternatives(deviation).cost, point)
            least = TOLERANCES.margin if self.relaxed else TOLERANCES.tempting  # the last digits of no use to whole x
            if excess > least * self._writer.units[follower.name] * (worth.ub - worth.lb):
                yield replace(deviation, temptation=excess)
