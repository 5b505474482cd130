"""Worst cases: how bad a rule is for the leader over all parameters that are possible.

    max_{θ ∈ Θ}  J0(c + K s(u), u) [− less(θ)],     u the follower's best answer at θ

With one action, a slope S of the composed cost that is affine in θ and a composed cost convex in u, {θ : u(θ) ≥ v} is
the half-space S(v; θ) ≤ 0 for every v within the bounds. So u is quasi-affine in θ where it is unique, and what is
convex in u alone is largest at a vertex of Θ: then the vertices prove the worst case. Elsewhere the worst is searched
for, and M fresh draws, none of them worse, say that with confidence 1 − β at most a share ln(1/β)/M of Θ is worse,
whatever the rule came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from stackpyomo.core import TOLERANCES, Array, Document, Part, require_whole, shown, undisturbed
from stackpyomo.core.expressions import Curvature, curvature, number_of, variables_in
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, Game, require
from stackpyomo.games.information import Scenarios

from .experiments import Experiments, Parameter, parameters_of, rules_of
from .polytopes import Polytope
from .sensitivities import is_affine

__all__ = ["WorstCase", "worst_case"]

_DRAWS, _ROUNDS = 64, 4
"""Points and rounds of a search: each round draws points halfway between the worst one and the whole set."""


@dataclass(eq=False)
class WorstCase(Document):
    """The worst that a rule does to the leader, where, and what says so."""

    value: float
    """The leader's objective there (its regret, where ``less`` was given), in the sense the user wrote."""
    at: pd.Series
    """The parameters there."""
    evidence: str
    """"vertices" where they are proved to suffice; "search" elsewhere."""
    why: str
    """Why the vertices do not prove it; empty where they do."""
    fresh: int
    """How many fresh draws were judged."""
    violations: int
    """How many of them were worse than what vertices or search had shown."""
    confidence: float
    """1 − β, how sure the guarantee of the fresh draws is."""
    cases: pd.DataFrame
    """The vertices, with the leader's objective (or regret) at each."""

    @property
    def share(self) -> float:
        """The share of the set that may be worse, at this confidence; NaN where a fresh draw was, or none was made."""
        if self.evidence == "vertices":
            return 0.0
        return math.log(1.0 / (1.0 - self.confidence)) / self.fresh if self.fresh and not self.violations else math.nan

    def parts(self) -> list[Part]:
        """One sentence each: the worst, its evidence, the guarantee."""
        place = ", ".join(f"{name} = {shown(float(level), 5)}" for name, level in self.at.items())
        said: list[Part] = [f"Worst case {shown(self.value, 6)} at {place}."]
        if self.evidence == "vertices":
            said.append(f"Proved by the {len(self.cases)} vertices of the set: it is nowhere worse.")
        else:
            said.append(f"By search; the vertices alone prove nothing: {self.why}.")
        if self.fresh and self.violations:
            said.append(f"Of {self.fresh} fresh draws {self.violations} were worse than found before: no guarantee.")
        elif self.fresh and self.evidence != "vertices":
            said.append(
                f"None of {self.fresh} fresh draws was worse: with confidence {self.confidence:g} at most "
                f"{self.share:.3g} of the set is."
            )
        return said

    def __str__(self) -> str:
        return "\n".join(map(str, self.parts()))

    def added(self, scenarios: Scenarios) -> Scenarios:
        """The scenarios and the worst parameters as one more, all equally likely: for another round of design."""
        return Scenarios(pd.concat([scenarios.outcomes, self.at.to_frame().T], ignore_index=True))


def worst_case(
    game: Game,
    rule: Any,
    within: Any,
    *,
    less: Callable[[pd.Series], float] | None = None,
    fresh: int = 0,
    confidence: float = 0.99,
    seed: int = 0,
) -> WorstCase:
    """max over θ of what the leader loses by a rule, proved by the vertices of the set where theory allows it.

    game: one leader, one follower, θ its mutable Params. rule: what is announced, as in ``rules`` of :func:`fit`: an
    :class:`Incentive`, leader variable → expression, or (c, K). within: the set of θ, a :class:`Polytope`
    (:attr:`Fit.consistent`) or a mapping Param → (lower, upper), a box. less: θ → what could be had if it were known:
    then the worst regret is looked for. fresh, confidence, seed: draws judged beside, and what they are to say. An
    exchange adds ``.added(scenarios)`` and designs anew until the worst case is that of the design.

    Raises :class:`InvalidGame` for several followers, a set without an end, and bad arguments; :class:`NoPlan` and
    :class:`NonconvexFollower` where a follower has no best answer.
    """
    require_whole("fresh", fresh, 0)
    if isinstance(confidence, bool) or not isinstance(confidence, (int, float)) or not 0.0 < confidence < 1.0:
        raise InvalidGame(f"confidence={confidence!r}: expected a number between 0 and 1.")
    with undisturbed():
        require(game)
        if len(game.followers) != 1:
            raise InvalidGame(f"worst_case: {len(game.followers)} followers; the answer of one at a time is looked at.")
        judge = _Judge(game, rule, *_set_of(game, within), less)
        corners = judge.set.vertices
        levels = judge.levels(corners)
        why = judge.why_not_vertices
        worst = int(np.argmax(levels))
        point, level = corners.iloc[worst], float(levels[worst])
        if why:
            point, level = judge.searched(point, level, seed)
        drawn = judge.set.sample(fresh, seed + 1) if fresh else corners[:0]
        others = judge.levels(drawn) if fresh else np.zeros(0)
        worse = others > level + TOLERANCES.accuracy * max(1.0, abs(level))
        if worse.any():
            point, level = drawn.iloc[int(np.argmax(others))], float(others.max())
        sign = game.leader.sign if less is None else 1.0
        cases = corners.assign(**{"regret" if less else "objective": sign * levels})
        evidence = "search" if why else "vertices"
        return WorstCase(sign * level, point, evidence, why, fresh, int(worse.sum()), float(confidence), cases)


