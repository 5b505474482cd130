"""Simulation: a mean-field plan and its incentive played by N real followers.

Each draw takes N followers at random from the populations (its types), gives each its part of the plan, and asks: what
the aggregates come to and the leader answers to them, what any of them could gain by leaving (regret), what the leader
gets. Followers of one type do the same, so that a draw costs as much for a million as for ten. With ``settle`` they
also play on to the equilibrium of the N-follower game under the announced strategy.

A frozen plan may look better for the leader than the optimum of the N-follower game, because its followers are not at
an equilibrium: the difference is no optimality gap, and is not called one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from pyomo.common.modeling import unique_component_name
from scipy import sparse
from scipy.stats import t as student

from .checks import require, require_positive, require_whole, variables_in
from .composition import oversteps
from .errors import InvalidGame, NoPlan
from .evaluation import evaluator
from .games import Game
from .plan import Plan
from .plans import nash, stackelberg
from .populations import rewritten, twin_of
from .programs import undisturbed
from .progress import tracked
from .results import Announcement, Array
from .signals import shares
from .solvers import choose
from .structure import Follower, Population
from .tolerances import TOLERANCES
from .values import Substitution, number_of
from .verification import Effort, resolved

__all__ = ["anticipated_regret", "settled", "simulate"]


def simulate(
    subject: Any,
    sizes: Sequence[int],
    *,
    draws: int = 1,
    seed: int = 0,
    types: Mapping[str, float] | None = None,
    settle: bool = False,
    games: Callable[[int], Game] | None = None,
    confidence: float = 0.95,
    solver: str = "auto",
) -> pd.DataFrame:
    """One row per size: means over the draws of ``regret`` (largest and average) and ``leader_objective``.

    subject: a Plan or an Incentive. types: population → probability of a follower being one of it (None: their weights
    in the aggregates; one population needs none). Columns ``…_se`` are standard errors of the means, ``…_low`` and
    ``…_high`` their confidence intervals by Student's t (NaN for one draw); ``settled_…`` with settle=True what the
    N-follower game's equilibrium under the announced strategy gives.

    games: size → the game of that many, with the same names, for a model that holds the number of its followers. Noise
    of each member that was averaged away by hand is such a case: its terms in 1/N are 0 in the model of infinitely
    many, and nothing else can tell that they belong there. Without games, the model is taken to hold for every size.

    ``attrs["rates"]``: fitted exponents in N, of the
    leader's columns those of their distance to the plan's value (no optimality gap: see above); ``attrs["draws"]``:
    every draw. Raises :class:`InvalidGame`.
    """
    if not hasattr(subject, "announcement"):
        raise InvalidGame(f"simulate({type(subject).__name__}): expected a Plan or an Incentive.")
    require_whole("draws", draws)
    if not isinstance(sizes, Sequence) or not sizes:
        raise InvalidGame(f"sizes={sizes!r}: expected a list of at least one size.")
    for size in sizes:
        require_whole("sizes", size)
    require_positive("confidence", confidence)
    if not confidence < 1:
        raise InvalidGame(f"confidence={confidence!r}: expected a probability below 1.")
    if games is not None and settle:
        raise InvalidGame("simulate: settle=True plays the subject's own model on; it does not go with games=.")
    choose(solver)
    game: Game = subject.attached()
    with undisturbed():
        require(game)
        crowd = _Crowd(game, subject.announcement, types, games)
        random = np.random.default_rng(seed)
        rows = []
        with tracked("simulating", len(sizes) * draws) as step:
            for size, draw in product(sizes, range(draws)):
                rows.append(crowd.row(int(size), draw, random, solver))
                step()
    if settle:
        with tracked("settling", len(rows)) as step:
            for row in rows:
                row.update(_settled_cells(subject, crowd, int(row["size"]), solver))
                step()
    return _summary(pd.DataFrame(rows), confidence, float(subject.announcement.leader_objective))


@dataclass
class _Crowd:
    """The populations that followers are drawn from."""

    game: Game
    announced: Announcement
    types: Mapping[str, float] | None
    games: Callable[[int], Game] | None = None

    def __post_init__(self) -> None:
        names = [n for n, f in self.game.followers.items() if f.size > 1]
        self.names = names or list(self.game.followers)
        responses = self.game.responses()
        self.aggregates = [self.game.names[id(v)] for v in responses.variables]
        self.sums, self.leads = responses.shares, responses.leads
        self.drivers = [self.game.names[id(v)] for v in responses.drivers]
        self.seen = shares(self.game, self.announced.signals).sums
        self.weights = self._weights()

    def _weights(self) -> Array:
        if len(self.names) == 1:
            return np.ones(1)
        if self.types is None:
            owners = np.array([list(self.game.followers).index(n) for n in self.names])
            total = np.array([abs(self.sums[:, self.game.action_owners == k]).sum() for k in owners])
            if not total.all():
                raise InvalidGame(
                    "simulate: several populations; say with types= how likely a follower is one of each."
                )
            return np.asarray(total / total.sum())
        unknown = [n for n in self.types if n not in self.names]
        given = np.array([float(self.types.get(n, 0.0)) for n in self.names])
        if unknown or (given <= 0.0).any() or abs(given.sum() - 1.0) > TOLERANCES.noise:
            raise InvalidGame(
                f"types={dict(self.types)!r}: expected a probability above 0 for each of {', '.join(self.names)}, "
                "together 1."
            )
        return given

    def row(self, size: int, draw: int, random: np.random.Generator, solver: str) -> dict[str, float]:
        """One draw of ``size`` followers."""
        counts = random.multinomial(size, self.weights)
        values, gain = self._drawn(counts / size)
        sized = self._of(size)
        announced = replace(self.announced, values=values, gain=gain)
        report = resolved(sized, announced, set(self.names), Effort(solver))
        regret = report.regret[self.names].to_numpy()
        return {
            "size": size,
            "draw": draw,
            "regret": float(np.max(regret[counts > 0])),
            "mean_regret": float(regret[counts > 0] @ counts[counts > 0] / size),
            "leader_objective": self._leader(sized, values),
        }

    def _of(self, size: int) -> Game:
        """The game of so many followers."""
        expected = {n: max(1, round(size * w)) for n, w in zip(self.names, self.weights, strict=True)}
        game = self.game if self.games is None else self.games(size)
        if game.variables_by_name.keys() != self.game.variables_by_name.keys():
            raise InvalidGame(f"games({size}): expected a game whose variables have the names of the subject's.")
        require(game)
        return game.with_sizes(expected)

    def _drawn(self, counted: Array) -> tuple[dict[str, float], Any]:
        """(the plan's values as the drawn followers make them, the strategy's slope there).

        Aggregates are theirs, and the leader answers what he sees of them, before a projection. Of his own action each
        follower shows what the plan asks of him.
        """
        values = dict(self.announced.values)
        names = [self.game.names[id(v)] for v in self.game.actions]
        owners = list(self.game.followers)
        factor = {n: s / w for n, s, w in zip(self.names, counted, self.weights, strict=True)}
        excess = np.array(
            [
                values[name] * (factor.get(owners[k], 1.0) - 1.0)
                for name, k in zip(names, self.game.action_owners, strict=True)
            ]
        )
        for name, step in zip(self.aggregates, self.sums @ excess, strict=True):
            values[name] += float(step)
        gain, bend = self.announced.gain, self.announced.bend
        if gain is None:
            return values, None
        together = np.array([not s.own for s in self.announced.signals], dtype=bool)
        seen = np.zeros(len(together))
        seen[together] = self.seen[together] @ excess
        answer = gain @ seen if bend is None else gain @ seen + bend @ seen**2 / 2.0
        for name, step in zip(self.announced.leader, answer, strict=True):
            values[name] += float(step)
        self._carry(values, self.announced.values)
        return values, gain if bend is None else sparse.csc_array(gain + bend @ sparse.diags_array(seen))

    def _carry(self, values: dict[str, float], before: Mapping[str, float]) -> None:
        """Move the aggregates by what the leader's variables in them have moved."""
        steps = np.array([values[n] - before[n] for n in self.drivers])
        for name, step in zip(self.aggregates, self.leads @ steps, strict=True):
            values[name] += float(step)

    def _leader(self, game: Game, values: Mapping[str, float]) -> float:
        objective = game.leader.objective
        if objective is None:
            return math.nan
        if self.announced.saturate:
            cut = dict(values)
            for name in self.announced.leader:
                low, high = self.game.variables_by_name[name].bounds
                floor = values[name] if low is None else max(values[name], low)
                cut[name] = floor if high is None else min(floor, high)
            self._carry(cut, values)
            values = cut
        return evaluator(game, values)(objective.expr)


