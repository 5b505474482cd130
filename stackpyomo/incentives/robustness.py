"""Robustness: what happens when a follower's cost is not what the leader thought.

If the true marginal cost of follower k is off by e, it answers with δ = −H_k⁻¹ e to first order, H_k its composed
Hessian on the directions its active constraints leave open, everything else moves by T_k δ, and the leader's cost
changes by

    ∇J0ᵀ T_k δ + ½ δᵀ (T_kᵀ ∇²J0 T_k + Σ_s (∇J0·R_s) m_s m_sᵀ) δ,

where a quadratic term ½ R d² of the strategy, m_s what δ moves of signal s, adds Σ_s (b_k·R_s) m_s m_sᵀ to H_k too.
These are of the strategy without its projection on the leader's bounds.

How far its own marginal cost a_k may be off, as (1 + ε) a_k, before the leader is better off without the incentive is
found by re-solves: the follower is re-solved with the error in its cost, the others as planned, on every piece of a
projected strategy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from stackpyomo.core import TOLERANCES, Array, bounds_of, tracked, undisturbed
from stackpyomo.derivatives import (
    FollowerHessians,
    FollowerRows,
    active_sides,
    by_follower,
    composed_hessian,
    composed_normals,
    open_directions,
)
from stackpyomo.games import Game
from stackpyomo.games.information import Announcement, shares
from stackpyomo.solvers import BadRow, Program, Termination, solve
from stackpyomo.verification import Composed, composed

COLUMNS = ["curvature", "shift", "leader_slope", "leader_loss", "relative_error"]

_LARGEST = 1e3  # Relative errors beyond this are reported as infinite.

_BISECTIONS = 20


def robustness(
    game: Game,
    announced: Announcement,
    multipliers: Mapping[str, float],
    baseline: float,
    followers: Sequence[str],
    solver: str,
) -> pd.DataFrame:
    """One row per follower. baseline: the leader's objective without the incentive, in its sense (NaN: unknown).

    curvature: least eigenvalue of its composed Hessian at the plan. shift: length of the action's shift per unit of
    error in its marginal cost, the worst direction. leader_slope, leader_loss: the leader's loss per unit and per
    squared unit of error, the worst direction (the first is 0 at an unconstrained optimum of the leader).
    relative_error: the largest ε.
    """
    with undisturbed():
        study = _Study(game, announced, multipliers, solver)
        rows = []
        with tracked("how wrong may one be", len(followers)) as step:
            for name in followers:
                rows.append(study.row(name, baseline))
                step()
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
    """What one member of a follower moves: Vars by name, (Vars × own actions), and the strategy's quadratic term."""

    names: list[str]
    matrix: Array
    bend: Array  #: (Vars × signals that it shows) R, 0 for actions.
    shown: Array  #: (signals that it shows × own actions) m.
    room: Array  #: (Vars × 2) the least and the largest step that a projection leaves; infinite without one.
    carried: Array  #: (Vars × Vars) what the leader's variables move of aggregates.

    def step(self, deviation: Array) -> dict[str, float]:
        moved = self.matrix @ deviation + self.bend @ (self.shown @ deviation) ** 2 / 2.0
        cut = np.clip(moved, self.room[:, 0], self.room[:, 1])
        return dict(zip(self.names, (cut + self.carried @ (cut - moved)).tolist(), strict=True))

    def quadratic(self, weights: Mapping[str, float]) -> Array:
        """Σ_s (w·R_s) m_s m_sᵀ, w a weight of each Var."""
        pull = np.array([weights.get(name, 0.0) for name in self.names]) @ self.bend
        return np.asarray(self.shown.T @ (pull[:, np.newaxis] * self.shown))


