"""Randomisation: where a leader that flips a coin does better than one that does not, and a refusal where it cannot.

Target: the follower is promised a mixture π of the leader's actions for doing u1*, and punished otherwise,

    min_π Σ π J0(u0, u1*)   s.t.  Σ π J1(u0, u1*) ≤ v = min_{u1} max_{u0} J1,   Σ π = 1

a linear program with two rows: at most two atoms carry it, one that keeps the promise and one that breaks it. If J0 and
J1 are both convex in u0, the mean of π serves both better (Jensen), and nothing is offered. Off the target the leader
answers each action u1 by its worst, argmax_{u0} J1(u0, u1); one action for all of them may punish too little. Gain: the
gain is Q ± τ with probability ½ each; the first-order condition stays, and the follower's expected cost gains
τ² ∂²J/∂u0² of curvature, as far as the leader's bounds let it answer: beyond them it is stopped, as :func:`verify`
plays it.

Both need a follower who minimises an expected cost and does not see the coin before it acts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from scipy import sparse
from scipy.optimize import minimize_scalar

from stackpyomo.core import TOLERANCES, Array, json_number, require_positive, require_whole, tracked, undisturbed
from stackpyomo.core.expressions import Substitution, curvature, terms
from stackpyomo.errors import InvalidGame, NoIncentive, RefusalCause
from stackpyomo.games import Game, require
from stackpyomo.incentives import Incentive, affine_incentive
from stackpyomo.plans import Plan
from stackpyomo.solvers import Program, free_row, solve
from stackpyomo.verification import Composed, Effort, Samples, best_responses, composed, measure

_FINER = 41  # Points of a finer grid.
_POLISHED = 5  # Points of the grids that the best plan without a coin is looked for from.
_PEAKS = 8  # Best deviations among those evaluated that are looked at more closely.
_FAR = 1e9  # How many sizes away a deviation is watched where the cost falls without end.

_ROUNDS = 50

_SCANNED = 2001  # Deviations that the expected cost under a random gain is evaluated at.


@dataclass(eq=False)
class RandomTarget:
    """A mixture of leader actions for a target of the follower, and the punishment off the target."""

    target: dict[str, float]  #: The follower's action that is rewarded.
    atoms: pd.DataFrame  #: One row per atom: the leader's variables and ``probability``.
    punishment: dict[str, float]  #: The one action that punishes hardest wherever the follower is not on target.
    #: False where that is not enough: then every action off target needs its own answer, see ``threats``.
    punishes: bool
    #: One row per action of the follower's grid: the leader's worst answer to it, and what is left to the follower.
    threats: pd.DataFrame
    leader_objective: float  #: E J0 of the mixture on target, in the leader's sense.
    deterministic: float  #: The best that was found for strategies without a coin.
    deterministic_plan: dict[str, float] = field(repr=False)  #: The point at which it is reached.
    security: float = math.nan  #: v, what the follower can secure for itself, in its own sense.

    def __str__(self) -> str:
        target = ", ".join(f"{name} = {value:.6g}" for name, value in self.target.items())
        off = ", ".join(f"{name} = {value:.6g}" for name, value in self.punishment.items())
        off = off if self.punishes else "to each action what is worst for it (.threats); no single answer is enough"
        return (
            f"on target ({target}) the leader draws\n{self.atoms.to_string(index=False)}\nand gets "
            f"{self.leader_objective:.6g} on average; without randomising {self.deterministic:.6g}. Off target: {off}."
        )

    def to_dict(self) -> dict[str, Any]:
        """The mixture as JSON-ready Python objects."""
        return {
            "target": self.target,
            "atoms": self.atoms.to_dict("records"),
            "punishment": self.punishment,
            "punishes": self.punishes,
            "threats": self.threats.to_dict("records"),
            "leader_objective": json_number(self.leader_objective),
            "deterministic": json_number(self.deterministic),
            "security": json_number(self.security),
        }


def randomized_target(
    game: Game, *, leader_points: int = 401, follower_points: int = 301, zooms: int = 8
) -> RandomTarget:
    """The leader's best mixture of actions for a target of the follower, over grids that are narrowed around it.

    The best point without a lottery is polished, for comparison.

    Parameters
    ----------
    game : Game
        One leader variable and one follower of one action, both with bounds.
    leader_points, follower_points : int, default 401 and 301
        Points of the two grids.
    zooms : int, default 8
        How often the grids are narrowed.

    Returns
    -------
    RandomTarget
        Mixture, target and punishment.

    Raises
    ------
    InvalidGame
        The game has another shape.
    NoIncentive
        Both costs are convex in the leader's variable: mixing cannot help.
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
        self.instrument, self.action = free[0], self.follower.variables[0]
        for var in (self.instrument, self.action):
            if var.lb is None or var.ub is None:
                raise InvalidGame(f"{var.name}: randomized_target needs its bounds, to lay a grid on it.")
        if self.follower.constraints or game.leader.constraints:
            raise InvalidGame("randomized_target: constraints are not supported; write them as bounds.")
        self._refuse_jensen()
        self.leader, self.own = (Program(cost) for cost in self._costs())
        self.u0 = np.linspace(self.instrument.lb, self.instrument.ub, leader_points)
        self.points = follower_points

    def _costs(self) -> list[Any]:
        """Leader's and follower's, minimised."""
        players = (self.game.leader, self.follower)
        return [p.cost for p in players if p.objective is not None]

    def _refuse_jensen(self) -> None:
        """Both costs convex in u0: the mean of any mixture costs either less."""
        proofs = [curvature(cost, [self.instrument]) for cost in self._costs()]
        if all(proof.curvature.is_convex for proof in proofs):
            why = (
                f"both costs are convex in {self.instrument.name}, so that announcing the mean of a mixture serves "
                "leader and follower at least as well as drawing from it"
            )
            raise _refusal("Randomising cannot help", self.follower.name, why)

    def _levels(self, program: Program, u0: Array, u1: Array) -> Array:
        """(u0 × u1) costs."""
        order = {id(v): i for i, v in enumerate(program.variables)}
        costs = np.empty((len(u0), len(u1)))
        point = np.zeros(len(program.variables))
        for i, a in enumerate(u0):
            for j, b in enumerate(u1):
                for var, value in ((self.instrument, a), (self.action, b)):
                    if id(var) in order:
                        point[order[id(var)]] = value
                costs[i, j] = program.problem.objective(point)
        return costs

    def best(self, zooms: int) -> RandomTarget:
        """The best mixture and the best point, each from the whole grid and then from finer ones around itself."""
        low, high = float(self.action.lb), float(self.action.ub)
        whole = np.linspace(low, high, self.points)
        own = self._levels(self.own, self.u0, whole)
        promise = self._security(own, whole, zooms)
        promise += TOLERANCES.noise * float(own.max() - own.min())
        u0, targets = self.u0, whole
        best, picks = _Mixture(math.inf), []
        units = [float(np.ptp(level)) or 1.0 for level in (self._levels(self.leader, u0, targets), own)]
        for _ in range(zooms + 1):
            costs, owns = self._levels(self.leader, u0, targets), self._levels(self.own, u0, targets)
            mixtures = [_mixture(u0, costs[:, j], owns[:, j], promise, float(t)) for j, t in enumerate(targets)]
            best = min([best, *mixtures], key=lambda mixture: mixture.cost)
            picks += [_plain(u0, costs[:, j], owns[:, j], promise, float(t)) for j, t in enumerate(targets)]
            if not math.isfinite(best.cost):
                break
            targets = _around(best.target, targets, low, high)
            u0 = np.union1d(self.u0, np.concatenate([_around(a, self.u0, *self.instrument.bounds) for a in best.atoms]))
        cost, point = self._without_coin(picks, promise, units)
        if not math.isfinite(cost):
            raise InvalidGame("randomized_target: no action on these grids leaves the follower what it can secure.")
        if cost <= best.cost:
            best = _Mixture(cost, point[1], (point[0],), (1.0,))
        return self._told(best, cost, point, promise, own, whole)

    def _security(self, own: Array, whole: Array, zooms: int) -> float:
        """min_{u1} max_{u0} J1, the follower's grid made finer around its best action: a lower one is no promise."""
        worst, points = own.max(axis=0), whole
        least = float(worst.min())
        for _ in range(zooms):
            points = _around(float(points[worst.argmin()]), points, float(self.action.lb), float(self.action.ub))
            worst = self._levels(self.own, self.u0, points).max(axis=0)
            least = min(least, float(worst.min()))
        return least

    def _without_coin(
        self, picks: Sequence[tuple[float, float, float]], promise: float, units: Sequence[float]
    ) -> tuple[float, Array]:
        """(cost, (u0, u1)) of the best point that keeps the promise: the best of the grids, polished in units of 1."""
        cost0, cost1 = (cost / unit for cost, unit in zip(self._costs(), units, strict=True))
        program = Program(cost0, [free_row(cost1, None, promise / units[1])])
        order = [id(v) for v in program.variables]
        picks = sorted(picks)[:: max(1, len(picks) // 200)][:_POLISHED] + sorted(picks)[:_POLISHED]
        best, point = min(picks)[0], np.array(min(picks)[1:])
        for cost, a, b in picks:
            if not math.isfinite(cost) or len(order) < 2:
                continue
            start = np.array([a if key == id(self.instrument) else b for key in order])
            x = solve(program.variant(start)).x
            if x is None:
                continue
            level_of = dict(zip(order, x, strict=True))
            low, high = np.array([self.instrument.bounds, self.action.bounds]).T
            other = np.clip([level_of[id(self.instrument)], level_of[id(self.action)]], low, high)
            levels = [self._levels(p, other[:1], other[1:])[0, 0] for p in (self.leader, self.own)]
            if levels[1] <= promise and levels[0] < best:
                best, point = float(levels[0]), other
        return best, point

    def _told(
        self, best: _Mixture, plain: float, point: Array, promise: float, own: Array, whole: Array
    ) -> RandomTarget:
        sign, names = self.game.leader.sign, self.game.names
        instrument, action = names[id(self.instrument)], names[id(self.action)]
        answers = self.u0[own.argmax(axis=0)]
        threats = pd.DataFrame({action: whole, instrument: answers, "objective": self.follower.sign * own.max(axis=0)})
        hardest = int(own.min(axis=1).argmax())
        enough = own[hardest].min() >= promise - TOLERANCES.settled * float(own.max() - own.min())
        order = np.argsort(best.atoms)
        return RandomTarget(
            target={action: float(best.target)},
            atoms=pd.DataFrame({instrument: np.array(best.atoms)[order], "probability": np.array(best.weights)[order]}),
            punishment={instrument: float(self.u0[hardest])},
            punishes=bool(enough),
            threats=threats,
            leader_objective=sign * best.cost,
            deterministic=sign * plain,
            deterministic_plan={action: float(point[1]), instrument: float(point[0])},
            security=self.follower.sign * promise,
        )


@dataclass(frozen=True)
class _Mixture:
    """The leader's expected cost, the follower's action, and the leader's actions with their probabilities."""

    cost: float
    target: float = math.nan
    atoms: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()


def _around(center: float, points: Array, low: float, high: float) -> Array:
    """A finer grid within a step of the center."""
    step = (points[-1] - points[0]) / (len(points) - 1)
    return np.linspace(max(low, center - step), min(high, center + step), _FINER)


def _plain(u0: Array, cost: Array, own: Array, promise: float, target: float) -> tuple[float, float, float]:
    """(leader's cost, u0, target) of the best action that keeps the promise; infinite where none does."""
    keeping = np.where(own <= promise, cost, math.inf)
    return float(keeping.min()), float(u0[keeping.argmin()]), target


def _mixture(u0: Array, cost: Array, own: Array, promise: float, target: float) -> _Mixture:
    """The linear program's answer: one action that keeps the promise, or it and one that breaks it, in proportion."""
    plain, best, _ = _plain(u0, cost, own, promise, target)
    if math.isinf(plain):
        return _Mixture(math.inf, target)
    keeping, breaking = np.flatnonzero(own <= promise), np.flatnonzero((own > promise) & (cost < plain))
    if not len(breaking):
        return _Mixture(plain, target, (best,), (1.0,))
    weight = (promise - own[keeping])[:, np.newaxis] / (own[breaking][np.newaxis, :] - own[keeping][:, np.newaxis])
    mixed = cost[keeping][:, np.newaxis] * (1.0 - weight) + cost[breaking][np.newaxis, :] * weight
    i, j = np.unravel_index(int(mixed.argmin()), mixed.shape)
    share = float(weight[i, j])
    if mixed[i, j] >= plain or not share > 0.0:
        return _Mixture(plain, target, (best,), (1.0,))
    atoms = (float(u0[keeping[i]]), float(u0[breaking[j]]))
    return _Mixture(float(mixed[i, j]), target, atoms, (1.0 - share, share))


@dataclass(eq=False)
class RandomGain:
    """The incentive with gain Q ± τ, each with probability ½."""

    incentive: Incentive = field(repr=False)  #: The gain's mean.
    #: The least τ under which the plan is a best response, where the cost is convex in the leader's variables.
    spread: float
    follower: str  #: Name of the follower it holds.
    evidence: str  #: "convex" or "global": proved to hold the follower; "multistart": as far as the search went.

    @property
    def gains(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Q − τ and Q + τ (on the entries that act on the follower)."""
        gain = self.incentive.gain
        return gain - self.spread, gain + self.spread


def randomized_gain(plan: Plan, *, follower: str | None = None, solver: str = "auto", most: float = 1e3) -> RandomGain:
    """The gain with the least mean-preserving spread τ that makes the plan a best response of one follower.

    The leader's cost at the plan does not change: there the deviation is 0.

    Parameters
    ----------
    plan : Plan
        What is to be held.
    follower : str, optional
        Who has one action, by default the only follower.
    solver : str, default "auto"
        As for :func:`leader_optimal`.
    most : float, default 1000
        The largest spread that is tried, in the gain's unit.

    Returns
    -------
    RandomGain
        The incentive and its spread.

    Raises
    ------
    NoIncentive
        The gain serves without a lottery, or the follower's cost is not convex in the leader's variables: a spread then
        makes it more concave.
    InvalidGame
        The game has another shape.
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
            raise _refusal("Randomising cannot help", name, f"no gain acts on {name}")

    def _sides(self, spread: float) -> tuple[Composed, Composed]:
        """The composed problems of the two outcomes, in the same variables."""
        sides: list[Composed] = []
        for way in (-1.0, 1.0):
            gain = sparse.csc_array(self.rule.matrix.toarray() + way * spread * self.direction)
            announced = replace(self.rule.announcement, gain=gain, saturate=True)
            sides += composed(self.game, announced, [self.name], whole=True)
        measure(sides, TOLERANCES.stationarity)
        first, second = sides
        table = {id(b): a for a, b in zip(first.variables, second.variables, strict=True)}
        visitor = Substitution(substitute=table)
        second.cost = visitor.walk_expression(second.cost)
        second.rows = [free_row(visitor.walk_expression(r.body), r.lb, r.ub) for r in second.rows]
        second.variables = first.variables
        return first, second

    def problem(self, spread: float) -> Composed:
        """The composed problem with the expected cost; the rows hold whichever way the coin falls."""
        first, second = self._sides(spread)
        first.cost = (first.cost + second.cost) / 2.0
        first.rows = [*first.rows, *(second.rows if spread else ())]
        first.row_scales = [*first.row_scales, *(second.row_scales if spread else ())]
        first.plan_cost = first.cost_at(first.target)
        return first

    def paying(self, spread: float) -> list[float]:
        """Actions by which the follower gains, the best of those evaluated looked at closely; empty without any."""
        sides = self._sides(spread)

        def cost(action: float) -> float:
            return sum(side.cost_at([action]) for side in sides)

        samples = [Samples(side) for side in sides]
        points = self._points(samples[0])
        levels = np.array([side.costs(points[:, np.newaxis]) for side in samples])
        gains = sum(side.cost_at(side.target) for side in sides) - levels.sum(axis=0)
        plan = sum(_size(side, side.target) for side in sides)
        pays = np.flatnonzero(gains > TOLERANCES.rounding * (plan + np.abs(levels).sum(axis=0)))
        around = np.abs(points - samples[0].plan[0])
        points_that_pay = [float(points[place]) for place in pays[np.argsort(around[pays])][:1]]
        peaks = 1 + np.flatnonzero((gains[1:-1] >= gains[:-2]) & (gains[1:-1] >= gains[2:]))
        for place in sorted(peaks, key=lambda place: -gains[place])[:_PEAKS]:
            near = points[place - 1 : place + 2 : 2].tolist()
            fine = {"xatol": TOLERANCES.noise * (near[1] - near[0])}
            points_that_pay.append(float(minimize_scalar(cost, bounds=near, method="bounded", options=fine).x))
        points_that_pay += points[pays[np.argsort(-gains[pays])]][:1].tolist()
        if Samples(self.problem(spread)).falls_without_end():
            points_that_pay += (samples[0].plan[0] + np.array([-_FAR, _FAR]) * samples[0].size[0]).tolist()
        return [x for x in points_that_pay if self._pays(sides, x)]

    def _pays(self, sides: Sequence[Composed], action: float) -> bool:
        """Whether the follower gains by an action within its bounds, beyond what rounding explains."""
        low, high = sides[0].variables[0].bounds
        if not (-math.inf if low is None else low) <= action <= (math.inf if high is None else high):
            return False
        gain = sum(side.cost_at(side.target) - side.cost_at([action]) for side in sides)
        return gain > TOLERANCES.rounding * sum(_size(side, x) for side in sides for x in (side.target, [action]))

    def _points(self, samples: Samples) -> Array:
        """Actions over all that is allowed, evenly and by decades around the plan."""
        target, floor, ceiling = samples.plan[0], samples.floor[0], samples.ceiling[0]
        even = np.linspace(floor, ceiling, _SCANNED)
        steps = np.logspace(-6, 0, _SCANNED // 4)
        return np.unique(np.concatenate([even, target + steps * (ceiling - target), target - steps * (target - floor)]))

    def _enough(self, actions: Sequence[float], spread: float, most: float) -> float:
        """The least spread, by bisection, under which none of these actions pays."""

        def holds(spread: float) -> bool:
            sides = self._sides(spread)
            return not any(self._pays(sides, action) for action in actions)

        low, high = spread, 2.0 * spread or 1.0
        while not holds(high):
            low, high = high, 2.0 * high
            if low > most:
                why = (
                    f"no spread up to {most:g} holds {self.name}: its cost is not convex enough in the leader's "
                    "variables, within their bounds, for a spread to make it convex"
                )
                raise _refusal("Randomising cannot help", self.name, why)
        while high - low > TOLERANCES.noise * high:
            middle = (low + high) / 2.0
            low, high = (low, middle) if holds(middle) else (middle, high)
        return high

    def confirmed(self, spread: float) -> Composed:
        """The expected problem re-solved as :func:`verify` does it, with its evidence."""
        return best_responses([self.problem(spread)], Effort(self.solver), {})[0]

    def least(self, most: float) -> RandomGain:
        """The least spread under which no action known to pay does so any more; then a look whether others do."""
        spread, watched = 0.0, self.paying(0.0)
        if not watched:
            self._refuse_without_coin()
        for _ in range(_ROUNDS):
            spread = self._enough(watched, spread, most)
            more = self.paying(spread)
            watched += more
            if not more:
                break
        for more_room in (0.0, TOLERANCES.noise, TOLERANCES.feasibility):  # at the least spread a proof has none
            problem = self.confirmed(spread * (1.0 + more_room))
            if _is_held(problem):
                return RandomGain(self.rule, spread * (1.0 + more_room), self.name, problem.certificate)
        raise self._unsettled(problem)

    def _refuse_without_coin(self) -> None:
        problem = self.confirmed(0.0)
        if not _is_held(problem):
            raise self._unsettled(problem)
        why = f"the gain holds {self.name} without randomising ({problem.certificate})"
        raise _refusal("Randomising is not needed", self.name, why)

    def _unsettled(self, problem: Composed) -> NoIncentive:
        gain = problem.plan_cost - problem.best_cost
        why = f"not settled whether the gain holds {self.name}: {problem.note or f'it may gain {gain:.3g} by leaving'}"
        return _refusal("Randomising", self.name, why)


def _refusal(what: str, name: str, why: str) -> NoIncentive:
    return NoIncentive(f"{what}: {why}.", reasons={name: why}, residuals={}, causes={name: RefusalCause.RANDOMISATION})


def _size(side: Composed, actions: Sequence[float]) -> float:
    """What its cost is made of: the sum of the sizes of its terms."""
    if not math.isfinite(side.cost_at(actions)):  # which gives the variables their values
        return math.inf
    return math.fsum(abs(factor * pyo.value(term)) for factor, term in terms(side.cost))


def _is_held(problem: Composed) -> bool:
    """Evidence that nothing is gained by leaving, as a report would say it."""
    gained = problem.plan_cost - problem.best_cost
    return problem.certificate != "unknown" and gained <= Effort().tolerance * problem.scale
