"""Robustness: what happens when a follower's cost is not what the leader thought.

If the true marginal cost of follower k is off by e, it answers with δ = −H_k⁻¹ e to first order, H_k its composed
Hessian on the directions its active constraints leave open, everything else moves by T_k δ, and the leader's cost
changes by

    ∇J0ᵀ T_k δ + ½ δᵀ T_kᵀ ∇²J0 T_k δ.

How far its own marginal cost a_k may be off, as (1 + ε) a_k, before the leader is better off without the incentive is
found by playing: the follower is re-solved with the error in its cost, the others as planned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import linalg, sparse

from .composition import Composed, composed
from .curvatures import FollowerHessians, composed_hessian
from .derivatives import FollowerRows
from .games import Game
from .multipliers import active_sides
from .programs import BadRow, Program, undisturbed
from .results import Announcement, Array
from .signals import shares
from .solvers import solve
from .tolerances import TOLERANCES

__all__ = ["COLUMNS", "robustness"]

COLUMNS = ["curvature", "shift", "leader_slope", "leader_loss", "relative_error"]
_LARGEST = 1e3
"""Relative errors beyond this are reported as infinite."""
_BISECTIONS = 20


def robustness(
    game: Game,
    announced: Announcement,
    multipliers: Mapping[str, float],
    baseline: float,
    followers: Sequence[str],
    solver: str,
) -> pd.DataFrame:
    """One row per follower. baseline: the leader's objective without the incentive, in his sense (NaN: unknown).

    curvature: least eigenvalue of its composed Hessian at the plan. shift: length of the action's shift per unit of
    error in its marginal cost, the worst direction. leader_slope, leader_loss: the leader's loss per unit and per
    squared unit of error, the worst direction (the first is 0 at an unconstrained optimum of the leader).
    relative_error: the largest ε.
    """
    with undisturbed():
        study = _Study(game, announced, multipliers, solver)
        rows = [study.row(name, baseline) for name in followers]
    return pd.DataFrame(rows, index=list(followers), columns=COLUMNS)


class _Leader:
    """The leader's cost at the plan with some Vars moved, and its derivatives."""

    def __init__(self, game: Game, values: Mapping[str, float]) -> None:
        self.sign = game.leader.sign
        objective = game.leader.objective
        self.program = Program(self.sign * objective.expr) if objective is not None else None
        variables = [] if self.program is None else self.program.variables
        self.names = [game.names[id(v)] for v in variables]
        self.base = np.array([values[name] for name in self.names])

    def cost(self, moved: Mapping[str, float]) -> float:
        """J0 with {variable name: step} added to the plan."""
        if self.program is None:
            return math.nan
        step = np.array([moved.get(name, 0.0) for name in self.names])
        return float(self.program.problem.objective(self.base + step))

    def derivatives(self) -> tuple[Array, Array]:
        """(∇J0, ∇²J0) at the plan."""
        assert self.program is not None
        problem, size = self.program.problem, len(self.base)
        row, column = problem.hessian_structure()
        data = np.asarray(problem.hessian(self.base, np.zeros(problem.m), 1.0))
        half = sparse.coo_array((data, (row, column)), shape=(size, size)).toarray()
        return np.asarray(problem.gradient(self.base)), half + half.T - np.diag(half.diagonal())


@dataclass
class _Reach:
    """What one member of a follower moves: Vars by name, (Vars × own actions)."""

    names: list[str]
    matrix: Array

    def step(self, deviation: Array) -> dict[str, float]:
        return dict(zip(self.names, (self.matrix @ deviation).tolist(), strict=True))


