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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import t as student

from stackpyomo.core import TOLERANCES, Array, require_positive, require_whole, tracked, undisturbed
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Game, evaluator, require
from stackpyomo.games.information import Announcement, shares
from stackpyomo.solvers import choose, natural_size
from stackpyomo.verification import Effort, resolved

from .induced_equilibrium import settled
from .private_noise import PrivateNoise


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
    """Play a plan or an incentive with finite numbers of followers, drawn at random, and measure regrets.

    Noise of a population's members (:class:`Population`) is drawn for each of them; a regret is what a member could
    gain before anybody's noise is known: :mod:`stackpyomo.analysis.private_noise`.

    Parameters
    ----------
    subject : Plan or Incentive
        What is announced.
    sizes : sequence of int
        Numbers of followers.
    draws : int, default 1
        For each size.
    seed : int, default 0
        The same seed gives the same draws.
    types : mapping of str to float, optional
        Population → probability of a follower being one of it, by default their weights in the aggregates; one
        population needs none.
    settle : bool, default False
        Also find the equilibrium of the N-follower game under the announced strategy.
    games : callable, optional
        Size → the game of that many, with the same names, for a model that holds the number of its followers; without,
        the model is taken to hold for every size. Noise of each member that was averaged away by hand is such a case:
        its terms in 1/N are 0 in the model of infinitely many, and nothing else can tell that they belong there.
    confidence : float, default 0.95
        Of the intervals.
    solver : str, default "auto"
        As for :func:`leader_optimal`.

    Returns
    -------
    DataFrame
        A row for each size: means over the draws of ``regret`` (largest and average) and ``leader_objective``. Columns
        ``…_se`` are standard errors of the means, ``…_low`` and ``…_high`` their confidence intervals by Student's t
        (NaN for one draw), ``settled_…`` the same at the equilibrium. ``attrs["rates"]``: fitted exponents in N, of the
        leader's columns those of their distance to the plan's value (no optimality gap); ``attrs["draws"]``: every
        draw.

    Raises
    ------
    InvalidGame
        An argument is not what it should be, or the plan has no game.
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
    noisy = any(f.noise is not None for f in subject.attached().followers.values())
    if noisy and (settle or games is not None):
        raise InvalidGame("simulate: members with noise of their own go neither with settle=True nor with games=.")
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
    return _summary(pd.DataFrame(rows), confidence, crowd)


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
        noisy = any(f.noise is not None for f in self.game.followers.values())
        self.noise = PrivateNoise(self.game, self.announced, self.names, self.weights) if noisy else None

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

    @property
    def leader_size(self) -> float:
        """How much the leader's objective can change around the plan; NaN where it has none."""
        if self.game.leader.objective is None:
            return math.nan
        levels = {id(v): self.announced.values[n] for n, v in self.game.variables_by_name.items() if not v.fixed}
        return natural_size(self.game.leader.cost, levels)

    def row(self, size: int, draw: int, random: np.random.Generator, solver: str) -> dict[str, float]:
        """One draw of ``size`` followers."""
        counts = random.multinomial(size, self.weights)
        if self.noise is None:
            values, gain = self._drawn(self._excess(counts / size))
            sized = self._of(size)
            announced = replace(self.announced, values=values, gain=gain)
            report = resolved(sized, announced, set(self.names), Effort(solver))
            regret, objective = report.regret[self.names].to_numpy(), self._leader(sized, values)
        else:
            counted = self.noise.drawn(counts, random)
            values, _ = self._drawn(self.noise.excess(counted, size))
            regret, objective = self.noise.regret(counts, size, solver), self.noise.leader_objective(counted, values)
        return {
            "size": size,
            "draw": draw,
            "regret": float(np.max(regret[counts > 0])),
            "mean_regret": float(regret[counts > 0] @ counts[counts > 0] / size),
            "leader_objective": objective,
        }

    def _excess(self, counted: Array) -> Array:
        """(actions) by what factor more of each is done than the plan's average holds, less one."""
        owners = list(self.game.followers)
        factor = {n: s / w for n, s, w in zip(self.names, counted, self.weights, strict=True)}
        return np.array([factor.get(owners[k], 1.0) - 1.0 for k in self.game.action_owners])

    def _of(self, size: int) -> Game:
        """The game of so many followers."""
        expected = {n: max(1, round(size * w)) for n, w in zip(self.names, self.weights, strict=True)}
        game = self.game if self.games is None else self.games(size)
        if game.variables_by_name.keys() != self.game.variables_by_name.keys():
            raise InvalidGame(f"games({size}): expected a game whose variables have the names of the subject's.")
        require(game)
        return game.with_sizes(expected)

    def _drawn(self, factors: Array) -> tuple[dict[str, float], Any]:
        """(the plan's values as the drawn followers make them, the strategy's slope there).

        Aggregates are theirs, and the leader answers what it sees of them, before a projection. Of its own action each
        follower shows what the plan asks of it.
        """
        values = dict(self.announced.values)
        excess = np.array([values[self.game.names[id(v)]] for v in self.game.actions]) * factors
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


def _summary(every: pd.DataFrame, confidence: float, crowd: _Crowd) -> pd.DataFrame:
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
            level = (table[column] - float(crowd.announced.leader_objective)).abs()
            least = TOLERANCES.noise * crowd.leader_size
        if len(table) > 1 and (level > least).all():
            slope, _ = np.polyfit(np.log(table["size"].astype(float)), np.log(level.astype(float)), 1)
            table.attrs["rates"][column] = float(slope)
    table.attrs["draws"] = every
    return table
