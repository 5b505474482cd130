"""Worst cases: how bad a rule is for the leader over all parameters that are possible.

    max_{θ ∈ Θ}  J0(c + K s(u), u; θ) [− less(θ)],     u the followers' equilibrium at θ under the rule

Where a proof says so (see below), the vertices of Θ prove the worst case. Elsewhere the worst is
searched for, and M fresh draws, none of them worse, say that with confidence 1 − β at most a share ln(1/β)/M of Θ is
worse, whatever the rule came from.

Vertices: where the worst of a rule over a polytope of parameters θ is proved to stand at one of its vertices.

*One action*, a slope of its composed cost that is affine in θ, that cost convex in it: {θ : u(θ) ≥ v} is a half-space
for every v within the bounds, so that u is quasi-affine, and what is convex in u alone is largest at a vertex.

*Linear-quadratic*, slopes H u + B θ + c of all actions with H + Hᵀ ≻ 0: there is one equilibrium, and it is
u(θ) = −H⁻¹(B θ + c) where that keeps the bounds at every vertex, hence everywhere. What is quadratic in (u, θ) and
convex along u(θ) is largest at a vertex; so is the regret against the leader-optimal value, the least of a quadratic
function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from pyomo.core.base.var import VarData
from pyomo.repn import generate_standard_repn

from stackpyomo.core import (
    TOLERANCES,
    Array,
    Document,
    Part,
    bounds_of,
    leaves,
    listed,
    require_whole,
    shown,
    undisturbed,
)
from stackpyomo.core.expressions import curvature, number_of, partials, size_of, substituting, variables_in
from stackpyomo.errors import InvalidGame, NoPlan
from stackpyomo.games import Game, require
from stackpyomo.games.information import Scenarios
from stackpyomo.solvers import Program, solve
from stackpyomo.verification import oversteps

from .experiments import Experiments, Parameter, Rule, parameters_of, rules_of
from .polytopes import Polytope
from .sensitivities import has_affine_slopes

# Points and rounds of a search: each round draws points halfway between the worst one and the whole set.
_DRAWS, _ROUNDS = 64, 4


@dataclass(eq=False)
class WorstCase(Document):
    """The worst case of a rule for the leader: its value, where it is, and the evidence."""

    value: float  #: The leader's objective there (its regret, where ``less`` was given), in the sense the user wrote.
    at: pd.Series  #: The parameters there.
    evidence: str  #: "vertices" where they are proved to suffice; "search" elsewhere.
    why: str  #: Why the vertices do not prove it; empty where they do.
    fresh: int  #: How many fresh draws were judged.
    violations: int  #: How many of them were worse than what vertices or search had shown.
    confidence: float  #: 1 − β, how sure the guarantee of the fresh draws is.
    cases: pd.DataFrame  #: The vertices, with the leader's objective (or regret) at each.
    #: Leader variables that the formula may drive beyond their bounds, where :func:`verify` stops them.
    loose: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """The share of the set that may be worse, at this confidence; NaN where a fresh draw was, or none was made."""
        if self.evidence == "vertices":
            return 0.0
        return math.log(1.0 / (1.0 - self.confidence)) / self.fresh if self.fresh and not self.violations else math.nan

    def parts(self) -> list[Part]:
        """One sentence each: the worst, its evidence, the guarantee."""
        place = ", ".join(f"{name} = {shown(float(level), 5)}" for name, level in self.at.items())
        sentences: list[Part] = [f"Worst case {shown(self.value, 6)} at {place}."]
        if self.evidence == "vertices":
            sentences.append(f"Proved by the {len(self.cases)} vertices of the set: no other point is worse.")
        else:
            sentences.append(f"By search; the vertices alone prove nothing: {self.why}.")
        if self.fresh and self.violations:
            worse = f"{self.violations} were worse than found before"
            sentences.append(f"Of {self.fresh} fresh draws {worse}: no guarantee.")
        elif self.fresh and self.evidence != "vertices":
            sentences.append(
                f"None of {self.fresh} fresh draws was worse: with confidence {self.confidence:g} at most "
                f"{self.share:.3g} of the set is."
            )
        if self.loose:
            sentences.append(
                f"Beware: judged by the formula alone; for some actions {listed(list(self.loose))} would leave "
                "its bounds, where the leader would stop."
            )
        return sentences

    def __str__(self) -> str:
        return "\n".join(map(str, self.parts()))

    def added(self, scenarios: Scenarios) -> Scenarios:
        """The scenarios and the worst parameters as one more, all equally likely: for another round of design.

        Parameters
        ----------
        scenarios : Scenarios
            Those of the last design.

        Returns
        -------
        Scenarios
            One more than before.
        """
        return Scenarios(pd.concat([scenarios.outcomes, self.at.to_frame().T], ignore_index=True))


def worst_case(
    game: Game,
    rule: Any,
    within: Any,
    *,
    less: Callable[[pd.Series], float] | str | None = None,
    fresh: int = 0,
    confidence: float = 0.99,
    seed: int = 0,
) -> WorstCase:
    """The most that the leader loses by a rule over a set of parameters θ, proved where theory allows it.

    An exchange adds ``.added(scenarios)`` and designs anew until the worst case is that of the design. The rule is
    judged as a formula: :attr:`WorstCase.loose` says which leader variables it may drive beyond their bounds.

    Parameters
    ----------
    game : Game
        The parameters are its followers' mutable Params, and perhaps the leader's; several followers play an
        equilibrium.
    rule : Incentive, ComponentMap or (float, float)
        What is announced, as in ``rules`` of :func:`fit`.
    within : Polytope or mapping of Param to (float, float)
        The set of θ: :attr:`Fit.consistent`, or a box.
    less : callable or "leader-optimal", optional
        Parameters (a Series) → what could be had if they were known: then the worst regret is looked for.
    fresh : int, default 0
        Draws judged beside.
    confidence : float, default 0.99
        Of what the draws say.
    seed : int, default 0
        Of the draws.

    Returns
    -------
    WorstCase
        Value, place, evidence.

    Raises
    ------
    InvalidGame
        The game has populations, the set has no end, or an argument is not what it should be.
    NoPlan, NonconvexFollower
        A follower has no best answer.
    """
    require_whole("fresh", fresh, 0)
    if isinstance(confidence, bool) or not isinstance(confidence, (int, float)) or not 0.0 < confidence < 1.0:
        raise InvalidGame(f"confidence={confidence!r}: expected a number between 0 and 1.")
    if not (less is None or less == "leader-optimal" or callable(less)):
        raise InvalidGame(f"less={less!r}: expected a function of the parameters, or 'leader-optimal'.")
    with undisturbed():
        require(game)
        crowd = next((f for f in game.followers.values() if f.size > 1), None)
        if crowd is not None:
            raise InvalidGame(f"{crowd.name}: a population of {crowd.size:g}; expand() the game to judge its members.")
        judge = _Judge(game, rule, *_set_of(game, within), less)
        corners = judge.set.vertices
        levels = judge.levels(corners)
        why = judge.doubt or judge.why_not_vertices
        worst = int(np.argmax(levels))
        point, level = corners.iloc[worst], float(levels[worst])
        if why:
            point, level = judge.searched(point, level, seed)
        drawn = judge.set.sample(fresh, seed + 1) if fresh else corners[:0]
        others = judge.levels(drawn) if fresh else np.zeros(0)
        why = why or judge.doubt
        spread = float(np.ptp(np.concatenate([levels, others])))
        worse = others > level + TOLERANCES.accuracy * spread + TOLERANCES.rounding * abs(level)
        if worse.any():
            point, level = drawn.iloc[int(np.argmax(others))], float(others.max())
        sign = game.leader.sign if less is None else 1.0
        cases = corners.assign(**{"regret" if less else "objective": sign * levels})
        evidence, loose = "search" if why else "vertices", tuple(judge.loose)
        return WorstCase(sign * level, point, evidence, why, fresh, int(worse.sum()), float(confidence), cases, loose)


def _set_of(game: Game, within: Any) -> tuple[list[Parameter], Polytope]:
    """The parameters and the polytope they lie in; a box is one."""
    if isinstance(within, Polytope):
        return parameters_of(game, within.names), within
    parameters = parameters_of(game, within)
    loose = next((p for p in parameters if not p.is_bounded), None)
    if loose is not None:
        raise InvalidGame(f"within: {loose.name} is unbounded; give {{name: (lower, upper)}}, or a fit's polytope.")
    names = [p.name for p in parameters]
    return parameters, Polytope.box(names, [p.lower for p in parameters], [p.upper for p in parameters])


class _Judge:
    """What the leader loses by one rule at many parameters."""

    def __init__(
        self,
        game: Game,
        rule: Any,
        parameters: Sequence[Parameter],
        within: Polytope,
        less: Callable[[pd.Series], float] | str | None,
    ) -> None:
        self.game, self.parameters, self.set, self.less = game, parameters, within, less
        self.doubt = ""  #: Why the answers that were judged proved nothing; empty where all are equilibria.
        (read,) = rules_of([rule], within.vertices[:1], game)
        self.rule: dict[str, Any] = read or {}

    @property
    def loose(self) -> list[str]:
        """Leader variables whose formula may leave their bounds."""
        names, row = self.game.variables_by_name, self._experiments(self.set.vertices[:1])
        formulas = {name: row.written(0, answer) for name, answer in self.rule.items()}
        return [
            name
            for name, answer in formulas.items()
            if hasattr(answer, "is_expression_type") and any(oversteps(answer, names[name]))
        ]

    def _experiments(self, points: pd.DataFrame, *, free: bool = False, rules: Any = None) -> Experiments:
        announced: list[Rule] = [self.rule] * len(points) if rules is None else rules
        theta = None if free else points
        return Experiments(self.game, self.parameters, points, announced, observed=False, theta=theta, together=True)

    def levels(self, points: pd.DataFrame) -> Array:
        """The leader's cost, or regret, at each of the points."""
        experiments = self._experiments(points)
        plan = experiments.answered(np.zeros(len(self.parameters)))
        if plan.quality not in ("feasible", "optimal"):
            self.doubt = "a re-solve does not confirm that the answers are an equilibrium"
        for reading in experiments.readings:
            reading.copy.set_value(plan.values[experiments.game.names[id(reading.copy)]], skip_validation=True)
        costs = np.array([number_of(experiments.leader_cost(row)) for row in range(len(points))])
        if self.less is None:
            return costs
        if callable(self.less):
            known = [self.less(point) for _, point in points.iterrows()]
            return np.asarray(costs - self.game.leader.sign * np.array(known, dtype=float))
        return np.asarray(costs - self._leader_optimal(points))

    def _free(self, points: pd.DataFrame, *, free: bool = False) -> tuple[Experiments, list[VarData]]:
        """The points with the leader's variables free, too, those that are no aggregates; and these, row by row."""
        holder = pyo.ConcreteModel(name="known")
        aggregates = {id(v) for v in self.game.aggregate_variables()}
        variables = [v for v in self.game.leader.variables if id(v) not in aggregates and not v.fixed]
        holder.level = pyo.Var(range(len(points)), range(len(variables)), initialize=0.0)
        for (_, column), var in holder.level.items():
            var.setlb(variables[column].lb)
            var.setub(variables[column].ub)
        names = [self.game.names[id(v)] for v in variables]
        rules = [{n: holder.level[row, i] for i, n in enumerate(names)} for row in range(len(points))]
        return self._experiments(points, free=free, rules=rules), list(holder.level.values())

    def _leader_optimal(self, points: pd.DataFrame) -> Array:
        """What the leader would pay at each of the points if everybody served it, by one program of all."""
        experiments, _ = self._free(points)
        costs = [experiments.leader_cost(row) for row in range(len(points))]
        rows = [limit for block in experiments.model.row.values() for limit in block.limits.values()]
        for constraint in self._leader_rows:
            rows += [experiments.written(row, constraint.expr) for row in range(len(points))]
        program = Program(pyo.quicksum(costs), rows)
        solution = solve(program)
        if solution.answer is None:
            raise NoPlan(
                "less='leader-optimal': no leader-optimal plan was found for some parameters.",
                termination=solution.termination.value,
            )
        for var, level in zip(program.variables, solution.answer, strict=True):
            var.set_value(float(level), skip_validation=True)
        return np.array([number_of(cost) for cost in costs])

    @property
    def _leader_rows(self) -> list[Any]:
        defined = {id(row) for row in self.game.aggregates}
        return [row for row in self.game.leader.constraints if id(row) not in defined]

    @property
    def why_not_vertices(self) -> str:
        """Why the worst case need not stand at a vertex; empty where it is proved to."""
        if callable(self.less):
            return "what could be had depends on the parameters, too"
        first = self.set.vertices[:1]
        why = ""
        if self.less is None and len(self.game.actions) == 1:
            why = why_not_one_action(self._experiments(first, free=True), self.set.ranges.to_numpy())
            if not why:
                return self._tie
        experiments = self._experiments(first, free=True)
        quadratic = LinearQuadratic(experiments, self.set.vertices.to_numpy())
        other = quadratic.why_not
        if not other and self.less is None:
            other = quadratic.why_not_convex(experiments.leader_cost(0))
        elif not other:
            other = self._why_not_regret(quadratic, first)
        return (why or other) if other else ""

    @property
    def _tie(self) -> str:
        """Which follower has answers at a vertex that are as good for it and worse for the leader; empty: none has.

        What is convex is largest at an end of the answers that are equally good.
        """
        experiments = self._experiments(self.set.vertices)
        plan = experiments.answered(np.zeros(len(self.parameters)))
        costs = [experiments.leader_cost(row) for row in range(len(self.set.vertices))]
        levels, worst = [], []
        for reading, cost in zip(experiments.readings, costs, strict=True):
            own = experiments.model.row[reading.row, reading.follower].cost.expr
            answer = plan.values[experiments.game.names[id(reading.copy)]]
            known = [_levels(reading.copy, v, own, cost) for v in (answer, *_equally_good(reading.copy, answer, own))]
            levels.append(known[0][1])
            worst.append(max(level for _, level in known))
        # What rounding leaves of a cost is its root in an answer: no tie where a bent cost is flat.
        room = TOLERANCES.settled * float(np.ptp([*levels, *worst])) + TOLERANCES.rounding * max(map(abs, levels))
        if max(worst) <= max(levels) + room:
            return ""
        return f"{experiments.readings[0].follower} has equally good answers at a vertex, of which some are worse"

    def _why_not_regret(self, quadratic: LinearQuadratic, first: pd.DataFrame) -> str:
        """The same of the regret against the leader-optimal value."""
        if self._leader_rows:
            return "the leader has constraints beside the bounds of its variables"
        known, leader = self._free(first, free=True)
        own = [*known.variables, *(reading.copy for reading in known.readings)]
        mine = [*quadratic.experiments.variables, *quadratic.actions]
        walk = substituting({id(a): b for a, b in zip(own, mine, strict=True)})
        return quadratic.why_not_convex(quadratic.experiments.leader_cost(0), leader, walk(known.leader_cost(0)))

    def searched(self, point: pd.Series, level: float, seed: int) -> tuple[pd.Series, float]:
        """A worse point, if draws closer and closer to the worst one know any; all stay in the (convex) set."""
        reach = 1.0
        for number in range(_ROUNDS):
            drawn = self.set.sample(_DRAWS, seed + 2 + number)
            near = drawn * reach + point.to_numpy() * (1.0 - reach)
            levels = self.levels(near)
            if levels.max() > level:
                point, level = near.iloc[int(np.argmax(levels))], float(levels.max())
            reach /= 2.0
        return point, level