class _Study:
    def __init__(self, game: Game, announced: Announcement, multipliers: Mapping[str, float], solver: str) -> None:
        self.game, self.announced, self.solver = game, announced, solver
        self.rows = FollowerRows(game)
        self.here = self.rows.at(announced.values)
        self.sides = active_sides(self.rows, self.here, announced.values)
        self.held = multipliers
        forces = {s.name: s.sign * multipliers[s.name] for s in self.sides if s.name in multipliers}
        self.hessians = FollowerHessians(self.rows, announced.values, forces)
        self.moves = shares(game, announced.signals).moves
        gain = announced.gain
        self.gain = sparse.csc_array((0, len(self.rows.actions))) if gain is None else gain @ self.moves
        self.leader = _Leader(game, announced.values)
        place = {name: i for i, name in enumerate(announced.leader)}
        order = [place[game.names[id(v)]] for v in self.rows.instruments]
        self.response = self.rows.responses_to(sparse.csr_array(self.gain)[order])
        self.number = {name: i for i, name in enumerate(game.followers)}

    def row(self, name: str, baseline: float) -> list[float]:
        """The table's line of one follower."""
        number = self.number[name]
        start, stop = np.searchsorted(self.rows.owners, [number, number + 1])
        mine = slice(start, stop)
        hessian = composed_hessian(self.hessians.of(number), self.response[:, mine])
        basis = self._open(number, mine)
        if not basis.shape[1]:
            return [math.inf, 0.0, 0.0, 0.0, math.inf]
        reduced = basis.T @ hessian @ basis
        least = float(np.linalg.eigvalsh(reduced)[0])
        reach = self._reach(mine)
        local = [math.nan] * 3
        if least > TOLERANCES.bent * max(1.0, float(np.abs(hessian).max())):
            local = [1.0 / least, *self._losses(basis @ np.linalg.inv(reduced) @ basis.T, reach)]
        return [least, *local, self._relative(name, mine, reach, baseline)]

    def _open(self, number: int, mine: slice) -> Array:
        """Directions that the constraints which hold the follower (multiplier > 0, equalities) leave open."""
        normals = []
        for side in self.sides:
            if side.follower == number and (side.equality or self.held.get(side.name, 0.0) > 0.0):
                normal = np.zeros(mine.stop - mine.start)
                normal[side.columns - mine.start] = side.normal
                normals.append(normal)
        return np.asarray(linalg.null_space(np.array(normals))) if normals else np.eye(mine.stop - mine.start)

    def _reach(self, mine: slice) -> _Reach:
        """The member's own action counts 1/size of its block's in the leader's objective."""
        variables = [v for v in self.rows.variables if id(v) in self.game.names]
        kept = [i for i, v in enumerate(self.rows.variables) if id(v) in self.game.names]
        matrix = self.response[:, mine].tocsr()[kept].toarray()
        own = self.rows.own_columns[:, mine].tocsr()[kept].toarray()
        size = float(self.game.action_sizes[mine.start])
        return _Reach([self.game.names[id(v)] for v in variables], matrix - own + own / size)

    def _losses(self, inverse: Array, reach: _Reach) -> list[float]:
        """(per unit, per squared unit) of error, the worst directions."""
        if self.leader.program is None:
            return [math.nan, math.nan]
        gradient, hessian = self.leader.derivatives()
        place = {name: i for i, name in enumerate(reach.names)}
        rows = [place.get(name, -1) for name in self.leader.names]
        moved = np.array([reach.matrix[i] if i >= 0 else np.zeros(len(inverse)) for i in rows]) @ inverse
        values = np.linalg.eigvalsh(moved.T @ hessian @ moved) / 2.0
        return [float(np.linalg.norm(moved.T @ gradient)), float(max(values[-1], 0.0))]

    def _relative(self, name: str, mine: slice, reach: _Reach, baseline: float) -> float:
        """The largest ε such that under every error within ±ε the leader does better than the baseline."""
        slope = self.here.own[mine]
        worst = self.leader.sign * baseline
        if math.isnan(worst) or self.leader.program is None:
            return math.nan
        problem = next(iter(composed(self.game, self.announced, [name])))
        if self.leader.cost({}) >= worst:
            return 0.0
        return min(self._bracket(problem, way * slope, reach, worst) for way in (1.0, -1.0))

    def _bracket(self, problem: Composed, slope: Array, reach: _Reach, worst: float) -> float:
        """Doubling, then bisection: the first ε at which the leader does no better than ``worst``."""
        low, high = 0.0, TOLERANCES.margin
        while self._played(problem, high * slope, reach) < worst:
            low, high = high, 4.0 * high
            if high > _LARGEST:
                return math.inf
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2.0
            if self._played(problem, middle * slope, reach) < worst:
                low = middle
            else:
                high = middle
        return low

    def _played(self, problem: Composed, error: Array, reach: _Reach) -> float:
        """The leader's cost once the follower has answered with this error in its marginal cost."""
        if not error.any():
            return self.leader.cost({})
        tilt = sum(float(e) * v for e, v in zip(error, problem.variables, strict=True) if e)
        for var, target in zip(problem.variables, problem.target, strict=True):
            var.set_value(target, skip_validation=True)
        try:
            program = Program(problem.cost + tilt, problem.rows)
        except BadRow:
            return math.inf
        solution = solve(program, self.solver)
        if solution.x is None or not solution.termination.solved:
            return math.inf
        found = {id(v): float(x) for v, x in zip(program.variables, solution.x, strict=True)}
        pairs = zip(problem.variables, problem.target, strict=True)
        return self.leader.cost(reach.step(np.array([found.get(id(v), t) - t for v, t in pairs])))
