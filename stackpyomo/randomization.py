"""Randomisation: where a leader who flips a coin does better than one who does not, and a refusal where he cannot.

Target: the follower is promised a mixture π of the leader's actions for doing u1*, and punished otherwise,

    min_π Σ π J0(u0, u1*)   s.t.  Σ π J1(u0, u1*) ≤ v = min_{u1} max_{u0} J1,   Σ π = 1

a linear program with two rows: at most two atoms carry it. If J0 and J1 are both convex in u0, the mean of π serves
both better (Jensen), and nothing is offered. Gain: the gain is Q ± τ with probability ½ each; the first-order condition
stays, and the follower's expected cost gains τ² ∂²J/∂u0² of curvature.

Both need a follower who minimises an expected cost and does not see the coin before it acts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from pyomo.core.expr.visitor import ExpressionReplacementVisitor
from scipy import sparse
from scipy.optimize import linprog

from .checks import require, require_positive, require_whole
from .composition import Composed, composed
from .contracts import Incentive
from .convexity import Curvature, curvature
from .errors import InvalidGame, NoIncentive
from .games import Game
from .incentives import affine_incentive
from .interchange import json_number
from .programs import Program, undisturbed
from .progress import tracked
from .results import Array, Plan
from .solvers import registry, solve
from .tolerances import TOLERANCES

__all__ = ["RandomGain", "RandomTarget", "randomized_gain", "randomized_target"]

_CONVEX = (Curvature.CONSTANT, Curvature.AFFINE, Curvature.CONVEX)


@dataclass(eq=False)
class RandomTarget:
    """A mixture of leader actions for a target of the follower, and the punishment off the target."""

    target: dict[str, float]
    """The follower's action that is rewarded."""
    atoms: pd.DataFrame
    """One row per atom: the leader's variables and ``probability``."""
    punishment: dict[str, float]
    """What the leader does where the follower is not on target (its worst case for the follower's best deviation)."""
    leader_objective: float
    """E J0 of the mixture on target, in the leader's sense."""
    deterministic: float
    """The best that any strategy without a coin can do on the same grids."""
    deterministic_plan: dict[str, float] = field(repr=False)
    """The point at which it is reached."""
    security: float = math.nan
    """v, what the follower can secure for itself, in its own sense."""

    def __str__(self) -> str:
        told = ", ".join(f"{name} = {value:.6g}" for name, value in self.target.items())
        return (
            f"on target ({told}) the leader draws\n{self.atoms.to_string(index=False)}\nand gets "
            f"{self.leader_objective:.6g} on average; without a coin {self.deterministic:.6g}."
        )

    def to_dict(self) -> dict[str, Any]:
        """The mixture as JSON-ready Python objects."""
        return {
            "target": self.target,
            "atoms": self.atoms.to_dict("records"),
            "punishment": self.punishment,
            "leader_objective": json_number(self.leader_objective),
            "deterministic": json_number(self.deterministic),
            "security": json_number(self.security),
        }


def randomized_target(
    game: Game, *, leader_points: int = 401, follower_points: int = 301, zooms: int = 8
) -> RandomTarget:
    """The best mixture over grids of the leader's one variable and the follower's one action, both with bounds.

    The follower's grid is narrowed around the best target ``zooms`` times. Raises :class:`InvalidGame` for a game of
    another shape, :class:`NoIncentive` where both costs are convex in the leader's variable: mixing cannot help.
    """
    require_whole("leader_points", leader_points)
    require_whole("follower_points", follower_points)
    with undisturbed():
        require(game)
        with tracked("mixing"):
            return _Grid(game, leader_points, follower_points).best(zooms)