def _levels(action: VarData, level: float, *costs: Any) -> list[float]:
    action.set_value(level, skip_validation=True)
    return [number_of(cost) for cost in costs]


def _equally_good(action: VarData, answer: float, cost: Any) -> Iterator[float]:
    """The lowest and the highest action that cost no more than the answer but for rounding; the cost is convex."""
    (least,) = _levels(action, answer, cost)
    room = TOLERANCES.rounding * max(abs(least), size_of(cost, {id(action): answer}))
    low, high = bounds_of(action)
    for side, way in ((low, -1.0), (high, 1.0)):
        far = side if math.isfinite(side) else answer + way * TOLERANCES.multiplier * max(1.0, abs(answer))
        near, beyond = 0.0, 1.0
        if _levels(action, far, cost)[0] <= least + room:
            near = 1.0
        while near < 1.0 and beyond - near > TOLERANCES.cancelled:
            middle = (near + beyond) / 2.0
            is_as_good = _levels(action, answer + middle * (far - answer), cost)[0] <= least + room
            near, beyond = (middle, beyond) if is_as_good else (near, middle)
        yield answer + near * (far - answer)


def why_not_one_action(experiments: Experiments, ranges: Array) -> str:
    """Why the first theorem says nothing of this follower; empty where the vertices prove it.

    experiments: one row in which θ is left open; ranges: (θ × 2) between what it lies.
    """
    (reading, *others), block = experiments.readings, next(iter(experiments.model.row.values()))
    if others:
        return f"{reading.follower} has several actions"
    if len(block.limits):
        return f"{reading.follower} has constraints beside the bounds of its action"
    for variable, (low, high) in zip(experiments.variables, ranges, strict=True):
        variable.setlb(float(low))
        variable.setub(float(high))
    if not curvature(block.cost.expr, [reading.copy]).curvature.is_convex:
        return f"the objective of {reading.follower} is not proved convex under the rule for all parameters"
    cost = experiments.leader_cost(0)
    if any(id(v) in {id(x) for x in experiments.variables} for v in variables_in(cost)):
        return "the leader's objective holds a parameter"
    if not curvature(cost, [reading.copy]).curvature.is_convex:
        return "the leader's objective is not proved convex in the answer"
    affine = has_affine_slopes(block.cost.expr, [reading.copy], throughout=True)
    return "" if affine else "the slope is not shown affine in the parameters"


