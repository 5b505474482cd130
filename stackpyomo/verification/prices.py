"""Prices, verified: a market re-solved with its priced rows taken out and paid for, without an optimality condition.

    gap_k = J_k(plan) − min {J_k(v) − Σ_c λ_c (body_c(v) − level_c) : the other rows of k} ≥ 0        (costs)

By weak duality λ are multipliers of the rows c of a convex follower if and only if the gap is 0, a sign that does not
fit the row apart. Of a market with whole actions the same number is the *uplift*: what has to be paid beside the price,
because no price clears it (R. P. O'Neill et al., EJOR 164 (2005) 269–285).
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import Any

import pyomo.environ as pyo

from stackpyomo.core import TOLERANCES
from stackpyomo.core.expressions import apart, variables_in
from stackpyomo.games import Follower, Game, Price
from stackpyomo.games.information import Announcement
from stackpyomo.solvers import natural_size

from .best_response import Composed, stand_in
from .effort import Unsettled
from .report import PriceCheck


def lagrangians(game: Game, announced: Announcement, wanted: Container[str]) -> dict[str, Composed]:
    """follower → its problem with the priced rows paid for; a price of the wrong sign pays nothing here."""
    by_follower: dict[str, list[Price]] = {}
    for price in game.prices:
        if price.follower in wanted:
            by_follower.setdefault(price.follower, []).append(price)
    return {name: stand_in(game, announced, _paid(game, announced, prices)) for name, prices in by_follower.items()}


def _paid(game: Game, announced: Announcement, prices: list[Price]) -> Follower:
    """The follower without these rows, J − Σ λ (body − level) in its own sense its objective."""
    follower = game.followers[prices[0].follower]
    assert follower.objective is not None
    value: Any = apart(follower.objective.expr)
    for price in prices:
        level = _level(price, follower, announced.values[game.names[id(price.var)]])
        if level is not None:
            value = value - announced.values[game.names[id(price.var)]] * (price.row.body - level)
    objective = pyo.Objective(expr=value, sense=follower.objective.sense)
    objective.construct()
    gone = {id(price.row) for price in prices}
    rows = [row for row in follower.rows if id(row) not in gone]
    return Follower(follower.name, follower.declared, [objective], rows, block=follower.block, size=follower.size)


def _level(price: Price, follower: Follower, number: float) -> float | None:
    """The side of the row that a price of this sign belongs to; None where there is none."""
    if price.row.equality:
        return float(price.row.ub)
    side = price.row.lb if follower.sign * number > 0.0 else price.row.ub
    return None if side is None else float(side)


def price_checks(
    game: Game, announced: Announcement, resolved: Mapping[str, Composed], plain: Mapping[str, Composed]
) -> dict[str, PriceCheck]:
    """price → what was shown of it; resolved: the :func:`lagrangians` re-solved, plain: the followers themselves."""
    checks = {}
    for price in game.prices:
        if price.follower not in resolved or price.follower not in plain:
            continue
        follower, paid, own = game.followers[price.follower], resolved[price.follower], plain[price.follower]
        name = game.names[id(price.var)]
        number = announced.values[name]
        unbounded = paid.unsettled in (Unsettled.UNBOUNDED, Unsettled.UNCONFIRMED)
        known = paid.certificate != "unknown" and math.isfinite(own.plan_cost)
        gap = max(0.0, own.plan_cost - paid.best_cost) if known else math.inf if unbounded else math.nan
        levels = {id(v): announced.values[game.names[id(v)]] for v in variables_in(price.row.body)}
        paid_most = abs(number) * natural_size(price.row.body, levels)
        if _level(price, follower, number) is None and paid_most > TOLERANCES.accuracy * own.scale:
            gap = math.inf
        checks[name] = PriceCheck(follower.name, gap, own.scale, paid.certificate, bool(follower.integers))
    return checks