class _Study:
    def __init__(self, game: Game, announced: Announcement, multipliers: Mapping[str, float], solver: str) -> None:
        self.game, self.announced, self.solver = game, announced, solver
        self.rows = FollowerRows(game)
        self.here = self.rows.at(announced.values)
        sides = active_sides(self.rows, self.here, announced.values, self.rows.natural(announced.values))
        self.sides, self.held = by_follower(sides), multipliers
        forces = {s.name: s.sign * multipliers[s.name] for s in sides if s.name in multipliers}
        self.hessians = FollowerHessians(self.rows, announced.values, forces)
        force = np.array([forces.get(c.name, 0.0) for c in self.rows.constraints])
        owned = (force, (self.rows.constraint_owners, np.arange(len(force))))
        weights = sparse.csr_array(owned, shape=(len(self.rows.followers), len(force)))
        self.pulls = sparse.csr_array(self.here.leader + weights @ self.here.leader_rows)
        self.moves = shares(game, announced.signals).moves.tocsc()
        assert announced.gain is not None
        self.gain = announced.gain @ self.moves
        bend = announced.bend
        self.bend = sparse.csc_array(announced.gain.shape if bend is None else bend)
        self.leader = _Leader(game, announced.values)
        place = {name: i for i, name in enumerate(announced.leader)}
        order = [place[game.names[id(v)]] for v in self.rows.instruments]
        self.answer = sparse.csr_array(self.gain)[order]
        self.response = self.rows.responses_to(self.answer)
        self.number = {name: i for i, name in enumerate(game.followers)}
        # A member's own action counts 1/size of its block's in the leader's objective.
        alone = sparse.diags_array(1.0 / np.array(game.action_sizes, dtype=float))
        moved = [*self.rows.actions, *self.rows.responses.variables]
        self.names = [*(game.names[id(v)] for v in moved), *announced.leader]
        leads = self.rows.leads.tocoo()
        moves = self.rows.responses.moves + self.rows.leads @ self.answer
        self.reach = sparse.csc_array(sparse.vstack([alone, moves, self.gain]))
        places = (leads.row + len(self.rows.actions), np.array(order, dtype=int)[leads.col] + len(moved))
        self.carried = sparse.csr_array((leads.data, places), shape=(len(self.names),) * 2)
        self.room = np.tile([-math.inf, math.inf], (len(self.names), 1))
        for number, name in enumerate(announced.leader if announced.saturate else (), len(moved)):
            self.room[number] = np.array(bounds_of(game.variables_by_name[name])) - announced.values[name]

    def row(self, name: str, baseline: float) -> list[float]:
        """The table's line of one follower."""
        number = self.number[name]
        mine = self.rows.own(number)
        reach = self._reach(mine)
        felt = [self.game.names[id(v)] for v in self.rows.instruments]
        pulls = dict(zip(felt, self.pulls[[number]].toarray()[0], strict=True))
        hessian = composed_hessian(self.hessians.of(number), self.response[:, mine]) + reach.quadratic(pulls)
        pinned, _ = composed_normals(self.sides.get(number, ()), self.held, mine, self.answer[:, mine])
        basis = open_directions(pinned)
        if not basis.shape[1]:
            return [math.inf, 0.0, 0.0, 0.0, math.inf]
        reduced = basis.T @ hessian @ basis
        least = float(np.linalg.eigvalsh(reduced)[0])
        local = [math.nan] * 3
        if least > TOLERANCES.bent * float(np.abs(hessian).max()):
            local = [1.0 / least, *self._losses(basis @ np.linalg.inv(reduced) @ basis.T, reach)]
        return [least, *local, self._relative(name, mine, reach, baseline)]

    def _reach(self, mine: slice) -> _Reach:
        """Only what is not 0."""
        matrix, shown = self.reach[:, mine], self.moves[:, mine]
        signals = np.unique(shown.indices)
        bend = self.bend[:, signals]
        bent = np.zeros((len(self.names), len(signals)))
        bent[len(self.names) - bend.shape[0] :] = bend.toarray()
        bent += self.carried @ bent
        kept = np.union1d(matrix.indices, np.flatnonzero(bent.any(axis=1)))
        names, carried = [self.names[i] for i in kept], self.carried[kept][:, kept].toarray()
        return _Reach(names, matrix[kept].toarray(), bent[kept], shown[signals].toarray(), self.room[kept], carried)

    def _losses(self, inverse: Array, reach: _Reach) -> list[float]:
        """(per unit, per squared unit) of error, the worst directions."""
        if self.leader.program is None:
            return [math.nan, math.nan]
        gradient, hessian = self.leader.derivatives()
        place = {name: i for i, name in enumerate(reach.names)}
        rows = [place.get(name, -1) for name in self.leader.names]
        moved = np.array([reach.matrix[i] if i >= 0 else np.zeros(len(inverse)) for i in rows]) @ inverse
        quadratic = inverse.T @ reach.quadratic(dict(zip(self.leader.names, gradient, strict=True))) @ inverse
        values = np.linalg.eigvalsh(moved.T @ hessian @ moved + quadratic) / 2.0
        return [float(np.linalg.norm(moved.T @ gradient)), float(max(values[-1], 0.0))]

    def _relative(self, name: str, mine: slice, reach: _Reach, baseline: float) -> float:
        """The largest ε such that under every error within ±ε the leader does better than the baseline."""
        slope = self.here.own[mine]
        worst = self.leader.sign * baseline
        if math.isnan(worst) or self.leader.program is None:
            return math.nan
        if self.leader.cost({}) >= worst:
            return 0.0
        pieces = list(composed(self.game, self.announced, [name]))
        return min(self._bracket(pieces, way * slope, reach, worst) for way in (1.0, -1.0))

    def _bracket(self, pieces: Sequence[Composed], slope: Array, reach: _Reach, worst: float) -> float:
        """Doubling, then bisection: the first ε at which the leader does no better than ``worst``."""
        low, high = 0.0, TOLERANCES.margin
        while self._played(pieces, high * slope, reach) < worst:
            low, high = high, 4.0 * high
            if high > _LARGEST:
                return math.inf
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2.0
            if self._played(pieces, middle * slope, reach) < worst:
                low = middle
            else:
                high = middle
        return low

    def _played(self, pieces: Sequence[Composed], error: Array, reach: _Reach) -> float:
        """The leader's cost once the follower has answered with this error in its marginal cost."""
        if not error.any():
            return self.leader.cost({})
        answers = [answer for piece in pieces if (answer := self._answer(piece, error)) is not None]
        level, deviation = min(answers, key=lambda answer: answer[0])  # not empty: the plan is in the first piece
        return self.leader.cost(reach.step(deviation)) if math.isfinite(level) else math.inf

    def _answer(self, piece: Composed, error: Array) -> tuple[float, Array] | None:
        """(the follower's cost, its deviation); None where the piece holds no point, −∞ where its best is not known."""
        tilt = sum(float(e) * v for e, v in zip(error, piece.variables, strict=True) if e)
        for var, target in zip(piece.variables, piece.target, strict=True):
            var.set_value(target, skip_validation=True)
        try:
            program = Program(piece.cost + tilt, piece.rows)
        except BadRow:
            return -math.inf, error
        solution = solve(program, self.solver)
        if piece.home is not None and solution.termination is Termination.INFEASIBLE:
            return None
        if solution.answer is None:
            return -math.inf, error
        levels = program.levels(solution.answer)
        deviation = np.array([levels.get(id(v), t) - t for v, t in zip(piece.variables, piece.target, strict=True)])
        return float(program.problem.objective(solution.x)), deviation