class LinearQuadratic:
    """All followers of one row in which θ is left open, as the second theorem has them.

    vertices: (vertices × θ) of the polytope.
    """

    def __init__(self, experiments: Experiments, vertices: Array) -> None:
        self.experiments, self.vertices = experiments, vertices
        self.actions = [reading.copy for reading in experiments.readings]
        self.answer = np.zeros((0, 0))  #: (actions × θ) ∂u/∂θ, once :meth:`why_not` has nothing against it.

    @property
    def why_not(self) -> str:
        """Why the answers are not shown to be affine in θ; empty where they are."""
        blocks = dict(self.experiments.model.row.items())
        tied = next((name for (_, name), block in blocks.items() if len(block.limits)), None)
        if tied is not None:
            return f"{tied} has constraints beside the bounds of its actions"
        slopes, theta = [], self.experiments.variables
        for (_, name), block in blocks.items():
            for slope in partials(block.cost.expr, list(block.action.values())):
                line = _quadratic(slope, [*self.actions, *theta])
                if line is None or line[0].any():
                    return f"the slopes of {name} are not affine in actions and parameters together"
                slopes.append((line[1], line[2]))
        matrix, constant = np.array([line for line, _ in slopes]), np.array([level for _, level in slopes])
        own, mixed = np.hsplit(matrix, [len(self.actions)])
        if not _is_positive(own + own.T):
            return "the followers' equilibrium is not shown to be unique"
        self.answer = -np.linalg.solve(own, mixed)
        levels = self.vertices @ self.answer.T - np.linalg.solve(own, constant)
        return "" if _are_within(levels, self.actions) else "an action reaches its bounds"

    def why_not_convex(self, cost: Any, leader: Sequence[VarData] = (), best: Any = None) -> str:
        """Why the leader's cost is not shown convex along the answers; empty where it is.

        It is taken less ``best``, the cost in free ``leader`` Vars and the actions.
        """
        theta = self.experiments.variables
        along = _quadratic(cost, [*self.actions, *theta])
        if along is None:
            return "the leader's objective is not quadratic in actions and parameters"
        way = np.vstack([self.answer, np.eye(len(theta))])
        bend = way.T @ along[0] @ way
        if best is not None:
            free = [*leader, *self.actions]
            whole = _quadratic(best, [*free, *theta])
            if whole is None or not _is_positive(whole[0][: len(free), : len(free)]):
                return "the leader-optimal value is not shown to be quadratic in the parameters"
            own, cross = whole[0][: len(free), : len(free)], whole[0][: len(free), len(free) :]
            levels = -np.linalg.solve(own, cross @ self.vertices.T + whole[1][: len(free), np.newaxis]).T
            if not _are_within(levels, free):
                return "the leader-optimal plan reaches bounds"
            bend = bend - (whole[0][len(free) :, len(free) :] - cross.T @ np.linalg.solve(own, cross))
        least = np.linalg.eigvalsh(bend)[0] if len(theta) else 0.0
        rounding = TOLERANCES.noise * max(float(np.abs(part).max(initial=0.0)) for part in (along[0], bend))
        return "" if least >= -rounding else "the leader's objective is not convex along the answers"