class _Grid:
    """One leader variable, one follower action."""

    def __init__(self, game: Game, leader_points: int, follower_points: int) -> None:
        if len(game.followers) != 1 or game.aggregates:
            raise InvalidGame("randomized_target: one follower without aggregates is expected.")
        self.game, self.follower = game, next(iter(game.followers.values()))
        free = [v for v in game.leader.variables if v.is_continuous()]
        if len(free) != 1 or len(self.follower.variables) != 1:
            raise InvalidGame(
                "randomized_target: one leader variable and one follower action are expected; fix the others."
            )
        self.tool, self.action = free[0], self.follower.variables[0]
        for var in (self.tool, self.action):
            if var.lb is None or var.ub is None:
                raise InvalidGame(f"{var.name}: randomized_target needs its bounds, to lay a grid on it.")
        if self.follower.constraints or game.leader.constraints:
            raise InvalidGame("randomized_target: constraints are not supported; write them as bounds.")
        self._refuse_jensen()
        self.leader, self.own = (Program(cost) for cost in self._costs())
        self.u0 = np.linspace(self.tool.lb, self.tool.ub, leader_points)
        self.points = follower_points

    def _costs(self) -> list[Any]:
        """Leader's and follower's, minimised."""
        players = (self.game.leader, self.follower)
        return [p.sign * p.objective.expr for p in players if p.objective is not None]

    def _refuse_jensen(self) -> None:
        """Both costs convex in u0: the mean of any mixture costs either less."""
        proofs = [curvature(cost, [self.tool]) for cost in self._costs()]
        if all(proof.curvature in _CONVEX for proof in proofs):
            why = (
                f"both costs are convex in {self.tool.name}, so that announcing the mean of a mixture serves leader "
                "and follower at least as well as drawing from it"
            )
            raise NoIncentive(f"Randomising cannot help: {why}.", reasons={self.follower.name: why}, residuals={})

    def _levels(self, program: Program, u0: Array, u1: Array) -> Array:
        """(u0 × u1) costs."""
        order = {id(v): i for i, v in enumerate(program.variables)}
        found = np.empty((len(u0), len(u1)))
        point = np.zeros(len(program.variables))
        for i, a in enumerate(u0):
            for j, b in enumerate(u1):
                for var, value in ((self.tool, a), (self.action, b)):
                    if id(var) in order:
                        point[order[id(var)]] = value
                found[i, j] = program.problem.objective(point)
        return found

    def best(self, zooms: int) -> RandomTarget:
        """Every target of the grid, then a finer grid around the best one."""
        low, high = float(self.action.lb), float(self.action.ub)
        whole = np.linspace(low, high, self.points)
        own = self._levels(self.own, self.u0, whole)
        worst = own.max(axis=0)
        escape = int(worst.argmin())
        security, punishment = float(worst[escape]), float(self.u0[int(own[:, escape].argmax())])
        targets, best, plain = whole, (math.inf, math.nan, np.zeros(0)), (math.inf, math.nan, math.nan)
        for _ in range(zooms + 1):
            costs, owns = self._levels(self.leader, self.u0, targets), self._levels(self.own, self.u0, targets)
            for j, target in enumerate(targets):
                best = min(best, _mixture(costs[:, j], owns[:, j], security, float(target)), key=lambda found: found[0])
                allowed = owns[:, j] <= security + TOLERANCES.noise
                if allowed.any():
                    pick = np.flatnonzero(allowed)[costs[allowed, j].argmin()]
                    plain = min(plain, (float(costs[pick, j]), float(target), float(self.u0[pick])))
            step = (targets[-1] - targets[0]) / (len(targets) - 1)
            targets = np.linspace(max(low, best[1] - step), min(high, best[1] + step), 41)
        sign = self.game.leader.sign
        kept = np.flatnonzero(best[2] > TOLERANCES.snap)
        names = self.game.names
        return RandomTarget(
            target={names[id(self.action)]: best[1]},
            atoms=pd.DataFrame({names[id(self.tool)]: self.u0[kept], "probability": best[2][kept]}),
            punishment={names[id(self.tool)]: punishment},
            leader_objective=sign * best[0],
            deterministic=sign * plain[0],
            deterministic_plan={names[id(self.action)]: plain[1], names[id(self.tool)]: plain[2]},
            security=self.follower.sign * security,
        )


def _mixture(cost: Array, own: Array, security: float, target: float) -> tuple[float, float, Array]:
    """(leader's cost, target, π) of the linear program; infinite where no mixture keeps the follower on target."""
    if own.min() > security:
        return math.inf, target, np.zeros(len(cost))
    found = linprog(cost, A_ub=own[np.newaxis, :], b_ub=[security], A_eq=np.ones((1, len(cost))), b_eq=[1.0])
    return (
        (float(found.fun), target, np.asarray(found.x))
        if found.status == 0
        else (math.inf, target, np.zeros(len(cost)))
    )


