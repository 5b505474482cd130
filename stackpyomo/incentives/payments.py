"""Accounts: what a contract does to every follower at the plan, in numbers, and who gains or loses by it.

With a_k, b_k the derivatives of follower k's cost (a profit's negative) with respect to its own actions and to the
leader's variables u_0, K the gain and M what one member's action moves of the signals, per member and in J_k's unit:

    temptation   −a_kj             what one more unit of its action j brings it by itself
    answer       Σ_l b_kl (KM)_lj  what the leader's answer to that unit takes from it
    payment      Σ_l b_kl u_l      = J_k − J_k(u_0 = 0), money to the leader, where J_k is affine in u_0

All are of first order at the plan. Temptation and answer balance; what is left a follower's own constraints hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from stackpyomo.core import TOLERANCES, Array, undisturbed
from stackpyomo.core.expressions import curvature
from stackpyomo.derivatives import FollowerRows
from stackpyomo.errors import InvalidGame
from stackpyomo.games import Follower, require
from stackpyomo.games.information import slopes_at
from stackpyomo.plans import Plan, rows_of

from .strategy import AffineStrategy


@dataclass(frozen=True)
class Accounts:
    """What every follower (one of its members) has at the plan under the strategy, in the unit of its objective."""

    followers: list[Follower]
    actions: list[str]
    owners: Array  #: For each action the number of its follower.
    objective: Array  #: In the sense its user wrote.
    temptation: Array
    answer: Array
    payment: Array  #: NaN where the objective is not shown to be affine in the leader's variables.
    noise: Array  #: For each action what counts as nothing.

    @property
    def sizes(self) -> Array:
        """How many each follower stands for."""
        return np.array([f.size for f in self.followers], dtype=float)

    @property
    def payments(self) -> pd.Series:
        """Money from each follower to the leader, all its members together; NaN where there is no such sum."""
        with np.errstate(invalid="ignore"):
            total = np.where(np.isinf(self.sizes), math.nan, self.payment * self.sizes)
        return pd.Series(total, index=[f.name for f in self.followers], name="payment", dtype=float)


def accounts(rule: AffineStrategy) -> Accounts:
    """Of an incentive. Raises :class:`InvalidGame` if it was read without its game, or if that has changed."""
    game = rule.plan.attached()
    with undisturbed():
        require(game, leader_objective=False)
        rule.attached()
        values = rule.announcement.values
        game.require_fixed_as(values)
        rows = rows_of(rule.plan, game)
        names = [game.names[id(v)] for v in rows.instruments]
        unshared = set(names) ^ set(rule.leader)
        if unshared:
            raise InvalidGame(f"{min(unshared)}: fixed, freed or added since the incentive was designed.")
        derivatives = rows.at(values)
        place = {name: index for index, name in enumerate(rule.leader)}
        gain = rule.matrix.tocsr()[[place[name] for name in names]]
        reach = (gain @ slopes_at(game, rule.observed, values)).tocoo()  # d(leader's variable)/d(one member's action)
        answer = np.zeros(len(rows.actions))
        effect = np.asarray(derivatives.leader[rows.owners[reach.col], reach.row]).ravel()
        np.add.at(answer, reach.col, effect * reach.data)
        payment = derivatives.leader @ np.array([values[name] for name in names])
        natural = rows.natural(values)
        payment[~_is_price(natural, values)] = math.nan
        return Accounts(
            followers=rows.followers,
            actions=[game.names[id(v)] for v in rows.actions],
            owners=rows.owners,
            objective=derivatives.objectives,
            temptation=-derivatives.own,
            answer=answer,
            payment=payment,
            noise=TOLERANCES.stationarity * natural.units.costs[rows.owners] / natural.action_units,
        )


def _is_price(rows: FollowerRows, values: Mapping[str, float]) -> Array:
    """Per follower: is its objective affine in the leader's variables? rows: in natural units.

    Yes where no two of these meet in any second derivative; no where b_k moves with them; else proved by structure.
    """
    instrument = np.full(rows.instrument_columns.shape[0], -1)
    places = rows.instrument_columns.tocoo()
    instrument[places.row] = places.col
    first, second = (instrument[np.asarray(part)] for part in rows.problem.hessian_structure())
    meet = (first >= 0) & (second >= 0)
    derivatives = rows.at(values)
    effects = derivatives.leader.tocoo()
    doubtful = np.zeros(len(rows.followers), dtype=bool)
    doubtful[effects.row[np.isin(effects.col, np.concatenate([first[meet], second[meet]]))]] = True
    affine: Array = ~doubtful
    if affine.all():
        return affine
    names = [rows.game.names[id(v)] for v in (*rows.instruments, *rows.responses.variables)]
    steps = TOLERANCES.nearby * rows.instrument_units
    led = rows.aggregate_units * (rows.leads @ np.full(len(steps), TOLERANCES.nearby))
    moved = {**values, **{n: values[n] + float(d) for n, d in zip(names, [*steps, *led], strict=True)}}
    change = abs(rows.at(moved).leader - derivatives.leader).max(axis=1).toarray().ravel()
    for number in np.flatnonzero(doubtful & ~(change > TOLERANCES.stationarity)):
        mine = [rows.instruments[i] for i in effects.col[effects.row == number]]
        mine += [rows.responses.variables[i] for i in np.unique(rows.leads.tocoo().row)]
        affine[number] = curvature(rows.followers[number].cost, mine).curvature.is_flat
    return affine


def comparison(rule: AffineStrategy, baseline: Plan) -> pd.DataFrame:
    """Objectives under the rule and in another plan of the same game, the leader first; a population's: one member's.

    Raises :class:`InvalidGame` for what is no plan of these followers.
    """
    if not isinstance(baseline, Plan):
        raise InvalidGame(f"compare({type(baseline).__name__}): expected a Plan; e.g. stackelberg(game).")
    under_rule, baseline = accounts(rule), baseline.now()
    names = [f.name for f in under_rule.followers]
    signs = [rule.plan.attached().leader.sign, *(f.sign for f in under_rule.followers)]
    unshared = baseline.follower_objectives.keys() ^ set(names)
    if unshared:
        raise InvalidGame(f"compare(...): {min(unshared)} is a follower in only one of the two plans.")
    table = pd.DataFrame(
        {
            "objective": [rule.plan.now().leader_objective, *under_rule.objective],
            "baseline": [baseline.leader_objective, *(baseline.follower_objectives[n] for n in names)],
        },
        index=pd.Index(["leader", *names], name="player"),
        dtype=float,
    )
    table["difference"] = table["objective"] - table["baseline"]
    better = -table["difference"] * np.array(signs)
    same = better.abs() <= TOLERANCES.stationarity * table["baseline"].abs().clip(lower=1.0)
    verdicts = np.select([better.isna(), same, better > 0.0], ["unknown", "same", "gains"], "loses")
    table["verdict"] = verdicts.tolist()
    return table
