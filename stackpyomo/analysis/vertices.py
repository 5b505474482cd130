"""Vertices: where the worst of a rule over a polytope of parameters θ is proved to stand at one of its vertices.

*One action*, a slope of its composed cost that is affine in θ, that cost convex in it: {θ : u(θ) ≥ v} is a half-space
for every v within the bounds, so that u is quasi-affine, and what is convex in u alone is largest at a vertex.

*Linear-quadratic*, slopes H u + B θ + c of all actions with H + Hᵀ ≻ 0: there is one equilibrium, and it is
u(θ) = −H⁻¹(B θ + c) where that keeps the bounds at every vertex, hence everywhere. What is quadratic in (u, θ) and
convex along u(θ) is largest at a vertex; so is the regret against the leader-optimal value, the least of a quadratic
function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pyomo.core.base.var import VarData
from pyomo.repn import generate_standard_repn

from stackpyomo.core import TOLERANCES, Array, bounds_of, leaves
from stackpyomo.core.expressions import curvature, partials, variables_in

from .experiments import Experiments
from .sensitivities import is_affine

__all__ = ["LinearQuadratic", "why_not_one_action"]


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
    reading.copy.fix(0.0 if reading.copy.value is None else reading.copy.value, skip_validation=True)
    return "" if is_affine(block.cost.expr, [reading.copy]) else "the slope is not shown affine in the parameters"


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
            return "the followers' equilibrium is not shown to be one alone"
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