def _settled_cells(subject: Any, crowd: _Crowd, size: int, solver: str) -> dict[str, float]:
    sizes = {n: max(1, round(size * w)) for n, w in zip(crowd.names, crowd.weights, strict=True)}
    plan = settled(subject, sizes=sizes, solver=solver)
    far = max(abs(plan.values[n] - subject.announcement.values[n]) for n in crowd.announced.values)
    return {"settled_leader_objective": plan.leader_objective, "settled_distance": far}


def settled(subject: Any, *, sizes: Mapping[str, float] | None = None, solver: str = "auto") -> Plan:
    """The followers' equilibrium under the announced strategy, in a game of other sizes (None: as they are).

    The strategy is written into a new model, so that a deviation moves the leader; the leader's variables in the plan
    are what it answers there. Raises :class:`InvalidGame` where a
    gain acts on each member's own action of a population larger than 1 (one expression cannot say that), and where a
    projection of the strategy (saturate=True) can come into play.
    """
    twin, _ = _written_in(subject, sizes or {})
    values = subject.announcement.values
    leader = [(v, values[n]) for n, v in twin.variables_by_name.items() if id(v) not in twin.owners and not v.fixed]
    aggregated = {id(v) for v in twin.aggregate_variables()}
    plan = nash(twin, leader=[(v, x) for v, x in leader if id(v) not in aggregated], solver=solver)
    evaluate = evaluator(twin, plan.values)
    faced = {twin.names[key]: evaluate(answer) for key, answer in _answers(twin, subject.announcement, "")}
    return replace(plan, values={**plan.values, **faced})