def _quadratic(expression: Any, variables: Sequence[VarData]) -> tuple[Array, Array, float] | None:
    """(Q, c, level) of ½ xᵀQ x + cᵀx + level; None of what is not quadratic."""
    count = len(variables)
    matrix, line = np.zeros((count, count)), np.zeros(count)
    if not hasattr(expression, "is_expression_type"):
        return matrix, line, float(expression)
    form = generate_standard_repn(expression, quadratic=True)
    if form.nonlinear_expr is not None:
        return None
    place = {id(v): i for i, v in enumerate(variables)}
    for var, weight in zip(form.linear_vars, form.linear_coefs, strict=True):
        line[place[id(var)]] += float(weight)
    for (first, second), weight in zip(form.quadratic_vars, form.quadratic_coefs, strict=True):
        matrix[place[id(first)], place[id(second)]] += float(weight)
        matrix[place[id(second)], place[id(first)]] += float(weight)
    return matrix, line, float(form.constant)


def _is_positive(matrix: Array) -> bool:
    """True of a positive definite matrix, its diagonal scaled to 1."""
    diagonal = np.diagonal(matrix)
    if (diagonal <= 0.0).any():
        return False
    scaled = matrix / np.sqrt(np.outer(diagonal, diagonal))
    return bool(not len(matrix) or np.linalg.eigvalsh(scaled)[0] > TOLERANCES.rank)


def _are_within(levels: Array, variables: Sequence[VarData]) -> bool:
    columns = zip(levels.T, variables, strict=True)
    return not any(any(leaves(float(column.min()), float(column.max()), *bounds_of(v))) for column, v in columns)