@dataclass(eq=False)
class RandomGain:
    """The incentive with gain Q ± τ, each with probability ½."""

    incentive: Incentive = field(repr=False)
    """The gain's mean."""
    spread: float
    """The least τ under which the plan is a best response."""
    follower: str
    """Name of the follower it holds."""
    evidence: str
    """ "global" if a global solver's bound stands behind it, else "multistart"."""

    @property
    def gains(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Q − τ and Q + τ (on the entries that act on the follower)."""
        gain = self.incentive.gain
        return gain - self.spread, gain + self.spread


def randomized_gain(plan: Plan, *, follower: str | None = None, solver: str = "auto", most: float = 1e3) -> RandomGain:
    """The least mean-preserving spread τ of the gain that makes the plan a best response of one follower of one action.

    The leader's cost at the plan does not change: there the deviation is 0. Raises :class:`NoIncentive` where the gain
    serves without a coin, or where the follower's cost is not convex in the leader's variables (a spread then bends it
    down), :class:`InvalidGame` for a game of another shape.
    """
    require_positive("most", most)
    game = plan.attached()
    name = next(iter(game.followers)) if follower is None else follower
    if name not in game.followers:
        raise InvalidGame(f"follower={name}: not a follower of this game.")
    if len(game.followers[name].variables) != 1:
        raise InvalidGame(f"{name}: randomized_gain expects a follower of one action.")
    rule = affine_incentive(plan, curvature="none", solver=solver)
    with undisturbed(), tracked("spreading the gain"):
        return _Spread(game, rule, name, solver).least(most)


class _Spread:
    """The follower's expected cost ½ Σ± J(u0* + (Q ± τ) d, u1* + d)."""

    def __init__(self, game: Game, rule: Incentive, name: str, solver: str) -> None:
        self.game, self.rule, self.name, self.solver = game, rule, name, solver
        column = rule.signals.index(game.names[id(game.followers[name].variables[0])])
        own = rule.matrix.tocsc()[:, [column]].toarray().ravel()
        self.direction = np.zeros(rule.matrix.shape)
        self.direction[own != 0.0, column] = 1.0
        if not self.direction.any():
            raise NoIncentive(
                f"Randomising cannot help: {name}: no gain acts on it.", reasons={name: "no gain"}, residuals={}
            )

    def problem(self, spread: float) -> Composed:
        """The composed problem with the expected cost."""
        sides = []
        for way in (-1.0, 1.0):
            gain = sparse.csc_array(self.rule.matrix.toarray() + way * spread * self.direction)
            announced = self.rule.announcement.__class__(**{**self.rule.announcement.__dict__, "gain": gain})
            sides.append(next(iter(composed(self.game, announced, [self.name]))))
        first, second = sides
        table = {id(b): a for a, b in zip(first.variables, second.variables, strict=True)}
        other = ExpressionReplacementVisitor(substitute=table).walk_expression(second.cost)
        first.cost = (first.cost + other) / 2.0
        return first

    def holds(self, spread: float) -> bool:
        """Whether the search finds nothing that the follower gains by deviating."""
        problem = self.problem(spread)
        plan = problem.cost_at(problem.target)
        program = Program(problem.cost, problem.rows)
        for start in self._starts(problem):
            solution = solve(program.variant(np.array(start)), self.solver)
            if solution.x is None or not solution.termination.solved:
                continue
            if plan - float(program.problem.objective(solution.x)) > TOLERANCES.noise:
                return False
        return True

    def evidence(self, spread: float) -> str:
        """ "global" if a global solver's bound says the same, else "multistart"."""
        if not registry["scip"].available:
            return "multistart"
        problem = self.problem(spread)
        plan = problem.cost_at(problem.target)
        solution = solve(Program(problem.cost, problem.rows), "scip", time_limit=10.0)
        room = TOLERANCES.global_gap * max(1.0, abs(plan))
        return "global" if plan - solution.bound <= room else "multistart"

    def _starts(self, problem: Composed) -> list[list[float]]:
        target = problem.target[0]
        low, high = problem.variables[0].bounds
        reach = TOLERANCES.reach * max(1.0, abs(target)) / 5.0
        ends = (target - reach if low is None else low, target + reach if high is None else high)
        return [[float(x)] for x in np.linspace(*ends, 9)]

    def least(self, most: float) -> RandomGain:
        """Bisection: what a spread holds, a larger one does too."""
        if self.holds(0.0):
            why = f"the gain holds {self.name} without a coin"
            raise NoIncentive(f"Randomising is not needed: {why}.", reasons={self.name: why}, residuals={})
        high = 1.0
        while not self.holds(high):
            high *= 2.0
            if high > most:
                why = (
                    f"no spread up to {most:g} holds {self.name}: its cost is not convex enough in the leader's "
                    "variables for a spread to bend it up"
                )
                raise NoIncentive(f"Randomising cannot help: {why}.", reasons={self.name: why}, residuals={})
        low = 0.0
        while high - low > TOLERANCES.noise * high:
            middle = (low + high) / 2.0
            low, high = (low, middle) if self.holds(middle) else (middle, high)
        return RandomGain(self.rule, high, self.name, self.evidence(high))