def anticipated_regret(
    subject: Any, follower: str, *, solver: str = "auto", time_limit: float | None = None
) -> pd.Series:
    """What a follower gains by deviating if the plan's responding followers settle anew after it (minors="respond").

    Its problem is a Stackelberg game with itself as the leader: J(plan) − J(stackelberg). ``regret``, ``objective`` (at
    the plan), ``best``, ``certificate`` ("global" where that plan is proved optimal, else "multistart"; "unknown" with
    a regret of NaN and a ``note`` where none was found, as where its problem is unbounded). The leader's own
    constraints do not bind it. Raises :class:`InvalidGame` where a projection of the strategy can come into play.
    """
    plan = subject.plan if hasattr(subject, "plan") else subject
    if not plan.responding or follower in plan.responding or follower not in subject.attached().followers:
        raise InvalidGame(
            f"follower={follower}: expected one that does not respond in the plan, which lets others do so."
        )
    twin, model = _written_in(subject, {}, alone=follower)
    deviator = twin.followers[follower]
    if deviator.size > 1:
        driven = bool(subject.attached().responses().drivers)
        _require_unseen(twin, deviator, plan.responding, subject.announcement, driven=driven)
    assert deviator.objective is not None
    at_plan = number_of(deviator.objective.expr)
    aggregates = _let_go(twin, model, deviator, plan.responding, subject.announcement.values)
    minors = [Population(twin.followers[n].block, twin.followers[n].size) for n in plan.responding]
    told: dict[str, Any] = {"regret": math.nan, "objective": at_plan, "best": math.nan, "certificate": "unknown"}
    try:
        best = stackelberg(Game(model, minors, aggregates=aggregates), solver=solver, time_limit=time_limit)
    except NoPlan as why:
        return pd.Series({**told, "note": f"no best deviation was found: {why.termination}"}, name=follower)
    gain = max(0.0, deviator.sign * (at_plan - best.leader_objective))
    kind = "global" if best.quality == "optimal" else "multistart"
    told.update(regret=gain, best=best.leader_objective, certificate=kind, note="")
    return pd.Series(told, name=follower)