def _set_of(game: Game, within: Any) -> tuple[list[Parameter], Polytope]:
    """The parameters and the polytope they lie in; a box is one."""
    if isinstance(within, Polytope):
        return parameters_of(game, within.names), within
    parameters = parameters_of(game, dict(within) if isinstance(within, Mapping) else within)
    loose = next((p for p in parameters if not p.is_bounded), None)
    if loose is not None:
        raise InvalidGame(f"within: {loose.name} is unbounded; give {{name: (lower, upper)}}, or a fit's polytope.")
    names, unit = [p.name for p in parameters], np.eye(len(parameters))
    ends = np.concatenate([[p.upper for p in parameters], [-p.lower for p in parameters]])
    faces = [f"{name} {side}" for side in ("at most", "at least") for name in names]
    return parameters, Polytope(names, np.vstack([unit, -unit]), ends, faces)


class _Judge:
    """What the leader loses by one rule at many parameters."""

    def __init__(
        self,
        game: Game,
        rule: Any,
        parameters: Sequence[Parameter],
        within: Polytope,
        less: Callable[[pd.Series], float] | None,
    ) -> None:
        self.game, self.rule, self.parameters, self.set, self.less = game, rule, parameters, within, less
        self.follower: Follower = next(iter(game.followers.values()))

    def _experiments(self, points: pd.DataFrame, *, free: bool = False) -> Experiments:
        rules = rules_of([self.rule] * len(points), points, self.game)
        return Experiments(self.game, self.parameters, points, rules, observed=False, theta=None if free else points)

    def levels(self, points: pd.DataFrame) -> Array:
        """The leader's cost, or regret, at each of the points."""
        experiments = self._experiments(points)
        plan = experiments.answered(np.zeros(len(self.parameters)))
        for reading in experiments.readings:
            reading.copy.set_value(plan.values[experiments.game.names[id(reading.copy)]], skip_validation=True)
        costs = [number_of(experiments.leader_cost(row, self.follower)) for row in range(len(points))]
        if self.less is None:
            return np.array(costs)
        best = [self.game.leader.sign * float(self.less(point)) for _, point in points.iterrows()]
        return np.asarray(np.array(costs) - np.array(best))

    @property
    def why_not_vertices(self) -> str:
        """Why the worst case need not stand at a vertex; empty where it is proved to."""
        if self.less is not None:
            return "what could be had depends on the parameters, too"
        experiments = self._experiments(self.set.vertices[:1], free=True)
        (reading, *others), block = experiments.readings, next(iter(experiments.model.row.values()))
        if others:
            return f"{self.follower.name} has several actions"
        if len(block.limits):
            return f"{self.follower.name} has constraints beside the bounds of its action"
        for variable, (low, high) in zip(experiments.variables, self.set.ranges.to_numpy(), strict=True):
            variable.setlb(float(low))
            variable.setub(float(high))
        good = (Curvature.CONSTANT, Curvature.AFFINE, Curvature.CONVEX)
        if curvature(block.cost.expr, [reading.copy]).curvature not in good:
            return f"the objective of {self.follower.name} is not proved convex under the rule for all parameters"
        cost = experiments.leader_cost(0, self.follower)
        if any(id(v) in {id(x) for x in experiments.variables} for v in variables_in(cost)):
            return "the leader's objective holds a parameter"
        if curvature(cost, [reading.copy]).curvature not in good:
            return "the leader's objective is not proved convex in the answer"
        reading.copy.fix(0.0 if reading.copy.value is None else reading.copy.value, skip_validation=True)
        return "" if is_affine(block.cost.expr, [reading.copy]) else "the slope is not shown affine in the parameters"

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