def _require_unseen(
    twin: Game, deviator: Follower, minors: Sequence[str], announced: Announcement, *, driven: bool
) -> None:
    """One member of a population moves its aggregates by its share; a Var of the block itself stands for them all.

    driven: an aggregate holds the leader's variables, so that an answer to its own action moves it without that share.
    """
    own = {twin.names[id(v)] for v in deviator.variables}
    seen = [s.name for s in announced.signals if (driven or not s.own) and own.intersection(s.terms)]
    parts = [c for n in minors for c in (*twin.followers[n].active_objectives, *twin.followers[n].constraints)]
    seen += [c.name for c in parts if any(twin.names.get(id(v)) in own for v in variables_in(c.expr))]
    if seen:
        raise InvalidGame(
            f"follower={deviator.name}: a population of {deviator.size:g} whose actions {seen[0]} holds for all "
            "members at once; expand() the game, or write an aggregate."
        )


def _let_go(
    twin: Game, model: Any, deviator: Follower, minors: Sequence[str], values: Mapping[str, float]
) -> list[Any]:
    """Leave a problem of the deviator and the minors; the aggregates of what these move, the rest being fixed.

    z = z* + what one member of the deviator moves + what the minors move: the last is an aggregate of the new game, in
    which the deviator leads and no aggregate may hold his action. What binds the leader of the game binds nobody here.
    """
    responses, actions, owners = twin.responses(), twin.actions, twin.action_owners
    followers = list(twin.followers)
    mine = owners == followers.index(deviator.name)
    theirs = np.isin(owners, [followers.index(n) for n in minors])
    gone = [twin.leader, *(f for n, f in twin.followers.items() if n not in minors and n != deviator.name)]
    for part in [c for player in gone for c in (*player.active_objectives, *player.constraints)]:
        part.deactivate()
    model.add_component(unique_component_name(model, "settling"), holder := pyo.Block())
    holder.moved, holder.rows = pyo.VarList(), pyo.ConstraintList()
    table: dict[int, Any] = {}
    for row, var in enumerate(responses.variables):
        table[id(var)] = values[twin.names[id(var)]] + _steps(twin, responses.moves, row, mine, values)
        if responses.shares[[row]].toarray().ravel()[theirs].any():
            moved = holder.moved.add()
            moved.set_value(0.0)
            holder.rows.add(moved == _steps(twin, responses.shares, row, theirs, values))
            table[id(var)] += moved
    visitor = Substitution(substitute=table, descend_into_named_expressions=True)
    for player in (deviator, *(twin.followers[n] for n in minors)):
        for component in (*player.active_objectives, *player.constraints):
            rewritten(component, visitor)
    free = {id(v) for v, moves in zip(actions, mine | theirs, strict=True) if moves}
    for name, var in twin.variables_by_name.items():
        if id(var) not in free and not var.fixed:
            var.fix(values[name], skip_validation=True)
    return list(holder.rows.values())


def _steps(game: Game, matrix: Any, row: int, wanted: Array, values: Mapping[str, float]) -> Any:
    """Σ rate · (action − its plan) over the wanted actions."""
    rates = matrix[[row]].toarray().ravel()
    return pyo.quicksum(
        float(rates[j]) * (game.actions[j] - values[game.names[id(game.actions[j])]])
        for j in np.flatnonzero(wanted & (rates != 0.0))
    )


def _written_in(subject: Any, sizes: Mapping[str, float], alone: str = "") -> tuple[Game, Any]:
    """(the game in a new model with the strategy in place of the leader's variables, that model).

    alone: the one follower of whom a single member deviates.
    """
    game: Game = subject.attached()
    announced: Announcement = subject.announcement
    model = game.model.clone()
    twin = twin_of(game, model, sizes)
    answers = dict(_answers(twin, announced, alone))
    visitor = Substitution(substitute=answers, descend_into_named_expressions=True)
    for component in _components(twin):
        rewritten(component, visitor)
    for name, var in twin.variables_by_name.items():
        if not var.fixed:
            var.set_value(announced.values[name], skip_validation=True)
    return twin, model


def _answers(game: Game, announced: Announcement, alone: str) -> Iterator[tuple[int, Any]]:
    """id(leader Var) → offset + K d + ½ R d² as an expression, d = signal − target."""
    if announced.gain is None:
        return
    for row, name in enumerate(announced.leader):
        steps: list[Any] = []
        for matrix, power in ((announced.gain, 1), (announced.bend, 2)):
            if matrix is not None:
                entries = matrix.tocsr()[[row]].tocoo()
                steps += [
                    float(weight) / power * _seen(game, announced, int(column), alone) ** power
                    for column, weight in zip(entries.col, entries.data, strict=True)
                    if weight != 0.0
                ]
        if steps:
            answer = announced.values[name] + pyo.quicksum(steps)
            if announced.saturate:
                _require_within(game.variables_by_name[name], answer)
            yield id(game.variables_by_name[name]), answer


def _seen(game: Game, announced: Announcement, column: int, alone: str) -> Any:
    """signal − target as an expression."""
    signal = announced.signals[column]
    owner = game.followers.get(game.owners.get(id(game.variables_by_name[signal.name]), "")) if signal.own else None
    if owner is not None and owner.size > 1 and owner.name != alone:
        raise InvalidGame(
            f"{signal.name}: the strategy answers every member's own action; expand() the game to settle it."
        )
    seen = signal.constant + sum(w * game.variables_by_name[n] for n, w in signal.terms.items())
    return seen - signal.value(announced.values)


def _require_within(var: Any, answer: Any) -> None:
    """An equilibrium under a projection is not solved for; where none can come into play there is none."""
    if any(oversteps(answer, var)):
        raise InvalidGame(
            f"{var.name}: the strategy may leave its bounds and is projected on them (saturate=True), for which no "
            "equilibrium of the followers is solved. verify() and conditional_regret() take it into account."
        )


def _components(game: Game) -> list[Any]:
    found = [*game.leader.active_objectives, *game.leader.constraints]
    for follower in game.followers.values():
        found += [*follower.active_objectives, *follower.constraints]
    return found


def _summary(every: pd.DataFrame, confidence: float, planned: float) -> pd.DataFrame:
    """Means by size with their standard errors and intervals; exponents of what shrinks with N."""
    measured = [c for c in every.columns if c not in ("size", "draw")]
    grouped = every.groupby("size", sort=False)[measured]
    # A draw in which a regret is unknown leaves the mean unknown: the others alone would be a choice of good ones.
    known = grouped.count().eq(grouped.size(), axis=0)
    mean, error = grouped.mean().where(known), grouped.sem().where(known)
    reach = error.mul(student.ppf((1 + confidence) / 2, grouped.size() - 1), axis=0)
    sides = {"_se": error, "_low": mean - reach, "_high": mean + reach}
    table = pd.concat([mean, *(side.add_suffix(suffix) for suffix, side in sides.items())], axis=1).reset_index()
    table.attrs["rates"] = {}
    for column in measured:
        level, least = table[column].abs(), 0.0
        if column.endswith("leader_objective"):
            level, least = (table[column] - planned).abs(), TOLERANCES.noise * max(1.0, abs(planned))
        if len(table) > 1 and (level > least).all():
            slope, _ = np.polyfit(np.log(table["size"].astype(float)), np.log(level.astype(float)), 1)
            table.attrs["rates"][column] = float(slope)
    table.attrs["draws"] = every
    return table
